"""Classical multi-task learning with scikit-learn estimators."""

import sys

from . import linear_model
from ._batches import read_batches
from ._columns import ManyValues, split_task_column
from ._feature_groups import feature_groups
from ._from_column import TasksFromColumn
from ._suggest import suggest
from ._summary import Summary, summary
from ._tasks import stack_tasks
from ._warm_up import warm_up
from .baselines import Pooled, SingleTask
from .comparison import Comparison, Suggestion, compare
from .conformal import TaskConformalClassifier, TaskConformalRegressor
from .linear_model import *
from .model_selection import *
from .model_selection import _search
from .neural_network import MultiTaskMLP, MultiTaskMLPClassifier, MultiTaskMLPRegressor
from .residual import TaskResidual
from .statistics import TaskStatistics

__version__ = "0.2.0"

sys.modules["skmtl.linear_model._search"] = _search  # where models saved by 0.1.0 look for it
for _name in ("MultiTaskElasticNetCV", "MultiTaskLassoCV"):  # scikit-learn has them beside the models
    setattr(linear_model, _name, globals()[_name])

__all__ = sorted(
    name for name, item in globals().items() if getattr(item, "__module__", "").startswith(__name__)
)
