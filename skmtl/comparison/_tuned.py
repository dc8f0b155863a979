"""Linear models for `compare`: one strength each, tuned on the training rows over a grid that grows."""

from itertools import pairwise

import numpy as np
import sklearn
from scipy import sparse, special
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, get_tags
from sklearn.utils.metaestimators import available_if

from .._sklearn import safe_indexing
from .._task_scores import deviances
from ..model_selection import MOST_DECADES, beyond

ALPHAS = np.logspace(-2, 5, 15)
LOGISTIC_ALPHAS = np.logspace(-1, 2, 4)
COUNT_ALPHAS = np.logspace(-4, 1, 6)
MANY_LEVELS = 200  # columns of tasks from which no system of them is solved
MOST_AT_ONCE = 10**6  # numbers, of features times strengths
LEAST_LOG = -np.log(np.finfo(np.float64).eps)  # of a probability of zero
TINY = np.finfo(np.float64).tiny
FEW_COEFFICIENTS = 300  # of logistic regression, of which Newton's method is quicker than L-BFGS


def best_strength(errors_of, grid):
    """The strength of least error; the grid grows as that of a search does."""
    errors = errors_of(grid)
    for _ in range(MOST_DECADES):
        further = beyond(grid, -errors)
        if further is None:
            break
        grid, errors = np.concatenate([grid, further]), np.concatenate([errors, errors_of(further)])
    return grid[errors.argmin()]


def leave_one_out(X, y, grid):
    """Sum of the squared leave-one-out errors of ridge regression at each strength."""
    n_levels = _n_levels(X) if X.shape[1] > MANY_LEVELS else 0
    if n_levels <= max(MANY_LEVELS, X.shape[1] - n_levels):
        if not sparse.issparse(X):
            return _of_numbers(check_array(X, dtype=np.float64), y - np.mean(y), np.reshape(grid, (-1, 1)))
        return sklearn.linear_model.RidgeCV(grid, store_cv_results=True).fit(X, y).cv_results_.sum(axis=0)
    Z, E = (sparse.csr_array(part) for part in (X[:, :-n_levels], X[:, -n_levels:]))
    Z = np.column_stack([StandardScaler(with_std=False).fit_transform(Z.toarray()), np.ones(len(y))])
    y = y - y.mean()
    return np.array([_beside_levels(Z, E, y, alpha) for alpha in grid])


def _of_numbers(X, y, grid):
    """The errors at each strength, y centred; `RidgeCV`, called for each task, checks ten times as long."""
    X = X - X.mean(axis=0)
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)  # far from zero the mean is rounded
    U, s = (part[..., s > s[0] * max(X.shape) * np.finfo(np.float64).eps] for part in (U, s))
    shrunk, full = grid / (s**2 + grid), U.shape[1] == len(y) - 1  # nothing of y is beyond all directions
    rest, free = (0.0, 0.0) if full else (y - U @ (U.T @ y), 1.0 - 1.0 / len(y) - (U**2).sum(axis=1))
    return (((rest + shrunk * (U.T @ y) @ U.T) / (free + shrunk @ (U**2).T)) ** 2).sum(axis=1)


def _n_levels(X):
    """Number of columns at the end of which a row is in one at most, as those of tasks are."""
    columns, seen = sparse.csc_array(X), np.zeros(X.shape[0], dtype=bool)
    for n, (start, end) in enumerate(pairwise(columns.indptr[::-1])):
        rows = columns.indices[end:start]
        if seen[rows].any():
            return n
        seen[rows] = True
    return X.shape[1]


def _beside_levels(Z, E, y, alpha):
    """The errors at one strength, beside features Z, the last of ones, without a system of the levels E."""
    squares = E.power(2)
    held = 1.0 / (squares.sum(axis=0) + alpha)

    def rest(V):
        return V - E @ (held * (E.T @ V).T).T

    R = rest(Z)
    S = Z.T @ R + np.diag([alpha] * (Z.shape[1] - 1) + [0.0])
    B = np.linalg.solve(S, R.T)
    leverage = squares @ held + np.einsum("ij,ji->i", R, B)
    return (((rest(y) - R @ (B @ y)) / (1.0 - leverage)) ** 2).sum()


def held_out(X, y, grid):
    """Sum of the log-losses of logistic regression in 3 folds at each strength.

    The folds are stratified: a level of its own is in the model at every strength, so that what they tell of
    it makes none look better.
    """
    classes, at, counts = np.unique(y, return_inverse=True, return_counts=True)
    few = len(classes) == 2 and min(counts) >= 3 and X.shape[1] <= FEW_COEFFICIENTS
    if few and isinstance(X, np.ndarray) and X.size * len(grid) <= MOST_AT_ONCE:
        X, found = check_array(X, dtype=np.float64), np.zeros(len(grid))
        for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(X, at):
            B = _logistic_at_once(X[train], at[train], grid)
            eta = B[:, :-1] @ X[test].T + B[:, -1:]
            found += np.minimum(np.logaddexp(0.0, np.where(at[test], -eta, eta)), LEAST_LOG).sum(axis=1)
        return found
    solver = "newton-cholesky" if X.shape[1] * len(np.unique(y)) <= FEW_COEFFICIENTS else "lbfgs"
    models = [logistic(alpha).set_params(solver=solver) for alpha in grid]

    def log_losses(model, X, y):
        at = np.minimum(np.searchsorted(model.classes_, y), len(model.classes_) - 1)
        found = np.where(model.classes_[at] == y, model.predict_proba(X)[np.arange(len(y)), at], 0.0)
        return -np.log(np.maximum(found, np.finfo(np.float64).eps))

    return _in_folds(models, log_losses, StratifiedKFold, X, y)


def _logistic_at_once(X, y, grid):
    """Coefficients (n_strengths, n_features + 1) of classes 0 and 1, the intercept last, by Newton steps.

    `LogisticRegression`, called for each strength of each task, checks far longer than it takes to fit these.
    """
    Z, last = np.column_stack([X, np.ones(len(y))]), np.arange(X.shape[1] + 1) == X.shape[1]
    pull, B = np.where(last, 0.0, np.reshape(grid, (-1, 1))), np.zeros((len(grid), len(last)))

    def losses(B):
        eta = B @ Z.T
        return (np.logaddexp(0.0, eta) - y * eta).sum(axis=1) + 0.5 * (pull * B**2).sum(axis=1)

    least = losses(B)
    for _ in range(100):
        p = special.expit(B @ Z.T)
        gradient, H = (p - y) @ Z + pull * B, (Z.T * (p * (1 - p))[:, None]) @ Z
        lifted = pull + 1e-12 * np.trace(H, axis1=1, axis2=2)[:, None] + TINY
        step = np.linalg.solve(H + lifted[:, None] * np.eye(len(last)), -gradient[..., None])[..., 0]
        fall, size = -(gradient * step).sum(axis=1), np.ones(len(grid))
        if (fall <= 1e-10 * least).all():
            break
        for _ in range(40):
            found = losses(B + size[:, None] * step)
            short = found > least - 1e-4 * size * fall
            if not short.any():
                break
            size[short] *= 0.5
        B, least = B + size[:, None] * step, found
    return B


def _in_folds(models, losses, folds, X, y, weight=None):
    """Weighted sum of the losses of each model on the rows that it has not seen, in 3 folds."""
    errors, weights = np.zeros(len(models)), () if weight is None else (weight,)
    for train, test in folds(3, shuffle=True, random_state=0).split(np.zeros(len(y)), y):
        part, rest = safe_indexing(X, train), safe_indexing(X, test)
        mass = 1.0 if weight is None else weight[test]
        fitted = (model.fit(part, y[train], *(one[train] for one in weights)) for model in models)
        errors += [np.dot(mass, losses(one, rest, y[test])).sum() for one in fitted]
    return errors


def logistic(alpha):
    """Logistic regression of that strength."""
    return sklearn.linear_model.LogisticRegression(C=1 / alpha, max_iter=1000)


def ridge(alpha):
    """Ridge regression of that strength."""
    return sklearn.linear_model.Ridge(alpha)


class PoissonOrZero(BaseEstimator):
    """Poisson regression of that strength; zero where nothing was counted."""

    def __init__(self, alpha):
        self.alpha = alpha

    def __sklearn_tags__(self):
        return get_tags(ridge(1.0))

    def fit(self, X, y, sample_weight=None):
        poisson = sklearn.linear_model.PoissonRegressor(alpha=self.alpha, max_iter=1000)
        self.model_ = (poisson if np.any(y) else DummyRegressor()).fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.model_.predict(X)


def held_out_counts(X, y, grid, weight=None):
    """Weighted sum of the deviances of Poisson regression in 3 folds at each strength."""
    models = [PoissonOrZero(alpha) for alpha in grid]
    return _in_folds(models, lambda model, X, y: deviances(y, model.predict(X)), KFold, X, y, weight)


class Tuned(BaseEstimator):
    """A model of targets of a kind, "numbers", "counts" or "classes", fitted as `model_` by ``_chosen``."""

    def __init__(self, kind):
        self.kind = kind

    loss = property(lambda self: "poisson" if self.kind == "counts" else None)

    def fit(self, X, y, sample_weight=None):
        self.model_ = self._chosen(X, y, sample_weight)
        if self.kind == "classes":
            self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    @available_if(lambda self: self.kind == "classes")
    def predict_proba(self, X):
        return self.model_.predict_proba(X)


class TunedLinear(Tuned):
    """Ridge regression of least leave-one-out error, or for "classes" logistic and for "counts" Poisson
    regression of least loss in 3 folds.
    """

    takes_numbers = True  # no names of columns

    def __sklearn_tags__(self):
        return get_tags((logistic if self.kind == "classes" else ridge)(1.0))

    def _chosen(self, X, y, weight):
        part = (X, y) if weight is None else (X, y, weight)
        return self._best([part]).fit(*part)

    def of_common_strength(self, parts):
        """The model for every task by the (X, y, weight) of all those that can be split."""
        parts = [part for part in parts if self._can_be_split(part[1])]
        return self._best([part[:2] if part[2] is None else part for part in parts])

    def _can_be_split(self, y):
        if self.kind != "classes":
            return len(y) >= KINDS[self.kind][3]
        counts = np.unique(y, return_counts=True)[1]
        return len(counts) > 1 and min(counts) >= 3

    def _best(self, parts):
        """The model with the strength of least error over all parts (X, y) or (X, y, weight) of the rows."""
        model, errors_of, grid, _ = KINDS[self.kind]

        def errors(grid):
            found = (errors_of(X, y, grid, *weight) for X, y, *weight in parts)
            return sum(found, start=np.zeros(len(grid)))

        return model(best_strength(errors, grid))

    @available_if(lambda self: self.kind == "classes")
    def decision_function(self, X):
        return self.model_.decision_function(X)


KINDS = {  # of targets: the model, its errors, strengths, and the least rows that tell them
    "numbers": (ridge, leave_one_out, ALPHAS, 2),
    "counts": (PoissonOrZero, held_out_counts, COUNT_ALPHAS, 3),
    "classes": (logistic, held_out, LOGISTIC_ALPHAS, 3),
}
