"""Loops over many tasks, each with a small matrix of its own.

Those called with part of the tasks fill in what belongs to these, so that threads share the work.
"""

import numpy as np

from ._numba import (
    BOUNDS,
    CUBE,
    FLAG,
    MATRIX,
    NUMBER,
    ROW,
    ROWS,
    VECTOR,
    compiled,
)


@compiled
def _add_products(Z, n, S):
    """Add Z[a, :n] . Z[b, :n] to S[a, b] for a <= b; the number of rows of Z is a multiple of three."""
    for a in range(0, len(Z), 3):
        for b in range(a, len(Z), 3):
            s, s1, s2, s3, s4, s5, s6, s7, s8 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for k in range(n):
                s += Z[a, k] * Z[b, k]
                s1 += Z[a, k] * Z[b + 1, k]
                s2 += Z[a, k] * Z[b + 2, k]
                s3 += Z[a + 1, k] * Z[b, k]
                s4 += Z[a + 1, k] * Z[b + 1, k]
                s5 += Z[a + 1, k] * Z[b + 2, k]
                s6 += Z[a + 2, k] * Z[b, k]
                s7 += Z[a + 2, k] * Z[b + 1, k]
                s8 += Z[a + 2, k] * Z[b + 2, k]
            S[a, b] += s
            S[a, b + 1] += s1
            S[a, b + 2] += s2
            S[a + 1, b] += s3
            S[a + 1, b + 1] += s4
            S[a + 1, b + 2] += s5
            S[a + 2, b] += s6
            S[a + 2, b + 1] += s7
            S[a + 2, b + 2] += s8


@compiled
def _add_squares(Z, n, S):
    """Add sum_i Z[i, a] Z[i, b] over the first n rows to S[a, b] for a <= b; S has an even number of rows."""
    p = S.shape[1]
    for a in range(0, p - 1, 2):
        i = 0
        while i + 4 <= n:
            e0, e1, e2, e3 = Z[i, a], Z[i + 1, a], Z[i + 2, a], Z[i + 3, a]
            f0, f1, f2, f3 = Z[i, a + 1], Z[i + 1, a + 1], Z[i + 2, a + 1], Z[i + 3, a + 1]
            for b in range(a, p):
                z0, z1, z2, z3 = Z[i, b], Z[i + 1, b], Z[i + 2, b], Z[i + 3, b]
                S[a, b] += e0 * z0 + e1 * z1 + e2 * z2 + e3 * z3
                S[a + 1, b] += f0 * z0 + f1 * z1 + f2 * z2 + f3 * z3
            i += 4
        while i < n:
            e0, f0 = Z[i, a], Z[i, a + 1]
            for b in range(a, p):
                S[a, b] += e0 * Z[i, b]
                S[a + 1, b] += f0 * Z[i, b]
            i += 1
    if p % 2:
        for i in range(n):
            S[p - 1, p - 1] += Z[i, p - 1] * Z[i, p - 1]


@compiled
def row_images(X, codes, W, out):
    """x_i . w_t for rows of the tasks t = codes_i, into `out`."""
    p = X.shape[1]
    for i in range(len(codes)):
        t, total = codes[i], 0.0
        for j in range(p):
            total += X[i, j] * W[t, j]
        out[i] = total


@compiled
def task_sums_of_rows(X, indptr, R, out):
    """X_t' r_t of every task, into `out`."""
    p = X.shape[1]
    for t in range(len(indptr) - 1):
        for j in range(p):
            out[t, j] = 0.0
        for i in range(indptr[t], indptr[t + 1]):
            r = R[i]
            for j in range(p):
                out[t, j] += r * X[i, j]


@compiled
def task_curvatures(X, weight, indptr, center, W, out):
    """sum_i weight_i z_i (z_i . w_t) of every task into `out`, z_i = x_i - center_t; rows are read once."""
    p = X.shape[1]
    for t in range(len(indptr) - 1):
        shift, total = 0.0, 0.0
        for j in range(p):
            shift += center[t, j] * W[t, j]
            out[t, j] = 0.0
        for i in range(indptr[t], indptr[t + 1]):
            u = -shift
            for j in range(p):
                u += X[i, j] * W[t, j]
            u *= weight[i]
            total += u
            for j in range(p):
                out[t, j] += u * X[i, j]
        for j in range(p):
            out[t, j] -= total * center[t, j]


@compiled
def _weighted_rows(X, root, first, n, center, Z):
    """root_i (x_i - center) of n rows from the first one on, into Z."""
    for i in range(n):
        r = root[first + i]
        for j in range(X.shape[1]):
            Z[i, j] = r * (X[first + i, j] - center[j])


@compiled
def _eliminated(K, n, Z):
    """Cholesky factor U of I + K, U'U, in the upper triangle of K, and U'^-1 Z in the place of n rows Z."""
    q = Z.shape[1]
    for first in range(0, n, 2):  # two pivots at a time
        for a in range(first, min(first + 2, n)):
            if a > first:
                f = K[first, a]
                for b in range(a, n):
                    K[a, b] -= f * K[first, b]
                for j in range(q):
                    Z[a, j] -= f * Z[first, j]
            unit = 1.0 / np.sqrt(max(K[a, a] + 1.0, 1.0))  # but for rounding it is no less
            K[a, a] = 1.0 / unit
            for b in range(a + 1, n):
                K[a, b] *= unit
            for j in range(q):
                Z[a, j] *= unit
        for c in range(first + 2, n):
            f, g = K[first, c], K[first + 1, c]
            for b in range(c, n):
                K[c, b] -= f * K[first, b] + g * K[first + 1, b]
            for j in range(q):
                Z[c, j] -= f * Z[first, j] + g * Z[first + 1, j]


@compiled
def _mean_of_rows(X, root, first, n, out):
    """Mean of n rows from the first one on, weighted by the squares of root, into `out`."""
    mass = 2.2250738585072014e-308  # a task that weighs nothing
    for i in range(first, first + n):
        w = root[i] * root[i]
        mass += w
        for j in range(X.shape[1]):
            out[j] += w * X[i, j]
    for j in range(X.shape[1]):
        out[j] /= mass


@compiled
def _factor_of_rows(Z, m, K, reduced):
    """Factor of I + Z Z' into K for m rows Z, and rows V with I - (I + Z'Z)^-1 = V'V into `reduced`.

    The numbers of rows of Z and K are multiples of three; what lies beyond m is overwritten, and Z lost.
    """
    whole = (m + 2) // 3 * 3
    Z[m:whole] = 0.0
    for a in range(whole):
        for b in range(a, whole):
            K[a, b] = 0.0
    _add_products(Z[:whole], Z.shape[1], K)
    _eliminated(K, m, Z)
    for a in range(m):
        for j in range(reduced.shape[1]):
            reduced[a, j] = Z[a, j]


@compiled
def _factor_of_moments(C, M, total):
    """Factor of I + C in its place, the upper triangle, and I - (I + C)^-1 added to `total`; M is room."""
    p = len(C)
    for a in range(p):
        for b in range(a, p):
            M[a, b] = M[b, a] = C[a, b]
    _eliminated(C, p, M)
    for a in range(p - 1, -1, -1):  # U^-1 U'^-1 C
        for c in range(a + 1, p):
            f = C[a, c]
            for b in range(p):
                M[a, b] -= f * M[c, b]
        for b in range(p):
            M[a, b] /= C[a, a]
            total[a, b] += M[a, b]


@compiled
def _pack(U, m, place, out):
    """The upper triangle of m rows, row by row, into `out` from a place on."""
    for a in range(m):
        for b in range(a, m):
            out[place] = U[a, b]
            place += 1


@compiled
def task_factors(X, root, indptr, centred, pull, common, bounds, center, factors, total, reduced):
    """Cholesky factors U_t of I + G_t G_t', of I + G_t'G_t where that is smaller, for every task.

    Rows of G_t are root_i (x_i - center_t), the latter the mean under the squares of root (zero unless
    `centred`), and pull_t (center_t + common) where pull_t is not zero. Fills `center`, `factors` (upper
    triangles, row by row, between the `bounds` of the tasks), and adds the sum over the tasks of
    I - (I + G_t'G_t)^-1 to `total`, its upper triangle. Of tasks on their rows that are squares of rows of
    `reduced`, as many as are returned: their sum is left to BLAS.
    """
    p, most, n_reduced = X.shape[1], 0, 0
    for t in range(len(indptr) - 1):
        most = max(most, indptr[t + 1] - indptr[t] + 1)
    most = (min(most, max(p, 32)) + 2) // 3 * 3
    Z, K = np.zeros((most, (p + 7) // 8 * 8)), np.empty((most, most))  # whole vectors
    C, M = np.empty((p, p)), np.empty((p, p))
    for t in range(len(indptr) - 1):
        first, n, mean = indptr[t], indptr[t + 1] - indptr[t], center[t]
        mean[:] = 0.0
        if centred:
            _mean_of_rows(X, root, first, n, mean)
        extra = 1 if pull[t] != 0.0 else 0
        m = n + extra
        if m <= p:
            _weighted_rows(X, root, first, n, mean, Z)
            if extra:
                _tied_row(mean, common, pull[t], Z[n])
            _factor_of_rows(Z, m, K, reduced[n_reduced:])
            n_reduced += m
            _pack(K, m, bounds[t], factors)
            continue
        C[:] = 0.0
        for start in range(first, first + n, most):
            k = min(most, first + n - start)
            _weighted_rows(X, root, start, k, mean, Z)
            _add_squares(Z, k, C)
        if extra:
            _tied_row(mean, common, pull[t], Z[0])
            _add_squares(Z, extra, C)  # of the same type as k
        _factor_of_moments(C, M, total)
        _pack(C, p, bounds[t], factors)
    return n_reduced


@compiled
def _tied_row(center, common, pull, out):
    """pull (center + common) into `out`."""
    for j in range(len(center)):
        out[j] = pull * (center[j] + common[j])


@compiled
def _by_factor(factors, place, m, u):
    """(U'U)^-1 u in the place of u, U the packed factor from a place on."""
    for a in range(m):
        u[a] /= factors[place]
        f = u[a]
        for c in range(a + 1, m):
            u[c] -= factors[place + c - a] * f
        place += m - a
    for a in range(m - 1, -1, -1):
        place -= m - a
        total = u[a]
        for c in range(a + 1, m):
            total -= factors[place + c - a] * u[c]
        u[a] = total / factors[place]


@compiled
def task_solutions(X, root, indptr, pull, common, bounds, center, factors, V, out):
    """(I + G_t'G_t)^-1 v_t of every task into `out`, by the factors of `task_factors`; V (n_tasks, p)."""
    p = X.shape[1]
    u, c = np.empty(p), np.empty(p)
    for t in range(len(indptr) - 1):
        first, n = indptr[t], indptr[t + 1] - indptr[t]
        m = n + 1 if pull[t] != 0.0 else n
        for j in range(p):
            out[t, j] = V[t, j]
        if m > p:
            _by_factor(factors, bounds[t], p, out[t])
            continue
        shift, along = 0.0, 0.0
        _tied_row(center[t], common, pull[t], c)
        for j in range(p):
            shift += center[t, j] * V[t, j]
            along += c[j] * V[t, j]
        for i in range(n):
            total = 0.0
            for j in range(p):
                total += X[first + i, j] * V[t, j]
            u[i] = root[first + i] * (total - shift)
        if m > n:
            u[n] = along
        _by_factor(factors, bounds[t], m, u)
        shift, along = 0.0, u[n] if m > n else 0.0
        for i in range(n):
            f = root[first + i] * u[i]
            shift += f
            for j in range(p):
                out[t, j] -= f * X[first + i, j]
        for j in range(p):
            out[t, j] += shift * center[t, j] - along * c[j]


@compiled
def task_inverses(xx, scale, kappa, x_mean, shift, out, size):
    """Inverses of scale_t xx_t + kappa_t x_t x_t' + shift_t I, x_t the rows of x_mean, into `out`.

    Gauss-Jordan elimination, two pivots at a time and none looked for. `size` is then about the
    condition number, infinite for a matrix that is not positive definite to rounding. Returns the sum of the
    log-determinants, NaN if there is such a matrix.
    """
    p, log_determinant = x_mean.shape[1], 0.0
    q = (p + 1) // 2 * 2
    A, r = np.empty((q, q)), np.empty((2, q))
    for t in range(len(scale)):
        source = t if len(xx) > 1 else 0
        low, definite = 0.0, True
        for i in range(p):
            pull = kappa[t] * x_mean[t, i]
            for j in range(p):
                A[i, j] = scale[t] * xx[source, i, j] + pull * x_mean[t, j]
            A[i, i] += shift[t]
        for i in range(p, q):  # a row of the identity where p is odd
            for j in range(q):
                A[i, j] = A[j, i] = 0.0
            A[i, i] = 1.0
        for b in range(0, q, 2):
            d, e, f = A[b, b], A[b, b + 1], A[b + 1, b + 1]
            volume = d * f - e * e
            if not (d > 0.0 and volume > 0.0):
                definite = False
                log_determinant = np.nan
                break
            log_determinant += np.log(volume)
            d, e, f = d / volume, e / volume, f / volume
            for j in range(q):
                r[0, j] = f * A[b, j] - e * A[b + 1, j]
                r[1, j] = d * A[b + 1, j] - e * A[b, j]
            r[0, b], r[0, b + 1], r[1, b], r[1, b + 1] = f, -e, -e, d
            for i in range(0, q, 2):
                u, u1, v, v1 = A[i, b], A[i, b + 1], A[i + 1, b], A[i + 1, b + 1]
                A[i, b], A[i, b + 1], A[i + 1, b], A[i + 1, b + 1] = 0.0, 0.0, 0.0, 0.0
                for j in range(q):
                    A[i, j] -= u * r[0, j] + u1 * r[1, j]
                    A[i + 1, j] -= v * r[0, j] + v1 * r[1, j]
            for j in range(q):
                A[b, j], A[b + 1, j] = r[0, j], r[1, j]
        for i in range(p):
            own = scale[t] * xx[source, i, i] + kappa[t] * x_mean[t, i] ** 2 + shift[t]
            low = max(low, own * A[i, i])  # in units that give the matrix a diagonal of ones
            for j in range(p):
                out[t, i, j] = A[i, j]
        size[t] = low if definite else np.inf
    return log_determinant


@compiled
def _clipped_root(left, weight, low, high, first, stop, pull, center, b):
    """Root of sum_i weight_i clip(b - left_i, low_i, high_i) + pull (b - center), from b on.

    Also the sum there, its slope, and the size of its terms. Newton's method in a bracket: the sum is
    piecewise linear in b, and flat in places.
    """
    least, most = (center, center) if pull > 0.0 else (np.inf, -np.inf)
    for i in range(first, stop):
        if weight[i] > 0.0:
            least, most = min(least, left[i]), max(most, left[i])
    own, h, size = 0.0, 0.0, 0.0
    for step in range(1000):
        b = min(max(b, least), most)
        own, h, size = 0.0, 0.0, 0.0
        for i in range(first, stop):
            if weight[i] > 0.0:
                move = b - left[i]
                if low[i] <= move <= high[i]:
                    h += weight[i]
                slope = weight[i] * min(max(move, low[i]), high[i])
                own, size = own + slope, size + abs(slope)
        g = own + pull * (b - center)
        if abs(g) <= 4e-16 * (size + pull * abs(b - center)):
            break
        if g < 0.0:
            least = b
        else:
            most = b
        new = b - g / (h + pull) if h + pull > 0.0 else np.inf
        if abs(new - b) <= 4e-16 * abs(b):
            break
        if not least < new < most or step % 3 == 2:
            new = least + 0.5 * (most - least)
            if not least < new < most:
                break
        b = new
    return b, own, h, size


@compiled
def clipped_intercepts(left, weight, low, high, indptr, pull, b):
    """argmin_b of losses with slopes clip(b_t - left_i, low_i, high_i), and pull/2 sum_t (b_t - mean)^2.

    Tied intercepts: where the center that they are pulled to is their mean, which Newton's method in a
    bracket finds, the slopes of all losses add up to zero.
    """
    n_tasks = len(b)
    if pull == 0.0:
        for t in range(n_tasks):
            b[t] = _clipped_root(left, weight, low, high, indptr[t], indptr[t + 1], pull, 0.0, b[t])[0]
        return
    least, most, center = np.inf, -np.inf, 0.0
    for i in range(indptr[n_tasks]):
        if weight[i] > 0.0:
            least, most = min(least, left[i]), max(most, left[i])
    for t in range(n_tasks):
        center += b[t] / n_tasks
    for step in range(1000):
        center = min(max(center, least), most)
        total, slope, size = 0.0, 0.0, 0.0
        for t in range(n_tasks):
            b[t], own, h, most_own = _clipped_root(
                left, weight, low, high, indptr[t], indptr[t + 1], pull, center, b[t]
            )
            total, size, slope = total + own, size + most_own, slope + h * (pull / (h + pull))
        if abs(total) <= 4e-16 * size:
            break
        if total < 0.0:
            least = center
        else:
            most = center
        new = center - total / slope if slope > 0.0 else np.inf
        if abs(new - center) <= 4e-16 * abs(center):
            break
        if not least < new < most or step % 3 == 2:
            new = least + 0.5 * (most - least)
            if not least < new < most:
                break
        center = new


SIGNATURES = {
    "row_images": (ROWS, BOUNDS, ROWS, VECTOR),
    "task_sums_of_rows": (ROWS, BOUNDS, ROW, MATRIX),
    "task_curvatures": (ROWS, ROW, BOUNDS, ROWS, ROWS, MATRIX),
    "task_factors": (ROWS, ROW, BOUNDS, FLAG, ROW, ROW, BOUNDS, MATRIX, VECTOR, MATRIX, MATRIX),
    "task_solutions": (ROWS, ROW, BOUNDS, ROW, ROW, BOUNDS, MATRIX, ROW, ROWS, MATRIX),
    "clipped_intercepts": (ROW, ROW, ROW, ROW, BOUNDS, NUMBER, VECTOR),
    "task_inverses": (CUBE, VECTOR, VECTOR, MATRIX, VECTOR, CUBE, VECTOR),
}
