"""Intervals and sets around any model: what they cover where the truth is known."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from by_hand import CODES, NAMES, TASKS, THREE, TWO, Y, frame
from by_hand import X as ROWS
from by_hand import y as TARGET
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skmtl import (
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    SingleTask,
    TaskConformalClassifier,
    TaskConformalRegressor,
    TaskKFold,
    TaskShuffleSplit,
)

MODEL = MeanRegularizedRegressor(0.1)


def simulated(seed, n_tasks, n_rows, spread):
    """Rows for fit, and many more of the same tasks, whose noise differs by a factor of about exp(spread)."""
    rng = np.random.default_rng(seed)
    n = n_rows + 400
    tasks = np.repeat(np.arange(n_tasks), n)
    W, noise = 1 + 0.5 * rng.standard_normal((n_tasks, 3)), np.exp(spread * rng.standard_normal(n_tasks))
    X = rng.standard_normal((n_tasks * n, 3))
    y = (X * W[tasks]).sum(axis=1) + noise[tasks] * rng.standard_t(5, n_tasks * n)
    return X, y, tasks, np.arange(len(y)) % n < n_rows


def coverage(model, X, y, tasks, fit):
    model.fit(X[fit], y[fit], tasks=tasks[fit])
    lower, upper = model.predict_interval(X[~fit], tasks=tasks[~fit])
    inside = (lower <= y[~fit]) & (y[~fit] <= upper)
    return np.array([inside[tasks[~fit] == t].mean() for t in np.unique(tasks[~fit])])


@pytest.mark.no_cover
@pytest.mark.parametrize(("spread", "n_tasks", "n_rows"), [(0, 20, 60), (0.5, 20, 60), (0.5, 30, 12)])
def test_targets_are_covered_in_the_mean_and_by_task(spread, n_tasks, n_rows):
    found = np.array([
        coverage(TaskConformalRegressor(MODEL), *simulated(seed, n_tasks, n_rows, spread))
        for seed in range(12)
    ])  # fmt: skip
    assert abs(found.mean() - 0.9) < 0.01
    if n_rows >= 50:  # what 60 rows of a task say of its own quantile is uncertain by 4 points
        assert np.mean(found < 0.85) < (0.15 if spread else 0.02)
    own = [coverage(TaskConformalRegressor(MODEL), *simulated(0, 4, 2000, 1.0))]
    assert (np.abs(np.array(own) - 0.9) < 0.045).all()  # 400 test rows of each


SIZES = {"one of many": [1500] + [8] * 20, "three rows": [200] * 3 + [3] * 20, "few": [3, 2] * 20}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("classes", [False, True])
def test_tasks_with_few_rows_are_covered_beside_those_with_many(name, classes):
    """By what models know of tasks with as few rows, not of those that most rows are of."""
    sizes, found = SIZES[name], []
    inner = MeanRegularizedClassifier(0.1, intercept_alpha=0.1) if classes else MODEL
    model = (TaskConformalClassifier if classes else TaskConformalRegressor)(inner)
    for seed in range(10):
        X, y, tasks, _ = simulated(seed, len(sizes), max(sizes), 0.0)
        place, y = np.arange(len(y)) % (max(sizes) + 400), y > 0 if classes else y
        fit, new = place < np.array(sizes)[tasks], place >= max(sizes)
        if classes:
            sets = model.fit(X[fit], y[fit], tasks=tasks[fit]).predict_set(X[new], tasks=tasks[new])
            found.append(sets[np.arange(len(sets)), y[new].astype(int)].mean())
        else:
            rows = fit | new
            found.append(coverage(model, X[rows], y[rows], tasks[rows], fit[rows]).mean())
    assert 0.885 < np.mean(found) < 0.935


@pytest.mark.parametrize("sizes", [[5] + [400] * 5, [5] + [30001] * 3, [5] * 3 + [300] * 10])
def test_a_row_that_is_far_off_is_not_the_quantile_of_tasks_with_few_rows(sizes, rng):
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.normal(size=(len(tasks), 3))
    y = X.sum(axis=1) + rng.normal(size=len(tasks))
    y[-1] += 1000.0  # of the last task, which has many
    model = MeanRegularizedRegressor(0.3, mean_alpha=0.01)
    found = TaskConformalRegressor(model, level=0.95).fit(X, y, tasks=tasks).quantiles_
    assert found.min() > 1.0 and found[0] < 5.0


def test_tasks_of_one_row_are_named():
    X, y, tasks, fit = simulated(0, 4, 30, 0.0)
    one = fit & ((tasks > 0) | (np.arange(len(y)) == 0))
    with pytest.warns(
        UserWarning, match=r"^1 of 4 tasks, such as \[0\], have no row that a model had not seen"
    ):
        model = TaskConformalRegressor(MODEL).fit(X[one], y[one], tasks=tasks[one])
    assert np.isfinite(model.quantiles_).all()


def test_rows_without_tasks_have_the_quantile_of_split_conformal(rng):
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    split = ShuffleSplit(1, test_size=25, random_state=0)
    model = TaskConformalRegressor(Ridge(), level=0.8, cv=split).fit(X, y)
    train, test = next(split.split(X))
    ridge = Ridge().fit(X[train], y[train])
    wanted = np.sort(np.abs(y[test] - ridge.predict(X[test])))[int(np.ceil(0.8 * 26)) - 1]
    assert_allclose(model.quantiles_, [wanted])
    assert_allclose(model.predict_interval(X), ridge.predict(X) + wanted * np.array([[-1], [1]]))
    assert model.borrowed_ > 1e5


@pytest.mark.no_cover
def test_new_tasks_are_covered():
    found = []
    model = MeanRegularizedRegressor(0.3, intercept_alpha=0.3, handle_unknown="average")
    for seed in range(12):
        X, y, tasks, fit = simulated(seed, 60, 10, 0.5)
        fit &= tasks < 40
        rest = fit | (tasks >= 40)
        own = TaskConformalRegressor(model, new_tasks=True)
        found.append(coverage(own, X[rest], y[rest], tasks[rest], fit[rest]).mean())
    assert 0.88 <= np.mean(found) <= 0.95


def test_all_ways_to_name_tasks_give_the_same():
    wanted = TaskConformalRegressor(MODEL).fit(ROWS, TARGET, tasks=TASKS)
    intervals = wanted.predict_interval(ROWS, tasks=TASKS)
    assert wanted.tasks_.tolist() == NAMES.tolist() and wanted.quantiles_.shape == (5,)
    column = TaskConformalRegressor(MeanRegularizedRegressor(0.1, task_column="school")).fit(frame(), TARGET)
    assert_allclose(column.predict_interval(frame()), intervals)
    steps = make_pipeline(StandardScaler(), MODEL)
    scaled = MODEL.__class__(0.1)
    piped = TaskConformalRegressor(steps).fit(ROWS, TARGET, tasks=TASKS)
    lower, upper = piped.predict_interval(ROWS, tasks=TASKS)
    assert_allclose((lower + upper) / 2, piped.predict(ROWS, tasks=TASKS))
    with sklearn.config_context(enable_metadata_routing=True):
        routed = TaskConformalRegressor(MODEL).fit(ROWS, TARGET, tasks=TASKS)
    assert_allclose(routed.predict_interval(ROWS, tasks=TASKS), intervals)
    whole = StandardScaler().fit_transform(ROWS)
    assert_allclose(
        piped.predict(ROWS, tasks=TASKS), scaled.fit(whole, TARGET, tasks=TASKS).predict(whole, tasks=TASKS)
    )


def test_one_design_with_missing_labels():
    model = TaskConformalRegressor(MODEL, level=0.8).fit(ROWS, Y)
    lower, upper = model.predict_interval(ROWS)
    assert lower.shape == Y.shape and model.quantiles_.shape == (5,)
    seen = ~np.isnan(Y)
    assert 0.75 < ((lower <= Y) & (upper >= Y))[seen].mean() < 0.95
    one = model.predict_interval(ROWS, tasks=np.full(len(ROWS), 2))
    assert_allclose(one, [lower[:, 2], upper[:, 2]])


def test_rows_of_weight_zero_count_for_nothing():
    used = np.arange(len(TARGET)) % 5 > 0
    y = np.where(used, TARGET, 1e3)
    folds = [(np.flatnonzero(CODES >= 0)[k::2], np.arange(len(y))[1 - k :: 2]) for k in range(2)]
    found = TaskConformalRegressor(MODEL, cv=folds).fit(ROWS, y, tasks=TASKS, sample_weight=used * 1.0)
    place = np.cumsum(used) - 1
    fewer = [tuple(place[part][used[part]] for part in fold) for fold in folds]
    wanted = TaskConformalRegressor(MODEL, cv=fewer).fit(ROWS[used], TARGET[used], tasks=TASKS[used])
    assert_allclose(found.quantiles_, wanted.quantiles_, rtol=1e-3)


@pytest.mark.no_cover
def test_sets_hold_the_class():
    found = []
    for seed in range(5):
        rng, tasks = np.random.default_rng(seed), np.arange(3000) % 6
        X = rng.standard_normal((3000, 2))
        eta = X @ rng.standard_normal((2, 3)) + rng.standard_normal((6, 3))[tasks]
        y = np.array(["low", "mid", "top"])[(eta + rng.gumbel(size=eta.shape)).argmax(axis=1)]
        fit = np.arange(3000) < 600
        model = TaskConformalClassifier(SingleTask(LogisticRegression()), level=0.8)
        sets = model.fit(X[fit], y[fit], tasks=tasks[fit]).predict_set(X[~fit], tasks=tasks[~fit])
        held = (sets & (y[~fit, None] == model.classes_)).any(axis=1)
        found.append(np.bincount(tasks[~fit], held) / 400)
        proba = model.predict_proba(X[~fit], tasks=tasks[~fit])
        assert (sets == (1 - proba <= model.quantiles_[tasks[~fit], None] + 1e-9)).all()
    assert abs(np.mean(found) - 0.8) < 0.02 and np.min(np.mean(found, axis=0)) > 0.76


def test_sets_of_one_design():
    classes = np.where(np.isnan(Y), np.nan, np.nanmedian(Y, axis=0) < Y)
    model = TaskConformalClassifier(MeanRegularizedClassifier(0.1)).fit(ROWS, classes)
    assert model.predict_set(ROWS).shape == (*Y.shape, 2)
    three = TaskConformalClassifier(MeanRegularizedClassifier(0.1)).fit(ROWS, THREE, tasks=TASKS)
    assert three.predict_set(ROWS, tasks=TASKS).shape == (len(ROWS), 3)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"level": 0.999}, {}, "level=0.999 needs at least 999 labels that a model has not seen; got 120"),
        ({"level": 1.0}, {}, "The 'level' parameter"),
        ({"new_tasks": True}, {"tasks": None}, "new_tasks=True needs rows with tasks"),
        ({"estimator": MeanRegularizedRegressor(task_column=0)}, {}, "both say which task"),
        ({"new_tasks": True}, {}, "new_tasks=True with level=0.9 needs at least 9 tasks; got 5"),
        ({"new_tasks": True, "level": 0.3}, {"tasks": np.zeros(120)}, "needs at least 2 tasks; got 1"),
        ({"cv": "five"}, {}, "The 'cv' parameter"),
    ],
)
def test_what_cannot_be_is_said(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        TaskConformalRegressor(**{"estimator": MODEL} | options).fit(
            ROWS, TARGET, **{"tasks": TASKS} | arguments
        )


@pytest.mark.parametrize(
    ("conformal", "model", "needed"),
    [
        (TaskConformalRegressor, MeanRegularizedClassifier(), "a regressor"),
        (TaskConformalRegressor, make_pipeline(StandardScaler(), LogisticRegression()), "a regressor"),
        (TaskConformalClassifier, MODEL, "a classifier with predict_proba"),
        (TaskConformalClassifier, LinearSVC(), "a classifier with predict_proba"),
        (TaskConformalClassifier, MixedTaskModel(losses={}), "a classifier with predict_proba"),
    ],
)
def test_numbers_have_intervals_and_classes_have_sets(conformal, model, needed):
    with pytest.raises(TypeError, match=rf"{conformal.__name__} needs {needed} as estimator; got "):
        conformal(model).fit(ROWS, (TARGET.mean() < TARGET).astype(int), tasks=TASKS)


def test_classes_among_numbers_have_no_intervals(rng):
    X = rng.normal(size=(60, 3))
    Y = np.column_stack([X[:, 0] > 0, X[:, 1]]).astype(float)
    mixed = MixedTaskModel(0.1, losses={0: "log_loss", 1: "squared_error"})
    with pytest.raises(
        TypeError, match=r"TaskConformalRegressor needs numbers in all tasks; .* classes in \[0\]"
    ):
        TaskConformalRegressor(mixed).fit(X, Y)
    numbers = TaskConformalRegressor(MixedTaskModel(0.1)).fit(X, Y)
    assert numbers.predict_interval(X).shape == (2, 60, 2)


def test_scores_take_tasks():
    for model, y in [
        (TaskConformalRegressor(MODEL), TARGET),
        (TaskConformalClassifier(MeanRegularizedClassifier(0.1, intercept_alpha=0.1)), TWO),
    ]:
        model.fit(ROWS, y, tasks=TASKS)
        wanted = clone(model.estimator).fit(ROWS, y, tasks=TASKS).score(ROWS, y, tasks=TASKS)
        assert model.score(ROWS, y, tasks=TASKS) == pytest.approx(wanted)
        with sklearn.config_context(enable_metadata_routing=True):
            scores = cross_val_score(
                model, ROWS, y, cv=TaskKFold(3), params={"tasks": TASKS}, error_score="raise"
            )
        assert np.isfinite(scores).all()


def test_tasks_of_a_design_with_classes_of_their_own():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 2))
    classes = np.digitize(X[:, [0]] + 0.1 * rng.standard_normal((90, 4)), [-0.4, 0.4]).astype(float)
    classes[classes[:, 0] == 1, 0] = 2.0
    codes = np.arange(90) % 4
    for estimator in (MeanRegularizedClassifier(0.1), RandomForestClassifier(5, random_state=0)):
        model = TaskConformalClassifier(estimator, level=0.8).fit(X, classes)
        sets = model.predict_set(X)
        assert sets.shape == (90, 4, 3) and not sets[:, 0, 1].any() and sets[:, 1:].any(axis=(0, 1)).all()
        held = (sets & (classes[..., None] == model.classes_)).any(axis=-1)
        assert held.mean() > 0.75
        assert_array_equal(model.predict_set(X, tasks=codes), sets[np.arange(90), codes])
        assert_array_equal(model.predict(X, tasks=codes), model.predict(X)[np.arange(90), codes])
    several = TaskConformalRegressor(Ridge()).fit(X, classes[:, :3])
    whole = several.predict_interval(X)
    assert_allclose(several.predict_interval(X, tasks=codes % 3), whole[:, np.arange(90), codes % 3])


def test_only_the_ratios_of_weights_count():
    weight = np.random.default_rng(0).integers(1, 4, len(TARGET))
    wanted = TaskConformalRegressor(MODEL).fit(ROWS, TARGET, tasks=TASKS, sample_weight=weight)
    for size in (1e-5, 1e5):
        found = TaskConformalRegressor(MODEL).fit(ROWS, TARGET, tasks=TASKS, sample_weight=size * weight)
        assert_allclose(found.quantiles_, wanted.quantiles_, rtol=1e-4)
        assert found.borrowed_ == pytest.approx(wanted.borrowed_)
    even = TaskConformalRegressor(MODEL).fit(ROWS, TARGET, tasks=TASKS, sample_weight=np.full(len(TARGET), 7))
    assert_allclose(even.quantiles_, TaskConformalRegressor(MODEL).fit(ROWS, TARGET, tasks=TASKS).quantiles_)


def test_classes_of_weight_zero_do_not_exist():
    used = THREE != "top"
    model = TaskConformalClassifier(MeanRegularizedClassifier(0.1))
    model.fit(ROWS, THREE, tasks=TASKS, sample_weight=used * 1.0)
    assert model.predict_set(ROWS, tasks=TASKS).shape == (len(ROWS), 2) and len(model.classes_) == 2


def test_columns_that_a_pipeline_moves_are_not_taken_for_tasks():
    X = frame()[["school", *frame().columns.drop("school")]]
    moved = make_column_transformer(("passthrough", X.columns.drop("school")), remainder="passthrough")
    model = TaskConformalRegressor(make_pipeline(moved, MeanRegularizedRegressor(0.1, task_column=-1)))
    with pytest.raises(ValueError, match="task_column=-1 of the final estimator is among the columns"):
        model.fit(X, TARGET)


def test_tasks_that_fit_did_not_have_are_refused():
    model = TaskConformalRegressor(Ridge()).fit(ROWS, TARGET)
    with pytest.raises(ValueError, match="tasks was given, but this TaskConformalRegressor"):
        model.predict_interval(ROWS, tasks=TASKS)


def test_tasks_are_asked_for():
    model = TaskConformalRegressor(MODEL).fit(ROWS, TARGET, tasks=TASKS)
    with pytest.raises(
        ValueError, match=r"tasks has 1 label\(s\) not seen in fit: \['fir'\]. With new_tasks=True"
    ):
        model.predict_interval(ROWS[:1], tasks=["fir"])
    with pytest.raises(ValueError, match="pass tasks= to TaskConformalRegressor"):
        model.predict_interval(ROWS[:1])
    one = TaskConformalClassifier(LogisticRegression())
    with pytest.raises(ValueError, match="y holds only one class"):
        one.fit(ROWS, pd.Series(["a"] * len(ROWS)))


def test_folds_of_the_user_are_taken():
    cv = TaskShuffleSplit(1, train_size=0.5, random_state=0)
    model = TaskConformalRegressor(MODEL, cv=cv).fit(ROWS, TARGET, tasks=TASKS)
    train, _ = next(cv.split(ROWS, TARGET, tasks=TASKS))
    assert_allclose(
        model.estimator_.coef_,
        MeanRegularizedRegressor(0.1).fit(ROWS[train], TARGET[train], tasks=TASKS[train]).coef_,
    )


@pytest.mark.parametrize("steps", [[], [StandardScaler()]])
def test_an_offset_moves_intervals_by_itself(steps, rng):
    """With the squared error they are those of y less the offset, about it."""
    X, tasks, offset = rng.standard_normal((120, 2)), np.arange(120) % 4, 5 * rng.standard_normal(120)
    y = X[:, 0] + offset + rng.standard_normal(120)
    estimator = make_pipeline(*steps, MeanRegularizedRegressor(0.1, handle_unknown="average"))
    model, other = (TaskConformalRegressor(estimator, level=0.6, new_tasks=True) for _ in range(2))
    model.fit(X, y, tasks=tasks, offset=offset)
    other.fit(X, y - offset, tasks=tasks)
    rows = {"tasks": tasks, "offset": offset}
    wanted = other.predict_interval(X, tasks=tasks) + offset
    assert_allclose(model.predict_interval(X, **rows), wanted, rtol=1e-7, atol=1e-7)
    assert model.new_task_quantile_ == pytest.approx(other.new_task_quantile_)
    assert model.score(X, y, **rows) > 0.9 > model.score(X, y, tasks=tasks, offset=np.zeros(120))
    shared = TaskConformalRegressor(estimator).fit(X, np.column_stack([y, -y]), offset=offset)
    assert shared.predict_interval(X, offset=offset).shape == (2, 120, 2)


def test_an_offset_of_classes_and_what_takes_none(rng):
    X, tasks, offset = rng.standard_normal((120, 2)), np.arange(120) % 4, 5 * rng.standard_normal(120)
    y = np.where(offset + rng.logistic(size=120) > 0, "yes", "no")
    model = TaskConformalClassifier(MeanRegularizedClassifier(0.1), level=0.8)
    rows = {"tasks": tasks, "offset": offset}
    model.fit(X, y, **rows)
    blind = clone(model).fit(X, y, tasks=tasks)
    assert model.predict_set(X, **rows).sum() < blind.predict_set(X, tasks=tasks).sum()
    assert_allclose(model.predict_proba(X, **rows), model.estimator_.predict_proba(X, **rows))
    with pytest.raises(TypeError, match="TaskConformalRegressor takes none"):
        TaskConformalRegressor(Ridge()).fit(X, offset, tasks=tasks, offset=offset)


def test_intervals_of_counts_are_not_below_zero():
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(300, 3)), np.arange(300) % 5
    counts = rng.poisson(np.exp(X[:, 0] - 0.5))
    inner = MeanRegularizedRegressor(0.1, loss="poisson")
    for model in (inner, make_pipeline(StandardScaler(), inner)):
        found = TaskConformalRegressor(model, random_state=0).fit(X, counts, tasks=tasks)
        low, high = found.predict_interval(X, tasks=tasks)
        assert low.min() == 0 and ((low <= counts) & (counts <= high)).mean() > 0.85
    found = TaskConformalRegressor(MeanRegularizedRegressor(0.1)).fit(X, counts, tasks=tasks)
    assert found.predict_interval(X, tasks=tasks)[0].min() < 0


@pytest.mark.parametrize("form", ["objects", "nullable", "text"])
def test_targets_in_any_form_that_the_model_takes(form):
    X, Y = np.random.default_rng(0).normal(size=(60, 3)), np.random.default_rng(1).normal(size=(60, 2))
    Y[::5, 0] = np.nan
    other = Y.astype(object)
    other[::5, 0] = None
    other = pd.DataFrame(Y).astype("Float64") if form == "nullable" else other
    if form == "text":
        Y, other = Y[:, 1], Y[:, 1].astype(str)
    tasks = np.arange(60) % 4 if form == "text" else None
    given, expected = (TaskConformalRegressor(MODEL).fit(X, y, tasks=tasks) for y in (other, Y))
    found = given.predict_interval(X, tasks=tasks)
    assert_allclose(found, expected.predict_interval(X, tasks=tasks))
