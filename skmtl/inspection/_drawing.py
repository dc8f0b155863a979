"""What all displays share: axes, names on them, the order of tasks, and colours."""

from itertools import takewhile

import numpy as np
import scipy
from scipy.spatial.distance import num_obs_y

from .._axes import axes_for
from .._parameters import filled

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"  # told apart by all, on light and dark
SEVERAL = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#A6761D")
DIVERGING = "RdBu_r"
MOST_ORDERED, MOST_IN_TREE = 500, 2000  # items whose tree has an order of its own, and in a tree at all
LONGEST = 24  # characters of a name
HALF = (LONGEST - 1) // 2
ROOM = {"x": 0.17, "y": 0.13}  # inches that a name takes across its axis


SHARED = {  # what the docstrings of displays have in common, in the places of these names
    "axes": """ax_ : matplotlib axes
        Where it was drawn.
    figure_ : matplotlib figure
        The figure of these axes.""",
    "ax": """ax : matplotlib axes, default=None
            Where to draw; by default new axes.""",
    "options": """**options : dict
            Further arguments of `plot`.""",
    "drawn": """Returns
        -------
        display : object
            Itself, with the attributes that drawing sets.

        Raises
        ------
        ImportError
            If matplotlib is not installed.""",
}


class Display:
    """A picture in axes; a subclass draws in `plot`, which begins with `_begin`."""

    def __init_subclass__(cls):
        for item in (cls, *(getattr(own, "__func__", own) for own in vars(cls).values())):
            if "%(" in (getattr(item, "__doc__", None) or ""):
                item.__doc__ = filled(item.__doc__, SHARED)

    def _begin(self, ax, size):
        """Set `ax_` and `figure_`; the colour of text, which is seen on light and dark ground."""
        self.ax_ = axes_for(type(self).__name__, ax, size)
        self.figure_ = self.ax_.figure
        return self.ax_.xaxis.label.get_color()


def short(name):
    """A name, its middle left out where it is long."""
    name = str(name)
    return name if len(name) <= LONGEST else f"{name[:HALF]}…{name[-HALF:]}"


def short_names(names):
    """Names as `short` makes them, those that are then the same without what they have in common."""
    names = [str(name) for name in names]
    alike = {}
    for name in dict.fromkeys(names):
        alike.setdefault(short(name), []).append(name)
    found = {}
    for made, group in alike.items():
        head = _n_common(group)
        tail = _n_common([name[head:][::-1] for name in group])
        for name in group:
            own = short(name[head : len(name) - tail])
            found[name] = made if len(group) == 1 else f"{name[: min(head, HALF)]}…{own}"
    return [found[name] for name in names]


def _n_common(names):
    """How many characters at the start all names have in common, whole words where there are such."""
    common = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))
    ends = (n for n in range(common, 0, -1) if not names[0][n - 1].isalnum())
    return next(ends, common)


def thinned(n, most, interest=None):
    """Sorted positions among n of at most so many labels, none nearer than they have room for.

    The most interesting ones come first; without interest they are evenly spread.
    """
    if n <= most:
        return np.arange(n)
    gap, taken = n / most, []
    if interest is None:
        return np.arange(0, n, int(np.ceil(gap)))
    for at in np.argsort(-np.nan_to_num(np.asarray(interest, dtype=float), nan=-np.inf), kind="stable"):
        if all(abs(at - other) >= gap for other in taken):
            taken.append(at)
    return np.sort(taken)


def name_ticks(ax, which, names, most, interest=None, rotation=0):
    """Name positions 0, 1, ... along an axis "x" or "y", as many as have room."""
    box = ax.get_window_extent()
    inches = (box.width if which == "x" else box.height) / ax.figure.get_figure(root=True).dpi
    at = thinned(len(names), max(1, min(most, int(inches / ROOM[which]))), interest)
    labels = short_names([names[i] for i in at])
    if which == "x":
        slant = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if rotation else {}
        ax.set_xticks(at, labels, **slant)
    else:
        ax.set_yticks(at, labels)
    size = "medium" if len(at) <= 20 else "small" if len(at) <= 40 else "x-small"
    ax.tick_params(axis=which, labelsize=size, length=2 if len(at) < len(names) else 0)


def log_ticks(ax, values, n=5):
    """A logarithmic x axis with a few round numbers on it; linear where some are not positive."""
    values = np.asarray(values, dtype=float)
    if not len(values) or not (values > 0).all():
        return
    first, last = values.min(), values.max()
    ax.set_xscale("log")
    wanted = (float(f"{value:.1g}") for value in np.geomspace(first, last, n))
    ticks = sorted({tick for tick in wanted if 0.99 * first <= tick <= 1.01 * last}) or [first]
    ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    ax.set_xticks([], minor=True)


def name_tasks(ax, names, most, interest=None):
    """Names of tasks along the vertical axis, with a word for what numbers are."""
    name_ticks(ax, "y", names, most, interest)
    if all(str(name).isdigit() for name in names):
        ax.set_ylabel("task")


def clustered(distances):
    """Average linkage of items by condensed distances, and their order in it; None for fewer than three."""
    n = num_obs_y(distances) if len(distances) else 1
    if n < 3:
        return None, np.arange(n)
    ordered = n <= MOST_ORDERED  # inside the tree, which takes the cube of their number
    tree = scipy.cluster.hierarchy.linkage(distances, "average", optimal_ordering=ordered)
    return tree, scipy.cluster.hierarchy.leaves_list(tree)


def along_most(V):
    """Order of rows (n, m) along the direction in which they differ the most."""
    return np.argsort(np.linalg.svd(V - V.mean(axis=0), full_matrices=False)[0][:, 0], kind="stable")


def draw_tree(ax, tree, color):
    """A dendrogram above columns 0, 1, ... of a picture, in axes without a frame."""
    found = scipy.cluster.hierarchy.dendrogram(tree, no_plot=True)
    x, y = (np.insert(found[name], 4, np.nan, axis=1).ravel() for name in ("icoord", "dcoord"))
    ax.plot(x / 10 - 0.5, y, color=color, linewidth=0.7)
    ax.set_xlim(-0.5, len(tree) + 0.5)
    ax.set_ylim(0, 1.02 * max(tree[:, 2].max(), 1e-300))
    ax.set_axis_off()


def checked(name, values, shape):
    """Values as floats of a shape, in which None stands for any length; ValueError that names them."""
    values = np.asarray(values, dtype=np.float64)
    sizes = zip(values.shape, shape, strict=False)
    if values.ndim != len(shape) or any(want not in (None, have) for have, want in sizes):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}); got {values.shape}.")
    return values
