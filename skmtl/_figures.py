"""What a fit says about itself in a few numbers, and where a notebook shows it."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._labels import readable
from ._sklearn import visual_block
from ._tables import as_html, tagged

STRENGTHS = (
    "alpha", "intercept_alpha", "mean_alpha", "head_alpha", "ridge", "l1_ratio", "shared_ratio",
    "sparse_ratio", "noise_variance", "intercept_variance", "deviation_variance",
)  # fmt: skip
PARTS = (("shared", "private"), ("low_rank", "sparse"))  # of which coefficients are the sum, in some models
LISTED = 6  # tasks, or variances, that are named


def shortened(items):
    """The first few of some items in words."""
    items = [str(item) for item in items]
    return ", ".join(items[:LISTED]) + (f" and {len(items) - LISTED} more" if len(items) > LISTED else "")


def strengths(model):
    """{name: number} of the strengths of a fitted model, those that it has found in the place of "auto"."""
    found = {}
    for name in STRENGTHS:
        value = getattr(model, f"{name}_", getattr(model, name, None))
        if isinstance(value, (int, float, np.floating, np.ndarray)) and not isinstance(value, bool):
            found[name] = value
    return {name: value for name, value in found.items() if np.any(value) or name in ("alpha",)}


def fit_figures(model):
    """{name: number}: objective, duality gap and iterations of a fitted model, as far as it has them."""
    named = {"objective": "objective_", "dual_gap": "dual_gap_", "loss": "loss_", "n_iter": "n_iter_"}
    found = {name: getattr(model, attribute, None) for name, attribute in named.items()}
    return {name: value for name, value in found.items() if value is not None}


def fit_warnings(model, names=None):
    """Sentences on what is to be known of a fit before its numbers are read; `names` are of the features."""
    found, gap = [], getattr(model, "dual_gap_", None)
    n_iter, most = getattr(model, "n_iter_", None), getattr(model, "max_iter", None)
    if np.ndim(n_iter) == 0 and n_iter is not None and most is not None and n_iter >= most:
        found.append(f"stopped at max_iter={most} before the solver was done")
    if gap is not None and np.isnan(gap).all():
        found.append("no certificate: the distance to the optimum is not known (dual_gap_ is NaN)")
    coef = getattr(model, "coef_", None)
    if coef is not None and not np.any(coef):
        found.append("all coefficients are zero")
    for name in ("intercept", "deviation"):
        if np.all(getattr(model, f"{name}_variance_", 1) == 0):
            found.append(f"the estimated {name} variance is zero: rows do not show that tasks differ in it")
    constant = getattr(model, "constant_features_", ())
    if len(constant):
        named = [] if names is None else [names[j] for j in constant]
        listed = shortened(named) or f"{len(constant)} of the features"
        found.append(
            f"constant within every task, so that tasks' deviations there are not told from those of their "
            f"intercepts: {listed}"
        )
    if added := getattr(model, "added_tasks_", None):
        found.append(f"tasks added by fit_task, not part of the joint fit: {shortened(added)}")
    return found


def _number(value, names=None):
    """A number with four digits, or the first few of some; the greatest by name, where these are known.

    Of a matrix of covariances the variances.
    """
    if np.ndim(value) == 0 or len(names or ()) != len(value):
        return shortened([f"{v:.4g}" for v in np.ravel(value)])
    value = np.diagonal(value) if np.ndim(value) == 2 else value
    order = np.argsort(-value, kind="stable") if len(value) > LISTED else range(len(value))
    return shortened([f"{value[j]:.4g} ({names[j]})" for j in order])


def in_words(figures, features=None):
    """Figures in one line of text; those of features with their names, where these are known."""
    named = {name: features if name == "deviation_variance" else None for name in figures}
    return ", ".join(f"{name} {_number(value, named[name])}" for name, value in figures.items())


class FittedReprMixin(BaseEstimator):
    """Shows in a notebook which tasks a fitted model has, its strengths, its gap and what to beware of."""

    @available_if(lambda self: _is_fitted(self) and not _wraps(self))
    def _sk_visual_block_(self):
        named = {"names": type(self).__name__, "name_details": str(self), "name_caption": _caption(self)}
        return visual_block("single", self, **named)

    def _html_repr(self):
        page = super()._html_repr()
        return page + _details(self) if _is_fitted(self) else page


def _is_fitted(model):
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return hasattr(model, "n_tasks_")


def _wraps(model):
    """Whether there are estimators among the parameters: scikit-learn draws these."""
    return any(hasattr(value, "fit") for value in model.get_params(deep=False).values())


def _caption(model):
    """A line for a diagram in which the model is a part."""
    gap = getattr(model, "dual_gap_", np.nan)
    certificate = "" if np.ndim(gap) or np.isnan(gap) else f" · gap {gap:.1e}"
    tasks = f"{model.n_tasks_} task{'s' * (model.n_tasks_ != 1)}"
    return f"{tasks}{certificate}{' · see warnings' if fit_warnings(model) else ''}"


def parts_of(model):
    """{name: array of the shape of `coef_`} of the parts of which coefficients are the sum."""
    for names in PARTS:
        found = {name.replace("_", " "): getattr(model, f"{name}_coef_", None) for name in names}
        if all(V is not None for V in found.values()):
            return found
    return {f"part {k}": V for k, V in enumerate(getattr(model, "part_coefs_", ()), 1)}


def _in_use(V):
    V = np.reshape(V, (-1, np.shape(V)[-1]))
    n_features = np.count_nonzero(V.any(axis=0))
    return f"{np.count_nonzero(V)} of {V.size} coefficients, {n_features} features in use"


def _details(model):
    """A table of the figures of a fit, and its warnings."""
    rows = [["", "fitted"], ["tasks", f"{model.n_tasks_}: {shortened(readable(model.tasks_))}"]]
    figures = {**strengths(model), **fit_figures(model)}
    rows += [[name, _number(value)] for name, value in figures.items()]
    rows += [[name, _in_use(V)] for name, V in parts_of(model).items()]
    if hasattr(model, "outlier_tasks_"):
        rows.append(["outlier tasks", shortened(readable(model.outlier_tasks_)) or "none"])
    page = as_html(rows, type(model).__name__)
    said = tagged("li", fit_warnings(model))
    return f"<details open><summary>Fit</summary>{page}{said and f'<ul>{said}</ul>'}</details>"
