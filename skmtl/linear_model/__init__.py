"""Linear multi-task estimators."""

from ._clustered import (
    ClusteredClassifier,
    ClusteredRegressor,
)
from ._cross_validated import (
    MultiTaskElasticNetCV,
    MultiTaskLassoCV,
)
from ._decomposed import (
    DirtyClassifier,
    DirtyRegressor,
    RobustClassifier,
    RobustRegressor,
    SparseLowRankClassifier,
    SparseLowRankRegressor,
)
from ._generic import (
    MultiTaskClassifier,
    MultiTaskRegressor,
)
from ._group_sparse import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MultiTaskElasticNet,
    MultiTaskLasso,
)
from ._incomplete import (
    IncompleteMultiSourceClassifier,
    IncompleteMultiSourceRegressor,
)
from ._latent_basis import (
    LatentBasisClassifier,
    LatentBasisRegressor,
)
from ._mean_regularized import (
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
)
from ._mixed import MixedTaskModel
from ._shared_representation import (
    SharedSubspaceClassifier,
    SharedSubspaceRegressor,
    TaskRelationshipClassifier,
    TaskRelationshipRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
)
from ._structured import (
    GraphRegularizedClassifier,
    GraphRegularizedRegressor,
    HierarchicalClassifier,
    HierarchicalRegressor,
    TemporalClassifier,
    TemporalRegressor,
)

__all__ = [
    "ClusteredClassifier",
    "ClusteredRegressor",
    "DirtyClassifier",
    "DirtyRegressor",
    "GraphRegularizedClassifier",
    "GraphRegularizedRegressor",
    "GroupSparseClassifier",
    "GroupSparseRegressor",
    "HierarchicalClassifier",
    "HierarchicalRegressor",
    "IncompleteMultiSourceClassifier",
    "IncompleteMultiSourceRegressor",
    "LatentBasisClassifier",
    "LatentBasisRegressor",
    "MeanRegularizedClassifier",
    "MeanRegularizedRegressor",
    "MixedTaskModel",
    "MultiTaskClassifier",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "MultiTaskRegressor",
    "RobustClassifier",
    "RobustRegressor",
    "SharedSubspaceClassifier",
    "SharedSubspaceRegressor",
    "SparseLowRankClassifier",
    "SparseLowRankRegressor",
    "TaskRelationshipClassifier",
    "TaskRelationshipRegressor",
    "TemporalClassifier",
    "TemporalRegressor",
    "TraceNormClassifier",
    "TraceNormRegressor",
]
