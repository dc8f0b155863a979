"""Metrics task by task: the labels of each task, and a care that rounding decides no score."""

import warnings

import numpy as np
from scipy.special import xlogy
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import (
    accuracy_score,
    explained_variance_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.utils import check_array, check_consistent_length

from ._columns import column_names, refuse_masked, refuse_other_order
from ._inputs import as_target, check_numbers, check_sample_weight
from ._labels import check_tasks, encode_tasks, missing_labels, plain_labels
from ._warn import warn

ALIKE = 1e-3  # of an error of many labels: what solvers may leave between equal models
SURELY = 2.0  # standard errors
ULPS = 4 * np.finfo(np.float64).eps  # relative: targets this close to each other are one constant
ROUNDING = 1e-12  # relative: a prediction this close to its target is exact
LEAST_MEAN = 1e-10  # of counts
OF_ERRORS = {mean_squared_error, mean_absolute_error, root_mean_squared_error, r2_score}
ABOUT_THE_MEAN = {r2_score, explained_variance_score}  # relative to a variance that rounding can make up


def task_blocks(y_true, y_pred, tasks, sample_weight, numbers=False):
    """Task names, and per task (targets, predictions, weights or None) without missing labels.

    `numbers`: whether targets and predictions have to be.
    """
    refuse_other_order({"y": y_true, "y_pred": y_pred, "sample_weight": sample_weight})
    names = column_names(y_true)
    y_true = check_array(
        as_target(y_true), ensure_2d=False, dtype=None, ensure_all_finite=False, input_name="y_true"
    )
    refuse_masked(y_pred, "y_pred")
    y_pred = check_array(y_pred, ensure_2d=False, dtype=None, allow_nd=True, input_name="y_pred")
    if numbers:
        y_true = check_numbers(y_true, "y_true", ensure_all_finite="allow-nan" if y_true.ndim == 2 else True)
        y_pred = check_numbers(y_pred, "y_pred")
    y_true, y_pred = _wide(y_true), _wide(y_pred)
    check_consistent_length(y_true, y_pred)
    if y_true.ndim == 2 and y_true.shape[1] == y_pred.ndim == 1:
        y_true = y_true.ravel()
    if y_true.ndim == 1 and y_pred.shape[1:] == (1,):
        y_pred = y_pred.ravel()
    if (y_pred.shape if numbers else y_pred.shape[: y_true.ndim]) != y_true.shape:
        raise ValueError(f"y_pred must have shape {y_true.shape} as y_true; got {y_pred.shape}.")
    weight = check_sample_weight(sample_weight, y_true.shape)
    if y_true.ndim == 1:
        y_true, y_pred = plain_labels(y_true), plain_labels(y_pred)
        labels = np.zeros(len(y_true), dtype=int) if tasks is None else check_tasks(tasks, len(y_true))
        names, codes = encode_tasks(labels)
        names = names.tolist()
    else:
        if tasks is not None:
            raise ValueError("tasks must be None for a 2-D y_true: its columns are the tasks.")
        if weight is not None:
            weight = np.broadcast_to(weight if weight.ndim == 2 else weight[:, None], y_true.shape)
        names = names or list(range(y_true.shape[1]))
        codes, rows = np.nonzero(~missing_labels(y_true).T)
        y_true, y_pred, weight = (None if a is None else a[rows, codes] for a in (y_true, y_pred, weight))
    if weight is not None:
        codes, y_true, y_pred, weight = (a[weight > 0] for a in (codes, y_true, y_pred, weight))
    order, counts = np.argsort(codes, kind="stable"), np.bincount(codes, minlength=len(names))
    parts, blocks = (y_true, y_pred, weight), np.split(order, counts.cumsum()[:-1])
    return names, [tuple(None if a is None else plain_labels(a[at]) for a in parts) for at in blocks]


def _wide(values):
    """Numbers in eight bytes, whose differences and squares do not overflow."""
    wide = {"i": np.int64, "u": np.int64, "f": np.float64}.get(values.dtype.kind)
    return values.astype(wide) if wide and values.dtype.itemsize < 8 else values


def block_scores(function, blocks, kwargs, labels=None):
    """The metric on each block, NaN where it is undefined; with its classes as labels where it takes them."""
    at_once = len(blocks) > 1 and not kwargs and labels is None
    scores, left = _scores_at_once(function, blocks) if at_once else (None, None)
    if scores is None:
        scores, left = np.full(len(blocks), np.nan), np.arange(len(blocks))
    problem = None
    for t in left:
        y_true, y_pred, weight = blocks[t]
        if not len(y_true):
            continue
        given = kwargs if weight is None else {**kwargs, "sample_weight": weight}
        given = given if labels is None else {**given, "labels": labels[t]}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UndefinedMetricWarning)  # NaN says it
                scores[t] = evaluate(function, y_true, y_pred, **given)
        except ValueError as error:
            problem = error
            # of several classes a metric may need all, of which labels and single scores say nothing
            if len(np.unique(y_true)) >= (y_pred.shape[1] if y_pred.ndim == 2 else 2):
                raise
    if problem is not None and np.isnan(scores).all():
        raise problem
    return scores


def _scores_at_once(metric, blocks):
    """Scores of all tasks, and positions of those that need care and have none; None for other metrics."""
    if any(len({block[k].dtype.kind for block in blocks if len(block[0])}) > 1 for k in (0, 1)):
        return None, None  # one array would make text of numbers
    y, p = (np.concatenate([block[k] for block in blocks]) for k in (0, 1))
    labels = metric is accuracy_score and y.dtype.kind == p.dtype.kind in "iubU"
    numbers = metric in OF_ERRORS and {y.dtype.kind, p.dtype.kind} <= {*"iuf"}
    if y.shape != p.shape or y.ndim > 1 or not (labels or (numbers and np.isfinite(y).all())):
        return None, None
    sizes = np.array([len(block[0]) for block in blocks])
    codes, T = np.repeat(np.arange(len(blocks)), sizes), len(blocks)
    weight = np.ones(len(y)) if blocks[0][2] is None else np.concatenate([block[2] for block in blocks])

    def mean(values):
        return np.bincount(codes, weight * values, T) / np.bincount(codes, weight, T)

    with np.errstate(all="ignore"):
        if labels:
            return mean(y == p), []
        y, first = y.astype(float), np.cumsum(sizes) - sizes
        off = y - p
        if metric is not r2_score:
            found = mean(np.abs(off) if metric is mean_absolute_error else off**2)
            return np.sqrt(found) if metric is root_mean_squared_error else found, []
        some = np.flatnonzero(sizes)
        size, width = np.zeros((2, T))
        size[some] = np.maximum.reduceat(np.abs(y), first[some])
        width[some] = np.maximum.reduceat(np.abs(y - y[first[codes]]), first[some])
        care = (sizes > 1) & ~((width > ULPS * size) & (size > 1e-15) & (size < 1e15))
        found = 1 - mean(off**2) / mean((y - mean(y)[codes]) ** 2)
        found[(sizes < 2) | care] = np.nan
        return found, np.flatnonzero(care)


def evaluate(metric, y_true, y_pred, **kwargs):
    """The metric; where it divides by a variance, in a unit in which the targets have squares.

    A target that is constant but for rounding has no variance.
    """
    if metric in ABOUT_THE_MEAN and y_true.ndim == 1 and len(y_true) and y_true.dtype.kind in "iuf":
        first, size = float(y_true[0]), np.abs(y_true).max()
        if np.abs(y_true - first).max() <= ULPS * size:
            off = y_pred - first
            y_true, y_pred = np.zeros(len(y_true)), np.where(np.abs(off) <= ROUNDING * size, 0.0, off)
        y_true, y_pred = in_unit(size or np.abs(y_pred).max(), y_true, y_pred)
    return metric(y_true, y_pred, **kwargs)


def in_unit(size, *parts):
    """Arrays over the power of two next to a size: the same digits, and squares that are numbers."""
    if 1e-15 < size < 1e15:  # they are already, in single precision too
        return parts
    return tuple(np.ldexp(part, -np.frexp(size)[1]) for part in parts)


def standard_deviation(values):
    """Of a sample, with n - 1; in a unit of its own, since squares of squared errors may vanish."""
    unit = np.abs(values).max()
    return unit * np.std(np.divide(values, unit), ddof=1) if 0 < unit < np.inf else np.std(values, ddof=1)


def squared_errors(y_true, y_pred):
    """Squared errors of predictions, zero where these are exact but for rounding."""
    off = y_true - y_pred
    return np.where(np.abs(off) <= ROUNDING * np.maximum(np.abs(y_true), np.abs(y_pred)), 0.0, off) ** 2


def deviances(y_true, mean):
    """Poisson deviance of each count, finite where a model was sure of none."""
    mean = np.maximum(mean, LEAST_MEAN)
    return 2 * (xlogy(y_true, y_true / mean) - y_true + mean)


def d2_poisson_score(y_true, y_pred):
    """Share of the Poisson deviance from the mean that is explained; NaN where nothing was counted."""
    whole = deviances(y_true, np.mean(y_true)).sum()
    return 1 - deviances(y_true, y_pred).sum() / whole if whole > 0 else np.nan


def mean_of_tasks(scores, over=np.nanmean):
    """Mean, or what else is asked for, over the tasks with a defined score; warns of the others."""
    values = np.array(list(scores.values()))
    undefined = [task for task, value in scores.items() if np.isnan(value)]
    if undefined:
        more = f" and {len(undefined) - 5} more" if len(undefined) > 5 else ""
        warn(
            f"the metric is undefined for {len(undefined)} of {len(values)} tasks ({undefined[:5]}{more}), "
            "which have too few labels here, or too few different ones: they are left out. "
            "task_scorer(..., average='pooled') scores all rows together.",
            UndefinedMetricWarning,
        )
    return float(over(values)) if len(undefined) < len(values) else np.nan


def unexplained(y_true, y_pred, tasks, centers=None):
    """Sum of squared errors over that of squared deviations from the mean or a center: {task: share}, of all.

    NaN where targets do not vary.
    """
    names, blocks = task_blocks(y_true, y_pred, tasks, None, numbers=True)
    if centers is None:
        centers = [None] * len(names)
    elif (centers := check_numbers(centers, "train_mean")).shape != (len(names),):
        raise ValueError(
            f"train_mean must hold one number per task, shape ({len(names)},); got shape {centers.shape}."
        )
    parts = [(y - p, _deviations(y, m)) for (y, p, _), m in zip(blocks, centers, strict=True)]
    shares = {name: _share(*part) for name, part in zip(names, parts, strict=True)}
    return shares, _share(*map(np.concatenate, zip(*parts, strict=True)))


def _share(errors, deviations):
    size = np.abs(deviations).max(initial=0)
    errors, deviations = in_unit(size, errors, deviations)
    return float((errors**2).sum() / (deviations**2).sum()) if size > 0 else np.nan


def _deviations(y, center):
    """y less a center, by default its mean; zero where all of it is rounding."""
    if not len(y):
        return y
    if center is None:
        first = float(y[0])  # the mean of equal numbers need not be that number
        center = first + (y - first).mean()
    off = y - center
    return off if np.abs(off).max() > ULPS * np.abs(y).max() else np.zeros(len(y))


def gains_and_losses(gain, error=np.inf):
    """Which tasks gain, which lose, more than equal models do, and which surely, by their standard errors."""
    gain = np.asarray(gain, dtype=np.float64)
    return gain > ALIKE, gain < -ALIKE, np.abs(gain) > SURELY * np.asarray(error)
