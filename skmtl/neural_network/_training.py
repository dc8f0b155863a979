"""Training of a network: hold-out, L-BFGS and Adam, the path over alpha, weights of the tasks."""

from copy import copy
from dataclasses import replace
from functools import partial
from operator import attrgetter
from types import SimpleNamespace

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import polygamma

from .._inputs import resolve_task_weight
from ._network import PRECISIONS

LBFGS_ROWS = 5000  # up to as many rows "auto" takes L-BFGS, and equal rows are merged
# strengths of the path, times the root of the number of tasks: the gradient of a representation that all
# tasks use grows with their number, that of one task does not
ALPHAS = {"lbfgs": np.geomspace(1e-3, 1.0, 13), "adam": np.geomspace(1e-3, 1.0, 4)}
# the pull of heads to their mean over alpha
HEAD_FACTORS = {"lbfgs": (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0), "adam": (1000.0, 100.0, 10.0)}
SEARCH = 0.8  # of the iterations that are left, for the strengths
LEAST_STEPS, MOST_STEPS = 10, {"lbfgs": 25, "adam": np.inf}  # for a strength
ROUNDS = 10  # of learned weights of tasks, which take half of the iterations that are left then
WIDE_ROWS = 2000  # L-BFGS on up to as many rows, with more than twice as many features, is on their row space
LBFGS_PATIENCE = 5  # iterations of L-BFGS that count as one epoch when waiting for an improvement
SPREAD = 0.5  # variance of the logarithms of the variances of tasks that count as comparable
ABOUT = 0.02  # of the held-out loss: differences between strengths that may be chance
LAST_EPOCHS = 10  # of Adam, on all rows and with falling steps, after the search
HASTE = 3  # divides the patience in the search, where every start is a solution of another strength
MEMORY = 0.9  # of the averages of "dynamic" weights over rounds


class DivergedError(FloatingPointError, ValueError):
    """NaN or infinity in training."""


# --- rows ---


def merged(rows, rng):
    """The distinct rows in an order of their own, with summed weights.

    So that a weight is the same as a repetition to the last bit, whatever the order of the rows, and
    copies of a row never stand on both sides of a hold-out. Rows are compared by random projections,
    computed alike for dense and sparse X.
    """

    def project(A):
        A = sparse.csr_matrix(A, copy=True)
        A.sum_duplicates()
        return A @ rng.normal(size=(A.shape[1], 2))

    y, codes, keys = rows.y, rows.codes, [*project(rows.X).T]
    there = rows.weight > 0
    keys += [y, codes] if codes is not None else [*project(there * y).T, *project(there).T]
    keys[:0] = [] if rows.offset is None else [*project(rows.offset.reshape(len(rows), -1)).T]
    keys = np.array(keys[::-1]).T  # sorted by task
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    out = rows.take(first)
    out.weight[...] = 0.0
    np.add.at(out.weight, group, rows.weight)
    return out


def hold_out(rows, fraction, rng):
    """(rows for training, rows held out), a part of every task that has at least four rows.

    A row of several tasks is held out for all of them; it is drawn among those whose rarest label it has.
    """
    group = rows.codes
    if group is None:
        by_rarity = np.argsort((rows.weight > 0).sum(axis=0), kind="stable")
        group = (rows.weight[:, by_rarity] > 0).argmax(axis=1)
    counts = np.bincount(group)
    wanted = np.where(counts >= 4, np.maximum(np.rint(fraction * counts), 1), 0)
    shuffled = rng.permutation(len(group))
    order = shuffled[np.argsort(group[shuffled], kind="stable")]
    rank = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(group), dtype=bool)
    held[order] = rank < wanted[group[order]]
    return tuple(rows.take(np.flatnonzero(part)).normalised() for part in (~held, held))


def comparable(variance, mass):
    """Whether the variances of the tasks are about the same, but for chance.

    By the variance of their logarithms, less what normal samples of these sizes have (Smyth 2004).
    """
    used = (mass >= 2) & (variance > 0)
    if used.sum() < 2:
        return False
    chance = polygamma(1, 0.5 * (mass[used] - 1)).mean()
    return bool(np.var(np.log(variance[used]), ddof=1) - chance < SPREAD)


class RowSpace:
    """Coordinates of few rows with many features, and of the networks that see no more of X.

    With X = Z B', B' B = I, the weights of the first layer that minimise a penalised loss are B A, of the
    same norm as A, so that a network of Z (n_rows, rank) stands for one of X (n_rows, n_features).
    """

    def __init__(self, X):
        gram = X.astype(np.float64) @ X.T.astype(np.float64)
        values, vectors = eigh(gram.toarray() if sparse.issparse(gram) else gram)
        some = values > len(values) * np.finfo(np.float64).eps * values[-1]
        root = np.sqrt(values[some])
        self.X, self.Z = X, (vectors[:, some] * root).astype(X.dtype)
        self.V = (vectors[:, some] / root).astype(X.dtype)  # B = X' V

    def down(self, theta, network):
        """Parameters of the network of Z nearest to those of the network of X."""
        return self._moved(theta, network, self.X.shape[1], lambda W: self.V.T @ (self.X @ W))

    def up(self, theta, network):
        """Parameters of the network of X that stand for those of the network of Z."""
        return self._moved(theta, network, self.Z.shape[1], lambda A: self.X.T @ (self.V @ A))

    @staticmethod
    def _moved(theta, network, below, move):
        """With the weights of the first layer, which come first, moved, group by group."""
        groups, _, above = network.shapes["W0"]
        size = groups * below * above
        first = theta[:size].reshape(groups, below, above)
        return np.concatenate([*(move(W).ravel() for W in first), theta[size:]])


# --- one minimisation ---


def diverged(network, theta, rows, iteration, names, rate):
    """The error of a training that left the numbers."""
    bad = np.flatnonzero(~np.isfinite(network.task_losses(theta, rows)))
    which = f"task {names[bad[0]]!r}" if len(bad) else "the penalty (all tasks)"
    return DivergedError(
        f"training stopped in epoch {iteration}: the loss of {which} is not finite, with {rate}. "
        "Look for outliers in X, lower learning_rate_init or raise alpha."
    )


def lbfgs(model, network, theta, rows, alpha, steps, after, curve):
    """Parameters after L-BFGS on all rows; `after(loss, theta)`, true to stop, fills `curve`."""
    gradient = np.empty(network.size, dtype=network.dtype)
    G = network.views(gradient)

    def objective(x):
        value = network.gradient(network.views(x.astype(network.dtype, copy=False)), rows, alpha, G)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise diverged(network, x, rows, len(curve) + 1, model.tasks_, "solver='lbfgs'")
        return value, gradient.astype(np.float64)

    def callback(intermediate_result):
        if after(intermediate_result.fun, intermediate_result.x.astype(network.dtype)):
            raise StopIteration

    options = {"maxiter": steps, "maxfun": 20 * steps, "gtol": 1e-2 * model.tol, "ftol": 1e-4 * model.tol}
    found = minimize(objective, theta.astype(float), (), "L-BFGS-B", True, callback=callback, options=options)
    return found.x.astype(network.dtype)


class Adam:
    """Adam on a flat vector, in place."""

    def __init__(self, size, dtype, rate):
        self.rate, self.steps = rate, 0
        self.first, self.second = np.zeros(size, dtype), np.zeros(size, dtype)

    def step(self, theta, gradient):
        """Move theta."""
        from .. import _kernels  # Numba is imported by the first fit that needs it

        self.steps += 1
        root = np.sqrt(1 - 0.999**self.steps)
        numbers = 0.1, 0.001, self.rate * root / (1 - 0.9**self.steps), 1e-8 * root
        move = getattr(_kernels, f"adam_{PRECISIONS[theta.dtype]}")
        move(theta, gradient, self.first, self.second, *map(theta.dtype.type, numbers))

    def epoch(self, model, network, theta, rows, alpha, rng, number):
        """One pass over shuffled rows, theta in place; the mean objective over its batches."""
        network, gradient = network.with_kernels(), np.empty_like(theta)
        P, G = network.views(theta), network.views(gradient)
        n, total, order = len(rows), 0.0, rng.permutation(len(rows))
        size = min(200 if model.batch_size == "auto" else model.batch_size, n)
        why = number, model.tasks_, f"learning_rate_init={self.rate}"
        for start in range(0, n, size):
            batch = rows.take(np.sort(order[start : start + size]))  # sorted rows are sorted by task
            value = network.gradient(P, batch, alpha, G, scale=n / len(batch))
            if not np.isfinite(value):
                raise diverged(network, theta, batch, *why)
            self.step(theta, gradient)
            total += value * len(batch)
        if not np.isfinite(theta).all():
            raise diverged(network, theta, rows, *why)
        return total / n


# --- the whole training ---


def best_of(attempts):
    """Of those with about the best score the one with the best neighbours, which is less by chance."""
    top = max(one.score for one in attempts)
    near = [one for one in attempts if one.score >= top - ABOUT * abs(top)]
    return max(near or attempts, key=attrgetter("mean"))


class Training:
    """A fit: what to hold out, which alpha, which weights of the tasks, and then the minimisation.

    `model` is the estimator, whose parameters are read; `rows` hold weights that sum to one per task,
    `mass` (n_tasks,) what they summed to before; `pools`: the pull between offsets is learned; `after` is
    called after every epoch. After `run`: alpha, alpha_scores, emphasis, n_iter, strengths of the network.
    """

    def __init__(self, model, rows, mass, rng, pools, after):
        self.model, self.network, self.rows, self.mass, self.rng = model, model._network_, rows, mass, rng
        self.pools, self.after, self.solver = pools, after, model.solver
        if self.solver == "auto":
            self.solver = "lbfgs" if len(rows) <= LBFGS_ROWS else "adam"
        self.base = self.emphasis = first_weights(model.task_weight, model.tasks_, mass)
        self.alpha, self.alpha_scores, self.n_iter, self.held = model.alpha, {}, 0, None
        self.stops = self.solver == "adam" if model.early_stopping == "auto" else model.early_stopping
        self.learns = model.task_weight in ("uncertainty", "dynamic")
        self.up, self.stopped, self.limit = lambda theta: theta, False, model.max_iter

    # iterations that are left, at least one
    left = property(lambda self: max(self.limit - self.n_iter, 1))

    def run(self, theta):
        """Parameters and progress of the last training, from theta."""
        whole, few = self.network, 2 * len(self.rows) < self.rows.X.shape[1]
        if few and len(self.rows) <= WIDE_ROWS and self.model.solver != "adam" and self.alpha != 0:
            space = RowSpace(self.rows.X)
            self.rows, theta = replace(self.rows, X=space.Z), space.down(theta, whole)
            self.network, self.up = self.model._make_network(space.Z), partial(space.up, network=whole)
        if self.alpha == "auto" or self.stops or self.learns:
            self.train, held = hold_out(self.rows, self.model.validation_fraction, self.rng)
            self.held = held if len(held) else None
        self.pool(theta)
        theta, progress = self._run(theta)
        whole.head_alpha, whole.intercept_alpha = self.network.head_alpha, self.network.intercept_alpha
        return self.up(theta), progress

    def _run(self, theta):
        progress, searched = None, self.alpha == "auto" and self.held is not None
        if searched:
            theta, progress = self.search(theta)
        elif self.alpha == "auto":
            self.alpha = 1e-2  # too few rows to hold some out
        if self.held is not None and self.learns:
            theta, progress = self.learn_weights(theta, searched), None
        if self.held is None or not self.stops:
            return self.minimise(theta, self.rows, self.left)
        if progress is None or self.solver == "lbfgs":
            theta, progress = self.minimise(theta, self.train, self.left, watched=True)
        if searched and self.solver == "adam":
            theta, last = self.minimise(theta, self.rows, min(self.left, LAST_EPOCHS), falling=True)
            progress.curve += last.curve
        return theta, progress

    def search(self, theta):
        """Parameters and progress with the best held-out score along paths of rising strengths.

        Where heads have a mean: first with heads that are all but equal, which are then set free by steps,
        and once more with heads that cost as much about their mean as all weights. With few iterations
        some strengths are left out.
        """
        alphas = (ALPHAS[self.solver] * np.sqrt(self.network.n_tasks)).tolist()
        found, (first, *rest) = [], HEAD_FACTORS[self.solver]
        heads = self.model.head_alpha == "auto" and self.network.has_mean_head
        self.end, self.tries = SEARCH * self.left, len(alphas) * (1 + heads) + len(rest) * heads
        stride = min(int(np.ceil(self.tries * LEAST_STEPS / self.end)), len(alphas))
        alphas, rest = alphas[(stride - 1) // 2 :: stride], rest[(stride - 1) // 2 :: stride]
        self.tries = len(alphas) * (1 + heads) + len(rest) * heads
        if heads:
            found = self.follow(theta, [(alpha, first) for alpha in alphas])
            equal = best_of(found)
            found += self.follow(equal.theta, [(equal.alpha, factor) for factor in rest])
            self.network.head_alpha = None
        found += self.follow(theta, [(alpha, None) for alpha in alphas])
        best, self.limit = best_of(found), self.n_iter + self.limit - int(self.end)
        self.alpha, self.network = best.alpha, best.network
        return best.theta, best.progress

    def follow(self, theta, strengths):
        """Attempts at (alpha, head_alpha / alpha or None), each started from the solution before."""
        found, network = [], self.network
        for self.alpha, factor in strengths:
            if self.alpha_scores and (self.stopped or self.n_iter >= self.end):
                break
            if factor is not None:
                network.head_alpha = factor * self.alpha
            self.pool(theta)
            steps = min(max(int((self.end - self.n_iter) / self.tries), 1), MOST_STEPS[self.solver])
            self.tries -= 1
            theta, progress = self.minimise(theta, self.train, steps, watched=self.stops, hasty=HASTE)
            score, alpha = self.score(theta), self.alpha
            self.alpha_scores[alpha] = max(score, self.alpha_scores.get(alpha, -np.inf))
            one = {"score": score, "theta": theta, "progress": progress, "alpha": alpha}
            found.append(SimpleNamespace(**one, network=copy(network)))
        scores = np.pad([one.score for one in found], 1, mode="edge") if found else []
        for i, one in enumerate(found):
            one.mean = scores[i : i + 3].mean()  # with its neighbours on the path
        return found

    def score(self, theta):
        """Minus the held-out loss."""
        return -float(self.emphasis @ self.network.task_losses(theta, self.held)) / len(self.emphasis)

    def pool(self, theta):
        """Set the pull between the offsets, if that is to be learned."""
        if self.pools:
            self.network.intercept_alpha = self.network.pooling(theta, self.rows, self.mass)

    @np.errstate(over="ignore", invalid="ignore")
    def minimise(self, theta, rows, steps, watched=False, falling=False, hasty=1):
        """Parameters and progress of one minimisation.

        `watched`: until the held-out score stays behind its best, whose parameters are taken. `falling`:
        steps of Adam fall to zero. `hasty`: divides the patience.
        """
        model, network = self.model, self.network
        progress = SimpleNamespace(curve=[], scores=[], best=-np.inf, theta=None, waited=0)
        rows, patience = rows.weighted(self.emphasis), model.n_iter_no_change / hasty
        if self.solver == "lbfgs":
            patience = patience * LBFGS_PATIENCE if watched else np.inf

        def after(loss, theta):
            """Note an epoch (an iteration of L-BFGS); True when it was the last."""
            self.n_iter += 1
            progress.curve.append(loss)
            reached, best = self.score(theta) if watched else -loss, progress.best
            progress.scores += [reached] * watched
            enough = best + model.tol * abs(best) if np.isfinite(best) else best
            progress.waited = 0 if reached > enough else progress.waited + 1
            if reached > best:
                progress.best, progress.theta = reached, theta.copy() if watched else None
            if model.verbose:
                print(f"iteration {self.n_iter}: loss {loss:.6g}, best so far {abs(progress.best):.6g}")
            self.stopped |= bool(self.after(lambda: self.up(theta)))
            return self.stopped or progress.waited >= patience

        if self.solver == "lbfgs":
            theta = lbfgs(model, network, theta, rows, self.alpha, steps, after, progress.curve)
        else:
            theta, mover = theta.copy(), Adam(len(theta), theta.dtype, model.learning_rate_init)
            for number in range(steps):
                mover.rate = model.learning_rate_init * (1 - falling * number / steps)
                if after(mover.epoch(model, network, theta, rows, self.alpha, self.rng, number + 1), theta):
                    break
        return (theta if progress.theta is None else progress.theta), progress

    def learn_weights(self, theta, trained):
        """Set the weights of the tasks from their held-out losses; parameters trained on the way."""
        steps, losses, least = max(self.left // 2, 1), self.network.task_losses, np.inf
        if self.model.task_weight == "uncertainty":
            theta = theta if trained else self.minimise(theta, self.train, steps, watched=True)[0]
            found = losses(theta, self.held)
            median = np.median(found[found > 0]) if found.any() else 1.0  # of a task without held-out rows
            found = np.where(found > 0, found, median)
            wanted = self.base / np.maximum(found, 1e-3 * found.max())
            self.emphasis = wanted / wanted.mean()
            return theta
        for _ in range(min(ROUNDS, steps)):
            theta, _ = self.minimise(theta, self.train, max(steps // ROUNDS, 1))
            found = losses(theta, self.held)
            least = np.minimum(least, found)
            # less for a task that has left its best behind
            wanted = self.base * np.divide(least, found, out=np.ones_like(found), where=found > 0)
            self.emphasis = MEMORY * self.emphasis + (1 - MEMORY) * wanted * self.base.sum() / wanted.sum()
        return theta


def first_weights(task_weight, names, mass):
    """Emphasis c_t of the tasks before anything is learned, of mean one."""
    name = {"equal": None}.get(task_weight, "samples") if isinstance(task_weight, str) else task_weight
    weight = resolve_task_weight(name, names, mass)
    return weight / weight.mean()
