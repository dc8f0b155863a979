"""From arguments to rows and tasks: layouts, weights, containers, and what is never copied."""

import time
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import LAYOUTS, make_layout, task_estimators
from scipy import sparse
from scipy.special import xlogy
from sklearn.base import clone
from sklearn.utils import check_array

from skmtl import (
    MeanRegularizedRegressor,
    MultiTaskLasso,
    MultiTaskRegressor,
    TraceNormClassifier,
    _threads,
    stack_tasks,
)
from skmtl._data import SharedData, StackedData, make_task_data, predict_rows
from skmtl._inputs import is_clean
from skmtl.losses import Loss
from skmtl.penalties import L1, L2, Coupling, Entries, Features, Spectrum

# one model per way to the solution: bcd, direct, fista on moments, newton and fista on rows
MODELS = {
    "lasso": (MultiTaskLasso, {"alpha": 0.2}),
    "mean": (MeanRegularizedRegressor, {"alpha": 0.3, "intercept_alpha": 0.2}),
    "entries": (
        MultiTaskRegressor,
        {"alpha": 0.1, "penalty": Entries(L1()), "mean_alpha": 0.1, "ridge": 0.1},
    ),
    "trace": (TraceNormClassifier, {"alpha": 0.05}),
}
models = pytest.mark.parametrize("name", MODELS)
layouts = pytest.mark.parametrize("kind", LAYOUTS)


def model(name, **extra):
    cls, params = MODELS[name]
    return cls(tol=1e-13, max_iter=3000, **params, **extra)


def layout_for(name, kind, **options):
    return make_layout(kind, classification="Classifier" in MODELS[name][0].__name__, **options)


def assert_same_model(one, other, rows=slice(None)):
    """Equal up to the accuracy of `model`; `rows` are those of `one` in `other`."""
    np.testing.assert_allclose(
        one.coef_, np.atleast_2d(other.coef_)[rows].reshape(one.coef_.shape), atol=1e-6
    )
    np.testing.assert_allclose(one.intercept_, np.atleast_1d(other.intercept_)[rows], atol=1e-6)


def small_layouts():
    rng = np.random.default_rng(1)
    yield "one-feature", make_layout("stacked", p=1)
    yield "one-row-task", (rng.normal(size=(5, 3)), rng.normal(size=5), ["a", "b", "b", "b", "b"])
    yield "one-task", (rng.normal(size=(5, 3)), rng.normal(size=5), ["a"] * 5)
    yield "rows-of-one", (rng.normal(size=(3, 2)), rng.normal(size=3), [2, 0, 1])
    yield "one-column", (rng.normal(size=(5, 3)), rng.normal(size=(5, 1)), None)


def all_data():
    """TaskData of every layout, also sparse and tiny."""
    for kind in LAYOUTS:
        layout = make_layout(kind)
        for container in (lambda X: X, sparse.csr_matrix, sparse.csc_array):
            X = (
                layout.X
                if container is sparse.csr_matrix and sparse.issparse(layout.X)
                else container(layout.X)
            )
            yield kind, make_task_data(X, layout.y, layout.tasks, sample_weight=layout.sample_weight)
    for kind, layout in small_layouts():
        args = (layout.X, layout.y, layout.tasks) if hasattr(layout, "X") else layout
        yield kind, make_task_data(*args)


DATA = list(all_data())
each_data = pytest.mark.parametrize(
    "data", [d for _, d in DATA], ids=[f"{k}-{i}" for i, (k, _) in enumerate(DATA)]
)


# --- the operations of TaskData ---


@each_data
def test_forward_and_adjoint_are_transposes(data, rng):
    for _ in range(3):
        W, R = rng.normal(size=(data.n_tasks, data.n_features)), rng.normal(size=data.y.shape)
        assert np.vdot(data.forward(W), R) == pytest.approx(np.vdot(W, data.adjoint(R)), rel=1e-12)
        assert data.adjoint(R).flags.c_contiguous and data.adjoint(R).shape == W.shape


@each_data
@pytest.mark.parametrize("many", [False, True])
def test_several_predictors_of_a_row_are_those_one_by_one(data, many, rng, monkeypatch):
    """Also by the loops for many tasks."""
    monkeypatch.setattr(_threads, "COMPILED_TASKS", 0 if many else 10**9)
    W, R = rng.normal(size=(data.n_tasks, 3, data.n_features)), rng.normal(size=(*data.y.shape, 3))
    one_by_one = [data.forward(np.ascontiguousarray(W[:, k])) for k in range(3)]
    np.testing.assert_allclose(data.forward(W), np.stack(one_by_one, axis=-1), rtol=1e-12, atol=1e-13)
    one_by_one = [data.adjoint(np.ascontiguousarray(R[..., k])) for k in range(3)]
    np.testing.assert_allclose(data.adjoint(R), np.stack(one_by_one, axis=1), rtol=1e-12, atol=1e-13)


@each_data
def test_task_sums_and_spread_are_transposes(data, rng):
    b, R = rng.normal(size=data.n_tasks), rng.normal(size=data.y.shape)
    assert data.task_sums(R) @ b == pytest.approx((R * data.spread(b)).sum(), rel=1e-12)


@each_data
def test_weights_of_a_task_add_up_to_one(data):
    np.testing.assert_allclose(data.totals, 1.0)
    np.testing.assert_allclose(
        np.broadcast_to(data.weight, data.y.shape), data.row_weight * data.spread(data.scale)
    )
    assert np.isfinite(data.y).all()


@layouts
def test_designs_and_forward_equal_the_blocks_of_each_task(kind, rng):
    layout = make_layout(kind)
    data = make_task_data(layout.X, layout.y, layout.tasks, sample_weight=layout.sample_weight)
    W = rng.normal(size=(data.n_tasks, data.n_features))
    R = data.weight * (data.forward(W) - data.y)
    G = [X.T @ (s * (X @ w - y)) for (X, y, s), w in zip(layout.blocks(), W, strict=True)]
    np.testing.assert_allclose(data.adjoint(R), G, rtol=1e-12, atol=1e-14)
    seen = np.zeros(data.n_tasks, dtype=int)
    for X, weight, Y, tasks in data.designs():
        seen[tasks] += 1
        X = X.toarray() if sparse.issparse(X) else X
        for t, y in zip(range(tasks.start, tasks.stop), Y.T, strict=True):
            own = list(layout.blocks())[t]
            np.testing.assert_allclose(
                X.T @ (weight * y) / weight.sum(), own[0].T @ (own[2] * own[1]), rtol=1e-10
            )
    assert (seen == 1).all()
    assert data.n_designs == (1 if kind in ("shared", "single") else data.n_tasks)


@layouts
def test_changed_data_forgets_what_was_derived(kind, rng):
    layout = make_layout(kind)
    data = make_task_data(layout.X, layout.y, layout.tasks, sample_weight=layout.sample_weight)
    W = rng.normal(size=(data.n_tasks, data.n_features))
    predictor, _ = data.forward(W), (data.weight, data.totals)  # fills what is cached
    other = data.reweighted(data.y, np.full(data.y.shape, 2.0))
    np.testing.assert_array_equal(other.weight, 2.0)
    np.testing.assert_allclose(other.totals, 2 * data.task_sums(np.ones(data.y.shape)))
    np.testing.assert_allclose(data.totals, 1.0)
    np.testing.assert_array_equal(other.forward(W), predictor)
    np.testing.assert_array_equal(data.shifted(np.full(data.n_tasks, 1.5)).y, data.y - 1.5)


# --- the same rows said in another way ---


@models
@pytest.mark.parametrize("kind", ["shared", "missing"])
def test_stacked_equals_shared(name, kind):
    """A missing label is a dropped row."""
    layout = layout_for(name, kind)
    rows, columns = np.nonzero(~np.isnan(layout.y))
    stacked = model(name).fit(layout.X[rows], layout.y[rows, columns], tasks=columns)
    assert_same_model(stacked, model(name).fit(layout.X, layout.y))


@models
@pytest.mark.parametrize("kind", ["stacked", "sparse", "weighted"])
def test_order_of_rows_and_names_of_tasks_change_nothing(name, kind, rng):
    layout = layout_for(name, kind)
    fitted = model(name).fit(**layout.fit_args())
    order = rng.permutation(len(layout.y))
    labels = np.array(["d", "b", "a", "c"])  # sorted: 2, 1, 3, 0
    weight = None if layout.sample_weight is None else layout.sample_weight[order]
    other = model(name).fit(
        layout.X[order], layout.y[order], tasks=labels[layout.tasks][order], sample_weight=weight
    )
    assert_same_model(other, fitted, rows=[2, 1, 3, 0])
    assert other.tasks_.tolist() == ["a", "b", "c", "d"]
    X = layout.X.toarray() if sparse.issparse(layout.X) else layout.X
    expected = (X * fitted.coef_[layout.tasks]).sum(axis=1) + fitted.intercept_[layout.tasks]
    found = other._predictors(layout.X[order], labels[layout.tasks][order])[0][:, 0]
    np.testing.assert_allclose(found, expected[order], atol=1e-5)


@models
def test_order_of_columns_of_a_shared_design_changes_nothing(name):
    layout, order = layout_for(name, "missing"), [2, 0, 3, 1]
    assert_same_model(
        model(name).fit(layout.X, layout.y[:, order]), model(name).fit(layout.X, layout.y), rows=order
    )


@models
@pytest.mark.parametrize("kind", ["stacked", "shared", "sparse", "single", "missing"])
def test_sample_weight_equals_repetition(name, kind, rng):
    """With weights zero too: the row is not there."""
    layout = layout_for(name, kind, n=60)
    times = rng.integers(0, 4, size=len(layout.y))
    rows = np.repeat(np.arange(len(times)), times)
    by_rows = {} if layout.tasks is None else {"tasks": layout.tasks[rows]}
    whole = {} if layout.tasks is None else {"tasks": layout.tasks}
    weighted = model(name).fit(layout.X, layout.y, sample_weight=times, **whole)
    assert_same_model(weighted, model(name).fit(layout.X[rows], layout.y[rows], **by_rows))
    if layout.y.ndim == 2:  # one weight per label: the same, said in full
        full = np.tile(times[:, None], layout.y.shape[1])
        assert_same_model(model(name).fit(layout.X, layout.y, sample_weight=full), weighted)


@models
def test_weight_of_a_label_equals_a_missing_label(name, rng):
    layout = layout_for(name, "shared")
    weight = rng.random(layout.y.shape) < 0.7
    missing = model(name).fit(layout.X, np.where(weight, layout.y, np.nan))
    assert_same_model(model(name).fit(layout.X, layout.y, sample_weight=weight.astype(float)), missing)


class Gamma(Loss):
    """Half the gamma deviance with the log link, less ``log y + 1``: of y > 0 only."""

    def value(self, y, eta):
        return y * np.exp(-eta) + eta

    def gradient(self, y, eta):
        return 1.0 - y * np.exp(-eta)

    def hessian(self, y, eta):
        return y * np.exp(-eta)

    def domain(self, y):
        return -np.inf, np.ones_like(y)

    def conjugate(self, y, u):
        rest = 1.0 - u
        return np.where(rest >= 0, xlogy(rest, rest / y) - rest, np.inf)

    def check(self, y):
        if np.nanmin(y) <= 0:
            raise ValueError("targets must be > 0")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("absent", ["missing", "labels", "rows", "stacked"])
@pytest.mark.parametrize("penalty", [Entries(L1()), Features(L2()), Spectrum(L1()), Coupling()], ids=repr)
def test_a_label_that_is_not_there_asks_nothing_of_a_loss(penalty, absent, rng):
    """A loss without a value at y <= 0 is certified, and fitted as on the rows that are there."""
    X, W = rng.normal(size=(60, 4)), 0.5 * rng.normal(size=(3, 4))
    Y, there = np.exp(X @ W.T) * rng.gamma(3.0, size=(60, 3)), rng.random((60, 3)) < 0.7
    if absent == "rows":
        there[:] = there[:, :1]
    model = MultiTaskRegressor(0.05, penalty=penalty, loss=Gamma(), ridge=0.01, tol=1e-10)
    rows, columns = np.nonzero(there)
    expected = clone(model).fit(X[rows], Y[rows, columns], tasks=columns)
    Y[~there] = np.nan if absent == "missing" else -1.0
    if absent == "stacked":
        stacked = np.repeat(X, 3, axis=0), Y.ravel()
        model.fit(*stacked, tasks=np.tile(np.arange(3), 60), sample_weight=there.ravel())
    else:
        weight = {"missing": None, "labels": there, "rows": there[:, 0]}[absent]
        model.fit(X, Y, sample_weight=weight)
    assert 0 <= model.dual_gap_ <= 1e-9
    assert_same_model(model, expected)
    np.testing.assert_allclose(model.objective_, expected.objective_, rtol=1e-9)


@models
def test_a_task_of_zero_weights_does_not_exist(name):
    layout = layout_for(name, "stacked")
    keep = layout.tasks != 2
    fitted = model(name).fit(layout.X, layout.y, tasks=layout.tasks, sample_weight=keep.astype(float))
    assert fitted.tasks_.tolist() == [0, 1, 3]
    assert_same_model(fitted, model(name).fit(layout.X[keep], layout.y[keep], tasks=layout.tasks[keep]))
    with pytest.raises(ValueError, match=r"not seen in fit: \[2\]"):
        fitted.predict(layout.X, tasks=layout.tasks)


@models
def test_task_weight(name):
    layout = layout_for(name, "stacked", n=60)
    layout.tasks[:20] = 0
    n_t = np.bincount(layout.tasks)
    by_rows = n_t * len(n_t) / n_t.sum()
    fit = {w: model(name, task_weight=v).fit(**layout.fit_args()) for w, v in {
        "none": None, "ones": np.ones(4), "samples": "samples", "list": by_rows.tolist(),
        "mapping": dict(enumerate(by_rows)), "other": [5.0, 1.0, 1.0, 1.0],
    }.items()}  # fmt: skip
    assert_same_model(fit["none"], fit["ones"])
    for same in ("list", "mapping"):
        assert_same_model(fit["samples"], fit[same])
    assert np.abs(fit["samples"].coef_ - fit["none"].coef_).max() > 1e-3
    data = make_task_data(layout.X, layout.y, layout.tasks, task_weight="samples")
    np.testing.assert_allclose(data.weight, len(n_t) / n_t.sum())  # each row counts the same
    residual = layout.y - fit["other"]._predictors(layout.X, layout.tasks)[0][:, 0]
    if name == "lasso":  # the objective, written down
        loss = sum(c * 0.5 * np.mean(residual[layout.tasks == t] ** 2) for t, c in enumerate([5.0, 1, 1, 1]))
        expected = loss + 0.2 * np.linalg.norm(fit["other"].coef_, axis=0).sum()
        assert fit["other"].objective_ == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "weight, message",
    [
        ("rows", "task_weight must be None, 'samples', a mapping or an array"),
        ([1.0, 2.0], r"task_weight must hold one number per task, shape \(4,\)"),
        ([1.0, -1.0, 1.0, 1.0], "task_weight must be positive"),
        ({0: 1, 1: 1, 2: 1}, r"tasks without a weight: \[3\]"),
        ({0: 1, 1: 1, 2: 1, 3: 1, "x": 1}, r"unknown tasks: \['x'\]"),
    ],
)
def test_malformed_task_weight(weight, message):
    layout = make_layout("stacked")
    with pytest.raises(ValueError, match=message):
        make_task_data(layout.X, layout.y, layout.tasks, task_weight=weight)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"tasks": [0, 1]}, ValueError, "tasks has 2 labels but X has 6 rows"),
        ({"tasks": np.zeros((6, 2))}, ValueError, r"tasks must be one label per row.*\(6, 2\)"),
        ({"tasks": [0, 1, None, 0, 1, 0]}, ValueError, "tasks has 1 missing label"),
        ({"tasks": [0, 1, np.nan, 0, 1, 0.0]}, ValueError, r"1 missing label \(first at row 2\)"),
        ({"tasks": np.array([0, 1, "a", 0, 1, 0], dtype=object)}, TypeError, "cannot be sorted"),
        (
            {"y": np.zeros((6, 2)), "tasks": None, "X": np.zeros((5, 2))},
            ValueError,
            "inconsistent numbers of samples",
        ),
        ({"y": [0, 1, np.nan, 0, 1, 0]}, ValueError, "Input y contains NaN"),
        ({"y": [0, 1, np.inf, 0, 1, 0]}, ValueError, "infinity"),
        ({"y": np.full((6, 2), np.nan), "tasks": None}, ValueError, r"no usable label.*\[0, 1\]"),
        ({"X": np.full((6, 2), np.nan)}, ValueError, "Input X contains NaN"),
        ({"sample_weight": np.ones(5)}, ValueError, r"sample_weight must have shape \(6,\); got \(5,\)"),
        ({"sample_weight": -np.ones(6)}, ValueError, "sample_weight must not be negative"),
        ({"sample_weight": np.zeros(6)}, ValueError, "sample_weight is zero for every row"),
        ({"y": np.zeros((6, 2))}, ValueError, "tasks must be None when y is 2-D"),
    ],
)
def test_malformed_arguments(change, error, message):
    args = {"X": np.ones((6, 2)), "y": np.arange(6.0), "tasks": [0, 1, 0, 1, 0, 1], "sample_weight": None}
    args.update(change)
    X, y = args.pop("X"), args.pop("y")
    with pytest.raises(error, match=message):
        make_task_data(X, y, **args)


# --- containers ---


def test_clean_arrays_are_those_that_scikit_learn_returns_as_they_are(rng):
    X = rng.normal(size=(5, 3))
    for clean in (X, X[:, 0], np.asfortranarray(X), X[::2, ::-1], 1e300 * np.ones((2, 2))):
        assert is_clean(clean) and check_array(clean, ensure_2d=False) is clean
    spoiled = [np.where(X > 0, X, bad) for bad in (np.nan, np.inf, -np.inf)]
    both = np.array([[np.inf, -np.inf]])
    others = (X[:0], X[:, :0], X[None], np.float64(1.0), X.astype(np.float32), X.astype(object), X > 0)
    for other in (
        *spoiled,
        both,
        *others,
        X.tolist(),
        pd.DataFrame(X),
        sparse.csr_array(X),
        X.view(np.memmap),
    ):
        assert not is_clean(other)
    assert not is_clean(np.full(3, 1e308))  # its sum is infinite: not clean for sure, so scikit-learn decides


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["stacked", "shared"])
def test_bad_numbers_are_found_in_any_container(kind, bad):
    layout = make_layout(kind)
    args = layout.fit_args()
    X = args.pop("X").copy()
    X[3, 1] = bad
    for container in (
        np.asarray,
        np.asfortranarray,
        sparse.csc_array,
        pd.DataFrame,
        lambda X: X.astype(object),
    ):
        with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
            MultiTaskLasso().fit(container(X), **args)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        MultiTaskLasso().fit(layout.X, **args).predict(X, tasks=args.get("tasks"))
    y = layout.y.copy()
    y[4] = np.inf
    for container in (np.asarray, pd.DataFrame if y.ndim == 2 else pd.Series, lambda y: y.tolist()):
        with pytest.raises(ValueError, match="Input y contains infinity"):
            MultiTaskLasso().fit(layout.X, **{**args, "y": container(y)})


def memmapped(X, folder):
    path = folder / "X.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


CONTAINERS = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_array,
    "dok": sparse.dok_array,
    "float32": lambda X: X.astype(np.float32),
    "int": lambda X: X.astype(np.int64),
    "int32": lambda X: X.astype(np.int32),
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "read-only": read_only,
    "list": lambda X: X.tolist(),
    "pandas": pd.DataFrame,
    "pandas-index": lambda X: pd.DataFrame(X, index=range(100, 100 + len(X))[::-1]),
    "polars": lambda X: pl.DataFrame(X, schema=[f"f{j}" for j in range(X.shape[1])]),
}


@pytest.mark.parametrize("container", [*CONTAINERS, "memmap"])
@pytest.mark.parametrize("name", ["lasso", "trace"])
def test_containers_of_X(name, container, tmp_path, rng):
    """Integers up to 4, so that no container rounds them."""
    layout = layout_for(name, "stacked", n=60)
    plain = np.round(2 * layout.X)
    expected = model(name).fit(plain, layout.y, tasks=layout.tasks)
    X = memmapped(plain, tmp_path) if container == "memmap" else CONTAINERS[container](plain)
    before = plain.copy()
    fitted = model(name).fit(X, layout.y, tasks=layout.tasks)
    assert_same_model(fitted, expected)
    np.testing.assert_allclose(
        fitted.predict(X, tasks=layout.tasks), expected.predict(plain, tasks=layout.tasks), atol=1e-5
    )
    np.testing.assert_array_equal(plain, before)


@pytest.mark.parametrize("container", [list, read_only, pd.Series, pl.Series, lambda y: y.astype(np.float32)])
def test_containers_of_y_tasks_and_weights(container):
    layout = make_layout("weighted")
    args = [np.round(layout.y), layout.tasks, np.round(layout.sample_weight + 0.5)]
    y, tasks, weight = map(container, args)
    expected = model("lasso").fit(layout.X, args[0], tasks=args[1], sample_weight=args[2])
    assert_same_model(model("lasso").fit(layout.X, y, tasks=tasks, sample_weight=weight), expected)
    shuffled = pd.Series(args[0], index=np.arange(len(args[0]))[::-1])  # positions count, not the index
    assert_same_model(model("lasso").fit(layout.X, shuffled, tasks=args[1], sample_weight=args[2]), expected)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_names_of_tasks_in_frames(frame):
    layout = make_layout("missing")
    Y = frame({f"task {t}": y for t, y in enumerate(layout.y.T)})
    fitted = model("lasso").fit(layout.X, Y)
    assert fitted.tasks_.tolist() == [f"task {t}" for t in range(4)]
    assert_same_model(fitted, model("lasso").fit(layout.X, layout.y))


# --- memory ---


def test_dense_rows_sorted_by_task_are_not_copied():
    X, y, tasks = np.ones((6, 2)), np.arange(6.0), np.array([0, 0, 1, 1, 1, 2])
    assert np.shares_memory(make_task_data(X, y, tasks).X, X)
    assert np.shares_memory(make_task_data(X, y).X, X)
    assert np.shares_memory(make_task_data(X, np.ones((6, 3))).X, X)
    assert np.shares_memory(make_task_data(X, y, tasks, sample_weight=np.arange(1.0, 7)).X, X)
    csr = sparse.csr_array(X)
    for data in (make_task_data(csr, y, tasks), make_task_data(csr, np.ones((6, 3)))):
        assert np.shares_memory(data.X.data, csr.data)
    # and where they must be, they come out sorted, C-ordered, in float64
    data = make_task_data(np.asfortranarray(X, dtype=np.float32), y, [2, 1, 2, 0, 2, 0])
    assert data.X.flags.c_contiguous and data.X.dtype == np.float64
    assert data.y.tolist() == [3, 5, 1, 0, 2, 4] and data.indptr.tolist() == [0, 2, 3, 6]


@pytest.mark.parametrize("layout", ["stacked", "shared"])
def test_huge_sparse_designs_stay_sparse(layout, rng):
    n = p = 100_000
    X = sparse.random_array((n, p), density=3e-7, format="csr", rng=0)
    X = X + sparse.coo_array((rng.normal(size=n), (np.arange(n), rng.integers(30, size=n))), shape=(n, p))
    w = np.zeros(p)
    w[:30] = rng.normal(size=30)
    y = X @ w
    args = (
        {"y": np.column_stack([y, 2 * y])}
        if layout == "shared"
        else {"y": y, "tasks": rng.integers(3, size=n)}
    )
    tracemalloc.start()
    start = time.perf_counter()
    fitted = MultiTaskLasso(alpha=3e-3).fit(X.tocsr(), **args)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.abs(fitted.coef_[:, 30:]).max() < 0.5 < np.abs(fitted.coef_[:, :30]).max()
    assert peak < 3e8 and seconds < 20  # dense: 8e10 bytes


def test_shared_design_is_not_expanded(rng):
    X, Y = rng.normal(size=(2000, 100)), rng.normal(size=(2000, 200))
    data = make_task_data(X, Y)
    assert isinstance(data, SharedData) and np.shares_memory(data.X, X)
    assert data.row_weight.shape == (2000, 1) and data.n_designs == 1
    tracemalloc.start()
    MeanRegularizedRegressor(alpha=1.0).fit(X, Y)
    MultiTaskLasso(alpha=0.05).fit(X, Y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * (X.nbytes + Y.nbytes)  # expanded: 200 X.nbytes


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["shared", "sorted", "mixed"])
@pytest.mark.parametrize("name", ["lasso", "trace"])
def test_a_fit_copies_its_design_once_at_most(name, kind, order, rng):
    """Not at all where its rows are in order; in the order of their tasks, and row by row, otherwise."""
    X, tasks = np.asarray(rng.normal(size=(60_000, 60)), order=order), np.arange(60_000) % 4
    y = (X[:, 0] > 0).astype(float)
    args = {"y": y, "tasks": np.sort(tasks) if kind == "sorted" else tasks}
    args = {"y": np.column_stack([y, 1 - y])} if kind == "shared" else args
    fitted = model(name).set_params(alpha=0.4, tol=0.1)
    fitted.fit(X[::900], **{key: value[::900] for key, value in args.items()})  # loads Numba
    tracemalloc.start()
    fitted.fit(X, **args)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    copies = 0 if kind == "shared" or (kind == "sorted" and order == "C") else 1
    assert peak < (copies + 0.7) * X.nbytes  # and what is as long as a column


# --- predict ---


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_sparse_columns_far_from_zero_are_those_of_dense_ones(loss, rng):
    """Whether they have no zeros, or some that are hard to find."""
    X, tasks = rng.normal(size=(200, 3)), np.repeat([0, 1], 100)
    X[:, :2] += 1e3
    X[[3, 40, 117], 0] = 0.0
    y = X[:, 1] - X[:, 2] + 1e-3 * X[:, 0] + 0.1 * rng.normal(size=200)
    model = MultiTaskRegressor(0.1, penalty=Entries(L1()), loss=loss, tol=1e-12)
    dense = clone(model).fit(X, y, tasks=tasks)
    for rows in (sparse.csr_matrix(X), sparse.csc_array(X)):
        model.fit(rows, y, tasks=tasks)
        np.testing.assert_allclose(model.objective_, dense.objective_, rtol=1e-8)
        np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-5)


def test_predict_rows(rng):
    X, codes = rng.normal(size=(20, 3)), rng.integers(4, size=20)
    W, b = rng.normal(size=(4, 3)), rng.normal(size=4)
    expected = (X * W[codes]).sum(axis=1) + b[codes]
    np.testing.assert_allclose(predict_rows(X, codes, W, b), expected)
    np.testing.assert_allclose(predict_rows(sparse.csr_matrix(X), codes, W, b), expected)


# --- stack_tasks ---


def test_stack_tasks_keeps_every_row(rng):
    blocks = {"b": (rng.normal(size=(3, 2)), [1, 2, 3]), "a": (rng.normal(size=(1, 2)), [4])}
    X, y, tasks = stack_tasks(blocks)
    assert tasks.tolist() == ["b", "b", "b", "a"] and y.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(X, np.vstack([block for block, _ in blocks.values()]))
    for other in (
        stack_tasks(list(blocks.values()), names=["b", "a"]),
        stack_tasks(iter(blocks.values()), ["b", "a"]),
    ):
        np.testing.assert_array_equal(other[0], X)
        assert other[2].tolist() == tasks.tolist()
    assert stack_tasks(blocks.values())[2].tolist() == [0, 0, 0, 1]
    mixed = stack_tasks([(sparse.csc_array(blocks["b"][0]), [1, 2, 3]), blocks["a"]])[0]
    assert sparse.issparse(mixed) and mixed.format == "csr"
    np.testing.assert_array_equal(mixed.toarray(), X)
    assert isinstance(make_task_data(X, y, tasks), StackedData)


@pytest.mark.parametrize(
    "args, message",
    [
        (([],), "blocks is empty"),
        (([(np.ones((2, 2)), [1])],), r"task 0: X has 2 rows but y has 1"),
        (
            ([(np.ones((2, 2)), [1, 2]), (np.ones((2, 3)), [1, 2])], ["a", "b"]),
            "task 'b' has 3 features but task 'a' has 2",
        ),
        (([(np.ones((2, 2)), [1, 2])], ["a", "b"]), "names has 2 labels but blocks holds 1 pairs"),
        (({"a": (np.ones((2, 2)), [1, 2])}, ["a"]), "names must be None when blocks is a mapping"),
    ],
)
def test_malformed_blocks(args, message):
    with pytest.raises(ValueError, match=message):
        stack_tasks(*args)


# --- tiny data ---


@pytest.mark.parametrize("kind", [kind for kind, _ in small_layouts()])
@pytest.mark.parametrize("name", task_estimators())
def test_tiny_data(name, kind):
    layout = dict(small_layouts())[kind]
    X, y, tasks = (layout.X, layout.y, layout.tasks) if hasattr(layout, "X") else layout
    if "Classifier" in name:
        y = (y > np.median(y)).astype(int)
    fitted = task_estimators()[name]().fit(X, y, tasks=tasks)
    predicted = fitted.predict(X, tasks=tasks)
    assert predicted.shape == np.shape(y) and np.isfinite(predicted).all()
    assert np.atleast_2d(fitted.coef_).shape == (fitted.n_tasks_, X.shape[1])
    assert fitted.n_tasks_ == (1 if tasks is None else len(set(tasks)))
