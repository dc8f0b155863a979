"""Likelihood-ratio tests of whether tasks differ at all: of variances that may be zero."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse, special

from .._data import make_task_data
from .._warn import warn
from ..objective import units
from ..statistics import TINY
from ._reml import RANGE, Search
from ._seen_rows import SeenRows
from ._variance_components import RANK_TOLERANCE

N_SIMULATED = 10_000
DENSE = 1000  # size up to which eigenvalues take the common effects into account
GROUPS = 300  # of eigenvalues that are alike
NO_RATIO = 1e-7  # rounding
MOST_EXCESS = 1.2  # of a variance that is put right, from where it is said that more is wrong than that
FEW = 5.0  # second derivatives of the losses of a mean task: 20 rows of two classes, 5 counts about 1
N_DRAWN, MOST_DRAWN = 999, 20_000  # data sets drawn anew; rows, and slopes of all tasks, of one
BISECTIONS, NEWTON_STEPS, EXCHANGES = 60, 2, 20
NO_SLOPES = 1e-9  # their standard deviation over that of the noise, in units of the information


class LikelihoodRatio(NamedTuple):
    """A restricted likelihood ratio, and the probability of a greater one where the variance is zero."""

    statistic: float
    p_value: float


def sharing_tests(seen, moments_of, free=False):
    """Tests of the slopes, with one variance for all in units that rows tell alike, and of intercepts.

    The other variance is that of the null in both models, as in the distribution of the ratio: where few rows
    hardly tell the two apart, one that is found anew rejects too often.

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
    posterior = null.at(null.best())
    least = _least(Search(moments, strength=posterior.strength))
    little = np.isinf(posterior.df) and varies.any() and posterior.moments.weight.mean() < FEW
    rows = _rows_to_draw(seen) if little else None
    if rows is not None:
        found = {"slopes": _drawn_anew(_ratio(posterior, least), posterior, rows, unit)}
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
        least = _least(Search(moments, root=posterior.slope_root))
        found["intercepts"] = _test(posterior, least, _eigenvalues(posterior, [len(unit)]))
    return found


def _rows_to_draw(seen):
    """The rows of every task, as many as each counts for, whose targets can be drawn within tasks; or None.

    Of classes or counts, of not too many rows, whose weights are numbers of rows or all alike.
    """
    data, T = seen.data, seen.n_tasks
    count = np.broadcast_to(data.row_weight * data.spread(data.unit * np.ones(T)), data.y.shape).ravel()
    if (count % 1).any():
        if np.ptp(count[count > 0]) > 0:
            return None
        count = count > 0
    if max(count.sum(), T * data.n_features) * seen.loss.n_outputs > MOST_DRAWN or (data.y % 1).any():
        return None  # 160 MB of scores
    at = np.repeat(np.arange(len(count)), count.astype(np.intp))
    X = data.X[at // (len(count) // len(data.y))]
    codes = np.broadcast_to(data.spread(np.arange(T)), data.y.shape).ravel()[at]
    offset = None if data.offset is None else data.offset.reshape(len(count), -1)[at]
    X = X.toarray() if sparse.issparse(X) else X
    return SeenRows(make_task_data(X, data.y.ravel()[at], codes, offset=offset), seen.loss)


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
    """Scores of the slopes (1 + N_DRAWN, n_tasks, n_slopes) of targets as they are and as drawn, about 0.

    With their second moments (n_tasks, n_slopes, n_slopes), and the changes of common slopes to which the
    scores of all tasks add up (n_slopes, 1 + N_DRAWN). Of more than two classes the slopes are those of one
    after another.
    """
    data, loss, rng = seen.data, seen.loss, np.random.default_rng(0)
    eta = data.X @ slopes.reshape(loss.n_outputs, -1).T + (0.0 if data.offset is None else data.offset)
    draws = _exchanged(data, eta, rng) if loss.n_outputs > 1 else _of_sums(data, loss, eta[:, 0], rng)
    scores = np.empty((1 + N_DRAWN, data.n_tasks, len(slopes)))
    for t, ((begin, end), drawn) in enumerate(zip(pairwise(data.indptr), draws, strict=True)):
        every = np.concatenate([data.y[None, begin:end], drawn])
        every = (every == np.arange(loss.n_outputs)[:, None, None]) if loss.n_outputs > 1 else every[None]
        every = every - every[:, 1:].mean(axis=1, keepdims=True)
        scores[:, t] = (every @ data.X[begin:end]).swapaxes(0, 1).reshape(len(scores), -1)
    told = np.einsum("btj,btk->tjk", scores[1:], scores[1:]) / N_DRAWN
    whole = np.linalg.pinv(told.sum(axis=0), rcond=RANK_TOLERANCE, hermitian=True)
    return scores, told, whole @ scores.sum(axis=1).T


def _of_sums(data, loss, eta, rng):
    """Counts or classes of each task (N_DRAWN, n_rows) that have the sum of its targets."""
    wanted, T = data.task_sums(data.y), data.n_tasks
    room = np.log(len(data.y)) + np.log1p(data.y.max()) + 1
    low, high = np.full((2, T), [[-eta.max() - room], [room - eta.min()]])
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        less = data.task_sums(_mean(loss, eta + data.spread(middle))) < wanted
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    mean = _mean(loss, eta + data.spread(low))
    for t, (begin, end) in enumerate(pairwise(data.indptr)):
        own = mean[begin:end]
        if loss.log_link:
            yield rng.multinomial(int(wanted[t]), own / max(own.sum(), TINY), N_DRAWN)
        else:
            yield _of_number(own, wanted[t], rng)


def _exchanged(data, eta, rng):
    """Classes of each task (N_DRAWN, n_rows) of which it has as many as there are.

    Pairs of its rows exchange theirs by Metropolis' rule: from the classes as they are to others, and from
    these to each draw by the same pairs in the opposite order. So are the former one of the draws, if the
    model is true (Besag & Clifford 1989).
    """
    for begin, end in pairwise(data.indptr):
        own, pairs = eta[begin:end], [rng.permutation(end - begin) for _ in range(EXCHANGES)]
        drawn = data.y[None, begin:end].astype(np.intp)
        for n_draws, order in ((1, pairs[::-1]), (N_DRAWN, pairs)):
            drawn = np.repeat(drawn, n_draws, axis=0)
            for rows in order:
                i, j = rows[: len(rows) // 2], rows[(len(rows) + 1) // 2 :]
                a, b = drawn[:, i], drawn[:, j]
                gain = own[i, b] + own[j, a] - own[i, a] - own[j, b]
                moved = -rng.standard_exponential(gain.shape) < gain
                drawn[:, i], drawn[:, j] = np.where(moved, b, a), np.where(moved, a, b)
        yield drawn


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
    for j in range(moments.xy.shape[1]):
        if search.silent[j]:
            found.append(LikelihoodRatio(0.0, np.nan))
            continue
        other = theta.copy()
        other[j] = search.scales[2][j]
        other = search.descended(other, fixed=[j])
        null = search.at(other)
        other = np.where(np.arange(len(theta)) == j, theta, other)
        least = search.at(search.descended(other, fixed=np.delete(np.arange(len(theta)), j))).criterion
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
