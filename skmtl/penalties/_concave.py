"""Vector functions that are not convex: large vectors are penalised less, or not at all, for growing.

Every prox is a global minimiser, whatever the step.
"""

import numpy as np

from ._base import public
from ._vector import L1, L2, Multiple, _falling, _soft


def _positive(name, value, bound=0.0):
    """The parameter as a float above its bound."""
    if not value > bound:
        raise ValueError(f"{name} must be larger than {bound:g}; got {value!r}.")
    return float(value)


class _OfLength(Multiple):
    """alpha times a concave function of ||v||_2 whose slope falls from 1 to 0 between its ``_knees()``."""

    convex, bounded, zeros = False, True, ("vectors",)

    def _height(self, V):
        knee, flat = self._knees()
        size = np.linalg.norm(V, axis=1)
        x = np.clip(size, knee, flat) - knee
        return np.minimum(size, knee) + x - x**2 / (2 * (flat - knee))

    def _prox(self, V, c):
        # the vector, its length replaced by the minimiser over all lengths
        size = np.linalg.norm(V, axis=1)
        new = self._shortened(size, c) if c > 0 else size
        return V * np.divide(new, size, out=np.zeros_like(size), where=size > 0)[:, None]

    def _shortened(self, size, c):
        knee, flat = self._knees()
        width = flat - knee
        soft = np.clip(size - c, 0.0, knee)
        if c < width:  # the objective is convex: each size has one stationary point
            middle = knee + (size - knee - c) * (width / (width - c))
            return np.where(size > flat, size, np.where(size > knee + c, middle, soft))
        # no minimum between the knees: either end of them, by value
        keep = c * 0.5 * (knee + flat) < 0.5 * (size - soft) ** 2 + c * soft
        return np.where((size >= flat) & keep, size, soft)

    def surrogate(self):
        """The L2 norm, which has the same slope at zero."""
        return L2(self.alpha)


@public
class MCP(_OfLength):
    """Minimax concave penalty of the length, with a slope that falls from 1 to 0 at gamma * scale.

    ``f(v) = alpha integral_0^r max(1 - x / (gamma scale), 0) dx, r = ||v||_2``

    The usual parametrisation has ``scale = alpha``; a scale of its own lets `alpha` multiply the
    whole function.

    Parameters
    ----------
    gamma : float, default=3.0
        Larger than 1; the smaller, the more concave.
    scale : float, default=1.0
        Unit of length: vectors longer than gamma * scale are not shrunken.

    Raises
    ------
    ValueError
        When used, if `gamma` or `scale` is too small.

    References
    ----------
    Zhang (2010), Nearly unbiased variable selection under minimax concave penalty, Annals of
    Statistics 38, https://doi.org/10.1214/09-AOS729;
    Breheny & Huang (2015), Group descent algorithms for nonconvex penalized linear and logistic
    regression models with grouped predictors, Statistics and Computing 25,
    https://doi.org/10.1007/s11222-013-9424-2

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import MCP
    >>> MCP(gamma=3.0).value(np.array([[1.5], [3.0], [30.0]]))  # a long vector costs no more
    array([1.125, 1.5  , 1.5  ])
    """

    gamma: float = 3.0
    scale: float = 1.0

    def _knees(self):
        return 0.0, _positive("gamma", self.gamma, 1.0) * _positive("scale", self.scale)


@public
class SCAD(_OfLength):
    """Smoothly clipped absolute deviation of the length: slope 1 up to scale, 0 from gamma * scale.

    ``f(v) = alpha integral_0^r min(1, max(gamma scale - x, 0) / ((gamma - 1) scale)) dx, r = ||v||_2``

    The usual parametrisation has ``scale = alpha``; a scale of its own lets `alpha` multiply the
    whole function.

    Parameters
    ----------
    gamma : float, default=3.7
        Larger than 2; the smaller, the more concave.
    scale : float, default=1.0
        Unit of length: vectors longer than gamma * scale are not shrunken.

    Raises
    ------
    ValueError
        When used, if `gamma` or `scale` is too small.

    References
    ----------
    Fan & Li (2001), Variable selection via nonconcave penalized likelihood and its oracle properties,
    J. American Statistical Association 96, https://doi.org/10.1198/016214501753382273

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import SCAD
    >>> SCAD().value(np.array([[0.5], [4.0], [40.0]]))  # a long vector costs no more
    array([0.5 , 2.35, 2.35])
    """

    gamma: float = 3.7
    scale: float = 1.0

    def _knees(self):
        scale = _positive("scale", self.scale)
        return scale, _positive("gamma", self.gamma, 2.0) * scale


@public
class CappedL1(Multiple):
    """Sum of absolute values up to a cap, ``f(v) = alpha min(||v||_1, gamma scale)``.

    Parameters
    ----------
    gamma : float, default=3.0
        Cap in units of `scale`.
    scale : float, default=1.0
        Unit of the sum: beyond gamma * scale a vector is not shrunken.

    Raises
    ------
    ValueError
        When used, if `gamma` or `scale` is not positive.

    References
    ----------
    Gong, Ye & Zhang (2013), Multi-stage multi-task feature learning, JMLR 14.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import CappedL1
    >>> CappedL1().value(np.array([[0.5], [4.0], [40.0]]))  # a long vector costs no more
    array([0.5, 3. , 3. ])
    """

    gamma: float = 3.0
    scale: float = 1.0

    convex, bounded, zeros = False, True, ("vectors", "entries")

    def _cap(self):
        return _positive("gamma", self.gamma) * _positive("scale", self.scale)

    def _height(self, V):
        return np.minimum(np.abs(V).sum(axis=1), self._cap())

    def _prox(self, V, c):
        # the better of soft-thresholding and no change: f is the smaller of an L1 norm and a constant
        cap = self._cap()
        soft = _soft(V, c)
        cost = 0.5 * ((V - soft) ** 2).sum(axis=1) + c * np.abs(soft).sum(axis=1)
        return np.where((c * cap < cost)[:, None], V, soft)

    def surrogate(self):
        """The L1 norm, equal up to the cap."""
        return L1(self.alpha)


@public
class SqrtL1(Multiple):
    """Square root of the L1 norm, ``f(v) = alpha sqrt(||v||_1)``: sparse vectors, sparse inside.

    The multi-level Lasso, w_i = b u_i with a factor b per vector and an entry u_i, has this penalty
    after the factors are optimised out.

    References
    ----------
    Lozano & Swirszcz (2012), Multi-level Lasso for sparse multi-task regression, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import SqrtL1
    >>> SqrtL1().value(np.array([[3.0, -6.0]]))
    array([3.])
    """

    convex, zeros = False, ("vectors", "entries")

    def _height(self, V):
        return np.sqrt(np.abs(V).sum(axis=1))

    def _prox(self, V, c):
        # the best of zero and of soft-thresholding at the stationary level of each number of entries
        if c == 0 or not V.size:
            return np.array(V, dtype=np.float64)
        top = np.abs(V).max(axis=1, keepdims=True)
        top[top == 0] = 1.0
        # of v / top the strength is c / top^1.5: no powers under- or overflow
        level = top * _root_levels(_falling(V) / top, c / top / np.sqrt(top))
        return np.where(np.isfinite(level), _soft(V, np.where(np.isfinite(level), level, 0.0)), 0.0)

    def surrogate(self):
        """An L1 norm of half the strength: the slope where ``||v||_1 = 1``."""
        return L1(self.alpha / 2)


def _root_levels(x, c):
    """Threshold (n_vectors, 1) of the prox of c sqrt(||.||_1) at rows x in falling order; inf gives zero.

    With k entries left, root = sqrt(||u||_1) solves root^3 - A root + k c / 2 = 0, A the sum of the k
    largest, and u = soft(x, c / (2 root)). The largest root is the minimum.
    """
    k = np.arange(1, x.shape[1] + 1)
    total, squares = np.cumsum(x, axis=1), np.cumsum(x**2, axis=1)
    third = np.sqrt(total / 3)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        cosine = -k * c / (4 * third**3)
        root = 2 * third * np.cos(np.arccos(cosine) / 3)  # NaN without a real root
        level = c / (2 * root)
        after = np.concatenate([x[:, 1:], np.zeros((len(x), 1))], axis=1)
        # the k largest and no others stay; a level within rounding of an entry counts for both
        fits = (level <= x * (1 + 1e-12)) & (level >= after * (1 - 1e-12))
        saved = 0.5 * (squares - k * level**2) - c * root  # against u = 0
    saved = np.where(fits, saved, -np.inf)
    best = saved.argmax(axis=1)[:, None]
    chosen = np.take_along_axis(saved, best, axis=1) > 0
    return np.where(chosen, np.take_along_axis(level, best, axis=1), np.inf)
