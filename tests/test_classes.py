"""Classes: more than two, label sets of their own, and tasks of different kinds in one model."""

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import estimators, task_estimators
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import (
    ClusteredClassifier,
    GroupSparseClassifier,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskClassifier,
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskKFold,
    TraceNormClassifier,
)
from skmtl.losses import Huber, RootSquaredError
from skmtl.metrics import per_task_score
from skmtl.objective._joint import OutputsTerm
from skmtl.penalties import Coupling, Features, Fused, Ridge

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

CLASSIFIERS = [cls for name, cls in task_estimators().items() if name.endswith("Classifier")]
rng = np.random.default_rng(0)
N, NAMES = 150, np.array(["high", "low", "mid"])
X = rng.normal(size=(N, 4))
SCORES = X @ rng.normal(size=(4, 3)) + 0.3 * rng.normal(size=(N, 3))
CODES = SCORES.argmax(axis=1)
LABELS = NAMES[CODES]
TASKS = np.array(["ash", "birch", "cedar"])[rng.integers(3, size=N)]
SHARED = np.column_stack([LABELS, NAMES[(-SCORES).argmax(axis=1)]])


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_three_classes(cls):
    options = {"tol": 1e-3, **({"n_init": 1} if cls.__name__.startswith("LatentBasis") else {})}
    model = cls(**options).fit(X, LABELS, tasks=TASKS)
    proba = model.predict_proba(X, tasks=TASKS)
    assert_array_equal(model.classes_, NAMES)
    assert model.coef_.shape == (3, 3, 4) and model.intercept_.shape == (3, 3)
    assert proba.shape == (N, 3)
    assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    assert_array_equal(model.predict(X, tasks=TASKS), NAMES[proba.argmax(axis=1)])
    assert_allclose(model.decision_function(X, tasks=TASKS).argmax(axis=1), proba.argmax(axis=1))
    assert model.score(X, LABELS, tasks=TASKS) == np.mean(model.predict(X, tasks=TASKS) == LABELS) > 0.7
    assert_allclose(model.mean_coef_ + model.deviation_coef_, model.coef_)

    shared = cls(**options).fit(X, SHARED)
    proba = shared.predict_proba(X)
    assert shared.predict(X).shape == (N, 2) and proba.shape == (N, 2, 3)
    assert_allclose(proba.sum(axis=-1), 1.0, rtol=1e-12)
    assert shared.score(X, SHARED) > 0.7

    single = cls(**options).fit(X, LABELS)
    assert single.coef_.shape == (3, 4) and single.intercept_.shape == (3,)
    assert single.predict_proba(X).shape == (N, 3)


@pytest.mark.parametrize(
    "cls, values",
    [
        *((cls, [False, True]) for cls in [*CLASSIFIERS, SingleTask, Pooled]),
        (MeanRegularizedClassifier, [3, 5]),
        (MeanRegularizedClassifier, [0, 1, 2]),
        (SingleTask, [0, 1, 2]),
    ],
)
def test_classes_in_an_array_of_objects(cls, values):
    """scikit-learn's metrics do not know what they are."""
    model = cls(LogisticRegression()) if cls in (SingleTask, Pooled) else cls(10.0, tol=0.5)
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    rows, given = X[:60], {"tasks": TASKS[:60]}
    y = np.array(values)[np.digitize(SCORES[:60, 0], [0.0] if len(values) == 2 else [-1.0, 1.0])]
    objects = y.astype(object)
    expected, found = clone(model).fit(rows, y, **given), clone(model).fit(rows, objects, **given)
    assert found.classes_.dtype == y.dtype and found.classes_.tolist() == values
    assert_array_equal(found.predict_proba(rows, **given), expected.predict_proba(rows, **given))
    assert found.score(rows, objects, **given) == expected.score(rows, y, **given)
    names = np.unique(TASKS).tolist()
    assert per_task_score("accuracy", objects, objects, TASKS[:60]) == dict.fromkeys(names, 1.0)


def test_classes_of_one_task_and_of_columns_in_an_array_of_objects():
    y = (SCORES[:, 0] > 0).astype(object)
    with pytest.warns(UserWarning, match="was fitted without tasks"):
        single = MeanRegularizedClassifier().fit(X, y)
    assert single.score(X, y) == np.mean(single.predict(X) == y) > 0.7
    shared = np.column_stack([y, y])
    shared[:3, 1] = None
    assert MeanRegularizedClassifier().fit(X, shared).score(X, shared) > 0.7


def test_objects_are_stratified_and_searched():
    y = (SCORES[:, 0] > 0).astype(object)
    for found, expected in zip(
        TaskKFold(3, stratify=True).split(X, y, tasks=TASKS),
        TaskKFold(3, stratify=True).split(X, y.astype(bool), tasks=TASKS), strict=True,
    ):  # fmt: skip
        assert_array_equal(found[1], expected[1])
    search = PathSearchCV(GroupSparseClassifier(tol=1e-2), alphas=2, cv=TaskKFold(2))
    scores = [search.fit(X, goal, tasks=TASKS).best_score_ for goal in (y, y.astype(bool))]
    assert scores[0] == scores[1] > 0.5


def test_one_task_is_multinomial_logistic_regression():
    """C of scikit-learn is 1 / (n alpha)."""
    ours = MultiTaskClassifier(0.05, penalty=Ridge(), tol=1e-12).fit(X, LABELS)
    theirs = LogisticRegression(C=1 / (0.05 * N), tol=1e-10, max_iter=10_000).fit(X, LABELS)
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


def test_two_classes_as_two_outputs_are_the_logistic_model():
    """With a label set of its own per column the two-class column has two vectors, w and -w."""
    two = np.where(CODES == 0, 5.0, 7.0)
    model = MultiTaskClassifier(0.05, penalty=Ridge(), tol=1e-12).fit(X, np.column_stack([CODES, two]))
    # ||w||^2 + ||-w||^2 for a difference 2 w: half the penalty of one vector 2 w
    alone = MultiTaskClassifier(0.025, penalty=Ridge(), tol=1e-12).fit(X, two)
    assert_allclose(model.predict_proba(X)[1], alone.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("cls", [GroupSparseClassifier, MeanRegularizedClassifier, TraceNormClassifier])
def test_label_sets_of_their_own(cls):
    Y = np.empty((N, 3), dtype=object)
    Y[:, 0], Y[:, 1], Y[:, 2] = LABELS, np.where(X[:, 0] > 0, 1, 2), CODES + 10
    Y[::7, 1] = None
    model = cls().fit(X, Y)
    assert [own.tolist() for own in model.classes_] == [NAMES.tolist(), [1, 2], [10, 11, 12]]
    proba = model.predict_proba(X)
    assert [p.shape for p in proba] == [(N, 3), (N, 2), (N, 3)]
    for t, p in enumerate(proba):
        assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
        assert_array_equal(model.predict(X)[:, t], model.classes_[t][p.argmax(axis=1)])
    assert model.score(X, Y) > 0.8


def test_a_class_missing_in_some_task_is_fine_and_missing_everywhere_is_not():
    gone = (TASKS == "ash") & (LABELS == "mid")
    rows, tasks = X[~gone], TASKS[~gone]
    with pytest.warns(UserWarning, match="1 task\\(s\\) without some class: ash lacks \\['mid'\\]"):
        model = MeanRegularizedClassifier(0.1, mean_alpha=0.01).fit(rows, LABELS[~gone], tasks=tasks)
    proba = model.predict_proba(rows, tasks=tasks)
    assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    assert proba[tasks == "ash", 2].max() < 1e-6 < proba[tasks != "ash", 2].max()
    with pytest.raises(ValueError, match="y holds only one class, \\['low'\\]; a classifier needs two"):
        model.fit(X, np.full(N, "low"), tasks=TASKS)
    weight = (LABELS != "mid").astype(float)  # rows of weight zero do not exist
    assert model.fit(X, LABELS, tasks=TASKS, sample_weight=weight).classes_.tolist() == ["high", "low"]


def test_renaming_classes_changes_nothing():
    first = TraceNormClassifier(0.01, tol=1e-9).fit(X, LABELS, tasks=TASKS)
    other = TraceNormClassifier(0.01, tol=1e-9).fit(X, CODES[::1] * -1, tasks=TASKS)  # reversed order
    assert_allclose(other.coef_[:, ::-1], first.coef_, atol=1e-5)


def test_options_of_three_classes():
    options = {"mean_alpha": 0.1, "intercept_alpha": 0.3, "ridge": 0.01, "task_weight": "samples"}
    model = GroupSparseClassifier(0.02, handle_unknown="average", **options)
    model.fit(X, LABELS, tasks=TASKS, sample_weight=rng.uniform(0.5, 1.0, N))
    assert model.dual_gap_ >= 0 and model.mean_coef_.shape == (3, 4)
    unseen = model.predict_proba(X[:5], tasks=["oak"] * 5)
    eta = X[:5] @ model.mean_coef_.T + model.mean_intercept_
    assert_allclose(unseen, np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True), rtol=1e-10)


def test_squared_hinge():
    two = CODES == 0
    model = GroupSparseClassifier(0.01, loss="squared_hinge").fit(X, two, tasks=TASKS)
    assert model.score(X, two, tasks=TASKS) > 0.85 and not hasattr(model, "predict_proba")
    with pytest.raises(ValueError, match="loss='squared_hinge' is for two classes; y has 3"):
        model.fit(X, LABELS, tasks=TASKS)


def test_three_classes_in_a_search():
    frame = pd.DataFrame(X, columns=list("abcd")).assign(tree=TASKS.astype("U"))
    codes = np.unique(TASKS, return_inverse=True)[1]
    frame["tree"] = codes
    search = GridSearchCV(
        MeanRegularizedClassifier(task_column="tree"),
        {"alpha": [0.01, 1.0]},
        cv=TaskKFold(3, task_column="tree"),
        scoring="neg_log_loss",
        error_score="raise",
    )
    assert np.isfinite(search.fit(frame, LABELS).cv_results_["mean_test_score"]).all()


# --- tasks of different kinds ---

LOSSES = {"grade": "log_loss", "level": "huber", "size": "squared_error"}


def mixed():
    Y = pd.DataFrame({"size": 20 + 3 * SCORES[:, 1], "grade": LABELS, "level": SCORES[:, 0]}, dtype=object)
    Y.iloc[::5, 0], Y.iloc[::6, 1] = None, None
    return Y


def test_mixed_tasks_on_the_same_rows():
    Y = mixed()
    model = make_pipeline(StandardScaler(), MixedTaskModel(0.01, losses=LOSSES)).fit(X, Y)
    inner = model[-1]
    assert inner.tasks_.tolist() == ["size", "grade", "level"]
    assert {task: own.tolist() for task, own in inner.classes_.items()} == {"grade": NAMES.tolist()}
    found = model.predict(X)
    assert found.shape == (N, 3) and set(found[:, 1]) <= set(NAMES)
    proba = model.predict_proba(X)
    assert list(proba) == ["grade"] and proba["grade"].shape == (N, 3)
    assert_allclose(proba["grade"].sum(axis=1), 1.0, rtol=1e-12)
    assert model.score(X, Y) > 0.8 and inner.dual_gap_ >= 0


def test_scores_of_mixed_tasks_with_a_weight_for_each_label():
    Y, weight = mixed(), np.random.default_rng(1).uniform(0.0, 2.0, size=(N, 3))
    weight[:20] = 0.0
    model = MixedTaskModel(0.01, losses=LOSSES).fit(X, Y, sample_weight=weight)
    found, known = model.predict(X), Y.notna().to_numpy()
    expected = [
        metric(Y[name][at].astype(kind), found[at, t].astype(kind), sample_weight=weight[at, t])
        for t, (name, metric, kind, at) in enumerate([
            ("size", r2_score, float, known[:, 0]), ("grade", accuracy_score, str, known[:, 1]),
            ("level", r2_score, float, known[:, 2]),
        ])
    ]  # fmt: skip
    assert model.score(X, Y, sample_weight=weight) == pytest.approx(np.mean(expected))


def test_mixed_tasks_on_rows_of_their_own():
    y = np.where(TASKS == "ash", SCORES[:, 0] > 0, SCORES[:, 0] + 5)
    losses = {"ash": "log_loss", "birch": "squared_error", "cedar": Huber(2.0)}
    model = MixedTaskModel(0.01, losses=losses, penalty=Ridge()).fit(X, y, tasks=TASKS)
    ash = TASKS == "ash"
    alone = MultiTaskClassifier(0.01, penalty=Ridge(), tol=1e-8).fit(X[ash], y[ash] > 0.5)
    assert_allclose(model.predict_proba(X[ash], tasks=TASKS[ash]), alone.predict_proba(X[ash]), atol=1e-2)
    assert set(model.predict(X[ash], tasks=TASKS[ash])) <= {0.0, 1.0}
    assert model.score(X, y, tasks=TASKS) > 0.8
    with pytest.raises(ValueError, match="task 'birch' has no class probabilities"):
        model.predict_proba(X, tasks=TASKS)


def test_counts_are_predicted_on_their_scale():
    counts = rng.poisson(np.exp(0.5 * X[:, 0] + 1.0)).astype(float)
    Y = np.column_stack([counts, X[:, 1]])
    model = MixedTaskModel(0.01, losses={0: "poisson", 1: "squared_error"}).fit(X, Y)
    assert (model.predict(X)[:, 0] > 0).all() and model.score(X, Y) > 0.5


@pytest.mark.parametrize(
    "params, message",
    [
        ({"losses": {"grade": "log_loss"}}, "tasks without a loss: \\['size', 'level'\\]"),
        ({"losses": {**LOSSES, "oak": "huber"}}, "unknown tasks: \\['oak'\\]"),
        ({"losses": {**LOSSES, "size": "l2"}}, "losses must be Loss objects or among .* got 'l2'"),
        ({"losses": {**LOSSES, "grade": "huber"}}, "task 'grade' has the regression loss 'huber'"),
        ({"losses": {**LOSSES, "grade": "squared_hinge"}}, "is for two classes; y has 3"),
        ({"losses": {**LOSSES, "size": RootSquaredError()}}, "for all tasks or for none"),
        ({"losses": {**LOSSES, "level": "poisson"}}, "needs targets y >= 0"),
        ({"losses": "median"}, "The 'losses' parameter"),
        ({"losses": LOSSES, "handle_unknown": "average"}, "no meaning for tasks of different kinds"),
    ],
)
def test_malformed_mixtures(params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MixedTaskModel(**params).fit(X, mixed())


def test_the_root_of_the_squared_error_for_all_tasks():
    Y = np.column_stack([X[:, 0] + 0.1 * rng.normal(size=N), X[:, 0] + 3 * rng.normal(size=N)])
    model = MixedTaskModel(0.05, losses="root_squared_error", penalty=Coupling()).fit(X, Y)
    assert np.isfinite(model.objective_) and model.dual_gap_ >= 0


# --- separable classes ---

LINE = X @ [1.0, -2.0, 0.5, 0.0]
NOISY = (LINE + rng.logistic(size=N) > 0).astype(float)
FLAG = (rng.random(N) < 0.2).astype(float)
FLAGGED = np.column_stack([X, FLAG])  # the last feature is only ever 1 in rows of class 1, or without counts
MISSING = np.where(np.arange(N)[:, None] % 4 == [0, 1], np.nan, np.column_stack([LINE > 0, LINE > 1]))
THREE = np.digitize(LINE, [-1, 1])
CLASSIFIERS = [
    cls for name, cls in sorted(estimators().items()) if name.endswith("Classifier") and name[:3] != "Inc"
]
SEPARABLE = {
    "all rows": (MeanRegularizedClassifier(), X, LINE > 0),
    "some rows": (MeanRegularizedClassifier(), FLAGGED, np.where(FLAG > 0, 1, NOISY)),
    "no intercept": (MeanRegularizedClassifier(fit_intercept=False), X, LINE > 0),
    "no penalty": (TraceNormClassifier(0.0), X, LINE > 0),
    "a shared model": (TraceNormClassifier(mean_alpha=0.0), X, LINE > 0),
    "large ones cost no more": (GroupSparseClassifier(0.001, norm="mcp"), X, LINE > 0),
    "nor large groups": (GroupSparseClassifier(0.001, norm="capped", feature_groups=[0, 0, 1, 1]), X, THREE),
    "beside a coupling": (MultiTaskClassifier(0.1, penalty=Features(Fused()) + Coupling()), X, LINE > 0),
    "clusters": (ClusteredClassifier(), FLAGGED, np.where(FLAG > 0, 1, NOISY)),
    "three classes": (GroupSparseClassifier(mean_alpha=0.0), X, THREE),
    "one of three": (MeanRegularizedClassifier(), X, np.where(LINE > 1, 2, NOISY)),
    "missing": (MeanRegularizedClassifier(), X, MISSING),
    "counts": (MeanRegularizedRegressor(loss="poisson", tol=1e-9), FLAGGED, np.where(FLAG > 0, 0, 1 + NOISY)),
}


@pytest.mark.parametrize("cls", CLASSIFIERS, ids=lambda cls: cls.__name__)
def test_a_model_of_several_classes_may_have_nothing_left(cls):
    model = cls(1e6, tol=1e-2)
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is separable where the strength is about tasks only
        model.fit(X, THREE, tasks=TASKS)
    assert model.coef_.shape == (model.n_tasks_, 3, X.shape[1])
    assert_allclose(model.predict_proba(X, tasks=TASKS).sum(axis=1), 1.0)


@pytest.mark.parametrize("name", SEPARABLE)
def test_separable_classes_are_said(name):
    """Where nothing penalises what separates them no fit ends; where something does it is a fit like any."""
    model, table, y = SEPARABLE[name]
    tasks = {} if np.ndim(y) == 2 else {"tasks": TASKS}
    with pytest.warns(UserWarning, match=r"separable along directions that nothing.*mean_alpha > 0"):
        model.fit(table, y, **tasks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(ridge=0.01).fit(table, y, **tasks)


@pytest.mark.parametrize("model", [MeanRegularizedClassifier(), ClusteredClassifier(tol=1e-3)])
def test_classes_that_overlap_are_not_separable(model):
    """However far out a row is, or the hinge of rows beyond the margin is zero."""
    far = X * np.where(np.arange(N) == np.argmax(np.equal(NOISY, LINE > 0)), 1e3, 1.0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for table in (X, far):
            model.fit(table, NOISY, tasks=TASKS)
        assert np.abs(model.decision_function(far, tasks=TASKS)).max() > 100
        model.set_params(loss="squared_hinge").fit(X, LINE > 0, tasks=TASKS)


@pytest.mark.parametrize("seed", range(12))
def test_separable_is_what_a_linear_programme_calls_so(seed):
    rng = np.random.default_rng(seed)
    n, tasks = 40, np.arange(40) % 2
    table = np.round(rng.normal(size=(n, 5)))
    y = (2 * table @ rng.normal(size=5) + rng.logistic(size=n) > 0).astype(float)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MeanRegularizedClassifier(tol=1e-8).fit(table, y, tasks=tasks)
    margins = np.column_stack([table, tasks, 1 - tasks]) * (2 * y - 1)[:, None]
    found = linprog(-margins.sum(axis=0), A_ub=-margins, b_ub=np.zeros(n), bounds=(-1, 1))
    assert any("separable" in str(w.message) for w in caught) == (found.fun < -1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_separable_of_three_classes_is_what_a_linear_programme_calls_so(seed):
    """Also where one class is apart from two that overlap, whose rows hold the difference of these only."""
    rng = np.random.default_rng(seed)
    n, tasks, K = 40, np.arange(40) % 2, 3
    table, apart = np.round(rng.normal(size=(n, 4))), rng.normal(size=4)
    overlapping = (table @ rng.normal(size=4) + rng.logistic(size=n) > 0).astype(int)
    y = np.where(table @ apart + 0.3 * (seed % 4) * rng.logistic(size=n) > 1, 2, overlapping)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MeanRegularizedClassifier(tol=1e-8).fit(table, y, tasks=tasks)
    rows = np.column_stack([table, tasks, 1 - tasks])
    indicators = np.eye(K)
    margins = np.concatenate([
        np.einsum("nk,np->nkp", indicators[y] - indicators[other], rows)[y != other].reshape(-1, K * 6)
        for other in range(K)
    ])  # fmt: skip
    found = linprog(-margins.sum(axis=0), A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=(-1, 1))
    assert any("separable" in str(w.message) for w in caught) == (found.fun < -1e-6)


def test_intercepts_start_where_they_are_heading(rng, monkeypatch):
    """A search after a step of FISTA takes fewer Newton steps than from the intercepts before."""
    counts, methods = {"_settle": 0, "intercept": 0}, dict(vars(OutputsTerm))

    def counted(name):
        def method(self, *args):
            counts[name] += 1
            return methods[name](self, *args)

        return method

    for name in counts:
        monkeypatch.setattr(OutputsTerm, name, counted(name))
    X, y, tasks = rng.normal(size=(36, 3)), np.tile([0, 1, 2], 12), np.repeat([0, 1, 2], 12)
    model = ClusteredClassifier(1e-3, solver="fista", tol=1e-6).fit(X, y, tasks=tasks)
    assert model.n_iter_ > 100 and counts["_settle"] < 2.45 * counts["intercept"]
