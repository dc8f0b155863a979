"""Inverses of the systems of many tasks through their rows, where these are fewer than the features."""

import numpy as np

from .._threads import by_rows, read_only

LARGEST = 1e5  # root of C_t / d: beyond that little would be left of the digits of differences


class RowInverse:
    """(C_t + d_t I)^-1 of every task, C_t its curvature and d_t > 0 what deviations cost, for all or each.

    With rows G_t, C_t = d_t G_t'G_t, it is I - G_t'(I + G_t G_t')^-1 G_t over d_t. Only Cholesky factors
    of the smaller of I + G_t G_t' and I + G_t'G_t are kept; the rows are read again in every product.

    Attributes
    ----------
    sound : bool
        Whether d is large enough for that to have digits.
    explained : ndarray of shape (n_features, n_features)
        Sum over the tasks of (C_t + d_t I)^-1 C_t, without the digits that a large d would cancel.
    """

    rounded = 0.0  # share of the system of the mean that is rounding

    def __init__(self, term, d):
        from .._kernels import task_factors  # Numba is imported by the first fit that needs it

        (T, p), self.data, self.d = term.shape, term.data, d
        self.each = np.broadcast_to(d, T)
        kept = term.kept / d if term.fit_intercept else np.zeros(T)
        common = np.zeros(p) if term.x_common is None else term.x_common
        most = np.minimum(self.data.task_rows + (kept > 0), p)
        bounds = np.concatenate([[0], np.cumsum(most * (most + 1) // 2)])
        root = by_rows(lambda w, d: np.sqrt(w / d), self.data.weight, self.data.spread(self.each))
        self.given = *map(read_only, (self.data.X, root)), *map(read_only, (np.sqrt(kept), common, bounds))
        center, factors = np.empty((T, p)), np.empty(bounds[-1])
        X, root, pull, common, bounds = self.given

        def factorise(t, rows):
            found, reduced = np.zeros((p, p)), np.empty((most[t].sum(), p))
            tied = pull[t], common, bounds[t.start : t.stop + 1]
            n = task_factors(X, root, rows, term.fit_intercept, *tied, center[t], factors, found, reduced)
            own = factors[bounds[t.start] : bounds[t.stop]]
            return found + reduced[:n].T @ reduced[:n], own.max()

        found, sizes = zip(*self.data.in_blocks(factorise), strict=True)
        found = np.triu(sum(found))
        self.explained = found + np.triu(found, 1).T
        self.sound = np.max(sizes) < LARGEST
        self.found = center, read_only(factors)

    def __call__(self, R, shared=0.0):
        """The inverse of every task times its row of R (n_tasks, n_features), plus what all share."""
        from .._kernels import task_solutions

        (X, root, pull, common, bounds), (center, factors) = self.given, self.found
        out = np.empty(R.shape)

        def solve(t, rows):
            tied = pull[t], common, bounds[t.start : t.stop + 1]
            task_solutions(X, root, rows, *tied, center[t], factors, read_only(R[t] + shared), out[t])
            out[t] /= self.each[t, None]

        self.data.in_blocks(solve)
        return out

    def mean_explained(self):
        """Mean over the tasks of (C_t + d I)^-1 C_t, (n_features, n_features)."""
        return self.explained / self.data.n_tasks

    def along(self):
        """Curvatures along the intercept and the features, if intercepts are tied, (n_tasks, p)."""
        return (self.d * self.given[2] ** 2)[:, None] * (self.found[0] + self.given[3])

    def mean_system(self, quadratic):
        """System (p, p) of the mean of the tasks and what it is made of, as `BlockInverse` has it."""
        T, p = self.data.n_tasks, len(self.explained)
        d, mean = quadratic.deviations, quadratic.mean
        if mean == d:
            return np.eye(p), 0.0
        if mean > d:
            return (T * np.eye(p) - self.explained) / d + T / (mean - d) * np.eye(p), 1.0
        return d * self.explained + T * d * mean / (d - mean) * np.eye(p), d

    def with_mean(self, R, V, m, mean_first):
        """Solutions, from those without what is shared, V, and that, m, for right-hand sides R."""
        return self(R, self.d * m if mean_first else -m)
