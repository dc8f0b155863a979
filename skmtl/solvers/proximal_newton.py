"""Proximal Newton on working sets: coordinate descent for losses that are not quadratic."""

import numpy as np

from ._descent import GramSweep, descend
from ._method import Method
from .coordinate import BY_FEATURE, GRAM_ENTRIES, LOOSE, by_feature, working_set
from .fista import checked, fista
from .splitting import LAGS, LEAST_FLOOR, models_at_once, splits

SHORTEST_STEP = 1e-6
MODEL_EPOCHS = 60  # epochs on one quadratic model
MODEL_GAP = 0.1  # a model is solved to this share of the gap on the working set
KEPT = 0.1  # a model is used again while a step with it leaves less than this share of the gap
MOST_STEPS, FEW_STEPS = 50, 5  # on one working set, and after how many a step may be a longer one
FLOOR = 1e-3  # least curvature of a row in the first model, relative to the largest: a loss may be flat


def prox_newton(problem, parts, max_iter, target):
    """Iterates (n_iter, parts, (objective, intercept, gap)); n_iter counts Newton steps.

    Only the choice of the working set and its certificate read all features. On the set the loss is
    replaced by a quadratic with the curvature of every predictor, or above it, and intercepts that follow.

    References
    ----------
    Lee, Sun & Saunders (2014), Proximal Newton-type methods, https://doi.org/10.1137/130921428
    """
    term, placement = problem.term, problem.parts[0].rough.by_vector()
    ridge, n_vectors = problem.parts[0].quadratic.mean, term.n_tasks * term.n_outputs
    W, b, n_iter, chosen = parts[0], None, 0, None
    while True:
        objective, b, gap, G = problem.certify([W], b)
        yield n_iter, [W], (objective, b, gap)
        if n_iter >= max_iter:
            return
        V, G = W.reshape(n_vectors, -1), (G + ridge * W).reshape(n_vectors, -1)
        chosen = working_set(placement, V.any(axis=0), placement.sizes(G), chosen)
        inner = problem.restricted(chosen)
        enough, found = max(0.3 * target, LOOSE * gap), None
        if n_vectors * len(chosen) ** 2 <= GRAM_ENTRIES:
            V_set = V[:, chosen].reshape(len(W), -1)
            found, b, steps = _newton(inner, V_set, b, enough, min(MOST_STEPS, max_iter - n_iter))
        if found is None:  # too large, or no step leads downhill
            yield from checked(fista(problem, [W], max_iter - n_iter, target), n_iter, max_iter)
            return
        V = np.zeros_like(V)
        V[:, chosen] = found.reshape(n_vectors, -1)
        W, n_iter = V.reshape(W.shape), n_iter + steps


PROX_NEWTON = Method(
    prox_newton,
    lambda problem: not problem.term.loss.quadratic and problem.term.loss.pointwise and by_feature(problem),
    f"a loss of every row that is not quadratic, {BY_FEATURE}", shows_start=True, patience=lambda problem: 50,
    passes=lambda problem: _others_pay(problem.term) and splits(problem) and models_at_once(problem),
)  # fmt: skip


def _others_pay(term):
    """Whether other models than those of single coefficients pay."""
    return term.n_outputs > 1 or term.outlying


def _newton(problem, W, b, enough, max_steps):
    """W and b with a gap of at most `enough` and the steps taken; None for W where no step can be taken."""
    term, placement = problem.term, problem.parts[0].rough.by_vector()
    ridge = problem.parts[0].quadratic.mean
    _, image, b, objective = problem.evaluate([W], b)
    gap, before, floor = problem.gap([W], b)[2], 0.0, FLOOR
    for n_steps in range(1, max_steps + 1):
        V, G = (M.reshape(term.n_tasks * term.n_outputs, -1) for M in (W, term.gradient(W, image, b)))
        if n_steps == 1 or gap > KEPT * before:  # the last model did not lead far: a new one
            weights = term.model_weights(image, b, floor, term.outlying)
            sweep = GramSweep(term.model_grams(weights), np.ones(len(V)), ridge, placement, len(V))
        before = gap
        value = term.model_value(image, b, weights) + 0.5 * ridge * float(np.vdot(W, W))
        new, _ = descend(sweep, placement, V, -G - ridge * V, value, MODEL_GAP * gap, MODEL_EPOCHS)
        new = _leveled(new, term, placement)
        move = new.reshape(W.shape) - W
        slope = float(np.vdot(G + ridge * V, new - V)) + placement.value(new) - placement.value(V)
        floor = max(0.1 * floor, LEAST_FLOOR) if -slope <= LAGS * gap else floor
        moves, step = (move, term.image(move)), 1.0
        reached = _moved(problem, W, image, b, moves, step)
        while not reached[0] <= objective + 0.1 * step * min(slope, 0.0) + 1e-15 * abs(objective):
            step /= 2
            if step <= SHORTEST_STEP:
                return (W if n_steps > 1 else None), b, n_steps
            reached = _moved(problem, W, image, b, moves, step)
        while n_steps > FEW_STEPS and step >= 1.0:  # the loss may fall faster than the model
            further = _moved(problem, W, image, b, moves, 2 * step)
            if not further[0] < reached[0]:
                break
            reached, step = further, 2 * step
        objective, W, image, b = reached
        gap = problem.gap([W], b)[2]
        if gap <= enough:
            break
    return W, b, n_steps


def _moved(problem, W, image, b, moves, step):
    """The objective, W, its image and b after a step along a move of W and of its image."""
    term, W, image = problem.term, W + step * moves[0], image + step * moves[1]
    b = term.intercept(W, image, b)
    return term.value(W, image, b) + problem.penalty_value([W]), W, image, b


def _leveled(V, term, placement):
    """V (n_tasks n_outputs, m) less what classes have in common, which no loss sees, if that costs less."""
    other = term.leveled(V.reshape(term.n_tasks, -1)).reshape(V.shape)
    return other if placement.value(other) < placement.value(V) else V
