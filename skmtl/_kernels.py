"""Compiled loops: the only module that imports Numba, loaded by the first solver that needs it.

All array arguments are C-contiguous float64, so that each kernel compiles once.
"""

import numpy as np
from numba import njit

_MATH = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, ninf: NaN must stay visible
_OPTIONS = {"cache": True, "nogil": True, "fastmath": _MATH}
_L1 = 1  # as skmtl.penalties._vector.KERNEL_L1; any other code is L2


@njit(**_OPTIONS)
def _block_prox(z, h, strength, code, out):
    """argmin_w sum_t h_t/2 w_t^2 - z_t w_t + strength f(w), f the L1 or L2 norm, into `out`."""
    n_tasks = z.shape[0]
    for t in range(n_tasks):
        if z[t] != z[t]:  # a comparison with NaN would silently give zero
            out[:] = np.nan
            return
    if code == _L1:
        for t in range(n_tasks):
            size = abs(z[t]) - strength
            out[t] = 0.0
            if size > 0.0 and h[t] > 0.0:
                out[t] = size / h[t] if z[t] > 0.0 else -size / h[t]
        return
    size2 = 0.0
    top = 0.0
    for t in range(n_tasks):
        size2 += z[t] * z[t]
        top = max(top, h[t])
    size = np.sqrt(size2)
    if size <= strength or top == 0.0:
        for t in range(n_tasks):
            out[t] = 0.0
        return
    # the length r of w solves sum_t (z_t / (h_t r + strength))^2 = 1: convex and decreasing in r, so
    # Newton's method climbs from below; with equal h it starts at the root
    r = (size - strength) / top
    for _ in range(100):
        value = -1.0
        slope = 0.0
        for t in range(n_tasks):
            d = h[t] * r + strength
            if d > 0.0:
                q = z[t] / d
                value += q * q
                slope -= 2.0 * q * q * h[t] / d
        if value <= 1e-15 or slope == 0.0:
            break
        r -= value / slope
    for t in range(n_tasks):
        d = h[t] * r + strength
        out[t] = z[t] * r / d if d > 0.0 else 0.0


@njit(**_OPTIONS)
def descend_shared(A, scale, ridge, strength, code, Q, W):
    """One epoch of block coordinate descent over features, all tasks on one Gram matrix.

    A (m, m) Gram; scale (T,) factor of A per task; Q (m, T) negative gradient, W (m, T)
    coefficients, both updated. Returns the largest squared change weighted by curvature.
    """
    m, n_tasks = W.shape
    z, h, new, move = np.empty(n_tasks), np.empty(n_tasks), np.empty(n_tasks), np.empty(n_tasks)
    largest = 0.0
    for j in range(m):
        for t in range(n_tasks):
            h[t] = scale[t] * A[j, j] + ridge
            z[t] = Q[j, t] + h[t] * W[j, t]
        _block_prox(z, h, strength, code, new)
        change = 0.0
        for t in range(n_tasks):
            delta = new[t] - W[j, t]
            change += h[t] * delta * delta
            W[j, t] = new[t]
            move[t] = scale[t] * delta
            Q[j, t] -= ridge * delta
        if change > 0.0:
            largest = max(largest, change)
            for i in range(m):
                a = A[j, i]
                for t in range(n_tasks):
                    Q[i, t] -= a * move[t]
    return largest


@njit(**_OPTIONS)
def descend_separate(A, scale, ridge, strength, code, Q, W):
    """The same with one Gram matrix per task: A (T, m, m), Q and W (T, m)."""
    n_tasks, m = W.shape
    z, h, new = np.empty(n_tasks), np.empty(n_tasks), np.empty(n_tasks)
    largest = 0.0
    for j in range(m):
        for t in range(n_tasks):
            h[t] = scale[t] * A[t, j, j] + ridge
            z[t] = Q[t, j] + h[t] * W[t, j]
        _block_prox(z, h, strength, code, new)
        change = 0.0
        for t in range(n_tasks):
            delta = new[t] - W[t, j]
            if delta != 0.0:
                change += h[t] * delta * delta
                W[t, j] = new[t]
                Q[t, j] -= ridge * delta
                move = scale[t] * delta
                for i in range(m):
                    Q[t, i] -= A[t, j, i] * move
        largest = max(largest, change)
    return largest


@njit(**_OPTIONS)
def _string_knots(y, strength, corner, height, knot, side):
    """Where the taut string of y bends, and on which side of its tube it does (1 above, -1 below).

    The string is the shortest one between the running sum of y plus and minus `strength`, tied at
    both ends. `corner` and `height` (2, n + 1) hold, from the last knot on, the tightest convex
    string below the upper wall and the tightest concave one above the lower wall; where they cross is
    the next knot. Fills `knot` and `side`, from 0 to n, and returns how many there are.
    """
    n = y.shape[0]
    first, last = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    corner[:, 0], height[:, 0] = 0, 0.0
    knot[0], side[0], count, total = 0, 0.0, 1, 0.0
    for k in range(1, n + 1):
        total += y[k - 1]
        for s in range(2):
            sign = 1.0 - 2.0 * s
            x, h, o = corner[s], height[s], 1 - s
            new = total + sign * strength if k < n else total
            a = last[s]
            while (
                a > first[s]
                and sign * ((h[a] - h[a - 1]) * (k - x[a]) - (new - h[a]) * (x[a] - x[a - 1])) >= 0.0
            ):
                a -= 1
            last[s] = a + 1
            x[a + 1], h[a + 1] = k, new
            while a == first[s] and last[o] > first[o]:
                b = first[o] + 1
                bend = (new - h[a]) * (corner[o, b] - x[a]) - (height[o, b] - h[a]) * (k - x[a])
                if corner[o, b] == k or sign * bend >= 0.0:
                    break
                first[o] = b
                x[a], h[a] = corner[o, b], height[o, b]
                knot[count], side[count] = x[a], -sign
                count += 1
    knot[count], side[count] = n, 0.0
    return count + 1


@njit(**_OPTIONS)
def _mean_slope(y, strength, knot, side, a, b):
    """Slope of the string between knots a and b."""
    total = 0.0
    for i in range(knot[a], knot[b]):
        total += y[i]
    return (total + strength * (side[b] - side[a])) / (knot[b] - knot[a])


@njit(**_OPTIONS)
def taut_string(Y, strength, out):
    """argmin_x 1/2 ||x - y||^2 + strength sum_i |x_{i+1} - x_i| for each row y of Y, into `out`."""
    n = Y.shape[1]
    corner, height = np.zeros((2, n + 1), dtype=np.int64), np.zeros((2, n + 1))
    knot, side = np.zeros(n + 2, dtype=np.int64), np.zeros(n + 2)
    for row in range(Y.shape[0]):
        y = Y[row]
        n_knots = _string_knots(y, strength, corner, height, knot, side)
        top = 0.0
        for i in range(n):
            top = max(top, abs(y[i]))
        begin, before = knot[0], 0.0  # first knot of the last slope, and that slope
        for m in range(1, n_knots):
            # from the entries themselves: differences of the running sum have lost digits
            value = _mean_slope(y, strength, knot, side, m - 1, m)
            if m > 1 and abs(value - before) <= 1e-15 * top:  # a bend that is only rounding
                value = _mean_slope(y, strength, knot, side, begin, m)
            else:
                begin = m - 1
            out[row, knot[begin] : knot[m]] = value
            before = value
