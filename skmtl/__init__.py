"""Classical multi-task learning with scikit-learn estimators."""

from ._data import stack_tasks
from .baselines import Pooled, SingleTask
from .comparison import Comparison, compare
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
from .model_selection import TaskKFold, TaskShuffleSplit
from .statistics import TaskStatistics

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "GroupSparseClassifier",
    "GroupSparseRegressor",
    "MeanRegularizedClassifier",
    "MeanRegularizedRegressor",
    "MultiTaskClassifier",
    "MultiTaskElasticNet",
    "MultiTaskLasso",
    "MultiTaskRegressor",
    "Pooled",
    "SingleTask",
    "TaskKFold",
    "TaskShuffleSplit",
    "TaskStatistics",
    "TraceNormClassifier",
    "TraceNormRegressor",
    "compare",
    "stack_tasks",
]
