"""Prediction intervals and sets around any model, with quantiles per task that borrow from all tasks."""

from dataclasses import field
from typing import Annotated, Any

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier
from sklearn.model_selection import GroupKFold
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from ._columns import source_of_tasks
from ._data import name_tasks
from ._inputs import as_target, check_numeric_target, check_offset, check_rows, present
from ._labels import check_tasks, encode_tasks, find_tasks, plain_labels, readable
from ._parameters import FRACTION, documented, with_parameters
from ._sklearn import HasMethods, num_samples, safe_indexing
from ._target import ClassesMixin, TargetMixin, classes_of, suited, used_labels
from ._tasks import (
    by_name,
    final_model,
    final_task_column,
    final_task_labels,
    named_target,
    refuse_two_sources,
    target_names,
)
from ._warn import warn
from .baselines import Wrapper, models_counts
from .metrics import fitted_on, probabilities_of, reaches, response, tasks_for
from .model_selection import held_out_splits, routing, rows_with_weight

N_FOLDS = 5
ROUNDING = 1e-12  # of probabilities
NAME_THE_COLUMN = (
    "Name it: set_output(transform='pandas') on these steps, and task_column= a name that X has as well."
)
NONE_LIKE_IT = 1e6  # rows of all tasks that a task borrows where tasks do not differ
ALIKE = 2.0, 1.5, 1.0, 0.5, 0.0  # powers of the ratio of sizes by which tasks count for each other
ENOUGH = 3.0  # times the fewest scores for a level: an effective number of which the quantile is not the end
FEW = 8  # scores of a task below which they say nothing of it
SCORES_TOGETHER = 3.0  # that tell as much of the scale of a task as one: models share what they have learned


class Scores:
    """How far off predictions were, and the quantiles of that in each task.

    The distribution of the scores s of task t is taken to be the posterior mean of a Dirichlet process about
    that of all tasks,

        F_t(s) = (n_t F_t^own(s) + nu F(s / c_t; n_t)) / (n_t + nu),

    with nu by the method of moments from how many scores of each task exceed the quantile of all. F is that
    of scores over their scale c_t, the mean of the task shrunk towards that of all in logarithms; unless
    `scaled` c_t is 1. As models know less of tasks with few rows, F(.; n) is that of tasks of about n rows:
    a row of another one counts by the square of the ratio of their numbers, or a lower power where that would
    leave too few. Scores and weights are (n_labels,), and `codes` the position of the task of each.
    """

    def __init__(self, scores, weight, codes, n_tasks, level, scaled):
        self.scale = np.ones(n_tasks)
        if scaled:
            self.scale, of_others = _scales(scores, weight, codes, n_tasks)
            scores = scores / of_others
        order = np.argsort(scores, kind="stable")
        self.scores, self.weight, self.codes = scores[order], weight[order], codes[order]
        self.count = np.bincount(codes, weight, n_tasks)
        self.level = level
        n = self.count.sum()
        if n < fewest(level):
            raise ValueError(
                f"level={level} needs at least {fewest(level):.0f} labels that a model has "
                f"not seen; got {n:.4g}. Lower level, or give more rows."
            )
        steps = np.round(2 * np.log2(np.maximum(self.count, 1.0)))
        self.sizes, self.kind = np.unique(2.0 ** (steps / 2), return_inverse=True)
        self.common = np.array([self._quantile(self._all(size)) for size in self.sizes])
        self.borrowed = self._borrowed()

    def _all(self, size):
        """F for tasks of a size."""
        ratio = np.maximum(self.count, 1.0) / size
        ratio = np.minimum(ratio, 1 / ratio)[self.codes]
        for power in ALIKE:
            weight = self.weight * ratio**power
            n = weight.sum() ** 2 / (weight @ weight)
            if n >= ENOUGH * fewest(self.level):
                break
        total = np.cumsum(weight)
        return total / total[-1] * (n / (n + 1))

    def _quantile(self, distribution):
        """The least score with so much of the distribution at or below it, infinite if there is none."""
        at = np.searchsorted(distribution, self.level * (1 - 1e-12))
        return float(self.scores[at]) if at < len(self.scores) else np.inf

    def _borrowed(self):
        """nu: from the excess of the differences between tasks over those by chance."""
        seen = self.count >= FEW
        n = self.count[seen]
        above = self.scores > self.common[self.kind][self.codes]
        above = np.bincount(self.codes, self.weight * above, len(self.count))[seen]
        if len(n) < 2 or not above.any():
            return NONE_LIKE_IT
        share = above.sum() / n.sum()
        excess = ((above - n * share) ** 2 / (n * share * (1 - share))).sum() - (len(n) - 1)
        correlation = excess / (n - 1).sum()
        return 1 / np.clip(correlation, 1 / NONE_LIKE_IT, 0.5) - 1

    def per_task(self):
        """Quantile of every task (n_tasks,)."""
        out = self.common[self.kind]
        if self.borrowed >= NONE_LIKE_IT - 1:
            return out * self.scale
        for kind, size in enumerate(self.sizes):
            rest = (self.borrowed + 1) * self._all(size)
            for t in np.flatnonzero((self.kind == kind) & (self.count >= FEW)):
                own = np.cumsum(self.weight * (self.codes == t))
                out[t] = self._quantile((own + rest) / (own[-1] + self.borrowed + 1))
        return out * self.scale

    def of_a_new_task(self):
        """Quantile where each task counts the same, as if one row of each were drawn again and again."""
        n_tasks = np.count_nonzero(self.count)
        return self._quantile(np.cumsum(self.weight / self.count[self.codes]) / (n_tasks + 1))


def fewest(level):
    """How many scores there must be for a quantile of this level of one more."""
    return np.ceil(level / (1 - level) * (1 - 1e-12)) * (1 - 1e-12)


def _scales(scores, weight, codes, n_tasks):
    """How large the scores of each task are, relative to all (n_tasks,), and to each by its other rows.

    So the quantiles of scores over the latter know how well a task knows its scale.
    """
    count, total = (np.bincount(codes, w, n_tasks) for w in (weight, weight * scores))
    mean = total / np.where(count > 0, count, 1.0)
    seen = (mean > 0) & (count >= FEW)
    own = seen[codes]
    if np.count_nonzero(seen) < 2:
        return np.ones(n_tasks), 1.0
    relative = weight[own] @ (scores[own] / mean[codes[own]] - 1) ** 2
    relative *= SCORES_TOGETHER / max(count[seen].sum() - np.count_nonzero(seen), 1)
    middle = np.log(mean[seen]).mean()
    between = max(np.mean((np.log(mean[seen]) - middle) ** 2 - relative / count[seen]), 0.0)

    def shrunk(total, count, seen):
        told = seen & (total > 0)
        size = np.log(np.where(told, total, 1.0) / np.where(told, count, 1.0)) - middle
        return np.exp(np.where(told, size * between / (between + relative / np.where(told, count, 1.0)), 0.0))

    return shrunk(total, count, seen), shrunk(total[codes] - weight * scores, count[codes] - weight, own)


@with_parameters
class _TaskConformal(Wrapper):
    """A model and how far off it was on rows that it had not seen.

    Parameters
    ----------
    estimator : estimator object
        Any model, with or without tasks, also in a Pipeline or a search; it is cloned. With metadata routing
        off, tasks that are passed reach it if it is an estimator of this library. A model with a
        `task_column` needs no `tasks`, and an offset is for one that takes it. A `sample_weight`, one per
        row, is passed on if given; scores of rows count by it, all together as their effective number
        ``(sum w)^2 / sum w^2``.
    level : float, default=0.9
        Share of the targets that shall be covered, between 0 and 1.
    cv : int, splitter or iterable of splits, default=None
        Splits into rows that a model is fitted on, and rows that say how far off it is. By default, and for
        an int, `TaskKFold` with 5 or `cv` shuffled folds; the model that predicts is then fitted on all rows.
        A single split is split conformal: the model of its training rows predicts.
    new_tasks : bool, default=False
        Whether tasks that are not in `fit` can be predicted: five more fits on some of the tasks say how far
        off the model is on others. The estimator must predict for such tasks.
    random_state : int, RandomState instance or None, default=0
        Seed of the default folds.

    Attributes
    ----------
    estimator_ : estimator
        The fitted model.
    quantiles_ : ndarray of shape (n_tasks,)
        Of the scores, by task.
    borrowed_ : float
        As how many rows the scores of all tasks count in the quantile of a task, beside its own rows; about a
        million where tasks do not differ.
    new_task_quantile_ : float
        For tasks that are not in `fit`, with ``new_tasks=True``.
    """

    estimator: Annotated[Any, HasMethods(["fit", "predict"])] = field(kw_only=False)
    level: Annotated[float, FRACTION] = 0.9
    cv: Annotated[Any, "cv_object"] = None
    new_tasks: Annotated[bool, "boolean"] = False
    random_state: Annotated[Any, "random_state"] = 0

    task_column = None  # that of the estimator: it is given X as it is
    __metadata_request__fit = {"offset": True}
    __metadata_request__predict = {"offset": True}
    __metadata_request__predict_proba = {"offset": True}
    __metadata_request__score = {"offset": True}

    _takes_offset = property(lambda self: reaches("offset", self.estimator, "fit", "predict"))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = get_tags(self.estimator).target_tags.multi_output
        return tags

    def _fit(self, X, y, tasks, sample_weight, offset):
        self._check_estimator()
        self._forget()
        named = y
        X, y, codes, weight, labels = self._read(X, y, tasks, sample_weight)
        named = named_target(named, y)
        usable = used_labels(y, weight)
        offset = check_offset(offset, len(y))
        given = present(sample_weight=weight, offset=offset)
        with routing(tasks, offset):
            classes = is_classifier(self)
            splits = held_out_splits(self.cv, X, y, labels, self.random_state, classes, weight)
            scores, tested, self.estimator_ = self._held_out(splits, X, y, labels, given, named)
            if len(splits) > 1:
                rows = rows_with_weight(weight, len(y))
                self.estimator_ = fitted_on(rows, self.estimator, X, named, labels, given)
            found = self._quantiles(scores, tested & usable, codes, weight)
            self.quantiles_, self.borrowed_ = found.per_task(), found.borrowed
            self._warn_of_untested(found.count == 0)
            if self.new_tasks:
                self._fit_new_tasks(X, y, codes, labels, given, usable)

    def _warn_of_untested(self, untested):
        """Say that nothing is known of how far off predictions are for some tasks."""
        if untested.any():
            shown = f"{np.count_nonzero(untested)} of {self.n_tasks_} tasks, such as "
            shown = readable(self.tasks_[untested][:5])
            warn(
                f"{untested.sum()} of {self.n_tasks_} tasks, such as {shown}, have no row that a model had "
                "not seen: they are taken to be like those with few, and may be covered less often.",
            )

    def _check_estimator(self):
        """Whether the model predicts what its scores are of."""
        sets, classes = is_classifier(self), is_classifier(self.estimator)
        if classes != sets or (sets and not hasattr(self.estimator, "predict_proba")):
            needed, name = "a classifier with predict_proba" if sets else "a regressor", type(self).__name__
            raise TypeError(f"{name} needs {needed} as estimator; got {self.estimator!r:.200}.")

    def _read(self, X, y, tasks, sample_weight):
        """Checked X, y, position of the task of each row, weights, and what names the tasks."""
        column = final_task_column(self.estimator)[0]
        refuse_two_sources(tasks, column)
        names, X = target_names(y), self._split(X, reset=True)[0]
        X = X.tocsr() if sparse.issparse(X) else X if hasattr(X, "shape") else np.asarray(X)
        labels = tasks if column is None else final_task_labels(self.estimator, X, NAME_THE_COLUMN)
        one = labels is not None or (y is not None and as_target(y).shape[1:] == (1,))
        y = self._check_target(y, has_rows_of_tasks=one)
        weight = check_rows(X, y, sample_weight, shape=y.shape[:1])[0]
        self.tasks_, codes = name_tasks(y, labels, weight, names)
        self._layout_ = "shared" if y.ndim == 2 else "single" if codes is None else "stacked"
        return X, y, codes, weight, None if labels is None else check_tasks(labels, len(y))

    def _held_out(self, splits, X, y, labels, given, named):
        """How far off models are on the rows that splits hold out, which these are, and the last model."""
        scores, tested = np.zeros(y.shape), np.zeros(y.shape, dtype=bool)
        for train, test in splits:
            model = fitted_on(train, self.estimator, X, named, labels, given)
            if isinstance(kinds := getattr(final_model(model), "classes_", None), dict) and kinds:
                raise TypeError(
                    f"{type(self).__name__} needs numbers in all tasks; {self.estimator!r:.200} has classes "
                    f"in {[*kinds][:5]}."
                )
            tasks, offset = (None if own is None else own[test] for own in (labels, given.get("offset")))
            scores[test] = self._scores(safe_indexing(X, test), y[test], tasks, offset, model)
            tested[test] = True
        return scores, tested, model

    def _quantiles(self, scores, used, codes, weight, scaled=True):
        """`Scores` of the labels in use."""
        at = np.nonzero(used)
        own = at[1] if scores.ndim == 2 else np.zeros(len(at[0]), np.intp) if codes is None else codes[at]
        weight = np.ones(len(at[0])) if weight is None else weight[at[0]] / weight[at[0]].max(initial=0.0)
        weight = weight * (weight.sum() / max(weight @ weight, 1.0))
        return Scores(scores[at], weight, own, self.n_tasks_, self.level, scaled and not is_classifier(self))

    def _fit_new_tasks(self, X, y, codes, labels, given, usable):
        """How far off a model is on tasks that it has not seen."""
        if codes is None:
            raise ValueError(
                "new_tasks=True needs rows with tasks: tasks=, or task_column= of the estimator."
            )
        if self.n_tasks_ < (least := max(fewest(self.level), 2)):
            raise ValueError(
                f"new_tasks=True with level={self.level} needs at least {least:.0f} tasks; got "
                f"{self.n_tasks_}. Lower level, or leave new_tasks=False."
            )
        rows = rows_with_weight(given.get("sample_weight"), len(y))
        folds = GroupKFold(min(N_FOLDS, self.n_tasks_)).split(rows, groups=codes[rows])
        splits = [(rows[train], rows[test]) for train, test in folds]
        scores = self._held_out(splits, X, y, labels, given, y)[0]
        found = self._quantiles(scores, usable, codes, given.get("sample_weight"), scaled=False)
        self.new_task_quantile_ = found.of_a_new_task()

    def _asked(self, X, tasks):
        """X, the tasks to pass on, and the quantile of each row, or of each task of a shared design."""
        check_is_fitted(self)
        X = self._split(X)[0]
        X = X if hasattr(X, "shape") else np.asarray(X)
        column = final_task_column(self.estimator_)[0]
        if tasks is not None and (column is not None or self._layout_ == "single"):
            raise ValueError(
                f"tasks was given, but this {type(self).__name__} was fitted without it"
                + ("." if column is None else f": task_column={column!r} says which task a row belongs to.")
            )
        labels = tasks if column is None else final_task_labels(self.estimator_, X, NAME_THE_COLUMN)
        if self._layout_ == "shared" and labels is None:
            return X, tasks, self.quantiles_
        if self._layout_ == "single":
            return X, tasks, self.quantiles_[0]
        if labels is None:
            raise ValueError(f"the quantiles are those of tasks: pass tasks= to {type(self).__name__}.")
        codes = find_tasks(check_tasks(labels, num_samples(X)), self.tasks_)
        unknown = getattr(self, "new_task_quantile_", None)
        if (codes < 0).any() and unknown is None:
            new = encode_tasks(np.asarray(labels)[codes < 0])[0]
            raise ValueError(
                f"{source_of_tasks(column)} has {len(new)} label(s) not seen in fit: {readable(new[:5])}. "
                "With new_tasks=True, and an estimator that predicts for such tasks, they get intervals of "
                "their own."
            )
        return X, tasks, np.where(codes >= 0, self.quantiles_[codes], np.nan if unknown is None else unknown)

    @by_name
    def predict(self, X, *, tasks=None, offset=None):
        check_is_fitted(self)
        return self._respond("predict", self._split(X)[0], tasks, offset)

    predict.__doc__ = TargetMixin.predict.__doc__

    def _respond(self, method, X, tasks, offset=None, model=None):
        model = self.estimator_ if model is None else model
        with routing(tasks, offset):
            if self._layout_ == "shared" and tasks is not None and not tasks_for(model, method, tasks):
                return self._of_own_task(response(model, X, None, method, offset)[0], tasks)
            return response(model, X, tasks, method, offset)[0]

    def _of_own_task(self, values, tasks):
        """What was found for the task of each row, of what was found for all tasks."""
        return values[np.arange(len(values)), self._find_tasks(check_tasks(tasks, len(values)))]


@documented
@with_parameters
class TaskConformalRegressor(RegressorMixin, _TaskConformal):
    r"""Prediction intervals for a multi-task regressor without assumptions on its errors.

    With scores :math:`s_i = |y_i - \hat y_i|` of rows that a model has not seen, and :math:`q_t` their
    quantile in task t,

    .. math:: \hat y \pm q_t, \qquad \hat F_t(q_t) = level, \qquad
       \hat F_t(s) = \frac{n_t F_t(s) + \nu F(s)}{n_t + \nu}

    where :math:`F_t` is the share of the scores of the task at or below s and F that of all tasks, of
    which those with about as many rows count the most. :math:`\nu` is estimated from how much the tasks
    differ: where they do not, and have as many rows, all have the quantile of all rows. With a single split
    and such tasks targets of new rows of the same tasks are covered with at least the probability `level`,
    on average over tasks (Lei et al. 2018); folds, and quantiles by task, make this hold about. Quantiles of
    a task that has many rows cover it by itself.

    With ``new_tasks=True`` rows of a task that was not in `fit` have the quantile of scores of tasks left
    out, each of which counts the same.

    Parameters
    ----------

    See Also
    --------
    MeanRegularizedRegressor.prediction_interval : Shorter ones, if errors are normal.

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018), Distribution-free predictive inference for
    regression, JASA 113, https://doi.org/10.1080/01621459.2017.1307116;
    Dunn, Wasserman & Ramdas (2018), Distribution-free prediction sets for two-layer hierarchical models,
    JASA 118, https://doi.org/10.1080/01621459.2022.2060112 (new tasks).

    Examples
    --------
    >>> from skmtl import MeanRegularizedRegressor, TaskConformalRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> p = make_multitask_regression(5, 60, 4, structure="mean", random_state=0)
    >>> model = TaskConformalRegressor(MeanRegularizedRegressor(0.1)).fit(p.X, p.y, tasks=p.tasks)
    >>> lower, upper = model.predict_interval(p.X, tasks=p.tasks)
    >>> bool(0.85 < ((lower <= p.y) & (p.y <= upper)).mean() <= 1)
    True
    """

    score = _TaskConformal.score  # not that of RegressorMixin, which takes no tasks

    def _scores(self, X, y, tasks, offset, model):
        found, y = self._respond("predict", X, tasks, offset, model), check_numeric_target(y)
        return np.where(np.isnan(y), 0.0, np.abs(y - found))

    @by_name
    def predict_interval(self, X, *, tasks=None, offset=None):
        """Predict intervals of the targets.

        Parameters
        ----------
        X, tasks, offset
            As in `predict`.

        Returns
        -------
        interval : ndarray of shape (2, n_samples) or (2, n_samples, n_tasks)
            Lower and upper ends; around models of counts they are at least zero.

        Raises
        ------
        ValueError
            If a task is not known from `fit`, and ``new_tasks=False``.

        See Also
        --------
        MeanRegularizedRegressor.prediction_interval : Those of a mixed model, by its normal distribution.
        """
        X, tasks, width = self._asked(X, tasks)
        y = self._respond("predict", X, tasks, offset)
        least = 0.0 if models_counts(self.estimator) else -np.inf
        return np.stack([np.maximum(y - width, least), y + width])


@documented
@with_parameters
class TaskConformalClassifier(ClassifierMixin, _TaskConformal):
    r"""Sets of classes of a multi-task classifier that hold the true one with a given probability.

    With scores :math:`s_i = 1 - \hat p_i(y_i)` of rows that a model has not seen and :math:`q_t` their
    quantile in task t, the set of a row of task t is

    .. math:: \{c : 1 - \hat p(c) \le q_t\}

    It is empty where no class is as probable as true ones are otherwise. Quantiles borrow from all tasks as
    in `TaskConformalRegressor`.

    Parameters
    ----------

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    See Also
    --------
    TaskConformalRegressor : Intervals of numbers, and what holds for them.

    References
    ----------
    Sadinle, Lei & Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels,
    JASA 114, https://doi.org/10.1080/01621459.2017.1395341

    Examples
    --------
    >>> from skmtl import MeanRegularizedClassifier, TaskConformalClassifier
    >>> from skmtl.datasets import make_multitask_classification
    >>> p = make_multitask_classification(5, 60, 4, structure="mean", random_state=0)
    >>> model = TaskConformalClassifier(MeanRegularizedClassifier(0.1)).fit(p.X, p.y, tasks=p.tasks)
    >>> model.predict_set(p.X, tasks=p.tasks).shape
    (300, 2)
    """

    score = _TaskConformal.score

    def _read(self, X, y, tasks, sample_weight):
        X, y, codes, weight, labels = super()._read(X, y, tasks, sample_weight)
        y = plain_labels(y) if y.ndim == 1 else y
        self.classes_ = suited(classes_of(y[used_labels(y, weight)]))
        return X, y, codes, weight, labels

    def _proba(self, X, tasks, model, offset):
        """Probabilities (n_samples, [n_tasks,] n_classes) of `classes_`."""
        shared = self._layout_ == "shared"
        with routing(tasks, offset):
            found = probabilities_of(self.classes_, model, X, None if shared else tasks, shared, offset)
        return self._of_own_task(found, tasks) if shared and tasks is not None else found

    def _scores(self, X, y, tasks, offset, model):
        proba = self._proba(X, tasks, model, offset)
        return 1 - (proba * (y[..., None] == self.classes_)).sum(axis=-1)

    @by_name
    def predict_proba(self, X, *, tasks=None, offset=None):
        check_is_fitted(self)
        return self._respond("predict_proba", self._split(X)[0], tasks, offset)

    predict_proba.__doc__ = ClassesMixin.predict_proba.__doc__

    @by_name
    def predict_set(self, X, *, tasks=None, offset=None):
        """Predict sets of classes.

        Parameters
        ----------
        X, tasks, offset
            As in `predict`.

        Returns
        -------
        sets : ndarray of bool of shape (n_samples, n_classes) or (n_samples, n_tasks, n_classes)
            Which of `classes_` are in the set of each row.

        Raises
        ------
        ValueError
            If a task is not known from `fit`, and ``new_tasks=False``.
        """
        X, tasks, quantile = self._asked(X, tasks)
        proba = self._proba(X, tasks, self.estimator_, offset)
        return 1 - proba <= np.broadcast_to(quantile, proba.shape[:-1])[..., None] + ROUNDING
