"""Linear multi-task estimators."""

from ._clustered import ClusteredClassifier, ClusteredRegressor
from ._decomposed import (
    DirtyClassifier,
    DirtyRegressor,
    RobustClassifier,
    RobustRegressor,
    SparseLowRankClassifier,
    SparseLowRankRegressor,
)
from ._generic import MultiTaskClassifier, MultiTaskRegressor
from ._group_sparse import GroupSparseClassifier, GroupSparseRegressor, MultiTaskElasticNet, MultiTaskLasso
from ._incomplete import IncompleteMultiSourceClassifier, IncompleteMultiSourceRegressor
from ._latent_basis import LatentBasisClassifier, LatentBasisRegressor
from ._mean_regularized import MeanRegularizedClassifier, MeanRegularizedRegressor
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

__all__ = sorted(
    name for name, item in globals().items() if getattr(item, "__module__", "").startswith(__name__)
)
