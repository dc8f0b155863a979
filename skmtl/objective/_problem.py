"""The objective: data term + penalty, with its certificate."""

from copy import copy
from functools import cached_property

import numpy as np
from scipy import linalg

from .._threads import by_rows, sum_by_rows
from ..penalties import Ridge, Shared, TaskQuadratic, square
from ._base import graded, slack
from ._certificate import duality_gap
from ._forms import by_products

EPS, TINY = np.finfo(float).eps, np.finfo(float).tiny
NEARBY = 1e-4  # step of a prox that tells what a penalty says of a point, relative to that over the gradient
CORRECTIONS = 10  # dual points with gradients corrected along steep directions, and one without
PROJECTIONS, RELAXED, SETTLED = 30, 1.5, 1e-3  # for one: most of them, their length, share of the first left
FALLS = 0.5  # share of what they are corrected by, below which there is
DOUBTFUL = 1e-3  # of a dual objective: what rounding may leave of it far from the optimum
UNEQUAL = 100.0  # ratio of curvatures along features from which units of their own pay
ANSWERED = 1e-10  # of the slope of a feature along predictors: what may be left of one that vanishes
PAYS = 0.9  # share of the gap that a correction leaves, above which there is no further one


class Part:
    """One summand of W: its non-smooth penalty (or None) and its quadratic one."""

    def __init__(self, penalty, n_tasks):
        self.rough, smooth = penalty.split()
        for term in [*smooth, *([] if self.rough is None else [self.rough])]:
            if not getattr(term, "alpha", 0.0) >= 0:
                raise ValueError(f"alpha of a penalty must be >= 0; got {term!r}.")
        if getattr(self.rough, "alpha", None) == 0 and not self.rough.constrains:
            self.rough = None  # strength zero: unpenalised, not a norm with an infinite dual
        self.quadratic = TaskQuadratic.of(smooth, n_tasks)

    one_vector = property(lambda self: self.rough is not None and self.rough.one_vector)  # for all tasks

    # whether its penalty is finite everywhere, or where all rows are equal
    finite = property(lambda self: self.rough is None or self.one_vector or not self.rough.constrains)

    def joint_units(self, unit):
        """Units near these that features which are penalised together have in common."""
        return unit if self.rough is None else self.rough.joint_units(unit)

    def in_units(self, unit):
        """The part on features in other units, those here times `unit`; None where it compares features."""
        rough = None if self.rough is None else self.rough.in_units(unit)
        if self.quadratic or (rough is None and self.rough is not None):
            return None
        return self.with_rough(rough)

    @property
    def bare(self):
        """Whether its non-smooth penalty is a constraint on the signs alone."""
        return self.rough is not None and not self.one_vector and getattr(self.rough, "alpha", 1.0) == 0

    @cached_property
    def unsigned(self):
        """The part without a constraint on signs beside which some directions are free, or None."""
        inner, T = getattr(self.rough, "unsigned", None), self.quadratic.n_tasks
        if inner is None or (self.bare and min(self.quadratic.deviations, self.quadratic.mean) > 0):
            return None
        if not self.bare and inner.free_directions(T) is None:
            return None
        return self.with_rough(None if self.bare else inner)

    def with_rough(self, rough):
        """The part with another non-smooth penalty."""
        other = copy(self)
        other.__dict__.pop("unsigned", None)
        other.rough, other._is_norm = rough, None
        return other

    def multipliers(self, V, G, curvatures):
        """Those of V >= 0, about: what a step from V against the gradient G leaves below zero."""
        step = curvatures + self.quadratic.diagonal()[:, None] if self.bare else curvatures
        ahead = step * V - self.quadratic.plus(G, V)
        return np.maximum(-(ahead if self.bare else self.unsigned.prox(ahead, 1.0)), 0.0)

    def prox(self, V, step):
        """That of its non-smooth penalty."""
        if self.rough is None:
            return V
        found = self.rough.prox(V, step)
        if np.shape(found) != V.shape:
            name = type(self.rough).__name__
            raise ValueError(
                f"{name}.prox must return an array of the shape of W, {V.shape}; got {np.shape(found)}."
            )
        return found

    def value(self, V):
        """Penalty of the part."""
        own = self.quadratic.value(V) if self.quadratic else 0.0
        return own if self.rough is None else self.rough.value(V) + own

    def dual_cost(self, V, G):
        """Dual norm at G (0 if unconstrained) and cost in the dual objective at theta = 1."""
        if self.rough is None:
            return 0.0, self.quadratic.conjugate(G)
        ridge, data = 0.0, self.quadratic
        if self.bare:  # a ridge bounds what a constraint leaves without end; other quadratic terms are data
            ridge = min(data.deviations, data.mean)
            data = data + TaskQuadratic(len(V), -ridge, -ridge)
        cost = data.value(V)
        G = G + data.apply(V) if data else G
        if ridge:
            return 0.0, cost + 0.5 / ridge * square(self.rough.allowed(G))
        conjugate = self.rough.conjugate(G)
        if conjugate is not None:
            return 0.0, cost + conjugate
        return self.rough.dual_norm(G), cost

    def excess(self, V, G):
        """What a gradient G, that of its quadratic terms included, has beyond what the penalty answers.

        A norm answers all inside its dual ball, others what they say of V.
        """
        if self._is_norm is None and self.rough is not None:
            self._is_norm = self.rough.conjugate(np.zeros(G.shape)) is None
        if self.rough is None or self._is_norm:
            return G if self.rough is None else -self.rough.prox(-G, 1.0)
        size = np.linalg.norm(G)
        step = NEARBY * np.linalg.norm(V) / size if size > 0 else 0.0
        return (V - self.rough.prox(V - step * G, step)) / step if 0 < step < np.inf else G

    _is_norm = None  # whether its penalty has no conjugate but the indicator of a dual ball

    def free_directions(self, n_tasks):
        """Directions that cost nothing, or None."""
        if self.unsigned is not None:
            return self.unsigned.free_directions(n_tasks)
        if self.rough is None:
            return self.quadratic.null_space()
        return self.rough.free_directions(n_tasks)


def fitting_units(term):
    """Units (n_features of X,) in which features vary alike."""
    curvature = term.curvatures() / term.totals.sum()
    return 1.0 / np.sqrt(np.where(curvature > 0, curvature, 1.0))


class Problem:
    """Objective over the parts of W: data term(sum of parts) + penalty of each part + ridge.

    Parameters
    ----------
    term : DataTerm
    penalty : Penalty
    ridge : float
        ridge/2 ||W||_F^2 on the sum of the parts.
    mean_alpha : float or None
        Adds a part that is one vector for all tasks, W = 1 m' + V, at mean_alpha T/2 ||m||^2.
    """

    solver = None  # the only one that applies, for problems with a learned structure
    labels = None  # clusters of the tasks, where they are found
    corrects = True  # dual points along directions of a large curvature

    def __init__(self, term, penalty, ridge=0.0, mean_alpha=None):
        self.term, self.shape, self.penalty = term, term.shape, penalty
        self.mean_alpha = mean_alpha
        penalty = penalty.for_classes(term.n_outputs)
        penalties = penalty.parts() + ([] if mean_alpha is None else [Shared(float(mean_alpha))])
        self.parts = [Part(part, term.n_tasks) for part in penalties]
        self.ridge = self.own_ridge = float(ridge)
        if len(self.parts) == 1 and self.ridge:  # one part is W itself
            self.parts[0].quadratic += TaskQuadratic(term.n_tasks, deviations=self.ridge, mean=self.ridge)
            self.ridge = 0.0
        self.convex = all(part.rough is None or part.rough.convex for part in self.parts)
        self.certified = all(self._has_certificate(part) for part in self.parts)

    def with_term(self, term):
        """The same penalty on another data term over the same tasks."""
        other = object.__new__(Problem)
        other.__dict__.update(self.__dict__, term=term, shape=term.shape)
        other.__dict__.pop("without_norms", None)  # which holds the term
        return other

    # whether a rotation of the features changes no penalty
    turns = property(lambda self: all(part.rough is None or part.rough.turns for part in self.parts))

    def restricted(self, columns):
        """The problem of some columns of X alone, of one part with a penalty that is not smooth."""
        other, part = self.with_term(self.term.restricted(columns)), self.parts[0]
        other.parts = [part.with_rough(part.rough.restricted(columns))]
        return other

    # whether all of it is, and W has one part
    smooth = property(lambda self: len(self.parts) == 1 and self.parts[0].rough is None)

    # whether anything beside the data term is
    has_quadratic = property(lambda self: bool(self.ridge) or any(part.quadratic for part in self.parts))

    @cached_property
    def pulls_part(self):
        """Whether quadratic terms of an only part act along its free directions as well."""
        return len(self.parts) == 1 and self.unsigned[0].rough is not None and self.free is not None

    @cached_property
    def pull(self):
        """The quadratic terms that act along the free directions."""
        ridge = TaskQuadratic(self.term.n_tasks, deviations=self.ridge, mean=self.ridge)
        return self.parts[0].quadratic if self.pulls_part else ridge

    @cached_property
    def free(self):
        """Directions along which the penalties cost nothing, or None; only certificates ask for them."""
        found = [N for part in self.parts if (N := part.free_directions(self.term.n_tasks)) is not None]
        if len(found) <= 1:
            return found[0] if found else None
        return linalg.orth(np.hstack(found))

    @cached_property
    def signed(self):
        """Place of the only part with free directions, if it has multipliers of a constraint on its signs."""
        if not any(part.unsigned for part in self.parts):
            return None
        places = [k for k, part in enumerate(self.parts) if self._is_free(part)]
        return places[0] if len(places) == 1 and self.parts[places[0]].unsigned is not None else None

    # the parts, with multipliers in the place of such a constraint
    unsigned = property(lambda self: [part.unsigned or part for part in self.parts])

    def _is_free(self, part):
        return part.free_directions(self.term.n_tasks) is not None

    def _has_certificate(self, part):
        if part.rough is None or part.rough.one_vector:
            return True
        if part.unsigned is not None:
            return self.signed is not None and self._has_certificate(part.unsigned)
        if part.bare:
            return len(self.parts) == 1
        if len(self.parts) > 1 and part.quadratic and self._is_free(part):
            return False  # its quadratic term would act on a direction that the other parts leave free
        return part.rough.certified(self.shape)

    def zeros(self):
        """All parts zero."""
        return [np.zeros(self.shape) for _ in self.parts]

    def total(self, parts):
        """W."""
        return by_rows(lambda first, *rest: sum(rest, start=first), *parts) if parts[1:] else parts[0]

    def surrogate(self):
        """A convex problem whose solution is a start for this one if it is not convex, else None."""
        penalty = None if self.convex else self.penalty.surrogate()
        return None if penalty is None else Problem(self.term, penalty, self.own_ridge, self.mean_alpha)

    def fitting_units(self):
        """Units (n_features of X,) in which features vary alike; None where penalties compare features.

        With a certificate also where solvers do without: where nothing is free nor constrained, or features
        do so about as they are. With a constraint alone the point where they stop is to depend on no units.
        """
        hard = self.free is not None or not all(part.finite for part in self.parts)
        natural = not hard or not graded(self.term.curvatures(), UNEQUAL)
        if self.ridge or (self.certified and self.signed is None and natural):
            return None
        unit = fitting_units(self.term)
        for part in self.parts:
            unit = part.joint_units(unit)
        return None if None in self._parts_in_units(unit) else unit

    def in_units(self, unit):
        """The problem of features in other units, those here times `unit` (n_features of X,)."""
        other = self.with_term(self.term.in_units(unit))
        other.parts = self._parts_in_units(unit)
        return other

    def rescaled(self, parts, unit):
        """Parts of features in other units, those here divided by `unit` (n_features,)."""
        return [V * unit for V in parts]

    def _parts_in_units(self, unit):
        return [part.in_units(np.tile(unit, self.term.n_outputs)) for part in self.parts]

    @cached_property
    def without_norms(self):
        """The problem without norms, whose optimum is no greater, if W then has one part; else None."""
        first, *others = self.parts
        free = [part for part in self.parts if not (part.quadratic or part.one_vector)]
        if self.smooth or not (free or self._alone(first.quadratic, others)):
            return None
        smooth = [] if free else self.penalty.for_classes(self.term.n_outputs).parts()[0].split()[1]
        return Problem(self.term, sum(smooth, start=Ridge(0.0)), self.own_ridge)

    def _alone(self, quadratic, others):
        """Whether it lets pass what others would pay for, so that these are zero."""
        moved = quadratic.apply(np.ones((self.shape[0], 1)))
        passes = all(part.one_vector for part in others) and np.abs(moved).max() <= 1e-12 * quadratic.norm
        return passes or not others

    def penalty_value(self, parts):
        """Omega of the parts, ridge included."""
        value = sum(part.value(V) for part, V in zip(self.parts, parts, strict=True))
        return value + (0.5 * self.ridge * float((sum(parts) ** 2).sum()) if self.ridge else 0.0)

    def smooth_penalty_value(self, parts, total):
        """The quadratic terms alone."""
        pairs = zip(self.parts, parts, strict=True)
        value = sum(part.quadratic.value(V) for part, V in pairs if part.quadratic)
        return value + 0.5 * self.ridge * float(np.vdot(total, total)) if self.ridge else value

    def smooth_gradients(self, parts, total, G):
        """Gradient of the smooth part of the objective in every part, from the data term's G."""
        G = G + self.ridge * total if self.ridge else G
        pairs = zip(self.parts, parts, strict=True)
        return [part.quadratic.beside(G, V) for part, V in pairs]

    def evaluate(self, parts, start=None):
        """W, its image, optimal intercepts and objective."""
        W = self.total(parts)
        image, b, value = self.term.evaluate(W, start)
        return W, image, b, value + self.penalty_value(parts)

    def null_objective(self):
        """Objective at W = 0 with the best intercepts: the scale of the stopping rule."""
        return self.term.null[2] + self.null_penalty()

    def null_penalty(self):
        """Omega there."""
        return sum(part.rough.null_value(self.shape) for part in self.parts if part.rough is not None)

    def gap(self, parts, start=None):
        """Objective, intercepts and duality gap at `parts`; NaN where there is no certificate."""
        return self.certify(parts, start)[:3]

    @np.errstate(over="ignore", divide="ignore", invalid="ignore")  # such bounds are infinite
    def certify(self, parts, start=None):
        """The same, and the gradient of the data term that it comes from.

        Quadratic terms next to a non-smooth one count as data with their own dual variable, so that
        one scaling theta makes (u, Q V) feasible for the dual norm:
        D(theta) = -F*(theta u) - theta^2 (q(V) + conjugates).
        """
        W, image, b, primal = self.evaluate(parts, start)
        if not self.certified:
            return primal, b, np.nan, None
        gap, gradient = self._least_gap(primal, W, image, b, parts)
        return primal, b, gap, gradient

    def bound(self, parts, image, b, primal, found):
        """A lower bound of the optimum: slopes at parts with this image, moved by a step to those found."""
        moved = self.total(found)
        return primal - self._least_gap(primal, moved, image, b, found, moved - self.total(parts))[0]

    def _least_gap(self, primal, W, image, b, parts, ahead=None):
        """The least gap from dual points whose gradients along steep directions are corrected.

        As long as the gap falls or what is beyond, as steps in free directions move it again. Also the
        gradient without corrections. See `DataTerm.dual_point`.
        """
        term, least, gradient, before, step = self.term, np.inf, None, np.inf, None
        multipliers = self._multipliers(W, image, b, parts)
        for _ in range(CORRECTIONS):
            dual = self._dual_point(W, image, b, multipliers, ahead)
            gap, size = self._gap_of(dual, primal, W, b, parts)
            gradient, pays = dual.gradient if gradient is None else gradient, gap < PAYS * least
            least, beyond = min(least, gap), 1.0 < size < np.inf or (size == 0 and term.far)
            if not (beyond and self.corrects and term.steep):
                break
            excess = self._steep_excess(dual.unanswered, W + dual.shift, parts)
            left = np.linalg.norm(excess)
            if not (pays or left < FALLS * before):
                break
            step = step or term.steep_inverse(image, b)
            ahead, before = step(excess) + (0.0 if ahead is None else ahead), left
        at_best = primal - dual.negative_conjugate(0.0)  # no loss is below its least value
        return at_best if 0.0 <= at_best < least else least, gradient

    def _multipliers(self, W, image, b, parts):
        """Multipliers of the constraint on the signs of the part `signed`, if there is one, else None.

        Of classes as well: what they have in common no loss sees, and it leads inside.
        """
        if self.signed is None or (self.term.n_alike > 1 and not self.ridge):
            return None
        G = self.term.gradient(W, image, b)
        G = G + self.ridge * W if self.ridge else G
        curvatures = np.tile(self.term.curvatures(), self.term.n_outputs) / self.term.n_tasks
        return self.parts[self.signed].multipliers(parts[self.signed], G, curvatures)

    def _dual_point(self, W, image, b, multipliers, ahead=None):
        """That of the data term beside multipliers, whose gradient they answer in part."""
        pull = self.pull if multipliers is None else self.pull.against(multipliers)
        dual = self.term.dual_point(W, image, b, self.free, pull, ahead)
        dual.unanswered = dual.gradient
        if multipliers is not None:
            dual.unanswered, answered = self._beside(multipliers, pull.plus(dual.gradient, W + dual.shift))
            dual.unanswered += dual.gradient
            dual.limit = dual.limit if answered else TINY  # nothing is known to be feasible
        return dual

    def _beside(self, multipliers, left):
        """Minus the multipliers, changed to answer what is left along free directions; and if they do."""
        free, M = self.free, multipliers
        if (free >= 0).all():  # means of tasks, no task in two of them
            total, held = free.T @ left, free.T @ M
            share = np.where(total < 0, np.maximum(1.0 + total / np.where(held > 0, held, TINY), 0.0), 1.0)
            M = M * (1.0 + (free > 0) @ (share - 1.0)) + free @ np.maximum(total, 0.0)
        left = free.T @ (left + multipliers - M)
        sizes = np.sqrt(np.tile(self.term.curvatures(), self.term.n_outputs) * self.term.null[2])
        return -M, bool((np.abs(left) <= ANSWERED * sizes + TINY).all())

    def _gap_of(self, dual, primal, W, b, parts):
        """The gap from a dual point, and by how much it is beyond the dual norm of the penalties."""
        moved = by_rows(np.add, W, dual.shift)
        size, cost = self.dual_cost(dual, moved, parts)
        left = self._infeasibility(moved, b, dual)
        doubtful = (
            left > DOUBTFUL**2 * primal and not self.term.loss.quadratic
        )  # whose step ends at its optimum
        if doubtful and dual.negative_conjugate(1.0) < min(left / DOUBTFUL, 0.5 * primal):
            left = np.inf  # the optimum is far from here, and variables may be far larger there
        gap = self.scaled_gap(
            primal, lambda theta: dual.negative_conjugate(theta) - cost(theta), max(size, 1.0 / dual.limit),
            left, dual.left,
        )  # fmt: skip
        return gap + dual.rounding, size

    def _steep_excess(self, gradient, W, parts):
        """What of a gradient along steep directions is beyond what the penalties can answer, about.

        Beside a common offset, which joins the features, by projections in turn on both.
        """
        excess = self._excess(W, parts)
        found = self.term.along_steep(excess(gradient))
        if not self.term.far:
            return found
        total, first = RELAXED * found, np.linalg.norm(found)
        for _ in range(PROJECTIONS):
            found = self.term.along_steep(excess(gradient - total))
            total += RELAXED * found
            if not np.linalg.norm(found) > SETTLED * first:
                break
        return total

    def _excess(self, W, parts):
        """A function of a gradient: what it has beyond what the penalties can answer."""
        known = []
        for part, V in zip(self.unsigned, parts, strict=True):
            own = self.ridge * W if self.ridge else 0.0
            known.append((part, V, own + part.quadratic.apply(W if self.pulls_part else V)))

        def beyond(gradient):
            left = gradient
            for part, V, own in known:
                left = left - part.excess(V, left + own)
            return gradient - left

        return beyond

    def model_dual(self, parts):
        """A dual point of any objective with this penalty and a data term of which this one is a model.

        It is theta times the slopes of the model at coefficients and intercepts: these, theta, and by how
        much the dual objective is below minus the conjugate of the data term there.
        """
        W, image, b, _ = self.evaluate(parts)
        dual, term = self._dual_point(W, image, b, self._multipliers(W, image, b, parts)), self.term
        moved, gb = W + dual.shift, dual.intercept_gradient
        size, cost = self.dual_cost(dual, moved, parts)
        theta = 1.0 / max(size, 1.0)
        rest = cost(theta) + theta * self._infeasibility(moved, b, dual) + dual.left + dual.rounding
        if term.tied_intercepts:
            rest += theta**2 * float(np.vdot(gb, gb)) / (2 * term.intercept_alpha)
        b = term.restored(moved, term.intercept(moved, term.image(moved), b))
        return moved, b, theta, rest

    def dual_cost(self, dual, W, parts):
        """Dual norm of the penalties at the dual point, and what they cost, a function of its scale."""
        cost, size = 0.5 * self.ridge * float(np.vdot(W, W)) if self.ridge else 0.0, 0.0
        for k, (part, V) in enumerate(zip(self.unsigned, parts, strict=True)):
            G = dual.unanswered if k == self.signed else dual.gradient
            G = G + self.ridge * W if self.ridge else G
            part_size, part_cost = part.dual_cost(W if self.pulls_part else V, G)
            size, cost = max(size, part_size), cost + part_cost
        return size, lambda theta: theta**2 * cost

    def scaled_gap(self, primal, bound, size, slack, left):
        """The gap at the best scale of the dual point, a parabola with a quadratic loss."""
        return duality_gap(primal, bound, size, self.term.loss.quadratic, slack, left)

    def _infeasibility(self, W, b, dual):
        """What rounding leaves of gradients that must vanish, times the variables they belong to."""
        found, gb = 0.0, dual.intercept_gradient
        if self.term.fit_intercept:
            found = float(np.vdot(np.abs(gb.sum(axis=0)), np.abs(b.mean(axis=0))))
            if not self.term.intercept_alpha:
                found = float(np.vdot(np.abs(gb), np.abs(b)))
        if self.free is not None:
            found += slack(self.pull.plus(dual.unanswered, W), W, self.free)
        return found

    def scale(self, start=(), objective=None):
        """What the stopping measure is compared with, at W = 0: the objective or the size of the gradient.

        The objective at a start may be known.
        """
        if self.certified:
            known = objective is not None and not any(V.any() for V in start)
            return objective if known else self.null_objective()
        return float(np.linalg.norm(self.term.gradient_at(self.total(self.zeros()))))

    def stationarity(self, parts, start=None):
        """Size of the prox-gradient mapping: the measure without a certificate.

        Its step is below that of any solver: where the penalty is not convex, what is stationary at
        one step is so at all shorter ones, but not at longer ones.
        """
        W, image, b, _ = self.evaluate(parts, start)
        step = 0.5 / (len(self.parts) * self._curvature(image, b))
        gradients = self.smooth_gradients(parts, W, self.term.gradient(W, image, b))
        each = [(part.rough, V, g) for part, V, g in zip(self.parts, parts, gradients, strict=True)]
        moves = (g if p is None else (V - p.prox(V - step * g, step)) / step for p, V, g in each)
        size = float(np.sqrt(sum(sum_by_rows(square, m) for m in moves)))
        lost = EPS / step * float(np.sqrt(sum(sum_by_rows(square, V) for V in parts)))  # in rounding
        return max(size, lost) if np.isfinite(size) else np.inf  # exp overflows: far from anywhere

    def _curvature(self, image, b):
        """About the largest curvature of the smooth part; with a quadratic loss it is everywhere the same."""
        known = self.term.largest_curvature
        if known is None:
            known = self._data_curvature(image, b)
            self.term.largest_curvature = known if self.term.loss.quadratic else None
        level = max(part.quadratic.norm for part in self.parts) + self.ridge
        return max(known + level, np.finfo(float).tiny)

    def _data_curvature(self, image, b):
        """That of the data term, by power iterations."""
        term = by_products(self.term)
        times = term.curvature_at(None if term.loss.quadratic else term.predictor(image, b))
        V, size = np.ones(self.shape) + 0.1 * np.random.default_rng(0).standard_normal(self.shape), 1.0
        for _ in range(10):
            HV = times(V / np.linalg.norm(V))
            largest = np.abs(HV).max()
            if largest == 0:
                return 0.0
            V = HV / largest  # its squares are numbers
            size = largest * np.linalg.norm(V)
        return size
