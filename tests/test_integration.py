"""Models inside scikit-learn without metadata routing: a task column, one task, or a shared design."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
from by_hand import (
    BINARY,
    CLASSIFIER,
    CLASSIFIERS,
    CLOSE,
    CODES,
    MODELS,
    NAMES,
    REGRESSOR,
    REGRESSORS,
    ROWS,
    TASKS,
    THREE,
    TWO,
    N,
    X,
    Y,
    by_hand,
    frame,
    outputs,
    piped,
    strength,
    target,
    transformed,
    y,
)
from conftest import named
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skmtl import (
    MeanRegularizedRegressor,
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskKFold,
    TasksFromColumn,
    summary,
)
from skmtl.metrics import task_scorer

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

# --- the task as a column of X, no routing ------------------------------------------------------


FORMS = {
    "pandas": (frame(), "school"),
    "pandas-position": (frame(), 1),
    "pandas-category": (frame(pd.Categorical(TASKS, categories=[*NAMES[::-1], "unused"])), "school"),
    "pandas-int": (frame(CODES), "school"),
    "pandas-Int64": (frame(pd.array(CODES, dtype="Int64")), "school"),
    "pandas-string": (frame(pd.array(TASKS, dtype="string")), "school"),
    "polars": (pl.DataFrame(frame().to_dict("list")), "school"),
    "polars-categorical": (
        pl.DataFrame(frame().to_dict("list")).with_columns(pl.col("school").cast(pl.Categorical)),
        "school",
    ),
    "array": (np.column_stack([CODES, X]), 0),
    "array-last": (np.column_stack([X, CODES]), -1),
    "object-array": (np.column_stack([X[:, :1].astype(object), TASKS, X[:, 1:]]), 1),
    "csr": (sparse.csr_array(np.column_stack([X, CODES])), -1),
    "csc": (sparse.csc_matrix(np.column_stack([CODES, X])), 0),
}
# what converts X to a float array or draws columns from it needs a numeric task column at a fixed place
FLOAT_FORM = pytest.mark.parametrize("form", ["array", "object-array"])


@pytest.mark.parametrize("name", MODELS)
def test_task_column_equals_tasks(name):
    """In every third form, which one turns with the model."""
    goal, some = target(MODELS[name]), np.array([5, 0, 77])
    expected = by_hand(MODELS[name]).fit(ROWS, goal)
    score, answers = expected.score(ROWS, goal), [outputs(expected, rows) for rows in (ROWS, ROWS[some])]
    for form, (table, column) in list(FORMS.items())[list(MODELS).index(name) % 3 :: 3]:
        with named(form):
            model = clone(MODELS[name]).set_params(task_column=column).fit(table, goal)
            assert_allclose(outputs(model, table), answers[0], **CLOSE)
            assert model.score(table, goal) == pytest.approx(score)
            rows = table[some] if not hasattr(table, "iloc") else table.iloc[some]
            assert_allclose(outputs(model, rows), answers[1], **CLOSE)
            assert model.n_tasks_ == len(NAMES)
            assert model.n_features_in_ == 4


@pytest.mark.parametrize("convert", [sparse.coo_array, sparse.dia_array, sparse.bsr_array, sparse.lil_matrix])
@pytest.mark.parametrize("model", [REGRESSOR, SingleTask(Ridge())], ids=["mean", "single-task"])
def test_task_column_of_any_sparse_format(model, convert):
    table = convert(np.column_stack([X, CODES]))
    fitted = clone(model).set_params(task_column=-1).fit(table, y)
    assert_allclose(fitted.predict(table), by_hand(model).fit(ROWS, y).predict(ROWS))


def search(model, X, y, **kwargs):
    grid = {strength(model): [0.01, 10.0]}
    found = GridSearchCV(model, grid, cv=3, error_score="raise", **kwargs).fit(X, y)
    return np.concatenate([found.cv_results_["mean_test_score"], [found.best_score_, found.score(X, y)]])


def validate(model, X, y, **kwargs):
    result = cross_validate(model, X, y, cv=3, return_train_score=True, error_score="raise", **kwargs)
    return np.concatenate([v for k, v in sorted(result.items()) if not k.endswith("time")])


def stacked(model, X, y):
    return StackingRegressor([("model", model)], LinearRegression(), cv=3).fit(X, y).predict(X)


CARRY_REGRESSOR = {
    "cross_val_score": lambda m, X, y: cross_val_score(m, X, y, cv=3, error_score="raise"),
    "cross_val_score-string": lambda m, X, y: cross_val_score(
        m, X, y, scoring="neg_mean_absolute_error", error_score="raise"
    ),
    "cross_val_predict": lambda m, X, y: cross_val_predict(m, X, y, cv=4),
    "cross_validate": validate,
    "cross_validate-strings": lambda m, X, y: validate(m, X, y, scoring=["r2", "neg_mean_absolute_error"]),
    "GridSearchCV": search,
    "GridSearchCV-string": lambda m, X, y: search(m, X, y, scoring="neg_median_absolute_error"),
    "GridSearchCV.predict": lambda m, X, y: GridSearchCV(m, {strength(m): [0.3]}).fit(X, y).predict(X),
    "RandomizedSearchCV": lambda m, X, y: (
        RandomizedSearchCV(m, {strength(m): [0.1, 1.0]}, n_iter=2, error_score="raise")
        .fit(X, y)
        .cv_results_["mean_test_score"]
    ),
    "learning_curve": lambda m, X, y: np.concatenate(
        learning_curve(m, X, y, train_sizes=[0.6, 1.0], cv=3, error_score="raise")[1:3]
    ),
    "validation_curve": lambda m, X, y: np.concatenate(
        validation_curve(m, X, y, param_name=strength(m), param_range=[0.1, 1.0], cv=3, error_score="raise")
    ),
    "permutation_test_score": lambda m, X, y: permutation_test_score(
        m, X, y, cv=3, n_permutations=2, random_state=0
    )[1],
    "StackingRegressor": stacked,
    "VotingRegressor": lambda m, X, y: VotingRegressor([("a", m), ("b", m)]).fit(X, y).predict(X),
    "TransformedTargetRegressor": lambda m, X, y: transformed(m).fit(X, y).predict(X),
    "TransformedTargetRegressor-search": lambda m, X, y: search(transformed(m), X, y),
    "MultiOutputRegressor": lambda m, X, y: MultiOutputRegressor(m).fit(X, np.c_[y, y**2]).predict(X),
}
CARRY_CLASSIFIER = {
    "cross_val_score": lambda m, X, y: cross_val_score(m, X, y, cv=3, error_score="raise"),
    "cross_val_predict": lambda m, X, y: cross_val_predict(m, X, y, cv=3) == "yes",
    "cross_val_predict-proba": lambda m, X, y: cross_val_predict(m, X, y, cv=3, method="predict_proba"),
    "cross_val_predict-decision": lambda m, X, y: cross_val_predict(
        m, X, y, cv=3, method="decision_function"
    ),
    "cross_validate-strings": lambda m, X, y: validate(m, X, y, scoring=["roc_auc", "neg_log_loss"]),
    "GridSearchCV": search,
    "GridSearchCV-string": lambda m, X, y: search(m, X, y, scoring="roc_auc"),
    "StackingClassifier": lambda m, X, y: StackingClassifier([("m", m)], cv=3).fit(X, y).predict_proba(X),
    "VotingClassifier": lambda m, X, y: (
        VotingClassifier([("m", m)], voting="soft").fit(X, y).predict_proba(X)
    ),
    "CalibratedClassifierCV": lambda m, X, y: CalibratedClassifierCV(m, cv=3).fit(X, y).predict_proba(X),
    "CalibratedClassifierCV-frozen": lambda m, X, y: (
        CalibratedClassifierCV(FrozenEstimator(clone(m).fit(X, y)), cv=3).fit(X, y).predict_proba(X)
    ),
    "TunedThresholdClassifierCV": lambda m, X, y: (
        TunedThresholdClassifierCV(m, thresholds=10, cv=3).fit(X, y).best_threshold_
    ),
    "FixedThresholdClassifier": lambda m, X, y: (
        FixedThresholdClassifier(m, threshold=0.2, pos_label="yes").fit(X, y).predict(X) == "yes"
    ),
    "MultiOutputClassifier": lambda m, X, y: (
        MultiOutputClassifier(m).fit(X, np.c_[y, y[::-1]]).predict(X) == "yes"
    ),
    "OneVsRestClassifier": lambda m, X, y: OneVsRestClassifier(m).fit(X, THREE).predict_proba(X),
}


CARRY = {
    **{name: (utility, REGRESSOR) for name, utility in CARRY_REGRESSOR.items()},
    **{f"classifier-{name}": (utility, CLASSIFIER) for name, utility in CARRY_CLASSIFIER.items()},
}


@cache
def carried_by_hand(name, scale=False):
    utility, model = CARRY[name]
    return utility(by_hand(model, scale=scale), ROWS, target(model))


@pytest.mark.parametrize("name", CARRY)
def test_task_column_travels(name):
    """In two of these forms by turns, so that each form meets many utilities."""
    utility, model = CARRY[name]
    forms = ["pandas", "pandas-category", "pandas-int", "polars", "array", "object-array", "csr"]
    turn = list(CARRY).index(name)
    for form in (forms[turn % 7], forms[(turn + 1 + turn // 7 % 6) % 7]):
        table, column = FORMS[form]
        with named(form):
            ours = utility(clone(model).set_params(task_column=column), table, target(model))
            assert_allclose(ours, carried_by_hand(name), **CLOSE)


def test_tasks_from_a_column_travel_in_front_of_a_scaler():
    """It scales the other columns of any table."""
    for name, form in {
        "cross_val_predict": "pandas", "cross_validate-strings": "object-array", "GridSearchCV": "polars",
        "StackingRegressor": "pandas-int", "TransformedTargetRegressor": "array",
        "MultiOutputRegressor": "pandas-category", "classifier-cross_val_predict-proba": "object-array",
        "classifier-VotingClassifier": "pandas", "classifier-CalibratedClassifierCV-frozen": "array",
        "classifier-FixedThresholdClassifier": "polars",
    }.items():  # fmt: skip
        (utility, model), (table, column) = CARRY[name], FORMS[form]
        with named(name):
            ours = utility(TasksFromColumn(piped(model), column), table, target(model))
            assert_allclose(ours, carried_by_hand(name, scale=True), **CLOSE)


def test_tasks_from_a_column_are_known_around_it():
    table, offset = frame(), np.linspace(0, 1, N)
    model = TasksFromColumn(piped(REGRESSOR), "school")
    scores = [
        cross_val_score(one, table, y, cv=TaskKFold(3, task_column="school"), scoring=task_scorer("r2"))
        for one in (model, preprocessed(REGRESSOR, "pandas"))
    ]
    assert_allclose(*scores)
    fitted = model.fit(table, y, offset=offset)
    scaled = StandardScaler().fit_transform(X)
    wanted = clone(REGRESSOR).fit(scaled, y, tasks=TASKS, offset=offset)
    assert_allclose(fitted.predict(table, offset=offset), wanted.predict(scaled, tasks=TASKS, offset=offset))
    assert_allclose(summary(fitted).coef["v"], wanted.coef_[:, 1])
    given = {"sample_weight": np.linspace(1, 3, N), "offset": offset}
    assert_allclose(fitted.score(table, y, **given), wanted.score(scaled, y, tasks=TASKS, **given))
    assert fitted.feature_names_in_.tolist() == ["u", "school", "v", "w"]
    search = PathSearchCV(piped(MeanRegularizedRegressor()), [0.1, 1.0], cv=TaskKFold(3))
    inside = TasksFromColumn(search, "school").fit(table, y)
    by_tasks = search.fit(table[["u", "v", "w"]], y, tasks=TASKS)
    assert_allclose(inside.predict(table), by_tasks.predict(table[["u", "v", "w"]], tasks=TASKS))
    assert inside.score(table, y) == by_tasks.score(table[["u", "v", "w"]], y, tasks=TASKS)
    weight, step = np.linspace(1, 3, N), model.estimator.steps[-1][0]
    by_name = {f"{step}__tasks": TASKS, f"{step}__sample_weight": weight}
    by_hand = (
        piped(REGRESSOR)
        .fit(table[["u", "v", "w"]], y, **by_name)
        .predict(table[["u", "v", "w"]], tasks=TASKS)
    )
    for given in ({"sample_weight": weight}, {f"{step}__sample_weight": weight}):
        assert_allclose(model.fit(table, y, **given).predict(table), by_hand)
    with pytest.raises(
        ValueError, match=r"'estimator' parameter .* must be an object implementing .*'predict'"
    ):
        TasksFromColumn(StandardScaler(), "school").fit(table, y)
    with pytest.raises(ValueError, match="tasks= and task_column='school' both say"):
        model.fit(table, y, tasks=TASKS)
    with pytest.raises(ValueError, match="'town' is not a column of X"):
        TasksFromColumn(REGRESSOR, "town").fit(table, y)
    with pytest.raises(TypeError, match="got TasksFromColumn: give it the one in this, and put the Tasks"):
        PathSearchCV(model).fit(table, y)


@pytest.mark.parametrize("form", ["pandas", "polars", "array", "csr"])
@pytest.mark.parametrize("average", ["macro", "pooled", "worst"])
def test_task_scorer_reads_the_task_column(form, average):
    table, column = FORMS[form]
    model = clone(REGRESSOR).set_params(task_column=column)
    scorer, cv = task_scorer("r2", average=average), TaskKFold(4, task_column=column)
    ours = cross_val_score(model, table, y, scoring=scorer, cv=cv, error_score="raise")
    expected = []
    for train, test in TaskKFold(4).split(X, tasks=TASKS):
        predicted = by_hand(REGRESSOR).fit(ROWS[train], y[train]).predict(ROWS[test])
        per_task = [r2_score(y[test][rows], predicted[rows]) for rows in (TASKS[test] == t for t in NAMES)]
        pooled = r2_score(y[test], predicted)
        expected.append({"macro": np.mean(per_task), "pooled": pooled, "worst": min(per_task)}[average])
    assert_allclose(ours, expected, **CLOSE)


@FLOAT_FORM
@pytest.mark.parametrize("ensemble", [BaggingRegressor, AdaBoostRegressor])
def test_task_position_travels_through_ensembles(ensemble, form):
    table, column = FORMS[form]
    models = (clone(REGRESSOR).set_params(task_column=column), by_hand(REGRESSOR))
    ours, expected = (ensemble(model, n_estimators=4, random_state=0) for model in models)
    assert_allclose(ours.fit(table, y).predict(table), expected.fit(ROWS, y).predict(ROWS))


def test_integer_coded_tasks_travel_where_x_becomes_a_float_array():
    table, column = FORMS["array"]
    model = clone(CLASSIFIER).set_params(task_column=column)
    expected = BaggingClassifier(by_hand(CLASSIFIER), 4, random_state=0).fit(ROWS, TWO)
    ours = BaggingClassifier(model, 4, random_state=0).fit(table, TWO)
    assert_allclose(ours.predict_proba(table), expected.predict_proba(ROWS))
    ours, expected = OneVsOneClassifier(model).fit(table, THREE), OneVsOneClassifier(by_hand(CLASSIFIER))
    assert_array_equal(ours.predict(table), expected.fit(ROWS, THREE).predict(ROWS))
    # a chain appends columns: only a position counted from the front stays true
    chain = RegressorChain(clone(REGRESSOR).set_params(task_column=column)).fit(table, np.c_[y, y**2])
    second = clone(REGRESSOR).fit(np.c_[X, y], y**2, tasks=CODES)
    first = clone(REGRESSOR).fit(X, y, tasks=CODES).predict(X, tasks=CODES)
    assert_allclose(chain.predict(table), np.c_[first, second.predict(np.c_[X, first], tasks=CODES)])


@pytest.mark.processes
def test_task_column_travels_to_worker_processes():
    table, column = FORMS["pandas"]
    ours = search(clone(REGRESSOR).set_params(task_column=column), table, y, scoring="r2", n_jobs=2)
    assert_allclose(ours, search(by_hand(REGRESSOR), ROWS, y, scoring="r2"))


@pytest.mark.parametrize("form", ["pandas", "pandas-category", "array", "object-array"])
def test_permutation_importance_of_features_and_of_the_task(form):
    table, column = FORMS[form]
    model = clone(REGRESSOR).set_params(task_column=column).fit(table, y)
    ours = permutation_importance(model, table, y, n_repeats=3, random_state=0).importances
    plain = clone(REGRESSOR).fit(X, y, tasks=TASKS)
    expected = permutation_importance(
        plain, X, y, n_repeats=3, random_state=0, scoring=lambda m, X, y: m.score(X, y, tasks=TASKS)
    ).importances
    place = column if isinstance(column, int) else list(table.columns).index(column)
    assert_allclose(np.delete(ours, place, axis=0), expected)
    assert (ours[place] > 0.05).all()  # knowing the task is worth something


@pytest.mark.parametrize("form", ["pandas", "pandas-int", "array", "object-array"])
def test_partial_dependence_on_a_feature_and_on_the_task(form):
    table, column = FORMS[form]
    model = clone(REGRESSOR).set_params(task_column=column).fit(table, y)
    plain = clone(REGRESSOR).fit(X, y, tasks=TASKS)
    feature = {"pandas": "v", "pandas-int": "v", "array": 2, "object-array": 2}[form]
    result = partial_dependence(model, table, [feature], grid_resolution=4)
    for value, average in zip(result["grid_values"][0], result["average"][0], strict=True):
        changed = np.column_stack([X[:, 0], np.full(N, float(value)), X[:, 2]])
        assert average == pytest.approx(plain.predict(changed, tasks=TASKS).mean())
    result = partial_dependence(model, table, [column], categorical_features=[column])
    expected = [plain.predict(X, tasks=np.full(N, name)).mean() for name in NAMES]
    assert_allclose(result["average"][0], expected)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_in_a_search(name):
    model = MODELS[name]
    table, column = FORMS["pandas"]
    ours, expected = clone(model).set_params(task_column=column), by_hand(model)
    goal = target(model)
    assert_allclose(search(ours, table, goal), search(expected, ROWS, goal), **CLOSE)


# --- the task column behind a ColumnTransformer -------------------------------------------------


def preprocessed(model, output, column="school", **kwargs):
    features = ["u", "v", "w"]
    step = ColumnTransformer(
        [("scale", StandardScaler(), features)],
        remainder="passthrough",
        verbose_feature_names_out=kwargs.pop("verbose_feature_names_out", False),
    )
    return make_pipeline(step.set_output(transform=output), clone(model).set_params(task_column=column))


PIPELINES = {
    "pandas-pandas": (FORMS["pandas"][0], "pandas", "school"),
    "pandas-category-pandas": (FORMS["pandas-category"][0], "pandas", "school"),
    "pandas-int-polars": (FORMS["pandas-int"][0], "polars", "school"),
    "polars-polars": (FORMS["polars"][0], "polars", "school"),
    "polars-pandas": (FORMS["polars"][0], "pandas", "school"),
    "pandas-array": (FORMS["pandas"][0], "default", -1),
    "polars-array": (FORMS["polars"][0], "default", 3),
}


THROUGH = [
    "GridSearchCV-string", "GridSearchCV.predict", "cross_val_predict", "cross_validate", "learning_curve",
    "StackingRegressor", "TransformedTargetRegressor-search", "classifier-CalibratedClassifierCV",
]  # fmt: skip


@pytest.mark.parametrize("name", THROUGH)
def test_task_column_travels_through_a_pipeline(name):
    """Of each utility two by turns, so that each pipeline meets two utilities and more."""
    utility, model = CARRY[name]
    for step in (0, 3):
        kind = list(PIPELINES)[(THROUGH.index(name) + step) % len(PIPELINES)]
        table, output, column = PIPELINES[kind]
        with named(kind):
            ours = utility(preprocessed(model, output, column), table, target(model))
            assert_allclose(ours, carried_by_hand(name, scale=True), **CLOSE)


def test_pipelines_that_lose_the_task_column_say_where_it_went():
    table = FORMS["pandas"][0]
    prefixed = preprocessed(REGRESSOR, "pandas", verbose_feature_names_out=True)
    with pytest.raises(ValueError, match=r"remainder__school.*verbose_feature_names_out=False"):
        prefixed.fit(table, y)
    prefixed[-1].set_params(task_column="remainder__school")
    assert_allclose(
        prefixed.fit(table, y).predict(table), preprocessed(REGRESSOR, "pandas").fit(table, y).predict(table)
    )
    with pytest.raises(ValueError, match=r"task_column='school' names a column.*set_output.*position"):
        preprocessed(REGRESSOR, "default").fit(table, y)


def test_one_search_over_multi_task_and_one_hot_models():
    one_hot = make_pipeline(
        ColumnTransformer([("task", OneHotEncoder(), ["school"])], remainder="passthrough"), Ridge(1e-3)
    )
    ours = preprocessed(MeanRegularizedRegressor(0.01), "pandas")
    steps = make_pipeline(FunctionTransformer(), Ridge())
    found = GridSearchCV(steps, {"ridge": [ours, one_hot]}, error_score="raise").fit(FORMS["pandas"][0], y)
    # slopes differ between tasks, which indicators cannot express
    assert found.best_params_["ridge"].steps[-1][0] == "meanregularizedregressor"
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    "column, table", [("school", frame()), (0, FORMS["array"][0])], ids=["pandas", "array"]
)
def test_rows_sorted_by_task(column, table):
    order = np.argsort(CODES, kind="stable")
    table = table.iloc[order] if hasattr(table, "iloc") else table[order]
    model = clone(REGRESSOR).set_params(task_column=column)
    with pytest.raises(ValueError, match=r"not seen in fit.*TaskKFold"):
        cross_val_score(model, table, y[order], cv=5, error_score="raise")
    cv = TaskKFold(4, task_column=column)
    expected = list(TaskKFold(4).split(X, tasks=TASKS[order]))
    assert_allclose(
        cross_val_score(model, table, y[order], cv=cv, error_score="raise"),
        cross_val_score(by_hand(REGRESSOR), ROWS[order], y[order], cv=expected, error_score="raise"),
    )


# --- one task: an estimator like any other ------------------------------------------------------


ALONE = [
    (name, model)
    for name in ("cross_val_predict", "GridSearchCV", "StackingRegressor", "VotingRegressor",
                 "TransformedTargetRegressor", "MultiOutputRegressor")
    for model in REGRESSORS
    if model != "graph"  # couples tasks
] + [
    (f"classifier-{name}", model)
    for name in ("cross_val_predict-proba", "GridSearchCV-string", "StackingClassifier", "VotingClassifier",
                 "CalibratedClassifierCV", "MultiOutputClassifier", "OneVsRestClassifier")
    for model in CLASSIFIERS
]  # fmt: skip


def without_indicators(model):
    """The model; a pooled one without the indicator of its one task, which would be penalised."""
    return clone(model).set_params(task_indicators=False) if isinstance(model, Pooled) else model


@pytest.mark.parametrize("name, model", ALONE[::3])  # each of a pair meets several others
def test_a_model_without_tasks(name, model):
    utility, model = CARRY[name][0], without_indicators(MODELS[model])
    expected = utility(by_hand(model, one_task=True), ROWS, target(model))
    assert_allclose(utility(model, X, target(model)), expected, **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_tasks_in_ensembles(name):
    model = without_indicators(MODELS[name])
    ensemble = BaggingClassifier if is_classifier(model) else BaggingRegressor
    expected = ensemble(by_hand(model, one_task=True), 3, random_state=0).fit(ROWS, target(model))
    ours = ensemble(model, 3, random_state=0).fit(X, target(model))
    assert_allclose(outputs(ours, X), outputs(expected, ROWS), **CLOSE)
    half = ensemble(model, 3, max_features=2, random_state=0).fit(X, target(model))
    assert half.score(X, target(model)) > 0


# --- shared design with missing labels ----------------------------------------------------------

SHARED = {
    "regressor": (REGRESSOR, Y, r2_score),
    "single-task": (SingleTask(Ridge()), Y, r2_score),
    "pooled": (Pooled(Ridge(), task_indicators=True), Y, r2_score),
    "classifier": (CLASSIFIER, BINARY, accuracy_score),
    "single-task-classifier": (SingleTask(LogisticRegression()), BINARY, accuracy_score),
}


def mean_over_columns(metric, truth, predicted):
    seen = ~np.isnan(truth)
    return np.mean([metric(truth[seen[:, t], t], predicted[seen[:, t], t]) for t in range(truth.shape[1])])


@pytest.mark.parametrize("name", SHARED)
def test_shared_design_in_searches(name):
    model, labels, metric = SHARED[name]
    cv, pipeline = KFold(3), piped(model)
    scores, predicted = [], np.empty(labels.shape)
    for train, test in cv.split(X):
        scaler = StandardScaler().fit(X[train])
        fitted = clone(model).fit(scaler.transform(X[train]), labels[train])
        predicted[test] = fitted.predict(scaler.transform(X[test]))
        scores.append(mean_over_columns(metric, labels[test], predicted[test]))
    grid = {strength(pipeline): [pipeline.get_params()[strength(pipeline)]]}
    for scoring in (None, task_scorer("accuracy" if is_classifier(model) else "r2")):
        found = GridSearchCV(pipeline, grid, cv=cv, scoring=scoring, error_score="raise").fit(X, labels)
        assert found.best_score_ == pytest.approx(np.mean(scores))
        assert found.predict(X).shape == labels.shape
        result = cross_validate(pipeline, X, labels, cv=cv, scoring=scoring, error_score="raise")
        assert_allclose(result["test_score"], scores)
    assert_allclose(cross_val_predict(pipeline, X, labels, cv=cv), predicted)


def test_shared_design_elsewhere():
    sizes, _, scores = learning_curve(REGRESSOR, X, Y, train_sizes=[0.5, 1.0], cv=3, error_score="raise")
    assert len(sizes) == 2
    assert scores.mean(axis=1)[1] > 0.8
    fitted = clone(REGRESSOR).fit(X, Y)
    for scoring in (None, task_scorer("r2")):
        importance = permutation_importance(fitted, X, Y, n_repeats=3, random_state=0, scoring=scoring)
        assert (importance.importances_mean > 0).all()
    averages = partial_dependence(fitted, X, [0], grid_resolution=3)
    for value, average in zip(averages["grid_values"][0], averages["average"].T, strict=True):
        assert_allclose(average, fitted.predict(np.c_[np.full(N, value), X[:, 1:]]).mean(axis=0))
    train, test, Y_train, Y_test = train_test_split(X, Y, random_state=0)
    assert clone(REGRESSOR).fit(train, Y_train).score(test, Y_test) > 0.8
    size = np.abs(fitted.coef_).sum(axis=0)
    assert_array_equal(SelectFromModel(REGRESSOR).fit(X, Y).get_support(), size >= size.mean())
    kept = SequentialFeatureSelector(REGRESSOR, n_features_to_select=1, scoring=task_scorer("r2")).fit(X, Y)
    alone = [cross_val_score(REGRESSOR, X[:, [j]], Y, error_score="raise").mean() for j in range(3)]
    assert_array_equal(np.flatnonzero(kept.get_support()), np.argmax(alone))


def test_shared_design_equals_its_labelled_rows():
    rows, tasks = np.nonzero(~np.isnan(Y))
    shared = clone(REGRESSOR).fit(X, pd.DataFrame(Y, columns=NAMES))
    stacked = clone(REGRESSOR).fit(X[rows], Y[rows, tasks], tasks=NAMES[tasks])
    assert shared.tasks_.tolist() == NAMES.tolist()
    assert_allclose(shared.coef_, stacked.coef_)
    assert_allclose(shared.predict(X, tasks=TASKS), shared.predict(X)[np.arange(N), CODES])


def test_complete_shared_design_in_more_places():
    complete = np.where(np.isnan(Y), 0.0, Y)
    expected = clone(REGRESSOR).fit(X, complete)
    transformed_target = TransformedTargetRegressor(REGRESSOR, transformer=StandardScaler(with_std=False))
    assert_allclose(transformed_target.fit(X, complete).predict(X), expected.predict(X))
    kept = RFE(REGRESSOR, n_features_to_select=2).fit(X, complete).support_
    assert_array_equal(np.flatnonzero(~kept), np.argmin((expected.coef_**2).sum(axis=0)))
    bagged = BaggingRegressor(REGRESSOR, 3, bootstrap=False).fit(X, complete)
    assert_allclose(bagged.predict(X), expected.predict(X))
    assert cross_val_score(REGRESSOR, X, complete, scoring="r2", error_score="raise").shape == (5,)


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_squared_error"])
def test_scikit_learns_scorers_reject_missing_labels(scoring):
    """Nothing an estimator could do about it: the metric sees y before us."""
    with pytest.raises(ValueError, match="Input contains NaN"):
        cross_val_score(REGRESSOR, X, Y, scoring=scoring, error_score="raise")


REJECT_MISSING = {
    "TransformedTargetRegressor": TransformedTargetRegressor(REGRESSOR, transformer=StandardScaler()),
    "MultiOutputRegressor": MultiOutputRegressor(REGRESSOR),
    "RegressorChain": RegressorChain(REGRESSOR),
    "BaggingRegressor": BaggingRegressor(REGRESSOR),
    "RFE": RFE(REGRESSOR),
}
REJECT_2D = {
    "StackingRegressor": StackingRegressor([("m", REGRESSOR)]),
    "VotingRegressor": VotingRegressor([("m", REGRESSOR)]),
    "AdaBoostRegressor": AdaBoostRegressor(REGRESSOR),
}


@pytest.mark.parametrize("name", [*REJECT_MISSING, *REJECT_2D])
def test_what_rejects_a_shared_design(name):
    """The notes of the table in docs/scikit-learn.md."""
    message = "Input y contains NaN" if name in REJECT_MISSING else "y should be a 1d array"
    with pytest.raises(ValueError, match=message):
        {**REJECT_MISSING, **REJECT_2D}[name].fit(X, Y)


def test_stratified_folds_reject_missing_labels():
    with pytest.raises(ValueError, match="Input y contains NaN"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cross_val_score(CLASSIFIER, X, BINARY, cv=3)
