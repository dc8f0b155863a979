"""The estimators of skmtl fitted to collections of Dask, on one machine or a cluster (extra `dask`).

The rows stay in their partitions. For the squared error the workers send second moments, which are added in
an order that does not depend on them, and a local solver does the rest.
"""

from ._by_task import TaskModels
from ._estimators import public_estimators

_FOUND = public_estimators()
globals().update(_FOUND)
__all__ = sorted([*_FOUND, "TaskModels"])
