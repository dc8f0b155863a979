"""The data term of the squared loss on second moments."""

import numpy as np

from ..losses import SquaredError
from ._base import DENSE_FEATURES, DataTerm, DualPoint, iterated_step, pooled_intercepts, shared_step


class MomentsTerm(DataTerm):
    """Data term of the squared loss on second moments. An image is [C_t w_t, mean_t . w_t]."""

    loss = SquaredError()

    def __init__(self, stats, scale, fit_intercept=True, intercept_alpha=0.0):
        super().__init__(fit_intercept, intercept_alpha)
        self.offset = 0.0
        if fit_intercept:
            self.offset = float((scale * stats.weight) @ stats.y_mean / (scale @ stats.weight))
            stats = stats.shifted(self.offset)
        self.stats, self.scale = stats, scale
        self.n_tasks, self.n_features, self.tasks = stats.n_tasks, stats.n_features, stats.tasks
        self.totals = scale * stats.weight
        self.xy, self.yy = stats.xy * scale[:, None], stats.yy * scale

    @property
    def x_mean(self):
        """Means (n_tasks, n_features)."""
        return np.broadcast_to(self.stats.x_mean, self.shape)

    def covariance(self):
        """Weighted second moments about the mean, (n_designs, n_features, n_features) and their scale."""
        return self.stats.xx, self.scale

    def select(self, columns):
        """The term restricted to some features."""
        return MomentsTerm(self.stats.select(columns), self.scale, self.fit_intercept, self.intercept_alpha)

    def image(self, W):
        """[C_t w_t, mean_t . w_t], shape (n_tasks, n_features + 1)."""
        out = np.empty((self.n_tasks, self.n_features + 1))
        if len(self.stats.xx) == 1:
            out[:, :-1] = W @ self.stats.xx[0]
            out[:, -1] = W @ self.stats.x_mean[0]
        else:
            out[:, :-1] = np.matmul(self.stats.xx, W[:, :, None])[:, :, 0]
            out[:, -1] = np.einsum("tj,tj->t", W, self.stats.x_mean)
        out[:, :-1] *= self.scale[:, None]
        return out

    def intercept(self, W, image, start=None):
        """Optimal intercepts, shape (n_tasks,)."""
        if not self.fit_intercept:
            return np.zeros(self.n_tasks)
        return pooled_intercepts(
            self.totals, self.totals * (self.stats.y_mean - image[:, -1]), self.intercept_alpha
        )

    def _offset(self, image, b):
        """Mean residual of each task."""
        return b + image[:, -1] - self.stats.y_mean

    def value(self, W, image, b):
        """Data term, intercept penalty included."""
        about_mean = np.vdot(W, image[:, :-1]) - 2 * np.vdot(W, self.xy) + self.yy.sum()
        offset = self.totals @ self._offset(image, b) ** 2
        return 0.5 * float(about_mean + offset) + self.spread_of_intercepts(b)

    def gradient(self, W, image, b):
        """Gradient in W at optimal b, shape (n_tasks, n_features)."""
        G = image[:, :-1] - self.xy
        G += (self.totals * self._offset(image, b))[:, None] * self.stats.x_mean
        return G

    def second_order(self, V, image, eta=None):
        """<V, H V> with H the second derivative (b optimised out), from V and its image."""
        return float(np.vdot(V, self._curvature(image)))

    def curvature(self, V, eta=None):
        """H V."""
        return self._curvature(self.image(V))

    def _curvature(self, image):
        b = np.zeros(self.n_tasks)
        if self.fit_intercept:
            b = pooled_intercepts(self.totals, -self.totals * image[:, -1], self.intercept_alpha)
        return image[:, :-1] + (self.totals * (image[:, -1] + b))[:, None] * self.stats.x_mean

    def dual_point(self, W, image, b, free, pull):
        """The slopes at the optimum over the free variables: for a quadratic, one Newton step."""
        shift = np.zeros(self.shape)
        if free is not None:
            gradient = self.gradient(W, image, b) + pull.apply(W)
            shift = self._free_step(gradient, free, pull)
            W = W + shift
            image = self.image(W)
            b = self.intercept(W, image)
        gb = self.totals * self._offset(image, b)
        fit = self.value(W, image, b) - self.spread_of_intercepts(b)
        along_y = float(np.vdot(W, self.xy) - self.yy.sum() + self.stats.y_mean @ gb)
        if self.fit_intercept and self.intercept_alpha:
            fit += float(gb @ gb) / (2 * self.intercept_alpha)
        return DualPoint(
            self.gradient(W, image, b), gb, shift, lambda theta: -(theta**2) * fit - theta * along_y
        )

    def _free_step(self, gradient, free, pull):
        if free.shape[1] == 1 and pull.matrix is None and self.n_features <= DENSE_FEATURES:
            scale = self.scale.sum() if len(self.stats.xx) == 1 else self.scale
            gram = scale * self.stats.xx[0] if np.ndim(scale) == 0 else np.tensordot(scale, self.stats.xx, 1)
            gram = gram + (self.x_mean * self.totals[:, None]).T @ self.x_mean
            return shared_step(self.pooled_curvature(self.totals, self.x_mean, gram), gradient, pull.mean)
        return iterated_step(lambda V: self.curvature(V) + pull.apply(V), gradient, free)
