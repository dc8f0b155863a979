"""Vector functions for which the position of an entry matters: neighbours and groups of positions."""

from typing import Any

import numpy as np

from .._threads import even_blocks, in_blocks
from ._base import public
from ._vector import Multiple, _inverse, _over, _shrunk, _soft, least_strength


@public
class Fused(Multiple):
    """Total variation, L1 and L2 norm: few changes between neighbours, few entries, few vectors.

    ``f(v) = alpha [(1 - l1_ratio - group_ratio) sum_i |v_{i+1} - v_i| + l1_ratio ||v||_1
    + group_ratio ||v||_2]``

    With both ratios zero constant vectors cost nothing.

    Parameters
    ----------
    l1_ratio, group_ratio : float, default=0.0
        Shares of the L1 and of the L2 norm, together at most 1.
    order : array-like of int of shape (length,), optional
        Positions in the order in which they are neighbours; by default as they stand.

    Raises
    ------
    ValueError
        When used, if the ratios are out of range or `order` is not a permutation.

    References
    ----------
    Zhou, Liu, Narayan & Ye (2012), Modeling disease progression via fused sparse group Lasso, KDD,
    https://doi.org/10.1145/2339530.2339702 (prox as a composition);
    Davies & Kovac (2001), Local extremes, runs, strings and multiresolution, Annals of Statistics 29,
    https://doi.org/10.1214/aos/996986501 (taut string).

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Fused
    >>> Fused().value(np.array([[1.0, 1.0, 4.0, 4.0]]))  # one change
    array([3.])
    """

    l1_ratio: float = 0.0
    group_ratio: float = 0.0
    order: Any = None

    norm = True
    ordered = True

    def _ratios(self):
        """Shares of total variation, L1 and L2."""
        rho, group = float(self.l1_ratio), float(self.group_ratio)
        if not (rho >= 0 and group >= 0 and rho + group <= 1 + 1e-12):
            raise ValueError(
                "l1_ratio and group_ratio must be >= 0 and together at most 1; "
                f"got {self.l1_ratio!r} and {self.group_ratio!r}."
            )
        return max(1 - rho - group, 0.0), rho, group

    @property
    def zeros(self):
        """What its three terms make zero."""
        shares = zip(("changes", "entries", "vectors"), self._ratios(), strict=True)
        return tuple(what for what, share in shares if share > 0)[::-1]

    def _positions(self, length):
        """The order of the positions as an index of columns."""
        if self.order is None:
            return slice(None)
        order = np.asarray(self.order)
        if order.shape != (length,) or not np.array_equal(np.sort(order), np.arange(length)):
            raise ValueError(f"order must hold each of 0, ..., {length - 1} once; got {self.order!r}.")
        return order

    @property
    def free_constants(self):
        """Whether constant vectors cost nothing."""
        return self._ratios()[1:] == (0, 0)

    def changed(self, V):
        """Each row less its neighbour before in every place; the first has none, NaN."""
        order, out = self._positions(V.shape[1]), np.full(V.shape, np.nan)
        out[:, np.arange(V.shape[1])[order][1:]] = np.diff(V[:, order], axis=1)
        return out

    def _height(self, V):
        variation, rho, group = self._ratios()
        changes = np.abs(np.diff(V[:, self._positions(V.shape[1])], axis=1)).sum(axis=1)
        lengths = np.linalg.norm(V, axis=1)
        return variation * changes + rho * np.abs(V).sum(axis=1) + group * lengths

    def _prox(self, V, c):
        # taut string, then soft-thresholding, then shrinkage of the length
        _, rho, group = self._ratios()
        return _shrunk(_soft(self._taut(V, c), c * rho), c * group)

    def _positive_prox(self, V, step):
        # an increasing map of the entries keeps the prox of total variation optimal; max(V, 0) first not
        _, rho, group = self._ratios()
        c = step * self.alpha
        return _shrunk(_lowered(self._taut(V, c), c * rho), c * group)

    def _taut(self, V, c):
        """Prox of the total variation; neighbours that it joins are exactly equal."""
        strength = float(c * self._ratios()[0])
        if strength == 0 or V.shape[1] < 2:
            return np.array(V, dtype=np.float64, order="C")
        from .._kernels import taut_string

        order = self._positions(V.shape[1])
        Y = np.array(V[:, order], dtype=np.float64, order="C")
        found, out = np.empty_like(Y), np.empty_like(Y)
        in_blocks(lambda rows: taut_string(Y[rows], strength, found[rows]), even_blocks(*Y.shape))
        out[:, order] = found
        return out

    def _beyond(self, moved, V):
        """The length that the prox shortens, less what it takes of it."""
        _, rho, group = self._ratios()
        return np.linalg.norm(moved(self._taut(V, self.alpha), self.alpha * rho), axis=1) - self.alpha * group

    def dual_norm(self, V):
        """Polar of each row; if constants are free that of the row minus its mean."""
        variation, rho, group = self._ratios()
        if group > 0:
            return least_strength(self.prox, V, excess=lambda V: self._beyond(_soft, V))
        V = V[:, self._positions(V.shape[1])]
        if rho > 0:
            ratios = (_interval_ratio(S, rho, variation) for S in (V, -V))
            return _over(np.maximum(*ratios), self.alpha)
        V = V - V.mean(axis=1, keepdims=True)
        return _over(np.abs(np.cumsum(V, axis=1)[:, :-1]).max(axis=1, initial=0.0), self.alpha)

    def frozen(self, V):
        """An entry after the last one, with a quadratic form for the L2 norm."""
        variation, rho, group = self._ratios()
        h = self.alpha * group * _inverse(np.linalg.norm(V, axis=1), np.inf) if group else 0.0
        last = V[:, self._positions(V.shape[1])][:, -1]
        return h, self.alpha * rho, self.alpha * variation, last

    def _positive_dual_norm(self, V):
        variation, rho, group = self._ratios()
        if group > 0:
            return least_strength(self._positive_prox, V, excess=lambda V: self._beyond(_lowered, V))
        if rho == 0:
            return least_strength(self._positive_prox, V)
        return _over(_interval_ratio(V[:, self._positions(V.shape[1])], rho, variation), self.alpha)


def _lowered(V, level):
    """V with every entry moved down by `level`, to zero at most."""
    return np.maximum(V - level, 0.0)


def _interval_ratio(V, rho, variation):
    """Largest sum of v over an interval of positions relative to what its indicator costs, each row v.

    An interval of length m costs rho m + variation (number of its ends inside the row). Those indicators
    are all that matters for L1 norm and total variation, whose level sets they are. By Dinkelbach's
    iterations from below; zero where all sums are negative.
    """
    n_rows, n = V.shape
    row, place = np.arange(n_rows), np.arange(n + 1)
    total = np.zeros((n_rows, n + 1))
    np.cumsum(V, axis=1, out=total[:, 1:])
    best = np.maximum(V.max(axis=1, initial=0.0), 0.0) / (rho + 2 * variation)
    while n:
        level = total - best[:, None] * rho * place
        first = level[:, :-1] + best[:, None] * variation * (place[:-1] > 0)
        lowest = np.minimum.accumulate(first, axis=1)
        end = (level[:, 1:] - best[:, None] * variation * (place[1:] < n) - lowest).argmax(axis=1) + 1
        start = (first == lowest[row, end - 1][:, None]).argmax(axis=1)
        cost = rho * (end - start) + variation * ((start > 0).astype(float) + (end < n))
        found = (total[row, end] - total[row, start]) / cost
        if not (found > best).any():
            break
        best = np.maximum(best, found)
    return best


@public
class Tree(Multiple):
    """L2 norms of nested groups of positions, ``f(v) = alpha sum_g weight_g ||v[g]||_2``.

    A group that is zero takes all groups inside it along. A norm if every position is in a group of
    positive weight.

    Parameters
    ----------
    groups : sequence of sequence of int
        Positions of each group; two groups are nested or disjoint.
    weights : array-like of float of shape (n_groups,), optional
        Weights of the groups, by default 1.

    Raises
    ------
    ValueError
        When used, if two groups overlap without one being inside the other, a position does not
        exist, or the weights do not fit.

    References
    ----------
    Kim & Xing (2012), Tree-guided group Lasso for multi-response regression with structured sparsity,
    Annals of Applied Statistics 6, https://doi.org/10.1214/12-AOAS549;
    Jenatton, Mairal, Obozinski & Bach (2011), Proximal methods for hierarchical sparse coding,
    JMLR 12 (prox).

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import Tree
    >>> Tree(groups=[[0, 1], [1]]).value(np.array([[3.0, -4.0]]))
    array([9.])
    """

    groups: Any = ()
    weights: Any = None

    ordered, zeros = True, ("vectors", "entries")

    def _nodes(self, length):
        """Weight of every position on its own, (length,), and the larger groups as `tree_sweep` wants them.

        Read once for the same parameters.
        """
        known = self.__dict__.get("_read")
        if known is None or known[0] is not self.groups or known[1] is not self.weights or known[2] != length:
            self._read = known = (self.groups, self.weights, length, self._checked(length))
        return known[3]

    def _checked(self, length):
        groups = [np.unique(np.asarray(group)) for group in self.groups]
        weights = np.ones(len(groups)) if self.weights is None else np.asarray(self.weights, dtype=float)
        if weights.shape != (len(groups),) or not (weights >= 0).all():
            raise ValueError(
                f"weights must hold one number >= 0 for each of {len(groups)} groups; got {self.weights!r}."
            )
        inside = np.full(length, -1)  # the smallest group so far that holds a position
        holder, parent = inside.copy(), []  # among groups of several positions, numbered as they fall in size
        own, larger = np.zeros(length), {-1: -1}
        for g in sorted(range(len(groups)), key=lambda g: -len(groups[g])):
            group = groups[g]
            if not len(group) or group.dtype.kind not in "iu" or group[0] < 0 or group[-1] >= length:
                raise ValueError(f"a group must hold positions 0, ..., {length - 1}; got {self.groups[g]!r}.")
            around = inside[group]
            if (around != around[0]).any():
                own, other = self.groups[g], self.groups[around.max()]
                raise ValueError(f"groups must be nested or disjoint; {own!r} and {other!r} overlap.")
            inside[group] = g
            if len(group) == 1:
                own[group] += weights[g]
                continue
            holder[group], larger[g] = len(parent), len(parent)
            parent.append(larger[around[0]])
        return own, (holder, np.array(parent, dtype=np.int64), weights[list(larger)[1:]])

    def _height(self, V):
        own, groups = self._nodes(V.shape[1])
        return np.abs(V) @ own + _swept(V, *groups, 0.0)[1]

    def _prox(self, V, c):
        # every group shrunken in turn, from the leaves of the tree to its root
        own, groups = self._nodes(V.shape[1])
        return _swept(_soft(V, c * own), *groups, c)[0]

    def dual_norm(self, V):
        """Least c at which c times the norms leave nothing of each row, over alpha."""
        from .._kernels import tree_polar

        own, groups = self._nodes(V.shape[1])
        out = np.empty(len(V))
        tree_polar(np.array(V, dtype=np.float64, order="C"), own, *groups, out)
        return _over(out, self.alpha)


def _swept(V, holder, parent, weight, strength):
    """Prox of the sum of norms of groups, and that sum at strength 0."""
    if not len(parent):
        return V, np.zeros(len(V))
    from .._kernels import tree_sweep

    V = np.array(V, dtype=np.float64, order="C")
    out, total = np.empty_like(V), np.empty(len(V))
    tree_sweep(V, holder, parent, weight, float(strength), out, total)
    return out, total
