"""Bad input: an error of the right type that names the argument, what was found and what was expected."""

import inspect
import warnings

import numpy as np
import pandas as pd
import polars
import pytest
from conftest import cut_networks, named
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import (
    GraphRegularizedRegressor,
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskClassifier,
    MultiTaskLasso,
    MultiTaskLassoCV,
    MultiTaskMLP,
    MultiTaskMLPClassifier,
    MultiTaskMLPRegressor,
    MultiTaskRegressor,
    PathSearchCV,
    Pooled,
    RobustRegressor,
    SingleTask,
    TaskConformalRegressor,
    TaskKFold,
    TasksFromColumn,
    TaskStatistics,
    TraceNormRegressor,
    compare,
    stability_selection,
    stack_tasks,
    suggest,
)
from skmtl.inspection import ShrinkageDisplay, TaskGainDisplay
from skmtl.penalties import Penalty

rng = np.random.default_rng(0)
N = 60
NAMES = np.array(["ash", "birch", "cedar"])
CODES = np.arange(N) % 3
TASKS = NAMES[CODES]
X = rng.normal(size=(N, 4))
y = X @ [1.0, -1.0, 0.5, 0.0] + CODES + rng.normal(size=N)
TWO = np.where(y > np.median(y), "yes", "no")
Y = np.column_stack([y, -y, y + 1])
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(school=TASKS)
NUMERIC = np.column_stack([X, CODES])

MODELS = [
    MeanRegularizedRegressor(),
    MultiTaskLasso(0.1),
    GroupSparseRegressor(0.1),
    TraceNormRegressor(0.1),
    MultiTaskRegressor(0.1),
    MeanRegularizedClassifier(),
    GroupSparseClassifier(),
    MultiTaskClassifier(),
    SingleTask(Ridge()),
    SingleTask(LogisticRegression()),
    Pooled(Ridge(), task_indicators=True),
    Pooled(LogisticRegression(), task_indicators=True),
]
REGRESSORS = [model for model in MODELS if not is_classifier(model)]
CLASSIFIERS = [model for model in MODELS if is_classifier(model)]


def name_of(model):
    inner = f"-{type(model.estimator).__name__}" if hasattr(model, "estimator") else ""
    return type(model).__name__ + inner


def every(models):
    return pytest.mark.parametrize("model", models, ids=name_of)


def target(model):
    return TWO if is_classifier(model) else y


def changed(array, value, at=7, dtype=None):
    """A copy of the array with one entry changed."""
    copy = np.array(array, dtype=dtype)
    copy[at] = value
    return copy


# --- fit: arguments that any model gets ---------------------------------------------------------

# kind of mistake: (arguments that replace good ones, type, message)
ANY_FIT = {
    "tasks: too few": ({"tasks": TASKS[:-1]}, ValueError, "tasks has 59 labels but X has 60 rows"),
    "tasks: too many": ({"tasks": [*TASKS, "ash"]}, ValueError, "tasks has 61 labels but X has 60 rows"),
    "tasks: None": (
        {"tasks": changed(TASKS, None, dtype=object)},
        ValueError,
        r"tasks has 1 missing label \(first at row 7\); every row needs a task",
    ),
    "tasks: NaN among strings": (
        {"tasks": pd.Series(TASKS, dtype=object).where(CODES > 0)},
        ValueError,
        r"tasks has 20 missing labels \(first at row 0\)",
    ),
    "tasks: NaN among numbers": (
        {"tasks": changed(CODES, np.nan, dtype=float)},
        ValueError,
        r"tasks has 1 missing label \(first at row 7\)",
    ),
    "tasks: NaN in a list of strings": (
        {"tasks": [*TASKS[:-1].tolist(), np.nan]},
        ValueError,
        r"tasks has 1 missing label \(first at row 59\)",
    ),
    "tasks: None in a list": (
        {"tasks": [*TASKS[:-1].tolist(), None]},
        ValueError,
        r"tasks has 1 missing label \(first at row 59\)",
    ),
    "tasks: NA of pandas": (
        {"tasks": pd.Series(TASKS, dtype="string").where(CODES > 0)},
        ValueError,
        r"tasks has 20 missing labels \(first at row 0\)",
    ),
    "tasks: NaT": (
        {"tasks": changed(np.datetime64("2020-01-01") + CODES, np.datetime64("NaT"))},
        ValueError,
        r"tasks has 1 missing label \(first at row 7\)",
    ),
    "tasks: mixed types": (
        {"tasks": changed(TASKS, 3, dtype=object)},
        TypeError,
        r"tasks mixes labels that cannot be sorted \(int, str\); use labels of one type",
    ),
    "tasks: mixed types in a list": (
        {"tasks": [*TASKS[:-1].tolist(), 3]},
        TypeError,
        r"tasks mixes labels that cannot be sorted \(int, str\)",
    ),
    "tasks: two columns": (
        {"tasks": np.column_stack([TASKS, TASKS])},
        ValueError,
        r"tasks must be one label per row, shape \(n_samples,\); got shape \(60, 2\)",
    ),
    "tasks: one for all": (
        {"tasks": "ash"},
        ValueError,
        r"tasks must be one label per row.*got 'ash'.*once for each",
    ),
    "tasks: with a task column": (
        {"task_column": "school", "X": FRAME},
        ValueError,
        r"tasks= and task_column='school' both say which task a row belongs to; use one",
    ),
    "task_column: no such name": (
        {"task_column": "schol", "X": FRAME, "tasks": None},
        ValueError,
        r"task_column='schol' is not a column of X; X has the columns \['a', 'b', 'c', 'd', 'school'\]",
    ),
    "task_column: renamed by a ColumnTransformer": (
        {"task_column": "school", "X": FRAME.rename(columns={"school": "remainder__school"}), "tasks": None},
        ValueError,
        r"'remainder__school'.*verbose_feature_names_out=False",
    ),
    "task_column: name for an array": (
        {"task_column": "school", "X": NUMERIC, "tasks": None},
        ValueError,
        r"task_column='school' names a column, but X is a ndarray without column names.*set_output.*integer",
    ),
    "task_column: name for a sparse matrix": (
        {"task_column": "school", "X": sparse.csr_matrix(NUMERIC), "tasks": None},
        ValueError,
        r"task_column='school' names a column, but X is a csr_matrix without column names",
    ),
    "task_column: past the end": (
        {"task_column": 5, "X": NUMERIC, "tasks": None},
        ValueError,
        "task_column=5 is out of range: X has 5 columns",
    ),
    "task_column: before the start": (
        {"task_column": -6, "X": FRAME, "tasks": None},
        ValueError,
        "task_column=-6 is out of range: X has 5 columns",
    ),
    "task_column: wrong type": (
        {"task_column": 1.5, "X": NUMERIC, "tasks": None},
        ValueError,
        "'task_column' parameter of .* must be None, an instance of 'str' or an instance of 'int'. Got 1.5",
    ),
    "task_column: missing label": (
        {
            "task_column": "school",
            "X": FRAME.assign(school=changed(TASKS, None, dtype=object)),
            "tasks": None,
        },
        ValueError,
        r"^task_column='school' has 1 missing label \(first at row 7\); .* leave such rows out",
    ),
    "X: NaN": ({"X": changed(X, np.nan)}, ValueError, "Input.* contains NaN"),
    "X: infinite": ({"X": changed(X, np.inf)}, ValueError, "Input.* contains infinity"),
    "X: NaN in sparse": ({"X": sparse.csr_array(changed(X, np.nan))}, ValueError, "contains NaN"),
    "X: text": ({"X": X.astype(str).astype(object) + "m"}, ValueError, "could not convert string to float"),
    "X: text column": ({"X": FRAME}, ValueError, "could not convert string to float: 'ash'"),
    "X: one dimension": ({"X": X[:, 0]}, ValueError, "Expected 2D array, got 1D array instead"),
    "X: no columns": ({"X": X[:, :0]}, ValueError, r"0 feature\(s\).* while a minimum of 1 is required"),
    "X: no rows": (
        {"X": X[:0], "y": TWO[:0], "tasks": TASKS[:0]},
        ValueError,
        r"0 sample\(s\).* while a minimum of 1 is required",
    ),
    "X: only the task": (
        {"task_column": 0, "X": CODES[:, None], "tasks": None},
        ValueError,
        r"0 feature\(s\)",
    ),
    "y: not given": ({"y": None}, ValueError, "requires y to be passed, but the target y is None"),
    "y: too short": ({"y": TWO[:-1]}, ValueError, r"inconsistent numbers of samples: \[60, 59\]"),
    "y: a name": (
        {"y": "height"},
        ValueError,
        r"y must have shape \(n_samples,\) or \(n_samples, n_tasks\); got 'height'",
    ),
    "y: of no rows": ({"y": TWO[:0]}, ValueError, r"0 sample\(s\) \(shape=\(0,\)\) in y"),
    "y: three dimensions": ({"y": np.zeros((N, 2, 2))}, ValueError, "Found array with dim 3, while dim <= 2"),
    "sample_weight: too short": (
        {"sample_weight": np.ones(5)},
        ValueError,
        r"sample_weight must have shape \(60,\); got \(5,\)",
    ),
    "sample_weight: per task for 1-D y": (
        {"sample_weight": np.ones((N, 3))},
        ValueError,
        r"sample_weight must have shape \(60,\); got \(60, 3\)",
    ),
    "sample_weight: negative": (
        {"sample_weight": changed(np.ones(N), -2.5)},
        ValueError,
        r"sample_weight must not be negative; found -2\.5",
    ),
    "sample_weight: all zero": (
        {"sample_weight": np.zeros(N)},
        ValueError,
        "sample_weight is zero for every row; at least one weight must be positive",
    ),
    "sample_weight: NaN": (
        {"sample_weight": changed(np.ones(N), np.nan)},
        ValueError,
        "Input sample_weight contains NaN",
    ),
}


def fit(model, arguments, y):
    """Fit a copy of the model on good data but for the given arguments."""
    arguments = {"X": X, "y": y, "tasks": TASKS, **arguments}
    params = {name: arguments.pop(name) for name in ("task_column",) if name in arguments}
    return clone(model).set_params(**params).fit(arguments.pop("X"), arguments.pop("y"), **arguments)


@pytest.mark.parametrize("mistake", ANY_FIT)
def test_fit(mistake):
    arguments, kind, message = ANY_FIT[mistake]
    for model in MODELS:
        with named(model), pytest.raises(kind, match=message):
            fit(model, arguments, target(model))


@every([MeanRegularizedRegressor(), MeanRegularizedClassifier()])
@pytest.mark.parametrize("table", [FRAME, FRAME.astype({"school": "category"})], ids=["text", "category"])
def test_a_text_column_among_the_features_is_named(model, table):
    """Who forgets to say that it is the task gets told how."""
    with pytest.raises(ValueError, match=r"'school'.*task_column") as caught:
        fit(model, {"X": table}, target(model))
    assert "'ash'" in str(caught.value)


@every([MultiTaskLasso(0.1), MultiTaskLassoCV(cv=2), GroupSparseClassifier()])
def test_categories_that_are_numbers_are_no_silent_feature(model):
    table = FRAME.assign(school=pd.Series(CODES))
    for given, told in ((table, False), (table.astype({"school": "category"}), True)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clone(model).fit(given, target(model))
            clone(model).set_params(task_column="school").fit(given, target(model))
        said = [str(warning.message) for warning in caught if "categories" in str(warning.message)]
        assert len(said) == told and all("task_column='school'" in words for words in said)


@every([*MODELS, MultiTaskMLP(), MixedTaskModel(), MultiTaskLassoCV(), PathSearchCV(MultiTaskLasso())])
def test_tasks_by_position(model):
    with pytest.raises(
        TypeError, match=r"\.fit\(\) takes X, y by position; got 3 arguments.* fit\(X, y, tasks="
    ):
        clone(model).fit(X, target(model), TASKS)


@every([*MODELS, MultiTaskMLP(max_iter=1), MultiTaskLassoCV(), TaskConformalRegressor(Pooled(Ridge()))])
@pytest.mark.parametrize(
    "labels", [TASKS, np.unique(TASKS, return_inverse=True)[1] + 1], ids=["text", "numbers"]
)
@cut_networks
def test_tasks_in_the_place_of_weights(model, labels):
    """score(X, y, sample_weight) is scikit-learn's: labels there are told, weights are taken."""
    fitted = clone(model).fit(X, target(model), tasks=labels)
    for given in ({}, {"tasks": labels}):
        with pytest.raises(
            TypeError, match=r"third argument of \w+\.score\(\) .*sample_weight; .*y, tasks=\.\.\.\)"
        ):
            fitted.score(X, target(model), labels, **given)
    for weight in (np.ones(N), np.arange(N) % 2 + 1.0):
        score = fitted.score(X, target(model), weight, tasks=labels)
        assert score == fitted.score(X, target(model), sample_weight=weight, tasks=labels)


@every([*MODELS, PathSearchCV(MeanRegularizedRegressor(), cv=2), TaskConformalRegressor(Pooled(Ridge()))])
def test_arguments_that_are_not_there(model):
    fitted, told = clone(model).fit(X, target(model), tasks=TASKS), type(model).__name__
    with pytest.raises(TypeError, match=rf"^{told}\.predict\(\) takes X by pos.* name: predict\(X, tasks="):
        fitted.predict(X, TASKS)
    with pytest.raises(
        TypeError, match=rf"^{told}\.predict\(\) has no argument 'task'; .* predict\(X, tasks="
    ):
        fitted.predict(X, task=TASKS)
    with pytest.raises(TypeError, match=rf"^{told}\.predict\(\) was given no X; .* predict\(X, tasks="):
        fitted.predict(tasks=TASKS)
    if "offset" in inspect.signature(model.fit).parameters and not isinstance(model, PathSearchCV):
        with pytest.raises(
            TypeError, match=r"no argument 'exposure'; .* offset=np\.log\(exposure\), with loss"
        ):
            clone(model).fit(X, target(model), tasks=TASKS, exposure=np.ones(N))


def test_what_other_models_have():
    lasso = MultiTaskLasso().fit(X, y, tasks=TASKS)
    for name in ("coef_std_", "intercept_std_", "test_sharing"):
        assert not hasattr(lasso, name) and hasattr(MeanRegularizedRegressor().fit(X, y, tasks=TASKS), name)
        with pytest.raises(
            AttributeError, match=f"MultiTaskLasso has no {name}: .* random, MeanRegularizedRegressor and "
        ):
            getattr(lasso, name)
    for model, name in (
        (lasso, "prediction_interval"),
        (lasso, "predict_interval"),
        (MeanRegularizedRegressor(), "predict_interval"),
        (MeanRegularizedClassifier(), "prediction_interval"),
    ):
        with pytest.raises(
            AttributeError, match=r"is that of the regressors among .* predict_interval of TaskConf"
        ):
            getattr(model, name)
    for name in ("coef_std_", "intercept_std_"):
        with pytest.raises(NotFittedError):
            getattr(MeanRegularizedRegressor(), name)
    with pytest.raises(
        ValueError, match=r"^The 'alpha' .* Got 'auto' .* MeanRegularizedRegressor .* PathSearchCV"
    ):
        MultiTaskLasso("auto").fit(X, y, tasks=TASKS)
    with pytest.raises(ValueError, match=r"^The 'alpha' parameter .* Got -1 instead\.$"):
        MultiTaskLasso(-1).fit(X, y, tasks=TASKS)


def test_columns_of_nearly_that_name():
    for column, meant in (("scool", "school"), ("School", "school"), ("aa", "a")):
        with pytest.raises(ValueError, match=rf"X has the columns .* Did you mean '{meant}'\?$"):
            MultiTaskLasso(task_column=column).fit(FRAME, y)
    with pytest.raises(ValueError, match=r"X has the columns \[.*\]\.$"):
        MultiTaskLasso(task_column="zebra").fit(FRAME, y)


def test_tasks_in_the_place_of_classes():
    with pytest.raises(ValueError, match=r"classes must .*; got .* Task labels .* name: tasks="):
        MultiTaskMLPClassifier().partial_fit(X, CODES > 0, CODES)


REGRESSOR_FIT = {
    "y: infinite": ({"y": changed(y, np.inf)}, "Input y contains infinity"),
    "y: NaN": ({"y": changed(y, np.nan)}, "Input y contains NaN"),
    "y: None": ({"y": changed(y, None, dtype=object)}, "contains NaN"),
    "y: text": ({"y": TWO}, "could not convert string to float"),
    "y: a column per task with tasks": (
        {"y": Y},
        r"y of shape \(60, 3\) has one column per task and cannot be combined with tasks= or task_column=",
    ),
    "y: a column per task with a task column": (
        {"y": Y, "X": FRAME, "task_column": "school", "tasks": None},
        r"y of shape \(60, 3\) has one column per task and cannot be combined",
    ),
    "y: infinite in 2-D": ({"y": changed(Y, np.inf), "tasks": None}, "Input y contains infinity"),
    "y: a task without a label": (
        {"y": changed(Y, np.nan, at=np.s_[:, 1]), "tasks": None},
        r"y has no usable label \(all missing or of weight zero\).*\[1\]",
    ),
    "y: a named task without a label": (
        {"y": pd.DataFrame(changed(Y, np.nan, at=np.s_[:, 1]), columns=NAMES), "tasks": None},
        r"y has no usable label.*\['birch'\]",
    ),
    "y: a task with labels of weight zero only": (
        {
            "y": changed(Y, np.nan, at=np.s_[5:, 2]),
            "sample_weight": (np.arange(N) >= 5).astype(float),
            "tasks": None,
        },
        r"y has no usable label.*\[2\]",
    ),
    "y: two tasks of one name": (
        {"y": pd.DataFrame(Y, columns=["ash", "birch", "ash"]), "tasks": None},
        r"the columns of y name the tasks and must differ; got \['ash', 'birch', 'ash'\]",
    ),
    "sample_weight: neither per row nor per label": (
        {"y": Y, "tasks": None, "sample_weight": np.ones((N, 2))},
        r"sample_weight must have shape \(60,\) or \(60, 3\); got \(60, 2\)",
    ),
}


@pytest.mark.parametrize("mistake", REGRESSOR_FIT)
def test_fit_of_a_regressor(mistake):
    arguments, message = REGRESSOR_FIT[mistake]
    for model in REGRESSORS:
        with named(model), pytest.raises(ValueError, match=message):
            fit(model, arguments, y)


CLASSIFIER_FIT = {
    "one class": ({"y": np.full(N, "yes")}, r"y holds only one class, \['yes'\]"),
    "one class of positive weight": (
        {"sample_weight": (TWO == "no").astype(float)},
        r"y holds only one class, \['no'\]",
    ),
    "one class in 2-D": ({"y": np.ones((N, 2)), "tasks": None}, r"y holds only one class, \[1"),
    "numbers": ({"y": y}, "Unknown label type: continuous"),
    "NaN": ({"y": changed(CODES > 0, np.nan, dtype=float)}, "Input y contains NaN"),
    "infinite": ({"y": changed(CODES > 0, np.inf, dtype=float)}, "Input y contains infinity"),
    "None": ({"y": changed(TWO, None, dtype=object)}, r"y (contains|has).*(missing|NaN|None)"),
}


@every(CLASSIFIERS)
@pytest.mark.parametrize("mistake", CLASSIFIER_FIT)
def test_fit_of_a_classifier(model, mistake):
    arguments, message = CLASSIFIER_FIT[mistake]
    with pytest.raises(ValueError, match=message):
        fit(model, arguments, TWO)


# --- predict and score --------------------------------------------------------------------------


@every(MODELS)
def test_use_before_fit(model):
    methods = ["predict", *(["predict_proba", "decision_function"] if is_classifier(model) else [])]
    for method in methods:
        with pytest.raises(NotFittedError, match=f"This {type(model).__name__} instance is not fitted yet"):
            getattr(clone(model), method)(X, tasks=TASKS)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clone(model).score(X, target(model), tasks=TASKS)


PREDICT = {
    "no tasks": (X, None, "was fitted with 3 tasks and cannot predict without knowing the task of each row"),
    "unknown task": (
        X,
        changed(TASKS, "oak"),
        r"tasks has 1 label\(s\) not seen in fit: \['oak'\]; fitted tasks look like \['ash', 'birch', ",
    ),
    "misspelt task": (
        X,
        changed(TASKS, "brich"),
        r"not seen in fit: \['brich'\]; .* look like .*\. Did you mean 'birch'\? In cross-validation",
    ),
    "labels of another type": (
        X,
        CODES,
        r"tasks has 3 label\(s\) not seen in fit: \[0, 1, 2\]; .*\['ash', .*text and these are integers",
    ),
    "too few tasks": (X, TASKS[:3], "tasks has 3 labels but X has 60 rows"),
    "missing label": (
        X,
        changed(TASKS, None, dtype=object),
        r"tasks has 1 missing label \(first at row 7\)",
    ),
    "fewer features": (X[:, :2], TASKS, "X has 2 features, but .* is expecting 4 features"),
    "more features": (NUMERIC, TASKS, "X has 5 features, but .* is expecting 4 features"),
    "NaN": (changed(X, np.nan), TASKS, "Input.* contains NaN"),
    "one row": (X[0], TASKS[:1], "Expected 2D array, got 1D array instead"),
}


@every(MODELS)
def test_predict(model):
    fitted = clone(model).fit(X, target(model), tasks=TASKS)
    methods = ["predict", *(["predict_proba", "decision_function"] if is_classifier(model) else [])]
    for mistake, (table, tasks, message) in PREDICT.items():
        for method in methods:
            with named(mistake), pytest.raises(ValueError, match=message):
                getattr(fitted, method)(table, tasks=tasks)
        with named(mistake), pytest.raises(ValueError, match=message):
            fitted.score(table, target(model)[: len(table)], tasks=tasks)


KINDS = {
    "text": (CODES.astype(str), "text"),
    "bytes": (CODES.astype("S"), "bytes"),
    "integers": (CODES, "integers"),
    "objects": (CODES.astype(object), "integers"),
    "fractions": (CODES + 0.5, "numbers"),
    "dates": (np.datetime64("2020-01-01") + CODES, "dates"),
    "tuples": ([("a", int(code)) for code in CODES], "of type tuple"),
}


@every(MODELS)
def test_labels_of_another_kind_are_a_mistake(model):
    """Not new tasks, which unlike these may be predicted with the average."""
    model, numbers = clone(model), {"integers", "objects", "fractions"}
    if "handle_unknown" in model.get_params():
        model.set_params(handle_unknown="average")
    for fitted, (before, was) in KINDS.items():
        model.fit(X[:12], target(model)[:12], tasks=before[:12])
        for given, (now, are) in KINDS.items():
            if given != fitted and not {fitted, given} <= numbers:
                message = rf"not seen in fit: .*in fit were {was} and these are {are}: give"
                with named((fitted, given)), pytest.raises(ValueError, match=message):
                    model.predict(X[:12], tasks=now[:12])


@every(MODELS)
def test_predict_with_a_task_column(model):
    fitted = clone(model).set_params(task_column="school").fit(FRAME, target(model))
    with pytest.raises(ValueError, match=r"tasks= and task_column='school' both say"):
        fitted.predict(FRAME, tasks=TASKS)
    with pytest.raises(ValueError, match=r"not seen in fit: \['oak'\]"):
        fitted.predict(FRAME.assign(school="oak"))
    with pytest.raises(ValueError, match="missing labels"):
        fitted.predict(FRAME.assign(school=None))
    with pytest.raises(
        ValueError, match="now missing:\n- school\nThe column 'school' says the task of each row, here as in"
    ):
        fitted.predict(FRAME.drop(columns="school"))


@every(MODELS)
def test_tasks_for_a_model_without_tasks(model):
    fitted = clone(model).fit(X, target(model))
    with pytest.raises(ValueError, match=r"tasks was given, but this .* was fitted without tasks"):
        fitted.predict(X, tasks=TASKS)


@every(REGRESSORS)
def test_score_of_a_shared_design(model):
    fitted = clone(model).fit(X, Y)
    with pytest.raises(ValueError, match=r"must have shape \(60, 2\).*got \(60, 3\)"):
        fitted.score(X, Y[:, :2])
    with pytest.raises(ValueError, match=r"y_pred|y_true"):
        fitted.score(X, y)


@every([MeanRegularizedRegressor(), SingleTask(Ridge())])
def test_score_without_a_single_label(model):
    """Never NaN: a search would take it for a score."""
    with pytest.raises(ValueError, match=r"no (usable )?label"):
        clone(model).fit(X, Y).score(X, np.full_like(Y, np.nan))


@every([MeanRegularizedRegressor(), MixedTaskModel()])
def test_score_names_weights_of_another_length(model):
    fitted = clone(model).fit(X, y, tasks=TASKS)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(60,\); got \(5,\)"):
        fitted.score(X, y, np.ones(5), tasks=TASKS)


# --- what looks bad but is not --------------------------------------------------------------------


@every(MODELS)
def test_a_task_of_weight_zero_does_not_exist(model):
    weight = (TASKS != "birch").astype(float)
    fitted = fit(model, {"sample_weight": weight}, target(model))
    assert fitted.tasks_.tolist() == ["ash", "cedar"]
    with pytest.raises(ValueError, match=r"not seen in fit: \['birch'\]"):
        fitted.predict(X, tasks=TASKS)


@every(CLASSIFIERS)
def test_a_task_with_one_class(model):
    labels = np.where(TASKS == "birch", "yes", TWO)
    fitted = clone(model).fit(X, labels, tasks=TASKS)
    proba = fitted.predict_proba(X, tasks=TASKS)
    assert np.isfinite(proba).all()
    assert fitted.classes_.tolist() == ["no", "yes"]


@every(CLASSIFIERS)
@pytest.mark.parametrize("rows_per_task", [1, 2, 5])
def test_most_tasks_with_one_class(model, rows_per_task):
    """Small tasks: their intercepts have no finite optimum, the objective has."""
    generator = np.random.default_rng(1)
    features, labels = generator.normal(size=(N, 3)), generator.random(N) > 0.5
    tasks = np.arange(N) // rows_per_task
    model = clone(model)
    if "max_iter" in model.get_params():
        model.set_params(max_iter=500)
    fitted = model.fit(features, labels, tasks=tasks)
    assert np.isfinite(fitted.predict_proba(features, tasks=tasks)).all()


@every(MODELS)
def test_one_row_per_task_and_one_feature(model):
    tasks = np.arange(N)
    fitted = clone(model).fit(X[:, :1], target(model), tasks=tasks)
    assert_allclose(len(fitted.predict(X[:, :1], tasks=tasks)), N)


@every(REGRESSORS)
def test_a_constant_target(model):
    fitted = clone(model).fit(X, np.full(N, 3.0), tasks=TASKS)
    assert_allclose(fitted.predict(X, tasks=TASKS), 3.0)


# --- warnings ---


def test_warnings_name_the_line_of_the_caller():
    early = TraceNormRegressor(0.01, solver="fista", max_iter=1, tol=1e-12, task_column=4)
    turned = FRAME[["a"]], y, FRAME["school"][::-1]
    calls = {
        "fit": lambda: early.fit(NUMERIC, y),
        "pipeline in a search": lambda: GridSearchCV(make_pipeline(early), {}, cv=2).fit(NUMERIC, y),
        "search": lambda: PathSearchCV(early, [0.01], cv=2).fit(NUMERIC, y),
        "comparison": lambda: compare(early, NUMERIC, y, cv=2, baselines=()),
        "no tasks": lambda: MeanRegularizedRegressor().fit(X, y),
        "order": lambda: MeanRegularizedRegressor().fit(*turned[:2], tasks=turned[2]),
        "order, compared": lambda: compare(MeanRegularizedRegressor(), *turned, cv=2),
        "exposures": lambda: MeanRegularizedRegressor(loss="poisson").fit(
            X, np.abs(y), tasks=TASKS, offset=y**2 + 99
        ),
    }
    for call, function in calls.items():
        with pytest.warns() as said:
            function()
        assert {warning.filename for warning in said} == {__file__}, call
    levels = FRAME[["a"]].set_axis(pd.MultiIndex.from_product([range(6), range(10)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (FRAME["school"], FRAME["school"].set_axis(range(1, 61)), TASKS.tolist()):
            MeanRegularizedRegressor().fit(levels, y, tasks=other)  # no index to go by


# --- likely mistakes -------------------------------------------------------------------------------

LASSO, SEARCH = MultiTaskLasso(0.1), PathSearchCV(MultiTaskLasso(), alphas=2, cv=2)
LIKELY = {
    "compare: y and tasks swapped": (
        lambda: compare(LASSO, X, TASKS, y),
        r"tasks must name .* look measured.*y comes before tasks",
    ),
    "suggest: y and tasks swapped": (lambda: suggest(X, TASKS, y), "look measured.*y comes before tasks"),
    "search: y and tasks swapped": (lambda: clone(SEARCH).fit(X, TASKS, tasks=y), "y comes before tasks"),
    "compare: X and y swapped": (lambda: compare(LASSO, y, X, TASKS), r"X has the shape \(60,\).*before y"),
    "compare: a list of arrays": (
        lambda: compare(LASSO, [X[:30], X[30:]], [y, y]),
        "X must .*list of 2 arrays",
    ),
    "suggest: a list of arrays": (lambda: suggest([X[:30], X[30:]], [y, y]), "X must .*list of 2 arrays"),
    "suggest: NaN": (
        lambda: suggest(FRAME[["a", "b"]].where(X[:, :2] < 1), y, TASKS),
        r"X contains NaN\. .*column\(s\) \['a', 'b'\] of X: impute them .*preprocessor=",
    ),
    "search: NaN": (
        lambda: clone(SEARCH).fit(changed(X, np.nan, at=(7, 2)), y, tasks=TASKS),
        r"(?s)X contains NaN\..*column\(s\) \[2\] of X: impute them",
    ),
    "the task as the index": (
        lambda: MultiTaskLasso(task_column="school").fit(FRAME.set_index("school"), y),
        r"'school' is not a column .* name of the index: pass X\.reset_index\(\)",
    ),
    "partial_fit: tasks by position": (
        lambda: MultiTaskMLPRegressor().partial_fit(X, y, TASKS),
        r"MultiTaskMLPRegressor\.partial_fit\(\) takes X, y by position",
    ),
    "compare: one name of a baseline": (
        lambda: compare(LASSO, X, y, TASKS, baselines="single"),
        "baselines must be a sequence .*; got the string 'single'",
    ),
    "tests of sharing: with rows": (
        lambda: MeanRegularizedClassifier().fit(X, TWO, tasks=TASKS).test_sharing(X, TWO),
        r"MeanRegularizedClassifier\.test_sharing\(\) takes nothing by position; .* as test_sharing\(\)",
    ),
    "alpha_max: tasks by position": (
        lambda: LASSO.alpha_max(X, y, TASKS),
        r"MultiTaskLasso\.alpha_max\(\) takes X, y by position; got 3 .* tasks=",
    ),
    "a new task: weights by position": (
        lambda: clone(LASSO).fit(X, y, tasks=CODES).fit_task(X[:5], y[:5], np.ones(5)),
        r"task must be the label of the one new task; got array.* sample_weight=",
    ),
    "tasks: numbers of rows": (
        lambda: clone(LASSO).fit(X, y, tasks=[10, 20, 30]),
        r"tasks has 3 labels but X has 60 rows\. .*numpy\.repeat\(range\(3\), tasks\)",
    ),
    "tasks: indicators": (
        lambda: clone(LASSO).fit(X, y, tasks=np.eye(3)[CODES]),
        r"got shape \(60, 3\)\. .*argmax\(axis=1\)",
    ),
    "y: the name of a column": (lambda: clone(LASSO).fit(FRAME, "a"), r"y must have .* got 'a'.*y=X\['a'\]"),
    "y: tasks in its place": (lambda: clone(LASSO).fit(X, TASKS), "y must hold numbers.* given as tasks="),
    "search: a class": (
        lambda: PathSearchCV(MultiTaskLasso).fit(X, y, tasks=TASKS),
        r"got the class MultiTaskLasso: .* MultiTaskLasso\(\)",
    ),
    "stability: a class": (
        lambda: stability_selection(MultiTaskLasso, X, y, TASKS),
        r"needs a linear estimator of skmtl; got the class MultiTaskLasso",
    ),
    "stack: two lists": (
        lambda: stack_tasks([X, X], [y, y]),
        r"names must hold one label per task; got array",
    ),
    "stack: arrays": (lambda: stack_tasks(X, y), r"blocks must hold \(X, y\) pairs.*zip"),
    "search: a class as cv": (
        lambda: clone(SEARCH).set_params(cv=TaskKFold).fit(X, y, tasks=TASKS),
        r"cv must be an object; got the class TaskKFold: make an object of it, TaskKFold\(",
    ),
    "compare: a class as cv": (lambda: compare(LASSO, X, y, TASKS, cv=TaskKFold), "got the class TaskKFold"),
    "suggest: a class as cv": (lambda: suggest(X, y, TASKS, cv=TaskKFold), "got the class TaskKFold"),
    "conformal: a class as cv": (
        lambda: TaskConformalRegressor(LASSO, cv=TaskKFold).fit(X, y, tasks=TASKS),
        "got the class TaskKFold",
    ),
    "compare: a class": (
        lambda: compare(MultiTaskLasso, X, y, TASKS),
        "of estimators .* class MultiTaskLasso",
    ),
    "baselines: a class": (
        lambda: compare(LASSO, X, y, TASKS, baselines=Ridge),
        r"baselines must be a sequence .*of none: \(\).*got .*Ridge",
    ),
    "baselines: a class among others": (
        lambda: compare(LASSO, X, y, TASKS, baselines=["single", Ridge]),
        "each of baselines must be an object; got the class Ridge",
    ),
    "baselines: a dict of classes": (
        lambda: compare(LASSO, X, y, TASKS, baselines={"ridge": Ridge}),
        "each of baselines must be an object; got the class Ridge",
    ),
    "baselines: None": (lambda: compare(LASSO, X, y, TASKS, baselines=None), "baselines must be .* got None"),
    "tasks: scaled for new rows alone": (
        lambda: clone(LASSO).fit(X, y, tasks=CODES).predict(X, tasks=CODES / 1.5 - 0.5),
        r"not seen in fit: .* numbers as a scaler makes them of labels\. Scale the other columns only",
    ),
    "a parameter that is misspelt": (
        lambda: MultiTaskLasso(alfa=0.1),
        r"unexpected keyword argument 'alfa': did you mean 'alpha'\?",
    ),
    "a parameter that is written out": (
        lambda: MultiTaskLasso(tolerance=0.1),
        r"unexpected keyword argument 'tolerance': did you mean 'tol'\?",
    ),
    "a parameter of another model": (
        lambda: MultiTaskLasso(n_clusters=2),
        "unexpected keyword argument 'n_clusters': there are alpha, ",
    ),
    "too many by position": (
        lambda: MultiTaskLasso(0.1, 0.5),
        r"takes from 1 to 2 positional arguments but 3",
    ),
    "auto: misspelt": (lambda: MeanRegularizedRegressor("automatic").fit(X, y), "Got 'automatic' instead.$"),
    "auto: of another model": (lambda: MultiTaskLasso("auto").fit(X, y), "alpha='auto', are those of"),
    "losses: a list": (
        lambda: MixedTaskModel(losses=["squared_error", "log_loss"]).fit(X, np.c_[y, CODES > 0]),
        r"losses must be .* such as \{'height': 'squared_error', 'sick': 'log_loss'\}",
    ),
    "compare: text behind a Pipeline": (
        lambda: compare(make_pipeline(StandardScaler(), LASSO), FRAME, y, TASKS),
        r"column\(s\) \['school'\] of X are not numbers: .* name it by task_column",
    ),
    "weights: a name": (
        lambda: clone(LASSO).fit(X, y, tasks=TASKS, sample_weight="balanced"),
        "sample_weight must hold a number for each row of X; got 'balanced'",
    ),
    "search: a grid as alphas": (
        lambda: PathSearchCV(LASSO, {"alpha": [1, 2]}).fit(X, y, tasks=TASKS),
        r"alphas must be .* got \{'alpha': \[1, 2\]\}",
    ),
    "search: text as alphas": (lambda: PathSearchCV(LASSO, ["a"]).fit(X, y, tasks=TASKS), "got \\['a'\\]"),
    "search: alpha in the grid": (
        lambda: PathSearchCV(LASSO, param_grid={"alpha": [1]}).fit(X, y, tasks=TASKS),
        r"strengths are given by alphas, PathSearchCV\(model, alphas=\[...\]\)",
    ),
    "search: names as grid": (
        lambda: PathSearchCV(LASSO, param_grid=["alpha"]).fit(X, y, tasks=TASKS),
        "param_grid must be a dict of lists of values, .* got 'alpha'",
    ),
    "gains: a model": (
        lambda: TaskGainDisplay.from_comparison(LASSO),
        r"comparison must be what skmtl\.compare .* returns; got MultiTaskLasso",
    ),
}


@pytest.mark.parametrize("mistake", LIKELY)
def test_likely_mistakes(mistake):
    call, message = LIKELY[mistake]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_labels_as_a_scaler_makes_them():
    """Of a task column and of tasks=; text says that they are the labels."""
    scaled = CODES / 1.5 - 0.5
    column = make_pipeline(StandardScaler(), clone(LASSO).set_params(task_column=-1))
    with pytest.warns(
        UserWarning, match=r"^task_column=-1 holds .* as a scaler makes them .* Scale the other"
    ):
        column.fit(NUMERIC, y)
    for model in (LASSO, SEARCH, SingleTask(Ridge())):
        with pytest.warns(UserWarning, match=r"^tasks holds 3 different numbers .* If these .* as text"):
            clone(model).fit(X, y, tasks=scaled)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(LASSO).fit(X, y, tasks=scaled.astype(str))
        clone(LASSO).fit(X, y, tasks=CODES + 0.5)  # doses, say
        clone(LASSO).fit(X, y, tasks=CODES.astype(float))


def test_columns_of_y_in_units_that_are_far_apart():
    Y = np.column_stack([y, 20 * y + X[:, 0]])
    with pytest.warns(UserWarning, match="columns of y are more than 10-fold apart.* divide each by its own"):
        clone(LASSO).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for alike in (Y / [1, 20], np.where([False, True], 3.3, Y), Y / [1, 4]):
            clone(LASSO).fit(X, alike)


def test_numbers_as_text_are_numbers_for_compare_too():
    options = {"cv": 2, "baselines": ["single"]}
    found, wanted = (compare(LASSO, X, one, TASKS, **options).table for one in (y.astype(str), y))
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), wanted.drop(columns="seconds"))


def test_a_target_of_one_column():
    """As fit does, whatever the frame it stands in."""
    frame = pd.DataFrame({"y": y})
    for call in (
        lambda target: compare(LASSO, X, target, TASKS, cv=2, baselines=()).table["mean"].tolist(),
        lambda target: clone(SEARCH).fit(X, target, tasks=TASKS).best_score_,
    ):
        with pytest.warns(DataConversionWarning, match="column-vector y"):
            found = call(frame)
        assert found == call(y)


FORMS = {
    "array": lambda table: table,
    "list": lambda table: table.tolist(),
    "frame": lambda table: pd.DataFrame(table, columns=list("abcde")),
    "polars": lambda table: polars.DataFrame(table, schema=list("abcde")),
    "rows in order": sparse.csr_array,
    "columns in order": sparse.csc_array,
}


@pytest.mark.parametrize("form", FORMS)
def test_tasks_among_the_features(form):
    """Told by every fit that is given tasks=, and only where all rows that count are equal."""
    table = FORMS[form](NUMERIC)
    named_column = r"\['e'\]" if form in ("frame", "polars") else r"\[4\]"
    scaled = PathSearchCV(make_pipeline(StandardScaler(with_mean=False), MultiTaskLasso()), 2, cv=2)
    for model in (clone(LASSO), clone(SEARCH), SingleTask(Ridge()), scaled):
        with pytest.warns(UserWarning, match=rf"^the column\(s\) {named_column} of X equal tasks: .* Drop"):
            model.fit(table, y, tasks=CODES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (CODES + 1, changed(CODES, 1, at=0), TASKS, CODES * 2 % 3):
            clone(LASSO).fit(table, y, tasks=other)
        clone(LASSO).fit(NUMERIC * 0, y, tasks=CODES * 0)
        for kind in (lambda code: ("a", code), lambda code: np.datetime64("2020-01-01") + code):
            clone(LASSO).fit(table, y, tasks=[kind(code) for code in CODES.tolist()])
    weight = (np.arange(N) > 5).astype(float)
    with pytest.warns(UserWarning, match="equal tasks"):
        clone(LASSO).fit(table, y, tasks=changed(CODES, 1, at=0), sample_weight=weight)


def test_messages_name_what_says_the_task_of_a_row():
    """The column of X where there is one, and tasks where they are given, everywhere alike."""
    model = MultiTaskLasso(task_column="school")
    without = FRAME.assign(school=changed(TASKS, None, dtype=object))
    other = FRAME.assign(school=changed(TASKS, "oak"))
    plain = FRAME[[*"abcd"]]
    calls = [
        lambda X: clone(model).fit(X, y),
        lambda X: PathSearchCV(model, 2).fit(X, y),
        lambda X: list(TaskKFold(2, task_column="school").split(X)),
        lambda X: compare(model, X, y, baselines=["single"]),
        lambda X: compare(MultiTaskLasso(), X, y, task_column="school", baselines=["single"]),
        lambda X: TaskConformalRegressor(model).fit(X, y),
        lambda X: TasksFromColumn(Ridge(), "school").fit(X, y),
        lambda X: clone(model).fit(FRAME, y).predict(X),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^task_column='school' has 1 missing label \(first at row 7\)"):
            call(without)
    with pytest.raises(ValueError, match=r"^tasks has 1 missing label \(first at row 7\)"):
        MultiTaskLasso().fit(plain, y, tasks=without["school"])
    with pytest.raises(
        ValueError, match=r"^task_column='school' has 1 label\(s\) not seen in fit: \['oak'\]"
    ):
        clone(model).fit(FRAME, y).predict(other)
    with pytest.raises(
        ValueError, match=r"^task_column='school' has 1 label\(s\) not seen in fit: \['oak'\]"
    ):
        TaskConformalRegressor(model.set_params(handle_unknown="average")).fit(FRAME, y).predict_interval(
            other
        )


MISSPELT = {
    "baselines": (lambda: compare(LASSO, X, y, TASKS, baselines=["single", "poled"]), "pooled"),
    "reference": (lambda: compare(LASSO, X, y, TASKS, reference="singel"), "single"),
    "candidates": (lambda: suggest(X, y, TASKS, candidates=["TraceNormRegresor"]), "TraceNormRegressor"),
    "tasks of a graph": (
        lambda: GraphRegularizedRegressor(graph=[("ash", "brich")]).fit(X, y, tasks=TASKS),
        "birch",
    ),
    "tasks of a mapping": (
        lambda: MultiTaskLasso(task_weight={"ash": 1, "brich": 2, "cedar": 1}).fit(X, y, tasks=TASKS),
        "birch",
    ),
    "feature of a picture": (
        lambda: ShrinkageDisplay.from_estimator(
            MultiTaskLasso(task_column="school").fit(FRAME.rename(columns={"a": "rainfall"}), y),
            FRAME.rename(columns={"a": "rainfall"}), y, feature="ranfall",
        ),
        "rainfall",
    ),
    "model of a picture": (
        lambda: compare({"mine": LASSO}, X, y, TASKS, baselines=["single"]).plot(model="singel"),
        "single",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISSPELT)
def test_misspelt_names_are_recognised(what):
    call, wanted = MISSPELT[what]
    with pytest.raises(ValueError, match=rf" Did you mean '{wanted}'\?$"):
        call()


def test_names_of_models_that_are_those_of_baselines_are_told():
    with pytest.raises(
        ValueError, match=r"share a name: \['mean'\]\. .*compare\(\{'my mean': model\}, \.\.\.\)"
    ):
        compare({"mean": LASSO, "mine": LASSO}, X, y, TASKS)


def test_y_in_the_place_of_tasks_in_batches():
    batches = [(X[:30], CODES[:30], y[:30]), (X[30:], CODES[30:], y[30:])]
    for n_folds in (None, 2):
        with pytest.raises(
            ValueError, match="tasks must name the task of each row; got 60 different numbers"
        ):
            TaskStatistics.from_batches(batches, n_folds=n_folds)


def test_a_prox_of_another_shape_is_refused():
    """It would be broadcast, and fit another model."""

    class OneForAll(Penalty):
        def __init__(self, alpha=1.0):
            self.alpha = alpha

        def value(self, W):
            return self.alpha * float(np.abs(W).sum())

        def prox(self, W, step):
            return W[0] * 0.5

    with pytest.raises(
        ValueError, match=r"OneForAll.prox must return an array of the shape of W, \(3, 4\); got \(4,\)"
    ):
        MultiTaskRegressor(penalty=OneForAll()).fit(X, y, tasks=TASKS)


def test_what_is_no_number_or_has_no_order_is_named():
    X = np.random.default_rng(0).normal(size=(12, 3))
    y, tasks, text = X[:, 0], np.arange(12) % 3, ["a"] * 12
    for name in ("sample_weight", "offset"):
        with pytest.raises(ValueError, match=f"{name} must hold numbers: could not convert"):
            MeanRegularizedRegressor().fit(X, y, tasks=tasks, **{name: text})
    with pytest.raises(TypeError, match="covariance must hold numbers"):
        MeanRegularizedRegressor("auto", covariance={"a": 1}).fit(X, y, tasks=tasks)
    with pytest.raises(TypeError, match=r"y mixes labels that cannot be sorted \(int, str\)"):
        GroupSparseClassifier().fit(X, np.array(["a", 1] * 6, dtype=object), tasks=tasks)
    for alphas in ([], True):
        with pytest.raises(ValueError, match="alphas must be a number of strengths or a list of numbers"):
            PathSearchCV(MultiTaskLasso(), alphas).fit(X, y, tasks=tasks)
    with pytest.raises(ValueError, match="positive=True, needs Features, Tasks or Entries"):
        RobustRegressor(shared="subspace", positive=True).fit(X, y, tasks=tasks)
    with pytest.raises(TypeError, match="preprocessor must be a transformer"):
        suggest(X, y, tasks, preprocessor="scale")


def test_statistics_add_up_by_sum():
    X = np.random.default_rng(0).normal(size=(12, 3))
    parts = [
        TaskStatistics.from_arrays(X[at], X[at, 0], tasks=at % 2) for at in (np.arange(6), np.arange(6, 12))
    ]
    assert_allclose(sum(parts).xx, (parts[0] + parts[1]).xx)
    with pytest.raises(TypeError):
        sum(parts, start=1)
