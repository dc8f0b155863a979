"""Which model for these tasks: structures, representations and rivals in a race on the same folds."""

import time
from dataclasses import replace
from numbers import Integral

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.utils import check_random_state

from ._candidates import all_candidates
from ._columns import check_features, column_names, split_task_column
from ._findings import finding, sharing
from ._from_column import TasksFromColumn, with_task_column
from ._inputs import as_target, check_target, present
from ._labels import check_tasks, meant, missing_labels, plain_labels, rows_of_tasks
from ._target import warn_of_units
from ._tasks import asking_for_tasks, one_column_target, refuse_blocks, refuse_two_sources, table_of
from ._threads import threads_for
from ._warn import saying_once, warn
from .comparison import race
from .metrics import as_task_scorer
from .model_selection import routing

MOST_CLASSES = 20
TASK_TYPES = {"regression": "numbers", "classification": "classes", "count": "counts"}
N_FITS = 5  # as which the test of the tasks counts
ZEROS = 0.1  # of numbers that may be counts
FEW, MOST_OF_FEW = 0.02, 0.5  # of the labels, and their share of squared deviations that is worth a word
UNITS = 3  # ratio of standard deviations of columns of y


def suggest(
    X, y, tasks=None, *, task_column=None, offset=None, task_type=None, candidates=None, preprocessor=None,
    time_budget=None, cv=None, scoring=None, n_jobs=None, random_state=0, verbose=None,
):  # fmt: skip
    """Find the best model for these tasks: structures, representations and rivals in a race.

    Seven structures (a common model, also with strengths by marginal likelihood, a shared support, a common
    model with outlier tasks, clusters, also by k-means, a low rank, also as mixtures of few patterns,
    correlated tasks, shared and private features), linear models of splines and of random features, and a
    network with shared layers compete on the same folds with what one would use instead: the baselines of
    `compare` and trees (forests for a `y` of one column per task). On the first folds those drop out that are
    clearly worse, or behind six others. Then it says whether sharing helps, what to use, with the code that
    makes it, and how sure it is.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Features, numbers only unless there is a `preprocessor`.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Targets, see `task_type`; NaN in a 2-D y is a missing label. Columns of numbers in different units are
        to be divided by their standard deviations first.
    tasks : array-like of shape (n_samples,), default=None
        Task of each row, for a 1-D `y`.
    task_column : str or int, default=None
        Column of X (name or position) that holds the task of each row, in the place of `tasks`. The other
        columns are the features.
    offset : array-like of shape (n_samples,) or of the shape of y, default=None
        Known part of the linear predictor, such as logarithms of exposures, as in the `fit` of the models.
        Baselines and trees that are classifiers take none: they are left out, and `dropped` names them.
    task_type : {"regression", "classification", "count"}, default=None
        What the targets are. By default they are classes if they are text, boolean, of two values or whole
        numbers from 0 or 1 up without a gap (a warning says so where these are more than two), else numbers.
        Counts of events are never guessed: "count" tries models with the Poisson loss, which predict the
        expected count, and scores them by the share of the Poisson deviance that they explain.
    candidates : sequence of str, default=None
        Names of the models to try, such as "TraceNormRegressor", "MultiTaskMLPClassifier", "single" (an
        unknown one ends in an error that lists all), by default all that the data allow: splines, random
        features, the network and trees want features that are not sparse, strengths by marginal likelihood
        the same classes in all tasks, and four rows for each feature, clusters four tasks, by k-means, like
        mixtures of patterns, eight.
    preprocessor : transformer, default=None
        First step of all models, for X without its task column, fitted on the training rows of each fold. By
        default a `StandardScaler`, so that another one has to scale as well; sparse features are left as they
        are.
    time_budget : float, default=None
        Seconds, in which no model begins that is expected to end later, by its time on the folds before, on
        the first one by the slowest model before it; the verdict names those. One runs in any case, and where
        the best one of the first folds has no time for the others these decide. Findings come last, as far as
        time is left. By default all are tried.
    cv : int, splitter or iterable of splits, default=None
        By default, and for an int, `TaskKFold` with 5 (or as many as most tasks have rows) or `cv` shuffled
        folds; tasks with fewer rows are for training only, so that scores are of the others. Rows in the
        order of time want `TaskTimeSplit`: on random folds models look better than they are in future.
    scoring : str, callable or `task_scorer`, default=None
        The score of the models, as in `compare` (by default R^2, for counts the same of the Poisson deviance,
        for two classes the area under the ROC curve). It also chooses the strengths, but for classes by
        default the log-loss does.
    n_jobs : int, default=None
        Number of processes over models.
    random_state : int, RandomState instance or None, default=0
        Seed of random features, networks and trees.
    verbose : int, default=None
        1 prints a line for each model when it has run, 0 nothing. By default one line on the standard error,
        after ten seconds, says how far it is and how to bound it.

    Returns
    -------
    found : Suggestion
        `table` and `per_task` (which tasks are hurt) of the models that ran in all folds; `dropped` names the
        others. `best` is the name of the one to use, `code` makes it, and `expected` holds the mean score
        of the models that the same rule takes by the other folds, for as many rows as there are, and a
        standard error. `sharing` says
        whether the tasks differ at all, `findings` what each structure finds in all rows, and `estimators`
        holds all models, those that dropped out as well, at their best strengths, unfitted: Pipelines, their
        last step "model". With `task_column` they are for X as it is, in a `TasksFromColumn` where first
        steps are not to see the column: ``fit(X, y)``, ``predict(X)``. With `tasks` they take
        ``fit(X, y, model__tasks=tasks)``, as steps of a Pipeline do, (under metadata routing
        ``tasks=tasks``) and ``predict(X, tasks=tasks)``, and warn without tasks.

    Raises
    ------
    ValueError
        If an argument is malformed, see `compare`.

    See Also
    --------
    compare : Models of your own on the same folds, every search inside its training sets.

    Notes
    -----
    Strengths, and leaves and rounds of boosted trees of up to 5,000 rows, are searched on the folds
    themselves: on the first one 8 over two decades, and further ones while the best is at the edge of these,
    and near the best one for other values of another parameter (and for a common model of tasks of different
    sizes with and without ``task_weight="samples"``), one changed at a time, then between the best one and
    its neighbours; on the second those near the best, later those next to it. On each fold a model is scored
    at the strength that is best over the *other* folds, and `expected` is the mean score of the models to use
    by the other folds: scores of a fold choose neither (but the first two say who drops out). Folds lack
    rows: of up to ten, which are parts of all rows, (k - 2) / k of what a linear model loses without one more
    is added (Bates, Hastie & Tibshirani). Training sets overlap: the standard error is that of Nadeau &
    Bengio, or that of as many independent rows (for the area under the ROC curve by Hanley & McNeil) where
    this is greater, as few folds may agree by chance. In the first fold all models run. One drops out whose
    errors are greater than those of the best one by more than 5% and by more than 3 standard errors of the
    difference, after the second fold by more than 1% and 2.5 standard errors, with a lower score in both, or,
    after each of these, than those of the best baseline by one standard error; of the rest the six best, the
    baselines and the best two of what is not linear go on, and the best one in any case. The best of many
    scores is often that of a model that is more general than it has to be. So the first one is used whose
    error is above that of each of the others by at most 3% and at most 1.5 standard errors of the difference
    (baselines: two), or by 0.1%: baselines come first, the simplest before the others, then the models in the
    order of the paragraph at the top. The verdict says by how much another one is below.

    Sharing helps if the model to use is clearly above "single" and above "pooled"; one of splines, random
    features, a network or trees above the same for each task by itself in the place of "pooled" (of more than
    20 tasks splines in the place of networks and trees). Networks of single tasks have the layers that the
    network of all has found on the same rows, and a common strength. That one runs last, as "single of ...",
    where the model is clearly above "single", until it is clearly worse, and is used where it is as good.

    Splines are made of features with ten values and more, thirty features at most, random features of a
    Gaussian kernel with the median distance between rows as its width. The strength that predicts best leaves
    in more features and directions than matter, with small coefficients: features are named by size, and
    beside a rank stands how many directions hold 99% of the squared coefficients.

    References
    ----------
    Bates, Hastie & Tibshirani (2023), Cross-validation: what does it estimate and how well does it do it?,
    Journal of the American Statistical Association 119, https://doi.org/10.1080/01621459.2023.2197686;
    Hanley & McNeil (1982), The meaning and use of the area under a receiver operating characteristic (ROC)
    curve, Radiology 143, https://doi.org/10.1148/radiology.143.1.7063747;
    Zhang & Yang (2022), A survey on multi-task learning, IEEE Transactions on Knowledge and Data
    Engineering 34, https://doi.org/10.1109/TKDE.2021.3070203

    Examples
    --------
    >>> from skmtl import suggest
    >>> from skmtl.datasets import make_multitask_regression
    >>> p = make_multitask_regression(8, 30, 6, structure="mean", task_spread=0.4, random_state=0)
    >>> found = suggest(p.X, p.y, p.tasks, cv=3)
    >>> found.best
    'MeanRegularizedRegressor'
    """
    start = time.perf_counter()
    X, y, tasks = _read(X, y, tasks, task_column, preprocessor is None)
    y_, targets = as_target(y), _targets(y, task_type)
    rows = rows_of_tasks(y_, None if tasks is None else check_tasks(tasks, np.shape(X)[0]))
    if len(rows) < 2:
        raise ValueError(
            "suggest needs at least two tasks: pass tasks=, name a column of X by task_column=, or give a y "
            "with one column per task."
        )
    by = "neg_log_loss" if scoring is None and targets == "classes" else scoring
    by = None if by is None else as_task_scorer(by)
    if not isinstance(random_state, Integral):
        random_state = int(check_random_state(random_state).randint(2**31))
    tried = all_candidates(X, y_, rows, targets, preprocessor, random_state)
    if candidates is not None:
        if isinstance(candidates, str):
            raise ValueError(f"candidates must be a sequence of names; got the string {candidates!r}.")
        unknown = [name for name in candidates if name not in tried]
        if unknown or not len(candidates):
            raise ValueError(
                f"candidates must be some of {list(tried)}; got {unknown or candidates}."
                f"{meant(unknown[0], tried) if unknown else ''}"
            )
        tried = {name: one for name, one in tried.items() if name in candidates}
    with saying_once():
        if targets == "numbers" and y_.ndim == 2:
            warn_of_units(np.where(missing_labels(y_), np.nan, y_).astype(np.float64), UNITS)
        found = race(tried, X, y, tasks, cv, scoring, by, targets, n_jobs, time_budget, verbose, offset)
        ends = np.inf if time_budget is None else start + time_budget
        found = replace(found, **_findings(found, tried, X, y, tasks, offset, ends))
    if targets == "numbers":
        found.verdict += _hints(y_, task_type)
    if task_column is not None:
        found.estimators = {key: with_task_column(one, task_column) for key, one in found.estimators.items()}
        tasks = None
    elif tasks is not None:
        found.estimators = {name: asking_for_tasks(one) for name, one in found.estimators.items()}
    return replace(found, code=_code(found.estimators[found.best], present(tasks=tasks, offset=offset)))


def _read(X, y, tasks, task_column, numbers):
    """Containers whose rows can be taken, y of one axis where there are tasks; X checked if `numbers`."""
    X = table_of(X)
    refuse_blocks(y, "y")
    if task_column is not None:
        refuse_two_sources(tasks, task_column)
        X, tasks = split_task_column(X, task_column)
    if numbers:
        check_features(X)
    if tasks is not None and np.ndim(y) == 2:
        y = one_column_target(as_target(y))
    check_target(y)
    return X, y, tasks


def _findings(found, tried, X, y, tasks, offset, ends):
    """What each structure finds in all rows, and whether the tasks differ at all, as far as time is left."""
    given, said = present(tasks=tasks, offset=offset), {"findings": {}}
    seconds = dict(zip(found.table["model"], found.table["seconds"], strict=True))
    with routing(tasks, offset), threads_for(X):
        for name, model in found.estimators.items():
            if name not in tried or not tried[name].structure:
                continue
            fits = N_FITS if model[-1].alpha == "auto" else 1
            if time.perf_counter() + fits * seconds.get(name, np.inf) > ends:
                continue
            fitted = clone(model).fit(X, y, **given)
            steps, names = fitted[:-1], column_names(X)
            if hasattr(steps, "get_feature_names_out") and names is not None:
                names = steps.get_feature_names_out()
            said["findings"][name] = finding(fitted[-1], found.params[name], names)
            if fitted[-1].alpha == "auto":
                one = clone(fitted[-1]).set_params(covariance="spherical").fit(steps.transform(X), y, **given)
                try:
                    said["sharing"] = sharing(one.test_sharing())
                except ValueError as error:  # classes are separable
                    why = str(error).partition(". ")[0].rstrip(".")
                    said["sharing"] = f"Whether tasks differ is not tested: {why}"
    return said


def _code(model, rows):
    """Python code that makes the model and fits it, with what there is of rows beside X and y."""
    steps, imports, own = [], {"from sklearn.pipeline import Pipeline"}, []
    around = isinstance(model, TasksFromColumn)
    for key, step in (model.estimator if around else model).steps:
        text, used = _written(step)
        if "<" in text:  # no code
            text, used, own = "preprocessor", [], ["# preprocessor: the one that suggest was given"]
        steps.append(f"({key!r}, {text})")
        kinds = [(type(one).__module__.partition("._")[0], type(one).__name__) for one in used]
        imports |= {f"from {module} import {name}" for module, name in kinds}
    made = f"Pipeline([{', '.join(steps)}])"
    if around:
        imports.add("from skmtl import TasksFromColumn")
        made = f"TasksFromColumn({made}, {model.task_column!r})"
    lines = [*sorted(imports), "", *own, f"model = {made}"]
    step = "" if around or get_config()["enable_metadata_routing"] else "model__"
    given = [[f"{prefix}{name}={name}" for name in rows] for prefix in (step, "")]
    arguments = [", ".join(one) for one in (("X", "y", *given[0]), ("X", *given[1]))]
    return "\n".join([*lines, f"model.fit({arguments[0]})", f"model.predict({arguments[1]})"])


def _written(step):
    """Text of an estimator as it is made, with a "<" where there is none, and the objects of which it is."""
    if isinstance(step, str):
        return repr(step), []
    text = "".join(line.strip() for line in step.__repr__(N_CHAR_MAX=10**6).splitlines())
    text = text.replace(",", ", ").replace(",  ", ", ")
    used = [one for one in (step, *step.get_params().values()) if hasattr(one, "get_params")]
    selectors = [one for own in used for *_, one in getattr(own, "transformers", ()) if callable(one)]
    for one in selectors:
        known = [(name, value) for name, value in vars(one).items() if value is not None]
        by = [f"{name}={value.__name__ if value is object else repr(value)}" for name, value in known]
        text = text.replace(repr(one), f"{type(one).__name__}({', '.join(by)})")
    return text, used + selectors


def _targets(y, task_type):
    """What the targets are, "numbers", "counts" or "classes", as stated or by their look."""
    if task_type not in (None, *TASK_TYPES):
        raise ValueError(
            f"task_type must be one of {[*TASK_TYPES]} or None (by the look of y); got {task_type!r}."
        )
    y = as_target(y)
    labels = plain_labels(y[~missing_labels(y)])
    try:
        values = np.unique(labels)
    except TypeError:
        raise ValueError(
            f"y holds labels of different types, {sorted({type(own).__name__ for own in labels})}: suggest "
            "is for tasks of one kind. For others compare({'mixed': MixedTaskModel(losses={task: loss})}, X, "
            "y, tasks) says whether sharing helps."
        ) from None
    if task_type == "count" and (values.dtype.kind not in "biuf" or values.min() < 0):
        raise ValueError(f"task_type='count' needs a y of numbers >= 0; got {values[0]!s:.100}.")
    if task_type == "classification" and not _are_whole(values):
        raise ValueError(
            "task_type='classification' needs labels in y, text or whole numbers; got "
            f"{values[values != np.rint(values)][0]!s}."
        )
    classes = _are_classes(values, y.size) if task_type is None else task_type == "classification"
    if classes and task_type is None and len(values) > 2 and values.dtype.kind not in "OUS":
        warn(
            f"y holds the whole numbers {values[0]:.0f} to {values[-1]:.0f} and is taken for {len(values)} "
            "classes; if they are numbers pass task_type='regression', if they count events 'count'.",
        )
    return "classes" if classes else TASK_TYPES.get(task_type, "numbers")


def _may_be_counts(y):
    """Whether numbers look like counts of rare events: whole, from 0 up, a tenth of them 0."""
    y = y[~missing_labels(y)].astype(np.float64)
    return bool((y >= 0).all() and (y == np.rint(y)).all() and np.mean(y == 0) >= ZEROS)


def _hints(y, task_type):
    """What the numbers in y may be as well: sentences for the verdict, each behind a space."""
    if task_type is None and _may_be_counts(y):
        return " y holds whole numbers from 0 up: if they count events, pass task_type='count'."
    share = _share_of_few(y)
    if share <= MOST_OF_FEW:
        return ""
    return (
        f" {share:.0%} of the squared deviations of y are those of {FEW:.0%} of the labels, which decide "
        "these scores: see whether they are right, and try the logarithm of y, or loss=Huber(...)."
    )


def _share_of_few(y):
    """Share of the squared deviations from the medians of the columns of y that the greatest few have."""
    y = np.where(missing_labels(y), np.nan, y).astype(np.float64).reshape(len(y), -1)
    away = np.abs(y - np.nanmedian(y, axis=0))
    most = np.nanmax(away, axis=0)
    squares = np.sort(((away / np.where(most > 0, most, 1.0)) ** 2)[~np.isnan(y)])[::-1]
    return squares[: max(int(FEW * len(squares)), 1)].sum() / max(squares.sum(), 1e-300)


def _are_whole(values):
    """Whether targets may be labels: text, or whole numbers."""
    return values.dtype.kind != "f" or bool((values == np.rint(values)).all())


def _are_classes(values, n_labels):
    """Whether targets look like classes: text, truth values, two whole numbers, 0, 1, 2, ... or 1, 2, ...

    Others are rather counts, grades or measurements.
    """
    if values.dtype.kind in "OUSb" or (len(values) == 2 and _are_whole(values)):
        return True
    in_a_row = any(np.array_equal(values, np.arange(len(values)) + first) for first in (0, 1))
    return in_a_row and 2 < len(values) <= min(MOST_CLASSES, n_labels // 10)
