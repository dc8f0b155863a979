"""Does sharing help every task? Held-out losses beside those of networks of their own."""

from copy import copy

import numpy as np
from scipy.stats import wilcoxon

HURT_LEVEL = (
    0.05  # of the signed-rank test over the held-out rows of a task, which heeds no single row too much
)
HURT_GAIN = -0.05  # a gain above is not worth a warning


def gains(training, own):
    """Gain of every task over its own network, and which tasks sharing hurts, each (n_tasks,).

    `own` is a network with ``sharing="soft"`` and no coupling: one network per task, all trained at once
    on the same rows, with their strength chosen in the same way.
    """
    n_tasks = own.n_tasks
    if training.held is None or training.held_theta is None:
        return np.full(n_tasks, np.nan), np.zeros(n_tasks, dtype=bool)
    alone = copy(training)
    alone.network, alone.pools, alone.alpha_scores, alone.n_iter = own, False, {}, 0
    alone.after = None
    alone.emphasis = np.ones(n_tasks)  # none is fitted for the sake of another
    theta, _ = alone.search(
        own.start(training.rng, training.network.views(training.held_theta)["offsets"], training.solver)
    )
    held = training.held
    shared = training.network.values(training.held_theta, held)
    single = own.values(theta, held)
    worse = shared - single
    total = held.task_sums(np.ones_like(worse), n_tasks)
    known = total > 0.5  # weights of a task with held-out rows sum to one
    loss, reference = held.task_sums(shared, n_tasks), held.task_sums(single, n_tasks)
    gain = np.where(known, 1.0 - loss / np.where(reference > 0, reference, 1.0), np.nan)
    hurt = known & (np.nan_to_num(gain) < HURT_GAIN)
    for t in np.flatnonzero(hurt):
        own_rows = (slice(None), t) if held.codes is None else held.codes == t
        away = worse[own_rows][held.weight[own_rows] > 0]
        hurt[t] = wilcoxon(away, alternative="greater").pvalue < HURT_LEVEL
    return gain, hurt
