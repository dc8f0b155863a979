"""What a penalty says about one more task when everything that the fitted tasks share is held fixed.

Many penalties are the least value of a quadratic form over variables that the tasks have in common:
``||v||_2 = min_d (||v||^2 / d + d) / 2`` with one d per feature, the trace norm with one matrix in
place of d. Held at their fitted values they leave a quadratic penalty for the new task. V holds the
coefficients of the fitted tasks in what follows, w (1, n_coefficients) those of the new one.
"""

from functools import singledispatch
from itertools import product

import numpy as np

from ._base import Penalty, Sum
from ._combine import Positive
from ._coupling import Shared, SmoothPenalty
from ._learned import Clusters
from ._ordered import Fused
from ._placement import Entries, Features, Spectrum
from ._vector import L1, Box, SparseL2, SquaredL1, _over


class FrozenPenalty(Penalty):
    """A penalty of one row w that knows its conjugate, so that the duality gap follows.

    ``conjugate(G)`` is ``sup_w <-G, w> - Omega(w)``, finite where ``dual_norm(G) <= 1``.
    """

    certified = True  # the conjugate is known
    is_open = False  # w may move somewhere at no cost: the conjugate is infinite nearly everywhere

    def start(self, shape):
        """A point with a finite value."""
        return np.zeros(shape)

    def dual_norm(self, G):
        """Least c such that the conjugate is finite at G / c."""
        return 0.0

    def is_norm(self, shape):
        """Not a norm: the certificate comes from `conjugate` and `dual_norm` together."""
        return False

    def _gain(self, G, w):
        """<-G, w> - Omega(w)."""
        return -float(np.vdot(G, w)) - self.value(w)


class Metric(FrozenPenalty):
    """Quadratic form about a centre, ``1/2 sum_i h_i <a_i, w - center>^2``, fixed where h is infinite.

    The directions a_i are the entries of w, or the orthonormal rows of `basis`; then the rest of the
    space has the curvature `rest`.
    """

    def __init__(self, center, curvature, basis=None, rest=np.inf):
        self.center, self.curvature, self.basis, self.rest = center, curvature, basis, rest

    @property
    def is_open(self):
        """Whether some direction has no curvature."""
        return bool(np.any(np.equal(self.curvature, 0)) or (self.basis is not None and self.rest == 0))

    def start(self, shape):
        """The centre."""
        return np.broadcast_to(self.center, shape).copy()

    def _split(self, V):
        """Coordinates along the directions with their curvature, and the rest with its own."""
        if self.basis is None:
            yield V, np.asarray(self.curvature)
            return
        along = V @ self.basis.T
        yield along, self.curvature
        yield V - along @ self.basis, np.asarray(self.rest)

    def value(self, w):
        """The quadratic form; what rounding leaves of a fixed direction is none."""
        total = 0.0
        for x, h in self._split(w - self.center):
            fixed = np.isinf(h)
            if (np.abs(x) * fixed > 1e-9 * (1.0 + np.abs(w).max(initial=0.0))).any():
                return np.inf
            total += 0.5 * float((np.where(fixed, 0.0, h) * x**2).sum())
        return total

    def _divided(self, V, divisor):
        """The coordinates of V divided by a function of the curvature, as a row again."""
        pieces = [x / divisor(h) for x, h in self._split(V)]
        return pieces[0] if self.basis is None else pieces[0] @ self.basis + pieces[1]

    def prox(self, w, step):
        """The centre plus w - center, each coordinate divided by 1 + step h."""
        return self.center + self._divided(w - self.center, lambda h: 1.0 + step * h)

    def conjugate(self, G):
        """-<G, center> + 1/2 sum_i <a_i, G>^2 / h_i; directions without curvature are left out."""
        own = sum(0.5 * float((x**2 / np.where(h > 0, h, np.inf)).sum()) for x, h in self._split(G))
        return own - float(np.vdot(G, np.broadcast_to(self.center, G.shape)))


class Scalars(FrozenPenalty):
    """``sum_j h_j/2 w_j^2 + l1_j |w_j| + jump |w_j - last_j|``, over w >= 0 if `positive`.

    An infinite h_j leaves w_j = 0.
    """

    def __init__(self, curvature, l1=0.0, jump=0.0, last=0.0, positive=False):
        self.curvature, self.l1, self.jump, self.last = curvature, l1, jump, last
        self.positive = positive

    @property
    def is_open(self):
        """Whether some entry costs nothing."""
        return bool(np.any(np.equal(self.curvature, 0) & np.equal(self.l1 + self.jump, 0)))

    def start(self, shape):
        """The row before."""
        return np.where(np.isinf(self.curvature), 0.0, np.broadcast_to(self.last, shape))

    def value(self, w):
        """The sum, infinite where w is not allowed."""
        fixed = np.broadcast_to(np.isinf(self.curvature), w.shape)
        if w[fixed].any() or (self.positive and (w < 0).any()):
            return np.inf
        bent = 0.5 * np.where(fixed, 0.0, self.curvature) * w**2
        return float((bent + self.l1 * np.abs(w) + self.jump * np.abs(w - self.last)).sum())

    def _kinked(self, w, step):
        """The prox without the quadratic term; the objective has the slopes -steep, flat, steep."""
        low, high = np.minimum(self.last, 0.0), np.maximum(self.last, 0.0)
        steep = step * (self.l1 + self.jump)
        flat = step * np.where(np.greater(self.last, 0), self.l1 - self.jump, self.jump - self.l1)
        inner = np.maximum(low, np.minimum(w - flat, np.maximum(high, w - steep)))
        out = np.minimum(w + steep, inner)
        return np.maximum(out, 0.0) if self.positive else out  # convex in each entry: the bound is next

    def prox(self, w, step):
        """Shrinkage, then the prox of the rest."""
        shrink = 1.0 / (1.0 + step * self.curvature)
        return self._kinked(w * shrink, step * shrink)

    def dual_norm(self, G):
        """Largest gradient against the slope, among entries without curvature."""
        pull = np.maximum(-G, 0.0) if self.positive else np.abs(G)
        slope = np.broadcast_to(self.l1 + self.jump, G.shape)
        flat = np.broadcast_to(np.equal(self.curvature, 0), G.shape) & (slope > 0)
        return float((pull[flat] / slope[flat]).max(initial=0.0))

    def conjugate(self, G):
        """The gain at the best w: in closed form with curvature, else at one of the kinks."""
        h = np.broadcast_to(self.curvature, G.shape)
        bent = h > 0
        safe = np.where(bent, h, 1.0)
        best = self._kinked(-G / safe, 1.0 / safe)
        last = np.broadcast_to(self.last, G.shape)
        stays = -G * last - self.l1 * np.abs(last) > -self.jump * np.abs(last)
        return self._gain(G, np.where(bent, best, np.where(stays, last, 0.0)))


class Pulled(FrozenPenalty):
    """Any penalty of the row plus ``strength/2 ||w - anchor||^2``."""

    def __init__(self, penalty, strength=0.0, anchor=0.0):
        self.penalty, self.strength, self.anchor = penalty, strength, anchor

    @property
    def convex(self):
        """Whether the penalty is convex."""
        return self.penalty.convex

    @property
    def is_open(self):
        """Whether the penalty is, and nothing is added to it."""
        return self.strength == 0 and getattr(self.penalty, "is_open", False)

    @property
    def certified(self):
        """Whether the conjugate is known."""
        if self.strength > 0 or not self.penalty.convex:
            return self.penalty.convex
        if isinstance(self.penalty, FrozenPenalty):
            return self.penalty.certified
        one = np.zeros((1, 2))
        if getattr(getattr(self.penalty, "function", None), "free_constants", False):
            return False
        return self.penalty.conjugate(one) is not None or self.penalty.is_norm(one.shape)

    def start(self, shape):
        """The start of the penalty."""
        return self.penalty.start(shape) if isinstance(self.penalty, FrozenPenalty) else np.zeros(shape)

    def surrogate(self):
        """The same with a convex penalty, None if there is none."""
        found = self.penalty.surrogate()
        return None if found is None else Pulled(found, self.strength, self.anchor)

    def value(self, w):
        """Both terms."""
        return self.penalty.value(w) + 0.5 * self.strength * float(((w - self.anchor) ** 2).sum())

    def prox(self, w, step):
        """The prox of the penalty between w and the anchor."""
        total = 1.0 + step * self.strength
        return self.penalty.prox((w + step * self.strength * self.anchor) / total, step / total)

    def dual_norm(self, G):
        """That of the penalty, where nothing is added to it."""
        if self.strength > 0 or self.penalty.conjugate(G) is not None:
            return 0.0
        return self.penalty.dual_norm(G)

    def conjugate(self, G):
        """The gain at its maximiser, a prox of the penalty."""
        if self.strength > 0:
            w = self.penalty.prox(self.anchor - G / self.strength, 1.0 / self.strength)
            return self._gain(G, w)
        return self.penalty.conjugate(G) or 0.0


# --- from the penalty of all tasks to that of one more --------------------------------------


def frozen_parts(penalty, parts):
    """Alternative lists of penalties, one for each part of the new row, given the parts of the others."""
    return [list(found) for found in product(*map(frozen, penalty.parts(), parts))]


@singledispatch
def frozen(penalty, V):
    """Alternative penalties of one more row, usually one: here the penalty itself, nothing is shared."""
    if getattr(penalty, "alpha", None) == 0:
        return [Scalars(0.0, positive=isinstance(penalty, Positive))]
    return [Pulled(penalty)]


@frozen.register
def _(penalty: Shared, V):
    return [Metric(V[:1], np.inf)]


@frozen.register
def _(penalty: SmoothPenalty, V):
    return [Metric(anchor, strength) for strength, anchor in _pulls(penalty, V)]


@frozen.register
def _(penalty: Sum, V):
    rough, smooth = penalty.split()
    without = rough is None or getattr(rough, "alpha", None) == 0
    positive = isinstance(rough, Positive)
    first = [Scalars(0.0, positive=True) if positive else None] if without else frozen(rough, V)
    found = []
    for own, *pulls in product(first, *(_pulls(term, V) for term in smooth)):
        strength = sum(s for s, _ in pulls)
        anchor = sum(s * a for s, a in pulls) / strength if strength else V.mean(axis=0)
        inner = own.penalty if isinstance(own, Pulled) else own
        found.append(Metric(anchor, strength) if own is None else Pulled(inner, strength, anchor))
    return found


@frozen.register
def _(penalty: Positive, V):
    if isinstance(penalty.penalty, Features):
        (own,) = frozen(penalty.penalty, V)
        if isinstance(own, Scalars):
            own.positive = True
            return [own]
        return [Pulled(Positive(own.penalty))]
    return frozen.dispatch(object)(penalty, V)


def _pulls(penalty, V):
    """Alternative (strength, anchor) of strength/2 ||w - anchor||^2 that stand for a quadratic penalty.

    A task joins the others as they are joined on average: a matrix M gives trace(M) / T and, as far
    as its rows add up to zero, the mean of the tasks.
    """
    if isinstance(penalty, Clusters):
        labels = penalty.assigned(V, 0) if penalty.labels is None else np.asarray(penalty.labels)
        return [(penalty.alpha, V[labels == c].mean(axis=0)) for c in np.unique(labels)]
    quadratic, mean = penalty.quadratic(len(V)), V.mean(axis=0)
    if quadratic.matrix is None and quadratic.deviations == quadratic.mean:
        return [(quadratic.mean, np.zeros_like(mean))]
    strength = towards = quadratic.deviations
    if quadratic.matrix is not None:
        trace = quadratic.matrix.diagonal().sum()
        strength += trace / len(V)
        towards += (trace - quadratic.matrix.sum()) / len(V)
    return [(strength, mean * (towards / strength) if strength else mean)]


@frozen.register
def _(penalty: Features, V):
    function, vectors = penalty.function, penalty._vectors(V)
    if penalty.alpha == 0:
        return [Scalars(0.0)]
    if isinstance(function, L1):
        return [Pulled(Entries(function))]
    curvature, l1, jump, last = _of_feature(function, vectors)
    shape = (1, V.shape[1])  # classes in turn

    def tiled(numbers):
        return np.tile(numbers, V.shape[1] // len(vectors)).reshape(shape)

    return [Scalars(tiled(curvature), tiled(l1), jump, tiled(last))]


def _of_feature(function, vectors):
    """Curvature, L1 strength, jump strength and last value of every feature, as `Scalars` has them."""
    alpha, size = function.alpha, np.linalg.norm(vectors, axis=1)
    none = np.zeros(len(vectors))
    used = size > 0
    per_size = np.where(used, 1.0 / np.where(used, size, 1.0), np.inf)
    if isinstance(function, Fused):
        variation, rho, group = function._ratios()
        last = vectors[:, function._positions(vectors.shape[1])][:, -1]
        return (alpha * group * per_size if group else none), none + alpha * rho, alpha * variation, last
    if isinstance(function, SparseL2):
        rho = function._ratio()
        return (alpha * (1 - rho) * per_size if rho < 1 else none), none + alpha * rho, 0.0, none
    if isinstance(function, SquaredL1):  # its increase, exactly: features that others use cost more
        return none + alpha, alpha * np.abs(vectors).sum(axis=1), 0.0, none
    if isinstance(function, Box):
        shares, unused = 2 * function.value(vectors), float(_over(np.array(alpha), function.low))
    else:
        shares, unused = function.value(vectors), np.inf
    # the h for which h/2 ||v||^2 is half of a norm, all of a square: alpha / ||v||_2 for the L2 norm
    return np.where(used, shares * np.where(used, per_size, 0.0) ** 2, unused), none, 0.0, none


@frozen.register
def _(penalty: Spectrum, V):
    function, mean = penalty.function, V.mean(axis=0) if penalty.centered else np.zeros(V.shape[1])
    if penalty.alpha == 0:
        return [Scalars(0.0)]
    _, s, Vt = np.linalg.svd(V - mean, full_matrices=False)
    used = np.flatnonzero(s > max(V.shape) * np.finfo(float).eps * s.max(initial=0.0))
    values = penalty._padded(s, len(V))
    used = used[used < values.shape[1]]
    unused = _over(np.array(penalty.alpha), function.low) if isinstance(function, Box) else np.inf
    curvature = _slopes(function, values)[used] / s[used]
    return [Metric(mean, curvature, Vt[used], float(unused))]


def _slopes(function, values):
    """Derivatives of a symmetric function at the singular values (1, n), shape (n,)."""
    s = values[0]
    if isinstance(function, L1):
        return np.full(len(s), function.alpha)
    if isinstance(function, SquaredL1):
        return np.full(len(s), function.alpha * s.sum())
    if isinstance(function, Box):
        theta = function.theta(values)[0]
        return function.alpha * s / np.where(theta > 0, theta, 1.0)
    step = 1e-6 * s.max(initial=0.0) * np.eye(len(s))
    change = function.value(s + step) - function.value(np.abs(s - step))
    return np.maximum(change / (2 * step.max(initial=1e-300)), 0.0)
