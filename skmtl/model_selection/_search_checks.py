"""What a search says of its arguments and its grid: scorers that lose tasks, strengths beyond an edge."""

import warnings
from collections.abc import Iterable, Mapping

import numpy as np

from .._inputs import as_target
from .._labels import missing_labels

STEP = 3.0  # factor in the strength over which scores are compared
RISE, ROUNDING = 0.01, 1e-9  # of the range of the scores, of the best: a step that gains less is a plateau
MOST_DECADES, PER_DECADE = 6, 3  # by which a grid grows, and strengths in each


def refuse_names(scoring, y, tasks):
    """ValueError for scorers of scikit-learn where these lose tasks or fail at missing labels."""
    one = list(scoring.values()) if isinstance(scoring, Mapping) else scoring
    one = [one] if isinstance(one, str) else one
    names = [name for name in one if isinstance(name, str)] if isinstance(one, Iterable) else []
    y = as_target(y)
    missing = y is not None and y.ndim == 2 and missing_labels(y).any()
    if names and (tasks is not None or missing):
        lost = "are not given tasks=" if tasks is not None else "take no missing labels"
        raise ValueError(
            f"scoring={scoring!r}: scikit-learn's scorers {lost}. Use skmtl.metrics.task_scorer, "
            f"scoring=task_scorer({names[0]!r}, average='pooled'), or 'macro' for the mean over tasks."
        )


def refuse_scores(scoring, metric, scores):
    """ValueError where no candidate has a finite mean of its scores (n_splits, n_candidates)."""
    name = scoring if scoring is None or metric == "score" else metric
    undefined = (~np.isfinite(scores)).all(axis=1)
    raise ValueError(
        f"no candidate has a finite mean score by scoring={name!r}: on {undefined.sum()} of {len(undefined)} "
        "test sets none has a finite one. Where these lack a class take fewer folds, or "
        "cv=TaskKFold(..., stratify=True); error_score='raise' shows the error of a scorer that fails."
    )


def beyond(alphas, scores):
    """The strengths of the decade beyond the best one, nearest first; None where that is no place to go.

    It is where the best strength is the last one on a side and scores (the greater, the better) still rise.
    """
    order = np.argsort(alphas)
    alphas, scores = np.asarray(alphas)[order], np.asarray(scores)[order]
    at = int(np.argmax(scores))
    if len(alphas) < 3 or at not in (0, len(alphas) - 1) or not alphas[at] > 0:
        return None
    away = np.flatnonzero(alphas >= STEP * alphas[0] if at == 0 else alphas <= alphas[-1] / STEP)
    least = max(RISE * np.ptp(scores), ROUNDING * abs(scores[at]))
    if not len(away) or not scores[at] - scores[away[0 if at == 0 else -1]] > least:
        return None
    return alphas[at] * 10.0 ** ((-1 if at == 0 else 1) * np.arange(1, PER_DECADE + 1) / PER_DECADE)


def rising_edge(params, scores, name):
    """Position of the best candidate, and the strengths beyond it; None where scores no longer rise there."""
    if not np.isfinite(scores).any():
        return None
    best = params[np.nanargmax(scores)]
    others = [key for key in best if key != name]
    path = [at for at, one in enumerate(params) if all(one.get(key) is best[key] for key in others)]
    path = [at for at in path if np.isfinite(scores[at])]
    found = beyond([params[at][name] for at in path], scores[path])
    return None if found is None else (path[np.argmax(scores[path])], found)


def warn_of_edge(up, name, model):
    """Say that better strengths may lie beyond the grid, unless the model there is zero already."""
    coef = None if model is None else getattr(model, "coef_", None)
    if up and coef is not None and not np.any(coef):
        return
    least, wider = ("greatest", "higher") if up else ("least", "lower")
    warnings.warn(
        f"the best {name} is the {least} of the strengths tried and scores still rise towards it: try "
        f"{wider} ones (alphas=, or eps= where alphas is a number), or let the grid grow with grow=True.",
        UserWarning,
        stacklevel=4,
    )


def warn_of_free_mean(model, grids, X, y, splits, prefix):
    """Say that no strength helps where the model that all tasks share is free to fit every row."""
    name = prefix + "mean_alpha"
    free = model.get_params(deep=False).get("mean_alpha") == 0 and not any(name in grid for grid in grids)
    n_rows = min((len(train) for train, _ in splits), default=np.inf)
    if free and np.ndim(y) == 1 and len(np.shape(X)) == 2 and np.shape(X)[1] >= n_rows:
        warnings.warn(
            f"mean_alpha=0 does not penalise the model that all tasks share, and {np.shape(X)[1]} features "
            f"fit all {n_rows} rows of a training set whatever the strength. Search it as well, "
            f"param_grid={{{name!r}: [0.01, 0.1, 1.0]}}, or set mean_alpha.",
            UserWarning,
            stacklevel=4,
        )
