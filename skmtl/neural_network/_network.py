"""The network: parameters in one flat vector, its forward pass and its gradient by hand.

Every trunk is a stack of layers with a leading axis of *groups*: one group for hard sharing, one per expert
for attention, one per task for soft sharing. Sample-side arrays are (n_samples, n_tasks, n_outputs) when all
rows belong to all tasks, (n_rows, n_outputs) when row i belongs to the task `codes[i]`, sorted by task.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.linalg import get_blas_funcs
from scipy.special import expit

from .._data import expanded

MOST_POOLING = 1.0  # learned from the variances: a task of mean size is pulled at most half way to the mean
PREDICT_CELLS = 200_000  # rows times groups (or tasks) handled at a time when predicting


def _relu(Z):
    return np.maximum(Z, 0.0, out=Z)


def _relu_back(D, A):
    return np.multiply(D, A > 0, out=D)


def _tanh_back(D, A):
    return np.multiply(D, 1.0 - A * A, out=D)


def _logistic_back(D, A):
    return np.multiply(D, A * (1.0 - A), out=D)


# in place: values of a layer, and its gradient from that of the values
ACTIVATIONS = {
    "relu": (_relu, _relu_back),
    "tanh": (lambda Z: np.tanh(Z, out=Z), _tanh_back),
    "logistic": (lambda Z: expit(Z, out=Z), _logistic_back),
}


@dataclass
class Rows:
    """Rows with targets and weights; `codes` is None where every row belongs to all tasks.

    X (n, p) dense or CSR; y and weight (n, n_tasks), or (n,) with `codes` (n,) sorted. The weights of a
    task sum to one over all rows; a missing label has weight zero.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray
    codes: np.ndarray | None = None

    def __len__(self):
        return self.X.shape[0]

    def take(self, rows):
        """The rows at sorted positions."""
        X = self.X[rows] if sparse.issparse(self.X) else self.X.take(rows, axis=0)
        codes = None if self.codes is None else self.codes.take(rows)
        return Rows(X, self.y.take(rows, axis=0), self.weight.take(rows, axis=0), codes)

    def weighted(self, emphasis):
        """The same rows with weights multiplied by the emphasis of their task."""
        factor = emphasis if self.codes is None else emphasis[self.codes]
        return Rows(self.X, self.y, (self.weight * factor).astype(self.y.dtype), self.codes)

    def task_sums(self, values, n_tasks):
        """Weighted sum of values over the rows of each task, shape (n_tasks,)."""
        values = values * self.weight
        if self.codes is None:
            return values.sum(axis=0, dtype=np.float64)
        return np.bincount(self.codes, values, minlength=n_tasks)

    def task_moments(self, values, n_tasks):
        """Weighted mean and variance of values in each task, both (n_tasks,), for weights that sum to one."""
        mean = self.task_sums(values, n_tasks)
        away = values - (mean if self.codes is None else mean[self.codes])
        return mean, self.task_sums(away**2, n_tasks)


class _Padding:
    """Rows sorted by task as an array (n_tasks, largest number of rows, ...), zeros where there is none."""

    def __init__(self, codes, n_tasks):
        counts = np.bincount(codes, minlength=n_tasks)
        first = np.cumsum(counts) - counts
        self.at = codes, np.arange(len(codes)) - first[codes]
        self.shape = n_tasks, max(int(counts.max(initial=0)), 1)

    def put(self, A):
        """Rows in their places."""
        out = np.zeros((*self.shape, A.shape[-1]), dtype=A.dtype)
        out[self.at] = A
        return out

    def get(self, A):
        """Rows out of their places."""
        return A[self.at]


class _Input:
    """Products of the rows of X with the first layer of every group, and their adjoint."""

    def __init__(self, X, padding):
        self.X, self.padding = X, padding
        self.sparse = sparse.issparse(X)
        if padding is not None:
            self.X = expanded(X, padding.at[0], padding.shape[0]) if self.sparse else padding.put(X)

    def forward(self, W, place):
        """X W_g, shape (n_groups, n, width); `place(shape)` is an array to write to."""
        if not self.sparse:
            return np.matmul(self.X, W, out=place((len(W), self.X.shape[-2], W.shape[2])))
        if self.padding is not None:
            return self.padding.put(self.X @ W.reshape(-1, W.shape[2]))
        G, p, width = W.shape
        Z = self.X @ (W[0] if G == 1 else W.transpose(1, 0, 2).reshape(p, -1))
        return np.ascontiguousarray(Z.reshape(-1, G, width).transpose(1, 0, 2))

    def adjoint(self, D, out):
        """X' D_g into `out` (n_groups, p, width)."""
        if not self.sparse:
            np.matmul(self.X.swapaxes(-1, -2), D, out=out)
        elif self.padding is not None:
            out[...] = (self.X.T @ self.padding.get(D)).reshape(out.shape)
        else:
            G, n, width = D.shape
            back = self.X.T @ (D[0] if G == 1 else D.transpose(1, 0, 2).reshape(n, -1))
            out[...] = back.reshape(-1, G, width).transpose(1, 0, 2)


def _segment_sums(values, codes, out):
    """Sums of rows sorted by task into `out` (n_tasks, ...), zero for a task without rows."""
    out[...] = 0.0
    if len(codes):
        first = np.concatenate([[0], np.flatnonzero(codes[1:] != codes[:-1]) + 1])
        out[codes[first]] = np.add.reduceat(values, first, axis=0)


def _softmax(logits):
    """Softmax over the last axis, in the precision of its argument."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


# y += a x and the product of two vectors, in place and without a temporary
BLAS = {np.dtype(dtype): get_blas_funcs(("axpy", "dot"), dtype=dtype) for dtype in ("float32", "float64")}


class Views(dict):
    """Parameters by name, as views of the vector `flat`."""

    def __init__(self, flat, views):
        super().__init__(views)
        self.flat = flat


class Network:
    """A multi-layer network for several tasks with losses of their own.

    Parameters
    ----------
    n_features : int
    losses : list of Loss
        One per task.
    hidden : tuple of int
        Widths of the layers of a trunk.
    activation, sharing, n_experts, gate, coupling
        As in the estimators.
    dtype : dtype
        Of parameters and activations.
    """

    def __init__(self, n_features, losses, *, hidden, activation, sharing, n_experts, gate, coupling, dtype):
        self.losses, self.n_tasks = losses, len(losses)
        self.n_outputs = max(loss.n_outputs for loss in losses)
        self.sharing, self.gate, self.coupling = sharing, gate, coupling
        self.activation, self.dtype = activation, np.dtype(dtype)
        self.depth = len(hidden)
        self.groups = {"hard": 1, "attention": n_experts, "soft": self.n_tasks}[sharing]
        self.shapes = {}  # first what alpha shrinks, so that it is one piece
        for layer, (below, above) in enumerate(pairwise((n_features, *hidden))):
            self.shapes[f"W{layer}"] = self.groups, below, above
        if sharing == "attention" and gate == "input":
            self.shapes["gate_slopes"] = n_features, n_experts
        self.n_shrunken = sum(int(np.prod(shape)) for shape in self.shapes.values())
        for layer, above in enumerate(hidden):
            self.shapes[f"b{layer}"] = self.groups, 1, above
        if sharing == "attention":
            self.shapes["gates"] = self.n_tasks, n_experts
        self.shapes["heads"] = self.n_tasks, self.n_outputs, hidden[-1]
        self.shapes["offsets"] = self.n_tasks, self.n_outputs
        bounds = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes.values())]).tolist()
        self.slices = dict(zip(self.shapes, (slice(*pair) for pair in pairwise(bounds)), strict=True))
        self.size = int(bounds[-1])
        # heads of tasks of one kind are compared with their mean; others have nothing in common
        self.alike = all(loss == losses[0] for loss in losses)
        self.has_mean_head = self.alike and sharing != "soft"
        # pull of offsets, and of heads, to their means; None: as strong as alpha
        self.intercept_alpha, self.head_alpha = 0.0, None
        self.places = self.compiled = None
        self.kinds = [(loss, [t for t, own in enumerate(losses) if own == loss]) for loss in set(losses)]

    def views(self, theta):
        """The parameters by name, as views of the flat vector."""
        return Views(theta, {name: theta[self.slices[name]].reshape(s) for name, s in self.shapes.items()})

    def start(self, rng, offsets, solver="lbfgs"):
        """Random parameters (Glorot), heads starting at the given offsets (n_tasks, n_outputs)."""
        theta = np.zeros(self.size, dtype=self.dtype)
        P = self.views(theta)
        # half as wide where rectifiers meet Adam, which then needs half as many epochs
        narrow = solver == "adam" and self.activation == "relu"
        gain = 2.0 if self.activation == "logistic" else 6.0
        for layer in range(self.depth):
            W = P[f"W{layer}"]
            # tasks that are to stay close to each other start at the same place
            shape = (1, *W.shape[1:]) if self.sharing == "soft" else W.shape
            bound = np.sqrt(gain / (W.shape[1] + W.shape[2])) * (0.5 if narrow else 1.0)
            W[...] = bound * rng.uniform(-1, 1, shape)
            P[f"b{layer}"][...] = bound * rng.uniform(-1, 1, (len(W) if shape[0] > 1 else 1, 1, W.shape[2]))
        heads = P["heads"]
        shape = (1, *heads.shape[1:]) if self.sharing == "soft" and self.alike else heads.shape
        # small at first, so that the trunks start with what the tasks have in common
        bound = 0.5 * np.sqrt(gain / (heads.shape[2] + heads.shape[1]))
        heads[...] = rng.uniform(-1, 1, shape) * bound
        P["offsets"][...] = offsets
        if "gates" in P:
            # all tasks lean on one expert, else each expert would learn from a part of the tasks alone
            P["gates"][...] = 0.01 * rng.normal(size=P["gates"].shape)
            P["gates"][:, 0] += 1.0
        return theta

    def _place(self, name, shape):
        """An array to write to, kept from batch to batch while training."""
        if self.places is None:
            return np.empty(shape, dtype=self.dtype)
        if (name, shape) not in self.places:
            self.places[name, shape] = np.empty(shape, dtype=self.dtype)
        return self.places[name, shape]

    @contextmanager
    def training(self, compiled=False):
        """Arrays of a batch are kept for the next one; `compiled`: loops by Numba, with batches by Adam."""
        self.places = {}
        if compiled and self.activation == "relu":
            from .. import _kernels  # Numba is imported by the first fit that needs it

            kind = "single" if self.dtype == np.float32 else "double"
            self.compiled = [getattr(_kernels, f"{name}_{kind}") for name in ("relu", "relu_back")]
        try:
            yield
        finally:
            self.places = self.compiled = None

    # --- forward ---

    def _trunk(self, P, source):
        """Values of all layers, each (n_groups, n, width)."""
        activate, _ = ACTIVATIONS[self.activation]
        layers = []
        for layer in range(self.depth):
            W, place = P[f"W{layer}"], partial(self._place, f"Z{layer}")
            if layer == 0:
                Z = source.forward(W, place)
            else:
                Z = np.matmul(layers[-1], W, out=place((*layers[-1].shape[:2], W.shape[2])))
            if self.compiled is None:
                Z += P[f"b{layer}"]
                activate(Z)
            else:
                self.compiled[0](Z, P[f"b{layer}"])
            layers.append(Z)
        return layers

    def _forward(self, P, X, codes):
        """Linear predictors, and what the way back needs."""
        padding = _Padding(codes, self.n_tasks) if self.sharing == "soft" and codes is not None else None
        source = _Input(X, padding)
        layers = self._trunk(P, source)
        A, heads = layers[-1], P["heads"]
        kept = {"source": source, "layers": layers, "codes": codes}
        if self.sharing == "soft":
            eta = np.matmul(A, heads.transpose(0, 2, 1)) + P["offsets"][:, None]
            return (eta.transpose(1, 0, 2) if codes is None else padding.get(eta)), kept
        if self.sharing == "attention":
            logits = P["gates"] if codes is None else P["gates"][codes]
            if "gate_slopes" in P:
                slopes = X @ P["gate_slopes"]
                logits = logits + (slopes[:, None] if codes is None else slopes)
            elif codes is None:
                logits = logits[None]
            kept["attention"] = _softmax(logits)
        if codes is None:
            flat = np.matmul(A, heads.reshape(-1, heads.shape[2]).T)
            each = flat.reshape(len(A), -1, self.n_tasks, self.n_outputs)
            if self.sharing == "hard":
                return each[0] + P["offsets"], kept
            kept["each"] = each
            return np.einsum("entk,nte->ntk", each, self._spread(kept, each)) + P["offsets"], kept
        Z = A[0] if self.sharing == "hard" else np.einsum("enh,ne->nh", A, kept["attention"])
        own = heads[codes]
        kept["Z"], kept["own"] = Z, own
        return np.einsum("nh,nkh->nk", Z, own) + P["offsets"][codes], kept

    @staticmethod
    def _spread(kept, each):
        """Attention (n, n_tasks, n_experts)."""
        a = kept["attention"]
        return np.broadcast_to(a, (each.shape[1], *a.shape[1:]))

    def predict(self, theta, X, codes=None):
        """Linear predictors (n, n_tasks, n_outputs), or (n, n_outputs) of each row's own task."""
        P, n = self.views(theta), X.shape[0]
        order = np.arange(n) if codes is None else np.argsort(codes, kind="stable")
        shape = (n, self.n_tasks, self.n_outputs) if codes is None else (n, self.n_outputs)
        out = np.empty(shape, dtype=self.dtype)
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
        A = self._trunk(P, _Input(X, None))[-1]
        return np.ascontiguousarray(A.transpose(1, 0, 2).reshape(X.shape[0], -1))

    def mean_attention(self, theta, rows):
        """Attention weights of every task, averaged over its rows, (n_tasks, n_experts)."""
        P = self.views(theta)
        if "gate_slopes" not in P:
            return _softmax(P["gates"])
        slopes = rows.X @ P["gate_slopes"]
        if rows.codes is None:
            each = [
                np.average(_softmax(slopes + g), axis=0, weights=w)
                for g, w in zip(P["gates"], rows.weight.T, strict=True)
            ]
            return np.array(each)
        a, out = _softmax(slopes + P["gates"][rows.codes]), np.empty_like(P["gates"])
        _segment_sums(a * rows.weight[:, None], rows.codes, out)
        return out

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
        mean, variance = rows.task_moments(left, self.n_tasks)
        within = np.average(variance, weights=mass)
        between = np.var(mean, ddof=1) - np.mean(within / mass)
        return float(within / max(between * mass.mean(), within / MOST_POOLING)) if within > 0 else 0.0

    # --- losses ---

    def _cells(self, tasks, codes):
        """Index of the cells of some tasks on the sample side."""
        if len(tasks) == self.n_tasks:
            return ...
        if codes is not None:
            return np.flatnonzero(np.isin(codes, tasks))
        together = tasks[-1] - tasks[0] + 1 == len(tasks)  # then a view will do
        return slice(None), slice(tasks[0], tasks[-1] + 1) if together else tasks

    def _each_loss(self, y, eta, codes):
        """(index of its cells, loss, its targets, its linear predictors) for every kind of loss."""
        for loss, tasks in self.kinds:
            at = self._cells(tasks, codes)
            own = eta[at]
            yield at, loss, y[at], own[..., 0] if loss.n_outputs == 1 else own[..., : loss.n_outputs]

    def values(self, theta, rows):
        """Loss of every cell, of the shape of the targets."""
        eta, out = self.predict(theta, rows.X, rows.codes), np.empty(rows.y.shape)
        for at, loss, y, own in self._each_loss(rows.y, eta, rows.codes):
            out[at] = loss.value(y, own)
        return out

    def task_losses(self, theta, rows):
        """Weighted mean loss of each task, shape (n_tasks,); zero for a task without rows."""
        return rows.task_sums(self.values(theta, rows), self.n_tasks)

    def _loss_and_residual(self, rows, eta, scale):
        """Sum of the weighted losses and its gradient in eta, both times `scale`."""
        if len(self.kinds) == 1 and self.n_outputs == 1:
            weight = rows.weight * scale
            value, R = self.losses[0].value_and_gradient(rows.y, eta[..., 0])
            return float(np.vdot(weight, value)), (R * weight)[..., None]
        total, R = 0.0, np.zeros(eta.shape, dtype=self.dtype)
        for at, loss, y, own in self._each_loss(rows.y, eta, rows.codes):
            weight = rows.weight[at] * scale
            value, gradient = loss.value_and_gradient(y, own)
            total += float(np.vdot(weight, value))
            if loss.n_outputs == 1:
                R[(*at, 0) if isinstance(at, tuple) else (at, 0)] = gradient * weight
            elif isinstance(at, tuple):
                R[(*at, slice(loss.n_outputs))] = gradient * weight[..., None]
            else:
                R[at, : loss.n_outputs] = gradient * weight[..., None]
        return total, R

    # --- backward ---

    def gradient(self, P, rows, alpha, G, scale=1.0):
        """Objective with the data term times `scale`; fills the views G with its gradient."""
        eta, kept = self._forward(P, rows.X, rows.codes)
        total, R = self._loss_and_residual(rows, eta, self.dtype.type(scale))
        D = np.ascontiguousarray(self._heads_back(P, rows.X, R, kept, G))
        back = ACTIVATIONS[self.activation][1] if self.compiled is None else self.compiled[1]
        layers = kept["layers"]
        ones = np.ones((1, D.shape[1]), dtype=self.dtype)
        for layer in range(self.depth - 1, -1, -1):
            back(D, layers[layer])
            np.matmul(ones, D, out=G[f"b{layer}"])  # the sum over rows, by BLAS
            if layer == 0:
                kept["source"].adjoint(D, G["W0"])
            else:
                np.matmul(layers[layer - 1].transpose(0, 2, 1), D, out=G[f"W{layer}"])
                place = self._place(f"D{layer}", layers[layer - 1].shape)
                D = np.matmul(D, P[f"W{layer}"].transpose(0, 2, 1), out=place)
        return total + self._penalise(P, alpha, G)

    def _heads_back(self, P, X, R, kept, G):
        """Gradients of heads and gates from those of the predictors; returns that of the trunk's values."""
        A, heads, codes = kept["layers"][-1], P["heads"], kept["codes"]
        if codes is None:  # the sum over rows, by BLAS
            np.matmul(np.ones(len(R), dtype=self.dtype), R.reshape(len(R), -1), out=G["offsets"].reshape(-1))
        else:
            _segment_sums(R, codes, G["offsets"])
        if self.sharing == "soft":
            R = R.transpose(1, 0, 2) if codes is None else kept["source"].padding.put(R)
            np.matmul(R.transpose(0, 2, 1), A, out=G["heads"])
            return np.matmul(R, heads)
        if codes is None:
            flat = heads.reshape(-1, heads.shape[2])
            if self.sharing == "attention":
                a = self._spread(kept, kept["each"])
                self._gates_back(X, a, np.einsum("entk,ntk->nte", kept["each"], R), codes, G)
                R = a.transpose(2, 0, 1)[..., None] * R
            R = R.reshape(len(A), -1, len(flat))
            np.matmul(R.transpose(0, 2, 1), A).sum(axis=0, out=G["heads"].reshape(flat.shape))
            return np.matmul(R, flat)
        _segment_sums(R[:, :, None] * kept["Z"][:, None], codes, G["heads"])
        D = np.einsum("nk,nkh->nh", R, kept["own"])
        if self.sharing == "hard":
            return D[None]
        a = kept["attention"]
        self._gates_back(X, a, np.einsum("enh,nh->ne", A, D), codes, G)
        return a.T[..., None] * D

    @staticmethod
    def _gates_back(X, a, slope, codes, G):
        """Gradients of the gates from those of the attention weights."""
        D = a * (slope - (a * slope).sum(axis=-1, keepdims=True))
        if codes is None:
            np.sum(D, axis=0, out=G["gates"])
        else:
            _segment_sums(D, codes, G["gates"])
        if "gate_slopes" in G:
            G["gate_slopes"][...] = X.T @ (D.sum(axis=1) if codes is None else D)

    def _penalise(self, P, alpha, G):
        """Penalty; adds its gradient to G."""
        add, dot = BLAS[self.dtype]
        flat = P.flat[: self.n_shrunken]
        total = 0.5 * alpha * float(dot(flat, flat))
        add(flat, G.flat[: self.n_shrunken], a=alpha)
        heads, T = P["heads"].reshape(self.n_tasks, -1), self.n_tasks
        slope = G["heads"].reshape(T, -1)
        if self.has_mean_head:
            mean = np.add.reduce(heads) / T  # `mean` takes longer than all the rest
            away = alpha if self.head_alpha is None else self.head_alpha
            total += 0.5 * (away * float(np.vdot(heads, heads)) + (alpha - T * away) * np.vdot(mean, mean))
            slope += self.dtype.type((alpha - T * away) / T) * mean
        else:
            away = alpha
            total += 0.5 * alpha * float(np.vdot(heads, heads))
        add(heads.ravel(), slope.ravel(), a=away)
        if self.intercept_alpha > 0:
            away = P["offsets"] - np.add.reduce(P["offsets"]) / T
            total += 0.5 * self.intercept_alpha * float(np.vdot(away, away))
            G["offsets"] += self.dtype.type(self.intercept_alpha) * away
        if self.sharing == "soft" and self.coupling > 0:
            for name in [name for name in P if name[0] in "Wb" or (self.alike and name == "heads")]:
                away = P[name] - P[name].mean(axis=0)
                total += 0.5 * self.coupling * float(np.vdot(away, away))
                G[name] += self.dtype.type(self.coupling) * away
        return total
