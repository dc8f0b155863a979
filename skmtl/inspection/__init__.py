"""Pictures of what models and selections found, in the conventions of scikit-learn's displays."""

from ._coefficients import CoefficientDisplay, TaskSimilarityDisplay
from ._comparison import ComparisonDisplay, TaskGainDisplay
from ._convergence import ConvergenceDisplay
from ._path import PathDisplay
from ._shrinkage import ShrinkageDisplay
from ._stability import StabilityDisplay

__all__ = [
    "CoefficientDisplay", "ComparisonDisplay", "ConvergenceDisplay", "PathDisplay", "ShrinkageDisplay",
    "StabilityDisplay", "TaskGainDisplay", "TaskSimilarityDisplay",
]  # fmt: skip
