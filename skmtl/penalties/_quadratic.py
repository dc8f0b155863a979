"""Quadratic forms over tasks, 1/2 tr(W' Q W), with what solvers ask of them."""

from copy import copy
from functools import cached_property

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from .._threads import by_rows, in_blocks, sparse_product, sum_by_rows

DENSE_TASKS = 300  # up to here an eigendecomposition over tasks costs next to nothing
MOST_EDGES = 100_000  # of which differences are taken one by one
WEAK = 1e4  # strength up to which a product with a graph need not take differences first
FEW_ENTRIES = 10_000  # of an array of differences, up to which it is dense
COLUMNS = 8  # of a system with a sparse factor that are solved at a time: they stay in the cache
SINGULAR = 1e-12  # eigenvalues below, relative to the largest, are zero


class TaskQuadratic:
    """The quadratic form 1/2 tr(W' Q W) with Q = deviations (I - P) + mean P + matrix, P = 11'/T.

    The first two terms are numbers: they cost nothing at any number of tasks, and neither loses
    digits when the other is large.
    """

    labels = None  # of clusters of tasks that have a strength of their own
    multipliers = None  # what answers a gradient beside it

    def __init__(self, n_tasks, deviations=0.0, mean=0.0, matrix=None):
        self.n_tasks, self.deviations, self.mean, self.matrix = n_tasks, deviations, mean, matrix

    @classmethod
    def of(cls, penalties, n_tasks):
        """The sum of smooth penalties."""
        total = cls(n_tasks)
        for penalty in penalties:
            total = total + penalty.quadratic(n_tasks)
        return total

    def __add__(self, other):
        if other.labels is not None:
            return other + self
        matrices = [q.matrix for q in (self, other) if q.matrix is not None]
        matrix = sum(matrices[1:], start=matrices[0]) if matrices else None
        return TaskQuadratic(self.n_tasks, self.deviations + other.deviations, self.mean + other.mean, matrix)

    def __bool__(self):
        return bool(self.deviations or self.mean or self.matrix is not None)

    separate = property(lambda self: self.matrix is None)  # whether nothing but their mean joins the tasks
    numbers = property(lambda self: (self.deviations, self.mean))  # eigenvalues, without a matrix

    def split(self, W):
        """Parts of W along the eigenvectors of the `numbers`."""
        center = W.mean(axis=0)
        return W - center, center[None]

    @property
    def is_ridge(self):
        """Whether Q is a multiple of the identity."""
        return self.matrix is None and (self.deviations == self.mean or self.n_tasks == 1)

    # largest eigenvalue of the first two terms
    level = property(lambda self: self.mean if self.n_tasks == 1 else max(self.deviations, self.mean))

    @cached_property
    def norm(self):
        """An upper bound of the largest eigenvalue."""
        return self.level + (0.0 if self.matrix is None else float(abs(self.matrix).sum(axis=1).max()))

    def apply(self, W):
        """Q W."""
        return by_rows(self._own(W), W) if self.matrix is None else self._beside(self._along_matrix(W), W)

    def plus(self, G, W):
        """G + Q W less the multipliers it is against."""
        G = self.beside(G, W)
        return G if self.multipliers is None else G - self.multipliers

    def beside(self, G, W):
        """G + Q W, without a copy of G where there is no Q."""
        if not self:
            return G
        return self._beside(G, W) if self.separate else by_rows(np.add, self.apply(W), G)

    def against(self, multipliers):
        """The same beside those of a constraint (n_tasks, n_features)."""
        other = copy(self)
        other.multipliers, other._alone = multipliers, self
        return other

    _alone = None
    alone = property(lambda self: self if self._alone is None else self._alone)  # without multipliers

    def _own(self, W):
        """(deviations (I - P) + mean P) W as a function of rows of W."""
        if self.deviations == self.mean or self.n_tasks == 1:
            return lambda rows: self.mean * rows
        away, center = apart(W)
        center *= self.mean
        return lambda rows: self.deviations * away(rows) + center

    def _beside(self, G, W):
        """G plus that of all rows."""
        own = self._own(W)
        return by_rows(lambda w, g: own(w) + g, W, G)

    def times(self, W):
        """Q W, at weak strengths by the quickest way: their rounding is that of the data."""
        if self.is_ridge or self.laplacian is None or self.norm > WEAK:
            return self.apply(W)
        M = self.matrix
        return self._beside(sparse_product(M.tocsr(), W) if sparse.issparse(M) else M @ W, W)

    def value(self, W):
        """1/2 tr(W' Q W)."""
        if self.is_ridge:
            return 0.5 * sum_by_rows(lambda w: square(self.mean**0.5 * w), W)
        # by squares: <W, Q W> would lose all digits of small deviations under a huge strength
        total = 0.0
        if self.deviations or self.mean:
            away, center = apart(W)
            total += self.n_tasks * square(self.mean**0.5 * center)
            total += sum_by_rows(lambda w: square(self.deviations**0.5 * away(w)), W)
        if self.matrix is None:
            return 0.5 * total
        if self.laplacian is None:
            return 0.5 * (total + float(np.vdot(W, self._along_matrix(W))))
        return 0.5 * (total + self.laplacian.twice_value(W))

    def prox(self, W, step):
        """(I + step Q)^-1 W."""
        values, vectors = self.eigenvectors()
        return vectors @ ((vectors.T @ W) / (1.0 + step * values)[:, None])

    def diagonal(self):
        """Diagonal of Q, shape (n_tasks,)."""
        T = self.n_tasks
        own = np.full(T, self.deviations * (1 - 1 / T) + self.mean / T)
        return own if self.matrix is None else own + self.matrix.diagonal()

    def eigenvectors(self):
        """Eigenvalues (n_tasks,) and orthonormal eigenvectors (n_tasks, n_tasks) of Q."""
        return self._eigenvectors

    @cached_property
    def _eigenvectors(self):
        T, ridge = self.n_tasks, self.mean if self.deviations == self.mean else 0.0
        Q = np.zeros((T, T))
        if not ridge:
            P = np.full((T, T), 1 / T)
            Q = self.deviations * (np.eye(T) - P) + self.mean * P
        if self.matrix is not None:
            Q = Q + (self.matrix.toarray() if sparse.issparse(self.matrix) else self.matrix)
        if self.laplacian is None or self.deviations != self.mean:
            values, vectors = np.linalg.eigh(Q)
            values[values < SINGULAR * max(values[-1], 0.0)] = 0.0
            return values + ridge, vectors
        # what the graph leaves free is known exactly: it is lifted above the rest, and put in its place
        null = self.laplacian.null.toarray()
        lift = 2.0 * np.abs(Q).sum(axis=1).max() or 1.0  # of the size of Q, whatever its unit
        values, vectors = np.linalg.eigh(Q + lift * null @ null.T)
        k = T - null.shape[1]
        values = np.append(np.maximum(values[:k], 0.0), np.zeros(T - k))
        # a ridge is not lost next to a huge strength
        return values + ridge, np.hstack([vectors[:, :k], null])

    # the matrix as a `Laplacian`, None where it is none
    laplacian = cached_property(lambda self: None if self.matrix is None else Laplacian.of(self.matrix))

    def _along_matrix(self, W):
        """matrix @ W."""
        return self.matrix @ W if self.laplacian is None else self.laplacian.apply(W)

    @cached_property
    def graph(self):
        """Q as a `GraphQuadratic` where it is large and sparse, else None."""
        large = self.n_tasks > DENSE_TASKS and sparse.issparse(self.matrix) and self.laplacian is not None
        if large and self.deviations == self.mean and self.matrix.nnz - self.n_tasks <= 0.1 * self.n_tasks**2:
            return GraphQuadratic(self.laplacian, self.mean)
        return None

    def null_space(self):
        """Orthonormal columns N (n_tasks, k) with Q N = 0, or None."""
        T = self.n_tasks
        if self.graph is not None:
            N = self.graph.null.toarray()
            return N if N.shape[1] else None
        if self.matrix is not None:
            values, vectors = self.eigenvectors()
            return vectors[:, values == 0] if (values == 0).any() else None
        if T == 1 or self.deviations == self.mean:
            return np.eye(T) if self.mean == 0 else None
        if self.deviations == 0:
            return linalg.null_space(np.ones((1, T)))
        return np.full((T, 1), T**-0.5) if self.mean == 0 else None

    def shifted_inverse(self, levels):
        """R -> V with (Q + levels_j I) V[:, j] = R[:, j] in every column j; zero where that is singular."""
        if self.graph is not None:
            return lambda R: self.graph.solve(R, levels)
        if self.matrix is None:
            along = [reciprocal(number + levels) for number in self.numbers]
            return lambda R: sum(V * each for V, each in zip(self.split(R), along, strict=True))
        values, vectors = self.eigenvectors()
        weight = reciprocal(values[:, None] + levels)
        return lambda R: vectors @ (weight * (vectors.T @ R))

    def conjugate(self, G):
        """1/2 tr(G' Q^+ G): the Fenchel conjugate for G without a component in the null space."""
        if self.graph is not None:
            return 0.5 * float(sum_by_rows(np.vdot, G, self.graph.solve(G, np.zeros(G.shape[1]))))
        if self.matrix is not None:
            values, vectors = self.eigenvectors()
            along = vectors[:, values > 0].T @ G
            return 0.5 * square(along / values[values > 0, None] ** 0.5)
        center, total = apart(G)[1], 0.0
        if self.mean > 0:
            total += self.n_tasks * square(center / self.mean**0.5)
        if self.deviations > 0:
            total += sum_by_rows(lambda g: square((g - center) / self.deviations**0.5), G)
        return 0.5 * total


class ClusterQuadratic(TaskQuadratic):
    """The form with Q = within (I - C) + deviations (C - P) + mean P, C the means over clusters of tasks.

    Their labels (n_tasks,) are 0, 1, ..., each of which occurs.
    """

    def __init__(self, labels, within, deviations, mean):
        super().__init__(len(labels), deviations, mean)
        self.labels, self.within = labels, within
        self.size = np.bincount(labels)
        self.first = np.unique(labels, return_index=True)[1]

    separate = is_ridge = False
    numbers = property(lambda self: (self.within, self.deviations, self.mean))
    norm = level = property(lambda self: max(self.numbers))

    def __bool__(self):
        return True

    def __add__(self, other):
        if other.labels is None and other.matrix is None:
            more = other.deviations, other.deviations, other.mean
            return ClusterQuadratic(self.labels, *(a + b for a, b in zip(self.numbers, more, strict=True)))
        if other.labels is not None:
            other = other.in_full()
        return self.in_full() + other

    def in_full(self):
        """The same with a matrix."""
        same = self.labels[:, None] == self.labels
        away = (self.within - self.deviations) * (np.eye(self.n_tasks) - same / self.size[self.labels])
        return TaskQuadratic(self.n_tasks, self.deviations, self.mean, away)

    def split(self, W):
        """What W has within the clusters, between them, (n_tasks, n_features) both, and its mean.

        Of rows that are equal no more than zero is left.
        """
        within, between, mean = self._split(W)
        return by_rows(within, W, self.labels), between[self.labels], mean

    def _split(self, W):
        """The same, as a function of rows and their labels, of each cluster, and the mean."""
        first = W[self.first]
        center = self._centers(lambda w, labels: w - first[labels], W)
        between, mean = self._apart(center + first)
        return lambda w, labels: w - first[labels] - center[labels], between, mean

    def centers(self, W):
        """Means of the clusters (n_clusters, n_features)."""
        return self._centers(lambda w, labels: w, W)

    def _centers(self, of, W):
        """The same of numbers that are a function of rows of W and their labels."""

        def summed(w, labels):
            members = sparse.csc_array(
                (np.ones(len(w)), labels, np.arange(len(w) + 1)), (len(self.size), len(w))
            )
            return members @ of(w, labels)

        return sum_by_rows(summed, W, self.labels) / self.size[:, None]

    def split_centers(self, W):
        """Means of the clusters less that of all tasks, and this (1, n_features)."""
        return self._apart(self.centers(W))

    def _apart(self, centers):
        between, share = centers - centers[0], self.size / self.n_tasks
        return between - share @ between, (share @ centers)[None]

    def _scaled(self, numbers, W):
        """Sum of the parts of W times these numbers."""
        within, between, mean = self._split(W)
        rest = numbers[1] * between + numbers[2] * mean
        return by_rows(lambda w, labels: numbers[0] * within(w, labels) + rest[labels], W, self.labels)

    def apply(self, W):
        return self._scaled(self.numbers, W)

    def times(self, W):
        if self.norm > WEAK:
            return self.apply(W)
        within, along, mean = self.numbers
        between, center = self.split_centers(W)
        rest = (along - within) * between + (mean - within) * center
        return by_rows(lambda w, labels: within * w + rest[labels], W, self.labels)

    def value(self, W):
        return 0.5 * self._squared([number**0.5 for number in self.numbers], W)

    def _squared(self, roots, W):
        """Sum of squares of the parts of W times these numbers."""
        (within, between, mean), (own, along, center) = self._split(W), roots
        total = sum_by_rows(lambda w, labels: square(own * within(w, labels)), W, self.labels)
        total += square(along * np.sqrt(self.size)[:, None] * between)
        return total + self.n_tasks * square(center * mean)

    def prox(self, W, step):
        return self._scaled([1.0 / (1.0 + step * number) for number in self.numbers], W)

    def diagonal(self):
        within, between, mean = self.numbers
        own = 1.0 / self.size[self.labels]
        return within * (1 - own) + between * (own - 1 / self.n_tasks) + mean / self.n_tasks

    _eigenvectors = cached_property(lambda self: self.in_full().eigenvectors())

    def null_space(self):
        """The mean, if it costs nothing."""
        return np.full((self.n_tasks, 1), self.n_tasks**-0.5) if self.mean == 0 else None

    def conjugate(self, G):
        return 0.5 * self._squared([n**-0.5 if n > 0 else 0.0 for n in self.numbers], G)


def square(A):
    """Sum of squares; of what has the root of a strength in it, so that units are no matter."""
    return float(np.vdot(A, A))


def reciprocal(values):
    """1 / values, zero for those that are rounding next to the largest of their row."""
    floor = 10 * np.finfo(float).eps * values.shape[-1] * values.max(axis=-1, keepdims=True, initial=0.0)
    return np.where(values > floor, 1.0 / np.where(values > 0, values, 1.0), 0.0)


def apart(W):
    """A function of rows of W, these less the mean of all, zero where all rows are equal; and the mean."""
    first = W[0]  # rounding in the mean must not be multiplied by a huge strength
    center = sum_by_rows(lambda w: (w - first).sum(axis=0), W) / len(W)
    return lambda rows: rows - first - center, first + center


def deviations(W):
    """W less its mean over tasks; of rows that are equal exactly zero."""
    return by_rows(apart(W)[0], W)


class Laplacian:
    """A matrix with the form sum_{s<t} A_st ||w_s - w_t||^2 + sum_t d_t ||w_t||^2.

    Differences are what a huge strength multiplies: taken first, they keep their digits. `components` is
    a sparse array with one column, constant and of length 1, for each connected component of tasks; along
    those in `null` the form vanishes.
    """

    def __init__(self, M, sums):
        self.M, self.sums = M, sums
        n_components, self.component = connected_components(M, directed=False)
        top = np.zeros(n_components)
        np.maximum.at(top, self.component, sums)
        self.flat = np.flatnonzero(top == 0)

    @cached_property
    def components(self):
        """The columns, a sparse array."""
        place = np.arange(len(self.sums)), self.component
        return sparse.csc_array((np.bincount(self.component)[self.component] ** -0.5, place))

    null = cached_property(lambda self: self.components[:, self.flat])  # along which the form vanishes

    @classmethod
    def of(cls, M):
        """The form, None if M is not of the kind, or an array without differences of tasks."""
        if not sparse.issparse(M):
            n_entries, n_own = np.count_nonzero(M), np.count_nonzero(M.diagonal())
            if n_entries == n_own or (M > 0).sum() > n_own:
                return None
        M = sparse.csc_array(M, copy=True)
        M.eliminate_zeros()
        row, column = _places(M)
        sums, size = (np.bincount(row, values, M.shape[0]) for values in (M.data, np.abs(M.data)))
        sums = np.where(np.abs(sums) <= 4 * np.finfo(float).eps * size, 0.0, sums)
        return None if (M.data[row != column] > 0).any() or sums.min() < 0 else cls(M, sums)

    @cached_property
    def edges(self):
        """Differences of the tasks of every edge (n_edges, n_tasks), sparse unless small, and its weight."""
        row, column = _places(self.M)
        upper = row < column
        n, weight = np.count_nonzero(upper), -self.M.data[upper]
        place, sign = np.tile(np.arange(n), 2), np.repeat([1.0, -1.0], n)
        place = place, np.append(row[upper], column[upper])
        if n * len(self.sums) > FEW_ENTRIES:
            return sparse.csr_array((sign, place), shape=(n, len(self.sums))), weight
        differences = np.zeros((n, len(self.sums)))
        differences[place] = sign
        return differences, weight

    @cached_property
    def first(self):
        """The first task of the component of each task along which the form vanishes, and whether it does."""
        own = np.repeat(np.arange(self.null.shape[1]), np.diff(self.null.indptr))
        out, free = np.zeros(len(self.sums), dtype=int), np.zeros((len(self.sums), 1))
        out[self.null.indices], free[self.null.indices] = self.null.indices[self.null.indptr[:-1]][own], 1.0
        return out, free

    def _away(self, W):
        return by_rows(lambda w, first, free: w - free * W[first], W, *self.first)

    def apply(self, W):
        """M W."""
        if self.M.nnz > MOST_EDGES:
            return sparse_product(self.M.T, self._away(W))
        differences, weight = self.edges
        return differences.T @ ((differences @ W) * weight[:, None]) + self.sums[:, None] * W

    def twice_value(self, W):
        """tr(W' M W)."""
        if self.M.nnz > MOST_EDGES:
            away = self._away(W)
            return float(sum_by_rows(np.vdot, away, sparse_product(self.M.T, away)))
        differences, weight = self.edges
        along, own = (differences @ W) * weight[:, None] ** 0.5, W * self.sums[:, None] ** 0.5
        return square(along) + square(own)


def _places(M):
    """Row and column of every entry of a CSC array."""
    return M.indices, np.arange(M.shape[1]).repeat(np.diff(M.indptr))


class GraphQuadratic:
    """A sparse Laplacian plus a ridge: factorised where the other form finds eigenvectors."""

    def __init__(self, laplacian, ridge):
        self.Q = laplacian.M + ridge * sparse.eye_array(len(laplacian.sums), format="csc")
        self.components, self.factors = laplacian.components, {}
        self.flat, self.ridge = laplacian.null, ridge
        self.null = self.flat if ridge == 0 else self.flat[:, :0]

    fill = property(lambda self: self._factor(0.0).nnz)  # numbers in a factor

    def _factor(self, level):
        """Factor of Q + level I; where that is singular a task of each flat component is tied down."""
        if level not in self.factors:
            extra, size = np.full(self.Q.shape[0], level), self.Q.diagonal().max() or 1.0
            if level + self.ridge <= SINGULAR * size:
                extra[self.flat.indices[self.flat.indptr[:-1]]] += size
            self.factors[level] = splu(
                sparse.csc_matrix(self.Q + sparse.diags_array(extra)),
                permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True},
            )  # fmt: skip
        return self.factors[level]

    def solve(self, R, levels):
        """(Q + levels_j I)^-1 R[:, j] for each column; without a level, nothing along the null vectors."""
        out, inverse = np.empty_like(R), reciprocal(levels + self.ridge)
        alike = [np.flatnonzero(levels == level) for level in np.unique(levels)]
        factors = [(self._factor(levels[at[0]]), at) for at in alike]
        N = self.flat.toarray() if self.flat.shape[1] < COLUMNS else self.flat

        def solve(block):
            factor, at = block
            V = np.asfortranarray(R[:, at])
            along = N.T @ V  # the form is the level there, whatever the strength of the graph
            V = factor.solve(V - (along.T @ N.T).T)
            out[:, at] = V + ((along * inverse[at] - N.T @ V).T @ N.T).T

        in_blocks(solve, [(f, at[k : k + COLUMNS]) for f, at in factors for k in range(0, len(at), COLUMNS)])
        return out
