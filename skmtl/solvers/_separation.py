"""Classes that directions which nothing penalises separate: the loss falls there without end."""

from functools import partial

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, lsmr

from .._warn import warn
from ..objective import units

FAR = 10.0  # of a predictor: how far a solution must have gone
HELD = (np.inf, 1e-1, 1e-3)  # slopes of the loss above which a row is taken to hold the solution
OUT, ROUNDING = 1e8, 1e-6  # how far out a loss shows its slope at infinity, and what of it is rounding
MOST_STEPS = 300
HOLDS = 1e-8  # least eigenvalue of the curvature of rows that hold all directions, its diagonal one


def warn_of_separation(problem, parts):
    """Say that a solution is none, for the loss falls on beyond it."""
    if runs_off(problem, parts):
        warn(
            "the classes (or counts of zero) are separable along directions that nothing penalises: the loss "
            "falls there without end, and coefficients say how far the solver went. Penalise them by "
            "mean_alpha > 0 where that is 0, else by ridge > 0.",
        )


def runs_off(problem, parts):
    """Whether a solution is on its way along a direction that nothing penalises, where the loss only falls.

    The direction is what the rows that still have a slope do not hold of the solution. If no row is against
    it, however far it goes, the answer is true, and certain but for rounding.
    """
    term, W = problem.term, problem.total(parts)
    falls = term.y is not None and term.loss.falls(term.y).any()
    free = _unpenalised(problem) if falls else None
    if free is None or not np.abs(term.image(free @ (free.T @ W))).max() > FAR:
        return False
    _, image, b, _ = problem.evaluate(parts)
    y, used, own = term.y, term.weight > 0, float(term.free_intercepts)
    slopes = np.abs(term.loss.gradient(y, term.predictor(image, b))).reshape(*y.shape, -1).max(axis=-1)
    unit = np.tile(np.sqrt(term.squares.sum(axis=0)), term.n_outputs)
    unit, n = np.where(unit > 0, unit, 1.0), free.shape[1] * len(unit)

    def forward(v):
        image = term.image(free @ (v[:n].reshape(-1, len(unit)) / unit))
        return image, image + term.spread(own * v[n:].reshape(b.shape))

    def back(R):
        return np.concatenate([(free.T @ term.back(R) / unit).ravel(), own * term.task_sums(R).ravel()])

    point = np.concatenate([(free.T @ W * unit).ravel(), own * b.ravel()])
    for held in HELD:
        holds = used & (slopes > held)
        if _hold_all(term, free, holds):
            return False  # as do the rows that come with a lower slope
        holds = holds.reshape(used.shape + (1,) * (b.ndim - 1))
        there = partial(lambda holds, v: (holds * forward(v)[1]).ravel(), holds)
        home = partial(lambda holds, R: back(holds * R.reshape(image.shape)), holds)
        on_rows = LinearOperator((image.size, len(point)), there, home, dtype=np.float64)
        kept = 0.0
        if holds.any():
            kept = lsmr(on_rows, on_rows @ point, atol=1e-12, btol=1e-12, maxiter=MOST_STEPS)[0]
        moved, eta = forward(point - kept)
        if np.abs(moved[used]).max() > FAR and not _opposed(term.loss, y, eta, used):
            return True
    return False


def _hold_all(term, free, rows):
    """Whether some rows are known to hold every direction that all tasks share, the only ones free."""
    shared = free.shape[1] == 1 and np.ptp(free) == 0
    if not (shared and term.pointwise and rows.any()) or term.tied_intercepts:
        return False
    C = term.shared_curvature_under(rows.astype(float))
    unit = units(C)
    return unit.all() and linalg.eigvalsh(C * unit * unit[:, None])[0] > HOLDS


def _opposed(loss, y, eta, used):
    """Whether the loss of some row rises in the end along a direction with the predictors eta."""
    found = loss.value(y, OUT / np.abs(eta[used]).max() * eta)
    return not (found[used] <= ROUNDING * OUT).all()


def _unpenalised(problem):
    """Columns N (n_tasks, k) such that adding N d' to W costs nothing, or None."""
    free = getattr(problem, "free", None)  # factors have none
    if free is None or problem.ridge:
        return None
    if problem.pull:
        values, vectors = linalg.eigh(free.T @ problem.pull.apply(free))
        free = free @ vectors[:, values <= 1e-12 * problem.pull.norm]
    return free if free.shape[1] else None
