"""Blocks of features that enter or leave together."""

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._base import public
from ._combine import InUnits
from ._frozen import Scalars
from ._placement import Features
from ._vector import VectorFunction


@public
class Groups(Features):
    """f applied to what all tasks do with a group of features, ``Omega(W) = sum_g w_g f(W[:, g])``.

    The block of a group, all of its columns and all tasks, is one vector: the columns that splines or
    indicators make of one feature of the data enter or leave together.

    Parameters
    ----------
    function : VectorFunction
        One that does not depend on the order of the entries; ``Groups(L2(), groups)`` is the group Lasso.
    groups : array-like of shape (n_features,)
        Label of the group of every feature.
    weights : array-like of shape (n_groups,), optional
        Factors w_g >= 0, in the order of the sorted labels; a group of weight 0 is not penalised.
        Default: the root of the number of features of the group.

    Raises
    ------
    ValueError
        When used, if there are not as many labels as features, or the weights do not fit.

    References
    ----------
    Yuan & Lin (2006), Model selection and estimation in regression with grouped variables, JRSS B 68,
    https://doi.org/10.1111/j.1467-9868.2005.00532.x

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.penalties import L2, Groups
    >>> penalty = Groups(L2(), ["age", "age", "sex"], weights=[1.0, 2.0])
    >>> penalty.value(np.array([[3.0, 0.0, 5.0], [0.0, 4.0, 0.0]]))
    15.0
    """

    groups: Any
    weights: Any = None

    separate = False
    _layout = None, None, None  # of which groups and weights the last one was read

    # --- the groups ---

    @property
    def _read(self):
        """Checked groups; read once for the same parameters."""
        if self._layout[0] is not self.groups or self._layout[1] is not self.weights:
            self._layout = self.groups, self.weights, Layout(self.groups, self.weights)
        if self._inner().ordered:
            raise ValueError(f"Groups: the order of entries has no meaning for {self.function!r}.")
        return self._layout[2]

    def _by_vector(self, W):
        """W with one row per task and class, (n_tasks n_classes, n_features)."""
        V, layout = W.reshape(len(W) * self._n_classes, -1), self._read
        if V.shape[1] != len(layout.codes):
            raise ValueError(
                f"groups must hold a label for each of {V.shape[1]} features; got {len(layout.codes)} labels."
            )
        return V

    def _each(self, W):
        """(batch, blocks as rows) of the groups of one size, and of one weight unless f is a norm."""
        V = self._by_vector(W)
        for batch in self._read.batches(self.function.norm):
            blocks = V[:, batch.columns]  # (n_rows, n_groups, size)
            yield batch, blocks.transpose(1, 0, 2).reshape(len(batch.columns), -1)

    def _of_each(self, W, function):
        """Numbers (n_groups,) that a function makes of the blocks and weights of a batch."""
        out = np.zeros(len(self._read.weights))
        for batch, V in self._each(W):
            out[batch.groups] = function(V, batch.weights)
        return out

    def _prox_of_each(self, W, step, prox):
        """W with the blocks of every group replaced by the prox of f, weighted."""
        out, homogeneous = self._by_vector(W).copy(), self.function.norm
        for batch, V in self._each(W):
            w = batch.weights[:, None]
            if not w.any():
                continue
            # a norm of w v is w times that of v; else the weights of a batch are alike
            new = w * prox(V / w, step) if homogeneous else prox(V, step * w[0, 0])
            shape = len(batch.columns), len(out), -1
            out[:, batch.columns] = new.reshape(shape).transpose(1, 0, 2)
        return out.reshape(W.shape)

    # --- the penalty ---

    def value(self, W):
        return float(self._of_each(W, lambda V, w: w * self.function.value(V)).sum())

    def prox(self, W, step):
        return self._prox_of_each(W, step, self.function.prox)

    def _positive_prox(self, W, step):
        return np.maximum(self._prox_of_each(W, step, self.function._positive_prox), 0.0)

    def _dual_norms(self, W, dual_norm):
        """Those of the blocks, (n_groups,): infinite where a group has weight 0 and W is not zero."""

        def over(V, w):
            size = dual_norm(V)
            free = np.where(size == 0, 0.0, np.inf)
            return np.where(w > 0, size / np.where(w > 0, w, 1.0), free)

        return self._of_each(W, over)

    def dual_norm(self, G):
        """Largest dual norm of a group over its weight."""
        return float(self._dual_norms(G, self.function.dual_norm).max(initial=0.0))

    def _positive_dual_norm(self, W):
        return float(self._dual_norms(W, self.function._positive_dual_norm).max(initial=0.0))

    def is_norm(self, shape):
        """Whether the duality gap follows from the dual norm: not where a group has weight 0."""
        return bool((self._read.weights > 0).all()) and super().is_norm(shape)

    def conjugate(self, G):
        """Sum of those of the groups, of w f at v that of f at v / w times w; None if f has none."""
        function = self.function
        if type(function).conjugate is VectorFunction.conjugate or not (self._read.weights > 0).all():
            return None
        return float(self._of_each(G, lambda V, w: w * function.conjugate(V / w[:, None])).sum())

    def joint_units(self, unit):
        codes, weights = self._read.codes, self._read.weights
        mean = np.bincount(codes, np.log(unit)) / np.bincount(codes)
        return np.where(weights[codes] > 0, np.exp(mean[codes]), unit)

    joint_units.__doc__ = Features.joint_units.__doc__

    def in_units(self, unit):
        """A seminorm of blocks of features of one unit keeps its prox."""
        own = unit[: len(self._read.codes)]
        joint = np.allclose(self.joint_units(own), own, rtol=1e-9, atol=0.0)
        return InUnits(self, unit) if self.function.norm and joint else None

    def frozen(self, V):
        """The function's idea of one more entry of a block, for all features of a group."""
        if self.inert:
            return Features.frozen(self, V)
        out = np.zeros((4, *self._by_vector(V)[:1].shape))
        for batch, blocks in self._each(V):
            # beyond one entry only what a norm or a quadratic form says adds up
            alone = batch.columns.shape[1] == 1 or self.function.norm
            found = self.function.frozen(blocks) if alone else VectorFunction.frozen(self.function, blocks)
            for row, values, w in zip(out, found, (*[batch.weights] * 3, 1.0), strict=True):
                values = np.where(np.equal(w, 0), 0.0, values) * w
                row[0, batch.columns] = np.broadcast_to(values, len(batch.columns))[:, None]
        return [Scalars(*(np.tile(row, self._n_classes) for row in out))]

    # groups of one feature are features

    @property
    def kind(self):
        """What its vectors are, in `pattern`."""
        return "features" if len(self._read.weights) == len(self._read.codes) else "groups"

    def _sizes(self, kind, V):
        layout = self._read
        sizes, labels = super()._sizes("features" if kind == "groups" else kind, V)
        sizes = np.where(layout.weights[layout.codes] > 0, sizes, np.nan)
        if kind != "groups":
            return sizes, labels
        return np.hypot.reduceat(sizes[layout.order], layout.bounds[:-1]), layout.labels

    # --- coordinate descent ---

    @property
    def kernel(self):
        """Strengths of the compiled prox: of groups of several features for the L2 norm alone."""
        strengths, layout = self.function.kernel, self._read
        if strengths is None or not (layout.weights > 0).all():
            return None
        alone = len(layout.weights) == len(layout.codes)
        return strengths if alone or not (strengths[0] or strengths[2]) else None

    def blocks(self, n_features):
        """Bounds of the groups, whose features are neighbours, and their weights."""
        return self._read.bounds, self._read.weights

    def sizes(self, G):
        """Dual norm of the group of every feature, (n_features,)."""
        return self._dual_norms(G, self.function.dual_norm)[self._read.codes]

    def columns(self, some):
        """Positions of the features of groups that hold some of a mask, group after group."""
        layout = self._read
        used = np.zeros(len(layout.weights), dtype=bool)
        used[layout.codes[some]] = True
        return layout.order[used[layout.codes[layout.order]]]

    def restricted(self, columns):
        """The penalty of whole groups alone."""
        other, layout = copy(self), self._read
        other.groups = layout.codes[columns]
        other.weights = layout.weights[np.unique(other.groups)]
        return other


@dataclass
class Batch:
    """Groups of one size: their numbers, weights, and positions of their features (n_groups, size)."""

    groups: np.ndarray
    weights: np.ndarray
    columns: np.ndarray


class Layout:
    """Groups of features by their labels: numbers of the groups, order of the features, bounds in it."""

    def __init__(self, groups, weights):
        labels = np.asarray(groups)
        if labels.ndim != 1:
            raise ValueError(f"groups must hold one label per feature, 1-D; got shape {labels.shape}.")
        self.labels, self.codes = np.unique(labels, return_inverse=True)
        counts = np.bincount(self.codes, minlength=len(self.labels))
        self.order = np.argsort(self.codes, kind="stable")
        self.bounds = np.concatenate([[0], np.cumsum(counts)])
        self.weights = np.sqrt(counts) if weights is None else np.array(weights, dtype=np.float64)
        proper = np.isfinite(self.weights) & (self.weights >= 0)
        if self.weights.shape != counts.shape or not proper.all():
            raise ValueError(
                f"weights must hold one finite number >= 0 for each of {len(counts)} groups; got {weights!r}."
            )
        self._batches = {}

    def batches(self, any_weight):
        """Batches of groups of one size, and one weight unless `any_weight`; those without one apart."""
        if any_weight not in self._batches:
            kinds = np.column_stack([np.diff(self.bounds), self.weights > 0 if any_weight else self.weights])
            _, kind = np.unique(kinds, axis=0, return_inverse=True)
            found = [np.flatnonzero(kind == k) for k in range(kind.max(initial=-1) + 1)]
            self._batches[any_weight] = [self._batch(at) for at in found]
        return self._batches[any_weight]

    def _batch(self, at):
        size = self.bounds[at[0] + 1] - self.bounds[at[0]]
        columns = self.order[self.bounds[at][:, None] + np.arange(size)]
        return Batch(at, self.weights[at], columns)
