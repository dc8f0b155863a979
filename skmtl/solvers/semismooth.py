"""Semismooth Newton: the end of coordinate descent where features are nearly collinear."""

import numpy as np

from ..objective import units

FIRST_STEP = 10.0  # over the mean curvature: how far the first proximal point may be
GROWTH = 5.0  # of that step
NEWTON_STEPS = 20  # for one proximal point, at most
FEW_STEPS = 8  # below that the next one may be farther away
SETTLED = 1e-3  # a proximal point is good enough at this share of its move


class Quadratic:
    """1/2 <W, H W> - <B, W> task by task, H_t = scale_t A_t + ridge, with A (1 or n_tasks, m, m)."""

    def __init__(self, A, scale, ridge):
        self.A, self.scale, self.ridge = A, scale, ridge
        self.alike = len(A) == 1 and np.ptp(scale) == 0

    def times(self, V):
        """H V, shape (n_tasks, m)."""
        shared = len(self.A) == 1
        out = V @ self.A[0] if shared else np.matmul(V[:, None], self.A)[:, 0]
        return out * self.scale[:, None] + self.ridge * V

    def block(self, t, at):
        """H_t on some features."""
        A = self.A[0 if len(self.A) == 1 else t][np.ix_(at, at)]
        return self.scale[t] * A + self.ridge * np.eye(len(at))

    def level(self):
        """Mean curvature of a coefficient."""
        own = np.einsum("djj->d", self.A) / self.A.shape[1]
        return float(np.mean(own * self.scale)) + self.ridge


def semismooth(quadratic, placement, W, Q, finished, max_steps):
    """W (n_tasks, m) of quadratic + placement by proximal points, each found by Newton's method on its dual.

    Q is the negative gradient of the quadratic at W; `finished(W, Q)` ends it. The penalty is L1, L2 or
    their sum on every feature, or L2 on blocks. Also returns the number of Newton steps.

    References
    ----------
    Li, Sun & Toh (2018), A highly efficient semismooth Newton augmented Lagrangian method for solving Lasso
    problems, SIAM J. Optimization 28, https://doi.org/10.1137/16M1097572
    """
    B, step, n_steps, failed = Q + quadratic.times(W), FIRST_STEP / quadratic.level(), 0, 0
    value = placement.value(W)
    while n_steps < max_steps and failed < 3 and not finished(W, Q):
        V, steps = _proximal_point(quadratic, placement, W, B, step, max_steps - n_steps)
        Q_new, value_new, n_steps = B - quadratic.times(V), placement.value(V), n_steps + steps
        # the proximal point of a long step may be out of reach: its system has the condition of H
        if not value_new - value <= 0.5 * np.vdot(Q + Q_new, V - W):
            step, failed = step / GROWTH**2, failed + 1
            continue
        W, Q, value = V, Q_new, value_new
        step *= GROWTH if steps < FEW_STEPS else 1.0
    return W, n_steps


def _proximal_point(quadratic, placement, W, B, step, max_steps):
    """argmin over V of quadratic + placement + 1/(2 step) ||V - W||^2, approximately, and the steps taken.

    V = prox(W + step (B - H E)) for the E that minimises phi(E) = 1/2 <E, H E> + 1/(2 step) ||V(E)||^2,
    where E = V.
    """
    E, HE = W, quadratic.times(W)
    z = W + step * (B - HE)
    V = placement.prox(z, step)
    for n_steps in range(1, max_steps + 1):
        away = V - E
        size = np.linalg.norm(away)
        if n_steps > NEWTON_STEPS or size <= SETTLED * np.linalg.norm(V - W) or size == 0:
            break
        move = _direction(quadratic, placement, V, away, step)
        H_move = quadratic.times(move)
        phi, slope = _phi(E, HE, V, step), -float(np.vdot(H_move, away))
        t = 1.0
        while t > 1e-10:
            V_new = placement.prox(z - t * step * H_move, step)
            if _phi(E + t * move, HE + t * H_move, V_new, step) <= phi + 1e-4 * t * slope + 1e-14 * abs(phi):
                break
            t /= 2
        E, HE, z, V = E + t * move, HE + t * H_move, z - t * step * H_move, V_new
    return V, n_steps


def _phi(E, HE, V, step):
    return 0.5 * float(np.vdot(E, HE)) + float(np.vdot(V, V)) / (2 * step)


def _direction(quadratic, placement, V, away, step):
    """d with d + step P (H d) = away, P the derivative of the prox at z.

    P of a block of features in use is a I + (1 - a) u u' on the entries in use, with u the direction of its
    coefficients and a = 1 - shrinkage: on these entries the system is that of each task plus one matrix
    of rank one per block.
    """
    bounds, weights = placement.blocks(V.shape[1])
    used = np.flatnonzero(V.any(axis=0))
    entries = V[:, used] != 0
    out = np.where(V != 0, 0.0, away)
    if not len(used):
        return out
    at = np.searchsorted(bounds, used, "right") - 1
    block, first, of = np.unique(at, return_index=True, return_inverse=True)
    l2 = placement.kernel[1] * weights[block]

    def total(values):
        return np.add.reduceat(values, first)

    size = np.sqrt(total((V[:, used] ** 2).sum(axis=0)))
    shrunk = size / (size + step * l2)  # the length before it was shrunken is the sum
    u, root, a = V[:, used] / size[of], np.sqrt((1 - shrunk) / shrunk), shrunk[of]
    own = away[:, used] * entries
    right = own / a - (1 - a) / a * u * total((u * own).sum(axis=0))[of]
    right -= step * quadratic.times(out)[:, used] * entries
    inverses = list(_inverses(quadratic, used, entries, a, step))
    alike = len(inverses) == 1

    def solved(V):
        return V @ inverses[0] if alike else np.array([v @ A for v, A in zip(V, inverses, strict=True)])

    S = solved(right)
    if l2.any():
        each = zip(inverses, u, strict=not alike)
        coupling = inverses[0] * (u.T @ u) if alike else sum(A * np.outer(v, v) for A, v in each)
        coupling = np.add.reduceat(np.add.reduceat(coupling, first, axis=0), first, axis=1)
        K = np.eye(len(block)) - np.outer(root, root) * coupling
        x = root * np.linalg.solve(K, root * total((u * S).sum(axis=0)))
        S = S + solved(u * x[of])
    out[:, used] += S * entries
    return out


def _inverses(quadratic, used, entries, a, step):
    """(step H_t + diag(1/a))^-1 on the entries in use, zero elsewhere; one for all tasks where they agree."""
    alike = quadratic.alike and entries.all()
    for t, own in enumerate(entries[:1] if alike else entries):
        at = np.flatnonzero(own)
        inverse = np.zeros((len(used), len(used)))
        system = step * quadratic.block(t, used[at]) + np.diag(1.0 / a[at])
        try:
            inverse[np.ix_(at, at)] = np.linalg.inv(system)
        except np.linalg.LinAlgError:  # entries in units so far apart, or collinear, that 1/a is nothing
            unit = units(system)
            rest = np.linalg.pinv(system * unit * unit[:, None], rcond=1e-13, hermitian=True)
            inverse[np.ix_(at, at)] = rest * unit * unit[:, None]
        yield inverse
