"""What must hold of a fit, each told as a function of a case that returns what is wrong, or None."""

import copy
import pickle
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace

import joblib
import numpy as np
from conftest import NETWORKS
from fuzz_cases import LINEAR, kind, loss_of, make_form, make_model, make_rows, variant_parameters
from fuzz_fits import (
    TOL,
    Fit,
    at_its_strengths,
    both,
    close_predictors,
    data_term,
    fitted,
    is_raw,
    null_scale,
    penalty_term,
    same_optimum,
    second,
)
from scipy import sparse
from scipy.special import expit, softmax


def objective(case):
    """`objective_` is the objective at `coef_` and `intercept_`."""
    fit = fitted(case)
    if hasattr(fit.model, "log_marginal_likelihood_"):
        case = replace(case, task_weight="samples")  # by default where strengths are estimated
    own = data_term(
        case, fit.form.rows, fit.predictor(), getattr(fit.model, "classes_", None)
    ) + penalty_term(fit.model)
    slack = TOL * max(null_scale(case, fit.form.rows), abs(own)) + 1e-300
    lost = fit.rounding().max()  # of a predictor: slopes of classes are at most one
    slack += lost * (1.0 if kind(case) == "classifier" else np.sqrt(abs(own)) + lost)
    if isinstance(fit.model.intercept_alpha, float):  # times the squares of what rounding moves intercepts by
        slack += fit.model.intercept_alpha * lost**2
    if not abs(own - fit.model.objective_) <= slack:
        return f"objective_ is {fit.model.objective_:.8g}, at coef_ and intercept_ it is {own:.8g}"
    return None


def gap(case):
    """`dual_gap_` bounds the objective minus that of a far tighter run, near the optimum and away from it."""
    fit = fitted(case)
    if np.isnan(fit.model.dual_gap_):
        return None
    scale = null_scale(case, fit.form.rows)
    tight = fitted(case, form=fit.form, tol=1e-9, max_iter=2000, check=False)
    for one in (fit, fitted(case, form=fit.form, tol=0.3)):
        low, best = one.bounds[0], tight.model.objective_
        slack = TOL * scale + 1e-12 * abs(low) + 1e-15 * np.abs(fit.form.rows.y).max() ** 2 + 1e-300
        if one.model.dual_gap_ < 0 or low > best + slack:
            return f"objective_ - dual_gap_ is {low:.8g}, but {best:.8g} was found"
    if not fit.warned and fit.model.dual_gap_ > 1e-3 * max(scale, fit.model.objective_) + slack:
        return f"dual_gap_ {fit.model.dual_gap_:.3g} without a warning (scale {scale:.3g})"
    return None


def predict(case):
    """predict is X w + b, through the link or to the class."""
    fit = fitted(case)
    eta, found = fit.predictor(), fit.predicted()
    if kind(case) == "mixed":
        return None
    if kind(case) == "classifier":
        classes = fit.model.classes_
        best = (eta[:, 0] > 0).astype(int) if eta.shape[1] == 1 else eta.argmax(axis=1)
        margin = np.abs(eta[:, 0]) if eta.shape[1] == 1 else -np.diff(-np.sort(-eta, axis=1))[:, 0]
        if isinstance(classes, list):
            return None
        wrong = (np.asarray(classes)[best] != found) & (margin > 1e-9 + 2 * fit.rounding())
        return f"{wrong.sum()} classes are not those of X w + b" if wrong.any() else None
    mean = np.exp(eta[:, 0]) if loss_of(case) == "poisson" else eta[:, 0]
    size = np.abs(mean).max() + np.abs(fit.form.rows.y).max() + 1e-300
    off, rounding = np.abs(mean - found).max() / size, np.max(fit.rounding()) / size
    return f"predict is off X w + b by {off:.2g}" if off > 1e-7 + rounding else None


def probabilities(case):
    """predict_proba is the link of decision_function and adds up to one."""
    fit = fitted(case)
    if not hasattr(fit.model, "predict_proba") or kind(case) == "mixed":
        return None
    p = fit.model.predict_proba(**fit.form.ask)
    if isinstance(p, list):
        return (
            None if all(np.allclose(own.sum(axis=1), 1) for own in p) else "probabilities do not add up to 1"
        )
    if np.asarray(fit.form.fit["y"]).ndim == 1 and not np.allclose(p.sum(axis=-1), 1):
        return "probabilities do not add up to 1"
    if not hasattr(fit.model, "decision_function"):
        return None
    eta = fit.model.decision_function(**fit.form.ask)
    several = eta.shape == p.shape and p.ndim > np.ndim(fit.form.fit["y"])
    own = softmax(eta, axis=-1) if several else expit(eta)
    p = p[:, 1] if p.ndim == eta.ndim + 1 and p.shape[-1] == 2 else p
    return (
        None
        if p.shape == own.shape and np.allclose(p, own, atol=1e-9)
        else "probabilities are not those of the scores"
    )


def refit(case):
    """A second fit of one object is that of a fresh one, bit by bit."""
    fit = fitted(case)
    other = replace(case, n_tasks=case.n_tasks + 1, seed=case.seed + 1, target="plain", weights="none")
    form = make_form(other, make_rows(other))
    model = make_model(other, form.labels, **form.params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(**form.fit)
        model.set_params(**make_model(case, fit.form.labels, **fit.form.params).get_params(deep=False))
        second(model.fit, **fit.form.fit)
    a, b = fit.predicted(), Fit(model, fit.form, []).predicted()
    same = a.tolist() == b.tolist()
    if not same and a.dtype.kind == "f":
        same = np.array_equal(a, b, equal_nan=True)
    return None if same else "a second fit differs from a fresh one"


def untouched(case):
    """The arguments of fit and predict stay as they were."""
    form = make_form(case, make_rows(case))
    before = joblib.hash(numbers(form.fit))
    fit = fitted(case, form=form)
    again = pickle.loads(pickle.dumps(fit.model))
    if again.predict(**form.ask).tolist() != fit.model.predict(**form.ask).tolist():
        return "a copy by pickle predicts otherwise"
    return None if joblib.hash(numbers(form.fit)) == before else "fit or predict changed its arguments"


def numbers(arguments):
    """What arguments hold, without what sparse matrices remember of themselves."""
    parts = {key: value for key, value in arguments.items() if sparse.issparse(value)}
    return {**arguments, **{key: (X.data, X.indices, X.indptr) for key, X in parts.items()}}


def refused(case):
    """A call that is refused leaves the fitted model as it was."""
    fit = fitted(case)
    before = fit.predicted().tolist()
    bad = dict(fit.form.fit)
    how = case.seed % 4
    if how == 0:
        bad["y"] = np.asarray(bad["y"], dtype=float)[:-1]
    elif how == 1:
        bad["y"] = np.full(np.asarray(bad["y"]).shape, np.inf)
    elif how == 2:
        bad["sample_weight"] = -np.ones(len(fit.form.fit["y"]))
    else:
        bad["tasks"] = np.arange(len(fit.form.fit["y"]) + 3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit.model.fit(**bad)
    except Exception as error:
        if is_raw(error):
            raise
    else:
        return (
            f"a malformed call ({('y short', 'y inf', 'negative weights', 'tasks long')[how]}) was accepted"
        )
    try:
        after = fit.predicted().tolist()
    except Exception as error:
        return f"after a refused call predict fails: {type(error).__name__}"
    return None if str(after) == str(before) else "a refused call changed the predictions"


def row_order(case):
    """The order of the rows says nothing."""
    rows = make_rows(case)
    order = np.random.default_rng(1).permutation(len(rows.y))
    a, b = fitted(case, rows), second(fitted, case, rows.take(order))
    return same_optimum(a, aligned(b, rows, order), case)


def aligned(fit, rows, order):
    """A fit of rows in another order, asked in the order of the first."""
    form = fit.form
    inverse = np.argsort(order)
    moved = copy.copy(form)
    moved.rows = form.rows.take(inverse)
    if np.asarray(form.fit["y"]).ndim == 1:
        predictions = form.of_rows

        def of_rows(predicted):
            return predictions(predicted)[inverse]

        moved.of_rows = of_rows
    return Fit(fit.model, moved, fit.said)


def task_order(case):
    """The names of the tasks, and with them their order, say nothing."""
    rows = make_rows(case)
    turned = replace(rows, t=rows.n_tasks - 1 - rows.t)
    a, b = fitted(case, rows), second(fitted, case, turned)
    return same_optimum(a, b, case)


def column_order(case):
    """The order of the columns says nothing."""
    rows = make_rows(case)
    return both(case, rows, replace(rows, X=rows.X[:, ::-1].copy()))


def labels(case):
    """Labels of another type say nothing."""
    kinds = ("int", "str", "float", "negative", "big", "date", "tuple")
    rows = make_rows(case)
    return both(
        case, rows, rows, replace(case, labels=kinds[(kinds.index(case.labels) + 1 + case.seed % 6) % 7])
    )


def layouts(case):
    """Stacked rows, a task column and a shared design are one problem."""
    rows = make_rows(case)
    a = fitted(case, rows)
    shared = case.layout in ("shared", "missing")
    others = ("stacked", "column", *(("missing",) if shared else ()))
    other = [name for name in others if name != case.layout][case.seed % (len(others) - 1)]
    if isinstance(getattr(a.model, "classes_", None), list):
        return None  # columns have classes of their own, rows of tasks those of all tasks
    return same_optimum(a, second(fitted, case, form=make_form(case, rows, layout=other)), case)


def containers(case):
    """The container of X says nothing; single precision is near double precision."""
    rows = make_rows(case)
    if case.container == "float32":
        rows = replace(rows, X=rows.X.astype(np.float32).astype(float))
    a = fitted(case, rows)
    plain = second(fitted, case, form=make_form(case, rows, container="array"))
    return same_optimum(a, plain, case, tol=1e-4 if case.container == "float32" else TOL)


def sparse_is_dense(case):
    """CSR and CSC are dense."""
    rows = make_rows(case)
    a = fitted(case, form=make_form(case, rows, container="array"))
    form = make_form(case, rows, container=("csr", "csc")[case.seed % 2])
    assert sparse.issparse(form.fit["X"])
    return same_optimum(a, second(fitted, case, form=form), case)


def repetition(case):
    """A whole weight is a repetition of the row."""
    rows = make_rows(replace(case, weights="whole"))
    times = rows.w.astype(int)
    if case.layout in ("shared", "missing"):
        times = np.resize(times, rows.item.max() + 1)[rows.item]  # rows of the design
        rows = replace(rows, w=times.astype(float))
    again = np.repeat(np.arange(len(times)), times)
    repeated = replace(rows.take(again), w=None)
    number = np.concatenate([np.arange(k) for k in times])
    repeated = replace(repeated, item=repeated.item * 10 + number)
    a, b = fitted(case, rows), second(fitted, case, repeated)
    return same_optimum(a, Fit(b.model, a.form, b.said), case)


def zero_weight(case):
    """A row of weight zero does not exist."""
    rows = make_rows(replace(case, weights="zeros"))
    for t in range(rows.n_tasks):
        rows.w[np.flatnonzero(rows.t == t)[0]] = 1.0
    kept = rows.take(np.flatnonzero(rows.w > 0))
    a = fitted(case, kept)
    return same_optimum(a, Fit(second(fitted, case, rows, check=False).model, a.form, []), case)


def split_weight(case):
    """A row of weight w is two of weights that add up to w; all weights times a number are the same."""
    rows = make_rows(case)
    w = np.ones(len(rows.y)) if rows.w is None else rows.w
    twice = rows.take(np.concatenate([np.arange(len(w))] * 2))
    twice = replace(
        twice, w=np.concatenate([0.25 * w, 0.75 * w]), item=np.concatenate([rows.item, rows.item + 10**6])
    )
    a, b = fitted(case, rows), second(fitted, case, twice)
    return same_optimum(a, Fit(b.model, a.form, b.said), case)


def offsets(case):
    """A constant added to X or y moves intercepts only."""
    plain = {"offset": 0.0, "y_offset": 0.0, "units": "one", "y_unit": 1.0}
    base = replace(case, **plain, fit_intercept=True, intercept_alpha=0.0)  # else the origin means something
    moved = replace(base, offset=case.offset or 1e4, y_offset=case.y_offset if moves(case) else 0.0)
    rows, other = make_rows(base), make_rows(moved)
    a, b = fitted(base, rows), second(fitted, moved, other)
    b = shifted(b, other.y - rows.y) if kind(case) == "regressor" else b
    result = same_optimum(a, b, base, tol=1e-4, check_predictions=False)
    if result or not np.isfinite(getattr(a.model, "dual_gap_", np.nan)) or loss_of(case) != "squared_error":
        return result
    return close_predictors(a, b, base, 1.0, 1e-4) if kind(case) == "regressor" else None


def moves(case):
    return kind(case) == "regressor" and loss_of(case) in ("squared_error", "root_squared_error", "huber")


def shifted(fit, level):
    """A fit whose predictor is told without the level that was added to y."""

    class Shifted(Fit):
        def predictor(self):
            return fit.predictor() - level[:, None]

        def predicted(self):
            return fit.predicted() - level

    return Shifted(fit.model, fit.form, fit.said)


def y_units(case):
    """y times c: coefficients times c, with strengths that keep their meaning."""
    factor = case.y_unit if case.y_unit != 1.0 else (1e-8, 1e6, 1e100, 1e-100)[case.seed % 4]
    base = replace(case, y_unit=1.0)
    rows = make_rows(base)
    a = fitted(base, rows)
    power = degree(a.model)
    if power is None:
        return None
    other = replace(base, alpha=case.alpha * factor ** (2 - power))
    b = second(fitted, other, replace(rows, y=rows.y * factor))
    return same_optimum(a, b, base, factor=factor**2, check_predictions=factor**2 > 0)


def degree(model):
    """1 or 2: the penalty's degree in W; None if it has none."""
    omega = at_its_strengths(model)._omega().for_classes(model._n_outputs)
    if not omega.convex or hasattr(omega, "value_of"):
        return None
    W = np.random.default_rng(0).uniform(0.1, 1.0, size=np.reshape(model.coef_, (model.n_tasks_, -1)).shape)
    values = (
        [omega.value(c * W) for c in (1.0, 2.0)]
        if not len(omega.parts()) > 1
        else [sum(own.value(c * W) for own in omega.parts()) for c in (1.0, 2.0)]
    )
    if values[0] == 0:
        return 2
    return {2.0: 1, 4.0: 2}.get(round(values[1] / values[0], 6))


def x_units(case):
    """Columns in other units, with nothing that penalises them."""
    base = replace(case, units="one", alpha=0.0, ridge=0.0, mean_alpha="default", positive=False)
    rows = make_rows(base)
    powers = [(27, -10), (17, -7), (-199, 0), (332, -332), (-100,)][case.seed % 5]
    units = 2.0 ** np.resize(powers, rows.X.shape[1])  # which round nothing
    return both(base, rows, replace(rows, X=rows.X * units))


# how many numbers, rows or tasks are handled at a time, in all modules
AT_A_TIME = (
    "BLOCK", "BLOCK_NUMBERS", "BLOCK_ROWS", "CHUNK", "CHUNK_NUMBERS", "COEFFICIENTS", "ELEMENTS",
    "MOST_WAITING", "NUMBERS", "PREDICT_CELLS", "ROOM", "SCORED_AT_ONCE", "SMALL_DATA",
)  # fmt: skip
# sizes from which the library takes another way
SWITCHES = (
    "ASSEMBLED", "BATCH", "BATCHED", "CHEAP", "CHUNK_ROWS", "CHUNK_TASKS", "COMPILED_TASKS", "COSTLY",
    "DENSE", "DENSE_FEATURES", "DENSE_TASKS", "FEW_COEFFICIENTS", "FEW_ENTRIES", "FEW_PREDICTORS",
    "FEW_TASKS", "FILL", "FIRST_SET", "GRAM_ENTRIES", "JOINT", "JOINT_ENTRIES", "KEPT",
    "KERNEL_ENTRIES", "LARGEST_SYSTEMS", "LEAST_ENTRIES", "MANY_LEVELS", "MANY_ROWS", "MANY_SYSTEMS",
    "MOST_EDGES", "MOST_ENTRIES", "MOST_NUMBERS", "MOST_SAMPLED", "MOST_SOLVED", "MOST_UNKNOWNS",
    "OFFSET_ASSEMBLED", "ONE_SYSTEM", "PANEL", "PER_TASK", "ROTATED_ROWS", "ROTATED_TASKS", "ROWS_KEPT",
    "SAMPLED_ROWS", "SMALL_TASK", "WIDE",
)  # fmt: skip


@contextmanager
def of_size(names, number):
    """The library with such limits of sizes; small data are one block and go one way otherwise."""
    modules = [module for name, module in [*sys.modules.items()] if name.startswith("skmtl.")]
    places = [(module, name) for module in modules for name in names]
    before = [(*place, size) for place in places if isinstance(size := getattr(*place, None), int | float)]
    assert {name for _, name, _ in before} == {*names}, "a limit has another name now"
    for module, name, _ in before:
        setattr(module, name, number)
    try:
        yield
    finally:
        for place in before:
            setattr(*place)


def sizes(case):
    """How much is handled at a time says nothing, nor which way the library takes for how much."""
    fit, turn = fitted(case), case.seed // 2
    names = AT_A_TIME if case.seed % 2 else SWITCHES[turn % len(SWITCHES) :][:1]
    with of_size(names, (1, 30, 100)[turn % 3]):
        other = second(fitted, case)
        other.predicted()
    errors = [getattr(model, "mse_path_", 0.0) for model in (fit.model, other.model)]
    if not np.allclose(*errors, rtol=1e-2):
        return "errors on folds differ"
    return same_optimum(fit, other, case)


GENERAL = (
    untouched, refused, refit, row_order, column_order, labels, layouts, containers, sparse_is_dense,
    repetition, zero_weight, sizes,
)  # fmt: skip
LINEAR_ONLY = (objective, gap, predict, task_order, split_weight, offsets, y_units, x_units, probabilities)
ORACLES = {function.__name__: function for function in (*LINEAR_ONLY, *GENERAL)}


def applies(case):
    """Whether an oracle says something about a case."""
    oracle = ORACLES[case.oracle]
    if case.model not in LINEAR and oracle in LINEAR_ONLY:
        return False
    simple = case.model in NETWORKS or case.model.endswith("CV") or case.model.startswith("Incomplete")
    if simple and oracle in (row_order, column_order, repetition, zero_weight):
        return False
    if case.oracle == "layouts" and case.model.endswith("CV"):
        return False  # their default folds differ
    exact = not (case.oracle == "sparse_is_dense" or case.container == "float32")
    if case.model in ("SingleTask-regressor", "Pooled-regressor") and not exact:
        return False  # nor is Ridge of scikit-learn
    asked = oracle in (untouched, refused, refit, labels)
    if case.model in ("SingleTask-classifier", "Pooled-classifier") and case.offset >= 1e6 and not asked:
        return False  # there logistic regression of scikit-learn ends where rounding says
    if case.oracle in ("x_units", "offsets") and case.container == "float32":
        return False  # it does not hold such numbers
    estimated = [name for name, value in variant_parameters(case).items() if value == "auto"]
    if case.oracle in ("repetition", "split_weight") and {"alpha", "intercept_alpha"} & {*estimated}:
        return False  # a row counts for the likelihood whatever it weighs
    if case.oracle == "x_units" and "alpha" in estimated:
        return False
    if case.oracle == "offsets" and "intercept_alpha" in estimated:
        return False  # the origin means something
    if case.oracle == "y_units" and (kind(case) != "regressor" or loss_of(case) != "squared_error"):
        return False
    if case.oracle == "task_order" and (
        re.search("Temporal|Hierarchical|Graph|Mixed", case.model) or "penalty" in str(case)
    ):
        return False
    if case.oracle == "probabilities" and kind(case) == "regressor":
        return False
    forms = ("labels", "layouts", "sparse_is_dense")
    return not (case.oracle in forms and case.model.startswith("Incomplete"))
