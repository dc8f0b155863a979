"""Solvers behind one front, `solve`."""

from .._data import make_task_data
from ._choice import choose_solver
from ._solve import (
    SOLVERS,
    SolverResult,
    alpha_max,
    alpha_range,
    blas_threads,
    greatest_alpha,
    make_problem,
    run,
    solve,
)
from .alternating import make_problem_of

# those not in here serve the models of this package
__all__ = ["SolverResult", "alpha_max", "make_task_data", "solve"]
