"""Strengths of models whose tasks are coupled, by a graph that is given or by a covariance that is found."""

import numpy as np
from scipy import linalg

from .._parameters import with_parameters
from ..penalties import Coupling
from ._coupled_posterior import CoupledMoments
from ._covariance_search import CovarianceSearch
from ._empirical_bayes import EmpiricalBayesRegressor, as_fitted
from ._fitting import Fitting
from ._reml import Search
from ._sharing import coupling_test, sharing_tests
from ._task_priors import CovariancePrior, GraphPrior

SINGULAR = 1e-8  # of the largest eigenvalue of a covariance: what stands for zero


@with_parameters
class GraphCoupledRegressor(EmpiricalBayesRegressor):
    """Regression whose objective is the posterior of coefficients that vary along the edges of a graph.

    Parameters
    ----------
    alpha : float or "auto", default=%(alpha)s
        Strength of the whole penalty. "auto": by restricted maximum likelihood (REML), where the penalty
        is that of squared differences alone (no L1 or group norm, `mean_alpha`, `ridge`); then `task_weight`
        None is "samples", as the noise is that of a row.

    Attributes
    ----------
    deviation_variance_ : float
        Where a strength is "auto": the covariance of a coefficient over the tasks is this times the
        pseudo-inverse of the Laplacian, on a chain it is the variance of a step. What all tasks of a
        connected component have in common is free.
    """

    # a subclass has _laplacian_of_tasks(), the Laplacian, None for that of all pairs with weight 1/T

    def _moments_of(self, seen, precision, free):
        moments, M = super()._moments_of(seen, precision, free), self._laplacian_of_tasks()
        if M is None:
            return moments
        return CoupledMoments.joined(moments, GraphPrior(M, seen.n_features, len(moments.xx) == 1))

    def _own_moments(self, seen, precision, free, at):
        return super()._moments_of(seen, precision, free)

    def _fitting_on(self, seen, found=None):
        coupled = found is not None and isinstance(found.moments, CoupledMoments)
        return Fitting(self, seen, start=[found.slopes * found.root] if coupled else None)

    @as_fitted
    def test_sharing(self):
        """Test whether the coefficients differ along the edges of the graph at all.

        The restricted likelihood ratio between the model and that of coefficients which are the same in all
        tasks of a connected component.

        Returns
        -------
        dict of {str: LikelihoodRatio}
            "slopes", with a `statistic` and a `p_value`: by simulation of the null distribution, the variance
            of the intercepts held at its estimate. Where this takes too long (more than 1000 coefficients, of
            tasks with rows of their own) it is that of half a chi-square with one degree of freedom, which is
            a little too large.

        References
        ----------
        Crainiceanu & Ruppert (2004), Likelihood ratio tests in linear mixed models with one variance
        component, J. Royal Statistical Society B 66, https://doi.org/10.1111/j.1467-9868.2004.00438.x
        """
        moments, seen = self._known_posterior().moments, self._seen_of(self._seen_)
        if not isinstance(moments, CoupledMoments):
            precision = self._precision(seen)[0]
            found = sharing_tests(seen, lambda own, free: self._moments_of(own, precision, free))
            return {"slopes": found["slopes"]}
        return {"slopes": coupling_test(Search(moments, strength=self._given_strength()))}


@with_parameters
class RelatedTasksRegressor(EmpiricalBayesRegressor):
    """Regression whose objective is the posterior of coefficients with a covariance over the tasks.

    Parameters
    ----------
    alpha : float or "auto", default=%(alpha)s
        Strength of the whole penalty. "auto": the covariance of the coefficients over the tasks, and with it
        C and alpha, by restricted maximum likelihood (REML), without any other penalty (`mean_alpha`,
        `ridge`); then `task_weight` None is "samples". Coefficients are those under
        ``alpha/2 tr(W' C^-1 W)`` with this C. It is that of tasks that are alike, ``level I + common 11'``,
        plus ``F F'`` with as many factors F (n_tasks, n_factors) as Akaike's criterion, in Hurvich & Tsai's
        form for few coefficients, finds worth their numbers: a C without structure would have the rank of the
        features and fit them as they come.

    Attributes
    ----------
    deviation_variance_ : float
        With ``alpha="auto"``: the covariance of a coefficient over the tasks is
        ``deviation_variance_ * task_covariance_``, and `alpha_` is `noise_variance_` over
        `deviation_variance_` and the mean weight of a task (its number of rows).
    n_factors_ : int
        With ``alpha="auto"``: factors of the covariance. Standard errors take these as they are, and are too
        small by as much as they are uncertain.
    """

    _prior_ = _given_ = None  # C, and its inverse in a model in numbers

    def _refuse_other_models(self, what):
        super()._refuse_other_models(what)
        for name, needed in (("mean_alpha", None), ("alpha", "auto")):
            value = getattr(self, name)
            if value != needed:
                raise ValueError(
                    f"{what} of a covariance between tasks needs {name}={needed!r}; got {value!r}."
                )

    def _remember(self, fitting):
        if isinstance(self.alpha, str):
            super()._remember(fitting)

    def _moments_of(self, seen, precision, free):
        prior = self._prior_ or CovariancePrior(0.0, np.zeros((seen.n_tasks, 1)))
        return CoupledMoments.joined(super()._moments_of(seen, precision, free), prior)

    def _search(self, seen):
        free = not isinstance(self.intercept_alpha, str) and self.intercept_alpha == 0
        return CovarianceSearch(self._moments(seen, free), self._given_strength())

    def _estimate(self, seen):
        self._prior_, search = None, self._search(seen)
        moments, theta = search.moments, search.best()
        found, self._theta_ = search.at(theta), theta
        prior, none = found.moments.prior, search.none(theta)
        self.n_factors_, size = prior.root.shape[1] - 1, float(np.trace(prior.covariance()))
        self._prior_ = CovariancePrior(prior.level / size, prior.root / np.sqrt(size))
        self.noise_variance_ = float(found.noise) if found.noise * moments.df > moments.least else 0.0
        self.log_marginal_likelihood_ = float(found.log_likelihood)
        self.alpha_ = 1 / (size * self._unit_)
        self.deviation_variance_ = 0.0 if none[:2].all() else self.noise_variance_ * size
        self._set_intercepts(found.strength, none[2:].any())
        return found

    def _fitting_on(self, seen, found=None):
        values, vectors = linalg.eigh(self._prior_.covariance())
        self._given_ = (vectors / np.maximum(values, SINGULAR * values[-1])) @ vectors.T
        return Fitting(self, seen, start=[found.slopes])

    def _omega(self):
        return super()._omega() if self._given_ is None else Coupling(self.alpha, M=self._given_)

    def _expected(self, seen):
        return self._search(seen).expected(self._theta_)

    def _of_tasks(self):
        if self.added_tasks_:
            raise ValueError(
                f"{type(self).__name__} gives no standard errors once fit_task has added tasks: how these "
                "vary with the others is not known."
            )
        return super()._of_tasks()
