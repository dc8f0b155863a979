"""Units, offsets, sizes of targets and strengths: what must change nothing but what it is about."""

import numpy as np
import pytest
from conftest import estimators
from numpy.testing import assert_allclose

from skmtl import (
    DirtyRegressor,
    GraphRegularizedRegressor,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskLasso,
    MultiTaskRegressor,
    TaskRelationshipRegressor,
    TaskStatistics,
    TraceNormRegressor,
)
from skmtl._problem import Problem
from skmtl._terms import make_term
from skmtl.losses import Huber, SquaredError
from skmtl.penalties import L2, Features, Ridge
from skmtl.penalties._coupling import TaskQuadratic
from skmtl.solvers import make_task_data
from skmtl.solvers.direct import make_preconditioner


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


layouts = pytest.mark.parametrize("layout", ["stacked", "shared", "missing"])


# --- units of the features ---


@layouts
@pytest.mark.parametrize("name", sorted(name for name in estimators() if name.endswith("Regressor")))
def test_units_of_features_without_a_penalty(name, layout):
    if name in ("IncompleteMultiSourceRegressor", "LatentBasisRegressor"):
        return  # the first reads its tasks from X, the second is not convex
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
    expected = MeanRegularizedClassifier(0.0, mean_alpha=0.0).fit(X[:, :2], y, tasks=TASKS)
    found = MeanRegularizedClassifier(0.0, mean_alpha=0.0).fit(X[:, :2] * [1e8, 1e-3], y, tasks=TASKS)
    assert_allclose(found.coef_ * [1e8, 1e-3], expected.coef_, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("cls", [TraceNormRegressor, TaskRelationshipRegressor, DirtyRegressor])
@pytest.mark.parametrize("unit", [1e2, 1e4, 1e6])
def test_a_feature_in_another_unit_does_not_stop_convergence(cls, unit):
    model = cls(0.05, max_iter=2000).fit(X * [unit, 1, 1, 1], Y, tasks=TASKS)  # a warning is an error here
    assert model.dual_gap_ <= 1e-4 * 0.5 * 3 * Y.var() * 2


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
    model = cls(alpha, loss=loss).fit(X, Y, tasks=TASKS)  # a warning is an error here
    plain = MultiTaskRegressor(0.0, loss=loss, penalty=Ridge(), tol=1e-10).fit(X, Y, tasks=TASKS)
    assert_allclose(model.coef_, plain.coef_, atol=1e-2)
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


def test_a_gap_below_zero_is_shown_by_its_size():
    data = make_task_data(X, Y, TASKS)
    one = Problem(make_term(data, SquaredError()), Ridge(0.5))
    W = MultiTaskRegressor(0.5, penalty=Ridge(), tol=1e-15, max_iter=50).fit(X, Y, tasks=TASKS).coef_
    assert 0 <= one.gap([W])[2] < 1e-12


def test_moments_of_a_constant_column_are_zero(rng):
    for value in (0.1, 1e8 / 3):
        stats = TaskStatistics.from_arrays(np.full((90, 1), value), Y, TASKS)
        assert not stats.xx.any() and not stats.xy.any()
