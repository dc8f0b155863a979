"""Quadratic problems: a factorisation where one solves the system, conjugate gradients around it."""

from itertools import islice

import numpy as np
from scipy import linalg
from scipy.sparse import issparse

from .._terms import MomentsTerm, mean_coupling

RESTART = 50  # conjugate gradient steps between exact gradients
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
    apply, start, n_iter = make_preconditioner(term, quadratic), parts[0], 0
    while n_iter < max_iter:  # started anew from the true gradient now and then
        _, image, b, _ = problem.evaluate([start])
        gradient = term.gradient(start, image, b) + quadratic.apply(start)
        steps = conjugate_gradients(lambda V: term.curvature(V) + quadratic.apply(V), apply, -gradient)
        for step in islice(steps, min(RESTART, max_iter - n_iter)):
            W, n_iter = start + step, n_iter + 1
            yield n_iter, [W]
        start = W


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
        return (
            _schur_inverse(term, quadratic) if quadratic.matrix is None else _block_inverse(term, quadratic)
        )
    rows = [X.shape[0] for X, *_, tasks in term.data.designs() for _ in range(tasks.start, tasks.stop)]
    shift = quadratic.diagonal()
    if sum(n * n for n in rows) <= KERNEL_ENTRIES and max(rows) < term.n_features:
        return _kernel_inverse(term, shift)
    return _diagonal_inverse(term, shift)


def _blocks(term):
    """Hessian block of each task without penalty, and what pooled intercepts couple.

    Returns C_t + kappa_t x_t x_t' (n_tasks, p, p), kappa * x (n_tasks, p) or None, and sum kappa.
    """
    xx, scale = term.covariance()
    B = xx * scale[:, None, None]
    x_mean, h = term.x_mean, term.totals
    kappa = mean_coupling(h, term.intercept_alpha) if term.fit_intercept else h
    if kappa.any():
        B += (kappa[:, None] * x_mean)[:, :, None] * x_mean[:, None, :]
    pooled = kappa[:, None] * x_mean if term.fit_intercept and term.intercept_alpha else None
    return B, pooled, kappa.sum()


def _inverses(C, shift):
    """Inverses of C_t + shift_t I, positive semidefinite; pseudo-inverses where one is singular."""
    B = C + shift[:, None, None] * np.eye(C.shape[1])
    try:
        inverse = np.linalg.inv(B)
    except np.linalg.LinAlgError:
        inverse = np.full_like(B, np.inf)
    bound = 1 / (RANK_TOLERANCE * B.shape[1])
    size = np.abs(B).max(axis=(1, 2)) * np.abs(inverse).max(axis=(1, 2))  # about the condition number
    singular = ~(size < bound)
    if singular.any():
        inverse[singular] = np.linalg.pinv(B[singular], rcond=1 / bound, hermitian=True)
    return inverse


def _schur_inverse(term, quadratic):
    """Exact inverse without a coupling matrix: blocks of the tasks, Schur complement on what they share.

    A = B + U S U' with U_t = [I, kappa_t x_t], S = diag((mean - deviations)/T, ..., -1/sum kappa), x_t the
    mean of the features.
    """
    T, p = term.shape
    C, pooled, kappa = _blocks(term)
    U = inverse = _inverses(C, np.full(T, quadratic.deviations))
    S = np.full(p, (quadratic.mean - quadratic.deviations) / T)
    # I + S sum_t B_t^-1, without the cancellation at large strengths
    system = np.einsum("tij,tjk->ik", inverse, C + quadratic.mean * np.eye(p)) / T
    if pooled is not None:
        U = np.concatenate([inverse, inverse @ pooled[:, :, None]], axis=2)
        S = np.append(S, -1.0 / kappa)
        system = np.pad(system, (0, 1))
        system[:p, p] = S[0] * U[:, :, p].sum(axis=0)
        system[p] = S[p] * np.einsum("tj,tjk->k", pooled, U)
        system[p, p] += 1.0
    if not S.any():
        return lambda R: np.matmul(inverse, R[:, :, None])[:, :, 0]
    # singular along features that no task varies in, when nothing penalises their mean: no step there
    size = np.ones((len(S), 1))
    size[:p] = np.abs(system[:p, :p]).max() or 1.0
    system = linalg.pinv(system / size, rtol=1e-13) / size.T

    def apply(R):
        V = np.matmul(inverse, R[:, :, None])[:, :, 0]
        shared = V.sum(axis=0)
        if pooled is not None:
            shared = np.append(shared, np.vdot(pooled, V))
        return V - U @ (system @ (S * shared))

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
    inverse = _inverses(_blocks(term)[0], quadratic.diagonal())
    return lambda R: np.matmul(inverse, R[:, :, None])[:, :, 0]


def _kernel_inverse(term, shift):
    """Inverse of the tasks' own blocks through their rows, for fewer rows than features.

    (X' X + s I)^-1 v = (v - X' (X X' + s I)^-1 X v) / s with centred, weighted rows; without a shift
    the pseudo-inverse, which leads to the solution of least norm.
    """
    factors, products = [], (None, None)
    for X, weight, _, tasks in term.data.designs():
        if products[0] is not X:  # a shared design is multiplied once
            products = X, X @ X.T
        K = products[1].toarray() if issparse(X) else products[1]
        mean = np.zeros(X.shape[1])
        if term.fit_intercept:
            share = weight / max(weight.sum(), np.finfo(float).tiny)
            mean, along = share @ X, K @ share
            K = K - along[:, None] - along + share @ along
        for t in range(tasks.start, tasks.stop):
            root = np.sqrt(weight * term.data.scale[t])
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
    D = np.repeat(shift[:, None], term.n_features, axis=1)
    for X, weight, _, tasks in term.data.designs():
        squares = X.multiply(X).T @ weight if issparse(X) else np.einsum("i,ij,ij->j", weight, X, X)
        D[tasks] += np.outer(term.data.scale[tasks], squares)
    return lambda R: R / np.where(D > 0, D, 1.0)
