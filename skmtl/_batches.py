"""Batches of rows: read from files with constant memory, and told apart by hashes of what they hold."""

import os
from numbers import Integral

import numpy as np
from scipy import sparse

from ._sklearn import num_samples

STEP = np.uint64(0x9E3779B97F4A7C15)  # of the mixing function of Steele, Lea & Flood (2014), SplitMix64
FACTORS = (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB))
LAST = np.uint64(31)
READ_AHEAD = 4  # batches
FORMATS = "csv", "parquet", "arrow", "feather", "orc"


def _mixed(h):
    """Well mixed bits of unsigned integers."""
    h = h + STEP
    for shift, factor in FACTORS:
        h = (h ^ (h >> shift)) * factor
    return h ^ (h >> LAST)


def _hashed(values, place):
    """Bits of numbers at a place (of an array, or one of each); of zeros none, as a sparse row has none."""
    values = values + 0.0  # no negative zero
    place = _mixed(np.asarray(place, dtype=np.uint64)[..., None])[..., 0]
    bits = _mixed(values.astype(np.float64).view(np.uint64) ^ place)
    return np.where((values == 0) | (values != values), np.uint64(0), bits)


def folds_of_rows(X, y, n_folds):
    """A fold for each row (n_samples,), by a hash of its features and targets: wherever it stands."""
    total, targets = np.zeros(len(y), dtype=np.uint64), y.reshape(len(y), -1)
    if sparse.issparse(X):
        X = X.tocsr()
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        parts = np.cumsum(np.append(np.uint64(0), _hashed(X.data, X.indices)))
        total += parts[X.indptr[1:]] - parts[X.indptr[:-1]]
        columns = [*targets.T]
    else:
        columns = [*X.T, *targets.T]
    first = X.shape[1] + targets.shape[1] - len(columns)
    for place, column in enumerate(columns, first):
        total += _hashed(np.ascontiguousarray(column), place)
    return (_mixed(total) % np.uint64(n_folds)).astype(np.intp)


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

    Only one batch is held in memory at a time, whatever the size of the data.

    Parameters
    ----------
    path : str, path-like or pyarrow.dataset.Dataset
        A Parquet, CSV, Arrow or ORC file, told by the end of its name, a folder of such files (also one
        partitioned by the values of columns), or a dataset.
    target : str or list of str
        Column of the targets; several for one task per column, with missing values for labels that are.
    task_column : str, optional
        Column of the task labels. None: there is one task, or one per target.
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
        If a column is not there, or named twice.

    Examples
    --------
    >>> import numpy as np, pyarrow as pa, pyarrow.parquet as parquet, tempfile, pathlib
    >>> from skmtl import MeanRegularizedRegressor, TaskStatistics, read_batches
    >>> rng = np.random.default_rng(0)
    >>> x, shop = rng.normal(size=300), rng.integers(3, size=300)
    >>> table = pa.table({"x": x, "y": x + shop, "shop": shop})
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sales.parquet")
    >>> parquet.write_table(table, path)
    >>> batches = read_batches(path, target="y", task_column="shop", batch_size=100)
    >>> stats = TaskStatistics.from_batches(batches)
    >>> stats
    TaskStatistics(n_tasks=3, n_features=1, n_samples=300)
    >>> MeanRegularizedRegressor(1e-6).fit_statistics(stats).intercept_.round(3)
    array([0., 1., 2.])
    """
    if not (isinstance(batch_size, Integral) and batch_size > 0):
        raise ValueError(f"batch_size must be a positive integer; got {batch_size!r}.")
    for name, given in (("target", [target] if isinstance(target, str) else target), ("columns", columns)):
        if not isinstance(given, list | tuple) and (name, given) != ("columns", None):
            raise TypeError(f"{name} must be a list of names of columns; got {given!r}.")
    try:
        from pyarrow import dataset
    except ImportError as error:
        raise ImportError("read_batches needs pyarrow: pip install pyarrow.") from error
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
    n_rows, seen = data.count_rows() if progress is not None else 0, 0
    for batch in data.to_batches(columns=asked, batch_size=batch_size, batch_readahead=READ_AHEAD):
        if not batch.num_rows:
            continue
        X, y = batch.select(features), _values(batch, target)
        tasks = None if task_column is None else _values(batch, task_column)
        yield (X, y, tasks) if weight_column is None else (X, y, tasks, _values(batch, weight_column))
        seen += num_samples(X)
        if progress is not None:
            progress(seen, n_rows)


def _dataset(dataset, path):
    """The files at a path as a dataset, their format told by their names."""
    files = [str(path), *(name for *_, names in os.walk(path) for name in sorted(names))]
    ends = (kind for name in files for kind in FORMATS if name.rstrip("/\\").lower().endswith(kind))
    known = next(ends, "parquet")
    if known == "parquet":  # whose ranges pyarrow would keep until the end of a file, all of it in the end
        options = dataset.ParquetFragmentScanOptions(pre_buffer=False)
        known = dataset.ParquetFileFormat(default_fragment_scan_options=options)
    return dataset.dataset(path, format=known, partitioning="hive")


def _values(batch, column):
    """A column as an array, several as a batch of their own."""
    if not isinstance(column, str):
        return batch.select(list(column))
    return batch.column(column).to_numpy(zero_copy_only=False)
