"""What Laplace's method leaves out of the uncertainty of tasks with few rows, by importance sampling.

Given the variances and the common coefficients tasks are independent, and the posterior of the few
coefficients of each is near a normal one about its mode, from which points are drawn. Weighted by the exact
posterior they tell the derivatives of the exact marginal likelihood, and how far off the mode may be.
"""

from functools import cache, partial

import numpy as np
from scipy import interpolate, sparse, special

from ._reml import CERTAIN, FAR, UNTOLD, newton_step

N_PAIRS = 128  # of points of opposite sign
MOST_TASKS = 200  # whose points tell by how much variances are corrected
WIDER = 0.5  # standard deviation of points over that of what they stand for, less one, times root of n
LONGEST = 0.5  # step in a logarithm
MOST_STEPS = 10
SMALL = 3.0  # strength in units of what rows tell, at which a variance of none is tried
AWAY = 0.25  # steps in logarithms by which second derivatives are found
LEAST_TOLD = 0.05  # of what rows tell by Laplace's method
LARGE = 8.0  # variance in units of what rows tell, up to which one that is hardly above zero is sought
N_NODES, N_FINE = 7, 500  # points between a variance of none and that
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
    """What `Search.expected` takes of the exact marginal likelihood, from the unknowns by Laplace's method.

    The unknowns where it is greatest, what the gradient lacks there of being zero, the root of what rows tell
    over the information, expected variances that hardly are; and how far common coefficients move (n_coefs,).
    """
    step = -(-search.moments.n_tasks // MOST_TASKS)
    few = search.of(slice(None, None, step)) if step > 1 else search
    few = search if few.without_mode() else few
    exact = partial(_exact, search, few)
    scale, low, high = search.scales
    start = few.at(theta).blocks.mean(axis=0)
    common, new, small = start, theta.copy(), scale + np.log(SMALL)
    none = (theta >= high) & ~search.silent
    if none.any():
        new = np.where(none & (exact(np.where(none, small, theta), common)[0] > 0), small, theta)
    free = np.flatnonzero((new < high) & ~search.silent)
    for _ in range(MOST_STEPS if len(free) else 0):
        gradient, move, mode = exact(new, common)
        H = search._information(mode)[np.ix_(free, free)]
        change = np.clip(newton_step(H, gradient[free], LONGEST), -LONGEST, LONGEST)
        new[free], common = np.clip(new[free] + change, low[free], high[free]), common + move
        if np.abs(change).max() < CLOSE:
            break
    bias = np.zeros(len(theta))
    bias[free] = -search.gradient(search.at(new))[free]
    share = _told(few, new, free, common)
    means = _hardly_above(search, lambda at: exact(at, common)[0], new, share)
    return (new, bias, share, means), common - start


def _told(search, theta, free, common):
    """Roots of what rows tell of the unknowns over the information, of slopes and of intercepts."""
    share, every, (_, low, high) = np.ones(len(theta)), np.arange(len(theta)), search.scales
    H = search._information(search.at(theta))
    for some in (every < search.n_slopes, every >= search.n_slopes):
        along = AWAY * (some & np.isin(every, free))
        ends = np.clip([theta - along, theta + along], np.minimum(low, theta), high)
        away = ends[1] - ends[0]
        if (size := away @ H @ away) > UNTOLD:
            change = np.subtract(*(_exact(search, search, end, common)[0] for end in ends[::-1]))
            share[along > 0] = np.sqrt(np.clip(away @ change / size, LEAST_TOLD, 1.0))
    return share


def _hardly_above(search, gradient, theta, share):
    """{0: (logarithm of the precision, its variance)} of one expected variance of all slopes that is.

    By the criterion along it, which is far from a parabola there.
    """
    scale, low, _ = search.scales
    if search.n_slopes != 1 or search.silent[0]:
        return {}
    at = np.append(min(theta[0], scale[0] + np.log(FAR)), theta[1:])
    if share[0] ** 2 * search._information(search.at(at))[0, 0] > 2 * CERTAIN**2:
        return {}
    most = max(np.log(LARGE), scale[0] - theta[0] + 2.0)
    logs = np.linspace(-np.log(FAR), min(most, scale[0] - low[0]), N_NODES)
    slopes = [-gradient(np.append(scale[0] - one, theta[1:]))[0] for one in logs]
    log, variance = _mean_share(logs, slopes)
    return {0: (scale[0] - log, variance)}


def _mean_share(logs, slopes):
    """Logarithm of a variance at which rows keep the expected share v / (v + 1) of a deviation; its variance.

    From derivatives of a criterion in the logarithm of v. The prior is flat in the root of v (Gelman 2006).
    """
    fine = np.linspace(logs[0], logs[-1], N_FINE)
    gain = interpolate.CubicSpline(logs, slopes).antiderivative()(fine)
    weight, share = special.softmax(0.5 * (fine - gain)), special.expit(fine)
    mean = weight @ share
    return special.logit(mean), min(weight @ (share - mean) ** 2 / (mean * (1 - mean)) ** 2, 1.0)


def _exact(search, few, theta, common):
    """Gradient of the exact criterion, the step of the common coefficients, and the mode.

    What sampling adds to the gradient is known of a few of the tasks.
    """
    mode, own = search.at(theta), few.at(theta)
    scores, move = _scores(own, common)
    gradient = _unknowns(search, scores)
    if few is not search:
        times = search.moments.n_tasks / few.moments.n_tasks
        gradient = search.gradient(mode) + times * (gradient - few.gradient(own))
    if mode.rows.loss.log_link:  # of classes errors hold enough without
        gradient = gradient + search.common_gradient(mode)
    return gradient, move, mode


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
