"""Search of the strength, and of other parameters, along warm-started paths."""

import time
from collections.abc import Iterable, Mapping
from numbers import Integral

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags, indexable
from sklearn.utils.metadata_routing import MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from .._callbacks import StepsMixin
from .._columns import refuse_masked, warn_of_labels
from .._inputs import as_target, check_sample_weight, present, refuse_class
from .._labels import check_tasks, encode_tasks, missing_labels
from .._parameters import COUNT, FRACTION
from .._sklearn import (
    check_method_params,
    fit_context,
    insert_error_scores,
    named_scorers,
    num_samples,
    takes_weights,
    warn_or_raise_about_fit_failures,
)
from .._task_scores import standard_deviation
from .._tasks import all_or_nothing, by_name, final_task_column, final_task_labels
from .._warn import warn
from ..statistics import TaskStatistics
from ._grid import MOST_DECADES, check_alphas, path_of, rising_edge, warn_of_edge
from ._path import check_linear
from ._path_run import PathRun
from ._split import N_FOLDS, folds_of_tasks, n_folds_for, wants_tasks, warn_of_untested

N_ALPHAS = 100  # by default


def _of_the_best(method, of, found):
    """A method of the best estimator as one of the search, which gives it the tasks."""

    def exists(self):
        there = hasattr(getattr(self, "best_estimator_", self.estimator), method)
        if there and not self.refit:
            raise AttributeError(f"this PathSearchCV was made with refit=False; {method} needs a refit.")
        return there

    def call(self, X, *, tasks=None, offset=None):
        """%(of)s of the best estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            As in the estimator's `%(method)s`.
        tasks : array-like of shape (n_samples,), default=None
            Task label of each row.
        offset : array-like, default=None
            As in the estimator's `%(method)s`.

        Returns
        -------
        %(found)s
        """
        check_is_fitted(self)
        with routing(tasks, offset):
            return getattr(self.best_estimator_, method)(X, **present(tasks=tasks, offset=offset))

    call.__name__, call.__qualname__ = method, f"PathSearchCV.{method}"
    call.__doc__ = call.__doc__ and call.__doc__ % {"of": of, "method": method, "found": found}
    return available_if(exists)(by_name(call))


class PathSearchCV(StepsMixin, GridSearchCV):
    r"""Grid search over the strength of a linear multi-task model, and any other parameters.

    Finds what `sklearn.model_selection.GridSearchCV` finds with the same folds, scoring and grid, the
    strength of greatest mean score,

    .. math:: \hat\alpha = \operatorname*{argmax}_\alpha
       \frac{1}{K} \sum_{k=1}^K \mathrm{score}_k(\hat W_k(\alpha)),

    but computes the solutions of a fold as one path: each strength starts from the solution at the one
    before, on the same data terms. For the squared loss the second moments of a training set are the sums of
    those of the other test sets, and R^2 and squared errors are computed from them too.

    Parameters
    ----------
    estimator : linear estimator of skmtl, or Pipeline that ends with one
        Its `alpha` is searched; the other parameters hold unless `param_grid` names them.
    alphas : int or array-like of shape (n_alphas,), default=100
        Strengths, or how many of them: on all rows, for each combination of other parameters, from
        `alpha_max` down (see `skmtl.path`).
    eps : float, default=1e-3
        Least strength over the greatest, where `alphas` is a number.
    param_grid : dict of {str: sequence}, or list of these, default=None
        Other parameters to search; the strength must not be among them.
    cv : int, splitter or iterable of splits, default=None
        By default 5 folds, of tasks of few rows as many as their median, an int for their number: where rows
        have task labels or labels are missing shuffled ones of `TaskKFold`, always the same, in which tasks
        with fewer rows only train, as a warning says; else as in `GridSearchCV`.
    scoring : str, callable, list, tuple or dict, default=None
        As in `GridSearchCV`; also a `skmtl.metrics.task_scorer`. By default the estimator's `score`.
    refit : bool, str or callable, default=True
        As in `GridSearchCV`.
    n_jobs : int, default=None
        Number of processes over folds and combinations.
    grow : bool, default=False
        Go on from the best combination, a decade at a time and six at most, while its strength is the last
        one on a side and scores still rise. Without it a warning says so.
    one_standard_error : bool, default=False
        Choose the greatest strength whose mean score is within one standard error of the best one's,
        the other parameters as they are there: a simpler model that is not clearly worse.
    error_score : "raise" or float, default=nan
        Score of a fit that fails.
    return_train_score : bool, default=False
        Whether to score the training sets as well.
    verbose : int, default=0
        Print one line per path.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in `GridSearchCV`, with the time of each step of a path as `fit_time`.
    best_estimator_, best_params_, best_score_, best_index_ : estimator, dict, float, int
        The estimator refitted on all rows at the best parameters, these, their mean score and position.
    scorer_, n_splits_, refit_time_, multimetric_, n_features_in_, feature_names_in_ : object
        As in `GridSearchCV`.

    Raises
    ------
    TypeError
        If the model is not a linear one of this library.
    ValueError
        If an argument is malformed, all fits fail, or no candidate has a finite score.

    See Also
    --------
    skmtl.path : The solutions along one path.
    MultiTaskLassoCV : The same for the multi-task Lasso, as scikit-learn has it.

    Notes
    -----
    Models that are not convex start anew at each strength: they find what a fit finds. Transformers of a
    Pipeline are fitted once per fold and combination. `fit` takes `tasks` and `offset` with and without
    metadata routing.

    References
    ----------
    Friedman, Hastie & Tibshirani (2010), Regularization paths for generalized linear models via
    coordinate descent, J. Statistical Software 33, https://doi.org/10.18637/jss.v033.i01

    Examples
    --------
    >>> from skmtl import MeanRegularizedRegressor, PathSearchCV
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(10, 20, 5, structure="mean", random_state=0)
    >>> search = PathSearchCV(MeanRegularizedRegressor(), alphas=[0.01, 0.1, 1, 10])
    >>> search.fit(data.X, data.y, tasks=data.tasks).best_params_
    {'alpha': 1.0}
    >>> search.predict(data.X, tasks=data.tasks).shape
    (200,)
    """

    grow = False  # in searches saved before there was this parameter

    _parameter_constraints = GridSearchCV._parameter_constraints | {
        "alphas": [COUNT, "array-like"], "eps": [FRACTION],
        "param_grid": [None, dict, list], "grow": ["boolean"], "one_standard_error": ["boolean"],
    }  # fmt: skip

    def __init__(
        self, estimator, alphas=N_ALPHAS, eps=1e-3, param_grid=None, cv=None, scoring=None, refit=True,
        n_jobs=None, *, grow=False, one_standard_error=False, error_score=np.nan,
        return_train_score=False, verbose=0,
    ):  # fmt: skip
        super().__init__(
            estimator, param_grid, cv=cv, scoring=scoring, refit=refit, n_jobs=n_jobs,
            error_score=error_score, return_train_score=return_train_score, verbose=verbose,
        )  # fmt: skip
        self.alphas, self.eps = alphas, eps
        self.grow, self.one_standard_error = grow, one_standard_error

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, tasks=None, offset=None, **params):
        """Search, and refit with the best parameters.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Features, with the task column if the model has `task_column`.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Targets, as in the model's `fit`.
        tasks : array-like of shape (n_samples,), default=None
            Task label of each row.
        offset : array-like, default=None
            As in the model's `fit`; predictions of held-out rows have that of these rows.
        **params : dict
            Further metadata (`sample_weight`, `groups`, ...), as in `GridSearchCV`.

        Returns
        -------
        self
        """
        self._model()
        refuse_class(self.cv, "cv")
        refuse_masked(X, "X")
        given = present(tasks=tasks, offset=offset)
        params = {**params, **given}
        by_request = not given or get_config()["enable_metadata_routing"]
        with self._steps("path", X, y, **params) as after, routing(*given.values()):
            _refuse_names(self.scoring, y, given)
            scorer, metric = self._get_scorers()
            X, y = indexable(X, y)
            if tasks is not None:
                warn_of_labels(X, *encode_tasks(check_tasks(tasks, num_samples(X))))
            params = check_method_params(X, params=params)
            weight = None if by_request else params.pop("sample_weight", None)
            routed = self._get_routed_params_for_fit(params)
            if weight is not None:
                self._add_weight(routed, scorer, weight)
            weight = routed.estimator.fit.get("sample_weight")
            splits = self._splits(X, y, tasks, routed.splitter.split, weight)
            self._search_rows(X, y, splits, routed.estimator.fit, routed.scorer.score, scorer, metric, after)
            self._refit(lambda best: best.fit(X, y, **routed.estimator.fit))
        return self._finished(scorer)

    @all_or_nothing
    @fit_context(prefer_skip_nested_validation=False)
    def fit_statistics(self, stats):
        """Search, and refit, on second moments with folds in the place of rows.

        Parameters
        ----------
        stats : TaskStatistics
            Of the targets less an offset, if there is one, with folds (``TaskStatistics.from_batches(...,
            n_folds=5)``), which are the test sets.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are no folds, or fits or scores need the rows: for losses other than the squared error,
            penalties that are not convex, and scores other than R^2 and (root) mean squared errors.
        TypeError
            If the estimator is a Pipeline.
        """
        self._model()
        if isinstance(self.estimator, Pipeline):
            raise TypeError("fit_statistics needs an estimator without other steps: these transform rows.")
        if not isinstance(stats, TaskStatistics):
            raise TypeError(f"stats must be a TaskStatistics object; got {type(stats).__name__}.")
        if not hasattr(self.estimator, "fit_statistics"):
            raise ValueError(f"fit_statistics is for the squared error; got estimator={self.estimator!r}.")
        scorer, metric = self._get_scorers()
        run = self._run(None, None, {}, {}, scorer)
        run.take_moments(stats, self.scoring)
        splits = [((), range(int(fold.count.sum()))) for fold in stats.folds]
        if self.cv is not None and self.cv != len(splits):
            warn(
                f"cv={self.cv!r} has no effect in fit_statistics: the test sets are the {len(splits)} "
                "folds of stats."
            )
        with self._steps("path", None, None) as after:
            self._search(run, splits, metric, after)
        self._refit(lambda best: best.fit_statistics(stats))
        return self._finished(scorer)

    def _refit(self, fit):
        """Fit the estimator with the best parameters to all rows, if that is asked for."""
        if self.refit:
            start = time.time()
            self.best_estimator_ = fit(self._with(self.best_params_))
            self.refit_time_ = time.time() - start
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def _finished(self, scorer):
        """The search, with a warning where better strengths may lie beyond the grid."""
        if self._edge is not None:
            model = getattr(self, "best_estimator_", None)
            model = model[-1] if isinstance(model, Pipeline) else model
            warn_of_edge(self._edge[1], self._model()[1], model)
        self.scorer_ = named_scorers(scorer) or scorer
        return self

    def _with(self, params):
        """The unfitted estimator with parameters, some of which may be estimators."""
        return clone(self.estimator).set_params(**clone(params, safe=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags = get_tags(self.estimator).target_tags
        return tags

    def get_metadata_routing(self):
        """Metadata routing of the search: `fit`, `score` and, for tasks, the methods that predict.

        Returns
        -------
        routing : MetadataRouter
            The router.
        """
        mapping = MethodMapping()
        for method in ("fit", "predict", "predict_proba", "decision_function"):
            mapping.add(caller=method, callee=method)
        return super().get_metadata_routing().add(estimator=self.estimator, method_mapping=mapping)

    def _add_weight(self, routed, scorer, weight):
        """Sample weights beside tasks where metadata routing is off: as it is without tasks."""
        if isinstance(self.estimator, Pipeline):
            raise ValueError(
                "sample_weight beside tasks needs to know which steps of the Pipeline take it: switch on "
                "sklearn.set_config(enable_metadata_routing=True) and request it with set_fit_request."
            )
        routed.estimator.fit["sample_weight"] = weight
        if takes_weights(scorer):
            routed.scorer.score["sample_weight"] = weight

    # --- what is searched ---

    def _model(self):
        """The linear model and the name of its strength."""
        model, prefix = self.estimator, ""
        if isinstance(model, Pipeline):
            prefix, model = model.steps[-1][0] + "__", model.steps[-1][1]
        needs = "PathSearchCV needs a linear estimator of skmtl with a strength alpha, or a Pipeline of one"
        also = " GridSearchCV serves any estimator."
        check_linear(model, needs, also)
        if "alpha" not in model.get_params(deep=False):
            raise TypeError(f"{needs}; got {type(model).__name__}.{also}")
        return model, prefix + "alpha"

    def _candidates(self, run, grids, name):
        """All combinations of parameters in the order of `GridSearchCV`, and which of them make a path.

        A path is a list of positions in falling order of the strength.
        """
        if wrong := [grid for grid in grids if not isinstance(grid, Mapping)]:
            raise ValueError(
                f"param_grid must be a dict of lists of values, or a list of these; got {wrong[0]!r:.100}."
            )
        if any(name in grid for grid in grids):
            raise ValueError(
                f"param_grid holds {name!r}: the strengths are given by alphas, "
                "PathSearchCV(model, alphas=[...])."
            )
        alphas = check_alphas(self.alphas, self.eps)
        if self._model()[0].alpha == "auto":  # found by each fit
            if not isinstance(alphas, Integral) or alphas != N_ALPHAS:
                warn(
                    f"{name}='auto' of the estimator is estimated by each fit: alphas has no effect. Give "
                    "it a number to search them.",
                )
            alphas = np.array(["auto"])
        candidates, paths = [], {}
        for i, grid in enumerate(grids):
            if isinstance(alphas, Integral):
                each = ((one, run.alpha_grid(one, alphas, self.eps).tolist()) for one in ParameterGrid(grid))
                found = ({**one, name: alpha} for one, strengths in each for alpha in strengths)
            else:
                found = ParameterGrid({**grid, name: alphas.tolist()})
            for candidate in found:  # values come from one list: the same object in every combination
                rest = (i, *(id(value) for key, value in sorted(candidate.items()) if key != name))
                paths.setdefault(rest, []).append(len(candidates))
                candidates.append(candidate)
        if isinstance(alphas, Integral) or alphas.dtype.kind != "U":
            paths = {key: sorted(path, key=lambda at: -candidates[at][name]) for key, path in paths.items()}
        return candidates, list(paths.values())

    def _splits(self, X, y, tasks, split_params, weight=None):
        """Training and test rows of each fold, with a warning where folds by default test not all tasks.

        Tasks all of whose rows have no weight are in no test set: models do not know them.
        """
        column = final_task_column(self.estimator)[0]
        by_task = tasks is not None or column is not None
        several = np.ndim(y) == 2 and not by_task
        by_default = self.cv is None or isinstance(self.cv, Integral)
        of_tasks = by_default and (missing_labels(as_target(y)).any() if several else by_task)
        if of_tasks:
            cv = folds_of_tasks(N_FOLDS if self.cv is None else self.cv)
        else:
            cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator) and not several)
        given = {} if by_default else {**split_params}
        if by_task and wants_tasks(cv):
            if tasks is None:
                way_out = "Give cv=TaskKFold(task_column=...) the column of X that holds the tasks."
                tasks = final_task_labels(self.estimator, X, way_out)
            given["tasks"] = tasks = check_tasks(tasks, len(y))
        if of_tasks and by_task and self.cv is None:
            cv.n_splits = n_folds_for(y, tasks)
        every = np.arange(num_samples(X))  # masks and places from the end are rows as well
        splits = [(every[train], every[test]) for train, test in cv.split(X, y, **given)]
        if of_tasks:
            warn_of_untested(splits, y, given.get("tasks"))
        if weight is not None and "tasks" in given:
            codes = encode_tasks(check_tasks(given["tasks"], len(y)))[1]
            known = (np.bincount(codes, check_sample_weight(weight, (len(y),))) > 0)[codes]
            splits = [(train, test[known[test]]) for train, test in splits]
        return splits

    # --- the search ---

    def _grids(self):
        """Grids of the other parameters."""
        grids = self.param_grid or {}
        return [grids] if isinstance(grids, Mapping) else grids

    def _run(self, X, y, fit_params, score_params, scorer):
        """What fits a path on a split."""
        return PathRun(
            clone(self.estimator), self._model()[1], X, y, fit_params, score_params, scorer, self.error_score,
            self.return_train_score,
        )  # fmt: skip

    def _search_rows(self, X, y, splits, fit_params, score_params, scorer, metric, after):
        """The search on rows, or on moments of these where they are enough."""
        run = self._run(X, y, fit_params, score_params, scorer)
        _warn_of_free_mean(*self._model(), self._grids(), X, y, splits)
        run.look_for_moments(splits, self.scoring)
        self._search(run, splits, metric, after)

    def _search(self, run, splits, metric, after):
        """Results of all candidates on all splits, and the best one; `after` is told of every path."""
        name, grids = run.name, self._grids()
        new, paths, candidates, out = *self._candidates(run, grids, name), [], []
        for _ in range(1 + (MOST_DECADES if self.grow else 0)):
            out += self._evaluate(run, new, paths, splits, after)
            candidates += new
            self._choose(run, candidates, splits, out, metric, name)
            if self._edge is None:
                break
            at, strengths = self._edge
            new = [{**candidates[at], name: alpha} for alpha in np.sort(strengths)[::-1].tolist()]
            paths = [range(len(new))]

    def _evaluate(self, run, candidates, paths, splits, after):
        """Results by candidate and split, in one list as `GridSearchCV` makes it."""
        jobs = [(path, k) for path in paths for k in range(len(splits))]
        outcomes = []
        for found in Parallel(n_jobs=self.n_jobs, pre_dispatch=self.pre_dispatch, return_as="generator")(
            delayed(run)([candidates[at] for at in path], k, *splits[k]) for path, k in jobs
        ):
            outcomes.append(found)
            if after is not None:
                after(None)
        out = [[None] * len(splits) for _ in candidates]
        for (path, k), results in zip(jobs, outcomes, strict=True):
            if self.verbose > 0:
                seconds = sum(result["fit_time"] + result["score_time"] for result in results)
                print(f"[split {k + 1}/{len(splits)}] {len(path)} strengths in {seconds:.2f} s")
            for at, result in zip(path, results, strict=True):
                out[at][k] = result
        out = [result for row in out for result in row]
        if not out:
            raise ValueError("No fits were performed: cv gives no split or param_grid no candidate.")
        try:
            warn_or_raise_about_fit_failures(out, self.error_score)
        except ValueError as report:
            words = out[0]["fit_error"].partition("\n\nTraceback")[0]
            raise ValueError(f"{words}\n{report}") from None
        if callable(self.scoring):
            insert_error_scores(out, self.error_score)
        return out

    def _choose(self, run, candidates, splits, out, metric, name):
        """Set what is known of the candidates and which is the best."""
        first = out[0]["test_scores"]
        self.n_splits_, self.multimetric_ = len(splits), isinstance(first, dict)
        self.cv_results_ = results = self._format_results(candidates, len(splits), out)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first)
            metric = self.refit
        if not self.refit and self.multimetric_:
            self._edge = None
            return
        scores = results.get(f"mean_test_{metric}")  # None: a callable chooses among several metrics
        if scores is not None and not np.isfinite(scores).any():
            if run.X is not None:
                self._with(candidates[0]).fit(run.X, run.y, **run.fit_params)  # says if it is the data
            of_splits = [results[f"split{k}_test_{metric}"] for k in range(len(splits))]
            _refuse_scores(self.scoring, metric, of_splits)
        self._edge = None if scores is None else rising_edge(results["params"], scores, name)
        self.best_index_ = self._select_best_index(self.refit, metric, results)
        if self.one_standard_error:
            if callable(self.refit):
                raise ValueError("one_standard_error=True and a callable refit both choose; use one.")
            self.best_index_ = self._simplest(results, metric, name)
        if not callable(self.refit):
            self.best_score_ = scores[self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _simplest(self, results, metric, name):
        """Greatest strength within one standard error of the best score, all else equal."""
        best, params, mean = self.best_index_, results["params"], results[f"mean_test_{metric}"]
        scores = [results[f"split{k}_test_{metric}"][best] for k in range(self.n_splits_)]
        least = mean[best] - standard_deviation(scores) / np.sqrt(self.n_splits_)
        good = [at for at in path_of(params, best, name) if mean[at] >= least]
        return max(good, key=lambda at: params[at][name], default=best)

    # --- use of the best estimator ---

    @by_name
    def score(self, X, y=None, *, tasks=None, offset=None, **params):
        """Score of the best estimator by the scorer of the search.

        Parameters
        ----------
        X, y
            As in `fit`.
        tasks : array-like of shape (n_samples,), default=None
            Task label of each row.
        offset : array-like, default=None
            As in the estimator's `predict`.
        **params : dict
            Further metadata of the scorer, under metadata routing.

        Returns
        -------
        score : float
        """
        with routing(tasks, offset):
            return super().score(X, y, **params, **present(tasks=tasks, offset=offset))

    predict = _of_the_best(
        "predict", "Predictions", "y : ndarray of shape (n_samples,) or (n_samples, n_tasks)"
    )
    predict_proba = _of_the_best(
        "predict_proba", "Probabilities of the classes", "proba : ndarray, as the estimator gives it"
    )
    decision_function = _of_the_best(
        "decision_function", "Decision values", "decision : ndarray, as the estimator gives it"
    )


def routing(*given):
    """Metadata routing for tasks, or an offset, that were passed, in any case."""
    known = any(one is not None for one in given) or get_config()["enable_metadata_routing"]
    return config_context(enable_metadata_routing=known)


def _refuse_names(scoring, y, given):
    """ValueError for scorers of scikit-learn where these lose tasks, an offset, or fail at missing labels."""
    one = list(scoring.values()) if isinstance(scoring, Mapping) else scoring
    one = [one] if isinstance(one, str) else one
    names = [name for name in one if isinstance(name, str)] if isinstance(one, Iterable) else []
    y = as_target(y)
    missing = y is not None and y.ndim == 2 and missing_labels(y).any()
    if names and (given or missing):
        lost = f"are not given {next(iter(given))}=" if given else "take no missing labels"
        raise ValueError(
            f"scoring={scoring!r}: scikit-learn's scorers {lost}. Use skmtl.metrics.task_scorer, "
            f"scoring=task_scorer({names[0]!r}, average='pooled'), or 'macro' for the mean over tasks."
        )


def _refuse_scores(scoring, metric, scores):
    """ValueError where no candidate has a finite mean of its scores (n_splits, n_candidates)."""
    name = scoring if scoring is None or metric == "score" else metric
    undefined = (~np.isfinite(scores)).all(axis=1)
    raise ValueError(
        f"no candidate has a finite mean score by scoring={name!r}: on {undefined.sum()} of {len(undefined)} "
        "test sets none has a finite one. Where these lack a class take fewer folds, or "
        "cv=TaskKFold(..., stratify=True); where tasks do, task_scorer(..., average='pooled'). "
        "error_score='raise' shows the error of a scorer that fails."
    )


def _warn_of_free_mean(model, strength, grids, X, y, splits):
    """Say that no strength helps where the model that all tasks share is free to fit every row."""
    name = strength.removesuffix("alpha") + "mean_alpha"
    free = model.get_params(deep=False).get("mean_alpha") == 0 and not any(name in grid for grid in grids)
    n_rows = min((len(train) for train, _ in splits), default=np.inf)
    if free and len(np.shape(X)) == 2 and np.shape(X)[1] >= n_rows:
        warn(
            f"mean_alpha=0 does not penalise the model that all tasks share, and {np.shape(X)[1]} features "
            f"fit all {n_rows} rows of a training set whatever the strength. Search it as well, "
            f"param_grid={{{name!r}: [0.01, 0.1, 1.0]}}, or set mean_alpha.",
        )
