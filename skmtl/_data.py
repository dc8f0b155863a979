"""Rows, tasks and weights in one validated object.

Two layouts with the same methods, so that nothing behind them asks which one it holds:

* `StackedData`: every row belongs to one task; rows are sorted into contiguous task blocks.
  Sample-side arrays have shape ``(n_rows,)``.
* `SharedData`: every row belongs to all tasks; a missing label has weight zero.
  Sample-side arrays have shape ``(n_samples, n_tasks)``.
"""

from copy import copy
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse

from ._columns import check_features, refuse_other_order
from ._inputs import (
    check_numeric_target,
    check_rows,
    less_offset,
    observed,
    resolve_task_weight,
    shaped_offset,
)
from ._labels import blocks, check_tasks, encode_tasks
from ._threads import ROOM, blocks_of, even_blocks, in_blocks, loop_pays, read_only, reduced, spread

FAR = 100.0  # times its spread: from there on a column is moved towards zero before sums are taken
FEW_ROWS = 32  # by which the size of the features is judged
SMALLEST, LARGEST = 1e-150, 1e150  # sizes of numbers that are squared
UNEQUAL = 1e4  # ratio of spreads from which columns are in very different units
SAMPLED_ROWS = 8  # of each task, by which that is judged
MOST_SAMPLED = 20_000  # of all tasks
MANY_ROWS = 20_000  # whose predictions are worth loading Numba
KERNEL_STEP = 1.25  # tasks are of about the same size if none has more rows than this times another
LARGE = 100  # powers of two that weights may hold as they are
CHUNK_ROWS = 8192  # rows handled at a time where a temporary of the size of X would double memory


def of_rows(method):
    """A property of X and its rows alone: computed once for all data objects that share them."""

    def kept(self):
        if method.__name__ not in self.known:
            self.known[method.__name__] = method(self)
        return self.known[method.__name__]

    return property(kept, doc=method.__doc__)


class TaskData:
    """Design, targets and weights of all tasks, behind the operations that solvers need.

    `row_weight` holds the weights of the rows as given, `scale` (n_tasks,) the emphasis c_t of a
    task divided by the sum of its row weights. Their product `weight` is c_t * s_i of the
    objective, so that the data term is ``sum(weight * loss(y, eta))``. Extreme row weights of a task
    are divided by its `unit`. `indptr` holds the bounds of the rows of each task, where they have their own.
    `offset` is a part of the linear predictors that is known, None or of their shape: that of y, with a last
    axis where a row has several.
    """

    unit = None

    def __init__(self, X, y, row_weight, scale, tasks, indptr=None, offset=None):
        self.X, self.y, self.row_weight, self.scale, self.tasks = X, y, row_weight, scale, tasks
        self.indptr, self.offset, self.known = indptr, offset, {}

    n_features = property(lambda self: self.X.shape[1])
    n_tasks = property(lambda self: len(self.tasks))

    weight = cached_property(lambda self: self.row_weight * self.spread(self.scale))  # c_t * s_i
    totals = cached_property(lambda self: self.task_sums(self.weight))  # (n_tasks,)

    def predictor(self, image, b):
        """x_i . w_t + b_t, and the offset."""
        eta = self.raised(image, b)
        return eta if self.offset is None else eta + self.offset

    def raised(self, image, b):
        """x_i . w_t + b_t."""
        return image + self.spread(b)

    def without_offset(self, moves=True):
        """The same rows with targets less the offset, in tasks whose loss sees only y - eta (n_tasks,)."""
        if self.offset is None:
            return self
        moves = self.spread(np.broadcast_to(moves, (self.n_tasks,)))
        y, offset = less_offset(self.y, self.offset, moves)
        return self._with(y=y, offset=offset)

    def reweighted(self, y, weight):
        """The same rows with other targets and weights, without offset: a quadratic model of another loss."""
        return self._with(y=y, row_weight=weight, scale=np.ones(self.n_tasks), offset=None)

    def select(self, columns):
        """The same rows with some of the features."""
        return self._with(X=self.X[:, columns])

    def turned(self, R):
        """The same rows with features X R, R (n_features, n_features) or a vector, its diagonal."""
        if R.ndim == 1:
            return self._with(X=self.X @ sparse.diags_array(R) if sparse.issparse(self.X) else self.X * R)
        return self._with(X=self.X @ R)

    def dense(self):
        """The same rows, not sparse."""
        return self._with(X=self.X.toarray())

    def emphasised(self, task_weight):
        """The same rows with another emphasis of the tasks."""
        return self._with(scale=self._emphasis(task_weight))

    def _emphasis(self, task_weight):
        mass, unit = self.task_sums(self.row_weight), self.unit / self.unit.max()
        return resolve_task_weight(task_weight, self.tasks, mass * unit) / mass

    def shifted(self, offset):
        """The same rows with targets y - offset, offset (n_tasks,)."""
        return self._with(y=self.y - self.spread(offset))

    def refuse_extremes(self):
        """ValueError where squares of X (judged by some of it) or y would vanish or overflow."""
        X = self.X
        if sparse.issparse(X):
            some = abs(X.data[:: 1 + X.nnz // MOST_SAMPLED])
        else:
            some = np.maximum.reduce(abs(X[:: -(-len(X) // FEW_ROWS)]))
        some = some[some > 0]
        sizes = {"X": (some.min(initial=1.0), some.max(initial=1.0)), "y": _ends(self.y)}
        if self.offset is not None:
            sizes["offset"] = _ends(self.offset)
        for name, found in sizes.items():
            for size in found:
                if size > LARGEST or 0 < size < SMALLEST:
                    raise ValueError(
                        f"{name} holds values of size {size:.1g}, whose squares are no numbers in double "
                        f"precision; expected {SMALLEST:g} to {LARGEST:g}: choose another unit."
                    )

    def weigh(self, task_weight, even):
        """Set the emphasis of the tasks, and divide extreme weights by the unit of their task.

        `even`: all weights are one.
        """
        unit = np.ones(1) if even else _unit(self._reduced(np.maximum, self.row_weight))
        if not even and (unit != 1).any():
            self.row_weight = self.row_weight / self.spread(unit)
        self.unit = unit
        self.scale = self._emphasis(task_weight)

    def task_sums(self, R):
        """Sum over the rows of each task, shape (n_tasks,)."""
        return self._reduced(np.add, R)

    def near_zero(self, common=False):
        """An offset of the features and the rows less it; None and the same rows where all are near zero.

        What is far from zero next to its spread loses in every sum the digits that tell rows apart. Every
        design has an offset of its own, which leaves nothing of a column that is constant in each, or with
        `common` all have one, (n_features,).
        """
        key = "_far_columns", common
        if key not in self.known:  # as in `of_rows`
            self.known[key] = self._far_columns(common)
        columns = self.known[key]
        if not len(columns):
            return None, self
        X, block = self.X.copy(), _dense(self.X[:, columns])
        means = self._means_of(block)
        means = means.reshape(-1, len(columns)).mean(axis=0) if common else means
        offset = np.zeros((*means.shape[:-1], self.n_features))
        offset[..., columns], X[:, columns] = means, block - (means if common else self.spread_rows(means))
        return offset, self._with(X=X)

    @property
    def squares(self):
        """Sums of squares of the features in every task under the weights as given, (n_tasks, n_features)."""
        out = np.empty((self.n_tasks, self.n_features))
        for X, weight, _, tasks in self.designs():
            dense = not sparse.issparse(X)
            out[tasks] = np.einsum("i,ij,ij->j", weight, X, X) if dense else X.multiply(X).T @ weight
        return out

    @of_rows
    def graded(self):
        """Whether columns are in very different units, judged by some rows."""
        rows = self._sample().ravel()
        spread = np.ptp(_dense(self.X[rows[:: 1 + len(rows) // MOST_SAMPLED]]), axis=0)
        return bool(spread[spread > 0].max(initial=0.0) > UNEQUAL * spread[spread > 0].min(initial=np.inf))

    def _far_columns(self, common):
        """Positions of the columns that are far from zero next to their spread, judged by some rows.

        Unless one offset is `common` to all designs, with those that are constant in each of them.
        """
        sample, columns = self._sample(), np.arange(self.n_features)
        X = self.X
        if sparse.issparse(X):  # without zeros, so that the pattern stays
            if X.format == "csc" and np.diff(X.indptr).max(initial=0) < len(self.y):  # which is sooner told
                return columns[:0]
            columns = np.flatnonzero(X.count_nonzero(axis=0) == X.shape[0])
            if not len(columns):
                return columns
            X = X[:, columns]

        def far(block):
            own = _dense(X[sample[block].ravel()]).reshape(*sample[block].shape, -1)
            low, high = own.min(axis=1), own.max(axis=1)
            size = np.minimum(np.abs(low), np.abs(high))
            found = (low > 0) | (high < 0)
            found &= (size > FAR * (high - low)) & ((high > low) | (size > FAR**2))
            return found.any(axis=0), (high > low).any(axis=0), size.any(axis=0)

        blocks = even_blocks(len(sample), sample.shape[1] * len(columns), ROOM)
        found, varies, used = np.any(in_blocks(far, blocks), axis=0)
        return columns[found | (used & ~varies & (not common))]

    def _with(self, **changes):
        other = copy(self)
        for name in ("weight", "totals"):
            other.__dict__.pop(name, None)
        other.__dict__.update(changes)
        if "X" in changes:
            other.known = {}
        return other


class StackedData(TaskData):
    """Rows sorted by task: X (n_rows, n_features) C-ordered or CSR, y and row_weight (n_rows,)."""

    n_designs = property(lambda self: self.n_tasks)
    task_rows = cached_property(lambda self: np.diff(self.indptr))  # number of rows of each task
    _blocks = cached_property(lambda self: [slice(*bounds) for bounds in pairwise(self.indptr)])

    @of_rows
    def _codes(self):
        """Position of the task of each row."""
        return self.spread(np.arange(self.n_tasks))

    @of_rows
    def _expanded(self):
        """X side by side for all tasks, each row in the columns of its own."""
        return expanded(self.X, self._codes, self.n_tasks)

    def forward(self, W):
        """x_i . w_t on the sample side, of several w_t (n_tasks, k, n_features) as the last axis."""
        if sparse.issparse(self.X):
            return self._expanded @ np.moveaxis(W, -1, 1).reshape(-1, *W.shape[1:-1])
        if loop_pays(self.n_tasks, self.n_features):
            if W.ndim > 2:
                return np.stack([self.forward(V) for V in np.moveaxis(W, 1, 0)], axis=-1)
            return row_products(self.X, self._codes, W)
        out = np.empty((len(self.y), *W.shape[1:-1]))
        for rows, w in zip(self._blocks, W, strict=True):
            np.dot(self.X[rows], w.T, out=out[rows])
        return out

    def adjoint(self, R):
        """X_t' r_t of every task, shape (n_tasks, n_features), or of several r_t, k as the second axis."""
        if sparse.issparse(self.X):
            return np.moveaxis((self._expanded.T @ R).reshape(self.n_tasks, -1, *R.shape[1:]), 1, -1)
        out = np.empty((self.n_tasks, *R.shape[1:], self.n_features))
        if loop_pays(self.n_tasks, self.n_features):
            if R.ndim > 1:
                return np.stack([self.adjoint(np.ascontiguousarray(r)) for r in R.T], axis=1)
            from ._kernels import task_sums_of_rows  # Numba is imported by the first fit that needs it

            X, R = map(read_only, (self.X, R))
            self.in_blocks(lambda block, bounds: task_sums_of_rows(X, bounds, R, out[block]))
            return out
        for rows, row in zip(self._blocks, out, strict=True):
            np.dot(R[rows].T, self.X[rows], out=row)
        return out

    @property
    def squares(self):
        if sparse.issparse(self.X) or not loop_pays(self.n_tasks, 1):
            return super().squares
        out = np.empty((self.n_tasks, self.n_features))

        def fill(block, bounds):
            rows = slice(bounds[0], bounds[-1])
            weighted = self.X[rows] ** 2 * self.row_weight[rows, None]
            np.add.reduceat(weighted, bounds[:-1] - bounds[0], axis=0, out=out[block])

        self.in_blocks(fill)
        return out

    def in_blocks(self, work):
        """Results of work(tasks, bounds of their rows) for blocks of tasks, a slice, in their order."""
        indptr = read_only(self.indptr)
        blocks = blocks_of(indptr * self.n_features)
        return in_blocks(lambda block: work(block, indptr[block.start : block.stop + 1]), blocks)

    def _reduced(self, ufunc, R):
        return reduced(ufunc, R, self.indptr)

    def spread(self, b):
        """The value of its task on the sample side."""
        return spread(b, self.indptr, self.task_rows)

    def raised(self, image, b):
        return spread(b, self.indptr, self.task_rows, image)

    spread_rows = spread  # what belongs to every row, in `SharedData`

    def _sample(self):
        """Positions of some rows of each task, shape (n_tasks, k)."""
        return self.indptr[:-1, None] + np.linspace(0, self.task_rows - 1, SAMPLED_ROWS).astype(np.intp).T

    def _means_of(self, block):
        """Weighted means of columns (n_rows, k) in every task, exact where a column is constant."""
        first = block[self.indptr[:-1]]
        weighted = (block - self.spread(first)) * self.row_weight[:, None]
        mass = np.maximum(self.task_sums(self.row_weight), np.finfo(float).tiny)[:, None]  # it may be nothing
        return first + np.add.reduceat(weighted, self.indptr[:-1], axis=0) / mass

    def where(self, tasks):
        """Index of the sample side of some tasks."""
        return (np.concatenate([np.arange(*self.indptr[t : t + 2]) for t in tasks]),)

    def of_tasks(self, tasks):
        """The rows of some tasks: a slice, a mask, or positions that rise."""
        chosen = np.zeros(self.n_tasks, dtype=bool)
        chosen[tasks] = True
        rows, counts = self.spread(chosen), self.task_rows[tasks]
        return StackedData(
            self.X[rows], self.y[rows], self.row_weight[rows], self.scale[tasks], self.tasks[tasks],
            np.concatenate([[0], np.cumsum(counts)]), None if self.offset is None else self.offset[rows],
        )  # fmt: skip

    def designs(self):
        """(X_t, row weights, targets, tasks) of every distinct weighted design."""
        for t, rows in enumerate(self._blocks):
            yield self.X[rows], self.row_weight[rows], self.y[rows, None], slice(t, t + 1)

    @of_rows
    def kernels(self):
        """Products X_t X_t' of the rows of every task, for tasks of about the same size at once.

        A list of (tasks, (g,) positions; rows, (g, n) positions on the flat sample side; present, which of
        them the task has; K, (g, n, n) products).
        """
        size = self.task_rows
        steps = np.ceil(np.log(size) / np.log(KERNEL_STEP)).astype(np.intp)
        found = []
        for step in np.unique(steps):
            tasks = np.flatnonzero(steps == step)
            place = np.arange(size[tasks].max())
            present = place < size[tasks, None]
            rows = np.where(present, self.indptr[tasks, None] + place, self.indptr[tasks, None])
            found.append((tasks, rows, present, self._products(rows)))
        return found

    def _products(self, rows):
        """X[rows_t] X[rows_t]' for each row of an array of positions."""
        g, n = rows.shape
        out = np.empty((g, n, n))
        if sparse.issparse(self.X):
            out[:] = [(self.X[own] @ self.X[own].T).toarray() for own in rows]
            return out
        at_once = max(1, CHUNK_ROWS // n)
        for start in range(0, g, at_once):
            block = self.X[rows[start : start + at_once]]
            np.matmul(block, block.transpose(0, 2, 1), out=out[start : start + at_once])
        return out


class SharedData(TaskData):
    """One design for all tasks: X (n_samples, n_features), y (n_samples, n_tasks).

    Methods are those of `StackedData`. `row_weight` has shape (n_samples, 1) where all tasks weigh the
    rows alike (no missing label), else (n_samples, n_tasks); a missing label has weight zero and the least
    target of its task.
    """

    n_designs = property(lambda self: self.row_weight.shape[1])
    task_rows = property(lambda self: np.full(self.n_tasks, self.X.shape[0]))

    def forward(self, W):
        each = W.reshape(-1, self.n_features)
        used = each.any(axis=0)
        if 4 * np.count_nonzero(used) < len(used):  # above that the copy costs more than it saves
            image = self.X[:, used] @ each[:, used].T
        else:
            image = self.X @ each.T
        return image.reshape(len(image), *W.shape[:-1])

    def adjoint(self, R):
        each = R.reshape(len(R), -1)
        found = (self.X.T @ each).T if sparse.issparse(self.X) else each.T @ self.X
        return np.ascontiguousarray(found).reshape(*R.shape[1:], -1)

    def _reduced(self, ufunc, R):
        return ufunc.reduce(R)

    def spread(self, b):
        return b[None, :]

    def spread_rows(self, b):
        return b

    def _sample(self):
        """Positions of some rows, shape (1, k)."""
        return np.linspace(0, len(self.y) - 1, 4 * SAMPLED_ROWS).astype(np.intp)[None]

    def _means_of(self, block):
        """Means of columns (n_samples, k), exact where a column is constant."""
        return block[0] + (block - block[0]).mean(axis=0)

    def where(self, tasks):
        return slice(None), np.asarray(tasks)

    def of_tasks(self, tasks):
        weight = self.row_weight if self.n_designs == 1 else self.row_weight[:, tasks]
        offset = None if self.offset is None else self.offset[:, tasks]
        known = self.X, self.y[:, tasks], weight, self.scale[tasks], self.tasks[tasks]
        return SharedData(*known, offset=offset)

    def designs(self):
        if self.n_designs == 1:
            yield self.X, self.row_weight[:, 0], self.y, slice(0, self.n_tasks)
            return
        for t in range(self.n_tasks):
            yield self.X, self.row_weight[:, t], self.y[:, [t]], slice(t, t + 1)

    @of_rows
    def kernels(self):
        """Products of the rows, in the form of `StackedData.kernels`; the same for all tasks, (1, n, n)."""
        n, T = self.y.shape
        rows = np.arange(n) * T + np.arange(T)[:, None]
        K = _dense(self.X @ self.X.T)
        return [(np.arange(T), rows, np.ones((T, n), dtype=bool), K[None])]


def make_task_data(X, y, tasks=None, *, sample_weight=None, offset=None, task_weight=None, names=None):
    """Validated data of all tasks in the layout that fits the arguments.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Targets; 2-D means one shared design, NaN in it a missing label.
    tasks : array-like of shape (n_samples,), optional
        Task labels for a 1-D `y`. Without them a 1-D `y` is one task.
    sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
    offset : array-like of the shape of `y`, optional
        Added to the linear predictors; with a last axis for a loss of several predictors.
    task_weight : {None, "samples"}, mapping or array-like of shape (n_tasks,), default=None
    names : ndarray of shape (n_tasks,), optional
        Labels of the columns of a 2-D `y`. Default: 0, 1, 2, ...

    Returns
    -------
    TaskData

    Raises
    ------
    ValueError, TypeError
        If an argument is malformed; the message names it.

    Examples
    --------
    >>> from skmtl.solvers import make_task_data
    >>> make_task_data([[1.0], [2.0], [4.0]], [0.0, 1.0, 1.0], ["a", "a", "b"]).n_tasks
    2
    """
    refuse_other_order({"y": y, "sample_weight": sample_weight, "offset": offset})
    X = check_features(X)
    y = check_numeric_target(y)
    sample_weight, offset = check_rows(X, y, sample_weight, offset)
    if offset is not None:
        offset = shaped_offset(offset, y.shape, 1 if offset.ndim <= y.ndim else offset.shape[-1])
    names, codes = name_tasks(y, tasks, sample_weight, names)
    return task_data(X, y, codes, sample_weight, offset, task_weight, names)


def name_tasks(y, labels, sample_weight, names=None):
    """The tasks of y, and the position of that of each row among them, None where rows have no label.

    They are the columns of a 2-D y (`names` or numbers), or else the labels of rows of positive weight (the
    position of other labels is -1), or one.
    """
    if y.ndim == 2:
        if labels is not None:
            raise ValueError("tasks must be None when y is 2-D: the columns of y are the tasks.")
        return np.arange(y.shape[1]) if names is None else names, None
    if labels is None:
        return np.arange(1), None
    labels = check_tasks(labels, len(y))
    if sample_weight is None or sample_weight.all():
        return encode_tasks(labels)
    codes, used = np.full(len(y), -1), sample_weight > 0
    tasks, codes[used] = encode_tasks(labels[used])
    return tasks, codes


def task_data(X, y, codes, sample_weight, offset, task_weight, tasks):
    """TaskData of checked arguments: X and y are numbers, `tasks` and `codes` as of `name_tasks`."""
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    if y.ndim == 2:
        data = _shared(X, y, weight.reshape(len(y), -1), offset, tasks)
    else:
        data = _stacked(X, y, np.zeros(len(y), np.intp) if codes is None else codes, weight, offset, tasks)
    data.weigh(task_weight, even=sample_weight is None)
    data.refuse_extremes()
    return data


def _stacked(X, y, codes, weight, offset, tasks):
    order = np.argsort(codes.astype(np.min_scalar_type(len(tasks))), kind="stable")  # by radix where it fits
    order = order if weight.all() else order[weight[order] > 0]
    indptr = codes[order].searchsorted(np.arange(len(tasks) + 1))
    offset = None if offset is None else offset[order]
    return StackedData(_take_rows(X, order), y[order], weight[order], None, tasks, indptr, offset)


def _shared(X, y, weight, offset, tasks):
    missing = np.isnan(y)
    weight = np.where(missing, 0.0, weight) if missing.any() else weight
    if not weight.all():
        used = np.broadcast_to(weight > 0, y.shape)
        if not used.any(axis=0).all():
            raise ValueError(
                "y has no usable label (all missing or of weight zero) for the task(s) "
                f"{tasks[~used.any(axis=0)].tolist()[:5]}."
            )
        y = observed(y, used)
        if offset is not None:
            offset = np.where(used.reshape(used.shape + (1,) * (offset.ndim - 2)), offset, 0.0)
    return SharedData(X.astype(np.float64, copy=False), y, weight, None, tasks, offset=offset)


def _ends(A):
    """Sizes of the greatest and the least number."""
    return abs(float(A.max())), abs(float(A.min()))


def _unit(largest):
    """Power of two to divide weights of this size by: only ratios count, and sums must stay finite."""
    exponent = np.frexp(largest)[1] - 1
    return np.ldexp(1.0, np.where((largest > 0) & (np.abs(exponent) > LARGE), exponent, 0))


def _dense(A):
    return A.toarray() if sparse.issparse(A) else A


def _take_rows(X, order):
    """Rows of X in the given order as float64, C-contiguous or CSR; X itself where nothing changes."""
    in_place = len(order) == X.shape[0] and (np.diff(order) > 0).all()
    if sparse.issparse(X):
        X = X.tocsr().astype(np.float64, copy=False)
        return X if in_place else X[order]
    if X.dtype == np.float64 and X.flags.c_contiguous:
        return X if in_place else X.take(order, axis=0)
    out = np.empty((len(order), X.shape[1]))
    for start in range(0, len(order), CHUNK_ROWS):
        out[start : start + CHUNK_ROWS] = X[order[start : start + CHUNK_ROWS]]
    return out


def expanded(X, codes, n_tasks):
    """CSR matrix (n_rows, n_tasks * n_features) that holds row i of a CSR X in the columns of task codes[i].

    It shares the values of X; only the column numbers are its own.
    """
    n_rows, p = X.shape
    offset = np.repeat(codes.astype(np.int64) * p, np.diff(X.indptr))
    indices = X.indices + offset, X.indptr.astype(np.int64)
    return sparse.csr_array((X.data, *indices), shape=(n_rows, n_tasks * p))


def predict_rows(X, codes, W, b):
    """x_i . w_t(i) + b_t(i) for rows in any order, shape (n_samples,)."""
    if len(codes) >= MANY_ROWS and loop_pays(*W.shape) and not sparse.issparse(X):
        return row_products(X, codes, W) + b[codes]
    out = np.empty(X.shape[0])
    for t, rows in blocks(codes):
        out[rows] = X[rows] @ W[t] + b[t]
    return out


def row_products(X, codes, W):
    """x_i . w_t of rows of the tasks t = codes_i, an array X of many tasks."""
    from ._kernels import row_images  # Numba is imported by the first fit that needs it

    codes, W, out = read_only(codes), read_only(W), np.empty(len(codes))

    def fill(at):
        row_images(read_only(X[at].astype(np.float64, copy=False)), codes[at], W, out[at])

    in_blocks(fill, even_blocks(len(codes), X.shape[1]))
    return out
