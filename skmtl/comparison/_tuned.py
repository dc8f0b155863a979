"""The baselines of `compare`: one strength each, tuned on the training rows over a grid that grows."""

import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from ..baselines import Pooled, SingleTask
from ..model_selection import MOST_DECADES, beyond

ALPHAS = np.logspace(-2, 5, 15)
LOGISTIC_ALPHAS = np.logspace(-2, 3, 6)
BASELINES = ("single", "pooled", "intercepts", "mean")


def baseline(name, classification, column):
    """The unfitted baseline of that name."""
    if name == "mean":
        dummy = DummyClassifier(strategy="prior") if classification else DummyRegressor()
        return SingleTask(dummy, task_column=column)
    if name == "single":
        return SingleTask(Tuned(classification), task_column=column)
    return Pooled(Tuned(classification), task_indicators=name == "intercepts", task_column=column)


def best_strength(errors_of, grid):
    """The strength of least error; the grid grows as that of a search does."""
    errors = errors_of(grid)
    for _ in range(MOST_DECADES):
        further = beyond(grid, -errors)
        if further is None:
            break
        grid, errors = np.concatenate([grid, further]), np.concatenate([errors, errors_of(further)])
    return grid[errors.argmin()]


def leave_one_out(X, y, grid):
    """Sum of the squared leave-one-out errors of ridge regression at each strength."""
    return sklearn.linear_model.RidgeCV(grid, store_cv_results=True).fit(X, y).cv_results_.sum(axis=0)


def held_out(X, y, grid):
    """Sum of the log-losses of logistic regression in 3 folds at each strength.

    The folds are stratified: a level of its own is in the model at every strength, so that what they tell of
    it makes none look better.
    """
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    models = [logistic(alpha) for alpha in grid]
    probabilities = (cross_val_predict(model, X, y, cv=folds, method="predict_proba") for model in models)
    return np.array([len(y) * log_loss(y, proba) for proba in probabilities])


def logistic(alpha):
    """Logistic regression of that strength."""
    return sklearn.linear_model.LogisticRegression(C=1 / alpha, max_iter=1000)


def ridge(alpha):
    """Ridge regression of that strength."""
    return sklearn.linear_model.Ridge(alpha)


class Tuned(BaseEstimator):
    """Logistic regression of least log-loss in 3 folds, or ridge regression of least leave-one-out error."""

    def __init__(self, classification):
        self.classification = classification

    def __sklearn_tags__(self):
        return get_tags((logistic if self.classification else ridge)(1.0))

    def fit(self, X, y):
        self.model_ = self._best([(X, y)]).fit(X, y)
        if self.classification:
            self.classes_ = self.model_.classes_
        return self

    def of_common_strength(self, parts):
        """The model for every task by the (X, y, weight) of all those that can be split."""
        return self._best([(X, y) for X, y, _ in parts if self._can_be_split(y)])

    def _can_be_split(self, y):
        counts = np.unique(y, return_counts=True)[1]
        return len(counts) > 1 and min(counts) >= 3 if self.classification else len(y) > 1

    def _best(self, parts):
        """The model with the strength of least error over all parts (X, y) of the rows."""
        kinds = (ridge, leave_one_out, ALPHAS), (logistic, held_out, LOGISTIC_ALPHAS)
        model, errors_of, grid = kinds[self.classification]

        def errors(grid):
            return sum((errors_of(X, y, grid) for X, y in parts), start=np.zeros(len(grid)))

        return model(best_strength(errors, grid))

    def predict(self, X):
        return self.model_.predict(X)

    @available_if(lambda self: self.classification)
    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    @available_if(lambda self: self.classification)
    def decision_function(self, X):
        return self.model_.decision_function(X)
