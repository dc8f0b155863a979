"""What a fitted model says about the tasks and the features, in a sentence."""

import numpy as np

from ._figures import shortened
from ._tables import p_words
from .comparison import SIGNIFICANCE

MOST = 0.9  # of the squared coefficients of single tasks; the others deviate as all do
NEARLY_ALL = 0.99  # of the squared coefficients; the rank that predicts best counts traces as well


def finding(model, params, names):
    """What a fitted linear model says about the tasks and the features, and its parameters."""
    name = type(model).__name__.removesuffix("Regressor").removesuffix("Classifier")
    chosen = {key.rpartition("__")[2]: value for key, value in params.items()}
    if model.alpha == "auto":
        chosen = {"alpha": model.alpha_, "intercept_alpha": model.intercept_alpha_}
    short = {key: f"{v:.3g}" if isinstance(v, float) else str(v) for key, v in chosen.items()}
    return f"{FINDINGS[name](model, names)} ({', '.join(map('='.join, short.items()))})"


def _features(found, coef, names):
    """Some features by the size of their coefficients, so that none is left out for a weaker one."""
    size = np.linalg.norm(_flat(coef)[:, found], axis=0)
    order = found[np.argsort(-size, kind="stable")]
    return "strongest first: " + shortened(f"x{j}" if names is None else names[j] for j in order)


def _common(model, names):
    share = np.sum(np.square(model.deviation_coef_)) / max(np.sum(np.square(model.coef_)), 1e-300)
    text = f"Tasks deviate from a common model: {share:.0%} of the squared coefficients are their own"
    if not isinstance(model.alpha, str):
        return text
    variance = np.broadcast_to(model.deviation_variance_, model.n_features_in_)
    differing = np.setdiff1d(np.flatnonzero(variance > 0), model.constant_features_)
    if np.ndim(model.deviation_variance_) == 0 or not len(differing):
        return text if len(differing) else "Tasks have the same slopes"
    listed = _features(differing, np.sqrt(variance), names)
    return f"{text}, in {len(differing)} of {len(variance)} features, {listed}"


def sharing(tests):
    """Whether slopes and intercepts differ between tasks, in words."""
    words = {True: "differ", False: "do not clearly differ"}
    known = ((name, test.p_value) for name, test in tests.items() if not np.isnan(test.p_value))
    said = (f"{name} {words[bool(p < SIGNIFICANCE)]} between tasks ({p_words(p)})" for name, p in known)
    return "; ".join(said).capitalize()


def _support(model, names):
    n, p, in_use = len(model.support_), model.coef_.shape[-1], f"in use{_beyond(model)}"
    if n in (0, p):
        return f"All {p} features are {in_use}" if n else f"No feature is {in_use}"
    coef = model.coef_ if model.mean_alpha is None else model.deviation_coef_
    listed = _features(model.support_, coef, names)
    return f"{n} of {p} features are {in_use}, the same for all tasks, {listed}"


def _rank(model, names):
    most, held = min(model.n_tasks_, model.coef_.shape[-1]), np.cumsum(model.singular_values_**2)
    text = f"The tasks' coefficients span {model.rank_} of {most} directions{_beyond(model)}"
    needed = np.count_nonzero(held < NEARLY_ALL * held[-1:]) + 1
    if needed >= model.rank_:
        return text
    hold = "holds" if needed == 1 else "hold"
    return f"{text}, {needed} of them {hold} {NEARLY_ALL:.0%} of the squares"


def _codes(model, names):
    used = np.count_nonzero(model.codes_.any(axis=0))
    return f"The tasks' coefficients are mixtures of {used} pattern{'' if used == 1 else 's'}{_beyond(model)}"


def _parts(model, names):
    shared = np.flatnonzero(_flat(model.shared_coef_).any(axis=0))
    private = np.count_nonzero(_flat(model.private_coef_))
    listed = f" ({_features(shared, model.shared_coef_, names)})" if len(shared) else ""
    return f"{len(shared)} features are shared{listed}, {private} coefficients are private"


def _flat(coef):
    return np.reshape(coef, (-1, np.shape(coef)[-1]))


def _beyond(model):
    """What a support or a rank leaves out, in words."""
    return "" if model.mean_alpha is None else " beyond the common model"


def _outliers(model, names):
    size = np.square(model.private_coef_).reshape(model.n_tasks_, -1).sum(axis=1)
    order, held = np.argsort(-size, kind="stable"), np.cumsum(np.sort(size)[::-1])
    apart = order[: np.count_nonzero(held < MOST * held[-1]) + 1]
    if 2 * len(apart) > len(size) or not size.any():
        return "No task stands apart from a majority"
    found = model.tasks_[np.sort(apart)].tolist()
    return f"{len(found)} of {len(size)} tasks stand apart: {shortened(found)}"


def _clusters(model, names):
    groups = [model.tasks_[model.labels_ == c].tolist() for c in range(model.labels_.max() + 1)]
    return f"{len(groups)} clusters of tasks: " + "; ".join(f"[{shortened(group)}]" for group in groups)


def _relations(model, names):
    known = model.task_correlation_
    C = known - 2 * np.eye(model.n_tasks_)
    s, t = np.unravel_index(np.argmax(C), C.shape)
    middle = np.median(known[np.triu_indices(model.n_tasks_, 1)])
    most = f"{model.tasks_[s]} and {model.tasks_[t]} ({C[s, t]:.2f})"
    return f"Coefficients of two tasks correlate by {middle:.2f} in the median, most those of {most}"


FINDINGS = {
    "MeanRegularized": _common, "GroupSparse": _support, "TraceNorm": _rank, "LatentBasis": _codes,
    "Dirty": _parts, "Robust": _outliers, "Clustered": _clusters, "TaskRelationship": _relations,
}  # fmt: skip
