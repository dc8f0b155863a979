"""Checks of what a user passes: targets, weights, sizes."""

import math
import os
from collections.abc import Mapping
from importlib import import_module
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from ._columns import refuse_masked
from ._labels import for_each_task, missing_labels, plain_array
from ._sklearn import num_samples
from ._threads import sum_by_rows
from ._warn import warn

MOST_LOG_EXPOSURE = 30.0  # e^30 is 10^13
SURELY_THERE = 2**24  # bytes that any machine has


def is_clean(X):
    """Whether X is what `check_array` returns as it is, found sooner: a finite float64 array, not empty."""
    if type(X) is not np.ndarray or X.dtype != np.float64 or X.ndim not in (1, 2) or X.size == 0:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(sum_by_rows(np.ndarray.sum, X if X.flags.c_contiguous else X.T)))


def as_target(y):
    """y as an array in which NaN, or None among objects, marks a label that is missing, NA or masked."""
    if sparse.issparse(y) or (type(y) is np.ndarray and y.dtype != object):
        return y
    try:
        values = plain_array(y)
    except ValueError as error:
        raise ValueError(
            f"y must have shape (n_samples,) or (n_samples, n_tasks); {error}. Tasks with rows of their own "
            "are stacked by skmtl.stack_tasks."
        ) from error
    if values.ndim == 0 and y is not None:
        column = f" A column of X is passed as y=X[{y!r}], and dropped from X." if isinstance(y, str) else ""
        raise ValueError(f"y must have shape (n_samples,) or (n_samples, n_tasks); got {y!r:.100}.{column}")
    mask = np.ma.getmaskarray(y) if np.ma.isMaskedArray(y) else np.zeros(values.shape, dtype=bool)
    if values.dtype == object:
        mask = mask | missing_labels(values)
    if not mask.any():
        return values
    return np.where(mask, np.nan if values.dtype.kind in "biuf" else None, values)


def refuse_class(given, name):
    """TypeError for a class where an object of it is expected."""
    if isinstance(given, type):
        made = given.__name__
        raise TypeError(f"{name} must be an object; got the class {made}: make an object of it, {made}(...).")


def check_lengths(X, y):
    """ValueError where X and y differ in their numbers of rows."""
    if num_samples(X) != num_samples(y):
        raise ValueError(
            f"X and y have inconsistent numbers of samples: [{num_samples(X)}, {num_samples(y)}]; expected "
            "one label, or one row of labels, in y for each row of X."
        )


def refuse_size(shape, what):
    """MemoryError, before it is asked for, that names an array of floats beyond the memory of the machine."""
    needed = 8 * math.prod(int(size) for size in shape)
    if needed <= SURELY_THERE or "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):  # as on Windows
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed <= memory:
        return
    raise MemoryError(
        f"{what} of shape {tuple(shape)} would take {needed / 2**30:.3g} GiB; this machine has "
        f"{memory / 2**30:.3g} GiB. Fit on fewer columns of X or fewer tasks."
    )


def check_among(name, value, known):
    """ValueError where a value is none of those that are known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {list(known)}; got {value!r}.")


def optional(module, advice):
    """A module that not everyone has; ImportError with an advice where it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(advice) from error


def check_numbers(values, name, **options):
    """Finite floats of any shape; errors name the argument."""
    try:
        return check_array(values, **{"ensure_2d": False, "dtype": np.float64, "input_name": name, **options})
    except (TypeError, ValueError) as error:
        if name in str(error):
            raise
        raise type(error)(f"{name} must hold numbers: {error}") from None


def check_sample_weight(sample_weight, shape, some=False):
    """Float weights (n_samples,) or (n_samples, n_tasks), not negative; all zero of `some` rows only."""
    if sample_weight is None:
        return None
    refuse_masked(sample_weight, "sample_weight")
    if isinstance(sample_weight, Real):
        sample_weight = np.full(shape[0], sample_weight, dtype=np.float64)
    if isinstance(sample_weight, str):
        raise ValueError(f"sample_weight must hold a number for each row of X; got {sample_weight!r}.")
    weight = check_numbers(sample_weight, "sample_weight")
    if weight.shape != shape[:1] and not (len(shape) == 2 and weight.shape == shape):
        expected = f"({shape[0]},)" + (f" or {tuple(shape)}" if len(shape) == 2 else "")
        raise ValueError(f"sample_weight must have shape {expected}; got {weight.shape}.")
    if (weight < 0).any():
        raise ValueError(
            f"sample_weight must not be negative; found {weight.min():g}. Negative values in data."
        )
    if not (some or weight.any()):
        raise ValueError("sample_weight is zero for every row; at least one weight must be positive.")
    return weight


def check_offset(offset, n_samples):
    """Finite float offsets with a row for each sample; one number serves all rows. None stays None."""
    if offset is None:
        return None
    refuse_masked(offset, "offset")
    if isinstance(offset, Real):
        offset = np.full(n_samples, offset, dtype=np.float64)
    offset = check_numbers(offset, "offset", allow_nd=True)
    if len(offset) != n_samples:
        raise ValueError(f"offset must hold one row per sample, {n_samples}; got shape {offset.shape}.")
    return offset


def check_rows(X, y, sample_weight, offset=None, shape=None):
    """Weights, like y or of a shape, and offset of rows; ValueError where X and y have not as many."""
    check_lengths(X, y)
    return check_sample_weight(sample_weight, shape or y.shape), check_offset(offset, len(y))


def warn_of_exposures(offset):
    """Say that an offset looks like the exposures whose logarithm it should be."""
    if offset is not None and offset.min(initial=0.0) >= 0 and offset.max(initial=0.0) > MOST_LOG_EXPOSURE:
        warn(
            f"offset holds values up to {offset.max():.3g}, of which the exponential multiplies the rate: "
            "if these are exposures, pass their logarithm, offset=np.log(exposure)."
        )


def present(**given):
    """The arguments that are not None."""
    return {name: one for name, one in given.items() if one is not None}


def shaped_offset(offset, shape, n_outputs=1):
    """The offset in the shape of the predictors: that of y, with an axis for several outputs.

    An offset of rows is that of all columns of a 2-D y.
    """
    if offset is None:
        return None
    expected, every = shape if n_outputs == 1 else (*shape, n_outputs), len(shape) == 2 and n_outputs == 1
    if every and offset.ndim == 1:
        return np.broadcast_to(offset[:, None], expected)
    if offset.shape != expected:
        also = f"({shape[0]},) or " if every else ""
        raise ValueError(f"offset must have shape {also}{expected}; got {offset.shape}.")
    return offset


def less_offset(y, offset, moves):
    """Targets less the offset where `moves` says that only y - eta counts, and what is left of it or None."""
    if np.all(moves):
        return y - offset.reshape(*y.shape, -1)[..., 0], None
    if not np.any(moves):
        return y, offset
    taken = np.where(moves, offset.reshape(*y.shape, -1)[..., 0], 0.0)
    moves = np.broadcast_to(moves, y.shape).reshape(y.shape + (1,) * (offset.ndim - y.ndim))
    return y - taken, np.where(moves, 0.0, offset)


def observed(y, used):
    """y where it is used, elsewhere the least label of its task (of all, if it has none) that is.

    A loss may have no value at a number of our own.
    """
    least = np.where(used, y, np.inf).min(axis=0)
    return np.where(used, y, np.where(least < np.inf, least, least.min()))


def resolve_task_weight(task_weight, tasks, mass):
    """Emphasis c_t of each task, shape (n_tasks,); `mass` is the sum of sample weights of each, or all."""
    n_tasks = len(tasks)
    if task_weight is None:
        return np.ones(n_tasks)
    if isinstance(task_weight, str):
        if task_weight != "samples":
            raise ValueError(
                f"task_weight must be None, 'samples', a mapping or an array; got {task_weight!r}."
            )
        mass = np.broadcast_to(mass / mass.max(), n_tasks)  # a sum of large ones may overflow
        return mass * n_tasks / mass.sum()
    if isinstance(task_weight, Mapping):
        task_weight = for_each_task(task_weight, tasks, "task_weight", "weight")
    weight = np.asarray(task_weight, dtype=np.float64)
    if weight.shape != (n_tasks,):
        raise ValueError(
            f"task_weight must hold one number per task, shape ({n_tasks},); got shape {weight.shape}."
        )
    if not (np.isfinite(weight).all() and (weight > 0).all()):
        raise ValueError(f"task_weight must be positive and finite; got {weight.tolist()[:5]}.")
    return weight


def check_target(y, estimator=None):
    """y as an array without infinities, 1-D without missing labels or 2-D."""
    if is_clean(y):
        return y
    options = {"input_name": "y", "estimator": estimator, "ensure_2d": False, "dtype": None}
    y = check_array(as_target(y), ensure_all_finite=False, ensure_min_samples=0, **options)
    if not len(y):
        raise ValueError(f"Found 0 sample(s) (shape={y.shape}) in y while a minimum of 1 is required.")
    if y.ndim == 1 and missing_labels(y).any():
        raise ValueError(
            "Input y contains NaN (or None). With one label per row drop the row; "
            "missing labels are for a y of shape (n_samples, n_tasks)."
        )
    return check_array(y, ensure_all_finite="allow-nan", **options)


def check_numeric_target(y):
    """The same as floats."""
    y = check_target(y)
    if y.dtype == np.float64:
        return y
    try:
        if y.dtype.kind in "mM":
            raise ValueError(f"found the type {y.dtype}")
        numbers = y.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"y must hold numbers ({error}). For class labels use a classifier (...Classifier in place of "
            "...Regressor); labels of tasks are given as tasks=."
        ) from None
    return check_target(numbers)
