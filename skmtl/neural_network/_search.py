"""Layers and strengths by the loss on held-out rows: from narrow to wide and uphill, or along paths."""

from dataclasses import replace
from operator import attrgetter

import numpy as np

WIDTHS, MIDDLE = (2, 4, 8, 16, 32), 16
# activations by the least width that they are tried with: two rectifiers die easily
NARROWEST = {"identity": 2, "tanh": 2, "relu": 4}
LOSING, RACED = 0.25, 8  # of the held-out loss: an activation so much behind at that width leaves the race
NEAR = 0.02  # of the held-out loss: the smallest network that is so near to the best goes on
STEPS = 30  # of an attempt
LONGER, FINALISTS, CLIMBERS = 2, 4, 2  # so many train so much longer, and of these so many climb
LAYERS, SEARCH = 0.6, 0.8  # of the iterations that are left, for layers, and for layers and strengths
# where the strength that layers are compared at is looked for, and what a lower one must gain
FIRST_ALPHA, STEP, LESS = 10**-1.75, 3.2, 0.05
# ratios by which the pull of the heads over alpha, and alpha, are moved as long as that is better
MOVES = ("pull", 10.0), ("alpha", STEP), ("pull", STEP), ("alpha", 1.8)
MOST_PULL = 1000.0
# strengths of a path, times the root of the number of tasks: the gradient of a representation that all
# tasks use grows with their number, that of one task does not
ALPHAS = {"lbfgs": np.geomspace(1e-3, 1.0, 13), "adam": np.geomspace(1e-3, 1.0, 4)}
# the pull of heads to their mean over alpha
PULLS = {"lbfgs": (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0), "adam": (1000.0, 100.0, 10.0)}
LEAST_STEPS, MOST_STEPS = 10, {"lbfgs": 25, "adam": np.inf}  # for a strength of a path
ABOUT = 0.02  # of the held-out loss: differences between strengths that may be chance
by_score = attrgetter("score")


def behind(one, best, part):
    """Whether the held-out loss of one is greater than that of the best, by more than a part of it."""
    return one.score < best.score - part * abs(best.score)


def smallest_first(attempts):
    """Those about as good as the best by size, then the others by score."""
    top = max(attempts, key=by_score)
    near, far = ([one for one in attempts if behind(one, top, NEAR) == late] for late in (False, True))
    return sorted(near, key=lambda one: one.network.size) + sorted(far, key=by_score, reverse=True)


# --- layers that are free ---


class Climb:
    """A search for layers, from narrow to wide, and then for their strengths, uphill.

    Networks of one layer compete at a strength that suits one of middle width. Their width is doubled until
    that was worse twice; an activation that is clearly behind is left out from there on. Two layers like
    the best one that is not linear are tried, and of middle width at least. Four, the smallest among those
    that are about as good as the best and then the best ones, train longer, and two of them compete with
    strengths of their own.
    """

    def __init__(self, training):
        self.training, self.network = training, training.network
        model, root = training.model, np.sqrt(self.network.n_tasks)
        self.free = model.alpha == "auto"
        self.alpha = FIRST_ALPHA * root if self.free else model.alpha
        self.least, self.most = root * ALPHAS["lbfgs"][[0, -1]] * (0.99, 1.01)
        self.pull = 1.0 if model.head_alpha == "auto" and self.network.has_mean_head else None
        self.racing = dict(NARROWEST) if model.activation == "auto" else {model.activation: 2}

    goes_on = property(lambda self: self.training.n_iter < self.end and not self.training.stopped)
    # for an attempt that is longer, and the last training
    has_room = property(lambda self: self.training.left > LONGER * STEPS)

    def best(self):
        """The best attempt."""
        start, left = self.training.n_iter, self.training.left
        self.end = start + LAYERS * left
        self.alpha = self.middle() if self.free else self.alpha
        found = smallest_first(self.widths())[:FINALISTS]
        self.end = start + SEARCH * left
        found = [self.moved(one, one.alpha, one.pull, LONGER) for one in found if self.has_room]
        found = smallest_first(found)
        best = max((self.uphill(one) for one in found[:CLIMBERS]), key=by_score)
        self.training.limit -= max(int(self.end) - self.training.n_iter, 0)  # the rest is for all rows
        return best

    def middle(self):
        """A strength at which a network of middle width is about as good as at any below."""
        one = self.attempt(MIDDLE, "tanh" if "tanh" in self.racing else next(iter(self.racing)))
        while self.goes_on and one.alpha / STEP >= self.least:
            less = self.moved(one, one.alpha / STEP, one.pull)
            if not behind(one, less, LESS):
                break
            one = less
        return one.alpha

    def widths(self):
        """An attempt with each of the layers that were tried."""
        found, best, worse = [], None, 0
        for width in WIDTHS:
            names = [name for name, least in self.racing.items() if least <= width]
            new = [self.attempt(width, name) for name in names if self.goes_on or not found]
            found, before = found + new, best
            best = max(found, key=by_score)
            worse = worse + 1 if best is before else 0
            if worse == 2:
                break
            for one in new:
                if width >= RACED and behind(one, best, LOSING):
                    del self.racing[one.network.activation]
        bent = [one for one in found if one.network.activation != "identity"] or found
        best = max(bent, key=by_score)
        for width in sorted({max(best.network.hidden[0], least) for least in (4, MIDDLE)}):
            found += [self.attempt((width, width), best.network.activation)] if self.goes_on else []
        return found

    def attempt(self, hidden, activation):
        """An attempt with these layers, from random parameters."""
        network = replace(self.network, hidden=tuple(np.atleast_1d(hidden).tolist()), activation=activation)
        return self.training.attempt(network, self.alpha, self.pull, STEPS)

    def moved(self, one, alpha, pull, times=1):
        """An attempt with other strengths, or with more steps, from the solution of one."""
        return self.training.attempt(one.network, alpha, pull, times * STEPS, one.theta)

    def uphill(self, one):
        """The best attempt that is reached from one by moves of one strength at a time."""
        tried = {(one.alpha, one.pull)}
        moves = [(name, by) for name, ratio in MOVES for by in (ratio, 1 / ratio)]
        for name, by in moves:
            while self.goes_on and (self.free if name == "alpha" else one.pull is not None):
                alpha, pull = (one.alpha * by, one.pull) if name == "alpha" else (one.alpha, one.pull * by)
                new = round(np.log(alpha), 6), round(np.log(pull or 1.0), 6)
                inside = self.least <= alpha <= self.most or not self.free
                if new in tried or not (inside and 0.99 <= (pull or 1.0) <= 1.01 * MOST_PULL):
                    break
                tried.add(new)
                new = self.moved(one, alpha, pull)
                if new.score < one.score:
                    break
                one = new
        return one


# --- layers that are given ---


def along_paths(training, theta):
    """The best attempt along paths of rising strengths, from theta.

    Where heads have a mean: first with heads that are all but equal, which are then set free by steps,
    and once more with heads that cost as much about their mean as all weights. With few iterations
    some strengths are left out.
    """
    solver, network = training.solver, training.network
    heads = training.model.head_alpha == "auto" and network.has_mean_head
    alphas = (ALPHAS[solver] * np.sqrt(network.n_tasks)).tolist()
    first, *rest = PULLS[solver] if heads else [None]
    end, n = int(SEARCH * training.left), len(alphas) * (1 + heads) + len(rest)
    stride = min(int(np.ceil(n * LEAST_STEPS / end)), len(alphas))
    alphas, rest = alphas[(stride - 1) // 2 :: stride], rest[(stride - 1) // 2 :: stride]
    tries, end = iter(range(len(alphas) * (1 + heads) + len(rest), 0, -1)), end + training.n_iter

    def follow(theta, strengths):
        found = []
        for alpha, pull in strengths:
            if training.alpha_scores and (training.stopped or training.n_iter >= end):
                break
            steps = min(max(int((end - training.n_iter) / next(tries)), 1), MOST_STEPS[solver])
            found.append(training.attempt(network, alpha, pull, steps, theta))
            theta = found[-1].theta
        scores = np.pad([one.score for one in found], 1, mode="edge") if found else []
        for i, one in enumerate(found):
            one.mean = scores[i : i + 3].mean()  # with its neighbours on the path
        return found

    found = []
    if heads:
        found = follow(theta, [(alpha, first) for alpha in alphas])
        equal = best_of(found)
        found += follow(equal.theta, [(equal.alpha, pull) for pull in rest])
    best = best_of(found + follow(theta, [(alpha, None) for alpha in alphas]))
    training.limit -= end - training.n_iter
    return best


def best_of(attempts):
    """Of those with about the best score the one with the best neighbours, which is less by chance."""
    top = max(attempts, key=by_score)
    return max((one for one in attempts if not behind(one, top, ABOUT)), key=attrgetter("mean"))
