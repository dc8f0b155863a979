"""Penalties on the coefficient matrix W: placements of vector functions, couplings, combinations."""

from ._base import Penalty
from ._combine import InfConv, Sum
from ._coupling import Coupling, Ridge, Shared
from ._placement import Entries, Features, Spectrum, Tasks
from ._vector import L1, L2, VectorFunction

__all__ = [
    "L1", "L2", "Coupling", "Entries", "Features", "InfConv", "Penalty", "Ridge", "Shared", "Spectrum",
    "Sum", "Tasks", "VectorFunction",
]  # fmt: skip
