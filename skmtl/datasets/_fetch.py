"""Files that are downloaded once, or are the user's, and what they hold."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
from scipy.io.matlab import MatReadError
from sklearn.datasets import fetch_file, get_data_home
from sklearn.utils import Bunch

from .._inputs import optional
from .._parameters import filled

RETRIES, DELAY = 2, 0.5  # of a download, seconds between them
FRAMES = "Return data frames (pandas is needed)"
IN_FRONT = f'{FRAMES}: `data` then has the task column "%(task)s" in front'
SHARED = {  # what the docstrings of all have in common, in the places of these names
    "files": """data_home : str or Path, default=None
        Where files are kept, by default `sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there; else an OSError says so.""",
    "alone": f"""as_frame : bool, default=False
        {FRAMES}.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.""",
    "pair": f"""as_frame : bool, default=False
        {IN_FRONT}.
    %(without)s""",
    "without": """return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch. Without `as_frame` this leaves the tasks out:
        `tasks` of the Bunch are in the order of its rows.""",
    "rest": "`feature_names`, `target_names`, `frame` (None without `as_frame`) and `DESCR`.",
    "raises": """Raises
    ------
    OSError
        If the file cannot be downloaded or has another checksum than the published one, or `path` is no file.
    ValueError
        If the file holds something else, or an argument is unknown.""",
}


def documented_in_common(**own):
    """Decorator: fill in a docstring what it has in common with the others, and its own texts."""

    def fill(function):
        function.__doc__ = filled(function.__doc__, SHARED | own)
        return function

    return fill


@dataclass
class Source:
    """A file in the web."""

    function: str  # name of the one that reads it, for messages
    url: str
    sha256: str | None = None  # where it is published: else the shape of what it holds is checked alone

    def file(self, path, data_home, download_if_missing):
        """The file: at `path`, in the cache, or downloaded to it."""
        if path is not None:
            path = Path(path).expanduser()
            if not path.is_file():
                raise FileNotFoundError(f"{self.function}: path={str(path)!r} is no file.")
            return path
        folder, name = Path(get_data_home(data_home)) / "skmtl", self.url.rpartition("/")[2]
        if not download_if_missing and not (folder / name).is_file():
            raise OSError(f"{self.function}: {folder / name} is missing, and download_if_missing=False.")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return fetch_file(self.url, folder, name, self.sha256, n_retries=RETRIES, delay=DELAY)
        except OSError as error:  # no network, no such file, another checksum
            raise OSError(
                f"{self.function} could not download {self.url} ({error}). Get this file in another way and "
                f"pass path= where it is, or put it at {folder / name}."
            ) from error

    def check(self, **found):
        """ValueError unless arrays have their shapes, {name: (array, shape)}."""
        for name, (array, shape) in found.items():
            if np.shape(array) != shape:
                raise ValueError(
                    f"{self.function}: the file holds {name} of shape {np.shape(array)}, not {shape}: it is "
                    "damaged, or another one."
                )


def bunch(function, data, target, tasks, names, targets, descr, task_name, as_frame, return_X_y):
    """What a function returns: arrays, or frames with the tasks in front."""
    frame = None
    if as_frame:
        pd = optional("pandas", f"{function}(as_frame=True) needs pandas: pip install pandas.")
        data, target = pd.DataFrame(data, columns=names), pd.DataFrame(target, columns=targets)
        if tasks is not None:
            data.insert(0, task_name, tasks)
        frame = pd.concat([data, target], axis=1)
        target = target[targets[0]] if len(targets) == 1 else target
    if return_X_y:
        return data, target
    return Bunch(
        data=data, target=target, tasks=tasks, feature_names=list(names), target_names=list(targets),
        frame=frame, DESCR=descr,
    )  # fmt: skip


def read_cells(path, keys):
    """Arrays of each task in two cell arrays of a MATLAB file, or X, y and task of an npz file."""
    if path.suffix == ".npz":
        with np.load(path) as held:
            _refuse_lack(path, ("X", "y", "task"), held)
            X, y, task = (held[name] for name in ("X", "y", "task"))
        return X.astype(np.float64), y, task.astype(np.intp)
    cells = read_mat(path, keys)
    parts = [[np.asarray(one, dtype=np.float64) for one in cells[key].ravel()] for key in keys]
    task = np.repeat(np.arange(len(parts[0])), [len(one) for one in parts[0]])
    return np.vstack(parts[0]), np.concatenate([one.ravel() for one in parts[1]]), task


def read_mat(path, keys):
    """Arrays by name from a MATLAB file; ValueError where it is none or lacks them."""
    try:
        held = scipy.io.loadmat(path)
    except (ValueError, TypeError, IndexError, NotImplementedError, MatReadError) as error:
        raise ValueError(f"{path} is no MATLAB file that can be read: {error}") from error
    _refuse_lack(path, keys, held)
    return held


def _refuse_lack(path, keys, held):
    if absent := [key for key in keys if key not in held]:
        raise ValueError(f"{path} has no {absent}; it holds {[k for k in held if not k.startswith('__')]}.")


def read_arff(path):
    """Names of the attributes and their values (n_rows, n_attributes); nominal ones by position, ? as NaN.

    ValueError where the file is none, or a row has no value, or no known one, for each attribute.
    """
    names, kinds, rows = [], [], []
    in_header = True
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        line = line.strip()
        if not line or line.startswith("%"):
            continue
        if not in_header:
            try:
                values = zip(line.split(","), kinds, strict=True)
                rows.append([_number(value.strip(), kind) for value, kind in values])
            except ValueError as error:
                raise ValueError(
                    f"{path}: the row {line!r:.60} does not hold the {len(names)} values of the header: "
                    f"{error}."
                ) from error
        elif line.lower().startswith("@data"):
            in_header = False
        elif line.lower().startswith("@attribute"):
            rest = line.split(None, 1)[1]
            name, kind = rest.split("{", 1) if "{" in rest else rest.rsplit(None, 1)
            names.append(name.strip().replace("'", "").replace('"', ""))
            kinds.append([one.strip(" '\"") for one in kind.rstrip("} ").split(",")] if "{" in rest else None)
    if in_header:
        start = path.read_bytes()[:20]
        raise ValueError(
            f"{path} is no ARFF file, the text with a line '@data' that Mulan has: it begins with {start!r}."
        )
    return names, np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def _number(text, kind):
    """A value as a number: where it is none, its position among those of its attribute."""
    if text == "?":
        return np.nan
    try:
        return float(text)
    except ValueError:
        return float((kind or []).index(text.strip("'\"")))
