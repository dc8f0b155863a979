"""Compiled loops, loaded by the first solver that needs one, as it takes a while to load Numba."""

from ._loops import *
from ._loops import SIGNATURES as _OF_LOOPS
from ._moments import *
from ._moments import SIGNATURES as _OF_MOMENTS
from ._ridges import *
from ._ridges import SIGNATURES as _OF_RIDGES
from ._tasks import *
from ._tasks import SIGNATURES as _OF_TASKS

# kernels that Python calls, and the types, for `warm_up`
SIGNATURES = _OF_LOOPS | _OF_MOMENTS | _OF_RIDGES | _OF_TASKS
