"""The result of a comparison: tables, a picture, and what a person should conclude."""

from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from textwrap import fill

import numpy as np
from scipy import stats

from .._labels import encode_tasks
from .._parameters import documented
from .._tables import as_html, as_markdown, as_text, cell, frame, names_of, p_words, tagged
from .._task_scores import gains_and_losses, standard_deviation
from ..inspection import TaskGainDisplay
from ._folds import SIGNIFICANCE

PER_TASK = "model task n_test error gain hurt clearly_hurt gain_std"
WIDTH = 100  # of printed lines
FAILURE = 3.0  # excess of error on one task over all error of another model
ROUNDED = 1e-20  # error of a task, relative to the mean of all, up to which there is none
SHOWN = 4  # tasks that gain, and that lose, most
LEGEND = (
    "mean, sd: of the score over folds; p_value: of the difference, over folds; p_tasks: of a split between "
    "tasks that gain and tasks that lose which is as uneven, by chance"
)
ERRORS = {
    "rmse": "squared error",
    "deviance": "deviance",
    "brier": "Brier score",
    "error_rate": "share of wrong labels",
    "error": "squared error over the variance, or share of wrong labels",
}
BY = {name: f" by their {ERRORS[name]}" for name in ("brier", "error_rate")}  # ranks are by another score
ROWS = {
    "single": "a linear model for each task",
    "pooled": "one for all rows",
    "intercepts": "the same with a level of each task",
    "mean": "no features, the mean of each task",
}


@dataclass
class Comparison:
    """Result of `compare`; that of `suggest` is a `Suggestion`, which holds more.

    Parameters
    ----------
    table : DataFrame or record array
        One row per model, best first: model, mean and sd of the headline score over folds, mean
        difference to the reference and its p_value, the number of tasks that gain and the p-value p_tasks
        of a sign test over tasks, a second measure (rmse: mean over tasks of the root mean squared error;
        deviance, brier, error_rate, or error for tasks of different kinds: mean over labels), and seconds per
        fold.
    per_task : DataFrame or record array
        One row per model and task: model, task, n_test (labels tested), error (mean per label), gain
        over the reference, hurt (it loses more than 0.1%), clearly_hurt (by more than two standard
        errors of its gain as well), gain_std (standard error of the gain, as of a ratio of sums over labels).
    verdict : str
        What follows from it, in words.
    score : str
        Name of the headline score and how it is averaged.
    reference : str
        The model that gains and differences are measured against.
    models : list of str
        The models that were compared with the baselines, best first.
    best : str
        The model to use, as the verdict says.
    dropped : dict of {str: str}
        Models that did not run in all folds, and why.
    estimators : dict of {str: estimator}
        The models and the baselines by name, unfitted; for the data that were given, see `compare` on its
        `task_column`.
    fold_scores : dict of {str: list of float}
        Headline scores of each model on the folds, those without a score left out.
    overlap : float
        Size of a test set over that of its training set, the mean over folds.

    See Also
    --------
    compare : Makes it.
    skmtl.inspection.ComparisonDisplay : A picture of the models, with intervals.
    skmtl.inspection.TaskGainDisplay : A picture of the tasks.

    Notes
    -----
    Data frames if pandas is installed; the columns are read as ``table["mean"]`` in both cases.

    Examples
    --------
    >>> from skmtl import MeanRegularizedRegressor, compare
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> result = compare(MeanRegularizedRegressor(0.1), data.X, data.y, data.tasks, cv=3)
    >>> result.models, result.score, result.reference
    (['MeanRegularizedRegressor'], 'r2_score (pooled)', 'single')
    """

    table: object
    per_task: object
    verdict: str
    score: str
    reference: str
    models: list
    best: str = ""
    dropped: dict = field(default_factory=dict)
    estimators: dict = field(default_factory=dict)
    fold_scores: dict = field(default_factory=dict)
    overlap: float = 0.0

    def _cells(self):
        """The table as text, the header first."""
        columns = {name: self.table[name] for name in names_of(self.table)}
        cells = ([name, *(cell(one, name) for one in column)] for name, column in columns.items())
        return list(zip(*cells, strict=True))

    def _task_cells(self):
        """The model to use, and the same of the tasks that gain and lose most; if it is known at all."""
        model = self.best if self.best in self.models else self.models[0]
        header = ["task", "n_test", "error", "gain", "gain_std"]
        own = np.flatnonzero(np.asarray(self.per_task["model"]) == model)
        gain = np.asarray(self.per_task["gain"])[own]
        ranked = own[np.argsort(-gain, kind="stable")][: np.count_nonzero(~np.isnan(gain))]
        if model == self.reference or not len(ranked):
            return model, [header]
        few = len(ranked) <= 2 * SHOWN
        shown = ranked if few else np.concatenate([ranked[:SHOWN], ranked[-SHOWN:]])
        columns = [np.asarray(self.per_task[name])[shown].tolist() for name in header]
        rows = [list(map(cell, row)) for row in zip(*columns, strict=True)]
        return model, [header, *(rows if few else [*rows[:SHOWN], ["..."] * len(header), *rows[SHOWN:]])]

    @property
    def _title(self):
        n_tasks = len(self.per_task) // len(self.table)
        folds = f"on the test folds of {n_tasks} tasks"
        return f"{self.score} {folds}; difference, gain and loss are against {self.reference!r}"

    @property
    def _legend(self):
        """What columns and baselines are, in a line."""
        rows = [f"{name!r}: {words}" for name, words in ROWS.items() if name in self._baselines]
        return "; ".join([LEGEND, *rows]) + "."

    _baselines = property(lambda self: [name for name in self.table["model"] if name not in self.models])

    def _found(self):
        """Whether tasks differ, and what each model found, a line each."""
        return []

    def _words(self):
        """The same and the verdict, in one text."""
        found = [f"* {line}" for line in self._found()]
        return "\n".join([*found, "", self.verdict] if found else [self.verdict])

    def _tasks_title(self, model, rows):
        most = f", the {SHOWN} of most gain and the {SHOWN} of least" if len(rows) > 2 * SHOWN + 1 else ""
        error = next(words for name, words in ERRORS.items() if name in names_of(self.table))
        saved = f"gain is the share of the error of {self.reference!r} that it saves"
        return f"tasks with {model!r}{most}; error is the mean {error}, {saved}; per_task holds all"

    def __str__(self):
        model, rows = self._task_cells()
        tasks = ["", _wrapped(self._tasks_title(model, rows)), *as_text(rows)] if len(rows) > 1 else []
        words = _wrapped(self._legend), *tasks, "", _wrapped(self._words())
        return "\n".join([self._title, *as_text(self._cells()), *words])

    def _repr_html_(self):
        model, rows = self._task_cells()
        tasks = as_html(rows, self._tasks_title(model, rows)) if len(rows) > 1 else ""
        found = tagged("li", self._found())
        words = (f"<ul>{found}</ul>" if found else "") + tagged("p", [self.verdict])
        return as_html(self._cells(), self._title) + tagged("p", [self._legend]) + tasks + words

    def to_markdown(self):
        """Return the table, what was found and the verdict in Markdown.

        Returns
        -------
        text : str
            A table in the syntax of GitHub, and paragraphs.
        """
        table = as_markdown(self._cells())
        return "\n".join([f"{self._title}:", "", *table, "", self._legend, "", self._words()])

    def plot(self, ax=None, *, model=None):
        """Draw the gain of each task over the reference against its rows, as `TaskGainDisplay` does.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; by default new axes.
        model : str, default=None
            Name of the model; by default the one to use of `suggest`, the best one that is no baseline of
            `compare`.

        Returns
        -------
        ax : matplotlib axes
            With a point for each task, those that gain and lose most named.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the model is unknown.
        """
        return TaskGainDisplay.from_comparison(self, model=model, ax=ax).ax_


@documented
@dataclass
class Suggestion(Comparison):
    """Result of `suggest`: a `Comparison` with the code of the model to use and what models found.

    Parameters
    ----------
    code : str
        Python code that makes the model to use and fits it.
    expected : tuple of float
        Mean score, of the kind `score`, of the models that the same rule takes by the other folds, with what
        the rows of a fold would add, and its standard error.
    params : dict of {str: dict}
        The parameters chosen for each model.
    sharing : str
        Whether the tasks differ at all, by the test of the mixed model.
    findings : dict of {str: str}
        What each model found, in a sentence.

    See Also
    --------
    suggest : Makes it.

    Examples
    --------
    >>> from skmtl import suggest
    >>> from skmtl.datasets import make_multitask_regression
    >>> p = make_multitask_regression(8, 30, 6, structure="mean", task_spread=0.4, random_state=0)
    >>> found = suggest(p.X, p.y, p.tasks, candidates=["MeanRegularizedRegressor", "single"], cv=3)
    >>> "MeanRegularizedRegressor(" in found.code, sorted(found.params[found.best])
    (True, ['model__alpha', 'model__intercept_alpha'])
    """

    code: str = ""
    expected: tuple = ()
    params: dict = field(default_factory=dict)
    sharing: str = ""
    findings: dict = field(default_factory=dict)

    _baselines = property(lambda self: self.models)

    def _found(self):
        first = [f"{self.sharing}."] if self.sharing else []
        worse = {name for name, why in self.dropped.items() if "worse" in why}
        said = {name: f"{name}{' (predicts clearly worse)' * (name in worse)}" for name in self.findings}
        return first + [f"{said[name]}: {sentence}." for name, sentence in self.findings.items()]


def _wrapped(text):
    """Text in lines that a terminal holds."""
    lines = text.split("\n")
    return "\n".join(fill(line, WIDTH, subsequent_indent="  " * line.startswith("* ")) for line in lines)


def tabulated(folds, run, names, result=Comparison):
    """A comparison, of that class, without words, and the rows of `per_task` by model."""
    codes = None if run.labels is None else encode_tasks(run.labels)[1]
    gains = {name: _gains(folds, name, run.y.shape, codes, names) for name in folds.ranked}
    header = f"model mean sd difference p_value tasks_gaining p_tasks {run.measure} seconds"
    tables = _table(_rows(folds, gains, run.measure), header), _table(chain(*gains.values()), PER_TASK)
    score = f"{getattr(run.scorer.metric, '__name__', run.scorer.metric)} ({run.scorer.average})"
    known = {"fold_scores": folds.scores, "overlap": folds.overlap}
    return result(*tables, "", score, folds.reference, folds.ranked, **known), gains


@np.errstate(divide="ignore", invalid="ignore")  # what a task has no labels for is NaN
def _gains(folds, model, shape, codes, names):
    """The rows of `per_task` for one model."""
    errors, reference = folds.label_errors(model, shape), folds.label_errors(folds.reference, shape)
    seen, T = ~np.isnan(errors), len(names)
    codes = np.broadcast_to(np.arange(T), shape)[seen] if codes is None else codes[seen]
    errors, reference, n = errors[seen], reference[seen], np.bincount(codes, minlength=T)
    error, known = (np.bincount(codes, v, T) for v in (errors, reference))
    lost = np.where(error > ROUNDED * known.mean(), -np.inf, np.nan)  # what was known without an error
    gain = np.where(known > 0, 1 - error / known, lost)
    # that of one less a ratio of sums over labels; NaN for too few of these
    sd = _standard_deviations(errors - (1 - gain)[codes] * reference, codes, n) * np.sqrt(n) / known
    sd = np.where(n < 3, np.nan, sd)
    _, loses, surely = gains_and_losses(gain, sd)
    columns = names, n, error / n, gain, loses, loses & surely, sd
    return [(model, *row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _standard_deviations(values, codes, n):
    """`standard_deviation` of the values of each task."""
    unit = np.zeros(len(n))
    np.maximum.at(unit, codes, np.abs(values))
    unit = np.where((unit > 0) & (unit < np.inf), unit, 1.0)
    values = values / unit[codes]
    off = values - (np.bincount(codes, values, len(n)) / n)[codes]
    return unit * np.sqrt(np.bincount(codes, off**2, len(n)) / (n - 1))


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
    won, lost = (int(which.sum()) for which in gains_and_losses(gains)[:2])
    return won, stats.binomtest(won, won + lost).pvalue if won + lost else np.nan


def _table(rows, header):
    return frame(dict(zip(header.split(), zip(*rows, strict=True), strict=True)))


def tasks_won(gains, model, other):
    """`sign_test` of one model against another one, which need not be the reference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        own, their = (np.array([row[3] for row in gains[name]]) for name in (model, other))
        return sign_test(1 - own / their)


def tasks_against(gains, model, other, clear, measure):
    """What the tasks say against folds by which a model is clearly better (1), worse (-1) or neither (0).

    Words behind a comma, none where they agree or may split like that by chance.
    """
    (won, p), (lost, _) = tasks_won(gains, model, other), tasks_won(gains, other, model)
    if not p < SIGNIFICANCE or np.sign(won - lost) == clear:
        return ""
    n, verb = (won, "gain") if won > lost else (lost, "lose")
    return f", but {n} of {len(gains[model])} tasks {verb}{BY.get(measure, '')}, {p_words(p)}"


def failing(gains, model, other, apart):
    """The task on which a model has far more error than another one in all, and how many times as much there.

    None where there is no such task. Tasks that are `apart` count the same. The spread of scores over folds
    is then that of one task: a test of their mean tells nothing.
    """
    (n, own), (_, their) = (np.array([row[2:4] for row in gains[name]]).T for name in (model, other))
    seen = (n > 0) & (their > 0)
    weight = np.where(seen, 1 / np.where(seen, their, 1.0) if apart else n, 0.0)
    excess, whole = weight * np.where(seen, own - their, 0.0), weight @ np.where(seen, their, 0.0)
    t = int(excess.argmax())
    return (gains[model][t][1], own[t] / their[t]) if excess[t] > FAILURE * whole else None


def untested(gains):
    """A sentence on the tasks without a test row, behind a space, if there are such."""
    n = sum(not row[2] for row in gains)
    said = f" {n} of {len(gains)} tasks with too few rows for a test set only train, without a score."
    return said * (n > 0)


def losses(gains, reference, measure):
    """How many tasks lose, in a sentence."""
    lost, clearly = (sum(row[part] for row in gains) for part in (5, 6))
    by = BY.get(measure, "")
    if not lost:
        return f"No task loses against {reference!r}{by.replace('their', 'its')}."
    sure = f", {clearly} of them by more than two standard errors" if clearly else ", none of them clearly"
    tested = sum(bool(row[2]) for row in gains)
    return f"{lost} of {tested} tasks lose against {reference!r}{by}{sure}."


def _verdict(folds, gains, estimators, run):
    """The model to use, and what a person should conclude and do."""
    measure, fails = run.measure, partial(failing, gains, apart=run.scorer.average == "macro")
    standing = partial(_standing, folds, gains=gains, measure=measure, fails=fails)
    reference, mean = folds.reference, folds.mean
    model = next(name for name in folds.ranked if name in estimators)
    parts = []
    for name in dict.fromkeys([reference, "pooled"]):
        if name in mean and name != model:
            parts.append(f"{standing(model, name)} {name!r} ({mean[name]:.3f})")
    parts = [f"{model!r} ({mean[model]:.3f}) is {'. It is '.join(parts)}."] if parts else []
    gain = mean[model] - mean[reference]
    # else they are no part of the gain
    levels = mean.get("intercepts", -np.inf) > mean.get("pooled", -np.inf)
    if levels and reference != "intercepts" and gain > 0:
        share = max(mean["intercepts"] - mean[reference], 0) / gain
        found = f"score {mean['intercepts']:.3f}"
        if folds.clearly_better(model, reference):  # else the gain may be nothing
            found = f"bring {'all' if share > 1 else f'{share:.0%}'} of its gain over {reference!r}"
        parts.append(f"Levels of the tasks alone ('intercepts') {found}.")
    if model != reference:
        parts.append(losses(gains[model], reference, measure))
    best, advice = _advice(folds, model, estimators, gains, measure, fails, standing)
    return {"best": best, "verdict": " ".join([*parts, advice]) + untested(gains[model])}


def _standing(folds, model, other, gains, measure, fails):
    """How the scores of two models compare, with p-values or the task on which one of them fails."""
    p, than = folds.test(model, other)[1], "than"
    clear = int(folds.clearly_better(model, other)) - int(folds.clearly_better(other, model))
    if folds.alike(model, other):
        words, reason, than = "no different", "", "from"
    elif clear:
        words, reason = f"clearly {'better' if clear > 0 else 'worse'}", p_words(p)
    elif task := fails(model, other) or fails(other, model):
        words, whose = ("worse", "it") if fails(model, other) else ("better", "the latter")
        reason = f"{whose} fails on task {task[0]!r}, with {task[1]:.3g} times the error"
    else:
        words, reason, than = "not clearly different", "" if np.isnan(p) else p_words(p), "from"
    reason = (reason + tasks_against(gains, model, other, clear, measure)).removeprefix(", ")
    return f"{words} ({reason}) {than}" if reason else f"{words} {than}"


def _advice(folds, model, estimators, gains, measure, fails, standing):
    """The model to use, a baseline unless the best multi-task model clearly beats them all, and the words."""
    rival = next((name for name in folds.ranked if name not in estimators), None)
    if rival is None or folds.clearly_better(model, rival):
        told = rival in (None, folds.reference, "pooled")
        reason = "" if told else f": it is {standing(model, rival)} {rival!r}"
        return model, f"Use {model!r}{reason}."
    if fails(rival, model):
        return model, f"Use {model!r}: it is {standing(model, rival)} {rival!r}."
    (won, p), n_tasks = tasks_won(gains, model, rival), len(gains[model])
    more = f"{won} of {n_tasks} tasks gain over {rival!r}{BY.get(measure, '')}"
    if rival != "pooled" and folds.mean[model] > folds.mean[rival] and p < SIGNIFICANCE and won > n_tasks / 2:
        return model, f"Use {model!r}: {more}, more than by chance ({p_words(p)})."
    if rival == "single":
        return rival, "Sharing does not clearly help here: use 'single', estimators['single']."
    higher = folds.ranked.index(rival) < folds.ranked.index(model)
    verb = "scores higher" if higher else "is not clearly worse"
    advice = f"Prefer it for prediction: estimators[{rival!r}]."
    return rival, f"The simpler {rival!r} ({folds.mean[rival]:.3f}) {verb}: by {model!r} {more}. {advice}"
