"""Cross-validation splits in which every fold holds every task."""

import warnings
from collections.abc import Mapping
from inspect import signature
from numbers import Integral, Real

import numpy as np
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, KFold, StratifiedKFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from .._columns import values_of_column
from .._inputs import as_target, check_lengths, refuse_class
from .._labels import (
    can_be_numbers,
    check_tasks,
    encode_tasks,
    for_each_task,
    missing_labels,
    plain_labels,
    readable,
    rows_of_tasks,
)
from .._sklearn import num_samples, safe_indexing
from .._tasks import check_names, refuse_two_sources, target_names, task_labels
from .._warn import warn

__all__ = ["TaskKFold", "TaskShuffleSplit", "TaskTimeSplit"]

N_FOLDS = 5  # by default


class _TaskSplitter:
    """Splits rows of which it knows the tasks; a subclass has the `_sets`."""

    __metadata_request__split = {"tasks": True}

    def split(self, X, y=None, groups=None, tasks=None):
        """Generate the row numbers of the training and test sets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data; only its length and its task column matter.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Target; its classes matter with ``stratify=True``, to `TaskKFold` the missing labels of a 2-D
            `y`, else its length only.
        groups : object, default=None
            Ignored, there for compatibility.
        tasks : array-like of shape (n_samples,), default=None
            Task of each row.

        Yields
        ------
        train : ndarray of int
            Rows of the training set.
        test : ndarray of int
            Rows of the test set.

        Raises
        ------
        ValueError
            If a task has too few rows for both sets, tasks are given in two ways, or ``stratify=True``
            finds no classes.
        """
        if groups is not None:
            warn(
                f"The groups parameter is ignored by {type(self).__name__}: tasks are named by task_column= "
                "or passed as tasks=; without them all rows are one task.",
            )
        names, codes = self._tasks(X, y, groups, tasks)
        for training, test in self._sets(X, y, names, codes):
            yield np.flatnonzero(training), np.flatnonzero(test)

    def get_n_splits(self, X=None, y=None, groups=None, tasks=None):
        """Return the number of splits; the arguments are ignored."""
        return self.n_splits

    def _tasks(self, X, y, groups, tasks):
        """Names of the tasks, and the position of each row's task among them."""
        n_samples, column, name = num_samples(X), self.task_column, type(self).__name__
        refuse_two_sources(tasks, column)
        if tasks is None and column is None and groups is None and np.ndim(y) < 2:
            raise ValueError(
                f"{name} does not know the task of each row. Give {name}(task_column=...) the column of X "
                "that holds it, or pass tasks= to split: PathSearchCV takes fit(X, y, tasks=...), as a step "
                "of a Pipeline fit(X, y, step__tasks=...), other cross-validation needs "
                "sklearn.set_config(enable_metadata_routing=True). Rows without tasks are split by KFold; "
                "only a y with one column per task needs no labels."
            )
        if column is not None:
            tasks = task_labels(X, column)
        labels = np.zeros(n_samples, dtype=int) if tasks is None else check_tasks(tasks, n_samples)
        if y is not None:
            check_lengths(X, y)
        names, codes = encode_tasks(labels)
        check_names(names, n_samples, column)
        return names, codes


class _RandomSplitter(_TaskSplitter):
    """Trains on some rows of every task and tests on the others; a subclass draws the training sets."""

    def _sets(self, X, y, names, codes):
        """Masks of the rows of each training set and test set."""
        classes = _classes(y) if self.stratify else np.zeros_like(codes)
        return ((training, ~training) for training in self._training_sets(names, codes, classes, y))

    def _keep(self, task_column, stratify):
        """Parameters that these splitters have."""
        if not isinstance(stratify, (bool, np.bool_)):
            raise ValueError(f"stratify must be True or False; got {stratify!r}.")
        self.task_column, self.stratify = task_column, stratify


class TaskKFold(_RandomSplitter, KFold):
    """K-fold cross-validation in which every training and test fold holds every task.

    The rows of each task are spread evenly over the folds, whatever their targets. Rows sorted by task, the
    usual form of such data, would give plain `KFold` test folds of unseen tasks.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    task_column : str or int, default=None
        Column of X (name or position) that holds the task of each row.
    shuffle : bool, default=False
        Whether to shuffle the rows of each task before they are split. Without it each test fold holds
        neighbouring rows of a task, which is what `KFold` does: right for rows in the order of time, wrong
        for rows sorted by their target.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling.
    small_tasks : {"error", "train", "test"}, default="error"
        What to do with a task of fewer rows than folds: refuse it, keep its rows in every training set, so
        that it is never tested, or test each of them in a fold of its own, but that of a single row.
    stratify : bool, default=False
        Spread the classes evenly inside each task as well. It makes scores too good, see Notes.

    See Also
    --------
    TaskShuffleSplit : A given number of training rows per task.

    Notes
    -----
    `split` takes the tasks from `task_column`, or as ``split(X, y, tasks=tasks)``; under metadata
    routing it requests `tasks` by default. A 1-D `y` with neither is refused.

    ``stratify=True`` leaks the target: the class shares of a task are then the same in its test rows as in
    its training rows, so that a model that knows no more than the share of each task looks good although
    the tasks may not differ at all. Ask for it to keep a rare class in every fold, not to compare models
    with and without tasks or to choose the strength of task intercepts.

    In a 2-D `y` each row belongs to all tasks. Where labels are missing the rows are dealt out so that the
    labels of each task spread over the folds, tasks with few labels first; a small task is one with a
    single label.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import TaskKFold
    >>> tasks = np.array(["a", "a", "b", "b", "b", "b"])
    >>> for train, test in TaskKFold(2).split(np.zeros((6, 1)), tasks=tasks):
    ...     print(test, tasks[test])
    [0 2 3] ['a' 'b' 'b']
    [1 4 5] ['a' 'b' 'b']
    """

    def __init__(
        self, n_splits=5, *, task_column=None, shuffle=False, random_state=None, small_tasks="error",
        stratify=False,
    ):  # fmt: skip
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)
        if small_tasks not in ("error", "train", "test"):
            raise ValueError(f"small_tasks must be 'error', 'train' or 'test'; got {small_tasks!r}.")
        self.small_tasks = small_tasks
        self._keep(task_column, stratify)

    def _training_sets(self, names, codes, classes, y):
        """Masks of the rows of each training set."""
        missing = missing_labels(as_target(y)) if np.ndim(y) == 2 else np.zeros(1, dtype=bool)
        rows = names, codes, classes
        folds = self._folds_of_labels(~missing) if missing.any() else self._folds_of_rows(*rows)
        return (folds != k for k in range(self.n_splits))

    def _folds_of_rows(self, names, codes, classes):
        """Fold of every row, -1 for those of small tasks that stay in training."""
        counts = np.bincount(codes)
        small = (counts < (2 if self.small_tasks == "test" else self.n_splits))[codes]
        if self.small_tasks == "error" or np.count_nonzero(~small) < self.n_splits:
            advice = "lower n_splits, merge or leave out these tasks, or use TaskShuffleSplit"
            if not small.all():
                advice += "; cv=TaskKFold(..., small_tasks='train') keeps them in training"
            reason = f"n_splits={self.n_splits} needs at least as many rows of each task"
            _check_counts(names, counts, self.n_splits, reason, advice)
        folds = np.full(len(codes), -1, dtype=np.intp)
        folds[~small] = self._folds(codes[~small], classes[~small])
        return folds

    def _folds_of_labels(self, present):
        """Fold of every row of a 2-D y, the labels (n_samples, n_tasks) of each task spread over them."""
        n_samples, n_tasks = present.shape
        single = np.flatnonzero(present.sum(axis=0) == 1)
        if len(single) and self.small_tasks == "error":
            raise ValueError(
                f"y has one label only for the task(s) in column(s) {single.tolist()[:5]}: no split can "
                "both train and test; leave them out, or keep them in training with small_tasks='train'."
            )
        rng = check_random_state(self.random_state)
        order = rng.permutation(n_samples) if self.shuffle else np.arange(n_samples)
        folds = np.full(n_samples, -1, dtype=np.intp)
        size, labels = np.zeros(self.n_splits), np.zeros((self.n_splits, n_tasks))
        order = order[~present[order][:, single].any(axis=1)]  # the others stay in training
        if len(order) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} needs as many rows without a task that has one label only; "
                f"got {len(order)}: lower n_splits, or leave these tasks out."
            )
        for t in np.argsort(present.sum(axis=0), kind="stable"):
            for row in order[present[order, t] & (folds[order] < 0)]:
                k = np.lexsort((size, labels[:, t]))[0]  # the fewest labels of the task, then the fewest rows
                folds[row] = k
                size[k] += 1
                labels[k] += present[row]
        rest = order[folds[order] < 0]
        folds[rest] = np.arange(len(rest)) % self.n_splits
        return folds

    def _folds(self, codes, classes):
        """Fold of every row: dealt out in turn over the rows sorted by task and class.

        All rows have the same class unless `stratify` asks for theirs. scikit-learn's `StratifiedKFold`
        on (task, class) pairs balances the pairs but not the tasks, and refuses pairs with few rows.
        """
        n_samples = len(codes)
        rng = check_random_state(self.random_state)
        tie_break = rng.permutation(n_samples) if self.shuffle else np.arange(n_samples)
        order = np.lexsort((tie_break, classes, codes))
        dealt = np.arange(n_samples) % self.n_splits
        if not self.shuffle:  # neighbouring rows of a cell stay in one fold, as in scikit-learn
            dealt = dealt[np.lexsort((dealt, classes[order], codes[order]))]
        folds = np.empty(n_samples, dtype=np.intp)
        folds[order] = dealt
        return folds


class TaskShuffleSplit(_RandomSplitter, BaseShuffleSplit):
    """Random splits with a given number or share of training rows from each task.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits.
    train_size : float, int or dict of {task: float or int}
        Share in (0, 1) or number of the rows of each task that are drawn for training; the rest
        is the test set. A share is rounded down, but gives at least one row. A mapping states it for
        every task.
    task_column : str or int, default=None
        Column of X (name or position) that holds the task of each row.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.
    stratify : bool, default=False
        Keep the proportions of the classes inside each task, up to rounding. It makes
        scores too good, see `TaskKFold`.

    See Also
    --------
    TaskKFold : Cross-validation in which every row is tested once.

    Notes
    -----
    Tasks are found as in `TaskKFold`. The training rows of a task are drawn at random, all subsets alike.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import TaskShuffleSplit
    >>> tasks = np.repeat(["a", "b"], [4, 8])
    >>> splitter = TaskShuffleSplit(1, train_size=0.25, random_state=0)
    >>> for train, test in splitter.split(np.zeros((12, 1)), tasks=tasks):
    ...     print(tasks[train].tolist(), len(test))
    ['a', 'b', 'b'] 9
    """

    def __init__(self, n_splits=10, *, train_size, task_column=None, random_state=None, stratify=False):
        super().__init__(n_splits, train_size=train_size, random_state=random_state)
        if not isinstance(n_splits, Integral) or n_splits < 1:
            raise ValueError(f"n_splits must be a positive integer; got {n_splits!r}.")
        for size in train_size.values() if isinstance(train_size, Mapping) else [train_size]:
            counts = isinstance(size, Integral) and size >= 1
            if not counts and not (isinstance(size, Real) and 0 < size < 1):
                raise ValueError(f"train_size must be a share in (0, 1) or at least one row; got {size!r}.")
        self._keep(task_column, stratify)

    def _training_sets(self, names, codes, classes, y):
        """Masks of the rows of each training set."""
        counts, size = np.bincount(codes), self.train_size
        if isinstance(size, Mapping):
            sizes = for_each_task(size, names, "train_size", "size")
            least = "more"
        else:
            sizes = [size] * len(names)
            least = f"at least {size + 1 if isinstance(size, Integral) else 2}"
        drawn = [s if isinstance(s, Integral) else int(n * s) for s, n in zip(sizes, counts, strict=True)]
        needed = [s + 1 if isinstance(s, Integral) else 2 for s in sizes]
        reason = f"train_size={size} and one test row need {least} rows of each task"
        _check_counts(names, counts, needed, reason, "lower train_size, merge or leave out these tasks")
        n_train, rng = np.clip(drawn, 1, counts - 1), check_random_state(self.random_state)
        return (self._draw(codes, classes, counts, n_train, rng) for _ in range(self.n_splits))

    def _draw(self, codes, classes, counts, n_train, rng):
        """Training rows as a mask: evenly spaced ones of each task, sorted by class in random order.

        Without classes this is a uniformly random subset; with them each class gets its share up to
        one row, however rare it is.
        """
        order = np.lexsort((rng.permutation(len(codes)), classes, codes))
        training = np.zeros(len(codes), dtype=bool)
        starts = np.cumsum(counts) - counts
        for start, n, m, offset in zip(starts, counts, n_train, rng.uniform(size=len(counts)), strict=True):
            training[order[start + ((np.arange(m) + offset) * n / m).astype(int)]] = True
        return training


class TaskTimeSplit(_TaskSplitter, BaseCrossValidator):
    """Splits forward in time: train on the past of every task, test on what comes next in each.

    The times of each task are cut into ``n_splits + 1`` blocks of about the same number of times, the first
    with what is left over. Split k trains on the first k blocks of every task and tests on the next one, as
    `sklearn.model_selection.TimeSeriesSplit` does with one task.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    task_column : str or int, default=None
        Column of X (name or position) that holds the task of each row.
    time_column : str or int, default=None
        Column of X (name or position) that holds the time of each row: numbers, dates, or text in an order.
        Rows of a task at the same time are on the same side of every split. By default the rows of each task
        are in the order of time. It stays in X: a model that is not to see it must drop it.

    See Also
    --------
    TaskKFold : Random folds, for rows in no order.

    Notes
    -----
    Tasks are found as in `TaskKFold`. A task of ``n_splits`` times or fewer is tested in the last splits, on
    each of its times but the first; one of a single time never. The first is in every training set, so that
    this holds every task. A warning names such tasks.

    Random folds test a model between rows of the same task that it has seen. Where errors of neighbouring
    times are alike, or tasks drift, that is easier than to predict: scores are too good, and strengths and
    models are chosen that forecast badly.

    With a 2-D `y` rows are times for all tasks, each of which needs a label in the first block.

    References
    ----------
    Roberts et al. (2017), Cross-validation strategies for data with temporal, spatial, hierarchical, or
    phylogenetic structure, Ecography 40, https://doi.org/10.1111/ecog.02881

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import TaskTimeSplit
    >>> tasks, year = np.array(list("aaaabbbb")), [[1], [2], [3], [4], [4], [3], [2], [1]]
    >>> for train, test in TaskTimeSplit(3, time_column=0).split(np.array(year), tasks=tasks):
    ...     print(train, test)
    [0 7] [1 6]
    [0 1 6 7] [2 5]
    [0 1 2 5 6 7] [3 4]
    """

    def __init__(self, n_splits=5, task_column=None, time_column=None):
        if not isinstance(n_splits, Integral) or n_splits < 1:
            raise ValueError(f"n_splits must be a positive integer; got {n_splits!r}.")
        self.n_splits, self.task_column, self.time_column = n_splits, task_column, time_column

    def _sets(self, X, y, names, codes):
        """Masks of the rows of each training set and test set."""
        block = self._blocks(X, names, codes)
        if np.ndim(y) == 2:
            first = ~missing_labels(as_target(y))[block == 0]
            if not first.any(axis=0).all():
                columns = np.flatnonzero(~first.any(axis=0)).tolist()
                raise ValueError(
                    f"y has no label for the task(s) in column(s) {columns[:5]} in the first {len(first)} "
                    f"rows in time, on which the first of n_splits={self.n_splits} trains; lower n_splits, "
                    "leave them out, or stack the rows of each task."
                )
        return ((block < k, block == k) for k in range(1, self.n_splits + 1))

    def _blocks(self, X, names, codes):
        """The first split that tests each row, 0 for those that are always in training."""
        time = np.arange(len(codes)) if self.time_column is None else self._times(X)
        order = np.lexsort((time, codes))
        new_task = np.diff(codes[order], prepend=-1) > 0
        rank = np.cumsum((np.diff(time[order], prepend=-1) != 0) | new_task) - 1
        rank -= np.maximum.accumulate(np.where(new_task, rank, 0))  # of the time among those of the task
        n_times = np.zeros(len(names), dtype=np.intp)
        np.maximum.at(n_times, codes[order], rank + 1)
        self._say_small(names, n_times)
        of_row = n_times[codes[order]]
        size = np.maximum(of_row // (self.n_splits + 1), 1)
        block = np.empty(len(codes), dtype=np.intp)
        block[order] = np.where(rank == 0, 0, np.maximum(self.n_splits - (of_row - 1 - rank) // size, 0))
        return block

    def _times(self, X):
        """The time of each row as an integer."""
        values = values_of_column(X, self.time_column, "time_column=")
        if missing_labels(values).any():
            row = int(np.argmax(missing_labels(values)))
            raise ValueError(f"time_column={self.time_column!r} holds no time in row {row}, which needs one.")
        try:
            times, place = np.unique(plain_labels(values), return_inverse=True)
        except TypeError as error:
            raise TypeError(
                f"time_column={self.time_column!r} holds times without an order: {error}."
            ) from None
        if times.dtype.kind in "US":
            self._refuse_numbers_as_text(times)
        return place

    def _refuse_numbers_as_text(self, times):
        """ValueError where sorted texts are numbers in another order."""
        falls = np.diff(times.astype(np.float64)) < 0 if can_be_numbers(times) else np.zeros(1, dtype=bool)
        if falls.any():
            at = int(np.argmax(falls))
            raise ValueError(
                f"time_column={self.time_column!r} holds numbers as text, of which {str(times[at])!r} would "
                f"come before {str(times[at + 1])!r}: give them as numbers."
            )

    def _say_small(self, names, n_times):
        """Warn of tasks that not all splits test; ValueError where none is large enough for the first."""
        small = np.flatnonzero(n_times <= self.n_splits)
        if len(small) == len(names):
            raise ValueError(
                f"n_splits={self.n_splits} needs a task with at least {self.n_splits + 1} times; the most "
                f"are {n_times.max()}. Lower n_splits."
            )
        if len(small):
            warn(
                f"{len(small)} of {len(names)} tasks have fewer times than n_splits + 1 = "
                f"{self.n_splits + 1} ({names[small[:5]].tolist()}): they are tested in the last splits "
                "only, or not at all.",
            )


def held_out_splits(cv, X, y, tasks, random_state, classes, weight=None):
    """Splits of rows by `cv`; by default, and for an int, into 5 or so many shuffled folds of every task.

    Tasks are labels of rows or None, `classes` says whether a y of one task is one of classes. Rows without a
    weight are in no split, and change none.
    """
    rows, given = rows_with_weight(weight, len(y)), not isinstance(cv, Integral | None) | hasattr(cv, "split")
    used = np.isin(np.arange(len(y)), rows)
    if not given and len(rows) < len(y):
        X, y, tasks = safe_indexing(X, rows), y[rows], None if tasks is None else tasks[rows]
    cv = N_FOLDS if cv is None else cv
    if isinstance(cv, Integral) and tasks is None and y.ndim == 1:
        cv = (StratifiedKFold if classes else KFold)(cv, shuffle=True, random_state=random_state)
    elif isinstance(cv, Integral):
        cv = folds_of_tasks(cv, random_state, "test")
    refuse_class(cv, "cv")
    cv = check_cv(cv)
    splits = cv.split(X, y, **({"tasks": tasks} if wants_tasks(cv) and tasks is not None else {}))
    if given:
        return [tuple(np.asarray(part)[used[part]] for part in split) for split in splits]
    try:
        return [(rows[train], rows[test]) for train, test in splits]
    except ValueError as error:  # of the parameter that there is
        raise ValueError(str(error).replace("n_splits", "cv")) from None


def rows_with_weight(weight, n_rows):
    """Positions of the rows that have a weight, for some task: all without weights."""
    return np.flatnonzero(np.ones(n_rows) if weight is None else weight.reshape(n_rows, -1).any(axis=1))


def folds_of_tasks(n_splits, random_state=0, small_tasks="train"):
    """Folds by default: shuffled, as rows of a task are often sorted by their target or class."""
    return TaskKFold(n_splits, shuffle=True, random_state=random_state, small_tasks=small_tasks)


def n_folds_for(y, labels):
    """Number of folds by default: fewer where tasks have few rows."""
    return int(np.clip(np.median(rows_of_tasks(y, labels)), 2, N_FOLDS))


def warn_of_untested(splits, y, labels):
    """Say that tasks have no label in any test set; without labels of rows they are columns of y."""
    tested = np.unique(np.concatenate([test for _, test in splits]))
    if labels is None:
        names, counts = target_names(y), rows_of_tasks(as_target(y)[tested])
        names = np.arange(len(counts)) if names is None else names
    else:
        names, codes = encode_tasks(labels)
        counts = np.bincount(codes[tested], minlength=len(names))
    small = names[counts == 0]
    if len(small):
        warn(
            f"{len(small)} of {len(names)} tasks, such as {readable(small[:5])}, have too few rows for "
            f"{len(splits)} folds and only train: scores are of the others.",
        )


def wants_tasks(cv):
    """Whether a splitter takes the task of each row, and has no column of X to read it from."""
    return "tasks" in signature(cv.split).parameters and getattr(cv, "task_column", None) is None


def _classes(y):
    """The class of each row as an integer."""
    if y is None or np.ndim(y) != 1 or not _holds_classes(y):
        found = "None" if y is None else f"a {np.ndim(y)}-D y without classes"
        raise ValueError(
            f"stratify=True needs a 1-D y of classes; got {found}. Leave stratify=False: folds are then "
            "random inside each task."
        )
    return np.unique(np.asarray(y), return_inverse=True)[1]


def _holds_classes(y):
    """Whether scikit-learn takes y for class labels; a target of whole numbers passes as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # many different whole numbers: no harm here
        return type_of_target(plain_labels(as_target(y))) in ("binary", "multiclass")


def _check_counts(names, counts, needed, reason, advice):
    """Raise if a task has fewer rows than needed."""
    small = np.flatnonzero(counts < needed)
    if len(small):
        shown = zip(names[small[:5]].tolist(), counts[small[:5]].tolist(), strict=True)
        listed = ", ".join(f"{name!r}: {n}" for name, n in shown)
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        raise ValueError(
            f"{reason}, but there are fewer in {len(small)} task(s) ({listed} rows{more}); {advice}."
        )
