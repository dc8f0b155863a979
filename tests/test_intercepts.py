"""The search for intercepts: far away, at infinity, tied, next to those of other losses."""

import warnings

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skmtl import (
    DirtyClassifier,
    GroupSparseClassifier,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskLasso,
    MultiTaskRegressor,
    RobustClassifier,
    TaskRelationshipClassifier,
    TraceNormClassifier,
    TraceNormRegressor,
)
from skmtl.losses import Huber, Logistic, Multinomial, Poisson, RootSquaredError, SquaredError, SquaredHinge
from skmtl.objective import Problem, RootTerm, RowsTerm, make_term
from skmtl.penalties import L2, Coupling, Features
from skmtl.solvers import make_task_data, solve

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
TASKS = np.array(["ash", "birch", "cedar"])[np.arange(120) % 3]
SCORE = X @ [1.0, -0.5, 0.3, 0.0] + 0.5 * RNG.normal(size=120)
CODES = np.digitize(SCORE, [-0.5, 0.5]).astype(float)
LACKING = np.where((TASKS == "birch") & (CODES == 1), 0.0, CODES)
ONE = np.where(TASKS == "birch", 1.0, SCORE > 0).astype(float)
COUNTS = np.where(TASKS == "birch", 0.0, RNG.poisson(np.exp(0.5 * SCORE))).astype(float)
EDGES = {
    "multinomial": (Multinomial(3), LACKING),
    "logistic": (Logistic(), ONE),
    "poisson": (Poisson(), COUNTS),
}
edges = pytest.mark.parametrize("loss, y", EDGES.values(), ids=EDGES)


def term_of(loss, y, **options):
    return make_term(make_task_data(X, y, TASKS), loss, **options)


def optimum(term, image, start=None):
    """Intercepts and the value of the data term at them."""
    b = term.intercept(None, image, start)
    return b, term.value(None, image, b)


# --- at infinity ---


@edges
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 3000.0])
def test_an_intercept_at_infinity_is_found_at_once_and_stays_finite(loss, y, size, monkeypatch):
    term = term_of(loss, y)
    image = term.image(size * np.random.default_rng(1).normal(size=term.shape))
    calls, slopes = [], type(term).loss_gradient
    monkeypatch.setattr(type(term), "loss_gradient", lambda self, eta: calls.append(1) or slopes(self, eta))
    b, value = optimum(term, image)
    # far out a search that is not at infinity reaches twice as far from one step to the next
    assert len(calls) <= 40 + 20 * (size > 1e3) and np.abs(b).max() < 45 + 20 * size
    g = term.data.task_sums(slopes(term, term.predictor(image, b)))
    assert np.abs(g).max() < 1e-7
    again, same = optimum(term, image, b)
    assert_allclose(again, b, atol=1e-6)
    assert same == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("size", [1e4, 1e6])
def test_intercepts_of_classes_far_apart_are_found(size, alpha, monkeypatch):
    """Where rows are far apart the loss is all kinks: the way leads through predictors made smaller."""
    term = term_of(Multinomial(3), LACKING, intercept_alpha=alpha)
    image = term.image(size * np.random.default_rng(2).standard_t(1.5, size=term.shape))
    calls, slopes = [], type(term).loss_gradient
    monkeypatch.setattr(type(term), "loss_gradient", lambda self, eta: calls.append(1) or slopes(self, eta))
    b, value = optimum(term, image)
    assert len(calls) <= 250
    g = term.data.task_sums(slopes(term, term.predictor(image, b))) + term.pull_of_intercepts(b)
    assert np.abs(g).max() < 1e-12 * np.abs(image).max()
    for move in np.random.default_rng(3).normal(size=(20, *b.shape)):
        assert term.value(None, image, b + move) >= value * (1 - 1e-12)


@pytest.mark.parametrize(
    "cls",
    [
        DirtyClassifier,
        GroupSparseClassifier,
        MeanRegularizedClassifier,
        RobustClassifier,
        TraceNormClassifier,
    ],
)
def test_a_task_without_a_class_is_named_once_and_bounded(cls):
    with pytest.warns(UserWarning, match="birch lacks \\[1.0\\]") as found:
        model = cls().fit(X, LACKING, tasks=TASKS)
    assert len(found) == 1
    own = TASKS == "birch"
    assert model.predict_proba(X[own], tasks=TASKS[own])[:, 1].max() < 1e-9
    assert np.abs(model.intercept_).max() < 60
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cls(intercept_alpha=0.1).fit(X, LACKING, tasks=TASKS)
        cls().fit(X, CODES, tasks=TASKS)


@edges
@pytest.mark.parametrize("penalty", [Features(L2(0.02)), Coupling(0.1)], ids=["features", "mean"])
def test_the_certificate_holds_with_intercepts_at_infinity(loss, y, penalty):
    data = make_task_data(X, y, TASKS)
    best = solve(data, loss, penalty, tol=1e-9)
    assert best.converged and np.isfinite(best.intercept).all()
    for tol in (1e-2, 1e-4):
        found = solve(data, loss, penalty, tol=tol)
        assert found.gap >= found.objective - best.objective - 1e-12


def test_a_lacking_class_is_a_loss_of_the_others():
    """The optimum is that of a task which never heard of the class."""
    two = TASKS == "birch"
    own = np.where(LACKING[two] == 2, 1.0, 0.0)
    lacking = solve(make_task_data(X[two], LACKING[two]), Multinomial(3), Features(L2(0.02)), tol=1e-9)
    alone = solve(make_task_data(X[two], own), Multinomial(2), Features(L2(0.02)), tol=1e-9)
    assert lacking.objective == pytest.approx(alone.objective, rel=1e-8)


# --- far away and flat ---


@pytest.mark.parametrize("factor", [1e-100, 1e-20, 1.0, 1e20, 1e100])
@pytest.mark.parametrize("pull", [0.0, 0.3])
def test_the_intercept_of_counts_is_the_logarithm_of_their_mean(factor, pull):
    y = (1.0 + RNG.poisson(3.0, size=120)) * factor
    term = term_of(Poisson(), y, intercept_alpha=pull * factor)
    image = term.image(np.zeros(term.shape))
    b, value = optimum(term, image)
    means = [np.log(y[task == TASKS].mean()) for task in term.tasks]
    if not pull:
        assert_allclose(b, means, rtol=1e-10, atol=1e-10)
    for start in (b + 5.0, b - 300.0, b + 200.0):
        assert optimum(term, image, start)[1] == pytest.approx(value, rel=1e-11)


@pytest.mark.parametrize(
    "loss, y",
    [
        (Logistic(), CODES > 0),
        (SquaredHinge(), CODES > 0),
        (Huber(0.1), SCORE),
        (Multinomial(3), CODES),
        (RootSquaredError(), SCORE),
    ],
    ids=["logistic", "hinge", "huber", "multinomial", "root"],
)
@pytest.mark.parametrize("pull", [0.0, 0.3])
def test_no_start_is_too_far(loss, y, pull):
    term = term_of(loss, y.astype(float), intercept_alpha=pull)
    image = term.image(np.ones(term.shape))
    b, value = optimum(term, image)
    rng = np.random.default_rng(2)
    for size in (10.0, 1e3, 1e5):
        start = b + size * rng.normal(size=b.shape)
        assert optimum(term, image, start)[1] == pytest.approx(value, rel=1e-9)


def test_the_curvature_of_certain_classes_keeps_its_digits():
    """Next to p = 1 the product p (1 - p) is that of the other classes, not 0."""
    term = term_of(Multinomial(3), CODES)
    eta = np.zeros((120, 3))
    eta[:, 0], eta[:, 1] = 300.0, 1.0
    answer = term._settle(term.loss_hessian(eta), np.tile([1e-9, -1e-9, 0.0], (3, 1)))
    p = np.exp(eta[0] - 300.0)
    H = np.diag(p) - np.outer(p, p)
    H[0, 0] = p[1] + p[2]
    assert_allclose(np.sign(answer[:, :2]), [[-1.0, 1.0]] * 3)
    assert_allclose(answer @ (H * term.totals[0]).T, np.tile([-1e-9, 1e-9, 0.0], (3, 1)), atol=1e-15)


def test_curvature_that_underflows_is_no_singular_matrix():
    term = term_of(Multinomial(3), CODES)
    for size in (30.0, 1e3, 1e5):
        W = np.zeros((3, 3, 4))
        W[:, :, 0] = size * np.array([-1.0, 0.0, 1.0])  # far from the border all classes are certain
        image = term.image(W.reshape(3, -1))
        b = term.intercept(None, image, None)
        assert np.isfinite(b).all()
        eta = term.predictor(image, b)
        assert np.isfinite(term.curvature(np.ones(term.shape), eta)).all()
        assert np.isfinite(Problem(term, Coupling(1e-3)).gap([W.reshape(3, -1)])[0])


# --- constants in y ---

NUMBERS = {"squared": "squared_error", "huber": "huber"}


@pytest.mark.parametrize("loss", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shift", [2000.0, -(2.0**20), 2.0**27])
def test_a_constant_in_a_number_next_to_classes_moves_its_intercept_only(loss, classes, shift):
    grade = np.array(["lo", "mid", "hi"])[np.minimum(CODES, classes - 1).astype(int)]
    number = np.round(SCORE * 2**20) / 2**20  # so that the shift is exact
    losses = {0: "log_loss", 1: loss}

    def fit(y):
        return MixedTaskModel(0.01, losses=losses).fit(X, np.column_stack([grade.astype(object), y]))

    first, moved = fit(number), fit(number + shift)
    assert_allclose(moved.coef_, first.coef_, atol=1e-6)
    expected = np.zeros_like(first.intercept_)
    expected[(1, 0) if classes == 3 else 1] = shift
    assert_allclose(moved.intercept_ - expected, first.intercept_, atol=1e-6)
    assert moved.objective_ == pytest.approx(first.objective_, rel=1e-7)


@pytest.mark.parametrize(
    "loss", [SquaredError(), Huber(0.5), RootSquaredError()], ids=lambda v: type(v).__name__
)
def test_a_constant_of_every_task_moves_its_intercept_only(loss):
    shift = np.array([2.0**27, -(2.0**25), 0.0])
    y = np.round(SCORE * 2**20) / 2**20
    first = solve(make_task_data(X, y, TASKS), loss, Features(L2(0.05)), tol=1e-8, solver="fista")
    data = make_task_data(X, y + shift[np.arange(120) % 3], TASKS)
    moved = solve(data, loss, Features(L2(0.05)), tol=1e-8, solver="fista")
    assert_allclose(moved.coef, first.coef, atol=1e-6)
    assert_allclose(moved.intercept - shift, first.intercept, atol=1e-6)


def test_the_scale_of_a_mixture_is_that_of_its_intercepts_alone():
    Y = np.column_stack([CODES, SCORE + 2000.0])
    data = make_task_data(X, Y)
    found = Problem(make_term(data, [Multinomial(3), SquaredError()]), Features(L2(0.1))).scale()
    share = np.bincount(CODES.astype(int)) / 120
    assert found == pytest.approx(-(share * np.log(share)).sum() + 0.5 * SCORE.var(), rel=1e-10)


@pytest.mark.parametrize("pull", [1e-6, 1.0, 1e6, 1e10])
@pytest.mark.parametrize("size", [0.0, 1.0, 10.0])
def test_tied_intercepts_of_several_classes_are_found_in_a_few_steps(size, pull, monkeypatch):
    """The common level of all classes is free: rounding must not make a direction of it."""
    term = term_of(Multinomial(3), LACKING, intercept_alpha=pull)
    image = term.image(size * np.random.default_rng(1).normal(size=term.shape))
    steps, settle = [], type(term)._settle
    monkeypatch.setattr(type(term), "_settle", lambda self, *args: steps.append(1) or settle(self, *args))
    b, value = optimum(term, image)
    assert len(steps) <= 40
    slopes = term.data.task_sums(term.loss_gradient(term.predictor(image, b)))
    assert_allclose(slopes.sum(axis=0), 0.0, atol=1e-10)  # whatever the pull, which is the same for all
    assert_allclose(slopes + pull * (b - b.mean(axis=0)), 0.0, atol=1e-10 * max(1.0, pull * np.ptp(b)))
    for _ in range(3):
        assert term.value(None, image, b + 1e-3 * np.random.default_rng(2).normal(size=b.shape)) >= value


def test_intercepts_that_nothing_holds_stay_where_predictors_are_certain(monkeypatch):
    """Far out the exponentials that say where they should be are zero."""
    y, t = np.array([1.0, 1, 1, 1, 0, 1]), np.repeat([0, 1], 3)
    term, steps = make_term(make_task_data(np.ones((6, 1)), y, t), Logistic()), []
    own = RowsTerm._intercept_derivatives
    monkeypatch.setattr(
        RowsTerm, "_intercept_derivatives", lambda self, *args: steps.append(1) or own(self, *args)
    )
    b = term.intercept(None, np.array([2e8, 3e8, 2e8, 0.1, 0.2, -0.3]), np.array([-10.0, 0.0]))
    assert len(steps) < 20 and b[0] == -10.0 and 0.0 < b[1] < 2.0


@pytest.mark.parametrize("sizes", [(1, 1, 1), (12, 5, 2, 1, 1), (7, 7)])
@pytest.mark.parametrize("pull", [1e-6, 0.3, 1e9])
def test_tied_intercepts_of_the_root(pull, sizes, monkeypatch):
    """A task of one row has an absolute value, without a curvature: intercepts may end at its kink."""
    rng, t = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    data = make_task_data(np.ones((len(t), 1)), rng.normal(size=len(t)) + t, t)
    term, steps, pulled = make_term(data, RootSquaredError(), intercept_alpha=pull), [], RootTerm._pulled
    monkeypatch.setattr(RootTerm, "_pulled", lambda self, *args: steps.append(1) or pulled(self, *args))
    _, value = optimum(term, term.image(np.zeros(term.shape)))
    assert len(steps) <= 120
    a, variance = term.task_sums(term.weight * data.y), term.task_sums(term.weight * data.y**2)
    own, away = cp.Variable(len(sizes)), np.eye(len(sizes)) - 1 / len(sizes)
    spread = np.sqrt(np.maximum(variance - a**2, 0.0))
    roots = [cp.norm(cp.hstack([own[k] - a[k], spread[k]])) for k in range(len(sizes))]
    problem = cp.Problem(cp.Minimize(sum(roots) + pull / 2 * cp.sum_squares(away @ own)))
    if pull < 1e6:
        assert value == pytest.approx(problem.solve(solver="CLARABEL"), rel=1e-6)
    else:  # one for all
        one = cp.Variable()
        roots = [cp.norm(cp.hstack([one - a[k], spread[k]])) for k in range(len(sizes))]
        assert value == pytest.approx(cp.Problem(cp.Minimize(sum(roots))).solve(solver="CLARABEL"), rel=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_tied_intercepts_among_outliers_are_optimal(seed):
    """Nearly all rows are straight: Newton steps alone end at kinks, and elsewhere go to and fro."""
    rng, t = np.random.default_rng(seed), np.repeat(np.arange(4), 10)
    y = 3.0 * rng.normal(size=40) + np.where(rng.random(40) < 0.2, 30.0, 0.0) * rng.normal(size=40)
    data, loss, pull = make_task_data(np.ones((40, 1)), y, t), Huber(0.1), 10.0 ** -rng.integers(1, 4)
    term = make_term(data, loss, intercept_alpha=pull)
    with np.errstate(over="ignore"):  # as in all fits
        b = term.intercept(None, np.zeros(40), None)
    g = term.task_sums(term.loss_gradient(term.spread(b))) + pull * (b - b.mean())
    assert_allclose(g, 0.0, atol=1e-12)
    hinged = make_term(make_task_data(np.ones((40, 1)), y > 0, t), SquaredHinge(), intercept_alpha=pull)
    free, image = make_term(data, loss), 10.0 * rng.normal(size=40)
    for other in (hinged, free, make_term(make_task_data(np.ones((10, 1)), y.reshape(10, 4)), loss)):
        at = image.reshape(other.y.shape)
        b = other.intercept(None, at, None)
        slopes = other.loss_gradient(other.predictor(at, b))
        assert_allclose(other.task_sums(slopes) + other.pull_of_intercepts(b), 0.0, atol=1e-12)
    model = MultiTaskRegressor(1e3, loss=loss, penalty=Features(L2()), intercept_alpha=pull)
    model.fit(rng.normal(size=(40, 3)), y, tasks=t)
    assert not model.coef_.any() and model.dual_gap_ <= 1e-9 * model.objective_


@pytest.mark.parametrize("pull", [1e6, 1e8, 1e10, 1e12])
def test_intercepts_that_are_held_together_keep_the_digits_of_their_center(pull):
    """The slopes of all losses add up to zero, where differences of intercepts are below rounding."""
    rng = np.random.default_rng(2)
    rows, codes = rng.normal(size=(8, 8)), rng.normal(size=(8, 40)) > 0
    codes[:2] = [[True], [False]]
    term = make_term(make_task_data(rows, codes.astype(float)), SquaredHinge(), intercept_alpha=pull)
    image = 3.0 * rng.normal(size=(8, 40))
    b = term.intercept(None, image, None)
    slopes = term.loss_gradient(term.predictor(image, b))
    assert abs(slopes.sum()) <= 1e-13 * np.abs(slopes).sum() and np.ptp(b) <= 10 / pull
    model = MeanRegularizedClassifier(0.1, mean_alpha=0.0, loss="squared_hinge", intercept_alpha=pull)
    assert model.fit(rows, codes).dual_gap_ <= 1e-3 * model.objective_  # no more than the tolerance


@pytest.mark.parametrize("pull", [0.0, 0.5])
@pytest.mark.parametrize("layout", ["stacked", "shared"])
def test_the_curvature_that_tasks_of_several_classes_share(layout, pull):
    data = make_task_data(X, CODES, TASKS)
    if layout == "shared":
        data = make_task_data(X, np.column_stack([CODES, np.roll(CODES, 1)]))
    term = make_term(data, Multinomial(3), intercept_alpha=pull)
    W = np.random.default_rng(3).normal(size=term.shape)
    image = term.image(W)
    hessian = term.loss_hessian(term.predictor(image, term.intercept(W, image, None)))
    columns = [
        term._curvature(hessian, np.tile(e, (term.n_tasks, 1))).sum(axis=0) for e in np.eye(W.shape[1])
    ]
    alike = np.kron(np.full((3, 3), 1 / 3), np.eye(W.shape[1] // 3))  # of all classes: no loss sees it
    apart = np.eye(len(alike)) - alike
    assert_allclose(np.array(columns) @ alike, 0.0, atol=1e-13)
    assert_allclose(apart @ term._shared_at(hessian) @ apart, columns, atol=1e-13)
    np.linalg.cholesky(term._shared_at(hessian))


@pytest.mark.parametrize("far", [10.0, 1e4, 1e6])
def test_tied_intercepts_of_a_mixture_are_optimal(far):
    """With a penalty of the intercepts the constant matters; the search must arrive nevertheless."""
    Y = np.column_stack([CODES, SCORE + far, -SCORE])
    losses = [Multinomial(3), SquaredError(), Huber()]
    term = make_term(make_task_data(X, Y), losses, intercept_alpha=0.3)
    image = term.image(np.zeros(term.shape))
    b = term.intercept(None, image, None)
    g = term.data.task_sums(term.loss_gradient(term.predictor(image, b))) + 0.3 * (b - b.mean(axis=0))
    assert_allclose(g, 0.0, atol=1e-8 * far)


@pytest.mark.parametrize(
    "loss, y", [(Logistic(), CODES % 2), (Multinomial(3), CODES % 2)], ids=["two", "three"]
)
def test_predictors_beyond_use_are_not_searched(loss, y, monkeypatch):
    """A step in very different units may lead to 1e80: no number of steps would end there."""
    term, steps, hessian = make_term(make_task_data(X, y, TASKS), loss), [], type(loss).hessian
    monkeypatch.setattr(type(loss), "hessian", lambda self, *a: steps.append(1) or hessian(self, *a))
    image = term.image(1e80 * np.random.default_rng(0).normal(size=term.shape))
    assert np.isfinite(term.intercept(None, image, None)).all() and not steps


# --- what has no finite answer ---


def test_a_perfect_fit_of_the_root_is_seen_at_once():
    y = RNG.normal(size=6) * 10.0 ** np.arange(-3, 3)
    model = MultiTaskRegressor(0.1, loss="root_squared_error", penalty=Features(L2()))
    model.fit(X[:6], y, tasks=np.arange(6))
    assert not model.coef_.any() and model.n_iter_ == 1
    assert_allclose(model.intercept_, y, rtol=1e-15)
    assert model.objective_ == pytest.approx(0.0, abs=1e-14) and 0 <= model.dual_gap_ <= 1e-14


def test_numbers_that_overflow_are_refused():
    y = np.abs(SCORE)
    for model in (MultiTaskLasso(0.1), TraceNormRegressor(0.1)):
        with pytest.raises(ValueError, match=r"y holds values of size .*e\+200"):
            model.fit(X, y * 1e200, tasks=TASKS)
    with pytest.raises(ValueError, match=r"targets y <= 1e\+120; found .*e\+17"):
        TraceNormRegressor(0.1, loss="poisson").fit(X, y * np.exp(400), tasks=TASKS)


def test_tied_intercepts_where_no_row_has_a_curvature(monkeypatch):
    """Far out all slopes are constant: steps of a limited length lead back."""
    rng, t = np.random.default_rng(0), np.repeat([0, 1, 2], 4)
    y = (rng.random(12) < 0.5).astype(float)
    y[[0, 4, 8]], y[[1, 5, 9]] = 0.0, 1.0
    data = make_task_data(np.ones((12, 1)), y, t)
    term, looks, hessian = make_term(data, Logistic(), intercept_alpha=0.1), [], RowsTerm.loss_hessian
    monkeypatch.setattr(RowsTerm, "loss_hessian", lambda self, eta: looks.append(eta) or hessian(self, eta))
    image = rng.choice([-1e3, 1e3], size=12) + rng.normal(size=12)
    with np.errstate(over="ignore"):  # as in all fits
        b = term.intercept(None, image, np.full(3, 5000.0))
    slope = term.task_sums(term.loss_gradient(term.predictor(image, b))) + 0.1 * (b - b.mean())
    assert_allclose(slope, 0.0, atol=1e-8)
    assert len(looks) < 60


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "cls", [TraceNormClassifier, GroupSparseClassifier, MeanRegularizedClassifier, TaskRelationshipClassifier]
)
def test_features_that_add_up_to_a_constant_beside_tied_intercepts(cls, n_classes):
    """They do the work of the intercepts' mean: nothing sees how much of it, so that none of it runs off."""
    for seed, far in enumerate([0.0, 1e3, 1e6, 1e3] if n_classes == 2 else [1e6, 0.0, 1e3, 1e6]):
        rng = np.random.default_rng(seed)
        tasks, level = np.arange(40) % 4, rng.integers(seed % 2 + 1, size=40)
        Z = np.column_stack([np.eye(seed % 2 + 1)[level], rng.normal(size=(40, seed // 2))])
        y, alpha, pull = rng.integers(n_classes, size=40), 10.0 ** -(seed + 1), 10.0 ** (2 - seed)
        model = cls(alpha, intercept_alpha=pull)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", category=ConvergenceWarning)
            model.fit(Z + far, y, tasks=tasks)
        assert np.abs(model.coef_).max() < 1e3
        p = model.predict_proba(Z + far, tasks=tasks)[np.arange(40), y]
        b = model.intercept_ - model.intercept_.mean(axis=0)
        least = model.objective_ - 0.5 * pull * np.square(b).sum()  # the penalty is no less than nothing
        assert sum(-np.log(p[tasks == t]).mean() for t in range(4)) <= least + 1e-6 * max(1.0, least)


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge", "poisson"])
@pytest.mark.parametrize("pull", [0.0, 0.01, 0.5])
def test_the_mean_of_a_linear_combination_of_features_stays_where_it_is(loss, pull):
    """What a feature adds to the others is rounding: no reason for coefficients of 1e12."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, tasks = rng.normal(size=(320, 3)), np.repeat(np.arange(8), 40)
        score, X = X @ rng.normal(size=3), np.column_stack([X, X @ rng.normal(size=(3, 2))])
        if loss == "poisson":
            model, y = MeanRegularizedRegressor, rng.poisson(np.exp(0.4 * score))
        else:
            model, y = MeanRegularizedClassifier, (score + rng.logistic(size=320) > 0).astype(int)
        model = model(1e-4, loss=loss, intercept_alpha=pull).fit(X, y, tasks=tasks)
        assert np.abs(model.coef_).max() < 1e3


@pytest.mark.parametrize("pull", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("size", [1e3, 1e5, 1e9])
def test_intercepts_of_rows_that_are_certain_and_wrong(size, pull):
    """No row has a curvature, which leads nowhere: by a linear programme 11/6 of the size is the least."""
    tasks, y = np.repeat([0, 1], 6), np.tile([0.0, 1, 2, 0, 1, 2], 2)
    X = np.tile([1.0, 3, 9, 5, 4, 9], 2)[:, None]
    term = make_term(make_task_data(X, y, tasks), Multinomial(3), True, pull)
    W = np.tile([0.0, size, 0.0], (2, 1))
    image = term.image(W)
    found = term.value(W, image, term.intercept(W, image, None))
    assert 0 <= found - 2 * 11 / 6 * size <= 2 * np.log(3)
