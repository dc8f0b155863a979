"""Losses: functions of (y, eta) that never see the design."""

import numpy as np
from scipy.special import expit, xlogy


class Loss:
    """A convex loss, pointwise in the target y and the linear predictor eta.

    Subclasses define `value`, `gradient`, `hessian` (in eta) and `conjugate`, all elementwise, and

    * `domain`: the interval of u on which the conjugate is finite;
    * `curvature`: an upper bound of the second derivative, ``inf`` if there is none;
    * `quadratic`: True if the loss is quadratic in eta.
    """

    curvature = np.inf
    quadratic = False

    def domain(self, y):
        """Least and greatest u with a finite conjugate."""
        return -np.inf, np.inf

    def __repr__(self):
        return f"{type(self).__name__}()"

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self):
        return hash((type(self), *vars(self).values()))


class SquaredError(Loss):
    """Squared error, ``1/2 (y - eta)^2``."""

    curvature = 1.0
    quadratic = True

    def value(self, y, eta):
        """Loss."""
        return 0.5 * (y - eta) ** 2

    def gradient(self, y, eta):
        """First derivative in eta."""
        return eta - y

    def hessian(self, y, eta):
        """Second derivative in eta."""
        return np.ones_like(eta)

    def conjugate(self, y, u):
        """Fenchel conjugate in eta, ``sup_eta u eta - loss(y, eta)``."""
        return u * (0.5 * u + y)


class Logistic(Loss):
    """Logistic loss (log-loss) of two classes, ``log(1 + exp(eta)) - y eta`` with y in {0, 1}."""

    curvature = 0.25

    def value(self, y, eta):
        """Loss."""
        return np.logaddexp(0.0, np.where(y > 0.5, -eta, eta))

    def gradient(self, y, eta):
        """First derivative in eta."""
        # 1 - expit(eta) would round to zero for a confident correct prediction
        return np.where(y > 0.5, -expit(-eta), expit(eta))

    def hessian(self, y, eta):
        """Second derivative in eta."""
        return expit(eta) * expit(-eta)

    def domain(self, y):
        """Least and greatest u with a finite conjugate."""
        return -y, 1.0 - y

    def conjugate(self, y, u):
        """Fenchel conjugate in eta; infinite where u + y leaves [0, 1]."""
        size = np.where(y > 0.5, -u, u)
        inside = (size >= 0) & (size <= 1)
        size = np.where(inside, size, 0.0)
        return np.where(inside, xlogy(size, size) + xlogy(1 - size, 1 - size), np.inf)


REGRESSION_LOSSES = {"squared_error": SquaredError}
CLASSIFICATION_LOSSES = {"log_loss": Logistic}


def get_loss(loss, losses):
    """The loss object behind a name of `losses`; an object is returned as it is."""
    return loss if isinstance(loss, Loss) else losses[loss]()


__all__ = ["Logistic", "Loss", "SquaredError"]
