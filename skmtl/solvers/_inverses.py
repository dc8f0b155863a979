"""Inverses of small positive semidefinite matrices, and of operators that are one."""

import numpy as np
from scipy import linalg

from ..objective import PREDICTOR_ROUNDING, inverse_of, units
from ..penalties import reciprocal

GRADED = 1e8  # ratio of the curvatures along features from which their units differ too much for eigenvectors
RANK_TOLERANCE = 10 * np.finfo(float).eps  # times the size: eigenvalues below are rounding
FARTHEST = 1e16  # square of an offset relative to curvatures that are taken for no less


def inverses(B):
    """Of positive semidefinite matrices (n, p, p), pseudo-inverses where one is singular."""
    try:
        inverse = np.linalg.inv(B)
    except np.linalg.LinAlgError:
        return pseudo_inverses(B)
    low = np.einsum("tjj->tj", B) * np.einsum("tjj->tj", inverse)  # the largest entries are on the diagonal
    sound = (low > 0).all(axis=1) & (low.max(axis=1) < 1 / (RANK_TOLERANCE * B.shape[-1]))
    if not sound.all():
        inverse[~sound] = pseudo_inverses(B[~sound])
    return inverse


def pseudo_inverses(B, tolerance=RANK_TOLERANCE):
    """Of positive semidefinite matrices (..., p, p), with ranks in units that give them a diagonal of ones.

    As long as these are not far apart, those that lead to solutions of least norm in the units given.
    """
    unit = units(B)
    values, vectors = np.linalg.eigh(unit[..., :, None] * B * unit[..., None, :])
    used = values > tolerance * B.shape[-1] * values[..., -1:]
    own = np.where(used, 1.0 / np.where(used, values, 1.0), 0.0)[..., None, :]
    inverse = (vectors * own) @ np.swapaxes(vectors, -1, -2)
    inverse = unit[..., :, None] * inverse * unit[..., None, :]
    alike = unit.max(initial=0.0) <= GRADED**0.5 * unit.min(initial=np.inf, where=unit > 0)
    if used.all() or not alike:
        return inverse
    null = np.where(used[..., None, :], 0.0, unit[..., :, None] * vectors)
    inside = np.eye(B.shape[-1]) - null @ np.linalg.pinv(null)
    return inside @ inverse @ inside


def assembled_inverse(operator, term):
    """Inverse of a positive semidefinite operator on few coefficients, built column by column."""
    into, back, far = _coordinates(term)
    curvature = np.maximum(np.tile(term.curvatures(), term.n_outputs), far / FARTHEST)
    # of predictors, from the rounding of coefficients, and of their squares, from that of moments
    sizes = PREDICTOR_ROUNDING * np.sqrt(curvature + far), np.sqrt(PREDICTOR_ROUNDING * curvature)
    sizes = np.column_stack(sizes if term.on_moments else sizes[:1])

    def less_rounding(C, directions):
        seen = np.diag(C) > [(np.abs(back(v)) @ sizes).sum(axis=0).max() ** 2 for v in directions]
        return C * (seen & seen[:, None])

    def along(directions):
        """Curvature between some directions, beside which there are no intercepts."""
        found = [back(v) for v in directions]
        C = np.array([V.ravel() for V in found]) @ np.array([operator(V).ravel() for V in found]).T
        return less_rounding(C, directions), np.zeros((len(C), 0))

    axes = np.eye(term.n_tasks * term.n_features)
    H = np.array([into(operator(back(axis))) for axis in axes])
    least = PREDICTOR_ROUNDING * np.sqrt(1.0 + (far * reciprocal(curvature)).max())
    inverse, _ = inverse_of(less_rounding(0.5 * (H + H.T), axes), along, least)
    return lambda R: back(inverse(into(R)))


def _coordinates(term):
    """Functions of W and of numbers in a row to one another, and the squares of a common offset.

    Beside that, along which only what tasks differ by has a huge curvature.
    """
    features, T = term.beside_offset, term.n_tasks
    if features is None:
        return np.ravel, lambda v: v.reshape(term.shape), np.zeros(term.n_features)
    each = np.eye(T * term.n_features // len(features))
    unseen = np.array([term.less_unseen(one.reshape(T, -1)).ravel() for one in each])
    tasks = linalg.eigh(unseen)[1]  # the first do not see the offset

    def into(V):
        return (tasks.T @ V.reshape(-1, len(features)) @ features.T).ravel()

    def back(v):
        return (tasks @ v.reshape(len(tasks), -1) @ features).reshape(term.shape)

    return into, back, np.tile(term.common**2, len(each) // T) * term.totals.sum()
