"""Benchmarks are downloaded from a server of this machine, kept, and read in the formats of their origin."""

import functools
import hashlib
import http.server
import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
from numpy.testing import assert_array_equal

from skmtl.datasets import (
    _benchmarks,
    _fetch,
    fetch_landmine,
    fetch_mulan,
    fetch_parkinsons,
    fetch_sarcos,
    fetch_school,
)


def cells(parts):
    out = np.empty((1, len(parts)), dtype=object)
    out[0, :] = parts
    return out


def school_mat(folder):
    """As MALSAR has it: a cell for each school, a last column of ones."""
    rng = np.random.default_rng(0)
    sizes = np.full(139, 110)
    sizes[:72] += 1
    X = [np.column_stack([rng.integers(0, 2, (n, 27)), np.ones(n)]).astype(float) for n in sizes]
    y = [rng.integers(1, 71, (n, 1)).astype(float) for n in sizes]
    scipy.io.savemat(folder / "school.mat", {"X": cells(X), "Y": cells(y)})
    return np.vstack(X)[:, :27], np.concatenate(y).ravel(), np.repeat(np.arange(139), sizes)


def landmine_mat(folder):
    rng = np.random.default_rng(1)
    sizes = np.full(29, 511)
    sizes[0] += 1
    X, y = [rng.normal(size=(n, 9)) for n in sizes], [rng.integers(0, 2, (n, 1)) for n in sizes]
    scipy.io.savemat(folder / "LandmineData.mat", {"feature": cells(X), "label": cells(y)})
    return np.vstack(X), np.concatenate(y).ravel(), np.repeat(np.arange(29), sizes)


def sarcos_mat(folder):
    rows = np.random.default_rng(2).normal(size=(4449, 28))
    scipy.io.savemat(folder / "sarcos_inv_test.mat", {"sarcos_inv_test": rows})
    return rows[:, :21], rows[:, 21:], None


def parkinsons_csv(folder):
    names = [
        "subject#",
        "age",
        "sex",
        "test_time",
        "motor_UPDRS",
        "total_UPDRS",
        *(f"v{j}" for j in range(16)),
    ]
    rows = np.random.default_rng(3).normal(size=(5875, 22)).round(3)
    rows[:, 0] = np.arange(5875) % 42 + 1
    lines = [",".join(names), *(",".join(f"{v:g}" for v in row) for row in rows)]
    (folder / "parkinsons_updrs.data").write_text("\n".join(lines) + "\n")
    return np.delete(rows, [0, 4, 5], axis=1), rows[:, 5], rows[:, 0].astype(int)


def mulan_arff(folder):
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(49, 36)).round(4)
    kinds = ["numeric"] * 34
    head = [
        "% a comment",
        "@relation andro",
        "@attribute 'a name' {low, high}",
        "@attribute \"'b'l1\" NUMERIC",
    ]
    head += [f"@ATTRIBUTE x{j} {kind} " for j, kind in enumerate(kinds)]
    rows[:, 0] = rng.integers(0, 2, 49)
    text = [[["low", "high"][int(row[0])], *(f"{v:g}" for v in row[1:])] for row in rows]
    text[3][5], rows[3, 5] = "?", np.nan
    (folder / "andro.arff").write_text("\n".join([*head, "", "@data", *(", ".join(row) for row in text)]))
    return rows[:, :30], rows[:, 30:], None


CASES = {
    "school": (fetch_school, school_mat),
    "landmine": (fetch_landmine, landmine_mat),
    "sarcos": (functools.partial(fetch_sarcos, subset="test"), sarcos_mat),
    "parkinsons": (fetch_parkinsons, parkinsons_csv),
    "mulan": (functools.partial(fetch_mulan, "andro"), mulan_arff),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A folder that a server of this machine offers, what is asked of it, and what is in its files."""
    folder, asked = tmp_path_factory.mktemp("web"), []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    truth = {name: write(folder) for name, (_, write) in CASES.items()}
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, asked, truth, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.fixture
def from_server(server, monkeypatch):
    folder, _, _, url = server
    digest = hashlib.sha256((folder / "parkinsons_updrs.data").read_bytes()).hexdigest()

    def moved(source, **more):
        return replace(source, url=f"{url}/{source.url.rpartition('/')[2]}", **more)

    monkeypatch.setattr(_benchmarks, "SCHOOL", moved(_benchmarks.SCHOOL))
    monkeypatch.setattr(_benchmarks, "LANDMINE", moved(_benchmarks.LANDMINE))
    monkeypatch.setattr(_benchmarks, "SARCOS", {k: moved(v) for k, v in _benchmarks.SARCOS.items()})
    monkeypatch.setattr(_benchmarks, "PARKINSONS", moved(_benchmarks.PARKINSONS, sha256=digest))
    monkeypatch.setattr(_benchmarks, "MULAN_FOLDER", url)
    monkeypatch.setattr(_fetch, "DELAY", 0.0)
    return server


@pytest.mark.parametrize("name", CASES)
def test_downloads_once_and_keeps_the_file(name, from_server, tmp_path):
    _, asked, truth, _ = from_server
    fetch, (X, y, tasks) = CASES[name][0], truth[name]
    asked.clear()
    found, again = fetch(data_home=tmp_path), fetch(data_home=tmp_path, download_if_missing=False)
    assert len(asked) == 1 and len(list((tmp_path / "skmtl").iterdir())) == 1
    for one in (found, again):
        assert_array_equal(one.data, X)
        assert_array_equal(one.target, y)
        assert "a name" in one.feature_names or name != "mulan"
        assert one.data.shape[1] == len(one.feature_names) and one.DESCR and one.frame is None
        if tasks is None:
            assert one.tasks is None and one.target.shape[1] == len(one.target_names)
        else:
            assert_array_equal(one.tasks, tasks)
    frame = fetch(data_home=tmp_path, as_frame=True)
    own = list(frame.data)[1:] if tasks is not None else list(frame.data)
    assert own == found.feature_names and list(frame.frame) == [*frame.data, *found.target_names]
    assert_array_equal(frame.data[own], X)
    if tasks is not None:
        assert_array_equal(frame.data.iloc[:, 0], tasks)
        assert frame.target.name == found.target_names[0]
    data, target = fetch(data_home=tmp_path, return_X_y=True)
    assert_array_equal(data, X)
    assert_array_equal(target, y)
    file = next((tmp_path / "skmtl").iterdir())
    assert_array_equal(fetch(path=str(file)).data, X)  # a local path


@pytest.mark.parametrize("name", CASES)
def test_without_network(name, monkeypatch, tmp_path):
    fetch = CASES[name][0]

    def nothing(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(_fetch, "fetch_file", nothing)
    with pytest.raises(OSError, match=r"fetch_\w+ could not download http.*no route to host.*pass path="):
        fetch(data_home=tmp_path)
    with pytest.raises(OSError, match="is missing, and download_if_missing=False"):
        fetch(data_home=tmp_path, download_if_missing=False)
    with pytest.raises(FileNotFoundError, match=r"path='nowhere\.mat' is no file"):
        fetch(path="nowhere.mat")


def test_files_that_the_server_lacks_or_has_changed(from_server, tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="Retry"), pytest.raises(OSError, match=r"could not download .*404"):
        fetch_mulan("jura", data_home=tmp_path)
    changed = replace(_benchmarks.PARKINSONS, sha256="0" * 64)
    monkeypatch.setattr(_benchmarks, "PARKINSONS", changed)
    with pytest.raises(OSError, match=r"could not download .*SHA256"):
        fetch_parkinsons(data_home=tmp_path)


def test_other_contents_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "few.mat", {"X": cells([np.eye(3)] * 2), "Y": cells([np.ones((3, 1))] * 2)})
    with pytest.raises(ValueError, match=r"fetch_school: the file holds X of shape \(6, 3\), not \(15362"):
        fetch_school(path=tmp_path / "few.mat")
    with pytest.raises(ValueError, match=r"has no \['feature', 'label'\]; it holds \['X', 'Y'\]"):
        fetch_landmine(path=tmp_path / "few.mat")
    (tmp_path / "text.mat").write_text("subject,age\n1,2\n")
    with pytest.raises(ValueError, match="is no MATLAB file that can be read"):
        fetch_sarcos(path=tmp_path / "text.mat")
    with pytest.raises(ValueError, match="not those of the data"):
        fetch_parkinsons(path=tmp_path / "text.mat")
    np.savez(tmp_path / "andro.npz", X=np.eye(3))
    with pytest.raises(ValueError, match=r"andro\.npz is no ARFF file.*'@data'.*it begins with b'PK"):
        fetch_mulan("andro", path=tmp_path / "andro.npz")
    with pytest.raises(ValueError, match=r"andro\.npz is no table of text"):
        fetch_parkinsons(path=tmp_path / "andro.npz")
    for row in ("1", "high", "low, high"):
        (tmp_path / "odd.arff").write_text(f"@attribute a {{low}}\n@data\n{row}, 2\n")
        with pytest.raises(ValueError, match=rf"odd\.arff: the row '{row}, 2' does not hold the 1 values"):
            fetch_mulan("andro", path=tmp_path / "odd.arff")
    for fetch, options, message in [
        (fetch_sarcos, {"subset": "all"}, "subset must be 'train' or 'test'; got 'all'"),
        (fetch_parkinsons, {"target": "age"}, r"target must be one of .*; got 'age'"),
        (fetch_mulan, {"name": "iris"}, r"name must be one of .*; got 'iris'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fetch(**options)


def test_arrays_in_an_npz_file(server, tmp_path):
    X, y, tasks = server[2]["school"]
    np.savez(tmp_path / "school.npz", X=X.astype(np.int16), y=y, task=tasks.astype(np.int16))
    found = fetch_school(path=tmp_path / "school.npz")
    assert_array_equal(found.data, X)
    assert_array_equal(found.tasks, tasks)
    assert found.data.dtype == found.target.dtype == np.float64
    np.savez(tmp_path / "lacking.npz", X=X, y=y)
    with pytest.raises(ValueError, match=r"lacking.npz has no \['task'\]"):
        fetch_school(path=tmp_path / "lacking.npz")
