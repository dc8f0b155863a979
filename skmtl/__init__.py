"""Classical multi-task learning with scikit-learn estimators."""

from ._suggest import suggest
from ._tasks import stack_tasks
from ._warm_up import warm_up
from .baselines import Pooled, SingleTask
from .comparison import Comparison, compare
from .linear_model import *
from .linear_model._path import CoefficientPath, path
from .model_selection import PathSearchCV, TaskKFold, TaskShuffleSplit
from .neural_network import MultiTaskMLP, MultiTaskMLPClassifier, MultiTaskMLPRegressor
from .statistics import TaskStatistics

__version__ = "0.1.0"

__all__ = sorted(
    name for name, item in globals().items() if getattr(item, "__module__", "").startswith(__name__)
)
