"""What each model is, beyond its optimum: limits, identities, attributes, errors."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_layout
from scipy import sparse
from sklearn.linear_model import Lasso, LinearRegression
from sklearn.linear_model import Ridge as OneRidge
from sklearn.metrics import adjusted_rand_score

from skmtl import (
    ClusteredClassifier,
    ClusteredRegressor,
    DirtyClassifier,
    DirtyRegressor,
    GraphRegularizedClassifier,
    GraphRegularizedRegressor,
    GroupSparseClassifier,
    GroupSparseRegressor,
    HierarchicalClassifier,
    HierarchicalRegressor,
    MeanRegularizedRegressor,
    MultiTaskRegressor,
    RobustClassifier,
    RobustRegressor,
    SharedSubspaceClassifier,
    SharedSubspaceRegressor,
    SparseLowRankClassifier,
    SparseLowRankRegressor,
    TaskRelationshipClassifier,
    TaskRelationshipRegressor,
    TaskStatistics,
    TemporalClassifier,
    TemporalRegressor,
    TraceNormRegressor,
)
from skmtl.datasets import make_multitask_regression
from skmtl.penalties import L1, Coupling, Entries

TIGHT = {"tol": 1e-11, "max_iter": 100_000}
NAMES = np.array(["ash", "birch", "cedar", "dune"])
LAYOUT = make_layout("stacked")
X, Y, TASKS = LAYOUT.X, LAYOUT.y, NAMES[LAYOUT.tasks]
TREE = {"ash": "north", "birch": "north", "cedar": "south", "dune": "south", "north": "all", "south": "all"}

# name: (regressor, classifier, own parameters)
MODELS = {
    "sparse": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "sparse"}),
    "linf": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "linf"}),
    "exclusive": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "exclusive"}),
    "mcp": (GroupSparseRegressor, GroupSparseClassifier, {"norm": "mcp"}),
    "dirty": (DirtyRegressor, DirtyClassifier, {"shared_ratio": 0.65}),
    "robust": (RobustRegressor, RobustClassifier, {}),
    "robust-subspace": (RobustRegressor, RobustClassifier, {"shared": "subspace", "shared_ratio": 0.6}),
    "sparse-low-rank": (SparseLowRankRegressor, SparseLowRankClassifier, {"sparse_ratio": 0.3}),
    "subspace": (SharedSubspaceRegressor, SharedSubspaceClassifier, {}),
    "relationship": (TaskRelationshipRegressor, TaskRelationshipClassifier, {}),
    "clustered": (ClusteredRegressor, ClusteredClassifier, {"random_state": 0}),
    "graph": (GraphRegularizedRegressor, GraphRegularizedClassifier, {"l1_ratio": 0.3}),
    "temporal": (TemporalRegressor, TemporalClassifier, {"l1_ratio": 0.2, "group_ratio": 0.1}),
    "gradual": (TemporalRegressor, TemporalClassifier, {"smooth": "quadratic", "l1_ratio": 0.2}),
    "tree": (HierarchicalRegressor, HierarchicalClassifier, {}),
}
ATTRIBUTES = {
    "dirty": ("shared_coef_", "private_coef_"),
    "robust": ("shared_coef_", "private_coef_"),
    "robust-subspace": ("shared_coef_", "private_coef_"),
    "sparse-low-rank": ("low_rank_coef_", "sparse_coef_"),
}
NORMS = set(MODELS) - {"exclusive", "mcp", "subspace", "relationship", "clustered"}
POSITIVE = {
    "l2": GroupSparseRegressor(0.1, positive=True),
    "linf": GroupSparseRegressor(0.1, norm="linf", positive=True),
    "sparse": GroupSparseRegressor(0.1, norm="sparse", positive=True),
    "exclusive": GroupSparseRegressor(0.1, norm="exclusive", positive=True),
    "mcp": GroupSparseRegressor(0.1, norm="mcp", positive=True),
    "dirty": DirtyRegressor(0.1, shared_ratio=0.65, positive=True),
    "robust": RobustRegressor(0.1, positive=True),
    "temporal": TemporalRegressor(0.1, l1_ratio=0.2, positive=True),
    "gradual": TemporalRegressor(0.1, smooth="quadratic", l1_ratio=0.2, positive=True),
    "tree": HierarchicalRegressor(0.1, tree=TREE, positive=True),
}


def fit(cls, alpha=0.1, **params):
    return cls(alpha, **{**TIGHT, **params}).fit(X, Y, tasks=TASKS)


def same(a, b, atol=2e-5):
    """Two fits of the same problem."""
    np.testing.assert_allclose(a.objective_, b.objective_, rtol=1e-8)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=atol)
    np.testing.assert_allclose(a.intercept_, b.intercept_, atol=10 * atol)


def lasso(alpha):
    return fit(MultiTaskRegressor, alpha, penalty=Entries(L1()))


def per_task(make):
    """Coefficients of one scikit-learn model per task, made for its number of rows."""
    return np.array([make(rows.sum()).fit(X[rows], Y[rows]).coef_ for rows in NAMES[:, None] == TASKS])


def data_term(model):
    eta = (X * model.coef_[LAYOUT.tasks]).sum(axis=1) + model.intercept_[LAYOUT.tasks]
    return sum(0.5 * np.mean((Y - eta)[name == TASKS] ** 2) for name in NAMES)


# --- group-sparse ---------------------------------------------------------------------------


def test_sparse_group_ends_at_the_group_lasso_and_at_the_lasso():
    same(fit(GroupSparseRegressor, norm="sparse", l1_ratio=0.0), fit(GroupSparseRegressor))
    one_each = per_task(lambda n: Lasso(0.1, tol=1e-12))
    np.testing.assert_allclose(
        fit(GroupSparseRegressor, norm="sparse", l1_ratio=1.0).coef_, one_each, atol=1e-5
    )


@pytest.mark.parametrize("norm", ["l2", "linf", "sparse"])
def test_every_norm_of_one_task_is_the_lasso(norm):
    model = GroupSparseRegressor(0.1, norm=norm, **TIGHT).fit(X, Y)
    assert model.coef_.shape == (6,)
    np.testing.assert_allclose(model.coef_, Lasso(0.1, tol=1e-12).fit(X, Y).coef_, atol=1e-5)


def test_exclusive_norm_of_one_task_is_ridge_regression():
    model = GroupSparseRegressor(0.1, norm="exclusive", **TIGHT).fit(X, Y)
    np.testing.assert_allclose(model.coef_, OneRidge(0.1 * len(X)).fit(X, Y).coef_, atol=1e-5)


def test_exclusive_norm_makes_tasks_compete():
    model = fit(GroupSparseRegressor, 2.0, norm="exclusive")
    assert model.coef_.any(axis=0).all() and (model.coef_ == 0).any()


@pytest.mark.parametrize("norm", ["mcp", "scad"])
def test_concave_norms_without_concavity_are_the_group_lasso(norm):
    np.testing.assert_allclose(
        fit(GroupSparseRegressor, norm=norm, gamma=1e9).coef_, fit(GroupSparseRegressor).coef_, atol=1e-4
    )


def test_capped_norm_without_a_cap_is_the_lasso():
    np.testing.assert_allclose(
        fit(GroupSparseRegressor, norm="capped", gamma=1e9).coef_, lasso(0.1).coef_, atol=1e-4
    )


@pytest.mark.parametrize("norm", ["mcp", "scad", "capped"])
def test_concave_norms_do_not_shrink_what_is_large(norm):
    model = fit(GroupSparseRegressor, 0.2, norm=norm)
    used = model.support_
    size = np.linalg.norm(model.coef_[:, used], 1 if norm == "capped" else 2, axis=0)
    assert 0 < len(used) < 6 and (size > 3.0 * 0.2).all()
    refit = [LinearRegression().fit(X[name == TASKS][:, used], Y[name == TASKS]).coef_ for name in NAMES]
    np.testing.assert_allclose(model.coef_[:, used], refit, atol=1e-5)


def test_square_root_norm_selects_fewer_features_than_the_lasso():
    model = fit(GroupSparseRegressor, 0.3, norm="sqrt")
    assert 0 < len(model.support_) < 6
    assert np.array_equal(model.support_, np.flatnonzero(model.coef_.any(axis=0)))


@pytest.mark.parametrize(("norm", "gamma"), [("mcp", 1.0), ("scad", 2.0)])
def test_too_much_concavity_is_refused(norm, gamma):
    with pytest.raises(ValueError, match="gamma must be larger than"):
        fit(GroupSparseRegressor, norm=norm, gamma=gamma)


# --- decompositions -------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_dirty_model_up_to_one_half_is_its_shared_part(norm):
    same(fit(DirtyRegressor, shared_ratio=0.45, norm=norm), fit(GroupSparseRegressor, 0.1 * 0.45, norm=norm))


@pytest.mark.parametrize(("norm", "ratio"), [("linf", 0.81), ("l2", 0.67)])
def test_dirty_model_with_a_dear_shared_part_is_the_lasso(norm, ratio):
    model = fit(DirtyRegressor, shared_ratio=ratio, norm=norm)
    same(model, lasso(0.1 * (1 - ratio)))
    assert not model.shared_coef_.any()


@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize("cls", [DirtyRegressor, RobustRegressor])
def test_a_part_without_a_price_leaves_w_unpenalised(cls, ratio):
    name = "sparse_ratio" if cls is SparseLowRankRegressor else "shared_ratio"
    free = per_task(lambda n: LinearRegression())
    np.testing.assert_allclose(fit(cls, **{name: ratio}).coef_, free, atol=1e-4)


def test_dirty_model_in_between_uses_both_parts():
    model = fit(DirtyRegressor, shared_ratio=0.65)
    assert model.shared_coef_.any() and model.private_coef_.any()
    assert model.objective_ < fit(GroupSparseRegressor, 0.065, norm="linf").objective_
    assert model.objective_ < lasso(0.035).objective_


def test_sparse_low_rank_model_ends_at_the_trace_norm_and_at_the_lasso():
    same(fit(SparseLowRankRegressor, sparse_ratio=0.55), fit(TraceNormRegressor, 0.045))
    same(fit(SparseLowRankRegressor, sparse_ratio=0.1), lasso(0.01))


def test_robust_subspace_up_to_one_half_is_the_trace_norm():
    model = fit(RobustRegressor, shared="subspace", shared_ratio=0.45)
    same(model, fit(TraceNormRegressor, 0.045))


def test_robust_model_names_the_outlier_tasks():
    data = make_multitask_regression(
        10, 60, 12, structure="shared_support", noise=0.3, random_state=0, layout="shared"
    )
    W = data.coef.copy()
    W[7] = 3.0 * np.random.default_rng(1).normal(size=12)
    names = [f"task {t}" for t in range(10)]
    y = pd.DataFrame(data.X @ W.T + 0.3 * np.random.default_rng(2).normal(size=(60, 10)), columns=names)
    model = RobustRegressor(1.5, shared_ratio=0.3, **TIGHT).fit(data.X, y)
    assert model.outlier_tasks_.tolist() == ["task 7"]
    assert np.array_equal(model.private_coef_.any(axis=1), np.isin(model.tasks_, model.outlier_tasks_))


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("mean_alpha", [None, 0.1])
def test_parts_and_the_mean_add_up(name, mean_alpha):
    cls, _, params = MODELS[name]
    model = cls(0.05, mean_alpha=mean_alpha, **params).fit(X, Y, tasks=TASKS)
    total = sum(getattr(model, attribute) for attribute in ATTRIBUTES[name])
    total = total + (model.mean_coef_ if mean_alpha is not None else 0)
    np.testing.assert_allclose(total, model.coef_, atol=1e-12)


# --- shared representations -----------------------------------------------------------------


def test_shared_subspace_equals_its_formula_at_the_best_subspace():
    alpha, eta, k = 0.05, 0.3, 2
    model = fit(SharedSubspaceRegressor, alpha, eta=eta, n_components=k)
    _, s, Vt = np.linalg.svd(model.coef_)
    s = np.append(s, [0.0, 0.0])

    def weights(c):
        return np.clip(c * s - eta, 0.0, 1.0)

    low, high = 0.0, 1e6
    for _ in range(200):  # the multiplier of tr M = k
        low, high = (
            (0.5 * (low + high), high) if weights(0.5 * (low + high)).sum() < k else (low, 0.5 * (low + high))
        )
    M = (Vt.T * weights(high)) @ Vt
    assert np.isclose(np.trace(M), k)
    inside = np.linalg.solve(eta * np.eye(6) + M, model.coef_.T)
    penalty = alpha / 2 * (1 + eta) * np.trace(model.coef_ @ inside)
    np.testing.assert_allclose(model.objective_, data_term(model) + penalty, rtol=1e-9)


@pytest.mark.parametrize("params", [{"n_components": 4}, {"n_components": 1, "eta": 1e9}])
def test_a_subspace_for_all_tasks_is_one_ridge_regression_per_task(params):
    model = fit(SharedSubspaceRegressor, **params)
    np.testing.assert_allclose(model.coef_, per_task(lambda n: OneRidge(0.1 * n)), atol=1e-5)


def test_a_cheap_subspace_holds_nearly_all_coefficients():
    model = fit(SharedSubspaceRegressor, 0.05, n_components=2, eta=1e-3)
    V = model.components_
    np.testing.assert_allclose(V @ V.T, np.eye(2), atol=1e-12)
    assert np.linalg.norm(model.coef_ - model.coef_ @ V.T @ V) < 0.1 * np.linalg.norm(model.coef_)
    assert model.singular_values_.shape == (4,)


@pytest.mark.parametrize(("columns", "k"), [(slice(None), 5), (slice(2), 3)])
def test_a_subspace_has_at_most_as_many_dimensions_as_tasks_and_features(columns, k):
    with pytest.raises(ValueError, match=f"n_components={k} must be at most {k - 1}"):
        SharedSubspaceRegressor(n_components=k).fit(X[:, columns], Y, tasks=TASKS)


def test_task_covariance_attains_the_squared_trace_norm():
    model = fit(TaskRelationshipRegressor, 0.05)
    W, C = model.coef_, model.task_covariance_
    assert np.isclose(np.trace(C), 1.0)
    np.testing.assert_allclose(
        np.trace(W.T @ np.linalg.pinv(C) @ W), np.linalg.norm(W, "nuc") ** 2, rtol=1e-8
    )
    penalty = 0.025 * np.linalg.norm(W, "nuc") ** 2
    np.testing.assert_allclose(model.objective_, data_term(model) + penalty, rtol=1e-9)


def test_task_correlation_sees_opposite_tasks():
    w, rng = np.array([1.0, -2.0, 0.5]), np.random.default_rng(0)
    A = rng.normal(size=(80, 3))
    y = A @ np.column_stack([w, -w, 0 * w])
    model = TaskRelationshipRegressor(0.1, fit_intercept=False).fit(A, y)
    R = model.task_correlation_
    assert R[0, 1] < -0.99 and np.array_equal(np.diag(R), np.ones(3))
    np.testing.assert_allclose(R[2, :2], 0.0, atol=1e-6)


def test_without_coefficients_tasks_are_uncorrelated():
    model = TaskRelationshipRegressor(1.0).fit(X, np.column_stack([np.ones(len(X))] * 3))
    assert not model.coef_.any()
    assert np.array_equal(model.task_correlation_, np.eye(3))
    np.testing.assert_allclose(model.task_covariance_, np.eye(3) / 3)


# --- clusters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "deviations"),
    [
        ({"n_clusters": 1}, 0.1),
        ({"n_clusters": 4}, 0.1 * 0.2),
        ({"n_clusters": 2, "between_ratio": 1.0}, 0.1),
    ],
)
@pytest.mark.parametrize("mean_ratio", [0.0, 0.5])
def test_clusters_end_at_mean_regularisation(params, deviations, mean_ratio):
    model = fit(ClusteredRegressor, mean_ratio=mean_ratio, random_state=0, **{"between_ratio": 0.2, **params})
    same(model, fit(MeanRegularizedRegressor, deviations, mean_alpha=0.1 * mean_ratio))


@pytest.fixture(scope="module")
def clusters():
    data = make_multitask_regression(
        9, 60, 8, structure="clustered", n_clusters=3, task_spread=0.1, random_state=0
    )
    model = ClusteredRegressor(0.5, n_clusters=3, between_ratio=0.05, random_state=0)
    return data, model.fit(data.X, data.y, tasks=data.tasks)


def test_clusters_are_found(clusters):
    data, model = clusters
    assert adjusted_rand_score(data.labels, model.labels_) == 1.0
    assert model.labels_[0] == 0  # numbered as they appear
    for c in range(3):
        np.testing.assert_allclose(model.cluster_centers_[c], model.coef_[model.labels_ == c].mean(axis=0))


def test_task_similarity_is_nearly_the_projection_on_clusters(clusters):
    _, model = clusters
    S = model.task_similarity_
    together = model.labels_[:, None] == model.labels_
    np.testing.assert_allclose(S, S.T)
    assert (np.diag(S) >= 0).all() and (np.diag(S) <= 1 + 1e-9).all()
    assert np.trace(S) <= 3 + 1e-9
    assert S[together].min() > S[~together].max()
    np.testing.assert_allclose(S, together / together.sum(axis=0), atol=0.2)


def test_more_clusters_than_tasks_are_refused():
    with pytest.raises(ValueError, match="n_clusters=5 must be at most the number of tasks, 4"):
        fit(ClusteredRegressor, n_clusters=5)


def test_one_task_is_one_cluster():
    model = ClusteredRegressor(0.1).fit(X, Y)
    assert model.labels_.tolist() == [0] and model.cluster_centers_.shape[0] == 1
    assert model.task_similarity_.tolist() == [[1.0]]


# --- graph ----------------------------------------------------------------------------------

ADJACENCY = np.array([[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 1], [0, 0, 1, 0]], dtype=float)
EDGES = [("birch", "ash"), ("birch", "cedar", 2.0), ("cedar", "dune", 1)]
GRAPHS = {
    "lists": ADJACENCY.tolist(),
    "sparse": sparse.csr_matrix(ADJACENCY),
    "frame": pd.DataFrame(ADJACENCY, index=NAMES, columns=NAMES).loc[NAMES[[2, 0, 3, 1]], NAMES[::-1]],
    "edges": EDGES,
    "edge-lists": [list(edge) for edge in EDGES],
    "mapping": {("ash", "birch"): 1.0, ("cedar", "birch"): 2.0, ("dune", "cedar"): 1.0},
    "both-ways": [*EDGES, ("cedar", "birch", 2.0)],
}


@pytest.mark.parametrize("form", GRAPHS)
def test_a_graph_may_be_written_in_many_ways(form):
    model = fit(GraphRegularizedRegressor, graph=GRAPHS[form])
    same(model, fit(MultiTaskRegressor, penalty=Coupling.graph(ADJACENCY)))
    np.testing.assert_array_equal(model.laplacian_.toarray(), np.diag(ADJACENCY.sum(axis=0)) - ADJACENCY)


def test_the_complete_graph_is_mean_regularisation():
    same(fit(GraphRegularizedRegressor), fit(MeanRegularizedRegressor))
    same(fit(GraphRegularizedRegressor, graph=np.full((4, 4), 0.25)), fit(MeanRegularizedRegressor))


def test_no_fit_makes_the_matrix_of_all_pairs():
    """It grows with the square of the tasks; who asks for it gets it."""
    model = fit(GraphRegularizedRegressor)
    assert "laplacian_" not in vars(model)
    np.testing.assert_array_equal(model.laplacian_.toarray(), np.eye(4) - 0.25)
    assert "laplacian_" not in vars(model.fit(X, Y, tasks=TASKS))


def test_graph_without_its_coupling_is_the_lasso():
    same(fit(GraphRegularizedRegressor, graph=EDGES, l1_ratio=1.0), lasso(0.1))


def test_components_of_a_graph_do_not_touch():
    model = fit(GraphRegularizedRegressor, 0.3, graph=[("ash", "birch"), ("cedar", "dune")])
    rows = np.isin(TASKS, NAMES[:2])
    alone = GraphRegularizedRegressor(0.3, graph=[("ash", "birch")], **TIGHT)
    np.testing.assert_allclose(
        alone.fit(X[rows], Y[rows], tasks=TASKS[rows]).coef_, model.coef_[:2], atol=1e-4
    )


NEIGHBOURS = pd.DataFrame(
    [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]],
    index=(names := ["dune", "ash", "cedar", "birch"]),
    columns=names,
)


def test_a_graph_by_name_is_one_by_position_in_the_order_of_the_tasks():
    pairs = [("dune", "ash"), ("ash", "cedar"), ("cedar", "birch")]
    by_pairs = fit(GraphRegularizedRegressor, graph=pairs).coef_
    turned = NEIGHBOURS[["ash", "birch", "dune", "cedar"]]  # columns in another order than rows
    sorted_ = NEIGHBOURS.loc[sorted(names), sorted(names)].to_numpy()
    for graph in (NEIGHBOURS, turned, sorted_, pd.DataFrame(sorted_)):
        np.testing.assert_array_equal(fit(GraphRegularizedRegressor, graph=graph).coef_, by_pairs)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ([("ash", "oak")], r"graph names unknown tasks: \['oak'\]"),
        ({("ash", "oak"): 1.0}, r"graph names unknown tasks: \['oak'\]"),
        (np.ones((3, 3)), r"graph has shape \(3, 3\) but the data hold 4 tasks"),
        (np.triu(np.ones((4, 4))), "graph .* not symmetric"),
        ([("ash", "birch", -1.0)], "graph .* negative weight"),
        ([("ash", "birch", 1.0), ("birch", "ash", 2.0)], "two different weights"),
        ([("ash",)], r"an edge must be .*\('ash',\)"),
        ("full", "graph must be a matrix, or pairs .* got 'full'"),
        (NEIGHBOURS.rename(index={"dune": "oak"}), r"graph names unknown tasks: \['oak'\]"),
        (NEIGHBOURS.rename(columns={"dune": "Dune"}), r"graph names unknown tasks: \['Dune'\]"),
        (NEIGHBOURS.rename(index={"dune": "ash"}), r"graph names no tasks \['dune'\]"),
        (NEIGHBOURS.set_axis([3, 2, 1, 0]), "graph names unknown tasks: .3, 2, 1, 0"),
    ],
)
def test_graph_errors(graph, message):
    with pytest.raises(ValueError, match=message):
        fit(GraphRegularizedRegressor, graph=graph)


# --- order ----------------------------------------------------------------------------------

ORDER = ["cedar", "ash", "dune", "birch"]
CHAIN = np.zeros((4, 4))
CHAIN[[2, 0, 3], [0, 3, 1]] = CHAIN[[0, 3, 1], [2, 0, 3]] = 1


@pytest.mark.parametrize("smooth", ["fused", "quadratic"])
def test_time_may_run_backwards(smooth):
    params = {"smooth": smooth, "l1_ratio": 0.2, "group_ratio": 0.1}
    same(
        fit(TemporalRegressor, order=ORDER, **params),
        fit(TemporalRegressor, order=np.array(ORDER[::-1]), **params),
    )


def test_gradual_change_is_a_coupling_along_a_chain():
    model = fit(TemporalRegressor, order=ORDER, smooth="quadratic")
    same(model, fit(MultiTaskRegressor, penalty=Coupling.graph(CHAIN)))
    assert model.change_points_.tolist() == ORDER[1:]


@pytest.mark.parametrize("smooth", ["fused", "quadratic"])
def test_ratios_of_one_leave_the_lasso_or_the_group_lasso(smooth):
    same(fit(TemporalRegressor, smooth=smooth, l1_ratio=1.0), lasso(0.1))
    same(fit(TemporalRegressor, smooth=smooth, group_ratio=1.0), fit(GroupSparseRegressor))


@pytest.mark.parametrize("smooth", ["fused", "quadratic"])
def test_no_change_at_all_is_the_pooled_model(smooth):
    pooled = fit(MeanRegularizedRegressor, 1e8)
    model = fit(TemporalRegressor, 1e3 if smooth == "fused" else 1e8, smooth=smooth)
    np.testing.assert_allclose(model.coef_, pooled.coef_, atol=1e-5)
    if smooth == "fused":
        assert len(model.change_points_) == 0


def test_change_points_are_found():
    data = make_multitask_regression(12, 80, 6, structure="temporal", n_changes=2, noise=0.3, random_state=3)
    years = 2000 + np.arange(12)
    model = TemporalRegressor(0.1, **TIGHT).fit(data.X, data.y, tasks=years[data.tasks])
    assert set(years[data.change_points]) <= set(model.change_points_.tolist())
    assert len(model.change_points_) < 11
    assert np.isin(model.change_points_, model.tasks_).all()


def test_order_decides_who_is_a_neighbour():
    model = fit(TemporalRegressor, 0.5, order=ORDER)
    steps = np.abs(np.diff(model.coef_[[2, 0, 3, 1]], axis=0)).sum()
    np.testing.assert_allclose(model.objective_, data_term(model) + 0.5 * steps, rtol=1e-9)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"order": ["ash", "birch", "cedar"]}, r"missing tasks: \['dune'\]"),
        ({"order": [*NAMES, "oak"]}, r"order names unknown tasks: \['oak'\]"),
        ({"order": [*NAMES, "ash"]}, r"repeated tasks: \['ash'\]"),
        ({"l1_ratio": 0.7, "group_ratio": 0.5}, "l1_ratio .* group_ratio .*at most 1"),
        ({"l1_ratio": 0.7, "group_ratio": 0.5, "smooth": "quadratic"}, "l1_ratio .* group_ratio .*at most 1"),
    ],
)
def test_order_errors(params, message):
    with pytest.raises(ValueError, match=message):
        fit(TemporalRegressor, **params)


# --- tree -----------------------------------------------------------------------------------


def test_a_star_is_the_sparse_group_lasso():
    model = fit(HierarchicalRegressor, tree=dict.fromkeys(NAMES, "all"))
    same(model, fit(GroupSparseRegressor, 0.2, norm="sparse", l1_ratio=0.5))


def test_a_tree_of_lonely_tasks_is_the_lasso():
    same(fit(HierarchicalRegressor, tree=dict.fromkeys(NAMES)), lasso(0.1))
    star = {"tree": dict.fromkeys(NAMES, "all"), "node_weight": {"all": 0.0}}
    same(fit(HierarchicalRegressor, **star), lasso(0.1))


def test_two_roots_are_two_models():
    tree = {"ash": "north", "birch": "north", "cedar": "south", "dune": "south"}
    model = fit(HierarchicalRegressor, tree=tree, node_weight=dict.fromkeys(NAMES, 0.0))
    rows = np.isin(TASKS, NAMES[:2])
    north = GroupSparseRegressor(0.1, **TIGHT).fit(X[rows], Y[rows], tasks=TASKS[rows])
    np.testing.assert_allclose(model.coef_[:2], north.coef_, atol=1e-5)


def test_tree_is_reported_and_its_formula_holds():
    model = fit(HierarchicalRegressor, tree=TREE, node_weight={"north": 0.5, "dune": 2.0})
    found = {node.name: node for node in model.tree_}
    assert found["north"].tasks == ["ash", "birch"] and found["all"].tasks == NAMES.tolist()
    assert found["north"].weight == 0.5 and found["dune"].weight == 2.0 and found["south"].weight == 1.0
    names = [node.name for node in model.tree_]
    assert all(names.index(child) < names.index(parent) for child, parent in TREE.items())
    groups = [(np.isin(NAMES, node.tasks), node.weight) for node in model.tree_]
    penalty = 0.1 * sum(w * np.linalg.norm(model.coef_[g], axis=0).sum() for g, w in groups)
    np.testing.assert_allclose(model.objective_, data_term(model) + penalty, rtol=1e-9)


def test_the_order_of_the_mapping_does_not_matter():
    other = dict(reversed(TREE.items()))
    same(fit(HierarchicalRegressor, tree=TREE), fit(HierarchicalRegressor, tree=other))


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_automatic_tree_joins_similar_tasks_with_weights_that_add_up(kind):
    data = make_multitask_regression(
        9, 60, 8, structure="clustered", n_clusters=3, task_spread=0.1, random_state=0
    )
    cls, y = HierarchicalRegressor, data.y
    if kind == "classifier":
        cls, y = HierarchicalClassifier, data.y > 0
    tree = cls(0.1).fit(data.X, y, tasks=data.tasks).tree_
    assert [node.tasks for node in tree[:9]] == [[t] for t in range(9)]
    groups = [set(node.tasks) for node in tree]
    for c in range(3):
        assert set(np.flatnonzero(data.labels == c).tolist()) in groups
    for t in range(9):
        assert np.isclose(sum(node.weight for node in tree if t in node.tasks), 1.0)


def test_automatic_tree_is_the_same_from_rows_and_from_moments():
    stats = TaskStatistics.from_arrays(X, Y, TASKS)
    for here, there in zip(
        HierarchicalRegressor(0.1).fit_statistics(stats).tree_,
        HierarchicalRegressor(0.1).fit(sparse.csr_matrix(X), Y, tasks=TASKS).tree_,
        strict=True,
    ):
        assert here.tasks == there.tasks and np.isclose(here.weight, there.weight)


@pytest.mark.parametrize("cls", [HierarchicalRegressor, HierarchicalClassifier])
def test_a_task_whose_features_are_constant_has_no_direction_in_an_automatic_tree(cls):
    rng = np.random.default_rng(3)
    features, task = rng.normal(size=(36, 1)), np.repeat([0, 1, 2], 12)
    features[task == 1] = 0.3
    labels = np.digitize(features[:, 0] + rng.normal(size=36), [-0.5, 0.5])
    labels[:4] = 0, 1, 2, 0
    near = cls().fit(features, labels, tasks=task).tree_
    far = cls().fit(features + 1e4, labels, tasks=task).tree_
    for here, there in zip(near, far, strict=True):
        assert here.tasks == there.tasks and np.isclose(here.weight, there.weight, atol=1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tree": {"ash": "all", "birch": "all", "cedar": "all"}}, r"no place for the tasks \['dune'\]"),
        ({"tree": {**TREE, "all": "south"}}, "cycle"),
        ({"tree": {**TREE, "west": "all"}}, r"without a task below them: \['west'\]"),
        ({"tree": {**TREE, "ash": "birch"}}, r"tasks must be leaves of the tree; \['birch'\]"),
        ({"tree": TREE, "node_weight": {"west": 1.0}}, r"not in the tree: \['west'\]"),
        ({"node_weight": {"ash": 1.0}}, "node_weight needs a tree"),
    ],
)
def test_tree_errors(params, message):
    with pytest.raises(ValueError, match=message):
        fit(HierarchicalRegressor, **params)


# --- all models -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NORMS))
def test_alpha_max_is_where_the_coefficients_vanish(name):
    cls, _, params = MODELS[name]
    top = cls(**params).alpha_max(X, Y, tasks=TASKS)
    assert not fit(cls, 1.0001 * top, **params).coef_.any()
    assert fit(cls, 0.98 * top, **params).coef_.any()


@pytest.mark.parametrize("name", ["exclusive", "subspace", "relationship", "clustered"])
def test_alpha_max_of_a_squared_norm_is_refused(name):
    cls, _, params = MODELS[name]
    with pytest.raises(ValueError, match="alpha_max"):
        cls(**params).alpha_max(X, Y, tasks=TASKS)


@pytest.mark.parametrize("name", MODELS)
def test_one_task_from_a_plain_y(name):
    cls, classifier, params = MODELS[name]
    model = cls(0.05, **params).fit(X, Y)
    assert model.coef_.shape == (6,) and np.ndim(model.intercept_) == 0
    for attribute in ATTRIBUTES.get(name, ()):
        assert getattr(model, attribute).shape == (6,)
    assert classifier(0.01, **params).fit(X, np.median(Y) < Y).coef_.shape == (1, 6)


@pytest.mark.parametrize("name", MODELS)
def test_sparse_rows_give_the_fit_of_dense_ones(name):
    cls, _, params = MODELS[name]
    thin = make_layout("sparse")
    a = cls(0.05, **{**params, **TIGHT}).fit(thin.X, thin.y, tasks=thin.tasks)
    b = cls(0.05, **{**params, **TIGHT}).fit(thin.X.toarray(), thin.y, tasks=thin.tasks)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_missing_labels_are_rows_left_out(name):
    cls, _, params = MODELS[name]
    shared = make_layout("missing")
    rows, tasks = np.nonzero(~np.isnan(shared.y))
    a = cls(0.05, **{**params, **TIGHT}).fit(shared.X, shared.y)
    b = cls(0.05, **{**params, **TIGHT}).fit(shared.X[rows], shared.y[rows, tasks], tasks=tasks)
    assert a.predict(shared.X).shape == shared.y.shape
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_moments_are_enough_for_the_squared_loss(name):
    cls, _, params = MODELS[name]
    a = cls(0.05, **params, **TIGHT).fit_statistics(TaskStatistics.from_arrays(X, Y, TASKS))
    np.testing.assert_allclose(a.coef_, fit(cls, 0.05, **params).coef_, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_classes_and_tasks_as_words_in_a_frame(name):
    _, cls, params = MODELS[name]
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(place=TASKS)
    label = np.where(np.median(Y) < Y, "up", "down")
    model = cls(0.01, task_column="place", **params).fit(frame, label)
    assert model.tasks_.tolist() == NAMES.tolist()
    assert model.score(frame, label) > 0.6
    np.testing.assert_allclose(cls(0.01, **params).fit(X, label, tasks=TASKS).coef_, model.coef_, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_three_classes_have_three_vectors_per_task(name):
    _, cls, params = MODELS[name]
    label = np.digitize(Y, np.quantile(Y, [0.33, 0.66]))
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    model = cls(0.1, tol=0.01, **params).fit(Z, label, tasks=TASKS)
    assert model.coef_.shape == (4, 3, 6)
    for attribute in ATTRIBUTES.get(name, ()):
        assert getattr(model, attribute).shape == (4, 3, 6)
    assert not hasattr(model, "support_") or (model.support_ < 6).all()
    assert not hasattr(model, "cluster_centers_") or model.cluster_centers_.shape == (2, 3, 6)
    assert not hasattr(model, "components_") or model.components_.shape == (1, 3, 6)
    one = cls(0.1, tol=0.01, **params).fit(Z, label)
    assert one.coef_.shape == (3, 6)
    for attribute in ATTRIBUTES.get(name, ()):
        assert getattr(one, attribute).shape == (3, 6)


@pytest.mark.parametrize("name", POSITIVE)
def test_positive_models_have_no_negative_coefficient(name):
    model = POSITIVE[name].fit(X, Y, tasks=TASKS)
    free = type(model)(**{**model.get_params(deep=False), "positive": False}).fit(X, Y, tasks=TASKS)
    assert (free.coef_ < 0).any()
    assert (model.coef_ >= 0).all() and model.coef_.any()


def test_a_subspace_knows_no_signs():
    with pytest.raises(ValueError, match="Spectrum"):
        fit(RobustRegressor, shared="subspace", positive=True)
