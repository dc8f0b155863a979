"""Estimators on collections of Dask: what the local ones find, wherever the rows are and whatever happens."""

import doctest
import inspect
import os
import subprocess
import sys
from itertools import pairwise

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from conftest import task_estimators
from distributed import Client, LocalCluster
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import skmtl
import skmtl.dask
from skmtl import TaskStatistics
from skmtl.penalties import L2, Features

N, P, T = 600, 4, 5
FAMILIES = [name for name in skmtl.dask.__all__ if name not in ("PathSearchCV", "TaskModels")]
REGRESSORS = [name for name in FAMILIES if not name.endswith("Classifier")]
PIECES = np.array([0, 130, 131, 131, 400, N])  # a partition with one row, and one without


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def rows(kind="number", seed=0):
    """X, y, tasks: features with a large mean, tasks around a common model."""
    rng = np.random.default_rng(seed)
    X, tasks = rng.normal(size=(N, P)) + 3, rng.integers(T, size=N)
    W = np.array([1.0, -1.0, 0.5, 0.0]) + 0.3 * rng.normal(size=(T, P))
    eta = ((X - 3) * W[tasks]).sum(axis=1) + 0.3 * tasks
    if kind == "class":
        return X, np.array(["no", "yes"])[(eta + rng.logistic(size=N) > 0.5).astype(int)], tasks
    y = rng.poisson(np.exp(0.4 * eta)).astype(float) if kind == "count" else eta + rng.normal(size=N)
    return X, y, tasks


def pieces(*arrays, cuts=PIECES):
    """Lists of delayed partitions."""
    return [[dask.delayed(a[i:j]) for i, j in pairwise(cuts)] for a in arrays]


def chunked(*arrays, cuts=PIECES):
    """Dask Arrays in these partitions, the columns of X in chunks of their own."""
    chunks = tuple(np.diff(cuts).tolist())
    return [da.from_array(a, chunks=(chunks, 3) if a.ndim == 2 else (chunks,)) for a in arrays]


def framed(X, y, tasks):
    """A pandas DataFrame with the tasks as a column of text, and a Series."""
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(P)])
    frame.insert(1, "shop", [f"shop {t}" for t in tasks])
    return frame, pd.Series(y, name="sales")


def made(module, name, **params):
    """An estimator, with the penalty that some need."""
    cls = getattr(module, name)
    if "penalty" in cls().get_params():
        params["penalty"] = Features(L2(1.0))
    return cls(**params)


# --- the squared error ---


def test_every_linear_estimator_is_there():
    missing = {name for name in task_estimators() if name not in FAMILIES}
    assert missing == {"MixedTaskModel"}


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_are_those_of_the_rows(name):
    X, y, tasks = rows()
    latent = name.startswith(
        "LatentBasis"
    )  # not convex: at weak strengths rounding says which minimum is found
    params = {"alpha": 0.5, "tol": 1e-9} if latent else {"alpha": 0.05, "tol": 1e-13}
    local = made(skmtl, name, **params).fit(X, y, tasks=tasks)
    model = made(skmtl.dask, name, **params).fit(*chunked(X, y), tasks=chunked(tasks)[0])
    tol = 1e-6 if latent else 1e-10
    assert_allclose(model.coef_, local.coef_, atol=tol)
    assert_allclose(model.intercept_, local.intercept_, atol=10 * tol)
    assert_array_equal(model.tasks_, local.tasks_)


def test_frames_with_a_task_column():
    frame, y = framed(*rows())
    local = skmtl.GroupSparseRegressor(0.1, task_column="shop").fit(frame, y)
    X = dd.from_pandas(frame, npartitions=5)
    model = skmtl.dask.GroupSparseRegressor(0.1, task_column="shop").fit(X, dd.from_pandas(y, npartitions=5))
    assert_allclose(model.coef_, local.coef_, atol=1e-10)
    assert_array_equal(model.feature_names_in_, frame.columns)
    assert type(model.to_local()) is skmtl.GroupSparseRegressor
    predicted = model.predict(X)
    assert isinstance(predicted, dd.Series)
    pd.testing.assert_series_equal(predicted.compute(), pd.Series(model.to_local().predict(frame)))
    assert_allclose(model.predict(frame), model.to_local().predict(frame))


def test_what_collections_cannot_be_given_is_named():
    frame, y = framed(*rows())
    X, y = dd.from_pandas(frame, npartitions=2), dd.from_pandas(y, npartitions=2)
    model = skmtl.dask.MultiTaskLasso(task_column="shop")
    with pytest.raises(TypeError, match="does not take offset with collections"):
        model.fit(X, y, offset=y)
    with pytest.raises(TypeError, match="does not take offset with collections"):
        model.fit(X, y).predict(X, offset=y)
    with pytest.raises(ValueError, match=r"column\(s\) \['shop'\] of X are not numbers"):
        skmtl.dask.MultiTaskLasso().fit(X, y)
    with pytest.raises(TypeError, match=r"use the estimators of skmtl\.dask"):
        skmtl.MultiTaskLasso(task_column="shop").fit(X, y)
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client or None; got str"):
        model.fit(X, y, client="tcp://here")
    with pytest.raises(TypeError, match="tasks must be a collection of Dask, as X is; got ndarray"):
        skmtl.dask.MultiTaskLasso().fit(X[["x0"]], y, tasks=X["shop"]).predict(X[["x0"]], tasks=np.ones(3))
    with pytest.raises(ValueError, match="Expected 2D array"):
        skmtl.dask.MultiTaskLasso().fit([], [])


def test_rows_in_memory_have_an_offset():
    X, y, tasks = rows("count")
    params = {"alpha": 0.1, "loss": "poisson"}
    offset = np.random.default_rng(1).normal(size=N)
    local = skmtl.MeanRegularizedRegressor(**params).fit(X, y, tasks=tasks, offset=offset)
    model = skmtl.dask.MeanRegularizedRegressor(**params).fit(X, y, tasks=tasks, offset=offset)
    assert_array_equal(model.coef_, local.coef_)
    expected = local.predict(X, tasks=tasks, offset=offset)
    assert_array_equal(model.predict(X, tasks=tasks, offset=offset), expected)


def test_partitions_of_a_frame_are_made_once():
    made_of = []

    def counted(part):
        made_of.append(len(part))
        return part

    frame, y = framed(*rows())
    X = dd.from_pandas(frame.assign(sales=y), npartitions=4)
    X = X.map_partitions(counted, meta=X._meta)
    skmtl.dask.MeanRegularizedRegressor(task_column="shop").fit(X[list(frame.columns)], X["sales"])
    assert len(made_of) == 4


@pytest.mark.parametrize("form", [pieces, chunked])
def test_weights_and_empty_partitions(form):
    X, y, tasks = rows()
    weight = np.random.default_rng(1).uniform(size=N) * (np.arange(N) % 7 > 0)
    local = skmtl.MeanRegularizedRegressor(0.1).fit(X, y, tasks=tasks, sample_weight=weight)
    X, y, tasks, weight = form(X, y, tasks, weight)
    model = skmtl.dask.MeanRegularizedRegressor(0.1).fit(X, y, tasks=tasks, sample_weight=weight)
    assert_allclose(model.coef_, local.coef_, atol=1e-10)


@pytest.mark.parametrize("tasks", [0, 3])
def test_without_tasks_and_with_several_targets(tasks):
    X, y, labels = rows()
    y = y if tasks == 0 else np.where(labels[:, None] == np.arange(3), np.nan, y[:, None] * np.arange(1, 4))
    local = skmtl.TraceNormRegressor(0.1, ridge=0.1, tol=1e-12).fit(X, y)
    parts = chunked(X, y)
    model = skmtl.dask.TraceNormRegressor(0.1, ridge=0.1, tol=1e-12).fit(*parts)
    assert model.coef_.shape == local.coef_.shape
    assert_allclose(model.coef_, local.coef_, atol=1e-8)
    predicted = model.predict(parts[0])
    assert predicted.shape == y.shape
    assert_allclose(predicted.compute(), local.predict(X), atol=1e-7)


def test_lazy_predictions_with_tasks():
    X, y, tasks = rows()
    parts = chunked(X, y, tasks)
    model = skmtl.dask.MeanRegularizedRegressor(0.1).fit(*parts[:2], tasks=parts[2])
    found = model.to_local().predict(X, tasks=tasks)
    assert_allclose(model.predict(parts[0], tasks=parts[2]).compute(), found)
    X, tasks = pieces(X, tasks, cuts=[0, 200, N])
    assert_allclose(np.concatenate(dask.compute(*model.predict(X, tasks=tasks))), found)


def test_the_order_of_sums_is_that_of_partitions():
    """Not that of the workers: the same bits from any scheduler; only rounding from other partitions."""
    X, y, tasks = rows()
    parts = chunked(X, y, tasks, cuts=np.linspace(0, N, 31).astype(int))
    model = skmtl.dask.MeanRegularizedRegressor(0.1)
    one = clone(model).fit(*parts[:2], tasks=parts[2]).coef_
    with dask.config.set(scheduler="threads", num_workers=3):
        assert_array_equal(clone(model).fit(*parts[:2], tasks=parts[2]).coef_, one)
    parts = chunked(X, y, tasks)
    assert_allclose(clone(model).fit(*parts[:2], tasks=parts[2]).coef_, one, rtol=1e-10)


def test_searches_take_one_pass():
    frame, y = framed(*rows())
    search = skmtl.dask.PathSearchCV(skmtl.GroupSparseRegressor(task_column="shop"), alphas=8, cv=3)
    X = dd.from_pandas(frame, npartitions=4)
    search.fit(X, dd.from_pandas(y, npartitions=4))
    batches = [(frame.drop(columns="shop"), y, frame["shop"])]
    local = skmtl.PathSearchCV(skmtl.GroupSparseRegressor(), alphas=8)
    local.fit_statistics(TaskStatistics.from_batches(batches, n_folds=3))
    assert_allclose(search.cv_results_["mean_test_score"], local.cv_results_["mean_test_score"])
    assert search.best_params_["alpha"] == pytest.approx(local.best_params_["alpha"])
    assert_allclose(search.predict(X).compute(), search.to_local().predict(frame))


# --- other losses ---


@pytest.mark.parametrize(
    "extra", [{}, {"intercept_alpha": 0.1}, {"mean_alpha": 0.1}, {"fit_intercept": False}]
)
@pytest.mark.parametrize("name", ["MeanRegularized", "GroupSparse", "Dirty"])
def test_newton_steps_find_the_optimum_and_prove_it(name, extra):
    kind = ("class", "count")[(len(name) // 5 + len(str(extra))) % 2]  # each with half of the pairs
    X, y, tasks = rows(kind)
    params = {"alpha": 0.01, **extra, **({"loss": "poisson"} if kind == "count" else {})}
    name += "Classifier" if kind == "class" else "Regressor"
    local = made(skmtl, name, tol=1e-13, **params).fit(X, y, tasks=tasks)
    model = made(skmtl.dask, name, tol=1e-6, **params)
    X, y, tasks = chunked(X, y, tasks)
    model.fit(X, y, tasks=tasks)
    assert_allclose(model.coef_, local.coef_, atol=1e-6)
    assert model.n_iter_ <= 10
    # the gap is a bound, and not a loose one
    assert model.objective_ - local.objective_ - 1e-14 <= model.dual_gap_ <= 1e-6


@pytest.mark.parametrize("name", [name for name in FAMILIES if name.endswith("Classifier")])
def test_classifiers_are_those_of_the_rows(name):
    X, y, tasks = rows("class")
    local = made(skmtl, name, alpha=0.02, tol=1e-12)
    parts = chunked(X, y, tasks)
    model = made(skmtl.dask, name, alpha=0.02, tol=1e-6)
    if name.startswith(("LatentBasis", "Hierarchical")):
        with pytest.raises(ValueError, match=r"convex|give a tree"):
            model.fit(*parts[:2], tasks=parts[2])
        return
    local.fit(X, y, tasks=tasks)
    model.fit(*parts[:2], tasks=parts[2])
    assert_allclose(model.coef_, local.coef_, atol=1e-5)
    assert_array_equal(model.classes_, local.classes_)
    for method in ("predict_proba", "decision_function"):
        lazy = getattr(model, method)(parts[0], tasks=parts[2]).compute()
        assert_allclose(lazy, getattr(local, method)(X, tasks=tasks), atol=1e-4)
    assert_array_equal(
        model.predict(parts[0], tasks=parts[2]).compute(), model.to_local().predict(X, tasks=tasks)
    )


def test_several_targets_of_classes_with_missing_labels():
    rng = np.random.default_rng(0)
    X, y, _ = rows("class")
    Y = np.column_stack([y == "yes", X[:, 0] + rng.logistic(size=N) > 3, rng.random(N) < 0.3]).astype(float)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    weight = rng.uniform(0.5, 2, size=N)
    local = skmtl.TraceNormClassifier(0.02, tol=1e-12, task_weight="samples").fit(X, Y, sample_weight=weight)
    parts = chunked(X, weight)
    model = skmtl.dask.TraceNormClassifier(0.02, tol=1e-7, task_weight="samples")
    model.fit(parts[0], da.from_array(Y, chunks=100), sample_weight=parts[1])
    assert_allclose(model.coef_, local.coef_, atol=1e-5)
    assert_allclose(model.predict_proba(parts[0]).compute(), local.predict_proba(X), atol=1e-5)


def test_steps_that_go_too_far_are_shortened():
    """Counts without an intercept: the first step, from rates of one, would overflow."""
    X, y, tasks = rows("count")
    y = np.random.default_rng(0).poisson(np.exp(8 + 0.2 * X[:, 0]) * (1 + tasks)).astype(float)
    params = {"alpha": 1e-3, "loss": "poisson", "fit_intercept": False}
    local = skmtl.MeanRegularizedRegressor(tol=1e-12, **params).fit(X, y, tasks=tasks)
    parts = chunked(X, y, tasks)
    model = skmtl.dask.MeanRegularizedRegressor(tol=1e-6, **params).fit(*parts[:2], tasks=parts[2])
    assert_allclose(model.objective_, local.objective_, rtol=1e-6)


def test_a_sample_that_misleads(monkeypatch):
    """A row that is not in the sample, at which its solution overflows."""
    monkeypatch.setattr("skmtl.dask._newton.SAMPLED", 20 * P)
    X, y, tasks = rows("count")
    X[7], y[7] = 3000.0 * np.array([1.0, -1.0, 0.0, 0.0]), 0.0
    params = {"alpha": 0.1, "loss": "poisson", "max_iter": 10_000}
    local = skmtl.MeanRegularizedRegressor(tol=1e-9, **params).fit(X, y, tasks=tasks)
    parts = chunked(X, y, tasks)
    model = skmtl.dask.MeanRegularizedRegressor(tol=1e-6, **params).fit(*parts[:2], tasks=parts[2])
    assert_allclose(model.objective_, local.objective_, rtol=1e-5)


def test_a_task_with_one_class():
    X, y, tasks = rows("class")
    y[tasks == 2] = "no"
    with pytest.warns(UserWarning, match="without some class"):
        local = skmtl.MeanRegularizedClassifier(0.05, tol=1e-12).fit(X, y, tasks=tasks)
    parts = chunked(X, y, tasks)
    with pytest.warns(UserWarning, match="2 lacks \\['yes'\\]"):
        model = skmtl.dask.MeanRegularizedClassifier(0.05, tol=1e-6).fit(*parts[:2], tasks=parts[2])
    assert_allclose(model.objective_, local.objective_, rtol=1e-7)
    assert_allclose(model.coef_[tasks.min()], local.coef_[0], atol=1e-5)


# --- tasks that stay where they are ---


def sorted_rows(n_tasks=40):
    X, y, tasks = rows()
    tasks = np.sort(
        np.append(np.arange(n_tasks), np.random.default_rng(0).integers(n_tasks, size=N - n_tasks))
    )
    cuts = [0, *np.searchsorted(tasks, [7, 20, 20, 21]), N]
    return X, y + 0.1 * tasks, tasks, cuts


BY_TASK = [
    {}, {"alpha": 1e4}, {"mean_alpha": 0.3}, {"mean_alpha": 30.0}, {"ridge": 0.1}, {"fit_intercept": False},
    {"intercept_alpha": 0.3}, {"covariance": [1.0, 2.0, 3.0, 0.5]}, {"alpha": 1e-3},
]  # fmt: skip


@pytest.mark.parametrize("params", BY_TASK)
def test_models_by_task_are_those_of_all_rows(params):
    X, y, tasks, cuts = sorted_rows()
    local = skmtl.MeanRegularizedRegressor(**params, tol=1e-13).fit(X, y, tasks=tasks)
    parts = pieces(X, y, tasks, cuts=cuts)
    found = skmtl.dask.MeanRegularizedRegressor(**params).fit_by_task(*parts[:2], tasks=parts[2])
    assert found.n_tasks_ == len(local.tasks_)
    assert_allclose(found.mean_coef_, local.mean_coef_, atol=1e-9)
    assert_allclose(found.to_local().coef_, local.coef_, atol=1e-9)
    assert_allclose(found.to_local().intercept_, local.intercept_, atol=1e-8)
    assert_allclose(
        found.predict(parts[0], tasks=parts[2]).compute(), local.predict(X, tasks=tasks), atol=1e-8
    )


def test_many_tasks_of_few_rows_by_task():
    """By the rows of each in place of its moments."""
    rng = np.random.default_rng(0)
    tasks = np.repeat([f"customer {t:04d}" for t in range(1300)], 3)
    frame = pd.DataFrame(rng.normal(size=(len(tasks), 5)) + 1, columns=list("abcde")).assign(customer=tasks)
    y = pd.Series(frame["a"] + rng.normal(size=len(tasks)))
    local = skmtl.MeanRegularizedRegressor(0.5, task_column="customer", tol=1e-12).fit(frame, y)
    X = dd.from_pandas(frame.assign(y=y), npartitions=1).repartition(divisions=[0, 1800, len(y) - 1])
    model = skmtl.dask.MeanRegularizedRegressor(0.5, task_column="customer")
    found = model.fit_by_task(X.drop(columns="y"), X["y"])
    assert isinstance(found.coef_, dd.DataFrame) and found.coef_.npartitions == 2
    assert_allclose(found.coef_.loc["customer 0007"].compute().to_numpy()[0], local.coef_[7], atol=1e-9)
    assert_allclose(found.predict(X.drop(columns="y")).compute(), local.predict(frame), atol=1e-9)


def test_partitions_without_weight_hold_no_task():
    X, y, tasks, cuts = sorted_rows()
    weight = np.random.default_rng(0).uniform(1, 2, size=N)
    weight[cuts[1] : cuts[2]] = 0.0
    parts = pieces(X, y, tasks, weight, cuts=cuts)
    found = skmtl.dask.MeanRegularizedRegressor().fit_by_task(
        *parts[:2], tasks=parts[2], sample_weight=parts[3]
    )
    local = skmtl.MeanRegularizedRegressor(tol=1e-13).fit(X, y, tasks=tasks, sample_weight=weight)
    assert found.n_tasks_ == len(local.tasks_) < len(np.unique(tasks))
    assert_allclose(found.to_local().coef_, local.coef_, atol=1e-9)
    assert found.to_local().tasks_.tolist() == local.tasks_.tolist()


def test_tasks_in_several_partitions_are_refused():
    X, y, tasks, cuts = sorted_rows()
    cuts[1] += 1
    parts = pieces(X, y, tasks, cuts=cuts)
    with pytest.raises(ValueError, match="all rows of a task in one partition"):
        skmtl.dask.MeanRegularizedRegressor().fit_by_task(*parts[:2], tasks=parts[2])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "poisson"}, "loss='poisson'"),
        ({"alpha": "auto"}, "alpha='auto'"),
        ({"task_weight": "samples"}, "task_weight='samples'"),
        ({"intercept_alpha": 1.0, "ridge": 1.0}, "beside"),
        ({"alpha": 0.0}, "alpha=0"),
    ],
)
def test_what_models_by_task_cannot_serve(params, message):
    X, y, tasks, cuts = sorted_rows()
    parts = pieces(X, y, tasks, cuts=cuts)
    with pytest.raises(ValueError, match=message):
        skmtl.dask.MeanRegularizedRegressor(**params).fit_by_task(*parts[:2], tasks=parts[2])


# --- a cluster ---


@pytest.fixture(scope="module")
def client():
    options = {"dashboard_address": None, "silence_logs": 60, "threads_per_worker": 1}
    with LocalCluster(n_workers=2, **options) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def test_a_worker_that_dies_changes_nothing(client, tmp_path):
    X, y, tasks = rows("class")
    parts = chunked(X, y, tasks, cuts=np.linspace(0, N, 7).astype(int))
    model = skmtl.dask.MeanRegularizedClassifier(0.1, tol=1e-2)
    expected = clone(model).fit(*parts[:2], tasks=parts[2])
    mark, first = str(tmp_path / "dead"), X[N // 2, 0]

    def deadly(block):
        if block.size and block[0, 0] == first and not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)  # as if it was killed
        return block

    parts[0] = parts[0].rechunk({1: -1}).map_blocks(deadly, dtype=float, meta=np.empty((0, 0)))
    found = clone(model).fit(*parts[:2], tasks=parts[2], client=client)
    assert os.path.exists(mark)
    assert_array_equal(found.coef_, expected.coef_)
    assert_array_equal(found.intercept_, expected.intercept_)


def test_coefficients_stay_on_the_workers(client):
    X, y, tasks, cuts = sorted_rows()
    parts = pieces(X, y, tasks, cuts=cuts)
    found = skmtl.dask.MeanRegularizedRegressor(0.1).fit_by_task(*parts[:2], tasks=parts[2], client=client)
    holders = client.who_has(client.futures_of(found.coef_)) if client.futures_of(found.coef_) else {}
    assert len(holders) == len(cuts) - 1
    local = skmtl.MeanRegularizedRegressor(0.1, tol=1e-13).fit(X, y, tasks=tasks)
    mean = client.compute(found.coef_.mean()).result()
    assert_allclose(mean, local.coef_.mean(axis=0), atol=1e-9)


@pytest.mark.parametrize("search", [GridSearchCV, skmtl.PathSearchCV])
def test_searches_by_joblib_on_a_cluster(client, search):
    frame, y = framed(*rows())
    options = (
        {"param_grid": {"alpha": [0.01, 0.1, 1.0]}}
        if search is GridSearchCV
        else {"alphas": [0.01, 0.1, 1.0]}
    )
    model = search(skmtl.TraceNormRegressor(task_column="shop"), **options, cv=3, n_jobs=2)
    expected = clone(model).set_params(n_jobs=1).fit(frame, y).cv_results_["mean_test_score"]
    with client.as_current(), parallel_config(backend="dask", wait_for_workers_timeout=30):
        found = clone(model).fit(frame, y).cv_results_["mean_test_score"]
    assert_allclose(found, expected, rtol=1e-10)


# --- what is refused ---


def test_arguments_are_named():
    X, y, tasks = rows()
    parts = chunked(X, y, tasks)
    model = skmtl.dask.MeanRegularizedRegressor()
    with pytest.raises(TypeError, match="y must be a collection of Dask"):
        model.fit(parts[0], y, tasks=parts[2])
    with pytest.raises(TypeError, match="that fit or predict"):
        clone(model).fit(X, y, tasks=tasks).score(*parts[:2], tasks=parts[2])
    with pytest.raises(ValueError, match="as many partitions"):
        model.fit(pieces(X)[0], pieces(y, cuts=[0, N])[0])
    with pytest.raises(ValueError, match="cannot be combined with tasks="):
        model.fit(parts[0], parts[0], tasks=parts[2])
    with pytest.raises(ValueError, match="loss must be among"):
        skmtl.dask.GroupSparseRegressor(loss="huber").fit(*parts[:2], tasks=parts[2])
    with pytest.raises(ValueError, match="need rows"):
        skmtl.dask.MeanRegularizedClassifier("auto").fit(*parts[:2], tasks=parts[2])
    with pytest.raises(ValueError, match="3 classes"):
        skmtl.dask.TraceNormClassifier().fit(parts[0], parts[2] % 3, tasks=parts[2])
    with pytest.raises(ValueError, match="different labels"):
        skmtl.dask.TraceNormClassifier().fit(*parts[:2], tasks=parts[2])
    with pytest.raises(ValueError, match="cv must be a number of folds"):
        skmtl.dask.PathSearchCV(skmtl.TraceNormRegressor(), cv=iter([])).fit(*parts[:2])
    with pytest.raises(TypeError, match="squared error"):
        skmtl.dask.PathSearchCV(skmtl.TraceNormClassifier()).fit(*parts[:2])


def test_a_gap_that_is_not_reached_is_told(monkeypatch):
    monkeypatch.setattr("skmtl.dask._newton.SAMPLED", 50 * P)
    monkeypatch.setattr("skmtl.dask._newton.MOST_STEPS", 1)
    X, y, tasks = chunked(*rows("class"))
    with pytest.warns(ConvergenceWarning, match="passes over the data left a duality gap"):
        skmtl.dask.GroupSparseClassifier(0.01, tol=1e-8).fit(X, y, tasks=tasks)


def test_dask_is_asked_for_by_name_only():
    code = "import sys, skmtl; print('dask' in sys.modules); sys.modules['dask'] = None; import skmtl.dask"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "False"
    assert "ImportError: skmtl.dask needs Dask: pip install 'skmtl[dask]'" in found.stderr


@pytest.mark.parametrize("name", [name for name in skmtl.dask.__all__ if name != "LatentBasisClassifier"])
def test_the_example_of_an_estimator_runs(name):
    doc = inspect.getdoc(getattr(skmtl.dask, name))
    example = doctest.DocTestParser().get_doctest(doc, {}, name, None, 0)
    assert len(example.examples) == 6
    assert doctest.DocTestRunner().run(example).failed == 0


def test_collections_without_a_row_are_named():
    table = pd.DataFrame({"a": [1.0, 2.0], "t": [0, 1], "y": [0.0, 1.0]})
    empty = dd.from_pandas(table.iloc[:0], npartitions=1)
    model = skmtl.dask.MeanRegularizedRegressor(0.1, task_column="t")
    with pytest.raises(ValueError, match="X and y have no row with a positive weight"):
        model.fit(empty[["a", "t"]], empty["y"])


@pytest.mark.parametrize("kind", ["class", "count"])
def test_partitions_without_weight_are_passed_over(kind):
    X, y, tasks = rows(kind)
    weight = np.where(np.arange(N) < PIECES[1], 0.0, 1.0)
    name, options = ("Classifier", {}) if kind == "class" else ("Regressor", {"loss": "poisson"})
    local, model = (
        getattr(module, f"MeanRegularized{name}")(0.1, tol=1e-9, **options) for module in (skmtl, skmtl.dask)
    )
    local.fit(X, y, tasks=tasks, sample_weight=weight)
    X, y, tasks, weight = chunked(X, y, tasks, weight)
    model.fit(X, y, tasks=tasks, sample_weight=weight)
    assert_allclose(model.coef_, local.coef_, atol=1e-5)
