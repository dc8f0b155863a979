"""Accelerated proximal gradient: anything with a prox."""

import numpy as np
from scipy import linalg

from .._threads import by_rows, sum_by_rows
from ..objective import by_products, graded
from ._method import Method
from .covariances import by_covariance, covariance_pays

PROBE = 1e-3  # way along the gradient whose curvature gives the first step, relative to 1 + ||W||
FARTHEST = 100.0  # change of a predictor in the first step, relative to the targets
FAR_TOO_LONG = 100.0  # times as long as a step may be
LONGEST = 1e300  # step: a longer one is infinite before long
BEYOND = 1e20  # ratio of curvatures at which a gradient method gets nowhere
CHECK_EVERY = 10  # iterations between certificates: one costs about as much as an iteration


def fista(problem, parts, max_iter, target):
    """Iterates (n_iter, parts) of FISTA with adaptive restart and a step that can grow back.

    Where fewer tasks tell where to start, the first is that, with its (objective, intercept, gap).

    References
    ----------
    Beck & Teboulle (2009), https://doi.org/10.1137/080716542;
    O'Donoghue & Candes (2015), https://doi.org/10.1007/s10208-013-9150-3 (restart).
    """
    first = 0
    if max_iter and covariance_pays(problem) and not parts[0].any():
        W, first = by_covariance(problem, _solution, max_iter, target)
        parts = [W]
        yield first, parts, problem.gap(parts)
    term, X = by_products(problem.term), [V.copy() for V in parts]
    problem = problem if term is problem.term else problem.with_term(term)
    W, image, b, lowest = problem.evaluate(X)
    step = _first_step(problem, X, W, image, b)
    Y, Wy, image_y, b_old, t, easy = X, W, image, b, 1.0, 0
    for n_iter in range(first + 1, max_iter + 1):
        b_new, new, W_new, image_new, step, ease = _prox_step(problem, Y, Wy, image_y, b, step)
        if not problem.convex:
            value = _objective(problem, new, W_new, image_new, b_new)
            if t > 1 and not value <= lowest:  # no momentum where it does not lead downhill
                Y, Wy, image_y, t = X, W, image, 1.0
                b_new, new, W_new, image_new, step, ease = _prox_step(problem, Y, Wy, image_y, b, step)
                value = _objective(problem, new, W_new, image_new, b_new)
            lowest = value
        turned = sum(sum_by_rows(_turn, *each) for each in zip(Y, new, X, strict=True)) > 0
        t_new = 1.0 if turned else (1 + np.sqrt(1 + 4 * t * t)) / 2
        beta = 0.0 if turned else (t - 1) / t_new
        Y = [_ahead(beta, x, old) for x, old in zip(new, X, strict=True)]
        Wy = Y[0] if len(Y) == 1 else _ahead(beta, W_new, W)
        image_y, b = _ahead(beta, image_new, image), b_new + beta * (b_new - b_old)
        X, W, image, b_old, t = new, W_new, image_new, b_new, t_new
        easy = easy + 1 if ease < 0.4 else 0
        if easy == 3:  # the curvature met is well below 1/step: try a longer one
            step, easy = min(1.5 * step, LONGEST), 0
        yield n_iter, X


def _solution(problem, W, max_iter, target):
    """W with a gap of at most the target, or the last one."""
    for n_iter, parts in fista(problem, [W], max_iter, target):
        if n_iter % CHECK_EVERY == 0 and problem.gap(parts)[2] <= target:
            break
    return parts[0]


def _turn(y, x, old):
    """<y - x, x - old>."""
    return np.vdot(y - x, x - old)


def _ahead(beta, new, old):
    """new + beta (new - old)."""
    return by_rows(lambda x, old: x + beta * (x - old), new, old)


def checked(iterates, n_before, max_iter):
    """The iterates of `fista` that are worth a certificate, counted on from n_before."""
    for n_iter, parts, *known in iterates:
        if known or n_iter % CHECK_EVERY == 0 or n_before + n_iter == max_iter:
            yield n_before + n_iter, parts, *known


def beyond_gradients(term):
    """Whether curvatures differ so much that a gradient method gets nowhere."""
    return graded(term.curvatures(), BEYOND)


FISTA = Method(
    fista, lambda problem: True, every=CHECK_EVERY,
    patience=lambda problem: 100 if beyond_gradients(problem.term) else 500,
)  # fmt: skip


def _objective(problem, parts, W, image, b):
    """The objective from an image that is known, intercepts searched from b."""
    term = problem.term
    return term.value(W, image, term.intercept(W, image, b)) + problem.penalty_value(parts)


def _first_step(problem, X, W, image, b):
    """1 / (curvature along the gradient), at least 1 / Lipschitz constant; backtracking does the rest.

    Where a loss is about straight that is without end: predictors move by what can matter to it.
    """
    term = problem.term
    G = term.gradient(W, image, b)
    size = linalg.norm(G.ravel(), check_finite=False)  # squares may overflow
    if size == 0:
        return 1.0
    V = G * ((1.0 + np.linalg.norm(W)) * PROBE / size)
    moved, least = term.image(V), 0.0
    if not term.loss.quadratic:  # in large units so long a way ends where the loss is straight
        far = np.abs(moved).max(initial=0.0)
        least = far * size / (np.linalg.norm(V) * FARTHEST * max(1.0, term.y_size))
        V, moved = (M / max(far, 1.0) for M in (V, moved))
    other = image - moved
    change = G - term.gradient(W - V, other, term.intercept(W - V, other, b))
    curvature = float(np.vdot(change, V) / np.vdot(V, V)) * len(X)
    curvature += max(part.quadratic.level for part in problem.parts) + problem.ridge
    curvature = max(curvature, least)
    return min(1.0 / curvature, LONGEST) if curvature > 0 else 1.0


def _prox_step(problem, Y, Wy, image_y, b, step):
    """Next point by backtracking: intercepts, parts, their sum, its image, step, and curvature met * step.

    The first are about those of the point.
    """
    b = problem.term.intercept(Wy, image_y, b)
    G = problem.term.gradient(Wy, image_y, b)
    gradients = problem.smooth_gradients(Y, Wy, G)
    while True:
        back = [_behind(step, V, g) for V, g in zip(Y, gradients, strict=True)]
        new = [part.prox(V, step) for part, V in zip(problem.parts, back, strict=True)]
        W = problem.total(new)
        image = problem.term.image(W)
        length = float(sum(sum_by_rows(_distance, x, y) for x, y in zip(new, Y, strict=True)))
        if length == 0:
            return b, new, W, image, step, 1.0
        met, after = _data_curvature(problem.term, Wy, image_y, b, G, W, image)
        if problem.has_quadratic:
            met += 2 * problem.smooth_penalty_value([x - y for x, y in zip(new, Y, strict=True)], W - Wy)
        ease = met * step / length
        if ease <= 1.0 or step < 1e-300:
            return after, new, W, image, step, ease
        step *= 0.95 / ease if ease <= 1.6 else 0.5 if ease < FAR_TOO_LONG else 0.1  # or numbers overflow


def _behind(step, V, G):
    """V - step G."""
    return by_rows(lambda v, g: v - step * g, V, G)


def _distance(x, y):
    """||x - y||^2."""
    move = x - y
    return np.vdot(move, move)


def _data_curvature(term, Wy, image_y, b, G, W, image):
    """2 (f(W) - f(Wy) - <G, W - Wy>) of the data term f, and the intercepts at W, or about these."""
    if term.loss.quadratic:
        return term.distance(W, Wy, image, image_y), b
    before, after = term.value(Wy, image_y, b), term.intercept(W, image, b)
    met = 2 * (term.value(W, image, after) - before - float(np.vdot(G, W - Wy)))
    if met < 1e-7 * abs(before):  # a difference of nearly equal numbers: their second derivative says more
        met = term.second_order(W - Wy, image - image_y, eta=term.predictor(0.5 * (image + image_y), b))
    return met, after
