"""One minimisation: L-BFGS on all rows, epochs of Adam on minibatches."""

import numpy as np

from ._network import BLAS, compiled

PAIRS, TRIES = 10, 20  # steps that L-BFGS remembers, and points of a line that it tries
LOWER, FLATTER = 1e-3, 0.9  # of the first fall and slope along a line, with which a point is low enough


class DivergedError(FloatingPointError, ValueError):
    """NaN or infinity in training."""


def refuse_infinite(numbers, network, theta, rows, iteration, names, rate):
    """DivergedError where training has left the numbers, which names the task whose loss did."""
    if np.isfinite(numbers).all():
        return
    bad = np.flatnonzero(~np.isfinite(network.task_losses(theta, rows)))
    which = f"task {names.tolist()[bad[0]]!r}" if len(bad) else "the penalty (all tasks)"
    raise DivergedError(
        f"training stopped in epoch {iteration}: the loss of {which} is not finite, with {rate}. "
        "Look for outliers in X, lower learning_rate_init or raise alpha."
    )


def lbfgs(model, network, theta, rows, alpha, steps, after, curve):
    """Parameters after L-BFGS on all rows, and whether `steps` ended it.

    `after(loss, theta)`, true to stop, fills `curve`. That of SciPy, made for bounds, takes most of the time
    of a small network for itself.
    """
    gradient = np.empty(network.size, dtype=network.dtype)
    G, past = network.views(gradient), Past(network.size)

    def objective(x):
        x = x.astype(network.dtype, copy=False)
        value = network.gradient(network.views(x), rows, alpha, G)
        slopes, why = gradient.astype(np.float64), (len(curve) + 1, model.tasks_, "solver='lbfgs'")
        refuse_infinite((value, slopes @ slopes), network, x, rows, *why)
        return float(value), slopes

    x = theta.astype(np.float64)
    value, slopes = objective(x)
    for _ in range(steps):
        if np.abs(slopes).max(initial=0.0) <= 1e-2 * model.tol:
            return x.astype(network.dtype), False
        found = line_search(objective, x, value, slopes, *past.step(slopes))
        if found is None and past.places:  # once more, downhill
            past = Past(network.size)
            found = line_search(objective, x, value, slopes, *past.step(slopes))
        if found is None:
            return x.astype(network.dtype), False
        before, (x_before, slopes_before) = value, (x, slopes)
        x, value, slopes = found
        past.add(x - x_before, slopes - slopes_before)
        flat = before - value <= 1e-4 * model.tol * max(abs(before), abs(value), 1.0)
        if after(value, x.astype(network.dtype, copy=False)) or flat:
            return x.astype(network.dtype), False
    return x.astype(network.dtype), True


class Past:
    """The last steps of L-BFGS, and how the gradient changed on them (Nocedal 1980)."""

    def __init__(self, size):
        self.steps, self.changes = np.empty((2, PAIRS, size))
        self.scales, self.places = np.empty(PAIRS), []

    def step(self, gradient):
        """Direction, and the length of its first try."""
        d, shares = -gradient, {}
        if not self.places:
            return d, min(1.0, 1.0 / np.sqrt(gradient @ gradient))
        axpy, _ = BLAS[d.dtype]  # d += a x, without a temporary
        for k in reversed(self.places):
            shares[k] = self.scales[k] * (self.steps[k] @ d)
            axpy(self.changes[k], d, a=-shares[k])
        last = self.changes[self.places[-1]]
        d /= self.scales[self.places[-1]] * (last @ last)
        for k in self.places:
            axpy(self.steps[k], d, a=shares[k] - self.scales[k] * (self.changes[k] @ d))
        return d, 1.0

    def add(self, step, change):
        """Take a step in, in the place of the oldest one, where the objective is curved along it."""
        curvature = step @ change
        if curvature > np.finfo(np.float64).eps * (change @ change):
            k = self.places.pop(0) if len(self.places) == PAIRS else len(self.places)
            self.steps[k], self.changes[k], self.scales[k] = step, change, 1.0 / curvature
            self.places.append(k)


def line_search(objective, x, value, gradient, d, step):
    """Point, value and gradient along d where the strong conditions of Wolfe hold; None: nothing lower.

    Where the tries do not suffice the best one that is low enough.
    """
    slope = gradient @ d
    low, high, best = (0.0, value, slope), None, None
    for _ in range(TRIES if slope < 0 else 0):
        at = x + step * d
        found, new = objective(at)
        here = step, found, new @ d
        if not (found <= value + LOWER * step * slope and found <= low[1]):
            high = here
        elif abs(here[2]) <= FLATTER * abs(slope):
            return at, found, new
        elif here[2] > 0:
            high, best = here, (at, found, new)
        else:
            low, best = here, (at, found, new)
        step = 4.0 * step if high is None else between(low, high)
    return best


def between(low, high):
    """The lowest point of the cubic through two points (place, value, slope), in their middle four fifths."""
    (a, f, s), (b, g, t) = low, high
    mean = s + t - 3.0 * (g - f) / (b - a)
    root = np.sqrt(max(mean * mean - s * t, 0.0))
    lowest = b - (b - a) * (t + root - mean) / (t - s + 2.0 * root)
    return np.clip(np.nan_to_num(lowest, nan=a), a + 0.1 * (b - a), b - 0.1 * (b - a))


class Adam:
    """Adam on a flat vector, in place."""

    def __init__(self, size, dtype, rate):
        self.rate, self.steps = rate, 0
        self.first, self.second = np.zeros(size, dtype), np.zeros(size, dtype)

    def epoch(self, model, network, theta, rows, alpha, rng, number):
        """One pass over shuffled rows, theta in place; the mean objective over its batches."""
        network, gradient, move = network.with_kernels(), np.empty_like(theta), compiled("adam", theta.dtype)
        P, G = network.views(theta), network.views(gradient)
        n, total, order = len(rows), 0.0, rng.permutation(len(rows))
        size = min(200 if model.batch_size == "auto" else model.batch_size, n)
        why = number, model.tasks_, f"learning_rate_init={self.rate}"
        for start in range(0, n, size):
            batch = rows.take(np.sort(order[start : start + size]))  # sorted rows are sorted by task
            value = network.gradient(P, batch, alpha, G, scale=n / len(batch))
            refuse_infinite(value, network, theta, batch, *why)
            self.steps, total = self.steps + 1, total + value * len(batch)
            root = np.sqrt(1 - 0.999**self.steps)
            numbers = 0.1, 0.001, self.rate * root / (1 - 0.9**self.steps), 1e-8 * root
            move(theta, gradient, self.first, self.second, *map(theta.dtype.type, numbers))
        refuse_infinite(theta, network, theta, rows, *why)
        return total / n
