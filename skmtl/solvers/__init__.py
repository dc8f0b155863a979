"""Solvers behind one front, `solve`; what is not in `__all__` is for the models of this package."""

from .._data import make_task_data
from ._solve import (
    SOLVERS,
    SolverResult,
    alpha_max,
    alpha_range,
    blas_threads,
    greatest_alpha,
    require_finite,
    result_at,
    run,
    solve,
)
from ._strengths import at_once, serves
from .alternating import make_problem_of
from .direct import inverse_of_mean, task_inverses_of

__all__ = ["SolverResult", "alpha_max", "make_task_data", "solve"]
