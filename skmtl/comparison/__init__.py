"""Does sharing help? Multi-task models against simple baselines, on the same folds."""

from ._compare import compare
from ._folds import SIGNIFICANCE
from ._result import Comparison

__all__ = ["SIGNIFICANCE", "Comparison", "compare"]
