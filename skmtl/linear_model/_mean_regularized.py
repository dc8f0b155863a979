"""Tasks that lie around a common model: mean regularisation."""

from dataclasses import field
from typing import Annotated

from .._parameters import STRENGTH
from ..penalties import Coupling
from ._base import LinearClassifier, LinearModel, estimator
from ._empirical_bayes import Auto
from ._random_coefficients import RandomCoefficients, RandomCoefficientsRegressor


@estimator
class MeanRegularized(LinearModel):
    """%(Kind)s with one model per task, pulled towards the mean of all.

    Minimises, over W and b, with wbar the mean of the w_t,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i %(row_loss)s
        + \\tfrac{\\alpha}{2} \\sum_t \\| w_t - \\bar w \\|^2
        + \\tfrac{\\alpha_{mean} T}{2} \\| \\bar w \\|^2

    ``mean_alpha = alpha`` is one ridge regression per task; a huge `alpha` gives one pooled model with
    an intercept per task.

    Parameters
    ----------
    mean_alpha : float, default=0.0
        Strength on the mean of the tasks.

    Notes
    -----
    With ``alpha="auto"`` or ``intercept_alpha="auto"`` the model is one of random coefficients,
    ``w_t ~ N(wbar, V)``. With the squared error strengths are those of restricted maximum likelihood. With
    "log_loss" and "poisson" it is a generalized linear mixed model with a dispersion of one:
    the w_t, and intercepts that vary, are integrated out by Laplace's approximation about the mode of all
    coefficients, which is the fit itself,

    .. math::

        -2 \\log L(V) = 2 \\min_{W, b} \\Big[ \\sum_i s_i \\, \\ell(y_i, \\eta_i)
        + \\tfrac12 \\sum_t (w_t - \\bar w)' V^{-1} (w_t - \\bar w) \\Big]
        + \\sum_t \\log | I + V X_t' H_t X_t |

    with H_t the second derivatives of the loss there times the sample weights s_i, which are numbers of rows.
    Of more than two classes the w_t are the coefficients of each, which vary alike; standard errors are those
    of coefficients and intercepts less their mean over the classes.
    The common coefficients wbar, and intercepts that are free, are not integrated out but taken at the mode
    (maximum, not restricted maximum likelihood, as ``glmer(nAGQ=0)`` of lme4): with them the integral has no
    bound where the classes of every task are separable. Variances are too small where tasks have few rows of
    two classes (Breslow & Clayton). Standard errors are not: where intercepts are pooled they are about the
    variances of the exact marginal likelihood, and those of the exact posterior of a task, by importance
    sampling about the fit (of simulated coefficients 92 to 96% were within 1.96 of them with 10 to 100 rows
    a task, more where they hardly vary). Variances are held at a standard deviation of 3 of what a feature
    adds to the predictors (10 of intercepts). Where common coefficients separate the classes nothing is known
    of variances: a warning says that they are zero.

    References
    ----------
    Evgeniou & Pontil (2004), Regularized multi-task learning, KDD,
    https://doi.org/10.1145/1014052.1014067; Breslow & Clayton (1993), Approximate inference in generalized
    linear mixed models, J. American Statistical Association 88, https://doi.org/10.2307/2290687; Tierney &
    Kadane (1986), Accurate approximations for posterior moments and marginal densities, ibid. 81,
    https://doi.org/10.2307/2287970; Rasmussen & Williams (2006), Gaussian processes for machine learning,
    section 5.5 (the derivative, by way of the mode)

    Examples
    --------
    >>> from skmtl import MeanRegularized%(Model)s
    >>> from skmtl.datasets import make_multitask_%(kind)s
    >>> data = make_multitask_%(kind)s(n_tasks=5, n_samples=30, structure="mean", random_state=0)
    >>> model = MeanRegularized%(Model)s(alpha=0.1, intercept_alpha=0.1)
    >>> model.fit(data.X, data.y, tasks=data.tasks).mean_coef_.shape
    (20,)
    """

    mean_alpha: Annotated[float, STRENGTH] = 0.0

    def _penalty(self):
        return Coupling(self.alpha) + Coupling(self.mean_alpha, M="shared")

    def _shared_mean(self):
        return None  # the mean is that of the tasks, not a model of its own


@estimator
class MeanRegularizedRegressor(MeanRegularized, RandomCoefficientsRegressor):
    alpha: Auto = field(default=1.0, kw_only=False)  # again: the first base has those of all models
    intercept_alpha: Auto = 0.0


@estimator
class MeanRegularizedClassifier(MeanRegularized, RandomCoefficients, LinearClassifier):
    alpha: Auto = 0.01
    intercept_alpha: Auto = 0.0
