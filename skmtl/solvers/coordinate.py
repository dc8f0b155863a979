"""Block coordinate descent over features on working sets, for the squared loss."""

import numpy as np

from ..objective import Problem, graded
from ._descent import GramSweep, PanelSweep, alike, certificate, descend
from ._method import Method
from .fista import checked, fista
from .splitting import splits
from .variances import by_variances, variances_pay

FIRST_SET = 64
FEW_NEW = 0.25  # of the features in use at the start: along a path hardly more come into use at once
GROWTH = 3
WIDE = 1.5  # columns per row from which on epochs over the rows are cheaper than over the Gram matrix
ROTATED = 0.6  # columns per task up to which rotating the tasks pays
GRAM_ENTRIES = 1.25e8  # numbers in the Gram matrices of a working set (1 GB)
SINGLE = 1e-5  # gap over objective from which on single precision is enough inside a working set
LOOSE = 0.05  # a working set is solved to this share of the gap that is left
ROUGH, ROUGH_EPOCHS = 1e-4, 1000  # gap of a solution for fewer tasks, relative to W = 0
APART = 1e12  # ratio of curvatures along features from which epochs get nowhere where rows are few
LAST = 0.8  # or to this share of the goal: the rest is left to what violates it outside of the set


def bcd(problem, parts, max_iter, target):
    """Iterates (n_iter, parts, (objective, intercept, gap)); n_iter counts epochs over the working set.

    The working set holds the features in use and those that violate optimality most; inside it an epoch
    touches only second moments, or the rows of the set where it has more columns than rows.
    """
    if rotation_pays(problem):
        yield from rotated(problem, parts, max_iter, target)
        return
    term = problem.term
    placement, ridge = problem.parts[0].rough, problem.parts[0].quadratic.mean
    W, n_iter, last, warm = parts[0], 0, None, parts[0].any()
    chosen = placement.columns(W.any(axis=0))  # outside of it W is zero
    while True:
        state = term.state(W)
        G = state.gradient + ridge * W if ridge else state.gradient
        smooth = state.value + (0.5 * ridge * float(np.vdot(W, W)) if ridge else 0.0)
        W_set, sizes = W[:, chosen], placement.sizes(G)
        own, size = placement.restricted(chosen), sizes.max(initial=0.0)
        objective, gap = certificate(own, smooth, W_set, G[:, chosen], size)
        yield n_iter, [W], (objective, state.intercept, gap)
        if n_iter >= max_iter:
            return
        used = np.zeros(len(sizes), dtype=bool)
        used[chosen] = W_set.any(axis=0)
        if n_iter == 0 and variances_pay(problem):
            W, n_iter = by_variances(problem, W, _solution, max_iter, target)
            chosen = placement.columns(W.any(axis=0))
            continue
        chosen = last = working_set(placement, used, sizes, last)
        by_rows = state.residual is not None and len(chosen) > WIDE * len(state.residual)
        own = placement.restricted(chosen)
        if warm and by_rows and own is placement:  # features one by one: those that will not move come last
            chosen = chosen[np.argsort(np.where(used, -np.inf, -sizes)[chosen], kind="stable")]
        start = W[:, chosen], -G[:, chosen], smooth
        whole = len(chosen) == W.shape[1]  # then its gap is the gap
        enough, epochs_left = max(LAST * target, 0.0 if whole else LOOSE * gap), max_iter - n_iter
        if by_rows:
            dtype = np.float32 if enough > SINGLE * smooth else np.float64
            sweep = PanelSweep(term.pool, chosen, state.residual, term.scale, ridge, own, dtype)
            W_set, epochs = descend(sweep, own, *start, enough, epochs_left)
        elif term.n_designs * len(chosen) ** 2 <= GRAM_ENTRIES:
            W_set, epochs = _descend_gram(term, chosen, own, ridge, *start, enough, epochs_left)
        else:
            yield from checked(fista(problem, [W], epochs_left, target), n_iter, max_iter)
            return
        W = np.zeros(W.shape)
        W[:, chosen] = W_set
        n_iter += epochs


def _solution(problem):
    """W of a problem of fewer tasks, roughly."""
    target = ROUGH * problem.null_objective()
    points = bcd(problem, problem.zeros(), ROUGH_EPOCHS, target)
    return next(W for n_iter, (W,), (*_, gap) in points if gap <= target or n_iter >= ROUGH_EPOCHS)


def by_feature(problem):
    """Whether the penalty is one of every feature alone, and the intercepts are free."""
    part, *others = problem.parts
    if others or part.rough is None or part.rough.kernel is None:
        return False
    return part.quadratic.is_ridge and not problem.term.tied_intercepts


BY_FEATURE = (
    "Features(L2()), Features(L1()) or Entries(L1()), or SparseL2 or LInf in their place (plus Ridge), and "
    "neither intercept_alpha nor mean_alpha"
)


def _gets_nowhere(term):
    """Whether one feature is next to free given the others, and what tells them apart is lost in their units.

    So it is of fewer rows than features in very different units.
    """
    few = term.n_designs > 1 and term.rows_per_task.mean() < term.n_features
    return few and graded(term.curvatures(), APART)


BCD = Method(
    bcd, lambda problem: problem.term.loss.quadratic and by_feature(problem),
    f"the squared loss, {BY_FEATURE}", shows_start=True,
    passes=lambda problem: _gets_nowhere(problem.term) and splits(problem),
)  # fmt: skip


def rotated(problem, parts, max_iter, target):
    """The iterates of `bcd`, found in as many directions of the tasks as there are rows.

    One complete design, alike in all tasks, and the L2 norm do not change under rotations of the tasks, and
    the solution lies in the span of the targets.
    """
    term, basis, y_mean = problem.term.rotated
    inner = Problem(term, problem.penalty, problem.own_ridge)
    for n_iter, (V,), *known in bcd(inner, [basis.T @ parts[0]], max_iter, target):
        W = np.zeros((len(basis), V.shape[1]))
        used = np.flatnonzero(V.any(axis=0))
        W[:, used] = basis @ V[:, used]
        own = [(value, basis @ term.restored(V, b) + y_mean, gap) for value, b, gap in known]
        yield n_iter, [W], *own


def rotation_pays(problem):
    """Whether it applies and makes the problem much smaller."""
    term = problem.term
    wide = term.y is not None and term.shared and term.rows_per_task[0] < ROTATED * term.n_tasks
    return wide and invariant(problem.parts[0].rough.kernel, term.scale)


def invariant(strengths, scale):
    """Whether a penalty and the scales of the tasks on one design stay what they are under rotations."""
    return alike(scale) and not strengths[0] and not strengths[2]


def _descend_gram(term, chosen, placement, ridge, W, Q, smooth, enough, max_epochs):
    """`descend` on the Gram matrices of the chosen columns.

    With fewer columns than tasks these are rotated: a solution lies in the span of the columns' moments
    with the targets.
    """
    A, scale = term.gram(chosen), term.scale
    if len(A) > 1 or len(chosen) > ROTATED * len(W) or not invariant(placement.kernel, scale):
        sweep = GramSweep(A, scale, ridge, placement, len(W))
        return descend(sweep, placement, W, Q, smooth, enough, max_epochs)
    basis = np.linalg.qr(Q + scale[0] * (W @ A[0]) + ridge * W)[0]
    V, P = basis.T @ W, basis.T @ Q
    V0, P0 = basis @ V, basis @ P  # what the start has outside of the span is dropped
    smooth = smooth - 0.5 * float(np.vdot(P0 + Q, V0 - W))
    sweep = GramSweep(A, scale[: len(V)], ridge, placement, len(V))
    V, epochs = descend(sweep, placement, V, P, smooth, enough, max_epochs)
    return basis @ V, epochs


def working_set(placement, used, size, last):
    """Positions of the features in use and of those that violate optimality most, blocks of them as a whole.

    `used` is a mask, `size` the dual norms of the gradient along every feature. The first set (`last` is
    None) also takes in features that may violate optimality soon, no more than a few beside many in use. A
    set that is mostly in use is trebled, any other grows by at most as many features as are in use.
    """
    if len(used) <= FIRST_SET:
        return placement.columns(np.ones(len(used), dtype=bool))
    n_used = int(used.sum())
    n_new = max(int(FEW_NEW * n_used) if last is None else n_used, FIRST_SET)
    rank = np.where(used, -np.inf, size)
    if last is None and n_used:
        # the solution at a greater strength, by the factor that features in use exceed the limit now:
        # the sequential strong rule (Tibshirani et al., 2012)
        rank[size <= 2.0 - size[used].max()] = -np.inf
    elif last is not None:
        rank[size <= 1.0] = -np.inf
        if 2 * n_used > len(last):
            n_new = max(GROWTH * len(last) - n_used, FIRST_SET)
    n_new = min(n_new, int((rank > -np.inf).sum()))
    if n_new:
        used = used.copy()
        used[np.argpartition(-rank, n_new - 1)[:n_new]] = True
    return placement.columns(used)
