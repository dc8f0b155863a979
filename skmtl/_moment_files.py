"""Files of second moments: arrays of NumPy by name, checked when they are read."""

from contextlib import nullcontext
from zipfile import BadZipFile

import numpy as np

MOMENTS = "count", "weight", "x_mean", "y_mean", "xx", "xy", "yy"
BROKEN = EOFError, OSError, RuntimeError, TypeError, ValueError, BadZipFile  # TypeError: a single array


def write_arrays(path, arrays):
    """Write arrays by name to a path, as it is, or a file."""
    with nullcontext(path) if hasattr(path, "write") else open(path, "wb") as file:
        np.savez(file, **arrays)  # which would add an ending to a path


def read_moments(path):
    """Fields {name: array} of all rows and of each fold, and the names of the features or None.

    ValueError, which names the file, where it holds something else.
    """
    with nullcontext(path) if hasattr(path, "read") else open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as opened:
                stored = dict(opened)
        except BROKEN as error:
            raise ValueError(f"{path} holds no TaskStatistics: it is no file of `save`.") from error
    n_folds, names = stored.get("n_folds", np.zeros(0)), stored.get("feature_names")
    whole = n_folds.shape == () and n_folds.dtype.kind in "iu"
    prefixes = ["", *(f"fold{k}_" for k in range(int(n_folds) if whole else 0))]
    needed = {"n_folds" if whole else "a whole number n_folds"}
    needed |= {prefix + name for prefix in prefixes for name in ("tasks", *MOMENTS)}
    if absent := needed - set(stored):
        raise ValueError(f"{path} holds no TaskStatistics: {sorted(absent)[:20]} are not there.")
    each = [{name: stored[prefix + name] for name in ("tasks", *MOMENTS)} for prefix in prefixes]
    features = stored["xy"].shape[-1:]
    for prefix, fields in zip(prefixes, each, strict=True):
        for name, problem in _faults(fields, features):
            raise ValueError(f"{path} holds no TaskStatistics: {prefix}{name} {problem}.")
    if names is not None and names.shape != features:
        raise ValueError(
            f"{path} holds no TaskStatistics: feature_names are {names.tolist()[:5]!r:.100}, which is "
            f"{names.size} in the place of {features[0]}."
        )
    return each, None if names is None else names.astype(object)


def _faults(fields, features):
    """(name, what is wrong) of fields that are no moments of features of this shape, (n_features,)."""
    tasks, T = fields["tasks"], fields["tasks"].shape[:1]
    if tasks.ndim != 1 or len({*tasks.tolist()}) < len(tasks):
        yield "tasks", f"are not labels of tasks that differ: {tasks.tolist()[:5]!r:.100}"
        return
    D = (1,) if fields["xx"].shape[:1] == (1,) else T
    shapes = T, T, D + features, T, D + 2 * features, T + features, T
    for name, shape in zip(MOMENTS, shapes, strict=True):
        values = fields[name]
        if values.shape != shape:
            yield name, f"has the shape {values.shape}, where that of {len(tasks)} tasks is {shape}"
        elif values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            yield name, "holds what is no finite number"
        elif name in ("count", "weight") and not (values > 0).all():
            yield name, f"is {values.min():.3g} in some task, where each has a positive one"
        elif name in ("xx", "yy") and (np.einsum("djj->dj", values) if values.ndim > 1 else values).min() < 0:
            yield name, "holds sums of squares below zero"
