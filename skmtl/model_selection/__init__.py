"""Splitters that know tasks, paths of strengths, and the searches along them."""

from ._grid import MOST_DECADES, beyond
from ._lasso_cv import MultiTaskElasticNetCV, MultiTaskLassoCV
from ._path import CoefficientPath, path
from ._search import PathSearchCV, routing
from ._split import (
    TaskKFold,
    TaskShuffleSplit,
    TaskTimeSplit,
    folds_of_tasks,
    held_out_splits,
    n_folds_for,
    rows_with_weight,
    wants_tasks,
)
from ._stability import StabilitySelection, stability_selection

__all__ = [
    "CoefficientPath", "MultiTaskElasticNetCV", "MultiTaskLassoCV", "PathSearchCV", "StabilitySelection",
    "TaskKFold", "TaskShuffleSplit", "TaskTimeSplit", "path", "stability_selection",
]  # fmt: skip
