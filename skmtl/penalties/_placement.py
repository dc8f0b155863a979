"""Placements: which vectors of W a vector function is applied to."""

from copy import copy
from dataclasses import dataclass

import numpy as np

from .._threads import by_rows, of_rows, sum_by_rows
from ._base import Inside
from ._combine import InUnits
from ._frozen import Metric, Scalars
from ._vector import L1, L2, VectorFunction, _over, least_strength

SMALL = 25  # rows below which a singular value decomposition is faster than an eigenvalue problem


@dataclass(eq=False, repr=False)
class Placement(Inside):
    """Sum of a vector function over a set of vectors of W."""

    function: VectorFunction

    # a subclass has _vectors(W), the vectors of W as rows, and _matrix(V, shape), W from its vectors

    holds, kind = "function", None  # what its vectors are, in `pattern`
    separate = False  # whether it is a sum over features

    def _inner(self):
        if not isinstance(self.function, VectorFunction):
            raise TypeError(
                f"{type(self).__name__}: function must be a VectorFunction such as L2(); "
                f"got {self.function!r}."
            )
        return self.function

    convex = property(lambda self: self.function.convex)
    bounded = property(lambda self: self.function.bounded)
    allows_positive = property(lambda self: self.function.allows_positive)

    def value(self, W):
        return float(self.function.value(self._vectors(W)).sum())

    def null_value(self, shape):
        return 0.0 if self.function.norm else super().null_value(shape)

    def prox(self, W, step):
        return self._matrix(self.function.prox(self._vectors(W), step), W.shape)

    def dual_norm(self, G):
        """Largest dual norm of a vector."""
        function = self.function
        if type(function).dual_norm is VectorFunction.dual_norm:  # no closed form: one number is enough
            return float(least_strength(function.prox, self._vectors(G), greatest=True).max(initial=0.0))
        return float(function.dual_norm(self._vectors(G)).max(initial=0.0))

    def pattern(self, V):
        """What exact zeros of the function select, see `Penalty.pattern`."""
        if self.inert or self.kind is None:
            return {}
        kinds = {"vectors": self.kind, "entries": "coefficients"}
        if self.kind == "features":
            kinds["changes"] = "changes"
        found = dict.fromkeys(kinds[what] for what in self.function.zeros if what in kinds)
        return {kind: self._sizes(kind, V) for kind in found}

    def _sizes(self, kind, V):
        """Lengths of what is of a kind in V, and the labels of groups."""
        if kind == "changes":
            each = self.function.changed(np.moveaxis(V, 0, -1).reshape(-1, len(V)))
            V = np.moveaxis(each.reshape(*V.shape[1:], -1), -1, 0)
        V = np.abs(V)  # of one number hypot is the number itself
        if kind in ("coefficients", "changes"):
            return np.hypot.reduce(V, axis=1), None
        together = V.reshape(-1, V.shape[2]) if kind == "features" else V.reshape(len(V), -1).T
        return np.hypot.reduce(together, axis=0), None

    def is_norm(self, shape):
        if self.function.free_constants and self.free_directions(shape[0]) is None:
            return False
        return self.convex and (self.function.norm or super().is_norm(shape))

    def conjugate(self, G):
        """Sum of the function's conjugates, None if it has none."""
        if type(self.function).conjugate is VectorFunction.conjugate:
            return None
        found = self.function.conjugate(self._vectors(G))
        return None if found is None else float(found.sum())

    def surrogate(self):
        """The same placement of the function's convex surrogate, None if it is convex."""
        other = copy(self)
        other.function = self.function.surrogate()
        return None if other.function is None else other

    # coordinate descent asks what is penalised together, of placements with a kernel

    def blocks(self, n_features):
        """Bounds of runs of features that are penalised together, and the factor of the strength of each."""
        return np.arange(n_features + 1), np.ones(n_features)

    def sizes(self, G):
        """Dual norm of what the penalty sees along with every feature, (n_features,)."""
        return self.function.dual_norm(G.T)

    def columns(self, some):
        """Positions of the features of a mask and of what is penalised with them, as `blocks` have them."""
        return np.flatnonzero(some)

    def restricted(self, columns):
        """The penalty of these features alone, given as `columns` gives them."""
        return self

    def in_units(self, unit):
        """A seminorm of every feature by itself keeps its prox."""
        return InUnits(self, unit) if self.function.norm and self.separate else None

    def _positive_prox(self, W, step):
        """The prox on W >= 0."""
        return self._matrix(self.function._positive_prox(self._vectors(W), step), W.shape)

    def _positive_dual_norm(self, W):
        """Least c with _positive_prox(W, c) = 0."""
        return float(self.function._positive_dual_norm(self._vectors(W)).max(initial=0.0))


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

    _n_classes, kind, separate = 1, "features", True

    def prox(self, W, step):
        if type(self.function) is not L2:
            return super().prox(W, step)
        V = W.reshape(len(W) * self._n_classes, -1)
        size = np.sqrt(sum_by_rows(lambda v: np.einsum("ij,ij->j", v, v), V))
        left = np.maximum(size - step * self.function.alpha, 0.0) / np.where(size > 0, size, 1.0)
        return by_rows(lambda v: v * left, V).reshape(W.shape)

    @property
    def kernel(self):
        """Strengths (l1, l2, linf) of the compiled prox of one feature, None if it has none."""
        return self.function.kernel

    def for_classes(self, n_classes):
        """The penalty on what all tasks and classes do with one feature; its vectors grow longer.

        An ordered function keeps one vector per feature and class.
        """
        return self if n_classes == 1 or self.function.ordered else self._of(n_classes)

    def by_vector(self):
        """The penalty on a W with one row per task and class."""
        return self._of(1)

    def _of(self, n_classes):
        other = copy(self)
        other._n_classes = n_classes
        return other

    def free_directions(self, n_tasks):
        """The mean of the tasks, where constant vectors cost nothing."""
        return np.full((n_tasks, 1), n_tasks**-0.5) if self.function.free_constants else None

    def frozen(self, V):
        """The function's idea of one more entry of each vector; classes in turn."""
        if self.inert:
            return super().frozen(V)
        vectors = self._vectors(V)
        found = (np.broadcast_to(x, len(vectors)) for x in self.function.frozen(vectors))
        return [Scalars(*(np.tile(x, V.shape[1] // len(vectors))[None] for x in found))]

    def _vectors(self, W):
        return W.reshape(len(W) * self._n_classes, -1).T

    def _matrix(self, V, shape):
        return np.ascontiguousarray(V.T).reshape(shape)


class Tasks(Placement):
    """f applied to the coefficients of one task, ``Omega(W) = sum_t f(W[t, :])``.

    Parameters
    ----------
    function : VectorFunction
        ``Tasks(L2())`` switches whole tasks on and off (outlier tasks in decompositions).

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L2, Tasks
    >>> Tasks(L2()).value(np.array([[3.0, -4.0], [0.0, 0.0]]))
    5.0
    """

    kind = "tasks"

    def value(self, W):
        return float(sum_by_rows(lambda w: self.function.value(w).sum(), W))

    def prox(self, W, step):
        return by_rows(lambda w: self.function.prox(w, step), W)

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

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L1, Entries
    >>> Entries(L1()).value(np.array([[3.0, 0.0], [-4.0, 1.0]]))
    8.0
    """

    kind, separate = "coefficients", True

    @property
    def kernel(self):
        """Strengths of the compiled prox of one feature: of one number, every norm is its absolute value."""
        return None if self.function.kernel is None else (sum(self.function.kernel), 0.0, 0.0)

    def by_vector(self):
        """The penalty on a W with one row per task and class."""
        return self

    def sizes(self, G):
        """Largest dual norm of the entries along every feature, (n_features,)."""
        return self.function.dual_norm(self._vectors(G)).reshape(G.shape).max(axis=0)

    def _vectors(self, W):
        return W.reshape(-1, 1)

    def _matrix(self, V, shape):
        return V.reshape(shape)


@dataclass(eq=False, repr=False)
class Spectrum(Placement):
    """f applied to the singular values of W, ``Omega(W) = f(sigma(W))``.

    With ``centered=True`` to those of the deviations from the mean of the tasks:
    ``Omega(W) = f(sigma(W - 1 mean(w)')) + alpha mean_ratio T/2 ||mean(w)||^2``

    The vector of singular values has length n_tasks (centered: n_tasks - 1), whatever the number of
    features; missing ones are zero.

    Parameters
    ----------
    function : VectorFunction
        Symmetric in the entries and in their signs. ``Spectrum(L1())`` is the trace norm.
    centered : bool, default=False
        Leave the mean of the tasks out.
    mean_ratio : float, default=0.0
        Strength of a ridge on the mean, in units of the function's alpha; with ``centered`` only.

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

    centered: bool = False
    mean_ratio: float = 0.0

    allows_positive = False
    turns = True

    def _mean(self, W):
        """The mean of the tasks (n_features,), None unless centered."""
        if self.function.ordered:
            raise ValueError(f"Spectrum: the order of singular values has no meaning for {self.function!r}.")
        if not self.mean_ratio >= 0:
            raise ValueError(f"mean_ratio must be >= 0; got {self.mean_ratio!r}.")
        return W.mean(axis=0) if self.centered else None

    def _padded(self, s, n_tasks):
        """Singular values as one vector of length n_tasks, one less if centered."""
        out = np.zeros((1, n_tasks - 1 if self.centered else n_tasks))
        s = s[: out.shape[1]]
        out[0, : len(s)] = s
        return out

    def _vectors(self, W):
        return self._padded(singular_values(self._apart(W, self._mean(W)))[1], len(W))

    def _apart(self, W, mean):
        """W less the mean."""
        return W if mean is None else W - mean

    def value(self, W):
        if not self.centered:
            return super().value(W)
        mean = self._mean(W)
        return super().value(W) + 0.5 * self.alpha * self.mean_ratio * len(W) * float(np.vdot(mean, mean))

    def prox(self, W, step):
        """argmin_V 1/2 ||V - W||_F^2 + step Omega(V): the prox of f on the singular values."""
        mean = self._mean(W)  # its direction, 1, is orthogonal to the left singular vectors of the rest
        U, s, product = singular_values(self._apart(W, mean))
        new = self.function.prox(self._padded(s, len(W)), step)[0, : len(s)]
        used = np.flatnonzero(new)
        own = (U[:, used] * (new[used] / s[used])).T
        tall = len(W) > W.shape[1]
        rest = by_rows(lambda v: v[:, used] @ own, product.T) if tall else own.T @ product[used]
        return rest + mean / (1.0 + step * self.alpha * self.mean_ratio) if self.centered else rest

    def dual_norm(self, G):
        """The function's dual norm of the singular values: for the trace norm the largest one."""
        if type(self.function) is not L1:
            return super().dual_norm(G)
        A = _tall(self._apart(G, self._mean(G)))
        unit = _largest(A) or 1.0
        size = unit * np.sqrt(np.linalg.eigvalsh(_products(A, unit))[-1])
        return float(_over(size, self.alpha))

    def is_norm(self, shape):
        """Whether the duality gap follows from the dual norm: not with a ridge on the mean."""
        return not (self.centered and self.mean_ratio > 0) and super().is_norm(shape)

    def conjugate(self, G):
        """The function's conjugate at the singular values, plus that of the ridge on the mean.

        Where the mean is free its component is ignored (see `free_directions`).
        """
        found = super().conjugate(G)
        if found is None or not (self.centered and self.mean_ratio > 0):
            return found
        total = G.sum(axis=0)
        strength = self.alpha * self.mean_ratio * len(G)
        return found + float(_over(0.5 * (total @ total), strength))

    def frozen(self, V):
        """A quadratic form in the directions of the rows, by the slopes of f at their singular values."""
        if self.inert:
            return super().frozen(V)
        mean = V.mean(axis=0) if self.centered else np.zeros(V.shape[1])
        _, s, Vt = np.linalg.svd(V - mean, full_matrices=False)
        values = self._padded(s, len(V))[0]
        used = np.flatnonzero(s > max(V.shape) * np.finfo(float).eps * s.max(initial=0.0))
        used = used[used < len(values)]
        curvature = self.function.slopes(values)[used] / s[used]
        return [Metric(mean, curvature, Vt[used], self.function.at_zero())]

    def free_directions(self, n_tasks):
        """The mean of the tasks, where it is neither penalised by f nor by a ridge."""
        free = self.centered and self.mean_ratio == 0
        return np.full((n_tasks, 1), n_tasks**-0.5) if free else None


def _tall(W):
    """W, or its transpose if W has more columns than rows."""
    return W.T if len(W) <= W.shape[1] else W


def _largest(A):
    """Size of the largest number."""
    return float(max(of_rows(lambda a: np.abs(a).max(initial=0.0), A)))


def _products(A, unit=1.0):
    """A'A over the square of a unit."""
    return sum_by_rows(lambda a: (a / unit).T @ (a / unit), A)


def singular_values(W):
    """U, s and U'A with A = U diag(s) V', A = W if it is wide and W' if not; s falls, but for rounding."""
    A = _tall(W)
    if A.shape[1] < SMALL:
        U, s, Vt = np.linalg.svd(A.T, full_matrices=False)
        return U, s, s[:, None] * Vt
    unit = _largest(A)
    if unit == 0:  # where solvers start
        return np.eye(A.shape[1]), np.zeros(A.shape[1]), np.zeros(A.shape[::-1])
    U, s, product = _turned(by_rows(lambda a: a / unit, A))
    return U, unit * s, by_rows(lambda v: unit * v, product, out=product).T


def _turned(A):
    """U, s and A U for a tall A by an eigenvalue problem of the size of its columns, faster than its own.

    The squares that it sees cannot tell values apart that are small next to the largest: those are
    turned once more among themselves.
    """
    U = np.linalg.eigh(_products(A))[1][:, ::-1]
    product = by_rows(lambda a: a @ U, A)
    s = np.sqrt(sum_by_rows(lambda v: np.einsum("ij,ij->j", v, v), product))
    small = s < 1e-5 * s.max()
    if (s[small] > 1e-15).any():  # more than rounding
        k = max(int(np.argmax(small)), 1)
        turn, s[k:], product[:, k:] = _turned(product[:, k:])
        U[:, k:] = U[:, k:] @ turn
    return U, s, product
