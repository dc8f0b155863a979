"""Sparse systems of one block per task on a graph: factors, determinants and blocks of the inverse.

Tasks that are no neighbours are eliminated at once, those with few neighbours first: a chain takes about
log2(n_tasks) rounds. Blocks of the inverse follow in the other direction, where the factor has blocks
(Takahashi).

The diagonal blocks of the system are not stored: in their place stands the sum of the row of blocks, the
information that has reached a task, to which positive terms are added. So no digits are lost at any strength
of the graph (Grassmann, Taksar & Heyman, for Markov chains).
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

MOST_PRODUCTS = 2e10  # multiplications in a factor
FULL = 0.4  # of the tasks left of a component: with as many neighbours each, they are eliminated as one
FEW = 2  # neighbours up to which tasks are eliminated in the same round


class Group(NamedTuple):
    """Tasks (m,) with as many neighbours (m, d) left, and the places of their blocks.

    `to` and `back` (m, d) are those between a task and its neighbours, `among` (m, d, d) those between the
    neighbours; `joined` says how products add up at the places `into`.
    """

    tasks: np.ndarray
    near: np.ndarray
    to: np.ndarray
    back: np.ndarray
    among: np.ndarray
    into: np.ndarray
    joined: sparse.csr_array | None
    into_near: np.ndarray
    joined_near: sparse.csr_array | None


class Clique(NamedTuple):
    """Tasks (m,) and a root, all that is left of a component, about all neighbours of each other.

    `to` (m, m + 1) are the places of the blocks of each with the root, which is the first, and with all of
    them, `back` (m,) of those of the root with each.
    """

    tasks: np.ndarray
    root: int
    to: np.ndarray
    back: np.ndarray


class Elimination:
    """An order of the tasks of a graph, a Laplacian without explicit zeros, and the blocks of the factor."""

    def __init__(self, laplacian, n_features):
        self.n_tasks, self.n_features = laplacian.shape[0], n_features
        self.laplacian, self.component = laplacian, connected_components(laplacian, directed=False)[1]
        rounds, cliques = self._rounds()
        pairs = [(tasks[:, None], near) for tasks, near in rounds]
        pairs += [(clique[:, None], clique) for clique in cliques]
        keys = [np.union1d(self._keys(a, b), self._keys(b, a)) for a, b in pairs]
        self.keys = np.unique(np.concatenate(keys)) if keys else np.zeros(0, np.int64)
        self.groups = [self._group(tasks, near) for tasks, near in rounds]
        self.cliques = [
            Clique(own[1:], own[0], self._place(own[1:, None], own), self._place(own[:1], own[1:]))
            for own in cliques
        ]
        own = laplacian.tocoo()
        apart = own.row != own.col
        self.weights = np.zeros(self.n_tasks + len(self.keys))
        self.weights[self._place(own.row[apart], own.col[apart])] = -own.data[apart]

    def _keys(self, a, b):
        return np.asarray(a, np.int64) * self.n_tasks + b

    def _place(self, a, b):
        """Places of the blocks between tasks; those of a task itself come first."""
        return np.where(a == b, a, self.n_tasks + np.searchsorted(self.keys, self._keys(a, b)))

    def _rounds(self):
        """(tasks, neighbours) that are eliminated at once, in turn, and cliques, which are left in the end.

        Sets `roots`, one of each component.
        """
        M, left, self.products = self.laplacian.tocsr(), set(range(self.n_tasks)), 0.0
        near = [{*row} - {t} for t, row in enumerate(np.split(M.indices, M.indptr[1:-1]))]
        rounds, cliques, roots = [], [], []
        while left:
            chosen, found = self._independent(near, left)
            for own in found:
                left -= {*own}
                self._count((len(own) * self.n_features) ** 3 / 4)
            cliques += [np.array(own, np.intp) for own in found if len(own) > 1]
            roots += [own[0] for own in found]
            for d, tasks in chosen.items():
                left -= {*tasks}
                self._count(len(tasks) * (d + 1.0) ** 2 * self.n_features**3)
                around = np.array([sorted(near[t]) for t in tasks], np.intp).reshape(-1, d)
                rounds.append((np.array(tasks, np.intp), around))
                for t in tasks:
                    for a in near[t]:
                        near[a] |= near[t]
                        near[a] -= {t, a}
        self.roots = np.array(sorted(roots, key=lambda t: self.component[t]), np.intp)
        return rounds, cliques

    def _independent(self, near, left):
        """Tasks to be eliminated next by the number of their neighbours, and dense rests of components."""
        order = sorted(left, key=lambda t: (len(near[t]), t))
        most, counts = max(len(near[order[0]]), FEW), np.bincount(self.component[order])
        chosen, cliques, held, met = {}, [], set(), set()
        for t in order:
            d, c = len(near[t]), self.component[t]
            if d > most:
                break
            if t in held:
                continue
            if d == 0 or (d > FEW and c not in met and d >= FULL * counts[c]):  # no task has fewer
                cliques.append([a for a in order if self.component[a] == c] if d else [t])
                held.update(cliques[-1])
                continue
            met.add(c)
            chosen.setdefault(d, []).append(t)
            held |= near[t]
        return chosen, cliques

    def _count(self, products):
        self.products += products
        if self.products > MOST_PRODUCTS:
            edges = (self.laplacian.nnz - self.n_tasks) // 2
            raise ValueError(
                "alpha='auto', and standard errors, need a factor of the joint system of all tasks: that of "
                f"{self.n_tasks} tasks of {self.n_features} features on a graph of {edges} edges takes more "
                f"than {MOST_PRODUCTS:.0e} multiplications. Give a number as alpha, fewer edges or fewer "
                "features."
            )

    def _group(self, tasks, near):
        among = self._place(near[:, :, None], near[:, None, :])
        to, back = self._place(tasks[:, None], near), self._place(near, tasks[:, None])
        return Group(tasks, near, to, back, among, *_sums(among.ravel()), *_sums(near.ravel()))


def _sums(places):
    """Distinct places, and a matrix that adds up what belongs to each, None where all are distinct."""
    into, at = np.unique(places, return_inverse=True)
    n = len(places)
    if len(into) == n:
        return places, None
    return into, sparse.csr_array((np.ones(n), (at.ravel(), np.arange(n))), shape=(len(into), n))


def _add(out, into, joined, values):
    if joined is not None:
        values = joined @ values.reshape(joined.shape[1], -1)
    out[into] += values.reshape(len(into), *out.shape[1:])


class Sweep:
    """The system S + M (x) I on an `Elimination` of M, factorised; `log_determinant` is of all but the roots.

    `common` (n_roots, n_features, n_features) is left at these: the information on what the tasks of each
    component have in common.
    """

    def __init__(self, order, information):
        self.order, p = order, information.shape[1]
        B = order.weights[:, None, None] * np.eye(p)
        B[: order.n_tasks] = information
        self.steps, self.log_determinant = [], 0.0
        for group in order.groups:
            m, d = group.near.shape
            W = B[group.to]  # (m, d, p, p)
            D = W.sum(axis=1) + B[group.tasks]
            D = 0.5 * (D + D.swapaxes(1, 2))
            inverse = np.linalg.inv(D)
            self.log_determinant += 2 * np.log(np.einsum("tjj->tj", np.linalg.cholesky(D))).sum()
            W = W.transpose(0, 2, 1, 3).reshape(m, p, d * p)
            C = inverse @ W
            self.steps.append((inverse, C))
            found = (W.swapaxes(1, 2) @ C).reshape(m, d, p, d, p).transpose(0, 1, 3, 2, 4)
            reached = (C.swapaxes(1, 2) @ B[group.tasks]).reshape(m, d, p, p)
            found[:, np.arange(d), np.arange(d)] = reached
            _add(B, group.into, group.joined, np.ascontiguousarray(found))
        self.dense = [self._joined(B, clique) for clique in order.cliques]
        self.common = B[order.roots]
        self.common = 0.5 * (self.common + self.common.swapaxes(1, 2))

    def _joined(self, B, clique):
        """Inverse of the blocks of a clique, and what its tasks have of the root (m p, m p) and (m p, p)."""
        m, p = len(clique.tasks), B.shape[1]
        each, W = np.arange(m), B[clique.to]  # (m, m + 1, p, p)
        W[each, each + 1] = 0.0
        D = np.concatenate([-W[:, 1:]]).transpose(0, 2, 1, 3)
        D[each, :, each] += W.sum(axis=1) + B[clique.tasks]
        D = D.reshape(m * p, m * p)
        D = 0.5 * (D + D.T)
        self.log_determinant += 2 * np.log(np.linalg.cholesky(D).diagonal()).sum()
        inverse, W = np.linalg.inv(D), W[:, 0].reshape(m * p, p)
        C = inverse @ W
        B[clique.root] += C.T @ B[clique.tasks].reshape(m * p, p)
        return inverse, C

    def close(self, inverse):
        """Take the covariances of the common parts (n_roots, n_features, n_features)."""
        self.closed = inverse

    def solve(self, R):
        """G R for R (n_tasks, n_features, k)."""
        V = R.copy()
        for group, (_, C) in zip(self.order.groups, self.steps, strict=True):
            _add(V, group.into_near, group.joined_near, C.swapaxes(1, 2) @ V[group.tasks])
        (_, p, k), cliques = R.shape, list(zip(self.order.cliques, self.dense, strict=True))
        for clique, (_, C) in cliques:
            V[clique.root] += C.T @ V[clique.tasks].reshape(-1, k)
        V[self.order.roots] = self.closed @ V[self.order.roots]
        for clique, (inverse, C) in cliques:
            own = inverse @ V[clique.tasks].reshape(-1, k) + C @ V[clique.root]
            V[clique.tasks] = own.reshape(-1, p, k)
        for group, (inverse, C) in zip(self.order.groups[::-1], self.steps[::-1], strict=True):
            around = V[group.near].reshape(len(C), -1, R.shape[2])
            V[group.tasks] = inverse @ V[group.tasks] + C @ around
        return V

    def blocks(self, tasks):
        """Diagonal blocks of G of some tasks (n, n_features, n_features)."""
        return self._blocks[tasks]

    @cached_property
    def _blocks(self):
        order, p = self.order, self.closed.shape[1]
        G = np.zeros((len(order.weights), p, p))
        G[order.roots] = self.closed
        for clique, (inverse, C) in zip(order.cliques, self.dense, strict=True):
            m, along = len(clique.tasks), C @ G[clique.root]
            own = np.hstack([along, inverse + along @ C.T]).reshape(m, p, m + 1, p).transpose(0, 2, 1, 3)
            G[clique.to] = own
            G[clique.back] = own[:, 0].swapaxes(1, 2)
        for group, (inverse, C) in zip(order.groups[::-1], self.steps[::-1], strict=True):
            m, d = group.near.shape
            around = G[group.among].transpose(0, 1, 3, 2, 4).reshape(m, d * p, d * p)
            along = C @ around
            G[group.tasks] = inverse + along @ C.swapaxes(1, 2)
            along = along.reshape(m, p, d, p).swapaxes(1, 2)
            G[group.to] = along
            G[group.back] = along.swapaxes(2, 3)
        return G[: order.n_tasks].copy()
