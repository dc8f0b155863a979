"""Linear multi-task estimators."""

from ._generic import MultiTaskClassifier, MultiTaskRegressor
from ._group_sparse import GroupSparseClassifier, GroupSparseRegressor, MultiTaskElasticNet, MultiTaskLasso
from ._mean_regularized import MeanRegularizedClassifier, MeanRegularizedRegressor
from ._shared_representation import TraceNormClassifier, TraceNormRegressor

__all__ = [
    "GroupSparseClassifier",
    "GroupSparseRegressor",
    "MeanRegularizedClassifier",
    "MeanRegularizedRegressor",
    "MultiTaskClassifier",
    "MultiTaskElasticNet",
    "MultiTaskLasso",
    "MultiTaskRegressor",
    "TraceNormClassifier",
    "TraceNormRegressor",
]
