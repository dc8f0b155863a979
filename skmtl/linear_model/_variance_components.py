"""Restricted maximum likelihood of tasks that vary around a common model, from their second moments.

Task t has y_t = b_t + X_t w_t + e_t, w_t ~ N(mu, s2 R R'), b_t ~ N(mu_b, s2 / strength) and e_t ~ N(0, s2):
the model whose posterior mode is that of mean regularisation. All is computed in the coordinates R^-1 w, in
which the prior precision of the slopes is the identity, and about the means of the tasks: what a task says of
its slopes beyond that is one more row, its mean, of precision `rho`. All sums are of positive terms.
"""

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import linalg

from ..objective import eigenvectors, units
from ..solvers import require_finite
from ._task_inverses import SUMMED, Inverses, Roots, ThinInverses, chunks, times

RANK_TOLERANCE = 1e-11
EPS = np.finfo(float).eps
FAR_FROM_ZERO = 50.0  # standard deviations
CONSTANT = 1e-20  # variance over a square, up to which a column is constant


class NoModeError(ValueError, AttributeError):  # the latter where standard errors are asked for
    """No coefficients are most probable: those in common go on without end; `found` is a model far out."""

    def __init__(self, found):
        super().__init__(
            "the classes (or counts of zero) are separable along coefficients that all tasks have in common, "
            "which nothing penalises."
        )
        self.found = found


@dataclass
class Moments:
    """What the model needs to know of the rows, under their precisions; one xx serves all tasks of a design.

    `x_mean` and `y_mean` are None where tasks have no intercept; then the others are about zero. With `free`
    intercepts these are fixed effects.
    """

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    weight: np.ndarray
    x_mean: np.ndarray | None
    y_mean: np.ndarray | None
    count: np.ndarray
    precision: np.ndarray
    free: bool

    rounding = 1e-15  # of the criterion
    prior = None  # over the tasks, where these are coupled otherwise than by what they have in common
    has_mode = True  # whether common coefficients have one at any variances

    @classmethod
    def of(cls, stats, precision, fit_intercept, free):
        """From `TaskStatistics`, the precision of the rows of each task (n_tasks,) times their weight."""
        weight, x_mean, y_mean, given = stats.weight * precision, stats.x_mean, stats.y_mean, precision
        if len(stats.xx) < stats.n_tasks and np.ptp(precision) == 0:
            precision = precision[:1]
        even = (precision == 1).all()
        xx = stats.xx if even else stats.xx * precision[:, None, None]
        xy, yy = stats.xy * precision[:, None], stats.yy * precision
        if len(xx) > len(x_mean):
            x_mean = np.broadcast_to(x_mean, xy.shape)
        if fit_intercept:
            y_mean = y_mean - weight @ y_mean / weight.sum()
        else:
            mass = weight[: len(xx), None]
            xx = xx + (mass * x_mean)[:, :, None] * x_mean[:, None, :]
            xy, yy = xy + (weight * y_mean)[:, None] * x_mean, yy + weight * y_mean**2
            x_mean = y_mean = None
        return cls(xx, xy, yy, weight, x_mean, y_mean, stats.count, given, fit_intercept and free)

    n_tasks = property(lambda self: len(self.xy))

    # whether the intercepts have a variance
    pooled = property(lambda self: self.x_mean is not None and not self.free)

    levelled = pooled  # whether the rows tell their level from the common slopes

    def information(self, root=None):
        """What a mean task says of each slope (n_features,), and the same with its mean as one more row.

        Of slopes R w where a root is given.
        """
        root = np.ones(self.xy.shape[1]) if root is None else root
        own = self._own_information(root)
        if not self.pooled:
            return own, own
        mean = (self.weight[:, None] * times(root, self.x_mean) ** 2).mean(axis=0)
        return np.where(own > 0, own, mean), own + mean

    # which features do not vary within any task, about their mean there (n_features,)
    constant = property(lambda self: np.einsum("djj->j", self.xx) == 0)

    def _own_information(self, root):
        if root.ndim == 1:
            return np.einsum("djj->j", self.xx) / len(self.xx) * root**2
        return ((self.xx.sum(axis=0) / len(self.xx) @ root) * root).sum(axis=0)

    def least_strengths(self, root):
        """Of the slopes (n_features,) in the coordinates of R, and of the intercepts."""
        return np.zeros(len(root)), 0.0

    @property
    def center(self):
        """Mean of the features."""
        return self.weight @ np.broadcast_to(self.x_mean, self.xy.shape) / self.weight.sum()

    @property
    def feature_variances(self):
        """Variances of the features over all rows, about zero where tasks have no intercept (n_features,)."""
        own = np.einsum("djj->j", self.xx) * (self.n_tasks / len(self.xx))
        if self.x_mean is not None:
            away = np.broadcast_to(self.x_mean - self.center, self.xy.shape) ** 2
            own = own + self.weight @ np.where(away > CONSTANT * self.center**2, away, 0.0)
        return own / self.weight.sum()

    @property
    def far(self):
        """Positions of features whose mean is far from zero beside how they vary, where intercepts do."""
        if not self.pooled:
            return np.zeros(0, dtype=np.intp)
        variance = self.feature_variances
        return np.flatnonzero((variance > 0) & (self.center**2 > FAR_FROM_ZERO**2 * variance))

    def centered(self):
        """Those of features less their mean."""
        return replace(self, x_mean=self.x_mean - self.center)

    @cached_property
    def basis(self):
        """Columns (n_features, rank) of the combinations of common slopes that the rows tell of."""
        K = self.xx.sum(axis=0) * (self.n_tasks / len(self.xx))
        if self.pooled:
            away = self.x_mean - self.center
            K = K + (self.weight[:, None] * away).T @ np.broadcast_to(away, self.xy.shape)
        require_finite("the likelihood", K)
        unit = units(K)
        values, vectors = eigenvectors(unit[:, None] * K * unit)
        used = values > RANK_TOLERANCE * len(K) * values[-1:]
        return np.eye(len(K)) if used.all() else unit[:, None] * vectors[:, used]

    @cached_property
    def df(self):
        """Rows less fixed effects."""
        return int(self.count.sum()) - self.basis.shape[1] - (self.n_tasks if self.free else int(self.pooled))

    @cached_property
    def least(self):
        """Sum of squares below which there is rounding only."""
        total = self.yy.sum() + (0.0 if self.y_mean is None else self.weight @ self.y_mean**2)
        return max(EPS * total, np.finfo(float).tiny)

    @cached_property
    def _roots(self):
        """Of xx and xy, where tasks have few rows beside features."""
        ranks = self.count - (self.x_mean is not None)
        return Roots.of(self.xx, self.xy, ranks) if len(self.xx) == self.n_tasks else None

    def inverses(self, root):
        """Those of I + R' xx R."""
        return Inverses(self.xx, self.xy, root) if self._roots is None else ThinInverses(self._roots, root)

    def posterior(self, root, strength):
        """The model at one set of variances."""
        return Posterior(self, root, strength)

    def about(self):
        """Themselves, or such whose posteriors are found to some digits."""
        return self

    def some(self, tasks):
        """Those of some tasks."""
        own = (
            self.xx, self.xy, self.yy, self.weight, self.x_mean, self.y_mean, self.count, self.precision,
        )  # fmt: skip
        own = (A if A is None or len(A) < self.n_tasks else A[tasks] for A in own)
        found = Moments(*own, self.free)
        if self._roots is not None:
            found._roots = self._roots.some(tasks)
        return found


def feature_variances(stats):
    """Variances of the features over all rows of `TaskStatistics` (n_features,); of constant ones squares."""
    own = np.einsum("djj->j", stats.xx) * (stats.n_tasks / len(stats.xx))
    x_mean, total = np.broadcast_to(stats.x_mean, stats.xy.shape), stats.weight.sum()
    center = stats.weight @ x_mean / total
    variances = (own + stats.weight @ (x_mean - center) ** 2) / total
    return np.where(variances > CONSTANT * center**2, variances, center**2)


def triangular(V, least):
    """Lower triangular R with R R' = V, eigenvalues of the correlations in V no smaller than `least`."""
    unit = np.sqrt(np.where(V.diagonal() > 0, V.diagonal(), 1.0))
    values, vectors = eigenvectors(V / unit / unit[:, None])
    root = unit[:, None] * vectors * np.sqrt(np.maximum(values, least))
    return linalg.qr(root.T, mode="r")[0].T


def back(root, A):
    """R times the first axis of A."""
    return root[:, None] * A if root.ndim == 1 else root @ A


def matrix(root):
    """R as a matrix."""
    return np.diag(root) if root.ndim == 1 else root


class Posterior:
    """The model at one set of variances: its criterion, and what it says of the coefficients.

    Parameters
    ----------
    moments : Moments
    root : ndarray of shape (n_features,) or (n_features, n_features)
        R, diagonal or lower triangular, with R R' the covariance of the slopes over the noise variance.
    strength : float
        Noise variance over that of the intercepts, if these have one.
    """

    def __init__(self, moments, root, strength):
        self.moments, self.root, self.strength = moments, root, strength
        own, common = moments.n_tasks / len(moments.xx) * self._read(moments), 0.0
        system = self.used
        if moments.pooled:
            self.total = self.rho.sum()
            self.center = self.rho @ np.broadcast_to(self.reach, moments.xy.shape) / self.total
            self.away = self.reach - self.center
            system = system + (self.rho[:, None] * self.away).T @ np.broadcast_to(self.away, moments.xy.shape)
            own, common = own + (np.log(moments.weight) - np.log(self.rho)).sum(), np.log(self.total)
        elif moments.free:
            common = np.log(moments.weight).sum()
        self.own_determinant = own  # of what varies; fixed effects add theirs
        self.log_determinant = own + common + self._factor(0.5 * (system + system.T))
        self.squares = self._answer(times(root, moments.xy), moments.y_mean, self.inverses.answers)
        self._weigh()

    def _answer(self, xy, y_mean, own):
        """Set what these moments with targets say of the coefficients; what these explain of the targets.

        The sum of squares less that of the targets of each task about their mean. `own` are the slopes of
        each task without what is common.
        """
        self.own = own
        rhs, squares = self.own.sum(axis=0), -np.vdot(xy, self.own)
        if self.moments.pooled:
            z = y_mean - (self.reach * xy).sum(axis=1)
            self.level = self.rho @ z / self.total
            z = z - self.level
            rhs = rhs + (self.rho * z) @ np.broadcast_to(self.away, xy.shape)
            squares = squares + self.rho @ z**2
        self.mean, self._deviations = self.spread @ (rhs @ self.spread), None
        if self.moments.pooled:
            self.residual = z - self.away @ self.mean
        return squares - self.mean @ rhs

    def answering(self, xy, y_mean):
        """The same of other targets, by moments with the features (n_tasks, n_features) and means."""
        other, xy = copy(self), times(self.root, xy)
        other._answer(xy, y_mean, self.inverses.times(xy))
        return other

    def _weigh(self):
        """Set the noise variance, the criterion, and what the former costs in rows (`df`)."""
        moments = self.moments
        squares, self.df = self.squares + moments.yy.sum(), max(moments.df, 1)
        self.exhausted = not squares > moments.least  # a perfect fit, or digits lost where R is near singular
        self.noise = max(squares, moments.least) / self.df
        self.criterion = float(moments.df * np.log(self.noise) + self.log_determinant)

    def _read(self, moments):
        """Set what concerns single tasks: `used`, the sum of I - inverse; sum of the log-determinants."""
        self.inverses = moments.inverses(self.root)
        self.used = self.inverses.told * (moments.n_tasks / len(moments.xx))
        if moments.pooled:
            x_mean = times(self.root, moments.x_mean)
            self.reach = self.inverses.times(x_mean)
            own = 1.0 / moments.weight + 1.0 / self.strength
            self.rho = 1.0 / (own + (x_mean * self.reach).sum(axis=1))
        return self.inverses.log_determinant

    slope_root = property(lambda self: self.root)  # R of the features

    # R of a task that is not in the fit (n_features, n_features)
    new_root = property(lambda self: matrix(self.root))

    def under(self, root, strength):
        """The same moments under other variances."""
        return self.moments.posterior(root, strength)

    def of(self, moments):
        """What it says of other tasks, with what is common as it is."""
        other = copy(self)
        other.moments = moments
        other._read(moments)
        if moments.pooled:
            other.away = other.reach - other.center
        return other

    def _factor(self, system):
        """Set a root of the covariance of the common slopes; the log-determinant of their precision."""
        B, root = self.moments.basis, self.root
        B = B / root[:, None] if root.ndim == 1 else linalg.solve_triangular(root, B, lower=True)
        H = B.T @ system @ B
        unit = units(H)
        unit = np.where(unit > 0, unit, 1.0)
        values, vectors = np.linalg.eigh(unit[:, None] * H * unit)
        values = np.maximum(values, EPS)
        self.spread = B @ (unit[:, None] * vectors * values**-0.5)
        return np.log(values).sum() - 2 * np.log(unit).sum()

    @property
    def log_likelihood(self):
        """Restricted log-likelihood."""
        return -0.5 * (self.criterion + self.moments.df * (1 + np.log(2 * np.pi)))

    def deviations(self):
        """Slopes of the tasks less the common ones, in the coordinates of R."""
        if self._deviations is None:
            u = self.own - (self.mean - self.inverses.times(self.mean[None]))
            u += (self.rho * self.residual)[:, None] * self.reach if self.moments.pooled else 0.0
            self._deviations = u
        return self._deviations

    # slopes of the tasks (n_tasks, n_features)
    coef = property(lambda self: back(self.root, (self.mean + self.deviations()).T).T)

    def slope_gradient(self):
        """Derivative of the criterion in the prior precision of the slopes at I, diagonal if R is so."""
        u = self.deviations()
        gradient = u.T @ u / self.noise - self.used
        if self.moments.pooled:
            every = np.broadcast_to(self.reach, u.shape)
            gradient -= (self.rho[:, None] * every).T @ every
        gradient = gradient.diagonal() if self.root.ndim == 1 else gradient
        return gradient + self.common_slope_gradient()

    def common_slope_gradient(self):
        """What common coefficients add to it, where they are integrated out."""
        reach, (T, p) = np.zeros((0, len(self.spread))), self.own.shape
        along, found = reach @ self.spread, 0.0
        if self.moments.pooled:
            every = self.rho[:, None] * np.broadcast_to(self.reach, (T, p))
            found = SUMMED[self.root.ndim](every, every) / self.total
            reach, along = self.rho[: len(self.reach), None] * self.reach, self.away @ self.spread
        return found + T / len(self.inverses) * self.inverses.squares(self.spread, reach, along)

    def slope_squares(self):
        """What the deviations of each slope are of the squares whose mean is the noise (n_features,)."""
        return (self.deviations() ** 2).sum(axis=0)

    def intercept_squares(self):
        """The same of intercepts that vary."""
        return float(self.rho**2 @ self.residual**2 / self.strength)

    def intercept_gradient(self):
        """Derivative of the criterion in the logarithm of `strength`."""
        own = self.rho / self.strength @ (self.rho * self.residual**2 / self.noise - 1)
        return float(own) + self.common_intercept_gradient()

    def common_intercept_gradient(self):
        """What common coefficients add to it, where they are integrated out."""
        apart = 1 / self.total + ((self.away @ self.spread) ** 2).sum(axis=1)
        return float(self.rho / self.strength @ (self.rho * apart))  # squares of weights may overflow

    def told(self):
        """What the rows of every task tell of common coefficients, where these are its own about them.

        (n_tasks, k, k), with a diagonal R, and of which feature each is (k,): one past the last is that of
        intercepts that vary.
        """
        R, moments = self.root, self.moments
        p, T = len(R), moments.n_tasks
        E = np.broadcast_to(moments.xx @ (self.inverses.of(slice(None)) * (R[:, None] / R)), (T, p, p))
        if moments.pooled:
            along = np.column_stack([np.broadcast_to(self.reach / R, (T, p)), np.ones(T)])
            E = np.pad(E, ((0, 0), (0, 1), (0, 1)))
            E = E + self.rho[:, None, None] * along[:, :, None] * along[:, None, :]
        return 0.5 * (E + E.swapaxes(1, 2)), np.arange(E.shape[1])

    def mean_intercept_variance(self):
        """Of the mean of the intercepts; about that of the intercepts of these tasks where they are free."""
        moments = self.moments
        if moments.x_mean is None:
            return 0.0
        if moments.pooled:
            return float(1 / self.total + ((self.center @ self.spread) ** 2).sum())
        v = np.broadcast_to(times(self.root, moments.x_mean), moments.xy.shape)
        along = self.inverses.times(v)
        own = (1 / moments.weight + (v * along).sum(axis=1)).sum() / len(v) ** 2
        return float(own + ((along.mean(axis=0) @ self.spread) ** 2).sum())

    def information(self):
        """Average information, about the second derivatives in the logarithms of the precisions.

        Of the slopes and, if the intercepts vary, of `strength`: products of what each deviation adds to the
        targets, as targets of the same model.
        """
        u = self.deviations()
        products, rhs = self.inverses.products(u)
        z = u * self.reach if self.moments.pooled else None
        return self._average(products, rhs, z, (u**2).sum(axis=0))

    def _average(self, products, rhs, z, sizes):
        """Average information of some directions of the slopes, and last of `strength`, from their parts.

        What these add to the targets of each task about their mean, times each other and for the common
        slopes; of their means z (n_tasks, n_directions); their sizes along the deviations.
        """
        if z is not None:
            z = np.column_stack([z, self.rho / self.strength * self.residual])
            sizes = np.append(sizes, self.strength * (z[:, -1] ** 2).sum())
            z -= self.rho @ z / self.total
            weighted = self.rho[:, None] * z
            products = np.pad(products, (0, 1)) + weighted.T @ z
            rhs = np.pad(rhs, ((0, 1), (0, 0))) + weighted.T @ np.broadcast_to(self.away, self.own.shape)
        along, sizes = rhs @ self.spread, sizes / self.noise
        return (products - along @ along.T) / self.noise - np.outer(sizes, sizes) / self.df

    excess = 1.0  # variance of the targets about the common model over that which the model takes
    n_contrasts = 1  # of whose coefficients those of features are parts, which have one precision

    def pairs_information(self):
        """The same in the entries of a symmetric logarithm of the precision of the slopes, at zero.

        Of its lower triangle, row by row, and last of `strength`, if the intercepts vary.
        """
        k, (T, q) = self.n_contrasts, self.own.shape
        q //= k
        U, one = self.deviations().reshape(T, k, q), len(self.inverses) == 1
        products, rhs = np.zeros((q * q, q * q)), np.zeros((q, q, k, q))
        for at in chunks(T, k * k * q):
            E = np.eye(k * q) - self.inverses.of(slice(None) if one else at)
            E = np.broadcast_to(E.reshape(-1, k, q, k, q), (len(U[at]), k, q, k, q))
            pairs = U[at, :, None, :, None] * U[at, None, :, None, :]
            products += E.swapaxes(2, 3).reshape(-1, q * q).T @ pairs.reshape(-1, q * q)
            rhs += np.tensordot(U[at], E, ((0, 1), (0, 1)))
        i, j = np.tril_indices(q)
        half = np.where(i == j, 0.5, 1.0)
        products = products.reshape(q, q, q, q).swapaxes(1, 2)  # entries (a, c) and (b, d) of E and u u'
        products = products + products.swapaxes(0, 1)
        products = (products + products.swapaxes(2, 3))[i, j][:, i, j] * np.outer(half, half)
        rhs = rhs.reshape(q, q, k * q)
        rhs = (rhs + rhs.swapaxes(0, 1))[i, j] * half[:, None]
        z = None
        if self.moments.pooled:
            z, u = np.broadcast_to(self.reach, (T, q)), U[:, 0]
            z = (z[:, i] * u[:, j] + z[:, j] * u[:, i]) * half
        return self._average(products, rhs, z, 2 * half * np.einsum("tka,tkb->ab", U, U)[i, j])

    def information_alike(self):
        """The same with one precision for all slopes."""
        H, p = self.information(), len(self.slope_root)
        parts = [0, p][: 1 + (len(H) > p)]
        return np.add.reduceat(np.add.reduceat(H, parts, axis=0), parts, axis=1)

    # --- variances over that of the noise ---

    # of the logarithms of the precisions (n_features + 1,), the last one that of the intercepts; None: known
    precision_variances = None
    tails = 1.0  # factor of all variances, for errors of that of the noise

    def _of_precisions(self, along, kept):
        """What these variances add to those of predictors, on average over what tasks may be.

        By the delta method (Kass & Steffey), from the covariances of predictors with deviations of the slopes
        (n, ..., n_features), in the coordinates of R, and with those of intercepts times `strength` (n, ...).
        """
        V = self.precision_variances
        if V is None:
            return 0.0
        squares = self._by_feature(along**2)
        added = squares @ V[: squares.shape[-1]]
        return added + kept**2 / self.strength * V[-1] if self.moments.pooled else added

    def _by_feature(self, A):
        """Sums over the parts of the last axis that have one precision."""
        return A

    def mean_variance(self):
        """Of the common slopes (n_features,)."""
        return (back(self.root, self.spread) ** 2).sum(axis=1)

    def slope_variances(self):
        """Of the slopes of every task (n_tasks, n_features)."""
        R, spread = matrix(self.root), self.spread
        out = np.empty(self.moments.xy.shape)
        for at in chunks(len(out), R.size):
            some = at if len(self.inverses) > 1 else slice(None)
            inverse = self.inverses.of(some)
            along, errors, kept = R @ inverse, inverse @ spread, None
            own = (along * R).sum(axis=2)
            if self.moments.pooled:
                kept, reach = self.rho[at, None] * self.reach[some], self.reach[some] @ R.T
                errors = errors - kept[:, :, None] * (self.away[some] @ spread)[:, None, :]
                along, kept = along - reach[:, :, None] * kept[:, None, :], kept @ R.T
                own = own - kept * reach + kept**2 / self.total
            out[at] = own + ((R @ errors) ** 2).sum(axis=2) + self._of_precisions(along, kept)
        return np.maximum(out, 0.0)

    def predictor_variances(self, X, codes):
        """Of b_t + x . w_t for rows X (n, n_features) of the tasks at these positions (n,)."""
        moments, at = self.moments, codes if len(self.inverses) > 1 else np.zeros_like(codes)
        v, own, kept, pooled = times(self.root, X), np.zeros(len(X)), None, moments.pooled
        if moments.x_mean is not None:
            n = moments.weight[codes]
            own = 1 / (n + self.strength) if pooled else 1 / n
            v = v - (n * own)[:, None] * times(self.root, moments.x_mean)[at]
        along = self.inverses.times(v, at)
        out = own + (v * along).sum(axis=1)
        if pooled:
            reach = (v * self.reach[at]).sum(axis=1)
            rho = self.rho[codes]
            kept = self.strength * own - rho * reach
            out = out - rho * reach**2 + kept**2 / self.total
            along = along - (rho * reach)[:, None] * self.reach[at]
        out = np.maximum(out, 0.0) + self._of_precisions(along, kept)
        along = along - kept[:, None] * self.center if pooled else along
        return out + ((along @ self.spread) ** 2).sum(axis=1)

    def new_variances(self, X):
        """Of b + x . w of a task that is not among those of the fit.

        Free intercepts vary as those of the fit do, where these have the mean of all rows.
        """
        moments, v = self.moments, times(self.root, X)
        out, level = (v**2).sum(axis=1), 0.0
        if moments.pooled:
            level, center = 1 / self.strength + 1 / self.total, self.center
        elif moments.free:
            x_mean, T = times(self.root, moments.x_mean), moments.n_tasks
            center = moments.weight @ np.broadcast_to(x_mean, moments.xy.shape) / moments.weight.sum()
            levels = moments.y_mean - ((x_mean - center) * (self.mean + self.deviations())).sum(axis=1)
            level = levels.var(ddof=1) * (1 + 1 / T) / self.noise if T > 1 else np.inf
            out = ((v - center) ** 2).sum(axis=1)
        if moments.x_mean is not None:
            v = v - center
        return out + level + ((v @ self.spread) ** 2).sum(axis=1)
