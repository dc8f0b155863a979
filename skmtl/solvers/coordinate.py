"""Block coordinate descent over features on working sets, for the squared loss."""

import numpy as np

from .._terms import MomentsTerm
from ..statistics import TaskStatistics
from .fista import fista

FIRST_SET = 64
GROWTH = 3
GRAM_ENTRIES = 1.25e8  # numbers in the Gram matrices of a working set (1 GB)
EPOCHS = 5  # epochs between extrapolations, and iterates that one combines


def bcd(problem, parts, max_iter, target):
    """Iterates (n_iter, parts); n_iter counts epochs over the working set.

    The working set holds the features in use and those that violate optimality most; inside it
    an epoch touches only second moments, never the rows.
    """
    term, placement = problem.term, problem.parts[0].rough
    W, n_iter, size = parts[0].copy(), 0, FIRST_SET
    while n_iter < max_iter:
        _, image, b, _ = problem.evaluate([W])
        gradient = problem.smooth_gradients([W], W, term.gradient(W, image, b))[0]
        chosen = _working_set(W, placement.function.dual_norm(gradient.T), size)
        if (1 if term_designs(term) == 1 else term.n_tasks) * len(chosen) ** 2 > GRAM_ENTRIES:
            for extra, parts in fista(problem, [W], max_iter - n_iter, target):
                yield n_iter + extra, parts
            return
        inner = _restricted(term, chosen)
        W_set, epochs = _solve_restricted(problem, inner, W[:, chosen], max_iter - n_iter, target)
        W = np.zeros_like(W)
        W[:, chosen] = W_set
        n_iter += epochs
        size = max(size, GROWTH * len(chosen)) if len(chosen) < W.shape[1] else size
        yield n_iter, [W]


def term_designs(term):
    """Number of distinct Gram matrices."""
    return len(term.stats.xx) if isinstance(term, MomentsTerm) else term.data.n_designs


def _working_set(W, violation, size):
    """Positions of the features in use and of the largest violations, in order."""
    used = W.any(axis=0)
    if size >= W.shape[1]:
        return np.arange(W.shape[1])
    rank = np.where(used, np.inf, violation)
    size = max(size, 2 * int(used.sum()))
    if size >= W.shape[1]:
        return np.arange(W.shape[1])
    return np.sort(np.argpartition(-rank, size)[:size])


def _restricted(term, chosen):
    """The data term on the chosen features, as moments."""
    if isinstance(term, MomentsTerm):
        return term if len(chosen) == term.n_features else term.select(chosen)
    stats = TaskStatistics.from_data(term.data, chosen)
    return MomentsTerm(stats, term.data.scale, term.fit_intercept, term.intercept_alpha)


def _solve_restricted(problem, term, W, max_epochs, target):
    """Coefficients on the working set and the epochs spent, to a tenth of the starting gap or the target."""
    inner = problem.with_term(term)
    enough = max(0.3 * target, 0.1 * inner.gap([W])[2])
    sweep = _Sweep(term, problem.parts[0])
    epochs, recent = 0, [W]
    while epochs < max_epochs:
        sweep.start(W)
        for _ in range(min(EPOCHS, max_epochs - epochs)):
            W = sweep.epoch()
            recent.append(W)
            epochs += 1
        objective, _, gap = inner.gap([W])
        if gap <= enough:
            break
        guess = _extrapolated(recent[-EPOCHS - 1 :])
        if guess is not None and inner.evaluate([guess])[3] < objective:
            W = guess
        recent = [W]
    return W, epochs


def _extrapolated(iterates):
    """Anderson extrapolation of a sequence of iterates, None where it is not defined."""
    points = np.array([W.ravel() for W in iterates])
    steps = np.diff(points, axis=0)
    if len(steps) < 2:
        return None
    gram = steps @ steps.T
    try:
        weights = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(len(gram)), np.ones(len(gram)))
    except np.linalg.LinAlgError:
        return None
    total = weights.sum()
    if not np.isfinite(total) or total == 0:
        return None
    return (weights / total @ points[1:]).reshape(iterates[0].shape)


class _Sweep:
    """Epochs of the compiled kernel, with the state in the layout it wants."""

    def __init__(self, term, part):
        from .. import _kernels  # Numba is imported by the first fit that needs it

        xx, scale = term.covariance()
        if not term.fit_intercept:
            weight = term.stats.weight[: len(xx)]
            means = term.stats.x_mean
            xx = xx + weight[:, None, None] * means[:, :, None] * means[:, None, :]
        self.term, self.ridge, self.shared = term, part.quadratic.mean, len(xx) == 1
        self.A = np.ascontiguousarray(xx[0] if self.shared else xx)
        self.scale, self.strength = np.ascontiguousarray(scale), float(part.rough.function.alpha)
        self.code = part.rough.kernel
        self.kernel = _kernels.descend_shared if self.shared else _kernels.descend_separate

    def start(self, W):
        """Take W (n_tasks, m) as the current point, with its exact gradient."""
        image = self.term.image(W)
        G = self.term.gradient(W, image, self.term.intercept(W, image)) + self.ridge * W
        self.Q, self.W = (np.array(V.T if self.shared else V, order="C", copy=True) for V in (-G, W))

    def epoch(self):
        """W after one more pass over the features, (n_tasks, m)."""
        self.kernel(self.A, self.scale, self.ridge, self.strength, self.code, self.Q, self.W)
        return np.ascontiguousarray(self.W.T) if self.shared else self.W.copy()
