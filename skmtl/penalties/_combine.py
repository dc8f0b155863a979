"""Combinations: decompositions W = sum of parts, and constraints on the sign."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._base import Combination, Inside, OfParts, Penalty
from ._base import Sum as Sum  # where files of version 0.1.0 look for it
from ._frozen import Pulled


@dataclass(eq=False, repr=False)
class InfConv(OfParts, Combination):
    """Decomposition, ``Omega(W) = min { sum_k Omega_k(W_k) : sum_k W_k = W }``.

    Parameters
    ----------
    components : sequence of Penalty
        One penalty per part; every part but quadratic terms must have a prox.

    Examples
    --------
    >>> from skmtl.penalties import L2, Features, InfConv, Tasks
    >>> dirty = InfConv([Features(L2()), Tasks(L2())])  # common features, and tasks on their own
    >>> len(dirty.components)
    2
    """

    components: Any

    def _members(self):
        return self.components

    def _of(self, members):
        return InfConv(members)

    def parts(self):
        """The penalties of the parts, those of decompositions in it one by one."""
        found = [part for component in self.components for part in component.parts()]
        if not found:
            raise ValueError(f"InfConv needs at least one component; got {self.components!r}.")
        return found

    def each(self, change):
        """The decomposition with a change made to every part."""
        return InfConv([part.each(change) for part in self.components])

    def is_norm(self, shape):
        """Whether every part is a norm."""
        return all(part.is_norm(shape) for part in self.components)

    def dual_norm(self, G):
        """The largest dual norm of the parts."""
        return max(part.dual_norm(G) for part in self.components)


class InUnits(Penalty):
    """A penalty on features times `unit` (n_features,) that is a seminorm of each by itself, summed."""

    allows_positive = property(lambda self: self.penalty.allows_positive)
    alpha = property(lambda self: self.penalty.alpha)

    def __init__(self, penalty, unit):
        self.penalty, self.unit = penalty, unit

    def value(self, W):
        return self.penalty.value(W * self.unit)

    def prox(self, W, step):
        return self.unit * self.penalty.prox(W / self.unit, step)

    def _positive_prox(self, W, step):
        return self.unit * self.penalty._positive_prox(W / self.unit, step)

    def dual_norm(self, G):
        return self.penalty.dual_norm(G / self.unit)

    def _positive_dual_norm(self, W):
        return self.penalty._positive_dual_norm(W / self.unit)

    def is_norm(self, shape):
        return self.penalty.is_norm(shape)

    def free_directions(self, n_tasks):
        return self.penalty.free_directions(n_tasks)


@dataclass(eq=False, repr=False)
class Positive(Inside, Combination):
    """A penalty on coefficients without negative signs, ``Omega(W) if W >= 0 else inf``.

    Parameters
    ----------
    penalty : Penalty
        `Features`, `Tasks` or `Entries` of a built-in vector function.

    Raises
    ------
    ValueError
        When used, if the prox with the constraint is not known for this penalty.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L1, Entries, Positive
    >>> Positive(Entries(L1(1.0))).prox(np.array([[3.0, -3.0]]), 1.0)
    array([[2., 0.]])
    """

    penalty: Penalty

    constrains = True
    holds = "penalty"

    @classmethod
    def of(cls, penalty):
        """A penalty with all parts of W nonnegative: decompositions part by part, sums at the rough term."""
        return penalty.each(cls)

    def _members(self):
        return [self._inner()]

    def _of(self, members):
        return Positive(*members)

    def _inner(self):
        if not getattr(self.penalty, "allows_positive", False):
            raise ValueError(
                "Positive, or positive=True, needs Features, Tasks or Entries of a vector function with "
                f"allows_positive, quadratic terms are added to it; got {self.penalty!r}."
            )
        return self.penalty

    @property
    def unsigned(self):
        """The penalty without the constraint."""
        return self._inner()

    def value(self, W):
        """Omega(W), infinite if an entry is negative."""
        return np.inf if (W < 0).any() else self._inner().value(W)

    def prox(self, W, step):
        """argmin_V 1/2 ||V - W||_F^2 + step Omega(V) over V >= 0."""
        return self._inner()._positive_prox(W, step)

    def dual_norm(self, G):
        """Least c >= 0 with prox(-G, c) = 0; only negative gradients count."""
        return self._inner()._positive_dual_norm(-G)

    def is_norm(self, shape):
        """Whether the penalty is a norm (not only a seminorm)."""
        inner = self._inner()
        return inner.is_norm(shape) and inner.free_directions(shape[0]) is None

    def joint_units(self, unit):
        """Those of the penalty without the constraint."""
        return self._inner().joint_units(unit)

    def in_units(self, unit):
        """The constraint is the same in all units."""
        inner = self if self.alpha == 0 else self._inner().in_units(unit)
        return inner if inner is None or inner is self else Positive(inner)

    def allowed(self, G):
        """The part of a gradient that W >= 0 may follow."""
        return np.minimum(G, 0.0)

    def conjugate(self, G):
        """The conjugate of the penalty at the negative gradients."""
        return self._inner().conjugate(self.allowed(G))

    def frozen(self, V):
        """That of the penalty, over w >= 0."""
        (own,) = self._inner().frozen(V)
        if own.positive is None:
            return [Pulled(self)]
        own.positive = True
        return [own]
