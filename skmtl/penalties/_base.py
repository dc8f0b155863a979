"""What every penalty can do, and sums of them; all but `value` and `prox` has a default that follows."""

from copy import copy
from dataclasses import dataclass
from itertools import product
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .._parameters import documented
from ._frozen import Metric, Pulled, Scalars
from ._quadratic import TaskQuadratic

FACTOR, FARTHEST = 16.0, 1e150  # steps, and limit, of the search for a dual norm


def public(cls):
    """Class decorator: a dataclass in whose docstring stand the parameters of its bases as well."""
    cls = dataclass(eq=False, repr=False)(cls)
    cls.__doc__ += "" if "\n" in cls.__doc__ else "\n"
    return documented(cls)


class Penalty(BaseEstimator):
    """A penalty Omega on the coefficient matrix W, shape (n_tasks, n_features).

    To write one, define ``value(W)`` and ``prox(W, step)``; a parameter called ``alpha`` should
    multiply the whole penalty. The dual norm, ``alpha_max`` and the duality gap of a norm follow
    from the prox. Penalties add up (``a + b``) and scale (``2 * a``).

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Penalty
    >>> class Squares(Penalty):
    ...     def value(self, W):
    ...         return np.sum(W**2) / 2
    ...
    ...     def prox(self, W, step):
    ...         return W / (1 + step)
    >>> Squares().prox(np.array([[3.0, 0.0]]), 2.0)
    array([[1., 0.]])
    """

    smooth = False  # quadratic, given by `quadratic`, without a prox of its own
    kernel = None  # strengths (l1, l2, linf) of the compiled prox of one feature: coordinate descent
    convex = True
    allows_positive = False  # `Positive` can add W >= 0
    one_vector = False  # finite only where all rows of W are equal
    constrains = False  # not every W is allowed, whatever the strength
    turns = False  # a rotation of the features changes nothing
    is_open = False  # W may move somewhere at no cost that is not told
    learned = None  # "clusters" or "factors" where a structure is found along with W

    def value(self, W):
        """Omega(W), a float."""
        raise TypeError(f"{type(self).__name__} must define value(W).")

    def prox(self, W, step):
        """argmin_V 1/2 ||V - W||_F^2 + step Omega(V), a new array of the shape of W."""
        raise TypeError(f"{type(self).__name__} must define prox(W, step).")

    def dual_norm(self, G):
        """Least c >= 0 with prox(-G, c) = 0, found by bisection; the polar of a norm.

        G is a gradient of the data term: W = 0 is optimal if the dual norm is at most 1. Infinite if
        there is no such c.
        """
        if not G.any():
            return 0.0
        G, upper = -G, 1.0
        while self.prox(G, upper).any():
            upper *= FACTOR
            if upper > FARTHEST:
                return np.inf
        lower = 0.0 if upper == 1.0 else upper / FACTOR
        # the upper end is kept: it never claims a dual point to be feasible that is not
        while upper - lower > 4e-16 * upper and lower < (middle := 0.5 * (lower + upper)) < upper:
            lower, upper = (middle, upper) if self.prox(G, middle).any() else (lower, middle)
        return upper

    def is_norm(self, shape):
        """Whether Omega is positively homogeneous and even with a finite dual norm (tried on random W).

        Only then does the duality gap follow from the prox.
        """
        W = np.random.default_rng(0).standard_normal(shape)
        value, zero = self.value(W), self.value(np.zeros(shape))
        even = all(np.isclose(self.value(c * W), abs(c) * value, rtol=1e-9) for c in (-1.0, 3.7, 1e-3))
        return bool(zero == 0 and even and np.isfinite(self.dual_norm(W)))

    def null_value(self, shape):
        """Omega at W = 0."""
        return self.value(np.zeros(shape))

    def conjugate(self, G):
        """sup_W <-G, W> - Omega(W) where it is finite without a dual-norm constraint, else None."""
        return None

    def certified(self, shape):
        """Whether the duality gap follows from the dual norm or the conjugate."""
        return self.convex and (self.conjugate(np.zeros(shape)) is not None or self.is_norm(shape))

    def start(self, shape):
        """A point with a finite value."""
        return np.zeros(shape)

    def frozen(self, V):
        """Alternative penalties of the row of one more task, what the rows of V share held fixed.

        Usually one; here the penalty itself, for nothing is shared.
        """
        return [Scalars(0.0) if self.inert else Pulled(self)]

    def frozen_parts(self, parts):
        """Alternative lists of penalties of the row, one for each part, and None: their sum is w.

        Parts beyond those of the penalty are shared by all tasks.
        """
        found = [part.frozen(V) for part, V in zip(self.parts(), parts, strict=False)]
        shared = [Metric(V[:1], np.inf) for V in parts[len(found) :]]
        return [[*own, *shared] for own in product(*found)], None

    def free_directions(self, n_tasks):
        """Columns N (n_tasks, k) such that adding N d' to W costs nothing, or None."""
        return None

    def pattern(self, V):
        """What its exact zeros select: {kind: (sizes, labels)}; V is W (n_tasks, n_classes, n_features).

        Kinds are "features" (n_features,), "tasks" (n_tasks,), "coefficients" and "changes" (n_tasks,
        n_features), and "groups" (n_groups,), which alone have labels. A size is zero where W leaves that out
        and NaN of what is not penalised. By default nothing is known.
        """
        return {}

    def split(self):
        """The penalty as (its non-smooth term or None, list of its quadratic terms)."""
        return (None, [self]) if self.smooth else (self, [])

    @property
    def inert(self):
        """Whether its strength is zero, and any W allowed."""
        return getattr(self, "alpha", None) == 0 and not self.constrains

    def each(self, change):
        """The penalty with a change made to its terms that are not smooth, part by part."""
        return change(self)

    def parts(self):
        """The penalties of the summands of W; one unless W is decomposed."""
        return [self]

    def part_shapes(self, shape):
        """Shapes of the parts that a solver returns for W of this shape."""
        return [shape] * len(self.parts())

    def surrogate(self):
        """A convex penalty whose solution is a start for this one if it is not convex, else None."""
        return None

    def for_classes(self, n_classes):
        """The penalty on W whose row t holds the coefficient vectors of all classes of task t in turn."""
        return self

    def joint_units(self, unit):
        """Units near these (n_features,) that features which are penalised together have in common."""
        return unit

    def in_units(self, unit):
        """The penalty on features in other units, those here times `unit` (n_features,).

        None where it is none of these: most penalties compare features, and only constraints do not.
        """
        return None

    def scaled(self, factor):
        """The penalty times a factor, as a new object."""
        if not hasattr(self, "alpha"):
            return _Scaled(self, factor)
        other = copy(self)
        if not isinstance(other.alpha, Real):
            raise TypeError(f"alpha of a penalty must be a number >= 0; got {self!r:.200}.")
        other.alpha *= factor
        return other

    def terms_of_sum(self):
        """The terms of a sum, those of sums in it one by one; by default the penalty itself."""
        yield self

    def __add__(self, other):
        if not isinstance(other, Penalty):
            return NotImplemented
        return Sum([*self.terms_of_sum(), *other.terms_of_sum()])

    def __radd__(self, other):
        return self if isinstance(other, int) and other == 0 else NotImplemented  # the start of sum()

    def __mul__(self, factor):
        return self.scaled(factor)

    __rmul__ = __mul__


class Combination(Penalty):
    """A penalty made of others, its members; most questions are passed on to them."""

    # a subclass has _members(), and _of(members), the same of others

    convex = property(lambda self: all(member.convex for member in self._members()))

    def scaled(self, factor):
        return self._of([member.scaled(factor) for member in self._members()])

    def surrogate(self):
        """The same with convex surrogates of its members, None if one has none."""
        found = [member if member.convex else member.surrogate() for member in self._members()]
        return None if self.convex or None in found else self._of(found)

    def pattern(self, V):
        """What the exact zeros of its members select, see `Penalty.pattern`."""
        return {kind: found for member in self._members() for kind, found in member.pattern(V).items()}

    def for_classes(self, n_classes):
        """The same of its members for several classes."""
        return self._of([member.for_classes(n_classes) for member in self._members()])


class OfParts(Penalty):
    """A penalty of the summands, or factors, of W: of W itself it is the optimum over all of them."""

    def value(self, W):
        """Not available: it is itself an optimum, which the solver reports."""
        name = type(self).__name__
        raise TypeError(f"{name} has no value in W alone; the objective is reported by the solver.")

    def prox(self, W, step):
        """Not available: the solvers work on the parts."""
        raise TypeError(f"{type(self).__name__} has no prox in W alone; solve a model with it instead.")


class Inside(Penalty):
    """A penalty whose strength is that of what it holds, under the name `holds`."""

    # a subclass has _inner(), what it holds, checked

    @property
    def alpha(self):
        """Strength of what it holds."""
        return self._inner().alpha

    @alpha.setter
    def alpha(self, value):
        inner = copy(self._inner())  # the one that is held may belong to other penalties as well
        inner.alpha = value
        setattr(self, self.holds, inner)

    def get_params(self, deep=True):
        """Parameters; with ``deep=True`` also the ``alpha`` of what it holds."""
        params = super().get_params(deep=deep)
        return {**params, "alpha": self.alpha} if deep else params


class _Scaled(Combination):
    """factor * penalty, for a penalty without a parameter `alpha`."""

    def __init__(self, penalty, factor):
        self.penalty, self.factor = penalty, factor

    def _members(self):
        return [self.penalty]

    def _of(self, members):
        return _Scaled(*members, self.factor)

    def scaled(self, factor):
        return _Scaled(self.penalty, factor * self.factor)

    def value(self, W):
        return self.factor * self.penalty.value(W)

    def prox(self, W, step):
        return self.penalty.prox(W, self.factor * step)


@dataclass(eq=False, repr=False)
class Sum(Combination):
    """Sum of penalties, written ``a + b``: quadratic ones and at most one that is not.

    Parameters
    ----------
    terms : sequence of Penalty
        A sum of two non-smooth penalties has no known prox and is refused.

    Raises
    ------
    ValueError
        When used, if more than one term is not smooth, or a term is an `InfConv`.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L2, Features, Ridge, Sum
    >>> both = Features(L2()) + Ridge()
    >>> isinstance(both, Sum), both.value(np.array([[3.0], [4.0]]))
    (True, 17.5)
    """

    terms: Any

    def _members(self):
        return self.terms

    def _of(self, members):
        return Sum(members)

    def terms_of_sum(self):
        """The terms, those of sums in it one by one."""
        for term in self.terms:
            yield from term.terms_of_sum()

    def split(self):
        terms = [*self.terms_of_sum()]
        rough = [term for term in terms if not term.smooth]
        if len(rough) > 1:
            names = " + ".join(type(term).__name__ for term in rough)
            raise ValueError(
                f"{names}: a sum may hold only one non-smooth penalty. "
                "To give each its own part of W use InfConv."
            )
        if rough and len(rough[0].parts()) > 1:
            raise ValueError("an InfConv cannot be a term of a sum; put the other terms into its parts.")
        return (rough[0] if rough else None), [term for term in terms if term.smooth]

    @property
    def smooth(self):
        """Whether all terms are quadratic."""
        return all(term.smooth for term in self.terms)

    def each(self, change):
        """The sum with a change made to its term that is not smooth."""
        rough, smooth = self.split()
        return change(self) if rough is None else Sum([change(rough), *smooth])

    def value(self, W):
        return sum(term.value(W) for term in self.terms)

    def quadratic(self, n_tasks):
        """The sum of the quadratic terms."""
        return TaskQuadratic.of(self.split()[1], n_tasks)

    def prox(self, W, step):
        """The exact prox, where the quadratic terms are ridges: shrink after the prox of the other."""
        rough, _ = self.split()
        quadratic = self.quadratic(len(W))
        if not quadratic.is_ridge:
            if rough is not None:
                raise ValueError("the prox of a non-smooth penalty plus a Coupling is not known.")
            return quadratic.prox(W, step)
        shrink = 1.0 + step * quadratic.mean
        return W / shrink if rough is None else rough.prox(W / shrink, step / shrink)

    def is_norm(self, shape):
        """A sum with a quadratic term is not a norm."""
        return False

    def frozen(self, V):
        """Those of the term that is not smooth, pulled to where the quadratic terms pull."""
        rough, smooth = self.split()
        first = [None] if rough is None or rough.inert else rough.frozen(V)
        found = []
        for own, *pulls in product(first, *(term.pulls(V) for term in smooth)):
            strength = sum(s for s, _ in pulls)
            anchor = sum(s * a for s, a in pulls) / strength if strength else V.mean(axis=0)
            found.append(Metric(anchor, strength) if own is None else own.pulled(strength, anchor))
        return found
