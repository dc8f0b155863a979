"""Models that are not convex: where they end, and that this is no worse than where they start.

Objectives, gradients and conditions of stationarity are written here, per task, without the library.
"""

import inspect
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from conftest import make_layout
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from skmtl import (
    ClusteredClassifier,
    ClusteredRegressor,
    GroupSparseClassifier,
    GroupSparseRegressor,
    LatentBasisClassifier,
    LatentBasisRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskClassifier,
    MultiTaskRegressor,
)
from skmtl.datasets import make_multitask_regression
from skmtl.losses import Logistic, SquaredError
from skmtl.objective import make_term
from skmtl.objective._joint import OutputsTerm
from skmtl.penalties import L1, L2, Clusters, Entries, Factorized, Features, Ridge
from skmtl.solvers import alternating, make_problem_of, make_task_data

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

TIGHT = {"tol": 1e-7, "max_iter": 20_000}
TIGHTER = {"tol": 1e-10, "max_iter": 20_000}
GAMMA = 3.0
# name: (regressor, classifier, own parameters, strengths of the two)
MODELS = {
    "mcp": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "mcp"}, (0.4, 0.1)),
    "scad": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "scad"}, (0.4, 0.1)),
    "capped": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "capped"}, (0.2, 0.05)),
    "sqrt": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "sqrt"}, (0.3, 0.05)),
    "kmeans": (
        ClusteredRegressor,
        ClusteredClassifier,
        {"relaxation": "kmeans", "mean_ratio": 0.2, "n_init": 3, "random_state": 0},
        (0.5, 0.1),
    ),
    "latent": (LatentBasisRegressor, LatentBasisClassifier, {"random_state": 0}, (0.2, 0.02)),
}
ROWS = {"regression": 80, "classification": 300}  # classes that no task separates: flat norms need that
NORMS = ("mcp", "scad", "capped", "sqrt")
LAYOUTS = ("stacked", "missing")  # the second is shared
VARIANTS = {
    "plain": {},
    "ridge": {"ridge": 0.05},
    "pooled intercepts": {"intercept_alpha": 0.3},
    "shared mean": {"mean_alpha": 0.1},
    "all": {"ridge": 0.05, "intercept_alpha": 0.3, "mean_alpha": 0.1},
}
CASES = [  # each model and variant in one layout per kind, the other in the next
    (name, kind, LAYOUTS[(i + j + k) % 2], variant)
    for i, name in enumerate(MODELS)
    for j, kind in enumerate(ROWS)
    for k, variant in enumerate(VARIANTS)
]


def make(name, kind="regression", **params):
    """A model and its strength."""
    *classes, own, strengths = MODELS[name]
    at = kind == "classification"
    return classes[at](**{"alpha": strengths[at], **own, **TIGHT, **params})


def convex_start(name, model, layout):
    """The fit whose solution the model starts from, as (deviations, mean, intercept)."""
    generic = MultiTaskClassifier if hasattr(model, "classes_") else MultiTaskRegressor
    surrogate = {
        "mcp": Features(L2()),
        "scad": Features(L2()),
        "capped": Entries(L1()),
        "sqrt": Entries(L1(0.5)),
        "kmeans": Clusters(mean_ratio=0.2, labels=np.zeros(4)),
        "latent": Ridge(),
    }
    common = {key: getattr(model, key) for key in ("alpha", "ridge", "intercept_alpha", "mean_alpha")}
    start = generic(penalty=surrogate[name], **common, **TIGHT).fit(**layout.fit_args())
    return pieces(start)


# --- by hand --------------------------------------------------------------------------------


def pieces(model):
    """V, m and b with W = V + 1 m'."""
    if model.mean_alpha is None:
        return model.coef_, np.zeros(model.coef_.shape[1]), model.intercept_
    return model.deviation_coef_, model.mean_coef_, model.intercept_


def smooth(model, layout, V, m, b):
    """Everything but the penalty of V: value, gradient in W and in b."""
    W = V + m
    value, G, g = 0.0, np.zeros_like(W), np.zeros_like(b)
    for t, (X, y, weight) in enumerate(layout.blocks()):
        eta = X @ W[t] + b[t]
        if hasattr(model, "classes_"):
            value += weight @ np.logaddexp(0, np.where(y == 1, -eta, eta))
            residual = weight * (1 / (1 + np.exp(-eta)) - y)
        else:
            value += 0.5 * weight @ (y - eta) ** 2
            residual = weight * (eta - y)
        G[t], g[t] = X.T @ residual, residual.sum()
    value += 0.5 * model.ridge * (W**2).sum()
    value += 0.5 * model.intercept_alpha * ((b - b.mean()) ** 2).sum()
    if model.mean_alpha is not None:
        value += 0.5 * model.mean_alpha * len(W) * m @ m
    return value, G + model.ridge * W, g + model.intercept_alpha * (b - b.mean())


def norm_height(name, v, a):
    """The norm of one feature."""
    r, s = np.sqrt(v @ v), np.abs(v).sum()
    if name == "mcp":
        return a * r - r**2 / (2 * GAMMA) if r <= GAMMA * a else GAMMA * a**2 / 2
    if name == "scad":
        if r <= a:
            return a * r
        if r <= GAMMA * a:
            return (2 * GAMMA * a * r - r**2 - a**2) / (2 * (GAMMA - 1))
        return a**2 * (GAMMA + 1) / 2
    return a * min(s, GAMMA * a) if name == "capped" else a * np.sqrt(s)


def norm_slope(name, v, a):
    """Its slope in the length, for v = 0 the one at which growing costs as much as it brings."""
    r, s = np.sqrt(v @ v), np.abs(v).sum()
    if name == "mcp":
        return max(a - r / GAMMA, 0.0)
    if name == "scad":
        return a if r <= a else max((GAMMA * a - r) / (GAMMA - 1), 0.0)
    if name == "capped":
        return a if s < GAMMA * a else 0.0
    return np.inf if s == 0 else a / (2 * np.sqrt(s))


def violation_of_norm(name, V, G, a):
    """Largest distance of -G from the subdifferential of the norm, over the features."""
    worst = 0.0
    for v, g in zip(V.T, G.T, strict=True):
        slope = norm_slope(name, v, a)
        if name in ("capped", "sqrt"):  # entry by entry
            off = np.where(v != 0, np.abs(g + np.where(np.isinf(slope), 0, slope) * np.sign(v)), 0.0)
            off = np.maximum(off, np.where(v == 0, np.abs(g) - slope, 0.0))
        elif v.any():
            off = np.abs(g + slope * v / np.linalg.norm(v))
        else:
            off = np.linalg.norm(g) - slope
        worst = max(worst, np.max(off))
    return worst


def cluster_cost(model, V, labels):
    """The penalty of clusters for given labels."""
    mean, cost = V.mean(axis=0), model.mean_ratio * len(V) * (V.mean(axis=0) ** 2).sum()
    for c in set(labels.tolist()):
        own = V[labels == c]
        center = own.mean(axis=0)
        cost += ((own - center) ** 2).sum() + model.between_ratio * len(own) * ((center - mean) ** 2).sum()
    return 0.5 * model.alpha * cost


def cluster_gradient(model, V, labels):
    centers = np.array([V[labels == c].mean(axis=0) for c in labels])
    mean = V.mean(axis=0)
    return model.alpha * (V - centers + model.between_ratio * (centers - mean) + model.mean_ratio * mean)


def factor_cost(model, S, L):
    rho = model.sparsity
    return model.alpha * (rho * np.abs(S).sum() + 0.5 * (1 - rho) * (L**2).sum())


def penalty(name, model):
    """The penalty at a fitted model."""
    V = pieces(model)[0]
    if name == "kmeans":
        return cluster_cost(model, V, model.labels_)
    if name == "latent":
        return factor_cost(model, model.codes_, model.components_)
    return sum(norm_height(name, v, model.alpha) for v in V.T)


def cost_of_start(name, model, V):
    """The least penalty of the non-convex model at V that its start can have."""
    if name == "kmeans":
        splits = [np.array([0, *rest]) for rest in product(range(2), repeat=len(V) - 1)]
        return V, min(cluster_cost(model, V, labels) for labels in splits)
    if name == "latent":
        U, s, Vt = np.linalg.svd(V, full_matrices=False)
        S, L = U[:, :2] * s[:2], Vt[:2]
        sizes = np.geomspace(1e-3, 1e3, 20_001)[:, None]  # of each component: S / size, L * size
        cost = model.sparsity * np.abs(S).sum(axis=0) / sizes + 0.5 * (1 - model.sparsity) * sizes**2
        return S @ L, model.alpha * cost.min(axis=0).sum()
    return V, sum(norm_height(name, v, model.alpha) for v in V.T)


@pytest.fixture(scope="module")
def fitted():
    """Every case, fitted once."""
    found = {}

    def get(name, kind, layout, variant):
        key = name, kind, layout, variant
        if key not in found:
            data = make_layout(layout, kind == "classification", n=ROWS[kind])
            found[key] = make(name, kind, **VARIANTS[variant]).fit(**data.fit_args()), data
        return found[key]

    return get


# --- every model ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind", "layout", "variant"), CASES)
def test_the_end(name, kind, layout, variant, fitted):
    """Of the formula, stationary, and better than the start."""
    model, data = fitted(name, kind, layout, variant)
    assert_objective_is_the_formula(name, model, data)
    assert_stationary(name, model, data)
    assert_better_than_the_convex_start(name, variant, model, data)


def assert_objective_is_the_formula(name, model, data):
    value = smooth(model, data, *pieces(model))[0] + penalty(name, model)
    np.testing.assert_allclose(model.objective_, value, rtol=1e-10)
    assert np.isnan(model.dual_gap_)
    assert model.coef_.any()


def assert_stationary(name, model, data):
    V, m, b = pieces(model)
    _, G, g = smooth(model, data, V, m, b)
    scale = np.linalg.norm(smooth(model, data, 0 * V, 0 * m, b)[1])
    assert np.abs(g).max() <= 1e-5 * scale
    if model.mean_alpha is not None:
        assert np.abs(G.sum(axis=0) + model.mean_alpha * len(V) * m).max() <= 1e-5 * scale
    if name in NORMS:
        assert violation_of_norm(name, V, G, model.alpha) <= 1e-5 * scale
    elif name == "kmeans":
        assert np.abs(G + cluster_gradient(model, V, model.labels_)).max() <= 1e-5 * scale
    else:
        S, L, rho = model.codes_, model.components_, model.alpha * model.sparsity
        np.testing.assert_allclose(S @ L, V, atol=1e-10)
        assert np.abs(S.T @ G + (model.alpha - rho) * L).max() <= 1e-5 * scale
        H = G @ L.T
        off = np.where(S != 0, np.abs(H + rho * np.sign(S)), np.abs(H) - rho)
        assert off.max() <= 1e-5 * scale


def assert_better_than_the_convex_start(name, variant, model, data):
    V, m, b = convex_start(name, model, data)
    V, cost = cost_of_start(name, model, V)
    if name == "latent":  # its intercepts are those for the product of the factors
        for _ in range(200):
            _, _, g = smooth(model, data, V, m, b)
            b = b - g / (1 + model.intercept_alpha)
    start = smooth(model, data, V, m, b)[0] + cost
    assert model.objective_ <= start * (1 + 1e-9)
    if variant != "shared mean" and variant != "all":  # deviations may be small: there the norms are convex
        assert model.objective_ < start * (1 - 1e-5)


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_model(name, kind, fitted):
    model, data = fitted(name, kind, "stacked", "plain")
    again = clone(model).fit(**data.fit_args())
    assert np.array_equal(again.coef_, model.coef_)
    assert np.array_equal(again.intercept_, model.intercept_)
    assert again.objective_ == model.objective_


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"kmeans"}))
def test_too_few_iterations_are_said(name, kind):
    data = make_layout("stacked", kind == "classification", n=ROWS[kind])
    with pytest.warns(ConvergenceWarning, match="with a stationarity of") as caught:
        make(name, kind, tol=1e-12, max_iter=1).fit(**data.fit_args())
    assert len(caught) == 1


def test_every_norm_is_convex_or_tested():
    norms = next(c for c in GroupSparseRegressor._parameter_constraints["norm"] if hasattr(c, "options"))
    convex = {n for n in norms.options if GroupSparseRegressor(0.1, norm=n)._penalty().convex}
    assert convex | set(NORMS) == norms.options
    assert inspect.signature(GroupSparseRegressor).parameters["gamma"].default == GAMMA


# --- norms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mcp", "scad"])
def test_strong_features_are_not_shrunken(name):
    data = make_multitask_regression(8, 60, 25, noise=1.0, random_state=0)
    rows = {t: data.tasks == t for t in range(8)}
    oracle = np.zeros((8, 25))
    for t in range(8):
        X = np.column_stack([data.X[rows[t]][:, data.support], np.ones(60)])
        oracle[t, data.support] = np.linalg.lstsq(X, data.y[rows[t]], rcond=None)[0][:-1]

    def bias(model):
        model.fit(data.X, data.y, tasks=data.tasks)
        assert set(np.flatnonzero(data.support)) <= set(model.support_.tolist())
        return np.linalg.norm((model.coef_ - oracle)[:, data.support])

    concave, group_lasso = bias(make(name, alpha=0.6)), bias(GroupSparseRegressor(0.6, **TIGHT))
    assert concave < 0.1 * group_lasso


# --- clusters -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clusters():
    return make_multitask_regression(
        7, 30, 6, structure="clustered", n_clusters=2, task_spread=0.2, random_state=1
    )


def kmeans(data, **params):
    model = ClusteredRegressor(0.5, relaxation="kmeans", random_state=0, **TIGHTER, **params)
    return model.fit(data.X, data.y, tasks=data.tasks)


def given(data, labels, **params):
    """The convex model for known clusters."""
    model = MultiTaskRegressor(0.5, penalty=Clusters(labels=labels, **params), **TIGHTER)
    return model.fit(data.X, data.y, tasks=data.tasks)


@pytest.mark.parametrize("params", [{}, {"mean_ratio": 0.3}, {"between_ratio": 0.4}])
def test_clear_clusters_give_the_global_optimum(params, clusters):
    model, truth = kmeans(clusters, **params), given(clusters, clusters.labels, **params)
    np.testing.assert_allclose(model.objective_, truth.objective_, rtol=1e-9)
    np.testing.assert_allclose(model.coef_, truth.coef_, atol=1e-5)
    splits = [np.array([0, *rest]) for rest in product(range(2), repeat=6)]
    best = min(given(clusters, labels, **params).objective_ for labels in splits)
    np.testing.assert_allclose(model.objective_, best, rtol=1e-9)
    assert adjusted_rand_score(clusters.labels, model.labels_) == 1.0
    assert np.isnan(model.dual_gap_)
    assert truth.dual_gap_ <= 1e-8


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("seed", range(6))
def test_no_task_is_better_off_in_another_cluster(seed, kind):
    data = make_layout("stacked", kind == "classification", n_tasks=9, n=180, seed=seed)
    model = make("kmeans", kind, n_clusters=3, n_init=1, random_state=seed).fit(**data.fit_args())
    W, labels = model.coef_, model.labels_
    now = cluster_cost(model, W, labels)
    centers = model.cluster_centers_
    nearest = ((W[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)  # a step of Lloyd's
    assert cluster_cost(model, W, nearest) >= now * (1 - 1e-9)
    for t, c in product(range(9), range(3)):
        moved = labels.copy()
        moved[t] = c
        assert cluster_cost(model, W, moved) >= now * (1 - 1e-9)


def test_tasks_change_clusters_on_the_way():
    data = make_layout("stacked", n_tasks=12, n=96, seed=10)
    model = make("kmeans", alpha=0.05, n_clusters=3, between_ratio=0.05).fit(**data.fit_args())
    assert model.n_iter_ > model.n_init  # the clusters of the start would need one solution for each
    nearest = ((model.coef_[:, None] - model.cluster_centers_) ** 2).sum(axis=2).argmin(axis=1)
    assert np.array_equal(nearest, model.labels_)


def test_clusters_that_would_still_change_are_said():
    data = make_layout("stacked", n_tasks=12, n=96, seed=32)
    model = make("kmeans", alpha=0.05, n_clusters=3, between_ratio=0.05, n_init=1).set_params(max_iter=1)
    with pytest.warns(ConvergenceWarning, match="stationarity of inf"):
        model.fit(**data.fit_args())


def test_more_starts_are_no_worse():
    data = make_layout("stacked", n_tasks=9, n=90)
    one, many = (
        make("kmeans", n_clusters=4, n_init=n, alpha=2.0).fit(**data.fit_args()).objective_ for n in (1, 10)
    )
    assert many <= one


@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize(("n_clusters", "ratio"), [(1, 1.0), (4, 0.1)])
def test_kmeans_ends_at_mean_regularisation(n_clusters, ratio, kind):
    data = make_layout("stacked", kind == "classification")
    model = make("kmeans", kind, n_clusters=n_clusters).fit(**data.fit_args())
    a = model.alpha
    cls = MeanRegularizedRegressor if kind == "regression" else MeanRegularizedClassifier
    other = cls(a * ratio, mean_alpha=0.2 * a, **TIGHTER).fit(**data.fit_args())
    np.testing.assert_allclose(model.objective_, other.objective_, rtol=1e-9)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-3 if kind == "classification" else 1e-6)


def test_starts_with_the_same_clusters_are_one(monkeypatch):
    rng, solved, solve = np.random.default_rng(0), [], alternating._solved
    X, tasks = rng.normal(size=(120, 3)), np.repeat(np.arange(6), 20)
    y = np.where(tasks % 2, X[:, 0], -X[:, 0]) * 5 + 0.1 * rng.normal(size=120)
    monkeypatch.setattr(alternating, "_solved", lambda *args: solved.append(1) or solve(*args))
    model = ClusteredRegressor(0.1, relaxation="kmeans", random_state=0).fit(X, y, tasks=tasks)
    np.testing.assert_array_equal(model.labels_ == model.labels_[0], [True, False] * 3)
    assert len(solved) < 4  # of 10 starts, all alike: where tasks are alone, and one or two rounds


# --- latent bases ---


def factors(loss, **options):
    """A problem in factors, and a point."""
    layout = make_layout("stacked", isinstance(loss, Logistic))
    data = make_task_data(layout.X, layout.y, layout.tasks)
    problem = make_problem_of(make_term(data, loss), Factorized(0.1), **options)
    W, rng = np.zeros(problem.shape), np.random.default_rng(1)
    parts = [rng.normal(size=shape) for shape in problem.penalty.part_shapes(W.shape)]
    parts[0][0, 0] = 0.0
    if options.get("mean_alpha") is not None:
        parts.append(np.tile(rng.normal(size=W.shape[1]), (len(W), 1)))
    return problem, parts


@pytest.mark.parametrize("loss", [SquaredError(), Logistic()], ids=["squares", "classes"])
@pytest.mark.parametrize("options", [{}, {"ridge": 0.3, "mean_alpha": 0.2}], ids=["plain", "mean"])
def test_newton_steps_know_slopes_and_curvatures(loss, options):
    problem, parts = factors(loss, **options)
    left, right = problem._factors(parts)
    used = np.nonzero(parts[0])
    H, _, slope = problem._second_order(parts, left, right, used)
    of_rows, _, slope_of_rows = problem._second_order(parts, left, right, ([], []))
    n = len(used[0])
    np.testing.assert_allclose(of_rows, H[n:, n:], rtol=1e-12)
    np.testing.assert_allclose(slope_of_rows, slope[n:], rtol=1e-12)

    def at(move):
        S, n = parts[0].copy(), len(used[0])
        S[used] += move[:n]
        rows, k = right + move[n:].reshape(right.shape), S.shape[1]
        return [S, rows[:k], *(np.tile(m, (len(S), 1)) for m in rows[k:])]

    for move in np.random.default_rng(2).normal(size=(3, len(slope))):
        low, here, high = (problem.evaluate(at(e * move))[3] for e in (-1e-4, 0.0, 1e-4))
        assert (high - low) / 2e-4 == pytest.approx(slope @ move, rel=1e-5)
        assert (high - 2 * here + low) / 1e-8 == pytest.approx(move @ H @ move, rel=1e-3)


@pytest.mark.parametrize("size", [1e-40, 1e40])
def test_stationarity_knows_no_units_of_a_component(size):
    problem, (S, L) = factors(SquaredError())
    problem.penalty = Factorized(0.0)
    unit = np.array([size, 1.0])
    other = problem.stationarity([S * unit, L / unit[:, None]])
    assert other == pytest.approx(problem.stationarity([S, L]), rel=1e-9)


def test_factors_far_from_zero_under_tied_intercepts_are_found():
    """As far from zero as features are, single steps along the gradient would take forever."""
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(60, 3)), np.repeat([0, 1, 2], 20)
    y = X @ [1.0, -1.0, 0.5] + X[:, 0] * tasks + 0.1 * rng.normal(size=60)
    model = LatentBasisRegressor(0.01, intercept_alpha=1e-6, random_state=0, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X + 1e5, y, tasks=tasks)


def test_a_start_from_which_no_step_can_be_taken_is_zero(monkeypatch):
    """A quadratic model may overflow; the factors are sought all the same."""
    nothing = replace(alternating.METHODS["splitting"], iterates=lambda *args: iter(()))
    monkeypatch.setattr(alternating, "METHODS", dict.fromkeys(alternating.METHODS, nothing))
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(40, 3)), np.arange(40) % 4
    model = LatentBasisClassifier(random_state=0).fit(X, X[:, 0] > 0, tasks=tasks)
    assert np.isfinite(model.coef_).all() and model.objective_ > 0


def test_factors_of_classes_are_found_under_models_of_the_loss(monkeypatch):
    """Intercepts are searched about once for ten steps on the factors, not in each of them."""
    rng, searches, search = np.random.default_rng(0), [], OutputsTerm.intercept
    X, tasks = rng.normal(size=(240, 5)), np.repeat(np.arange(6), 40)
    W = rng.normal(size=(3, 5)) + 0.5 * rng.normal(size=(6, 3, 5))
    y = (np.einsum("ij,ikj->ik", X, W[tasks]) + rng.gumbel(size=(240, 3))).argmax(axis=1)
    monkeypatch.setattr(OutputsTerm, "intercept", lambda *args: searches.append(1) or search(*args))
    model = LatentBasisClassifier(0.01).fit(X, y, tasks=tasks)
    assert len(searches) < 2 * model.n_iter_


@pytest.mark.parametrize("seed", [0, 1, 6, 7])
def test_newton_steps_of_factors_are_short_along_flat_directions_alone(seed):
    """Shortened as a whole they were taken a thousand times, for a millionth of the objective each."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 3))
    Y = [np.digitize(X @ rng.normal(size=3) + 0.5 * rng.normal(size=30), [-0.5, 0.5]) for _ in range(5)]
    model = LatentBasisClassifier(0.01, n_components=2, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X * [1.0, 1e6, 1e-6], np.transpose(Y))


def test_starts_that_lead_no_further_are_left_alone(monkeypatch):
    """Far from zero under intercepts that are nearly equal, each round of a start costs a long search."""
    (problem, parts), rounds = factors(SquaredError()), []
    first = problem._reached(parts)
    monkeypatch.setattr(alternating.FactorProblem, "_after", lambda *args: rounds.append(1) or (parts, first))
    assert problem._tried(parts) == (parts, first) and len(rounds) == 1
