"""Does sharing help? Multi-task models against simple baselines, on the same folds."""

from ._advice import race
from ._compare import compare
from ._folds import SIGNIFICANCE
from ._race import Candidate
from ._result import Comparison, Suggestion
from ._rivals import LEAVES as LEAVES
from ._rivals import MANY_ROWS as MANY_ROWS
from ._rivals import ONE_FOR_ALL as ONE_FOR_ALL
from ._rivals import FreeIntercepts as FreeIntercepts
from ._rivals import MeanCount as MeanCount
from ._rivals import TunedBoosting as TunedBoosting
from ._rivals import TunedForest as TunedForest
from ._rivals import rival
from ._tuned import TunedLinear as TunedLinear

__all__ = ["SIGNIFICANCE", "Candidate", "Comparison", "Suggestion", "compare", "race", "rival"]
