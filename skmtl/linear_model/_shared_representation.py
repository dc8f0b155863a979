"""Tasks whose coefficients lie in a common low-dimensional space."""

import numpy as np

from ..penalties import L1, Spectrum
from ._base import LinearClassifier, LinearModel, LinearRegressor, estimator


@estimator
class TraceNorm(LinearModel):
    """alpha ||W||_*."""

    def _penalty(self):
        return Spectrum(L1(alpha=self.alpha))

    def _set_attributes(self, result):
        penalised = result.parts[0]
        _, s, Vt = np.linalg.svd(penalised, full_matrices=False)
        # the prox gives exact zeros, recomputing the singular values gives rounding
        used = s > max(penalised.shape) * np.finfo(float).eps * s.max(initial=0.0)
        self.rank_ = int(used.sum())
        self.singular_values_, self.components_ = s[used], Vt[used]


@estimator
class TraceNormRegressor(TraceNorm, LinearRegressor):
    """Regression with coefficients of low rank: few directions in feature space serve all tasks.

    Minimises, over W (n_tasks, n_features) and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i \\tfrac12 (y_i - x_i \\cdot w_t - b_t)^2 + \\alpha \\| W \\|_*

    with s_i the sample weights divided by their sum over the task and the trace norm the sum of the
    singular values.

    Parameters
    ----------
    %(parameters)s
    loss : {"squared_error"} or Loss, default="squared_error"
        Loss.

    Attributes
    ----------
    rank_ : int
        Rank of W (of the deviations, with `mean_alpha`).
    singular_values_ : ndarray of shape (rank,)
        Its singular values.
    components_ : ndarray of shape (rank, n_features)
        Its right singular vectors: the directions that the tasks share.
    %(attributes)s

    References
    ----------
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8;
    Pong, Tseng, Ji & Ye (2010), Trace norm regularization, SIAM J. Optimization 20,
    https://doi.org/10.1137/090763184

    Examples
    --------
    >>> from skmtl import TraceNormRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=8, n_samples=50, structure="low_rank", random_state=0)
    >>> model = TraceNormRegressor(alpha=1.0).fit(data.X, data.y, tasks=data.tasks)
    >>> model.components_.shape[1]
    20
    """


@estimator
class TraceNormClassifier(TraceNorm, LinearClassifier):
    """Binary classification with coefficients of low rank.

    Minimises, over W (n_tasks, n_features) and b, with y in {0, 1},

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i [\\log(1 + e^{\\eta_i}) - y_i \\eta_i] + \\alpha \\| W \\|_*,
        \\qquad \\eta_i = x_i \\cdot w_t + b_t

    with s_i the sample weights divided by their sum over the task and the trace norm the sum of the
    singular values.

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    rank_ : int
        Rank of W (of the deviations, with `mean_alpha`).
    singular_values_ : ndarray of shape (rank,)
        Its singular values.
    components_ : ndarray of shape (rank, n_features)
        Its right singular vectors: the directions that the tasks share.
    %(attributes)s

    References
    ----------
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8

    Examples
    --------
    >>> from skmtl import TraceNormClassifier
    >>> from skmtl.datasets import make_multitask_classification
    >>> data = make_multitask_classification(n_tasks=8, n_samples=50, structure="low_rank", random_state=0)
    >>> model = TraceNormClassifier(alpha=0.05).fit(data.X, data.y, tasks=data.tasks)
    >>> model.coef_.shape
    (8, 20)
    """
