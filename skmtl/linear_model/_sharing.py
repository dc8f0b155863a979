"""Likelihood-ratio tests of whether tasks differ at all: of variances that may be zero."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import special

from ._reml import RANGE, Search

N_SIMULATED = 10_000
DENSE = 1000  # size up to which eigenvalues take the common effects into account
GROUPS = 300  # of eigenvalues that are alike
NO_RATIO = 1e-7  # rounding
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
    own = moments_of(seen, free).information[0]
    unit = np.where(own > 0, own, 1.0) ** -0.5
    moments = moments_of(seen.turned(unit), free)
    null = Search(moments, root=np.full(len(unit), NO_SLOPES))
    posterior = null.at(null.best())
    eigenvalues = _slope_eigenvalues(posterior.moments, posterior.strength)
    found = {"slopes": _test(posterior, _least(Search(moments)), *eigenvalues)}
    if moments.x_mean is not None:
        moments = moments_of(seen.turned(unit), False).centered() if free else moments
        null = Search(moments, strength=float(moments.weight.mean() * RANGE))
        posterior = null.at(null.best())
        found["intercepts"] = _test(posterior, _least(Search(moments)), *_intercept_eigenvalues(posterior))
    return found


def feature_tests(moments):
    """A test of every slope with a diagonal covariance, the others' variances found anew (n_features,).

    Their p-values are those of half a chi-square of one degree of freedom, a little too large.
    """
    search, found = Search(moments, "diagonal"), []
    theta = search.best()
    least = search.at(theta).criterion
    for j in range(len(moments.information[0])):
        other = theta.copy()
        other[j] = search.scales[2][j]
        ratio = max(search.at(search.descended(other, fixed=[j])).criterion - least, 0.0)
        p_value = 0.5 * special.erfc(np.sqrt(0.5 * ratio)) if ratio > NO_RATIO else 1.0
        found.append(LikelihoodRatio(float(ratio), float(p_value)))
    return found


def coupling_test(search):
    """Test of the slopes of `CoupledMoments`: whether they differ along a graph.

    Parameters
    ----------
    search : Search
    """
    moments = search.moments
    null = replace(search, root=np.exp(-0.5 * search.scales[2][:1]).repeat(moments.xy.shape[1]), last=None)
    posterior, least = null.at(null.best()), _least(search)
    eigenvalues = moments.eigenvalues(posterior.strength, DENSE)
    if eigenvalues is not None:
        return _test(posterior, least, eigenvalues)
    ratio = max(float(posterior.criterion - least), 0.0)
    return LikelihoodRatio(
        ratio, float(0.5 * special.erfc(np.sqrt(0.5 * ratio))) if ratio > NO_RATIO else 1.0
    )


def _least(search):
    return search.at(search.best()).criterion


def _test(null, least, eigenvalues, whole=None):
    """The ratio against its distribution under the null, by simulation (Crainiceanu & Ruppert).

    Where the noise is known common effects are not integrated out: determinants have the `whole` eigenvalues.
    """
    ratio, df = max(float(null.criterion - least), 0.0), null.df
    if ratio < NO_RATIO or not len(eigenvalues):
        return LikelihoodRatio(ratio, 1.0)
    simulated = _null_ratios(eigenvalues, df, whole)
    return LikelihoodRatio(ratio, float((1 + np.count_nonzero(simulated >= ratio)) / (1 + N_SIMULATED)))


def _null_ratios(eigenvalues, df, whole):
    """Likelihood ratios of one variance that is zero, (N_SIMULATED,)."""
    groups = np.array_split(np.sort(eigenvalues), min(len(eigenvalues), GROUPS))
    mu, counts = np.array([own.mean() for own in groups]), np.array([len(own) for own in groups])
    rng = np.random.default_rng(0)
    squares = rng.chisquare(counts, (N_SIMULATED, len(mu)))
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


def _slope_eigenvalues(moments, strength):
    """Of what the rows tell of the deviations of the slopes, common effects projected out, and with these."""
    T, p = moments.xy.shape
    B = np.array(np.broadcast_to(moments.xx, (T, p, p)))
    kappa = 0.0
    if moments.pooled:
        kappa = 1 / (1 / moments.weight + 1 / strength)
        x_mean = np.broadcast_to(moments.x_mean, (T, p))
        B += kappa[:, None, None] * x_mean[:, :, None] * x_mean[:, None, :]
    own = values = np.linalg.eigvalsh(B).ravel()
    if T * p <= DENSE:
        whole, P = np.zeros((T, p, T, p)), B.reshape(T * p, p)
        whole[np.arange(T), :, np.arange(T)] = B
        M = B.sum(axis=0)
        if moments.pooled:
            along = kappa[:, None] * x_mean
            P = np.column_stack([along.ravel(), P])
            M = np.block([[kappa.sum(), along.sum(axis=0)], [along.sum(axis=0)[:, None], M]])
        values = np.linalg.eigvalsh(whole.reshape(T * p, T * p) - P @ np.linalg.pinv(M, hermitian=True) @ P.T)
    return _positive(values), _positive(own)


def _positive(values):
    """Those that are not rounding."""
    return values[values > 1e-10 * values.max(initial=0.0)]


def _intercept_eigenvalues(posterior):
    """The same of the intercepts."""
    rho = posterior.rho
    if len(rho) > DENSE:
        return rho, rho
    along = posterior.away @ posterior.spread
    shared = 1 / posterior.total + np.broadcast_to(along, (len(rho), along.shape[1])) @ along.T
    values = np.linalg.eigvalsh(np.diag(rho) - rho[:, None] * np.broadcast_to(shared, (len(rho),) * 2) * rho)
    return _positive(values), rho
