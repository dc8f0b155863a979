"""Linear models for `compare`: one strength each, tuned on the training rows over a grid that grows."""

from itertools import pairwise

import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from .._sklearn import safe_indexing
from .._task_scores import deviances
from ..model_selection import MOST_DECADES, beyond

ALPHAS = np.logspace(-2, 5, 15)
LOGISTIC_ALPHAS = np.logspace(-1, 2, 4)
COUNT_ALPHAS = np.logspace(-4, 1, 6)
MANY_LEVELS = 200  # columns of tasks from which no system of them is solved
FEW_COEFFICIENTS = 300  # of logistic regression, of which Newton's method is quicker than L-BFGS
MOST_STEPS, ENOUGH = 100, 1e-9  # of that method, and what a step has to gain, of the objective
TINY_SHARE = 1e-12  # of the trace of its matrix, that it can be inverted where classes are separable


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
            return _in_directions(X, y, grid)
        return sklearn.linear_model.RidgeCV(grid, store_cv_results=True).fit(X, y).cv_results_.sum(axis=0)
    Z, E = (sparse.csr_array(part) for part in (X[:, :-n_levels], X[:, -n_levels:]))
    Z = np.column_stack([StandardScaler(with_std=False).fit_transform(Z.toarray()), np.ones(len(y))])
    y = y - y.mean()
    return np.array([_beside_levels(Z, E, y, alpha) for alpha in grid])


def _in_directions(X, y, grid):
    """The errors at all strengths at once, of the smaller of the two matrices of second moments."""
    Z, y = np.asarray(X, dtype=np.float64), y - np.mean(y, dtype=np.float64)
    Z = Z - Z.mean(axis=0)
    n, p = Z.shape
    if n > p:
        values, V = np.linalg.eigh(Z.T @ Z)
        U, held = Z @ V, 1.0 / (np.maximum(values, 0.0)[:, None] + grid)
        left = y[:, None] - U @ (held * (U.T @ y)[:, None])
        return np.sum((left / (1.0 - 1.0 / n - U**2 @ held)) ** 2, axis=0)
    gram = Z @ Z.T
    values, V = np.linalg.eigh(gram + 1.0 + np.trace(gram) / n)  # that of the mean is the greatest
    values, V = values[:-1], V[:, :-1]
    # both over the strength, so that what small ones leave keeps its digits
    held = 1.0 / (np.maximum(values, 0.0)[:, None] + grid)
    return np.sum((V @ (held * (V.T @ y)[:, None]) / (V**2 @ held)) ** 2, axis=0)


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
    if X.shape[1] * len(np.unique(y)) > FEW_COEFFICIENTS:
        return _in_folds([logistic(alpha) for alpha in grid], _log_losses, StratifiedKFold, X, y)
    X = X.toarray() if sparse.issparse(X) else X
    Z, errors, falling = np.column_stack([X, np.ones(len(y))]), np.zeros(len(grid)), np.argsort(grid)[::-1]
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(Z, y):
        classes = np.unique(y[train])
        test = test[np.isin(y[test], classes)]  # the probability of others is nothing at any strength
        T = (y[:, None] == classes[len(classes) == 2 :]).astype(np.float64)
        path = newton_path(Z[train], T[train], np.asarray(grid)[falling])
        for k, B in zip(falling, path, strict=True):
            errors[k] += _losses_of_logits(Z[test] @ B, T[test])[0].sum()
    return errors


def _log_losses(model, X, y):
    at = np.minimum(np.searchsorted(model.classes_, y), len(model.classes_) - 1)
    found = np.where(model.classes_[at] == y, model.predict_proba(X)[np.arange(len(y)), at], 0.0)
    return -np.log(np.maximum(found, np.finfo(np.float64).eps))


def _losses_of_logits(F, T):
    """Log-loss of rows by logits F (n, k), of the second of two classes (k = 1) or of all; probabilities."""
    if F.shape[1] == 1:
        level = np.logaddexp(0.0, F)
    else:
        top = F.max(axis=1, keepdims=True)
        level = top + np.log(np.exp(F - top).sum(axis=1, keepdims=True))
    return level[:, 0] - np.einsum("ik,ik->i", F, T), np.exp(F - level)


def newton_path(Z, T, strengths):
    """Coefficients (n_features, k) of logistic regression at falling strengths, each from those before.

    The last column of Z, of ones, is free. By Newton's method with steps that lower the objective; small
    problems take less than scikit-learn's checks of their rows.
    """
    (n, p), k = Z.shape, T.shape[1]
    B, shrunk, idle = np.zeros((p, k)), np.ones((p, 1)), np.zeros((p, k, p, k))
    shrunk[-1], idle[-1, :, -1, :] = 0.0, n * (k > 1)  # a constant in all intercepts says nothing
    shrunken = np.repeat(shrunk, k)

    def objective(B):
        losses, P = _losses_of_logits(Z @ B, T)
        return losses.sum() + 0.5 * alpha * np.sum(shrunk * B**2), P

    for alpha in strengths:
        value, P = objective(B)
        for _ in range(MOST_STEPS):
            gradient = Z.T @ (P - T) + alpha * shrunk * B
            weights = (own[:, None] * (one - P) for own, one in zip(P.T, np.eye(k), strict=True))  # (n, k)
            H = [Z.T @ (weight[:, :, None] * Z[:, None]).reshape(n, -1) for weight in weights]
            H = (np.reshape(H, (k, p, k, p)).transpose(1, 0, 3, 2) + idle).reshape(p * k, -1)
            H.flat[:: p * k + 1] += alpha * shrunken + TINY_SHARE * np.trace(H)
            step = np.linalg.solve(H, gradient.ravel()).reshape(p, k)
            gain, length = np.vdot(gradient, step), 1.0
            if not gain > ENOUGH * value:
                break
            while length > TINY_SHARE:
                new, P_new = objective(B - length * step)
                if new <= value - 1e-4 * length * gain:
                    break
                length /= 2
            B, value, P = B - length * step, new, P_new
        yield B


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
    return QuickRidge(alpha)


class QuickRidge(BaseEstimator):
    """Ridge regression of rows that were checked before: scikit-learn's takes longer for that than to fit."""

    def __init__(self, alpha):
        self.alpha = alpha

    def __sklearn_tags__(self):
        return get_tags(sklearn.linear_model.Ridge())

    def fit(self, X, y, sample_weight=None):
        if sparse.issparse(X) or sample_weight is not None:
            return self._fitted(X, y, sample_weight)
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        (n, p), x_mean, y_mean = X.shape, X.mean(axis=0), y.mean()
        Z, left = X - x_mean, y - y_mean
        try:
            if n < p:
                self.coef_ = Z.T @ np.linalg.solve(Z @ Z.T + self.alpha * np.eye(n), left)
            else:
                self.coef_ = np.linalg.solve(Z.T @ Z + self.alpha * np.eye(p), Z.T @ left)
        except np.linalg.LinAlgError:  # singular but for rounding
            return self._fitted(X, y)
        self.intercept_ = y_mean - x_mean @ self.coef_
        return self

    def _fitted(self, X, y, sample_weight=None):
        """This, as scikit-learn fits it."""
        model = sklearn.linear_model.Ridge(self.alpha).fit(X, y, sample_weight)
        self.coef_, self.intercept_ = model.coef_, model.intercept_
        return self

    def predict(self, X):
        return X @ self.coef_ + self.intercept_


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
