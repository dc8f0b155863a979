"""Neural multi-task estimators."""

from ._mlp import MultiTaskMLP, MultiTaskMLPClassifier, MultiTaskMLPRegressor

__all__ = ["MultiTaskMLP", "MultiTaskMLPClassifier", "MultiTaskMLPRegressor"]
