"""What Laplace's method leaves out of the uncertainty of tasks with few rows, by importance sampling.

Given the variances and the common coefficients tasks are independent, and the posterior of the few
coefficients of each is near a normal one about its mode, from which points are drawn. Weighted by the exact
posterior they tell the derivatives of the exact marginal likelihood, and how far off the mode may be.
"""

from functools import cache

import numpy as np
from scipy import sparse, special

from ._reml import newton_step

N_PAIRS = 128  # of points of opposite sign
MOST_TASKS = 200  # whose points tell by how much variances are corrected
WIDER = 0.5  # standard deviation of points over that of what they stand for, less one, times root of n
LONGEST = 0.5  # step in a logarithm
MOST_STEPS = 10
CLOSE = 1e-3  # step in a logarithm that is the last
MOST_UNEVEN = 8.0  # how many times fewer points may count; ratios of densities are evened out from there
TOLD = 1e-3  # of the prior of a mean task, below which a common coefficient stays
MOST_COEFFICIENTS = 50  # of a task: there are too few points for more


def told_by_points(moments):
    """Whether all that varies in a task has a distribution, of not too many coefficients."""
    rows = moments.rows
    few = rows.n_blocks <= MOST_COEFFICIENTS and not sparse.issparse(rows.data.X)
    return few and not moments.free and moments.n_tasks > 1


def refined(search, theta):
    """Unknowns at the greatest exact marginal likelihood, from those by Laplace's method.

    With what the gradient lacks there of being zero, and how far the common coefficients move (n_coefs,).
    """
    step = -(-search.moments.n_tasks // MOST_TASKS)
    few = search.of(slice(None, None, step)) if step > 1 else search
    few = search if few.without_mode() else few
    _, low, high = search.scales
    free = np.flatnonzero((theta < high) & ~search.silent)
    start = few.at(theta).blocks.mean(axis=0)
    common, new = start, theta.copy()
    for _ in range(MOST_STEPS if len(free) else 0):
        mode, own = search.at(new), few.at(new)
        exact, move = _scores(own, common)
        exact = _unknowns(search, exact) - (0.0 if few is search else few.gradient(own))
        gradient = exact if few is search else search.gradient(mode) + exact * step
        if mode.rows.loss.log_link:  # of classes errors hold enough without
            gradient = gradient + search.common_gradient(mode)
        H = search._information(mode)[np.ix_(free, free)]
        change = np.clip(newton_step(H, gradient[free], LONGEST), -LONGEST, LONGEST)
        new[free], common = np.clip(new[free] + change, low[free], high[free]), common + move
        if np.abs(change).max() < CLOSE:
            break
    bias = np.zeros(len(theta))
    bias[free] = -search.gradient(search.at(new))[free]
    return new, bias, common - start


def _unknowns(search, scores):
    """Sums over the coefficients that have a variance in common: of slopes, and last of intercepts."""
    p, k = search.moments.xy.shape[1], search.n_slopes
    slopes = scores[:p] if k == p and search.covariance != "spherical" else scores[:p].sum(keepdims=True)
    return np.concatenate([slopes[:k], scores[p:][: search.ties]])


def _scores(mode, common):
    """Derivatives of minus twice the exact log-likelihood in the logarithms of the precisions, of features.

    And the step of the common coefficients to its maximum.
    """
    R, told, T = mode.root_of_blocks, np.eye(len(mode.root_of_blocks)), mode.moments.n_tasks
    first, second = np.zeros(len(R)), -T * np.ones(len(R))
    for _, v, weight, covariance in _points(mode, common):
        first = first + np.einsum("tm,tmj->j", weight, v)
        second = second + np.einsum("tm,tmj->j", weight, v**2)
        told = told - covariance.sum(axis=0) / T
    some = told.diagonal() > TOLD
    told = np.linalg.pinv(np.where(np.outer(some, some), told, 0.0), rcond=TOLD, hermitian=True)
    move = R @ (told @ first) / T
    return second.reshape(-1, mode.rows.n_own).sum(axis=0), move


def beyond(mode, common):
    """Mean squares of coefficients about those of the fit, beyond their covariances (n_tasks, n, n)."""
    out, R = -mode.covariances, mode.root_of_blocks
    for own, v, weight, _ in _points(mode, common):
        away = (common - mode.blocks[own])[:, None] + v @ R.T
        out[own] += (away * weight[:, :, None]).swapaxes(1, 2) @ away
    return out


def _points(mode, common):
    """For some tasks at a time, their positions (m,) and deviations (m, 2 N_PAIRS, n).

    With weights by the exact posterior, and covariances. In the coordinates of R, whatever the units of X.
    """
    R, rows = mode.root_of_blocks, mode.rows
    inverse, (points, given) = np.linalg.inv(R), _normal(len(R))
    turns = np.random.default_rng(0).standard_normal(mode.covariances.shape)
    size, moved = 0.5 * (points**2).sum(axis=1), (common - mode.heart) @ inverse.T
    middle, even = (mode.middle - mode.heart) @ inverse.T, MOST_UNEVEN * np.exp(2 * given).sum()
    for own, places in rows.batches(len(points) * rows.loss.n_outputs):
        covariance = inverse @ mode.covariances[own] @ inverse.T
        values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.swapaxes(1, 2)))
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None] @ vectors.swapaxes(1, 2)
        root = root @ np.linalg.qr(turns[own])[0]
        v = (middle[own] - moved + covariance @ moved)[:, None] + points @ root.swapaxes(1, 2)
        ratio = size - 0.5 * (v**2).sum(axis=2) - rows.losses(places, common + v @ R.T)
        weight = special.softmax(given + ratio, axis=1)
        while (uneven := (weight**2).sum(axis=1) > even).any():
            ratio[uneven] *= 0.5
            weight = special.softmax(given + ratio, axis=1)
        yield own, v, weight, covariance


@cache
def _normal(n):
    """Points and logarithms of weights that stand for a standard normal distribution, with room in its tails.

    Moments up to the third are exact; radii are those of a distribution that is wider.
    """
    points = np.random.default_rng(0).standard_normal((N_PAIRS, n))
    radii = np.sqrt(2 * special.gammaincinv(0.5 * n, (np.arange(N_PAIRS) + 0.5) / N_PAIRS))
    points *= (radii / np.sqrt((points**2).sum(axis=1)))[:, None]
    points = np.concatenate([points, -points])
    weight = special.log_softmax(-0.5 * ((1 + WIDER / n**0.5) ** 2 - 1) * (points**2).sum(axis=1))
    covariance = (points * np.exp(weight)[:, None]).T @ points
    return points @ np.linalg.inv(np.linalg.cholesky(covariance)).T, weight
