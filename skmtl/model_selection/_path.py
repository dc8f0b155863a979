"""Regularisation paths: one estimator at many strengths, each solution the start of the next."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.base import clone

from ..linear_model import Fitting, LinearModel
from ._grid import check_alphas


@dataclass(repr=False)
class CoefficientPath:
    """Solutions at falling strengths, as `path` returns them.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
        Strengths, falling.
    coef : ndarray of shape (n_alphas, n_tasks, n_features)
        Coefficients in the shape that a fit gives them: for one task by a 1-D y without the axis of tasks.
    intercept : ndarray of shape (n_alphas, n_tasks)
        Intercepts, likewise.
    objective, gap : ndarray of shape (n_alphas,)
        Objective, and duality gap (NaN: no certificate).
    n_iter : ndarray of shape (n_alphas,)
        Iterations.
    converged : ndarray of shape (n_alphas,)
        Whether the stopping rule of the solver was met.
    tasks : ndarray of shape (n_tasks,)
        Task labels, the order of the rows of a `coef`.

    Examples
    --------
    >>> from skmtl import GroupSparseRegressor, path
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> found = path(GroupSparseRegressor(), data.X, data.y, data.tasks, alphas=10)
    >>> found.coef.shape, bool(found.coef[0].any())  # at the greatest strength all are zero
    ((10, 4, 20), False)
    """

    alphas: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    n_iter: np.ndarray
    converged: np.ndarray
    tasks: np.ndarray

    def __repr__(self):
        top, bottom = self.alphas.max(), self.alphas.min()
        return f"CoefficientPath({len(self.alphas)} strengths from {top:.4g} to {bottom:.4g})"


def path(
    estimator, X, y=None, tasks=None, alphas=100, eps=1e-3, *, sample_weight=None, offset=None, stop_when=None
):  # fmt: skip
    """Solutions of a linear estimator along a falling sequence of strengths.

    Every solution is the start of the next, and what was computed of the data serves all of them.

    Parameters
    ----------
    estimator : linear estimator
        Its `alpha` is ignored; `tol`, `solver` and all other parameters hold for every strength.
    X : {array-like, sparse matrix} of shape (n_samples, n_features) or TaskStatistics
        Features, with the task column if the estimator's `task_column` is set; or second moments
        (squared loss) in the place of all data.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
        Targets; None with `TaskStatistics` only.
    tasks : array-like of shape (n_samples,), optional
        Task labels, as in `fit`.
    alphas : int or array-like of shape (n_alphas,), default=100
        Strengths, in any order, or how many: on a geometric scale from `alpha_max` down; for a penalty
        that gives no zeros (quadratic ones) from 1/eps to eps times the mean second derivative of the loss.
    eps : float, default=1e-3
        Least strength over the greatest, where `alphas` is a number. With tied intercepts (`intercept_alpha`)
        the scale goes down to where it would end with free ones.
    sample_weight, offset : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
        As in `fit`.
    stop_when : {None, "saturated"} or callable, default=None
        Ends the path early: "saturated" once more features are in use than there are rows; a callable is
        called with (alpha, coef, intercept) after every strength and ends the path by a true value.

    Returns
    -------
    CoefficientPath

    Raises
    ------
    TypeError
        If the estimator is not a linear one of this library.
    ValueError
        If an argument is malformed.

    See Also
    --------
    skmtl.linear_model.MultiTaskLasso.alpha_max : The greatest strength that matters.

    Examples
    --------
    >>> from skmtl import MultiTaskLasso, path
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=5, n_samples=30, n_features=20, random_state=0)
    >>> found = path(MultiTaskLasso(), data.X, data.y, data.tasks, alphas=20, eps=0.01)
    >>> found.coef.shape, int((found.coef[0] != 0).sum())
    ((20, 5, 20), 0)
    """
    check_linear(estimator, "path needs a linear estimator of skmtl")
    fitting = Fitting.of(clone(estimator).set_params(alpha=1.0), X, y, tasks, sample_weight, offset)
    alphas = check_alphas(alphas, eps)
    if isinstance(alphas, Integral):
        alphas = fitting.alphas(alphas, eps)
    stop, rows = _stopping(stop_when, fitting.n_rows), []
    for alpha, found in fitting.along(np.sort(alphas)[::-1]):
        W, b = fitting.shaped(found)
        rows.append((alpha, W, b, found.objective, found.gap, found.n_iter, found.converged))
        if stop(alpha, W, b):
            break
    return CoefficientPath(*map(np.array, zip(*rows, strict=True)), tasks=fitting.model.tasks_)


def _stopping(stop_when, n_rows):
    """The rule as a function of (alpha, coef, intercept)."""
    if stop_when is None or callable(stop_when):
        return stop_when or (lambda *found: False)
    if stop_when != "saturated":
        raise ValueError(f"stop_when must be None, 'saturated' or a callable; got {stop_when!r}.")
    return lambda alpha, coef, intercept: np.count_nonzero(np.atleast_2d(coef).any(axis=0)) > n_rows


def check_linear(model, needs, also=""):
    """TypeError that says what is needed, and what else there is, where a model is not linear, or a class."""
    if not isinstance(model, LinearModel):
        name = getattr(model, "__name__", type(model).__name__)
        got = f"the class {name}: make an object of it, {name}()" if isinstance(model, type) else name
        inner = getattr(model, "estimator", None)
        if isinstance(getattr(inner, "steps", [(None, inner)])[-1][1], LinearModel):
            got += f": give it the one in this, and put the {name} around it"
        raise TypeError(f"{needs}; got {got}.{also}")
