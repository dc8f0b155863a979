"""Penalties: value, prox, dual norm and conjugate of each, against conic solutions of the formula."""

from itertools import product

import cvxpy as cp
import numpy as np
import pytest
from conftest import FOUND, LOSSES, kind_of_target, make_layout, public_classes
from conftest import NORMS as NORMS_OF_ANY_SHAPE
from conftest import PENALTIES as PENALTIES_OF_ANY_SHAPE
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.linalg import null_space
from scipy.optimize import lsq_linear
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from skmtl import MultiTaskClassifier, MultiTaskRegressor, penalties
from skmtl.penalties import (
    L1,
    L2,
    MCP,
    Box,
    Coupling,
    Entries,
    Features,
    Fused,
    Groups,
    InfConv,
    LInf,
    Penalty,
    Positive,
    Ridge,
    Shared,
    SparseL2,
    Spectrum,
    SquaredL1,
    Sum,
    Tasks,
    Tree,
    VectorFunction,
)
from skmtl.penalties._placement import singular_values
from skmtl.penalties._quadratic import TaskQuadratic
from skmtl.solvers import make_task_data
from skmtl.solvers._solve import make_problem

LEAVES = [[0, 1], [2], [3], [2, 3], [0, 1, 2, 3]]
LABELS = ["b", "a", "c", "b", "a", "b"]
PENALTIES = {
    **PENALTIES_OF_ANY_SHAPE,
    "features-tree": Features(Tree(0.3, LEAVES)),  # four tasks
    "tasks-tree": Tasks(Tree(0.2, [[0, 1], [2, 3, 4], range(6)], [1.0, 0.5, 0.7])),  # six features
    "groups-l2": Groups(L2(0.3), LABELS),
    "groups-sparse": Groups(SparseL2(0.3, l1_ratio=0.4), LABELS, [0.5, 1.0, 3.0]),
    "groups-squared": Groups(SquaredL1(0.4), LABELS, [0.5, 1.0, 3.0]),
    "positive-groups": Positive(Groups(L2(0.3), LABELS, [0.5, 1.0, 3.0])),
}
NORMS = (
    *NORMS_OF_ANY_SHAPE, "features-tree", "tasks-tree", "groups-l2", "groups-sparse", "positive-groups",
)  # fmt: skip
CHAIN = np.eye(4, k=1) + np.eye(4, k=-1)
EPS = np.finfo(float).eps


def columns(W):
    return cp.sum(cp.norm(W, 2, axis=0))


def entries(W):
    return cp.sum(cp.abs(W))


def spread(W):
    return cp.sum_squares(W - np.full((W.shape[0],) * 2, 1 / W.shape[0]) @ W)


def changes(W):
    return cp.sum(cp.abs(W[1:] - W[:-1])) if W.shape[0] > 1 else 0


def squared_columns(W):
    return cp.sum(cp.square(cp.sum(cp.abs(W), axis=0)))


def boxed(W):
    """The box norm of every column, and its constraints."""
    theta, part = cp.Variable(W.shape), cp.Variable(W.shape)
    flat = [cp.vec(item, order="C") for item in (part + theta, 2 * W, part - theta)]
    cone = cp.SOC(flat[0], cp.vstack(flat[1:]), axis=0)  # part >= W^2 / theta
    return 0.25 * cp.sum(part), [theta >= 0.2, theta <= 1.3, cp.sum(theta, axis=0) <= 2.1, cone]


def boxed_spectrum(W):
    """min tr(W' M^-1 W) over matrices M with eigenvalues in the box."""
    if W.shape[0] == 0:
        return 0, []
    M = cp.Variable((W.shape[0],) * 2, PSD=True)
    eye = np.eye(W.shape[0])
    return 0.25 * cp.matrix_frac(W, M), [M >> 0.2 * eye, M << 1.3 * eye, cp.trace(M) <= 2.1]


def boxed_deviations(W):
    """The same on an orthonormal basis of the deviations from the mean, plus a ridge on the mean."""
    n_tasks = W.shape[0]
    value, constraints = (0, [])
    if n_tasks > 1:
        value, constraints = boxed_spectrum(null_space(np.ones((1, n_tasks))).T @ W)
    return value + 0.25 * 0.2 * cp.sum_squares(cp.sum(W, axis=0)) / n_tasks, constraints


def equal_rows(W):
    return [W[1:] == W[:-1]] if W.shape[0] > 1 else []


def groups(W, formula, weights):
    """Sum over the groups of a formula of their blocks as vectors."""
    blocks = [W[:, [j for j, own in enumerate(LABELS) if own == label]] for label in "abc"]
    return sum(w * formula(cp.vec(B, order="C")) for w, B in zip(weights, blocks, strict=True))


def tree(W):
    nodes = ([0, 1], 1.0), ([2, 3, 4], 0.5), (range(6), 0.7)
    return sum(weight * cp.sum(cp.norm(W[:, list(group)], 2, axis=1)) for group, weight in nodes)


# the formula of each convex penalty that has a prox, in the language of a conic solver: a value, or a
# value and constraints
FORMULAS = {
    "features-l2": lambda W: 0.3 * columns(W),
    "features-l1": lambda W: 0.2 * entries(W),
    "tasks-l2": lambda W: 0.3 * cp.sum(cp.norm(W, 2, axis=1)),
    "entries-l1": lambda W: 0.2 * entries(W),
    "spectrum-l1": lambda W: 0.4 * cp.normNuc(W),
    "features-linf": lambda W: 0.3 * cp.sum(cp.max(cp.abs(W), axis=0)),
    "features-sparse": lambda W: 0.18 * columns(W) + 0.12 * entries(W),
    "features-fused": lambda W: 0.2 * changes(W) + 0.08 * entries(W) + 0.12 * columns(W),
    "features-tv": lambda W: 0.3 * changes(W),
    "entries-tree": lambda W: 0.2 * entries(W),
    "features-tree": lambda W: 0.3 * sum(columns(W[group]) for group in LEAVES),
    "tasks-tree": lambda W: 0.2 * tree(W),
    "groups-l2": lambda W: 0.3 * groups(W, cp.norm, np.sqrt([2, 3, 1])),
    "groups-sparse": lambda W: groups(W, lambda v: 0.18 * cp.norm(v) + 0.12 * cp.norm(v, 1), [0.5, 1.0, 3.0]),
    "groups-squared": lambda W: groups(W, lambda v: 0.2 * cp.square(cp.norm(v, 1)), [0.5, 1.0, 3.0]),
    "positive-groups": lambda W: (0.3 * groups(W, cp.norm, [0.5, 1.0, 3.0]), [W >= 0]),
    "features-squared": lambda W: 0.2 * squared_columns(W),
    "features-box": boxed,
    "spectrum-squared": lambda W: 0.2 * cp.square(cp.normNuc(W)),
    "spectrum-box": boxed_spectrum,
    "spectrum-centered": boxed_deviations,
    "positive-l2": lambda W: (0.3 * columns(W), [W >= 0]),
    "positive-fused": lambda W: (0.18 * changes(W) + 0.09 * entries(W) + 0.03 * columns(W), [W >= 0]),
    "positive-box": lambda W: (lambda value, box: (value, [*box, W >= 0]))(*boxed(W)),
    "ridge": lambda W: 0.25 * cp.sum_squares(W),
    "mean": lambda W: 0.25 * spread(W),
    "shared-mean": lambda W: 0.35 * cp.sum_squares(cp.sum(W, axis=0)) / W.shape[0],
    "graph": lambda W: 0.2 * cp.sum_squares(W[1:] - W[:-1]),
    "graph-clusters": lambda W: (
        0.25 * (cp.sum_squares(W[0] - W[2]) + cp.sum_squares(W[1] - W[3])) / 2
        + 0.075 * cp.sum_squares((W[0] + W[2]) / 2 - (W[1] + W[3]) / 2)
        + 0.025 * cp.sum_squares(cp.sum(W, axis=0)) / 4
    ),
    "shared": lambda W: (0.15 * cp.sum_squares(W), equal_rows(W)),
    "sum": lambda W: 0.2 * columns(W) + 0.15 * cp.sum_squares(W),
}
CONCAVE = ("features-mcp", "tasks-scad", "features-capped", "features-sqrt")
CONCAVE += tuple(name for name, penalty in FOUND.items() if not penalty.convex)
SEMINORMS = ("features-tv",)
SQUARED = (
    "features-squared", "features-box", "spectrum-squared", "spectrum-box", "spectrum-centered",
    "positive-box", "groups-squared",
)  # fmt: skip
with_prox = pytest.mark.parametrize("name", FORMULAS)
norms = pytest.mark.parametrize("name", NORMS)
with_value = pytest.mark.parametrize("name", [name for name in PENALTIES if name != "infconv"])


def stated(name, W):
    """The formula of a penalty at a conic variable: its value and constraints."""
    found = FORMULAS[name](W)
    return found if isinstance(found, tuple) else (found, [])


def shapes(name):
    """Shapes of W that a penalty is tried on; some are made for four tasks or six features."""
    four = [(4, 3), (4, 1), (4, 7)]
    if "groups" in name:
        return [(4, 6), (1, 6)]
    special = {"graph": four, "graph-clusters": four, "features-tree": four, "tasks-tree": [(4, 6), (1, 6)]}
    return special.get(name, [(4, 3), (1, 5), (6, 1), (3, 8)])


def feasible(name, W):
    """W where the penalty is finite."""
    return np.abs(W) if name.startswith("positive") else np.tile(W[0], (len(W), 1)) if name == "shared" else W


def matrices(rng, shape):
    """Random W of every awkward kind."""
    W = rng.normal(size=shape)
    holes = W * (rng.random(shape) < 0.4)
    holes[:, 0], holes[-1] = 0, 0
    yield from (W, holes, np.ones(shape), -np.ones(shape), np.round(W), np.zeros(shape))
    yield np.outer(rng.normal(size=shape[0]), rng.normal(size=shape[1]))
    yield from (1e6 * W, 1e-6 * W)
    yield np.asfortranarray(W)


STEPS = (1e-9, 0.3, 1.0, 7.0, 1e9)


def test_every_public_penalty_is_tested():
    def kinds(penalty):
        inner = getattr(penalty, "terms", None) or getattr(penalty, "components", None) or ()
        inner = (*inner, *([penalty.penalty] if isinstance(penalty, Positive) else []))
        function = getattr(penalty, "function", None)
        return {type(penalty).__name__, type(function).__name__}.union(*map(kinds, inner))

    tested = set().union(*map(kinds, PENALTIES.values())) - {"NoneType"}
    # what a Factorized penalty costs is known for factors only: tests/test_nonconvex.py
    assert tested | {"Penalty", "VectorFunction", "Factorized"} == set(public_classes(penalties))
    assert set(FORMULAS) | {"infconv", "sum-coupling", *CONCAVE, *FOUND} == set(PENALTIES)
    assert {name for name, penalty in PENALTIES.items() if not penalty.convex} == set(CONCAVE)


# --- value and prox ---


@with_prox
def test_prox_minimises(name, rng):
    """The prox objective is strongly convex: its excess at any point bounds the distance from the prox."""
    penalty = PENALTIES[name]
    for i, shape in enumerate(shapes(name)):
        for j, W in enumerate(matrices(rng, shape)):
            for step in STEPS[(i + j) % 2 :: 2]:  # the others in the next shape
                before = W.copy()
                V = penalty.prox(W, step)
                assert V.shape == W.shape and not np.shares_memory(V, W)
                np.testing.assert_array_equal(W, before)
                assert np.isfinite(V).all()

                def objective(U, W=W, step=step):
                    return 0.5 * ((U - W) ** 2).sum() + step * penalty.value(U)

                best, size = objective(V), np.linalg.norm(V) + np.abs(W).max()
                noise = rng.normal(size=shape), np.tile(rng.normal(size=shape[1]), (shape[0], 1)), V
                others = [V + c * size * N for N in noise for c in (1e-3, -0.3)]
                for U in (W, np.zeros(shape), 0.5 * (V + W), *others):
                    excess = objective(U) - best - 0.5 * ((U - V) ** 2).sum()
                    rounding = 20 * EPS * (1 + step) * ((U**2).sum() + (W**2).sum())
                    assert excess >= -rounding


@with_prox
def test_value_and_prox_equal_the_conic_solution(name, rng):
    penalty = PENALTIES[name]
    for shape in shapes(name):
        V = cp.Variable(shape)
        W, step = cp.Parameter(shape), cp.Parameter(nonneg=True)
        formula, constraints = stated(name, V)
        problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(V - W) + step * formula), constraints)
        for W.value, step.value in zip(list(matrices(rng, shape))[:3], (0.4, 1.0, 3.0), strict=True):
            problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
            found = penalty.prox(W.value, step.value)
            np.testing.assert_allclose(found, V.value, atol=1e-5)
            value = 0.5 * ((found - W.value) ** 2).sum() + step.value * penalty.value(found)
            assert value == pytest.approx(problem.value, rel=1e-8, abs=1e-8)


def test_the_largest_of_the_sizes_is_the_dual_norm(rng):
    """Working sets are certified by these."""
    penalties = [p for p in PENALTIES.values() if getattr(p, "kernel", None)]
    penalties += [Entries(function) for function in (L2(0.3), LInf(0.3), SparseL2(0.3))]
    for penalty, W in product(penalties, matrices(rng, (4, 6))):
        assert penalty.sizes(W).max() == pytest.approx(penalty.dual_norm(W), rel=1e-12), penalty


@norms
def test_optimality_of_the_prox_through_the_dual_norm(name, rng):
    """V = prox(W, step) iff W - V is in step times the dual unit ball and aligned with V.

    The dual norm takes a gradient of the data term, here V - W.
    """
    penalty = PENALTIES[name]
    for shape in shapes(name):
        for W in matrices(rng, shape):
            size, other = penalty.dual_norm(-W), penalty.dual_norm(W)
            for step in STEPS:
                V = penalty.prox(W, step)
                rounding = 20 * EPS * max(size, other)
                assert penalty.dual_norm(V - W) <= step * (1 + 20 * EPS) + rounding
                aligned = step * penalty.value(V)
                assert np.vdot(W - V, V) == pytest.approx(aligned, rel=1e-12, abs=50 * EPS * (W**2).sum())
                assert V.any() == (size > step)


@pytest.mark.parametrize(
    "penalty, error",
    [(PENALTIES["infconv"], TypeError), (PENALTIES["sum-coupling"], ValueError)],
    ids=["infconv", "sum-coupling"],
)
def test_no_prox_is_said(penalty, error):
    with pytest.raises(error, match=r"InfConv|the prox of .* Coupling is not known"):
        penalty.prox(np.ones((4, 3)), 1.0)


def test_an_unfinished_penalty_says_what_is_missing():
    for call in (lambda p: p.value(np.ones((2, 2))), lambda p: p.prox(np.ones((2, 2)), 1.0)):
        with pytest.raises(TypeError, match=r"Penalty must define (value|prox)"):
            call(Penalty())
        with pytest.raises(TypeError, match=r"VectorFunction must define (value|prox)"):
            call(Features(VectorFunctionWithStrength()))
    assert PENALTIES["infconv"].parts() == list(PENALTIES["infconv"].components)
    with pytest.raises(TypeError, match="InfConv has no value"):
        PENALTIES["infconv"].value(np.ones((2, 2)))


class VectorFunctionWithStrength(VectorFunction):
    alpha = 1.0


VectorFunctionWithStrength.__name__ = "VectorFunction"


# --- dual norm and conjugate ---


@norms
def test_closed_dual_norm_equals_bisection_on_the_prox(name, rng):
    penalty = PENALTIES[name]
    for shape in shapes(name):
        for G in matrices(rng, shape):
            assert penalty.dual_norm(G) == pytest.approx(Penalty.dual_norm(penalty, G), rel=1e-13)


@norms
def test_dual_norm_is_the_polar_of_the_value(name, rng):
    penalty = PENALTIES[name]
    for shape in shapes(name):
        G = rng.normal(size=shape)
        for W in matrices(rng, shape):
            W = feasible(name, W)
            bound = penalty.dual_norm(G) * penalty.value(W)
            assert np.vdot(-G, W) <= bound * (1 + 20 * EPS)
        if name in FOUND:  # there is no formula for a conic solver
            continue
        V = cp.Variable(shape)  # and the bound is attained
        formula, constraints = stated(name, V)
        largest = cp.Problem(cp.Maximize(cp.sum(cp.multiply(-G, V))), [formula <= 1, *constraints])
        assert largest.solve(solver="CLARABEL") == pytest.approx(penalty.dual_norm(G), rel=1e-6)


def test_dual_norm_of_a_decomposition_is_the_largest_of_its_parts(rng):
    G, penalty = rng.normal(size=(4, 3)), PENALTIES["infconv"]
    assert penalty.dual_norm(G) == max(part.dual_norm(G) for part in penalty.parts())


@with_value
def test_what_nothing_costs(name):
    """Known of norms without a look at coefficients."""
    for shape in shapes(name):
        assert PENALTIES[name].null_value(shape) == PENALTIES[name].value(np.zeros(shape))


@with_value
def test_is_norm(name):
    shape, certified = shapes(name)[0], name in (*NORMS, *SEMINORMS)
    assert PENALTIES[name].is_norm(shape) == certified
    assert not (name in CONCAVE and PENALTIES[name].certified(shape))
    if name in FORMULAS and name != "shared" and "positive" not in name:  # as a user's penalty would find out
        assert Penalty.is_norm(PENALTIES[name], shape) == certified


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_conjugate_of_the_shared_vector(alpha, rng):
    penalty, G = Shared(alpha), rng.normal(size=(4, 3))
    if alpha:
        W = np.tile(G.sum(axis=0) / (alpha * 4), (4, 1))  # where the supremum is attained
        assert penalty.conjugate(G) == pytest.approx(np.vdot(G, W) - penalty.value(W), rel=1e-12)
        assert penalty.free_directions(4) is None
    else:
        N = penalty.free_directions(4)
        np.testing.assert_allclose(N @ N.T, np.full((4, 4), 0.25))
        assert penalty.conjugate(G) == 0 and penalty.value(3 * N @ G[:1]) == 0


def test_shared_vector_is_infinite_off_its_subspace(rng):
    W = rng.normal(size=(4, 3))
    assert Shared().value(W) == np.inf
    assert np.isfinite(Shared().value(np.tile(W[0] * 1e8, (4, 1))))


@pytest.mark.parametrize("name", SQUARED)
def test_conjugate_by_fenchel_young(name, rng):
    """Omega(V) + Omega*(-G) >= <V, -G>, with equality where -G is a subgradient at V."""
    penalty = PENALTIES[name]
    for shape in shapes(name):
        G = rng.normal(size=shape)
        for W in matrices(rng, shape):
            for step in (0.3, 1.0, 7.0):
                V = penalty.prox(W, step)
                S = (V - W) / step
                rounding = 100 * EPS * (1 + 1 / step) * ((W**2).sum() + (S**2).sum() + 1)
                assert penalty.value(V) + penalty.conjugate(S) == pytest.approx(-np.vdot(V, S), abs=rounding)
                assert penalty.value(V) + penalty.conjugate(G) >= -np.vdot(V, G) - rounding
    assert penalty.conjugate(np.zeros(shape)) == 0


def free_penalties():
    yield Features(Fused(0.3))
    for function in (L1(0.3), SquaredL1(0.4), Box(0.5, 0.2, 1.3, 2.1)):
        yield Spectrum(function, centered=True)


@pytest.mark.parametrize("penalty", list(free_penalties()), ids=repr)
@pytest.mark.parametrize("shape", [(4, 3), (6, 1), (1, 4), (3, 8)])
def test_free_directions_cost_nothing(penalty, shape, rng):
    W, d = rng.normal(size=shape), rng.normal(size=shape[1])
    N = penalty.free_directions(shape[0])
    shift = np.outer(N, d)
    assert penalty.value(W + shift) == pytest.approx(penalty.value(W), rel=1e-12, abs=1e-14)
    assert penalty.value(shift) == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(penalty.prox(W + shift, 0.7), penalty.prox(W, 0.7) + shift, atol=1e-12)
    # the deviations of a single task are zero, whatever the function
    assert penalty.is_norm(shape) == (shape[0] == 1 or not isinstance(penalty.function, (SquaredL1, Box)))
    for polar in (penalty.dual_norm,) if penalty.is_norm(shape) else (penalty.conjugate,):
        assert polar(W + shift) == pytest.approx(polar(W - W.mean(axis=0)), rel=1e-12, abs=1e-14)
    assert all(p.free_directions(4) is None for n, p in PENALTIES.items() if n in (*NORMS, *SQUARED))


@pytest.mark.parametrize("shape", [(30, 40), (60, 30), (26, 26), (5, 9), (1, 4), (40, 1)], ids=str)
@pytest.mark.parametrize("kind", ["full", "low rank", "graded", "equal", "zero"])
@pytest.mark.parametrize("size", [1.0, 1e-160, 1e150])
def test_singular_values_of_the_eigenvalue_problem(shape, kind, size, rng):
    """As accurate next to the largest as those of the decomposition itself, and so is the prox."""
    m = min(shape)
    U, V = (np.linalg.qr(rng.normal(size=(n, m)))[0] for n in shape)
    values = {"full": rng.uniform(1, 3, m), "low rank": np.arange(m) < 3, "graded": np.logspace(0, -16, m),
              "equal": np.ones(m), "zero": np.zeros(m)}[kind]  # fmt: skip
    W = size * (U * values) @ V.T
    Q, s, product = singular_values(W)
    expected = np.linalg.svd(W, compute_uv=False)
    np.testing.assert_allclose(np.sort(s)[::-1], expected, atol=1e-11 * size)
    np.testing.assert_allclose(Q.T @ Q, np.eye(m), atol=1e-13)
    np.testing.assert_allclose(Q @ product, W if shape[0] <= shape[1] else W.T, atol=1e-14 * size)
    np.testing.assert_allclose(np.linalg.norm(product / size, axis=1), s / size, atol=1e-14)
    threshold, left = 0.3 * size, np.linalg.svd(W, full_matrices=False)
    soft = (left[0] * np.maximum(left[1] - threshold, 0)) @ left[2]
    np.testing.assert_allclose(Spectrum(L1(0.3)).prox(W, size), soft, atol=1e-14 * size)
    assert Spectrum(L1(0.5)).value(W) == pytest.approx(0.5 * expected.sum(), rel=1e-11)
    assert Spectrum(L1(0.5)).dual_norm(W) == pytest.approx(2 * expected[0], rel=1e-14)


def test_centered_spectrum_is_the_spectrum_of_deviations(rng):
    for shape in ((4, 3), (3, 8), (6, 1)):
        W = rng.normal(size=shape)
        mean = np.tile(W.mean(axis=0), (shape[0], 1))
        for function in (L1(0.4), SquaredL1(0.4)):  # zeros cost nothing: one direction less does not show
            plain, centered = Spectrum(function), Spectrum(function, centered=True, mean_ratio=0.7)
            ridge = 0.5 * 0.4 * 0.7 * (mean**2).sum()
            assert centered.value(W) == pytest.approx(plain.value(W - mean) + ridge, rel=1e-12)
            expected = plain.prox(W - mean, 0.3) + mean / (1 + 0.3 * 0.4 * 0.7)
            np.testing.assert_allclose(centered.prox(W, 0.3), expected, atol=1e-13)
            assert not centered.is_norm(shape) and centered.free_directions(4) is None
    assert Spectrum(L1(), centered=True, mean_ratio=0.7).conjugate(W) is None


def test_missing_singular_values_use_up_the_budget(rng):
    w = rng.normal(size=(6, 1))
    tight = Box(1.0, low=0.2, high=1.3, budget=2.1)  # 2.1 - 5 * 0.2 = 1.1 is left for the one direction
    assert Spectrum(tight).value(w) == pytest.approx(0.5 * (w**2).sum() / 1.1, rel=1e-13)
    w -= w.mean()
    assert Spectrum(tight, centered=True).value(w) == pytest.approx(0.5 * (w**2).sum() / 1.3, rel=1e-13)


def test_placements_of_functions_they_do_not_fit():
    W = np.ones((3, 3))
    for call in (lambda p: p.value(W), lambda p: p.prox(W, 1.0), lambda p: p.dual_norm(W)):
        with pytest.raises(ValueError, match="Spectrum: the order of singular values has no meaning"):
            call(Spectrum(Fused()))
        with pytest.raises(ValueError, match="mean_ratio must be >= 0; got -1"):
            call(Spectrum(L1(), mean_ratio=-1.0))
        for inner in (Spectrum(L1()), Ridge(), Coupling(), PENALTIES["infconv"], Features(UserL2())):
            with pytest.raises(ValueError, match=r"Positive.* needs Features, Tasks or Entries .* got"):
                call(Positive(inner))


@pytest.mark.parametrize(
    "function", [Fused(0.4, l1_ratio=0.3), Fused(0.4, order=[2, 0, 3, 1]), SquaredL1(0.4), L1(0.3)], ids=repr
)
def test_one_more_task_costs_what_it_adds(function, rng):
    """Where the function of a longer vector is that of the shorter one and something of the new entry."""
    V, w = rng.normal(size=(4, 3)), rng.normal(size=(1, 3))
    penalty = longer = Features(function)
    if getattr(function, "order", None) is not None:
        longer = Features(Fused(0.4, order=[2, 0, 3, 1, 4]))
    (own,) = penalty.frozen(V)
    np.testing.assert_allclose(own.value(w), longer.value(np.vstack([V, w])) - penalty.value(V))


@pytest.mark.parametrize("placement", [Tasks, Entries])
def test_constants_that_cost_nothing_along_the_features_leave_no_certificate(placement):
    """Directions that a solver does not know of: of the deviations among features it would bound too much."""
    penalty = placement(Fused(0.1))
    assert not penalty.is_norm((4, 3)) and penalty.free_directions(4) is None
    layout = make_layout("stacked")
    model = MultiTaskRegressor(penalty=penalty, tol=1e-6).fit(layout.X, layout.y, tasks=layout.tasks)
    assert np.isnan(model.dual_gap_)


# --- several classes ---


@pytest.mark.parametrize("function", [L2(0.3), SparseL2(0.3), SquaredL1(0.4), MCP(0.3), LInf(0.2)], ids=repr)
def test_features_of_several_classes(function, rng):
    """One vector per feature holds all tasks and classes."""
    B = rng.normal(size=(4, 3, 5))  # task, class, feature
    W, V = B.reshape(4, 15), B.reshape(12, 5)
    plain, joint = Features(function), Features(function).for_classes(3)
    assert joint.value(W) == plain.value(V) != plain.value(W)
    np.testing.assert_array_equal(joint.prox(W, 0.7), plain.prox(V, 0.7).reshape(4, 15))
    assert joint.dual_norm(W) == plain.dual_norm(V) or not joint.is_norm(W.shape)
    assert joint.conjugate(W) == plain.conjugate(V) and joint.kernel == plain.kernel
    assert joint.by_vector().value(V) == joint.value(W)  # solvers give it one row per task and class
    assert plain.for_classes(1).kernel == plain.kernel and repr(joint) == repr(plain)
    assert clone(joint).value(W) == plain.value(W)  # part of the problem, not of the penalty
    for other in (2.0 * joint, Sum([joint]).scaled(2.0)):
        assert other.value(W) == pytest.approx(2 * joint.value(W), rel=1e-13)
    if not function.convex:
        assert joint.surrogate().value(W) == plain.surrogate().value(V)


def test_combinations_pass_the_classes_on(rng):
    B = np.abs(rng.normal(size=(4, 3, 5)))
    W, V = B.reshape(4, 15), B.reshape(12, 5)
    group = Features(L2(0.3))
    assert (group + Ridge(0.1)).for_classes(3).value(W) == pytest.approx((group + Ridge(0.1)).value(V))
    assert Positive(group).for_classes(3).value(W) == Positive(group).value(V)
    positive = Positive(group).for_classes(3).set_params(alpha=0.6)
    assert positive.value(W) == pytest.approx(2 * group.value(V)) and group.alpha == 0.3
    first, second = InfConv([group, Entries(L1())]).for_classes(3).parts()
    assert first.value(W) == group.value(V) and second.value(W) == Entries(L1()).value(W)
    assert (2.0 * Sum([group])).for_classes(3).value(W) == pytest.approx(2 * group.value(V))
    for other in (Features(Fused(0.3)), Tasks(L2()), Spectrum(L1()), Coupling(), Ridge()):
        assert other.for_classes(3) is other
    nameless = WithoutStrength() * 2.0
    assert nameless.for_classes(3).value(W) == nameless.value(W) == 2 * np.abs(W).sum()


# --- penalties that are not convex ---


@pytest.mark.parametrize("name", CONCAVE)
def test_concave_penalties_say_so(name, rng):
    penalty, W = PENALTIES[name], rng.normal(size=(4, 3))
    convex = penalty.surrogate()
    assert type(convex) is type(penalty) and convex.convex and convex.is_norm((4, 3))
    assert not penalty.is_norm((4, 3)) and penalty.conjugate(W) is None
    joined = [penalty + Ridge(0.3), InfConv([penalty, Tasks(L1())]), Positive(penalty)]
    for whole in joined:
        assert not whole.convex and whole.surrogate().convex and type(whole.surrogate()) is type(whole)
    assert joined[0].surrogate().value(W) == pytest.approx(convex.value(W) + Ridge(0.3).value(W))
    assert joined[1].surrogate().parts()[0].value(W) == convex.value(W)
    assert joined[2].surrogate().prox(W, 0.5).min() >= 0
    np.testing.assert_array_equal(joined[2].prox(W, 0.5), penalty.prox(np.maximum(W, 0), 0.5))


@pytest.mark.parametrize("name", [name for name in PENALTIES if name not in CONCAVE])
def test_convex_penalties_need_no_surrogate(name):
    assert PENALTIES[name].convex and PENALTIES[name].surrogate() is None


def test_no_surrogate_known_is_none():
    class Concave(WithoutStrength):
        convex = False

    assert (Concave() + Ridge()).surrogate() is None and (2.0 * Concave()).surrogate() is None
    assert InfConv([Concave(), Entries(L1())]).surrogate() is None
    assert not (2.0 * Concave()).convex


class WithoutStrength(Penalty):
    """Sum of absolute values, without a parameter."""

    def value(self, W):
        return np.abs(W).sum()

    def prox(self, W, step):
        return Entries(L1()).prox(W, step)


# --- parameters ---


@with_value
@pytest.mark.parametrize("factor", [0.0, 2.5])
def test_scaled(name, factor, rng):
    penalty, W = PENALTIES[name], feasible(name, rng.normal(size=shapes(name)[0]))
    before = penalty.value(W)
    for other in (penalty.scaled(factor), factor * penalty, penalty * factor):
        assert other.value(W) == pytest.approx(factor * before, rel=1e-12)
        assert type(other) is type(penalty)
    if name in FORMULAS:
        np.testing.assert_allclose(other.prox(W, 0.7), penalty.prox(W, 0.7 * factor), rtol=1e-12, atol=1e-15)
    assert penalty.value(W) == before


def test_scaling_a_decomposition_scales_its_parts(rng):
    W, penalty = rng.normal(size=(4, 3)), PENALTIES["infconv"]
    for scaled, part in zip((2.5 * penalty).parts(), penalty.parts(), strict=True):
        assert scaled.value(W) == pytest.approx(2.5 * part.value(W), rel=1e-14)


@pytest.mark.parametrize("name", PENALTIES)
def test_clone_and_parameters(name, rng):
    penalty = PENALTIES[name]
    other = clone(penalty)
    assert other is not penalty and repr(other) == repr(penalty)
    assert set(penalty.get_params(deep=False)) <= set(penalty.get_params())
    other.set_params(**other.get_params(deep=False))
    assert repr(other) == repr(penalty)


@pytest.mark.parametrize("name", [n for n, p in PENALTIES.items() if not isinstance(p, (Sum, InfConv))])
def test_alpha_of_a_penalty_is_a_parameter(name):
    other = clone(PENALTIES[name])
    assert other.get_params()["alpha"] == other.alpha > 0
    assert other.set_params(alpha=9.0).alpha == 9.0 != PENALTIES[name].alpha
    if hasattr(other, "function"):
        function = other.function
        assert other.set_params(function__alpha=4.0).alpha == 4.0
        other.set_params(alpha=5.0)  # the function may belong to somebody else
        assert function.alpha == 4.0 and other.function.alpha == 5.0


@pytest.mark.parametrize("key", ["penalty__alpha", "penalty__function__alpha", "alpha"])
def test_strength_is_searchable_through_an_estimator(key):
    layout = make_layout("stacked", n=60)
    penalty = Tasks(L2(7.0))
    model = MultiTaskRegressor(1.0, penalty=penalty, task_column=0, tol=1e-10)
    X = np.column_stack([layout.tasks, layout.X])
    grid = [1e-3, 0.3, 50.0]
    search = GridSearchCV(model, {key: grid}, cv=KFold(3, shuffle=True, random_state=0)).fit(X, layout.y)
    assert penalty.alpha == 7.0
    strength = {"alpha": [7.0 * a for a in grid]}.get(key, grid)
    for alpha, score in zip(strength, search.cv_results_["mean_test_score"], strict=True):
        one = MultiTaskRegressor(alpha, penalty=Tasks(L2()), task_column=0, tol=1e-10)
        assert cross_val_score(one, X, layout.y, cv=search.cv).mean() == pytest.approx(score, rel=1e-6)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.1


@pytest.mark.parametrize("name", [n for n in PENALTIES if n != "shared" and "positive" not in n])
def test_strength_zero_is_least_squares(name):
    layout = make_layout("stacked")
    model = MultiTaskRegressor(0.0, penalty=PENALTIES[name], tol=1e-13).fit(**layout.fit_args())
    for (X, y, _), w, b in zip(layout.blocks(), model.coef_, model.intercept_, strict=True):
        expected = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y)[0]
        np.testing.assert_allclose(np.append(w, b), expected, rtol=1e-5, atol=1e-6)
    assert 0 <= model.dual_gap_ < 1e-10


@pytest.mark.parametrize("name", [name for name in PENALTIES if "positive" in name])
def test_strength_zero_keeps_the_constraint(name):
    layout = make_layout("stacked")
    model = MultiTaskRegressor(0.0, penalty=PENALTIES[name], tol=1e-9).fit(**layout.fit_args())
    for (X, y, _), w, b in zip(layout.blocks(), model.coef_, model.intercept_, strict=True):
        A, low = np.column_stack([X, np.ones(len(X))]), [0.0] * X.shape[1] + [-np.inf]
        expected = lsq_linear(A, y, bounds=(low, np.inf), tol=1e-14).x
        np.testing.assert_allclose(np.append(w, b), expected, atol=1e-5)


# --- combinations ---


def test_decompositions_in_decompositions_are_one(rng):
    """Their parts are those of all; the inner one was asked for a value of its own."""
    X, tasks = rng.normal(size=(60, 4)), np.arange(60) % 3
    y = X[:, 0] + rng.normal(size=60)
    a, b, c = Features(L2(0.1)), Entries(L1(0.1)), Tasks(L2(0.2))
    one, flat = (
        MultiTaskRegressor(0.5, penalty=2 * penalty, tol=1e-10).fit(X, y, tasks=tasks)
        for penalty in (InfConv([InfConv([a, b]), c]), InfConv([a, b, c]))
    )
    assert one.objective_ == pytest.approx(flat.objective_, rel=1e-9) and one.dual_gap_ < 1e-8
    assert_allclose(sum(one.part_coefs_), one.coef_, atol=1e-12)
    assert len(one.part_coefs_) == 3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: InfConv([]), ValueError, r"InfConv needs at least one component; got \[\]"),
        (lambda: Features(L1("a")), TypeError, r"alpha of a penalty must be a number >= 0; got Features\("),
        (lambda: Ridge(np.ones(3)), TypeError, r"alpha of a penalty must be a number >= 0; got Ridge\("),
        (lambda: Positive(Features(L2()) + Ridge()), ValueError, "quadratic terms are added to it; got Sum"),
    ],
)
def test_malformed_penalties(make, error, message, rng):
    with pytest.raises(error, match=message):
        MultiTaskRegressor(penalty=make()).fit(rng.normal(size=(9, 2)), np.arange(9.0))


def test_sum_is_flat_and_adds_up(rng):
    W = rng.normal(size=(4, 3))
    terms = Entries(L1(0.1)), Coupling(0.5), Ridge(0.1)
    total = terms[0] + terms[1] + terms[2]
    assert total.value(W) == pytest.approx(sum(term.value(W) for term in terms), rel=1e-14)
    rough, smooth = (total + Coupling.graph(CHAIN)).split()
    assert isinstance(rough, Entries) and [type(p) for p in smooth] == [Coupling, Ridge, Coupling]
    assert (Ridge(1.0) + Coupling(2.0)).smooth and not total.smooth
    np.testing.assert_allclose(
        (Ridge(1.0) + Coupling(2.0)).prox(W, 0.5), Coupling(2.0).prox(W / 1.5, 0.5 / 1.5), rtol=1e-12
    )
    with pytest.raises(TypeError):
        Ridge() + 1.0


@pytest.mark.parametrize(
    "penalty, message",
    [
        (Features(L2()) + Entries(L1()), "only one non-smooth"),
        (Ridge() + (Spectrum(L1()) + Ridge()) + Tasks(L2()), "only one non-smooth"),
        (PENALTIES["infconv"] + Ridge(), "InfConv cannot be a term"),
    ],
)
def test_sums_without_a_prox_are_refused(penalty, message):
    layout = make_layout("stacked", n=30)
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(penalty=penalty).fit(**layout.fit_args())


# --- quadratic forms ---


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.coo_matrix, np.ndarray.tolist])
def test_graph_is_the_sum_over_edges(container, rng):
    A = np.triu(rng.random((5, 5)) * (rng.random((5, 5)) < 0.6), 1)
    A = A + A.T
    W = rng.normal(size=(5, 3))
    edges = sum(A[s, t] * ((W[s] - W[t]) ** 2).sum() for s in range(5) for t in range(s))
    A += np.diag(rng.random(5))  # ignored
    penalty = Coupling.graph(container(A), alpha=0.7)
    assert penalty.value(W) == pytest.approx(0.35 * edges, rel=1e-12)
    assert Coupling.graph(np.ones((5, 5))).value(W) == pytest.approx(5 * Coupling().value(W), rel=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Coupling(M=np.eye(3)), r"M has shape \(3, 3\) but the data hold 4 tasks"),
        (lambda: Coupling(M=np.ones((4, 3))), r"M has shape \(4, 3\)"),
        (lambda: Coupling(M=np.triu(np.ones((4, 4)))), "M must be symmetric"),
        (lambda: Coupling(M=CHAIN), "M must be positive semidefinite"),
        (lambda: Coupling(M=sparse.csr_array(CHAIN)), "M must be positive semidefinite"),
        (lambda: Coupling(M=-np.eye(4)), "M must be positive semidefinite"),
        (lambda: Coupling(M="chain"), "M must be 'mean', 'shared' or a matrix; got 'chain'"),
        (lambda: Coupling(M=np.full((4, 4), np.nan)), "M contains NaN"),
        (lambda: Coupling.graph(np.triu(CHAIN)), "adjacency must be .*; got one that is not symmetric"),
        (lambda: Coupling.graph(-CHAIN), "adjacency must be a symmetric matrix of nonnegative"),
        (lambda: Coupling.graph(np.ones((4, 3))), r"adjacency must be .* got shape \(4, 3\)"),
    ],
)
def test_malformed_couplings(make, message):
    layout = make_layout("stacked", n=30)
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(penalty=make()).fit(**layout.fit_args())


def quadratics():
    graph = Coupling.graph(CHAIN, alpha=0.4).M
    singular = np.outer([1.0, -1, 2, 0], [1.0, -1, 2, 0])
    for n_tasks, matrix in ((4, None), (4, graph), (4, singular), (4, np.zeros((4, 4))), (1, None)):
        for deviations, mean in ((0.0, 0.0), (0.7, 0.0), (0.0, 0.3), (0.7, 0.3), (0.5, 0.5), (1e9, 0.1)):
            yield TaskQuadratic(n_tasks, deviations, mean, matrix)


@pytest.mark.parametrize("Q", list(quadratics()))
def test_task_quadratic_equals_dense_algebra(Q, rng):
    T = Q.n_tasks
    matrix = 0 if Q.matrix is None else Q.matrix.toarray() if sparse.issparse(Q.matrix) else Q.matrix
    dense = Q.deviations * (np.eye(T) - 1 / T) + Q.mean / T + matrix
    size = max(np.abs(dense).max(), 1.0)
    W, G = rng.normal(size=(T, 3)), rng.normal(size=(T, 3))
    np.testing.assert_allclose(Q.apply(W), dense @ W, atol=1e-14 * size)
    assert Q.value(W) == pytest.approx(0.5 * np.trace(W.T @ dense @ W), rel=1e-12, abs=1e-14 * size)
    np.testing.assert_allclose(Q.prox(W, 0.6), np.linalg.solve(np.eye(T) + 0.6 * dense, W), atol=1e-13 * size)
    np.testing.assert_allclose(Q.diagonal(), np.diag(dense), rtol=1e-12)
    values, vectors = Q.eigenvectors()
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, dense, atol=1e-14 * size)
    assert bool(Q) == bool(Q.deviations or Q.mean or Q.matrix is not None)
    if Q.is_ridge:
        np.testing.assert_allclose(dense, dense[0, 0] * np.eye(T), atol=1e-15)
    if Q.matrix is None:
        assert Q.level == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-12)

    free, expected = Q.null_space(), null_space(dense, rcond=1e-12) if dense.any() else np.eye(T)
    assert (free is None) == (expected.shape[1] == 0)
    if free is not None:
        np.testing.assert_allclose(free @ free.T, expected @ expected.T, atol=1e-12)
        G = G - free @ (free.T @ G)
    inverse = np.linalg.pinv(dense, rcond=1e-12, hermitian=True)
    assert Q.conjugate(G) == pytest.approx(0.5 * np.trace(G.T @ inverse @ G), rel=1e-6, abs=1e-14)


def test_quadratics_add_up(rng):
    W = rng.normal(size=(4, 3))
    parts = [
        Ridge(0.2),
        Coupling(0.5),
        Coupling(0.1, M="shared"),
        Coupling.graph(CHAIN),
        Coupling(M=np.eye(4)),
    ]
    assert TaskQuadratic.of(parts, 4).value(W) == pytest.approx(sum(p.value(W) for p in parts), rel=1e-12)
    assert not TaskQuadratic.of([], 4)


# --- penalties written by a user, in plain NumPy ---


class UserGroup(Penalty):
    """sum_j ||W[:, j]||_2, by value and prox alone."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def value(self, W):
        return self.alpha * np.sqrt((W**2).sum(axis=0)).sum()

    def prox(self, W, step):
        size = np.sqrt((W**2).sum(axis=0))
        return W * np.maximum(0, 1 - step * self.alpha / np.maximum(size, 1e-300))


class UserL2(VectorFunction):
    """||v||_2, a vector function without dual norm and kernel."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def value(self, V):
        return L2(self.alpha).value(V)

    def prox(self, V, step):
        return L2(self.alpha).prox(V, step)


class UserExclusive(UserGroup):
    """1/2 sum_j ||W[:, j]||_1^2: convex, but not a norm."""

    def value(self, W):
        return self.alpha / 2 * (np.abs(W).sum(axis=0) ** 2).sum()

    def prox(self, W, step):
        c, size = step * self.alpha, np.sort(np.abs(W), axis=0)[::-1]
        total = np.cumsum(size, axis=0) / (1 + c * np.arange(1, len(W) + 1)[:, None])
        return np.sign(W) * np.maximum(np.abs(W) - c * total.max(axis=0), 0)


class UserMCP(UserGroup):
    """alpha sum (|w| - w^2/6 up to 3, constant beyond): not convex."""

    gamma = 3.0

    def value(self, W):
        size = np.minimum(np.abs(W), self.gamma)
        return self.alpha * (size - size**2 / (2 * self.gamma)).sum()

    def prox(self, W, step):
        c, size = step * self.alpha, np.abs(W)
        if c >= self.gamma:
            return np.where(size > np.sqrt(c * self.gamma), W, 0.0)
        shrunk = np.sign(W) * np.maximum(size - c, 0) / (1 - c / self.gamma)
        return np.where(size > self.gamma, W, shrunk)


USER_NORMS = {"Penalty": UserGroup(0.7), "VectorFunction": Features(UserL2(0.7))}


@pytest.mark.parametrize("penalty", USER_NORMS.values(), ids=USER_NORMS)
@pytest.mark.parametrize("cls", [MultiTaskRegressor, MultiTaskClassifier])
@pytest.mark.parametrize("extra", [{}, {"mean_alpha": 0.1}, {"ridge": 0.1}], ids=str)
def test_user_norm_gets_the_certificate_of_the_built_in_one(penalty, cls, extra):
    data = make_layout("stacked", classification=cls is MultiTaskClassifier).fit_args()
    own, built_in = (cls(0.1, penalty=p, tol=1e-9, **extra) for p in (penalty, Features(L2(0.7))))
    assert own.alpha_max(**data) == pytest.approx(built_in.alpha_max(**data), rel=1e-12)
    own.fit(**data), built_in.fit(**data)
    np.testing.assert_allclose(own.coef_, built_in.coef_, atol=1e-4)
    null = cls(1e6, penalty=penalty).fit(**data).objective_
    assert 0 <= own.dual_gap_ <= 1e-9 * null
    loose = cls(0.1, penalty=penalty, tol=1e-2, **extra).fit(**data)
    assert 1e-2 * null >= loose.dual_gap_ >= loose.objective_ - built_in.objective_
    with pytest.raises(ValueError, match="solver='bcd' needs"):
        cls(penalty=penalty, solver="bcd").fit(**data)


@pytest.mark.parametrize("penalty", USER_NORMS.values(), ids=USER_NORMS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_user_norm_has_the_same_gap_at_any_point(penalty, loss, rng):
    layout = make_layout("missing", classification=kind_of_target(loss))
    data = make_task_data(layout.X, layout.y)
    own, built_in = (make_problem(data, loss, p) for p in (penalty, Features(L2(0.7))))
    for W in rng.normal(size=(5, *own.shape)):
        assert own.gap([W])[2] == pytest.approx(built_in.gap([W])[2], rel=1e-12)


def test_user_penalty_that_is_no_norm_converges_by_stationarity():
    layout = make_layout("stacked")
    V, b = cp.Variable((4, 6)), cp.Variable(4)
    objective = 0.5 / 2 * cp.sum_squares(cp.sum(cp.abs(V), axis=0))
    for t, (X, y, s) in enumerate(layout.blocks()):
        objective += cp.sum(cp.multiply(s, cp.square(y - X @ V[t] - b[t]))) / 2
    optimum = cp.Problem(cp.Minimize(objective)).solve(solver="CLARABEL")
    model = MultiTaskRegressor(0.5, penalty=UserExclusive(), tol=1e-8).fit(**layout.fit_args())
    assert np.isnan(model.dual_gap_) and not UserExclusive().certified((4, 6))
    assert model.objective_ == pytest.approx(optimum, rel=1e-7)
    with pytest.raises(ValueError, match="alpha_max exists only for penalties with a norm"):
        model.alpha_max(**layout.fit_args())


def test_user_penalty_that_is_not_convex_ends_at_a_stationary_point():
    layout = make_layout("stacked")
    model = MultiTaskRegressor(0.3, penalty=UserMCP(), tol=1e-9).fit(**layout.fit_args())
    assert np.isnan(model.dual_gap_)
    W, alpha = model.coef_, 0.3
    G = np.array([
        X.T @ (s * (X @ w + b - y))
        for (X, y, s), w, b in zip(layout.blocks(), W, model.intercept_, strict=True)
    ])  # fmt: skip
    slope = alpha * np.maximum(1 - np.abs(W) / UserMCP.gamma, 0) * np.sign(W)
    np.testing.assert_allclose(G[W != 0], -slope[W != 0], atol=1e-6)
    assert (np.abs(G[W == 0]) <= alpha).all()
    assert 0 < (W == 0).sum() < W.size and (np.abs(W) < UserMCP.gamma).any()
