"""A model that is told tasks, for an X in which they are a column that its first steps are not to see."""

from dataclasses import field
from typing import Annotated, Any

from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ._columns import split_task_column, told_apart
from ._parameters import documented, with_parameters
from ._sklearn import HasMethods
from ._tasks import all_or_nothing, final_model, final_task_column, refuse_two_sources, table_of
from .metrics import tasks_for
from .model_selection import routing, wants_tasks


def _of_the_estimator(method, of, found):
    """A method of the estimator, given the features and the tasks."""

    def call(self, X, **params):
        """%(of)s of the estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features + 1)
            Features and the task column.
        **params : dict
            Of the estimator's `%(method)s`, such as `offset`.

        Returns
        -------
        %(found)s
        """
        check_is_fitted(self)
        # a search's own `predict` takes no tasks
        return self._ask(getattr(self.estimator_, "best_estimator_", self.estimator_), method, X, **params)

    call.__name__, call.__qualname__ = method, f"TasksFromColumn.{method}"
    call.__doc__ = call.__doc__ and call.__doc__ % {"of": of, "method": method, "found": found}
    return available_if(lambda self: hasattr(self.estimator, method))(call)


@documented
@with_parameters
class TasksFromColumn(MetaEstimatorMixin, BaseEstimator):
    """A Pipeline, or any other model that is told tasks, for an X in which they are a column.

    The estimator is given the other columns and `tasks`: first steps, such as a scaler, do not see the
    labels, and neither metadata routing nor a ColumnTransformer that passes the column on is needed.

    Parameters
    ----------
    estimator : estimator object
        A Pipeline or a search that ends with a model of this library, or a model; it is cloned.
    task_column : str or int
        Column of X (name or position) that holds the task of each row.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    n_features_in_ : int
        Number of columns of X, the task column included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Names of the columns of X, if these are strings.

    See Also
    --------
    split_task_column : The features and the tasks.

    Notes
    -----
    Searches around it name parameters ``estimator__model__alpha`` and the like, and want
    ``cv=TaskKFold(task_column=...)``; one inside, ``TasksFromColumn(PathSearchCV(pipeline), "school")``, is
    given the tasks.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skmtl import MeanRegularizedRegressor, TasksFromColumn
    >>> X = pd.DataFrame({"school": ["a", "a", "b", "b"], "ses": [0.0, 1.0, 0.0, 1.0]})
    >>> model = TasksFromColumn(make_pipeline(StandardScaler(), MeanRegularizedRegressor(0.1)), "school")
    >>> model.fit(X, [0.0, 1.0, 2.0, 3.0]).predict(X).round(2)
    array([0., 1., 2., 3.])
    """

    estimator: Annotated[Any, HasMethods(["fit", "predict"])] = field(kw_only=False)
    task_column: str | int = field(kw_only=False)

    def __sklearn_tags__(self):
        tags = get_tags(self.estimator)
        tags.target_tags.multi_output = False
        return tags

    @property
    def classes_(self):
        """Class labels (classifiers only)."""
        return self.estimator_.classes_

    def get_metadata_routing(self):
        """Metadata routing: whatever the estimator takes.

        Returns
        -------
        routing : MetadataRouter
            The router.
        """
        mapping = MethodMapping()
        for method in ("fit", "predict", "predict_proba", "decision_function", "score"):
            mapping.add(caller=method, callee=method)
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    @all_or_nothing
    def fit(self, X, y, **params):
        """Fit the estimator to the other columns and their tasks.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features + 1)
            Features and the task column.
        y : array-like of shape (n_samples,)
            Targets.
        **params : dict
            Of the estimator's `fit`, such as `offset`. A Pipeline's may be named as it names them,
            ``model__sample_weight``; by their own names they are for its last step, or, under metadata
            routing, for those that ask for them.

        Returns
        -------
        self
        """
        self._validate_params()
        self.estimator_ = self._ask(clone(self.estimator), "fit", X, y, **params)
        return self

    def _ask(self, estimator, method, X, *y, **params):
        """What a method of the estimator returns, given the other columns and the tasks."""
        refuse_two_sources(params.get("tasks"), self.task_column)
        X = table_of(X)
        validate_data(self, told_apart(X), skip_check_array=True, reset=method == "fit")
        X, tasks = split_task_column(X, self.task_column)
        by_steps = isinstance(estimator, Pipeline) and not get_config()["enable_metadata_routing"]
        if method == "fit" and params and by_steps:
            step = estimator.steps[-1][0]
            given = {key if "__" in key else f"{step}__{key}": params[key] for key in params}
            return estimator.fit(X, *y, **given, **{f"{step}__tasks": tasks})
        if params and by_steps:  # they are of the last step, whose requests nobody has set
            X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
            estimator = estimator.steps[-1][1]
        with routing(tasks):
            return getattr(estimator, method)(X, *y, **tasks_for(estimator, method, tasks), **params)

    predict = _of_the_estimator("predict", "Predictions", "y : ndarray")
    predict_proba = _of_the_estimator("predict_proba", "Class probabilities", "proba : ndarray")
    decision_function = _of_the_estimator("decision_function", "Decision values", "decision : ndarray")

    def score(self, X, y, **params):
        """Score of the estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features + 1)
            Features and the task column.
        y : array-like of shape (n_samples,)
            Targets.
        **params : dict
            Of the estimator's `score`, such as `offset`.

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        return self._ask(self.estimator_, "score", X, y, **params)


def with_task_column(estimator, column):
    """The estimator, unfitted, for an X with that column.

    The model in it reads the column where it sees X as it is; where steps of a Pipeline stand in front of it,
    or folds of a search want the tasks, these are taken out for all of them.
    """
    estimator = clone(estimator)
    model, known = final_model(estimator), estimator.get_params()
    if model is None:
        return estimator
    folds = [one for key, one in known.items() if key.endswith("cv") and hasattr(one, "split")]
    if final_task_column(estimator)[1] or any(map(wants_tasks, folds)):
        return TasksFromColumn(estimator, column)
    of_model = [key for key, one in known.items() if one is model]
    return estimator.set_params(**{"__".join([*of_model[:1], "task_column"]): column})
