"""The intercepts that are best for given predictors, by searches that hold far out too."""

from copy import copy
from functools import cached_property

import numpy as np
from scipy.sparse import issparse

from .._data import StackedData
from .._threads import blocks_of, in_blocks, read_only
from ._base import TINY

ROUNDING = 4e-16  # of a sum
BLOCK_ROWS = 2**15  # of tasks whose intercepts are found together
ASTRAY = 1e30  # times the targets: predictors of a step that went wrong
UNTOLD = 1e13  # predictors of classes whose digits say nothing of intercepts
LOST = 16 * np.finfo(float).eps  # of the predictors: what a loss loses in rounding
EXPECTED = 0.4  # of slope times step, which a full Newton step takes off the loss: half of a parabola
LEAST_FACTOR = 1e-15  # of a sum of exponentials in one step
LONG = 60  # Newton steps after which intercepts of classes come from predictors that are made smaller
COOLING, WARM = 4.0, 10.0  # what these are divided by less and less; their size where that begins


class Intercepts:
    """What a data term on rows knows of its intercepts: see `RowsTerm`."""

    def no_intercepts(self):
        """b = 0."""
        return np.zeros(self.n_tasks)

    def intercept(self, W, image, start):
        """Optimal intercepts, found from `start`, shape (n_tasks,)."""
        b = self.no_intercepts() if start is None else start
        if not self.fit_intercept:
            return self.no_intercepts()
        if self._astray(image):
            return b
        if self._clipped is not None:
            return self._by_kernel(image, b)
        if self.loss.quadratic:
            eta = self.predictor(image, b)
            g = self.task_sums(self.loss_gradient(eta)) + self.pull_of_intercepts(b)
            return b + self._settle(self.loss_hessian(eta), g)
        return self._descended(image, b) if self.intercept_alpha else self._by_blocks(image, b)

    def _task_by_task(self, values):
        """Values of the sample side, sorted by task."""
        return read_only(np.broadcast_to(values, self.y.shape).T.ravel())

    @cached_property
    def _clipped(self):
        """Where the loss has slopes clip(eta - at, low, high): `at`, and what the compiled search takes."""
        single = self.n_outputs == 1 and self.y.shape == self.weight.shape
        if not single or (found := self.loss.clipped(self.y)) is None:
            return None
        at, *bounds = found
        ends = read_only(np.concatenate([[0], np.cumsum(self.rows_per_task)]))
        return at, self._task_by_task(self.weight), *map(self._task_by_task, bounds), ends

    def _by_kernel(self, image, b):
        """Optimal intercepts, tied or not, of such a loss."""
        from .._kernels import clipped_intercepts  # Numba is imported by the first fit that needs it

        at, *rest = self._clipped
        left, b = self._task_by_task(at - self.predictor(image, self.no_intercepts())), b.copy()
        clipped_intercepts(left, *rest, float(self.intercept_alpha), b)
        return b

    def _astray(self, image):
        """Whether predictors, which may overflow, are too large for their intercepts to be worth a search."""
        most = np.inf if self.loss.quadratic else ASTRAY * max(1.0, self.unit.max())
        most = UNTOLD if self.loss.per_class else most
        return not (-most < image.min() and image.max() < most)  # nor if one is NaN

    @cached_property
    def endless(self):
        """Sign of the intercepts at infinity, as no row of the task holds them, of the shape of b; else 0.

        With a penalty of their own all of them are tied.
        """
        b, falls = self.no_intercepts(), self.loss.falls(self.y)
        if not (self.fit_intercept and falls.any()):
            return b
        used = self.weight_of(falls) > 0
        for sign in (-1.0, 1.0):
            b[self.task_sums(used * (falls != sign)) == 0] = sign
        return np.where((b == b[:1]).all(axis=0), b, 0.0) if self.intercept_alpha else b

    # of slopes: counts may be small
    _slope_unit = cached_property(lambda self: min(1.0, float(np.abs(self.y).max())) or 1.0)

    def _floor(self, g):
        """What rounding leaves of the gradient g in the intercepts."""
        return ROUNDING * self._slope_unit * self.totals.reshape(-1, *[1] * (g.ndim - 1))

    def _toward_infinity(self, g, eta):
        """Step of the endless intercepts to where their gradient g is but rounding; 0 for the others.

        Out there the gradient is an exponential of the intercept; where that is nothing they stay. Before
        that the last row has to come to the right side of 0.
        """
        floor = self._floor(g)
        size = np.where(np.abs(g) > TINY, np.minimum(np.abs(g), 1 / TINY), floor)
        step = self.endless * (np.log(size) - np.log(floor) + self._behind(eta))
        return np.where(self.endless != 0, step.mean(axis=0), 0.0) if self.intercept_alpha else step

    def _behind(self, eta):
        """How far the last row is on the wrong side of 0, or of the other classes, of the shape of b."""
        if self.loss.per_class:
            others = [np.delete(eta, k, axis=-1).max(axis=-1) for k in range(self.n_outputs)]
            eta = eta - np.stack(others, axis=-1)
        wrong = np.where(self.weight_of(eta) > 0, -eta, 0.0) * self.spread(self.endless)
        rows, found = self.rows_per_task, np.zeros(self.endless.shape)
        seen, begin = rows > 0, np.cumsum(rows) - rows
        wrong = np.moveaxis(wrong, 1, 0) if self.y.ndim == 2 else wrong  # to one row of one task each
        found[seen] = np.maximum.reduceat(wrong.reshape(-1, *found.shape[1:]), begin[seen])
        return np.maximum(found, 0.0)

    def _by_blocks(self, image, b):
        """`_bracketed` for blocks of tasks, whose rows stay in the cache, on all cores."""
        data = self.data
        few = len(self.y) < 2 * BLOCK_ROWS or data.indptr is None
        if few or issparse(data.X) or not self.one_loss:
            return self._bracketed(image, b)
        out = np.empty(b.shape)

        def search(tasks):
            bounds = data.indptr[tasks.start : tasks.stop + 1]
            rows, other = slice(bounds[0], bounds[-1]), copy(self)
            known = (values[rows] for values in (data.X, data.y, data.row_weight))
            offset = None if data.offset is None else data.offset[rows]
            own = StackedData(*known, data.scale[tasks], data.tasks[tasks], bounds - bounds[0], offset)
            kept = "n_tasks", "y", "weight", "totals", "task_sums", "spread", "predictor"
            other.__dict__.update({name: getattr(own, name) for name in kept}, data=own)
            other.rows_per_task, other.unit, other.endless = (
                own.task_rows,
                self.unit[tasks],
                self.endless[tasks],
            )
            out[tasks] = other._bracketed(image[rows], b[tasks])

        in_blocks(search, blocks_of(data.indptr, BLOCK_ROWS))
        return out

    def _bracketed(self, image, b):
        """Optimal intercepts of tasks that are alone by Newton's method in a bracket.

        The curvature may vanish or explode: where a step is not well below the last one the bracket is
        halved, or the search reaches out twice as far.
        """
        low, high, unit = np.full(b.shape, -np.inf), np.full(b.shape, np.inf), self.unit
        reach, last, away = 2.0 * unit, np.full(b.shape, np.inf), self.endless != 0
        endless = away.any()
        for _ in range(200):
            eta = self.predictor(image, b)
            g, h = self._intercept_derivatives(eta)
            step = -g / np.maximum(h, TINY)
            if self.one_loss and self.loss.exponential:  # both change by a factor alone: exactly
                step = np.log1p(np.maximum(step, LEAST_FACTOR - 1.0))
            slow = ~(np.abs(step) <= np.minimum(reach, 0.5 * last))  # also where exp overflows
            if slow.any():
                slow &= ~(np.abs(step) <= 1e-9 * (unit + np.abs(b)))
                low, high = np.where(g < 0, b, low), np.where(g > 0, b, high)
                step, reach = np.where(slow, -np.sign(g) * reach, step), np.where(slow, 2 * reach, reach)
                inside = slow & np.isfinite(low) & np.isfinite(high)
                step[inside] = 0.5 * (low[inside] + high[inside]) - b[inside]
            if endless:
                step = np.where(away, self._toward_infinity(g, eta), step)
            b, last = b + step, np.abs(step)
            if (last <= 1e-12 * (unit + np.abs(b))).all():
                break
        return b

    def _descended(self, image, b, cooled=False):
        """Optimal intercepts that are tied, by Newton steps that lead downhill.

        Far out the curvature vanishes and a full step would overshoot: steps are short, and twice as long
        from one to the next while they do not become shorter by themselves; at a kink of the loss they never
        do. `cooled`: whether the start is as good as it gets.
        """
        reach, last = np.full(b.shape, 0.5), np.full(b.shape, np.inf)
        away, unit, totals = self.endless != 0, self.unit, (-1, *[1] * (b.ndim - 1))
        # probabilities of classes are quotients of exponentials, of which large predictors leave fewer digits
        floor = self._floor(b) * (max(16.0, np.abs(image).max()) if self.loss.per_class else 1.0)
        for n_steps in range(200):
            eta = self.predictor(image, b)
            slopes, hessian = self.loss_derivatives(eta)
            g = self.task_sums(slopes) + self.pull_of_intercepts(b)
            if (np.abs(g) <= floor).all():
                return b
            step = self._settle(hessian, g)
            finite = np.isfinite(g).all()
            if np.isnan(step).any() and finite:  # nothing is curved, and no step leads on
                return b if cooled else self._cooled(image, b)
            if not finite:
                # exp overflows: down with the predictors it does so for
                b = b + np.where(np.isinf(g), -np.abs(eta).max(), 0.0)
                continue
            small = np.abs(step) <= 1e-7 * (unit + np.abs(b))  # the error left is its square
            if n_steps >= LONG and self.loss.per_class and not cooled:
                return self._cooled(image, b)
            size = np.abs(step) / unit
            # down an exponential all steps are of size 1
            eased = size <= np.clip(0.5 * last, 0.5, 2.0 * reach)
            reach, last = np.where(eased, 1.0, 2.0 * reach), size
            if not (n_steps or eased.all()) and (other := self._better_start(image, b)) is not None:
                b = other
                continue
            if size.max() > 2.0 and self._led(image, b, step, g):
                b = b + step
                continue
            step = reach * np.clip(step, -2.0 * unit, 2.0 * unit)
            if away.any():
                step = np.where(away, self._toward_infinity(g, eta), step)
                small = np.where(away, np.abs(step) <= 1e-7 * (unit + np.abs(b)), small)
            if n_steps >= LONG:  # what a step takes off the loss may be lost in its rounding
                small |= np.abs(g * step) <= LOST * np.abs(eta).max() * self.totals.reshape(totals)
            b, part = self._downhill(image, b, step)
            reach = np.maximum(reach * part, 1.0)
            if small.all():
                break
        return b

    def _led(self, image, b, step, g):
        """Whether the full Newton step lowers the data term about as its slope and curvature say."""
        fall = self.value(None, image, b) - self.value(None, image, b + step)
        return fall >= EXPECTED * np.abs(g * step).sum()

    def _cooled(self, image, b):
        """`_descended` where rows are so far apart that the loss is all kinks.

        Of predictors divided by `heat` the loss is smooth; its minimum leads to that at less heat.
        """
        heat, other = COOLING ** np.ceil(np.log(np.abs(image).max() / WARM) / np.log(COOLING)), copy(self)
        while heat > 1:
            other.intercept_alpha = heat * self.intercept_alpha
            b = heat * other._descended(image / heat, b / heat, True)
            heat /= COOLING
        return self._descended(image, b, True)

    def _better_start(self, image, b):
        """Intercepts of zero or about predictors of zero, where predictors have changed a lot; else None."""
        totals, zero = self.totals.reshape(-1, *[1] * (b.ndim - 1)), self.no_intercepts()
        eta = self.predictor(image, zero)
        others = [zero, -self.task_sums(self.weight_of(eta) * eta) / totals]
        others = [other for other in others if (other != b).any()]
        best = min(others, key=lambda other: self.value(None, image, other), default=b)
        return best if self.value(None, image, best) < self.value(None, image, b) else None

    def _downhill(self, image, b, step):
        """Intercepts after the step, or the part of it that lowers the data term; and that part."""
        part, size = 1.0, (np.abs(step) / self.unit).max()
        value = self.value(None, image, b) if size > 0.1 else np.inf
        while part * size > 0.1 and not self.value(None, image, b + part * step) <= value * (1 + 1e-15):
            part /= 2
        return b + part * step, part

    def _intercept_derivatives(self, eta):
        """First and second derivative in each intercept, the first zero where a flat loss leaves rounding."""
        (slopes, hessian), sums = self.loss_derivatives(eta), self.task_sums
        g, h = sums(slopes), sums(hessian)
        if not h.all():
            g = np.where((h == 0) & (np.abs(g) <= ROUNDING * sums(np.abs(slopes))), 0.0, g)
        return g, h
