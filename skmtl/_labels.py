"""Labels of tasks: read, sorted, and found again, each as what it is."""

from datetime import date, timedelta
from difflib import get_close_matches
from itertools import islice, pairwise
from numbers import Integral, Real

import numpy as np

# attoseconds in a unit of time: equal dates at different resolutions are one label
TICKS = {"as": 1, "fs": 10**3, "ps": 10**6, "ns": 10**9, "us": 10**12, "ms": 10**15, "s": 10**18}
TICKS |= {"m": 60 * TICKS["s"], "h": 3600 * TICKS["s"], "D": 86400 * TICKS["s"], "W": 604800 * TICKS["s"]}

KINDS = {(date, np.datetime64): "dates", (timedelta, np.timedelta64): "spans of time", str: "text"}
KINDS |= {bytes: "bytes", (bool, np.bool_): "booleans", Integral: "integers", Real: "numbers"}
DENSE = 4  # times as many integers as labels are there at most where their order is found by marking them
MOST_KNOWN = 10_000  # names that a misspelt one is compared with
NUMBERS = {"booleans", "integers", "numbers"}


def check_tasks(tasks, n_samples, name="tasks"):
    """Validated task labels, shape (n_samples,), without missing values."""
    labels = _label_array(tasks, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.ravel()
    if labels.ndim != 1:
        found = f"got shape {labels.shape}" if labels.ndim else f"got {tasks!r:.100}"
        if isinstance(tasks, str):
            found += f". If {tasks!r} is the column of X that holds the tasks, set task_column={tasks!r} in"
            found += " the constructor; one label of all rows is given once for each"
        elif labels.ndim == 2 and len(labels) == n_samples:
            found += ". Of indicators of the tasks give the column that is one, argmax(axis=1)"
        raise ValueError(f"{name} must be one label per row, shape (n_samples,); {found}.")
    if len(labels) != n_samples:
        counts = labels.dtype.kind in "iu" and int(labels.sum()) == n_samples
        way_out = f" Numbers of rows make labels by numpy.repeat(range({len(labels)}), {name})." * counts
        raise ValueError(f"{name} has {len(labels)} labels but X has {n_samples} rows.{way_out}")
    missing = missing_labels(labels)
    if np.ma.isMaskedArray(tasks):
        missing = missing | np.ma.getmaskarray(tasks).reshape(-1)
    refuse_missing(missing, name)
    return labels


def refuse_missing(missing, name):
    """ValueError where rows, by a mask of these, have no task."""
    if missing.any():
        n = int(missing.sum())
        raise ValueError(
            f"{name} has {n} missing label{'s' * (n > 1)} (first at row {int(np.argmax(missing))}); every "
            "row needs a task: leave such rows out, or give them a label, such as 'unknown'."
        )


def _label_array(tasks, name):
    """The labels in an array: of one type, else of objects."""
    if isinstance(tasks, (dict, set, frozenset)):
        raise TypeError(f"{name} must be an array of one label per row; got a {type(tasks).__name__}.")
    if isinstance(tasks, (list, tuple)):  # an array of mixed labels would turn numbers and NaN into text
        kinds = {type(label) for label in tasks}
        if len(kinds) != 1 or kinds == {tuple}:
            return object_array(tasks)
    try:
        labels = plain_array(tasks)
    except ValueError as error:
        raise ValueError(f"{name} must be one label per row, shape (n_samples,); {error}") from error
    if isinstance(tasks, (list, tuple)) and labels.dtype.kind == "f" and kinds == {int}:
        return object_array(tasks)  # of both signs and beyond the integers of NumPy
    return labels


def decoded(values):
    """Dictionaries of pyarrow, columns or tables of them, as values: NumPy takes nulls for the last one."""
    kind = getattr(values, "type", None)
    if hasattr(kind, "index_type"):
        return values.cast(kind.value_type)
    if hasattr(values, "combine_chunks") and hasattr(values, "column_names"):
        for j, column in enumerate(values.columns):
            if hasattr(column.type, "index_type"):
                values = values.set_column(j, values.column_names[j], decoded(column))
    return values


def plain_array(values):
    """The values in an array; texts that end in NUL, which its text type would strip, as objects."""
    values = decoded(values)
    out = np.asarray(values)
    if isinstance(values, np.ndarray) or out.dtype.kind not in "US" or out.ndim != 1:
        return out
    values = list(values)
    return out if out.tolist() == values else object_array(values)


def plain_labels(labels):
    """Labels as an array of one type."""
    return plain_array(labels.tolist()) if labels.dtype == object and len(labels) else labels


def object_array(values):
    """The values as they are, in an array."""
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def missing_labels(labels):
    """Where an array holds no label (NaN, NaT, None or NA), boolean of its shape."""
    if labels.dtype.kind in "biuSU":
        return np.zeros(labels.shape, dtype=bool)
    if labels.dtype.kind != "O":
        return labels != labels
    if {*map(type, labels.ravel())} <= {str, int, bool}:
        return np.zeros(labels.shape, dtype=bool)
    return np.array([is_missing(label) for label in labels.ravel()], dtype=bool).reshape(labels.shape)


def can_be_numbers(values):
    """Whether an array holds numbers, or texts of numbers alone."""
    try:
        values.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def is_missing(label):
    """None, NaN, NaT or pandas' NA (whose comparisons are neither true nor false)."""
    differs = label is None or label != label
    return not isinstance(differs, (bool, np.bool_)) or bool(differs)


def encode_tasks(labels):
    """Sorted unique labels and the position of each row's label among them."""
    try:
        if labels.dtype == object:
            return _encode_objects(labels)
        if len(labels) and (labels[1:] >= labels[:-1]).all():
            first = np.concatenate([[True], labels[1:] != labels[:-1]])  # sorted: no need to sort
            return labels[first], np.cumsum(first) - 1
        if labels.dtype.kind in "iu" and len(labels):
            least, most = labels.min(), labels.max()
            if int(most) - int(least) < DENSE * len(labels):
                return _encode_dense(labels, least, int(most) - int(least) + 1)
        return np.unique(labels, return_inverse=True)
    except TypeError:
        refuse_unsorted(labels, "tasks")


def refuse_unsorted(labels, name):
    """TypeError for labels without an order among them."""
    kinds = sorted({type(label).__name__ for label in labels})
    problem = f"mixes labels that cannot be sorted ({', '.join(kinds)}); use labels of one type."
    if len(kinds) == 1:
        problem = f"holds labels of the type {kinds[0]} without an order among them; use text, numbers, "
        problem += "dates or tuples of these."
    raise TypeError(f"{name} {problem}") from None


def _encode_dense(labels, least, size):
    """The same for integers within `size` of the least, by marking those that are there."""
    at, there = labels.astype(np.int64) - least.astype(np.int64), np.zeros(size, dtype=bool)
    there[at] = True
    names = least + np.flatnonzero(there).astype(labels.dtype)  # what overflows does so twice
    return names, (np.cumsum(there) - 1)[at]


def _encode_objects(labels):
    """The same for objects, told apart by equality and not by an order, which may be partial."""
    keys, unique = label_keys(labels), {}
    for key, label in zip(keys, labels.tolist(), strict=True):
        unique.setdefault(key, label)
    ranked = sorted(unique, key=unique.get)
    names = [unique[key] for key in ranked]
    if not all(one < other for one, other in pairwise(names)):
        raise TypeError("the order is partial")
    position = {key: t for t, key in enumerate(ranked)}
    return object_array(names), np.array([position[key] for key in keys], dtype=np.intp)


def find_tasks(labels, known):
    """Position of each label in `known`, -1 where it is unknown."""
    position = {key: t for t, key in enumerate(label_keys(known))}
    unique, inverse = encode_tasks(labels)
    return np.array([position.get(key, -1) for key in label_keys(unique)], dtype=np.intp)[inverse]


def label_keys(labels):
    """A list that has equal entries where labels are equal: numbers exactly, dates at any resolution."""
    if labels.dtype.kind in "mM":
        return _moments(labels)
    return [_key(label) for label in labels.tolist()] if labels.dtype == object else labels.tolist()


def _key(label):
    """The label itself, or the moment that it names."""
    kinds = (date, timedelta, np.datetime64, np.timedelta64)
    if not isinstance(label, kinds) or getattr(label, "tzinfo", None) is not None:
        return label
    exact = getattr(label, "to_datetime64", None) or getattr(label, "to_timedelta64", None)  # pandas
    span = isinstance(label, (timedelta, np.timedelta64))
    value = exact() if exact else (np.timedelta64 if span else np.datetime64)(label)
    return _moments(np.asarray([value]))[0]


def _moments(labels):
    """Kind and number of attoseconds (months for spans of months) of dates or spans of time."""
    kind, (unit, step) = labels.dtype.kind, np.datetime_data(labels.dtype)
    if unit in "YM" and kind == "m":
        counts = labels.view(np.int64) * step * (12 if unit == "Y" else 1)
        return [("months", count) for count in counts.tolist()]
    if unit in "YM":
        labels, unit, step = labels.astype("M8[D]"), "D", 1
    ticks = TICKS.get(unit, 1) * step
    return [(kind, count * ticks) for count in np.ascontiguousarray(labels).view(np.int64).tolist()]


def all_labels(a, b):
    """The labels of both, sorted; each must be itself among them, not its text or the nearest float."""
    if label_keys(a) == label_keys(b):
        return a
    try:
        both = encode_tasks(np.concatenate([a, b]))[0]
    except TypeError:  # labels that cannot be sorted
        both = np.array([])
    if (find_tasks(a, both) < 0).any() or (find_tasks(b, both) < 0).any():
        raise ValueError(
            f"the tasks of the two are labels of different kinds, {readable(a[:3])} ({a.dtype}) and "
            f"{readable(b[:3])} ({b.dtype}), which have no type in common; use labels of one type."
        )
    return both


def known_labels(whole, part):
    """The labels of the whole, all labels of the part among them."""
    absent = part[find_tasks(part, whole) < 0]
    if len(absent):
        raise ValueError(f"cannot subtract statistics of tasks that are not there: {readable(absent[:5])}.")
    return whole


def label_kind(labels):
    """What the labels are, in a word."""
    found = type(labels[0]) if labels.dtype == object else labels.dtype.type
    words = (word for kind, word in KINDS.items() if issubclass(found, kind))
    return next(words, f"of type {found.__name__}")


def are_numbers(labels):
    """Whether they are numbers or truth values."""
    return label_kind(labels) in NUMBERS


def of_one_kind(a, b):
    """Whether labels of the one could be labels of the other."""
    return label_kind(a) == label_kind(b) or {label_kind(a), label_kind(b)} <= NUMBERS


def readable(labels):
    """The labels as a list for a message: dates as text."""
    return labels.astype(str).tolist() if labels.dtype.kind in "mM" else labels.tolist()


def meant(name, known):
    """A question for the text among what is known that is most like a misspelt one, behind a space."""
    texts = islice((one for one in ([] if known is None else known) if isinstance(one, str)), MOST_KNOWN)
    near = get_close_matches(str(name), list(texts), 1)
    return f" Did you mean {str(near[0])!r}?" if near else ""


def for_each_task(mapping, tasks, name, what):
    """Values of a mapping {task: value} in the order of the tasks, all of which it must name.

    `name` is the argument that holds it, `what` a value of it, in words.
    """
    given, keys = label_keys(object_array(list(mapping))), label_keys(tasks)
    value, known = dict(zip(given, mapping.values(), strict=True)), set(keys)
    unknown = [label for label, key in zip(mapping, given, strict=True) if key not in known]
    absent = [label for label, key in zip(readable(tasks), keys, strict=True) if key not in value]
    if unknown or absent:
        raise ValueError(
            f"{name} must name every task exactly once; "
            f"unknown tasks: {unknown[:5]}, tasks without a {what}: {absent[:5]}."
            + (meant(unknown[0], absent) if unknown else "")
        )
    return [value[key] for key in keys]


def rows_of_tasks(y, labels=None):
    """Number of observed labels of each task; a column of y for each without labels of rows."""
    if labels is None:
        return (~missing_labels(y)).reshape(len(y), -1).sum(axis=0)
    return np.bincount(encode_tasks(labels)[1])


def blocks(codes):
    """(code, its rows in order) for every code that occurs, sorted by code."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return [(codes[rows[0]], rows) for rows in np.split(order, starts) if len(rows)]
