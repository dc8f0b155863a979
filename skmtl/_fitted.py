"""Coefficients of a fitted model by the names of its tasks, classes and features."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._columns import split_task_column, without_column
from ._figures import parts_of
from ._labels import readable

INTERCEPT = "(intercept)"  # its name among those of the features


@dataclass
class Coefficients:
    """What a fitted linear model says of each task, a row for each task and class that it tells apart.

    `classes` are None where there are two or none, standard errors where the model knows none; `parts` are
    the summands of `coef` (n_rows, n_features) by name, where it is written as a sum.
    """

    model: Any
    tasks: list
    classes: list
    features: list
    coef: np.ndarray
    intercept: np.ndarray
    coef_std: np.ndarray | None = None
    intercept_std: np.ndarray | None = None
    parts: dict = field(default_factory=dict)

    @property
    def rows(self):
        """Names of the rows."""
        named = zip(self.tasks, self.classes, strict=True)
        return [f"{t}" if c is None else f"{t}: {c}" for t, c in named]

    def by_task(self):
        """Names of the tasks and their coefficients, those of all classes in one row; zero where unknown."""
        at = {}
        for row, task in enumerate(self.tasks):
            at.setdefault(task, []).append(row)
        W = np.zeros((len(at), max(map(len, at.values())) * self.coef.shape[1]))
        for t, rows in enumerate(at.values()):
            own = np.nan_to_num(self.coef[rows]).ravel()
            W[t, : len(own)] = own
        return [*at], W


def layers(estimator):
    """The fitted estimators from the outside in, the model with coefficients last."""
    yield estimator
    while not (hasattr(estimator, "coef_") or hasattr(estimator, "estimators_")):
        found = ("best_estimator_", "task_estimator_", "estimator_", "regressor_")
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:
            name = next((name for name in found if hasattr(estimator, name)), None)
            if name is None:
                _refuse(estimator)
            estimator = getattr(estimator, name)
        yield estimator


def final_fitted(estimator):
    """The fitted model inside Pipelines, searches and wrappers, and the names of the columns that it sees.

    The names are None where nothing tells them.
    """
    names = None
    for model in layers(estimator):
        if isinstance(model, Pipeline):
            names = _names_behind(model[:-1], names)
    own = getattr(model, "feature_names_in_", None)
    return model, names if own is None else own.tolist()


def features_seen(estimator, X, tasks=None):
    """X as it reaches the fitted model inside, behind the steps of Pipelines, and the tasks beside it."""
    for model in layers(estimator):
        if hasattr(model, "estimator_") and getattr(model, "task_column", None) is not None:
            X, tasks = split_task_column(X, model.task_column)
        if isinstance(model, Pipeline) and len(model.steps) > 1:
            X = model[:-1].transform(X)
        if hasattr(model, "task_estimator_") or hasattr(model, "regressor_"):
            raise TypeError(f"{type(model).__name__} gives its model other targets than y: pass that model.")
    return X, tasks


def _refuse(model):
    """NotFittedError, or a TypeError where there are no coefficients to be read."""
    if hasattr(model, "fit"):
        check_is_fitted(model)
    raise TypeError(
        "coefficients are read from a fitted linear model with tasks, alone or as the last step of a "
        f"Pipeline, in a search or a wrapper; got {type(model).__name__}, which has none."
    )


def _names_behind(steps, names):
    """Names of the columns that the first steps of a Pipeline put out, or None."""
    if not len(steps.steps):
        return names
    try:
        return list(steps.get_feature_names_out())
    except (AttributeError, ValueError, NotFittedError):
        return None


def feature_names(model, names=None):
    """Names of the features of a fitted model as text, those of `coef_`: without the task column.

    `names` are those of all its columns, where it does not know them itself; else x0, x1, ...
    """
    n_columns = model.n_features_in_
    if names is None or len(names) != n_columns:
        names = getattr(model, "feature_names_in_", [f"x{j}" for j in range(n_columns)])
    return without_column([str(name) for name in names], getattr(model, "task_column", None))


def fitted_coefficients(estimator, names=None, errors=False):
    """`Coefficients` of a fitted estimator, with standard errors if asked for.

    `names` are in the place of those of its features.
    """
    final, columns = final_fitted(estimator)
    model = final if hasattr(final, "coef_") else _OfTasks(final)
    if not hasattr(model, "n_tasks_"):
        _refuse(model)
    T, K, p = _sizes(model)
    features = feature_names(model, columns) if names is None else [str(name) for name in names]
    if len(features) != p:
        raise ValueError(f"feature_names must name the {p} features of the model; got {len(features)}.")
    classes = _classes_of_tasks(model, K)
    at = [(t, k) for t, own in enumerate(classes) for k in range(len(own))]
    rows = tuple(np.array(at).T)

    def taken(values, *last):
        return np.reshape(values, (T, K, *last))[rows]

    labels = readable(model.tasks_)
    return Coefficients(
        final, [labels[t] for t, _ in at], [classes[t][k] for t, k in at], features, taken(model.coef_, p),
        taken(model.intercept_ if np.size(model.intercept_) == T * K else np.full(T * K, model.intercept_)),
        *(_standard_errors(model, rows, (T, K, p)) if errors else (None, None)), _parts(model, taken, p),
    )  # fmt: skip


def _sizes(model):
    """Numbers of tasks, of vectors of each and of features."""
    T, p = model.n_tasks_, np.shape(model.coef_)[-1]
    return T, np.size(model.coef_) // max(T * p, 1), p


def _classes_of_tasks(model, K):
    """The classes of each task that have a vector of their own, [None] where there is one vector."""
    if K == 1:
        return [[None]] * model.n_tasks_
    known = model.classes_
    if isinstance(known, dict):
        own = (known.get(task, [None]) for task in model.tasks_.tolist())
        return [list(one) if len(one) > 2 else [None] for one in own]
    return [list(one) for one in known] if isinstance(known, list) else [list(known)] * model.n_tasks_


def _standard_errors(model, rows, shape):
    """Those of coefficients and intercepts, or None twice."""
    try:
        found = model.coef_std_, model.intercept_std_
    except (AttributeError, ValueError):  # the model, or its penalty, has none
        return None, None
    T, K, p = shape
    return np.reshape(found[0], (T, K, p))[rows], np.reshape(found[1], (T, K))[rows]


def _parts(model, taken, p):
    """Summands by name, a common model among them where it is not part of another."""
    found = {name: taken(V, p) for name, V in parts_of(model).items()}
    rest = taken(model.coef_, p) - sum(found.values()) if found else np.zeros(1)
    if np.abs(rest).max(initial=0.0) > 1e-8 * np.abs(model.coef_).max(initial=0.0):
        found = {"common": rest, **found}
    return found


class _OfTasks:
    """A fitted `SingleTask` as a model with the coefficients of the models in it; NaN where one has none."""

    def __init__(self, single):
        found = [getattr(model, "coef_", None) for model in single.estimators_]
        shape = next((np.shape(coef) for coef in found if coef is not None), None)
        if shape is None or not hasattr(single, "tasks_"):
            _refuse(single)
        self.tasks_, self.n_tasks_ = single.tasks_, single.n_tasks_
        self.n_features_in_, self.task_column = single.n_features_in_, single.task_column
        if hasattr(single, "feature_names_in_"):
            self.feature_names_in_ = single.feature_names_in_
        self.classes_ = getattr(single, "classes_", None)
        own = [model for model, coef in zip(single.estimators_, found, strict=True) if coef is not None]
        size = np.shape(own[0].intercept_)
        self.coef_ = np.full((self.n_tasks_, *shape), np.nan)
        self.intercept_ = np.full((self.n_tasks_, *size), np.nan)
        for t, (model, coef) in enumerate(zip(single.estimators_, found, strict=True)):
            if coef is not None and np.shape(coef) == shape:
                self.coef_[t], self.intercept_[t] = coef, model.intercept_
