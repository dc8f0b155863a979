"""Batches of rows: read from files with constant memory, and told apart by hashes of what they hold."""

import os
from contextlib import contextmanager
from functools import reduce
from numbers import Integral

import numpy as np
from scipy import sparse

from ._columns import check_features, check_same_names, columns_of, feature_names_of
from ._data import StackedData, name_tasks
from ._inputs import check_lengths, check_numeric_target, check_sample_weight, optional
from ._labels import all_labels, encode_tasks, label_keys
from ._sklearn import in_memory, is_elsewhere, num_samples
from ._threads import COMPILED_FEATURES, ROOM, loop_pays, read_only

STEP = np.uint64(0x9E3779B97F4A7C15)  # of the mixing function of Steele, Lea & Flood (2014), SplitMix64
FACTORS = (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB))
LAST, HALF, LOW = np.uint64(31), np.uint64(32), np.uint64(2**32 - 1)
COMPILED_NUMBERS = 2**16  # numbers from which a compiled loop is worth loading Numba
ENOUGH = 3.0  # rows of a cell for each feature
MOST_WAITING = 2**23  # numbers (64 MB)
LEAST_WEIGHT = 1e-30
READ_AHEAD = 2**26  # bytes (64 MB) of a Parquet file; where reading is faster pyarrow alone reads 1 GB ahead
FORMATS = "csv", "parquet", "arrow", "feather", "orc"


def _mixed(h):
    """Well mixed bits of unsigned integers."""
    h = h + STEP
    for shift, factor in FACTORS:
        h = (h ^ (h >> shift)) * factor
    return h ^ (h >> LAST)


def _hashed(values, place):
    """Bits of numbers at a place (of an array, or one of each); of zeros none, as a sparse row has none.

    Those of a row are added up, by the function NH of Black et al. (1999), UMAC: one product for a number.
    """
    values = np.where(abs(values) > 0, values, 0.0)  # no NaN, and no negative zero
    keys = _mixed(np.asarray(place, dtype=np.uint64)[..., None])[..., 0]
    bits, (low, high) = values.astype(np.float64).view(np.uint64), (keys & LOW, keys >> HALF)
    return ((bits + low) & LOW) * (((bits >> HALF) + high) & LOW) - low * high


def folds_of_rows(X, y, n_folds):
    """A fold for each row (n_samples,), by a hash of its features and targets: wherever it stands.

    X is an array, a sparse matrix, or a list of columns.
    """
    total, targets = np.zeros(len(y), dtype=np.uint64), y.reshape(len(y), -1)
    first, columns, n_folds = 0, [*targets.T], np.uint64(n_folds)
    n_columns = len(columns) + (len(X) if isinstance(X, list) else X.shape[1])
    compiled = n_columns * len(y) >= COMPILED_NUMBERS
    if compiled:
        # Numba is imported by the first that needs it
        from ._kernels import add_hashes, add_hashes_of_rows, folds_of_hashes
    if sparse.issparse(X):
        X, first = X.tocsr(), X.shape[1]
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        parts = np.cumsum(np.append(np.uint64(0), _hashed(X.data, X.indices)))
        total += parts[X.indptr[1:]] - parts[X.indptr[:-1]]
    elif compiled and not isinstance(X, list) and X.flags.c_contiguous and X.dtype == np.float64:
        add_hashes_of_rows(read_only(X), total)
        first = X.shape[1]
    else:
        columns = [*(X if isinstance(X, list) else X.T), *columns]
    for place, column in enumerate(columns, first):
        column = np.ascontiguousarray(column, dtype=np.float64)
        if compiled:
            add_hashes(read_only(column), np.uint64(place), total)
        else:
            total += _hashed(column, place)
    if compiled:
        folds_of_hashes(total, n_folds)
        return total.view(np.intp)
    return (((_mixed(total) >> HALF) * n_folds) >> HALF).astype(np.intp)


class Cells:
    """Moments of cells of rows, a fold and a task each, to which the rows of batches are added in place.

    Batches wait until there are some rows for each cell: fewer cost more than they tell. The cell of a row
    is n_folds times the place of its task, in order of appearance, plus its fold.
    """

    def __init__(self, n_folds):
        self.n_folds, self.places, self.labels = n_folds, {}, []
        self.waiting, self.n_rows, self.names, self.sums, self.room = [], 0, None, None, ()

    def take(self, X, y, tasks, weight):
        """Whether the rows are taken: dense ones of many tasks, under ordinary weights."""
        if tasks is None or not holds_rows(X, weight) or sparse.issparse(X) or is_elsewhere(X):
            return False
        y, tasks, weight = map(in_memory, (y, tasks, weight))
        y, names = check_numeric_target(y), feature_names_of(X)
        if y.ndim > 1:
            return False
        weight = check_sample_weight(weight, y.shape)
        labels, codes = name_tasks(y, tasks, weight)
        shape = X.shape if hasattr(X, "shape") else np.shape(X)
        if not (self.sums or self._pays(shape, len(labels))) or not _ordinary(weight):
            return False
        columns = _numbers(X)
        p = len(columns) if isinstance(columns, list) else columns.shape[1]
        if self.sums is None:
            self.names, self.n_features, self.sums = names, p, _sums(0, p)
        alike = p == self.n_features and (names is None) == (self.names is None)
        if not alike or sparse.issparse(columns):  # a frame of sparse columns
            return False
        check_same_names("X", self.names, names)
        check_lengths(columns[0] if isinstance(columns, list) else columns, y)
        weight = np.ones(len(y)) if weight is None else weight
        self._wait(X, columns, y, weight, self._places(labels)[codes])
        return True

    def _pays(self, shape, n_tasks):
        """Whether compiled sums are the way: few features, and many cells or many numbers."""
        if len(shape) != 2 or shape[1] > COMPILED_FEATURES:
            return False
        return shape[0] * shape[1] >= COMPILED_NUMBERS or loop_pays(n_tasks * self.n_folds, shape[1])

    def _wait(self, X, columns, *rows):
        """Let rows wait, as copies of arrays that may be filled anew, if there are too few to be added."""
        n_cells, p = len(self.places) * self.n_folds, self.n_features
        self.waiting.append((X, columns, *rows))
        self.n_rows += len(rows[0])
        if self.n_rows * p >= min(ENOUGH * n_cells * p * p, MOST_WAITING):
            self._add()
        else:
            columns = columns if isinstance(columns, list) else columns.copy()
            self.waiting[-1] = (X, columns, *(values.copy() for values in rows))

    def _places(self, labels):
        """Places of the labels; new ones have to be of the kind of the others."""
        known = len(self.places)
        places = np.array([self.places.setdefault(k, len(self.places)) for k in label_keys(labels)])
        if len(self.places) > known:
            self.labels.append(labels[places >= known])
            all_labels(self.labels[0], self.labels[-1])
        return places

    def _add(self):
        """Add the rows that wait, sorted by their tasks."""
        # Numba is imported by the first fit that needs it
        from ._kernels import add_moments, scatter_rows, sorted_places

        batches, tables, *_ = zip(*self.waiting, strict=True)
        y, weight, place = (np.concatenate(own) for own in [*zip(*self.waiting, strict=True)][2:])
        p, counts = self.n_features, np.bincount(place, minlength=len(self.places))
        at = sorted_places(read_only(place), counts.cumsum() - counts)
        bounds = np.cumsum([len(own) for _, _, own, *_ in self.waiting])[:-1]
        if len(self.room) < len(y):
            self.room = np.empty((len(y), p))  # new memory costs about what is written to it
        X, ordered = self.room[: len(y)], np.empty((2, len(y)))
        for own, values in zip(ordered, (y, weight), strict=True):
            own[at] = values
        for table, own in zip(tables, np.split(read_only(at), bounds), strict=True):
            if isinstance(table, list):
                for rows, block in _in_blocks(table):
                    scatter_rows(read_only(block), own[rows], X)
            else:
                X[own] = table
        self.waiting, self.n_rows = [], 0
        tasks, n_cells = read_only(np.flatnonzero(counts)), len(counts) * self.n_folds
        data = StackedData(X, *ordered, None, tasks, np.cumsum([0, *counts[tasks]]))
        data.refuse_extremes()
        if n_cells > len(self.sums[0]):
            larger = _sums(max(n_cells, 2 * len(self.sums[0])), p)
            for new, old in zip(larger, self.sums, strict=True):
                new[: len(old)] = old
            self.sums = larger
        known, sums = [*map(read_only, (X, data.y, data.row_weight))], self.sums
        data.in_blocks(lambda t, bounds: add_moments(*known, bounds, tasks[t], self.n_folds, *sums))
        cells = (tasks[:, None] * self.n_folds + np.arange(self.n_folds)).ravel()
        if not np.isfinite(sums[2][cells]).all():  # means: a number in X is not finite, or a sum of them
            for batch, table in zip(batches, tables, strict=True):
                check_features(batch if isinstance(table, list) else table)

    def moments(self):
        """Labels, and moments in the order of `TaskStatistics`, of each fold with rows; else None."""
        if self.waiting:
            self._add()
        if not self.labels:
            return [None] * self.n_folds
        by_type = {}
        for labels in self.labels:
            by_type.setdefault(labels.dtype, []).append(labels)
        labels = reduce(all_labels, (encode_tasks(np.concatenate(own))[0] for own in by_type.values()))
        at, found = np.array([self.places[key] for key in label_keys(labels)]), []
        for k in range(self.n_folds):
            cells = at * self.n_folds + k
            filled = self.sums[0][cells] > 0
            count, weight, means, S = (values[cells[filled]] for values in self.sums)
            p = self.n_features
            for j in range(1, p):  # upper triangles have been added up
                S[:, j, :j] = S[:, :j, j]
            parts = means[:, :p], means[:, p], S[:, :p, :p], S[:, :p, p], S[:, p, p]
            own = labels[filled], count, weight, *map(np.ascontiguousarray, parts)
            found.append(own if filled.any() else None)
        return found


def _sums(n_cells, p):
    """Room for sums over cells: counts, weights, means of [x, y], and second moments about these."""
    q = (p + 3) // 3 * 3  # what the kernel takes at a time
    return [np.zeros((n_cells, *shape)) for shape in [(), (), (p + 1,), (q, q)]]


def _in_blocks(columns):
    """Rows, a slice, and arrays (p, n) of columns: blocks that stay in the cache until they are written."""
    p, n = len(columns), len(columns[0])
    step = max(ROOM // p // 16, 1) * 16 + 8  # an odd number of lines of the cache: columns share no place
    room = np.empty(p * step)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        some = [column[rows] for column in columns]
        yield rows, np.concatenate(some, out=room[: p * len(some[0])]).reshape(p, -1)


def _numbers(X):
    """Columns of numbers of a table of pyarrow, which are not looked at yet, or a checked array."""
    columns = columns_of(X) if hasattr(X, "column_names") else [np.empty(0, dtype=object)]
    if columns and all(column.dtype.kind in "biuf" for column in columns):
        return columns
    return check_features(X, accept_sparse="csr", dtype=np.float64)


def _ordinary(weight):
    """Whether all weights are positive, and their sums with squares are numbers."""
    return weight is None or (weight.min() > LEAST_WEIGHT and weight.max() < 1 / LEAST_WEIGHT)


def holds_rows(X, weight):
    """Whether a batch has a row of positive weight."""
    return num_samples(X) > 0 and (weight is None or bool(np.any(weight)))


def parts_of_batch(batch):
    """X, y, tasks and sample_weight, or None, of a batch."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (3, 4):
        size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        found = f"a {type(batch).__name__}{size}"
        raise ValueError(f"batches must hold (X, y, tasks) or (X, y, tasks, sample_weight); got {found}.")
    return (*batch, None)[:4]


def added_folds(folds, more):
    """The sum of each pair of folds, either of which may have no row and be None."""
    return [b if a is None else a if b is None else a + b for a, b in zip(folds, more, strict=True)]


def read_batches(
    path, *, target, task_column=None, columns=None, weight_column=None, batch_size=2**16, progress=None
):
    """Batches of rows of a file, or of a folder of files, for `TaskStatistics.from_batches`.

    Memory is constant, whatever the size of the data: one batch, and two parts of a Parquet file, each a row
    group or several of 64 MB in all. A dataset of your own is read as pyarrow does, which may hold 1 GB.

    In CSV files numbers are floats, and NA, NULL, nan, or nothing, are missing values, as pandas reads them:
    also where they stand for labels (NA for Namibia), which are then refused. A dataset of your own keeps
    them, ``ConvertOptions(strings_can_be_null=False)``.

    Parameters
    ----------
    path : str, path-like, list of files or pyarrow.dataset.Dataset
        A Parquet, CSV, Arrow or ORC file, told by the end of its name, a folder of such files (also one
        partitioned by the values of columns) or a list of them, of the same columns and types, or a dataset.
    target : str or list of str
        Column of the targets; several for one task per column, with missing values for labels that are.
    task_column : str, optional
        Column of the task labels. None: there is one task, or one per target. Labels of digits, in CSV files
        and names of folders, are numbers, 01 is 1; a dataset with a schema of your own keeps them as text.
    columns : list of str, optional
        Features. Default: all other columns.
    weight_column : str, optional
        Column of the sample weights.
    batch_size : int, default=65536
        Most rows of a batch.
    progress : callable, optional
        Called after each batch with the number of rows so far and that of all rows.

    Yields
    ------
    X : pyarrow.RecordBatch of shape (n_rows, n_features)
        With the names of the columns.
    y : ndarray of shape (n_rows,) or pyarrow.RecordBatch of several targets
    tasks : ndarray of shape (n_rows,) or None
    sample_weight : ndarray of shape (n_rows,)
        Only with `weight_column`.

    Raises
    ------
    ImportError
        Without pyarrow.
    ValueError
        If a column is not there, or named twice; if a file cannot be read, or has other columns or types.

    Examples
    --------
    >>> import numpy as np, pyarrow as pa, pyarrow.parquet as parquet, tempfile, pathlib
    >>> from skmtl import MeanRegularizedRegressor, TaskStatistics, read_batches
    >>> rng = np.random.default_rng(0)
    >>> x, shop = rng.normal(size=300), rng.integers(3, size=300)
    >>> table = pa.table({"x": x, "y": x + shop + 1, "shop": shop})
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sales.parquet")
    >>> parquet.write_table(table, path)
    >>> batches = read_batches(path, target="y", task_column="shop", batch_size=100)
    >>> stats = TaskStatistics.from_batches(batches)
    >>> stats
    TaskStatistics(n_tasks=3, n_features=1, n_samples=300)
    >>> MeanRegularizedRegressor(1e-6).fit_statistics(stats).intercept_.round(3)
    array([1., 2., 3.])
    """
    if not (isinstance(batch_size, Integral) and batch_size > 0):
        raise ValueError(f"batch_size must be a positive integer; got {batch_size!r}.")
    for name, given in (("target", [target] if isinstance(target, str) else target), ("columns", columns)):
        if not isinstance(given, list | tuple) and (name, given) != ("columns", None):
            raise TypeError(f"{name} must be a list of names of columns; got {given!r}.")
    for name, given in (("task_column", task_column), ("weight_column", weight_column)):
        if not isinstance(given, str | None):
            raise TypeError(f"{name} must be the name of one column; got {given!r}.")
    dataset = optional("pyarrow.dataset", "read_batches needs pyarrow: pip install pyarrow.")
    with _named(path):
        data = path if isinstance(path, dataset.Dataset) else _dataset(dataset, path)
    targets, names = [target] if isinstance(target, str) else list(target), data.schema.names
    others = [column for column in (task_column, weight_column) if column is not None]
    features = [n for n in names if n not in {*targets, *others}] if columns is None else list(columns)
    asked = [*features, *targets, *others]
    absent, twice = [n for n in asked if n not in names], sorted({n for n in asked if asked.count(n) > 1})
    if absent or twice or not features or not targets:
        raise ValueError(
            f"read_batches found the columns {names[:20]}; not there: {absent}, named twice: {twice}. "
            "target, task_column, weight_column and columns must be different columns, with one feature."
        )
    own, options = data is not path, {"columns": asked, "batch_size": batch_size}
    with _named(path):
        if own:
            options["schema"] = _types(data, asked, {*asked} - {task_column})
        n_rows, seen = data.count_rows() if progress is not None else 0, 0
    files = _alike(data, options["schema"], asked, columns is None) if own else [("a dataset", data)]
    for batch in _scanned(files, options):
        if not batch.num_rows:
            continue
        X, y = batch.select(features), _values(batch, target)
        tasks = None if task_column is None else _values(batch, task_column)
        yield (X, y, tasks) if weight_column is None else (X, y, tasks, _values(batch, weight_column))
        seen += num_samples(X)
        if progress is not None:
            progress(seen, n_rows)


@contextmanager
def _named(path):
    """ValueError of pyarrow, or of broken files, with the path."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        way_out = (
            " Columns of text have the types of the first rows, unless a dataset is given that has a schema: "
            "pyarrow.dataset.dataset(path, format='csv', schema=...)."
        )
        way_out = way_out if "conversion" in str(error) else ""
        raise ValueError(f"path: {path!s:.200} cannot be read: {str(error).strip('. ')}.{way_out}") from error


def _scanned(files, options):
    """Batches of files by name, with little read ahead."""
    scans = ((name, part.to_batches(**options)) for name, file in files for part in _in_parts(file))
    scan = next(scans, None)
    while scan is not None:
        ahead = next(scans, None)  # pyarrow begins to read
        with _named(scan[0]):
            yield from scan[1]
        scan = ahead


def _types(data, asked, numbers):
    """The schema of files of one folder or list, in which columns without a value are as in a later file.

    Integers of text are floats where they are `numbers`, as fractions may follow.
    """
    from pyarrow import float64, types

    found = {name: data.schema.field(name) for name in asked}
    empty, files = [name for name in asked if types.is_null(found[name].type)], data.get_fragments()
    while empty and (file := next(files, None)) is not None:
        own = file.physical_schema
        found |= {name: own.field(name) for name in empty if name in own.names}
        empty = [name for name in empty if types.is_null(found[name].type)]
    schema, text = data.schema, data.format.default_extname == "csv"
    for name, column in found.items():
        if text and name in numbers and (types.is_integer(column.type) or types.is_null(column.type)):
            column = column.with_type(float64())
        schema = schema.set(schema.get_field_index(name), column)
    return schema


def _alike(data, schema, asked, every):
    """Files by name, with the columns asked for as in the schema, and no others where `every` is read."""
    first = None
    for file in data.get_fragments():
        with _named(file.path):
            own = file.physical_schema
        first = own if first is None else first
        shared = [name for name in asked if name in first.names]  # others are names of folders
        absent = [name for name in shared if name not in own.names]
        more = [name for name in own.names if every and name not in first.names]
        types = ((n, own.field(n).type, schema.field(n).type) for n in shared if n in own.names)
        text = file.format.default_extname == "csv"  # whose columns are read as the schema has them, or not
        misfits = (one for one in types if not _fits(*one[1:], text))
        other = [f"{n} of {one} in the place of {known}" for n, one, known in misfits]
        if absent or more or other:
            raise ValueError(
                f"{file.path} is not like the first file at path: not there {absent[:20]}, there alone "
                f"{more[:20]}, of another type {other[:20]}. Files must have the same columns and types "
                "(columns= names those to be read)."
            )
        yield file.path, file


def _fits(own, known, from_text):
    """Whether values of a type of pyarrow are those of another, or pyarrow tells where they are not."""
    from pyarrow import types

    def text(kind):
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return types.is_string(kind) or types.is_large_string(kind)

    if from_text or own == known or types.is_null(own) or (text(own) and text(known)):
        return True
    whole = types.is_integer(own) or types.is_decimal(own)
    if types.is_floating(known):
        return whole or (types.is_floating(own) and own.bit_width <= known.bit_width)
    number = types.is_integer(known) or types.is_decimal(known)
    return number and (whole or types.is_floating(own))


def _in_parts(fragment):
    """A file as parts of about `READ_AHEAD` bytes, where it is one of Parquet."""
    ids, size = [], 0
    for group in getattr(fragment, "row_groups", ()):
        ids, size = [*ids, group.id], size + group.total_byte_size
        if size >= READ_AHEAD:
            yield fragment.subset(row_group_ids=ids)
            ids, size = [], 0
    if ids or not hasattr(fragment, "row_groups"):
        yield fragment.subset(row_group_ids=ids) if ids else fragment


def _dataset(dataset, path):
    """The files at a path as a dataset, their format told by their names."""
    paths = list(path) if isinstance(path, list | tuple) else [path]
    folders = len(paths) > 1 and any(map(os.path.isdir, paths))
    if folders or not paths or not all(isinstance(one, str | os.PathLike) for one in paths):
        raise TypeError(f"path must be a file or folder, a list of files, or a dataset; got {path!r:.200}.")
    inside = (name for one in paths for *_, names in os.walk(one) for name in sorted(names))
    files = [name.removesuffix(".gz").removesuffix(".bz2") for name in (*map(str, paths), *inside)]
    ends = (kind for name in files for kind in FORMATS if name.rstrip("/\\").lower().endswith(kind))
    known = next(ends, "parquet")
    if known == "csv":
        from pyarrow import csv

        known = dataset.CsvFileFormat(convert_options=csv.ConvertOptions(strings_can_be_null=True))
    if known == "parquet":  # whose ranges pyarrow would keep until the end of a file, all of it in the end
        options = dataset.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)
        known = dataset.ParquetFileFormat(default_fragment_scan_options=options)
    return dataset.dataset(paths if len(paths) > 1 else paths[0], format=known, partitioning="hive")


def _values(batch, column):
    """A column as an array, several as a batch of their own."""
    if not isinstance(column, str):
        return batch.select(list(column))
    return batch.column(column).to_numpy(zero_copy_only=False)
