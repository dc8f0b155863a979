"""Training of a network: hold-out, L-BFGS and Adam, the path over alpha, weights of the tasks."""

from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import polygamma

from .._inputs import resolve_task_weight
from ._network import Rows

LBFGS_ROWS = 5000  # up to as many rows "auto" takes L-BFGS, and equal rows are merged
# strengths of the path, times the root of the number of tasks: the gradient of a representation that all
# tasks use grows with their number, that of one task does not
ALPHAS = {"lbfgs": np.geomspace(1e-3, 1.0, 13), "adam": np.geomspace(1e-3, 1.0, 4)}
# the pull of heads to their mean over alpha
HEAD_FACTORS = {"lbfgs": (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0), "adam": (1000.0, 100.0, 10.0)}
WIDE_ROWS = 2000  # L-BFGS on up to as many rows, with more than twice as many features, is on their row space
PATH_STEPS = 30  # L-BFGS iterations for one alpha of the path
LBFGS_PATIENCE = 5  # iterations of L-BFGS that count as one epoch when waiting for an improvement
ROUNDS, ROUND_STEPS = 10, 20  # of "dynamic" weights with L-BFGS
SPREAD = 0.5  # variance of the logarithms of the variances of tasks that count as comparable
ABOUT = 0.02  # of the held-out loss: differences between strengths that may be chance
LAST_EPOCHS = 10  # of Adam, on all rows and with falling steps, after the search
MEMORY = 0.9  # of the averages of "dynamic" weights over epochs


class DivergedError(FloatingPointError, ValueError):
    """NaN or infinity in training."""


# --- rows ---


def merged(X, y, weight, codes, rng):
    """The distinct rows in an order of their own, with summed weights.

    So that a weight is the same as a repetition to the last bit, whatever the order of the rows, and
    copies of a row never stand on both sides of a hold-out. Rows are compared by random projections,
    computed alike for dense and sparse X.
    """

    def project(A):
        A = sparse.csr_matrix(A)
        if not A.has_canonical_format:
            A = A.copy()
            A.sum_duplicates()
        return A @ rng.normal(size=(A.shape[1], 2))

    keys = [*project(X).T]
    if codes is None:
        keys += [*project(y).T, *project(weight > 0).T]
    else:
        keys += [y, codes]
    order = np.lexsort(keys)
    sorted_keys = np.array(keys)[:, order]
    first = np.flatnonzero(np.r_[True, (sorted_keys[:, 1:] != sorted_keys[:, :-1]).any(axis=0)])
    keep = order[first]
    weight = np.add.reduceat(weight[order], first, axis=0)
    return X[keep], y[keep], weight, None if codes is None else codes[keep]


def normalised(rows, n_tasks):
    """The same rows with weights that sum to one over every task that has some."""
    total = rows.task_sums(1.0, n_tasks) if rows.codes is None else np.bincount(
        rows.codes, rows.weight, minlength=n_tasks
    )  # fmt: skip
    return rows.weighted(1.0 / np.where(total > 0, total, 1.0))


def hold_out(rows, fraction, n_tasks, rng):
    """(rows for training, rows held out), a part of every task that has at least four rows.

    A row of several tasks is held out for all of them; it is drawn among those whose rarest label it has.
    """
    if rows.codes is None:
        counts = (rows.weight > 0).sum(axis=0)
        by_rarity = np.argsort(counts, kind="stable")
        group = (rows.weight[:, by_rarity] > 0).argmax(axis=1)
    else:
        group = rows.codes
    counts = np.bincount(group)
    wanted = np.where(counts >= 4, np.maximum(np.rint(fraction * counts), 1), 0)
    shuffled = rng.permutation(len(group))
    order = shuffled[np.argsort(group[shuffled], kind="stable")]
    rank = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(group), dtype=bool)
    held[order] = rank < wanted[group[order]]
    parts = rows.take(np.flatnonzero(~held)), rows.take(np.flatnonzero(held))
    return tuple(normalised(part, n_tasks) for part in parts)


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

    first = "W0", "gate_slopes"  # what multiplies X

    def __init__(self, X):
        gram = X.astype(np.float64) @ X.T.astype(np.float64)
        values, vectors = eigh(gram.toarray() if sparse.issparse(gram) else gram)
        some = values > len(values) * np.finfo(np.float64).eps * values[-1]
        root = np.sqrt(values[some])
        self.X, self.Z = X, (vectors[:, some] * root).astype(X.dtype)
        self.V = (vectors[:, some] / root).astype(X.dtype)  # B = X' V

    def down(self, theta, wide, narrow):
        """Parameters of the network of Z nearest to those of the network of X."""
        return self._moved(theta, wide, narrow, lambda W: self.V.T @ (self.X @ W))

    def up(self, theta, narrow, wide):
        """Parameters of the network of X that stand for those of the network of Z."""
        return self._moved(theta, narrow, wide, lambda A: self.X.T @ (self.V @ A))

    def _moved(self, theta, source, target, move):
        out = np.empty(target.size, dtype=target.dtype)
        found = target.views(out)
        for name, value in source.views(theta).items():
            if name not in self.first:
                found[name][...] = value
            elif value.ndim == 2:
                found[name][...] = move(value)
            else:
                for own, group in zip(found[name], value, strict=True):
                    own[...] = move(group)
        return out


# --- one minimisation ---


@dataclass
class Progress:
    """What a training did so far: losses, held-out scores, and the best parameters by these."""

    network: object
    held: Rows | None = None  # None: nothing is held out
    emphasis: np.ndarray | None = None
    patience: float = np.inf
    tol: float = 0.0
    verbose: int = 0
    callback: object = None
    curve: list = field(default_factory=list)
    scores: list = field(default_factory=list)
    task_losses: np.ndarray | None = None
    best: float = -np.inf
    theta: np.ndarray | None = None
    waited: int = 0
    stopped: bool = False  # by the callback

    def after(self, loss, theta):
        """Note an epoch (an iteration of L-BFGS); True when it was the last."""
        self.curve.append(loss)
        reached = -loss
        if self.held is not None:
            self.task_losses = self.network.task_losses(theta, self.held)
            reached = -float(self.emphasis @ self.task_losses) / len(self.emphasis)
            self.scores.append(reached)
        margin = self.tol * abs(self.best) if np.isfinite(self.best) else 0.0
        self.waited = 0 if reached > self.best + margin else self.waited + 1
        if reached > self.best:
            self.best = reached
            if self.held is not None:
                self.theta = theta.copy()
        if self.verbose:
            print(f"iteration {len(self.curve)}: loss {loss:.6g}, best so far {abs(self.best):.6g}")
        self.stopped = self.callback is not None and self.callback(len(self.curve), loss, reached, theta)
        return self.stopped or self.waited >= self.patience


def diverged(network, theta, rows, iteration, names, rate):
    """The error of a training that left the numbers."""
    with np.errstate(all="ignore"):
        losses = network.task_losses(theta, rows)
    bad = np.flatnonzero(~np.isfinite(losses))
    which = f"task {names[bad[0]]!r}" if len(bad) else "the penalty (all tasks)"
    return DivergedError(
        f"training stopped in epoch {iteration}: the loss of {which} is not finite, with {rate}. "
        "Look for outliers in X, lower learning_rate_init or raise alpha."
    )


def lbfgs(network, theta, rows, alpha, max_iter, progress, names, tol):
    """Parameters after L-BFGS on all rows."""
    gradient = np.empty(network.size, dtype=network.dtype)
    G = network.views(gradient)

    def objective(x):
        value = network.gradient(network.views(x.astype(network.dtype, copy=False)), rows, alpha, G)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise diverged(network, x, rows, len(progress.curve) + 1, names, "solver='lbfgs'")
        return value, gradient.astype(np.float64)

    def callback(intermediate_result):
        if progress.after(intermediate_result.fun, intermediate_result.x.astype(network.dtype)):
            raise StopIteration

    options = {"maxiter": max_iter, "maxfun": 20 * max_iter, "gtol": tol * 1e-2, "ftol": tol * 1e-4}
    with np.errstate(over="ignore", invalid="ignore"), network.training():
        found = minimize(
            objective,
            theta.astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            callback=callback,
            options=options,
        )
    return found.x.astype(network.dtype)


class Adam:
    """Adam on a flat vector, in place."""

    def __init__(self, size, dtype, rate):
        self.rate, self.steps, self.dtype = rate, 0, np.dtype(dtype)
        self.first, self.second = np.zeros(size, dtype), np.zeros(size, dtype)

    def step(self, theta, gradient):
        """Move theta."""
        from .._kernels import adam_double, adam_single  # Numba is imported by the first fit that needs it

        self.steps += 1
        root, number = np.sqrt(1 - 0.999**self.steps), self.dtype.type
        numbers = 0.1, 0.001, self.rate * root / (1 - 0.9**self.steps), 1e-8 * root
        move = adam_single if self.dtype == np.float32 else adam_double
        move(theta, gradient, self.first, self.second, *map(number, numbers))


def epoch(network, theta, views, rows, alpha, adam, batch_size, rng, names, number):
    """One pass of Adam over shuffled rows, in place; the mean objective over its batches.

    `views` are the parameters by name, the flat gradient, and the gradient by name.
    """
    P, gradient, G = views
    n, total = len(rows), 0.0
    order = rng.permutation(n)
    for start in range(0, n, batch_size):
        batch = rows.take(np.sort(order[start : start + batch_size]))  # sorted rows are sorted by task
        value = network.gradient(P, batch, alpha, G, scale=n / len(batch))
        if not np.isfinite(value):
            raise diverged(network, theta, batch, number, names, f"learning_rate_init={adam.rate}")
        adam.step(theta, gradient)
        total += value * len(batch)
    if not np.isfinite(theta).all():
        raise diverged(network, theta, rows, number, names, f"learning_rate_init={adam.rate}")
    return total / n


def adam(network, theta, rows, alpha, max_iter, progress, names, settings, rng, reweight=None, falling=False):
    """Parameters after Adam; `reweight(task losses)` gives the weights of the tasks in the next epoch.

    `falling`: with steps that fall to zero.
    """
    theta, gradient = theta.copy(), np.empty_like(theta)
    views = network.views(theta), gradient, network.views(gradient)
    mover = Adam(network.size, network.dtype, settings.learning_rate_init)
    size = batch_rows(settings.batch_size, len(rows))
    weighted = rows.weighted(progress.emphasis)
    with np.errstate(over="ignore", invalid="ignore"), network.training(compiled=True):
        for number in range(1, max_iter + 1):
            if falling:
                mover.rate = settings.learning_rate_init * (1 - (number - 1) / max_iter)
            loss = epoch(network, theta, views, weighted, alpha, mover, size, rng, names, number)
            if progress.after(loss, theta):
                break
            if reweight is not None:
                weighted = rows.weighted(reweight(progress.task_losses))
    return theta


def batch_rows(batch_size, n):
    """Rows of a minibatch."""
    return min(200, n) if batch_size == "auto" else min(int(batch_size), n)


# --- the whole training ---


class Attempt(NamedTuple):
    """A solution of the search and its strengths."""

    score: float
    mean: float  # of the score and those of its neighbours on the path
    theta: np.ndarray
    progress: Progress
    alpha: float
    head_alpha: float | None
    intercept_alpha: float


def solver_for(settings, rows):
    """The solver, "auto" by the number of rows."""
    if settings.solver != "auto":
        return settings.solver
    return "lbfgs" if len(rows) <= LBFGS_ROWS else "adam"


def best_of(attempts):
    """Of those with about the best score the one with the best neighbours, which is less by chance."""
    top = max(one.score for one in attempts)
    near = [one for one in attempts if one.score >= top - ABOUT * abs(top)]
    return max(near or attempts, key=attrgetter("mean"))


class Training:
    """A fit: what to hold out, which alpha, which weights of the tasks, and then the minimisation.

    `settings` is the estimator, whose parameters are read; `rows` hold weights that sum to one per task,
    `mass` (n_tasks,) what they summed to before; `pools`: the pull between offsets is learned;
    `after` is called after every epoch. After
    `run`: theta, alpha, emphasis, progress, n_iter, alpha_scores and, where rows were held out, `train`,
    `held` and `held_theta` (trained without them).
    """

    def __init__(self, network, rows, mass, names, settings, rng, pools, after):
        self.network, self.rows, self.names, self.settings, self.rng = network, rows, names, settings, rng
        self.solver = solver_for(settings, rows)
        self.mass, self.pools, self.after = mass, pools, after
        self.stops = settings.early_stopping
        if self.stops == "auto":
            self.stops = self.solver == "adam"
        self.checks = settings.check_transfer
        if self.checks == "auto":
            self.checks = len(names) > 1 and settings.alpha == "auto" and self.solver == "lbfgs"
        self.base = first_weights(settings.task_weight, names, mass)
        self.emphasis, self.alpha_scores, self.n_iter = self.base, {}, 0
        self.train = self.held = self.held_theta = None
        learned = settings.task_weight in ("uncertainty", "dynamic")
        if settings.alpha == "auto" or self.stops or learned or self.checks:
            self.train, self.held = hold_out(rows, settings.validation_fraction, network.n_tasks, rng)
            if not len(self.held):
                self.train = self.held = None
        self.alpha = settings.alpha
        if self.alpha == "auto" and self.held is None:
            self.alpha = 1e-2  # too few rows to hold some out

    def run(self, theta):
        """Train from theta; returns self."""
        settings, progress = self.settings, None
        self.pool(theta)
        if self.alpha == "auto":
            theta, progress = self.search(theta)
        if self.held is not None and settings.task_weight == "uncertainty":
            if progress is None:
                theta, progress = self.minimise(theta, self.train, self.alpha, settings.max_iter, True)
            self.emphasis = inverse_error(self.network, theta, self.held, self.base)
            progress = None
        if self.held is not None and settings.task_weight == "dynamic" and self.solver == "lbfgs":
            for _ in range(ROUNDS):
                theta, _ = self.minimise(theta, self.train, self.alpha, ROUND_STEPS, False)
                self.reweight(self.network.task_losses(theta, self.held))
            progress = None
        self.held_theta = theta if progress is not None else None
        if self.stops and self.held is not None:
            if progress is None or self.solver == "lbfgs":
                theta, progress = self.minimise(theta, self.train, self.alpha, settings.max_iter, True)
            self.held_theta = theta
            if settings.alpha == "auto" and self.solver == "adam":
                theta, last = self.minimise(theta, self.rows, self.alpha, LAST_EPOCHS, False, falling=True)
                progress.curve += last.curve
        else:
            if self.checks and self.held is not None and self.held_theta is None:
                steps = settings.max_iter
                self.held_theta, _ = self.minimise(theta, self.train, self.alpha, steps, False)
            theta, progress = self.minimise(theta, self.rows, self.alpha, settings.max_iter, False)
        self.theta, self.progress = theta, progress
        self.checks &= not progress.stopped
        return self

    def search(self, theta):
        """Parameters and progress with the best held-out score along paths of rising strengths.

        Where heads have a mean: first with heads that are all but equal, which are then set free by steps,
        and once more with heads that cost as much about their mean as all weights.
        """
        alphas = (ALPHAS[self.solver] * np.sqrt(self.network.n_tasks)).tolist()
        found, (first, *rest) = [], HEAD_FACTORS[self.solver]
        if self.settings.head_alpha == "auto" and self.network.has_mean_head:
            found = self.follow(theta, [(alpha, first) for alpha in alphas])
            equal = best_of(found)
            found += self.follow(equal.theta, [(equal.alpha, factor) for factor in rest])
            self.network.head_alpha = None
        found += self.follow(theta, [(alpha, None) for alpha in alphas])
        best = best_of(found)
        self.alpha, self.network.head_alpha = best.alpha, best.head_alpha
        self.network.intercept_alpha = best.intercept_alpha
        return best.theta, best.progress

    def follow(self, theta, strengths):
        """Attempts at (alpha, head_alpha / alpha or None), each started from the solution before."""
        found, network = [], self.network
        steps = PATH_STEPS if self.solver == "lbfgs" else self.settings.max_iter
        for alpha, factor in strengths:
            if factor is not None:
                network.head_alpha = factor * alpha
            self.pool(theta)
            theta, progress = self.minimise(theta, self.train, alpha, steps, self.stops)
            losses = network.task_losses(theta, self.held)
            score = -float(self.emphasis @ losses) / len(losses)
            self.alpha_scores[alpha] = max(score, self.alpha_scores.get(alpha, -np.inf))
            found.append(
                Attempt(score, score, theta, progress, alpha, network.head_alpha, network.intercept_alpha)
            )
            if progress.stopped:
                break
        scores = np.pad([one.score for one in found], 1, mode="edge")
        means = [scores[i : i + 3].mean() for i in range(len(found))]
        return [one._replace(mean=mean) for one, mean in zip(found, means, strict=True)]

    def pool(self, theta):
        """Set the pull between the offsets, if that is to be learned."""
        if self.pools:
            self.network.intercept_alpha = self.network.pooling(theta, self.rows, self.mass)

    def minimise(self, theta, rows, alpha, max_iter, watched, falling=False):
        """Parameters and progress of one minimisation.

        `watched`: until the held-out score stays behind its best, whose parameters are taken.
        """
        settings = self.settings
        patience = settings.n_iter_no_change * (LBFGS_PATIENCE if self.solver == "lbfgs" else 1)
        progress = Progress(
            self.network,
            self.held if watched else None,
            self.emphasis,
            patience if watched or self.solver == "adam" else np.inf,
            settings.tol,
            settings.verbose,
            self.after,
        )
        if self.solver == "lbfgs":
            weighted = rows.weighted(self.emphasis)
            found = lbfgs(self.network, theta, weighted, alpha, max_iter, progress, self.names, settings.tol)
        else:
            dynamic = settings.task_weight == "dynamic" and watched
            reweight = self.reweight if dynamic else None
            found = adam(
                self.network, theta, rows, alpha, max_iter, progress, self.names, settings, self.rng,
                reweight, falling,
            )  # fmt: skip
        self.n_iter += len(progress.curve)
        return (found if progress.theta is None else progress.theta), progress

    def reweight(self, losses):
        """Weights of the tasks from their held-out losses: less for one that has left its best behind."""
        self.least = np.minimum(getattr(self, "least", losses), losses)
        ratio = np.where(losses > 0, self.least / np.where(losses > 0, losses, 1.0), 1.0)
        wanted = self.base * ratio
        wanted *= self.base.sum() / wanted.sum()
        self.emphasis = MEMORY * self.emphasis + (1 - MEMORY) * wanted
        return self.emphasis


def first_weights(task_weight, names, mass):
    """Emphasis c_t of the tasks before anything is learned, of mean one."""
    if isinstance(task_weight, str):
        weight = np.ones(len(names)) if task_weight == "equal" else mass
    else:
        weight = resolve_task_weight(task_weight, names, mass)
    return weight / weight.mean()


def inverse_error(network, theta, held, base):
    """Emphasis divided by the held-out loss of the tasks; a task without held-out rows gets the median."""
    losses = network.task_losses(theta, held)
    known = losses > 0
    if not known.any():
        return base
    losses = np.where(known, losses, np.median(losses[known]))
    weight = base / np.maximum(losses, 1e-3 * losses.max())
    return weight / weight.mean()
