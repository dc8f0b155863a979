"""Norms of features over many tasks with few rows each, for the squared loss."""

import numpy as np
from scipy import linalg, optimize

from .._threads import loop_pays
from ..objective import Problem, RowMoments, make_term, row_moments, rows_pay
from ._descent import certificate

SOME = 500  # tasks that tell how the variances curve the objective, and where to start
MANY = 20 * SOME  # tasks from which on that pays
FEW_ROWS = 0.5  # rows per feature up to which it does beside moments of all tasks
MOST_STEPS = 30  # Newton steps, each of them a pass over the rows
PAYS = 0.5  # share of the gap that two steps leave, above which a gradient method is as good
ENOUGH = 0.8  # share of the target to aim at
ROUNDING = 1e-12  # of the objective, and of a matrix with a diagonal of ones


def by_variances(problem, W, solve, max_iter, target):
    """W (n_tasks, n_features) of about that gap, from W on, and the passes over the rows that it took.

    A norm is the least of ridge penalties, c ||W_j|| = min_v 1/2 (||W_j||^2 / v + c^2 v): given the variance
    v_j of every feature the tasks come apart, and what they leave is a smooth convex function of the
    variances, which Newton's method minimises. Its curvature is about a mean over the tasks: some of them
    tell it, and where to start from zero. `solve` finds the W of a problem of fewer tasks.
    """
    term, every = problem.term, _Variances(problem, row_moments(problem.term))
    few = term.data.of_tasks(np.arange(0, term.n_tasks, term.n_tasks // SOME))
    share = few.n_tasks / term.n_tasks
    if not W.any():
        some = make_term(few, term.loss, term.fit_intercept)
        W = solve(Problem(some, problem.penalty.scaled(share**0.5), problem.own_ridge)) / share**0.5
    v = every.of(W)
    H = _Variances(problem, RowMoments(few, term.fit_intercept)).curvature(v) / share
    gaps, lowest, last, n_iter = [np.inf, np.inf], np.inf, v, 0
    while n_iter < min(MOST_STEPS, max_iter):
        value, gradient, gap = every.at(v)
        n_iter += 1
        downhill = value <= (1 + ROUNDING) * lowest
        if gap <= ENOUGH * target or (downhill and gap > PAYS * gaps[-2]):
            break
        if downhill:
            lowest, gaps, last = min(value, lowest), [*gaps, gap], v
        v = every.step(v, gradient, H) if downhill else 0.5 * (v + last)
    return every.coefficients(), n_iter


def variances_pay(problem):
    """Whether that applies: to L2 norms."""
    l1, _, linf = problem.parts[0].rough.kernel
    return not (l1 or linf) and problem.term.n_tasks >= MANY and rows_are_few(problem.term)


def rows_are_few(term):
    """Whether tasks have their rows and fewer of them than features, or there is no room for moments."""
    if term.data is None or term.tied_intercepts:
        return False
    few = not term.on_moments or len(term.data.y) <= FEW_ROWS * term.n_tasks * term.n_features
    return few and rows_pay(term.data) and loop_pays(*term.shape)


class _Variances:
    """The objective as a function of the variances of features, or of their groups, (n_groups,)."""

    def __init__(self, problem, products):
        part, p = problem.parts[0], problem.shape[1]
        self.placement, self.ridge, self.products = part.rough, part.quadratic.mean, products
        self.slopes = np.empty(products.shape)
        (bounds, weights), order = self.placement.blocks(p), self.placement.columns(np.ones(p, dtype=bool))
        self.strengths, self.groups = weights * self.placement.kernel[1], np.empty(p, dtype=np.intp)
        self.groups[order] = np.arange(len(weights)).repeat(np.diff(bounds))

    def summed(self, values):
        """Sums over the features of a group."""
        return np.bincount(self.groups, values, len(self.strengths))

    def of(self, W):
        """Those that belong to some coefficients."""
        size = np.sqrt(self.summed(np.einsum("tj,tj->j", W, W)))
        return size / (self.strengths + self.ridge * size)

    def at(self, v):
        """Value, gradient, and the duality gap at the coefficients that belong to v.

        Those of a feature are along their gradient: one number of each tells what all tasks do.
        """
        self.each = each = v[self.groups]
        loss, squares, _ = self.products.ridges(each, self.slopes)
        left, size = 1.0 - self.ridge * v, np.sqrt(squares)
        value = 0.5 * (loss + each @ squares + self.strengths**2 @ (v / left))
        gradient = 0.5 * ((self.strengths / left) ** 2 - self.summed(squares))
        smooth = 0.5 * (loss + self.ridge * each**2 @ squares)
        _, gap = certificate(self.placement, smooth, (each * size)[None], (-left[self.groups] * size)[None])
        return value, gradient, gap

    def curvature(self, v):
        """Second derivatives of the data term, (n_groups, n_groups)."""
        H = self.products.ridges(v[self.groups], self.slopes, curved=True)[2]
        groups = np.eye(len(v))[:, self.groups]
        return groups @ (H + np.triu(H, 1).T) @ groups.T

    def step(self, v, gradient, H):
        """The next variances by Newton's method under v >= 0, H the curvature of the data term."""
        left = 1.0 - self.ridge * v
        H = H + np.diag(self.strengths**2 * self.ridge / left**3)
        unit = np.sqrt(np.maximum(H.diagonal(), np.finfo(float).tiny))
        root = linalg.cholesky(H / np.outer(unit, unit) + ROUNDING * np.eye(len(v)))
        rhs = linalg.solve_triangular(root, (H @ v - gradient) / unit, trans=1)
        new = optimize.nnls(root, rhs, maxiter=100 * len(v))[0] / unit
        return np.minimum(new, 0.5 * (v + 1.0 / self.ridge)) if self.ridge else new

    def coefficients(self):
        """Those that belong to the variances `at` which it was last evaluated."""
        self.slopes *= self.each
        return self.slopes
