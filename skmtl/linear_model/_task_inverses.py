"""What the rows of each task leave of its prior: inverses of I + R' xx_t R, as matrices or as little more.

A task with fewer rows than features changes its prior in as few directions: then (I + G'G)^-1 = I - B'B with
matrices G and B of a row for each of these, and there is no matrix of all features for each task.
"""

from functools import partial

import numpy as np

from ..statistics import loop_pays, read_only, times

CHUNK_NUMBERS = 2**17  # in the matrices of some tasks at a time: they stay in the cache
THIN, THIN_WIDE = 0.5, 0.05  # cost of rows over that of matrices up to which they pay, and where BLAS is good
# rows of one times those of the other, summed: the matrix or its diagonal, by the number of axes of R
SUMMED = {1: partial(np.einsum, "ij,ij->j"), 2: lambda A, B: A.T @ B}
LEFT_OUT = 1e-10  # of a variance: more is no rounding


def chunks(n, size):
    """Slices of n matrices of a size, those of which stay in the cache."""
    step = max(CHUNK_NUMBERS // max(size, 1), 1)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class Roots:
    """Rows F_t and their targets q_t with F_t'F_t = xx_t and F_t'q_t = xy_t, the last of each task zero.

    Those of task t lie between bounds[t] and bounds[t + 1].
    """

    def __init__(self, rows, targets, bounds):
        self.rows, self.targets, self.bounds = rows, targets, bounds

    @classmethod
    def of(cls, xx, xy, ranks):
        """From second moments (n_tasks, n_features, n_features) of ranks that are known, where that pays.

        None where it does not: in the presence of many rows, or few tasks.
        """
        T, p, _ = xx.shape
        ranks = np.clip(ranks, 0, p).astype(np.int64)
        cost = float(ranks @ ranks) / max(T * p**2, 1)
        if not loop_pays(T, 1) or cost > (THIN if loop_pays(T, p) else THIN_WIDE):
            return None
        from .._kernels import thin_roots

        bounds = read_only(np.append(0, np.cumsum(ranks + 1)))
        rows, targets = np.zeros((int(bounds[-1]), p)), np.zeros(int(bounds[-1]))
        left_out = thin_roots(read_only(xx), read_only(xy), bounds, rows, targets)
        return cls(rows, targets, bounds) if left_out < LEFT_OUT else None

    def some(self, tasks):
        """Those of some tasks, a slice or a mask."""
        sizes = np.diff(self.bounds)[tasks]
        bounds = np.append(0, np.cumsum(sizes))
        at = np.arange(bounds[-1]) + np.repeat(self.bounds[:-1][tasks] - bounds[:-1], sizes)
        return Roots(self.rows[at], self.targets[at], read_only(bounds))

    def chunks(self):
        """Slices of tasks, and of their rows, that stay in the cache."""
        size = self.rows.size // max(len(self.bounds) - 1, 1)
        for at in chunks(len(self.bounds) - 1, size):
            yield at, slice(*self.bounds[[at.start, at.stop]])


class Inverses:
    """The inverses of I + R' xx_t R as matrices, R diagonal, `root` (n_features,), or a matrix.

    `answers` (n_tasks, n_features) are R' xy after the inverses, `told` is the sum of I less the inverses,
    `log_determinant` that of those of the matrices that are inverted.
    """

    def __init__(self, xx, xy, root):
        p, xy = len(root), times(root, xy)
        self.matrices, self.told, self.log_determinant = np.empty(xx.shape), np.zeros((p, p)), 0.0
        self.answers, self._summed = np.empty(xy.shape), SUMMED[root.ndim]
        for at in chunks(len(xx), p * p):
            own, out, of_tasks = xx[at], self.matrices[at], at if len(xx) > 1 else slice(None)
            own = own * np.outer(root, root) if root.ndim == 1 else root.T @ own @ root
            H = own + np.eye(p)
            self.log_determinant += _inverted(H, out, loop_pays(len(xx), p))
            self.told += own.reshape(-1, p).T @ out.reshape(-1, p)
            found = _times(out, xy[of_tasks])  # less exact where deviations are large beside the noise
            self.answers[of_tasks] = found + _times(out, xy[of_tasks] - _times(H, found))

    def __len__(self):
        return len(self.matrices)

    def of(self, at):
        """Those of a slice (n, n_features, n_features)."""
        return self.matrices[at]

    def times(self, V, at=slice(None)):
        """Each v after the inverse of its task, of all or of those at these positions (n, n_features)."""
        return _times(self.matrices if len(self) == 1 else self.matrices[at], V)

    def squares(self, C, reach, along):
        """Sum of Y Y' with Y = (I - inverse) C + reach along', or its diagonal if R is so.

        reach and along have a row of every design, or none at all.
        """
        p, found = len(C), 0.0
        for at in chunks(len(self), C.size):
            G = self.matrices[at]
            Y = C - (G.reshape(-1, p) @ C).reshape(len(G), p, -1)
            if len(reach):
                Y += reach[at, :, None] * along[at, None, :]
            Y = Y.swapaxes(1, 2).reshape(-1, p)
            found = found + self._summed(Y, Y)
        return found

    def products(self, U):
        """Sums over the tasks of u u' * (I - inverse), and of u_j times row j of I - inverse."""
        T, p = U.shape
        if len(self) == 1:
            E = np.eye(p) - self.matrices[0]
            return E * (U.T @ U), E * U.sum(axis=0)[:, None]
        products, sums = np.zeros((2, p, p))
        for at in chunks(T, p * p):
            V = (np.eye(p) - self.matrices[at]) * U[at, :, None]
            sums += V.sum(axis=0)
            products += (V * U[at, None, :]).sum(axis=0)
        return products, sums


class ThinInverses:
    """The same of tasks with few rows each, by the `Roots` of xx and xy."""

    def __init__(self, roots, root):
        from .._kernels import thin_gains

        self.roots, self.rows, self._summed = roots, np.empty(roots.rows.shape), SUMMED[root.ndim]
        self.told, self.log_determinant = np.zeros((len(root),) * 2), 0.0
        self.answers = np.empty((len(self), len(root)))
        for at, own in roots.chunks():
            B = self.rows[own]
            B[:] = times(root, roots.rows[own])
            targets = roots.targets[own].copy()
            self.log_determinant += thin_gains(B, targets, self._bounds(at), self.answers[at])
            self.told += B.T @ B

    def _bounds(self, at):
        """Those of the rows of a slice of tasks among themselves."""
        bounds = self.roots.bounds[at.start : at.stop + 1]
        return read_only(bounds - bounds[0])

    def __len__(self):
        return len(self.roots.bounds) - 1

    def of(self, at):
        """Those of a slice (n, n_features, n_features)."""
        at = slice(*at.indices(len(self))[:2])
        rows = self.rows[slice(*self.roots.bounds[[at.start, at.stop]])]
        own = np.split(rows, self._bounds(at)[1:-1])
        return np.eye(rows.shape[1]) - np.array([B.T @ B for B in own])

    def times(self, V, at=slice(None)):
        """Each v after the inverse of its task, of all or of those at these positions (n, n_features)."""
        from .._kernels import thin_times

        places = read_only(np.arange(len(self))[at])
        V = np.broadcast_to(V, (len(places), V.shape[1]))
        out = np.empty(V.shape)
        thin_times(self.rows, self.roots.bounds, places, read_only(V), out)
        return out

    def squares(self, C, reach, along):
        """Sum of Y Y' with Y = (I - inverse) C + reach along', or its diagonal if R is so.

        reach and along have a row of every task, or none at all.
        """
        from .._kernels import thin_products

        found = 0.0
        for at, own in self.roots.chunks():
            B, bounds = self.rows[own], self._bounds(at)
            P = B @ C
            out, last = np.empty(B.shape), bounds[1:] - 1
            if len(reach):
                B[last], P[last] = reach[at], along[at]
            thin_products(B, P, bounds, out)
            found = found + self._summed(B, out)
            B[last] = 0.0
        return found

    def products(self, U):
        """Sums over the tasks of u u' * (I - inverse), and of u_j times row j of I - inverse."""
        products, sums = np.zeros((2, U.shape[1], U.shape[1]))
        for at, own in self.roots.chunks():
            B = self.rows[own]
            V = B * np.repeat(U[at], np.diff(self.roots.bounds[at.start : at.stop + 1]), axis=0)
            products += V.T @ V
            sums += V.T @ B
        return products, sums


def _times(A, V):
    """Each v after the symmetric matrix of its task, or after the only one, (n, n_features)."""
    return V @ A[0] if len(A) == 1 else np.matmul(A, V[:, :, None])[..., 0]


def _inverted(H, out, compiled):
    """Inverses of positive definite H (n, p, p) into `out`; the sum of their log-determinants."""
    if compiled:
        from .._kernels import task_inverses

        n, p, _ = H.shape
        zeros = np.zeros(n)
        return task_inverses(H, np.ones(n), zeros, np.zeros((n, p)), zeros, out, np.empty(n))
    out[:] = np.linalg.inv(H)
    return 2 * np.log(np.einsum("tjj->tj", np.linalg.cholesky(H))).sum()
