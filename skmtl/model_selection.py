"""Splitters that know tasks, and the search along paths."""

from ._split import TaskKFold, TaskShuffleSplit
from .linear_model._search import PathSearchCV

__all__ = ["PathSearchCV", "TaskKFold", "TaskShuffleSplit"]
