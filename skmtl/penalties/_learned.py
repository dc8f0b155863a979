"""Penalties with a structure that is found along with W; not convex, solved by alternation."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sklearn
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state

from .._threads import of_rows
from ._base import OfParts, public
from ._coupling import SmoothPenalty
from ._frozen import Metric, Scalars
from ._quadratic import ClusterQuadratic, TaskQuadratic


@public
class Clusters(SmoothPenalty):
    """Tasks in clusters, each task near the centre of its own.

    ``Omega(W) = alpha/2 [sum_c sum_{t in c} ||w_t - w_c||^2
    + between_ratio sum_c T_c ||w_c - mean(w)||^2 + mean_ratio T ||mean(w)||^2]``
    with w_c the mean of the T_c tasks of cluster c, for the best clusters.

    Parameters
    ----------
    n_clusters : int, default=2
        Number of clusters.
    between_ratio : float, default=0.1
        Strength between the centres relative to that within clusters.
    mean_ratio : float, default=0.0
        Strength on the mean of all tasks relative to that within clusters.
    n_init : int, default=10
        Number of starting partitions.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting partitions.
    labels : array-like of shape (n_tasks,), optional
        Cluster of each task where it is known; then the penalty is convex and nothing is searched.

    References
    ----------
    Jacob, Bach & Vert (2009), Clustered multi-task learning: a convex formulation, NIPS 21,
    https://doi.org/10.48550/arXiv.0809.2085

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Clusters
    >>> W = np.array([[1.0], [1.0], [3.0], [3.0]])
    >>> round(Clusters(between_ratio=0.5, labels=[0, 0, 1, 1]).value(W), 12)
    1.0
    """

    n_clusters: int = 2
    between_ratio: float = 0.1
    mean_ratio: float = 0.0
    n_init: int = 10
    random_state: Any = None
    labels: Any = None

    @property
    def convex(self):
        """Whether the clusters are given."""
        return self.labels is not None

    @property
    def learned(self):
        """What is found along with W, unless it is given."""
        return None if self.convex else "clusters"

    def quadratic(self, n_tasks):
        """The penalty for the given clusters as a `TaskQuadratic`."""
        if self.labels is None:
            return TaskQuadratic(n_tasks)
        labels = np.unique(np.asarray(self.labels), return_inverse=True)[1]
        if labels.shape != (n_tasks,):
            raise ValueError(
                f"labels must hold one cluster per task, shape ({n_tasks},); got {labels.shape}."
            )
        between, mean = self.alpha * self.between_ratio, self.alpha * self.mean_ratio
        n_clusters = labels.max() + 1
        if n_clusters == 1 or n_clusters == n_tasks or self.alpha == between:
            return TaskQuadratic(n_tasks, self.alpha if n_clusters == 1 else between, mean)
        return ClusterQuadratic(labels, self.alpha, between, mean)

    def given(self, labels):
        """The convex penalty for known clusters."""
        return replace(self, labels=labels)

    def pulls(self, V):
        """To the centre of any of the clusters."""
        labels = self.assigned(V, 0) if self.labels is None else np.asarray(self.labels)
        return [(self.alpha, V[labels == c].mean(axis=0)) for c in np.unique(labels)]

    def assigned(self, W, seed):
        """Clusters of the rows of W by k-means, shape (n_tasks,)."""
        return clusters_of(W, self.n_clusters, n_init=1, random_state=seed)

    def improved(self, W, labels):
        """Clusters no worse than `labels` for W: Lloyd's iterations from their centres."""
        least, centers = _within(W, labels)
        while True:
            found = np.concatenate(of_rows(lambda w, centers=centers: cdist(w, centers).argmin(axis=1), W))
            if len(np.unique(found)) < len(centers):
                found = clusters_of(W, len(centers), init=centers, n_init=1)
            within, new = _within(W, found)
            if not within < least * (1 - 1e-12):
                return labels
            labels, least, centers = found, within, new

    def seeds(self):
        """One seed for each start."""
        return check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=self.n_init)


def clusters_of(W, n_clusters, **options):
    """Clusters of the rows of W by k-means, shape (n_tasks,), or of equal rows if these are no more."""
    first = W[: 4 * n_clusters] + 0.0  # without the sign of zeros
    if len({row.tobytes() for row in first}) <= n_clusters:  # rarely so
        rows, which = np.unique(W, axis=0, return_inverse=True)
        if len(rows) <= n_clusters:
            return which.ravel()
    return sklearn.cluster.KMeans(n_clusters, **options).fit(W).labels_


def by_appearance(labels):
    """The same clusters, numbered as they appear among the tasks."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[which]


def _within(W, labels):
    """Sum of squares of the rows of W about the centre of their cluster, and these centres."""
    form = ClusterQuadratic(np.unique(labels, return_inverse=True)[1], 2.0, 0.0, 0.0)
    return form.value(W), form.centers(W)


@dataclass(eq=False, repr=False)
class Factorized(OfParts):
    """Tasks composed of few latent ones, ``W = S L``, each by a sparse code.

    ``Omega(W) = min { alpha [rho ||S||_1 + (1 - rho)/2 ||L||_F^2] : S L = W }`` with rho the
    `sparsity`, S (n_tasks, n_components) and L (n_components, n_features).

    Parameters
    ----------
    alpha : float, default=1.0
        Strength.
    n_components : int, default=2
        Number of latent tasks.
    sparsity : float, default=0.5
        rho, the share of the penalty on the codes.
    n_init : int, default=5
        Number of starts: the leading singular vectors of single-task solutions, and rotations of them.
    random_state : int, RandomState instance or None, default=None
        Seed of the rotations, and of what is added to components that a start would leave empty.

    References
    ----------
    Kumar & Daume (2012), Learning task grouping and overlap in multi-task learning, ICML,
    https://doi.org/10.48550/arXiv.1206.6417

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Factorized
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=6, structure="low_rank", random_state=0)
    >>> model = MultiTaskRegressor(0.01, penalty=Factorized(n_components=2))
    >>> int(np.linalg.matrix_rank(model.fit(data.X, data.y, tasks=data.tasks).coef_))
    2
    """

    alpha: float = 1.0
    n_components: int = 2
    sparsity: float = 0.5
    n_init: int = 5
    random_state: Any = None

    convex = False
    learned = "factors"

    def part_shapes(self, shape):
        """Shapes of S and L."""
        return [(shape[0], self.n_components), (self.n_components, shape[1])]

    def frozen_parts(self, parts):
        """Penalties of a code of the row, with a one for each shared part, and the rows that w is made of."""
        _, L, *shared = parts
        rows = np.vstack([L, *(V[:1] for V in shared)])
        held = np.arange(len(rows)) >= len(L)
        codes = Scalars(np.where(held, np.inf, 0.0), np.where(held, 0.0, self.alpha * self.sparsity))
        return [[codes, Metric(held.astype(float), np.inf)]], rows

    def value_of(self, S, L):
        """The penalty of given factors."""
        return self.alpha * (self.sparsity * np.abs(S).sum() + 0.5 * (1 - self.sparsity) * (L**2).sum())

    def starts(self, W):
        """Factors (S, L) of the leading part of W, as its singular vectors and rotated at random."""
        rng = check_random_state(self.random_state)
        U, s, Vt = np.linalg.svd(W, full_matrices=False)
        k, size = self.n_components, 1e-3 * s.max(initial=0.0)
        S, L = size * rng.standard_normal((len(W), k)), size * rng.standard_normal((k, W.shape[1]))
        n = min(k, len(s))
        S[:, :n], L[:n] = U[:, :n] * s[:n], Vt[:n]
        yield self.balanced(S, L)
        for _ in range(self.n_init - 1):
            Q = np.linalg.qr(rng.standard_normal((k, k)))[0]
            yield self.balanced(S @ Q, Q.T @ L)

    def balanced(self, S, L):
        """The same product with each component scaled so that it costs least."""
        codes, rows = self.sparsity * np.abs(S).sum(axis=0), (1 - self.sparsity) * (L**2).sum(axis=1)
        scale = np.cbrt(rows / np.where(codes > 0, codes, 1.0))
        scale = np.where((scale > 0) & (codes > 0), scale, 1.0)
        return S * scale, L / scale[:, None]
