"""Penalties on the coefficient matrix W: placements of vector functions, couplings, combinations.

Names that are not in `__all__` serve the solvers and models of this package.
"""

from ._base import Penalty, Sum
from ._combine import InfConv, Positive
from ._concave import MCP, SCAD, CappedL1, SqrtL1
from ._coupling import Coupling, Ridge, Shared
from ._frozen import Metric, RowPenalty
from ._groups import Groups
from ._learned import Clusters, Factorized, by_appearance, clusters_of
from ._ordered import Fused, Tree
from ._placement import Entries, Features, Spectrum, Tasks, singular_values
from ._quadratic import TaskQuadratic, deviations, reciprocal, square
from ._vector import L1, L2, Box, LInf, SparseL2, SquaredL1, VectorFunction

_CLASSES = {name: item for name, item in globals().items() if isinstance(item, type)}
__all__ = [name for name, item in _CLASSES.items() if issubclass(item, (Penalty, VectorFunction))]
__all__.sort(key=lambda name: (not name.isupper(), name))
