"""Every fold holds every task, and each row is tested as often as the splitter promises."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from skmtl import MeanRegularizedRegressor, compare
from skmtl.baselines import SingleTask
from skmtl.metrics import task_scorer
from skmtl.model_selection import PathSearchCV, TaskKFold, TaskShuffleSplit, TaskTimeSplit

SIZES = {"a": 5, "b": 7, "c": 23, "d": 11}
TASKS = np.repeat(list(SIZES), list(SIZES.values()))
X = np.arange(2.0 * len(TASKS)).reshape(-1, 2)


def splitters():
    return [
        TaskKFold(5),
        TaskKFold(5, shuffle=True, random_state=0),
        TaskKFold(2, shuffle=True, random_state=1),
        TaskShuffleSplit(4, train_size=0.3, random_state=0),
        TaskShuffleSplit(4, train_size=0.99, random_state=0),
        TaskShuffleSplit(4, train_size=4, random_state=0),
        TaskShuffleSplit(4, train_size={"a": 0.5, "b": 2, "c": 20, "d": 0.1}, random_state=0),
    ]


@pytest.mark.parametrize("splitter", splitters(), ids=repr)
@pytest.mark.parametrize("target", ["none", "continuous", "classes", "rare"])
def test_every_fold_holds_every_task(splitter, target):
    rng = np.random.default_rng(0)
    rare = np.where(rng.random(len(TASKS)) < 0.1, "yes", "no")
    y = {
        "none": None,
        "continuous": rng.normal(size=len(TASKS)),
        "classes": rng.integers(3, size=len(TASKS)),
        "rare": rare,
    }[target]
    order = rng.permutation(len(TASKS))
    splits = list(splitter.split(X[order], None if y is None else y[order], tasks=TASKS[order]))
    assert len(splits) == splitter.get_n_splits()
    for train, test in splits:
        assert set(TASKS[order][train]) == set(TASKS[order][test]) == set(SIZES)
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(TASKS)))


@pytest.mark.parametrize("shuffle", [False, True])
def test_kfold_tests_each_row_once_and_balances_tasks_and_if_asked_classes(shuffle):
    rng = np.random.default_rng(1)
    y = rng.integers(3, size=len(TASKS))
    splitter = TaskKFold(4, shuffle=shuffle, random_state=0 if shuffle else None, stratify=True)
    tests = [test for _, test in splitter.split(X, y, tasks=TASKS)]
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(len(TASKS)))
    for task in SIZES:
        counts = [np.sum(TASKS[test] == task) for test in tests]
        assert np.ptp(counts) <= 1
        for c in range(3):
            assert np.ptp([np.sum((TASKS[test] == task) & (y[test] == c)) for test in tests]) <= 1


def test_one_task_is_split_as_scikit_learn_does():
    y, one = np.random.default_rng(2).normal(size=len(TASKS)), np.zeros(len(TASKS))
    for ours, theirs in zip(TaskKFold(4).split(X, y, tasks=one), KFold(4).split(X), strict=True):
        assert_array_equal(ours[1], theirs[1])
    labels = np.sort((y > 0.5).astype(int))
    stratified = TaskKFold(4, stratify=True).split(X, labels, tasks=one)
    for ours, theirs in zip(stratified, StratifiedKFold(4).split(X, labels), strict=True):
        assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("splitter", [TaskKFold(2), TaskShuffleSplit(2, train_size=0.5)], ids=repr)
def test_rows_without_tasks_are_refused(splitter):
    """By name of the two ways to give them; a 2-D y needs none, and groups= warns that it gives none."""
    y = np.arange(len(TASKS)) / 7
    message = rf"{type(splitter).__name__} does not know the task.*\(task_column=\.\.\.\).*tasks="
    for target in (None, y):
        with pytest.raises(ValueError, match=message):
            list(splitter.split(X, target))
    with pytest.raises(ValueError, match=message):
        cross_val_score(SingleTask(Ridge(), task_column=1), np.c_[X[:, 0], X[:, 1] % 2], y, cv=splitter)
    assert len(list(splitter.split(X, np.c_[y, y]))) == 2
    with pytest.warns(UserWarning, match=r"groups parameter is ignored.*task_column= or passed as tasks="):
        assert np.isfinite(cross_val_score(Ridge(), X, y, cv=splitter, groups=TASKS)).all()


# --- what folds may tell a model about the test rows ---


def scores_of_levels(splitter, y, tasks):
    """Mean scores over the folds of each task's own training mean, and of that of all rows.

    The area under the ROC curve for two classes (a constant has 0.5), else R^2.
    """
    own, common = [], []
    two = y.max() == 1
    for train, test in splitter.split(np.zeros((len(y), 1)), y, tasks=tasks):
        level = np.bincount(tasks[train], y[train]) / np.bincount(tasks[train])
        own.append((roc_auc_score if two else r2_score)(y[test], level[tasks[test]]))
        common.append(0.5 if two else r2_score(y[test], np.full(len(test), y[train].mean())))
    return np.mean(own), np.mean(common)


TARGETS = {
    "balanced classes": lambda rng, n: rng.permutation(np.arange(n) % 2),
    "a rare class": lambda rng, n: (rng.random(n) < 0.2).astype(int),
    "whole numbers": lambda rng, n: rng.poisson(2, n),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "splitter",
    [
        TaskKFold(5),
        TaskKFold(5, shuffle=True, random_state=0),
        TaskKFold(2, shuffle=True, random_state=1),
        TaskShuffleSplit(4, train_size=0.3, random_state=0),
        TaskShuffleSplit(4, train_size=0.8, random_state=0),
        TaskShuffleSplit(4, train_size=4, random_state=0),
    ],
    ids=repr,
)
def test_levels_of_tasks_that_do_not_differ_win_by_chance_only(splitter, target):
    """With task labels at random they beat the level of all rows in no more of 20 runs than a coin does."""
    wins = {}
    for stratify in (False, True) if isinstance(splitter, TaskKFold) else (False,):
        found = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            tasks = rng.permutation(np.repeat(np.arange(6), [8, 20, 30, 40, 40, 40]))
            folds = clone(splitter, safe=False)
            folds.stratify = stratify
            found.append(scores_of_levels(folds, TARGETS[target](rng, len(tasks)), tasks))
        own, common = np.transpose(found)
        wins[stratify] = np.sum(own > common)
        if target != "whole numbers" and not stratify:
            assert abs(own.mean() - 0.5) < 0.04
    assert stats.binom.sf(wins[False] - 1, 20, 0.5) > 0.05
    if True in wins:  # what the documentation warns of
        assert stats.binom.sf(wins[True] - 1, 20, 0.5) < 0.01


def test_stratify_needs_classes():
    for y, found in [(None, "None"), (X[:, 0] + 0.5, "a 1-D y without classes"), (X, "a 2-D y")]:
        for splitter in (TaskKFold(2, stratify=True), TaskShuffleSplit(2, train_size=0.5, stratify=True)):
            with pytest.raises(ValueError, match=f"stratify=True needs a 1-D y of classes; got {found}"):
                list(splitter.split(X, y, tasks=TASKS))
    with pytest.raises(ValueError, match="stratify must be True or False; got 'yes'"):
        TaskKFold(2, stratify="yes")


def test_seed_decides():
    def tests(seed):
        return [t.tolist() for _, t in TaskKFold(3, shuffle=True, random_state=seed).split(X, tasks=TASKS)]

    assert tests(0) == tests(0)
    assert tests(0) != tests(1)


@pytest.mark.parametrize(("train_size", "expected"), [(0.4, [2, 2, 9, 4]), (0.01, [1] * 4), (3, [3] * 4)])
def test_shuffle_split_draws_the_asked_rows(train_size, expected):
    for train, _ in TaskShuffleSplit(3, train_size=train_size, random_state=0).split(X, tasks=TASKS):
        assert [np.sum(TASKS[train] == task) for task in SIZES] == expected


def test_stratified_shuffle_split_keeps_class_shares_and_draws_every_row_equally_often():
    y = np.tile([0, 0, 0, 1], 10)
    tasks = np.repeat([1, 2], 20)
    drawn = np.zeros(40)
    splitter = TaskShuffleSplit(2000, train_size=0.4, random_state=0, stratify=True)
    for train, _ in splitter.split(np.zeros((40, 1)), y, tasks=tasks):
        assert [np.sum(y[train][tasks[train] == t]) for t in (1, 2)] == [2, 2]
        drawn[train] += 1
    assert np.abs(drawn / 2000 - 0.4).max() < 0.05


@pytest.mark.parametrize(
    "make", [TaskKFold, lambda **kw: TaskShuffleSplit(3, train_size=0.5, random_state=0, **kw)]
)
@pytest.mark.parametrize("form", ["frame", "array", "sparse", "list"])
def test_task_column_equals_tasks(make, form):
    codes = np.searchsorted(list(SIZES), TASKS)
    data = {
        "frame": (pd.DataFrame({"x": X[:, 0], "school": TASKS}, index=np.arange(len(TASKS))[::-1]), "school"),
        "array": (np.column_stack([X, codes]), -1),
        "sparse": (sparse.csc_array(np.column_stack([codes, X])), 0),
        "list": (np.column_stack([X[:, 0], codes, X[:, 1]]).tolist(), 1),
    }
    table, column = data[form]
    expected = make().split(X, tasks=TASKS)
    for ours, theirs in zip(make(task_column=column).split(table), expected, strict=True):
        assert_array_equal(ours[0], theirs[0])
        assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("shuffle", [False, True])
def test_labels_of_a_shared_design_spread_over_the_folds(shuffle):
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(60, 4))
    Y[7:, 0] = Y[2:, 1] = np.nan  # in the first rows only: plain folds would test all of them at once
    Y[rng.random(60) < 0.5, 2] = np.nan
    splitter = TaskKFold(5, shuffle=shuffle, random_state=0 if shuffle else None)
    splits = list(splitter.split(np.zeros((60, 2)), Y))
    assert_array_equal(np.sort(np.concatenate([test for _, test in splits])), np.arange(60))
    present = ~np.isnan(Y)
    for train, test in splits:
        assert present[train].any(axis=0).all() and 9 <= len(test) <= 15
        share = present[test].sum(axis=0) - present.sum(axis=0) / 5
        assert (np.abs(share[:3]) <= 1.0).all(), share
    if not shuffle:  # complete labels: scikit-learn's folds
        for ours, theirs in zip(TaskKFold(5).split(X, np.zeros((46, 2))), KFold(5).split(X), strict=True):
            assert_array_equal(ours[1], theirs[1])


def test_shared_design_without_labels_splits_rows():
    Y = np.full((10, 3), np.nan)
    tests = [test for _, test in TaskKFold(5).split(np.zeros((10, 2)), Y)]
    assert [len(test) for test in tests] == [2] * 5


def test_small_tasks_can_stay_in_training():
    splits = list(TaskKFold(8, small_tasks="train", shuffle=True, random_state=0).split(X, tasks=TASKS))
    small = np.isin(TASKS, ["a", "b"])  # 5 and 7 rows
    for train, test in splits:
        assert np.isin(np.flatnonzero(small), train).all() and not small[test].any()
        assert set(TASKS[test]) == {"c", "d"}
    assert_array_equal(np.sort(np.concatenate([test for _, test in splits])), np.flatnonzero(~small))
    Y = np.zeros((20, 2))
    Y[1:, 0] = np.nan
    for train, test in TaskKFold(4, small_tasks="train").split(np.zeros((20, 1)), Y):
        assert 0 in train and 0 not in test
    with pytest.raises(ValueError, match=r"one label only for the task\(s\) in column\(s\) \[0\]"):
        list(TaskKFold(4).split(np.zeros((20, 1)), Y))
    few = np.where(np.arange(4)[:, None] > [0, 4], np.nan, 1.0)
    for train, test in TaskKFold(3, small_tasks="train").split(np.zeros((4, 1)), few):
        assert len(test) == 1 and 0 in train
    with pytest.raises(ValueError, match=r"n_splits=4 needs as many rows .* one label only; got 3"):
        list(TaskKFold(4, small_tasks="train").split(np.zeros((4, 1)), few))
    with pytest.raises(
        ValueError, match=r"n_splits=24 .* fewer in 4 task\(s\).*Shuffle\w+\.$"
    ):  # nothing left to test
        list(TaskKFold(24, small_tasks="train").split(X, tasks=TASKS))
    with pytest.raises(ValueError, match="small_tasks must be 'error', 'train' or 'test'; got 'drop'"):
        TaskKFold(3, small_tasks="drop")


def test_rows_of_small_tasks_can_be_tested_each_in_a_fold():
    tasks = np.repeat(["one", "three", "many"], [1, 3, 9])
    for shuffle in (False, True):
        cv = TaskKFold(5, small_tasks="test", shuffle=shuffle, random_state=0 if shuffle else None)
        splits = list(cv.split(np.zeros((13, 1)), tasks=tasks))
        assert_array_equal(np.sort(np.concatenate([test for _, test in splits])), np.arange(1, 13))
        assert all(set(tasks[train]) == {"one", "three", "many"} for train, _ in splits)
    with pytest.raises(ValueError, match=r"n_splits=5 needs .* fewer in 2 task\(s\)"):
        list(cv.split(np.zeros((4, 1)), tasks=tasks[:4]))


def test_training_size_of_every_task():
    sizes = {"a": 1, "b": 0.5, "c": 20, "d": 0.99}
    for train, test in TaskShuffleSplit(3, train_size=sizes, random_state=0).split(X, tasks=TASKS):
        assert [int((TASKS[train] == name).sum()) for name in "abcd"] == [1, 3, 20, 10]
        assert_array_equal(np.sort(np.r_[train, test]), np.arange(len(X)))
    for wrong, message in [
        ({"a": 1, "b": 1, "c": 1}, r"tasks without a size: \['d'\]"),
        ({**sizes, "e": 2}, r"unknown tasks: \['e'\]"),
        ({**sizes, "a": 5}, r"need more rows of each task, .* 1 task\(s\) \('a': 5 rows\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            list(TaskShuffleSplit(train_size=wrong).split(X, tasks=TASKS))
    with pytest.raises(ValueError, match="train_size must be a share"):
        TaskShuffleSplit(train_size={**sizes, "a": 1.5})


# --- forward in time ---


def assert_same(splits, others):
    for (train, test), (before, after) in zip(splits, others, strict=True):
        assert_array_equal(train, before)
        assert_array_equal(test, after)


def test_each_task_is_split_forward_in_time_as_scikit_learn_does():
    tasks = np.random.default_rng(0).permutation(TASKS)
    for n_splits in (2, 4):
        splits = list(TaskTimeSplit(n_splits).split(X, tasks=tasks))
        assert len(splits) == n_splits == TaskTimeSplit(n_splits).get_n_splits()
        for task in SIZES:
            own = np.flatnonzero(tasks == task)
            wanted = TimeSeriesSplit(n_splits).split(own)
            for (train, test), (before, after) in zip(splits, wanted, strict=True):
                assert_array_equal(np.intersect1d(train, own), own[before])
                assert_array_equal(np.intersect1d(test, own), own[after])
    ((train, test),) = TaskTimeSplit(1).split(X, tasks=tasks)
    assert len(train) + len(test) == len(TASKS) and set(tasks[test]) == set(SIZES)


@pytest.mark.parametrize("kind", ["number", "date", "text", "polars", "objects"])
def test_rows_at_the_same_time_are_on_one_side(kind):
    """Whatever the order of the rows is, and what times are."""
    rng = np.random.default_rng(0)
    year, tasks = rng.integers(2000, 2012, size=300), rng.choice(list("abc"), size=300)
    dates = np.array([f"{y}-01-01" for y in year], dtype="M8[D]")
    forms = {"number": year, "date": dates, "text": year.astype(str), "polars": dates}
    frame = pd.DataFrame({"x": rng.normal(size=300), "when": forms.get(kind, dates.astype(object))})
    frame = pl.DataFrame({"x": frame["x"].to_numpy(), "when": dates}) if kind == "polars" else frame
    splits = list(TaskTimeSplit(3, time_column="when").split(frame, tasks=tasks))
    for train, test in splits:
        for task in "abc":
            before, after = (year[rows[tasks[rows] == task]] for rows in (train, test))
            assert before.max() < after.min() and len({*after}) == 3
    assert year[splits[-1][1]].max() == 2011 and len(np.concatenate(splits[-1])) == 300
    column = np.column_stack([rng.normal(size=300), year, np.searchsorted(list("abc"), tasks)])
    again = TaskTimeSplit(3, task_column=2, time_column=1).split(column)
    assert_same(splits, again)


def test_times_that_are_numbers_as_text():
    """As text "10" comes before "9": rows to train would be later than those tested."""
    frame = pd.DataFrame({"year": np.arange(2, 14), "task": 6 * ["a", "b"]})
    expected = list(TaskTimeSplit(2, task_column="task", time_column="year").split(frame))
    as_text = TaskTimeSplit(2, task_column="task", time_column="year")
    with pytest.raises(ValueError, match=r"time_column='year' .* '13' would come before '2'"):
        list(as_text.split(frame.astype({"year": str})))
    for text in (frame["year"] + 1990).astype(str), "day " + frame["year"].astype(str).str.zfill(2):
        found = list(as_text.split(frame.assign(year=text)))
        for one, other in zip(found, expected, strict=True):
            assert_array_equal(np.concatenate(one), np.concatenate(other))


def test_small_tasks_are_tested_in_the_last_splits():
    tasks = np.repeat(["large", "three", "two", "one"], [8, 3, 2, 1])
    with pytest.warns(UserWarning, match=r"3 of 4 tasks have fewer times than n_splits \+ 1 = 4 \(\['one'"):
        splits = list(TaskTimeSplit(3).split(np.zeros((14, 1)), tasks=tasks))
    assert all(set(tasks[train]) == {*tasks} for train, _ in splits)
    assert [sorted({*tasks[test]} - {"large"}) for _, test in splits] == [[], ["three"], ["three", "two"]]
    with pytest.raises(ValueError, match="n_splits=3 needs a task with at least 4 times; the most are 3"):
        list(TaskTimeSplit(3).split(np.zeros((6, 1)), tasks=tasks[8:]))


def test_columns_of_y_are_split_forward_in_time():
    Y = np.arange(24.0).reshape(12, 2)
    for form in (Y, np.where(Y == 23, np.nan, Y)):
        splits = TaskTimeSplit(3).split(Y, form)
        wanted = TimeSeriesSplit(3).split(Y)
        assert_same(splits, wanted)
    late = np.where(np.arange(12)[:, None] < [0, 5], np.nan, Y)
    with pytest.raises(
        ValueError, match=r"no label for the task\(s\) in column\(s\) \[1\] in the first 3 rows"
    ):
        list(TaskTimeSplit(3).split(Y, late))


def test_times_that_are_none_are_refused():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "when": [1.0, np.nan, 2.0, 3.0]})
    for column, error, message in [
        ("when", ValueError, "time_column='when' holds no time in row 1"),
        ("year", ValueError, "time_column='year' is not a column of X"),
        (7, ValueError, "time_column=7 is out of range"),
    ]:
        with pytest.raises(error, match=message):
            list(TaskTimeSplit(2, time_column=column).split(frame, tasks=[0, 0, 0, 0]))
    with pytest.raises(TypeError, match="time_column='when' holds times without an order"):
        frame = frame.assign(when=[1, "b", 2, 3])
        list(TaskTimeSplit(2, time_column="when").split(frame, tasks=[0, 0, 0, 0]))
    with pytest.raises(ValueError, match="n_splits must be a positive integer; got 0"):
        TaskTimeSplit(0)


def test_random_folds_flatter_a_model_of_a_panel_that_drifts():
    """Tasks are random walks: a model of their levels knows the rows between others, not those to come."""
    rng = np.random.default_rng(0)
    tasks, time = np.repeat(np.arange(10), 40), np.tile(np.arange(40.0), 10)
    y = rng.normal(size=(10, 40)).cumsum(axis=1).ravel()
    model = SingleTask(make_pipeline(SplineTransformer(8), Ridge(1e-3)))
    mean = {}
    for name, cv in [("random", TaskKFold(4, shuffle=True, random_state=0)), ("time", TaskTimeSplit(4))]:
        found = compare({"model": model}, time[:, None], y, tasks, cv=cv, baselines=["mean"])
        mean[name] = dict(zip(found.table["model"], found.table["mean"], strict=True))
    assert 1 - mean["time"]["model"] > 4 * (1 - mean["random"]["model"])
    X = np.column_stack([time, y + rng.normal(size=400)])
    search = PathSearchCV(MeanRegularizedRegressor(), [0.1, 1.0], cv=TaskTimeSplit(3)).fit(X, y, tasks=tasks)
    score = task_scorer("r2", average="pooled")
    with sklearn.config_context(enable_metadata_routing=True):
        grid = {"alpha": [0.1, 1.0]}
        other = GridSearchCV(MeanRegularizedRegressor(), grid, cv=TaskTimeSplit(3), scoring=score)
        other.fit(X, y, tasks=tasks)
    wanted = other.cv_results_["mean_test_score"]
    assert_allclose(sorted(search.cv_results_["mean_test_score"]), sorted(wanted), rtol=1e-6)
    column = np.column_stack([X, tasks])
    named = GridSearchCV(
        MeanRegularizedRegressor(task_column=2), grid, cv=TaskTimeSplit(3, task_column=2, time_column=0)
    ).fit(column, y)
    assert_allclose(named.cv_results_["mean_test_score"], wanted, rtol=1e-6)


def test_routed_in_search_and_cross_validation():
    y = np.random.default_rng(0).normal(size=len(TASKS))
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            SingleTask(Ridge()),
            {"estimator__alpha": [1.0]},
            cv=TaskKFold(3),
            scoring=task_scorer("r2"),
            error_score="raise",
        )
        assert np.isfinite(search.fit(X, y, tasks=TASKS).best_score_)
        # a plain KFold on rows sorted by task tests unseen tasks, and says so
        search.set_params(cv=KFold(3))
        with pytest.raises(ValueError, match=r"not seen in fit.*TaskKFold"):
            search.fit(X, y, tasks=TASKS)


def test_task_column_needs_no_routing():
    y = np.random.default_rng(0).normal(size=len(TASKS))
    frame = pd.DataFrame({"x": X[:, 0], "school": TASKS})
    model = SingleTask(Ridge(), task_column="school")
    scores = cross_val_score(model, frame, y, cv=TaskKFold(3, task_column="school"), error_score="raise")
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("splitter", splitters(), ids=repr)
def test_repr_and_copy_keep_the_arguments(splitter):
    known = {"TaskKFold": TaskKFold, "TaskShuffleSplit": TaskShuffleSplit, "TaskTimeSplit": TaskTimeSplit}
    again = eval(repr(splitter), known)
    for ours, theirs in zip(
        again.split(X, tasks=TASKS), clone(splitter, safe=False).split(X, tasks=TASKS), strict=True
    ):
        assert_array_equal(ours[0], theirs[0])


def test_errors_name_what_is_wrong():
    with pytest.raises(
        ValueError, match=r"n_splits=6 .* fewer in 1 task\(s\) \('a': 5 rows\); lower n_splits"
    ):
        list(TaskKFold(6).split(X, tasks=TASKS))
    with pytest.raises(ValueError, match=r"train_size=7 .* 8 rows .* 2 task\(s\) \('a': 5, 'b': 7 rows\)"):
        list(TaskShuffleSplit(train_size=7).split(X, tasks=TASKS))
    with pytest.raises(ValueError, match=r"tasks= and task_column=0 both"):
        list(TaskKFold(2, task_column=0).split(X, tasks=TASKS))
    with pytest.raises(ValueError, match=r"tasks has 3 labels but X has 46 rows"):
        list(TaskKFold(2).split(X, tasks=["a", "b", "c"]))
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[46, 2\]"):
        list(TaskKFold(2).split(X, [0, 1], tasks=TASKS))
    with pytest.raises(ValueError, match="train_size must be a share"):
        TaskShuffleSplit(train_size=1.5)
    with pytest.raises(ValueError, match="train_size must be a share"):
        TaskShuffleSplit(train_size=0)
    with pytest.raises(ValueError, match="n_splits must be a positive integer"):
        TaskShuffleSplit(0, train_size=0.5)
    with pytest.raises(ValueError, match="n_splits=2 or more"):
        TaskKFold(1)
    with pytest.warns(UserWarning, match="groups parameter is ignored by TaskKFold"):
        list(TaskKFold(2).split(X, groups=TASKS))
