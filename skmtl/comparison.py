"""Does sharing help? Multi-task models against simple baselines, on the same folds."""

import html
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from scipy import sparse, stats
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.parallel import Parallel, delayed

from ._folds import ALIKE, SIGNIFICANCE, FoldRun, FoldScores, error_measure
from ._inputs import as_target
from ._labels import check_tasks, encode_tasks, missing_labels, plain_array, plain_labels
from ._rivals import BASELINES, baseline
from ._sklearn import num_samples
from ._task_scores import standard_deviation
from ._tasks import columns_of_labels, final_task_column, target_names, task_labels
from .metrics import _TaskScorer, task_scorer
from .model_selection import TaskKFold
from .model_selection._split import wants_tasks

__all__ = ["Comparison", "compare"]


def compare(
    estimators,
    X,
    y,
    tasks=None,
    *,
    cv=None,
    scoring=None,
    baselines=BASELINES,
    reference=None,
    n_jobs=None,
):
    r"""Compare multi-task models with single-task and pooled baselines on the same folds.

    Per task the gain of a model over the reference r is the share of the squared error that it saves,

    .. math:: g_t = 1 - \frac{\sum_{i \in t} e_i}{\sum_{i \in t} e_i^{(r)}}

    over the test rows of all folds (scores of a task on one fold are too noisy):
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
    baselines : sequence of str, or dict of {str: estimator}
        Models to beat, see Notes. Default: "single", "pooled", "intercepts" and "mean".
    reference : str, default=None
        Name of the model that gains and differences are measured against. By default "single", without it the
        first baseline, without any the first estimator.
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
      for each task is weaker, since few rows cannot choose it. The grids of all baselines grow while the
      best strength is at their edge.
    * "pooled": `Pooled` ridge or logistic regression.
    * "intercepts": the same with shrunken task intercepts (``task_indicators=True``).
    * "mean": each task's own training mean or class frequencies.

    p-values are those of the corrected resampled t-test, which accounts for the overlap of training
    sets: with J folds and differences :math:`d_j`,
    :math:`t = \bar d / \sqrt{(1/J + n_\mathrm{test}/n_\mathrm{train}) \, s_d^2}`. Beside them p_tasks is
    that of a sign test: could as many tasks gain (or lose) by chance? Models whose errors differ by less
    than 0.1% are taken for alike, as solvers stop before their last digits: they have no p-value, and such a
    gain of a task counts as none. Test sets on which the score is undefined, such as an area under the ROC
    curve of one class, are left out with a warning.

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
    estimators = _named(estimators)
    if not estimators:
        raise ValueError("estimators is empty; expected at least one estimator.")
    X = X.tocsr() if sparse.issparse(X) else X if hasattr(X, "shape") else np.asarray(X)
    labels, y, names = _labels(estimators, X, y, tasks, cv)
    models = {**estimators, **_baselines(baselines, list(estimators.values()))}
    if len(models) < len(estimators) + len(baselines):
        raise ValueError(f"estimators and baselines share a name: {list(estimators)} and {list(baselines)}.")
    if reference is None:
        reference = "single" if "single" in models else next(iter([*baselines, *estimators]))
    if reference not in models:
        raise ValueError(f"reference={reference!r} is not one of the models {list(models)}.")
    run = FoldRun(X, y, labels, tasks is not None, _scorer(scoring, models, y), error_measure(models))
    splits = _splits(cv, X, y, labels)
    with config_context(enable_metadata_routing=tasks is not None or get_config()["enable_metadata_routing"]):
        outcomes = Parallel(n_jobs=n_jobs)(
            delayed(run)(name, model, *split) for name, model in models.items() for split in splits
        )
    folds = FoldScores(models, splits, outcomes, reference)
    codes = None if y.ndim == 2 else encode_tasks(labels)[1]
    gains = [row for name in folds.ranked for row in _gains(folds, name, y.shape, codes, names)]
    return Comparison(
        table=_table(
            _rows(folds, gains, run.measure),
            f"model mean sd difference p_value tasks_gaining p_tasks {run.measure} seconds",
        ),
        per_task=_table(gains, "model task n_test error gain hurt clearly_hurt"),
        verdict=_verdict(folds, gains, list(estimators)),
        score=f"{getattr(run.scorer.metric, '__name__', run.scorer.metric)} ({run.scorer.average})",
        reference=reference,
        models=[name for name in folds.ranked if name in estimators],
        estimators=estimators,
    )


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
    columns, y = target_names(y), as_target(y)
    if y.ndim == 2:
        if tasks is not None:
            raise ValueError("tasks must be None for a 2-D y: its columns are the tasks.")
        return None, y, np.arange(y.shape[1]) if columns is None else columns
    column = getattr(cv, "task_column", None)
    for estimator in estimators.values():
        found, may_move = final_task_column(estimator)
        if column is None and found is not None and not (may_move and isinstance(found, Integral)):
            column = found
    if tasks is None and column is None:
        raise ValueError(
            "the task of each row is not known. Pass tasks=, or estimators with task_column= naming a "
            "column of X, or cv=TaskKFold(task_column=...) if theirs is a position behind a Pipeline."
        )
    labels = task_labels(X, column) if tasks is None else check_tasks(tasks, num_samples(X))
    if len(y) != len(labels):
        raise ValueError(f"y has {len(y)} rows but X has {len(labels)}.")
    if tasks is not None and (found := columns_of_labels(X, labels)):
        warnings.warn(
            f"the column(s) {found} of X equal tasks: models take them for features. Drop them, or name one "
            "by task_column= in the place of tasks=.",
            UserWarning,
            stacklevel=3,
        )
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
    models = {name: baseline(name, is_classifier(estimators[0]), column) for name in baselines}
    if steps:
        models = {name: clone(Pipeline([*steps, ("baseline", model)])) for name, model in models.items()}
    return models


def _scorer(scoring, models, y):
    """The headline score as a task scorer."""
    if isinstance(scoring, _TaskScorer):
        return scoring
    if scoring is not None:
        return task_scorer(scoring, average="pooled")
    if not is_classifier(next(iter(models.values()))):
        return task_scorer("r2", average="pooled" if y.ndim == 1 else "macro")
    ranks = all(hasattr(m, "predict_proba") or hasattr(m, "decision_function") for m in models.values())
    observed = plain_labels(y[~missing_labels(y)])
    metric = "roc_auc" if ranks and type_of_target(observed) == "binary" else "accuracy"
    return task_scorer(metric, average="pooled")


def _splits(cv, X, y, labels):
    """List of (train, test) rows."""
    if cv is None or isinstance(cv, Integral):
        cv = TaskKFold(5 if cv is None else cv, shuffle=True, random_state=0)
    cv = check_cv(cv)
    if getattr(cv, "stratify", False):
        warnings.warn(
            "stratify=True gives the test rows of a task the class shares of its training rows: models with "
            "an intercept per task look better than they are, even where tasks do not differ. Compare them "
            "with others on folds of stratify=False.",
            UserWarning,
            stacklevel=3,
        )
    return list(cv.split(X, y, **({"tasks": labels} if wants_tasks(cv) else {})))


# --- the result -----------------------------------------------------------------------------


@dataclass
class Comparison:
    """Result of `compare`.

    Parameters
    ----------
    table : DataFrame or record array
        One row per model, best first: model, mean and sd of the headline score over folds, mean
        difference to the reference and its p_value, the number of tasks that gain and the p-value p_tasks
        of a sign test over tasks, a second measure (rmse: mean over tasks of the root mean squared error;
        brier or error_rate: mean over labels), and seconds per fold.
    per_task : DataFrame or record array
        One row per model and task: model, task, n_test (labels tested), error (mean per label), gain
        over the reference, hurt (it loses more than 0.1%), clearly_hurt (by more than two standard
        errors as well).
    verdict : str
        What follows from it, in words.
    score : str
        Name of the headline score and how it is averaged.
    reference : str
        The model that gains and differences are measured against.
    models : list of str
        The models that were compared with the baselines, best first.
    findings : dict of {str: str}
        What each model found, in a sentence (`suggest` only).
    estimators : dict of {str: estimator}
        The models by name, unfitted.

    See Also
    --------
    compare : Makes it.

    Notes
    -----
    Data frames if pandas is installed; the columns are read as ``table["mean"]`` in both cases.
    """

    table: object
    per_task: object
    verdict: str
    score: str
    reference: str
    models: list
    findings: dict = field(default_factory=dict)
    estimators: dict = field(default_factory=dict)

    def _cells(self):
        """The table as text, the header first."""
        header = list(self.table.columns if hasattr(self.table, "columns") else self.table.dtype.names)
        return list(zip(*([name, *map(_cell, self.table[name])] for name in header), strict=True))

    @property
    def _title(self):
        return f"{self.score} on the test folds; difference, gain and loss are against {self.reference!r}"

    def __str__(self):
        rows = self._cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        found = [f"{name}: {sentence}." for name, sentence in self.findings.items()]
        return "\n".join([self._title, *lines, "", *found, *([""] if found else []), self.verdict])

    def _repr_html_(self):
        head, *rows = ([html.escape(cell) for cell in row] for row in self._cells())
        lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
        lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
        found = "".join(
            f"<li>{html.escape(f'{name}: {sentence}.')}</li>" for name, sentence in self.findings.items()
        )
        words = (f"<ul>{found}</ul>" if found else "") + f"<p>{html.escape(self.verdict)}</p>"
        return f"<table><caption>{html.escape(self._title)}</caption>{''.join(lines)}</table>{words}"

    def to_markdown(self):
        """Return the table, what was found and the verdict in Markdown.

        Returns
        -------
        text : str
            A table in the syntax of GitHub, and paragraphs.
        """
        head, *rows = self._cells()
        rule = ["---", *["---:"] * (len(head) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
        found = [f"* {name}: {sentence}." for name, sentence in self.findings.items()]
        return "\n".join([f"{self._title}:", "", *lines, "", *found, *([""] if found else []), self.verdict])

    def plot(self, ax=None, *, model=None):
        """Draw the gain of each task over the reference, sorted.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; by default new axes.
        model : str, default=None
            Name of the model; by default the best one that is no baseline.

        Returns
        -------
        ax : matplotlib axes
            With one bar per task; tasks that lose are marked.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the model is unknown.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("Comparison.plot needs matplotlib: pip install skmtl[plot].") from error
        model = self.models[0] if model is None else model
        chosen = np.asarray(self.per_task["model"]) == model
        if not chosen.any():
            raise ValueError(f"model={model!r} is not one of {sorted(set(self.per_task['model']))}.")
        gain, task = np.asarray(self.per_task["gain"])[chosen], np.asarray(self.per_task["task"])[chosen]
        order = np.argsort(gain, kind="stable")
        order = order[~np.isnan(gain[order])]
        gain, position = 100 * gain[order], np.arange(len(order))
        ax = plt.subplots(figsize=(7, 3.5), layout="constrained")[1] if ax is None else ax
        for mask, color, label in [(gain >= 0, "#3274a1", "better"), (gain < 0, "#e1812c", "worse")]:
            ax.bar(position[mask], gain[mask], 0.8, color=color, label=f"{label}: {mask.sum()} tasks")
        ax.axhline(0, color="black", linewidth=0.8)
        if len(order) <= 30:
            ax.set_xticks(position, task[order], rotation=90)
        else:
            ax.set_xticks([])
        ax.set(xlabel="tasks, sorted by gain", ylabel=f"test error saved (%)\nagainst {self.reference}")
        ax.set_title(model)
        ax.legend()
        return ax


def _gains(folds, model, shape, codes, names):
    """The rows of `per_task` for one model."""
    errors, reference = folds.label_errors(model, shape), folds.label_errors(folds.reference, shape)
    for t, task in enumerate(names.tolist()):
        rows = (slice(None), t) if codes is None else codes == t
        seen = ~np.isnan(errors[rows])
        e, r = errors[rows][seen], reference[rows][seen]
        n, lost = len(e), e - r
        gain = 1 - e.sum() / r.sum() if n and r.sum() > 0 else np.nan
        clear = n > 2 and gain < -ALIKE and lost.mean() > 2 * standard_deviation(lost) / np.sqrt(n)
        yield model, task, n, e.mean() if n else np.nan, gain, bool(gain < -ALIKE), bool(clear)


def _rows(folds, gains, measure):
    """The rows of `table`."""
    for name in folds.ranked:
        tested = [(row[2], row[3]) for row in gains if row[0] == name and row[2]]
        n, error = np.array(tested).T
        error = np.sqrt(error).mean() if measure == "rmse" else n @ error / n.sum()
        sd = standard_deviation(folds.scores[name]) if len(folds.scores[name]) > 1 else np.nan
        yield (
            name,
            folds.mean[name],
            sd,
            *folds.test(name, folds.reference),
            *_sign_test([row[4] for row in gains if row[0] == name]),
            error,
            np.mean(folds.seconds[name]),
        )


def _sign_test(gains):
    """Number of tasks that gain, and the two-sided p-value of as many by chance."""
    won, lost = (sum(gain * sign > ALIKE for gain in gains) for sign in (1, -1))
    return won, stats.binomtest(won, won + lost).pvalue if won + lost else np.nan


def _table(rows, header):
    """A data frame, without pandas a record array."""
    columns = dict(zip(header.split(), map(plain_array, zip(*rows, strict=True)), strict=True))
    try:
        import pandas as pd
    except ImportError:
        return np.rec.fromarrays(list(columns.values()), names=list(columns))
    return pd.DataFrame(columns)


def _cell(value):
    if not isinstance(value, (float, np.floating)):
        return str(value)
    return "-" if np.isnan(value) else f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def _verdict(folds, gains, estimators):
    """What a person should conclude and do."""
    reference, mean = folds.reference, folds.mean
    model = next(name for name in folds.ranked if name in estimators)
    parts = []
    for name in dict.fromkeys([reference, "pooled"]):
        if name in mean and name != model:
            parts.append(f"{_standing(folds, model, name)} {name!r} ({mean[name]:.3f})")
    parts = [f"{model!r} ({mean[model]:.3f}) is {' and '.join(parts)}."] if parts else []
    gain = mean[model] - mean[reference]
    if "intercepts" in mean and reference != "intercepts" and gain > 0:
        share = max(mean["intercepts"] - mean[reference], 0) / gain
        found = f"scores {mean['intercepts']:.3f}"
        if folds.clearly_better(model, reference):  # else the gain may be nothing
            found = f"brings {'all' if share > 1 else f'{share:.0%}'} of its gain over {reference!r}"
        parts.append(f"Pooling with shrunken intercepts alone {found}.")
    if model != reference:
        own = [row for row in gains if row[0] == model]
        lost, clearly = sum(row[5] for row in own), sum(row[6] for row in own)
        parts.append(f"{lost} of {len(own)} tasks lose, {clearly} of them by more than two standard errors.")
    return " ".join([*parts, _advice(folds, model, estimators, gains)])


def _standing(folds, model, other):
    """How the scores of two models compare, with the p-value."""
    if folds.alike(model, other):
        return "no different from"
    p = folds.test(model, other)[1]
    if folds.clearly_better(model, other):
        return f"clearly better (p = {p:.2g}) than"
    if folds.clearly_better(other, model):
        return f"clearly worse (p = {p:.2g}) than"
    return "not clearly different from" if np.isnan(p) else f"not clearly different (p = {p:.2g}) from"


def _advice(folds, model, estimators, gains):
    """Which model to use: a baseline unless the best multi-task model clearly beats them all."""
    rival = next((name for name in folds.ranked if name not in estimators), None)
    if rival is None or folds.clearly_better(model, rival):
        return f"Use {model!r}."
    if rival == folds.reference and folds.mean[model] > folds.mean[rival]:
        own = [row[4] for row in gains if row[0] == model]
        won, p = _sign_test(own)
        if p < SIGNIFICANCE and won > len(own) / 2:
            return f"Use {model!r}: {won} of {len(own)} tasks gain, more than by chance (p = {p:.2g})."
    if rival == "single":
        return "Sharing does not clearly help here: use 'single'."
    verb = (
        "scores higher" if folds.ranked.index(rival) < folds.ranked.index(model) else "is not clearly worse"
    )
    return f"The simpler {rival!r} ({folds.mean[rival]:.3f}) {verb}: prefer it for prediction."
