"""The baselines of `compare`: one strength each, tuned on the training rows over a grid that grows."""

from functools import partial

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from .baselines import Pooled, SingleTask
from .model_selection._search_checks import MOST_DECADES, beyond

ALPHAS = np.logspace(-2, 5, 15)
LOGISTIC_ALPHAS = np.logspace(-2, 3, 6)
BASELINES = ("single", "pooled", "intercepts", "mean")


def baseline(name, classification, column):
    """The unfitted baseline of that name."""
    if name == "single":
        return (SingleTaskLogistic if classification else SingleTaskRidge)(task_column=column)
    if name == "mean":
        dummy = DummyClassifier(strategy="prior") if classification else DummyRegressor()
        return SingleTask(dummy, task_column=column)
    model = TunedLogistic() if classification else TunedRidge()
    return Pooled(model, task_indicators=name == "intercepts", task_column=column)


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


class TunedRidge(RegressorMixin, BaseEstimator):
    """Ridge regression with the strength of least leave-one-out error."""

    def fit(self, X, y):
        alpha = best_strength(partial(leave_one_out, X, y), ALPHAS)
        self.model_ = sklearn.linear_model.Ridge(alpha).fit(X, y)
        return self

    def predict(self, X):
        return self.model_.predict(X)


class TunedLogistic(ClassifierMixin, BaseEstimator):
    """Logistic regression with the strength of least log-loss in 3 folds."""

    def fit(self, X, y):
        self.model_ = logistic(best_strength(partial(held_out, X, y), LOGISTIC_ALPHAS)).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def decision_function(self, X):
        return self.model_.decision_function(X)


class SingleTaskRidge(SingleTask):
    """Ridge per task with the common strength of least leave-one-out error over all tasks."""

    def __init__(self, task_column=None):
        super().__init__(sklearn.linear_model.Ridge(), task_column=task_column)

    def _template(self, parts):
        parts = [(X, y) for X, y, _ in parts if len(y) > 1]

        def errors(grid):
            return sum((leave_one_out(X, y, grid) for X, y in parts), start=np.zeros(len(grid)))

        return sklearn.linear_model.Ridge(best_strength(errors, ALPHAS))


class SingleTaskLogistic(SingleTask):
    """Logistic regression per task with the common strength of least log-loss in 3 folds."""

    def __init__(self, task_column=None):
        super().__init__(sklearn.linear_model.LogisticRegression(max_iter=1000), task_column=task_column)

    def _template(self, parts):
        counts = [(X, y, np.unique(y, return_counts=True)[1]) for X, y, _ in parts]
        parts = [(X, y) for X, y, count in counts if len(count) > 1 and min(count) >= 3]

        def losses(grid):
            return sum((held_out(X, y, grid) for X, y in parts), start=np.zeros(len(grid)))

        return logistic(best_strength(losses, LOGISTIC_ALPHAS))
