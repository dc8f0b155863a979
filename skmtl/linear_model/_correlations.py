"""The search of a covariance of slopes with correlations by restricted maximum likelihood."""

import numpy as np
from scipy import linalg

from ..objective import eigenvectors, units
from ._reml import LEAST_NOISE, NEAR
from ._variance_components import RANK_TOLERANCE, triangular

SHRINKAGES = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
FOLDS = 5
LEAST = 1e-12  # eigenvalue of correlations, below which they are rounding
ALIKE = 1e-8  # of the criterion, for each task: no difference
STARTS = 1.0, 0.1
SMALLEST = 1e-5  # entry on the diagonal of F, and root of a variance of intercepts
HELD = 1e3  # times the greatest information: over it the variance where there is none
MOST_STEPS, MOST_DAMPING = 30, 1e8


def correlated(search, theta):
    """`Posterior` where slopes vary together, and the share of their correlations that is left out.

    That share is the one which best predicts tasks left out in turn, among those at which the likelihood is
    not below that without correlations, where a search of the latter ended at `theta`, and which leave the
    noise about what it is there: correlations of many features explain that of few rows away.
    """
    diagonal = search.at(theta)
    least = diagonal.criterion
    if np.count_nonzero(~search.moments.constant) > 1 and not np.array_equal(theta, search.none):
        free = Factor(search)
        best = free.best()[1]
        for amount in _shrinkages(search, best):
            if amount == 1:
                break
            found = search.model(without_correlation(best.slope_root, amount), best.strength)
            if found.criterion <= least and found.noise >= LEAST_NOISE * diagonal.noise:
                return found, float(amount)
    return diagonal, 1.0


class Factor:
    """A triangular F and the strength of intercepts, V = K F F' K' with K'MK = I, M what a mean task tells.

    So neither units of features nor where they are zero matter, and singular V have nothing special.
    """

    def __init__(self, search):
        self.search, moments = search, search.moments
        none = np.exp(-0.5 * search.scales[2][: search.n_slopes])
        kept = np.flatnonzero(~moments.constant)
        own = (moments.xx.sum(axis=0) / len(moments.xx))[np.ix_(kept, kept)]
        values, vectors = eigenvectors(own * np.outer(units(own), units(own)))
        values = np.where(values > RANK_TOLERANCE * values[-1], values, 0.0)
        rows = np.sqrt(values)[:, None] * vectors.T * np.sqrt(own.diagonal())
        if moments.pooled:
            weight, x_mean = 0.5 * moments.weight / moments.n_tasks, moments.x_mean[:, kept]
            rows = np.vstack([rows, np.sqrt(weight)[:, None] * x_mean])
        unit = np.sqrt((rows**2).sum(axis=0))
        _, sizes, axes = linalg.svd(rows / unit, full_matrices=False)
        told = sizes > RANK_TOLERANCE * sizes[0]
        sizes = np.where(told, sizes, HELD * sizes[0])
        self.whitens, self.K = np.diag(1 / none), np.diag(none)
        self.whitens[np.ix_(kept, kept)] = sizes[:, None] * axes * unit
        self.K[np.ix_(kept, kept)] = (axes / sizes[:, None]).T / unit[:, None]
        self.i, self.j = (kept[at] for at in np.tril_indices(np.count_nonzero(told)))
        self.level = np.exp(search.scales[0][-1]) if search.ties else 1.0

    def __call__(self, x):
        """`Posterior` at entries of F and, last, the root of the variance of the intercepts.

        Greater variances than those of the limits of a search are held there.
        """
        root, search = self.K @ self.triangle(x), self.search
        most = np.exp(-0.5 * search.scales[1][: len(root)]) / np.sqrt((root**2).sum(axis=1))
        Q, R = linalg.qr((np.minimum(most, 1.0)[:, None] * root).T, mode="full")
        strength = search.strength
        if search.ties:
            strength = max(self.level / x[-1] ** 2, np.exp(search.scales[1][-1]))
        found = search.model(R.T, strength)
        found.turn = Q
        return found

    def triangle(self, x):
        F = np.eye(len(self.K))  # where rows tell of no variance it stays at about none
        F[self.i, self.j] = x[: len(self.i)]
        return F

    def of(self, root, strength):
        """The entries at R and a strength."""
        F = linalg.qr((self.whitens @ root).T, mode="r")[0].T
        tie = [np.sqrt(self.level / strength)] if self.search.ties else []
        return self.bounded(np.append(F[self.i, self.j], tie))

    def start(self, tie):
        """The entries where a mean task tells as much of the slopes as the prior."""
        return np.append((self.i == self.j) * 1.0, [tie] * self.search.ties)

    def bounded(self, x):
        """No variance is as small as rounding."""
        at = np.append(self.i == self.j, [True] * self.search.ties)
        return np.where(at, np.copysign(np.maximum(np.abs(x), SMALLEST), x), x)

    def derivatives(self, x, found):
        """Gradient and, about, second derivatives of the criterion at x."""
        i, j, ties, (k, m) = self.i, self.j, self.search.ties, np.tril_indices(len(self.K))
        Q, inverse = found.turn, linalg.inv(self.triangle(x))
        G = found.slope_gradient()
        a, b = (Q.T @ inverse)[:, i], Q.T[:, j]
        J = -(a[k] * b[m] + a[m] * b[k])
        turned = Q @ G @ Q.T
        gradient = (-2 * inverse.T @ turned)[i, j]
        values, vectors = eigenvectors(-inverse.T @ turned @ inverse)
        bent = (vectors * np.maximum(values, 0.0)) @ vectors.T
        second = 2 * bent[np.ix_(i, i)] * (j[:, None] == j)
        if ties:
            g = found.intercept_gradient()
            J = linalg.block_diag(J, -2 / x[-1])
            gradient = np.append(gradient, -2 / x[-1] * g)
            second = linalg.block_diag(second, max(2 * g, 0.0) / x[-1] ** 2)
        n = len(J)
        return gradient, J.T @ found.pairs_information()[:n, :n] @ J + second

    def best(self):
        """(x, `Posterior`) at the least criterion."""
        ends = (self.descended(self.start(tie), NEAR) for tie in STARTS)
        return self.descended(min(ends, key=lambda end: end[1].criterion)[0], ALIKE)

    def descended(self, x, enough):
        """(x, `Posterior`) at a minimum of the criterion, by Levenberg & Marquardt's method."""
        found, damping, moments = self(x), 1e-3, self.search.moments
        enough = max(enough * moments.n_tasks, moments.rounding * abs(found.criterion))
        for _ in range(MOST_STEPS):
            gradient, H = self.derivatives(x, found)
            size, better = H.diagonal() + 1e-8 * H.diagonal().max(), None
            while better is None and damping < MOST_DAMPING:
                try:
                    step = linalg.cho_solve(linalg.cho_factor(H + np.diag(damping * size)), gradient)
                    if 0.5 * gradient @ step < enough:
                        return x, found
                    new = self.bounded(x - step)
                    other = self(new)
                    if other.criterion < found.criterion and other.exhausted <= found.exhausted:
                        better = other
                except ValueError:  # no mode, or lost in rounding
                    pass
                damping *= 0.1 if better else 10.0
            if better is None:
                break
            x, found = new, better
        return x, found


def _shrinkages(search, found):
    """Shares of the correlations to leave out, by how well tasks left out in turn are predicted.

    The error has one minimum along them: shares beyond two by which it rises are worse, and not tried.
    """
    T, moments = search.moments.n_tasks, search.moments
    folds = min(FOLDS, T // 2)
    if folds < 2:
        return SHRINKAGES[-1:]
    fold, ends, errors = np.arange(T) % folds, [], []
    for k in range(folds):
        part = search.of(fold != k)
        if part.moments.df < 1 or part.moments.basis.shape != moments.basis.shape or part.without_mode():
            return SHRINKAGES[-1:]
        free = Factor(part)
        end = free.descended(free.of(found.slope_root, found.strength), NEAR)[1]
        ends.append((end.slope_root, end.strength))
    for amount in SHRINKAGES:
        errors.append(0.0)
        for k, (root, strength) in enumerate(ends):
            given = without_correlation(root, amount), strength
            errors[-1] += search.model(*given).criterion - search.of(fold != k).model(*given).criterion
        if len(errors) > 2 and errors[-3] < errors[-2] < errors[-1]:
            break
    return np.append(SHRINKAGES[np.argsort(errors, kind="stable")], SHRINKAGES[len(errors) :])


def without_correlation(root, amount):
    """R of a covariance R R' with so much of its correlations left out."""
    V = root @ root.T
    return triangular((1 - amount) * V + amount * np.diag(V.diagonal()), LEAST)
