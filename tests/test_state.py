"""Fitted state changes as a whole or not at all: after a failure an estimator is what it was before."""

import copy
import inspect
import pickle
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import NETWORKS, WRAPPERS, estimators
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

import skmtl
from skmtl import (
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskConformalClassifier,
    TaskConformalRegressor,
    TaskResidual,
    TasksFromColumn,
    TaskStatistics,
)

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

PACKAGE = str(Path(skmtl.__file__).parent)
rng = np.random.default_rng(0)
X = rng.normal(size=(36, 4))
TASKS = np.repeat(["a", "b", "c"], 12)
Y = X @ [1.0, -1.0, 0.5, 0.0] + 0.1 * rng.normal(size=36)


def make(cls):
    """An unfitted instance that fits in no time."""
    if cls is PathSearchCV:
        return cls(skmtl.MeanRegularizedRegressor(), [0.1, 1.0], cv=2)
    small = {"random_state": 0, "alphas": 2, "cv": 2, "hidden_layer_sizes": (3,), "max_iter": 3, "tol": 0.1}
    small["n_init"] = 1
    return cls(**{key: value for key, value in small.items() if key in cls._get_param_names()})


ALL = {name: make(getattr(skmtl, name)) for name in [*estimators(), *sorted(NETWORKS), "PathSearchCV"]}
ALL |= {"SingleTask": SingleTask(Ridge()), "Pooled": Pooled(LogisticRegression(), task_indicators=True)}
ALL |= {
    "TaskConformalRegressor": TaskConformalRegressor(Pooled(Ridge()), cv=2),
    "TaskConformalClassifier": TaskConformalClassifier(Pooled(LogisticRegression()), cv=2),
    "TaskResidual": TaskResidual(Ridge(), skmtl.MeanRegularizedRegressor(0.1), cv=2),
    "TasksFromColumn": TasksFromColumn(skmtl.MeanRegularizedRegressor(0.1), 0),
}


def arguments(model, seed):
    """Arguments of a fit on other rows for every seed."""
    order = np.random.default_rng(seed).permutation(36)[:33]
    y = (np.where(Y > 0, "yes", "no") if is_classifier(model) else Y)[order]
    if isinstance(model, TasksFromColumn):
        return {"X": np.column_stack([TASKS == "a", X[:, 1:]])[order], "y": y}
    tasks = {} if type(model).__name__.startswith("Incomplete") else {"tasks": TASKS[order]}
    return {"X": X[order], "y": y, **tasks}


def quietly(method, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(*args, **kwargs)


@cache
def trained(name):
    """A fitted estimator, pickled."""
    return pickle.dumps(quietly(clone(ALL[name]).fit, **arguments(ALL[name], 0)))


def interrupted_at(k, method, **kwargs):
    """Call a method and interrupt it at the k-th call of a function of the package; the number of calls."""
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        ours = frame.f_code.co_filename.startswith(PACKAGE)
        if event == "call" and ours and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            calls += 1
            if calls == k:
                raise KeyboardInterrupt

    sys.setprofile(count)
    try:
        quietly(method, **kwargs)
    except KeyboardInterrupt:
        assert calls == k
    finally:
        sys.setprofile(None)
    return calls


def assert_whole_when_interrupted(model, method, kwargs, n_points=3):
    """At points all over the method, from its first step to its last."""
    before, content = dict(vars(model)), pickle.dumps(vars(model))
    # the second run finds compiled kernels and cached properties, as those that follow do
    total = [interrupted_at(None, getattr(copy.deepcopy(model), method), **kwargs) for _ in range(2)][-1]
    for k in np.unique(np.linspace(2, 0.95 * total, n_points).astype(int)):
        interrupted_at(k, getattr(model, method), **kwargs)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[key] is value for key, value in before.items())
    assert pickle.dumps(vars(model)) == content


def test_all_public_estimators_are_here():
    assert set(ALL) == set(estimators()) | NETWORKS | WRAPPERS


@pytest.mark.parametrize("name", ALL)
def test_an_interrupted_fit_changes_nothing(name):
    model = pickle.loads(trained(name))
    assert_whole_when_interrupted(model, "fit", arguments(model, 1))


@pytest.mark.parametrize("name", ALL)
def test_an_interrupted_first_fit_leaves_no_state(name):
    assert_whole_when_interrupted(clone(ALL[name]), "fit", arguments(ALL[name], 0), n_points=2)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("wrong", ["X", "y", "weights", "tasks"])
def test_a_refused_fit_changes_nothing(name, wrong):
    """Other tasks and classes, and then an argument that is found out to be wrong."""
    model = pickle.loads(trained(name))
    expected = model.predict(**{key: v for key, v in arguments(model, 0).items() if key != "y"})
    content, bad = pickle.dumps(vars(model)), arguments(model, 1)
    if "tasks" in bad:
        bad["tasks"] = np.where(bad["tasks"] == "a", "z", bad["tasks"])
    if is_classifier(model):
        bad["y"] = np.where(bad["y"] == "yes", "aye", "no")
    if wrong == "X":
        bad["X"] = np.where(np.arange(4) == 3, np.inf, bad["X"])
    elif wrong == "y":
        bad["y"] = [*bad["y"].tolist()[:-1], None]
    elif wrong == "tasks":
        bad["tasks"] = bad["y"][:-1]
    else:
        bad["sample_weight"] = np.zeros(33)
    with pytest.raises((ValueError, TypeError)):
        quietly(model.fit, **bad)
    assert pickle.dumps(vars(model)) == content
    found = model.predict(**{key: v for key, v in arguments(model, 0).items() if key != "y"})
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ["MeanRegularizedRegressor", "MultiTaskLasso", "TraceNormRegressor"])
def test_interrupted_fits_of_other_kinds_change_nothing(name):
    model = pickle.loads(trained(name))
    given = arguments(model, 1)
    stats = TaskStatistics.from_arrays(given["X"], given["y"], given["tasks"])
    assert_whole_when_interrupted(model, "fit_statistics", {"stats": stats})
    new = {"X_new": X[:9], "y_new": Y[:9], "task": "d"}
    assert_whole_when_interrupted(model, "fit_task", new)
    assert_whole_when_interrupted(quietly(model.fit_task, X[:7], Y[:7], task="c2"), "fit_task", new)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_an_interrupted_partial_fit_changes_nothing(name):
    model = quietly(clone(ALL[name]).partial_fit, **arguments(ALL[name], 0))
    assert_whole_when_interrupted(model, "partial_fit", arguments(model, 1))


def test_a_fit_leaves_nothing_of_the_fit_before():
    net = skmtl.MultiTaskMLPRegressor(
        hidden_layer_sizes=(3,), sharing="attention", max_iter=5, random_state=0
    )
    quietly(net.fit, **arguments(net, 0)).set_params(sharing="hard")
    again = quietly(net.fit, **arguments(net, 1))
    assert vars(again).keys() == vars(quietly(clone(net).fit, **arguments(net, 1))).keys()


WITHOUT_ERRORS = {  # whose standard errors would need another model
    "mean": skmtl.MeanRegularizedRegressor(mean_alpha=0.1),
    "ridge": skmtl.MeanRegularizedRegressor(ridge=0.1),
    "huber": skmtl.MeanRegularizedRegressor(loss="huber"),
    "classes": skmtl.MeanRegularizedClassifier(mean_alpha=0.1),
    "sparse graph": skmtl.GraphRegularizedRegressor(l1_ratio=0.5),
    "searched": PathSearchCV(skmtl.TemporalRegressor(), [0.1, 1.0], cv=2),
    "in steps": make_pipeline(skmtl.TemporalRegressor(task_column=0)),
    "wrapped": SingleTask(skmtl.MeanRegularizedRegressor()),
}


@pytest.mark.parametrize("name", [*ALL, *WITHOUT_ERRORS])
def test_what_a_fit_does_not_have_is_absent(name):
    """`dir`, debuggers and displays ask for every attribute and expect an AttributeError at most."""
    model = WITHOUT_ERRORS.get(name)
    if model is None:
        model = pickle.loads(trained(name))
    elif name == "in steps":
        quietly(model.fit, np.column_stack([np.arange(36) % 3, X]), Y)
    else:
        quietly(model.fit, **arguments(model, 0))
    for attribute in {*dir(model), *dir(type(model))}:
        quietly(getattr, model, attribute, None)
    assert model._repr_html_()
