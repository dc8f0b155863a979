"""Likelihood-ratio tests of whether tasks differ at all: of variances that may be zero."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, special

from .._warn import warn
from ..objective import units
from ._reml import RANGE, Search
from ._variance_components import RANK_TOLERANCE

N_SIMULATED = 10_000
DENSE = 1000  # size up to which eigenvalues take the common effects into account
GROUPS = 300  # of eigenvalues that are alike
NO_RATIO = 1e-7  # rounding
MOST_EXCESS = 1.2  # of a variance that is put right, from where more is wrong than that
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
    own = moments_of(seen, free).information()[0]
    unit = np.where(own > 0, own, 1.0) ** -0.5
    moments = moments_of(seen.turned(unit), free)
    null = Search(moments, root=np.full(len(unit), NO_SLOPES))
    posterior, features = null.at(null.best()), np.arange(len(unit))
    if posterior.excess > MOST_EXCESS:
        warn(
            "tasks have few rows for intercepts of their own: p-values of test_sharing are too small, with 5 "
            "rows of two classes below 5 % in a sixth of data sets without any differences. Pool the "
            "intercepts (intercept_alpha='auto').",
        )
    coupled = posterior.moments.prior is not None
    eigenvalues = _coupled_eigenvalues(posterior) if coupled else _eigenvalues(posterior, features)
    found = {"slopes": _test(posterior, _least(Search(moments)), eigenvalues)}
    if moments.x_mean is not None:
        moments = moments_of(seen.turned(unit), False).centered() if free else moments
        null = Search(moments, strength=float(moments.weight.mean() * RANGE))
        posterior = null.at(null.best())
        coupled = posterior.moments.prior is not None
        eigenvalues = _coupled_intercepts(posterior) if coupled else _eigenvalues(posterior, [len(unit)])
        found["intercepts"] = _test(posterior, _least(Search(moments)), eigenvalues)
    return found


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


def _test(null, least, eigenvalues):
    """The ratio against its distribution under the null, by simulation (Crainiceanu & Ruppert).

    Without eigenvalues it is that of half a chi-square.
    """
    ratio = max(float(null.criterion - least), 0.0)
    if eigenvalues is None:
        return _half_chi_square(ratio)
    if ratio < NO_RATIO or not len(eigenvalues[0]):
        return LikelihoodRatio(ratio, 1.0)
    simulated = _null_ratios(*eigenvalues, null.df, null.excess)
    return LikelihoodRatio(ratio, float((1 + np.count_nonzero(simulated >= ratio)) / (1 + N_SIMULATED)))


def _half_chi_square(ratio):
    return LikelihoodRatio(
        ratio, float(0.5 * special.erfc(np.sqrt(0.5 * ratio))) if ratio > NO_RATIO else 1.0
    )


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

    Deviations of the others, intercepts that vary among them, have the variances of the null.
    """
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
