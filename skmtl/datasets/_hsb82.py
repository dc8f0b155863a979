"""The bundled real data set."""

import csv
import gzip
from importlib import resources

import numpy as np
from sklearn.utils import Bunch

DATA = resources.files(__package__) / "data"
FEATURES = ("minority", "sex", "ses", "sector")
ONE_IN_ARRAY = {"minority": "Yes", "sex": "Female", "sector": "Catholic"}
TASK, TARGET = "school", "math_achievement"


def load_hsb82(*, as_frame=False, return_X_y=False):
    """Load the High School and Beyond data: pupils' mathematics scores in 160 schools.

    A regression with 160 tasks (schools), 7185 rows (pupils) and four features, one of which
    (`sector`) is constant inside a task.

    Parameters
    ----------
    as_frame : bool, default=False
        Return data frames (pandas is needed): `data` then has the task column "school" in front,
        for ``task_column="school"``, and categories instead of 0 and 1.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch. Without `as_frame` this leaves the tasks out.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes:

        data : ndarray of shape (7185, 4) or DataFrame of shape (7185, 5)
            minority, sex, ses, sector; as numbers: minority 1, female 1, Catholic 1.
        target : ndarray or Series of shape (7185,)
            Mathematics achievement.
        tasks : ndarray of shape (7185,)
            School of each pupil, a string such as "1224".
        feature_names : list of str
            Names of the four features.
        target_names : list of str
            Name of the target.
        frame : DataFrame of shape (7185, 6) or None
            School, features and target together, with `as_frame`.
        DESCR : str
            What the columns mean and where the data come from.
    (data, target) : tuple
        With `return_X_y`.

    Raises
    ------
    ImportError
        If `as_frame` is True and pandas is not installed.

    References
    ----------
    S. W. Raudenbush, A. S. Bryk, "Hierarchical Linear Models: Applications and Data Analysis
    Methods", 2nd edition, Sage, 2002.

    Examples
    --------
    >>> from skmtl.datasets import load_hsb82
    >>> hsb82 = load_hsb82()
    >>> hsb82.data.shape, len(set(hsb82.tasks.tolist()))
    ((7185, 4), 160)
    """
    columns = _read_columns()
    tasks, target = np.array(columns[TASK]), np.array(columns[TARGET], dtype=np.float64)
    if as_frame:
        data, target, frame = _frames(columns)
    else:
        data, frame = np.column_stack([_as_numbers(name, columns[name]) for name in FEATURES]), None
    if return_X_y:
        return data, target
    return Bunch(
        data=data, target=target, tasks=tasks, feature_names=list(FEATURES), target_names=[TARGET],
        frame=frame, DESCR=(DATA / "hsb82.rst").read_text(encoding="utf-8"),
    )  # fmt: skip


def _read_columns():
    """The columns of the file as lists of strings, by name."""
    with (
        (DATA / "hsb82.csv.gz").open("rb") as raw,
        gzip.open(raw, "rt", encoding="utf-8", newline="") as lines,
    ):
        header, *rows = csv.reader(lines)
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _as_numbers(name, values):
    """One feature as floats; categories as 0 and 1."""
    if name in ONE_IN_ARRAY:
        return np.array([value == ONE_IN_ARRAY[name] for value in values], dtype=np.float64)
    return np.array(values, dtype=np.float64)


def _frames(columns):
    """Features with the school, the target, and both together."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("load_hsb82(as_frame=True) needs pandas: pip install pandas.") from error
    frame = pd.DataFrame({name: columns[name] for name in (TASK, *FEATURES, TARGET)})
    frame = frame.astype(dict.fromkeys(ONE_IN_ARRAY, "category") | {"ses": float, TARGET: float})
    return frame[[TASK, *FEATURES]], frame[TARGET], frame
