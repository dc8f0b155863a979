"""SingleTask is the wrapped estimator on the rows of each task, Pooled on all rows together."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # read at the first import of scipy; else one check is skipped

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

from skmtl.baselines import Pooled, SingleTask
from skmtl.model_selection import TaskKFold

CHECKED = [
    (SingleTask(Ridge()), False),
    (Pooled(Ridge(), task_indicators=True), False),
    (SingleTask(Ridge(), handle_unknown="average"), True),
    (SingleTask(LogisticRegression()), True),
    (Pooled(Ridge()), True),
    (Pooled(LogisticRegression()), False),
    (Pooled(LogisticRegression(), task_indicators=True), True),
]
WRAPPERS = [SingleTask, Pooled, lambda *args, **kwargs: Pooled(*args, task_indicators=True, **kwargs)]
WRAPPER_IDS = ["single", "pooled", "indicators"]


@pytest.mark.parametrize("estimator, routing", CHECKED, ids=repr)
def test_sklearn_checks(estimator, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert [result for result in results if result["status"] != "passed"] == []


def make_data(kind="regression", n=120, p=4, labels=("b", "a", "c"), seed=0):
    """X, y and labels of rows in random task order; every task has its own relation."""
    rng = np.random.default_rng(seed)
    X, tasks = rng.normal(size=(n, p)), rng.choice(labels, size=n)
    codes = np.searchsorted(sorted(labels), tasks)
    eta = (X * rng.normal(size=(len(labels), p))[codes]).sum(axis=1) + codes + rng.normal(size=n)
    if kind == "regression":
        return X, eta, tasks
    return (
        X,
        np.array(["no", "yes", "maybe"])[np.digitize(eta, [1.0] if kind == "binary" else [0.5, 1.5])],
        tasks,
    )


# --- the meaning ---


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_single_task_is_one_fit_per_task(kind):
    X, y, tasks = make_data(kind)
    weight = np.random.default_rng(1).uniform(0.1, 2, size=len(y))
    estimator = Ridge() if kind == "regression" else LogisticRegression()
    model = SingleTask(estimator).fit(X, y, tasks=tasks, sample_weight=weight)
    assert model.tasks_.tolist() == ["a", "b", "c"] and model.n_tasks_ == len(model.estimators_) == 3
    methods = ["predict"] if kind == "regression" else ["predict", "predict_proba", "decision_function"]
    for t, task in enumerate("abc"):
        rows = tasks == task
        own = clone(estimator).fit(X[rows], y[rows], sample_weight=weight[rows])
        for method in methods:
            ours = getattr(model, method)(X, tasks=tasks)[rows]
            expected = getattr(own, method)(X[rows])
            assert_array_equal(ours, expected) if method == "predict" else assert_allclose(ours, expected)
        assert_allclose(model.estimators_[t].coef_, own.coef_)


@pytest.mark.parametrize("estimator", [Ridge(), LogisticRegression()], ids=repr)
def test_pooled_is_one_fit(estimator):
    X, y, tasks = make_data("binary" if is_classifier(estimator) else "regression")
    model = Pooled(estimator).fit(X, y, tasks=tasks)
    plain = clone(estimator).fit(X, y)
    assert_array_equal(model.predict(X), plain.predict(X))
    assert_array_equal(model.predict(X, tasks=["new"] * len(X)), plain.predict(X))
    assert model.score(X, y) == plain.score(X, y)


def test_task_indicators_are_one_column_per_task():
    X, y, tasks = make_data()
    one_hot = (tasks[:, None] == np.array(["a", "b", "c"])).astype(float)
    expected = Ridge(3.0).fit(np.hstack([X, one_hot]), y).predict(np.hstack([X, one_hot]))
    model = Pooled(Ridge(3.0), task_indicators=True).fit(X, y, tasks=tasks)
    assert_allclose(model.predict(X, tasks=tasks), expected)
    model = Pooled(Ridge(3.0, solver="sparse_cg", tol=1e-12), task_indicators=True)
    model.fit(sparse.coo_array(X), y, tasks=tasks)
    assert_allclose(model.predict(sparse.csc_array(X), tasks=tasks), expected, rtol=1e-6)


@pytest.mark.parametrize("estimator", [Ridge(), LogisticRegression()], ids=repr)
@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
def test_one_task_behaves_as_the_wrapped_estimator(wrap, estimator):
    X, y, _ = make_data("multiclass" if is_classifier(estimator) else "regression")
    model, plain = wrap(estimator).fit(X, y), clone(estimator).fit(X, y)
    assert_array_equal(model.predict(X), plain.predict(X))
    assert model.score(X, y) == plain.score(X, y)
    assert model.n_tasks_ == 1
    if is_classifier(estimator):
        assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
        assert_array_equal(model.decision_function(X), plain.decision_function(X))


# --- one data set in all forms ---


@pytest.mark.parametrize("kind", ["regression", "binary"])
@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
def test_all_containers_agree(wrap, kind):
    X, y, tasks = make_data(kind)
    codes = np.searchsorted(["a", "b", "c"], tasks)
    estimator = Ridge(solver="svd") if kind == "regression" else LogisticRegression(tol=1e-8)
    expected = wrap(estimator).fit(X, y, tasks=tasks).predict(X, tasks=tasks)
    names = [f"x{j}" for j in range(X.shape[1])]
    pandas = pd.DataFrame(X, columns=names, index=np.arange(len(X))[::-1])
    forms = {
        "list": (X.tolist(), y.tolist(), {"tasks": tasks.tolist()}, {}),
        "fortran": (np.asfortranarray(X), pd.Series(y), {"tasks": pd.Series(tasks, index=range(5, 125))}, {}),
        "pandas column": (pandas.assign(t=tasks), y, {}, {"task_column": "t"}),
        "category": (pandas.assign(t=pd.Categorical(tasks)), y, {}, {"task_column": "t"}),
        "middle column": (pandas[["x0"]].assign(t=tasks).join(pandas[names[1:]]), y, {}, {"task_column": 1}),
        "polars": (
            pl.DataFrame(X, schema=names).with_columns(t=pl.Series(tasks)),
            pl.Series(y),
            {},
            {"task_column": "t"},
        ),
        "last column": (np.column_stack([X, codes]), y, {}, {"task_column": -1}),
        "first column": (np.column_stack([codes, X]), y, {}, {"task_column": 0}),
        "object array": (np.column_stack([tasks.astype(object), X]), y, {}, {"task_column": 0}),
    }
    for form, (table, target, args, column) in forms.items():
        model = wrap(estimator, **column).fit(table, target, **args)
        assert model.n_features_in_ == (5 if column else 4), form
        ours = model.predict(table, **args)
        assert_array_equal(ours, expected, form) if kind == "binary" else assert_allclose(
            ours, expected, err_msg=form
        )
        metric = r2_score if kind == "regression" else accuracy_score
        assert_allclose(model.score(table, target, **args), metric(y, expected), err_msg=form)


@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_is_dense(wrap, make):
    X, y, tasks = make_data()
    X = X * (X > 0)
    estimator = Ridge(solver="sparse_cg", tol=1e-12)
    dense = wrap(estimator).fit(X, y, tasks=tasks).predict(X, tasks=tasks)
    assert_allclose(
        wrap(estimator).fit(make(X), y, tasks=tasks).predict(make(X), tasks=tasks), dense, rtol=1e-6
    )


@pytest.mark.parametrize("estimator", [Ridge(), LogisticRegression(tol=1e-8)], ids=repr)
@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_shared_design_is_the_stacked_one_and_missing_labels_are_dropped_rows(wrap, estimator, weighted):
    rng = np.random.default_rng(0)
    X, n_tasks = rng.normal(size=(60, 3)), 4
    eta = X @ rng.normal(size=(3, n_tasks)) + rng.normal(size=n_tasks) + 0.5 * rng.normal(size=(60, n_tasks))
    Y = (eta > 0).astype(float) if is_classifier(estimator) else eta
    Y[rng.random(Y.shape) < 0.3] = np.nan
    weight = rng.uniform(0.5, 2, size=Y.shape) if weighted else None
    task, row = np.nonzero(~np.isnan(Y.T))
    shared = wrap(estimator).fit(X, Y, sample_weight=weight)
    stacked = wrap(estimator).fit(
        X[row], Y[row, task], tasks=task, sample_weight=None if weight is None else weight[row, task]
    )
    prediction = shared.predict(X)
    assert prediction.shape == (60, n_tasks)
    for t in range(n_tasks):
        assert_allclose(prediction[:, t], stacked.predict(X, tasks=np.full(60, t)))
        assert_allclose(shared.predict(X, tasks=np.full(60, t)), prediction[:, t])
    if is_classifier(estimator):
        proba = shared.predict_proba(X)
        assert_allclose(proba[:, 1], shared.predict_proba(X, tasks=np.full(60, 1))[:, 1])
        assert_allclose(shared.decision_function(X)[:, 1], shared.decision_function(X, tasks=np.full(60, 1)))
    metric, seen = accuracy_score if is_classifier(estimator) else r2_score, ~np.isnan(Y)
    scores = [metric(Y[seen[:, t], t], prediction[seen[:, t], t]) for t in range(n_tasks)]
    assert_allclose(shared.score(X, Y), np.mean(scores))


def test_row_weights_of_a_shared_design_count_for_every_task():
    rng = np.random.default_rng(0)
    X, Y, weight = rng.normal(size=(20, 2)), rng.normal(size=(20, 3)), rng.uniform(0, 1, size=20)
    for wrap in WRAPPERS:
        ours = wrap(Ridge()).fit(X, Y, sample_weight=weight).predict(X)
        assert_allclose(ours, wrap(Ridge()).fit(X, Y, sample_weight=np.tile(weight[:, None], 3)).predict(X))


def test_names_of_the_columns_of_y_are_the_tasks():
    X, Y = np.random.default_rng(0).normal(size=(10, 2)), np.random.default_rng(1).normal(size=(10, 2))
    model = SingleTask(Ridge()).fit(X, pd.DataFrame(Y, columns=["weight", "height"]))
    assert model.tasks_.tolist() == ["weight", "height"]
    assert_allclose(model.predict(X[:1], tasks=["height"]), model.predict(X[:1])[:, 1])
    with pytest.raises(ValueError, match="the columns of y name the tasks and must differ"):
        SingleTask(Ridge()).fit(X, pd.DataFrame(Y, columns=["a", "a"]))


def test_shared_design_with_string_classes_and_several_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    Y = np.array(["low", "mid", "top"], dtype=object)[
        np.digitize(X + 0.1 * rng.normal(size=X.shape), [-0.3, 0.3])
    ]
    Y[::7, 0] = None
    Y[1::7, 1] = np.nan
    model = SingleTask(LogisticRegression()).fit(X, Y)
    assert model.classes_.tolist() == ["low", "mid", "top"]
    assert model.predict_proba(X).shape == model.decision_function(X).shape == (40, 2, 3)
    assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=2)], model.predict(X))


def test_column_vector_is_raveled_with_tasks_and_one_task_without():
    X, y, tasks = make_data()
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        raveled = SingleTask(Ridge()).fit(X, y[:, None], tasks=tasks)
    assert_allclose(
        raveled.predict(X, tasks=tasks), SingleTask(Ridge()).fit(X, y, tasks=tasks).predict(X, tasks=tasks)
    )
    assert SingleTask(Ridge()).fit(X, y[:, None]).predict(X).shape == (len(X), 1)


# --- weights ---


@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
def test_rows_of_weight_zero_do_not_exist(wrap):
    X, y, tasks = make_data("multiclass")
    weight = np.random.default_rng(0).integers(0, 3, size=len(y)).astype(float)
    weight[(tasks == "c") | (y == "maybe")] = 0
    model = wrap(LogisticRegression()).fit(X, y, tasks=tasks, sample_weight=weight)
    assert model.tasks_.tolist() == ["a", "b"]
    assert model.classes_.tolist() == ["no", "yes"]
    kept = weight > 0
    repeated = np.repeat(np.flatnonzero(kept), weight[kept].astype(int))
    other = wrap(LogisticRegression()).fit(X[repeated], y[repeated], tasks=tasks[repeated])
    rows = tasks != "c"
    assert_allclose(
        model.predict_proba(X[rows], tasks=tasks[rows]),
        other.predict_proba(X[rows], tasks=tasks[rows]),
        atol=1e-3,
    )


@pytest.mark.parametrize("wrap", [SingleTask, Pooled])
def test_weights_whose_squares_overflow_are_refused(wrap):
    weight = np.full(12, 1e250)
    with pytest.raises(ValueError, match=r"sample_weight is as large as 1e\+250"):
        wrap(Ridge()).fit(np.eye(12), np.arange(12.0), tasks=np.arange(12) % 2, sample_weight=weight)


@pytest.mark.parametrize("wrap", [SingleTask, Pooled])
def test_numbers_that_overflow_are_refused(wrap):
    rng = np.random.default_rng(0)
    X = sparse.csr_array((rng.normal(size=(20, 3)) + 1e8) * [1e100, 1.0, 1e100])
    with pytest.raises(ValueError, match="X is so large that coefficients of Ridge"):
        wrap(Ridge(0.1, fit_intercept=False)).fit(X, rng.normal(size=20), tasks=np.repeat([0, 1], 10))


def test_weights_reach_only_estimators_that_take_them():
    X, y, tasks = make_data()
    SingleTask(KNeighborsRegressor()).fit(X, y, tasks=tasks)  # none given, none passed
    with pytest.raises(TypeError, match="KNeighborsRegressor does not support sample_weight"):
        SingleTask(KNeighborsRegressor()).fit(X, y, tasks=tasks, sample_weight=np.ones(len(y)))
    search = GridSearchCV(Ridge(), {"alpha": [1.0]})
    weighted = SingleTask(search).fit(X, y, tasks=tasks, sample_weight=np.arange(len(y)) + 1.0)
    plain = SingleTask(search).fit(X, y, tasks=tasks)
    assert not np.allclose(weighted.predict(X, tasks=tasks), plain.predict(X, tasks=tasks))


# --- classes that a task lacks, tasks that fit has not seen ---


def test_task_with_one_class_predicts_it():
    X, y, tasks = make_data("binary")
    y = np.where(tasks == "b", "no", y)
    model = SingleTask(LogisticRegression()).fit(X, y, tasks=tasks)
    rows = tasks == "b"
    assert set(model.predict(X[rows], tasks=tasks[rows])) == {"no"}
    assert_array_equal(model.predict_proba(X[rows], tasks=tasks[rows]), np.tile([1.0, 0.0], (rows.sum(), 1)))
    assert_array_equal(model.decision_function(X[rows], tasks=tasks[rows]), -np.ones(rows.sum()))
    assert model.decision_function(X, tasks=tasks).shape == (len(X),)


def test_missing_classes_have_probability_zero():
    X, y, tasks = make_data("multiclass")
    keep = ~((tasks == "a") & (y == "maybe")) & ~((tasks == "b") & (y != "no"))
    model = SingleTask(LogisticRegression()).fit(X[keep], y[keep], tasks=tasks[keep])
    proba, decision = model.predict_proba(X, tasks=tasks), model.decision_function(X, tasks=tasks)
    assert proba.shape == decision.shape == (len(X), 3)
    assert_allclose(proba.sum(axis=1), 1)
    assert (proba[tasks == "a", 0] == 0).all() and (proba[tasks == "b", 1] == 1).all()
    for scores in (proba, decision):
        assert_array_equal(model.classes_[scores.argmax(axis=1)], model.predict(X, tasks=tasks))


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), RidgeClassifier(), LinearSVC(), LinearRegression()], ids=repr
)
def test_unknown_tasks(estimator):
    X, y, tasks = make_data("binary" if is_classifier(estimator) else "regression")
    asked = np.where(np.arange(len(X)) < 5, "new", tasks)
    strict = SingleTask(estimator).fit(X, y, tasks=tasks)
    message = (
        r"1 label\(s\) not seen in fit: \['new'\].*\['a', 'b', 'c'\].*TaskKFold.*handle_unknown='average'"
    )
    with pytest.raises(ValueError, match=message):
        strict.predict(X, tasks=asked)
    model = SingleTask(estimator, handle_unknown="average").fit(X, y, tasks=tasks)
    assert_array_equal(model.predict(X, tasks=asked)[5:], strict.predict(X, tasks=tasks)[5:])
    name = next(m for m in ("predict_proba", "decision_function", "predict") if hasattr(model, m))
    average = np.mean([getattr(e, name)(X[:5]) for e in model.estimators_], axis=0)
    if is_classifier(estimator):
        average = model.classes_[average.argmax(axis=1) if average.ndim == 2 else (average > 0).astype(int)]
        assert_array_equal(model.predict(X, tasks=asked)[:5], average)
    else:
        assert_allclose(model.predict(X, tasks=asked)[:5], average)


def test_indicators_refuse_unknown_tasks():
    X, y, tasks = make_data()
    model = Pooled(Ridge(), task_indicators=True).fit(X, y, tasks=tasks)
    with pytest.raises(ValueError, match=r"not seen in fit: \['z'\].*handle_unknown='average'"):
        model.predict(X[:1], tasks=["z"])


class Told(RegressorMixin, BaseEstimator):
    """Keeps what it is told; `listed` is what its fit says of categories."""

    def fit(self, X, y, categorical_feature=None):
        self.X_, self.listed_ = X, categorical_feature
        return self

    def predict(self, X):
        return X[:, -1]


class ToldOfObjects(Told):
    """The same, as CatBoost has it."""

    def fit(self, X, y, cat_features=None):
        return super().fit(X, y, cat_features)


@pytest.mark.parametrize("form", [True, "encoded", "category", "auto"])
def test_rows_of_unknown_tasks_are_told_as_of_none(form):
    X, y, tasks = make_data()
    model = Pooled(Ridge() if form is True else Told(), task_indicators=form, handle_unknown="average")
    model.fit(X, y, tasks=tasks)
    found = model.predict(X[:1], tasks=["z"])
    if form is True:
        assert_allclose(found, X[:1] @ model.estimator_.coef_[:4] + model.estimator_.intercept_)
    else:
        assert_allclose(found, y.mean() if form == "encoded" else -1.0)


def test_a_category_is_the_number_of_the_task_where_the_estimator_looks_for_it():
    X, y, tasks = make_data()
    codes = np.searchsorted(["a", "b", "c"], tasks)
    X[:, 0] = codes[::-1]
    table = np.column_stack([X, codes])
    boosting = HistGradientBoostingRegressor(max_iter=5)
    for own in ([0], [True, False, False, False], None):
        listed = [4] if own is None else [0, 4]
        wanted = clone(boosting).set_params(categorical_features=listed).fit(table, y).predict(table)
        model = Pooled(clone(boosting).set_params(categorical_features=own), task_indicators="category")
        assert_array_equal(model.fit(X, y, tasks=tasks).predict(X, tasks=tasks), wanted)
    for estimator, kind in [(Told(), np.float64), (ToldOfObjects(), object)]:
        model = Pooled(estimator, task_indicators="category").fit(X, y, tasks=tasks)
        assert model.estimator_.listed_ == [4] and model.estimator_.X_.dtype == kind
        assert_array_equal(model.estimator_.X_[:, 4].astype(int), codes)
    with pytest.raises(ValueError, match=r"task_indicators='category' is for estimators.*Ridge has none"):
        Pooled(Ridge(), task_indicators="category").fit(X, y, tasks=tasks)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_the_mean_target_of_a_task_is_that_of_other_rows(kind):
    """A row is not told its own target, nor those of its fold; new rows are told that of all."""
    X, y, tasks = make_data(kind)
    estimator = Told() if kind == "regression" else DecisionTreeClassifier(max_depth=2)
    model = Pooled(estimator, task_indicators="encoded").fit(X, y, tasks=tasks)
    classes = [None] if kind == "regression" else model.classes_[1:] if kind == "binary" else model.classes_
    targets = [y if c is None else (y == c).astype(float) for c in classes]
    columns = model._told_[0].columns(np.arange(3))
    assert columns.shape == (3, len(targets))
    for target, found in zip(targets, columns.T, strict=True):
        own = np.array([target[tasks == task].mean() for task in "abc"])
        between = (found - target.mean()) / (own - target.mean())
        assert ((between > 0.2) & (between <= 1)).all()  # shrunk
    if kind == "regression":
        told, other = model.estimator_.X_[:, 4], y.copy()
        other[7] += 100
        again = Pooled(estimator, task_indicators="encoded").fit(X, other, tasks=tasks).estimator_.X_[:, 4]
        same = told == again
        assert same[7] and same.sum() == 120 // 5 and len(np.unique(told)) == 15


def test_more_tasks_than_bins_are_told_by_their_mean_target():
    rng = np.random.default_rng(0)
    tasks, level = np.repeat(np.arange(300), 6), rng.normal(size=300)
    X, y = rng.normal(size=(1800, 2)), level[tasks] + 0.1 * rng.normal(size=1800)
    for form in ("category", "auto"):
        model = Pooled(HistGradientBoostingRegressor(max_iter=50), task_indicators=form)
        model.fit(X, y, tasks=tasks)
        assert not model.estimator_.is_categorical_ and model.estimator_.n_features_in_ == 3
        assert model.score(X, y, tasks=tasks) > 0.9


def test_auto_tells_the_task_as_the_estimator_can_take_it():
    X, y, tasks = make_data()
    frame = pd.DataFrame(X, columns=list("vwxz")).assign(town=np.where(X[:, 0] > 0, "here", "there"))
    encoder = make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough")
    untold = Pooled(make_pipeline(encoder, Ridge()), task_indicators="auto").fit(frame, y, tasks=tasks)
    assert_allclose(untold.predict(frame), make_pipeline(encoder, Ridge()).fit(frame, y).predict(frame))
    told = Pooled(Ridge(), task_indicators="auto").fit(X, y, tasks=tasks)
    wanted = Pooled(Ridge(), task_indicators=True).fit(X, y, tasks=tasks)
    assert_array_equal(told.predict(X, tasks=tasks), wanted.predict(X, tasks=tasks))
    both = Pooled(HistGradientBoostingRegressor(max_iter=3), task_indicators="auto").fit(X, y, tasks=tasks)
    assert both.estimator_.is_categorical_.tolist() == [False] * 5 + [True]
    gaps = np.where(X > 1.5, np.nan, X)  # what is missing is left to the estimator
    assert np.isfinite(clone(both).fit(gaps, y, tasks=tasks).predict(gaps, tasks=tasks)).all()


# --- refusals ---


@pytest.mark.parametrize("wrap", [WRAPPERS[0], WRAPPERS[2]], ids=["single", "indicators"])
def test_no_prediction_without_tasks(wrap):
    X, y, tasks = make_data()
    model = wrap(Ridge()).fit(X, y, tasks=tasks)
    message = (
        r"3 tasks and cannot predict.*predict\(X, tasks=\.\.\.\).*enable_metadata_routing=True.*task_column="
    )
    for call in (model.predict, lambda X: model.score(X, y)):
        with pytest.raises(ValueError, match=message):
            call(X)


X, Y, TASKS = make_data()
REFUSED = {
    r"tasks= and task_column=0 both say": lambda: SingleTask(Ridge(), task_column=0).fit(X, Y, tasks=TASKS),
    r"y of shape \(120, 2\) has one column per task": lambda: SingleTask(Ridge()).fit(
        X, np.column_stack([Y, Y]), tasks=TASKS
    ),
    r"y of shape \(120, 2\) .*task_column=": lambda: SingleTask(Ridge(), task_column=0).fit(
        X, np.column_stack([Y, Y])
    ),
    "tasks has 2 labels but X has 120 rows": lambda: SingleTask(Ridge()).fit(X, Y, tasks=["a", "b"]),
    "tasks has 1 labels but X has 120 rows": lambda: (
        SingleTask(Ridge()).fit(X, Y, tasks=TASKS).predict(X, tasks=["a"])
    ),
    "was fitted without tasks": lambda: SingleTask(Ridge()).fit(X, Y).predict(X, tasks=TASKS),
    r"no usable label .* in task\(s\) \[1\]": lambda: SingleTask(Ridge()).fit(
        X, np.column_stack([Y, np.full(120, np.nan)])
    ),
    "Input y contains NaN": lambda: SingleTask(Ridge()).fit(X, np.where(Y > 0, Y, np.nan), tasks=TASKS),
    "Input y contains infinity": lambda: SingleTask(Ridge()).fit(
        X, np.column_stack([Y, np.full(120, np.inf)])
    ),
    "Input X contains NaN": lambda: SingleTask(Ridge()).fit(np.where(X > 0, X, np.nan), Y, tasks=TASKS),
    r"y holds only one class, \[1\.0\]": lambda: SingleTask(LogisticRegression()).fit(
        X, np.ones(120), tasks=TASKS
    ),
    "inconsistent numbers of samples": lambda: SingleTask(Ridge()).fit(X, Y[:5], tasks=TASKS),
    "target y is None": lambda: SingleTask(Ridge()).fit(X, None, tasks=TASKS),
    "sample_weight must have shape": lambda: SingleTask(Ridge()).fit(X, Y, tasks=TASKS, sample_weight=[1.0]),
    "sample_weight is zero for every row": lambda: Pooled(Ridge()).fit(
        X, Y, tasks=TASKS, sample_weight=np.zeros(120)
    ),
    "X has 3 features, but SingleTask is expecting 4": lambda: (
        SingleTask(Ridge()).fit(X, Y, tasks=TASKS).predict(X[:, 1:], tasks=TASKS)
    ),
    "'handle_unknown' parameter": lambda: SingleTask(Ridge(), handle_unknown="mean").fit(X, Y),
    "'task_column' parameter": lambda: SingleTask(Ridge(), task_column=1.5).fit(X, Y),
    "'estimator' parameter": lambda: SingleTask("ridge").fit(X, Y),
    "task_column='school' names a column, but X is a ndarray": lambda: Pooled(
        Ridge(), task_column="school"
    ).fit(X, Y),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_unfitted():
    with pytest.raises(NotFittedError):
        SingleTask(Ridge()).predict(X, tasks=TASKS)
    with pytest.raises(NotFittedError):
        Pooled(LogisticRegression()).predict_proba(X)


def test_methods_are_those_of_the_wrapped_estimator():
    assert not hasattr(SingleTask(Ridge()), "predict_proba")
    assert hasattr(SingleTask(LinearSVC()), "decision_function")
    assert not hasattr(SingleTask(LinearSVC()), "predict_proba")
    assert not hasattr(Pooled(DecisionTreeClassifier()), "decision_function")


# --- inside scikit-learn ---


@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
def test_routing_needs_no_requests(wrap):
    X, y, tasks = make_data()
    expected = wrap(Ridge()).fit(StandardScaler().fit_transform(X), y, tasks=tasks)
    expected = expected.predict(StandardScaler().fit_transform(X), tasks=tasks)
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), wrap(Ridge())).fit(X, y, tasks=tasks)
        assert_allclose(pipe.predict(X, tasks=tasks), expected)
        scores = cross_val_score(
            wrap(Ridge()), X, y, params={"tasks": tasks}, cv=TaskKFold(3), error_score="raise"
        )
    for score, (train, test) in zip(scores, TaskKFold(3).split(X, y, tasks=tasks), strict=True):
        fitted = wrap(Ridge()).fit(X[train], y[train], tasks=tasks[train])
        assert_allclose(score, fitted.score(X[test], y[test], tasks=tasks[test]))


def test_task_column_works_in_plain_scikit_learn():
    X, y, tasks = make_data()
    frame = pd.DataFrame(X, columns=list("wxyz")).assign(school=tasks)
    search = GridSearchCV(
        SingleTask(Ridge(), task_column="school"),
        {"estimator__alpha": [0.1, 1e5]},
        scoring="r2",
        error_score="raise",
        cv=TaskKFold(3, task_column="school"),
    ).fit(frame, y)
    assert search.best_params_ == {"estimator__alpha": 0.1}
    held_out = cross_val_predict(search, frame, y, cv=TaskKFold(3, task_column="school"))
    assert np.corrcoef(held_out, y)[0, 1] > 0.7
    for t, task in enumerate("abc"):
        rows = tasks == task
        assert_allclose(
            search.predict(frame)[rows],
            search.best_estimator_.estimators_[t].predict(frame.loc[rows, list("wxyz")]),
        )


@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
def test_pickle_and_clone(wrap):
    X, y, tasks = make_data()
    model = wrap(Ridge()).fit(X, y, tasks=tasks)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X, tasks=tasks), model.predict(X, tasks=tasks))
    assert re.sub(r"\s", "", repr(clone(model))) == re.sub(r"\s", "", repr(model))
    assert not hasattr(model.estimator, "coef_")


def test_order_of_rows_and_names_of_tasks_change_nothing():
    X, y, tasks = make_data()
    order = np.random.default_rng(5).permutation(len(X))
    renamed = np.array([{"a": 30, "b": 10, "c": 20}[task] for task in tasks])
    for wrap in WRAPPERS:
        expected = wrap(Ridge()).fit(X, y, tasks=tasks).predict(X, tasks=tasks)
        other = wrap(Ridge()).fit(X[order], y[order], tasks=renamed[order])
        assert_allclose(other.predict(X, tasks=renamed), expected)


@pytest.mark.parametrize("wrap", WRAPPERS, ids=WRAPPER_IDS)
def test_a_fit_without_tasks_says_that_columns_are_features(wrap):
    X, y, tasks = make_data(labels=(1, 2, 3))
    with pytest.warns(UserWarning, match="was fitted without tasks: it is its estimator alone"):
        model = wrap(Ridge()).fit(np.c_[tasks, X], y)
    assert_allclose(model.predict(np.c_[tasks, X]), Ridge().fit(np.c_[tasks, X], y).predict(np.c_[tasks, X]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrap(Ridge()).fit(X, y, tasks=tasks)
        wrap(Ridge(), task_column=0).fit(np.c_[tasks, X], y)
        wrap(Ridge()).fit(X, np.c_[y, y])
