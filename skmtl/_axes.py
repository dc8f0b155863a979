"""Where pictures are drawn."""

from ._inputs import optional


def axes_for(picture, ax, size):
    """The axes, or new ones of a figure of that size in inches; errors name the picture."""
    plt = optional("matplotlib.pyplot", f"{picture} needs matplotlib: pip install skmtl[plot].")
    if ax is not None and not isinstance(ax, plt.Axes):
        raise TypeError(f"ax of {picture} must be matplotlib axes or None; got {type(ax).__name__}.")
    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    figure = ax.get_figure(root=True)
    if figure.get_layout_engine() is None and vars(figure.subplotpars) == vars(type(figure.subplotpars)()):
        figure.set_layout_engine("constrained")  # else names are cut off at its border
    return ax
