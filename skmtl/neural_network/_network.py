"""The network: parameters in one flat vector, its forward pass and its gradient by hand.

Every trunk is a stack of layers with a leading axis of *groups*: one group for hard sharing, one per expert
for attention, one per task for soft sharing. Sample-side arrays are (n_samples, n_tasks, n_outputs) when all
rows belong to all tasks, (n_rows, n_outputs) when row i belongs to the task `codes[i]`, sorted by task.
"""

from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from operator import iadd, imul

import numpy as np
from scipy import sparse
from scipy.linalg import get_blas_funcs
from scipy.special import expit, softmax

from .._data import expanded
from ..losses import Huber, tasks_by_loss

MOST_POOLING = 1.0  # learned from the variances: a task of mean size is pulled at most half way to the mean
PREDICT_CELLS = 200_000  # rows times groups (or tasks) handled at a time when predicting

# in place: values of a layer from what comes in and the bias, and its gradient from that of the values
ACTIVATIONS = {
    "identity": (iadd, lambda D, A: D),
    "relu": (lambda Z, b: np.maximum(iadd(Z, b), 0.0, out=Z), lambda D, A: imul(D, A > 0)),
    "tanh": (lambda Z, b: np.tanh(iadd(Z, b), out=Z), lambda D, A: imul(D, 1.0 - A * A)),
    "logistic": (lambda Z, b: expit(iadd(Z, b), out=Z), lambda D, A: imul(D, A * (1.0 - A))),
}

PRECISIONS = {np.dtype(np.float32): "single", np.dtype(np.float64): "double"}  # as kernels are called
# y += a x and the product of two vectors, in place and without a temporary
BLAS = {dtype: get_blas_funcs(("axpy", "dot"), dtype=dtype) for dtype in PRECISIONS}


def compiled(name, dtype):
    """The loop of that name for a precision."""
    from .. import _kernels  # Numba is imported by the first fit that needs it

    return getattr(_kernels, f"{name}_{PRECISIONS[dtype]}")


class _Input:
    """Products of the rows of X with the first layer of every group, and their adjoint.

    With `codes`, sorted, only the rows of a task meet its group: arrays (n_groups, largest number of rows,
    ...), zeros where there is none.
    """

    def __init__(self, X, codes, n_groups):
        self.X, self.sparse, self.at = X, sparse.issparse(X), None
        if codes is not None:
            counts = np.bincount(codes, minlength=n_groups)
            self.at = codes, np.arange(len(codes)) - (np.cumsum(counts) - counts)[codes]
            self.shape = n_groups, max(int(counts.max(initial=0)), 1)
            self.X = expanded(X, codes, n_groups) if self.sparse else self.put(X)

    def put(self, A):
        """Rows in the places of their group."""
        out = np.zeros((*self.shape, A.shape[-1]), dtype=A.dtype)
        out[self.at] = A
        return out

    def forward(self, W):
        """X W_g, shape (n_groups, n, width)."""
        if not self.sparse:
            return np.matmul(self.X, W)
        return np.stack([self.X @ V for V in W]) if self.at is None else self.put(self.X @ np.vstack(W))

    def adjoint(self, D, out):
        """X' D_g into `out` (n_groups, p, width)."""
        if not self.sparse:
            np.matmul(self.X.swapaxes(-1, -2), D, out=out)
        elif self.at is None:
            out[...] = [self.X.T @ own for own in D]
        else:
            out[...] = (self.X.T @ D[self.at]).reshape(out.shape)


def _segment_sums(values, codes, out):
    """Sums of rows sorted by task into `out` (n_tasks, ...), zero for a task without rows."""
    out[...] = 0.0
    if len(codes):
        first = np.concatenate([[0], np.flatnonzero(codes[1:] != codes[:-1]) + 1])
        out[codes[first]] = np.add.reduceat(values, first, axis=0)


class Views(dict):
    """Parameters by name, as views of the vector `flat`."""

    def __init__(self, flat, views):
        super().__init__(views)
        self.flat = flat


@dataclass(eq=False)
class Network:
    """A multi-layer network for several tasks with losses of their own, options as in the estimators."""

    n_features: int
    losses: list  # one per task
    hidden: tuple  # widths of the layers of a trunk
    activation: str
    sharing: str
    n_experts: int
    coupling: float
    dtype: np.dtype  # of parameters and activations
    head_alpha: float | None = None  # pull of heads to their mean; None: as strong as alpha
    intercept_alpha: float = 0.0

    kernels = None  # those of the rectifier, compiled
    functions = property(lambda self: self.kernels or ACTIVATIONS[self.activation])  # of a layer and back

    def __post_init__(self):
        losses, hidden = self.losses, self.hidden
        self.dtype, self.depth = np.dtype(self.dtype), len(hidden)
        self.n_tasks, self.n_outputs = len(losses), max(loss.n_outputs for loss in losses)
        self.groups = {"hard": 1, "attention": self.n_experts, "soft": self.n_tasks}[self.sharing]
        layers = enumerate(pairwise((self.n_features, *hidden)))
        self.shapes = {f"W{layer}": (self.groups, *widths) for layer, widths in layers}
        self.shapes |= {f"b{layer}": (self.groups, 1, width) for layer, width in enumerate(hidden)}
        if self.sharing == "attention":
            self.shapes["gates"] = self.n_tasks, self.n_experts
        outputs = self.n_tasks, self.n_outputs
        self.shapes |= {"heads": (*outputs, hidden[-1]), "offsets": outputs}
        bounds = np.cumsum([0, *map(prod, self.shapes.values())]).tolist()
        self.slices = dict(zip(self.shapes, (slice(*pair) for pair in pairwise(bounds)), strict=True))
        self.size, self.n_shrunken = bounds[-1], bounds[self.depth]  # what alpha shrinks comes first
        self.kinds = [*tasks_by_loss(losses).items()]
        self.robust = [isinstance(loss, Huber) for loss in losses]  # tasks with outliers
        # heads of tasks of one kind are compared with their mean; others have nothing in common
        self.alike = len(self.kinds) == 1
        self.has_mean_head = self.alike and self.sharing != "soft" and self.n_tasks > 1

    def views(self, theta):
        """The parameters by name, as views of the flat vector."""
        return Views(theta, {name: theta[self.slices[name]].reshape(s) for name, s in self.shapes.items()})

    def start(self, rng, offsets, solver="lbfgs"):
        """Random parameters (Glorot), heads starting at the given offsets (n_tasks, n_outputs)."""
        theta = np.zeros(self.size, dtype=self.dtype)
        P, soft = self.views(theta), self.sharing == "soft"

        def draw(name, bound, same):
            shape = P[name].shape
            P[name][...] = bound * rng.uniform(-1, 1, (1, *shape[1:]) if same else shape)

        gain = 2.0 if self.activation == "logistic" else 6.0
        # half as wide where rectifiers meet Adam, which then needs half as many epochs
        narrow = 0.5 if solver == "adam" and self.activation == "relu" else 1.0
        for layer in range(self.depth):
            _, below, above = self.shapes[f"W{layer}"]
            bound = narrow * np.sqrt(gain / (below + above))
            draw(f"W{layer}", bound, soft)  # tasks that are to stay close start at the same place
            draw(f"b{layer}", bound, soft)
        # small at first, so that the trunks start with what the tasks have in common
        draw("heads", 0.5 * np.sqrt(gain / sum(self.shapes["heads"][1:])), soft and self.alike)
        P["offsets"][...] = offsets
        if "gates" in P:
            # all tasks lean on one expert, else each expert would learn from a part of the tasks alone
            P["gates"][...] = 0.01 * rng.normal(size=P["gates"].shape)
            P["gates"][:, 0] += 1.0
        return theta

    def with_kernels(self):
        """The same network with loops by Numba, for many small batches."""
        out = copy(self)
        if self.activation == "relu":
            out.kernels = [compiled(name, self.dtype) for name in ("relu", "relu_back")]
        return out

    # --- forward ---

    def _trunk(self, P, source):
        """Values of all layers, each (n_groups, n, width)."""
        layers = []
        for layer in range(self.depth):
            W = P[f"W{layer}"]
            layers.append(np.matmul(layers[-1], W) if layer else source.forward(W))
            self.functions[0](layers[-1], P[f"b{layer}"])
        return layers

    def _forward(self, P, X, codes):
        """Linear predictors, and what the way back needs."""
        source = _Input(X, codes if self.sharing == "soft" else None, self.groups)
        layers = self._trunk(P, source)
        A = layers[-1]
        if self.sharing == "soft":
            eta = np.matmul(A, P["heads"].transpose(0, 2, 1)) + P["offsets"][:, None]
            return (eta.transpose(1, 0, 2) if codes is None else eta[source.at]), (source, layers, None)
        # what a task multiplies the values of each group with, (n_tasks, n_outputs, n_groups, width)
        H = P["heads"][:, :, None]
        H = softmax(P["gates"], axis=1)[:, None, :, None] * H if "gates" in P else H
        if codes is None:
            each = np.matmul(A, H.reshape(-1, *H.shape[2:]).transpose(1, 2, 0))
            eta = each[0] if self.groups == 1 else each.sum(axis=0)
            return eta.reshape(-1, *P["offsets"].shape) + P["offsets"], (source, layers, H)
        H = H[codes]
        return np.einsum("gnh,nkgh->nk", A, H) + P["offsets"][codes], (source, layers, H)

    def predict(self, theta, X, codes=None):
        """Linear predictors (n, n_tasks, n_outputs), or (n, n_outputs) of each row's own task."""
        P, n = self.views(theta), X.shape[0]
        order = np.arange(n) if codes is None else np.argsort(codes, kind="stable")
        out = np.empty((n, self.n_tasks, self.n_outputs)[:: 1 if codes is None else 2], dtype=self.dtype)
        wide = self.groups if codes is not None else max(self.groups, self.n_tasks)
        for start in range(0, n, size := max(PREDICT_CELLS // wide, 1)):
            rows = order[start : start + size]
            out[rows] = self._forward(P, X[rows], None if codes is None else codes[rows])[0]
        return out

    def represent(self, theta, X):
        """Shared representation (n, width): the trunk, all experts side by side, or the mean network."""
        P = self.views(theta)
        if self.sharing == "soft":
            P = {name: value.mean(axis=0, keepdims=True) for name, value in P.items()}
        A = self._trunk(P, _Input(X, None, 1))[-1]
        return np.ascontiguousarray(A.transpose(1, 0, 2).reshape(X.shape[0], -1))

    def pooling(self, theta, rows, mass):
        """Ratio of the variances within and between tasks of what the mean task leaves of the targets.

        Per row of a task of mean size: the pull to the mean in a model with random intercepts. The rows
        of a task weigh `mass` (n_tasks,).
        """
        theta = theta.copy()
        P = self.views(theta)
        for name in P if self.sharing == "soft" else ("heads",):
            P[name][...] = P[name].mean(axis=0)
        P["offsets"][...] = 0.0
        left = rows.y - self.predict(theta, rows.X, rows.codes)[..., 0]
        mean, variance = rows.task_moments(left, self.robust)
        within = np.average(variance, weights=mass)
        between = np.var(mean, ddof=1) - np.mean(within / mass)
        return float(within / max(between * mass.mean(), within / MOST_POOLING)) if within > 0 else 0.0

    # --- losses ---

    def _each_loss(self, codes):
        """(loss, index of the cells of its tasks, index of their linear predictors) for every kind."""
        for loss, tasks in self.kinds:
            together = tasks[-1] - tasks[0] + 1 == len(tasks)  # then a view will do
            at = slice(None), slice(tasks[0], tasks[-1] + 1) if together else tasks
            if codes is not None:
                at = (... if len(tasks) == self.n_tasks else np.flatnonzero(np.isin(codes, tasks)),)
            yield loss, at, (*at, 0 if loss.n_outputs == 1 else slice(loss.n_outputs))

    def task_losses(self, theta, rows):
        """Weighted mean loss of each task, shape (n_tasks,); zero for a task without rows."""
        eta, values = rows.moved(self.predict(theta, rows.X, rows.codes)), np.empty(rows.y.shape)
        for loss, at, own in self._each_loss(rows.codes):
            values[at] = loss.value(rows.y[at], eta[own])
        return rows.task_sums(values)

    def _loss_and_residual(self, rows, eta, scale):
        """Sum of the weighted losses and its gradient in eta, both times `scale`."""
        total, R = 0.0, np.zeros(eta.shape, dtype=self.dtype)
        for loss, at, own in self._each_loss(rows.codes):
            weight = rows.weight[at] * scale
            value, gradient = loss.value_and_gradient(rows.y[at], eta[own])
            total += float(np.vdot(weight, value))
            R[own] = gradient * (weight if loss.n_outputs == 1 else weight[..., None])
        return total, R

    # --- backward ---

    def gradient(self, P, rows, alpha, G, scale=1.0):
        """Objective with the data term times `scale`; fills the views G with its gradient."""
        eta, (source, layers, H) = self._forward(P, rows.X, rows.codes)
        total, R = self._loss_and_residual(rows, rows.moved(eta), self.dtype.type(scale))
        D = np.ascontiguousarray(self._heads_back(P, R, rows.codes, source, layers[-1], H, G))
        ones = np.ones((1, D.shape[1]), dtype=self.dtype)
        for layer in range(self.depth - 1, -1, -1):
            self.functions[1](D, layers[layer])
            np.matmul(ones, D, out=G[f"b{layer}"])  # the sum over rows, by BLAS
            if layer:
                np.matmul(layers[layer - 1].transpose(0, 2, 1), D, out=G[f"W{layer}"])
                D = np.matmul(D, P[f"W{layer}"].transpose(0, 2, 1))
        source.adjoint(D, G["W0"])
        return total + self._penalise(P, alpha, G)

    def _heads_back(self, P, R, codes, source, A, H, G):
        """Gradients of heads and gates from those of the predictors; returns that of the trunk's values."""
        if self.sharing == "soft":
            R = R.transpose(1, 0, 2) if codes is None else source.put(R)
            np.sum(R, axis=1, out=G["offsets"])
            np.matmul(R.transpose(0, 2, 1), A, out=G["heads"])
            return np.matmul(R, P["heads"])
        mixed = np.empty((*P["heads"].shape[:2], *A.shape[::2]), dtype=self.dtype)  # gradient as H
        if codes is None:
            R = R.reshape(len(R), -1)
            np.matmul(np.ones(len(R), self.dtype), R, out=G["offsets"].reshape(-1))  # the sum, by BLAS
            mixed.reshape(-1, *A.shape[::2])[...] = np.matmul(R.T, A).transpose(1, 0, 2)
            D = np.matmul(R, H.reshape(-1, *H.shape[2:]).transpose(1, 0, 2))
        else:
            _segment_sums(R, codes, G["offsets"])
            _segment_sums(R[:, :, None, None] * A.transpose(1, 0, 2)[:, None], codes, mixed)
            D = np.einsum("nk,nkgh->gnh", R, H)
        if "gates" not in P:
            G["heads"][...] = mixed[:, :, 0]
            return D
        a = softmax(P["gates"], axis=1)
        np.einsum("tg,tkgh->tkh", a, mixed, out=G["heads"])
        slope = np.einsum("tkh,tkgh->tg", P["heads"], mixed)
        G["gates"][...] = a * (slope - (a * slope).sum(axis=1, keepdims=True))
        return D

    def _penalise(self, P, alpha, G):
        """Penalty; adds its gradient to G."""
        add, dot = BLAS[self.dtype]
        total, pulls = 0.0, {"offsets": self.intercept_alpha}  # pulls to the mean over the tasks
        for at in [slice(self.n_shrunken)] + [self.slices["heads"]] * (not self.has_mean_head):
            if P.flat[at].size:
                total += 0.5 * alpha * float(dot(P.flat[at], P.flat[at]))
                add(P.flat[at], G.flat[at], a=alpha)
        if self.has_mean_head:
            mean = np.add.reduce(P["heads"]) / self.n_tasks  # `mean` takes longer than all the rest
            total += 0.5 * alpha * float(np.vdot(mean, mean))
            G["heads"] += self.dtype.type(alpha / self.n_tasks) * mean
            pulls["heads"] = alpha if self.head_alpha is None else self.head_alpha
        elif self.sharing == "soft":
            shared = [name for name in P if name[0] in "Wb" or (self.alike and name == "heads")]
            pulls |= dict.fromkeys(shared, self.coupling)
        for name, pull in pulls.items():
            if pull > 0:
                away = P[name] - np.add.reduce(P[name]) / self.n_tasks
                total += 0.5 * pull * float(np.vdot(away, away))
                G[name] += self.dtype.type(pull) * away
        return total
