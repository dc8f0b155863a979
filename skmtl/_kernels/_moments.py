"""Loops over rows that make second moments of tasks, also of parts of these that hashes of the rows tell."""

import numpy as np

from ._numba import (
    BOUNDS,
    CUBE,
    INTEGER,
    MATRIX,
    PLACE,
    PLACES,
    ROW,
    ROWS,
    SUMS,
    VECTOR,
    compiled,
)
from ._tasks import _add_products


@compiled
def _means(X, y, weight, rows, mean):
    """Weighted means of [x, y] of some rows into `mean`, and the sum of their weights.

    They are taken about the first row, so that a constant is found to the last digit.
    """
    p, total, first = X.shape[1], 0.0, rows[0]
    mean[:] = 0.0
    for i in rows:
        total += weight[i]
        mean[p] += weight[i] * (y[i] - y[first])
        for j in range(p):
            mean[j] += weight[i] * (X[i, j] - X[first, j])
    least = max(total, 2.2250738585072014e-308)  # a task that weighs nothing
    mean[p] = y[first] + mean[p] / least
    for j in range(p):
        mean[j] = X[first, j] + mean[j] / least
    return total


@compiled
def _add_rows(X, y, weight, rows, mean, root_before, Z, S):
    """Add second moments of rows of [x, y] about `mean` to S, its upper triangle; Z is room.

    Unless `root_before` is zero, the first column of Z holds what has been before.
    """
    p, first, n = X.shape[1], 0, 1 if root_before > 0.0 else 0
    while first < len(rows):
        last = min(first + Z.shape[1] - n, len(rows))
        for i in rows[first:last]:
            root = np.sqrt(weight[i])
            for j in range(p):
                Z[j, n] = root * (X[i, j] - mean[j])
            Z[p, n] = root * (y[i] - mean[p])
            n += 1
        m, first = (n + 3) // 4 * 4, last  # whole vectors
        for j in range(p + 1):
            for k in range(n, m):
                Z[j, k] = 0.0
        _add_products(Z, m, S)
        n = 0


@compiled
def _sizes(indptr):
    """Most rows of a task, and how many are handled at a time: no power of two, for the cache."""
    longest = 0
    for t in range(len(indptr) - 1):
        longest = max(longest, indptr[t + 1] - indptr[t])
    return longest, min((longest + 16) // 32 * 32 + 16, 240)


@compiled
def task_moments(X, y, weight, indptr, x_mean, y_mean, xx, xy, yy):
    """Weighted means and centred second moments of x and y of tasks, their rows between `indptr`."""
    p, (longest, block) = X.shape[1], _sizes(indptr)
    Z = np.zeros(((p + 3) // 3 * 3, block))  # rows of a task, as columns of [x, y]
    rows, S, mean = np.empty(longest, dtype=np.int64), np.empty((len(Z), len(Z))), np.empty(p + 1)
    for t in range(len(indptr) - 1):
        n = indptr[t + 1] - indptr[t]
        for i in range(n):
            rows[i] = indptr[t] + i
        _means(X, y, weight, rows[:n], mean)
        S[:] = 0.0
        _add_rows(X, y, weight, rows[:n], mean, 0.0, Z, S)
        for a in range(p):
            x_mean[t, a], xy[t, a] = mean[a], S[a, p]
            for b in range(a):
                S[a, b] = S[b, a]  # here it is in the cache
            for b in range(p):
                xx[t, a, b] = S[a, b]
        y_mean[t], yy[t] = mean[p], S[p, p]


@compiled
def add_moments(X, y, weight, indptr, at, n_folds, count, mass, means, products):
    """Add rows of tasks to the numbers of rows of cells, their weights, means, and second moments of [x, y].

    Tasks own the rows between their `indptr`. A cell is a fold, by hashes of the rows, of a task, and has the
    place at n_folds + fold in the outputs: of `products`, with room for a multiple of three, the upper
    triangle. The way from the earlier mean to that of the rows counts like one row (Chan, Golub & LeVeque).
    """
    p, (longest, block) = X.shape[1], _sizes(indptr)
    Z, mean = np.zeros((products.shape[1], block)), np.empty(p + 1)
    order, folds = np.empty(longest, dtype=np.int64), np.zeros(longest, dtype=np.uint64)
    keys = np.empty((2, p), dtype=np.uint64)
    nothing = _fill_keys(keys[0], keys[1])
    for t in range(len(indptr) - 1):
        first, stop = indptr[t], indptr[t + 1]
        size = stop - first
        if n_folds > 1:
            folds[:size] = 0
            add_hashes(y[first:stop], np.uint64(p), folds)
            _add_hashes_by_keys(X[first:stop], keys[0], keys[1], nothing, folds)
            folds_of_hashes(folds[:size], np.uint64(n_folds))
        for k in range(n_folds):
            own = 0
            for i in range(size):
                order[own] = first + i
                own += folds[i] == np.uint64(k)  # no branch: nobody could foretell it
            rows = order[:own]
            if not own:
                continue
            c, root = at[t] * n_folds + k, 0.0
            total = _means(X, y, weight, rows, mean)
            before, mass[c] = mass[c], mass[c] + total
            share = total / max(mass[c], 2.2250738585072014e-308)
            if before > 0.0:
                root = np.sqrt(before * share)
                for j in range(p + 1):
                    Z[j, 0] = root * (mean[j] - means[c, j])
            _add_rows(X, y, weight, rows, mean, root, Z, products[c])
            for j in range(p + 1):
                means[c, j] += share * (mean[j] - means[c, j])
            count[c] += len(rows)


@compiled
def sorted_places(codes, first):
    """Positions of rows in a stable order of their codes, whose runs start at `first` (used up)."""
    out = np.empty(len(codes), dtype=np.int64)
    for i in range(len(codes)):
        out[i] = first[codes[i]]
        first[codes[i]] += 1
    return out


@compiled
def scatter_rows(columns, at, out):
    """Write columns (p, n) as rows of `out`, to the positions `at`."""
    for i in range(len(at)):
        for j in range(len(columns)):
            out[at[i], j] = columns[j, i]


@compiled
def _mixed(h):
    """Well mixed bits of an unsigned integer, by SplitMix64."""
    h = h + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@compiled
def _bits(value, bits, low, high):
    """Bits of a number for the hash of its row, by the keys of its column: low times high if zero or NaN."""
    bits = bits if abs(value) > 0.0 else np.uint64(0)
    half, last = np.uint64(32), np.uint64(2**32 - 1)
    return ((bits + low) & last) * (((bits >> half) + high) & last)


@compiled
def add_hashes(values, place, total):
    """Add the bits of numbers of the column at a place to `total`: of zeros none, as in sparse rows."""
    bits, keys = values.view(np.uint64), _mixed(place)
    low, high = keys & np.uint64(2**32 - 1), keys >> np.uint64(32)
    for i in range(len(values)):
        total[i] += _bits(values[i], bits[i], low, high) - low * high


@compiled
def _fill_keys(low, high):
    """Fill in the keys of columns at the places from 0 on; the sum of their products."""
    nothing = np.uint64(0)
    for j in range(len(low)):
        keys = _mixed(np.uint64(j))
        low[j], high[j] = keys & np.uint64(2**32 - 1), keys >> np.uint64(32)
        nothing += low[j] * high[j]
    return nothing


@compiled
def _add_hashes_by_keys(values, low, high, nothing, total):
    """Add the bits of rows (n, p) to `total`, by the keys of the columns."""
    bits = values.view(np.uint64)
    for i in range(len(values)):
        own = total[i] - nothing
        for j in range(values.shape[1]):
            own += _bits(values[i, j], bits[i, j], low[j], high[j])
        total[i] = own


@compiled
def add_hashes_of_rows(values, total):
    """Add the bits of rows (n, p), whose columns have the places from 0 on, to `total`."""
    keys = np.empty((2, values.shape[1]), dtype=np.uint64)
    nothing = _fill_keys(keys[0], keys[1])
    _add_hashes_by_keys(values, keys[0], keys[1], nothing, total)


@compiled
def folds_of_hashes(total, n_folds):
    """Folds, of so many, in the place of sums of bits."""
    for i in range(len(total)):
        total[i] = ((_mixed(total[i]) >> np.uint64(32)) * n_folds) >> np.uint64(32)


SIGNATURES = {
    "task_moments": (ROWS, ROW, ROW, BOUNDS, MATRIX, VECTOR, CUBE, MATRIX, VECTOR),
    "add_moments": (ROWS, ROW, ROW, BOUNDS, BOUNDS, INTEGER, VECTOR, VECTOR, MATRIX, CUBE),
    "sorted_places": (BOUNDS, PLACES),
    "scatter_rows": (ROWS, BOUNDS, MATRIX),
    "add_hashes": (ROW, PLACE, SUMS),
    "add_hashes_of_rows": (ROWS, SUMS),
    "folds_of_hashes": (SUMS, PLACE),
}
