"""The objective: data term + penalty, with its gradient and its certificate.

The data term comes in two forms with the same methods: `RowsTerm` works on rows with any loss,
`MomentsTerm` on per-task second moments with the squared loss. Both hold the intercepts, which are
always optimised out: the problem is one in W alone.

`image(W)` is the linear part of an evaluation (all passes over the data are in it and in
`gradient`), so that a solver may combine images instead of computing new ones.
"""

import numpy as np
from scipy import linalg
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, cg

from .losses import SquaredError
from .penalties._coupling import Shared, TaskQuadratic
from .statistics import TaskStatistics

DENSE_FEATURES = 500  # up to here a (n_features, n_features) system is solved by factorisation


def pooled_intercepts(h, ha, strength):
    """argmin_b sum_t h_t/2 (b_t - a_t)^2 + strength/2 sum_t (b_t - mean b)^2, given h and h * a."""
    if strength == 0:
        return ha / np.maximum(h, np.finfo(float).tiny)
    center = (ha / (h + strength)).sum() / max((h / (h + strength)).sum(), np.finfo(float).tiny)
    return (ha + strength * center) / (h + strength)


def mean_coupling(h, strength):
    """kappa: at optimal b the intercepts cost 1/2 sum kappa_t (a_t - (kappa-weighted mean of a))^2."""
    return np.zeros_like(h) if strength == 0 else h * strength / (h + strength)


class DataTerm:
    """sum_t c_t sum_i s_i loss(y_i, x_i.w_t + b_t) + intercept_alpha/2 sum_t (b_t - mean b)^2."""

    def __init__(self, fit_intercept, intercept_alpha):
        self.fit_intercept, self.intercept_alpha = fit_intercept, float(intercept_alpha)

    @property
    def shape(self):
        """Shape of W, (n_tasks, n_features)."""
        return self.n_tasks, self.n_features

    def spread_of_intercepts(self, b):
        """The intercepts' own penalty."""
        return 0.5 * self.intercept_alpha * float(((b - b.mean()) ** 2).sum())

    def pooled_curvature(self, h, x_mean, gram):
        """Curvature (n_features, n_features) along a vector shared by all tasks, b optimised out.

        `gram` is the uncentred weighted second moment of all rows, h (n_tasks,) the weights and
        x_mean (n_tasks, n_features) the means of the tasks.
        """
        if not self.fit_intercept:
            return gram
        kappa = mean_coupling(h, self.intercept_alpha)
        H = gram - (x_mean * (h - kappa)[:, None]).T @ x_mean
        if kappa.any():
            center = kappa @ x_mean
            H -= np.outer(center, center) / kappa.sum()
        return H


class DualPoint:
    """A dual point: gradients (in W, b) that a feasible sample-side vector u gives, and -F*(theta u)."""

    def __init__(self, gradient, intercept_gradient, shift, negative_conjugate):
        self.gradient, self.intercept_gradient = gradient, intercept_gradient
        self.shift, self.negative_conjugate = shift, negative_conjugate


class RowsTerm(DataTerm):
    """Data term on rows (any loss). An image is the predictor without intercept, sample side."""

    def __init__(self, data, loss, fit_intercept=True, intercept_alpha=0.0):
        super().__init__(fit_intercept, intercept_alpha)
        self.offset = 0.0
        if loss.quadratic and fit_intercept:  # a common shift of y is one of b: large targets lose no digits
            self.offset = float((data.weight * data.y).sum() / data.totals.sum())
            data = data.shifted(self.offset)
        self.data, self.loss = data, loss
        self.n_tasks, self.n_features = data.n_tasks, data.n_features
        self.tasks, self.totals = data.tasks, data.totals

    def image(self, W):
        """x_i . w_t."""
        return self.data.forward(W)

    def predictor(self, image, b):
        """x_i . w_t + b_t."""
        return image + self.data.spread(b)

    def intercept(self, W, image, start):
        """Optimal intercepts by Newton steps from `start`, shape (n_tasks,)."""
        b = np.zeros(self.n_tasks) if start is None else start
        if not self.fit_intercept:
            return np.zeros(self.n_tasks)
        for _ in range(100):
            g, h = self._intercept_derivatives(self.predictor(image, b))
            pull = self.intercept_alpha * (b - b.mean())
            if not self.loss.quadratic and (np.abs(g + pull) <= 4e-16 * self.totals).all():
                break  # a task with one class has its intercept at infinity: far enough
            step = pooled_intercepts(h, h * b - g, self.intercept_alpha) - b
            # far out the curvature vanishes and a full step would overshoot
            step = step if self.loss.quadratic else np.clip(step, -2.0, 2.0)
            b = b + step
            if self.loss.quadratic or np.abs(step).max() <= 1e-12 * (1.0 + np.abs(b).max()):
                break
        return b

    def _intercept_derivatives(self, eta):
        y, weight, sums = self.data.y, self.data.weight, self.data.task_sums
        return sums(weight * self.loss.gradient(y, eta)), sums(weight * self.loss.hessian(y, eta))

    def value(self, W, image, b):
        """Data term, intercept penalty included."""
        losses = self.data.weight * self.loss.value(self.data.y, self.predictor(image, b))
        return float(losses.sum()) + self.spread_of_intercepts(b)

    def gradient(self, W, image, b):
        """Gradient in W at optimal b, shape (n_tasks, n_features)."""
        return self.data.adjoint(self.data.weight * self.loss.gradient(self.data.y, self.predictor(image, b)))

    def second_order(self, V, image, eta=None):
        """<V, H V> from V and its image, H the second derivative at eta with b optimised out."""
        model = self.data
        if not self.loss.quadratic:
            model = model.reweighted(model.y, model.weight * self.loss.hessian(model.y, eta))
        b = self._followed(model, image)
        change = image - model.spread(b)
        return float((model.weight * change**2).sum()) + 2 * self.spread_of_intercepts(b)

    def curvature(self, V):
        """H V for a quadratic loss."""
        return self._curvature(self.data, V)

    def _followed(self, model, change):
        """What the intercepts take over of a change of the predictor, shape (n_tasks,)."""
        if not self.fit_intercept:
            return np.zeros(self.n_tasks)
        return pooled_intercepts(model.totals, model.task_sums(model.weight * change), self.intercept_alpha)

    def dual_point(self, W, image, b, free, ridge):
        """Dual point from the slopes of the loss, moved by one Newton step in the free variables.

        The gradient along the intercepts and along the columns of `free` must vanish exactly for
        the dual objective to be finite; the linearised slopes achieve that to rounding, and stay
        in the domain of the conjugate while the step is short.
        """
        data, y, weight = self.data, self.data.y, self.data.weight
        eta = self.predictor(image, b)
        slope, bend = self.loss.gradient(y, eta), self.loss.hessian(y, eta)
        model = data.reweighted(y, weight * bend)
        shift = np.zeros(self.shape) if free is None else self._free_step(model, slope, W, free, ridge)
        moved = data.forward(shift) if free is not None else np.zeros_like(eta)
        if self.fit_intercept:
            h, g = model.totals, data.task_sums(weight * (slope + bend * moved))
            moved = moved + data.spread(pooled_intercepts(h, h * b - g, self.intercept_alpha) - b)
        slope = slope + bend * moved
        inside = np.clip(slope, *self.loss.domain(y))
        slope = np.where(np.abs(inside - slope) < 1e-12, inside, slope)  # rounding must not leave the domain
        u = weight * slope
        gb = data.task_sums(u)
        own = (
            float(gb @ gb) / (2 * self.intercept_alpha)
            if self.fit_intercept and self.intercept_alpha
            else 0.0
        )

        slope = np.where(weight > 0, slope, 0.0)  # a missing label is no constraint

        def negative_conjugate(theta):
            return -float((weight * self.loss.conjugate(y, theta * slope)).sum()) - theta**2 * own

        return DualPoint(data.adjoint(u), gb, shift, negative_conjugate)

    def _free_step(self, model, slope, W, free, ridge):
        """Newton step (n_tasks, n_features) along the free directions, b optimised out."""
        gradient = self.data.adjoint(self.data.weight * slope) + ridge * W
        if free.shape[1] == 1 and self.n_features <= DENSE_FEATURES:
            X, w = model.pooled_design()
            gram = (X.T @ X.multiply(w[:, None])).toarray() if issparse(X) else (X * w[:, None]).T @ X
            H = self.pooled_curvature(model.totals, self._means(model), gram)
            return _shared_step(H, gradient, ridge)
        return _iterated_step(lambda V: self._curvature(model, V) + ridge * V, gradient, free)

    def _means(self, model):
        h = np.maximum(model.totals, np.finfo(float).tiny)
        return model.adjoint(np.broadcast_to(model.weight, model.y.shape)) / h[:, None]

    def _curvature(self, model, V):
        """Second derivative of the data term along V, b optimised out."""
        change = model.forward(V)
        return model.adjoint(model.weight * (change - model.spread(self._followed(model, change))))


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

    def second_order(self, V, image):
        """<V, H V> with H the second derivative (b optimised out), from V and its image."""
        return float(np.vdot(V, self._curvature(image)))

    def curvature(self, V):
        """H V."""
        return self._curvature(self.image(V))

    def _curvature(self, image):
        b = np.zeros(self.n_tasks)
        if self.fit_intercept:
            b = pooled_intercepts(self.totals, -self.totals * image[:, -1], self.intercept_alpha)
        return image[:, :-1] + (self.totals * (image[:, -1] + b))[:, None] * self.stats.x_mean

    def dual_point(self, W, image, b, free, ridge):
        """The slopes at the optimum over the free variables: for a quadratic, one Newton step."""
        shift = np.zeros(self.shape)
        if free is not None:
            gradient = self.gradient(W, image, b) + ridge * W
            shift = self._free_step(gradient, free, ridge)
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

    def _free_step(self, gradient, free, ridge):
        if free.shape[1] == 1 and self.n_features <= DENSE_FEATURES:
            scale = self.scale.sum() if len(self.stats.xx) == 1 else self.scale
            gram = scale * self.stats.xx[0] if np.ndim(scale) == 0 else np.tensordot(scale, self.stats.xx, 1)
            gram = gram + (self.x_mean * self.totals[:, None]).T @ self.x_mean
            return _shared_step(self.pooled_curvature(self.totals, self.x_mean, gram), gradient, ridge)
        return _iterated_step(lambda V: self.curvature(V) + ridge * V, gradient, free)


def _shared_step(H, gradient, ridge):
    """-H^-1 gradient for a direction that is the same for all tasks."""
    n_tasks = len(gradient)
    H = H + ridge * n_tasks * np.eye(len(H))
    rhs = -gradient.sum(axis=0)
    values, vectors = linalg.eigh(H)
    # a pooled design without full rank: the gradient has no component there but rounding
    inverse = np.where(values > 1e-14 * values[-1], 1.0 / np.where(values > 0, values, 1.0), 0.0)
    step = vectors @ (inverse * (vectors.T @ rhs))
    step += vectors @ (inverse * (vectors.T @ (rhs - H @ step)))
    return np.tile(step, (n_tasks, 1))


def _iterated_step(curvature, gradient, free):
    """The same by conjugate gradients for many directions or many features.

    A few iterations: near a solution there is little to correct, and what is left of the gradient is
    charged to the gap.
    """
    k, p = free.shape[1], gradient.shape[1]
    operator = LinearOperator(
        (k * p, k * p), matvec=lambda d: (free.T @ curvature(free @ d.reshape(k, p))).ravel()
    )
    step, _ = cg(operator, -(free.T @ gradient).ravel(), rtol=1e-14, atol=0.0, maxiter=100)
    return free @ step.reshape(k, p)


class Part:
    """One summand of W: its non-smooth penalty (or None) and its quadratic one."""

    def __init__(self, penalty, n_tasks):
        self.rough, smooth = penalty.split()
        for term in [*smooth, *([] if self.rough is None else [self.rough])]:
            if not getattr(term, "alpha", 0.0) >= 0:
                raise ValueError(f"alpha of a penalty must be >= 0; got {term!r}.")
        if getattr(self.rough, "alpha", None) == 0 and not isinstance(self.rough, Shared):
            self.rough = None  # strength zero: unpenalised, not a norm with an infinite dual
        self.quadratic = TaskQuadratic.of(smooth, n_tasks)

    def value(self, V):
        """Penalty of the part."""
        return (0.0 if self.rough is None else self.rough.value(V)) + self.quadratic.value(V)

    def free_directions(self, n_tasks):
        """Directions that cost nothing, or None."""
        if self.rough is None:
            return self.quadratic.null_space()
        return self.rough.free_directions(n_tasks)


class Problem:
    """Objective over the parts of W: data term(sum of parts) + penalty of each part + ridge.

    Parameters
    ----------
    term : DataTerm
    penalty : Penalty
    ridge : float
        ridge/2 ||W||_F^2 on the sum of the parts.
    mean_alpha : float or None
        Adds a part that is one vector for all tasks, W = 1 m' + V, at mean_alpha T/2 ||m||^2.
    """

    def __init__(self, term, penalty, ridge=0.0, mean_alpha=None):
        self.term, self.shape = term, term.shape
        penalties = penalty.parts() + ([] if mean_alpha is None else [Shared(float(mean_alpha))])
        self.parts = [Part(part, term.n_tasks) for part in penalties]
        self.ridge = float(ridge)
        if len(self.parts) == 1:  # one part is W itself
            self.parts[0].quadratic += TaskQuadratic(term.n_tasks, deviations=self.ridge, mean=self.ridge)
            self.ridge = 0.0
        self.free = self._free_directions()
        self.certified = all(self._has_certificate(part) for part in self.parts)

    def with_term(self, term):
        """The same penalty on another data term over the same tasks."""
        other = object.__new__(Problem)
        other.__dict__.update(self.__dict__, term=term, shape=term.shape)
        return other

    @property
    def smooth(self):
        """Whether the whole objective is smooth and W has one part."""
        return len(self.parts) == 1 and self.parts[0].rough is None

    def _free_directions(self):
        found = [N for part in self.parts if (N := part.free_directions(self.term.n_tasks)) is not None]
        if len(found) <= 1:
            return found[0] if found else None
        return linalg.orth(np.hstack(found))

    def _has_certificate(self, part):
        if part.rough is None or isinstance(part.rough, Shared):
            return True
        return part.rough.is_norm(self.shape) or part.rough.conjugate(np.zeros(self.shape)) is not None

    def zeros(self):
        """All parts zero."""
        return [np.zeros(self.shape) for _ in self.parts]

    def penalty_value(self, parts):
        """Omega of the parts, ridge included."""
        value = sum(part.value(V) for part, V in zip(self.parts, parts, strict=True))
        return value + (0.5 * self.ridge * float((sum(parts) ** 2).sum()) if self.ridge else 0.0)

    def smooth_penalty_value(self, parts, total):
        """The quadratic terms alone."""
        value = sum(part.quadratic.value(V) for part, V in zip(self.parts, parts, strict=True))
        return value + 0.5 * self.ridge * float(np.vdot(total, total)) if self.ridge else value

    def smooth_gradients(self, parts, total, G):
        """Gradient of the smooth part of the objective in every part, from the data term's G."""
        G = G + self.ridge * total if self.ridge else G
        return [
            G + part.quadratic.apply(V) if part.quadratic else G
            for part, V in zip(self.parts, parts, strict=True)
        ]

    def evaluate(self, parts, start=None):
        """W, its image, optimal intercepts and objective."""
        W = sum(parts[1:], start=parts[0])
        image = self.term.image(W)
        b = self.term.intercept(W, image, start)
        return W, image, b, self.term.value(W, image, b) + self.penalty_value(parts)

    def null_objective(self):
        """Objective at W = 0 with the best intercepts: the scale of the stopping rule."""
        return self.evaluate(self.zeros())[3]

    def gap(self, parts, start=None):
        """Objective, intercepts and duality gap at `parts`; NaN where there is no certificate.

        Quadratic terms next to a non-smooth one count as data with their own dual variable, so that
        one scaling theta makes (u, Q V) feasible for the dual norm:
        D(theta) = -F*(theta u) - theta^2 (q(V) + conjugates).
        """
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # such bounds are infinite
            return self._gap(parts, start)

    def _gap(self, parts, start):
        """The same."""
        W, image, b, primal = self.evaluate(parts, start)
        if not self.certified:
            return primal, b, np.nan
        dual = self.term.dual_point(W, image, b, self.free, self.ridge)
        G = dual.gradient
        cost = 0.0
        if self.ridge:
            moved = W + dual.shift
            G, cost = G + self.ridge * moved, 0.5 * self.ridge * float(np.vdot(moved, moved))
        size = 0.0
        for part, V in zip(self.parts, parts, strict=True):
            part_size, part_cost = _dual_cost(part, V, G)
            size, cost = max(size, part_size), cost + part_cost

        def bound(theta):
            return dual.negative_conjugate(theta) - theta**2 * cost

        best = bound(_best_scale(bound, size, self.term.loss.quadratic))
        gap = primal - best + self._infeasibility(W + dual.shift, b, G, dual.intercept_gradient)
        gap = min(gap, primal - bound(0.0)) if gap == gap else np.inf  # u = 0 is always feasible
        return primal, b, max(gap, 0.0)

    def _infeasibility(self, W, b, G, gb):
        """What rounding leaves of gradients that must vanish, times the variables they belong to."""
        slack = 0.0
        if self.term.fit_intercept:
            slack = abs(float(gb.sum()) * float(b.mean()))
            if not self.term.intercept_alpha:
                slack = float(np.abs(gb) @ np.abs(b))
        if self.free is not None:
            left, free = self.free.T @ G, self.free.T @ W
            slack += float((np.linalg.norm(left, axis=1) * np.linalg.norm(free, axis=1)).sum())
        return slack

    def stationarity(self, parts, start=None):
        """Norm of the prox-gradient step, relative to 1 + ||W||: the measure without a certificate."""
        W, image, b, _ = self.evaluate(parts, start)
        gradients = self.smooth_gradients(parts, W, self.term.gradient(W, image, b))
        moves = [
            V - (V - g if part.rough is None else part.rough.prox(V - g, 1.0))
            for part, V, g in zip(self.parts, parts, gradients, strict=True)
        ]
        return float(np.sqrt(sum((m**2).sum() for m in moves)) / (1.0 + np.linalg.norm(W)))


def _dual_cost(part, V, G):
    """Dual norm of the part at G (0 if unconstrained) and its cost in the dual objective at theta = 1."""
    if part.rough is None:
        return 0.0, part.quadratic.conjugate(G)
    cost = part.quadratic.value(V)
    G = G + part.quadratic.apply(V) if part.quadratic else G
    conjugate = part.rough.conjugate(G)
    if conjugate is not None:
        return 0.0, cost + conjugate
    return part.rough.dual_norm(G), cost


def _best_scale(dual, size, quadratic):
    """theta in [0, 1 / size] with a good dual objective; zero is always feasible."""
    limit = np.inf if size == 0 else 1.0 / size
    if quadratic:  # a parabola in theta, known from two of its values
        up, down = dual(1.0), dual(-1.0)
        bend, slope = -(up + down) / 2, (up - down) / 2
        if bend > 0:
            return float(np.clip(slope / (2 * bend), 0.0, limit))
    theta = min(1.0, limit)
    return theta if dual(theta) >= dual(0.0) else 0.0


def make_term(data, loss, fit_intercept=True, intercept_alpha=0.0):
    """The data term in its cheaper form."""
    if loss.quadratic and _moments_pay(data):
        return MomentsTerm(TaskStatistics.from_data(data), data.scale, fit_intercept, intercept_alpha)
    return RowsTerm(data, loss, fit_intercept, intercept_alpha)


def _moments_pay(data):
    """Whether an iteration on moments is cheaper than one on rows, and they fit in memory (1 GB)."""
    p = data.n_features
    return p <= max(2 * data.y.size / data.n_tasks, 300) and data.n_designs * p * p <= 1.25e8
