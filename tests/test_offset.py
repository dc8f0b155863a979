"""Offsets: a part of the linear predictor that is known; taken by a model to the letter, or refused."""

import inspect
import warnings

import cvxpy as cp
import numpy as np
import pytest
import sklearn
from conftest import LAYOUTS, LOSSES, PENALTIES, cut_networks, estimators, kind_of_target, make_layout
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metadata_routing import get_routing_for_object

import skmtl
from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskMLP,
    MultiTaskMLPClassifier,
    MultiTaskMLPRegressor,
    MultiTaskRegressor,
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskKFold,
    TaskRelationshipRegressor,
    TaskStatistics,
    TemporalRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
    path,
    penalties,
)
from skmtl.losses import Logistic, Multinomial, Poisson, SquaredError
from skmtl.metrics import task_scorer
from skmtl.neural_network._network import Network
from skmtl.neural_network._rows import Rows
from skmtl.objective import Problem, make_term
from skmtl.solvers import make_task_data, run

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

rng = np.random.default_rng(0)
INTERCEPTS = {"free": {}, "none": {"fit_intercept": False}, "pooled": {"intercept_alpha": 0.7}}


def offset_of(layout, n_outputs=1, seed=3):
    """A random offset in the shape that a loss needs."""
    shape = layout.y.shape if n_outputs == 1 else (*layout.y.shape, n_outputs)
    return np.random.default_rng(seed).normal(size=shape)


def with_columns(layout, offset):
    """X with the offset in columns of its own, and the coefficients of these (n_tasks, n_outputs, k)."""
    n, T, K = len(layout.y), len(list(layout.blocks())), 1
    if layout.y.ndim == 1:
        columns = offset.reshape(n, -1)
        K = columns.shape[1]
        fixed = np.repeat(np.eye(K)[None], T, axis=0)
    else:
        columns = offset.reshape(n, -1)
        K = columns.shape[1] // T
        fixed = np.eye(T * K).reshape(T, K, T * K)
    hstack = sparse.hstack if sparse.issparse(layout.X) else np.hstack
    X = hstack([layout.X, columns])
    return (X.tocsr() if sparse.issparse(X) else X), fixed


def both_terms(kind, loss, options):
    """The term with an offset; one with it in columns; and what makes coefficients of the latter."""
    layout = make_layout(kind, kind_of_target(loss))
    if loss.n_outputs > 1:
        labels = np.random.default_rng(1).integers(loss.n_outputs, size=layout.y.shape).astype(float)
        layout.y = np.where(np.isnan(layout.y), np.nan, labels)
    offset = offset_of(layout, loss.n_outputs)
    given = {"tasks": layout.tasks, "sample_weight": layout.sample_weight}
    term = make_term(make_task_data(layout.X, layout.y, **given, offset=offset), loss, **options)
    X, fixed = with_columns(layout, offset)
    other = make_term(make_task_data(X, layout.y, **given), loss, **options)

    def widened(W):
        W = W.reshape(len(W), loss.n_outputs, -1)
        return np.concatenate([W, fixed], axis=2).reshape(len(W), -1)

    def own(G):
        p = term.n_features // loss.n_outputs
        return G.reshape(len(G), loss.n_outputs, -1)[:, :, :p].reshape(len(G), -1)

    return term, other, widened, own


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("options", INTERCEPTS.values(), ids=INTERCEPTS)
def test_an_offset_is_a_column_whose_coefficient_is_one(kind, options, rng):
    for loss in [*LOSSES.values(), Multinomial(3)]:
        term, other, widened, own = both_terms(kind, loss, options)
        for W in (np.zeros(term.shape), 0.5 * rng.normal(size=term.shape)):
            W2 = widened(W)
            image, image2 = term.image(W), other.image(W2)
            b, b2 = term.intercept(W, image, None), other.intercept(W2, image2, None)
            assert_allclose(term.restored(W, b), other.restored(W2, b2), rtol=1e-8, atol=1e-8)
            assert term.value(W, image, b) == pytest.approx(other.value(W2, image2, b2), rel=1e-10)
            G = other.gradient(W2, image2, b2)
            assert_allclose(term.gradient(W, image, b), own(G), rtol=1e-8, atol=1e-8)
            eta = None if loss.quadratic else term.predictor(image, b)
            eta2 = None if loss.quadratic else other.predictor(image2, b2)
            V = rng.normal(size=W.shape)
            V2 = widened(V) - widened(np.zeros(W.shape))
            assert_allclose(term.curvature(V, eta), own(other.curvature(V2, eta2)), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", ["weighted", "missing"])
@pytest.mark.parametrize("options", INTERCEPTS.values(), ids=INTERCEPTS)
def test_gradients_with_an_offset_equal_central_differences(kind, options, rng):
    for loss in [*LOSSES.values(), Multinomial(3)]:
        term, h = both_terms(kind, loss, options)[0], 1e-5

        def value(W, term=term):
            image = term.image(W)
            return term.value(W, image, term.intercept(W, image, None))

        W, V = 0.5 * rng.normal(size=(2, *term.shape))
        slope = (value(W + h * V) - value(W - h * V)) / (2 * h)
        assert np.vdot(term.gradient_at(W), V) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("kind", ["stacked", "missing"])
@pytest.mark.parametrize("options", INTERCEPTS.values(), ids=INTERCEPTS)
@pytest.mark.parametrize("penalty", ["features-l2", "mean", "spectrum-l1"])
def test_the_gap_covers_the_distance_to_the_optimum(kind, options, penalty, rng):
    for loss in [*LOSSES.values(), Multinomial(3)]:
        term = both_terms(kind, loss, options)[0]
        problem = Problem(term, PENALTIES[penalty], 0.1)
        best = run(problem, tol=1e-10)
        assert best.gap <= 1e-9 * problem.null_objective()
        for size in (0.0, 0.1, 1.0):
            parts = [size * rng.normal(size=term.shape) for _ in problem.parts]
            value, _, gap = problem.gap(parts)
            assert gap >= value - best.objective - 1e-9 * abs(value)


# --- several losses at once ---


def test_tasks_of_different_kinds_take_it_each_in_its_way(rng):
    """By hand: of losses of y - eta it is in the targets, of the others in the predictors."""
    for losses in (
        [SquaredError(), Logistic(), Poisson(), LOSSES["Huber"]],
        [SquaredError(), Multinomial(3), Poisson(), LOSSES["Huber"]],
    ):
        K, (n, T) = max(loss.n_outputs for loss in losses), (60, len(losses))
        X, Y = rng.normal(size=(n, 3)), np.abs(rng.normal(size=(n, T)))
        Y[:, 1] = rng.integers(losses[1].n_outputs + (K == 1), size=n)
        offset = rng.normal(size=(n, T) if K == 1 else (n, T, K))
        term = make_term(make_task_data(X, Y, offset=offset), losses)
        W = rng.normal(size=term.shape)
        image = term.image(W)
        b = term.intercept(W, image, None)
        own, shift = W.reshape(T, K, -1), term.restored(W, b).reshape(T, K)
        eta = np.einsum("nj,tkj->ntk", X, own) + shift + offset.reshape(n, T, K)
        each = (
            loss.value(Y[:, t], eta[:, t] if loss.n_outputs > 1 else eta[:, t, 0]).mean()
            for t, loss in enumerate(losses)
        )
        assert term.value(W, image, b) == pytest.approx(sum(each), rel=1e-10)
        best = run(Problem(term, PENALTIES["features-l2"]), tol=1e-8)
        assert 0 <= best.gap <= 1e-8 * Problem(term, PENALTIES["features-l2"]).null_objective()


# --- optima, by conic programs ---


def group(W):
    return cp.sum(cp.norm(W, 2, axis=0))


def by_class(W, K):
    """Columns of a feature (n_tasks * n_classes, n_features) of W (n_tasks, n_classes * n_features)."""
    p = W.shape[1] // K
    return cp.vstack([W[:, k * p : (k + 1) * p] for k in range(K)])


CENTER = np.eye(4) - 0.25
CONIC = {
    "GroupSparse": lambda W, K: group(by_class(W, K)),
    "MeanRegularized": lambda W, K: cp.sum_squares(CENTER @ W) / 2,
    "TraceNorm": lambda W, K: cp.normNuc(W),
}
PAIRS = {
    "GroupSparse": (GroupSparseRegressor, GroupSparseClassifier),
    "MeanRegularized": (MeanRegularizedRegressor, MeanRegularizedClassifier),
    "TraceNorm": (TraceNormRegressor, TraceNormClassifier),
}


def conic_loss(loss, y, eta):
    """Losses of the rows of a task at predictors (n,) or (n, K)."""
    if loss == "poisson":
        return cp.exp(eta) - cp.multiply(y, eta) + np.where(y > 0, y * np.log(np.maximum(y, 1)), 0) - y
    if loss == "two":
        return cp.logistic(cp.multiply(1 - 2 * y, eta))
    return cp.log_sum_exp(eta, axis=1) - cp.sum(cp.multiply(np.eye(3)[y.astype(int)], eta), axis=1)


@pytest.mark.parametrize("loss", ["poisson", "two", "three"])
@pytest.mark.parametrize("name", CONIC)
@pytest.mark.parametrize("shared", [False, True], ids=["stacked", "missing"])
def test_the_optimum_is_that_of_a_conic_program(name, loss, shared, rng):
    n, p, T, K = 96, 3, 4, 3 if loss == "three" else 1
    X, tasks = rng.normal(size=(n, p)), None if shared else np.arange(n) % T
    shape = (n, T) if shared else (n,)
    offset = rng.normal(size=shape if K == 1 else (*shape, K))
    y = rng.poisson(1.5, shape) if loss == "poisson" else rng.integers(2 if loss == "two" else 3, size=shape)
    y = y.astype(float)
    if shared:
        y[rng.random(shape) < 0.3] = np.nan
    alpha, cls = 0.03, PAIRS[name][loss != "poisson"]
    options = {"loss": "poisson"} if loss == "poisson" else {}
    model = cls(alpha, intercept_alpha=0.1, tol=1e-8, **options).fit(X, y, tasks=tasks, offset=offset)
    W, b = cp.Variable((T, K * p)), cp.Variable((T, K))
    data = 0
    for t in range(T):
        rows = np.flatnonzero(~np.isnan(y[:, t])) if shared else np.flatnonzero(tasks == t)
        labels, o = (y[rows, t], offset[rows, t]) if shared else (y[rows], offset[rows])
        own = [X[rows] @ W[t, k * p : (k + 1) * p] + b[t, k] for k in range(K)]
        eta = own[0] + o if K == 1 else cp.vstack(own).T + o
        data = data + cp.sum(conic_loss(loss, labels, eta)) / len(rows)
    spread = cp.sum_squares(CENTER @ b)
    level = [cp.sum(b, axis=1) == 0] if K > 1 else []  # a constant for all classes is free
    problem = cp.Problem(cp.Minimize(data + alpha * CONIC[name](W, K) + 0.05 * spread), level)
    problem.solve(solver=cp.CLARABEL)
    assert model.objective_ == pytest.approx(problem.value, rel=1e-6)
    assert 0 <= model.dual_gap_ <= 1e-7


# --- estimators ---

N, T = 80, 4
TASKS = np.repeat(np.array(["ash", "birch", "cedar", "dune"]), N // T)
X = rng.normal(size=(N, 4))
COEF = 0.4 * rng.normal(size=4) + 0.3 * rng.normal(size=(T, 4))
KNOWN = rng.normal(size=N)
ETA = (X * COEF.repeat(N // T, axis=0)).sum(axis=1)
y = ETA + KNOWN + 0.3 * rng.normal(size=N)
COUNTS = rng.poisson(np.exp(ETA + KNOWN)).astype(float)
TWO = np.where(ETA + KNOWN + rng.logistic(size=N) > 0, "yes", "no")
THREE = np.digitize(ETA + KNOWN + rng.logistic(size=N), [-1.0, 1.0])
Y = X[:40] @ COEF.T + 0.3 * rng.normal(size=(40, T))
Y[rng.random(Y.shape) < 0.2] = np.nan
OFFSETS = rng.normal(size=Y.shape)
TRANSLATING = ("squared_error", "huber", "root_squared_error")


def near(alpha=0.05, **options):
    return MeanRegularizedRegressor(alpha, tol=1e-10, **options)


def regressors():
    """Every linear regressor, and one with each loss of y - eta."""
    for name, cls in estimators().items():
        if is_classifier(cls()):
            continue
        model = cls(alphas=3, cv=2) if name.endswith("CV") else cls(0.05)
        if "random_state" in model.get_params():
            model.set_params(random_state=0)
        losses = TRANSLATING[1:] if name == "GroupSparseRegressor" else []
        for one in [model, *(clone(model).set_params(loss=loss) for loss in losses)]:
            yield pytest.param(one, id=f"{name}-{getattr(one, 'loss', 'any')}")


@pytest.mark.parametrize("model", [*regressors()])
def test_losses_of_differences_have_it_in_their_targets(model):
    incomplete, features = type(model).__name__.startswith("Incomplete"), X.copy()
    given = {} if incomplete else {"tasks": TASKS}
    if incomplete:
        features[::3, :2] = np.nan
    weight = np.where(np.arange(N) % 7, 1.0, 0.5)
    fitted = clone(model).fit(features, y, **given, sample_weight=weight, offset=KNOWN)
    other = clone(model).fit(features, y - KNOWN, **given, sample_weight=weight)
    assert_allclose(fitted.coef_, other.coef_, rtol=1e-10, atol=1e-12)
    assert_allclose(fitted.intercept_, other.intercept_, rtol=1e-10, atol=1e-12)
    shown = fitted.predict(features, **given, offset=KNOWN)
    assert_allclose(shown, other.predict(features, **given) + KNOWN, rtol=1e-10, atol=1e-12)
    assert_allclose(fitted.predict(features, **given), other.predict(features, **given), atol=1e-12)
    if isinstance(model, RegressorMixin):  # else the score is a mean over tasks
        assert fitted.score(features, y, **given, offset=KNOWN) == pytest.approx(r2_score(y, shown))
    if not incomplete:
        shared, less = (clone(model).fit(X[:40], Y, offset=OFFSETS), clone(model).fit(X[:40], Y - OFFSETS))
        assert_allclose(shared.coef_, less.coef_, rtol=1e-10, atol=1e-12)
        shown = shared.predict(X[:40], offset=OFFSETS)
        assert_allclose(shown, less.predict(X[:40]) + OFFSETS, rtol=1e-10, atol=1e-12)


ESTIMATED = [
    MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto"),
    MeanRegularizedRegressor(alpha="auto", covariance="full"),
    TemporalRegressor(alpha="auto", smooth="quadratic", intercept_alpha="auto"),
    TaskRelationshipRegressor(alpha="auto", intercept_alpha="auto"),
]


@pytest.mark.parametrize("model", ESTIMATED, ids=repr)
def test_estimated_strengths_of_the_squared_error_are_those_of_differences(model):
    fitted = clone(model).fit(X, y, tasks=TASKS, offset=KNOWN)
    other = clone(model).fit(X, y - KNOWN, tasks=TASKS)
    for name in ("coef_", "alpha_", "noise_variance_", "log_marginal_likelihood_", "coef_std_"):
        assert_allclose(getattr(fitted, name), getattr(other, name), rtol=1e-10, err_msg=name)
    assert fitted.test_sharing() == other.test_sharing()
    interval = fitted.prediction_interval(X, tasks=TASKS, offset=KNOWN)
    assert_allclose(interval, other.prediction_interval(X, tasks=TASKS) + KNOWN, rtol=1e-9, atol=1e-12)
    for one, offset, shift in ((fitted, KNOWN[:9], 0.0), (other, None, KNOWN[:9])):
        one.fit_task(X[:9], y[:9] - shift, task="elm", offset=offset)
    assert_allclose(fitted.coef_, other.coef_, rtol=1e-9)
    assert_allclose(fitted.coef_std_, other.coef_std_, rtol=1e-9)


# rows with counts, and the same in cells with their sums, the number of rows as exposure
CELLS, SIZES = 60, rng.integers(1, 6, size=60)
REPEATED = np.repeat(np.arange(CELLS), SIZES)
PLACES = np.repeat(np.array(["a", "b", "c"]), CELLS // 3)
Z = rng.normal(size=(CELLS, 3))
RATE = np.exp((Z * (0.4 + 0.3 * rng.normal(size=(3, 3))).repeat(CELLS // 3, axis=0)).sum(axis=1))
EVENTS = rng.poisson(RATE[REPEATED]).astype(float)
SUMS = np.bincount(REPEATED, EVENTS)


def both(model):
    """The model fitted on rows, and on cells with an exposure; all rows count the same in both."""
    by_rows = clone(model).set_params(task_weight="samples")
    by_cells = clone(model).set_params(task_weight=dict.fromkeys("abc", CELLS / len(REPEATED)))
    by_rows.fit(Z[REPEATED], EVENTS, tasks=PLACES[REPEATED])
    return by_rows, by_cells.fit(Z, SUMS, tasks=PLACES, offset=np.log(SIZES))


@pytest.mark.parametrize("pull", [0.0, 0.3])
@pytest.mark.parametrize("cls", [MeanRegularizedRegressor, GroupSparseRegressor, TraceNormRegressor])
def test_counts_with_an_exposure_are_sums_of_rows(cls, pull):
    model = cls(0.05, loss="poisson", intercept_alpha=pull, tol=1e-11)
    by_rows, by_cells = both(model)
    assert by_rows.coef_.any()
    assert_allclose(by_cells.coef_, by_rows.coef_, rtol=1e-4, atol=1e-6)
    assert_allclose(by_cells.intercept_, by_rows.intercept_, rtol=1e-4, atol=1e-6)
    assert (
        by_cells.alpha_max(Z, SUMS, tasks=PLACES, offset=np.log(SIZES))
        == pytest.approx(by_rows.alpha_max(Z[REPEATED], EVENTS, tasks=PLACES[REPEATED]))
        if cls is not MeanRegularizedRegressor
        else True
    )


@pytest.mark.parametrize("covariance, pull", [("diagonal", "auto"), ("spherical", 0.0)])
def test_estimated_strengths_of_counts_with_an_exposure_are_those_of_rows(covariance, pull):
    """But for where two searches end, whose rounding differs."""
    model = MeanRegularizedRegressor(
        alpha="auto", intercept_alpha=pull, covariance=covariance, loss="poisson", tol=1e-10
    )
    by_rows = clone(model).fit(Z[REPEATED], EVENTS, tasks=PLACES[REPEATED])
    by_cells = clone(model).fit(Z, SUMS, tasks=PLACES, offset=np.log(SIZES))
    own = slice(CELLS // 3)
    for name in ("coef_", "deviation_variance_", "coef_std_", "mean_coef_std_", "intercept_std_"):
        assert_allclose(getattr(by_cells, name), getattr(by_rows, name), rtol=1e-6, atol=1e-9, err_msg=name)
    if covariance == "spherical":
        found, same = by_rows.test_sharing(), by_cells.test_sharing()
        assert all(
            same[name].statistic == pytest.approx(one.statistic, abs=1e-9) for name, one in found.items()
        )
    std = by_cells.predict(Z[own], tasks=PLACES[own], return_std=True)[1]
    assert_allclose(by_cells.predict(Z[own], tasks=PLACES[own], offset=0.0, return_std=True)[1], std)
    rows = REPEATED < CELLS // 3
    by_rows.fit_task(Z[REPEATED[rows]], EVENTS[rows], task="d")
    by_cells.fit_task(Z[own], SUMS[own], task="d", offset=np.log(SIZES[own]))
    assert_allclose(by_cells.coef_, by_rows.coef_, rtol=1e-6, atol=1e-9)
    if pull:
        assert_allclose(by_cells.coef_std_, by_rows.coef_std_, rtol=1e-6)


def test_estimated_strengths_of_classes_maximise_the_likelihood_with_the_offset():
    """Laplace's approximation by hand, for one variance of slopes, and intercepts that vary."""
    rng = np.random.default_rng(1)
    eta = KNOWN + (X * 1.5 * rng.normal(size=(T, 4)).repeat(N // T, axis=0)).sum(axis=1)
    two = (eta + 2 * rng.normal(size=T).repeat(N // T) + rng.logistic(size=N) > 0).astype(float)
    options = {"alpha": "auto", "intercept_alpha": 0.1, "covariance": "spherical", "tol": 1e-10}
    model = MeanRegularizedClassifier(**options).fit(X, two, tasks=TASKS, offset=KNOWN)
    D = np.column_stack([np.ones(N), X])
    Z = np.zeros((N, T, 5))
    Z[np.arange(N), np.repeat(np.arange(T), N // T)] = D
    design = np.hstack([D, Z.reshape(N, -1)])

    def criterion(slope, level):
        """-2 log L: the mode by Newton's method, and the determinant of what is integrated out."""
        precision = np.concatenate([np.zeros(5), np.tile([1 / level, *[1 / slope] * 4], T)])
        v = np.zeros(design.shape[1])
        for _ in range(50):
            eta = design @ v + KNOWN
            p = 1 / (1 + np.exp(-eta))
            H = (design * (p * (1 - p))[:, None]).T @ design + np.diag(precision)
            v = v - np.linalg.pinv(H) @ (design.T @ (p - two) + precision * v)
        fit = np.logaddexp(0, eta).sum() - two @ eta + 0.5 * precision @ v**2
        inside = H[5:, 5:]
        return 2 * fit + np.linalg.slogdet(inside)[1] - np.log(precision[5:]).sum()

    at = criterion(model.deviation_variance_, model.intercept_variance_)
    assert -2 * model.log_marginal_likelihood_ == pytest.approx(at, abs=1e-5)
    for factor in (0.7, 1.4):
        assert criterion(factor * model.deviation_variance_, model.intercept_variance_) > at


@pytest.mark.parametrize("name, pull", [("counts", 0.0), ("counts", 0.3), ("two", 0.0), ("three", 0.3)])
def test_a_constant_offset_moves_intercepts_alone(name, pull):
    target = {"counts": COUNTS, "two": TWO, "three": THREE}[name]
    for pair in (PAIRS["MeanRegularized"], PAIRS["GroupSparse"]):
        model = pair[name != "counts"](0.02, intercept_alpha=pull, tol=1e-7)
        model = model.set_params(loss="poisson") if name == "counts" else model
        constant = 3.0 if name != "three" else np.tile([1.0, -2.0, 1.0], (N, 1))
        plain = clone(model).fit(X, target, tasks=TASKS)
        moved = clone(model).fit(X, target, tasks=TASKS, offset=constant)
        shift = constant if name != "three" else constant[0]
        assert_allclose(moved.coef_, plain.coef_, rtol=1e-3, atol=1e-5)
        assert_allclose(moved.intercept_ + shift, plain.intercept_, rtol=1e-3, atol=1e-5)
        shown = moved.predict(X, tasks=TASKS, offset=constant)
        expected = plain.predict(X, tasks=TASKS)
        if name == "counts":
            assert_allclose(shown, expected, rtol=1e-4)
        else:
            assert (shown == expected).all()
            probabilities = moved.predict_proba(X, tasks=TASKS, offset=constant)
            assert_allclose(probabilities, plain.predict_proba(X, tasks=TASKS), atol=1e-4)
            scores = moved.decision_function(X, tasks=TASKS) + shift
            assert_allclose(scores, plain.decision_function(X, tasks=TASKS), atol=1e-3)


def test_rows_of_weight_zero_and_missing_labels_have_no_offset():
    weight, far = np.ones(N), KNOWN.copy()
    weight[::5], far[::5] = 0.0, 1e5
    used = weight > 0
    for model, target in ((near(loss="poisson"), COUNTS), (near(), y)):
        fitted = clone(model).fit(X, target, tasks=TASKS, sample_weight=weight, offset=far)
        other = clone(model).fit(X[used], target[used], tasks=TASKS[used], offset=KNOWN[used])
        assert_allclose(fitted.coef_, other.coef_, rtol=1e-10)
    Z = np.where(np.isnan(Y), np.nan, np.round(np.exp(np.minimum(Y, 3))))
    far = np.where(np.isnan(Y), 1e5, OFFSETS)
    for model, target in ((near(loss="poisson"), Z), (near(), Y)):
        fitted = clone(model).fit(X[:40], target, offset=far)
        assert_allclose(fitted.coef_, clone(model).fit(X[:40], target, offset=OFFSETS).coef_, rtol=1e-10)
        stacked = ~np.isnan(target.T)
        columns, rows = np.nonzero(stacked)
        other = clone(model).fit(X[rows], target[rows, columns], tasks=columns, offset=OFFSETS[rows, columns])
        assert_allclose(fitted.coef_, other.coef_, rtol=1e-6)


def test_one_offset_for_all_columns_and_of_a_task_of_a_row():
    alike = np.repeat(KNOWN[:40, None], T, axis=1)
    fitted, other = near().fit(X[:40], Y, offset=KNOWN[:40]), near().fit(X[:40], Y, offset=alike)
    assert_allclose(fitted.coef_, other.coef_, rtol=1e-12)
    every = fitted.predict(X[:40], offset=OFFSETS)
    own = fitted.predict(X[:40], tasks=np.arange(40) % T, offset=OFFSETS[np.arange(40), np.arange(40) % T])
    assert_allclose(own, every[np.arange(40), np.arange(40) % T], rtol=1e-12)
    new = near(handle_unknown="average").fit(X, y, tasks=TASKS, offset=KNOWN)
    unknown = new.predict(X[:3], tasks=["fir"] * 3, offset=KNOWN[:3])
    assert_allclose(unknown, X[:3] @ new.mean_coef_ + new.mean_intercept_ + KNOWN[:3])


def test_mixed_tasks():
    target = np.column_stack([np.round(np.abs(Y[:, 0])), TWO[:40], Y[:, 2]]).astype(object)
    target[:, [0, 2]] = np.nan_to_num(target[:, [0, 2]].astype(float))
    losses = {0: "poisson", 1: "log_loss", 2: "squared_error"}
    model = MixedTaskModel(0.02, losses=losses, tol=1e-9)
    fitted = model.fit(X[:40], target, offset=OFFSETS[:, :3])
    for task, loss in losses.items():
        by_name = {"poisson": near, "squared_error": near, "log_loss": None}[loss]
        shown = fitted.predict(X[:40], offset=OFFSETS[:, :3])[:, task]
        eta = X[:40] @ fitted.coef_[task] + fitted.intercept_[task] + OFFSETS[:, task]
        if by_name is None:
            assert (shown == np.where(eta > 0, "yes", "no")).all()
        else:
            assert_allclose(shown.astype(float), np.exp(eta) if loss == "poisson" else eta, rtol=1e-10)


# --- paths and searches ---

SEARCHED = [
    (near(), y), (near(loss="poisson"), COUNTS), (MeanRegularizedClassifier(0.1), THREE),
]  # fmt: skip
ALPHAS = [0.3, 0.1]


def offset_for(target):
    return KNOWN if target is not THREE else np.column_stack([KNOWN, 0 * KNOWN, -KNOWN])


@pytest.mark.parametrize("model, target", SEARCHED, ids=["squares", "counts", "three"])
def test_a_path_and_a_search_score_held_out_rows_with_their_offset(model, target):
    offset, folds = offset_for(target), TaskKFold(3)
    found = path(model, X, target, TASKS, alphas=ALPHAS, offset=offset)
    direct = clone(model).set_params(alpha=ALPHAS[1]).fit(X, target, tasks=TASKS, offset=offset)
    left = found.gap[1] + direct.dual_gap_ + 1e-9
    assert found.objective[1] == pytest.approx(direct.objective_, abs=left)
    metric = "neg_mean_squared_error" if target.dtype == float else "accuracy"
    pipeline = make_pipeline(StandardScaler(with_std=False), model)
    for scoring, estimator in ((None, pipeline), (task_scorer(metric), model)):
        name = "alpha" if estimator is model else f"{estimator.steps[-1][0]}__alpha"
        search = PathSearchCV(estimator, ALPHAS, cv=folds, scoring=scoring)
        search.fit(X, target, tasks=TASKS, offset=offset)
        with sklearn.config_context(enable_metadata_routing=True):
            grid = GridSearchCV(
                estimator, {name: ALPHAS}, cv=folds, scoring=scoring, error_score="raise"
            ).fit(X, target, tasks=TASKS, offset=offset)
            shown = grid.best_estimator_.predict(X, tasks=TASKS, offset=offset)
        score = search.cv_results_["mean_test_score"]
        assert_allclose(score, grid.cv_results_["mean_test_score"], rtol=1e-4)
        assert (search.predict(X[:5], tasks=TASKS[:5], offset=offset[:5]) == shown[:5]).all() or (
            target.dtype == float
        )
        scored = search.score(X, target, tasks=TASKS, offset=offset)
        assert scored == pytest.approx(search.scorer_(
                search.best_estimator_, X, target, tasks=TASKS, offset=offset
            )) if scoring else 0 < scored < 1  # fmt: skip
    # by hand
    by_hand = []
    for train, test in folds.split(X, target, tasks=TASKS):
        fitted = clone(model).set_params(alpha=ALPHAS[0])
        fitted.fit(X[train], target[train], tasks=TASKS[train], offset=offset[train])
        by_hand.append(fitted.score(X[test], target[test], tasks=TASKS[test], offset=offset[test]))
    search = PathSearchCV(model, ALPHAS, cv=folds).fit(X, target, tasks=TASKS, offset=offset)
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(by_hand), rel=1e-4)


def test_requests_by_name():
    with sklearn.config_context(enable_metadata_routing=True):
        model = near().set_fit_request(offset="log_e").set_score_request(offset="log_e")
        scores = cross_val_score(model, X, y, cv=TaskKFold(3), params={"tasks": TASKS, "log_e": KNOWN})
        plain = cross_val_score(near(), X, y, cv=TaskKFold(3), params={"tasks": TASKS, "offset": KNOWN})
    assert_allclose(scores, plain, rtol=1e-12)
    pipeline = make_pipeline(StandardScaler(), near())
    given = {"meanregularizedregressor__tasks": TASKS}
    pipeline.fit(X, y, **given, meanregularizedregressor__offset=KNOWN)  # without routing
    other = make_pipeline(StandardScaler(), near()).fit(X, y - KNOWN, **given)
    shown = pipeline.predict(X, tasks=TASKS, offset=KNOWN)
    assert_allclose(shown, other.predict(X, tasks=TASKS) + KNOWN, rtol=1e-10)


def test_a_search_without_the_offset_of_held_out_rows_is_refused():
    model = MultiTaskRegressor(0.1, penalty=penalties.Ridge())
    for run_it in (
        lambda: GridSearchCV(model, {"alpha": ALPHAS}, cv=3).fit(X, y, offset=KNOWN),
        lambda: GridSearchCV(model, {"alpha": ALPHAS}, cv=3, scoring="r2").fit(X, y, offset=KNOWN),
        lambda: cross_val_predict(model, X, y, params={"offset": KNOWN}),
        lambda: cross_val_score(model, X, y, params={"offset": KNOWN}, scoring="neg_mean_squared_error"),
        lambda: model.fit(X, y, offset=KNOWN).score(X, y),
        lambda: PathSearchCV(model, ALPHAS).fit(X, y, offset=KNOWN).score(X, y),
        lambda: PathSearchCV(model, ALPHAS, scoring="r2").fit(X, y, offset=KNOWN),
    ):
        with pytest.raises(ValueError, match="offset"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FitFailedWarning)
            run_it()
    with sklearn.config_context(enable_metadata_routing=True), pytest.raises(ValueError, match="offset"):
        GridSearchCV(model, {"alpha": ALPHAS}, cv=3, scoring="r2").fit(X, y, offset=KNOWN)
    model.fit(X, y, offset=KNOWN).predict(X)  # a rate
    assert clone(model).fit(X, y).score(X, y) == model.fit(X, y).score(X, y)  # which has forgotten it


# --- malformed, and refused ---

BAD = {
    "NaN": (np.where(np.arange(N) == 3, np.nan, KNOWN), "offset contains NaN"),
    "infinity": (np.where(np.arange(N) == 3, -np.inf, KNOWN), "offset contains infinity"),
    "too short": (KNOWN[:-1], "offset must hold one row per sample, 80"),
    "column": (KNOWN[:, None], r"offset must have shape \(80,\); got \(80, 1\)"),
    "two columns": (np.column_stack([KNOWN, KNOWN]), r"offset must have shape \(80,\); got \(80, 2\)"),
    "text": (np.repeat("a", N), "could not convert string to float"),
    "masked": (np.ma.masked_array(KNOWN, mask=np.arange(N) == 3), "offset is a masked array"),
    "huge": (1e200 * KNOWN, "offset holds values of size"),
}


@pytest.mark.parametrize("bad, words", BAD.values(), ids=BAD)
def test_a_malformed_offset_is_refused_by_name(bad, words):
    fitted = near().fit(X, y, tasks=TASKS, offset=KNOWN)
    with pytest.raises(ValueError, match=words):
        near().fit(X, y, tasks=TASKS, offset=bad)
    if "size" not in words:
        with pytest.raises(ValueError, match=words):
            fitted.predict(X, tasks=TASKS, offset=bad)
        with pytest.raises(ValueError, match=words):
            fitted.fit_task(X, y, offset=bad)


def test_the_shape_is_that_of_the_predictors():
    for model, data, bad, words in (
        (near(), (X[:40], Y), OFFSETS[:, :2], r"\(40,\) or \(40, 4\); got \(40, 2\)"),
        (MeanRegularizedClassifier(), (X, THREE), KNOWN, r"\(80, 3\); got \(80,\)"),
        (
            MeanRegularizedClassifier(),
            (X[:40], np.arange(160).reshape(40, 4) % 3),
            KNOWN[:40],
            r"\(40, 4, 3\)",
        ),
    ):
        with pytest.raises(ValueError, match=f"offset must have shape {words}"):
            model.fit(*data, offset=bad)
    with pytest.raises(ValueError, match="offset must be None: TaskStatistics"):
        path(near(), TaskStatistics.from_arrays(X, y, TASKS), offset=KNOWN)
    moments = TaskStatistics.from_arrays(X, y - KNOWN, TASKS)
    by_rows = near().fit(X, y, tasks=TASKS, offset=KNOWN)
    assert_allclose(near().fit_statistics(moments).coef_, by_rows.coef_, rtol=1e-10)


def every_estimator():
    found = {name: getattr(skmtl, name) for name in skmtl.__all__}
    return {n: c for n, c in found.items() if inspect.isclass(c) and issubclass(c, BaseEstimator)}


@pytest.mark.parametrize("name", every_estimator())
@cut_networks
def test_every_estimator_counts_an_offset_or_refuses_it(name):
    """A fit with an offset is another one, as is a prediction; or a TypeError names the argument."""
    cls = every_estimator()[name]
    made = {
        "SingleTask": lambda: cls(Ridge()),
        "Pooled": lambda: cls(Ridge()),
        "TaskConformalRegressor": lambda: cls(Ridge()),
        "TaskConformalClassifier": lambda: cls(LogisticRegression()),
        "TaskResidual": lambda: cls(Ridge(), near()),
        "PathSearchCV": lambda: cls(near(), ALPHAS),
        "TasksFromColumn": lambda: cls(near(), 0),
    }
    known = cls.__init__.__annotations__ | dict(inspect.signature(cls).parameters)
    options = {"random_state": 0} if "random_state" in known else {}
    options |= {"alpha": 0.02} if "alpha" in known else {}
    options |= {"alphas": 2, "cv": 2} if name.endswith("CV") else {"max_iter": 20} if "MLP" in name else {}
    model = made[name]() if name in made else cls(**options)
    target = TWO if is_classifier(model) else y
    given = {} if name.startswith("Incomplete") else {"tasks": TASKS}
    if name.startswith("TaskConformal") or name == "TaskResidual":
        with pytest.raises(TypeError, match=f"offset was given, but {name} takes none"):
            model.fit(X, target, **given, offset=KNOWN)
        model.fit(X, target, **given)
        with pytest.raises(TypeError, match="offset"):
            model.predict(X, **given, offset=KNOWN)
        return
    codes = np.unique(TASKS, return_inverse=True)[1]
    table, given = (np.column_stack([codes, X]), {}) if name == "TasksFromColumn" else (X, given)
    plain = clone(model).fit(table, target, **given)
    fitted = clone(model).fit(table, target, **given, offset=KNOWN)
    shown = "decision_function" if is_classifier(model) else "predict"

    def ask(one, **more):
        return getattr(one, shown)(table, **given, **more)

    assert np.abs(ask(fitted) - ask(plain)).max() > 0.05
    assert_allclose(ask(fitted, offset=KNOWN) - ask(fitted), KNOWN, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrapper", [SingleTask, Pooled])
def test_baselines_of_classifiers_refuse_an_offset(wrapper):
    model = wrapper(LogisticRegression())
    with pytest.raises(TypeError, match=f"offset was given, but {wrapper.__name__} takes none"):
        model.fit(X, TWO, tasks=TASKS, offset=KNOWN)
    with pytest.raises(TypeError, match="offset was given"):
        model.fit(X, TWO, tasks=TASKS).predict(X, tasks=TASKS, offset=KNOWN)
    taken = [get_routing_for_object(wrapper(one)).consumes("fit", ["offset"]) for one in (Ridge(), model)]
    assert taken == [{"offset"}, set()]


@pytest.mark.parametrize(
    "model", [MeanRegularizedRegressor(0.1), MultiTaskMLPRegressor(hidden_layer_sizes=(3,))]
)
def test_more_rows_without_their_offset_are_refused(model):
    """They would be learned as if they had none."""
    model.partial_fit(X, y, tasks=TASKS, offset=KNOWN)
    before = model.predict(X, tasks=TASKS, offset=0.0)
    with pytest.raises(ValueError, match="was fitted with an offset, and is given rows without"):
        model.partial_fit(X, y, tasks=TASKS)
    assert_allclose(model.predict(X, tasks=TASKS, offset=0.0), before, rtol=0, atol=0)
    model.partial_fit(X, y, tasks=TASKS, offset=0.0)


# --- networks ---

NETWORK = {"hidden_layer_sizes": (5,), "alpha": 0.1, "max_iter": 15, "random_state": 0}


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
@cut_networks
def test_networks_have_it_in_the_targets_of_losses_of_differences(loss):
    model = MultiTaskMLPRegressor(loss=loss, **NETWORK)
    for features, target, offset, given in (
        (X, y, KNOWN, {"tasks": TASKS}), (X, y, KNOWN, {}), (X[:40], Y, OFFSETS, {}),
    ):  # fmt: skip
        fitted = clone(model).fit(features, target, **given, offset=offset)
        other = clone(model).fit(features, target - offset, **given)
        shown = fitted.predict(features, **given, offset=offset)
        assert_allclose(shown, other.predict(features, **given) + offset, rtol=1e-7, atol=1e-9)
        for one, shift in ((fitted, 0 * offset), (other, offset)):
            more = {"offset": offset} if one is fitted else {}
            one.partial_fit(features, target - shift, **given, **more)
        assert_allclose(fitted.predict(features, **given), other.predict(features, **given), rtol=1e-7)


@pytest.mark.parametrize("sharing", ["hard", "attention", "soft"])
@pytest.mark.parametrize("loss", [Poisson(), Logistic(), Multinomial(3)], ids=repr)
def test_gradients_of_networks_with_an_offset_equal_differences(sharing, loss, rng):
    K = loss.n_outputs
    options = {"hidden": (4,), "activation": "tanh", "n_experts": 2, "coupling": 0.5, "dtype": np.float64}
    network = Network(3, [loss] * T, sharing=sharing, **options)
    for codes in (None, np.repeat(np.arange(T), 8)):
        shape = (32, T) if codes is None else (32,)
        labels = rng.integers(K + (K == 1), size=shape).astype(float)
        offset = rng.normal(size=(*shape, K))
        rows = Rows(rng.normal(size=(32, 3)), labels, rng.random(shape), codes, T, offset)
        theta, gradient = 0.5 * rng.normal(size=network.size), np.empty(network.size)
        network.gradient(network.views(theta), rows, 0.1, network.views(gradient))
        eta = network.predict(theta, rows.X, codes) + offset
        values = loss.value(labels, eta if K > 1 else eta[..., 0])
        assert_allclose(network.task_losses(theta, rows), rows.task_sums(values), rtol=1e-12)
        for v in rng.normal(size=(3, network.size)):
            ends = [
                network.gradient(network.views(theta + h * v), rows, 0.1, network.views(np.empty_like(v)))
                for h in (1e-5, -1e-5)
            ]
            assert gradient @ v == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7)


@cut_networks
def test_networks_of_counts_and_classes_with_a_constant_and_with_repeated_rows():
    model = MultiTaskMLPRegressor(loss="poisson", **NETWORK)
    for features, target, given in ((X, COUNTS, {"tasks": TASKS}), (X[:40], np.abs(np.round(Y)), {})):
        plain, moved = clone(model).fit(features, target, **given), clone(model)
        moved.fit(features, target, **given, offset=2.0)
        shown = plain.predict(features, **given)
        assert_allclose(moved.predict(features, **given, offset=2.0), shown, rtol=1e-5)
        for one, more in ((plain, {}), (moved, {"offset": 2.0})):
            one.partial_fit(features, target, **given, **more)
        moved = moved.predict(features, **given, offset=2.0)
        assert_allclose(moved, plain.predict(features, **given), rtol=1e-5)
    twice = np.concatenate([np.arange(N)] * 2)
    by_class = KNOWN[:, None] * [1.0, -0.5, 2.0]
    classifier = MultiTaskMLPClassifier(**NETWORK)
    for estimator, target, offset in ((model, COUNTS, KNOWN), (classifier, THREE, by_class)):
        one = clone(estimator).fit(X, target, tasks=TASKS, offset=offset, sample_weight=np.full(N, 2.0))
        two = clone(estimator).fit(X[twice], target[twice], tasks=TASKS[twice], offset=offset[twice])
        assert_allclose(one.loss_, two.loss_, rtol=1e-10)
        apart = clone(estimator).fit(
            X[twice], target[twice], tasks=TASKS[twice], offset=np.concatenate([offset, 0 * offset])
        )
        assert abs(apart.loss_ - one.loss_) > 1e-3 * one.loss_
        ask = {"X": X, "tasks": TASKS}
        if target is THREE:
            scores = one.decision_function(**ask, offset=offset) - one.decision_function(**ask)
            assert_allclose(scores, offset, atol=1e-9)
        else:
            ratio = one.predict(**ask, offset=offset) / one.predict(**ask)
            assert_allclose(ratio, np.exp(offset), rtol=1e-9)


@cut_networks
def test_a_network_of_several_kinds_has_it_in_targets_or_predictors():
    target = np.column_stack([COUNTS[:40], y[:40]])
    losses = {0: "poisson", 1: "squared_error"}
    model = MultiTaskMLP(losses=losses, **NETWORK)
    fitted = clone(model).fit(X[:40], target, offset=OFFSETS[:, :2])
    other = clone(model).fit(X[:40], target - [0, 1] * OFFSETS[:, :2], offset=[1, 0] * OFFSETS[:, :2])
    assert_allclose(fitted.predict(X[:40]), other.predict(X[:40]), rtol=1e-7, atol=1e-9)
    difference = np.log(fitted.predict(X[:40], offset=OFFSETS[:, :2])[:, 0] / fitted.predict(X[:40])[:, 0])
    assert_allclose(difference, OFFSETS[:, 0], atol=1e-9)


def test_what_separates_classes_is_features_and_no_offset():
    labels = np.where(X[:, 0] > 0, "yes", "no")
    with pytest.warns(UserWarning, match="separable along directions"):
        MeanRegularizedClassifier(0.1).fit(X, labels, tasks=TASKS, offset=KNOWN)
    far = np.where(TWO == "yes", 30.0, -30.0)  # which leaves nothing to be learned
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MeanRegularizedClassifier(0.1).fit(X, TWO, tasks=TASKS, offset=far)
    assert np.abs(model.coef_).max() < 1e-3 and model.score(X, TWO, tasks=TASKS, offset=far) == 1
