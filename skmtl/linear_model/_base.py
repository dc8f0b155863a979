"""Regressors and classifiers: targets, losses and predictions on top of the common linear model."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from .._labels import missing_labels, plain_labels
from .._sklearn import StrOptions, fit_context
from .._tasks import all_or_nothing
from ..losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, Loss, Multinomial, get_loss
from ..statistics import TaskStatistics
from ._fitting import Fitting
from ._model import LinearModel, estimator

__all__ = ["LinearClassifier", "LinearModel", "LinearRegressor", "estimator", "used_labels"]


@dataclass(eq=False, repr=False, kw_only=True)
class LinearRegressor(RegressorMixin, LinearModel):
    """Regression on a linear predictor."""

    loss: Any = "squared_error"

    _parameter_constraints = {
        "loss": [StrOptions(set(REGRESSION_LOSSES)), Loss],
    }

    def _loss(self):
        return get_loss(self.loss, REGRESSION_LOSSES)

    @property
    def _takes_statistics(self):
        return self._loss().quadratic

    def _encode(self, y, tasks, sample_weight):
        self._loss().check(y if sample_weight is None else y[used_labels(y, sample_weight)])
        return y

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=True)
    def fit_statistics(self, stats):
        """Fit from second moments instead of rows.

        Parameters
        ----------
        stats : TaskStatistics
            Moments of the rows of X without a task column.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the loss is not the squared error.
        """
        fitting = Fitting(self, self._read_statistics(stats))
        return fitting.keep(fitting.at(self.alpha, self._start(stats)))

    def _read_statistics(self, stats):
        """Checked moments in the place of the data of fit."""
        if not isinstance(stats, TaskStatistics):
            raise TypeError(f"stats must be a TaskStatistics object; got {type(stats).__name__}.")
        if not self._loss().quadratic:
            raise ValueError(f"loss={self.loss!r} needs the rows; statistics serve the squared error only.")
        self._forget()
        self._layout_, self.tasks_, self.n_tasks_ = "stacked", stats.tasks, stats.n_tasks
        self.n_features_in_ = stats.n_features + (self.task_column is not None)
        if stats.feature_names is not None and self.task_column is None:
            self.feature_names_in_ = stats.feature_names
        self._prepare(stats)
        return stats

    def predict(self, X, *, tasks=None):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            2-D after a fit on a 2-D y (unless `tasks` is given).

        Raises
        ------
        ValueError
            If tasks are missing or unknown.
        """
        return self._loss().mean(self._linear_predictor(X, tasks)[0])

    score = LinearModel.score  # not that of the mixin


@dataclass(eq=False, repr=False, kw_only=True)
class LinearClassifier(ClassifierMixin, LinearModel):
    """Classification on one linear predictor per task, or one per task and class."""

    loss: str = "log_loss"

    _parameter_constraints = {
        "loss": [StrOptions(set(CLASSIFICATION_LOSSES))],
    }

    def _loss(self):
        if not isinstance(self.classes_, list):
            K = len(self.classes_)
            return CLASSIFICATION_LOSSES[self.loss]() if K == 2 else Multinomial(K)
        return [Multinomial(len(own)) for own in self.classes_]

    def _encode(self, y, tasks, sample_weight):
        """Positions of the targets in `classes_`, which it sets; NaN where missing in a 2-D y."""
        used = used_labels(y, sample_weight)
        # rows not used have weight zero in 1-D
        codes = np.full(y.shape, 0.0 if y.ndim == 1 else np.nan)
        own = (
            [_classes(column[rows]) for column, rows in zip(y.T, used.T, strict=True)] if y.ndim == 2 else []
        )
        self.classes_ = _union(own) if own else _classes(y[used])
        if len(self.classes_) < 2:
            raise ValueError(f"y holds only one class, {self.classes_.tolist()}; a classifier needs two.")
        if len(self.classes_) > 2 and self.loss != "log_loss":
            raise ValueError(f"loss={self.loss!r} is for two classes; y has {len(self.classes_)}.")
        if len(self.classes_) > 2 and any(len(found) < len(self.classes_) for found in own):
            if max(map(len, own)) == 1:
                raise ValueError("every column of y holds only one class; a classifier needs two in some.")
            self.classes_ = own
            for column, rows, labels, out in zip(y.T, used.T, own, codes.T, strict=True):
                out[rows] = np.searchsorted(labels, plain_labels(column[rows]))
            return codes
        codes[used] = np.searchsorted(self.classes_, plain_labels(y[used]))
        return codes

    def _warn_of_data(self, data):
        free = self.loss == "log_loss" and self.fit_intercept and not self.intercept_alpha
        if free and not isinstance(self.classes_, list):
            _warn_of_absent(data, self.classes_)

    def decision_function(self, X, *, tasks=None):
        """Log-odds of ``classes_[1]``, or one score per class.

        Parameters
        ----------
        X, tasks
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            With one more axis, over the classes, for more than two. A class that a task does not
            know scores minus infinity.
        """
        eta, codes = self._linear_predictor(X, tasks)
        if not isinstance(self.classes_, list):
            return eta
        if codes is not None and (codes < 0).any():
            raise ValueError("tasks with labels of their own have no average to predict unknown tasks with.")
        known = np.arange(eta.shape[-1]) < np.array([len(own) for own in self.classes_])[:, None]
        return np.where(known if codes is None else known[codes], eta, -np.inf)

    def predict(self, X, *, tasks=None):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)

        Raises
        ------
        ValueError
            If tasks are missing or unknown.
        """
        eta = self.decision_function(X, tasks=tasks)
        best = (eta > 0).astype(np.intp) if self._n_outputs == 1 else eta.argmax(axis=-1)
        if not isinstance(self.classes_, list):
            return self.classes_[best]
        kinds = {own.dtype.kind for own in self.classes_}
        out = np.empty(best.shape, dtype=np.result_type(*self.classes_) if len(kinds) == 1 else object)
        codes = None if best.ndim == 2 else self._predict_inputs(X, tasks)[1]
        for t, own in enumerate(self.classes_):
            at = (slice(None), t) if codes is None else codes == t
            out[at] = own[best[at]]
        return out

    @available_if(lambda self: self.loss == "log_loss")
    def predict_proba(self, X, *, tasks=None):
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X, tasks
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            After a fit on a 2-D y, (n_samples, n_tasks, n_classes); for two classes the probability
            of ``classes_[1]`` in each task, (n_samples, n_tasks), as scikit-learn's classifiers give
            it for several binary outputs; where the columns have labels of their own a list with
            one array (n_samples, n_classes) for each.
        """
        eta = self.decision_function(X, tasks=tasks)
        if self._n_outputs == 1:
            return np.column_stack([expit(-eta), expit(eta)]) if eta.ndim == 1 else expit(eta)
        p = softmax(eta, axis=-1)
        if not isinstance(self.classes_, list) or p.ndim == 2:
            return p
        return [p[:, t, : len(own)] for t, own in enumerate(self.classes_)]

    score = LinearModel.score  # not that of the mixin


def used_labels(y, sample_weight):
    """Where y holds a label of positive weight, boolean of the shape of y."""
    used = ~missing_labels(y)
    if sample_weight is not None:
        used &= np.broadcast_to((sample_weight > 0).reshape(len(y), *[-1] * (y.ndim - 1)), y.shape)
    return used


def _warn_of_absent(data, classes):
    """Warn of tasks without one of the classes."""
    counts = [data.task_sums((data.weight > 0) & (data.y == k)) for k in range(len(classes))]
    absent = np.transpose(counts) == 0  # (n_tasks, n_classes)
    lacking = np.flatnonzero(absent.any(axis=1))
    if len(lacking):
        shown = [f"{data.tasks[t]!s} lacks {classes[absent[t]].tolist()}" for t in lacking[:5]]
        warnings.warn(
            f"{len(lacking)} task(s) without some class: {'; '.join(shown)}. Its free intercept there is at "
            "minus infinity, in place of which one is used that gives it no probability on these rows. With "
            "intercept_alpha > 0 such a task learns from the others how rare the class is.",
            UserWarning,
            stacklevel=5,
        )


def _classes(labels):
    """The sorted distinct labels."""
    labels = plain_labels(labels)
    check_classification_targets(labels)
    return np.unique(labels)


def _union(sets):
    """All labels of several sets; of different types they stay objects, not sorted."""
    if len({labels.dtype.kind for labels in sets}) == 1:
        return np.unique(np.concatenate(sets))
    return np.array(list(dict.fromkeys(label for labels in sets for label in labels.tolist())), dtype=object)
