"""Placements: which vectors of W a vector function is applied to."""

from dataclasses import dataclass

import numpy as np

from ._base import Penalty
from ._vector import KERNEL_L1, VectorFunction


@dataclass(eq=False, repr=False)
class Placement(Penalty):
    """Sum of a vector function over a set of vectors of W."""

    function: VectorFunction

    def _vectors(self, W):
        """The vectors of W as rows."""
        raise NotImplementedError

    def _matrix(self, V, shape):
        """W from its vectors."""
        raise NotImplementedError

    @property
    def alpha(self):
        """Strength of the function."""
        if not isinstance(self.function, VectorFunction):
            raise TypeError(
                f"{type(self).__name__}: function must be a VectorFunction such as L2(); "
                f"got {self.function!r}."
            )
        return self.function.alpha

    @alpha.setter
    def alpha(self, value):
        # not in place: the function may belong to other penalties as well
        parameters = self.function.get_params(deep=False)
        self.function = type(self.function)(**{**parameters, "alpha": value})

    def get_params(self, deep=True):
        """Parameters; with ``deep=True`` also the ``alpha`` of the function."""
        params = super().get_params(deep=deep)
        return {**params, "alpha": self.alpha} if deep else params

    def value(self, W):
        """Omega(W)."""
        return float(self.function.value(self._vectors(W)).sum())

    def prox(self, W, step):
        """argmin_V 1/2 ||V - W||_F^2 + step Omega(V)."""
        return self._matrix(self.function.prox(self._vectors(W), step), W.shape)

    def dual_norm(self, G):
        """Largest dual norm of a vector, or bisection on the prox where no closed form is known."""
        if not hasattr(self.function, "dual_norm"):
            return super().dual_norm(G)
        return float(self.function.dual_norm(self._vectors(G)).max(initial=0.0))

    def is_norm(self, shape):
        """Whether the duality gap follows from the dual norm."""
        return self.function.norm or super().is_norm(shape)


class Features(Placement):
    """f applied to what all tasks do with one feature, ``Omega(W) = sum_j f(W[:, j])``.

    Parameters
    ----------
    function : VectorFunction
        ``Features(L2())`` is the multi-task Lasso: a feature is used by all tasks or by none.

    References
    ----------
    Obozinski, Taskar & Jordan (2010), Joint covariate selection and joint subspace selection,
    Statistics and Computing 20, https://doi.org/10.1007/s11222-008-9111-x

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L2, Features
    >>> Features(L2(alpha=2.0)).value(np.array([[3.0, 0.0], [4.0, 0.0]]))
    10.0
    """

    @property
    def kernel(self):
        """Code of the compiled prox of one feature."""
        return self.function.kernel

    def _vectors(self, W):
        return W.T

    def _matrix(self, V, shape):
        return np.ascontiguousarray(V.T)


class Tasks(Placement):
    """f applied to the coefficients of one task, ``Omega(W) = sum_t f(W[t, :])``.

    Parameters
    ----------
    function : VectorFunction
        ``Tasks(L2())`` switches whole tasks on and off (outlier tasks in decompositions).
    """

    def _vectors(self, W):
        return W

    def _matrix(self, V, shape):
        return V


class Entries(Placement):
    """f applied to every entry on its own, ``Omega(W) = sum_tj f(W[t, j])``.

    Parameters
    ----------
    function : VectorFunction
        ``Entries(L1())`` is one Lasso per task with a common strength.
    """

    @property
    def kernel(self):
        """Code of the compiled prox of one feature: of one number, every norm is its absolute value."""
        return KERNEL_L1 if self.function.kernel is not None else None

    def _vectors(self, W):
        return W.reshape(-1, 1)

    def _matrix(self, V, shape):
        return V.reshape(shape)


class Spectrum(Placement):
    """f applied to the singular values of W, ``Omega(W) = f(sigma(W))``.

    Parameters
    ----------
    function : VectorFunction
        Symmetric in the entries and in their signs. ``Spectrum(L1())`` is the trace norm.

    References
    ----------
    Pong, Tseng, Ji & Ye (2010), Trace norm regularization: reformulations, algorithms, and
    multi-task learning, SIAM J. Optimization 20, https://doi.org/10.1137/090763184

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L1, Spectrum
    >>> round(Spectrum(L1()).value(np.diag([3.0, 4.0])), 12)
    7.0
    """

    def _vectors(self, W):
        return np.linalg.svd(W, compute_uv=False)[None, :]

    def prox(self, W, step):
        """argmin_V 1/2 ||V - W||_F^2 + step Omega(V): the prox of f on the singular values."""
        U, s, Vt = np.linalg.svd(W, full_matrices=False)
        s = self.function.prox(s[None, :], step)[0]
        used = s != 0
        return (U[:, used] * s[used]) @ Vt[used]
