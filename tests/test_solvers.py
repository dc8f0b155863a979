"""Solvers: equal to one another, to scikit-learn and to closed forms; how they stop and what they say."""

import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import sklearn.linear_model as sk
from conftest import LAYOUTS, LOSSES, NORMS, PENALTIES, kind_of_target, make_layout, named, task_estimators
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skmtl import (
    ClusteredRegressor,
    GraphRegularizedRegressor,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskClassifier,
    MultiTaskElasticNet,
    MultiTaskLasso,
    MultiTaskRegressor,
    TaskRelationshipRegressor,
    TaskStatistics,
    TemporalRegressor,
    TraceNormClassifier,
    TraceNormRegressor,
)
from skmtl.losses import Huber, Logistic, Poisson, SquaredError, SquaredHinge
from skmtl.objective import Problem, _rows, make_term
from skmtl.objective._base import DataTerm
from skmtl.penalties import (
    L1,
    L2,
    Coupling,
    Entries,
    Factorized,
    Features,
    Groups,
    InfConv,
    LInf,
    Ridge,
    SparseL2,
    Spectrum,
    Tasks,
)
from skmtl.solvers import SolverResult, _descent, _solve, alpha_max, make_task_data, semismooth, solve
from skmtl.solvers._solve import SOLVERS, _followed, _Progress, choose_solver, make_problem
from skmtl.solvers.fista import _first_step

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines

REGRESSORS = {name: cls for name, cls in task_estimators().items() if not name.endswith("Classifier")}


def make_data(kind, loss, **options):
    layout = make_layout(kind, kind_of_target(loss), **options)
    return make_task_data(layout.X, layout.y, layout.tasks, sample_weight=layout.sample_weight)


# --- agreement ---


def applicable(problem):
    """Names of the solvers that take the problem, most special first."""
    for name in SOLVERS:
        try:
            yield choose_solver(problem, name)
        except ValueError:
            continue


SOLVED = ["features-l2", "features-l1", "entries-l1", "sum", "ridge", "mean", "graph"]
FORMS = [*((kind, True) for kind in LAYOUTS), ("stacked", False), ("missing", False)]


def pairs_of_three():
    """All pairs of a loss, a penalty and a layout in half of the triples."""
    triples = product(enumerate(LOSSES), enumerate(SOLVED), enumerate(FORMS))
    for triple in triples:
        if sum(place for place, _ in triple) % 2 == 0:
            loss, penalty, (kind, fit_intercept) = (part for _, part in triple)
            yield pytest.param(
                LOSSES[loss], penalty, kind, fit_intercept, id=f"{loss}-{penalty}-{kind}-{fit_intercept}"
            )


@pytest.mark.parametrize("loss, penalty, kind, fit_intercept", list(pairs_of_three()))
def test_all_applicable_solvers_agree(loss, penalty, kind, fit_intercept):
    n_tasks = 1 if kind == "single" else 4
    penalty = Coupling(0.4, M=np.eye(1)) if penalty == "graph" and n_tasks == 1 else PENALTIES[penalty]
    data, options = make_data(kind, loss), {"fit_intercept": fit_intercept, "ridge": 1e-3}
    names = list(applicable(make_problem(data, loss, penalty, **options)))
    assert "fista" in names
    assert len(set(names) - FOUND) == (2 if penalty.smooth else 3)
    found = {
        name: solve(data, loss, penalty, solver=name, tol=1e-13, max_iter=3000, **options) for name in names
    }
    auto = solve(data, loss, penalty, tol=1e-13, max_iter=3000, **options)
    for result in found.values():
        np.testing.assert_allclose(result.coef, auto.coef, atol=1e-6)
        np.testing.assert_allclose(result.intercept, auto.intercept, atol=1e-6)
        assert result.objective == pytest.approx(auto.objective, rel=1e-12)


@pytest.mark.parametrize("solver", ["bcd", "fista"])
def test_working_sets_find_all_features(solver):
    """More features in use than the first working set holds."""
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(300, 600)), rng.normal(size=(3, 600)) * (np.arange(600) % 6 == 0)
    data = make_task_data(X, X @ W.T + 0.1 * rng.normal(size=(300, 3)))
    result = solve(data, SquaredError(), Features(L2(0.05)), solver=solver, tol=1e-13)
    expected = sk.MultiTaskLasso(alpha=0.05, tol=1e-13, max_iter=10_000).fit(data.X, data.y)
    np.testing.assert_allclose(result.coef, expected.coef_, atol=1e-7)
    used = result.coef.any(axis=0)
    assert (used == expected.coef_.any(axis=0)).all() and 64 < used.sum() < 200
    again = solve(data, SquaredError(), Features(L2(0.05)), solver=solver, tol=1e-9, init=result.parts)
    assert len(again.history) == 1  # what is in use is in the first set


def test_the_first_step_knows_gradients_whose_squares_overflow(rng):
    """It was 1 there, 10^200 times too long, and every step began with a hundred shorter ones."""
    X, Y, W = rng.normal(size=(30, 4)), rng.normal(size=(30, 2)), rng.normal(size=(2, 4))
    steps = []
    for unit in (1.0, 1e100):
        problem = Problem(make_term(make_task_data(X * unit, Y * unit), SquaredError(), False), Ridge(0.0))
        image = problem.term.image(W)
        steps.append(_first_step(problem, [W], W, image, np.zeros(2)))
    assert steps[1] * 1e200 == pytest.approx(steps[0], rel=1e-4)


def far_classes(rng, offset):
    """Rows of three tasks with two classes, far from zero."""
    X, t = rng.normal(size=(60, 5)), np.arange(60) % 3
    return make_task_data(X + offset, (X[:, 0] + rng.normal(size=60) > 0).astype(float), t)


def test_far_from_its_target_beside_an_offset_a_gap_is_asked_for_less_often(rng):
    """There certificates of classes cost many iterations each."""
    options = {"solver": "fista", "intercept_alpha": 1e-6, "max_iter": 400}
    with pytest.warns(ConvergenceWarning):
        far = solve(far_classes(rng, 1e4), Logistic(), Ridge(0.01), **options)
    assert far.history[-1][0] == 400 and len(far.history) < 20
    near = solve(far_classes(rng, 0.0), Logistic(), Ridge(0.01), tol=0.0, **options)
    looks = np.diff([n_iter for n_iter, *_ in near.history])
    assert len(looks) > 3 and looks.max() <= 20


@pytest.mark.parametrize("i, loss", list(enumerate([Logistic(), Huber(0.5), Poisson(), SquaredHinge()])))
@pytest.mark.parametrize("second", [False, True])
def test_proximal_newton_finds_all_features(i, loss, second):
    """More features in use than the first working set holds, in every layout of the Gram matrices.

    Each loss with two penalties and each penalty with two losses: small problems hold all pairs.
    """
    j = (i + 2 * second) % 4
    kind, penalty = ["stacked", "shared", "sparse"][(i + j) % 3], [L2(), L1(), LInf(), SparseL2()][j]
    rng = np.random.default_rng(1)
    X, tasks = rng.normal(size=(240, 150)) / 2, np.arange(240) % 3
    eta = X @ (rng.normal(size=(3, 150)) * (np.arange(150) % 2 == 0)).T
    eta = eta if kind == "shared" else eta[np.arange(240), tasks]
    y = {"Poisson": np.round(np.exp(np.clip(eta, -3, 1.5))), "Huber": eta}.get(type(loss).__name__, eta > 0)
    X, tasks = csr_matrix(X) if kind == "sparse" else X, None if kind == "shared" else tasks
    data = make_task_data(X, np.asarray(y, dtype=float), tasks)
    penalty = Features(penalty)
    penalty = 0.02 * alpha_max(data, loss, penalty, ridge=0.01) * penalty
    found = solve(data, loss, penalty, ridge=0.01, tol=1e-10)
    expected = solve(data, loss, penalty, ridge=0.01, tol=1e-10, solver="fista")
    assert choose_solver(make_problem(data, loss, penalty, ridge=0.01), "auto") == "prox_newton"
    assert found.coef.any(axis=0).sum() > 64 and found.n_iter < 100
    assert found.objective == pytest.approx(expected.objective, rel=3e-10)
    np.testing.assert_allclose(found.coef, expected.coef, atol=1e-3)


WIDE = {
    "mean": MeanRegularizedRegressor(1.0, mean_alpha=0.1),
    "a free mean": MeanRegularizedRegressor(1.0),
    "tied intercepts": MeanRegularizedRegressor(1.0, mean_alpha=0.1, intercept_alpha=0.5),
    "graph": GraphRegularizedRegressor(1.0, graph=np.eye(5, k=1) + np.eye(5, k=-1), ridge=0.1),
    "trace": TraceNormRegressor(0.5),
    "trace and mean": TraceNormRegressor(0.5, mean_alpha=0.1),
    "relationship": TaskRelationshipRegressor(0.1, fit_intercept=False),
    "clusters": ClusteredRegressor(0.5, n_clusters=2, relaxation="kmeans", random_state=0, ridge=0.1),
    "classes": MeanRegularizedClassifier(0.1, mean_alpha=0.1),
    "three classes": TraceNormClassifier(0.02, intercept_alpha=0.1),
    "Huber's loss": MeanRegularizedRegressor(0.1, loss="huber", mean_alpha=0.1),
}


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        *product(WIDE, [0.0]),
        *product([one for one in WIDE if one not in ("relationship", "three classes")], [100.0]),
    ],
)
def test_coordinates_of_far_fewer_rows_than_features_change_nothing(name, offset, monkeypatch, rng):
    """Where rotations of the features do not matter, they are fitted in the place of these."""
    model, tasks, found = clone(WIDE[name]).set_params(tol=1e-10), np.repeat(np.arange(5), 10), []
    X = rng.normal(size=(50, 320)) + offset
    y = (X[:, :5] - X[:, :5].mean(axis=0)).sum(axis=1) + 0.3 * tasks
    y = np.digitize(y, [-1.0, 1.0] if name == "three classes" else [0.0]) if name.endswith("classes") else y
    basis, used = make_term(make_task_data(X, y.astype(float), tasks), SquaredError()).in_row_space[1], []
    monkeypatch.setattr(
        _solve, "_in_row_space", lambda *args, f=_solve._in_row_space: used.append(1) or f(*args)
    )
    assert_allclose(basis.T @ basis, np.eye(50), atol=1e-12)
    for least in (200, 1000):
        monkeypatch.setattr(_rows, "WIDE", least)
        found.append(clone(model).fit(X, y, tasks=tasks))
    with_basis, without = found
    assert len(used) == 1
    assert_allclose(with_basis.objective_, without.objective_, rtol=1e-8, atol=1e-9)
    eta = [X @ model.coef_.reshape(-1, 320).T + np.ravel(model.intercept_) for model in found]
    one, other = (of_all.reshape(50, 5, -1)[np.arange(50), tasks] for of_all in eta)
    assert_allclose(one, other, atol=1e-4 * np.ptp(other))


@pytest.mark.parametrize(("rows", "used"), [(0, []), (49, ["mean"]), (50, ["mean", "trace"])])
def test_a_basis_of_many_rows_is_for_solvers_that_factorise(rows, used, monkeypatch, rng):
    X, tasks, found = rng.normal(size=(50, 320)), np.repeat(np.arange(5), 10), []
    monkeypatch.setattr(_solve, "FEW_SPANNED", rows)
    monkeypatch.setattr(_solve, "SPANNED", 2 * rows)
    solved = _solve._in_row_space
    for name in ("mean", "trace"):
        heard = lambda *args, name=name: found.append(name) or solved(*args)  # noqa: E731
        monkeypatch.setattr(_solve, "_in_row_space", heard)
        clone(WIDE[name]).fit(X, X[:, 0], tasks=tasks)
    assert found == used


def test_rows_that_are_nearly_dependent_have_no_coordinates(rng):
    X, tasks = rng.normal(size=(50, 320)), np.repeat(np.arange(5), 10)
    X[1] = X[0] + 1e-9 * X[1]
    assert make_term(make_task_data(X, X[:, 0], tasks), SquaredError()).in_row_space is None


@pytest.mark.parametrize(("n_rows", "n_features"), [(20, 60), (5, 320)])
def test_steps_along_free_directions_of_the_squared_loss_are_found_once(n_rows, n_features, monkeypatch, rng):
    found = []

    def step(self, *args, free_step=DataTerm.free_step):
        found.append(type(self).__name__)
        return free_step(self, *args)

    monkeypatch.setattr(DataTerm, "free_step", step)
    X, tasks = rng.normal(size=(20 * n_rows, n_features)), np.repeat(np.arange(20), n_rows)
    model = GroupSparseRegressor(0.1, mean_alpha=0.0, tol=1e-6).fit(
        X, X[:, 0] + 0.1 * tasks * X[:, 1], tasks=tasks
    )
    assert len(found) == 1 and model.n_iter_ > 5


def test_fits_in_a_basis_of_the_rows_are_heard_and_warm(rng):
    X, tasks = rng.normal(size=(50, 320)), np.repeat(np.arange(5), 10)
    seen, data, penalty = [], make_task_data(X, X[:, 0] + X[:, 1], tasks), Spectrum(L1(0.1))
    first = solve(data, SquaredError(), penalty, callback=lambda n_iter, parts: seen.append(parts[0]))
    assert seen[-1].shape == (5, 320) and first.coef is first.parts[0]
    again = solve(data, SquaredError(), penalty, init=first.parts)
    assert again.n_iter < first.n_iter


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("rows", ["fewer rows than tasks", "fewer columns than tasks", "few tasks"])
def test_rotated_tasks_and_panels_change_nothing(rows, fit_intercept):
    """More tasks than rows or columns are rotated, and wide working sets read the rows."""
    rng = np.random.default_rng(2)
    n, p, T = {"fewer rows than tasks": (25, 90, 60), "fewer columns than tasks": (200, 30, 70),
               "few tasks": (60, 200, 12)}[rows]  # fmt: skip
    X, W = rng.normal(size=(n, p)) + 3.0, rng.normal(size=(T, p)) * (np.arange(p) % 2 == 0)
    Y, weight = X @ W.T + rng.normal(size=(n, T)) + 10.0, rng.uniform(0.5, 2.0, size=n)
    data = make_task_data(X, Y, sample_weight=weight)
    penalty = Features(L2(0.3 if rows == "few tasks" else 3.0))
    found = solve(data, SquaredError(), penalty, fit_intercept=fit_intercept, ridge=0.1, tol=1e-12)
    seen = []
    solve(
        data, SquaredError(), penalty, fit_intercept=fit_intercept, ridge=0.1, tol=1e-12, init=found.parts,
        callback=lambda n_iter, parts: seen.append(parts),
    )  # fmt: skip
    np.testing.assert_allclose(seen[-1][0], found.coef, atol=1e-8)
    problem = make_problem(data, SquaredError(), penalty, fit_intercept, 0.1)
    objective, b, gap = problem.gap(found.parts)
    assert found.objective == pytest.approx(objective, rel=1e-12)
    assert gap == pytest.approx(found.gap, abs=1e-12 * problem.null_objective())
    np.testing.assert_allclose(found.intercept, problem.term.restored(found.coef, b), rtol=1e-8, atol=1e-8)
    assert found.intercept.shape == (T,) and found.coef.any(axis=0).sum() > 5


GROUPED = {
    "tasks with rows of their own": ((4, 150, 160), {}),
    "one design": ((4, 250, 160), {}),
    "many tasks": ((12, 250, 160), {}),
    "rotated rows": ((60, 25, 90), {}),
    "rotated columns": ((60, 200, 30), {}),
    "panels": ((12, 50, 400), {"ridge": 0.1}),
    "no intercepts": ((4, 150, 160), {"fit_intercept": False}),
    "logistic": ((3, 200, 160), {}),
}


@pytest.mark.parametrize("case", GROUPED)
def test_descent_on_blocks_finds_what_proximal_gradients_find(case):
    """Of features that are no neighbours, more of them in use than the first working set holds."""
    ((T, n, p), options), rng = GROUPED[case], np.random.default_rng(4)
    labels, shared = (
        rng.permutation(np.arange(p) // 5),
        case not in ("tasks with rows of their own", "logistic"),
    )
    X, W = rng.normal(size=(n, p)) + 1.0, rng.normal(size=(T, p)) * (labels % 2 == 0)
    tasks = None if shared else np.arange(n) % T
    eta = X @ W.T + rng.normal(size=(n, T)) if shared else (X * W[tasks]).sum(axis=1)
    loss = Logistic() if case == "logistic" else SquaredError()
    data = make_task_data(X, (eta > 0) * 1.0 if case == "logistic" else eta, tasks)
    penalty = Groups(L2(), labels)
    penalty = 0.1 * alpha_max(data, loss, penalty, **options) * penalty
    found = solve(data, loss, penalty, tol=1e-10, **options)
    expected = solve(data, loss, penalty, tol=1e-10, solver="fista", **options)
    assert choose_solver(make_problem(data, loss, penalty, **options)) == (
        "prox_newton" if case == "logistic" else "bcd"
    )
    assert found.objective == pytest.approx(expected.objective, rel=3e-10)
    np.testing.assert_allclose(found.coef, expected.coef, atol=1e-3)
    used = found.coef.any(axis=0)
    assert (used == np.isin(labels, labels[used])).all() and 0 < used.sum() < p
    assert used.sum() > 64 or p < 100 or case == "panels"


@pytest.mark.parametrize("scale", [np.ones(4), np.arange(1.0, 5.0)], ids=["alike", "unequal scales"])
@pytest.mark.parametrize("n_designs", [1, 4])
@pytest.mark.parametrize(
    "penalty",
    [*map(Features, (L2(0.3), L1(0.3), SparseL2(0.3, l1_ratio=0.4))), Groups(L2(0.3), [0, 0, 1, 2, 2, 2])],
    ids=repr,
)
def test_newton_direction_solves_the_system_of_the_prox(penalty, n_designs, scale):
    """d + step P H d = away with P H d the derivative of the prox along H d, by central differences."""
    rng = np.random.default_rng(0)
    X, step = rng.normal(size=(n_designs, 20, 6)), 2.0
    quadratic = semismooth.Quadratic(np.einsum("dij,dik->djk", X, X) / 20, scale, 0.1)
    W = rng.normal(size=(4, 6))
    z = W + step * (rng.normal(size=(4, 6)) - quadratic.times(W))
    V = penalty.prox(z, step)
    found = semismooth._direction(quadratic, penalty, V, V - W, step)
    ahead = 1e-6 * step * quadratic.times(found)
    change = (penalty.prox(z + ahead, step) - penalty.prox(z - ahead, step)) / 2e-6
    assert V.any() and np.abs(V - W).max() > 0.1
    np.testing.assert_allclose(found + change, V - W, atol=1e-6)


@pytest.mark.parametrize("unit", [1.0, 1e-120])
def test_a_singular_system_has_a_step_along_what_it_sees(unit):
    """Collinear features, beside which the proximal term is nothing."""
    A = np.ones((1, 2, 2)) * np.array([1.0, unit]) * np.array([[1.0], [unit]])
    quadratic = semismooth.Quadratic(A, np.ones(1), 0.0)
    every = np.ones((1, 2), dtype=bool), np.full(2, np.inf)
    (inverse,) = semismooth._inverses(quadratic, np.arange(2), *every, 1.0)
    seen = A[0] @ inverse @ A[0]
    np.testing.assert_allclose(seen, A[0], rtol=1e-10)


@pytest.mark.parametrize("kind", ["shared", "stacked", "unequal scales"])
@pytest.mark.parametrize(
    "penalty",
    [*map(Features, (L2(), L1(), SparseL2(l1_ratio=0.3))), Groups(L2(), np.arange(30) % 8)],
    ids=["l2", "l1", "sparse", "groups"],
)
def test_newton_steps_finish_what_coordinate_descent_does_not(penalty, kind, monkeypatch):
    """Nearly collinear features: with Newton steps few iterations, without them none would do."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 30)) + 1e-3 * rng.normal(size=(120, 30))
    Y = X @ rng.normal(size=(4, 30)).T + rng.normal(size=(120, 4))
    if kind == "stacked":
        tasks = np.arange(120) % 4
        data = make_task_data(X, Y[np.arange(120), tasks], tasks)
    else:
        data = make_task_data(X, Y, task_weight=None if kind == "shared" else [1, 2, 3, 4])
    penalty = 1e-4 * alpha_max(data, SquaredError(), penalty) * penalty
    found = solve(data, SquaredError(), penalty, tol=1e-9)
    gap = make_problem(data, SquaredError(), penalty).gap(found.parts)[2]
    assert found.n_iter < 500 and gap == pytest.approx(found.gap, rel=1e-3)
    monkeypatch.setattr(_descent, "STALLED", np.inf)
    with pytest.warns(ConvergenceWarning):
        slow = solve(data, SquaredError(), penalty, tol=1e-9, max_iter=1000)
    assert slow.objective > found.objective


# --- equal to scikit-learn ---


def shared_designs():
    layout, wide = make_layout("shared"), make_layout("shared", n=30, p=90)
    yield "plain", layout.X, layout.y
    yield "p>n", wide.X, wide.y
    with_hole = layout.X.copy()
    with_hole[:, 2] = 0.0
    yield "zero column", with_hole, layout.y
    for t in (0, -1):
        constant = layout.y.copy()
        constant[:, t] = 3.0
        yield f"constant task {t}", layout.X, constant


DESIGNS = {name: design for name, *design in shared_designs()}


def sklearn_reference(cls, X, Y, weight, fit_intercept, **params):
    """coef_ and intercept_ of scikit-learn's class, which takes no weights: on scaled, centred rows."""
    model = cls(tol=1e-15, max_iter=100_000, fit_intercept=False, **params)
    weight = np.ones(len(X)) if weight is None else weight * len(X) / weight.sum()
    x_mean, y_mean = (np.average(A, axis=0, weights=weight) * fit_intercept for A in (X, Y))
    root = np.sqrt(weight)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a tolerance beyond rounding
        model.fit(root * (X - x_mean), root * (Y - y_mean))
    return model.coef_, y_mean - model.coef_ @ x_mean


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    "name, params",
    [("MultiTaskLasso", {"alpha": 0.2}), ("MultiTaskElasticNet", {"alpha": 0.3, "l1_ratio": 0.6})],
)
def test_drop_in_equals_scikit_learn(name, params, design, weighted, fit_intercept, rng):
    X, Y = DESIGNS[design]
    weight = rng.uniform(0.2, 3.0, size=len(X)) if weighted else None
    coef, intercept = sklearn_reference(getattr(sk, name), X, Y, weight, fit_intercept, **params)
    model = {"MultiTaskLasso": MultiTaskLasso, "MultiTaskElasticNet": MultiTaskElasticNet}[name]
    model = model(fit_intercept=fit_intercept, tol=1e-14, **params)
    plain = getattr(sk, name)(tol=1e-12, max_iter=100_000, **params).fit(X, Y)
    for container in (np.asarray, sparse.csr_array):
        with named(container):
            model.fit(container(X), Y, sample_weight=weight)
            np.testing.assert_allclose(model.coef_, coef, atol=1e-8)
            np.testing.assert_allclose(model.intercept_, intercept, atol=1e-8)
            if not weighted and fit_intercept:
                np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-6)
                np.testing.assert_allclose(model.predict(container(X)), plain.predict(X), atol=1e-5)


N = 120  # rows of make_layout
ONE_TASK = {
    "Lasso": (MultiTaskLasso(alpha=0.1), sk.Lasso(alpha=0.1)),
    "Lasso by entries": (MultiTaskRegressor(0.1, penalty=Entries(L1())), sk.Lasso(alpha=0.1)),
    "ElasticNet": (MultiTaskElasticNet(alpha=0.2, l1_ratio=0.3), sk.ElasticNet(alpha=0.2, l1_ratio=0.3)),
    "Ridge": (MultiTaskRegressor(0.1, penalty=Ridge()), sk.Ridge(alpha=0.1 * N)),
    "Ridge by mean": (MeanRegularizedRegressor(3.0, mean_alpha=0.1), sk.Ridge(alpha=0.1 * N)),
    "OLS": (MultiTaskRegressor(0.0), sk.LinearRegression()),
    "Logistic": (MultiTaskClassifier(0.1, penalty=Ridge()), sk.LogisticRegression(C=1 / (0.1 * N))),
    "Logistic by mean": (
        MeanRegularizedClassifier(9.0, mean_alpha=0.1),
        sk.LogisticRegression(C=1 / (0.1 * N)),
    ),
}


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("ours, theirs", ONE_TASK.values(), ids=ONE_TASK)
def test_one_task_equals_scikit_learn(ours, theirs, fit_intercept, weighted, rng):
    classification = hasattr(ours, "predict_proba")
    layout = make_layout("single", classification)
    weight = rng.uniform(0.2, 3.0, size=N) if weighted else np.ones(N)
    ours.set_params(fit_intercept=fit_intercept, tol=1e-13).fit(layout.X, layout.y, sample_weight=weight)
    theirs.set_params(fit_intercept=fit_intercept)
    if "tol" in theirs.get_params():
        theirs.set_params(tol=1e-12)
    if classification:
        theirs.set_params(solver="newton-cholesky")
    theirs.fit(layout.X, layout.y, sample_weight=weight * N / weight.sum())
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_) or not fit_intercept
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-6)
    np.testing.assert_array_equal(ours.predict(layout.X).shape, (N,))
    if classification:
        np.testing.assert_allclose(ours.predict_proba(layout.X), theirs.predict_proba(layout.X), atol=1e-6)


# --- closed forms ---


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "sparse", "weighted"])
def test_mean_regularised_between_independent_and_pooled(kind, fit_intercept):
    layout = make_layout(kind)
    blocks = list(layout.blocks())
    means = [(s @ X * fit_intercept, s @ y * fit_intercept) for X, y, s in blocks]
    centred = [(X - x, y - m, s) for (X, y, s), (x, m) in zip(blocks, means, strict=True)]
    grams = [((X.T * s) @ X, X.T @ (s * y)) for X, y, s in centred]

    def fit(alpha):
        model = MeanRegularizedRegressor(alpha, mean_alpha=0.3, fit_intercept=fit_intercept, tol=1e-14)
        return model.fit(**layout.fit_args())

    alike = fit(0.3)  # one ridge regression per task, of strength n_t alpha
    for t, (X, y, s) in enumerate(blocks):
        ridge = sk.Ridge(alpha=0.3, fit_intercept=fit_intercept).fit(X, y, sample_weight=s)
        np.testing.assert_allclose(alike.coef_[t], ridge.coef_, atol=1e-8)
        np.testing.assert_allclose(alike.intercept_[t], ridge.intercept_, atol=1e-8)
    for huge in (1e6, 1e12):  # one ridge regression, with an intercept per task
        pooled = fit(huge)
        A = sum(A for A, _ in grams) + 0.3 * len(blocks) * np.eye(layout.X.shape[1])
        w = np.linalg.solve(A, sum(c for _, c in grams))
        np.testing.assert_allclose(pooled.coef_, np.tile(w, (len(blocks), 1)), atol=20 / huge + 1e-7)
        np.testing.assert_allclose(pooled.intercept_, [m - x @ w for x, m in means], atol=50 / huge + 1e-7)


@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "weighted"])
@pytest.mark.parametrize("options", [{}, {"intercept_alpha": 0.7}, {"fit_intercept": False}], ids=str)
@pytest.mark.parametrize("alpha, mean_alpha", [(0.3, 0.0), (1e3, 0.2), (0.2, 1e3), (1e-6, 1e-6)])
def test_direct_solver_is_direct(kind, options, alpha, mean_alpha):
    model = MeanRegularizedRegressor(alpha, mean_alpha=mean_alpha, tol=1e-11, **options)
    model.fit(**make_layout(kind).fit_args())
    pooled_in_one_design = kind == "shared" and "intercept_alpha" in options  # preconditioned, not inverted
    assert model.n_iter_ <= (4 if pooled_in_one_design else 1)


@pytest.mark.parametrize("intercept_alpha", [1e-9, 1e9])
@pytest.mark.parametrize("cls", [GroupSparseRegressor, MeanRegularizedRegressor, MeanRegularizedClassifier])
def test_pooled_intercepts_between_free_and_common(cls, intercept_alpha):
    layout = make_layout("stacked", cls is MeanRegularizedClassifier)
    model = cls(0.1, intercept_alpha=intercept_alpha, tol=1e-12).fit(**layout.fit_args())
    if intercept_alpha < 1:
        free = cls(0.1, tol=1e-12).fit(**layout.fit_args())
        np.testing.assert_allclose(model.coef_, free.coef_, atol=1e-5)
        np.testing.assert_allclose(model.intercept_, free.intercept_, atol=1e-5)
    else:
        assert np.ptp(model.intercept_) < 1e-7 < np.abs(model.intercept_).min()


# --- the strength at which nothing is left ---


NORMED = [*NORMS, "infconv"]
COMMON = ({}, {"mean_alpha": 0.0}, {"mean_alpha": 0.3}, {"fit_intercept": False}, {"intercept_alpha": 0.4},
          {"ridge": 0.5}, {"mean_alpha": 0.3, "ridge": 0.5}, {"task_weight": "samples"})  # fmt: skip


@pytest.mark.parametrize("name", NORMED)
@pytest.mark.parametrize("options", COMMON, ids=str)
def test_alpha_max_is_where_the_penalised_part_vanishes(name, options):
    turn = NORMED.index(name) + COMMON.index(options)  # each with half of the pairs
    cls = (MultiTaskRegressor, MultiTaskClassifier)[turn % 2]
    layout = make_layout("stacked", cls is MultiTaskClassifier)
    model = cls(penalty=PENALTIES[name], tol=1e-10, **options)
    top = model.alpha_max(**layout.fit_args())
    assert model.get_params()["alpha"] != top > 0

    def penalised(factor):
        model.set_params(alpha=factor * top).fit(**layout.fit_args())
        return model.deviation_coef_ if "mean_alpha" in options else model.coef_

    assert np.abs(penalised(1.001)).max() <= 1e-15
    assert np.abs(penalised(0.999)).max() > 1e-6


SQUARED = ("Clustered", "Graph", "LatentBasis", "MeanRegularized", "SharedSubspace", "TaskRelationship")


@pytest.mark.parametrize("name", task_estimators())
def test_alpha_max_of_every_estimator(name):
    layout = make_layout("missing", name.endswith("Classifier"))
    model = task_estimators()[name](tol=1e-10)
    if name.startswith(SQUARED):
        with pytest.raises(ValueError, match="alpha_max exists only for penalties with a norm"):
            model.alpha_max(**layout.fit_args())
        return
    # total variation alone leaves the pooled model
    left = "deviation_coef_" if name.startswith("Temporal") else "coef_"
    top = model.alpha_max(**layout.fit_args())
    if left == "coef_":  # zero is the start, and stays
        assert not model.set_params(alpha=(1 + 1e-12) * top).fit(**layout.fit_args()).coef_.any()
        assert model.set_params(alpha=0.999 * top).fit(**layout.fit_args()).coef_.any()
        return
    above = model.set_params(alpha=1.001 * top).fit(**layout.fit_args()).deviation_coef_
    assert np.abs(above).max() <= 1e-15  # of a mean of equal rows
    below = model.set_params(alpha=0.999 * top).fit(**layout.fit_args()).deviation_coef_
    assert np.abs(below).max() > 1e-8


@pytest.mark.parametrize("name", [name for name in REGRESSORS if not name.startswith("LatentBasis")])
def test_a_vanishing_strength_leaves_least_squares_for_each_task(name):
    """All but the latent basis, whose rank stays limited."""
    layout = make_layout("stacked")
    decomposed = name.startswith(("Dirty", "Robust", "SparseLowRank"))  # slow to certify at 1e-8
    alpha, tol = (1e-4, 1e-8) if decomposed else (1e-8, 1e-10)
    model = REGRESSORS[name](alpha, tol=tol, max_iter=100_000).fit(**layout.fit_args())
    for t, (X, y, _) in enumerate(layout.blocks()):
        w = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y)[0]
        np.testing.assert_allclose(model.coef_[t], w[:-1], atol=1e-3)
        assert model.intercept_[t] == pytest.approx(w[-1], abs=1e-2)


@pytest.mark.parametrize("name", task_estimators())
def test_sparse_rows_and_missing_labels_change_no_model(name):
    """A CSR design is the dense one, a missing label a row left out; with every common term."""
    options = {"ridge": 0.05, "intercept_alpha": 0.3, "tol": 1e-9, "max_iter": 100_000}
    options |= {} if name.startswith("MeanRegularized") else {"mean_alpha": 0.1}
    own = {"random_state": 0, "n_init": 1}  # of those that draw their starts
    options |= {key: own[key] for key in own if key in task_estimators()[name]().get_params()}
    model = task_estimators()[name](0.05, **options)
    layout = make_layout("missing", name.endswith("Classifier"))
    rows, tasks = np.nonzero(~np.isnan(layout.y))
    shared = clone(model).fit(layout.X, layout.y)
    forms = {
        "stacked": clone(model).fit(layout.X[rows], layout.y[rows, tasks], tasks=tasks),
        "stacked sparse": clone(model).fit(csr_matrix(layout.X[rows]), layout.y[rows, tasks], tasks=tasks),
    }
    for form, other in forms.items():
        assert other.objective_ == pytest.approx(shared.objective_, rel=1e-7), form
        np.testing.assert_allclose(other.coef_, shared.coef_, atol=2e-3, err_msg=form)


def test_alpha_max_of_a_function_equals_that_of_scikit_learn():
    layout = make_layout("shared")
    data = make_task_data(layout.X, layout.y)
    X, Y = layout.X - layout.X.mean(axis=0), layout.y - layout.y.mean(axis=0)
    expected = np.linalg.norm(X.T @ Y / len(X), axis=1).max()
    assert alpha_max(data, SquaredError(), Features(L2())) == pytest.approx(expected, rel=1e-12)
    assert alpha_max(data, SquaredError(), Features(L2(2.0))) == pytest.approx(expected / 2, rel=1e-12)


# --- stopping ---

# one problem per solver that cannot be solved in one iteration
HARD = {
    "fista": (SquaredError(), PENALTIES["spectrum-l1"]),
    "bcd": (SquaredError(), PENALTIES["features-l2"]),
    "splitting": (SquaredError(), PENALTIES["infconv"]),
    "prox_newton": (Logistic(), PENALTIES["features-l2"]),
    "direct": (SquaredError(), PENALTIES["graph"]),
    "newton": (Logistic(), PENALTIES["mean"]),
}
FOUND = set(SOLVERS) - {*HARD, "alternating"}  # new ones, with a problem that any solver takes
HARD |= {name: (SquaredError(), PENALTIES["sum"]) for name in sorted(FOUND)}
hard = pytest.mark.parametrize("solver", HARD)


def test_every_solver_has_a_hard_problem():
    assert set(HARD) == set(SOLVERS) - {"alternating"}  # for problems that are not convex


@hard
def test_iteration_limit_gives_one_warning_that_helps(solver, monkeypatch):
    monkeypatch.setattr("skmtl.solvers.direct.ASSEMBLED", 0)  # such a small graph is solved at once
    loss, penalty = HARD[solver]
    with pytest.warns(ConvergenceWarning) as caught:
        result = solve(make_data("stacked", loss), loss, penalty, solver=solver, max_iter=1, tol=1e-12)
    assert len(caught) == 1 and not result.converged and result.n_iter == 1
    text = str(caught[0].message)
    target = 1e-12 * make_problem(make_data("stacked", loss), loss, penalty).null_objective()
    for part in (f"{solver} stopped after 1 iteration", f"duality gap of {result.gap:.3e}", f"{target:.3e}",
                 "tol=1e-12", "max_iter", "standardise"):  # fmt: skip
        assert part in text
    assert result.gap > target


@hard
def test_history_and_result(solver):
    loss, penalty = HARD[solver]
    data = make_data("stacked", loss)
    result = solve(data, loss, penalty, solver=solver, tol=1e-11)
    assert isinstance(result, SolverResult) and result.converged
    steps, objectives, gaps = map(np.array, zip(*result.history, strict=True))
    assert (np.diff(steps) > 0).all() and (steps[-1], objectives[-1], gaps[-1]) == (
        result.n_iter, result.objective, result.gap,
    )  # fmt: skip
    target = 1e-11 * make_problem(data, loss, penalty).null_objective()
    assert gaps[-1] <= target and (gaps[:-1] > target).all()  # it stops at the first check that allows it
    assert (gaps >= objectives - objectives[-1] - 1e-12 * objectives).all()
    np.testing.assert_array_equal(sum(result.parts), result.coef)
    assert "history" not in repr(result)


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_objective_of_the_result_is_the_formula(loss, kind):
    layout = make_layout(kind, kind_of_target(loss))
    result = solve(
        make_data(kind, loss), loss, PENALTIES["features-l2"], intercept_alpha=0.2, ridge=0.3, mean_alpha=0.4
    )
    V, M = result.parts
    assert np.ptp(M, axis=0).max() == 0
    np.testing.assert_allclose(V + M, result.coef)
    value = 0.3 * np.linalg.norm(V, axis=0).sum() + 0.2 * (M**2).sum() + 0.15 * (result.coef**2).sum()
    value += 0.1 * ((result.intercept - result.intercept.mean()) ** 2).sum()
    for (X, y, s), w, b in zip(layout.blocks(), result.coef, result.intercept, strict=True):
        value += s @ loss.value(y, X @ w + b)
    assert result.objective == pytest.approx(value, rel=1e-12)


@hard
def test_callback_sees_every_iterate_and_stops(solver):
    """Who asks to stop need not be told to raise max_iter: no warning."""
    loss, penalty = HARD[solver]
    data, seen = make_data("stacked", loss), []

    def callback(n_iter, parts):
        seen.append(n_iter)
        assert parts[0].shape == (4, 6)
        return len(seen) == 2

    result = solve(data, loss, penalty, solver=solver, tol=0.0, callback=callback)
    assert len(seen) == 2 and result.n_iter == seen[-1] and not result.converged
    assert solve(data, loss, penalty, solver=solver, callback=lambda n, parts: None).converged


@hard
def test_verbose_prints_the_checks(solver, capsys):
    loss, penalty = HARD[solver]
    data = make_data("stacked", loss)
    result = solve(data, loss, penalty, solver=solver, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(result.history) and all(solver in line and "target" in line for line in lines)
    solve(data, loss, penalty, solver=solver)
    assert capsys.readouterr().out == ""


@hard
def test_start_at_the_solution_stays_there(solver):
    loss, penalty = HARD[solver]
    data = make_data("stacked", loss)
    first = solve(data, loss, penalty, solver=solver, tol=1e-10)
    before = [V.copy() for V in first.parts]
    again = solve(data, loss, penalty, solver=solver, tol=1e-6, init=first.parts)
    assert len(again.history) == 1 and again.n_iter <= 10
    np.testing.assert_allclose(again.coef, first.coef, atol=1e-4)
    np.testing.assert_array_equal(before, first.parts)


def test_the_direct_solver_takes_a_start_for_the_solution_if_it_is_exact(monkeypatch):
    loss, penalty = HARD["direct"]
    data = make_data("stacked", loss)
    first = solve(data, loss, penalty, solver="direct", tol=1e-14)
    again = solve(data, loss, penalty, solver="direct", tol=1e-2, init=[1.00001 * V for V in first.parts])
    np.testing.assert_allclose(again.coef, first.coef, rtol=1e-9)
    monkeypatch.setattr("skmtl.solvers.direct.make_preconditioner", None)
    again = solve(data, loss, penalty, solver="direct", tol=1e-8, init=first.parts)
    np.testing.assert_array_equal(again.coef, first.coef)


@pytest.mark.parametrize("name", task_estimators())
def test_warm_start(name):
    layout = make_layout("stacked", name.endswith("Classifier"))
    model = task_estimators()[name](0.05, tol=1e-8, warm_start=True)
    if name.startswith("LatentBasis"):
        model.set_params(n_init=1)
    cold = model.fit(**layout.fit_args()).n_iter_
    coef = model.coef_
    assert model.fit(**layout.fit_args()).n_iter_ <= min(cold, 10)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-3)
    other = make_layout("stacked", name.endswith("Classifier"), n_tasks=3, p=5)
    assert model.fit(**other.fit_args()).coef_.shape == (3, 5)  # another shape: from zero


@pytest.mark.parametrize(
    "solver, loss, penalty, options, message",
    [
        ("direct", SquaredError(), "features-l2", {}, "needs the squared loss and quadratic penalties only"),
        ("direct", Logistic(), "ridge", {}, "needs the squared loss and quadratic penalties only"),
        ("newton", SquaredError(), "ridge", {}, "needs a loss that is not quadratic"),
        ("newton", Logistic(), "features-l2", {}, "quadratic penalties only"),
        ("bcd", Logistic(), "features-l2", {}, "needs the squared loss"),
        (
            "bcd",
            SquaredError(),
            "spectrum-l1",
            {},
            r"Features\(L2\(\)\), Features\(L1\(\)\) or Entries\(L1\(\)\)",
        ),
        ("bcd", SquaredError(), "sum-coupling", {}, r"\(plus Ridge\)"),
        ("bcd", SquaredError(), "infconv", {}, "bcd' needs"),
        ("bcd", SquaredError(), "features-l2", {"mean_alpha": 0.1}, "neither intercept_alpha nor mean_alpha"),
        (
            "bcd",
            SquaredError(),
            "features-l2",
            {"intercept_alpha": 0.1},
            "neither intercept_alpha nor mean_alpha",
        ),
        ("sgd", SquaredError(), "ridge", {}, r"solver must be 'auto' or one of \['bcd', .*; got 'sgd'"),
    ],
)
def test_a_solver_that_does_not_apply_says_what_is_missing(solver, loss, penalty, options, message):
    with pytest.raises(ValueError, match=message):
        solve(make_data("stacked", loss), loss, PENALTIES[penalty], solver=solver, **options)


# --- the edges ---


@pytest.mark.parametrize("name", REGRESSORS)
def test_constant_targets(name):
    for kind in ("stacked", "shared", "sparse", "single"):
        layout = make_layout(kind)
        for value in (0.0, 3.0, -1e6, 1e-9):
            layout.y = np.full_like(layout.y, value)
            model = REGRESSORS[name]().fit(**layout.fit_args())
            case = f"{kind} {value}"
            np.testing.assert_allclose(model.coef_, 0.0, atol=1e-9 * abs(value) + 1e-12, err_msg=case)
            np.testing.assert_allclose(model.intercept_, value, rtol=1e-9, err_msg=case)
            assert model.objective_ <= 1e-15 * (1 + value**2), case
            certified = not name.startswith("LatentBasis")
            assert model.dual_gap_ >= 0 if certified else np.isnan(model.dual_gap_), case


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_one_sample(name, fit_intercept):
    X, y = np.array([[1.0, 2.0]]), np.array([3.0])
    model = REGRESSORS[name](1e-6, fit_intercept=fit_intercept).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-2)
    assert not fit_intercept or not model.coef_.any()


@pytest.mark.parametrize("name", ["features-l2", "mean", "spectrum-l1"])
def test_statistics_are_data(name):
    layout = make_layout("shared")
    stats = TaskStatistics.from_arrays(layout.X, layout.y)
    one = solve(stats, SquaredError(), PENALTIES[name], tol=1e-12)
    other = solve(make_task_data(layout.X, layout.y), SquaredError(), PENALTIES[name], tol=1e-12)
    np.testing.assert_allclose(one.coef, other.coef, atol=1e-6)


# --- when to end ---


def ended_at(measures, objectives=None, certified=True, max_iter=10_000):
    """Number of the look at which a solver with such measures ends for its pace, None if it does not."""
    problem = make_problem(make_data("stacked", SquaredError()), SquaredError(), PENALTIES["features-l2"])
    problem.certified = certified
    progress, history = _Progress(problem, 100, max_iter, target=1e-4), []
    for n, measure in enumerate(measures, start=1):
        history.append((n * 100, 1.0 if objectives is None else objectives[n - 1], measure))
        if progress.ended(history):
            return n
    return None


def test_a_pace_that_gets_there_is_waited_for():
    n = np.arange(1, 101)
    assert ended_at(np.exp(-0.1 * n)) is None  # 1e-4 before the last iteration
    assert ended_at(np.exp(-0.05 * n)) is not None  # 7e-3 at the last one
    assert ended_at(np.ones(100)) == 4  # at the second look that has one before it to compare with
    assert ended_at(np.where(n < 30, 1.0, 1e-5), max_iter=300) == 4
    # 5e-5 after 100,000 iterations, but a pace seen over 200 of them is no forecast of that
    assert ended_at(2e-4 * np.exp(-0.002 * n), max_iter=100_000) == 4


def test_a_sum_of_squares_below_zero_is_lost_digits_and_no_solution():
    problem = make_problem(make_data("stacked", SquaredError()), SquaredError(), Ridge(0.1))
    parts = [np.ones(problem.shape)]
    objective, b, gap = problem.gap(parts)
    steps = ((n, parts, (-objective, b, gap)) for n in range(1, 6))
    found, _ = _followed(problem, "direct", parts, steps, 5, 0.0, None, 0)
    assert not found.converged and found.objective == problem.null_objective() and not found.coef.any()


def test_newton_steps_that_creep_end_soon():
    """A gap that falls like 1/n gets there after thousands of steps, of which each is a system."""
    problem = make_problem(make_data("stacked", Logistic()), Logistic(), Ridge(0.1))
    parts = problem.zeros()
    objective, b, _ = problem.gap(parts)
    steps = ((n, parts, (objective, b, 1.0 / n)) for n in range(1, 10_001))
    found, stopped = _followed(problem, "newton", parts, steps, 10_000, 1.5e-4, None, 0)
    assert found.n_iter <= 1000 and not found.converged and not stopped


@pytest.mark.parametrize("penalty", [Ridge(0.1), Factorized(0.1, 2)], ids=repr)
def test_what_is_far_beyond_the_start_ends(penalty):
    problem = make_problem(make_data("stacked", SquaredError()), SquaredError(), penalty)
    progress = _Progress(problem, 100, 10_000, target=1e-4)
    assert progress.ended([(1, 1.0, 1.0), (2, 1e40, 1.0)])
    assert not progress.ended([(1, 1.0, 1.0), (2, 2.0, 1.0)])


def test_a_saddle_is_left_while_the_objective_falls():
    flat, falling = np.ones(100), np.linspace(2.0, 1.0, 100)
    assert ended_at(flat, falling, certified=False) is None
    assert ended_at(flat, np.ones(100), certified=False) == 4
    n = np.arange(100)
    assert ended_at(flat, 1.0 - 1e-8 * n, certified=False) == 4  # a fall that leads nowhere either


def test_a_hopeless_fit_ends_before_its_last_iteration_and_says_so():
    layout = make_layout("stacked", n=60, p=4)
    model = MultiTaskLasso(0.1, intercept_alpha=0.3, max_iter=100_000)
    with pytest.warns(ConvergenceWarning, match="At this pace max_iter iterations do not get there"):
        model.fit(layout.X + 1e12, layout.y, tasks=layout.tasks)
    assert model.n_iter_ < 10_000


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SharedSubspaceClassifier", {}),
        ("ClusteredClassifier", {}),
        ("TraceNormClassifier", {}),
        ("TraceNormClassifier", {"alpha": 100.0, "mean_alpha": 0.01}),  # its dual objective at W = 0 is zero
    ],
)
def test_a_penalty_that_is_more_than_rounding_is_not_left_out(name, options, monkeypatch):
    def without(*args, **kwargs):
        raise AssertionError("the penalty was left out")

    monkeypatch.setattr(_solve, "_without_norms", without)
    layout = make_layout("stacked", classification=True)
    task_estimators()[name](**options).fit(layout.X, layout.y, tasks=layout.tasks)


FAINT = {  # norms that cost nothing to speak of, and what is left of the penalty
    "one": (Features(L2(1e-17)) + Ridge(1.0), Ridge(1.0)),
    "trace": (Spectrum(L1(1e-17)) + Ridge(1.0), Ridge(1.0)),
    "tasks": (InfConv([Features(L2(1e-17)), Tasks(L2(1e-17))]), Ridge(0.0)),
    "beside": (InfConv([Features(L2(1e-17)) + Ridge(1.0), Tasks(L2(1e-17))]), Ridge(0.0)),
}


@pytest.mark.parametrize("penalty, rest", FAINT.values(), ids=FAINT)
def test_norms_that_cost_less_than_the_target_are_certified(penalty, rest):
    """Nothing is left of a dual point then, but the optimum is no less than that without the norms."""
    layout = make_layout("stacked")
    model = MultiTaskRegressor(1.0, penalty=penalty, tol=1e-6).fit(layout.X, layout.y, tasks=layout.tasks)
    other = MultiTaskRegressor(1.0, penalty=rest, tol=1e-9).fit(layout.X, layout.y, tasks=layout.tasks)
    assert_allclose(model.objective_, other.objective_, rtol=1e-6)
    assert model.objective_ - model.dual_gap_ <= other.objective_ * (1 + 1e-12)


def test_a_solution_without_norms_that_does_not_serve_is_the_start(monkeypatch):
    loss, seen, method = SquaredError(), [], SOLVERS["fista"]
    problem = make_problem(make_data("stacked", loss), loss, Features(L2(1e-6)) + Ridge(1.0))
    free = _solve.run(problem.without_norms, tol=1e-3)

    def iterates(problem, start, *how):
        seen.append(start)
        return method.iterates(problem, start, *how)

    monkeypatch.setitem(SOLVERS, "fista", replace(method, iterates=iterates))
    monkeypatch.setattr(_solve, "_faint", lambda *args: True)
    monkeypatch.setattr(_solve, "_without_norms", lambda *args: (replace(free, gap=np.inf), 0.0))
    found = _solve.run(problem, "fista", tol=1e-8)
    assert found.converged and seen[-1][0] is free.parts[0]


def test_the_problem_without_norms_is_that_of_its_data():
    data = [make_data("stacked", SquaredError(), seed=seed) for seed in (0, 1)]
    one, other = (make_problem(rows, SquaredError(), Features(L2(1.0))) for rows in data)
    assert one.without_norms.term is one.term  # and is kept
    assert one.with_term(other.term).without_norms.term is other.term


@pytest.mark.filterwarnings("ignore:.* stopped after:sklearn.exceptions.ConvergenceWarning")
def test_what_is_missed_is_as_close_as_is_known(rng):
    """Units that no step of the whole problem gets along with: that without the norm is solved at once."""
    X = rng.normal(size=(40, 6)) * [100.0, 1e-3, 100.0, 1e-3, 1e-3, 100.0]
    Y = rng.poisson(np.exp(rng.normal(size=(40, 4))))
    model = GraphRegularizedRegressor(
        1e-5, graph=np.ones((4, 4)) - np.eye(4), l1_ratio=0.3, loss="poisson", mean_alpha=0.0
    )
    assert model.fit(X, Y).dual_gap_ < 0.01 * model.objective_
    rest = clone(model).set_params(alpha=0.7e-5, l1_ratio=0.0).fit(X, Y)
    assert model.objective_ - model.dual_gap_ <= rest.objective_ <= model.objective_


@pytest.mark.parametrize("alpha", [0.0, 1e-16])
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_tasks_that_are_fitted_exactly_do_not_stop_a_certificate(alpha, unit):
    """Their slopes are rounding of the targets, and so is the gradient that is left of them."""
    rng = np.random.default_rng(2)
    X, tasks = rng.normal(size=(30, 6)), np.arange(30) % 4  # two tasks with as many rows as coefficients
    y = X.sum(axis=1) + 2 * rng.normal(size=30)
    for penalty in (Ridge(1.0), Spectrum(L1(1.0))):
        model = MultiTaskRegressor(alpha, penalty=penalty, loss=Huber(1.35 * unit))
        assert model.fit(X, unit * y, tasks=tasks).dual_gap_ <= 1e-3 * model.objective_


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("alpha", [1e-11, 1e-6, 1e-3])
def test_a_mean_that_costs_more_than_deviations_which_have_it_for_nothing(alpha, offset, rng):
    """Units of features are far apart, so that first steps do not get there."""
    X, tasks = rng.normal(size=(20, 10)), np.arange(20) % 4
    y = (X * rng.normal(size=(4, 10))[tasks]).sum(axis=1) + rng.normal(size=20)
    X = X * np.logspace(-3, 3, 10) + offset
    given = {"ridge": 10.0, "smooth": "quadratic", "l1_ratio": 0.3}
    model = TemporalRegressor(alpha, mean_alpha=1.0, **given).fit(X, y, tasks=tasks)
    other = TemporalRegressor(alpha, **given, tol=1e-8).fit(X, y, tasks=tasks)
    assert model.objective_ - model.dual_gap_ <= other.objective_ <= model.objective_ * (1 + 1e-9)
    assert model.dual_gap_ <= 1e-4 * y.var() * 4


@pytest.mark.parametrize("mean_alpha", [None, 0.0, 1e-3, 10.0])
@pytest.mark.parametrize("other", [Tasks(L2(1e-17)), Ridge(0.1)], ids=["norm", "ridge"])
@pytest.mark.filterwarnings("ignore:.* stopped after:sklearn.exceptions.ConvergenceWarning")
def test_a_bound_without_norms_knows_of_other_parts(other, mean_alpha):
    """W costs less in these than in the first."""
    layout, penalty = make_layout("stacked"), InfConv([Features(L2(1e-17)) + Ridge(1.0), other])
    given = {"mean_alpha": mean_alpha, "tol": 1e-6, "max_iter": 300}
    model = MultiTaskRegressor(1.0, penalty=penalty, **given).fit(layout.X, layout.y, tasks=layout.tasks)
    near = InfConv([Features(L2(1e-9)) + Ridge(1.0), other])
    upper = MultiTaskRegressor(1.0, penalty=near, **given).fit(layout.X, layout.y, tasks=layout.tasks)
    assert model.objective_ - model.dual_gap_ <= upper.objective_
    assert_allclose(model.objective_, upper.objective_, rtol=1e-4)


@pytest.mark.parametrize("form", [np.array, csr_matrix])
def test_a_certificate_of_a_working_set_reads_all_features_once(form, monkeypatch, rng):
    X = rng.normal(size=(40, 300)) * (rng.random((40, 300)) < 0.3)
    Y = X[:, :3] @ rng.normal(size=(3, 4)) + 0.1 * rng.normal(size=(40, 4))
    dual_norm, read, checks = L2.dual_norm, [], []
    monkeypatch.setattr(L2, "dual_norm", lambda self, V: read.append(len(V)) or dual_norm(self, V))
    data = make_task_data(form(X), Y)
    found = solve(
        data, SquaredError(), Features(L2(0.02)), tol=1e-8, callback=lambda n, parts: checks.append(n)
    )
    assert found.converged and len(checks) > 1
    assert read.count(300) == len(checks)


def test_an_objective_that_overflows_is_not_the_least(monkeypatch, rng):
    """Moments of columns at 1e100 may give one of minus infinity on the way."""
    X = rng.normal(size=(30, 4)) * [100.0, 1.0, 0.1, 0.01]
    data = make_task_data(X, rng.normal(size=30), np.repeat([0, 1], 15))
    calls, gap = [], Problem.gap

    def overflowing(self, *args):
        calls.append(1)
        objective, b, found = gap(self, *args)
        return (-np.inf, b, np.inf) if len(calls) == 2 else (objective, b, found)

    monkeypatch.setattr(Problem, "gap", overflowing)
    with pytest.warns(ConvergenceWarning):
        found = solve(data, SquaredError(), Features(L2(1e-3)), solver="fista", max_iter=40, tol=0.0)
    assert len(calls) > 3 and np.isfinite(found.objective)
