"""Classical multi-task learning with scikit-learn estimators."""

from ._data import stack_tasks
from .linear_model import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskClassifier,
    MultiTaskElasticNet,
    MultiTaskLasso,
    MultiTaskRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
)
from .statistics import TaskStatistics

__version__ = "0.1.0"

__all__ = [
    "GroupSparseClassifier",
    "GroupSparseRegressor",
    "MeanRegularizedClassifier",
    "MeanRegularizedRegressor",
    "MultiTaskClassifier",
    "MultiTaskElasticNet",
    "MultiTaskLasso",
    "MultiTaskRegressor",
    "TaskStatistics",
    "TraceNormClassifier",
    "TraceNormRegressor",
    "stack_tasks",
]
