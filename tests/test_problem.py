"""The objective: derivatives, intercepts, and a duality gap that is valid at every point."""

import warnings
from itertools import product

import numpy as np
import pytest
from conftest import LAYOUTS, LOSSES, PENALTIES, kind_of_target, make_layout

from skmtl import (
    GroupSparseRegressor,
    MeanRegularizedRegressor,
    MultiTaskRegressor,
    TaskStatistics,
    TraceNormRegressor,
)
from skmtl.losses import SquaredError
from skmtl.objective import MomentsTerm, Problem, RowsTerm
from skmtl.penalties import L2, Features, Penalty, Positive, Ridge, Shared
from skmtl.solvers import make_task_data, run

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

INTERCEPTS = {"free": {}, "none": {"fit_intercept": False}, "pooled": {"intercept_alpha": 0.7}}
intercepts = pytest.mark.parametrize("options", INTERCEPTS.values(), ids=INTERCEPTS)
layouts = pytest.mark.parametrize("kind", LAYOUTS)


def make_data(kind, loss, **options):
    layout = make_layout(kind, kind_of_target(loss), **options)
    return make_task_data(layout.X, layout.y, layout.tasks, sample_weight=layout.sample_weight)


def moments(data, **options):
    return MomentsTerm(TaskStatistics.from_data(data), data.scale, **options)


def terms(kind, options):
    """Every data term of a layout: each loss on rows, the quadratic one also on moments."""
    for loss in LOSSES.values():
        data = make_data(kind, loss)
        yield RowsTerm(data, loss, **options)
        if loss.quadratic:
            yield moments(data, **options)


def reduced(term, W):
    """Value, gradient and intercepts at W, the intercepts being optimal."""
    image = term.image(W)
    b = term.intercept(W, image, None)
    return term.value(W, image, b), term.gradient(W, image, b), b


# --- the data term ---


@layouts
@intercepts
def test_gradient_equals_central_differences(kind, options, rng):
    for term in terms(kind, options):
        W, h = rng.normal(size=term.shape), 1e-5
        for V in rng.normal(size=(3, *term.shape)):
            slope = (reduced(term, W + h * V)[0] - reduced(term, W - h * V)[0]) / (2 * h)
            assert np.vdot(reduced(term, W)[1], V) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@layouts
@intercepts
def test_curvature_equals_differences_of_the_gradient(kind, options, rng):
    for term in terms(kind, options):
        W, V = rng.normal(size=(2, *term.shape))
        h = 1.0 if term.loss.quadratic else 1e-5
        change = (reduced(term, W + h * V)[1] - reduced(term, W - h * V)[1]) / (2 * h)
        extra = {}
        if term.loss.quadratic:
            np.testing.assert_allclose(term.curvature(V), change, rtol=1e-9, atol=1e-9)
        else:
            extra["eta"] = term.predictor(term.image(W), reduced(term, W)[2])
        assert term.second_order(V, term.image(V), **extra) == pytest.approx(np.vdot(V, change), rel=1e-8)


@layouts
@intercepts
def test_intercepts_are_optimal(kind, options, rng):
    for term in terms(kind, options):
        W, h = rng.normal(size=term.shape), 1e-4
        image = term.image(W)
        b = term.intercept(W, image, None)
        best = term.value(W, image, b)
        if not term.fit_intercept:
            assert not b.any()
            continue
        np.testing.assert_allclose(term.intercept(W, image, b + 1.0), b, atol=1e-10)
        for e in (*np.eye(term.n_tasks), np.ones(term.n_tasks)):
            up, down = (term.value(W, image, b + sign * h * e) for sign in (1, -1))
            assert min(up, down) > best and up - down == pytest.approx(
                0.0, abs=1e-12 * (1 + best) + 1e-9 * (up - best)
            )


@layouts
@intercepts
@pytest.mark.parametrize("penalty", ["features-l2", "mean", "sum-coupling", "infconv"])
def test_rows_and_moments_agree(kind, options, penalty, rng):
    data = make_data(kind, SquaredError())
    rows, short = RowsTerm(data, SquaredError(), **options), moments(data, **options)
    for mean_alpha in (None, 0.0, 0.1):
        one, other = (Problem(term, PENALTIES[penalty], 0.1, mean_alpha) for term in (rows, short))
        parts = points(one, rng, 1)[0]
        for a, b in zip(reduced(rows, parts[0])[:2], reduced(short, parts[0])[:2], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
        (value, b, gap), (value_2, b_2, gap_2) = one.gap(parts), other.gap(parts)
        assert value == pytest.approx(value_2, rel=1e-11)
        W = one.total(parts)
        np.testing.assert_allclose(rows.restored(W, b), short.restored(W, b_2), rtol=1e-10, atol=1e-10)
        assert gap == pytest.approx(gap_2, rel=1e-6)
        assert one.stationarity(parts) == pytest.approx(other.stationarity(parts), rel=1e-9)


@layouts
def test_objective_at_zero_is_the_spread_of_the_targets(kind):
    layout = make_layout(kind)
    expected = sum(s @ (y - s @ y) ** 2 / 2 for _, y, s in layout.blocks())
    data = make_data(kind, SquaredError())
    for term in (RowsTerm(data, SquaredError()), moments(data)):
        problem = Problem(term, Features(L2()))
        assert problem.null_objective() == pytest.approx(expected, rel=1e-12)
        assert problem.gap(problem.zeros())[0] == pytest.approx(expected, rel=1e-12)


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


def make(kind, loss, penalty, *, ridge=0.0, mean_alpha=None, on_moments=False, **options):
    data = make_data(kind, loss, n=60, p=4)
    term = moments(data, **options) if on_moments else RowsTerm(data, loss, **options)
    return Problem(term, penalty, ridge, mean_alpha)


def points(problem, rng, n, sizes=(1e-6, 1e-2, 1.0, 30.0, 1e4)):
    """Random parts of every size; kept in the domain of the penalty."""

    def part(owner, size):
        V = size * rng.normal(size=problem.shape) * (rng.random(problem.shape) < 0.8)
        V = np.abs(V) if isinstance(owner.rough, Positive) else V
        return np.tile(V[0], (len(V), 1)) if isinstance(owner.rough, Shared) else V

    return [[part(owner, size) for owner in problem.parts] for size in rng.choice(sizes, size=n)]


CONVEX = [name for name, penalty in PENALTIES.items() if penalty.convex]


def certified_cases():
    """All pairs of a loss, a penalty and a layout in a third of the triples, with the options in turn."""
    triples = product(enumerate(CONVEX), enumerate(LOSSES), enumerate(LAYOUTS))
    third = [[name for _, name in triple] for triple in triples if sum(i for i, _ in triple) % 3 == 2]
    for n, (penalty, loss, kind) in enumerate(third):
        option = list(OPTIONS)[n % len(OPTIONS)]
        if "graph" not in penalty or kind != "single":  # the graph has four tasks
            yield pytest.param(loss, penalty, kind, option, id=f"{loss}-{penalty}-{kind}-{option}")


def test_each_penalty_meets_each_option():
    met = {(case.values[1], case.values[3]) for case in certified_cases()}
    assert len(met) >= len(CONVEX) * len(OPTIONS) - 2  # the graph has no single task


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a logistic loss has no curvature left far out
@pytest.mark.parametrize("loss, penalty, kind, option", list(certified_cases()))
def test_gap_bounds_the_distance_to_the_optimum_everywhere(loss, penalty, kind, option, rng):
    loss, penalty, options = LOSSES[loss], PENALTIES[penalty], OPTIONS[option]
    problem = make(kind, loss, penalty, **options)
    assert problem.certified
    result = run(problem, tol=1e-9, max_iter=5000)
    assert result.converged and 0 <= result.gap <= 1e-9 * problem.null_objective() * (1 + 1e-6)
    near = [
        [V + 1e-6 * N for V, N in zip(result.parts, noise, strict=True)] for noise in points(problem, rng, 2)
    ]
    forms = [problem] + ([make(kind, loss, penalty, on_moments=True, **options)] if loss.quadratic else [])
    for form in forms:
        for parts in (result.parts, form.zeros(), *near, *points(form, rng, 5)):
            objective, _, gap = form.gap(parts)
            assert not np.isnan(objective)
            if np.isinf(objective):  # exp overflows, where no intercept makes up for it
                assert gap == np.inf
                continue
            # the reference is itself at least the optimum: no slack but rounding
            assert gap >= 0 and gap >= objective - result.objective - 1e-12 * objective


@pytest.mark.parametrize("penalty", ["features-l2", "mean", "graph", "infconv"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_missing_label_costs_nothing(loss, penalty, rng):
    """The gap of a shared design equals that of its labelled rows, one task after the other."""
    layout = make_layout("missing", kind_of_target(loss), n=60, p=4)
    rows, tasks = np.nonzero(~np.isnan(layout.y))
    forms = make_task_data(layout.X, layout.y), make_task_data(layout.X[rows], layout.y[rows, tasks], tasks)
    for option, options in OPTIONS.items():
        strengths = options.get("ridge", 0.0), options.get("mean_alpha")
        own = {name: options[name] for name in options if name in ("fit_intercept", "intercept_alpha")}
        shared, stacked = (
            Problem(RowsTerm(data, loss, **own), PENALTIES[penalty], *strengths) for data in forms
        )
        for parts in points(shared, rng, 4, sizes=(0.01, 0.3, 1.0)):
            one, other = shared.gap(parts), stacked.gap(parts)
            assert one[0] == pytest.approx(other[0], rel=1e-9), option
            assert one[2] == pytest.approx(other[2], rel=1e-3, abs=1e-9 * one[0]), option


def test_gap_pays_for_directions_that_are_not_solved_exactly(rng):
    """Least squares on features of very different scales: gradients that should vanish do not."""
    layout = make_layout("stacked")
    X = layout.X * np.logspace(0, 6, 6)
    for kind in ("free", "none"):
        data = make_task_data(X, layout.y, layout.tasks)
        problem = Problem(RowsTerm(data, SquaredError(), **INTERCEPTS[kind]), Ridge(0.0))
        optimum = 0.0
        for t in range(4):
            rows = layout.tasks == t
            A = np.column_stack([X[rows], np.ones(rows.sum())]) if kind == "free" else X[rows]
            optimum += 0.5 * np.linalg.lstsq(A, layout.y[rows])[1][0] / rows.sum()
        for parts in points(problem, rng, 50):
            objective, _, gap = problem.gap(parts)
            assert gap >= (objective - optimum) * (1 - 1e-12)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gap_is_not_just_infinite(loss, option, monkeypatch):
    """Away from the optimum it is of the order of the distance, so that it can stop a solver."""
    problem, bounds, bound = (
        make("missing", loss, PENALTIES["features-l2"], **OPTIONS[option]),
        [],
        Problem.bound,
    )
    monkeypatch.setattr(Problem, "bound", lambda *given: bounds.append(bound(*given)) or bounds[-1])
    result = run(problem, tol=1e-9, max_iter=5000)
    for scale in (0.9, 0.99, 0.999):
        gap = problem.gap([scale * V for V in result.parts])[2]
        assert gap <= 100 * (1 - scale) * problem.null_objective()
    assert np.isfinite(problem.gap(problem.zeros())[2])
    assert problem.gap(problem.zeros())[2] <= problem.null_objective() * (1 + 1e-9)
    # slopes moved by a step of the solver prove no more than is so
    assert max(bounds, default=0.0) <= result.objective + 1e-8 * problem.null_objective()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_no_objective_is_below_the_least_value_of_the_loss(loss, monkeypatch):
    """Known without a dual point; rows that are fitted exactly need no other certificate."""
    problem = make("stacked", loss, PENALTIES["features-l2"], fit_intercept=False)
    optimum = run(problem, tol=1e-9, max_iter=5000).objective
    monkeypatch.setattr(Problem, "_gap_of", lambda *given: (np.inf, 0.0))
    objective, _, gap = problem.gap(problem.zeros())
    assert objective - optimum <= gap < np.inf


SMOOTH = [name for name, loss in LOSSES.items() if not loss.quadratic]


@pytest.mark.parametrize("option", [name for name in OPTIONS if "free mean" in name])
@pytest.mark.parametrize("loss", SMOOTH)
def test_dual_points_ahead_leave_no_gradient_along_free_directions(loss, option, rng):
    problem = make("missing", LOSSES[loss], PENALTIES["features-l2"], **OPTIONS[option])
    W, image, b, _ = problem.evaluate([0.01 * rng.normal(size=V.shape) for V in problem.zeros()])
    ahead = 0.01 * rng.normal(size=W.shape)
    dual = problem.term.dual_point(W + ahead, image, b, problem.free, problem.pull, ahead)
    assert dual.gradient.any()
    left = problem.free.T @ (dual.gradient + problem.pull.apply(W + ahead + dual.shift))
    assert np.abs(left).max() <= 1e-10 * np.abs(dual.gradient).max()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_stationarity_vanishes_at_the_optimum_only(loss, rng):
    problem = make("stacked", loss, PENALTIES["infconv"], ridge=0.1)
    result = run(problem, tol=1e-12, max_iter=5000)
    assert problem.stationarity(result.parts) < 1e-5
    assert all(problem.stationarity(parts) > 1e-3 for parts in [problem.zeros(), *points(problem, rng, 3)])


# --- digits ---


@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "sparse", "weighted"])
@pytest.mark.parametrize(
    "model",
    [
        GroupSparseRegressor(0.1),
        MeanRegularizedRegressor(0.1),
        MeanRegularizedRegressor(0.1, intercept_alpha=0.3),
        TraceNormRegressor(0.1, mean_alpha=0.0),
        MultiTaskRegressor(1.0, penalty=PENALTIES["sum-coupling"], solver="fista"),
    ],
    ids=["bcd", "direct", "pooled", "free mean", "fista"],
)
def test_a_constant_added_to_y_moves_the_intercepts_only(model, kind):
    """y itself is rounded to 1e-10 by the addition."""
    layout = make_layout(kind)
    model.set_params(tol=1e-14)
    near = model.fit(**layout.fit_args())
    coef, intercept, objective = near.coef_, near.intercept_, near.objective_
    layout.y = layout.y + 1e6
    far = model.fit(**layout.fit_args())
    np.testing.assert_allclose(far.coef_, coef, atol=1e-8)
    np.testing.assert_allclose(far.intercept_ - 1e6, intercept, atol=1e-8)
    assert far.objective_ == pytest.approx(objective, rel=1e-9)


class Broken(Penalty):
    """A penalty whose prox gives NaN."""

    def __init__(self, alpha=1.0, norm=True):
        self.alpha, self.norm = alpha, norm

    def value(self, W):
        return Features(L2(self.alpha)).value(W)

    def prox(self, W, step):
        return np.full_like(W, np.nan)

    def dual_norm(self, G):
        return Features(L2(self.alpha)).dual_norm(G)

    def is_norm(self, shape):
        return self.norm


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_nan_never_counts_as_converged(loss, norm):
    problem = make("stacked", loss, Broken(alpha=1e-3, norm=norm))
    with pytest.raises(ValueError, match="the solution is not finite"), np.errstate(all="ignore"):
        run(problem, max_iter=25, tol=1e-6)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        gap = problem.gap([np.full(problem.shape, np.nan)])[2]
    assert not gap <= 1e300
