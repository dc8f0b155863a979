"""Stability selection: what halves select, against plain loops; how many false ones, against the bound."""

import sys
from itertools import count

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import PENALTIES, make_layout
from joblib import parallel_config
from scipy.optimize import brentq, minimize_scalar
from sklearn.base import clone
from sklearn.utils import check_random_state

from skmtl import (
    DirtyRegressor,
    GroupSparseClassifier,
    GroupSparseRegressor,
    IncompleteMultiSourceRegressor,
    LatentBasisRegressor,
    MultiTaskClassifier,
    MultiTaskLasso,
    MultiTaskRegressor,
    RobustRegressor,
    SingleTask,
    TaskStatistics,
    TemporalRegressor,
    TraceNormRegressor,
    path,
    stability_selection,
)
from skmtl.inspection import StabilityDisplay
from skmtl.linear_model import Fitting
from skmtl.model_selection._false_selections import false_bound, largest_tail
from skmtl.model_selection._stability import _pairs
from skmtl.penalties import L1, L2, Entries, Features, InfConv, LInf, Positive, Tasks

matplotlib.use("agg")
LASSO = MultiTaskRegressor(penalty=Entries(L1()))


# --- what penalties set to zero ---

AXES = {"features": (0, 1), "tasks": (1, 2), "coefficients": 1, "changes": 1}


@pytest.mark.parametrize("name", [n for n, p in PENALTIES.items() if len(p.parts()) == 1])
def test_penalties_say_what_their_prox_sets_to_zero(name, rng):
    """Some of each kind and not all, at some step; nothing where they say nothing."""
    penalty, W = PENALTIES[name], rng.normal(size=(4, 8))
    seen, zeros = {}, False
    for step in np.geomspace(0.1, 30, 20):
        V = penalty.split()[0].prox(W, step) if penalty.split()[0] is not None else penalty.prox(W, step)
        zeros |= bool((V == 0).any() and V.any())
        for kind, (sizes, labels) in penalty.pattern(V[:, None]).items():
            assert labels is None
            if kind == "changes":
                wanted = np.abs(np.diff(V, axis=0))
                assert np.isnan(sizes[0]).all()
                sizes = sizes[1:]
            else:
                wanted = np.sqrt((V[:, None] ** 2).sum(axis=AXES[kind]))
            np.testing.assert_allclose(sizes, wanted, atol=1e-15)
            np.testing.assert_array_equal(sizes == 0, wanted == 0)
            seen[kind] = seen.get(kind, False) or bool((sizes == 0).any() and (sizes > 0).any())
    assert all(seen.values()), seen
    if not isinstance(penalty, Positive):
        assert bool(seen) == zeros or name == "features-tv"  # of which only changes are zero


@pytest.mark.parametrize(
    "model, families",
    [
        (MultiTaskLasso(), {"features": 6}),
        (LASSO, {"coefficients": 24}),
        (GroupSparseRegressor(norm="sparse"), {"features": 6, "coefficients": 24}),
        (GroupSparseRegressor(feature_groups=[1, 1, 0, 2, 2, 2]), {"groups": 3}),
        (GroupSparseRegressor(feature_weight=[0, 1, 1, 1, 1, 2]), {"features": 5}),
        (GroupSparseRegressor(feature_groups=[1, 1, 0, 2, 2, 2], feature_weight={2: 0.0}), {"groups": 2}),
        (GroupSparseRegressor(mean_alpha=0.1), {"features": 6}),
        (DirtyRegressor(), {"features": 6, "coefficients": 24}),
        (DirtyRegressor(shared_ratio=0.0), {"coefficients": 24}),
        (RobustRegressor(), {"features": 6, "tasks": 4}),
        (RobustRegressor(shared="subspace", positive=False), {"tasks": 4}),
        (TemporalRegressor(group_ratio=0.2), {"features": 6, "changes": 18}),
        (
            MultiTaskRegressor(penalty=InfConv([Features(L2()), Features(LInf()), Tasks(L2())])),
            {"features": 6, "features 2": 6, "tasks": 4},
        ),
    ],
    ids=str,
)
def test_families(model, families):
    model = clone(model).set_params(tol=0.05)
    found = stability_selection(model, **make_layout("stacked").fit_args(), n_pairs=1, alphas=3)
    assert {key: len(names) for key, names in found.names.items()} == families
    assert found.families == list(families)


def test_families_of_classes_are_those_of_two():
    args = make_layout("stacked", n=200).fit_args()
    args["y"] = np.digitize(args["y"], np.quantile(args["y"], [0.3, 0.7]))
    for penalty, n_items in ((Features(L2()), 6), (Entries(L1()), 24)):
        found = stability_selection(
            MultiTaskClassifier(penalty=penalty, tol=0.05), **args, n_pairs=2, alphas=8
        )
        (shares,) = found.max_frequency.values()
        assert shares.shape == (n_items,) and shares.max() > 0.7


# --- halves ---


@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "weighted", "single"])
def test_halves_are_complementary_and_hold_half_of_every_task(kind):
    args = make_layout(kind).fit_args()
    if kind == "weighted":
        args["sample_weight"][:7] = 0.0
    fitting = Fitting.of(MultiTaskLasso(), **args)
    used = np.arange(7 if kind == "weighted" else 0, 120)
    if kind == "missing":
        used = used[~np.isnan(args["y"]).all(axis=1)]
    pairs = _pairs(fitting, 3, check_random_state(0))
    assert len({tuple(one) for one, _ in pairs}) == 3
    for one, other in pairs:
        np.testing.assert_array_equal(np.sort([*one, *other]), used)
        if kind in ("stacked", "weighted"):
            sizes = [np.bincount(args["tasks"][rows], minlength=4) for rows in (one, other)]
            assert np.abs(np.subtract(*sizes)).max() <= 1
        elif kind == "missing":
            sizes = [(~np.isnan(args["y"][rows])).sum(axis=0) for rows in (one, other)]
            assert min(np.min(sizes[0]), np.min(sizes[1])) > 30


# --- selection ---


def by_hand(model, args, alphas, q, n_pairs, of):
    """Share of the halves in which an item is among the first q, by paths on the rows of each half."""
    fitting = Fitting.of(MultiTaskLasso(), **{**args, "y": np.asarray(args["y"], float)})
    shares, halves = 0.0, _pairs(fitting, n_pairs, check_random_state(0))
    for rows in (half for pair in halves for half in pair):
        part = {key: None if value is None else value[rows] for key, value in args.items()}
        coef = path(model, **part, alphas=alphas).coef
        sizes = np.array([of(W) for W in coef])
        entry = {}
        for k, size in enumerate(sizes):
            for j in sorted(np.flatnonzero(size), key=lambda j, size=size: -size[j]):
                if j not in entry and len(entry) < q:
                    entry[j] = k
        own = np.zeros_like(sizes)
        for j, k in entry.items():
            own[k:, j] = 1
        shares = shares + own / (2 * n_pairs)
    return shares


@pytest.mark.parametrize("kind", ["stacked", "shared", "weighted"])
@pytest.mark.parametrize(
    "model, of",
    [
        (GroupSparseRegressor(tol=1e-6), lambda W: np.linalg.norm(W, axis=0)),
        (MultiTaskRegressor(penalty=Entries(L1()), tol=1e-6), lambda W: np.abs(W).ravel()),
        (GroupSparseClassifier(tol=1e-6), lambda W: np.linalg.norm(W, axis=0)),
    ],
    ids=["features", "coefficients", "classes"],
)
def test_shares_are_those_of_the_first_on_paths_of_halves(model, of, kind):
    layout = make_layout(kind, isinstance(model, GroupSparseClassifier))
    args = {"X": layout.X, "y": layout.y, "tasks": layout.tasks, "sample_weight": layout.sample_weight}
    found = stability_selection(model, **args, n_pairs=2, alphas=8, threshold=0.7)
    (family,) = found.families
    expected = by_hand(model, args, found.alphas, found.n_first[family], 2, of)
    np.testing.assert_allclose(found.frequencies[family], expected, atol=1e-12)
    np.testing.assert_array_equal(found.max_frequency[family], found.frequencies[family][-1])
    chosen = np.flatnonzero(expected[-1] >= 0.75 - 1e-9)  # the least share of four halves from 0.7 on
    assert {*found.selected[family]} == {found.names[family][j] for j in chosen}


def test_whatever_the_data_come_in():
    layout = make_layout("weighted")
    weight = layout.sample_weight.copy()
    weight[::5] = 0.0
    kept = weight > 0
    model = GroupSparseRegressor()
    wanted = stability_selection(
        model, layout.X[kept], layout.y[kept], layout.tasks[kept], sample_weight=weight[kept], n_pairs=3
    )
    frame = pd.DataFrame(layout.X, columns=[f"f{j}" for j in range(6)])
    frame.insert(2, "school", np.array(["d", "e", "f", "g"])[layout.tasks])
    column = GroupSparseRegressor(task_column="school")
    with parallel_config("threading", n_jobs=2):
        found = stability_selection(column, frame, layout.y, sample_weight=weight, n_pairs=3)
    np.testing.assert_allclose(found.max_frequency["features"], wanted.max_frequency["features"])
    assert found.names["features"] == [f"f{j}" for j in range(6)] and found.selected["features"]
    column = MultiTaskRegressor(penalty=Entries(L1()), task_column="school")
    found = stability_selection(column, frame, layout.y, n_pairs=2)
    assert found.names["coefficients"][7] == ("e", "f1") and not hasattr(column, "coef_")


@pytest.mark.parametrize("kind", ["stacked", "shared"])
def test_offsets_are_taken_off_the_targets(kind, rng):
    args = make_layout(kind).fit_args()
    offset = 3 * rng.normal(size=args["y"].shape)
    wanted = stability_selection(MultiTaskLasso(), **args, n_pairs=2)
    args["y"] = args["y"] + offset
    found = stability_selection(MultiTaskLasso(), **args, offset=offset, n_pairs=2)
    np.testing.assert_array_equal(found.max_frequency["features"], wanted.max_frequency["features"])


def test_sources_of_rows_that_train_one_pattern():
    layout = make_layout("single")
    X = np.where((np.arange(120) % 3 == 0)[:, None] & (np.arange(6) > 3), np.nan, layout.X)
    model = IncompleteMultiSourceRegressor(sources=[[0, 1, 2, 3], [4, 5]], rows="equal")
    assert stability_selection(model, X, layout.y, n_pairs=3).selected["features"]
    with pytest.raises(ValueError, match="rows='equal' lets it train one"):
        stability_selection(model.set_params(rows="containing"), X, layout.y, n_pairs=3)


def test_what_is_printed():
    args = make_layout("stacked").fit_args()
    found = stability_selection(LASSO, **args, n_pairs=4, max_false=20.0, threshold=0.6, eps=1e-4)
    n = len(found.selected["coefficients"])
    assert repr(found) == f"StabilitySelection({n} of 24 coefficients)"
    first, *lines = str(found).splitlines()
    assert first.startswith(f"coefficients: {n} of 24 selected, in at least 60% of the halves; expected")
    assert n > 10 and lines[-1] == f"  and {n - 10} more" and lines[0].startswith("  100%  (")
    assert f"{found.selected['coefficients'][0][0]}, 'x{found.selected['coefficients'][0][1]}')" in lines[0]
    found = stability_selection(GroupSparseRegressor(tol=0.01), **args, n_pairs=3)
    names = [line.split()[-1] for line in str(found).splitlines()[1:]]
    assert names == [f"x{j}" for j in found.selected["features"]]  # as in summaries and pictures


# --- bounds ---


def tail_by_search(mean, t, n, r):
    """The largest P(Z >= t / n): all shapes between two roots for every length of the support."""
    mean = mean * n
    roots = {}

    def excess(a, k):
        i, w = np.arange(k + 1), (a + np.arange(k + 1)) ** (1 / r)
        return i @ w / w.sum() - mean

    for k in count(int(np.ceil(2 * mean)) + 1):
        if k > n:
            break
        roots[k] = brentq(excess, 1e-6, 1e6, args=(k,))

    def below(a, k):
        w = (a + np.arange(k + 1)) ** (1 / r)
        return (k + 1 - mean) * w[:t].sum() / ((k + 1 - np.arange(k + 1)) @ w)

    least = 1.0
    for k in [k for k in roots if t - 1 <= k < n]:
        options = {"xatol": 1e-12}
        found = minimize_scalar(
            below, args=(k,), bounds=(roots[k + 1], roots[k]), method="bounded", options=options
        )
        least = min(least, found.fun, below(roots[k], k))
    return 1 - least


@pytest.mark.parametrize("r", [-1 / 2, -1 / 4])
@pytest.mark.parametrize("mean, t, n", [(0.0025, 25, 50), (0.05, 40, 50), (0.1, 60, 100), (0.2, 75, 100)])
def test_tails_of_concave_distributions(mean, t, n, r, rng):
    found = largest_tail(mean, t / n, n, r)
    assert found == pytest.approx(tail_by_search(mean, t, n, r), rel=2e-3)
    for _ in range(200):  # a convex function to the power 1/r, with a mean that is no larger
        slopes = np.sort(rng.exponential(size=n) ** rng.uniform(0.2, 5))
        g = np.concatenate([[0.0], np.cumsum(slopes)]) + 10 ** rng.uniform(-4, 2)
        f = (g / g[0]) ** (1 / r) * (np.arange(n + 1) <= rng.integers(t, n + 1))
        f /= f.sum()
        if f @ np.arange(n + 1) <= mean * n:
            assert f[t:].sum() <= found * (1 + 1e-3)


def test_bounds():
    assert false_bound(5, 60, 0.75, 50, "none") == pytest.approx(25 / (0.5 * 60))
    # theorem 2 of Shah & Samworth, on both sides of 3/4
    assert false_bound(7, 60, 0.75, 50, "unimodal") == pytest.approx(49 / 60 / (2 * 0.49))
    assert false_bound(7, 60, 0.9, 50, "unimodal") == pytest.approx(49 / 60 * 4 * 0.11 / 1.02)
    assert false_bound(1, 1, 0.75, 50, "none") == 1 and false_bound(2, 3, 0.6, 50, "none") <= 3
    hows = ("none", "unimodal", "r-concave")
    bounds = np.array([[false_bound(q, 60, 0.75, 50, how) for how in hows] for q in range(1, 61)])
    assert (np.diff(bounds, axis=0) >= 0).all() and (np.diff(bounds, axis=1) <= 0).all()


@pytest.mark.parametrize("model, true", [(GroupSparseRegressor(), 2), (LASSO, 0)], ids=str)
def test_false_selections_are_as_few_as_stated(model, true):
    """Of features with correlated neighbours; without any true ones in the last case."""
    T, n, p, wrong, right = 3, 20, 16, [], []
    model = clone(model).set_params(tol=0.02)
    root = np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(range(p), range(p))))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, tasks, W = rng.normal(size=(T * n, p)) @ root.T, np.repeat(range(T), n), np.zeros((T, p))
        W[:, rng.choice(p, true, replace=False)] = rng.choice([-2, 2], size=(T, true))
        y = (X * W[tasks]).sum(axis=1) + 2 * rng.normal(size=T * n)
        found = stability_selection(model, X, y, tasks, n_pairs=6, random_state=seed, alphas=12)
        (family,) = found.families
        known = W.any(axis=0) if family == "features" else W.ravel() != 0
        chosen = found.max_frequency[family] >= found.threshold - 1e-9
        wrong.append((chosen & ~known).sum())
        right.append((chosen & known).sum())
    assert np.mean(wrong) <= found.bound[family] <= 1
    assert np.mean(right) >= 0.5 * true


# --- a picture ---


def test_picture():
    args = make_layout("stacked").fit_args()
    display = StabilityDisplay.from_estimator(DirtyRegressor(tol=0.01), **args, n_pairs=3, alphas=10)
    found = display.selection
    assert display.ax_.get_title().startswith(f"{len(found.selected['features'])} of 6 features selected")
    assert [line.get_label() for line in display.lines_] == [f"x{j}" for j in found.selected["features"]]
    for line, name in zip(display.lines_, found.selected["features"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), found.frequencies["features"][:, name])
    assert len(display.ax_.get_lines()) == 7  # and the threshold
    other = StabilityDisplay(found, family="coefficients").plot(display.ax_, most_named=1)
    assert other.figure_ is display.figure_
    with pytest.raises(ValueError, match=r"family must be one of \['features', 'coefficients'\]; got 'x'"):
        StabilityDisplay(found, family="x").plot()


def test_no_picture_without_matplotlib(monkeypatch):
    found = stability_selection(MultiTaskLasso(), **make_layout("single").fit_args(), n_pairs=1, alphas=3)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skmtl\[plot\]"):
        StabilityDisplay(found).plot()


# --- bad input ---


@pytest.mark.parametrize(
    "model, options, error, message",
    [
        (SingleTask(MultiTaskLasso()), {}, TypeError, "a linear estimator of skmtl; got SingleTask"),
        (TraceNormRegressor(), {}, ValueError, "TraceNormRegressor gives no exact zeros"),
        (LatentBasisRegressor(), {}, ValueError, "LatentBasisRegressor gives no exact zeros"),
        (LASSO, {"max_false": 0}, ValueError, "max_false must be a number > 0; got 0"),
        (LASSO, {"max_false": 1e-4}, ValueError, "max_false=0.0001 is too little for 24 coefficients"),
        (LASSO, {"threshold": 0.5}, ValueError, "threshold must be a share above 0.5"),
        (LASSO, {"threshold": "high"}, ValueError, "threshold must be .* got 'high'"),
        (LASSO, {"n_pairs": 2.5}, ValueError, "n_pairs must be a positive integer; got 2.5"),
        (LASSO, {"n_pairs": True}, ValueError, "n_pairs must be a positive integer; got True"),
        (LASSO, {"assumption": "normal"}, ValueError, "assumption must be one of"),
        (LASSO, {"alphas": 0}, ValueError, "alphas must be at least 1"),
        (LASSO, {"tasks": np.r_[np.zeros(119), 1]}, ValueError, r"1 task\(s\) have one: \[1.0\]"),
        (LASSO, {"X": TaskStatistics.from_arrays(**make_layout("single").fit_args())}, ValueError, "rows"),
    ],
)
def test_bad_arguments(model, options, error, message):
    with pytest.raises(error, match=message):
        stability_selection(model, **{**make_layout("stacked").fit_args(), **options})


def test_changes_of_features_without_names_are_printed_like_coefficients(rng):
    X, tasks = rng.normal(size=(120, 3)), np.repeat(["a\n1", "b", "c"], 40)
    y = X[:, 0] * np.array([0.0, 3.0, -3.0])[np.arange(120) // 40] + 0.1 * rng.normal(size=120)
    for model in (TemporalRegressor(), MultiTaskRegressor(penalty=Entries(L1()))):
        found = stability_selection(model, X, y, tasks, n_pairs=4, alphas=8, max_false=2)
        lines = str(found).splitlines()[1:]
        assert lines and all("'x0')" in line or "'x1')" in line or "'x2')" in line for line in lines)
