"""The data term on rows, with a pointwise loss."""

from functools import cached_property, partial

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack

from .._data import SharedData
from .._threads import by_rows, loop_pays, of_rows, sum_by_rows, weighted_gram
from ..statistics import TaskStatistics, times
from ._base import (
    PREDICTOR_ROUNDING,
    TINY,
    DataTerm,
    DualPoint,
    nothing,
    several,
    slack,
    without_center,
)
from ._columns import DesignPool, fresh_gram, make_pool
from ._intercepts import Intercepts
from ._moments import MomentsTerm

WIDE, WIDER = 200, 2  # features, and their number over that of rows, from where a basis of these pays
DEPENDENT = 1e-6  # reciprocal condition of rows that are nearly dependent
STRAIGHT = 0.06  # curvature of parabolas above a loss relative to its own: less, at most rows, is about none
STRAIGHT_ROUNDS = 30  # of steps and of putting rows back, where their loss is straight
DONE = 1e-3  # of the gap that is enough: what a step may gain that is not taken
LAST = 64 * np.finfo(float).eps  # of targets: rounding of slopes
FREE = 1e-6  # of what it is the sum of: a larger gradient along a free direction is no rounding


class RowsTerm(Intercepts, DataTerm):
    """Data term on rows (any pointwise loss). An image is the predictor without intercept, sample side.

    `hessian` stands for the weighted second derivatives at a predictor, here an array on the sample side.
    """

    edge = 1e-15  # of slopes: by so little rounding takes them out of their domain
    rounds = 5  # Newton steps in the free directions to make a dual point feasible
    pointwise = True  # second derivatives are weights of the rows
    row_by_row = True  # and those of a row have to do with its predictors alone
    straight = False  # whether it is about straight along its residuals, whatever they are
    joint = True  # whether those in all coefficients of a task may be one matrix

    def __init__(self, data, loss, fit_intercept=True, intercept_alpha=0.0, x_common=None):
        super().__init__(fit_intercept, intercept_alpha)
        data = data.without_offset(loss.translates)
        self.y_size = float(np.abs(data.y).max())
        if self.free_intercepts:
            self.x_offset, data = data.near_zero()
        elif self.tied_intercepts:
            center, data = data.near_zero(common=True)
            both = [offset for offset in (center, x_common) if offset is not None]
            self.x_common = sum(both) if both else None
        self.y_offset = self._taken_over(data, loss)
        if self.y_offset.any():
            data = data.shifted(self.y_offset)
        self.data, self.loss = data, loss
        self.n_tasks, self.n_features = data.n_tasks, data.n_features
        self.tasks, self.y, self.totals, self.weight = data.tasks, data.y, data.totals, data.weight
        self.scale, self.n_designs, self.rows_per_task = data.scale, data.n_designs, data.task_rows
        self.task_sums, self.spread, self.designs = data.task_sums, data.spread, data.designs
        self.predictor = data.predictor  # x_i . w_t + b_t from an image and b, and the offset
        self.shared = data.n_designs == 1 and data.y.ndim == 2  # one complete design

    def _taken_over(self, data, loss):
        """What the intercepts take over from y before the fit: large targets lose no digits (n_tasks,).

        The mean of every task, or one for all where the intercepts have a penalty, if only y - eta matters.
        """
        moves = np.broadcast_to(loss.translates, (data.n_tasks,))
        if not (self.fit_intercept and (moves.all() if self.intercept_alpha else moves.any())):
            return np.zeros(data.n_tasks)
        sums = data.task_sums(data.weight * data.y)
        if self.intercept_alpha:
            return np.full(data.n_tasks, sums.sum() / data.totals.sum())
        return np.where(moves, sums / data.totals, 0.0)

    @cached_property
    def unit(self):
        """A change of the intercepts that matters, of their shape: targets may have any size."""
        moves = np.broadcast_to(self.loss.translates, (self.n_tasks,))
        size = np.sqrt(self.task_sums(self.data.weight * self.y**2) / self.totals)
        if self.intercept_alpha:  # those that are tied move together
            size = np.where(moves.all(), size.max(), 1.0)
        own = np.where(moves & (size > 0), size, 1.0)
        shape = self.no_intercepts().shape
        return np.broadcast_to(own.reshape(-1, *[1] * (len(shape) - 1)), shape)

    kernels = property(lambda self: self.data.kernels)  # products of the rows of every task, see `TaskData`
    n_numbers = property(lambda self: self.data.X.size)  # in X, those stored

    def image(self, W):
        """x_i . w_t."""
        if not W.any():  # where all solvers start: no need to read the rows
            return np.zeros(self.y.shape)
        image = self.data.forward(W)
        return image if self.x_common is None else image + self.spread(self.common_image(W))

    def back(self, R):
        """The transpose of `image`: sample side to (n_tasks, n_features)."""
        G = self.data.adjoint(R)
        return G if self.x_common is None else G + self.common_back(self.task_sums(R))

    def x_size(self):
        """Sum of squares of all features under the weights of the rows of all tasks."""
        return self.n_outputs * float(self.squares.sum())

    def curvatures(self):
        """Sum of the curvatures of all tasks along each feature of X, those of a squared loss."""
        if loop_pays(self.n_tasks, self.data.n_features):  # no slower, and wanted again
            return np.maximum(self._summed[0].diagonal(), 0.0)
        left, weight = self.totals - self.kept, np.broadcast_to(self.weight, self.y.shape)
        mean = self.data.adjoint(weight) / self.totals[:, None]
        return np.maximum((self.squares - left[:, None] * mean**2).sum(axis=0), 0.0)

    def _turned(self, unit):
        x_common = None if self.x_common is None else times(unit, self.x_common)
        options = self.fit_intercept, self.intercept_alpha, x_common
        return type(self)(self.data.turned(unit), self.loss, *options)

    @cached_property
    def in_row_space(self):
        """The term on coordinates in a basis (n_features, m) of far fewer rows than features, and the basis.

        None where it does not pay, or rows are nearly dependent, so that some coordinates would be rounding.
        """
        rows = [self.data.X] if self.x_common is None else [self.data.X, self.x_common[None]]
        if sparse.issparse(self.data.X) or self.n_features < max(WIDE, WIDER * sum(map(len, rows))):
            return None
        basis, R = linalg.qr(np.concatenate(rows).T, mode="economic", check_finite=False)
        return (self.in_units(basis), basis) if lapack.dtrcon(R)[0] > DEPENDENT else None

    # --- the squared loss on few columns, for coordinate descent ---

    pool = cached_property(lambda self: make_pool(self.data, self.fit_intercept))  # the columns used so far

    def gram(self, chosen):
        """Second moments (n_designs, m, m) of some columns, about the mean with intercepts."""
        pool = self.pool
        return fresh_gram(self.data, chosen, self.fit_intercept) if pool is None else pool.gram(chosen)

    def state(self, W):
        return self.pool.state(W) if isinstance(self.pool, DesignPool) else super().state(W)

    @cached_property
    def rotated(self):
        """On one complete design: the term of the targets in the n directions of the tasks that they span.

        Also these directions (n_tasks, n) and the means of the targets (n_tasks,), which are left out.
        """
        data, n = self.data, len(self.y)
        share = data.row_weight[:, 0] / data.row_weight.sum()
        y_mean = share @ data.y if self.fit_intercept else np.zeros(data.n_tasks)
        basis, Y = np.linalg.qr((data.y - y_mean).T)
        targets = np.ascontiguousarray(Y.T)
        rotated = SharedData(data.X, targets, data.row_weight, data.scale[:n], data.tasks[:n])
        return RowsTerm(rotated, self.loss, self.fit_intercept), basis, y_mean

    # --- the loss, weighted ---

    def weight_of(self, values):
        """The weights, broadcast against values of rows or of their predictors."""
        return self.weight if values.ndim == self.weight.ndim else self.weight[..., None]

    def _times_weight(self, values, weight):
        """Where exp may overflow, a missing label still counts for nothing."""
        if self.loss.curvature < np.inf or self.every_label:
            return weight * values
        return weight * np.where(weight > 0, values, 0.0)

    every_label = cached_property(lambda self: bool((self.weight > 0).all()))

    def _weighted(self, function, eta, in_parts=by_rows):
        """weight * function(y, eta)."""
        if not self.one_loss:
            values = function(self.y, eta)
            return self._times_weight(values, self.weight_of(values))

        def weighted(eta, y, weight):
            return self._times_weight(function(y, eta), weight)

        return in_parts(weighted, eta, self.y, self.weight)

    @cached_property
    def one_loss(self):
        """Whether every row has one predictor, a weight, and the loss of all others."""
        return (
            self.n_outputs == 1 and self.y.shape == self.weight.shape and np.ndim(self.loss.translates) == 0
        )

    def _loss(self, eta):
        return float(np.sum(self._weighted(self.loss.value, eta, _total)))

    def loss_gradient(self, eta):
        return self._weighted(self.loss.gradient, eta)

    def loss_hessian(self, eta):
        return self._weighted(self.loss.hessian, eta)

    def loss_derivatives(self, eta):
        """Both, for what they have in common is computed once."""
        if not (self.one_loss and self.row_by_row):
            return self.loss_gradient(eta), self.loss_hessian(eta)

        def weighted(eta, y, weight):
            return [self._times_weight(values, weight) for values in self.loss.derivatives(y, eta)]

        parts = of_rows(weighted, eta, self.y, self.weight)
        return parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]

    @cached_property
    def outlying(self):
        """Whether the loss is about straight along most residuals that there are without features."""
        if self.n_outputs > 1 or self.loss.quadratic or not np.all(self.loss.translates):
            return False
        zero = np.zeros(self.y.shape)
        eta = self.predictor(zero, self.intercept(np.zeros(self.shape), zero, None))
        above = self.loss.majorant(self.y, eta)[self.weight > 0]  # intercepts fit some rows exactly
        return float(np.median(above)) < STRAIGHT * self.loss.curvature

    def _majorant(self, eta):
        """Weighted curvature of parabolas above the loss that touch it at eta."""
        return self.weight * self.loss.majorant(self.y, eta)

    def dual_hessian(self, eta, ahead=False):
        """Second derivatives that lead slopes to a dual point: of the loss, or of what led a step `ahead`."""
        return self._majorant(eta) if ahead and self.outlying else self.loss_hessian(eta)

    def hessian_times(self, hessian, change):
        """Second derivatives times a change of the predictor."""
        return by_rows(np.multiply, hessian, change)

    def _settle(self, hessian, g):
        """Newton step of the intercepts that answers the gradient g, of the shape of b."""
        if not self.fit_intercept:
            return np.zeros_like(g)
        return self.pooled(self.task_sums(hessian), -g)

    # --- evaluation ---

    def value(self, W, image, b):
        """Data term, intercept penalty included."""
        return self._loss(self.predictor(image, b)) + self.spread_of_intercepts(b)

    def gradient(self, W, image, b):
        """Gradient in W at optimal b, shape (n_tasks, n_features)."""
        return self.back(self.loss_gradient(self.predictor(image, b)))

    def _followed(self, hessian, image):
        """A change of the predictors with the intercepts that follow it, and these."""
        b = self._settle(hessian, self.task_sums(self.hessian_times(hessian, image)))
        return self.data.raised(image, b), b

    def _followed_each(self, hessian, directions):
        """Changes along several directions, second derivatives times these, and intercepts, as arrays."""
        found = [self._followed(hessian, self.image(V)) for V in directions]
        changes, b = map(np.array, zip(*found, strict=True))
        return changes, np.array([self.hessian_times(hessian, change) for change in changes]), b

    def curved(self):
        """Whether the loss is flat for no predictor."""
        far = np.full(self.y.shape, 20.0)
        return all((self.loss.hessian(self.y, eta) > 0).all() for eta in (-far, far))

    def _squared(self, hessian, change):
        """<change, H change>."""
        return float(np.vdot(change, self.hessian_times(hessian, change)))

    def second_order(self, V, image, eta=None):
        """<V, H V> from V and its image, H the second derivative at eta with b optimised out."""
        hessian = self.loss_hessian(self.y if eta is None else eta)
        change, b = self._followed(hessian, image)
        return self._squared(hessian, change) + 2 * self.spread_of_intercepts(b)

    def curvature_at(self, eta=None):
        """H V as a function of V, at eta where the loss is not quadratic."""
        return partial(self._curvature, self.loss_hessian(self.y if eta is None else eta))

    def _curvature(self, hessian, V):
        return self.back(self.hessian_times(hessian, self._followed(hessian, self.image(V))[0]))

    def quadratic_model(self, eta):
        """Rows whose squared loss has about the curvature of this term at eta, for preconditioning."""
        return self.data.reweighted(self.y, self.loss_hessian(eta))

    def majorant_model(self, eta):
        """The same with the curvature of a parabola above the loss."""
        above = self.loss.majorant(self.y, eta) if self.n_outputs == 1 else self.loss.curvature
        return self.data.reweighted(self.y, self.weight * above)

    def least_squares(self, image, b, floor, W, above=False):
        """Data term of least squares with the slopes and about the curvature of the loss at (image, b)."""
        weights = self.model_weights(image, b, floor, above)[0]
        slopes = self.loss_gradient(self.predictor(image, b))
        targets = image + self.spread(b) - slopes / np.where(weights > 0, weights, 1.0)
        rows = self.data.reweighted(targets, np.ascontiguousarray(weights))
        stats = TaskStatistics.from_data(rows)
        options = self.fit_intercept, self.intercept_alpha, None, self.x_common
        return MomentsTerm(stats, rows.scale, *options)

    def restricted(self, columns):
        """The same term on some of the columns of X."""
        return type(self)(self.data.select(columns), self.loss, self.fit_intercept, self.intercept_alpha)

    def model_weights(self, image, b, floor, above=False):
        """Weights of the rows in a quadratic model of every predictor at (image, b), a list of sample sides.

        At least the curvature of the loss and `floor` times the largest of it; where it is flat everywhere
        that which it may have. Or those of parabolas `above` the loss.
        """
        if above:
            return [self._majorant(self.predictor(image, b))]
        found = self._model_weights(self.predictor(image, b))
        most = [h.max() or self.loss.curvature / max(floor, TINY) for h in found]
        return [np.maximum(h, floor * top * (self.weight > 0)) for h, top in zip(found, most, strict=True)]

    def model_grams(self, weights):
        """Second moments (n_tasks n_outputs, m, m) under the weights, about the mean with intercepts."""
        models = [self.data.reweighted(self.y, np.ascontiguousarray(h)) for h in weights]
        grams = [fresh_gram(model, None, self.fit_intercept) for model in models]
        return grams[0] if len(grams) == 1 else np.concatenate(np.stack(grams, axis=1))

    def model_value(self, image, b, weights):
        """1/2 sum g^2 / h with g the slopes: the value of the least-squares problem that a model is."""
        g = self.loss_gradient(self.predictor(image, b))
        h = weights[0] if len(weights) == 1 else np.stack(weights, axis=-1)
        return 0.5 * float((g**2 / np.where(h > 0, h, 1.0)).sum())

    def _model_weights(self, eta):
        """Weights of the rows in a quadratic model of each predictor."""
        return [np.broadcast_to(self.loss_hessian(eta), self.y.shape)]

    # --- the certificate ---

    def dual_point(self, W, image, b, free, pull, ahead=None):
        """Dual point from the slopes of the loss, moved by one Newton step in the free variables.

        Before it by that of a step `ahead` (n_tasks, n_features) from the point of the image.

        The gradient along the intercepts and along the columns of `free` must vanish exactly for
        the dual objective to be finite; the linearised slopes achieve that to rounding where they
        stay in the domain of the conjugate; those that leave it are put back, and the intercepts
        settle again.
        """
        eta = self.predictor(image, b)
        slopes, hessian = self.loss_gradient(eta), self.dual_hessian(eta, ahead is not None)
        if ahead is not None:
            slopes = slopes + self.hessian_times(hessian, self.image(ahead))
            slopes, b = self._settled(slopes, hessian, b)
        # where the loss of some row is, Newton steps may end no gradient
        straight = free is not None and self.pointwise and self.loss.curvature < np.inf
        straight = straight and bool(np.any((hessian == 0) & (self.weight > 0)))
        found = self._feasible(slopes, hessian, b, W, free, pull, self.rounds, straight)
        if found is None and straight:  # nothing moves the slopes of such rows but a parabola above the loss
            found = self._feasible(slopes, self._majorant(eta), b, W, free, pull, STRAIGHT_ROUNDS, straight)
        if found is None:  # only the trivial point is known to be feasible
            found = np.zeros_like(slopes), np.zeros(self.shape), np.zeros(self.shape), 0.0
        u, shift, gradient, left = found
        point = self._dual_point(u, shift, gradient)
        point.left = left
        return point

    def _feasible(self, u, hessian, b, W, free, pull, n_rounds, straight):
        """Slopes, the shift of W they belong to, their gradient, what is left to gain; None: none found."""
        shift, left, moved = np.zeros(self.shape), nothing, W
        for _ in range(n_rounds if np.isfinite(u).all() else 0):
            if free is not None:
                gradient = self.back(u)
                total = pull.plus(gradient, moved)
                step, left = self._step_at(hessian, free, pull)(total)
                if self.loss.quadratic and left is not nothing:
                    in_b = self.unanswered(self.task_sums(u))
                    gain = left(total, in_b)
                    if gain + slack(total, moved, free) + np.abs(in_b * b).sum() <= DONE * self.enough:
                        return u, shift, gradient, gain
                shift = by_rows(np.add, shift, step, out=shift)
                change = self.hessian_times(hessian, self.image(step))
                moved, u = by_rows(np.add, W, shift), by_rows(np.add, u, change)
            u, hessian, b, rounds = self._balanced(u, hessian, b)
            if rounds == 1 or (free is None and rounds > 0):
                gradient = self.back(u)
                after = None if free is None else pull.plus(gradient, moved)
                if straight and not self._vanishes(after, gradient, u, free):
                    return None
                return u, shift, gradient, left(after, self.unanswered(self.task_sums(u)))
        return None

    def _step_at(self, hessian, free, pull):
        """`free_step` at some second derivatives; of a quadratic loss these stay."""

        def make():
            shared = self.row_by_row and partial(self._shared_at, hessian)
            return self.free_step(free, pull, partial(self._curvature, hessian), self._along(hessian), shared)

        return self.kept_step(self.n_numbers, free, pull, make) if self.loss.quadratic else make()

    def _vanishes(self, total, gradient, u, free):
        """Whether total gradients along free directions, with that of the data in them, are rounding.

        Without intercepts features may be far from zero: those of features less an offset have to be, too.
        """
        size = FREE * np.sqrt(self.task_sums(self._unweighted(u) * u))
        # of tasks that are fitted exactly slopes are it, too
        size += LAST * self.y_size * np.sqrt(self.totals)

        def rounding(G, squares):
            most = np.abs(free).T @ (np.sqrt(squares) * size[:, None])
            return bool((np.abs(free.T @ G) <= most + TINY).all())

        if not rounding(total, self.squares):
            return False
        near = None if self.fit_intercept else self._near
        return near is None or rounding(
            total - gradient + near.adjoint(u), self.scale[:, None] * near.squares
        )

    @cached_property
    def _near(self):
        """Rows whose features are less an offset that they are far from zero by, None if they are not."""
        offset, near = self.data.near_zero()
        return None if offset is None else near

    # weighted sums of squares of the features in every task, (n_tasks, n_features of X)
    squares = cached_property(lambda self: self.scale[:, None] * self.data.squares)

    def _dual_point(self, u, shift, gradient):
        gb = self.task_sums(u)
        tied = self.tied_intercepts
        own = float(np.vdot(gb, gb)) / (2 * self.intercept_alpha) if tied else 0.0
        # once more: a weight times a slope, over the weight, may be beyond the edge by rounding
        slope = self.loss.project(self.y, self._unweighted(u))

        def negative_conjugate(theta):
            return -self._conjugate(theta, u, slope) - theta**2 * own

        return DualPoint(gradient, gb, shift, negative_conjugate)

    def _unweighted(self, u):
        """u over the weights; a missing label is no constraint."""

        def divided(u, weight):
            return np.where(weight > 0, u / np.where(weight > 0, weight, 1.0), 0.0)

        return by_rows(divided, u, self.weight_of(u))

    def _settled(self, u, hessian, b):
        """Slopes whose sums over tasks vanish, or that the penalty of intercepts answers, and the latter."""
        if not self.fit_intercept:
            return u, b
        step = self._settle(hessian, self.task_sums(u) + self.pull_of_intercepts(b))
        change = self.hessian_times(hessian, np.broadcast_to(self.spread(step), u.shape))
        return by_rows(np.add, u, change), b + step

    def _balanced(self, u, hessian, b):
        """Weighted slopes in the domain with vanishing sums over tasks (pooled intercepts: in total).

        Also the second derivatives without rows at the edge of the domain, the intercepts, and the number of
        rounds until no row had to be put back; 0 if that did not happen.
        """
        for n_round in range(1, 21):
            u, b = self._settled(u, hessian, b)
            slope = self._unweighted(u)
            inside, weight = self._inside(slope), self.weight_of(u)
            u = by_rows(np.multiply, inside, weight)
            moved = max(of_rows(lambda w, a, b: (w * np.abs(a - b)).max(initial=0.0), weight, inside, slope))
            if moved <= self.edge * max(of_rows(lambda u: np.abs(u).max(initial=TINY), u)):
                return u, hessian, b, n_round
            hessian = self._put_back(hessian, slope, inside)
        return u, hessian, b, 0

    def _inside(self, slope):
        """Slopes in the domain of the conjugate, none of rows without a weight."""

        def put_in(slope, y, weight):
            return np.where(weight > 0, self.loss.project(y, slope), 0.0)

        if self.one_loss:
            return by_rows(put_in, slope, self.y, self.weight)
        return put_in(slope, self.y, self.weight_of(slope))

    def _put_back(self, hessian, slope, inside):
        """Second derivatives where slopes that left the domain are put back inside."""
        return np.where(inside == slope, hessian, 0.0)

    def _conjugate(self, theta, u, slope):
        """F* of theta times the weighted slopes."""

        def conjugates(slope, y, weight):
            return weight * self.loss.conjugate(y, theta * slope)

        known = slope, self.y, self.weight
        found = float(_total(conjugates, *known) if self.one_loss else conjugates(*known).sum())
        return found if self.data.offset is None else found - theta * float(np.vdot(u, self.data.offset))

    def _along(self, hessian):
        """Curvature (k, k) between k directions and their intercepts (k, n), as a function of them.

        By squares where a Hessian holds its rounding only; zero where predictors, or the products of second
        derivatives with them, hold it as well.
        """

        def along(directions):
            changes, weighted, b = self._followed_each(hessian, directions)
            size = np.tile(np.sqrt(self.squares), self.n_outputs)
            most = several(lambda V: (np.abs(V) * size).sum(axis=-1).max(axis=-1), directions, self.batch)
            any_way = np.random.default_rng(0).choice([-1.0, 1.0], size=changes[0].shape)
            level = self._squared(hessian, any_way) / np.vdot(any_way, self.weight_of(any_way) * any_way)
            lost = level * (self.weight_of(any_way) * changes**2).reshape(len(changes), -1).sum(axis=1)
            apart = b - b.mean(axis=1, keepdims=True)
            changes, weighted, apart = (M.reshape(len(M), -1) for M in (changes, weighted, apart))
            C = changes @ weighted.T + self.intercept_alpha * (apart @ apart.T)
            rounding = max(level, 1.0) * (PREDICTOR_ROUNDING * most) ** 2
            rounding = np.maximum(rounding, PREDICTOR_ROUNDING * lost)
            seen = np.diag(C) > rounding
            return C * (seen & seen[:, None]), b.reshape(len(b), -1)

        return along

    # of the squared loss, as `_summed_under` has it
    _summed = cached_property(lambda self: self._summed_under(self.weight))
    shared_curvature = cached_property(lambda self: without_center(*self._summed))

    def _shared_at(self, hessian):
        """Curvature along a vector shared by all tasks, where second derivatives are weights of rows."""
        return self.shared_curvature if self.loss.quadratic else self.shared_curvature_under(hessian)

    def shared_curvature_under(self, weight):
        """Curvature (n_features, n_features) along a vector that tasks share, under weights of the rows."""
        return without_center(*self._summed_under(weight))

    def _summed_under(self, weight):
        """Sum of the curvatures of all tasks, the mean of intercepts held, and its kappa and x_mean."""
        weight = np.broadcast_to(weight, self.y.shape)
        gram = weighted_gram(self.data.X, weight if weight.ndim == 1 else weight.sum(axis=1))
        if not self.fit_intercept:
            return gram, np.zeros(1), None
        totals = self.task_sums(weight)
        kappa, x_mean = self.kept_of(totals), self.data.adjoint(weight)
        x_mean /= np.maximum(totals, TINY)[:, None]
        return gram - weighted_gram(x_mean, totals - kappa), kappa, x_mean


def _total(work, *arrays):
    """Sum of all numbers of work(*arrays)."""
    return sum_by_rows(lambda *rows: work(*rows).sum(), *arrays)
