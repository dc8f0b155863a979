"""The problem on a working set: coordinate descent, with extrapolation and a second-order finish."""

from itertools import pairwise

import numpy as np
from scipy.linalg import lapack

from .semismooth import Quadratic, semismooth

EPOCHS = 6  # epochs between extrapolations, and iterates that one combines
PANEL_EPOCHS = 3  # the same where an epoch costs as much as many on a Gram matrix do
FEW_TASKS = 8  # up to here a task at a time is the better order in memory
STALLED = 60  # epochs after which Newton steps take over
LARGEST_SYSTEMS = 4e9  # features cubed, times tasks where each has a system of its own
ROWS_KEPT = 3e7  # numbers (240 MB) up to which the rows of a working set are laid out side by side
PANEL = 56  # features between two passes over the rows


class Turn:
    """Coordinates in which Gram matrices (n_designs, m, m) are diagonal inside each block of features.

    A norm of a block that no rotation of the features of a task changes has an exact prox there. Blocks of
    one feature stay as they are.
    """

    def __init__(self, own):
        self.own = own  # a slice and rotations (n_designs, size, size) of each block

    @classmethod
    def of(cls, A, bounds):
        """Those of some Gram matrices."""
        if len(bounds) > A.shape[-1]:  # features one by one
            return cls([])
        blocks = [slice(a, b) for a, b in pairwise(bounds) if b - a > 1]
        return cls([(at, np.linalg.eigh(A[:, at, at])[1]) for at in blocks])

    def into(self, V):
        """V (n_tasks, m) in these coordinates."""
        return self._times(V, self.own) if self.own else V

    def back(self, V):
        """The inverse of `into`."""
        return self._times(V, [(at, U.transpose(0, 2, 1)) for at, U in self.own]) if self.own else V

    def _times(self, V, factors):
        V = V.copy()
        for at, U in factors:
            V[:, at] = V[:, at] @ U[0] if len(U) == 1 else np.matmul(V[:, None, at], U)[:, 0]
        return V

    def gram(self, A):
        """A in these coordinates."""
        if not self.own:
            return A
        A = A.copy()
        for at, U in self.own:
            A[:, :, at] = A[:, :, at] @ U
        for at, U in self.own:
            A[:, at] = U.transpose(0, 2, 1) @ A[:, at]
        return A


class GramSweep:
    """Epochs on Gram matrices, which keep the negative gradient Q up to date: the state beside W is Q."""

    epochs = EPOCHS

    def __init__(self, A, scale, ridge, placement, n_tasks):
        from .. import _kernels  # Numba is imported by the first fit that needs it

        bounds, weights = placement.blocks(A.shape[1])
        self.turn = Turn.of(A, bounds)
        A = self.turn.gram(A)
        self.by_feature, self.strengths = len(A) == 1 and n_tasks > FEW_TASKS, placement.kernel
        self.matrices, self.alike = (A, scale, ridge), len(A) == 1 and alike(scale)
        self.kernel = _kernels.descend_shared if self.by_feature else _kernels.descend_separate
        A = np.ascontiguousarray(A[0] if self.by_feature else A)
        self.arguments = A, scale, ridge, bounds, weights, *self.strengths

    def start(self, W, Q, smooth):
        """W and the state in the layout of the kernel; the smooth part has the value `smooth` at W."""
        W, Q = self.turn.into(W), self.turn.into(Q)
        self.origin = (W.T, Q.T, smooth) if self.by_feature else (W, Q, smooth)
        return self.origin[:2]

    def run(self, W, S):
        """Fill the trails W and S (n_epochs + 1, ...) from their first entries."""
        self.kernel(*self.arguments, S, W)

    def smooth(self, W, S):
        """Value of the smooth part: a quadratic, whose change follows from both gradients."""
        W0, Q0, value = self.origin
        return value - 0.5 * float(np.vdot(S + Q0, W - W0))

    def negative_gradient(self, W, S):
        """Q at W."""
        return S

    def quadratic(self):
        """The smooth part, up to its linear term."""
        return Quadratic(*self.matrices)


class PanelSweep:
    """Epochs on the rows Z of a shared design, a panel of features at a time: the state is the residual.

    The iterates are those of coordinate descent, but that a panel which an epoch does not move waits until a
    run of all, every other one. A panel costs two matrix products with the rows and an epoch on its own small
    Gram matrix. The products may be in single precision as long as much is left to do: whoever asks for the
    descent takes the result from W.
    """

    by_feature, epochs = True, PANEL_EPOCHS

    def __init__(self, pool, chosen, residual, scale, ridge, placement, dtype):
        from .. import _kernels

        self.kernel, self.scale, self.ridge = _kernels.descend_shared, scale, ridge
        self.strengths, self.alike = placement.kernel, alike(scale)
        self.pool, self.chosen, self.dtype = pool, chosen, dtype
        self.residual, m = residual.astype(dtype, copy=False), len(chosen)
        self.bounds, self.weights = placement.blocks(m)
        blocks = self._in_panels(m)
        self.kept, self.panels, self.moving = m * len(residual) <= ROWS_KEPT, [], []
        self.turn = Turn([])
        for first, last in pairwise(blocks):
            begin, end = self.bounds[[first, last]]
            at, bounds = slice(begin, end), self.bounds[first : last + 1] - begin
            own = pool.rows(chosen[at])
            A = (own @ own.T)[None]
            turn = Turn.of(A, bounds)
            self.turn.own += [(slice(begin + block.start, begin + block.stop), U) for block, U in turn.own]
            Z = turn.into(own.T).T.astype(dtype) if self.kept else None
            known = turn.gram(A)[0], scale, ridge, bounds, self.weights[first:last]
            self.panels.append((at, turn, Z, known))

    def _in_panels(self, m):
        """First blocks of panels of about the same size, and the end."""
        ends = np.linspace(0, m, -(-m // PANEL) + 1)
        return np.unique(np.searchsorted(self.bounds, ends))

    def start(self, W, Q, smooth):
        return self.turn.into(W).T, self.residual

    def run(self, W, S):
        moving = self.moving or self.panels
        for e in range(1, len(W)):
            w, residual, panels, moving = W[e], S[e], moving, []
            w[:], residual[:] = W[e - 1], S[e - 1]
            for panel in panels:
                at, turn, Z, known = panel
                Z = self._rows(at, turn) if Z is None else Z
                V = np.empty((2, len(Z), W.shape[2]))  # start and end
                V[0] = w[at]
                self.kernel(*known, *self.strengths, self._slope(Z, V[0], residual)[None], V)
                move = V[1] - V[0]
                if move.any():
                    moving.append(panel)
                    w[at] = V[1]
                    residual -= Z.T @ move.astype(Z.dtype, copy=False)
        self.moving = [] if self.moving else moving

    def _rows(self, at, turn):
        return turn.into(self.pool.rows(self.chosen[at], self.dtype).T).T

    def _slope(self, Z, W, residual):
        Q = (Z @ residual) * self.scale
        return Q - self.ridge * W if self.ridge else Q

    def smooth(self, W, S):
        own = 0.5 * self.ridge * float(np.vdot(W, W)) if self.ridge else 0.0
        return own + 0.5 * float(self.scale @ np.einsum("it,it->t", S, S, dtype=np.float64))

    def negative_gradient(self, W, S):
        Q = np.empty(W.shape)
        for at, turn, Z, _ in self.panels:
            Q[at] = self._slope(self._rows(at, turn) if Z is None else Z, W[at], S)
        return Q

    def quadratic(self):
        Z = self.turn.into(self.pool.rows(self.chosen).T)
        return Quadratic((Z.T @ Z)[None], self.scale, self.ridge)


def alike(scale):
    """Whether the numbers of all tasks (n_tasks,) are the same."""
    return bool((scale == scale[0]).all())


def descend(sweep, placement, W, Q, smooth, enough, max_epochs):
    """W (n_tasks, m) with a duality gap of at most `enough` on the working set, and the epochs spent.

    Q is the negative gradient of the smooth part at W and `smooth` its value; `placement` is the penalty of
    the working set.
    """
    start = sweep.start(W, Q, smooth)
    trails = [np.empty((sweep.epochs + 1, *V.shape), V.dtype) for V in start]
    for trail, V in zip(trails, start, strict=True):
        trail[0] = V
    turned = (lambda V: V.T) if sweep.by_feature else (lambda V: V)
    epochs = 0
    while True:
        trails = [trail[: max_epochs - epochs + 1] for trail in trails]
        sweep.run(*trails)
        epochs += len(trails[0]) - 1
        last = [trail[-1] for trail in trails]
        W, Q, value = turned(last[0]), turned(sweep.negative_gradient(*last)), sweep.smooth(*last)
        objective, gap = certificate(placement, value, W, -Q)
        if gap <= enough or epochs >= max_epochs:
            return sweep.turn.back(W), epochs
        if epochs >= STALLED and _newton_pays(W, sweep):
            W, steps = _finished(sweep.quadratic(), placement, W, Q, value, enough, max_epochs - epochs)
            return sweep.turn.back(W), epochs + steps
        guess = _extrapolated(trails)
        if guess is None or not sweep.smooth(*guess) + placement.value(turned(guess[0])) < objective:
            guess = last
        for trail, V in zip(trails, guess, strict=True):
            trail[0] = V


def _newton_pays(W, sweep):
    """Whether semismooth Newton steps apply, and their factorisations are not too large."""
    l1, _, linf = sweep.strengths
    n_systems = 1 if sweep.alike and not l1 else len(W)
    return not linf and n_systems * np.count_nonzero(W.any(axis=0)) ** 3 <= LARGEST_SYSTEMS


def _finished(quadratic, placement, W, Q, smooth, enough, max_steps):
    """W with a gap of at most `enough` by semismooth Newton steps, and how many they are."""
    W0, Q0 = W, Q

    def finished(W, Q):
        value = smooth - 0.5 * float(np.vdot(Q + Q0, W - W0))
        return certificate(placement, value, W, -Q)[1] <= enough

    return semismooth(quadratic, placement, W, Q, finished, max_steps)


def certificate(placement, smooth, W, G, size=None):
    """Objective and duality gap at W from the value and the gradient G of the smooth part.

    `size` is the dual norm of the whole gradient, where W and G are those of some of the features.
    For the squared loss with a ridge the dual objective along theta, times the dual point of the
    residual, is a parabola: the gap is a sum of three terms that are not negative.
    """
    rough, along = 0.0, 0.0
    if W.any():  # a norm is zero there
        rough = placement.value(W)  # and products in their order in memory, without a copy
        along = -float(np.vdot(G.T, W.T) if W.flags.f_contiguous else np.vdot(G, W))
    size = placement.dual_norm(G) if size is None else size
    best = 1.0 + along / (2.0 * smooth) if smooth > 0 else np.inf
    theta = min(max(best, 0.0), 1.0 / size if size > 0 else np.inf)
    theta = 1.0 if theta == np.inf else theta
    gap = rough - theta * along + (1.0 - theta) ** 2 * smooth
    return smooth + rough, abs(gap) if gap == gap else np.inf


def _extrapolated(trails):
    """Anderson extrapolation of iterates W and of a state that is affine in them, or None."""
    flat = trails[0].reshape(len(trails[0]), -1)
    steps = flat[1:] - flat[:-1]
    gram = steps @ steps.T
    diagonal = gram.ravel()[:: len(gram) + 1]
    diagonal += 1e-12 * diagonal.sum()
    weights, failed = lapack.dposv(gram, np.ones(len(gram)))[1:]
    total = weights.sum()
    if failed or not np.isfinite(total) or total == 0:
        return None
    weights = (weights / total)[None]
    return [np.dot(weights, V[1:].reshape(len(V) - 1, -1)).reshape(V.shape[1:]) for V in trails]
