"""Regressors and classifiers: their losses, and what they say of the rows."""

import warnings
from typing import Annotated, Any

import numpy as np

from .._parameters import with_parameters
from .._sklearn import StrOptions, fit_context
from .._target import ClassesMixin, NumbersMixin
from .._tasks import all_or_nothing
from ..losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, Loss
from ..penalties import Positive
from ..statistics import TaskStatistics
from ._fitting import Fitting
from ._model import LinearModel, estimator

__all__ = ["LinearClassifier", "LinearModel", "LinearRegressor", "NonnegativeRegressor", "estimator"]


@with_parameters
class LinearRegressor(NumbersMixin, LinearModel):
    """Regression on a linear predictor.

    Parameters
    ----------
    loss : {"squared_error", "huber", "poisson", "root_squared_error"} or Loss, default="squared_error"
        Loss of a row (of a task for the root), see `skmtl.losses`. With "poisson" the model predicts
        ``exp(eta)``.
    """

    loss: Annotated[Any, StrOptions(set(REGRESSION_LOSSES)), Loss] = "squared_error"

    _takes_statistics = property(lambda self: self._known_target().loss.quadratic)

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=True)
    def fit_statistics(self, stats):
        """Fit from second moments instead of rows.

        Parameters
        ----------
        stats : TaskStatistics
            Moments of the rows of X without a task column, of targets less an offset if there is one.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the loss is not the squared error.
        """
        return Fitting(self, self._read_statistics(stats)).fit()

    def _read_statistics(self, stats):
        """Checked moments in the place of the data of fit."""
        if not isinstance(stats, TaskStatistics):
            raise TypeError(f"stats must be a TaskStatistics object; got {type(stats).__name__}.")
        if not self._known_target().loss.quadratic:
            raise ValueError(f"loss={self.loss!r} needs the rows; statistics serve the squared error only.")
        self._forget()
        self._layout_, self.tasks_, self.n_tasks_ = "stacked", stats.tasks, stats.n_tasks
        self._had_offset_ = False  # moments are those of targets less theirs
        self._target_ = self._known_target()
        self.n_features_in_ = stats.n_features + (self.task_column is not None)
        if stats.feature_names is not None and self.task_column is None:
            self.feature_names_in_ = stats.feature_names
        self._prepare(stats)
        return stats


@with_parameters
class NonnegativeRegressor(LinearRegressor):
    """Regression with a penalty that can be one of nonnegative coefficients.

    Parameters
    ----------
    positive : bool, default=False
        Whether all coefficients must be >= 0 (not for a trace norm).
    """

    positive: Annotated[bool, "boolean"] = False

    def _omega(self):
        if not self.positive:
            return self._penalty()
        if self._shared_mean() is not None:
            raise ValueError("positive=True is about W and cannot be combined with mean_alpha.")
        return Positive.of(self._penalty())


@with_parameters
class LinearClassifier(ClassesMixin, LinearModel):
    """Classification on one linear predictor per task, or one per task and class.

    Parameters
    ----------
    loss : {"log_loss", "squared_hinge"}, default="log_loss"
        Log-loss of two or more classes, or squared hinge of two (without probabilities).
    """

    loss: Annotated[str, StrOptions(set(CLASSIFICATION_LOSSES))] = "log_loss"

    def _warn_of_data(self, data):
        free = self.loss == "log_loss" and self.fit_intercept and not self.intercept_alpha
        if free and not isinstance(self.classes_, list):
            _warn_of_absent(data, self.classes_)


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
            stacklevel=7,
        )
