"""Models to beat, by name: what a practitioner would use instead, tuned on the training rows."""

import warnings
from copy import copy
from importlib import import_module
from math import ceil

import numpy as np
import sklearn
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import get_tags

from .._sklearn import after_rounds
from .._task_scores import deviances
from ..baselines import Pooled, SingleTask, models_counts
from ..linear_model import MeanRegularizedClassifier, MeanRegularizedRegressor
from ._tuned import Tuned, TunedLinear

BASELINES = ("single", "pooled", "intercepts", "mean")
ONE_FOR_ALL = ("pooled", "intercepts")  # which mean nothing for columns of numbers: one model, many outputs
LEAVES = 5, 20  # least number of rows of a leaf of boosted trees
FOREST_LEAVES, MOST_FEATURES = (1, 5), 40  # a third of the features at a split, at most these
FIRST_TREES, N_TREES = 1 / 5, 50  # share that tells the leaves, and trees of the forest
MOST_ROUNDS, MANY_ROWS = 100, 5000  # of boosting, chosen in folds; of many rows a tenth tells when to stop
FIRST_ROUNDS, NEARLY = 0.4, 0.8  # of these, enough where the best ones are in a share of them
FREE = 10.0  # size of indicators whose coefficients are hardly shrunk: by a hundredth of the strength


def kind_of(model):
    """What the targets of a model are: "classes", "counts" or "numbers"."""
    return "classes" if is_classifier(model) else "counts" if models_counts(model) else "numbers"


def rival(name, kind, shared=False, column=None):
    """The unfitted model of that name, for one column of y per task where `shared`.

    Parameters
    ----------
    name : str
        A baseline of `compare`.
    kind : {"numbers", "counts", "classes"}
        What the targets are.
    shared : bool, default=False
        Whether y has a column for each task.
    column : str or int, default=None
        Column of X that holds the task of each row.

    Returns
    -------
    model : estimator
        Unfitted.
    """
    return RIVALS[name](kind, shared, task_column=column)


class MeanCount(DummyRegressor):
    """The mean: of rates, weighted by exposures, that of all events and all exposures."""

    loss = "poisson"


class FreeIntercepts(Pooled):
    """With a free level for every task."""

    _size = FREE


def _linear(make, **told):
    """Tuned linear models, told the task in that way."""
    return lambda kind, shared, **column: make(TunedLinear(kind), **told, **column)


def _mean(kind, shared, **column):
    means = {"classes": DummyClassifier(strategy="prior"), "counts": MeanCount(), "numbers": DummyRegressor()}
    return SingleTask(means[kind], **column)


def _mixed(kind, shared, **column):
    options = {"alpha": "auto", "intercept_alpha": "auto", "task_weight": "samples", **column}
    if kind == "classes":
        return MeanRegularizedClassifier(**options)
    return MeanRegularizedRegressor(loss="poisson" if kind == "counts" else "squared_error", **options)


def _of_trees(make, told):
    """Trees that are told the task in that way, on a shared design one model per output."""

    def made(kind, shared, **column):
        model = make(kind)
        return SingleTask(model, **column) if shared else Pooled(model, task_indicators=told, **column)

    return made


def _package(name, title):
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"the baseline {name!r} needs {title}: pip install {name}.") from error


def _lightgbm(kind):
    package = _package("lightgbm", "LightGBM")
    options = {"min_child_samples": 5, "learning_rate": 0.05, "verbose": -1, "random_state": 0, "n_jobs": 1}
    if kind == "classes":
        return package.LGBMClassifier(**options)
    return package.LGBMRegressor(objective="poisson" if kind == "counts" else "regression", **options)


def _catboost(kind):
    package = _package("catboost", "CatBoost")
    options = {"iterations": 300, "verbose": 0, "random_seed": 0, "thread_count": 1}
    options |= {"allow_writing_files": False}
    if kind == "classes":
        return package.CatBoostClassifier(**options)
    return package.CatBoostRegressor(loss_function="Poisson" if kind == "counts" else "RMSE", **options)


class _Trees(Tuned):
    """Trees whose leaves, and rounds, have the least squared error, deviance or Brier score unseen."""

    def __sklearn_tags__(self):
        return get_tags(DummyClassifier() if self.kind == "classes" else DummyRegressor())

    def _error(self, model, y, found, weight):
        """Sum of the errors."""
        known = ~np.isnan(found.reshape(len(y), -1)[:, 0])
        if self.kind == "counts":
            return np.average(deviances(y, found)[known], weights=None if weight is None else weight[known])
        target = y[:, None] == model.classes_ if self.kind == "classes" else y
        return np.sum((target[known] - found[known]) ** 2)


class TunedBoosting(_Trees):
    """Boosted trees. Rounds and leaves are chosen in 3 folds; of many rows a tenth tells when to stop.

    Unless they are given.
    """

    def __init__(self, kind, categorical_features=None, leaf=None, rounds=None):
        super().__init__(kind)
        self.categorical_features, self.leaf, self.rounds = categorical_features, leaf, rounds

    max_bins = 255  # as many categories as scikit-learn's have

    def _model(self, leaf, **options):
        options["categorical_features"] = self.categorical_features
        options = {"random_state": 0, "early_stopping": False, "min_samples_leaf": leaf, **options}
        if self.kind == "classes":
            return sklearn.ensemble.HistGradientBoostingClassifier(**options)
        loss = "poisson" if self.kind == "counts" else "squared_error"
        return sklearn.ensemble.HistGradientBoostingRegressor(loss, **options)

    def after(self, rounds):
        """This, fitted, as it was after so many rounds."""
        found = copy(self).set_params(rounds=rounds)
        found.model_ = after_rounds(self.model_, rounds) if hasattr(self.model_, "max_iter") else self.model_
        return found

    def _chosen(self, X, y, weight):
        if self.kind == "counts" and not np.any(y):
            return DummyRegressor().fit(X, y)
        if self.rounds is not None:
            return self._model(self.leaf, max_iter=self.rounds).fit(X, y, weight)
        if len(y) >= MANY_ROWS:
            stopped = self._model(LEAVES[-1], early_stopping=True, max_iter=10 * MOST_ROUNDS)
            return stopped.fit(X, y, weight)
        some = self.kind == "counts" and np.sum(y == 0) >= 3
        strata = y if self.kind == "classes" else y > 0 if some else np.ones(len(y))
        sizes = np.unique(strata, return_counts=True)[1]
        if min(sizes) < 3:
            return self._model(LEAVES[-1]).fit(X, y, weight)
        folds = StratifiedKFold if len(sizes) > 1 else KFold
        splits = list(folds(3, shuffle=True, random_state=0).split(X, strata))
        models = [[(self._model(leaf, warm_start=True), split) for split in splits] for leaf in LEAVES]
        for most in (ceil(FIRST_ROUNDS * MOST_ROUNDS), MOST_ROUNDS):
            errors = [
                sum(
                    self._errors(model.set_params(max_iter=most), X, y, weight, *split)
                    for model, split in pairs
                )
                for pairs in models
            ]
            best, rounds = np.unravel_index(np.argmin(errors), np.shape(errors))
            if rounds + 1 <= NEARLY * most:
                break
        return self._model(LEAVES[best], max_iter=int(rounds) + 1).fit(X, y, weight)

    def _errors(self, model, X, y, weight, train, test):
        """The error on held-out rows after every round; the model goes on from where it was."""
        fitted, held_out = (None if weight is None else weight[rows] for rows in (train, test))
        model.fit(X[train], y[train], fitted)
        classes = self.kind == "classes"
        stages = model.staged_predict_proba(X[test]) if classes else model.staged_predict(X[test])
        return np.array([self._error(model, y[test], found, held_out) for found in stages])


class TunedForest(_Trees):
    """A random forest. Leaves are chosen by the rows that its trees have not seen."""

    def _chosen(self, X, y, weight):
        kind = "RandomForestClassifier" if self.kind == "classes" else "RandomForestRegressor"
        options = {"n_estimators": ceil(FIRST_TREES * N_TREES), "oob_score": True, "random_state": 0}
        options["max_features"] = min(-(-X.shape[1] // 3), MOST_FEATURES)
        models = [getattr(sklearn.ensemble, kind)(**options, min_samples_leaf=leaf) for leaf in FOREST_LEAVES]
        with (
            warnings.catch_warnings()
        ):  # rows that all trees have seen, as those of great weights, say nothing
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores", UserWarning)
            models = [model.fit(X, y, weight) for model in models]
        unseen = "oob_decision_function_" if self.kind == "classes" else "oob_prediction_"
        best = min(models, key=lambda model: self._error(model, y, getattr(model, unseen), weight))
        return best.set_params(n_estimators=N_TREES, warm_start=True, oob_score=False).fit(X, y, weight)


RIVALS = {
    "single": _linear(SingleTask),
    "pooled": _linear(Pooled),
    "intercepts": _linear(Pooled, task_indicators=True),
    "mean": _mean,
    "dummies": _linear(FreeIntercepts, task_indicators=True),
    "mixed": _mixed,
    "trees": _of_trees(TunedBoosting, "auto"),
    "forest": _of_trees(TunedForest, "encoded"),
    "lightgbm": _of_trees(_lightgbm, "auto"),
    "catboost": _of_trees(_catboost, "auto"),
}
