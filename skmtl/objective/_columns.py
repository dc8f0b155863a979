"""Columns of the design that a solver has used, kept with their Gram matrices: they only grow."""

import numpy as np
from scipy.sparse import issparse

from .._data import SharedData
from ..statistics import TaskStatistics
from ._base import State

DIGITS = 1e-6  # share of a column's square that must vary for a mean to be subtracted afterwards


def about_zero(stats):
    """Second moments (n_designs, m, m) about zero instead of the mean."""
    means, weight = stats.x_mean, stats.weight[: len(stats.xx)]
    return stats.xx + weight[:, None, None] * means[:, :, None] * means[:, None, :]


def fresh_gram(data, chosen, fit_intercept):
    """Second moments (n_designs, m, m) of some columns or all, about the mean if there are intercepts."""
    stats = TaskStatistics.from_data(data, chosen)
    return stats.xx if fit_intercept else about_zero(stats)


class ColumnPool:
    """Dense columns, centred and multiplied by the roots of the row weights, so that sums are plain.

    Parameters
    ----------
    data : TaskData
        Every row with one weight: rows of tasks, or a complete shared design.
    fit_intercept : bool
    """

    def __init__(self, data, fit_intercept):
        self.X, self.scale = data.X, data.scale
        n, p = self.X.shape
        shared = isinstance(data, SharedData)
        self.bounds = np.array([0, n]) if shared else data.indptr
        weight = data.row_weight[:, 0] if shared else data.row_weight
        self.root = None if (weight == 1).all() else np.sqrt(weight)[:, None]
        counts = np.diff(self.bounds)
        total = np.repeat(np.add.reduceat(weight, self.bounds[:-1]), counts)
        self.share = weight / total if fit_intercept else np.zeros(n)
        self.place, self.n_columns = np.full(p, -1), 0  # of the columns in Z
        self.rank, self.members = np.full(p, -1), np.zeros(0, dtype=np.intp)  # of those in A
        self.means = np.zeros((len(counts), p))
        self.Z, self.A = np.empty((0, n)), np.empty((len(counts), 0, 0))

    def weighted(self, V):
        """V (n_rows, k) times the roots of the row weights."""
        return V if self.root is None else V * self.root

    def gather(self, chosen):
        """Positions of some columns in the pool, which takes in those that are new."""
        new = chosen[self.place[chosen] < 0]
        if len(new):
            k = self.n_columns
            self._reserve(k + len(new))
            Z = self.Z[k : k + len(new)]
            Z[:] = self.X.T[new] if self.X.flags.f_contiguous else self.X[:, new].T
            self.means[:, new] = np.add.reduceat(Z * self.share, self.bounds[:-1], axis=1).T
            Z -= np.repeat(self.means[:, new].T, np.diff(self.bounds), axis=1)
            if self.root is not None:
                Z *= self.root.T
            self.n_columns = k + len(new)
            self.place[new] = np.arange(k, self.n_columns)
        return self.place[chosen]

    def _reserve(self, size):
        """Room for that many columns; what is not written to takes no memory."""
        if size > len(self.Z):
            room = np.empty((min(max(2 * len(self.Z), size), self.X.shape[1]), self.X.shape[0]))
            room[: self.n_columns] = self.Z[: self.n_columns]
            self.Z = room

    def rows(self, chosen, dtype=np.float64):
        """Z (m, n_rows) of some columns, a copy."""
        places = self.gather(chosen)
        if dtype == np.float64:
            return self.Z.take(places, axis=0)
        out = np.empty((len(places), self.Z.shape[1]), dtype)  # without a copy in between
        for row, at in zip(out, places, strict=True):
            row[:] = self.Z[at]
        return out

    def gram(self, chosen):
        """Second moments (n_designs, m, m) of some columns."""
        new = chosen[self.rank[chosen] < 0]
        if len(new):
            self._multiply(new)
        at = self.rank[chosen]
        return self.A[:, at[:, None], at]

    def _multiply(self, new):
        """Take columns into the Gram matrices, which keep what they have."""
        k, size = len(self.members), len(self.members) + len(new)
        self.rank[new] = np.arange(k, size)
        self.members = np.concatenate([self.members, new])
        Z, A = self.rows(self.members), np.empty((len(self.A), size, size))
        A[:, :k, :k] = self.A
        for own, start, stop in zip(A, self.bounds[:-1], self.bounds[1:], strict=True):
            np.matmul(Z[k:, start:stop], Z[:, start:stop].T, out=own[k:])
            own[:k, k:] = own[k:, :k].T
        self.A = A


class DesignPool(ColumnPool):
    """The columns of one complete design for all tasks, with the residuals of sparse coefficients."""

    def __init__(self, data, fit_intercept):
        super().__init__(data, fit_intercept)
        self.y_mean = self.share @ data.y
        self.Y = self.weighted(data.y - self.y_mean)
        self.last = None

    def state(self, W):
        """The squared loss at W; on a path the end of one solution is the start of the next."""
        used = np.flatnonzero(W.any(axis=0))
        V = W[:, used]
        if not (self.last and np.array_equal(used, self.last[0]) and np.array_equal(V, self.last[1])):
            self.last = used, V, self._state(V, used)
        return self.last[2]

    def _state(self, V, used):
        """The squared loss at coefficients V of the columns `used`, all others zero."""
        residual = self.residual(V.T, used) if len(used) else self.Y
        value = 0.5 * float(self.scale @ np.einsum("it,it->t", residual, residual))
        slopes = self.weighted(residual) * -self.scale
        return self._at(slopes, residual, self.y_mean - V @ self.means[0, used], value)

    def _at(self, slopes, residual, b, value):
        return State(b, value, slopes.T @ self.X, residual)

    def residual(self, V, used):
        """Weighted residuals (n_samples, n_tasks) of coefficients V (m, n_tasks)."""
        return self.Y - self.rows(used).T @ V


class SparseDesignPool(DesignPool):
    """The same for a sparse design: centred by a rank-one correction; nothing is kept but its columns."""

    def __init__(self, data, fit_intercept):
        super().__init__(data, fit_intercept)
        self.data, self.fit_intercept = data, fit_intercept
        self.by_column = self.X.tocsc()
        if fit_intercept:
            self.means = (self.by_column.T @ self.share)[None]

    def _at(self, slopes, residual, b, value):  # no dense rows to go with the residual
        return State(b, value, (self.by_column.T @ slopes).T)

    def residual(self, V, used):
        return self.Y - self.weighted(self.by_column[:, used] @ V - self.means[0, used] @ V)

    def gram(self, chosen):
        X, means, weight = self.by_column[:, chosen], self.means[0, chosen], self.data.row_weight[:, 0]
        A = (X.T @ (X if self.root is None else X.multiply(weight[:, None]).tocsr())).toarray()
        offset = weight.sum() * means**2
        if (np.diag(A) - offset < DIGITS * offset).any():
            return fresh_gram(self.data, chosen, self.fit_intercept)
        return (A - weight.sum() * np.outer(means, means))[None]


def make_pool(data, fit_intercept):
    """The pool in the form that fits the data; None where rows have several weights, or X_t are sparse."""
    if isinstance(data, SharedData) and data.n_designs == 1:
        return (SparseDesignPool if issparse(data.X) else DesignPool)(data, fit_intercept)
    return None if isinstance(data, SharedData) or issparse(data.X) else ColumnPool(data, fit_intercept)
