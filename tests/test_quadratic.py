"""Quadratic penalties: exact inverses, preconditioners and certificates, against dense formulas."""

import numpy as np
import pytest
from conftest import make_layout
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components

from skmtl import (
    GraphRegularizedRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskClassifier,
    TaskRelationshipRegressor,
    TaskStatistics,
    _threads,
)
from skmtl.losses import Logistic, SquaredError
from skmtl.objective import MomentsTerm, RowsTerm, make_term
from skmtl.penalties import Coupling, Ridge, _quadratic
from skmtl.penalties._quadratic import TaskQuadratic
from skmtl.solvers import direct, make_task_data, newton, solve


def chain_graph(T, breaks=()):
    """Adjacency of tasks in a row, without the edges before some tasks."""
    edges = np.ones(T - 1)
    edges[[t - 1 for t in breaks]] = 0.0
    A = sparse.csr_array(sparse.diags_array([edges, edges], offsets=[-1, 1]))
    A.eliminate_zeros()
    return A


def random_graph(T, degree=4, seed=0):
    ends = np.random.default_rng(seed).integers(T, size=(2, degree * T // 2))
    A = sparse.coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(T, T)).tocsr()
    return A + A.T


def stacked_problem(sizes, p, seed=0, offset=1.0):
    """X, y and tasks with the given numbers of rows."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.normal(size=(len(tasks), p)) + offset * rng.normal(size=p)
    W = rng.normal(size=p) + 0.5 * rng.normal(size=(len(sizes), p))
    return X, (X * W[tasks]).sum(axis=1) + 3 * offset + rng.normal(size=len(tasks)), tasks


def dense_solution(data, Q, fit_intercept=True):
    """W that minimises the mean squared loss of every task plus 1/2 tr(W' Q W), by one dense system."""
    T, p = data.n_tasks, data.n_features
    H, g = np.kron(Q, np.eye(p)), np.zeros((T, p))
    for X, weight, Y, tasks in data.designs():
        X = X.toarray() if sparse.issparse(X) else X
        s = weight / weight.sum()
        X, Y = (X - s @ X, Y - s @ Y) if fit_intercept else (X, Y)
        for t in range(tasks.start, tasks.stop):
            H[t * p : t * p + p, t * p : t * p + p] += (X.T * s) @ X
            g[t] = (X.T * s) @ Y[:, t - tasks.start]
    return (
        linalg.pinvh(H, rtol=1e-12) @ g.ravel()
        if linalg.eigvalsh(H)[0] < 1e-9
        else np.linalg.solve(H, g.ravel())
    )


def compare(data, penalty, Q, n_iter, **options):
    """The direct solution is that of the dense system, after so many iterations at most."""
    result = solve(data, SquaredError(), penalty, solver="direct", tol=1e-13, **options)
    assert result.converged and result.n_iter <= n_iter
    expected = dense_solution(data, Q, options.get("fit_intercept", True)).reshape(result.coef.shape)
    np.testing.assert_allclose(result.coef, expected, atol=1e-6 * np.abs(expected).max())
    return result


# --- the form of a large graph ---

GRAPHS = {
    "chain": chain_graph(60),
    "parts": chain_graph(60, breaks=(7, 8, 20)),  # task 7 is alone
    "random": random_graph(60),
    "no edge": sparse.csr_array((60, 60)),
}


@pytest.mark.parametrize(
    "name, ridge", [*((name, ridge) for name in GRAPHS for ridge in (0.0, 0.3)), ("parts", 1e-16)]
)
def test_large_graph_equals_its_eigenvectors(name, ridge, monkeypatch, rng):
    def quadratic():
        return Coupling.graph(GRAPHS[name], alpha=0.7).quadratic(60) + Ridge(ridge).quadratic(60)

    dense, G = quadratic(), rng.normal(size=(60, 5))
    assert dense.graph is None
    monkeypatch.setattr(_quadratic, "DENSE_TASKS", 0)
    large = quadratic()
    assert large.graph is not None
    N, M = dense.null_space(), large.null_space()
    assert (N is None) == (M is None) == (ridge > 0)  # not lost next to the strength of the graph
    if N is not None:
        np.testing.assert_allclose(M @ M.T, N @ N.T, atol=1e-10)
        np.testing.assert_allclose(M.T @ M, np.eye(M.shape[1]), atol=1e-12)
        G = G - N @ (N.T @ G)
    assert large.conjugate(G) == pytest.approx(dense.conjugate(G), rel=1e-9)
    levels = np.array([0.0, 1e-3, 1.0, 50.0, 0.0])
    R = rng.normal(size=(60, 5))
    np.testing.assert_allclose(
        large.shifted_inverse(levels)(R), dense.shifted_inverse(levels)(R), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("own", [0.0, 0.4], ids=["free", "own"])
def test_graphs_of_many_edges_are_products(name, own, monkeypatch, rng):
    """Also where the form grows along a component of its tasks: that of the first one, or none."""
    M = GRAPHS[name] if name == "no edge" else Coupling.graph(GRAPHS[name]).M
    component = connected_components(M, directed=False)[1]
    M = M + sparse.diags_array(np.where(component == component[0], own, 0.0)).tocsr()
    monkeypatch.setattr(_quadratic, "MOST_EDGES", 0)
    form, W = TaskQuadratic(60, matrix=M), rng.normal(size=(60, 4))
    assert form.laplacian is not None
    np.testing.assert_allclose(form.apply(W), M @ W, atol=1e-12)
    assert form.value(W) == pytest.approx(0.5 * np.vdot(W, M @ W), rel=1e-12)


def test_covariances_of_many_tasks_are_products(monkeypatch, rng):
    """Where none has a factor of its own its inverse is the form of a complete graph."""
    X, tasks = rng.normal(size=(120, 3)), np.repeat(np.arange(12), 10)
    y = X.sum(axis=1) + 0.3 * rng.normal(size=12)[tasks] * X[:, 0] + rng.normal(size=120)
    coef = TaskRelationshipRegressor(alpha="auto").fit(X, y, tasks=tasks).coef_
    monkeypatch.setattr(_quadratic, "MOST_EDGES", 0)
    model = TaskRelationshipRegressor(alpha="auto").fit(X, y, tasks=tasks)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-6)


@pytest.mark.parametrize("deviations, mean", [(0.5, 0.2), (0.5, 0.0), (0.0, 0.5), (0.3, 0.3)])
def test_inverse_without_a_matrix(deviations, mean, rng):
    Q, R = TaskQuadratic(6, deviations, mean), rng.normal(size=(6, 3))
    levels = np.array([0.0, 0.1, 10.0])
    P = np.full((6, 6), 1 / 6)
    for level, v, r in zip(levels, Q.shifted_inverse(levels)(R).T, R.T, strict=True):
        dense = deviations * (np.eye(6) - P) + mean * P + level * np.eye(6)
        np.testing.assert_allclose(v, np.linalg.pinv(dense) @ r, atol=1e-12)


def test_what_is_no_graph_is_left_to_eigenvectors(monkeypatch):
    monkeypatch.setattr(_quadratic, "DENSE_TASKS", 0)
    M = sparse.csr_array(np.diag(np.full(20, 2.0)) + np.diag(np.ones(19), 1) + np.diag(np.ones(19), -1))
    assert TaskQuadratic(20, matrix=M).graph is None  # positive entries off the diagonal
    assert TaskQuadratic(20, matrix=M.toarray()).graph is None
    assert TaskQuadratic(20, 1.0, 0.5, matrix=Coupling.graph(chain_graph(20)).M).graph is None
    assert TaskQuadratic(20, 1.0, 1.0, matrix=Coupling.graph(chain_graph(20)).M).graph is not None


# --- many tasks ---


@pytest.mark.parametrize("alpha, mean_alpha", [(0.3, 0.0), (1e3, 0.2), (0.2, 1e3), (1e8, 1e-3), (1e-3, 1e-3)])
@pytest.mark.parametrize("options", [{}, {"intercept_alpha": 0.7}, {"fit_intercept": False}], ids=str)
def test_compiled_loops_over_tasks_change_nothing(options, alpha, mean_alpha, monkeypatch):
    """Compiled moments and inverses against NumPy's; features 5 and 6 are constant, one in a task only."""
    X, y, tasks = stacked_problem(np.random.default_rng(0).integers(2, 300, size=30), 7)
    X[tasks == 3, 5], X[:, 6] = 2.0, 1.5
    data = make_task_data(X, y, tasks, sample_weight=np.random.default_rng(1).uniform(0, 1, len(y)).round(1))
    penalty = Coupling(alpha) + Coupling(mean_alpha, M="shared")
    plain = solve(data, SquaredError(), penalty, tol=1e-9, **options)
    monkeypatch.setattr(_threads, "COMPILED_TASKS", 2)
    compiled = solve(data, SquaredError(), penalty, tol=1e-9, **options)
    assert plain.n_iter == compiled.n_iter == 1
    np.testing.assert_allclose(compiled.coef, plain.coef, atol=1e-9)
    np.testing.assert_allclose(compiled.intercept, plain.intercept, atol=1e-9)


def test_compiled_inverse_of_singular_blocks(monkeypatch):
    """Without a penalty: fewer rows than features in some tasks, equal columns in all."""
    X, y, tasks = stacked_problem([3, 4, 30, 40, 50], 6)
    X[:, 4] = X[:, 2]
    monkeypatch.setattr(_threads, "COMPILED_TASKS", 2)
    compare(make_task_data(X, y, tasks), Coupling(0.0), np.zeros((5, 5)), n_iter=2)


def test_strong_deviations_lose_no_digits_of_the_mean(monkeypatch):
    """Both forms of the system for the mean, where one of them still has digits."""
    X, y, tasks = stacked_problem([30, 40, 50], 4)
    data = make_task_data(X, y, tasks)
    term = make_term(data, SquaredError())
    quadratic = TaskQuadratic(3, deviations=40.0, mean=0.1)
    inverse = direct.BlockInverse(term, 40.0)
    one, _ = inverse.mean_system(quadratic)
    assert not inverse.strong
    monkeypatch.setattr(direct, "CANCELLED", np.inf)
    monkeypatch.setattr(direct, "CHUNK_TASKS", 2)
    np.testing.assert_allclose(inverse.mean_system(quadratic)[0], one, rtol=1e-11)
    assert inverse.strong


def test_rows_sorted_by_task_are_not_copied():
    X, y, tasks = stacked_problem([5, 3, 8], 4)
    assert np.shares_memory(make_task_data(X, y, tasks).X, X)
    names = np.array(["c", "d", "e"])[tasks]
    data = make_task_data(X, y, names)
    assert np.shares_memory(data.X, X) and data.tasks.tolist() == ["c", "d", "e"]
    assert data.indptr.tolist() == [0, 5, 8, 16]


# --- couplings ---


@pytest.mark.parametrize("large", [False, True], ids=["eigenvectors", "factors"])
@pytest.mark.parametrize("fill", [0, 100], ids=["components", "all"])
@pytest.mark.parametrize("name", ["chain", "parts", "random"])
def test_graph_by_conjugate_gradients(name, fill, large, monkeypatch):
    monkeypatch.setattr(_quadratic, "DENSE_TASKS", 0 if large else 300)
    monkeypatch.setattr(direct, "FILL", fill)
    X, y, tasks = stacked_problem([12] * 60, 5)
    data = make_task_data(X, y, tasks)
    for alpha in (1e-3, 1.0, 1e3):
        penalty = Coupling.graph(GRAPHS[name], alpha=alpha)
        compare(data, penalty, alpha * Coupling.graph(GRAPHS[name]).M.toarray(), n_iter=120 if fill else 400)


@pytest.mark.parametrize("alpha", [0.01, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("kind", ["chain", "random"])
@pytest.mark.parametrize("n_rows", [15, 50])
def test_couplings_of_any_strength_need_few_iterations(n_rows, kind, alpha):
    """Blocks of the tasks alone need hundreds for a long chain, and more where it is stronger."""
    T = 400
    X, y, tasks = stacked_problem([n_rows] * T, 20)
    graph = chain_graph(T) if kind == "chain" else random_graph(T, 10)
    model = GraphRegularizedRegressor(alpha, graph=graph, tol=1e-8).fit(X, y, tasks=tasks)
    assert model.n_iter_ <= 50


def test_separate_parts_of_a_graph_are_certified(monkeypatch):
    """The certificate's step along each part is that of the general formula."""
    X, y, tasks = stacked_problem([12] * 60, 5)
    data = make_task_data(X, y, tasks)
    problems = [Coupling.graph(GRAPHS["parts"], alpha=0.5), Coupling.graph(chain_graph(60), alpha=0.5)]
    for penalty in problems:
        for fit_intercept in (True, False):
            options = {"fit_intercept": fit_intercept, "tol": 1e-3}
            one = solve(data, SquaredError(), penalty, **options)
            with monkeypatch.context() as patch:
                patch.setattr("skmtl.objective._base.DENSE_FEATURES", 0)
                other = solve(data, SquaredError(), penalty, **options)
            best = solve(data, SquaredError(), penalty, fit_intercept=fit_intercept, tol=1e-13).objective
            assert one.gap == pytest.approx(other.gap, rel=1e-6)
            assert one.gap >= one.objective - best >= -1e-12


@pytest.mark.parametrize("penalty", ["mean", "graph", "shared"])
@pytest.mark.parametrize("n_features", [3, 60])
def test_one_design_is_solved_at_once(n_features, penalty):
    """Through its moments and, for more features than rows, through its rows; any coupling."""
    layout = make_layout("shared", n=25, p=n_features, n_tasks=5)
    L = Coupling.graph(chain_graph(5)).M.toarray()
    P = np.full((5, 5), 1 / 5)
    penalty, Q = {
        "mean": (Coupling(0.4) + Coupling(0.1, M="shared"), 0.4 * (np.eye(5) - P) + 0.1 * P),
        "graph": (Coupling(0.4, M=L) + Ridge(0.1), 0.4 * L + 0.1 * np.eye(5)),
        "shared": (Coupling(0.3, M="shared") + Coupling(0.2), 0.3 * P + 0.2 * (np.eye(5) - P)),
    }[penalty]
    for X in (layout.X, sparse.csr_array(layout.X)):
        for fit_intercept in (True, False):
            data = make_task_data(X, layout.y, sample_weight=np.linspace(0.5, 2, 25))
            assert isinstance(make_term(data, SquaredError()), RowsTerm if n_features > 50 else MomentsTerm)
            compare(data, penalty, Q, n_iter=2, fit_intercept=fit_intercept)


# --- fewer rows than features ---


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("step", [1.25, 100.0])
@pytest.mark.parametrize("batched", [0, 64])
def test_tasks_through_their_rows(batched, step, container, monkeypatch):
    """Tasks of very different sizes, in groups of about the same size or all at once."""
    monkeypatch.setattr("skmtl._data.KERNEL_STEP", step)
    monkeypatch.setattr(direct, "BATCHED", batched)
    monkeypatch.setattr("skmtl.objective._forms.moments_pay", lambda data: False)
    X, y, tasks = stacked_problem([2, 17, 3, 1, 9, 18, 2], 30)
    data = make_task_data(container(X), y, tasks, sample_weight=np.linspace(0.5, 2, len(y)))
    assert isinstance(make_term(data, SquaredError()), RowsTerm)
    P, L = np.full((7, 7), 1 / 7), Coupling.graph(chain_graph(7)).M.toarray()
    for fit_intercept in (True, False):
        compare(data, Ridge(0.2), 0.2 * np.eye(7), n_iter=2, fit_intercept=fit_intercept)
        compare(data, Coupling(0.4) + Ridge(0.1), 0.4 * (np.eye(7) - P) + 0.1 * np.eye(7), 80)
        compare(data, Coupling(0.4, M=L) + Ridge(0.1), 0.4 * L + 0.1 * np.eye(7), 80)


def test_without_a_penalty_the_solution_through_rows_is_the_shortest(monkeypatch):
    monkeypatch.setattr("skmtl.objective._forms.moments_pay", lambda data: False)
    X, y, tasks = stacked_problem([2, 17, 3], 30)
    data = make_task_data(X, y, tasks)
    compare(data, Ridge(0.0), np.zeros((3, 3)), n_iter=5)
    some = np.diag([0.0, 0.5, 0.0])  # a penalty on one task only
    result = solve(data, SquaredError(), Coupling(1.0, M=some), tol=1e-13)
    expected = dense_solution(data, some).reshape(3, 30)
    np.testing.assert_allclose(result.coef, expected, atol=1e-6)


def test_few_rows_of_many_features_stay_rows():
    """Moments of more than eight features a row take too much memory where there are many tasks."""
    for p, form in ((40, MomentsTerm), (200, RowsTerm)):
        X, y, tasks = stacked_problem([5] * 400, p)
        assert isinstance(make_term(make_task_data(X, y, tasks), SquaredError()), form)


@pytest.mark.parametrize("kind", ["stacked", "shared"])
def test_products_of_rows_are_computed_once(kind):
    layout = make_layout(kind)
    data = make_task_data(layout.X, layout.y, layout.tasks)
    products = data.kernels
    assert data.reweighted(data.y, np.ones(data.y.shape)).kernels is products
    assert data.shifted(np.ones(data.n_tasks)).kernels is products
    half = data.select(np.arange(3)).kernels
    for (tasks, _, present, K), (*_, K_half) in zip(products, half, strict=True):
        for t, own, there in zip(tasks, np.broadcast_to(K, (len(tasks), *K.shape[1:])), present, strict=True):
            rows = layout.X if layout.tasks is None else layout.X[layout.tasks == t]
            np.testing.assert_allclose(own[there][:, there], rows @ rows.T, rtol=1e-12)
        assert K_half.shape == K.shape and not np.allclose(K_half, K)


# --- Newton's method ---


@pytest.mark.parametrize("costly", [0.0, np.inf], ids=["plain first", "rows"])
@pytest.mark.parametrize("kind", ["stacked", "shared", "missing"])
def test_newton_with_any_preconditioner(kind, costly, monkeypatch):
    """More features than rows: the diagonal first, or a factor at once, and the change between them."""
    monkeypatch.setattr(newton, "COSTLY", costly)
    monkeypatch.setattr(newton, "MANY", 4)
    monkeypatch.setattr("skmtl.objective._forms.moments_pay", lambda data: False)
    layout = make_layout(kind, classification=True, n=40, p=60)
    data = make_task_data(layout.X, layout.y, layout.tasks)
    penalty = Coupling(0.05) + Coupling(1e-3, M="shared")
    found = solve(data, Logistic(), penalty, tol=1e-10)
    expected = solve(data, Logistic(), penalty, solver="fista", tol=1e-11, max_iter=100_000)
    assert found.converged and found.n_iter <= 15
    assert found.objective - expected.objective <= found.gap + expected.gap
    np.testing.assert_allclose(found.coef, expected.coef, atol=1e-3)


def test_newton_converges_fast_although_its_models_are_solved_loosely():
    X, y, tasks = stacked_problem([40] * 12, 8)
    X *= np.geomspace(1e-3, 1e3, 8)  # scales that a length of gradients would hide
    y = y > np.median(y)
    model = MeanRegularizedClassifier(1e-3, mean_alpha=1e-8, tol=1e-12).fit(X, y, tasks=tasks)
    assert model.n_iter_ <= 15
    three = np.digitize(X @ np.ones(8), [-100.0, 100.0])
    model = MultiTaskClassifier(1.0, penalty=Ridge(1e-3), tol=1e-12).fit(
        X / X.std(axis=0), three, tasks=tasks
    )
    assert model.n_iter_ <= 20


# --- statistics of many tasks ---


def test_a_fit_of_many_small_tasks_equals_its_closed_form():
    """600 tasks take the compiled loops without being asked to."""
    X, y, tasks = stacked_problem(np.arange(600) % 7 + 2, 5, offset=1e4)
    model = MeanRegularizedRegressor(0.5, mean_alpha=0.2, tol=1e-8).fit(X, y, tasks=tasks)
    assert model.n_iter_ == 1
    stats = TaskStatistics.from_arrays(X, y, tasks)
    C, c = stats.xx / stats.weight[:, None, None], stats.xy / stats.weight[:, None]
    A = np.linalg.inv(C + 0.5 * np.eye(5))
    # w_t = A_t (c_t + (alpha - mean_alpha) m) with m the mean of the w_t
    m = np.linalg.solve(np.eye(5) - 0.3 * A.mean(axis=0), np.einsum("tij,tj->i", A, c) / 600)
    np.testing.assert_allclose(model.coef_, np.einsum("tij,tj->ti", A, c + 0.3 * m), atol=1e-6)
