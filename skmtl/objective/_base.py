"""What all data terms share: the intercepts and the free directions of the certificate."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import LinearOperator, cg

from ..penalties import deviations
from ..statistics import times

DENSE_FEATURES = 500  # up to here a (n_features, n_features) system is solved by factorisation
PREDICTOR_ROUNDING = 64 * np.finfo(float).eps  # relative to the terms that a predictor is the sum of
ASSEMBLED = 100  # up to here a matrix is built column by column
STEEP = 1e4  # ratio of curvatures along features from which dual points are corrected along the larger ones
LEAST = 1e-14  # share of the largest eigenvalue below which there is rounding
OFFSET_ASSEMBLED = 400  # the same in coordinates of which a common offset is one
BATCH = 2e5  # numbers of several directions that are followed at once: more leave the cache
GRADED = 1e8  # ratio of curvatures from which a matrix of all features has lost too many digits
KEPT = 1e6  # numbers in rows or moments up to which steps are kept that hold the term itself
TINY = np.finfo(float).tiny


@dataclass
class State:
    """The data term at one W, with optimal intercepts."""

    intercept: np.ndarray
    value: float
    gradient: np.ndarray
    residual: np.ndarray | None = None  # (n_samples, n_tasks), to go with the rows of a pool of columns


class DataTerm:
    """sum_t c_t sum_i s_i loss(y_i, x_i.w_t + b_t) + intercept_alpha/2 sum_t (b_t - mean b)^2."""

    n_outputs = 1  # predictors per row, one after another in the rows of W
    classes_alone = False  # whether no loss sees the same number added to all predictors of a row
    on_moments = False  # of the squared loss, in the place of rows
    largest_curvature = None  # where it has been asked for and is the same everywhere
    enough = 0.0  # gap that a solver is content with
    kept_inverse = None  # of the blocks of the tasks, by a solver that wants it again
    products = None  # in the place of this term, see `by_products`
    y = None  # targets on the sample side, of a term on rows
    in_row_space = None  # see there: of one on far fewer rows than features
    # taken off X and y, where they would cost digits: the intercepts answer it, those that are tied by the
    # same number for all tasks, the offset times the mean of W; so predictors keep what W deviates by
    x_offset, y_offset, x_common = None, 0.0, None

    def __init__(self, fit_intercept, intercept_alpha):
        self.fit_intercept, self.intercept_alpha = fit_intercept, float(intercept_alpha)

    # whether each task has an intercept that nothing penalises, and whether they have a penalty of their own
    free_intercepts = property(lambda self: self.fit_intercept and not self.intercept_alpha)
    tied_intercepts = property(lambda self: self.fit_intercept and self.intercept_alpha > 0)
    shape = property(lambda self: (self.n_tasks, self.n_features))  # of W
    common = property(lambda self: self.x_common)  # offset of the features of one predictor

    def restored(self, W, b):
        """Intercepts of the rows as they were given, from those of the rows less their offsets."""
        if not self.fit_intercept:
            return b
        b = b + self.y_offset
        W = W.reshape(len(W), self.n_outputs, -1)
        if self.x_common is not None:
            b = b - (self.mean_of_offset(W) @ self.x_common).reshape(b.shape[1:])
        if self.x_offset is None:
            return b
        return b - np.matmul(W, self.x_offset[..., None]).reshape(b.shape)

    def evaluate(self, W, start=None):
        """Image, best intercepts, searched from some, and value at W; those at zero are found once."""
        return self.null if start is None and not W.any() else self._evaluated(W, start)

    def _evaluated(self, W, start=None):
        image = self.image(W)
        b = self.intercept(W, image, start)
        return image, b, self.value(W, image, b)

    null = cached_property(lambda self: self._evaluated(np.zeros(self.shape)))  # where most solvers start

    def state(self, W):
        """The same with the gradient."""
        image, b, value = self.evaluate(W)
        return State(b, value, self.gradient(W, image, b))

    def curvature(self, V, eta=None):
        """H V, at eta where the loss is not quadratic."""
        return self.curvature_at(eta)(V)

    def distance(self, W, V, image, other):
        """<W - V, H (W - V)> of a quadratic loss, from the images of W and V."""
        return self.second_order(W - V, image - other)

    def gradient_at(self, W):
        """Gradient in W, intercepts searched from nothing."""
        image = self.image(W)
        return self.gradient(W, image, self.intercept(W, image, None))

    def steepest(self, W):
        """The gradient G without its steep directions, intercepts searched from nothing, and <G, H G>."""
        image = self.image(W)
        b = self.intercept(W, image, None)
        G, eta = self.gradient(W, image, b), None if self.loss.quadratic else self.predictor(image, b)
        if self._steep is not None:
            G = G - self.along_steep(G)
        return G, self.second_order(G, self.image(G), eta)

    # how much of the square of its mean (n_tasks,) a task keeps with optimal intercepts
    kept = property(lambda self: self.kept_of(self.totals) if self.fit_intercept else self.totals)

    def common_image(self, W):
        """What the common offset adds to the predictors of each task, (n_tasks,)."""
        return (W - W.mean(axis=-2, keepdims=True)) @ self.x_common

    def common_back(self, sums):
        """The transpose of `common_image`."""
        return (sums - sums.mean(axis=-1, keepdims=True))[..., None] * self.x_common

    def mean_of_offset(self, W):
        """What tasks have in common of W (n_tasks, K, m), (K, m): its offset is left to the intercepts."""
        return W.mean(axis=0)

    def less_unseen(self, V):
        """V (n_tasks, K), a change along the offset, without what the intercepts or no loss see."""
        return deviations(V)

    def in_units(self, unit):
        """The term of features times `unit` (n_features,), or turned into other ones by its columns."""
        other = self._turned(unit)
        other.y_size, other.y_offset = self.y_size, self.y_offset + other.y_offset
        if self.x_offset is not None:
            other.x_offset = times(unit, self.x_offset) + (0.0 if other.x_offset is None else other.x_offset)
        return other

    def unanswered(self, gradient):
        """What the intercepts' own penalty leaves of their gradient."""
        return np.broadcast_to(gradient.mean(axis=0), gradient.shape) if self.tied_intercepts else gradient

    def spread_of_intercepts(self, b):
        """The intercepts' own penalty."""
        if not self.intercept_alpha:
            return 0.0
        return 0.5 * self.intercept_alpha * float(((b - b.mean(axis=0)) ** 2).sum())

    def pull_of_intercepts(self, b):
        """Gradient of their own penalty; what it is the same for all tasks, zero, knows no strength."""
        return self.intercept_alpha * deviations(b) if self.intercept_alpha else np.zeros_like(b)

    @cached_property
    def _steep(self):
        """Orthogonal directions (n_features, k) of far larger curvature than others, scaled to one, or None.

        Along those in small units, and the common offset, errors that cost nothing leave large slopes. Also
        the predictors (k,) that the latter are of, else -1: what tasks have in common there costs little.
        """
        curvature = np.tile(self.curvatures() / self.totals.sum(), self.n_outputs)
        least = STEEP * curvature[curvature > 0].min(initial=np.inf)
        rest = curvature <= least
        found = np.eye(self.n_features)[:, ~rest] / np.sqrt(curvature[~rest])
        of = np.full(found.shape[1], -1)
        if self.common is not None:
            offset = np.kron(np.eye(self.n_features // len(self.common)), self.common[:, None])
            offset *= rest[:, None]
            square = (offset**2).sum(axis=0)
            far = square > least
            found, of = np.hstack([found, offset[:, far] / square[far]]), np.append(of, np.flatnonzero(far))
        return (found, of) if len(of) else None

    # how many predictors of a row may change alike without any loss that sees it
    n_alike = property(lambda self: self.n_outputs if self.classes_alone else 1)

    # whether dual points are corrected along such directions
    steep = property(lambda self: self._steep is not None and len(self._steep[1]) <= ASSEMBLED)

    # whether the common offset is one
    far = property(
        lambda self: self.common is not None and self._steep is not None and self._steep[1].max() >= 0
    )

    def _less_shared(self, V):
        """Numbers (n_tasks, k) along steep directions, those of a common offset less what tasks share."""
        of, n_of = self._steep[1], self.n_features // len(self.common) if self.common is not None else 0
        n_far = np.count_nonzero(of >= 0)  # they come last
        if not n_far:
            return V
        if n_far == V.shape[1] == n_of:
            return self.less_unseen(V)
        found, offset = V.copy(), np.zeros((len(V), n_of, *V.shape[2:]))
        offset[:, of[-n_far:]] = V[:, -n_far:]
        found[:, -n_far:] = self.less_unseen(offset)[:, of[-n_far:]]
        return found

    def along_steep(self, G):
        """The part of G (n_tasks, n_features) along steep directions."""
        B = self._steep_units
        return self._less_shared(G @ B) @ B.T

    @cached_property
    def _steep_units(self):
        """The steep directions at length one."""
        return self._steep[0] / np.sqrt((self._steep[0] ** 2).sum(axis=0))

    def steep_inverse(self, image, b):
        """A function of an excess of the gradient: the step along steep directions that takes it off."""
        if not self.loss.quadratic:
            return self._inverse_along_steep(self.predictor(image, b))
        if self._kept_steep is None:
            self._kept_steep = self._inverse_along_steep(None)
        return self._kept_steep

    _kept_steep = None

    def _inverse_along_steep(self, eta):
        B, curvature = self._steep[0], self.curvature_at(eta)

        def less_shared(V):
            return self._less_shared(V) if V.ndim == 2 else aside(self._less_shared, V)

        def inside(V):
            return less_shared(curvature(less_shared(V) @ B.T) @ B)

        every = sparse.eye_array(self.n_tasks, format="csr")  # as many numbers as tasks, not their square
        step = step_along(inside, every, B.shape[1], least=1e-9, batch=self.batch)
        return lambda excess: self._less_shared(step(self._less_shared(excess @ B))[0]) @ B.T

    def pooled(self, h, ha):
        """argmin_b sum_t h_t/2 (b_t - a_t)^2 + intercept_alpha/2 sum_t (b_t - mean b)^2, from h and h a's."""
        strength = self.intercept_alpha
        if strength == 0:
            return ha / np.maximum(h, TINY)
        total = max((h / (h + strength)).sum(), TINY)
        center = (ha / (h + strength)).sum(axis=-1, keepdims=True) / total
        return (ha + strength * center) / (h + strength)

    def kept_of(self, h):
        """kappa: at optimal b the intercepts cost 1/2 sum kappa_t (a_t - (kappa-weighted mean of a))^2."""
        strength = self.intercept_alpha
        # no more than h, which rounding would make it
        return np.zeros_like(h) if strength == 0 else np.minimum(h * strength / (h + strength), h)

    def leveled(self, W):
        """W (n_tasks, n_features) less what the classes of a task have in common, which no loss sees."""
        if not self.classes_alone:
            return W
        own = W.reshape(self.n_tasks, self.n_outputs, -1)
        return (own - own.mean(axis=1, keepdims=True)).reshape(W.shape)

    def free_step(self, free, pull, curvature, along, shared):
        """A function of a gradient: the Newton step (n_tasks, n_features) along the columns of `free`.

        b is optimised out. Also what the step leaves, a function of the gradients in W and b after it, see
        `inverse_of`. `shared()` is the curvature along a vector that all tasks share, `curvature` that of any
        direction.
        """
        if free.shape[1] == 1 and np.ptp(free) == 0 and shared and self._few(pull):
            return shared_step(shared(), self.n_tasks, pull.mean, along)
        options = {"alike": self.n_alike, "batch": self.batch}
        whole = partial(tilted, curvature, pull.apply) if pull else curvature
        if self.beside_offset is None:
            apart = pull.separate and not self.tied_intercepts and self.common is None
            return step_along(whole, free, self.n_features, along, apart=apart, **options)
        A = np.kron(np.eye(self.n_features // len(self.common)), self.beside_offset)
        even = np.linalg.pinv(free).sum(axis=1)
        free = free @ set_apart(even) if even.any() else free  # one along what all tasks share
        turned = step_along(
            lambda V: whole(V @ A) @ A.T, free, len(A),
            along and (lambda V: along(V @ A)), most=OFFSET_ASSEMBLED, **options,
        )  # fmt: skip

        def step(gradient):
            found, left = turned(gradient @ A.T)
            return found @ A, lambda gradient, in_b: left(gradient @ A.T, in_b)

        return step

    @cached_property
    def beside_offset(self):
        """Directions (p, p) of the features of X, as rows, of which one is along a common offset, or None.

        Rotated axes of features that vary alike, for few coefficients, where matrices in the features would
        hold little but the offset.
        """
        if self.common is None or self.n_tasks * self.n_features > OFFSET_ASSEMBLED:
            return None
        curvature, p = self.curvatures() / self.totals.sum(), len(self.common)
        curvature = curvature.reshape(-1, p).max(axis=0)
        varies, size = curvature > 0, np.sqrt(curvature)
        other = np.median(size[varies]) if varies.any() else np.abs(self.common).max()  # of what is constant
        unit = 1.0 / np.where(varies, size, other)
        # several predictors have a mean each, which elimination leaves fewer digits of
        far = GRADED if p == self.n_features else STEEP
        if varies.any() and not np.square(self.common * unit).sum() > far:
            return None
        return set_apart(self.common * unit) * unit

    def kept_step(self, size, free, pull, make):
        """A step along free directions that stays the same, kept if what it holds is of no great size."""
        if size > KEPT:
            return make()
        if self._kept is None or self._kept[0] is not free or self._kept[1] is not pull.alone:
            self._kept = free, pull.alone, make()
        return self._kept[2]

    _kept = None
    batch = 1  # directions whose curvature is found at once, see `several`: none but one by one

    def _few(self, pull):
        """Whether a system of the features is solved by factorisation."""
        return pull.separate and self.n_features <= DENSE_FEATURES


def tilted(curvature, apply, V):
    """Curvature of the data and of penalties times V (n_tasks, n_features), or each of several."""
    return curvature(V) + (apply(V) if V.ndim == 2 else np.array([apply(v) for v in V]))


def batch_of(n_numbers):
    """How many directions of so many numbers are followed at once."""
    return max(1, int(BATCH / n_numbers))


def graded(curvature, ratio):
    """Whether curvatures, where there is one, differ by more than that."""
    return bool(curvature.max(initial=0.0) > ratio * curvature[curvature > 0].min(initial=np.inf))


def set_apart(direction):
    """Rotation (n, n), its own inverse, whose first row is along a direction."""
    mirror = direction / np.linalg.norm(direction)
    mirror[0] += 1.0 if mirror[0] >= 0 else -1.0
    return np.eye(len(mirror)) - 2.0 / (mirror @ mirror) * np.outer(mirror, mirror)


def without_center(H, kappa, x_mean):
    """Curvature of which the common intercept takes its share."""
    if not kappa.any():
        return H
    center = kappa @ x_mean
    return H - np.outer(center, center) / kappa.sum()


@dataclass
class DualPoint:
    """A dual point: gradients (in W, b) that a feasible sample-side vector u gives, and -F*(theta u)."""

    gradient: np.ndarray
    intercept_gradient: np.ndarray
    shift: np.ndarray
    negative_conjugate: Callable
    left: float = 0.0  # how much less the objective may be along the free directions all the same
    rounding: float = 0.0  # of the objective itself, where it is more than the last digits
    limit: float = np.inf  # greatest factor theta that leaves it feasible for the loss
    unanswered: np.ndarray = None  # the gradient less multipliers of a constraint


def shared_step(H, n_tasks, ridge, along=None):
    """-H^-1 gradient for a direction that is the same for all tasks, and what it leaves, see `inverse_of`."""

    def every(v):
        return np.broadcast_to(v, (n_tasks, len(v)))

    H = H + ridge * n_tasks * np.eye(len(H))
    inverse, left = inverse_of(H, along and (lambda vs: along([every(v) for v in vs])))
    return lambda gradient: (
        every(inverse(-gradient.sum(axis=0))),
        lambda gradient, in_b: left(gradient.sum(axis=0), in_b),
    )


def step_along(
    curvature, free, p, along=None, least=LEAST, most=ASSEMBLED, alike=1, apart=False, batch=1
):  # fmt: skip
    """The same for other directions, as a function of a gradient (n_tasks, p).

    H is assembled where they are few, else steps are by conjugate gradients. The loss does not see what is
    the same for each of `alike` predictors of a row. `apart`: tasks have no curvature between them.
    `curvature` takes as many of them as `batch`, if that is more than one.

    A limited number of iterations: near a solution there is little to correct, and what is left of the
    gradient is charged to the gap.
    """
    k = free.shape[1]

    def freely(v):
        return free @ v.reshape(*v.shape[:-1], k, p)

    def within(gradient):
        return (free.T @ gradient).reshape(*gradient.shape[:-2], -1)

    apart = apart and bool(((free != 0).sum(axis=1) <= 1).all())  # then no two directions change a task
    if k * p <= most and sparse.issparse(free):
        free = free.toarray()
    if k * p > most:
        operator = LinearOperator((k * p, k * p), matvec=lambda d: within(curvature(freely(d))))
        options = {"rtol": 1e-14, "atol": 0.0, "maxiter": 100}
        return lambda gradient: (freely(cg(operator, -within(gradient), **options)[0]), nothing)
    if apart:
        every = free.sum(axis=1)[:, None]
        blocks = several(lambda d: free.T @ curvature(every * d[..., None, :]), np.eye(p), batch)
        H = linalg.block_diag(*blocks.transpose(1, 0, 2))
    else:
        H = several(lambda d: within(curvature(freely(d))), np.eye(k * p), batch)
    inside = along and (lambda vs: along(freely(np.asarray(vs))))
    inverse, left = inverse_of(seen_alike(0.5 * (H + H.T), k, alike), inside, least)
    return lambda gradient: (
        freely(inverse(-within(gradient))),
        lambda gradient, in_b: left(within(gradient), in_b),
    )


def aside(work, V):
    """What work(V) is of each of several V, the first axis, which is the last one for it."""
    return np.moveaxis(work(np.moveaxis(V, 0, -1)), -1, 0)


def several(work, vectors, batch):
    """What work(vector) is of every one of some vectors, found of as many at once as `batch`."""
    if batch == 1:
        return np.array([work(v) for v in vectors])
    return np.concatenate([work(vectors[k : k + batch]) for k in range(0, len(vectors), batch)])


def seen_alike(H, n_blocks, n_predictors):
    """H (n, n) with curvature where the predictors of a block change alike.

    There the loss has none and never a gradient: any will do.
    """
    if n_predictors == 1:
        return H
    level = H.diagonal().reshape(n_blocks, n_predictors, -1).mean(axis=1) / n_predictors
    ones = np.ones((n_predictors, n_predictors))
    return H + linalg.block_diag(*(np.kron(ones, np.diag(each)) for each in level))


def slack(gradient, W, free):
    """What a gradient along free directions that should vanish may cost, the objective's at W."""
    left, at = free.T @ gradient, free.T @ W
    return float((np.abs(left) * np.abs(at)).sum())  # one by one: features may have any units


def nothing(gradient, in_b):
    """Zero, as what is left."""
    return 0.0


def solved(H, rhs, along=None, least=LEAST):
    """H^+ rhs, and how much 1/2 <x, H x> - <slope, x> may still fall from there, see `inverse_of`."""
    inverse, left = inverse_of(H, along, least)
    return inverse(rhs), left


def inverse_of(H, along=None, least=LEAST):
    """H^+ as a function of a vector, refined once, and what may be gained along slopes that are left.

    The latter is a function of the slopes found there, in x and in the intercepts: large predictors may leave
    few digits of them. Along what H^+ leaves out the entries of H hold rounding only, and `along(vs)` says
    what the curvature is between such directions, and how the intercepts follow: of nearly collinear features
    it is little, so that much is to be gained, of collinear ones none.
    """
    if not np.isfinite(H).all():  # no curvature to speak of
        return np.zeros_like, lambda slope, in_b: np.inf
    unit = units(H)
    H = H * unit * unit[:, None]
    factor, info = lapack.dpotrf(H)
    rest = None
    if info == 0 and lapack.dpocon(factor, np.abs(H).sum(axis=0).max())[0] > 100 * least:

        def times(r):
            return lapack.dpotrs(factor, r)[0]

    else:
        values, vectors = eigenvectors(H + np.diag(unit == 0))  # axes without curvature beside the others
        used = values > least * values[-1]
        inverse = np.where(used, 1.0 / np.where(used, values, 1.0), 0.0)
        # rounding may leave nothing of the curvature along an axis
        unseen = _apart(unit * vectors.T[~used], unit * vectors.T[used], values[used], along)
        rest, in_rest = _resolved([*unseen, *np.eye(len(unit))[unit == 0]], along)

        def times(r):
            return vectors @ (inverse * (vectors.T @ r))

    def step(rhs):
        found = unit * _refined(H, unit * rhs, times)
        return found if rest is None else found + rest @ (rest.T @ rhs)

    def left(slope, in_b):
        total = _gain(unit * slope, times(unit * slope))
        if rest is None:
            return total
        return total + 0.5 * float(((rest.T @ slope + in_rest @ in_b.ravel()) ** 2).sum())

    return step, left


def eigenvectors(A):
    """Of a symmetric matrix, by divide and conquer where the method that SciPy takes fails."""
    try:
        return linalg.eigh(A)
    except np.linalg.LinAlgError:
        return np.linalg.eigh(A)


def _apart(directions, others, values, along):
    """Directions without what rounding of eigenvectors leaves in them of others with those eigenvalues."""
    if not (along and len(directions)):
        return directions
    between = along([*directions, *others])[0][: len(directions), len(directions) :]
    return directions - (between / values) @ others


def _resolved(directions, along):
    """Combinations of directions that have curvature, as columns (p, k): one in each, none between two.

    Also their intercepts (k, n), as numbers in a row. None where no direction has curvature.
    """
    found, found_in = [], []
    while along and len(directions):
        C, B = along(directions)
        unit = units(C)  # none where there is no curvature
        used = unit > 0
        if not used.any():
            break
        values, vectors = eigenvectors((C * unit * unit[:, None])[used][:, used])
        vectors, kept = unit[used, None] * vectors, values > 1e-12 * values[-1]
        turn = vectors[:, kept] / np.sqrt(values[kept])
        E = np.asarray(directions)[used]
        found.append(turn.T @ E)
        found_in.append(turn.T @ B[used])
        directions = vectors[:, ~kept].T @ E
    return (np.vstack(found).T, np.vstack(found_in)) if found else (None, None)


def _refined(H, rhs, inverse):
    """About H^-1 rhs, one step better than by an inverse with rounding."""
    x = inverse(rhs)
    return x + inverse(rhs - H @ x)


def _gain(slope, step):
    """What a Newton step gains."""
    return 0.5 * max(float(slope @ step), 0.0)


def units(H):
    """Factors (..., p) that give positive semidefinite H (..., p, p) a diagonal of ones.

    Zero where it has none. Ranks decided in these units do not depend on those of the features.
    """
    size = np.diagonal(H, axis1=-2, axis2=-1)
    return np.where(size > 0, 1.0, 0.0) / np.sqrt(np.where(size > 0, size, 1.0))
