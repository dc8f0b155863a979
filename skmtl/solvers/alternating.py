"""Models with a structure that is found along with W: the two are improved in turn.

The problems of this room have methods of `Problem`, as far as the loop that stops asks for them,
and `iterate`, their solver.
"""

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np

from ..objective import FactorTerm, Problem, eigenvectors, fitting_units, graded, several, units
from ..penalties import Penalty, Ridge, by_appearance, square
from ._choice import METHODS, choose_solver, rounding_of_gradients
from ._method import Method
from .fista import fista
from .splitting import FLOOR, models_pay

INNER_ITERATIONS = 5  # proximal gradient steps on one factor before the other has its turn
ROUND = 2 * INNER_ITERATIONS
STEPS_OF_NEWTON = 25  # numbers for which a Newton step takes as long as a round
MOST_NUMBERS = 200  # for which it is quicker than the rounds it may save
# of the largest curvature, added to all of them in a Newton step; the first that leads downhill is taken
DAMPED = (0.0, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)
FIRST_ROUNDS = 10  # that lead to better solutions than Newton steps from afar would
SHORT = 0.1  # of the codes: their change in a Newton step along the narrow valley of a common offset
STEPS_OF_ROWS = 2  # after it, to the floor of that valley
ENOUGH = 1e-3  # of the objective, that the last of them gained
FLAT = 1e-12  # curvature, relative to the largest, that may be rounding
INNER_LIMIT = 1000  # iterations for the convex problem between two assignments
INNER_LOOKS = 20  # of these from one look at its objective to the next
STILL, NOTHING = 1e-9, 1e-15  # of the objective, and of that at W = 0, that is no fall between two looks
TRIAL_ROUNDS = 10  # after which the best of several starts is chosen
UNEQUAL = 100.0  # ratio of the curvatures along features from which a factor is found in units of its own
COARSE = 1e-3  # stationarity or gap of a start, relative to W = 0


ALTERNATING = Method(
    lambda problem, *how: problem.iterate(*how), lambda problem: problem.solver == "alternating",
    patience=lambda problem: 100,
)  # fmt: skip


def make_problem_of(term, penalty, ridge=0.0, mean_alpha=None):
    """The problem of a data term and a penalty."""
    form = {None: Problem, "clusters": ClusterProblem, "factors": FactorProblem}[penalty.learned]
    return form(term, penalty, ridge, mean_alpha)


def _solved(problem, start, target):
    """Parts of a convex problem whose stationarity is within the target, or whose objective falls no more."""
    target, lowest = max(target, rounding_of_gradients(problem.term)), np.inf
    method, parts = METHODS[choose_solver(problem)], start
    for n_iter, parts, *_ in method.iterates(problem, start, INNER_LIMIT, 0.0):
        if n_iter % method.every == 0 and problem.stationarity(parts) <= target:
            break
        if n_iter % INNER_LOOKS == 0:
            before, lowest = lowest, problem.evaluate(parts)[3]
            if not lowest < before - STILL * abs(lowest) - NOTHING * problem.null_objective():
                break
    return parts


def _coarse(problem):
    """Parts of a problem with a certificate whose gap is small, if that is within reach, in any units."""
    method, target = METHODS[choose_solver(problem)], COARSE * problem.null_objective()
    lowest, parts = np.inf, problem.zeros()  # where no step can be taken
    for n_iter, parts, *known in method.iterates(problem, problem.zeros(), INNER_LIMIT, 0.0):
        if n_iter % method.every:
            continue
        objective, _, gap = known[0] if known else problem.gap(parts)
        if gap <= target:
            break
        if n_iter % INNER_LOOKS == 0:
            before, lowest = lowest, objective
            if not lowest < before - target * INNER_LOOKS / INNER_LIMIT:  # nor is it at this pace
                break
    return parts


class ClusterProblem(Problem):
    """Problem in W and the clusters of the tasks; evaluated at the current clusters, `labels`."""

    solver = "alternating"
    settled = False

    def __init__(self, term, penalty, ridge, mean_alpha):
        super().__init__(term, penalty, ridge, mean_alpha)
        self.convex = self.certified = False

    def fitting_units(self):
        """None: those of the features say which tasks are alike."""
        return None

    def given(self, labels):
        """The convex problem for known clusters."""
        return Problem(self.term, self.penalty.given(labels), self.own_ridge, self.mean_alpha)

    def start(self):
        """Parts of the model in which every task is a cluster: the least shrunken one."""
        single = self.given(np.arange(self.shape[0]))
        return _solved(single, self.zeros(), COARSE * self.scale())

    def iterate(self, parts, max_iter, target):
        """The best of several alternations between W and the clusters, of `max_iter` rounds at most."""
        best, n_iter, starts = (np.inf, None, None), 0, {}
        for seed in self.penalty.seeds():
            labels = self.penalty.assigned(parts[0], seed)
            starts.setdefault(by_appearance(labels).tobytes(), labels)
        for labels in starts.values():
            V, settled = parts, False
            for _ in range(max_iter):
                before, problem, n_iter = labels, self.given(labels), n_iter + 1
                V = _solved(problem, V, 0.5 * target)
                labels = self.penalty.improved(V[0], labels)
                settled = labels is before
                if settled:
                    break
            objective = problem.evaluate(V)[3]
            if objective < best[0] - 1e-12 * abs(objective):
                best, self.settled = (objective, before, V), settled
        self.labels = best[1]
        self.parts = self.given(self.labels).parts
        yield n_iter, best[2]

    def stationarity(self, parts, start=None):
        """That at the current clusters; infinite where they would still change."""
        return super().stationarity(parts, start) if self.settled else np.inf


class FactorProblem:
    """Problem in the factors of W = S L, with `mean_alpha` W = S L + 1 m'; parts [S, L] and 1 m'."""

    solver = "alternating"
    certified = convex = turns = False
    parts, labels = (), None

    unit, given = 1.0, None  # of the features, and the problem in those of the user
    b = None  # the intercepts found last
    damped = 0  # the first of `DAMPED` that is tried next

    def __init__(self, term, penalty, ridge, mean_alpha):
        self.term, self.penalty, self.ridge, self.mean_alpha = term, penalty, float(ridge), mean_alpha
        self.shape = term.shape

    def fitting_units(self):
        """Units (n_features of X,) in which features vary alike; None where they do so about as they are."""
        return fitting_units(self.term) if graded(self.term.curvatures(), UNEQUAL) else None

    def in_units(self, unit):
        """The problem of features in other units, those here times `unit` (n_features of X,)."""
        other = copy(self)
        other.term, other.given = self.term.in_units(unit), self
        other.unit = np.tile(unit, self.term.n_outputs)
        return other

    def rescaled(self, parts, unit):
        """Parts of features in other units, those here divided by `unit` (n_features,)."""
        return [parts[0], *(V * unit for V in parts[1:])]

    def start(self):
        """Factors of the solution of single-task ridge models (around their mean), the most promising."""
        term = (self.given or self).term
        W, *mean = _coarse(Problem(term, Ridge(self.penalty.alpha), self.ridge, self.mean_alpha))
        # what leads in the predictors, not in the entries of W
        W, *mean = (V / self.unit for V in (W, *mean))
        starts = [[*self._balanced(*each), *mean] for each in self.penalty.starts(W)]
        return self._lowered(*min(map(self._tried, starts), key=itemgetter(1)))

    def _tried(self, parts):
        """Parts after some rounds, while these lead downhill, and their objective."""
        value = self._reached(parts)
        for _ in range(TRIAL_ROUNDS):
            new, lower = self._after(parts)
            if not lower < value:
                break
            parts, value = new, lower
        return parts, value

    def _lowered(self, parts, value):
        """Parts; where they are above W = 0, as far out as a loss may be straight, nearer or shorter ones."""
        null, rounds = self._reached([0.0 * V for V in parts]), TRIAL_ROUNDS
        while self._models and value > null and rounds:
            (parts, value), rounds = self._after(parts, exactly=True), rounds - 1
        while self._reached(parts) > null and any(V.any() for V in parts):
            parts = [0.1 * V for V in parts]
        return parts

    def total(self, parts):
        """W."""
        return parts[0] @ parts[1] + (parts[2] if len(parts) > 2 else 0.0)

    def evaluate(self, parts, start=None):
        """W, its image, optimal intercepts and objective."""
        W = self.total(parts)
        image = self.term.image(W)
        b = self.term.intercept(W, image, self.b if start is None else start)
        S, L, *mean = self.rescaled(parts, self.unit)
        value = self.term.value(W, image, b) + self.penalty.value_of(S, L)
        value += 0.5 * self.ridge * square(W * self.unit)
        value += 0.5 * sum(self.mean_alpha * square(M) for M in mean)
        return W, image, b, value

    def _reached(self, parts):
        """The objective; later searches of intercepts begin at those found here."""
        *_, self.b, value = self.evaluate(parts)
        return value

    def gap(self, parts, start=None):
        """Objective and intercepts; there is no certificate."""
        _, _, b, value = self.evaluate(parts, start)
        return value, b, np.nan

    def null_objective(self):
        """Objective at factors of zero, which cost nothing."""
        return self.term.null[2]

    def scale(self, *known):
        """Size of the gradient at W = 0: what the stationarity is compared with."""
        return float(np.linalg.norm(self.term.gradient_at(np.zeros(self.shape))))

    def stationarity(self, parts, start=None):
        """Size of the prox-gradient mapping in both factors, in no units of a component."""
        halves = self._codes(parts, True), self._rows(parts, True)
        return float(np.hypot(*(half.stationarity() for half in halves)))

    def iterate(self, parts, max_iter, target):
        """Proximal gradient steps on S and on L (and m) in turn, with momentum while it leads downhill.

        In between Newton steps in all of them, which are tried less and less often while none does.
        """
        lowest, before, age, pause = self._reached(parts), parts, 0, self._pause(parts)
        wait = pause + FIRST_ROUNDS
        for n_round in range(1, max_iter // ROUND + 2):
            ahead = [V + age / (age + 3) * (V - old) for V, old in zip(parts, before, strict=True)]
            new = self._round(ahead)
            value = self._reached(new)
            if not value <= lowest and (age or self._models):
                age, (new, value) = 0, self._downhill(parts, lowest, age > 0)
            parts, before, lowest, age, wait = new, parts, value, age + 1, wait - 1
            if wait <= 0:
                found = self._newton_step(parts, lowest)
                if found is not None:
                    (parts, lowest), age = found, 0
                wait = pause = 2 * pause if found is None else self._pause(parts)
            yield min(n_round * ROUND, max_iter), parts

    def _pause(self, parts):
        """Rounds that take about as long as a Newton step; infinite for more numbers than it is good for."""
        n = np.count_nonzero(parts[0]) + self._factors(parts)[1].size
        return 1 + n // STEPS_OF_NEWTON if n <= MOST_NUMBERS else np.inf

    def _downhill(self, parts, lowest, again=True):
        """Parts after a round and their objective, lower than before; whether to try a model `again`."""
        new, value = self._after(parts, exactly=not again)
        if again and self._models and not value <= lowest:  # far from the loss
            return self._downhill(parts, lowest, False)
        return new, value

    def _after(self, parts, exactly=False):
        """Parts after a round, and their objective."""
        new = self._round(parts, exactly)
        return new, self._reached(new)

    def _round(self, parts, exactly=False):
        """Parts after some steps on each factor, of the loss or of a quadratic model that needs no rows."""
        k, exactly = self.penalty.n_components, exactly or not self._models
        model = self if exactly else self._model(*self.evaluate(parts)[:3])
        S = model._codes(parts).stepped()[:, :k]
        return self._parts(S, model._rows([S, *parts[1:]]).stepped())

    # whether there are such models, and they cost little
    _models = cached_property(lambda self: not self.term.loss.quadratic and models_pay(self.term))

    def _model(self, W, image, b):
        """The problem with a quadratic model of the loss about W, or itself."""
        if not self._models:
            return self
        other = copy(self)
        other.term = self.term.least_squares(image, b, FLOOR, W, self.term.outlying)
        return other

    def _parts(self, S, rows):
        """Parts from the codes and [L; m], each component scaled so that it costs least."""
        k = self.penalty.n_components
        return [*self._balanced(S, rows[:k]), *(np.tile(m, (self.shape[0], 1)) for m in rows[k:])]

    def _balanced(self, S, L):
        """The same product, each component scaled so that it costs least."""
        unit = self.unit if self.penalty.alpha else 1.0
        S, L = self.penalty.balanced(S, L * unit)
        return S, L / unit

    def _factors(self, parts):
        """[S, 1] and [L; m]."""
        S, L, *mean = parts
        return np.hstack([S, np.ones((len(S), len(mean)))]), np.vstack([L, *(M[:1] for M in mean)])

    def _strengths(self):
        """Of the absolute values of the codes, of the squares of rows (of L, of m) and of the ridge."""
        own, square_of_unit = self.penalty, np.broadcast_to(self.unit**2, self.shape[1])
        rows = np.full(own.n_components, own.alpha * (1 - own.sparsity))
        if self.mean_alpha is not None:
            rows = np.append(rows, self.mean_alpha * self.shape[0])
        return own.alpha * own.sparsity, rows[:, None] * square_of_unit, self.ridge * square_of_unit

    def _codes(self, parts, equal=False):
        """The problem in [S, 1] for fixed rows; `equal` ones, if asked for, of length one."""
        (left, right), (cost, _, ridge) = self._factors(parts), self._strengths()
        size = _lengths(right) if equal else np.ones(len(right))
        penalty = _Codes(cost / size, len(parts[1]), size)
        term = FactorTerm(self.term, ridge, right=right / size[:, None], b=self.b)
        return _Half(Problem(term, penalty), left * size, size)

    def _rows(self, parts, equal=False):
        """The problem in [L; m] for fixed codes."""
        (left, right), (_, strengths, ridge) = self._factors(parts), self._strengths()
        size = (_lengths(left.T) if equal else np.ones(len(right)))[:, None]
        term = FactorTerm(self.term, ridge, left=left / size.T, b=self.b)
        return _Half(Problem(term, _Rows(strengths / size**2)), right * size, size)

    def _newton_step(self, parts, lowest, rows_alone=False):
        """Parts after a Newton step in all numbers but codes of zero, and their objective; None if not lower.

        Codes that would change their sign become zero, but along the narrow valley of a common offset, where
        steps are short and rows follow the codes to its floor. Of a negative curvature the size counts.
        """
        S, (left, right) = parts[0], self._factors(parts)
        used = np.nonzero(S) if not rows_alone else ([], [])
        H, unit, slope = self._second_order(parts, left, right, used)
        if not np.isfinite(H).all():
            return None
        values, vectors = eigenvectors(H * unit * unit[:, None])
        size = np.maximum(np.abs(values), FLAT * np.abs(values).max())
        slope = vectors.T @ (unit * slope)
        follow = self.term.far and not (rows_alone or self.term.loss.quadratic)  # rounds are cheap there
        n = len(used[0])
        for damped in DAMPED if rows_alone else DAMPED[self.damped :]:
            move = -unit * (vectors @ (slope / (size + damped * size.max())))
            if follow:
                move *= min(1.0, SHORT * np.linalg.norm(S) / max(np.linalg.norm(move[:n]), 1e-300))
            codes = S.copy()
            codes[used] += move[:n]
            if not follow:
                codes[codes * S < 0] = 0.0
            new = self._parts(codes, right + move[n:].reshape(right.shape))
            value = self._reached(new)
            if follow:
                new, value = self._with_rows(new, value)
            if value < lowest - 1e-15 * abs(lowest):
                if not rows_alone:
                    self.damped = max(DAMPED.index(damped) - 1, 0)
                return new, value
        if not rows_alone:
            self.damped = 0
        return None

    def _with_rows(self, parts, value):
        """Parts of the same codes after Newton steps in the rows, and their objective."""
        for _ in range(STEPS_OF_ROWS):
            found = self._newton_step(parts, value, rows_alone=True)
            if found is None:
                break
            gain, (parts, value) = value - found[1], found
            if gain <= ENOUGH * abs(value):
                break
        return parts, value

    def _second_order(self, parts, left, right, used):
        """Second derivatives in the `used` codes and all rows, units for them, and slopes."""
        W, image, b, _ = self.evaluate(parts)
        term = self._model(W, image, b).term
        times = term.curvature_at(None if term.loss.quadratic else term.predictor(image, b))
        cost, strengths, ridge = self._strengths()
        G = self.term.gradient(W, image, b) + ridge * W
        (t, c), n, width = used, len(used[0]), right.shape[1]
        moves = np.zeros((n + right.size, *self.shape))  # of W along each number
        moves[np.arange(n), t] = right[c]
        moves[n:] = np.einsum("tk,jl->kjtl", left, np.eye(width)).reshape(-1, *self.shape)
        curved = several(times, moves, term.batch) + ridge * moves
        H = curved.reshape(len(moves), -1) @ moves.reshape(len(moves), -1).T
        H[np.arange(n, len(H)), np.arange(n, len(H))] += strengths.ravel()
        unit = units(H)
        across = np.zeros((n, *right.shape))  # W is a product
        across[np.arange(n), c] = G[t]
        H[:n, n:] += across.reshape(n, right.size)
        H[n:, :n] += across.reshape(n, right.size).T
        of_codes = (G[t] * right[c]).sum(axis=1) + cost * np.sign(parts[0][t, c])
        return H, unit, np.append(of_codes, left.T @ G + strengths * right)


@dataclass
class _Half:
    """The problem in one factor, the vectors of the other divided by `size`, and its point."""

    problem: Problem
    point: np.ndarray
    size: np.ndarray

    def stationarity(self):
        """Size of the prox-gradient mapping."""
        return self.problem.stationarity([self.point])

    def stepped(self):
        """The factor after some proximal gradient steps."""
        *_, (_, parts) = fista(self.problem, [self.point], INNER_ITERATIONS, 0.0)
        return parts[0] / self.size


def _lengths(vectors):
    """Lengths of the rows, 1 for those of zeros."""
    size = np.linalg.norm(vectors, axis=1)
    return np.where(size > 0, size, 1.0)


class _Codes(Penalty):
    """Sum of absolute values in the first columns, times their strengths; the others have a fixed value."""

    constrains = True

    def __init__(self, strengths, n_codes, fixed):
        self.strengths, self.n_codes, self.fixed = strengths, n_codes, fixed

    def value(self, W):
        return float((np.abs(W) * self.strengths)[:, : self.n_codes].sum())

    def prox(self, W, step):
        V = np.sign(W) * np.maximum(np.abs(W) - step * self.strengths, 0.0)
        V[:, self.n_codes :] = self.fixed[self.n_codes :]
        return V

    def is_norm(self, shape):
        return False


class _Rows(Penalty):
    """Half the sum of squares times their strengths: by its prox, so that none of them makes steps short."""

    def __init__(self, strengths):
        self.strengths = strengths

    def value(self, W):
        return 0.5 * float(np.vdot(W, self.strengths * W))

    def prox(self, W, step):
        return W / (1.0 + step * self.strengths)

    def is_norm(self, shape):
        return False
