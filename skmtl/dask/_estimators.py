"""The estimators of the library on collections of Dask."""

import inspect
from functools import partial, reduce
from numbers import Integral

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .. import linear_model, model_selection
from .._batches import added_folds
from .._inputs import present
from .._tasks import all_or_nothing, target_names
from ..statistics import TaskStatistics
from ._by_task import TaskModels
from ._newton import Newton
from ._partitions import Partitions, is_collection, predicted

LIKELIHOODS = "squared_error", "log_loss", "poisson"
KNOWN = "_layout_", "n_features_in_", "feature_names_in_"  # of the rows, before any is read


def reader_of(model, rows):
    """An unfitted copy of a linear model that knows the columns of the rows and how they name their tasks."""
    reader = clone(model)
    reader._validate_params()
    labels = reader._split(rows.head, () if rows.has_tasks else None, reset=True)[1]
    if rows.shape and labels is not None:
        raise ValueError(
            f"y has rows of shape {rows.shape}, one column per task, and cannot be combined with tasks= or "
            "task_column=. Give a 1-D y, or leave the tasks away."
        )
    reader._layout_ = "shared" if rows.shape else "single" if labels is None else "stacked"
    return reader


def known_of(reader):
    """What a reader knows, as attributes of a model."""
    return {name: getattr(reader, name) for name in KNOWN if hasattr(reader, name)}


def moments_of(rows, reader, n_folds=1):
    """`TaskStatistics` of all rows, with those of folds if there are several."""
    folds = rows.sum(partial(reduce, added_folds), _fold_moments, reader, n_folds)
    if all(fold is None for fold in folds):
        raise ValueError("X and y have no row with a positive weight.")
    return TaskStatistics.total(folds, rows.shape, target_names(rows.y_head))


def _fold_moments(reader, n_folds, X, y, tasks, weight):
    X, tasks = reader._split(X, tasks)
    return TaskStatistics.of_folds(X, y, tasks, weight, n_folds)


def _refuse(model, local):
    """Error for arguments that collections do not have."""
    if local:
        raise TypeError(
            f"{type(model).__name__} does not take {', '.join(local)} with collections of Dask. "
            "In the place of offset: with the squared error y - offset; of counts y / exposure with "
            "sample_weight=exposure and strengths divided by the mean exposure."
        )


class OnCollections:
    """What an estimator of the library has beyond it to work on collections of Dask."""

    __metadata_request__fit = {"client": UNUSED}

    @all_or_nothing
    def fit(self, X, y, *, tasks=None, sample_weight=None, client=None, **local):
        """Fit to collections of Dask; to anything else as the local estimator does.

        Parameters
        ----------
        X : Dask DataFrame or Array of shape (n_samples, n_features), or list of delayed partitions
            Features, with the task column if `task_column` is set.
        y : Dask Series, DataFrame or Array of shape (n_samples,) or (n_samples, n_tasks), or list
            Targets, in the partitions of X. 2-D: one task per column, NaN for a missing label.
        tasks : Dask Series or Array of shape (n_samples,), or list, optional
            Task label of every row of a 1-D `y`.
        sample_weight : Dask Series or Array of shape (n_samples,), or list, optional
            Nonnegative weights.
        client : distributed.Client, optional
            What computes. None: Dask's own choice, the last client if there is one.
        **local
            What the local estimator takes beside these, such as `offset`, where X is no collection.

        Returns
        -------
        self
            On the machine of the caller; rows stay where they are.

        Raises
        ------
        ValueError, TypeError
            If an argument is malformed; the message names it.
        """
        if not is_collection(X):
            return super().fit(X, y, **present(tasks=tasks, sample_weight=sample_weight, **local))
        _refuse(self, local)
        self._fit_partitions(Partitions(X, y, tasks, sample_weight, client))
        return self

    def to_local(self):
        """The fitted model as an estimator of `skmtl` itself, which needs no Dask.

        Returns
        -------
        estimator
        """
        check_is_fitted(self)
        model = self._local(**self.get_params(deep=False))
        vars(model).update(vars(self))
        return model

    def _fitted_model(self):
        """The fitted linear model."""
        return self

    def _split(self, X, tasks=None, reset=False):
        if is_collection(X):
            raise TypeError(
                f"only the methods of {type(self).__name__} that fit or predict take collections of Dask. "
                "Compute X, or score what predict gives."
            )
        return super()._split(X, tasks, reset)

    def _answer(self, method, X, tasks, local, columns=None, dtype=np.float64):
        """What a method of the local model answers, lazily for collections."""
        if not is_collection(X):
            return getattr(super(), method)(X, tasks=tasks, **local)
        _refuse(self, local)
        if tasks is not None and not is_collection(tasks):
            raise TypeError(f"tasks must be a collection of Dask, as X is; got {type(tasks).__name__}.")
        check_is_fitted(self)
        model = self._fitted_model()
        columns = model.tasks_ if model._layout_ == "shared" else columns
        return predicted(self.to_local(), method, X, tasks, columns, dtype)

    def predict(self, X, *, tasks=None, **local):
        """Predict targets: lazily for a collection of Dask.

        Parameters
        ----------
        X : {array-like, Dask DataFrame or Array} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like, Dask Series or Array of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.
        **local
            What the local estimator takes beside these, such as `offset`, where X is no collection.

        Returns
        -------
        ndarray, Dask Series, DataFrame or Array of shape (n_samples,) or (n_samples, n_tasks)
            2-D after a fit on a 2-D y.
        """
        model = self._fitted_model()
        dtype = model.classes_.dtype if hasattr(model, "classes_") else np.float64
        return self._answer("predict", X, tasks, local, dtype=dtype)


class OnCollectionsClassifier(OnCollections):
    """The same of a classifier."""

    def decision_function(self, X, *, tasks=None, **local):
        """Log-odds of ``classes_[1]``, lazily for a collection of Dask.

        Parameters
        ----------
        X, tasks, **local
            As in `predict`.

        Returns
        -------
        ndarray, Dask Series, DataFrame or Array of shape (n_samples,) or (n_samples, n_tasks)
        """
        return self._answer("decision_function", X, tasks, local)

    @available_if(lambda self: self.loss == "log_loss")
    def predict_proba(self, X, *, tasks=None, **local):
        """Probabilities of the classes, lazily for a collection of Dask.

        Parameters
        ----------
        X, tasks, **local
            As in `predict`.

        Returns
        -------
        ndarray, Dask DataFrame or Array of shape (n_samples, 2) or (n_samples, n_tasks)
            After a fit on a 2-D y the probability of ``classes_[1]`` in each task.
        """
        return self._answer("predict_proba", X, tasks, local, columns=self.classes_)

    def _fit_partitions(self, rows):
        _fit_by_newton(self, rows)


class OnCollectionsSearch(OnCollections):
    """The same of `PathSearchCV`: one pass for all folds and strengths, by `fit_statistics`."""

    def _fitted_model(self):
        return self.best_estimator_

    def _fit_partitions(self, rows):
        n_folds = 5 if self.cv is None else self.cv
        if not (isinstance(n_folds, Integral) and n_folds >= 2):
            raise ValueError(f"cv must be a number of folds or None on collections of Dask; got {self.cv!r}.")
        if isinstance(self.estimator, Pipeline) or not hasattr(self.estimator, "fit_statistics"):
            raise TypeError(
                "PathSearchCV on collections of Dask needs a regressor of skmtl with the squared error, "
                f"without other steps; got estimator={self.estimator!r}."
            )
        reader = reader_of(self.estimator, rows)
        self.fit_statistics(moments_of(rows, reader, n_folds))
        if self.refit:
            vars(self.best_estimator_).update(known_of(reader))
            if hasattr(reader, "feature_names_in_"):
                self.feature_names_in_ = reader.feature_names_in_


class OnCollectionsRegressor(OnCollections):
    """The same of a regressor."""

    def _fit_partitions(self, rows):
        if not self._known_target().loss.quadratic:
            _fit_by_newton(self, rows)
            return
        reader = reader_of(self, rows)
        vars(self).update(known_of(reader))
        self._fit_moments(moments_of(rows, reader))
        self._statistics_ = None


class OnCollectionsByTask(OnCollectionsRegressor):
    """The same of a regressor of tasks around a common model."""

    def fit_by_task(self, X, y, *, tasks=None, sample_weight=None, client=None):
        """Fit where the rows are, for more tasks than the machine of the caller has room for.

        The model is that of `fit`. Only what all tasks share is sent: a system of the number of features.

        Parameters
        ----------
        X, y, tasks, sample_weight, client
            As in `fit`, with all rows of a task in the same partition. The squared error, no `task_weight`,
            and strengths that are numbers; with `intercept_alpha` neither `mean_alpha`, `ridge` nor
            `covariance`.

        Returns
        -------
        TaskModels
            Coefficients of the tasks in a Dask DataFrame.

        Raises
        ------
        ValueError
            If rows of a task are in several partitions, or the parameters are others.
        """
        self._validate_params()
        beside = self.mean_alpha or self.ridge or self.covariance is not None
        texts = {name: getattr(self, name) for name in ("loss", "alpha", "intercept_alpha")}
        texts = {name: value for name, value in texts.items() if isinstance(value, str)}
        wrong = [f"{name}={value!r}" for name, value in texts.items() if value != "squared_error"]
        wrong += [] if self.task_weight is None else [f"task_weight={self.task_weight!r}"]
        if self.intercept_alpha and beside:
            wrong += [f"intercept_alpha={self.intercept_alpha!r} beside mean_alpha, ridge or covariance"]
        if wrong or not self.alpha:
            raise ValueError(f"fit_by_task cannot serve {', '.join(wrong) or 'alpha=0'}; use fit.")
        rows = Partitions(X, y, tasks, sample_weight, client)
        estimator = reader_of(self._local(**self.get_params(deep=False)), rows)
        if estimator._layout_ != "stacked":
            raise ValueError("fit_by_task needs a 1-D y, with tasks= or a task_column.")
        return TaskModels(estimator, rows)


def _fit_by_newton(model, rows):
    """Fit a model with a loss that is minus a log-likelihood."""
    loss = model.loss if isinstance(model.loss, str) else type(model.loss).__name__
    if loss not in LIKELIHOODS:
        raise ValueError(f"on collections of Dask the loss must be among {LIKELIHOODS}; got {model.loss!r}.")
    if "auto" in (getattr(model, "alpha", None), model.intercept_alpha):
        raise ValueError(f"alpha='auto' and intercept_alpha='auto' need rows with loss={model.loss!r}.")
    if isinstance(getattr(model, "tree", None), str):
        raise ValueError(f"tree={model.tree!r} needs rows with loss={model.loss!r}; give a tree.")
    model._forget()
    reader = reader_of(model, rows)
    vars(model).update(known_of(reader))
    model._had_offset_ = False
    model._store(Newton(model, rows, reader).run())


EXAMPLE = """
Examples
--------
>>> import dask.array as da
>>> from skmtl.dask import {imported}
>>> from skmtl.datasets import make_multitask_{kind}
>>> data = make_multitask_{kind}(n_tasks=4, n_samples=50, n_features=5, random_state=0)
>>> X, y, tasks = (da.from_array(rows, chunks=100) for rows in (data.X, data.y, data.tasks))
>>> {name}({needed}).fit(X, y, tasks=tasks).{found}.shape
(4, 5)
"""
NEEDED = {
    "GraphRegularized": "graph=[[1] * 4] * 4", "Hierarchical": "tree={0: 'a', 1: 'a', 2: 'b', 3: 'b'}",
    "PathSearchCV": "MeanRegularizedRegressor(), 5",
}  # fmt: skip
NO_FIT = """Its penalty is not convex, which Newton's method on partitions needs: `fit` raises ValueError, and
`skmtl.LatentBasisClassifier` takes rows in memory.

"""


def example_of(name):
    """The section of its docstring, none where there is no fit."""
    stem = name.removesuffix("Regressor").removesuffix("Classifier")
    kind = "classification" if name.endswith("Classifier") else "regression"
    if name == "LatentBasisClassifier":
        return ""
    found, imported = "coef_", name
    if name == "PathSearchCV":
        found, imported = "best_estimator_.coef_", f"MeanRegularizedRegressor, {name}"
    return EXAMPLE.format(name=name, kind=kind, needed=NEEDED.get(stem, ""), found=found, imported=imported)


def on_collections(local, base):
    """A public class of this room: an estimator of `skmtl` that takes collections of Dask as well."""
    name, rest = local.__name__, inspect.getdoc(local).partition("\nExamples\n")[0]
    example = example_of(name)
    intro = f"`skmtl.{name}` that is fitted to collections of Dask.\n\n{'' if example else NO_FIT}"
    doc = f"{intro}{rest}{example}"
    return type(name, (base, local), {"__doc__": doc, "__module__": "skmtl.dask", "_local": local})


def public_estimators():
    """All of them by name."""
    found = {}
    for name in linear_model.__all__:
        local = getattr(linear_model, name)
        if local._predicts_by_task and hasattr(local, "fit_statistics"):
            by_task = local is linear_model.MeanRegularizedRegressor
            found[name] = on_collections(local, OnCollectionsByTask if by_task else OnCollectionsRegressor)
        elif issubclass(local, ClassifierMixin) and local._predicts_by_task:
            found[name] = on_collections(local, OnCollectionsClassifier)
    return found | {"PathSearchCV": on_collections(model_selection.PathSearchCV, OnCollectionsSearch)}
