"""The trace norm over many tasks with few rows each, for the squared loss."""

import numpy as np

from .._threads import by_rows
from ..objective import Problem, RowMoments, make_term, row_moments
from ..penalties import L1, Spectrum
from ._descent import certificate
from .variances import ENOUGH, rows_are_few

SOME = 40  # tasks for each feature that tell where to start, and how covariances curve the objective
MANY = 10  # times as many: from there on that pays
MOST_STEPS = 20  # passes over the rows
PAYS = 0.5  # share of the gap that two leave, above which a gradient method is as good
LEAST = 0.1  # share of the strength that a correction leaves at least
EXACT, ROUGH = 0.1, 0.02  # shares of the target, and of the gap before, to which fewer tasks are solved
INNER_ITERATIONS = 1000  # for one solution of these


def by_covariance(problem, solve, max_iter, target):
    """W (n_tasks, n_features) of about that gap or more, and the passes over the rows that it took.

    The trace norm is the least of ridge penalties, a ||W||_* = min_C 1/2 (tr W C^-1 W' + a^2 tr C): given the
    covariance C of its coefficients every task has a problem of its own, and what these leave is a smooth
    convex function of C, about a mean over the tasks. Some of them tell C; their function and a linear one,
    <S, C> with S such that the slopes become those of all tasks, tell the next: a trace norm in other
    coordinates of the features. Strengths S are extrapolated from those before (Anderson), as their errors
    alternate. `solve` finds the W of fewer tasks.
    """
    term, alpha = problem.term, problem.parts[0].rough.alpha
    few = term.data.of_tasks(np.arange(0, term.n_tasks, term.n_tasks // (SOME * term.n_features)))
    share = few.n_tasks / term.n_tasks
    every, some = row_moments(term), RowMoments(few, term.fit_intercept)
    slopes, part = np.empty(every.shape), np.empty(some.shape)
    A = np.eye(term.n_features)
    asked, found, V, gaps = [alpha**2 * A], [], np.zeros(some.shape), [np.inf, problem.null_objective()]
    while True:
        turned = make_term(few._with(X=few.X @ A), term.loss, term.fit_intercept)
        inner = Problem(turned, problem.penalty.scaled(share**0.5))
        V = solve(inner, V, INNER_ITERATIONS, share * max(EXACT * target, ROUGH * gaps[-1]))
        _, s, directions = np.linalg.svd(V / share**0.5, full_matrices=False)
        root = directions.T * np.sqrt(s / alpha)
        basis, sizes, _ = np.linalg.svd(A @ root)
        variances = sizes**2
        loss, products, _ = every.ridges(variances, slopes, basis=basis)
        gaps.append(_gap(problem.parts[0].rough, loss, products, variances))
        n_iter = len(gaps) - 2
        stalls = gaps[-1] > PAYS * gaps[-3] or n_iter >= min(MOST_STEPS, max_iter)
        if gaps[-1] <= ENOUGH * target or stalls:
            break
        lag = some.ridges(variances, part, basis=basis)[1] / share - products
        found.append(asked[0] + basis @ lag @ basis.T)
        asked.append(_extrapolated(np.array(asked), np.array(found)))
        strengths, axes = np.linalg.eigh(asked[-1])
        if not strengths[0] > LEAST * alpha**2:
            break
        V, A = V @ A, (axes * (alpha / np.sqrt(strengths))) @ axes.T
        V = np.linalg.solve(A, V.T).T
    return by_rows(lambda g: (g * variances) @ basis.T, slopes), n_iter


def _extrapolated(points, images):
    """About the fixed point of a map from some of its points (n, p, p) and their images."""
    moves = (images - points).reshape(len(points), -1)
    weights = np.linalg.pinv(moves @ moves.T, hermitian=True).sum(axis=1)
    return np.tensordot(weights / weights.sum(), images, 1)


def covariance_pays(problem):
    """Whether that applies, to the trace norm alone."""
    part, *others = problem.parts
    rough = part.rough
    if others or part.quadratic or type(rough) is not Spectrum or type(rough.function) is not L1:
        return False
    return (
        not rough.centered
        and problem.term.n_tasks >= MANY * SOME * problem.shape[1]
        and rows_are_few(problem.term)
    )


def _gap(norm, loss, products, variances):
    """Duality gap from the products of the slopes of all tasks, in the basis of the variances.

    A matrix with these products tells of W and its gradient what norms see.
    """
    values, vectors = np.linalg.eigh(products)
    G = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return certificate(norm, 0.5 * loss, G * variances, -G)[1]
