"""What a multi-task model has to beat: one model per task, and one model for all."""

import inspect
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import sklearn
from scipy import sparse
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import OneHotEncoder, TargetEncoder
from sklearn.utils import check_array, get_tags
from sklearn.utils.metaestimators import available_if

from ._columns import check_features, indexable, refuse_text
from ._inputs import check_offset, present, shaped_offset
from ._labels import blocks, plain_labels
from ._parameters import TaskColumn, documented, with_parameters
from ._sklearn import HasMethods, StrOptions, asks_for, in_cross_validation, num_samples, safe_indexing
from ._target import TargetMixin, classes_of, suited, used_labels
from ._tasks import TASKS_ARE_GIVEN, TaskInputMixin, by_name
from ._threads import limited
from ._warn import warn
from .metrics import placed, score_predictions

LARGEST_WEIGHT = 1e100
LOSSES = "loss", "objective", "loss_function", "criterion"  # parameters that may name it
CATEGORIES = {"categorical_features": np.float64, "categorical_feature": np.float64, "cat_features": object}
ENCODING_FOLDS = 5
SMALL_TASK = 2000  # mean rows per task below which threads in BLAS cost more time than they save


def _inner_has(method):
    """Whether the estimator inside offers `method`, for `available_if`; its own error where it does not."""
    return lambda self: callable(getattr(getattr(self, self._inner), method))


class Wrapper(TaskInputMixin, MetaEstimatorMixin, BaseEstimator):
    """An estimator around another, which it holds by the name `_inner`; a subclass has `predict`."""

    _inner = "estimator"

    def __sklearn_tags__(self):
        tags, inner = super().__sklearn_tags__(), get_tags(getattr(self, self._inner))
        tags.estimator_type = inner.estimator_type
        tags.regressor_tags, tags.classifier_tags = inner.regressor_tags, inner.classifier_tags
        tags.input_tags, tags.non_deterministic = inner.input_tags, inner.non_deterministic
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = False  # 2-D y means tasks, never a set of labels
        return tags

    @by_name
    def score(self, X, y, sample_weight=None, *, tasks=None, offset=None):
        if offset is None:
            self._refuse_without_offset()
        return self._score_of(y, self.predict(X, tasks=tasks, offset=offset), sample_weight)

    score.__doc__ = TargetMixin.score.__doc__

    def _score_of(self, y, predicted, sample_weight):
        """Accuracy or R^2 of predictions."""
        metric = accuracy_score if is_classifier(self) else r2_score
        return score_predictions(metric, y, predicted, sample_weight)


class ScoringWrapper(Wrapper):
    """The same with the scores of classes of that estimator."""

    @available_if(_inner_has("predict_proba"))
    @by_name
    def predict_proba(self, X, *, tasks=None):
        """Predict class probabilities.

        Parameters
        ----------
        X, tasks
            As in `predict`.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            One column per entry of `classes_`. For all tasks at once (2-D `y`, no `tasks`): the probability
            of ``classes_[1]``, shape (n_samples, n_tasks), as for scikit-learn's multilabel classifiers; with
            more than two classes (n_samples, n_tasks, n_classes).
        """
        return self._respond("predict_proba", X, tasks)

    @available_if(_inner_has("decision_function"))
    @by_name
    def decision_function(self, X, *, tasks=None):
        """Compute the decision values of the classes.

        Parameters
        ----------
        X, tasks
            As in `predict`.

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            One value per row for two classes, else one column per class. For all tasks at once (2-D `y`, no
            `tasks`) with a second axis of length n_tasks.
        """
        return self._respond("decision_function", X, tasks)


def models_counts(estimator):
    """Whether an estimator, or one in it, has the loss of Poisson, which is of rates."""
    inner, named = estimator, False
    while inner is not None and not named:
        losses = [str(getattr(inner, name, "")).lower() for name in LOSSES]
        named = "poisson" in [loss.rpartition(":")[2].removesuffix("()") for loss in losses]
        named |= isinstance(inner, sklearn.linear_model.PoissonRegressor)
        inner = inner.steps[-1][1] if hasattr(inner, "steps") else getattr(inner, "estimator", None)
    return named


def _zero_of(estimator, y):
    """A constant in the place of a model of counts that found nothing to count, else None."""
    return DummyRegressor() if models_counts(estimator) and not np.any(y) else None


@with_parameters
class _Baseline(ScoringWrapper):
    """Fit, predict and score of a wrapper around any scikit-learn estimator.

    Parameters
    ----------
    estimator : estimator object
        Any scikit-learn regressor or classifier; it is cloned, never fitted itself. Its fit is given
        `sample_weight` only if there is one. An `offset`, for regressors, is taken off the targets and put
        back on predictions; with the loss of Poisson rates are fitted, weighted by their exposures.
    task_column : str or int, default=None
        Column of X (name or position) that holds the task of each row. The wrapped estimator does not see it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels over all tasks (classifiers only).
    """

    estimator: Annotated[Any, HasMethods(["fit", "predict"])] = field(kw_only=False)
    task_column: TaskColumn = None

    __metadata_request__fit = {"offset": True}
    __metadata_request__predict = {"offset": True}
    __metadata_request__score = {"offset": True}

    _level_ = 0.0  # of the offset of counts in fit

    _takes_offset = property(lambda self: not is_classifier(self))

    def get_metadata_routing(self):
        request = super().get_metadata_routing()
        for method in () if self._takes_offset else ("fit", "predict", "score"):
            getattr(request, method).add_request(param="offset", alias=False)
        return request

    def _fit(self, X, y, tasks, sample_weight, offset):
        X, y, codes, weight, offset = self._fit_inputs(X, y, tasks, sample_weight, offset)
        if self._layout_ == "single" and not asks_for(self, "tasks"):
            warn(
                f"{type(self).__name__} was fitted without tasks: it is its estimator alone, and all columns "
                f"of X are features. {TASKS_ARE_GIVEN}"
            )
        if offset is not None:
            y, weight = self._without(shaped_offset(offset, y.shape), y.astype(np.float64), weight)
        if weight is not None and not _takes_weights(self.estimator):
            name = type(self.estimator).__name__
            raise TypeError(f"sample_weight was given, but {name} does not support sample_weight in fit.")
        if weight is not None and weight.max() > LARGEST_WEIGHT:
            raise ValueError(
                f"sample_weight is as large as {weight.max():.3g}, and estimators of scikit-learn take it as "
                "it is: squares overflow. Divide sample_weight by its mean."
            )
        labels = self._labels(y, codes, weight)
        if is_classifier(self):
            found = classes_of(labels[1])
            self.classes_ = found if self._layout_ == "single" else suited(found)
        try:
            self._fit_labels(self._indexable(X), *labels)
        except (TypeError, ValueError) as error:
            if any(words in str(error) for words in ("onvert", "promoted")):  # to numbers, as NumPy says it
                refuse_text(X, error)
            raise

    def _indexable(self, X):
        """X in a container whose rows can be taken, as numbers where nothing else is asked of it."""
        return check_features(X) if getattr(self.estimator, "takes_numbers", False) else indexable(X)

    def _without(self, offset, y, weight):
        """What is fitted where an offset is known, and weights: of counts rates, weighted by the exposure."""
        if not models_counts(self.estimator):
            return y - offset, weight
        weight = np.ones(len(y)) if weight is None else weight
        self._level_ = logsumexp(offset) - np.log(offset.size)  # so that a penalty has no unit of exposures
        exposure = np.exp(offset - self._level_)
        return y / exposure, exposure * (weight if weight.ndim == y.ndim else weight[:, None])

    def _labels(self, y, codes, weight):
        """Row, value, task and weight of every label in use."""
        usable = used_labels(y, weight)
        if weight is not None:
            weight = np.broadcast_to(weight if weight.ndim == y.ndim else weight[:, None], y.shape)
        if y.ndim == 2 and not usable.any(axis=0).all():
            empty = self.tasks_[~usable.any(axis=0)].tolist()
            raise ValueError(f"y has no usable label (all missing or of weight zero) in task(s) {empty[:5]}.")
        at = np.nonzero(usable.T)[::-1]  # tasks one after the other
        codes = at[1] if y.ndim == 2 else None if codes is None else codes[at]
        return at[0], y[at], codes, None if weight is None else weight[at]

    @by_name
    def predict(self, X, *, tasks=None, offset=None):
        if offset is not None and not self._takes_offset:
            raise TypeError(f"offset was given, but {type(self).__name__} of a classifier takes none.")
        found = self._respond("predict", X, tasks)
        if offset is None:
            self._refuse_without_offset(in_cross_validation())
            if not self._had_offset_:
                return found
        offset = shaped_offset(check_offset(0.0 if offset is None else offset, len(found)), found.shape)
        return found * np.exp(offset - self._level_) if models_counts(self.estimator) else found + offset

    predict.__doc__ = TargetMixin.predict.__doc__

    def _respond(self, method, X, tasks):
        """Output of `method` for the rows of X, or for every row and task of a shared design."""
        X, codes = self._predict_inputs(X, tasks)
        X = self._indexable(X)
        if codes is not None or self._layout_ != "shared":
            return self._rows_response(method, X, codes)
        tasks = np.arange(self.n_tasks_)
        every_task = [self._rows_response(method, X, np.full(num_samples(X), t)) for t in tasks]
        out = np.stack(every_task, axis=1)
        return out[:, :, 1] if method == "predict_proba" and out.shape[2] == 2 else out


@documented
@with_parameters
class SingleTask(_Baseline):
    r"""One independent copy of an estimator per task.

    Each task t minimises what the wrapped estimator minimises, on its own rows only:

    .. math:: \hat f_t = \operatorname*{argmin}_f \; L(f; \{(x_i, y_i) : i \in t\}),
       \qquad \hat y_i = \hat f_{t(i)}(x_i)

    A classification task with a single class in its training rows gets a constant prediction
    (`sklearn.dummy.DummyClassifier`), and so does one of counts where nothing was counted.

    Parameters
    ----------
    handle_unknown : {"error", "average"}, default="error"
        Rows of a task not seen in `fit`: refuse them, or predict with the average of the tasks'
        predictions (of probabilities, or else of decision values, for classifiers).

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted copies, in the order of `tasks_`.

    See Also
    --------
    Pooled : One model for all tasks.

    Notes
    -----
    Without tasks (1-D `y`, no `task_column`) there is one task, and predictions are those of the wrapped
    estimator. In a task that lacks some of several classes the missing ones get probability zero and the
    smallest possible decision value; in a task with one of two classes the decision value is -1 or 1.

    References
    ----------
    R. Caruana, "Multitask Learning", Machine Learning 28, 1997. https://doi.org/10.1023/A:1007379606734

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl.baselines import SingleTask
    >>> X = np.arange(6.0).reshape(-1, 1)
    >>> y = np.array([0, 1, 2, 3, 2, 1])
    >>> model = SingleTask(Ridge(alpha=1e-8)).fit(X, y, tasks=["a", "a", "a", "b", "b", "b"])
    >>> model.predict([[6.0], [6.0]], tasks=["a", "b"]).round(4)
    array([6., 0.])
    """

    handle_unknown: Annotated[str, StrOptions({"error", "average"})] = "error"

    def _fit_labels(self, X, rows, y, codes, weight):
        """Fit one clone per task on its labels, a constant where these are of one class."""
        self.estimators_, of_tasks = [], blocks(np.zeros(len(rows), np.intp) if codes is None else codes)

        def parts():
            for _, at in of_tasks:
                yield _take(X, rows[at]), plain_labels(y[at]), None if weight is None else weight[at]

        small = num_samples(X) < SMALL_TASK * self.n_tasks_
        choose = getattr(self.estimator, "of_common_strength", lambda parts: self.estimator)
        with limited(small, "blas"):
            template = choose(parts())
            for own, labels, mass in parts():
                one_class = is_classifier(self) and self._layout_ != "single" and (labels == labels[0]).all()
                constant = DummyClassifier() if one_class else _zero_of(template, labels)
                given = present(sample_weight=mass)
                self.estimators_.append(_fitted(constant or clone(template), own, labels, given))

    @property
    def _classes_of_columns_(self):
        """The classes of every column of y, None for rows of tasks and for numbers."""
        shared = self._layout_ == "shared" and is_classifier(self)
        return [estimator.classes_ for estimator in self.estimators_] if shared else None

    def _rows_response(self, method, X, codes):
        """Answers of each row's own task, in the order of the rows."""
        if codes is None:
            return getattr(self.estimators_[0], method)(X)
        if not len(codes):
            return self._task_response(method, 0, X)  # the estimator says what it needs
        of_tasks = blocks(codes)
        answers = np.concatenate([self._task_response(method, t, _take(X, rows)) for t, rows in of_tasks])
        out = np.empty_like(answers)
        out[np.concatenate([rows for _, rows in of_tasks])] = answers
        return out

    def _task_response(self, method, t, X):
        """Answer of task t for all rows of X; t = -1 is the average over tasks."""
        if t >= 0:
            estimator = self.estimators_[t]
            if not is_classifier(self) or method == "predict":
                return estimator.predict(X)
            if method == "predict_proba":
                return placed(estimator.predict_proba(X), estimator.classes_, self.classes_)
            return self._decision(estimator, X)
        if not is_classifier(self) or method != "predict":
            return np.mean([self._task_response(method, s, X) for s in range(self.n_tasks_)], axis=0)
        by = "predict_proba" if hasattr(self, "predict_proba") else "decision_function"
        if not hasattr(self, by):
            raise ValueError(
                "handle_unknown='average' needs predict_proba or decision_function, which "
                f"{type(self.estimator).__name__} does not have."
            )
        values = self._task_response(by, -1, X)
        return self.classes_[values.argmax(axis=1) if values.ndim == 2 else (values > 0).astype(int)]

    def _decision(self, estimator, X):
        """Decision values over `classes_`, whichever of them the task has seen."""
        seen = estimator.classes_
        if len(self.classes_) == 2:
            if len(seen) == 2:
                return estimator.decision_function(X)
            return np.full(num_samples(X), -1.0 if seen[0] == self.classes_[0] else 1.0)
        if len(seen) == 1:
            values = np.ones((num_samples(X), 1))
        else:
            values = estimator.decision_function(X)
            values = np.column_stack([-values, values]) if values.ndim == 1 else values
        return placed(values, seen, self.classes_, np.finfo(values.dtype).min)


# --- how a model of all rows is told their tasks ---


class _Columns:
    """Columns that tell the task; a subclass has those of any rows."""

    def learn(self, codes, y):
        """The columns of the rows of a fit."""
        return self.columns(codes)

    def tell(self, estimator, position):
        """The estimator, and what else its fit is given, to take the column of X there for what it is."""
        return estimator, {}


class _Indicators(_Columns):
    """One 0/1 column per task; none is set for a task that is not known."""

    def __init__(self, n_tasks, size=1.0):
        known, self.size = np.arange(n_tasks), size
        self.encoder = OneHotEncoder(categories=[known], handle_unknown="ignore").fit(known[:, None])

    def columns(self, codes):
        """Those of rows of tasks at these positions, -1 for one that is not known."""
        return self.size * self.encoder.transform(codes[:, None])


class _Encoded(_Columns):
    """The mean target of the task, shrunk to that of all, of rows in a fit as the other folds have it.

    For classes their shares, but for the first of two.
    """

    def __init__(self, classes):
        self.classes = classes

    def learn(self, codes, y):
        targets = y[:, None] if self.classes is None else y[:, None] == self.classes
        targets = targets[:, 1:] if np.shape(self.classes) == (2,) else targets
        folds = KFold(min(ENCODING_FOLDS, len(y)), shuffle=True, random_state=0)
        targets, out = targets.astype(np.float64), np.empty(targets.shape)
        for train, test in folds.split(codes):
            self.encoders = _encoders(codes[train], targets[train])
            out[test] = self.columns(codes[test])
        self.encoders = _encoders(codes, targets)
        return out

    def columns(self, codes):
        """Those of other rows."""
        return np.hstack([encoder.transform(codes[:, None]) for encoder in self.encoders])


def _encoders(codes, targets):
    """One fitted for each column of targets (n_rows, k)."""
    return [TargetEncoder(target_type="continuous").fit(codes[:, None], target) for target in targets.T]


class _Category(_Columns):
    """The number of the task, in a column that is said to hold categories; -1 for one that is not known."""

    def __init__(self, parameter):
        self.parameter = parameter

    def columns(self, codes):
        """That of rows of tasks at these positions."""
        return codes[:, None].astype(CATEGORIES[self.parameter])

    def tell(self, estimator, position):
        own = estimator.get_params().get(self.parameter)
        own = [] if own is None or isinstance(own, str) else np.asarray(own)
        listed = [*(np.flatnonzero(own) if np.asarray(own).dtype == bool else own), position]
        if self.parameter in inspect.signature(type(estimator)).parameters:
            return estimator.set_params(**{self.parameter: listed}), {}
        return estimator, {self.parameter: listed}


def _holds_numbers(X):
    try:
        _numbers(X)
    except (TypeError, ValueError):
        return False
    return True


def _numbers(X):
    """X as a numeric array; what is missing is left to the estimator."""
    return check_array(X, accept_sparse="csr", dtype="numeric", ensure_all_finite=False)


@documented
@with_parameters
class Pooled(_Baseline):
    r"""One estimator for all tasks, fitted on all rows together.

    .. math:: \hat f = \operatorname*{argmin}_f \; L(f; \{(\tilde x_i, y_i)\}), \qquad
       \tilde x_i = x_i \text{ or, told the task, } (x_i, z_{t(i)})

    with :math:`z_t` the unit vector of task t, its number as a category, or its mean target. With a penalised
    linear model unit vectors are one shrunken intercept per task: usually the strongest cheap baseline.

    Parameters
    ----------
    task_indicators : bool or {"category", "encoded", "auto"}, default=False
        How X, which is then converted to a numeric array, tells the task of a row:

        * True: by one 0/1 column per task.
        * "category": by a column of categories, for estimators that know them, which are those with a
          parameter `categorical_features` (gradient boosting of scikit-learn), `categorical_feature`
          (LightGBM) or `cat_features` (CatBoost). Where there are more tasks than `max_bins`: "encoded".
        * "encoded": by the mean target of its task (the shares of classes), for trees: one cut then parts
          many tasks. Rows of the fit have it as other folds do (`sklearn.preprocessing.TargetEncoder`).
        * "auto": both of these for an estimator that knows categories (alone they tell little of tasks of few
          rows: gradient boosting of scikit-learn needs ten), else True, and False if X holds text.
    handle_unknown : {"error", "average"}, default="error"
        Rows of a task not seen in `fit`: refuse them, or predict with no indicator set, a category that
        is missing, or the mean target of all.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.

    See Also
    --------
    SingleTask : One model per task.

    Notes
    -----
    Without indicators the task of a row is ignored: `predict` works without tasks and for unknown
    ones. For a 2-D `y` the rows of X are repeated for each of their labels.

    References
    ----------
    T. Evgeniou, M. Pontil, "Regularized multi-task learning", KDD 2004.
    https://doi.org/10.1145/1014052.1014067

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl.baselines import Pooled
    >>> X = np.array([[0.0], [1.0], [0.0], [1.0]])
    >>> y = np.array([0.0, 1.0, 2.0, 3.0])
    >>> model = Pooled(Ridge(alpha=1e-8), task_indicators=True).fit(X, y, tasks=["a", "a", "b", "b"])
    >>> model.predict([[2.0], [2.0]], tasks=["a", "b"]).round(4)
    array([2., 4.])
    """

    task_indicators: Annotated[bool | str, "boolean", StrOptions({"category", "encoded", "auto"})] = False
    handle_unknown: Annotated[str, StrOptions({"error", "average"})] = "error"

    _size = 1.0  # of an indicator that is set: the greater, the less its coefficient is shrunk
    _predicts_by_task = property(lambda self: bool(self._told_))

    def _fit_labels(self, X, rows, y, codes, weight):
        """Fit one clone on every label."""
        X, y, given = _take(X, rows), plain_labels(y), present(sample_weight=weight)
        zero = _zero_of(self.estimator, y)
        estimator = zero or clone(self.estimator)
        self._told_ = [] if codes is None or zero else self._ways_to_tell(X)
        if self._told_:
            X = self._with_columns(X, [way.learn(codes, y) for way in self._told_])
            estimator, more = self._told_[-1].tell(estimator, X.shape[1] - 1)
            given |= more
        self.estimator_ = _fitted(estimator, X, y, given)

    def _ways_to_tell(self, X):
        """What makes columns of tasks, that of categories last; none where the estimator is not told."""
        form, makers = self.task_indicators, (type(self.estimator), self.estimator.fit)
        known = {name for one in makers for name in inspect.signature(one).parameters}
        parameter = next((name for name in CATEGORIES if name in known), None)  # lists columns of categories
        if form == "category" and parameter is None:
            name = type(self.estimator).__name__
            raise ValueError(
                f"task_indicators='category' is for estimators that are told by one of {[*CATEGORIES]} "
                f"which columns hold categories; {name} has none of these. True and 'encoded' are for any."
            )
        if form == "auto" and parameter is None:
            form = _holds_numbers(X)
        if not isinstance(form, str):
            return [_Indicators(self.n_tasks_, self._size)] if form else []
        encoded = _Encoded(self.classes_ if is_classifier(self) else None)
        if form == "encoded" or self.n_tasks_ > getattr(self.estimator, "max_bins", np.inf):
            return [encoded]
        return [encoded, _Category(parameter)] if form == "auto" else [_Category(parameter)]

    def _with_columns(self, X, columns):
        """X, as numbers, with columns of the tasks."""
        X = _numbers(X)
        if sparse.issparse(X):
            return sparse.hstack([X, *map(sparse.csr_array, columns)], format="csr", dtype=X.dtype)
        columns = [own.toarray() if sparse.issparse(own) else own for own in columns]
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        return np.hstack([X, *(own if own.dtype == object else own.astype(dtype) for own in columns)])

    def _rows_response(self, method, X, codes):
        if self._told_ and codes is not None:
            X = self._with_columns(X, [way.columns(codes) for way in self._told_])
        return getattr(self.estimator_, method)(X)


def _take(X, rows):
    """Some rows of X, X itself if these are all of them in order."""
    n_samples = num_samples(X)
    if len(rows) == n_samples and (rows == np.arange(n_samples)).all():
        return X
    return X[rows] if sparse.issparse(X) else safe_indexing(X, rows)


def _fitted(estimator, X, y, given):
    """The estimator fitted; ValueError where numbers overflowed on the way, which scikit-learn lets pass."""
    coef = getattr(estimator.fit(X, y, **given), "coef_", None)
    if isinstance(coef, np.ndarray) and coef.dtype.kind == "f" and not np.isfinite(coef).all():
        raise ValueError(f"X is so large that coefficients of {estimator} overflow: standardise features.")
    return estimator


def _takes_weights(estimator):
    """Whether fit takes sample_weight, by name or among its ** arguments (Pipelines and searches)."""
    parameters = inspect.signature(estimator.fit).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)
