"""The methods for a problem whose parts are given, and which of them is taken."""

import numpy as np

from .coordinate import BCD
from .direct import DIRECT
from .fista import FISTA
from .newton import NEWTON
from .proximal_newton import PROX_NEWTON
from .splitting import SPLITTING

EPS = np.finfo(float).eps
METHODS = {
    "direct": DIRECT, "newton": NEWTON, "bcd": BCD, "prox_newton": PROX_NEWTON, "splitting": SPLITTING,
    "fista": FISTA,
}  # fmt: skip


def choose_solver(problem, solver="auto"):
    """Name of the solver, the first that applies; ValueError where the one asked for does not."""
    if problem.solver is not None:
        if solver not in ("auto", problem.solver):
            raise ValueError(f"solver={solver!r} cannot find {problem.penalty!r}; use solver='auto'.")
        return problem.solver
    if solver == "auto":
        found = (name for name, one in METHODS.items() if one.applies(problem) and not one.passes(problem))
        return next(found)
    if solver == "alternating":
        raise ValueError("solver='alternating' needs a penalty with a learned structure; use solver='auto'.")
    if solver not in METHODS:
        raise ValueError(f"solver must be 'auto' or one of {sorted(METHODS)}; got {solver!r}.")
    if not METHODS[solver].applies(problem):
        needs = METHODS[solver].needs
        raise ValueError(f"solver={solver!r} needs {needs}; use solver='auto' or 'fista'.")
    return solver


def rounding(problem):
    """Measure below which there is only rounding: a constant target, or one that intercepts explain."""
    term = problem.term
    if not problem.certified:
        return rounding_of_gradients(term)
    return term.totals.sum() * term.loss.rounding(8 * EPS, term.y_size)


def rounding_of_gradients(term):
    """Size of a gradient in which there is only rounding."""
    return 8 * EPS * term.y_size * np.sqrt(term.totals.sum() * term.x_size())
