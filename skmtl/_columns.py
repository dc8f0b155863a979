"""Columns of X by name or position: a text is a name and an integer a position, always."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from ._labels import are_numbers, can_be_numbers, decoded, is_missing, meant, missing_labels, refuse_missing
from ._sklearn import get_feature_names, safe_indexing
from ._warn import warn

BLOCK = 2**11  # rows that stay in the cache


def column_names(X):
    """Column names of a data frame or table, None for anything without names."""
    if hasattr(X, "column_names"):  # pyarrow
        return list(X.column_names)
    columns = getattr(X, "columns", None)
    return None if columns is None else list(columns)


def told_apart(X):
    """X; a frame whose columns are not told apart by their names as an array: scikit-learn refuses it."""
    names = column_names(X) or []
    return X if len(set(names)) == len(names) else np.asarray(X)


def warn_of_order(X, tasks):
    """Say that a frame and the tasks of its rows have the same index in another order."""
    index, other = getattr(X, "index", None), getattr(tasks, "index", None)
    if getattr(index, "nlevels", 0) != getattr(other, "nlevels", None) or index.equals(other):
        return  # of pandas both or none of them
    if index.is_unique and other.is_unique and len(index) == len(other) and index.isin(other).all():
        warn(
            "X and tasks have the same index in another order, and rows are taken in the order in which they "
            "stand: if the index tells which belong together, pass tasks.loc[X.index]."
        )


def warn_of_categories(X, model):
    """Say that columns of a frame whose numbers are categories are features of a model without tasks."""
    kinds = zip(column_names(X) or [], getattr(X, "dtypes", ()), strict=False)
    found = [name for name, kind in kinds if str(kind) == "category"]
    if found:
        warn(
            f"{type(model).__name__} was fitted without tasks and takes the categories in the column(s) "
            f"{found} of X for numbers. If one holds the task of each row name it, "
            f"task_column={found[0]!r}; else encode them."
        )


def warn_of_labels(X, tasks, codes):
    """Say that columns of X hold the labels of the rows, at the positions `codes` (-1: none) in `tasks`."""
    X, rows = indexable(X), np.flatnonzero(codes >= 0)
    numbers = getattr(X, "dtype", tasks.dtype).kind in "biuf"
    if len(tasks) < 2 or (numbers and not are_numbers(tasks)):
        return

    def plain(values):
        return list(values) if values.dtype.kind == "M" else values.tolist()

    def same(values, at):
        pairs = zip(plain(values), plain(tasks[codes[at]]), strict=True)
        return all(not is_missing(value) and value == label for value, label in pairs)

    two = rows[[codes[rows].argmin(), codes[rows].argmax()]]  # of different tasks
    if sparse.issparse(X):
        one = two[tasks[codes[two]] != 0][:1]
        block = X[one].tocsr()
        likely = block.indices[block.data == tasks[codes[one]]].tolist()
    else:
        some = X[two] if type(X) is np.ndarray else np.asarray(safe_indexing(X, two))
        likely = [j for j, values in enumerate(some.T) if same(values, two)]
    found = [j for j in likely if same(np.asarray(one_column(X, j))[rows], rows)]
    if found:
        names = column_names(X) or range(X.shape[1])
        found = [names[j] for j in found]
        warn(
            f"the column(s) {found} of X equal tasks: models take them for features. Drop them, or name one "
            "by task_column= in the place of tasks=.",
        )


def refuse_other_order(given, names=None):
    """ValueError where columns of a frame among `given`, by argument, name the tasks in another order.

    The order of the tasks is that of `names`, by default that of the columns of y.
    """
    names = column_names(given.get("y")) if names is None else names.tolist()
    for what, values in given.items():
        own = column_names(values)
        if names is not None and own is not None and own != names and set(own) == set(names):
            raise ValueError(
                f"the columns of {what} name the tasks in the order {own[:5]}, and these are in the order "
                f"{names[:5]}: columns are taken as they stand, so reorder them."
            )


def indexable(X):
    """X in a container whose rows can be taken."""
    if sparse.issparse(X):
        return X.tocsr()
    return told_apart(decoded(X)) if hasattr(X, "shape") or hasattr(X, "columns") else np.asarray(X)


def refuse_masked(values, name):
    """ValueError for a masked array, whose mask nothing that follows would see."""
    masked = np.ma.count_masked(values) if np.ma.isMaskedArray(values) else 0
    if masked:
        raise ValueError(
            f"{name} is a masked array with {masked} masked entries, which would be used as they are: drop "
            f"these rows, or impute the entries ({name}.filled(...))."
        )


def check_features(X, **options):
    """X as a numeric array or CSR/CSC matrix; an error names the columns that are no numbers."""
    options = {"accept_sparse": ("csr", "csc"), "dtype": "numeric", "input_name": "X", **options}
    refuse_masked(X, "X")
    try:
        numbers = check_array(_of_columns(X) if hasattr(X, "column_names") else told_apart(X), **options)
        if numbers.dtype == object:  # categories come through as such
            numbers = check_array(numbers, **{**options, "dtype": np.float64})
    except (TypeError, ValueError) as error:
        refuse_text(X, error)
        if "NaN" in str(error):
            _refuse_missing(X, error)
        raise
    if numbers.dtype.kind in "mM":
        refuse_text(X)
    return numbers


def columns_of(table):
    """The columns of a table of pyarrow as arrays."""
    return [np.asarray(decoded(column)) for column in table.columns]


def _of_columns(table):
    """A table of pyarrow as an array, written a block of rows after the other."""
    columns = columns_of(table)
    out = np.empty((table.num_rows, len(columns)), dtype=np.result_type(*columns))
    for start in range(0, len(out), BLOCK):
        rows = slice(start, start + BLOCK)
        for j, column in enumerate(columns):
            out[rows, j] = column[rows]
    return out


def refuse_text(X, error=None):
    """Error of the same type that names the columns of X which are not numbers, where there are any."""
    names = column_names(X)
    if names is None:
        some = isinstance(X, np.ndarray) and X.dtype.kind in "OUSmM" and X.ndim == 2
        names = range(X.shape[1] if some else 0)
    text = [name for j, name in enumerate(names) if not _is_numeric(one_column(X, j))]
    if text:
        # not NumPy's own words about dates beside numbers
        told = None if error is None or "DType" in str(error) else error
        raise type(told or ValueError())(
            f"{'' if told is None else f'{told}. '}The column(s) {text} of X are not numbers: encode them "
            "(dates too; in suggest by preprocessor=), and if one of them holds the task of each row name "
            "it by task_column."
        ) from error


def _refuse_missing(X, error):
    """ValueError that also names the columns of X, dense or a frame, with missing values."""
    X, names = indexable(X), column_names(X)
    columns = [] if sparse.issparse(X) else range(X.shape[1])
    missing = [j for j in columns if missing_labels(np.asarray(one_column(X, j))).any()]
    if found := [j if names is None else names[j] for j in missing]:
        raise ValueError(
            f"{error} Missing are values of the column(s) {found[:5]} of X: impute them in front of the "
            "model (in suggest by preprocessor=)."
        ) from error


def _is_numeric(column):
    values = np.asarray(column)
    return values.dtype.kind not in "mM" and can_be_numbers(values)


def check_same_names(what, one, other):
    """ValueError where columns have other names or another order."""
    if one is None or other is None or one.tolist() == other.tolist():
        return
    pairs = zip(one.tolist(), other.tolist(), strict=False)
    at = next((j for j, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    raise ValueError(
        f"the columns of {what} differ from position {at} on: {one[at : at + 5].tolist()} and "
        f"{other[at : at + 5].tolist()}; all batches must have the same columns in the same order."
    )


def find_column(key, names, n_columns, argument):
    """Position of a column given by its name or, as an integer, by its position.

    `names` are those of all columns or None; errors begin with `argument`.
    """
    if isinstance(key, Integral) and not isinstance(key, (bool, np.bool_)):
        if not -n_columns <= key < n_columns:
            raise ValueError(f"{argument}{key} is out of range: X has {n_columns} columns.")
        return int(key) % n_columns
    key = str(key) if isinstance(key, str) else key
    # 1 and True are equal, but different names
    at = [j for j, name in enumerate(names or []) if isinstance(name, type(key)) and name == key]
    if len(at) > 1:
        raise ValueError(
            f"{argument}{key!r} names {len(at)} columns of X, at the positions {at}; give the position of "
            "the one that is meant as an integer."
        )
    if not at:
        have = "no column names" if names is None else f"the columns {names}"
        raise ValueError(f"{argument}{key!r} is not a column of X; X has {have}.{meant(key, names)}")
    return at[0]


def place_of(column, names):
    """Position of the task column among the names of all columns; None without one.

    Also where it is not among them: second moments do not tell where it was.
    """
    if isinstance(column, Integral):
        return int(column) % len(names)
    return names.index(column) if column in names else None


def without_column(names, column):
    """The names of all columns but the task column, the last one where nothing tells which it is."""
    if column is None:
        return names
    at = place_of(column, names)
    at = len(names) - 1 if at is None else at
    return names[:at] + names[at + 1 :]


def split_task_column(X, task_column):
    """Take the column with the task of each row out of X.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features + 1)
        Features and the tasks.
    task_column : str or int
        Name, or position, of the column that holds the tasks.

    Returns
    -------
    X : same container of shape (n_samples, n_features)
        The other columns.
    tasks : array of shape (n_samples,)
        The task of each row.

    Raises
    ------
    ValueError
        If there is no such column, more than one of that name, or a row without a label.

    See Also
    --------
    stack_tasks : The other way, from one array per task.

    Examples
    --------
    >>> from skmtl import split_task_column
    >>> X, tasks = split_task_column([[7, 0.1, 0.2], [8, 0.3, 0.4]], 0)
    >>> X.shape, tasks
    ((2, 2), array([7., 8.]))
    """
    X, position, n_columns = _placed(X, task_column, "task_column=")
    tasks = one_column(X, position)
    refuse_missing(missing_labels(np.asarray(tasks)), source_of_tasks(task_column))
    return _drop_column(X, position, n_columns), tasks


def source_of_tasks(task_column):
    """What the user gave to say which task a row belongs to, for messages."""
    return "tasks" if task_column is None else f"task_column={task_column!r}"


@dataclass
class ManyValues:
    """Selector of columns with many different values, for a ColumnTransformer.

    Splines of a column need it to have as many values as there are knots, and more.

    Parameters
    ----------
    least : int, default=10
        Number of different values that a column has at least.

    Examples
    --------
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.preprocessing import SplineTransformer
    >>> from skmtl import ManyValues
    >>> splines = make_column_transformer((SplineTransformer(), ManyValues()), remainder="passthrough")
    """

    least: int = 10

    def __call__(self, X):
        """Positions of the columns of X, a list of int."""
        columns = (np.asarray(safe_indexing(X, j, axis=1)) for j in range(X.shape[1]))
        return [j for j, column in enumerate(columns) if len(np.unique(column)) >= self.least]


def values_of_column(X, key, argument):
    """The values in a column, shape (n_samples,); errors begin with `argument`."""
    X, position, _ = _placed(X, key, argument)
    return np.asarray(one_column(X, position))


def _placed(X, key, argument):
    """X as something with columns, the position of one of them, and how many there are."""
    names = column_names(X)
    if isinstance(key, str) and names is None:
        raise ValueError(
            f"{argument}{key!r} names a column, but X is a {type(X).__name__} without "
            "column names. Pass a data frame (in a Pipeline: `.set_output(transform='pandas')` "
            "on the preceding steps) or give the position of the column as an integer."
        )
    if names is None and not hasattr(X, "shape"):
        X = np.asarray(X)
    n_columns = len(names) if names is not None else X.shape[1] if len(X.shape) == 2 else 0
    try:
        position = find_column(key, names, n_columns, argument)
    except ValueError as error:
        if key == getattr(getattr(X, "index", None), "name", None):
            raise ValueError(f"{error} It is the name of the index: pass X.reset_index().") from None
        if not any(isinstance(name, str) and name.endswith(f"__{key}") for name in names or []):
            raise
        raise ValueError(
            f"{error} After a ColumnTransformer a passed-through column is called "
            f"'remainder__{key}' unless verbose_feature_names_out=False."
        ) from None
    return X, position, n_columns


def one_column(X, position):
    """A column of X as an array (n_samples,)."""
    if sparse.issparse(X):
        return X.tocsr()[:, [position]].toarray().ravel()
    return decoded(safe_indexing(X, position, axis=1))


def _drop_column(X, position, n_columns):
    ends = {0: slice(1, None), n_columns - 1: slice(-1)}
    if isinstance(X, np.ndarray) and position in ends:  # a view, no copy
        return X[:, ends[position]]
    keep = [j for j in range(n_columns) if j != position]
    return X.tocsr()[:, keep] if sparse.issparse(X) else safe_indexing(X, keep, axis=1)


def feature_names_of(X):
    """Names of the columns of X, of tables of pyarrow as well, None where they have none."""
    names = get_feature_names(X)
    if names is None and hasattr(X, "column_names"):
        names = np.array(column_names(X), dtype=object)
    return names
