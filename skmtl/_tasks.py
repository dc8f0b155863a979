"""How every estimator reads (X, y, tasks): one interpretation at fit and at predict."""

import inspect
from collections.abc import Mapping
from functools import wraps

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from ._columns import (
    check_features,
    column_names,
    indexable,
    refuse_masked,
    refuse_other_order,
    source_of_tasks,
    split_task_column,
    told_apart,
    warn_of_labels,
    warn_of_order,
)
from ._data import name_tasks
from ._figures import FittedReprMixin
from ._inputs import as_target, check_rows, check_target, is_clean
from ._labels import (
    KINDS,
    are_numbers,
    check_tasks,
    encode_tasks,
    find_tasks,
    label_kind,
    meant,
    object_array,
    of_one_kind,
    plain_array,
    readable,
)
from ._sklearn import asks_for, fit_context, num_samples, refuse
from ._warn import saying_once, warn

TASKS_ARE_GIVEN = (
    "Pass tasks=, one label per row, name a column of X by task_column, or give a y with one column per task."
)
HOW_TO_PASS_TASKS = (
    "Pass predict(X, tasks=...), one label per row; inside a Pipeline or a search switch routing on with "
    "sklearn.set_config(enable_metadata_routing=True), pass tasks= to fit and predict and score with "
    "scoring=task_scorer(...) of skmtl.metrics, since scikit-learn's scorers lose tasks. Where "
    "scikit-learn cannot carry tasks, keep them as a column of X and set task_column=... "
    "in the constructor."
)
HOW_TO_PASS_OFFSETS = (
    "Inside a search or cross-validation switch routing on with "
    "sklearn.set_config(enable_metadata_routing=True), pass offset= to fit, and score with the estimator's "
    "own score or scoring=task_scorer(...) of skmtl.metrics, since scikit-learn's scorers lose an offset."
)
AS_OF_A_SCALER = (
    "numbers as a scaler makes them of labels. Scale the other columns only, with "
    "ColumnTransformer(..., remainder='passthrough')."
)
IN_CROSS_VALIDATION = (
    "In cross-validation use TaskKFold, with task_column= or given tasks=: it keeps every task in every "
    "training set (learning_curve takes the first rows of each: add shuffle=True there); for new tasks "
)


def by_name(method):
    """A method whose errors say which arguments it takes, and how."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    known, anything = {p.name for p in parameters}, any(p.kind is p.VAR_KEYWORD for p in parameters)
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    named = [f"{p.name}=..." for p in parameters if p.kind is p.KEYWORD_ONLY]
    whole = f"{method.__name__}({', '.join(first + named)})"

    @wraps(method)
    def called(self, *args, **kwargs):
        what = f"{type(self).__name__}.{method.__name__}()"
        if len(args) > len(first):
            way_out = f"Give the others by name: {whole}" if named else f"It is called as {whole}"
            raise TypeError(
                f"{what} takes {', '.join(first) or 'nothing'} by position; got {len(args)} arguments. "
                f"{way_out}."
            )
        if unknown := [] if anything else [name for name in kwargs if name not in known]:
            exposure = "exposure" in unknown and "offset" in known
            hint = " An exposure is given as offset=np.log(exposure), with loss='poisson'." * exposure
            raise TypeError(f"{what} has no argument {unknown[0]!r}; it is called as {whole}.{hint}")
        if missing := [name for name in needed[len(args) :] if name not in kwargs]:
            raise TypeError(f"{what} was given no {missing[0]}; it is called as {whole}.")
        if "tasks" in known and "sample_weight" in first[: len(args)]:
            _refuse_labels(self, method.__name__, args[first.index("sample_weight")], kwargs.get("tasks"))
        given, fits = dict(zip(first, args, strict=False)) | kwargs, method.__name__ == "fit"
        names = self.tasks_ if not fits and getattr(self, "_layout_", "") == "shared" else None
        refuse_other_order({key: given.get(key) for key in ("y", "sample_weight", "offset")}, names)
        return method(self, *args, **kwargs)

    return called


def _refuse_labels(model, method, weight, tasks):
    """TypeError for task labels where weights are expected: text, dates, or those that the model knows."""
    labels = np.asarray(weight)
    if labels.ndim != 1 or not len(labels):
        return
    if not are_numbers(labels):
        mistaken = label_kind(labels) in KINDS.values()
    elif tasks is not None:
        mistaken = np.array_equal(labels, np.asarray(tasks))
    else:
        known = model.tasks_ if getattr(model, "_layout_", None) == "stacked" else labels[:0]
        mistaken = (labels != labels[0]).any() and (find_tasks(labels, known) >= 0).all()
    if mistaken:
        raise TypeError(
            f"the third argument of {type(model).__name__}.{method}() by position is sample_weight; got "
            f"labels of tasks, {readable(labels[:3])}, .... Give them by name: {method}(X, y, tasks=...); "
            "weights that look like labels are given as sample_weight=."
        )


def all_or_nothing(method):
    """The same of a method after whose failure the estimator is as before; it says each warning once."""
    method = by_name(method)

    @wraps(method)
    def kept(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            with saying_once():
                return method(self, *args, **kwargs)
        except BaseException:
            self.__dict__ = before
            raise

    return kept


class TaskInputMixin(FittedReprMixin):
    """Reads tasks from `tasks=`, from a column of X or from the columns of y.

    A subclass has `_fit`, the constructor parameter `task_column` and, if it can predict for tasks that it
    has not seen, `handle_unknown`. `_fit_inputs` sets the attributes and `_layout_`: "single" (1-D y, no
    tasks), "stacked" (1-D y, one label per row) or "shared" (2-D y).

    Attributes
    ----------
    tasks_ : ndarray of shape (n_tasks,)
        Task labels, sorted; for a 2-D y the names of its columns or 0, 1, 2, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, the task column included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Names of the columns of X, if these are strings.
    """

    n_tasks_ = property(lambda self: len(self.tasks_), doc="Number of tasks.")
    _predicts_by_task = True  # whether the prediction for a row depends on its task
    _takes_offset = False  # whether its linear predictors take an offset
    _had_offset_ = False  # whether there was one in fit
    _of_moments_ = False  # whether fit had moments, which do not tell in which form tasks were given
    __metadata_request__fit = {"tasks": True}
    __metadata_request__predict = {"tasks": True}
    __metadata_request__predict_proba = {"tasks": True}
    __metadata_request__decision_function = {"tasks": True}
    __metadata_request__score = {"tasks": True}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.target_tags.required = True
        tags.target_tags.multi_output = self.task_column is None
        return tags

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, tasks=None, sample_weight=None, offset=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Targets. 2-D: one task per column on a shared X, NaN for a missing label.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row of a 1-D `y`.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
            Nonnegative weights; a row of weight zero does not exist.
        offset : array-like of shape (n_samples,), optional
            Part of the linear predictor that is known, ``eta_i = x_i . w_t + b_t + offset_i``, such as the
            logarithm of an exposure for counts; of shape (n_samples, n_tasks) where tasks differ in it on a
            shared X, with a last axis for the scores of more than two classes. Not every model takes one.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If an argument is malformed; the message names it.
        """
        if offset is not None and not self._takes_offset:
            raise TypeError(
                f"offset was given, but {type(self).__name__} takes none: the model in it would not see it. "
                "With the squared error fit y - offset, and add the offset to predictions."
            )
        self._fit(X, y, tasks, sample_weight, offset)
        return self

    def _fit_inputs(self, X, y, tasks, sample_weight, offset=None):
        """Features, y, the position of each row's task (None unless stacked), weights and offset or None.

        Features are X without its task column, in the container of X and not numerically checked.
        y is an array (n_samples,) without NaN, or (n_samples, n_tasks) where NaN is a missing label. An
        offset has a row for each sample, its shape is not checked further.
        All rows are kept; rows of weight zero do not count for `tasks_` (-1: there is no such task).
        """
        self._forget()
        warn_of_order(X, tasks)
        refuse_other_order({"y": y, "sample_weight": sample_weight, "offset": offset})
        apart = tasks is not None
        X, tasks = self._split(X, tasks, reset=True)
        names, y = target_names(y), self._check_target(y, has_rows_of_tasks=tasks is not None)
        sample_weight, offset = check_rows(X, y, sample_weight, offset)
        self._had_offset_, self._of_moments_ = offset is not None, False
        self.tasks_, codes = name_tasks(y, tasks, sample_weight, names)
        self._layout_ = "shared" if y.ndim == 2 else "single" if codes is None else "stacked"
        if self._layout_ == "single" and asks_for(self, "tasks"):
            warn(
                f"{type(self).__name__} was fitted without tasks, which it was to be given: all columns of X "
                f"are features. {TASKS_ARE_GIVEN}"
            )
        if codes is not None:
            check_names(self.tasks_, np.count_nonzero(codes >= 0), self.task_column)
            if apart:
                warn_of_labels(X, self.tasks_, codes)
        return X, y, codes, sample_weight, offset

    def _forget(self):
        """Drop the public attributes of the fit before: not all are set by every fit."""
        for name in [name for name in vars(self) if name[-1] == "_" != name[0]]:
            delattr(self, name)

    def _predict_inputs(self, X, tasks):
        """Features and the position in `tasks_` of each row's task (-1: unknown), or None.

        None, when no task was given: one prediction per row, in the "shared" layout one per row and task.
        """
        check_is_fitted(self)
        X, tasks = self._split(X, tasks)
        if tasks is None:
            if self._layout_ == "stacked" and self._predicts_by_task:
                if self._of_moments_ and self.tasks_.tolist() == [0]:  # what they call rows without a task
                    return X, np.zeros(num_samples(X), dtype=np.intp)
                refuse(
                    f"{type(self).__name__} was fitted with {self.n_tasks_} task{'s' * (self.n_tasks_ > 1)}"
                    f" and cannot predict without knowing the task of each row. {HOW_TO_PASS_TASKS}"
                )
            return X, None
        if self._layout_ == "single":
            raise ValueError(
                f"tasks was given, but this {type(self).__name__} was fitted without tasks (1-D y and "
                "neither tasks= nor task_column=)."
            )
        return X, self._find_tasks(check_tasks(tasks, num_samples(X)))

    def _refuse_without_offset(self, here=True):
        """ValueError where targets that belong to an offset are met without it."""
        if self._had_offset_ and here:
            refuse(
                f"this {type(self).__name__} was fitted with an offset, and is given rows without: pass "
                f"offset= of these rows (0 for none). {HOW_TO_PASS_OFFSETS}"
            )

    def _find_tasks(self, labels):
        """Position of each label in `tasks_`; -1 for an unknown one if those are allowed."""
        codes = find_tasks(labels, self.tasks_)
        unknown = labels[codes < 0]
        other_kind = len(unknown) == len(labels) and not of_one_kind(labels, self.tasks_)
        averages = not other_kind and getattr(self, "handle_unknown", "error") == "average"
        if not len(unknown) or not self._predicts_by_task or averages:
            return codes
        if other_kind:
            advice = (
                f"The labels in fit were {label_kind(self.tasks_)} and these are {label_kind(labels)}: give "
                "them as they were in fit."
            )
        elif hasattr(self, "handle_unknown"):
            also = " (or fit_task, once they have rows)" * hasattr(self, "fit_task")
            average = "set handle_unknown='average' to predict them with the average over tasks"
            advice = f"{IN_CROSS_VALIDATION}{average}{also}."
        else:
            advice = f"{IN_CROSS_VALIDATION}this model has nothing to say about them."
        if _look_scaled(unknown, self.task_column):
            advice = f"They are {AS_OF_A_SCALER} {advice}"
        unknown = readable(encode_tasks(unknown)[0])
        numbered = any(map(str.isdigit, str(unknown[0])))  # names like these are of other tasks
        refuse(
            f"{source_of_tasks(self.task_column)} has {len(unknown)} label(s) not seen in fit: "
            f"{unknown[:5]}; fitted tasks look like {readable(self.tasks_[:3])}."
            f"{'' if numbered else meant(unknown[0], self.tasks_)} {advice}"
        )

    def _split(self, X, tasks=None, reset=False):
        """Features, in the container of X, and task of each row or None; sets or checks the columns of X."""
        refuse_blocks(X, "X")
        refuse_masked(X, "X")
        if getattr(X, "ndim", 2) == 1 or (isinstance(X, list | tuple) and not X):
            _refuse_one_axis(X)
        # in an array scikit-learn would look for names, for as long as all other checks take
        unnamed = type(X) is np.ndarray and X.ndim == 2 and not hasattr(self, "feature_names_in_")
        if unnamed and reset:
            self.n_features_in_ = X.shape[1]
        elif not (unnamed and X.shape[1] == self.n_features_in_):
            self._check_columns(X, reset)
        self._refuse_two_sources(tasks)
        return (X, tasks) if self.task_column is None else split_task_column(X, self.task_column)

    def _check_columns(self, X, reset):
        """Set or check the columns of X."""
        try:
            validate_data(self, told_apart(X), skip_check_array=True, reset=reset)
        except ValueError as error:
            if self.task_column is None or self.task_column in (column_names(X) or [self.task_column]):
                raise
            raise ValueError(
                f"{error}The column {self.task_column!r} says the task of each row, here as in fit; tasks= "
                "does not take its place."
            ) from None

    def _check_features(self, X, **options):
        """X as a numeric array or CSR/CSC matrix."""
        return X if is_clean(X) and X.ndim == 2 else check_features(X, estimator=self, **options)

    def _refuse_two_sources(self, tasks):
        refuse_two_sources(tasks, self.task_column)

    def _check_target(self, y, has_rows_of_tasks):
        """y as an array, 1-D finite or 2-D with NaN for missing labels."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: "
                "Expected array-like (array or non-string sequence), got None"
            )
        refuse_blocks(y, "y")
        y = check_target(y, self)
        return check_target(one_column_target(y), self) if y.ndim == 2 and has_rows_of_tasks else y


def refuse_two_sources(tasks, column):
    """ValueError where tasks are given as well as named by a column."""
    if tasks is not None and column is not None:
        raise ValueError(f"tasks= and task_column={column!r} both say which task a row belongs to; use one.")


def one_column_target(y):
    """A target (n_samples, 1) of rows whose tasks are known as (n_samples,), with a warning."""
    if y.shape[1] > 1:
        raise ValueError(
            f"y of shape {y.shape} has one column per task and cannot be combined with tasks= or "
            "task_column=. Give one label per row (1-D y), or leave the tasks away."
        )
    warn(
        "A column-vector y was passed when a 1d array was expected. "
        "Please change the shape of y to (n_samples,), for example using ravel().",
        DataConversionWarning,
    )
    return y.ravel()


def target_names(y):
    """Names of the columns of y as task labels, None if it has none."""
    names = column_names(y)
    if names is None:
        return None
    if len(set(names)) < len(names):
        raise ValueError(f"the columns of y name the tasks and must differ; got {names}.")
    return object_array(names) if any(isinstance(name, tuple) for name in names) else plain_array(names)


def named_target(given, y):
    """What models are fitted to: a y with names of its columns, by which parameters may go, else as read."""
    return given if y.ndim == 2 and target_names(given) is not None else y


def refuse_blocks(values, name):
    """Error for a mapping, or a list of one array per task, in the place of an array of all rows."""
    way_out = "Stack the rows of tasks that have their own with skmtl.stack_tasks, and pass tasks=."
    if isinstance(values, Mapping) and not sparse.issparse(values):  # of which one kind is a dictionary
        raise TypeError(
            f"{name} must be an array or a data frame of all rows; got a {type(values).__name__} with the "
            f"keys {list(values)[:5]}. {way_out} Columns by name make a pandas.DataFrame."
        )
    if isinstance(values, (list, tuple)) and any(len(getattr(part, "shape", ())) == 2 for part in values[:2]):
        raise ValueError(
            f"{name} must be an array or a data frame of all rows; got a {type(values).__name__} of "
            f"{len(values)} arrays. {way_out}"
        )


def table_of(X):
    """X in a container whose rows can be taken, of two dimensions."""
    refuse_blocks(X, "X")
    refuse_masked(X, "X")
    X = indexable(X)
    if len(np.shape(X)) < 2:
        _refuse_one_axis(X)
    return X


def _refuse_one_axis(X):
    """ValueError in scikit-learn's words."""
    raise ValueError(
        f"Expected 2D array, got 1D array instead: X has the shape {np.shape(X)}, which should be "
        "(n_samples, n_features), and comes before y. Reshape your data using X.reshape(-1, 1) if they are "
        "one feature (of a frame X[['name']]), X.reshape(1, -1) if they are one row."
    )


def check_names(tasks, n_rows, task_column):
    """Refuse labels that are measurements; warn of those that a scaler has turned into fractions."""
    if not _are_fractions(tasks):
        return
    seen = f"{len(tasks)} different numbers in {n_rows} rows, such as {tasks[:3].tolist()}"
    if len(tasks) > max(10, n_rows / 2):
        raise ValueError(
            f"tasks must name the task of each row; got {seen}, which look measured. Pass labels (y comes "
            "before tasks), or put the rows into groups first (pandas.cut, numpy.digitize)."
        )
    if _look_scaled(tasks, task_column):
        source = "tasks" if task_column is None else f"task_column={task_column!r}"
        warn(f"{source} holds {seen}: {AS_OF_A_SCALER} If these are the labels give them as text.")


def _look_scaled(labels, task_column):
    """Whether a scaler may have made them; given as tasks= fractions above zero are rather doses, say."""
    return _are_fractions(labels) and (task_column is not None or labels.min() < 0)


def _are_fractions(labels):
    """Whether labels are numbers that are not whole."""
    return labels.dtype.kind == "f" and (labels != np.floor(labels)).any()


def final_task_column(estimator):
    """`task_column` of the model inside searches, Pipelines and wrappers; whether columns may have moved.

    The second value is True when earlier steps of a Pipeline stand between X and the model.
    """
    *around, model = _way_in(estimator)
    steps = [step for one in around if isinstance(one, Pipeline) for _, step in one.steps[:-1]]
    return getattr(model, "task_column", None), any(step not in (None, "passthrough") for step in steps)


def final_model(estimator):
    """The model with tasks inside searches, Pipelines and wrappers, or None."""
    return _way_in(estimator)[-1]


def asking_for_tasks(estimator):
    """The estimator, unfitted, whose model warns where it is not given tasks."""
    estimator = clone(estimator)
    with config_context(enable_metadata_routing=True):
        final_model(estimator).set_fit_request(tasks=True)
    return estimator


def _way_in(estimator):
    """What is around a model with tasks, Pipelines, searches and wrappers, and last the model or None."""
    way = [estimator]
    while way[-1] is not None and not hasattr(way[-1], "task_column"):
        names = ("best_estimator_", "estimator", "regressor")
        inner = (getattr(way[-1], name, None) for name in names)
        inner = [way[-1].steps[-1][1]] if isinstance(way[-1], Pipeline) else inner
        way.append(next((model for model in inner if model is not None), None))
    return way


def final_task_labels(estimator, X, way_out):
    """The labels in the `task_column` of the model inside an estimator, unless columns have moved."""
    column, may_move = final_task_column(estimator)
    if may_move and not (isinstance(column, str) and column in (column_names(X) or [])):
        raise ValueError(
            f"task_column={column!r} of the final estimator is among the columns that earlier steps of its "
            f"Pipeline put out, and not known in X. {way_out}"
        )
    return task_labels(X, column)


def task_labels(X, task_column):
    """The labels in the task column of X, shape (n_samples,)."""
    return check_tasks(split_task_column(X, task_column)[1], num_samples(X))


def stack_tasks(blocks, names=None):
    """Stack a list of per-task data sets into rows with task labels.

    Parameters
    ----------
    blocks : sequence of (X_t, y_t) pairs, or mapping {label: (X_t, y_t)}
        ``X_t`` of shape (n_t, n_features), dense or sparse; ``y_t`` of shape (n_t,).
    names : sequence of hashable, optional
        Task labels, one per pair. Default: 0, 1, 2, ... (or the keys of the mapping).

    Returns
    -------
    X : ndarray or csr_matrix of shape (sum of n_t, n_features)
    y : ndarray of shape (sum of n_t,)
    tasks : ndarray of shape (sum of n_t,)

    Raises
    ------
    ValueError
        If there is no block, a pair differs in length, or the numbers of features differ.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import stack_tasks
    >>> X, y, tasks = stack_tasks([(np.ones((2, 3)), [1, 2]), (np.zeros((1, 3)), [3])], names=["a", "b"])
    >>> X.shape, y.tolist(), tasks.tolist()
    ((3, 3), [1, 2, 3], ['a', 'a', 'b'])
    """
    if isinstance(blocks, Mapping):
        if names is not None:
            raise ValueError("names must be None when blocks is a mapping: its keys are the names.")
        names, blocks = blocks.keys(), blocks.values()
    blocks = list(blocks)
    if not blocks:
        raise ValueError("blocks is empty; expected at least one (X, y) pair.")
    names = list(range(len(blocks)) if names is None else names)
    if len(names) != len(blocks):
        raise ValueError(f"names has {len(names)} labels but blocks holds {len(blocks)} pairs.")
    if any(np.ndim(name) and not isinstance(name, tuple) for name in names):
        raise ValueError(
            f"names must hold one label per task; got {names[0]!r:.100}. Give [(X_t, y_t), ...]."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"names must differ from each other; got {names[:10]}.")
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in blocks):
        raise ValueError("blocks must hold (X, y) pairs, one per task: zip(Xs, ys) of two lists.")
    _check_same(names, [column_names(X) for X, _ in blocks], "the columns {}")
    for name, (X, _) in zip(names, blocks, strict=True):
        refuse_masked(X, f"X of task {name!r}")
    Xs = [check_array(X, accept_sparse="csr", dtype=None, ensure_all_finite=False) for X, _ in blocks]
    ys = [as_target(y) for _, y in blocks]
    _check_same(names, [X.shape[1] for X in Xs], "{} features")
    for name, X, y in zip(names, Xs, ys, strict=True):
        if y.shape[:1] != X.shape[:1]:
            raise ValueError(f"task {name!r}: X has {X.shape[0]} rows but y has {len(y)}.")
    X = sparse.vstack(Xs, format="csr") if any(map(sparse.issparse, Xs)) else np.vstack(Xs)
    return X, np.concatenate(ys), np.repeat(check_tasks(names, len(names), "names"), [len(y) for y in ys])


def _check_same(names, found, words):
    """ValueError where two tasks differ in what was found of them; None was not found."""
    known = [(name, own) for name, own in zip(names, found, strict=True) if own is not None]
    for name, own in known:
        if own != known[0][1]:
            raise ValueError(
                f"task {name!r} has {words.format(own)} but task {known[0][0]!r} has {known[0][1]}; "
                "all tasks must have the same features in the same order."
            )
