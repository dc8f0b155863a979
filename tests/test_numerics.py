"""Units, offsets, sizes of targets and strengths: what must change nothing but what it is about."""

import warnings

import numpy as np
import pytest
from conftest import estimators, task_estimators
from numpy.testing import assert_allclose
from scipy.linalg import block_diag, null_space
from scipy.optimize import lsq_linear, minimize, nnls
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skmtl import (
    ClusteredClassifier,
    ClusteredRegressor,
    DirtyClassifier,
    DirtyRegressor,
    GraphRegularizedRegressor,
    GroupSparseClassifier,
    GroupSparseRegressor,
    HierarchicalRegressor,
    LatentBasisClassifier,
    LatentBasisRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskClassifier,
    MultiTaskLasso,
    MultiTaskRegressor,
    SharedSubspaceRegressor,
    TaskRelationshipRegressor,
    TaskStatistics,
    TemporalRegressor,
    TraceNormRegressor,
)
from skmtl.linear_model._relations import linkage_tree
from skmtl.losses import Huber, Logistic, SquaredError
from skmtl.objective import Problem, make_term
from skmtl.penalties import L1, L2, Entries, Features, Fused, InfConv, Positive, Ridge, Shared, Spectrum
from skmtl.penalties._quadratic import TaskQuadratic
from skmtl.solvers import make_task_data, solve
from skmtl.solvers._inverses import pseudo_inverses
from skmtl.solvers.direct import make_preconditioner

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines


def problem(n_rows=30, n_tasks=3, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), n_rows)
    X = rng.normal(size=(len(tasks), n_features))
    W = rng.normal(size=n_features) + 0.3 * rng.normal(size=(n_tasks, n_features))
    return X, (X * W[tasks]).sum(axis=1) + 0.1 * rng.normal(size=len(tasks)), tasks


X, Y, TASKS = problem()
VAST = np.array([1e100, 1e-100, 1e8, 1e-3])


def arguments(layout, X=X, y=Y):
    """Those of fit: rows of tasks, one design for all, or one with missing labels."""
    if layout == "stacked":
        return {"X": X, "y": y, "tasks": TASKS}
    y = y.reshape(3, -1).T.copy()
    if layout == "missing":
        y[::7, 1] = np.nan
    return {"X": X[: len(y)], "y": y}


CONVEX = [  # with tasks of the user's
    name
    for name in sorted(estimators())
    if name.endswith("Regressor") and name not in ("IncompleteMultiSourceRegressor", "LatentBasisRegressor")
]
layouts = pytest.mark.parametrize("layout", ["stacked", "shared", "missing"])


# --- units of the features ---


@layouts
@pytest.mark.parametrize("name", CONVEX)
def test_units_of_features_without_a_penalty(name, layout):
    cls = estimators()[name]
    parameters = {"alpha": 0.0, "tol": 1e-12}
    expected = cls(**parameters).fit(**arguments(layout))
    found = cls(**parameters).fit(**arguments(layout, X * VAST))
    assert_allclose(found.coef_ * VAST, expected.coef_, rtol=1e-6, atol=1e-8)
    assert found.objective_ == pytest.approx(expected.objective_, rel=1e-8)


def mean_regularised(X, y, alpha):
    """The optimum of mean-regularised least squares by lstsq in units of equal spread: W and objective."""
    s, T, p = X.std(axis=0), TASKS.max() + 1, X.shape[1]
    blocks, right = [], []
    for t in range(T):
        rows = t == TASKS
        block = np.zeros((rows.sum(), T * p))
        block[:, t * p : (t + 1) * p] = (X[rows] - X[rows].mean(axis=0)) / s / np.sqrt(rows.sum())
        blocks.append(block)
        right.append((y[rows] - y[rows].mean()) / np.sqrt(rows.sum()))
    blocks.append(np.kron(np.eye(T) - 1 / T, np.diag(np.sqrt(alpha) / s)))
    A, v = np.vstack(blocks), np.concatenate([*right, np.zeros(T * p)])
    w = np.linalg.lstsq(A, v, rcond=None)[0]
    return w.reshape(T, p) / s, 0.5 * float(((A @ w - v) ** 2).sum())


@pytest.mark.parametrize("units", [np.ones(4), np.array([1e5, 1e-2, 1, 1]), np.array([1e8, 1e-3, 1, 1e4])])
def test_certificate_holds_in_any_units(units):
    W, best = mean_regularised(X * units, Y, 1.0)
    model = MeanRegularizedRegressor(1.0).fit(X * units, Y, tasks=TASKS)
    assert best * (1 - 1e-9) <= model.objective_ <= best * (1 + 1e-3)
    assert model.objective_ - model.dual_gap_ <= best * (1 + 1e-9)
    assert_allclose(model.coef_ * units, W * units, atol=1e-3)


def test_units_where_a_free_mean_says_all():
    for model in (MultiTaskLasso(1.0, mean_alpha=0.0), MeanRegularizedRegressor(1e6)):
        scores = [
            model.fit(X * u, Y, tasks=TASKS).score(X * u, Y, tasks=TASKS) for u in (1.0, [1e5, 1e-2, 1, 1])
        ]
        assert min(scores) > 0.9


def test_units_of_features_of_a_classifier():
    y = Y > 0
    model = MeanRegularizedClassifier(0.0, mean_alpha=0.0, tol=1e-12)
    expected = model.fit(X[:, :2], y, tasks=TASKS).coef_
    found = model.fit(X[:, :2] * [1e8, 1e-3], y, tasks=TASKS).coef_
    assert_allclose(found * [1e8, 1e-3], expected, rtol=1e-6)


@pytest.mark.parametrize("cls", [TraceNormRegressor, TaskRelationshipRegressor, DirtyRegressor])
@pytest.mark.parametrize("unit", [1e2, 1e4, 1e6])
def test_a_feature_in_another_unit_does_not_stop_convergence(cls, unit):
    model = cls(0.05, max_iter=2000).fit(X * [unit, 1, 1, 1], Y, tasks=TASKS)  # a warning is an error here
    about_zero = sum(Y[t == TASKS].var() / 2 for t in range(3))
    assert model.dual_gap_ <= 1e-4 * about_zero


# --- offsets of the features ---


@layouts
@pytest.mark.parametrize("offset", [1e4, 1e8])
@pytest.mark.parametrize("container", ["dense", "sparse"])
@pytest.mark.parametrize(
    "model",
    [
        MultiTaskLasso(0.1),
        MeanRegularizedRegressor(1.0),
        MultiTaskRegressor(0.1, penalty=Ridge()),
        TraceNormRegressor(0.1),
        GroupSparseRegressor(0.1, loss="huber"),
        GroupSparseRegressor(0.1, loss="root_squared_error"),
    ],
    ids=lambda model: f"{type(model).__name__}-{model.loss}",
)
def test_offsets_move_intercepts_only(model, container, offset, layout):
    from scipy import sparse

    grid = np.round(X * 2**10) / 2**10  # sums with the offset are exact
    moved = grid + offset
    expected = model.set_params(tol=1e-8).fit(**arguments(layout, grid))
    coef, objective, predicted = expected.coef_, expected.objective_, expected.predict(grid[:5], **at(layout))
    found = model.fit(**arguments(layout, moved if container == "dense" else sparse.csr_array(moved)))
    assert_allclose(found.coef_, coef, atol=1e-5)
    assert found.objective_ == pytest.approx(objective, rel=1e-4)
    assert_allclose(found.predict(moved[:5], **at(layout)), predicted, atol=1e-4)


def at(layout):
    return {"tasks": TASKS[:5]} if layout == "stacked" else {}


def test_a_tree_by_linkage_does_not_depend_on_offsets_or_containers():
    from scipy import sparse

    grid = np.round(X * 2**10) / 2**10
    trees = []
    for design in (grid, sparse.csr_array(grid), grid + 1e8, sparse.csr_array(grid + 1e8)):
        tree = HierarchicalRegressor(0.1).fit(design, Y, tasks=TASKS).tree_
        trees.append([node.weight for node in tree])
    assert_allclose(trees[1:], [trees[0]] * 3, rtol=1e-4)


def test_rounding_does_not_choose_between_tasks_that_are_as_close():
    """All rows of two columns that are the same have one of two directions."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=12)
    trees = [
        linkage_tree(np.outer(size, [1.0, 1.0]) * (1 + 1e-15 * rng.normal(size=(12, 2))), np.arange(12))
        for _ in range(10)
    ]
    assert [[node.tasks for node in tree] for tree in trees] == [[node.tasks for node in trees[0]]] * 10


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("unit", [2.0**-20, 2.0**-199, 2.0**100])
def test_units_beside_tied_intercepts(unit, offset):
    """A common offset is held apart in axes of features that vary alike: no unit may mix into another."""
    units, y = np.resize([unit, 1.0], 4), np.random.default_rng(1).integers(0, 2, len(Y))
    for model, target in (
        (MultiTaskLasso(0.0, intercept_alpha=0.5), Y),
        (GraphRegularizedRegressor(0.0, graph=[(0, 1), (1, 2)], intercept_alpha=1e-6), Y),
        (MultiTaskRegressor(0.0, loss="huber", intercept_alpha=0.5), Y),
        (MultiTaskClassifier(0.0, ridge=0.0, intercept_alpha=0.5, tol=1e-9), y),
    ):
        expected = model.fit(X + offset, target, tasks=TASKS).objective_
        found = model.fit((X + offset) * units, target, tasks=TASKS)
        assert_allclose(found.objective_, expected, rtol=1e-7)
        assert found.objective_ - found.dual_gap_ <= expected * (1 + 1e-9)


def test_units_of_features_and_targets_together_do_not_overflow():
    """Inside a decomposition their squares would, with a strength between them."""
    units = np.array([1e100, 1e-100, 1e100, 1.0])
    wanted = SharedSubspaceRegressor(0.0).fit(X, Y, tasks=TASKS)
    found = SharedSubspaceRegressor(0.0).fit(X * units, 1e100 * Y, tasks=TASKS)
    assert_allclose(found.coef_ * units / 1e100, wanted.coef_, rtol=1e-9, atol=1e-12)
    assert found.dual_gap_ <= 1e-9 * found.objective_


@pytest.mark.parametrize(("unit", "size"), [(1e100, 1e100), (1e-100, 1e-100)])
@pytest.mark.parametrize("name", ["GroupSparseRegressor", "TraceNormRegressor", "DirtyRegressor"])
def test_units_of_the_greatest_strength_do_not_overflow(name, unit, size):
    model = estimators()[name]().set_params(fit_intercept=False)
    found = model.alpha_max(X * unit, Y * size, tasks=TASKS)
    assert found == pytest.approx(unit * size * model.alpha_max(X, Y, tasks=TASKS), rel=1e-9)


def test_a_constant_column_stays_out():
    """Its variance is rounding, whatever its size: no unit makes a direction of it."""
    for value in (0.1, 1.0, 1e8):
        more = np.column_stack([X, np.full(len(X), value)])
        for model in (
            MeanRegularizedRegressor(0.5),
            MultiTaskLasso(0.0),
            MultiTaskLasso(0.1, mean_alpha=0.0),
        ):
            expected = model.fit(X, Y, tasks=TASKS).coef_
            found = model.fit(more, Y, tasks=TASKS).coef_
            assert_allclose(found[:, :4], expected, atol=1e-5)
            assert np.abs(found[:, 4]).max() * value < 1e-5


@pytest.mark.parametrize("name", sorted(set(task_estimators()) - {"MixedTaskModel"}))
def test_columns_that_are_all_constant_say_nothing(name, rng):
    """Slopes are zero, not the answer to what rounding leaves of means, and nothing warns."""
    for n, p, size, params in [(5, 20, 0.1, {}), (30, 4, 3.7, {}), (8, 20, 3.7, {"mean_alpha": 0.0})]:
        y = rng.normal(size=(n, 3))
        y = (y > np.median(y, axis=0)).astype(int) if name.endswith("Classifier") else y
        model = estimators()[name](**params)
        own = {"graph": np.ones((3, 3)) - np.eye(3), "relaxation": "kmeans", "n_init": 1, "random_state": 0}
        model.set_params(**{key: own[key] for key in own if key in model.get_params()})
        for data in (
            {"X": np.full((n, p), size), "y": y},
            {"X": np.full((3 * n, p), size), "y": y.T.ravel(), "tasks": np.repeat(np.arange(3), n)},
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                coef = model.fit(**data).coef_
            assert np.abs(coef).max() * size < 1e-8


@pytest.mark.parametrize("loss", ["root_squared_error", "huber", "log_loss", "poisson"])
def test_a_feature_of_whole_tasks_takes_over_from_tied_intercepts(loss, rng):
    """Without a penalty it is their equal: nothing but rounding is left of their curvature."""
    t = np.repeat(np.arange(5), 16)
    own = np.column_stack([rng.normal(size=(80, 3)), rng.normal(size=5)[t]])
    y = own[:, 0] + (own[:, :3] * 0.5 * rng.normal(size=(5, 3))[t]).sum(axis=1) + rng.normal(size=5)[t]
    noise = rng.normal(size=80)
    if loss == "log_loss":
        model, y = MeanRegularizedClassifier(0.0, intercept_alpha=0.01), (y + 2 * noise > 0).astype(int)
    else:
        model = MeanRegularizedRegressor(0.0, intercept_alpha=0.01, loss=loss)
        y = rng.poisson(np.exp(y / 4)) if loss == "poisson" else y + noise
    assert model.fit(own, y, tasks=t).dual_gap_ <= 1e-3 * model.objective_


@pytest.mark.parametrize("name", ["TaskRelationshipRegressor", "RobustRegressor", "SparseLowRankClassifier"])
def test_constant_columns_far_from_zero_beside_tied_intercepts(name, rng):
    """They are as good as intercepts without a penalty."""
    y = rng.normal(size=(30, 3))
    y = (y > np.median(y, axis=0)).astype(int) if name.endswith("Classifier") else y
    model = estimators()[name](intercept_alpha=0.5, max_iter=200).fit(np.full((30, 4), 1e8), y)
    assert model.dual_gap_ <= 1e-4 * model.objective_
    free = estimators()[name](max_iter=200).fit(np.full((30, 4), 1e8), y)
    assert_allclose(model.objective_, free.objective_, rtol=1e-4)


# --- size of the targets ---


@pytest.mark.parametrize("size", [1e-100, 1e-16, 1e-8, 1e8, 1e100])
@pytest.mark.parametrize("loss", [SquaredError(), Huber(1.35), "root_squared_error"], ids=str)
def test_size_of_the_targets(loss, size):
    own = Huber(1.35 * size) if isinstance(loss, Huber) else loss
    strength = 1.0 if loss == "root_squared_error" else size
    for penalty in (Features(L2()), Ridge()):
        power = strength if isinstance(penalty, Features) else strength / size
        expected = MultiTaskRegressor(0.1, loss=loss, penalty=penalty, tol=1e-10).fit(X, Y, tasks=TASKS)
        found = MultiTaskRegressor(0.1 * power, loss=own, penalty=penalty, tol=1e-10)
        found.fit(X, Y * size, tasks=TASKS)
        assert_allclose(found.coef_ / size, expected.coef_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name, X, y", [("X", X * 1e-200, Y), ("X", X * 1e200, Y), ("y", X, Y * 1e155), ("y", X, Y * 1e-180)]
)
def test_numbers_whose_squares_are_none_are_refused(name, X, y):
    for model in (MultiTaskLasso(0.1), MeanRegularizedRegressor(), TraceNormRegressor()):
        with pytest.raises(ValueError, match=rf"^{name} holds values of size"):
            model.fit(X, y, tasks=TASKS)


# --- what moments round away: right, or said ---


def nearly_collinear():
    rest = np.random.default_rng(5).normal(size=len(X))
    for distance in (1e-3, 1e-6, 1e-8):
        close = X.copy()
        close[:, 1] = X[:, 0] + distance * rest
        yield f"{distance:g} apart", close, rest + 0.1 * Y
    grid = np.tile(np.linspace(100, 101, 30), 3)
    yield "powers", grid[:, None] ** np.arange(1, 5), np.cos(6 * (grid - 100))
    years = np.tile(np.arange(1990.0, 2020), 3)
    yield "years", years[:, None] ** np.arange(1, 5), ((years - 2005) / 15) ** 3 + 0.01 * Y
    for size in (1e7, 1e9, 1e12):
        large = X.copy()
        large[3] *= size
        yield f"a row times {size:g}", large, Y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("X, y", [pytest.param(*rest, id=name) for name, *rest in nearly_collinear()])
@pytest.mark.parametrize(
    "model",
    [
        MultiTaskLasso(0.0, max_iter=500),
        MeanRegularizedRegressor(0.0, mean_alpha=0.0),
        TraceNormRegressor(1e-16, max_iter=500),
    ],
    ids=lambda model: type(model).__name__,
)
def test_nearly_collinear_features_are_fitted_or_said(model, X, y):
    """The least squares by lstsq in columns of unit size; a target beyond the gap is a warning's."""
    optimum = 0.0
    for t in range(3):
        A = np.c_[X, np.ones(len(X))][t == TASKS]
        A = (A - np.r_[A[:, :-1].mean(axis=0), 0]) / np.abs(A).max(axis=0)
        own = y[t == TASKS]
        optimum += 0.5 * np.mean((own - A @ np.linalg.lstsq(A, own, rcond=1e-15)[0]) ** 2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(X, y, tasks=TASKS)
    warned = any(issubclass(w.category, ConvergenceWarning) for w in said)
    assert warned or model.objective_ - model.dual_gap_ <= optimum * (1 + 1e-6)
    assert warned or model.objective_ >= optimum * (1 - 1e-4)


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_classes_take_no_step_along_the_rounding_of_collinear_features(loss):
    """Conjugate gradients that go on once all is solved grow along what nothing holds."""
    for seed in (7, 15, 16, 20, 29):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(24, 3))
        X[:, 2] = X[:, 0]
        y = X @ [1.0, -0.5, 0.0] + rng.normal(size=24) > 0
        model = MeanRegularizedClassifier(alpha=0.1, intercept_alpha=0.5, mean_alpha=0.0, loss=loss)
        model.fit(1e6 * X, y, tasks=np.arange(24) % 2)
        assert np.abs(model.coef_).max() < 1e-3 and model.dual_gap_ < 1e-3 * model.objective_


def test_collinear_features_are_certified():
    for more in (np.c_[X, X[:, 0]], np.c_[X, X @ [1.0, -2.0, 0.5, 3.0]], np.c_[X, np.eye(3)[TASKS]]):
        model = MultiTaskLasso(0.0).fit(more, Y, tasks=TASKS)  # a warning is an error here
        assert model.objective_ == pytest.approx(MultiTaskLasso(0.0).fit(X, Y, tasks=TASKS).objective_)


def optimum_far_from_zero(loss, X, y, offset, shared):
    """Least mean loss of each task at X + offset without intercepts: as good as free where the sum of w is 0.

    In the coordinates offset sum(w), w_2, w_3, ..., which lose no digits.
    """
    A = np.column_stack([1.0 + X[:, 0] / offset, X[:, 1:] - X[:, :1]])
    rows = [np.arange(len(X))] if shared else [np.flatnonzero(t == TASKS) for t in range(3)]

    def objective(v, at):
        eta = A[at] @ v
        slopes = loss.gradient(y[at], eta) / 30
        return loss.value(y[at], eta).sum() / 30, A[at].T @ slopes

    return sum(minimize(objective, np.zeros(4), args=(at,), jac=True, tol=1e-10).fun for at in rows)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("max_iter", [1, 100])
@pytest.mark.parametrize("penalty, shared", [(Ridge(0.0), False), (Shared(0.0), True)], ids=["own", "shared"])
@pytest.mark.parametrize("loss", [Logistic(), SquaredError()], ids=str)
def test_certificates_hold_far_from_zero_without_intercepts(loss, penalty, shared, max_iter):
    """The moments hold the offset only, and what is along it no quadratic model tells."""
    grid, y = np.round(X * 2**10) / 2**10, Y if loss.quadratic else 1.0 * (Y > 0.5)
    best = optimum_far_from_zero(loss, grid, y, 1e8, shared)
    data = make_task_data(grid + 1e8, y, TASKS)
    found = solve(data, loss, penalty, fit_intercept=False, max_iter=max_iter)
    assert best * (1 - 1e-6) <= found.objective
    assert found.objective - found.gap <= best * (1 + 1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_classes_that_change_alike_hide_no_curvature():
    """Far from zero that between features is 1e-16 of the rest; no loss sees what classes have in common."""
    rng, t, alpha = np.random.default_rng(6), np.arange(60) % 5, 1e-3
    binary, y = rng.integers(0, 2, size=(60, 3)), rng.integers(0, 3, size=60)
    model = ClusteredClassifier(alpha, fit_intercept=False, max_iter=20).fit(binary + 1e8, y, tasks=t)
    # about the same model, as coefficients add up to next to nothing, and more than its penalty can be
    A = np.hstack([binary @ null_space(np.ones((1, 3))), np.ones((60, 1))])

    def objective(v):
        W = v.reshape(5, 3, 3)
        eta = np.einsum("ij,ikj->ik", A, W[t])
        loss = (logsumexp(eta, axis=1) - eta[np.arange(60), y]).sum() / 12
        slope = (softmax(eta, axis=1) - (y[:, None] == np.arange(3))) / 12
        G = np.array([slope[t == k].T @ A[t == k] for k in range(5)]) + 2 * alpha * W * [1, 1, 0]
        return loss + alpha * (W[..., :2] ** 2).sum(), G.ravel()

    best = minimize(objective, np.zeros(45), jac=True).fun
    assert model.objective_ - model.dual_gap_ <= best * (1 + 1e-6)


@pytest.mark.parametrize("size", [1.0, 1e3])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_huber_with_rows_that_are_straight_is_not_certified_too_early(size):
    """Pooled least squares is a point of the model: its objective is at least the optimum."""
    model = MeanRegularizedRegressor(1.0, loss="huber", max_iter=60).fit(X, Y * size, tasks=TASKS)
    means = np.array([(Y[t == TASKS] * size).mean() for t in range(3)])
    centered = X - np.array([X[t == TASKS].mean(axis=0) for t in range(3)])[TASKS]
    slopes = np.linalg.lstsq(centered, Y * size - means[TASKS], rcond=None)[0]
    off = np.abs(Y * size - means[TASKS] - centered @ slopes)
    loss = np.where(off <= 1.35, off**2 / 2, 1.35 * off - 1.35**2 / 2)
    attained = sum(loss[t == TASKS].mean() for t in range(3))
    assert model.objective_ - model.dual_gap_ <= attained


# --- strengths ---


@pytest.mark.parametrize("alpha", [1e8, 1e13, 1e16, 1e40])
@pytest.mark.parametrize("graph", [None, np.ones((3, 3)) - np.eye(3)])
@layouts
def test_huge_strengths_pool_the_tasks(alpha, graph, layout):
    model = GraphRegularizedRegressor(alpha, graph=graph).fit(**arguments(layout))
    pooled = MultiTaskRegressor(1e3, penalty=Features(L2()), mean_alpha=0.0, tol=1e-9).fit(
        **arguments(layout)
    )
    assert_allclose(model.coef_, pooled.coef_, atol=1e-5)
    assert model.objective_ == pytest.approx(pooled.objective_, rel=1e-6)
    assert 0 <= model.dual_gap_ <= 1e-4 * model.objective_


@pytest.mark.parametrize("alpha", [1e4, 1e8, 1e12])
def test_random_intercepts_with_common_slopes(alpha):
    """Against lstsq of the augmented rows: common slopes, intercepts that are drawn to their mean."""
    indicators = np.eye(3)[TASKS]
    A = np.vstack([np.c_[X, indicators] / np.sqrt(30), np.c_[np.zeros((3, 4)), np.eye(3) - 1 / 3]])
    v = np.r_[Y / np.sqrt(30), np.zeros(3)]
    expected = np.linalg.lstsq(A, v, rcond=None)[0]
    best = 0.5 * ((A @ expected - v) ** 2).sum()
    model = MeanRegularizedRegressor(alpha, intercept_alpha=1.0, tol=1e-9).fit(X, Y, tasks=TASKS)
    assert_allclose(model.mean_coef_, expected[:4], atol=1e-3 if alpha == 1e4 else 1e-6)
    assert best * (1 - 1e-3) <= model.objective_ <= best * (1 + 1e-9)


def test_a_ridge_is_not_lost_beside_a_huge_graph():
    graph = np.ones((3, 3)) - np.eye(3)
    model = GraphRegularizedRegressor(1e13, graph=graph, ridge=0.5, tol=1e-9).fit(X, Y, tasks=TASKS)
    common = MeanRegularizedRegressor(1e13, mean_alpha=0.5, tol=1e-9).fit(X, Y, tasks=TASKS)
    assert_allclose(model.coef_, common.coef_, atol=1e-9)


@pytest.mark.parametrize("alpha", [1e-12, 1e-16, 1e-20])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
@pytest.mark.parametrize("cls", [GroupSparseRegressor, TraceNormRegressor, DirtyRegressor])
def test_strengths_below_rounding_are_none(cls, loss, alpha):
    model = cls(alpha, loss=loss, tol=1e-9).fit(X, Y, tasks=TASKS)  # a warning is an error here
    plain = MultiTaskRegressor(0.0, loss=loss, penalty=Ridge(), tol=1e-10).fit(X, Y, tasks=TASKS)
    assert_allclose(model.coef_, plain.coef_, atol=1e-4)
    assert plain.objective_ - 1e-12 <= model.objective_ <= plain.objective_ + model.dual_gap_ + 1e-12


def test_a_straight_loss_needs_no_penalty():
    """Huber's loss at W = 0, where nearly all rows are beyond delta and the Hessian is singular."""
    model = MultiTaskRegressor(0.0, loss=Huber(1e-3), penalty=Ridge(), tol=1e-8).fit(X, Y, tasks=TASKS)
    assert model.dual_gap_ <= 1e-6 * model.objective_


# --- parts ---


@pytest.mark.parametrize("intercept_alpha", [0.0, 0.5, 1e6])
@pytest.mark.parametrize(
    "strengths", [(1, 0), (1, 1), (0.3, 2), (1e-8, 0), (1e6, 0), (1e12, 3), (2, 1), (0, 0), (0, 1), (1, 1e9)]
)
def test_inverse_by_what_is_shared_is_exact(strengths, intercept_alpha, rng):
    term = make_term(make_task_data(X + 1.0, Y, TASKS), SquaredError(), True, intercept_alpha)
    quadratic = TaskQuadratic(3, *map(float, strengths))
    inverse = make_preconditioner(term, quadratic)
    V = rng.normal(size=term.shape)
    mean = V.mean(axis=0)  # what costs much is small
    V = (V - mean) / max(strengths[0], 1.0) + mean / max(strengths[1], 1.0)
    assert_allclose(inverse(term.curvature(V) + quadratic.apply(V)), V, atol=1e-7)


def test_a_gap_below_zero_is_shown_by_its_size(monkeypatch):
    """An objective that rounding puts below the optimum by an eighth of what it is at zero."""
    one = Problem(make_term(make_task_data(X, Y, TASKS), SquaredError()), Ridge(0.5))
    W = MultiTaskRegressor(0.5, penalty=Ridge(), tol=1e-15).fit(X, Y, tasks=TASKS).coef_
    assert one.gap([W])[2] < 1e-12
    off, evaluate = one.null_objective() / 8, one.evaluate
    monkeypatch.setattr(one, "evaluate", lambda *args: (*(found := evaluate(*args))[:3], found[3] - off))
    assert one.gap([W])[2] == pytest.approx(off, rel=1e-9)


def test_moments_of_a_constant_column_are_zero(rng):
    for value in (0.1, 1e8 / 3):
        stats = TaskStatistics.from_arrays(np.full((90, 1), value), Y, TASKS)
        assert not stats.xx.any() and not stats.xy.any()


# --- certificates and results in any unit ---


TREE = {"tree": {0: "a", 1: "a", 2: "b"}}
CHAIN = {"graph": np.eye(3, k=1) + np.eye(3, k=-1)}


@pytest.mark.parametrize(
    "cls, options, power, unit",
    [
        *((HierarchicalRegressor, TREE, 1, unit) for unit in (1e-100, 1e-8, 1e100)),
        *((GraphRegularizedRegressor, CHAIN, 2, unit) for unit in (1e-50, 1e-8, 1e50)),
        *((TemporalRegressor, {"smooth": "quadratic"}, 2, unit) for unit in (1e-50, 1e-8, 1e50)),
    ],
)
def test_graphs_and_trees_are_certified_in_any_unit(cls, options, power, unit):
    expected = cls(0.1, **options).fit(X, Y, tasks=TASKS)
    found = cls(0.1 * unit**power, **options).fit(X * unit, Y, tasks=TASKS)  # a warning is an error here
    assert found.objective_ == pytest.approx(expected.objective_, rel=1e-3)
    assert found.dual_gap_ <= 1e-3 * expected.objective_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("offset", [1e3, 1e5, 1e8])
def test_no_fit_is_worse_than_that_of_no_features(offset):
    """With tied intercepts an offset of X is hard; what gets lost on the way is not handed back."""
    for model in (
        GroupSparseClassifier(0.02, intercept_alpha=0.1, max_iter=300),
        MultiTaskLasso(0.1, intercept_alpha=0.3, max_iter=300),
        MeanRegularizedRegressor(10.0, intercept_alpha=1e-3, max_iter=300),
    ):
        y = Y > 0 if model.__class__.__name__.endswith("Classifier") else Y
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            model.fit(X + offset * np.array([1, -1, 1, -1]), y, tasks=TASKS)
        null = 3 * np.log(2) if y.dtype == bool else sum(0.5 * np.mean(y[t == TASKS] ** 2) for t in range(3))
        assert model.objective_ <= null * (1 + 1e-9)


@pytest.mark.parametrize("alpha", [0.0, 1e-16])
@pytest.mark.parametrize("mean_alpha", [1e-2, 1e13])
def test_deviations_that_nothing_holds_serve_the_mean(alpha, mean_alpha):
    """With more features than rows every task is fitted perfectly by coefficients whose mean is zero."""
    wide = np.random.default_rng(3).normal(size=(15, 9))
    model = MeanRegularizedRegressor(alpha, mean_alpha=mean_alpha)
    model.fit(wide, Y[:15], tasks=np.repeat(range(3), 5))  # a warning is an error here
    assert model.objective_ <= 1e-8
    assert np.abs(model.mean_coef_).max() <= 1e-4 * np.abs(model.coef_).max()


@pytest.mark.parametrize("seed", [219, 298])
def test_rounding_of_moments_is_no_bound_of_a_perfect_fit(seed):
    """Of 20 features and 3 intercepts for 22 rows, with a mean that costs nothing: the optimum is zero."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 2, (22, 20)).astype(float), rng.normal(size=22)
    model = ClusteredRegressor(n_clusters=2, alpha=0.1).fit(X, y, tasks=np.repeat([0, 1, 2], [12, 6, 4]))
    assert 0 < model.objective_ < 1e-3
    assert model.objective_ - model.dual_gap_ <= 1e-12


@pytest.mark.parametrize("mean_alpha", [1e-3, 1.0, 1e8])
def test_a_latent_basis_beside_a_mean_of_any_strength_is_found_soon(mean_alpha):
    model = LatentBasisRegressor(0.01, mean_alpha=mean_alpha, random_state=0, tol=1e-6)
    model.fit(X, Y, tasks=TASKS)
    assert model.n_iter_ <= 200
    S, L = model._parts_[:2]
    residual = Y - (X * (S @ L)[TASKS]).sum(axis=1) - model.intercept_[TASKS] - X @ model.mean_coef_
    gradient = -X.T @ residual / 30 + mean_alpha * 3 * model.mean_coef_  # of m
    assert np.abs(gradient).max() <= 1e-3 * (1 + mean_alpha * 3 * np.abs(model.mean_coef_).max())


def test_a_latent_basis_of_a_huge_strength_is_none():
    rng = np.random.default_rng(0)  # with so few rows gradients underflow on the way to zero
    X, y, tasks = rng.normal(size=(18, 3)), np.arange(18) // 2 % 2, np.arange(18) % 2
    model = LatentBasisClassifier(1e13).fit(X, y, tasks=tasks)
    assert not model.coef_.any()


def nonnegative(X, y, tasks):
    """Objective of nonnegative least squares with intercepts, task by task."""
    total = 0.0
    for t in np.unique(tasks):
        own, target = X[tasks == t], y[tasks == t]
        total += 0.5 * nnls(own - own.mean(axis=0), target - target.mean())[1] ** 2 / len(target)
    return total


@pytest.mark.parametrize("mean_alpha", [None, 0.0])
@pytest.mark.parametrize("unit", [1.0, 1e-8, np.array([1e8, 1e-3, 1, 1]), VAST], ids=str)
@pytest.mark.parametrize("size", [1.0, 1e-100, 1e100])
def test_a_bare_constraint_does_not_depend_on_units(unit, size, mean_alpha):
    """Neither the solution does nor when the solver stops; beside a free mean the latter is all."""
    y = size * (Y - X @ [0, 2, 0, 0])  # some coefficients are at the constraint
    model = MultiTaskRegressor(0.0, penalty=Positive(Entries(L1())), mean_alpha=mean_alpha, tol=1e-11)
    found = clone(model).fit(X * unit, y, tasks=TASKS)
    plain = clone(model).fit(X, y, tasks=TASKS)
    expected = plain.objective_ if mean_alpha == 0 else nonnegative(X, y, TASKS)
    assert found.objective_ == pytest.approx(expected, rel=1e-9)
    assert_allclose(found.coef_ * unit, plain.coef_, rtol=1e-7, atol=1e-12 * size)
    assert_allclose(found.intercept_, plain.intercept_, rtol=1e-7, atol=1e-10 * size)


def penalised_nonnegative(X, y, ridge=0.0, mean_alpha=None):
    """Optimum of V >= 0, and of a mean m, by bounded least squares in units of equal spread."""
    s, T, p = X.std(axis=0), TASKS.max() + 1, X.shape[1]
    fits = [(X[t == TASKS] - X[t == TASKS].mean(axis=0)) / s / np.sqrt((t == TASKS).sum()) for t in range(T)]
    targets = [(y[t == TASKS] - y[t == TASKS].mean()) / np.sqrt((t == TASKS).sum()) for t in range(T)]
    own, shared = block_diag(*fits), np.vstack(fits)
    A, v, low = own, np.concatenate(targets), np.zeros(T * p)
    if mean_alpha is not None:
        A, low = np.hstack([own, shared]), np.append(low, np.full(p, -np.inf))
    strengths = np.append(np.full(T * p, ridge), np.full(A.shape[1] - T * p, T * (mean_alpha or 0.0)))
    A = np.vstack([A, np.diag(np.sqrt(strengths) / np.tile(s, A.shape[1] // p))])
    return lsq_linear(A, np.append(v, np.zeros(len(strengths))), (low, np.inf), method="bvls", tol=1e-14).cost


@pytest.mark.parametrize("strength", [0.1, 1.0])
@pytest.mark.parametrize("unit", [1.0, np.array([1e3, 1, 1e-3, 1]), np.array([1e8, 1e-3, 1, 1e4])], ids=str)
@pytest.mark.parametrize("loss", ["squared_error", Huber(1e3)], ids=str)
@pytest.mark.parametrize("name", ["ridge", "mean_alpha"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_bare_constraint_beside_a_quadratic_penalty_in_any_unit(name, loss, unit, strength):
    """A strength of the mean has the units of the features."""
    y = Y - X @ [0, 2, 0, 0]
    best = penalised_nonnegative(X * unit, y, **{name: strength})
    model = MultiTaskRegressor(0.0, penalty=Positive(Entries(L1())), loss=loss, tol=1e-6, max_iter=300)
    model.set_params(**{name: strength}).fit(X * unit, y, tasks=TASKS)
    assert model.objective_ - model.dual_gap_ <= best * (1 + 1e-9) and best * (1 - 1e-9) <= model.objective_
    if name == "mean_alpha":
        assert model.objective_ == pytest.approx(best, rel=1e-4)
    else:
        assert model.dual_gap_ <= 1e-4 * best or np.ndim(unit)  # far apart it may be a warning


@pytest.mark.parametrize("unit", [np.array([1e3, 1, 1e-3, 1]), VAST], ids=str)
@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_units_of_features_of_a_latent_basis_that_costs_nothing(n_components, unit):
    """A warning is an error here: the factors are found where features vary alike."""
    model = LatentBasisRegressor(0.0, n_components=n_components, random_state=0, tol=1e-6)
    expected = clone(model).fit(X, Y, tasks=TASKS)
    found = clone(model).fit(X * unit, Y, tasks=TASKS)
    assert found.objective_ == pytest.approx(expected.objective_, rel=1e-9)
    assert_allclose(found.coef_ * unit, expected.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm, power", [("mcp", 1), ("scad", 1), ("capped", 1), ("sqrt", 1.5)])
@pytest.mark.parametrize("size", [1e-100, 1e-5, 1e5, 1e100])
def test_size_of_the_targets_of_models_without_a_certificate(norm, power, size):
    one = GroupSparseRegressor(0.1, norm=norm).fit(X, Y, tasks=TASKS)
    other = GroupSparseRegressor(0.1 * size**power, norm=norm).fit(X, size * Y, tasks=TASKS)
    assert other.objective_ == pytest.approx(size**2 * one.objective_, rel=1e-6)
    assert_allclose(other.coef_, size * one.coef_, rtol=1e-3, atol=1e-6 * size)


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e-8])
def test_a_point_outside_of_a_constraint_is_no_solution(unit):
    """Whatever the units, it is not the smooth part that is shown."""
    model = MultiTaskRegressor(0.0, penalty=Positive(Entries(L1())), mean_alpha=0.5, solver="splitting")
    model.fit(X * [unit, 1, 1, 1], Y, tasks=TASKS)
    assert (model.deviation_coef_ >= 0).all() and np.isfinite(model.objective_)


def few_rows(seed, classes):
    """Four to eight rows of two or three tasks, exact numbers; classes that no task lacks, or numbers."""
    rng = np.random.default_rng(seed)
    n_tasks, n_rows = 2 + seed % 2, 4 + seed % 5
    tasks = np.repeat(np.arange(n_tasks), n_rows)
    X = np.round(rng.normal(size=(len(tasks), 1 + seed % 2)) * 2**18) / 2**18
    y = X[:, 0] + rng.normal(size=len(tasks))
    if classes:
        y = (y > 0).astype(float)
        y[::n_rows], y[n_rows - 1 :: n_rows] = 0.0, 1.0
    return X, y, tasks


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("loss", ["squared_error", "huber", "squared_hinge", "log_loss"])
def test_certificates_of_tied_intercepts_hold_at_any_offset(loss):
    """What common slopes reach is the same at all offsets, and no optimum is above it."""
    classes = loss in ("squared_hinge", "log_loss")
    model = (MultiTaskClassifier if classes else MultiTaskRegressor)(loss=loss, max_iter=50)
    for seed, intercept_alpha in enumerate([1e-6, 1.0, 1e6]):
        model.set_params(intercept_alpha=intercept_alpha)
        pooled = clone(model).set_params(penalty=Shared(0.0), tol=1e-9, max_iter=1000)
        X, y, tasks = few_rows(seed, classes)
        reached = clone(pooled).fit(X, y, tasks=tasks).objective_
        for offset in (1e4, 1e6, 1e8):
            found = clone(model).set_params(alpha=0.0, mean_alpha=0.0).fit(X + offset, y, tasks=tasks)
            assert found.objective_ - found.dual_gap_ <= reached * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("cls", [GroupSparseRegressor, GroupSparseClassifier, MeanRegularizedRegressor])
def test_an_only_intercept_is_not_tied(cls):
    y = Y > 0 if cls is GroupSparseClassifier else Y
    free, tied = (cls(0.01, intercept_alpha=a).fit(X + 1e8, y[:, None]) for a in (0.0, 1e6))
    assert_allclose(tied.coef_, free.coef_, rtol=0)
    assert tied.objective_ == free.objective_


@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_tied_intercepts_far_from_zero_are_free_and_slopes_agree_along_the_offset(offset):
    """Without a penalty: deviations along the offset answer any intercept, and have no other use."""
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(60, 6)), np.arange(60) % 3
    y = X @ rng.normal(size=6) + tasks + rng.normal(size=60)
    tied = MultiTaskRegressor(0.0, intercept_alpha=0.5).fit(X + offset, y, tasks=tasks)
    one = np.eye(3)[tasks]
    Z = X @ np.linalg.qr(np.column_stack([np.ones(6), np.eye(6)[:, 1:]]))[0]
    each = (one[:, :, None] * Z[:, None, 1:]).reshape(60, -1)
    least = np.linalg.lstsq(np.hstack([one, Z[:, :1], each]), y)[1][0] / 40
    assert_allclose(tied.objective_, least, rtol=1e-6)
    assert tied.dual_gap_ < 1e-4 * least
    assert tied.n_iter_ < 10


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_one_design_far_from_zero_is_as_one_of_each_task(offset):
    """Tied intercepts couple tasks along the means of the features, also of a shared design."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    Y = X @ rng.normal(size=(5, 4)) + rng.normal(size=(40, 4)) + rng.normal(size=4)
    stacked = np.tile(X, (4, 1)) + offset, Y.T.ravel()
    for penalty in (
        Features(L2()),
        Entries(L1()),
        Spectrum(L1()),
        Features(Fused()),
        InfConv([Features(L2()), Entries(L1())]),
    ):
        model = MultiTaskRegressor(0.1, penalty=penalty, intercept_alpha=0.5)
        each = clone(model).fit(*stacked, tasks=np.repeat(np.arange(4), 40))
        model.fit(X + offset, Y)
        assert max(model.dual_gap_, each.dual_gap_) < 1e-3 * model.objective_, penalty
        assert abs(model.objective_ - each.objective_) <= max(model.dual_gap_, each.dual_gap_), penalty


@pytest.mark.parametrize("seed", [0, 1])
def test_features_collinear_up_to_rounding_give_the_free_mean_no_direction(seed):
    """The mean of a third feature that two others explain but for rounding, in other units."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 36)) * 1e8
    X, y = np.column_stack([a, 1e-11 * (a - b), b]), rng.integers(2, size=36)
    for rows in (slice(None), np.repeat(np.arange(36), 2)):
        model = MeanRegularizedClassifier(0.1).fit(X[rows], y[rows], tasks=(np.arange(36) % 3)[rows])
        assert np.abs(model.coef_ * X.std(axis=0)).max() < 1e3
        assert model.dual_gap_ < 1e-3


@pytest.mark.parametrize("shared", [True, False])
def test_a_free_mean_of_fewer_rows_than_collinear_features_is_certified_at_once(shared):
    """Directions that no row sees hold parts of those of little curvature, by rounding: they are free."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(42, 10))
    X = patterns @ rng.normal(size=(10, 100)) + 0.05 * rng.normal(size=(42, 100))
    Y = 50 * patterns[:, :5] @ rng.normal(size=(5, 4)) + 30 * rng.normal(size=(42, 4)) + 300
    given = {"y": Y} if shared else {"y": Y[:, 0], "tasks": np.arange(42) % 4}
    model = MeanRegularizedRegressor(1.0, max_iter=3).fit(X, **given)
    assert model.dual_gap_ < 1e-9 * Y.var() and np.abs(model.coef_).max() < 1e3


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_beside_numbers_far_from_zero_have_a_certificate(n_classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    scores = X @ rng.normal(size=(3, 3)) + rng.logistic(size=(60, 3))
    Y = scores.astype(object)
    Y[:, 0] = np.digitize(scores[:, 0], [0] if n_classes == 2 else [-1, 1]).astype(str)
    losses = {0: "log_loss", 1: "squared_error", 2: "squared_error"}
    near, far = (
        MixedTaskModel(0.01, intercept_alpha=1.0, losses=losses, max_iter=30).fit(X + offset, Y)
        for offset in (1e3, 1e6)
    )
    for model in (near, far):
        assert model.dual_gap_ < 1e-3 * model.objective_
    assert_allclose(far.objective_, near.objective_, rtol=1e-3)


def test_a_norm_that_is_nothing_for_one_feature_is_not_for_all(capsys):
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(60, 4)) * [1e30, 1.0, 1.0, 1.0], np.arange(60) % 3
    y = (X[:, 1] + 0.5 * rng.normal(size=60) > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        GroupSparseClassifier(0.05, verbose=1, max_iter=3).fit(X, y, tasks=tasks)
    assert not capsys.readouterr().out.startswith("newton ")


def test_a_shared_mean_beside_a_coupling_that_lets_it_pass_is_nothing():
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(60, 4)) * [1e3, 1.0, 1.0, 1e-3] + 1.0, np.arange(60) % 3
    y = X @ [1e-3, 1.0, -1.0, 1e3] + rng.normal(size=60)
    plain, shared = (
        GraphRegularizedRegressor(0.1, mean_alpha=mean, intercept_alpha=0.5).fit(X, y, tasks=tasks)
        for mean in (None, 0.0)
    )
    assert_allclose(shared.coef_, plain.coef_, rtol=1e-6)
    assert shared.dual_gap_ < 1e-4 * plain.objective_


def test_no_bound_is_above_the_optimum_on_separable_rows_far_from_zero():
    """It is zero, at infinity: rounding times the coefficients so far says nothing of it."""
    rows = [
        [0.7866020203, 1.8712043762, -2.2385902405],
        [-1.7894973755, -0.6444625854, -0.8049201965],
        [1.6589584351, -0.9154281616, 3.0290298462],
        [-0.6475639343, 0.3618698120, -0.7376403809],
    ]
    X, y = np.repeat(rows, [2, 1, 3, 3], axis=0) + 1e6, np.repeat([0, 1, 0, 1], [2, 1, 3, 3])
    for max_iter in (1, 8, 100):
        model = MultiTaskClassifier(1e-16, fit_intercept=False, max_iter=max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        assert model.objective_ - model.dual_gap_ <= 1e-9


@pytest.mark.parametrize("offset", [1e7, 1e8])
@pytest.mark.parametrize("seed", range(3))
def test_no_bound_is_above_the_optimum_under_a_straight_loss_far_from_zero(seed, offset):
    """Beside the offset a gradient along what rows differ by is little, but no rounding."""
    rng, tasks = np.random.default_rng(seed), np.repeat(np.arange(3), 12)
    X, y = rng.normal(size=(36, 3)), 1e5 * rng.normal(size=36)
    # what has a sum of coefficients leaves the rows: beside slopes that sum to zero it is an intercept
    slopes = X @ null_space(np.ones((1, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        near = solve(make_task_data(slopes, y, tasks), Huber(), Ridge(0.0))
        data = make_task_data(X + offset, y, tasks)
        far = solve(data, Huber(), Ridge(0.0), fit_intercept=False, max_iter=300)
    assert far.objective - far.gap <= near.objective * (1 + 1e-6)


def test_a_method_for_eigenvectors_that_fails_is_not_used():
    """On the matrix of a certificate of these rows one of the methods of LAPACK has an "Internal Error"."""
    X = np.zeros((4, 6))
    X[[0, 0, 0], [0, 2, 4]] = -1.1125106811523438, 1.2406806945800781, -0.6372451782226562
    X[[1, 1, 2, 2, 2], [2, 3, 2, 4, 5]] = (
        -1.256557464599609, 0.2675743103027344, -0.2535820007324219, 0.548854827880859, -1.3817443847656250,
    )  # fmt: skip
    X[3, [0, 3, 4]] = 0.571662902832031, -0.9030456542968750, 0.150947570800781
    Y = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 0], [1, 1, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = DirtyClassifier(1e-6, mean_alpha=0.0, shared_ratio=0.9).fit(X + 1e3, Y)
    assert np.isfinite(model.coef_).all()


def test_features_that_are_in_use_may_need_nothing_more():
    """A working set may be solved when it is formed: its gap is zero, where columns are in vast units."""
    X = np.array([
        [1.2220039367675781e100, 0.2859535217285156], [1.3038787841796876e100, -0.34806060791015625],
        [-1.9468040466308592e100, 1.6678543090820312], [1.8283843994140625e99, 0.7502212524414062],
    ])  # fmt: skip
    X, weight = (
        np.column_stack([X, np.zeros(4)]),
        [2.2109695649599357, 1.7252387299283656, 1.2335061615188385],
    )
    weight = [*weight, 1.7921352045959913]
    model = MultiTaskClassifier(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, [0, 1, 0, 1], sample_weight=weight)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("model", [MeanRegularizedClassifier(0.01), GroupSparseClassifier(0.001)])
def test_predictors_without_digits_are_refused(model, rng):
    """An intercept that cancels X w in all digits leaves predictions that are rounding."""
    steps, tasks = 4.0 * rng.integers(-3, 4, size=(60, 2)), np.repeat([0, 1, 2], 20)
    y = steps.sum(axis=1) + 8 * rng.normal(size=60) > 0
    assert model.fit(1e14 + steps, y, tasks=tasks).score(1e14 + steps, y, tasks=tasks) > 0.7
    with pytest.raises(ValueError, match="X: an intercept of"):
        model.fit(1e16 + steps, y, tasks=tasks)


@pytest.mark.parametrize("seed", range(5))
def test_columns_of_zeros_are_axes_beside_the_others(seed):
    """Eigenvectors of no curvature would mix with them, and the rest of those depend on one another."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(30, 12)) @ rng.normal(size=(12, 50))
    A[:, ::3] = 0.0
    B = A.T @ A
    assert_allclose(pseudo_inverses(B[None])[0], np.linalg.pinv(B, hermitian=True), atol=1e-13)
