"""The data term whose rows are tied: one number per task."""

from functools import cached_property

import numpy as np

from ._base import TINY
from ._intercepts import ROUNDING
from ._rows import RowsTerm

PERFECT = 0.2  # of the gap that is enough: what root mean squared errors of nearly perfect fits may add to it
LEAST = 1e-8  # of the targets: in a smaller one there is only rounding


class RootTerm(RowsTerm):
    """Data term of `RootSquaredError`: sum_t c_t sigma_t, sigma_t^2 the mean squared error of task t.

    Slopes and curvatures near a perfect fit are those of sigma^2 / (2 nearly) + nearly / 2, which touches
    sigma from above where it is `nearly` none. For any sigma such a parabola about it is above: a model of
    least squares (Sun & Zhang 2012, https://doi.org/10.1093/biomet/ass043).
    """

    pointwise, row_by_row, straight, outlying = False, False, True, False

    @cached_property
    def sizes(self):
        """Root mean squares of the targets, (n_tasks,), those of others where all of them are zero."""
        own = self._sigma(self.y)
        return np.where(own > 0, own, own.max() or 1.0)

    @property
    def nearly(self):
        """Root mean squared error (n_tasks,) of a fit that is perfect for all that matters."""
        return max(PERFECT * self.enough / (self.totals @ self.sizes), LEAST) * self.sizes

    def _sigma(self, residual):
        return np.sqrt(self.task_sums(self.weight * residual**2) / self.totals)

    def _per_sigma(self, residual):
        """1 / sigma, shape (n_tasks,)."""
        return 1.0 / np.maximum(self._sigma(residual), self.nearly)

    def _loss(self, eta):
        return float(self.totals @ self._sigma(eta - self.y))

    def loss_gradient(self, eta):
        residual = eta - self.y
        return self.weight * residual * self.spread(self._per_sigma(residual))

    def loss_hessian(self, eta):
        residual = eta - self.y
        return residual, self._per_sigma(residual)

    def hessian_times(self, hessian, change):
        residual, per_sigma = hessian
        along = self.task_sums(self.weight * residual * change) / self.totals * per_sigma**2
        return self.weight * (change - residual * self.spread(along)) * self.spread(per_sigma)

    def curved(self):
        """Whether the loss is flat for no predictor: its models need no more."""
        return True

    def intercept(self, W, image, start):
        """Optimal intercepts, the means of the residuals where they are free, shape (n_tasks,)."""
        if not self.fit_intercept:
            return self.no_intercepts()
        left = self.y - image
        mean = self.task_sums(self.weight * left) / self.totals
        if not self.intercept_alpha:
            return mean
        return self._tied(mean, self._sigma(left - self.spread(mean)), mean if start is None else start)

    def _tied(self, mean, sigma, b):
        """argmin_b sum_t c_t sqrt(sigma_t^2 + (b_t - mean_t)^2) + their own penalty, searched from b.

        The root of the mean of b less the center that it is pulled to, by Newton's method in a bracket.
        """
        low, high, center = mean.min(), mean.max(), b.mean()
        accuracy = ROUNDING * max(high - low, np.abs(mean).max())
        for _ in range(200):
            b, slopes = self._pulled(mean, sigma, center)
            left = b.mean() - center
            low, high = (center, high) if left > 0 else (low, center)
            if not (abs(left) > accuracy and high - low > accuracy):
                break
            center += left / max(1.0 - slopes.mean(), TINY)
            if not low < center < high:
                center = 0.5 * (low + high)
        return b

    def _pulled(self, mean, sigma, center):
        """Intercepts pulled to a center, and how they follow it.

        Their ways x from the means are roots of x / sqrt(sigma^2 + x^2) - strength (away - x), nearly. The
        first term is concave in x and at most 1: steps of Newton's method from below do not overshoot.
        """
        strength, away, nearly = self.intercept_alpha / self.totals, np.abs(center - mean), self.nearly
        x = np.maximum(away - 1.0 / strength, 0.0)
        for _ in range(60):
            size = np.hypot(sigma, x)
            perfect = size <= nearly
            size = np.where(perfect, nearly, size)
            slope = strength + np.where(perfect, 1.0 / nearly, sigma**2 / size**3)
            step = (strength * (away - x) - x / size) / slope
            if not (step > ROUNDING * x).any():
                break
            x += np.maximum(step, 0.0)
        return mean + np.copysign(x, center - mean), strength / slope

    def _settle(self, hessian, g):
        if not self.fit_intercept:
            return np.zeros_like(g)
        return self.pooled(self._intercept_hessian(hessian), -g)

    def _intercept_hessian(self, hessian):
        residual, per_sigma = hessian
        mean = self.task_sums(self.weight * residual) / self.totals
        return self.totals * per_sigma * np.maximum(1.0 - (mean * per_sigma) ** 2, 0.0)

    def quadratic_model(self, eta):
        """Rows with squared errors divided by sigma."""
        return self.data.reweighted(self.y, self._model_weights(eta)[0])

    majorant_model = quadratic_model

    def model_weights(self, image, b, floor, above=True):
        """Weights of the rows in the parabolas above, a list of one sample side."""
        return self._model_weights(self.predictor(image, b))

    def _model_weights(self, eta):
        return [self.weight * self.spread(self._per_sigma(eta - self.y))]

    def dual_hessian(self, eta, ahead=False):
        """Second derivatives of the parabolas: along the residuals those of the loss are zero."""
        residual, per_sigma = self.loss_hessian(eta)
        return np.zeros_like(residual), per_sigma

    def _balanced(self, u, hessian, b):
        """Centred slopes."""
        u, b = self._settled(u, hessian, b)
        return u, hessian, b, 1

    def _dual_point(self, u, shift, gradient):
        point = super()._dual_point(u, shift, gradient)
        size = np.sqrt((self.task_sums(self.weight * self._unweighted(u) ** 2) / self.totals).max())
        point.limit = 1.0 / max(size, 1e-300)  # the dual ball of every task
        return point

    def _conjugate(self, theta, u, slope):
        return theta * float(np.vdot(u, self.y))
