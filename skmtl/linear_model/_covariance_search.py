"""The search of a covariance over the tasks by restricted maximum likelihood."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from scipy import linalg, optimize

from ._coupled_posterior import NO_DIGITS, CoupledMoments
from ._reml import FAR, GRID, RANGE, Known, expected_variances
from ._task_priors import CovariancePrior

MOST_UNKNOWNS = 5000  # of a dense system of factors times features
SHARES = 0.1, 0.3, 1.0  # of the standard deviation of a coefficient: factors with which a search starts
OPTIONS = {"ftol": 1e-9, "gtol": 1e-5, "maxcor": 30}
BUDGETS = (10, 0.5), (40, 0.97), (1000, 1.0)  # steps, and how much of what a factor must gain they must reach
LEAST = 1e-3  # of what rows tell of a coefficient: tasks with less are taken to have as much
BESIDE = 2e-9, 1e-9, 0.0  # unknowns at which the criterion is the same but for rounding; the last is kept
MOST_NOISE = 1e-2  # that is left to rounding
MOST_OF_NONE = 0.1  # of the criterion, which may hang on the least variance that stands for none
NOT_NONE = (
    "alpha='auto': X is so far from zero beside how it varies that the least variance of its slopes which is "
    "looked at moves the likelihood: centre the features."
)


@dataclass
class CovarianceSearch(Known):
    """The search of a covariance level I + common 11' + F F', F (n_tasks, n_factors).

    In units of a coefficient of which a mean task tells as much; `strength` is that of the intercepts, where
    it is given.
    """

    moments: CoupledMoments
    strength: float | None = None
    last: tuple | None = None

    @cached_property
    def units(self):
        """Variance of a coefficient of which a mean task tells as much, and such a strength of intercepts."""
        own = self.moments.information()[0]
        return float(1 / (own[own > 0].mean() if (own > 0).any() else 1.0)), float(self.moments.weight.mean())

    @cached_property
    def rows(self):
        """Sizes of the rows of F in which the tasks tell alike of them (n_tasks,)."""
        own = np.einsum("djj->d", self.moments.xx) / self.moments.xx.shape[1] * self.units[0]
        told = np.broadcast_to(own / (1 + own), self.moments.n_tasks)
        return np.maximum(told, LEAST) ** -0.5

    @cached_property
    def root(self):
        """R, alike in all directions; one is that of the mean of features which are far from zero.

        Then what is large is large in one row of each matrix, and the digits of the others are kept.
        """
        unit, p = self.units[0] ** 0.5, self.moments.xy.shape[1]
        return unit * linalg.qr(self.moments.center[:, None])[0] if self.offset else np.full(p, unit)

    # unknowns beside F: the logarithms of level and common, and of the strength, in these units
    n_numbers = property(lambda self: 2 + self.ties)

    @cached_property
    def offset(self):
        """Logarithm of what rows tell of slopes over that about their mean, where it is far from zero."""
        own, all_rows = self.moments.information()
        return float(np.log(all_rows.max() / own.max())) if len(self.moments.far) else 0.0

    @cached_property
    def ends(self):
        """The least and the greatest of the numbers (2, n_numbers)."""
        most = np.full(self.n_numbers, np.log(RANGE))
        return np.array([-most - [0.0, 0.0, self.offset][: self.n_numbers], most])

    # what the criterion owes to the unit of the targets, which is no matter of the search
    zero = cached_property(lambda self: float(self.moments.df * np.log(self.moments.least)))

    def _model_at(self, theta):
        weight, n, T = self.units[1], self.n_numbers, self.moments.n_tasks
        level, common = np.exp(theta[:2])
        F = self.rows[:, None] * theta[n:].reshape(T, -1)
        prior = CovariancePrior(level, np.column_stack([np.full(T, np.sqrt(common)), F]))
        strength = weight * np.exp(theta[2]) if self.ties else self.strength
        return replace(self.moments, prior=prior).posterior(self.root, strength)

    def none(self, theta):
        """Which of level, common and variance of the intercepts are none, where there are no factors."""
        n, (least, most) = self.n_numbers, self.ends
        return np.append(theta[:2] <= least[:2], theta[2:n] >= most[2:]) & (len(theta) == n)

    def __call__(self, theta):
        """Criterion and gradient."""
        found = self.at(theta)
        prior, (level, root) = found.moments.prior, found.covariance_gradient()
        ties = [found.intercept_gradient()] if self.ties else []
        numbers = [prior.level * level, 0.5 * prior.root[0, 0] * root[:, 0].sum(), *ties]
        return found.criterion - self.zero, np.append(numbers, self.rows[:, None] * root[:, 1:])

    def descended(self, theta, n_steps=1000):
        """The minimum from a start, or some steps towards it."""
        bounds = [*zip(*self.ends, strict=True), *[(None, None)] * (len(theta) - self.n_numbers)]
        options = {**OPTIONS, "maxiter": n_steps}
        return optimize.minimize(self, theta, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x

    def _alike(self):
        """The minimum without factors, from a grid: no variance is stationary for any data."""
        levels = np.log([1 / RANGE, *(1 / level for level in GRID)])
        points = [[*pair, 0.0][: self.n_numbers] for pair in product(levels, repeat=2)]
        if self.ties and self.offset:  # and intercepts that answer slopes
            points += [[*point[:2], max(-point[0] - self.offset, self.ends[0, 2])] for point in points]
        theta = self._best_of(map(np.array, points))
        if self.ties:
            theta = self._best_of(np.append(theta[:2], own) for own in (theta[2], *np.log(GRID)))
        return self.descended(theta)

    def _with_factor(self, theta):
        """A point with one factor more, along what the tasks do not have in common."""
        found, n, T = self.at(theta), self.n_numbers, self.moments.n_tasks
        F, root = theta[n:].reshape(T, -1), found.moments.prior.root
        left = found.slopes - root @ linalg.lstsq(root, found.slopes)[0]
        away = linalg.svd(left, full_matrices=False)[0][:, 0]
        away *= np.sqrt(np.trace(found.moments.prior.covariance())) / self.rows
        return self._best_of(np.append(theta[:n], np.column_stack([F, share * away])) for share in SHARES)

    def expected(self, theta):
        """The model at the expected variances given the rows, as in `Search`, and factors as they are."""
        at, n = theta.copy(), self.n_numbers
        at[:2], at[2:n] = np.maximum(at[:2], -np.log(FAR)), np.minimum(at[2:n], np.log(FAR))
        sign = np.append([-1.0, -1.0], np.ones(n - 2))  # of the logarithms of variances
        H = self.at(at).information_alike()[:n, :n]
        told, certain, mean, *_ = expected_variances(H, sign * self(at)[1][:n])
        theta = theta.copy()
        theta[told] = np.where(certain, theta[told], at[told] - sign[told] * np.log(mean))
        return self.at(theta)

    def _cost(self, n_factors):
        """What the numbers of a covariance must gain (Akaike; Hurvich & Tsai for few coefficients)."""
        T, p = self.moments.xy.shape
        n, k = min(T * p, self.moments.df), 2 + n_factors * T - n_factors * (n_factors - 1) / 2
        return 2 * k * n / (n - k - 1) if k < n - 1 else np.inf

    def best(self):
        """The unknowns at the least criterion plus the cost of their number; ValueError if none is told."""
        theta = self._descended_by_factors()
        slope = self(theta)[1][: self.n_numbers][(theta[: self.n_numbers] == self.ends).any(axis=0)]
        if self.offset and np.abs(slope).max(initial=0.0) > MOST_OF_NONE:
            raise ValueError(NOT_NONE)
        if np.ptp([self.at(theta + step).criterion for step in BESIDE]) > MOST_NOISE:
            raise ValueError(NO_DIGITS)
        return theta

    def _descended_by_factors(self):
        """The same unknowns, one factor more at a time while it gains more than that costs."""
        theta, (T, p) = self._alike(), self.moments.xy.shape
        for k in range(1, min(T, p)):
            too_large = len(self.moments.xx) > 1 and (k + 1) * p > MOST_UNKNOWNS
            more = self._cost(k) - self._cost(k - 1)
            if too_large or not np.isfinite(more):
                break
            reached, other = self.at(theta).criterion, theta
            for n_steps, share in BUDGETS:
                start = self._with_factor(theta) if other is theta else other
                other = self.descended(start, n_steps)
                gain = reached - self.at(other).criterion
                if gain < share * more:
                    return self.descended(theta)
                if gain >= more:
                    break
            theta = other
        return self.descended(theta)
