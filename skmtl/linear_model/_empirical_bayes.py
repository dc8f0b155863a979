"""Strengths that are estimated, and how sure a model of tasks around a common one is of its coefficients."""

from copy import copy
from dataclasses import field, replace
from types import MappingProxyType
from typing import Annotated

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from .._data import make_task_data
from .._inputs import check_numbers, resolve_task_weight
from .._parameters import AUTO, STRENGTH, with_parameters
from .._tasks import by_name
from .._warn import warn
from ..solvers import blas_threads
from ..statistics import TaskStatistics
from ._base import LinearModel
from ._correlations import correlated
from ._fitting import Fitting, as_fitted, standard_errors
from ._reml import Search
from ._sharing import sharing_tests
from ._variance_components import FAR_FROM_ZERO, Moments, matrix, triangular

FAR_APART = 10.0  # ratio of standard deviations of features, from where one variance for all predicts worse
NO_VARIANCE = 1e-12  # of the mean variance: what stands for zero where it must be divided by
LATER = {"handle_unknown", "max_iter", "solver", "tol", "verbose", "warm_start"}  # no parameters of a model
CHUNK_NUMBERS = 2**22  # in the matrices of the tasks of some rows at a time

Auto = Annotated[float | str, STRENGTH, AUTO]


@with_parameters
class EmpiricalBayes(LinearModel):
    """Linear model whose objective is the posterior of a model in which the coefficients of tasks are random.

    Parameters
    ----------
    alpha : float or "auto", default=%(alpha)s
        Strength of the penalty on what tasks do not have in common. "auto": by marginal likelihood,
        restricted (REML) for the squared error and by Laplace's method for other losses, without any other
        penalty (`mean_alpha`, `ridge`, ...); then `task_weight` None is "samples", as the noise is that of a
        row.
    intercept_alpha : float or "auto", default=0.0
        Partial pooling of the intercepts, adds ``intercept_alpha/2 sum_t (b_t - mean(b))^2``. "auto": as
        for `alpha`; 0: intercepts are free.

    Attributes
    ----------
    alpha_, intercept_alpha_ : float
        Strengths, where one is "auto". With ``task_weight="samples"`` (and what else is estimated) they give
        the same fit. Where the variance is zero, a strength at which it is none to 8 digits.
    noise_variance_ : float
        Variance of a row (of weight 1), where a strength is "auto"; 1 with "log_loss" and "poisson".
    intercept_variance_ : float
        Variance of the intercepts, where a strength is "auto"; infinite where these are free.
    constant_features_ : ndarray of int
        Where a strength is "auto": positions of the features that are constant within every task, where
        deviations of coefficients are not told from those of the intercepts.
    log_marginal_likelihood_ : float
        Restricted log-likelihood at the strengths, where one is "auto", but for a constant of the weights;
        with "log_loss" and "poisson" the log-likelihood, by Laplace's approximation.
    """

    alpha: Auto = field(default=1.0, kw_only=False)
    intercept_alpha: Auto = 0.0

    covariance = None  # within a task, where a class has it as a parameter
    _covariance_of_auto = "spherical"  # that of None, where it is estimated
    _beside = "mean_alpha", "ridge"  # parameters that must be zero: what they add is no part of the model
    _covariance_ = None  # V, where more than one variance was found, positive also where these are none
    _asked_ = MappingProxyType({})  # parameters of the fit
    _rooted_ = None, None  # a covariance that was given, and R
    _units_ = None  # variances of coefficients that stand for a covariance that is not given
    _seen_ = _posterior_ = None  # moments of the rows, or the rows themselves, and what they tell
    _added_ = {}  # moments of tasks that were added; never changed in place

    # --- strengths ---

    _estimates = property(lambda self: isinstance(self.alpha, str) or isinstance(self.intercept_alpha, str))

    _correlates = property(lambda self: isinstance(self.covariance, str) and self.covariance == "full")

    def _refuse_other_models(self, what):
        """ValueError where the objective is not the posterior of a mixed model."""
        for name in self._beside:
            if value := getattr(self, name):
                raise ValueError(f"{what} is about this penalty alone: {name} must be 0; got {value!r}.")
        self._refuse_other_losses(what)

    def _refuse_other_losses(self, what):
        """ValueError where the loss is of no model of the rows that is known here."""
        if not self._target_.loss.quadratic:
            raise ValueError(f"{what} needs loss='squared_error'; got loss={self.loss!r}.")

    def _seen_of(self, data):
        """What the model sees of the data: second moments, where these are all it needs."""
        return data if isinstance(data, TaskStatistics) else TaskStatistics.of_rows(data)

    def _precision(self, moments):
        """Factor of the weights of the rows of each task, and what turns alpha into a ratio of variances."""
        task_weight, mass = self.task_weight, moments.weight
        unit = mass.sum() / len(mass)
        if (task_weight is None and self._estimates) or isinstance(task_weight, str):
            return np.ones(len(mass)), unit
        return resolve_task_weight(task_weight, moments.tasks, mass) * (unit / mass), unit

    @as_fitted
    def _in_numbers(self):
        numbers = copy(self)
        if self._estimates:
            numbers.alpha, numbers.intercept_alpha = self.alpha_, self.intercept_alpha_
            numbers.task_weight = "samples" if self.task_weight is None else self.task_weight
            if self._units_ is not None:
                numbers.covariance = self._units_
            if self._covariance_ is not None:
                V = numbers.covariance = self._covariance_
                numbers.alpha = float(1 / (np.mean(V.diagonal() if V.ndim == 2 else V) * self._unit_))
        return numbers

    def _in_numbers_on(self, fitting):
        self._seen_, self._posterior_, self._added_ = None, None, {}
        self._covariance_ = self._units_ = None
        self._rooted_ = None, None
        self._asked_ = {name: vars(self)[name] for name in {*self._get_param_names()} - LATER}
        found = isinstance(self.covariance, str) and self.covariance != "spherical"
        if found and not isinstance(self.alpha, str):
            raise ValueError(
                f"covariance={self.covariance!r} is found with alpha='auto' only; got alpha={self.alpha!r}. "
                "With a number give the covariance as an array."
            )
        if not self._estimates and self._root() is None:
            return fitting
        self._refuse_other_models("alpha='auto'" if self._estimates else "covariance")
        seen = self._seen_ = self._seen_of(fitting.data)
        self._units_ = self._default_units(seen)
        if not self._estimates:
            self._root(seen.n_features)
            return self._fitting_on(seen)
        with blas_threads(seen):
            found = self._estimate(seen)
        return self._in_numbers()._fitting_on(seen, found)

    def _fitting_on(self, seen, found=None):
        """`Fitting` on what was seen, at strengths in numbers, which were found at a `Posterior`."""
        known = found is not None and self._shared_mean() is None  # else of the sum of two parts
        return Fitting(self, seen, start=[self._in_scale(found.coef)] if known else None)

    def _in_scale(self, W):
        """Slopes (n_tasks, n_outputs * n_features) for the features of `_scaled`."""
        root = self._root()
        if root is None:
            return W
        return np.linalg.solve(matrix(root), W.reshape(-1, len(root)).T).T.reshape(W.shape)

    def _moments(self, seen, free, noise_needed=True):
        """`Moments` of the rows; ValueError where they leave nothing of which the noise could be told."""
        precision, self._unit_ = self._precision(seen)
        moments = self._moments_of(seen, precision, free)
        if moments.df < 1 and noise_needed:
            n_rows = int(moments.count.sum())
            raise ValueError(
                "variances need more rows than fixed effects, the common coefficients and free intercepts: "
                f"got {n_rows} sample(s) for {n_rows - moments.df}. Pool the intercepts "
                "(intercept_alpha='auto'); with more features than rows give numbers as strengths, "
                "mean_alpha > 0 among them."
            )
        return moments

    def _moments_of(self, seen, precision, free):
        """What the model needs to know of the rows."""
        return Moments.of(seen, precision, self.fit_intercept, free)

    def _search(self, seen):
        """`Search` of what is to be estimated."""
        given = self._root(seen.n_features)
        several = seen.n_tasks > 1  # of one there is no variance to be found
        moments = self._moments(seen, self.intercept_alpha == 0, several)
        kind = "spherical" if given is not None else self.covariance or self._covariance_of_auto
        kind = "diagonal" if kind == "full" else kind
        return Search(moments, kind, self._given_root(moments), self._given_strength(), given)

    def _estimate(self, seen):
        """Set the strengths, and the variances that go with them; the `Posterior` there."""
        search = self._search(seen)
        self._warn_of_features(search)
        self._warn_of_single_rows(search.moments)
        search, self._theta_ = self._best(search)
        moments, theta = search.moments, self._theta_
        self._warn_of_no_noise(moments)
        if search.n_slopes == 1 and search.covariance == "spherical" and search.unit is None:
            self._warn_of_units(moments)
        found = search.at(theta)
        zero = theta >= search.scales[2] if len(theta) else np.zeros(0, dtype=bool)
        if self._correlates:
            found, self.covariance_shrinkage_ = correlated(search, theta)
            if search.ties:
                zero[-1] = np.log(found.strength) >= search.scales[2][-1]
        self._set_fit(found, moments)
        self._set_slopes(found.slope_root, zero, search)
        self._set_intercepts(found.strength, search.ties and zero[-1])
        return found

    def _warn_of_features(self, search):
        """Warn of those of whose variance, or beside which of the intercepts, the rows say little."""
        constant = np.flatnonzero(search.silent[: search.n_slopes])
        if len(constant) and self.covariance is not None and search.moments.n_tasks > 1:
            warn(
                f"covariance={self.covariance!r}: feature(s) {self._first(constant)} are constant within "
                "every task, where deviations of their coefficients are not told from those of intercepts: "
                "their variance is taken to be zero.",
            )
        far = search.moments.far
        if isinstance(self.intercept_alpha, str) and len(far):
            warn(
                f"intercept_alpha='auto': intercepts are those at X = 0, {FAR_FROM_ZERO:.0f} standard "
                f"deviations and more from the mean of feature(s) {self._first(far)}: their variance there "
                "says little. Centre the features.",
            )

    def _warn_of_single_rows(self, moments):
        """Warn where levels and noise are one sum."""
        pooled = isinstance(self.intercept_alpha, str) and self.fit_intercept and self._target_.loss.quadratic
        if pooled and moments.n_tasks > 1 and (moments.count <= 1).all():
            warn(
                "intercept_alpha='auto': one row of each task does not tell the variance of intercepts from "
                "that of the noise, and intervals for new rows of these tasks are no good. Give "
                "intercept_alpha a number, the ratio of noise to intercepts.",
            )

    def _warn_of_no_noise(self, moments):
        """Warn where the coefficients of one task, of which no variance is found, fit its rows perfectly."""
        if self._target_.loss.quadratic and moments.df < 1:
            warn(
                f"{int(moments.count.sum())} row(s) of one task do not outnumber its coefficients, and "
                "nothing tells the noise: noise_variance_ is 0, and there are no standard errors.",
            )

    def _warn_of_units(self, moments):
        """Warn where one variance of all coefficients is found for features in units that are far apart."""
        if moments.n_tasks < 2 or not isinstance(self.alpha, str):
            return
        sizes = np.sqrt(moments.feature_variances)
        some = np.flatnonzero(sizes)
        least, most = (some[best(sizes[some])] for best in (np.argmin, np.argmax)) if len(some) else (0, 0)
        if sizes[most] > FAR_APART * sizes[least]:
            names = self._first(np.array([most, least]) % len(self._names()))
            warn(
                "alpha='auto': one variance is found for the coefficients of all features, in the units in "
                f"which they are, but feature {names[0]!r} varies {sizes[most] / sizes[least]:.2g} times as "
                f"much as {names[1]!r}: use StandardScaler in front, or covariance='diagonal' "
                "where there is that parameter.",
            )

    def _first(self, features):
        """Names of the first of some features."""
        return [self._names()[j] for j in features[:5]]

    def _best(self, search):
        """The search, or a simpler one, and the unknowns at its least criterion."""
        return search, search.best()

    def _set_fit(self, found, moments):
        """Set what is known of all rows together."""
        self.constant_features_ = np.flatnonzero(moments.constant)
        self.noise_variance_ = float(found.noise) if found.noise * moments.df > moments.least else 0.0
        self.log_marginal_likelihood_ = float(found.log_likelihood)

    def _set_slopes(self, root, zero, search):
        """Set `alpha_` and `deviation_variance_`; `zero` says which unknowns are no variance."""
        given = 1.0 if self._root() is None else self._normed(self._given)
        if not search.n_slopes:
            self.alpha_ = float(self.alpha)
            self.deviation_variance_ = self._over(self.noise_variance_, self.alpha_) * given
            return
        V = root @ root.T if root.ndim == 2 else root**2
        level = np.mean(V.diagonal() if V.ndim == 2 else V)
        if search.covariance == "spherical":
            self.alpha_ = float(1 / (level * self._unit_))
            self.deviation_variance_ = self.noise_variance_ * (0.0 if zero[0] else level) * given
            return
        self._covariance_ = V  # zeros in the units of features
        if root.ndim == 1:
            V = np.where(zero[: search.n_slopes], 0.0, V)
            level = V.mean() if V.any() else level
            V = np.diag(V) if self._correlates else V
        else:
            V = np.where(np.logical_or.outer(*[search.silent[: len(V)]] * 2), 0.0, V)
        self.alpha_ = float(1 / (level * self._unit_))
        self.deviation_variance_ = self.noise_variance_ * V

    def _set_intercepts(self, strength, zero):
        """Set `intercept_alpha_` and `intercept_variance_`; whether the latter is zero."""
        if not isinstance(self.intercept_alpha, str):
            self.intercept_alpha_ = float(self.intercept_alpha)
        else:
            self.intercept_alpha_ = float(strength / self._unit_) if self.fit_intercept else 0.0
        none = zero or not self.fit_intercept
        self.intercept_variance_ = 0.0 if none else self._over(self.noise_variance_, self.intercept_alpha_)

    def _over(self, noise, alpha):
        """The variance of a strength."""
        return float(noise / (alpha * self._unit_)) if alpha else np.inf

    # --- covariances that are given ---

    def _default_units(self, seen):
        """Variances of the coefficients (n_features,), of which only the ratios count; None: all alike."""
        return None

    _given = property(lambda self: self._units_ if self.covariance is None else self.covariance)

    def _normed(self, covariance):
        """Variances or a covariance as floats with a mean variance of one; ValueError if it is none."""
        V = check_numbers(covariance, "covariance", allow_nd=True)
        variances = V.diagonal() if V.ndim == 2 else V
        symmetric = V.ndim == 1 or (V.shape[0] == V.shape[1] and np.allclose(V, V.T))
        none = isinstance(self.alpha, str) and not variances.any()  # there is nothing to be estimated
        if V.ndim > 2 or not symmetric or (variances < 0).any() or none:
            raise ValueError(
                "covariance must hold nonnegative variances (n_features,), not all zero, or a symmetric "
                f"positive semidefinite matrix (n_features, n_features); got shape {V.shape} with variances "
                f"from {variances.min(initial=0.0):g} to {variances.max(initial=0.0):g}."
            )
        return V / variances.mean() if variances.any() else np.ones(len(V))

    def _root(self, n_features=None):
        """R with R R' the covariance that is given, or None."""
        given = self._given
        if given is None or isinstance(given, str):
            return None
        if n_features is None and self._rooted_[0] is given:
            return self._rooted_[1]
        self._rooted_ = given, self._root_of(given, n_features)
        return self._rooted_[1]

    def _root_of(self, covariance, n_features):
        V = self._normed(covariance)
        if n_features is not None and len(V) != n_features:
            raise ValueError(f"covariance is of {len(V)} features; X has {n_features}.")
        if V.ndim == 1:
            return np.sqrt(np.where(V > 0, V, NO_VARIANCE * V[V > 0].min()))
        values = np.linalg.eigvalsh(V)
        if values[0] < -1e-8 * values[-1]:
            raise ValueError("covariance must be positive semidefinite.")
        return triangular(V, NO_VARIANCE)

    def _given_root(self, moments):
        """R over the noise, where alpha is a number."""
        if isinstance(self.alpha, str):
            return None
        root = self._root(moments.xy.shape[1])
        root = np.ones(moments.xy.shape[1]) if root is None else root
        told = (matrix(root) ** 2).sum(axis=1) * moments.information()[1]
        most = told.max(initial=0.0) or 1.0
        least = np.where(told > 0, told, most) if root.ndim == 1 else most  # whatever the units of features
        return root / np.sqrt(np.maximum(self.alpha * self._unit_, NO_VARIANCE * least))

    def _given_strength(self):
        """Noise variance over that of the intercepts, where this is a number."""
        return None if isinstance(self.intercept_alpha, str) else self.intercept_alpha * self._unit_

    def _scaled(self, data):
        root = self._root()
        if root is None:
            return data
        return (self._seen_of(data) if self._target_.loss.quadratic else data).turned(root)

    def _scaled_rows(self, X, weight):
        root, mass = self._root(), X.shape[0] if weight is None else weight.sum()
        if root is not None:
            X = X @ (sparse.diags_array(root) if sparse.issparse(X) and root.ndim == 1 else matrix(root))
        # as in the fit: each row counts the same, where strengths were found under that rule
        return X, np.array([mass / self._unit_]) if "alpha_" in vars(self) else None

    def _unscaled(self, result):
        root = self._root()
        if root is None:
            return result
        W = result.coef
        return replace(result, coef=(W.reshape(-1, len(root)) @ matrix(root).T).reshape(W.shape))

    # --- what is kept of the data ---

    def _remember(self, fitting):
        if self._seen_ is None and not any(getattr(self, name) for name in self._beside):
            data, term = fitting.data, fitting.term
            plain = isinstance(data, TaskStatistics) or (data.unit == 1).all()
            self._seen_ = term.seen() if term.on_moments and plain else data

    def _remember_added(self, task, X, y, given):
        if self._seen_ is not None:
            self._added_ = {**self._added_, task: self._seen_of(make_task_data(X, y, **given))}

    def __getstate__(self):
        state = {**super().__getstate__()}  # which may be the fitted attributes themselves
        if not isinstance(state.get("_seen_"), TaskStatistics):
            state.pop("_seen_", None)
        state.pop("_posterior_", None)
        state.pop("_rooted_", None)
        return state

    # --- how sure ---

    @as_fitted
    def _known_posterior(self):
        """`Posterior` of the tasks of the fit, at variances that are found as they are expected to be."""
        check_is_fitted(self)
        if self._posterior_ is None:
            self._refuse_other_models("uncertainty")
            seen = self._seen_
            if seen is None:
                raise ValueError(
                    f"this {type(self).__name__} holds no second moments of its data: one that was saved "
                    "has none of a fit of classes or counts, or on few rows of many features. Fit it again "
                    "for standard errors."
                )
            seen = self._seen_of(seen)
            with blas_threads(seen):
                self._posterior_ = self._expected(seen)
        return self._posterior_

    def _expected(self, seen):
        """The same anew."""
        found = self._at_estimate(seen)
        if not self._estimates:
            return found
        search = self._search(seen)
        given, move = self._refined(search)
        root, strength, variances, tails = search.expected(*given)
        if self._correlates:  # no less than without correlations, where these are hardly above zero
            known = search.ratios(given[0])[0]
            R = (known / search.ratios(self._theta_)[0])[:, None] * matrix(found.slope_root)
            V = R @ R.T
            more = np.where(root == known, 0.0, root**2 - V.diagonal())
            root = triangular(V + np.diag(np.maximum(more, 0.0)), NO_VARIANCE)
        found = found.under(root, min(found.strength or 0.0, strength or 0.0))
        found.precision_variances, found.tails = variances, tails
        if move is not None:
            found.refine(move)
        return found

    def _refined(self, search):
        """What `Search.expected` is told, and how far common coefficients move or None."""
        return (self._theta_,), None

    def _at_estimate(self, seen):
        """The same at the strengths of the fit."""
        numbers = self._in_numbers()
        moments = self._moments(seen, numbers.intercept_alpha == 0)
        numbers._unit_ = self._unit_
        return moments.posterior(numbers._given_root(moments), numbers._given_strength())

    def _of_tasks(self):
        """(Posterior, positions in `tasks_` of its tasks): those of the fit, then each that was added."""
        posterior, labels = self._known_posterior(), self.tasks_.tolist()
        first = [j for j, one in enumerate(labels) if one not in self.added_tasks_]
        yield posterior, np.array(first, np.intp)
        for label in self.added_tasks_:
            seen = self._added_[label]
            precision = np.ones(1) if self._estimates else self._unit_ / seen.weight
            at = np.array([labels.index(label)])
            yield posterior.of(self._own_moments(seen, precision, posterior.moments.free, at)), at

    def _own_moments(self, seen, precision, free, at):
        """Moments of the rows of a task that was added, at these positions."""
        return self._moments_of(seen, precision, free)

    def _levels(self, posterior):
        """Variances of deviations and of a row, times those of the model, (n_tasks,) each.

        The noise of rows is taken to be the same, where a number as strength and an emphasis of the tasks are
        not meant as its variance.
        """
        precision = posterior.moments.precision
        ones = np.full(len(precision), posterior.tails)
        return (ones, ones / precision) if self._estimates else (precision, ones)

    def _errors(self, X, codes, of_rows):
        """Standard errors of predictors, or of targets, of rows of the tasks at these positions, or -1."""
        out = np.empty((len(codes), *np.shape(self.mean_intercept_)))
        step = max(CHUNK_NUMBERS // max(X.shape[1], 1) ** 2, 1)
        models = list(self._of_tasks())
        for start in range(0, len(codes), step):
            rows, own = X[start : start + step], codes[start : start + step]
            rows, found = rows.toarray() if sparse.issparse(rows) else rows, out[start : start + step]
            unknown = own < 0
            if unknown.any():
                found[unknown] = (models[0][0].new_variances(rows[unknown]) + of_rows) * models[0][0].tails
            for posterior, positions in models:
                place = np.full(self.n_tasks_ + 1, -1)
                place[positions] = np.arange(len(positions))
                at = np.flatnonzero(place[own] >= 0)
                task = place[own[at]]
                deviation, row = self._levels(posterior)
                variances = posterior.predictor_variances(rows[at], task)
                found[at] = (variances.T * deviation[task] + of_rows * row[task]).T
        return self._in_units(out, np.finfo(float).tiny)  # infinite ones as well

    def _in_units(self, variances, least=0.0):
        """Standard errors of variances over that of the noise; their product may be no number."""
        noise = self.noise_variance_ if self._estimates else self._known_posterior().noise
        return max(noise, least) ** 0.5 * np.sqrt(variances)

    @standard_errors
    def coef_std_(self):
        """Standard errors of `coef_`, in its shape.

        Of a coefficient about its estimate, common ones and those of estimated variances included. Such a
        variance that is hardly above zero is taken to be what it is expected to be, given the rows: at zero
        the errors would be too small. What is less certain of the noise as strengths are estimated makes
        errors wider, so that 1.96 of them hold as many as a quantile of t with Satterthwaite's degrees of
        freedom for the noise (Biometrics Bulletin 2, 1946, https://doi.org/10.2307/3002019).
        """
        check_is_fitted(self)
        out = np.empty((self.n_tasks_, *np.shape(self.mean_coef_)))
        for posterior, positions in self._of_tasks():
            out[positions] = (posterior.slope_variances().T * self._levels(posterior)[0]).T
        return self._rows(self._in_units(out))

    @standard_errors
    def intercept_std_(self):
        """Standard errors of `intercept_`, in its shape."""
        check_is_fitted(self)
        if not self.fit_intercept:
            return self._rows(np.zeros((self.n_tasks_, *np.shape(self.mean_intercept_))))
        X = np.zeros((self.n_tasks_, np.shape(self.mean_coef_)[-1]))
        return self._rows(self._errors(X, np.arange(self.n_tasks_), False))

    @standard_errors
    def mean_coef_std_(self):
        """Standard errors of `mean_coef_` (n_features,).

        About the common coefficients; of `TaskRelationshipRegressor` about the mean of those of these tasks.
        """
        self._known_posterior()  # says why there may be none
        return self._in_units(self._at_estimate(self._seen_of(self._seen_)).mean_variance())

    @standard_errors
    def mean_intercept_std_(self):
        """Standard error of `mean_intercept_`.

        About the common intercept; about the mean of the intercepts of these tasks where they are free.
        """
        self._known_posterior()
        found = self._in_units(self._at_estimate(self._seen_of(self._seen_)).mean_intercept_variance())
        return found if found.ndim else float(found)

    # --- whether tasks differ ---

    @by_name
    @as_fitted
    def test_sharing(self):
        """Test whether the coefficients, and the intercepts, of the tasks differ at all.

        Restricted likelihood ratios between the mixed model and the same one without the variance that is
        tested, which is found anew with one variance for all slopes in units of what the rows tell of them;
        the other variances are in both those without it.

        Returns
        -------
        dict of {str: LikelihoodRatio}
            "slopes" and "intercepts"; with ``covariance`` None or "diagonal" also one of every feature, by
            its name, else x0, x1, ..., in the model with a variance for each, found anew for each test: with
            50 tasks some seconds for 50 features, half a minute for 100. Each has a `statistic` and a
            `p_value` by simulation of the null distribution (10,000 draws: none is below 0.0001); from 1000
            tasks on that of a ratio which common effects take no part in.
            With "log_loss" and free intercepts the null distribution takes into account that these are
            fitted. Tests of the intercepts may be conservative where a class is rare (2 % at a level of 5 %).
            Where classes and counts tell little of a task (second derivatives of its losses that add up to
            less than 5 in the mean, as those of 20 rows of two equal classes) the p-value of the slopes is
            that of the score of their variance, on 999 data sets with the same slopes for all tasks and the
            sum of targets (the rows of each class) of every task as it is; with unequal sample weights that
            are no whole numbers, or more than 20,000 rows or slopes (of more than two classes times their
            number), it is that of the ratio, and a warning says where it is too small. A feature that is
            constant within every task has no test, its p-value is NaN.
            Of a graph or an order the slopes are those that vary along its edges, and p-values are of half a
            chi-square where tasks with rows of their own have more than 1000 coefficients; of a covariance
            between tasks they are those about a common model, whatever the covariance.

        References
        ----------
        Crainiceanu & Ruppert (2004), Likelihood ratio tests in linear mixed models with one variance
        component, J. Royal Statistical Society B 66, https://doi.org/10.1111/j.1467-9868.2004.00438.x; Besag
        & Clifford (1989), Generalized Monte Carlo significance tests, Biometrika 76,
        https://doi.org/10.1093/biomet/76.4.633 (draws of more than two classes)
        """
        free, seen = self._known_posterior().moments.free, self._seen_of(self._seen_)
        with blas_threads(seen):
            return self._tests(seen, free)

    def _tests(self, seen, free):
        """Those of `test_sharing`."""
        precision = self._precision(seen)[0]
        return sharing_tests(seen, lambda own, free: self._tested_moments(own, precision, free), free)

    def _tested_moments(self, seen, precision, free):
        """`Moments` of a model whose slopes and intercepts may differ."""
        return self._moments_of(seen, precision, free)
