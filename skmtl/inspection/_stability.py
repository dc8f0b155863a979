"""How often halves of the rows select each item."""

import numpy as np

from .._inputs import check_among
from .._tables import shown_names
from ..model_selection import stability_selection
from ._drawing import GREY, SEVERAL, Display, log_ticks, short


class StabilityDisplay(Display):
    """Stability paths: how often halves of the rows let each item in, as the strength falls.

    Paths that reach the threshold are selected, drawn in colour and named.

    Parameters
    ----------
    selection : StabilitySelection
        What `skmtl.stability_selection` returns.
    family : str, default=None
        Which of its families; by default the first.

    Attributes
    ----------
    %(axes)s
    lines_ : list of matplotlib lines
        The paths of the selected items, the most frequent first.

    See Also
    --------
    skmtl.stability_selection : Finds what is drawn.

    Examples
    --------
    >>> from skmtl import GroupSparseRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import StabilityDisplay
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, n_features=20, random_state=0)
    >>> model = GroupSparseRegressor()
    >>> display = StabilityDisplay.from_estimator(model, data.X, data.y, data.tasks, n_pairs=5)
    >>> display.ax_.get_ylabel()
    'share of halves'
    """

    def __init__(self, selection, *, family=None):
        self.selection, self.family = selection, family

    @classmethod
    def from_estimator(cls, estimator, X, y, tasks=None, *, family=None, ax=None, **options):
        """Select and draw.

        Parameters
        ----------
        estimator, X, y, tasks
            As in `skmtl.stability_selection`.
        family : str, default=None
            Which family to draw; by default the first.
        %(ax)s
        **options : dict
            Further arguments of `skmtl.stability_selection`.

        Returns
        -------
        StabilityDisplay
        """
        return cls(stability_selection(estimator, X, y, tasks, **options), family=family).plot(ax)

    def plot(self, ax=None, *, most_named=12):
        """Draw the paths.

        Parameters
        ----------
        %(ax)s
        most_named : int, default=12
            How many of the selected items are named.

        %(drawn)s
        ValueError
            If the family is unknown.
        """
        found = self.selection
        family = found.families[0] if self.family is None else self.family
        check_among("family", family, found.families)
        paths, names = found.frequencies[family], shown_names(family, found.names[family])
        order = np.argsort(-paths[-1], kind="stable")
        n_selected = len(found.selected[family])
        ink = self._begin(ax, (7, 4))
        self.ax_.plot(found.alphas, paths[:, order[n_selected:]], color=GREY, linewidth=0.7, alpha=0.7)
        self.ax_.set_prop_cycle(color=SEVERAL)
        self.lines_ = self.ax_.plot(found.alphas, paths[:, order[:n_selected]], linewidth=1.8)
        for line, j in zip(self.lines_[:most_named], order, strict=False):
            line.set_label(short(", ".join(map(str, names[j])) if isinstance(names[j], tuple) else names[j]))
        self.ax_.axhline(found.threshold, color=ink, linewidth=0.8, linestyle="--")
        log_ticks(self.ax_, found.alphas)
        self.ax_.invert_xaxis()
        self.ax_.set(xlabel="alpha (falling)", ylabel="share of halves", ylim=(-0.02, 1.04))
        expected = f"at most {found.bound[family]:.2g} false ones expected"
        title = f"{n_selected} of {len(names)} {family} selected,\n{expected}"
        self.ax_.set_title(title, fontsize="medium", color=ink)
        if n_selected:
            more = f"and {n_selected - most_named} more" if n_selected > most_named else None
            self.ax_.legend(title=more, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        return self
