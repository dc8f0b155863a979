"""The bundled real data sets."""

import csv
import gzip
from importlib import resources

import numpy as np

from .._inputs import optional
from ._fetch import IN_FRONT, bunch, documented_in_common

DATA = resources.files(__package__) / "data"
SHARED = {  # what the docstrings have in common
    "frames": f"""as_frame : bool, default=False
        {IN_FRONT},
        for ``task_column="%(task)s"``""",
    "last": """target_names : list of str
            Name of the target.
        frame : DataFrame of shape %(shape)s or None
            %(Task)s, features and target together, with `as_frame`.
        DESCR : str
            What the columns mean and where the data come from.
    (data, target) : tuple
        With `return_X_y`.

    Raises
    ------
    ImportError
        If `as_frame` is True and pandas is not installed.""",
}
ONE_IN_ARRAY = {"minority": "Yes", "sex": "Female", "sector": "Catholic"}


@documented_in_common(**SHARED, task="school", Task="School", shape="(7185, 6)")
def load_hsb82(*, as_frame=False, return_X_y=False):
    """Load the High School and Beyond data: pupils' mathematics scores in 160 schools.

    A regression with 160 tasks (schools), 7185 rows (pupils) and four features, one of which
    (`sector`) is constant inside a task.

    Parameters
    ----------
    %(frames)s, and categories instead of 0 and 1.
    %(without)s

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
        %(last)s

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
    features = ["minority", "sex", "ses", "sector"]
    return _load("hsb82", "school", features, "math_achievement", as_frame, return_X_y)


@documented_in_common(**SHARED, task="country", Task="Country", shape="(10033, 3)")
def load_fertility(*, as_frame=False, return_X_y=False):
    """Load the number of children per woman in 193 countries from 1960 to 2013.

    A regression with 193 tasks (countries), 10033 rows (years of a country) and the year as the only feature:
    trends that differ between tasks.

    Parameters
    ----------
    %(frames)s.
    %(without)s

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes:

        data : ndarray of shape (10033, 1) or DataFrame of shape (10033, 2)
            The year.
        target : ndarray or Series of shape (10033,)
            Children per woman (total fertility rate).
        tasks : ndarray of shape (10033,)
            Country of each row, its name.
        feature_names : list of str
            "year".
        %(last)s

    References
    ----------
    The World Bank, World Development Indicators, https://data.worldbank.org/indicator/SP.DYN.TFRT.IN

    Examples
    --------
    >>> from skmtl.datasets import load_fertility
    >>> fertility = load_fertility()
    >>> fertility.data.shape, len(set(fertility.tasks.tolist()))
    ((10033, 1), 193)
    """
    return _load("fertility", "country", ["year"], "births", as_frame, return_X_y)


def _load(name, task, features, target, as_frame, return_X_y):
    """One of the files in the form that is asked for."""
    with (
        (DATA / f"{name}.csv.gz").open("rb") as raw,
        gzip.open(raw, "rt", encoding="utf-8", newline="") as lines,
    ):
        header, *rows = csv.reader(lines)
    columns = dict(zip(header, map(np.array, zip(*rows, strict=True)), strict=True))
    tasks, y = columns[task], columns[target].astype(np.float64)
    if as_frame:
        kinds = {key: "category" if key in ONE_IN_ARRAY else float for key in features}
        pd = optional("pandas", f"load_{name}(as_frame=True) needs pandas: pip install pandas.")
        data = pd.DataFrame(columns)[features].astype(kinds)
    else:
        columns |= {key: columns[key] == one for key, one in ONE_IN_ARRAY.items() if key in columns}
        data = np.column_stack([columns[key].astype(np.float64) for key in features])
    descr = (DATA / f"{name}.rst").read_text(encoding="utf-8")
    return bunch(f"load_{name}", data, y, tasks, features, [target], descr, task, as_frame, return_X_y)
