"""Which structure do these tasks share? The main models, tuned alike, against the baselines."""

import warnings
from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from . import linear_model
from ._columns import column_names, refuse_text, split_task_column
from ._inputs import as_target
from ._labels import check_tasks, encode_tasks, missing_labels, plain_labels
from ._task_scores import standard_deviation
from .comparison import SIGNIFICANCE, compare
from .metrics import as_task_scorer
from .model_selection import PathSearchCV, TaskKFold, routing

STRUCTURES = {  # fixed parameters, and those that are searched beside the strength
    "MeanRegularized": ({"mean_alpha": 0.01}, {"intercept_alpha": [0.0, 0.3]}),
    "GroupSparse": ({}, {"mean_alpha": [None, 0.01]}),
    "TraceNorm": ({}, {"mean_alpha": [None, 0.01]}),
    "Dirty": ({}, {"shared_ratio": [0.4, 0.6]}),
    "Robust": ({}, {"shared_ratio": [0.3, 0.6]}),
    "Clustered": ({"mean_ratio": 0.01}, {"n_clusters": [2, 4]}),
    "TaskRelationship": ({}, {"intercept_alpha": [0.0, 0.3]}),
    "MeanRegularized(alpha='auto')": ({"alpha": "auto", "intercept_alpha": "auto"}, {}),
}
N_ALPHAS, RANGE, N_FOLDS = 10, 1e-2, 3
MOST_CLASSES = 20
LABELS_PER_FEATURE = 4  # for strengths by marginal likelihood, in half of the rows too
MOST_VARIANCES = 50  # of features, one each
UNITS = 3  # ratio of standard deviations of columns of y
LISTED = 6  # names shown in a sentence
NEARLY_ALL = 0.99  # of the squared coefficients; the rank that predicts best counts traces as well


def suggest(
    X, y, tasks=None, *, task_column=None, task_type=None, cv=None, scoring=None, n_jobs=None, random_state=0
):
    """Fit the main structures with one budget each, and say what they found.

    Seven structures (a common model, a shared support, a low rank, shared and private features, outlier
    tasks, clusters, correlated tasks) compete with the baselines of `compare` on the same folds. Each
    model chooses among the same number of combinations by cross-validation inside each training set,
    features standardised there. The common model competes a second time with strengths estimated by
    marginal likelihood in place of a search, and tests whether the tasks differ at all.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Features, numbers only.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Targets, see `task_type`. Columns of numbers in different units want the same spread first.
    tasks : array-like of shape (n_samples,), default=None
        Task of each row, for a 1-D `y`.
    task_column : str or int, default=None
        Column of X (name or position) that holds the task of each row, in the place of `tasks`. The other
        columns are the features.
    task_type : {"regression", "classification"}, default=None
        What the targets are. By default they are classes if they are text, boolean, of two values or whole
        numbers from 0 or 1 up without a gap; a warning says so where these are more than two.
    cv : int, splitter or iterable of splits, default=None
        As in `compare`.
    scoring : str, callable or `task_scorer`, default=None
        As in `compare`; it also chooses the strengths (R^2 by default, for classes the log-loss).
    n_jobs : int, default=None
        Number of processes over models and folds.
    random_state : int, RandomState instance or None, default=0
        Seed of the inner folds.

    Returns
    -------
    comparison : Comparison
        Models ordered by score; `sharing` says whether the tasks differ at all, `findings` what each model
        finds in all rows, and `estimators` the searches behind a scaler, unfitted: Pipelines for the
        features (without the task column), with the steps "scale" and "search". They take
        ``fit(X, y, search__tasks=tasks)`` (under metadata routing ``tasks=tasks``) and
        ``predict(X, tasks=tasks)``.

    Raises
    ------
    ValueError
        If an argument is malformed, see `compare`.

    See Also
    --------
    compare : The same for models of your own.

    Notes
    -----
    Each model has 20 combinations, 10 strengths over two decades and 2 values of another parameter, compared
    in 3 folds, and further strengths while the best is at the edge of these. Take what is found as a start: a
    model that wins here deserves a finer grid. Clusters need
    four tasks. The strength that predicts best leaves in more features and directions than matter, with
    small coefficients: features are named by size, and a rank goes with how many directions hold 99% of the
    squared coefficients.

    References
    ----------
    Zhang & Yang (2022), A survey on multi-task learning, IEEE Transactions on Knowledge and Data
    Engineering 34, https://doi.org/10.1109/TKDE.2021.3070203

    Examples
    --------
    >>> from skmtl import suggest
    >>> from skmtl.datasets import make_multitask_regression
    >>> p = make_multitask_regression(4, 30, 6, structure="mean", task_spread=0.2, random_state=0)
    >>> found = suggest(p.X, p.y, p.tasks, cv=3)
    >>> len(found.findings) == len(found.models)
    True
    """
    X = X if hasattr(X, "shape") else np.asarray(X)
    if task_column is not None:
        if tasks is not None:
            raise ValueError(f"tasks= and task_column={task_column!r} both say which task a row belongs to.")
        X, tasks = split_task_column(X, task_column)
    refuse_text(X)
    names, kind = column_names(X), _kind(y, task_type)
    if kind == "Regressor" and np.ndim(y) == 2:
        _warn_of_units(as_target(y))
    models = _models(X, y, tasks, kind, scoring, random_state)
    found = compare(models, X, y, tasks, cv=cv, scoring=scoring, n_jobs=n_jobs)
    given, sharing, findings = {} if tasks is None else {"tasks": tasks}, "", {}
    with routing(tasks):
        for name in found.models:
            scale, search = clone(models[name]).fit(X, y, **given)
            findings[name] = _sentence(search, names)
            if name.endswith(")"):
                model = clone(search.estimator).set_params(covariance="spherical")
                sharing = _sharing(model.fit(scale.transform(X), y, **given).test_sharing())
    return replace(found, sharing=sharing, findings=findings, estimators=models)


def _models(X, y, tasks, kind, scoring, random_state):
    """Tuned models by name, of the kind "Regressor" or "Classifier"."""
    y = as_target(y)
    if tasks is None:
        n_tasks = y.shape[1] if y.ndim == 2 else 1
    else:
        n_tasks = len(encode_tasks(check_tasks(tasks, np.shape(X)[0]))[0])
    if n_tasks < 2:
        raise ValueError(
            "suggest needs at least two tasks: pass tasks=, name a column of X by task_column=, or give a y "
            "with one column per task."
        )
    scoring = "neg_log_loss" if scoring is None and kind == "Classifier" else scoring
    scoring = None if scoring is None else as_task_scorer(scoring)
    n_features, models = np.shape(X)[1], {}
    for structure, (fixed, grid) in STRUCTURES.items():
        name, *by = structure.partition("(")
        if name == "Clustered":
            grid = {"n_clusters": [k for k in grid["n_clusters"] if k < n_tasks]}
            if n_tasks < 4:
                continue
        if any(by):
            if not _tell_variances(y, kind, n_features):
                continue
            fixed = fixed | {"covariance": None if n_features <= MOST_VARIANCES else "spherical"}
        model = getattr(linear_model, name + kind)(tol=1e-3, **fixed)
        cv = TaskKFold(N_FOLDS, shuffle=True, random_state=random_state, small_tasks="train")
        search = PathSearchCV(model, N_ALPHAS, RANGE, grid, cv, scoring, grow=True)
        scale = StandardScaler(with_mean=not sparse.issparse(X))
        models["".join([name, kind, *by])] = Pipeline([("scale", scale), ("search", search)])
    return models


def _tell_variances(y, kind, n_features):
    """Whether there is a model of the variances of coefficients for such labels, and these are enough."""
    observed = as_target(y)
    observed = observed[~missing_labels(observed)]
    modelled = kind == "Regressor" or len(np.unique(plain_labels(observed))) == 2
    return modelled and len(observed) >= LABELS_PER_FEATURE * n_features


def _kind(y, task_type):
    """ "Classifier" or "Regressor", as stated or by the look of the targets."""
    if task_type not in (None, "regression", "classification"):
        raise ValueError(
            f"task_type must be 'regression', 'classification' or None (by the look of y); got {task_type!r}."
        )
    y = as_target(y)
    values = np.unique(plain_labels(y[~missing_labels(y)]))
    classes = _are_classes(values, y.size) if task_type is None else task_type == "classification"
    if classes and task_type is None and len(values) > 2 and values.dtype.kind not in "OUS":
        warnings.warn(
            f"y holds the whole numbers {values[0]:.0f} to {values[-1]:.0f} and is taken for {len(values)} "
            "classes; if they are numbers pass task_type='regression'.",
            stacklevel=3,
        )
    return "Classifier" if classes else "Regressor"


def _warn_of_units(y):
    """Say that columns of y are in different units: one strength and one noise are for all of them."""
    known = ~missing_labels(y)
    columns = [y[known[:, t], t].astype(float) for t in range(y.shape[1])]
    spread = [standard_deviation(column) for column in columns if len(np.unique(column)) > 1]
    if spread and max(spread) > UNITS * min(spread):
        warnings.warn(
            f"the standard deviations of the columns of y reach from {min(spread):.3g} to {max(spread):.3g} "
            "but models have one strength and one variance of the noise for all: divide each by its own.",
            stacklevel=3,
        )


def _are_classes(values, n_labels):
    """Whether different targets look like classes: text, truth values, two, labels 0, 1, 2, ... or 1, 2, ...

    Whole numbers with gaps or below zero are rather counts, grades or rounded measurements.
    """
    if values.dtype.kind in "OUSb" or len(values) == 2:
        return True
    in_a_row = any(np.array_equal(values, np.arange(len(values)) + first) for first in (0, 1))
    return in_a_row and 2 < len(values) <= min(MOST_CLASSES, n_labels // 10)


# --- what a model found ---


def _sentence(search, names):
    """What the best model of a search says about the tasks and the features."""
    model = search.best_estimator_
    name = type(model).__name__.removesuffix("Regressor").removesuffix("Classifier")
    chosen = search.best_params_
    if chosen["alpha"] == "auto":
        chosen = {"alpha": model.alpha_, "intercept_alpha": model.intercept_alpha_}
    short = {key: f"{v:.3g}" if isinstance(v, float) else str(v) for key, v in chosen.items()}
    return f"{FINDINGS[name](model, names)} ({', '.join(map('='.join, short.items()))})"


def _listed(items):
    """The first few of a list in words."""
    items = [str(item) for item in items]
    return ", ".join(items[:LISTED]) + (f" and {len(items) - LISTED} more" if len(items) > LISTED else "")


def _features(found, coef, names):
    """Some features by the size of their coefficients, so that none is left out for a weaker one."""
    size = np.linalg.norm(_flat(coef)[:, found], axis=0)
    order = found[np.argsort(-size, kind="stable")]
    return "strongest first: " + _listed(f"x{j}" if names is None else names[j] for j in order)


def _common(model, names):
    share = np.sum(np.square(model.deviation_coef_)) / max(np.sum(np.square(model.coef_)), 1e-300)
    text = f"Tasks deviate from a common model: {share:.0%} of the squared coefficients are their own"
    if not isinstance(model.alpha, str):
        return text
    variance = np.broadcast_to(model.deviation_variance_, model.n_features_in_)
    differing = np.flatnonzero(variance > 0)
    if np.ndim(model.deviation_variance_) == 0 or not len(differing):
        return text if len(differing) else "Tasks have the same slopes"
    listed = _features(differing, np.sqrt(variance), names)
    return f"{text}, in {len(differing)} of {len(variance)} features, {listed}"


def _sharing(tests):
    """Whether slopes and intercepts differ between tasks, in a sentence."""
    words = {True: "differ", False: "do not clearly differ"}
    return "; ".join(
        f"{name} {words[bool(test.p_value < SIGNIFICANCE)]} between tasks (p = {test.p_value:.2g})"
        for name, test in tests.items()
    ).capitalize()


def _support(model, names):
    n, p, in_use = len(model.support_), model.coef_.shape[-1], f"in use{_beyond(model)}"
    if n in (0, p):
        return f"All {p} features are {in_use}" if n else f"No feature is {in_use}"
    coef = model.coef_ if model.mean_alpha is None else model.deviation_coef_
    listed = _features(model.support_, coef, names)
    return f"{n} of {p} features are {in_use}, the same for all tasks, {listed}"


def _rank(model, names):
    most, held = min(model.n_tasks_, model.coef_.shape[-1]), np.cumsum(model.singular_values_**2)
    text = f"The tasks' coefficients span {model.rank_} of {most} directions{_beyond(model)}"
    needed = np.count_nonzero(held < NEARLY_ALL * held[-1:]) + 1
    if needed >= model.rank_:
        return text
    hold = "holds" if needed == 1 else "hold"
    return f"{text}, {needed} of them {hold} {NEARLY_ALL:.0%} of the squares"


def _parts(model, names):
    shared = np.flatnonzero(_flat(model.shared_coef_).any(axis=0))
    private = np.count_nonzero(_flat(model.private_coef_))
    listed = f" ({_features(shared, model.shared_coef_, names)})" if len(shared) else ""
    return f"{len(shared)} features are shared{listed}, {private} coefficients are private"


def _flat(coef):
    return np.reshape(coef, (-1, np.shape(coef)[-1]))


def _beyond(model):
    """What a support or a rank leaves out, in words."""
    return "" if model.mean_alpha is None else " beyond the common model"


def _outliers(model, names):
    found = model.outlier_tasks_.tolist()
    if not found:
        return "No task stands apart"
    return f"{len(found)} of {model.n_tasks_} tasks stand apart: {_listed(found)}"


def _clusters(model, names):
    groups = [model.tasks_[model.labels_ == c].tolist() for c in range(model.labels_.max() + 1)]
    return f"{len(groups)} clusters of tasks: " + "; ".join(f"[{_listed(group)}]" for group in groups)


def _relations(model, names):
    C = model.task_correlation_ - 2 * np.eye(model.n_tasks_)
    s, t = np.unravel_index(np.argmax(C), C.shape)
    middle = np.median(model.task_correlation_[np.triu_indices(model.n_tasks_, 1)])
    most = f"{model.tasks_[s]} and {model.tasks_[t]} ({C[s, t]:.2f})"
    return f"Coefficients of two tasks correlate by {middle:.2f} in the median, most those of {most}"


FINDINGS = {
    "MeanRegularized": _common, "GroupSparse": _support, "TraceNorm": _rank, "Dirty": _parts,
    "Robust": _outliers, "Clustered": _clusters, "TaskRelationship": _relations,
}  # fmt: skip
