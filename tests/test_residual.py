"""A mean of all tasks by any model as the offset of a multi-task model: by hand, fold by fold."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import cut_networks
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skmtl import (
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskMLPRegressor,
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskConformalRegressor,
    TaskKFold,
    TaskResidual,
    TraceNormRegressor,
    compare,
)
from skmtl.datasets import load_hsb82

rng = np.random.default_rng(0)
N, T = 160, 4
TASKS = np.array(["ash", "birch", "cedar", "dune"])[np.arange(N) % T]
X = rng.uniform(-2, 2, size=(N, 3))
ETA = np.sin(2 * X[:, 0]) + X[:, 1] + (np.arange(N) % T - 1.5) * X[:, 2] / 2
y = ETA + 0.1 * rng.normal(size=N)
TWO = np.where(ETA + rng.logistic(size=N) > 0, "yes", "no")
THREE = np.digitize(ETA + rng.logistic(size=N), [-1.0, 1.0])
COUNTS = rng.poisson(np.exp(0.5 * ETA)).astype(float)
TREE = DecisionTreeRegressor(max_depth=4, random_state=0)
FOLDS = TaskKFold(3)
CASES = {
    "numbers": (TREE, MeanRegularizedRegressor(0.1), y),
    "two": (LogisticRegression(), MeanRegularizedClassifier(0.1), TWO),
    "three": (LogisticRegression(), MeanRegularizedClassifier(0.1), THREE),
    "counts": (PoissonRegressor(), MeanRegularizedRegressor(0.1, loss="poisson"), COUNTS),
    "network": (
        TREE,
        MultiTaskMLPRegressor(hidden_layer_sizes=(3,), alpha=0.1, max_iter=10, random_state=0),
        y,
    ),
}


def linked(name, mean, X):
    """The mean on the scale of linear predictors."""
    if name in ("numbers", "network"):
        return mean.predict(X)
    if name == "counts":
        return np.log(mean.predict(X))
    p = mean.predict_proba(X)
    return np.log(p[:, 1] / p[:, 0]) if name == "two" else np.log(p)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
@cut_networks
def test_by_hand(name, weighted):
    mean, task, target = CASES[name]
    weight = np.where(np.arange(N) % 9, 1.5, 0.0) if weighted else None
    model = TaskResidual(mean, task, cv=FOLDS).fit(X, target, tasks=TASKS, sample_weight=weight)
    own = np.ones(N) if weight is None else weight
    offset, rows = None, np.flatnonzero(own)
    for train, test in FOLDS.split(X[rows], target[rows], tasks=TASKS[rows]):
        train, test = rows[train], rows[test]
        fitted = clone(mean).fit(X[train], target[train], sample_weight=own[train])
        part = linked(name, fitted, X[test])
        offset = np.zeros((N, *part.shape[1:])) if offset is None else offset
        offset[test] = part
    whole = clone(mean).fit(X, target, sample_weight=own)
    given = {} if weight is None else {"sample_weight": weight}
    rest = clone(task).fit(X, target, tasks=TASKS, offset=offset, **given)
    asked = {"tasks": TASKS, "offset": linked(name, whole, X)}
    methods = ["predict_proba", "decision_function"] if is_classifier(model) else ["predict"]
    for method in methods:
        assert_allclose(getattr(model, method)(X, tasks=TASKS), getattr(rest, method)(X, **asked), rtol=1e-6)
    assert_array_equal(model.predict(X, tasks=TASKS), rest.predict(X, **asked)) if methods[1:] else None
    assert model.score(X, target, tasks=TASKS) == pytest.approx(rest.score(X, target, **asked))
    assert is_classifier(model) == hasattr(model, "predict_proba") == hasattr(model, "classes_")


def test_a_shared_design_has_a_mean_for_each_column():
    Y = np.column_stack([y[:60], -y[:60] + X[:60, 1]])
    Y[::7, 0] = np.nan
    frame = pd.DataFrame(Y, columns=["one", "two"])
    model = TaskResidual(TREE, MeanRegularizedRegressor(0.1)).fit(X[:60], frame)
    assert isinstance(model.mean_estimator_, SingleTask) and model.tasks_.tolist() == ["one", "two"]
    every = model.predict(X[:9])
    own = model.predict(X[:9], tasks=np.array(["one", "two"])[np.arange(9) % 2])
    assert_allclose(own, every[np.arange(9), np.arange(9) % 2], rtol=1e-12)
    used = ~np.isnan(Y[:, 0])
    mean = clone(TREE).fit(X[:60][used], Y[used, 0])
    rest = model.task_estimator_
    assert_allclose(every[:, 0], mean.predict(X[:9]) + X[:9] @ rest.coef_[0] + rest.intercept_[0], rtol=1e-9)
    labels = np.column_stack([TWO, TWO[::-1] == TWO])[:60]
    labels[:, 1] = np.where(labels[:, 1] == "True", "yes", "no")
    classes = TaskResidual(LogisticRegression(), MeanRegularizedClassifier(0.1)).fit(X[:60], labels)
    assert classes.predict_proba(X[:9]).shape == classes.predict(X[:9]).shape == (9, 2)
    three = np.column_stack([THREE, THREE[::-1]])[:60]
    classes.fit(X[:60], three)
    assert classes.predict_proba(X[:9]).shape == (9, 2, 3)


def test_it_beats_its_parts_where_a_mean_is_nonlinear_and_tasks_differ():
    rng = np.random.default_rng(1)
    X, tasks = rng.uniform(-2, 2, size=(1500, 3)), np.arange(1500) % 30
    mean = 3 * np.sin(2 * X[:, 0]) * X[:, 1]
    y = mean + (X * rng.normal(size=(30, 3))[tasks]).sum(axis=1) + 0.3 * rng.normal(size=1500)
    train, test = slice(900), slice(900, None)
    trees = HistGradientBoostingRegressor(max_iter=40, random_state=0)
    linear = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto")
    given = {"tasks": tasks[test]}
    scores = [
        clone(linear).fit(X[train], y[train], tasks=tasks[train]).score(X[test], y[test], **given),
        clone(trees).fit(X[train], y[train]).score(X[test], y[test]),
        TaskResidual(trees, linear)
        .fit(X[train], y[train], tasks=tasks[train])
        .score(X[test], y[test], **given),
    ]
    assert scores[2] > max(scores[:2]) + 0.1


def test_on_real_data_it_is_better_than_its_mean_and_as_good_as_a_linear_model():
    """HSB82 is linear: trees add nothing there, and folds keep them from taking anything away."""
    data = load_hsb82()
    X, y, schools = (np.asarray(a) for a in (data.data, data.target, data.tasks))
    X, y = X.astype(float), y.astype(float)
    train = np.random.default_rng(0).random(len(y)) < 0.5
    mean = HistGradientBoostingRegressor(max_iter=30, max_leaf_nodes=8, random_state=0)
    linear = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto")
    found = {}
    for name, model in {"linear": linear, "both": TaskResidual(mean, linear)}.items():
        model = clone(model).fit(X[train], y[train], tasks=schools[train])
        found[name] = model.score(X[~train], y[~train], tasks=schools[~train])
    alone = clone(mean).fit(X[train], y[train]).score(X[~train], y[~train])
    assert found["both"] > alone + 0.015 and found["both"] > found["linear"] - 0.01


# --- probabilities of zero ---


def test_probabilities_of_zero_are_taken_to_be_the_least_and_said_to_be():
    forest = RandomForestClassifier(5, random_state=0)
    model = TaskResidual(forest, MeanRegularizedClassifier(0.1), least=0.01)
    with pytest.warns(
        UserWarning, match=r"\d+ of \d+ probabilities of classes .* below 0.01 and taken to be"
    ):
        model.fit(X, TWO, tasks=TASKS)
    assert model.least_ == 0.01
    p = model.mean_estimator_.predict_proba(X)
    assert (p == 0).any()
    with pytest.warns(UserWarning, match=f"{np.count_nonzero(p < 0.01)} of {p.size} probabilities"):
        scores = model.decision_function(X, tasks=TASKS)
    p = np.maximum(p, 0.01)
    offset = np.log(p[:, 1] / p[:, 0])
    assert_allclose(
        scores, model.task_estimator_.decision_function(X, tasks=TASKS, offset=offset), rtol=1e-10
    )
    counts = TaskResidual(
        DecisionTreeRegressor(random_state=0), MeanRegularizedRegressor(0.1, loss="poisson")
    )
    with pytest.warns(UserWarning, match="means of counts"):
        counts.fit(X, COUNTS, tasks=TASKS)
    assert counts.least_ == pytest.approx(1e-4 * COUNTS.mean())
    with pytest.warns(UserWarning, match="means of counts"):
        assert (counts.predict(X, tasks=TASKS) > 0).all()


def test_a_class_that_a_fold_lacks():
    rare = np.where(np.arange(N) < 4, "rare", TWO)
    model = TaskResidual(LogisticRegression(), MeanRegularizedClassifier(0.1), cv=[
        (np.arange(4, N), np.arange(4)), (np.arange(N - 4), np.arange(4, N)),
    ])  # fmt: skip
    with pytest.warns(UserWarning, match="4 of 12 probabilities"):
        model.fit(X, rare, tasks=TASKS)
    assert model.classes_.tolist() == ["no", "rare", "yes"]
    assert model.predict_proba(X, tasks=TASKS).shape == (N, 3)


# --- inside and around others ---


def test_parts_may_be_pipelines_searches_and_models_of_tasks():
    linear = make_pipeline(StandardScaler(), MeanRegularizedRegressor(0.1))
    found = [
        TaskResidual(TREE, part, cv=FOLDS).fit(X, y, tasks=TASKS).predict(X, tasks=TASKS)
        for part in (linear, PathSearchCV(MeanRegularizedRegressor(), [0.1], cv=FOLDS), linear[-1])
    ]
    assert_allclose(found[1], found[2], rtol=1e-6)
    told = TaskResidual(Pooled(TREE, task_indicators=True), TraceNormRegressor(0.1), cv=FOLDS)
    told.fit(X, y, tasks=TASKS)
    assert told.mean_estimator_.task_indicators is True
    assert told.score(X, y, tasks=TASKS) > 0.5
    new = TaskResidual(TREE, MeanRegularizedRegressor(0.1, handle_unknown="average")).fit(X, y, tasks=TASKS)
    rest = new.task_estimator_
    shown = new.mean_estimator_.predict(X[:2]) + X[:2] @ rest.mean_coef_ + rest.mean_intercept_
    assert_allclose(new.predict(X[:2], tasks=["elm", "elm"]), shown)


def test_it_travels_as_any_model_with_tasks():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(wood=TASKS)
    model = TaskResidual(TREE, MeanRegularizedRegressor(0.1), cv=FOLDS)
    column = clone(model).set_params(task_column="wood").fit(frame, y)
    fitted = model.fit(X, y, tasks=TASKS)
    assert_allclose(column.predict(frame), fitted.predict(X, tasks=TASKS), rtol=1e-12)
    with sklearn.config_context(enable_metadata_routing=True):
        grid = {"taskresidual__task_estimator__alpha": [0.1, 1.0]}
        search = GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=FOLDS, error_score="raise")
        search.fit(X, y, tasks=TASKS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    compared = compare(
        {"both": model, "linear": MeanRegularizedRegressor(0.1)}, X, y, TASKS, cv=3, baselines=()
    )
    assert np.isfinite(compared.table["mean"]).all()
    lower, upper = TaskConformalRegressor(model, cv=2).fit(X, y, tasks=TASKS).predict_interval(X, tasks=TASKS)
    assert (lower < upper).all()


def test_a_baseline_of_counts_is_a_model_of_what_a_mean_leaves(rng):
    """On the scale of logarithms: tasks get what they count."""
    tasks, features = np.repeat(np.arange(3), 60), rng.normal(size=(180, 2))
    counts = rng.poisson(np.exp(0.4 * features[:, 0] + tasks))
    model = TaskResidual(PoissonRegressor(), SingleTask(PoissonRegressor())).fit(
        features, counts, tasks=tasks
    )
    found = np.bincount(tasks, model.predict(features, tasks=tasks)) / np.bincount(tasks, counts)
    assert_allclose(found, 1, atol=0.02)


# --- refused ---

LINEAR = MeanRegularizedRegressor(0.1)
REFUSED = {
    "kinds": ((Ridge(), MeanRegularizedClassifier()), y, TypeError, "two regressors or two classifiers"),
    "neither": ((Ridge(), MixedTaskModel()), y, TypeError, "two regressors or two classifiers"),
    "no offset": ((Ridge(), Ridge()), y, TypeError, "task_estimator that takes an offset.*Ridge"),
    "none inside": (
        (LogisticRegression(), SingleTask(LogisticRegression())), TWO, TypeError, "an offset.*SingleTask"
    ),
    "mean": ((RidgeClassifier(), MeanRegularizedClassifier()), TWO, TypeError, "mean_estimator with pred"),
    "hinge": (
        (LogisticRegression(), MeanRegularizedClassifier(loss="squared_hinge")), TWO, TypeError,
        "task_estimator with predict_proba",
    ),
    "column": ((Ridge(), MeanRegularizedRegressor(task_column=0)), y, ValueError, "task_column=0; give it"),
    "classes": (
        (LogisticRegression(), MeanRegularizedClassifier()), np.column_stack([THREE, THREE + 1]), ValueError,
        "every column of y must hold all of the 4 classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("parts, target, error, words", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(parts, target, error, words):
    with pytest.raises(error, match=words):
        TaskResidual(*parts).fit(X, target, tasks=TASKS if target.ndim == 1 else None)


def test_other_errors():
    with pytest.raises(ValueError, match="cv must hold out every row; 80 of 160"):
        TaskResidual(Ridge(), LINEAR, cv=ShuffleSplit(1, test_size=0.5, random_state=0)).fit(
            X, y, tasks=TASKS
        )
    with pytest.raises(TypeError, match="offset was given, but TaskResidual takes none"):
        TaskResidual(Ridge(), LINEAR).fit(X, y, tasks=TASKS, offset=y)
    with pytest.raises(ValueError, match="without knowing the task"):
        TaskResidual(Ridge(), LINEAR).fit(X, y, tasks=TASKS).predict(X)
    with pytest.raises(ValueError, match="not seen in fit"):
        TaskResidual(Ridge(), LINEAR).fit(X, y, tasks=TASKS).predict(X[:1], tasks=["elm"])
    with pytest.raises(TypeError, match="DummyLess does not support sample_weight"):
        TaskResidual(DummyLess(), LINEAR).fit(X, y, tasks=TASKS, sample_weight=np.ones(N))


class DummyLess(Ridge):
    def fit(self, X, y):
        return super().fit(X, y)


def test_the_only_row_of_a_task_is_held_out_as_well(rng):
    seen = []

    class Spy(Ridge):
        def fit(self, X, y, **given):
            self.rows_ = {*X[:, 0].tolist()}
            return super().fit(X, y, **given)

        def predict(self, X):
            seen.append((self.rows_, {*X[:, 0].tolist()}))
            return super().predict(X)

    X, tasks = rng.normal(size=(63, 3)), np.array([*np.repeat(range(4), 15), 7, 8, 9])
    model = TaskResidual(Spy(), MeanRegularizedRegressor()).fit(X, X[:, 0] + tasks, tasks=tasks)
    assert set.union(*(test for _, test in seen)) == {*X[:, 0].tolist()}
    assert not any(train & test for train, test in seen) and model.predict(X, tasks=tasks).shape == (63,)
    with pytest.raises(ValueError, match="cv must hold out every row; 3 of 63"):
        cv = TaskKFold(5, small_tasks="train")
        TaskResidual(Spy(), MeanRegularizedRegressor(), cv=cv).fit(X, X[:, 0] + tasks, tasks=tasks)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("cv", [None, TaskKFold(3), "pairs"])
@pytest.mark.parametrize("wrap", [TaskResidual, TaskConformalRegressor])
def test_rows_without_weight_are_as_if_they_were_not_there(wrap, cv, shared):
    gen = np.random.default_rng(4)
    weight = gen.integers(0, 3, size=N).astype(float)
    used = weight > 0
    target = np.c_[y, ETA] if shared else y
    all_rows = {} if shared else {"tasks": TASKS}
    some = {} if shared else {"tasks": TASKS[used]}
    inner = (RandomForestRegressor(5, random_state=0), MeanRegularizedRegressor(0.1))
    inner = inner if wrap is TaskResidual else inner[1:]
    place = np.cumsum(used) - 1  # of each row among those with a weight
    pairs = [(np.flatnonzero(np.arange(N) % 3 != k), np.flatnonzero(np.arange(N) % 3 == k)) for k in range(3)]
    kept = [[place[part[used[part]]] for part in pair] for pair in pairs]
    first = wrap(*inner, cv=pairs if cv == "pairs" else cv)
    second = wrap(*inner, cv=kept if cv == "pairs" else cv)
    first.fit(X, target, sample_weight=weight, **all_rows)
    second.fit(X[used], target[used], sample_weight=weight[used], **some)
    found, expected = first.predict(X, **all_rows), second.predict(X, **all_rows)
    assert_allclose(found, expected, rtol=1e-10)
    if wrap is TaskConformalRegressor:
        assert_allclose(first.quantiles_, second.quantiles_, rtol=1e-10)


MEANS_OF_COUNTS = [
    RandomForestRegressor(5, criterion="poisson", random_state=0),
    HistGradientBoostingRegressor(loss="poisson", max_iter=3),
    PoissonRegressor(),
]


@pytest.mark.parametrize("mean", MEANS_OF_COUNTS)
def test_a_mean_of_counts_where_some_or_all_are_zero(mean):
    target = np.c_[COUNTS, np.zeros(N)]
    model = TaskResidual(mean, MeanRegularizedRegressor(0.1, loss="poisson"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = model.fit(X, target).predict(X)
        assert found[:, 1].max() < 0.01 and found[:, 0].mean() == pytest.approx(COUNTS.mean(), rel=0.2)
        nothing = Pooled(mean, task_indicators="auto").fit(X, 0 * COUNTS, tasks=TASKS)
        assert_array_equal(nothing.predict(X, tasks=TASKS), 0.0)


@pytest.mark.parametrize("mean", [*MEANS_OF_COUNTS, RandomForestRegressor(5, random_state=0)])
def test_negative_counts_are_refused_in_words_of_the_task_model(mean):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="the Poisson loss needs targets y >= 0; found -1"):
            TaskResidual(mean, MeanRegularizedRegressor(0.1, loss="poisson")).fit(X, COUNTS - 1, tasks=TASKS)


def test_a_forest_of_counts_has_rates_under_an_offset():
    offset = np.log(1.0 + np.arange(N) % 7)
    target = np.random.default_rng(0).poisson(np.exp(offset + 0.5 * X[:, 1])).astype(float)
    model = Pooled(MEANS_OF_COUNTS[0]).fit(X, target, tasks=TASKS, offset=offset)
    rate = model.predict(X, tasks=TASKS)
    assert_allclose(model.predict(X, tasks=TASKS, offset=offset), rate * np.exp(offset))
    assert (rate >= 0).all()
