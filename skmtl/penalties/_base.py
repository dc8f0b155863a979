"""What every penalty can do; everything but `value` and `prox` has a default that follows from them."""

import numpy as np
from sklearn.base import BaseEstimator, clone


class Penalty(BaseEstimator):
    """A penalty Omega on the coefficient matrix W, shape (n_tasks, n_features).

    To write one, define ``value(W)`` and ``prox(W, step)``; a parameter called ``alpha`` should
    multiply the whole penalty. The dual norm, ``alpha_max`` and the duality gap of a norm follow
    from the prox. Penalties add up (``a + b``) and scale (``2 * a``).
    """

    smooth = False  # quadratic, given by `quadratic`, without a prox of its own
    kernel = None  # strengths (l1, l2, linf) of the compiled prox of one feature: coordinate descent
    convex = True
    allows_positive = False  # `Positive` can add W >= 0

    def value(self, W):
        """Omega(W), a float."""
        raise TypeError(f"{type(self).__name__} must define value(W).")

    def prox(self, W, step):
        """argmin_V 1/2 ||V - W||_F^2 + step Omega(V), a new array of the shape of W."""
        raise TypeError(f"{type(self).__name__} must define prox(W, step).")

    def dual_norm(self, G):
        """Least c >= 0 with prox(-G, c) = 0, found by bisection; the polar of a norm.

        G is a gradient of the data term: W = 0 is optimal if the dual norm is at most 1. Infinite if
        there is no such c.
        """
        if not G.any():
            return 0.0
        G, upper = -G, 1.0
        while self.prox(G, upper).any():
            upper *= 2.0
            if upper > 1e100:
                return np.inf
        lower = 0.0 if upper == 1.0 else upper / 2
        # the upper end is kept: it never claims a dual point to be feasible that is not
        while upper - lower > 4e-16 * upper and lower < (middle := 0.5 * (lower + upper)) < upper:
            lower, upper = (middle, upper) if self.prox(G, middle).any() else (lower, middle)
        return upper

    def is_norm(self, shape):
        """Whether Omega is positively homogeneous and even with a finite dual norm (tried on random W).

        Only then does the duality gap follow from the prox.
        """
        rng = np.random.default_rng(0)
        W = rng.standard_normal(shape)
        value = self.value(W)
        return bool(
            self.value(np.zeros(shape)) == 0
            and all(np.isclose(self.value(c * W), abs(c) * value, rtol=1e-9) for c in (-1.0, 3.7, 1e-3))
            and np.isfinite(self.dual_norm(W))
        )

    def conjugate(self, G):
        """sup_W <-G, W> - Omega(W) where it is finite without a dual-norm constraint, else None."""
        return None

    def free_directions(self, n_tasks):
        """Columns N (n_tasks, k) such that adding N d' to W costs nothing, or None."""
        return None

    def split(self):
        """The penalty as (its non-smooth term or None, list of its quadratic terms)."""
        return (None, [self]) if self.smooth else (self, [])

    def parts(self):
        """The penalties of the summands of W; one unless W is decomposed."""
        return [self]

    def part_shapes(self, shape):
        """Shapes of the parts that a solver returns for W of this shape."""
        return [shape] * len(self.parts())

    def surrogate(self):
        """A convex penalty whose solution is a start for this one if it is not convex, else None."""
        return None

    def for_classes(self, n_classes):
        """The penalty on W whose row t holds the coefficient vectors of all classes of task t in turn."""
        return self

    def scaled(self, factor):
        """The penalty times a factor, as a new object."""
        if not hasattr(self, "alpha"):
            return _Scaled(self, factor)
        other = clone(self)
        return other.set_params(alpha=other.alpha * factor)

    def __add__(self, other):
        from ._combine import Sum

        if not isinstance(other, Penalty):
            return NotImplemented
        parts = [part._flat() if isinstance(part, Sum) else [part] for part in (self, other)]
        return Sum([term for terms in parts for term in terms])

    def __radd__(self, other):
        return self if isinstance(other, int) and other == 0 else NotImplemented  # the start of sum()

    def __mul__(self, factor):
        return self.scaled(factor)

    __rmul__ = __mul__


class _Scaled(Penalty):
    """factor * penalty, for a penalty without a parameter `alpha`."""

    def __init__(self, penalty, factor):
        self.penalty, self.factor = penalty, factor

    @property
    def convex(self):
        return self.penalty.convex

    def value(self, W):
        return self.factor * self.penalty.value(W)

    def prox(self, W, step):
        return self.penalty.prox(W, self.factor * step)

    def surrogate(self):
        inner = self.penalty.surrogate()
        return None if inner is None else _Scaled(inner, self.factor)

    def for_classes(self, n_classes):
        return _Scaled(self.penalty.for_classes(n_classes), self.factor)
