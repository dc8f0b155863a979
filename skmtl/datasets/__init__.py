"""Data sets to try multi-task learning on: one real, and generated ones with a known truth."""

from ._hsb82 import load_hsb82
from ._make import make_multitask_classification, make_multitask_regression

__all__ = ["load_hsb82", "make_multitask_classification", "make_multitask_regression"]
