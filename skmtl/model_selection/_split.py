"""Cross-validation splits in which every fold holds every task."""

import warnings
from collections.abc import Mapping
from inspect import signature
from numbers import Integral, Real

import numpy as np
from sklearn.model_selection import BaseShuffleSplit, KFold
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from .._inputs import as_target
from .._labels import check_tasks, encode_tasks, for_each_task, missing_labels, plain_labels
from .._sklearn import num_samples
from .._tasks import task_labels

__all__ = ["TaskKFold", "TaskShuffleSplit"]


class _TaskSplitter:
    """Splits rows of which it knows the tasks; a subclass draws the training sets."""

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
            warnings.warn(
                f"The groups parameter is ignored by {type(self).__name__}: tasks are named by task_column= "
                "or passed as tasks=; without them all rows are one task.",
                stacklevel=2,
            )
        names, codes = self._tasks(X, y, groups, tasks)
        classes = _classes(y) if self.stratify else np.zeros_like(codes)
        for training in self._training_sets(names, codes, classes, y):
            yield np.flatnonzero(training), np.flatnonzero(~training)

    def get_n_splits(self, X=None, y=None, groups=None, tasks=None):
        """Return the number of splits; the arguments are ignored."""
        return self.n_splits

    def _tasks(self, X, y, groups, tasks):
        """Names of the tasks, and the position of each row's task among them."""
        n_samples, column, name = num_samples(X), self.task_column, type(self).__name__
        if tasks is not None and column is not None:
            raise ValueError(
                f"tasks= and task_column={column!r} both say which task a row belongs to; use one."
            )
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
        if y is not None and num_samples(y) != n_samples:
            raise ValueError(f"y has {num_samples(y)} labels but X has {n_samples} rows.")
        return encode_tasks(labels)

    def _keep(self, task_column, stratify):
        """Parameters that all splitters have."""
        if not isinstance(stratify, (bool, np.bool_)):
            raise ValueError(f"stratify must be True or False; got {stratify!r}.")
        self.task_column, self.stratify = task_column, stratify


class TaskKFold(_TaskSplitter, KFold):
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
    small_tasks : {"error", "train"}, default="error"
        What to do with a task of fewer rows than folds: refuse it, or keep its rows in every training
        set, so that it is never tested.
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
        if small_tasks not in ("error", "train"):
            raise ValueError(f"small_tasks must be 'error' or 'train'; got {small_tasks!r}.")
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
        small = (counts < self.n_splits)[codes]
        if self.small_tasks == "error" or small.all():
            advice = "lower n_splits, merge or leave out these tasks, or use TaskShuffleSplit"
            if not small.all():
                advice += "; small_tasks='train' keeps them in training"
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
        for t in np.argsort(present.sum(axis=0), kind="stable"):
            for row in order[present[order, t] & (folds[order] < 0)]:
                k = np.lexsort((size, labels[:, t]))[0]  # the fewest labels of the task, then the fewest rows
                folds[row] = k
                size[k] += 1
                labels[k] += present[row]
        rest = order[folds[order] < 0]
        folds[rest] = np.arange(len(rest)) % self.n_splits
        folds[present[:, single].any(axis=1)] = -1
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


class TaskShuffleSplit(_TaskSplitter, BaseShuffleSplit):
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
                raise ValueError(
                    f"train_size must be a share in (0, 1) or a positive number of rows; got {size!r}."
                )
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
            f"{reason}, but there are fewer in {len(small)} task(s) ({listed}{more} rows); {advice}."
        )
