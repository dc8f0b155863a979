"""Smooth problems with a loss that is not quadratic."""

from functools import partial
from itertools import islice

import numpy as np

from .._threads import by_rows, of_rows
from ..objective import rows_pay, squared_model
from ..penalties import square
from ._inverses import assembled_inverse
from ._method import Method
from .direct import ASSEMBLED, conjugate_gradients, diagonal_inverse, make_preconditioner

SHORTEST_STEP = 1e-8
PARABOLA = 0.54  # of slope times step: no parabola falls by more than half of it
INNER_ITERATIONS = 200  # conjugate gradient steps for one Newton direction
FEW = 15  # of them up to which the next direction keeps the preconditioner of the last
MANY = 100  # of them, in all, with the cheapest preconditioner before a better one is made
COSTLY = 1000  # operations of a factorisation, for each number of X, from which the cheapest comes first
JOINT = 200  # coefficients of a task up to which all of its predictors have one system
NEAR = 1e3  # times the target: a slope along the step from which on the next point may reach it
PROMISED = 2.0  # times the target: the next slope, as steps shorten, up to which it may
OFTEN = 10  # steps from one certificate to the next in any case
EXACT = 1e-16  # such a share that leaves nothing to do
NOTHING = 64 * np.finfo(float).eps  # a slope of which is rounding
ROUNDING = 1e-12  # a share that may be all rounding
LOOSE = 0.2  # share of a model's decrease in the step that ends it, halved from one model to the next


def newton(problem, parts, max_iter, target):
    """Iterates (n_iter, parts, (objective, intercept, gap)) of Newton's method.

    Each step is a squared-loss problem on the same rows, solved no further than the gap that is left
    asks for.
    """
    term, W = problem.term, parts[0]
    above = np.inf if term.straight else 0  # steps left that parabolas above the loss lead
    failures, first, before = 0, 0.0, np.inf  # how often a step has failed, and the last slope
    directions = _Directions(term, problem.parts[0].quadratic)
    _, image, b, objective = problem.evaluate([W])
    gap, bound, steep = 0.0, -np.inf, np.inf  # the last one, what bounds the optimum, and the slope then
    for n_iter in range(1, max_iter + 1):
        share = LOOSE * 0.5**n_iter
        if 0 < gap < np.inf:
            share = max(share * min(1.0, gap / first), 0.1 * target / gap)
        gradient, direction = directions.find(W, image, b, share, above > 0)
        slope = float(np.vdot(gradient, direction))
        if n_iter == 1 and -slope <= NEAR * target:  # it may be the solution
            yield 0, parts, problem.gap(parts)
        if term.straight:  # slopes where the step leads, as they are small where the fit is nearly perfect
            bound = max(bound, problem.bound([W], image, b, objective, [W + direction]))
        step, found = _step(problem, W, direction, b, objective, slope)
        if found is not None:
            W, image, b, objective = found
        near = -slope <= min(NEAR * target, 0.5 * steep)
        if directions.exact:  # they shorten as those of Newton's method do, at best
            near = near and -slope * (slope / before) ** 2 <= PROMISED * target
        first_look = n_iter == 1 and not directions.exact
        if near or found is None or first_look or n_iter % OFTEN == 0 or n_iter == max_iter:
            objective, b, gap = problem.gap([W], b)
            bound, steep = max(bound, objective - gap), min(steep, -slope)
        before = slope
        gap = abs(objective - bound)  # a certificate may cost more than a step, and say little new
        first = first or gap
        yield n_iter, [W], (objective, b, gap)
        directions.exact &= step >= 1.0
        if found is not None:
            above = max(above - 1, 0)
        elif above or not np.isfinite(term.loss.curvature):  # no descent left in floating point
            return
        else:
            above, failures = 2**failures, failures + 1


def _step(problem, W, direction, b, objective, slope):
    """Length of a step that leads downhill, and (W, image, intercepts, objective) after it; or None.

    From W = 0 it is twice as long, or four times, where the loss falls more than a parabola would: that of
    classes does. Later single tasks would be led too far.
    """

    def after(step):
        new = by_rows(lambda w, d: w + step * d, W, direction)
        new = problem.term.leveled(new)  # far from zero little holds what no loss sees
        return new, *problem.evaluate([new], b)[1:]

    step, found = 1.0 if slope < 0 else 0.0, None
    while step > SHORTEST_STEP and found is None:
        found = after(step)
        if not found[-1] <= objective + 1e-4 * step * slope + 1e-15 * abs(objective):
            step, found = step / 2, None
    longer = not (W.any() or problem.term.far)
    while longer and step >= 1.0 and objective - found[-1] > PARABOLA * step * -slope:
        further = after(2 * step)
        if not further[-1] < found[-1]:
            break
        step, found = 2 * step, further
    return step, found


NEWTON = Method(
    newton, lambda problem: problem.smooth and not problem.term.loss.quadratic,
    "a loss that is not quadratic and quadratic penalties only", shows_start=True,
    patience=lambda problem: 15, reach=1000,
)  # fmt: skip


class _Directions:
    """Newton directions by conjugate gradients, with a preconditioner that serves while it is good."""

    def __init__(self, term, quadratic):
        self.term, self.quadratic, self.apart = term, quadratic, quadratic.separate
        self.precondition, self.left = None, MANY  # conjugate gradient steps with the cheapest
        # steps up to which a preconditioner is kept; factors through few rows cost no more than some of them
        self.few = 0 if self.apart and term.n_outputs == 1 and rows_pay(term.data) else FEW
        self.slow = False  # whether the inverse for a squared loss does not serve
        self.steepest = np.zeros(term.n_features)  # the largest slopes seen
        self.exact = False  # whether it was that of the Hessian

    def find(self, W, image, b, share, above):
        """The gradient, and -H^-1 gradient up to a share of the decrease that it promises.

        `above` asks for that of parabolas above the loss: where it is straight in places, its own curvature
        leads nowhere.
        """
        term = self.term
        gradient = self.quadratic.plus(term.gradient(W, image, b), W)
        slopes = np.max(of_rows(lambda g: np.abs(g).max(axis=0, initial=0.0), gradient), axis=0)
        eta, rhs = term.predictor(image, b), by_rows(np.negative, gradient)
        self.steepest = np.maximum(self.steepest, slopes)
        if (slopes <= NOTHING * self.steepest).all():  # a step along rounding may be of any length
            return gradient, np.zeros_like(W)
        if above:
            self.precondition, model = None, squared_model(term, eta, above=True, apart=self.apart)
            inverse = self._by_predictor(make_preconditioner(model, self.quadratic))
            hessian = self._by_predictor(lambda V: model.curvature(V) + self.quadratic.apply(V))
            steps = conjugate_gradients(hessian, inverse, rhs)
            share, solved = (EXACT, EXACT * square(gradient)) if term.straight else (share, 0.0)
            return gradient, _truncated(steps, share, INNER_ITERATIONS, solved)[0]
        own = term.curvature_at(eta)

        def times(V):
            return self.quadratic.plus(own(V), V)

        fresh = self.precondition is None
        if fresh:
            few = self.slow and W.size <= ASSEMBLED
            assembled = partial(assembled_inverse, own, self.quadratic.apply, term)
            self.precondition = assembled() if few else self._preconditioner(eta)
        steps = conjugate_gradients(times, self.precondition, rhs, self.exact)
        if self.exact:
            self.precondition = None
            return gradient, next(steps)[0]
        # a good preconditioner makes exact directions cheap, and the iterates those of Newton's method
        share, limit = (share, self.left) if self.left else (EXACT, INNER_ITERATIONS)
        direction, count = _truncated(steps, share, limit, EXACT * square(gradient))
        self.exact = not (self.few or self.left) and count <= 2
        if self.left:
            self.left -= count
        if not self.left and count > self.few:
            self.precondition, self.slow = None, self.slow or (fresh and count > FEW)
        return gradient, direction

    def _preconditioner(self, eta):
        """The inverse for a squared loss of about the same curvature, predictor by predictor."""
        if self.term.n_outputs > 1 and self.term.joint and self.term.n_features <= JOINT:
            self.left = 0
            return make_preconditioner(self.term.joint_model(eta), self.quadratic)
        model = squared_model(self.term, eta, apart=self.apart)
        if not self.left or self.apart or model.on_moments or not _costly(model):
            self.left = 0
            return self._by_predictor(make_preconditioner(model, self.quadratic))
        return self._by_predictor(diagonal_inverse(model, self.quadratic.diagonal()))

    def _by_predictor(self, operator):
        """An operator for one predictor of each task, for all of them."""
        K = self.term.n_outputs
        if K == 1:
            return operator
        return lambda R: np.hstack([operator(np.ascontiguousarray(V)) for V in np.split(R, K, axis=1)])


def _truncated(steps, share, limit, solved):
    """The solution whose step lowered the model by no more than a share of it all, and its number.

    Or the first whose residual has squares of no more than `solved`.
    """
    found, count, total, least = None, 0, 0.0, np.inf
    for solution, residual, decrease in islice(steps, limit):
        if decrease > least and least <= ROUNDING * total:  # steps along rounding grow from here
            break
        found, count, total, least = solution, count + 1, total + decrease, min(least, decrease)
        if decrease <= share * total or square(residual) <= solved:
            break
    return found, count


def _costly(term):
    """Whether a factor through the rows takes as long as many products with them."""
    return (term.rows_per_task.astype(float) ** 3).sum() > COSTLY * term.n_numbers
