"""Linear multi-task estimators; what is not in `__all__` is for the searches of this package."""

from ._clustered import *
from ._decomposed import *
from ._fitting import Fitting, takes_statistics
from ._generic import *
from ._group_sparse import *
from ._incomplete import *
from ._latent_basis import *
from ._mean_regularized import *
from ._mixed import *
from ._model import LinearModel, estimator
from ._shared_representation import *
from ._structured import *

_CLASSES = {name: item for name, item in globals().items() if isinstance(item, type)}
__all__ = sorted({name for name, item in _CLASSES.items() if issubclass(item, LinearModel)} - {"LinearModel"})
