"""Second moments of one design, dense or sparse."""

import numpy as np
from scipy import sparse

from ._sklearn import array_namespace, in_memory

CHUNK_NUMBERS = 2**18  # of centred features at a time: they stay in the cache between two products
TINY = np.finfo(float).tiny  # smaller numbers have fewer digits


def times(root, A):
    """Last axis of A times R; a diagonal R is a vector."""
    return A * root if root.ndim == 1 else A @ root


def moments(X, Y, weight, plain=False):
    """Weighted means of X and Y, and their centred second moments xx, xy' and yy.

    `plain`: all weights are one.
    """
    total = max(weight.sum(), TINY)  # a loss that is flat everywhere weighs nothing
    x_mean, y_mean = (weight @ X) / total, (weight @ Y) / total
    if sparse.issparse(X):
        found = _sparse_moments(X, Y - y_mean, weight, x_mean)
        if found is not None:
            return x_mean, y_mean, *found
    elif len(same := np.flatnonzero(X[0] == X[-1])):  # to the last digit where a column is constant
        same = same[(X[:, same] == X[0, same]).all(axis=0)]
        x_mean[same] = X[0, same]
    p, k = len(x_mean), Y.shape[1]
    xx, yx, yy = np.zeros((p, p)), np.zeros((k, p)), np.zeros(k)
    step = max(CHUNK_NUMBERS // max(p, 1), 1)
    room = np.empty((min(step, X.shape[0]), p))
    for start in range(0, X.shape[0], step):
        rows = slice(start, start + step)
        x, y = X[rows], Y[rows] - y_mean
        x = np.subtract(x.toarray() if sparse.issparse(x) else x, x_mean, out=room[: len(y)])
        if not plain:
            root = np.sqrt(weight[rows, None])
            x, y = np.multiply(x, root, out=x), y * root
        xx += x.T @ x
        yx += y.T @ x
        yy += np.einsum("ik,ik->k", y, y)
    return x_mean, y_mean, xx, yx, yy


def positions_of_rows(X):
    """What stands for the rows of an array on another device, (n_samples, 1); X is checked there."""
    xp = array_namespace(X)
    if X.ndim != 2:
        raise ValueError(f"X must be 2-D; got shape {tuple(X.shape)}.")
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError("X contains NaN or infinity.")
    return np.arange(float(X.shape[0]))[:, None]


def moments_elsewhere(X, rows, Y, weight, plain=False):
    """`moments` of the rows of X at the positions `rows` (n, 1), formed on the device of X."""
    xp, device = array_namespace(X), X.device
    y, mass = (xp.asarray(values, dtype=xp.float64, device=device) for values in (Y, weight))
    x = xp.take(X, xp.asarray(rows[:, 0].astype(np.int64), device=device), axis=0)
    x, total = xp.astype(x, xp.float64), float(max(weight.sum(), TINY))
    same = xp.all(x == x[:1, :], axis=0)
    x_mean, y_mean = xp.where(same, x[0, :], (mass @ x) / total), (mass @ y) / total
    x, y = x - x_mean, y - y_mean
    if not plain:
        root = xp.sqrt(mass)[:, None]
        x, y = x * root, y * root
    return tuple(map(in_memory, (x_mean, y_mean, x.T @ x, y.T @ x, xp.sum(y * y, axis=0))))


def _sparse_moments(X, Y, weight, x_mean):
    """xx, xy' and yy for Y about centred; X would fill, so that its means are subtracted afterwards.

    None where that costs too many digits: columns with hardly a zero and a large offset.
    """
    Xw = X.multiply(weight[:, None]).tocsr()
    xx, offset = (X.T @ Xw).toarray(), weight.sum() * x_mean**2
    left = np.diag(xx) - offset
    if (left < 1e-6 * offset).any():
        return None
    yx = (Xw.T @ Y).T - np.outer(weight @ Y, x_mean)  # the mean of large targets is rounded
    return xx - weight.sum() * np.outer(x_mean, x_mean), yx, weight @ Y**2
