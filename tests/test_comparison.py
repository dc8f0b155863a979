"""The numbers of a comparison follow from the predictions on the folds, and the verdict from the numbers."""

import re
import subprocess
import sys
import warnings
from functools import partial
from itertools import product
from types import ModuleType, SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy import sparse, stats
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.cross_decomposition import PLSRegression
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier
from sklearn.metrics import (
    adjusted_rand_score,
    d2_tweedie_score,
    mean_absolute_error,
    mean_poisson_deviance,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

import skmtl
from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskRegressor,
    PathSearchCV,
    TaskRelationshipRegressor,
    penalties,
    suggest,
    summary,
)
from skmtl._candidates import SIMPLE, all_candidates
from skmtl._findings import FINDINGS
from skmtl._sklearn import safe_indexing
from skmtl._suggest import _targets
from skmtl._tables import p_words
from skmtl._task_scores import standard_deviation
from skmtl.baselines import Pooled, SingleTask
from skmtl.comparison import _advice, _race, _rivals, _tuned, compare
from skmtl.comparison._advice import honest
from skmtl.comparison._folds import ALIKE
from skmtl.comparison._result import _gains, losses
from skmtl.comparison._rivals import kind_of
from skmtl.comparison._tuned import TunedLinear, best_strength, held_out_counts
from skmtl.datasets import make_multitask_classification, make_multitask_regression
from skmtl.metrics import task_scorer
from skmtl.model_selection import TaskKFold, TaskShuffleSplit, beyond

matplotlib.use("agg")

RELATED = make_multitask_regression(
    6, 16, 5, structure="mean", task_spread=0.1, intercept_spread=0.1, random_state=0
)
UNRELATED = make_multitask_regression(
    4, 80, 3, intercept_spread=3, noise=0.3, n_informative=3, random_state=0
)
CLASSES = make_multitask_classification(4, 40, 3, structure="mean", random_state=0)
BASELINES = ["single", "pooled", "intercepts", "mean"]


def row(result, model):
    return result.table[result.table["model"] == model].iloc[0]


def test_numbers_follow_from_the_predictions():
    p, folds = RELATED, TaskKFold(4, shuffle=True, random_state=1)
    models = {"a": SingleTask(Ridge(0.5)), "b": Pooled(Ridge(2.0))}
    result = compare(models, p.X, p.y, p.tasks, cv=folds, baselines=(), reference="a")
    scores, errors = {"a": [], "b": []}, {"a": np.zeros(len(p.y)), "b": np.zeros(len(p.y))}
    for train, test in folds.split(p.X, p.y, tasks=p.tasks):
        for name, model in models.items():
            predicted = model.fit(p.X[train], p.y[train], tasks=p.tasks[train]).predict(
                p.X[test], tasks=p.tasks[test]
            )
            scores[name].append(r2_score(p.y[test], predicted))
            errors[name][test] = (p.y[test] - predicted) ** 2
    d = np.subtract(scores["b"], scores["a"])
    t = d.mean() / np.sqrt((1 / 4 + 1 / 3) * d.var(ddof=1))
    b = row(result, "b")
    assert_allclose([b["mean"], b["sd"]], [np.mean(scores["b"]), np.std(scores["b"], ddof=1)])
    assert_allclose([b["difference"], b["p_value"]], [d.mean(), 2 * stats.t.sf(abs(t), 3)])
    assert_allclose(b["rmse"], np.mean([np.sqrt(errors["b"][p.tasks == t].mean()) for t in range(6)]))
    assert row(result, "a")["difference"] == 0 and np.isnan(row(result, "a")["p_value"])
    ours = result.per_task[result.per_task["model"] == "b"].set_index("task")
    for t in range(6):
        e, r = (errors[name][p.tasks == t] for name in "ba")
        assert_allclose(ours.loc[t, "gain"], 1 - e.sum() / r.sum())
        assert_allclose(ours.loc[t, "error"], e.mean())
        assert ours.loc[t, "n_test"] == 16
        assert ours.loc[t, "hurt"] == (e.sum() > r.sum())
        assert ours.loc[t, "clearly_hurt"] == (ours.loc[t, "gain"] < -2 * ours.loc[t, "gain_std"])
    assert (result.per_task.loc[result.per_task["model"] == "a", "gain"] == 0).all()


@pytest.mark.parametrize("shape", [(90,), (18, 5)])
def test_gains_of_all_tasks_at_once_are_those_of_each(shape, rng):
    """Also of a task without labels, of one without errors, and of errors whose squares are no numbers."""
    codes = None if len(shape) > 1 else rng.integers(0, 5, size=shape)
    of = np.broadcast_to(np.arange(5), shape) if codes is None else codes
    errors = dict(zip("mr", rng.uniform(size=(2, *shape)) * 1e-200 ** (of == 2), strict=True))
    for own in errors.values():
        own[of == 3], own[of == 4] = np.nan, 0.0
    folds = SimpleNamespace(reference="r", label_errors=lambda name, shape: errors[name])
    names = np.arange(5)
    for t, row in enumerate(_gains(folds, "m", shape, codes, names)):
        e, r = (own[(of == t) & ~np.isnan(own)] for own in (errors["m"], errors["r"]))
        model, task, n, error, gain, loses, clear, sd = row
        assert (model, task, n) == ("m", t, len(e)) and np.isnan(gain) == (t > 2) and np.isnan(sd) == (t > 2)
        if t < 3:
            share = e.sum() / r.sum()
            np.testing.assert_allclose([error, gain], [e.mean(), 1 - share])
            unsure = standard_deviation(e - share * r) * np.sqrt(n) / r.sum()
            np.testing.assert_allclose(sd, unsure)
            assert loses == (gain < -ALIKE) and clear == bool(loses and share - 1 > 2 * unsure)


def test_related_tasks_gain_and_unrelated_ones_lose():
    good = compare({"shared": Pooled(Ridge())}, RELATED.X, RELATED.y, RELATED.tasks)
    assert row(good, "shared")["difference"] > 0
    assert good.per_task.query("model == 'shared'")["gain"].mean() > 0
    bad = compare({"shared": Pooled(Ridge())}, UNRELATED.X, UNRELATED.y, UNRELATED.tasks)
    assert row(bad, "shared")["difference"] < 0
    assert "clearly worse" in bad.verdict and "4 of 4 tasks lose against 'single', 4 of them" in bad.verdict
    assert bad.verdict.endswith("Sharing does not clearly help here: use 'single', estimators['single'].")
    assert set(bad.estimators) == set(bad.table["model"])
    clone(bad.estimators["single"]).fit(UNRELATED.X, UNRELATED.y, tasks=UNRELATED.tasks)
    assert bad.table["model"].iloc[0] == "single"


@pytest.mark.parametrize(("alpha", "credit"), [(0.1, "share"), (1.0, "all"), (10.0, "score")])
def test_verdict_credits_the_shrunken_intercepts(alpha, credit):
    """A share of a gain that is one, never more than all of it; the score where the gain is not clear."""
    p = make_multitask_regression(
        20, 8, 4, structure="mean", task_spread=0, intercept_spread=2, random_state=0
    )
    model = Pooled(Ridge(alpha), task_indicators=True)
    folds, both = TaskShuffleSplit(5, train_size=3, random_state=0), ["single", "intercepts"]
    result = compare({"model": model}, p.X, p.y, p.tasks, cv=folds, baselines=both)
    means = dict(zip(result.table["model"], result.table["mean"], strict=True))
    share = (means["intercepts"] - means["single"]) / (means["model"] - means["single"])
    assert (share > 1) == (credit != "share")
    gain = f"bring {'all' if credit == 'all' else f'{share:.0%}'} of its gain over 'single'. "
    found = f"score {means['intercepts']:.3f}. " if credit == "score" else gain
    assert f"Levels of the tasks alone ('intercepts') {found}" in result.verdict
    assert "'model'" in result.verdict and f"{means['model']:.3f}" in result.verdict
    assert re.search(r"The simpler 'intercepts' \(.*\) (is not clearly worse|scores higher)", result.verdict)


def test_one_model_of_all_columns_of_numbers_is_no_baseline_unless_asked_for(rng):
    """Their units may differ, and rows that are left out stay in training as those of other columns."""
    X = rng.normal(size=(60, 3))
    Y = X @ rng.normal(size=(3, 2)) * [1, 1000] + rng.normal(size=(60, 2))
    found = compare({"mine": MeanRegularizedRegressor(0.1)}, X, Y, cv=2)
    assert {*found.table["model"]} == {"mine", "single", "mean"}
    assert found.verdict.endswith(
        " Left out, as one model of all columns of y means little: 'pooled', 'intercepts'."
    )
    assert [*found.dropped] == ["pooled", "intercepts"]
    asked = compare({"mine": MeanRegularizedRegressor(0.1)}, X, Y, cv=2, baselines=["single", "pooled"])
    assert {*asked.table["model"]} == {"mine", "single", "pooled"} and not asked.dropped
    classes = compare({"mine": MeanRegularizedClassifier(0.1)}, X, Y > 0, cv=2)
    assert "intercepts" in {*classes.table["model"]} and not classes.dropped


def test_tasks_with_fewer_rows_than_folds_only_train():
    """As in `suggest`, and both say so; a default of fewer folds where most tasks have few rows."""
    p = make_multitask_regression(4, 12, 2, structure="mean", random_state=0)
    kept = (p.tasks > 0) | (np.arange(48) < 2)
    rows = p.X[kept], p.y[kept], p.tasks[kept]
    said = " 1 of 4 tasks with too few rows for a test set only train, without a score."
    for found in (compare(SingleTask(Ridge()), *rows), suggest(*rows, candidates=["single", "pooled"])):
        assert said in found.verdict and len(found.fold_scores["single"]) == 5
        tested = found.per_task.query("model == 'single'").set_index("task")["n_test"]
        assert tested.tolist() == [0, 12, 12, 12]
    without, loses = ("m", 0, 0, np.nan, np.nan, False, False), ("m", 1, 12, 1.0, -0.5, True, False)
    assert losses([without, loses], "single", "error").startswith("1 of 1 tasks lose")
    few = (p.tasks == 3) | (np.arange(48) % 12 < 3)
    found = compare(SingleTask(Ridge()), p.X[few], p.y[few], p.tasks[few])
    assert len(found.fold_scores["single"]) == 3 and "only train" not in found.verdict


def test_verdict_says_how_many_tasks_gain_over_the_model_that_it_prefers():
    """And goes by them where they are more than by chance, whatever the reference."""
    models = {"mine": MeanRegularizedRegressor("auto", intercept_alpha="auto")}
    for spread, seed, best in ((0.3, 2, "mine"), (0.3, 0, "intercepts"), (0.2, 3, "intercepts")):
        p = make_multitask_regression(24, 9, 3, structure="mean", task_spread=spread, random_state=seed)
        found = compare(models, p.X, p.y, p.tasks, cv=2, baselines=["single", "intercepts"])
        error = {name: own["error"].to_numpy() for name, own in found.per_task.groupby("model")}
        gain = f"{np.sum(error['mine'] < 0.999 * error['intercepts'])} of 24 tasks gain over 'intercepts'"
        sure = row(found, "mine")["mean"] > row(found, "intercepts")["mean"]
        assert sure == (seed != 3) and found.best == best
        told = (
            f"Use 'mine': {gain}, more than by chance" if best == "mine" else f": by 'mine' {gain}. Prefer it"
        )
        assert told in found.verdict


def test_clear_winner_is_recommended():
    p = RELATED
    result = compare(
        {"good": SingleTask(Ridge())}, p.X, p.y, p.tasks, baselines={"bad": DummyRegressor()}, reference="bad"
    )
    assert "clearly better" in result.verdict
    assert result.verdict.endswith("Use 'good'.")
    rivals = {"bad": DummyRegressor(), "shrunken": SingleTask(Ridge(100.0))}
    result = compare({"good": SingleTask(Ridge())}, p.X, p.y, p.tasks, baselines=rivals, reference="bad")
    found = r"Use 'good': it is clearly better \(p = [\d.e-]+\) than 'shrunken'\.$"
    assert re.search(found, result.verdict)


def test_task_column_equals_tasks():
    p = RELATED
    frame = pd.DataFrame(p.X, columns=list("vwxyz")).assign(school=p.tasks)
    scaler = make_column_transformer(
        (StandardScaler(), list("vwxyz")), remainder="passthrough", verbose_feature_names_out=False
    )

    def model(task_column):
        return Pooled(Ridge(), task_indicators=True, task_column=task_column)

    routed = compare({"m": make_pipeline(StandardScaler(), model(None))}, p.X, p.y, p.tasks, cv=3)
    named = compare(
        {"m": make_pipeline(scaler.set_output(transform="pandas"), model("school"))}, frame, p.y, cv=3
    )
    scaler = make_column_transformer((StandardScaler(), list("vwxyz")), remainder="passthrough")
    placed = compare(
        {"m": make_pipeline(scaler, model(-1))},
        frame,
        p.y,
        cv=TaskKFold(3, task_column="school", shuffle=True, random_state=0),
    )
    for result in (named, placed):
        both = routed.table.merge(result.table, on="model")
        assert len(both) == 5
        assert_allclose(both["mean_x"], both["mean_y"], rtol=1e-6)
        assert_allclose(
            result.per_task["gain"].sort_values(), routed.per_task["gain"].sort_values(), rtol=1e-5, atol=1e-9
        )


def test_search_inside_and_preprocessing_of_the_baselines():
    p = RELATED
    X = p.X * [1e-3, 1, 1, 1, 1e3]  # without scaling ridge loses the first feature
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Pooled(Ridge())),
        {"pooled__estimator__alpha": [0.1, 10]},
        scoring=task_scorer("neg_mean_squared_error"),
        cv=TaskKFold(3),
    )
    result = compare(search, X, p.y, p.tasks, cv=3)
    assert sorted(result.table["model"]) == sorted(["Pooled", *BASELINES])
    scaled = compare(Pooled(Ridge()), StandardScaler().fit_transform(p.X), p.y, p.tasks, cv=3)
    assert_allclose(row(result, "pooled")["mean"], row(scaled, "pooled")["mean"], atol=0.02)
    # a search whose scorer cannot carry tasks must not end in an arbitrary choice
    blind = GridSearchCV(SingleTask(Ridge()), {"estimator__alpha": [1, 2]}, scoring="r2", cv=TaskKFold(3))
    with pytest.raises((ValueError, UserWarning), match="cannot predict without knowing the task"):
        compare(blind, p.X, p.y, p.tasks, cv=3)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("make", [make_multitask_regression, make_multitask_classification])
def test_shared_design(make, missing):
    p = make(4, 60, 3, layout="shared", missing=missing, structure="mean", random_state=0)
    estimator = Ridge() if make is make_multitask_regression else LogisticRegression()
    y = pd.DataFrame(p.y, columns=list("dcba"))
    result = compare({"m": Pooled(estimator, task_indicators=True)}, p.X, y, cv=3)
    assert {*result.table["model"]} == {"m", *BASELINES} - {*result.dropped}
    assert np.isfinite(result.table[["mean", "sd", "difference"]]).all(axis=None)
    ours = result.per_task.query("model == 'm'")
    assert ours["task"].tolist() == list("dcba")
    assert ours["n_test"].tolist() == (~np.isnan(p.y)).sum(axis=0).tolist()
    assert result.score == ("r2_score (macro)" if estimator.__class__ is Ridge else "roc_auc_score (pooled)")


@pytest.mark.no_cover
def test_classification_by_probability_and_without():
    p = CLASSES
    folds = TaskKFold(4, shuffle=True, random_state=0)
    one = {"m": SingleTask(LogisticRegression())}
    result = compare(one, p.X, p.y, p.tasks, cv=folds, baselines=["single", "mean"])
    brier, auc = np.zeros(len(p.y)), []
    for train, test in folds.split(p.X, p.y, tasks=p.tasks):
        model = SingleTask(LogisticRegression()).fit(p.X[train], p.y[train], tasks=p.tasks[train])
        proba = model.predict_proba(p.X[test], tasks=p.tasks[test])[:, 1]
        brier[test] = (p.y[test] - proba) ** 2
        auc.append(roc_auc_score(p.y[test], model.decision_function(p.X[test], tasks=p.tasks[test])))
    assert_allclose([row(result, "m")["mean"], row(result, "m")["brier"]], [np.mean(auc), brier.mean()])
    assert row(result, "m")["brier"] < row(result, "mean")["brier"]
    assert re.search(
        r"(tasks? lose|No task loses)s? against 'single' by (their|its) Brier score", result.verdict
    )
    found = suggest(p.X, p.y, p.tasks, candidates=["single", "TraceNormClassifier", "mean"], cv=2)
    assert re.search(r"[+-]\d+\.\d% Brier score|the Brier score by [+-]", found.verdict)
    assert not re.search(r"\d% error|the error", found.verdict)
    no_proba = compare(
        {"m": Pooled(RidgeClassifier())}, p.X, p.y, p.tasks, cv=3, scoring="accuracy", baselines=["mean"]
    )
    assert_allclose(row(no_proba, "m")["error_rate"], 1 - row(no_proba, "m")["mean"], atol=0.01)


def test_several_classes():
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(150, 2)), np.repeat(["a", "b"], 75)
    y = np.array(["low", "mid", "top"])[np.digitize(X[:, 0] + 0.3 * rng.normal(size=150), [-0.5, 0.5])]
    result = compare({"m": Pooled(LogisticRegression())}, X, y, tasks, cv=3, baselines=["single", "mean"])
    assert result.score == "accuracy_score (pooled)"
    assert row(result, "m")["brier"] < row(result, "mean")["brier"]


@pytest.mark.parametrize(
    "scoring",
    ["neg_mean_absolute_error", task_scorer(mean_absolute_error, greater_is_better=False, average="worst")],
)
def test_scoring_is_the_users(scoring):
    p = RELATED
    result = compare({"m": Pooled(Ridge())}, p.X, p.y, p.tasks, cv=3, scoring=scoring, baselines=["single"])
    assert (result.table["mean"] < 0).all()
    assert result.score.startswith("mean_absolute_error")


def test_callable_scoring_and_splits():
    p = RELATED
    splits = list(TaskKFold(3).split(p.X, tasks=p.tasks))
    given = compare(
        {"m": Pooled(Ridge())}, p.X, p.y, p.tasks, cv=splits, scoring=r2_score, baselines=["single"]
    )
    same = compare({"m": Pooled(Ridge())}, p.X, p.y, p.tasks, cv=TaskKFold(3), baselines=["single"])
    assert_allclose(given.table["mean"], same.table["mean"])


@pytest.mark.processes
def test_names_and_processes():
    p = RELATED
    models = [Pooled(Ridge()), Pooled(Ridge(9.0)), SingleTask(Ridge())]
    result = compare(models, p.X, p.y, p.tasks, cv=2, baselines=["single"], n_jobs=2)
    assert set(result.table["model"]) == {"Pooled", "Pooled 2", "SingleTask", "single"}
    alone = compare(models, p.X, p.y, p.tasks, cv=2, baselines=["single"])
    assert_allclose(sorted(result.table["mean"]), sorted(alone.table["mean"]))


def test_text_is_aligned_and_complete():
    result = compare({"m": Pooled(Ridge())}, RELATED.X, RELATED.y, RELATED.tasks, cv=3)
    title, *lines = str(result).split("\n")
    assert "r2_score (pooled)" in title and "'single'" in title
    table = lines[:6]
    header = ["model", "mean", "sd", "difference", "p_value", "tasks_gaining", "p_tasks", "rmse", "seconds"]
    assert table[0].split() == header
    assert len({len(line) for line in table}) == 1
    assert max(map(len, lines[6:])) <= 100
    shown = " ".join(" ".join(lines[6:]).split())
    assert shown.endswith(result.verdict)
    assert all(f"{name}: " in shown for name in ["p_value", "p_tasks", *map(repr, BASELINES)])
    own = compare({"mean": Pooled(Ridge())}, RELATED.X, RELATED.y, RELATED.tasks, cv=2, baselines=["single"])
    assert "'mean': no features" not in str(own)
    page = result._repr_html_()
    assert (
        "&#x27;single&#x27;" in page and page.count("<tr>") == 6 + 7 and page.count("<th>") == len(header) + 5
    )
    text = result.to_markdown().split("\n")
    assert text[2] == "| " + " | ".join(header) + " |" and set(text[3]) <= set("|-: ")
    assert len(text[4:9]) == 5 and all(line.count("|") == len(header) + 1 for line in text[2:9])
    assert text[-1] == result.verdict


def test_small_numbers_are_not_shown_as_zero():
    result = compare({"m": Pooled(Ridge())}, RELATED.X, RELATED.y, RELATED.tasks, cv=3)
    at = list(result.table.columns).index("p_value")
    for p, text in [(0.0, "<0.001"), (9e-4, "<0.001"), (0.001, "0.0010"), (0.04, "0.0400")]:
        result.table["p_value"], result.table["mean"] = p, p / 1e4
        assert {row[at] for row in result._cells()[1:]} == {text}
        assert "0.0000" not in {row[1] for row in result._cells()[1:]} or p == 0
    assert f"of {RELATED.tasks.max() + 1} tasks" in str(result).partition("\n")[0]


@pytest.mark.parametrize("level", [0.0, 0.1, 1e6, 1e-80])
def test_a_constant_target_makes_no_difference(level):
    """Errors are rounding at most: no p-value, no gain, the same words for every level."""
    p = RELATED
    model = MeanRegularizedRegressor(1.0)
    for scoring in (None, "neg_mean_squared_error"):
        found = compare(model, p.X, np.full(len(p.y), level), p.tasks, cv=3, scoring=scoring)
        assert found.table["p_value"].isna().all() and found.table["p_tasks"].isna().all()
        assert not found.per_task[["hurt", "clearly_hurt"]].any(axis=None)
        assert found.verdict.count("no different from") == 2 and "clearly better" not in found.verdict


def test_equal_models_by_other_solvers_are_alike():
    """Ridge per task, by scikit-learn and to the tolerance of a solver; 12 rows of a task train."""
    p, alpha = RELATED, 0.1
    model = MultiTaskRegressor(alpha, penalty=penalties.Ridge(), solver="fista", tol=1e-7)
    folds = list(TaskKFold(4, shuffle=True, random_state=0).split(p.X, tasks=p.tasks))
    twin = SingleTask(Ridge(alpha * 12))
    found = compare(
        {"one": model}, p.X, p.y, p.tasks, cv=folds, reference="two",
        baselines={"two": twin, "other": SingleTask(Ridge(30.0))},
    )  # fmt: skip
    assert row(found, "one")["difference"] != 0 and np.isnan(row(found, "one")["p_value"])
    assert not row(found, "one")["p_tasks"] < 0.05
    assert row(found, "other")["p_value"] < 0.05
    assert "no different from 'two'" in found.verdict


def test_scores_with_a_class_that_training_lacked():
    """It has probability zero: the worst error of a label; a fold with one class has no rank to score."""
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(40, 2)), np.arange(40) % 2
    y = np.digitize(X[:, 0], [0.0])
    train, test = np.arange(30), np.arange(30, 40)
    several = y.copy()
    several[35] = 2
    model = Pooled(LogisticRegression())
    for scoring in (task_scorer("neg_log_loss", average="pooled"), "accuracy"):
        found = compare(model, X, several, tasks, cv=[(train, test)], scoring=scoring, baselines=["mean"],
                        reference="mean")  # fmt: skip
        assert np.isfinite(found.table["mean"]).all() and np.isfinite(found.table["brier"]).all()
    proba = Pooled(LogisticRegression()).fit(X[train], y[train], tasks=tasks[train]).predict_proba(X[test])
    truth = several[test][:, None] == [0, 1]
    brier = np.sum((truth - proba) ** 2, axis=1) / 2 + np.where(several[test] == 2, 0.5, 0.0)
    assert row(found, "Pooled")["brier"] == pytest.approx(brier.mean())
    one = test[y[test] == 1]
    splits = [(train, test), (np.setdiff1d(np.arange(40), one), one)]
    with pytest.warns(UndefinedMetricWarning, match="undefined on 1 of 2 test sets"):
        found = compare(
            model, X, y, tasks, cv=splits, scoring="roc_auc", baselines=["mean"], reference="mean"
        )
    alone = compare(
        model, X, y, tasks, cv=splits[:1], scoring="roc_auc", baselines=["mean"], reference="mean"
    )
    assert_allclose(found.table["mean"], alone.table["mean"])


def test_scores_that_are_undefined_everywhere_are_refused():
    """Models without a score had p < 0.001 and a verdict."""
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(40, 2)), np.repeat(["a", "b"], 20)
    model, score = GroupSparseClassifier(0.1), task_scorer("roc_auc")
    with pytest.raises(ValueError, match="scoring: the score is undefined on all 5 test sets"):
        compare(model, X, (tasks == "a").astype(int), tasks, scoring=score, baselines=["mean"])
    with pytest.raises(ValueError, match=r"scoring=task_scorer\(roc_auc_score, average='macro'"):
        suggest(X, (tasks == "a").astype(int), tasks, scoring=score)


def test_a_model_without_a_score_has_no_p_value():
    def some(y_true, y_pred):
        return np.nan if np.ptp(y_pred) == 0 else -np.mean(np.abs(y_true - y_pred))

    found = compare(
        Pooled(Ridge()), RELATED.X, RELATED.y, RELATED.tasks, cv=3, scoring=some,
        baselines={"constant": DummyRegressor()}, reference="constant",
    )  # fmt: skip
    assert np.isnan(row(found, "constant")["mean"]) and np.isfinite(row(found, "Pooled")["mean"])
    assert np.isnan(row(found, "Pooled")["p_value"])


def test_names_with_new_lines_break_no_line_of_a_table():
    p = make_multitask_regression(2, 20, 2, random_state=0)
    tasks = np.array(["a\nb", "c\td"])[p.tasks]
    found = compare({"my\nmodel": MeanRegularizedRegressor()}, p.X, p.y, tasks, cv=2)
    lines = str(found).split("\n")
    assert any(line.startswith(r"my\nmodel") for line in lines)
    assert any(line.startswith(r"a\nb ") for line in lines) and any(r"c\td " in line for line in lines)
    table = str(summary(MeanRegularizedRegressor().fit(p.X, p.y, tasks=tasks))).split("\n")[-4:]
    assert len({len(line) for line in table}) == 1 and table[-2].startswith(r"a\nb ")


@pytest.mark.parametrize("form", ["columns", "text", "frame", "missing", "rows", "task column"])
def test_tasks_of_different_kinds_are_scored_by_what_their_losses_say(form):
    """Classes 0 and 1 were scored by R^2, next to which a regression is best, and text was refused."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    Y = np.column_stack([X[:, 0] + rng.normal(size=90) > 0, X[:, 1] + 0.3 * rng.normal(size=90)]).astype(
        float
    )
    names, given, losses = [0, 1], {}, ["log_loss", "squared_error"]
    if form == "text":
        Y = Y.astype(object)
        Y[:, 0] = np.where(Y[:, 0] == 1, "sick", "well")
    elif form == "frame":
        names = ["sick", "height"]
        Y = pd.DataFrame(Y, columns=names)
    elif form == "missing":
        Y[::4, 0] = Y[1::5, 1] = np.nan
    elif form in ("rows", "task column"):
        tasks = np.arange(90) % 2
        Y, given = np.where(tasks == 0, Y[:, 0], Y[:, 1]), {"tasks": tasks}
    if form == "task column":
        X, given = np.column_stack([tasks, X]), {"task_column": 0}
    model = MixedTaskModel(0.01, losses=dict(zip(names, losses, strict=True)))
    splits = [*TaskKFold(2, shuffle=True, random_state=0).split(X, np.asarray(Y), **(
        {"tasks": tasks} if given else {}))]  # fmt: skip
    found = compare({"m": model}, X, Y, **given, cv=splits)
    assert found.score == "r2_or_accuracy (macro)" and {*found.table["model"]} == {"m", "single", "mean"}
    y, scores, errors = np.asarray(Y), [], np.full(np.shape(Y), np.nan)
    for train, test in splits:
        own, A = bool(given), X[:, 1:] if form == "task column" else X
        fitted, held_out = ({"tasks": tasks[rows]} if own else {} for rows in (train, test))
        one = clone(model).fit(A[train], safe_indexing(Y, train), **fitted)
        predicted = one.predict(A[test], **held_out)
        each = []
        for t in (0, 1):
            at = np.flatnonzero(tasks[test] == t) if own else (slice(None), t)
            true, guess = y[test][at], predicted[at]
            known = ~pd.isna(true)
            if t == 0:
                each.append(np.mean(true[known] == guess[known]))
                error = np.where(known, true != guess, np.nan).astype(float)
            else:
                true, guess = true.astype(float), guess.astype(float)
                each.append(r2_score(true[known], guess[known]))
                whole = (y[tasks == 1] if own else y[:, 1]).astype(float)
                error = (true - guess) ** 2 / np.nanvar(whole)
            if own:
                errors[test[at]] = error
            else:
                errors[test, t] = error
        scores.append(np.mean(each))
    assert_allclose(found.fold_scores["m"], scores, rtol=1e-6)
    for t, name in enumerate(names):
        own = errors[tasks == t] if given else errors[:, t]
        columns = (found.per_task[key] for key in ("model", "task", "error", "n_test"))
        line = next(one for one in zip(*columns, strict=True) if one[:2] == ("m", name))
        assert_allclose(line[2:], [np.nanmean(own), np.count_nonzero(~np.isnan(own))], rtol=1e-4)
    assert "one model of tasks of different kinds" in found.verdict and "pooled" in found.dropped
    assert row(found, "m")["mean"] > row(found, "mean")["mean"] + 0.2
    assert row(found, "single")["mean"] > row(found, "mean")["mean"] + 0.2


def test_other_models_beside_tasks_of_different_kinds():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    Y = np.column_stack([X[:, 0] > 0, X[:, 1]]).astype(float)
    mixed = MixedTaskModel(losses={0: "log_loss", 1: "squared_error"})
    models = {"numbers": MultiTaskRegressor(0.1), "mixed": PathSearchCV(mixed, [0.01, 0.1])}
    found = compare(models, X, Y, cv=3)
    assert row(found, "numbers")["mean"] < 0.5 < row(found, "mixed")["mean"]  # numbers are no classes
    with pytest.raises(ValueError, match=r"must be 'single' and 'mean' for tasks .*; got 'trees'"):
        compare(mixed, X, Y, cv=3, baselines=["trees"])
    numbers = compare(MixedTaskModel(0.1), X, Y, cv=3)
    assert numbers.score == "r2_score (macro)"


def test_sign_test_over_tasks():
    """Six tasks that all gain are 2 / 2^6 likely by chance, three of six 1."""
    result = compare({"m": Pooled(Ridge())}, RELATED.X, RELATED.y, RELATED.tasks, cv=4)
    for name in result.table["model"]:
        gain = result.per_task.query("model == @name")["gain"]
        won, lost = int((gain > 1e-3).sum()), int((gain < -1e-3).sum())
        assert row(result, name)["tasks_gaining"] == won
        p = row(result, name)["p_tasks"]
        if won + lost:
            tail = stats.binom.cdf(min(won, lost), won + lost, 0.5)
            assert_allclose(p, min(1.0, 2 * tail))
        else:
            assert np.isnan(p)


def test_verdict_follows_the_tasks_where_folds_are_too_few():
    """Two folds give the t-test one degree of freedom; every task gains all the same."""
    p = make_multitask_regression(12, 10, 5, structure="mean", task_spread=0.05, random_state=0)
    model = MeanRegularizedRegressor(10.0)
    result = compare({"m": model}, p.X, p.y, p.tasks, cv=2, baselines=["single"])
    assert row(result, "m")["p_value"] > 0.05 and row(result, "m")["p_tasks"] < 0.05
    assert "Use 'm': " in result.verdict and "more than by chance" in result.verdict


def test_searches_are_tuned_inside_each_training_set():
    p = RELATED
    search = PathSearchCV(MeanRegularizedRegressor(), [0.01, 1.0, 100.0])
    result = compare({"m": search}, p.X, p.y, p.tasks, cv=3)
    scores = []
    for train, test in TaskKFold(3, shuffle=True, random_state=0).split(p.X, tasks=p.tasks):
        fitted = search.fit(p.X[train], p.y[train], tasks=p.tasks[train])
        scores.append(r2_score(p.y[test], fitted.predict(p.X[test], tasks=p.tasks[test])))
    assert_allclose(row(result, "m")["mean"], np.mean(scores))


# --- rivals ---


def make_rows(kind):
    """Few rows of tasks with names, or one column of y per task with missing labels."""
    if kind == "shared":
        p = make_multitask_regression(
            2, 24, 3, layout="shared", missing=0.2, structure="mean", random_state=0
        )
        return p.X, p.y, None
    p = make_multitask_regression(3, 20, 3, structure="mean", random_state=0)
    tasks, z = np.array(["ash", "birch", "cedar"])[p.tasks], (p.y - p.y.mean()) / p.y.std()
    if kind == "counts":
        return p.X, np.random.default_rng(0).poisson(np.exp(z / 2)), tasks
    if kind == "numbers":
        return p.X, p.y, tasks
    return (
        p.X,
        np.array(["low", "mid", "top"])[np.digitize(z, [0.0] if kind == "two" else [-0.4, 0.4])],
        tasks,
    )


@pytest.mark.parametrize("kind", ["numbers", "shared", "counts", "two", "three"])
def test_rivals_by_name(kind, monkeypatch):
    monkeypatch.setattr(_rivals, "MOST_ROUNDS", 5)
    monkeypatch.setattr(_rivals, "N_TREES", 20)
    X, y, tasks = make_rows(kind)
    classes = kind in ("two", "three")
    model = Pooled(LogisticRegression()) if classes else Pooled(Ridge())
    if kind == "counts":
        model = MeanRegularizedRegressor(1.0, loss="poisson")
    names = ["dummies", "trees", "forest"] + ["mixed"] * (kind != "three") + ["pooled"] * (kind == "counts")
    found = compare({"m": model}, X, y, tasks, cv=2, baselines=[*names, "mean"])
    assert sorted(found.table["model"]) == sorted([*names, "m", "mean"])
    assert np.isfinite(found.table[["mean", "difference"]]).all(axis=None)
    assert found.reference == "dummies"


def test_boosted_trees_have_the_rounds_and_leaves_of_least_error(monkeypatch):
    monkeypatch.setattr(_rivals, "MOST_ROUNDS", 4)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 2))
    y, folds = X[:, 0] + 0.3 * rng.normal(size=60), KFold(3, shuffle=True, random_state=0)
    for classes in (False, True):
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        target = (y > 0).astype(int) if classes else y
        folds = StratifiedKFold(3, shuffle=True, random_state=0) if classes else folds
        error = {}
        for leaf, rounds in product(_rivals.LEAVES, range(1, 5)):
            model = kind(min_samples_leaf=leaf, max_iter=rounds, early_stopping=False, random_state=0)
            method = "predict_proba" if classes else "predict"
            unseen = cross_val_predict(model, X, target, cv=folds, method=method)
            error[leaf, rounds] = np.sum((target - (unseen[:, 1] if classes else unseen)) ** 2)
        model = _rivals.TunedBoosting("classes" if classes else "numbers").fit(X, target).model_
        assert (model.min_samples_leaf, model.max_iter) == min(error, key=error.get)
    rare = _rivals.TunedBoosting("classes").fit(X, np.arange(60) < 2)  # too few of a class for folds
    assert rare.predict_proba(X).shape == (60, 2)
    monkeypatch.setattr(_rivals, "MANY_ROWS", 50)
    stopped = _rivals.TunedBoosting("numbers").fit(X, y).model_
    assert stopped.early_stopping and stopped.n_iter_ <= 40


@pytest.mark.parametrize("kind", ["numbers", "classes", "counts"])
def test_boosted_trees_after_some_rounds_are_those_of_so_many(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = {"numbers": X[:, 0], "classes": (X[:, 0] > 0) * 1, "counts": rng.poisson(np.exp(X[:, 0]))}[kind]
    fitted = _rivals.TunedBoosting(kind, leaf=5, rounds=20).fit(X, y)
    after, wanted = fitted.after(7), _rivals.TunedBoosting(kind, leaf=5, rounds=7).fit(X, y)
    assert (after.predict(X) == wanted.predict(X)).all()
    assert after.rounds == 7 and (fitted.predict(X) != after.predict(X)).any() == (kind != "classes")
    if kind == "classes":
        assert (after.predict_proba(X) == wanted.predict_proba(X)).all()
    if kind == "counts":  # where there is no event nothing is boosted
        assert _rivals.TunedBoosting(kind, leaf=5, rounds=20).fit(X, 0 * y).after(7).predict(X).max() == 0


def test_leaves_and_rounds_of_trees_are_searched_on_the_folds_of_a_suggestion(monkeypatch):
    """Each fold is fitted once for all rounds, and scored at those that are best over the others."""
    rounds, fit = [], HistGradientBoostingRegressor.fit
    monkeypatch.setattr(
        HistGradientBoostingRegressor,
        "fit",
        lambda self, *args: rounds.append(self.max_iter) or fit(self, *args),
    )
    rng = np.random.default_rng(0)
    X, tasks = rng.uniform(-2, 2, (200, 3)), np.arange(200) % 4
    y = 2 * np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + 0.5 * rng.normal(size=200)
    found = suggest(X, y, tasks, candidates=["trees", "single"])
    assert found.best == "trees" and found.params["trees"].keys() == {
        "model__estimator__leaf", "model__estimator__rounds",
    }  # fmt: skip
    alone = 5 * 4 * 7  # fits of trees of each task by itself, three folds of two leaves and one
    assert len(rounds) <= 5 * 2 + 3 + alone and max(rounds[:2]) == 100
    assert "TunedBoosting(kind='numbers', leaf=" in found.code
    fitted = found.estimators["trees"].fit(X, y, model__tasks=tasks)
    assert fitted[-1].estimator_.model_.n_iter_ == found.params["trees"]["model__estimator__rounds"]


def test_trees_are_constant_on_a_fold_without_an_event():
    rng = np.random.default_rng(0)
    X, tasks, y = rng.normal(size=(90, 3)), np.arange(90) % 3, np.zeros(90)
    y[:30] = rng.poisson(3, 30)
    folds = [(np.setdiff1d(np.arange(90), test), test) for test in np.split(np.arange(90), 3)]
    found = suggest(X, y, tasks, task_type="count", candidates=["trees", "mean"], cv=folds)
    assert {"trees", "mean"} == {*found.models} and found.estimators["trees"].fit(X, y, model__tasks=tasks)


def test_a_forest_has_the_leaves_of_least_error_on_rows_that_trees_have_not_seen():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    for y, leaf in [(np.sign(X[:, 0]) + X[:, 1], 1), (rng.normal(size=50), 5)]:
        assert _rivals.TunedForest("numbers").fit(X, y).model_.min_samples_leaf == leaf


def test_dummies_have_free_levels():
    """As ridge regression on what deviates from the means of the tasks, up to a hundredth of the strength."""
    p = make_multitask_regression(5, 30, 3, intercept_spread=20, structure="mean", random_state=0)

    def within(A):
        return A - np.stack([A[p.tasks == t].mean(axis=0) for t in range(5)])[p.tasks]

    model = _rivals.FreeIntercepts(Ridge(10.0), task_indicators=True).fit(p.X, p.y, tasks=p.tasks)
    wanted = Ridge(10.0, fit_intercept=False).fit(within(p.X), within(p.y)).coef_
    assert_allclose(model.estimator_.coef_[:3], wanted, rtol=0.02)
    shrunk = Pooled(Ridge(10.0), task_indicators=True).fit(p.X, p.y, tasks=p.tasks)
    assert np.abs(shrunk.estimator_.coef_[:3] / wanted - 1).max() > 0.02


def test_poisson_regressions_of_the_baselines():
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(90, 2)), np.repeat([0, 1, 2], 30)
    y = rng.poisson(np.exp(0.5 * X[:, 0] + 1)) * (tasks < 2)  # nothing is counted in the last task
    folds, alphas = KFold(3, shuffle=True, random_state=0), np.logspace(-4, 1, 6)
    loss = [
        mean_poisson_deviance(y, cross_val_predict(PoissonRegressor(alpha=a), X, y, cv=folds)) for a in alphas
    ]
    assert_allclose(held_out_counts(X, y, alphas), 90 * np.array(loss), rtol=1e-4)
    model = SingleTask(TunedLinear("counts")).fit(X, y, tasks=tasks)
    assert (model.predict(X[tasks == 2], tasks=tasks[tasks == 2]) == 0).all()
    assert len({one.alpha for one in model.estimators_}) == 1


@pytest.mark.parametrize(("name", "package"), [("lightgbm", "LightGBM"), ("catboost", "CatBoost")])
def test_packages_that_are_not_there_are_named(name, package, monkeypatch):
    p, module = RELATED, ModuleType(name)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"the baseline '{name}' needs {package}: pip install {name}"):
        compare(Pooled(Ridge()), p.X, p.y, p.tasks, baselines=[name])

    class Stub(HistGradientBoostingRegressor):
        def __init__(self, categorical_features=None, **options):
            super().__init__(categorical_features=categorical_features, max_iter=3)

        get_params = BaseEstimator.get_params

    made = []
    module.LGBMRegressor = module.CatBoostRegressor = lambda **options: made.append(options) or Stub()
    monkeypatch.setitem(sys.modules, name, module)
    found = compare(Pooled(Ridge()), p.X, p.y, p.tasks, cv=2, baselines=[name, "mean"])
    assert row(found, name)["mean"] > row(found, "mean")["mean"] and len(made) == 1


class Threads(Ridge):
    """Keeps how many threads its fits may have at most."""

    seen = []

    def fit(self, X, y):
        self.seen.append(max(library["num_threads"] for library in threadpool_info()))
        return super().fit(X, y)


def test_small_models_have_one_thread_each():
    """Of BLAS and of OpenMP: boosted trees of few rows took fifty times as long on a busy machine."""
    p = RELATED
    with threadpool_limits(2):
        compare(Pooled(Threads()), p.X, p.y, p.tasks, cv=2, baselines=["mean"])
    assert Threads.seen == [1, 1]


def test_any_estimator_is_a_rival():
    """Told the tasks as it can take them; on a shared design one for each output, unless it takes several."""
    p = RELATED
    frame = pd.DataFrame(p.X, columns=list("vwxyz")).assign(school=np.array(list("abcdef"))[p.tasks])
    trees, scaled = HistGradientBoostingRegressor(max_iter=5), make_pipeline(StandardScaler(), Ridge())
    found = compare(
        {"m": Pooled(Ridge(), task_column="school"), "bare": trees}, frame, p.y, cv=2,
        baselines=[Ridge(), "mean", Ridge(10.0)],
    )  # fmt: skip
    assert {*found.table["model"]} == {"m", "bare", "Ridge", "Ridge 2", "mean"}
    assert repr(found.estimators["bare"].estimator) == repr(trees)
    wanted = compare(
        {"bare": Pooled(trees, task_indicators="auto"), "Ridge": Pooled(Ridge(), task_indicators=True)},
        p.X, p.y, p.tasks, cv=2, baselines=(),
    )  # fmt: skip
    for name in ("bare", "Ridge"):
        assert_allclose(row(found, name)["mean"], row(wanted, name)["mean"])
    routed = compare({"m": scaled}, p.X, p.y, p.tasks, cv=2, baselines=["single"])
    assert routed.estimators["m"].task_indicators == "auto"
    one_hot = make_column_transformer((OneHotEncoder(), ["school"]), remainder="passthrough")
    seen = compare(
        {"m": make_pipeline(one_hot, Ridge())}, frame, p.y, baselines=[],
        cv=TaskKFold(2, task_column="school", shuffle=True, random_state=0),
    )  # fmt: skip
    assert_allclose(row(seen, "m")["mean"], row(found, "Ridge")["mean"])
    q = make_multitask_regression(2, 30, 3, layout="shared", random_state=0)
    several = compare([Ridge(), trees], q.X, q.y, cv=2, baselines={"two": PLSRegression(2)})
    assert isinstance(several.estimators["Ridge"], Ridge)
    assert isinstance(several.estimators["HistGradientBoostingRegressor"], SingleTask)
    gaps = np.where(q.y > 2, np.nan, q.y)
    assert isinstance(compare(Ridge(), q.X, gaps, cv=2, baselines=()).estimators["Ridge"], SingleTask)


# --- suggestions ---


def says_the_support(p, found):
    """The true features come first; no task is said to differ, where all use the same ones."""
    truth = {f"x{j}" for j in np.flatnonzero(p.support)}
    for name in ("GroupSparse", "Dirty"):
        names = re.search(r"strongest first: ((?:x\d+, )*)", found[name]).group(1).split(", ")
        assert set(names[: len(truth)]) == truth, found[name]
    assert int(re.match(r"(\d+) of 12 features are in use, the same", found["GroupSparse"]).group(1)) < 12
    assert found["Robust"].startswith("No task stands apart from a majority (")


def says_the_rank(p, found):
    stated = re.match(
        r"The tasks' coefficients span (\d) of 8 directions, (\d) of them hold", found["TraceNorm"]
    )
    assert int(stated.group(2)) == p.rank <= int(stated.group(1)) < 8
    assert found["LatentBasis"].startswith(f"The tasks' coefficients are mixtures of {p.rank} patterns (")


def says_the_mean(p, found):
    """The share of the deviations, shrunken; every feature is in use, in every task."""
    share = np.square(p.coef - p.coef.mean(axis=0)).sum() / np.square(p.coef).sum()
    stated = int(re.match(r"Tasks deviate from a common model: (\d+)% ", found["MeanRegularized"]).group(1))
    assert 0.4 * share < stated / 100 < share
    assert found["GroupSparse"].startswith("All 12 features are in use beyond the common model (")


def says_the_clusters(p, found):
    groups = re.findall(r"\[([\d, ]+)\]", found["Clustered"])
    groups = {frozenset(map(int, group.split(", "))) for group in groups}
    assert groups == {frozenset(np.flatnonzero(p.labels == c).tolist()) for c in range(2)}
    pair = re.search(r"most those of (\d) and (\d) ", found["TaskRelationship"]).groups()
    assert len(set(p.labels[[int(t) for t in pair]])) == 1


def says_the_outlier(p, found):
    (outlier,) = p.outlier_tasks
    assert found["Robust"].startswith(f"1 of 8 tasks stand apart: {outlier} (")


def test_odd_tasks_about_a_common_model_are_named():
    """The candidate has a common model, and single tasks hold most of what deviates from it."""
    for seed, spread in enumerate((0.0, 0.1, 0.0)):
        rng = np.random.default_rng(seed)
        coef = rng.normal(size=8) + spread * rng.normal(size=(10, 8))
        coef[[2, 7]] = rng.normal(size=(2, 8))
        X, tasks = rng.normal(size=(250, 8)), np.arange(250) % 10
        y = (X * coef[tasks]).sum(axis=1) + rng.normal(size=250)
        found = suggest(X, y, tasks, candidates=["RobustRegressor", "single"], cv=3)
        assert found.best == "RobustRegressor"
        assert found.findings["RobustRegressor"].startswith("2 of 10 tasks stand apart: 2, 7 (")


def test_odd_tasks_are_named_before_clusters_that_predict_as_well():
    rng = np.random.default_rng(5)
    coef = rng.normal(size=8) + 0.3 * rng.normal(size=(12, 8))
    coef[[2, 7]] = rng.normal(size=(2, 8))
    X, tasks = rng.normal(size=(300, 8)), np.arange(300) % 12
    y = (X * coef[tasks]).sum(axis=1) + rng.normal(size=300)
    names = ["RobustRegressor", COMMON[0], "ClusteredRegressor(relaxation='kmeans')", "single"]
    found = suggest(X, y, tasks, candidates=names)
    assert found.best == "RobustRegressor" and found.dropped.keys() <= {COMMON[0]}


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("structure", "options", "best", "says_the_truth"),
    [
        # of models alike the simplest: "Robust" without an outlier, a low rank of two centres
        ("shared_support", {}, {"GroupSparse"}, says_the_support),
        ("low_rank", {}, {"LatentBasis"}, says_the_rank),
        ("mean", {}, {"MeanRegularized"}, says_the_mean),
        ("clustered", {"n_clusters": 2}, {"Clustered"}, says_the_clusters),
        # an outlier and the others are two clusters, and span two directions
        (
            "outliers",
            {"n_informative": 2, "task_spread": 0.1, "noise": 0.5},
            {"Clustered", "LatentBasis"},
            says_the_outlier,
        ),
    ],
)
def test_suggest_finds_the_structure(structure, options, best, says_the_truth):
    p = make_multitask_regression(8, 40, 12, structure=structure, random_state=0, **options)
    linear = [f"{name}Regressor" for name in FINDINGS] + ["MeanRegularizedRegressor(alpha='auto')"]
    found = suggest(p.X, p.y, p.tasks, candidates=[*linear, *SIMPLE], cv=2)
    assert found.best.partition("Regressor")[0] in best
    assert 1 - row(found, found.best)["mean"] < 1.03 * (1 - row(found, found.models[0])["mean"])
    assert set(found.findings) == set(linear) and set(found.estimators) == {*linear, *SIMPLE}
    texts = dict(found.findings)
    if structure == "outliers":  # strengths by two folds are too weak to tell it from the others
        texts |= suggest(p.X, p.y, p.tasks, candidates=["RobustRegressor"], cv=3).findings
    says_the_truth(p, {name.removesuffix("Regressor"): text for name, text in texts.items()})
    shown = " ".join(str(found).split())  # lines are wrapped
    worse = [name for name, why in found.dropped.items() if why.startswith("Clearly worse")]
    marks = dict.fromkeys(worse, " (predicts clearly worse)")
    assert all(f"{name}{marks.get(name, '')}: {one}." in shown for name, one in found.findings.items())
    said = f"Sharing (helps:|may help, not clearly:) {re.escape(repr(found.best))} is above 'single'"
    assert re.match(said, found.verdict)
    assert all(len(re.findall("p [<=]", one)) <= 1 for one in found.verdict.split(". "))
    assert "<li>" in found._repr_html_() and "* Clustered" in found.to_markdown()
    estimated = MeanRegularizedRegressor("auto", intercept_alpha="auto", covariance="spherical")
    tests = estimated.fit(StandardScaler().fit_transform(p.X), p.y, tasks=p.tasks).test_sharing()
    assert all(
        f"{name} differ between tasks ({p_words(tests[name].p_value)})" in found.sharing.lower()
        for name in tests
    )
    shown = " ".join(str(found).split())
    assert shown.index(found.sharing) < shown.index(found.findings[linear[0]])


COMMON = ["MeanRegularizedRegressor", "MeanRegularizedRegressor(alpha='auto')", *SIMPLE]


def test_suggest_estimates_strengths_only_where_rows_tell_them():
    p = make_multitask_regression(3, 10, 12, structure="mean", random_state=0)
    with pytest.raises(ValueError, match=r"candidates must be some of .*got \[.*alpha='auto'\)\"\]"):
        suggest(p.X, p.y, p.tasks, candidates=COMMON, cv=2)
    found = suggest(p.X, p.y, p.tasks, candidates=[COMMON[0], "single"], cv=2)
    assert not found.sharing and set(found.models) == {COMMON[0], "single"}


def test_suggest_says_that_equal_tasks_do_not_differ():
    rng = np.random.default_rng(0)
    X, tasks = rng.standard_normal((400, 3)), np.arange(400) % 4
    found = suggest(X, X.sum(axis=1) + rng.standard_normal(400), tasks, candidates=COMMON, cv=2)
    assert found.best == "pooled" and found.verdict.startswith("Tasks do not differ in a way that helps")
    assert found.sharing.startswith("Slopes do not clearly differ between tasks (p = ")
    assert "; intercepts do not clearly differ between tasks (p = " in found.sharing


@pytest.mark.parametrize(
    ("y", "targets", "says"),
    [
        (np.arange(60) % 7 - 3, "numbers", False),
        ((np.arange(60) % 7 - 3).astype(float), "numbers", False),
        (np.arange(60) % 5 * 10, "numbers", False),
        (np.arange(60) % 7, "numbers", False),  # fewer than ten rows of each
        (np.zeros(60), "numbers", False),
        (np.arange(60) / 7, "numbers", False),
        (np.where(np.arange(60) % 4, np.arange(60) / 7, None).reshape(30, 2), "numbers", False),
        (np.arange(60) % 3, "classes", True),
        (np.arange(60) % 5 + 1.0, "classes", True),
        (np.arange(60) % 2, "classes", False),
        (np.arange(60) % 2 == 0, "classes", False),
        (np.array(["a", "b", "c"])[np.arange(60) % 3], "classes", False),
        (np.array(["a", "b", None], dtype=object)[np.arange(60) % 3].reshape(30, 2), "classes", False),
    ],
)
def test_what_the_targets_are_is_stated_or_plain(y, targets, says):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert _targets(y, None) == targets
    assert [bool(re.search("is taken for . classes.*task_type=", str(w.message))) for w in caught] == [
        True
    ] * says
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _targets(y, "regression") == "numbers"
        if not (y == 1 / 7).any():
            assert _targets(y, "classification") == "classes"
    with pytest.raises(ValueError, match=r"task_type must be one of .*'count'.* or None"):
        suggest(RELATED.X, RELATED.y, RELATED.tasks, task_type="multiclass")


@pytest.mark.parametrize("shape", [(60,), (30, 2)])
def test_two_fractions_are_no_labels(shape):
    """Classifiers refuse them."""
    y = np.array([2.5, 7.5])[np.arange(60) % 2].reshape(shape)
    assert _targets(y, None) == "numbers" and _targets(2 * y, None) == "classes"
    with pytest.raises(ValueError, match=r"task_type='classification' needs labels in y, .* got 2\.5"):
        _targets(y, "classification")


def test_suggest_of_counts(rng):
    """Poisson models, scored by the deviance; whole numbers are not taken for counts, but said to be."""
    tasks, X = np.repeat(np.arange(5), 40), rng.normal(size=(200, 3))
    W = [1.0, -0.5, 0.0] + 0.1 * rng.normal(size=(5, 3))
    y = rng.poisson(np.exp(0.5 + (X * W[tasks]).sum(axis=1)))
    names = ["MeanRegularizedRegressor", "MultiTaskMLPRegressor", "pooled", "mean"]
    found = suggest(X, y, tasks, task_type="count", candidates=names, cv=2)
    assert found.score.startswith("d2_poisson_score") and "count events" not in found.verdict
    assert all(found.estimators[name][-1].loss == "poisson" for name in names[:2])
    assert row(found, "mean")["mean"] < 0.2 < 0.6 < row(found, names[0])["mean"]
    fitted = found.estimators["mean"]
    scores = []
    for train, test in TaskKFold(2, shuffle=True, random_state=0).split(X, y, tasks=tasks):
        fitted.fit(X[train], y[train], model__tasks=tasks[train])
        scores.append(d2_tweedie_score(y[test], fitted.predict(X[test], tasks=tasks[test]), power=1))
    assert_allclose(row(found, "mean")["mean"], np.mean(scores))
    names = {"X": X, "y": y, "tasks": tasks}
    exec(suggest(X, y, tasks, task_type="count", candidates=["single"], cv=2).code, names)
    assert (names["model"].predict(X, tasks=tasks) > 0).all()
    said = suggest(X, 2 * y, tasks, candidates=["pooled"], cv=2)
    assert "if they count events, pass task_type='count'" in said.verdict
    with pytest.raises(ValueError, match="task_type='count' needs a y of numbers >= 0; got -1"):
        suggest(X, y - 1, tasks, task_type="count")


def test_counts_with_exposures(rng, monkeypatch):
    """All baselines have them, in any unit; the score is the share of the deviance that is explained."""
    monkeypatch.setattr(_rivals, "MOST_ROUNDS", 5)
    tasks, X, exposure = np.repeat(np.arange(4), 30), rng.normal(size=(120, 2)), rng.uniform(0.1, 20, 120)
    y = rng.poisson(exposure * np.exp(0.5 * X[:, 0] - 1 + 0.3 * tasks))
    options = {"cv": 2, "baselines": [*BASELINES, "dummies", "trees"]}
    model = MeanRegularizedRegressor(0.1, loss="poisson")
    found, other = (
        compare(model, X, y, tasks, offset=np.log(exposure / unit), **options) for unit in (1, 100)
    )
    assert not found.dropped and found.score == "d2_poisson_score (pooled)" and "deviance" in found.table
    assert {*found.table["model"]} == {"MeanRegularizedRegressor", *options["baselines"]}
    both = found.table.merge(other.table, on="model")
    assert_allclose(both["mean_x"], both["mean_y"], rtol=1e-6)
    scores = []
    for train, test in TaskKFold(2, shuffle=True, random_state=0).split(X, y, tasks=tasks):
        events, exposures = (np.bincount(tasks[train], one[train]) for one in (y, exposure))
        scores.append(d2_tweedie_score(y[test], exposure[test] * (events / exposures)[tasks[test]], power=1))
    assert_allclose(row(found, "mean")["mean"], np.mean(scores))
    assert row(found, "pooled")["mean"] > np.mean(scores)  # the features tell more than the task
    fitted = SingleTask(PoissonRegressor(alpha=0.1, tol=1e-8)).fit(X, y, tasks=tasks, offset=np.log(exposure))
    excess = fitted.predict(X, tasks=tasks, offset=np.log(exposure)) - y
    for t, one in enumerate(fitted.estimators_):  # the optimum of the loss with the offset
        own = tasks == t
        slopes = X[own].T @ excess[own] / exposure[own].sum() * exposure.mean() + 0.1 * one.coef_
        assert_allclose([excess[own].mean(), *slopes], 0, atol=1e-5)
    rate = fitted.predict(X, tasks=tasks)
    assert_allclose(fitted.predict(X, tasks=tasks, offset=np.log(exposure)), rate * exposure)
    rates, weight = y / exposure, exposure
    trees = _rivals.TunedBoosting("counts").fit(X, rates, weight).model_
    assert trees.loss == "poisson" and _rivals.TunedBoosting("counts").fit(X, 0 * y).predict(X).max() == 0


def test_models_with_an_offset(rng):
    """With the squared error as of y less the offset; what takes none is left out by name, or refused."""
    p, offset = RELATED, 10 * rng.standard_normal(len(RELATED.y))
    names = [COMMON[0], "GroupSparseRegressor", "single"]
    options = {"cv": 3, "scoring": "neg_mean_squared_error"}  # R^2 would depend on the spread of the offset
    found = suggest(p.X, p.y + offset, p.tasks, offset=offset, candidates=names, **options)
    wanted = suggest(p.X, p.y, p.tasks, candidates=names, **options)
    assert not found.dropped and found.best == wanted.best
    assert found.params[found.best] == pytest.approx(wanted.params[found.best], rel=1e-6)
    for name in names:
        assert row(found, name)["rmse"] == pytest.approx(row(wanted, name)["rmse"], rel=1e-4)
    names = {"X": p.X, "y": p.y + offset, "tasks": p.tasks, "offset": offset}
    exec(found.code, names)
    assert r2_score(p.y, names["model"].predict(p.X, tasks=p.tasks, offset=offset) - offset) > 0.8
    c, rows = CLASSES, np.zeros(len(CLASSES.y))
    given, model = {"tasks": c.tasks, "offset": rows, "cv": 2}, MeanRegularizedClassifier(0.1)
    compared = compare(model, c.X, c.y, **given)
    assert compared.dropped == dict.fromkeys(BASELINES, "Takes no offset")
    assert "Takes no offset: 'single', " in compared.verdict
    without = compare(model, c.X, c.y, c.tasks, cv=2, baselines=[])
    assert compared.table["brier"][0] == pytest.approx(without.table["brier"][0])
    found = suggest(c.X, c.y, **given, candidates=["MeanRegularizedClassifier", "single", "trees"])
    assert found.dropped == dict.fromkeys(["single", "trees"], "Takes no offset")
    assert "Takes no offset: 'single', 'trees'." in found.verdict
    assert found.verdict.startswith("Whether sharing helps is not known")
    with pytest.raises(ValueError, match=r"these estimators take none: .'Pooled'."):
        compare(Pooled(LogisticRegression()), c.X, c.y, **given)
    with pytest.raises(ValueError, match=r"no candidate takes one: .'single'."):
        suggest(c.X, c.y, **given, candidates=["single"])
    with pytest.raises(ValueError, match="offset must hold one row per sample"):
        suggest(p.X, p.y, p.tasks, offset=offset[1:])


def test_suggest_takes_whole_numbers_for_numbers_if_told():
    p = make_multitask_regression(3, 30, 2, structure="mean", random_state=0)
    y = np.clip(np.round(p.y / p.y.std()), -1, 1).astype(int) + 1
    found = suggest(p.X, y, p.tasks, task_type="regression", candidates=COMMON[:1], cv=2)
    assert found.best == COMMON[0] and found.score.startswith("r2_score")


@pytest.mark.no_cover
@pytest.mark.parametrize(("classes", "factor"), [(False, 1e-3), (False, 1e3), (True, 0.03)])
def test_grids_of_the_baselines_grow(factor, classes):
    """In any units of the features they choose what fits best as far as scikit-learn solves it."""
    p = CLASSES if classes else RELATED
    model = Pooled(LogisticRegression(max_iter=1000) if classes else Ridge())
    scoring = task_scorer("neg_log_loss" if classes else "r2", average="pooled")
    options = {"cv": 3, "baselines": ["single", "pooled"], "scoring": scoring}
    found = compare({"m": model}, p.X * factor, p.y, p.tasks, **options)
    wanted = compare({"m": model}, p.X, p.y, p.tasks, **options)
    for name in ("single", "pooled"):
        assert_allclose(row(found, name)["mean"], row(wanted, name)["mean"], atol=0.02)


def test_grids_of_baselines_grow_as_those_of_a_search_do():
    """A decade at a time, three strengths in each, while errors still fall at the edge."""
    tried = []

    def errors(grid):
        tried.append(np.log10(grid))
        return (tried[-1] + 2.7) ** 2

    assert np.log10(best_strength(errors, np.logspace(-2, 3, 6))) == pytest.approx(-8 / 3)
    assert_allclose(np.concatenate(tried[1:]), [-7 / 3, -8 / 3, -3])
    tried.clear()
    best_strength(lambda grid: np.zeros(len(errors(grid))), np.logspace(-2, 3, 6))  # a plateau
    assert len(tried) == 1


def test_models_predict_once_for_errors_and_scores(monkeypatch):
    """The rows of a fold; those of training rows nobody asks for."""
    asked = []

    class Telling(Ridge):
        def predict(self, X):
            asked.append(len(X))
            return super().predict(X)

    p = make_multitask_regression(3, 20, 4, random_state=0)
    compare({"m": Pooled(Telling())}, p.X, p.y, p.tasks, cv=3, baselines=["mean"])
    assert asked == [20, 20, 20]


@pytest.mark.no_cover
def test_suggestion_for_unrelated_tasks_is_to_keep_them_apart():
    linear = [f"{name}Regressor" for name in FINDINGS if name != "LatentBasis"]  # it wants eight tasks
    with pytest.raises(ValueError, match=r"candidates must be some of .*got \['LatentBasisRegressor'\]"):
        suggest(UNRELATED.X, UNRELATED.y, UNRELATED.tasks, candidates=["LatentBasisRegressor"])
    found = suggest(UNRELATED.X, UNRELATED.y, UNRELATED.tasks, candidates=[*linear, *SIMPLE], cv=3)
    assert found.best == "single" and found.verdict.startswith("Sharing does not help here")


@pytest.mark.parametrize("related", [False, True])
def test_what_is_not_linear_is_no_gain_of_sharing(related):
    """Tasks with smooth functions of their own are best kept apart, as splines for each; common ones not."""
    rng = np.random.default_rng(0)
    X, tasks = rng.uniform(-2, 2, (300, 2)), np.arange(300) % 6
    phase = rng.uniform(0, 6, (1 if related else 6, 2)).repeat(6 if related else 1, axis=0)
    y = np.sin(2 * X + phase[tasks]).sum(axis=1) + 0.3 * rng.standard_normal(300)
    splines = "MeanRegularizedRegressor of splines"
    found = suggest(X, y, tasks, candidates=[splines, "single", "pooled"], cv=3)
    if related:
        assert found.best == splines and found.verdict.startswith(f"Sharing helps: {splines!r} is above")
        assert re.search("'single of splines' by 0.* on the first folds, of models of each", found.verdict)
        assert found.dropped["single of splines"].startswith("Clearly worse on the first folds -0.")
        return
    assert found.best == "single of splines" and found.verdict.startswith("Sharing does not help here")
    names = {"X": X, "y": y, "tasks": tasks}
    exec(found.code, names)
    fitted = clone(found.estimators[found.best]).fit(X, y, model__tasks=tasks)
    assert_allclose(names["model"].predict(X, tasks=tasks), fitted.predict(X, tasks=tasks))


def test_models_of_each_task_are_those_of_the_winner():
    """Networks and trees for few tasks, splines for many; not tried without time: no gain is claimed then."""
    p, T = RELATED, 6
    tried = all_candidates(p.X, p.y, [16] * T, "numbers")
    network, trees = tried["MultiTaskMLPRegressor"], tried["trees"]
    assert [one.alone[0] for one in (network, trees)] == ["single of networks", "single of trees"]
    assert isinstance(trees.alone[1].model[-1], SingleTask)
    own = network.alone[1].model
    follows = {"model__hidden_layer_sizes": (8,), "model__activation": "tanh", "model__alpha": 1e-2}
    own.set_params(**follows, model__max_iter=2000, model__tol=1e-6)
    other = np.where(p.tasks == p.tasks[0], p.y, -p.y)  # nothing is learned from it
    fitted = (clone(own).fit(p.X, y, model__tasks=p.tasks) for y in (p.y, other))
    one, two = (model.predict(p.X[p.tasks == p.tasks[0]], tasks=np.full(16, p.tasks[0])) for model in fitted)
    assert_allclose(one, two, atol=0.02 * np.std(p.y))
    many = all_candidates(p.X, p.y, [4] * 24, "numbers")
    assert many["trees"].alone[0] == many["MultiTaskMLPRegressor"].alone[0] == "single of splines"
    assert tried["TraceNormRegressor"].alone is None
    slow = SimpleNamespace(candidate=network, outcomes=[0], taken=1e9, found={})
    late = _race.Race(None, [()], None, {}, time_budget=1.0)
    assert late.alone(slow) == {} and late.late == ["single of networks"]
    folds = SimpleNamespace(mean={"m": 1.0, "single": 0.0}, test=lambda *names: (1.0, 1e-9))
    one = SimpleNamespace(dropped={}, run=SimpleNamespace(measure="rmse"))
    gains = {name: [(name, t, 16, error) for t in range(T)] for name, error in (("m", 0.5), ("single", 1.0))}
    said = _advice._whether_to_share(folds, gains, "m", {"m": network}, one)
    assert said.startswith("Sharing may help, not clearly") and "'single of networks' was not tried" in said


def test_suggest_says_that_differences_are_not_tested_where_classes_are_separable():
    rng = np.random.default_rng(0)
    X, tasks = rng.standard_normal((120, 3)), np.arange(120) % 4
    names = ["MeanRegularizedClassifier(alpha='auto')", "single"]
    found = suggest(X, (X @ [1.0, 0.3, 0.0] > 0).astype(int), tasks, candidates=names, cv=3)
    assert "not tested: the classes" in found.sharing and "are separable" in str(found) and found.findings


def test_networks_of_each_task_have_the_layers_found_on_the_same_rows(monkeypatch):
    rng = np.random.default_rng(0)
    X, tasks = rng.uniform(-2, 2, (240, 2)), np.arange(240) % 6
    y = np.sin(2 * X).sum(axis=1) + 0.3 * rng.standard_normal(240)
    fit, layers = _race.FoldRun.fitted, {}

    def fitted(self, name, model, train):
        found = fit(self, name, model, train)
        layers.setdefault(name, {})[train.tobytes()] = getattr(found[0][-1], "hidden_layer_sizes_", None)
        return found

    monkeypatch.setattr(_race.FoldRun, "fitted", fitted)
    found = suggest(X, y, tasks, candidates=["MultiTaskMLPRegressor", "single"], cv=3)
    own, shared = layers["single of networks"], layers["MultiTaskMLPRegressor"]
    assert own == {rows: shared[rows] for rows in own} and len(own) >= 2
    assert found.estimators["single of networks"][-1].hidden_layer_sizes in own.values()


def test_smooth_functions_of_their_own_are_no_gain_of_sharing():
    """The same splines for each task by itself have their strength searched as the model has."""
    rng = np.random.default_rng(0)
    X, tasks = rng.uniform(-2, 2, (300, 4)), np.arange(300) % 5
    phase, size = rng.uniform(0, 6, (5, 4)), rng.standard_normal((5, 4))
    y = (size[tasks] * np.sin(2 * X + phase[tasks])).sum(axis=1) + 0.3 * rng.standard_normal(300)
    found = suggest(X, y, tasks, candidates=[f"{COMMON[0]} of splines", "single"])
    assert not found.verdict.startswith("Sharing helps")
    assert {"single of splines", f"{COMMON[0]} of splines"} <= {*found.table["model"]}


def test_suggest_in_other_layouts():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 4)) * [1, 10, 100, 1], columns=list("abcd"))
    Y = X[["a", "b"]].to_numpy() @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(60, 3))
    Y[rng.random(Y.shape) < 0.2] = np.nan
    with pytest.warns(UserWarning, match="divide each by its own"):
        found = suggest(X, Y, candidates=["GroupSparseRegressor", "single"], cv=2)
    with pytest.raises(ValueError, match="got \\['pooled', 'ClusteredRegressor'\\]"):  # units; three tasks
        suggest(X, Y, candidates=["pooled", "ClusteredRegressor"])
    assert "strongest first: b, a" in found.findings["GroupSparseRegressor"]  # b varies ten times as much
    p = CLASSES
    names = [name.replace("Regressor", "Classifier") for name in COMMON]
    found = suggest(p.X, p.y, p.tasks, candidates=names, cv=2, scoring="roc_auc")
    assert found.score.startswith("roc_auc") and set(found.models) == set(names)
    assert found.sharing.startswith("Slopes ")
    with pytest.raises(ValueError, match="at least two tasks"):
        suggest(p.X, p.y)
    with pytest.raises(ValueError, match="at least two tasks"):
        suggest(p.X, p.y, [("one", "task")] * len(p.y))
    with pytest.raises(ValueError, match="cannot be combined with tasks="):
        suggest(p.X, np.column_stack([p.y, p.y]), p.tasks)


def test_suggest_says_that_few_rows_decide(rng):
    p = RELATED
    prices = np.exp(11 + 0.3 * p.y)
    prices[::40] *= 100
    for y, told in ((prices, True), (p.y, False), (rng.standard_t(3, size=len(p.y)), False)):
        verdict = suggest(p.X, y, p.tasks, candidates=["mean"], cv=2).verdict
        assert ("of y are those of 2% of the labels" in verdict) == told
    assert (
        "try the logarithm of y, or loss=Huber(...)"
        in suggest(p.X, prices, p.tasks, candidates=["mean"], cv=2).verdict
    )


def test_suggest_says_that_columns_have_different_units(rng):
    X = rng.standard_normal((60, 2))
    Y = X @ rng.standard_normal((2, 3)) + rng.standard_normal((60, 3))
    Y = (Y - Y.mean(axis=0)) / Y.std(axis=0, ddof=1)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        suggest(X, Y * [1, 2, 2], candidates=["GroupSparseRegressor"], cv=2)
    with pytest.warns(UserWarning, match="columns of y are more than .*-fold apart, but .*divide each"):
        suggest(X, Y * [1, 2, 12], candidates=["single"], cv=2)


def test_nothing_is_judged_by_rows_that_chose_it(monkeypatch):
    """The strength of a fold is the best one over the other folds, of those that were tried in these."""
    p, kept, on = RELATED, {}, _race.Entrant.on

    def keep(self, folds, name, race):
        kept[name] = self
        return on(self, folds, name, race)

    monkeypatch.setattr(_race.Entrant, "on", keep)
    found = suggest(p.X, p.y, p.tasks, candidates=[COMMON[0], "single"], cv=3)
    entrant, variants = kept[COMMON[0]], kept[COMMON[0]].candidate.variants
    folds = list(TaskKFold(3, shuffle=True, random_state=0).split(p.X, tasks=p.tasks))

    def score(params, train, test):
        fitted = clone(found.estimators[COMMON[0]]).set_params(**params)
        fitted.fit(p.X[train], p.y[train], model__tasks=p.tasks[train])
        return r2_score(p.y[test], fitted.predict(p.X[test], tasks=p.tasks[test]))

    scores = []
    for k in range(3):
        others = {0, 1, 2} - {k}
        tried = [place for place, known in entrant.tried.items() if others <= set(known)]
        assert len(tried) >= 3
        params = [{**variants[v], "model__alpha": alpha} for v, alpha in tried]
        best = max(params, key=lambda one: np.mean([score(one, *folds[j]) for j in others]))
        scores.append(score(best, *folds[k]))
        assert entrant.used[k] == best
    assert_allclose(row(found, COMMON[0])["mean"], np.mean(scores), rtol=1e-4)


def test_no_model_is_fitted_twice_on_the_same_rows(monkeypatch):
    """A fold is scored with the model that the search has fitted there."""
    p, fit, names = RELATED, _race.FoldRun.fitted, []

    def fitted(self, name, *fold):
        names.append(name)
        return fit(self, name, *fold)

    monkeypatch.setattr(_race.FoldRun, "fitted", fitted)
    found = suggest(p.X, p.y, p.tasks, candidates=[COMMON[0], "GroupSparseRegressor", "pooled"], cv=3)
    assert names == ["pooled"] * 3 + [found.best] * 3  # the last ones without the rows of one more fold


def test_score_of_the_best_of_many_is_not_that_of_the_luckiest(rng):
    """Models alike, whose scores are noise: the best mean is above the truth, what is told is not."""
    told, luckiest = [], []
    for _ in range(200):
        scores = rng.standard_normal((20, 5))
        best = partial(lambda scores, at: scores[:, at].mean(axis=1).argmax(), scores)
        told.append(honest(dict(enumerate(scores)), best)[0])
        luckiest.append(scores.mean(axis=1).max())
    assert abs(np.mean(told)) < 3 * np.std(told) / np.sqrt(200) < 0.15 < np.mean(luckiest)


def test_rows_that_folds_lack_are_allowed_for(rng):
    """Errors fall as one over the number of rows: what is told is the score with all of them."""
    tests = np.array_split(rng.permutation(100), 5)
    splits = [(np.setdiff1d(np.arange(100), test), test) for test in tests]

    def run(name, model, train, test):
        assert not np.intersect1d(train, test).size
        return 0.9 - 3.0 / len(train), None, 0.0

    outcomes = {k: run("m", None, *split) for k, split in enumerate(splits)}
    entrant = _race.Entrant(
        _race.Candidate(Ridge(), simple=True), outcomes=outcomes, used={k: {} for k in range(5)}
    )
    folds = SimpleNamespace(scores={"m": [score for score, *_ in outcomes.values()]})
    one = _race.Race(run, splits, None, {})
    assert_allclose(outcomes[0][0] + _advice._gain_of_rows(folds, "m", one, entrant), 0.9 - 3.0 / 100)
    folds.scores["m"] = [-9.0] * 5  # fewer rows are better, by chance
    assert _advice._gain_of_rows(folds, "m", one, entrant) == 0.0
    network = _race.Entrant(_race.Candidate(Ridge()), outcomes=outcomes)
    assert one.with_fewer_rows("m", network) is None
    in_time = [(np.arange(k * 20), np.arange(k * 20, k * 20 + 20)) for k in range(1, 5)]
    for other in (in_time, splits[:2], splits[:1] * 5):  # rows to come, too few to lack two, the same rows
        folds.scores["m"] = [0.5] * len(other)
        entrant.outcomes = dict(enumerate([(0.5, None, 0.0)] * len(other)))
        assert _advice._gain_of_rows(folds, "m", _race.Race(run, other, None, {}), entrant) == 0.0


def test_expected_score_of_few_rows_a_task():
    """Twelve rows each, of which folds lack two or three: new rows are predicted better than theirs."""
    off = []
    for seed in range(2):
        p = make_multitask_regression(
            40, 60, 6, structure="mean", task_spread=0.5, noise=2.0, random_state=seed
        )
        train = np.arange(len(p.y)) % 60 < 12
        found = suggest(p.X[train], p.y[train], p.tasks[train], candidates=[COMMON[1], "single"])
        best = found.estimators[found.best].fit(p.X[train], p.y[train], model__tasks=p.tasks[train])
        score = r2_score(p.y[~train], best.predict(p.X[~train], tasks=p.tasks[~train]))
        assert "by the rows that a fold lacks" in found.verdict
        assert abs(found.expected[0] - score) < 2 * found.expected[1]
        off.append(np.subtract([row(found, found.best)["mean"], found.expected[0]], score))
    without, told = np.mean(off, axis=0)
    assert without < -abs(told)


@pytest.mark.parametrize("auc", [False, True])
def test_folds_that_agree_by_chance_are_not_sure(auc, rng):
    """The standard error is no less than that of scores of other samples of as many rows."""
    told, scores = [], []
    for _ in range(300):
        y = (rng.random(400) < 0.1).astype(int) if auc else rng.standard_normal(400)
        found = 1.2 * y + rng.standard_normal(400) if auc else y - 0.7 * rng.standard_normal(400)
        scores.append((roc_auc_score if auc else r2_score)(y, found))
        run = SimpleNamespace(
            measure="rmse", y=y, scorer=SimpleNamespace(metric=roc_auc_score if auc else r2_score)
        )
        one = _race.Race(run, [()], None, {})
        folds = SimpleNamespace(errors={"m": [(y - found) ** 2]}, splits=[(None, np.arange(400))])
        told.append(_advice._least_deviation(folds, "m", one, scores[-1]))
    assert_allclose(np.mean(told), np.std(scores), rtol=0.25)


@pytest.mark.parametrize(
    ("single", "low_rank", "noise", "wanted"),
    [
        (0.1, 0.025, 1.0, "low rank"),  # a standard error of 0.02
        (0.1, 0.025, 0.1, "network"),  # one of 0.002: surely worse
        (0.1, 0.035, 1.0, "network"),  # too much, sure or not
        (0.025, 0.0, 1.0, "single"),
        (0.025, 0.0, 0.1, "low rank"),
        (0.0008, 0.0, 0.01, "single"),  # alike
    ],
)
def test_of_models_that_noise_does_not_tell_apart_the_simplest_is_used(single, low_rank, noise, wanted, rng):
    above = {"low rank": low_rank, "network": 0.0, "single": single}
    errors = {}
    for name, more in above.items():
        z = noise * stats.zscore(rng.standard_normal(2500)) / np.sqrt(2)
        errors[name] = np.split(1 + more + z, 5)
    scores = {name: [-more] * 5 for name, more in above.items()}
    folds = SimpleNamespace(ranked=sorted(above, key=above.get), scored=np.arange(5), scores=scores)
    folds.errors = errors
    candidates = {name: _race.Candidate(None, simple=name == "single") for name in above}
    race = _race.Race(SimpleNamespace(measure="brier"), [()] * 5, None, {})
    assert _advice._choice(folds, candidates, race) == wanted
    cost = _advice._at_what_cost(folds, wanted, ["single"], race)
    assert (f"has {-low_rank / (1 + low_rank):+.1%}, not surely less" in cost) == (
        wanted == "low rank" and low_rank > 0
    )


def test_a_model_that_is_clearly_beaten_by_any_other_one_is_not_used(rng):
    """The best one is told apart from nothing, its errors being those of a model that is quite different."""
    noise, other = stats.zscore(rng.standard_normal((2, 2500)), axis=1)
    errors = {"single": 1.02 + noise, "low rank": 1 + noise, "network": 0.999 + other}
    folds = SimpleNamespace(ranked=["network", "low rank", "single"], scored=np.arange(5))
    folds.errors = {name: np.split(each, 5) for name, each in errors.items()}
    folds.scores = {name: [-each.mean()] * 5 for name, each in errors.items()}
    candidates = {name: _race.Candidate(None, simple=name == "single") for name in errors}
    race = _race.Race(SimpleNamespace(measure="brier"), [()] * 5, None, {})
    assert race.excess(*(folds.errors[name] for name in ("single", "network")))[1] < 1 < _advice.SURELY
    assert _advice._choice(folds, candidates, race) == "low rank"


def test_labels_of_a_row_are_no_rows_of_their_own(rng):
    """Columns that are equal tell no more than one of them; gaps and rows without any change nothing."""
    race = _race.Race(SimpleNamespace(measure="brier"), [()], None, {})
    one, other = rng.random((2, 300))
    wanted = race.excess([one], [other])
    assert_allclose(wanted[1], stats.ttest_rel(one, other).statistic)
    columns, others = (np.tile(errors, (6, 1)).T for errors in (one, other))
    assert_allclose(race.excess([columns], [others]), wanted)
    gaps, empty = np.where(np.arange(6) < 3, np.nan, columns), np.full((20, 6), np.nan)
    assert_allclose(race.excess([gaps, empty], [np.where(np.isnan(gaps), np.nan, others), empty]), wanted)


def test_linear_structures_do_not_crowd_out_all_others(rng):
    """Six of them are ahead of splines, a network and trees: of these the best two go on."""
    race = _race.Race(SimpleNamespace(measure="brier"), [()] * 5, None, {})
    entrants = {}
    for k, name in enumerate(["a", "b", "c", "d", "e", "f", "g", "splines", "network", "trees"]):
        candidate = _race.Candidate(None, structure=len(name) == 1)
        outcomes = {fold: (1 - 0.001 * k, rng.random(50), 1.0) for fold in (0, 1)}
        entrants[name] = _race.Entrant(candidate, outcomes=outcomes)
    assert list(race._ahead(entrants, [0, 1], True)) == [*"abcdef", "splines", "network"]


def test_models_behind_a_simple_one_drop_out(rng):
    """By a standard error in all folds so far: they had to be above it by two. The best one goes on."""
    race = _race.Race(SimpleNamespace(measure="brier"), [()] * 5, None, {})
    errors = rng.random((2, 400))

    def entrant(more, simple=False):
        """Of errors that are greater by so many standard errors, over both folds."""
        noise = rng.standard_normal((2, 400))
        above = bool(more) * (noise - noise.mean()) / noise.std() + more / np.sqrt(noise.size)
        outcomes = {k: (-more, errors[k] + 0.01 * above[k], 1.0) for k in (0, 1)}
        return _race.Entrant(_race.Candidate(None, simple=simple, structure=True), outcomes=outcomes)

    entrants = {
        "single": entrant(0.0, True),
        "first": entrant(1.2),
        "near": entrant(0.5),
        "far": entrant(1.5),
    }
    entrants["mean"] = entrant(1.5, True)
    for screened in (False, True):
        race.behind, race.dropped = {}, {}
        assert list(race._ahead(entrants, [0, 1], screened)) == ["single", "near", "mean"]
        assert {race.dropped[name][0] for name in ("first", "far")} == {_race.BEHIND_SIMPLE}
    del entrants["near"]
    assert list(_race.Race(race.run, [()] * 5, None, {})._ahead(entrants, [0, 1], True)) == [
        "single", "first", "mean",
    ]  # fmt: skip


def test_shared_and_private_features_are_named():
    """Four features of all tasks, with coefficients of their own, and two more for each task."""
    rng = np.random.default_rng(0)
    tasks = np.arange(600) % 12
    W = np.hstack([rng.standard_normal((12, 4)), np.zeros((12, 20))])
    for own in W:
        own[4 + rng.choice(20, 2, replace=False)] = rng.choice([-1.5, 1.5], 2)
    X = rng.standard_normal((600, 24))
    y = (X * W[tasks]).sum(axis=1) + rng.standard_normal(600)
    names = ["GroupSparseRegressor", "DirtyRegressor", COMMON[0], "single"]
    found = suggest(X, y, tasks, candidates=names, cv=3)
    assert found.best == "DirtyRegressor"
    model = found.estimators["DirtyRegressor"].fit(X, y, model__tasks=tasks)[-1]
    assert 0.5 < model.shared_ratio < np.sqrt(12) / (np.sqrt(12) + 1)  # where both parts can be in use
    assert set(np.argsort(np.linalg.norm(model.shared_coef_, axis=0))[-4:]) == {0, 1, 2, 3}


def test_clusters_are_told_from_a_low_rank():
    """Their centres span few directions, but tasks that deviate from them do not."""
    p = make_multitask_regression(15, 50, 18, structure="clustered", random_state=0)
    names = ["ClusteredRegressor(relaxation='kmeans')", "ClusteredRegressor", "TraceNormRegressor", "single"]
    found = suggest(p.X, p.y, p.tasks, candidates=names, cv=3)
    assert found.best == names[0] and found.params[found.best]["model__n_clusters"] == 3
    fitted = found.estimators[found.best].fit(p.X, p.y, model__tasks=p.tasks)
    assert adjusted_rand_score(p.labels, fitted[-1].labels_) == 1.0


def test_variants_are_followed_beyond_their_strengths_only_while_they_are_the_best(monkeypatch):
    """One that is behind is not, though its scores still rise; one that wins is, up to its best strength.

    This is then looked for between those of the grid, a third of a decade apart there. One whose scores rise
    by little, beside those of all strengths, is not followed either.
    """
    rises = {
        "first": lambda x: -(x**2),
        "behind": lambda x: -x - 5,
        "ahead": lambda x: 1 - (x + 2.24) ** 2 / 9,
        "level": lambda x: 1.1 - 1e-4 * x,
    }

    def look(self, v, alphas, folds, field_, grow=False):
        alphas = np.logspace(-1.0, 1.0, alphas) if isinstance(alphas, int) else alphas
        score = rises[self.candidate.variants[v]["kind"]]
        while alphas is not None:
            self.tried |= {(v, alpha): {0: score(np.log10(alpha))} for alpha in alphas}
            own = [alpha for w, alpha in self.tried if w == v]
            alphas = beyond(own, score(np.log10(own))) if grow else None

    monkeypatch.setattr(_race.Entrant, "_look", look)
    entrant = _race.Entrant(_race.Candidate(None, [{"kind": kind} for kind in [*rises][:3]]))
    entrant._search([0], None)
    of = [[np.log10(alpha) for w, alpha in entrant.tried if w == v] for v in range(3)]
    assert min(of[1]) > -1 and -3 < min(of[2]) < -2
    variant, (*_, best, _) = entrant._around([0])
    assert variant == 2 and np.log10(best) == pytest.approx(-2.24, abs=0.1)
    entrant = _race.Entrant(_race.Candidate(None, [{"kind": kind} for kind in ("first", "level")]))
    entrant._search([0], None)
    assert entrant._around([0])[0] == 1 and min(alpha for w, alpha in entrant.tried if w == 1) >= 0.1


def test_a_fold_without_a_score_changes_no_choice():
    """Scores leave it out and errors do not: both are of the same folds where models are compared."""
    at = [0, 1]  # two such folds put in front
    p = make_multitask_classification(6, 100, 4, structure="mean", random_state=0)
    names = ["MeanRegularizedClassifier", "single"]
    every = np.arange(len(p.y))
    tests = np.array_split(np.random.default_rng(0).permutation(every), 4)
    wanted = suggest(p.X, p.y, p.tasks, candidates=names, cv=[(np.setdiff1d(every, k), k) for k in tests])
    for j in at:
        tests.insert(j, np.flatnonzero(p.y == p.y[0])[:10])
    with pytest.warns(UndefinedMetricWarning, match=f"undefined on {len(at)} of {len(tests)} test sets"):
        found = suggest(p.X, p.y, p.tasks, candidates=names, cv=[(np.setdiff1d(every, k), k) for k in tests])
    assert found.best == wanted.best == names[0]
    assert_allclose(found.expected[0], wanted.expected[0], atol=0.01)


def test_what_is_clearly_worse_drops_out_and_time_is_kept(capsys):
    p = make_multitask_regression(12, 20, 6, structure="mean", task_spread=0.2, random_state=0)
    names = [*COMMON, "TraceNormRegressor", "trees"]
    found = suggest(p.X, p.y, p.tasks, candidates=names, verbose=1)
    left = re.search(r"Behind a simple model on the first folds: (.*)\.$", found.verdict).group(1)
    assert "'trees' (-" in left and "trees" not in found.models and "trees" in found.estimators
    assert found.dropped["trees"].startswith("Behind a simple model on the first folds -")
    assert set(SIMPLE) < set(found.models) and found.best in COMMON[:2]
    lines = capsys.readouterr().out.splitlines()
    assert sum("on 1 folds" in line for line in lines) == len(names)
    assert len(found.models) <= sum("on 2 folds" in line for line in lines) <= len(names)
    assert sum("on 5 folds" in line for line in lines) == len(found.models)
    hurried = suggest(p.X, p.y, p.tasks, candidates=names, time_budget=1e-4)
    assert "Not tried to the end for lack of time: " in hurried.verdict
    assert "There was time for the first fold only." in hurried.verdict and len(hurried.models) == 1
    assert hurried.verdict.startswith("There was no time to say whether sharing helps.")
    with pytest.raises(ValueError, match="time_budget must be a positive number of seconds; got -1"):
        suggest(p.X, p.y, p.tasks, time_budget=-1)
    with pytest.raises(TypeError, match="verbose must be None, 0 or 1; got 'loud'"):
        suggest(p.X, p.y, p.tasks, verbose="loud")


def test_a_single_line_says_what_goes_on_where_it_takes_long(capsys, monkeypatch):
    options = {"X": RELATED.X, "y": RELATED.y, "tasks": RELATED.tasks, "candidates": SIMPLE, "cv": 2}
    suggest(**options)
    monkeypatch.setattr(_race, "PATIENCE", 0.0)
    suggest(**options, verbose=0)
    assert capsys.readouterr() == ("", "")
    suggest(**options)
    out, said = capsys.readouterr()
    assert not out and said.startswith("suggest has tried 1 of 4 models on 1 of 2 folds after 0 s")
    assert said.count("\n") == 1 and "time_budget= (seconds) bounds it" in said


@pytest.mark.no_cover
def test_code_of_a_suggestion_runs_as_printed():
    p = RELATED
    frame, schools = pd.DataFrame(p.X, columns=list("vwxyz")), np.array(list("abcdef"))[p.tasks]
    with_column = frame.assign(school=schools)
    own = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["kind"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["w", "v"]),
    )
    gaps = frame.assign(kind=np.where(p.tasks % 2, "p", None))
    gaps.loc[3, "v"] = np.nan
    for data, candidates in [
        ({"X": frame, "tasks": p.tasks}, COMMON[:1]),
        ({"X": frame, "tasks": p.tasks}, ["MeanRegularizedRegressor of splines"]),
        ({"X": with_column, "task_column": "school"}, ["trees"]),
        ({"X": np.c_[p.tasks, p.X], "task_column": 0}, ["MeanRegularizedRegressor of random features"]),
        ({"X": pl.DataFrame(with_column.to_dict("list")), "task_column": -1}, ["intercepts"]),
        ({"X": sparse.csr_matrix(p.X), "tasks": p.tasks}, ["TraceNormRegressor"]),
        ({"X": gaps, "tasks": schools, "preprocessor": own}, ["MeanRegularizedRegressor of splines"]),
        ({"X": gaps, "tasks": schools, "preprocessor": own}, ["MultiTaskMLPRegressor"]),
    ]:
        found = suggest(y=p.y, candidates=candidates, cv=2, random_state=np.random.RandomState(0), **data)
        names = {"y": p.y, "tasks": None, **data}
        exec(found.code, names)
        X, tasks = data["X"], data.get("tasks")
        for_fit, for_predict = ({}, {}) if tasks is None else ({"model__tasks": tasks}, {"tasks": tasks})
        fitted = clone(found.estimators[found.best]).fit(X, p.y, **for_fit)
        assert_allclose(names["model"].predict(X, **for_predict), fitted.predict(X, **for_predict))


def test_code_of_a_preprocessor_and_of_baselines_stands_alone():
    p = RELATED
    frame = pd.DataFrame(p.X, columns=list("vwxyz")).assign(kind=np.where(p.X[:, 0] > 0, "p", "q"))
    encoders = [
        (OneHotEncoder(drop="if_binary"), make_column_selector(dtype_exclude="number")),
        (StandardScaler(), make_column_selector(pattern="[v-z]")),
    ]
    own = make_column_transformer(*encoders)
    for name in ("intercepts", "mean"):
        found = suggest(frame, p.y, p.tasks, candidates=[name], cv=2, preprocessor=own)
        assert "preprocessor" not in found.code and "make_column_selector(pattern='[v-z]')" in found.code
        names = {"X": frame, "y": p.y, "tasks": p.tasks}
        exec(found.code, names)
        fitted = clone(found.estimators[name]).fit(frame, p.y, model__tasks=p.tasks)
        assert_allclose(names["model"].predict(frame, tasks=p.tasks), fitted.predict(frame, tasks=p.tasks))
    nameless = make_column_transformer((FunctionTransformer(lambda Z: Z), list("vwxyz")))
    found = suggest(frame, p.y, p.tasks, candidates=["mean"], cv=2, preprocessor=nameless)
    assert "# preprocessor: the one that suggest was given" in found.code
    exec(found.code, {"X": frame, "y": p.y, "tasks": p.tasks, "preprocessor": nameless})


@pytest.mark.parametrize("kind", ["numbers", "counts", "two"])
def test_baselines_are_printed_as_they_are_made(kind):
    X, y, tasks = make_rows(kind)
    model = MeanRegularizedRegressor(loss="poisson") if kind == "counts" else None
    model = model or (Pooled(LogisticRegression()) if kind == "two" else MeanRegularizedRegressor())
    names = ["single", "pooled", "intercepts", "mean", "dummies", "mixed", "trees", "forest"]
    made = {name: skmtl.comparison.rival(name, kind_of(model)) for name in names}
    known = {**vars(skmtl), **vars(skmtl.comparison), **vars(sklearn.dummy)}
    for name, one in made.items():
        again = eval(repr(one), known)
        assert type(again) is type(one) and repr(again) == repr(one), name
    if kind == "numbers":
        found = compare(model, X, y, tasks, cv=2).estimators
        assert all(repr(found[name]) == repr(made[name]) for name in names[:4])


def test_the_model_to_use_is_that_of_the_verdict():
    p = RELATED
    for models in ({"good": MeanRegularizedRegressor(0.1)}, {"bad": MeanRegularizedRegressor(1e6)}):
        found = compare(models, p.X, p.y, p.tasks, cv=2)
        said = re.search(r"Use '(\w+)'|simpler '(\w+)' |use '(\w+)'", found.verdict)
        assert found.best == next(filter(None, said.groups())) and found.best in found.estimators
        assert not any(hasattr(found, name) for name in ("code", "expected", "findings", "params", "sharing"))


def test_representations_are_of_what_the_preprocessor_makes():
    """Not of columns of X at the same positions: here the first two are made of text."""
    p = make_multitask_regression(4, 30, 2, random_state=0)
    X = pd.DataFrame(p.X, columns=list("vw")).assign(kind=np.where(p.tasks % 2, "p", "q"))
    X["same"] = np.where(np.arange(len(X)) < 10, p.X[:, 0], 0.0)  # most distances are zero
    own = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["kind"]), (StandardScaler(), list("vw"))
    )
    tried = all_candidates(X, p.y, [30] * 4, "numbers", own)
    model = tried["MeanRegularizedRegressor of splines"].model.fit(X, p.y, model__tasks=p.tasks)
    assert model["splines"].transformers_[0][2] == [2, 3]
    own = make_column_transformer((StandardScaler(), ["same"]), ("passthrough", [2]))
    model = all_candidates(X.drop(columns="kind").assign(a=0.0), p.y, [30] * 4, "numbers", own)
    assert np.isfinite(model["MeanRegularizedRegressor of random features"].model["kernel"].gamma)
    dense = all_candidates(X[["v", "w"]], p.y, [30] * 4, "numbers")
    made_sparse = all_candidates(X[["kind"]], p.y, [30] * 4, "numbers", OneHotEncoder())
    assert set(dense) - set(made_sparse) == {
        "MeanRegularizedRegressor of splines", "MeanRegularizedRegressor of random features",
        "MultiTaskMLPRegressor", "trees",
    }  # fmt: skip
    with pytest.raises(ValueError, match="candidates must be a sequence of names; got the string 'pooled'"):
        suggest(p.X, p.y, p.tasks, candidates="pooled")


def test_compare_says_what_has_run(capsys):
    p, models = RELATED, {"a": SingleTask(Ridge()), "b": Pooled(Ridge())}
    found = compare(models, p.X, p.y, p.tasks, cv=2, baselines=(), verbose=1)
    lines = capsys.readouterr().out.splitlines()
    for line, name in zip(lines, models, strict=True):
        assert re.fullmatch(rf"\[\d+\.\d s\] {name}: {row(found, name)['mean']:.4f} on 2 folds", line)
    compare(models, p.X, p.y, p.tasks, cv=2, baselines=())
    assert not capsys.readouterr().out


def test_compare_takes_a_task_column():
    p = RELATED
    frame = pd.DataFrame(p.X, columns=list("vwxyz")).assign(school=p.tasks)
    options = {"cv": 2, "baselines": ["single", "intercepts"]}
    models = {"m": MeanRegularizedRegressor(0.1), "ridge": Ridge()}
    known = compare(models, p.X, p.y, p.tasks, **options).table
    found = compare(models, frame, p.y, task_column="school", **options).table
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), known.drop(columns="seconds"))
    with pytest.raises(ValueError, match="tasks= and task_column='school' both say"):
        compare(models, frame, p.y, p.tasks, task_column="school")
    own = {"m": MeanRegularizedRegressor(0.1, task_column="school")}
    with pytest.raises(
        ValueError, match=r"and estimators with a task_column of their own \({'m': 'school'}\)"
    ):
        compare(own, frame, p.y, task_column="school")
    with pytest.raises(
        ValueError, match="task_column='school' of the estimators tell rows apart differently"
    ):
        compare(own, frame, p.y, np.roll(p.tasks, 1))


def test_models_compared_by_a_task_column_are_for_the_same_data():
    """Also where first steps would see the column, or folds of a search are not told which one it is."""
    p = RELATED
    frame = pd.DataFrame(p.X, columns=list("vwxyz")).assign(school=p.tasks)
    mean = MeanRegularizedRegressor(0.1)
    search = PathSearchCV(mean, alphas=[0.1, 1.0]).fit(p.X, p.y, tasks=p.tasks)
    models = {
        "m": mean, "search": search, "ridge": Ridge(),
        "one": Pipeline([("m", mean)]), "target": TransformedTargetRegressor(mean),
        "grid": GridSearchCV(mean, {"alpha": [0.1, 1.0]}, cv=TaskKFold(2)),
    }  # fmt: skip
    options = {"cv": 2, "baselines": ["single", "pooled", "mean"]}
    found = compare(models, frame, p.y, task_column="school", **options)
    known = compare(models, p.X, p.y, p.tasks, **options).estimators
    for name, model in found.estimators.items():
        with sklearn.config_context(enable_metadata_routing=True):
            fitted = clone(known[name]).fit(p.X, p.y, tasks=p.tasks)
            fitted = getattr(fitted, "best_estimator_", fitted)
            wanted = fitted.predict(p.X, **({"tasks": p.tasks} if name != "pooled" else {}))
        assert_allclose(clone(model).fit(frame, p.y).predict(frame), wanted, err_msg=name)
    steps = make_pipeline(StandardScaler(), GroupSparseRegressor(0.1))
    known = compare(steps, p.X, p.y, p.tasks, **options).estimators
    for name, model in compare(steps, frame, p.y, task_column="school", **options).estimators.items():
        step = "groupsparseregressor" if name == "GroupSparseRegressor" else "model"
        wanted = clone(known[name]).fit(p.X, p.y, **{f"{step}__tasks": p.tasks})
        wanted = wanted.predict(p.X, **({"tasks": p.tasks} if name != "pooled" else {}))
        assert_allclose(clone(model).fit(frame, p.y).predict(frame), wanted, err_msg=name)


def test_suggest_takes_a_task_column_and_gives_models_that_fit():
    p = make_multitask_regression(3, 8, 2, structure="mean", random_state=0)
    frame = pd.DataFrame(p.X, columns=list("vw"))
    frame.insert(1, "school", np.array(list("abc"))[p.tasks])
    options = {"candidates": COMMON[:1], "cv": 2}
    wanted = suggest(p.X, p.y, p.tasks, **options)
    for X, column in [(frame, "school"), (np.insert(p.X, 1, p.tasks, axis=1), 1)]:
        found = suggest(X, p.y, task_column=column, **options)
        assert_allclose(found.table["mean"], wanted.table["mean"])
        ready = clone(found.estimators[found.best]).fit(X, p.y).predict(X)
    model = wanted.estimators[wanted.best]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = clone(model).fit(p.X, p.y, model__tasks=p.tasks)
    names = ["TraceNormRegressor", "MultiTaskMLPRegressor", "single", "pooled", COMMON[0]]
    many = suggest(p.X, p.y, p.tasks, candidates=names, cv=2)
    assert {*many.estimators} >= {*names}
    for model in many.estimators.values():
        with pytest.warns(UserWarning, match="was fitted without tasks, which it was to be given") as said:
            clone(model).fit(np.c_[p.tasks, p.X], p.y)
        assert len([one for one in said if "without tasks" in str(one.message)]) == 1
    assert_allclose(fitted.predict(p.X, tasks=p.tasks), ready)
    model = wanted.estimators[wanted.best]
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(model).fit(p.X, p.y, tasks=p.tasks).predict(p.X, tasks=p.tasks)
    assert_allclose(fitted.predict(p.X, tasks=p.tasks), routed)
    with pytest.raises(ValueError, match="tasks= and task_column='school' both say"):
        suggest(frame, p.y, p.tasks, task_column="school")
    with pytest.raises(ValueError, match="task_column='town' is not a column of X"):
        suggest(frame, p.y, task_column="town")


def test_columns_of_text_are_named():
    """Also where one of them holds the tasks and nobody said so, and by the models of one task."""
    p = RELATED
    frame = pd.DataFrame(p.X, columns=list("vwxyz")).assign(town="here", day=pd.Timestamp("2020-01-01"))
    for X, names in [(frame, r"\['town', 'day'\]"), (frame.to_numpy(), r"\[5, 6\]")]:
        with pytest.raises(ValueError, match=rf"column\(s\) {names} of X are not numbers.*task_column"):
            suggest(X, p.y, p.tasks)
    for model in (SingleTask(Ridge()), Pooled(Ridge(), task_indicators=True)):
        for X in (frame[["v", "town"]], frame[["v", "day"]]):
            with pytest.raises(
                (ValueError, TypeError), match=rf"column\(s\) \['{X.columns[1]}'\] of X are not"
            ):
                clone(model).fit(X, p.y, tasks=p.tasks)
    encoder = make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough")
    with pytest.raises(ValueError, match=r"NaN") as caught:  # another error of a model that reads text
        SingleTask(make_pipeline(encoder, Ridge())).fit(
            frame[["v", "town"]].assign(v=np.nan), p.y, tasks=p.tasks
        )
    assert "not numbers" not in str(caught.value)


@pytest.mark.parametrize("form", ["array", "frame", "sparse"])
def test_tasks_among_the_features_are_said(form):
    p = RELATED
    X = np.insert(p.X, 2, p.tasks, axis=1)
    X = {"array": X, "frame": pd.DataFrame(X, columns=list("abcdef")), "sparse": sparse.csr_array(X)}[form]
    column = r"\['c'\]" if form == "frame" else r"\[2\]"
    with pytest.warns(UserWarning, match=rf"the column\(s\) {column} of X equal tasks.*Drop them"):
        compare(Pooled(Ridge()), X, p.y, p.tasks, cv=2, baselines=["single"])
    rows = np.roll(np.arange(len(p.y)), 1)  # not the same rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(Pooled(Ridge()), X, p.y, p.tasks[rows], cv=2, baselines=["single"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"tasks": None}, "the task of each row is not known"),
        ({"baselines": ["singel"]}, r"baselines must be among .*got \['singel'\]"),
        ({"reference": "nobody"}, "reference='nobody' is not one of the models"),
        ({"estimators": {"single": Ridge()}}, "share a name"),
        ({"estimators": []}, "estimators is empty"),
        ({"tasks": [1, 2]}, "tasks has 2 labels but X has 96 rows"),
        ({"y": np.zeros((96, 2))}, "cannot be combined with tasks="),
        ({"y": [1.0]}, r"inconsistent numbers of samples: \[96, 1\]"),
        ({"y": "height"}, r"y must have shape .*; got 'height'"),
        ({"X": RELATED.X[:, 0]}, "Reshape your data"),
        ({"estimators": "mean"}, r"with a fit method, compare\(estimators, X, y, tasks\); got 'mean'"),
        ({"estimators": [Ridge(), 1.0]}, r"estimators must be .*; got 1\.0"),
    ],
)
def test_bad_input(args, message):
    p = RELATED
    with pytest.raises((ValueError, TypeError), match=message):
        compare(**{**{"estimators": {"m": Pooled(Ridge())}, "X": p.X, "y": p.y, "tasks": p.tasks}, **args})


def test_the_reference_is_a_model_that_is_there():
    """By default the baseline "single", else the first baseline, else the first estimator."""
    p, models = RELATED, {"a": SingleTask(Ridge(0.5)), "b": Pooled(Ridge(2.0))}
    for baselines, reference in [
        (("pooled", "single"), "single"),
        (("pooled",), "pooled"),
        ({"mine": Pooled(Ridge(1.0))}, "mine"),
        ((), "a"),
    ]:
        result = compare(models, p.X, p.y, p.tasks, cv=2, baselines=baselines)
        assert result.reference == reference and row(result, reference)["difference"] == 0
        assert repr(reference) in str(result)


def test_stratified_folds_are_said_to_leak_the_levels_of_tasks():
    p, models = CLASSES, {"m": Pooled(LogisticRegression())}
    with pytest.warns(UserWarning, match=r"stratify=True.*intercept"):
        compare(models, p.X, p.y, p.tasks, cv=TaskKFold(2, stratify=True), baselines=("mean",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(models, p.X, p.y, p.tasks, cv=TaskKFold(2), baselines=("mean",))


def test_without_pandas_and_matplotlib():
    program = """
import sys
class Block:
    def find_spec(self, name, *args):
        if name.split(".")[0] in ("pandas", "matplotlib"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
from sklearn.linear_model import Ridge
from skmtl.baselines import Pooled
from skmtl.comparison import compare
from skmtl.datasets import make_multitask_regression
p = make_multitask_regression(3, 10, 2, random_state=0)
result = compare({"m": Pooled(Ridge())}, p.X, p.y, p.tasks, cv=2)
print(result)
print(sorted(result.table["model"].tolist()), result.per_task["gain"].shape)
try:
    result.plot()
except ImportError as error:
    print(error)
from skmtl import MeanRegularizedRegressor, summary
model = MeanRegularizedRegressor("auto").fit(p.X, p.y, tasks=p.tasks)
found = summary(model)
print(found.coef.dtype.names, found.coef["x1"].tolist() == model.coef_[:, 1].tolist(), found.std is not None)
print(found)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "['intercepts', 'm', 'mean', 'pooled', 'single'] (15,)" in done.stdout
    assert "('task', '(intercept)', 'x0', 'x1') True True" in done.stdout
    assert "pip install skmtl[plot]" in done.stdout


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_units_of_the_targets_change_no_verdict(unit):
    """Also where squares of squared errors are no numbers any more."""
    rng = np.random.default_rng(0)
    tasks = np.repeat(range(4), 15)
    X = rng.normal(size=(60, 4))
    y = X @ [1.0, -1.0, 0.5, 0.0] - 3 * X[:, 0] * (tasks == 2) + 1.5 * rng.normal(size=60)
    score = task_scorer("neg_mean_squared_error")
    plain, other = (
        compare(MeanRegularizedRegressor(3.0), X, y * u, tasks, cv=3, scoring=score) for u in (1.0, unit)
    )
    assert_allclose(other.table["p_value"], plain.table["p_value"], rtol=1e-6)
    assert_allclose(other.table["sd"], plain.table["sd"] * unit**2, rtol=1e-6)
    assert (other.per_task["clearly_hurt"] == plain.per_task["clearly_hurt"]).all()
    chosen = [
        PathSearchCV(
            MeanRegularizedRegressor(), [0.01, 0.1, 1, 10, 100], cv=4, scoring=score, one_standard_error=True
        ).fit(X, y * u, tasks=tasks).best_params_
        for u in (1.0, unit)
    ]  # fmt: skip
    assert chosen[0] == chosen[1]


def spoilt():
    """Rows of six tasks, one of which has a row far away in X."""
    rng = np.random.default_rng(0)
    tasks, X = np.arange(180) % 6, rng.normal(size=(180, 3))
    y = (X * (1 + 0.2 * rng.normal(size=(6, 3)))[tasks]).sum(axis=1) + 0.3 * rng.normal(size=180)
    far = {"far": Pooled(make_pipeline(PolynomialFeatures(4), Ridge(1e-3)))}
    X[4] *= 300
    y[4] = 0.0
    return far, X, y, tasks


def test_the_verdict_names_the_task_on_which_a_model_fails():
    far, X, y, tasks = spoilt()
    found = compare(far, X, y, tasks, baselines=("single", "mean"))
    assert found.table["p_value"][0] > 0.05  # one task makes the mean and the spread
    assert "'far' " in found.verdict and "is worse (it fails on task 4, with " in found.verdict
    assert "not clearly different" not in found.verdict and found.best == "mean"
    found = compare({"model": Pooled(DummyRegressor())}, X, y, tasks, baselines=far)
    assert found.best == "model" and "Use 'model': it is better (the latter fails on task 4" in found.verdict


class Column(DummyRegressor):
    """Predicts a column of X."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, self.column]


@pytest.mark.parametrize("clear", [True, False])
def test_the_verdict_says_where_tasks_contradict_the_folds(clear):
    """One task decides the score of all rows, the others are as many one way or the other."""
    rng = np.random.default_rng(0)
    tasks, y = np.arange(240) % 12, rng.normal(size=240)
    off = np.where(
        tasks[:, None] == 0, [1.0, 6.0] if clear else [6.0, 6.0], [0.5, 0.3] if clear else [0.3, 0.5]
    )
    X = y[:, None] + off * rng.choice([-1.0, 1.0], size=(240, 1))
    X[tasks == 0] += 0.0 if clear else rng.normal(size=(20, 2))
    mine, single = Pooled(Column(0)), Pooled(Column(1))
    found = compare({"mine": mine}, X, y, tasks, baselines={"single": single})
    one = row(found, "mine")
    assert (one["p_value"] < 0.05) == clear and one["p_tasks"] < 0.05
    assert (one["difference"] > 0) >= clear and one["tasks_gaining"] == (1 if clear else 11)
    told = "but 11 of 12 tasks lose, p = " if clear else "but 11 of 12 tasks gain, p = "
    assert ("clearly better (p" in found.verdict) == clear and told in found.verdict
    single = _race.Candidate(single, simple=True, shares=False)
    found = _advice.race({"mine": _race.Candidate(mine), "single": single}, X, y, tasks, None, None, None)
    assert found.best == ("mine" if clear else "single")
    sharing = "Sharing may help, not clearly" if clear else "Sharing does not help here"
    assert found.verdict.startswith(sharing) and told in found.verdict.partition(" Use ")[0]


@pytest.mark.parametrize("clear", [True, False])
def test_models_of_each_task_run_where_sharing_may_be_said_to_help(clear):
    """For each task they take long, and tell nothing of a model that is not clearly above "single"."""
    rng = np.random.default_rng(0)
    tasks, y = np.arange(240) % 12, rng.normal(size=240)
    X = y[:, None] + [0.7, 1.2 if clear else 0.8] * rng.normal(size=(240, 2))
    models = {"mine": _race.Candidate(Pooled(Column(0)))}
    models["single"] = _race.Candidate(Pooled(Column(1)), simple=True, shares=False)
    models["mine"].alone = "own", _race.Candidate(Pooled(DummyRegressor()), shares=False)
    found = _advice.race(models, X, y, tasks, None, None, None)
    assert found.best == "mine" and ("own" in found.dropped) == clear
    assert ("'own' was not tried" in found.verdict) != clear
    assert found.verdict.startswith("Sharing helps" if clear else "Sharing may help, not clearly")


def test_a_simple_model_below_single_is_not_said_to_help_perhaps():
    rng = np.random.default_rng(8)
    y = rng.normal(size=240)
    X = y[:, None] + [0.100, 0.099] * rng.normal(size=(240, 2))
    models = {"mine": _race.Candidate(Pooled(Column(0)), simple=True)}
    models["single"] = _race.Candidate(Pooled(Column(1)), shares=False)
    found = _advice.race(models, X, y, np.arange(240) % 12, None, None, None)
    assert found.verdict.startswith("Sharing does not clearly help: 'mine' is below 'single' by")


def test_on_shuffled_labels_no_model_fails_on_a_task():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y, tasks = rng.normal(size=(90, 3)), rng.standard_t(3, size=90), np.arange(90) % 6
        models = {"one": GroupSparseRegressor(0.1), "two": MeanRegularizedRegressor(0.1)}
        assert "fails" not in compare(models, X, y, tasks, cv=3).verdict


def test_a_warning_is_said_once_whatever_the_names_in_it():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 4)) * [1, 1.01, 300, 301], columns=list("abcd"))
    y, tasks = rng.normal(size=120), np.arange(120) % 4
    models = {
        "one": MeanRegularizedRegressor(alpha="auto", covariance="spherical"),
        "two": TaskRelationshipRegressor(alpha="auto"),
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        compare(models, frame, y, tasks, baselines=("single",))
    assert len([one for one in said if "one variance is found" in str(one.message)]) == 1


def test_the_title_says_how_many_tasks_are_listed():
    rng = np.random.default_rng(0)
    tasks = np.concatenate([np.arange(60) % 6, 6 + np.arange(8)])  # the last ones have a row each
    X = rng.normal(size=(68, 2))
    y = X @ [1, 2] + rng.normal(size=68)
    found = compare({"model": Pooled(Ridge())}, X, y, tasks, baselines=("single",))
    assert "of most gain" not in str(found) and "tasks with 'model';" in str(found)


def test_a_task_that_was_known_without_error_is_hurt_by_any():
    X, y, tasks = RELATED.X, RELATED.y.copy(), RELATED.tasks
    constant = np.unique(tasks)[2]
    y[tasks == constant] = 5.0
    found = compare(MeanRegularizedRegressor(1.0, intercept_alpha=1.0), X, y, tasks, baselines=("single",))
    own = found.per_task
    own = own[(own["model"] == "MeanRegularizedRegressor") & (own["task"] == constant)]
    assert own["hurt"].tolist() == [True] and own["gain"].tolist() == [-np.inf]
    lost = found.per_task[found.per_task["model"] == "MeanRegularizedRegressor"]["hurt"].sum()
    assert f"{lost} of 6 tasks lose" in found.verdict


def test_suggest_says_where_nothing_predicts(rng):
    X, tasks = rng.normal(size=(120, 3)), np.arange(120) % 6
    names = ["single", "pooled", "MeanRegularizedRegressor"]
    for y, said in ((rng.normal(size=120), True), (X.sum(axis=1), False)):
        found = suggest(X, y, tasks, candidates=names, cv=3)
        assert ("no better than the same prediction for every row" in found.verdict) == said


def test_equal_scores_say_nothing():
    rng = np.random.default_rng(3)
    X, tasks = rng.normal(size=(400, 3)), np.repeat(np.arange(8), 50)
    y = (rng.random(400) < 1 / (1 + np.exp(3 - 0.8 * X[:, 0]))).astype(int)  # of one class nearly all
    found = compare(MeanRegularizedClassifier(0.3), X, y, tasks, scoring="accuracy")
    equal = found.table["difference"] == 0
    assert equal.sum() > 2 and found.table["p_value"][equal].isna().all() and "(p " not in found.verdict


def test_names_do_not_break_a_table_of_markdown():
    p = make_multitask_regression(3, 12, 2, random_state=0)
    text = compare({"a|b\nc": SingleTask(Ridge())}, p.X, p.y, p.tasks, cv=2).to_markdown()
    lines = [line.replace("\\|", "") for line in text.split("\n") if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1 and "a\\|b c" in text


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("n_rows", [251, 700])
def test_levels_of_many_tasks_are_eliminated_exactly(container, n_rows, monkeypatch):
    """Leave-one-out errors are those of a ridge regression with a column for each task."""
    rng = np.random.default_rng(0)
    tasks = np.append(np.arange(250), rng.integers(250, size=n_rows - 250))
    X = rng.normal(size=(n_rows, 4)) + 3
    y = 1e3 + X[:, 0] + rng.normal(size=250)[tasks] + rng.normal(size=n_rows)
    columns = container(np.hstack([X, 2.0 * (tasks[:, None] == np.arange(250))]))
    assert _tuned._n_levels(columns) == 250
    errors = (
        sklearn.linear_model.RidgeCV(_tuned.ALPHAS, store_cv_results=True)
        .fit(columns, y)
        .cv_results_.sum(axis=0)
    )
    monkeypatch.delattr(sklearn.linear_model, "RidgeCV")  # it is not asked
    assert_allclose(_tuned.leave_one_out(columns, y, _tuned.ALPHAS), errors, rtol=1e-9)
