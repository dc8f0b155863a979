"""Cross-validation of the squared loss on second moments: fits and scores without the rows of a fold."""

from itertools import accumulate
from operator import add

import numpy as np
from sklearn.base import clone
from sklearn.metrics import get_scorer_names, mean_squared_error, r2_score, root_mean_squared_error

from .._labels import find_tasks, readable
from .._threads import ROOM, even_blocks, in_blocks
from .._warn import warn
from ..linear_model import Fitting, takes_statistics
from ..metrics import TaskScorer, read_metric
from ..objective import few_rows, moments_pay
from ..statistics import TaskStatistics

MOST_NUMBERS = 1e8  # in the moments of all test sets together; those of the training sets are as many
METRICS = {r2_score, mean_squared_error, root_mean_squared_error}  # that moments know


class FoldMoments:
    """Moments of all rows, with a model on them, of every training set and of every test set."""

    def __init__(self, whole, trainings, tests):
        self.whole, self.total, self.trainings, self.tests = whole, whole.data, trainings, tests

    @classmethod
    def of(cls, model, X, y, fit_params, splits):
        """Moments of the test sets, None where the rows are needed or serve as well."""
        known = y is not None and set(fit_params) <= {"tasks", "sample_weight", "offset"}
        if not (known and takes_statistics(model) and _complementary(splits, len(y))):
            return None
        try:
            reading = Fitting.of(clone(model).set_params(alpha=1.0), X, y, **fit_params)
            data = reading.data
            too_many = data.n_designs * data.n_features**2 * len(splits) > MOST_NUMBERS
            if too_many or not moments_pay(data) or (few_rows(data) and reading.comes_apart):
                return None
            tests = [reading.moments(test) for _, test in splits]
            times = np.bincount(np.concatenate([test for _, test in splits]), minlength=len(data.y))
            total = sum(tests[1:], start=tests[0]) if (times == 1).all() else TaskStatistics.of_rows(data)
            if any((part.count == total.count[find_tasks(part.tasks, total.tasks)]).any() for part in tests):
                return None  # a training set that lacks a task
            if (times == 1).all():
                trainings = sums_of_the_others(tests)
            else:
                pairs = zip(tests, splits, strict=True)
                trainings = [_difference(total, test) or reading.moments(train) for test, (train, _) in pairs]
        except ValueError:  # the rows tell what is wrong; a test set may also lack labels of a task
            return None
        return cls(Fitting(reading.model, total), trainings, tests)

    @classmethod
    def of_statistics(cls, model, stats):
        """The same of statistics with folds. Tasks of a test set that its training set lacks are left out."""
        if len(stats.folds) < 2:
            raise ValueError(
                "stats must hold folds to search with, of TaskStatistics.from_batches(..., n_folds=5)."
            )
        trainings, tests, left_out = sums_of_the_others(stats.folds), [], set()
        for fold, training in zip(stats.folds, trainings, strict=True):
            known = find_tasks(fold.tasks, training.tasks) >= 0
            left_out |= {*readable(fold.tasks[~known])}
            if not known.any():
                raise ValueError("a fold has tasks alone that no other fold has: take fewer folds.")
            tests.append(fold.of_tasks(fold.tasks[known]))
        if left_out:
            warn(
                f"{len(left_out)} task(s) have all rows in one fold, where nothing predicts them: they count "
                f"in no score, such as {sorted(left_out, key=str)[:5]}.",
            )
        return cls(Fitting.of(clone(model).set_params(alpha=1.0), stats), trainings, tests)

    def training(self, k):
        """Moments of a training set; k = None is all rows."""
        return self.total if k is None else self.trainings[k]

    def fitting(self, model, k):
        """A model on its training data, which knows of X and y what it would know from their rows.

        None where it needs these: for another loss, another task column, or a penalty that is not convex,
        as the last digit of a moment may decide between local solutions.
        """
        if not takes_statistics(model) or model.task_column != self.whole.model.task_column:
            return None
        found = self.whole.moved(model, self.training(k))
        return found if found.convex else None

    def scores(self, wanted, results, k, part):
        """Scores of some solutions on the test or the training set of a split, in their order."""
        stats = self.tests[k] if part == "test" else self.training(k)
        W = np.stack([found.coef for found in results], axis=1)
        b = np.stack([found.intercept for found in results], axis=1)
        if len(stats.tasks) < len(W):
            at = find_tasks(stats.tasks, self.training(k).tasks)
            W, b = W[at], b[at]
        errors = squared_errors(stats, W, b)
        if isinstance(wanted, tuple):
            return _scores(*wanted, stats, errors)
        found = [_scores(*one, stats, errors) for one in wanted.values()]
        return [dict(zip(wanted, each, strict=True)) for each in zip(*found, strict=True)]


def sums_of_the_others(parts):
    """The sum of all parts but one, for each: of those before and those after it.

    The total less the part would lose the digits of small rows where the part has large ones.
    """
    before = list(accumulate(parts[:-1], add))
    after = list(accumulate(parts[:0:-1], add))[::-1]
    return [after[0], *map(add, before[:-1], after[1:]), before[-1]]


def _difference(total, part):
    """The moments of the other rows, None where rounding would decide."""
    try:
        return total - part
    except ValueError:
        return None


def _complementary(splits, n):
    """Whether training and test set of each split are all n rows."""
    sizes = all(len(train) + len(test) == n and len(test) for train, test in splits)
    return sizes and all(np.bincount(np.concatenate(pair)).max() == 1 for pair in splits)


def squared_errors(stats, W, b):
    """Sums of squared errors (n, n_tasks) of solutions W (n_tasks, n, n_features), b (n_tasks, n)."""
    used, each = np.flatnonzero(W.any(axis=(0, 1))), len(stats.xx) > 1
    used = slice(None) if len(used) == W.shape[2] else used

    def found(t):
        design = t if each else slice(0, 1)
        w, xx = W[t][:, :, used], stats.xx[design]
        xx = xx if isinstance(used, slice) else xx[:, used[:, None], used]
        slope = w @ xx if each else (w.reshape(len(w) * W.shape[1], -1) @ xx[0]).reshape(w.shape)
        slope -= 2 * stats.xy[t, None, used]
        about_mean = np.vecdot(w, slope) + stats.yy[t, None]
        offset = stats.y_mean[t, None] - np.vecdot(w, stats.x_mean[design, None, used]) - b[t]
        return np.maximum(about_mean + stats.weight[t, None] * offset**2, 0.0).T

    return np.concatenate(in_blocks(found, even_blocks(len(W), W[0].size, ROOM)), axis=1)


# --- scores ---


def moment_scores(scoring, moments, tasks_passed):
    """(metric, sign, average) of what is scored, by name for several; None if it takes predictions."""
    if isinstance(scoring, dict):
        found = {name: moment_scores(one, moments, tasks_passed) for name, one in scoring.items()}
        return None if None in found.values() else found
    if isinstance(scoring, (list, tuple, set)):
        return moment_scores({name: name for name in scoring}, moments, tasks_passed)
    shared = moments.whole.shared
    missing = shared and len(moments.total.xx) > 1
    if scoring is None:
        found = (r2_score, 1, "macro" if shared else "pooled")
    elif isinstance(scoring, str) and scoring in get_scorer_names() and not (missing or tasks_passed):
        found = (*read_metric(scoring)[:2], "macro" if shared else "pooled")
    elif type(scoring) is TaskScorer and not scoring.kwargs and scoring.average != "worst":
        if scoring.response_method != "predict" or scoring.task_column is not None:
            return None
        found = (scoring.metric, scoring.sign, scoring.average)
    else:
        return None
    known = found[0] in METRICS and all(_scored(stats, *found[::2]) for stats in moments.tests)
    return found if known else None


def _scored(stats, metric, average):
    """Whether a score exists: R^2 for every task, or of all rows, where targets vary."""
    if metric is not r2_score:
        return True
    if average == "pooled":
        size = stats.weight @ stats.y_mean**2
        return bool(stats.count.sum() > 1 and _pooled_squares(stats) > 1e-10 * size)
    return bool((stats.count > 1).all() and (stats.yy > 1e-10 * stats.weight * stats.y_mean**2).all())


def _pooled_squares(stats):
    """Sum of squares of the targets of all tasks about their mean."""
    center = stats.weight @ stats.y_mean / stats.weight.sum()
    return stats.yy.sum() + stats.weight @ (stats.y_mean - center) ** 2


def _scores(metric, sign, average, stats, errors):
    """Scores from sums of squared errors (n, n_tasks)."""
    weight, squares = stats.weight, stats.yy
    if average == "pooled":
        squares = np.array([_pooled_squares(stats)])
        errors, weight = errors.sum(axis=1, keepdims=True), weight.sum(keepdims=True)
    found = 1 - errors / squares if metric is r2_score else errors / weight
    if metric is root_mean_squared_error:
        found = np.sqrt(found)
    return (sign * found.mean(axis=1)).tolist()
