"""``tasks=`` inside scikit-learn by metadata routing; where they cannot travel, an error with the way out."""

import contextlib
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from by_hand import (
    CLASSIFIER,
    CLOSE,
    CODES,
    MODELS,
    NAMES,
    REGRESSOR,
    ROWS,
    TASKS,
    THREE,
    TWO,
    N,
    X,
    by_hand,
    frame,
    piped,
    rng,
    strength,
    target,
    transformed,
    y,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    KFold,
    LeaveOneGroupOut,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.model_selection._validation import _score
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline

from skmtl import (
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    SingleTask,
    TaskKFold,
)
from skmtl.metrics import task_scorer

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

NEEDS_TASKS = r"cannot predict without knowing the task.*enable_metadata_routing=True.*task_column"


# --- tasks= with metadata routing -----------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def score_table(found):
    return np.array([v for k, v in sorted(found.cv_results_.items()) if "score" in k and "time" not in k])


MACRO = {"macro": task_scorer("r2"), "error": task_scorer(mean_absolute_error, greater_is_better=False)}
# utility(model, X, y, cv, metadata) with metadata {"tasks": ...} or, for the reference, {}
ROUTED = {
    "GridSearchCV": lambda m, X, y, cv, meta: score_table(
        GridSearchCV(m, {strength(m): [0.01, 10.0]}, cv=cv, error_score="raise").fit(X, y, **meta)
    ),
    "GridSearchCV.score": lambda m, X, y, cv, meta: (
        GridSearchCV(m, {strength(m): [0.3]}, cv=cv, error_score="raise")
        .fit(X, y, **meta)
        .score(X, y, **meta)
    ),
    "RandomizedSearchCV": lambda m, X, y, cv, meta: score_table(
        RandomizedSearchCV(m, {strength(m): [0.01, 10.0]}, n_iter=2, cv=cv, error_score="raise").fit(
            X, y, **meta
        )
    ),
    "cross_validate": lambda m, X, y, cv, meta: cross_validate(
        m, X, y, cv=cv, params=meta, return_train_score=True, error_score="raise"
    )["train_score"],
    "cross_val_score": lambda m, X, y, cv, meta: cross_val_score(
        m, X, y, cv=cv, params=meta, error_score="raise"
    ),
    "learning_curve": lambda m, X, y, cv, meta: np.concatenate(
        learning_curve(m, X, y, train_sizes=[0.6, 1.0], cv=cv, params=meta, error_score="raise")[1:3]
    ),
    "validation_curve": lambda m, X, y, cv, meta: np.concatenate(
        validation_curve(
            m, X, y, param_name=strength(m), param_range=[0.1, 1.0], cv=cv, params=meta, error_score="raise"
        )
    ),
    "permutation_test_score": lambda m, X, y, cv, meta: permutation_test_score(
        m, X, y, cv=cv, params=meta, n_permutations=1, random_state=0
    )[0],
    "Bagging": lambda m, X, y, cv, meta: (
        (BaggingClassifier if is_classifier(m) else BaggingRegressor)(m, 4, random_state=0)
        .fit(X, y, **meta)
        .predict(X, **meta)
        .astype(str)
        == "yes"
        if is_classifier(m)
        else BaggingRegressor(m, 4, random_state=0).fit(X, y, **meta).predict(X, **meta)
    ),
}


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("j, model", list(enumerate([REGRESSOR, CLASSIFIER, SingleTask(Ridge())])))
@pytest.mark.parametrize("i, name", list(enumerate(ROUTED)))
def test_tasks_travel_by_routing(i, name, j, model):
    goal, cv, scale = target(model), TaskKFold(3), (i + j) % 2 == 0  # in a pipeline

    def use():
        return ROUTED[name](piped(model) if scale else model, X, goal, cv, {"tasks": TASKS})

    if name == "Bagging" and is_classifier(model) and sklearn.__version__ < "1.9":  # it lost them at predict
        with pytest.raises(ValueError, match=NEEDS_TASKS):
            use()
        return
    ours = use()
    splits = list(cv.split(X, goal, tasks=TASKS))
    expected = ROUTED[name](by_hand(model, scale=scale), ROWS, goal, splits, {})
    assert_allclose(ours, expected, **CLOSE)


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("model", [REGRESSOR, CLASSIFIER], ids=["regressor", "classifier"])
def test_pipeline_fit_predict_score_by_routing(model):
    pipeline, goal = piped(model), target(model)
    expected = by_hand(model, scale=True).fit(ROWS, goal)
    pipeline.fit(X, goal, tasks=TASKS)
    assert_array_equal(pipeline.predict(X, tasks=TASKS), expected.predict(ROWS))
    assert pipeline.score(X, goal, tasks=TASKS) == pytest.approx(expected.score(ROWS, goal))
    if is_classifier(model):
        assert_allclose(pipeline.predict_proba(X, tasks=TASKS), expected.predict_proba(ROWS))
        assert_allclose(pipeline.decision_function(X, tasks=TASKS), expected.decision_function(ROWS))


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("scale", [False, True], ids=["bare", "pipeline"])
@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.processes)])
def test_task_scorer_carries_tasks_and_averages_over_them(scale, n_jobs):
    model = piped(REGRESSOR) if scale else REGRESSOR
    cv = TaskKFold(3)
    found = GridSearchCV(
        model,
        {strength(model): [0.3]},
        scoring=MACRO,
        refit="macro",
        cv=cv,
        n_jobs=n_jobs,
        error_score="raise",
    ).fit(X, y, tasks=TASKS)
    macro, error = [], []
    for train, test in cv.split(X, y, tasks=TASKS):
        reference = by_hand(clone(REGRESSOR).set_params(alpha=0.3), scale=scale).fit(ROWS[train], y[train])
        predicted = reference.predict(ROWS[test])
        blocks = [(y[test][rows], predicted[rows]) for name in NAMES if (rows := TASKS[test] == name).any()]
        macro.append(np.mean([r2_score(*block) for block in blocks]))
        error.append(-np.mean([mean_absolute_error(*block) for block in blocks]))
    assert found.best_score_ == pytest.approx(np.mean(macro))
    assert found.cv_results_["mean_test_error"][0] == pytest.approx(np.mean(error))
    result = cross_validate(
        clone(model).set_params(**{strength(model): 0.3}), X, y, scoring=MACRO, cv=cv,
        params={"tasks": TASKS}, error_score="raise",
    )  # fmt: skip
    assert_allclose(result["test_macro"], macro)
    # the search itself cannot pass tasks to predict, its best estimator can
    assert_allclose(found.best_estimator_.predict(X, tasks=TASKS).shape, (N,))


@pytest.mark.usefixtures("routing")
def test_task_scorer_of_probabilities():
    found = GridSearchCV(
        CLASSIFIER, {"alpha": [0.1]}, scoring=task_scorer("roc_auc", average="pooled"), cv=TaskKFold(3),
        error_score="raise",
    ).fit(X, TWO, tasks=TASKS)  # fmt: skip
    splits = list(TaskKFold(3).split(X, TWO, tasks=TASKS))
    expected = cross_val_score(by_hand(CLASSIFIER), ROWS, TWO, cv=splits, scoring="roc_auc")
    assert found.best_score_ == pytest.approx(expected.mean())


@pytest.mark.usefixtures("routing")
def test_transformed_target_by_routing():
    model = transformed(REGRESSOR).fit(X, y, tasks=TASKS)
    expected = transformed(by_hand(REGRESSOR)).fit(ROWS, y).predict(ROWS)
    assert_allclose(model.predict(X, tasks=TASKS), expected)
    found = GridSearchCV(
        transformed(REGRESSOR), {"regressor__alpha": [0.1]}, scoring=task_scorer("r2", average="pooled"),
        cv=TaskKFold(3), error_score="raise",
    ).fit(X, y, tasks=TASKS)  # fmt: skip
    splits = list(TaskKFold(3).split(X, y, tasks=TASKS))
    expected = cross_val_score(transformed(by_hand(REGRESSOR)), ROWS, y, cv=splits)
    assert found.best_score_ == pytest.approx(expected.mean())


@pytest.mark.usefixtures("routing")
def test_feature_selectors_by_routing():
    importance = clone(REGRESSOR).fit(X, y, tasks=TASKS).coef_
    kept = SelectFromModel(REGRESSOR).fit(X, y, tasks=TASKS).get_support()
    size = np.abs(importance).sum(axis=0)
    assert_array_equal(kept, size >= size.mean())
    kept = RFE(REGRESSOR, n_features_to_select=2).fit(X, y, tasks=TASKS).get_support()
    assert_array_equal(np.flatnonzero(~kept), np.argmin((importance**2).sum(axis=0)))
    cv = TaskKFold(3)
    kept = SequentialFeatureSelector(REGRESSOR, n_features_to_select=1, cv=cv).fit(X, y, tasks=TASKS)
    alone = [
        cross_val_score(REGRESSOR, X[:, [j]], y, cv=cv, params={"tasks": TASKS}, error_score="raise").mean()
        for j in range(3)
    ]
    assert_array_equal(np.flatnonzero(kept.get_support()), np.argmax(alone))


@pytest.mark.usefixtures("routing")
def test_new_tasks_in_cross_validation():
    model = clone(REGRESSOR).set_params(handle_unknown="average")
    scores = cross_val_score(
        model, X, y, cv=LeaveOneGroupOut(), params={"tasks": TASKS, "groups": TASKS}, error_score="raise"
    )
    for name, score in zip(NAMES, scores, strict=True):
        seen = name != TASKS
        fitted = clone(REGRESSOR).fit(X[seen], y[seen], tasks=TASKS[seen])
        predicted = X[~seen] @ fitted.coef_.mean(axis=0) + fitted.intercept_.mean()
        assert score == pytest.approx(r2_score(y[~seen], predicted))


@pytest.mark.usefixtures("routing")
def test_weights_and_tasks_together():
    weight = rng.uniform(0.1, 2.0, size=N)
    asking = clone(REGRESSOR).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    found = GridSearchCV(asking, {"alpha": [0.1]}, cv=TaskKFold(3), error_score="raise")
    found.fit(X, y, tasks=TASKS, sample_weight=weight)
    scores = []
    for train, test in TaskKFold(3).split(X, y, tasks=TASKS):
        fitted = clone(REGRESSOR).fit(X[train], y[train], tasks=TASKS[train], sample_weight=weight[train])
        scores.append(fitted.score(X[test], y[test], weight[test], tasks=TASKS[test]))
    assert found.best_score_ == pytest.approx(np.mean(scores))


# --- tasks= without routing ---------------------------------------------------------------------


@pytest.mark.parametrize("model", [REGRESSOR, CLASSIFIER], ids=["regressor", "classifier"])
def test_pipeline_without_routing_takes_the_name_of_the_step(model):
    pipeline, goal = piped(model), target(model)
    pipeline.fit(X, goal, **{f"{pipeline.steps[-1][0]}__tasks": TASKS})
    expected = by_hand(model, scale=True).fit(ROWS, goal).predict(ROWS)
    assert_array_equal(pipeline.predict(X, tasks=TASKS), expected)


@pytest.mark.parametrize(
    "labels", [list(TASKS), pd.Series(TASKS, index=np.arange(N)[::-1]), pl.Series(TASKS.tolist())]
)
def test_labels_in_any_container_are_positional(labels):
    expected = clone(REGRESSOR).fit(X, y, tasks=TASKS)
    ours = clone(REGRESSOR).fit(
        frame().drop(columns="school"), pd.Series(y, index=rng.permutation(N)), tasks=labels
    )
    assert_allclose(ours.coef_, expected.coef_)
    assert ours.tasks_.tolist() == sorted(NAMES)


# --- what scikit-learn cannot carry ---------------------------------------------------------------

META = {"tasks": TASKS}
CANNOT_CARRY = {
    "GridSearchCV-string": lambda: GridSearchCV(REGRESSOR, {}, scoring="r2", error_score="raise").fit(
        X, y, **META
    ),
    "GridSearchCV-strings": lambda: GridSearchCV(
        piped(REGRESSOR), {}, scoring=["r2", "neg_mean_squared_error"], refit="r2", error_score="raise"
    ).fit(X, y, **META),
    "GridSearchCV.predict": lambda: (
        GridSearchCV(REGRESSOR, {}, error_score="raise").fit(X, y, **META).predict(X)
    ),
    "cross_val_score-string": lambda: cross_val_score(
        REGRESSOR, X, y, scoring="r2", params=META, error_score="raise"
    ),
    "cross_val_predict": lambda: cross_val_predict(REGRESSOR, X, y, params=META),
    "cross_val_predict-proba": lambda: cross_val_predict(
        CLASSIFIER, X, TWO, params=META, method="predict_proba"
    ),
    "learning_curve-string": lambda: learning_curve(
        REGRESSOR, X, y, scoring="r2", params=META, error_score="raise"
    ),
    "permutation_importance": lambda: permutation_importance(clone(REGRESSOR).fit(X, y, **META), X, y),
    "partial_dependence": lambda: partial_dependence(clone(REGRESSOR).fit(X, y, **META), X, [0]),
    "StackingRegressor": lambda: StackingRegressor([("m", REGRESSOR)]).fit(X, y, **META),
    "StackingClassifier": lambda: StackingClassifier([("m", CLASSIFIER)]).fit(X, TWO, **META),
    "VotingRegressor": lambda: VotingRegressor([("m", REGRESSOR)]).fit(X, y, **META).predict(X),
    "VotingClassifier": lambda: VotingClassifier([("m", CLASSIFIER)]).fit(X, TWO, **META).predict(X),
    "MultiOutputRegressor": lambda: MultiOutputRegressor(REGRESSOR).fit(X, np.c_[y, y], **META).predict(X),
    "MultiOutputClassifier": lambda: (
        MultiOutputClassifier(CLASSIFIER).fit(X, np.c_[TWO, TWO], **META).predict(X)
    ),
    "RegressorChain": lambda: RegressorChain(REGRESSOR).fit(X, np.c_[y, y], **META).predict(X),
    "OneVsRestClassifier": lambda: OneVsRestClassifier(CLASSIFIER).fit(X, THREE, **META).predict(X),
    "OneVsOneClassifier": lambda: OneVsOneClassifier(CLASSIFIER).fit(X, THREE, **META).predict(X),
    "CalibratedClassifierCV": lambda: CalibratedClassifierCV(CLASSIFIER).fit(X, TWO, **META),
    "TunedThresholdClassifierCV": lambda: TunedThresholdClassifierCV(CLASSIFIER).fit(X, TWO, **META),
    "FixedThresholdClassifier": lambda: FixedThresholdClassifier(CLASSIFIER).fit(X, TWO, **META).predict(X),
    "TransformedTargetRegressor-search": lambda: GridSearchCV(
        transformed(REGRESSOR), {}, error_score="raise"
    ).fit(X, y, **META),
    "RFECV": lambda: RFECV(REGRESSOR).fit(X, y, **META),
}


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("name", CANNOT_CARRY)
def test_what_cannot_carry_tasks_raises_with_the_way_out(name):
    with pytest.raises(ValueError, match=NEEDS_TASKS):
        CANNOT_CARRY[name]()


WITHOUT_ROUTING = {
    "GridSearchCV": lambda: GridSearchCV(REGRESSOR, {}, error_score="raise").fit(X, y, tasks=TASKS),
    "cross_validate": lambda: cross_validate(REGRESSOR, X, y, params=META, error_score="raise"),
    "cross_val_predict": lambda: cross_val_predict(REGRESSOR, X, y, params=META),
    "learning_curve": lambda: learning_curve(REGRESSOR, X, y, params=META, error_score="raise"),
    "Pipeline.predict": lambda: make_pipeline(clone(REGRESSOR).fit(X, y, tasks=TASKS)).predict(X),
    "Pipeline.score": lambda: make_pipeline(clone(REGRESSOR).fit(X, y, tasks=TASKS)).score(X, y, tasks=TASKS),
    "GridSearchCV-task_scorer": lambda: GridSearchCV(
        REGRESSOR, {}, scoring=task_scorer("r2", average="pooled"), error_score="raise"
    ).fit(X, y, tasks=TASKS),
}


@pytest.mark.parametrize("name", WITHOUT_ROUTING)
def test_without_routing_searches_raise_with_the_way_out(name):
    with pytest.raises(ValueError, match=NEEDS_TASKS):
        WITHOUT_ROUTING[name]()


def test_macro_scorer_without_routing_names_the_way_out():
    with pytest.raises(ValueError, match=r"needs the task of each row.*enable_metadata_routing=True"):
        GridSearchCV(REGRESSOR, {}, scoring=task_scorer("r2"), error_score="raise").fit(X, y, tasks=TASKS)


SORTED = np.argsort(CODES, kind="stable")
DEFAULT_ERROR_SCORE = {
    "string-scorer": (
        True,
        lambda: GridSearchCV(REGRESSOR, {"alpha": [1, 2]}, scoring="r2").fit(X, y, **META),
    ),
    "string-scorers": (
        True,
        lambda: GridSearchCV(REGRESSOR, {}, scoring=["r2", "neg_mean_squared_error"], refit="r2").fit(
            X, y, **META
        ),
    ),
    "workers": (True, lambda: GridSearchCV(REGRESSOR, {}, scoring="r2", n_jobs=2).fit(X, y, **META)),
    "cross_val_score": (True, lambda: cross_val_score(REGRESSOR, X, y, scoring="r2", params=META)),
    "selector": (True, lambda: SequentialFeatureSelector(REGRESSOR, scoring="r2").fit(X, y, **META)),
    "sorted-rows": (
        True,
        lambda: GridSearchCV(REGRESSOR, {}, cv=KFold(5)).fit(X[SORTED], y[SORTED], tasks=TASKS[SORTED]),
    ),
    "sorted-column": (
        False,
        lambda: cross_val_score(
            clone(REGRESSOR).set_params(task_column="school"), frame().iloc[SORTED], y[SORTED]
        ),
    ),
    "no-routing": (False, lambda: GridSearchCV(REGRESSOR, {"alpha": [1, 2]}).fit(X, y, **META)),
    "no-routing-task-scorer": (
        False,
        lambda: GridSearchCV(REGRESSOR, {}, scoring=task_scorer("r2")).fit(X, y, **META),
    ),
}


@pytest.mark.parametrize(
    "name, ignoring",
    [
        *((name, True) for name in DEFAULT_ERROR_SCORE if name != "workers"),
        pytest.param("workers", True, marks=pytest.mark.processes),
        ("string-scorer", False),
    ],
)
def test_a_score_without_tasks_is_an_error_also_with_the_default_error_score(name, ignoring):
    """scikit-learn would replace the score by NaN and warn; a search would then pick any candidate."""
    routed, use = DEFAULT_ERROR_SCORE[name]
    with sklearn.config_context(enable_metadata_routing=routed), warnings.catch_warnings():
        if ignoring:
            warnings.simplefilter("ignore")
        filters = list(warnings.filters)
        with pytest.raises(ValueError, match=r"task_column|TaskKFold"):
            use()
        assert warnings.filters == filters


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("action", ["default", "error", "ignore"])
def test_no_call_leaves_a_warnings_filter(name, action):
    """Not one that is refused while scikit-learn waits for a score, whoever catches the error."""

    def plain(model, X, y):
        return model.score(X, y)

    def careful(model, X, y):
        try:
            return model.score(X, y)
        except ValueError:
            return 0.0

    fitted = clone(MODELS[name]).fit(X, target(MODELS[name]), tasks=TASKS)
    ask = {"estimator": fitted, "X_test": X, "y_test": target(fitted), "score_params": None}
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        filters = list(warnings.filters)
        for error_score in (np.nan, "raise"):
            both = {"scorers": {"one": plain, "two": plain}, "raise_exc": error_score == "raise"}
            for scorer in (careful, plain, _MultimetricScorer(**both)):
                with contextlib.suppress(ValueError):
                    _score(scorer=scorer, error_score=error_score, **ask)
                assert warnings.filters == filters
        for tasks in (None, np.full(N, "oak"), TASKS):
            with contextlib.suppress(ValueError):
                fitted.predict(X, tasks=tasks)
            assert warnings.filters == filters


def test_predict_without_tasks_is_never_an_average():
    fitted = clone(REGRESSOR).fit(X, y, tasks=TASKS)
    for model in (fitted, fitted.set_params(handle_unknown="average")):
        with pytest.raises(ValueError, match=NEEDS_TASKS):
            model.predict(X)


# --- new tasks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_unknown_tasks_are_named(name):
    labels = np.where(np.arange(N) < 3, "oak", TASKS)
    labels[3] = "yew"
    fitted = clone(MODELS[name]).fit(X, target(MODELS[name]), tasks=TASKS)
    with pytest.raises(ValueError, match=r"tasks has 2 label\(s\) not seen in fit: \['oak', 'yew'\]"):
        fitted.predict(X, tasks=labels)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if hasattr(model, "alpha")])
@pytest.mark.parametrize("form", ["tasks", "column"])
def test_average_model_for_unknown_tasks(name, form):
    model = MODELS[name]
    goal = target(model)
    fitted = clone(model).set_params(handle_unknown="average")
    labels = np.where(np.arange(N) % 3 == 0, "oak", TASKS)
    if form == "tasks":
        fitted.fit(X, goal, tasks=TASKS)
        ask = (X,), {"tasks": labels}
    else:
        fitted.set_params(task_column="school").fit(frame(), goal)
        ask = (frame(labels),), {}
    known = by_hand(model).fit(ROWS, goal)
    average = X @ fitted.mean_coef_ + fitted.mean_intercept_
    assert_allclose(fitted.mean_intercept_, fitted.intercept_.mean())
    if model.mean_alpha is None or isinstance(model, MeanRegularizedRegressor | MeanRegularizedClassifier):
        assert_allclose(fitted.mean_coef_, fitted.coef_.mean(axis=0), atol=1e-12)
    assert_allclose(fitted.deviation_coef_ + fitted.mean_coef_, fitted.coef_)
    if is_classifier(model):
        expected = np.where(labels == "oak", expit(average), known.predict_proba(ROWS)[:, 1])
        assert_allclose(fitted.predict_proba(*ask[0], **ask[1])[:, 1], expected)
        assert_array_equal(fitted.predict(*ask[0], **ask[1]), np.where(expected > 0.5, "yes", "no"))
    else:
        expected = np.where(labels == "oak", average, known.predict(ROWS))
        assert_allclose(fitted.predict(*ask[0], **ask[1]), expected)


def test_average_of_single_task_models():
    fitted = SingleTask(Ridge(), handle_unknown="average").fit(X, y, tasks=TASKS)
    expected = np.mean([model.predict(X) for model in fitted.estimators_], axis=0)
    assert_allclose(fitted.predict(X, tasks=["oak"] * N), expected)
