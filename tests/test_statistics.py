"""Second moments: equal to their formulas, mergeable without loss, enough to fit any squared-loss model."""

import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import LAYOUTS, make_layout
from scipy import sparse

from skmtl import (
    GroupSparseRegressor,
    MeanRegularizedRegressor,
    MultiTaskElasticNet,
    MultiTaskRegressor,
    TaskStatistics,
    TraceNormRegressor,
)
from skmtl.losses import Huber, Logistic, SquaredError
from skmtl.model_selection._moments import sums_of_the_others
from skmtl.penalties import L1, Coupling, Entries, Features, InfConv, Tasks
from skmtl.solvers import make_task_data, solve

layouts = pytest.mark.parametrize("kind", LAYOUTS)
FIELDS = ("count", "weight", "x_mean", "y_mean", "xx", "xy", "yy")


def statistics(layout, rows=slice(None)):
    tasks, weight = (None if v is None else v[rows] for v in (layout.tasks, layout.sample_weight))
    return TaskStatistics.from_arrays(layout.X[rows], layout.y[rows], tasks, sample_weight=weight)


def expanded(stats, field):
    """The field with one entry per task, also where a design is shared."""
    value = getattr(stats, field)
    return np.broadcast_to(value, (stats.n_tasks, *value.shape[1:])) if field in ("x_mean", "xx") else value


def assert_same(one, other, rtol=1e-10):
    assert one.tasks.tolist() == other.tasks.tolist()
    for field in FIELDS:
        expected = expanded(other, field)
        np.testing.assert_allclose(
            expanded(one, field), expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=field
        )


@layouts
def test_moments_equal_their_formulas(kind):
    layout = make_layout(kind)
    stats = statistics(layout)
    for t, (X, y, s) in enumerate(layout.blocks()):
        total = stats.weight[t]
        x_mean, y_mean = s @ X, s @ y
        assert stats.count[t] == len(y)
        expected = {
            "x_mean": x_mean, "y_mean": y_mean, "xx": total * ((X - x_mean).T * s) @ (X - x_mean),
            "xy": total * (s * (y - y_mean)) @ (X - x_mean), "yy": total * s @ (y - y_mean) ** 2,
        }  # fmt: skip
        for field, value in expected.items():
            np.testing.assert_allclose(
                expanded(stats, field)[t], value, rtol=1e-10, atol=1e-10, err_msg=field
            )
    weights = {"weighted": layout.sample_weight}.get(kind, np.ones(len(layout.y)))
    if layout.y.ndim == 1:
        tasks = np.zeros(len(layout.y), int) if layout.tasks is None else layout.tasks
        np.testing.assert_allclose(stats.weight, np.bincount(tasks, weights))
    assert len(stats.xx) == (1 if kind in ("shared", "single") else stats.n_tasks)
    assert (stats.n_tasks, stats.n_features) == (len(stats.tasks), layout.X.shape[1])
    assert f"n_samples={int(stats.count.sum())}" in repr(stats)


@layouts
@pytest.mark.parametrize("columns", [np.array([3, 1]), slice(2, 5), np.arange(6) % 2 == 0], ids=str)
def test_some_features(kind, columns):
    layout = make_layout(kind)
    data = make_task_data(layout.X, layout.y, layout.tasks, sample_weight=layout.sample_weight)
    whole, layout.X = statistics(layout), layout.X[:, columns]
    for some in (whole.select(columns), TaskStatistics.from_data(data, columns)):
        assert_same(some, statistics(layout))


@layouts
def test_parts_add_up_to_the_whole(kind, rng):
    """Also parts that hold other tasks, and a shared design with one."""
    layout = make_layout(kind)
    whole = statistics(layout)
    order = rng.permutation(len(layout.y))
    splits = [np.array_split(order, k) for k in (2, 5)]
    if layout.tasks is not None:
        splits += [[np.flatnonzero(layout.tasks != 2), np.flatnonzero(layout.tasks == 2)],
                   [np.flatnonzero(layout.tasks < 2), np.flatnonzero(layout.tasks >= 2)]]  # fmt: skip
    for split in splits:
        parts = [statistics(layout, rows) for rows in split]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        assert_same(total, whole)
        assert len(total.xx) == len(whole.xx)
        left = whole - parts[0]
        rest = parts[1]
        for part in parts[2:]:
            rest = rest + part
        assert_same(left, rest)
    before = pickle.dumps(parts)
    parts[0] + parts[1], whole - parts[0]
    assert pickle.dumps(parts) == before


@layouts
def test_adding_and_subtracting_is_the_identity(kind):
    a, b = statistics(make_layout(kind)), statistics(make_layout(kind, n=40, seed=1))
    assert_same((a + b) - b, a)
    assert_same((a + b) - a, b)
    assert_same(a + b, b + a)


def test_shared_and_stacked_moments_mix():
    shared, stacked = make_layout("shared"), make_layout("stacked", seed=1)
    total = statistics(shared) + statistics(stacked)
    rows, tasks = np.divmod(np.arange(shared.y.size), 4)
    everything = TaskStatistics.from_arrays(
        np.vstack([shared.X[rows], stacked.X]),
        np.concatenate([shared.y.ravel(), stacked.y]), np.concatenate([tasks, stacked.tasks]),
    )  # fmt: skip
    assert_same(total, everything)
    assert_same(total - statistics(stacked), statistics(shared))


@layouts
@pytest.mark.parametrize("column", [2, "y"])
def test_a_difference_that_rounding_would_decide_is_refused(kind, column):
    """A difference keeps six digits or is refused; what is added up keeps all."""
    layout = make_layout(kind)
    where = np.zeros(len(layout.y), bool)
    where[:10] = True
    rest, size = statistics(layout, ~where), np.where(where, 1.0, 0.0)
    refused = []
    for factor in 10.0 ** np.arange(1, 12):
        moved = make_layout(kind)
        if column == "y":
            moved.y = layout.y + (factor * size).reshape(-1, *[1] * (layout.y.ndim - 1))
        else:
            step = np.outer(factor * size * np.arange(len(size)), np.eye(layout.X.shape[1])[column])
            moved.X = type(layout.X)(layout.X + step) if sparse.issparse(layout.X) else layout.X + step
        whole, gone = statistics(moved), statistics(moved, where)
        try:
            assert_same(whole - gone, rest, rtol=1e-4)
            refused.append(False)
        except ValueError as error:
            named = r"y" if column == "y" else r"column\(s\) \[2\] of X"
            assert re.search(f"in {named} the rows taken away vary so much more", str(error))
            refused.append(True)
        assert_same(sums_of_the_others([rest, gone])[1], rest, rtol=1e-14)
    assert refused == sorted(refused) and not refused[0] and refused[-1]


def in_factor(layout, factor, rows=slice(None)):
    """Statistics of some rows with all weights times a factor."""
    weight = np.ones(len(layout.y)) if layout.sample_weight is None else layout.sample_weight
    tasks = None if layout.tasks is None else layout.tasks[rows]
    return TaskStatistics.from_arrays(
        layout.X[rows], layout.y[rows], tasks, sample_weight=factor * weight[rows]
    )


@layouts
@pytest.mark.parametrize("factor", [1e-300, 1e-170, 1e160, 1e300])
def test_only_ratios_of_weights_count(kind, factor):
    """Also where all that varies is between batches."""
    layout, model = make_layout(kind, n=40), MeanRegularizedRegressor(task_weight="samples")
    expected = in_factor(layout, 1.0)
    coef, halves = model.fit_statistics(expected).coef_, [slice(20), slice(20, 40)]
    one, two = (in_factor(layout, factor, rows) for rows in halves)
    found = [one + two, in_factor(layout, factor), (one + two) + one - one]
    if kind in ("stacked", "weighted", "single"):
        rows = [in_factor(layout, factor, [i]) for i in range(40)]
        found.append(sum(rows[1:], start=rows[0]))
    for stats in found:
        for field in ("weight", "xx", "xy", "yy"):
            exact = getattr(expected, field)
            got = getattr(stats, field) / factor
            np.testing.assert_allclose(got, exact, rtol=1e-10, atol=1e-10 * np.abs(exact).max())
        np.testing.assert_allclose(model.fit_statistics(stats).coef_, coef, rtol=1e-9)


@pytest.mark.parametrize("factor, unit", [(1e-300, 1e-8), (1e300, 1e8)])
def test_sums_beyond_the_numbers_name_the_weights(factor, unit):
    layout = make_layout("stacked", n=40)
    layout.X = layout.X * unit
    with pytest.raises(ValueError, match=r"^sample_weight: .* no numbers.* Only ratios"):
        in_factor(layout, factor)
    rows = [in_factor(layout, factor, [i]) for i in range(40)]
    with pytest.raises(ValueError, match=r"^sample_weight: .* no numbers"):
        sum(rows[1:], start=rows[0])
    layout.X, layout.y = np.ones_like(layout.X), np.full(40, 0.1)  # rounding is no variation
    assert not (in_factor(layout, factor, slice(20)) + in_factor(layout, factor, slice(20, 40))).yy.any()


# --- what is no part of the whole ---


@layouts
@pytest.mark.parametrize("column", ["X", "y"])
def test_what_is_no_part_is_not_subtracted(kind, column):
    """A variance would be negative, if only in one task; or all rows of a task leave, but not its sums."""
    layout, other = make_layout(kind), make_layout(kind)
    if column == "y":
        other.y = other.y * 9.0
    else:
        other.X = other.X * 9.0
    own = "column" if column == "X" else "y, such as"
    with pytest.raises(ValueError, match=f"are no part of the others: .*{own}"):
        statistics(layout) - statistics(other, slice(60))
    if layout.tasks is not None:
        two = layout.tasks == 2
        for rows in (np.flatnonzero(two)[:20], np.flatnonzero(two)):
            with pytest.raises(ValueError, match=rf"no part .* task\(s\) \[2\] .*{own}"):
                statistics(layout) - statistics(other, rows)
        smaller = make_layout(kind)
        smaller.X, smaller.y = smaller.X * 0.5, smaller.y * 0.5
        with pytest.raises(ValueError, match="no part of the others"):
            statistics(layout) - statistics(smaller, two)


def test_weights_that_are_no_part_are_not_subtracted():
    layout = make_layout("stacked")
    whole, two = statistics(layout), layout.tasks == 2
    for factor in (0.5, 2.0):
        with pytest.raises(ValueError, match="a greater weight of a task than there is, or of another"):
            whole - in_factor(layout, factor, two)
    few = np.flatnonzero(two)[:-1]
    with pytest.raises(ValueError, match="weigh so much more than those left"):
        whole - in_factor(layout, two.sum() / len(few), few)


def test_what_is_left_of_a_constant_is_not_negative():
    layout = make_layout("stacked")
    layout.y[layout.tasks == 1] = np.where(
        np.arange(120)[layout.tasks == 1] < 60, layout.y[layout.tasks == 1], 0.1
    )
    left = statistics(layout) - statistics(layout, slice(60))
    assert (left.yy >= 0).all() and left.yy[1] < 1e-12 and left.yy[0] > 1


# --- names of columns ---


def test_columns_of_batches_have_the_same_names():
    layout = make_layout("stacked")
    frame = pd.DataFrame(layout.X, columns=list("abcdef"))
    whole = TaskStatistics.from_arrays(frame, layout.y, layout.tasks)
    half = (slice(60), slice(60, 120))

    def batches(*frames):
        return ((f[rows], layout.y[rows], layout.tasks[rows]) for f, rows in zip(frames, half, strict=True))

    total = TaskStatistics.from_batches(batches(frame, frame))
    assert_same(total, whole)
    polar = TaskStatistics.from_batches(batches(pl.from_pandas(frame), frame))
    for stats in (total, polar, whole - total.__class__.from_arrays(*next(batches(frame, frame)))):
        assert stats.feature_names.tolist() == list("abcdef")
    assert whole.select([2, 0]).feature_names.tolist() == ["c", "a"]
    for other in (frame[list("bacdef")], frame.rename(columns={"a": "q"})):
        message = r"the columns of X differ from position 0 on: \['a', 'b', .*same columns in the same order"
        with pytest.raises(ValueError, match=message):
            TaskStatistics.from_batches(batches(frame, other))
        with pytest.raises(ValueError, match=message):
            whole - TaskStatistics.from_arrays(*next(batches(other, other)))
    with pytest.warns(UserWarning, match="only one of two statistics names the columns of X"):
        assert_same(TaskStatistics.from_batches(batches(layout.X, frame)), whole)


def test_a_fit_on_moments_knows_the_names_of_columns():
    layout = make_layout("stacked")
    frame = pd.DataFrame(layout.X, columns=list("abcdef"))
    stats = TaskStatistics.from_arrays(frame, layout.y, layout.tasks)
    model = MeanRegularizedRegressor().fit_statistics(stats)
    expected = MeanRegularizedRegressor().fit(frame, layout.y, tasks=layout.tasks)
    assert model.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_allclose(
        model.predict(frame, tasks=layout.tasks), expected.predict(frame, tasks=layout.tasks)
    )
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        model.predict(frame[list("bacdef")], tasks=layout.tasks)
    unnamed = TaskStatistics.from_arrays(layout.X, layout.y, layout.tasks)
    assert not hasattr(model.fit_statistics(unnamed), "feature_names_in_")


@pytest.mark.parametrize("kind", ["shared", "missing"])
def test_columns_of_y_are_tasks_by_name(kind):
    layout, names = make_layout(kind), ["z", "b", "y", "a"]
    goal = pd.DataFrame(layout.y, columns=names)
    whole = TaskStatistics.from_arrays(layout.X, goal)
    assert whole.tasks.tolist() == names and len(whole.xx) == (1 if kind == "shared" else 4)

    def batches(*frames):
        return ((layout.X[i::2], f[i::2], None) for i, f in enumerate(frames))

    assert_same(TaskStatistics.from_batches(batches(goal, goal)), whole)
    for other in (goal[names[::-1]], goal[names[:3]]):
        with pytest.raises(ValueError, match=r"the columns of y differ from position \d on: .*same order"):
            TaskStatistics.from_batches(batches(goal, other))
    parts = [TaskStatistics.from_arrays(X, f) for X, f, _ in batches(goal, goal[names[::-1]])]
    assert_same(sum(parts[1:], start=parts[0]), TaskStatistics.from_arrays(layout.X, goal[sorted(names)]))
    with pytest.raises(ValueError, match="labels of different kinds"):
        TaskStatistics.from_batches(batches(goal, goal.to_numpy()))


def test_labels_of_two_statistics_need_a_common_type():
    def of(labels):
        return TaskStatistics.from_arrays(np.eye(len(labels)), np.arange(float(len(labels))), labels)

    numbers = of(np.arange(4) % 2)
    text = of(np.array(["a", "b", "a", "b"]))
    for one, other in ((numbers, text), (text, numbers), (numbers, of(np.array(["0", "1"] * 2)))):
        with pytest.raises(ValueError, match=r"labels of different kinds, .* use labels of one type"):
            one + other
        with pytest.raises(ValueError, match="tasks that are not there"):
            one - other
    large = 2**53
    with pytest.raises(ValueError, match="labels of different kinds"):  # would both be 2.0**53
        of(np.array([large + 1] * 4)) + of(np.array([float(large)] * 4))
    found = of(np.array([large, large + 1] * 2)) + of(np.array([large + 1, large + 2] * 2))
    assert found.tasks.tolist() == [large, large + 1, large + 2] and found.count.tolist() == [2, 4, 2]
    assert (numbers + of(np.array([1.0, 2.0] * 2))).count.tolist() == [2, 4, 2]  # equal numbers


def test_tasks_left_without_rows_vanish():
    layout = make_layout("stacked")
    whole, gone = statistics(layout), statistics(layout, layout.tasks == 2)
    assert (whole - gone).tasks.tolist() == [0, 1, 3]
    assert_same(whole - gone, statistics(layout, layout.tasks != 2))
    with pytest.raises(ValueError, match="leaves no row"):
        whole - whole


def test_batches_equal_the_whole():
    for kind in ("stacked", "weighted", "sparse", "missing"):
        layout = make_layout(kind)
        extra = (lambda rows, w=layout.sample_weight: ()) if layout.sample_weight is None else (
            lambda rows, w=layout.sample_weight: (w[rows],)
        )  # fmt: skip
        batches = (
            (
                layout.X[rows],
                layout.y[rows],
                None if layout.tasks is None else layout.tasks[rows],
                *extra(rows),
            )
            for rows in np.array_split(np.arange(len(layout.y)), 7)
        )
        assert_same(TaskStatistics.from_batches(batches), statistics(layout))


@pytest.mark.parametrize("columns", [slice(None), [3, 0, 5], slice(2, 3)])
@pytest.mark.parametrize("kind", ["stacked", "weighted", "single"])
def test_many_tasks_are_handled_by_a_compiled_loop(kind, columns, monkeypatch):
    """It takes over from some number of tasks on; here from the first, with an offset and dropped rows."""
    layout = make_layout(kind, n=600)
    layout.X, layout.y = layout.X + 1e6, layout.y - 1e6
    weight = np.ones(600) if layout.sample_weight is None else layout.sample_weight
    data = make_task_data(
        layout.X, layout.y, layout.tasks, sample_weight=np.where(np.arange(600) % 7, weight, 0)
    )
    plain = TaskStatistics.from_data(data, columns)
    monkeypatch.setattr("skmtl._threads.COMPILED_TASKS", 1)
    compiled = TaskStatistics.from_data(data, columns)
    for field in FIELDS:
        assert getattr(compiled, field).shape == getattr(plain, field).shape
    for field in ("count", "weight", "x_mean", "y_mean"):
        np.testing.assert_allclose(getattr(compiled, field), getattr(plain, field), rtol=1e-14)
    for field in ("xx", "xy", "yy"):  # as in the next test
        expected = getattr(plain, field)
        np.testing.assert_allclose(getattr(compiled, field), expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "weighted", "single"])
def test_large_offsets_lose_no_digits(kind):
    """Moments about the mean do not depend on an offset of 1e6: 1e-9 is eps 1e6 with a margin of 5."""
    layout, moved = make_layout(kind), make_layout(kind)
    moved.X, moved.y = layout.X + 1e6, layout.y - 1e6
    near, far = statistics(layout), statistics(moved)
    half = np.arange(len(layout.y)) < 50
    merged = statistics(moved, half) + statistics(moved, ~half)
    reduced = (merged + statistics(moved, half)) - statistics(moved, half)
    for stats in (far, merged, reduced):
        for field in ("xx", "xy", "yy"):
            expected = expanded(near, field)
            np.testing.assert_allclose(
                expanded(stats, field), expected, atol=1e-9 * np.abs(expected).max(), rtol=0, err_msg=field
            )
        np.testing.assert_allclose(stats.y_mean + 1e6, near.y_mean, atol=1e-9)


@pytest.mark.parametrize(("of_x", "of_y"), [(1e6, 0.0), (3e2, 1e8)])
def test_large_offsets_in_sparse_data_lose_no_digits(of_x, of_y):
    """Sparse features are not centred before the product, but their columns may have any mean."""
    layout = make_layout("stacked")
    X, y = layout.X + of_x, layout.y + of_y
    dense = TaskStatistics.from_arrays(X, y, layout.tasks)
    stored = TaskStatistics.from_arrays(sparse.csr_array(X), y, layout.tasks)
    for field in ("xx", "xy", "yy"):
        expected = getattr(dense, field)
        np.testing.assert_allclose(
            getattr(stored, field), expected, atol=1e-9 * np.abs(expected).max(), rtol=0
        )


# --- fitting from moments ---

REGRESSORS = {
    "group": GroupSparseRegressor(0.1),
    "elastic": MultiTaskElasticNet(alpha=0.2, l1_ratio=0.7),
    "mean": MeanRegularizedRegressor(0.3, intercept_alpha=0.2),
    "trace": TraceNormRegressor(0.1),
    "graph": MultiTaskRegressor(0.5, penalty=Coupling.graph(np.eye(4, k=1) + np.eye(4, k=-1))),
    "free mean": MultiTaskRegressor(0.1, penalty=Tasks(L1()), mean_alpha=0.0, ridge=0.1),
    "infconv": MultiTaskRegressor(0.1, penalty=InfConv([Features(L1()), Entries(L1())]), ridge=0.1),
    "no intercept": GroupSparseRegressor(0.1, fit_intercept=False),
    "samples": GroupSparseRegressor(0.1, task_weight="samples"),
}


@pytest.mark.parametrize("model", REGRESSORS.values(), ids=REGRESSORS)
@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "sparse", "weighted"])
def test_fit_statistics_equals_fit(model, kind):
    layout = make_layout(kind)
    model.set_params(tol=1e-14, max_iter=20_000)
    fitted = model.fit(**layout.fit_args())
    coef, intercept, mean, gap = fitted.coef_, fitted.intercept_, fitted.mean_coef_, fitted.dual_gap_
    model.fit_statistics(statistics(layout))
    np.testing.assert_allclose(model.coef_, coef, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, intercept, atol=1e-8)
    np.testing.assert_allclose(model.mean_coef_, mean, atol=1e-8)
    assert 0 <= gap < 1e-12 and 0 <= model.dual_gap_ < 1e-12
    assert model.tasks_.tolist() == [0, 1, 2, 3] and model.n_features_in_ == layout.X.shape[1]
    rows = np.arange(5)
    found = model.predict(layout.X[:5], tasks=rows % 4)
    X = layout.X[:5].toarray() if sparse.issparse(layout.X) else layout.X[:5]
    np.testing.assert_allclose(found, (X * coef[rows % 4]).sum(axis=1) + intercept[rows % 4], atol=1e-6)


def test_moments_survive_pickling():
    stats = statistics(make_layout("missing"))
    assert_same(pickle.loads(pickle.dumps(stats)), stats, rtol=0)


# --- errors ---


def test_errors():
    layout = make_layout("stacked")
    whole, few = statistics(layout), statistics(layout, layout.tasks < 2)
    other = TaskStatistics.from_arrays(np.ones((4, 2)), np.ones(4))
    with pytest.raises(ValueError, match="batches is empty"):
        TaskStatistics.from_batches([])
    with pytest.raises(ValueError, match="6 and of 2 features do not add up"):
        whole + other
    with pytest.raises(TypeError, match="expected TaskStatistics, got int"):
        whole + 1
    with pytest.raises(ValueError, match=r"tasks that are not there: \[2, 3\]"):
        few - whole
    with pytest.raises(ValueError, match="more rows of a task than there are"):
        few - (few + few)
    with pytest.raises(ValueError, match="statistics are enough for the squared loss only"):
        solve(whole, Logistic(), Features(L1()))
    with pytest.raises(ValueError, match="needs the rows"):
        GroupSparseRegressor(loss=Huber()).fit_statistics(whole)
    assert solve(whole, SquaredError(), Features(L1())).converged
