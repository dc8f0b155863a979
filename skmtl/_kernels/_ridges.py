"""Ridge regressions of many tasks that share the variances of their coefficients."""

import numpy as np

from ._numba import BOUNDS, MATRIX, ROW, ROWS, VECTOR, compiled
from ._tasks import _add_products, _add_squares, _eliminated


@compiled
def _system_of_rows(Z, n, q, root, A, K, R):
    """Cholesky factor U of I + Z V Z' into K, n rows Z and root of V, and U'^-1 [Z, q] into R; A is room.

    R may have room for q alone. Numbers of rows are multiples of three.
    """
    whole, before = (n + 2) // 3 * 3, R.shape[1] - 1
    for a in range(whole):
        for b in range(a, whole):
            K[a, b] = 0.0
        for j in range(len(root)):
            A[a, j] = Z[a, j] * root[j] if a < n else 0.0
    for a in range(n):
        R[a, before] = q[a]
        for j in range(before):
            R[a, j] = Z[a, j]
    _add_products(A[:whole], A.shape[1], K)
    _eliminated(K, n, R)


@compiled
def _system_of_features(Z, n, q, root, M, K, R):
    """The same of features: of I + D Z'Z D with D'D = V and of D Z' [Z, q]; M becomes Z'Z."""
    p, before = len(root), R.shape[1] - 1
    M[:] = 0.0
    _add_squares(Z, n, M)
    for a in range(p):
        R[a, before] = 0.0
        for b in range(a, p):
            M[b, a] = M[a, b]
            K[a, b] = root[a] * M[a, b] * root[b]
    for i in range(n):
        for a in range(p):
            R[a, before] += root[a] * Z[i, a] * q[i]
    for a in range(p):
        for j in range(before):
            R[a, j] = root[a] * M[a, j]
    _eliminated(K, p, R)


@compiled
def _back_substituted(K, m, R, out):
    """U^-1 times the last of the columns of R, m rows, into `out`."""
    last = R.shape[1] - 1
    for a in range(m - 1, -1, -1):
        total = R[a, last]
        for c in range(a + 1, m):
            total -= K[a, c] * out[c]
        out[a] = total / K[a, a]


@compiled
def task_ridges(X, weight, y, indptr, center, root, slopes, squares, H):
    """Slopes Z_t' r_t (n_tasks, p) of ridge regressions, r_t their residuals; coefficients are v times these.

    Rows of Z_t and targets are x_i - center_t and y_i times the root of a weight, and the coefficients of all
    tasks have the variances v, whose `root` is given. Adds the squares of the slopes g_t to `squares` (p,),
    and to H, unless it is empty, the upper triangle of the sum of g_t g_t' times
    Z_t' (I + Z_t V Z_t')^-1 Z_t, entry by entry. Returns the sum of r_t'r_t.
    """
    p, most, loss = X.shape[1], 0, 0.0
    for t in range(len(indptr) - 1):
        most = max(most, indptr[t + 1] - indptr[t])
    size, whole = (min(most, p) + 2) // 3 * 3, (p + 7) // 8 * 8
    Z, A, K = np.zeros((most, whole)), np.zeros((size, whole)), np.empty((size, size))
    M, S, R = np.empty((p, p)), np.empty((p, p)), np.empty((size, len(H) + 1))
    q, r = np.empty(most), np.empty(max(most, p))
    for t in range(len(indptr) - 1):
        first, n, g = indptr[t], indptr[t + 1] - indptr[t], slopes[t]
        for i in range(n):
            r[i] = np.sqrt(weight[first + i])
            q[i] = r[i] * y[first + i]
            for j in range(p):
                Z[i, j] = r[i] * (X[first + i, j] - center[t, j])
        if n <= p:
            _system_of_rows(Z, n, q, root, A, K, R)
            _back_substituted(K, n, R, r)
        else:
            _system_of_features(Z, n, q, root, M, K, R)
            _back_substituted(K, p, R, r)
            for j in range(p):
                g[j] = root[j] * r[j]
            for i in range(n):
                r[i] = q[i]
                for j in range(p):
                    r[i] -= Z[i, j] * g[j]
        g[:] = 0.0
        for i in range(n):
            loss += r[i] * r[i]
            for j in range(p):
                g[j] += r[i] * Z[i, j]
        for j in range(p):
            squares[j] += g[j] * g[j]
        if len(H):
            S[:] = 0.0
            _add_squares(R, min(n, p), S)
            for a in range(p):
                for b in range(a, p):
                    H[a, b] += g[a] * g[b] * (M[a, b] - S[a, b] if n > p else S[a, b])
    return loss


SIGNATURES = {"task_ridges": (ROWS, ROW, ROW, BOUNDS, ROWS, VECTOR, MATRIX, VECTOR, MATRIX)}
