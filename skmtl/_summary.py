"""A fitted model as tables: coefficients by name, strengths, and what the fit says about itself."""

from dataclasses import dataclass, field

import numpy as np

from ._figures import fit_figures, fit_warnings, in_words, strengths
from ._fitted import INTERCEPT, fitted_coefficients, layers
from ._tables import as_html, as_text, cell, frame, tagged

SHOWN_TASKS, SHOWN_FEATURES, WITH_ERRORS = 12, 7, 3  # printed; the tables hold all
AROUND = {  # an attribute of what stands around the model, and what follows for the numbers
    "task_estimator_": "coefficients are of what the mean of all tasks leaves, and not of y",
    "regressor_": "coefficients are of the transformed target, and not of y",
}


@dataclass(repr=False)
class Summary:
    """A fitted model in tables, as `skmtl.summary` returns it.

    Tables are data frames if pandas is installed, with the tasks (and classes) as their index and a column
    for each feature behind "(intercept)"; else record arrays, the tasks in a column of their own.

    Parameters
    ----------
    name : str
        Class of the model.
    coef : DataFrame or record array
        Intercepts and coefficients.
    std : DataFrame, record array or None
        Their standard errors, where the model knows them.
    parts : dict of {str: DataFrame or record array}
        Summands of the coefficients, where the model writes them as a sum.
    strengths : dict of {str: float or ndarray}
        Strengths and variances, those that the fit has found in the place of "auto".
    fit : dict of {str: float}
        Objective, duality gap and iterations.
    warnings : list of str
        What to know before numbers are read.
    rows, features : list of str
        Names of the rows (tasks, or tasks and classes) and of the features.
    common : dict of {str: tuple of float}
        Intercept and coefficients that all tasks share, with standard errors, of models that know these.

    See Also
    --------
    summary : Makes it.

    Examples
    --------
    >>> from skmtl import MeanRegularizedRegressor, summary
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> table = summary(MeanRegularizedRegressor(0.1).fit(data.X, data.y, tasks=data.tasks))
    >>> table.name, len(table.rows), table.features[:2]
    ('MeanRegularizedRegressor', 4, ['x0', 'x1'])
    """

    name: str
    coef: object
    std: object
    parts: dict
    strengths: dict
    fit: dict
    warnings: list
    rows: list
    features: list
    common: dict = field(default_factory=dict)

    def __repr__(self):
        return str(self)

    _n_shown = property(lambda self: SHOWN_FEATURES if self.std is None else WITH_ERRORS)

    def _cells(self):
        """What is printed: the first and last tasks, and the features of greatest coefficients."""
        values = {name: np.asarray(self.coef[name]) for name in [INTERCEPT, *self.features]}
        errors = None if self.std is None else {name: np.asarray(self.std[name]) for name in values}
        size = [np.nansum(values[name] ** 2) for name in self.features]
        features = [self.features[j] for j in np.argsort(size, kind="stable")[::-1][: self._n_shown]]
        n, ends = len(self.rows), SHOWN_TASKS // 2
        shown = list(range(n)) if n <= SHOWN_TASKS else [*range(ends), *range(n - ends, n)]
        table = [["task", INTERCEPT, *features]]
        if self.common:
            own = (self.common[name] for name in table[0][1:])
            table.append(["(all)", *(f"{cell(value)} ±{cell(error)}" for value, error in own)])
        for i in shown:
            found = [cell(values[name][i]) for name in table[0][1:]]
            if errors is not None:
                own = (errors[name][i] for name in table[0][1:])
                found = [f"{one} ±{cell(error)}" for one, error in zip(found, own, strict=True)]
            table.append([self.rows[i], *found])
        if n > SHOWN_TASKS:
            table.insert(len(table) - ends, ["...", *[""] * (len(table[0]) - 1)])
        return table

    def _lines(self):
        """What is said above the table, a line each."""
        lines = [f"{name}: {text}" for name, text in (
            ("strengths", in_words(self.strengths, self.features)), ("fit", in_words(self.fit)),
        ) if text]  # fmt: skip
        if self.parts:
            lines.append(f"parts: {', '.join(self.parts)}")
        return lines + [f"beware: {text}" for text in self.warnings]

    @property
    def _caption(self):
        n, p = len(self.rows), len(self.features)
        errors = " ± standard errors" if self.std is not None else ""
        which = "" if p <= self._n_shown else f", the {self._n_shown} greatest shown"
        hint = "; .coef holds all" if n > SHOWN_TASKS or p > self._n_shown else ""
        return f"{_counted(n, 'row')} of coefficients{errors}, {_counted(p, 'feature')}{which}{hint}"

    def __str__(self):
        lines = [self.name, *(f"  {line}" for line in self._lines()), "", f"{self._caption}:"]
        return "\n".join([*lines, *as_text(self._cells())])

    def _repr_html_(self):
        said = tagged("li", self._lines())
        return f"{tagged('b', [self.name])}<ul>{said}</ul>{as_html(self._cells(), self._caption)}"


def _counted(n, what):
    return f"{n} {what}{'s' * (n != 1)}"


def summary(estimator, *, feature_names=None):
    """Summarize a fitted model: coefficients by task and feature, standard errors, strengths, fit.

    Parameters
    ----------
    estimator : estimator
        A fitted linear model with tasks, or `SingleTask` of linear models; also at the end of a Pipeline and
        in a search, whose best estimator is read.
    feature_names : sequence of str, default=None
        Names of the features without the task column. By default those seen in fit, behind the steps of a
        Pipeline those that these put out, else x0, x1, ...

    Returns
    -------
    summary : Summary
        Print it, or use its tables `coef`, `std`, `parts`, and `strengths`, `fit` and `warnings`.

    Raises
    ------
    TypeError
        If there are no coefficients of tasks to be read.
    ValueError
        If `feature_names` are not as many as there are features, or some are named twice.

    See Also
    --------
    skmtl.inspection.CoefficientDisplay : A picture of the coefficients.

    Examples
    --------
    >>> from skmtl import MeanRegularizedRegressor, summary
    >>> from skmtl.datasets import load_hsb82
    >>> data = load_hsb82(as_frame=True)
    >>> X = data.data[["school", "ses"]]
    >>> model = MeanRegularizedRegressor("auto", intercept_alpha="auto", task_column="school")
    >>> found = summary(model.fit(X, data.target))
    >>> found.coef.loc["1224"].round(2).to_dict()
    {'(intercept)': 11.05, 'ses': 2.47}
    >>> list(found.std)
    ['(intercept)', 'ses']
    """
    found = fitted_coefficients(estimator, feature_names, errors=True)
    names = [INTERCEPT, *found.features]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"feature_names must differ from each other; found {twice[:5]} more than once.")
    index = {"task": found.tasks}
    if any(one is not None for one in found.classes):
        index["class"] = ["" if one is None else one for one in found.classes]

    def table(coef, intercept=None):
        first = {} if intercept is None else {INTERCEPT: intercept}
        return frame({**first, **dict(zip(found.features, coef.T, strict=True))}, index)

    std = None if found.coef_std is None else table(found.coef_std, found.intercept_std)
    parts = {name: table(V) for name, V in found.parts.items()}
    name, model = type(found.model).__name__, found.model
    around = [text for layer in layers(estimator) for own, text in AROUND.items() if hasattr(layer, own)]
    return Summary(
        name, table(found.coef, found.intercept), std, parts, strengths(model), fit_figures(model),
        [*around, *fit_warnings(model, found.features)], found.rows, found.features,
        {} if std is None else _common(model, names),
    )  # fmt: skip


def _common(model, names):
    """What all tasks share, by name, with standard errors; empty where a model has none, or several."""
    try:
        values = np.append(model.mean_intercept_, model.mean_coef_)
        errors = np.append(model.mean_intercept_std_, model.mean_coef_std_)
    except (AttributeError, ValueError):
        return {}
    pairs = zip(values.tolist(), errors.tolist(), strict=True)
    return dict(zip(names, pairs, strict=True)) if len(values) == len(names) and model.n_tasks_ > 1 else {}
