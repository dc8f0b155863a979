"""Data terms whose predictors are tied: several of a row."""

from functools import cached_property
from itertools import combinations

import numpy as np

from .._threads import task_products, weighted_gram
from ..losses import Loss, tasks_by_loss
from ..statistics import TaskStatistics
from ._base import aside, batch_of, seen_alike, units
from ._moments import MomentsTerm
from ._rows import RowsTerm

JOINT_ENTRIES = 2e7  # 160 MB
FEW_PREDICTORS = 64  # of all tasks: a matrix of them squared is smaller than what Python costs


class _Hessian:
    """Second derivatives of the loss in the predictors of every row, and how intercepts answer a gradient."""

    def __init__(self, values):
        self.values = values  # as the loss has them
        self.columns = None  # those of every row
        self.settle = None  # a function of the gradient; both are made when they are first asked for


def _answer(A, g):
    """A_t^-1 g_t of every task, or about that where A is only rounding, as it is of one row."""
    try:
        return np.linalg.solve(A, g[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return _times(np.linalg.pinv(A, rcond=1e-13, hermitian=True), g)


def _inverse(A):
    """A_t^-1 of every task, without the directions of which A holds rounding only if one is singular."""
    try:
        return np.linalg.inv(A)
    except np.linalg.LinAlgError:
        return np.linalg.pinv(A, rcond=1e-13, hermitian=True)


def _times(A, g):
    """A_t g_t of every task, A (n_tasks, K, K)."""
    return np.matmul(A, g[..., None])[..., 0]


def _center(each):
    """Mean of the features (n_tasks, p) under the weights of several moments, exact where all means agree."""
    first, total = each[0].x_mean, sum(stats.weight for stats in each) + 1e-290
    return first + sum(stats.weight[:, None] * (stats.x_mean - first) for stats in each) / total[:, None]


class OutputsTerm(RowsTerm):
    """Data term of a loss with K predictors per row, one after another in the rows of W.

    W has shape (n_tasks, K n_features), b (n_tasks, K); sample-side arrays have one more axis, of
    length K.
    """

    def __init__(self, data, loss, fit_intercept=True, intercept_alpha=0.0, x_common=None):
        super().__init__(data, loss, fit_intercept, intercept_alpha, x_common)
        self.n_outputs = loss.n_outputs
        self.n_features = data.n_features * self.n_outputs
        others = np.zeros((self.n_tasks, self.n_outputs - 1))
        self.y_offset = np.column_stack([self.y_offset, others])  # of the first predictors

    edge, pointwise = 1e-12, False

    # whether the second derivatives in all coefficients of a task are known, and fit in memory
    joint = property(lambda self: self.n_tasks * self.n_features**2 <= JOINT_ENTRIES)

    def image(self, W):
        """x_i . w_tk."""
        if not W.any():
            return np.zeros((*self.y.shape, self.n_outputs))
        own = W.reshape(self.n_tasks, self.n_outputs, -1)
        image = self.data.forward(own)
        if self.x_common is None:
            return image
        return image + self.spread(self.less_unseen(own) @ self.x_common)

    def back(self, R):
        each = self.data.adjoint(R)
        if self.x_common is not None:
            each = each + self.less_unseen(self.task_sums(R))[..., None] * self.x_common
        return each.reshape(self.n_tasks, -1)

    batch = property(lambda self: batch_of(max(self.y.size * self.n_outputs, self.n_tasks * self.n_features)))

    def _images(self, directions):
        """Images (m, sample side) of several directions (m, n_tasks, n_features), by one product a task."""
        V = np.moveaxis(directions.reshape(-1, self.n_tasks, self.n_outputs, self.data.n_features), 0, 1)
        images = self.data.forward(V.reshape(self.n_tasks, -1, V.shape[-1]))
        images = images.reshape(*images.shape[:-1], -1, self.n_outputs)
        if self.x_common is not None:
            common = self.less_unseen(V.swapaxes(1, 2)) @ self.x_common
            images = images + self.spread(common.swapaxes(1, 2))
        return np.moveaxis(images, -2, 0)

    def _backs(self, R):
        """The transpose of `_images`."""
        R = np.moveaxis(R, 0, -2)
        each = self.data.adjoint(np.ascontiguousarray(R).reshape(*R.shape[:-2], -1))
        each = each.reshape(self.n_tasks, -1, self.n_outputs, each.shape[-1])
        if self.x_common is not None:
            common = self.less_unseen(self.task_sums(R).swapaxes(1, 2)).swapaxes(1, 2)
            each = each + common[..., None] * self.x_common
        return np.moveaxis(each, 1, 0).reshape(-1, *self.shape)

    def _followed_each(self, hessian, directions):
        blocks = (directions[k : k + self.batch] for k in range(0, len(directions), self.batch))
        found = [self._followed_by(hessian, np.asarray(block)) for block in blocks]
        return tuple(map(np.concatenate, zip(*found, strict=True)))

    def _followed_by(self, hessian, directions):
        """The same of a few directions."""
        changes = self._images(directions)
        sums = self.task_sums(np.moveaxis(self.hessian_times(hessian, changes), 0, -2))
        b = self._settle(hessian, np.moveaxis(sums, -2, 0))
        changes = changes + np.moveaxis(self.spread(np.moveaxis(b, 0, -2)), -2, 0)
        return changes, self.hessian_times(hessian, changes), b

    def _curvature(self, hessian, V):
        if V.ndim == 2:
            return super()._curvature(hessian, V)
        return self._backs(self._followed_by(hessian, V)[1])

    mean_of_offset = property(lambda self: self.two_way.mean)
    less_unseen = property(lambda self: self.two_way)

    # what the tasks or the classes of a task have in common
    two_way = cached_property(lambda self: TwoWay(self._used))

    def no_intercepts(self):
        return np.zeros((self.n_tasks, self.n_outputs))

    def loss_hessian(self, eta):
        return _Hessian(self.loss.hessian(self.y, eta))

    def loss_derivatives(self, eta):
        slopes, values = self.loss.derivatives(self.y, eta)
        return self._times_weight(slopes, self.weight_of(slopes)), _Hessian(values)

    def hessian_times(self, hessian, change):
        return self.weight_of(change) * self.loss.times(hessian.values, change)

    def _columns(self, hessian):
        """Those of the second derivatives in the K predictors of every row."""
        if hessian.columns is None:
            each = np.eye(self.n_outputs).reshape(-1, *[1] * self.y.ndim, self.n_outputs)
            each = np.broadcast_to(each, (self.n_outputs, *self.y.shape, self.n_outputs))
            hessian.columns = self.hessian_times(hessian, each)
        return hessian.columns

    def _shared_at(self, hessian):
        """Curvature along a vector shared by all tasks (n_features, n_features), b optimised out."""
        K, p = self.n_outputs, self.data.n_features
        H, in_b = np.empty((K, p, K, p)), np.empty((K, p, self.n_tasks, K))
        for k, column in enumerate(self._columns(hessian)):
            for m in range(k + 1):
                own = np.ascontiguousarray(column[..., m])
                in_b[k, :, :, m] = in_b[m, :, :, k] = self.data.adjoint(own).T
                own, sign = own if own.ndim == 1 else own.sum(axis=1), 1.0 if m == k else -1.0
                H[k, :, m] = H[m, :, k] = sign * weighted_gram(self.data.X, np.maximum(sign * own, 0.0))
        H, answer = H.reshape(K * p, -1), self._settle(hessian, in_b.reshape(K * p, -1, K))
        H += in_b.reshape(K * p, -1) @ answer.reshape(K * p, -1).T
        return seen_alike(H, 1, self.n_alike)

    @cached_property
    def _used(self):
        """Whether the loss of a task has a predictor (n_tasks, K)."""
        n_used = np.broadcast_to(getattr(self.loss, "outputs", self.n_outputs), (self.n_tasks,))
        return np.arange(self.n_outputs) < n_used[:, None]

    @cached_property
    def _held(self):
        """Intercepts (n_tasks, K) that rows hold, not at infinity; projections (n_tasks, K, K) on the rest.

        The rest: a constant for all classes, and what is not held.
        """
        held = self._used & (self.endless == 0)
        constant = held / np.sqrt(np.maximum(held.sum(axis=1, keepdims=True), 1.0))
        constant[self._used.sum(axis=1) == 1] = 0.0
        return held, constant[:, :, None] * constant[:, None, :] + np.eye(self.n_outputs) * ~held[:, None, :]

    def _settle(self, hessian, g):
        """Answer of the intercepts to a gradient (n_tasks, K), or to each of several."""
        if not self.fit_intercept:
            return np.zeros_like(g)
        if hessian.settle is None:
            H = np.stack([self.task_sums(column) for column in self._columns(hessian)], axis=1)
            if self.loss.per_class:  # as minus the sum of the others: far out p (1 - p) has no digits left
                at = np.arange(self.n_outputs)
                H[:, at, at] -= H.sum(axis=2)
            hessian.settle = self._tied(H) if self.intercept_alpha else self._free(H)
        return hessian.settle(g)

    def _free(self, H):
        """The answer of intercepts that are free to a gradient, from the curvature (n_tasks, K, K)."""
        K, (held, idle) = self.n_outputs, self._held
        level = np.trace(H, axis1=1, axis2=2)[:, None] / K + 1e-290  # it may underflow
        lifted = H / level[..., None] * (held[:, :, None] & held[:, None, :]) + idle + 1e-14 * np.eye(K)

        def settle(g):
            g = np.where(held, g, 0.0)
            g = (g - _times(idle, g)) / level
            return _answer(lifted, -g)  # it may be singular where no row holds some class any more

        return settle

    def _tied(self, H):
        """The same of intercepts with a penalty."""
        K, a = self.n_outputs, self.intercept_alpha
        inverse = _inverse(H + a * np.eye(K))
        # I - a inverse without the digits that a large a would cancel; off the constant, if that is free
        off = np.eye(K) - (1.0 / K if self.loss.per_class else 0.0)
        level = off @ np.matmul(inverse, H).mean(axis=0) @ off
        # where rows are so far out that their curvature is nothing a long step leads back
        size = np.trace(level) + 1e-290
        level = (level + level.T) / 2 + 1e-13 * size * np.eye(K) + size * (np.eye(K) - off)
        reach = off @ np.linalg.inv(level) @ off

        def settle(g):
            own = _times(inverse, -g)
            return own + a * _times(inverse, own.mean(axis=-2, keepdims=True) @ reach.T)

        return settle

    def intercept(self, W, image, start):
        """Optimal intercepts by Newton steps from `start`, shape (n_tasks, K)."""
        if not self.fit_intercept:
            return self.no_intercepts()
        b = self.no_intercepts() if start is None else start
        if self._astray(image):
            return b
        b = self._descended(image, b)
        if self.intercept_alpha and not self._used.all():
            return b
        # no loss sees the same number for all classes
        several = self._used.sum(axis=1, keepdims=True) > 1
        mean = (self._used * b).sum(axis=1, keepdims=True) / self._used.sum(axis=1, keepdims=True)
        return b - np.where(self._used & several, mean, 0.0)

    def quadratic_model(self, eta):
        """Rows with the mean curvature of the predictors."""
        hessian, units = self.loss.hessian(self.y, eta), np.eye(self.n_outputs)
        own = [self.loss.times(hessian, np.broadcast_to(d, eta.shape))[..., k] for k, d in enumerate(units)]
        return self.data.reweighted(self.y, self.weight * np.mean(own, axis=0))

    def curved(self):
        """Whether the losses are flat for no predictors."""
        used = np.broadcast_to(self.spread(self._used), (*self.y.shape, self.n_outputs))
        far = np.full(used.shape, 20.0)
        columns = (self._columns(_Hessian(self.loss.hessian(self.y, eta))) for eta in (-far, far))
        diagonals = (np.stack([own[..., k] for k, own in enumerate(each)], axis=-1) for each in columns)
        return all((each[used & (self.weight_of(each) > 0)] > 0).all() for each in diagonals)

    def _second_moments(self, hessian, floor=0.0):
        """Second derivatives in W (n_tasks, K p, K p), in W and b, and in b, and a center (n_tasks, p).

        They are of features less the center, about which they lose no digits.
        """
        K, p = self.n_outputs, self.data.n_features
        H, each = np.zeros((self.n_tasks, K, p + 1, K, p + 1)), self._moments_of_pairs(hessian, floor)
        center = _center([stats for _, stats in each]) if self.fit_intercept else np.zeros((self.n_tasks, p))
        for pair, stats in each:
            mean = np.hstack([stats.x_mean - center, np.ones((self.n_tasks, 1))])
            gram = stats.weight[:, None, None] * mean[:, :, None] * mean[:, None]
            gram[:, :-1, :-1] += stats.xx
            H[:, pair, :, pair] += gram
            if len(pair) == 2:
                H[:, pair, :, pair[::-1]] -= gram
        W, b, m = slice(p), p, K * p
        of_W, across = H[:, :, W, :, W].reshape(-1, m, m), H[:, :, W, :, b].reshape(-1, m, K)
        return of_W, across, H[:, :, b, :, b], center

    def _moments_of_pairs(self, hessian, floor):
        """Pairs of classes, and predictors alone, with the moments of features under their weights of rows.

        Between two classes second derivatives are minus weights, of at least `floor` times the largest, and
        on the diagonal the sums of these and, of losses that are not of classes, of a weight of its own.
        """
        columns, found = self._columns(hessian), []
        for k, other in combinations(range(self.n_outputs), 2):
            there = self.spread(self._used[:, k] & self._used[:, other]) & (self.weight > 0)
            found.append(((k, other), self._moments(-columns[k][..., other], there, floor)))
        for k, own in enumerate(() if self.classes_alone else np.moveaxis(sum(columns), -1, 0)):
            own = np.where(own > 1e-9 * columns[k].max(), own, 0.0)
            found.append(((k,), self._moments(own, own > 0, floor)))
        return found

    def _moments(self, weight, there, floor):
        weight = np.ascontiguousarray(np.maximum(weight, floor * weight.max() * there))
        return TaskStatistics.from_data(self.data.reweighted(self.y, weight))

    def _eliminated(self, hessian, floor):
        """Second derivatives in W (n_tasks, K p, K p) with free intercepts that follow.

        Also what these follow (n_tasks, K p, K), and what they keep of its square if they are tied.
        """
        H, across, between, center = self._second_moments(hessian, floor)
        if not self.fit_intercept:
            return H, None, None
        one = np.eye(self.n_outputs)
        level = np.trace(between, axis1=1, axis2=2)[:, None, None] / self.n_outputs + 1e-290
        means = across @ np.linalg.pinv(between / level, rcond=1e-12, hermitian=True) / level
        left = H - means @ across.swapaxes(1, 2)
        some = np.einsum("tjj->tj", left) > 1e-14 * np.einsum("tjj->tj", H)  # else rounding
        means = means + np.einsum("tj,kl->tkjl", center, one).reshape(means.shape)
        a = self.intercept_alpha
        kept = a * between @ np.linalg.inv(between + a * one) if a else None
        return left * (some[:, :, None] & some[:, None]), means, kept

    classes_alone = cached_property(lambda self: bool(self.loss.per_class and self._used.all()))

    def joint_model(self, eta, floor=0.0, W=None):
        """Least squares of about the curvature of the loss at eta, and of its slopes, if that is of W."""
        (H, means, kept), ones = self._eliminated(self.loss_hessian(eta), floor), np.ones(self.n_tasks)
        tied = None if kept is None else Tied(means, kept, self.x_common, self.two_way)
        xy, yy, zero = np.zeros(self.shape), np.zeros(self.n_tasks), np.zeros(self.shape)
        if W is not None:
            slopes = self.loss_gradient(eta)
            G = self.back(slopes)
            if tied is not None:
                G = G - tied.answer(W, self.task_sums(slopes))
            xy = np.matmul(H, W[..., None])[..., 0] - G
            unit = units(H)
            slope, A = unit * G, H * unit[:, None] * unit[..., None] + 1e-9 * np.eye(H.shape[1])
            explained = np.einsum("tj,tj->t", slope, _answer(A, slope))
            yy = np.einsum("tj,tj->t", W, xy - G) + 1.01 * explained
        stats = TaskStatistics(self.tasks, self.rows_per_task, ones, zero, np.zeros(self.n_tasks), H, xy, yy)
        return MomentsTerm(stats, ones, False) if tied is None else TiedMoments(stats, tied)

    def least_squares(self, image, b, floor, W, above=False):
        """Data term of least squares with the gradient at W and about the curvature of the loss there."""
        return self.joint_model(self.predictor(image, b), floor, W)

    def _model_weights(self, eta):
        # a Hessian diag(p) - p p' is at most twice its diagonal
        return [2.0 * column[..., k] for k, column in enumerate(self._columns(self.loss_hessian(eta)))]

    def _put_back(self, hessian, slope, inside):
        return _Hessian(self.loss.put_back(self.y, hessian.values, slope, inside))


class TwoWay:
    """Numbers v_tk less a number m_k of each predictor, and a_t of each task with several.

    Both are those that leave least squares. Neither is seen: tied intercepts answer m_k, no loss sees a_t.

    Parameters
    ----------
    used : ndarray of shape (n_tasks, K)
        Whether the loss of a task has a predictor.
    """

    def __init__(self, used):
        self.used, count = used[..., None] * 1.0, used.sum(axis=1)
        self.per_task = self.used * ((count > 1) / np.maximum(count, 1))[:, None, None]
        U, own = self.used[..., 0], self.per_task[..., 0]
        self.inverse = np.linalg.pinv(np.diag(U.sum(axis=0)) - U.T @ own, rcond=1e-10, hermitian=True)

    def _within(self, V):
        return self.used * V - self.per_task * (self.used * V).sum(axis=1, keepdims=True)

    def mean(self, V):
        """m (K, n) of V (n_tasks, K, n)."""
        return self.inverse @ self._within(V).sum(axis=0)

    def __call__(self, V):
        own = V.reshape(*V.shape[:2], -1)
        own = own - own[0]  # rounding in the mean must not be multiplied by a huge offset
        if self.used.size <= FEW_PREDICTORS:
            return (self._matrix @ own.reshape(self.used.size, -1)).reshape(V.shape)
        return self._reduced(own).reshape(V.shape)

    def _reduced(self, own):
        return self._within(own - self.mean(own))

    @cached_property
    def _matrix(self):
        """The same as a matrix (n_tasks K, n_tasks K): one product in the place of many sums."""
        n = self.used.size
        return self._reduced(np.eye(n).reshape(*self.used.shape[:2], n)).reshape(n, n)


class Tied:
    """sum_t <e_t, kept_t e_t> / 2, e_t = `means_t`' w_t - aim_t less what is common to all tasks.

    The least squares that tied intercepts leave of what they follow; their mean answers the latter.

    Parameters
    ----------
    means : ndarray of shape (n_tasks, K n_features, K)
    kept : ndarray of shape (n_tasks, K, K)
    common : ndarray of shape (n_features,) or None
        To be added to the means of each class.
    less_unseen : TwoWay
    """

    def __init__(self, means, kept, common, less_unseen):
        self.means, self.kept, self.common = means, 0.5 * (kept + kept.swapaxes(1, 2)), common
        self.less_unseen = less_unseen
        values, vectors = np.linalg.eigh(self.kept.sum(axis=0))
        seen = values > 1e-13 * values[-1]  # no loss sees the same number for all classes
        self.curvature, self.turn = values[seen], vectors[:, seen]  # along the mean of the intercepts
        self.center = (self.turn / self.curvature) @ self.turn.T
        self.aim = np.zeros(kept.shape[:2])

    def along(self, W):
        """What the means say of W (n_tasks, K), but for a number of each class."""
        found = np.einsum("tjk,...tj->...tk", self.means, W)
        if self.common is None:
            return found
        return found + self._less(W.reshape(*found.shape, -1), 3) @ self.common

    def _less(self, V, n_axes):
        """V of so many axes without what is not seen, or each of several, which are the first axis."""
        return self.less_unseen(V) if V.ndim == n_axes else aside(self.less_unseen, V)

    def back(self, u):
        """The transpose of `along`."""
        G = np.einsum("tjk,...tk->...tj", self.means, u)
        if self.common is None:
            return G
        return G + (self._less(u, 2)[..., None] * self.common).reshape(G.shape)

    def slopes(self, e):
        """kept_t e_t, less what is common."""
        total = np.einsum("tkl,...tl->...k", self.kept, e)
        return np.einsum("tkl,...tl->...tk", self.kept, e - (total @ self.center)[..., None, :])

    def answer(self, W, sums):
        """Their gradient at W, once they are told that these are its slopes."""
        self.aim = self.along(W) - np.einsum("tkl,tl->tk", np.linalg.pinv(self.kept, hermitian=True), sums)
        return self.back(self.slopes(self.along(W) - self.aim))

    @cached_property
    def held(self):
        """The means with what is common to the tasks."""
        if self.common is None:
            return self.means
        return self.means + np.kron(np.eye(self.kept.shape[1]), self.common[:, None])

    # second derivatives in W and the intercepts' mean (n_tasks, K n_features, k), see `turn`
    across = cached_property(lambda self: self.held @ self.kept @ self.turn)


class TiedMoments(MomentsTerm):
    """Least squares in the coefficients of K classes, with tied intercepts that follow."""

    common = None

    def __init__(self, stats, tied):
        super().__init__(stats, np.ones(stats.n_tasks), False)
        self.tied, self.common, self.last = tied, tied.common, -tied.kept.shape[1]
        self.less_unseen = tied.less_unseen

    def second_moments(self):
        """Second moments of every task, the mean of the intercepts held."""
        return self.stats.xx + self.tied.held @ self.tied.kept @ self.tied.held.swapaxes(1, 2)

    def apart(self, W):
        return task_products(self.second_moments(), W)

    def image(self, W):
        """[C_t w_t, 0, what the means say of w_t]."""
        return np.concatenate([super().image(W), self.tied.along(W)], axis=-1)

    def value(self, W, image, b):
        e = image[:, self.last :] - self.tied.aim
        return super().value(W, image[:, : self.last], b) + 0.5 * float(np.vdot(e, self.tied.slopes(e)))

    def gradient(self, W, image, b):
        """Gradient in W, shape (n_tasks, K n_features)."""
        slopes = self.tied.slopes(image[:, self.last :] - self.tied.aim)
        return super().gradient(W, image[:, : self.last], b) + self.tied.back(slopes)

    def _curvature(self, image):
        slopes = self.tied.slopes(image[..., self.last :])
        return super()._curvature(image[..., : self.last]) + self.tied.back(slopes)

    def _offset(self, image, b):
        return np.zeros(self.n_tasks)  # there are no intercepts beside these

    def _along_targets(self, W, image, gb):
        slopes = self.tied.slopes(image[:, self.last :] - self.tied.aim)
        return super()._along_targets(W, image, gb) + float(np.vdot(slopes, self.tied.aim))

    def _free_step(self, free, pull):
        return self.free_step(free, pull, self.curvature, self.along, lambda: self.shared_curvature)

    @cached_property
    def shared_curvature(self):
        """Curvature along a vector shared by all tasks (K n_features, K n_features)."""
        along = self.tied.means @ self.tied.kept
        own, total = np.tensordot(along, self.tied.means, axes=([0, 2], [0, 2])), along.sum(axis=0)
        return self.stats.xx.sum(axis=0) + own - total @ self.tied.center @ total.T


class PerTask(Loss):
    """A loss of its own for every task, bound to the sample side of some data.

    A task whose loss needs fewer predictors than others uses the first ones.
    """

    def __init__(self, losses, data):
        if not all(loss.pointwise for loss in losses):
            raise ValueError("RootSquaredError is for all tasks or for none: it has no mean over rows.")
        self.n_outputs = max(loss.n_outputs for loss in losses)
        self.outputs = np.array([loss.n_outputs for loss in losses])
        self.translates = np.array([loss.translates for loss in losses])
        self.curvature = max(loss.curvature for loss in losses)
        self.sections = [(loss, data.where(tasks)) for loss, tasks in tasks_by_loss(losses).items()]
        self.per_class = all(loss.per_class for loss, _ in self.sections)

    def put_back(self, y, hessian, slope, inside):
        """Second derivatives without the predictors whose slopes were put back inside the domain."""
        out = []
        for (loss, at), own in zip(self.sections, hessian, strict=True):
            k = self._own(loss, at)
            out.append(loss.put_back(y[at], own, slope[k], inside[k]))
        return out

    def _each(self, name, y, *arrays, out):
        """The method of every section's loss, written into `out`."""
        for loss, at in self.sections:
            own = self._own(loss, at)
            found = getattr(loss, name)(y[at], *(a[own] for a in arrays))
            out[at if out.ndim == y.ndim else own] = found
        return out

    def rounding(self, unit, y_size):
        """The largest of the losses'."""
        return max(loss.rounding(unit, y_size) for loss, _ in self.sections)

    def value(self, y, eta):
        """Loss, of the shape of y."""
        return self._each("value", y, eta, out=np.zeros(y.shape))

    def gradient(self, y, eta):
        """First derivative in eta."""
        return self._each("gradient", y, eta, out=np.zeros(eta.shape))

    def hessian(self, y, eta):
        """Second derivative in eta: an array, or one per loss where some have several outputs."""
        if self.n_outputs == 1:
            return self._each("hessian", y, eta, out=np.zeros(eta.shape))
        return [loss.hessian(y[at], eta[self._own(loss, at)]) for loss, at in self.sections]

    def times(self, hessian, d):
        """Second derivative times a change d of eta."""
        if self.n_outputs == 1:
            return hessian * d
        out = np.zeros(d.shape)
        for (loss, at), own in zip(self.sections, hessian, strict=True):
            every = (..., *self._own(loss, at))
            out[every] = loss.times(own, d[every])
        return out

    def majorant(self, y, eta):
        """Curvature of parabolas above the losses."""
        return self._each("majorant", y, eta, out=np.zeros(eta.shape))

    def _own(self, loss, at):
        """Index of the predictors of a section."""
        if self.n_outputs == 1:
            return at
        return (*at, slice(loss.n_outputs) if loss.per_class else 0)

    def falls(self, y):
        axis = () if self.n_outputs == 1 else (self.n_outputs,)
        return self._each("falls", y, out=np.zeros(y.shape + axis))

    def project(self, y, u):
        return self._each("project", y, u, out=np.zeros(u.shape))

    def conjugate(self, y, u):
        """Fenchel conjugate in eta, of the shape of y."""
        return self._each("conjugate", y, u, out=np.zeros(y.shape))
