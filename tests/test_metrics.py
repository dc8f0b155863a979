"""Scores per task equal the metric on the rows of the task; the scorer carries tasks to predict."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    explained_variance_score,
    get_scorer,
    log_loss,
    make_scorer,
    mean_absolute_error,
    mean_pinball_loss,
    mean_squared_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import GroupSparseClassifier, MixedTaskModel, _task_scores, compare, suggest
from skmtl.baselines import Pooled, SingleTask
from skmtl.comparison._folds import FoldRun
from skmtl.datasets import make_multitask_classification, make_multitask_regression
from skmtl.metrics import (
    average_relative_rmse,
    explained_variance_per_task,
    explained_variance_within,
    mean_task_score,
    normalized_mse,
    per_task_score,
    task_scorer,
)
from skmtl.model_selection import TaskKFold

REGRESSION = make_multitask_regression(5, 24, 4, structure="mean", random_state=0)
CLASSES = make_multitask_classification(5, 40, 4, structure="mean", random_state=0)
SHARED = make_multitask_regression(5, 40, 4, layout="shared", missing=0.3, structure="mean", random_state=0)


def stacked():
    rng = np.random.default_rng(0)
    tasks = rng.permutation(np.repeat(["b", "a", "c"], [10, 20, 5]))
    y = rng.normal(size=35)
    return y, y + rng.normal(size=35), tasks, rng.uniform(0.5, 2, size=35)


# --- scores of predictions ---


@pytest.mark.parametrize(
    "metric", [normalized_mse, average_relative_rmse, explained_variance_within, explained_variance_per_task]
)
def test_predictions_of_one_column_are_those_of_the_rows(metric):
    """They are not broadcast to all pairs of rows."""
    y, predicted, tasks, _ = stacked()
    assert metric(y, predicted[:, None], tasks) == metric(y, predicted, tasks)
    with pytest.raises(ValueError, match=r"y_pred must have shape \(35,\) as y_true; got \(35, 2\)"):
        metric(y, np.column_stack([predicted, y]), tasks)


@pytest.mark.parametrize("level", [0.1, 1.0, -1e8, 1e-80, 1 / 3])
@pytest.mark.parametrize("n", [3, 7, 1000])
def test_a_target_that_is_constant_but_for_rounding_has_no_variance(level, n):
    """As for ones: R^2 is 1 for exact predictions and 0 for others, shares of the variance are undefined."""
    ulp = np.nextafter(level, np.inf)
    for y in (np.full(n, level), np.where(np.arange(n) % 2, level, ulp)):
        for exact in (np.full(n, level), np.full(n, level * (1 + 1e-15)), y):
            assert per_task_score("r2", y, exact) == {0: 1.0}
            assert per_task_score(explained_variance_score, y, exact) == {0: 1.0}
        assert per_task_score("r2", y, 2 * y) == {0: 0.0}
        assert np.isnan([explained_variance_within(y, 2 * y), explained_variance_per_task(y, 2 * y)[0]]).all()
        y, tasks = np.r_[y, 1.0, 2.0, 3.0], np.r_[np.zeros(n), np.ones(3)]
        p = np.r_[2 * y[:n], 1.0, 2.0, 3.1]
        with pytest.warns(UndefinedMetricWarning, match=r"1 of 2 tasks"):
            assert normalized_mse(y, p, tasks) == pytest.approx(0.005)
        with pytest.warns(UndefinedMetricWarning, match=r"1 of 2 tasks"):
            assert average_relative_rmse(y, p, tasks) == pytest.approx(0.005**0.5)
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(
            average_relative_rmse(np.full(n, level), np.zeros(n), train_mean=[level * (1 + 1e-16)])
        )
    close = 1.0 + np.arange(n) * 1e-13  # small, but no rounding
    assert explained_variance_within(close, close) == 1.0


@pytest.mark.parametrize("metric", ["r2", r2_score, "neg_mean_squared_error", root_mean_squared_error])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_metric_on_each_task(metric, weighted):
    y, p, tasks, weight = stacked()
    function = {"r2": r2_score, "neg_mean_squared_error": lambda *a, **k: -mean_squared_error(*a, **k)}.get(
        metric, metric
    )
    weight = weight if weighted else None
    scores = per_task_score(metric, y, p, tasks, weight)
    assert list(scores) == ["a", "b", "c"]
    for task, score in scores.items():
        rows = tasks == task
        assert_allclose(
            score, function(y[rows], p[rows], sample_weight=None if weight is None else weight[rows])
        )
    assert_allclose(mean_task_score(metric, y, p, tasks, weight), np.mean(list(scores.values())))


def test_scorers_of_scikit_learn_are_metrics_and_other_callables_are_told_apart():
    y, predicted, tasks, _ = stacked()
    made = make_scorer(mean_pinball_loss, greater_is_better=False, alpha=0.2)

    def needy(y_true, y_pred, tasks, sample_weight, alpha):
        return -mean_pinball_loss(y_true, y_pred, alpha=alpha, sample_weight=sample_weight)

    X = predicted[:, None]
    model, given = SingleTask(LinearRegression()).fit(X, y, tasks=tasks), {"tasks": tasks}
    expected = [
        -mean_pinball_loss(y[at], model.predict(X[at], tasks=tasks[at]), alpha=0.2) for at in of(tasks)
    ]
    assert list(per_task_score(made, y, model.predict(X, tasks=tasks), tasks).values()) == pytest.approx(
        expected
    )
    assert task_scorer(made)(model, X, y, **given) == pytest.approx(np.mean(expected))
    assert task_scorer(made, average="worst")(model, X, y, **given) == pytest.approx(min(expected))
    assert task_scorer(needy, alpha=0.2).kwargs == {"alpha": 0.2}
    with pytest.raises(ValueError, match=r"metric\(y_true, y_pred\), not as a scorer.*\['model', 'X', 'y'\]"):
        compare(SingleTask(Ridge()), X, y, tasks, scoring=lambda model, X, y: model.score(X, y))


def of(tasks):
    return [tasks == t for t in np.unique(tasks)]


def test_predictions_whose_columns_are_in_another_order_are_refused():
    y, predicted, _, weight = stacked()
    y, predicted = (pd.DataFrame({"a": v[:17], "b": v[17:34]}) for v in (y, predicted))
    assert per_task_score("r2", y, predicted)["b"] == pytest.approx(r2_score(y["b"], predicted["b"]))
    weight = pd.DataFrame({"b": weight[:17], "a": weight[17:34]})
    for other in ({"y_pred": predicted[["b", "a"]]}, {"y_pred": predicted, "sample_weight": weight}):
        with pytest.raises(ValueError, match=f"columns of {list(other)[-1]} .* in the order .'b', 'a'"):
            per_task_score("r2", y, **other)


def test_columns_are_tasks_and_missing_labels_are_left_out():
    y, p, tasks, _ = stacked()
    Y, P = np.full((35, 3), np.nan), np.zeros((35, 3))
    for t, task in enumerate("abc"):
        Y[tasks == task, t], P[tasks == task, t] = y[tasks == task], p[tasks == task]
    expected = per_task_score("r2", y, p, tasks)
    assert_allclose(list(per_task_score("r2", Y, P).values()), list(expected.values()))
    assert per_task_score("r2", pd.DataFrame(Y, columns=list("abc")), P).keys() == expected.keys()
    assert list(per_task_score("r2", Y, P)) == [0, 1, 2]


def test_zero_weight_is_absence():
    y, p, tasks, weight = stacked()
    weight[::3] = 0
    kept = weight > 0
    assert_allclose(
        list(per_task_score("r2", y, p, tasks, weight).values()),
        list(per_task_score("r2", y[kept], p[kept], tasks[kept], weight[kept]).values()),
    )


def test_undefined_scores_are_nan_and_the_mean_says_so():
    y = np.array([0, 1, 0, 1, 1, 1])
    score = np.array([0.1, 0.9, 0.8, 0.2, 0.5, 0.7])
    scores = per_task_score("roc_auc", y, score, [1, 1, 2, 2, 3, 3])
    assert_allclose(list(scores.values()), [1.0, 0.0, np.nan])
    with pytest.warns(UndefinedMetricWarning, match=r"1 of 3 tasks \(\[3\]\)"):
        assert mean_task_score("roc_auc", y, score, [1, 1, 2, 2, 3, 3]) == 0.5
    many = np.repeat(np.arange(10), 2)
    with pytest.warns(
        UndefinedMetricWarning, match=r"9 of 10 tasks \(\[1, 2, 3, 4, 5\] and 4 more\), .* too few"
    ):
        mean_task_score("roc_auc", np.arange(20) == 0, np.arange(20), many)
    Y = np.array([[1.0, np.nan], [2.0, np.nan]])
    assert_allclose(list(per_task_score("r2", Y, np.nan_to_num(Y)).values()), [1.0, np.nan])
    one_row = per_task_score("r2", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1, 1, 2])
    assert_allclose(list(one_row.values()), [1.0, np.nan])
    probabilities = np.eye(3)[[0, 1, 2, 0, 1]]
    several = per_task_score("roc_auc_ovr", [0, 1, 2, 0, 1], probabilities, [1, 1, 1, 2, 2])
    assert_allclose(list(several.values()), [1.0, np.nan])


def test_explained_variance_follows_its_formula():
    y, p, tasks, _ = stacked()
    y = y + 10 * (tasks == "a")  # level of a task must not matter
    p = p + 10 * (tasks == "a")
    sse = np.array([((y - p)[tasks == t] ** 2).sum() for t in "abc"])
    sst = np.array([len(y[tasks == t]) * y[tasks == t].var() for t in "abc"])
    assert_allclose(list(explained_variance_per_task(y, p, tasks).values()), 1 - sse / sst)
    assert_allclose(explained_variance_within(y, p, tasks), 1 - sse.sum() / sst.sum())
    means = pd.Series(y).groupby(tasks).transform("mean").to_numpy()
    assert_allclose(explained_variance_within(y, means, tasks), 0, atol=1e-12)
    assert np.isnan(explained_variance_per_task([1.0, 2.0, 2.0], [1.0, 2.0, 2.0], [1, 2, 2])[2])
    assert np.isnan(explained_variance_within([1.0, 2.0], [1.0, 2.0], [1, 2]))


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e300])
@pytest.mark.parametrize("form", [np.float64, np.float32])
def test_shares_of_the_variance_are_the_same_in_any_unit(unit, form):
    """Also where the squares of the targets are no numbers any more, and with tasks of different units."""
    unit = form(unit ** (1 if form is np.float64 else 0.1))
    y, p, tasks, weight = stacked()
    y, p = y.astype(form), p.astype(form)
    mixed = np.where(tasks == "a", unit, form(1))
    for metric in (explained_variance_within, normalized_mse, average_relative_rmse):
        assert_allclose(metric(unit * y, unit * p, tasks), metric(y, p, tasks), rtol=1e-6)
    for metric in (normalized_mse, average_relative_rmse):
        assert_allclose(metric(mixed * y, mixed * p, tasks), metric(y, p, tasks), rtol=1e-6)
    means = np.array([0.5, -1.0, 3.0])
    found = average_relative_rmse(unit * y, unit * p, tasks, train_mean=means * float(unit))
    assert_allclose(found, average_relative_rmse(y, p, tasks, train_mean=means), rtol=1e-6)
    for metric in ("r2", "explained_variance", r2_score):
        expected = list(per_task_score(metric, y, p, tasks, sample_weight=weight).values())
        for scale in (unit, mixed):
            found = per_task_score(metric, scale * y, scale * p, tasks, sample_weight=weight)
            assert_allclose(list(found.values()), expected, rtol=1e-5)
    found, expected = (explained_variance_per_task(a * y, a * p, tasks) for a in (mixed, 1))
    assert_allclose(list(found.values()), list(expected.values()), rtol=1e-5)


def test_relative_errors_follow_their_formulas():
    y, p, tasks, _ = stacked()
    sse = np.array([((y - p)[tasks == t] ** 2).sum() for t in "abc"])
    sst = np.array([len(y[tasks == t]) * y[tasks == t].var() for t in "abc"])
    assert_allclose(normalized_mse(y, p, tasks), (sse / sst).mean())
    assert_allclose(average_relative_rmse(y, p, tasks), np.sqrt(sse / sst).mean())
    means = np.array([0.5, -1.0, 3.0])
    about = [((y[tasks == t] - m) ** 2).sum() for t, m in zip("abc", means, strict=True)]
    assert_allclose(average_relative_rmse(y, p, tasks, train_mean=means), np.sqrt(sse / about).mean())
    Y, P = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]), np.array([[1.0, 3.0], [3.0, 9.0], [8.0, 6.0]])
    assert_allclose(normalized_mse(Y, P), (9 / 8 + 1 / 8) / 2)
    assert_allclose(average_relative_rmse(Y, P), (np.sqrt(9 / 8) + np.sqrt(1 / 8)) / 2)
    with pytest.warns(UndefinedMetricWarning, match="1 of 2 tasks"):
        assert normalized_mse([1.0, 1.0, 2.0, 4.0], [1.0, 2.0, 2.0, 3.0], [1, 1, 2, 2]) == 0.5
    with pytest.raises(ValueError, match=r"train_mean must hold one number per task, shape \(3,\)"):
        average_relative_rmse(y, p, tasks, train_mean=[1.0])


@pytest.mark.parametrize("metric", [normalized_mse, average_relative_rmse, explained_variance_within])
def test_metrics_that_know_tasks_are_scorers(metric):
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(40, 3)), np.repeat([1, 2], 20)
    y = X[:, 0] * tasks + rng.normal(size=40)
    sign = 1 if metric is explained_variance_within else -1
    scorer = task_scorer(metric, greater_is_better=sign > 0)
    model = SingleTask(Ridge()).fit(X, y, tasks=tasks)
    assert_allclose(scorer(model, X, y, tasks=tasks), sign * metric(y, model.predict(X, tasks=tasks), tasks))
    with sklearn.config_context(enable_metadata_routing=True):
        grid = {"estimator__alpha": [0.1, 1e4]}
        search = GridSearchCV(SingleTask(Ridge()), grid, scoring=scorer, cv=TaskKFold(4))
        assert search.fit(X, y, tasks=tasks).best_params_ == {"estimator__alpha": 0.1}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("r2", [1.0, 2.0], [1.0, np.nan]), "Input y_pred contains NaN"),
        (("r2", [1.0, 2.0], [1.0]), "inconsistent numbers of samples"),
        (("r2", [1.0, 2.0], [1.0, 2.0], [1]), "tasks has 1 labels but X has 2 rows"),
        (("r2", np.ones((2, 2)), np.ones((2, 2)), [1, 1]), "tasks must be None for a 2-D y_true"),
        (("r2", np.ones((2, 2)), np.ones((2, 3))), r"y_pred must have shape \(2, 2\)"),
        (("accurate", [1], [1]), "accurate"),
        ((3, [1], [1]), "metric must be a callable or the name"),
        (("neg_mean_squared_log_error", [-3.0, 2.0], [1.0, 1.0]), "cannot be used when targets"),
    ],
)
def test_bad_input(args, message):
    with pytest.raises(ValueError, match=message):
        per_task_score(*args)


@pytest.mark.parametrize(
    "metric", [mean_squared_error, mean_absolute_error, root_mean_squared_error, r2_score, accuracy_score]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_of_tasks_at_once_are_those_of_each(metric, weighted, rng, monkeypatch):
    sizes = rng.integers(1, 7, size=300)
    tasks, n = np.repeat(np.arange(len(sizes)), sizes), sizes.sum()
    y, weight = rng.integers(0, 3, size=n), rng.uniform(0.5, 1, size=n) if weighted else None
    found = y + (rng.uniform(size=n) > 0.6)
    if metric is not accuracy_score:
        y, found = np.where(tasks % 7, y, 1.0) * 1e9 ** (tasks % 4), found * 1e9 ** (tasks % 4)
    at_once = per_task_score(metric, y, found, tasks, weight)
    monkeypatch.setattr(_task_scores, "evaluate", None)  # one by one they are asked for
    if metric is not r2_score:
        assert at_once == per_task_score(metric, y, found, tasks, weight)
    monkeypatch.undo()
    monkeypatch.setattr(_task_scores, "_scores_at_once", lambda *_: (None, None))
    each = per_task_score(metric, y, found, tasks, weight)
    assert_allclose([*at_once.values()], [*each.values()], rtol=1e-12, atol=1e-14)


# --- the scorer ---


def with_tasks(problem):
    return np.column_stack([problem.X, problem.tasks])


@pytest.mark.parametrize("average", ["macro", "pooled", "worst"])
@pytest.mark.parametrize("metric", ["r2", "neg_mean_squared_error", mean_squared_error])
def test_averages(average, metric):
    p = REGRESSION
    model = SingleTask(Ridge()).fit(p.X, p.y, tasks=p.tasks)
    prediction = model.predict(p.X, tasks=p.tasks)
    loss = metric is mean_squared_error
    scores = np.array(list(per_task_score(metric, p.y, prediction, p.tasks).values())) * (-1 if loss else 1)
    pooled = get_scorer("neg_mean_squared_error" if loss else metric)
    expected = {
        "macro": scores.mean(),
        "worst": scores.min(),
        "pooled": pooled._sign * pooled._score_func(p.y, prediction),
    }[average]
    scorer = task_scorer(metric, average=average, **({"greater_is_better": False} if loss else {}))
    assert_allclose(scorer(model, p.X, p.y, tasks=p.tasks), expected)
    column = SingleTask(Ridge(), task_column=-1).fit(with_tasks(p), p.y)
    assert_allclose(scorer(column, with_tasks(p), p.y), expected)
    assert_allclose(scorer(column, with_tasks(p), p.y, tasks=p.tasks), expected)


@pytest.mark.parametrize("metric", ["roc_auc", "neg_log_loss", "accuracy", "average_precision"])
def test_scorer_uses_the_response_of_the_named_metric(metric):
    p = CLASSES
    model = SingleTask(LogisticRegression()).fit(p.X, p.y, tasks=p.tasks)
    each = []
    for t, estimator in enumerate(model.estimators_):
        rows = p.tasks == t
        each.append(get_scorer(metric)(estimator, p.X[rows], p.y[rows]))
    assert_allclose(task_scorer(metric)(model, p.X, p.y, tasks=p.tasks), np.mean(each))
    shared = SingleTask(LogisticRegression()).fit(p.X[:40], p.y.reshape(5, 40).T)
    each = [get_scorer(metric)(e, p.X[:40], p.y.reshape(5, 40)[t]) for t, e in enumerate(shared.estimators_)]
    assert_allclose(task_scorer(metric)(shared, p.X[:40], p.y.reshape(5, 40).T), np.mean(each))


def test_scorer_of_other_positive_class_and_of_a_task_with_one_class():
    p = CLASSES
    names = np.array(["no", "yes"])[p.y]
    model = SingleTask(LogisticRegression()).fit(p.X, names, tasks=p.tasks)
    auc = task_scorer(roc_auc_score, response_method="decision_function")(model, p.X, names, tasks=p.tasks)
    scorer = task_scorer("average_precision", pos_label="yes")
    flipped = task_scorer("average_precision", pos_label="no")
    assert 0.5 < auc <= 1
    assert scorer(model, p.X, names, tasks=p.tasks) > 0.6
    assert flipped(model, p.X, names, tasks=p.tasks) > 0.6
    rows = (p.tasks > 0) | (p.y == 1)  # task 0 is tested on one class: its log loss is defined
    loss = task_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
    expected = [
        log_loss(
            names[rows & (p.tasks == t)], e.predict_proba(p.X[rows & (p.tasks == t)]), labels=["no", "yes"]
        )
        for t, e in enumerate(model.estimators_)
    ]
    assert_allclose(loss(model, p.X[rows], names[rows], tasks=p.tasks[rows]), -np.mean(expected))


def test_shared_design_with_missing_labels():
    p = SHARED
    model = SingleTask(Ridge()).fit(p.X, p.y)
    expected = per_task_score("r2", p.y, model.predict(p.X))
    assert_allclose(task_scorer("r2")(model, p.X, p.y), np.mean(list(expected.values())))
    seen = ~np.isnan(p.y)
    pooled = r2_score(p.y[seen], model.predict(p.X)[seen])
    assert_allclose(task_scorer("r2", average="pooled")(model, p.X, p.y), pooled)
    search = GridSearchCV(
        SingleTask(Ridge()), {"estimator__alpha": [0.1, 1e4]}, scoring=task_scorer("r2"), cv=TaskKFold(4)
    )
    assert search.fit(p.X, p.y).best_params_ == {"estimator__alpha": 0.1}


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize("average", ["macro", "pooled", "worst"])
def test_routed_through_searches_and_cross_validation(pipeline, average):
    p = REGRESSION
    model = make_pipeline(StandardScaler(), SingleTask(Ridge())) if pipeline else SingleTask(Ridge())
    name = "singletask__estimator__alpha" if pipeline else "estimator__alpha"
    scorer = task_scorer("r2", average=average)
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(model, {name: [0.1, 1e4]}, scoring=scorer, cv=TaskKFold(3), error_score="raise")
        search.fit(p.X, p.y, tasks=p.tasks)
        assert search.best_params_ == {name: 0.1}
        train, test = next(iter(TaskKFold(3).split(p.X, p.y, tasks=p.tasks)))
        fitted = clone(model).set_params(**{name: 0.1}).fit(p.X[train], p.y[train], tasks=p.tasks[train])
        by_hand = scorer(fitted, p.X[test], p.y[test], tasks=p.tasks[test])
        assert_allclose(search.cv_results_["split0_test_score"][0], by_hand)
        assert_allclose(
            search.score(p.X, p.y, tasks=p.tasks), scorer(search.best_estimator_, p.X, p.y, tasks=p.tasks)
        )
        several = cross_validate(
            search,
            p.X,
            p.y,
            params={"tasks": p.tasks},
            cv=TaskKFold(2),
            error_score="raise",
            scoring={"own": scorer, "mse": task_scorer(mean_squared_error, greater_is_better=False)},
        )
        assert (several["test_mse"] < 0).all() and np.isfinite(several["test_own"]).all()


def test_tasks_reach_a_scorer_of_a_model_that_ignores_them():
    p = REGRESSION
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            Ridge(), {"alpha": [1.0]}, scoring=task_scorer("r2"), cv=TaskKFold(3), error_score="raise"
        )
        search.fit(p.X, p.y, tasks=p.tasks)
    expected = mean_task_score("r2", p.y, search.predict(p.X), p.tasks)
    assert_allclose(task_scorer("r2")(search, p.X, p.y, tasks=p.tasks), expected)


def frame_pipeline(task_column, output):
    scaler = make_column_transformer(
        (StandardScaler(), ["x0", "x1", "x2", "x3"]), remainder="passthrough", verbose_feature_names_out=False
    )
    model = SingleTask(Ridge(), task_column=task_column)
    return make_pipeline(scaler.set_output(transform=output), model)


def test_task_column_is_found_through_pipelines_and_searches():
    p = REGRESSION
    frame = pd.DataFrame(p.X, columns=["x0", "x1", "x2", "x3"]).assign(school=p.tasks.astype(str))
    pipe = frame_pipeline("school", "pandas")
    search = GridSearchCV(
        pipe,
        {"singletask__estimator__alpha": [0.1, 1e4]},
        scoring=task_scorer("r2"),
        error_score="raise",
        cv=TaskKFold(3, task_column="school"),
    ).fit(frame, p.y)
    assert search.best_params_ == {"singletask__estimator__alpha": 0.1}
    expected = mean_task_score("r2", p.y, search.predict(frame), p.tasks)
    assert_allclose(task_scorer("r2")(search, frame, p.y), expected)
    # a position behind a ColumnTransformer is no position in the frame
    moved = frame_pipeline(-1, "default").fit(frame, p.y)
    with pytest.raises(
        ValueError, match=r"among the columns that earlier steps.*task_scorer\(\.\.\., task_column="
    ):
        task_scorer("r2")(moved, frame, p.y)
    assert_allclose(
        task_scorer("r2", task_column="school")(moved, frame, p.y),
        mean_task_score("r2", p.y, moved.predict(frame), p.tasks),
    )
    pooled = task_scorer("r2", average="pooled")(moved, frame, p.y)
    assert_allclose(pooled, r2_score(p.y, moved.predict(frame)))


def test_missing_tasks_name_the_way_out():
    p = REGRESSION
    model = Pooled(Ridge()).fit(p.X, p.y, tasks=p.tasks)
    with pytest.raises(
        ValueError, match=r"needs the task of each row.*task_column=.*enable_metadata_routing=True.*pooled"
    ):
        task_scorer("r2")(model, p.X, p.y)
    assert_allclose(task_scorer("r2", average="pooled")(model, p.X, p.y), r2_score(p.y, model.predict(p.X)))
    with pytest.raises(ValueError, match="average must be 'macro', 'pooled' or 'worst'; got 'best'"):
        task_scorer("r2", average="best")


def test_sample_weight_counts():
    p = REGRESSION
    weight = np.random.default_rng(0).uniform(0, 2, size=len(p.y))
    model = SingleTask(Ridge()).fit(p.X, p.y, tasks=p.tasks)
    weighted = task_scorer("r2")(model, p.X, p.y, tasks=p.tasks, sample_weight=weight)
    assert_allclose(weighted, mean_task_score("r2", p.y, model.predict(p.X, tasks=p.tasks), p.tasks, weight))
    # scikit-learn's searches hand weights to the scorer, also to several scorers at once
    search = GridSearchCV(
        SingleTask(Ridge(), task_column=-1),
        {"estimator__alpha": [1.0]},
        refit="a",
        error_score="raise",
        scoring={"a": task_scorer("r2"), "b": task_scorer("neg_mean_squared_error")},
        cv=TaskKFold(3, task_column=-1),
    )
    search.fit(with_tasks(p), p.y, sample_weight=weight)
    assert np.isfinite(search.best_score_)


def test_repr_and_pickle():
    scorer = task_scorer(mean_squared_error, average="worst", greater_is_better=False, task_column="school")
    assert (
        repr(scorer)
        == "task_scorer(mean_squared_error, average='worst', greater_is_better=False, task_column='school')"
    )
    p = REGRESSION
    model = SingleTask(Ridge()).fit(p.X, p.y, tasks=p.tasks)
    again = pickle.loads(pickle.dumps(task_scorer(accuracy_score, normalize=False)))
    assert repr(again) == "task_scorer(accuracy_score, average='macro', normalize=False)"
    plain = task_scorer("r2")
    assert pickle.loads(pickle.dumps(plain))(model, p.X, p.y, tasks=p.tasks) == plain(
        model, p.X, p.y, tasks=p.tasks
    )


def test_columns_with_classes_of_their_own_are_scored_over_all_classes():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 2))
    Y = np.digitize(X[:, [0]] + 0.5 * rng.standard_normal((90, 3)), [-0.4, 0.4]).astype(float)
    Y[Y[:, 0] == 1, 0] = 2.0
    model = RandomForestClassifier(20, min_samples_leaf=5, random_state=0).fit(X, Y)
    proba = model.predict_proba(X)
    wanted = [-log_loss(Y[:, t], proba[t], labels=model.classes_[t]) for t in range(3)]
    assert_allclose(task_scorer("neg_log_loss")(model, X, Y), np.mean(wanted))
    brier = [np.sum(((Y[:, [t]] == own) - proba[t]) ** 2, axis=1) / 2 for t, own in enumerate(model.classes_)]
    run, rows = FoldRun(X, Y, None, False, task_scorer("neg_log_loss"), "brier"), np.arange(90)
    assert_allclose(run("forest", model, rows, rows)[1], np.transpose(brier))


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float16", "bool"])
def test_narrow_numbers_do_not_overflow(kind):
    """Differences and squares are those of double precision, whatever targets and predictions come in."""
    y = np.array([0, 200, 100, 255] * 2) * {"int16": 100, "int32": 1000}.get(kind, 1)
    y = y > 100 if kind == "bool" else y.astype(kind)
    p, tasks = y[::-1].copy(), [0] * 4 + [1] * 4
    wide = y.astype(float), p.astype(float), tasks
    for metric in (
        explained_variance_within,
        explained_variance_per_task,
        normalized_mse,
        average_relative_rmse,
    ):
        assert metric(y, p, tasks) == metric(*wide)
    if kind != "bool":
        assert per_task_score("neg_max_error", y, p, tasks) == per_task_score("neg_max_error", *wide)


def test_what_is_no_number_is_named():
    text = ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="y_true must hold numbers"):
        normalized_mse(text, [1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="train_mean must hold numbers"):
        average_relative_rmse([1.0, 2.0], [1.0, 3.0], [0, 1], train_mean=["a", "b"])
    with pytest.raises(ValueError, match="y_true contains NaN"):
        normalized_mse([1.0, None, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1])


def test_columns_with_classes_of_their_own_are_scored_by_probabilities(rng):
    """Decision values of a class that a task does not know are infinite, which was all that a metric said."""
    X = rng.normal(size=(60, 3))
    Y = np.column_stack([rng.integers(2, size=60), rng.integers(3, size=60)])
    model = GroupSparseClassifier(0.01).fit(X, Y)
    assert np.isinf(model.decision_function(X)).any()
    with pytest.raises(ValueError, match="multi_class must be in"):
        task_scorer("roc_auc")(model, X, Y)
    found = task_scorer("roc_auc", average="pooled", multi_class="ovr")(model, X, Y)
    first, second = model.predict_proba(X)
    P = np.vstack([np.column_stack([first, np.zeros(60)]), second])
    assert found == pytest.approx(roc_auc_score(Y.T.ravel(), P, multi_class="ovr"))


def test_rows_of_zero_weight_are_no_rows_in_scores_of_different_kinds(rng):
    X = rng.normal(size=(60, 3))
    Y = np.column_stack([X[:, 0] > 0, X[:, 1], X[:, 2]]).astype(float)
    model = MixedTaskModel(0.01, losses={0: "log_loss", 1: "squared_error", 2: "squared_error"}).fit(X, Y)
    weight = np.ones((60, 3))
    weight[:, 1] = weight[:20, 0] = 0.0
    labels = np.where(weight > 0, Y, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.score(X, Y, sample_weight=weight) == model.score(X, labels)


def own_classes(classes):
    """X, Y with two of these classes in every column, two models of them, and Y as 0 and 1."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4))
    codes = (X @ rng.normal(size=(4, 3)) + rng.normal(size=(90, 3)) > 0).astype(int)
    Y = np.asarray(classes).reshape(3, 2)[np.arange(3), codes]
    return X, Y, (GroupSparseClassifier(0.01), SingleTask(LogisticRegression())), codes


@pytest.mark.parametrize("average", ["macro", "pooled", "worst"])
@pytest.mark.parametrize("metric", ["roc_auc", "neg_brier_score", "neg_log_loss", "d2_log_loss_score"])
def test_names_of_classes_that_differ_between_columns_change_no_score(metric, average):
    X, Y, (_, model), codes = own_classes([0, 1, 2, 3, 5, 6])
    scorer = task_scorer(metric, average=average)
    found, wanted = (scorer(model.fit(X, labels), X, labels) for labels in (Y, codes))
    assert found == pytest.approx(wanted, rel=1e-12)


def test_rankings_of_classes_that_differ_between_columns():
    X, Y, (model, _), codes = own_classes(list("abcdef"))
    model.fit(X, Y)
    areas = [roc_auc_score(codes[:, t], p[:, 1]) for t, p in enumerate(model.predict_proba(X))]
    assert task_scorer("roc_auc")(model, X, Y) == pytest.approx(np.mean(areas))
    Y[:10, 2] = "g"
    model.fit(X, Y)
    with pytest.raises(ValueError, match=r"average='pooled' ranks .* whose classes differ: \[\['a', 'b'\], "):
        task_scorer("roc_auc_ovr", average="pooled")(model, X, Y)
    last = roc_auc_score(Y[:, 2], model.predict_proba(X)[2], multi_class="ovr")
    found = task_scorer("roc_auc_ovr", average="worst")(model, X, Y)
    assert found == pytest.approx(
        min([roc_auc_score(Y[:, t], model.predict_proba(X)[t][:, 1]) for t in (0, 1)] + [last])
    )


@pytest.mark.parametrize("average", ["macro", "worst"])
def test_an_error_in_some_tasks_is_no_lack_of_classes(average):
    """F1 knows 1 as its positive class, which two columns do not have."""
    X, Y, (model, _), _ = own_classes([0, 1, 2, 3, 5, 6])
    with pytest.raises(ValueError, match="pos_label=1 is not a valid label"):
        task_scorer("f1", average=average)(model.fit(X, Y), X, Y)


def test_the_worst_task_warns_of_those_without_a_score():
    y, tasks = np.array([0, 1, 0, 1, 1, 1]), np.repeat([0, 1, 2], 2)
    X = np.arange(6.0).reshape(-1, 1)
    model = Pooled(LogisticRegression()).fit(X, y, tasks=tasks)
    with pytest.warns(UndefinedMetricWarning, match="undefined for 1 of 3 tasks"):
        assert task_scorer("roc_auc", average="worst")(model, X, y, tasks=tasks) == 1.0


def test_labels_of_several_types_stay_what_they_are():
    y, predicted = np.empty((2, 4, 2), dtype=object)
    y[:, 0], predicted[:, 0] = [1, 2, 1, 2], [1.0, 2.0, 1.0, 2.0]
    y[:, 1] = predicted[:, 1] = list("abab")
    assert per_task_score("accuracy", y, predicted) == {0: 1.0, 1: 1.0}
    y[:, 0] = [0.5, 1.5, 2.5, 3.5]
    with pytest.raises(ValueError, match="continuous"):
        per_task_score("accuracy", y, predicted)


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "neg_log_loss"])
def test_tasks_of_different_kinds_have_no_score_in_common(metric, rng):
    X = rng.normal(size=(60, 3))
    Y = np.column_stack([X[:, 0] > 0, X[:, 1]]).astype(float)
    model = MixedTaskModel(0.1, losses={0: "log_loss", 1: "squared_error"}).fit(X, Y)
    with pytest.raises(ValueError, match=r"tasks of MixedTaskModel are of different kinds .* scoring=None"):
        task_scorer(metric)(model, X, Y)


def test_classes_of_different_types_have_no_scores_in_common(rng):
    X, Y = rng.normal(size=(60, 3)), np.empty((60, 2), dtype=object)
    Y[:, 0], Y[:, 1] = rng.integers(2, size=60), rng.choice(list("abc"), size=60)
    model = GroupSparseClassifier(0.01).fit(X, Y)
    with pytest.raises(ValueError, match=r"classes of the tasks are of different types, such as \['int64'"):
        task_scorer("neg_log_loss")(model, X, Y)
    with pytest.raises(TypeError, match=r"y mixes labels that cannot be sorted \(int, str\)"):
        SingleTask(LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match=r"y holds labels of different types, \['int', 'str'\]: suggest"):
        suggest(X, Y)


def test_models_of_all_classes_beside_columns_with_their_own():
    X, Y, (model, _), _ = own_classes([0, 1, 2, 3, 5, 6])
    found = compare({"m": model}, X, Y, scoring="roc_auc", baselines=["single"], cv=3)
    assert (found.table["mean"] > 0.5).all()
    with pytest.raises(ValueError, match=r"Pooled has scores of all 6 classes .* baselines=\['single'\]"):
        compare({"m": model}, X, Y, scoring="roc_auc", cv=3)
