"""Collections of Dask as rows in partitions: sums over these in a fixed order, and lazy predictions."""

from uuid import uuid4

import numpy as np

try:
    import dask.array as da
    import dask.dataframe as dd
    from dask import delayed, is_dask_collection
except ImportError as error:
    raise ImportError("skmtl.dask needs Dask: pip install 'skmtl[dask]'.") from error

from .._inputs import present
from .._sklearn import num_samples

FAN_IN = 8  # partial sums that are added at a time


def is_collection(X):
    """Whether X is a collection of Dask, or a list of partitions that are delayed."""
    return is_dask_collection(X) or (isinstance(X, list) and bool(X) and all(map(is_dask_collection, X)))


class Partitions:
    """Rows (X, y, tasks, sample_weight) in partitions, the last two of which may be None.

    Collections of Dask or lists of Delayed; without a client what computes is Dask's own choice.
    """

    def __init__(self, X, y, tasks, sample_weight, client):
        given = {"X": X, "y": y, "tasks": tasks, "sample_weight": sample_weight}
        wrong = [name for name, one in given.items() if not (one is None or is_collection(one))]
        if wrong or y is None:
            raise TypeError(
                f"{' and '.join(wrong) or 'y'} must be a collection of Dask, or a list of delayed ones, "
                f"as X is; got {', '.join(type(given[name]).__name__ for name in wrong or ['y'])}."
            )
        if not (client is None or hasattr(client, "compute")):
            raise TypeError(f"client must be a distributed.Client or None; got {type(client).__name__}.")
        self.client, self.has_tasks = client, tasks is not None
        self.head, self.y_head = (self._head(one) for one in (X, y))
        self.shape = tuple(self.y_head.shape[1:])  # of a row of y
        self.each = _zipped(_with_chunks_of(X, given))

    def _head(self, collection):
        """What a partition is, without rows."""
        if isinstance(collection, da.Array):
            return np.empty((0, *collection.shape[1:]), dtype=collection.dtype)
        if hasattr(collection, "_meta"):
            return collection._meta
        return self.computed(delayed(lambda part: part[:0])(collection[0]))

    def computed(self, value):
        """The value of what is delayed."""
        return value.compute() if self.client is None else self.client.compute(value).result()

    def map(self, function, *shared):
        """Delayed function(*shared, X, y, tasks, sample_weight) of each partition."""
        once = [delayed(one, name=f"skmtl-{uuid4()}", traverse=False) for one in shared]
        return [delayed(_applied)(function, once, rows) for rows in self.each]

    def sum(self, add, function, *shared, finish=None):
        """The sum by add(list) of what `map` gives, in a tree whose shape follows from their number alone.

        `finish` leaves of it what the caller needs, before it is sent.
        """
        parts = self.map(function, *shared)
        while True:
            parts = [delayed(add)(parts[at : at + FAN_IN]) for at in range(0, len(parts), FAN_IN)]
            if len(parts) == 1:
                return self.computed(parts[0] if finish is None else delayed(finish)(parts[0]))

    def kept(self, collection):
        """A collection that is computed and stays on the workers, in memory where there are none."""
        return collection.persist() if self.client is None else self.client.persist(collection)


def _applied(function, shared, rows):
    return function(*shared, *rows)


def _with_chunks_of(X, given):
    """The same with partitions of whole rows, those of X where arrays tell how large these are."""
    if not isinstance(X, da.Array):
        return given
    out = {**given, "X": X.rechunk({1: -1}) if X.ndim == 2 else X}
    for name, one in given.items():
        if name != "X" and isinstance(one, da.Array):
            own = X.chunks[0] if one.chunks[0] != X.chunks[0] and not np.isnan(X.chunks[0]).any() else None
            whole = dict.fromkeys(range(1, one.ndim), -1)
            out[name] = one.rechunk(whole if own is None else {0: own, **whole})
    return out


def _zipped(given):
    """A delayed tuple of partitions for each of X."""
    used = present(**given)
    if all(isinstance(one, dd.DataFrame | dd.Series) for one in used.values()):
        _check_number({name: one.npartitions for name, one in used.items()})
        kept = dd.map_partitions(  # as one collection, whose partitions are made once
            _packed, *used.values(), names=list(used), meta=_packed(names=[]), align_dataframes=False
        )
        return [delayed(_unpacked)(part) for part in kept.to_delayed()]
    return [tuple(one[name] for name in given) for one in delayed_rows(given)]


def delayed_rows(given):
    """{name: delayed partition or None} for each of the partitions of collections that may be None."""
    parts = {name: _delayed(one) for name, one in present(**given).items()}
    _check_number({name: len(own) for name, own in parts.items()})
    each = (dict(zip(parts, own, strict=True)) for own in zip(*parts.values(), strict=True))
    return [dict.fromkeys(given) | own for own in each]


def _delayed(collection):
    """Partitions of whole rows, in their order."""
    if isinstance(collection, list):
        return collection
    if isinstance(collection, da.Array) and collection.ndim == 2:
        collection = collection.rechunk({1: -1})
    return np.ravel(np.array(collection.to_delayed(), dtype=object)).tolist()


def _check_number(numbers):
    if len({*numbers.values()}) > 1:
        raise ValueError(f"X and what goes with it must have as many partitions; got {numbers}.")


def _packed(*parts, names):
    """Parts of the rows in a single cell of a series."""
    import pandas as pd

    rows = dict(zip(names, parts, strict=True))
    cell = np.empty(1 if names else 0, dtype=object)
    for at in range(len(cell)):
        cell[at] = tuple(rows.get(name) for name in ("X", "y", "tasks", "sample_weight"))
    return pd.Series(cell)


def _unpacked(series):
    return series.iloc[0]


def predicted(model, method, X, tasks, columns, dtype):
    """Lazy predictions: a series or a frame with the index of X, an array, or a list of delayed ones.

    `columns` names those of predictions for one row, None where there is one alone.
    """
    if isinstance(X, list):
        tasks = [None] * len(X) if tasks is None else tasks
        return [delayed(_answer)(*rows, model, method, columns) for rows in zip(X, tasks, strict=True)]
    if isinstance(X, da.Array):
        X, own = X.rechunk({1: -1}), []
        if tasks is not None:
            own = [tasks.rechunk({0: X.chunks[0]})[:, None]]
        axes = {"drop_axis": 1} if columns is None else {"chunks": (X.chunks[0], (len(columns),))}
        options = {"model": model, "method": method, "columns": columns, "dtype": dtype}
        return da.map_blocks(
            _answer, X, *own, meta=np.empty((0,) * (1 if columns is None else 2), dtype), **options, **axes
        )
    shape = (0,) if columns is None else (0, len(columns))
    options = {"meta": _framed(np.empty(shape, dtype), X._meta.index, columns), "align_dataframes": False}
    own = [] if tasks is None else [tasks]
    return dd.map_partitions(_framed_answer, X, *own, model=model, method=method, columns=columns, **options)


def _answer(X, tasks=None, model=None, method=None, columns=None):
    """Predictions for one partition."""
    if not num_samples(X):
        return np.empty(0 if columns is None else (0, len(columns)))
    if tasks is None:
        return getattr(model, method)(X)
    return getattr(model, method)(X, tasks=np.ravel(tasks) if isinstance(tasks, np.ndarray) else tasks)


def _framed_answer(X, tasks=None, model=None, method=None, columns=None):
    return _framed(_answer(X, tasks, model, method, columns), X.index, columns)


def _framed(found, index, columns):
    """Predictions as a series, or as a frame with a column for each task or class."""
    import pandas as pd

    return pd.Series(found, index=index) if columns is None else pd.DataFrame(found, index, columns)
