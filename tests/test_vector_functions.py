"""Vector functions: each prox against slow references, polars and conjugates against their meaning."""

from itertools import combinations, pairwise, product

import cvxpy as cp
import numpy as np
import pytest
from conftest import new_functions, public_classes
from sklearn.base import clone

from skmtl import penalties
from skmtl.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    Box,
    CappedL1,
    Entries,
    Features,
    Fused,
    LInf,
    Positive,
    SparseL2,
    SqrtL1,
    SquaredL1,
    Tree,
    VectorFunction,
)
from skmtl.penalties._vector import least_strength

EPS = np.finfo(float).eps
N_CASES = 200


def nested(length):
    """Groups of a small tree: the leaves, blocks of two, everything."""
    blocks = [range(i, min(i + 2, length)) for i in range(0, length, 2)]
    return [[i] for i in range(length)] + blocks + [range(length)]


# functions of vectors of a given length
CONVEX = {
    "l1": lambda n: L1(0.7),
    "l2": lambda n: L2(0.7),
    "linf": lambda n: LInf(0.7),
    "sparse": lambda n: SparseL2(0.7, l1_ratio=0.3),
    "sparse-l1": lambda n: SparseL2(0.7, l1_ratio=1.0),
    "sparse-l2": lambda n: SparseL2(0.7, l1_ratio=0.0),
    "squared": lambda n: SquaredL1(0.7),
    "box": lambda n: Box(0.7, low=0.2, high=1.5, budget=0.2 * n + 1.0),
    "box-loose": lambda n: Box(0.7, low=0.2, high=1.5, budget=2.0 * n),
    "box-tight": lambda n: Box(0.7, low=0.2, high=1.5, budget=0.2 * n),
    "box-free": lambda n: Box(0.7, low=0.0, high=10.0, budget=1.0),  # the squared L1 norm
    "tv": lambda n: Fused(0.7),
    "fused": lambda n: Fused(0.7, l1_ratio=0.3, group_ratio=0.2, order=np.roll(np.arange(n), 2)),
    "fused-l1": lambda n: Fused(0.7, l1_ratio=0.3),
    "tree": lambda n: Tree(0.7, nested(n), np.linspace(0.2, 1.0, len(nested(n)))),
}
CONCAVE = {
    "mcp": lambda n: MCP(0.7, gamma=1.5),
    "mcp-scale": lambda n: MCP(0.7, gamma=3.0, scale=0.4),
    "scad": lambda n: SCAD(0.7, gamma=2.2),
    "scad-scale": lambda n: SCAD(0.7, scale=0.4),
    "capped": lambda n: CappedL1(0.7, gamma=1.2),
    "sqrt": lambda n: SqrtL1(0.7),
}
NORMS = ("l1", "l2", "linf", "sparse", "sparse-l1", "sparse-l2", "fused", "fused-l1", "tree")
STATED = (*CONVEX,)  # for a conic solver
for name, function in new_functions(make(4) for make in [*CONVEX.values(), *CONCAVE.values()]).items():
    (CONVEX if function.convex else CONCAVE)[name] = lambda n, function=function: clone(function)
    NORMS += (name,) * function.norm
convex = pytest.mark.parametrize("name", CONVEX)
concave = pytest.mark.parametrize("name", CONCAVE)
every = pytest.mark.parametrize("name", [*CONVEX, *CONCAVE])
norms = pytest.mark.parametrize("name", NORMS)


def make(name, length):
    return {**CONVEX, **CONCAVE}[name](length)


def batches(rng, n_cases=N_CASES, lengths=(1, 2, 3, 4, 5)):
    """Batches of vectors (n_vectors, length): random, with ties, with zeros, of every size."""
    for n in lengths:
        k = n_cases // len(lengths)
        V = 2 * rng.normal(size=(k, n))
        V[k // 4 : k // 2] = np.round(V[k // 4 : k // 2])
        V[k // 2 : 3 * k // 4] *= rng.random((k // 4, n)) < 0.5
        V[-2], V[-1] = 0.0, 1.5
        V[-6:-2] *= 10.0 ** np.array([-6, -3, 3, 6])[:, None]
        yield V


def objective(function, V, U, step):
    """Prox objective at U of each row."""
    return 0.5 * ((U - V) ** 2).sum(axis=1) + step * function.value(U)


def test_every_vector_function_is_tested():
    tested = {type(make(name, 4)).__name__ for name in (*CONVEX, *CONCAVE)}
    functions = {n for n, c in public_classes(penalties).items() if issubclass(c, VectorFunction)}
    assert tested == functions - {"VectorFunction"}


# --- prox ---


def stated(name, V):
    """Sum of the function over the rows of a conic variable, written once more, and its constraints."""
    function, (k, n) = make(name, V.shape[1]), V.shape
    size, length, extra = cp.sum(cp.abs(V)), cp.sum(cp.norm(V, 2, axis=1)), []
    if isinstance(function, Box):
        theta, part = cp.Variable((k, n)), cp.Variable((k, n))
        extra = [theta >= function.low, theta <= function.high, cp.sum(theta, axis=1) <= function.budget]
        flat = [cp.vec(item, order="C") for item in (part + theta, 2 * V, part - theta)]
        extra += [cp.SOC(flat[0], cp.vstack(flat[1:]), axis=0)]  # part >= V^2 / theta
        value = 0.5 * cp.sum(part)
    elif isinstance(function, Fused):
        order = range(n) if function.order is None else function.order
        changes = sum(cp.sum(cp.abs(V[:, i] - V[:, j])) for i, j in pairwise(order))
        rho, group = function.l1_ratio, function.group_ratio
        value = (1 - rho - group) * changes + rho * size + group * length
    elif isinstance(function, Tree):
        lengths = [cp.sum(cp.norm(V[:, list(g)], 2, axis=1)) for g in function.groups]
        value = sum(w * x for w, x in zip(function.weights, lengths, strict=True))
    elif isinstance(function, SparseL2):
        value = (1 - function.l1_ratio) * length + function.l1_ratio * size
    else:
        value = {
            "l1": lambda: size,
            "l2": lambda: length,
            "linf": lambda: cp.sum(cp.max(cp.abs(V), axis=1)),
            "squared": lambda: 0.5 * cp.sum(cp.square(cp.sum(cp.abs(V), axis=1))),
        }[name]()
    return function.alpha * value, extra


@pytest.mark.parametrize("name", STATED)
def test_convex_prox_equals_the_conic_solution(name, rng):
    """All vectors of a length at once: the problem is a sum over them."""
    for V, step in zip(batches(rng), (0.05, 0.4, 1.0, 2.0, 7.0), strict=True):
        V = np.clip(V, -20, 20)  # within one accuracy of the solver
        U = cp.Variable(V.shape)
        value, extra = stated(name, U)
        problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(U - V) + step * value), extra)
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-8, tol_gap_rel=1e-9, tol_feas=1e-8)
        function = make(name, V.shape[1])
        found = function.prox(V, step)
        best = objective(function, V, found, step).sum()
        assert best == pytest.approx(problem.value, rel=1e-8, abs=1e-8)
        # the objective is strongly convex: an excess e of the conic solution allows a distance sqrt(2 e)
        np.testing.assert_allclose(found, U.value, atol=1e-4)


@convex
@pytest.mark.parametrize("step", [1e-9, 1e-3, 0.3, 2.0, 1e4, 1e9])
def test_convex_prox_has_no_better_neighbour(name, step, rng):
    """By strong convexity the excess at any point is at least half the squared distance."""
    for V in batches(rng):
        function = make(name, V.shape[1])
        before = V.copy()
        best = function.prox(V, step)
        np.testing.assert_array_equal(V, before)
        size = np.abs(V).max(axis=1, keepdims=True)
        noise = rng.normal(size=(6, *V.shape))
        noise[3:] *= rng.random(noise[3:].shape) < 0.4
        tried = [best + c * size * e for e in noise for c in (1e-4, 1e-2, 1.0)]
        tried += [V, 0 * V, 0.5 * best, np.tile(V.mean(axis=1, keepdims=True), V.shape[1])]
        for U in tried:
            gain = objective(function, V, U, step) - objective(function, V, best, step)
            gain -= 0.5 * ((U - best) ** 2).sum(axis=1)
            # a penalty of strength c is evaluated to c eps of the values it sums
            scale = (U**2).sum(axis=1) + (V**2).sum(axis=1) + step * function.value(U)
            assert (gain >= -40 * EPS * scale).all()


def test_box_prox_equals_a_search_over_all_pieces(rng):
    """Every assignment of entries to low, high and free: the feasible one is unique."""
    for V, c in zip(batches(rng, 100), (0.05, 0.4, 1.0, 7.0, 1e4), strict=True):
        n = V.shape[1]
        function = Box(1.0, low=0.2, high=1.5, budget=0.2 * n + 1.0)
        for v, found in zip(V, function.prox(V, c), strict=True):
            size, best, cost = np.abs(v), None, np.inf
            for piece in product((0.2, 1.5, None), repeat=n):
                free = np.array([p is None for p in piece])
                theta = np.array([0.0 if p is None else p for p in piece])
                if free.any() and size[free].sum() > 0:
                    m = (0.2 * n + 1.0 - theta.sum() + c * free.sum()) / size[free].sum()
                    theta[free] = m * size[free] - c
                elif free.any():
                    continue
                if theta.sum() > (0.2 * n + 1.0) * (1 + 1e-12) or (theta < 0.2 * (1 - 1e-9)).any():
                    continue
                if (theta > 1.5 * (1 + 1e-9)).any():
                    continue
                value = (v**2 / (theta + c)).sum()  # the prox objective over v, up to a factor
                if value < cost:
                    best, cost = v * theta / (theta + c), value
            np.testing.assert_allclose(found, best, rtol=1e-9, atol=1e-12)


def test_box_weights_are_the_optimal_ones(rng):
    for V in batches(rng):
        n = V.shape[1]
        function = Box(0.7, low=0.2, high=1.5, budget=0.2 * n + 1.0)
        theta = function.theta(V)
        assert (theta >= 0.2).all() and (theta <= 1.5).all()
        assert (theta.sum(axis=1) <= function.budget * (1 + 4 * EPS)).all()
        np.testing.assert_allclose(0.35 * (V**2 / theta).sum(axis=1), function.value(V), rtol=1e-13)
        for _ in range(5):  # no other weights are better
            other = rng.uniform(0.2, 1.5, size=V.shape)
            other = 0.2 + (other - 0.2) * np.minimum(1, 1.0 / (other - 0.2).sum(axis=1, keepdims=True))
            assert (0.35 * (V**2 / other).sum(axis=1) >= function.value(V) * (1 - 1e-13)).all()
        np.testing.assert_allclose(make("box-free", n).value(V), make("squared", n).value(V), rtol=1e-12)
        np.testing.assert_allclose(make("box-loose", n).prox(V, 0.6), V * 1.5 / (1.5 + 0.42), rtol=1e-14)
        np.testing.assert_allclose(make("box-tight", n).prox(V, 0.6), V * 0.2 / (0.2 + 0.42), rtol=1e-12)


# --- the global minimum of functions that are not convex ---


def along_a_ray(function, v, step):
    """Least objective of a function of the length, over a grid of lengths refined around its minimum."""
    size = np.linalg.norm(v)
    low, high = 0.0, size
    lengths = np.linspace(0, size, 2001)
    direction = v / (size or 1.0)
    for _ in range(6):
        U = lengths[:, None] * direction
        value = objective(function, v, U, step)
        best = value.argmin()
        low, high = lengths[max(best - 1, 0)], lengths[min(best + 1, 2000)]
        lengths = np.linspace(low, high, 2001)
    return min(value.min(), *objective(function, v, np.array([0 * v, v]), step))


def over_supports(function, v, step):
    """Least objective of a function of the L1 norm: on each support a soft threshold, found on a grid."""
    best = min(objective(function, v, np.array([0 * v, v]), step))
    for k in range(1, len(v) + 1):
        for support in combinations(range(len(v)), k):
            inside = np.isin(np.arange(len(v)), support)
            levels = np.linspace(0, np.abs(v).max(), 501)
            for _ in range(6):
                U = np.sign(v) * np.maximum(np.abs(v) - levels[:, None], 0) * inside
                value = objective(function, v, U, step)
                i = value.argmin()
                levels = np.linspace(levels[max(i - 1, 0)], levels[min(i + 1, 500)], 501)
            best = min(best, value.min())
    return best


@concave
def test_concave_prox_is_the_global_minimum(name, rng):
    """No point of an exhaustive search is better; the search comes as close as its grid."""
    search = over_supports if name in ("capped", "sqrt") else along_a_ray
    for n, V in enumerate(batches(rng), 1):
        function = make(name, n)
        for step in (0.3, 1.0, 3.0, 30.0):
            chosen = rng.permutation(len(V))[: 10 if n < 5 else 5]
            U = V[chosen]
            found = objective(function, U, function.prox(U, step), step)
            expected = [search(function, u, step) for u in U]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)
            assert (found <= np.array(expected) * (1 + 8 * EPS) + 1e-300).all()


@concave
@pytest.mark.parametrize("step", [1e-9, 1e-3, 0.3, 2.0, 1e4, 1e9])
def test_concave_prox_beats_all_points_tried(name, step, rng):
    for V in batches(rng):
        function = make(name, V.shape[1])
        best = function.prox(V, step)
        value = objective(function, V, best, step)
        size = np.abs(V).max(axis=1, keepdims=True)
        noise = rng.normal(size=(6, *V.shape))
        soft = [np.sign(V) * np.maximum(np.abs(V) - c * size, 0) for c in np.linspace(0, 1, 41)]
        for U in [*soft, *(c * V for c in np.linspace(0, 1, 41)), *(best + 1e-3 * size * e for e in noise)]:
            other = objective(function, V, U, step)
            assert (other >= value - 20 * EPS * ((V**2).sum(axis=1) + value)).all()


def test_known_thresholds():
    """Where the global minimum leaves zero: from the formulas of one number."""
    for step in (3.0, 30.0):
        for function, edge in (
            (MCP(1.0, gamma=2.0), np.sqrt(2.0 * step)),  # size^2 / 2 = step * gamma / 2
            (CappedL1(1.0, gamma=1.0), np.sqrt(2.0 * step)),  # size^2 / 2 = step * gamma
            (SqrtL1(1.0), 1.5 * step ** (2 / 3)),  # where the stationary point costs size^2 / 2
        ):
            V = edge * np.array([[1 - 1e-9], [1 + 1e-9]])
            below, above = function.prox(V, step)[:, 0]
            assert below == 0 and above > 0.1
    # the usual parametrisation: scale = alpha, unit step
    V = np.linspace(0, 5, 101)[:, None]
    lam, gamma = 0.8, 3.0
    expected = np.where(gamma * lam >= V, np.maximum(V - lam, 0) / (1 - 1 / gamma), V)
    np.testing.assert_allclose(MCP(lam, gamma, scale=lam).prox(V, 1.0), expected, rtol=1e-13, atol=1e-15)
    middle = ((gamma - 1) * V - gamma * lam) / (gamma - 2)
    expected = np.where(2 * lam >= V, np.maximum(V - lam, 0), np.where(gamma * lam >= V, middle, V))
    np.testing.assert_allclose(SCAD(lam, gamma, scale=lam).prox(V, 1.0), expected, rtol=1e-13, atol=1e-15)


@concave
def test_surrogates_are_convex_and_of_the_same_strength(name, rng):
    function = make(name, 3)
    other = function.surrogate()
    assert not function.convex and other.convex and other.surrogate() is None
    V = rng.normal(size=(20, 3))
    if name == "sqrt":  # the same slope where the L1 norm is one
        V /= np.abs(V).sum(axis=1, keepdims=True)
        slope = (function.value(V * (1 + 1e-6)) - function.value(V)) / 1e-6
        np.testing.assert_allclose(other.value(V), slope, rtol=1e-5)
    else:  # the same slope at zero
        np.testing.assert_allclose(other.value(1e-9 * V), function.value(1e-9 * V), rtol=1e-7)
        assert (other.value(V) >= function.value(V)).all()


# --- polars and conjugates ---


@norms
def test_dual_norm_equals_bisection(name, rng):
    for V in batches(rng):
        function = make(name, V.shape[1])
        found = function.dual_norm(V)
        np.testing.assert_allclose(found, VectorFunction.dual_norm(function, V), rtol=1e-13)
        inside, outside = (function.prox(V, c) for c in (0.0, 1.0))
        assert np.array_equal(inside, V) and np.array_equal(outside.any(axis=1), found > 1)
        np.testing.assert_array_equal(function.dual_norm(0 * V), 0.0)


@pytest.mark.parametrize("positive", [False, True])
def test_polar_beside_an_l2_norm_takes_few_looks(positive, rng, monkeypatch):
    """It falls through zero where the prox is zero: half as many as where only the prox is asked."""
    looks, taut = [], Fused._taut
    monkeypatch.setattr(Fused, "_taut", lambda self, *args: looks.append(0) or taut(self, *args))
    for share in (1e-4, 0.1, 0.5, 1.0):
        function = Fused(0.7, l1_ratio=0.3 * (1 - share), group_ratio=share)
        V = np.cumsum(rng.normal(size=(5, 30)) * [[1e-6], [1.0], [1.0], [1e6], [0.0]], axis=1)
        prox = function._positive_prox if positive else function.prox
        wanted = least_strength(prox, V)
        looks.clear()
        found = function._positive_dual_norm(V) if positive else function.dual_norm(V)
        np.testing.assert_allclose(found, wanted, rtol=2e-15)
        assert len(looks) < 45


@pytest.mark.parametrize("ratio", [1e-3, 0.3, 1.0])
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_fused_dual_norm_is_attained_by_an_interval(length, ratio, rng):
    V = np.concatenate([rng.normal(size=(20, length)) + m for m in (-3, 0, 0.3)] + [np.zeros((1, length))])
    V[:10] = np.round(V[:10])
    function = Fused(0.7, l1_ratio=ratio, order=rng.permutation(length))
    ends = [(a, b) for b in range(1, length + 1) for a in range(b)]
    sets = np.array([np.isin(np.argsort(function.order), range(a, b)) for a, b in ends], dtype=float)
    ratios = (V @ sets.T) / function.value(sets)
    found, positive = function.dual_norm(V), function._positive_dual_norm(V)
    np.testing.assert_allclose(found, np.abs(ratios).max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(positive, np.maximum(ratios, 0).max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found, VectorFunction.dual_norm(function, V), rtol=1e-12)
    outside = Positive(Features(function)).prox(V.T / np.maximum(positive, 1e-3), 1 - 1e-9).T.any(axis=1)
    assert (outside == (positive > 1e-3)).all()


@pytest.mark.parametrize("ratio", [1e-12, 1e-3, 0.5, 0.999, 1 - 1e-6, 1 - 1e-10])
def test_sparse_dual_norm_keeps_its_digits(ratio, rng):
    """Also where all entries are nearly equal and the closed form cancels."""
    for n in (2, 30, 300):
        V = np.concatenate([1 + c * rng.normal(size=(50, n)) for c in (1.0, 1e-6, 1e-9, 0.0)])
        function = SparseL2(0.7, l1_ratio=ratio)
        np.testing.assert_allclose(function.dual_norm(V), VectorFunction.dual_norm(function, V), rtol=1e-14)


@norms
def test_dual_norm_bounds_inner_products(name, rng):
    for V in batches(rng):
        function = make(name, V.shape[1])
        U = rng.normal(size=V.shape)
        bound = function.dual_norm(V) * function.value(U)
        assert ((U * V).sum(axis=1) <= bound * (1 + 1e-13)).all()
        P = function.prox(V, 0.5 * function.dual_norm(V).min() + 0.1)
        S = V - P  # the bound is attained at a subgradient
        np.testing.assert_allclose(
            (S * P).sum(axis=1), function.dual_norm(S) * function.value(P), rtol=1e-9,
            atol=1e-12 * (V**2).sum(axis=1).max(),
        )  # fmt: skip


def test_polar_of_total_variation_leaves_the_mean_out(rng):
    for V in batches(rng, lengths=(2, 3, 5, 8)):
        function = make("tv", V.shape[1])
        assert function.free_constants and not make("fused", 4).free_constants
        size = function.dual_norm(V)
        # 1e-12: the mean is left out up to rounding only
        np.testing.assert_allclose(function.dual_norm(V + 3), size, rtol=1e-9, atol=1e-13)
        joined = function.prox(V, 1.0)
        np.testing.assert_array_equal(size <= 1 + 1e-12, np.ptp(joined, axis=1) <= 1e-12 * np.abs(V).max())
        U = rng.normal(size=V.shape)
        centred = V - V.mean(axis=1, keepdims=True)
        assert ((U * centred).sum(axis=1) <= size * function.value(U) * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", ["squared", "box", "box-loose", "box-tight", "box-free"])
@pytest.mark.parametrize("step", [1e-3, 0.3, 7.0])
def test_fenchel_young(name, step, rng):
    """f(u) + f*(s) >= <u, s>, with equality where s is a subgradient at u."""
    for V in batches(rng):
        function = make(name, V.shape[1])
        P = function.prox(V, step)
        S = (V - P) / step
        total = function.value(P) + function.conjugate(S)
        scale = (V**2).sum(axis=1) / step
        np.testing.assert_allclose(total, (S * P).sum(axis=1), rtol=1e-9, atol=1e-13 * max(scale.max(), 1))
        U = rng.normal(size=V.shape)
        young = function.value(U) + function.conjugate(V) - (U * V).sum(axis=1)
        assert (young >= -20 * EPS * ((V**2).sum(axis=1) + 1)).all()
    assert function.conjugate(np.array([[0.0, 0, 0, 0, 1], [0] * 5])).tolist()[1] == 0
    nothing = clone(function).set_params(alpha=0.0)
    np.testing.assert_array_equal(nothing.conjugate(np.array([[0.0, 0, 0, 0, 1], [0] * 5])), [np.inf, 0])
    assert make("l2", 3).conjugate(U) is None


# --- what all of them have in common ---


@every
def test_strength_and_edges(name, rng):
    for V in batches(rng, 50):
        function = make(name, V.shape[1])
        triple = clone(function).set_params(alpha=3 * function.alpha)
        np.testing.assert_allclose(triple.value(V), 3 * function.value(V), rtol=1e-14)
        np.testing.assert_allclose(triple.prox(V, 0.2), function.prox(V, 0.6), rtol=1e-11, atol=1e-13)
        same = function.prox(V, 0.0)
        np.testing.assert_array_equal(same, V)
        assert not np.shares_memory(same, V)
        zero = np.zeros((3, V.shape[1]))
        np.testing.assert_array_equal(function.value(zero), 0.0)
        np.testing.assert_array_equal(function.prox(zero, 1.0), 0.0)
        assert function.value(zero[:0]).shape == (0,) and function.prox(zero[:0], 1.0).shape == zero[:0].shape
        if not function.ordered:  # symmetric in entries and signs
            order, signs = rng.permutation(V.shape[1]), rng.choice([-1.0, 1.0], size=V.shape[1])
            np.testing.assert_allclose(function.value((signs * V)[:, order]), function.value(V), rtol=1e-14)
            moved = function.prox((signs * V)[:, order], 0.4)
            np.testing.assert_allclose(
                moved, (signs * function.prox(V, 0.4))[:, order], rtol=1e-11, atol=1e-13
            )
            assert function.value(np.zeros((1, 0))).tolist() == [0.0]  # a spectrum may be empty
            assert function.prox(np.zeros((1, 0)), 1.0).shape == (1, 0)


@norms
def test_norms_are_homogeneous(name, rng):
    for V in batches(rng, 50):
        function = make(name, V.shape[1])
        for c in (1e-3, 7.0):
            np.testing.assert_allclose(function.value(-c * V), c * function.value(V), rtol=1e-13)
            np.testing.assert_allclose(function.dual_norm(-c * V), c * function.dual_norm(V), rtol=1e-13)
            expected = c * function.prox(V, 0.4)
            np.testing.assert_allclose(
                function.prox(c * V, c * 0.4), expected, rtol=1e-10, atol=c * 1e-14 * np.abs(V).max()
            )


def test_neighbours_that_are_joined_are_exactly_equal(rng):
    """The taut string certifies itself: u = cumsum(v - x) touches its bound only where x jumps."""
    for n in (2, 3, 7, 40):
        for strength in (1e-3, 0.5, 1.0, 2.0, 30.0, 1e9):
            V = np.concatenate([rng.normal(size=(40, n)), np.round(3 * rng.normal(size=(40, n)))])
            X = Fused(1.0).prox(V, strength)
            U = np.cumsum(V - X, axis=1)
            jump, slack = np.diff(X, axis=1), strength - np.abs(U[:, :-1])
            rounding = 8 * EPS * n * (np.abs(V).max() + min(strength, n * np.abs(V).max()))
            assert (slack >= -rounding).all() and (np.abs(U[:, -1]) <= rounding).all()
            assert (np.abs(U[:, :-1] + strength * np.sign(jump))[jump != 0] <= rounding).all()
            assert not ((jump != 0) & (np.abs(jump) < 1e-15)).any()
            # positions where the string is strictly inside its tube do not jump at all
            assert (jump[slack > 10 * rounding] == 0).all()
    # decimal numbers: where the string just touches its tube, rounding alone would make it bend
    V = 0.1 * np.round(3 * rng.normal(size=(2000, 8)))
    for strength in 0.1 * np.arange(1, 8):
        jump = np.abs(np.diff(Fused(1.0).prox(V, strength), axis=1))
        assert not ((jump > 0) & (jump < 1e-12)).any()
    many = np.concatenate([np.full(5, 0.1), np.full(5, 0.7), np.full(6, -0.3)])[None, :]
    assert len(np.unique(Fused(1.0).prox(many + 1e-3 * rng.normal(size=(1, 16)), 0.1))) == 3


def test_order_of_the_positions(rng):
    V, order = rng.normal(size=(20, 6)), rng.permutation(6)
    plain, other = Fused(0.4, 0.2, 0.1), Fused(0.4, 0.2, 0.1, order=order)
    np.testing.assert_allclose(other.value(V), plain.value(V[:, order]), rtol=1e-14)
    np.testing.assert_array_equal(other.prox(V, 0.7)[:, order], plain.prox(V[:, order], 0.7))
    np.testing.assert_allclose(other.dual_norm(V), plain.dual_norm(V[:, order]), rtol=1e-14)
    np.testing.assert_allclose(
        Fused(0.4, order=order).dual_norm(V), Fused(0.4).dual_norm(V[:, order]), rtol=1e-14
    )
    assert repr(clone(other)) == repr(other)


@convex
@pytest.mark.parametrize("step", [0.2, 1.0, 30.0])
def test_positive_prox_has_no_better_neighbour(name, step, rng):
    for V in batches(rng):
        function = make(name, V.shape[1])
        penalty = Positive(Features(function))
        best = penalty.prox(V.T, step).T
        assert (best >= 0).all()
        size = np.abs(V).max(axis=1, keepdims=True)
        noise = rng.normal(size=(8, *V.shape))
        for U in [
            *(np.maximum(best + c * size * e, 0) for e in noise for c in (1e-3, 0.3)),
            np.maximum(V, 0),
        ]:
            gain = objective(function, V, U, step) - objective(function, V, best, step)
            scale = (U**2).sum(axis=1) + (V**2).sum(axis=1) + step * function.value(U)
            assert (gain - 0.5 * ((U - best) ** 2).sum(axis=1) >= -40 * EPS * scale).all()
        if name in NORMS:  # the least strength at which nothing is left
            V = V[rng.permutation(len(V))[:8]]
            size = np.array([penalty.dual_norm(-v[:, None]) for v in V])
            above, below = (
                np.array([penalty.prox(v[:, None], c * (1 + d)).any() for v, c in zip(V, size, strict=True)])
                for d in (1e-9, -1e-9)
            )
            assert not above.any() and (below == (V > 0).any(axis=1)).all()


# --- parameters ---


@pytest.mark.parametrize(
    "function, message",
    [
        (MCP(gamma=1.0), "gamma must be larger than 1; got 1.0"),
        (MCP(scale=0.0), "scale must be larger than 0; got 0.0"),
        (SCAD(gamma=2.0), "gamma must be larger than 2; got 2.0"),
        (SCAD(scale=-1.0), "scale must be larger than 0"),
        (CappedL1(gamma=0.0), "gamma must be larger than 0"),
        (CappedL1(scale=np.nan), "scale must be larger than 0; got nan"),
        (SparseL2(l1_ratio=1.1), "l1_ratio must be between 0 and 1; got 1.1"),
        (Box(low=2.0), "low and high must satisfy 0 <= low <= high; got 2.0 and 1.1"),
        (Box(low=0.5, budget=1.0), r"at least 3 \* low = 1.5 for vectors of length 3; got 1.0"),
        (Box(low=0.0, budget=0.0), "budget must be positive"),
        (Fused(l1_ratio=0.6, group_ratio=0.6), "l1_ratio and group_ratio must be >= 0 and together at most"),
        (Fused(l1_ratio=-0.1), "l1_ratio and group_ratio must be >= 0"),
        (Fused(order=[0, 1]), "order must hold each of 0, ..., 2 once"),
        (Fused(order=[0, 1, 1]), "order must hold each of 0, ..., 2 once"),
        (Tree(groups=[[0, 1], [1, 2]]), r"groups must be nested or disjoint; \[.*\] and \[.*\] overlap"),
        (Tree(groups=[[0, 1], [1, 2], [0, 1, 2]]), "groups must be nested or disjoint"),
        (Tree(groups=[[0, 3]]), r"positions 0, ..., 2; got \[0, 3\]"),
        (Tree(groups=[[-1]]), r"positions 0, ..., 2; got \[-1\]"),
        (Tree(groups=[[]]), r"positions 0, ..., 2; got \[\]"),
        (Tree(groups=[[0]], weights=[1.0, 2.0]), "one number >= 0 for each of 1 groups"),
        (Tree(groups=[[0]], weights=[-1.0]), "one number >= 0 for each of 1 groups"),
    ],
    ids=repr,
)
def test_parameters_out_of_range(function, message):
    for call in (lambda: function.value(np.ones((2, 3))), lambda: function.prox(np.ones((2, 3)), 1.0)):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_tree_that_leaves_positions_out_is_no_norm(rng):
    V = rng.normal(size=(5, 3))
    assert Features(Tree(groups=[[0], [1, 2]])).is_norm((3, 4))
    for tree in (Tree(groups=[[0, 1]]), Tree(groups=[[0, 1], [2]], weights=[1, 0])):
        assert np.isinf(tree.dual_norm(V)).all() and not Features(tree).is_norm((3, 4))
        np.testing.assert_array_equal(tree.prox(V, 1e9), V * [0, 0, 1])


def test_one_entry_at_a_time_all_norms_are_its_size(rng):
    W = rng.normal(size=(4, 3))
    for function in (LInf(0.3), SparseL2(0.3), Fused(0.6, l1_ratio=0.5), L2(0.3), Tree(0.3, [[0]])):
        np.testing.assert_allclose(Entries(function).prox(W, 0.8), Entries(L1(0.3)).prox(W, 0.8), rtol=1e-12)
        assert Entries(function).value(W) == pytest.approx(Entries(L1(0.3)).value(W), rel=1e-14)
