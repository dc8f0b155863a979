"""Fits of the fuzzer's cases, the objective written without the library, and what tells two fits apart."""

import re
import traceback
import warnings
from copy import copy
from dataclasses import dataclass

import numpy as np
from fuzz_cases import LINEAR, Form, kind, loss_of, make_form, make_model, make_rows
from numpy.linalg import LinAlgError
from scipy.special import log_softmax
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skmtl._labels import label_keys, object_array

TOL = 1e-6  # relative, of objectives and predictions
ARGUMENTS = re.compile(
    r"\b(X|y|Y|input variables|tasks?|sample_weight|weights?|columns?|loss|losses|alphas?"
    r"|graph|tree|order|class|classes|solver|penalty|n_\w+|positive|mean_alpha|intercept_alpha|estimator|labels|targets?|sources|tol|max_iter|\w+_ratio)\b"
)


class Wrong(Exception):
    """A fit that is not what it should be."""


@dataclass
class Fit:
    """A fitted model, the form that it was given, and what was said on the way."""

    model: object
    form: Form
    said: list

    @property
    def warned(self):
        return any(issubclass(w.category, ConvergenceWarning) for w in self.said)

    @property
    def bounds(self):
        """Least and greatest value that the optimum can have, by the certificate."""
        return self.model.objective_ - self.model.dual_gap_, self.model.objective_

    @property
    def codes(self):
        """Position in `tasks_` of every row's task."""
        known = label_keys(self.model.tasks_)
        return np.array([known.index(key) for key in label_keys(object_array(self.form.labels))])[
            self.form.rows.t
        ]

    def predictor(self):
        """x_i . w_t + b_t of every row, (n_rows, n_outputs)."""
        W = np.reshape(self.model.coef_, (self.model.n_tasks_, -1, self.form.rows.X.shape[1]))
        b = np.reshape(self.model.intercept_, (self.model.n_tasks_, -1))
        X = self.form.rows.X.astype(np.longdouble)
        return ((X[:, None, :] * W[self.codes]).sum(axis=2) + b[self.codes]).astype(float)

    def rounding(self):
        """About the last digits of the predictor of every row, (n_rows,)."""
        W = np.reshape(self.model.coef_, (self.model.n_tasks_, -1, self.form.rows.X.shape[1]))
        b = np.reshape(self.model.intercept_, (self.model.n_tasks_, -1))
        size = (np.abs(self.form.rows.X)[:, None, :] * np.abs(W)[self.codes]).sum(axis=2)
        return 1e-15 * (size + np.abs(b)[self.codes]).max(axis=1)

    def predicted(self):
        """What predict returns, row by row."""
        return self.form.of_rows(self.model.predict(**self.form.ask))


def fitted(case, rows=None, form=None, check=True, **changes):
    """The fit of a case, of other rows or in another form; finite, or wrong."""
    form = form or make_form(case, make_rows(case) if rows is None else rows)
    model = make_model(case, form.labels, **form.params, **changes)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(**form.fit)
    fit = Fit(model, form, said)
    if fit.warned:  # told to who asks for the verdict as well
        warnings.warn("not converged", ConvergenceWarning, stacklevel=2)
    if check:
        check_finite(fit)
    return fit


def check_finite(fit):
    for name in ("coef_", "intercept_", "objective_"):
        value = getattr(fit.model, name, None)
        if value is not None and not np.isfinite(value).all():
            raise Wrong(f"NaN: {name} is not finite")
    if np.isinf(getattr(fit.model, "dual_gap_", 0.0)) and not fit.warned:
        raise Wrong("gap: dual_gap_ is infinite without a warning")
    predicted, w = fit.predicted(), fit.form.rows.w
    seen = slice(None) if w is None else w > 0  # counts of other rows may overflow
    if predicted.dtype.kind == "f" and not np.isfinite(predicted[seen]).all():
        raise Wrong("NaN: predictions are not finite")


# --- the objective, written without the library ---


def row_losses(name, y, eta):
    """Loss of every row; eta (n_rows, n_outputs)."""
    if eta.shape[1] > 1:
        return -np.take_along_axis(log_softmax(eta, axis=1), y.astype(int)[:, None], 1)[:, 0]
    eta = eta[:, 0]
    if name == "squared_error":
        return 0.5 * (y - eta) ** 2
    if name == "huber":
        size = np.abs(y - eta)
        return np.where(size <= 1.35, 0.5 * size**2, 1.35 * (size - 0.675))
    if name == "poisson":
        return np.exp(eta) - y * eta + np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0)), 0.0) - y
    sign = 2 * y - 1
    return np.logaddexp(0, -sign * eta) if name == "log_loss" else 0.5 * np.maximum(0, 1 - sign * eta) ** 2


def data_term(case, rows, eta, classes=None):
    """sum_t c_t sum_i s_i loss_i; tasks may have classes of their own."""
    n_outputs = [eta.shape[1]] * rows.n_tasks
    if isinstance(classes, list):
        n_outputs = [min(len(own), eta.shape[1]) for own in classes]
    w = np.ones(len(rows.y)) if rows.w is None else rows.w / rows.w.max()
    mass = np.bincount(rows.t, w, minlength=rows.n_tasks)
    c = mass * (mass > 0).sum() / mass.sum() if case.task_weight == "samples" else np.ones(rows.n_tasks)
    total, drawn = 0.0, rows.y
    if kind(case) == "classifier":  # of three classes two may have been drawn
        drawn = np.unique(rows.y, return_inverse=True)[1]
    for t in np.flatnonzero(mass):
        if n_outputs[t] < 2 <= eta.shape[1]:
            continue  # the only class is certain
        at = (rows.t == t) & (w > 0)
        s, name = w[at] / mass[t], loss_of(case)
        if kind(case) == "mixed":
            name = ("squared_error", "log_loss")[t % 2]
        if name == "root_squared_error":
            total += c[t] * np.sqrt(s @ (rows.y[at] - eta[at, 0]) ** 2)
        else:
            own = eta[at][:, :1] if kind(case) == "mixed" else eta[at][:, : n_outputs[t]]
            y = np.unique(rows.y[at], return_inverse=True)[1] if isinstance(classes, list) else drawn[at]
            total += c[t] * (s @ row_losses(name, y, own))
    return float(total)


def at_its_strengths(model):
    """The same model with the strengths that it has estimated as numbers."""
    model = copy(model)
    for name in ("alpha", "intercept_alpha"):
        if isinstance(getattr(model, name, None), str):
            setattr(model, name, getattr(model, f"{name}_"))
            if hasattr(model, "covariance"):
                model.covariance = getattr(model, "_covariance_", None)
    return model


def penalty_term(model):
    """Omega at the parts of a fitted linear model, with ridge, shared model and intercepts."""
    related = isinstance(model.alpha, str) and hasattr(model, "task_covariance_")  # which is given then
    parts, model = list(model._parts_), at_its_strengths(model)
    T = len(parts[0])
    b = np.reshape(model.intercept_, (T, -1))
    apart = b - b[:1]  # the mean of large ones is rounded
    total = 0.5 * model.intercept_alpha * ((apart - apart.mean(axis=0)) ** 2).sum()
    W = np.reshape(model.coef_, (T, -1))
    if model.ridge:  # else squares may overflow
        total += 0.5 * model.ridge * (W**2).sum()
    if model._shared_mean() is not None:
        total += 0.5 * model._shared_mean() * (parts.pop() ** 2).sum()
    if related and T == 1:  # its coefficients are free
        return total
    if related:
        return total + 0.5 * model.alpha * float(np.trace(W.T @ np.linalg.pinv(model.task_covariance_) @ W))
    omega = model._omega().for_classes(model._n_outputs)
    if hasattr(omega, "value_of"):
        return total + omega.value_of(*parts)
    if getattr(model, "relaxation", None) == "kmeans":
        omega = omega.given(model.labels_)
    return total + sum(own.value(V) for own, V in zip(omega.parts(), parts, strict=True))


def null_scale(case, rows):
    """About the objective of a model without features."""
    w = np.ones(len(rows.y)) if rows.w is None else rows.w / rows.w.max()
    used, total, means = w > 0, 0.0, []
    if kind(case) == "classifier":
        return 1.0 * rows.n_tasks
    for t in np.unique(rows.t[used]):
        at = used & (rows.t == t)
        means.append(np.average(rows.y[at], weights=w[at]) if case.fit_intercept else 0.0)
        y = rows.y[at] - means[-1]
        square = np.average(y**2, weights=w[at])
        if loss_of(case) == "root_squared_error":
            total += np.sqrt(square)
        elif loss_of(case) in ("huber",):
            total += min(square, np.average(np.abs(y), weights=w[at]))
        else:
            total += 0.5 * square
    tie = case.intercept_alpha if isinstance(case.intercept_alpha, float) else 0.0
    if loss_of(case) == "squared_error":
        total += 0.5 * tie / (1.0 + tie) * float(np.var(means)) * len(means)
    elif loss_of(case) == "root_squared_error" and tie > 0:
        off = np.abs(means - np.mean(means))
        total += np.where(tie * off > 1, off - 0.5 / tie, 0.5 * tie * off**2).sum()
    rounding = (1e-12 * np.abs(rows.y[used]).max()) ** (1 if loss_of(case) == "root_squared_error" else 2)
    return float(total + rounding)


# --- comparing fits ---


def _as_likely(one, other, scale):
    """Whether both have estimated strengths that explain the data as well, up to what ends a search.

    Without noise nothing ends it: the likelihood has no maximum.
    """
    if not all(hasattr(model, "log_marginal_likelihood_") for model in (one, other)):
        return False
    if max(getattr(model, "noise_variance_", np.inf) for model in (one, other)) < 1e-5 * scale:
        return True
    reached = one.log_marginal_likelihood_, other.log_marginal_likelihood_
    return bool(abs(reached[0] - reached[1]) < 1e-7 * (1 + abs(reached[0])))


def same_optimum(a, b, case, factor=1.0, tol=TOL, check_predictions=True):
    """What tells two fits of one problem apart; objective and squares of b are factor times those of a."""
    rows = a.form.rows
    if factor == 1 and _as_likely(a.model, b.model, null_scale(case, rows)):
        return None
    if case.model in LINEAR and np.isfinite(a.model.dual_gap_) and np.isfinite(b.model.dual_gap_):
        (low, high), (other_low, other_high) = a.bounds, np.array(b.bounds) / factor
        slack = tol * max(null_scale(case, rows), abs(high)) + 1e-300
        if low > other_high + slack or other_low > high + slack:
            return (
                f"optimum between {low:.8g} and {high:.8g}, but between {other_low:.8g} and {other_high:.8g}"
            )
        if loss_of(case) == "squared_error" and check_predictions and kind(case) == "regressor":
            return close_predictors(a, b, case, factor, tol)
        return None
    told = hasattr(a.model, "dual_gap_") and (a.warned or b.warned)
    if told or (case.model in LINEAR and not a.model._omega().convex):
        return None  # not claimed to be found; rounding may lead to another stationary point
    return same_predictions(
        a, b, case, np.sqrt(factor), 1e-3
    )  # near to stationary, to the tolerance of a fit


def close_predictors(a, b, case, factor, tol):
    """By strong convexity of the squared loss: predictors differ by no more than both gaps allow."""
    rows = a.form.rows
    w = np.ones(len(rows.y)) if rows.w is None else rows.w / rows.w.max()
    w = w / np.bincount(rows.t, w)[rows.t]
    difference = a.predictor()[:, 0] - b.predictor()[:, 0] / np.sqrt(factor)
    squares = 0.5 * (w @ difference**2)
    scale = null_scale(case, rows)
    bound = (np.sqrt(a.model.dual_gap_) + np.sqrt(b.model.dual_gap_ / factor) + np.sqrt(tol * scale)) ** 2
    bound *= max(1.0, rows.n_tasks) if case.task_weight == "samples" else 1.0
    offset = 1e-14 * max(np.abs(rows.y).max(), np.abs(b.form.rows.y).max() / np.sqrt(factor))
    offset = max(offset, a.rounding().max())
    if squares > 1.01 * bound + 100 * offset**2:
        return f"predictions are {np.sqrt(squares):.3g} apart, the gaps allow {np.sqrt(bound):.3g}"
    return None


def same_predictions(a, b, case, factor=1.0, tol=1e-4):
    p, q = a.predicted(), b.predicted()
    if p.dtype.kind != "f" or is_classifier(a.model) or kind(case) == "mixed":
        share = np.mean([u != v for u, v in zip(p.tolist(), q.tolist(), strict=True)])
        return (
            f"{share:.0%} of the predicted classes differ"
            if share > 0.1 and len(p) > 20 and kind(case) != "mixed"
            else None
        )
    size = np.abs(p - q / factor).max() / (np.std(p) + 1e-10 * np.abs(p).max() + 1e-300)
    return f"predictions differ by {size:.2g} of their spread" if size > tol else None


def both(case, rows, other_rows, other_case=None, **options):
    """Compares a case with the fit of other rows that mean the same."""
    a = fitted(case, rows)
    b = second(fitted, other_case or case, other_rows)
    return same_optimum(a, b, case, **options)


# coefficients, or sums under the weights as they are, do not exist in the new units; nor a solver by name
BEYOND = "numbers overflow", "no numbers in double precision", "use solver='auto'"


def second(function, *args, **kwargs):
    """A second fit of the same problem: what the first accepted cannot be refused."""
    try:
        return function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        if is_raw(error) or any(reason in str(error) for reason in BEYOND):
            raise
        raise Wrong(f"refused in another form: {error}") from error


def is_raw(error):
    """Whether an error is none that names an argument, raised on purpose."""
    meant = isinstance(error, (ValueError, TypeError, NotFittedError)) and not isinstance(error, LinAlgError)
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return not (meant and re.search(r"skmtl|sklearn|narwhals", last) and ARGUMENTS.search(str(error)))
