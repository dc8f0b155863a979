"""Everything that linear estimators share: parameters, fit, the linear predictor, score."""

import inspect
from abc import ABC, abstractmethod
from copy import copy
from dataclasses import field
from functools import cache
from typing import Annotated, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin

from .._callbacks import StepsMixin
from .._columns import warn_of_categories, without_column
from .._data import predict_rows
from .._inputs import check_numeric_target, shaped_offset, warn_of_exposures
from .._parameters import COUNT, STRENGTH, TaskColumn, documented, with_parameters
from .._sklearn import StrOptions, asks_for, validate_parameter_constraints
from .._target import TargetMixin
from .._tasks import TASKS_ARE_GIVEN, TaskInputMixin, by_name
from .._warn import warn
from ..solvers import SOLVERS
from ._add_task import TransferMixin
from ._fitting import Fitting

MIXED = (  # the models of random coefficients
    "MeanRegularizedRegressor and -Classifier, TaskRelationshipRegressor, GraphRegularizedRegressor and "
    "TemporalRegressor"
)
OF_MIXED = f"it belongs to models in which coefficients are random, {MIXED}."
INTERVALS = (
    f"prediction_interval is that of the regressors among {MIXED}; around any model are predict_interval of "
    "TaskConformalRegressor(model) and predict_set of TaskConformalClassifier(model)."
)

# what a docstring of a pair says differently of regression and of classification
REGRESSION = {
    "Kind": "Regression", "kind": "regression", "Model": "Regressor",
    "row_loss": "\\tfrac12 (y_i - x_i \\cdot w_t - b_t)^2",
    "closing": """The sample weights s_i are divided by their sum over the task. Another `loss` takes the
    place of the squared error.""",
}  # fmt: skip
CLASSIFICATION = {
    "Kind": "Classification", "kind": "classification", "Model": "Classifier",
    "row_loss": "\\, \\mathrm{loss}(y_i, x_i \\cdot w_t + b_t)",
    "closing": """The sample weights s_i are divided by their sum over the task. Two classes have one vector
    w_t, K classes K of them under the multinomial loss: one longer vector where the penalty is one of
    the whole matrix.""",
}  # fmt: skip


class derived:
    """An attribute of a fitted model that is formed when it is asked for; where one is stored that counts."""

    def __init__(self, form):
        self.form, self.__doc__ = form, form.__doc__

    def __get__(self, model, cls=None):
        return self if model is None else self.form(model)


class absent:
    """An attribute that only some models have; the error of others says which, or what serves."""

    def __init__(self, advice):
        self.advice = advice

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, model, cls=None):
        raise AttributeError(f"{cls.__name__} has no {self.name}: {self.advice}")


def estimator(cls):
    """Class decorator of estimators, and of what a pair of them shares; `alpha` may be given by position.

    The default strength of classifiers is 0.01 unless stated: the gradient of the logistic loss is at
    most 1/2 a row, so that on standardised features a strength of 1 leaves nothing of most models.
    """
    classifies = issubclass(cls, ClassifierMixin)
    if classifies:
        cls.__annotations__ = {"alpha": Annotated[float, STRENGTH], **inspect.get_annotations(cls)}
        cls.alpha = field(default=vars(cls).get("alpha", 0.01), kw_only=False)
    cls = with_parameters(cls)
    if not issubclass(cls, TargetMixin):
        cls._template, cls.__doc__ = cls.__doc__, None  # to be filled in for each of the two
        return cls
    return documented(cls, {"alpha": str(cls.alpha), **(CLASSIFICATION if classifies else REGRESSION)})


@with_parameters
class LinearModel(StepsMixin, TransferMixin, TaskInputMixin, BaseEstimator, ABC):
    """Linear predictor per task; a subclass states its penalty in `_penalty`.

    Parameters
    ----------
    alpha : float, default=%(alpha)s
        Strength of the whole penalty.
    ridge : float, default=0.0
        Adds ``ridge/2 ||W||_F^2``.
    intercept_alpha : float, default=0.0
        Partial pooling of the intercepts, adds ``intercept_alpha/2 sum_t (b_t - mean(b))^2``.
        They are those where all features are zero: centre the features.
    mean_alpha : float, optional
        Adds a shared model, W = 1 m' + V: the penalty acts on the deviations V, and m costs
        ``mean_alpha T/2 ||m||^2`` (0: free). None: no shared model.
    fit_intercept : bool, default=True
        Whether each task has an intercept.
    task_column : str or int, optional
        Column of X that holds the task, by name or position; then no `tasks` argument is needed.
    task_weight : {None, "samples"}, mapping or array-like of shape (n_tasks,), default=None
        Emphasis c_t of the tasks. None: each task counts the same; "samples": each row does.
    handle_unknown : {"error", "average"}, default="error"
        What to do at predict with a task not seen in fit; "average" uses `mean_coef_` and
        `mean_intercept_`.
    solver : str, default="auto"
        "fista", "bcd", "prox_newton", "splitting", "direct", "newton" or "alternating", see
        `skmtl.solvers.solve`; "auto" takes the fastest that applies.
    max_iter : int, default=10_000
        Limit of iterations.
    tol : float, default=1e-4
        Stop when the duality gap is at most tol times the objective at W = 0 (without a certificate:
        when the stationarity is at most tol times the gradient there).
    warm_start : bool, default=False
        Start from the previous solution if it has the same shape.
    verbose : int, default=0
        Print the gap while solving.

    Attributes
    ----------
    coef_ : ndarray of shape (n_tasks, n_features)
        W, its rows in the order of `tasks_`, without the task column; (n_features,) for a regressor fitted on
        one task by a 1-D y.
        For more than two classes (n_tasks, n_classes, n_features), for one task by a 1-D y
        (n_classes, n_features).
    intercept_ : ndarray of shape (n_tasks,) or float
        b, with one more axis for more than two classes.
    mean_coef_, mean_intercept_ : ndarray of shape (n_features,) and float
        The shared model m (with `mean_alpha`) or the average over tasks.
    deviation_coef_ : ndarray of shape (n_tasks, n_features)
        ``coef_ - mean_coef_``.
    n_iter_ : int
        Iterations of the solver.
    objective_ : float
        Objective at the solution.
    dual_gap_ : float
        Duality gap, an upper bound of ``objective_`` minus the optimum; NaN: no certificate.
    added_tasks_ : dict of {label: float}
        Tasks added by `fit_task` since the last fit, with the duality gap of each.
    """

    alpha: Annotated[float, STRENGTH] = field(default=1.0, kw_only=False)
    ridge: Annotated[float, STRENGTH] = 0.0
    intercept_alpha: Annotated[float, STRENGTH] = 0.0
    mean_alpha: Annotated[float | None, None, STRENGTH] = None
    fit_intercept: Annotated[bool, "boolean"] = True
    task_column: TaskColumn = None
    task_weight: Annotated[Any, None, StrOptions({"samples"}), dict, "array-like"] = None
    handle_unknown: Annotated[str, StrOptions({"error", "average"})] = "error"
    solver: Annotated[str, StrOptions({"auto", *SOLVERS})] = "auto"
    max_iter: Annotated[int, COUNT] = 10_000
    tol: Annotated[float, STRENGTH] = 1e-4
    warm_start: Annotated[bool, "boolean"] = False
    verbose: Annotated[int, "verbose"] = 0

    coef_std_, intercept_std_, test_sharing = absent(OF_MIXED), absent(OF_MIXED), absent(OF_MIXED)
    prediction_interval, predict_interval = absent(INTERVALS), absent(INTERVALS)

    # --- what a subclass states ---

    @abstractmethod
    def _penalty(self):
        """Omega, scaled by alpha."""

    def _prepare(self, data):
        """What the penalty needs to know of the tasks or the data, set before it is asked for."""

    _takes_statistics = False  # second moments in the place of rows

    def _warn_of_data(self, data):
        """Warnings about what the rows leave open."""

    def _warn_of_fit(self, data, result):
        """Warnings about what the solution leaves of the rows."""

    def _refuse_parts(self):
        """ValueError where parts of the rows, as they are read, are not parts of the data."""

    def _shared_mean(self):
        """Strength of the shared model, None for none."""
        return self.mean_alpha

    def _set_attributes(self, result):
        """Fitted attributes beyond the common ones."""
        self._set_parts(self._shaped(V) for V in result.parts)

    def _set_parts(self, parts):
        """Attributes that are summands of `coef_`, in its shape; a shared model may come behind them."""

    def _in_numbers(self):
        """The fitted model with numbers in the place of strengths that it has found."""
        return self

    def _in_numbers_on(self, fitting):
        """The same before the fit: a `Fitting` with the numbers, found on its data."""
        return fitting

    def _scaled(self, data):
        """The data, or moments of them, in the coordinates in which the penalty is what `_penalty` says."""
        return data

    def _scaled_rows(self, X, weight):
        """Features of a new task in these coordinates, and its emphasis c_t as `task_weight`."""
        return X, None

    def _unscaled(self, result):
        """A SolverResult with `coef` in the coordinates of the data."""
        return result

    def _remember(self, fitting):
        """Keep of the data what is asked of the model later."""

    # --- fit ---

    @classmethod
    @cache
    def _get_param_names(cls):
        """Names of the parameters: scikit-learn's, which looks at the signature in every fit."""
        return super()._get_param_names()

    def _validate_params(self):
        """Check the parameters that were set; the defaults are valid."""
        params = self.get_params(deep=False)
        given = {key: value for key, value in params.items() if value is not getattr(type(self), key, self)}
        try:
            validate_parameter_constraints(self._parameter_constraints, given, type(self).__name__)
        except ValueError as error:
            if given.get("alpha") != "auto" or "'alpha' parameter" not in str(error):
                raise
            raise type(error)(
                f"{error} Strengths by marginal likelihood, alpha='auto', are those of {MIXED}; for others "
                "search one, PathSearchCV(model)."
            ) from None

    def _fit(self, X, y, tasks, sample_weight, offset):
        metadata = {"tasks": tasks, "sample_weight": sample_weight, "offset": offset}
        with self._steps("iteration", X, y, **metadata) as after:
            fitting = Fitting.of_rows(self, X, y, tasks, sample_weight, offset)
            self._warn_of_data(fitting.data)
            if getattr(self._target_.loss, "log_link", False):
                warn_of_exposures(fitting.data.offset)
            if self._layout_ == "single":
                warn_of_categories(X, self)
                self._warn_of_forgotten_tasks(fitting.data)
            self._warn_of_free_mean(fitting.data)
            fitting.fit(after)

    def _warn_of_forgotten_tasks(self, data):
        """Warn where, without tasks, the strength of the penalty has no effect."""
        if self.alpha == 0 or asks_for(self, "tasks"):  # which is told already
            return
        weaker, stronger = copy(self), copy(self)
        weaker.alpha, stronger.alpha = 1.0, 2.0
        W = np.arange(1.0, 1 + data.n_features * self._n_outputs)[None]
        try:
            inert = weaker._penalty().value(W) == stronger._penalty().value(W)
        except TypeError:  # W is decomposed
            return
        if inert:
            warn(
                f"{type(self).__name__} was fitted without tasks: alpha={self.alpha!r} is about what they "
                f"have in common and has no effect. {TASKS_ARE_GIVEN}",
            )

    def _warn_of_free_mean(self, data):
        """Warn where no strength is about what all tasks share, and the features fit every row with it."""
        free, n_rows = self.mean_alpha == 0, data.X.shape[0]
        if self.mean_alpha or data.n_tasks == 1 or data.n_features < n_rows or getattr(self, "ridge", 0):
            return
        if self.alpha == 0 or not all(loss.translates for loss in np.atleast_1d(self._target_.loss)):
            return
        if not free:
            model, shared = copy(self), np.arange(1.0, 1 + data.n_features)
            model.alpha = 1.0
            try:
                free = model._penalty().value(np.tile(shared, (data.n_tasks, 1))) == 0
            except TypeError:  # W is decomposed
                return
        # constant features say nothing
        used = (data.X.max(axis=0) != data.X.min(axis=0)).sum() if free else 0
        if used >= n_rows:
            way, auto = "ridge" if self.mean_alpha is None else "mean_alpha", isinstance(self.alpha, str)
            warn(
                f"{way}=0 does not penalise the model that all tasks share, and {used} features "
                f"fit {'the mean of the columns of y in ' * (data.y.ndim == 2)}all {n_rows} rows with it, "
                f"whatever alpha. Give {way} > 0{', and a number as alpha,' * auto} or search it: "
                f"PathSearchCV(model, param_grid={{{way!r}: [0.01, 0.1, 1.0]}}).",
            )

    @by_name
    def alpha_max(self, X, y, *, tasks=None, sample_weight=None, offset=None):
        """Smallest `alpha` at which the penalised coefficients are all zero.

        The top of a sensible grid: ``np.geomspace(1e-3, 1, 30) * model.alpha_max(X, y)``.

        Parameters
        ----------
        X, y, tasks, sample_weight, offset
            As in `fit`.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the penalty has no norm (quadratic penalties never give exact zeros).
        """
        model = type(self)(**{**self.get_params(deep=False), "alpha": 1.0})
        return Fitting.of(model, X, y, tasks, sample_weight, offset).alpha_max()

    def _omega(self):
        """The penalty, with what a parameter says of the coefficients."""
        return self._penalty()

    def _read(self, X, y, tasks, sample_weight, offset):
        """Features, targets as numbers, positions of tasks, weights and offset of a fit, checked."""
        X, y, codes, sample_weight, offset = self._fit_inputs(X, y, tasks, sample_weight, offset)
        X = self._check_features(X)
        numbers = self._encode(y, codes, sample_weight)
        if numbers is not y or y.dtype != np.float64:  # else they are checked
            numbers = check_numeric_target(numbers)
        return X, numbers, codes, sample_weight, shaped_offset(offset, y.shape, self._n_outputs)

    _n_outputs = property(lambda self: self._target_.n_outputs)  # coefficient vectors per task

    def _start(self, data):
        """Parts of the fit before to start from, or None."""
        parts = getattr(self, "_parts_", None)
        shape = (data.n_tasks, data.n_features * self._n_outputs)
        model = copy(self)
        model.alpha = 1.0  # for the time being
        shapes = model._penalty().part_shapes(shape) + ([] if self._shared_mean() is None else [shape])
        return parts if parts and [V.shape for V in parts] == shapes else None

    def _store(self, result):
        """Fitted attributes from a SolverResult."""
        W, b = result.coef, result.intercept
        self._parts_, self.added_tasks_ = result.parts, {}
        mean = result.parts[-1][0] if self._shared_mean() is not None else W.sum(axis=0) / len(W)
        self.coef_, self.mean_coef_ = self._shaped(W), self._by_class(mean[None])[0]
        self.intercept_ = self._rows(b)
        self.mean_intercept_ = b.mean(axis=0) if b.ndim == 2 else float(b.sum() / len(b))
        self.n_iter_, self.objective_, self.dual_gap_ = result.n_iter, result.objective, result.gap
        self._set_attributes(result)
        return self

    @derived
    def deviation_coef_(self):
        """Coefficients less the shared model or their average."""
        return self.coef_ - self.mean_coef_

    def _all_names(self):
        """Names, or positions, of all columns."""
        return getattr(self, "feature_names_in_", np.arange(self.n_features_in_)).tolist()

    def _names(self):
        """Names, or positions, of the features without the task column."""
        return without_column(self._all_names(), self.task_column)

    def _shaped(self, V):
        """Coefficients V (n_tasks, n_outputs * n_features) in the shape of `coef_`."""
        return self._rows(self._by_class(V))

    def _by_class(self, V):
        """Rows (n, n_outputs * n_features), with an axis for the classes if there are more than two."""
        K = self._n_outputs
        return V if K == 1 else V.reshape(len(V), K, V.shape[1] // K)  # there may be no rows

    def _rows(self, V):
        """What has a row for every task, without that axis where scikit-learn has none: one from a 1-D y."""
        alone = self._layout_ == "single" and not (self._target_.scalar and isinstance(self, ClassifierMixin))
        return V[0] if alone else V

    # --- predict ---

    def _predictors(self, X, tasks):
        """x_i . w_t + b_t, as a `TargetMixin` asks for them, and the position of each row's task."""
        X, codes = self._predict_inputs(X, tasks)
        X = self._check_features(X)
        K, p = self._n_outputs, self.mean_coef_.shape[-1]
        W, b = np.reshape(self.coef_, (-1, K, p)), np.reshape(self.intercept_, (-1, K))
        if codes is None:
            return (X @ W.reshape(-1, p).T).reshape(-1, len(W), K) + b, None
        # code -1, an unknown task, picks the last row
        W = np.concatenate([W, np.reshape(self.mean_coef_, (1, K, p))])
        b, X = np.vstack([b, np.reshape(self.mean_intercept_, (1, K))]), X.tocsr() if issparse(X) else X
        return np.stack([predict_rows(X, codes % len(b), W[:, k], b[:, k]) for k in range(K)], -1), codes
