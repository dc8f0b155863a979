"""The bundled data are what their description says; generated data have the truth they report."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression

from skmtl.datasets import (
    load_fertility,
    load_hsb82,
    make_multitask_classification,
    make_multitask_regression,
)

STRUCTURES = ["shared_support", "low_rank", "clustered", "outliers", "mean", "temporal"]
MAKERS = [make_multitask_regression, make_multitask_classification]


def test_hsb82_array_form():
    hsb82 = load_hsb82()
    assert hsb82.data.shape == (7185, 4)
    assert hsb82.data.dtype == hsb82.target.dtype == np.float64
    assert hsb82.feature_names == ["minority", "sex", "ses", "sector"]
    assert set(np.unique(hsb82.data[:, [0, 1, 3]])) == {0.0, 1.0}
    schools, counts = np.unique(hsb82.tasks, return_counts=True)
    assert len(schools) == 160 and counts.min() == 14 and counts.max() == 67
    assert schools[0] == "1224" and hsb82.tasks.dtype.kind == "U"
    for school in schools[:20]:
        assert len(set(hsb82.data[hsb82.tasks == school, 3])) == 1  # sector belongs to the school
    assert "public domain" in hsb82.DESCR and "Raudenbush" in hsb82.DESCR


def test_hsb82_frame_holds_the_same_and_the_school():
    array, frame = load_hsb82(), load_hsb82(as_frame=True)
    assert list(frame.data) == ["school", "minority", "sex", "ses", "sector"]
    assert list(frame.frame) == [*frame.data, "math_achievement"]
    assert_array_equal(frame.data["school"].to_numpy(), array.tasks)
    assert_array_equal((frame.data["sex"] == "Female").to_numpy(), array.data[:, 1] == 1)
    assert_array_equal((frame.data["sector"] == "Catholic").to_numpy(), array.data[:, 3] == 1)
    assert_array_equal(frame.data["ses"].to_numpy(), array.data[:, 2])
    assert_array_equal(frame.target.to_numpy(), array.target)


def test_hsb82_return_X_y():
    data, target = load_hsb82(return_X_y=True)
    assert data.shape == (7185, 4) and target.shape == (7185,)
    data, target = load_hsb82(as_frame=True, return_X_y=True)
    assert "school" in data and target.name == "math_achievement"


def test_fertility():
    array, frame = load_fertility(), load_fertility(as_frame=True)
    assert array.data.shape == (10033, 1) and array.feature_names == ["year"]
    assert list(frame.data.columns) == ["country", "year"] and frame.frame.shape == (10033, 3)
    assert_array_equal(frame.data["country"], array.tasks)
    assert_array_equal(frame.data["year"], array.data[:, 0])
    assert_array_equal(frame.target, array.target)
    countries, counts = np.unique(array.tasks[array.data[:, 0] % 10 == 0], return_counts=True)
    assert len(countries) == 193 and set(counts) == {6} and array.target.min() > 0.5
    aruba = (array.tasks == "Aruba") & (array.data[:, 0] == 1960)
    assert array.target[aruba] == 4.82 and "CC BY" in array.DESCR


def test_hsb82_without_pandas():
    program = """
import sys
class Block:
    def find_spec(self, name, *args):
        if name.split(".")[0] == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, Block())
from skmtl.datasets import load_hsb82
assert load_hsb82().data.shape == (7185, 4)
try:
    load_hsb82(as_frame=True)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "load_hsb82(as_frame=True) needs pandas" in done.stdout


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("layout", ["stacked", "shared"])
def test_shapes_and_reproducibility(make, structure, layout):
    args = {"structure": structure, "layout": layout, "random_state": 3}
    problem, again, other = (
        make(6, 30, 8, **args),
        make(6, 30, 8, **args),
        make(6, 30, 8, **{**args, "random_state": 4}),
    )
    assert problem.coef.shape == (6, 8) and problem.intercept.shape == (6,) and problem.support.shape == (8,)
    if layout == "stacked":
        assert problem.X.shape == (180, 8) and problem.y.shape == (180,)
        assert_array_equal(np.bincount(problem.tasks), [30] * 6)
    else:
        assert problem.X.shape == (30, 8) and problem.y.shape == (30, 6) and problem.tasks is None
    assert_array_equal(problem.y, again.y)
    assert not np.array_equal(problem.X, other.X)
    if make is make_multitask_classification:
        assert set(np.unique(problem.y)) == {0, 1}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("layout", ["stacked", "shared"])
def test_least_squares_recovers_the_truth_without_noise(structure, layout):
    p = make_multitask_regression(5, 40, 8, structure=structure, layout=layout, noise=0, random_state=0)
    for t in range(5):
        X, y = (p.X, p.y[:, t]) if layout == "shared" else (p.X[p.tasks == t], p.y[p.tasks == t])
        model = LinearRegression().fit(X, y)
        assert_allclose(model.coef_, p.coef[t], atol=1e-9)
        assert_allclose(model.intercept_, p.intercept[t], atol=1e-9)


def test_classes_follow_the_truth():
    exact = make_multitask_classification(3, 50, 4, noise=0, random_state=0)
    eta = (exact.X * exact.coef[exact.tasks]).sum(axis=1) + exact.intercept[exact.tasks]
    assert_array_equal(exact.y, eta > 0)
    noisy = make_multitask_classification(1, 20000, 1, noise=1, random_state=0)
    eta = noisy.X @ noisy.coef[0] + noisy.intercept[0]
    likely = 1 / (1 + np.exp(-eta))
    for low in np.arange(0.1, 0.9, 0.2):  # noise of scale 1 is the logistic model itself
        band = (likely >= low) & (likely < low + 0.2)
        assert abs(noisy.y[band].mean() - likely[band].mean()) < 0.04


def test_structures_are_what_they_say():
    def make(structure, **kw):
        return make_multitask_regression(12, 5, 10, structure=structure, random_state=1, **kw)

    p = make("shared_support", n_informative=3)
    assert_array_equal((p.coef != 0).all(axis=0), p.support)
    assert_array_equal((p.coef != 0).any(axis=0), p.support)
    assert p.support.sum() == 3
    p = make("low_rank", rank=3)
    assert np.linalg.matrix_rank(p.coef) == p.rank == 3
    p = make("clustered", n_clusters=4, task_spread=0)
    assert_array_equal(p.coef, p.centers[p.labels])
    assert set(p.labels) == {0, 1, 2, 3}
    p = make("mean", task_spread=0)
    assert_array_equal(p.coef, np.tile(p.mean_coef, (12, 1)))
    p = make("outliers", n_outliers=2, task_spread=0)
    assert_array_equal(np.flatnonzero((p.coef != p.mean_coef).any(axis=1)), p.outlier_tasks)
    assert len(p.outlier_tasks) == 2
    p = make("temporal", n_changes=3)
    changed = (np.diff(p.coef, axis=0) != 0).any(axis=1)
    assert_array_equal(np.flatnonzero(changed) + 1, p.change_points)
    assert len(p.change_points) == 3


def test_missing_share_and_sizes_per_task():
    p = make_multitask_regression(4, 50, 3, layout="shared", missing=0.3, random_state=0)
    assert_array_equal(np.isnan(p.y).sum(axis=0), [15] * 4)
    p = make_multitask_regression(4, 3, 3, layout="shared", missing=0.99, random_state=0)
    assert_array_equal((~np.isnan(p.y)).sum(axis=0), [1] * 4)
    p = make_multitask_regression(3, [1, 5, 2], 3, random_state=0)
    assert_array_equal(np.bincount(p.tasks), [1, 5, 2])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n_informative": 9, "n_features": 8}, "n_informative must be at most n_features = 8; got 9"),
        ({"structure": "clustered", "n_clusters": 11}, "n_clusters must be at most n_tasks = 10"),
        ({"structure": "low_rank", "rank": 9, "n_features": 8}, "rank must be at most"),
        ({"structure": "outliers", "n_outliers": 10}, "n_outliers must be at most n_tasks - 1 = 9"),
        ({"structure": "temporal", "n_changes": 10}, "n_changes must be at most"),
        ({"missing": 0.1}, "missing is for layout='shared'"),
        ({"layout": "shared", "n_samples": [3] * 10}, "one number for layout='shared'"),
        ({"n_samples": [3, 4]}, "one positive integer for each of 10 tasks"),
        ({"structure": "star"}, "'structure' parameter"),
        ({"noise": -1}, "'noise' parameter"),
    ],
)
def test_errors_name_the_argument(args, message):
    with pytest.raises(ValueError, match=message):
        make_multitask_regression(**args)
