"""Solvers behind one front, `solve`."""

from .._data import make_task_data
from ._solve import SolverResult, alpha_max, solve

__all__ = ["SolverResult", "alpha_max", "make_task_data", "solve"]
