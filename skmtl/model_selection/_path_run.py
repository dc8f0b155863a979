"""One path of candidates on one split: fitted step by step, scored at each."""

import time
import traceback
from dataclasses import dataclass
from numbers import Number
from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object

from .._sklearn import check_method_params, named_scorers, safe_split, score_fitted
from ..linear_model import Fitting
from ..statistics import TaskStatistics
from ._moments import FoldMoments, moment_scores

SCORED_AT_ONCE = 2**21  # coefficients of solutions that wait to be scored together, on moments


@dataclass
class PathRun:
    """Fits the candidates of a path on one split and scores each."""

    estimator: Any
    name: str
    X: Any
    y: Any
    fit_params: dict
    score_params: dict
    scorer: Any
    error_score: Any
    return_train_score: bool
    moments: FoldMoments | None = None
    scores: dict | None = None

    def look_for_moments(self, splits, scoring):
        """Second moments in the place of the rows, for fits and for scores, where they are enough."""
        self.moments = FoldMoments.of(self.estimator, self.X, self.y, self.fit_params, splits)
        given = {**self.fit_params, **self.score_params}
        plain = all(given.get(name) is None for name in ("sample_weight", "offset"))
        if self.moments is not None and plain:
            self.scores = moment_scores(scoring, self.moments, self.fit_params.get("tasks") is not None)

    def take_moments(self, stats, scoring):
        """The moments of statistics with folds in the place of rows; ValueError where they are not enough."""
        self.moments = FoldMoments.of_statistics(self.estimator, stats)
        self.scores = moment_scores(scoring, self.moments, False)
        if self.scores is None:
            raise ValueError(
                f"scoring={scoring!r} needs rows, or a target that varies in every test set. From statistics "
                "come R^2 and (root) mean squared errors, also by skmtl.metrics.task_scorer."
            )

    def alpha_grid(self, combination, n_alphas, eps):
        """Falling strengths for all rows."""
        return self._ready(combination, slice(None), None)[1].alphas(n_alphas, eps)

    def _ready(self, params, train, k):
        """What scorers are given, and the `Fitting` of the model in it on its training data."""
        estimator = clone(self.estimator).set_params(**clone(params, safe=False))
        name, model = (estimator.steps if isinstance(estimator, Pipeline) else [("", estimator)])[-1]
        model.alpha = 1.0  # for the time being
        fitting = None if self.moments is None else self.moments.fitting(model, k)
        if fitting is not None:
            return estimator, fitting
        if self.X is None:
            raise ValueError(
                f"{type(model).__name__} needs rows with these parameters: statistics serve the squared "
                "error with convex penalties."
            )
        given = check_method_params(self.X, params=self.fit_params, indices=train)
        X, y = safe_split(estimator, self.X, self.y, train)
        if model is not estimator:
            recorder = _Recorder(model)
            estimator.set_params(**{name: recorder}).fit(X, y, **given)
            X, y, given = recorder.X_, recorder.y_, recorder.given_
            estimator = Pipeline([("steps", _Memory(estimator[:-1])), (name, model)])
        return estimator, Fitting.of(model, X, y, **given)

    def __call__(self, candidates, k, train, test):
        """Results of the candidates, the strengths falling, as `GridSearchCV` collects them."""
        found, start = [], time.time()
        try:
            fitted, fitting = self._ready(candidates[0], train, k)
            strengths, warm = [candidate[self.name] for candidate in candidates], fitting.convex
            path, parts = fitting.along(strengths, warm), self._parts(fitted, fitting.data, train, test)
        except Exception as error:
            return [self._failed(error, test, time.time() - start)] * len(candidates)
        waiting, room = [], SCORED_AT_ONCE if parts["test"] is None else 1
        while len(found) < len(strengths):
            try:
                _, result = next(path)
            except Exception as error:
                found.append(self._failed(error, test, time.time() - start))
                path = fitting.along(strengths[len(found) :], warm)
            else:
                seconds = time.time() - start
                found.append({"fit_error": None, "n_test_samples": len(test), "fit_time": seconds})
                waiting.append((found[-1], result))
            full = waiting and len(waiting) * waiting[0][1].coef.size >= room
            if full or (waiting and len(found) == len(strengths)):
                self._score(fitted, fitting, waiting, k, parts)
                waiting = []
            start = time.time()
        if isinstance(fitted, Pipeline) and isinstance(fitted[0], _Memory):
            fitted[0].kept = []  # scorers may have kept models
        return found

    def _parts(self, fitted, data, train, test):
        """What is scored, by name: (X, y, metadata), nothing where moments are scored."""
        parts = {"test": (test, train)} | ({"train": (train, None)} if self.return_train_score else {})
        if self.scores is not None and isinstance(data, TaskStatistics):
            return dict.fromkeys(parts)

        def part(rows, other):
            given = check_method_params(self.X, params=self.score_params, indices=rows)
            return *safe_split(fitted, self.X, self.y, rows, other), given

        return {name: part(*rows) for name, rows in parts.items()}

    def _score(self, fitted, fitting, waiting, k, parts):
        """Add scores to the rows that solutions are waiting with: one where the rows of X are needed."""
        start, (rows, results) = time.time(), zip(*waiting, strict=True)
        if parts["test"] is not None:
            fitting.keep(*results)
        for part, data in parts.items():
            if data is None:
                scores = self.moments.scores(self.scores, results, k, part)
            else:
                scores = [score_fitted(fitted, *data[:2], self.scorer, data[2], self.error_score)]
            for row, score in zip(rows, scores, strict=True):
                row[f"{part}_scores"] = score
        for row in rows:
            row["score_time"] = (time.time() - start) / len(rows)

    def _failed(self, error, test, seconds):
        """The result of a fit that raised an error; its words come before the traceback."""
        if self.error_score == "raise":
            raise error
        scores = self.error_score
        if named_scorers(self.scorer) and isinstance(scores, Number):
            scores = dict.fromkeys(named_scorers(self.scorer), scores)
        return {
            "fit_error": f"{error}\n\n{''.join(traceback.format_exception(error))}",
            "test_scores": scores, "n_test_samples": len(test), "fit_time": seconds, "score_time": 0.0,
            **({"train_scores": scores} if self.return_train_score else {}),
        }  # fmt: skip


class _Recorder(BaseEstimator):
    """In the place of the model while a Pipeline is fitted: keeps what reaches its fit."""

    def __init__(self, model):
        self.model = model

    def __sklearn_tags__(self):
        return self.model.__sklearn_tags__()

    def get_metadata_routing(self):
        return get_routing_for_object(self.model)

    def fit(self, X, y=None, **given):
        self.X_, self.y_, self.given_ = X, y, given
        return self


class _Memory(BaseEstimator):
    """Fitted steps that remember what they made of the last X: a path asks for the same ones each time."""

    def __init__(self, steps):
        self.steps = steps
        self.kept = []

    def get_metadata_routing(self):
        return get_routing_for_object(self.steps)

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y=None):
        return self

    def transform(self, X, **given):
        if not any(known is X for known, _ in self.kept):
            self.kept = [*self.kept[-1:], (X, self.steps.transform(X, **given))]
        return next(made for known, made in self.kept if known is X)
