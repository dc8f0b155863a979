"""Models with a structure that is found along with W: the two are improved in turn.

The problems of this room have methods of `Problem`, as far as the loop that stops asks for them,
and `iterate`, their solver.
"""

from functools import cached_property

import numpy as np

from ..objective import FactorTerm, Problem
from ..penalties import Coupling, Penalty, Ridge
from ._choice import METHODS, choose_solver, rounding
from ._method import Method
from .fista import fista

INNER_ITERATIONS = 5  # proximal gradient steps on one factor before the other has its turn
INNER_LIMIT = 1000  # iterations for the convex problem between two assignments
TRIAL_ROUNDS = 10  # after which the best of several starts is chosen
COARSE = 1e-3  # stationarity or gap of a start, relative to W = 0


def alternating(problem, parts, max_iter, target):
    """Iterates (n_iter, parts) of a problem with a learned structure."""
    yield from problem.iterate(parts, max_iter, target)


ALTERNATING = Method(
    alternating, lambda problem: problem.solver == "alternating", patience=lambda problem: 100
)


def make_problem_of(term, penalty, ridge=0.0, mean_alpha=None):
    """The problem of a data term and a penalty."""
    form = {None: Problem, "clusters": ClusterProblem, "factors": FactorProblem}[penalty.learned]
    return form(term, penalty, ridge, mean_alpha)


def _solved(problem, start, target):
    """Parts of a convex problem whose stationarity is within the target, if that can be reached."""
    target = max(target, rounding(problem))
    method, parts = METHODS[choose_solver(problem)], start
    if problem.stationarity(start) <= target:
        return start
    for n_iter, parts, *_ in method.iterates(problem, start, INNER_LIMIT, 0.0):
        if n_iter % method.every == 0 and problem.stationarity(parts) <= target:
            break
    return parts


def _coarse(problem):
    """Parts of a problem with a certificate whose gap is small, if that can be reached, in any units."""
    method, target = METHODS[choose_solver(problem)], COARSE * problem.null_objective()
    for _, parts, *known in method.iterates(problem, problem.zeros(), INNER_LIMIT, 0.0):
        if (known[0] if known else problem.gap(parts))[2] <= target:
            break
    return parts


class ClusterProblem(Problem):
    """Problem in W and the clusters of the tasks; evaluated at the current clusters, `labels`."""

    solver = "alternating"
    settled = False

    def __init__(self, term, penalty, ridge, mean_alpha):
        super().__init__(term, penalty, ridge, mean_alpha)
        self.convex = self.certified = False

    def given(self, labels):
        """The convex problem for known clusters."""
        return Problem(self.term, self.penalty.given(labels), self.own_ridge, self.mean_alpha)

    def start(self):
        """Parts of the model in which every task is a cluster: the least shrunken one."""
        single = self.given(np.arange(self.shape[0]))
        return _solved(single, self.zeros(), COARSE * self.scale())

    def iterate(self, parts, max_iter, target):
        """The best of several alternations between W and the clusters, of `max_iter` rounds at most."""
        best, n_iter = (np.inf, None, None), 0
        for seed in self.penalty.seeds():
            V, labels = parts, self.penalty.assigned(parts[0], seed)
            settled = False
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
    certified = convex = False
    parts, labels = (), None

    def __init__(self, term, penalty, ridge, mean_alpha):
        self.term, self.penalty, self.ridge, self.mean_alpha = term, penalty, float(ridge), mean_alpha
        self.shape = term.shape

    def start(self):
        """Factors of the solution of single-task ridge models (around their mean), the most promising."""
        single = Problem(self.term, Ridge(self.penalty.alpha), self.ridge, self.mean_alpha)
        W, *mean = _coarse(single)
        starts = [[*factors, *mean] for factors in self.penalty.starts(W)]
        if len(starts) == 1:
            return starts[0]
        for _ in range(TRIAL_ROUNDS):
            starts = [self._round(parts) for parts in starts]
        return min(starts, key=lambda parts: self.evaluate(parts)[3])

    def total(self, parts):
        """W."""
        return parts[0] @ parts[1] + (parts[2] if len(parts) > 2 else 0.0)

    def evaluate(self, parts, start=None):
        """W, its image, optimal intercepts and objective."""
        W = self.total(parts)
        image = self.term.image(W)
        b = self.term.intercept(W, image, start)
        value = self.term.value(W, image, b) + self.penalty.value_of(*parts[:2])
        value += 0.5 * self.ridge * float(np.vdot(W, W))
        if len(parts) > 2:
            value += 0.5 * self.mean_alpha * float(np.vdot(parts[2], parts[2]))
        return W, image, b, value

    def gap(self, parts, start=None):
        """Objective and intercepts; there is no certificate."""
        _, _, b, value = self.evaluate(parts, start)
        return value, b, np.nan

    def scale(self, *known):
        """Size of the gradient at W = 0: what the stationarity is compared with."""
        return float(np.linalg.norm(self.term.gradient_at(np.zeros(self.shape))))

    def stationarity(self, parts, start=None):
        """Size of the prox-gradient mapping in both factors."""
        halves = self._codes(parts), self._rows(parts)
        return float(np.hypot(*(half.stationarity([V]) for half, V in halves)))

    def iterate(self, parts, max_iter, target):
        """Proximal gradient steps on S and on L (and m) in turn, with momentum while it leads downhill."""
        lowest, before, age = self.evaluate(parts)[3], parts, 0
        for n_iter in range(1, max_iter + 1):
            ahead = [V + age / (age + 3) * (V - old) for V, old in zip(parts, before, strict=True)]
            new = self._round(ahead)
            value = self.evaluate(new)[3]
            if age > 0 and not value <= lowest:
                age, new = 0, self._round(parts)
                value = self.evaluate(new)[3]
            parts, before, lowest, age = new, parts, value, age + 1
            yield n_iter, parts

    def _round(self, parts):
        """Parts after some steps on each factor."""
        k = self.penalty.n_components
        S = _stepped(*self._codes(parts))[:, :k]
        rows = _stepped(*self._rows([S, *parts[1:]]))
        means = [np.tile(self._mean_unit * m, (self.shape[0], 1)) for m in rows[k:]]
        return [*self.penalty.balanced(S, rows[:k]), *means]

    def _factors(self, parts, unit=1.0):
        """[S, unit 1] and [L; m / unit]."""
        S, L, *mean = parts
        ones = np.full((len(S), len(mean)), unit)
        return np.hstack([S, ones]), np.vstack([L, *(M[:1] / unit for M in mean)])

    def _codes(self, parts):
        """The problem in [S, 1] for fixed rows, and its point."""
        left, right = self._factors(parts)
        penalty = _Codes(self.penalty.alpha * self.penalty.sparsity, parts[0].shape[1])
        return Problem(FactorTerm(self.term, self.ridge, right=right), penalty), left

    @cached_property
    def _mean_unit(self):
        """Unit of m among the rows, in which a large `mean_alpha` is no steeper than the data."""
        G, curvature = self.term.steepest(np.zeros(self.shape))
        steep = (self.mean_alpha or 0.0) * float(np.vdot(G, G))
        return np.sqrt(curvature / steep) if 0 < curvature < steep else 1.0

    def _rows(self, parts):
        """The problem in [L; m] for fixed codes, and its point; m in a unit of its own."""
        unit = self._mean_unit
        left, right = self._factors(parts, unit)
        strengths = np.full(len(right), self.penalty.alpha * (1 - self.penalty.sparsity))
        strengths[len(parts[1]) :] = (self.mean_alpha or 0.0) * len(left) * unit**2
        return Problem(FactorTerm(self.term, self.ridge, left=left), Coupling(M=np.diag(strengths))), right


def _stepped(half, V):
    """The point after some proximal gradient steps from V."""
    *_, (_, parts) = fista(half, [V], INNER_ITERATIONS, 0.0)
    return parts[0]


class _Codes(Penalty):
    """alpha times the sum of absolute values in the first columns; the others are fixed."""

    def __init__(self, alpha, n_codes):
        self.alpha, self.n_codes = alpha, n_codes

    def value(self, W):
        return self.alpha * float(np.abs(W[:, : self.n_codes]).sum())

    def prox(self, W, step):
        V = np.sign(W) * np.maximum(np.abs(W) - step * self.alpha, 0.0)
        V[:, self.n_codes :] = 1.0
        return V

    def is_norm(self, shape):
        return False
