"""Combinations: sums of penalties, and decompositions W = sum of parts."""

from dataclasses import dataclass
from typing import Any

from ._base import Penalty


@dataclass(eq=False, repr=False)
class Sum(Penalty):
    """Sum of penalties, written ``a + b``: quadratic ones and at most one that is not.

    Parameters
    ----------
    terms : sequence of Penalty
        A sum of two non-smooth penalties has no known prox and is refused.

    Raises
    ------
    ValueError
        When used, if more than one term is not smooth, or a term is an `InfConv`.
    """

    terms: Any

    def _flat(self):
        for term in self.terms:
            yield from term._flat() if isinstance(term, Sum) else (term,)

    def split(self):
        """The penalty as (its non-smooth term or None, list of its quadratic terms)."""
        rough = [term for term in self._flat() if not term.smooth]
        if len(rough) > 1:
            names = " + ".join(type(term).__name__ for term in rough)
            raise ValueError(
                f"{names}: a sum may hold only one non-smooth penalty. "
                "To give each its own part of W use InfConv."
            )
        if rough and len(rough[0].parts()) > 1:
            raise ValueError("an InfConv cannot be a term of a sum; put the other terms into its parts.")
        return (rough[0] if rough else None), [term for term in self._flat() if term.smooth]

    @property
    def smooth(self):
        """Whether all terms are quadratic."""
        return all(term.smooth for term in self.terms)

    def value(self, W):
        """Omega(W)."""
        return sum(term.value(W) for term in self.terms)

    def quadratic(self, n_tasks):
        """The sum of the quadratic terms."""
        from ._coupling import TaskQuadratic

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

    def scaled(self, factor):
        """The penalty times a factor, as a new object."""
        return Sum([term.scaled(factor) for term in self.terms])

    def is_norm(self, shape):
        """A sum with a quadratic term is not a norm."""
        return False


@dataclass(eq=False, repr=False)
class InfConv(Penalty):
    """Decomposition, ``Omega(W) = min { sum_k Omega_k(W_k) : sum_k W_k = W }``.

    Parameters
    ----------
    components : sequence of Penalty
        One penalty per part; every part but quadratic terms must have a prox.
    """

    components: Any

    def parts(self):
        """The penalties of the summands of W."""
        return list(self.components)

    def value(self, W):
        """Not available: it is itself the optimum over all decompositions."""
        raise TypeError("InfConv has no value in W alone; the objective is reported by the solver.")

    def scaled(self, factor):
        """The penalty times a factor, as a new object."""
        return InfConv([part.scaled(factor) for part in self.components])

    def prox(self, W, step):
        """Not available: each part has its own; the solvers work on the parts."""
        raise TypeError("InfConv has no prox in W alone; solve a model with it instead.")

    def is_norm(self, shape):
        """Whether every part is a norm."""
        return all(part.is_norm(shape) for part in self.components)

    def dual_norm(self, G):
        """The largest dual norm of the parts."""
        return max(part.dual_norm(G) for part in self.components)
