"""Restricted maximum likelihood of tasks coupled by a graph or a covariance, from their second moments.

As `Posterior`, with a prior over the tasks in the place of independent deviations from a common model:
y_t = b_t + X_t w_t + e_t, where w_j, a coefficient of all tasks, has the precision Q of a prior in the
coordinates R^-1 w. Intercepts that vary are eliminated first: S_t is the centred xx and rho_t times the
square of the mean, rho_t = 1 / (1/n_t + 1/strength); their common level, if the rows tell of it, comes last.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg

from ..objective import units
from ._variance_components import (
    EPS,
    RANK_TOLERANCE,
    Moments,
    Posterior,
    back,
    chunks,
    matrix,
    times,
    triangular,
)

NEAR_SINGULAR = 1e-10  # eigenvalue of correlations that stands for zero
NO_DIGITS = (
    "alpha='auto': the second moments of X leave no digits, as where columns are far from zero beside how "
    "they vary and intercepts have a variance, or there are none: centre the features."
)


@dataclass
class CoupledMoments(Moments):
    """The same, and the prior over the tasks."""

    prior: Any

    @classmethod
    def joined(cls, moments, prior):
        """`Moments` with a prior."""
        return cls(**{one.name: getattr(moments, one.name) for one in fields(moments)}, prior=prior)

    def posterior(self, root, strength):
        """The model at one set of variances; ValueError where rounding has left none."""
        try:
            return CoupledPosterior(self, root, strength)
        except np.linalg.LinAlgError as error:
            raise ValueError(NO_DIGITS) from error

    def some(self, tasks):
        """All of them: they hang together."""
        return self

    def information(self, root=None):
        """That of `Moments` in units of the deviations of the prior."""
        own, all_rows = super().information(root)
        return own * self.prior.variance, all_rows * self.prior.variance

    @cached_property
    def common(self):
        """Directions of the slopes of which the rows of a component tell, (n_common, n_features, n_features).

        Basis vectors as columns, zero beyond their number; which they are (n_common, n_features); and those
        beyond, likewise.
        """
        K = self._total(self.xx)
        if self.pooled:
            x_mean = np.broadcast_to(self.x_mean, self.xy.shape)
            K = K + np.array([(w[:, None] * x).T @ x for w, x in self._parts(self.weight, x_mean)])
        unit = units(K)
        values, vectors = np.linalg.eigh(unit[:, :, None] * K * unit[:, None, :])
        used = values > RANK_TOLERANCE * K.shape[1] * values[:, -1:]
        vectors, all_used = unit[:, :, None] * vectors, used.all(axis=1)[:, None, None]
        basis = np.where(used[:, None], np.where(all_used, np.eye(K.shape[1]), vectors), 0.0)
        return basis, used, np.where(used[:, None], 0.0, vectors)

    @cached_property
    def levelled(self):
        """Whether the rows tell the level of intercepts that vary from the common slopes."""
        if not self.pooled:
            return False
        if not self.prior.n_common:
            return True
        x_mean, left = np.broadcast_to(self.x_mean, self.xy.shape), self.weight.sum()
        parts = self._parts(self.weight, x_mean)
        for B, K, (w, x) in zip(self.common[0], self._total(self.xx), parts, strict=True):
            m = B.T @ (w @ x)
            H = B.T @ (K + (w[:, None] * x).T @ x) @ B
            left -= m @ linalg.pinvh(H) @ m
        return bool(left > RANK_TOLERANCE * self.n_tasks * self.weight.sum())

    @cached_property
    def df(self):
        fixed = self.common[1].sum() if self.prior.n_common else 0
        return int(self.count.sum() - fixed - (self.n_tasks if self.free else self.levelled))

    def _total(self, A):
        """Sums over the tasks of the components; one A serves all tasks of a design."""
        prior = self.prior
        if len(A) == 1:
            return prior.sizes[:, None, None] * A
        return (prior.members @ A.reshape(len(A), -1)).reshape(prior.n_common, *A.shape[1:])

    def _parts(self, *arrays):
        """The arrays of the tasks of each component."""
        order = np.argsort(self.prior.component, kind="stable")
        cuts = np.cumsum(self.prior.sizes)[:-1]
        return zip(*(np.split(A[order], cuts) for A in arrays), strict=True)


class CoupledPosterior(Posterior):
    """The model at one set of variances: its criterion, and what it says of the coefficients.

    Over the noise variance slopes have the covariance R R' (x) Q^-1, R diagonal, `root` (n_features,), or a
    matrix, if no part of Q is free, and intercepts, if they vary, the variance 1 / `strength`.
    """

    def __init__(self, moments, root, strength):
        self.moments, self.root, self.strength = moments, root, strength
        S = moments.xx * np.outer(root, root) if root.ndim == 1 else root.T @ moments.xx @ root
        value = 0.0
        if moments.x_mean is not None:
            value = np.log(moments.weight).sum()
            self.x_mean = np.broadcast_to(times(root, moments.x_mean), moments.xy.shape)
        if moments.pooled:
            self.rho = 1.0 / (1.0 / moments.weight + 1.0 / strength)
            x_mean = self.x_mean[: len(S)]
            S = S + (self.rho[: len(S), None] * x_mean)[:, :, None] * x_mean[:, None, :]
            value -= np.log(self.rho).sum()
        self.information_of_tasks, self.lost = S, 0.0
        self.factor = moments.prior.factor(S)
        value += self.factor.log_determinant + self._close()
        self.reach, self.total = np.zeros((1, len(root))), np.inf
        if moments.levelled:
            self.reach = self._times(self.rho[:, None] * self.x_mean)
            along = 1 - (self.x_mean * self.reach).sum(axis=1)
            self.total = max(self.rho @ along, EPS * self.rho.sum())
            value += np.log(self.total)
        self.log_determinant = float(value)
        self.squares = self._answer(times(root, moments.xy), moments.y_mean)
        self._weigh()

    def _close(self):
        """Give the factor the covariance of what is common; the log-determinant of its precision."""
        if not self.moments.prior.n_common:
            return 0.0
        basis, used, beyond = self.moments.common
        B = basis / self.root[:, None]
        H = B.swapaxes(1, 2) @ self.factor.common @ B + ~used[:, :, None] * np.eye(len(self.root))
        unit = units(H)
        unit = np.where(unit > 0, unit, 1.0)
        values, vectors = np.linalg.eigh(unit[:, :, None] * H * unit[:, None, :])
        values = np.maximum(values, EPS)
        half = B @ (unit[:, :, None] * vectors * values[:, None, :] ** -0.5)
        inverse = half @ half.swapaxes(1, 2)
        for c in np.flatnonzero(~used.all(axis=1)):  # what no row tells of varies as it does along an edge
            free = linalg.qr(beyond[c][:, ~used[c]] / self.root[:, None], mode="economic")[0]
            inverse[c] += free @ free.T
            self.lost = self.lost + free @ free.T
        self.factor.close(inverse)
        return float(np.log(values).sum() - 2 * np.log(unit).sum())

    def _times(self, V):
        """G V."""
        return self.factor.solve(np.ascontiguousarray(V)[:, :, None])[:, :, 0]

    def _answer(self, xy, y_mean):
        rhs, level = xy, 0.0
        if self.moments.pooled:
            rhs = xy + (self.rho * y_mean)[:, None] * self.x_mean
        self.slopes = self._times(rhs)
        if self.moments.levelled:
            level = self.rho @ (y_mean - (self.x_mean * self.slopes).sum(axis=1)) / self.total
            self.slopes = self.slopes - level * self.reach
        self.mean = self.slopes.mean(axis=0)
        # the sum that the slopes minimise: their rounding counts squared
        coef = self.coef
        squares = np.vdot(coef, np.matmul(self.moments.xx, coef[:, :, None])) - 2 * np.vdot(xy, self.slopes)
        squares += self.moments.prior.cost(self.slopes)
        if self.moments.pooled:
            self.residual = y_mean - (self.x_mean * self.slopes).sum(axis=1) - level
            squares += self.rho @ self.residual**2
        return squares

    coef = property(lambda self: back(self.root, self.slopes.T).T)

    # --- derivatives ---

    def _blocks(self, at):
        """Variances of the slopes of some tasks (n, n_features, n_features)."""
        along = np.broadcast_to(self.reach, self.slopes.shape)[at]
        return self.factor.blocks(at) + along[:, :, None] * along[:, None, :] / self.total

    def slope_gradient(self):
        u, S, p = self.deviations(), self.information_of_tasks, len(self.root)
        told = np.zeros((p, p))
        for at in chunks(len(u), p * p):
            told += np.matmul(S[at if len(S) > 1 else slice(None)], self._blocks(at)).sum(axis=0)
        if self.moments.levelled:
            told -= (self.rho[:, None] * self.x_mean).T @ self.reach / self.total
        known = self.moments.prior.n_common * np.eye(p) - self.lost
        return (u.T @ self.moments.prior.times(u) / self.noise + known - told).diagonal()

    def deviations(self):
        return self.moments.prior.deviations(self.slopes)

    def slope_squares(self):
        u = self.deviations()
        return (u * self.moments.prior.times(u)).sum(axis=0)

    def intercept_gradient(self):
        apart, v = np.empty(len(self.rho)), self.x_mean
        for at in chunks(len(v), v.shape[1] ** 2):
            apart[at] = (np.matmul(self.factor.blocks(at), v[at, :, None])[:, :, 0] * v[at]).sum(axis=1)
        apart += (1 - (v * self.reach).sum(axis=1)) ** 2 / self.total
        return float(self.rho / self.strength @ (self.rho * (self.residual**2 / self.noise + apart) - 1))

    def information_alike(self):
        """Average information in the logarithms of the precisions of the prior, and of `strength`."""
        parts, sizes = self.moments.prior.parts(self.slopes, self._told())  # (n_tasks, n_features, n_parts)
        rhs = np.matmul(self.information_of_tasks, parts)
        products, totals = np.tensordot(parts, rhs, ((0, 1), (0, 1))), np.zeros(len(sizes))
        if self.moments.pooled:
            z, along = self.rho / self.strength * self.residual, np.einsum("tj,tjk->tk", self.x_mean, parts)
            weighted = self.rho * z
            rhs = np.concatenate([rhs, (weighted[:, None] * self.x_mean)[:, :, None]], axis=2)
            across = (weighted @ along)[:, None]
            products = np.block([[products, across], [across.T, weighted @ z]])
            sizes = np.append(sizes, self.strength * (z @ z))
            totals = np.append(self.rho @ along, weighted.sum())
        found = self.factor.solve(rhs)
        products = products - np.tensordot(rhs, found, ((0, 1), (0, 1)))
        if self.moments.levelled:
            totals -= np.tensordot(self.rho[:, None] * self.x_mean, found, 2)
            products -= np.outer(totals, totals) / self.total
        sizes = sizes / self.noise
        return products / self.noise - np.outer(sizes, sizes) / self.df

    def _told(self):
        """What the residuals say of the slopes, Z' P y (n_tasks, n_features)."""
        S, w = self.information_of_tasks, self.slopes
        left = times(self.root, self.moments.xy) - np.matmul(S, w[:, :, None])[:, :, 0]
        if self.moments.pooled:
            left += (self.rho * (self.residual + (self.x_mean * w).sum(axis=1)))[:, None] * self.x_mean
        return left

    def covariance_gradient(self):
        """Derivatives of the criterion in the level and the root of a `CovariancePrior`."""
        root = self.moments.prior.root
        told, trace = self.factor.told_along(root)
        S, left = self.information_of_tasks, self._told()
        if self.moments.levelled:
            k = self.rho[:, None] * self.x_mean - np.matmul(S, self.reach[:, :, None])[:, :, 0]
            told, trace = told - k @ (k.T @ root) / self.total, trace - np.vdot(k, k) / self.total
        level = trace - np.vdot(left, left) / self.noise
        return float(level), 2 * (told - left @ (left.T @ root) / self.noise)

    def told_of_intercepts(self):
        """What the rows tell of the intercepts, fixed effects projected out (n_tasks, n_tasks)."""
        T, along = len(self.rho), self.rho[:, None] * self.x_mean
        rhs = np.zeros((*along.shape, T))
        rhs[np.arange(T), :, np.arange(T)] = along
        left = self.rho - (along * self.reach).sum(axis=1)
        told = np.diag(self.rho) - np.einsum("tj,tjs->ts", along, self.factor.solve(rhs))
        return told - np.outer(left, left) / self.total

    # --- variances over that of the noise ---

    def mean_intercept_variance(self):
        moments, T = self.moments, len(self.slopes)
        if moments.x_mean is None or moments.pooled:
            return float(1 / self.total) if moments.pooled else 0.0
        v = self.x_mean[:, :, None] / T
        return float((1 / moments.weight).sum() / T**2 + np.vdot(v, self.factor.solve(v)))

    @cached_property
    def _mean_covariance(self):
        """Of the common slopes, in the coordinates of R (n_features, n_features)."""
        (T, p), along = self.slopes.shape, self.reach.mean(axis=0)
        V = self.factor.solve(np.tile(np.eye(p) / T, (T, 1, 1))).mean(axis=0)
        return 0.5 * (V + V.T) + np.outer(along, along) / self.total

    def mean_variance(self):
        R = matrix(self.root)
        return ((R @ self._mean_covariance) * R).sum(axis=1)

    def slope_variances(self):
        out, R = np.empty(self.slopes.shape), matrix(self.root)
        for at in chunks(len(out), out.shape[1] ** 2):
            out[at] = (np.matmul(R, self._blocks(at)) * R).sum(axis=2)
        return np.maximum(out, 0.0)

    def predictor_variances(self, X, codes):
        moments, v, own, kept = self.moments, times(self.root, X), 0.0, 0.0
        if moments.x_mean is not None:
            n = moments.weight[codes]
            own = 1 / (n + self.strength) if moments.pooled else 1 / n
            v = v - (n * own)[:, None] * self.x_mean[codes]
            kept = own * self.strength if moments.pooled else 0.0
        tasks, place = np.unique(codes, return_inverse=True)
        out = (np.matmul(self.factor.blocks(tasks)[place], v[:, :, None])[:, :, 0] * v).sum(axis=1)
        along = (v * np.broadcast_to(self.reach, self.slopes.shape)[codes]).sum(axis=1)
        return own + np.maximum(out, 0.0) + (along - kept) ** 2 / self.total

    @cached_property
    def _spread_of_tasks(self):
        """Covariance of the slopes of a task that is not in the fit, about the mean of those that are.

        Where it varies as they do, in the coordinates of R (n_features, n_features).
        """
        away = self.slopes - self.mean
        V, T = away.T @ away / self.noise, len(away)
        for at in chunks(T, V.size):
            V = V + self._blocks(at).sum(axis=0)
        return (V / T - self._mean_covariance) * (T + 1) / max(T - 1, 1)

    @cached_property
    def _own_root(self):
        """A root of the covariance of a new task in the coordinates of R, as it is fitted."""
        prior = self.moments.prior
        if prior.n_common:  # it hangs on the mean of the others as these do on their neighbours
            return np.eye(len(self.root)) / np.sqrt(prior.mean_precision)
        return triangular(self._spread_of_tasks, NEAR_SINGULAR)

    new_root = property(lambda self: back(self.root, self._own_root))

    def new_variances(self, X):
        """Of b + x . w of a task that is not in the fit and varies about the mean of those as they do."""
        moments, v, level = self.moments, times(self.root, X), 0.0
        if moments.pooled:
            level = 1 / self.strength + 1 / self.total
        elif moments.free:
            T, center = moments.n_tasks, moments.weight @ self.x_mean / moments.weight.sum()
            levels = moments.y_mean - ((self.x_mean - center) * self.slopes).sum(axis=1)
            level = levels.var(ddof=1) * (1 + 1 / T) / self.noise if T > 1 else np.inf
            v = v - center
        V = self._spread_of_tasks + self._mean_covariance
        return np.maximum(((v @ V) * v).sum(axis=1), 0.0) + level

    def of(self, moments):
        """What it says of other tasks, which vary about the mean of these."""
        found, own = Posterior.__new__(Posterior), self._own_root
        found.moments, found.strength, found.root = moments, self.strength, self.new_root
        found.tails = self.tails
        V = self._mean_covariance
        half = linalg.cholesky(V + EPS * np.diag(V.diagonal() + np.finfo(float).tiny), lower=True)
        found.spread = linalg.solve_triangular(own, half, lower=True)
        found._read(moments)
        if moments.pooled:
            along = linalg.solve_triangular(own, self.reach.mean(axis=0), lower=True) / self.total
            found.center = linalg.pinvh(found.spread @ found.spread.T) @ along
            found.total = 1 / max(1 / self.total - along @ found.center, EPS / self.rho.sum())
            found.away = found.reach - found.center
        return found
