"""fit_task: one more task for a fitted model, with what the tasks share held fixed."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import make_layout, task_estimators
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import Validator, validate
from scipy.linalg import block_diag
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import logsumexp, softmax
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeCV

from skmtl import (
    ClusteredRegressor,
    DirtyRegressor,
    GraphRegularizedRegressor,
    GroupSparseRegressor,
    IncompleteMultiSourceRegressor,
    LatentBasisRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskRegressor,
    RobustRegressor,
    SharedSubspaceRegressor,
    TaskRelationshipRegressor,
    TemporalRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
    summary,
)
from skmtl._fitted import fitted_coefficients
from skmtl.datasets import make_multitask_regression
from skmtl.penalties import (
    L1,
    L2,
    SCAD,
    Box,
    Coupling,
    Entries,
    Features,
    InfConv,
    Ridge,
    Shared,
    SparseL2,
    Spectrum,
    Tasks,
)

TIGHT = {"tol": 1e-10, "max_iter": 100_000}
NAMES = np.array(["ash", "birch", "cedar", "dune", "elm"])
LAYOUT = make_layout("stacked", n_tasks=5, n=150)
CODES, X = LAYOUT.tasks, LAYOUT.X
# three classes that every task has; `cedar` is the new task, with nine rows
TARGETS = {
    0: LAYOUT.y,
    2: np.where(LAYOUT.y > np.median(LAYOUT.y), "yes", "no"),
    3: np.digitize(LAYOUT.y, np.quantile(LAYOUT.y, [0.3, 0.7])),
}
NEW = np.flatnonzero(CODES == 2)[:9]
OLD = CODES != 2
REFUSING = {"IncompleteMultiSource", "MixedTaskModel"}
TAKING = {name: cls for name, cls in task_estimators().items() if not name.startswith(tuple(REFUSING))}


def kinds_of(cls):
    """Numbers of classes to try, 0 for regression."""
    return (2, 3) if is_classifier(cls()) else (0,)


def fitted(model, kind=0, tight=True, **new):
    """A model of the four old tasks, and the same with the new one, as exactly as `TIGHT` if wanted."""
    y = TARGETS[kind]
    before = clone(model).fit(X[OLD], y[OLD], tasks=NAMES[CODES[OLD]])
    after = pickle.loads(pickle.dumps(before)).set_params(**(TIGHT if tight else {}))
    after.set_params(tol=max(after.tol, 1e-8 if kind == 3 else 0))  # several predictors take their time
    return before, after.fit_task(X[NEW], y[NEW], "cedar", **new)


def new_row(model):
    """Coefficients and intercepts of the new task."""
    return model.coef_[2], model.intercept_[2]


# --- every model ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAKING)
def test_every_model_takes_a_new_task(name):
    for kind in kinds_of(TAKING[name]):
        model = TAKING[name](0.05, intercept_alpha=0.1, tol=0.01)
        if name.startswith("LatentBasis"):
            model.set_params(n_init=1)
        before, after = fitted(model, kind, tight=False)
        assert after.tasks_.tolist() == NAMES.tolist() and after.n_tasks_ == 5
        for attribute in ("coef_", "deviation_coef_", "intercept_"):
            old = np.delete(getattr(after, attribute), 2, axis=0)
            np.testing.assert_array_equal(old, getattr(before, attribute))
        for attribute in ("mean_coef_", "mean_intercept_"):
            np.testing.assert_array_equal(getattr(after, attribute), getattr(before, attribute))
        assert 0 <= after.added_tasks_["cedar"] < 0.1 and before.added_tasks_ == {}
        old = [model.predict(X[OLD], tasks=NAMES[CODES[OLD]]) for model in (before, after)]
        np.testing.assert_array_equal(*old)
        tasks = np.full(len(NEW), "cedar")
        if kind == 0:
            w, b = new_row(after)
            np.testing.assert_allclose(after.predict(X[NEW], tasks=tasks), X[NEW] @ w + b)
        else:
            assert after.predict_proba(X[NEW], tasks=tasks).shape == (len(NEW), kind)
            assert after.score(X[NEW], TARGETS[kind][NEW], tasks=tasks) > 0.5


@pytest.mark.parametrize("name", TAKING)
def test_every_model_takes_a_new_task_in_the_shared_layout(name):
    shared = make_layout("shared", n_tasks=4, n=60)
    for kind in kinds_of(TAKING[name])[:1]:
        Y = shared.y
        if kind:
            edges = np.quantile(Y, [0.5] if kind == 2 else [0.3, 0.7], axis=0)
            Y = (edges[:, None] < Y).sum(axis=0)
        model = TAKING[name](0.05, tol=0.01).fit(shared.X, Y[:, :3])
        model.fit_task(shared.X[:12], Y[:12, 3], task=3)
        assert model.tasks_.tolist() == [0, 1, 2, 3] and len(model.coef_) == 4
        assert model.predict(shared.X).shape == (60, 4)
        assert model.added_tasks_[3] < 0.1


def test_the_certificate_is_as_tight_as_tol():
    for name, cls in TAKING.items():
        model, kind = cls(0.05, intercept_alpha=0.1, ridge=0.01, tol=0.1), kinds_of(cls)[0]
        model, y = fitted(model, kind, tight=False)[0], TARGETS[kind]
        model.set_params(tol=1e-6).fit_task(X[NEW], y[NEW], "cedar")
        assert 0 <= model.added_tasks_["cedar"] < 1e-4, name


# --- the objective --------------------------------------------------------------------------


def reference(kind, rows, center, basis, bent, l1, bound=None, ridge=0.0):
    """Optimum over w = center + z basis of loss + bent/2 . z^2 + l1 . |z| + ridge/2 ||w||^2, by L-BFGS-B.

    `bound` is (strength, mean) of the intercept's own penalty. Returns the objective, w and b.
    """
    X, y, weight = rows
    K, n = max(kind, 1) if kind != 2 else 1, len(bent)
    code = np.unique(TARGETS[kind], return_inverse=True)[1][NEW] if kind else y
    strength, mean = bound or (0.0, 0.0)

    def objective(v):
        z, b = v[:n] - v[n : 2 * n], v[2 * n :]
        w = center + z @ basis
        eta = X @ w.reshape(K, -1).T + b
        if kind == 0:
            value, slope = 0.5 * (eta[:, 0] - y) ** 2, eta - y[:, None]
        else:
            full = eta if kind == 3 else np.hstack([np.zeros_like(eta), eta])
            value = logsumexp(full, axis=1) - full[np.arange(len(y)), code]
            slope = (softmax(full, axis=1) - np.eye(full.shape[1])[code])[:, -K:]
        slope = weight[:, None] * slope
        g = basis @ ((slope.T @ X).ravel() + ridge * w) + bent * z
        total = weight @ value + bent @ z**2 / 2 + l1 @ (v[:n] + v[n : 2 * n]) + ridge * w @ w / 2
        return total + strength * ((b - mean) ** 2).sum() / 2, np.concatenate(
            [g + l1, l1 - g, slope.sum(axis=0) + strength * (b - mean)]
        )

    start = np.zeros(2 * n + K)
    bounds = [(0, None)] * (2 * n) + [(None, None)] * K
    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30}
    found = minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    z = found.x[:n] - found.x[n : 2 * n]
    return found.fun, center + z @ basis, found.x[2 * n :]


def of_mean(model, V):
    return V.mean(axis=0), np.eye(V.shape[1]), np.full(V.shape[1], model.alpha), 0.0


def of_trace(model, V):
    _, s, Vt = np.linalg.svd(V, full_matrices=False)
    used = s > 1e-10
    return 0.0, Vt[used], model.alpha / s[used], 0.0


def of_relationship(model, V):
    _, s, Vt = np.linalg.svd(V, full_matrices=False)
    used = s > 1e-10
    return 0.0, Vt[used], model.alpha * s.sum() / s[used], 0.0


def of_group(model, V):
    size = np.linalg.norm(V, axis=0)
    used = size > 0
    assert 0 < used.sum() < V.shape[1]
    return 0.0, np.eye(V.shape[1])[used], model.alpha / size[used], 0.0


def of_classes(model, V):
    p = X.shape[1]
    size = np.tile(np.linalg.norm(V.reshape(-1, p), axis=0), V.shape[1] // p)
    return 0.0, np.eye(V.shape[1])[size > 0], model.alpha / size[size > 0], 0.0


def of_sparse_group(model, V):
    size, a, rho = np.linalg.norm(V, axis=0), model.alpha, model.l1_ratio
    used = size > 0
    return 0.0, np.eye(V.shape[1])[used], a * (1 - rho) / size[used], a * rho


def of_exclusive(model, V):
    p = V.shape[1]
    return 0.0, np.eye(p), np.full(p, model.alpha), model.alpha * np.abs(V).sum(axis=0)


def of_dirty(model, V):
    P, p = model.shared_coef_, V.shape[1]
    size = np.linalg.norm(P, axis=0)
    used = size > 0
    shared = model.alpha * model.shared_ratio * np.abs(P).max(axis=0)[used] / size[used] ** 2
    private = model.alpha * (1 - model.shared_ratio)
    l1 = np.concatenate([np.zeros(used.sum()), np.full(p, private)])
    return 0.0, np.vstack([np.eye(p)[used], np.eye(p)]), np.concatenate([shared, np.zeros(p)]), l1


def of_clusters(model, V):
    T, k = len(V), model.n_clusters
    high = 1 / model.between_ratio
    mean = V.mean(axis=0)
    _, s, Vt = np.linalg.svd(V - mean)
    theta = np.ones(V.shape[1])
    theta[: T - 1] = Box(1.0, 1.0, high, (k - 1) * high + T - k).theta(s[None, : T - 1])[0]
    return mean, Vt, model.alpha / theta, 0.0


def of_subspace(model, V):
    _, s, Vt = np.linalg.svd(V)
    eta, theta = model.eta, np.full(V.shape[1], model.eta)
    theta[: len(s)] = Box(1.0, eta, 1 + eta, model.n_components + len(V) * eta).theta(s[None])[0]
    return 0.0, Vt, model.alpha * (1 + eta) / theta, 0.0


def of_order(model, V):
    p = V.shape[1]
    return V[-1], np.eye(p), np.zeros(p), model.alpha


def of_latent(model, V):
    L = model.components_
    return 0.0, L, np.zeros(len(L)), model.alpha * model.sparsity


def of_deviations(model, V):
    return model.mean_coef_, *of_trace(model, V - model.mean_coef_)[1:]


def of_ring(model, V):
    p = V.shape[1]
    return V.mean(axis=0), np.eye(p), np.full(p, model.alpha * 2), 0.0


RING = np.roll(np.eye(4), 1, axis=0) + np.roll(np.eye(4), -1, axis=0)
OBJECTIVES = {
    "mean": (MeanRegularizedRegressor(0.3), 0, of_mean),
    "mean-other": (MeanRegularizedRegressor(0.3, mean_alpha=0.3), 0, of_mean),
    "mean-classes": (MeanRegularizedClassifier(0.05), 2, of_mean),
    "mean-three": (MeanRegularizedClassifier(0.05), 3, of_mean),
    "trace": (TraceNormRegressor(0.5), 0, of_trace),
    "trace-classes": (TraceNormClassifier(0.05), 2, of_trace),
    "trace-mean": (TraceNormRegressor(0.2, mean_alpha=0.1), 0, of_deviations),
    "relationship": (TaskRelationshipRegressor(0.1), 0, of_relationship),
    "group": (GroupSparseRegressor(0.8), 0, of_group),
    "sparse": (GroupSparseRegressor(0.5, norm="sparse"), 0, of_sparse_group),
    "exclusive": (GroupSparseRegressor(0.1, norm="exclusive"), 0, of_exclusive),
    "dirty": (DirtyRegressor(0.3, shared_ratio=0.65), 0, of_dirty),
    "clusters": (ClusteredRegressor(0.3, random_state=0), 0, of_clusters),
    "subspace": (SharedSubspaceRegressor(0.3), 0, of_subspace),
    "order": (TemporalRegressor(0.5), 0, of_order),
    "latent": (LatentBasisRegressor(0.1), 0, of_latent),
    "ring": (GraphRegularizedRegressor(0.3, graph=RING), 0, of_ring),
}
EXTRAS = {"plain": {}, "pooled-intercepts": {"intercept_alpha": 0.7, "ridge": 0.05}}


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_new_coefficients_are_the_optimum(name, extra):
    model, kind, of = OBJECTIVES[name]
    model = clone(model).set_params(**EXTRAS[extra])
    weight = np.random.default_rng(0).uniform(0.2, 2.0, size=len(NEW))
    before, after = fitted(model, kind, sample_weight=weight)
    center, basis, bent, l1 = of(before, before.coef_.reshape(4, -1))
    rows = X[NEW], TARGETS[kind][NEW], weight / weight.sum()
    l1 = np.broadcast_to(l1, bent.shape)
    center = np.broadcast_to(center, (basis.shape[1],))
    bound = None if extra == "plain" else (0.7, before.mean_intercept_)
    _, w, b = reference(kind, rows, center, basis, bent, l1, bound, model.ridge)
    found, level = new_row(after)
    np.testing.assert_allclose(found.ravel(), w, atol=2e-4)
    if kind != 3 or bound:  # else a constant may be added to all intercepts
        np.testing.assert_allclose(np.ravel(level), b, atol=2e-4)
    assert after.added_tasks_["cedar"] <= 1e-8


def test_classes_share_the_features():
    model = clone(task_estimators()["GroupSparseClassifier"](0.15))
    before, after = fitted(model, 3)
    V = before.coef_.reshape(4, -1)
    _, basis, bent, _ = of_classes(before, V)
    rows = X[NEW], TARGETS[3][NEW], np.full(len(NEW), 1 / len(NEW))
    _, w, _ = reference(3, rows, np.zeros(basis.shape[1]), basis, bent, np.zeros(len(bent)))
    np.testing.assert_allclose(new_row(after)[0].ravel(), w, atol=2e-4)


def test_kmeans_takes_the_best_centre():
    model = ClusteredRegressor(0.3, relaxation="kmeans", random_state=0, n_init=3)
    before, after = fitted(model)
    rows = X[NEW], LAYOUT.y[NEW], np.full(len(NEW), 1 / len(NEW))
    p = X.shape[1]
    tried = [
        reference(0, rows, center, np.eye(p), np.full(p, 0.3), np.zeros(p))
        for center in before.cluster_centers_
    ]
    best = min(tried, key=lambda found: found[0])
    np.testing.assert_allclose(new_row(after)[0], best[1], atol=1e-4)


@pytest.mark.parametrize("norm", ["l2", "sparse", "exclusive", "linf"])
def test_positive_models_stay_positive(norm):
    model = GroupSparseRegressor(0.1, norm=norm, positive=True)
    _, after = fitted(model)
    assert (new_row(after)[0] >= 0).all() and after.added_tasks_["cedar"] < 1e-8
    others = [
        DirtyRegressor(0.1, shared_ratio=0.65, positive=True), RobustRegressor(0.1, positive=True),
        TemporalRegressor(0.1, l1_ratio=0.2, group_ratio=0.2, positive=True),
        TemporalRegressor(0.1, smooth="quadratic", l1_ratio=0.2, positive=True),
        task_estimators()["HierarchicalRegressor"](0.1, positive=True),
    ]  # fmt: skip
    for model in others:
        _, after = fitted(model)
        assert (new_row(after)[0] >= 0).all() and after.added_tasks_["cedar"] < 1e-8, model


OTHERS = {
    "entries": Entries(L1(0.2)),
    "tasks": Tasks(L2(0.2)),
    "ridge": Ridge(0.3),
    "pooled": Shared(0.1),
    "sum": Features(L2(0.2)) + Ridge(0.1),
    "lasso-coupling": Entries(L1(0.1)) + Coupling(0.3),
    "trace-coupling": Spectrum(L1(0.1)) + Coupling(0.3),
    "decomposed": InfConv([Coupling(0.3), Entries(L1(0.1))]),
    "shared-part": InfConv([Shared(0.1), Features(L2(0.1)), Tasks(L2(0.2))]),
    "spectrum-l2": Spectrum(L2(0.2)),
    "scad": Entries(SCAD(0.1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_penalty(name):
    _, after = fitted(MultiTaskRegressor(1.0, penalty=OTHERS[name]))
    assert np.isnan(after.added_tasks_["cedar"]) if name == "scad" else after.added_tasks_["cedar"] < 1e-7
    assert np.isfinite(after.coef_).all()


def test_where_nothing_is_shared_the_new_task_is_fitted_alone():
    penalty = Entries(L1(0.1))
    alone = MultiTaskRegressor(penalty=penalty, **TIGHT).fit(X[NEW], LAYOUT.y[NEW])
    _, after = fitted(MultiTaskRegressor(penalty=penalty))
    np.testing.assert_allclose(new_row(after)[0], alone.coef_, atol=1e-4)


def test_a_sum_with_a_coupling_is_about_the_mean():
    before, after = fitted(MultiTaskRegressor(penalty=Entries(L1(0.1)) + Coupling(0.5)))
    w, m, y = new_row(after)[0], before.mean_coef_, LAYOUT.y[NEW]
    step, far = 1e-4, np.random.default_rng(0).normal(size=(50, len(w)))

    def objective(v):
        eta = X[NEW] @ v
        return 0.5 * np.var(y - eta) + 0.1 * np.abs(v).sum() + 0.25 * ((v - m) ** 2).sum()

    assert all(objective(w) <= objective(w + step * d) + 1e-12 for d in far)


def test_a_coupling_of_strength_zero_changes_nothing():
    penalty = Features(SparseL2(0.3))
    alone, coupled = (MultiTaskRegressor(penalty=p, tol=1e-3) for p in (penalty, penalty + Coupling(0.0)))
    alone, coupled = (fitted(model, tight=False)[1] for model in (alone, coupled))
    np.testing.assert_allclose(new_row(coupled)[0], new_row(alone)[0], rtol=1e-12)
    assert coupled.added_tasks_["cedar"] == pytest.approx(alone.added_tasks_["cedar"], rel=1e-9)


def test_alpha_zero_is_unpenalised_and_a_ridge_certifies_it():
    _, free = fitted(MeanRegularizedRegressor(0.0))
    design = np.column_stack([X[NEW], np.ones(len(NEW))])
    best = np.linalg.lstsq(design, LAYOUT.y[NEW])[0]
    assert np.isnan(free.added_tasks_["cedar"])
    np.testing.assert_allclose(new_row(free)[0], best[:-1], atol=1e-4)
    _, ridge = fitted(MeanRegularizedRegressor(0.0, ridge=0.1))
    assert 0 <= ridge.added_tasks_["cedar"] < 1e-8


@pytest.mark.parametrize("loss", ["huber", "root_squared_error"])
def test_other_losses(loss):
    _, after = fitted(TraceNormRegressor(0.1, loss=loss))
    assert 0 <= after.added_tasks_["cedar"] < 0.01


def test_counts_must_be_counts():
    counts = np.random.default_rng(0).poisson(2.0, size=len(X))
    model = MeanRegularizedRegressor(0.5, loss="poisson").fit(X[OLD], counts[OLD], tasks=CODES[OLD])
    assert model.fit_task(X[NEW], counts[NEW], task=2).added_tasks_[2] < 0.01
    with pytest.raises(ValueError, match="Poisson loss needs targets"):
        model.fit_task(X[NEW], -1.0 - counts[NEW], task=9)


def test_targets_that_an_intercept_explains_converge():
    for model in (TraceNormRegressor(0.1, intercept_alpha=0.5), MeanRegularizedRegressor(0.1)):
        before = model.fit(X[OLD], LAYOUT.y[OLD], tasks=CODES[OLD])
        before.fit_task(X[NEW], np.full(9, 3.0), 2).fit_task(X[:1], LAYOUT.y[:1], 7)  # no warning


def test_intercepts_are_pulled_to_their_mean():
    before, after = fitted(MeanRegularizedRegressor(0.3, intercept_alpha=1e6))
    assert new_row(after)[1] == pytest.approx(before.mean_intercept_, abs=1e-3)
    _, none = fitted(MeanRegularizedRegressor(0.3, fit_intercept=False))
    assert new_row(none)[1] == 0


def test_one_class_alone_is_possible():
    y = TARGETS[3]
    before, _ = fitted(MeanRegularizedClassifier(0.05, intercept_alpha=0.1), 3)
    same = np.flatnonzero((CODES == 2) & (y == 2))[:3]
    before.fit_task(X[same], y[same], "cedar")
    assert np.isfinite(before.coef_).all() and (before.predict(X[same], tasks=["cedar"] * 3) == 2).all()


# --- few rows -------------------------------------------------------------------------------

FEW = {
    "shared_support": GroupSparseRegressor(0.1),
    "low_rank": TraceNormRegressor(0.1),
    "mean": MeanRegularizedRegressor(1.0),
    "clustered": ClusteredRegressor(0.5, n_clusters=3, n_init=1, random_state=0, tol=1e-3),
}


@pytest.mark.parametrize("structure", FEW)
def test_few_rows_of_a_new_task_are_enough(structure):
    errors, n_new = [], 7
    for seed in range(10):
        data = make_multitask_regression(
            n_tasks=12, n_samples=[40] * 11 + [n_new + 200], structure=structure, random_state=seed
        )
        new, old = np.flatnonzero(data.tasks == 11), data.tasks != 11
        few, rest = new[:n_new], new[n_new:]
        alone = RidgeCV(np.geomspace(1e-3, 1e3, 13)).fit(data.X[few], data.y[few])
        model = clone(FEW[structure]).fit(data.X[old], data.y[old], tasks=data.tasks[old])
        model.fit_task(data.X[few], data.y[few], task=11)
        found = alone.predict(data.X[rest]), model.predict(data.X[rest], tasks=data.tasks[rest])
        errors.append([np.mean((y - data.y[rest]) ** 2) for y in found])
    single, transferred = np.mean(errors, axis=0)
    assert transferred < 0.7 * single


# --- labels, repetition, containers ---------------------------------------------------------


def test_several_tasks_in_turn_do_not_see_each_other():
    y = LAYOUT.y
    both = MeanRegularizedRegressor(0.3).fit(X[CODES > 1], y[CODES > 1], tasks=NAMES[CODES[CODES > 1]])
    mean = both.mean_coef_.copy()
    first, second = CODES == 0, CODES == 1
    both.fit_task(X[second], y[second], "birch").fit_task(X[first], y[first], "ash")
    other = MeanRegularizedRegressor(0.3).fit(X[CODES > 1], y[CODES > 1], tasks=NAMES[CODES[CODES > 1]])
    other.fit_task(X[first], y[first], "ash").fit_task(X[second], y[second], "birch")
    assert both.tasks_.tolist() == NAMES.tolist()
    np.testing.assert_array_equal(both.coef_, other.coef_)
    np.testing.assert_array_equal(both.mean_coef_, mean)
    assert set(both.added_tasks_) == {"ash", "birch"}
    again = both.fit(X, y, tasks=NAMES[CODES])
    assert again.added_tasks_ == {} and again.n_tasks_ == 5


@pytest.mark.parametrize("name", ["ClusteredRegressor", "HierarchicalRegressor", "TemporalRegressor"])
def test_models_that_know_their_tasks_take_several(name):
    _, model = fitted(task_estimators()[name](0.1), tight=False)
    model = pickle.loads(pickle.dumps(model))
    model.fit_task(X[:20], LAYOUT.y[:20], "fir").fit_task(X[20:40], LAYOUT.y[20:40], "gum")
    assert model.tasks_[-2:].tolist() == ["fir", "gum"] and model.coef_.shape == (7, 6)
    once = fitted(task_estimators()[name](0.1), tight=False)[0].fit_task(X[20:40], LAYOUT.y[20:40], "gum")
    np.testing.assert_array_equal(once.coef_[-1], model.coef_[-1])
    warm = model.set_params(warm_start=True).fit(X, LAYOUT.y, tasks=NAMES[CODES])
    assert warm.coef_.shape == (5, 6)


def test_weights_sparse_and_frames():
    model, y = TraceNormRegressor(0.1, **TIGHT), LAYOUT.y
    plain = fitted(model)[1]
    rows = np.concatenate([NEW, NEW[:4]])
    weight = np.r_[np.ones(len(NEW)), np.zeros(4)]
    before = fitted(model)[0]
    again = pickle.loads(pickle.dumps(before)).fit_task(X[rows], y[rows], "cedar", sample_weight=weight)
    np.testing.assert_allclose(again.coef_, plain.coef_, atol=1e-6)
    sparse = pickle.loads(pickle.dumps(before)).fit_task(csr_array(X[NEW]), y[NEW], "cedar")
    np.testing.assert_allclose(sparse.coef_, plain.coef_, atol=1e-6)
    pooled = TraceNormRegressor(0.1, intercept_alpha=0.1, **TIGHT).fit(X[OLD], y[OLD], tasks=CODES[OLD])
    sparse = pickle.loads(pickle.dumps(pooled)).fit_task(csr_array(X[NEW]), list(y[NEW]), 2)
    np.testing.assert_allclose(sparse.coef_, pooled.fit_task(X[NEW], y[NEW], 2).coef_, atol=1e-5)


def test_a_task_column_names_the_new_task():
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(site=NAMES[CODES])
    model = MeanRegularizedRegressor(0.3, task_column="site").fit(frame[OLD], LAYOUT.y[OLD])
    with pytest.raises(ValueError, match="task column of X_new must hold task='cedar' only"):
        model.fit_task(frame[CODES < 3], LAYOUT.y[CODES < 3], "cedar")
    with pytest.raises(ValueError, match="task column of X_new must hold task='new' only"):
        model.fit_task(frame.iloc[NEW], LAYOUT.y[NEW])
    with pytest.raises(ValueError, match="feature names"):
        model.fit_task(frame.iloc[NEW].drop(columns="site"), LAYOUT.y[NEW], "cedar")
    model.fit_task(frame.iloc[NEW], LAYOUT.y[NEW], "cedar")
    plain = fitted(MeanRegularizedRegressor(0.3), tight=False)[1]
    np.testing.assert_allclose(model.coef_, plain.coef_)
    assert model.predict(frame).shape == (150,)
    numbers = np.column_stack([X, CODES])
    model = MeanRegularizedRegressor(0.3, task_column=-1).fit(numbers[OLD], LAYOUT.y[OLD])
    np.testing.assert_allclose(model.fit_task(numbers[NEW], LAYOUT.y[NEW], 2).coef_, plain.coef_)
    assert model.predict(numbers).shape == (150,)


def test_named_columns_of_y_keep_their_order():
    Y = pd.DataFrame(make_layout("shared").y, columns=["pear", "fig", "quince", "apple"])
    X = make_layout("shared").X
    model = MeanRegularizedRegressor(0.3).fit(X, Y).fit_task(X[:9], Y["fig"][:9], "kiwi")
    assert model.tasks_.tolist() == ["pear", "fig", "quince", "apple", "kiwi"]
    model = MeanRegularizedRegressor(0.3).fit(X, Y[["fig", "pear"]]).fit_task(X[:9], Y["fig"][:9], "kiwi")
    assert model.tasks_.tolist() == ["fig", "kiwi", "pear"]


@pytest.mark.parametrize(
    ("labels", "label", "where"),
    [
        (np.array([3, 1]), 2, 1),
        (np.array([3, 1]), 2.5, 1),
        (np.array(["b", "c"]), "a long one", 0),
        (pd.to_datetime(["2024-01-01", "2026-01-01"]).to_numpy(), pd.Timestamp("2025-01-01"), 1),
        (np.array(["b", "c"], dtype=object), "d", 2),
    ],
    ids=["int", "float", "longer", "date", "object"],
)
def test_labels(labels, label, where):
    tasks = labels[np.arange(40) % 2]
    model = MeanRegularizedRegressor(0.3).fit(X[:40], LAYOUT.y[:40], tasks=tasks)
    model.fit_task(X[40:50], LAYOUT.y[40:50], label)
    assert model.tasks_[where] == label
    again = np.asarray([label] * 10, dtype=labels.dtype if labels.dtype.kind in "MO" else None)
    w, b = model.coef_[where], model.intercept_[where]
    np.testing.assert_allclose(model.predict(X[:10], tasks=again), X[:10] @ w + b)


# --- refusals -------------------------------------------------------------------------------


def test_refusals():
    model, y = MeanRegularizedRegressor(0.3), LAYOUT.y
    with pytest.raises(NotFittedError):
        model.fit_task(X, y)
    with pytest.raises(ValueError, match="fitted on a single task without a label"):
        clone(model).fit(X, y).fit_task(X, y)
    model.fit(X[OLD], y[OLD], tasks=NAMES[CODES[OLD]])
    before = pickle.dumps(model.coef_)
    cases = [
        ((X[NEW], y[NEW], "ash"), "task='ash' is known"),
        ((X[NEW], y[NEW], 7), "task=7 cannot be sorted with the tasks of fit"),
        ((X[NEW], y[NEW], ("a", 1)), "cannot be sorted"),
        ((X[NEW], y[NEW], None), "missing"),
        ((X[NEW, :5], y[NEW]), "5 features"),
        ((np.column_stack([X[NEW], NEW]), y[NEW]), "7 features"),
        ((X[NEW], np.where(np.arange(9) < 1, np.nan, y[NEW])), "NaN"),
        ((X[NEW], LAYOUT.y[NEW][:5]), "inconsistent"),
        ((X[NEW], np.column_stack([y[NEW], y[NEW]])), "y_new must hold one task"),
        ((X[NEW] * np.nan, y[NEW]), "X contains NaN"),
    ]
    for args, message in cases:
        with pytest.raises(ValueError, match=message):
            model.fit_task(*args)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit_task(X[NEW], y[NEW], sample_weight=[1.0])
    assert pickle.dumps(model.coef_) == before and model.added_tasks_ == {}
    truths = MeanRegularizedRegressor().fit(X[OLD], y[OLD], tasks=CODES[OLD] > 0)
    with pytest.raises(ValueError, match="task='new' cannot be sorted"):
        truths.fit_task(X[NEW], y[NEW])
    infinite = MeanRegularizedRegressor().fit(X[OLD], y[OLD], tasks=np.array([0, np.inf])[CODES[OLD] % 2])
    with pytest.raises(ValueError, match="task='new' cannot be sorted"):
        infinite.fit_task(X[NEW], y[NEW])
    dates = np.array(["2026-01-01", "2026-01-02"], dtype="M8[ns]")[CODES[OLD] % 2]
    dates = MeanRegularizedRegressor().fit(X[OLD], y[OLD], tasks=dates)
    with pytest.raises(ValueError, match=r"cannot be sorted with the tasks of fit, which look like .*2026"):
        dates.fit_task(X[NEW], y[NEW], np.datetime64("5000-01-01"))


@pytest.mark.parametrize(
    ("tasks", "free"),
    [
        ([3, 1], 4),
        ([0.5, 2.5], 3),
        (np.array([255, 7], dtype=np.uint8), 256),
        ([2**63 - 1, -5], 2**63),
        ([2**70, 2**71], 2**71 + 1),
        (["b", "a"], "new"),
    ],
)
def test_without_a_label_a_task_takes_a_free_one_of_their_kind(tasks, free):
    labels = np.asarray(tasks)[np.arange(40) % 2]
    model = MeanRegularizedRegressor(0.3).fit(X[:40], LAYOUT.y[:40], tasks=labels)
    before = model.predict(X[:40], tasks=labels)
    assert list(model.fit_task(X[NEW], LAYOUT.y[NEW]).added_tasks_) == [free]
    w, b = model.coef_[-1], model.intercept_[-1]
    np.testing.assert_allclose(model.predict(X[:5], tasks=[free] * 5), X[:5] @ w + b)
    np.testing.assert_array_equal(model.predict(X[:40], tasks=labels), before)


@pytest.mark.parametrize("new", [0.5, 2**63])
def test_labels_beyond_the_digits_of_floats_stay_what_they_are(new):
    labels = 2**53 + np.arange(40) % 4
    model = MeanRegularizedRegressor(0.3).fit(X[:40], LAYOUT.y[:40], tasks=labels)
    before = model.predict(X[:40], tasks=labels)
    model.fit_task(X[NEW], LAYOUT.y[NEW], new)
    np.testing.assert_array_equal(model.predict(X[:40], tasks=labels), before)


def test_classes_must_be_known():
    before, _ = fitted(MeanRegularizedClassifier(), 2)
    for labels in (np.where(np.arange(9) < 1, "maybe", "yes"), np.arange(9)):
        with pytest.raises(ValueError, match="classes not seen in fit"):
            before.fit_task(X[NEW], labels, "cedar")


def test_rows_of_a_new_task_that_lack_a_class_are_said():
    before, _ = fitted(MeanRegularizedClassifier(), 2)
    one = np.repeat(before.classes_[:1], 9)
    with pytest.warns(UserWarning, match=r"1 task\(s\) without some class: cedar lacks"):
        before.fit_task(X[NEW], one, "cedar")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(MeanRegularizedClassifier(intercept_alpha=1.0), 2)[0].fit_task(X[NEW], one, "cedar")


def test_rows_of_a_new_task_have_an_offset_as_those_of_the_fit_had():
    model = MeanRegularizedRegressor()
    model.fit(X[OLD], TARGETS[0][OLD], tasks=NAMES[CODES[OLD]], offset=np.ones(OLD.sum()))
    with pytest.raises(ValueError, match="was fitted with an offset, and is given rows without"):
        model.fit_task(X[NEW], TARGETS[0][NEW], "cedar")
    model.fit_task(X[NEW], TARGETS[0][NEW], "cedar", offset=np.ones(len(NEW)))


def test_models_without_a_common_kind_of_task_refuse():
    Y = np.column_stack([np.arange(60) % 2, np.arange(60) % 3])
    own = MeanRegularizedClassifier().fit(X[:60], Y)
    with pytest.raises(ValueError, match="losses or classes of their own"):
        own.fit_task(X[:9], Y[:9, 0], task=2)
    with pytest.raises(ValueError, match="losses or classes of their own"):
        MixedTaskModel(0.1).fit(X[:60], Y).fit_task(X[:9], Y[:9, 0], task=2)
    with pytest.raises(ValueError, match="reads its tasks from X"):
        IncompleteMultiSourceRegressor(0.1).fit(X, LAYOUT.y).fit_task(X, LAYOUT.y)


def test_it_is_documented():
    name = "skmtl.linear_model._add_task.TransferMixin.fit_task"
    doc = Validator(get_doc_object(Validator._load_obj(name)))
    assert doc.doc["Raises"] and doc.doc["References"] and doc.doc["Examples"]
    wanted = {"GL03", "GL07", "GL08", "SS03", "SS06", "PR01", "PR02", "PR03", "PR10", "RT01"}
    assert [error for error in validate(name)["errors"] if error[0] in wanted] == []


@pytest.mark.parametrize("name", [*TAKING, "decomposed"])
def test_tables_and_parts_hold_the_new_task(name):
    cls = TAKING.get(name, MultiTaskRegressor)
    for kind, given in zip(kinds_of(cls), ({"mean_alpha": 0.5}, {}), strict=False):
        model = cls(0.05, **given, intercept_alpha=0.1, tol=0.01)
        model = model if name in TAKING else model.set_params(penalty=OTHERS[name])
        before, after = fitted(model, kind, tight=False)
        found, K = fitted_coefficients(after), kind if kind > 2 else 1
        assert len(summary(after).coef) == len(found.coef) == 5 * K
        new = [task == "cedar" for task in found.tasks]
        if found.parts:
            np.testing.assert_allclose(sum(found.parts.values()), found.coef, atol=1e-12)
            old = fitted_coefficients(before).parts
            for part, V in found.parts.items():
                np.testing.assert_allclose(V[~np.array(new)], old[part], atol=1e-12)
    assert bool(found.parts) == name.startswith(("Dirty", "Robust", "SparseLowRank", "decomposed"))


def test_parts_of_the_new_row_are_those_that_it_is_made_of():
    """Each answers the gradient of the loss: p_j = -g_j d_j / (alpha rho), and q as an outlier or not."""
    outliers = []
    for shift in (0.0, 9.0):
        y = LAYOUT.y + shift * X[:, 0] * (CODES == 2)
        model = RobustRegressor(0.2, shared_ratio=0.4, **TIGHT).fit(X[OLD], y[OLD], tasks=NAMES[CODES[OLD]])
        d = np.linalg.norm(model.shared_coef_, axis=0)
        model.fit_task(X[NEW], y[NEW], "cedar")
        p, q, w = model.shared_coef_[2], model.private_coef_[2], model.coef_[2]
        g = X[NEW].T @ (X[NEW] @ w + model.intercept_[2] - y[NEW]) / len(NEW)
        np.testing.assert_allclose(0.08 * p, -g * d, atol=2e-5)
        if q.any():
            np.testing.assert_allclose(0.12 * q / np.linalg.norm(q), -g, atol=2e-5)
        assert q.any() == ("cedar" in model.outlier_tasks_)
        outliers.append(bool(q.any()))
    assert outliers == [False, True]


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
def test_units_of_features_are_nothing_to_a_new_task(covariance):
    """Beside pulled intercepts too: its coefficients are those of the closed form."""
    rng = np.random.default_rng(3)
    tasks, B = np.repeat(np.arange(30), 10), rng.normal(size=4) + 0.5 * rng.normal(size=(31, 4))
    X, new = np.column_stack([rng.normal(size=(300, 3)), np.ones(300)]), rng.normal(size=(6, 4))
    new[:, 3] = 1.0
    y, y_new = (X * B[tasks]).sum(axis=1) + rng.normal(size=300), new @ B[30] + rng.normal(size=6)
    for units in ([1.0, 1.0, 1.0], [1e-3, 1.0, 1.0], [1e-6, 1.0, 1e6]):
        model = MeanRegularizedRegressor("auto", intercept_alpha="auto", covariance=covariance)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "alpha='auto': one variance", UserWarning)  # units that matter
            model.fit(X[:, :3] * units, y, tasks=tasks)
        Z, center = new * [*units, 1.0], np.append(model.mean_coef_, model.mean_intercept_)
        variances = np.broadcast_to(model.deviation_variance_, (3, 3) if covariance == "full" else 3)
        D = block_diag(variances if covariance == "full" else np.diag(variances), model.intercept_variance_)
        noise = model.noise_variance_ * np.eye(6)
        coef = center + D @ Z.T @ np.linalg.solve(Z @ D @ Z.T + noise, y_new - Z @ center)
        model.fit_task(Z[:, :3], y_new, 99)
        np.testing.assert_allclose(model.predict(Z[:, :3], tasks=np.full(6, 99)), Z @ coef, atol=1e-10)


@pytest.mark.parametrize("given", [{}, {"ridge": 0.3}])
def test_a_new_task_of_few_rows_and_many_features(given):
    """The optimum is that of a ridge regression about the common model."""
    rng = np.random.default_rng(8)
    X, tasks, new = rng.normal(size=(40, 1200)), np.arange(40) % 4, rng.normal(size=(6, 1200))
    X[:, 0], new[:, 0] = 1e3 * X[:, 0], 1e3 * new[:, 0]
    y, y_new = X @ rng.normal(size=1200) + rng.normal(size=40), rng.normal(size=6)
    model = MeanRegularizedRegressor(0.7, mean_alpha=1.0, fit_intercept=False).set_params(**given)
    model.fit(X, y, tasks=tasks).fit_task(new, y_new, 9)
    ridge = given.get("ridge", 0.0)
    center = 0.7 / (0.7 + ridge) * model.mean_coef_
    pull = new @ new.T / 6 + (0.7 + ridge) * np.eye(6)
    coef = center + new.T @ np.linalg.solve(pull, y_new - new @ center) / 6
    np.testing.assert_allclose(model.coef_[-1], coef, rtol=0, atol=1e-12)
