"""Linear multi-task estimators."""

from ._clustered import *
from ._decomposed import *
from ._generic import *
from ._group_sparse import *
from ._incomplete import *
from ._latent_basis import *
from ._mean_regularized import *
from ._mixed import *
from ._shared_representation import *
from ._structured import *

__all__ = sorted(
    name for name, item in globals().items() if getattr(item, "__module__", "").startswith(__name__)
)
