"""Random cases of the fuzzer: what a case is made of, its data, and the forms in which they are passed."""

import inspect
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec

import numpy as np
from conftest import NETWORKS, PENALTIES, estimators, task_estimators
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils._param_validation import Interval, StrOptions

import skmtl

EXACT = 2.0**-18  # values of X and y are multiples of it, so that adding an offset rounds nothing
SINGLE = ("SingleTask-regressor", "SingleTask-classifier", "Pooled-regressor", "Pooled-classifier")
MODELS = (
    "MultiTaskLasso",
    *(name for name in estimators() if name != "MultiTaskLasso"),
    *sorted(NETWORKS),
    *SINGLE,
)
LINEAR = set(task_estimators())
FRAMES = tuple(name for name in ("pandas", "polars") if find_spec(name))
LOW = (0, 0, 0, 0)

# what a case may be, field by field, the plainest choice first
SPACE = {
    "model": MODELS,
    "variant": range(40),  # of the parameters that have choices
    "alpha": (0.1, 1.0, 0.01, 1e-3, 0.0, 1e-6, 1e-16, 10.0, 1e3, 1e8, 1e13),
    "mean_alpha": ("default", 0.0, 0.1, 1e8),
    "intercept_alpha": (0.0, 0.5, 1e-6, 1e6),
    "ridge": (0.0, 0.1),
    "fit_intercept": (True, False),
    "positive": (False, True),
    "task_weight": (None, "samples"),
    "solver": (
        "auto",
        "auto",
        "auto",
        "auto",
        "fista",
        "direct",
        "newton",
        "bcd",
        "prox_newton",
        "splitting",
    ),
    "n_tasks": (3, 1, 2, 5, 9),
    "n_rows": (12, 1, 2, 4, 30),
    "n_features": (3, 1, 2, 6, 20),
    "ragged": (False, True),
    "columns": ("plain", "duplicate", "constant", "zero", "collinear", "sparse", "binary"),
    "target": ("plain", "perfect", "constant", "whole", "three classes", "lacks a class", "one class"),
    "weights": ("none", "random", "zeros", "whole", "tiny", "huge"),
    "layout": ("stacked", "column", "shared", "missing"),
    "container": ("array", "fortran", "readonly", "float32", "list", "csr", "csc", *FRAMES),
    "labels": ("int", "str", "float", "negative", "big", "date", "tuple"),
    "units": ("one", "mild", "mixed", "small", "large", "tiny", "vast"),
    "offset": (0.0, 1.0, 1e3, 1e6, 1e8),
    "y_unit": (1.0, 1e-3, 1e5, 1e-8, 1e-100, 1e100),
    "y_offset": (0.0, 1.0, 1e3, 1e8),
    "seed": range(1000),
}
UNITS = {
    "one": [1.0], "mild": [100.0, 1.0, 0.01], "mixed": [1e8, 1e-3], "small": [1e-8], "large": [1e6],
    "tiny": [1e-100], "vast": [1e100, 1.0],
}  # fmt: skip


Case = dataclass(frozen=True)(
    type(
        "Case",
        (),
        {"__annotations__": {"oracle": str, **dict.fromkeys(SPACE, object)}, "__doc__": "One case."},
    )
)


def plain(oracle, **changes):
    """The plainest case of an oracle, with some fields changed."""
    return Case(oracle=oracle, **{**{key: choices[0] for key, choices in SPACE.items()}, **changes})


def described(case):
    """The fields of a case that are not the plainest, as keyword arguments."""
    base = plain(case.oracle)
    return {
        f.name: getattr(case, f.name)
        for f in fields(case)
        if f.name == "oracle" or getattr(case, f.name) != getattr(base, f.name)
    }


def draw(rng, oracle):
    """A random case, most fields plain."""
    share = rng.uniform(0.05, 0.5)  # of fields that are not
    chosen = {"model": MODELS[rng.integers(len(MODELS))], "seed": int(rng.integers(1000))}
    for key, choices in SPACE.items():
        if key not in chosen:
            chosen[key] = choices[rng.integers(len(choices)) if rng.random() < share else 0]
    return plain(oracle, **chosen)


# --- the model ---


def kind(case):
    """ "classifier", "regressor" or "mixed"."""
    if case.model in ("MixedTaskModel", "MultiTaskMLP"):
        return "mixed"
    return "classifier" if "lassifier" in case.model else "regressor"


def loss_of(case):
    """Name of the loss of a linear regressor or classifier."""
    options = variant_parameters(case)
    return options.get("loss", "log_loss" if kind(case) == "classifier" else "squared_error")


def variant_parameters(case):
    """Values of the parameters that have choices, drawn by the number of the variant."""
    if case.model not in estimators() or case.variant == 0:
        return {}
    cls, rng = estimators()[case.model], np.random.default_rng(case.variant)
    skipped = {"handle_unknown", "task_weight", "solver", "selection", "losses"}
    found = {}
    for name, constraints in sorted(cls._parameter_constraints.items()):
        if (
            name in skipped
            or not isinstance(constraints, list)
            or name not in inspect.signature(cls).parameters
        ):
            continue
        for allowed in constraints:
            if isinstance(allowed, StrOptions) and rng.random() < 0.5:
                found[name] = str(rng.choice(sorted(allowed.options)))
            ratio = isinstance(allowed, Interval) and (allowed.left, allowed.right) == (0, 1)
            if ratio and name not in ("tol",) and rng.random() < 0.4:
                found[name] = float(rng.choice([0.2, 0.5, 0.9]))
        if name == "penalty" and rng.random() < 0.8:
            found[name] = PENALTIES[sorted(PENALTIES)[rng.integers(len(PENALTIES))]]
    return found


def make_model(case, labels, **changes):
    """An unfitted model; labels are those of the tasks, by their codes."""
    if case.model in SINGLE:
        wrapper, what = case.model.split("-")
        inner = Ridge(alpha=max(case.alpha, 1e-3)) if what == "regressor" else LogisticRegression()
        return getattr(skmtl, wrapper)(inner, **changes)
    if case.model in NETWORKS:
        params = {"hidden_layer_sizes": (4,), "max_iter": 15, "random_state": 0, "alpha": 1e-3}
        if kind(case) == "mixed":
            params["losses"] = mixed_losses(labels)
        return getattr(skmtl, case.model)(**{**params, **changes})
    cls = estimators()[case.model]
    params = {
        key: getattr(case, key)
        for key in ("alpha", "intercept_alpha", "ridge", "fit_intercept", "task_weight", "solver", "positive")
        if key in inspect.signature(cls).parameters
    }
    if case.mean_alpha != "default" and not case.model.startswith("Incomplete"):
        params["mean_alpha"] = case.mean_alpha
    if case.model.endswith("CV"):
        params = {"alphas": 4, "cv": 3, "fit_intercept": case.fit_intercept}
    if kind(case) == "mixed":
        params["losses"] = mixed_losses(labels)
    if "random_state" in inspect.signature(cls).parameters:
        params["random_state"] = 0
    return cls(**{**params, **variant_parameters(case), **changes})


def mixed_losses(labels):
    """Losses of tasks of different kinds: classes in every second one."""
    return {label: ("squared_error", "log_loss")[t % 2] for t, label in enumerate(labels)}


# --- the data ---


@dataclass(frozen=True)
class Rows:
    """Rows with the code of their task; `item` is the row of a shared design that a row belongs to."""

    X: np.ndarray
    y: np.ndarray
    t: np.ndarray
    item: np.ndarray
    w: np.ndarray | None
    n_tasks: int

    def take(self, rows):
        """Some of the rows, in an order."""
        w = None if self.w is None else self.w[rows]
        return replace(self, X=self.X[rows], y=self.y[rows], t=self.t[rows], item=self.item[rows], w=w)


def rounded(values):
    return np.round(values / EXACT) * EXACT


def make_rows(case):
    """The rows of a case."""
    rng = np.random.default_rng(case.seed)
    T, n = case.n_tasks, case.n_rows
    sizes = [max(1, n // (k + 1)) if case.ragged else n for k in range(T)]
    shared = case.layout in ("shared", "missing")
    item = np.tile(np.arange(n), T) if shared else np.arange(sum(sizes))
    t = np.repeat(np.arange(T), n if shared else sizes)
    design = make_columns(case, rng, n if shared else sum(sizes))
    X = design[item]
    W = rng.normal(size=case.n_features) + 0.5 * rng.normal(size=(T, case.n_features))
    eta = (X * W[t]).sum(axis=1) / np.sqrt(case.n_features) + rng.normal(size=T)[t]
    y = make_target(case, rng, eta, t)
    w = make_weights(case, rng, len(y))
    rows = Rows(in_units(case, X), y, t, item, w, T)
    if case.layout == "missing":
        keep = rng.random(len(y)) < 0.7
        keep[np.unique(t, return_index=True)[1]] = True
        rows = rows.take(np.flatnonzero(keep))
    return rows


def make_columns(case, rng, n):
    """Features in units of their own spread."""
    X = rounded(rng.normal(size=(n, case.n_features)))
    if case.columns == "duplicate":
        X[:, -1] = X[:, 0]
    elif case.columns == "constant":
        X[:, -1] = 1.0
    elif case.columns == "zero":
        X[:, -1] = 0.0
    elif case.columns == "collinear":
        X[:, -1] = X[:, :-1].sum(axis=1)
    elif case.columns == "sparse":
        X *= rng.random(X.shape) < 0.3
    elif case.columns == "binary":
        X = (X > 0).astype(float)
    if case.model.startswith("Incomplete") and case.n_features > 1:
        X[::2, 0] = np.nan
    return X


def in_units(case, X):
    """Features in the units and with the offset of a case."""
    units = np.resize(UNITS[case.units], X.shape[1])
    X = (X + case.offset) * units
    return X.astype(np.float32).astype(float) if case.container == "float32" else X


def make_target(case, rng, eta, t):
    """Numbers, counts or codes of classes, as the model asks for."""
    eta = np.nan_to_num(eta)
    noise = 0.0 if case.target == "perfect" else 0.3
    numbers = rounded(eta + noise * rng.normal(size=len(eta)))
    if case.target == "constant":
        numbers = np.full(len(eta), 0.1)
    if case.target == "whole":
        numbers = np.round(2 * numbers)
    classes = make_classes(case, rng, eta, t)
    if kind(case) == "classifier":
        return classes
    if kind(case) == "mixed":
        return np.where(t % 2 == 1, (classes > 0).astype(float), numbers + case.y_offset)
    if loss_of(case) == "poisson":
        return rng.poisson(np.exp(np.clip(numbers, -3, 3))).astype(float)
    return (numbers + case.y_offset) * case.y_unit


def make_classes(case, rng, eta, t):
    """Codes of two or three classes; all tasks have two, unless the case says otherwise."""
    noisy = eta + rng.logistic(size=len(eta)) * (case.target != "perfect")
    cuts = np.quantile(noisy, [0.3, 0.7] if case.target in ("three classes", "lacks a class") else [0.5])
    classes = np.digitize(noisy, cuts).astype(float)
    for k in range(t.max() + 1):
        at = np.flatnonzero(t == k)
        if len(at) > 1 and case.target != "one class":
            classes[at[0]], classes[at[-1]] = 0, 1
    if case.target == "lacks a class":
        classes[t == 0] = np.minimum(classes[t == 0], 1)
    if case.target == "one class":
        classes[t == 0] = 1
    return classes


def make_weights(case, rng, n):
    """Weights of the rows, or None."""
    if case.weights == "none":
        return None
    w = rng.integers(1, 4, size=n).astype(float)
    if case.weights == "random":
        w = rng.uniform(0.2, 3.0, size=n)
    elif case.weights == "zeros":
        w[rng.random(n) < 0.3] = 0.0
        w[0] = 1.0
    return w * {"tiny": 1e-250, "huge": 1e250}.get(case.weights, 1.0)


# --- forms ---


def task_labels(case, codes=None):
    """Labels of the tasks by their codes, in sorted order."""
    codes = np.arange(case.n_tasks) if codes is None else codes
    form = {
        "int": lambda: codes,
        "str": lambda: np.array([f"task {chr(97 + k)}" for k in codes]),
        "float": lambda: codes + 0.5,
        "negative": lambda: codes - 2,
        "big": lambda: codes + 2**53,
        "date": lambda: np.datetime64("2020-01-01") + codes,
        "tuple": lambda: as_objects([("site", int(k)) for k in codes]),
    }
    return form[case.labels]()


def as_objects(values):
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


@dataclass
class Form:
    """Arguments of fit and of the constructor, and what is asked of the model afterwards."""

    fit: dict
    params: dict
    ask: dict  # of predict
    labels: list  # of the tasks, as `tasks_` has them
    rows: Rows

    def of_rows(self, predicted):
        """A prediction for every row, from what predict returns."""
        predicted = np.asarray(predicted)
        wide = np.asarray(self.fit["y"]).ndim == 2
        return predicted[self.rows.item, self.rows.t] if wide else predicted


def make_form(case, rows, layout=None, container=None):
    """Rows in a layout and a container."""
    layout, container = layout or case.layout, container or case.container
    if case.model.startswith("Incomplete"):
        return form_of_one(rows, container)
    if layout in ("shared", "missing"):
        return shared_form(rows, container)
    labels = task_labels(case)
    if layout == "column":
        return column_form(case, rows, container, labels)
    if rows.n_tasks == 1 and case.seed % 2:
        return form_of_one(rows, container)
    X = contained(rows.X, container)
    meta = {"tasks": labels[rows.t]}
    fit = {"X": X, "y": rows.y, **meta, **({} if rows.w is None else {"sample_weight": rows.w})}
    return Form(fit, {}, {"X": X, **meta}, labels.tolist(), rows)


def form_of_one(rows, container):
    """Rows without tasks."""
    X = contained(rows.X, container)
    fit = {"X": X, "y": rows.y, **({} if rows.w is None else {"sample_weight": rows.w})}
    return Form(fit, {}, {"X": X}, [0], rows)


def shared_form(rows, container):
    """One design and a column of targets per task, NaN where a task has no label of a row."""
    items, first, item = np.unique(rows.item, return_index=True, return_inverse=True)
    X = contained(rows.X[first], container)
    Y, W = np.full((len(items), rows.n_tasks), np.nan), np.ones((len(items), rows.n_tasks))
    Y[item, rows.t] = rows.y
    fit = {"X": X, "y": Y}
    if rows.w is not None:
        W[item, rows.t] = rows.w
        fit["sample_weight"] = W
    return Form(fit, {}, {"X": X}, list(range(rows.n_tasks)), replace(rows, item=item))


def column_form(case, rows, container, labels):
    """The task as a column of X: named in a frame, else the first one."""
    if container not in FRAMES:
        labels = np.arange(len(labels))
        X = contained(np.column_stack([labels[rows.t], rows.X]), container)
        params = {"task_column": 0}
    else:
        X, params = contained(rows.X, container), {"task_column": "task"}
        if case.labels == "tuple":
            labels = np.arange(len(labels))
        if container == "pandas":
            X.insert(1, "task", labels[rows.t])
        else:
            X = X.insert_column(1, __import__("polars").Series("task", labels[rows.t]))
    fit = {"X": X, "y": rows.y, **({} if rows.w is None else {"sample_weight": rows.w})}
    return Form(fit, params, {"X": X}, labels.tolist(), rows)


def contained(X, container):
    """X in a container."""
    if container == "pandas":
        import pandas as pd

        return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    if container == "polars":
        import polars as pl

        return pl.DataFrame({f"x{j}": X[:, j] for j in range(X.shape[1])})
    if container == "readonly":
        X = X.copy()
        X.flags.writeable = False
        return X
    forms = {
        "array": np.array, "fortran": np.asfortranarray, "float32": lambda X: X.astype(np.float32),
        "list": lambda X: X.tolist(), "csr": sparse.csr_array, "csc": sparse.csc_array,
    }  # fmt: skip
    return forms[container](X)
