"""What a method says of itself."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """Iterates of a method, the problems it applies to, and in words what these must be."""

    iterates: Callable  # (problem, parts, max_iter, target) -> (n_iter, parts[, known])
    applies: Callable
    needs: str = ""
    every: int = 1  # iterations between looks at what is not known
    shows_start: bool = False  # as its first iterate, with its certificate, if it may be the solution
    patience: Callable = lambda problem: 500  # iterations before the measure of convergence is asked to fall
    reach: float = float("inf")  # iterations in which it gets to a solution, if it ever does
    passes: Callable = lambda problem: False  # whether a later one that applies is faster
