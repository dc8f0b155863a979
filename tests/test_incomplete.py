"""Incomplete multi-source models: against a conic optimum of the paper's words, and how they read X."""

import cvxpy as cp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    IncompleteMultiSourceClassifier,
    IncompleteMultiSourceRegressor,
    TaskStatistics,
)

SOURCES = {"mri": [0, 3], "pet": [1, 5, 6], "csf": [2, 4]}
COLUMNS = list(SOURCES.values())
NAMES = list("abcdefg")
TIGHT = {"tol": 1e-11, "max_iter": 100_000}
BOTH = [IncompleteMultiSourceRegressor, IncompleteMultiSourceClassifier]
both = pytest.mark.parametrize("cls", BOTH)


def make_data(n=160, n_classes=None, seed=0):
    """X with missing sources in four patterns, and a target in which every source counts."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 7)) + 0.5
    y = X @ [1.0, -1.0, 0.5, 0.0, 1.5, 0.0, 0.7] + 2 + 0.3 * rng.normal(size=n)
    kind = rng.integers(4, size=n)
    X[np.ix_(kind == 1, SOURCES["pet"])] = np.nan
    X[np.ix_(kind == 2, SOURCES["csf"])] = np.nan
    X[np.ix_(kind == 3, SOURCES["csf"] + SOURCES["mri"])] = np.nan
    if n_classes:
        y = np.digitize(y + rng.logistic(size=n), np.quantile(y, np.arange(1, n_classes) / n_classes))
    return X, y


def target(cls, n_classes=2):
    return make_data(n_classes=n_classes if cls is IncompleteMultiSourceClassifier else None)


def own_pattern(row):
    """Names of the sources that a row has."""
    return frozenset(name for name, columns in SOURCES.items() if not np.isnan(row[columns]).any())


def columns_of(pattern):
    return sorted(j for name in pattern for j in SOURCES[name])


def label(pattern):
    missing = [name for name in SOURCES if name not in pattern]
    return "without " + ", ".join(missing) if missing else "complete"


def reference(X, y, weight, alpha, classification, rows, **params):
    """Optimum of one model per pattern, each with variables for its own columns only."""
    have = [own_pattern(row) for row in X]
    models, objective = {}, 0
    for pattern in set(have):
        columns = columns_of(pattern)
        used = [h >= pattern if rows == "containing" else h == pattern for h in have]
        A, target, s = X[used][:, columns], y[used], weight[used] / weight[used].sum()
        w, b = cp.Variable(len(columns)), cp.Variable()
        eta = A @ w + b
        loss = cp.logistic(eta) - cp.multiply(target, eta) if classification else cp.square(target - eta) / 2
        emphasis = params.get("task_weight", {}).get(label(pattern), 1.0)
        objective += emphasis * (s @ loss) + params.get("ridge", 0) / 2 * cp.sum_squares(w)
        models[pattern] = (columns, w, b)
    for j in range(X.shape[1]):
        group = [w[columns.index(j)] for columns, w, _ in models.values() if j in columns]
        objective += alpha * cp.norm(cp.hstack(group))
    b = cp.hstack([b for _, _, b in models.values()])
    objective += params.get("intercept_alpha", 0) / 2 * cp.sum_squares(b - cp.sum(b) / len(models))
    problem = cp.Problem(cp.Minimize(objective))
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return problem.value, {label(pattern): (c, w.value) for pattern, (c, w, _) in models.items()}


VARIANTS = {
    "plain": {},
    "ridge": {"ridge": 0.2},
    "intercepts": {"intercept_alpha": 0.5},
    "emphasis": {
        "task_weight": {"complete": 2.0, "without pet": 1.0, "without csf": 0.5, "without mri, csf": 1.0}
    },
}


@both
@pytest.mark.parametrize("rows", ["containing", "equal"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_a_conic_optimum(cls, rows, variant):
    X, y = target(cls)
    weight = np.random.default_rng(1).uniform(0.2, 2.0, size=len(y))
    params = VARIANTS[variant]
    model = cls(0.05, sources=SOURCES, rows=rows, **params, **TIGHT).fit(X, y, sample_weight=weight)
    expected, models = reference(X, y, weight, 0.05, cls is BOTH[1], rows, **params)
    assert model.objective_ == pytest.approx(expected, rel=1e-7)
    assert model.dual_gap_ >= 0
    assert set(model.tasks_) == set(models)
    for name, row in zip(model.tasks_, model.coef_, strict=True):
        columns, w = models[name]
        np.testing.assert_allclose(row[columns], w, atol=1e-4)
        assert not np.delete(row, columns).any()


# --- complete data ---


@pytest.mark.parametrize("options", [{}, {"positive": True}, {"loss": "huber"}, {"ridge": 0.1}])
def test_complete_data_are_those_of_group_sparse(options):
    X, y = make_data()
    X = np.nan_to_num(X)
    model = IncompleteMultiSourceRegressor(0.1, sources=COLUMNS, **options, **TIGHT).fit(X, y)
    other = GroupSparseRegressor(0.1, **options, **TIGHT).fit(X, y)
    for name in ("coef_", "intercept_", "objective_", "support_", "mean_coef_", "n_features_in_"):
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), rtol=1e-9)
        assert np.shape(getattr(model, name)) == np.shape(getattr(other, name))
    np.testing.assert_allclose(model.predict(X), other.predict(X))
    assert model.alpha_max(X, y) == pytest.approx(other.alpha_max(X, y))
    assert model.score(X, y) == pytest.approx(other.score(X, y))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_complete_classes_are_those_of_group_sparse(n_classes):
    X, y = make_data(n_classes=n_classes)
    X = np.nan_to_num(X)
    model, other = IncompleteMultiSourceClassifier(0.02, **TIGHT), GroupSparseClassifier(0.02, **TIGHT)
    model.fit(X, y), other.fit(X, y)
    assert model.coef_.shape == other.coef_.shape and model.intercept_.shape == other.intercept_.shape
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X), atol=1e-8)
    np.testing.assert_allclose(model.decision_function(X), other.decision_function(X), atol=1e-8)


def test_one_pattern_that_lacks_a_source():
    X, y = make_data()
    X[:, SOURCES["pet"]] = np.nan
    X[:, SOURCES["mri"] + SOURCES["csf"]] = np.nan_to_num(X[:, SOURCES["mri"] + SOURCES["csf"]])
    rest = SOURCES["mri"] + SOURCES["csf"]
    model = IncompleteMultiSourceRegressor(0.1, sources=SOURCES, **TIGHT).fit(X, y)
    other = GroupSparseRegressor(0.1, **TIGHT).fit(X[:, rest], y)
    assert model.tasks_.tolist() == ["without pet"]
    np.testing.assert_allclose(model.coef_[rest], other.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X), other.predict(X[:, rest]))
    np.testing.assert_allclose(model.predict(np.nan_to_num(X)), other.predict(X[:, rest]))


# --- fitted attributes ---


@pytest.mark.parametrize("solver", ["auto", "fista"])
def test_attributes(solver):
    X, y = make_data()
    model = IncompleteMultiSourceRegressor(0.1, sources=SOURCES, solver=solver).fit(X, y)
    assert model.tasks_.tolist() == ["complete", "without csf", "without mri, csf", "without pet"]
    assert model.patterns_.tolist() == [
        [True, True, True], [True, True, False], [False, True, False], [True, False, True],
    ]  # fmt: skip
    assert model.patterns_.dtype == bool and model.n_tasks_ == 4
    assert model.coef_.shape == (4, 7) and model.intercept_.shape == (4,)
    for pattern, row in zip(model.patterns_, model.coef_, strict=True):
        lacks = np.concatenate([c for c, there in zip(COLUMNS, pattern, strict=True) if not there] or [[]])
        assert not row[lacks.astype(int)].any()
    np.testing.assert_array_equal(model.support_, np.flatnonzero(model.coef_.any(axis=0)))
    assert 0 <= model.dual_gap_ <= 1e-2 and model.n_iter_ >= 1


def test_at_alpha_max_nothing_is_left():
    X, y = make_data()
    model = IncompleteMultiSourceRegressor(sources=SOURCES, **TIGHT)
    top = model.alpha_max(X, y)
    assert not clone(model).set_params(alpha=1.0001 * top).fit(X, y).coef_.any()
    assert clone(model).set_params(alpha=0.999 * top).fit(X, y).coef_.any()


def test_labels_without_names():
    X, y = make_data()
    model = IncompleteMultiSourceRegressor(sources=COLUMNS).fit(X, y)
    assert model.tasks_.tolist() == ["complete", "without 0, 2", "without 1", "without 2"]
    each = IncompleteMultiSourceRegressor().fit(X, y)
    assert each.tasks_.tolist() == [
        "complete", "without 0, 2, 3, 4", "without 1, 5, 6", "without 2, 4",
    ]  # fmt: skip
    assert each.patterns_.shape == (4, 7)
    np.testing.assert_allclose(each.predict(X), model.predict(X))


@both
def test_warm_start(cls):
    X, y = target(cls)
    model = cls(0.05, sources=SOURCES, warm_start=True, tol=1e-9).fit(X, y)
    n_iter, coef = model.n_iter_, model.coef_
    assert model.fit(X, y).n_iter_ <= min(n_iter, 10)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-4)
    # as many patterns, other ones: what a pattern lacks now is zero all the same
    moved = X.copy()
    moved[np.isnan(X[:, 1])] = np.r_[np.nan, np.zeros(2), np.nan, np.zeros(3)]
    model.fit(moved, y)
    again = clone(model).fit(moved, y)
    assert model.tasks_.tolist() == again.tasks_.tolist() and "without mri" in model.tasks_
    np.testing.assert_array_equal(model.coef_ == 0, again.coef_ == 0)
    np.testing.assert_allclose(model.coef_, again.coef_, atol=1e-3)


# --- weights ---


@both
def test_weights_are_repetitions(cls):
    X, y = target(cls)
    weight = np.random.default_rng(2).integers(0, 4, size=len(y))
    model = cls(0.05, sources=SOURCES, **TIGHT)
    a = clone(model).fit(X, y, sample_weight=weight)
    b = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-6)
    assert a.objective_ == pytest.approx(b.objective_, rel=1e-9)


def test_a_pattern_of_weight_zero_does_not_exist():
    X, y = make_data()
    lacks = np.isnan(X[:, SOURCES["pet"][0]])
    model = IncompleteMultiSourceRegressor(0.1, sources=SOURCES, **TIGHT)
    a = clone(model).fit(X, y, sample_weight=np.where(lacks, 0.0, 1.0))
    b = clone(model).fit(X[~lacks], y[~lacks])
    assert a.tasks_.tolist() == b.tasks_.tolist() and "without pet" not in a.tasks_
    np.testing.assert_allclose(a.coef_, b.coef_)


# --- predict ---


def by_hand(model, row, name):
    """Linear predictor of a row by the model of a pattern."""
    t = model.tasks_.tolist().index(name)
    return np.nan_to_num(row) @ model.coef_[t] + model.intercept_[t]


def test_every_row_is_predicted_by_its_pattern():
    X, y = make_data()
    model = IncompleteMultiSourceRegressor(0.1, sources=SOURCES).fit(X, y)
    expected = [by_hand(model, row, label(own_pattern(row))) for row in X]
    np.testing.assert_allclose(model.predict(X), expected)
    assert model.score(X, y) > 0.5


def test_a_pattern_not_seen_uses_the_largest_within_it():
    X, y = make_data()
    complete = np.isfinite(X).all(axis=1)
    model = IncompleteMultiSourceRegressor(0.1, sources=SOURCES).fit(X[~complete], y[~complete])
    assert model.tasks_.tolist() == ["without csf", "without mri, csf", "without pet"]
    rows = X[complete]
    # two patterns of two sources are within the complete one: the first of them
    np.testing.assert_allclose(model.predict(rows), [by_hand(model, row, "without csf") for row in rows])
    rows = X[complete].copy()
    rows[:, SOURCES["mri"]] = np.nan
    expected = [
        by_hand(model, np.where(np.isin(range(7), [1, 5, 6]), row, 0), "without mri, csf") for row in rows
    ]
    np.testing.assert_allclose(model.predict(rows), expected)
    rows[:, SOURCES["pet"]] = np.nan
    with pytest.raises(ValueError, match=r"can predict row 0 of X, which lacks .* \['mri', 'pet'\]; fitted"):
        model.predict(rows)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_classes(n_classes):
    X, y = make_data(n_classes=n_classes)
    names = np.array(["ash", "birch", "cedar", "dune"])[y]
    model = IncompleteMultiSourceClassifier(0.01, sources=SOURCES, tol=1e-8).fit(X, names)
    p, eta = model.predict_proba(X), model.decision_function(X)
    assert model.classes_.tolist() == sorted(set(names))
    assert p.shape == (len(X), n_classes)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert eta.shape == ((len(X),) if n_classes == 2 else p.shape)
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    assert model.score(X, names) > 1.3 / n_classes and model.dual_gap_ >= 0
    if n_classes > 2:
        assert model.coef_.shape == (4, n_classes, 7)
        lacks = ~model.patterns_[:, [0, 1, 2, 0, 2, 1, 1]]
        assert not model.coef_.transpose(0, 2, 1)[lacks].any()
        # a feature is used by all patterns and classes or by none
        used = model.coef_.any(axis=1)
        np.testing.assert_array_equal(used, used.any(axis=0) & ~lacks)
    i, t = 5, model.tasks_.tolist().index(label(own_pattern(X[5])))
    np.testing.assert_allclose(eta[i], model.coef_[t] @ np.nan_to_num(X[i]) + model.intercept_[t])


def test_squared_hinge_has_no_probabilities():
    X, y = make_data(n_classes=2)
    model = IncompleteMultiSourceClassifier(0.01, sources=SOURCES, loss="squared_hinge").fit(X, y)
    assert model.score(X, y) > 0.6 and not hasattr(model, "predict_proba")


# --- reading X ---


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_with_names(frame):
    X, y = make_data()
    table = frame(dict(zip(NAMES, X.T, strict=True)))
    sources = {label: [NAMES[j] for j in columns] for label, columns in SOURCES.items()}
    model = IncompleteMultiSourceRegressor(0.1, sources=sources).fit(table, y)
    plain = IncompleteMultiSourceRegressor(0.1, sources=SOURCES).fit(X, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    np.testing.assert_array_equal(model.predict(table), plain.predict(X))
    assert model.feature_names_in_.tolist() == NAMES
    each = IncompleteMultiSourceRegressor(0.1).fit(table, y)
    assert each.tasks_.tolist() == ["complete", "without a, c, d, e", "without b, f, g", "without c, e"]


def test_missing_values_of_pandas():
    X, y = make_data()
    table = pd.DataFrame(X, columns=NAMES).convert_dtypes()
    assert table["b"].isna().any() and table["b"].dtype == "Float64"
    model = IncompleteMultiSourceRegressor(0.1, sources=SOURCES).fit(table, y)
    np.testing.assert_array_equal(
        model.coef_, IncompleteMultiSourceRegressor(0.1, sources=SOURCES).fit(X, y).coef_
    )
    with pytest.raises(ValueError, match="same order"):
        model.predict(table[NAMES[::-1]])


def test_forms_of_sources():
    X, y = make_data()
    X = X[:, [0, 3, 1, 5, 6, 2, 4]]
    expected = IncompleteMultiSourceRegressor(0.1, sources=[[0, 1], [2, 3, 4], [5, 6]]).fit(X, y).coef_
    for sources in ([range(2), range(2, 5), range(-2, 0)], (np.arange(2), (2, 3, 4), [5, 6])):
        found = IncompleteMultiSourceRegressor(0.1, sources=sources).fit(X, y).coef_
        np.testing.assert_array_equal(found, expected)


def test_input_is_not_touched():
    X, y = make_data()
    before = X.copy()
    X.flags.writeable = False
    model = IncompleteMultiSourceRegressor(0.1, sources=SOURCES).fit(X, y)
    model.predict(X)
    np.testing.assert_array_equal(X, before)
    float32 = clone(model).fit(X.astype(np.float32, order="F"), y)
    np.testing.assert_allclose(float32.coef_, model.coef_, atol=1e-3)


def test_in_a_pipeline_and_a_search():
    X, y = make_data()
    piped = make_pipeline(StandardScaler(), IncompleteMultiSourceRegressor(sources=SOURCES))
    name = "incompletemultisourceregressor__alpha"
    found = GridSearchCV(piped, {name: [0.01, 100.0]}, cv=3, error_score="raise").fit(X, y)
    assert found.best_params_ == {name: 0.01} and found.best_score_ > 0.5


# --- errors ---


@pytest.mark.parametrize(
    "sources, message",
    [
        ([[0, 1, 2], [3, 4, 5]], r"the column\(s\) \[6\] of X are in no source"),
        ([[0, 1, 2, 3], [3, 4, 5, 6]], "column 3 appears twice"),
        ([[0, 1, 2, 3], [4, 5, 6, -1]], "column -1 appears twice"),
        ([range(7), []], "source 1 has no column"),
        ({"mri": range(7), "pet": []}, "source 'pet' has no column"),
        ([range(8)], "7 is out of range: X has 7 columns"),
        (["a", range(7)], "'a' is not a column of X; X has no column names"),
        ([[0.5], range(7)], "0.5 is not a column of X"),
    ],
)
def test_malformed_sources(sources, message):
    X, y = make_data()
    with pytest.raises(ValueError, match=f"sources: .*{message}"):
        IncompleteMultiSourceRegressor(sources=sources).fit(X, y)


def test_unknown_name_of_a_column():
    X, y = make_data()
    with pytest.raises(ValueError, match=r"sources: 'z' is not a column of X; X has the columns \['a',"):
        IncompleteMultiSourceRegressor(sources=[["a", "z"]]).fit(pd.DataFrame(X, columns=NAMES), y)


def test_names_that_do_not_tell_patterns_apart():
    X, y = np.array([[1.0, 2, np.nan], [np.nan, np.nan, 3], [1, 2, 3]]), np.arange(3.0)
    with pytest.raises(ValueError, match="do not tell the patterns apart"):
        IncompleteMultiSourceRegressor(sources={"u, v": 2, "u": 0, "v": 1}).fit(X, y)


@both
def test_rows_that_cannot_be_read(cls):
    X, y = target(cls)
    model = cls(sources=SOURCES).fit(X, y)
    row = int(np.argmax(np.isfinite(X).all(axis=1)))
    bad = X.copy()
    bad[row, 5] = np.nan
    for call in (lambda: clone(model).fit(bad, y), lambda: model.predict(bad)):
        with pytest.raises(ValueError, match=f"row {row} of X has 1 of the 3 columns of source 'pet'"):
            call()
    bad[row] = np.nan
    for call in (lambda: clone(model).fit(bad, y), lambda: model.predict(bad)):
        with pytest.raises(ValueError, match=f"row {row} of X has no source at all"):
            call()
    bad[row] = np.inf
    for call in (lambda: clone(model).fit(bad, y), lambda: model.predict(bad)):
        with pytest.raises(ValueError, match="Input X contains infinity"):
            call()
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        clone(model).fit(sparse.csr_matrix(np.nan_to_num(X)), y)
    text = pd.DataFrame(X, columns=NAMES).assign(a="x")
    with pytest.raises(ValueError, match=r"The column\(s\) \['a'\] of X are not numbers"):
        clone(model).fit(text, y)


@both
def test_no_other_tasks(cls):
    X, y = target(cls)
    tasks = np.arange(len(y)) % 2
    model = cls(sources=SOURCES).fit(X, y)
    for call in (model.predict, model.decision_function) if cls is BOTH[1] else (model.predict,):
        with pytest.raises(ValueError, match=r"tasks was given, but the tasks .* are the patterns"):
            call(X, tasks=tasks)
    for call in (clone(model).fit, model.score, model.alpha_max):
        with pytest.raises(ValueError, match=r"tasks was given, but the tasks .* are the patterns"):
            call(X, y, tasks=tasks)
    with pytest.raises(ValueError, match=r"y must have shape \(n_samples,\); got \(160, 2\)"):
        clone(model).fit(X, np.column_stack([y, y]))
    for name, value in [("task_column", 0), ("mean_alpha", 0.1), ("handle_unknown", "average")]:
        with pytest.raises(ValueError, match=f"The '{name}' parameter of {cls.__name__} must be"):
            clone(model).set_params(**{name: value}).fit(X, y)


def test_no_moments():
    X, y = make_data()
    stats = TaskStatistics.from_arrays(np.nan_to_num(X), y)
    with pytest.raises(ValueError, match="reads its tasks from the rows"):
        IncompleteMultiSourceRegressor().fit_statistics(stats)
