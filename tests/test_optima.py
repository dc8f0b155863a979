"""Every convex model against an independent conic optimum of its formula."""

import inspect
import warnings
from itertools import cycle, product

import cvxpy as cp
import numpy as np
import pytest
from conftest import make_layout
from scipy.linalg import null_space

import skmtl
from skmtl import MultiTaskClassifier
from skmtl.linear_model._base import LinearModel
from skmtl.penalties import (
    L1,
    L2,
    Box,
    Coupling,
    Entries,
    Features,
    Fused,
    InfConv,
    LInf,
    Positive,
    Ridge,
    Shared,
    SparseL2,
    Spectrum,
    SquaredL1,
    Sum,
    Tasks,
    Tree,
)

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

# not convex; or with more to it than a formula in W, see test_joint_losses.py and their own tests
ELSEWHERE = {
    "LatentBasis", "MixedTaskModel", "IncompleteMultiSource",
    "MultiTaskLassoCV", "MultiTaskElasticNetCV",  # test_search.py: the models above at the strength chosen
}  # fmt: skip
CHAIN = np.eye(4, k=1) + np.eye(4, k=-1)
EDGES = [(0, 1, 0.5), (1, 3), (0, 2, 2.0)]
TREE = {0: "a", 1: "b", 2: "a", 3: "b", "a": "root", "b": "root"}
NODE_WEIGHT = {0: 0.2, "a": 0.5, "root": 0.8, 3: 0.0}
BLOCKS = ["b", "a", "b", "c", "a", "b"]


# --- the formulas: functions of W (4, 6), with constraints in a list where auxiliary variables need them ---


def l1(W):
    return cp.sum(cp.abs(W))


def group(W):
    return cp.sum(cp.norm(W, 2, axis=0))


def blocks(formula, weight=None):
    """A formula of the blocks of columns with one label, as vectors."""

    def summed(W):
        places = {label: [j for j, own in enumerate(BLOCKS) if own == label] for label in "abc"}
        weights = {label: len(own) ** 0.5 for label, own in places.items()} | (weight or {})
        return sum(weights[label] * formula(cp.vec(W[:, own], order="C")) for label, own in places.items())

    return summed


def largest(W):
    return cp.sum(cp.max(cp.abs(W), axis=0))


def rows(W):
    return cp.sum(cp.norm(W, 2, axis=1))


def exclusive(W):
    return cp.sum(cp.square(cp.norm(W, 1, axis=0))) / 2


def spread(W):
    return cp.sum_squares(W - np.full((W.shape[0],) * 2, 1 / W.shape[0]) @ W)


def center(W):
    return cp.sum_squares(cp.sum(W, axis=0)) / W.shape[0]  # T ||mean||^2


def chain(W):
    return cp.sum_squares(W[1:] - W[:-1])


def edges(W):
    return sum(weight[0] * cp.sum_squares(W[s] - W[t]) for s, t, *weight in [(*e, 1.0)[:3] for e in EDGES])


def variation(W):
    return cp.sum(cp.abs(W[1:] - W[:-1]))


def tree(W):
    below = {0: [0], 1: [1], 2: [2], "a": [0, 2], "b": [1, 3], "root": [0, 1, 2, 3]}
    return sum(NODE_WEIGHT.get(node, 1.0) * group(W[tasks]) for node, tasks in below.items())


def split(first, second):
    """The formula of W = P + Q."""

    def formula(W):
        P = cp.Variable(W.shape)
        return first(P) + second(W - P)

    return formula


def clusters(k, between, mean):
    """The cluster norm: the inverse of a covariance between tasks in a spectral box of given trace."""

    def formula(W):
        T = W.shape[0]
        C, eye, basis = (
            cp.Variable((T - 1, T - 1), symmetric=True),
            np.eye(T - 1),
            null_space(np.ones((1, T))),
        )
        inside = [C >> eye, C << eye / between, cp.trace(C) <= (k - 1) / between + T - k]
        return (cp.matrix_frac(basis.T @ W, C) + mean * center(W)) / 2, inside

    return formula


def subspace(k, eta):
    """A penalty of eta or 1 + eta on directions, relaxed from projections M."""

    def formula(W):
        p = W.shape[1]
        M = cp.Variable((p, p), symmetric=True)
        inside = [M >> 0, M << np.eye(p), cp.trace(M) == k]
        return (1 + eta) / 2 * cp.matrix_frac(W.T, eta * np.eye(p) + M), inside

    return formula


def squared_trace(W):
    return cp.square(cp.normNuc(W)) / 2


def relation(W):
    """The same by a covariance between tasks; where that is singular a conic solver reaches 1e-6 only."""
    C = cp.Variable((W.shape[0],) * 2, symmetric=True)
    return cp.matrix_frac(W, C) / 2, [C >> 0, cp.trace(C) == 1]


def box(low, high, budget):
    """The box norm of the coefficients of each feature."""

    def formula(W):
        share = cp.Variable(W.shape)
        ratios = [
            cp.quad_over_lin(W[t, j], share[t, j]) for t in range(W.shape[0]) for j in range(W.shape[1])
        ]
        return sum(ratios) / 2, [share >= low, share <= high, cp.sum(share, axis=0) <= budget]

    return formula


def positive(formula):
    return lambda W: (formula(W), [W >= 0])


# name: (class, or the stem of a pair, parameters, the formula to be multiplied by alpha)
MODELS = {
    "group": ("GroupSparse", {"alpha": 0.08}, group),
    "linf": ("GroupSparse", {"alpha": 0.1, "norm": "linf"}, largest),
    "sparse": (
        "GroupSparse",
        {"alpha": 0.08, "norm": "sparse", "l1_ratio": 0.4},
        lambda W: 0.6 * group(W) + 0.4 * l1(W),
    ),
    "exclusive": ("GroupSparse", {"alpha": 0.1, "norm": "exclusive"}, exclusive),
    "blocks": ("GroupSparse", {"alpha": 0.08, "feature_groups": BLOCKS}, blocks(cp.norm)),
    "blocks-sparse": (
        "GroupSparse",
        {
            "alpha": 0.08, "norm": "sparse", "l1_ratio": 0.4, "feature_groups": BLOCKS,
            "feature_weight": {"a": 0.7, "b": 1.2},
        },
        blocks(lambda v: 0.6 * cp.norm(v) + 0.4 * cp.norm(v, 1), {"a": 0.7, "b": 1.2}),
    ),
    "weighted": (
        "GroupSparse",
        {"alpha": 0.08, "feature_weight": [1.0, 0.5, 2.0, 1.0, 1.0, 0.3]},
        lambda W: cp.norm(W, 2, axis=0) @ [1.0, 0.5, 2.0, 1.0, 1.0, 0.3],
    ),
    "lasso": ("MultiTaskLasso", {"alpha": 0.3}, group),
    "elastic": (
        "MultiTaskElasticNet",
        {"alpha": 0.3, "l1_ratio": 0.4},
        lambda W: 0.4 * group(W) + 0.3 * cp.sum_squares(W),
    ),
    "dirty": (
        "Dirty",
        {"alpha": 0.1, "shared_ratio": 0.65},
        split(lambda P: 0.65 * largest(P), lambda Q: 0.35 * l1(Q)),
    ),
    "dirty-l2": (
        "Dirty",
        {"alpha": 0.1, "shared_ratio": 0.6, "norm": "l2"},
        split(lambda P: 0.6 * group(P), lambda Q: 0.4 * l1(Q)),
    ),
    "robust": (
        "Robust",
        {"alpha": 0.15, "shared_ratio": 0.45},
        split(lambda P: 0.45 * group(P), lambda Q: 0.55 * rows(Q)),
    ),
    "robust-subspace": (
        "Robust",
        {"alpha": 0.25, "shared": "subspace", "shared_ratio": 0.53},
        split(lambda P: 0.53 * cp.normNuc(P), lambda Q: 0.47 * rows(Q)),
    ),
    "low-rank": (
        "SparseLowRank",
        {"alpha": 0.15, "sparse_ratio": 0.35},
        split(lambda L: 0.65 * cp.normNuc(L), lambda S: 0.35 * l1(S)),
    ),
    "mean": ("MeanRegularized", {"alpha": 0.3}, lambda W: spread(W) / 2),
    "mean-ridge": (
        "MeanRegularized",
        {"alpha": 0.3, "mean_alpha": 0.1},
        lambda W: spread(W) / 2 + center(W) / 6,
    ),
    "graph": ("GraphRegularized", {"alpha": 0.5, "graph": EDGES}, lambda W: edges(W) / 2),
    "graph-sparse": (
        "GraphRegularized",
        {"alpha": 0.3, "graph": CHAIN, "l1_ratio": 0.2},
        lambda W: 0.4 * chain(W) + 0.2 * l1(W),
    ),
    "fused": (
        "Temporal",
        {"alpha": 0.15, "l1_ratio": 0.2, "group_ratio": 0.3},
        lambda W: 0.5 * variation(W) + 0.2 * l1(W) + 0.3 * group(W),
    ),
    "variation": ("Temporal", {"alpha": 0.03, "order": [2, 0, 3, 1]}, lambda W: variation(W[[2, 0, 3, 1]])),
    "steps": (
        "Temporal",
        {"alpha": 0.2, "smooth": "quadratic", "l1_ratio": 0.1, "group_ratio": 0.3},
        lambda W: 0.3 * chain(W) + 0.1 * l1(W) + 0.3 * group(W),
    ),
    "steps-only": (
        "Temporal",
        {"alpha": 0.2, "smooth": "quadratic", "order": [2, 0, 3, 1]},
        lambda W: chain(W[[2, 0, 3, 1]]) / 2,
    ),
    "tree": ("Hierarchical", {"alpha": 0.05, "tree": TREE, "node_weight": NODE_WEIGHT}, tree),
    "clustered": ("Clustered", {"alpha": 0.2, "n_clusters": 2}, clusters(2, 0.1, 0.0)),
    "clustered-mean": (
        "Clustered",
        {"alpha": 0.2, "n_clusters": 3, "between_ratio": 0.3, "mean_ratio": 0.4},
        clusters(3, 0.3, 0.4),
    ),
    "trace": ("TraceNorm", {"alpha": 0.1}, cp.normNuc),
    "subspace": ("SharedSubspace", {"alpha": 0.1}, subspace(1, 0.1)),
    "subspace-2": ("SharedSubspace", {"alpha": 0.2, "n_components": 2, "eta": 0.5}, subspace(2, 0.5)),
    "relation": ("TaskRelationship", {"alpha": 0.05}, squared_trace),
    "covariance": ("TaskRelationship", {"alpha": 0.005}, relation),
    # the generic door
    "entries": ("MultiTask", {"alpha": 2.0, "penalty": Entries(L1(0.03))}, lambda W: 0.03 * l1(W)),
    "tasks": ("MultiTask", {"alpha": 0.1, "penalty": Tasks(L2())}, rows),
    "features-l1": ("MultiTask", {"alpha": 0.1, "penalty": Features(L1())}, l1),
    "features-box": (
        "MultiTask",
        {"alpha": 0.3, "penalty": Features(Box(1.0, 0.2, 1.3, 2.1))},
        box(0.2, 1.3, 2.1),
    ),
    "graph-ridge": (
        "MultiTask",
        {"alpha": 0.5, "penalty": Coupling.graph(CHAIN) + Entries(L1(0.1)) + Ridge(0.1)},
        lambda W: chain(W) / 2 + 0.1 * l1(W) + 0.05 * cp.sum_squares(W),
    ),
    "spectrum-l2": ("MultiTask", {"alpha": 0.2, "penalty": Spectrum(L2())}, lambda W: cp.norm(W, "fro")),
    "pooled": (
        "MultiTask",
        {"alpha": 0.2, "penalty": Shared()},
        lambda W: (cp.sum_squares(W) / 2, [W[1:] == W[:-1]]),
    ),
    "parts": (
        "MultiTask",
        {"alpha": 0.1, "penalty": InfConv([Features(L2()), Entries(L1(0.7))])},
        split(group, lambda Q: 0.7 * l1(Q)),
    ),
    "three-parts": (
        "MultiTask",
        {"alpha": 0.1, "penalty": InfConv([Spectrum(L1(1.1)), Entries(L1(0.6)), Tasks(L2(0.8))])},
        split(lambda P: 1.1 * cp.normNuc(P), split(lambda Q: 0.6 * l1(Q), lambda R: 0.8 * rows(R))),
    ),
}  # fmt: skip
# the same with W >= 0: regressors by positive=True, classifiers by their penalty
POSITIVE = {
    "group": Features(L2()),
    "linf": Features(LInf()),
    "sparse": Features(SparseL2(l1_ratio=0.4)),
    "exclusive": Features(SquaredL1()),
    "dirty": InfConv([Positive(Features(LInf(0.65))), Positive(Entries(L1(0.35)))]),
    "robust": InfConv([Positive(Features(L2(0.45))), Positive(Tasks(L2(0.55)))]),
    "fused": Features(Fused(1.0, 0.2, 0.3)),
    "variation": Features(Fused(order=[2, 0, 3, 1])),
    "steps": Coupling.graph(CHAIN, alpha=0.6) + Positive(Features(SparseL2(0.4, l1_ratio=0.25))),
    "steps-only": None,  # the constraint alone: regressors only
    "tree": Features(Tree(1.0, [[0], [1], [2], [0, 2], [1, 3], range(4)], [0.2, 1.0, 1.0, 0.5, 1.0, 0.8])),
}
VARIANTS = {
    "plain": {},
    "no-intercept": {"fit_intercept": False},
    "ridge": {"ridge": 0.2},
    "pooled-intercepts": {"intercept_alpha": 0.5},
    "free-mean": {"mean_alpha": 0.0},
    "mean": {"mean_alpha": 0.05, "intercept_alpha": 0.3, "ridge": 0.01},
    "emphasis": {"task_weight": "samples"},
}
VARIED = (
    "group", "blocks", "trace", "mean", "graph-sparse", "graph-ridge", "entries", "linf", "dirty",
    "robust-subspace", "fused", "variation", "tree", "clustered", "clustered-mean", "subspace", "relation",
)  # fmt: skip


def classes(stem):
    """The regressor and the classifier of a pair, or the one class of that name."""
    names = [stem] if stem in skmtl.__all__ else [f"{stem}Regressor", f"{stem}Classifier"]
    return [getattr(skmtl, name) for name in names]


def reference(layout, formula, classification, params, own_mean=False):
    """Optimal objective by a conic solver."""
    blocks = list(layout.blocks())
    T, p = len(blocks), blocks[0][0].shape[1]
    V, b, m = cp.Variable((T, p)), cp.Variable(T), cp.Variable(p)
    W, objective, constraints = V, 0, []
    if params.get("mean_alpha") is not None and not own_mean:
        W = V + np.ones((T, 1)) @ cp.reshape(m, (1, p), order="C")
        objective += params["mean_alpha"] * T / 2 * cp.sum_squares(m)
    sizes = np.array([len(y) for _, y, _ in blocks])
    c = sizes * T / sizes.sum() if params.get("task_weight") == "samples" else np.ones(T)
    for t, (X, y, s) in enumerate(blocks):
        eta = X @ W[t] + b[t]
        loss = cp.logistic(eta) - cp.multiply(y, eta) if classification else cp.square(y - eta) / 2
        objective += c[t] * cp.sum(cp.multiply(s, loss))
    if not params.get("fit_intercept", True):
        constraints.append(b == 0)
    omega = formula(V)
    if isinstance(omega, tuple):
        omega, extra = omega
        constraints += extra
    objective += params["alpha"] * omega + params.get("ridge", 0) / 2 * cp.sum_squares(W)
    objective += params.get("intercept_alpha", 0) / 2 * cp.sum_squares(b - cp.sum(b) / T)
    problem = cp.Problem(cp.Minimize(objective), constraints)
    with warnings.catch_warnings():  # the tolerances are beyond what it is sure to reach
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11, max_iter=500)
    assert problem.status in ("optimal", "optimal_inaccurate")
    return problem.value


def compare(cls, layout, params, formula, own_mean=False):
    """The model has the optimal objective, and its certificate bounds the distance to it."""
    classification = "Classifier" in cls.__name__
    stated = {key: value for key, value in params.items() if key != "positive"}
    optimum = reference(layout, formula, classification, stated, own_mean)
    model = cls(tol=1e-9, max_iter=100_000, **params).fit(**layout.fit_args())
    assert model.objective_ == pytest.approx(optimum, rel=1e-7)
    # up to the accuracy of the reference
    assert model.dual_gap_ >= model.objective_ - optimum - 1e-8 * abs(optimum)
    loose = cls(tol=1e-2, **params).fit(**layout.fit_args())
    assert loose.dual_gap_ >= loose.objective_ - optimum - 1e-8 * abs(optimum)
    return model


def cases():
    """All pairs of a model, a class, a layout and a variant, in some of their products."""
    kinds = cycle(("stacked", "missing", "shared"))
    for name, (stem, *_) in MODELS.items():
        for cls, kind in zip(classes(stem), kinds, strict=False):
            yield pytest.param(name, cls, kind, "plain", id=f"{cls.__name__}-{name}-{kind}")
    for turn, variant in enumerate(VARIANTS):
        for place, name in enumerate(VARIED if variant != "plain" else ()):
            if "mean" in variant and name == "mean":
                continue  # there mean_alpha is the strength on the tasks' own mean: "mean-ridge"
            pair = classes(MODELS[name][0])
            cls = pair[(turn + place) % len(pair)]
            yield pytest.param(name, cls, "stacked", variant, id=f"{cls.__name__}-{name}-{variant}")
    for cls in classes("MeanRegularized"):
        yield pytest.param("mean", cls, "sparse", "pooled-intercepts", id=f"{cls.__name__}-sparse")
        yield pytest.param("mean", cls, "weighted", "pooled-intercepts", id=f"{cls.__name__}-weighted")


@pytest.mark.parametrize("name, cls, kind, variant", list(cases()))
def test_objective_equals_conic_optimum(name, cls, kind, variant):
    params = {**MODELS[name][1], **VARIANTS[variant]}
    layout = make_layout(kind, "Classifier" in cls.__name__)
    model = compare(cls, layout, params, MODELS[name][2], own_mean=name.startswith("mean"))
    if variant == "plain" and kind != "shared":  # nothing is compared that is not there
        assert all(part.any() for part in model._parts_)


def positive_cases():
    for name, penalty in POSITIVE.items():
        for classification, kind in product((False, True), ("stacked", "missing")):
            if penalty is not None or not classification:
                word = "classification" if classification else "regression"
                yield pytest.param(name, kind, classification, id=f"{word}-{name}-{kind}")


@pytest.mark.parametrize("name, kind, classification", list(positive_cases()))
def test_positive_coefficients_equal_conic_optimum(name, kind, classification):
    stem, params, formula = MODELS[name]
    penalty = POSITIVE[name]
    if classification and not isinstance(penalty, (InfConv, Sum)):
        penalty = Positive(penalty)
    cls = MultiTaskClassifier if classification else classes(stem)[0]
    own = {"alpha": params["alpha"], "penalty": penalty} if classification else {**params, "positive": True}
    model = compare(cls, make_layout(kind, classification), own, positive(formula))
    assert model.coef_.any() and (model.coef_ >= 0).all() and (model.coef_ == 0).any()


def test_every_model_has_its_formula():
    tested = {cls.__name__ for stem, *_ in MODELS.values() for cls in classes(stem)}
    models = {name for name in skmtl.__all__ if inspect.isclass(getattr(skmtl, name))}
    models = {name for name in models if issubclass(getattr(skmtl, name), LinearModel)}
    stems = {name.removesuffix("Regressor").removesuffix("Classifier"): name for name in models - tested}
    assert set(stems) <= ELSEWHERE


@pytest.mark.parametrize("penalty", [Entries(L1(0.0)), Features(Fused(1.0))], ids=["alone", "changes"])
@pytest.mark.parametrize("unit", [1.0, np.array([1e-2, 1e2, 1.0, 1.0, 1.0])], ids=["plain", "units"])
def test_positive_coefficients_of_several_classes(penalty, unit):
    """What classes have in common no loss sees: W >= 0 takes nothing from them, and a warning is an error."""
    rng = np.random.default_rng(0)
    X, tasks, W = rng.normal(size=(240, 5)), np.arange(240) % 3, rng.normal(size=(5, 3))
    y = (X @ W + rng.gumbel(size=(240, 3))).argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, free = (
            MultiTaskClassifier(0.01, penalty=each, tol=1e-6).fit(X * unit, y, tasks=tasks)
            for each in (Positive(penalty), penalty)
        )
    assert (found.coef_ >= 0).all() and found.objective_ == pytest.approx(free.objective_, rel=1e-5)
    assert found.dual_gap_ <= 1e-5 * free.objective_
