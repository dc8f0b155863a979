"""Multi-task models against simple baselines, on the same folds."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from numbers import Integral

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.parallel import Parallel, delayed

from .._columns import refuse_other_order, split_task_column, warn_of_labels, warn_of_order
from .._from_column import with_task_column
from .._inputs import as_target, check_lengths, refuse_class
from .._labels import can_be_numbers, check_tasks, encode_tasks, meant, missing_labels, plain_labels
from .._sklearn import num_samples
from .._task_scores import d2_poisson_score
from .._tasks import (
    check_names,
    final_task_column,
    named_target,
    one_column_target,
    refuse_blocks,
    refuse_two_sources,
    table_of,
    target_names,
    task_labels,
)
from .._warn import saying_once, warn
from ..baselines import Pooled, SingleTask
from ..metrics import as_task_scorer, reaches, task_scorer
from ..model_selection import folds_of_tasks, n_folds_for, routing, wants_tasks
from ._folds import NO_OFFSET, FoldRun, FoldScores, error_measure, with_offset
from ._kinds import Kinds
from ._result import _verdict, tabulated
from ._rivals import BASELINES, ONE_FOR_ALL, RIVALS, kind_of, rival

NO_UNIT = "Left out, as one model of all columns of y means little"
KINDS = "Left out, as one model of tasks of different kinds means little"


def compare(
    estimators, X, y, tasks=None, *, task_column=None, offset=None, cv=None, scoring=None,
    baselines=BASELINES, reference=None, n_jobs=None, verbose=0,
):  # fmt: skip
    r"""Compare multi-task models with single-task and pooled baselines on the same folds.

    Per task the gain of a model over the reference r is the share of the squared error that it saves,

    .. math:: g_t = 1 - \frac{\sum_{i \in t} e_i}{\sum_{i \in t} e_i^{(r)}}

    over the test rows of all folds (scores of a task on one fold are too noisy):
    :math:`e_i = (y_i - \hat y_i)^2`, for counts the Poisson deviance, for classifiers the Brier score of the
    predicted probabilities, or the 0/1 error if a model has no `predict_proba`. Beside classes in some tasks
    squared errors of the others are relative to the variance of the task, and classes have the 0/1 error.

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
    task_column : str or int, default=None
        Column of X (name or position) that holds the task of each row, in the place of `tasks`, for
        estimators without one of their own. They are given the other columns. `Comparison.estimators` are
        for X as it is: they have it set, Pipelines, whose first steps would see it, are in a
        `TasksFromColumn`.
    offset : array-like of shape (n_samples,) or of the shape of y, default=None
        Known part of the linear predictor, as in the estimators' `fit`. Baselines that are classifiers of
        scikit-learn take none: they are left out, and `dropped` names them ("mixed" stays).
    cv : int, splitter or iterable of splits, default=None
        By default, and for an int, `TaskKFold` with 5 (or as many as most tasks have rows) or `cv` shuffled
        folds. Tasks with fewer rows are for training only, as the verdict says: scores are of the others.
    scoring : str, callable or `task_scorer`, default=None
        Headline score: a scorer's name or ``metric(y_true, y_pred)``, evaluated on all rows of a
        test fold together, or a `task_scorer`. By default R^2 on all rows of a fold (for a 2-D `y` the
        mean over tasks), where the first estimator has the Poisson loss the same of the Poisson deviance, for
        two classes the area under the ROC curve, else accuracy.
    baselines : sequence of str and estimators, or dict of {str: estimator}
        Models to beat, see Notes. Default: "single", "pooled", "intercepts" and "mean", which are quick; for
        a 2-D `y` of numbers, and tasks of different kinds, "single" and "mean", as one model of all means
        little there.
    reference : str, default=None
        Name of the model that gains and differences are measured against. By default "single", without it the
        first baseline, without any the first estimator.
    n_jobs : int, default=None
        Number of processes over models and folds.
    verbose : int, default=0
        1 prints a line for each model when it has run.

    Returns
    -------
    comparison : Comparison
        Print it, or use its `table`, `per_task`, `verdict` and `plot`.

    Raises
    ------
    ValueError
        If the tasks cannot be found, a name is unknown or used twice, an estimator takes no offset though
        there is one, or a search ends without a finite score.

    Notes
    -----
    Baselines, preceded by the preprocessing of the first estimator that is a Pipeline (also inside a
    search) and tuned on the training rows:

    * "single": `SingleTask` ridge or logistic regression with one common strength, the one with the
      least error over all tasks (leave-one-out for ridge, 3 folds for logistic). A strength of its own
      for each task is weaker, since few rows cannot choose it. The grids of all baselines grow while the
      best strength is at their edge.
    * "pooled": `Pooled` ridge or logistic regression.
    * "intercepts": the same with shrunken task intercepts (``task_indicators=True``).
    * "mean": each task's own training mean or class frequencies.
    * "dummies": as "intercepts", but the level of a task is hardly shrunk.
    * "mixed": random intercepts and slopes with variances by marginal likelihood,
      `MeanRegularizedRegressor` with alpha and intercept_alpha "auto", each row counting the same.
    * "trees": gradient boosting of scikit-learn with the task as a category and by its mean target in other
      folds (`Pooled` with ``task_indicators="auto"``), on a shared design one for each output.
    * "forest": likewise a random forest, with the mean target alone.
    * "lightgbm", "catboost": as "trees", with fixed settings, if these packages are installed.

    They are Poisson regressions and the like where the first estimator has ``loss="poisson"``. An estimator
    that knows no tasks is told them as it can: as a category, by indicators (`Pooled` with
    ``task_indicators="auto"``), or not at all if X holds text. With a 2-D `y` it is fitted for each output,
    unless it takes several. Behind a Pipeline on an X with a task column it is left as it is.

    p-values are those of the corrected resampled t-test, which accounts for the overlap of training
    sets: with J folds and differences :math:`d_j`,
    :math:`t = \bar d / \sqrt{(1/J + n_\mathrm{test}/n_\mathrm{train}) \, s_d^2}`. Beside them p_tasks is
    that of a sign test: could as many tasks gain (or lose) by chance? Models whose errors differ by less
    than 0.1% are taken for alike, as solvers stop before their last digits: they have no p-value, and such a
    gain of a task counts as none. Test sets on which the score is undefined, such as an area under the ROC
    curve of one class, are left out with a warning. Where one task makes the spread of the scores, as its
    errors under one model are more by three times all those of the other one, the verdict names it in the
    place of a p-value.

    References
    ----------
    C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003.
    https://doi.org/10.1023/A:1024068626366

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
    estimators = _compared(estimators)
    X = table_of(X)
    if task_column is not None:
        X, tasks = _without_tasks(estimators, X, tasks, task_column)
    refuse_other_order({"y": y, "offset": offset})
    given, (labels, y, names, column) = y, labelled(estimators, X, y, tasks, cv)
    kind, kinds = kind_of(next(iter(estimators.values()))), Kinds.of(estimators, names, y, labels)
    apart = kinds is not None or (y.ndim == 2 and kind == "numbers")
    left_out = ONE_FOR_ALL if baselines is BASELINES and apart else ()
    asked = [one for one in baselines if one not in left_out] if baselines is BASELINES else baselines
    rivals = _rivals(asked, list(estimators.values()), y.ndim == 2, kinds)
    _refuse_both(estimators, rivals)
    told = {name: _told(model, y, tasks, column) for name, model in {**estimators, **rivals}.items()}
    with routing(tasks, offset):
        models, offset = with_offset(told, offset, y)
    without = [name for name in told if name not in models]
    if refused := [name for name in estimators if name in without]:
        raise ValueError(f"offset was given, but these estimators take none: {refused}.")
    rivals = {name: model for name, model in rivals.items() if name in models}
    estimators = {name: models[name] for name in estimators}
    if reference is None:
        reference = "single" if "single" in models else next(iter([*rivals, *estimators]))
    if reference not in models:
        raise ValueError(
            f"reference={reference!r} is not one of the models {list(models)}.{meant(reference, models)}"
        )
    score, measure = headline(scoring, models, y, kind, kinds), error_measure(models, kind, kinds)
    run = FoldRun(X, y, labels, tasks is not None, score, measure, offset, kinds, named_target(given, y))
    splits = splits_of(cv, X, y, labels)
    with routing(tasks, offset), saying_once():
        outcomes = _outcomes(run, models, splits, n_jobs, verbose)
    folds = FoldScores(models, splits, outcomes, reference)
    found, gains = tabulated(folds, run, names)
    best_first = [name for name in folds.ranked if name in estimators]
    said = _verdict(folds, gains, list(estimators), run)
    dropped = dict.fromkeys(left_out, NO_UNIT if kinds is None else KINDS) | dict.fromkeys(without, NO_OFFSET)
    said["verdict"] += _left_out(dropped)
    if task_column is not None:
        models = {name: with_task_column(one, task_column) for name, one in models.items()}
    return replace(found, **said, models=best_first, estimators=models, dropped=dropped)


def _left_out(dropped):
    """Sentences on models that were left out, {name: reason}, each behind a space."""
    names = {why: [repr(name) for name in dropped if dropped[name] == why] for why in dropped.values()}
    return "".join(f" {why}: {', '.join(left)}." for why, left in names.items())


def _outcomes(run, models, splits, n_jobs, verbose):
    """What `run` returns for each model and split, in this order; a line for each model if `verbose`."""
    start, found, pairs = time.perf_counter(), [], list(product(models, splits))
    parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    for outcome in parallel(delayed(run)(name, models[name], *split) for name, split in pairs):
        name = pairs[len(found)][0]
        found.append(outcome)
        if verbose and len(found) % len(splits) == 0:
            score = np.mean([score for score, *_ in found[-len(splits) :]])
            print(f"[{time.perf_counter() - start:.1f} s] {name}: {score:.4f} on {len(splits)} folds")
    return found


def _without_tasks(estimators, X, tasks, task_column):
    """X without the task column, and the tasks; ValueError where they are known otherwise."""
    own = {name: final_task_column(model)[0] for name, model in estimators.items()}
    own = {name: column for name, column in own.items() if column is not None}
    refuse_two_sources(tasks, task_column)
    if own:
        raise ValueError(
            f"task_column={task_column!r} and estimators with a task_column of their own ({own}) both say "
            "which task a row belongs to; use one."
        )
    return split_task_column(X, task_column)


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


def _compared(estimators):
    """Estimators by name; ValueError if there are none."""
    if named := _checked(_named(estimators), "estimators"):
        return named
    raise ValueError("estimators is empty; expected at least one estimator.")


def _checked(models, argument):
    """Models by name; TypeError if some cannot be fitted."""
    for model in models.values():
        refuse_class(model, f"each of {argument}")
        if not hasattr(model, "fit"):
            raise TypeError(
                f"{argument} must be estimators with a fit method, compare(estimators, X, y, tasks); "
                f"got {model!r:.100}."
            )
    return models


def _final_step(estimator):
    """The final model of a Pipeline, also inside a search, and the steps in front of it."""
    steps = []
    while True:
        if isinstance(estimator, Pipeline):
            steps, estimator = steps + estimator.steps[:-1], estimator.steps[-1][1]
        elif hasattr(estimator, "cv") and getattr(estimator, "estimator", None) is not None:
            estimator = estimator.estimator
        else:
            return estimator, steps


def labelled(estimators, X, y, tasks, cv):
    """Task of each row (None for a 2-D y), y as an array, names of the tasks, the column of X with them."""
    refuse_blocks(y, "y")
    columns, y = target_names(y), as_target(y)
    if y.dtype.kind in "US" and can_be_numbers(y) and not any(map(is_classifier, estimators.values())):
        y = y.astype(np.float64)  # else a fit explains what is wrong
    if y.ndim == 2 and tasks is not None:
        y = one_column_target(y)
    if y.ndim == 2:
        return None, y, np.arange(y.shape[1]) if columns is None else columns, None
    found = [(getattr(cv, "task_column", None), False), *map(final_task_column, estimators.values())]
    known = (one for one, may_move in found if not (one is None or (may_move and isinstance(one, Integral))))
    column = next(known, None)
    if tasks is None and column is None:
        raise ValueError(
            "the task of each row is not known. Pass tasks=, or task_column= naming a column of X (here or "
            "in the estimators), or cv=TaskKFold(task_column=...) if theirs is a position behind a Pipeline."
        )
    labels = task_labels(X, column) if tasks is None else check_tasks(tasks, num_samples(X))
    check_lengths(X, y)
    warn_of_order(X, tasks)
    names, codes = encode_tasks(labels)
    check_names(names, len(labels), column)
    if tasks is None:
        return labels, y, names, column
    warn_of_labels(X, names, codes)
    if column is not None:
        others, other = encode_tasks(task_labels(X, column))
        if not len(names) == len(others) == len(np.unique(codes * len(others) + other)):
            raise ValueError(
                f"tasks= and task_column={column!r} of the estimators tell rows apart differently; use one."
            )
    return labels, y, names, None


def _rivals(baselines, estimators, shared, kinds):
    """Models to beat by name, those that are asked for by name with the preprocessing of the estimators."""
    if isinstance(baselines, Mapping):
        return _checked(dict(baselines), "baselines")
    if isinstance(baselines, str) or not isinstance(baselines, Iterable):
        raise ValueError(
            "baselines must be a sequence of names and estimators (of none: ()), or a dict of estimators; "
            f"got {'the string ' * isinstance(baselines, str)}{baselines!r:.100}."
        )
    asked = [one for one in baselines if isinstance(one, str)]
    others = [one for one in baselines if not isinstance(one, str)]
    unknown = [one for one in asked if one not in RIVALS] + [one for one in others if not hasattr(one, "fit")]
    if unknown:
        raise ValueError(
            f"baselines must be among {[*RIVALS]} or estimators, or a dict of estimators; got {unknown}."
            f"{meant(unknown[0], RIVALS)}"
        )
    steps = next(filter(None, (_final_step(estimator)[1] for estimator in estimators)), None)
    columns = (final_task_column(estimator)[0] for estimator in estimators)
    column = next((column for column in columns if column is not None), None)
    kind = kind_of(estimators[0])
    models = {
        name: rival(name, kind, shared, column) if kinds is None else kinds.rival(name, column)
        for name in asked
    }
    if steps is not None:
        models = {name: clone(Pipeline([*steps, ("model", model)])) for name, model in models.items()}
    return models | _checked(_named(others), "baselines")


def _refuse_both(estimators, rivals):
    """ValueError where a name is that of two models."""
    if both := [name for name in estimators if name in rivals]:
        raise ValueError(
            f"estimators and baselines share a name: {both}. Name yours otherwise, compare({{'my {both[0]}': "
            "model}, ...), or leave it away from baselines=."
        )


def _told(model, y, tasks, column):
    """The model; around one that knows no tasks what tells it these, or makes it one of each output."""
    if reaches("tasks", model, "fit"):
        return model
    if y.ndim == 2:
        as_it_is = get_tags(model).target_tags.multi_output and not missing_labels(y).any()
        return model if as_it_is else SingleTask(model)
    if tasks is None and _final_step(model)[1]:  # its first steps see the column
        return model
    return Pooled(model, task_indicators="auto", task_column=column)


def headline(scoring, models, y, kind="numbers", kinds=None):
    """The headline score as a task scorer; `kind` tells counts from other numbers."""
    if scoring is not None:
        return as_task_scorer(scoring)
    if kinds is not None:
        return task_scorer(kinds)
    if not is_classifier(next(iter(models.values()))):
        metric = d2_poisson_score if kind == "counts" else "r2"
        return task_scorer(metric, average="pooled" if y.ndim == 1 else "macro")
    ranks = all(hasattr(m, "predict_proba") or hasattr(m, "decision_function") for m in models.values())
    observed = plain_labels(y[~missing_labels(y)])
    metric = "roc_auc" if ranks and type_of_target(observed) == "binary" else "accuracy"
    return task_scorer(metric, average="pooled")


def splits_of(cv, X, y, labels):
    """List of (train, test) rows."""
    if cv is None:
        cv = n_folds_for(y, labels)
    if isinstance(cv, Integral):
        cv = folds_of_tasks(cv)
    refuse_class(cv, "cv")
    cv = check_cv(cv)
    if getattr(cv, "stratify", False):
        warn(
            "stratify=True gives the test rows of a task the class shares of its training rows: models with "
            "an intercept per task look better than they are, even where tasks do not differ. Compare them "
            "with others on folds of stratify=False.",
        )
    return list(cv.split(X, y, **({"tasks": labels} if wants_tasks(cv) else {})))
