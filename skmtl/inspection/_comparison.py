"""Comparisons: models with intervals, and which tasks gain and lose."""

from itertools import product

import numpy as np
from scipy import stats

from .._labels import meant
from .._task_scores import SURELY, gains_and_losses, standard_deviation
from ._drawing import BLUE, GREY, ORANGE, Display, checked, log_ticks, name_ticks, short, short_names

LEVEL = 0.95
MOST_STEPS = 8  # lines of text that a name may stand above or below its point
ASIDE = 0.0, 0.08, 0.16  # of the axes: how much further beside it a name may stand
LETTER, LINE = 0.08, 0.17  # inches that a letter, and the line, of such a name takes
IN_LINE = 30  # points of the line to a name that are looked at
BELOW = 0.2  # its interval, by how much of the distance of models folds are drawn


class ComparisonDisplay(Display):
    """Models by the difference of their scores to a reference, with intervals.

    The interval is that of the corrected resampled t-test, which accounts for the overlap of training sets;
    each fold is a small point. Beside the name stands the mean score.

    Parameters
    ----------
    scores : dict of {str: array-like of shape (n_folds,)}
        Scores of the models on the same folds, drawn from top to bottom.
    reference : str
        Which of them differences are taken to.
    overlap : float, default=0.0
        Size of a test set over that of its training set.
    score_name : str, default="score"
        What the score is called.
    chosen : str, default=None
        A model that is marked.

    Attributes
    ----------
    %(axes)s
    differences_, half_widths_ : ndarray of shape (n_models,)
        Mean differences, and half the widths of their intervals of 95%.

    See Also
    --------
    skmtl.compare : Finds what is drawn.
    TaskGainDisplay : The same by task.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Pooled, compare
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import ComparisonDisplay
    >>> data = make_multitask_regression(6, 20, 5, structure="mean", random_state=0)
    >>> models = {"all rows": Pooled(Ridge())}
    >>> result = compare(models, data.X, data.y, data.tasks, baselines=["single"])
    >>> display = ComparisonDisplay.from_comparison(result)
    >>> display.ax_.get_xlabel()
    "r2_score (pooled), difference to 'single'"
    """

    def __init__(self, scores, *, reference, overlap=0.0, score_name="score", chosen=None):
        self.scores, self.reference, self.overlap = scores, reference, overlap
        self.score_name, self.chosen = score_name, chosen

    @classmethod
    def from_comparison(cls, comparison, *, ax=None):
        """Draw the models of a comparison.

        Parameters
        ----------
        comparison : Comparison
            What `skmtl.compare` or `skmtl.suggest` returns.
        %(ax)s

        Returns
        -------
        ComparisonDisplay
        """
        known = _read(comparison).fold_scores
        scores = {name: known[name] for name in comparison.table["model"]}
        return cls(
            scores, reference=comparison.reference, overlap=comparison.overlap,
            score_name=comparison.score, chosen=comparison.best,
        ).plot(ax)  # fmt: skip

    def plot(self, ax=None):
        """Draw the models.

        Parameters
        ----------
        %(ax)s

        %(drawn)s
        ValueError
            If the reference is unknown, or models have scores on different folds.
        """
        names = list(self.scores)
        if self.reference not in names:
            raise ValueError(f"reference={self.reference!r} is not one of the models {names}.")
        n = len(self.scores[self.reference])
        S = np.stack([checked(f"scores[{name!r}]", self.scores[name], (n,)) for name in names])
        D = S - S[names.index(self.reference)]
        self.differences_ = D.mean(axis=1)
        spread = np.array([standard_deviation(d) if n > 1 else np.nan for d in D])
        wide = stats.t.ppf((1 + LEVEL) / 2, max(n - 1, 1))
        self.half_widths_ = wide * spread * np.sqrt(1 / n + self.overlap)
        ink = self._begin(ax, (7, np.clip(0.42 * len(names) + 1.3, 2.2, 9)))
        self.ax_.axvline(0, color=ink, linewidth=0.8, linestyle="--")
        for at, name in enumerate(names):
            color = GREY if name == self.reference else ORANGE if name == self.chosen else BLUE
            if name == self.reference:
                self.ax_.scatter(0, at, color=color)
                continue
            self.ax_.scatter(D[at], np.full(n, at + BELOW), 14, color=color, alpha=0.6, linewidths=0)
            width = self.half_widths_[at]
            self.ax_.errorbar(self.differences_[at], at, xerr=width, fmt="o", color=color, capsize=3)
        scored = zip(short_names(names), S.mean(axis=1), strict=True)
        labels = [f"{name}  {score:.3f}" for name, score in scored]
        self.ax_.set_yticks(range(len(names)), labels)
        for label, name in zip(self.ax_.get_yticklabels(), names, strict=True):
            label.set_fontweight("bold" if name == self.chosen else "normal")
        self.ax_.set_ylim(len(names) - 0.5, -0.5)
        self._limit()
        self.ax_.set_xlabel(f"{self.score_name}, difference to {self.reference!r}")
        title = f"interval of {LEVEL:.0%}; small points are the {n} folds"
        self.ax_.set_title(title, fontsize="medium", color=ink)
        return self

    def _limit(self):
        """Leave out of sight the models that are so far behind that others could not be told apart."""
        best = max(self.differences_.max(), 0.0)
        room = 4 * max(best, np.median(np.abs(self.differences_)), 1e-12)
        near = self.differences_ >= best - room
        width = np.nan_to_num(self.half_widths_)
        low, high = min((self.differences_ - width)[near].min(), 0.0), (self.differences_ + width).max()
        margin = 0.05 * ((high - low) or 1.0)
        self.ax_.set_xlim(low - margin, high + margin)
        for at in np.flatnonzero(self.differences_ < low - margin):
            text = f"◂ {self.differences_[at]:.2g}"
            self.ax_.text(low, at, text, va="center", ha="left", color=BLUE, fontsize="small")


class TaskGainDisplay(Display):
    """Gain of each task over a reference against its number of rows, with intervals of two standard errors.

    Where all tasks have about as many rows they stand in the order of their gains, all of them named where
    there is room. Tasks of which the interval is above zero are blue, below zero orange; else those that gain
    and lose most are named. As in the verdict a task gains, or loses, by more than 0.1% of its error.

    Parameters
    ----------
    gains : array-like of shape (n_tasks,)
        Share of the test error that is saved; NaN: not known.
    n_rows : array-like of shape (n_tasks,)
        Numbers of rows.
    tasks : sequence
        Names of the tasks.
    errors : array-like of shape (n_tasks,), default=None
        Standard errors of the gains.
    model, reference : str, default=""
        What is compared.

    Attributes
    ----------
    %(axes)s
    points_ : matplotlib collection
        The tasks, in the order given, without those of which nothing is known.
    named_ : list of str
        The tasks that are named.

    See Also
    --------
    skmtl.compare : Finds what is drawn.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import Pooled, compare
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import TaskGainDisplay
    >>> data = make_multitask_regression(6, 20, 5, structure="mean", random_state=0)
    >>> models = {"all rows": Pooled(Ridge())}
    >>> result = compare(models, data.X, data.y, data.tasks, baselines=["single"])
    >>> display = TaskGainDisplay.from_comparison(result)
    >>> display.ax_.get_xlabel()
    'tasks by what they gain, 20 rows tested of each'
    """

    def __init__(self, gains, *, n_rows, tasks, errors=None, model="", reference=""):
        self.gains, self.n_rows, self.tasks, self.errors = gains, n_rows, tasks, errors
        self.model, self.reference = model, reference

    @classmethod
    def from_comparison(cls, comparison, *, model=None, ax=None, **options):
        """Draw the tasks of a comparison.

        Parameters
        ----------
        comparison : Comparison
            What `skmtl.compare` or `skmtl.suggest` returns.
        model : str, default=None
            Name of the model; by default the one to use of `suggest`, the best one that is no baseline of
            `compare`.
        %(ax)s
        %(options)s

        Returns
        -------
        TaskGainDisplay
        """
        comparison = _read(comparison)
        if model is None:
            model = comparison.best if comparison.best in comparison.models else comparison.models[0]
        table = comparison.per_task
        chosen = np.asarray(table["model"]) == model
        if not chosen.any():
            known = sorted(set(table["model"]))
            raise ValueError(f"model={model!r} is not one of {known}.{meant(model, known)}")
        names = ("gain", "gain_std", "n_test", "task")
        gain, error, n, task = (np.asarray(table[name])[chosen] for name in names)
        known = {"errors": error, "model": model, "reference": comparison.reference}
        return cls(gain, n_rows=n, tasks=task.tolist(), **known).plot(ax, **options)

    def plot(self, ax=None, *, most_named=5):
        """Draw the tasks.

        Parameters
        ----------
        %(ax)s
        most_named : int, default=5
            How many tasks are named of those that gain most, and of those that lose most.

        %(drawn)s
        ValueError
            If lengths differ.
        """
        T = len(self.tasks)
        gain, n_rows = checked("gains", self.gains, (T,)), checked("n_rows", self.n_rows, (T,))
        error = np.zeros(T) if self.errors is None else checked("errors", self.errors, (T,))
        known = np.isfinite(gain)
        gain, n_rows, error = gain[known], n_rows[known], error[known]
        gains, loses, surely = gains_and_losses(gain, error)
        gain, width = 100 * gain, 100 * SURELY * np.nan_to_num(error)
        names = [str(task) for task, there in zip(self.tasks, known, strict=True) if there]
        color = np.where(gains & surely, BLUE, np.where(loses & surely, ORANGE, GREY))
        ink = self._begin(ax, (7, 4.2))
        low, high = _limits(gain, width)
        shown, order = np.clip(gain, low, high), np.argsort(gain, kind="stable")
        x, all_named = self._places(n_rows, order, names)
        margin = (0.08 if all_named or x is n_rows else 0.2) * (high - low)
        self.ax_.vlines(x, gain - width, gain + width, colors=color, linewidth=0.8, alpha=0.35)
        self.points_ = self.ax_.scatter(x, shown, np.clip(1500 / max(T, 1), 14, 40), c=color, zorder=3)
        self.ax_.axhline(0, color=ink, linewidth=0.8)
        self.ax_.set_ylim(low - margin, high + margin)
        against = f"\nagainst {self.reference}" if self.reference else ""
        self.ax_.set_ylabel(f"test error saved (%){against}")
        self.ax_.set_title(self._counted(gains, loses, surely), fontsize="medium", color=ink)
        beyond = [f" ({g:+.0f}%)" if g != at else "" for g, at in zip(gain, shown, strict=True)]
        labels = [f"{name}{more}" for name, more in zip(short_names(names), beyond, strict=True)]
        losing = [i for i in order[:most_named] if gain[i] < 0]
        gaining = [i for i in order[::-1][:most_named] if gain[i] > 0]
        self.named_ = [names[i] for i in (order if all_named else losing + gaining)]
        if all_named:
            losing, gaining = ([i for i in ends if beyond[i]] for ends in (losing, gaining))
        self._name(x, shown, labels, [(i, 1) for i in gaining[::-1]] + [(i, -1) for i in losing[::-1]], ink)
        return self

    def _places(self, n_rows, order, names):
        """Where tasks stand: at their rows, on a logarithmic axis where these differ much, or in order, and
        whether the axis names all of them.
        """
        first, last = (n_rows.min(), n_rows.max()) if len(n_rows) else (1, 1)
        if last < 1.5 * first and len(order):
            each = f"{first:.0f}" if first == last else f"{first:.0f} to {last:.0f}"
            self.ax_.set_xlabel(f"tasks by what they gain, {each} rows tested of each")
            width = self.ax_.get_window_extent().width / self.figure_.get_figure(root=True).dpi
            crowded = LETTER * max(map(len, short_names(names))) * len(names) > 0.8 * width
            name_ticks(self.ax_, "x", [names[i] for i in order], len(names), rotation=60 * crowded)
            all_named = len(self.ax_.get_xticks()) == len(order)
            if not all_named:
                self.ax_.set_xticks([])
            self.ax_.set_xlim(-0.5 - 0.02 * len(order), len(order) - 0.5 + 0.02 * len(order))
            return np.argsort(order), all_named
        self.ax_.set_xlabel("rows tested per task")
        if first > 0 and last > 3 * first:
            log_ticks(self.ax_, n_rows, 6)
            self.ax_.set_xlim(first / (last / first) ** 0.05, last * (last / first) ** 0.05)
        else:
            margin = 0.05 * (last - first) or 1.0
            self.ax_.set_xlim(first - margin, last + margin)
        return n_rows, False

    def _counted(self, gains, loses, surely):
        """How many tasks gain and lose, in words."""
        words = []
        for word, which, hue in (("gain", gains, "blue"), ("lose", loses, "orange")):
            clearly = f" ({np.sum(which & surely)} clearly: {hue})" if self.errors is not None else ""
            words.append(f"{np.sum(which)} {word}{clearly}")
        first = f"{short(self.model)}\n" if self.model else ""
        return f"{first}of {len(gains)} tasks {', '.join(words)}"

    def _name(self, x, y, labels, chosen, ink):
        """Names beside points (i, 1 or -1: up or down first), as near as they cover the least."""
        box, dpi = self.ax_.get_window_extent(), self.figure_.get_figure(root=True).dpi
        letter, line = LETTER * dpi / box.width, LINE * dpi / box.height
        to_share = self.ax_.transData + self.ax_.transAxes.inverted()
        points = to_share.transform(np.column_stack([x, y]))
        sizes = {i: (letter * len(labels[i]), line) for i, _ in chosen}
        for i, (across, up, hand) in _placed(points, sizes, chosen).items():
            self.ax_.annotate(
                labels[i], (x[i], y[i]), (across, up), textcoords="axes fraction", va="center",
                ha="right" if hand < 0 else "left", fontsize="small", color=ink, annotation_clip=False,
                bbox={"facecolor": self.ax_.get_facecolor(), "alpha": 0.75, "linewidth": 0, "pad": 0.5},
                arrowprops={
                    "arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2,
                    "relpos": (float(hand < 0), 0.5),
                },
            )  # fmt: skip


def _placed(points, sizes, chosen):
    """Where names stand, {i: (across, up, hand)}: one after the other, then again beside all others."""
    at, boxes, lines = {}, {}, {}
    for i, side in [*chosen, *chosen]:
        across, up = points[i]
        others = [[one for j, one in kind.items() if j != i] for kind in (boxes, lines)]
        options = []
        for aside, k, way in product(ASIDE, range(MOST_STEPS), (side, -side)):
            for hand in (-1, 1) if across > 0.5 else (1, -1):
                place = across + hand * (0.02 + 0.01 * k + aside), up + way * k * sizes[i][1], hand
                options.append((place, _box(*place, *sizes[i]), np.linspace(points[i], place[:2], IN_LINE)))
        covered = [_covered(box, line, points, *others) for _, box, line in options]
        at[i], boxes[i], lines[i] = options[int(np.argmin(covered))]
    return at


def _box(across, up, hand, width, height):
    """Left, right, lower and upper end of a text that begins, or ends where hand is -1, at a place."""
    left = across if hand > 0 else across - width
    return left, left + width, up - height / 2, up + height / 2


def _covered(box, line, points, boxes, lines):
    """How much a text in a box would cover, with the points of the line to it.

    Points (n, 2), names in other boxes and lines to them, in both ways, and what is outside the axes.
    """
    left, right, lower, upper = box
    over = sum(left < end and start < right and lower < up and down < upper for start, end, down, up in boxes)
    crossed = sum(_inside(one, line).any() for one in boxes) + sum(_inside(box, one).any() for one in lines)
    outside = min(left, lower) < 0 or max(right, upper) > 1
    return _inside(box, points).sum() + 10 * over + 5 * crossed + 100 * outside


def _inside(box, points):
    """Which points (n, 2) are inside a box."""
    left, right, lower, upper = box
    return ((points > (left, lower)) & (points < (right, upper))).all(axis=1)


def _limits(gain, width):
    """Where the axis ends: at most of the intervals and all but the wildest points."""
    if not len(gain):
        return -1.0, 1.0
    first, third = np.percentile(gain, [25, 75])
    far = 4 * max(third - first, 5.0)
    low, high = max(gain.min(), first - far), min(gain.max(), third + far)
    ends = np.concatenate([gain - width, gain + width])
    room = 0.5 * (high - low) + 2.0
    return min(max(ends.min(), low - room), -1.0), max(min(ends.max(), high + room), 1.0)


def _read(comparison):
    """The comparison; TypeError where it is none."""
    if not hasattr(comparison, "per_task"):
        name = type(comparison).__name__
        raise TypeError(f"comparison must be what skmtl.compare or skmtl.suggest returns; got {name}.")
    return comparison
