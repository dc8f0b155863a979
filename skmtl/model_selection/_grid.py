"""Grids of strengths: those that are asked for, and where better ones may lie beyond their edge."""

from collections.abc import Mapping
from numbers import Integral

import numpy as np
from sklearn.utils import check_array

from .._warn import warn

STEP = 3.0  # factor in the strength over which scores are compared
RISE, ROUNDING = 0.01, 1e-9  # of the range of the scores, of the best: a step that gains less is a plateau
MOST_DECADES, PER_DECADE = 6, 3  # by which a grid grows, and strengths in each


def check_alphas(alphas, eps):
    """A number of strengths, or the strengths (n_alphas,) as they were given."""
    if isinstance(alphas, Integral) and not isinstance(alphas, bool):
        if alphas < 1 or not 0 < eps < 1:
            raise ValueError(f"alphas must be at least 1 and eps between 0 and 1; got {alphas} and {eps}.")
        return alphas
    if (
        isinstance(alphas, (Mapping, bool))
        or np.asarray(alphas).dtype.kind not in "iuf"
        or not np.size(alphas)
    ):
        raise ValueError(
            "alphas must be a number of strengths or a list of numbers, alphas=[0.1, 1.0]; got "
            f"{alphas!r:.100}. Other parameters of a search are for its param_grid."
        )
    alphas = check_array(alphas, ensure_2d=False, dtype=np.float64, input_name="alphas")
    if alphas.ndim != 1 or (alphas < 0).any():
        raise ValueError("alphas must be a number of strengths or a list of numbers >= 0.")
    return alphas


def beyond(alphas, scores, spread=0.0):
    """The strengths of the decade beyond the best one, nearest first; None where that is no place to go.

    It is where the best strength is the last one on a side and scores (the greater, the better) still rise,
    by more than a part of their range, or of `spread` where that is greater.
    """
    order = np.argsort(alphas)
    alphas, scores = np.asarray(alphas)[order], np.asarray(scores)[order]
    at = int(np.argmax(scores))
    if len(alphas) < 2 or at not in (0, len(alphas) - 1) or not alphas[at] > 0:
        return None
    away = np.flatnonzero(alphas >= STEP * alphas[0] if at == 0 else alphas <= alphas[-1] / STEP)
    away = away if len(away) else np.array([len(alphas) - 1 - at])
    least = max(RISE * max(np.ptp(scores), spread), ROUNDING * abs(scores[at]))
    if not scores[at] - scores[away[0 if at == 0 else -1]] > least:
        return None
    return alphas[at] * 10.0 ** ((-1 if at == 0 else 1) * np.arange(1, PER_DECADE + 1) / PER_DECADE)


def path_of(params, at, name):
    """Positions of the candidates that differ from the one there in the strength alone, or not at all."""
    rest = [(key, value) for key, value in params[at].items() if key != name]
    return [k for k, other in enumerate(params) if all(other.get(key) is value for key, value in rest)]


def rising_edge(params, scores, name):
    """Position of the best candidate, and the strengths beyond it; None where scores no longer rise there."""
    if not np.isfinite(scores).any():
        return None
    path = [at for at in path_of(params, np.nanargmax(scores), name) if np.isfinite(scores[at])]
    found = beyond([params[at][name] for at in path], scores[path])
    return None if found is None else (path[np.argmax(scores[path])], found)


def warn_of_edge(beyond_it, name, model):
    """Say that better strengths may lie beyond the grid, unless what is penalised there is zero already."""
    shared = getattr(model, "mean_alpha", None) is not None
    up, coef = beyond_it[-1] > beyond_it[0], getattr(model, "deviation_coef_" if shared else "coef_", None)
    if up and coef is not None and not np.any(coef):
        return
    least, wider = ("greatest", "higher") if up else ("least", "lower")
    warn(
        f"the best {name} is the {least} of the strengths tried and scores still rise towards it: try "
        f"{wider} ones (alphas=, or eps= where alphas is a number), or let the grid grow with grow=True.",
    )
