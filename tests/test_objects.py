"""Models as scikit-learn objects: its checks, parameters, copies, columns, and the drop-in classes."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # without it scikit-learn skips one check

import inspect
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from by_hand import (
    MODELS,
    TASKS,
    TWO,
    X,
    Y,
    frame,
    strength,
    target,
    y,
)
from conftest import task_estimators
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import MultiTaskElasticNet as SklearnMultiTaskElasticNet
from sklearn.linear_model import MultiTaskLasso as SklearnMultiTaskLasso
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    IncompleteMultiSourceRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
)
from skmtl.penalties import L1, Coupling, Entries

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

# --- what scikit-learn asks of estimators -----------------------------------------------------------

EVERYTHING = {
    "mean_alpha": 0.1,
    "intercept_alpha": 0.5,
    "ridge": 0.1,
    "solver": "fista",
    "handle_unknown": "average",
    "tol": 0.1,
}
LINEAR = [cls for cls in task_estimators().values() if "solver" in cls().get_params()]
ONE_A_FILE = {cls.__module__: cls for cls in LINEAR if not cls.__name__.endswith("Classifier")}.values()
OTHERS = {  # what is not for these
    "LatentBasisRegressor": {"solver": "auto", "n_init": 1},
    "MixedTaskModel": {"handle_unknown": "error"},
}
INSTANCES = [  # with the defaults and without routing: test_estimators.py, and of others: test_baselines.py
    MultiTaskElasticNetCV(alphas=5, cv=2),
    IncompleteMultiSourceRegressor(),
    *(cls(0.05, **EVERYTHING | OTHERS.get(cls.__name__, {})) for cls in (*ONE_A_FILE, GroupSparseClassifier)),
    # one per solver
    MeanRegularizedRegressor(0.05, mean_alpha=0.1, intercept_alpha=0.5, ridge=0.1, warm_start=True),
    MeanRegularizedClassifier(tol=0.5, warm_start=True),
    GroupSparseRegressor(warm_start=True),
    TraceNormRegressor(warm_start=True),
    GroupSparseRegressor(0.05, mean_alpha=0.1, task_weight="samples", fit_intercept=False),
    TraceNormClassifier(0.05, mean_alpha=0.1, task_weight="samples", fit_intercept=False, tol=0.5),
    MultiTaskRegressor(penalty=Coupling() + Entries(L1(0.1))),
]


@pytest.mark.parametrize("estimator", INSTANCES, ids=lambda e: " ".join(repr(e).split()))
def test_check_estimator_with_routing(estimator):
    with sklearn.config_context(enable_metadata_routing=True):
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > (48 if isinstance(estimator, MixedTaskModel) else 50)  # it is of no one kind
    assert [r for r in results if r["status"] != "passed"] == []


@pytest.mark.parametrize("cls", task_estimators().values())
def test_a_task_column_leaves_no_room_for_several_outputs(cls):
    assert get_tags(cls()).target_tags.multi_output
    assert not get_tags(cls(task_column="school")).target_tags.multi_output


# --- a model as an object -----------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["tasks", "column", "single"])
def test_copies_predict_alike(name, form, tmp_path):
    model, goal = clone(MODELS[name]), target(MODELS[name])
    if form == "column":
        fitted, ask = model.set_params(task_column="school").fit(frame(), goal), ((frame(),), {})
    else:
        meta = {"tasks": TASKS} if form == "tasks" else {}
        fitted, ask = model.fit(X, goal, **meta), ((X,), meta)
    expected = fitted.predict(*ask[0], **ask[1])
    joblib.dump(fitted, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model.joblib", mmap_mode="r")):
        assert_array_equal(copy.predict(*ask[0], **ask[1]), expected)
    fresh = clone(fitted)
    assert not hasattr(fresh, "tasks_")
    assert repr(fresh) == repr(fitted)
    assert_array_equal(fresh.fit(ask[0][0], goal, **ask[1]).predict(*ask[0], **ask[1]), expected)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_kept_as_given(name):
    model = MODELS[name]
    params = model.get_params(deep=False)
    assert set(params) == set(inspect.signature(type(model)).parameters)
    again = type(model)(**params)
    assert all(again.get_params(deep=False)[key] is value for key, value in params.items())
    changed = clone(model).set_params(task_column="school", **{strength(model): 7.0})
    assert changed.task_column == "school"
    assert changed.get_params()[strength(model)] == 7.0
    assert "task_column='school'" in repr(changed)
    assert not hasattr(model, "set_output")  # predictors return arrays
    with pytest.raises(ValueError, match="Invalid parameter 'strength'"):
        changed.set_params(strength=1)


def test_nested_parameters_of_a_penalty():
    model = MultiTaskRegressor(penalty=Entries(L1(0.5)))
    assert model.get_params()["penalty__function__alpha"] == 0.5
    found = GridSearchCV(model, {"penalty__alpha": [0.1, 100.0]}, error_score="raise").fit(X, y)
    assert found.best_params_ == {"penalty__alpha": 0.1}
    assert model.penalty.alpha == 0.5


@pytest.mark.parametrize("name", MODELS)
def test_columns_are_those_of_x_with_the_task(name):
    goal = target(MODELS[name])
    model = clone(MODELS[name]).set_params(task_column="school").fit(frame(), goal)
    assert model.feature_names_in_.tolist() == ["u", "school", "v", "w"]
    assert model.n_features_in_ == 4
    for moved in (frame()[["school", "u", "v", "w"]], frame()[["u", "school", "w", "v"]]):
        with pytest.raises(ValueError, match="same order as they were in fit"):
            model.predict(moved)
    with pytest.raises(ValueError, match="yet now missing:\n- school"):
        model.predict(frame().drop(columns="school"))
    with pytest.raises(ValueError, match="unseen at fit time:\n- extra"):
        model.predict(frame().assign(extra=1.0))
    by_tasks = clone(MODELS[name]).fit(frame().drop(columns="school"), goal, tasks=TASKS)
    assert by_tasks.feature_names_in_.tolist() == ["u", "v", "w"]
    with pytest.raises(ValueError, match="unseen at fit time:\n- school"):
        by_tasks.predict(frame(), tasks=TASKS)


@pytest.mark.parametrize("cls", LINEAR)
def test_coefficients_leave_the_task_column_out(cls):
    goal = TWO if "Classifier" in cls.__name__ else y
    model = cls(task_column="school").fit(frame(), goal)
    assert model.coef_.shape == model.deviation_coef_.shape == (5, 3)
    assert "deviation_coef_" not in vars(model)  # nor in memory, where there are many tasks
    assert model.mean_coef_.shape == (3,)
    assert model.intercept_.shape == (5,)


# --- drop-in for scikit-learn's classes ---------------------------------------------------------

DROP_IN = [(MultiTaskLasso, SklearnMultiTaskLasso), (MultiTaskElasticNet, SklearnMultiTaskElasticNet)]
OTHER_VALUES = {
    "alpha": 0.3,
    "l1_ratio": 0.2,
    "fit_intercept": False,
    "copy_X": False,
    "max_iter": 5000,
    "tol": 1e-9,
    "warm_start": True,
    "random_state": 3,
    "selection": "random",
}


@pytest.mark.parametrize("ours, theirs", DROP_IN)
def test_every_parameter_of_scikit_learns_class_means_the_same(ours, theirs):
    complete = np.where(np.isnan(Y), 0.0, Y)
    names = inspect.signature(theirs).parameters
    for name in names:
        params = {"tol": 1e-10, "alpha": 0.1, name: OTHER_VALUES[name]}
        expected, model = theirs(**params).fit(X.copy(), complete), ours(**params).fit(X.copy(), complete)
        assert_allclose(model.coef_, expected.coef_, rtol=1e-3, atol=1e-4)
        assert_allclose(model.intercept_, expected.intercept_, rtol=1e-3, atol=1e-4)
    assert ours(0.25).alpha == theirs(0.25).alpha == 0.25
    for name in ("alpha", "l1_ratio", "fit_intercept"):
        assert ours().get_params().get(name) == theirs().get_params().get(name)


@pytest.mark.parametrize("ours, theirs", DROP_IN)
def test_every_attribute_of_scikit_learns_class_is_there(ours, theirs):
    complete = pd.DataFrame(np.where(np.isnan(Y), 0.0, Y))
    table = frame().drop(columns="school").reset_index(drop=True)
    expected, model = theirs(0.1).fit(table, complete), ours(0.1).fit(table, complete)
    attributes = {name for name in dir(expected) if name.endswith("_") and not name.startswith("_")}
    assert attributes - {"eps_"} <= set(dir(model))  # eps_ is the stopping threshold of their solver
    assert_allclose(model.sparse_coef_.toarray(), model.coef_)
