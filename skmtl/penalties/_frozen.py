"""Penalties of the row w (1, n_coefficients) of one more task, with what the others share held fixed.

Many penalties are the least value of a quadratic form over variables that the tasks have in common:
``||v||_2 = min_d (||v||^2 / d + d) / 2`` with one d per feature, the trace norm with one matrix in
place of d. Held at their fitted values they leave a quadratic penalty for the new task.
"""

import numpy as np


class RowPenalty:
    """A penalty of one row that knows its conjugate, so that the duality gap follows.

    ``conjugate(G)`` is ``sup_w <-G, w> - Omega(w)``, finite where ``dual_norm(G) <= 1``.
    """

    convex = True
    is_open = False  # w may move somewhere at no cost: the conjugate is infinite nearly everywhere
    positive = None  # whether w >= 0; None where that cannot be asked for

    def start(self, shape):
        """A point with a finite value."""
        return np.zeros(shape)

    def certified(self, shape):
        """Whether the conjugate is known."""
        return True

    def dual_norm(self, G):
        """Least c such that the conjugate is finite at G / c."""
        return 0.0

    def pulled(self, strength, anchor):
        """The penalty plus strength/2 ||w - anchor||^2."""
        return Pulled(self, strength, anchor) if strength else self

    def _gain(self, G, w):
        """<-G, w> - Omega(w)."""
        return -float(np.vdot(G, w)) - self.value(w)


class Metric(RowPenalty):
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

    def prox(self, w, step):
        """The centre plus w - center, each coordinate divided by 1 + step h."""
        first, *rest = (x / (1.0 + step * h) for x, h in self._split(w - self.center))
        return self.center + (first @ self.basis + rest[0] if rest else first)

    def root(self, V, ridge):
        """R V for symmetric R with R R the inverse of its curvature + ridge."""
        along = np.reshape(np.power(self.curvature + ridge, -0.5), (-1, 1))
        if self.basis is None:
            return along * V
        B, rest = self.basis, np.power(self.rest + ridge, -0.5)
        return B.T @ ((along - rest) * (B @ V)) + rest * V

    def conjugate(self, G):
        """-<G, center> + 1/2 sum_i <a_i, G>^2 / h_i; directions without curvature are left out."""
        own = sum(0.5 * float((x**2 / np.where(h > 0, h, np.inf)).sum()) for x, h in self._split(G))
        return own - float(np.vdot(G, np.broadcast_to(self.center, G.shape)))


class Scalars(RowPenalty):
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


class Pulled(RowPenalty):
    """Any penalty of the row plus ``strength/2 ||w - anchor||^2``."""

    def __init__(self, penalty, strength=0.0, anchor=0.0):
        self.penalty, self.strength, self.anchor = penalty, strength, anchor

    convex = property(lambda self: self.penalty.convex)
    is_open = property(lambda self: self.strength == 0 and self.penalty.is_open)

    def certified(self, shape):
        return self.convex and (self.strength > 0 or self.penalty.certified(shape))

    def start(self, shape):
        return self.penalty.start(shape)

    def pulled(self, strength, anchor):
        """The penalty alone with another pull."""
        return Pulled(self.penalty, strength, anchor)

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
