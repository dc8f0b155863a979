"""Second moments of one design, dense or sparse."""

import numpy as np
from scipy import sparse

CHUNK_NUMBERS = 2**18  # of centred features at a time: they stay in the cache between two products
TINY = np.finfo(float).tiny  # smaller numbers have fewer digits


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


def _sparse_moments(X, Y, weight, x_mean):
    """xx, xy' and yy for centred Y; X would fill, so that its means are subtracted afterwards.

    None where that costs too many digits: columns with hardly a zero and a large offset.
    """
    Xw = X.multiply(weight[:, None]).tocsr()
    xx, offset = (X.T @ Xw).toarray(), weight.sum() * x_mean**2
    left = np.diag(xx) - offset
    if (left < 1e-6 * offset).any():
        return None
    return xx - weight.sum() * np.outer(x_mean, x_mean), (Xw.T @ Y).T, weight @ Y**2
