"""Everything that linear estimators share: parameters, fit, predict, score."""

import inspect
from dataclasses import KW_ONLY, dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets

from .._data import make_task_data, predict_rows, resolve_task_weight, text_columns
from .._problem import MomentsTerm, Problem
from .._tasks import TaskInputMixin, missing_labels
from ..losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, Loss, get_loss
from ..metrics import score_predictions
from ..solvers.solve import SOLVERS, alpha_max, run, solve
from ..statistics import TaskStatistics

COMMON_PARAMETERS = """alpha : float, default=1.0
        Strength of the whole penalty.
    ridge : float, default=0.0
        Adds ``ridge/2 ||W||_F^2``.
    intercept_alpha : float, default=0.0
        Partial pooling of the intercepts, adds ``intercept_alpha/2 sum_t (b_t - mean(b))^2``.
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
    solver : {"auto", "fista", "bcd", "direct", "newton"}, default="auto"
        Solver; "auto" takes the fastest that applies.
    max_iter : int, default=10_000
        Limit of iterations.
    tol : float, default=1e-4
        Stop when the duality gap is at most tol times the objective at W = 0.
    warm_start : bool, default=False
        Start from the previous solution if it has the same shape.
    verbose : int, default=0
        Print the gap while solving."""

COMMON_ATTRIBUTES = """coef_ : ndarray of shape (n_tasks, n_features)
        W without the task column; (n_features,) for a regressor fitted on one task by a 1-D y.
    intercept_ : ndarray of shape (n_tasks,) or float
        b.
    mean_coef_, mean_intercept_ : ndarray of shape (n_features,) and float
        The shared model m (with `mean_alpha`) or the average over tasks.
    deviation_coef_ : ndarray of shape (n_tasks, n_features)
        ``coef_ - mean_coef_``.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted task labels (names of the columns of a 2-D y): the order of the rows of `coef_`.
    n_tasks_ : int
        Number of tasks.
    n_iter_ : int
        Iterations of the solver.
    objective_ : float
        Objective at the solution.
    dual_gap_ : float
        Duality gap, an upper bound of ``objective_`` minus the optimum; NaN: no certificate.
    n_features_in_ : int
        Number of columns of X, task column included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Names of the columns of X, if X has string names."""

CLASSIFIER_ATTRIBUTES = """classes_ : ndarray of shape (2,)
        Class labels.
    """


def documented(cls):
    """Fill the common parameters and attributes into a class docstring."""
    parameters, attributes = COMMON_PARAMETERS, COMMON_ATTRIBUTES
    if issubclass(cls, ClassifierMixin):
        parameters = parameters.replace("default=1.0", "default=0.01")
        attributes = CLASSIFIER_ATTRIBUTES + attributes
    cls.__doc__ = cls.__doc__.replace("%(parameters)s", parameters).replace("%(attributes)s", attributes)
    return cls


def estimator(cls):
    """Class decorator of estimators: parameters are dataclass fields, keyword-only but for `alpha`.

    The default strength of classifiers is 0.01: the gradient of the logistic loss is at most 1/2 a
    row, so that on standardised features a strength of 1 leaves nothing of most models.
    """
    if issubclass(cls, ClassifierMixin):
        cls.__annotations__ = {"alpha": float, **inspect.get_annotations(cls)}
        cls.alpha = field(default=0.01, kw_only=False)
    return documented(dataclass(eq=False, repr=False, kw_only=True)(cls))


@dataclass(eq=False, repr=False)
class LinearModel(TaskInputMixin, BaseEstimator):
    """Linear predictor per task; a subclass states its penalty in `_penalty`."""

    alpha: float = 1.0
    _: KW_ONLY
    ridge: float = 0.0
    intercept_alpha: float = 0.0
    mean_alpha: float | None = None
    fit_intercept: bool = True
    task_column: str | int | None = None
    task_weight: Any = None
    handle_unknown: str = "error"
    solver: str = "auto"
    max_iter: int = 10_000
    tol: float = 1e-4
    warm_start: bool = False
    verbose: int = 0

    _parameter_constraints = {
        **TaskInputMixin._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="left")],
        "intercept_alpha": [Interval(Real, 0, None, closed="left")],
        "mean_alpha": [None, Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "task_weight": [None, StrOptions({"samples"}), dict, "array-like"],
        "solver": [StrOptions({"auto", *SOLVERS})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # --- what a subclass states ---

    def _penalty(self):
        """Omega, scaled by alpha."""
        raise NotImplementedError

    def _loss(self):
        """The loss of every task."""
        raise NotImplementedError

    def _shared_mean(self):
        """Strength of the shared model, None for none."""
        return self.mean_alpha

    def _set_attributes(self, result):
        """Fitted attributes beyond the common ones."""

    # --- fit ---

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, *, tasks=None, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Targets. 2-D: one task per column on a shared X, NaN for a missing label.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row of a 1-D `y`.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
            Nonnegative weights; a row of weight zero does not exist.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If an argument is malformed; the message names it.
        """
        data = self._read(X, y, tasks, sample_weight)
        result = solve(
            data, self._loss(), self._penalty(), fit_intercept=self.fit_intercept, ridge=self.ridge,
            intercept_alpha=self.intercept_alpha, mean_alpha=self._shared_mean(), init=self._start(data),
            solver=self.solver, max_iter=self.max_iter, tol=self.tol, verbose=self.verbose,
        )  # fmt: skip
        return self._store(result)

    def alpha_max(self, X, y, *, tasks=None, sample_weight=None):
        """Smallest `alpha` at which the penalised coefficients are all zero.

        The top of a sensible grid: ``np.geomspace(1e-3, 1, 30) * model.alpha_max(X, y)``.

        Parameters
        ----------
        X, y, tasks, sample_weight
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
        model._validate_params()
        return alpha_max(
            model._read(X, y, tasks, sample_weight), model._loss(), model._penalty(),
            fit_intercept=self.fit_intercept, ridge=self.ridge, intercept_alpha=self.intercept_alpha,
            mean_alpha=model._shared_mean(),
        )  # fmt: skip

    def _read(self, X, y, tasks, sample_weight):
        """TaskData of the arguments of fit."""
        X, y, tasks, sample_weight = self._fit_inputs(X, y, tasks, sample_weight)
        X = self._check_features(X, dtype="numeric")
        return make_task_data(
            X, self._encode(y, sample_weight), tasks, sample_weight=sample_weight,
            task_weight=self.task_weight, names=self.tasks_,
        )  # fmt: skip

    def _check_features(self, X, dtype):
        """X as a numeric array or CSR/CSC matrix."""
        try:
            numbers = check_array(
                X, accept_sparse=("csr", "csc"), dtype=dtype, estimator=self, input_name="X"
            )
            # categories come through as objects
            return numbers.astype(np.float64) if numbers.dtype.kind == "O" else numbers
        except ValueError as error:
            text = text_columns(X)
            if not text:
                raise
            raise ValueError(
                f"{error}. The column(s) {text} of X are not numbers: encode them, and if one of them holds "
                "the task of each row name it by task_column."
            ) from error

    def _start(self, data):
        """Parts to start from, or None."""
        parts = getattr(self, "_parts_", None) if self.warm_start else None
        n_parts = len(self._penalty().parts()) + (self._shared_mean() is not None)
        fits = parts and len(parts) == n_parts and parts[0].shape == (data.n_tasks, data.n_features)
        return parts if fits else None

    def _store(self, result):
        """Fitted attributes from a SolverResult."""
        W, b = result.coef, result.intercept
        self._parts_ = result.parts
        mean = result.parts[-1][0] if self._shared_mean() is not None else W.mean(axis=0)
        one = self._layout_ == "single" and not isinstance(self, ClassifierMixin)
        self.coef_, self.intercept_ = (W[0], float(b[0])) if one else (W, b)
        self.mean_coef_, self.mean_intercept_ = mean, float(b.mean())
        self.deviation_coef_ = self.coef_ - mean
        self.n_iter_, self.objective_, self.dual_gap_ = result.n_iter, result.objective, result.gap
        self._set_attributes(result)
        return self

    # --- predict ---

    def score(self, X, y, sample_weight=None, *, tasks=None):
        """R^2 of a regressor, accuracy of a classifier; missing labels (NaN in a 2-D y) are left out.

        Parameters
        ----------
        X, y
            As in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.

        Returns
        -------
        float
            For a 2-D y the plain mean over its columns.
        """
        return score_predictions(self, y, self.predict(X, tasks=tasks), sample_weight)

    def _linear_predictor(self, X, tasks):
        """x_i . w_t + b_t: (n_samples,), or (n_samples, n_tasks) for a shared design."""
        X, codes = self._predict_inputs(X, tasks)
        X = self._check_features(X, dtype=np.float64)
        W, b = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        if codes is None:
            eta = X @ W.T + b
            return eta[:, 0] if self._layout_ == "single" else eta
        # code -1, an unknown task, picks the last row
        W, b = np.vstack([W, self.mean_coef_]), np.append(b, self.mean_intercept_)
        return predict_rows(X.tocsr() if hasattr(X, "tocsr") else X, codes % len(b), W, b)


@dataclass(eq=False, repr=False, kw_only=True)
class LinearRegressor(RegressorMixin, LinearModel):
    """Regression on a linear predictor."""

    loss: Any = "squared_error"

    _parameter_constraints = {
        **LinearModel._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES)), Loss],
    }

    def _loss(self):
        return get_loss(self.loss, REGRESSION_LOSSES)

    def _encode(self, y, sample_weight):
        return y

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_statistics(self, stats):
        """Fit from second moments instead of rows.

        Parameters
        ----------
        stats : TaskStatistics
            Moments of the rows of X without a task column.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the loss is not the squared error.
        """
        if not isinstance(stats, TaskStatistics):
            raise TypeError(f"stats must be a TaskStatistics object; got {type(stats).__name__}.")
        if not self._loss().quadratic:
            raise ValueError(f"loss={self.loss!r} needs the rows; statistics serve the squared error only.")
        self._layout_, self.tasks_, self.n_tasks_ = "stacked", stats.tasks, stats.n_tasks
        self.n_features_in_ = stats.n_features + (self.task_column is not None)
        scale = resolve_task_weight(self.task_weight, stats.tasks, stats.weight) / stats.weight
        term = MomentsTerm(stats, scale, self.fit_intercept, self.intercept_alpha)
        problem = Problem(term, self._penalty(), self.ridge, self._shared_mean())
        return self._store(
            run(problem, self.solver, self._start(term), self.max_iter, self.tol, verbose=self.verbose)
        )

    def predict(self, X, *, tasks=None):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            2-D after a fit on a 2-D y (unless `tasks` is given).

        Raises
        ------
        ValueError
            If tasks are missing or unknown.
        """
        return self._linear_predictor(X, tasks)

    score = LinearModel.score  # not that of the mixin


@dataclass(eq=False, repr=False, kw_only=True)
class LinearClassifier(ClassifierMixin, LinearModel):
    """Binary classification by the logistic loss on a linear predictor."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _loss(self):
        return CLASSIFICATION_LOSSES["log_loss"]()

    def _encode(self, y, sample_weight):
        """Targets 0 and 1 (NaN where missing in a 2-D y); sets `classes_`."""
        used = ~missing_labels(y)
        if sample_weight is not None:
            used &= np.broadcast_to((sample_weight > 0).reshape(len(y), *[-1] * (y.ndim - 1)), y.shape)
        observed = y[used]
        if observed.dtype == object:
            observed = np.array(observed.tolist())
        check_classification_targets(observed)
        self.classes_ = np.unique(observed)
        if len(self.classes_) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is multiclass: "
                f"y has {len(self.classes_)} classes."
            )
        if len(self.classes_) < 2:
            raise ValueError(f"y holds only one class, {self.classes_.tolist()}; a classifier needs two.")
        codes = np.full(y.shape, 0.0 if y.ndim == 1 else np.nan)  # rows not used have weight zero in 1-D
        codes[used] = observed == self.classes_[1]
        return codes

    def decision_function(self, X, *, tasks=None):
        """Log-odds of ``classes_[1]``.

        Parameters
        ----------
        X, tasks
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
        """
        return self._linear_predictor(X, tasks)

    def predict(self, X, *, tasks=None):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)

        Raises
        ------
        ValueError
            If tasks are missing or unknown.
        """
        positive = self._linear_predictor(X, tasks) > 0
        return self.classes_[positive.astype(np.intp)]

    def predict_proba(self, X, *, tasks=None):
        """Probabilities of the two classes, in the order of `classes_`.

        Parameters
        ----------
        X, tasks
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_tasks)
            After a fit on a 2-D y the probability of ``classes_[1]`` in each task, as scikit-learn's
            classifiers give it for several binary outputs.
        """
        eta = self._linear_predictor(X, tasks)
        return np.column_stack([expit(-eta), expit(eta)]) if eta.ndim == 1 else expit(eta)

    score = LinearModel.score  # not that of the mixin
