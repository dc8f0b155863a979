"""Generated multi-task problems of which the truth is known."""

import inspect
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from .._parameters import COUNT, STRENGTH
from .._sklearn import Interval, StrOptions, validate_params

_PARAMETERS = {
    **{name: [COUNT] for name in ("n_tasks", "n_features", "rank", "n_clusters")},
    **{name: [Interval(Integral, 0, None, closed="left")] for name in ("n_outliers", "n_changes")},
    **{name: [STRENGTH] for name in ("task_spread", "intercept_spread", "noise")},
    "n_samples": [COUNT, "array-like"],
    "structure": [StrOptions({"shared_support", "low_rank", "clustered", "outliers", "mean", "temporal"})],
    "n_informative": [None, COUNT],
    "layout": [StrOptions({"stacked", "shared"})],
    "missing": [Interval(Real, 0, 1, closed="left")],
    "random_state": ["random_state"],
}


# what differs in the docstring, which stands in `_make`
_CLASSIFICATION = {
    "a regression problem": "a binary classification problem",
    r"x_i \cdot w_t + b_t + \sigma \varepsilon_i, \qquad \varepsilon_i \sim N(0, 1)": (
        r"1 \text{ if } x_i \cdot w_t + b_t + \sigma \varepsilon_i > 0 \text{ else } 0,"
        "\n   \\qquad \\varepsilon_i \\sim \\text{logistic}"
    ),
    "Standard deviation :math:": "Scale :math:",
    "of the noise.": "of the noise: 1 is a logistic model with the true coefficients, 0 is separable.",
    "Targets.": "Classes 0 and 1 (as floats if labels are missing). A small task may hold only one.",
    "make_multitask_regression": "make_multitask_classification",
    "classification : The same with classes 0 and 1.": "regression : The same with numbers as targets.",
}


def _maker(name, target, words):
    """A public function that generates problems; `target` draws the targets around their predictors."""

    def make(
        n_tasks=10, n_samples=100, n_features=20, *, structure="shared_support", n_informative=None, rank=2,
        n_clusters=3, n_outliers=1, n_changes=2, task_spread=0.3, intercept_spread=1.0, noise=1.0,
        layout="stacked", missing=0.0, random_state=None,
    ):  # fmt: skip
        return _make(target, **{key: value for key, value in locals().items() if key != "target"})

    make.__name__ = make.__qualname__ = name
    make.__doc__ = inspect.cleandoc(_make.__doc__ or "")
    for text, other in words.items():
        make.__doc__ = make.__doc__.replace(text, other)
    return validate_params(_PARAMETERS, prefer_skip_nested_validation=True)(make)


def _add_noise(eta, noise, rng):
    return eta + noise * rng.standard_normal(eta.shape)


def _threshold(eta, noise, rng):
    return (eta + noise * rng.logistic(size=eta.shape) > 0).astype(int)


def _make(
    target, *, n_tasks, n_samples, n_features, intercept_spread, noise, layout, missing, random_state, **shape
):
    r"""Generate a regression problem with related tasks.

    .. math:: y_i = x_i \cdot w_t + b_t + \sigma \varepsilon_i, \qquad \varepsilon_i \sim N(0, 1)

    Parameters
    ----------
    n_tasks : int, default=10
        Number of tasks.
    n_samples : int or array-like of shape (n_tasks,), default=100
        Rows per task; one number for each task is allowed in the stacked layout.
    n_features : int, default=20
        Number of features.
    structure : {"shared_support", "low_rank", "clustered", "outliers", "mean", "temporal"}
        What the tasks have in common, see Notes. Default: "shared_support".
    n_informative : int, default=None
        Number of features with non-zero coefficients, drawn at random. By default a quarter of the
        features (at least one) for "shared_support" and "temporal", else all.
    rank : int, default=2
        Rank of the coefficients of "low_rank".
    n_clusters : int, default=3
        Number of clusters of "clustered".
    n_outliers : int, default=1
        Number of outlier tasks of "outliers".
    n_changes : int, default=2
        Number of change points of "temporal".
    task_spread : float, default=0.3
        Standard deviation of a task's coefficients about what it shares, for "clustered",
        "outliers" and "mean".
    intercept_spread : float, default=1.0
        Standard deviation of the intercepts.
    noise : float, default=1.0
        Standard deviation :math:`\sigma` of the noise.
    layout : {"stacked", "shared"}, default="stacked"
        Rows with task labels, or one design with one column of `y` per task.
    missing : float, default=0.0
        Share of the labels of each task that is missing (NaN) in the shared layout; one is kept.
    random_state : int, RandomState instance or None, default=None
        Seed; pass an int for the same data in every call.

    Returns
    -------
    problem : :class:`~sklearn.utils.Bunch`
        With the attributes:

        X : ndarray of shape (n_rows, n_features)
            Standard normal features; n_rows is the sum over tasks, or n_samples if shared.
        y : ndarray of shape (n_rows,) or (n_samples, n_tasks)
            Targets.
        tasks : ndarray of shape (n_rows,) or None
            Task of each row, 0, 1, 2, ...; None in the shared layout.
        coef : ndarray of shape (n_tasks, n_features)
            True coefficients.
        intercept : ndarray of shape (n_tasks,)
            True intercepts.
        support : ndarray of bool of shape (n_features,)
            The informative features.
        rank : int
            Rank of `coef` ("low_rank").
        labels : ndarray of int of shape (n_tasks,)
            Cluster of each task ("clustered").
        centers : ndarray of shape (n_clusters, n_features)
            Mean coefficients of the clusters ("clustered").
        mean_coef : ndarray of shape (n_features,)
            Coefficients that the tasks share ("mean", "outliers").
        outlier_tasks : ndarray of int of shape (n_outliers,)
            Tasks that share nothing ("outliers").
        change_points : ndarray of int of shape (n_changes,)
            Tasks whose coefficients differ from those of the task before ("temporal").

    Raises
    ------
    ValueError
        If a number is out of range, or arguments contradict each other.

    See Also
    --------
    make_multitask_classification : The same with classes 0 and 1.

    Notes
    -----
    Draws below are standard normal, on the informative features.

    * "shared_support": the same features matter in all tasks, with coefficients drawn for each task.
    * "low_rank": combinations of `rank` directions, scaled to unit variance.
    * "clustered": the centre of a cluster plus a deviation of size `task_spread`.
    * "mean": one vector plus a deviation of size `task_spread`.
    * "outliers": as "mean", but `n_outliers` tasks are drawn on their own, on all features.
    * "temporal": tasks are ordered; all coefficients are drawn anew at `n_changes` change points.

    Examples
    --------
    >>> from skmtl.datasets import make_multitask_regression
    >>> problem = make_multitask_regression(3, 50, structure="clustered", n_clusters=2, random_state=0)
    >>> problem.X.shape, problem.y.shape, problem.labels.shape
    ((150, 20), (150,), (3,))
    """
    rng = check_random_state(random_state)
    sizes = _sizes(n_samples, n_tasks, layout, missing)
    coef, truth = _coefficients(rng, n_tasks, n_features, **shape)
    intercept = intercept_spread * rng.standard_normal(n_tasks)
    tasks = None
    if layout == "shared":
        X = rng.standard_normal((sizes[0], n_features))
        y = target(X @ coef.T + intercept, noise, rng)
        y = _hide(y, missing, rng) if missing else y
    else:
        tasks = np.repeat(np.arange(n_tasks), sizes)
        X = rng.standard_normal((len(tasks), n_features))
        y = target((X * coef[tasks]).sum(axis=1) + intercept[tasks], noise, rng)
    return Bunch(X=X, y=y, tasks=tasks, coef=coef, intercept=intercept, **truth)


def _sizes(n_samples, n_tasks, layout, missing):
    """Rows per task, shape (n_tasks,)."""
    sizes = np.asarray(n_samples)
    if layout == "shared" and sizes.ndim:
        raise ValueError("n_samples must be one number for layout='shared': all tasks have the same rows.")
    if layout == "stacked" and missing:
        raise ValueError("missing is for layout='shared'; in the stacked layout give n_samples per task.")
    if sizes.ndim and (sizes.shape != (n_tasks,) or sizes.dtype.kind not in "iu" or (sizes < 1).any()):
        raise ValueError(
            f"n_samples must hold one positive integer for each of {n_tasks} tasks; got {n_samples!r}."
        )
    return np.broadcast_to(sizes, (n_tasks,))


def _hide(y, missing, rng):
    """y as floats with NaN for a share of each column."""
    n_hidden = min(round(missing * len(y)), len(y) - 1)
    rank = rng.uniform(size=y.shape).argsort(axis=0).argsort(axis=0)
    return np.where(rank < n_hidden, np.nan, y)


def _coefficients(rng, n_tasks, n_features, *, structure, n_informative, **options):
    """Coefficients (n_tasks, n_features) and the truth about them."""
    if n_informative is None:
        few = structure in ("shared_support", "temporal")
        n_informative = max(1, n_features // 4) if few else n_features
    _check_at_most("n_informative", n_informative, n_features, "n_features")
    support = np.zeros(n_features, dtype=bool)
    support[rng.permutation(n_features)[:n_informative]] = True
    coef, truth = _STRUCTURES[structure](rng, n_tasks, support, options)
    return coef, {"support": support, **truth}


def _check_at_most(name, value, limit, limit_name):
    if value > limit:
        raise ValueError(f"{name} must be at most {limit_name} = {limit}; got {value}.")


def _shared_support(rng, n_tasks, support, options):
    return rng.standard_normal((n_tasks, len(support))) * support, {}


def _low_rank(rng, n_tasks, support, options):
    rank = options["rank"]
    _check_at_most("rank", rank, min(n_tasks, support.sum()), "min(n_tasks, n_informative)")
    left, right = rng.standard_normal((n_tasks, rank)), rng.standard_normal((rank, len(support)))
    return left @ right / np.sqrt(rank) * support, {"rank": rank}


def _clustered(rng, n_tasks, support, options):
    n_clusters = options["n_clusters"]
    _check_at_most("n_clusters", n_clusters, n_tasks, "n_tasks")
    centers = rng.standard_normal((n_clusters, len(support))) * support
    labels = rng.permutation(np.arange(n_tasks) % n_clusters)
    return _around(rng, centers[labels], support, options), {"labels": labels, "centers": centers}


def _mean(rng, n_tasks, support, options):
    mean_coef = rng.standard_normal(len(support)) * support
    return _around(rng, np.tile(mean_coef, (n_tasks, 1)), support, options), {"mean_coef": mean_coef}


def _outliers(rng, n_tasks, support, options):
    n_outliers = options["n_outliers"]
    _check_at_most("n_outliers", n_outliers, n_tasks - 1, "n_tasks - 1")
    coef, truth = _mean(rng, n_tasks, support, options)
    outlier_tasks = np.sort(rng.permutation(n_tasks)[:n_outliers])
    coef[outlier_tasks] = rng.standard_normal((n_outliers, len(support)))
    return coef, {**truth, "outlier_tasks": outlier_tasks}


def _temporal(rng, n_tasks, support, options):
    n_changes = options["n_changes"]
    _check_at_most("n_changes", n_changes, n_tasks - 1, "n_tasks - 1")
    change_points = np.sort(1 + rng.permutation(n_tasks - 1)[:n_changes])
    periods = rng.standard_normal((n_changes + 1, len(support))) * support
    period = np.searchsorted(change_points, np.arange(n_tasks), side="right")
    return periods[period], {"change_points": change_points}


def _around(rng, centers, support, options):
    return centers + options["task_spread"] * rng.standard_normal(centers.shape) * support


_STRUCTURES = {
    "shared_support": _shared_support, "low_rank": _low_rank, "clustered": _clustered, "outliers": _outliers,
    "mean": _mean, "temporal": _temporal,
}  # fmt: skip

make_multitask_regression = _maker("make_multitask_regression", _add_noise, {})
make_multitask_classification = _maker("make_multitask_classification", _threshold, _CLASSIFICATION)
