"""Where sharing moves the estimate of each task."""

from functools import partial

import numpy as np
import sklearn
from sklearn.base import is_classifier
from sklearn.preprocessing import StandardScaler

from .._columns import one_column, split_task_column
from .._fitted import INTERCEPT, features_seen, fitted_coefficients
from .._inputs import as_target, check_among
from .._labels import meant, missing_labels
from ..baselines import SingleTask
from ..losses import Poisson
from ..statistics import TaskStatistics
from ._drawing import BLUE, GREY, ORANGE, Display, checked, name_tasks, short

MOST_NAMED = 40
NORMAL = 1.96  # standard errors on either side of an interval of 95%
WEAK = 100.0  # C of the logistic regression of one task: separable classes have no estimate without any


class ShrinkageDisplay(Display):
    """Caterpillar plot: each task's own estimate of a coefficient, and where sharing moves it.

    Tasks are sorted by the shared estimate; of many those are named whose estimates move most. Own
    estimates far beyond the others are triangles at the border; where a feature is constant within a task
    there is none.

    Parameters
    ----------
    own, shared : array-like of shape (n_tasks,)
        Estimates by the rows of each task alone, and by the model of all; NaN: there is none.
    tasks : sequence
        Names of the tasks.
    std : array-like of shape (n_tasks,), default=None
        Standard errors of the shared estimates.
    name : str, default="coefficient"
        What is estimated.

    Attributes
    ----------
    %(axes)s
    own_, shared_ : matplotlib collections
        The points.
    order_ : ndarray of shape (n_tasks,)
        Positions of the tasks from the lowest to the highest point.

    Notes
    -----
    Intervals are those of 95% by a normal distribution, 1.96 standard errors on either side.

    Examples
    --------
    >>> from skmtl import MeanRegularizedRegressor
    >>> from skmtl.datasets import load_hsb82
    >>> from skmtl.inspection import ShrinkageDisplay
    >>> data = load_hsb82(as_frame=True)
    >>> X = data.data[["school", "ses"]]
    >>> model = MeanRegularizedRegressor("auto", intercept_alpha="auto", task_column="school")
    >>> display = ShrinkageDisplay.from_estimator(model.fit(X, data.target), X, data.target)
    >>> display.ax_.get_xlabel()
    'ses'
    """

    def __init__(self, own, shared, *, tasks, std=None, name="coefficient"):
        self.own, self.shared, self.tasks, self.std, self.name = own, shared, tasks, std, name

    @classmethod
    def from_estimator(
        cls, estimator, X, y, tasks=None, *, sample_weight=None, feature=None, target_class=None, own=None,
        ax=None,
    ):  # fmt: skip
        """Fit each task by itself, and draw its estimate beside that of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted linear model with tasks, also at the end of a Pipeline or in a search.
        X, y, tasks, sample_weight
            Those of its fit, which had no offset.
        feature : str, int or "(intercept)", default=None
            Name or position of the feature. By default the one of which the coefficients of the model differ
            most between tasks, in standard deviations of the feature.
        target_class : object, default=None
            One of more than two classes; by default the first.
        own : estimator, default=None
            Linear model for each task by itself. By default least squares (of least norm where there are
            several), for counts a Poisson regression without penalty, for classes logistic regression with
            ``C=100``.
        %(ax)s

        Returns
        -------
        ShrinkageDisplay

        Raises
        ------
        TypeError
            If the model has no coefficients of tasks, or tasks of different kinds.
        ValueError
            If the rows are not those of the fit, or the feature or the class is unknown.
        """
        found = fitted_coefficients(estimator, errors=True)
        own = _without_sharing(found.model) if own is None else own
        X, tasks = features_seen(estimator, X, tasks)
        column = getattr(found.model, "task_column", None)
        single = SingleTask(own, task_column=column).fit(X, y, tasks=tasks, sample_weight=sample_weight)
        single = fitted_coefficients(single)
        if single.rows != found.rows or single.coef.shape != found.coef.shape:
            more = " and of the tasks added to it" if getattr(found.model, "added_tasks_", {}) else ""
            raise ValueError(
                f"X, y and tasks must be those of the fit{more}: the model has {len(found.rows)} rows of "
                f"{len(found.features)} coefficients, such as {found.rows[:3]}, and each task by itself "
                f"{len(single.rows)} of {len(single.features)}, such as {single.rows[:3]}."
            )
        rows = _rows_of_class(found, target_class)
        X, tasks = (X, tasks) if column is None else split_task_column(X, column)
        varies = partial(_varies, X, as_target(y), tasks, sample_weight)
        if feature is None:
            spread = StandardScaler(with_mean=False).fit(X)
            differ = found.coef[rows].std(axis=0) * np.sqrt(spread.var_)
            order = np.argsort(-differ, kind="stable").tolist()
            feature = next((j for j in order if varies(j).any()), order[0])
        name, shared, std = _estimates(found, feature)
        single.features = found.features  # an array behind a Pipeline has no names
        own = _estimates(single, feature)[1]
        if feature != INTERCEPT:
            at = list(dict.fromkeys(single.tasks))
            told = varies(found.features.index(name))[[at.index(task) for task in single.tasks]]
            own = np.where(told, own, np.nan)
        name = name if target_class is None else f"{name} of {target_class}"
        names, std = [found.tasks[i] for i in rows], None if std is None else std[rows]
        return cls(own[rows], shared[rows], tasks=names, std=std, name=name).plot(ax)

    def plot(self, ax=None):
        """Draw the estimates.

        Parameters
        ----------
        %(ax)s

        %(drawn)s
        ValueError
            If lengths differ.
        """
        T = len(self.tasks)
        own, shared = checked("own", self.own, (T,)), checked("shared", self.shared, (T,))
        self.order_ = np.argsort(shared, kind="stable")
        own, shared, at = own[self.order_], shared[self.order_], np.arange(T)
        width = 0.0 if self.std is None else NORMAL * checked("std", self.std, (T,))[self.order_]
        low, high = _range(own, shared, width)
        ink = self._begin(ax, (6.5, np.clip(0.19 * T + 1.3, 2.6, 9)))
        clipped = np.clip(own, low, high)
        self.ax_.hlines(at, clipped, shared, color=GREY, linewidth=0.8, alpha=0.7, zorder=1)
        size = np.clip(900 / max(T, 1), 8, 36)
        inside = own == clipped
        label = "own rows" if np.isfinite(own).any() else "own rows tell none"
        hollow = {"facecolors": "none", "edgecolors": ORANGE, "label": label, "zorder": 2}
        self.own_ = self.ax_.scatter(own[inside], at[inside], size, **hollow)
        for beyond, marker in ((own < low, "<"), (own > high, ">")):
            self.ax_.scatter(clipped[beyond], at[beyond], size, color=ORANGE, marker=marker, zorder=2)
        label = "with sharing" if self.std is None else "with sharing (95 % interval)"
        if self.std is not None:
            ends = shared - width, shared + width
            self.ax_.hlines(at, *ends, color=BLUE, linewidth=1.4, alpha=0.8, zorder=3)
        self.shared_ = self.ax_.scatter(shared, at, size, color=BLUE, label=label, zorder=4)
        mean = np.nanmean(shared)
        self.ax_.axvline(mean, color=ink, linewidth=0.8, linestyle="--", label="their mean", zorder=0)
        moved = np.abs(own - shared)
        name_tasks(self.ax_, [self.tasks[t] for t in self.order_], MOST_NAMED, moved)
        span = (high - low) or 1.0
        self.ax_.set(xlabel=short(self.name), ylim=(-0.8, T - 0.2))
        self.ax_.set_xlim(low - 0.04 * span, high + 0.04 * span)
        self.ax_.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")
        return self


def _rows_of_class(found, target_class):
    """Positions of the rows of one class of every task."""
    known = list(dict.fromkeys(found.classes))
    if known == [None] and target_class is not None:
        raise ValueError(f"target_class={target_class!r}: the model has one vector of coefficients per task.")
    wanted = known[0] if target_class is None else target_class
    check_among("target_class", wanted, known)
    return np.array([i for i, one in enumerate(found.classes) if one == wanted])


def _estimates(found, feature):
    """Name of a feature, or of the intercept, its values in all rows, and their standard errors or None."""
    names = found.features
    if feature == INTERCEPT:
        return INTERCEPT, found.intercept, found.intercept_std
    if isinstance(feature, str) and feature not in names:
        raise ValueError(
            f"feature={feature!r} is not one of {names[:20]} or {INTERCEPT!r}.{meant(feature, names)}"
        )
    at = names.index(feature) if isinstance(feature, str) else feature
    if not -len(names) <= at < len(names):
        raise ValueError(f"feature={feature} is out of range: there are {len(names)} features.")
    return names[at], found.coef[:, at], None if found.coef_std is None else found.coef_std[:, at]


def _varies(X, y, tasks, weight, position):
    """Whether a feature has more than one value within each task: else its rows tell of no coefficient."""
    column, seen = np.asarray(one_column(X, position)), np.where(missing_labels(y), np.nan, 0.0)
    stats = TaskStatistics.from_arrays(column[:, None], seen, tasks, sample_weight=weight)
    return np.broadcast_to(stats.xx[:, 0, 0] > 0, stats.n_tasks)


def _without_sharing(model):
    """An estimator of one task, of the kind of a fitted model."""
    if hasattr(model, "losses"):
        raise TypeError(f"{type(model).__name__} has tasks of different kinds, of which no one model is.")
    if is_classifier(model):
        return sklearn.linear_model.LogisticRegression(C=WEAK, max_iter=10_000)
    loss = getattr(model, "loss", None)
    if loss == "poisson" or isinstance(loss, Poisson):
        return sklearn.linear_model.PoissonRegressor(alpha=0.0, max_iter=10_000)
    return sklearn.linear_model.LinearRegression()


def _range(own, shared, width):
    """Where the axis ends: at all shared estimates, their intervals, and most of the own ones."""
    ends = np.concatenate([shared - width, shared + width])
    known = own[np.isfinite(own)]
    if len(known):
        first, third = np.percentile(known, [25, 75])
        far = 3 * max(third - first, np.ptp(ends) / 4)
        ends = np.concatenate([ends, known[(known >= first - far) & (known <= third + far)]])
    return np.nanmin(ends), np.nanmax(ends)
