"""What happens when something goes wrong around a fit: interrupts, limits, threads, forks, old files."""

import json
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from conftest import cut_networks, estimators, make_layout, task_estimators
from golden.make import models
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

import skmtl
from skmtl import MeanRegularizedRegressor, MultiTaskLasso, MultiTaskRegressor, PathSearchCV, TaskStatistics
from skmtl.penalties import L1, L2, Entries, Features, InfConv
from skmtl.solvers import SOLVERS

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

STACKED = make_layout("stacked", n_tasks=3, n=60, p=4)
CLASSES = make_layout("stacked", n_tasks=3, n=60, p=4, classification=True)
OTHER = make_layout("stacked", n_tasks=4, n=60, p=4, seed=1)


def fit_args(name):
    args = (CLASSES if name.endswith("Classifier") else STACKED).fit_args()
    return {key: args[key] for key in ("X", "y")} if name.startswith("Incomplete") else args


# --- interrupts ---


@pytest.fixture
def interrupted(monkeypatch):
    """Switches to solvers that are interrupted."""

    def solver(*args, **kwargs):
        raise KeyboardInterrupt
        yield

    def switch():
        for name in SOLVERS:
            monkeypatch.setitem(SOLVERS, name, replace(SOLVERS[name], iterates=solver))

    return switch


SOLVED_BY = {
    "fista": MultiTaskRegressor(0.1, solver="fista"),
    "bcd": MultiTaskLasso(0.1, solver="bcd"),
    "prox_newton": MultiTaskRegressor(0.1, loss="huber", solver="prox_newton"),
    "splitting": MultiTaskRegressor(
        0.1, solver="splitting", penalty=InfConv([Features(L2()), Entries(L1())])
    ),
    "direct": MeanRegularizedRegressor(1.0, solver="direct"),
    "newton": MeanRegularizedRegressor(1.0, loss="huber", solver="newton"),
    "alternating": skmtl.LatentBasisRegressor(0.1, random_state=0, solver="alternating"),
}
SOLVED_BY |= {name: MultiTaskRegressor(0.1, solver=name) for name in SOLVERS if name not in SOLVED_BY}


def test_every_solver_is_interrupted():
    assert set(SOLVED_BY) == set(SOLVERS)


@pytest.mark.parametrize("name", SOLVED_BY)
def test_an_interrupt_leaves_the_model_as_it_was(name, interrupted):
    model = SOLVED_BY[name].fit(**STACKED.fit_args())
    state, predicted = pickle.dumps(vars(model)), model.predict(STACKED.X, tasks=STACKED.tasks)
    interrupted()
    with pytest.raises(KeyboardInterrupt):
        model.fit(**OTHER.fit_args())
    assert pickle.dumps(vars(model)) == state
    assert_array_equal(model.predict(STACKED.X, tasks=STACKED.tasks), predicted)


def test_an_interrupt_of_a_search_and_of_an_added_task(interrupted):
    search = PathSearchCV(MultiTaskLasso(), [0.1, 1.0], cv=2).fit(**STACKED.fit_args())
    model = MultiTaskLasso(0.1).fit(**STACKED.fit_args())
    states = [pickle.dumps(vars(one)) for one in (search, model)]
    interrupted()
    with pytest.raises(KeyboardInterrupt):
        search.fit(**OTHER.fit_args())
    with pytest.raises(KeyboardInterrupt):
        model.fit_task(STACKED.X[:9], STACKED.y[:9], task=3)
    assert [pickle.dumps(vars(one)) for one in (search, model)] == states


def test_an_interrupt_of_a_network(monkeypatch):
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    model = skmtl.MultiTaskMLPRegressor(hidden_layer_sizes=(4,), max_iter=9, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(**STACKED.fit_args())
    predicted = model.predict(STACKED.X, tasks=STACKED.tasks)
    monkeypatch.setattr("builtins.print", stop)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(verbose=1).fit(**OTHER.fit_args())
    assert_array_equal(model.predict(STACKED.X, tasks=STACKED.tasks), predicted)


# --- one iteration ---


@pytest.mark.parametrize("name", task_estimators())
def test_one_iteration_is_finite_and_says_so(name):
    model = estimators()[name](max_iter=1, tol=1e-12)
    if name.startswith("LatentBasis"):
        model.set_params(alpha=1e-3)  # greater ones leave nothing of W, and nothing to say
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(**fit_args(name))
    assert model.n_iter_ >= 1
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.objective_)
    done = model.dual_gap_ <= 1e-9 * abs(model.objective_)  # False for NaN
    assert done or any(issubclass(w.category, ConvergenceWarning) for w in said)


# --- threads and processes ---


def coefficients(alpha):
    model = MultiTaskLasso(alpha).fit(**STACKED.fit_args())
    return model.coef_


def in_threads(alphas):
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(coefficients, alphas))


ALPHAS = (0.01, 0.05, 0.1, 0.5)


LOKY = [pytest.param(way, marks=pytest.mark.processes) for way in ("threads in loky", "loky in threads")]


@pytest.mark.parametrize("way", ["threads", "fork", *LOKY])
def test_fits_side_by_side_are_those_in_turn(way):
    expected = [coefficients(alpha) for alpha in ALPHAS]
    if way == "threads":
        found = in_threads(ALPHAS)
    elif way == "fork":
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map(coefficients, ALPHAS)
    elif way == "threads in loky":
        halves = joblib.Parallel(2)(joblib.delayed(in_threads)(half) for half in (ALPHAS[:2], ALPHAS[2:]))
        found = [*halves[0], *halves[1]]
    else:
        with ThreadPoolExecutor(2) as pool:
            search = PathSearchCV(MultiTaskLasso(), ALPHAS, cv=2, n_jobs=2, refit=False)
            args = STACKED.fit_args()
            scores = list(pool.map(lambda _: search.fit(**args).cv_results_["mean_test_score"], range(2)))
        search.set_params(n_jobs=None)
        found, expected = scores, [search.fit(**args).cv_results_["mean_test_score"]] * 2
    assert_allclose(found, expected, rtol=1e-12)


# --- other ways to start Python (without a place for compiled code: test_house.py) ---

SCRIPT = """
import json
import warnings
import numpy as np
import skmtl
from skmtl import *
np.random.seed(0)
rng = np.random.default_rng(0)
X, tasks = rng.normal(size=(30, 3)), np.repeat(["a", "b", "c"], 10)
y = X @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=30)
found = {}
models = [MultiTaskLasso(0.1), MeanRegularizedRegressor(1.0, intercept_alpha=0.5), TraceNormRegressor(0.1)]
models += [TemporalRegressor(0.1), GroupSparseClassifier(0.05), HierarchicalRegressor(0.1)]
others = "Incomplete", "TaskConformal"
names = [name for name in skmtl.__all__ if name.endswith("Regressor") and not name.startswith(others)]
models += [getattr(skmtl, name)(max_iter=3) for name in ("MeanRegularizedClassifier", "MultiTaskMLP", *names)]
for model in models:
    goal = y > 0 if "Classifier" in type(model).__name__ else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = model.fit(X, goal, tasks=tasks).predict(X, tasks=tasks)
    found[repr(model)] = getattr(model, "coef_", predicted).tolist()
found["search"] = PathSearchCV(MultiTaskLasso(), [0.1, 1.0], cv=2).fit(X, y, tasks=tasks).best_score_
print(json.dumps(found))
"""


def test_other_ways_to_start_python(capsys):
    """Without the compiler and without docstrings (with the compiler: test_house.py)."""
    exec(SCRIPT, {})  # warm_up is tested in test_house.py
    expected = json.loads(capsys.readouterr().out)
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(skmtl.__file__).parents[1]), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-OO", "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert set(found) == set(expected)
    for name in expected:
        assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-8, err_msg=name)


# --- saved models ---

GOLDEN = sorted((pathlib.Path(__file__).parent / "golden").glob("*/*.pkl"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_models_saved_by_earlier_versions(path):
    kept = pickle.loads(path.read_bytes())
    ask = kept["ask"]
    if isinstance(ask["X"], dict):
        ask = {"X": pd.DataFrame(ask["X"])}
    model = getattr(kept["model"], "best_estimator_", kept["model"])
    assert_allclose(model.predict(**ask), kept["predicted"], rtol=1e-12)
    repr(kept["model"])


def test_a_task_added_to_a_model_saved_by_an_earlier_version():
    """Deviations were stored then, and are formed now."""
    path = pathlib.Path(__file__).parent / "golden" / "0.1.0" / "lasso.pkl"
    model, X = pickle.loads(path.read_bytes())["model"], np.random.default_rng(0).normal(size=(8, 3))
    assert "deviation_coef_" in vars(model)
    model.fit_task(X, X.sum(axis=1), task="dogwood")
    assert_array_equal(model.deviation_coef_, model.coef_ - model.mean_coef_)


@pytest.mark.parametrize(
    "model, fit, ask", [case[1:] for case in models()], ids=[case[0] for case in models()]
)
@cut_networks
def test_skops_files(model, fit, ask):
    model.fit(**fit)
    saved = skops.io.dumps(model)
    unknown = skops.io.get_untrusted_types(data=saved)
    assert all(name.startswith(("skmtl.", "sklearn.metrics._scorer.", "numpy.")) for name in unknown)
    copy = skops.io.loads(saved, trusted=unknown)
    if ask is None:
        model, copy, ask = model.best_estimator_, copy.best_estimator_, {"X": fit["X"], "tasks": fit["tasks"]}
    assert_array_equal(copy.predict(**ask), model.predict(**ask))


def test_skops_keeps_statistics():
    stats = TaskStatistics.from_arrays(STACKED.X, STACKED.y, STACKED.tasks)
    saved = skops.io.dumps(stats)
    copy = skops.io.loads(saved, trusted=skops.io.get_untrusted_types(data=saved))
    assert_array_equal(copy.xx, stats.xx)
