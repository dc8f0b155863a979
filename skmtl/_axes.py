"""Where pictures are drawn."""


def axes_for(picture, ax, size):
    """The axes, or new ones of a figure of that size in inches; ImportError that names the picture."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{picture} needs matplotlib: pip install skmtl[plot].") from error
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
