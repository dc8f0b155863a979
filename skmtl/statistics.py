"""Per-task second moments: all that the squared loss needs to know about the data."""

from copy import copy

import numpy as np
from scipy import sparse

from ._data import make_task_data
from ._inputs import refuse_size
from ._labels import find_tasks

CHUNK_NUMBERS = 2**18  # of centred features at a time: they stay in the cache between two products
ROUNDING = 16 * np.finfo(float).eps  # of a mean, relative to it
COMPILED_TASKS = 500  # from here on a compiled loop over the tasks pays for loading Numba
COMPILED_FEATURES = 100  # up to here it beats BLAS called for each task
LOST = 1e-6  # of a variance: what a difference of moments may be off by before it is refused


def loop_pays(n_tasks, n_features):
    """Whether a compiled loop over the tasks is the way to handle a small matrix of each."""
    return n_tasks >= COMPILED_TASKS and n_features <= COMPILED_FEATURES


class TaskStatistics:
    """Mergeable second moments of [1, x, y] for every task.

    For the squared loss these moments determine every model of the library, so that one pass over
    the data (or one pass over each batch, file or worker, added up) is enough:
    ``estimator.fit_statistics(stats)`` gives what ``estimator.fit(X, y, tasks=tasks)`` gives.
    Moments are kept about the mean of each task and merged by the formulas of Chan, Golub &
    LeVeque, so that features with a large offset lose no digits.

    Parameters
    ----------
    tasks : ndarray of shape (n_tasks,)
        Sorted task labels.
    count : ndarray of shape (n_tasks,)
        Number of labelled rows of positive weight.
    weight : ndarray of shape (n_tasks,)
        Sum of sample weights.
    x_mean, y_mean : ndarray of shape (n_designs, n_features) and (n_tasks,)
        Weighted means. ``n_designs`` is 1 where all tasks share their rows and weights (a complete
        shared design), otherwise ``n_tasks``.
    xx : ndarray of shape (n_designs, n_features, n_features)
        Weighted sums of squares and products of the features about their mean.
    xy, yy : ndarray of shape (n_tasks, n_features) and (n_tasks,)
        The same for features with targets, and of the targets.

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

    def __init__(self, tasks, count, weight, x_mean, y_mean, xx, xy, yy):
        self.tasks, self.count, self.weight = tasks, count, weight
        self.x_mean, self.y_mean = x_mean, y_mean
        self.xx, self.xy, self.yy = xx, xy, yy

    def __repr__(self):
        return (
            f"TaskStatistics(n_tasks={self.n_tasks}, n_features={self.n_features}, "
            f"n_samples={int(self.count.sum())})"
        )

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
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            2-D: one shared design, NaN for a missing label.
        tasks : array-like of shape (n_samples,), optional
            Task labels of the rows of a 1-D `y`.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), optional

        Returns
        -------
        TaskStatistics
        """
        data = make_task_data(X, y, tasks, sample_weight=sample_weight)
        return cls.from_data(data)._times(data.unit)

    @classmethod
    def from_batches(cls, batches):
        """Sum of the moments of an iterable of (X, y, tasks) or (X, y, tasks, sample_weight).

        Raises
        ------
        ValueError
            If the iterable is empty or the batches differ in their number of features.
        """
        total = None
        for X, y, tasks, *weight in batches:
            stats = cls.from_arrays(X, y, tasks, sample_weight=weight[0] if weight else None)
            total = stats if total is None else total + stats
        if total is None:
            raise ValueError("batches is empty; expected at least one (X, y, tasks).")
        return total

    @classmethod
    def from_data(cls, data, columns=slice(None)):
        """Moments of a `TaskData` object under its row weights, of all or some of the features."""
        T, D = data.n_tasks, data.n_designs
        refuse_size((data.n_features,), "a row of X")
        p = len(np.arange(data.n_features)[columns])
        refuse_size((D, p, p), "the second moments of X")
        stats = cls(
            tasks=data.tasks, count=np.zeros(T), weight=np.zeros(T),
            x_mean=np.zeros((D, p)), y_mean=np.zeros(T),
            xx=np.zeros((D, p, p)), xy=np.zeros((T, p)), yy=np.zeros(T),
        )  # fmt: skip
        if data.indptr is not None and loop_pays(T, p) and not sparse.issparse(data.X):
            stats._from_sorted_rows(data, columns)
            return stats._without_noise()
        for d, (X, weight, Y, tasks) in enumerate(data.designs()):
            stats.count[tasks] = np.count_nonzero(weight)
            stats.weight[tasks] = weight.sum()
            stats.x_mean[d], stats.y_mean[tasks], stats.xx[d], xy, stats.yy[tasks] = moments(
                X, Y, weight, columns
            )
            stats.xy[tasks] = xy.T
        return stats._without_noise()

    def _from_sorted_rows(self, data, columns):
        """Fill in the moments of many small tasks."""
        from ._kernels import task_moments  # Numba is imported by the first fit that needs it

        self.count[:] = np.add.reduceat(data.row_weight != 0, data.indptr[:-1], dtype=float)
        self.weight[:] = data.task_sums(data.row_weight)
        task_moments(
            *map(_read_only, (data.X[:, columns], data.y, data.row_weight, data.indptr)),
            self.x_mean, self.y_mean, self.xx, self.xy, self.yy,
        )  # fmt: skip

    def _without_noise(self):
        """The moments, zero where a feature varies by no more than the rounding of its mean."""
        weight, size = self.weight[: len(self.xx), None], np.abs(self.x_mean)
        noise = np.einsum("djj->dj", self.xx) <= weight * (ROUNDING * size) ** 2
        if noise.any():
            d, j = np.nonzero(noise)
            self.xx[d, j], self.xx[d, :, j] = 0.0, 0.0
            self.xy[d if len(self.xx) == self.n_tasks else slice(None), j] = 0.0
        return self

    def _times(self, unit):
        """Moments with the weights of every task times a number."""
        if (unit == 1).all():
            return self
        design = unit[: len(self.xx), None, None]
        return TaskStatistics(
            self.tasks, self.count, self.weight * unit, self.x_mean, self.y_mean,
            self.xx * design, self.xy * unit[:, None], self.yy * unit,
        )  # fmt: skip

    def shifted(self, x_offset, y_offset):
        """Moments of x - x_offset and y - y_offset."""
        other = copy(self)
        other.x_mean, other.y_mean = self.x_mean - x_offset, self.y_mean - y_offset
        return other

    def select(self, columns):
        """Moments of some of the features."""
        return TaskStatistics(
            self.tasks, self.count, self.weight, self.x_mean[:, columns], self.y_mean,
            self.xx[:, columns][:, :, columns], self.xy[:, columns], self.yy,
        )  # fmt: skip

    def __add__(self, other):
        """Moments of the rows of both."""
        self._check_mergeable(other)
        tasks = _all_labels(self.tasks, other.tasks)
        expand = not (self._shares(tasks) and other._shares(tasks))
        a, b = self._on(tasks, expand), other._on(tasks, expand)
        weight = a.weight + b.weight
        return _merge(a, b, weight, a.weight * b.weight / weight, sign=1.0)

    def __sub__(self, other):
        """Moments of the rows of `self` that are not in `other`; tasks left without rows vanish.

        Refused where the rows taken away are so much larger than the others that no digits would be left.
        """
        self._check_mergeable(other)
        absent = other.tasks[find_tasks(other.tasks, self.tasks) < 0]
        if len(absent):
            raise ValueError(
                f"cannot subtract statistics of tasks that are not there: {absent.tolist()[:5]}."
            )
        expand = not (self._shares(self.tasks) and other._shares(self.tasks))
        a, b = self._on(self.tasks, expand), other._on(self.tasks, expand)
        if (b.count > a.count).any():
            raise ValueError("cannot subtract statistics with more rows of a task than there are.")
        if (b.weight > a.weight * (1 + 1e-9)).any():
            raise ValueError("cannot subtract statistics of a greater weight of a task than there is.")
        left = a.count > b.count
        a, b = a._keep(left), b._keep(left)
        weight = a.weight - b.weight
        left = _merge(a, b, weight, a.weight * b.weight / weight, sign=-1.0)
        _check_digits(a, left)
        return left

    def _check_mergeable(self, other):
        if not isinstance(other, TaskStatistics):
            raise TypeError(f"expected TaskStatistics, got {type(other).__name__}.")
        if other.n_features != self.n_features:
            raise ValueError(
                f"statistics of {self.n_features} and of {other.n_features} features do not add up."
            )

    def _shares(self, tasks):
        """Whether one design serves all of `tasks`."""
        return len(self.xx) == 1 and np.array_equal(self.tasks, tasks)

    def _on(self, tasks, expand):
        """The same moments on a larger set of tasks (zeros where there is no row)."""
        if not expand:
            return self
        at, T, p = find_tasks(self.tasks, tasks), len(tasks), self.n_features

        def place(values, *shape):
            out = np.zeros((T, *shape))
            out[at] = values
            return out

        return TaskStatistics(
            tasks, place(self.count), place(self.weight), place(self.x_mean, p), place(self.y_mean),
            place(self.xx, p, p), place(self.xy, p), place(self.yy),
        )  # fmt: skip

    def _keep(self, left):
        """Moments of some of the tasks."""
        if left.all():
            return self
        if not left.any():
            raise ValueError("subtracting leaves no row of any task.")
        d = left if len(self.xx) == len(left) else slice(None)
        return TaskStatistics(
            self.tasks[left], self.count[left], self.weight[left], self.x_mean[d], self.y_mean[left],
            self.xx[d], self.xy[left], self.yy[left],
        )  # fmt: skip


def _all_labels(a, b):
    """The labels of both, sorted; each must be itself among them, not its text or the nearest float."""
    try:
        both = np.union1d(a, b)
    except TypeError:  # labels that cannot be sorted
        both = np.array([])
    if (find_tasks(a, both) < 0).any() or (find_tasks(b, both) < 0).any():
        raise ValueError(
            f"the tasks of the two are labels of different kinds, {a[:3].tolist()} ({a.dtype}) and "
            f"{b[:3].tolist()} ({b.dtype}), which have no type in common; use labels of one type."
        )
    return both


def _check_digits(whole, left):
    """Raise where the variances that are left of `whole` are about its rounding errors."""
    eps = np.finfo(np.float64).eps
    D, lost = len(left.xx), []
    for name, before, after, weight in (
        ("X", *(np.diagonal(stats.xx, axis1=1, axis2=2) for stats in (whole, left)), left.weight[:D]),
        ("y", whole.yy[:, None], left.yy[:, None], left.weight),
    ):
        variance = (after / weight[:, None]).max(axis=0)  # of all tasks: a column may be constant in some
        off = (eps * before / weight[:, None]).max(axis=0) > LOST * variance
        if off.any():
            lost.append("y" if name == "y" else f"column(s) {np.flatnonzero(off)[:5].tolist()} of X")
    if lost:
        raise ValueError(
            f"cannot subtract these statistics: in {' and '.join(lost)} the rows taken away vary so much "
            "more than those left that rounding would decide. Add up the statistics of the rows that stay."
        )


def _merge(a, b, weight, cross, sign):
    """a + sign * b for aligned statistics; `cross` weighs the squared difference of the means."""
    D = len(a.xx)
    w, c, wa, wb = weight[:D, None], cross[:D, None], a.weight[:D, None], b.weight[:D, None]
    dx, dy = a.x_mean - b.x_mean, a.y_mean - b.y_mean
    return TaskStatistics(
        tasks=a.tasks,
        count=a.count + sign * b.count,
        weight=weight,
        x_mean=(wa * a.x_mean + sign * wb * b.x_mean) / w,
        y_mean=(a.weight * a.y_mean + sign * b.weight * b.y_mean) / weight,
        xx=a.xx + sign * b.xx + sign * (c * dx)[:, :, None] * dx[:, None, :],
        xy=a.xy + sign * b.xy + sign * (cross * dy)[:, None] * dx,
        yy=a.yy + sign * b.yy + sign * cross * dy**2,
    )._without_noise()


def _read_only(A):
    """A contiguous view that cannot be written to: what the user passed may be such, and it is a type."""
    view = np.ascontiguousarray(A).view(np.ndarray)
    view.flags.writeable = False
    return view


def moments(X, Y, weight, columns=slice(None)):
    """Weighted means of X[:, columns] and Y, and their centred second moments xx, xy, yy."""
    total = max(weight.sum(), np.finfo(float).tiny)  # a loss that is flat everywhere weighs nothing
    x_mean, y_mean = (weight @ X)[columns] / total, (weight @ Y) / total
    if sparse.issparse(X):
        found = _sparse_moments(X[:, columns], Y - y_mean, weight, x_mean)
        if found is not None:
            return x_mean, y_mean, *found
    else:  # to the last digit where a column is constant
        same = (X[0] == X[-1])[columns]
        if same.any():
            same = np.flatnonzero(same)
            same = same[(X[:, np.arange(X.shape[1])[columns][same]] == X[0, columns][same]).all(axis=0)]
            x_mean[same] = X[0, columns][same]
    p, k = len(x_mean), Y.shape[1]
    xx, yx, yy = np.zeros((p, p)), np.zeros((k, p)), np.zeros(k)
    plain, step = (weight == 1).all(), max(CHUNK_NUMBERS // max(p, 1), 1)
    room = np.empty((min(step, X.shape[0]), p))
    for start in range(0, X.shape[0], step):
        rows = slice(start, start + step)
        x, y = X[rows][:, columns], Y[rows] - y_mean
        x = np.subtract(x.toarray() if sparse.issparse(x) else x, x_mean, out=room[: len(y)])
        if not plain:
            root = np.sqrt(weight[rows, None])
            x, y = np.multiply(x, root, out=x), y * root
        xx += x.T @ x
        yx += y.T @ x
        yy += np.einsum("ik,ik->k", y, y)
    return x_mean, y_mean, xx, yx.T, yy


def _sparse_moments(X, Y, weight, x_mean):
    """xx, xy and yy for centred Y; X would fill, so that its means are subtracted afterwards.

    None where that costs too many digits: columns with hardly a zero and a large offset.
    """
    Xw = X.multiply(weight[:, None]).tocsr()
    xx, offset = (X.T @ Xw).toarray(), weight.sum() * x_mean**2
    left = np.diag(xx) - offset
    if (left < 1e-6 * offset).any():
        return None
    return xx - weight.sum() * np.outer(x_mean, x_mean), Xw.T @ Y, weight @ Y**2
