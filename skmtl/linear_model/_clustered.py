"""Tasks that form clusters."""

from numbers import Real
from typing import Annotated, Any

import numpy as np

from .._parameters import COUNT, STRENGTH
from .._sklearn import Interval, StrOptions
from ..penalties import Box, Clusters, Coupling, Spectrum, by_appearance, clusters_of
from ._base import LinearClassifier, LinearModel, LinearRegressor, estimator
from ._model import derived


@estimator
class Clustered(LinearModel):
    """%(Kind)s with tasks in clusters that are found from the data.

    Minimises, over W and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\frac{\\alpha}{2} \\Big[ \\sum_c \\sum_{t \\in c} \\| w_t - \\bar w_c \\|^2
        + \\beta \\sum_c T_c \\| \\bar w_c - \\bar w \\|^2 + \\mu T \\| \\bar w \\|^2 \\Big]

    with wbar_c the mean over the T_c tasks of cluster c and wbar that over all T tasks, beta the
    `between_ratio`, mu the `mean_ratio`, in the convex relaxation over all partitions into k =
    `n_clusters` clusters: with sigma the singular values of the centred W the first two terms become

    .. math::

        \\min \\{ \\sum_{i < T} \\sigma_i^2 / \\theta_i : 1 \\le \\theta_i \\le 1 / \\beta, \\;
        \\sum_{i < T} \\theta_i \\le (k - 1) / \\beta + T - k \\}.

    One cluster is mean regularisation.

    Parameters
    ----------
    n_clusters : int, default=2
        Number of clusters, at most the number of tasks.
    between_ratio : float in (0, 1], default=0.1
        Price of differences between clusters against those within; at 1 there is no clustering.
    mean_ratio : float, default=0.0
        Price of the mean of all tasks against differences within clusters.
    relaxation : {"convex", "kmeans"}, default="convex"
        The convex relaxation over partitions, or the problem itself by alternating with k-means.
    n_init : int, default=10
        Number of k-means starts.
    random_state : int, RandomState instance or None, default=None
        Seed of k-means.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_tasks,)
        Cluster of each task, by k-means on the rows of W; numbered as they appear.
    cluster_centers_ : ndarray of shape (n_clusters, n_features) or (n_clusters, n_classes, n_features)
        Mean coefficients of each cluster. Fewer than `n_clusters` if tasks coincide.
    task_similarity_ : ndarray of shape (n_tasks, n_tasks)
        Relaxed projection on the clusters: for tasks that cluster cleanly about ``1/T_c`` within
        a cluster and 0 between clusters. Its trace is at most `n_clusters`.

    References
    ----------
    Jacob, Bach & Vert (2009), Clustered multi-task learning: a convex formulation, NeurIPS 21,
    https://doi.org/10.48550/arXiv.0809.2085;
    Zhou, Chen & Ye (2011), Clustered multi-task learning via alternating structure optimization,
    NeurIPS 24;
    McDonald, Pontil & Stamos (2016), New perspectives on k-support and cluster norms, JMLR 17

    Examples
    --------
    >>> from skmtl import Clustered%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=9, structure="clustered", n_clusters=3, random_state=0)
    >>> model = Clustered%(Model)s(alpha=0.05, n_clusters=3, random_state=0)
    >>> model.fit(data.X, data.y, tasks=data.tasks).cluster_centers_.shape
    (3, 20)
    """

    n_clusters: Annotated[int, COUNT] = 2
    between_ratio: Annotated[float, Interval(Real, 0, 1, closed="right")] = 0.1
    mean_ratio: Annotated[float, STRENGTH] = 0.0
    relaxation: Annotated[str, StrOptions({"convex", "kmeans"})] = "convex"
    n_init: Annotated[int, COUNT] = 10
    random_state: Annotated[Any, "random_state"] = None

    def _prepare(self, data):
        if self.n_clusters > data.n_tasks > 1:  # one task is one cluster
            raise ValueError(
                f"n_clusters={self.n_clusters} must be at most the number of tasks, {data.n_tasks}."
            )

    def _penalty(self):
        if self.relaxation == "kmeans":
            names = "alpha", "n_clusters", "between_ratio", "mean_ratio", "n_init", "random_state"
            return Clusters(**{name: getattr(self, name) for name in names})
        if self.n_tasks_ == 1:
            return Coupling(self.alpha * self.mean_ratio, M="shared")
        return Spectrum(self._box(), centered=True, mean_ratio=self.mean_ratio)

    def _box(self):
        """The function of the T - 1 singular values of the centred W."""
        k, high = self.n_clusters, 1 / self.between_ratio
        return Box(self.alpha, low=1.0, high=high, budget=(k - 1) * high + (self.n_tasks_ - k))

    def _set_attributes(self, result):
        W = result.parts[0]
        found = result.labels
        if found is None:
            options = {"n_init": self.n_init, "random_state": self.random_state}
            found = clusters_of(W, self.n_clusters, **options)
        self.labels_ = by_appearance(found)
        means = [result.coef[self.labels_ == c].mean(axis=0) for c in range(self.labels_.max() + 1)]
        self.cluster_centers_ = self._by_class(np.array(means))
        if self.relaxation == "convex" and len(W) > 1:
            self._projection_ = self._projection(W)

    @derived
    def task_similarity_(self):
        """Relaxed projection on the span of the clusters' indicator vectors, from a factor or the labels."""
        if self.relaxation == "kmeans" or len(self.labels_) == 1:
            same = self.labels_[:, None] == self.labels_
            return same / same.sum(axis=0)
        return self._projection_ @ self._projection_.T + 1 / len(self.labels_)

    def _projection(self, W):
        """Root (n_tasks, k) of the projection less that on the mean."""
        T, box = len(W), self._box()
        U, s, _ = np.linalg.svd(W - W.mean(axis=0), full_matrices=False)
        U, s = U[:, : T - 1], s[: T - 1]
        theta = box.theta(np.pad(s, (0, T - 1 - len(s)))[None, :])[0, : len(s)]
        spread = box.high - box.low
        share = (theta - box.low) / spread if spread > 0 else np.full(len(s), (self.n_clusters - 1) / (T - 1))
        return U * np.sqrt(np.maximum(share, 0.0))


@estimator
class ClusteredRegressor(Clustered, LinearRegressor): ...


@estimator
class ClusteredClassifier(Clustered, LinearClassifier): ...
