"""What users pass: columns, labels, targets and weights mean the same in every form, or are refused."""

import datetime
import re
import warnings
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import cut_networks, named, task_estimators
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import (
    GraphRegularizedRegressor,
    GroupSparseRegressor,
    IncompleteMultiSourceRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskLasso,
    MultiTaskMLP,
    MultiTaskMLPClassifier,
    MultiTaskMLPRegressor,
    MultiTaskRegressor,
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskConformalRegressor,
    TaskKFold,
    TaskResidual,
    TaskShuffleSplit,
    TaskStatistics,
    TraceNormRegressor,
    compare,
    path,
    stability_selection,
    stack_tasks,
    suggest,
)
from skmtl._labels import encode_tasks
from skmtl.losses import Huber, Logistic, Multinomial, SquaredHinge
from skmtl.metrics import per_task_score, task_scorer
from skmtl.penalties import Ridge as Ridge_
from skmtl.solvers import make_task_data

pytestmark = cut_networks

rng = np.random.default_rng(0)
N = 60
X = rng.normal(size=(N, 3))
CODES = rng.permutation(np.arange(N) % 3)
y = X @ [1.0, -1.0, 0.5] + CODES + 0.3 * rng.normal(size=N)
Y = np.column_stack([y, -y, y + X[:, 0]])
MODELS = {
    "mean": MeanRegularizedRegressor(0.1),
    "lasso": MultiTaskLasso(0.1),
    "classifier": MeanRegularizedClassifier(0.1),
    "single": SingleTask(Ridge()),
    "pooled": Pooled(Ridge(), task_indicators=True),
    "mixed": MixedTaskModel(0.1),
    "network": MultiTaskMLPRegressor(hidden_layer_sizes=(3,), max_iter=3, alpha=0.1, random_state=0),
}


def target(model):
    return np.where(y > 0.5, "yes", "no") if is_classifier(model) else y


def predicted(model, *rows, **tasks):
    return clone(model).fit(rows[0], target(model), **tasks).predict(rows[-1], **tasks)


def same(found, expected):
    """Equal up to the order of operations."""
    if found.dtype.kind == "f":
        assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    else:
        assert_array_equal(found, expected)


# --- columns --------------------------------------------------------------------------------

NAMES = {
    "integers": [3, 0, 1, 2],
    "repeated": ["a", "b", "a", "b"],
    "booleans": [True, False, True, False],
    "pairs": pd.MultiIndex.from_tuples([("u", "a"), ("u", "b"), ("v", "a"), ("v", "b")]),
    "texts of integers": ["3", "0", "1", "2"],
}


@pytest.mark.parametrize("name", MODELS)
def test_an_integer_is_a_position_whatever_the_names(name):
    expected = predicted(MODELS[name], X, tasks=CODES)
    for at, names in product([0, 2, -1, -4], NAMES):
        frame = pd.DataFrame(np.insert(X, at % 4, CODES, axis=1), columns=NAMES[names])
        model = clone(MODELS[name]).set_params(task_column=at)
        with named((at, names)):
            found = model.fit(frame, target(model)).predict(frame)
            assert model.tasks_.tolist() == [0, 1, 2]
            same(found, expected)


@pytest.mark.parametrize("names", NAMES)
def test_splitters_take_an_integer_for_a_position(names):
    frame = pd.DataFrame(np.insert(X, 2, CODES, axis=1), columns=NAMES[names])
    for cls, given in (
        (TaskKFold, {"n_splits": 3}),
        (TaskShuffleSplit, {"train_size": 0.5, "random_state": 0}),
    ):
        plain = cls(**given).split(X, tasks=CODES)
        for found, expected in zip(cls(**given, task_column=2).split(frame), plain, strict=True):
            assert_array_equal(found[0], expected[0])
            assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("name", MODELS)
def test_a_text_is_a_name_always(name):
    frame = pd.DataFrame(np.insert(X, 1, CODES, axis=1), columns=["1", "3", "0", "2"])
    model = clone(MODELS[name]).set_params(task_column="3")
    same(model.fit(frame, target(model)).predict(frame), predicted(MODELS[name], X, tasks=CODES))
    with pytest.raises(ValueError, match="task_column='x' is not a column of X"):
        model.set_params(task_column="x").fit(frame, target(model))


def test_a_name_of_two_columns_is_refused():
    frame = pd.DataFrame(np.insert(X, 1, CODES, axis=1), columns=list("abca"))
    with pytest.raises(ValueError, match=r"task_column='a' names 2 columns of X, at the positions \[0, 3\]"):
        MultiTaskLasso(task_column="a").fit(frame, y)
    with pytest.raises(ValueError, match=r"sources: 'a' names 2 columns"):
        IncompleteMultiSourceRegressor(sources=[["a"], ["b", "c"]]).fit(frame, y)
    with pytest.raises(ValueError, match="task_column=True is not a column of X"):
        MultiTaskLasso(task_column=True).fit(frame, y)


def test_polars_columns_by_position_and_name():
    frame = pl.DataFrame({"a": X[:, 0], "t": CODES, "b": X[:, 1], "c": X[:, 2]})
    expected = predicted(MODELS["mean"], X, tasks=CODES)
    for column in (1, -3, "t"):
        model = MeanRegularizedRegressor(0.1, task_column=column).fit(frame, y)
        same(model.predict(frame), expected)


# --- labels ---------------------------------------------------------------------------------

DAYS = np.array(["2020-01-01", "2020-02-01", "2020-03-01"], "datetime64[D]")
FORMS = {
    "ns": DAYS.astype("datetime64[ns]"),
    "seconds": DAYS.astype("datetime64[s]"),
    "D": DAYS,
    "M": DAYS.astype("datetime64[M]"),
    "date": np.array([datetime.date(2020, m, 1) for m in (1, 2, 3)]),
    "datetime": np.array([datetime.datetime(2020, m, 1) for m in (1, 2, 3)]),
    "Timestamp": np.array([pd.Timestamp(2020, m, 1) for m in (1, 2, 3)], dtype=object),
}


@pytest.mark.parametrize("fitted", FORMS)
@pytest.mark.parametrize("asked", FORMS)
def test_dates_are_found_at_any_resolution(fitted, asked):
    model = MultiTaskLasso(0.1, handle_unknown="average").fit(X, y, tasks=FORMS[fitted][CODES])
    own = model.predict(X, tasks=FORMS[fitted][CODES])
    assert_array_equal(model.predict(X, tasks=FORMS[asked][CODES]), own)
    weights = dict(zip(FORMS[asked].tolist() if asked != "ns" else FORMS[asked], [1, 2, 3], strict=True))
    weighted = MultiTaskLasso(0.1, task_weight=weights).fit(X, y, tasks=FORMS[fitted][CODES])
    expected = MultiTaskLasso(0.1, task_weight=[1, 2, 3]).fit(X, y, tasks=CODES)
    assert_array_equal(weighted.coef_, expected.coef_)


@pytest.mark.parametrize("kind", "bBhHiIlL")
def test_integers_that_lie_close_are_told_apart_without_sorting(kind, monkeypatch, rng):
    ends = np.iinfo(kind)
    few = [(ends.min, ends.min + 255), (ends.max - 255, ends.max), (0, 9)]
    given = [rng.integers(*ends_of, size=100, dtype=kind, endpoint=True) for ends_of in few]
    wanted = [np.unique(labels, return_inverse=True) for labels in given]
    monkeypatch.delattr(np, "unique")
    for labels, (names, codes) in zip(given, wanted, strict=True):
        found = encode_tasks(labels)
        assert found[0].dtype == labels.dtype
        assert_array_equal(found[0], names)
        assert_array_equal(found[1], codes)


def test_moments_that_differ_are_different_labels():
    fine = np.datetime64("2020-01-01T00:00:00.000000001", "ns")
    model = MultiTaskLasso(0.1).fit(X, y, tasks=DAYS[CODES])
    with pytest.raises(ValueError, match=r"not seen in fit: \['2020-01-01T00:00:00.0+1'\].*'2020-01-01'"):
        model.predict(X[:1], tasks=[fine])
    far = np.array(["9999-01-01"], "datetime64[D]")  # beyond the range of nanoseconds
    model = MultiTaskLasso(0.1).fit(X, y, tasks=FORMS["ns"][CODES])
    with pytest.raises(ValueError, match=r"not seen in fit: \['9999-01-01'\]"):
        model.predict(X[:1], tasks=far)


@pytest.mark.parametrize(
    "labels",
    [
        [2**53, 2**53 + 1, 2**53 + 2],
        [-1, 2**63, 2**63 + 1],
        [2**70, 2**70 + 1, 2**70 + 2],
        [("a", 1), ("a", 2), ("b", 1)],
        [("a",), ("a", "b"), ("c",)],
        [b"a", b"b", b"c"],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", MODELS)
def test_labels_of_any_kind_stay_apart(name, labels):
    given = [labels[code] for code in CODES]
    model = clone(MODELS[name]).fit(X, target(MODELS[name]), tasks=given)
    assert model.tasks_.tolist() == labels
    same(model.predict(X, tasks=given), predicted(MODELS[name], X, tasks=CODES))
    same(model.predict(X[:5], tasks=given[:5]), model.predict(X, tasks=given)[:5])


@pytest.mark.parametrize(
    "labels", [["a", "a\0", "b", "b\0"], ["", "\0", "\0\0", "a"], [b"a", b"a\0", b"b", b"c"]], ids=repr
)
def test_texts_that_end_in_nul_stay_apart(labels):
    *labels, last = labels
    given = [labels[code] for code in CODES]
    frame = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "t": given}
    for name in MODELS:
        expected = predicted(MODELS[name], X, tasks=CODES)
        for form in (given, tuple(given), pd.Series(given), pl.Series(given)):
            model = clone(MODELS[name]).fit(X, target(MODELS[name]), tasks=form)
            assert model.tasks_.tolist() == labels
            same(model.predict(X, tasks=form), expected)
        model = clone(MODELS[name]).set_params(task_column="t")
        for table in (pd.DataFrame(frame), pl.DataFrame(frame)):
            assert model.fit(table, target(model)).tasks_.tolist() == labels
            same(model.predict(table), expected)
    added = MeanRegularizedRegressor().fit(X, y, tasks=given).fit_task(X[:9], y[:9], task=last)
    assert added.tasks_.tolist() == [*labels, last]
    assert list(per_task_score("r2", y, y, given)) == labels
    assert TaskStatistics.from_arrays(X, y, given).tasks.tolist() == labels


def test_columns_and_classes_that_end_in_nul_stay_apart():
    names = ["a", "a\0", "b"]
    assert MultiTaskLasso(0.1).fit(X, pd.DataFrame(Y[:, :3], columns=names)).tasks_.tolist() == names
    labels = [names[code] for code in np.digitize(y, np.quantile(y, [0.3, 0.6]))]
    for goal in (labels, pd.Series(labels), pl.Series(labels)):
        model = MeanRegularizedClassifier(0.1).fit(X, goal, tasks=CODES)
        assert model.classes_.tolist() == names and model.score(X, goal, tasks=CODES) > 0.5
        assert set(model.predict(X, tasks=CODES)) == set(names)


@pytest.mark.parametrize("name", MODELS)
def test_labels_without_an_order_are_refused(name):
    """Sorting would not bring the equal ones together."""
    sets = [frozenset({code, code + 5}) for code in CODES]
    message = "tasks holds labels of the type frozenset without an order among them; use text"
    with pytest.raises(TypeError, match=message):
        clone(MODELS[name]).fit(X, target(MODELS[name]), tasks=sets)
    nested = [frozenset(range(code)) for code in CODES]
    model = clone(MODELS[name]).fit(X, target(MODELS[name]), tasks=nested)
    assert model.tasks_.tolist() == [frozenset(range(code)) for code in range(3)]
    same(model.predict(X, tasks=nested), predicted(MODELS[name], X, tasks=CODES))


def test_dates_that_cannot_be_compared_are_refused():
    zoned = [pd.Timestamp(2020, 1 + code, 1, tz="UTC" if code else None) for code in CODES]
    with pytest.raises(TypeError, match="labels of the type Timestamp without an order among them"):
        MultiTaskLasso(0.1).fit(X, y, tasks=zoned)


def test_tuples_name_tasks_everywhere():
    labels = [("a", 1), ("a", 2), ("b", 1)]
    given = [labels[code] for code in CODES]
    blocks = {label: (X[t == CODES], y[t == CODES]) for t, label in enumerate(labels)}
    stacked, target_, tasks = stack_tasks(blocks)
    graph = {(labels[0], labels[1]): 1.0}
    model = GraphRegularizedRegressor(graph=graph, ridge=0.1).fit(X, y, tasks=given)
    assert_allclose(model.coef_, clone(model).fit(stacked, target_, tasks=tasks).coef_, rtol=1e-6)
    assert clone(model).set_params(graph=None).fit(X, y, tasks=given).fit_task(
        X[:9], y[:9], task=("c", 1)
    ).tasks_.tolist() == [*labels, ("c", 1)]
    assert [len(test) for _, test in TaskKFold(3).split(X, y, tasks=given)] == [20, 20, 20]


@pytest.mark.parametrize(
    "tasks, message",
    [
        ("school", r"tasks must be one label per row.*set task_column='school' in the constructor"),
        ([[0, 1], [2]], r"tasks must be one label per row, shape \(n_samples,\); .*inhomogeneous"),
        ({"a": [0, 1]}, "tasks must be an array of one label per row; got a dict"),
        (np.ma.masked_array(CODES, CODES == 1), "tasks has 20 missing labels"),
        (y, r"tasks must name the task of each row; got 60 different numbers in 60 rows.*pandas.cut"),
    ],
    ids=["text", "ragged", "dict", "masked", "measured"],
)
def test_tasks_that_are_no_labels(tasks, message):
    for name in ("mean", "single", "network"):
        with pytest.raises((ValueError, TypeError), match=message):
            clone(MODELS[name]).fit(X, y, tasks=tasks)


def test_a_scaled_task_column_is_said():
    table = StandardScaler().fit_transform(np.column_stack([X, CODES]))
    with pytest.warns(UserWarning, match=r"task_column=-1 holds 3 different.*remainder='passthrough'"):
        MultiTaskLasso(task_column=-1).fit(table, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultiTaskLasso(0.1).fit(X, y, tasks=CODES + 0.5)  # doses, say
        MultiTaskLasso(0.1, task_column=-1).fit(np.column_stack([X, CODES]), y)


def test_learning_curve_of_first_rows_names_the_way_out():
    model = MultiTaskLasso(0.1, task_column=-1)
    order = np.argsort(CODES, kind="stable")
    table = np.column_stack([X, CODES])[order]
    with pytest.raises(ValueError, match=r"learning_curve takes the first rows.*shuffle=True"):
        learning_curve(model, table, y[order], cv=TaskKFold(3, task_column=-1), train_sizes=[0.2, 1.0])


# --- targets, masks and weights -------------------------------------------------------------

MISSING = np.zeros(Y.shape, dtype=bool)
MISSING[::7, 1] = True
ROUND = np.where(MISSING, np.nan, np.round(4 * Y))


def nullable(kind):
    """ROUND, or its signs as text or boolean, in a nullable form; and the same in arrays."""
    if kind in ("string", "boolean", "category"):
        words = {"boolean": np.where(MISSING, None, ROUND > 0)}.get(
            kind, np.where(MISSING, None, np.where(ROUND > 0, "a", "b"))
        )
        return pd.DataFrame(words).astype(kind), words
    if kind == "masked":
        return np.ma.masked_array(np.where(MISSING, 1e9, ROUND), MISSING), ROUND
    if kind == "polars":
        return pl.DataFrame(np.where(MISSING, None, ROUND).astype(object).tolist(), orient="row"), ROUND
    if kind == "list":
        return np.where(MISSING, pd.NA, ROUND.astype(object)).tolist(), ROUND
    return pd.DataFrame(ROUND).astype(kind), ROUND


@pytest.mark.parametrize(
    "kind", ["Int64", "Float64", "string", "boolean", "category", "masked", "polars", "list"]
)
def test_na_is_a_missing_label_from_fit_to_compare(kind):
    given, plain = nullable(kind)
    classes = plain.dtype == object
    model = MeanRegularizedClassifier(0.1) if classes else MeanRegularizedRegressor(0.1)
    fitted, reference = clone(model).fit(X, given), clone(model).fit(X, plain)
    assert_allclose(fitted.coef_, reference.coef_, rtol=1e-12)
    assert fitted.score(X, given) == pytest.approx(reference.score(X, plain), rel=1e-12)
    if kind == "list":
        return
    searches = [PathSearchCV(model, [0.1, 1.0], cv=3).fit(X, Z).cv_results_ for Z in (given, plain)]
    assert_allclose(searches[0]["mean_test_score"], searches[1]["mean_test_score"], rtol=1e-9)
    if kind in ("string", "category"):
        return  # as boolean
    tables = [compare(model, X, Z, cv=3, baselines=("single", "pooled")).table for Z in (given, plain)]
    assert_allclose(tables[0]["mean"], tables[1]["mean"], rtol=1e-9)


@pytest.mark.parametrize("loss", [Logistic(), SquaredHinge(), Multinomial(3)], ids=repr)
@pytest.mark.parametrize(
    "model", [MeanRegularizedRegressor, MultiTaskMLPRegressor, MixedTaskModel, MultiTaskMLP]
)
def test_losses_of_classes_are_not_for_numbers(model, loss):
    """The predictions would be log-odds."""
    given = {"loss": loss} if hasattr(model(), "loss") else {"losses": {0: loss, 1: "huber", 2: loss}}
    with pytest.raises(ValueError, match=rf"loss={re.escape(repr(loss))} is of classes.* use a classifier"):
        model(**given).fit(X, (y > 0).astype(float), tasks=CODES)


ANY_ORDER = ["mean", "lasso", "single", "pooled", "mixed", "network"]


@pytest.mark.parametrize("name", ANY_ORDER)
def test_columns_that_name_the_tasks_in_another_order_are_refused(name):
    """Columns are taken as they stand: the score would be that of other tasks, as would be weights."""
    frame = pd.DataFrame(Y, columns=["a", "b", "c"])
    other, model = frame[["b", "a", "c"]], clone(MODELS[name])
    weights = {"sample_weight": other.abs()} if name != "lasso" else {}
    offsets = {"offset": other} if name in ("mean", "network") else {}
    for key, given in {**weights, **offsets}.items():
        with pytest.raises(ValueError, match=rf"columns of {key} .* order \['b', 'a', 'c'\]"):
            clone(model).fit(X, frame, **{key: given})
    model.fit(X, frame)
    assert model.score(X, frame) == model.score(X, Y) == model.score(X, frame.set_axis([0, 1, 2], axis=1))
    search = PathSearchCV(MODELS["mean"], [0.1], cv=3).fit(X, frame)
    scorer = task_scorer("r2")
    for score in (model.score, search.score, lambda X, y: scorer(model, X, y)):
        with pytest.raises(ValueError, match=r"columns of y .* order \['b', 'a', 'c'\]"):
            score(X, other)
    if hasattr(model, "partial_fit"):
        with pytest.raises(ValueError, match=r"columns of y .* order \['b', 'a', 'c'\]"):
            model.partial_fit(X, other)


@pytest.mark.parametrize("key", ["sample_weight", "offset"])
def test_other_calls_refuse_columns_in_another_order(key):
    frame, sparse_model = pd.DataFrame(Y, columns=["a", "b", "c"]), GroupSparseRegressor()
    given = {key: frame[["c", "a", "b"]].abs()}
    calls = [
        lambda: PathSearchCV(sparse_model, 2, cv=3).fit(X, frame, **given),
        lambda: path(sparse_model, X, frame, alphas=2, **given),
        lambda: stability_selection(sparse_model, X, frame, **given),
        {
            "sample_weight": lambda: TaskStatistics.from_arrays(X, frame, **given),
            "offset": lambda: compare(sparse_model, X, frame, cv=2, **given),
        }[key],
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"columns of {key} .* order \['c', 'a', 'b'\]"):
            call()


def dictionary(values):
    """A column of pyarrow that holds positions in a dictionary, as of categories of pandas."""
    return pa.chunked_array([pa.array(values, from_pandas=True).dictionary_encode()])


@pytest.mark.parametrize("name", ["mean", "single", "network"])
@pytest.mark.parametrize("of", ["tasks", "task_column", "X", "y"])
def test_null_of_a_dictionary_of_pyarrow_is_missing(name, of):
    """NumPy reads it as the last value, which would be another task, class or number without a word."""
    labels = np.array(["a", "b", "c"], dtype=object)[CODES]
    known = labels.copy()
    labels[7], known[7] = None, "a"
    given = dictionary(labels)
    model, half = clone(MODELS[name]), pd.Series(np.round(X[:, 0])).where(np.arange(N) != 7)
    table = pa.table({"x": X[:, 0], "half": dictionary(half)})
    with pytest.raises(ValueError, match=r"missing label|NaN"):
        if of == "tasks":
            model.fit(X, y, tasks=given)
        elif of == "task_column":
            model.set_params(task_column="task").fit(table.append_column("task", given), y)
        else:
            model.fit(table if of == "X" else X, y if of == "X" else dictionary(half), tasks=known)


def test_dictionary_of_pyarrow_in_several_columns_of_y():
    words = np.where(MISSING, None, np.where(ROUND > 0, "a", "b"))
    given = pa.table({str(j): dictionary(column) for j, column in enumerate(words.T)})
    fitted, reference = (MeanRegularizedClassifier(0.1).fit(X, Z) for Z in (given, words))
    assert_allclose(fitted.coef_, reference.coef_, rtol=1e-12)


@pytest.mark.parametrize("kind", ["Int64", "Float64", "boolean", "string"])
@pytest.mark.parametrize("name", ["mean", "classifier", "single", "network"])
def test_nullable_targets_and_features_without_na(name, kind):
    if (kind in ("boolean", "string")) != is_classifier(MODELS[name]):
        return
    values = {"boolean": y > 0.5, "string": target(MODELS["classifier"])}.get(kind, np.round(y * 4))
    frame = pd.DataFrame(np.round(10 * X)).astype("Int64")
    tasks = pd.Series(CODES, dtype="Int64")
    model = clone(MODELS[name]).fit(frame, pd.Series(values, dtype=kind), tasks=tasks)
    expected = clone(MODELS[name]).fit(np.round(10 * X), values, tasks=CODES)
    same(model.predict(frame, tasks=tasks), expected.predict(np.round(10 * X), tasks=CODES))
    score = expected.score(np.round(10 * X), values, tasks=CODES)
    assert model.score(frame, pd.Series(values, dtype=kind), tasks=tasks) == pytest.approx(score)


@pytest.mark.parametrize("name", MODELS)
def test_masks_that_nothing_would_see_are_refused(name):
    model, mask = clone(MODELS[name]), np.zeros(X.shape, dtype=bool)
    assert_array_equal(
        clone(model).fit(np.ma.masked_array(X, mask), target(model), tasks=CODES).predict(X, tasks=CODES),
        predicted(model, X, tasks=CODES),
    )
    mask[3, 1] = True
    with pytest.raises(ValueError, match="X is a masked array with 1 masked entries"):
        model.fit(np.ma.masked_array(X, mask), target(model), tasks=CODES)
    with pytest.raises(ValueError, match="sample_weight is a masked array with 1 masked"):
        model.fit(X, target(model), tasks=CODES, sample_weight=np.ma.masked_array(np.ones(N), mask[:, 1]))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model.fit(X, np.ma.masked_array(target(model), mask[:, 1]), tasks=CODES)


@pytest.mark.parametrize(
    "use",
    [
        lambda X, y: suggest(X, y, CODES, candidates=["single"]),
        lambda X, y: compare(make_pipeline(StandardScaler(), GroupSparseRegressor()), X, y, CODES),
        lambda X, y: PathSearchCV(make_pipeline(StandardScaler(), GroupSparseRegressor()), [1.0]).fit(
            X, y, tasks=CODES
        ),
        lambda X, y: TaskStatistics.from_arrays(X, y, CODES),
        lambda X, y: TaskStatistics.from_batches([(X, y, CODES)], n_folds=2),
        lambda X, y: make_task_data(X, y, CODES),
    ],
    ids=["suggest", "compare", "search", "statistics", "batches", "data"],
)
def test_masks_are_refused_in_front_of_all_that_would_not_see_them(use):
    """A scaler, and moments, took what is behind the mask for numbers."""
    mask = np.zeros(X.shape, dtype=bool)
    mask[3, 1] = True
    with pytest.raises(ValueError, match="X is a masked array with 1 masked entries"):
        use(np.ma.masked_array(X, mask), X[:, 0])


def test_masked_predictions_are_refused():
    with pytest.raises(ValueError, match="y_pred is a masked array with 1 masked entries"):
        per_task_score("r2", [1.0, 2.0], np.ma.masked_array([1.0, 2.0], [True, False]))


def test_suggest_names_a_target_with_missing_labels():
    """Also where these are in the first test set."""
    y, folds = np.where(np.arange(N) < 3, np.nan, X[:, 0]), np.arange(N).reshape(2, -1)
    with pytest.raises(ValueError, match=r"Input y contains NaN .*drop the row"):
        suggest(X, y, CODES, candidates=["single"], cv=[folds[::-1], folds])


def test_stacked_blocks_keep_their_masks():
    _, stacked, _ = stack_tasks([(X, np.ma.masked_array(y, np.arange(N) == 3)), (X, y)])
    assert np.flatnonzero(np.isnan(stacked)).tolist() == [3]
    with pytest.raises(ValueError, match="X of task 'b' is a masked array with 1 masked"):
        stack_tasks({"a": (X, y), "b": (np.ma.masked_array(X, np.arange(3 * N).reshape(N, 3) == 4), y)})


@pytest.mark.parametrize("size", [1e308, 1e150, 1e-150, 1e-300, 1e-308])
@pytest.mark.parametrize("task_weight", [None, "samples"])
@pytest.mark.parametrize("layout", ["stacked", "shared", "missing"])
def test_weights_are_ratios(size, task_weight, layout):
    weight, Z = rng.uniform(0.1, 1, N), ROUND if layout == "missing" else Y
    given = {"X": X, "y": y, "tasks": CODES} if layout == "stacked" else {"X": X, "y": Z}
    for cls in (MultiTaskLasso, TraceNormRegressor, MeanRegularizedRegressor):
        model = cls(0.1, task_weight=task_weight, tol=1e-8)
        expected = clone(model).fit(**given, sample_weight=weight).coef_
        assert_allclose(model.fit(**given, sample_weight=size * weight).coef_, expected, rtol=1e-6, atol=1e-9)


def test_weights_of_one_task_are_ratios():
    weight = rng.uniform(0.1, 1, N)
    expected = MultiTaskLasso(0.1).fit(X, y, tasks=CODES, sample_weight=weight).coef_
    tiny = MultiTaskLasso(0.1).fit(
        X, y, tasks=CODES, sample_weight=np.where(CODES == 1, 1e-310, 1.0) * weight
    )
    assert_allclose(tiny.coef_, expected, rtol=1e-6)


def test_moments_of_large_weights_are_theirs():
    """Statistics are merged: their weights are not ratios."""
    heavy = TaskStatistics.from_arrays(X, y, CODES, sample_weight=np.full(N, 2.0**150))
    plain = TaskStatistics.from_arrays(X, y, CODES)
    for name in ("weight", "xx", "xy", "yy"):
        assert_allclose(getattr(heavy, name), 2.0**150 * getattr(plain, name), rtol=1e-14)


def test_folds_weigh_what_their_rows_weigh():
    """Also where the weights of one fold are of another size."""
    weight, cv = np.where(np.arange(N) < N // 3, 2.0**110, 1.0), TaskKFold(3)
    search = PathSearchCV(MultiTaskLasso(tol=1e-10), alphas=[0.1, 0.01], cv=cv)
    found = search.fit(X, y, tasks=CODES, sample_weight=weight).cv_results_
    for k, (train, test) in enumerate(cv.split(X, y, tasks=CODES)):
        for place, alpha in enumerate((0.1, 0.01)):
            model = MultiTaskLasso(alpha).fit(
                X[train], y[train], tasks=CODES[train], sample_weight=weight[train]
            )
            score = model.score(X[test], y[test], weight[test], tasks=CODES[test])
            assert_allclose(found[f"split{k}_test_score"][place], score, atol=1e-3)


# --- the way out ----------------------------------------------------------------------------

DATES = pd.DataFrame({"a": X[:, 0], "when": pd.date_range("2020-01-01", periods=N), "b": X[:, 1]})


@pytest.mark.parametrize(
    "features, target_, message",
    [
        ({"a": X[:, 0]}, y, r"X must be .*got a dict with the keys \['a'\].*stack_tasks.*DataFrame"),
        ([X[:30], X[30:]], y, r"X must be .*got a list of 2 arrays.*stack_tasks"),
        ([X[:20], X[20:]], [y[:20], y[20:]], r"X must be .*got a list of 2 arrays.*stack_tasks"),
        (X, {"a": y}, r"y must be .*got a dict"),
        (X, [y[:20], y[20:]], r"y must have shape .*stack_tasks"),
        (DATES, y, r"The column\(s\) \['when'\] of X are not numbers.*dates"),
        (DATES[["when"]], y, r"^The column\(s\) \['when'\] of X are not numbers.*dates"),
        (DATES[["when"]].to_numpy(), y, r"^The column\(s\) \[0\] of X are not numbers.*dates"),
        (DATES.to_numpy(), y, r"The column\(s\) \[1\] of X are not numbers.*dates"),
        (np.where(np.arange(3) == 1, "x", X.astype("U9")), y, r"The column\(s\) \[1\] of X are not numbers"),
        (X, np.where(y > 0, "a", "b"), r"y must hold numbers .*'[ab]'.*Classifier"),
        (X, DATES["when"], r"y must hold numbers .*datetime64"),
    ],
    ids=str,
)
def test_what_is_no_table_of_numbers_is_refused_with_the_way_out(features, target_, message):
    for name in ("mean", "network"):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            clone(MODELS[name]).fit(features, target_)
        assert str(caught.value).count("encode them") <= 1


@pytest.mark.parametrize("name", MODELS)
def test_dates_are_no_numbers_to_predict_with(name):
    model = clone(MODELS[name]).fit(X, target(MODELS[name]), tasks=CODES)
    if name not in ("single", "pooled"):
        with pytest.raises(ValueError, match=r"^The column\(s\) \[0, 1, 2\] of X are not numbers"):
            model.predict(np.full((N, 3), np.datetime64("2020-01-01")), tasks=CODES)


def test_a_graph_of_neighbours_is_refused_with_the_way_out():
    tasks = np.array(["a", "b", "c"])[CODES]
    for graph in ({"a": ["b"]}, {"a": "b"}, {"a": {"b": 1.0}}):
        with pytest.raises(ValueError, match=r"graph as a mapping must be .*got 'a': .*pairs"):
            GraphRegularizedRegressor(graph=graph).fit(X, y, tasks=tasks)


def test_forgotten_tasks_are_said_where_the_strength_has_no_effect():
    """Of every model: the same coefficients at twice the strength, or no warning."""
    for name, cls in task_estimators().items():
        model, labels = cls(max_iter=5), np.where(y > 0.5, "yes", "no") if "Classifier" in name else y
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            coef = model.fit(X, labels).coef_
            twice = clone(model).set_params(alpha=2 * model.alpha).fit(X, labels).coef_
            clone(model).fit(X, labels, tasks=CODES)
        said = [str(w.message) for w in caught if "was fitted without tasks" in str(w.message)]
        assert len(said) == (2 if np.array_equal(coef, twice) else 0), name


@pytest.mark.parametrize(("unit", "said"), [(1e-2, "squared"), (1.0, None), (1e3, "absolute")])
def test_a_width_of_huber_that_is_none_in_the_units_of_y_is_said(unit, said):
    rng = np.random.default_rng(0)
    rows, codes = rng.normal(size=(90, 3)), np.arange(90) % 3
    target_ = unit * (rows @ [2.0, -1.0, 0.0] + rng.normal(size=90))
    for model in (
        MeanRegularizedRegressor(0.1, loss="huber"),
        MultiTaskLasso(0.001 * min(unit, 1.0), loss="huber"),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(rows, target_, tasks=codes)
            clone(model).fit(rows, np.zeros(90), tasks=codes)  # a constant has no scale
        found = [str(w.message) for w in caught if "in units of y" in str(w.message)]
        assert len(found) == (said is not None)
        if said:
            width = float(re.search(r"loss=Huber\((.*?)\)", found[0])[1])
            assert f"loss of {said} errors" in found[0] and 0.8 < width / (1.35 * unit) < 1.3
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                model.set_params(loss=Huber(width)).fit(rows, target_, tasks=codes)


@pytest.mark.parametrize("form", ["tasks", "columns"])
def test_a_free_common_model_that_fits_every_row_is_said(form):
    """Where no strength is about it and features are as many as rows: the fit is the same at any alpha."""
    rng = np.random.default_rng(0)
    wide, given = rng.normal(size=(20, 25)), {"tasks": np.arange(20) % 4} if form == "tasks" else {}
    Y = rng.normal(size=20 if form == "tasks" else (20, 4))
    models = {
        "mean_alpha": [MeanRegularizedRegressor(np.float64(1)), TraceNormRegressor(0.1, mean_alpha=0.0)],
        "ridge": [GraphRegularizedRegressor(0.1)],
        None: [
            MeanRegularizedRegressor(mean_alpha=0.1),
            GraphRegularizedRegressor(ridge=0.1),
            MultiTaskLasso(0.1),
        ],
    }
    for way, found in models.items():
        for model in found:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(wide, Y, **given)
                clone(model).fit(wide[:, :6], Y, **given)
            said = [str(w.message) for w in caught if "all tasks share" in str(w.message)]
            assert len(said) == (way is not None) and all(f"Give {way} > 0" in words for words in said)


# --- many terms ---


def test_hundreds_of_penalties_add_up():
    terms = [Ridge_(0.001)] * 500
    for total in (sum(terms, terms[0]), sum(terms) + terms[0], terms[0] + sum(terms)):
        assert len(total.terms) == 501
        found, expected = (
            MultiTaskRegressor(1.0, penalty=penalty).fit(X, y, tasks=CODES).coef_
            for penalty in (total, Ridge_(0.501))
        )
        assert_allclose(found, expected, rtol=1e-6)


# --- units of columns in a network ------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "sharing", "solver"),
    [
        *product([MultiTaskMLPRegressor], ["hard", "attention", "soft"], ["lbfgs", "adam"]),
        *product([MultiTaskMLPClassifier, MultiTaskMLP], ["hard"], ["lbfgs", "adam"]),  # units are those of X
    ],
)
def test_a_network_learns_in_any_units(cls, sharing, solver):
    net = cls(
        hidden_layer_sizes=(8,), sharing=sharing, solver=solver, alpha=1e-3, max_iter=100, random_state=0,
        learning_rate_init=0.01, early_stopping=False,
    )  # fmt: skip
    labels, least = (y > 0.5, 0.9) if cls is MultiTaskMLPClassifier else (y, 0.8)
    reference = clone(net).fit(X, labels, tasks=CODES).score(X, labels, tasks=CODES)
    assert reference > least
    for A in (X * 1e9, X + 1e6, X * [1e8, 1.0, 1e-8], X * 1e-12 + [0, 1e-8, 1.0], X * 1e300):
        model = clone(net).fit(A, labels, tasks=CODES)
        assert model.score(A, labels, tasks=CODES) > least - 0.05
        assert model.transform(A).shape == (N, model._n_features_out)
        model.partial_fit(A, labels, tasks=CODES)
        assert model.score(A, labels, tasks=CODES) > least - 0.05


def test_large_units_of_sparse_columns_are_those_of_dense_ones():
    A = sparse.random(200, 6, 0.3, random_state=0, format="csr") * 1e6
    labels, tasks = np.asarray(A @ rng.normal(size=6)) / 1e6, np.arange(200) % 3
    net = MultiTaskMLPRegressor(hidden_layer_sizes=(5,), max_iter=20, alpha=0.01, random_state=0)
    dense = clone(net).fit(A.toarray(), labels, tasks=tasks).predict(A.toarray(), tasks=tasks)
    assert_allclose(net.fit(A, labels, tasks=tasks).predict(A, tasks=tasks), dense, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "lasso", "classifier", "mixed", "network"])
def test_sizes_beyond_memory_are_named_before_they_are_asked_for(name):
    wide = sparse.csr_array((np.ones(N), (np.arange(N), np.arange(N))), shape=(N, 2**45))
    with pytest.raises(MemoryError, match=r"of shape \(.*35184372088832.* would take .* GiB; this"):
        clone(MODELS[name]).fit(wide, target(MODELS[name]), tasks=CODES)
    with pytest.raises(MemoryError, match=r"(a row|the second moments) of X of shape"):
        TaskStatistics.from_arrays(wide, y, CODES)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
@pytest.mark.parametrize("end", ["min", "max"])
def test_labels_that_are_integers_close_together_are_sorted(dtype, end, rng):
    limit, steps = dtype(getattr(np.iinfo(dtype), end)), rng.permutation(250).astype(dtype)
    labels = limit + steps if end == "min" else limit - steps
    labels = np.concatenate([labels[:90], labels[:40]])
    y = rng.normal(size=len(labels))
    stats = TaskStatistics.from_batches([(y[:, None] + 1, y, labels)])
    names, codes = np.unique(labels, return_inverse=True)
    assert_array_equal(stats.tasks, names)
    assert stats.tasks.dtype == dtype
    assert_allclose(stats.y_mean.ravel(), np.bincount(codes, y) / np.bincount(codes))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_parameters_go_by_the_names_of_columns_inside_of_what_fits_models(frame):
    Y = np.random.default_rng(1).normal(size=(N, 3)) + X[:, :1]
    names, weights = ["z", "a", "b"], [1.0, 2.0, 3.0]
    named, plain = (
        MeanRegularizedRegressor(0.1, task_weight=dict(zip(keys, weights, strict=True)))
        for keys in (names, range(3))
    )
    Y_named = frame(dict(zip(names, Y.T, strict=True)))
    for around in (TaskConformalRegressor, partial(TaskResidual, Ridge())):
        found, wanted = around(named).fit(X, Y_named), around(plain).fit(X, Y)
        assert found.tasks_.tolist() == names
        assert_allclose(found.predict(X), wanted.predict(X))
        own = found.predict(X, tasks=np.array(names)[np.arange(N) % 3])
        assert_allclose(own, wanted.predict(X)[np.arange(N), np.arange(N) % 3])
    found, wanted = (compare({"m": m}, X, y, cv=3) for m, y in ((named, Y_named), (plain, Y)))
    assert_allclose(found.table["mean"], wanted.table["mean"])
