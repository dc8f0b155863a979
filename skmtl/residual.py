"""A nonlinear mean of all tasks, and a multi-task model of what it leaves."""

import re
from dataclasses import field
from numbers import Integral, Real
from typing import Annotated, Any

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from ._columns import indexable
from ._inputs import present
from ._labels import check_tasks, plain_labels
from ._parameters import TaskColumn, documented, with_parameters
from ._sklearn import HasMethods, Interval, num_samples, safe_indexing
from ._target import classes_of, used_labels
from ._tasks import by_name, final_model, final_task_column, named_target
from ._warn import warn
from .baselines import Pooled, ScoringWrapper, SingleTask, models_counts
from .losses import REGRESSION_LOSSES, get_loss
from .metrics import fitted_on, probabilities_of, reaches, response
from .model_selection import held_out_splits, routing, rows_with_weight


def _without_offset(method):
    """Its docstring, for a model that takes none."""
    return re.sub(r"^ +offset : .*\n(?: {12}.*\n)+", "", method.__doc__ or "", flags=re.MULTILINE)


@documented
@with_parameters
class TaskResidual(ScoringWrapper):
    r"""A mean of all tasks by any model, and a multi-task model of what it leaves.

    The linear predictor of a row of task t is

    .. math:: \eta_i = g(\hat\mu(x_i)) + x_i \cdot w_t + b_t

    with :math:`\hat\mu` the prediction of `mean_estimator`, fitted on the rows of all tasks together, and g
    the link: the identity, the logarithm where the task estimator has ``loss="poisson"``, log-odds of two
    classes, logarithms of the probabilities of more. The `task_estimator` has it as its offset, in `fit`
    predicted by models of other folds, so that it learns what is left on rows that the mean has not seen. A
    regressor or a classifier, as its estimators are.

    Parameters
    ----------
    mean_estimator : estimator object
        Any regressor, or classifier with `predict_proba`. One of scikit-learn sees the features alone: one
        model of all rows, on a shared X one of each column of y. One that takes `tasks` is given them.
    task_estimator : estimator object
        A linear model or a network of this library, or a Pipeline or a search that ends with one; a
        classifier with `predict_proba`.
    cv : int, splitter or iterable of splits, default=None
        Folds, which together hold out every row. By default, and for an int, `TaskKFold` with 5 or `cv`
        shuffled folds.
    task_column : str or int, default=None
        Column of X, name or position, that holds the task of each row. No estimator sees it.
    least : float in (0, 0.5), default=1e-4
        Probabilities below are taken to be that, as are means of counts below so much of the mean of y, with
        a warning that says how many.
    random_state : int, RandomState instance or None, default=0
        Seed of the default folds.

    Attributes
    ----------
    mean_estimator_ : estimator
        The mean, fitted on all rows: a `Pooled` or `SingleTask` model around one of scikit-learn.
    task_estimator_ : estimator
        The fitted task estimator.
    least_ : float
        The least probability, or mean of counts, that is taken as it is; 0 where the link is the identity.
    classes_ : ndarray of shape (n_classes,)
        Class labels (classifiers only).

    See Also
    --------
    MeanRegularizedRegressor : Tasks around a common linear model.

    Notes
    -----
    Probabilities of 0 and 1, as trees and forests give them, have infinite log-odds, which no deviation of a
    task could answer: they count as `least`, and 1 less that. So do means of counts of zero or less.

    References
    ----------
    Hajjem, Bellavance & Larocque (2014), Mixed-effects random forest for clustered data, J. Statistical
    Computation and Simulation 84, https://doi.org/10.1080/00949655.2012.741599;
    Sela & Simonoff (2012), RE-EM trees: a data mining approach for longitudinal and clustered data, Machine
    Learning 86, https://doi.org/10.1007/s10994-011-5258-3 (both alternate where here folds are left out)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> from skmtl import MeanRegularizedRegressor, TaskResidual
    >>> rng = np.random.default_rng(0)
    >>> X, tasks = rng.uniform(-2, 2, size=(600, 2)), np.arange(600) % 20
    >>> y = 2 * np.sin(2 * X[:, 0]) + rng.normal(size=20)[tasks] * X[:, 1]
    >>> model = TaskResidual(KNeighborsRegressor(10), MeanRegularizedRegressor(alpha="auto"))
    >>> bool(model.fit(X[:400], y[:400], tasks=tasks[:400]).score(X[400:], y[400:], tasks=tasks[400:]) > 0.9)
    True
    """

    mean_estimator: Annotated[Any, HasMethods(["fit", "predict"])] = field(kw_only=False)
    task_estimator: Annotated[Any, HasMethods(["fit", "predict"])] = field(kw_only=False)
    cv: Annotated[Any, "cv_object"] = None
    task_column: TaskColumn = None
    least: Annotated[float, Interval(Real, 0, 0.5, closed="neither")] = 1e-4
    random_state: Annotated[Any, "random_state"] = 0

    _inner = "task_estimator"

    @property
    def handle_unknown(self):
        """What the task estimator does with tasks that it does not know."""
        return getattr(final_model(self.task_estimator), "handle_unknown", "error")

    def __sklearn_tags__(self):
        tags, mean = super().__sklearn_tags__(), get_tags(self.mean_estimator)
        tags.input_tags.sparse &= mean.input_tags.sparse
        tags.non_deterministic |= mean.non_deterministic
        return tags

    # --- fit ---

    def _fit(self, X, y, tasks, sample_weight, offset):
        self._check_estimators()
        given = y
        features, y, _, weight, _ = self._fit_inputs(X, y, tasks, sample_weight)
        labels = self._split(X, tasks)[1]
        labels = None if labels is None else check_tasks(labels, len(y))
        X, used = indexable(features), used_labels(y, weight)
        if is_classifier(self):
            y = plain_labels(y) if y.ndim == 1 else y
            self.classes_ = self._known_classes(y, used)
        named = named_target(given, y)
        self.least_ = self._least(y, used, weight)
        alone = y.shape[1:] == (1,) and used.all()  # one task, in whatever shape
        targets = y[:, 0] if alone else y
        rows, classes = rows_with_weight(weight, len(y)), is_classifier(self)
        splits = held_out_splits(self.cv, X, targets, labels, self.random_state, classes, weight)
        if isinstance(self.cv, Integral | None) and not reaches("tasks", self.mean_estimator, "fit"):
            splits = _with_rest(splits, rows)
        total, times = 0.0, np.zeros(len(y))
        for train, test in splits:
            mean = self._fitted_mean(X, named, labels, weight, train)
            own = self._linked(mean, safe_indexing(X, test), None if labels is None else labels[test])
            total = np.zeros((len(y), *own.shape[1:])) if not times.any() else total
            np.add.at(total, test, own)
            np.add.at(times, test, 1.0)
        if not times[rows].all():
            left = np.count_nonzero(times[rows] == 0)
            raise ValueError(f"cv must hold out every row; {left} of {len(rows)} are in no test set.")
        offset = total / np.maximum(times, 1.0).reshape(-1, *[1] * (total.ndim - 1))
        self.mean_estimator_ = self._fitted_mean(X, named, labels, weight, rows)
        given = present(tasks=labels, sample_weight=weight, offset=offset)
        with routing(offset):
            self.task_estimator_ = clone(self.task_estimator).fit(X, named, **given)

    def _check_estimators(self):
        """Whether one models what the other leaves, and takes an offset."""
        both, name = (self.mean_estimator, self.task_estimator), type(self).__name__
        if not (all(map(is_regressor, both)) or all(map(is_classifier, both))):
            raise TypeError(
                f"{name} needs two regressors or two classifiers; got mean_estimator={both[0]!r:.100} and "
                f"task_estimator={both[1]!r:.100}."
            )
        if not reaches("offset", self.task_estimator, "fit", "predict"):
            raise TypeError(
                f"{name} needs a task_estimator that takes an offset: a linear model or network of skmtl, or "
                f"a Pipeline or a search that ends with one; got {self.task_estimator!r:.200}."
            )
        for part, model in zip(("mean_estimator", "task_estimator"), both, strict=True):
            if is_classifier(model) and not hasattr(model, "predict_proba"):
                raise TypeError(f"{name} needs a {part} with predict_proba; got {model!r:.200}.")
            if (column := final_task_column(model)[0]) is not None:
                raise ValueError(
                    f"{part} has task_column={column!r}; give it to {name}, which passes tasks on."
                )

    def _known_classes(self, y, used):
        """The classes; ValueError where those of some columns of y are others."""
        classes = classes_of(y[used])
        columns = zip(y.T, used.T, strict=True) if y.ndim == 2 else ()
        if len(classes) > 2 and any(len(np.unique(own[at])) < len(classes) for own, at in columns):
            raise ValueError(
                f"every column of y must hold all of the {len(classes)} classes, or there must be two; "
                f"{type(self).__name__} has one mean of them."
            )
        return classes

    def _least(self, y, used, weight):
        """The least probability or mean of counts; zero where any number is one."""
        if is_classifier(self):
            return self.least
        loss = get_loss(getattr(final_model(self.task_estimator), "loss", "squared_error"), REGRESSION_LOSSES)
        if not (loss.log_link or models_counts(self.task_estimator)):
            return 0.0
        loss.check(y[used])
        weight = np.ones(len(y)) if weight is None else weight
        weight = np.broadcast_to(weight.reshape(len(y), *[-1] * (y.ndim - 1)), y.shape)
        return self.least * float(np.average(y[used], weights=weight[used]))

    def _fitted_mean(self, X, y, labels, weight, rows):
        """The mean of some rows, which knows tasks or is told them by a baseline."""
        model = self.mean_estimator
        if not reaches("tasks", model, "fit"):
            model = (SingleTask if self._layout_ == "shared" else Pooled)(model)
        with routing(labels):
            return fitted_on(rows, model, X, y, labels, present(sample_weight=weight))

    # --- predict ---

    def _linked(self, mean, X, tasks):
        """Predictions of the mean on the scale of linear predictors."""
        with routing(tasks):
            if not is_classifier(self):
                found = response(mean, X, tasks, "predict")[0]
                return np.log(self._at_least(found)) if self.least_ else found
            columns = tasks is None and self._layout_ == "shared"
            found = probabilities_of(self.classes_, mean, X, tasks, columns)
        logs = np.log(self._at_least(found))
        return logs[..., 1] - logs[..., 0] if len(self.classes_) == 2 else logs

    def _at_least(self, values):
        """Probabilities or means not below the least, with a warning where some are."""
        low = np.count_nonzero(values < self.least_)
        if low:
            what = "probabilities of classes" if is_classifier(self) else "means of counts"
            warn(
                f"{low} of {values.size} {what} by mean_estimator are below {self.least_:.3g} and taken to "
                "be that (see the parameter least).",
            )
        return np.maximum(values, self.least_)

    def _respond(self, method, X, tasks):
        """Output of the task estimator."""
        check_is_fitted(self)
        X, tasks = self._split(X, tasks)
        X = indexable(X)
        if tasks is not None:
            tasks = check_tasks(tasks, num_samples(X))
            if self._layout_ == "shared":
                self._find_tasks(tasks)
        offset = self._linked(self.mean_estimator_, X, tasks)
        given = {} if tasks is None else {"tasks": tasks}
        with routing(offset):
            return getattr(self.task_estimator_, method)(X, **given, offset=offset)

    @by_name
    def predict(self, X, *, tasks=None):
        return self._respond("predict", X, tasks)

    predict.__doc__ = _without_offset(SingleTask.predict)

    @by_name
    def score(self, X, y, sample_weight=None, *, tasks=None):
        return self._score_of(y, self.predict(X, tasks=tasks), sample_weight)

    score.__doc__ = _without_offset(SingleTask.score)


def _with_rest(splits, rows):
    """The splits with the rows that none holds out, the only ones of their tasks, dealt out to them."""
    held_out = np.concatenate([test for _, test in splits])
    rest, k = np.setdiff1d(rows, held_out), len(splits)
    for i, (train, test) in enumerate(splits):
        yield np.setdiff1d(train, rest[i::k]), np.concatenate([test, rest[i::k]])
