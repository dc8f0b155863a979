"""The same of more than two classes, whose predictors are known but for what all have in common.

K predictors of a row count by K - 1 contrasts, orthonormal combinations whose sum is zero. Contrasts of
coefficients vary as the coefficients do, and what these have in common no row tells of: at the mode it is
zero. A task has a block of coefficients for each contrast, at its end that of a column of ones where
intercepts have a variance; free intercepts are eliminated. With two classes the contrast is 1/sqrt(2) of
their difference, so that the model of one predictor has variances twice as large.
"""

from functools import cached_property

import numpy as np
from scipy import linalg, sparse

from ..objective import make_term
from ._laplace import FLAT, POOLED, Likelihood, Mode, Point, WorkingMoments
from ._task_inverses import times
from ._variance_components import matrix

ABSENT = -1e3  # predictor of a class that a task with free intercepts does not have


class ClassMoments(WorkingMoments):
    """`Moments` of the contrasts, and what the free intercepts of tasks are given the slopes.

    At `level` (n_tasks, n_contrasts) less `along` (n_tasks, n_contrasts, n_slopes) times these, for features
    less their `means`, with variances `inverse` (n_tasks, n_contrasts, n_contrasts); infinite ones in tasks
    that are `endless`.
    """

    inverse = along = level = means = endless = None


class ClassLikelihood(Likelihood):
    """Weighted losses of rows with one predictor for each class.

    Parameters
    ----------
    data, loss, precision, fit_intercept, free
        As for `Likelihood`. A class that a task with free intercepts does not have is taken to have no
        probability there.
    """

    unit = 2.0

    def __init__(self, data, loss, precision, fit_intercept, free):
        self.contrasts = linalg.helmert(loss.n_outputs).T  # (n_classes, n_contrasts)
        self._pairs = np.einsum("ka,kb->kab", self.contrasts, self.contrasts)
        super().__init__(data, loss, precision, fit_intercept, free)

    def _read(self):
        data, K = self.given, self.loss.n_outputs
        self.offset, self.silent = None, np.zeros(data.n_tasks, dtype=bool)
        if not self.free:
            return data
        used = np.broadcast_to(data.row_weight > 0, data.y.shape)
        present = np.stack([data.task_sums(used & (data.y == k)) for k in range(K)], axis=-1) > 0
        self._refuse((present.sum(axis=1) == 1).all())
        count = present.sum(axis=1)
        self.held = np.zeros((data.n_tasks, K - 1, K - 1))  # contrasts of the classes that a task has
        self.lost = (np.arange(K - 1) >= count[:, None] - 1)[:, :, None] * np.eye(K - 1)
        for own in np.unique(present, axis=0):
            held = self.contrasts[own].T @ linalg.helmert(own.sum()).T
            self.held[(present == own).all(axis=1), :, : held.shape[1]] = held
        held = data.spread(np.where(present, 0.0, ABSENT)) + np.zeros((*data.y.shape, K))
        self.silent = ~present.all(axis=1)
        return data._with(offset=held if data.offset is None else data.offset + held)

    weight = cached_property(lambda self: np.broadcast_to(self.data.row_weight, self.data.y.shape))

    @cached_property
    def _designs(self):
        """X of all rows, with a column of ones or about its means in every design; these, or None."""
        if self.free:
            return self.about[1].X, self.about[0]
        X = self.data.X.toarray() if sparse.issparse(self.data.X) else self.data.X
        return np.column_stack([X, np.ones((len(X), self.n_own - X.shape[1]))]), None

    def _tasks(self, width):
        """(Some tasks, their design (m, n, n_own), where their rows are on the flat sample side)."""
        for own, rows in self.batches(width):
            yield own, self._of_rows(self._designs[0], rows), rows

    def predictor(self, coef, level):
        """Those of all classes, from coefficients of the contrasts and levels of the designs."""
        V, data = coef.reshape(len(coef), -1, self.n_own), self.data
        eta = np.zeros((data.y.size, self.loss.n_outputs))
        for own, D, rows in self._tasks(eta.shape[1]):
            eta[rows] = (D @ V[own].swapaxes(1, 2) + level[own][:, None]) @ self.contrasts.T
        eta = eta.reshape(*data.y.shape, -1)
        return eta if data.offset is None else eta + data.offset

    def at(self, W, b):
        """Predictors of coefficients (n_tasks, n_classes, n_features) and intercepts of the classes."""
        B = self.contrasts
        if self.free:
            b = b + np.einsum("tkj,tj->tk", W, np.broadcast_to(self._designs[1], (len(W), W.shape[2])))
        return self.predictor(self.blocks(W, b), b @ B * self.free)

    def blocks(self, W, b):
        coef = np.einsum("ka,tkj->taj", self.contrasts, W)
        if self.n_own > W.shape[2]:
            coef = np.concatenate([coef, (b @ self.contrasts)[:, :, None]], axis=2)
        return coef.reshape(len(coef), -1)

    @cached_property
    def start(self):
        data, B = self.data, self.contrasts
        W = np.zeros((data.n_tasks, self.loss.n_outputs * data.n_features))
        term = make_term(data, self.loss, self.fit_intercept, POOLED)
        b = term.intercept(W, term.image(W), None) @ B
        coef = np.zeros((len(b), b.shape[1], self.n_own))
        if self.n_own > data.n_features:
            coef[:, :, -1] = b
        coef, b = coef.reshape(len(b), -1), b * self.free
        return Point(coef, b, self.predictor(coef, b))

    center = cached_property(lambda self: np.zeros(self.given.n_features))  # features are as they are

    def _own_predictor(self, contrasts):
        return np.moveaxis(np.tensordot(self.contrasts, contrasts, 1), 0, -1)  # classes first in memory

    def _curvature(self, eta):
        """Second derivatives of the losses in the contrasts, weighted (..., n_contrasts, n_contrasts)."""
        p = self.loss.hessian(self.data.y, eta)
        along = p @ self.contrasts
        H = np.tensordot(p, self._pairs, 1) - along[..., :, None] * along[..., None, :]
        most = np.einsum("...aa->...", H).max(where=self.weight > 0, initial=0.0)
        return self.weight[..., None, None] * (H + FLAT * most * np.eye(H.shape[-1]))

    def curvature(self, eta):
        """Mean weight of a contrast."""
        H = self._curvature(eta)
        return np.einsum("...aa->...", H) / H.shape[-1]

    def told_of(self, eta, change):
        H, own = self._curvature(eta), change @ self.contrasts
        return np.sqrt(np.einsum("...a,...ab,...b->...", own, H, own).max() / H.max())

    def moments(self, eta):
        data, H, B = self.data, self._curvature(eta), self.contrasts
        linear = eta if data.offset is None else eta - data.offset
        slope = self.weight[..., None] * self.loss.gradient(data.y, eta)
        u = np.einsum("...ab,...b->...a", H, linear @ B) - slope @ B
        T, a, q = data.n_tasks, H.shape[-1], self.n_own
        xx, xy, inverse = np.empty((T, a * q, a * q)), np.empty((T, a * q)), np.empty((T, a, a))
        along, level = np.empty((T, a, a * q)), np.empty((T, a))
        curvature, slope = H.reshape(-1, a, a), u.reshape(-1, a)
        for own, D, rows in self._tasks(a * a * q):
            h, s, m = curvature[rows], slope[rows].swapaxes(1, 2), len(own)
            each = (h[..., None] * D[:, :, None, None, :]).reshape(*rows.shape, -1)
            S = (D.swapaxes(1, 2) @ each).reshape(m, q, a, a, q).swapaxes(1, 2).reshape(m, a * q, a * q)
            c = (s @ D).reshape(m, a * q)
            if self.free:
                Q, A = self.held[own], each.sum(axis=1).reshape(m, a, a * q)
                G = Q.swapaxes(1, 2) @ h.sum(axis=1) @ Q + self.lost[own]
                K = inverse[own] = Q @ np.linalg.inv(G) @ Q.swapaxes(1, 2)
                along[own], level[own] = K @ A, (K @ s.sum(axis=2)[:, :, None])[:, :, 0]
                S = S - A.swapaxes(1, 2) @ along[own]
                c = c - np.einsum("tas,ta->ts", A, level[own])
            xx[own], xy[own] = S, c
        xx = 0.5 * (xx + xx.swapaxes(1, 2))
        count = a * (self.count - self.free)
        told = data.task_sums(np.einsum("...aa->...", H)) / (a * self.unit)  # as of one predictor
        found = ClassMoments(xx, xy, 0 * told, told, None, None, count, self.precision, self.free)
        found.basis = self._basis
        if self.free:
            found.inverse, found.along, found.level = inverse, along, level
            found.means, found.endless = self._designs[1], self.silent
        return found, 0.0

    @cached_property
    def _basis(self):
        own = self.outline(self.start.eta).basis
        own = linalg.block_diag(own, np.eye(self.n_own - len(own)))
        return np.kron(np.eye(self.contrasts.shape[1]), own)

    def outline(self, eta):
        """`Moments` of the features under the mean weight of a contrast."""
        weight = self.curvature(eta)
        stats = self._statistics(weight, np.zeros(weight.shape))
        found = WorkingMoments.of(stats, np.ones(stats.n_tasks), self.fit_intercept, self.free)
        found.weight = np.maximum(found.weight, np.finfo(float).tiny)
        return found

    def expanded(self, root, strength):
        """R of the coefficients of all contrasts."""
        own = np.full(self.n_own - len(root), 0.0 if strength is None else strength) ** -0.5
        if root.ndim == 1:
            return np.tile(np.append(root, own), self.contrasts.shape[1])
        return np.kron(np.eye(self.contrasts.shape[1]), linalg.block_diag(root, np.diag(own)))

    def model(self, eta, root, strength):
        return ClassMode(self, eta, root, strength)

    def objective(self, point, root, strength):
        return super().objective(point, self.expanded(root, strength), None)


class ClassMode(Mode):
    """The model about a predictor; what is asked of it concerns features, or classes and features."""

    def __init__(self, rows, eta, root, strength):
        self._root_of_features = root
        super().__init__(rows, eta, rows.expanded(root, strength), strength)

    slope_root = property(lambda self: self._root_of_features)

    @property
    def point(self):
        C, moments, shape = self.coef, self.moments, (len(self.own), self.rows.contrasts.shape[1])
        b = np.zeros(shape)
        if self.rows.free:
            b = moments.level - np.einsum("tas,ts->ta", moments.along, C)
        return Point(C, b, self.rows.predictor(C, b))

    @property
    def slopes(self):
        """Of the tasks, those of one class after another."""
        C, p = self.found.coef, len(self.slope_root)
        W = np.einsum("ka,taj->tkj", self.rows.contrasts, C.reshape(len(C), -1, self.rows.n_own)[..., :p])
        return W.reshape(len(C), -1)

    def _blocks_of(self, point):
        return point.coef

    root_of_blocks = property(lambda self: matrix(self.root))

    covariances = cached_property(lambda self: self._unrooted(self.inverses.of(slice(None))))

    @cached_property
    def pull(self):
        rows, data, R = self.rows, self.rows.data, self.root
        xy, B = np.empty(self.own.shape), self.rows.contrasts
        inverse = self.inverses.of(slice(None))
        eta, one = self.eta.reshape(-1, len(B)), np.eye(B.shape[1])
        for own, D, at in rows._tasks(B.shape[1] * len(R)):
            F = np.einsum("ab,tij->tiabj", one, D).reshape(*D.shape[:2], len(one), -1)
            if rows.free:
                F = F - self.moments.along[own][:, None]
            V = times(R, F)
            C = B @ (V @ inverse[own][:, None] @ V.swapaxes(2, 3)) @ B.T
            third = rows.loss.third_derivative(data.y.ravel()[at], eta[at], C)
            u = (rows.weight.ravel()[at][:, :, None] * third) @ B
            xy[own] = np.einsum("tia,tias->ts", u, np.broadcast_to(F, (len(own), *F.shape[1:])))
        return self.answering(xy, None)

    # --- by features: one precision for all contrasts ---

    def _folded(self, A):
        """Sums over the contrasts, (n_own,) or (n_own, n_own)."""
        q = self.rows.n_own
        if A.ndim == 1:
            return A.reshape(-1, q).sum(axis=0)
        return np.einsum("aiaj->ij", A.reshape(-1, q, len(A) // q, q))

    def _by_feature(self, A):
        return A.reshape(*A.shape[:-1], -1, self.rows.n_own).sum(axis=-2)

    @cached_property
    def _gradient(self):
        return self._folded(super().slope_gradient())

    def slope_gradient(self):
        at = slice(len(self.slope_root))
        return self._gradient[at] if self._gradient.ndim == 1 else self._gradient[at, at]

    def intercept_gradient(self):
        return float(self._gradient.reshape(-1)[-1])

    def information(self):
        H, q = super().information(), self.rows.n_own
        return H.reshape(-1, q, len(H) // q, q).sum(axis=(0, 2))

    n_contrasts = property(lambda self: self.rows.contrasts.shape[1])

    def pairs_information(self):
        H, p = super().pairs_information(), len(self.slope_root)
        at = [*range(p * (p + 1) // 2), *[len(H) - 1] * (self.rows.n_own > p)]  # intercepts are the last
        return H[np.ix_(at, at)]

    def told(self):
        E, at = super().told()
        return E, at % self.rows.n_own

    # --- variances, by classes ---

    def mean_variance(self):
        """Of the common slopes (n_classes, n_features)."""
        return self._common_variances()[:, : len(self.slope_root)]

    def _common_variances(self):
        V = times(self.root if self.root.ndim == 1 else self.root.T, self.spread.T)
        V = V.reshape(len(V), -1, self.rows.n_own)
        return (np.einsum("ka,raj->rkj", self.rows.contrasts, V) ** 2).sum(axis=0)

    def slope_variances(self):
        """Of the slopes of every task (n_tasks, n_classes, n_features)."""
        B, T, q, p = self.rows.contrasts, len(self.moments.xy), self.rows.n_own, len(self.slope_root)
        out = np.empty((T, len(B), p))
        for k, j in np.ndindex(len(B), p):
            F = np.broadcast_to(np.kron(B[k], np.arange(q) == j), (T, len(self.spread)))
            out[:, k, j] = super().predictor_variances(F, np.arange(T))
        return out

    def _combinations(self, X, codes):
        """For each class, of rows X of the tasks: coefficients in its predictors, variances of the rest."""
        moments, free, p = self.moments, self.rows.free, X.shape[1]
        if free:
            X = X - np.broadcast_to(moments.means, (len(moments.xy), p))[codes]
        X = np.column_stack([X, np.ones((len(X), self.rows.n_own - p))])
        for b in self.rows.contrasts:
            F, own = (b[:, None] * X[:, None, :]).reshape(len(X), -1), np.zeros(len(X))
            if free:
                F = F - np.einsum("a,tas->ts", b, moments.along)[codes]
                own = np.einsum("a,tab,b->t", b, moments.inverse, b)[codes]
                own[moments.endless[codes]] = np.inf
            yield F, own

    def predictor_variances(self, X, codes):
        """Of the predictors of the classes, (n, n_classes), for rows X of the tasks at these positions."""
        of_class = super().predictor_variances
        return np.column_stack([own + of_class(F, codes) for F, own in self._combinations(X, codes)])

    def mean_intercept_variance(self):
        """Of the means of the intercepts of the classes (n_classes,)."""
        if not self.rows.free:
            K = len(self.rows.contrasts)
            return self._common_variances()[:, -1] if self.rows.fit_intercept else np.zeros(K)
        T, found = len(self.moments.xy), []
        for F, own in self._combinations(np.zeros((T, len(self.slope_root))), np.arange(T)):
            v = times(self.root, F)
            along = self.inverses.times(v)
            apart = (own + (v * along).sum(axis=1)).sum() / T**2
            found.append(apart + ((along.mean(axis=0) @ self.spread) ** 2).sum())
        return np.array(found)
