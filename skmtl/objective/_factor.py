"""A data term as a function of one factor of W."""

from copy import copy

import numpy as np

from ._base import DataTerm


class FactorTerm(DataTerm):
    """A data term (and ridge) as a function of one factor of W = left V or V right.

    Intercepts are searched from `b`, those of the last W.
    """

    steep, far = False, False

    def __init__(self, term, ridge, left=None, right=None, b=None):
        super().__init__(term.fit_intercept, term.intercept_alpha)
        self.term, self.b, self.left, self.right = term, b, left, right
        self.ridge = ridge if np.any(ridge) else None
        self.loss, self.y_size, self.totals = term.loss, term.y_size, term.totals
        T, p = term.shape
        self.n_tasks, self.n_features = (T, len(right)) if left is None else (left.shape[1], p)

    def _full(self, V):
        return V @ self.right if self.left is None else self.left @ V

    def _own(self, G):
        return G @ self.right.T if self.left is None else self.left.T @ G

    def _tilted(self, G, W):
        return G if self.ridge is None else G + self.ridge * W

    def _along_ridge(self, W):
        return 0.0 if self.ridge is None else float(np.vdot(W, self.ridge * W))

    def image(self, V):
        return self.term.image(self._full(V))

    def predictor(self, image, b):
        return self.term.predictor(image, b)

    def intercept(self, V, image, start=None):
        return self.term.intercept(None, image, self.b if start is None else start)

    def restored(self, V, b):
        return self.term.restored(self._full(V), b)

    def value(self, V, image, b):
        W = self._full(V)
        return self.term.value(W, image, b) + 0.5 * self._along_ridge(W)

    def gradient(self, V, image, b):
        W = self._full(V)
        return self._own(self._tilted(self.term.gradient(W, image, b), W))

    def curvatures(self):
        """Those along the features of X; latent ones come in units of their own, all alike."""
        return np.ones(self.n_features) if self.left is None else self.term.curvatures()

    def second_order(self, V, image, eta=None):
        W = self._full(V)
        return self.term.second_order(W, image, eta) + self._along_ridge(W)

    def curvature_at(self, eta=None):
        """H V as a function of V, at eta where the loss is not quadratic."""
        inner = self.term.curvature_at(eta)

        def curvature(V):
            W = self._full(V)
            return self._own(self._tilted(inner(W), W))

        return curvature

    def dual_point(self, V, image, b, free, pull, ahead=None):
        """That of the data term, its gradient in the factor; there are no steep directions to go ahead."""
        found = copy(self.term.dual_point(self._full(V), image, b, free, pull))
        found.gradient, found.shift = self._own(found.gradient), np.zeros(self.shape)
        return found
