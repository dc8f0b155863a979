"""Per-task second moments: all that the squared loss needs to know about the data."""

from functools import partial
from numbers import Integral
from operator import add, sub

import numpy as np
from scipy import sparse

from ._batches import Cells, added_folds, folds_of_rows, holds_rows, parts_of_batch
from ._columns import check_features, check_same_names, feature_names_of
from ._data import make_task_data, name_tasks, task_data
from ._inputs import check_numeric_target, check_rows, refuse_size
from ._labels import (
    all_labels,
    check_tasks,
    find_tasks,
    known_labels,
    label_kind,
    plain_labels,
    readable,
)
from ._moment_files import MOMENTS, read_moments, write_arrays
from ._second_moments import TINY, moments, moments_elsewhere, positions_of_rows, times
from ._sklearn import in_memory, is_elsewhere
from ._tasks import check_names, target_names
from ._threads import loop_pays, read_only
from ._warn import warn

EPS = np.finfo(float).eps
ROUNDING = 16 * EPS  # of a mean, relative to it
LOST = 1e-6  # of a variance: what a difference of moments may be off by before it is refused


class TaskStatistics:
    """Mergeable second moments of [1, x, y] for every task.

    For the squared loss these moments determine every model of the library, so that one pass over
    the data (or one pass over each batch, file or worker, added up) is enough:
    ``estimator.fit_statistics(stats)`` gives what ``estimator.fit(X, y, tasks=tasks)`` gives.
    Moments are kept about the mean of each task and merged by the formulas of Chan, Golub &
    LeVeque, so that features with a large offset lose no digits. Tasks are matched by their labels.

    Parameters
    ----------
    tasks : ndarray of shape (n_tasks,)
        Task labels, sorted or in the order of the columns of a 2-D y.
    count : ndarray of shape (n_tasks,)
        Number of labelled rows of positive weight.
    weight : ndarray of shape (n_tasks,)
        Sum of sample weights. A factor that all weights have in common does not matter, unless sums leave
        the range of the numbers, which is refused.
    x_mean, y_mean : ndarray of shape (n_designs, n_features) and (n_tasks,)
        Weighted means. ``n_designs`` is 1 where all tasks share their rows and weights (a complete
        shared design), otherwise ``n_tasks``.
    xx : ndarray of shape (n_designs, n_features, n_features)
        Weighted sums of squares and products of the features about their mean.
    xy, yy : ndarray of shape (n_tasks, n_features) and (n_tasks,)
        The same for features with targets, and of the targets.
    feature_names : ndarray of shape (n_features,), optional
        Names of the columns of X, if it has names. Statistics of other columns, or of the same in another
        order, are neither added nor subtracted.
    folds : sequence of TaskStatistics, optional
        Those of parts of the rows, for cross-validation (see `from_batches`); they are added, subtracted and
        selected along.

    References
    ----------
    Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance,
    The American Statistician 37, https://doi.org/10.1080/00031305.1983.10483115

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import TaskStatistics
    >>> rng = np.random.default_rng(0)
    >>> X, y, tasks = rng.normal(size=(60, 3)), rng.normal(size=60), np.arange(60) % 4
    >>> first = TaskStatistics.from_arrays(X[:30], y[:30], tasks[:30])
    >>> rest = TaskStatistics.from_arrays(X[30:], y[30:], tasks[30:])
    >>> whole = TaskStatistics.from_arrays(X, y, tasks)
    >>> bool(np.allclose((first + rest).xx, whole.xx))
    True
    """

    def __init__(self, tasks, count, weight, x_mean, y_mean, xx, xy, yy, feature_names=None, folds=()):
        self.tasks, self.count, self.weight = tasks, count, weight
        self.x_mean, self.y_mean = x_mean, y_mean
        self.xx, self.xy, self.yy = xx, xy, yy
        self.feature_names, self.folds = feature_names, tuple(folds)

    def __repr__(self):
        rows = int(self.count.sum())
        return f"TaskStatistics(n_tasks={self.n_tasks}, n_features={self.n_features}, n_samples={rows})"

    @property
    def n_tasks(self):
        """Number of tasks."""
        return len(self.tasks)

    @property
    def n_features(self):
        """Number of features."""
        return self.xy.shape[1]

    @classmethod
    def from_arrays(cls, X, y, tasks=None, *, sample_weight=None):
        """Moments of one data set in any of the layouts of `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Moments of an array of the array API on another device, such as a GPU, are formed there.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            2-D: one shared design, NaN for a missing label.
        tasks : array-like of shape (n_samples,), optional
            Task labels of the rows of a 1-D `y`. The columns of a 2-D `y` are called by their names.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), optional

        Returns
        -------
        TaskStatistics

        Raises
        ------
        ValueError
            If an argument is malformed, or sums with these weights leave the range of the numbers.
        """
        names, elsewhere = target_names(y), is_elsewhere(X)
        y, tasks, sample_weight = map(in_memory, (y, tasks, sample_weight))
        rows = positions_of_rows(X) if elsewhere else X
        data = make_task_data(rows, y, tasks, sample_weight=sample_weight, names=names)
        if elsewhere:
            formed = partial(moments_elsewhere, X)
            return cls._of_designs(data, X.shape[1], formed)._without_noise()._in_units(data)
        return cls.of_rows(data)._with(feature_names=feature_names_of(X))

    @classmethod
    def of_rows(cls, data):
        """Moments of a `TaskData` object under the weights that its rows were given."""
        return cls.from_data(data)._in_units(data)

    def _in_units(self, data):
        """Itself, under the weights that the rows were given: sums of those of `data` are moderate."""
        varies = self._squares() > 0
        if (data.unit != 1).any():
            with np.errstate(over="ignore"):
                for values in (self.weight, self.xx, self.xy, self.yy):
                    values *= data.unit[: len(values)].reshape(-1, *[1] * (values.ndim - 1))
        return self._in_range(varies)

    @classmethod
    def from_batches(cls, batches, *, n_folds=None):
        """Sum of the moments of an iterable of (X, y, tasks) or (X, y, tasks, sample_weight).

        Parameters
        ----------
        batches : iterable of tuple
            Arguments of `from_arrays`, such as `skmtl.read_batches` makes them of files.
        n_folds : int, optional
            Keeps the moments of so many parts of the rows as well, `folds`, for a search of strengths by
            `PathSearchCV.fit_statistics`. The fold of a row follows from a hash of its features and targets:
            it does not depend on the batches, and equal rows are in the same.

        Returns
        -------
        TaskStatistics

        Raises
        ------
        ValueError
            If the iterable is empty, a batch is no such tuple, or batches differ in their columns of X or of
            a 2-D y.
        """
        if n_folds is not None and not (isinstance(n_folds, Integral) and n_folds >= 2):
            raise ValueError(f"n_folds must be an integer of at least 2 or None; got {n_folds!r}.")
        parts, first, shape, told, cells = [None] * (n_folds or 1), None, None, set(), Cells(n_folds or 1)
        for X, y, tasks, weight in map(parts_of_batch, batches):
            names, own = target_names(y), tuple(getattr(y, "shape", np.shape(y))[1:])
            check_same_names("y", first, names)
            first, shape = names if first is None else first, own if shape is None else shape
            if own != shape:
                raise ValueError(f"batches differ in the columns of y: {shape} and {own}, () for a 1-D y.")
            told.add(tasks is not None)
            if len(told) > 1:
                raise ValueError("tasks is None in some batches, and labels in others; give all rows theirs.")
            if not cells.take(X, y, tasks, weight):
                parts = added_folds(parts, cls.of_folds(X, y, tasks, weight, len(parts)))
        return cls.total(added_folds(parts, cls._of_cells(cells)), shape, first)

    @classmethod
    def _of_cells(cls, cells):
        """Moments of each fold of `Cells`, a list with None where there are none."""
        found = [own and cls(*own, feature_names=cells.names)._without_noise() for own in cells.moments()]
        return [own and own._in_range(own._squares() > 0) for own in found]

    @classmethod
    def total(cls, folds, shape=(), names=None):
        """Sum of the moments of folds, which are kept if there are several; None is one without a row.

        `shape` is that of a row of y, `names` are those of its columns, if these have names.
        """
        filled = [fold for fold in folds if fold is not None]
        if not filled:
            raise ValueError("batches is empty; expected at least one (X, y, tasks) with a positive weight.")
        if len(filled) < len(folds):
            raise ValueError(f"n_folds={len(folds)}: {len(folds) - len(filled)} fold(s) have no row.")
        total = sum(filled[1:], start=filled[0])
        if not shape:
            check_names(total.tasks, int(total.count.sum()), None)
        if shape and total.n_tasks < shape[0]:
            raise ValueError(f"y has labels in {total.n_tasks} of {shape[0]} columns: leave the others out.")
        if shape and names is not None and total.tasks.tolist() != names.tolist():
            total = total._on(names)._with(feature_names=total.feature_names)  # in the order of the columns
        return total._with(folds=tuple(filled) if len(folds) > 1 else ())

    @classmethod
    def of_folds(cls, X, y, tasks, weight, n_folds):
        """Moments of the rows of each fold of a batch, a list with None where there are none."""
        if not holds_rows(X, weight):
            return [None] * n_folds
        if n_folds == 1 and len(getattr(y, "shape", np.shape(y))) < 2:
            return [cls.from_arrays(X, y, tasks, sample_weight=weight)]
        X, y, tasks, weight = map(in_memory, (X, y, tasks, weight))
        names, columns = feature_names_of(X), target_names(y)
        X = check_features(X, accept_sparse="csr", dtype=np.float64)
        y = check_numeric_target(y)
        weight = check_rows(X, y, weight)[0]
        fold, found = folds_of_rows(X, y, n_folds), []
        labels, codes = name_tasks(y, tasks, weight, columns)
        for k in range(n_folds):
            rows = fold == k
            if weight is not None:
                rows &= weight.reshape(len(y), -1).any(axis=1)
            own = None
            if rows.any():
                parts = np.flatnonzero(rows), X, y, codes, weight
                own = cls.of_some(*parts, None, labels) if y.ndim == 1 else cls._of_labelled(*parts, labels)
            found.append(own and own._with(feature_names=names))
        return found

    @classmethod
    def of_some(cls, at, X, y, codes, weight, offset, tasks):
        """Moments of the rows at some positions, of the tasks that have one of positive weight there."""
        at = at if weight is None or weight.ndim == 2 else at[weight[at] > 0]
        if not len(at):
            raise ValueError("no row has a positive weight.")
        rows = (None if own is None else own[at] for own in (X, y, codes, weight, offset))
        X, y, codes, weight, offset = rows
        if codes is not None:
            present, codes = np.unique(codes, return_inverse=True)
            tasks = tasks[present]
        return cls.of_rows(task_data(X, y, codes, weight, offset, None, tasks))

    @classmethod
    def _of_labelled(cls, at, X, y, codes, weight, columns):
        """Moments of rows of positive weight, of the columns of y that have a label there, if any."""
        labelled = ~np.isnan(y[at])
        if weight is not None:
            labelled &= weight[at].reshape(len(at), -1) > 0
        used = labelled.any(axis=0)
        weight = weight[:, used] if weight is not None and weight.ndim == 2 else weight
        return cls.of_some(at, X, y[:, used], codes, weight, None, columns[used]) if used.any() else None

    @classmethod
    def from_data(cls, data, columns=None):
        """Moments of a `TaskData` object under its row weights, of all or some of the features.

        Of targets less the offset, if there is one: the squared loss sees nothing else.
        """
        refuse_size((data.n_features,), "a row of X")
        data = (data if columns is None else data.select(columns)).without_offset()
        T, D, p = data.n_tasks, data.n_designs, data.n_features
        refuse_size((D, p, p), "the second moments of X")
        if data.indptr is not None and loop_pays(T, p) and not sparse.issparse(data.X):
            stats = cls._of_no_rows(data.tasks, D, p)
            stats._add_sorted_rows(data)
            return stats._without_noise()
        return cls._of_designs(data, p, moments)._without_noise()

    @classmethod
    def _of_designs(cls, data, n_features, formed):
        """Moments by formed(X, Y, weight, plain) of one design after the other."""
        stats = cls._of_no_rows(data.tasks, data.n_designs, n_features)
        plain = (data.row_weight == 1).all()
        for d, (X, weight, Y, at) in enumerate(data.designs()):
            stats.count[at], stats.weight[at] = np.count_nonzero(weight), weight.sum()
            found = formed(X, Y, weight, plain)
            stats.x_mean[d], stats.y_mean[at], stats.xx[d], stats.xy[at], stats.yy[at] = found
        return stats

    @classmethod
    def _of_no_rows(cls, tasks, D, p):
        T = len(tasks)
        return cls(tasks, *map(np.zeros, (T, T, (D, p), T, (D, p, p), (T, p), T)))

    def _add_sorted_rows(self, data):
        """Fill in the moments of many small tasks."""
        from ._kernels import task_moments  # Numba is imported by the first fit that needs it

        self.count[:] = data.task_sums((data.row_weight != 0).astype(float))
        self.weight[:] = data.task_sums(data.row_weight)
        X, y, weight = map(read_only, (data.X, data.y, data.row_weight))
        filled = self.x_mean, self.y_mean, self.xx, self.xy, self.yy
        data.in_blocks(lambda t, bounds: task_moments(X, y, weight, bounds, *(own[t] for own in filled)))

    def _without_noise(self):
        """The moments, zero where a feature or a target varies by no more than the rounding of its mean."""
        weight, D = ROUNDING * np.sqrt(self.weight), len(self.xx)
        noise = _root(np.einsum("djj->dj", self.xx)) <= weight[:D, None] * np.abs(self.x_mean)
        if noise.any():
            d, j = np.nonzero(noise)
            self.xx[d, j], self.xx[d, :, j] = 0.0, 0.0
            self.xy[d if self.n_tasks == D else slice(None), j] = 0.0
        noise = _root(self.yy) <= weight * np.abs(self.y_mean)
        if noise.any():
            self.yy[noise], self.xy[noise] = 0.0, 0.0
        return self

    def _with(self, **changes):
        """The same but for some fields."""
        other = object.__new__(type(self))
        other.__dict__.update({**self.__dict__, "folds": (), **changes})
        return other

    def _squares(self):
        """Sums of squares about the mean, of every feature and of the targets, (n_tasks, n_features + 1)."""
        squares = np.broadcast_to(np.einsum("djj->dj", self.xx), self.xy.shape)
        return np.column_stack([squares, self.yy])

    def _named(self, chosen):
        """Some features and the targets in words, chosen (n_features + 1,)."""
        x = np.flatnonzero(chosen[:-1])[:5]
        x = (x if self.feature_names is None else self.feature_names[x]).tolist()
        return " and ".join(([f"column(s) {x} of X"] if x else []) + (["y"] if chosen[-1] else []))

    def _in_range(self, varies):
        """Itself; ValueError where sums leave the range of the numbers, varies (n_tasks, n_features + 1)."""
        squares = self._squares()
        bad = ~np.isfinite(self.weight) | (~np.isfinite(squares) | (varies & (squares < TINY))).any(axis=1)
        if bad.any():
            raise ValueError(
                f"sample_weight: the weights of the task(s) {readable(self.tasks[bad][:5])} sum to "
                f"{self.weight[bad][0]:.1g}, and their sums with squares of X and y are no numbers in double "
                "precision. Only ratios of weights count: divide those of all batches by the same number."
            )
        return self

    def shifted(self, x_offset, y_offset):
        """Moments of x - x_offset and y - y_offset."""
        return self._with(x_mean=self.x_mean - x_offset, y_mean=self.y_mean - y_offset)

    def turned(self, R):
        """Moments of the features X R, R (n_features, n_features) or a vector, its diagonal."""
        xx = self.xx * np.outer(R, R) if R.ndim == 1 else R.T @ self.xx @ R
        return self._with(x_mean=times(R, self.x_mean), xx=xx, xy=times(R, self.xy), feature_names=None)

    def select(self, columns):
        """Moments of some of the features."""
        names = self.feature_names
        return self._with(
            x_mean=self.x_mean[:, columns], xx=self.xx[:, columns][:, :, columns], xy=self.xy[:, columns],
            feature_names=None if names is None else names[columns],
            folds=tuple(fold.select(columns) for fold in self.folds),
        )  # fmt: skip

    def of_tasks(self, tasks):
        """Moments of some of the tasks.

        Parameters
        ----------
        tasks : array-like of shape (n_chosen,)
            Their labels.

        Returns
        -------
        TaskStatistics
            In the order of `tasks` of these statistics; of folds those with rows of any of them.

        Raises
        ------
        ValueError
            If a label is not there.
        """
        if isinstance(tasks, str) or not np.ndim(tasks):
            raise ValueError(f"tasks must be a sequence of labels, such as [{tasks!r}]; got {tasks!r:.100}.")
        if not len(tasks):
            raise ValueError("tasks is empty; expected the labels of some tasks.")
        labels = check_tasks(tasks, len(tasks))
        if label_kind(labels) == "booleans" != label_kind(self.tasks):
            raise ValueError("tasks must hold labels; got booleans, of a mask give statistics.tasks[mask].")
        at = find_tasks(labels, self.tasks)
        if (at < 0).any():
            absent = readable(np.asarray(tasks)[at < 0][:5])
            raise ValueError(f"there are no statistics of the tasks {absent}.")
        chosen = np.zeros(self.n_tasks, dtype=bool)
        chosen[at] = True
        folds = (fold._keep(chosen[find_tasks(fold.tasks, self.tasks)], empty=None) for fold in self.folds)
        return self._keep(chosen)._with(folds=tuple(fold for fold in folds if fold is not None))

    # --- files ---

    def save(self, path):
        """Write the moments to a file of NumPy, ``.npz``.

        Parameters
        ----------
        path : str, path-like or file

        Raises
        ------
        TypeError
            If the labels of the tasks are objects; such statistics can be pickled.
        """
        labels = plain_labels(self.tasks)
        if labels.dtype == object or labels.ndim > 1:
            raise TypeError(
                "save writes tasks whose labels are numbers, text or dates of NumPy; got objects of type "
                f"{type(self.tasks[0]).__name__}. Pickle the statistics."
            )
        stored = {"n_folds": len(self.folds)}
        if self.feature_names is not None:
            stored["feature_names"] = self.feature_names.astype(str)
        for prefix, stats in [("", self), *((f"fold{k}_", fold) for k, fold in enumerate(self.folds))]:
            stored[f"{prefix}tasks"] = plain_labels(stats.tasks)
            stored |= {prefix + name: getattr(stats, name) for name in MOMENTS}
        write_arrays(path, stored)

    @classmethod
    def load(cls, path):
        """Moments that `save` has written.

        Parameters
        ----------
        path : str, path-like or file

        Returns
        -------
        TaskStatistics

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        each, names = read_moments(path)
        whole, *folds = (cls(**fields, feature_names=names) for fields in each)
        return whole._with(folds=tuple(folds))

    def __add__(self, other):
        """Moments of the rows of both."""
        a, b = self._aligned(other, all_labels)
        weight = a.weight + b.weight
        cross = a.weight * (b.weight / weight)
        apart, rounding = _rounding_of_means(a, b)
        varies = (a._squares() > 0) | (b._squares() > 0) | ((cross > 0)[:, None] & (apart > rounding))
        found = _merge(a, b, weight, cross, 1.0)._without_noise()._in_range(varies)
        return found._with(folds=self._by_fold(other, add))

    def __radd__(self, other):
        """The same for `sum`, which begins with zero."""
        return self if isinstance(other, Integral) and other == 0 else NotImplemented

    def __sub__(self, other):
        """Moments of the rows of `self` that are not in `other`; tasks left without rows vanish.

        Refused where `other` cannot be a part of `self`, and where the rows taken away are so much larger
        than the others that no digits would be left.
        """
        a, b = self._aligned(other, known_labels)
        if (b.count > a.count).any():
            raise ValueError("cannot subtract statistics with more rows of a task than there are.")
        gone, off = a.count == b.count, b.weight - a.weight
        if (np.where(gone, np.abs(off), off) > 1e-9 * a.weight).any():
            raise ValueError(
                "cannot subtract statistics of a greater weight of a task than there is, or of another with "
                "all its rows."
            )
        weight = np.where(gone, a.weight, -off)
        if (weight < EPS / LOST * a.weight).any():
            raise ValueError(
                "cannot subtract these statistics: in some task the rows taken away weigh so much more than "
                "those left that rounding would decide. Add up the statistics of the rows that stay."
            )
        cross = np.where(gone, a.weight, a.weight * (b.weight / weight))
        left = _merge(a, b, weight, cross, -1.0)
        _check_part(a, b, left, cross, gone)
        a, left = a._keep(~gone), left._without_noise()._in_range(False)._keep(~gone)
        _check_digits(a, left)
        # negative by rounding only
        return left._with(yy=np.maximum(left.yy, 0.0), folds=self._by_fold(other, sub))

    def _by_fold(self, other, combine):
        """The folds of both, combined one by one."""
        one, two = self.folds, other.folds
        if len(one) != len(two):
            raise ValueError(
                f"one of two statistics has {len(one)} folds and the other {len(two)}: both need as many."
            )
        return tuple(combine(a, b) for a, b in zip(one, two, strict=True))

    def _aligned(self, other, join):
        """Both on the tasks that `join` makes of theirs, and with the names of columns that either has."""
        if not isinstance(other, TaskStatistics):
            raise TypeError(f"expected TaskStatistics, got {type(other).__name__}.")
        if other.n_features != self.n_features:
            raise ValueError(
                f"statistics of {self.n_features} and of {other.n_features} features do not add up."
            )
        names = self.feature_names, other.feature_names
        check_same_names("X", *names)
        if (names[0] is None) != (names[1] is None):
            warn("only one of two statistics names the columns of X; the other is taken to have the same.")
        tasks, names = join(self.tasks, other.tasks), names[1] if names[0] is None else names[0]
        shared = all(len(one.xx) == 1 and np.array_equal(one.tasks, tasks) for one in (self, other))
        return [(one if shared else one._on(tasks))._with(feature_names=names) for one in (self, other)]

    def apart(self):
        """The same with moments of its own for every task, also of one design."""
        return self._on(self.tasks)

    def _on(self, tasks):
        """The same moments on a larger set of tasks (zeros where there is no row)."""
        if len(self.xx) == len(tasks) and np.array_equal(self.tasks, tasks):
            return self
        out, at = self._of_no_rows(tasks, len(tasks), self.n_features), find_tasks(self.tasks, tasks)
        for name in MOMENTS:
            getattr(out, name)[at] = getattr(self, name)
        return out

    def _keep(self, left, empty=ValueError):
        """Moments of some of the tasks; of none an error, or `empty`."""
        if left.all():
            return self
        if not left.any():
            if empty is None:
                return None
            raise ValueError("subtracting leaves no row of any task.")
        moments = {name: getattr(self, name) for name in MOMENTS}
        moments = {name: v[left] if len(v) == len(left) else v for name, v in moments.items()}
        return self._with(tasks=self.tasks[left], **moments)


def _root(squares):
    """Root of sums of squares, which rounding may have left below zero."""
    return np.sqrt(np.maximum(squares, 0.0))


def _rounding_of_means(a, b):
    """Differences of the means of features and targets, and how large rounding may be, (n_tasks, p + 1)."""
    one, other = (np.column_stack([np.broadcast_to(s.x_mean, s.xy.shape), s.y_mean]) for s in (a, b))
    return np.abs(one - other), ROUNDING * np.maximum(np.abs(one), np.abs(other))


def _check_part(whole, part, left, cross, gone):
    """Raise where no rows have the sums of squares that are left: `part` is no part of `whole`."""
    before, after = whole._squares(), left._squares()
    noise = np.sqrt(cross)[:, None] * _rounding_of_means(whole, part)[1]
    with np.errstate(over="ignore"):
        slack = EPS / LOST * before + noise * (noise + 2 * np.sqrt(before))
    wrong = (after < -slack) | (gone[:, None] & (after > slack))
    if wrong.any():
        raise ValueError(
            "cannot subtract these statistics, which are no part of the others: no rows have the sums of "
            f"squares that would be left in the task(s) {readable(whole.tasks[wrong.any(axis=1)][:5])} for "
            f"{whole._named(wrong.any(axis=0))}, such as {after[wrong][0]:.3g}."
        )


def _check_digits(whole, left):
    """Raise where the variances that are left of `whole` are about its rounding errors."""
    before, after = (stats._squares() / left.weight[:, None] for stats in (whole, left))
    off = (EPS * before).max(axis=0) > LOST * after.max(axis=0)  # a column may be constant in some tasks
    if off.any():
        raise ValueError(
            f"cannot subtract these statistics: in {left._named(off)} the rows taken away vary so much "
            "more than those left that rounding would decide. Add up the statistics of the rows that stay."
        )


def _merge(a, b, weight, cross, sign):
    """a + sign * b for aligned statistics; `cross` weighs the squared difference of the means."""
    D, share = len(a.xx), sign * (b.weight / weight)
    dx, dy = b.x_mean - a.x_mean, b.y_mean - a.y_mean
    with np.errstate(over="ignore", invalid="ignore"):
        xx = (cross[:D, None] * dx)[:, :, None] * dx[:, None, :]
        xx += b.xx
        x_mean, y_mean = a.x_mean + share[:D, None] * dx, a.y_mean + share * dy
        xx = (np.add if sign > 0 else np.subtract)(a.xx, xx, out=xx)
        xy = a.xy + sign * b.xy + sign * (cross * dy)[:, None] * dx
        count, yy = a.count + sign * b.count, a.yy + sign * b.yy + sign * cross * dy**2
    return a._with(count=count, weight=weight, x_mean=x_mean, y_mean=y_mean, xx=xx, xy=xy, yy=yy)
