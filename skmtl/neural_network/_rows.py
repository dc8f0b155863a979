"""Rows as the network sees them: merged, held out, in units or coordinates of their own."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._labels import blocks
from ..losses import NORMAL
from ..objective import eigenvectors

# of columns in units that a network can learn from
LARGEST, USUAL, SMALLEST = 100.0, 3.0, 1 / 30  # absolute values of columns
FAR = 5.0  # centre of the range over half of it, beyond which a column is shifted


@dataclass
class Rows:
    """Rows with targets and weights; `codes` is None where every row belongs to all tasks.

    X (n, p) dense or CSR; y and weight (n, n_tasks), or (n,) with `codes` (n,) sorted, of any size and
    precision; a missing label has weight zero. An offset has the shape of the predictors.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray
    codes: np.ndarray | None = None
    n_tasks: int | None = None  # with codes
    offset: np.ndarray | None = None

    def __len__(self):
        return self.X.shape[0]

    def take(self, rows):
        """The rows at sorted positions."""
        X = self.X[rows] if sparse.issparse(self.X) else self.X.take(rows, axis=0)
        codes, offset = (None if a is None else a.take(rows, axis=0) for a in (self.codes, self.offset))
        return Rows(X, self.y.take(rows, axis=0), self.weight.take(rows, axis=0), codes, self.n_tasks, offset)

    def spread(self, values):
        """The value of its task, of values (n_tasks,), on the sample side."""
        return values if self.codes is None else values[self.codes]

    def weighted(self, emphasis):
        """The same rows with weights multiplied by the emphasis of their task."""
        return replace(self, weight=(self.weight * self.spread(emphasis)).astype(self.y.dtype))

    def moved(self, eta):
        """Predictors with the offset."""
        return eta if self.offset is None else eta + self.offset.reshape(eta.shape)

    def normalised(self):
        """The same rows with weights that sum to one over every task that has some."""
        total = self.task_sums(1.0)
        return self.weighted(1.0 / np.where(total > 0, total, 1.0))

    def task_sums(self, values):
        """Weighted sum of values over the rows of each task, shape (n_tasks,)."""
        values = values * self.weight
        if self.codes is None:
            return values.sum(axis=0, dtype=np.float64)
        return np.bincount(self.codes, values, minlength=self.n_tasks)

    def task_moments(self, values, robust):
        """Weighted mean and variance of values in each task, both (n_tasks,), for weights that sum to one.

        Of tasks that are `robust` the median and the square of the scaled median absolute deviation from it,
        unless that is zero.
        """
        mean = self.task_sums(values)
        variance = self.task_sums((values - self.spread(mean)) ** 2)
        for t in np.flatnonzero(robust):
            at = (slice(None), t) if self.codes is None else slice(*np.searchsorted(self.codes, [t, t + 1]))
            own, weight = values[at], self.weight[at]
            middle = weighted_median(own, weight)
            if (size := NORMAL * weighted_median(np.abs(own - middle), weight)) > 0:
                mean[t], variance[t] = middle, size**2
        return mean, variance


def weighted_median(values, weight):
    """The value with half of the weight on each side, or the middle of two; zero where there is no weight."""
    order = np.argsort(values[weight > 0])
    values, total = values[weight > 0][order], np.cumsum(weight[weight > 0][order])
    if not len(values):
        return 0.0
    low, high = np.searchsorted(total, 0.5 * total[-1] * np.array([1 - 1e-9, 1 + 1e-9]))
    return float(0.5 * (values[low] + values[high]))


def merged(rows, rng):
    """The distinct rows in an order of their own, with summed weights.

    So that a weight is the same as a repetition to the last bit, whatever the order of the rows, and
    copies of a row never stand on both sides of a hold-out. Rows are compared by random projections,
    computed alike for dense and sparse X.
    """

    def project(A):
        A = sparse.csr_matrix(A, copy=True)
        A.sum_duplicates()
        return A @ rng.normal(size=(A.shape[1], 2))

    y, codes, keys = rows.y, rows.codes, [*project(rows.X).T]
    there = rows.weight > 0
    keys += [y, codes] if codes is not None else [*project(there * y).T, *project(there).T]
    keys[:0] = [] if rows.offset is None else [*project(rows.offset.reshape(len(rows), -1)).T]
    keys = np.array(keys[::-1]).T  # sorted by task
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    out = rows.take(first)
    out.weight[...] = 0.0
    np.add.at(out.weight, group, rows.weight)
    return out


def hold_out(rows, fraction, rng):
    """(rows for training, rows held out), a part of every task that has at least four rows.

    A row of several tasks is held out for all of them; it is drawn among those whose rarest label it has.
    """
    group = rows.codes
    if group is None:
        by_rarity = np.argsort((rows.weight > 0).sum(axis=0), kind="stable")
        group = (rows.weight[:, by_rarity] > 0).argmax(axis=1)
    shuffled, held = rng.permutation(len(group)), np.zeros(len(group), dtype=bool)
    for _, own in blocks(group[shuffled]):
        n = max(round(fraction * len(own)), 1) if len(own) >= 4 else 0
        held[shuffled[own[:n]]] = True
    return tuple(rows.take(np.flatnonzero(part)).normalised() for part in (~held, held))


def fewer_rows(X):
    """Whether X has fewer rows than columns, where each counts once: in every layout of the same rows."""
    n_rows, n_features = X.shape
    if n_rows < n_features:
        return True
    return len(np.unique(X.toarray() if sparse.issparse(X) else X, axis=0)) < n_features


class RowSpace:
    """Coordinates of few rows with many features, and of the networks that see no more of X.

    With X = Z B', B' B = I, the weights of the first layer that minimise a penalised loss are B A, of the
    same norm as A, so that a network of Z (n_rows, rank) stands for one of X (n_rows, n_features).
    """

    def __init__(self, X):
        gram = X.astype(np.float64) @ X.T.astype(np.float64)
        values, vectors = eigenvectors(gram.toarray() if sparse.issparse(gram) else gram)
        some = values > len(values) * np.finfo(np.float64).eps * values[-1]
        root = np.sqrt(values[some])
        self.X, self.Z = X, (vectors[:, some] * root).astype(X.dtype)
        self.V = (vectors[:, some] / root).astype(X.dtype)  # B = X' V

    def down(self, theta, network):
        """Of a network of X the nearest parameters of one of Z, and that."""
        return _moved(theta, network, self.Z.shape[1], lambda W: self.V.T @ (self.X @ W))

    def up(self, theta, network):
        """Of a network of Z the parameters of one of X that stands for it, and that."""
        return _moved(theta, network, self.X.shape[1], lambda A: self.X.T @ (self.V @ A))


def _moved(theta, network, n_features, move):
    """With the weights of the first layer, which come first, moved, group by group."""
    first = network.views(theta)["W0"]
    theta = np.concatenate([*(move(W).ravel() for W in first), theta[first.size :]])
    return theta, replace(network, n_features=n_features)


@dataclass
class Units:
    """Columns as (X - center) / scale, a fixed layer below the network."""

    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, X):
        """Units of the columns of X, or None where all may stay as they are.

        From the range alone, which does not depend on how often a row is there.
        """
        ends = X.min(axis=0), X.max(axis=0)
        low, high = np.vstack([end.toarray() if sparse.issparse(end) else end for end in ends]).astype(float)
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        top = np.maximum(np.abs(low), np.abs(high))
        far = (np.abs(middle) > FAR * half) & ((half > 0) | (top > LARGEST))
        small = (top < SMALLEST) & (top > 0)
        large = (top > USUAL) & (top[~far] > LARGEST).any()  # one too large: columns stay in proportion
        if not (far | small | large).any():
            return None
        scale = np.select([far & (half > 0), far, small, large], [half, 1.0, top, top / USUAL], 1.0)
        return cls(np.where(far, middle, 0.0), scale)

    def apply(self, X):
        """X in these units, in its own precision."""
        out = X.astype(np.float64)
        if sparse.issparse(X):  # a column far from zero has no zeros: it stays as full as it is
            far, n = np.flatnonzero(self.center), X.shape[0]
            if len(far):
                entries = np.tile(self.center[far], n), np.tile(far, n), len(far) * np.arange(n + 1)
                out = (out - type(out)(entries, shape=X.shape)).tocsr()
            out.data /= self.scale[out.indices]
        else:
            out -= self.center
            out /= self.scale
        return out.astype(X.dtype, copy=False)


def as_floats(X):
    """X as a float array or CSR matrix, of single precision where it was so."""
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    return X.tocsr().astype(dtype, copy=False) if sparse.issparse(X) else np.ascontiguousarray(X, dtype=dtype)
