"""Quadratic penalties that couple tasks: alpha/2 tr(W' M W)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from ._base import Penalty, public
from ._frozen import Metric
from ._quadratic import DENSE_TASKS, TaskQuadratic


@dataclass(eq=False, repr=False)
class SmoothPenalty(Penalty):
    """A quadratic penalty: part of the smooth objective, or solved directly.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength.
    """

    alpha: float = 1.0

    smooth = True

    def quadratic(self, n_tasks):
        """The penalty as a `TaskQuadratic`."""
        raise TypeError(f"{type(self).__name__} must define quadratic(n_tasks).")

    def value(self, W):
        return self.quadratic(len(W)).value(W)

    def prox(self, W, step):
        """(I + step Q)^-1 W."""
        return self.quadratic(len(W)).prox(W, step)

    def pulls(self, V):
        """Alternative (strength, anchor) of strength/2 ||w - anchor||^2 for the row of one more task.

        It joins the others as they are joined on average: a matrix M gives trace(M) / T and, as far
        as its rows add up to zero, the mean of the tasks.
        """
        quadratic, mean = self.quadratic(len(V)), V.mean(axis=0)
        if quadratic.separate and quadratic.deviations == quadratic.mean:
            return [(quadratic.mean, np.zeros_like(mean))]
        strength = towards = quadratic.deviations
        if quadratic.matrix is not None:
            trace = quadratic.matrix.diagonal().sum()
            strength += trace / len(V)
            towards += (trace - quadratic.matrix.sum()) / len(V)
        return [(strength, mean * (towards / strength) if strength else mean)]

    def frozen(self, V):
        """Quadratic forms about where the row is pulled."""
        return [Metric(anchor, strength) for strength, anchor in self.pulls(V)]


@public
class Ridge(SmoothPenalty):
    """Squared length of all coefficients, ``Omega(W) = alpha/2 ||W||_F^2``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Ridge
    >>> round(Ridge(2.0).value(np.array([[3.0, -4.0]])), 6)
    25.0
    """

    def quadratic(self, n_tasks):
        return TaskQuadratic(n_tasks, deviations=self.alpha, mean=self.alpha)


@public
class Coupling(SmoothPenalty):
    """Quadratic coupling of tasks, ``Omega(W) = alpha/2 tr(W' M W)``.

    Parameters
    ----------
    M : {"mean", "shared"} or {array-like, sparse matrix} of shape (n_tasks, n_tasks), default="mean"
        Symmetric positive semidefinite, in the order of the sorted task labels. ``"mean"`` is
        I - 11'/T: ``Omega(W) = alpha/2 sum_t ||w_t - mean(w)||^2``; ``"shared"`` is 11'/T:
        ``Omega(W) = alpha T/2 ||mean(w)||^2``. For a graph of tasks use its Laplacian,
        `Coupling.graph`.

    Raises
    ------
    ValueError
        When used, if M is not symmetric positive semidefinite or does not fit the number of tasks.

    References
    ----------
    Evgeniou & Pontil (2004), Regularized multi-task learning, KDD,
    https://doi.org/10.1145/1014052.1014067 (mean);
    Evgeniou, Micchelli & Pontil (2005), Learning multiple tasks with kernel methods, JMLR 6 (graph).

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Coupling
    >>> W = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> Coupling().value(W), Coupling.graph([[0, 1], [1, 0]]).value(W)
    (1.0, 2.0)
    """

    M: Any = "mean"

    @classmethod
    def graph(cls, adjacency, alpha=1.0):
        """Coupling by the Laplacian of a graph, ``alpha/2 sum_{s<t} A_st ||w_s - w_t||^2``.

        Parameters
        ----------
        adjacency : {array-like, sparse matrix} of shape (n_tasks, n_tasks)
            Symmetric nonnegative weights; the diagonal is ignored.
        alpha : float, default=1.0
            Strength.
        """
        A = check_array(adjacency, accept_sparse="csr", dtype=np.float64, input_name="adjacency")
        wrong = f"shape {A.shape}" if A.shape[0] != A.shape[1] else ""
        wrong = wrong or ("one that is not symmetric" if abs(A - A.T).max() > 0 else "")
        wrong = wrong or (f"the negative weight {A.min():g}" if A.min() < 0 else "")
        if wrong:
            raise ValueError(f"adjacency must be a symmetric matrix of nonnegative weights; got {wrong}.")
        if not sparse.issparse(A):
            A = np.where(np.eye(len(A)), 0.0, A)
            return cls(alpha=alpha, M=sparse.csr_array(np.diag(A.sum(axis=1)) - A))
        A = sparse.csr_array(A)
        A = A - sparse.diags_array(A.diagonal())
        return cls(alpha=alpha, M=sparse.csr_array(sparse.diags_array(A.sum(axis=1)) - A))

    def quadratic(self, n_tasks):
        if isinstance(self.M, str):
            if self.M not in ("mean", "shared"):
                raise ValueError(f"M must be 'mean', 'shared' or a matrix; got {self.M!r}.")
            return TaskQuadratic(n_tasks, **{"deviations" if self.M == "mean" else "mean": self.alpha})
        return TaskQuadratic(n_tasks, matrix=self.alpha * self._checked(n_tasks))

    def _checked(self, n_tasks):
        M = check_array(self.M, accept_sparse=("csr", "csc"), dtype=np.float64, input_name="M")
        if M.shape != (n_tasks, n_tasks):
            raise ValueError(
                f"M has shape {M.shape} but the data hold {n_tasks} tasks; expected ({n_tasks}, {n_tasks})."
            )
        dense = sparse.issparse(M) and n_tasks <= DENSE_TASKS
        values = M.toarray() if dense else M  # sooner checked
        size = abs(values).max()
        if abs(values - values.T).max() > 1e-10 * size:
            raise ValueError("M must be symmetric.")
        if not _is_psd(values, size):
            raise ValueError("M must be positive semidefinite (a graph by its Laplacian: Coupling.graph).")
        return M


def _is_psd(M, size):
    """Whether M is positive semidefinite to rounding; Gershgorin's discs settle Laplacians cheaply."""
    diagonal = M.diagonal()
    radius = np.asarray(abs(M).sum(axis=1)).ravel() - np.abs(diagonal)
    if (diagonal - radius >= -1e-10 * size).all():
        return True
    dense = M.toarray() if sparse.issparse(M) else M
    return np.linalg.eigvalsh(dense)[0] >= -1e-10 * size


@dataclass(eq=False, repr=False)
class Shared(Penalty):
    """One vector for all tasks, ``Omega(W) = alpha/2 ||W||_F^2`` if all rows of W are equal, else inf.

    On its own a pooled model with one intercept per task; as one part of `InfConv`, the shared mean
    of a model whose other part holds the deviations of the tasks.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength; 0 leaves the shared vector unpenalised.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Shared
    >>> Shared(2.0).value(np.array([[1.0, 2.0], [1.0, 2.0]]))
    10.0
    """

    alpha: float = 1.0

    one_vector = constrains = turns = True

    def value(self, W):
        center = W.mean(axis=0)
        if not np.allclose(W, center, rtol=1e-9, atol=1e-12 * np.abs(center).max(initial=0.0)):
            return np.inf
        return 0.5 * len(W) * float((self.alpha * center) @ center)

    def prox(self, W, step):
        """The mean row, shrunken, in every row."""
        return np.tile(W.mean(axis=0) / (1.0 + step * self.alpha), (len(W), 1))

    def is_norm(self, shape):
        """Not a norm: its certificate comes from `conjugate`."""
        return False

    def frozen(self, V):
        """The vector."""
        return [Metric(V[:1], np.inf)]

    def in_units(self, unit):
        """With a strength for every feature: the solvers ask for no more than its value and prox."""
        return Shared(self.alpha * unit**2) if np.any(self.alpha) else self

    def conjugate(self, G):
        """||sum_t g_t||^2 / (2 alpha T); with alpha = 0 the sum must vanish (see `free_directions`)."""
        total = G.sum(axis=0)
        return float(total @ (total / self.alpha)) / (2.0 * len(G)) if np.any(self.alpha) else 0.0

    def free_directions(self, n_tasks):
        """The mean, where it is unpenalised."""
        return None if np.any(self.alpha) else np.full((n_tasks, 1), n_tasks**-0.5)
