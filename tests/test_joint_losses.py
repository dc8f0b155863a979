"""Losses that tie rows or predictors together, losses of single tasks, and conic optima of all of them."""

import warnings
from itertools import product

import cvxpy as cp
import numpy as np
import pytest
from conftest import Layout, kind_of_target, make_layout
from scipy.special import log_softmax, softmax, xlogy
from sklearn.exceptions import ConvergenceWarning

from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
)
from skmtl.losses import Huber, Logistic, Multinomial, Poisson, RootSquaredError, SquaredError, SquaredHinge
from skmtl.objective import (
    MomentsTerm,
    OutputsTerm,
    Problem,
    RootTerm,
    RowsTerm,
    _joint,
    by_products,
    make_term,
)
from skmtl.objective._joint import TwoWay
from skmtl.penalties import L1, L2, Coupling, Entries, Features, InfConv, LInf, SparseL2, Spectrum, Tasks
from skmtl.solvers import make_task_data, run, solve

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

K = 3
LAYOUTS = ("stacked", "shared", "missing", "sparse", "weighted", "single")
PENALTIES = {
    "features": Features(L2(0.05)),
    "spectrum": Spectrum(L1(0.05)),
    "mean": Coupling(0.5),
    "infconv": InfConv([Features(L2(0.06)), Entries(L1(0.04))]),
}
INTERCEPTS = {"free": {}, "none": {"fit_intercept": False}, "pooled": {"intercept_alpha": 0.7}}
layouts = pytest.mark.parametrize("kind", LAYOUTS)
intercepts = pytest.mark.parametrize("options", INTERCEPTS.values(), ids=INTERCEPTS)


def classes_layout(kind, n_classes=K, **options):
    """`make_layout` with classes 0, ..., n_classes - 1 in every task."""
    layout = make_layout(kind, **options)
    y = layout.y
    missing = np.isnan(y)
    if y.ndim == 2:
        cuts = np.nanquantile(y, np.arange(1, n_classes) / n_classes, axis=0)
        y = (y[None] > cuts[:, None, :]).sum(axis=0)
    else:
        tasks, codes = np.zeros(len(y)) if layout.tasks is None else layout.tasks, np.zeros(len(y))
        for task in np.unique(tasks):
            rows = tasks == task
            codes[rows] = np.searchsorted(np.quantile(y[rows], np.arange(1, n_classes) / n_classes), y[rows])
        y = codes
    # some rows do not follow the order of the classes
    rng = np.random.default_rng(1)
    y = np.where(rng.random(y.shape) < 0.2, rng.integers(n_classes, size=y.shape), y).astype(float)
    y[missing] = np.nan
    return Layout(layout.X, y, layout.tasks, layout.sample_weight)


def layout_of(kind, loss, **options):
    if isinstance(loss, Multinomial):
        return classes_layout(kind, **options)
    return make_layout(kind, kind_of_target(loss), **options)


def task_data(layout):
    return make_task_data(layout.X, layout.y, layout.tasks, sample_weight=layout.sample_weight)


# --- the losses ---


def multinomial_sample(rng, n=100):
    """Targets and predictors, some of them far from each other."""
    return rng.integers(K, size=n).astype(float), rng.normal(size=(n, K)) * rng.choice([0.1, 1, 8], (n, 1))


def distributions(y, rng):
    """Slopes u in the domain of the conjugate: a distribution minus the indicator of y."""
    return rng.dirichlet(np.ones(K), size=len(y)) - (y[:, None] == np.arange(K))


def test_multinomial_is_the_log_loss(rng):
    y, eta = multinomial_sample(rng)
    found = Multinomial(K).value(y, eta)
    expected = -log_softmax(eta, axis=1)[np.arange(len(y)), y.astype(int)]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert found.shape == y.shape
    y = (y > 0).astype(float)  # two classes: the logistic loss of the difference
    np.testing.assert_allclose(
        Multinomial(2).value(y, eta[:, :2]),
        Logistic().value(y, eta[:, 1] - eta[:, 0]),
        rtol=1e-10,
        atol=1e-14,
    )


def test_multinomial_derivatives_equal_central_differences(rng):
    loss, h = Multinomial(K), 1e-5
    y, eta = multinomial_sample(rng)
    slope, bend = loss.gradient(y, eta), np.empty((len(y), K, K))
    for k, e in enumerate(np.eye(K)):
        up, down = eta + h * e, eta - h * e
        np.testing.assert_allclose(
            slope[:, k], (loss.value(y, up) - loss.value(y, down)) / (2 * h), rtol=1e-7, atol=1e-8
        )
        bend[:, k] = (loss.gradient(y, up) - loss.gradient(y, down)) / (2 * h)
    d = rng.normal(size=eta.shape)
    np.testing.assert_allclose(
        loss.hessian_times(y, eta, d), np.einsum("ikl,il->ik", bend, d), rtol=1e-7, atol=1e-8
    )


def test_multinomial_curvature_is_the_least_bound(rng):
    loss = Multinomial(K)
    y, eta = multinomial_sample(rng)
    eta[0] = 0.0, 0.0, -40.0  # two classes that weigh the same
    H = np.stack([loss.hessian_times(y, eta, np.tile(e, (len(y), 1))) for e in np.eye(K)], axis=1)
    largest = np.linalg.eigvalsh(H)[:, -1]
    assert largest.max() <= loss.curvature * (1 + 1e-12)
    assert largest[0] == pytest.approx(loss.curvature, rel=1e-12)


def test_multinomial_does_not_see_a_constant(rng):
    loss = Multinomial(K)
    y, eta = multinomial_sample(rng)
    shift = 5 * rng.normal(size=(len(y), 1))
    np.testing.assert_allclose(loss.value(y, eta + shift), loss.value(y, eta), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(loss.gradient(y, eta + shift), loss.gradient(y, eta), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(loss.gradient(y, eta).sum(axis=1), 0.0, atol=1e-15)
    np.testing.assert_allclose(loss.hessian_times(y, eta, shift + 0 * eta), 0.0, atol=1e-14)


def test_multinomial_fenchel_young(rng):
    loss = Multinomial(K)
    y, eta = multinomial_sample(rng)
    u = distributions(y, rng)
    assert (loss.value(y, eta) + loss.conjugate(y, u) - (u * eta).sum(axis=1) >= -1e-12).all()
    u = loss.gradient(y, eta)
    np.testing.assert_allclose(
        loss.value(y, eta) + loss.conjugate(y, u), (u * eta).sum(axis=1), rtol=1e-12, atol=1e-12
    )
    # the supremum, where it is attained: eta = log p
    u = distributions(y, rng)
    best = np.log(u + (y[:, None] == np.arange(K)))
    np.testing.assert_allclose(loss.conjugate(y, u), (u * best).sum(axis=1) - loss.value(y, best), rtol=1e-11)


def test_multinomial_conjugate_is_infinite_outside(rng):
    loss = Multinomial(K)
    y = rng.integers(K, size=50).astype(float)
    own = y[:, None] == np.arange(K)
    u = distributions(y, rng)
    assert np.isfinite(loss.conjugate(y, u)).all() and np.isfinite(loss.conjugate(y, -1.0 * own + own)).all()
    for outside in (u + 1e-6, 1.5 * (0 * u + 1 / K) - own, u + own - 2 * own, (own - 1 / K) * 1e-6):
        assert (loss.conjugate(y, outside) == np.inf).all()


def test_multinomial_projection_is_in_the_domain(rng):
    loss = Multinomial(K)
    y = rng.integers(K, size=50).astype(float)
    for u in (3 * rng.normal(size=(50, K)), loss.gradient(y, 30 * rng.normal(size=(50, K)))):
        assert np.isfinite(loss.conjugate(y, loss.project(y, u))).all()
    u = distributions(y, rng)
    np.testing.assert_allclose(loss.project(y, u), u, atol=1e-15)


def test_multinomial_stays_finite_far_out():
    y, eta = np.repeat([0.0, 1.0, 2.0], K), 800 * np.tile(np.eye(K), (3, 1))
    loss = Multinomial(K)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, slope = loss.value(y, eta), loss.gradient(y, eta)
        conjugate = loss.conjugate(y, slope)
    np.testing.assert_allclose(value + conjugate, (slope * eta).sum(axis=1), atol=1e-10)
    sure = loss.gradient(np.zeros(1), np.array([[40.0, 0.0, 0.0]]))  # not zero, and no digits lost
    np.testing.assert_allclose(sure, np.exp(-40.0) * np.array([[-2.0, 1.0, 1.0]]), rtol=1e-14)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_root_derivatives_equal_central_differences(unit, rng):
    loss, h = RootSquaredError(), 1e-5
    y, eta = unit * rng.normal(size=(2, 30))
    assert loss.value(y, eta) == pytest.approx(np.sqrt(2 * SquaredError().value(y, eta).mean()), rel=1e-14)
    for d in unit * rng.normal(size=(5, 30)):
        slope = (loss.value(y, eta + h * d) - loss.value(y, eta - h * d)) / (2 * h)
        bend = (loss.gradient(y, eta + h * d) - loss.gradient(y, eta - h * d)) / (2 * h)
        assert loss.gradient(y, eta) @ d == pytest.approx(slope, rel=1e-7)
        np.testing.assert_allclose(loss.hessian_times(y, eta, d), bend, rtol=1e-7, atol=1e-10)
    assert loss.value(y, y) == 0 and not loss.gradient(y, y).any() and not loss.hessian_times(y, y, d).any()


def test_root_fenchel_young(rng):
    loss = RootSquaredError()
    y, eta = rng.normal(size=(2, 30))
    for size in (0.1, 0.9, 1 - 1e-12):
        u = rng.normal(size=30)
        u *= size / np.sqrt(30 * (u @ u))
        assert loss.value(y, eta) + loss.conjugate(y, u) - u @ eta >= 0
        assert loss.conjugate(y, u) == pytest.approx(u @ y, rel=1e-12)
    u = loss.gradient(y, eta)
    assert loss.value(y, eta) + loss.conjugate(y, u) == pytest.approx(u @ eta, rel=1e-12)
    assert loss.conjugate(y, (1 + 1e-9) * u) == np.inf


# --- the data terms ---


def joint_terms(kind, options):
    for loss, form in ((Multinomial(K), OutputsTerm), (RootSquaredError(), RootTerm)):
        layout = layout_of(kind, loss)
        term = make_term(task_data(layout), loss, **options)
        assert type(term) is form
        yield term, layout


def by_hand(term, layout, W, b):
    """The data term row by row, and its gradients in W and b."""
    value, G, gb = 0.0, np.zeros(W.shape), np.zeros(b.shape)
    for t, (X, y, s) in enumerate(layout.blocks()):
        if isinstance(term, RootTerm):
            residual = X @ W[t] + b[t] - y
            sigma = np.sqrt(s @ residual**2)
            value, slope = value + sigma, s * residual / sigma
            G[t], gb[t] = slope @ X, slope.sum()
            continue
        eta = X @ W[t].reshape(K, -1).T + b[t]
        value -= s @ log_softmax(eta, axis=1)[np.arange(len(y)), y.astype(int)]
        slope = s[:, None] * (softmax(eta, axis=1) - (y[:, None] == np.arange(K)))
        G[t], gb[t] = (slope.T @ X).ravel(), slope.sum(axis=0)
    away = b - b.mean(axis=0)
    a = term.intercept_alpha
    return value + a / 2 * (away**2).sum(), G, gb + a * away


def reduced(term, W):
    """Value, gradient and intercepts at W, the intercepts being optimal."""
    image = term.image(W)
    b = term.intercept(W, image, None)
    return term.value(W, image, b), term.gradient(W, image, b), b


@layouts
@intercepts
def test_term_equals_its_formula_with_optimal_intercepts(kind, options, rng):
    for term, layout in joint_terms(kind, options):
        for size in (0.0, 0.3, 1.0):
            W = size * rng.normal(size=term.shape)
            value, G, b = reduced(term, W)
            assert b.shape == ((term.n_tasks, K) if term.n_outputs > 1 else (term.n_tasks,))
            expected, slopes, gb = by_hand(term, layout, W, term.restored(W, b))
            assert value == pytest.approx(expected, rel=1e-12)
            np.testing.assert_allclose(G, slopes, atol=1e-11)
            if term.fit_intercept:  # convex: where the gradient vanishes
                np.testing.assert_allclose(gb, 0.0, atol=1e-10)
                far = term.intercept(W, term.image(W), b + rng.normal(size=b.shape))
                assert term.value(W, term.image(W), far) == pytest.approx(value, rel=1e-13)
            else:
                assert not b.any()


@layouts
@intercepts
def test_gradient_equals_central_differences(kind, options, rng):
    for term, _ in joint_terms(kind, options):
        W, h = 0.5 * rng.normal(size=term.shape), 1e-5
        for V in rng.normal(size=(3, *term.shape)):
            slope = (reduced(term, W + h * V)[0] - reduced(term, W - h * V)[0]) / (2 * h)
            assert np.vdot(reduced(term, W)[1], V) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@layouts
@intercepts
def test_curvature_equals_differences_of_the_gradient(kind, options, rng):
    for term, _ in joint_terms(kind, options):
        W, h = 0.5 * rng.normal(size=term.shape), 1e-5
        eta = term.predictor(term.image(W), reduced(term, W)[2])
        for V in rng.normal(size=(2, *term.shape)):
            change = (reduced(term, W + h * V)[1] - reduced(term, W - h * V)[1]) / (2 * h)
            np.testing.assert_allclose(term.curvature(V, eta), change, rtol=1e-6, atol=1e-8)
            found = term.second_order(V, term.image(V), eta)
            assert found == pytest.approx(np.vdot(V, change), rel=1e-7)


@layouts
@intercepts
def test_models_have_the_curvature_of_the_loss_in_all_coefficients_of_a_task(kind, options, rng):
    """Where intercepts are tied at least that, and exactly along a vector that all tasks share."""
    for term in (term for term, _ in joint_terms(kind, options) if term.n_outputs > 1):
        W, V = 0.5 * rng.normal(size=(2, *term.shape))
        _, gradient, b = reduced(term, W)
        image = term.image(W)
        eta = term.predictor(image, b)
        own, found = term.curvature(V, eta), term.joint_model(eta).curvature(V)
        if term.tied_intercepts:
            assert np.vdot(V, found) >= np.vdot(V, own) * (1 - 1e-10)
        else:
            np.testing.assert_allclose(found, own, rtol=1e-6, atol=1e-10)
        v = V[0].reshape(term.n_outputs, -1)
        v = (v - v.mean(axis=0) * term.classes_alone).ravel()  # else another curvature has been added
        shared = term.curvature(np.tile(v, (term.n_tasks, 1)), eta).sum(axis=0)
        hessian = term.loss_hessian(eta)
        np.testing.assert_allclose(term._shared_at(hessian) @ v, shared, rtol=1e-6, atol=1e-10)
        several = rng.normal(size=(4, *b.shape))
        answers = [term._settle(hessian, g) for g in several]
        np.testing.assert_allclose(term._settle(hessian, several), answers, rtol=1e-12, atol=1e-14)
        model = term.least_squares(image, b, 1e-3, W)
        state = model.state(W)
        np.testing.assert_allclose(state.gradient, gradient, atol=1e-9)
        floor = model.curvature(V) - found
        assert np.vdot(V, floor) >= 0 and state.value >= 0


WEAK = {
    "l2": (Features(L2(0.001)), 8), "linf": (Features(LInf(0.001)), 8), "entries": (Entries(L1(0.0003)), 8),
    "sparse": (Features(SparseL2(0.001, l1_ratio=0.3)), 8), "spectrum": (Spectrum(L1(0.001)), 8),
    "infconv": (InfConv([Features(L2(0.001)), Tasks(L2(0.002))]), 8), "mean": (Coupling(0.001), 8),
}  # fmt: skip


@pytest.mark.parametrize("name", WEAK)
def test_three_classes_at_weak_strengths_cost_few_steps(name):
    """Steps know how classes of a row curve together, and that nothing holds what they have in common."""
    penalty, steps = WEAK[name]
    data = task_data(classes_layout("stacked", n=400))
    result = solve(data, Multinomial(K), penalty, tol=1e-4, max_iter=1000)
    assert result.converged and result.n_iter <= steps


@pytest.mark.parametrize("options", [{}, {"intercept_alpha": 1.0}], ids=["free", "pooled"])
def test_models_whose_certificate_lags_behind_are_not_given_up(options):
    """Few rows, many classes: the gap falls when the solution is nearly there."""
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(40, 2)), np.repeat([0, 1], 20)
    y = np.argmax(X @ rng.normal(size=(2, 7)) + rng.gumbel(size=(40, 7)), axis=1)
    data = make_task_data(X, y, t)
    result = solve(data, Multinomial(7), Features(L2(1e-3)), max_iter=1000, **options)
    assert result.converged
    best = solve(
        data, Multinomial(7), Features(L2(1e-3)), solver="fista", tol=1e-6, max_iter=20_000, **options
    )
    assert result.objective - result.gap <= best.objective <= result.objective + 1e-9


def test_what_classes_have_in_common_does_not_drift():
    """Of more features than rows, where steps are those of one predictor after the other."""
    data = task_data(classes_layout("stacked", n=100, p=40))
    result = solve(data, Multinomial(K), Features(L2(0.0005)), tol=1e-4, max_iter=1000)
    assert result.converged and result.n_iter <= 25
    W = result.coef.reshape(len(result.coef), K, -1)
    np.testing.assert_allclose(W.sum(axis=1), 0.0, atol=1e-9)


@pytest.mark.parametrize("offset", [100.0, 1e5])
def test_nor_does_it_far_from_zero(offset):
    """Tied intercepts answer there what no penalty and no loss sees."""
    rng, t = np.random.default_rng(2), np.repeat(np.arange(3), 20)
    X = rng.normal(size=(60, 2))
    y = np.digitize(X[:, 0] + 1.5 * rng.normal(size=60), [-0.7, 0.7])
    result = solve(
        make_task_data(X + offset, y, t), Multinomial(3), Coupling(alpha=1.0), intercept_alpha=0.01
    )
    np.testing.assert_allclose(result.coef.reshape(3, 3, 2).sum(axis=1), 0.0, atol=1e-9)


# --- the certificate ---

OPTIONS = {
    "plain": {},
    "no intercept": {"fit_intercept": False},
    "pooled": {"intercept_alpha": 0.5},
    "free mean": {"mean_alpha": 0.0},
    "mean": {"mean_alpha": 0.2},
    "ridge": {"ridge": 0.2},
    "free mean, pooled, ridge": {"mean_alpha": 0.0, "intercept_alpha": 0.5, "ridge": 0.2},
    "mean, no intercept, ridge": {"mean_alpha": 0.2, "fit_intercept": False, "ridge": 0.2},
}
JOINT = {"multinomial": Multinomial(K), "root": RootSquaredError()}


def make(layout, loss, penalty, *, ridge=0.0, mean_alpha=None, **options):
    return Problem(make_term(task_data(layout), loss, **options), penalty, ridge, mean_alpha)


def points(problem, rng, n, sizes=(1e-6, 1e-2, 0.3, 1.0, 10.0)):
    """Random parts of every size; a shared mean stays one."""
    for size in rng.choice(sizes, size=n):
        parts = [
            size * rng.normal(size=problem.shape) * (rng.random(problem.shape) < 0.8) for _ in problem.parts
        ]
        if problem.mean_alpha is not None:
            parts[-1] = np.tile(parts[-1][0], (len(parts[-1]), 1))
        yield parts


def certified_cases():
    for n, (loss, penalty, option) in enumerate(product(JOINT, PENALTIES, OPTIONS)):
        # in turn, so that each penalty and each option meets every layout
        kind = LAYOUTS[(n + n // len(OPTIONS)) % len(LAYOUTS)]
        yield pytest.param(loss, penalty, kind, option, id=f"{loss}-{penalty}-{kind}-{option}")


@pytest.mark.parametrize("loss, penalty, kind, option", list(certified_cases()))
def test_gap_bounds_the_distance_to_the_optimum_everywhere(loss, penalty, kind, option, rng):
    loss = JOINT[loss]
    problem = make(layout_of(kind, loss, n=60, p=4), loss, PENALTIES[penalty], **OPTIONS[option])
    assert problem.certified
    result = run(problem, tol=1e-8, max_iter=5000)
    assert result.converged and 0 <= result.gap <= 1e-8 * problem.null_objective() * (1 + 1e-6)
    near = [
        [V + 1e-4 * N for V, N in zip(result.parts, noise, strict=True)] for noise in points(problem, rng, 2)
    ]
    for parts in (result.parts, problem.zeros(), *near, *points(problem, rng, 4)):
        objective, _, gap = problem.gap(parts)
        assert gap >= 0 and gap >= objective - result.objective - 1e-12 * objective
    for scale in (0.9, 0.99, 0.999):  # of the order of the distance, so that it can stop a solver
        gap = problem.gap([scale * V for V in result.parts])[2]
        assert gap <= 100 * (1 - scale) * problem.null_objective()


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", JOINT.values(), ids=JOINT)
def test_a_missing_label_costs_nothing(loss, penalty, option, rng):
    """The gap of a shared design equals that of its labelled rows, one task after the other."""
    layout = layout_of("missing", loss, n=60, p=4)
    rows, tasks = np.nonzero(~np.isnan(layout.y))
    stacked = Layout(layout.X[rows], layout.y[rows, tasks], tasks)
    one, other = (make(form, loss, PENALTIES[penalty], **OPTIONS[option]) for form in (layout, stacked))
    for parts in points(one, rng, 4, sizes=(0.01, 0.3, 1.0)):
        (value, _, gap), (value_2, _, gap_2) = one.gap(parts), other.gap(parts)
        assert value == pytest.approx(value_2, rel=1e-9)
        assert gap == pytest.approx(gap_2, rel=1e-3, abs=1e-9 * value)


# --- a loss of its own for every task ---

MIXTURES = {
    "one predictor": [SquaredError(), Logistic(), Poisson(), Huber(0.5)],
    "two kinds": [Logistic(), SquaredError(), Logistic(), SquaredError()],
    "classes": [Multinomial(3), Multinomial(2), Multinomial(4), Multinomial(3)],
    "all": [SquaredError(), Multinomial(3), Logistic(), Poisson()],
}
mixtures = pytest.mark.parametrize("losses", MIXTURES.values(), ids=MIXTURES)


def mixed_layout(kind, losses, **options):
    """A layout whose tasks have the targets of their losses."""
    layout = make_layout(kind, n_tasks=len(losses), **options)
    columns = layout.y if layout.y.ndim == 2 else layout.y[:, None]
    for t, loss in enumerate(losses):
        rows = ~np.isnan(columns[:, t]) if layout.y.ndim == 2 else layout.tasks == t
        y = columns[rows, t if layout.y.ndim == 2 else 0]
        rank = np.argsort(np.argsort(y + np.random.default_rng(t).normal(size=len(y))))
        if isinstance(loss, Multinomial):
            y = rank * loss.n_classes // len(y)
        elif isinstance(loss, Poisson):
            y = rank * 6 // len(y)
        elif kind_of_target(loss):
            y = rank * 2 // len(y)
        columns[rows, t if layout.y.ndim == 2 else 0] = y
    return layout


def single_tasks(layout, losses, options):
    """The data term of every task on its own."""
    for (X, y, s), loss in zip(layout.blocks(), losses, strict=True):
        data = make_task_data(X, y, np.zeros(len(y)), sample_weight=s)
        yield (RowsTerm if loss.n_outputs == 1 else OutputsTerm)(data, loss, **options)


@mixtures
@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "weighted"])
@pytest.mark.parametrize("options", [INTERCEPTS["free"], INTERCEPTS["none"]], ids=["free", "none"])
def test_mixed_term_is_the_sum_of_its_tasks(losses, kind, options, rng):
    layout = mixed_layout(kind, losses)
    term = make_term(task_data(layout), list(losses), **options)
    p, n_outputs = layout.X.shape[1], max(loss.n_outputs for loss in losses)
    assert term.shape == (4, n_outputs * p) and term.n_outputs == n_outputs
    W, V = 0.3 * rng.normal(size=(2, *term.shape))
    value, G, b = reduced(term, W)
    eta = term.predictor(term.image(W), b)
    HV, total = term.curvature(V, eta), 0.0
    for t, own in enumerate(single_tasks(layout, losses, options)):
        used = own.n_outputs * p
        own_value, own_G, own_b = reduced(own, W[[t], :used])
        own_eta = own.predictor(own.image(W[[t], :used]), own_b)
        own_HV = own.curvature(V[[t], :used], own_eta)
        total += own_value
        np.testing.assert_allclose(G[t, :used], own_G[0], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(HV[t, :used], own_HV[0], rtol=1e-8, atol=1e-9)
        assert not G[t, used:].any() and not HV[t, used:].any()
    assert value == pytest.approx(total, rel=1e-12)


@mixtures
@pytest.mark.parametrize("kind", ["stacked", "missing"])
def test_mixed_term_has_optimal_pooled_intercepts(losses, kind, rng):
    term = make_term(task_data(mixed_layout(kind, losses)), list(losses), intercept_alpha=0.7)
    W, h = 0.3 * rng.normal(size=term.shape), 1e-4
    image = term.image(W)
    b = term.intercept(W, image, None)
    best = term.value(W, image, b)
    for d in rng.normal(size=(10, *b.shape)):
        up, down = (term.value(W, image, b + sign * h * d) for sign in (1, -1))
        assert min(up, down) > best
        assert up - down == pytest.approx(0.0, abs=1e-12 * (1 + best) + 1e-3 * (up - best))


@mixtures
@pytest.mark.parametrize(
    "option, penalty",
    [
        ("plain", "features"), ("plain", "infconv"), ("no intercept", "spectrum"), ("pooled", "features"),
        ("pooled", "spectrum"), ("ridge", "mean"), ("mean", "infconv"), ("free mean", "features"),
        ("mean, no intercept, ridge", "mean"), ("free mean, pooled, ridge", "spectrum"),
    ],
)  # fmt: skip
def test_mixed_gap_bounds_the_distance(losses, option, penalty, rng):
    kind = "missing" if "pooled" in option or option == "ridge" else "stacked"
    layout = mixed_layout(kind, losses, n=80, p=3)
    problem = make(layout, list(losses), PENALTIES[penalty], **OPTIONS[option])
    result = run(problem, tol=1e-8, max_iter=20_000)
    assert result.converged
    for parts in (result.parts, problem.zeros(), *points(problem, rng, 4, sizes=(1e-2, 0.3, 1.0))):
        objective, _, gap = problem.gap(parts)
        assert gap >= 0 and gap >= objective - result.objective - 1e-12 * objective


def test_equal_losses_are_one_loss():
    data = task_data(make_layout("stacked"))
    one, other = (make_term(data, loss) for loss in (SquaredError(), [SquaredError()] * 4))
    assert type(one) is type(other) and one.loss == other.loss


# --- conic optima ---


def conic_loss(loss, y, s, eta):
    """The weighted loss of one task; eta (n_rows,), for classes a list of those."""
    if isinstance(loss, Multinomial):
        own = sum(cp.sum(cp.multiply(s * (y == k), e)) for k, e in enumerate(eta))
        scores = cp.hstack([cp.reshape(e, (len(y), 1), order="C") for e in eta])
        return s @ cp.log_sum_exp(scores, axis=1) - own
    if isinstance(loss, RootSquaredError):
        return cp.norm(cp.multiply(np.sqrt(s), y - eta), 2)
    if isinstance(loss, SquaredHinge):
        short = cp.pos(1 - cp.multiply(2 * y - 1, eta))
        return cp.sum_squares(cp.multiply(np.sqrt(s), short)) / 2
    rows = {
        SquaredError: lambda: cp.square(y - eta) / 2,
        Huber: lambda: cp.huber(y - eta, loss.delta) / 2,
        Logistic: lambda: cp.logistic(eta) - cp.multiply(y, eta),
        Poisson: lambda: cp.exp(eta) - cp.multiply(y, eta) + (xlogy(y, y) - y),
    }[type(loss)]()
    return cp.sum(cp.multiply(s, rows))


def group(W):
    """Groups over tasks and classes."""
    return cp.sum(cp.norm(cp.vstack(W), 2, axis=0))


def spread(W):
    """Of the stacked classes of a task."""
    W = cp.hstack(W)
    return cp.sum_squares(W - np.full((W.shape[0],) * 2, 1 / W.shape[0]) @ W) / 2


def trace(W):
    return cp.normNuc(cp.hstack(W))


def parts(W):
    P = [cp.Variable(V.shape) for V in W]
    return group(P) + 0.7 * sum(cp.sum(cp.abs(V - U)) for U, V in zip(P, W, strict=True))


def reference(layout, losses, formula, params):
    """Optimal objective by a conic solver; one matrix (n_tasks, n_features) per class."""
    blocks = list(layout.blocks())
    T, p = len(blocks), blocks[0][0].shape[1]
    losses = losses if isinstance(losses, list) else [losses] * T
    n_outputs = max(loss.n_outputs for loss in losses)
    V = [cp.Variable((T, p)) for _ in range(n_outputs)]
    b, W, objective = cp.Variable((T, n_outputs)), V, 0
    if "mean_alpha" in params:
        m = [cp.Variable((1, p)) for _ in range(n_outputs)]
        W = [own + np.ones((T, 1)) @ shared for own, shared in zip(V, m, strict=True)]
        objective += params["mean_alpha"] * T / 2 * sum(cp.sum_squares(shared) for shared in m)
    for t, ((X, y, s), loss) in enumerate(zip(blocks, losses, strict=True)):
        eta = [X @ W[k][t] + b[t, k] for k in range(loss.n_outputs)]
        objective += conic_loss(loss, y, s, eta if isinstance(loss, Multinomial) else eta[0])
    objective += params["alpha"] * formula(V) + params.get("ridge", 0) / 2 * sum(map(cp.sum_squares, W))
    away = b - np.full((T, T), 1 / T) @ b
    objective += params.get("intercept_alpha", 0) / 2 * cp.sum_squares(away)
    problem = cp.Problem(cp.Minimize(objective), [] if params.get("fit_intercept", True) else [b == 0])
    with warnings.catch_warnings():  # the tolerances are beyond what it is sure to reach
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        precise = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11, "max_iter": 500}
        try:
            problem.solve(solver="CLARABEL", **precise)
        except cp.SolverError:  # it stalls on its own scaling of some problems
            problem.solve(solver="CLARABEL", equilibrate_enable=False, **precise)
    assert problem.status in ("optimal", "optimal_inaccurate")
    return problem.value


def check(objective, gap, optimum):
    assert objective == pytest.approx(optimum, rel=1e-6)
    # the certificate bounds the distance, up to the accuracy of the reference
    assert gap >= objective - optimum - 1e-8 * abs(optimum)


MODELS = {
    "group": ((GroupSparseRegressor, GroupSparseClassifier), {"alpha": 0.05}, group),
    "mean": ((MeanRegularizedRegressor, MeanRegularizedClassifier), {"alpha": 0.3}, spread),
    "trace": ((TraceNormRegressor, TraceNormClassifier), {"alpha": 0.05}, trace),
}
CONIC = {
    "huber": Huber(), "poisson": Poisson(), "root_squared_error": RootSquaredError(),
    "squared_hinge": SquaredHinge(), "log_loss": Multinomial(K),
}  # fmt: skip
VARIANTS = {
    "plain": {},
    "no-intercept": {"fit_intercept": False},
    "pooled": {"intercept_alpha": 0.5},
    "ridge": {"ridge": 0.1},
    "mean": {"mean_alpha": 0.05, "intercept_alpha": 0.3},
    "free-mean": {"mean_alpha": 0.0},
}


def conic_cases():
    for n, (loss, name) in enumerate(product(CONIC, MODELS)):
        kind = ("stacked", "missing")[n % 2]
        yield pytest.param(loss, name, kind, "plain", id=f"{loss}-{name}-{kind}")
        for shift in range(2):  # each loss meets each variant
            variant = list(VARIANTS)[1 + (2 * n + shift) % 5]
            if name != "mean" or "mean" not in variant:
                yield pytest.param(loss, name, "stacked", variant, id=f"{loss}-{name}-{variant}")


@pytest.mark.parametrize("loss, name, kind, variant", list(conic_cases()))
def test_objective_equals_conic_optimum(loss, name, kind, variant):
    classes, params, formula = MODELS[name]
    cls = classes[CONIC[loss].__class__ in (SquaredHinge, Multinomial)]
    params = {**params, **VARIANTS[variant]}
    layout = layout_of(kind, CONIC[loss])
    optimum = reference(layout, CONIC[loss], formula, params)
    for tol in (1e-9, 1e-2):
        model = cls(loss=loss, tol=tol, max_iter=100_000, **params).fit(**layout.fit_args())
        if tol < 1e-6:
            check(model.objective_, model.dual_gap_, optimum)
            assert model.coef_.any()
        assert model.dual_gap_ >= model.objective_ - optimum - 1e-8 * abs(optimum)


@pytest.mark.parametrize("n_rows, noise", [(5, 1.0), (20, 0.0)])
@pytest.mark.parametrize("variant", ["plain", "pooled", "free-mean"])
@pytest.mark.parametrize("name", MODELS)
def test_a_root_that_vanishes_is_certified(name, variant, n_rows, noise):
    """Of some tasks all rows can be fitted: the loss has no curvature there, and a kink at the optimum."""
    (cls, _), params, formula = MODELS[name]
    variant = "no-intercept" if name == "mean" and variant == "free-mean" else variant
    rng, t = np.random.default_rng(1), np.repeat(np.arange(4), n_rows)
    X = rng.normal(size=(len(t), 9))
    y = X @ rng.normal(size=9) + noise * rng.normal(size=len(t)) + 2 * t
    params = {**params, **VARIANTS[variant], "alpha": 0.1 * params["alpha"]}
    optimum = reference(Layout(X, y, t), RootSquaredError(), formula, params)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = cls(loss="root_squared_error", **params).fit(X, y, tasks=t)
    assert model.n_iter_ <= 60
    assert -1e-7 <= model.objective_ - optimum <= model.dual_gap_ + 1e-7


@pytest.mark.parametrize(
    "name, kind, variant",
    [
        *product(["group", "mean", "trace", "infconv"], ["stacked", "missing"], ["plain"]),
        *product(["group", "trace", "infconv"], ["stacked"], ["no-intercept", "pooled", "free-mean"]),
    ],
)
@pytest.mark.parametrize(
    "losses",
    [[SquaredError(), Logistic(), Poisson()], [Multinomial(3), SquaredError(), Logistic()]],
    ids=["one predictor", "several"],
)
def test_mixed_objective_equals_conic_optimum(losses, name, kind, variant):
    layout = mixed_layout(kind, losses)
    penalty, formula = {
        "group": (Features(L2(0.05)), group),
        "mean": (Coupling(0.05), spread),
        "trace": (Spectrum(L1(0.05)), trace),
        "infconv": (InfConv([Features(L2(0.05)), Entries(L1(0.035))]), parts),
    }[name]
    if losses[0].n_outputs > 1 and variant == "free-mean":
        variant = "mean"  # free, the one task with classes is separable
    if name == "mean":  # its own mean is free
        variant = "ridge"
    options = VARIANTS[variant]
    optimum = reference(layout, losses, formula, {"alpha": 0.05, **options})
    result = solve(task_data(layout), losses, penalty, tol=1e-9, max_iter=100_000, **options)
    check(result.objective, result.gap, optimum)
    loose = solve(task_data(layout), losses, penalty, tol=1e-2, **options)
    assert loose.gap >= loose.objective - optimum - 1e-8 * optimum


def test_intercepts_where_rounding_leaves_a_curvature_singular(monkeypatch):
    """Of a class far out, say: the step of the others is the same, and there is none of its own."""
    data = make_task_data(np.ones((12, 1)), np.arange(12) % 3, np.repeat([0, 1], 6))
    term, g = make_term(data, Multinomial(3)), np.array([[0.1, -0.1, 0.0], [0.2, 0.1, -0.3]])
    bend = term.loss_hessian(np.tile([0.3, -0.2, 0.0], (12, 1)))
    far = term.loss_hessian(np.tile([0.3, -0.2, -800.0], (12, 1)))
    wanted = term._settle(bend, g)

    def singular(*args):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(np.linalg, "solve", singular)
    np.testing.assert_allclose(term._settle(bend, g), wanted, rtol=1e-10)
    found, p = term._settle(far, g)[0], 1 / (1 + np.exp(0.5))
    assert found[0] - found[1] == pytest.approx(-0.1 / (p * (1 - p) * data.totals[0]), rel=1e-8)
    assert abs(found[2]) < 1e-8


def nearly_separable(n_tasks=3, n_rows=15, n_features=6, n_classes=5):
    """Rows of which some directions, shared by the tasks, separate some classes."""
    rng = np.random.default_rng(0)
    t = np.repeat(np.arange(n_tasks), n_rows)
    X = rng.normal(size=(len(t), n_features))
    W = rng.normal(size=(n_classes, n_features)) + 0.5 * rng.normal(size=(n_tasks, n_classes, n_features))
    eta = np.einsum("ij,ikj->ik", X, W[t]) + rng.normal(size=(n_tasks, n_classes))[t]
    return make_task_data(X, (eta + rng.gumbel(size=eta.shape)).argmax(axis=1), t)


def test_the_intercepts_of_one_hessian_have_one_system(monkeypatch):
    term = make_term(nearly_separable(), Multinomial(5), intercept_alpha=0.1)
    made, tied = [], OutputsTerm._tied
    monkeypatch.setattr(OutputsTerm, "_tied", lambda self, H: made.append(H) or tied(self, H))
    rng = np.random.default_rng(0)
    times = term.curvature_at(rng.normal(size=(*term.y.shape, 5)))
    for V in rng.normal(size=(4, *term.shape)):
        times(V)
    assert len(made) == 1


@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "sparse"])
@pytest.mark.parametrize("options", INTERCEPTS.values(), ids=INTERCEPTS)
@pytest.mark.parametrize("mixed", [False, True], ids=["classes", "mixed"])
def test_several_directions_at_once_are_as_one_by_one(kind, options, mixed, monkeypatch, rng):
    """Also beside a common offset, and where not all of them are followed at once."""
    layout = classes_layout(kind)
    if kind != "sparse":
        layout.X = layout.X + 1e3
    data = task_data(layout)
    losses = [Multinomial(K), SquaredError()] * data.n_tasks
    term = make_term(data, losses[: data.n_tasks] if mixed else Multinomial(K), **options)
    hessian = term.loss_hessian(0.5 * rng.normal(size=(*term.y.shape, K)))
    directions = rng.normal(size=(5, *term.shape))
    single = [term._curvature(hessian, V) for V in directions]
    np.testing.assert_allclose(term._curvature(hessian, directions), single, rtol=1e-9, atol=1e-9)
    expected = RowsTerm._followed_each(term, hessian, directions)
    for batch in (2, 5):
        monkeypatch.setattr(OutputsTerm, "batch", batch)
        for found, wanted in zip(term._followed_each(hessian, directions), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    model = term.least_squares(np.zeros((*term.y.shape, K)), term.no_intercepts(), 1e-3, directions[0])
    single = [model.curvature(V) for V in directions]
    np.testing.assert_allclose(model.curvature(directions), single, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["stacked", "shared", "missing"])
@pytest.mark.parametrize("options", INTERCEPTS.values(), ids=INTERCEPTS)
def test_moments_in_several_directions_at_once_as_well(kind, options, monkeypatch, rng):
    """Also the steps that a dual point takes along steep directions, and what they leave."""
    layout = make_layout(kind)
    layout.X = layout.X * np.logspace(0, 4, layout.X.shape[1]) + 1e3
    term = by_products(make_term(task_data(layout), SquaredError(), **options))
    assert isinstance(term, MomentsTerm) and term.batch > 1
    directions, W = rng.normal(size=(5, *term.shape)), rng.normal(size=term.shape)
    single = [term.curvature(V) for V in directions]
    np.testing.assert_allclose(term.curvature(directions), single, rtol=1e-9)
    if not term.fit_intercept:  # there are no steep directions then
        return
    steps = [term.steep_inverse(term.image(W), None)]
    monkeypatch.setattr(MomentsTerm, "batch", 1)
    term._kept_steep = None
    steps.append(term.steep_inverse(term.image(W), None))
    excess = term.gradient_at(W)
    np.testing.assert_allclose(steps[0](excess), steps[1](excess), rtol=1e-7, atol=1e-12)


def test_directions_at_once_are_as_many_as_the_cache_holds():
    term = make_term(nearly_separable(), Multinomial(5))
    assert term.batch == int(2e5 / (45 * 5))
    assert make_term(nearly_separable(n_rows=20_000), Multinomial(5)).batch == 1


@pytest.mark.parametrize("used", [np.ones((4, 3)), np.tril(np.ones((4, 3))) + np.eye(4, 3, 1)])
def test_numbers_less_what_is_common_by_one_matrix(used, monkeypatch, rng):
    less_common, V = TwoWay(used > 0), rng.normal(size=(4, 3, 5))
    found, far = less_common(V), less_common(V + 1e8)
    monkeypatch.setattr(_joint, "FEW_PREDICTORS", 0)
    np.testing.assert_allclose(found, less_common(V), atol=1e-14)
    np.testing.assert_allclose(far, found, atol=1e-7)
    np.testing.assert_allclose(less_common.mean(found), 0.0, atol=1e-14)


def test_classes_that_are_nearly_separable_are_certified():
    """Along the free mean slopes leave their domain, and go back; Newton's directions are exact."""
    data = nearly_separable()
    result = solve(data, Multinomial(5), Coupling(0.05), intercept_alpha=0.1)
    optimum = solve(data, Multinomial(5), Coupling(0.05), intercept_alpha=0.1, tol=1e-6).objective
    assert result.converged
    assert result.objective > 0.5
    assert result.n_iter <= 15
    assert result.objective - result.gap <= optimum <= result.objective
