"""Losses: functions of (y, eta) that never see the design."""

import numpy as np
from scipy.special import expit, gammaln, pdtr, softmax, xlog1py, xlogy

NORMAL = 1.4826  # times the median of the sizes of normal errors is their standard deviation

LARGEST_COUNT = 1e120


class Loss:
    """A convex loss of the target y and the linear predictor eta.

    Subclasses define `value`, `gradient`, `hessian` (in eta) and `conjugate`, all elementwise, and

    * `domain`: the interval of u on which the conjugate is finite;
    * `curvature`: an upper bound of the second derivative, ``inf`` if there is none;
    * `quadratic`: True if the loss is quadratic in eta;
    * `translates`: True if only y - eta matters;
    * `mean`: what a linear predictor predicts, the inverse link.

    `Multinomial` takes one predictor per class, `RootSquaredError` all rows of a task at once.

    Examples
    --------
    >>> from skmtl.losses import Loss, Poisson, SquaredError
    >>> [(isinstance(loss, Loss), loss.curvature) for loss in (SquaredError(), Poisson())]
    [(True, 1.0), (True, inf)]
    """

    curvature = np.inf
    quadratic = False
    translates = False
    pointwise = True  # a sum over rows
    log_link = False  # `mean` is exp(eta)
    exponential = False  # so is the second derivative
    n_outputs = 1  # predictors that a row needs
    per_class = False  # they have an axis of their own, even if there is one only

    def domain(self, y):
        """Least and greatest u with a finite conjugate."""
        return -np.inf, np.inf

    def project(self, y, u):
        """Nearest u with a finite conjugate."""
        return np.clip(u, *self.domain(y))

    def value_and_gradient(self, y, eta):
        """Both, for what they have in common is computed once."""
        return self.value(y, eta), self.gradient(y, eta)

    def derivatives(self, y, eta):
        """Gradient and Hessian, likewise."""
        return self.gradient(y, eta), self.hessian(y, eta)

    def times(self, hessian, d):
        """What `hessian` returned, times a change d of eta."""
        return hessian * d

    def put_back(self, y, hessian, slope, inside):
        """What `hessian` returned, without the rows whose slope was put back inside the domain."""
        return np.where(inside == slope, hessian, 0.0)

    def clipped(self, y):
        """`at`, `low`, `high`, like y, of a loss with the derivative clip(eta - at, low, high); or None."""

    def majorant(self, y, eta):
        """Curvature of parabolas that touch the loss at eta and lie above it, where it has a greatest one."""
        return np.full(np.shape(eta), self.curvature)

    def hessian_times(self, y, eta, d):
        """Second derivative at eta times a change d."""
        return self.times(self.hessian(y, eta), d)

    def falls(self, y):
        """Sign of the direction of each predictor in which the loss falls forever, 0 where it does not."""
        return np.zeros(y.shape)

    def check(self, y):
        """ValueError if the loss has no value for some target (NaN: missing)."""

    def rounding(self, unit, y_size):
        """What rounding, `unit` of its size, leaves of the loss of a row that is fitted perfectly."""
        return (unit * y_size) ** 2 if self.translates else unit * (1.0 + y_size)

    def mean(self, eta):
        """Prediction that belongs to the linear predictor."""
        return eta

    def probabilities(self, eta):
        """Probabilities of the classes, on a last axis; None where the loss has none."""
        return None

    def normalizer(self, y):
        """What a row lacks of minus a log-likelihood without dispersion; None where the loss is of none.

        Losses that are one have `third_derivative` as well.
        """
        return None

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self):
        return hash((type(self), *vars(self).values()))


class SquaredError(Loss):
    """Squared error, ``1/2 (y - eta)^2``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.losses import SquaredError
    >>> SquaredError().value(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    array([0., 2.])
    """

    curvature = 1.0
    quadratic = translates = True

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


class Huber(Loss):
    """Huber's loss: ``1/2 r^2`` for residuals up to delta, ``delta |r| - delta^2/2`` beyond, r = y - eta.

    Parameters
    ----------
    delta : float, default=1.35
        Residual, in units of y, beyond which the loss grows linearly.

    References
    ----------
    Huber (1964), Robust estimation of a location parameter, Annals of Mathematical Statistics 35,
    https://doi.org/10.1214/aoms/1177703732

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.losses import Huber
    >>> Huber(delta=1.0).value(np.array([0.0, 0.0]), np.array([1.0, 10.0]))
    array([0.5, 9.5])
    """

    curvature = 1.0
    translates = True

    def __init__(self, delta=1.35):
        if not delta > 0:
            raise ValueError(f"delta must be > 0; got {delta!r}.")
        self.delta = delta

    def value(self, y, eta):
        """Loss."""
        size = np.abs(y - eta)
        inner = np.minimum(size, self.delta)
        return inner * (size - 0.5 * inner)

    def gradient(self, y, eta):
        """First derivative in eta."""
        return np.clip(eta - y, -self.delta, self.delta)

    def hessian(self, y, eta):
        """Second derivative in eta, 1 or 0."""
        return (np.abs(y - eta) <= self.delta).astype(float)

    def clipped(self, y):
        return y, np.full(y.shape, -self.delta), np.full(y.shape, self.delta)

    def majorant(self, y, eta):
        """Curvature of parabolas about y that touch the loss at eta."""
        return self.delta / np.maximum(np.abs(y - eta), self.delta)

    def domain(self, y):
        return -self.delta, self.delta

    def conjugate(self, y, u):
        """Fenchel conjugate in eta; infinite beyond delta."""
        return np.where(np.abs(u) <= self.delta, u * (0.5 * u + y), np.inf)


class Poisson(Loss):
    """Half the Poisson deviance with the log link, ``exp(eta) - y eta + y log y - y``, y >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.losses import Poisson
    >>> Poisson().value(np.array([1.0, 1.0]), np.array([0.0, 1.0])).round(3)
    array([0.   , 0.718])
    """

    log_link = exponential = True

    def value(self, y, eta):
        """Loss."""
        return self.hessian(y, eta) - y * eta + (xlogy(y, y) - y)

    def gradient(self, y, eta):
        """First derivative in eta."""
        return self.hessian(y, eta) - y

    def hessian(self, y, eta):
        """Second derivative in eta."""
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def derivatives(self, y, eta):
        rate = self.hessian(y, eta)
        return rate - y, rate

    def third_derivative(self, y, eta):
        """Third derivative in eta."""
        return self.hessian(y, eta)

    def target_variance(self, eta, variance):
        """Mean squared error of exp(eta) as a prediction, for predictors with a variance about eta."""
        mean = np.exp(eta + 0.5 * variance)
        return mean + np.exp(2 * eta) * (np.exp(2 * variance) - 2 * np.exp(0.5 * variance) + 1)

    def interval(self, eta, std, level):
        """Least and greatest count (2, n) of an interval that has at least this probability.

        Where predictors are normal about eta with standard deviations (n,). Half of the rest is below it, or
        as much less as single counts make it, and above it not more than the rest of that.
        """
        z = np.linspace(-5.0, 5.0, 161)[:, None]
        weight = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
        with np.errstate(over="ignore"):
            rate = np.minimum(np.exp(eta + np.minimum(std, 1e3) * z), 2 * LARGEST_COUNT)

        def up_to(count):
            return np.where(count < 0, 0.0, (weight * pdtr(np.maximum(count, 0), rate)).sum(axis=0))

        def least(level):
            low, high = np.full(len(eta), -1.0), np.ceil(rate[-1] + 10 * np.sqrt(rate[-1]) + 20)
            while (high - low > np.maximum(1.0, 1e-12 * high)).any():
                middle = np.floor(0.5 * (low + high))
                enough = up_to(middle) >= level
                low, high = np.where(enough, low, middle), np.where(enough, middle, high)
            return high

        low = least(0.5 - 0.5 * level)
        return np.stack([low, least(level + up_to(low - 1))])

    def normalizer(self, y):
        """log y! less what the deviance takes off."""
        return gammaln(y + 1.0) - (xlogy(y, y) - y)

    def domain(self, y):
        return -y, np.inf

    def conjugate(self, y, u):
        """Fenchel conjugate in eta; infinite below -y."""
        rate = u + y
        inside = rate >= 0
        rate = np.where(inside, rate, 0.0)
        return np.where(inside, xlogy(rate, rate) - rate - (xlogy(y, y) - y), np.inf)

    def falls(self, y):
        """Sign of the direction in which the loss falls forever: down where nothing was counted."""
        return np.where(y > 0, 0.0, -1.0)

    def check(self, y):
        """ValueError if a target is negative, or so large that squares of slopes overflow."""
        if np.nanmin(y, initial=0.0) < 0:
            raise ValueError(f"the Poisson loss needs targets y >= 0; found {np.nanmin(y):g}.")
        if np.nanmax(y, initial=0.0) > LARGEST_COUNT:
            raise ValueError(
                f"the Poisson loss needs targets y <= {LARGEST_COUNT:g}; found {np.nanmax(y):g}. Divide y "
                "and the strengths by a constant: the intercepts change by its logarithm, and nothing else."
            )

    def mean(self, eta):
        """exp(eta)."""
        return np.exp(eta)


def _sign(y):
    """-1 for y = 0, 1 for y = 1: a product with it takes a fraction of the time of a choice of each row."""
    return np.copysign(1.0, y - 0.5)


class Logistic(Loss):
    """Logistic loss (log-loss) of two classes, ``log(1 + exp(eta)) - y eta`` with y in {0, 1}.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.losses import Logistic
    >>> Logistic().value(np.array([0.0, 1.0]), np.array([0.0, 0.0])).round(3)
    array([0.693, 0.693])
    """

    curvature = 0.25

    def value(self, y, eta):
        """Loss."""
        return np.maximum(-_sign(y) * eta, 0.0) + np.log1p(np.exp(-np.abs(eta)))

    def gradient(self, y, eta):
        """First derivative in eta."""
        small = np.exp(-np.abs(eta))
        return self._slope(y, eta, small) / (1.0 + small)

    def _slope(self, y, eta, small):
        """The gradient times 1 + exp(-|eta|), this the last: as 1 - expit(eta) digits would be lost."""
        away = -_sign(y)
        return away * np.maximum(small, away * eta >= 0)

    def hessian(self, y, eta):
        """Second derivative in eta."""
        small = np.exp(-np.abs(eta))
        return small / np.square(1.0 + small)

    def derivatives(self, y, eta):
        small = np.exp(-np.abs(eta))
        total = 1.0 + small
        return self._slope(y, eta, small) / total, small / np.square(total)

    def third_derivative(self, y, eta):
        """Third derivative in eta."""
        return -self.hessian(y, eta) * np.tanh(0.5 * eta)

    def normalizer(self, y):
        """Zero: it is minus a log-likelihood."""
        return np.zeros_like(y)

    def falls(self, y):
        return np.where(y > 0.5, 1.0, -1.0)

    def domain(self, y):
        return -y, 1.0 - y

    def probabilities(self, eta):
        return np.stack([expit(-eta), expit(eta)], axis=-1)

    def conjugate(self, y, u):
        """Fenchel conjugate in eta; infinite where u + y leaves [0, 1]."""
        size = -_sign(y) * u
        inside = (size >= 0) & (size <= 1)
        size = np.where(inside, size, 0.0)
        return np.where(inside, xlogy(size, size) + xlog1py(1 - size, -size), np.inf)


class SquaredHinge(Loss):
    """Squared hinge loss of two classes, ``1/2 max(0, 1 - (2y - 1) eta)^2`` with y in {0, 1}.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.losses import SquaredHinge
    >>> SquaredHinge().value(np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    array([0.5, 0. ])
    """

    curvature = 1.0

    def _short(self, y, eta):
        """Sign of the class and what is missing to the margin."""
        sign = _sign(y)
        return sign, np.maximum(0.0, 1.0 - sign * eta)

    def value(self, y, eta):
        """Loss."""
        return 0.5 * self._short(y, eta)[1] ** 2

    def gradient(self, y, eta):
        """First derivative in eta."""
        sign, short = self._short(y, eta)
        return -sign * short

    def hessian(self, y, eta):
        """Second derivative in eta, 1 or 0."""
        return (self._short(y, eta)[1] > 0).astype(float)

    def domain(self, y):
        return np.where(y > 0.5, -np.inf, 0.0), np.where(y > 0.5, 0.0, np.inf)

    def clipped(self, y):
        return np.where(y > 0.5, 1.0, -1.0), *self.domain(y)

    def conjugate(self, y, u):
        """Fenchel conjugate in eta; infinite where u has the sign of the class."""
        size = -_sign(y) * u
        return np.where(size >= 0, size * (0.5 * size - 1.0), np.inf)


class Multinomial(Loss):
    """Log-loss of K classes, ``log sum_k exp(eta_k) - eta_y``; y in {0, ..., K-1}, eta (..., K).

    Parameters
    ----------
    n_classes : int
        K, the number of classes and of linear predictors.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.losses import Multinomial
    >>> Multinomial(3).value(np.array([0.0]), np.zeros((1, 3))).round(3)
    array([1.099])
    """

    curvature = 0.5
    per_class = True

    def __init__(self, n_classes=3):
        self.n_classes = n_classes

    @property
    def n_outputs(self):
        """Predictors that a row needs."""
        return self.n_classes

    def _indicator(self, y):
        return (y[..., None] == np.arange(self.n_classes)).astype(float)

    def value(self, y, eta):
        """Loss, of the shape of y."""
        return self.value_and_gradient(y, eta)[0]

    def gradient(self, y, eta):
        """First derivatives in eta, of the shape of eta."""
        return self.derivatives(y, eta)[0]

    def value_and_gradient(self, y, eta):
        """Both, by one exponential; classes come first, as sums over a short last axis are slow."""
        z = np.array(eta.T, order="C")
        z -= z.max(axis=0)
        p = np.exp(z)
        total = p.sum(axis=0)
        own, slopes = self._slopes(y, p / total)
        return (np.log(total) - np.where(own, z, 0.0).sum(axis=0)).T, slopes.T

    def derivatives(self, y, eta):
        p = self.hessian(y, eta)
        return self._slopes(y, p.T)[1].T, p

    def _slopes(self, y, p):
        """Which class a row has, and p less 1 there, as minus the sum of the others: near 1 digits stay."""
        own = np.arange(self.n_classes, dtype=y.dtype).reshape(-1, *[1] * y.ndim) == y.T
        others = np.where(own, 0.0, p)
        return own, np.where(own, -others.sum(axis=0), others)

    def hessian(self, y, eta):
        """Probabilities of the classes."""
        p = np.array(eta.T, order="C")
        p -= p.max(axis=0)
        np.exp(p, out=p)
        p /= p.sum(axis=0)
        return p.T

    def probabilities(self, eta):
        return softmax(eta, axis=-1)

    def times(self, hessian, d):
        return hessian * (d - np.einsum("...k,...k->...", hessian, d)[..., None])

    def third_derivative(self, y, eta, C):
        """Derivatives of the trace of C (..., K, K) times the second derivatives, of the shape of eta."""
        p = self.hessian(y, eta)
        slope = np.einsum("...kk->...k", C) - 2 * np.einsum("...kl,...l->...k", C, p)
        return p * (slope - np.einsum("...k,...k->...", p, slope)[..., None])

    def normalizer(self, y):
        """Zero: it is minus a log-likelihood."""
        return np.zeros_like(y)

    def put_back(self, y, hessian, slope, inside):
        """Probabilities of the classes that are left."""
        p = inside + self._indicator(y)
        left = np.where(p > 0, hessian, 0.0)
        total = left.sum(axis=-1, keepdims=True)
        return np.where(total > 0, left / np.where(total > 0, total, 1.0), p)

    def falls(self, y):
        """Sign of the direction of each predictor in which the loss falls forever, of the shape of eta."""
        return self._indicator(y) - 1.0

    def project(self, y, u):
        """A u with a finite conjugate: negative probabilities are set to zero, the others rescaled."""
        own = self._indicator(y)
        p = np.maximum(u + own, 0.0)
        total = p.sum(axis=-1, keepdims=True)
        return np.where(total > 0, p / np.where(total > 0, total, 1.0), own) - own

    def conjugate(self, y, u):
        """Fenchel conjugate in eta; infinite where u plus the indicator of y is no distribution."""
        own = self._indicator(y)
        others = np.where(own > 0, 0.0, u)
        p = np.where(own > 0, 1.0 - others.sum(axis=-1, keepdims=True), u)
        slack = np.abs(u.sum(axis=-1)) <= 1e-9 * (1 + np.abs(u).sum(axis=-1))
        inside = slack & (p >= 0).all(axis=-1)
        return np.where(inside, xlogy(p, np.maximum(p, 0.0)).sum(axis=-1), np.inf)


class RootSquaredError(Loss):
    """Root of the mean squared error of a task, ``sqrt(sum_i s_i (y_i - eta_i)^2)``.

    A loss of all rows of a task at once: tasks are calibrated by their own noise level, and the
    strength of a penalty needs no knowledge of it. Not differentiable at a perfect fit.

    References
    ----------
    Gong, Zhou, Fan & Ye (2014), Efficient multi-task feature learning with calibration, KDD,
    https://doi.org/10.1145/2623330.2623641

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.losses import RootSquaredError
    >>> from skmtl.penalties import L2, Features
    >>> from skmtl.datasets import make_multitask_regression
    >>> data = make_multitask_regression(n_tasks=4, n_samples=30, random_state=0)
    >>> model = MultiTaskRegressor(0.1, loss=RootSquaredError(), penalty=Features(L2()))
    >>> model.fit(data.X, data.y, tasks=data.tasks).coef_.shape
    (4, 20)
    """

    translates = True
    pointwise = False

    def rounding(self, unit, y_size):
        """What rounding, `unit` of its size, leaves of the loss of a task that is fitted perfectly."""
        return unit * y_size

    def value(self, y, eta):
        """Loss of one task whose rows weigh the same, a float."""
        return float(np.sqrt(np.mean((y - eta) ** 2)))

    def gradient(self, y, eta):
        """Its gradient in eta; zero at a perfect fit."""
        size = self.value(y, eta)
        return (eta - y) / (len(y) * size) if size > 0 else np.zeros_like(eta)

    def hessian(self, y, eta):
        """Its value and gradient."""
        return self.value(y, eta), self.gradient(y, eta)

    def times(self, hessian, d):
        size, slope = hessian
        return (d / len(d) - slope * (slope @ d)) / size if size > 0 else np.zeros_like(d)

    def project(self, y, u):
        """u: its domain is no interval."""
        return u

    def conjugate(self, y, u):
        """Its Fenchel conjugate, a float; infinite where ``n ||u||^2 > 1``."""
        return float(u @ y) if len(y) * (u @ u) <= 1 + 1e-12 else np.inf


REGRESSION_LOSSES = {"squared_error": SquaredError, "huber": Huber, "poisson": Poisson}
REGRESSION_LOSSES["root_squared_error"] = RootSquaredError
CLASSIFICATION_LOSSES = {"log_loss": Logistic, "squared_hinge": SquaredHinge}


def tasks_by_loss(losses):
    """{loss: positions of its tasks}, in the order of their first ones."""
    found = {}
    for t, loss in enumerate(losses):
        found.setdefault(loss, []).append(t)
    return found


def get_loss(loss, losses):
    """The loss object behind a name of `losses`; an object, unless it is of classes, is returned as it is."""
    if isinstance(loss, (Logistic, SquaredHinge, Multinomial)):
        raise ValueError(
            f"loss={loss!r} is of classes, and its predictors are no numbers to predict: use a classifier "
            "(...Classifier in place of ...Regressor), or among losses of tasks its name, 'log_loss' or "
            "'squared_hinge'."
        )
    return loss if isinstance(loss, Loss) else losses[loss]()


__all__ = sorted(
    name for name, item in globals().items() if isinstance(item, type) and issubclass(item, Loss)
)
