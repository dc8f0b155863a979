"""The data term of the squared loss on second moments."""

from functools import cached_property, partial

import numpy as np

from .._threads import by_rows, read_only, sum_by_rows, task_products
from ..losses import SquaredError
from ..statistics import ROUNDING
from ._base import PREDICTOR_ROUNDING, TINY, DataTerm, DualPoint, batch_of, several, solved, without_center
from ._columns import about_zero

FAR, FEW_ENTRIES = 3.0, 1e7  # means in standard deviations, and entries of second moments of all tasks
NOTICED = 1e-10  # share of the squares of the targets from which rounding is charged to the gap


class MomentsTerm(DataTerm):
    """Data term of the squared loss on second moments. An image is [C_t w_t, mean_t . w_t]."""

    loss, on_moments = SquaredError(), True
    tied = None  # of several classes: how their tied intercepts join the tasks

    def __init__(self, stats, scale, fit_intercept=True, intercept_alpha=0.0, data=None, x_common=None):
        super().__init__(fit_intercept, intercept_alpha)
        self.data = data  # the rows, where they are known: they tell what the moments have rounded away
        self.y_size = float((np.abs(stats.y_mean) + np.sqrt(stats.yy / np.maximum(stats.weight, TINY))).max())
        if self.free_intercepts:
            self.x_offset, self.y_offset = stats.x_mean, stats.y_mean
            stats = stats.shifted(self.x_offset, self.y_offset)
        elif fit_intercept:
            stats = stats.apart() if _coupled_by_means(stats) else stats
            share = scale * stats.weight
            self.y_offset = float(share @ stats.y_mean / share.sum())
            center = stats.x_mean.mean(axis=0)
            self.x_common = center if x_common is None else center + x_common
            apart = np.abs(stats.x_mean - center) > ROUNDING * np.abs(center)  # else only rounding is
            stats = stats.shifted(np.where(apart, center, stats.x_mean), self.y_offset)
        self.stats, self.scale, self.n_designs = stats, np.ascontiguousarray(scale), len(stats.xx)
        self.n_tasks, self.n_features, self.tasks = stats.n_tasks, stats.n_features, stats.tasks
        self.totals, self.rows_per_task, self.shared = scale * stats.weight, stats.count, len(stats.xx) == 1
        self.xy, self.yy = stats.xy * scale[:, None], stats.yy * scale

    def seen(self):
        """The moments as they were given."""
        return self.stats.shifted(self.stats.x_mean - self._means(), -self.y_offset)

    @property
    def x_mean(self):
        """Means of the features that intercepts do not answer, (n_tasks, n_features)."""
        return np.broadcast_to(self.stats.x_mean if self.x_common is None else self._means(), self.shape)

    def x_size(self):
        """Sum of squares of all features under the weights of the rows of all tasks."""
        about_mean = np.einsum("djj->d", self.stats.xx) * np.ones(self.n_tasks)
        of_means = np.broadcast_to((self._means() ** 2).sum(axis=1), self.n_tasks)
        return float(self.scale @ about_mean + self.totals @ of_means)

    def _means(self):
        """Those of the features as they were given, of every design."""
        if self.x_common is not None:
            return self.stats.x_mean + self.x_common
        return self.stats.x_mean if self.x_offset is None else self.x_offset

    def curvatures(self):
        """Sum of the curvatures of all tasks along each feature, shape (n_features,)."""
        about_mean = np.broadcast_to(self.spreads**2, self.shape)
        return self.scale @ about_mean + self.kept @ np.broadcast_to(self.stats.x_mean**2, self.shape)

    def _turned(self, unit):
        data = self.data and self.data.turned(unit)
        stats, x_common = self.stats.turned(unit), None if self.x_common is None else self.x_common * unit
        return MomentsTerm(stats, self.scale, self.fit_intercept, self.intercept_alpha, data, x_common)

    def second_moments(self):
        """Second moments about the mean (n_designs, n_features, n_features), to be multiplied by `scale`."""
        return self.stats.xx

    def apart(self, W):
        """Curvature times W, the mean of tied intercepts held."""
        own = self.image(W)[:, : self.n_features]
        return own + (self.kept * (W * self.x_mean).sum(axis=1))[:, None] * self.x_mean

    # second moments of all columns (n_designs, n_features, n_features), about zero without intercepts
    _gram = cached_property(lambda self: self.stats.xx if self.fit_intercept else about_zero(self.stats))

    def gram(self, chosen=None):
        """Second moments of some columns or all, as `RowsTerm` finds them."""
        every = chosen is None or (len(chosen) == self.n_features and (chosen[1:] > chosen[:-1]).all())
        return self._gram if every else self._gram[:, chosen[:, None], chosen]

    def image(self, W):
        """[C_t w_t, mean_t . w_t], shape (n_tasks, n_features + 1), of one W or of each of several."""
        out = np.zeros((*W.shape[:-1], self.n_features + 1))
        if not W.any():  # where all solvers start: no need to read the moments
            return out
        if W.ndim > 2:
            own = np.moveaxis(np.matmul(self.stats.xx, np.moveaxis(W, 0, -1)), -1, 0)
            np.multiply(own, self.scale[:, None], out=out[..., :-1])
        else:
            own = W @ self.stats.xx[0] if len(self.stats.xx) == 1 else task_products(self.stats.xx, W)
            by_rows(np.multiply, own, self.scale[:, None], out=out[:, :-1])
        out[..., -1] = self.of_means(W)
        return out

    def of_means(self, W):
        """mean_t . w_t (n_tasks,), zero where intercepts are free: the moments are about the means."""
        if self.free_intercepts:
            return np.zeros(W.shape[:-1])
        one = len(self.stats.xx) == 1
        found = W @ self.stats.x_mean[0] if one else np.einsum("...tj,tj->...t", W, self.stats.x_mean)
        return found if self.x_common is None else found + self.common_image(W)

    def intercept(self, W, image, start=None):
        """Optimal intercepts, shape (n_tasks,)."""
        if not self.fit_intercept:
            return np.zeros(self.n_tasks)
        return self.pooled(self.totals, self.totals * (self.stats.y_mean - image[:, -1]))

    def _offset(self, image, b):
        """Mean residual of each task."""
        return b + image[:, -1] - self.stats.y_mean

    def value(self, W, image, b):
        """Data term, intercept penalty included."""
        about_mean = sum_by_rows(np.vdot, W, image[:, :-1]) - 2 * sum_by_rows(np.vdot, W, self.xy)
        about_mean += self.yy.sum()
        offset = self.totals @ self._offset(image, b) ** 2
        return 0.5 * float(about_mean + offset) + self.spread_of_intercepts(b)

    def gradient(self, W, image, b):
        """Gradient in W at optimal b, shape (n_tasks, n_features)."""
        G = by_rows(np.subtract, image[:, :-1], self.xy)
        if not self.free_intercepts:
            G += self._through_means(self._offset(image, b))
        return G

    def _through_means(self, offset):
        """Gradient in W of half the squares of the means of residuals, with these values."""
        sums = self.totals * offset
        G = sums[..., None] * self.stats.x_mean
        return G if self.x_common is None else G + self.common_back(sums)

    def second_order(self, V, image, eta=None):
        """<V, H V> with H the second derivative (b optimised out), from V and its image."""
        return float(np.vdot(V, self._curvature(image)))

    batch = property(lambda self: batch_of(self.n_tasks * self.n_features))

    def curvature_at(self, eta=None):
        """H V as a function of V, at eta where the loss is not quadratic, or of several."""
        return lambda V: self._curvature(self.image(V))

    def _following(self, image):
        """How the intercepts follow a change of W with this image."""
        if not self.fit_intercept:
            return np.zeros(image.shape[:-1])
        return self.pooled(self.totals, -self.totals * image[..., -1])

    def _curvature(self, image):
        if self.free_intercepts:  # nothing goes through the means
            return image[..., :-1]
        return image[..., :-1] + self._through_means(image[..., -1] + self._following(image))

    def dual_point(self, W, image, b, free, pull, ahead=None):
        """The slopes at the optimum over the free variables: for a quadratic, one Newton step.

        Before it a step `ahead` (n_tasks, n_features) of the data alone.
        """
        shift, moved = np.zeros(self.shape), W
        if ahead is not None:
            W, image = W + ahead, image + self.image(ahead)  # the sum holds less of what a large offset tells
            b = self.intercept(W, image)
        if free is not None:
            gradient = pull.plus(self.gradient(W, image, b), moved)
            step = self.kept_step(self.stats.xx.size, free, pull, partial(self._free_step, free, pull))
            shift, left = step(gradient)
            W, moved, image = W + shift, moved + shift, image + self.image(shift)
            b = self.intercept(W, image)
        gb = self.totals * self._offset(image, b)
        fit = self.value(W, image, b) - self.spread_of_intercepts(b)
        along_y = self._along_targets(W, image, gb)
        if self.tied_intercepts:
            fit += float(gb @ gb) / (2 * self.intercept_alpha)
        # what differences of moments leave of no residual is rounding, and no scale makes a bound of it
        size = sum_by_rows(lambda W, xy: float(np.vdot(np.abs(W), np.abs(xy))), W, self.xy)
        fit += np.finfo(float).eps * (size + self.yy.sum())

        def negative_conjugate(theta):
            return -(theta**2) * fit - theta * along_y

        slopes = self.gradient(W, image, b)
        gain = left(pull.plus(slopes, moved), self.unanswered(gb)) if free is not None else 0.0
        return DualPoint(slopes, gb, shift, negative_conjugate, gain, self._rounding(W))

    def _along_targets(self, W, image, gb):
        """<residual, targets>, gb the sums of residuals."""
        return float(sum_by_rows(np.vdot, W, self.xy) - self.yy.sum() + self.stats.y_mean @ gb)

    def _free_step(self, free, pull):
        separate = (np.count_nonzero(free, axis=1) <= 1).all() and np.ptp(free) > 0
        if separate and pull.is_ridge and not self.tied_intercepts and self._few(pull):
            return lambda gradient: self._separate_steps(gradient, free, pull.mean)
        return self.free_step(free, pull, self.curvature, self.along, lambda: self.shared_curvature)

    def along(self, directions):
        """Curvature (k, k) between directions where its digits are lost in the moments, and their intercepts.

        From rows if there are some, zero where predictors hold rounding as well; else what it is at most.
        """
        b = several(lambda V: self._following(self.image(np.asarray(V))), directions, self.batch)
        sizes = np.sqrt(self.spreads**2 + self.stats.weight[: len(self.stats.xx), None] * self._means() ** 2)
        most = several(lambda V: (np.abs(V) * sizes).sum(axis=-1) ** 2 @ self.scale, directions, self.batch)
        if self.data is None:
            return np.diag(PREDICTOR_ROUNDING * most), b
        images, weight = [], np.broadcast_to(self.data.weight, self.data.y.shape)
        for V in directions:
            image = self.data.forward(V)
            if self.fit_intercept:
                image = image - self.data.spread(self.data.task_sums(weight * image) / self.totals)
            images.append((np.sqrt(weight) * image).ravel())
        C = np.array(images) @ np.array(images).T
        seen = np.diag(C) > PREDICTOR_ROUNDING**2 * most
        return C * (seen & seen[:, None]), b

    # roots of the centred sums of squares of the features (n_designs, n_features)
    spreads = cached_property(lambda self: np.sqrt(np.einsum("djj->dj", self.stats.xx)))

    def _rounding(self, W):
        """What rounding of the moments can do to the objective, where it is more than the last digits."""
        spreads = self.spreads if len(self.spreads) == len(W) else np.broadcast_to(self.spreads, W.shape)

        def squares(W, spreads, scale):
            return float(scale @ (np.abs(W) * spreads).sum(axis=1) ** 2)

        return float(self.noticed(sum_by_rows(squares, W, spreads, self.scale)))

    def noticed(self, squares):
        """What is charged for rounding, from sums of squares of the terms of predictors, see `_rounding`."""
        most = np.finfo(float).eps * squares
        return np.where(most > NOTICED * self.yy.sum(), most, 0.0)

    def _separate_steps(self, gradient, free, ridge):
        """The same where no two directions share a task: a system for each."""
        out, parts = np.zeros(self.shape), []
        for column in free.T:
            tasks = np.flatnonzero(column)
            H = self._mean_block(tasks, column[tasks] ** 2) + ridge * np.eye(self.n_features)

            def along(vs, tasks=tasks, weights=column[tasks]):
                directions = np.zeros((len(vs), *self.shape))
                directions[:, tasks] = weights[:, None] * np.asarray(vs)[:, None]
                return self.along(directions)

            step, left = solved(H, -column[tasks] @ gradient[tasks], along)
            out[tasks] = np.outer(column[tasks], step)
            parts.append((column, left))
        return out, lambda gradient, in_b: sum(left(column @ gradient, in_b) for column, left in parts)

    def _mean_block(self, tasks, weights):
        """Weighted sum of the curvatures of some tasks (n_features, n_features)."""
        xx, scale = self.stats.xx, weights * self.scale[tasks]
        x_mean = np.broadcast_to(self.stats.x_mean, self.shape)[tasks]
        total = scale.sum() * xx[0] if len(xx) == 1 else np.tensordot(scale, xx[tasks], 1)
        kept = self.kept[tasks] * weights
        return total + (kept[:, None] * x_mean).T @ x_mean if kept.any() else total

    @cached_property
    def shared_curvature(self):
        """Curvature along a vector shared by all tasks (n_features, n_features), b optimised out."""
        total = self._mean_block(slice(None), np.ones(self.n_tasks))
        x_mean = np.broadcast_to(self.stats.x_mean, self.shape)
        return without_center(total, self.kept, x_mean) if self.fit_intercept else total


class RowMoments(DataTerm):
    """The squared loss of many tasks with free intercepts or none. An image is C_t w_t, of the shape of W.

    C_t are the second moments, of which only products are formed: one pass over the rows gives the image, and
    none the gradient.
    """

    loss = SquaredError()

    def __init__(self, data, fit_intercept):
        super().__init__(fit_intercept, 0.0)
        data = data.without_offset()
        self.data, (self.n_tasks, self.n_features) = data, (data.n_tasks, data.n_features)
        y, center = data.y, np.zeros(self.shape)
        if fit_intercept:
            y = y - data.spread(data.task_sums(data.weight * y) / data.totals)
            center = data.adjoint(data.weight)
            by_rows(np.divide, center, data.totals[:, None], out=center)
        residual = data.weight * y
        self.xy, self.yy = data.adjoint(residual), float(np.vdot(residual, y))
        self.given = *map(read_only, (data.X, data.weight)), read_only(center)
        self.y = read_only(y)

    def ridges(self, variances, slopes, curved=False, basis=None):
        """Of ridge regressions of every task: squares of residuals and slopes, curvature in the variances.

        See `task_ridges`, which fills the slopes. With a `basis` of the features, as orthonormal columns,
        slopes and variances are those along it, and in the place of their squares are all their products.
        """
        from .._kernels import task_ridges

        (X, weight, center), root, p = self.given, np.sqrt(variances), self.n_features
        center = center if basis is None else read_only(center @ basis)

        def solved(t, rows):
            block, squares, H = slice(rows[0], rows[-1]), np.zeros(p), np.zeros((p, p) if curved else (0, 0))
            own = X[block] if basis is None else read_only(X[block] @ basis)
            known = own, weight[block], self.y[block], read_only(rows - rows[0]), center[t]
            loss = task_ridges(*known, root, slopes[t], squares, H)
            return loss, squares if basis is None else slopes[t].T @ slopes[t], H

        return [sum(each) for each in zip(*self.data.in_blocks(solved), strict=True)]

    def image(self, W):
        """C_t w_t of every task."""
        from .._kernels import task_curvatures  # Numba is imported by the first fit that needs it

        (X, weight, center), W, out = self.given, read_only(W), np.empty(self.shape)
        self.data.in_blocks(lambda t, rows: task_curvatures(X, weight, rows, center[t], W[t], out[t]))
        return out

    def intercept(self, W, image, start=None):
        """None: they are optimised out."""
        return np.zeros(self.n_tasks)

    def value(self, W, image, b):
        """Data term."""
        products = sum_by_rows(lambda w, i, xy: np.vdot(w, i) - 2 * np.vdot(w, xy), W, image, self.xy)
        return 0.5 * (float(products) + self.yy)

    def gradient(self, W, image, b):
        """Gradient in W."""
        return by_rows(np.subtract, image, self.xy)

    def curvature_at(self, eta=None):
        """H V as a function of V."""
        return self.image

    def distance(self, W, V, image, other):
        return float(sum_by_rows(lambda w, v, i, o: np.vdot(w - v, i - o), W, V, image, other))


def _coupled_by_means(stats):
    """Whether tied intercepts couple the tasks of one design so much that systems of each task pay."""
    if len(stats.xx) > 1 or stats.xy.size * stats.n_features > FEW_ENTRIES:
        return False
    spread = np.einsum("djj->dj", stats.xx) / stats.weight[0]
    return bool((stats.x_mean**2 > FAR**2 * spread).any())
