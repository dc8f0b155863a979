"""Compiled loops: equal to their Python source and to the NumPy prox, compiled once."""

import numpy as np
import pytest
from conftest import LAYOUTS, make_layout
from scipy import sparse

from skmtl import (
    GroupSparseRegressor,
    MeanRegularizedRegressor,
    MultiTaskLasso,
    MultiTaskRegressor,
    TaskStatistics,
    _kernels,
    warm_up,
)
from skmtl._batches import folds_of_rows
from skmtl.penalties import L1, L2, Entries, Features, Groups, LInf, Ridge, SparseL2
from skmtl.solvers._descent import Turn

PENALTIES = {
    "l1": Features(L1()), "l2": Features(L2()), "linf": Features(LInf()), "entries": Entries(L1()),
    "sparse": Features(SparseL2(l1_ratio=0.4)), "sparse-l1": Features(SparseL2(l1_ratio=1.0)),
}  # fmt: skip
FILES = _kernels._loops, _kernels._moments, _kernels._ridges, _kernels._tasks
KERNELS = {name: item for file in FILES for name, item in vars(file).items() if hasattr(item, "py_func")}
penalties = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
GROUPS = {
    "groups": Groups(L2(), [0, 0, 1, 2, 2, 2, 3]),
    "weights": Groups(SparseL2(), range(7), np.arange(1.0, 8) / 4),
}
on_blocks = pytest.mark.parametrize("penalty", {**PENALTIES, **GROUPS}.values(), ids=[*PENALTIES, *GROUPS])


def prox_args(rng, penalty, n_tasks):
    z, h = 2 * rng.normal(size=n_tasks), rng.uniform(0.1, 3.0, size=n_tasks)
    return z, h, n_tasks, *(float(rng.uniform(0.0, 2.0)) * penalty).kernel, np.full(n_tasks, np.nan)


def gram(rng, m, deficient):
    X = rng.normal(size=(m // 2 if deficient else 3 * m, m))
    X[:, -1] = 0.0  # a feature without variance
    return X.T @ X / len(X)


def descent_args(rng, penalty, shared, n_epochs=3):
    """Gram, scale, ridge, blocks, strengths, trails of the negative gradient Q and W, as kernels take them.

    The Gram matrices are diagonal inside the blocks.
    """
    m, n_tasks = 7, 3
    A = np.array([gram(rng, m, t == 0) for t in range(1 if shared else n_tasks)])
    A = Turn.of(A, penalty.blocks(m)[0]).gram(A)
    A = A[0] if shared else A
    W, scale, ridge = rng.normal(size=(n_tasks, m)), rng.uniform(0.5, 2.0, size=n_tasks), 0.1
    xy = np.array([(A if shared else A[t]) @ rng.normal(size=m) for t in range(n_tasks)])
    Q = negative_gradient(A, scale, ridge, xy, W)
    trails = [np.full((n_epochs + 1, *(V.T if shared else V).shape), np.nan) for V in (Q, W)]
    for trail, V in zip(trails, (Q, W), strict=True):
        trail[0] = V.T if shared else V
    return [A, scale, ridge, *penalty.blocks(m), *(0.3 * penalty).kernel, *trails], xy


def negative_gradient(A, scale, ridge, xy, W):
    fitted = W @ A if A.ndim == 2 else np.einsum("tij,tj->ti", A, W)
    return scale[:, None] * (xy - fitted) - ridge * W


def string_args(rng):
    """Arguments of the taut string of a batch, and of the knots of one vector."""
    Y = 2 * rng.normal(size=(6, 9))
    Y[3:] = np.round(Y[3:])
    strength = float(rng.choice([0.1, 1.0, 50.0]))
    work = np.zeros((2, 10), dtype=np.int64), np.zeros((2, 10)), np.zeros(11, dtype=np.int64), np.zeros(11)
    return (Y, strength, np.full(Y.shape, np.nan)), (Y[0], strength, *work)


def box_args(rng):
    """Arguments of the weights of a box norm."""
    V = np.round(2 * rng.normal(size=(6, 9)))
    V[:3] = rng.normal(size=(3, 9))
    return V, float(rng.choice([0.0, 0.5, 50.0])), 0.1, 1.1, 3.0, np.full(V.shape, np.nan)


TREE = [range(8), range(4), [4, 5], [2, 3]]


def tree_args(rng):
    """Arguments of the sweep over TREE: nested groups of 9 positions, the last one in none of them."""
    V = rng.normal(size=(5, 9))
    V[0], V[1, 0] = 0.0, np.nan
    holder, parent = np.array([1, 1, 3, 3, 2, 2, 0, 0, -1]), np.array([-1, 0, 0, 1])
    strength = float(rng.choice([0.0, 0.3, 1.0]))
    return V, holder, parent, rng.uniform(0.0, 2.0, size=4), strength, np.empty(V.shape), np.empty(5)


def polar_args(rng):
    """The same for its polar: some positions weigh on their own, that in no group always does."""
    V, holder, parent, weight, *_ = tree_args(rng)
    return V, np.append(rng.choice([0.0, 0.4], size=8), 0.7), holder, parent, weight, np.full(5, -1.0)


def labelled_rows(rng, sizes=(5, 1, 17, 300), p=4):
    """Rows of tasks, read only as the caller passes them."""
    n, bounds = sum(sizes), np.cumsum([0, *sizes])
    weight = rng.uniform(0.5, 2.0, size=n)
    weight[:5] = 0.0  # all of the first task
    return [*map(frozen, (1e3 + rng.normal(size=(n, p)), rng.normal(size=n), weight, bounds))]


def moments_args(rng, p=4):
    """The same, and room for their moments."""
    return *labelled_rows(rng, p=p), *map(np.zeros, [(4, p), 4, (4, p, p), (4, p), 4])


def cells_args(rng, p=4, n_folds=3):
    """The same with their places, a number of folds, and room for sums over the cells."""
    C, q = 4 * n_folds, (p + 3) // 3 * 3
    room = map(np.zeros, [C, C, (C, p + 1), (C, q, q)])
    return *labelled_rows(rng, p=p), frozen(rng.permutation(4)), n_folds, *room


def bits_args(rng):
    """Numbers, read only, some of them zero or not a number, and sums of their bits."""
    values = rng.normal(size=20)
    values[:4] = 0.0, -0.0, np.nan, np.inf
    return frozen(values), np.uint64(3), np.zeros(20, dtype=np.uint64)


def inverses_args(rng, p=5):
    """Blocks of three tasks, one of them with dependent features, and room for their inverses."""
    xx = np.array([gram(rng, p, deficient) for deficient in (False, False, True)])
    xx[0, -1, -1] += 1.0
    scale, kappa = rng.uniform(0.5, 2.0, size=3), np.array([0.0, 0.7, 0.3])
    return (
        xx,
        scale,
        kappa,
        rng.normal(size=(3, p)),
        np.array([0.0, 0.4, 1e-3]),
        np.empty((3, p, p)),
        np.empty(3),
    )


def intercepts_args(rng):
    """What is left of the rows of three tasks, weights (one is zero), bounds of slopes, and a start."""
    left, weight, bounds = 3 * rng.normal(size=9), rng.uniform(0.5, 1.0, size=9), np.array([0, 4, 5, 9])
    weight[2], high = 0.0, np.where(rng.random(9) < 0.5, np.inf, 0.5)
    known = [frozen(values) for values in (left, weight, np.full(9, -0.5), high, bounds)]
    return *known, float(rng.choice([0.0, 0.1, 10.0])), rng.normal(size=3)


def adam_args(rng, dtype):
    """Parameters, gradient, both averages and the numbers of a step, all of one precision."""
    vectors = [rng.normal(size=50) for _ in range(3)] + [rng.uniform(0.1, 1.0, size=50)]
    return *(v.astype(dtype) for v in vectors), *map(dtype, (0.1, 0.001, 0.01, 1e-8))


def layer_args(rng, dtype, rows):
    """Values of a layer of two groups, and one or as many rows to go with them."""
    return rng.normal(size=(2, 5, 7)).astype(dtype), rng.normal(size=(2, rows, 7)).astype(dtype)


def pulls_args(rng, p=4):
    """Rows of three tasks, forms of the variances of their predictors, and room for sums."""
    X, bounds, Q = rng.normal(size=(12, p)), np.array([0, 5, 6, 12]), rng.normal(size=(3, p, p))
    known = X, bounds, rng.normal(size=(3, p)), rng.normal(size=3), rng.normal(size=(3, p)), Q
    known = [*known, rng.normal(size=12)]
    for A in known:
        A.flags.writeable = False
    return *known, np.zeros((3, p)), np.zeros(3)


def thin_args(rng, p=6):
    """Rows of four tasks, of one without any and of one with a row twice, and their second moments."""
    rows, bounds = rng.normal(size=(9, p)), np.array([0, 3, 3, 5, 9])
    rows[8] = rows[7]
    bounds.flags.writeable = False
    xx = np.array([own.T @ own for own in np.split(rows, bounds[1:-1])])
    return rows, bounds, xx


def products_args(rng):
    """Thin rows and their images, and room for products."""
    rows, bounds, _ = thin_args(rng)
    return rows, rng.normal(size=(9, 3)), bounds, np.full(rows.shape, np.nan)


def times_args(rng):
    """Thin rows, the tasks of five vectors, these, and room for what is left of them."""
    rows, bounds, _ = thin_args(rng)
    known = np.array([3, 0, 1, 2, 3]), rng.normal(size=(5, 6))
    for A in known:
        A.flags.writeable = False
    return rows, bounds, *known, np.full((5, 6), np.nan)


def roots_args(rng):
    """Second moments of thin rows and targets, where each task has its rows, and room for these."""
    rows, bounds, xx = thin_args(rng)
    parts = bounds[1:-1]
    y = rng.normal(size=9)
    xy = np.array([own.T @ q for own, q in zip(np.split(rows, parts), np.split(y, parts), strict=True)])
    xx.flags.writeable = xy.flags.writeable = False
    return xx, xy, bounds, np.zeros((9, 6)), np.zeros(9)


def gains_args(rng):
    """Thin rows and targets, and room for answers."""
    rows, bounds, _ = thin_args(rng)
    return rows, rng.normal(size=9), bounds, np.full((4, 6), np.nan)


def rows_args(rng, sizes=(2, 1, 5, 9, 40), p=6):
    """Rows of tasks with fewer and with more of them than features, and their bounds."""
    rows = [rng.normal(size=(sum(sizes), p)), np.cumsum([0, *sizes])]
    for values in rows:
        values.flags.writeable = False
    return rows


def images_args(rng):
    """Rows of two tasks in any order, coefficients, and room for predictors."""
    known = rng.normal(size=(9, 4)), rng.integers(0, 2, size=9), rng.normal(size=(2, 4))
    for values in known:
        values.flags.writeable = False
    return *known, np.full(9, np.nan)


def curvatures_args(rng):
    X, bounds, weight, out = sums_args(rng)
    center, W = frozen(rng.normal(size=out.shape)), frozen(rng.normal(size=out.shape))
    return X, frozen(np.abs(weight)), bounds, center, W, out


def sums_args(rng):
    """Rows of tasks, a number for each, and room for sums."""
    X, bounds = rows_args(rng)
    R = rng.normal(size=len(X))
    R.flags.writeable = False
    return X, bounds, R, np.full((5, 6), np.nan)


def factors_args(rng, centred=True):
    """Rows of tasks, some with one more for a tied intercept, and room for factors, a sum and rows."""
    (X, bounds), p = rows_args(rng), 6
    pull = np.array([0.0, 0.7, 0.3, 0.0, 0.4])
    m = np.minimum(np.diff(bounds) + (pull > 0), p)
    places = np.concatenate([[0], np.cumsum(m * (m + 1) // 2)])
    known = rng.uniform(0.5, 1.0, size=len(X)), pull, rng.normal(size=p), places
    for values in known:
        values.flags.writeable = False
    room = np.full((5, p), np.nan), np.full(places[-1], np.nan), np.zeros((p, p)), np.zeros((m.sum(), p))
    return X, known[0], bounds, centred, *known[1:], *room


def solutions_args(rng, centred=True):
    """The same with factors, and vectors to be solved for."""
    args = factors_args(rng, centred)
    _kernels.task_factors(*args)
    X, root, bounds, _, pull, common, places, center, factors, *_ = args
    V = rng.normal(size=center.shape)
    for values in (factors, V):
        values.flags.writeable = False
    return X, root, bounds, pull, common, places, center, factors, V, np.full(V.shape, np.nan)


def ridges_args(rng, curved=True):
    """Rows of tasks, fewer than features and more, a variance of zero among theirs, and room."""
    (X, bounds), p = rows_args(rng), 6
    known = rng.uniform(0.5, 1.0, size=len(X)), rng.normal(size=len(X)), bounds, rng.normal(size=(5, p))
    for values in known:
        values.flags.writeable = False
    root, empty = np.append(rng.uniform(size=p - 1), 0.0), (p, p) if curved else (0, 0)
    return X, *known, root, np.full((5, p), np.nan), np.zeros(p), np.zeros(empty)


def frozen(A):
    """The array, read only."""
    A.flags.writeable = False
    return A


def alike(A):
    """A copy, read only where the array is."""
    return np.array(A) if A.flags.writeable else frozen(np.array(A))


ARGS = {
    "row_images": lambda rng, penalty: images_args(rng),
    "task_sums_of_rows": lambda rng, penalty: sums_args(rng),
    "task_curvatures": lambda rng, penalty: curvatures_args(rng),
    "task_factors": lambda rng, penalty: factors_args(rng),
    "task_solutions": lambda rng, penalty: solutions_args(rng),
    "task_ridges": lambda rng, penalty: ridges_args(rng),
    "_system_of_rows": lambda rng, penalty: (
        rng.normal(size=(3, 8)),
        3,
        rng.normal(size=3),
        rng.uniform(size=5),
        np.zeros((3, 8)),
        np.zeros((3, 3)),
        np.zeros((3, 6)),
    ),
    "_system_of_features": lambda rng, penalty: (
        rng.normal(size=(8, 8)),
        7,
        rng.normal(size=8),
        rng.uniform(size=5),
        np.zeros((5, 5)),
        np.zeros((6, 6)),
        np.zeros((6, 6)),
    ),
    "_back_substituted": lambda rng, penalty: (
        rng.uniform(1, 2, (4, 4)),
        4,
        rng.normal(size=(4, 3)),
        np.zeros(4),
    ),
    "_weighted_rows": lambda rng, penalty: (
        frozen(rng.normal(size=(5, 3))),
        frozen(rng.uniform(size=5)),
        1,
        3,
        rng.normal(size=3),
        np.zeros((4, 8)),
    ),
    "_mean_of_rows": lambda rng, penalty: (
        frozen(rng.normal(size=(5, 3))),
        frozen(rng.uniform(size=5)),
        1,
        3,
        np.zeros(3),
    ),
    "_tied_row": lambda rng, penalty: (rng.normal(size=3), frozen(np.ones(3)), 0.7, np.zeros(3)),
    "_factor_of_rows": lambda rng, penalty: (
        rng.normal(size=(6, 8)),
        4,
        np.zeros((6, 6)),
        np.zeros((6, 6)),
    ),
    "_factor_of_moments": lambda rng, penalty: (gram(rng, 5, False), np.zeros((5, 5)), np.zeros((5, 5))),
    "_pack": lambda rng, penalty: (rng.normal(size=(4, 4)), 3, 2, np.zeros(9)),
    "_by_factor": lambda rng, penalty: (frozen(rng.uniform(1, 2, size=9)), 2, 3, rng.normal(size=3)),
    "_add_squares": lambda rng, penalty: (rng.normal(size=(6, 7)), 6, np.zeros((7, 7))),
    "_eliminated": lambda rng, penalty: (gram(rng, 4, False), 4, rng.normal(size=(4, 5))),
    "clipped_intercepts": lambda rng, penalty: intercepts_args(rng),
    "_clipped_root": lambda rng, penalty: (*intercepts_args(rng)[:4], 0, 4, 0.3, 0.7, 2.0),
    "thin_roots": lambda rng, penalty: roots_args(rng),
    "thin_gains": lambda rng, penalty: gains_args(rng),
    "thin_times": lambda rng, penalty: times_args(rng),
    "thin_products": lambda rng, penalty: products_args(rng),
    "pulls_of_variances": lambda rng, penalty: pulls_args(rng),
    "relu_double": lambda rng, penalty: layer_args(rng, np.float64, 1),
    "relu_single": lambda rng, penalty: layer_args(rng, np.float32, 1),
    "relu_back_double": lambda rng, penalty: layer_args(rng, np.float64, 5),
    "relu_back_single": lambda rng, penalty: layer_args(rng, np.float32, 5),
    "adam_double": lambda rng, penalty: adam_args(rng, np.float64),
    "adam_single": lambda rng, penalty: adam_args(rng, np.float32),
    "_block_prox": lambda rng, penalty: prox_args(rng, penalty, 5),
    "_block_prox_linf": lambda rng, penalty: (*prox_args(rng, penalty, 5)[:3], 1.0, np.full(5, np.nan)),
    "descend_shared": lambda rng, penalty: descent_args(rng, penalty, True)[0],
    "descend_separate": lambda rng, penalty: descent_args(rng, penalty, False)[0],
    "taut_string": lambda rng, penalty: string_args(rng)[0],
    "box_weights": lambda rng, penalty: box_args(rng),
    "_clipped_line": lambda rng, penalty: (
        *rng.random((2, 5)),
        rng.random(10),
        0.7,
        0.3,
        0.1,
        1.1,
        np.zeros(5),
    ),
    "_string_knots": lambda rng, penalty: string_args(rng)[1],
    "_mean_slope": lambda rng, penalty: (*(rng.normal(size=6), 0.7), np.array([0, 2, 6]), np.ones(3), 0, 2),
    "tree_sweep": lambda rng, penalty: tree_args(rng),
    "tree_polar": lambda rng, penalty: polar_args(rng),
    "_left_of_tree": lambda rng, penalty: (rng.normal(size=9), 2.0, *polar_args(rng)[1:5], 0.3, np.empty(4)),
    "task_moments": lambda rng, penalty: moments_args(rng),
    "add_moments": lambda rng, penalty: cells_args(rng),
    "_means": lambda rng, penalty: (*labelled_rows(rng)[:3], np.arange(6, 20), np.full(5, np.nan)),
    "_add_rows": lambda rng, penalty: (
        *labelled_rows(rng)[:3],
        np.arange(6, 40),
        rng.normal(size=5),
        0.7,
        rng.normal(size=(6, 16)),
        np.zeros((6, 6)),
    ),
    "_sizes": lambda rng, penalty: (labelled_rows(rng)[3],),
    "sorted_places": lambda rng, penalty: (frozen(rng.integers(3, size=20)), np.array([0, 20, 40])),
    "scatter_rows": lambda rng, penalty: (
        frozen(rng.normal(size=(3, 6))),
        frozen(rng.permutation(6)),
        np.zeros((6, 3)),
    ),
    "_mixed": lambda rng, penalty: (np.uint64(7),),
    "_fill_keys": lambda rng, penalty: (np.zeros(4, dtype=np.uint64), np.zeros(4, dtype=np.uint64)),
    "_add_hashes_by_keys": lambda rng, penalty: (
        bits_args(rng)[0].reshape(5, 4),
        *rng.integers(2**32, size=(2, 4), dtype=np.uint64),
        np.uint64(7),
        np.zeros(5, dtype=np.uint64),
    ),
    "add_hashes": lambda rng, penalty: bits_args(rng),
    "add_hashes_of_rows": lambda rng, penalty: (
        bits_args(rng)[0].reshape(5, 4),
        np.zeros(5, dtype=np.uint64),
    ),
    "_bits": lambda rng, penalty: (0.7, np.uint64(7), np.uint64(2**32 - 5), np.uint64(2**31)),
    "folds_of_hashes": lambda rng, penalty: (rng.integers(2**64, size=9, dtype=np.uint64), np.uint64(5)),
    "_add_products": lambda rng, penalty: (rng.normal(size=(6, 20)), 17, rng.normal(size=(6, 6))),
    "task_inverses": lambda rng, penalty: inverses_args(rng),
}


def test_every_kernel_is_tested():
    assert set(ARGS) == set(KERNELS)


def test_warm_up_knows_every_kernel_that_python_calls():
    assert set(warm_up()) == set(_kernels.SIGNATURES) == {name for name in KERNELS if name[0] != "_"}


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_equals_its_source(name):
    for penalty in PENALTIES.values():
        rng = np.random.default_rng(0)
        for _ in range(10):
            assert_equals_its_source(name, ARGS[name](rng, penalty))


def assert_equals_its_source(name, args):
    other = [alike(a) if isinstance(a, np.ndarray) else a for a in args]
    one = KERNELS[name](*args)
    with np.errstate(over="ignore"):  # of unsigned integers
        two = KERNELS[name].py_func(*other)
    assert (one is None and two is None) or one == pytest.approx(two, rel=1e-12)
    for a, b in zip(args, other, strict=True):
        rounding = {"rtol": 1e-5, "atol": 1e-6} if np.asarray(a).dtype == np.float32 else {"rtol": 1e-10}
        np.testing.assert_allclose(a, b, **{"atol": 1e-12, **rounding})


@penalties
@pytest.mark.parametrize("n_tasks", [1, 2, 5])
def test_block_prox_minimises(penalty, n_tasks, rng):
    """Strongly convex: the excess at any point bounds the distance. With equal h it is the NumPy prox."""
    for _ in range(50):
        z, h, n, *strengths, out = prox_args(rng, penalty, n_tasks)
        KERNELS["_block_prox"](z, h, n, *strengths, out)
        strength = sum(strengths)

        def objective(w, z=z, h=h, strength=strength):
            return (h / 2 * w**2 - z * w).sum() + strength * penalty.value(w[:, None])

        for w in (z / h, np.zeros(n_tasks), *(out + rng.normal(size=(5, n_tasks)) * 0.1)):
            assert objective(w) - objective(out) >= (h / 2 * (w - out) ** 2).sum() - 1e-13
        slope = (z - h * out)[:, None]  # a subgradient of strength f, aligned with the solution
        assert penalty.dual_norm(slope) <= strength * (1 + 1e-12)
        assert slope[:, 0] @ out == pytest.approx(
            strength * penalty.value(out[:, None]), rel=1e-11, abs=1e-13
        )
        even = np.full(n_tasks, h[0])
        KERNELS["_block_prox"](z, even, n, *strengths, out)
        expected = penalty.prox(z[:, None] / h[0], strength / h[0])[:, 0]
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-14)


@penalties
def test_block_prox_at_the_edges(penalty):
    out = np.full(3, 7.0)
    one, zero = np.ones(3), np.zeros(3)
    cases = [
        (zero, one, 1.0, zero),
        (zero, zero, 1.0, zero),
        (zero, zero, 0.0, zero),
        (one, 2 * one, 0.0, one / 2),
        (one, one, 1e300, zero),
        (1e-100 * one, one, 0.0, 1e-100 * one),
        (np.nan * one, one, 1.0, np.nan * one),  # visible, not taken for zero
    ]
    for z, h, strength, expected in cases:
        KERNELS["_block_prox"](z, h, 3, *(strength * penalty).kernel, out)
        np.testing.assert_allclose(out, expected, rtol=1e-10)


@on_blocks
@pytest.mark.parametrize("shared", [True, False])
def test_epochs_descend_to_the_optimum_with_an_exact_gradient(penalty, shared, rng):
    args, xy = descent_args(rng, penalty, shared, n_epochs=600)
    A, scale, ridge = args[:3]
    (_kernels.descend_shared if shared else _kernels.descend_separate)(*args)
    linear, before = scale[:, None] * xy, np.inf
    for e, (Q, W) in enumerate(zip(*args[-2:], strict=True)):
        w, q = (W.T, Q.T) if shared else (W, Q)
        if e < 20:
            np.testing.assert_allclose(q, negative_gradient(A, scale, ridge, xy, w), atol=1e-12)
        value = -0.5 * np.vdot(w, linear + q) + 0.3 * penalty.value(w)  # without its constant
        assert value <= before + 1e-12
        before = value
    np.testing.assert_allclose(args[-1][-1], args[-1][-2], atol=1e-9)
    np.testing.assert_allclose(penalty.prox(w + q, 0.3), w, atol=1e-6)


@on_blocks
def test_both_orders_in_memory_give_the_same_epochs(penalty, rng):
    (A, *rest, Q, W), _ = descent_args(rng, penalty, True)
    Q_by_task, W_by_task = (np.ascontiguousarray(V.transpose(0, 2, 1)) for V in (Q, W))
    _kernels.descend_shared(A, *rest, Q, W)
    _kernels.descend_separate(A[None], *rest, Q_by_task, W_by_task)
    np.testing.assert_allclose(W_by_task.transpose(0, 2, 1), W, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(Q_by_task.transpose(0, 2, 1), Q, rtol=1e-10, atol=1e-12)


@on_blocks
def test_an_epoch_without_room_for_its_gradient_is_the_same(penalty, rng):
    (*rest, Q, W), _ = descent_args(rng, penalty, True, n_epochs=3)
    short, own = Q[:-1].copy(), W.copy()
    _kernels.descend_shared(*rest, Q, W)
    _kernels.descend_shared(*rest, short, own)
    np.testing.assert_array_equal(own, W)
    np.testing.assert_array_equal(short[:-1], Q[:-2])


def test_tree_sweep_shrinks_group_after_group(rng):
    for _ in range(20):
        V, holder, parent, weight, strength, out, total = tree_args(rng)
        V = np.nan_to_num(V)
        _kernels.tree_sweep(V, holder, parent, weight, strength, out, total)
        expected, norms = V.copy(), 0.0
        for group, own in zip(TREE[::-1], weight[::-1], strict=True):
            size = np.linalg.norm(expected[:, group], axis=1)
            norms = norms + own * size
            expected[:, group] *= (np.maximum(size - strength * own, 0.0) / np.maximum(size, 1e-300))[:, None]
        np.testing.assert_allclose(out, expected, atol=1e-14)
        np.testing.assert_allclose(total, norms, rtol=1e-14)
        assert strength < 1 or (out[:, :8] == 0).any()


def test_tree_polar_is_the_least_strength_that_leaves_nothing(rng):
    for scale in np.geomspace(1e-200, 1e200, 40):
        V, own, *tree, out = polar_args(rng)
        _kernels.tree_polar(scale * V, own, *tree, out)
        assert out[0] == 0 and np.isnan(out[1])
        for v, c in zip(V[2:], out[2:] / scale, strict=True):
            below, above = (_kernels._loops._left_of_tree(v, 1.0, own, *tree, f * c, np.empty(4))
                            for f in (1 - 1e-14, 1 + 1e-15))  # fmt: skip
            assert above <= 0 < below
    own[-1] = 0.0  # of a position in no group
    _kernels.tree_polar(V, own, *tree, out)
    assert np.isinf(out[2:]).all()


def moments_of(x, y, w):
    """Sum of weights, means and second moments of [x, y] by their formulas; of no weight zeros."""
    Z = np.column_stack([x, y])
    mean = np.average(Z, axis=0, weights=w) if w.any() else Z[0]
    return w.sum(), mean, ((Z - mean).T * w) @ (Z - mean)


@pytest.mark.parametrize("p", [1, 4, 7])
def test_task_moments_equal_their_formulas(p, rng):
    """With more rows than a block holds, one row, or no weight."""
    X, y, weight, bounds, *found = moments_args(rng, p=p)
    _kernels.task_moments(X, y, weight, bounds, *found)
    for t, rows in enumerate(map(slice, bounds[:-1], bounds[1:])):
        _, mean, S = moments_of(X[rows], y[rows], weight[rows])
        for own, value in zip(found, (mean[:p], mean[p], S[:p, :p], S[:p, p], S[p, p]), strict=True):
            np.testing.assert_allclose(own[t], value, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(found[2][t], found[2][t].T)


@pytest.mark.parametrize("n_folds", [1, 3])
@pytest.mark.parametrize("p", [1, 4, 7])
def test_moments_of_folds_are_added_up(p, n_folds, rng):
    """Of tasks in two parts, with more rows than a block holds, one row, or no weight."""
    X, y, weight, bounds, at, _, *found = cells_args(rng, p, n_folds)
    middle, fold = (bounds[:-1] + bounds[1:]) // 2, np.zeros(len(y), dtype=int)
    if n_folds > 1:
        fold = folds_of_rows(X, y, n_folds)
    for own in (bounds[:-1], middle), (middle, bounds[1:]):
        rows = np.concatenate([np.arange(*each) for each in zip(*own, strict=True)])
        sizes = np.cumsum([0, *(own[1] - own[0])])
        some = [frozen(values[rows]) for values in (X, y, weight)]
        _kernels.add_moments(*some, frozen(sizes), at, n_folds, *found)
    for t, rows in enumerate(map(slice, bounds[:-1], bounds[1:])):
        for k in range(n_folds):
            own, cell = fold[rows] == k, at[t] * n_folds + k
            assert found[0][cell] == own.sum()
            if own.any():
                x, z, w = X[rows][own], y[rows][own], weight[rows][own]
                total, mean, S = moments_of(x, z, w)
                np.testing.assert_allclose(found[1][cell], total, rtol=1e-9)
                if w.any():
                    np.testing.assert_allclose(found[2][cell], mean, rtol=1e-9, atol=1e-9)
                upper = np.triu(found[3][cell])[: p + 1, : p + 1]
                np.testing.assert_allclose(upper, np.triu(S), rtol=1e-9, atol=1e-9)


def test_rows_are_scattered_in_the_stable_order_of_their_codes(rng):
    codes, columns = rng.integers(5, size=40), rng.normal(size=(3, 40))
    counts, out = np.bincount(codes, minlength=5), np.empty((40, 3))
    at = _kernels.sorted_places(frozen(codes), counts.cumsum() - counts)
    _kernels.scatter_rows(frozen(columns), frozen(at), out)
    np.testing.assert_array_equal(out, columns.T[np.argsort(codes, kind="stable")])


@pytest.mark.parametrize("centred", [True, False])
def test_factors_of_rows_equal_their_formulas(centred, rng):
    """Of tasks with fewer rows than features, as many, and more, with and without a row for the intercept."""
    *known, places, center, factors, total, reduced = factors_args(rng, centred)
    X, root, bounds, _, pull, common = known
    n = _kernels.task_factors(*known, places, center, factors, total, reduced)
    total += reduced[:n].T @ reduced[:n]
    factors.flags.writeable = False
    V, out, explained = rng.normal(size=(5, 6)), np.full((5, 6), np.nan), np.zeros((6, 6))
    V.flags.writeable = False
    _kernels.task_solutions(X, root, bounds, pull, common, places, center, factors, V, out)
    for t, rows in enumerate(map(slice, bounds[:-1], bounds[1:])):
        w = root[rows]
        mean = np.average(X[rows], axis=0, weights=w**2) if centred else np.zeros(6)
        G = np.vstack([w[:, None] * (X[rows] - mean), pull[t] * (mean + common)])
        inverse = np.linalg.inv(np.eye(6) + G.T @ G)
        explained += np.eye(6) - inverse
        np.testing.assert_allclose(center[t], mean, atol=1e-14)
        np.testing.assert_allclose(out[t], inverse @ V[t], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(np.triu(total), np.triu(explained), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("curved", [True, False])
def test_ridges_of_tasks_equal_their_formulas(curved, rng):
    X, weight, y, bounds, center, root, slopes, squares, H = args = ridges_args(rng, curved)
    loss = _kernels.task_ridges(*args)
    losses, curvature = 0.0, np.zeros(H.shape)
    for t, rows in enumerate(map(slice, bounds[:-1], bounds[1:])):
        w = np.sqrt(weight[rows])
        Z = w[:, None] * (X[rows] - center[t])
        inverse = np.linalg.inv(np.eye(len(Z)) + Z * root**2 @ Z.T)
        r = inverse @ (w * y[rows])
        losses += r @ r
        np.testing.assert_allclose(slopes[t], Z.T @ r, rtol=1e-11, atol=1e-12)
        curvature += np.outer(slopes[t], slopes[t]) * (Z.T @ inverse @ Z) if curved else 0.0
    np.testing.assert_allclose(loss, losses, rtol=1e-12)
    np.testing.assert_allclose(squares, (slopes**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(H, np.triu(curvature), rtol=1e-11, atol=1e-11)


def test_products_of_rows_with_coefficients_of_their_tasks(rng):
    X, codes, W, out = images_args(rng)
    _kernels.row_images(X, codes, W, out)
    np.testing.assert_allclose(out, (X * W[codes]).sum(axis=1), rtol=1e-13)
    X, bounds, R, out = sums_args(rng)
    _kernels.task_sums_of_rows(X, bounds, R, out)
    np.testing.assert_allclose(out, np.add.reduceat(X * R[:, None], bounds[:-1]), rtol=1e-12, atol=1e-13)


def test_curvature_of_every_task_from_its_rows(rng):
    X, weight, bounds, center, W, out = curvatures_args(rng)
    _kernels.task_curvatures(X, weight, bounds, center, W, out)
    for t, rows in enumerate(map(slice, bounds[:-1], bounds[1:])):
        Z = X[rows] - center[t]
        np.testing.assert_allclose(out[t], Z.T @ (weight[rows] * (Z @ W[t])), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("p", [2, 5, 8])
def test_task_inverses_and_what_has_none(p, rng):
    xx, scale, kappa, means, shift, out, size = inverses_args(rng, p)
    xx[2], kappa[2], shift[2] = np.diag(np.arange(p) - 0.5), 0.0, 0.0  # not definite
    _kernels.task_inverses(xx, scale, kappa, means, shift, out, size)
    assert np.isinf(size[2]) and np.isfinite(size[:2]).all()
    assert np.isnan(_kernels.task_inverses(xx, scale, kappa, means, shift, out, size))
    for t in range(2):
        block = scale[t] * xx[t] + kappa[t] * np.outer(means[t], means[t]) + shift[t] * np.eye(p)
        np.testing.assert_allclose(out[t] @ block, np.eye(p), atol=1e-10)
        assert size[t] == pytest.approx((np.diag(block) * np.diag(np.linalg.inv(block))).max(), rel=1e-8)
    shared, kappa[:] = xx[:1], 0.0
    _kernels.task_inverses(shared, scale, kappa, means, shift + 0.1, out, size)
    np.testing.assert_allclose(out[1], np.linalg.inv(scale[1] * xx[0] + 0.5 * np.eye(p)), atol=1e-10)
    blocks = scale[:, None, None] * xx[:1] + (shift[:, None, None] + 0.1) * np.eye(p)
    determinant = _kernels.task_inverses(blocks, np.ones(3), kappa, means, np.zeros(3), out, size)
    assert determinant == pytest.approx(np.linalg.slogdet(blocks)[1].sum(), rel=1e-12)


def test_thin_inverses_equal_their_formulas(rng):
    xx, xy, bounds, roots, targets = roots_args(rng)
    assert _kernels.thin_roots(xx, xy, bounds, roots, targets) < 1e-14
    rows, size, answers = roots.copy(), 0.0, np.full(xy.shape, np.nan)
    determinant = _kernels.thin_gains(rows, targets.copy(), bounds, answers)
    for t, own in enumerate(map(slice, bounds[:-1], bounds[1:])):
        np.testing.assert_allclose(roots[own].T @ roots[own], xx[t], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(roots[own].T @ targets[own], xy[t], rtol=1e-12, atol=1e-12)
        inverse = np.linalg.inv(np.eye(6) + xx[t])
        np.testing.assert_allclose(np.eye(6) - rows[own].T @ rows[own], inverse, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(answers[t], inverse @ xy[t], rtol=1e-11, atol=1e-12)
        size += np.linalg.slogdet(np.eye(6) + xx[t])[1]
    assert determinant == pytest.approx(size, rel=1e-12)
    short = np.array([0, 2, 2, 4, 7])  # a row of each task too few
    short.flags.writeable = False
    assert _kernels.thin_roots(xx, xy, short, np.zeros((7, 6)), np.zeros(7)) > 1e-3
    _, _, places, V, out = times_args(rng)
    _kernels.thin_times(rows, bounds, places, V, out)
    for v, place, found in zip(V, places, out, strict=True):
        np.testing.assert_allclose((np.eye(6) + xx[place]) @ found, v, atol=1e-11)


def test_answers_of_large_rows_lose_no_digits(rng):
    rows, targets, bounds, answers = gains_args(rng)
    rows[8] = rng.normal(size=6)
    rows *= 1e6
    given = rows.copy(), targets.copy()
    _kernels.thin_gains(rows, targets, bounds, answers)
    for t, own in enumerate(map(slice, bounds[:-1], bounds[1:])):
        G, q = given[0][own], given[1][own]
        wanted = G.T @ np.linalg.solve(np.eye(len(G)) + G @ G.T, q)
        np.testing.assert_allclose(answers[t], wanted, rtol=1e-9)


def test_thin_products_equal_their_formulas(rng):
    rows, images, bounds, out = products_args(rng)
    _kernels.thin_products(rows, images, bounds, out)
    for own in map(slice, bounds[:-1], bounds[1:]):
        B, P = rows[own], images[own]
        np.testing.assert_allclose(out[own], P @ P.T @ B, rtol=1e-12, atol=1e-12)


def test_pulls_of_variances_equal_their_formulas(rng):
    X, bounds, means, e, f, Q, third, xy, sums = pulls_args(rng)
    _kernels.pulls_of_variances(X, bounds, means, e, f, Q, third, xy, sums)
    for t, rows in enumerate(map(slice, bounds[:-1], bounds[1:])):
        x = X[rows] - means[t]
        own = third[rows] * (e[t] + 2 * x @ f[t] + np.einsum("ij,jk,ik->i", x, Q[t], x))
        np.testing.assert_allclose(xy[t], own @ x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(sums[t], own.sum(), rtol=1e-12, atol=1e-12)


def test_taut_string_is_certified_by_its_string(rng):
    """The string stays in its tube, is tied at its ends and touches a wall where it bends, at that side."""
    for n in (1, 2, 3, 10, 300):
        for strength in (1e-6, 0.3, 1.0, 10.0, 1e9):
            Y = np.concatenate([rng.normal(size=(30, n)), np.round(rng.normal(size=(30, n)))])
            X = np.full(Y.shape, np.nan)
            _kernels.taut_string(Y, strength, X)
            string = np.cumsum(X - Y, axis=1)
            bend, rounding = np.diff(X, axis=1), 1e-15 * n * (np.abs(Y).max() * n + min(strength, n))
            assert (np.abs(string[:, -1]) <= rounding).all()
            assert (np.abs(string[:, :-1]) <= strength + rounding).all()
            touched = string[:, :-1] - strength * np.sign(bend)
            assert (np.abs(touched)[bend != 0] <= rounding).all()


def test_taut_string_shows_missing_numbers():
    Y = np.array([[1.0, np.nan, 2.0], [1.0, 1.0, 1.0]])
    X = np.zeros(Y.shape)
    _kernels.taut_string(Y, 1.0, X)
    assert np.isnan(X[0]).any() and not np.isnan(X[1]).any()


def test_every_kernel_is_compiled_once(rng):
    """Whatever the layout and type of the data, over all tests so far, and with the types of `warm_up`."""
    warm_up()
    for kind in LAYOUTS:
        layout = make_layout(kind)
        for model in (GroupSparseRegressor(0.1), MultiTaskRegressor(0.1, penalty=Entries(L1()), ridge=0.1)):
            model.fit(**layout.fit_args())
            model.set_params(fit_intercept=False, warm_start=True).fit(**layout.fit_args())
    layout, wide = make_layout("stacked"), make_layout("shared", n=20, p=100)
    for container in (
        np.asfortranarray,
        np.float32,
        sparse.csc_array,
        lambda X: X.tolist(),
        lambda X: X[:, :1],
    ):
        MultiTaskLasso(alpha=1).fit(container(layout.X), np.float32(layout.y), tasks=layout.tasks.astype(str))
        MultiTaskLasso(alpha=1).fit(container(wide.X), np.asfortranarray(wide.y))
    stats = TaskStatistics.from_arrays(layout.X, layout.y, layout.tasks)
    MultiTaskLasso(alpha=np.float32(0.1), ridge=1).fit_statistics(stats + stats)
    many, y, tasks = layout.X.repeat(10, axis=0), layout.y.repeat(10), np.arange(1200) // 2
    frozen = many.copy()
    frozen.flags.writeable = False
    for X in (many, frozen, np.asfortranarray(many), np.float32(many), many[:, :3], many[:, 1:2]):
        MeanRegularizedRegressor(np.float32(0.1)).fit(X, np.float32(y), tasks=tasks)
    stats = TaskStatistics.from_arrays(many, y, tasks)
    MeanRegularizedRegressor(1, intercept_alpha=1).fit_statistics(stats.select([0, 2]))
    MultiTaskRegressor(penalty=Ridge(), task_weight="samples").fit(frozen, y, tasks=np.arange(1200) // 2)
    for name in set(KERNELS) - set(_kernels.SIGNATURES):  # not compiled where loops around them were on disk
        KERNELS[name](*ARGS[name](rng, next(iter(PENALTIES.values()))))
    assert {name: len(kernel.signatures) for name, kernel in KERNELS.items()} == dict.fromkeys(KERNELS, 1)
