"""Quadratic problems at many strengths: eigenvectors of the curvature of every task serve all of them."""

import numpy as np

from .._threads import even_blocks, in_blocks, one_blas_thread
from ..objective import DENSE_FEATURES, shared_step
from ._choice import rounding
from ._solve import SolverResult
from .direct import MOST_ROUNDED, ROUNDED, curvature_blocks, inverse_of_mean

EPS = np.finfo(float).eps
MANY, FEATURES = 8, 20  # strengths from which eigenvectors pay, one more for so many features
NUMBERS = 2**16  # of a temporary array: it stays in the cache
COEFFICIENTS = 2**21  # of the solutions that are found at a time
EVEN, NEAR = 1e6, 1e3  # ratios of curvatures, and of means that count, to the least: no more digits are lost
EXACT = 1e-10  # gap of a solution relative to the objective at W = 0, above which digits were lost
SOUND, DECIDED = 1e8, 1e-2  # condition of a system of the mean that needs no ranks, times what is rounding


@np.errstate(over="ignore", invalid="ignore")
def serves(term, n_strengths):
    """Whether `at_once` does, and pays, for penalties that join the tasks by their mean alone."""
    p = term.n_features
    few = n_strengths < MANY + p / FEATURES
    if few or p > DENSE_FEATURES or not term.on_moments or term.tied is not None:
        return False
    spreads, means = term.scale @ np.broadcast_to(term.spreads**2, term.shape), term.kept @ term.x_mean**2
    least = spreads[spreads > 0].min(initial=np.inf)
    return not (spreads.max(initial=0.0) > EVEN * least or means.max(initial=0.0) > NEAR * least)


def at_once(problems, tol):
    """SolverResult of each of some problems that differ in their strengths alone, in their order.

    None where the gap is not within the target, which is for a solver; nothing where numbers are not finite.
    """
    first, term = problems[0], problems[0].term
    d, mean = np.array([one.parts[0].quadratic.numbers for one in problems]).T
    d = mean if term.n_tasks == 1 else d
    if not d.any():
        return
    try:
        with one_blas_thread(), np.errstate(all="ignore"):
            spectra = Spectra(term, d, mean)
            target = max(min(tol, EXACT) * first.scale(), rounding(first))
    except np.linalg.LinAlgError:
        return
    if not target < np.inf:
        return
    step = max(COEFFICIENTS // (term.n_tasks * term.n_features), 1)
    for start in range(0, len(problems), step):
        with one_blas_thread(), np.errstate(all="ignore"):
            found = spectra.certified(slice(start, start + step))
        for W, objective, gap in zip(found[0].swapaxes(0, 1), *found[1:], strict=True):
            known = gap <= target and objective < np.inf
            yield _result(term, W.copy(), float(objective), float(gap)) if known else None


def _result(term, W, objective, gap):
    b = term.restored(W, term.intercept(W, term.of_means(W)[:, None]))
    return SolverResult(W, b, [W], 1, objective, gap, True, [(1, objective, gap)])


class Spectra:
    """Solutions for strengths of deviations from the mean of the tasks, and of that mean (n_strengths,).

    With U_t diag(l_t) U_t' the curvature of task t and r_t = U_t'(b_t - a_t beta), beta the number that tied
    intercepts lie around, they are w_t = m + U_t (r_t - l_t U_t'm) / (l_t + d), or U_t (r_t - U_t'z) /
    (l_t + d) with the multiplier z of a mean that costs more than d. See `_schur_inverse`.
    """

    def __init__(self, term, d, mean):
        self.term, self.d, self.mean, self.first = term, d[:, None], mean[:, None], (mean < d)[:, None]
        (T, p), alike, self.tied = term.shape, term.shared and np.ptp(term.scale) == 0, term.tied_intercepts
        self.b, self.designs = -term.gradient(np.zeros((T, p)), *term.null[:2]), 1 if alike else T
        self.a = term.kept[:, None] * term.x_mean if self.tied else np.zeros((T, p))
        self.kept = term.kept.sum() if self.tied else 1.0  # else beta is zero
        self.values, self.vectors = np.empty((self.designs, p)), np.empty((self.designs, p, p))
        in_blocks(self._decompose, even_blocks(self.designs, p * p))
        self.unseen = np.flatnonzero(term.curvatures() == 0)
        self.shared, self.step = self._shared(), None

    def _decompose(self, t):
        self.values[t], self.vectors[t] = np.linalg.eigh(curvature_blocks(self.term, t))
        np.maximum(self.values[t], 0.0, out=self.values[t])

    def _shared(self):
        """m or z, and beta, of every strength (n_strengths, p + 1)."""
        p, d, each = self.term.n_features, self.d.T, self.term.n_tasks // self.designs
        b = self.b.sum(axis=0, keepdims=True) if self.designs == 1 else self.b
        row, column = np.triu_indices(p)

        def summed(t):
            U, values = self.vectors[t].swapaxes(1, 2), self.values[t]
            r, known = U @ b[t, :, None], []
            if self.tied:
                a = U @ self.a[t, :, None]
                known = [each * a * U, a * r, each * a * a]
            known = np.concatenate([r * U, *known], axis=2).reshape(values.size, -1)
            weight, U = 1.0 / (values.reshape(-1, 1) + d), U.reshape(-1, p)
            known = weight.T @ known
            weight *= np.where(self.first.T, values.reshape(-1, 1), 1.0)
            condition = values[:, -1:] / (values[:, :1] + d)
            return each * (weight.T @ (U[:, row] * U[:, column])), known, condition.max(axis=0)

        blocks = even_blocks(self.designs, p * (p * p // 2 + d.size), NUMBERS)
        squares, known, condition = zip(*in_blocks(summed, blocks), strict=True)
        S = np.empty((d.size, p, p))
        S[:, row, column] = S[:, column, row] = sum(squares)
        known = np.pad(sum(known), ((0, 0), (0, 0 if self.tied else p + 2)))
        systems, right = self._systems(S, *np.split(known, [p, 2 * p, 2 * p + 1], axis=1))
        rounded = np.minimum(ROUNDED * np.max(condition, axis=0), MOST_ROUNDED)
        return (self._inverses(systems, rounded) @ right[:, :, None])[:, :, 0]

    def _systems(self, S, b, a, along, square):
        """Systems and right-hand sides of what the tasks share, from sums over their eigenvectors."""
        d, mean, first, p = self.d, self.mean, self.first, S.shape[1]
        unit, equal, diagonal = np.where(first, d, 1.0), (d == mean)[:, 0], np.arange(p)
        systems, cross = np.empty((len(d), p + 1, p + 1)), unit * a
        systems[:, :p, :p] = unit[:, None] * S
        own = self.term.n_tasks * np.where(first, d * mean, 1.0)
        systems[:, diagonal, diagonal] += own / np.where(d == mean, 1.0, np.abs(d - mean))
        systems[:, :p, p], systems[:, p, :p] = cross, np.where(first, cross, -cross)
        systems[:, p, p] = self.kept - square[:, 0]
        right = np.hstack([unit * b, -along])
        none = np.pad(equal[:, None] | np.isin(diagonal, self.unseen), ((0, 0), (0, 1)))  # of m
        systems[none[:, :, None] | none[:, None, :]], right[none] = 0.0, 0.0
        systems[:, diagonal, diagonal] += none[:, :p]
        return systems, right

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
        term, d, mean = self.term, self.d[at], self.mean[at]
        W, base, center, slopes, offset = self._solutions(at)
        spreads, a = np.broadcast_to(term.spreads, self.b.shape), self.a.sum(axis=0)
        shift, left = self._free_steps(mean[:, 0], slopes)  # of the dual point alone
        center, base = center + shift, base + np.where(self.first[at], shift, 0.0)
        offset, gained = offset + shift @ a / self.kept, -0.5 * (slopes * shift).sum(axis=1)

        def charged(t):
            w, b, scale = W[t] + shift, self.b[t], term.scale[t]
            slope = self._slopes(w, t)
            if self.tied:
                slope -= offset[:, None] * self.a[t, None]
            size, moved = np.abs(w), w - base
            squares = scale @ (size @ spreads[t, :, None])[:, :, 0] ** 2
            found = [_along(w, slope), _along(w, b), _along(size, np.abs(b)), _along(moved, moved)]
            found += [squares, moved.sum(axis=0), slope.sum(axis=0)]
            moved += base - center
            moved *= d
            moved += slope
            return *found, _along(moved, moved), moved.sum(axis=0)

        sums = [sum(each) for each in zip(*in_blocks(charged, self._blocks(len(d))), strict=True)]
        objective, gap = self._gaps(d[:, 0], mean[:, 0], center, left, *sums)
        return W, objective + gained, gap + gained

    def _solutions(self, at):
        """Those of some strengths (n_tasks, n, p), what they deviate from, their mean and slopes along it.

        Also the mean of what features add to the predictors, if tied intercepts follow it.
        """
        d, first, shared, beta = self.d[at], self.first[at], self.shared[at, :-1], self.shared[at, -1:]
        base, W = np.where(first, shared, 0.0), np.empty((len(self.b), len(d), self.b.shape[1]))

        def solved(t):
            own = self._own(t)
            U, values = self.vectors[own], self.values[own, None]
            moved = shared @ U
            moved *= np.where(first, values, 1.0)
            moved = (self.b[t, None] - beta * self.a[t, None] if self.tied else self.b[t, None]) @ U - moved
            moved /= values + d
            moved = moved @ U.swapaxes(1, 2)
            w = np.add(base, moved, out=W[t])
            w[:, :, self.unseen] = 0.0
            offset = _along(w, self.a[t]) if self.tied else np.zeros(len(d))
            return moved.sum(axis=0), self._slopes(w, t).sum(axis=0), offset

        sums = zip(*in_blocks(solved, self._blocks(len(d))), strict=True)
        moved, slopes, offset = (sum(each) for each in sums)
        offset /= self.kept
        return W, base, base + moved / len(W), slopes - np.outer(offset, self.a.sum(axis=0)), offset

    def _slopes(self, w, t):
        """Slopes of the loss of the tasks of a block, those of tied intercepts that stay as they are."""
        slope = w @ curvature_blocks(self.term, self._own(t))
        slope -= self.b[t, None]
        return slope

    def _own(self, t):
        """Those tasks of a block whose curvatures differ."""
        return slice(0, 1) if self.designs == 1 else t

    def _blocks(self, n_strengths):
        return even_blocks(len(self.b), n_strengths * self.b.shape[1], NUMBERS)

    def _gaps(self, d, mean, center, left, *sums):
        """Objectives and gaps from sums over the tasks, see `certified`."""
        term, T = self.term, self.term.n_tasks
        in_slope, in_b, size, spread, squares, moved, slope, excess, beyond = sums
        spread, excess = spread - (moved**2).sum(axis=1) / T, excess - (beyond**2).sum(axis=1) / T
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
