"""Models on the same folds: fitting, scoring, and how far the scores can be trusted."""

import time
from copy import copy
from dataclasses import dataclass
from functools import wraps

import numpy as np
from scipy import stats
from sklearn.base import clone, is_classifier
from sklearn.exceptions import UndefinedMetricWarning

from .._columns import refuse_text
from .._inputs import check_offset, present
from .._labels import missing_labels
from .._sklearn import safe_indexing
from .._task_scores import ALIKE, deviances, squared_errors, standard_deviation
from .._threads import threads_for
from .._warn import warn
from ..metrics import has_own_steps, reaches, response, tasks_for, without_steps

SIGNIFICANCE = 0.05
NO_OFFSET = "Takes no offset"
CLOSE = 0.05  # of the error of each label: what solvers may leave between equal models


def with_offset(models, offset, y):
    """Those of the models that take an offset, all where there is none, and the offset as an array."""
    if offset is None:
        return dict(models), None
    takes = {name: model for name, model in models.items() if reaches("offset", model, "fit", "predict")}
    return takes, check_offset(offset, len(y))


def error_measure(models, kind="numbers", kinds=None):
    """Which error of single labels all models can have; `kind` tells counts from other numbers."""
    if kinds is not None:
        return "error"
    if kind == "counts":
        return "deviance"
    if not is_classifier(next(iter(models.values()))):
        return "rmse"
    return "brier" if all(hasattr(model, "predict_proba") for model in models.values()) else "error_rate"


@dataclass
class FoldRun:
    """Fits one model on one fold: headline score, error of every test label, seconds."""

    X: object
    y: object
    labels: object
    pass_tasks: bool
    scorer: object
    measure: str
    offset: object = None
    kinds: object = None  # of tasks of different ones
    named: object = None  # y with names of its columns

    def __call__(self, name, model, train, test):
        with threads_for(self.X):
            fitted, seconds = self.fitted(name, model, train)
            return *self.judged(fitted, test), seconds

    def fitted(self, name, model, train):
        """The model fitted on the training rows, and the seconds that it took."""
        X = safe_indexing(self.X, train)
        given = tasks_for(model, "fit", self.labels[train] if self.pass_tasks else None)
        given |= {} if self.offset is None else {"offset": self.offset[train]}
        y = safe_indexing(self.y if self.named is None else self.named, train)
        start = time.perf_counter()
        try:
            fitted = clone(model).fit(X, y, **given)
        except ValueError as error:
            if "could not convert" in str(error) and "of X are not" not in str(error):
                refuse_text(X, error)
            raise
        seconds = time.perf_counter() - start
        self._check_search(name, fitted)
        return fitted, seconds

    def judged(self, fitted, test):
        """Headline score of a fitted model, and its error of every test label."""
        fitted, X, y, given = self._asked(fitted, test)
        fitted = _predicting_once(fitted)
        errors = self._errors(fitted, X, y, **given)
        return self.scorer(fitted, X, y, **given), errors

    def scored(self, fitted, test, scorer=None):
        """Score of a fitted model by another scorer, by default by that of the headline."""
        fitted, X, y, given = self._asked(fitted, test)
        return (scorer or self.scorer)(fitted, X, y, **given)

    def _asked(self, fitted, test):
        """A fitted model, or the last step of it, and rows for that: X, y, and what else is known of them."""
        X, y = safe_indexing(self.X, test), self.y[test]
        given = {"tasks": None if self.labels is None else self.labels[test]}
        given |= {} if self.offset is None else {"offset": self.offset[test]}
        if has_own_steps(fitted, present(**given)):
            fitted, X = without_steps(fitted, X)
        return fitted, X, y, given

    def _check_search(self, name, fitted):
        """ValueError where a search has no score to choose by."""
        if np.isnan(getattr(fitted, "best_score_", 0.0)):
            raise ValueError(
                f"the search {name!r} found no finite score. Its scorer must carry tasks to predict and "
                "leave missing labels out: use scoring=task_scorer(...), or error_score='raise' to see more."
            )

    def _errors(self, model, X, y, tasks, offset=None):
        """Squared error, deviance, Brier score or 0/1 error of each label, NaN where it is missing."""
        missing, method = missing_labels(y), "predict_proba" if self.measure == "brier" else "predict"
        found, _, classes = response(model, X, tasks, method, offset)
        if self.measure == "error":
            return self.kinds.errors(y, found, tasks)
        if self.measure == "rmse":
            return squared_errors(np.where(missing, np.nan, y).astype(np.float64), found)
        if self.measure == "deviance":
            return deviances(np.where(missing, np.nan, y).astype(np.float64), found)
        if self.measure == "error_rate":
            return np.where(missing, np.nan, y != found)
        proba = found
        if proba.ndim == y.ndim:  # two classes of a shared design: the probability of the second
            proba = np.stack([1 - proba, proba], axis=-1)
        truth = y[..., None] == classes
        unseen = 1 - truth.sum(axis=-1)  # a class that the training rows lacked has probability 0
        return np.where(missing, np.nan, (((truth - proba) ** 2).sum(axis=-1) + unseen) / 2)


def _predicting_once(fitted):
    """The fitted model, which remembers its predictions: errors and scores ask for the same ones."""
    if not hasattr(fitted, "predict"):
        return fitted
    fitted, last = copy(fitted), []
    predict = fitted.predict

    @wraps(predict)
    def remembered(X, **given):
        known = last and X is last[0] and given.keys() == last[1].keys()
        if not (known and all(np.array_equal(given[name], last[1][name]) for name in given)):
            last[:] = X, given, predict(X, **given)
        return last[2]

    fitted.predict = remembered
    return fitted


class FoldScores:
    """Scores, seconds and errors of all models on the same folds."""

    def __init__(self, models, splits, outcomes, reference):
        self.splits, self.reference = splits, reference
        runs = {name: outcomes[k * len(splits) : (k + 1) * len(splits)] for k, name in enumerate(models)}
        parts = ({name: [outcome[k] for outcome in run] for name, run in runs.items()} for k in range(3))
        self.scores, self.errors, self.seconds = parts
        self._leave_out_undefined()
        self.mean = {name: np.mean(scores) for name, scores in self.scores.items()}
        self.ranked = sorted(self.mean, key=lambda name: -np.nan_to_num(self.mean[name], nan=-np.inf))

    def _leave_out_undefined(self):
        """Drop the scores of folds where they are NaN for every model (one class only), with a warning.

        ValueError where no fold is left.
        """
        undefined = np.isnan(list(self.scores.values())).all(axis=0)
        self.scored = np.flatnonzero(~undefined)  # folds of the scores; errors have all
        if undefined.all():
            raise ValueError(
                f"scoring: the score is undefined on all {len(undefined)} test sets, for every model. Where "
                "these, or tasks in them, have a single row or class: fewer folds, another scoring=, or "
                "task_scorer(..., average='pooled'), which takes all tasks together."
            )
        if undefined.any():
            warn(
                f"the score is undefined on {undefined.sum()} of {len(undefined)} test sets, which are left "
                "out of means and tests: fewer folds, or TaskKFold(stratify=True), spread a rare class.",
                UndefinedMetricWarning,
            )
            for scores in self.scores.values():
                scores[:] = [score for score, out in zip(scores, undefined, strict=True) if not out]

    # size of a test set over that of its training set, the mean over folds
    overlap = property(lambda self: float(np.mean([len(test) / len(train) for train, test in self.splits])))

    def alike(self, model, other):
        """Whether the errors of two models differ by no more than those of equal models may."""
        one, two = (np.concatenate([e.ravel() for e in self.errors[name]]) for name in (model, other))
        whole = np.nansum(one + two) / 2
        return abs(np.nansum(one - two)) <= ALIKE * whole and np.nansum(np.abs(one - two)) <= CLOSE * whole

    def test(self, model, other):
        """Mean difference of the scores and its p-value, corrected for overlapping training sets.

        The p-value is NaN where there is nothing to test: one fold, equal scores, or models that are alike.
        """
        d = np.subtract(self.scores[model], self.scores[other])
        if len(d) < 2 or not d.any() or np.isnan(d).any() or self.alike(model, other):
            return d.mean(), np.nan
        scale = np.sqrt(1 / len(d) + self.overlap) * standard_deviation(d)
        return d.mean(), 2 * stats.t.sf(abs(d.mean()) / scale if scale > 0 else np.inf, len(d) - 1)

    def clearly_better(self, model, other):
        gap, p = self.test(model, other)
        return gap > 0 and p < SIGNIFICANCE

    def label_errors(self, model, shape):
        """Error of each label averaged over the folds that test it, NaN if none does."""
        total, count = np.zeros(shape), np.zeros(shape)
        for errors, (_, test) in zip(self.errors[model], self.splits, strict=True):
            seen = ~np.isnan(errors)
            total[test] += np.where(seen, errors, 0.0)
            count[test] += seen
        return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
