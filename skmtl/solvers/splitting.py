"""Splitting: the smooth part of a squared-loss problem solved exactly, the penalties by their prox."""

from functools import partial

import numpy as np
from scipy.sparse import issparse

from ..objective import graded
from ..penalties import L1, TaskQuadratic, singular_values
from ._inverses import assembled_inverse
from ._method import Method
from .direct import ASSEMBLED, KERNEL_ENTRIES, ROTATED_TASKS, make_preconditioner
from .fista import beyond_gradients, checked, fista

ONE_SYSTEM, MANY_SYSTEMS = 1000, 500  # sizes up to which systems are solved by factorisation
CHEAP, PER_TASK = 200, 50  # sizes up to which they cost little, the second for each task of one design
ROWS = 2  # for each feature and task from which gradient methods are slow
SMALL, MODERATE = 1500, 6000  # sizes of W up to which models of fewer rows pay at once, and after PATIENCE
PATIENCE = 200  # iterations of a gradient method that come first where they may be enough
CHECK_EVERY = 5  # iterations between the points shown: a certificate costs about as much as one
SPARSER = 1.1  # growth of the iterations between certificates of a model, which cost more
DEAR, TO_GO = 2.0, 3.0  # that beside a common offset, as it costs far more; and gaps from which on
UNEQUAL = 1e4  # ratio of curvatures from which the point of the smooth part is shown as well
LATE = 50  # iteration from which on it is in models of the root loss
REFINEMENTS, REFINED = 4, 1e-6  # of a solution of the smooth part then, and the change that is the last
FIRST_REVIEW = 5  # iteration after which the step is reviewed, then at twice as many and so on
SHARE = 0.5  # step relative to the size of coefficients over that of gradients
CONDITIONED = 2.0  # limit of the step relative to the inverse of the geometric mean of extreme curvatures
MODEL_ITERATIONS, MODEL_GAP = 1000, 0.2  # on one quadratic model: limit, and gap as a share of the way down
ENOUGH, LEAST_SHARE = 0.3, 1e-4  # of the target: gap of a model at first, and where it ends no matter what
FIRST_LOOK, FALLEN = 100, 0.9  # when a model's gap is looked at, then doubled; share that is no fall
FALLS, MOST_SLOW = 0.7, 6  # share of the least gap that is a fall, and models of classes in turn without one
CLOSE = 0.1  # gap relative to the objective at which models of the root loss are left as they are
MOST_STALLED = 10  # models whose gap stops falling, before a gradient method takes over
FLOOR, LEAST_FLOOR = 1e-5, 1e-16  # least curvature of a row in a model, of the largest; and at last
LAGS = 0.1  # way down relative to the gap where it is the bound that lags
SHORTEST_STEP = 1e-6
ASTRAY = 1e6  # times the objective: steps that lead there are far too long
LOW_RANK = 0.3  # share of the directions up to which a start of low rank pays
START_ITERATIONS, START_TARGET = 30, 1e-6  # its limits; the second relative to the target of the gap
MEMORY = 10  # changes that an extrapolation combines
REGULARIZATION = 1e-10  # of its least squares, relative to the changes
WORST = 2.0  # growth of the residual at which an extrapolation is taken back
TRUST = 1e3  # times the first residual over the number of iterations: beyond that it is, too
UNEXPLAINED = 0.9  # share of the residual from which the way along it grows
LONGEST = 1e6  # steps along it at once


def splitting(problem, parts, max_iter, target):
    """Iterates (n_iter, parts) of Douglas-Rachford splitting with Anderson acceleration.

    X = prox of the smooth part at Z, Y = prox of the penalties at 2 X - Z, Z + Y - X is the next Z. Unlike
    that of a gradient method its pace does not depend on how the features are scaled and correlated. Other
    losses than the squared one are solved by quadratic models, which n_iter counts.

    References
    ----------
    Eckstein & Bertsekas (1992), https://doi.org/10.1007/BF01581204;
    Fu, Zhang & Boyd (2020), Anderson accelerated Douglas-Rachford splitting,
    https://doi.org/10.1137/19M1290097.
    """
    n_iter, term = 0, problem.term
    if _begins_by_gradients(problem):
        begun = fista(problem, parts, min(PATIENCE, max_iter), target)
        for n_iter, parts, *known in checked(begun, 0, max_iter):
            yield n_iter, parts, *known
    if n_iter < max_iter:
        iterates = _split if term.loss.quadratic else _by_models
        yield from iterates(problem, parts, n_iter, max_iter, target)


def _begins_by_gradients(problem):
    """Whether a gradient method comes first, as it may be enough."""
    term, coupled = problem.term, not all(part.quadratic.separate for part in problem.parts)
    at_once = _pays_at_once if term.loss.quadratic else models_at_once
    return not at_once(problem) or (coupled and not term.far)  # systems of coupled tasks are large


def splits(problem):
    """Whether the smooth part, or a quadratic model of it, can be solved exactly at a bearable cost."""
    quadratics = [part.quadratic for part in problem.parts]
    ridges = all(q.is_ridge for q in quadratics)
    separate = all(q.separate for q in quadratics) or np.prod(problem.term.shape) <= ASSEMBLED
    if problem.smooth or not problem.convex or (len(quadratics) > 1 and not ridges):
        return False
    if not problem.term.loss.quadratic:
        return problem.certified and separate and models_pay(problem.term)
    return _has_systems(problem.term, ridges, separate)


def _has_systems(term, ridges, separate):
    """Whether the systems of a squared loss are small, and as few as needed."""
    if not term.on_moments:
        return ridges and not term.tied_intercepts and _few_rows(term)
    if not term.shared:
        return separate and _bearable(term.n_tasks, term.n_features)
    alike = np.ptp(term.scale) == 0 and term.n_tasks <= ROTATED_TASKS
    return (ridges or alike) and not term.tied_intercepts and term.n_features <= ONE_SYSTEM


def models_pay(term):
    """Whether quadratic models of a loss cost little, or an offset leaves no other way."""
    cheap = _rows_for_models(term) or np.prod(term.shape) <= MODERATE
    return term.n_features <= CHEAP and cheap and term.joint and _bearable(term.n_tasks, term.n_features)


def models_at_once(problem):
    """Whether models pay before a gradient method is known to be slow, where they are used at all.

    Of flat losses they do not, nor in between where systems are of some size and rows few.
    """
    term = problem.term
    small = _rows_for_models(term) or np.prod(term.shape) <= SMALL
    return term.far or (small and (term.outlying or term.curved()))


def _rows_for_models(term):
    """Whether there are rows enough for a gradient method to be slow, or tied intercepts make it so."""
    return ROWS * term.n_features <= term.rows_per_task.mean() * term.n_outputs or term.tied_intercepts


def _few_rows(term):
    """Whether systems of the rows are small."""
    rows = term.rows_per_task.max()
    if term.n_designs == 1:
        return not issparse(next(term.designs())[0]) and rows <= ONE_SYSTEM
    return rows < term.n_features and _bearable(term.n_designs, rows)


def _bearable(n_systems, size):
    """Whether so many systems of this size can be inverted."""
    return size <= MANY_SYSTEMS and n_systems * size**2 <= KERNEL_ENTRIES


SPLITTING = Method(
    splitting,
    splits,
    "the squared loss, convex penalties that are not all quadratic (a coupling of tasks next to another "
    "penalty on one design or few coefficients only), and systems of a size that can be factorised",
    patience=lambda problem: (
        500 if problem.term.loss.quadratic else 100 if _begins_by_gradients(problem) else 50  # models
    ),
)


def _by_models(problem, parts, first, max_iter, target):
    """Iterates (n_iter, parts, (objective, intercept, gap)) of a proximal Newton method."""
    (W, image, b, objective), n_stalled, slow, least = problem.evaluate(parts), 0, 0, np.inf
    bound, share, floor = -np.inf, ENOUGH, FLOOR
    above = problem.term.outlying  # parabolas above the loss come first
    straight = problem.term.straight or above
    hard = problem.term.n_outputs > 1 or first > 0  # a gradient method may be as good
    for n_iter in range(first + 1, max_iter + 1):
        model = problem.with_term(problem.term.least_squares(image, b, floor, W, above))
        found, stalled, to_go = _solved(model, parts, share * target, LATE if straight else MODEL_ITERATIONS)
        # the gradient at the next point is that of the model but for an error that the units of X multiply
        bound = max(bound, problem.bound(parts, image, b, objective, found)) if found else bound
        trial, step, before = found, 1.0 if found else 0.0, parts  # None: overflow at once
        while step > SHORTEST_STEP:
            reached = problem.evaluate(trial, b)
            if reached[3] <= objective - 0.1 * step * max(to_go, 0.0):
                parts, (W, image, b, objective) = trial, reached
                break
            step /= 2 if reached[3] <= ASTRAY * objective else 64
            trial = [V + step * (F - V) for V, F in zip(parts, found, strict=True)]
        while slow and step >= 1.0:  # the loss falls faster than the model
            step *= 2
            trial = [V + step * (F - V) for V, F in zip(before, found, strict=True)]
            reached = problem.evaluate(trial, b)
            if not reached[3] < objective:
                break
            parts, (W, image, b, objective) = trial, reached
        gap = abs(objective - bound)
        if to_go <= LAGS * gap:  # rows that are nearly certain keep the bound behind
            floor = max(0.1 * floor, LEAST_FLOOR)
        slow, least = slow + 1 if to_go > FALLS * least else 0, min(least, to_go)
        n_stalled = MOST_STALLED if hard and slow == MOST_SLOW else n_stalled + stalled
        if to_go <= target and share > LEAST_SHARE:  # no way down is left, and the bound wants better slopes
            share *= 0.1
        elif step <= SHORTEST_STEP:
            n_stalled = MOST_STALLED
        lost = n_stalled >= MOST_STALLED
        if lost and above:  # near enough for its own curvature
            lost, above, n_stalled, slow, share = False, False, 0, 0, ENOUGH
        if gap <= target or not lost or straight or n_iter == max_iter:
            yield n_iter, parts, (objective, b, gap)
        if lost and (beyond_gradients(problem.term) or (straight and gap <= CLOSE * objective)):
            return
        if lost:
            yield from checked(fista(problem, parts, max_iter - n_iter, target), n_iter, max_iter)
            return


def _solved(model, parts, enough, late):
    """Parts, whether their gap has stopped falling before it was small enough, and how far they lead down.

    The gap is to be small, or a share of the latter. Where units differ by more than double precision holds
    the splitting does not get anywhere.
    """
    start, found, look, least, before = model.evaluate(parts)[3], None, FIRST_LOOK, np.inf, np.inf
    term, down, due = model.term, np.inf, 0
    for n_iter, found in _split(model, parts, 0, MODEL_ITERATIONS, enough, late):
        if n_iter < min(due, MODEL_ITERATIONS):
            continue
        objective, _, gap = model.gap(found)
        if not np.isfinite(objective):
            return None, False, np.inf
        least, down = min(least, gap), start - objective
        aim = max(enough, MODEL_GAP * down)
        if gap <= aim:
            break
        due = n_iter * (DEAR if term.far and gap > TO_GO * aim else SPARSER)
        if n_iter >= look:
            if least > FALLEN * before:
                return found, True, down
            look, before = 2 * n_iter, least
    return found, False, down


def _pays_at_once(problem):
    """Whether factorisations are cheap next to iterations, and rows enough for a gradient method to be slow.

    Of fewer rows than features such a method needs to move few; if it is slow all the same the splitting
    goes on from there.
    """
    term = problem.term
    rows = term.rows_per_task.mean()
    size = term.n_features if term.on_moments else rows
    one = term.n_designs == 1
    if size > max(CHEAP, PER_TASK * term.n_tasks * one):
        return False
    return rows >= ROWS * term.n_features or (one and problem.turns)


def _split(problem, parts, first, max_iter, target, late=np.inf):
    """The same from the start.

    From iteration `late` on also points of the smooth part: closer where rows weigh unequally, without zeros.
    """
    smooth = (_OneDesign if problem.term.n_designs == 1 else _ManyDesigns)(problem)
    spent, parts = smooth.low_rank_start(problem, parts, min(START_ITERATIONS, max_iter - first - 1), target)
    first += spent
    penalties = [_penalty_prox(part, len(parts)) for part in problem.parts]
    lags = _lags(problem.term)
    V, G = np.array(parts), _gradients(problem, parts)
    allowed = _allowed(penalties, G) if lags else G  # large slopes along some features say nothing
    finite = all(part.finite for part in problem.parts)
    if len(parts) > 1 and not finite:  # nor do slopes that a constrained part answers and another one never
        for prox in penalties:
            allowed = allowed + np.array([prox(-g, 1.0) for g in allowed])
    step = smooth.set_step(SHARE * _ratio(V, allowed) if V.any() else _first_step(problem.term, penalties, G))
    Z, pace, review = smooth.into(V + step * allowed), None, first + FIRST_REVIEW
    for n_iter in range(first + 1, max_iter + 1):
        X = smooth(Z)
        V = 2 * X - Z
        if not np.isfinite(V).all():  # overflow: the last point shown is as good as it gets
            return
        Y = np.array([prox(v, step) for prox, v in zip(penalties, V, strict=True)])
        if (n_iter - first) % CHECK_EVERY == (spent > 0) or n_iter == max_iter:
            smoothly = (
                finite and (lags or n_iter - first > late) and (n_iter - first) % (2 * CHECK_EVERY) == 0
            )
            yield (
                n_iter,
                _finite(problem, smooth.back(X), smooth.back(Y)) if smoothly else list(smooth.back(Y)),
            )
        if n_iter == review:
            review += n_iter - first
            before, step = step, smooth.set_step(SHARE * _ratio(Y, (Z - X) / step))
            if step != before:  # the same X and gradient at the new step
                Z, pace = X + (Z - X) * (step / before), None
                continue
        pace = pace or _Anderson(Z.size)
        Z = pace.advance(Z.ravel(), (Y - X).ravel()).reshape(Z.shape)


def _allowed(penalties, G):
    """The gradients that penalties may answer nearest to these."""
    return G + np.array([prox(-g, 1.0) for prox, g in zip(penalties, G, strict=True)])


def _lags(term):
    """Whether the curvatures along features differ so much that the point of the penalties lags behind."""
    if not term.on_moments:
        return False
    return graded(term.spreads**2, UNEQUAL) or (term.common is not None and term.steep)


def _finite(problem, X, Y):
    """The point X of the smooth part with a finite penalty: better than Y where units differ much.

    What the shared mean of X has beyond that of Y goes to the deviations.
    """
    if not problem.parts[-1].one_vector:
        return list(X)
    return [*Y] if len(Y) == 1 else [X[0] + X[-1] - Y[-1], *X[1:-1], Y[-1]]


def _gradients(problem, parts):
    """Gradients of the smooth part in the parts, (n_parts, n_tasks, n_features)."""
    W = problem.total(parts)
    return np.array(problem.smooth_gradients(parts, W, problem.term.gradient_at(W)))


def _ratio(V, G):
    """||V|| / ||G||."""
    size = np.linalg.norm(G)
    return np.linalg.norm(V) / size if size > 0 else np.inf


def _first_step(term, penalties, G):
    """Step from zero, where the gradients are G, by a guess at the sizes at the solution."""
    # what the prox takes off -G is about as large as the gradient will be
    left = min(np.linalg.norm(g + prox(-g, 1.0)) for prox, g in zip(penalties, G, strict=True))
    directions = [G[0], np.random.default_rng(0).standard_normal(term.shape)]
    directions = [U / np.linalg.norm(U) for U in directions if U.any()]
    curvature = np.prod([np.sqrt(np.vdot(U, term.curvature(U))) for U in directions])
    return _ratio(G[0] / curvature, left) * SHARE if curvature > 0 else np.inf


def _penalty_prox(part, n_parts):
    """The prox of a part as a function (V, step), without the quadratic terms of an only part."""
    ridge = part.quadratic.mean if n_parts > 1 else 0.0

    def prox(V, step):
        if not ridge:
            return part.prox(V, step)
        shrink = 1.0 + step * ridge
        return part.prox(V / shrink, step / shrink)

    return prox


class _SmoothProx:
    """argmin_X data term and quadratic terms of sum_k X_k + 1/(2 step) sum_k ||X_k - Z_k||^2.

    A subclass has `_solver(level)`, the inverse of the Hessian plus level I as a function of a gradient,
    in coordinates that `into` and `back` change to and from.
    """

    limit = np.inf  # of the step

    def __init__(self, problem):
        term = self.term = problem.term
        self.slope = -_gradients(problem, problem.zeros())[0]
        self.n_parts, quadratic = len(problem.parts), problem.parts[0].quadratic
        ridge = TaskQuadratic(term.n_tasks, problem.ridge, problem.ridge)
        self.quadratic = quadratic if self.n_parts == 1 else ridge
        self.step = None

    def into(self, V):
        """V in the coordinates of this object."""
        return V

    def back(self, V):
        """The inverse of `into`."""
        return V

    def low_rank_start(self, problem, parts, max_iter, target):
        """Iterations spent on a start better than the parts, and the start."""
        return 0, parts

    def set_step(self, step):
        """The step in use from now on: the one given, unless that in use is about as good."""
        step = min(step, self.limit)
        usable = 0 < step < np.inf
        if self.step is None or (usable and not 0.5 <= step / self.step <= 2.0):
            self.step = step if usable else 1.0
            self.level = 1.0 / (self.step * self.n_parts)
            self.inverse = self._solver(self.level)
        return self.step

    def __call__(self, Z):
        total = Z.sum(axis=0)
        return Z + (self.inverse(self.slope + self.level * total) - total) / len(Z)


class _ManyDesigns(_SmoothProx):
    """A design for each task: their own inverses, or that of all few coefficients."""

    def _solver(self, level):
        total = self.quadratic + TaskQuadratic(self.term.n_tasks, level, level)
        if not total.separate:
            return assembled_inverse(self.term.curvature, total.times, self.term)
        inverse = make_preconditioner(self.term, total)
        return partial(self._refined, inverse, total) if _lags(self.term) else inverse

    def _refined(self, inverse, total, R):
        """Solutions without the rounding of an inverse of numbers in very different units."""
        V = inverse(R)
        for _ in range(REFINEMENTS):
            change = inverse(R - self.term.curvature(V) - total.apply(V))
            V = V + change
            if (abs(change).max(axis=0) <= REFINED * abs(V).max(axis=0)).all():  # its square is left
                break
        return V


class _OneDesign(_SmoothProx):
    """The same design for all tasks: eigenvectors found once.

    Where the penalties do not change under rotations of the features these are the coordinates; fewer
    than there are features where there are fewer rows.
    """

    def __init__(self, problem):
        super().__init__(problem)
        values, self.features = _eigenvectors(self.term)
        curvature = np.maximum(values, 0.0) * self.term.scale[:, None]
        self.tasks, levels = None, np.full(len(curvature), self.quadratic.mean)
        if not self.quadratic.is_ridge:
            levels, self.tasks = self.quadratic.eigenvectors()
        self.curvature, self.levels = curvature + levels[:, None], levels[:, None]
        if self.features.shape[0] == self.features.shape[1] and self.curvature.min() > 0:
            self.limit = CONDITIONED / (self.n_parts * np.sqrt(self.curvature.min() * self.curvature.max()))
        self.turned = problem.turns
        if self.turned:
            self.slope = self.slope @ self.features

    def into(self, V):
        return V @ self.features if self.turned else V

    def back(self, V):
        return V @ self.features.T if self.turned else V

    def low_rank_start(self, problem, parts, max_iter, target):
        rough = problem.parts[0].rough
        one = type(getattr(rough, "function", None)) if self.turned and self.n_parts == 1 else None
        trace = one is L1 and not rough.centered
        alike = trace and self.tasks is None and not np.ptp(self.curvature, axis=0).any()
        if not alike or parts[0].any() or max_iter < 1:
            return 0, parts
        n_iter, W = _low_rank(self.slope, self.curvature[0], rough.alpha, max_iter, START_TARGET * target)
        return (n_iter, [self.back(W)]) if n_iter else (0, parts)

    def _solver(self, level):
        along = 1.0 / (self.curvature + level)
        if self.turned:
            return self._between(lambda R: R * along)
        F = self.features
        if F.shape[0] == F.shape[1]:
            return self._between(lambda R: ((R @ F) * along) @ F.T)
        rest = 1.0 / (self.levels + level)  # no curvature where the rows have no component
        return self._between(lambda R: R * rest + ((R @ F) * (along - rest)) @ F.T)

    def _between(self, solve):
        """A solver in the coordinates of the eigenvectors of the tasks, for W."""
        if self.tasks is None:
            return solve
        return lambda R: self.tasks @ solve(self.tasks.T @ R)


def _low_rank(C, curvature, alpha, max_iter, enough):
    """About the minimum of sum_j c_j/2 ||W[:, j]||^2 - <C, W> + alpha ||W||_* at its rank, c the curvature.

    W = A B' with ||W||_* the least (||A||^2 + ||B||^2) / 2, so that A and B in turn solve systems of the
    size of the rank, until the objective moves by less than `enough`. Returns the iterations and W; none
    where the rank is not low.
    """
    U, s, product = singular_values(C)
    rank = int((s > alpha).sum())
    if not 0 < rank <= LOW_RANK * len(s):
        return 0, None
    root, curvature = np.sqrt(s[:rank]), curvature[:, None]
    B = product[:rank].T / root if C.shape[0] <= C.shape[1] else U[:, :rank] * root
    pace, before = _Anderson(B.size), np.inf
    for n_iter in range(1, max_iter + 1):
        A = np.linalg.solve((B * curvature).T @ B + alpha * np.eye(rank), (C @ B).T).T
        sizes, turn = np.linalg.eigh(A.T @ A)
        back = C.T @ A
        new = ((back @ turn) / (curvature * sizes + alpha)) @ turn.T
        value = 0.5 * alpha * float(np.vdot(A, A)) - 0.5 * float(np.vdot(new, back))
        if abs(before - value) <= enough or n_iter == max_iter:
            break
        before = value
        B = pace.advance(B.ravel(), (new - B).ravel()).reshape(B.shape)
    return n_iter, A @ new.T


def _eigenvectors(term):
    """Eigenvalues (m,) of the second moments of one design, and orthonormal vectors (n_features, m).

    All of them from moments, those that the rows span from rows.
    """
    if term.on_moments:
        return np.linalg.eigh(term.gram()[0])
    X, weight, *_ = next(term.designs())
    mean = weight @ X / weight.sum() if term.fit_intercept else 0.0
    Q, R = np.linalg.qr((np.sqrt(weight)[:, None] * (X - mean)).T)
    U, s, _ = np.linalg.svd(R)
    return s**2, Q @ U


class _Anderson:
    """Next points of a fixed-point iteration z -> z + r(z), extrapolated from the last changes of r.

    Also where r hardly changes, far from a kink of the penalties: there the way along r doubles from
    one iteration to the next. An extrapolation is taken back where the residual becomes too large, or
    no smaller and points back; what is too large shrinks as the iterations go on, so that they converge
    as without extrapolation.
    """

    def __init__(self, size):
        self.moves, self.images = np.empty((MEMORY, size)), np.empty((MEMORY, size))
        self.products = np.empty((MEMORY, MEMORY))
        self.first, self.n_iter = None, 0
        self._forget()

    def _forget(self):
        self.count, self.last, self.bound, self.reach = 0, None, np.inf, 1.0

    def advance(self, z, r):
        """The next point."""
        size, image = np.linalg.norm(r), z + r
        if size > self.bound or self._points_back(z, r, size):
            image = self.last[2]
            self._forget()
            return image
        if self.last is not None:
            self._remember(r - self.last[1], image - self.last[2])
        self.first, self.n_iter = size if self.first is None else self.first, self.n_iter + 1
        self.last, self.bound = (z, r, image), np.inf
        trusted = TRUST * self.first / self.n_iter**1.1
        if not self.count or size == 0 or size > trusted:
            return image
        weights = self._weights(r)
        left = r - weights @ self.moves[: len(weights)]
        self.reach = min(2 * self.reach, LONGEST) if np.linalg.norm(left) > UNEXPLAINED * size else 1.0
        self.bound = min(WORST * size, trusted)
        return image - weights @ self.images[: len(weights)] + (self.reach - 1.0) * left

    def _points_back(self, z, r, size):
        """Whether z is an extrapolation that led too far."""
        extrapolated = self.bound < np.inf
        return extrapolated and size > np.linalg.norm(self.last[1]) and np.vdot(r, z - self.last[0]) < 0

    def _weights(self, r):
        """Least squares of r on the last changes of r."""
        m = min(self.count, MEMORY)
        K = self.products[:m, :m]
        unit = np.sqrt(K.diagonal())
        unit[unit == 0] = 1.0
        K = K / (unit[:, None] * unit)
        K.flat[:: m + 1] += REGULARIZATION
        return np.linalg.solve(K, self.moves[:m] @ r / unit) / unit

    def _remember(self, move, image):
        """Put a change in place of the oldest one."""
        k = self.count % MEMORY
        self.count += 1
        m = min(self.count, MEMORY)
        self.moves[k], self.images[k] = move, image
        self.products[k, :m] = self.products[:m, k] = self.moves[:m] @ move
