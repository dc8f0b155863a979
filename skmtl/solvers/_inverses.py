"""Inverses of small positive semidefinite matrices, and of operators that are one."""

from functools import partial

import numpy as np

from ..objective import PREDICTOR_ROUNDING, aside, eigenvectors, inverse_of, several, tilted, units
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
    empty = (unit == 0)[..., None] * np.eye(B.shape[-1])  # axes beside the others
    values, vectors = np.linalg.eigh(unit[..., :, None] * B * unit[..., None, :] + empty)
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


def assembled_inverse(curvature, apply, term):
    """Inverse of a positive semidefinite operator, curvature(V) + apply(V), on few coefficients."""
    into, back, far = _coordinates(term)
    operator = partial(tilted, curvature, apply)
    curvatures = np.maximum(np.tile(term.curvatures(), term.n_outputs), far / FARTHEST)
    # of predictors, from the rounding of coefficients, and of their squares, from that of moments
    sizes = PREDICTOR_ROUNDING * np.sqrt(curvatures + far), np.sqrt(PREDICTOR_ROUNDING * curvatures)
    sizes = np.column_stack(sizes if term.on_moments else sizes[:1])

    def less_rounding(C, directions):
        seen = np.diag(C) > (np.abs(back(directions)) @ sizes).sum(axis=1).max(axis=1) ** 2
        return C * (seen & seen[:, None])

    def along(directions):
        """Curvature between some directions, beside which there are no intercepts."""
        directions = np.asarray(directions)
        found, n = back(directions), len(directions)
        C = found.reshape(n, -1) @ several(operator, found, term.batch).reshape(n, -1).T
        return less_rounding(C, directions), np.zeros((n, 0))

    axes = np.eye(term.n_tasks * term.n_features)
    H = several(lambda v: into(operator(back(v))), axes, term.batch)
    least = PREDICTOR_ROUNDING * np.sqrt(1.0 + (far * reciprocal(curvatures)).max())
    inverse, _ = inverse_of(less_rounding(0.5 * (H + H.T), axes), along, least)
    return lambda R: back(inverse(into(R)))


def _coordinates(term):
    """Functions of W and of numbers in a row to one another (or of several), and squares of a common offset.

    Beside that, along which only what tasks differ by has a huge curvature.
    """
    features, T = term.beside_offset, term.n_tasks
    if features is None:
        none = np.zeros(term.n_features)
        return lambda V: V.reshape(*V.shape[:-2], -1), lambda v: v.reshape(*v.shape[:-1], *term.shape), none
    each = np.eye(T * term.n_features // len(features))
    unseen = aside(term.less_unseen, each.reshape(len(each), T, -1)).reshape(each.shape)
    tasks = eigenvectors(unseen)[1]  # the first do not see the offset

    def into(V):
        first = V.shape[:-2]
        return (tasks.T @ V.reshape(*first, -1, len(features)) @ features.T).reshape(*first, -1)

    def back(v):
        first = v.shape[:-1]
        return (tasks @ v.reshape(*first, len(tasks), -1) @ features).reshape(*first, *term.shape)

    return into, back, np.tile(term.common**2, len(each) // T) * term.totals.sum()
