"""The duality gap: one for all problems."""


def duality_gap(primal, bound, size, quadratic, slack=0.0, left=0.0):
    """Gap between `primal` and the best bound(theta) with theta in [0, 1 / size], and theta slack + left.

    bound(theta) is the dual objective at theta times a dual point, with a quadratic loss a parabola; zero is
    always feasible. Below zero there is only rounding, whose size is what is known.
    """
    limit = 1.0 / size if size > 0 else float("inf")
    theta = min(1.0, limit)
    if quadratic:  # known from two of its values
        up, down = bound(1.0), bound(-1.0)
        curvature, slope = -(up + down) / 2, (up - down) / 2
        if curvature > 0:
            theta = min(max(slope / (2 * curvature), 0.0), limit)
    gap = primal - bound(theta) + theta * slack + left
    return abs(min(gap, primal - bound(0.0))) if gap == gap else float("inf")
