"""Functions of one vector with an exact prox, vectorised over a batch: rows of V are the vectors."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator

# codes of the compiled per-feature proxes in `skmtl._kernels`
KERNEL_L1, KERNEL_L2 = 1, 2


class VectorFunction(BaseEstimator):
    """A penalty of one vector; a placement decides which vectors of W it is applied to.

    Define ``value(V)`` and ``prox(V, step)`` for V of shape (n_vectors, length); ``alpha`` multiplies
    the function. A norm may add ``dual_norm(V)``, one number per vector.
    """

    norm = False  # a norm with a closed dual norm
    kernel = None

    def value(self, V):
        """f of each row of V, shape (n_vectors,)."""
        raise TypeError(f"{type(self).__name__} must define value(V).")

    def prox(self, V, step):
        """Row by row argmin_u 1/2 ||u - v||^2 + step f(u), a new array."""
        raise TypeError(f"{type(self).__name__} must define prox(V, step).")


@dataclass(eq=False, repr=False)
class L1(VectorFunction):
    """Sum of absolute values, ``f(v) = alpha ||v||_1``.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength.
    """

    alpha: float = 1.0

    norm = True
    kernel = KERNEL_L1

    def value(self, V):
        """f of each row of V, shape (n_vectors,)."""
        return self.alpha * np.abs(V).sum(axis=1)

    def prox(self, V, step):
        """Soft-thresholding at step * alpha."""
        return np.sign(V) * np.maximum(np.abs(V) - step * self.alpha, 0.0)

    def dual_norm(self, V):
        """Largest absolute value over alpha, of each row."""
        return _over(np.abs(V).max(axis=1, initial=0.0), self.alpha)


@dataclass(eq=False, repr=False)
class L2(VectorFunction):
    """Euclidean norm, ``f(v) = alpha ||v||_2``: the vector is zero as a whole or not at all.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength.
    """

    alpha: float = 1.0

    norm = True
    kernel = KERNEL_L2

    def value(self, V):
        """f of each row of V, shape (n_vectors,)."""
        return self.alpha * np.linalg.norm(V, axis=1)

    def prox(self, V, step):
        """Shrinkage of the length by step * alpha."""
        size = np.linalg.norm(V, axis=1, keepdims=True)
        # where, not maximum(1 - t / size): a zero vector must give zero, not NaN
        shrink = np.where(size > step * self.alpha, size - step * self.alpha, 0.0)
        return V * (shrink / np.where(size > 0, size, 1.0))

    def dual_norm(self, V):
        """Length over alpha, of each row."""
        return _over(np.linalg.norm(V, axis=1), self.alpha)


def _over(size, alpha):
    """size / alpha with 0 / 0 = 0: a penalty of strength zero allows no dual point but zero."""
    if alpha > 0:
        return size / alpha
    return np.where(size > 0, np.inf, 0.0)
