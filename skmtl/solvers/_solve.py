"""The front of all solvers: choice, stopping, history and the one warning."""

from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from math import isfinite

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._threads import one_blas_thread
from .._warn import warn
from ..objective import Problem, comes_apart, make_term, shared_step
from ..penalties import Shared
from ..statistics import TaskStatistics
from ._choice import METHODS, choose_solver, rounding
from ._separation import warn_of_separation
from .alternating import ALTERNATING, make_problem_of

SOLVERS = {**METHODS, "alternating": ALTERNATING}
WITH_UNITS = "splitting", "fista", "alternating"  # to which those of the features matter
FACTORISE = "direct", "newton", "alternating"  # matrices of all features
SPANNED, FEW_SPANNED = 2000, 500  # rows of which a basis is found for these, and for others
SETTLED = 1e-6  # of the size of predictors: a change of the objective by as little is none
SPARSER = 1.03  # growth of the iterations between looks, which may cost more than these
DEAR, TO_GO = 1.3, 3.0  # that beside a common offset, where they cost far more, at gaps above so many targets
CLOSER = 0.1  # of the tolerance: that of a bound for another problem
AT_ONCE = 300  # iterations for it: it is found in a few, or hardly
FAINT = 1e-11  # times the objective at W = 0: a norm that moves its dual by less is lost in rounding
FAR_FAINT = 1e-6  # the same beside a common offset, where norms cost so much time that it is worth a try
SLOW = 1e-5  # of the objective at W = 0, that is no fall either while the measure of convergence is far
DIVERGED = 1e18  # times the objective at the start and at W = 0: no way back
AHEAD = 50  # times the iterations since the last look: how far a pace says what is reached
LARGEST = 1e15  # intercept, beside which a predictor is known to a tenth


@dataclass
class SolverResult:
    """What a solver found.

    Attributes
    ----------
    coef : ndarray of shape (n_tasks, n_features)
        W.
    intercept : ndarray of shape (n_tasks,) or (n_tasks, n_classes)
        b, optimal for W.
    parts : list of ndarray of shape (n_tasks, n_features)
        Summands of W, one per part of the penalty (and the shared mean last, with `mean_alpha`).
    n_iter : int
        Iterations.
    objective : float
        Objective at the solution.
    gap : float
        Duality gap, an upper bound of objective - optimum; NaN where there is no certificate.
    converged : bool
        Whether the stopping rule was met.
    history : list of (int, float, float)
        Iteration, objective and gap (or stationarity) at each check.
    labels : ndarray of shape (n_tasks,) or None
        Cluster of each task, where the solver found clusters.

    Examples
    --------
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.losses import SquaredError
    >>> from skmtl.penalties import L2, Features
    >>> from skmtl.solvers import make_task_data, solve
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> rows = make_task_data(data.X, data.y, data.tasks)
    >>> result = solve(rows, SquaredError(), Features(L2(0.1)), tol=1e-6)
    >>> bool(0 <= result.gap <= 1e-5 * result.objective)
    True
    """

    coef: np.ndarray
    intercept: np.ndarray
    parts: list
    n_iter: int
    objective: float
    gap: float
    converged: bool
    history: list = field(repr=False)
    labels: np.ndarray | None = None


def solve(
    data, loss, penalty, *, fit_intercept=True, ridge=0.0, intercept_alpha=0.0, mean_alpha=None,
    solver="auto", init=None, max_iter=10_000, tol=1e-4, callback=None, verbose=0,
):  # fmt: skip
    """Minimise data term + penalty.

    ``sum_t c_t sum_i s_i loss(y_i, x_i.w_t + b_t) + Omega(W) + ridge/2 ||W||_F^2
    + intercept_alpha/2 sum_t (b_t - mean(b))^2``

    Parameters
    ----------
    data : TaskData or TaskStatistics
        From `make_task_data`, or second moments (squared loss; every task counts the same).
    loss : Loss or list of Loss
        One for all tasks, or one for each. With K classes (`Multinomial`) W has shape
        (n_tasks, K * n_features), the classes of a task one after another.
    penalty : Penalty
        Omega.
    fit_intercept : bool, default=True
    ridge, intercept_alpha : float, default=0.0
    mean_alpha : float, optional
        W = 1 m' + V: Omega acts on V, and m costs ``mean_alpha T/2 ||m||^2``.
    solver : str, default="auto"
        * "bcd": coordinate descent on working sets, for the squared loss and norms of every feature;
        * "prox_newton": the same for other losses, by quadratic models;
        * "direct" and "newton": quadratic penalties alone, by factorisations or conjugate gradients;
        * "splitting": other penalties on the second moments of more rows than features;
        * "fista": accelerated proximal gradient, anything else;
        * "alternating": structures that are learned (clusters, factors).
    init : list of ndarray of shape (n_tasks, n_features), optional
        Parts to start from.
    max_iter : int, default=10_000
    tol : float, default=1e-4
        Stop when the duality gap is at most tol times the objective at W = 0. Without a certificate:
        when the prox-gradient mapping is at most tol times the gradient at W = 0.
    callback : callable, optional
        Called with (n_iter, parts) after every iterate; a true return value stops.
    verbose : int, default=0
        Print the gap at each check.

    Returns
    -------
    SolverResult

    Raises
    ------
    ValueError
        If the solver does not apply to this problem, or its numbers overflow.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` is reached first.
    UserWarning
        If directions that nothing penalises separate the classes: the objective has no minimum.

    Examples
    --------
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.losses import SquaredError
    >>> from skmtl.penalties import L2, Features
    >>> from skmtl.solvers import make_task_data, solve
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> rows = make_task_data(data.X, data.y, data.tasks)
    >>> result = solve(rows, SquaredError(), Features(L2(0.1)))
    >>> result.coef.shape, result.converged
    ((4, 20), True)
    """
    with blas_threads(data):
        problem = make_problem(data, loss, penalty, fit_intercept, ridge, intercept_alpha, mean_alpha)
        return run(problem, solver, init, max_iter, tol, callback, verbose)


def blas_threads(data):
    """One BLAS thread while there is a matrix per task: threads cost more than they save on such blocks."""
    designs = len(data.xx) if isinstance(data, TaskStatistics) else data.n_designs
    return one_blas_thread() if designs > 1 else nullcontext()


def make_problem(data, loss, penalty, fit_intercept=True, ridge=0.0, intercept_alpha=0.0, mean_alpha=None):
    """The objective as an object, on the cheaper form of the data."""
    apart = mean_alpha is None and comes_apart(penalty, data.n_tasks)
    term = make_term(data, loss, fit_intercept, intercept_alpha, apart=apart)
    return make_problem_of(term, penalty, ridge, mean_alpha)


def alpha_max(data, loss, penalty, *, fit_intercept=True, ridge=0.0, intercept_alpha=0.0, mean_alpha=None):
    """Smallest factor of `penalty` at which its part of W is zero.

    For a penalty that is not convex the one at which the convex start is zero, and stays. With
    `mean_alpha` the rest of the model (shared mean, intercepts) is fitted first.

    Parameters
    ----------
    data, loss, penalty, fit_intercept, ridge, intercept_alpha, mean_alpha
        As in `solve`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the penalty is not a norm (a quadratic penalty never gives exact zeros).

    Examples
    --------
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.losses import SquaredError
    >>> from skmtl.penalties import L2, Features
    >>> from skmtl.solvers import alpha_max, make_task_data, solve
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> rows = make_task_data(data.X, data.y, data.tasks)
    >>> largest = alpha_max(rows, SquaredError(), Features(L2()))
    >>> bool(solve(rows, SquaredError(), Features(L2(largest))).coef.any())
    False
    """
    with blas_threads(data):
        term = make_problem(data, loss, penalty, fit_intercept, intercept_alpha=intercept_alpha).term
        return greatest_alpha(term, penalty, ridge, mean_alpha)


def greatest_alpha(term, penalty, ridge=0.0, mean_alpha=None):
    """`alpha_max` on a data term."""
    problem = make_problem_of(term, penalty, ridge, mean_alpha)
    rough = _norms(problem)
    if rough is None:
        raise ValueError(
            f"alpha_max exists only for penalties with a norm; {penalty!r} has none in some part."
        )
    W = np.zeros(problem.shape)
    constant = any(r.free_directions(len(W)) is not None for r in rough)  # of a seminorm
    if mean_alpha is not None or constant:
        rest = make_problem_of(problem.term, Shared(0.0 if constant else float(mean_alpha)), ridge)
        W = run(rest, "auto", None, 100_000, 1e-12, None, 0).coef
    G = problem.term.gradient_at(W) + ridge * W
    size = np.abs(G).max(initial=0.0) or 1.0  # squares of entries may vanish or overflow
    top = size * max(r.dual_norm(G / size) for r in rough)
    require_finite("alpha_max", top)
    return top


def _norms(problem):
    """The norms of the parts, convex ones in the place of others; None where a part has none."""
    rough = [part.rough for part in problem.parts if not part.one_vector]
    rough = [r if r is None or r.convex else r.surrogate() for r in rough]
    found = bool(rough) and all(r is not None and r.is_norm(problem.shape) for r in rough)
    return rough if found else None


def alpha_range(term, penalty, ridge=0.0, mean_alpha=None, eps=1e-3):
    """Greatest and least strength worth a try, of a penalty with strength 1.

    From `alpha_max` to eps of it; for a penalty that gives no zeros from 1/eps times the mean second
    derivative of the data term, where the data hardly matter, to eps times it, where the penalty hardly does.
    """
    if _norms(make_problem_of(term, penalty, ridge, mean_alpha)) is not None:
        top = greatest_alpha(term, penalty, ridge, mean_alpha)
        return top, eps * top
    V = np.random.default_rng(0).choice([-1.0, 1.0], size=term.shape)  # <V, H V> is about the trace of H
    V *= 1e-3 / max(np.abs(term.image(V)).max(), np.finfo(float).tiny)
    mean = np.vdot(V, term.gradient_at(V) - term.gradient_at(np.zeros(term.shape))) / np.vdot(V, V)
    return mean / eps, mean * eps


@contextmanager
def _refusing_overflow():
    """ValueError that says why decompositions of matrices fail, which they do for infinite entries only."""
    try:
        yield
    except np.linalg.LinAlgError as error:
        if "converge" not in str(error):
            raise
        require_finite("the solution", np.nan)


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # such steps are not taken
@_refusing_overflow()
def run(problem, solver="auto", init=None, max_iter=10_000, tol=1e-4, callback=None, verbose=0):
    """Solve a `Problem`."""
    name = choose_solver(problem, solver)
    units = problem.fitting_units() if name in WITH_UNITS else None
    solved = _run if units is None else partial(_in_units, units)
    if _basis_pays(problem, name):
        solved = partial(_in_row_space, solver)
    found, missed = solved(problem, name, init, max_iter, tol, callback, verbose)
    if missed:
        _warn(problem, name, found.history[-1], missed, tol, max_iter)
    warn_of_separation(problem, found)
    return found


def _run(problem, name, init, max_iter, tol, callback, verbose):
    """Solution by the solver of that name, without the norms where they are below rounding.

    Also the target where it was missed, though nobody stopped the solver; else None.
    """
    method, start = SOLVERS[name], _start(problem, init)
    known = problem.gap(start) if problem.certified and not method.shows_start else None
    scale = problem.scale(start, known[0]) if known else problem.scale()
    require_finite("the objective at W = 0", scale)
    problem.term.enough = target = max(tol * scale, rounding(problem))
    iterates, bare = method.iterates(problem, start, max_iter, target), None
    if problem.certified:
        first = (0, start, known) if known else next(iterates)
        if init is None and _faint(problem, *first[2][::2]):
            bare, _ = _without_norms(problem, None, max_iter, tol, callback, verbose)
            if bare.gap <= target:
                return bare, None
            if bare.objective < first[2][0]:
                start, known, first = bare.parts, None, None
                iterates = method.iterates(problem, start, max_iter, target)
        if first and (not known or known[2] <= target):  # in the latter case there is nothing to do
            iterates = [first] if known else chain([first], iterates)
    found, stopped = _followed(problem, name, start, iterates, max_iter, target, callback, verbose)
    if not (found.converged or stopped) and _cheap(problem, found.parts, target):
        found = _beside_none(problem, found, bare, target, max_iter, tol)
    return found, None if found.converged or stopped else target


def _in_units(unit, problem, name, init, max_iter, tol, callback, verbose):
    """The solution found with features in other units, those here times `unit`."""
    inner, unit = problem.in_units(unit), np.tile(unit, problem.term.n_outputs)

    def outside(parts):
        return problem.rescaled(parts, unit)

    init = None if init is None else problem.rescaled(init, 1.0 / unit)
    shown = None if callback is None else lambda n_iter, parts: callback(n_iter, outside(parts))
    found, missed = _run(inner, name, init, max_iter, tol, shown, verbose)
    parts = outside(found.parts)
    return replace(found, coef=problem.total(parts), parts=parts), missed


def _basis_pays(problem, name):
    """Whether a basis of the rows, which takes their number squared, is cheap next to a solver and serves."""
    term = problem.term
    if not problem.turns or term.y is None or (name == "direct" and term.shared):
        return False
    few = len(term.y) <= (SPANNED if name in FACTORISE else FEW_SPANNED)
    return few and term.in_row_space is not None


def _in_row_space(solver, problem, name, init, max_iter, tol, callback, verbose):
    """The solution found with coordinates in a basis of the rows, which have all that matters of W."""
    (term, basis), inner, K = problem.term.in_row_space, copy(problem), problem.term.n_outputs
    inner.__dict__.pop("without_norms", None)
    inner.term, inner.shape = term, term.shape

    def turned(parts, R):
        return [(V.reshape(len(V) * K, -1) @ R).reshape(len(V), -1) for V in parts]

    init = init and turned(init, basis)
    shown = callback and (lambda n_iter, parts: callback(n_iter, turned(parts, basis.T)))
    found, missed = _run(inner, choose_solver(inner, solver), init, max_iter, tol, shown, verbose)
    parts = turned(found.parts, basis.T)
    return replace(found, coef=problem.total(parts), parts=parts), missed


def _followed(problem, name, parts, iterates, max_iter, target, callback, verbose):
    """The result of the iterates, and whether the callback stopped them: the only loop that stops."""
    history, best = [], None
    method = SOLVERS[name]
    progress = _Progress(problem, method.patience(problem), min(max_iter, method.reach), target)
    for n_iter, point, stop in _points(problem, method.every, parts, iterates, max_iter, target, callback):
        history.append((n_iter, point.objective, point.measure))
        if _sound(problem, point) and (best is None or point.objective <= best.objective):
            best = point
        if verbose:
            shown = f"objective {point.objective:.8g}  gap {point.measure:.3e}  target {target:.3e}"
            print(f"{name} {n_iter:6d}  {shown}")
        if point.measure <= target or stop or progress.ended(history):
            break
    require_finite("the solution", point.objective, point.intercept, *point.parts)
    if problem.solver is None and not (point.measure <= target or stop):
        point = _least(problem, [point, best])
        history[-1] = n_iter, point.objective, point.measure
    return _result(problem, point, max(n_iter, 1), point.measure <= target, history), stop


def _result(problem, point, n_iter=1, converged=False, history=()):
    coef = problem.total(point.parts)
    intercept = problem.term.restored(coef, point.intercept)
    _require_digits(problem.term, intercept)
    return SolverResult(
        coef=coef, intercept=intercept, parts=point.parts, n_iter=n_iter,
        objective=point.objective, gap=point.gap, converged=bool(converged), history=history,
        labels=problem.labels,
    )  # fmt: skip


def result_at(problem, parts):
    """SolverResult at parts that were seen on the way."""
    return _result(problem, _Point(problem, parts))


class _Point:
    """Parts with their objective, intercepts (searched from some), gap, and measure of convergence."""

    def __init__(self, problem, parts, intercept=None, known=None):
        self.parts = parts
        self.objective, self.intercept, self.gap = known or problem.gap(parts, intercept)
        self.measure = self.gap if problem.certified else problem.stationarity(parts, self.intercept)


def _points(problem, every, parts, iterates, max_iter, target, callback):
    """Iterates worth a look, the last in any case: (n_iter, point, whether the callback stops)."""
    n_iter, point, seen, due = 0, None, None, 0
    dear = every > 1 and problem.term.far and not problem.term.loss.quadratic
    for n_iter, parts, *known in iterates:
        stop = callback is not None and callback(n_iter, parts)
        if stop or known or (n_iter % every == 0 and n_iter >= due) or n_iter >= max_iter:
            point, seen = _Point(problem, parts, point and point.intercept, *known), n_iter
            due = n_iter * (DEAR if dear and not point.measure <= TO_GO * target else SPARSER)
            yield n_iter, point, stop
    if seen != n_iter:
        yield n_iter, _Point(problem, parts, point and point.intercept), False


def _sound(problem, point):
    """Whether the objective is a number, and no more below zero than rounding if it is a sum of squares."""
    if point.objective < 0 and problem.term.loss.quadratic:
        return point.objective >= -SETTLED * problem.term.null[2]
    return bool(np.isfinite(point.objective))


def _least(problem, points):
    """What got lost on the way: the point of the least objective, W = 0 at the latest."""
    points = [point for point in points if point is not None and _sound(problem, point)]
    point = min(points, key=lambda point: point.objective, default=None)
    if point is not None and point.objective <= problem.null_objective():
        return point
    return _Point(problem, problem.zeros())


class _Progress:
    """Whether the target is within reach, looked at whenever the iterations have doubled.

    It is not where the measure of convergence, falling on at the pace since the last look, would not get
    there. Without a certificate the objective is looked at as well: on the way out of a saddle only that
    falls.
    """

    def __init__(self, problem, patience, max_iter, target):
        self.n_iter, self.last, self.max_iter, self.target = patience, None, max_iter, target
        self.problem, term, self.certified = problem, problem.term, problem.certified
        self.least = term.totals.sum() * term.loss.rounding(SETTLED, term.y_size)

    def ended(self, history):
        """Whether it is out of reach."""
        n_iter, objective, _ = history[-1]
        first = max(history[0][1], self.target)  # in very different units rounding moves predictors
        if objective > DIVERGED * first and objective > DIVERGED * self.problem.null_objective():
            return True
        if n_iter < 2 * self.n_iter:
            return False
        last, best = self.last, min(measure for *_, measure in history)
        lowest = min(objective for _, objective, _ in history)
        left = min((self.max_iter - n_iter) / (n_iter - self.n_iter), AHEAD)
        self.n_iter, self.last = n_iter, (best, lowest)
        if last is None or best * (best / last[0]) ** left <= self.target:
            return False
        return self.certified or not lowest < last[1] - max(self.least, SLOW * self.problem.null_objective())


def _faint(problem, objective, gap):
    """Whether the norms of a problem are nothing, or little beside rounding, from the gap at W = 0.

    There the dual objective is that of the slopes over their dual norm, twice the objective over it.
    """
    if type(problem) is not Problem or problem.smooth:
        return False
    first, *others = problem.parts
    rest = first.rough is None and (not first.quadratic or all(part.one_vector for part in others))
    far = problem.term.far and not problem.term.loss.quadratic
    faint = FAR_FAINT if far else FAINT
    if not (rest or 0 <= objective - gap < faint * objective) or problem.without_norms is None:
        return False
    if rest or far:  # other norms cost more than they save
        return True
    W, *others = problem.zeros()  # what does a step cost? Units may differ, and that may be below zero
    G, curvature = problem.term.steepest(W)
    step = float(np.vdot(G, G)) / curvature if curvature > 0 else 0.0
    return problem.penalty_value([-step * G, *others]) < np.sqrt(FAINT) * objective


def _cheap(problem, parts, target):
    """Whether norms cost less than the target: what they leave of a dual point says little then."""
    if type(problem) is not Problem or problem.without_norms is None or not problem.certified:
        return False
    W = problem.total(parts)
    moved = [W, *problem.zeros()[1:]]  # what another part costs the first may have for nothing
    costs = (problem.penalty_value(V) - problem.smooth_penalty_value(V, W) for V in (parts, moved))
    return min(costs) <= target


def _without_norms(problem, known, max_iter, tol, callback=None, verbose=0):
    """The solution without the norms, and its lower bound, which is one of the optimum with them as well.

    It is sought from a `known` one with a larger gap, if there is one.
    """
    rest = problem.without_norms
    init, zeros = known and known.parts[: len(rest.zeros())], problem.zeros()[1:]
    shown = None if callback is None else lambda n_iter, parts: callback(n_iter, [*parts, *zeros])
    found, _ = _run(rest, choose_solver(rest), init, max_iter, tol, shown, verbose)
    parts = [*found.parts, *zeros]
    cost = problem.penalty_value(parts) - rest.penalty_value(found.parts)
    least = found.objective - found.gap
    return replace(found, parts=parts, objective=found.objective + cost, gap=abs(found.gap + cost)), least


def _beside_none(problem, found, bare, target, max_iter, tol):
    """The solution, or that without the norms, whichever the bound of the latter says is closer.

    That of the former is what the norms cost, beside what is left to the other. The latter may be known with
    a larger gap, as `bare`.
    """
    other, least = _without_norms(problem, bare, min(max_iter, AT_ONCE), CLOSER * tol)
    known = min(abs(found.objective - least), found.gap)
    best = min(replace(found, gap=known), other, key=lambda one: one.gap)
    if not best.gap < found.gap:
        return found
    last = found.n_iter, best.objective, best.gap
    return replace(
        best, n_iter=found.n_iter, history=[*found.history[:-1], last], converged=best.gap <= target
    )


def require_finite(what, *numbers):
    """ValueError unless all of them are finite."""
    if not all(isfinite(x) if isinstance(x, float) else np.isfinite(x).all() for x in numbers):
        raise ValueError(
            f"{what} is not finite: y (or X, or a sample_weight) is so large that numbers overflow, or a "
            "penalty of your own gives NaN. Divide y by a constant, and standardise the features."
        )


def _require_digits(term, intercept):
    """ValueError where predictors, whose size y does not say, keep none beside intercepts that cancel X w."""
    if term.loss.quadratic or np.abs(intercept).max() <= LARGEST:
        return
    own = np.broadcast_to(term.loss.translates, (term.n_tasks,))
    if (largest := np.abs(intercept[~own]).max(initial=0.0)) > LARGEST:
        raise ValueError(
            f"X: an intercept of {largest:.0e} has to cancel X w, so that predictions are no numbers in "
            "double precision. Standardise the features, or raise the strength of the penalty."
        )


def _start(problem, init):
    """Parts to start from: zero, or for a problem that is not convex the solution of one that is."""
    if init is not None:
        return [np.array(V, dtype=np.float64) for V in init]
    if problem.solver is not None:
        return problem.start()
    surrogate = problem.surrogate()
    if surrogate is not None:
        return run(surrogate).parts
    parts, last = problem.zeros(), problem.parts[-1]
    if last.one_vector and problem.term.on_moments:
        term, strength = problem.term, problem.ridge + last.rough.alpha
        # the pooled model: one system, whatever the units
        parts[-1], _ = shared_step(term.shared_curvature, term.n_tasks, strength)(term.gradient_at(parts[0]))
    return parts


def _warn(problem, name, last, target, tol, max_iter):
    n_iter, _, reached = last
    advice = "Increase max_iter, standardise"
    if n_iter < max_iter:
        advice = "At this pace max_iter iterations do not get there: standardise"
    measure = "duality gap" if problem.certified else "stationarity"
    warn(
        f"{name} stopped after {n_iter} iterations with a {measure} of {reached:.3e}; "
        f"the target was {target:.3e} (tol={tol:g}). {advice} the features, "
        "raise the strength of the penalty, or accept a larger tol.",
        ConvergenceWarning,
    )
