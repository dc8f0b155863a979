"""Tasks that lie around a common model: mean regularisation."""

from numbers import Real

from .._sklearn import Interval
from ..penalties import Coupling
from ._base import LinearClassifier, LinearModel, LinearRegressor, estimator


@estimator
class MeanRegularized(LinearModel):
    """%(kind)s with one model per task, pulled towards the mean of all.

    Minimises, over W and b, with wbar the mean of the w_t,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\tfrac{\\alpha}{2} \\sum_t \\| w_t - \\bar w \\|^2
        + \\tfrac{\\alpha_{mean} T}{2} \\| \\bar w \\|^2

    with s_i the sample weights divided by their sum over the task. ``mean_alpha = alpha`` is one
    ridge regression per task; a huge `alpha` gives one pooled model with an intercept per task.

    %(classes)s

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    %(attributes)s

    Notes
    -----
    `mean_alpha` is here the strength on the mean of the tasks and 0.0 by default.

    References
    ----------
    Evgeniou & Pontil (2004), Regularized multi-task learning, KDD,
    https://doi.org/10.1145/1014052.1014067
    """

    mean_alpha: float = 0.0

    _parameter_constraints = {
        "mean_alpha": [Interval(Real, 0, None, closed="left")],
    }

    def _penalty(self):
        return Coupling(self.alpha) + Coupling(self.mean_alpha, M="shared")

    def _shared_mean(self):
        return None  # the mean is that of the tasks, not a model of its own


@estimator
class MeanRegularizedRegressor(MeanRegularized, LinearRegressor):
    """
    >>> from skmtl import MeanRegularizedRegressor
    >>> from skmtl.datasets import load_hsb82
    >>> data = load_hsb82()
    >>> model = MeanRegularizedRegressor(alpha=0.5, intercept_alpha=0.1)
    >>> model = model.fit(data.data, data.target, tasks=data.tasks)
    >>> model.coef_.shape[0]
    160
    """


@estimator
class MeanRegularizedClassifier(MeanRegularized, LinearClassifier):
    """
    >>> from skmtl import MeanRegularizedClassifier
    >>> from skmtl.datasets import make_multitask_classification
    >>> data = make_multitask_classification(n_tasks=5, n_samples=30, structure="mean", random_state=0)
    >>> model = MeanRegularizedClassifier(alpha=0.1, mean_alpha=0.01).fit(data.X, data.y, tasks=data.tasks)
    >>> model.n_tasks_
    5
    """
