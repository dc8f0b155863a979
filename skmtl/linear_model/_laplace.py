"""Marginal likelihood of tasks that vary around a common model under other losses, by Laplace's method.

The loss of a row is minus a log-likelihood. At the mode of the coefficients given the variances, second
derivatives of the loss are weights of the rows and its slopes make working targets: there the model is one of
second moments, as that of the squared loss with a noise variance of one. What varies between tasks is
integrated out. Common coefficients, and free intercepts, are at the mode: an integral over these as well, as
in restricted maximum likelihood, has no bound where the classes of every task are separable, for then it
grows with any variance.
"""

from copy import copy
from dataclasses import fields
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse

from ..objective import make_term
from ..statistics import TINY, TaskStatistics, loop_pays, read_only
from ._sampled import beyond
from ._task_inverses import chunks, times
from ._variance_components import Moments, NoModeError, Posterior, back, matrix

MOST_STEPS = 60  # of Newton's method to a mode
SETTLED = 1e-10  # change of the predictors that ends it: what is left is about its square
ABOUT = 1e-3  # the same where a start is looked for
UNSETTLED = 1e-3  # change that does not come from rounding
ROUNDING = 1e-13  # of sums over rows
FLAT = 1e-12  # of the greatest second derivative: least weight of a row
SHORTEST_STEP = 1e-6
PERFECT = 1e-9  # of the loss without slopes: what is left where nothing is to be told of variances
# greatest standard deviations between tasks, of what a feature adds to predictors and of the intercepts:
# where tasks are separable, the approximation takes any larger ones as well
MOST_DEVIATION, MOST_LEVEL = 3.0, 10.0
LOST = (
    "X has features far from zero next to their spread, or in units that are far apart: no mode of the "
    "coefficients is found to the last digits. Centre them, and scale them."
)
POOLED = 1.0  # strength of the intercepts at the start, in rows
COPIES = 4  # of the numbers of some tasks at a time


class Point(NamedTuple):
    """Coefficients (n_tasks, n_features), intercepts (n_tasks,) and predictors on the sample side."""

    coef: np.ndarray
    intercept: np.ndarray
    eta: np.ndarray


class Likelihood:
    """Weighted losses of rows, for which `Moments` stand about a predictor.

    Parameters
    ----------
    data : TaskData
        With the weights that rows have.
    loss : Loss
    precision : ndarray of shape (n_tasks,)
        What they hold of that.
    fit_intercept, free : bool
        Whether tasks have intercepts, and whether these are fixed effects. Tasks whose free intercepts are at
        infinity say nothing of the rest.
    """

    unit = 1.0  # variance of a difference of two predictors over that of a coefficient's part in it

    def __init__(self, data, loss, precision, fit_intercept, free):
        self.loss, self.precision, self.fit_intercept, self.free = loss, precision, fit_intercept, free
        self.given = data
        self.data, self.basis = self._read(), None

    def _read(self):
        """The rows as they are used; sets their offset, and which tasks say nothing (n_tasks,)."""
        self.offset, data = self.given.near_zero() if self.free else (None, self.given)
        falls, used = self.loss.falls(data.y), np.broadcast_to(data.row_weight > 0, data.y.shape)
        endless = [data.task_sums(used & (falls != sign)) == 0 for sign in (-1.0, 1.0)]
        every, some = (endless[0].all() or endless[1].all()), endless[0] | endless[1]
        self._refuse(some.all() if self.free else every and self.fit_intercept)
        self.silent = some & self.free
        return data

    def _refuse(self, endless):
        """ValueError where nothing bounds the intercepts."""
        if endless:
            raise ValueError(
                f"strengths cannot be estimated: {'in every task ' if self.free else ''}all targets are of "
                "one class (or counts of zero), so that nothing bounds the intercepts."
            )

    # of the rows; none where a task says nothing
    weight = cached_property(lambda self: self.data.row_weight * self.data.spread(1.0 - self.silent))

    def some(self, tasks):
        """That of some tasks, a slice or a mask."""
        data, options = self.given.of_tasks(tasks), (self.fit_intercept, self.free)
        return type(self)(data, self.loss, self.precision[tasks], *options)

    def value(self, eta):
        """Sum of the losses."""
        with np.errstate(over="ignore", invalid="ignore"):
            each = self.weight * self.loss.value(self.data.y, eta)
            return float(np.where(self.weight > 0, each, 0.0).sum())

    # what they lack of minus the log-likelihood
    constant = cached_property(lambda self: float((self.weight * self.loss.normalizer(self.data.y)).sum()))

    @cached_property
    def start(self):
        """Point without slopes, with intercepts that are somewhat pooled."""
        data, W = self.data, np.zeros((self.data.n_tasks, self.data.n_features))
        term = make_term(data, self.loss, self.fit_intercept, POOLED)
        image = term.image(W)
        b = term.intercept(W, image, None)
        return Point(W, b, data.predictor(image, b))

    def working(self, eta):
        """Second derivatives at eta as weights of the rows, and targets whose squared loss has the slopes.

        Less the offset.
        """
        y, weight = self.data.y, self.weight
        with np.errstate(over="ignore"):
            hessian = self.loss.hessian(y, eta)
        hessian = np.maximum(hessian, FLAT * hessian.max(where=weight > 0, initial=0.0))
        linear = eta if self.data.offset is None else eta - self.data.offset
        return weight * hessian, np.where(weight > 0, linear - self.loss.gradient(y, eta) / hessian, 0.0)

    def curvature(self, eta):
        """Second derivatives at eta as weights of the rows."""
        return self.working(eta)[0]

    def told_of(self, eta, change):
        """How far predictors of rows move, as far as their second derivatives at eta tell of it."""
        curvature = self.curvature(eta)
        return np.sqrt((curvature * change**2).max() / curvature.max())

    def moments(self, eta):
        """`Moments` of these, and what was taken off their targets."""
        weight, target = self.working(eta)
        stats = self._statistics(weight, target)
        found = WorkingMoments.of(stats, np.ones(stats.n_tasks), self.fit_intercept, self.free)
        found.precision = self.precision
        found.weight = np.where(self.silent, 1.0, found.weight)  # in the place of zero, to add nothing
        if self.basis is None:
            self.basis = found.basis
        found.basis = self.basis  # the same under any weights
        return found, stats.weight @ stats.y_mean / stats.weight.sum() if self.fit_intercept else 0.0

    def _statistics(self, weight, target):
        """`TaskStatistics` of the rows with weights and targets."""
        data = self.data.reweighted(target, weight)
        if sparse.issparse(data.X) or self.looped:
            return TaskStatistics.from_data(data)
        center, about = self.about
        n = data.task_sums(weight)
        total = np.maximum(n, TINY)[:, None]
        x_mean, y_mean = about.adjoint(weight) / total, data.task_sums(weight * target) / total[:, 0]
        xx = np.stack([(X * own[:, None]).T @ X for X, own, *_ in about.reweighted(target, weight).designs()])
        size = np.einsum("tjj->tj", xx).copy()
        xx -= (n[:, None] * x_mean)[:, :, None] * x_mean[:, None, :]
        left = weight * (target - data.spread(y_mean))
        xy, yy = about.adjoint(left), data.task_sums(left * target)
        flat = np.einsum("tjj->tj", xx) <= ROUNDING * size  # constant in a task
        xx[flat], xx.swapaxes(1, 2)[flat], xy[flat] = 0.0, 0.0, 0.0
        return TaskStatistics(self.data.tasks, self.count, n, x_mean + center, y_mean, xx, xy, yy)

    @property
    def looped(self):
        """Whether compiled loops serve the tasks."""
        data = self.data
        stacked = data.indptr is not None and not sparse.issparse(data.X)
        return stacked and loop_pays(data.n_tasks, data.n_features)

    @cached_property
    def count(self):
        """Rows of each task."""
        return self.data.task_sums(np.broadcast_to(self.weight > 0, self.data.y.shape))

    @cached_property
    def about(self):
        """Means of the features, whatever the weights, and the rows less these."""
        data = self.data.dense() if sparse.issparse(self.data.X) else self.data
        if data.y.ndim == 2:
            center = data.X[:1] + (data.X - data.X[:1]).mean(axis=0)
        else:  # exact where a column is constant
            first = data.X[data.indptr[:-1]]
            sums = np.add.reduceat(data.X - data.spread(first), data.indptr[:-1])
            center = first + sums / data.task_rows[:, None]
        return center, data._with(X=data.X - data.spread_rows(center))

    def mode(self, root, strength, point, settled=SETTLED):
        """`Mode` at R and a strength of the intercepts, searched from a point by Newton's method.

        Up to this change of the predictors.
        """
        value, last = self.objective(point, root, strength), np.inf
        for _ in range(MOST_STEPS):
            found = self.model(point.eta, root, strength)
            new, size = found.point, 1.0
            moved = np.abs(new.eta - point.eta)[self.weight > 0]
            change, at = moved.max(initial=0.0), self.objective(new, root, strength)
            while not at <= value + ROUNDING * (abs(value) + self.scale) and size > SHORTEST_STEP:
                size, new = size / 2, _between(point, new)
                at = self.objective(new, root, strength)
            if change <= settled or (change > 0.5 * last and not at < value):  # no digits are left
                break
            value, point, last = at, new, change
            if at <= PERFECT * self.scale:
                raise NoModeError(found.reached(new, at))
        else:
            raise NoModeError(found.reached(new, at))
        if change > UNSETTLED and self.told_of(point.eta, new.eta - point.eta) > UNSETTLED:
            raise ValueError(LOST)  # else a rare feature separates some rows, which have no more to tell
        found.settled = True
        return found.reached(new, at)

    def objective(self, point, root, strength):
        """Loss and penalties at a point."""
        V = (point.coef - point.coef.mean(axis=0)).T
        V = V / root[:, None] if root.ndim == 1 else linalg.solve_triangular(root, V, lower=True)
        value = self.value(point.eta) + 0.5 * np.vdot(V, V)
        if strength and self.fit_intercept and not self.free:
            value += 0.5 * strength * ((point.intercept - point.intercept.mean()) ** 2).sum()
        return float(value)

    def model(self, eta, root, strength):
        """`Mode` about a predictor."""
        return Mode(self, eta, root, strength)

    def at(self, W, b):
        """Predictors of coefficients (n_tasks, n_features) and intercepts."""
        return self.given.predictor(self.given.forward(W), b)

    def outline(self, eta):
        """`Moments` that tell of scales: those of the features."""
        return self.moments(eta)[0]

    # coefficients of a task that vary, of one contrast
    n_own = property(lambda self: self.given.n_features + (self.fit_intercept and not self.free))

    @cached_property
    def center(self):
        """Where the levels of tasks are whose intercepts vary (n_features,)."""
        return self.about[0].mean(axis=0) if self.fit_intercept else np.zeros(self.given.n_features)

    def design(self, X):
        """X about its center, with a column of ones where intercepts vary."""
        return np.column_stack([X - self.center, np.ones((len(X), self.n_own - X.shape[1]))])

    n_blocks = property(lambda self: max(self.loss.n_outputs - 1, 1) * self.n_own)  # of all contrasts

    def blocks(self, W, b):
        """Coefficients that vary, with levels at the center of the features (n_tasks, n_blocks)."""
        return np.column_stack([W, b + W @ self.center]) if self.n_own > W.shape[1] else W

    def batches(self, width):
        """Positions (m,) of some tasks with as many rows, of these on the flat sample side (m, n_rows).

        As many tasks as so many numbers for each row stay in the cache.
        """
        data, sizes = self.data, self.data.task_rows
        for size in np.unique(sizes):
            tasks, place = np.flatnonzero(sizes == size), np.arange(size)
            for own in (tasks[at] for at in chunks(len(tasks), COPIES * width * max(size, self.n_own))):
                shared = data.indptr is None
                yield own, place * len(sizes) + own[:, None] if shared else data.indptr[own, None] + place

    def _of_rows(self, A, rows):
        """What A (n_rows, ...) says of the rows of tasks, or (1, ...) of all where these share X."""
        return A[rows[:1] // self.data.n_tasks] if self.data.indptr is None else A[rows]

    def losses(self, rows, coef):
        """Sums over the rows of tasks under each of some coefficients that vary (n_tasks, n, n_blocks)."""
        width = COPIES * coef[:, :, 0].size * self.loss.n_outputs
        return sum(self._losses(rows[:, at], coef) for at in chunks(rows.shape[1], width))

    def _losses(self, rows, coef):
        data, (m, n, _) = self.data, coef.shape
        D = self._of_rows(data.X, rows)
        D = self.design(D.reshape(-1, D.shape[2])).reshape(*D.shape[:2], -1)
        coef = coef.reshape(m, n, -1, self.n_own).transpose(2, 0, 1, 3)
        eta = self._own_predictor(coef @ D.swapaxes(1, 2))
        if data.offset is not None:
            eta = eta + data.offset.reshape(-1, *eta.shape[3:])[rows][:, None]
        y = np.broadcast_to(data.y.ravel()[rows][:, None], eta.shape[:3])
        loss = self.loss.value(y.ravel(), eta.reshape(-1, *eta.shape[3:])).reshape(y.shape)
        return (loss @ self.weight.ravel()[rows][:, :, None])[:, :, 0]

    def _own_predictor(self, contrasts):
        """Predictors of rows, from their contrasts (n_contrasts, ...)."""
        return contrasts[0]

    scale = cached_property(lambda self: abs(self.value(self.start.eta)))  # size of the loss


def _between(one, other):
    """Half the way."""
    return Point(*(0.5 * (a + b) for a, b in zip(one, other, strict=True)))


class KnownNoise(Posterior):
    """The model where the noise variance is one."""

    def _weigh(self):
        self.noise, self.df, self.exhausted = 1.0, np.inf, False


class WorkingMoments(Moments):
    """`Moments` of working targets, whose noise variance is one."""

    def posterior(self, root, strength):
        return KnownNoise(self, root, strength)


class Mode(KnownNoise):
    """The model about a predictor, which is that of its mode; the criterion with its derivatives there."""

    settled = False  # whether it is

    def __init__(self, rows, eta, root, strength):
        self.rows, self.eta = rows, eta
        moments, self.shift = rows.moments(eta)
        self.x_mean = moments.x_mean  # less the offset that the likelihood takes off
        if rows.offset is not None:
            moments.x_mean = moments.x_mean + rows.offset
        super().__init__(moments, root, strength)

    @property
    def point(self):
        """The solution of the working model."""
        moments, rows = self.moments, self.rows
        W = self.coef
        if moments.pooled:
            b = self.shift + self.level - self.center @ self.mean + self.rho / self.strength * self.residual
        elif rows.free:
            b = self.shift + moments.y_mean - (self.x_mean * W).sum(axis=1)
        else:
            b = np.zeros(len(W))
        return Point(W, b, rows.data.predictor(rows.data.forward(W), b))

    def reached(self, point, value):
        """Itself, with the criterion, from the least objective."""
        self.found, self.value, self.criterion = point, value, 2 * value + self.own_determinant
        return self

    slopes = property(lambda self: self.found.coef)  # of the tasks

    def under(self, root, strength):
        """The same predictors under other variances."""
        return self.rows.model(self.eta, root, strength).reached(self.found, self.value)

    # Laplace approximation of the marginal log-likelihood at the common coefficients of the mode
    log_likelihood = property(lambda self: -0.5 * self.criterion - self.rows.constant)

    @property
    def excess(self):
        """Variance of working targets over that which the model takes.

        An intercept of each task leaves the variance of classes at the fit smaller than it is, by its
        variance, as in a sum of squares about a mean that is fitted; that of counts is their mean itself.
        """
        rows = self.rows
        if not rows.free or rows.loss.log_link:
            return 1.0
        weight = rows.curvature(self.eta)
        own = rows.data.task_sums(weight)
        held = rows.data.task_sums(weight**2 / np.where(rows.weight > 0, rows.weight, 1.0))
        return float(own.sum() / (own - held / np.maximum(own, TINY)).sum())

    def _forms(self):
        """(e, f, Q) of every task: given what is common, predictors vary by e + 2 f.x + x'Qx.

        x is about its mean; free intercepts are those at the mean, which slopes leave alone.
        """
        moments, inverse = self.moments, self.inverses.of(slice(None))
        if not moments.pooled:
            return np.zeros(len(inverse)), np.zeros(inverse.shape[:2]), self._unrooted(inverse)
        rho, reach, kept = self.rho, self.reach, self.strength / (moments.weight + self.strength)
        v = kept[:, None] * times(self.root, moments.x_mean)
        along, over = self.inverses.times(v), rho * (v * reach).sum(axis=1)
        Q = inverse - (rho[:, None] * reach)[:, :, None] * reach[:, None, :]
        e = kept / self.strength + (v * along).sum(axis=1) - over**2 / rho
        return e, back(self.root, (along - over[:, None] * reach).T).T, self._unrooted(Q)

    # --- beyond Laplace's method, of coefficients that vary, (n_tasks, n) or (n_tasks, n, n) ---

    beyond = None  # mean squares about those of the fit beyond their covariances

    blocks = cached_property(lambda self: self._blocks_of(self.found))

    middle = cached_property(lambda self: self._blocks_of(self.point))  # those of the working model

    heart = cached_property(lambda self: self.middle.mean(axis=0))  # what they have in common

    def _blocks_of(self, point):
        return self.rows.blocks(point.coef, point.intercept)

    def refine(self, move):
        """Set `beyond`, where common coefficients are so far from those of the fit."""
        self.common = self.blocks.mean(axis=0) + move
        found = beyond(self, self.common)
        self.beyond = found if np.isfinite(found).all() else None  # X so far from zero that points are lost

    def of(self, moments):
        if self.beyond is None:
            return super().of(moments)
        other, (rows, W, b) = super().of(moments), moments.seen
        vars(other).pop("covariances", None)
        rows.center, other.rows, other.heart = self.rows.center, rows, self.heart
        other.blocks = other.middle = other.rows.blocks(W, b)
        other.beyond = beyond(other, self.common)
        return other

    @property
    def root_of_blocks(self):
        """R of these (n, n)."""
        R = matrix(self.root)
        if not self.moments.pooled:
            return R
        return np.block([[R, np.zeros((len(R), 1))], [self.rows.center @ R, self.strength**-0.5]])

    @cached_property
    def covariances(self):
        """Those of the working model, common coefficients given."""
        e, f, Q = self._forms()
        if not self.moments.pooled:
            return Q
        x_mean = self.moments.x_mean - self.rows.center
        out = np.empty((len(Q), *np.add(Q.shape[1:], 1)))
        across = f - (Q @ x_mean[:, :, None])[:, :, 0]
        out[:, :-1, :-1], out[:, -1, :-1], out[:, :-1, -1] = Q, across, across
        out[:, -1, -1] = e - ((f + across) * x_mean).sum(axis=1)
        return out

    def slope_variances(self):
        out = super().slope_variances()
        if self.beyond is not None:
            out += np.einsum("tjj->tj", self.beyond)[:, : out.shape[1]]
        return out

    def predictor_variances(self, X, codes):
        out = super().predictor_variances(X, codes)
        if self.beyond is not None:
            F = X if X.shape[1] == self.beyond.shape[1] else self.rows.design(X)
            out += ((F[:, None] @ self.beyond[codes])[:, 0] * F).sum(axis=1)
        return np.maximum(out, 0.0)

    def _unrooted(self, Q):
        R = self.root
        return Q * np.outer(R, R) if R.ndim == 1 else R @ Q @ R.T

    @cached_property
    def pull(self):
        """The model with what a change of the mode adds to the log-determinant as targets."""
        data, moments, (e, f, Q) = self.rows.data, self.moments, self._forms()
        third = self.rows.weight * self.rows.loss.third_derivative(data.y, self.eta)
        x_mean = np.zeros(f.shape) if self.x_mean is None else self.x_mean
        xy, sums = np.zeros(f.shape), np.zeros(len(f))
        if self.rows.looped:
            from .._kernels import pulls_of_variances

            known = map(read_only, (data.X, data.indptr, x_mean, e, f, Q, third))
            pulls_of_variances(*known, xy, sums)
            return self.answering(xy, sums / moments.weight)
        for t, (X, third_of_rows, *_) in enumerate(data.reweighted(data.y, third).designs()):
            X = (X.toarray() if sparse.issparse(X) else X) - x_mean[t]
            own = third_of_rows * (e[t] + 2 * X @ f[t] + ((X @ Q[t]) * X).sum(axis=1))
            xy[t], sums[t] = own @ X, own.sum()
        return self.answering(xy, sums / moments.weight)

    def slope_gradient(self):
        u = self.deviations()
        cross = self.pull.deviations().T @ u
        found = u.T @ u - self.used - 0.5 * (cross + cross.T)
        if self.moments.pooled:
            found -= (self.rho[:, None] * self.reach).T @ self.reach
        return found.diagonal() if self.root.ndim == 1 else found

    def intercept_gradient(self):
        moved = self.residual * (self.residual - self.pull.residual)
        return float(self.rho / self.strength @ (self.rho * moved - 1))


class ModeMoments(Moments):
    """`Moments` at a start, whose model at any variances is that about its mode."""

    rounding = 1e-9
    has_mode = False  # not known
    settled = SETTLED

    def about(self):
        found = copy(self)
        found.settled = ABOUT
        return found

    def least_strengths(self, root):
        """Those of the greatest deviations that a feature may make of the predictors of a task."""
        spread, unit = self._own_information(root) * (self.n_tasks / self.weight.sum()), self.rows.unit
        return unit * spread / MOST_DEVIATION**2, unit * MOST_LEVEL**-2

    @classmethod
    def on(cls, rows):
        """From a `Likelihood`."""
        start = rows.outline(rows.start.eta)
        found = cls(*(getattr(start, one.name) for one in fields(Moments)))
        if rows.offset is not None:
            found.x_mean = found.x_mean + rows.offset
        found.rows, rows.last = rows, rows.start
        return found

    def posterior(self, root, strength):
        """The model about the mode at one set of variances, searched from the last one."""
        try:
            found = self.rows.mode(root, strength, self.rows.last, self.settled)
        except np.linalg.LinAlgError as error:
            raise ValueError(LOST) from error
        self.rows.last = found.found
        return found

    def centered(self):
        """Themselves: rows have their features as they are."""
        return self

    def some(self, tasks):
        return ModeMoments.on(self.rows.some(tasks))
