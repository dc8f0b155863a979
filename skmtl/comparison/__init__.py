"""Does sharing help? Multi-task models against simple baselines, on the same folds."""

from ._compare import compare
from ._folds import SIGNIFICANCE
from ._race import Candidate, race
from ._result import Comparison
from ._rivals import rival

__all__ = ["SIGNIFICANCE", "Candidate", "Comparison", "compare", "race", "rival"]
