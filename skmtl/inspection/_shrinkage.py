"""Where sharing moves the estimate of each task."""

import numpy as np
import sklearn
from sklearn.base import is_classifier

from .._fitted import features_seen, fitted_coefficients
from ..baselines import SingleTask
from ._drawing import BLUE, GREY, ORANGE, Display, checked, name_ticks, short

MOST_NAMED = 40
NORMAL = 1.96  # standard errors on either side of an interval of 95%
WEAK = 100.0  # C of the logistic regression of one task: separable classes have no estimate without any


class ShrinkageDisplay(Display):
    """Caterpillar plot: each task's own estimate of a coefficient, and where sharing moves it.

    Tasks are sorted by the shared estimate; of many those are named whose estimates move most. Own
    estimates far beyond the others are triangles at the border.

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
    ax_ : matplotlib axes
        Where it was drawn.
    figure_ : matplotlib figure
        The figure of these axes.
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
        cls, estimator, X, y, tasks=None, *, feature=None, target_class=None, own=None, ax=None
    ):
        """Fit each task by itself, and draw its estimate beside that of a fitted model.

        Parameters
        ----------
        estimator : estimator
            A fitted linear model with tasks, also at the end of a Pipeline or in a search.
        X, y, tasks
            The rows of its fit.
        feature : str, int or "(intercept)", default=None
            Name or position of the feature. By default the one of which the coefficients of the model differ
            most between tasks, in standard deviations of the feature.
        target_class : object, default=None
            One of more than two classes; by default the first.
        own : estimator, default=None
            Linear model for each task by itself. By default least squares (of least norm where there are
            several), for classes logistic regression with ``C=100``.
        ax : matplotlib axes, default=None
            Where to draw; by default new axes.

        Returns
        -------
        ShrinkageDisplay
        """
        found = fitted_coefficients(estimator, errors=True)
        if own is None:
            linear = sklearn.linear_model
            own = linear.LinearRegression()
            if is_classifier(found.model):
                own = linear.LogisticRegression(C=WEAK, max_iter=10_000)
        X = features_seen(estimator, X)
        column = getattr(found.model, "task_column", None)
        single = fitted_coefficients(SingleTask(own, task_column=column).fit(X, y, tasks=tasks))
        if single.rows != found.rows or single.coef.shape != found.coef.shape:
            raise ValueError(
                f"X, y and tasks must be those of the fit: the model has {len(found.rows)} rows of "
                f"{len(found.features)} coefficients, such as {found.rows[:3]}, and each task by itself "
                f"{len(single.rows)} of {len(single.features)}, such as {single.rows[:3]}."
            )
        rows = _rows_of_class(found, target_class)
        at = _position(feature, found, rows, np.abs(single.coef).max(initial=0))
        pairs = [(found.intercept, single.intercept, found.intercept_std)] if at is None else [
            (found.coef[:, at], single.coef[:, at], None if found.coef_std is None else found.coef_std[:, at])
        ]  # fmt: skip
        shared, alone, std = (None if one is None else one[rows] for one in pairs[0])
        name = "(intercept)" if at is None else found.features[at]
        name = name if target_class is None else f"{name} of {target_class}"
        names = [found.tasks[i] for i in rows]
        return cls(alone, shared, tasks=names, std=std, name=name).plot(ax)

    def plot(self, ax=None):
        """Draw the estimates.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; by default new axes.

        Returns
        -------
        ShrinkageDisplay
            Itself, with the attributes that drawing sets.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
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
        self.own_ = self.ax_.scatter(
            own[inside],
            at[inside],
            size,
            facecolors="none",
            edgecolors=ORANGE,
            label="own rows",
            zorder=2,
        )
        for beyond, marker in ((own < low, "<"), (own > high, ">")):
            self.ax_.scatter(clipped[beyond], at[beyond], size, color=ORANGE, marker=marker, zorder=2)
        label = "shared" if self.std is None else "shared (95%)"
        if self.std is not None:
            self.ax_.hlines(
                at, shared - width, shared + width, color=BLUE, linewidth=1.4, alpha=0.8, zorder=3
            )
        self.shared_ = self.ax_.scatter(shared, at, size, color=BLUE, label=label, zorder=4)
        mean = np.nanmean(shared)
        self.ax_.axvline(mean, color=ink, linewidth=0.8, linestyle="--", label="their mean", zorder=0)
        moved = np.abs(own - shared)
        name_ticks(self.ax_, "y", [self.tasks[t] for t in self.order_], MOST_NAMED, moved)
        span = (high - low) or 1.0
        self.ax_.set(
            xlabel=short(self.name), xlim=(low - 0.04 * span, high + 0.04 * span), ylim=(-0.8, T - 0.2)
        )
        self.ax_.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize="small")
        return self


def _rows_of_class(found, target_class):
    """Positions of the rows of one class of every task."""
    known = list(dict.fromkeys(found.classes))
    if known == [None] and target_class is not None:
        raise ValueError(f"target_class={target_class!r}: the model has one vector of coefficients per task.")
    wanted = known[0] if target_class is None else target_class
    if wanted not in known:
        raise ValueError(f"target_class must be one of {known}; got {target_class!r}.")
    return np.array([i for i, one in enumerate(found.classes) if one == wanted])


def _position(feature, found, rows, size):
    """Position of a feature, None for the intercept."""
    if feature == "(intercept)":
        return None
    names = found.features
    if isinstance(feature, str):
        if feature not in names:
            raise ValueError(f"feature={feature!r} is not one of {names[:20]} or '(intercept)'.")
        return names.index(feature)
    if feature is None:
        return int(np.argmax(np.std(found.coef[rows], axis=0)))
    if not -len(names) <= feature < len(names):
        raise ValueError(f"feature={feature} is out of range: there are {len(names)} features.")
    return int(feature) % len(names)


def _range(own, shared, width):
    """Where the axis ends: at all shared estimates, their intervals, and most of the own ones."""
    ends = np.concatenate([shared - width, shared + width])
    known = own[np.isfinite(own)]
    if len(known):
        first, third = np.percentile(known, [25, 75])
        far = 3 * max(third - first, np.ptp(ends) / 4)
        ends = np.concatenate([ends, known[(known >= first - far) & (known <= third + far)]])
    return np.nanmin(ends), np.nanmax(ends)
