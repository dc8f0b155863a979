"""One minimisation: L-BFGS on all rows, epochs of Adam on minibatches."""

import numpy as np
from scipy.optimize import minimize

from ._network import compiled


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

    `after(loss, theta)`, true to stop, fills `curve`.
    """
    gradient = np.empty(network.size, dtype=network.dtype)
    G = network.views(gradient)

    def objective(x):
        value = network.gradient(network.views(x.astype(network.dtype, copy=False)), rows, alpha, G)
        why = len(curve) + 1, model.tasks_, "solver='lbfgs'"
        refuse_infinite(np.append(gradient, value), network, x, rows, *why)
        return value, gradient.astype(np.float64)

    def callback(intermediate_result):
        if after(intermediate_result.fun, intermediate_result.x.astype(network.dtype)):
            raise StopIteration

    options = {"maxiter": steps, "maxfun": 20 * steps, "gtol": 1e-2 * model.tol, "ftol": 1e-4 * model.tol}
    found = minimize(objective, theta.astype(float), (), "L-BFGS-B", True, callback=callback, options=options)
    return found.x.astype(network.dtype), found.status == 1


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
