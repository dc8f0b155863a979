"""Classes that directions which nothing penalises separate: the loss falls there without end."""

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, lsmr

from .._warn import warn
from ..objective import eigenvectors, units

FAR = 10.0  # of a predictor: how far a solution must have gone
HELD = (1e-2, 1e-6)  # slopes of the loss above which a row is taken to hold the solution
OUT, ROUNDING = 1e8, 1e-6  # how far out a loss shows its slope at infinity, and what of it is rounding
MOST_STEPS = 300
HOLDS = 1e-8  # least eigenvalue of the curvature of rows that hold all directions, its diagonal one


def warn_of_separation(problem, found):
    """Say that a solution, a SolverResult, is none, for the loss falls on beyond it."""
    if runs_off(problem, found):
        warn(
            "the classes (or counts of zero) are separable along directions that nothing penalises: the loss "
            "falls there without end, and coefficients say how far the solver went. Penalise them by "
            "mean_alpha > 0 where that is 0, else by ridge > 0.",
        )


def runs_off(problem, found):
    """Whether a solution is on its way along a direction that nothing penalises, where the loss only falls.

    The direction is what the rows that still have a slope do not hold of the solution. If no row is against
    it, however far it goes, the answer is true, and certain but for rounding.
    """
    term, W = problem.term, problem.term.leveled(problem.total(found.parts))
    falls = term.y is not None and term.loss.falls(term.y).any()
    free = _unpenalised(problem) if falls else None
    if free is None:
        return False
    along, used = free.T @ W, term.weight > 0
    moved = term.image(free @ along)
    if not np.abs(moved).max() > FAR:
        return False
    b = found.intercept - term.restored(W, np.zeros_like(found.intercept))
    _, image, b, _ = problem.evaluate(found.parts, b)
    slopes = np.abs(term.loss.gradient(term.y, term.predictor(image, b))).reshape(*used.shape, -1)
    own = b if term.free_intercepts else np.zeros_like(b)
    if _falls_on(term, used, moved, moved + term.spread(own)):
        return True
    for held in HELD:
        holds = used[..., None] & (slopes > held)
        if _hold_all(term, free, holds.all(axis=-1)):
            return False  # as do the rows that come with a lower slope
        if holds.any() and _falls_on(term, used, *_less_held(term, free, holds, along, own, moved.shape)):
            return True
    return False


def _less_held(term, free, holds, along, b, shape):
    """Predictors, without intercepts and with them, of what some rows do not hold of a free direction.

    `holds` (..., n_outputs): which predictors of a row have a slope; of several it is their differences that
    it holds, as the loss of classes sees no more.
    """
    unit = np.tile(np.sqrt(term.squares.sum(axis=0)), term.n_outputs)
    unit, n, own = np.where(unit > 0, unit, 1.0), along.size, float(term.free_intercepts)
    holds, point = holds.astype(float), np.append(along * unit, b)
    count = holds.sum(axis=-1, keepdims=True)
    common, ones = np.where(count > 1, holds / np.maximum(count, 1.0), 0.0), np.ones((holds.shape[-1], 1))

    def held(R):
        R = holds * R.reshape(holds.shape)
        return (R - common * (R @ ones)).reshape(shape)

    def forward(v):
        image = term.image(free @ (v[:n].reshape(along.shape) / unit))
        return image, image + term.spread(own * v[n:].reshape(b.shape))

    def back(R):
        R = held(R)
        return np.append(free.T @ term.back(R) / unit, own * term.task_sums(R))

    size = np.prod(shape), len(point)
    on_rows = LinearOperator(size, lambda v: held(forward(v)[1]).ravel(), back, dtype=np.float64)
    return forward(point - lsmr(on_rows, on_rows @ point, atol=1e-12, btol=1e-12, maxiter=MOST_STEPS)[0])


def _falls_on(term, used, moved, eta):
    """Whether predictors are far out, and no loss of the rows used rises in the end along them."""
    if not np.abs(moved[used]).max() > FAR:
        return False
    found = term.loss.value(term.y, OUT / np.abs(eta[used]).max() * eta)
    return bool((found[used] <= ROUNDING * OUT).all())


def _hold_all(term, free, rows):
    """Whether some rows are known to hold every direction that all tasks share, the only ones free."""
    shared = free.shape[1] == 1 and np.ptp(free) == 0
    if not (shared and term.pointwise and rows.any()) or term.tied_intercepts:
        return False
    C = term.shared_curvature_under(rows.astype(float))
    unit = units(C)
    return unit.all() and linalg.eigvalsh(C * unit * unit[:, None])[0] > HOLDS


def _unpenalised(problem):
    """Columns N (n_tasks, k) such that adding N d' to W costs nothing, or no more far out, or None."""
    free = getattr(problem, "free", None)  # factors have none
    for part in [] if problem.convex else problem.parts:
        free = part.quadratic.null_space() if getattr(part.rough, "bounded", False) else free
    if free is None or problem.ridge:
        return None
    if problem.pull:
        values, vectors = eigenvectors(free.T @ problem.pull.apply(free))
        free = free @ vectors[:, values <= 1e-12 * problem.pull.norm]
    return free if free.shape[1] else None
