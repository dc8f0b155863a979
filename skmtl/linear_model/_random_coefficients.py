"""Tasks that vary around a common model: variances of coefficients, found or given, under several losses."""

from typing import Annotated, Any

import numpy as np

from .._parameters import with_parameters
from .._sklearn import StrOptions
from .._tables import shown_names
from .._warn import warn
from ._empirical_bayes import EmpiricalBayes
from ._fitting import Fitting
from ._intervals import EmpiricalBayesRegressor
from ._laplace import LOST, ModeMoments
from ._sampled import refined, told_by_points
from ._seen_rows import SeenRows
from ._sharing import feature_tests
from ._variance_components import NoModeError, feature_variances

EXPLAINED = 0.01  # share of the variation within tasks that is left where slopes explain too much
COVARIANCES = {"spherical", "diagonal", "full"}


def _as_many_slopes(moments):
    """Whether tasks have as many slopes that vary as rows, and are several."""
    slopes = moments.n_tasks * np.count_nonzero(~moments.constant)
    return moments.n_tasks > 1 and slopes >= moments.count.sum()


@with_parameters
class RandomCoefficients(EmpiricalBayes):
    """Linear model whose objective is the posterior of a mixed model, in which tasks vary around their mean.

    Parameters
    ----------
    covariance : {"spherical", "diagonal", "full"} or array-like, default=None
        How the coefficients of tasks vary. With ``alpha="auto"``: all alike ("spherical"), by default those
        of features in units of their standard deviation (with "log_loss" and "poisson" in units as they are,
        or "diagonal" where Akaike's criterion finds that better); each feature with a variance of its own
        ("diagonal"); with correlations as well ("full", for few features),
        shrunk to the diagonal as much as predicts left-out tasks best. Or variances (n_features,) or a
        covariance V (n_features, n_features), of which only the ratios count: the penalty is
        ``alpha/2 sum_t (w_t - wbar)' V^-1 (w_t - wbar)`` with V divided by its mean variance.

    Attributes
    ----------
    deviation_variance_ : float, or ndarray of shape (n_features,) or (n_features, n_features)
        Variance of the coefficients between tasks, where a strength is "auto". Unless it is spherical, it is
        the `covariance` that goes with `alpha_`.
    covariance_shrinkage_ : float
        Share of the correlations that is left out, with ``covariance="full"``.
    """

    covariance: Annotated[Any, None, StrOptions(COVARIANCES), "array-like"] = None

    _covariance_of_auto = "diagonal"

    def _default_units(self, seen):
        if self.covariance is not None or not isinstance(self.alpha, str) or not self._target_.loss.quadratic:
            return None
        variances = feature_variances(seen)
        return 1 / np.where(variances > 0, variances, 1.0)

    # --- losses that are not the squared one ---

    def _refuse_other_losses(self, what):
        loss = self._target_.loss
        if isinstance(loss, list):
            raise ValueError(
                f"{what} needs the same classes in every task; got tasks with classes of their own."
            )
        if not (loss.quadratic or loss.normalizer(np.empty(0)) is not None):
            raise ValueError(
                f"{what} needs a loss that is minus a log-likelihood, 'squared_error', 'poisson' or "
                f"'log_loss'; got loss={self.loss!r}. Give numbers as strengths, or search "
                "them: PathSearchCV(model)."
            )

    def _seen_of(self, data):
        if self._target_.loss.quadratic:
            return super()._seen_of(data)
        return data if isinstance(data, SeenRows) else SeenRows(data, self._target_.loss)

    def _moments_of(self, seen, precision, free):
        if self._target_.loss.quadratic:
            return super()._moments_of(seen, precision, free)
        return ModeMoments.on(seen.likelihood(precision, self.fit_intercept, free))

    def _estimate(self, seen):
        vars(self).pop("_covariance_of_auto", None)
        return super()._estimate(seen)

    def _best(self, search):
        error = search.without_mode()
        if error is None:
            try:
                return self._simplest(*super()._best(search))
            except NoModeError as error:  # it is there, but lost in rounding
                raise ValueError(f"{LOST} Or {error}") from error
        warn(
            f"{error} The rows say nothing of the variances, which are taken to be zero. Give numbers as "
            "strengths, mean_alpha > 0 among them, or search: PathSearchCV(model, param_grid={'alpha': "
            "[0.01, 0.1, 1.0], 'mean_alpha': [0.01, 0.1]}).",
        )
        theta = search.none
        search.last = theta, error.found.under(*search.ratios(theta))
        return search, theta

    def _set_slopes(self, root, zero, search):
        super()._set_slopes(root, zero, search)
        moments = search.moments
        total, told = moments.yy.sum(), self._target_.loss.quadratic and search.n_slopes
        left = self.noise_variance_ * moments.df if told else np.inf
        if _as_many_slopes(moments) and left < EXPLAINED * total:
            rows = int(moments.count.sum())
            warn(
                f"alpha='auto': the slopes of {moments.n_tasks} tasks explain all but {left / total:.2g} of "
                f"the variation in {rows} rows, which may be noise: its variance, and intervals with it, "
                "are then too small. Give more rows, fewer features, or covariance='spherical'.",
            )

    def _simplest(self, search, theta):
        """The same, or one variance for all where the rows are not known to tell of several.

        Of numbers variances between the two, where several leave too little of the noise.
        """
        if self._target_.loss.quadratic and search.n_slopes > 1 and _as_many_slopes(search.moments):
            return search, search.leaving_noise(theta)
        if self._target_.loss.quadratic or self.covariance is not None or search.n_slopes < 2:
            return search, theta
        search, theta = search.simplest(theta)
        self._covariance_of_auto = search.covariance
        return search, theta

    def _refined(self, search):
        if self._target_.loss.quadratic or not told_by_points(search.moments):
            return super()._refined(search)
        try:
            return refined(search, self._theta_)
        except np.linalg.LinAlgError as error:  # derivatives that are not finite
            raise ValueError(LOST) from error

    def _own_moments(self, seen, precision, free, at):
        if self._target_.loss.quadratic:
            return super()._own_moments(seen, precision, free, at)
        rows = seen.likelihood(precision, self.fit_intercept, free)
        W, b = self.coef_[at], self.intercept_[at]
        found = rows.moments(rows.at(W, b))[0]
        found.seen = rows, W, b
        return found

    def _fitting_on(self, seen, found=None):
        if self._target_.loss.quadratic:
            return super()._fitting_on(seen, found)
        start = [self._in_scale(found.slopes)] if found is not None and found.settled else None
        return Fitting(self, seen.data.emphasised(self.task_weight), start=start)

    def _tests(self, seen, free):
        found = super()._tests(seen, free)
        if isinstance(self.alpha, str) and self.covariance in (None, "diagonal"):
            own = feature_tests(self._moments_of(seen, self._precision(seen)[0], free))
            found |= dict(zip(shown_names("features", self._names()), own, strict=True))
        return found


@with_parameters
class RandomCoefficientsRegressor(RandomCoefficients, EmpiricalBayesRegressor):
    """Regression whose objective is the posterior of a mixed model."""
