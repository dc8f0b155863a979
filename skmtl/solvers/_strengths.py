"""Quadratic problems at many strengths: eigenvectors of the curvature of every task serve all of them."""

import numpy as np

from .._threads import even_blocks, in_blocks, one_blas_thread
from ..objective import DENSE_FEATURES, shared_step
from ._choice import rounding
from ._solve import SolverResult
from .direct import MOST_ROUNDED, ROUNDED, curvature_blocks, inverse_of_mean

EPS = np.finfo(float).eps
MANY = 8  # strengths from which eigenvectors pay
NUMBERS = 2**16  # of a temporary array: it stays in the cache
COEFFICIENTS = 2**21  # of the solutions that are found at a time
EVEN, FAR = 1e4, 1e5  # ratios of curvatures of features, and of them to strengths, up to which none is lost
SOUND, DECIDED = 1e8, 1e-2  # condition of a system of the mean that needs no ranks, times what is rounding


def serves(term):
    """Whether `at_once` does, for penalties that join the tasks by their mean alone."""
    return term.on_moments and not term.tied_intercepts and term.n_features <= DENSE_FEATURES


def at_once(problems, tol):
    """SolverResult of each of some problems that differ in their strengths alone, in their order.

    None where the gap is not within the target, which is for a solver; nothing where numbers are not finite.
    """
    first, term = problems[0], problems[0].term
    try:
        with one_blas_thread(), np.errstate(all="ignore"):
            spectra = Spectra(term, *np.array([one.parts[0].quadratic.numbers for one in problems]).T)
            target = max(tol * first.scale(), rounding(first))
    except np.linalg.LinAlgError:
        return
    step = max(COEFFICIENTS // (term.n_tasks * term.n_features), 1)
    for start in range(0, len(problems), step):
        with one_blas_thread(), np.errstate(all="ignore"):
            found = spectra.certified(slice(start, start + step))
        for W, objective, gap in zip(found[0].swapaxes(0, 1), *found[1:], strict=True):
            W, history = W.copy(), [(1, float(objective), float(gap))]
            b = term.restored(W, term.null[1])
            yield SolverResult(W, b, [W], *history[0], True, history) if gap <= target else None


class Spectra:
    """Solutions for strengths of deviations from the mean of the tasks, and of that mean (n_strengths,).

    With U_t diag(l_t) U_t' the curvature of task t they are w_t = m + U_t v_t, v_t = (U_t'b_t - l_t U_t'm) /
    (l_t + d), or U_t (U_t'b_t - U_t'z) / (l_t + d), z the multiplier of a mean that costs more than d.
    """

    def __init__(self, term, d, mean):
        d = mean if term.n_tasks == 1 else d
        self.term, self.d, self.mean, self.first = term, d[:, None], mean[:, None], (mean < d)[:, None]
        (T, p), alike = term.shape, term.shared and np.ptp(term.scale) == 0
        self.b, self.designs = -term.gradient(np.zeros((T, p)), *term.null[:2]), 1 if alike else T
        self.values, self.vectors = np.empty((self.designs, p)), np.empty((self.designs, p, p))
        in_blocks(self._decompose, even_blocks(self.designs, p * p))
        top, spreads = self.values.max(), term.scale @ np.broadcast_to(term.spreads**2, (T, p)) / T
        self.lost = (top > FAR * d) & (top > EVEN * spreads[spreads > 0].min(initial=np.inf))
        self.shared, self.step = self._shared(), None

    def _decompose(self, t):
        self.values[t], self.vectors[t] = np.linalg.eigh(curvature_blocks(self.term, t))
        np.maximum(self.values[t], 0.0, out=self.values[t])

    def _shared(self):
        """m or z of every strength (n_strengths, p)."""
        (T, p), d, mean, first = self.term.shape, self.d, self.mean, self.first
        b = self.b.sum(axis=0, keepdims=True) if self.designs == 1 else self.b
        row, column = np.triu_indices(p)
        unit = np.where(first, d, 1.0).T

        def summed(t):
            U, values = self.vectors[t].swapaxes(1, 2), self.values[t]
            right = ((U @ b[t, :, None]) * U).reshape(-1, p)
            weight = unit / (values.reshape(-1, 1) + d.T)
            right, U = weight.T @ right, U.reshape(-1, p)
            weight *= np.where(first.T, values.reshape(-1, 1), 1.0)
            condition = (values[:, -1:] / (values[:, :1] + d.T)).max(axis=0)
            return weight.T @ (U[:, row] * U[:, column]), right, condition

        blocks = even_blocks(self.designs, p * (p * p // 2 + len(d)), NUMBERS)
        found, right, condition = zip(*in_blocks(summed, blocks), strict=True)
        systems = np.empty((len(d), p, p))
        systems[:, row, column] = systems[:, column, row] = sum(found) * (T // self.designs)
        own = T * np.where(first, d * mean, 1.0) / np.where(d == mean, np.inf, np.abs(d - mean))
        systems[:, np.arange(p), np.arange(p)] += own
        inverse = self._inverses(systems, np.minimum(ROUNDED * np.max(condition, axis=0), MOST_ROUNDED))
        return np.where(d == mean, 0.0, (inverse @ sum(right)[:, :, None])[:, :, 0])

    def _inverses(self, systems, rounded):
        """Inverses of systems of what the tasks share, of which such shares are rounding."""
        try:
            inverse = np.linalg.inv(systems)
        except np.linalg.LinAlgError:
            inverse = np.full_like(systems, np.nan)
        size = (np.einsum("kjj->kj", systems) * np.einsum("kjj->kj", inverse)).max(axis=1)
        for k in np.flatnonzero(~(size < np.minimum(SOUND, DECIDED / rounded))):
            inverse[k] = inverse_of_mean(systems[k], self.first[k, 0], rounded[k])
        return inverse

    def certified(self, at):
        """Solutions of some strengths (n_tasks, n, p), their objectives and gaps."""
        term, d, mean, first = self.term, self.d[at], self.mean[at], self.first[at]
        (T, p), shared, alike = term.shape, self.shared[at], self.designs == 1
        base, W = np.where(first, shared, 0.0), np.empty((T, len(d), p))
        blocks, spreads = even_blocks(T, len(d) * p, NUMBERS), np.broadcast_to(term.spreads, (T, p))

        def solved(t):
            own = slice(0, 1) if alike else t
            U, values, b = self.vectors[own], self.values[own, None], self.b[t, None]
            moved = shared @ U
            moved *= np.where(first, values, 1.0)
            moved = b @ U - moved
            moved /= values + d
            moved = moved @ U.swapaxes(1, 2)
            w = np.add(base, moved, out=W[t])
            return moved.sum(axis=0), (w @ curvature_blocks(term, own)).sum(axis=0) - b.sum(axis=0)

        away, slopes = (sum(each) for each in zip(*in_blocks(solved, blocks), strict=True))
        shift, left = self._free_steps(mean[:, 0], slopes)
        W += shift
        center = base + shift + away / T
        base += np.where(first, shift, 0.0)

        def charged(t):
            w, b, scale = W[t], self.b[t], term.scale[t]
            slope = w @ curvature_blocks(term, slice(0, 1) if alike else t)
            slope -= b[:, None]
            size, moved = np.abs(w), w - base
            squares = scale @ (size @ spreads[t, :, None])[:, :, 0] ** 2
            found = [_along(w, slope), _along(w, b), _along(size, np.abs(b)), _along(moved, moved)]
            found += [squares, moved.sum(axis=0), slope.sum(axis=0)]
            moved += base - center
            moved *= d
            moved += slope
            return *found, _along(moved, moved), moved.sum(axis=0)

        found = [sum(each) for each in zip(*in_blocks(charged, blocks), strict=True)]
        objective, gap = self._gaps(d[:, 0], mean[:, 0], center, left, *found)
        return W, objective, np.where(self.lost[at], np.inf, gap)

    def _gaps(self, d, mean, center, left, *sums):
        """Objectives and gaps from sums over the tasks, see `certified`."""
        term, T = self.term, self.term.n_tasks
        in_slope, in_b, size, spread, squares, moved, slope, excess, beyond = sums
        spread, excess = (
            one - (sums**2).sum(axis=1) / T for one, sums in ((spread, moved), (excess, beyond))
        )
        costs = d * spread + mean * T * (center**2).sum(axis=1)
        objective = term.null[2] + 0.5 * (in_slope - in_b + costs)
        along = slope + T * mean[:, None] * center
        in_mean = 0.5 * (along**2).sum(axis=1) / (T * mean)
        for k in np.flatnonzero(mean == 0):
            in_mean[k] = np.abs(slope[k]) @ np.abs(center[k]) + left[k](slope[k, None], np.zeros(T))
        gap = 0.5 * np.maximum(excess, 0.0) / d + in_mean
        return objective, gap + EPS * (size + term.yy.sum()) + term.noticed(squares)

    def _free_steps(self, mean, slopes):
        """Steps of means that cost nothing, from the slopes along them (n, p), and what these leave."""
        shift, left = np.zeros_like(slopes), [None] * len(mean)
        for k in np.flatnonzero(mean == 0):
            if self.step is None:
                self.step = shared_step(self.term.shared_curvature, self.term.n_tasks, 0.0, self.term.along)
            moved, left[k] = self.step(slopes[k, None])
            shift[k] = moved[0]
        return shift, left


def _along(A, B):
    """Sum of products over tasks and features, by strength; B without these is the same for all."""
    return np.einsum("tkj,tkj->k" if B.ndim == 3 else "tkj,tj->k", A, B)
