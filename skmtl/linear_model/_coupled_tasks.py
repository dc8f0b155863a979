"""Strengths of models whose tasks are coupled, by a graph that is given or by a covariance that is found."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._parameters import with_parameters
from ..objective import eigenvectors
from ..penalties import Coupling, Metric
from ._coupled_posterior import CoupledMoments
from ._covariance_search import CovarianceSearch
from ._fitting import as_fitted
from ._intervals import EmpiricalBayesRegressor
from ._task_priors import CovariancePrior, GraphPrior

SINGULAR = 1e-8  # eigenvalue of a covariance of trace one: what stands for zero


@dataclass(eq=False, repr=False)
class Related(Coupling):
    """The same, and what a new task is pulled to: `pull`, of the mean of the tasks."""

    pull: Any = None

    def frozen(self, V):
        """Its penalty."""
        return [self.pull(V.mean(axis=0))]


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

    _prior_ = None  # C
    _coupling_ = None  # of a model in numbers

    def _refuse_other_models(self, what):
        super()._refuse_other_models(what)
        for name, needed in (("mean_alpha", None), ("alpha", "auto")):
            value = getattr(self, name)
            if value != needed:
                raise ValueError(f"{what} of a covariance of tasks needs {name}={needed!r}; got {value!r}.")

    def _remember(self, fitting):
        if isinstance(self.alpha, str):
            super()._remember(fitting)

    def _moments_of(self, seen, precision, free):
        moments = self._tested_moments(seen, precision, free)
        if seen.n_tasks == 1:  # which shares nothing: its coefficients are free
            return moments
        prior = self._prior_ or CovariancePrior(0.0, np.zeros((seen.n_tasks, 1)))
        return CoupledMoments.joined(moments, prior)

    def _tested_moments(self, seen, precision, free):
        return super()._moments_of(seen, precision, free)

    def _own_moments(self, seen, precision, free, at):
        return self._tested_moments(seen, precision, free)

    def _search(self, seen):
        if seen.n_tasks == 1:
            return super()._search(seen)
        return CovarianceSearch(self._moments(seen, self.intercept_alpha == 0), self._given_strength())

    def _estimate(self, seen):
        self._prior_ = None
        if seen.n_tasks == 1:
            self._prior_, self.n_factors_ = CovariancePrior(1.0, np.zeros((1, 1))), 0
            return super()._estimate(seen)
        search = self._search(seen)
        moments, theta = search.moments, search.best()
        self._warn_of_units(moments)
        self._warn_of_single_rows(moments)
        found, self._theta_ = search.at(theta), theta
        self._set_fit(found, moments)
        prior, none = found.moments.prior, search.none(theta)
        self.n_factors_, size = prior.root.shape[1] - 1, np.trace(prior.covariance())
        self._prior_ = CovariancePrior(max(prior.level / size, SINGULAR), prior.root / np.sqrt(size))
        size = float(size * search.units[0])
        self.alpha_ = 1 / (size * self._unit_)
        self.deviation_variance_ = 0.0 if none[:2].all() else self.noise_variance_ * size
        self._set_intercepts(found.strength, none[2:].any())
        return found

    @as_fitted
    def _in_numbers(self):
        numbers = super()._in_numbers()
        if isinstance(self.alpha, str):
            values, vectors = eigenvectors(self._prior_.covariance())
            M = (vectors / values) @ vectors.T if len(values) > 1 else np.zeros((1, 1))
            numbers._coupling_ = Related(numbers.alpha, M, self._pull_of_new)
        return numbers

    def _pull_of_new(self, center):
        """Penalty of a task that varies about the mean of the others as these do."""
        root = self._at_estimate(self._seen_).new_root
        values, vectors = eigenvectors(root @ root.T)
        return Metric(center, 1 / (values * self._unit_), vectors.T)

    def _omega(self):
        return self._coupling_ or super()._omega()

    def _expected(self, seen):
        if seen.n_tasks == 1:
            return super()._expected(seen)
        return self._search(seen).expected(self._theta_)
