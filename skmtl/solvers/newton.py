"""Smooth problems with a loss that is not quadratic."""

from itertools import islice

import numpy as np

from .._terms import make_term
from ..losses import SquaredError
from .direct import conjugate_gradients, make_preconditioner

SHORTEST_STEP = 1e-8
INNER_ITERATIONS = 200  # conjugate gradient steps for one Newton direction


def newton(problem, parts, max_iter, target):
    """Iterates (n_iter, parts) of Newton's method; each step is a squared-loss problem on the same rows."""
    term, quadratic = problem.term, problem.parts[0].quadratic
    W = parts[0]
    _, image, b, objective = problem.evaluate([W])
    for n_iter in range(1, max_iter + 1):
        gradient = term.gradient(W, image, b) + quadratic.apply(W)
        direction = _newton_direction(term, quadratic, image, b, gradient)
        step, slope = 1.0, float(np.vdot(gradient, direction))
        while step > SHORTEST_STEP:
            new = W + step * direction
            _, image, b_new, value = problem.evaluate([new], b)
            if value <= objective + 1e-4 * step * slope + 1e-15 * abs(objective):
                W, b, objective = new, b_new, value
                break
            step /= 2
        yield n_iter, [W]
        if step <= SHORTEST_STEP:  # no descent left in floating point
            return


def _newton_direction(term, quadratic, image, b, gradient):
    """-H^-1 gradient to a small fraction of its length."""
    eta = term.predictor(image, b)

    def operator(V):
        return term.curvature(V, eta) + quadratic.apply(V)

    size, direction = np.linalg.norm(gradient), np.zeros_like(gradient)
    steps = conjugate_gradients(operator, _preconditioner(term, quadratic, eta), -gradient)
    for direction in islice(steps, INNER_ITERATIONS):
        if np.linalg.norm(operator(direction) + gradient) <= 1e-6 * size:
            break
    return direction


def _preconditioner(term, quadratic, eta):
    """The inverse for a squared loss of about the same curvature, predictor by predictor."""
    data = term.quadratic_model(eta)
    model = make_term(data, SquaredError(), term.fit_intercept, term.intercept_alpha)
    inverse = make_preconditioner(model, quadratic)
    if term.n_outputs == 1:
        return inverse
    return lambda R: np.hstack(
        [inverse(np.ascontiguousarray(V)) for V in np.split(R, term.n_outputs, axis=1)]
    )
