"""Tasks whose coefficients lie in a common low-dimensional space."""

from dataclasses import field
from typing import Annotated

import numpy as np

from .._parameters import COUNT, POSITIVE
from .._threads import by_rows
from ..penalties import L1, Box, Spectrum, SquaredL1, singular_values
from ._base import LinearClassifier, LinearModel, LinearRegressor, estimator
from ._coupled_tasks import RelatedTasksRegressor
from ._empirical_bayes import Auto
from ._model import derived


@estimator
class TraceNorm(LinearModel):
    """%(Kind)s with coefficients of low rank: few directions in feature space serve all tasks.

    Minimises, over W and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s + \\alpha \\| W \\|_*

    with the trace norm the sum of the singular values.

    Attributes
    ----------
    rank_ : int
        Rank of W (of the deviations, with `mean_alpha`).
    singular_values_ : ndarray of shape (rank,)
        Its singular values.
    components_ : ndarray of shape (rank, n_features)
        Its right singular vectors: the directions that the tasks share.

    References
    ----------
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8;
    Pong, Tseng, Ji & Ye (2010), Trace norm regularization, SIAM J. Optimization 20,
    https://doi.org/10.1137/090763184

    Examples
    --------
    >>> from skmtl import TraceNorm%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=8, n_samples=50, structure="low_rank", random_state=0)
    >>> model = TraceNorm%(Model)s(alpha=0.05).fit(data.X, data.y, tasks=data.tasks)
    >>> model.components_.shape[1]
    20
    """

    def _penalty(self):
        return Spectrum(L1(alpha=self.alpha))

    def _set_attributes(self, result):
        penalised = result.parts[0]
        _, s, Vt = np.linalg.svd(penalised, full_matrices=False)
        # the prox gives exact zeros, recomputing the singular values gives rounding
        used = s > max(penalised.shape) * np.finfo(float).eps * s.max(initial=0.0)
        self.rank_ = int(used.sum())
        self.singular_values_, self.components_ = s[used], self._by_class(Vt[used])


@estimator
class TraceNormRegressor(TraceNorm, LinearRegressor): ...


@estimator
class TraceNormClassifier(TraceNorm, LinearClassifier): ...


@estimator
class SharedSubspace(LinearModel):
    """%(Kind)s with coefficients that lie mostly in a subspace common to all tasks.

    Minimises, over W and b, with k the `n_components`,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\frac{\\alpha (1 + \\eta)}{2} \\min_{0 \\preceq M \\preceq I, \\, \\mathrm{tr} M = k}
        \\mathrm{tr} \\big( W (\\eta I + M)^{-1} W^\\top \\big)

    which is the convex relaxation of alternating structure optimisation. Directions inside the subspace
    cost ``alpha/2``, others ``1 + 1/eta`` times as much. With ``n_components`` equal to the number of
    tasks it is one ridge regression per task.

    Parameters
    ----------
    n_components : int, default=1
        k, the dimension of the subspace; at most the number of tasks and of features.
    eta : float, default=0.1
        Price of the subspace against the rest, > 0: the smaller, the fewer coefficients outside it.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features) or (n_components, n_classes, n_features)
        Orthonormal directions of the subspace, leading first: right singular vectors of W (of the
        deviations, with `mean_alpha`).
    singular_values_ : ndarray of shape (min(n_tasks, n_features),)
        Singular values of W.

    References
    ----------
    Ando & Zhang (2005), A framework for learning predictive structures from multiple tasks and
    unlabeled data, JMLR 6;
    Chen, Tang, Liu & Ye (2009), A convex formulation for learning shared structures from multiple
    tasks, ICML, https://doi.org/10.1145/1553374.1553392

    Examples
    --------
    >>> from skmtl import SharedSubspace%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=8, n_samples=50, structure="low_rank", random_state=0)
    >>> model = SharedSubspace%(Model)s(alpha=0.1, n_components=2).fit(data.X, data.y, tasks=data.tasks)
    >>> model.components_.shape
    (2, 20)
    """

    n_components: Annotated[int, COUNT] = 1
    eta: Annotated[float, POSITIVE] = 0.1

    def _prepare(self, data):
        limit = min(data.n_tasks, data.n_features)
        if self.n_components > limit:
            raise ValueError(
                f"n_components={self.n_components} must be at most {limit}, the smaller of the numbers of "
                f"tasks ({data.n_tasks}) and of features ({data.n_features})."
            )

    def _penalty(self):
        budget = self.n_components + self.n_tasks_ * self.eta
        return Spectrum(Box(self.alpha * (1 + self.eta), self.eta, 1 + self.eta, budget))

    def _set_attributes(self, result):
        _, s, Vt = np.linalg.svd(result.parts[0], full_matrices=False)
        self.singular_values_ = s
        self.components_ = self._by_class(Vt[: self.n_components])


@estimator
class SharedSubspaceRegressor(SharedSubspace, LinearRegressor): ...


@estimator
class SharedSubspaceClassifier(SharedSubspace, LinearClassifier): ...


@estimator
class TaskRelationship(LinearModel):
    """%(Kind)s that learns how the tasks are related: a covariance between them, positive or negative.

    Minimises, over W, b and the covariance C (n_tasks, n_tasks),

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\frac{\\alpha}{2} \\min_{C \\succeq 0, \\, \\mathrm{tr} C = 1}
        \\mathrm{tr} ( W^\\top C^{-1} W )
        \\qquad \\Big( = \\dots + \\frac{\\alpha}{2} \\| W \\|_*^2 \\Big)

    with the trace norm the sum of the singular values.

    Attributes
    ----------
    task_covariance_ : ndarray of shape (n_tasks, n_tasks)
        C, equal to ``(W W')^(1/2)`` over its trace (of the deviations, with `mean_alpha`), unless it is
        estimated apart from W.
    task_correlation_ : ndarray of shape (n_tasks, n_tasks)
        Its correlations; a task without coefficients has none with any other.

    References
    ----------
    Zhang & Yeung (2014), A regularization approach to learning task relationships in multitask
    learning, ACM Transactions on Knowledge Discovery from Data 8, https://doi.org/10.1145/2538028;
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8

    Examples
    --------
    >>> from skmtl import TaskRelationship%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=5, n_samples=50, structure="mean", random_state=0)
    >>> model = TaskRelationship%(Model)s(alpha=0.01).fit(data.X, data.y, tasks=data.tasks)
    >>> model.task_correlation_.shape
    (5, 5)
    """

    def _penalty(self):
        return Spectrum(SquaredL1(self.alpha))

    @derived
    def task_covariance_(self):
        """C, from a factor: a matrix over many tasks is there only while it is asked for."""
        level, root = self._related_
        return level * np.eye(len(root)) + root @ root.T

    @derived
    def task_correlation_(self):
        """Correlations of C."""
        level, root = self._related_
        size = np.sqrt(np.einsum("tk,tk->t", root, root) + level)[:, None]
        root = np.divide(root, size, where=size > 0, out=np.zeros_like(root))
        R = np.clip(root @ root.T, -1.0, 1.0)
        np.fill_diagonal(R, 1.0)
        return R

    def _set_attributes(self, result):
        self._related_ = self._relation_of(result.parts[0])

    def _relation_of(self, W):
        """C of the least penalty: a level on its diagonal and a factor (n_tasks, k) of the rest."""
        U, s, product = singular_values(W)
        total = s.sum()
        if not total > 0:
            return 1.0 / len(W), np.zeros((len(W), 1))
        if len(W) <= W.shape[1]:
            return 0.0, U * np.sqrt(s / total)
        scale = np.where(s > 0, 1.0 / np.sqrt(np.where(s > 0, s, 1.0) * total), 0.0)
        return 0.0, by_rows(lambda v: v * scale, product.T)


@estimator
class TaskRelationshipRegressor(TaskRelationship, RelatedTasksRegressor):
    alpha: Auto = field(default=1.0, kw_only=False)  # again: the first base has those of all models
    intercept_alpha: Auto = 0.0

    def _relation_of(self, W):
        if not isinstance(self.alpha, str):
            return super()._relation_of(W)
        return self._prior_.level, self._prior_.root


@estimator
class TaskRelationshipClassifier(TaskRelationship, LinearClassifier): ...
