"""Where pictures are drawn."""


def axes_for(picture, ax, size):
    """The axes, or new ones of a figure of that size in inches; errors name the picture."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{picture} needs matplotlib: pip install skmtl[plot].") from error
    if ax is not None and not isinstance(ax, plt.Axes):
        raise TypeError(f"ax of {picture} must be matplotlib axes or None; got {type(ax).__name__}.")
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
