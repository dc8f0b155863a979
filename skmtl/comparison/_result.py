"""The result of a comparison: tables, a picture, and what a person should conclude."""

import html
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from scipy import stats

from .._axes import axes_for
from .._labels import encode_tasks, plain_array
from .._task_scores import standard_deviation
from ._folds import ALIKE, SIGNIFICANCE

PER_TASK = "model task n_test error gain hurt clearly_hurt"


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
    best, code : str
        The model to use, and Python code that makes it and fits it (`suggest` only).
    expected : tuple of float
        Mean score, of the kind `score`, of the models that the same rule takes by the other folds, and its
        standard error (`suggest` only).
    dropped : dict of {str: str}
        Models that did not run in all folds, and why (`suggest` only).
    params : dict of {str: dict}
        The parameters chosen for each model (`suggest` only).
    sharing : str
        Whether the tasks differ at all, by the test of the mixed model (`suggest` only).
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
    best: str = ""
    code: str = ""
    expected: tuple = ()
    dropped: dict = field(default_factory=dict)
    params: dict = field(default_factory=dict)
    sharing: str = ""
    findings: dict = field(default_factory=dict)
    estimators: dict = field(default_factory=dict)

    def _cells(self):
        """The table as text, the header first."""
        header = list(self.table.columns if hasattr(self.table, "columns") else self.table.dtype.names)
        return list(zip(*([name, *map(_cell, self.table[name])] for name in header), strict=True))

    @property
    def _title(self):
        n_tasks = len(self.per_task) // len(self.table)
        folds = f"on the test folds of {n_tasks} tasks"
        return f"{self.score} {folds}; difference, gain and loss are against {self.reference!r}"

    def _found(self):
        """Whether tasks differ, and what each model found, a line each."""
        first = [f"{self.sharing}."] if self.sharing else []
        return first + [f"{name}: {sentence}." for name, sentence in self.findings.items()]

    def _words(self):
        """The same and the verdict, in one text."""
        found = [f"* {line}" for line in self._found()]
        return "\n".join([*found, "", self.verdict] if found else [self.verdict])

    def __str__(self):
        rows = self._cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        return "\n".join([self._title, *lines, "", self._words()])

    def _repr_html_(self):
        def tagged(tag, parts):
            return "".join(f"<{tag}>{html.escape(part)}</{tag}>" for part in parts)

        head, *rows = self._cells()
        lines = [tagged("th", head), *(tagged("td", row) for row in rows)]
        found = tagged("li", self._found())
        words = (f"<ul>{found}</ul>" if found else "") + tagged("p", [self.verdict])
        table = tagged("caption", [self._title]) + "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table>{table}</table>{words}"

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
        return "\n".join([f"{self._title}:", "", *lines, "", self._words()])

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
        model = self.models[0] if model is None else model
        chosen = np.asarray(self.per_task["model"]) == model
        if not chosen.any():
            raise ValueError(f"model={model!r} is not one of {sorted(set(self.per_task['model']))}.")
        gain, task = np.asarray(self.per_task["gain"])[chosen], np.asarray(self.per_task["task"])[chosen]
        order = np.argsort(gain, kind="stable")[: np.count_nonzero(~np.isnan(gain))]  # NaN comes last
        gain, position = 100 * gain[order], np.arange(len(order))
        ax = axes_for("Comparison.plot", ax, (7, 3.5))
        for mask, color, label in [(gain >= 0, "#3274a1", "better"), (gain < 0, "#e1812c", "worse")]:
            ax.bar(position[mask], gain[mask], 0.8, color=color, label=f"{label}: {mask.sum()} tasks")
        ax.axhline(0, color="black", linewidth=0.8)
        few = len(order) <= 30
        ax.set_xticks(position if few else [], task[order] if few else [], rotation=90)
        ax.set(xlabel="tasks, sorted by gain", ylabel=f"test error saved (%)\nagainst {self.reference}")
        ax.set_title(model)
        ax.legend()
        return ax


def tabulated(folds, run, names):
    """A comparison without words, and the rows of `per_task` by model."""
    codes = None if run.labels is None else encode_tasks(run.labels)[1]
    gains = {name: list(_gains(folds, name, run.y.shape, codes, names)) for name in folds.ranked}
    header = f"model mean sd difference p_value tasks_gaining p_tasks {run.measure} seconds"
    tables = _table(_rows(folds, gains, run.measure), header), _table(chain(*gains.values()), PER_TASK)
    score = f"{getattr(run.scorer.metric, '__name__', run.scorer.metric)} ({run.scorer.average})"
    return Comparison(*tables, "", score, folds.reference, folds.ranked), gains


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
        n, error = np.array([row[2:4] for row in gains[name] if row[2]]).T
        error = np.sqrt(error).mean() if measure == "rmse" else n @ error / n.sum()
        sd = standard_deviation(folds.scores[name]) if len(folds.scores[name]) > 1 else np.nan
        tests = *folds.test(name, folds.reference), *sign_test([row[4] for row in gains[name]])
        yield name, folds.mean[name], sd, *tests, error, np.mean(folds.seconds[name])


def sign_test(gains):
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
    if np.isnan(value):
        return "-"
    if 0 < abs(value) < 5e-5:  # not 0.0000
        return f"{value:.0e}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


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
        lost, clearly = (sum(row[part] for row in gains[model]) for part in (5, 6))
        parts.append(
            f"{lost} of {len(gains[model])} tasks lose, {clearly} of them by more than two standard errors."
        )
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
        told = rival in (None, folds.reference, "pooled")
        return f"Use {model!r}" + ("." if told else f": it is {_standing(folds, model, rival)} {rival!r}.")
    if rival == folds.reference and folds.mean[model] > folds.mean[rival]:
        (won, p), n_tasks = sign_test([row[4] for row in gains[model]]), len(gains[model])
        if p < SIGNIFICANCE and won > n_tasks / 2:
            return f"Use {model!r}: {won} of {n_tasks} tasks gain, more than by chance (p = {p:.2g})."
    if rival == "single":
        return "Sharing does not clearly help here: use 'single'."
    higher = folds.ranked.index(rival) < folds.ranked.index(model)
    verb = "scores higher" if higher else "is not clearly worse"
    return f"The simpler {rival!r} ({folds.mean[rival]:.3f}) {verb}: prefer it for prediction."
