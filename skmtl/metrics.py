"""Scores per task, their summaries, and a scorer that carries the tasks to `predict`."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from sklearn.base import clone
from sklearn.metrics import average_precision_score, get_scorer, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from ._columns import refuse_other_order
from ._inputs import as_target
from ._labels import check_tasks, missing_labels, plain_labels
from ._sklearn import check_response_method, is_scorer, num_samples, refuse, safe_indexing, scorer_parts
from ._task_scores import block_scores, evaluate, mean_of_tasks, task_blocks, unexplained
from ._tasks import final_model, final_task_column, final_task_labels, task_labels

__all__ = [
    "average_relative_rmse", "explained_variance_per_task", "explained_variance_within", "mean_task_score",
    "normalized_mse", "per_task_score", "task_scorer",
]  # fmt: skip


RANKINGS = {roc_auc_score, average_precision_score}  # rows among each other


# --- scores of predictions ------------------------------------------------------------------


def per_task_score(metric, y_true, y_pred, tasks=None, sample_weight=None):
    """Evaluate a metric on each task by itself.

    Parameters
    ----------
    metric : callable, str or scorer
        ``metric(y_true, y_pred)``, or the name of a scikit-learn scorer such as "r2", "accuracy",
        "roc_auc", "neg_mean_squared_error" (with the sign that the name says).
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        True targets; with one column per task NaN is a missing label and left out.
    y_pred : array-like of shape (n_samples,) or (n_samples, n_tasks), or with a further class axis
        Predictions in the form that the metric wants.
    tasks : array-like of shape (n_samples,), default=None
        Task of each row, for a 1-D `y_true`. Without it all rows are one task, 0.
    sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
        Weights; rows of weight zero are left out.

    Returns
    -------
    scores : dict of {task: float}
        In sorted task order, or in the order of the columns of a 2-D `y_true`. A task whose score
        is undefined (no label, one class for an AUC, one row for R^2) has NaN.

    Raises
    ------
    ValueError
        If shapes differ, predictions are not finite, `tasks` is given for a 2-D `y_true`, or the
        metric fails for another reason than too few different targets in a task.

    Examples
    --------
    >>> from skmtl.metrics import per_task_score
    >>> per_task_score("accuracy", [0, 1, 1, 1], [0, 1, 0, 0], tasks=["a", "a", "b", "b"])
    {'a': 1.0, 'b': 0.0}
    """
    function, sign, kwargs, _ = read_metric(metric)
    names, blocks = task_blocks(y_true, y_pred, tasks, sample_weight)
    values = sign * block_scores(function, blocks, kwargs)
    return dict(zip(names, values.tolist(), strict=True))


def mean_task_score(metric, y_true, y_pred, tasks=None, sample_weight=None):
    r"""Average a metric over tasks, each task counting the same.

    .. math:: \frac{1}{T} \sum_t \mathrm{metric}(y_t, \hat y_t)

    Parameters
    ----------
    metric, y_true, y_pred, tasks, sample_weight
        As in `per_task_score`.

    Returns
    -------
    score : float
        Mean over the tasks where the metric is defined; an `UndefinedMetricWarning` says how many
        are left out. NaN if there is none.

    Examples
    --------
    >>> from skmtl.metrics import mean_task_score
    >>> mean_task_score("accuracy", [0, 1, 1, 1], [0, 1, 0, 0], tasks=["a", "a", "b", "b"])
    0.5
    """
    return mean_of_tasks(per_task_score(metric, y_true, y_pred, tasks, sample_weight))


def explained_variance_per_task(y_true, y_pred, tasks=None):
    r"""Compute the explained variance of each task about its own mean.

    .. math:: 1 - \mathrm{SSE}_t / \mathrm{SST}_t, \qquad \mathrm{SST}_t = \sum_{i \in t} (y_i - \bar y_t)^2

    Parameters
    ----------
    y_true, y_pred, tasks
        As in `per_task_score`, predictions in the shape of the targets.

    Returns
    -------
    scores : dict of {task: float}
        NaN for a task whose targets do not vary.

    See Also
    --------
    explained_variance_within : The figure for all tasks together.

    Examples
    --------
    >>> from skmtl.metrics import explained_variance_per_task
    >>> explained_variance_per_task([0, 2, 0, 4], [0, 2, 1, 3], tasks=["a", "a", "b", "b"])
    {'a': 1.0, 'b': 0.75}
    """
    return {task: 1 - share for task, share in unexplained(y_true, y_pred, tasks)[0].items()}


def explained_variance_within(y_true, y_pred, tasks=None):
    r"""Compute the share of the variance within tasks that is explained.

    .. math:: 1 - \frac{\sum_t \mathrm{SSE}_t}{\sum_t \mathrm{SST}_t},
       \qquad \mathrm{SST}_t = \sum_{i \in t} (y_i - \bar y_t)^2

    Predicting each task's own mean gives 0, however much the means differ: knowing the tasks'
    levels earns nothing here, unlike in R^2 over all rows.

    Parameters
    ----------
    y_true, y_pred, tasks
        As in `per_task_score`, predictions in the shape of the targets.

    Returns
    -------
    score : float
        NaN if the targets do not vary within any task.

    References
    ----------
    A. Argyriou, T. Evgeniou, M. Pontil, "Convex multi-task feature learning", Machine Learning 73,
    2008. https://doi.org/10.1007/s10994-007-5040-8

    Examples
    --------
    >>> from skmtl.metrics import explained_variance_within
    >>> explained_variance_within([0, 2, 0, 4], [0, 2, 1, 3], tasks=["a", "a", "b", "b"])
    0.8
    """
    return 1 - unexplained(y_true, y_pred, tasks)[1]


def normalized_mse(y_true, y_pred, tasks=None):
    r"""Compute the mean over tasks of the squared error relative to the variance.

    .. math:: \frac{1}{T} \sum_t \frac{\mathrm{SSE}_t}{\mathrm{SST}_t}, \qquad
       \mathrm{SST}_t = \sum_{i \in t} (y_i - \bar y_t)^2

    Predicting each task's own mean gives 1.

    Parameters
    ----------
    y_true, y_pred, tasks
        As in `per_task_score`, predictions in the shape of the targets.

    Returns
    -------
    error : float
        Tasks whose targets do not vary are left out with a warning; NaN if there is no other.

    References
    ----------
    J. Chen, J. Zhou, J. Ye, "Integrating low-rank and group-sparse structures for robust multi-task
    learning", KDD 2011. https://doi.org/10.1145/2020408.2020423

    Examples
    --------
    >>> from skmtl.metrics import normalized_mse
    >>> normalized_mse([0, 2, 0, 4], [0, 2, 1, 3], tasks=["a", "a", "b", "b"])
    0.125
    """
    return mean_of_tasks(unexplained(y_true, y_pred, tasks)[0])


def average_relative_rmse(y_true, y_pred, tasks=None, *, train_mean=None):
    r"""Compute the mean over tasks of the root mean squared error relative to that of a constant (aRRMSE).

    .. math:: \frac{1}{T} \sum_t \sqrt{\frac{\sum_{i \in t} (y_i - \hat y_i)^2}
       {\sum_{i \in t} (y_i - m_t)^2}}

    with m_t the mean of the task's training targets, as the benchmarks of multi-target regression have it.

    Parameters
    ----------
    y_true, y_pred, tasks
        As in `per_task_score`, predictions in the shape of the targets.
    train_mean : array-like of shape (n_tasks,), default=None
        m_t, one per task in the order of the sorted tasks or of the columns. By default the mean of
        `y_true`.

    Returns
    -------
    error : float
        Tasks whose denominator is zero are left out with a warning; NaN if there is no other.

    References
    ----------
    E. Spyromitros-Xioufis, G. Tsoumakas, W. Groves, I. Vlahavas, "Multi-target regression via input
    space expansion", Machine Learning 104, 2016. https://doi.org/10.1007/s10994-016-5546-z

    Examples
    --------
    >>> from skmtl.metrics import average_relative_rmse
    >>> average_relative_rmse([0, 2, 0, 4], [0, 2, 1, 3], tasks=["a", "a", "b", "b"])
    0.25
    """
    shares = unexplained(y_true, y_pred, tasks, train_mean)[0]
    return mean_of_tasks({task: np.sqrt(share) for task, share in shares.items()})


def score_predictions(metric, y_true, y_pred, sample_weight=None):
    """What an estimator with this metric returns as its score: for a 2-D y the mean over its tasks."""
    y_true = as_target(y_true)
    if y_pred.ndim == 2:
        if missing_labels(y_true).all():
            raise ValueError("y holds no label (all missing): there is nothing to score.")
        return mean_task_score(metric, y_true, y_pred, sample_weight=sample_weight)
    return evaluate(metric, plain_labels(y_true), y_pred, sample_weight=sample_weight)


# --- the scorer -----------------------------------------------------------------------------


def task_scorer(
    metric, *, average="macro", greater_is_better=True, response_method="predict", task_column=None,
    **metric_kwargs,
):  # fmt: skip
    """Make a scorer that knows tasks, for `scoring=` in searches and cross-validation.

    Unlike scikit-learn's scorers it passes `tasks` and `offset` on to the estimator's `predict`, leaves
    missing labels of a 2-D `y` out, and can average over tasks. Both are requested by default, so that
    with metadata routing switched on ``GridSearchCV(...).fit(X, y, tasks=tasks)`` is all there is
    to do. For estimators with `task_column` it reads the labels from X and needs no routing.

    Parameters
    ----------
    metric : callable, str or scorer
        ``metric(y_true, y_pred, **metric_kwargs)``, or the name of a scikit-learn scorer, which
        then decides on sign and response method. A metric with an argument `tasks`, such as those of this
        module, gets the tasks and averages over them in its own way.
    average : {"macro", "pooled", "worst"}, default="macro"
        Mean over tasks, the metric on all rows together, or the score of the worst task.
    greater_is_better : bool, default=True
        False for a loss: the scorer then returns its negative.
    response_method : {"predict", "predict_proba", "decision_function"} or sequence of these, \
            default="predict"
        Method of the estimator whose output the metric gets; the first one that exists.
    task_column : str or int, default=None
        Column of the X passed to the scorer that holds the task of each row. By default that of
        the estimator, also through a Pipeline or a search.
    **metric_kwargs : dict
        Further arguments of the metric.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, tasks=None, sample_weight=None, offset=None)`` returns a float, greater is
        better.

    Raises
    ------
    ValueError
        If `average` or `metric` is unknown; on use, if the tasks cannot be found and are needed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skmtl.baselines import SingleTask
    >>> from skmtl.metrics import task_scorer
    >>> from skmtl.model_selection import TaskKFold
    >>> X = np.column_stack([np.arange(20) % 2, np.arange(20.0)])
    >>> y = X[:, 1] * (1 + X[:, 0])
    >>> search = GridSearchCV(
    ...     SingleTask(Ridge(), task_column=0),
    ...     {"estimator__alpha": [0.01, 100]},
    ...     scoring=task_scorer("r2"),
    ...     cv=TaskKFold(5, task_column=0),
    ... )
    >>> search.fit(X, y).best_params_
    {'estimator__alpha': 0.01}
    """
    if average not in ("macro", "pooled", "worst"):
        raise ValueError(f"average must be 'macro', 'pooled' or 'worst'; got {average!r}.")
    function, sign, kwargs, method = read_metric(metric, metric_kwargs)
    if not is_scorer(metric):
        sign, method = (1 if greater_is_better else -1), response_method
    return TaskScorer(function, average, sign, method, task_column, {**kwargs, **metric_kwargs})


def request_of_scores(scorer):
    """The metadata request of a scorer: `tasks` and `offset`."""
    request = MetadataRequest(owner=scorer)
    for name in ("tasks", "offset"):
        request.score.add_request(param=name, alias=True)
    return request


@dataclass(repr=False, eq=False)
class TaskScorer:
    """Callable made by `task_scorer`."""

    metric: Callable
    average: str
    sign: int
    response_method: str | Sequence
    task_column: str | int | None
    kwargs: dict

    def __repr__(self):
        parts = [getattr(self.metric, "__name__", repr(self.metric)), f"average={self.average!r}"]
        parts += ["greater_is_better=False"] if self.sign < 0 else []
        parts += [f"response_method={self.response_method!r}"] if self.response_method != "predict" else []
        parts += [f"task_column={self.task_column!r}"] if self.task_column is not None else []
        parts += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"task_scorer({', '.join(parts)})"

    def get_metadata_routing(self):
        """The metadata request: `tasks` and `offset` for `score`."""
        return request_of_scores(self)

    def _accept_sample_weight(self):
        """Asked by scikit-learn's searches."""
        return "sample_weight" in inspect.signature(self.metric).parameters

    def __call__(self, estimator, X, y, tasks=None, sample_weight=None, offset=None):
        model = final_model(estimator)
        if getattr(model, "_layout_", "") == "shared":
            refuse_other_order({"y": y, "sample_weight": sample_weight}, model.tasks_)
        labels, methods = self._labels(estimator, X, y, tasks), self.response_method
        if np.ndim(methods) and isinstance(getattr(model, "classes_", None), list):
            methods = [one for one in methods if one != "decision_function"]  # infinite for unknown classes
        values, method, classes = response(estimator, X, labels, methods, offset)
        kwargs = dict(self.kwargs)
        if classes is not None and method == "predict_proba":
            values, classes = _with_unseen(values, classes, np.asarray(y))
        if classes is not None and method != "predict":
            values = _score_of_positive(values, method, classes, np.ndim(y), kwargs.get("pos_label"))
        if "tasks" in inspect.signature(self.metric).parameters:
            return self.sign * float(self.metric(y, values, tasks=labels, **kwargs))
        names, blocks = task_blocks(y, values, labels, sample_weight)
        if method == "predict" or classes is None:
            try:
                return self._average(names, blocks, kwargs)
            except (TypeError, ValueError) as error:
                _refuse_kinds(estimator, f"no metric is for all of them: {error}")
                raise
        labels, columns = [classes] * len(blocks), _classes_of_columns(model)
        if columns is not None and np.ndim(y) == 2:
            blocks, labels = self._of_columns(method, blocks, classes, columns)
        try:
            return self._average(names, blocks, kwargs, labels if method == "predict_proba" else None)
        except ValueError as error:
            if columns is None and np.ndim(y) == 2 and len(classes) > 2:
                raise ValueError(
                    f"{error}. {type(model).__name__} has scores of all {len(classes)} classes for every "
                    "column. Of columns with classes of their own SingleTask knows these, and classifiers "
                    "of skmtl do: compare(..., baselines=['single'])."
                ) from error
            raise

    def _of_columns(self, method, blocks, classes, columns):
        """Rows of each task with the scores of its own classes, and these; where pooled of the same for all.

        Those are the first and the second where every task has two. Else they are all classes, of which a
        ranking says nothing if tasks have none in common.
        """
        parts = list(zip(blocks, columns, strict=True))
        own = [_of_own_classes(*part, classes, method, self.kwargs.get("pos_label")) for part in parts]
        known = [seen.tolist() for _, seen in own]
        if self.average == "pooled" and not all(seen == known[0] for seen in known):
            if all(len(seen) == 2 for seen in known) and "pos_label" not in self.kwargs:
                coded = [((y == seen[1]).astype(int), *rest) for (y, *rest), seen in own]
                return coded, [np.arange(2)] * len(coded)
            if self.metric in RANKINGS and len({*chain(*known)}) == sum(map(len, known)):
                raise ValueError(
                    f"average='pooled' ranks the rows of all tasks, whose classes differ: {known[:2]}. "
                    "Use task_scorer(..., average='macro')."
                )
            return blocks, [classes] * len(blocks)
        return zip(*own, strict=True)

    def _average(self, names, blocks, kwargs, labels=None):
        """The score of all tasks, from blocks of rows and the classes of each, which rows may lack."""
        if "labels" in kwargs or "labels" not in inspect.signature(self.metric).parameters:
            labels = None
        if self.average == "pooled":
            whole = (None if part[0] is None else np.concatenate(part) for part in zip(*blocks, strict=True))
            labels = None if labels is None else labels[:1]
            return self.sign * float(block_scores(self.metric, [tuple(whole)], kwargs, labels)[0])
        scores = self.sign * block_scores(self.metric, blocks, kwargs, labels)
        over = np.nanmin if self.average == "worst" else np.nanmean
        return mean_of_tasks(dict(zip(names, scores, strict=True)), over)

    def _labels(self, estimator, X, y, tasks):
        """Task of each row: as given, from the scorer's own column, or from the estimator's."""
        if tasks is not None:
            return check_tasks(tasks, num_samples(y))
        if self.task_column is not None:
            return task_labels(X, self.task_column)
        column = final_task_column(estimator)[0]
        if self.average == "pooled" or (column is None and np.ndim(y) == 2):
            return None
        way_out = (
            "Give task_scorer(..., task_column=...) the column of X that holds the tasks, pass tasks= with "
            "sklearn.set_config(enable_metadata_routing=True), or use average='pooled'."
        )
        if column is None:
            refuse(f"average={self.average!r} needs the task of each row, which was not given. {way_out}")
        return final_task_labels(estimator, X, way_out)


_TaskScorer = TaskScorer  # its name in what 0.1.0 saved


def as_task_scorer(scoring):
    """A `scoring` that is one as it is, any other one on all rows together."""
    return scoring if isinstance(scoring, TaskScorer) else task_scorer(scoring, average="pooled")


def response(estimator, X, labels, methods, offset=None):
    """Output of the first of `methods` that exists, given tasks if it asks for them; its name; the classes.

    An offset, if there is one, it has to take.

    A list of probabilities, one array for each task, becomes one array with the classes of all tasks.
    """
    model = getattr(estimator, "best_estimator_", estimator)  # a search's own predict takes no metadata
    call = check_response_method(model, methods)
    if call.__name__ != "predict":
        _refuse_kinds(model, f"have no {call.__name__} in common")
    given = {} if offset is None else {"offset": offset}
    values = call(X, **tasks_for(model, call.__name__, labels), **given)
    classes, name = getattr(model, "classes_", None), call.__name__
    if not isinstance(values, list):
        return np.asarray(values), name, classes
    if name != "predict_proba" or not np.ndim(classes[0]):
        return np.stack(values, axis=1), name, classes
    if len({own.dtype.kind for own in classes}) > 1:
        raise ValueError(
            "the classes of the tasks are of different types, such as "
            f"{sorted({own.dtype.name for own in classes})}: for scores of classes use labels of one type."
        )
    every = np.unique(np.concatenate(classes))
    columns = [placed(own, seen, every) for own, seen in zip(values, classes, strict=True)]
    return np.stack(columns, axis=1), name, every


def _refuse_kinds(model, problem):
    """ValueError where tasks are of different kinds, of a model that has classes in some."""
    if isinstance(getattr(model, "classes_", None), dict):
        raise ValueError(
            f"the tasks of {type(final_model(model)).__name__} are of different kinds and {problem}. Its own "
            "score, of scoring=None, is the mean over tasks of R^2, or of the accuracy of classes."
        )


def placed(values, seen, classes, fill=0.0):
    """Columns (..., n_seen) of classes that were seen in their places among all; the others are filled."""
    if len(seen) == len(classes):
        return values
    out = np.full((*values.shape[:-1], len(classes)), fill, dtype=values.dtype)
    out[..., np.searchsorted(classes, seen)] = values
    return out


def probabilities_of(classes, estimator, X, labels, columns, offset=None):
    """Probabilities (n_samples, [n_tasks,] n_classes) of all classes, zero of those that it has not seen.

    `columns` says that there are those of every task, of which two classes have but one.
    """
    found, _, seen = response(estimator, X, labels, "predict_proba", offset)
    if columns and found.ndim == 2:
        found = np.stack([1 - found, found], axis=-1)
    return placed(found, seen, classes)


def reaches(name, model, *methods):
    """Whether an argument reaches what is behind these methods."""
    routed = get_routing_for_object(model)
    return all(name in routed.consumes(method, [name]) for method in methods)


def tasks_for(model, method, labels):
    """The tasks of the rows as keyword arguments, where they reach the model behind a method."""
    reach = reaches("tasks", model, method)
    return {"tasks": labels} if labels is not None and final_task_column(model)[0] is None and reach else {}


def has_own_steps(estimator, names):
    """Whether an estimator is a Pipeline whose last step, of several, alone sees some arguments."""
    several = isinstance(estimator, Pipeline) and len(estimator) > 1
    return several and not any(reaches(name, estimator[:-1], "transform") for name in names)


def without_steps(estimator, X):
    """The last step of a fitted Pipeline and what the others make of X.

    A Pipeline asks all of its steps anew in each call, which takes longer than a linear model does.
    """
    for _, step in estimator.steps[:-1]:
        X = X if step in (None, "passthrough") else step.transform(X)
    return estimator.steps[-1][1], X


def fitted_on(rows, model, X, y, labels, given):
    """A clone fitted to some rows, with their tasks where these reach it, and their part of what is given."""
    own = tasks_for(model, "fit", None if labels is None else labels[rows])
    given = {name: values[rows] for name, values in given.items()}
    return clone(model).fit(safe_indexing(X, rows), safe_indexing(y, rows), **own, **given)


def _with_unseen(values, classes, y):
    """Probabilities and classes with those that the training rows lacked: they were given no probability."""
    if np.ndim(classes[0]) or values.ndim != y.ndim + 1:
        return values, classes
    every = np.union1d(classes, y[~missing_labels(y)])
    return (values, classes) if len(every) == len(classes) else (placed(values, classes, every), every)


def _classes_of_columns(model):
    """The classes of every column of y, where a model knows that these may differ, else None."""
    own = getattr(model, "classes_", None)
    return own if isinstance(own, list) else getattr(model, "_classes_of_columns_", None)


def _of_own_classes(block, own, classes, method, pos_label):
    """Rows of a task with the scores of its classes, and of those that only these rows have; and these."""
    y, values, *weight = block
    at = np.isin(classes, own) | np.isin(classes, y)
    if at.sum() < 2 or values.shape[1:] != at.shape:
        return block, classes
    values = _score_of_positive(values[:, at], method, classes[at], 1, pos_label)
    return (y, values, *weight), classes[at]


def _score_of_positive(values, method, classes, y_ndim, pos_label):
    """For two classes the one column of scores that metrics want; anything else unchanged."""
    if np.ndim(classes[0]) or len(classes) != 2:
        return values
    known = classes.tolist()
    positive = known.index(pos_label) if pos_label in known else 1  # of others the metric says what it wants
    if values.ndim == y_ndim + 1:
        return values[..., positive]
    if positive == 1:
        return values
    return 1 - values if method == "predict_proba" else -values


# --- the pieces -----------------------------------------------------------------------------


def read_metric(metric, kwargs=()):
    """Function, sign, keyword arguments and response method of a callable, a scorer or its name.

    A callable may need what is among `kwargs`, and tasks and weights.
    """
    if is_scorer(metric):
        return scorer_parts(get_scorer(metric))
    if not callable(metric):
        raise ValueError(f"metric must be a callable or the name of a scorer; got {metric!r:.100}.")
    known = {"tasks", "sample_weight", *kwargs}
    given = [p for p in inspect.signature(metric).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = [p.name for p in given if p.default is p.empty and p.name not in known]
    if len(needed) > 2:
        raise ValueError(
            f"metric must be called as metric(y_true, y_pred), not as a scorer; got {metric!r:.100} of "
            f"{needed}."
        )
    return metric, 1, {}, "predict"
