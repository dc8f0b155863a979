"""Every convex model against an independent conic optimum of its formula."""

import cvxpy as cp
import numpy as np
import pytest
from conftest import make_layout

from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskClassifier,
    MultiTaskElasticNet,
    MultiTaskLasso,
    MultiTaskRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
)
from skmtl.penalties import L1, L2, Coupling, Entries, Features, InfConv, Ridge, Shared, Spectrum, Tasks

CHAIN = np.eye(4, k=1) + np.eye(4, k=-1)


def group(W):
    return cp.sum(cp.norm(W, 2, axis=0))


def spread(W):
    return cp.sum_squares(W - np.full((W.shape[0],) * 2, 1 / W.shape[0]) @ W)


def center(W):
    return cp.sum_squares(cp.sum(W, axis=0)) / W.shape[0]  # T ||mean||^2


def chain(W):
    return cp.sum_squares(W[1:] - W[:-1])


# name: (estimator classes, parameters, the formula in W)
MODELS = {
    "group": ((GroupSparseRegressor, GroupSparseClassifier), {"alpha": 0.08}, lambda W: 0.08 * group(W)),
    "lasso": ((MultiTaskLasso,), {"alpha": 0.3}, lambda W: 0.3 * group(W)),
    "elastic": (
        (MultiTaskElasticNet,),
        {"alpha": 0.3, "l1_ratio": 0.4},
        lambda W: 0.12 * group(W) + 0.09 * cp.sum_squares(W),
    ),
    "mean": (
        (MeanRegularizedRegressor, MeanRegularizedClassifier),
        {"alpha": 0.3},
        lambda W: 0.15 * spread(W),
    ),
    "mean-ridge": (
        (MeanRegularizedRegressor, MeanRegularizedClassifier),
        {"alpha": 0.3, "mean_alpha": 0.1},
        lambda W: 0.15 * spread(W) + 0.05 * center(W),
    ),
    "trace": ((TraceNormRegressor, TraceNormClassifier), {"alpha": 0.1}, lambda W: 0.1 * cp.normNuc(W)),
    "entries": (
        (MultiTaskRegressor, MultiTaskClassifier),
        {"alpha": 2.0, "penalty": Entries(L1(0.03))},
        lambda W: 0.06 * cp.sum(cp.abs(W)),
    ),
    "tasks": (
        (MultiTaskRegressor, MultiTaskClassifier),
        {"alpha": 0.1, "penalty": Tasks(L2())},
        lambda W: 0.1 * cp.sum(cp.norm(W, 2, axis=1)),
    ),
    "features-l1": (
        (MultiTaskRegressor, MultiTaskClassifier),
        {"alpha": 0.1, "penalty": Features(L1())},
        lambda W: 0.1 * cp.sum(cp.abs(W)),
    ),
    "graph": (
        (MultiTaskRegressor, MultiTaskClassifier),
        {"alpha": 0.5, "penalty": Coupling.graph(CHAIN)},
        lambda W: 0.25 * chain(W),
    ),
    "graph-sparse": (
        (MultiTaskRegressor, MultiTaskClassifier),
        {"alpha": 0.5, "penalty": Coupling.graph(CHAIN) + Entries(L1(0.1)) + Ridge(0.1)},
        lambda W: 0.25 * chain(W) + 0.05 * cp.sum(cp.abs(W)) + 0.025 * cp.sum_squares(W),
    ),
    "spectrum-l2": (
        (MultiTaskRegressor, MultiTaskClassifier),
        {"alpha": 0.2, "penalty": Spectrum(L2())},
        lambda W: 0.2 * cp.norm(W, "fro"),
    ),
    "pooled": (
        (MultiTaskRegressor, MultiTaskClassifier),
        {"alpha": 0.2, "penalty": Shared()},
        lambda W: (0.1 * cp.sum_squares(W), [W[1:] == W[:-1]]),
    ),
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
    objective += omega + params.get("ridge", 0) / 2 * cp.sum_squares(W)
    objective += params.get("intercept_alpha", 0) / 2 * cp.sum_squares(b - cp.sum(b) / T)
    problem = cp.Problem(cp.Minimize(objective), constraints)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11, max_iter=500)
    assert problem.status in ("optimal", "optimal_inaccurate")
    return problem.value


def cases():
    for name, (classes, _, _) in MODELS.items():
        for cls in classes:
            for kind in ("stacked", "missing", "shared"):
                yield pytest.param(name, cls, kind, "plain", id=f"{cls.__name__}-{name}-{kind}")
    for variant in VARIANTS:
        for name, (classes, _, _) in MODELS.items():
            if variant != "plain" and name in ("group", "trace", "mean", "graph-sparse", "entries"):
                if "mean" in variant and name == "mean":
                    continue  # there mean_alpha is the strength on the tasks' own mean: "mean-ridge"
                for cls in classes:
                    yield pytest.param(name, cls, "stacked", variant, id=f"{cls.__name__}-{name}-{variant}")
    for cls in MODELS["mean"][0]:
        yield pytest.param("mean", cls, "sparse", "pooled-intercepts", id=f"{cls.__name__}-sparse")
        yield pytest.param("mean", cls, "weighted", "pooled-intercepts", id=f"{cls.__name__}-weighted")


@pytest.mark.parametrize("name, cls, kind, variant", list(cases()))
def test_objective_equals_conic_optimum(name, cls, kind, variant):
    params = {**MODELS[name][1], **VARIANTS[variant]}
    classification = "Classifier" in cls.__name__
    layout = make_layout(kind, classification)
    optimum = reference(layout, MODELS[name][2], classification, params, own_mean=name.startswith("mean"))
    model = cls(tol=1e-9, max_iter=100_000, **params).fit(**layout.fit_args())
    assert model.objective_ == pytest.approx(optimum, rel=1e-7)
    # the certificate bounds the distance to the optimum, up to the accuracy of the reference
    assert model.dual_gap_ >= model.objective_ - optimum - 1e-8 * abs(optimum)
    loose = cls(tol=1e-2, **params).fit(**layout.fit_args())
    assert loose.dual_gap_ >= loose.objective_ - optimum - 1e-8 * abs(optimum)


@pytest.mark.parametrize("kind", ["stacked", "missing"])
@pytest.mark.parametrize("cls", [MultiTaskRegressor, MultiTaskClassifier])
def test_decomposition_equals_conic_optimum(cls, kind):
    classification = "Classifier" in cls.__name__
    layout = make_layout(kind, classification)
    penalty = InfConv([Features(L2(0.1)), Entries(L1(0.07))])

    def formula(V):
        P = cp.Variable(V.shape)
        return 0.1 * group(P) + 0.07 * cp.sum(cp.abs(V - P))

    optimum = reference(layout, formula, classification, {})
    model = cls(1.0, penalty=penalty, tol=1e-9, max_iter=100_000).fit(**layout.fit_args())
    assert model.objective_ == pytest.approx(optimum, rel=1e-7)
    assert model.dual_gap_ >= model.objective_ - optimum - 1e-8 * optimum
    np.testing.assert_allclose(sum(model.part_coefs_), model.coef_)
