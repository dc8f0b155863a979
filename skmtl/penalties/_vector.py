"""Functions of one vector with an exact prox, vectorised over a batch: rows of V are the vectors."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator

from ._base import public


class VectorFunction(BaseEstimator):
    """A penalty of one vector; a placement decides which vectors of W it is applied to.

    Define ``value(V)`` and ``prox(V, step)`` for V of shape (n_vectors, length); ``alpha`` multiplies
    the whole function. A norm may override ``dual_norm(V)``, a squared norm ``conjugate(V)``, one
    number per vector.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Features, VectorFunction
    >>> class Squares(VectorFunction):
    ...     def value(self, V):
    ...         return (V**2).sum(axis=1) / 2
    ...
    ...     def prox(self, V, step):
    ...         return V / (1 + step)
    >>> Features(Squares()).prox(np.array([[3.0, 0.0]]), 2.0)
    array([[1., 0.]])
    """

    norm = False  # a norm, or a seminorm with `free_constants`, and known to be one
    kernel = None  # strengths (l1, l2, linf) of the compiled prox of one vector
    degree = 1  # f(c v) = c^degree f(v) for c > 0, of convex functions
    convex = True
    bounded = False  # a long vector costs no more for growing
    ordered = False  # the position of an entry in the vector matters
    free_constants = False  # f(v + c) = f(v) for a constant c
    allows_positive = False  # even in every entry, so that the prox of f on v >= 0 is that of max(v, 0)

    @property
    def zeros(self):
        """What of a vector it makes exactly zero: "vectors" as a whole, "entries", "changes"."""
        return ("vectors",) if self.norm else ()

    def value(self, V):
        """f of each row of V, shape (n_vectors,)."""
        raise TypeError(f"{type(self).__name__} must define value(V).")

    def prox(self, V, step):
        """Row by row argmin_u 1/2 ||u - v||^2 + step f(u), a new array."""
        raise TypeError(f"{type(self).__name__} must define prox(V, step).")

    def dual_norm(self, V):
        """Polar of a norm for each row of V, shape (n_vectors,): by bisection on the prox."""
        return least_strength(self.prox, V)

    def conjugate(self, V):
        """sup_u <v, u> - f(u) of each row where it is finite for all v, else None."""
        return None

    def at_zero(self):
        """The h for which h/2 v^2 is about f of a vector of one small entry: infinite if f has a kink."""
        return np.inf

    def slopes(self, v):
        """Derivatives of f in the entries of one vector (length,), which are not negative."""
        step = 1e-6 * v.max(initial=0.0) * np.eye(len(v))
        change = self.value(v + step) - self.value(np.abs(v - step))
        return np.maximum(change / (2 * step.max(initial=1e-300)), 0.0)

    def frozen(self, V):
        """h, l1, jump, last: one more entry x of v costs ``h/2 x^2 + l1 |x| + jump |x - last|``.

        By default the quadratic form h/2 ||v||^2 behind f, half of a norm and all of a squared one:
        alpha / ||v||_2 for the L2 norm. Each (n_vectors,) or a number.
        """
        size = _lengths(V)
        shares = self.degree * self.value(V) * _inverse(size) ** 2
        return np.where(size > 0, shares, self.at_zero()), 0.0, 0.0, 0.0

    def surrogate(self):
        """A convex function whose solution is a start for this one if it is not convex, else None."""
        return None

    def _positive_prox(self, V, step):
        """The prox of f on vectors without negative entries."""
        return self.prox(np.maximum(V, 0.0), step)

    def _positive_dual_norm(self, V):
        """Least c with _positive_prox(v, c) = 0."""
        return self.dual_norm(np.maximum(V, 0.0))


@dataclass(eq=False, repr=False)
class Multiple(VectorFunction):
    """alpha times a function h, given by ``_height(V)`` and by ``_prox(V, c)``, the prox of c h.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength.
    """

    alpha: float = 1.0

    allows_positive = True

    def value(self, V):
        return self.alpha * self._height(V)

    def prox(self, V, step):
        return self._prox(V, step * self.alpha)


class Norms(Multiple):
    """``alpha (l1 ||v||_1 + l2 ||v||_2)``, l1 and l2 from ``_shares()``."""

    norm = True

    @property
    def kernel(self):
        """Strengths (l1, l2, linf) of the compiled prox of one vector."""
        l1, l2 = self._shares()
        return float(self.alpha) * l1, float(self.alpha) * l2, 0.0

    @property
    def zeros(self):
        """Vectors by the L2 norm, entries by the other one."""
        l1, l2 = self._shares()
        return ("vectors",) * (l2 > 0) + ("entries",) * (l1 > 0)

    def _height(self, V):
        l1, l2 = self._shares()
        own = l2 * _lengths(V) if l2 else 0.0
        return own + l1 * np.abs(V).sum(axis=1) if l1 else own

    def _prox(self, V, c):
        # soft-thresholding, then shrinkage of the length
        l1, l2 = self._shares()
        V = _soft(V, c * l1) if l1 else V
        return _shrunk(V, c * l2) if l2 else V

    def dual_norm(self, V):
        """Root c of ||soft(v, c l1)||_2 = c l2, over alpha, of each row."""
        l1, l2 = self._shares()
        if not l1:
            return _over(_lengths(V), self.alpha)
        top = np.abs(V).max(axis=1, initial=0.0)
        if not l2 or not V.size:
            return _over(top, self.alpha)
        top = np.where(top > 0, top, 1.0)
        return _over(top * _sparse_root(_falling(V) / top[:, None], l1), self.alpha)

    def frozen(self, V):
        """The L1 norm as it is, for the other one a quadratic form."""
        l1, l2 = self._shares()
        if not l1:
            return super().frozen(V)
        h = self.alpha * l2 * _inverse(_lengths(V), np.inf) if l2 else 0.0
        return h, self.alpha * l1, 0.0, 0.0


@public
class L1(Norms):
    """Sum of absolute values, ``f(v) = alpha ||v||_1``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L1
    >>> L1(2.0).value(np.array([[3.0, -4.0]]))
    array([14.])
    """

    def _shares(self):
        return 1.0, 0.0

    def slopes(self, v):
        """alpha in every entry."""
        return np.full(len(v), float(self.alpha))


@public
class L2(Norms):
    """Euclidean norm, ``f(v) = alpha ||v||_2``: the vector is zero as a whole or not at all.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L2
    >>> L2(2.0).value(np.array([[3.0, -4.0]]))
    array([10.])
    """

    def _shares(self):
        return 0.0, 1.0


@public
class LInf(Multiple):
    """Largest absolute value, ``f(v) = alpha max_i |v_i|``: entries of a vector that is used reach it.

    References
    ----------
    Quattoni, Carreras, Collins & Darrell (2009), An efficient projection for l1,infinity
    regularization, ICML, https://doi.org/10.1145/1553374.1553484

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import LInf
    >>> LInf(2.0).value(np.array([[3.0, -4.0]]))
    array([8.])
    """

    norm = True

    @property
    def kernel(self):
        """Strengths (l1, l2, linf) of the compiled prox of one vector."""
        return 0.0, 0.0, float(self.alpha)

    def _height(self, V):
        return np.abs(V).max(axis=1, initial=0.0)

    def _prox(self, V, c):
        # V minus its projection on the l1 ball of radius c: large entries are cut off
        total = np.cumsum(_falling(V), axis=1)
        level = (total - c) / np.arange(1, V.shape[1] + 1)
        level = level.max(axis=1, keepdims=True, initial=0.0)
        return np.clip(V, -level, level)

    def dual_norm(self, V):
        """Sum of absolute values over alpha, of each row."""
        return _over(np.abs(V).sum(axis=1), self.alpha)


@public
class SparseL2(Norms):
    """L2 and L1 norm, ``f(v) = alpha [(1 - l1_ratio) ||v||_2 + l1_ratio ||v||_1]``.

    Parameters
    ----------
    l1_ratio : float, default=0.5
        Share of the L1 norm, between 0 and 1: zeros inside the vectors that are used.

    References
    ----------
    Simon, Friedman, Hastie & Tibshirani (2013), A sparse-group Lasso, J. Computational and
    Graphical Statistics 22, https://doi.org/10.1080/10618600.2012.681250

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import SparseL2
    >>> SparseL2(l1_ratio=0.5).value(np.array([[3.0, -4.0]]))
    array([6.])
    """

    l1_ratio: float = 0.5

    def _shares(self):
        if not 0 <= self.l1_ratio <= 1:
            raise ValueError(f"l1_ratio must be between 0 and 1; got {self.l1_ratio!r}.")
        return float(self.l1_ratio), 1 - float(self.l1_ratio)


def _sparse_root(x, rho):
    """Root c of ||soft(x, c rho)||_2 = c (1 - rho) for rows x in falling order that start with 1 (or 0)."""
    count = np.arange(1, x.shape[1] + 1)
    first, second = np.cumsum(x, axis=1), np.cumsum(x**2, axis=1)
    # squared difference of both sides at c = x_k / rho, where an entry enters: it grows with k
    excess = second - 2 * x * first + count * x**2 - (x * ((1 - rho) / rho)) ** 2
    k = np.maximum((excess < 0).sum(axis=1) - 1, 0)[:, None]
    first, second = (np.take_along_axis(total, k, axis=1)[:, 0] for total in (first, second))
    curvature = (k[:, 0] + 1) * rho**2 - (1 - rho) ** 2
    root = np.sqrt(np.maximum((rho * first) ** 2 - curvature * second, 0.0))
    c = second / np.where(first > 0, rho * first + root, 1.0)
    for _ in range(10):  # Newton's steps on the difference itself: sums of squares lost half of the digits
        left = np.maximum(x - rho * c[:, None], 0.0)
        size = _lengths(left)
        slope = (1 - rho) + rho * left.sum(axis=1) / np.where(size > 0, size, 1.0)
        # the root is at least the largest entry: the start again where rounding went beyond all of them
        c = np.where(size > 0, c + (size - c * (1 - rho)) / slope, x[:, 0])
    return c


@public
class SquaredL1(Multiple):
    """Squared L1 norm, ``f(v) = alpha/2 ||v||_1^2``: the entries of a vector compete.

    On the singular values of W it is the squared trace norm: a learned covariance of the tasks.

    References
    ----------
    Zhou, Jin & Hoi (2010), Exclusive Lasso for multi-task feature selection, AISTATS, PMLR 9;
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8 (singular values).

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import SquaredL1
    >>> SquaredL1().value(np.array([[3.0, -4.0]]))
    array([24.5])
    """

    degree, zeros = 2, ("entries",)

    def _height(self, V):
        return 0.5 * np.abs(V).sum(axis=1) ** 2

    def _prox(self, V, c):
        # soft-thresholding at c times the L1 norm of the result
        level = c * np.cumsum(_falling(V), axis=1) / (1 + c * np.arange(1, V.shape[1] + 1))
        return _soft(V, level.max(axis=1, keepdims=True, initial=0.0))

    def conjugate(self, V):
        """max_i v_i^2 / (2 alpha) of each row."""
        return _over(0.5 * np.abs(V).max(axis=1, initial=0.0) ** 2, self.alpha)

    def slopes(self, v):
        """alpha times the sum in every entry."""
        return np.full(len(v), self.alpha * v.sum())

    def frozen(self, V):
        """The increase of f, exactly: vectors with large entries cost more."""
        return self.alpha, self.alpha * np.abs(V).sum(axis=1), 0.0, 0.0


@public
class Box(Multiple):
    """Squared box norm, a ridge whose weights are chosen within bounds.

    ``f(v) = alpha/2 min { sum_i v_i^2 / theta_i : low <= theta_i <= high, sum_i theta_i <= budget }``

    On the singular values of W it is the convex relaxation of clustered tasks and of a shared
    subspace: few directions are cheap, all others expensive.

    Parameters
    ----------
    low, high : float, default=0.1, 1.1
        Bounds of every theta_i, ``0 <= low <= high``.
    budget : float, default=1.5
        Bound of their sum, at least `low` times the length of the vector.

    Raises
    ------
    ValueError
        When used, if no theta is within the bounds.

    References
    ----------
    McDonald, Pontil & Stamos (2016), New perspectives on k-support and cluster norms, JMLR 17(155);
    Jacob, Bach & Vert (2009), Clustered multi-task learning: a convex formulation, NIPS 21;
    Chen, Tang, Liu & Ye (2009), A convex formulation for learning shared structures from multiple
    tasks, ICML, https://doi.org/10.1145/1553374.1553392

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Box
    >>> Box(low=0.5, high=1.0, budget=1.5).value(np.array([[3.0, 0.0]]))  # theta = (1, 0.5)
    array([4.5])
    """

    low: float = 0.1
    high: float = 1.1
    budget: float = 1.5

    degree = 2

    def _limits(self, length):
        """low, high and budget, high no larger than the budget lets a theta become."""
        low, high, budget = float(self.low), float(self.high), float(self.budget)
        if not (0 <= low <= high and high > 0):
            raise ValueError(f"low and high must satisfy 0 <= low <= high; got {low!r} and {high!r}.")
        if not (budget > 0 and budget >= length * low * (1 - 1e-12)):
            raise ValueError(
                f"budget must be positive and at least {length} * low = {length * low:g} for vectors of "
                f"length {length}; got {budget!r}."
            )
        return low, min(high, max(budget - (length - 1) * low, low)), budget

    def _weights(self, V, c):
        """The optimal theta of the prox with a step of c / alpha, see the kernel."""
        from .._kernels import box_weights

        V, low, high, budget = np.array(V, dtype=np.float64, order="C"), *self._limits(V.shape[1])
        box_weights(V, float(c), low, high, budget, out := np.empty(V.shape))
        return out

    def theta(self, V):
        """The optimal theta of each row of V, shape (n_vectors, length); `low` where an entry is zero."""
        return self._weights(V, 0.0)

    def _height(self, V):
        theta = self.theta(V)
        terms = np.divide(np.square(V), theta, out=np.zeros(V.shape), where=theta > 0)
        return 0.5 * terms.sum(axis=1)

    def _prox(self, V, c):
        # each entry shrunken by theta / (theta + c), theta optimal for the result
        if c == 0:
            return np.array(V, dtype=np.float64)
        theta = self._weights(V, c)
        return V * (theta / (theta + c))

    def conjugate(self, V):
        """max_theta sum_i theta_i v_i^2 / (2 alpha) of each row: the largest entries get most."""
        length = V.shape[1]
        low, high, budget = self._limits(length)
        spare = budget - length * low
        theta = low + np.clip(spare - (high - low) * np.arange(length), 0.0, high - low)
        return _over(0.5 * (theta * _falling(V) ** 2).sum(axis=1), self.alpha)

    def at_zero(self):
        """alpha / low."""
        return float(_over(np.array(self.alpha), self.low))

    def slopes(self, v):
        """alpha v / theta."""
        theta = self.theta(v[None])[0]
        return self.alpha * v / np.where(theta > 0, theta, 1.0)


def _lengths(V):
    """Euclidean norm of each row, without an array of the squares."""
    return np.sqrt(np.einsum("ij,ij->i", V, V))


def _inverse(size, of_zero=0.0):
    """1 / size, and something else for zero."""
    return np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), of_zero)


def _falling(V):
    """Absolute values of each row in falling order."""
    return -np.sort(-np.abs(V), axis=1)


def _soft(V, level):
    """V with every entry moved towards zero by `level`."""
    return V - np.clip(V, -level, level)


def _shrunk(V, level):
    """V with every row shortened by `level`."""
    size = _lengths(V)[:, None]
    # where, not maximum(1 - t / size): a zero vector must give zero, not NaN
    shrink = np.where(size > level, size - level, 0.0)
    return V * (shrink / np.where(size > 0, size, 1.0))


def _over(size, alpha):
    """size / alpha with 0 / 0 = 0: a penalty of strength zero allows no dual point but zero."""
    if alpha > 0:
        return size / alpha
    return np.where(size > 0, np.inf, 0.0)


LEAST = 1e-150  # polar of a vector with an entry of one, below which it is zero


def least_strength(prox, V, greatest=False, excess=None):
    """Least c with prox(v / c, 1) = 0 for each row v of V, to rounding; infinite if there is none.

    For a positively homogeneous f this is the polar of f: prox of c f is c times prox of f at v / c.
    Secants on the length of the prox in a bracket; the upper end is returned: it never claims a dual
    point to be feasible that is not. With `greatest` only the largest is exact. `excess` of rows v / c falls
    below zero where their prox is zero: it tells secants of points on that side too.
    """
    size = np.abs(V).max(axis=1, initial=0.0)
    V = V / np.where(size > 0, size, 1.0)[:, None]

    def length(c, at=slice(None)):
        scaled = V[at] / c[:, None]
        return (np.linalg.norm(prox(scaled, 1.0), axis=1) if excess is None else excess(scaled)) * c

    least, most = np.full(len(V), LEAST), np.full(len(V), 1 / LEAST)
    ends = np.select([length(least) <= 0, length(most) > 0], [LEAST * size, np.inf], np.nan)
    if not (rows := np.isnan(ends)).any():
        return ends
    size, V = size[rows], V[rows]
    upper, before, r_before = np.ones(len(V)), np.zeros(len(V)), _lengths(V)
    while (short := length(upper) > 0).any():
        upper[short] *= 2.0
    while (loose := length(0.5 * upper) <= 0).any():
        upper[loose] *= 0.5
    lower = 0.5 * upper
    r = length(lower)
    for n in range(180):
        at = upper - lower > 4e-16 * upper
        if greatest:
            at &= upper * size >= (lower * size).max()
        if not at.any():
            break
        a, b, c = lower[at], upper[at], 0.5 * (lower[at] + upper[at])
        if n % 3 < 2:  # the root of the secant, or just below an upper end that is likely to be tight
            slope = (r_before[at] - r[at]) / (a - before[at])
            root = a + r[at] / np.where(slope > 0, slope, np.inf) * (1 + 1e-14)
            if excess is not None:  # or next to the end that it is at
                guess = np.clip(root, a + 3e-16 * b, b - 3e-16 * b)
            else:
                guess = root if n % 3 == 0 else b * (1 - 5e-14)
            c = np.where((a < guess) & (guess < b), guess, c)
        found = length(c, at)
        left = found > 0
        other = (before[at], r_before[at]) if excess is None else (c, found)  # where nothing is left
        before[at], r_before[at] = np.where(left, (a, r[at]), other)
        r[at] = np.where(left, found, r[at])
        lower[at], upper[at] = np.where(left, c, a), np.where(left, b, c)
    ends[rows] = upper * size
    return ends
