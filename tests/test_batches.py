"""Data in batches: folds by hashes, files, statistics that are stored, searched and added to."""

import gzip
import warnings
from copy import deepcopy

import array_api_strict
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import make_layout
from numpy.testing import assert_allclose
from pyarrow import csv, dataset, parquet
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit

from skmtl import (
    GroupSparseRegressor,
    MeanRegularizedRegressor,
    MultiTaskLasso,
    PathSearchCV,
    Pooled,
    TaskStatistics,
    TraceNormRegressor,
    _batches,
    read_batches,
)
from skmtl._batches import COMPILED_NUMBERS, Cells, _dataset, folds_of_rows
from skmtl.metrics import task_scorer

MOMENTS = "count", "weight", "x_mean", "y_mean", "xx", "xy", "yy"


def assert_same(one, other, rtol=1e-9):
    assert one.tasks.tolist() == other.tasks.tolist() and len(one.folds) == len(other.folds)
    for name in MOMENTS:
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())
    for a, b in zip(one.folds, other.folds, strict=True):
        assert_same(a, b, rtol)


def rows(n=400, p=4, T=6, seed=0):
    rng = np.random.default_rng(seed)
    X, tasks = rng.normal(size=(n, p)).round(3), rng.integers(0, T, n)
    return X, X.sum(axis=1) + tasks + rng.normal(size=n), tasks, rng.uniform(0.5, 2, n).round(1)


def parts(data, sizes):
    return [tuple(np.split(own, np.cumsum(sizes))[k] for own in data) for k in range(len(sizes) + 1)]


# --- folds ---


def test_a_fold_follows_from_the_values_of_a_row():
    X, y, *_ = rows()
    X[::3, 1], X[1, 2] = 0.0, -0.0
    fold = folds_of_rows(X, y, 5)
    counts = np.bincount(fold, minlength=5)
    assert len(counts) == 5 and counts.min() > 50
    order = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_array_equal(folds_of_rows(X[order], y[order], 5), fold[order])
    for other in (sparse.csr_array(X), sparse.csc_array(X), np.asfortranarray(X)):
        np.testing.assert_array_equal(folds_of_rows(other, y, 5), fold)
    np.testing.assert_array_equal(folds_of_rows(X[:9], y[:9], 5), fold[:9])
    assert (folds_of_rows(X[:, ::-1], y, 5) != fold).mean() > 0.5
    assert (folds_of_rows(X, y + 1, 5) != fold).mean() > 0.5


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 1.0, 2.0), (1e-3, 5e7), (0.1, 0.3, 1e300)])
def test_folds_are_independent_of_every_column(values):
    rng = np.random.default_rng(0)
    X, y = rng.choice(values, size=(40_000, 18)), rng.integers(2, size=40_000).astype(float)
    fold = folds_of_rows(X, y, 5)
    for column in (*X.T, y, (X[:, 0] == X[0, 0]) ^ (X[:, 1] == X[0, 1])):
        counts = np.array([np.bincount(fold[column == value], minlength=5) for value in np.unique(column)])
        expected = counts.sum(axis=1, keepdims=True) / 5
        assert ((counts - expected) ** 2 / expected).sum() < 35  # chi squared of 12 at most


@pytest.mark.parametrize("kind", ["stacked", "weighted", "shared", "missing", "single"])
@pytest.mark.parametrize("sparsely", [False, True])
def test_folds_do_not_depend_on_the_batches(sparsely, kind):
    layout = make_layout(kind, n=150)
    X = sparse.csr_array(layout.X) if sparsely else layout.X
    given = X, layout.y, layout.tasks, layout.sample_weight

    def batches(bounds):
        for a, b in zip([0, *bounds], [*bounds, X.shape[0]], strict=True):
            yield tuple(None if own is None else own[a:b] for own in given)

    whole = TaskStatistics.from_batches(batches([]), n_folds=3)
    assert_same(whole, TaskStatistics.from_batches(batches([40, 90]), n_folds=3))
    np.testing.assert_allclose(whole.xx, TaskStatistics.from_batches(batches([])).xx, rtol=1e-9, atol=1e-9)
    fold = folds_of_rows(X, layout.y, 3)
    for k, part in enumerate(whole.folds):
        at = np.flatnonzero(fold == k)
        own = TaskStatistics.from_arrays(
            *(None if v is None else v[at] for v in given[:3]),
            sample_weight=None if given[3] is None else given[3][at],
        )
        assert_same(part, own)


def test_a_compiled_loop_finds_the_same_folds():
    X, y, *_ = rows(n=14_000)
    X[::3, 1], y[5] = 0.0, -0.0
    one_by_one = [folds_of_rows(X[at], y[at], 5) for at in np.split(np.arange(14_000), 4)]
    assert y[:3500].size * 5 < COMPILED_NUMBERS < y.size * 5
    np.testing.assert_array_equal(folds_of_rows(X, y, 5), np.concatenate(one_by_one))
    for other in ([*X.T], np.asfortranarray(X)):
        np.testing.assert_array_equal(folds_of_rows(other, y, 5), np.concatenate(one_by_one))


def many(weighted):
    """Rows of 1200 tasks, half of which come late, as batches of several kinds."""
    X, y, tasks, weight = rows(n=6000, p=3, T=600)
    X[:, 1], X[:, 2] = 1e3 + X[:, 1], 0.1
    tasks = np.array([f"shop {t}" for t in tasks + 600 * (np.arange(6000) > 3000)])
    weight[4000] = 0.0
    kinds = [np.asarray, np.asfortranarray, lambda Z: Z.tolist(), sparse.csr_array, pd.DataFrame]
    kinds.append(lambda Z: pd.DataFrame(Z).astype(pd.SparseDtype(float, 0.0)))
    parts = zip(kinds, np.split(np.arange(6000), [2000, 3500, 4500, 4550, 5950]), strict=True)
    own = [(kind(X[at]), y[at], tasks[at], weight[at] if weighted else None) for kind, at in parts]
    return (X, y, tasks, weight if weighted else None), own


def passing(batches):
    """Batches whose arrays hold something else once the next one is asked for."""
    for own in batches:
        own = deepcopy(own)
        yield own
        for values in own:
            if isinstance(values, np.ndarray):
                values[:] = values[0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_folds", [None, 3])
def test_batches_of_many_tasks_have_the_moments_of_all_rows(n_folds, weighted, monkeypatch):
    """Some wait for others in arrays that are filled anew, tasks come later, and some batches cannot wait."""
    (X, y, tasks, weight), batches = many(weighted)
    taken = []
    monkeypatch.setattr(Cells, "take", lambda *own, take=Cells.take: taken.append(take(*own)) or taken[-1])
    found = TaskStatistics.from_batches(passing(batches), n_folds=n_folds)
    assert taken == [True, True, not weighted, False, True, False]
    assert_same(found, TaskStatistics.from_batches([(X, y, tasks, weight)], n_folds=n_folds), rtol=1e-12)
    fold = folds_of_rows(X, y, 3)
    for k, own in enumerate(found.folds or [found]):
        at = fold == k if n_folds else slice(None)
        expected = TaskStatistics.from_arrays(
            X[at], y[at], tasks[at], sample_weight=None if weight is None else weight[at]
        )
        assert own.tasks.tolist() == expected.tasks.tolist() and own.count.tolist() == expected.count.tolist()
        for name in MOMENTS:
            a, b = getattr(own, name), getattr(expected, name)
            assert_allclose(a, b, rtol=1e-10, atol=1e-12 * np.abs(b).max(), err_msg=name)
        assert not own.xx[:, 2].any()


def test_tables_of_many_tasks_are_read_by_column():
    (X, y, tasks, _), _ = many(False)
    X[:, 0] = np.arange(6000)
    tables = [
        pa.table([pa.array(X[at, 0].astype(int)), X[at, 1], X[at, 2]], names=["a", "b", "c"])
        for at in np.split(np.arange(6000), 4)
    ]
    labels, goals = np.split(tasks, 4), np.split(y, 4)
    found = TaskStatistics.from_batches(zip(tables, goals, labels, strict=True), n_folds=2)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    assert_same(found, TaskStatistics.from_batches([(frame, y, tasks)], n_folds=2), rtol=1e-12)
    assert found.feature_names.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda X, y, t: (np.where(X[0, 0] == X, np.nan, X), y, t), "X contains NaN"),
        (lambda X, y, t: (X[:, :2], y, t), "statistics of 3 and of 2 features|2 and of 3"),
        (lambda X, y, t: (X, y, np.arange(len(y))), "labels of different kinds"),
        (lambda X, y, t: (X, y[:-1], t[:-1]), "inconsistent numbers of samples"),
        (lambda X, y, t: (1e200 * X, y, t), "X holds values of size"),
        (lambda X, y, t: (X.astype(str) + "x", y, t), "not numbers"),
    ],
)
def test_batches_of_many_tasks_are_checked(changed, message):
    (X, y, tasks, _), _ = many(False)
    with pytest.raises(ValueError, match=message):
        TaskStatistics.from_batches([(X, y, tasks), changed(X, y, tasks)], n_folds=2)


def test_rows_of_weight_zero_make_no_fold():
    X, y, tasks, weight = rows()
    weight[folds_of_rows(X, y, 2) == 1] = 0.0
    with pytest.raises(ValueError, match="1 fold"):
        TaskStatistics.from_batches([(X, y, tasks, weight)], n_folds=2)
    with pytest.raises(ValueError, match="n_folds must be"):
        TaskStatistics.from_batches([(X, y, tasks)], n_folds=1)


# --- operations ---


def test_folds_are_added_subtracted_and_selected_along():
    data = rows()
    first, second, whole = (
        TaskStatistics.from_batches(own, n_folds=3)
        for own in ([parts(data, [150])[0]], [parts(data, [150])[1]], [data])
    )
    assert_same(first + second, whole)
    assert_same(whole - second, first, rtol=1e-7)
    assert [fold.n_features for fold in whole.select([2, 0]).folds] == [2, 2, 2]
    with pytest.raises(ValueError, match=r"0 folds and the other 3|3 folds and the other 0"):
        whole + TaskStatistics.from_batches([data])


def test_some_of_the_tasks():
    X, y, tasks, weight = rows()
    whole = TaskStatistics.from_batches([(X, y, tasks, weight)], n_folds=3)
    at = np.isin(tasks, [4, 1])
    assert_same(
        whole.of_tasks([4, 1]),
        TaskStatistics.from_batches([(X[at], y[at], tasks[at], weight[at])], n_folds=3),
    )
    with pytest.raises(ValueError, match=r"no statistics of the tasks \[9\]"):
        whole.of_tasks([1, 9])
    with pytest.raises(ValueError, match=r"tasks must be a sequence of labels, such as \[4\]; got 4"):
        whole.of_tasks(4)
    with pytest.raises(ValueError, match="must hold labels; got booleans, of a mask give"):
        whole.of_tasks(np.isin(whole.tasks, [4, 1]))
    assert_same(whole.of_tasks(whole.tasks[np.isin(whole.tasks, [4, 1])]), whole.of_tasks([4, 1]))
    truths = TaskStatistics.from_arrays(X, y, tasks > 2)
    assert truths.of_tasks([True]).tasks.tolist() == [True]


@pytest.mark.parametrize("label", [int, str, "datetime64[D]"])
def test_what_is_saved_is_loaded(label, tmp_path):
    X, y, tasks, weight = rows()
    frame = pd.DataFrame(X, columns=list("abcd"))
    stats = TaskStatistics.from_batches([(frame, y, tasks.astype(label), weight)], n_folds=3)
    stats.save(tmp_path / "s.npz")
    loaded = TaskStatistics.load(tmp_path / "s.npz")
    assert_same(loaded, stats, rtol=0)
    assert loaded.feature_names.tolist() == list("abcd")
    assert_same(loaded + stats, stats + stats, rtol=0)


def test_objects_are_not_saved_and_other_files_not_loaded(tmp_path):
    tuples = np.empty(2, dtype=object)
    tuples[:] = [(1, 2), (3, 4)]
    stats = TaskStatistics.from_arrays(np.eye(2), [1.0, 2.0], tuples)
    with pytest.raises(TypeError, match="type tuple"):
        stats.save(tmp_path / "s.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="holds no TaskStatistics"):
        TaskStatistics.load(tmp_path / "other.npz")
    stats = TaskStatistics.from_arrays(np.eye(2), [1.0, 2.0], [0, 0])
    for name in ("xx", "yy"):
        broken = TaskStatistics.from_arrays(np.eye(2), [1.0, 2.0], [0, 0])
        setattr(broken, name, -getattr(stats, name))
        broken.save(tmp_path / "broken.npz")
        with pytest.raises(ValueError, match=f"{name} holds sums of squares below zero"):
            TaskStatistics.load(tmp_path / "broken.npz")


# --- files ---


@pytest.fixture
def table():
    X, y, tasks, weight = rows()
    return pa.table({**dict(zip("abcd", X.T, strict=True)), "y": y, "shop": tasks, "w": weight})


@pytest.mark.parametrize("kind", ["parquet", "csv", "folder of csv", "folder", "dataset"])
def test_files_give_the_statistics_of_their_rows(kind, table, tmp_path):
    X, y, tasks, weight = rows()
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        parquet.write_table(table, path)
    elif kind == "csv":
        csv.write_csv(table, path)
    elif kind == "folder of csv":
        path.mkdir()
        for k in range(4):
            csv.write_csv(table.slice(100 * k, 100), path / f"{k}.csv")
    else:
        dataset.write_dataset(
            table, path, format="parquet", partitioning=["shop"], partitioning_flavor="hive"
        )
        path = dataset.dataset(path, partitioning="hive") if kind == "dataset" else path
    seen = []
    given = {"target": "y", "task_column": "shop", "weight_column": "w", "batch_size": 64}
    batches = read_batches(path, progress=lambda *done: seen.append(done), **given)
    stats = TaskStatistics.from_batches(batches, n_folds=3)
    assert stats.feature_names.tolist() == list("abcd")
    assert_same(stats, TaskStatistics.from_batches([(X, y, tasks, weight)], n_folds=3))
    assert seen[-1] == (400, 400) and len(seen) > 5 and seen == sorted(seen)
    some = TaskStatistics.from_batches(
        read_batches(path, **{**given, "weight_column": None}, columns=["c", "a"])
    )
    np.testing.assert_allclose(
        some.xx, TaskStatistics.from_arrays(X[:, [2, 0]], y, tasks).xx, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("first", ["no row", "no value", "whole numbers"])
def test_columns_without_a_value_are_of_the_type_of_later_ones(kind, first, table, tmp_path):
    """An empty file in front, or one without a value, made all columns those of nulls."""
    some = {"a": table["a"], "b": table["b"], "y": table["y"], "shop": table["shop"].cast(pa.string())}
    n = {"no row": 0, "no value": 1, "whole numbers": 1}[first]
    empty = {**{name: pa.nulls(n) for name in some}, "shop": pa.array(["0"] * n)}
    if first == "whole numbers":
        empty |= {name: pa.array([2] if kind == "csv" else [2.0]) for name in "aby"}
    empty |= {"shop": pa.nulls(0)} if first == "no row" else {}
    files = [tmp_path / f"1.{kind}", tmp_path / f"2.{kind}"]
    for file, own in zip(files, (empty, some), strict=True):
        (csv.write_csv if kind == "csv" else parquet.write_table)(pa.table(own), file)
    batches = [*read_batches(tmp_path, target="y", task_column="shop")]
    assert [len(y) for _, y, _ in batches] == [n] * (n > 0) + [400]
    assert all(X.schema.types == [pa.float64()] * 2 for X, *_ in batches)
    alone = [*read_batches(files[1], target="y", task_column="shop")]
    for found, expected in zip(batches[-1][1:], alone[0][1:], strict=True):
        assert found.dtype == expected.dtype and found.tolist() == expected.tolist()
    assert np.array_equal(batches[-1][0]["a"], alone[0][0]["a"])


def test_fractions_may_come_late(tmp_path):
    """pyarrow takes the types of the first megabyte."""
    path = tmp_path / "late.csv"
    path.write_text("x,y,shop\n" + "1,2,3\n" * 200_000 + "1.5,2,3\n")
    assert (
        sum(np.asarray(X["x"]).sum() for X, *_ in read_batches(path, target="y", task_column="shop"))
        == 200_001.5
    )
    path.write_text("x,y,shop\n" + "1,2,3\n" * 200_000 + "1,2,b\n")
    with pytest.raises(ValueError, match=r"path: .*late\.csv cannot be read: .*'b'\. Columns of text have"):
        list(read_batches(path, target="y", task_column="shop"))


@pytest.mark.parametrize(
    "name", ["e.csv", "e.parquet", "pages.parquet", "cut.csv.gz", "d/rows.csv", "d/e.parquet"]
)
def test_a_file_that_cannot_be_read_is_named(name, table, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    content = b""
    if name == "pages.parquet":
        parquet.write_table(table, path)
        content = path.read_bytes()[:100] + bytes(500) + path.read_bytes()[600:]
    elif name == "cut.csv.gz":
        content = gzip.compress(b"a,y,shop\n" + b"1,2,3\n" * 1000)[:-30]
    elif name == "d/rows.csv":
        (path.parent / "a.csv").write_text("a,y,shop\n1,2,3\n")
    elif name == "d/e.parquet":
        parquet.write_table(table, path.parent / "a.parquet")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"path: .*{path.name} cannot be read: "):
        list(read_batches(path.parent if "/" in name else path, target="y", task_column="shop"))


def test_na_is_no_label_but_of_a_dataset_of_your_own(tmp_path):
    """As pandas reads it; of a label it is refused, and never lost."""
    path = tmp_path / "lands.csv"
    path.write_text("x,y,land\n" + "1,2,DE\n2,3,NA\n3,5,NA\n")
    known = pd.read_csv(path)["land"].isna().tolist()
    ((_, _, lands),) = read_batches(path, target="y", task_column="land")
    assert [label is None for label in lands] == known == [False, True, True]
    with pytest.raises(ValueError, match=r"tasks has 2 missing labels \(first at row 1\)"):
        TaskStatistics.from_batches(read_batches(path, target="y", task_column="land"))
    form = dataset.CsvFileFormat(convert_options=csv.ConvertOptions(strings_can_be_null=False))
    own = read_batches(dataset.dataset(path, format=form), target="y", task_column="land")
    assert TaskStatistics.from_batches(own).tasks.tolist() == ["DE", "NA"]


def test_ranges_of_a_file_are_not_kept_until_its_end(table, tmp_path):
    """50 million rows took as much memory as the file."""
    parquet.write_table(table, tmp_path / "rows.parquet")
    for path in (tmp_path, tmp_path / "rows.parquet"):
        assert not _dataset(dataset, path).format.default_fragment_scan_options.pre_buffer


def test_a_file_is_read_part_by_part(table, tmp_path, monkeypatch):
    """Left to itself pyarrow holds what it has read ahead, up to 1 GB of it."""
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=40)
    size = parquet.read_metadata(tmp_path / "rows.parquet").row_group(0).total_byte_size
    begun, in_parts = [], _batches._in_parts
    monkeypatch.setattr(_batches, "READ_AHEAD", 1.5 * size)
    monkeypatch.setattr(
        _batches, "_in_parts", lambda one: (begun.append(part) or part for part in in_parts(one))
    )
    batches = read_batches(tmp_path, target="y", task_column="shop")
    first = next(batches)
    assert len(begun) == 2
    targets = np.concatenate([y for _, y, _ in (first, *batches)])
    assert len(begun) == 5
    np.testing.assert_array_equal(targets, table["y"])


def test_several_targets_are_tasks(table, tmp_path):
    X, y, *_ = rows()
    parquet.write_table(
        table.append_column("z", pa.array(np.where(y > 0, y, np.nan))), tmp_path / "t.parquet"
    )
    batches = read_batches(tmp_path / "t.parquet", target=["y", "z"], columns=["a", "b"], batch_size=50)
    stats = TaskStatistics.from_batches(batches)
    assert stats.tasks.tolist() == ["y", "z"]
    expected = TaskStatistics.from_arrays(X[:, :2], np.column_stack([y, np.where(y > 0, y, np.nan)]))
    np.testing.assert_allclose(stats.xx, expected.xx, rtol=1e-9)


def test_files_of_a_list_have_the_same_columns(table, tmp_path):
    """A column that only a later file had was left out without a word."""
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file, more in zip(files, (0, 1), strict=True):
        new = table.append_column("new", table["a"]) if more else table
        parquet.write_table(new, file)
    for path in (files, tmp_path):
        with pytest.raises(ValueError, match=r"b.parquet is not like .* there alone \['new'\]"):
            list(read_batches(path, target="y", task_column="shop"))
    both = read_batches([str(file) for file in files], target="y", task_column="shop", columns=["a", "b"])
    assert sum(len(y) for _, y, _ in both) == 2 * len(table)
    for path in (3, [], [table]):
        with pytest.raises(TypeError, match="path must be a file or folder, a list of files, or a dataset"):
            next(read_batches(path, target="y"))


@pytest.mark.parametrize(
    "name, first, later",
    [
        ("b", [True, False], [0.3, 4.0]),
        ("b", np.float32([1, 2]), [1e9, 1e9 + 1]),
        ("shop", [True, False], [2, 1]),
        (
            "shop",
            np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
            np.array(["2020-01-01T10", "2020-01-02"], "M8[s]"),
        ),
        ("y", [True, False], [3, 0]),
        ("z", [1.0, 2.0], None),
    ],
)
def test_files_of_a_folder_have_the_same_types(tmp_path, name, first, later):
    """pyarrow casts to those of the first file, any number to True; a target that is absent was missing."""
    common = {"a": [1.0, 2.0], "b": [1.0, 3.0], "shop": ["x", "y"], "y": [1.0, 2.0], "z": [1.0, 2.0]}
    for file, values in (("1", first), ("2", later)):
        columns = {**common, name: values}
        columns = {k: pa.array(v) for k, v in columns.items() if v is not None}
        parquet.write_table(pa.table(columns), tmp_path / f"{file}.parquet")
    with pytest.raises(ValueError, match=rf"2.parquet is not like the first .*'{name}( of |'\])"):
        TaskStatistics.from_batches(
            read_batches(tmp_path, target=["y", "z"], columns=["a", "b", "shop"][: 2 + (name == "shop")])
        )


def test_numbers_of_files_may_be_whole_in_some(table, tmp_path):
    for k, values in enumerate(([0.5, 1.5], [1, 2], [None, 3])):
        parquet.write_table(pa.table({"a": values, "y": [1.0, 2.0 + k]}), tmp_path / f"{k}.parquet")
    X = np.concatenate(
        [X.column("a").to_numpy(zero_copy_only=False) for X, *_ in read_batches(tmp_path, target="y")]
    )
    np.testing.assert_array_equal(X, [0.5, 1.5, 1, 2, np.nan, 3])


def test_compressed_text_keeps_what_the_first_file_says(tmp_path):
    """Labels that look like numbers in a later file only stay apart."""
    for k, labels in enumerate((["a", "b"], ["01", "1"])):
        with gzip.open(tmp_path / f"{k}.csv.gz", "wt") as file:
            file.write("a,shop,y\n" + "".join(f"{k}.5,{label},1\n" for label in labels))
    found = [label for *_, tasks in read_batches(tmp_path, target="y", task_column="shop") for label in tasks]
    assert found == ["a", "b", "01", "1"]


def test_columns_that_are_not_there(table, tmp_path):
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"not there: \['price'\]"):
        next(read_batches(tmp_path / "t.parquet", target="price"))
    with pytest.raises(ValueError, match=r"named twice: \['y'\]"):
        next(read_batches(tmp_path / "t.parquet", target="y", columns=["a", "y"]))
    for name in ("task_column", "weight_column"):
        with pytest.raises(TypeError, match=rf"{name} must be the name of one column; got \['g'\]"):
            next(read_batches(tmp_path / "t.parquet", target="y", **{name: ["g"]}))


# --- searches ---


@pytest.mark.parametrize(
    "scoring",
    [None, task_scorer("neg_mean_squared_error", average="macro"), ["r2", "neg_mean_squared_error"]],
)
@pytest.mark.parametrize(
    "model", [MeanRegularizedRegressor(), TraceNormRegressor(tol=1e-8), MultiTaskLasso(tol=1e-8)]
)
def test_a_search_on_statistics_is_one_on_rows_with_the_same_folds(model, scoring):
    X, y, tasks, _ = rows()
    stats = TaskStatistics.from_batches(
        [(X[a : a + 100], y[a : a + 100], tasks[a : a + 100]) for a in range(0, 400, 100)], n_folds=4
    )
    options = {"alphas": 8, "refit": "r2" if isinstance(scoring, list) else True}
    by_rows = scoring
    if isinstance(scoring, list):
        by_rows = {name: task_scorer(name, average="pooled") for name in scoring}
    found = PathSearchCV(model, scoring=scoring, **options).fit_statistics(stats)
    cv = PredefinedSplit(folds_of_rows(X, y, 4))
    other = PathSearchCV(model, scoring=by_rows, cv=cv, **options).fit(X, y, tasks=tasks)
    names = [
        name
        for name in other.cv_results_
        if (name.startswith(("split", "mean_test")) and "score" in name) or "mean_test" in name
    ]
    assert names
    for name in names:
        np.testing.assert_allclose(found.cv_results_[name], other.cv_results_[name], rtol=1e-7)
    assert found.best_params_["alpha"] == pytest.approx(other.best_params_["alpha"], rel=1e-9)
    np.testing.assert_allclose(found.best_estimator_.coef_, other.best_estimator_.coef_, atol=1e-7)
    np.testing.assert_allclose(found.predict(X, tasks=tasks), other.predict(X, tasks=tasks), atol=1e-6)


def test_tasks_in_one_fold_count_in_no_score():
    X, y, tasks, _ = rows()
    tasks[0] = 99
    stats = TaskStatistics.from_batches([(X, y, tasks)], n_folds=3)
    search = PathSearchCV(MeanRegularizedRegressor(), alphas=[0.01, 0.1])
    with pytest.warns(UserWarning, match=r"1 task\(s\) have all rows in one fold"):
        search.fit_statistics(stats)
    assert np.isfinite(search.best_score_) and 99 in search.best_estimator_.tasks_


def test_searches_that_need_rows_say_so():
    X, y, tasks, _ = rows()
    stats = TaskStatistics.from_batches([(X, y, tasks)], n_folds=3)
    with pytest.raises(ValueError, match="must hold folds"):
        PathSearchCV(MeanRegularizedRegressor()).fit_statistics(TaskStatistics.from_arrays(X, y, tasks))
    with pytest.raises(TypeError, match="TaskStatistics object"):
        PathSearchCV(MeanRegularizedRegressor()).fit_statistics(X)
    with pytest.raises(ValueError, match="needs rows"):
        PathSearchCV(MeanRegularizedRegressor(), scoring="neg_max_error").fit_statistics(stats)
    for model in (MeanRegularizedRegressor(loss="huber"), GroupSparseRegressor(norm="mcp")):
        with pytest.raises(ValueError, match=r"needs (the )?rows"):
            PathSearchCV(model, alphas=[0.1], error_score="raise").fit_statistics(stats)


# --- batch by batch ---


@pytest.mark.parametrize(
    "model", [MeanRegularizedRegressor(0.3), MultiTaskLasso(0.05, tol=1e-9), MeanRegularizedRegressor("auto")]
)
def test_partial_fits_are_a_fit_on_all_rows(model):
    X, y, tasks, weight = rows()
    for own in parts((X, y, tasks, weight), [120, 180]):
        model.partial_fit(own[0], own[1], tasks=own[2], sample_weight=own[3])
    coef, intercept, predicted = model.coef_, model.intercept_, model.predict(X, tasks=tasks)
    model.fit(X, y, tasks=tasks, sample_weight=weight)
    np.testing.assert_allclose(coef, model.coef_, atol=1e-6)
    np.testing.assert_allclose(intercept, model.intercept_, atol=1e-6)
    np.testing.assert_allclose(predicted, model.predict(X, tasks=tasks), atol=1e-5)
    with pytest.warns(UserWarning, match="begins anew: fit keeps no rows"):
        model.partial_fit(X[tasks == 2], y[tasks == 2], tasks=tasks[tasks == 2])
    assert model.n_tasks_ == 1


def test_partial_fit_says_that_it_leaves_out_what_fit_task_added():
    X, y, tasks, _ = rows()
    old = tasks < 2
    model = MeanRegularizedRegressor(0.3).partial_fit(X[old], y[old], tasks=tasks[old])
    model.fit_task(X[tasks == 2], y[tasks == 2], task=2)
    with pytest.warns(UserWarning, match="what fit_task added, as it has no rows of it: task 2"):
        model.partial_fit(X[old], y[old], tasks=tasks[old])
    model.fit_task(X[tasks == 2], y[tasks == 2], task=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its rows are there
        model.partial_fit(X[tasks == 2], y[tasks == 2], tasks=tasks[tasks == 2])


def test_moments_of_rows_without_tasks_predict_without_tasks():
    X, y, *_ = rows()
    model = MultiTaskLasso(0.05, tol=1e-9).fit_statistics(TaskStatistics.from_arrays(X, y))
    np.testing.assert_allclose(
        model.predict(X), MultiTaskLasso(0.05, tol=1e-9).fit(X, y).predict(X), atol=1e-6
    )
    np.testing.assert_array_equal(model.predict(X), model.predict(X, tasks=np.zeros(len(X), dtype=int)))
    assert model.score(X, y) > 0
    model.fit_statistics(TaskStatistics.from_arrays(X, y, ["a"] * len(X)))
    with pytest.raises(ValueError, match="fitted with 1 task and cannot"):
        model.predict(X)


def test_partial_fits_go_on_from_statistics():
    X, y, tasks, _ = rows()
    Y = np.column_stack([y, X[:, 0]])
    for target, given in ((y, {"tasks": tasks}), (y, {}), (Y, {})):
        (X1, y1, *t1), (X2, y2, *t2) = parts((X, target, *given.values()), [120])
        model = MultiTaskLasso(0.05, tol=1e-9).fit_statistics(TaskStatistics.from_arrays(X1, y1, *t1))
        found = model.partial_fit(X2, y2, **dict(zip(given, t2, strict=True))).predict(X, **given)
        whole = MultiTaskLasso(0.05, tol=1e-9).fit(X, target, **given)
        np.testing.assert_allclose(found, whole.predict(X, **given), atol=1e-6)


def test_partial_fit_of_frames_with_a_task_column():
    X, y, tasks, _ = rows()
    frame = pd.DataFrame(X, columns=list("abcd")).assign(shop=tasks)
    model = MeanRegularizedRegressor(0.3, task_column="shop")
    model.partial_fit(frame[:200], y[:200]).partial_fit(frame[200:], y[200:])
    other = MeanRegularizedRegressor(0.3, task_column="shop").fit(frame, y)
    np.testing.assert_allclose(model.predict(frame), other.predict(frame), atol=1e-8)
    assert model.feature_names_in_.tolist() == [*"abcd", "shop"]
    with pytest.raises(ValueError, match=r"columns of X differ|feature names"):
        model.partial_fit(frame[["b", "a", "c", "d", "shop"]], y)
    with pytest.raises(ValueError, match="needs the rows"):
        MeanRegularizedRegressor(loss="huber").partial_fit(X, y, tasks=tasks)


def test_batches_may_lack_labels_and_weights_but_not_columns(rng):
    X, Y = rng.normal(size=(60, 3)), pd.DataFrame(rng.normal(size=(60, 3)), columns=["y", "a", "m"])
    Y.iloc[:20, 0] = np.nan  # the whole first batch
    batches = [(X[at], Y.iloc[at], None) for at in np.arange(60).reshape(3, 20)]
    whole = TaskStatistics.from_arrays(X, Y)
    for n_folds in (None, 2):
        found = TaskStatistics.from_batches(batches, n_folds=n_folds)
        assert found.tasks.tolist() == ["y", "a", "m"]
        assert_allclose(found.xy, whole.xy, atol=1e-12)
    y, tasks = Y["a"].to_numpy(), np.arange(60) % 3
    weighted = [(X, y, tasks, np.ones(60)), (X, y, tasks, np.zeros(60))]
    assert_allclose(TaskStatistics.from_batches(weighted).xx, TaskStatistics.from_arrays(X, y, tasks).xx)
    for wrong, found in (((X, y, tasks, None, 3), "a tuple of 5"), ([X, y], "a list of 2"), (X, "a ndarray")):
        with pytest.raises(ValueError, match=rf"\(X, y, tasks, sample_weight\); got {found}"):
            TaskStatistics.from_batches([wrong])
    with pytest.raises(ValueError, match="with a positive weight"):
        TaskStatistics.from_batches(weighted[1:])
    with pytest.raises(ValueError, match="y has labels in 2 of 3 columns"):
        TaskStatistics.from_batches(batches[:1])
    for other in ((X, Y.to_numpy()[:, :2], None), (X, y, tasks)):
        with pytest.raises(ValueError, match="batches differ in the columns of y"):
            TaskStatistics.from_batches([(X, Y.to_numpy(), None), other])


def test_the_fold_of_a_sparse_row_is_that_of_its_sums(rng):
    X = rng.normal(size=(50, 3))
    halves = np.hstack([X / 2, X / 2]).ravel()
    twice = sparse.csr_array((halves, np.tile([0, 1, 2], 100), np.arange(51) * 6), shape=X.shape)
    counts = [
        [fold.count.sum() for fold in TaskStatistics.from_batches([(A, X[:, 0], None)], n_folds=3).folds]
        for A in (X, twice)
    ]
    assert counts[0] == counts[1] and twice.nnz == 300


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"xx": np.ones((2, 2, 2))}, r"xx has the shape \(2, 2, 2\), where that of 3 tasks is \(3, 2, 2\)"),
        ({"y_mean": np.ones(2)}, r"y_mean has the shape \(2,\), where that of 3 tasks is \(3,\)"),
        ({"fold1_xy": np.ones((3, 1))}, r"fold1_xy has the shape \(3, 1\)"),
        ({"tasks": np.array([0, 0, 1])}, r"tasks are not labels of tasks that differ: \[0, 0, 1\]"),
        ({"yy": np.array([1.0, np.nan, 1.0])}, "yy holds what is no finite number"),
        ({"xy": np.full((3, 2), "a")}, "xy holds what is no finite number"),
        ({"fold0_weight": -np.ones(3)}, "fold0_weight is -1 in some task"),
        ({"feature_names": np.array(["a"])}, r"feature_names are \['a'\], which is 1 in the place of 2"),
        ({"n_folds": 3}, r"\['fold2_count', .*\] are not there"),
        ({"n_folds": "many"}, r"\['a whole number n_folds'\] are not there"),
    ],
)
def test_a_file_of_wrong_moments_is_refused(rng, change, problem, tmp_path):
    X, tasks = rng.normal(size=(60, 2)), np.arange(60) % 3
    stats, path = TaskStatistics.from_batches([(X, X[:, 0], tasks)], n_folds=2), tmp_path / "s.npz"
    stats.save(path)
    assert_same(TaskStatistics.load(path), stats)
    with np.load(path) as stored:
        np.savez(path, **{**stored, **change})
    with pytest.raises(ValueError, match=rf"s\.npz holds no TaskStatistics: {problem}"):
        TaskStatistics.load(path)


def test_a_broken_file_is_named(rng, tmp_path):
    stats, path = TaskStatistics.from_arrays(np.eye(4), np.ones(4)), tmp_path / "s.npz"
    stats.save(path)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    for _ in range(2000):
        broken, at = whole.copy(), rng.integers(len(whole), size=3)
        broken[at] ^= 1 << rng.integers(8, size=3, dtype=np.uint8)
        path.write_bytes(broken.tobytes())
        try:
            assert_same(TaskStatistics.load(path), stats)  # where nothing is read
        except ValueError as error:
            assert "s.npz holds no TaskStatistics" in str(error)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_file_of_something_else_is_named(content, tmp_path):
    path = tmp_path / "other.npz"
    if content is None:
        np.save(path.open("wb"), np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz holds no TaskStatistics"):
        TaskStatistics.load(path)


# --- arrays on other devices ---


@pytest.mark.parametrize("form", ["stacked", "one", "complete", "missing"])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_another_device_are_formed_there(form, weighted):
    device = array_api_strict.Device("device1")  # NumPy cannot read it

    def there(values):
        return None if values is None else array_api_strict.asarray(values, device=device)

    rng = np.random.default_rng(0)
    X, y, tasks = rng.normal(size=(60, 4)), rng.normal(size=60), rng.integers(3, size=60)
    X[:, 1] += 1e8
    X[:, 3] = 0.1
    if form in ("complete", "missing"):
        y = y[:, None] * np.arange(1, 4) + rng.normal(size=(60, 3))
        y[:5, 0] = np.nan if form == "missing" else 0.0
    tasks = tasks if form == "stacked" else None
    weight = rng.integers(3, size=60) * 1.0 if weighted else None
    expected = TaskStatistics.from_arrays(X, y, tasks, sample_weight=weight)
    with pytest.raises(RuntimeError):
        np.asarray(there(X))
    found = TaskStatistics.from_arrays(there(X), there(y), there(tasks), sample_weight=there(weight))
    for name in ("tasks", "count", "weight", "x_mean", "y_mean", "xx", "xy", "yy"):
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12, err_msg=name)
    assert not found.xx[:, 3].any()
    batches = [
        (X[i : i + 20], y[i : i + 20], None if tasks is None else tasks[i : i + 20]) for i in (0, 20, 40)
    ]
    for n_folds in (None, 2):
        expected = TaskStatistics.from_batches(batches, n_folds=n_folds)
        found = TaskStatistics.from_batches((tuple(map(there, one)) for one in batches), n_folds=n_folds)
        assert_allclose(found.xx, expected.xx, rtol=1e-12, atol=1e-9)
        assert [fold.count.tolist() for fold in found.folds] == [
            fold.count.tolist() for fold in expected.folds
        ]


def test_arrays_of_another_device_are_checked():
    device = array_api_strict.Device("device1")
    X, y = (
        array_api_strict.asarray(values, device=device) for values in (np.full((3, 2), np.nan), np.ones(3))
    )
    with pytest.raises(ValueError, match="X contains NaN"):
        TaskStatistics.from_arrays(X, y)
    with pytest.raises(ValueError, match="X must be 2-D"):
        TaskStatistics.from_arrays(y, y)
    with pytest.raises(ValueError, match="inconsistent"):
        TaskStatistics.from_arrays(array_api_strict.ones((2, 2), device=device), y)


@pytest.mark.parametrize(
    "values, said", [([1.0, None, 2.0, 3.0], "Missing are"), (list("abcd"), "not numbers")]
)
def test_columns_of_a_batch_that_are_no_numbers_are_named(values, said):
    batch = pa.record_batch([pa.array(values), pa.array([1.0, 2.0, 2.0, 3.0])], names=["a", "b"])
    with pytest.raises(ValueError, match=rf"{said}.*\['a'\]|\['a'\].*{said}"):
        TaskStatistics.from_batches([(batch, np.arange(4.0), [0, 0, 1, 1])])


def test_a_batch_is_a_table():
    X = np.random.default_rng(0).normal(size=(60, 3))
    table = pa.table({"g": np.arange(60) % 4, **{name: X[:, j] for j, name in enumerate("abc")}})
    for model in (
        GroupSparseRegressor(0.1),
        Pooled(Ridge()),
        PathSearchCV(GroupSparseRegressor(), [0.1, 1.0]),
    ):
        models, tables = [clone(model) for _ in range(2)], (table, table.to_batches()[0])
        for one, other in zip(models, tables, strict=True):
            one.fit(other.select(["a", "b", "c"]), X[:, 0], tasks=table["g"])
        a, b = (one.predict(X, tasks=np.arange(60) % 4) for one in models)
        np.testing.assert_array_equal(a, b)
    models = [GroupSparseRegressor(0.1, task_column="g").fit(other, X[:, 0]) for other in tables]
    np.testing.assert_array_equal(*(one.predict(table) for one in models))


def test_a_label_that_is_missing_in_a_text_file_is_refused(tmp_path):
    rows = [f"{i % 7},{i % 5},{'' if i % 4 == 0 else 'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y,shop", *rows]))
    with pytest.raises(ValueError, match="missing"):
        TaskStatistics.from_batches(read_batches(tmp_path / "rows.csv", target="y", task_column="shop"))


def test_batches_with_and_without_tasks_are_refused():
    X, tasks = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 4
    with pytest.raises(ValueError, match="tasks is None in some batches, and labels in others"):
        TaskStatistics.from_batches([(X[:30], X[:30, 0], None), (X[30:], X[30:, 0], tasks[30:])])
