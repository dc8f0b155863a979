"""How many false selections a number of halves lets through: bounds of their expected number."""

from functools import cache

import numpy as np

ASSUMPTIONS = ("none", "unimodal", "r-concave")
N_SHAPES = 1000  # tried of the worst distribution, and again around the best of them


@cache
def false_bound(q, n_items, threshold, n_pairs, assumption):
    """Bound of the expected number of items that q of n_items let in by each half select by chance.

    Of Meinshausen & Buehlmann, with their assumption, or of Shah & Samworth (theorem 1) for items that are in
    with a probability of at most q / n_items; smaller ones where the share of pairs of halves, or of halves,
    that agree on such an item has a distribution of the shape assumed (theorem 2, equation 8).
    """
    theta, least = q / n_items, on_grid(threshold, n_pairs)
    most = np.floor(q / least * (1 + 1e-12))  # may be selected at all: shares of all items add up to q
    bounds = [min(most, n_items), q * theta / (2 * least - 1)]
    if assumption != "none":
        bounds.append(q * theta * _unimodal(theta, least, n_pairs))
    if assumption == "r-concave":
        bounds.append(n_items * largest_tail(theta**2, 2 * least - 1, n_pairs, -1 / 2))
        bounds.append(n_items * largest_tail(theta, least, 2 * n_pairs, -1 / 4))
    return float(min(bounds))


def on_grid(threshold, n_pairs):
    """The threshold as a share that halves can have, not below it."""
    return np.ceil(2 * n_pairs * threshold * (1 - 1e-12)) / (2 * n_pairs)


def _unimodal(theta, threshold, n_pairs):
    """C(threshold, n_pairs), infinite where the theorem says nothing."""
    least = 0.5 + min(theta**2, 0.5 / n_pairs + 0.75 * theta**2)
    if theta > 3**-0.5 or threshold <= least or threshold < 0.5 + 1 / n_pairs - 1e-12:
        return np.inf
    if threshold <= 0.75:
        return 0.5 / (2 * threshold - 1 - 0.5 / n_pairs)
    return 4 * (1 - threshold + 0.5 / n_pairs) / (1 + 1 / n_pairs)


def largest_tail(mean, level, n, r):
    """D: the largest P(Z >= level) of an r-concave Z on 0, 1/n, ..., 1 with a mean of at most `mean`.

    The worst has probabilities (a + i)^(1/r) up to some k, and a rest at k + 1 that gives it the mean.
    """
    t = round(level * n)
    if t < np.ceil(2 * mean * n) + 1 or np.ceil(2 * mean * n) + 1 >= n:
        return 1.0
    i, low, high = np.arange(n + 1), -5.0, 5.0
    for _ in range(3):
        a = np.logspace(low, high, N_SHAPES)
        weight = (a[:, None] + i) ** (1 / r)
        total, first = np.cumsum(weight, axis=1), np.cumsum(weight * i, axis=1)
        k = (first <= mean * n * total).sum(axis=1) - 1  # the longest without the rest
        row, fits = np.arange(N_SHAPES), k < n
        row, k = row[fits], k[fits]
        share = (k + 1 - mean * n) / ((k + 1) * total[row, k] - first[row, k])
        tail = np.where(t <= k + 1, 1 - share * total[row, t - 1], 0.0)
        best = np.log10(a[row[np.argmax(tail)]])
        step = (high - low) / (N_SHAPES - 1)
        low, high = best - step, best + step
    return float(tail.max())
