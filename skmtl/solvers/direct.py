"""Quadratic problems: a factorisation where one solves the system, conjugate gradients around it."""

from functools import partial
from itertools import islice

import numpy as np
from scipy import linalg

from .._threads import by_rows, even_blocks, in_blocks, sum_by_rows, task_products
from ..losses import SquaredError
from ..objective import DENSE_FEATURES, by_products, eigenvectors, graded, make_term, rows_pay, units
from ..penalties import TaskQuadratic, reciprocal
from ..statistics import loop_pays
from ._inverses import GRADED, RANK_TOLERANCE, assembled_inverse, inverses, pseudo_inverses
from ._method import Method
from ._row_inverse import RowInverse

CHECK_EVERY = 10  # conjugate gradient steps between certificates at the latest
RESTART = 50  # conjugate gradient steps between exact gradients
KERNEL_ENTRIES = 6.25e7  # numbers in the factorised kernel matrices of all tasks (0.5 GB)
CANCELLED = 1e-6  # eigenvalues below, left of 1, have lost too many digits
CHUNK_TASKS = 256  # tasks handled at a time where all would take the memory of the moments
LEAST = 1e-10  # times the curvature: what deviations cost at least where rows leave them free
ASSEMBLED = 400  # coefficients up to which their whole Hessian is inverted
ROUNDED = 10 * np.finfo(float).eps  # of the terms of a gradient
SOLVED = 1e-7  # of the gradient of the loss: what is left at a solution; the objective feels its square
MOST_ROUNDED = 1e-6  # share of a system that is taken for rounding at most
SPARSER = 1.05  # growth of the iterations between certificates
FILL = 100  # numbers per task in a factor of the coupling up to which its inverse is worth what it costs
HELD = 1e-12  # share of the curvature of intercepts below which there is rounding
RESOLVED = 1e-12  # share of the curvature of what intercepts have in common that elimination may leave
ROTATED_ROWS = 2000  # up to here one over the rows of a design
NEAR = 0.999  # times the strength within clusters: what any other counts as at most in an inverse
BATCHED = 64  # rows up to which inverses of many tasks at once are faster than factors of each
ROTATED_TASKS = 4000  # up to here an eigendecomposition over tasks is cheap


def direct(problem, parts, max_iter, target):
    """Iterates (n_iter, parts, (objective, intercept, gap)) for a squared loss with quadratic penalties.

    Conjugate gradients, preconditioned by the exact inverse where there is one (mean couplings by a
    Schur complement on the mean; any coupling on a complete shared design by its eigenvectors):
    then the first iterate is the solution and the next one refines it. Iterates are shown when their
    gap should have come down to the target: like the decrease of the objective in a step, it is
    quadratic in the error. A start is shown if it is the solution to the last digits of the objective.
    """
    term, quadratic = problem.term, problem.parts[0].quadratic
    apply, start, n_iter, due, again = None, parts[0], 0, np.inf, 0
    products = term if quadratic.separate else by_products(term)  # many where no inverse is exact
    while n_iter < max_iter:  # started anew from the true gradient now and then
        _, image, b, _ = problem.evaluate([start])
        own = term.gradient(start, image, b)
        moved = start.any()
        gradient = quadratic.plus(own, start) if moved else own
        shown = apply is None and (moved or not own.any())
        if shown and (np.abs(gradient) <= _solved(own, start, quadratic)).all():
            yield 0, parts, problem.gap(parts, b)
        if apply is None:
            apply = make_preconditioner(term, quadratic)
        exact = quadratic.separate and not term.on_moments and rows_pay(term.data)
        steps = conjugate_gradients(
            lambda V: by_rows(np.add, products.curvature(V), quadratic.times(V)), apply,
            by_rows(np.negative, gradient), exact,
        )  # fmt: skip
        for move, _, decrease in islice(steps, min(RESTART, max_iter - n_iter)):
            n_iter += 1
            early = n_iter < again or (decrease > due and n_iter % CHECK_EVERY)
            if target and early and n_iter < max_iter:
                continue
            W = by_rows(np.add, start, move) if moved else move
            if not target:  # who asks has a measure of its own
                yield n_iter, [W]
                continue
            known = problem.gap([W], b)
            yield n_iter, [W], known
            if not move.any():  # to the last digit
                return
            due, again = decrease * target / known[2] if known[2] > 0 else np.inf, SPARSER * n_iter
        start = start + move


def _solved(gradient, W, quadratic):
    """Gradient of the objective up to which W is the solution (n_features,), from that of the loss."""
    rounding = ROUNDED * quadratic.diagonal().max() * np.abs(W).max(axis=0)
    return SOLVED * np.abs(gradient).max(axis=0) + rounding


DIRECT = Method(
    direct, lambda problem: problem.smooth and problem.term.loss.quadratic,
    "the squared loss and quadratic penalties only (Ridge, Coupling)", shows_start=True,
    patience=lambda problem: 100,
)  # fmt: skip


def conjugate_gradients(operator, precondition, rhs, inverse=False):
    """Successive solutions of operator(V) = rhs by preconditioned conjugate gradients.

    With the residual of each, and by how much it lowers 1/2 <V, operator(V)> - <V, rhs>. The first is taken
    as it is, without a residual, where the preconditioner is the inverse. `rhs` is used up.
    """
    x, z = None, precondition(rhs)
    rz = sum_by_rows(np.vdot, rhs, z)
    if inverse and np.isfinite(rz):
        yield z, None, 0.5 * rz
        x, rhs = z, by_rows(np.subtract, rhs, operator(z))
        z = precondition(rhs)
        rz = sum_by_rows(np.vdot, rhs, z)
    d, r = z, rhs
    while True:
        q = operator(d)
        curvature = sum_by_rows(np.vdot, d, q)
        if not curvature > 0 or not np.isfinite(rz):  # solved to rounding
            yield np.zeros_like(rhs) if x is None else x, r, 0.0
            return
        step = rz / curvature
        x = by_rows(partial(np.multiply, step), d) if x is None else _moved(x, step, d)
        r = _moved(r, -step, q, r)
        yield x, r, 0.5 * step * rz
        z = precondition(r)
        rz, before = sum_by_rows(np.vdot, r, z), rz
        d = _moved(z, rz / before, d)


def _moved(x, step, d, out=None):
    """x + step d."""
    return by_rows(lambda x, d: x + step * d, x, d, out=out)


def make_preconditioner(term, quadratic):
    """An inverse, exact or approximate, of the Hessian as a function of a gradient."""
    if quadratic.norm == 0:  # whatever tasks it would couple
        quadratic = TaskQuadratic(term.n_tasks)
    shift = quadratic.diagonal()
    whole = partial(assembled_inverse, term.curvature, quadratic.times, term)
    if term.beside_offset is not None:
        return whole()
    clusters = quadratic.labels is not None
    simple = quadratic.separate or clusters
    cheap = simple or quadratic.graph is not None or term.n_tasks <= ROTATED_TASKS
    rotates = cheap and term.shared and np.ptp(term.scale) == 0  # all tasks have one design
    if term.on_moments:
        if rotates:
            return _rotated_inverse(term, quadratic)
        few = term.n_tasks * term.n_features <= ASSEMBLED
        if clusters and not few:
            return _cluster_inverse(quadratic, _kept_inverse(term, quadratic.within, BlockInverse))
        if quadratic.separate:
            found = task_inverses_of(term, quadratic)
            inverse = _joined_inverse(term, _schur_inverse(*found))
            return whole() if few and found[-1].rounded == MOST_ROUNDED else inverse
        if quadratic.graph is None and few:
            return _joined_inverse(term, _assembled_inverse(term, quadratic))
        inverse = _inverses(term, shift)
        return _coupled_inverse(term, quadratic, lambda R: task_products(inverse, R))
    rows = term.rows_per_task
    if clusters and rows_pay(term.data):
        inverse = _kept_inverse(term, quadratic.within, RowInverse)
        if inverse.sound:
            return _cluster_inverse(quadratic, inverse)
    if quadratic.separate and rows_pay(term.data):
        found = task_inverses_of(term, quadratic)
        if found is not None:
            return _schur_inverse(*found)
    if rotates and rows[0] <= min(ROTATED_ROWS, term.n_features):
        return _rotated_kernel_inverse(term, quadratic)
    if not simple and (shift > 0).all() and rows_pay(term.data):
        inverse = RowInverse(term, shift)
        if inverse.sound:
            return _coupled_inverse(term, quadratic, inverse)
    few = (rows.astype(float) ** 2).sum() <= KERNEL_ENTRIES and rows.max() < term.n_features
    own = _kernel_inverse(term, shift) if few else diagonal_inverse(term, shift)
    if quadratic.is_ridge or term.n_features > DENSE_FEATURES:
        return own
    return _coupled_inverse(term, quadratic, own)


def _joined_inverse(term, inverse):
    """An inverse for tasks whose intercepts keep their mean, where that follows."""
    M = None if term.tied is None else term.tied.across
    if M is None or not M.shape[-1]:  # there is no mean, or no loss sees it
        return inverse
    reach = np.stack([inverse(np.ascontiguousarray(own)) for own in np.moveaxis(M, -1, 0)], axis=-1)
    unit = 1.0 / np.sqrt(term.tied.curvature)
    left = np.eye(len(unit)) - unit * unit[:, None] * np.tensordot(M, reach, axes=([0, 1], [0, 1]))
    center = unit * unit[:, None] * linalg.pinvh(0.5 * (left + left.T), atol=RESOLVED)

    def apply(R):
        V = inverse(R)
        return V + reach @ (center @ np.einsum("tjk,tj->k", M, V))

    return apply


def task_inverses_of(term, quadratic):
    """A term of the squared loss, a coupling without a matrix, and the inverses of the tasks' own systems.

    The term is the one that is given or that of its moments. None where the systems of neither serve.
    """
    if not term.on_moments:
        inverse = RowInverse(term, quadratic.deviations) if quadratic.deviations > 0 else None
        if inverse is not None and inverse.sound:
            return term, quadratic, inverse
        term = make_term(term.data, SquaredError(), term.fit_intercept, term.intercept_alpha, term.x_common)
        if not term.on_moments:
            return None
    quadratic = _held(term, quadratic)
    return term, quadratic, BlockInverse(term, quadratic.deviations)


def inverse_of_mean(system, mean_first, rounded=0.0):
    """Inverse of a system of what the tasks share, see `mean_system`, of which a share is rounding."""
    return pseudo_inverses(system, max(rounded, 1e-14)) if mean_first else _inverted(system)


def curvature_blocks(term, tasks=slice(None)):
    """Hessian block C_t + kappa_t x_t x_t' (n_tasks, p, p) of some tasks without penalty."""
    xx = term.second_moments()
    B = xx[tasks if len(xx) > 1 else slice(None)] * term.scale[tasks, None, None]
    kappa = term.kept[tasks]
    if kappa.any():
        x_mean = term.x_mean[tasks]
        B += (kappa[:, None] * x_mean)[:, :, None] * x_mean[:, None, :]
    return B


def _inverses(term, shift):
    """Inverses of the blocks plus shift_t I; pseudo-inverses where one is singular.

    `size` is about the condition number of each, in units of the features that give it a diagonal of ones.
    """
    T, p = term.shape
    if not loop_pays(T, p):
        B, each = curvature_blocks(term), np.arange(p)
        B[:, each, each] += shift[:, None]
        return inverses(B)
    from .._kernels import task_inverses

    inverse, size = np.empty((T, p, p)), np.empty(T)
    found = term.second_moments(), term.x_mean
    xx, x_mean = (np.require(A, requirements="CW") for A in found)  # one type
    numbers, shared = (term.scale, term.kept, x_mean, shift), len(xx) == 1

    def fill(t):
        task_inverses(xx if shared else xx[t], *(values[t] for values in numbers), inverse[t], size[t])

    in_blocks(fill, even_blocks(T, p * p))
    singular = np.flatnonzero(~(size < 1 / (RANK_TOLERANCE * p)))
    if len(singular):
        inverse[singular] = pseudo_inverses(
            curvature_blocks(term, singular) + shift[singular, None, None] * np.eye(p)
        )
    return inverse


def _schur_inverse(term, quadratic, inverse):
    """Exact inverse without a coupling matrix: what the tasks share is found first, then what is their own.

    With w_t = m + v_t the deviations cost deviations/2 ||v_t||^2 and m what is left of `mean`; pooled
    intercepts add the number beta that they lie around. Given (m, beta) each task has a system of its own,
    and that of (m, beta) is a sum of positive semidefinite matrices: no digits are lost at any strength.
    Where the mean costs more than the deviations w_t = v_t, and the multiplier of the mean takes the place
    of m.
    """
    p, d, pooled = term.n_features, quadratic.deviations, term.tied_intercepts
    if quadratic.is_ridge and not pooled:
        return inverse
    along = inverse.along() if pooled else 0.0
    mean_first = quadratic.mean < d
    system, share = inverse.mean_system(quadratic)
    if pooled:
        reach = inverse(along)
        system = np.pad(system, (0, 1))
        system[:p, p] = cross = share * reach.sum(axis=0)
        system[p, :p] = cross if mean_first else -cross
        held = term.kept - (along * reach).sum(axis=1)
        # nothing where a feature of whole tasks does the work of the intercepts
        system[p, p] = held = held[held > HELD * term.kept].sum()
        inverse.rounded = min(inverse.rounded * (term.kept.sum() / held if held else 1.0), MOST_ROUNDED)
    system = inverse_of_mean(system, mean_first, inverse.rounded)

    def apply(R):
        V = inverse(R)
        right = share * V.sum(axis=0)
        if not pooled:
            return inverse.with_mean(R, V, system @ right, mean_first)
        *m, beta = system @ np.append(right, -np.vdot(along, V))
        return inverse.with_mean(R - along * beta, V - reach * beta, np.array(m), mean_first)

    return apply


def _kept_inverse(term, d, form):
    """An inverse of the tasks' own blocks, the last one found for a term: clusters change, tasks do not."""
    if term.kept_inverse is None or term.kept_inverse.d != d:
        term.kept_inverse = form(term, d)
    return term.kept_inverse


def _cluster_inverse(quadratic, inverse):
    """Inverse with strengths within and between clusters of tasks, whose own blocks have an inverse.

    With B = C + within I, C the curvature of all tasks, and N orthonormal columns of the clusters it is
    B^-1 R + within B^-1 N m, m the solution of [N' B^-1 C N + Q (within - Q)^-1] m = N' B^-1 R, Q what the
    centers cost. In each cluster B^-1 C has about its mean over all tasks.
    """
    within, *others = quadratic.numbers
    E, each = inverse.mean_explained(), np.minimum(others, NEAR * within)  # a mean that costs more: about it
    between, along = inverses(E + (each / (within - each))[:, None, None] * np.eye(len(E)))

    def apply(R):
        apart, mean = quadratic.split_centers(inverse(R))
        return inverse(R + within * (apart @ between + mean @ along)[quadratic.labels])

    return apply


def _held(term, quadratic):
    """The coupling, with a cost of deviations that rows may leave free and the mean does not.

    Directions that a task's rows leave free serve the mean: its inverse must not leave them out.
    """
    T, p = term.shape
    if quadratic.mean <= quadratic.deviations or (term.rows_per_task > p).all():
        return quadratic
    least = LEAST * term.x_size() / (T * p)
    return TaskQuadratic(T, deviations=max(quadratic.deviations, least), mean=quadratic.mean)


def _inverted(system):
    """Inverse of a matrix, in units that give it a diagonal of ones; NaN where curvature underflows."""
    if not np.isfinite(system).all():
        return np.full_like(system, np.nan)
    unit = units(np.abs(system))
    unit = unit[:, None] * unit
    return unit * linalg.pinv(unit * system, rtol=1e-14)


class BlockInverse:
    """(C_t + d I)^-1 of every task (n_tasks, p, p), C_t its curvature and d what deviations cost."""

    strong = False  # whether deviations cost so much that there is hardly more than the mean
    rounded = 0.0  # share of the system of the mean that is rounding

    def __init__(self, term, d):
        self.term, self.d, self.inverse = term, d, _inverses(term, np.full(term.n_tasks, d))

    def __call__(self, R):
        return task_products(self.inverse, R)

    def mean_explained(self):
        """Mean over the tasks of (C_t + d I)^-1 C_t, (n_features, n_features)."""
        return np.eye(self.inverse.shape[1]) - self.d * self.inverse.mean(axis=0)

    def along(self):
        """Curvatures along the intercept and the features, if intercepts are tied, (n_tasks, p)."""
        return self.term.kept[:, None] * self.term.x_mean

    def mean_system(self, quadratic):
        """System (p, p) of the mean of the tasks (of its multiplier where it costs more than the deviations).

        Also what it is made of, times the sum of the tasks.
        """
        (T, p), inverse = self.term.shape, self.inverse
        d, mean = quadratic.deviations, quadratic.mean
        total = (np.ones(T) @ inverse.reshape(T, -1)).reshape(p, p)
        if mean == d:
            return np.eye(p), 0.0
        if mean > d:
            return total + T / (mean - d) * np.eye(p), 1.0
        size = self.term.spreads**2 * self.term.scale[:, None] * np.einsum("tjj->tj", inverse)
        self.rounded = min(ROUNDED * size.max(), MOST_ROUNDED)  # what is left of conditions like these
        left = np.eye(p) - d / T * total
        self.strong = not np.linalg.eigvalsh(left)[0] > CANCELLED
        if not self.strong:
            left *= d * T
        else:  # the same as d B_t^-1 C_t with B_t = C_t + d I: all digits at large strengths
            left, lost = np.zeros((p, p)), np.zeros(p)
            for start in range(0, T, CHUNK_TASKS):
                tasks = np.arange(start, min(start + CHUNK_TASKS, T))
                own, C = d * inverse[tasks], curvature_blocks(self.term, tasks)
                left += own.reshape(-1, p).T @ C.reshape(-1, p)
                lost += ROUNDED * np.einsum("tjk,tjk->k", np.abs(own), np.abs(C))
            left *= np.outer(*[left.diagonal() > lost] * 2)  # nothing of what others explain up to rounding
            left = 0.5 * (left + left.T)
        return left + T * d * mean / (d - mean) * np.eye(p), d

    def with_mean(self, R, V, m, mean_first):
        """Solutions, from those without what is shared, V, and that, m (p,), for right-hand sides R."""
        (T, p), term = self.term.shape, self.term
        if not self.strong:
            return V + (self.inverse.reshape(-1, p) @ (self.d * m if mean_first else -m)).reshape(T, p)
        m = m[None].repeat(T, axis=0)  # all digits of what the tasks have in common
        own = term.apart(m)
        return m + self(R - own) if mean_first else self(R - m)


def _rotated_inverse(term, quadratic):
    """Exact inverse on one design: eigenvectors of the coupling times those of the moments."""
    H = term.scale[0] * term.gram()[0]
    if quadratic.separate or quadratic.labels is not None:
        own = inverses(H + np.array(quadratic.numbers)[:, None, None] * np.eye(len(H)))
        return lambda R: sum(V @ inverse for V, inverse in zip(quadratic.split(R), own, strict=True))
    if graded(H.diagonal(), GRADED) and quadratic.graph is None:
        # in such units eigenvectors of H lose the small features
        levels, tasks = quadratic.eigenvectors()
        own = inverses(H + levels[:, None, None] * np.eye(len(H)))
        return lambda R: tasks @ task_products(own, tasks.T @ R)
    values, features = eigenvectors(H)
    solve = quadratic.shifted_inverse(_levels(values, quadratic))
    return lambda R: solve(R @ features) @ features.T


def _assembled_inverse(term, quadratic):
    """Exact inverse of few tasks and features: one matrix, in the directions of the coupling."""
    T, p = term.shape
    levels, tasks = quadratic.eigenvectors()
    pairs = (tasks[:, :, None] * tasks[:, None, :]).reshape(T, -1)
    H = (pairs.T @ curvature_blocks(term).reshape(T, -1)).reshape(T, T, p, p)
    H = H.transpose(0, 2, 1, 3).reshape(T * p, T * p)
    H[np.diag_indices(T * p)] += np.repeat(levels, p)
    if term.kept.any() and term.fit_intercept:
        center = (tasks.T @ (term.kept[:, None] * term.x_mean)).ravel()
        H -= np.outer(center, center) / term.kept.sum()
    inverse = inverses(H[None])[0]
    return lambda R: tasks @ (inverse @ (tasks.T @ R).ravel()).reshape(T, p)


def _levels(values, quadratic):
    """Eigenvalues without rounding; where each distinct one needs a factor of its own, powers of four."""
    values = np.where(values > RANK_TOLERANCE * len(values) * values.max(initial=0.0), values, 0.0)
    if quadratic.graph is None:
        return values
    return np.where(values > 0, 4.0 ** np.round(np.log2(np.where(values > 0, values, 1.0)) / 2), 0.0)


def _coupled_inverse(term, quadratic, own):
    """Inverse of the tasks' own blocks, plus what the coupling adds at the mean curvature of the tasks.

    A weak coupling adds little; under a strong one the tasks share a mean to which each adds little.
    What blocks C_t + q_tt I lack is the inverse at C + Q, C the mean of the C_t, less (C + ||Q||)^-1, which
    they have. Of a graph whose factors fill up (any two tasks are a few steps apart) only what its
    connected components share.
    """
    values, features = eigenvectors(term.shared_curvature / term.n_tasks)
    # fewer rows than features bend a task more than the mean where they do: half way in between
    values = values * max(1.0, term.n_features / term.rows_per_task.mean()) ** 0.5
    levels, graph = _levels(values, quadratic), quadratic.graph
    apart = np.maximum(levels + quadratic.norm, np.finfo(float).tiny)
    if graph is not None and graph.fill > FILL * term.n_tasks:
        N = graph.components
        weight = reciprocal((N * (graph.Q @ N)).sum(axis=0)[:, None] + levels) - 1.0 / apart

        def shared(V):
            return N @ (weight * (N.T @ V))
    else:
        joined = quadratic.shifted_inverse(levels)

        def shared(V):
            return by_rows(lambda v, joined: joined - v / apart, V, joined(V))

    coupled = quadratic.diagonal()[:, None] > 0  # the others keep to what their rows say

    def apply(R):
        V = shared(by_rows(lambda r, some: some * (r @ features), R, coupled))
        return by_rows(lambda v, r, some: r + some * (v @ features.T), V, own(R), coupled)

    return apply


def _kernel_inverse(term, shift):
    """Inverse of the tasks' own blocks through their rows, for fewer rows than features.

    (X' X + s I)^-1 v = (v - X' (X X' + s I)^-1 X v) / s with centred, weighted rows; without a shift
    the pseudo-inverse, which leads to the solution of least norm.
    """
    weight = np.broadcast_to(term.weight, term.y.shape)
    share = weight / term.spread(np.maximum(term.totals, np.finfo(float).tiny)) * term.fit_intercept
    root, mean = np.sqrt(weight), term.back(share)
    solved = []
    for tasks, rows, present, K in term.kernels:
        own = np.where(present, share.ravel()[rows], 0.0)[:, :, None]
        along, size = K @ own, np.einsum("gnn->gn", K)
        K = K - along - along.transpose(0, 2, 1) + own.transpose(0, 2, 1) @ along
        own = np.where(present, root.ravel()[rows], 0.0)
        K *= own[:, :, None] * own[:, None, :]
        solved.append((rows, present, _kernel_solutions(K, shift[tasks], (size * own**2).max(axis=1))))

    def apply(R):
        u = root * (term.image(R) - term.spread((mean * R).sum(axis=1)))
        a = np.zeros(u.shape)
        for rows, present, solve in solved:
            a.ravel()[rows[present]] = solve(u.ravel()[rows])[present]
        a *= root
        back = term.back(a) - mean * term.task_sums(a)[:, None]
        some = shift[:, None] > 0
        return np.where(some, (R - back) / np.where(some, shift[:, None], 1.0), back)

    return apply


def _kernel_solutions(K, shift, size):
    """Products of the rows of an array with (K_t + shift_t I)^-1, as a function.

    Without a shift K_t^+ K_t^+: the inverse on the span of the rows. `size` (g,) is that of the numbers whose
    differences K holds.
    """
    if not (shift > 0).all():
        values, vectors = np.linalg.eigh(K)
        used = values > RANK_TOLERANCE * K.shape[1] * size[:, None]
        own = np.where(used, values, np.inf) ** -2.0
        some = shift[:, None] > 0
        own = np.where(some, 1.0 / (np.maximum(values, 0.0) + np.where(some, shift[:, None], 1.0)), own)
        inverse = (vectors * own[:, None, :]) @ vectors.transpose(0, 2, 1)
    elif K.shape[1] <= BATCHED:
        inverse = np.linalg.inv(K + shift[:, None, None] * np.eye(K.shape[1]))
    else:
        for matrix, level in zip(K, shift, strict=True):
            matrix.flat[:: len(matrix) + 1] += level
        factors = [linalg.cho_factor(matrix, overwrite_a=True, check_finite=False) for matrix in K]
        solve = partial(linalg.cho_solve, check_finite=False)
        return lambda v: np.array([solve(f, own) for f, own in zip(factors, v, strict=True)])
    return lambda v: task_products(inverse, v)


def _rotated_kernel_inverse(term, quadratic):
    """`_rotated_inverse` through the rows of a design with fewer rows than features."""
    X, weight, *_ = next(term.designs())
    share = weight / weight.sum() * term.fit_intercept
    root, mean = np.sqrt(weight * term.scale[0])[:, None], share @ X
    K = term.kernels[0][3][0]
    along, rounding = K @ share, (K.diagonal() * root[:, 0] ** 2).max()
    values, vectors = eigenvectors((K - along[:, None] - along + share @ along) * root * root[:, 0])
    used = values > RANK_TOLERANCE * len(K) * rounding
    values, vectors = values[used], vectors[:, used] * values[used] ** -0.5
    inside = quadratic.shifted_inverse(_levels(values, quadratic))
    outside = quadratic.shifted_inverse(np.zeros(term.n_features))

    def turned(R):
        return (root * (X @ R.T - R @ mean)).T @ vectors

    def back(V):
        A = root * (vectors @ V.T)
        return term.back(A) - np.outer(A.sum(axis=0), mean)

    def apply(R):
        V = turned(R)
        return back(inside(V)) + outside(R - back(V))

    return apply


def diagonal_inverse(term, shift):
    """Inverse of the diagonal of the Hessian (uncentred, an upper bound)."""
    D = shift[:, None] + term.squares
    return lambda R: R / np.where(D > 0, D, 1.0)
