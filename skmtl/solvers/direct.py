"""Quadratic problems: a factorisation where one solves the system, conjugate gradients around it."""

import numpy as np
from scipy import linalg
from scipy.sparse import issparse

from .._problem import MomentsTerm, mean_coupling

KERNEL_ENTRIES = 6.25e7  # numbers in the factorised kernel matrices of all tasks (0.5 GB)
RANK_TOLERANCE = 10 * np.finfo(float).eps  # times the size: eigenvalues below are rounding
ROTATED_TASKS = 4000  # up to here an eigendecomposition over tasks is cheap


def direct(problem, parts, max_iter, target):
    """Iterates (n_iter, parts) for a squared loss with quadratic penalties.

    Conjugate gradients, preconditioned by the exact inverse where there is one (mean couplings by a
    Schur complement on the mean; any coupling on a complete shared design by its eigenvectors):
    then the first iterate is the solution and the next one refines it.
    """
    term, quadratic = problem.term, problem.parts[0].quadratic
    W, image, b, _ = problem.evaluate(parts)
    gradient = term.gradient(W, image, b) + quadratic.apply(W)
    apply = make_preconditioner(term, quadratic)
    steps = conjugate_gradients(lambda V: term.curvature(V) + quadratic.apply(V), apply, -gradient)
    for n_iter, step in zip(range(1, max_iter + 1), steps, strict=False):
        yield n_iter, [W + step]


def conjugate_gradients(operator, precondition, rhs):
    """Successive solutions of operator(V) = rhs by preconditioned conjugate gradients."""
    x, r = np.zeros_like(rhs), rhs.copy()
    z = precondition(r)
    d, rz = z, np.vdot(r, z)
    while True:
        q = operator(d)
        bend = np.vdot(d, q)
        if not bend > 0 or not np.isfinite(rz):  # solved to rounding
            yield x
            return
        step = rz / bend
        x = x + step * d
        r = r - step * q
        yield x
        z = precondition(r)
        rz, before = np.vdot(r, z), rz
        d = z + (rz / before) * d


def make_preconditioner(term, quadratic):
    """An inverse, exact or approximate, of the Hessian as a function of a gradient."""
    if isinstance(term, MomentsTerm):
        alike = len(term.stats.xx) == 1 and np.ptp(term.scale) == 0
        if alike and term.n_tasks <= ROTATED_TASKS:
            return _rotated_inverse(term, quadratic)
        return _schur_inverse(term, quadratic) if quadratic.matrix is None else _block_inverse(term, quadratic)
    sizes = [X.shape[0] for X, *_ in term.data.designs()]
    shift = quadratic.diagonal()
    if sum(n * n for n in sizes) <= KERNEL_ENTRIES and max(sizes) < term.n_features:
        return _kernel_inverse(term, shift)
    return _diagonal_inverse(term, shift)


def _blocks(term, shift):
    """Hessian block of each task, C_t + shift_t I + intercept pooling, and what the latter couples.

    Returns B (n_tasks, p, p), kappa * mean (n_tasks, p) and sum kappa.
    """
    xx, scale = term.covariance()
    B = xx * scale[:, None, None]
    x_mean, h = term.x_mean, term.totals
    kappa = mean_coupling(h, term.intercept_alpha) if term.fit_intercept else h
    if kappa.any():
        B += (kappa[:, None] * x_mean)[:, :, None] * x_mean[:, None, :]
    diagonal = np.arange(B.shape[1])
    # a floor far below rounding of the data keeps blocks of deficient tasks invertible
    floor = 1e-13 * B[:, diagonal, diagonal].max(axis=1, initial=0.0) + np.finfo(float).tiny
    B[:, diagonal, diagonal] += np.maximum(shift, floor)[:, None]
    pooled = kappa[:, None] * x_mean if term.fit_intercept and term.intercept_alpha else None
    return B, pooled, kappa.sum()


def _schur_inverse(term, quadratic):
    """Exact inverse without a coupling matrix: blocks of the tasks, Schur complement on what they share.

    A = B + U S U' with U_t = [I, kappa_t x_t], S = diag((mean - deviations)/T, ..., -1/sum kappa), x_t the
    mean of the features.
    """
    T, p = term.shape
    B, pooled, kappa = _blocks(term, np.full(T, quadratic.deviations))
    inverse = np.linalg.inv(B)
    S = np.full(p, (quadratic.mean - quadratic.deviations) / T)
    U = inverse
    if pooled is not None:
        U = np.concatenate([inverse, inverse @ pooled[:, :, None]], axis=2)
        S = np.append(S, -1.0 / kappa)
    inner = U.sum(axis=0)  # U' B^-1 U
    if pooled is not None:
        inner = np.vstack([inner, np.einsum("tj,tjk->k", pooled, U)])
    if not S.any():
        return lambda R: np.matmul(inverse, R[:, :, None])[:, :, 0]
    system = linalg.lu_factor(np.eye(len(S)) + S[:, None] * inner)

    def apply(R):
        V = np.matmul(inverse, R[:, :, None])[:, :, 0]
        shared = V.sum(axis=0)
        if pooled is not None:
            shared = np.append(shared, np.vdot(pooled, V))
        return V - U @ linalg.lu_solve(system, S * shared)

    return apply


def _rotated_inverse(term, quadratic):
    """Exact inverse on one design: eigenvectors of the coupling times those of the moments."""
    levels, tasks = quadratic.eigenvectors()
    H = term.scale[0] * term.stats.xx[0]
    if not term.fit_intercept:
        H = H + term.totals[0] * np.outer(term.stats.x_mean[0], term.stats.x_mean[0])
    values, features = linalg.eigh(H)
    total = levels[:, None] + np.maximum(values, 0.0)
    floor = RANK_TOLERANCE * len(H) * total.max()
    weight = np.where(total > floor, 1.0 / np.where(total > 0, total, 1.0), 0.0)
    return lambda R: tasks @ (weight * (tasks.T @ R @ features)) @ features.T


def _block_inverse(term, quadratic):
    """Inverse of the tasks' own blocks."""
    inverse = np.linalg.inv(_blocks(term, quadratic.diagonal())[0])
    return lambda R: np.matmul(inverse, R[:, :, None])[:, :, 0]


def _kernel_inverse(term, shift):
    """Inverse of the tasks' own blocks through their rows, for fewer rows than features.

    (X' X + s I)^-1 v = (v - X' (X X' + s I)^-1 X v) / s with centred, weighted rows; without a shift
    the pseudo-inverse, which leads to the solution of least norm.
    """
    factors = []
    for X, weight, _, tasks in term.data.designs():
        used = np.flatnonzero(weight)
        X = X[used]
        K = (X @ X.T).toarray() if issparse(X) else X @ X.T
        total = weight.sum()
        if term.fit_intercept:
            C = np.eye(len(used)) - weight[used] / total
            K = C @ K @ C.T
        mean = (weight[used] @ X) / total if term.fit_intercept else np.zeros(X.shape[1])
        for t in range(tasks.start, tasks.stop):
            root = np.sqrt(weight[used] * term.data.scale[t])
            factors.append((X, root, mean, _kernel_factor(K * np.outer(root, root), shift[t])))

    def apply(R):
        out = np.empty_like(R)
        for t, (X, root, mean, factor) in enumerate(factors):
            a = root * factor(root * (X @ R[t] - mean @ R[t]))
            back = X.T @ a - mean * a.sum()
            out[t] = (R[t] - back) / shift[t] if shift[t] > 0 else back
        return out

    return apply


def _kernel_factor(K, shift):
    """(K + shift I)^-1, or K^+ K^+ without a shift: the inverse on the span of the rows."""
    if shift > 0:
        factor = linalg.cho_factor(K + shift * np.eye(len(K)))
        return lambda v: linalg.cho_solve(factor, v)
    values, vectors = linalg.eigh(K)
    used = values > RANK_TOLERANCE * len(K) * values[-1]
    values, vectors = values[used], vectors[:, used]
    return lambda v: vectors @ ((vectors.T @ v) / values**2)


def _diagonal_inverse(term, shift):
    """Inverse of the diagonal of the Hessian (uncentred, an upper bound)."""
    X, data = term.data.X, term.data
    squares = data._with(X=X.multiply(X).tocsr() if issparse(X) else X**2)
    D = squares.adjoint(np.broadcast_to(data.weight, data.y.shape)) + shift[:, None]
    return lambda R: R / np.where(D > 0, D, 1.0)
