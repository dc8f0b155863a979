"""The other programs of `speed.py`: libraries, and methods that no library for Python offers.

Every function takes a problem and returns an `Entry`. What is timed is `run` alone: conversions to the memory
order that a library prefers, reading the coefficients out of its result and compilation are not.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import numpy as np
from scipy import sparse

import skmtl

TOLERANCES = 10.0 ** -np.arange(0, 8)


class Entry(NamedTuple):
    """A program on a problem.

    `settings` are tolerances (or numbers of iterations), from loose to tight; `run(setting)` is what is
    timed; `read(result)` gives (alpha, parts of W, b) for every strength, W of shape (n_tasks, n_features).
    """

    settings: list
    run: Callable
    read: Callable


def fortran(problem):
    """X and Y by columns, as coordinate descent reads them."""
    X, Y = problem.data.X, problem.data.y
    return (X.tocsc() if sparse.issparse(X) else np.asfortranarray(X)), np.asfortranarray(Y)


def along(alphas, coefs):
    """For `Entry.read`: the coefficients (n_tasks, n_features, n_alphas) of a path without b."""
    return [(alpha, [coefs[:, :, k]], np.zeros(len(coefs))) for k, alpha in enumerate(alphas)]


def relative_tolerances(goal):
    """Tolerances of programs that stop on the gap over ||Y||^2: the last but one is exactly the goal."""
    return [10000 * goal, 1000 * goal, 100 * goal, 10 * goal, 2 * goal, goal / 2, goal / 20]


# --- the multi-task Lasso: one strength, or with `alphas` a path ---


def scikit_learn(problem, goal, alphas=None):
    """Coordinate descent with gap-safe screening; tol = goal / 2 is exactly this goal."""
    from sklearn.linear_model import MultiTaskLasso, lasso_path

    X, Y = fortran(problem)
    settings = relative_tolerances(goal)
    if alphas is not None:
        return Entry(
            settings[2:],
            lambda tol: lasso_path(X, Y, alphas=alphas, tol=tol, max_iter=10**6, copy_X=False)[1],
            lambda coefs: along(alphas, coefs),
        )
    model = MultiTaskLasso(problem.alpha, fit_intercept=problem.fit_intercept, max_iter=10**6)
    model.copy_X = problem.fit_intercept  # else it centres our X in place
    return Entry(
        settings,
        lambda tol: model.set_params(tol=tol).fit(X, Y),
        lambda fitted: [(problem.alpha, [fitted.coef_.copy()], np.array(fitted.intercept_))],
    )


def celer(problem, goal, alphas=None):
    """Working sets with dual extrapolation: its path, as the class does not run on scikit-learn 1.9."""
    from celer.homotopy import mtl_path

    if sparse.issparse(problem.data.X) or problem.fit_intercept:
        raise NotImplementedError("no sparse X and no intercepts in its path")
    X, Y = fortran(problem)
    grid = np.array([problem.alpha]) if alphas is None else alphas
    return Entry(
        relative_tolerances(goal)[0 if alphas is None else 2 :],
        lambda tol: mtl_path(X, Y, alphas=grid, tol=tol, max_iter=1000)[1],
        lambda coefs: along(grid, coefs),
    )


def skglm(problem, goal, alphas=None):
    """Working sets with Anderson acceleration; tol is an absolute violation of optimality."""
    from skglm.datafits import QuadraticMultiTask
    from skglm.penalties import L2_1
    from skglm.solvers import MultiTaskBCD

    X, Y = fortran(problem)

    def run(tol, X=X, alpha=problem.alpha):
        datafit, penalty = QuadraticMultiTask(), L2_1(alpha)
        solver = MultiTaskBCD(max_iter=1000, tol=tol, fit_intercept=problem.fit_intercept)
        if alphas is not None:
            return solver.path(X, Y, datafit, penalty, alphas)[1]
        return solver.solve(X, Y, datafit, penalty)[0]

    def read(W):
        if alphas is not None:
            return along(alphas, W)
        b = W[-1] if problem.fit_intercept else np.zeros(W.shape[1])
        return [(problem.alpha, [W[: X.shape[1]].T], b)]

    run(1e-6 * problem.alpha, X[:, :30], 0.1 * problem.alpha)  # compiles, which it does in every process
    return Entry(
        list(TOLERANCES * problem.alpha if alphas is None else TOLERANCES[2:] * alphas[-1]), run, read
    )


def adelie(problem, goal, alphas=None):
    """Group elastic net; its loss is divided by the number of tasks, its tol a change of coefficients."""
    import adelie as ad

    X, Y = fortran(problem)
    p, T = X.shape[1], Y.shape[1]
    matrix = ad.matrix.sparse(X) if sparse.issparse(X) else ad.matrix.dense(X)
    glm = ad.glm.multigaussian(np.ascontiguousarray(Y))
    grid = np.array([problem.alpha]) if alphas is None else alphas
    options = {"penalty": np.ones(p), "adev_tol": 1.0, "early_exit": False, "progress_bar": False}

    def run(tol):
        return ad.grpnet(
            matrix,
            glm,
            lmda_path=grid / T,
            tol=tol,
            intercept=problem.fit_intercept,
            max_iters=10**7,
            **options,
        )

    def read(state):
        W = state.betas.toarray().reshape(len(grid), p, T)
        b = state.intercepts if problem.fit_intercept else np.zeros((len(grid), T))
        return [(alpha, [W[k].T], b[k]) for k, alpha in enumerate(grid)]

    return Entry(list(10.0 ** -np.arange(5 if alphas is None else 7, 16)), run, read)


LASSO = {"scikit-learn": scikit_learn, "celer": celer, "skglm": skglm, "adelie": adelie}


def cross_validated(problem, tol, model):
    """A class for cross-validation; scikit-learn's tolerance is twice the gap over the objective at W = 0."""
    X, Y = (
        (problem.data.X, problem.data.y) if type(model).__module__.startswith("skmtl") else fortran(problem)
    )
    return Entry(
        [tol],
        lambda tol: model.set_params(tol=tol).fit(X, Y),
        lambda fitted: [(fitted.alpha_, [fitted.coef_], fitted.intercept_)],
    )


def grid_searched(problem, tol):
    """The same strengths and folds without paths: every fit starts anew."""
    from sklearn.model_selection import GridSearchCV

    X, Y = problem.data.X, problem.data.y
    model = skmtl.MultiTaskLasso(tol=tol)
    alphas = np.geomspace(1.0, 1e-3, 100) * model.alpha_max(X, Y)
    search = GridSearchCV(model, {"alpha": alphas}, scoring="neg_mean_squared_error", cv=5)
    return Entry(
        [tol],
        lambda tol: search.fit(X, Y).best_estimator_,
        lambda fitted: [(fitted.alpha, [fitted.coef_], fitted.intercept_)],
    )


def ridge_per_task(problem, checked):
    """One Ridge for each task: it shares nothing, so its solution is not that of our problem."""
    from sklearn import config_context
    from sklearn.linear_model import Ridge

    pairs = list(zip(problem.data.blocks, problem.data.split(problem.data.y), strict=True))

    def run(_):
        with config_context(assume_finite=not checked, skip_parameter_validation=not checked):
            return [Ridge(problem.alpha * len(y)).fit(X, y) for X, y in pairs]

    return Entry([None], run, lambda models: [])


# --- proximal gradient ---


def fista(problem, step=None):
    """Iterates (parts, b) of the accelerated proximal gradient method, with full prox and without restart.

    The gradient comes from residuals. With `step` it is constant; without, the curvature starts at 1 and is
    doubled whenever the quadratic model is no upper bound (the line search of MALSAR and SLEP). The predictor
    of the extrapolated point is the extrapolated predictor, so that an iteration is one product with X and
    one with its transpose, and one more with X for each doubling.
    """
    data, curvature, momentum = problem.data, 1.0 if step is None else 1.0 / step, 1.0
    parts = np.zeros((len(problem.penalty), *data.shape))
    b = np.zeros(data.shape[0])
    eta = data.linear(parts[0])
    Z, c, at = parts, b, eta
    while True:
        R = problem.residual(at)
        G, gb, value = -data.adjoint(R), -data.means(R) * problem.fit_intercept, problem.value(at)
        while True:
            new = np.array([
                norm.prox(V - G / curvature, problem.alpha * ratio / curvature)
                for (ratio, norm), V in zip(problem.penalty, Z, strict=True)
            ])  # fmt: skip
            new_b = c - gb / curvature
            D, d = new - Z, new_b - c
            new_eta = data.linear(new.sum(axis=0)) + data.spread(new_b)
            model = value + np.vdot(G, D.sum(axis=0)) + gb @ d + 0.5 * curvature * (np.vdot(D, D) + d @ d)
            if step is not None or problem.value(new_eta) <= model * (1 + 1e-12):
                break
            curvature *= 2.0
        ahead = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        pull, momentum = (momentum - 1.0) / ahead, ahead
        Z, c, at = new + pull * (new - parts), new_b + pull * (new_b - b), new_eta + pull * (new_eta - eta)
        parts, b, eta = new, new_b, new_eta
        yield parts, b


def accelerated(problem, goal, constant=False, centred=False):
    """FISTA for exactly the iterations that it needs, found beforehand: it pays for no stopping rule.

    `constant` gives it the step 1/L, with L known beforehand too; `centred` data without intercepts.
    """
    solved = problem.centred() if centred else problem
    step = 1.0 / solved.curvature() if constant else None

    def read(found):
        parts, b = found
        return [(problem.alpha, list(parts), problem.intercept(sum(parts)) if centred else b)]

    n_iter = next(
        k
        for k, found in enumerate(fista(solved, step), 1)
        if k % 3 == 0 and worst(problem, read(found)) <= goal
    )
    return Entry([n_iter], lambda n: deque(islice(fista(solved, step), n), maxlen=1)[0], read)


def worst(problem, found):
    """Largest relative gap over what `Entry.read` returned; NaN for nothing."""
    return max((problem.relative_gap(*one) for one in found), default=np.nan)
