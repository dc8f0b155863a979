"""Benchmarks of the field, as their papers use them."""

import csv

import numpy as np

from .._inputs import check_among
from ._fetch import Source, bunch, documented_in_common, read_arff, read_cells, read_mat

SCHOOL = Source(
    "fetch_school",
    "https://raw.githubusercontent.com/jiayuzhou/MALSAR/ca3d55b878cc4113f0d9603e8ac46538aeb1ecd9/data/school.mat",
)
LANDMINE = Source(
    "fetch_landmine",
    "https://raw.githubusercontent.com/daizhongxiang/Federated_Bayesian_Optimization/"
    "9f46a1dfbbcfd5823e026ad9418a4cb881676ae9/LandmineData.mat",
)
SARCOS = {
    part: Source("fetch_sarcos", f"http://www.gaussianprocess.org/gpml/data/{name}.mat")
    for part, name in (("train", "sarcos_inv"), ("test", "sarcos_inv_test"))
}
PARKINSONS = Source(
    "fetch_parkinsons",
    "https://archive.ics.uci.edu/ml/machine-learning-databases/parkinsons/telemonitoring/parkinsons_updrs.data",
    "f2c7d5025dec4e92e7feae367a5f7ccf58789a10ac6b54bdf15976c599f9dd39",
)
MULAN_FOLDER = "https://raw.githubusercontent.com/tsoumakas/mulan/master/data/multi-target"
MULAN = {  # rows, features, targets, as the collection states them
    "andro": (49, 30, 6), "atp1d": (337, 411, 6), "atp7d": (296, 411, 6), "edm": (154, 16, 2),
    "enb": (768, 8, 2), "jura": (359, 15, 3), "oes10": (403, 298, 16), "oes97": (334, 263, 16),
    "osales": (639, 413, 12), "scpf": (1137, 23, 3), "sf1": (323, 10, 3), "sf2": (1066, 10, 3),
    "slump": (103, 7, 3), "wq": (1060, 16, 14),
}  # fmt: skip

SCHOOL_FEATURES = [
    *(f"year_{year}" for year in (1985, 1986, 1987)), "pct_free_meals", "pct_vr_band1", "gender_0",
    "gender_1", *(f"vrband_{k}" for k in range(3)), *(f"ethnic_{k}" for k in range(1, 12)),
    *(f"school_gender_{k}" for k in range(1, 4)), *(f"denomination_{k}" for k in range(1, 4)),
]  # fmt: skip
JOINTS = range(1, 8)
SARCOS_FEATURES = [f"{what}_{k}" for what in ("position", "velocity", "acceleration") for k in JOINTS]
SCORES = ("motor_UPDRS", "total_UPDRS")


@documented_in_common(task="school")
def fetch_school(
    *, path=None, data_home=None, download_if_missing=True, as_frame=False, return_X_y=False
):  # fmt: skip
    """Load the School data: exam scores of pupils in 139 London schools.

    A regression with 139 tasks (schools), 15362 rows (pupils, 22 to 251 in a school) and 27 features, 0/1
    indicators but for two. The benchmark of the field since Bakker & Heskes (2003).

    Parameters
    ----------
    path : str or Path, default=None
        A file of your own: `school.mat` of MALSAR, or an npz file with arrays X, y and task.
    %(files)s
    %(pair)s

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes `data` (15362, 27), `target` (15362,), `tasks` (15362,), `feature_names`,
        `target_names`, `frame` (None without `as_frame`) and `DESCR`.

    %(raises)s

    Notes
    -----
    Exam records of the Inner London Education Authority 1985-87 (Goldstein 1991), from ``data/school.mat`` of
    the MALSAR repository at a fixed commit, without its column of ones. No licence of the data is stated
    there (the repository is GPL-2). No checksum of the file is published: its shape is checked.

    References
    ----------
    Bakker & Heskes (2003), Task clustering and gating for Bayesian multitask learning, JMLR 4;
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8

    Examples
    --------
    >>> from skmtl.datasets import fetch_school
    >>> school = fetch_school()  # doctest: +SKIP
    """
    file = SCHOOL.file(path, data_home, download_if_missing)
    X, y, task = read_cells(file, ("X", "Y"))
    X = X[:, ~(X == 1).all(axis=0)]  # the column of the intercept
    SCHOOL.check(X=(X, (15362, 27)), y=(y, (15362,)), tasks=(np.unique(task), (139,)))
    descr = "School: exam scores of 15362 pupils in 139 schools of London, 1985-87. See fetch_school."
    return bunch(
        "fetch_school", X, y.astype(np.float64), task, SCHOOL_FEATURES, ["score"], descr, "school",
        as_frame, return_X_y,
    )  # fmt: skip


@documented_in_common(task="field")
def fetch_landmine(
    *, path=None, data_home=None, download_if_missing=True, as_frame=False, return_X_y=False
):  # fmt: skip
    """Load the Landmine data: radar images of 29 minefields.

    A classification with 29 tasks (fields, 445 to 690 rows each), 14820 rows and 9 features; 6.1% of the rows
    are mines. Fields 0 to 14 are foliated, 15 to 28 bare earth or desert. Papers report the mean over tasks
    of the area under the ROC curve.

    Parameters
    ----------
    path : str or Path, default=None
        A file of your own: `LandmineData.mat`, or an npz file with arrays X, y and task.
    %(files)s
    %(pair)s

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes `data` (14820, 9), `target` (14820,) of 0 and 1, `tasks` (14820,),
        `feature_names`, `target_names`, `frame` (None without `as_frame`) and `DESCR`.

    %(raises)s

    Notes
    -----
    From ``LandmineData.mat`` (Duke University) as it stands in the repository Federated_Bayesian_Optimization
    of Z. Dai at a fixed commit. No licence is stated. No checksum of the file is published: its shape is
    checked.

    References
    ----------
    Xue, Liao, Carin & Krishnapuram (2007), Multi-task learning for classification with Dirichlet process
    priors, JMLR 8

    Examples
    --------
    >>> from skmtl.datasets import fetch_landmine
    >>> mines = fetch_landmine()  # doctest: +SKIP
    """
    file = LANDMINE.file(path, data_home, download_if_missing)
    X, y, task = read_cells(file, ("feature", "label"))
    LANDMINE.check(X=(X, (14820, 9)), y=(y, (14820,)), tasks=(np.unique(task), (29,)))
    descr = "Landmine: mine or clutter in 14820 radar images of 29 fields. See fetch_landmine."
    names = [f"f{j}" for j in range(9)]
    return bunch(
        "fetch_landmine", X, y.astype(np.intp), task, names, ["mine"], descr, "field", as_frame, return_X_y
    )


@documented_in_common()
def fetch_sarcos(
    *, subset="train", path=None, data_home=None, download_if_missing=True, as_frame=False, return_X_y=False
):
    """Load the SARCOS data: torques of the seven joints of a robot arm.

    A regression with seven tasks (joints) on the same rows: 21 features, positions, velocities and
    accelerations of the joints.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        44484 rows, or the 4449 for tests, which are among the former as well: for a fair test split the
        training rows.
    path : str or Path, default=None
        A file of your own: `sarcos_inv.mat` or `sarcos_inv_test.mat`.
    %(files)s
    %(alone)s

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes `data` (n_rows, 21), `target` (n_rows, 7), `tasks` (None: the columns of the
        target), `feature_names`, `target_names`, `frame` (None without `as_frame`) and `DESCR`.

    %(raises)s

    Notes
    -----
    From the page of Rasmussen & Williams' book, http://www.gaussianprocess.org/gpml/data/. No licence and no
    checksum are stated: the shape is checked.

    References
    ----------
    Vijayakumar & Schaal (2000), Locally weighted projection regression, ICML; Rasmussen & Williams (2006),
    Gaussian processes for machine learning, section 2.5

    Examples
    --------
    >>> from skmtl.datasets import fetch_sarcos
    >>> arm = fetch_sarcos()  # doctest: +SKIP
    """
    if subset not in SARCOS:
        raise ValueError(f"subset must be 'train' or 'test'; got {subset!r}.")
    source = SARCOS[subset]
    file, key = source.file(path, data_home, download_if_missing), source.url.rpartition("/")[2][:-4]
    rows = np.asarray(read_mat(file, (key,))[key], dtype=np.float64)
    source.check(rows=(rows, (44484 if subset == "train" else 4449, 28)))
    descr = f"SARCOS: torques of the seven joints of a robot arm, {subset}. See fetch_sarcos."
    targets = [f"torque_{k}" for k in JOINTS]
    return bunch(
        "fetch_sarcos", rows[:, :21], rows[:, 21:], None, SARCOS_FEATURES, targets, descr, None, as_frame,
        return_X_y,
    )  # fmt: skip


@documented_in_common(task="subject")
def fetch_parkinsons(
    *, target="total_UPDRS", path=None, data_home=None, download_if_missing=True, as_frame=False,
    return_X_y=False,
):  # fmt: skip
    """Load the Parkinsons telemonitoring data: symptom scores of 42 patients by their voice.

    A regression with 42 tasks (patients), 5875 rows (recordings) and 19 features: age, sex, time and 16
    measures of the voice. Age and sex are constant inside a task.

    Parameters
    ----------
    target : {"total_UPDRS", "motor_UPDRS"}, default="total_UPDRS"
        Which score.
    path : str or Path, default=None
        A file of your own: `parkinsons_updrs.data`.
    %(files)s
    %(pair)s

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes `data` (5875, 19), `target` (5875,), `tasks` (5875,) from 1 to 42,
        `feature_names`, `target_names`, `frame` (None without `as_frame`) and `DESCR`.

    %(raises)s

    Notes
    -----
    UCI Machine Learning Repository, data set 189, under the licence CC BY 4.0. The checksum is the one that
    UCIData.jl publishes; a file of your own is checked by its columns and shape.

    References
    ----------
    Tsanas, Little, McSharry & Ramig (2010), Accurate telemonitoring of Parkinson's disease progression by
    noninvasive speech tests, IEEE Transactions on Biomedical Engineering 57,
    https://doi.org/10.1109/TBME.2009.2036000

    Examples
    --------
    >>> from skmtl.datasets import fetch_parkinsons
    >>> voices = fetch_parkinsons()  # doctest: +SKIP
    """
    check_among("target", target, SCORES)
    file = PARKINSONS.file(path, data_home, download_if_missing)
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            header, *rows = csv.reader(lines)
    except ValueError as error:  # no line, or no text
        raise ValueError(f"fetch_parkinsons: {file} is no table of text: {error}.") from error
    if header[:1] != ["subject#"] or not set(SCORES) <= set(header):
        raise ValueError(f"fetch_parkinsons: {file} has the columns {header[:6]}, not those of the data.")
    values = np.array([row for row in rows if row], dtype=np.float64)
    PARKINSONS.check(rows=(values, (5875, 22)))
    kept = [j for j, name in enumerate(header) if name not in ("subject#", *SCORES)]
    descr = "Parkinsons: UPDRS scores of 42 patients by 5875 recordings of their voice. See fetch_parkinsons."
    return bunch(
        "fetch_parkinsons", values[:, kept], values[:, header.index(target)], values[:, 0].astype(np.intp),
        [header[j] for j in kept], [target], descr, "subject", as_frame, return_X_y,
    )  # fmt: skip


@documented_in_common()
def fetch_mulan(
    name, *, path=None, data_home=None, download_if_missing=True, as_frame=False, return_X_y=False
):  # fmt: skip
    """Load one of the multi-target regression sets of Mulan.

    All targets are known for the same rows: pass them as a 2-D `y`, whose columns are the tasks.

    Parameters
    ----------
    name : str
        "andro", "atp1d", "atp7d", "edm", "enb", "jura", "oes10", "oes97", "osales", "scpf", "sf1", "sf2",
        "slump" or "wq".
    path : str or Path, default=None
        A file of your own, in the ARFF format of the collection.
    %(files)s
    %(alone)s

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes `data` (n_rows, n_features), where NaN is missing, `target` (n_rows, n_targets),
        `tasks` (None: the columns of the target), `feature_names`, `target_names`, `frame` (None without
        `as_frame`) and `DESCR`. Nominal features without numbers are positions among their values.

    %(raises)s

    Notes
    -----
    From ``data/multi-target`` of the Mulan repository, which states the sources of each set but no licence
    of the data (the software is GPL), and no checksum: the shape is checked.

    References
    ----------
    Spyromitros-Xioufis, Tsoumakas, Groves & Vlahavas (2016), Multi-target regression via input space
    expansion: treating targets as inputs, Machine Learning 104, https://doi.org/10.1007/s10994-016-5546-z

    Examples
    --------
    >>> from skmtl.datasets import fetch_mulan
    >>> soil = fetch_mulan("jura")  # doctest: +SKIP
    """
    check_among("name", name, MULAN)
    n_rows, n_features, n_targets = MULAN[name]
    source = Source("fetch_mulan", f"{MULAN_FOLDER}/{name}.arff")
    names, values = read_arff(source.file(path, data_home, download_if_missing))
    source.check(rows=(values, (n_rows, n_features + n_targets)))
    descr = f"Mulan: {name}, {n_rows} rows, {n_features} features, {n_targets} targets. See fetch_mulan."
    return bunch(
        "fetch_mulan", values[:, :n_features], values[:, n_features:], None, names[:n_features],
        names[n_features:], descr, None, as_frame, return_X_y,
    )  # fmt: skip
