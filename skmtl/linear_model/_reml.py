"""The search of variances by restricted maximum likelihood."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from types import MappingProxyType

import numpy as np
from scipy import special

from ._variance_components import Moments, NoModeError

RANGE = 1e8  # times the information of a mean task: strengths beyond are those of no variance, or no prior
NONE = 1e6  # times the same: from here on a strength that rises is that of no variance
FAR = 1e2  # times the same: from where no search starts, as the criterion is flat beyond
GRID = 1e4, 1e2, 1.0, 1e-2  # times the same: where it starts, each mode near the one before
ALIKE = 1e-12  # of the criterion, for each pair of tasks: no difference
HARDLY = 1e-4  # of the criterion: a hundredth of a standard error
NEAR = 1e-3  # of the criterion, for each task: enough for a start
MOST_TASKS = 50, 1000  # on which a search starts where there are many more
MOST_STEPS = 100
UNTOLD = 1e-9  # information about a logarithm, below which there is none
DEFINITE = 1e-8  # eigenvalue of such information in units of its diagonal, below which it is rounding
MOST_SHORTER = 12  # steps of half the length that are tried
CLOSE = 0.5  # step in a logarithm after which the information is what it was, and what the step tells of it
NEARBY = 1.0  # step in a logarithm from which Newton's method converges
LEAST_CURVED = 0.1  # second derivative along a step over that of the information that takes its place
LEAST_SHARE = 1e-12  # the square of a share of a variance
CERTAIN = 3.0  # standard errors above zero, from where a variance is taken as it is
TAIL = 0.975  # probability below the quantile by which variances count errors of that of the noise
LONGEST = 5.0  # step in a logarithm by which a variance falls
LEAST_NOISE = 0.7  # of that of a simpler covariance
SHARES = np.linspace(1.0, 0.0, 11)  # of several variances, the rest of one for all
HIGHEST = 5.0  # and how far it rises, in itself: farther on, all rise together beside a noise of none


class Known:
    """What searches have in common: `moments`, a `strength` or None, and the last model that was formed."""

    last = None

    # whether the strength of the intercepts is to be found
    ties = property(lambda self: self.moments.pooled and self.strength is None)

    def at(self, theta):
        """The model there; the last one is kept."""
        if self.last is None or not np.array_equal(self.last[0], theta):
            self.last = np.array(theta), self._model_at(theta)
        return self.last[1]

    def _best_of(self, points):
        self.last = min(((theta, self.at(theta)) for theta in points), key=lambda one: one[1].criterion)
        return self.last[0]


@dataclass
class Search(Known):
    """Criterion of the logarithms of the strengths that are not given, with its gradient.

    Parameters
    ----------
    moments : Moments
    covariance : {"spherical", "diagonal"}
        Of the slopes, where these have a strength to be found.
    root : ndarray or None
        R, where it is given.
    strength : float or None
        That of the intercepts, where it is given.
    unit : ndarray or None
        R of one variance for all slopes, but for a factor; None: that of slopes which vary alike.
    """

    moments: Moments
    covariance: str = "spherical"
    root: np.ndarray | None = None
    strength: float | None = None
    unit: np.ndarray | None = None
    last: tuple | None = None
    spherical: np.ndarray | None = None  # about the unknowns of one variance, known after a search of several

    @property
    def n_slopes(self):
        """Unknowns of the covariance of the slopes."""
        p = self.moments.xy.shape[1]
        return 0 if self.root is not None else {"spherical": 1, "diagonal": p}[self.covariance]

    _units = property(lambda self: np.ones(self.moments.xy.shape[1]) if self.unit is None else self.unit)

    # what a mean task says of each slope, without and with its mean, in these units
    information = cached_property(lambda self: self.moments.information(self._units))

    @cached_property
    def scales(self):
        """Logarithms of strengths that weigh as much as the rows of a mean task, and limits."""
        own, all_rows = self.information
        some = own[own > 0] if (own > 0).any() else np.ones(1)
        most = max(all_rows.max(initial=0.0), some.max())
        if self.covariance == "spherical":
            own, low, high = some.mean(keepdims=True), some.min(keepdims=True), np.full(1, most)
        else:
            own, high = np.where(own > 0, own, most), np.where(all_rows > 0, all_rows, most)
            low = own
        slopes, intercepts = self.moments.least_strengths(self._units)
        slopes = slopes.mean() if self.covariance == "spherical" else slopes
        low = np.maximum(low / RANGE, slopes)
        parts = [np.zeros((3, 0))]
        parts += [tuple(map(np.log, (own, low, high * RANGE)))] * (self.root is None)
        if self.ties:
            n = np.log(self.moments.weight.mean(keepdims=True))
            low = np.maximum(n - np.log(RANGE), np.log(intercepts)) if intercepts else n - np.log(RANGE)
            parts.append((n, low, n + np.log(RANGE)))
        return [np.concatenate(one) for one in zip(*parts, strict=True)] or [np.zeros(0)] * 3

    @cached_property
    def silent(self):
        """Which unknowns are of deviations that no rows tell from those of the intercepts."""
        one = self.root is not None or self.covariance == "spherical"
        constant = np.zeros(len(self.scales[0]) - self.ties, dtype=bool) if one else self.moments.constant
        return np.append(constant, [False] * self.ties).astype(bool)

    none = property(lambda self: self.scales[2].copy())  # the unknowns without any variance

    def ratios(self, theta):
        """R and the strength of the intercepts."""
        k, root = self.n_slopes, self.root
        if k and self.covariance == "spherical":
            root = np.exp(-0.5 * theta[0]) * self._units
        elif k:
            root = np.exp(-0.5 * theta[:k])
        return root, float(np.exp(theta[-1])) if self.ties else self.strength

    def _model_at(self, theta):
        return self.model(*self.ratios(theta))

    def model(self, root, strength):
        """`Posterior` at R and a strength of the intercepts."""
        return self.moments.posterior(root, strength)

    def without_mode(self):
        """`NoModeError` where common coefficients have none, at any strengths; else None."""
        if self.moments.has_mode:
            return None
        try:
            self.about().at(self.scales[0])
        except NoModeError as error:
            return error
        self.moments.has_mode = True
        return None

    def __call__(self, theta):
        """Criterion and gradient."""
        found = self.at(theta)
        return found.criterion, self.gradient(found)

    def gradient(self, found):
        """Derivatives of the criterion at a `Posterior`."""
        return self._of_unknowns(found.slope_gradient, found.intercept_gradient)

    def common_gradient(self, found):
        """What common coefficients add to them, where they are integrated out."""
        return self._of_unknowns(found.common_slope_gradient, found.common_intercept_gradient)

    def _of_unknowns(self, slopes, intercepts):
        """Derivatives in the unknowns, from what gives those in the entries of R and in the strength."""
        gradient = []
        if self.n_slopes:
            own = slopes()
            own = own if own.ndim == 1 else own.diagonal()
            gradient.append(own.sum(keepdims=True) if self.covariance == "spherical" else own)
        if self.ties:
            gradient.append([intercepts()])
        return np.concatenate(gradient)

    # --- the search itself ---

    def _starts(self):
        """Points of a coarse grid, one strength after the other; or those of a simpler covariance."""
        theta = scale = self.scales[0]
        if self.covariance == "diagonal" and self.root is None:
            simpler = replace(self, covariance="spherical", last=None)
            theta = self.spherical = simpler.best(NEAR)
            alike = np.insert(theta[1:], 0, np.full(self.n_slopes, theta[0]))
            own = np.insert(theta[1:], 0, scale[: self.n_slopes] + theta[0] - simpler.scales[0][0])
            return [alike, own]  # one variance for all, in units as they are or as the rows tell them
        of_slopes = np.arange(len(theta)) < len(theta) - self.ties
        for some in [of_slopes] * (self.root is None) + [~of_slopes] * self.ties:
            theta = self._best_of(theta + np.log(GRID)[:, None] * some)
        return [theta]

    def simplest(self, theta):
        """The search that ended at theta, or that of one variance for all slopes, and the end of it.

        By Akaike's criterion.
        """
        other = replace(self, covariance="spherical", last=None)
        end, least = other.descended(self.spherical, enough=NEAR), self.at(theta).criterion
        least += 2 * (self.n_slopes - other.n_slopes)
        if other.at(end).criterion <= least + NEAR * self.moments.n_tasks:  # it may be the one
            end = other.descended(end)
        return (self, theta) if other.at(end).criterion > least else (other, end)

    def leaving_noise(self, theta):
        """The unknowns, or some between one variance for all slopes and these, which leave most of its noise.

        Variances of as many slopes as rows may explain the noise away; one for all, in units that the rows
        tell alike, hardly does.
        """
        own = np.where(self.information[0] > 0, self.information[0], 1.0)
        alike = replace(self, covariance="spherical", unit=own**-0.5, last=None)
        end = alike._some(MOST_TASKS[-1]).best(NEAR)
        least, one = LEAST_NOISE * alike.at(end).noise, np.append(end[0] + np.log(own), end[1:])
        for share in SHARES:
            between = np.clip(share * theta + (1 - share) * one, *self.scales[1:])
            if self.at(between).noise >= least:
                break
        return between

    def descended(self, theta, fixed=(), enough=None):
        """The minimum from a start, with some unknowns held: Newton's method with the average information.

        A strength that rises without end is that of no variance.
        """
        if self.moments.n_tasks == 1:
            return self.none
        scale, low, high = self.scales
        enough = self.alike if enough is None else enough * self.moments.n_tasks
        free = np.isin(np.arange(len(theta)), fixed, invert=True) & ~self.silent
        theta = np.where(free, np.clip(theta, low, scale + np.log(FAR)), np.where(self.silent, high, theta))
        found, before, counts, H, start, gradient = self.at(theta), 0.0, self._counts, None, theta, None
        for _ in range(MOST_STEPS):
            old, gradient = gradient, self.gradient(found)
            held = np.where(gradient > 0, theta <= low, theta >= high)
            at = np.flatnonzero(free & ~held)
            H = self._information(found) if H is None else _updated(H, theta - start, gradient - old)
            moves = _moves(H[np.ix_(at, at)], gradient[at], counts[at])
            first = next(moves)
            gain = -gradient[at] @ first
            if gain < enough:
                break
            least, start = found, theta
            for own in chain([first], moves):
                move = np.zeros(len(theta))
                move[at] = own
                theta = np.clip(start + move, low, high)
                if own is first:  # others may have to make up for a variance that goes
                    theta = np.where(free & (theta > scale + np.log(NONE)) & (move > 0), high, theta)
                found = self.at(theta)
                if found.criterion <= least.criterion + 1e-4 * gradient @ (theta - start):
                    break
            else:
                return start
            left = theta[at] < high[at]  # the others have arrived
            whole = np.array_equal(theta[at][left], (start[at] + first)[left])
            whole = whole and first[left].min(initial=0.0) > -NEARBY
            if whole and gain**2 < enough * before:
                break  # the next step would gain as much less than this one as this less than the last
            before, H = gain, H if whole and left.all() and np.abs(first).max(initial=0.0) < CLOSE else None
        return theta

    # a difference of the criterion that is none
    alike = property(lambda self: min(ALIKE * self.moments.n_tasks**2, HARDLY))

    @property
    def _counts(self):
        """Coefficients that have the variance of each strength in common."""
        T, p = self.moments.xy.shape
        own = T * p if self.covariance == "spherical" else T
        return np.append(np.full(self.n_slopes, own), [T] * self.ties)

    def _information(self, found):
        """Second derivatives of the unknowns, about."""
        if self.covariance == "spherical":
            first = int(self.root is not None)
            own = slice(first, first + len(self.scales[0]))
            return found.information_alike()[own, own]
        H, p = found.information(), self.moments.xy.shape[1]
        if self.root is not None:
            return H[p:, p:]
        return H[: p + self.ties, : p + self.ties]

    def best(self, enough=None):
        """The unknowns at the least criterion; those of a variance of zero are at their upper bounds."""
        if not len(self.scales[0]):
            return self.scales[0]
        theta = None
        for n_tasks in MOST_TASKS:
            few = self._some(n_tasks)
            if theta is None:
                few = few.about()
                theta = few._best_of(few._starts())
                self.spherical = few.spherical
            if few is not self:
                theta = few.descended(theta, enough=NEAR)
        return self.descended(theta, enough=enough)

    def _some(self, n_tasks):
        """The same of about so many of the tasks, where these tell of all that is to be found."""
        step = -(-self.moments.n_tasks // n_tasks) if len(self.moments.xx) > 1 else 0
        few = self.of(slice(None, None, step)) if step > 1 else self
        return self if few.moments.df < 0.5 * few.moments.count.sum() or few.without_mode() else few

    def expected(self, theta, bias=0.0, share=1.0, means=MappingProxyType({})):
        """R and strength at the expected variances given the rows, which are the greater the less these tell.

        A variance has about a normal distribution above zero, with the average information as precision;
        standard errors at an estimate of zero would be too small. One far from zero stays as it is. And the
        variances of the logarithms of the precisions, of slopes and intercepts (n_features + 1,), and the
        factor of all variances for errors of that of the noise. `bias` is what the gradient lacks, and
        `share` the root of what the rows tell over the information; `means` holds logarithms of precisions
        and their variances that are known better.
        """
        k, p = self.n_slopes, self.moments.xy.shape[1]
        if not len(theta):
            return *self.ratios(theta), np.zeros(p + 1), 1.0
        at = np.where(self.silent, theta, np.minimum(theta, self.scales[0] + np.log(FAR)))
        found = self.at(at)
        gradient = self.gradient(found) + bias
        told, certain, mean, errors, half = expected_variances(
            self._information(found) * np.multiply.outer(share, share), gradient
        )
        certain |= self.silent[told]
        theta = theta.copy()
        theta[told] = np.where(certain, theta[told], at[told] - np.log(mean))
        spread, errors = np.zeros(p + 1), dict(zip(told, errors**2, strict=True))
        for j, known in means.items():
            theta[j], errors[j] = known
        for j, own in errors.items():
            spread[p if j == k else slice(p) if self.covariance == "spherical" else j] = own
        return *self.ratios(theta), spread, self._tails(found, told, half)

    def _tails(self, found, told, half):
        """Square of a quantile of t over that with the degrees of freedom of known strengths.

        Satterthwaite's degrees of freedom of the noise, whose logarithm depends on those of the strengths, of
        which `half` is a root of the covariance.
        """
        if np.isinf(found.df):
            return 1.0
        shares = self._of_unknowns(found.slope_squares, found.intercept_squares) / (found.noise * found.df)
        along, own = shares[told] @ half, 2 / found.df
        return float(
            (special.stdtrit(2 / (own + along @ along), TAIL) / special.stdtrit(found.df, TAIL)) ** 2
        )

    def about(self):
        """The same to some digits, where these are cheaper."""
        moments = self.moments.about()
        return self if moments is self.moments else replace(self, moments=moments, last=None)

    def of(self, tasks):
        """The same of some of the tasks."""
        moments = self.moments.some(tasks)
        return self if moments is self.moments else replace(self, moments=moments, last=None)


def expected_variances(H, gradient):
    """Expected variances over those at which a criterion has this information and gradient.

    In the logarithms of the precisions. Which ones the rows tell of, and of these which are far from zero,
    what is expected of them, their standard deviations over that, and a root of their covariance about.
    """
    told = np.flatnonzero(H.diagonal() > UNTOLD)
    unit = H.diagonal()[told] ** -0.5
    values, vectors = np.linalg.eigh(H[np.ix_(told, told)] * np.outer(unit, unit))
    half = unit[:, None] * vectors[:, values > DEFINITE] * np.sqrt(2 / values[values > DEFINITE])
    mode = 1 + 0.5 * half @ (gradient[told] @ half)
    spread = np.sqrt(np.maximum((half**2).sum(axis=1), np.finfo(float).tiny))
    z = mode / spread
    above = np.exp(-0.5 * z**2 - special.log_ndtr(z)) / np.sqrt(2 * np.pi)
    mean, left = np.maximum(z + above, 0.1), np.sqrt(np.clip(1 - above * (above + z), 0.0, 1.0))
    return told, z > CERTAIN, spread * mean, np.minimum(left / mean, 1.0), half


def _moves(H, gradient, counts):
    """Changes of logarithms of precisions to be tried one after the other, (n,) each.

    The first takes Newton's step in the logarithms of the variances of estimates, of which a variance is a
    share, the rest being noise; the others, shorter and shorter, go along a straight line.
    """
    share = np.sqrt(np.clip(2 * H.diagonal() / counts, LEAST_SHARE, 1.0))
    step = newton_step(H, gradient, HIGHEST)
    bold = 1 + np.expm1(np.minimum(-share * step, np.log(HIGHEST))) / share
    bold = -np.log(np.maximum(bold, np.exp(-LONGEST)))
    if gradient @ bold < 0:
        yield bold
    careful = newton_step(H, gradient, LONGEST)
    yield from (careful * 0.5**k for k in range(MOST_SHORTER))


def _updated(H, step, change):
    """Second derivatives H by which the gradient has this change along a step (Broyden and others)."""
    along, size = H @ step, step @ H @ step
    if not step @ change > LEAST_CURVED * size:
        return H
    return H - np.outer(along, along) / size + np.outer(change, change) / (step @ change)


def newton_step(H, gradient, highest):
    """-H^-1 gradient, with the size of its eigenvalues; damped where a variance would change too much."""
    long = np.zeros(len(H), dtype=bool)
    while True:
        damped = H + np.diag(np.abs(gradient) / np.where(long, LONGEST, highest))
        unit = 1 / np.sqrt(np.maximum(np.abs(damped.diagonal()), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(unit[:, None] * damped * unit)
        step = -unit * (vectors @ ((vectors.T @ (unit * gradient)) / np.maximum(np.abs(values), 1e-6)))
        longer = (step > LONGEST) & ~long
        if not longer.any():
            return step
        long = longer if not long.any() else long | True
