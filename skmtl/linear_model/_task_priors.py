"""Normal distributions of a coefficient over the tasks, joined with what the rows say of it.

The prior precision of the coefficients W (n_tasks, n_features) is Q (x) I, the information of the rows has
the blocks S_t (n_features, n_features). `factor` makes of both the posterior covariance
G = (S + Q (x) I)^-1, in a form that answers what is asked of it: its determinant over that of the prior,
products, blocks of single tasks. Where Q is singular, as that of a graph, a connected component of tasks has
a common part that is free: `common` holds its information, and `close` takes its covariance.
"""

from functools import cached_property

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components

from ..objective import eigenvectors
from ..penalties import TaskQuadratic
from ._elimination import Elimination, Sweep

ROTATED_TASKS = 4000  # up to here an eigendecomposition over tasks is cheap


class GraphPrior:
    """Precision Q = M, the Laplacian of a graph; with `one_design`, of all S_t, its eigenvectors serve."""

    def __init__(self, laplacian, n_features, one_design):
        self.laplacian, T = sparse.csr_array(laplacian, copy=True), laplacian.shape[0]
        self.laplacian.eliminate_zeros()
        self.n_common, self.component = connected_components(self.laplacian, directed=False)
        self.sizes = np.bincount(self.component)
        self.members = sparse.csr_array((np.ones(T), (self.component, np.arange(T))))
        self.rotates = one_design and T <= ROTATED_TASKS
        if self.rotates:
            values, vectors = TaskQuadratic(T, matrix=self.laplacian).eigenvectors()
            self.vectors, self.variances = vectors[:, values > 0], 1.0 / values[values > 0]
        else:
            self.order = Elimination(self.laplacian, n_features)
            bare = Sweep(self.order, np.zeros((T, 1, 1)))
            bare.close(np.zeros((self.n_common, 1, 1)))
            self.bare = bare

    @cached_property
    def variance(self):
        """Mean variance of the deviation of a task from what its component has in common."""
        T = len(self.component)
        if self.rotates:
            return float(self.variances.sum()) / T or 1.0
        along = self.bare.solve(np.ones((T, 1, 1)))[:, :, 0]  # the first task of each component held at zero
        total = self.bare.blocks(slice(None)).sum() - ((self.members @ along)[:, 0] / self.sizes).sum()
        return float(total) / T or 1.0

    # by which a task more hangs on the mean of the others
    mean_precision = property(lambda self: self.laplacian.diagonal().mean())

    @property
    def root_of_covariance(self):
        """A root of the pseudo-inverse of Q (n_tasks, n_tasks - n_common)."""
        values, vectors = TaskQuadratic(len(self.component), matrix=self.laplacian).eigenvectors()
        return vectors[:, values > 0] * values[values > 0] ** -0.5

    def deviations(self, W):
        """W less the means of the components."""
        return W - ((self.members @ W) / self.sizes[:, None])[self.component]

    def times(self, W):
        """Q W."""
        return self.laplacian @ W

    def parts(self, W, told):
        """The deviations (n_tasks, n_features, 1), for the derivative in their precision, and their size."""
        u = self.deviations(W)
        return u[:, :, None], np.array([self.cost(u)])

    def cost(self, W):
        """<W, Q W>."""
        u = self.deviations(W)
        return float(np.vdot(u, self.times(u)))

    def factor(self, information):
        """G for S (1, n_features, n_features) of one design, or (n_tasks, n_features, n_features)."""
        if self.rotates:
            return Rotated(self, information[0])
        T, p = len(self.component), information.shape[1]
        found = Sweep(self.order, np.broadcast_to(information, (T, p, p)))
        found.log_determinant -= p * self.bare.log_determinant
        return found


class CovariancePrior:
    """Covariance Q^-1 = level I + R R', R (n_tasks, n_factors)."""

    n_common, variance = 0, 1.0

    def __init__(self, level, root):
        self.level, self.root = level, root

    def parts(self, W, told):
        """What is a task's own and along the first factor (n_tasks, n_features, 2), and their sizes."""
        first = self.root[:, 0] @ told
        sizes = np.array([self.level * np.vdot(told, told), first @ first])
        return np.stack([self.level * told, np.outer(self.root[:, 0], first)], axis=2), sizes

    def cost(self, W):
        """<W, Q W>: the least of |W - R Z|^2 / level + |Z|^2."""
        root, k = np.sqrt(self.level), self.root.shape[1]
        own = np.vstack([self.root / root, np.eye(k)])
        along = np.vstack([W / root, np.zeros((k, W.shape[1]))])
        left = along - own @ linalg.lstsq(own, along)[0]
        return float(np.vdot(left, left))

    def covariance(self):
        """The matrix (n_tasks, n_tasks)."""
        return self.level * np.eye(len(self.root)) + self.root @ self.root.T

    def factor(self, information):
        """G for S (1, n_features, n_features) of one design, or (n_tasks, n_features, n_features)."""
        if len(information) > 1 or len(self.root) == 1:
            return Assembled(self.level, self.root, information)
        values, self.vectors = eigenvectors(self.root @ self.root.T)
        self.variances = self.level + np.maximum(values, 0.0)
        return Rotated(self, information[0])


class Rotated:
    """G of one design: eigenvectors of the prior times those of the information."""

    def __init__(self, prior, information):
        self.prior, (self.values, self.features) = prior, eigenvectors(information)
        self.values = np.maximum(self.values, 0.0)
        size = np.outer(prior.variances, self.values)
        self.log_determinant, self.kept = float(np.log1p(size).sum()), prior.variances[:, None] / (1 + size)
        if prior.n_common:
            self.common = prior.sizes[:, None, None] * information

    def close(self, inverse):
        """Take the covariances of the common parts (n_common, n_features, n_features)."""
        self.closed = inverse

    def solve(self, R):
        """G R for R (n_tasks, n_features, k)."""
        U, Q = self.prior.vectors, self.features
        V = np.tensordot(U.T, np.matmul(Q.T, R), 1) * self.kept[:, :, None]
        V = np.matmul(Q, np.tensordot(U, V, 1))
        if self.prior.n_common:
            total = self.closed @ (self.prior.members @ R.reshape(len(R), -1)).reshape(-1, *R.shape[1:])
            V += total[self.prior.component]
        return V

    def blocks(self, tasks):
        """Diagonal blocks of G of some tasks (n, n_features, n_features)."""
        own = self.prior.vectors[tasks] ** 2 @ self.kept
        found = (self.features * own[:, None, :]) @ self.features.T
        return found + self.closed[self.prior.component[tasks]] if self.prior.n_common else found

    def told_along(self, root):
        """Sum over the features of Z_j' P Z_j R (n_tasks, n_factors), and the trace of Z' P Z."""
        lost = (self.values / (1 + np.outer(self.prior.variances, self.values))).sum(axis=1)
        return self.prior.vectors @ (lost[:, None] * (self.prior.vectors.T @ root)), lost.sum()


class Assembled:
    """G of a covariance level I + R R': K level + K (R (x) I) H^-1 (R' (x) I) K, K_t = (I + level S_t)^-1.

    H = I + (R' (x) I) S K (R (x) I): what is a task's own joins the noise.
    """

    def __init__(self, level, root, information):
        self.level, self.root = level, root
        r, p = root.shape[1], information.shape[1]
        own = np.eye(p) + level * information
        self.kept = np.linalg.inv(own)
        self.log_determinant = float(2 * np.log(np.einsum("tjj->tj", np.linalg.cholesky(own))).sum())
        told = information @ self.kept
        self.told = 0.5 * (told + told.swapaxes(1, 2))
        H = self._joined(self.told).reshape(r * p, r * p)
        H[np.diag_indices(r * p)] += 1.0
        factor = linalg.cholesky(H, lower=True, overwrite_a=True, check_finite=False)
        self.log_determinant += float(2 * np.log(factor.diagonal()).sum())
        inverse = np.tril(linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)[0])
        self.inverse = (inverse + np.tril(inverse, -1).T).reshape(r, p, r, p)

    def _joined(self, blocks):
        """(R' (x) I) blocks (R (x) I), (n_factors, n_features, n_factors, n_features)."""
        (T, r), p = self.root.shape, blocks.shape[1]
        pairs = (self.root[:, :, None] * self.root[:, None, :]).reshape(T, r * r)
        return (pairs.T @ blocks.reshape(T, p * p)).reshape(r, r, p, p).transpose(0, 2, 1, 3)

    def solve(self, R):
        """G R for R (n_tasks, n_features, k)."""
        V = np.matmul(self.kept, R)
        shared = np.tensordot(self.inverse, np.tensordot(self.root.T, V, 1), 2)
        return self.level * V + np.matmul(self.kept, np.tensordot(self.root, shared, 1))

    def blocks(self, tasks):
        """Diagonal blocks of G of some tasks (n, n_features, n_features)."""
        return self._blocks[tasks]

    @cached_property
    def _blocks(self):
        half = np.tensordot(self.root, self.inverse, 1)  # (n_tasks, n_features, n_factors, n_features)
        own = np.matmul(half.swapaxes(2, 3), self.root[:, None, :, None])[..., 0]
        return self.level * self.kept + self.kept @ own @ self.kept

    def told_along(self, root):
        """Sum over the features of Z_j' P Z_j R (n_tasks, n_factors), and the trace of Z' P Z."""
        (T, r), p = self.root.shape, self.told.shape[1]
        inverse = self.inverse.transpose(0, 2, 1, 3).reshape(r * r, p * p)
        traces = (self.told.reshape(T, p * p) @ inverse.T).reshape(T, r, r)
        lost = np.vdot(self.inverse, self._joined(self.told @ self.told))
        return np.einsum("ta,tab->tb", root, traces), np.einsum("tjj->", self.told) - lost
