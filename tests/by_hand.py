"""Data, models and the reference of the tests of models inside scikit-learn.

`ByHand` fits and predicts with ``tasks=`` on rows that it looks up: its X is a column of row
numbers, which every scikit-learn utility carries unharmed. What a utility gives around it is what
the same utility must give around a model in any of the forms that name the task.
"""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskElasticNet,
    MultiTaskLasso,
    MultiTaskRegressor,
    Pooled,
    SingleTask,
    TraceNormClassifier,
    TraceNormRegressor,
)
from skmtl.penalties import L1, Coupling, Entries

rng = np.random.default_rng(0)
N, NAMES = 120, np.array(["ash", "birch", "cedar", "dune", "elm"])
CODES = rng.integers(len(NAMES), size=N)
TASKS = NAMES[CODES]
X = rng.normal(size=(N, 3)) * [1.0, 2.0, 0.5] + [0.0, 3.0, 0.0]
COEF = rng.normal(size=3) + 0.5 * rng.normal(size=(len(NAMES), 3))
LEVEL = rng.normal(size=len(NAMES))
y = (X * COEF[CODES]).sum(axis=1) + LEVEL[CODES] + 0.3 * rng.normal(size=N)
TWO = np.where(y > np.median(y), "yes", "no")
THREE = np.where(y > np.quantile(y, 0.7), "top", TWO)
Y = X @ COEF.T + LEVEL + 0.3 * rng.normal(size=(N, len(NAMES)))
Y[rng.random(Y.shape) < 0.3] = np.nan
BINARY = np.where(np.isnan(Y), np.nan, np.nanmedian(Y, axis=0) < Y)
ROWS = np.arange(N)[:, None]

REGRESSOR, CLASSIFIER = MeanRegularizedRegressor(0.1), MeanRegularizedClassifier(0.1)
# every model with parameters that leave something of it, by name
REGRESSORS = {
    "mean": REGRESSOR,
    "mean-pooled-intercepts": MeanRegularizedRegressor(0.3, mean_alpha=0.1, intercept_alpha=0.5),
    "lasso": MultiTaskLasso(0.1),
    "elastic": MultiTaskElasticNet(0.1),
    "group": GroupSparseRegressor(0.1, mean_alpha=0.01),
    "trace": TraceNormRegressor(0.1),
    "graph": MultiTaskRegressor(0.1, penalty=Coupling() + Entries(L1(0.1))),
    "single-task": SingleTask(Ridge()),
    "pooled": Pooled(Ridge(tol=1e-12), task_indicators=True),
}
CLASSIFIERS = {
    "mean-classifier": CLASSIFIER,
    "group-classifier": GroupSparseClassifier(0.02),
    "trace-classifier": TraceNormClassifier(0.02, intercept_alpha=0.1),
    "single-task-classifier": SingleTask(LogisticRegression()),
    "pooled-classifier": Pooled(LogisticRegression(), task_indicators=True),
}
MODELS = {**REGRESSORS, **CLASSIFIERS}
CLOSE = {"rtol": 1e-5, "atol": 1e-7}  # sparse and dense rows are summed in different orders


def frame(labels=TASKS):
    return pd.DataFrame(
        {"u": X[:, 0], "school": labels, "v": X[:, 1], "w": X[:, 2]}, index=np.arange(N)[::-1]
    )


class ByHand(BaseEstimator):
    """A model fitted and asked with tasks=, on the rows whose numbers are its X."""

    def __init__(self, model=None, scale=False, one_task=False):
        self.model, self.scale, self.one_task = model, scale, one_task

    def _look_up(self, rows):
        rows = np.asarray(rows)[:, 0].astype(int)
        return X[rows], np.full(len(rows), "only") if self.one_task else TASKS[rows]

    def fit(self, rows, y, sample_weight=None):
        features, tasks = self._look_up(rows)
        self.scaler_ = (StandardScaler() if self.scale else FunctionTransformer()).fit(features)
        self.model_ = clone(self.model)
        self.model_.fit(self.scaler_.transform(features), y, tasks=tasks, sample_weight=sample_weight)
        if is_classifier(self):
            self.classes_ = self.model_.classes_
        return self

    def _ask(self, method, rows):
        features, tasks = self._look_up(rows)
        return getattr(self.model_, method)(self.scaler_.transform(features), tasks=tasks)

    def predict(self, rows):
        return self._ask("predict", rows)


class RegressorByHand(RegressorMixin, ByHand):
    pass


class ClassifierByHand(ClassifierMixin, ByHand):
    def predict_proba(self, rows):
        return self._ask("predict_proba", rows)

    def decision_function(self, rows):
        return self._ask("decision_function", rows)


def by_hand(model, **params):
    return (ClassifierByHand if is_classifier(model) else RegressorByHand)(model, **params)


def target(model):
    return TWO if is_classifier(model) else y


def strength(model):
    """Name of the parameter that is the strength of the penalty."""
    return next(name for name in model.get_params() if name.split("__")[-1] in ("alpha", "C"))


def outputs(model, X):
    """Everything a fitted model says about X, as one array of floats."""
    if not is_classifier(model):
        return model.predict(X)
    return np.column_stack([model.predict(X) == "yes", model.predict_proba(X)]).astype(float)


def piped(model):
    return make_pipeline(StandardScaler(), clone(model))


def transformed(model):
    return TransformedTargetRegressor(model, func=np.arcsinh, inverse_func=np.sinh)
