"""Training of a network: what to hold out, layers and strengths, weights of the tasks, the minimisation."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from scipy.special import polygamma
from sklearn.exceptions import ConvergenceWarning

from .._inputs import resolve_task_weight
from .._warn import warn
from ._minimise import Adam, lbfgs
from ._rows import RowSpace, fewer_rows, hold_out
from ._search import Climb, along_paths

LBFGS_ROWS = 5000  # up to as many rows "auto" takes L-BFGS, and equal rows are merged
LEAST_CLIMB = 600  # iterations of a fit from which on layers can be chosen
ROUNDS = 10  # of learned weights of tasks, which take half of the iterations that are left then
WIDE_ROWS = 2000  # L-BFGS on up to as many rows, with more features, is on their row space
LBFGS_PATIENCE = 5  # iterations of L-BFGS that count as one epoch when waiting for an improvement
SPREAD = 0.5  # variance of the logarithms of the variances of tasks that count as comparable
LAST_EPOCHS = 10  # of Adam, on all rows and with falling steps, after the search
HASTE = 3  # divides the patience in the search, where most starts are solutions of another strength
MEMORY = 0.9  # of the averages of "dynamic" weights over rounds
STEEP = 0.1  # of the loss: its fall that says that `max_iter` was too low after a search by held-out rows
WORSE = 0.05  # of the loss of constants: what a training loses to them that has led nowhere


def comparable(variance, mass):
    """Whether the variances of the tasks are about the same, but for chance.

    By the variance of their logarithms, less what normal samples of these sizes have (Smyth 2004).
    """
    used = (mass >= 2) & (variance > 0)
    if used.sum() < 2:
        return False
    chance = polygamma(1, 0.5 * (mass[used] - 1)).mean()
    return bool(np.var(np.log(variance[used]), ddof=1) - chance < SPREAD)


class Training:
    """A fit: what to hold out, which layers and strengths, which weights of the tasks, the minimisation.

    `model` is the estimator, whose parameters are read; `network` has its layers, or others in their place;
    `rows` hold weights that sum to one per task, `mass` (n_tasks,) what they summed to before; `offsets`:
    what those of the network start from; `pools`: the pull between offsets is learned. `tell`, if set, is
    called after every epoch, with a function that returns parameters and network, and says whether to stop.
    After `run`: network, alpha, alpha_scores, emphasis, n_iter.
    """

    tell = None

    def __init__(self, model, network, rows, mass, offsets, rng, pools):
        self.model, self.network, self.rows, self.mass, self.rng = model, network, rows, mass, rng
        self.offsets, self.pools, self.n_features = offsets, pools, network.n_features
        found = "lbfgs" if len(rows) <= LBFGS_ROWS else "adam"
        self.solver = found if model.solver == "auto" else model.solver
        weight = model.task_weight
        named = {"equal": None}.get(weight, "samples") if isinstance(weight, str) else weight
        weight = resolve_task_weight(named, model.tasks_, mass)
        self.base = self.emphasis = weight / weight.mean()
        self.alpha, self.alpha_scores, self.n_iter, self.held = model.alpha, {}, 0, None
        self.stops = self.solver == "adam" if model.early_stopping == "auto" else model.early_stopping
        self.learns = model.task_weight in ("uncertainty", "dynamic")
        self.space, self.stopped, self.limit = None, False, model.max_iter

    # iterations that are left, at least one
    left = property(lambda self: max(self.limit - self.n_iter, 1))

    def run(self, before):
        """Parameters of the network and progress of the last training, from those `before` where they fit."""
        model, X = self.model, self.rows.X
        climbs = isinstance(model.hidden_layer_sizes, str) and before is None
        climbs = climbs and self.solver == "lbfgs" and self.limit >= LEAST_CLIMB
        theta = self.start(self.network)
        if before is not None and before.shape == theta.shape:
            theta = before.astype(theta.dtype)
        few = X.shape[0] <= WIDE_ROWS and fewer_rows(X)
        if few and model.solver != "adam" and self.alpha != 0:
            self.space = RowSpace(X)
            self.rows = replace(self.rows, X=self.space.Z)
            theta, self.network = self.space.down(theta, self.network)
        wanted = climbs or self.alpha == "auto" or self.stops or self.learns
        if wanted and self.limit > 1:  # one iteration is for the last training
            self.train, self.held = hold_out(self.rows, model.validation_fraction, self.rng)
        self.pool(theta)
        searched = bool(self.held) and (climbs or self.alpha == "auto")
        theta, progress = self._run(theta, climbs, searched)
        self.warn_of_end(theta, progress, searched)
        return theta, progress

    def _run(self, theta, climbs, searched):
        progress = None
        if searched:
            best = Climb(self).best() if climbs else along_paths(self, theta)
            theta, progress, self.alpha, self.network = best.theta, best.progress, best.alpha, best.network
        elif self.alpha == "auto":
            self.alpha = 1e-2  # too few rows to hold some out
        if self.held and self.learns:
            theta, progress = self.learn_weights(theta, searched), None
        if not (self.held and self.stops):
            return self.minimise(theta, self.rows, self.left)
        if progress is None or self.solver == "lbfgs":
            theta, progress = self.minimise(theta, self.train, self.left, watched=True)
        if searched and self.solver == "adam" and self.n_iter < self.limit:
            theta, last = self.minimise(theta, self.rows, min(self.left, LAST_EPOCHS), falling=True)
            progress.curve += last.curve
        return theta, progress

    def start(self, network):
        """Random parameters of a network."""
        network = replace(network, n_features=self.n_features)
        theta = network.start(self.rng, self.offsets, self.solver)
        return theta if self.space is None else self.space.down(theta, network)[0]

    def of_X(self, theta, network):
        """Parameters and network for X that stand for these."""
        return (theta, network) if self.space is None else self.space.up(theta, network)

    def attempt(self, network, alpha, pull, steps, theta=None):
        """What comes of a network and its strengths on the rows for training: a score on those held out.

        `pull`: of the heads, over alpha; None: as in the network. From random parameters, or from theta.
        """
        network = replace(network, head_alpha=network.head_alpha if pull is None else alpha * pull)
        self.network, self.alpha, theta = network, alpha, self.start(network) if theta is None else theta
        self.pool(theta)
        theta, progress = self.minimise(theta, self.train, steps, watched=self.stops, hasty=HASTE)
        score = self.score(theta)
        self.alpha_scores[alpha] = max(score, self.alpha_scores.get(alpha, -np.inf))
        found = {"theta": theta, "progress": progress, "alpha": alpha, "pull": pull, "network": network}
        return SimpleNamespace(score=score, **found)

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
        progress = SimpleNamespace(curve=[], scores=[], best=-np.inf, theta=None, waited=0, cut=False)
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
            self.stopped |= bool(self.tell and self.tell(lambda: self.of_X(theta, network)))
            return self.stopped or progress.waited >= patience

        if self.solver == "lbfgs":
            theta, progress.cut = lbfgs(model, network, theta, rows, self.alpha, steps, after, progress.curve)
        else:
            theta, mover = theta.copy(), Adam(len(theta), theta.dtype, model.learning_rate_init)
            for number in range(steps):
                mover.rate = model.learning_rate_init * (1 - falling * number / steps)
                if after(mover.epoch(model, network, theta, rows, self.alpha, self.rng, number + 1), theta):
                    break
            else:
                progress.cut = True
        return (theta if progress.theta is None else progress.theta), progress

    def warn_of_end(self, theta, progress, searched):
        """Warn where the training has led nowhere, or `max_iter` has ended it too early."""
        model, name = self.model, type(self.model).__name__
        constant = np.zeros_like(theta)
        self.network.views(constant)["offsets"][...] = self.offsets
        ended, least = (self.emphasis @ self.network.task_losses(at, self.rows) for at in (theta, constant))
        if ended - least > WORSE * abs(least) + model.tol:
            lower = "lower learning_rate_init" if self.solver == "adam" else "raise alpha"
            warn(
                f"{name} ended with a loss of {ended / len(self.mass):.4g}, where constants have "
                f"{least / len(self.mass):.4g}. Standardise the features, {lower}, or increase max_iter.",
                ConvergenceWarning,
            )
            return
        reached = np.array(progress.scores or np.negative(progress.curve))
        unit, length = ("iteration", LBFGS_PATIENCE) if self.solver == "lbfgs" else ("epoch", 1)
        few, best = model.n_iter_no_change * length, reached.max(initial=-np.inf)
        before = reached[: -int(few)].max() if len(reached) > few else -np.inf
        if progress.cut and best - before > (STEEP if searched else model.tol) * abs(best):
            other = ", or give hidden_layer_sizes and alpha, on which four fifths of it go" * searched
            warn(
                f"{name} stopped at max_iter={model.max_iter} before it had converged: the "
                f"{'held-out ' * bool(progress.scores)}loss of the last training, {-best:.4g}, still fell in "
                f"{unit} {len(reached)}. Increase max_iter{other}.",
                ConvergenceWarning,
            )

    def learn_weights(self, theta, trained):
        """Set the weights of the tasks from their held-out losses; parameters trained on the way."""
        steps, losses, least = self.left // 2, self.network.task_losses, np.inf
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
