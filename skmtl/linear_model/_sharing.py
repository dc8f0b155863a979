"""Likelihood-ratio tests of whether tasks differ at all: of variances that may be zero."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse, special

from .._warn import warn
from ..objective import units
from ..statistics import TINY
from ._reml import RANGE, Search
from ._variance_components import RANK_TOLERANCE

N_SIMULATED = 10_000
DENSE = 1000  # size up to which eigenvalues take the common effects into account
GROUPS = 300  # of eigenvalues that are alike
NO_RATIO = 1e-7  # rounding
MOST_EXCESS = 1.2  # of a variance that is put right, from where it is said that more is wrong than that
FEW = 5.0  # second derivatives of the losses of a mean task: 20 rows of two classes, 5 counts about 1
N_DRAWN, MOST_DRAWN = 999, 20_000  # data sets drawn anew; rows, and slopes of all tasks, of one
BISECTIONS, NEWTON_STEPS = 60, 2
NO_SLOPES = 1e-9  # their standard deviation over that of the noise, in units of the information


class LikelihoodRatio(NamedTuple):
    """A restricted likelihood ratio, and the probability of a greater one where the variance is zero."""

    statistic: float
    p_value: float


def sharing_tests(seen, moments_of, free=False):
    """Tests of the slopes, with one variance for all in units that rows tell alike, and of intercepts.

    Parameters
    ----------
    seen : object
        What the model knows of the rows, with features that can be `turned`.
    moments_of : callable
        `Moments` of such an object; its second argument says whether intercepts are free.
    free : bool
        Whether they are in the test of the slopes. Then the intercepts that are tested are those at the mean
        of the features, otherwise those of the model, at zero.
    """
    known = moments_of(seen, free)
    own, varies = known.information()[0], ~known.constant
    unit = np.where(varies & (own > 0), own, 1.0) ** -0.5
    moments = moments_of(seen.turned(unit), free)
    null = Search(moments, root=np.full(len(unit), NO_SLOPES))
    posterior, least = null.at(null.best()), _least(Search(moments))
    little = np.isinf(posterior.df) and varies.any() and posterior.moments.weight.mean() < FEW
    if little and _can_be_drawn(seen):
        found = {"slopes": _drawn_anew(_ratio(posterior, least), posterior, seen, unit)}
    else:
        found = {"slopes": _test(posterior, least, _eigenvalues(posterior, range(len(unit))))}
        if posterior.excess > MOST_EXCESS:
            warn(
                "tasks have few rows for intercepts of their own: p-values of test_sharing are too small, "
                "with 5 rows of two classes below 5 % in a sixth of data sets without any differences. Pool "
                "the intercepts (intercept_alpha='auto').",
            )
    if moments.x_mean is not None:
        moments = moments_of(seen.turned(unit), False).centered() if free else moments
        null = Search(moments, strength=float(moments.weight.mean() * RANGE))
        posterior = null.at(null.best())
        eigenvalues = _eigenvalues(posterior, [len(unit)])
        found["intercepts"] = _test(posterior, _least(Search(moments)), eigenvalues)
    return found


def _can_be_drawn(seen):
    """Whether targets can be drawn within tasks: two classes or counts of not too many rows, all alike."""
    data = seen.data
    alike = np.ptp(data.row_weight) == 0 and not sparse.issparse(data.X) and (data.y % 1 == 0).all()
    few = max(len(data.y), data.n_tasks * data.n_features) <= MOST_DRAWN  # 160 MB of scores
    return data.indptr is not None and seen.loss.n_outputs == 1 and alike and few


def _drawn_anew(ratio, null, seen, unit):
    """The ratio, with the p-value of the score of the variance, by targets drawn within tasks.

    Every task has the sum of its targets in each draw: these sums given, intercepts play no part. So are the
    common slopes found, by Newton's method with moments of the draws.
    """
    turned, slopes = seen.turned(unit), null.slopes.mean(axis=0)
    for _ in range(NEWTON_STEPS):
        scores, told, common = _scores_of_draws(turned, slopes)
        slopes = slopes + common[:, 0]
    scores, told, common = _scores_of_draws(turned, slopes)
    squares = np.square(scores - np.einsum("tjk,kb->btj", told, common)).sum(axis=(1, 2))
    greater = np.count_nonzero(squares[1:] >= squares[0] * (1 - NO_RATIO))
    return LikelihoodRatio(ratio, float((1 + greater) / (1 + N_DRAWN)))


def _scores_of_draws(seen, slopes):
    """Scores of the slopes (1 + N_DRAWN, n_tasks, n_features) of targets as they are and as drawn, about 0.

    With their second moments (n_tasks, n_features, n_features), and the changes of common slopes to which
    the scores of all tasks add up (n_features, 1 + N_DRAWN).
    """
    data, loss, rng = seen.data, seen.loss, np.random.default_rng(0)
    image, wanted = data.forward(np.tile(slopes, (data.n_tasks, 1))), data.task_sums(data.y)
    start = data.predictor(image, np.zeros(data.n_tasks))
    room = np.log(len(data.y)) + np.log1p(data.y.max()) + 1
    low, high = np.full((2, data.n_tasks), [[-start.max() - room], [room - start.min()]])
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        less = data.task_sums(_mean(loss, start + data.spread(middle))) < wanted
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    mean = _mean(loss, start + data.spread(low))
    scores = np.empty((1 + N_DRAWN, data.n_tasks, data.n_features))
    for t, (begin, end) in enumerate(pairwise(data.indptr)):
        own = mean[begin:end]
        if loss.log_link:
            drawn = rng.multinomial(int(wanted[t]), own / max(own.sum(), TINY), N_DRAWN)
        else:
            drawn = _of_number(own, wanted[t], rng)
        every = np.concatenate([data.y[None, begin:end], drawn]) - drawn.mean(axis=0)
        scores[:, t] = every @ data.X[begin:end]
    told = np.einsum("btj,btk->tjk", scores[1:], scores[1:]) / N_DRAWN
    whole = np.linalg.pinv(told.sum(axis=0), rcond=RANK_TOLERANCE, hermitian=True)
    return scores, told, whole @ scores.sum(axis=1).T


def _mean(loss, eta):
    """Of targets with these predictors."""
    return loss.gradient(np.zeros_like(eta), eta)


def _of_number(probability, wanted, rng):
    """Independent draws of so many positive rows, by those that have them, (N_DRAWN, n_rows)."""
    if wanted in (0, len(probability)):
        return np.full((N_DRAWN, len(probability)), wanted > 0)
    drawn = np.empty((0, len(probability)), dtype=bool)
    while len(drawn) < N_DRAWN:
        new = rng.random((N_DRAWN, len(probability))) < probability
        drawn = np.concatenate([drawn, new[new.sum(axis=1) == wanted]])
    return drawn[:N_DRAWN]


def feature_tests(moments):
    """A test of every slope with a diagonal covariance, the others' variances found anew (n_features,)."""
    search, found = Search(moments, "diagonal"), []
    theta = search.best()
    least = search.at(theta).criterion
    for j in range(moments.xy.shape[1]):
        if search.silent[j]:
            found.append(LikelihoodRatio(0.0, np.nan))
            continue
        other = theta.copy()
        other[j] = search.scales[2][j]
        null = search.at(search.descended(other, fixed=[j]))
        found.append(_test(null, least, _eigenvalues(null, [j])))
    return found


def _least(search):
    return search.at(search.best()).criterion


def _ratio(null, least):
    return max(float(null.criterion - least), 0.0)


def _test(null, least, eigenvalues):
    """The ratio against its distribution under the null, by simulation (Crainiceanu & Ruppert).

    Without eigenvalues it is that of half a chi-square.
    """
    ratio = _ratio(null, least)
    if ratio < NO_RATIO or (eigenvalues is not None and not len(eigenvalues[0])):
        return LikelihoodRatio(ratio, 1.0)
    if eigenvalues is None:
        return LikelihoodRatio(ratio, float(0.5 * special.erfc(np.sqrt(0.5 * ratio))))
    simulated = _null_ratios(*eigenvalues, null.df, null.excess)
    return LikelihoodRatio(ratio, float((1 + np.count_nonzero(simulated >= ratio)) / (1 + N_SIMULATED)))


def _null_ratios(eigenvalues, whole, df, excess=1.0):
    """Likelihood ratios of one variance that is zero, (N_SIMULATED,).

    Where the noise is known common effects are not integrated out: determinants have the `whole` eigenvalues;
    it varies `excess` times as much as it is known to.
    """
    groups = np.array_split(np.sort(eigenvalues), min(len(eigenvalues), GROUPS))
    mu, counts = np.array([own.mean() for own in groups]), np.array([len(own) for own in groups])
    rng = np.random.default_rng(0)
    squares = excess * rng.chisquare(counts, (N_SIMULATED, len(mu)))
    rest = df - len(eigenvalues)
    rest = rng.chisquare(rest, N_SIMULATED) if 0 < rest < np.inf else 0.0
    grid = np.concatenate([[0.0], np.logspace(-6, 6, 121)]) / max(mu.mean(), np.finfo(float).tiny)
    left = squares @ (1 / (1 + np.outer(mu, grid))) + np.reshape(rest, (-1, 1))
    total = (squares.sum(axis=1) + rest)[:, None]
    if df < np.inf:
        ratios = df * np.log(total / left) - counts @ np.log1p(np.outer(mu, grid))
    else:
        ratios = total - left - np.log1p(np.outer(whole, grid)).sum(axis=0)
    return ratios.max(axis=1)


def _eigenvalues(null, features):
    """Of what the rows tell of deviations of some features, common effects projected out, and with these.

    Deviations of the others, intercepts that vary among them, have the variances of the null. Of tasks that
    are coupled they are those of all slopes, or of the intercepts.
    """
    if null.moments.prior is not None:
        return _coupled_eigenvalues(null) if 0 in features else _coupled_intercepts(null)
    E, label = null.told()
    at = np.flatnonzero(np.isin(label, features))
    own = E[:, at[:, None], at]
    values = whole = np.linalg.eigvalsh(own).ravel()
    T, a = len(E), len(at)
    if T * a <= DENSE:
        M, F = E.sum(axis=0), E[:, at].reshape(T * a, -1)
        unit = units(M)
        F, M = F * unit, M * np.outer(unit, unit)
        left = linalg.block_diag(*own) - F @ np.linalg.pinv(M, rcond=RANK_TOLERANCE, hermitian=True) @ F.T
        values = np.linalg.eigvalsh(left)
    return _positive(values), whole


def _coupled_eigenvalues(null):
    """The same of the slopes of tasks that are coupled.

    None where tasks, with rows of their own, have too many coefficients.
    """
    moments = null.moments
    (T, p), prior = moments.xy.shape, moments.prior
    S, along = moments.xx, np.zeros((T, p))
    if moments.pooled:
        rho = 1 / (1 / moments.weight + 1 / null.strength)
        along = rho[:, None] * moments.x_mean
        S = S + (along[: len(S), :, None] * moments.x_mean[: len(S), None, :])
    if prior.rotates:
        values = np.outer(prior.variances, linalg.eigvalsh(S[0])).ravel()
        return _positive(values), values
    if T * p > DENSE:
        return None
    whole, members = np.zeros((T, p, T, p)), prior.members.toarray()
    whole[np.arange(T), :, np.arange(T)] = S
    whole, common = whole.reshape(T * p, T * p), np.kron(members.T, np.eye(p))
    F, M = whole @ common, common.T @ whole @ common
    if moments.levelled:
        ahead = common.T @ along.ravel()
        F = np.column_stack([F, along.ravel()])
        M = np.block([[M, ahead[:, None]], [ahead, rho.sum()]])
    half = np.kron(prior.root_of_covariance, np.eye(p))
    values = np.linalg.eigvalsh(half.T @ (whole - F @ np.linalg.pinv(M, hermitian=True) @ F.T) @ half)
    return _positive(values), values


def _positive(values):
    """Those that are not rounding."""
    return values[values > 1e-10 * values.max(initial=0.0)]


def _coupled_intercepts(null):
    """The same of the intercepts."""
    if len(null.rho) > DENSE:
        return null.rho, null.rho
    return _positive(np.linalg.eigvalsh(null.told_of_intercepts())), null.rho
