"""How near a fit is to the optimum, and what it costs to be nearer."""

import time

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ._drawing import BLUE, Display, checked, log_ticks

TOLERANCES = tuple(10.0**-k for k in range(1, 8))
REPEATS, ENOUGH = 3, 0.5  # the least time of so many fits counts, or of as many as fill some seconds


class ConvergenceDisplay(Display):
    """Duality gap against iterations and time, a point for each tolerance at which the fit goes on.

    The gap bounds how far the objective is above its optimum. Without a certificate the objective above the
    least one found stands in its place. Fits that end at the same iteration are one point, with the least of
    their times.

    Parameters
    ----------
    gaps : array-like of shape (n_points,)
        Gaps over the objective; not above zero: nothing but rounding is left.
    n_iter, seconds : array-like of shape (n_points,)
        Iterations and time of the fits.
    certified : bool, default=True
        Whether the gaps are bounds.
    name : str, default=""
        What was fitted.

    Attributes
    ----------
    ax_ : matplotlib axes
        The axes around both pictures.
    iterations_ax_, seconds_ax_ : matplotlib axes
        Where they were drawn.
    figure_ : matplotlib figure
        The figure of these axes.

    Examples
    --------
    >>> from skmtl import GroupSparseRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import ConvergenceDisplay
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> model = GroupSparseRegressor(0.1)
    >>> display = ConvergenceDisplay.from_estimator(model, data.X, data.y, data.tasks)
    >>> display.iterations_ax_.get_ylabel()
    'duality gap / objective'
    """

    def __init__(self, gaps, *, n_iter, seconds, certified=True, name=""):
        self.gaps, self.n_iter, self.seconds = gaps, n_iter, seconds
        self.certified, self.name = certified, name

    @classmethod
    def from_estimator(cls, estimator, X, y, tasks=None, *, tols=TOLERANCES, ax=None):
        """Fit clones with falling tolerances, each from scratch, and draw how near they come.

        Parameters
        ----------
        estimator : estimator
            A linear model with tasks, or a Pipeline that ends with one, whose first steps are fitted once;
            of a fitted search its best estimator.
        X, y, tasks
            As in `fit`.
        tols : sequence of float, default=(0.1, 0.01, ..., 1e-07)
            Values of the parameter `tol`.
        %(ax)s

        Returns
        -------
        ConvergenceDisplay

        Notes
        -----
        A fit that is not counted goes before the others, so that no time is that of a compilation; of quick
        fits the least time of three counts.
        """
        model = clone(getattr(estimator, "best_estimator_", estimator))
        if isinstance(model, Pipeline):
            X, model = model[:-1].fit_transform(X, y) if len(model.steps) > 1 else X, model.steps[-1][1]
        if "tol" not in model.get_params(deep=False):
            raise TypeError(f"a model with a tolerance tol is needed; got {type(model).__name__}.")
        if "warm_start" in model.get_params(deep=False):
            model.set_params(warm_start=False)
        given = {} if tasks is None else {"tasks": tasks}
        clone(model).set_params(tol=max(tols)).fit(X, y, **given)
        found = []
        for tol in sorted(tols, reverse=True):
            one, times = clone(model).set_params(tol=tol), []
            while len(times) < REPEATS and sum(times) < ENOUGH:
                start = time.perf_counter()
                one.fit(X, y, **given)
                times.append(time.perf_counter() - start)
            if not hasattr(one, "objective_"):
                raise TypeError(f"{type(model).__name__} does not tell its objective.")
            found.append((one.dual_gap_, one.objective_, one.n_iter_, min(times)))
        gaps, objective, n_iter, seconds = np.transpose(found).astype(np.float64)
        seconds = np.minimum.accumulate(seconds[::-1])[::-1]  # a fit that goes on takes no less
        certified = not np.isnan(gaps).any()
        gaps = gaps if certified else objective - objective.min()
        gaps = gaps / np.maximum(np.abs(objective), np.finfo(float).tiny)
        name = type(model).__name__
        return cls(gaps, n_iter=n_iter, seconds=seconds, certified=certified, name=name).plot(ax)

    def plot(self, ax=None):
        """Draw the gaps.

        Parameters
        ----------
        %(ax)s

        %(drawn)s
        ValueError
            If lengths differ.
        """
        gaps = checked("gaps", self.gaps, (None,))
        n_iter, seconds = (checked(k, getattr(self, k), gaps.shape) for k in ("n_iter", "seconds"))
        same = np.unique(np.stack([n_iter, gaps]), axis=1, return_inverse=True)[1].ravel()
        first = np.unique(same, return_index=True)[1]
        least_time = np.array([seconds[same == k].min() for k in range(len(first))])
        unit, name = (1000, "milliseconds") if least_time.max(initial=0) < 0.1 else (1, "seconds")
        ink = self._begin(ax, (8, 3.4))
        self.ax_.set_axis_off()
        self.iterations_ax_ = self.ax_.inset_axes([0, 0, 0.48, 1])
        self.seconds_ax_ = self.ax_.inset_axes([0.52, 0, 0.48, 1])
        least = np.finfo(float).eps
        shown = np.maximum(gaps[first], least)
        places = self.iterations_ax_, self.seconds_ax_
        numbers, labels = (n_iter[first], unit * least_time), ("iterations", f"{name} of the fit")
        for place, values, label in zip(places, numbers, labels, strict=True):
            place.plot(values, shown, marker="o", markersize=4, color=BLUE)
            place.set_yscale("log")
            place.set_xlabel(label)
            if values.max() > 20 * max(values.min(), 1e-12):
                log_ticks(place, values, 4)
            else:
                place.set_xlim(0, 1.08 * values.max())
                place.locator_params(axis="x", nbins=5, integer=place is self.iterations_ax_)
            place.grid(alpha=0.3)
        self.seconds_ax_.tick_params(labelleft=False)
        self.seconds_ax_.set_ylim(self.iterations_ax_.get_ylim())
        what = "duality gap / objective" if self.certified else "objective above the least found / objective"
        self.iterations_ax_.set_ylabel(what)
        rounding = " (at the bottom: rounding)" if (gaps <= least).any() else ""
        each = f"a point for each tol at which the fit goes on{rounding}"
        points = "one solution at every tolerance" if len(first) == 1 else each
        title = f"{self.name}: {points}".lstrip(": ")
        self.ax_.set_title(title, fontsize="medium", color=ink)
        return self
