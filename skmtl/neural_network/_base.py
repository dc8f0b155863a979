"""What the estimators share: parameters, reading of rows, fit, the linear predictor, transform."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from numbers import Real
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._callbacks import StepsMixin
from .._data import task_data
from .._inputs import (
    check_numeric_target,
    check_rows,
    less_offset,
    observed,
    refuse_size,
    shaped_offset,
)
from .._labels import missing_labels
from .._parameters import AUTO, COUNT, FRACTION, POSITIVE, STRENGTH, TaskColumn, with_parameters
from .._sklearn import Options, StrOptions
from .._tasks import TaskInputMixin, all_or_nothing, by_name
from ..losses import Huber, Multinomial
from ._minimise import Adam
from ._network import ACTIVATIONS, Network
from ._rows import Rows, Units, as_floats, merged
from ._training import LBFGS_ROWS, Training, comparable

LEARNED = "_theta_", "_network_"
UNCHOSEN = 64, 32  # layers where none can be chosen
OF_MEDIANS = 0.37  # share of normal rows whose variance says as much as the deviation of all from a median


@with_parameters
class MLP(StepsMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, TaskInputMixin, BaseEstimator):
    """What the three share; a subclass encodes targets and states losses.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int or "auto", default="auto"
        Widths of the layers of a trunk, at least one; they train in single precision where X is float32.
        "auto": those with the best score on held-out rows, from narrow to wide; one layer, or two of the
        same width; (64, 32) with Adam, with `max_iter` below 600 or where nothing can be held out.
    activation : {"auto", "identity", "relu", "tanh", "logistic"}, default="auto"
        Activation of the layers; "identity": linear models of a low rank. "auto": "relu" for layers that
        are given, else chosen with them among "identity", "tanh" and "relu".
    sharing : {"hard", "attention", "soft"}, default="hard"
        "hard": one trunk for all tasks, one linear head for each. "attention": `n_experts` trunks, of which
        every task takes a weighted mean. "soft": one trunk per task, pulled together by `coupling`.
    n_experts : int, default=4
        Trunks with ``sharing="attention"``.
    coupling : float, default=1.0
        Strength of ``coupling/2 sum_t ||theta_t - mean(theta)||^2`` with ``sharing="soft"``. Tasks of
        different kinds couple their trunks only.
    head_alpha : float or "auto", default="auto"
        Strength of ``head_alpha/2 sum_t ||v_t - mean(v)||^2``, for tasks of one kind and not with
        ``sharing="soft"``. "auto": chosen with `alpha` where that is "auto", else as `alpha`.
    intercept_alpha : float or "auto", default="auto"
        Adds ``intercept_alpha/2 sum_t (b_t - mean(b))^2``; if not zero, the targets of all tasks are
        standardised alike. "auto": where they have about the same variance in all tasks, the ratio of the
        variances within and between tasks of what the trunk leaves (random intercepts); otherwise 0. It
        depends on how many rows a task has, of which a weight of 2 is two: a factor of all weights counts.
    alpha : float or "auto", default="auto"
        Strength of the squared norm of all weights. "auto": the best on held-out rows, with layers that
        are chosen uphill from a middle one, else along a path of rising strengths; then goes on with all
        rows.
    task_weight : {"size", "equal", "uncertainty", "dynamic"} or mapping {task: weight}, default="size"
        Emphasis c_t of the tasks, of mean one. "size": each label counts the same; "equal": each task;
        "uncertainty": those of "size" divided by the held-out loss of a first training; "dynamic":
        learned while training, less for a task whose held-out loss has left its best behind.
    solver : {"auto", "lbfgs", "adam"}, default="auto"
        "auto": L-BFGS up to 5000 rows, Adam above.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch of Adam; "auto": 200.
    learning_rate_init : float, default=0.001
        Step of Adam. Training that leaves the finite numbers is a ValueError with the epoch and the task.
    max_iter : int, default=1200
        Epochs of Adam, or iterations of L-BFGS, of a whole fit: four fifths are for the search, if any. A
        `ConvergenceWarning` says that they were too few.
    tol : float, default=1e-4
        Relative improvement that counts for `n_iter_no_change`; L-BFGS stops when the gradient is below
        ``tol/100`` or the objective falls by less than ``1e-4 tol`` of itself.
    early_stopping : bool or "auto", default="auto"
        Whether to stop, and take the best parameters, by the loss on held-out rows; "auto": with Adam.
    validation_fraction : float, default=0.2
        Part of the rows of every task to hold out where that is needed: for `alpha="auto"`, early
        stopping, learned task weights. Equal rows are never separated (up to 5000 rows).
    n_iter_no_change : int, default=10
        Epochs without improvement before stopping, a third in the search; five iterations of L-BFGS are one.
    task_column : str or int, optional
        Column of X that holds the task, by name or position; then no `tasks` argument is needed.
    handle_unknown : {"error", "average"}, default="error"
        What to predict for a task not seen in fit; "average": the mean of the predictors of all tasks.
    warm_start : bool, default=False
        Start from the previous solution if it has the same shape; layers that were chosen stay.
    random_state : int, RandomState instance or None, default=None
        Of the initial weights, the hold-out and the minibatches.
    verbose : int, default=0
        Print the loss while training. Callbacks of scikit-learn (1.9 on) see every epoch, and may end it.

    Attributes
    ----------
    coefs_ : dict of {str: ndarray}
        All parameters by name: ``W0``, ``b0``, ... of the trunks, of shapes (n_trunks, width below, width)
        and (n_trunks, 1, width), ``heads`` (n_tasks, n_outputs, width), ``offsets`` (n_tasks, n_outputs),
        and for attention ``gates`` (n_tasks, n_experts).
        They act on columns of X that are scaled where absolute values go beyond 100 or stay below 1/30,
        and shifted where they are far from zero compared with their range.
    hidden_layer_sizes_ : tuple of int
        Widths of the layers.
    activation_ : str
        Activation of the layers.
    alpha_ : float
        Strength used.
    head_alpha_ : float
        Strength of the pull of the heads to their mean.
    intercept_alpha_ : float
        Strength of the pull of the offsets to their mean, in standard deviations of the targets.
    alpha_scores_ : dict of {float: float}
        Held-out score of every strength tried, the best over `head_alpha`.
    task_weight_ : ndarray of shape (n_tasks,)
        Emphasis c_t used, of mean one.
    attention_ : ndarray of shape (n_tasks, n_experts)
        Weights of the experts in every task, softmax of the gates; only with ``sharing="attention"``.
    n_iter_ : int
        Epochs of Adam or iterations of L-BFGS, those of the search for alpha included.
    loss_ : float
        Objective at the end.
    loss_curve_ : list of float
        Objective after every epoch or iteration of the last training.
    validation_scores_ : list of float
        Minus the held-out loss in the same places; empty where nothing was held out.
    """

    hidden_layer_sizes: Annotated[Any, AUTO, "array-like", COUNT] = "auto"
    activation: Annotated[str, StrOptions({"auto", *ACTIVATIONS})] = "auto"
    sharing: Annotated[str, StrOptions({"hard", "attention", "soft"})] = "hard"
    n_experts: Annotated[int, COUNT] = 4
    coupling: Annotated[float, STRENGTH] = 1.0
    head_alpha: Annotated[Any, AUTO, STRENGTH] = "auto"
    intercept_alpha: Annotated[Any, AUTO, STRENGTH] = "auto"
    alpha: Annotated[Any, AUTO, STRENGTH] = "auto"
    task_weight: Annotated[Any, StrOptions({"size", "equal", "uncertainty", "dynamic"}), Mapping] = "size"
    solver: Annotated[str, StrOptions({"auto", "lbfgs", "adam"})] = "auto"
    batch_size: Annotated[Any, AUTO, COUNT] = "auto"
    learning_rate_init: Annotated[float, POSITIVE] = 1e-3
    max_iter: Annotated[int, COUNT] = 1200
    tol: Annotated[float, STRENGTH] = 1e-4
    early_stopping: Annotated[Any, "boolean", AUTO] = "auto"
    validation_fraction: Annotated[float, FRACTION] = 0.2
    n_iter_no_change: Annotated[int, COUNT, Options(Real, {np.inf})] = 10
    task_column: TaskColumn = None
    handle_unknown: Annotated[str, StrOptions({"error", "average"})] = "error"
    warm_start: Annotated[bool, "boolean"] = False
    random_state: Annotated[Any, "random_state"] = None
    verbose: Annotated[int, "verbose"] = 0

    _units_ = _adam_ = None  # in networks of version 0.1.0 as well

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- fit ---

    def _fit(self, X, y, tasks, sample_weight, offset):
        """Trained parameters; callbacks of scikit-learn see every epoch."""
        given = {"tasks": tasks, "sample_weight": sample_weight, "offset": offset}
        before = getattr(self, "_theta_", None) if self.warm_start else None
        with self._steps("epoch", X, y, **given) as tell:
            training = self._training(X, y, **given, goes_on=before is not None)
            training.tell = tell and (lambda found: tell(lambda: dict(zip(LEARNED, found(), strict=True))))
            self._keep(training, *training.run(before))

    def _keep(self, training, theta, progress):
        """Fitted attributes, of parameters and of the progress of the last minimisation."""
        theta, self._network_ = training.of_X(theta, training.network)
        self._adam_, self.n_iter_ = None, training.n_iter
        self.alpha_, self.alpha_scores_ = training.alpha, training.alpha_scores
        self.task_weight_, self.loss_ = training.emphasis, (progress.curve or [np.nan])[-1]
        self.loss_curve_, self.validation_scores_ = progress.curve, progress.scores
        self._store(theta)

    def _generators(self):
        """For parameters and training, and for the order of rows: the same start whatever the layout."""
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31)).spawn(2)

    def _training(self, X, y, tasks, sample_weight, offset, classes=None, goes_on=False):
        """The training of a network on rows with standardised targets."""
        rng, row_rng = self._generators()
        X, y, codes, sample_weight, offset = self._fit_inputs(X, y, tasks, sample_weight, offset)
        X = as_floats(self._check_features(X))
        refuse_size((X.shape[1],), "a weight for every column")
        if classes is not None:
            self._take_classes(classes)
        numbers = self._encode(y, codes, sample_weight) if classes is None else self._recode(y, codes)
        offset = shaped_offset(offset, y.shape, self._n_outputs)
        if self._layout_ == "single":
            numbers, offset = numbers[:, None], None if offset is None else offset[:, None]
        place = np.arange(len(y), dtype=np.float64)[:, None]
        numbers = check_numeric_target(numbers)
        data = task_data(place, numbers, codes, sample_weight, offset, None, self.tasks_)
        data = data.without_offset(self._moves)
        weight = np.array(np.broadcast_to(data.row_weight, data.y.shape))
        codes = None if codes is None else data.spread(np.arange(self.n_tasks_))
        rows = Rows(X[data.X[:, 0].astype(np.intp)], data.y, weight, codes, self.n_tasks_, data.offset)
        rows = rows.take(np.flatnonzero(weight.reshape(len(rows), -1).any(axis=1)))
        self._units_ = Units.of(rows.X)
        rows = rows if self._units_ is None else replace(rows, X=self._units_.apply(rows.X))
        rows = merged(rows, row_rng) if len(rows) <= LBFGS_ROWS else rows
        mass, rows = rows.task_sums(1.0), rows.normalised()
        self._center_, self._scale_, common = self._standards(rows, mass)
        network, rows = self._make_network(rows.X, goes_on), self._standardised(rows)
        pools = common and self.intercept_alpha == "auto"
        return Training(self, network, rows, mass, self._offsets(rows), rng, pools)

    def _read_more(self, X, y, tasks, sample_weight, offset):
        """Rows for the network fitted before."""
        X, codes = self._predict_inputs(X, tasks)
        y = self._check_target(y, has_rows_of_tasks=codes is not None)
        sample_weight = 1.0 if sample_weight is None else sample_weight
        weight, offset = check_rows(X, y, sample_weight, offset)
        if (y.ndim == 2) != (self._layout_ == "shared") or (y.ndim == 2 and y.shape[1] != self.n_tasks_):
            raise ValueError(f"y of shape {y.shape} does not fit the {self.n_tasks_} task(s) seen first.")
        offset = shaped_offset(offset, y.shape, self._n_outputs)
        shape = (len(y), -1) if codes is None else len(y)
        weight = np.where(missing_labels(y).reshape(shape), 0.0, weight.reshape(shape))
        numbers = check_numeric_target(self._recode(y, codes)).reshape(shape)
        rows = Rows(self._inputs(X), observed(numbers, weight > 0), weight, codes, self.n_tasks_, offset)
        if offset is not None:
            rows.y, rows.offset = less_offset(rows.y, offset, rows.spread(self._moves))
        rows = rows if codes is None else rows.take(np.argsort(codes, kind="stable"))
        return self._standardised(rows.normalised())

    def _standardised(self, rows):
        """The rows with targets in the units of the network, in its precision."""
        y = (rows.y - rows.spread(self._center_)) / rows.spread(self._scale_)
        dtype, offset = rows.X.dtype, rows.offset
        offset = None if offset is None else offset.astype(dtype)
        return replace(rows, y=y.astype(dtype), weight=rows.weight.astype(dtype), offset=offset)

    def _recode(self, y, codes):
        """Targets as numbers by the known classes; NaN where missing."""
        of_task = np.arange(self.n_tasks_) if codes is None else codes
        return self._target_.encode(y, ~missing_labels(y), of_task)

    def _inputs(self, X):
        """X in the units and the precision of the fitted network."""
        X = as_floats(self._check_features(X))
        return (X if self._units_ is None else self._units_.apply(X)).astype(self._network_.dtype, copy=False)

    def _standards(self, rows, mass):
        """Location and scale of the targets of every task, and whether they are the same for all.

        0 and 1 unless the loss translates; common if offsets are to be compared.
        """
        moves, robust = self._moves, np.array([isinstance(loss, Huber) for loss in self._losses()])
        center, variance = rows.task_moments(rows.y, robust)
        rows_of = mass * np.where(robust, OF_MEDIANS, 1.0)
        pooled = comparable(variance, rows_of) if self.intercept_alpha == "auto" else self.intercept_alpha > 0
        common = bool(moves.all() and pooled)
        if common:
            center, variance = (np.full_like(v, np.average(v, weights=mass)) for v in (center, variance))
        scale, tiny = np.sqrt(variance), 10 * np.finfo(np.float64).eps * np.abs(center)
        return np.where(moves, center, 0.0), np.where(moves & (scale > tiny), scale, 1.0), common

    def _offsets(self, rows):
        """What the offsets start from: for counts the log of their mean, over that of the exposures."""
        counts = np.array([loss.log_link for loss in self._losses()])
        offsets = np.zeros((self.n_tasks_, self._n_outputs))
        offsets[counts, 0] = np.log(np.maximum(rows.task_sums(rows.y)[counts], 1e-3))
        if rows.offset is not None:
            top, own = rows.offset.max(), rows.offset.reshape(*rows.y.shape, -1)[..., 0]
            offsets[counts, 0] -= top + np.log(rows.task_sums(np.exp(own - top))[counts])
        return offsets

    def _losses(self):
        """The loss of every task; a column of one class alone has two."""
        loss = self._target_.loss
        each = loss if isinstance(loss, list) else [loss] * self.n_tasks_
        if not all(one.pointwise for one in each):
            raise ValueError("loss 'root_squared_error' is of all rows of a task; expected one of a row.")
        return [Multinomial(2) if one == Multinomial(1) else one for one in each]

    # whether the loss of a task sees only y - eta
    _moves = property(lambda self: np.array([loss.translates for loss in self._losses()]))
    # predictors per task
    _n_outputs = property(lambda self: max(loss.n_outputs for loss in self._losses()))

    def _make_network(self, X, goes_on=False):
        """A network for X with layers as given, else of the fit before (`goes_on`), else `UNCHOSEN`."""
        layers, activation = self.hidden_layer_sizes, self.activation
        if isinstance(layers, str) and goes_on:
            layers, activation = self._network_.hidden, self._network_.activation
        hidden = UNCHOSEN if isinstance(layers, str) else tuple(np.atleast_1d(layers).tolist())
        if not hidden or not all(type(width) is int and width >= 1 for width in hidden):
            raise ValueError(f"hidden_layer_sizes must hold positive integers, one or more; got {hidden}.")
        activation = "relu" if activation == "auto" else activation
        given = self.sharing, self.n_experts, self.coupling, X.dtype
        head, intercept = (None if s == "auto" else s for s in (self.head_alpha, self.intercept_alpha))
        return Network(X.shape[1], self._losses(), hidden, activation, *given, head, intercept or 0.0)

    def _store(self, theta):
        """Fitted parameters, and the strengths of the network."""
        network = self._network_
        self.hidden_layer_sizes_, self.activation_ = network.hidden, network.activation
        self.head_alpha_ = self.alpha_ if network.head_alpha is None else network.head_alpha
        self.intercept_alpha_ = network.intercept_alpha
        self._theta_, self.coefs_ = theta, dict(network.views(theta))
        self._n_features_out = network.hidden[-1] * (1 if network.sharing == "soft" else network.groups)
        if network.sharing == "attention":
            self.attention_ = softmax(self.coefs_["gates"], axis=1)

    @by_name
    def partial_fit(self, X, y, *, tasks=None, sample_weight=None, offset=None):
        """Train one more epoch of Adam on some rows.

        The first call must hold every task and class; it sets the location and scale of the targets. With
        ``alpha="auto"`` the strength is that of a fit before, else 1e-4.

        Parameters
        ----------
        X, y, tasks, sample_weight, offset
            As in `fit`.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, tasks, sample_weight, offset)

    @all_or_nothing
    @np.errstate(over="ignore", invalid="ignore")
    def _partial_fit(self, X, y, tasks, sample_weight, offset, classes=None):
        """One epoch of Adam on the rows; the first call sets tasks, standards and parameters."""
        self._validate_params()
        if not hasattr(self, "_theta_"):
            training = self._training(X, y, tasks, sample_weight, offset, classes)
            training.solver, training.alpha = "adam", 1e-4 if self.alpha == "auto" else self.alpha
            theta = training.start(training.network)
            training.pool(theta)
            self._keep(training, theta, SimpleNamespace(curve=[], scores=[]))
            rows, rng = training.rows, training.rng
        else:
            if offset is None:
                self._refuse_without_offset()
            if classes is not None:
                self._refuse_other_classes(classes)
            rows, rng = self._read_more(X, y, tasks, sample_weight, offset), self._generators()[0]
        theta, network = self._theta_.copy(), self._network_
        adam = deepcopy(self._adam_) or Adam(len(theta), theta.dtype, self.learning_rate_init)
        rows, self.n_iter_ = rows.weighted(self.task_weight_), self.n_iter_ + 1
        self.loss_ = adam.epoch(self, network, theta, rows, self.alpha_, rng, self.n_iter_)
        self._store(theta)
        self._adam_, self.loss_curve_ = adam, [*self.loss_curve_, self.loss_]
        return self

    # --- predict ---

    def _predictors(self, X, tasks):
        """Predictors in the units of the targets, and positions of tasks, as `TargetMixin` asks for them."""
        X, codes = self._predict_inputs(X, tasks)
        X, network = self._inputs(X), self._network_

        def predicted(X, codes):
            own = slice(None) if codes is None else codes
            eta = network.predict(self._theta_, X, codes)
            return eta * self._scale_[own, None] + self._center_[own, None]

        eta = predicted(X, None if codes is None else np.maximum(codes, 0))
        if codes is not None and (unknown := codes < 0).any():
            eta[unknown] = predicted(X[unknown], None).mean(axis=1)
        return eta, codes

    @by_name
    def transform(self, X):
        """Shared representation: the last layer of the trunk.

        Of all experts side by side with ``sharing="attention"``, of the mean network with "soft".

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set (which plays no part).

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
        """
        check_is_fitted(self)
        return self._network_.represent(self._theta_, self._inputs(self._split(X)[0]))
