"""Regressors and classifiers: their losses, and what they say of the rows."""

from typing import Annotated, Any

import numpy as np

from .._parameters import with_parameters
from .._sklearn import StrOptions, fit_context
from .._target import ClassesMixin, NumbersMixin, warn_of_units
from .._tasks import all_or_nothing
from .._warn import warn
from ..losses import CLASSIFICATION_LOSSES, NORMAL, REGRESSION_LOSSES, Huber, Loss
from ..penalties import Positive
from ..statistics import TaskStatistics
from ._fitting import Fitting
from ._model import LinearModel, estimator

__all__ = ["LinearClassifier", "LinearModel", "LinearRegressor", "NonnegativeRegressor", "estimator"]

FAR = 10.0  # such a standard deviation of residuals is no noise of unit size, for which Huber's width is
UNITS = 10  # ratio of standard deviations of columns of y


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

    __metadata_request__partial_fit = {"tasks": True, "offset": True}
    _statistics_ = None  # of the rows of all partial fits

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
        Fitting(self, self._read_statistics(stats)).fit()
        self._statistics_ = stats
        return self

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, *, tasks=None, sample_weight=None, offset=None):
        """Fit to these rows and those of all calls since the last `fit`, without those of `fit` itself.

        Second moments of the rows are added up (see `TaskStatistics`); no row is kept. After `fit` it begins
        anew, with a warning; after `fit_statistics` it goes on from these moments.

        Parameters
        ----------
        X, y, tasks, sample_weight, offset
            As in `fit`. Of a 2-D y every column needs a label.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the loss is not the squared error, or rows and columns are not like those before.
        """
        self._refuse_other_than_squares("partial_fit serves")
        before, layout = self._statistics_, None if self._of_moments_ else getattr(self, "_layout_", None)
        if before is not None:
            self._split(X, tasks)  # the same columns as before
            if offset is None:
                self._refuse_without_offset()
        elif hasattr(self, "coef_"):
            warn(
                f"partial_fit of this {type(self).__name__} begins anew: fit keeps no rows. To go on from "
                "them call fit_statistics(TaskStatistics.from_arrays(X, y, tasks)) in the place of fit, or "
                "partial_fit from the first rows on."
            )
        tasks_before = [] if before is None else self.tasks_.tolist()
        stats = TaskStatistics.of_rows(Fitting.of_rows(self, X, y, tasks, sample_weight, offset).data)
        if hasattr(self, "feature_names_in_"):
            stats.feature_names = np.array(self._names(), dtype=object)
        if before is not None:
            if layout not in (None, self._layout_):
                raise ValueError("partial_fit needs tasks in one form, tasks= or columns of y, each time.")
            stats = before + stats
            lost = set(tasks_before).difference(stats.tasks.tolist())
            if lost:
                lost = ", ".join(sorted(map(repr, lost)))
                warn(
                    f"partial_fit leaves out what fit_task added, as it has no rows of it: task {lost}. Call "
                    "fit_task again, or partial_fit with its rows."
                )
        self._fit_moments(stats)
        self._statistics_ = stats
        return self

    def _fit_moments(self, stats):
        """Fit to moments of rows of which everything else is known."""
        known = "_layout_", "n_features_in_", "feature_names_in_", "_had_offset_", "_of_moments_"
        known = {name: getattr(self, name) for name in known if hasattr(self, name)}
        fitting = Fitting(self, self._read_statistics(stats))
        self.__dict__.update(known)
        fitting.fit()

    def _warn_of_fit(self, data, result):
        """Warn where y is in units in which the default width of Huber's loss is no width of its noise."""
        if not (isinstance(self.loss, str) and self.loss == "huber"):  # another width is what was asked for
            return
        observed, width = np.broadcast_to(data.weight, data.y.shape) > 0, Huber().delta
        left = data.y - data.predictor(data.forward(result.coef), result.intercept)
        left, y = np.abs(left[observed]), data.y[observed]
        scale, beyond = NORMAL * np.median(left), np.count_nonzero(left > width)
        if scale > FAR or 0 < np.ptp(y) <= width:
            kind, scale = ("absolute", scale) if scale > FAR else ("squared", max(scale, np.ptp(y) / 1e3))
            warn(
                f"loss='huber' has the width {width} in units of y, which {beyond} of {len(left)} residuals "
                f"exceed: it is the loss of {kind} errors. Divide y by the scale of its noise, or give "
                f"loss=Huber({width * scale:.2g}).",
            )

    def _warn_of_data(self, data):
        if self._layout_ == "shared" and self._target_.loss.quadratic:
            complete = data.n_designs == 1
            warn_of_units(data.y if complete else np.where(data.weight > 0, data.y, np.nan), UNITS)

    def _fit(self, X, y, tasks, sample_weight, offset):
        self._statistics_ = None
        super()._fit(X, y, tasks, sample_weight, offset)

    def _refuse_other_than_squares(self, what):
        """ValueError where second moments say too little of the loss."""
        if not self._known_target().loss.quadratic:
            raise ValueError(f"loss={self.loss!r} needs the rows; {what} the squared error only.")

    def _read_statistics(self, stats):
        """Checked moments in the place of the data of fit."""
        if not isinstance(stats, TaskStatistics):
            raise TypeError(f"stats must be a TaskStatistics object; got {type(stats).__name__}.")
        self._refuse_other_than_squares("statistics serve")
        self._forget()
        self._layout_, self.tasks_, self._of_moments_ = "stacked", stats.tasks, True
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
        if not isinstance(self.classes_, list):
            counts = [data.task_sums((data.weight > 0) & (data.y == k)) for k in range(len(self.classes_))]
            self._warn_of_absent(np.transpose(counts) == 0)

    def _warn_of_absent(self, absent, tasks=None):
        """Warn of tasks without some class, absent (n_tasks, n_classes), where their intercepts are free."""
        lacking = np.flatnonzero(absent.any(axis=1))
        free = self.loss == "log_loss" and self.fit_intercept and not self.intercept_alpha
        if not (free and len(lacking)):
            return
        tasks = self.tasks_ if tasks is None else tasks
        shown = [f"{tasks[t]!s} lacks {self.classes_[absent[t]].tolist()}" for t in lacking[:5]]
        warn(
            f"{len(lacking)} task(s) without some class: {'; '.join(shown)}. Its free intercept there is at "
            "minus infinity, in place of which one is used that gives it no probability on these rows. With "
            "intercept_alpha > 0 such a task learns from the others how rare the class is.",
        )
