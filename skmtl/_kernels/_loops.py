"""Loops over features, groups and steps.

All array arguments are C-contiguous float64 (float32 where a kernel says so), so that each compiles once.
"""

import numpy as np

from ._numba import (
    BOUNDS,
    CUBE,
    CUBES,
    MATRIX,
    NUMBER,
    PLACES,
    ROW,
    ROWS,
    SINGLE,
    SINGLE_CUBE,
    SINGLE_VECTOR,
    VECTOR,
    compiled,
    compiled_unchecked,
    plain,
)  # fmt: skip


@compiled
def _block_prox(z, h, n, l1, l2, linf, out):
    """argmin_w sum_t h_t/2 w_t^2 - z_t w_t + l1 ||w||_1 + l2 ||w||_2 + linf ||w||_inf, into `out`.

    linf only without the others. Of each array the first n entries: a slice would count references.
    """
    if linf > 0.0:
        _block_prox_linf(z, h, n, linf, out)
        return
    size2 = 0.0
    top = 0.0
    for t in range(n):
        size = abs(z[t]) - l1
        if size > 0.0:
            out[t] = size if z[t] > 0.0 else -size
            size2 += size * size
        else:
            out[t] = 0.0 if size == size else np.nan  # a comparison with NaN would silently give zero
        top = max(top, h[t])
    if l2 == 0.0:
        for t in range(n):
            if h[t] > 0.0:
                out[t] /= h[t]
            elif out[t] == out[t]:
                out[t] = 0.0
        return
    size = np.sqrt(size2)
    if size <= l2 or top == 0.0:
        for t in range(n):
            if out[t] == out[t]:
                out[t] = 0.0
        return
    # the length r of w solves sum_t (z_t / (h_t r + l2))^2 = 1: convex and decreasing in r, so
    # Newton's method climbs from below; with equal h it starts at the root
    r = (size - l2) / top
    for _ in range(100):
        value = -1.0
        slope = 0.0
        for t in range(n):
            d = h[t] * r + l2
            q = out[t] / d
            value += q * q
            slope -= 2.0 * q * q * h[t] / d
        if value <= 1e-15 or slope == 0.0 or value != value:
            break
        r -= value / slope
    for t in range(n):
        out[t] *= r / (h[t] * r + l2)


@compiled
def _block_prox_linf(z, h, n, strength, out):
    """The same for the largest absolute value: entries above a level c = |w_t| are cut off."""
    total = 0.0
    for t in range(n):
        total += abs(z[t])
    c = 0.0 if total > strength else -1.0
    # sum_t max(|z_t| - h_t c, 0) = strength: convex and decreasing in c, piecewise linear, so
    # Newton's method climbs from below and ends
    while c >= 0.0:
        left = -strength
        curvature = 0.0
        for t in range(n):
            if abs(z[t]) > h[t] * c:
                left += abs(z[t])
                curvature += h[t]
        if curvature == 0.0 or left <= curvature * c * (1.0 + 1e-15):
            break
        c = left / curvature
    for t in range(n):
        out[t] = 0.0 if total == total else np.nan
        if c > 0.0:
            size = c if abs(z[t]) > h[t] * c else abs(z[t]) / h[t] if h[t] > 0.0 else 0.0
            out[t] = size if z[t] > 0.0 else -size


@compiled
def descend_shared(A, scale, ridge, bounds, weights, l1, l2, linf, Q, W):
    """Epochs of block coordinate descent over features, all tasks on one Gram matrix.

    A (m, m) Gram, diagonal inside the blocks of features between `bounds`; scale (T,) factor of A per
    task; l1, l2, linf strengths of the penalty, times the `weights` of the blocks; Q (E + 1, m, T) negative
    gradients and W (E + 1, m, T) coefficients: the first of each is the start, epoch e fills e + 1. In a Q of
    E entries the last epoch changes its start, and only where it still needs it: half of the work.
    """
    n_tasks, longest = W.shape[2], 0
    for b in range(weights.shape[0]):
        longest = max(longest, bounds[b + 1] - bounds[b])
    z, h, new = np.empty(longest * n_tasks), np.empty(longest * n_tasks), np.empty(longest * n_tasks)
    move = np.empty(n_tasks)
    for e in range(1, W.shape[0]):
        kept = e < Q.shape[0]
        q, w = Q[e if kept else e - 1], W[e]
        for i in range(w.shape[0]):
            for k in range(w.shape[1]):
                q[i, k], w[i, k] = Q[e - 1, i, k], W[e - 1, i, k]
        for b in range(weights.shape[0]):
            first, n = bounds[b], (bounds[b + 1] - bounds[b]) * n_tasks
            wanted = 0 if kept else bounds[b + 1]
            for j in range(first, bounds[b + 1]):
                at = (j - first) * n_tasks
                for t in range(n_tasks):
                    h[at + t] = scale[t] * A[j, j] + ridge
                    z[at + t] = q[j, t] + h[at + t] * w[j, t]
            c = weights[b]
            _block_prox(z, h, n, c * l1, c * l2, c * linf, new)
            for j in range(first, bounds[b + 1]):
                at, moved = (j - first) * n_tasks, False
                for t in range(n_tasks):
                    delta = new[at + t] - w[j, t]
                    moved |= delta != 0.0
                    w[j, t] = new[at + t]
                    move[t] = scale[t] * delta
                    q[j, t] -= ridge * delta
                if moved:
                    for i in range(wanted, w.shape[0]):
                        a = A[j, i]
                        for t in range(n_tasks):
                            q[i, t] -= a * move[t]


@compiled
def descend_separate(A, scale, ridge, bounds, weights, l1, l2, linf, Q, W):
    """The same task by task in memory: A (T, m, m) or (1, m, m), Q and W (E + 1, T, m)."""
    n_tasks, m, longest = W.shape[1], W.shape[2], 0
    for b in range(weights.shape[0]):  # np.diff would take three times as long to compile as all the rest
        longest = max(longest, bounds[b + 1] - bounds[b])
    z, h, new = np.empty(longest * n_tasks), np.empty(longest * n_tasks), np.empty(longest * n_tasks)
    step = 0 if A.shape[0] == 1 else 1
    for e in range(1, W.shape[0]):
        q, w = Q[e], W[e]
        for i in range(w.shape[0]):
            for k in range(w.shape[1]):
                q[i, k], w[i, k] = Q[e - 1, i, k], W[e - 1, i, k]
        b, n = 0, 0
        for last in range(m):
            for t in range(n_tasks):
                h[n + t] = scale[t] * A[step * t, last, last] + ridge
                z[n + t] = q[t, last] + h[n + t] * w[t, last]
            n += n_tasks
            if last + 1 < bounds[b + 1]:
                continue
            c, k = weights[b], 0
            _block_prox(z, h, n, c * l1, c * l2, c * linf, new)
            for j in range(bounds[b], last + 1):
                for t in range(n_tasks):
                    delta = new[k + t] - w[t, j]
                    if delta != 0.0:
                        w[t, j] = new[k + t]
                        q[t, j] -= ridge * delta
                        move = scale[t] * delta
                        for i in range(m):
                            q[t, i] -= A[step * t, j, i] * move
                k += n_tasks
            b, n = b + 1, 0


@compiled
def _string_knots(y, strength, corner, height, knot, side):
    """Where the taut string of y bends, and on which side of its tube it does (1 above, -1 below).

    The string is the shortest one between the running sum of y plus and minus `strength`, tied at
    both ends. `corner` and `height` (2, n + 1) hold, from the last knot on, the tightest convex
    string below the upper wall and the tightest concave one above the lower wall; where they cross is
    the next knot. Fills `knot` and `side`, from 0 to n, and returns how many there are.
    """
    n = y.shape[0]
    first, last = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    x, h = corner, height  # a view for every k would take longer than all the rest
    x[:, 0], h[:, 0] = 0, 0.0
    knot[0], side[0], count, total = 0, 0.0, 1, 0.0
    for k in range(1, n + 1):
        total += y[k - 1]
        for s in range(2):
            sign, o = 1.0 - 2.0 * s, 1 - s
            new = total + sign * strength if k < n else total
            a = last[s]
            while a > first[s]:
                rise, run = h[s, a] - h[s, a - 1], x[s, a] - x[s, a - 1]
                if not sign * (rise * (k - x[s, a]) - (new - h[s, a]) * run) >= 0.0:
                    break
                a -= 1
            last[s] = a + 1
            x[s, a + 1], h[s, a + 1] = k, new
            while a == first[s] and last[o] > first[o]:
                b = first[o] + 1
                curvature = (new - h[s, a]) * (x[o, b] - x[s, a]) - (h[o, b] - h[s, a]) * (k - x[s, a])
                if x[o, b] == k or sign * curvature >= 0.0:
                    break
                first[o] = b
                x[s, a], h[s, a] = x[o, b], h[o, b]
                knot[count], side[count] = x[s, a], -sign
                count += 1
    knot[count], side[count] = n, 0.0
    return count + 1


@compiled
def _mean_slope(y, strength, knot, side, a, b):
    """Slope of the string between knots a and b."""
    total = 0.0
    for i in range(knot[a], knot[b]):
        total += y[i]
    return (total + strength * (side[b] - side[a])) / (knot[b] - knot[a])


@compiled
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
            if m > 1 and abs(value - before) <= 1e-15 * top:  # a curvature that is only rounding
                value = _mean_slope(y, strength, knot, side, begin, m)
            else:
                begin = m - 1
            out[row, knot[begin] : knot[m]] = value
            before = value


@compiled_unchecked
def _clipped_line(x, d, knots, q, c, low, high, out):
    """clip(q x_i - c d_i, low, high) into `out`, and their sum; exact at the knots, where they end."""
    total, n = 0.0, len(x)
    for i in range(n):
        inside = min(max(q * x[i] - c * d[i], low), high)
        out[i] = low if q <= knots[i] else high if q >= knots[n + i] else inside
        total += out[i]
    return total


@compiled_unchecked
def box_weights(V, c, low, high, budget, out):
    """theta_i = clip(m |v_i| - c, low, high) of each row v of V, m >= 0 such that they sum to the budget.

    All entries that are not zero get `high` where the budget allows. With m max |v| = q + c a weight is
    q x_i - c d_i: no digits are lost in a large c among the largest.
    """
    n = V.shape[1]
    x, d, knots = np.zeros(n), np.zeros(n), np.zeros(2 * n)
    for row in range(V.shape[0]):
        top = 0.0
        for i in range(n):
            top = max(top, abs(V[row, i]))
        top = top if top > 0.0 else 1.0
        for i in range(n):  # a weight leaves `low` at one q and reaches `high` at another
            x[i], d[i] = abs(V[row, i]) / top, (top - abs(V[row, i])) / top
            used = x[i] > 1e-280
            knots[i] = (low + c * d[i]) / x[i] if used else np.inf
            knots[n + i] = (high + c * d[i]) / x[i] if used else np.inf
        first, last, n_between = 0.0, np.inf, 2 * n  # within the budget and not, until no knot is between
        while n_between > 0:
            half, n_between, middle = n_between // 2, 0, 0.0
            for i in range(2 * n):
                if first < knots[i] < last:
                    middle = knots[i] if n_between <= half else middle
                    n_between += 1
            if n_between > 0 and _clipped_line(x, d, knots, middle, c, low, high, out[row]) <= budget:
                first = middle
            elif n_between > 0:
                last = middle
        fixed, slope, lag = 0.0, 0.0, 0.0  # between them the sum is linear in q
        for i in range(n):
            if knots[i] <= first and knots[n + i] >= last:
                slope, lag = slope + x[i], lag + d[i]
            else:
                fixed += high if knots[n + i] <= first else low
        q = (budget - fixed + c * lag) / slope if slope > 0.0 else first
        q = min(q, last) if q > first * (1.0 + 1e-15) else first  # no weight of rounding
        _clipped_line(x, d, knots, q, c, low, high, out[row])


@compiled
def thin_roots(xx, xy, bounds, out, targets):
    """Rows F_t and targets q_t with F_t'F_t = xx_t and F_t'q_t = xy_t, in the place of zeros.

    Those of task t lie between its bounds. Pivoted Cholesky, in units that give xx_t a diagonal of ones; rows
    beyond its rank stay zero. Returns how much of a variance is left out at most, as a share of it.
    """
    p, worst = xx.shape[1], 0.0
    unit, left = np.empty(p), np.empty(p)
    for t in range(len(bounds) - 1):
        for j in range(p):
            left[j] = xx[t, j, j]
            unit[j] = 1.0 / left[j] if left[j] > 0.0 else 0.0
        for k in range(bounds[t], bounds[t + 1] + 1):
            pivot = 0
            for j in range(1, p):
                if left[j] * unit[j] > left[pivot] * unit[pivot]:
                    pivot = j
            share = left[pivot] * unit[pivot]
            if k == bounds[t + 1] or not share > 1e-14:
                worst = max(worst, share)
                break
            for j in range(p):
                out[k, j] = xx[t, pivot, j]
            targets[k] = xy[t, pivot]
            for i in range(bounds[t], k):
                known = out[i, pivot]
                targets[k] -= known * targets[i]
                for j in range(p):
                    out[k, j] -= known * out[i, j]
            scale = 1.0 / np.sqrt(left[pivot])
            targets[k] *= scale
            for j in range(p):
                out[k, j] *= scale
                left[j] -= out[k, j] * out[k, j]
    return worst


@compiled
def thin_gains(rows, targets, bounds, answers):
    """Rows B_t with (I + G_t'G_t)^-1 = I - B_t'B_t in the place of rows G_t; sum of log |I + G_t'G_t|.

    Those of task t lie between its bounds. By one row after the other, which is Cholesky of I + G_t G_t'.
    Targets q_t, which change with the rows, have answers (I + G_t'G_t)^-1 G_t'q_t: these lose no digits where
    G_t is large.
    """
    p, log_determinant = rows.shape[1], 0.0
    along = np.empty(rows.shape[0])
    for t in range(len(bounds) - 1):
        for j in range(p):
            answers[t, j] = 0.0
        for i in range(bounds[t], bounds[t + 1]):
            size = 1.0
            for j in range(p):
                size += rows[i, j] * rows[i, j]
            for k in range(bounds[t], i):
                part = 0.0
                for j in range(p):
                    part += rows[k, j] * rows[i, j]
                along[k] = part
                size -= part * part
            for k in range(bounds[t], i):
                part = along[k]
                targets[i] -= part * targets[k]
                for j in range(p):
                    rows[i, j] -= part * rows[k, j]
            size = max(size, 1.0)  # but for rounding
            log_determinant += np.log(size)
            scale = 1.0 / np.sqrt(size)
            targets[i] *= scale
            for j in range(p):
                rows[i, j] *= scale
                answers[t, j] += targets[i] * rows[i, j]
    return log_determinant


@compiled
def thin_times(rows, bounds, places, V, out):
    """v_i - B_t'B_t v_i for the rows of V, t = places_i, into `out`; B_t are the rows between bounds of t."""
    p = rows.shape[1]
    for i in range(len(places)):
        for j in range(p):
            out[i, j] = V[i, j]
        for k in range(bounds[places[i]], bounds[places[i] + 1]):
            part = 0.0
            for j in range(p):
                part += rows[k, j] * V[i, j]
            for j in range(p):
                out[i, j] -= part * rows[k, j]


@compiled
def thin_products(rows, images, bounds, out):
    """P_t P_t'B_t for rows B_t and their images P_t of every task, those between its bounds, into `out`."""
    p, q = rows.shape[1], images.shape[1]
    for t in range(len(bounds) - 1):
        for i in range(bounds[t], bounds[t + 1]):
            for j in range(p):
                out[i, j] = 0.0
            for k in range(bounds[t], i + 1):
                part = 0.0
                for j in range(q):
                    part += images[i, j] * images[k, j]
                for j in range(p):
                    out[i, j] += part * rows[k, j]
                if k < i:
                    for j in range(p):
                        out[k, j] += part * rows[i, j]


@compiled
def pulls_of_variances(X, indptr, x_mean, e, f, Q, third, xy, sums):
    """Moments of the features with third derivatives times variances of predictors, into xy and sums.

    X (n, p) rows sorted by task and their third (n,) derivatives; rows x less x_mean (T, p) of task t have
    the variance e_t + 2 f_t.x + x'Q_t x; xy (T, p) and sums (T,) come as zeros.
    """
    p = X.shape[1]
    x = np.empty(p)
    for t in range(len(indptr) - 1):
        for i in range(indptr[t], indptr[t + 1]):
            own = e[t]
            for j in range(p):
                x[j] = X[i, j] - x_mean[t, j]
                own += 2.0 * f[t, j] * x[j]
            for j in range(p):
                part = 0.0
                for k in range(p):
                    part += Q[t, j, k] * x[k]
                own += part * x[j]
            own *= third[i]
            sums[t] += own
            for j in range(p):
                xy[t, j] += own * x[j]


@compiled
def tree_sweep(V, holder, parent, weight, strength, out, total):
    """Prox of strength sum_g weight_g ||v[g]||_2 over nested groups for each row v of V, into `out`.

    holder (length,) is the smallest group around a position, parent (n_groups,) that around a group, a
    smaller number than its own; -1 for none. `total` gets the sums weight_g ||.|| met on the way up,
    with strength 0 those of v.
    """
    n_groups = parent.shape[0]
    square, factor = np.empty(n_groups), np.empty(n_groups)
    for row in range(V.shape[0]):
        square[:] = 0.0
        for i in range(V.shape[1]):
            if holder[i] >= 0:
                square[holder[i]] += V[row, i] * V[row, i]
        sum_of_norms = 0.0
        for g in range(n_groups - 1, -1, -1):
            size = np.sqrt(square[g])
            sum_of_norms += weight[g] * size
            left = size - strength * weight[g]
            factor[g] = 0.0
            if not left <= 0.0:  # also NaN, which must stay visible
                factor[g] = left / size
                if parent[g] >= 0:
                    square[parent[g]] += left * left
        total[row] = sum_of_norms
        for g in range(n_groups):
            if parent[g] >= 0:
                factor[g] *= factor[parent[g]]
        for i in range(V.shape[1]):
            out[row, i] = V[row, i] * factor[holder[i]] if holder[i] >= 0 else V[row, i]


@compiled
def _left_of_tree(v, scale, own, holder, parent, weight, strength, square):
    """The longest that the prox of `tree_polar` leaves of v / scale in a group that no other holds, at a
    strength; not above zero where it leaves nothing.
    """
    longest = -np.inf
    square[:] = 0.0
    for i in range(v.shape[0]):
        left = abs(v[i]) / scale - strength * own[i]
        if holder[i] < 0:
            longest = max(longest, left)
        elif left > 0.0:
            square[holder[i]] += left * left
    for g in range(parent.shape[0] - 1, -1, -1):
        left = np.sqrt(square[g]) - strength * weight[g]
        if parent[g] < 0:
            longest = max(longest, left)
        elif left > 0.0:
            square[parent[g]] += left * left
    return longest


@compiled
def tree_polar(V, own, holder, parent, weight, out):
    """Least strength at which nothing is left of each row v of V by entries |v_i| - strength own_i, shortened
    by `tree_sweep`; infinite if there is none. To the last digit from above, by false position (Illinois).
    """
    square = np.empty(parent.shape[0])
    for row in range(V.shape[0]):
        v, top = V[row], 0.0
        for i in range(v.shape[0]):
            if abs(v[i]) > top or v[i] != v[i]:  # NaN stays
                top = abs(v[i])
        out[row] = top
        if not 0.0 < top < np.inf:
            continue
        high, low = 1.0, 0.0
        below, above = _left_of_tree(v, top, own, holder, parent, weight, high, square), 0.0
        while below > 0.0 and high < 1e150:
            low, above, high = high, below, high * (2.0 if high < 1e3 else high)
            below = _left_of_tree(v, top, own, holder, parent, weight, high, square)
        while low == 0.0 and high > 1e-150:
            found = _left_of_tree(v, top, own, holder, parent, weight, 0.5 * high, square)
            if found > 0.0:
                low, above = 0.5 * high, found
            else:
                high, below = 0.5 * high, found
        n, side = 0, 0  # which end moved last: one that stays counts half as much next time
        while below <= 0.0 < low < 0.5 * (low + high) < high:
            c = (low * below - high * above) / (below - above)
            c = min(max(c, low * (1.0 + 1e-15)), high * (1.0 - 1e-15))  # an end may be the root
            c, n = c if n < 60 and low < c < high else 0.5 * (low + high), n + 1
            found = _left_of_tree(v, top, own, holder, parent, weight, c, square)
            if found > 0.0:
                low, above, below, side = c, found, 0.5 * below if side > 0 else below, 1
            else:
                high, below, above, side = c, found, 0.5 * above if side < 0 else above, -1
        out[row] = top * high if below <= 0.0 else np.inf


@compiled_unchecked
def adam_double(theta, gradient, first, second, gain, gain_square, step, eps):
    """A step of Adam in place, in one pass where NumPy needs ten."""
    for i in range(theta.shape[0]):
        g = gradient[i]
        first[i] += gain * (g - first[i])
        second[i] += gain_square * (g * g - second[i])
        theta[i] -= step * first[i] / (np.sqrt(second[i]) + eps)


# in single precision; all numbers are float32, or the loop would run in double precision
adam_single = compiled_unchecked(plain(adam_double))


@compiled
def relu_double(Z, b):
    """max(Z + b, 0) in place, Z (groups, rows, width), b (groups, 1, width); NaN stays."""
    for g in range(Z.shape[0]):
        for i in range(Z.shape[1]):
            for j in range(Z.shape[2]):
                z = Z[g, i, j] + b[g, 0, j]
                Z[g, i, j] = 0 if z < 0 else z


@compiled
def relu_back_double(D, A):
    """D where A > 0, else 0, in place."""
    for g in range(D.shape[0]):
        for i in range(D.shape[1]):
            for j in range(D.shape[2]):
                D[g, i, j] *= A[g, i, j] > 0


relu_single = compiled(plain(relu_double))
relu_back_single = compiled(plain(relu_back_double))

SIGNATURES = {
    "adam_single": (*(SINGLE_VECTOR,) * 4, *(SINGLE,) * 4),
    "adam_double": (*(VECTOR,) * 4, *(NUMBER,) * 4),
    **dict.fromkeys(("relu_single", "relu_back_single"), (SINGLE_CUBE, SINGLE_CUBE)),
    **dict.fromkeys(("relu_double", "relu_back_double"), (CUBE, CUBE)),
    "descend_shared": (MATRIX, VECTOR, NUMBER, PLACES, VECTOR, NUMBER, NUMBER, NUMBER, CUBE, CUBE),
    "descend_separate": (CUBE, VECTOR, NUMBER, PLACES, VECTOR, NUMBER, NUMBER, NUMBER, CUBE, CUBE),
    "taut_string": (MATRIX, NUMBER, MATRIX),
    "box_weights": (MATRIX, *(NUMBER,) * 4, MATRIX),
    "thin_roots": (CUBES, ROWS, BOUNDS, MATRIX, VECTOR),
    "thin_gains": (MATRIX, VECTOR, BOUNDS, MATRIX),
    "thin_times": (MATRIX, BOUNDS, BOUNDS, ROWS, MATRIX),
    "thin_products": (MATRIX, MATRIX, BOUNDS, MATRIX),
    "pulls_of_variances": (ROWS, BOUNDS, ROWS, ROW, ROWS, CUBES, ROW, MATRIX, VECTOR),
    "tree_polar": (MATRIX, VECTOR, PLACES, PLACES, VECTOR, VECTOR),
    "tree_sweep": (MATRIX, PLACES, PLACES, VECTOR, NUMBER, MATRIX, VECTOR),
}
