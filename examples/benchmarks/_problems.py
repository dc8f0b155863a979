"""The problems of `speed.py`, and the one certificate that all programs are measured by."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import entr, expit
from sklearn.datasets import load_digits
from sklearn.preprocessing import PolynomialFeatures, StandardScaler


class Norm(NamedTuple):
    """A norm of W (n_tasks, n_features), its dual norm, and the prox of `size` times the norm."""

    value: Any
    dual: Any
    prox: Any


def shrink(W, size, axis):
    """Prox of the sum of the Euclidean norms along an axis."""
    norms = np.linalg.norm(W, axis=axis, keepdims=True)
    return W * np.maximum(1.0 - size / np.maximum(norms, 1e-300), 0.0)


def clip_columns(W, size):
    """Prox of the sum of the largest absolute values of the columns: W minus its projection on l1 balls."""
    A = -np.sort(-np.abs(W), axis=0)
    excess = (np.cumsum(A, axis=0) - size) / np.arange(1, len(A) + 1)[:, None]
    level = np.take_along_axis(excess, (excess < A).sum(axis=0)[None] - 1, axis=0)
    return np.where(A.sum(axis=0) > size, np.sign(W) * np.minimum(np.abs(W), level), 0.0)


def shrink_singular_values(W, size):
    """Prox of the trace norm by a full decomposition."""
    U, s, V = np.linalg.svd(W, full_matrices=False)
    return (U * np.maximum(s - size, 0.0)) @ V


FEATURES = Norm(
    lambda W: np.linalg.norm(W, axis=0).sum(),
    lambda G: np.linalg.norm(G, axis=0).max(),
    lambda W, size: shrink(W, size, 0),
)
TASKS = Norm(
    lambda W: np.linalg.norm(W, axis=1).sum(),
    lambda G: np.linalg.norm(G, axis=1).max(),
    lambda W, size: shrink(W, size, 1),
)
LARGEST = Norm(lambda W: np.abs(W).max(axis=0).sum(), lambda G: np.abs(G).sum(axis=0).max(), clip_columns)
ENTRIES = Norm(
    lambda W: np.abs(W).sum(),
    lambda G: np.abs(G).max(),
    lambda W, size: np.sign(W) * np.maximum(np.abs(W) - size, 0.0),
)
TRACE = Norm(
    lambda W: np.linalg.norm(W, "nuc"), lambda G: np.linalg.norm(G, 2), shrink_singular_values
)  # fmt: skip


# --- data ---


class Shared:
    """One X (n_samples, n_features), y (n_samples, n_tasks)."""

    def __init__(self, X, y):
        self.X, self.y, self.weight, self.blocks = X, y, 1.0 / len(y), [X]
        self.shape, self.arguments = (y.shape[1], X.shape[1]), {}

    def linear(self, W):
        """X W'."""
        return self.X @ W.T

    def adjoint(self, R):
        """X' R / n, of the shape of W."""
        return (self.X.T @ R).T * self.weight

    def spread(self, b):
        """b on every row."""
        return b

    def means(self, R):
        """Mean for each task."""
        return R.mean(axis=0)

    def centred(self):
        """The same about the means."""
        return Shared(self.X - self.X.mean(axis=0), self.y - self.y.mean(axis=0))


class Stacked:
    """Rows of X (n_samples, n_features) and y (n_samples,) by task, `sizes` of them each."""

    def __init__(self, X, y, sizes):
        self.X, self.y, self.sizes = X, y, sizes
        self.bounds = np.concatenate([[0], np.cumsum(sizes)])
        self.weight = np.repeat(1.0 / sizes, sizes)
        self.blocks = self.split(X)
        self.shape, self.arguments = (
            (len(sizes), X.shape[1]),
            {"tasks": np.repeat(np.arange(len(sizes)), sizes)},
        )

    def split(self, rows):
        """One view for each task."""
        return np.split(rows, self.bounds[1:-1])

    def linear(self, W):
        """x_i . w_t."""
        return np.concatenate([X @ w for X, w in zip(self.blocks, W, strict=True)])

    def adjoint(self, R):
        """X_t' r_t / n_t, of the shape of W."""
        pairs = zip(self.blocks, self.split(R * self.weight), strict=True)
        return np.array([X.T @ r for X, r in pairs])

    def spread(self, b):
        """b_t on every row of t."""
        return np.repeat(b, self.sizes)

    def means(self, R):
        """Mean for each task."""
        return np.add.reduceat(R * self.weight, self.bounds[:-1])

    def centred(self):
        """The same about the means of the tasks."""
        X = np.concatenate([X - X.mean(axis=0) for X in self.blocks])
        return Stacked(X, self.y - self.spread(self.means(self.y)), self.sizes)


# --- problem and certificate ---


@dataclass(frozen=True)
class Problem:
    """Minimise sum_t mean_i loss(y_i, x_i . w_t + b_t) + alpha sum_k ratio_k norm_k(W_k), W = sum_k W_k.

    `penalty` holds the pairs (ratio, norm); the loss is the squared or the logistic one.
    """

    data: Any
    penalty: tuple = ((1.0, FEATURES),)
    alpha: float = 1.0
    fit_intercept: bool = False
    logistic: bool = False

    def at(self, divisor):
        """The problem with alpha = alpha_max / divisor."""
        return replace(self, alpha=self.dual_norm(self.data.adjoint(self.null()[1])) / divisor)

    def centred(self):
        """The problem without intercepts on centred data."""
        return replace(self, data=self.data.centred(), fit_intercept=False)

    def curvature(self):
        """Largest eigenvalue of the Hessian of the loss, over all parts of W and b."""
        size = 0.0
        for X in self.data.blocks:
            Z = np.column_stack([X, np.ones(len(X))]) if self.fit_intercept else X
            size = max(size, np.linalg.eigvalsh(Z @ Z.T if len(Z) < Z.shape[1] else Z.T @ Z)[-1] / len(Z))
        return size * len(self.penalty) * (0.25 if self.logistic else 1.0)

    def dual_norm(self, G):
        """Of the penalty at alpha = 1."""
        return max(norm.dual(G) / ratio for ratio, norm in self.penalty)

    def value(self, eta):
        """The data term."""
        y = self.data.y
        losses = np.logaddexp(0.0, eta) - y * eta if self.logistic else 0.5 * (y - eta) ** 2
        return float((losses * self.data.weight).sum())

    def residual(self, eta):
        """Minus the derivative of the loss."""
        return self.data.y - (expit(eta) if self.logistic else eta)

    def intercept(self, W):
        """The best b for W, by Newton's method: one step for the squared loss."""
        b, eta = np.zeros(len(W)), self.data.linear(W)
        for _ in range((30 if self.logistic else 1) if self.fit_intercept else 0):
            at = eta + self.data.spread(b)
            p = expit(at)
            b = b + self.data.means(self.residual(at)) / (
                self.data.means(p * (1 - p)) if self.logistic else 1.0
            )
        return b

    def null(self):
        """Objective and residual at W = 0 with the best intercept."""
        W = np.zeros(self.data.shape)
        eta = self.data.linear(W) + self.data.spread(self.intercept(W))
        return self.value(eta), self.residual(eta)

    def scale(self):
        """What gaps are relative to."""
        return self.null()[0]

    def relative_gap(self, alpha, parts, b):
        """Duality gap at (W, b) over the objective at W = 0 with the best b.

        The primal objective is taken at the b given; the dual point is the residual at the best b for W,
        which is centred, times the best factor that makes it feasible.
        """
        data, W = self.data, sum(parts)
        eta = data.linear(W)
        omega = alpha * sum(r * norm.value(V) for (r, norm), V in zip(self.penalty, parts, strict=True))
        primal = self.value(eta + data.spread(b)) + omega
        U = self.residual(eta + data.spread(self.intercept(W)))
        if self.fit_intercept:
            U = U - data.spread(data.means(U))
        limit = alpha / max(self.dual_norm(data.adjoint(U)), 1e-300)
        if self.logistic:
            P = np.clip(data.y - min(limit, 1.0) * U, 0.0, 1.0)
            dual = ((entr(P) + entr(1.0 - P)) * data.weight).sum()
        else:
            along, size = (data.y * U * data.weight).sum(), (U * U * data.weight).sum()
            scale = min(max(along / size, 0.0), limit)
            dual = scale * along - 0.5 * scale**2 * size
        return (primal - dual) / self.scale()


class Tied(Problem):
    """Mean-regularised least squares: alpha/2 sum_t ||w_t - mean||^2."""

    def scale(self):
        """There is no gap: a certificate by duality would need a norm."""
        return np.nan

    def relative_gap(self, alpha, parts, b):
        """In its place the gradient at (W, b) over that at zero."""
        data, W = self.data, sum(parts)

        def gradient(W, b):
            R = self.residual(data.linear(W) + data.spread(b))
            return np.column_stack([alpha * (W - W.mean(axis=0)) - data.adjoint(R), -data.means(R)])

        return np.linalg.norm(gradient(W, b)) / np.linalg.norm(gradient(0 * W, 0 * b))


def megabytes(X):
    """Memory of a matrix."""
    arrays = [X.data, X.indices, X.indptr] if sparse.issparse(X) else [X]
    return sum(array.nbytes for array in arrays) / 2**20


# --- examples ---


def autoregressive(rng, n, p, rho=0.5):
    """Rows of a process with correlation rho between neighbouring features."""
    X = rng.standard_normal((n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1.0 - rho**2) * X[:, j]
    return X


def with_noise(rng, signal, ratio=3.0):
    """The signal and noise of a third of its norm."""
    noise = rng.standard_normal(signal.shape)
    return signal + noise * (np.linalg.norm(signal) / (ratio * np.linalg.norm(noise)))


def shared_support(n, p, T, density=None, n_used=50, seed=0):
    """Data of which `n_used` features matter, to all tasks; with `density` a sparse X."""
    rng = np.random.default_rng(seed)
    if density is None:
        X = autoregressive(rng, n, p)
    else:
        X = sparse.random(n, p, density, "csc", rng=rng, data_rvs=rng.standard_normal)
    W = np.zeros((p, T))
    W[rng.choice(p, min(n_used, p), replace=False)] = rng.standard_normal((min(n_used, p), T))
    return Shared(X, with_noise(rng, X @ W))


def low_rank(n, p, T, rank=10, seed=0):
    """Data whose coefficients have a low rank."""
    rng = np.random.default_rng(seed)
    X = autoregressive(rng, n, p)
    return Shared(X, with_noise(rng, X @ rng.standard_normal((p, rank)) @ rng.standard_normal((rank, T))))


def stacked(T, n, p, n_used, classes=False, seed=0):
    """Tasks with rows of their own that share a support and deviate from a common model."""
    rng = np.random.default_rng(seed)
    X, sizes = rng.standard_normal((T * n, p)), np.full(T, n)
    W = np.zeros((T, p))
    W[:, :n_used] = rng.standard_normal(n_used) + rng.standard_normal((T, n_used))
    eta = Stacked(X, np.zeros(T * n), sizes).linear(W) + np.repeat(rng.standard_normal(T), n)
    y = (rng.random(len(eta)) < expit(eta)).astype(float) if classes else with_noise(rng, eta)
    return Stacked(X, y, sizes)


def digits():
    """Lower half of the digits from products of pixels of the upper one, without constant columns."""
    pixels = load_digits().data
    X = PolynomialFeatures(2, include_bias=False).fit_transform(pixels[:, :32])
    Y = pixels[:, 32:]
    X, Y = (A[:, A.std(axis=0) > 0] for A in (X, Y))
    return Shared(StandardScaler().fit_transform(X), Y - Y.mean(axis=0))


def school(path):
    """Exam scores in 139 schools, features standardised."""
    found = np.load(path)
    order = np.argsort(found["task"], kind="stable")
    X = StandardScaler().fit_transform(found["X"].astype(float))[order]
    return Stacked(X, found["y"].astype(float)[order], np.bincount(found["task"]))
