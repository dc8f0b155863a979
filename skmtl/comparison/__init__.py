"""Does sharing help? Multi-task models against simple baselines, on the same folds."""

from ._compare import compare
from ._result import Comparison

__all__ = ["Comparison", "compare"]
