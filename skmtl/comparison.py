"""Does sharing help? Multi-task models against simple baselines, on the same folds."""

import html
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from scipy import sparse, stats
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, check_cv, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from ._data import check_tasks, column_names, encode_tasks
from ._tasks import final_task_column, missing_labels, task_labels
from .baselines import Pooled, SingleTask
from .metrics import _consumes_tasks, _TaskScorer, response, task_scorer
from .model_selection import TaskKFold

__all__ = ["Comparison", "compare"]

ALPHAS = np.logspace(-2, 5, 15)
BASELINES = ("single", "pooled", "intercepts", "mean")
SIGNIFICANCE = 0.05


def compare(
    estimators,
    X,
    y,
    tasks=None,
    *,
    cv=None,
    scoring=None,
    baselines=BASELINES,
    reference="single",
    n_jobs=None,
):
    r"""Compare multi-task models with single-task and pooled baselines on the same folds.

    Per task the gain of a model over the reference r is the share of the squared error that it saves,

    .. math:: g_t = 1 - \frac{\sum_{i \in t} e_i}{\sum_{i \in t} e_i^{(r)}}

    with the test errors of all folds in the sums (scores of a task on one fold are too noisy):
    :math:`e_i = (y_i - \hat y_i)^2`, for classifiers the Brier score of the predicted probabilities,
    or the 0/1 error if a model has no `predict_proba`.

    Parameters
    ----------
    estimators : estimator, list of estimators, or dict of {str: estimator}
        Multi-task models, also inside a Pipeline or a search.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Features, with the task column if the estimators have `task_column`.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Targets; with one column per task NaN is a missing label.
    tasks : array-like of shape (n_samples,), default=None
        Task of each row, for a 1-D `y`; by default the estimators' task column. Metadata routing is
        switched on inside to carry them.
    cv : int, splitter or iterable of splits, default=None
        By default, and for an int, `TaskKFold` with 5 or `cv` shuffled folds.
    scoring : str, callable or `task_scorer`, default=None
        Headline score: a scorer's name or ``metric(y_true, y_pred)``, evaluated on all rows of a
        test fold together, or a `task_scorer`. By default R^2 on all rows of a fold (for a 2-D `y` the
        mean over tasks), for two classes the area under the ROC curve, else accuracy.
    baselines : sequence of str, or dict of {str: estimator}, default=("single", "pooled", "intercepts", "mean")
        Models to beat, see Notes.
    reference : str, default="single"
        Name of the model that gains and differences are measured against.
    n_jobs : int, default=None
        Number of processes over models and folds.

    Returns
    -------
    comparison : Comparison
        Print it, or use its `table`, `per_task`, `verdict` and `plot`.

    Raises
    ------
    ValueError
        If the tasks cannot be found, a name is unknown or used twice, or a search ends without a
        finite score.

    Notes
    -----
    Baselines, preceded by the preprocessing of the first estimator that is a Pipeline (also inside a
    search) and tuned on the training rows:

    * "single": `SingleTask` ridge or logistic regression with one common strength, the one with the
      least error over all tasks (leave-one-out for ridge, 3 folds for logistic). A strength of its own
      for each task is weaker, since few rows cannot choose it.
    * "pooled": `Pooled` ridge or logistic regression.
    * "intercepts": the same with shrunken task intercepts (``task_indicators=True``).
    * "mean": each task's own training mean or class frequencies.

    p-values are those of the corrected resampled t-test, which accounts for the overlap of training
    sets: with J folds and differences :math:`d_j`,
    :math:`t = \bar d / \sqrt{(1/J + n_\mathrm{test}/n_\mathrm{train}) \, s_d^2}`.

    References
    ----------
    C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003.
    :doi:`10.1023/A:1024068626366`

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl.baselines import Pooled
    >>> from skmtl.comparison import compare
    >>> from skmtl.datasets import make_multitask_regression
    >>> p = make_multitask_regression(8, 15, 5, structure="mean", task_spread=0.1, random_state=0)
    >>> result = compare({"model": Pooled(Ridge(), task_indicators=True)}, p.X, p.y, p.tasks)
    >>> sorted(result.table["model"])
    ['intercepts', 'mean', 'model', 'pooled', 'single']
    """
    estimators = _named(estimators)
    X = X.tocsr() if sparse.issparse(X) else X if hasattr(X, "shape") else np.asarray(X)
    labels, y, names = _labels(estimators, X, y, tasks, cv)
    models = {**estimators, **_baselines(baselines, list(estimators.values()))}
    if len(models) < len(estimators) + len(baselines):
        raise ValueError(f"estimators and baselines share a name: {list(estimators)} and {list(baselines)}.")
    if reference not in models:
        raise ValueError(f"reference={reference!r} is not one of the models {list(models)}.")
    scorer = _scorer(scoring, models, y)
    by_probability = all(hasattr(model, "predict_proba") for model in models.values())
    splits = _splits(cv, X, y, labels)
    passed = None if tasks is None else labels
    with config_context(enable_metadata_routing=tasks is not None or get_config()["enable_metadata_routing"]):
        runs = Parallel(n_jobs=n_jobs)(
            delayed(_run)(name, model, X, y, labels, passed, train, test, scorer, by_probability)
            for name, model in models.items()
            for train, test in splits
        )
    runs = {name: runs[k * len(splits) : (k + 1) * len(splits)] for k, name in enumerate(models)}
    codes = np.full(len(y), -1) if y.ndim == 2 else encode_tasks(labels)[1]
    errors = {name: _mean_errors(run, splits, y.shape) for name, run in runs.items()}
    return _summary(runs, errors, codes, names, splits, estimators, reference, scorer, is_classifier(models[reference]))


# --- what is compared -----------------------------------------------------------------------


def _named(estimators):
    """Estimators by name: that of the class of the final model, numbered if it occurs twice."""
    if isinstance(estimators, Mapping):
        return dict(estimators)
    named = {}
    for estimator in estimators if isinstance(estimators, (list, tuple)) else [estimators]:
        name = base = type(_final_step(estimator)[0]).__name__
        while name in named:
            name = f"{base} {sum(key.split()[0] == base for key in named) + 1}"
        named[name] = estimator
    return named


def _final_step(estimator):
    """The final model of a Pipeline, also inside a search, and the steps in front of it."""
    steps = []
    while isinstance(estimator, Pipeline) or hasattr(estimator, "cv"):
        inner = getattr(estimator, "estimator", None)
        if isinstance(estimator, Pipeline):
            steps, estimator = steps + estimator.steps[:-1], estimator.steps[-1][1]
        elif inner is not None:
            estimator = inner
        else:
            break
    return estimator, steps


def _labels(estimators, X, y, tasks, cv):
    """Task of each row (None for a 2-D y), y as an array, and the names of the tasks."""
    columns, y = column_names(y), np.asarray(y)
    if y.ndim == 2:
        if tasks is not None:
            raise ValueError("tasks must be None for a 2-D y: its columns are the tasks.")
        return None, y, np.asarray(columns if columns is not None else range(y.shape[1]))
    column = getattr(cv, "task_column", None)
    for estimator in estimators.values():
        found, may_move = final_task_column(estimator)
        if column is None and found is not None and not (may_move and isinstance(found, Integral)):
            column = found
    if tasks is None and column is None:
        raise ValueError(
            "the task of each row is not known. Pass tasks=, or estimators with task_column= naming a column "
            "of X (if it is a position behind a Pipeline: cv=TaskKFold(task_column=...) for that of X itself)."
        )
    labels = task_labels(X, column) if tasks is None else check_tasks(tasks, _num_samples(X))
    if len(y) != len(labels):
        raise ValueError(f"y has {len(y)} rows but X has {len(labels)}.")
    return labels, y, encode_tasks(labels)[0]


def _baselines(baselines, estimators):
    """Baseline models by name, with the preprocessing and the task column of the estimators."""
    if isinstance(baselines, Mapping):
        return dict(baselines)
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise ValueError(f"baselines must be among {BASELINES} or a dict of estimators; got {unknown}.")
    steps = next((steps for steps in (_final_step(e)[1] for e in estimators) if steps), [])
    columns = [final_task_column(estimator)[0] for estimator in estimators]
    column = next((column for column in columns if column is not None), None)
    models = {name: _baseline(name, is_classifier(estimators[0]), column) for name in baselines}
    if steps:
        models = {name: clone(Pipeline([*steps, ("baseline", model)])) for name, model in models.items()}
    return models


def _baseline(name, classification, column):
    if name == "single":
        return (_SingleTaskLogistic if classification else _SingleTaskRidge)(task_column=column)
    if name == "mean":
        dummy = DummyClassifier(strategy="prior") if classification else DummyRegressor()
        return SingleTask(dummy, task_column=column)
    model = RidgeCV(ALPHAS)
    if classification:
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
        grid = {"C": 1 / ALPHAS[::2]}
        model = GridSearchCV(LogisticRegression(max_iter=1000), grid, scoring="neg_log_loss", cv=folds)
    return Pooled(model, task_indicators=name == "intercepts", task_column=column)


class _SingleTaskRidge(SingleTask):
    """Ridge per task with the common strength of least leave-one-out error over all tasks."""

    def __init__(self, task_column=None):
        super().__init__(Ridge(), task_column=task_column)

    def _template(self, parts):
        errors = np.zeros(len(ALPHAS))
        for X, y, _ in parts:
            if len(y) > 1:
                errors += RidgeCV(ALPHAS, store_cv_results=True).fit(X, y).cv_results_.sum(axis=0)
        return Ridge(ALPHAS[errors.argmin()])


class _SingleTaskLogistic(SingleTask):
    """Logistic regression per task with the common strength of least log loss in 3 folds."""

    def __init__(self, task_column=None):
        super().__init__(LogisticRegression(max_iter=1000), task_column=task_column)

    def _template(self, parts):
        candidates = [LogisticRegression(C=1 / alpha, max_iter=1000) for alpha in ALPHAS[::2]]
        losses = np.zeros(len(candidates))
        for X, y, _ in parts:
            if min(counts := np.unique(y, return_counts=True)[1]) >= 3 and len(counts) > 1:
                proba = [cross_val_predict(model, X, y, cv=3, method="predict_proba") for model in candidates]
                losses += [len(y) * log_loss(y, p) for p in proba]
        return candidates[losses.argmin()]


# --- one model, one fold --------------------------------------------------------------------


def _scorer(scoring, models, y):
    """The headline score as a task scorer."""
    if isinstance(scoring, _TaskScorer):
        return scoring
    if scoring is not None:
        return task_scorer(scoring, average="pooled")
    if not is_classifier(next(iter(models.values()))):
        return task_scorer("r2", average="pooled" if y.ndim == 1 else "macro")
    ranks = all(hasattr(m, "predict_proba") or hasattr(m, "decision_function") for m in models.values())
    observed = y if y.ndim == 1 else y[~missing_labels(y)]
    return task_scorer("roc_auc" if ranks and type_of_target(observed) == "binary" else "accuracy", average="pooled")


def _splits(cv, X, y, labels):
    """List of (train, test) rows."""
    if cv is None or isinstance(cv, Integral):
        cv = TaskKFold(5 if cv is None else cv, shuffle=True, random_state=0)
    cv = check_cv(cv)
    by_task = "tasks" in cv.split.__code__.co_varnames and getattr(cv, "task_column", None) is None
    return list(cv.split(X, y, **({"tasks": labels} if by_task else {})))


def _run(name, model, X, y, labels, passed, train, test, scorer, by_probability):
    """Headline score, error of every test row, and seconds of one model on one fold."""
    X_train, X_test = _safe_indexing(X, train), _safe_indexing(X, test)
    labels_test = None if labels is None else labels[test]
    start = time.perf_counter()
    wanted = passed is not None and final_task_column(model)[0] is None and _consumes_tasks(model, "fit")
    fitted = clone(model).fit(X_train, y[train], **({"tasks": passed[train]} if wanted else {}))
    if np.isnan(getattr(fitted, "best_score_", 0.0)):
        raise ValueError(
            f"the search {name!r} found no finite score. Its scorer must carry tasks to predict and leave missing "
            "labels out: use scoring=task_scorer(...), or error_score='raise' to see what failed."
        )
    errors = _row_errors(fitted, X_test, y[test], labels_test, by_probability)
    seconds = time.perf_counter() - start
    return scorer(fitted, X_test, y[test], tasks=labels_test), errors, seconds


def _row_errors(model, X, y, labels, by_probability):
    """Squared error, Brier score or 0/1 error of each label, NaN where it is missing."""
    gone = missing_labels(y)
    if not is_classifier(model):
        return (y - response(model, X, labels, "predict")[0]) ** 2
    if not by_probability:
        return np.where(gone, np.nan, y != response(model, X, labels, "predict")[0])
    proba = response(model, X, labels, "predict_proba")[0]
    if proba.ndim == y.ndim:  # two classes of a shared design: the probability of the second
        proba = np.stack([1 - proba, proba], axis=-1)
    truth = y[..., None] == model.classes_
    return np.where(gone, np.nan, ((truth - proba) ** 2).sum(axis=-1) / 2)


def _mean_errors(run, splits, shape):
    """Error of each label averaged over the folds that test it, NaN if none does."""
    total, count = np.zeros(shape), np.zeros(shape)
    for (_, errors, _), (_, test) in zip(run, splits, strict=True):
        seen = ~np.isnan(errors)
        total[test] += np.where(seen, errors, 0.0)
        count[test] += seen
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


# --- the result -----------------------------------------------------------------------------
