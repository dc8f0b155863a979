"""Strengths of classifiers and of counts by Laplace's method."""

import copy
import pickle
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import LAYOUTS, criterion_of, make_layout
from numpy.testing import assert_allclose
from scipy import optimize, sparse, special, stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from skmtl import (
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    PathSearchCV,
    TaskKFold,
    TaskStatistics,
    compare,
)
from skmtl._data import make_task_data
from skmtl.linear_model import _random_coefficients, _sampled, _sharing
from skmtl.linear_model._laplace import Likelihood, Mode, ModeMoments
from skmtl.linear_model._reml import Search
from skmtl.linear_model._sampled import refined
from skmtl.linear_model._seen_rows import SeenRows
from skmtl.losses import Logistic, Poisson

AUTO = {"alpha": "auto", "intercept_alpha": "auto"}
COVARIANCES = ("spherical", "diagonal", "full")
LOSSES = Logistic(), Poisson()


def problem(seed, loss, n_tasks=12, n_rows=12, p=2, sd=0.7, sd_intercept=0.8):
    """Rows of tasks around a common model, of unequal numbers; coefficients and intercepts."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), rng.integers(max(n_rows // 2, 1), 2 * n_rows, n_tasks))
    X = rng.normal(size=(len(tasks), p))
    W = 0.7 * rng.normal(size=p) + sd * rng.normal(size=(n_tasks, p))
    b = 0.4 + sd_intercept * rng.normal(size=n_tasks)
    eta = b[tasks] + (X * W[tasks]).sum(axis=1)
    y = rng.random(len(eta)) < special.expit(eta) if loss == Logistic() else rng.poisson(np.exp(eta))
    return X, y.astype(float), tasks, W, b


def targets(y, loss):
    """Classes or counts that go with numbers, of which some may be missing."""
    u = np.random.default_rng(0).random(y.shape)
    found = u < special.expit(y) if loss == Logistic() else np.floor(u + np.exp(0.5 * y))
    return np.where(np.isnan(y), np.nan, found)


def search_on(X, y, tasks, loss, intercepts="pooled", covariance="spherical", weight=None):
    data = make_task_data(X, y, tasks, sample_weight=weight)
    seen = SeenRows(data, loss)
    given = np.ones(seen.n_tasks), intercepts is not None, intercepts == "free"
    return Search(ModeMoments.on(seen.likelihood(*given)), covariance)


def fitted(X, y, tasks, loss=LOSSES[0], **options):
    options = {**AUTO, **options}
    if options["alpha"] == "auto":
        options.setdefault("covariance", "diagonal")
    if loss == Logistic():
        return MeanRegularizedClassifier(**options).fit(X, y, tasks=tasks)
    return MeanRegularizedRegressor(loss="poisson", **options).fit(X, y, tasks=tasks)


class Dense:
    """The joint density of rows, coefficients z and their prior as one big model, by Newton's method.

    z: common intercept and slopes, then for each task the deviation of its intercept (or a free one) and
    slopes. The random effects are all that have a variance.
    """

    def __init__(self, X, y, tasks, loss, V, intercepts):
        T, p = tasks.max() + 1, X.shape[1]
        self.y, self.loss = y, loss
        own = np.zeros((len(y), T, 1 + p))
        own[np.arange(len(y)), tasks] = np.column_stack([np.ones(len(y)), X])
        common = np.column_stack([np.ones(len(y)), X])
        prior = np.zeros((T, 1 + p, 1 + p))
        prior[:, 1:, 1:] = np.linalg.inv(V)
        random = np.ones((T, 1 + p), dtype=bool)
        if not isinstance(intercepts, str) and intercepts is not None:
            prior[:, 0, 0] = 1 / intercepts
        else:
            random[:, 0], common[:, 0] = False, 0.0
            own[:, :, 0] *= intercepts == "free"
        self.Z = np.column_stack([common, own.reshape(len(y), -1)])
        self.P = np.zeros((self.Z.shape[1],) * 2)
        for t in range(T):
            at = slice((1 + p) * (t + 1), (1 + p) * (t + 2))
            self.P[at, at] = prior[t]
        self.random = np.concatenate([np.zeros(1 + p, dtype=bool), random.ravel()])
        self.free = np.concatenate([np.zeros(1 + p, dtype=bool), ~random.ravel()]) * (intercepts == "free")
        self.V, self.intercepts, self.T = V, intercepts, T

    def value(self, z):
        eta = self.Z @ z
        return (self.loss.value(self.y, eta) + self.loss.normalizer(self.y)).sum() + 0.5 * z @ self.P @ z

    def hessian(self, z):
        return (self.Z.T * self.loss.hessian(self.y, self.Z @ z)) @ self.Z + self.P

    def mode(self):
        z = np.zeros(self.Z.shape[1])
        for _ in range(60):
            g = self.Z.T @ self.loss.gradient(self.y, self.Z @ z) + self.P @ z
            step = -np.linalg.pinv(self.hessian(z), hermitian=True, rcond=1e-12) @ g
            while self.value(z + step) > self.value(z) + 1e-9:
                step /= 2
            z = z + step
        return z

    def criterion(self, hessian=None):
        """-2 times the log-likelihood; free intercepts are those at the means, of the weighted rows."""
        z = self.mode()
        H = self.hessian(z) if hessian is None else hessian(z)
        used = self.random | self.free
        logdet = np.linalg.slogdet(H[np.ix_(used, used)])[1]
        if self.free.any():
            logdet -= np.linalg.slogdet(H[np.ix_(self.free, self.free)])[1]
        prior = self.T * np.linalg.slogdet(self.V)[1]
        if not isinstance(self.intercepts, str) and self.intercepts is not None:
            prior += self.T * np.log(self.intercepts)
        return 2 * self.value(z) + logdet + prior


# --- the criterion ---


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("intercepts", [0.8, "free", None])
def test_the_criterion_is_that_of_the_dense_model(intercepts, loss, rng):
    X, y, tasks, *_ = problem(1, loss)
    for R in (rng.uniform(0.3, 1.5, 2), np.tril(rng.normal(size=(2, 2))) + np.eye(2)):
        V = np.diag(R**2) if R.ndim == 1 else R @ R.T
        kind = "pooled" if intercepts == 0.8 else intercepts
        found = search_on(X, y, tasks, loss, kind).moments.posterior(R, 1 / 0.8)
        assert_allclose(
            -2 * found.log_likelihood, Dense(X, y, tasks, loss, V, intercepts).criterion(), rtol=1e-9
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_criterion_is_that_of_a_numerical_hessian(loss):
    """Of the joint density alone: second differences of its values."""
    X, y, tasks, *_ = problem(0, loss, n_tasks=4, n_rows=8)
    dense, step = Dense(X, y, tasks, loss, 0.5 * np.eye(2), 0.8), 1e-3

    def hessian(z):
        at, E = np.flatnonzero(dense.random), step * np.eye(len(z))
        H = np.zeros((len(z),) * 2)
        for i in at:
            for j in at:
                signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
                H[i, j] = sum(a * b * dense.value(z + a * E[i] + b * E[j]) for a, b in signs) / (4 * step**2)
        return H

    found = search_on(X, y, tasks, loss).moments.posterior(np.full(2, 0.5**0.5), 1 / 0.8)
    assert_allclose(-2 * found.log_likelihood, dense.criterion(hessian), rtol=0, atol=2e-5)


@pytest.mark.parametrize("i, layout", list(enumerate(LAYOUTS[:-1])))
@pytest.mark.parametrize("j, kind", list(enumerate(["pooled", "free", None])))
def test_the_gradient_equals_differences(j, kind, i, layout, rng):
    """Each layout and each kind with both losses."""
    data, loss = make_layout(layout), LOSSES[(i + j) % 2]
    y = targets(data.y, loss)
    for covariance in COVARIANCES:
        search = search_on(data.X, y, data.tasks, loss, kind, weight=data.sample_weight)
        value, at, _ = criterion_of(search.moments, covariance)
        at = at + 0.3 * rng.normal(size=len(at))
        steps = 1e-4 * np.eye(len(at))
        differences = [(value(at + step)[0] - value(at - step)[0]) / 2e-4 for step in steps]
        assert_allclose(value(at)[1], differences, rtol=1e-6, atol=1e-5)


@pytest.mark.no_cover
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("intercepts", ["pooled", "free", None])
def test_the_search_finds_the_maximum_of_the_dense_likelihood(intercepts, covariance):
    X, y, tasks, *_ = problem(2, LOSSES[0], n_tasks=8, n_rows=20, sd=1.0)
    moments = search_on(X, y, tasks, LOSSES[0], intercepts).moments
    found = -2 * criterion_of(moments, covariance)[2]().log_likelihood

    def value(z):
        own = np.exp(z[-1]) if intercepts == "pooled" else intercepts
        if covariance == "full":
            L = np.array([[np.exp(z[0]), 0], [z[2], np.exp(z[1])]])
            return Dense(X, y, tasks, LOSSES[0], L @ L.T + 1e-9 * np.eye(2), own).criterion()
        z = z[:1].repeat(2) if covariance == "spherical" else z[:2]
        return Dense(X, y, tasks, LOSSES[0], np.diag(np.exp(z)), own).criterion()

    size = {"spherical": 1, "diagonal": 2, "full": 3}[covariance] + (intercepts == "pooled")
    start = np.where(np.arange(size) == 2, 0.0, -0.5) if covariance == "full" else np.full(size, -0.5)
    best = optimize.minimize(value, start, method="BFGS", options={"gtol": 1e-4, "maxiter": 30}).fun
    assert found <= best + 1e-5
    if covariance != "full":
        assert_allclose(found, best, rtol=0, atol=1e-3)


@pytest.mark.no_cover
def test_many_rows_leave_little_of_the_error_of_the_approximation():
    """Against quadrature of random intercepts: the error of a task falls as that of its rows grow."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    errors = []
    for n_rows in (12, 48, 192):
        X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=40, n_rows=n_rows, sd=0.0)
        search = search_on(X, y, tasks, LOSSES[0])
        found = search.moments.posterior(np.full(2, 1e-6), 1 / 0.64)
        b = np.mean(found.found.intercept)
        eta = b + X @ found.found.coef.mean(axis=0)
        exact = 0.0
        for t in range(40):  # adaptive: about the mode, at its curvature
            rows = tasks == t
            at = found.found.intercept[t] - b
            width = (LOSSES[0].hessian(y[rows], eta[rows] + at).sum() + 1 / 0.64) ** -0.5
            u = at + width * nodes
            log_joint = -LOSSES[0].value(y[rows, None], eta[rows, None] + u).sum(axis=0) - 0.5 * u**2 / 0.64
            log_joint += 0.5 * nodes**2 + np.log(width / 0.8)
            exact += np.log(weights @ np.exp(log_joint) / np.sqrt(2 * np.pi))
        errors.append(abs(found.log_likelihood - exact) / 40)
    assert errors[0] < 0.02 and errors[1] < 0.005 and errors[2] < 0.001
    assert errors[0] > errors[1] > errors[2]


# --- what Laplace's method leaves out ---


@pytest.fixture
def by_laplace(monkeypatch):
    """Standard errors by Laplace's method alone."""
    monkeypatch.setattr(_random_coefficients, "told_by_points", lambda moments: False)


def by_quadrature(x, y, tasks, loss, mean, variance):
    """Exact log-likelihood of one slope that varies, and first and second moments of each (n_tasks, 3)."""
    nodes = np.linspace(-8, 8, 801)  # as exact as ten times as many
    slopes = mean + np.sqrt(variance) * nodes
    each = [-loss.value(y[own, None], x[own] * slopes).sum(axis=0) for own in by_tasks(tasks)]
    joint = np.exp(np.array(each) - 0.5 * nodes**2) * (nodes[1] - nodes[0]) / np.sqrt(2 * np.pi)
    found = joint @ np.stack([np.ones(len(nodes)), slopes, slopes**2], axis=1)
    return np.log(found[:, 0]).sum(), found[:, 1:] / found[:, :1]


def by_tasks(tasks):
    return [tasks == t for t in range(tasks[-1] + 1)]


@pytest.mark.parametrize("loss", LOSSES)
def test_errors_are_those_of_the_exact_posterior(loss):
    X, y, tasks, *_ = problem(4, loss, n_tasks=60, n_rows=6, p=1, sd=1.0, sd_intercept=0.0)
    options = {"covariance": "spherical", "fit_intercept": False, "tol": 1e-10}
    model = fitted(X, y, tasks, loss, **options)

    def lost(at):
        return -by_quadrature(X, y, tasks, loss, at[0], np.exp(at[1]))[0]

    def lost_about(at, mean):  # what is common integrated out
        spread = np.linspace(-0.6, 0.6, 13)
        return -special.logsumexp([-lost([mean + away, at[0]]) for away in spread])

    options = {"xatol": 1e-3, "fatol": 1e-6}
    best = optimize.minimize(lost, [0.5, -0.5], method="Nelder-Mead", options=options).x
    search = model._search(model._seen_of(model._seen_))
    (theta, _, share, _), move = refined(search, model._theta_)
    assert_allclose(model.mean_coef_ + move, best[:1], atol=0.02)
    if loss == Logistic():  # by Laplace's method it is too small
        assert_allclose(-theta, best[1:], atol=0.02)
        assert -model._theta_[0] < best[1] - 0.1
        along = [lost(best + np.array([0.0, away])) for away in (-0.25, 0.0, 0.25)]
        curvature = 2 * (along[0] - 2 * along[1] + along[2]) / 0.25**2
        told = search._information(search.at(theta)).item()  # rows tell much less of the variance than that
        assert_allclose(told * share**2, curvature, rtol=0.05)
        assert share < 0.9
    else:
        about = optimize.minimize_scalar(lambda at: lost_about([at], best[0]), [best[1], best[1] + 0.1])
        assert_allclose(-theta, about.x, atol=0.005)
        assert about.x > best[1] + 0.015

    found = model._known_posterior()
    mean = (model.mean_coef_ + move).item()
    first, second = by_quadrature(X, y, tasks, loss, mean, found.root.item() ** 2)[1].T
    coef = model.coef_[:, 0]
    wanted = second - 2 * coef * first + coef**2
    assert_allclose(found.covariances[:, 0, 0] + found.beyond[:, 0, 0], wanted, rtol=0.03)
    assert np.abs(found.covariances[:, 0, 0] / wanted - 1).max() > 0.1


@pytest.mark.parametrize("loss", LOSSES)
def test_errors_of_coefficients_and_of_predictors_are_the_same(loss):
    """The slope of a feature is what a predictor gains by it, and levels are where X is zero."""
    X, y, tasks, *_ = problem(2, loss)
    model = fitted(X + 5.0, y, tasks, loss)
    found = model._known_posterior()
    assert np.abs(found.beyond).max() > 1e-3
    codes = np.arange(12)
    zero = found.predictor_variances(np.zeros((12, 2)), codes)
    assert_allclose(model.intercept_std_, np.sqrt(zero))
    ahead, behind = (
        found.predictor_variances(sign * np.eye(2)[:1].repeat(12, axis=0), codes) for sign in (1, -1)
    )
    assert_allclose(0.5 * (ahead + behind) - zero, model.coef_std_[:, 0] ** 2, rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_variances_hardly_above_zero_are_as_expected(seed):
    """By the exact likelihood along the variance, with a prior that is flat in the standard deviation."""
    X, y, tasks, *_ = problem(seed, Logistic(), n_tasks=25, n_rows=5, p=1, sd=0.5, sd_intercept=0.0)
    model = fitted(X, y, tasks, Logistic(), covariance="spherical", fit_intercept=False)
    search = model._search(model._seen_of(model._seen_))
    (*_, means), move = refined(search, model._theta_)
    common, fine = model.mean_coef_ + move, np.linspace(-np.log(100), np.log(8), 60)
    logs = fine - search.scales[0]
    gain = [by_quadrature(X, y, tasks, Logistic(), common, np.exp(log))[0] for log in logs]
    weight, share = special.softmax(gain + 0.5 * logs), special.expit(fine)
    wanted = special.logit(weight @ share) - search.scales[0]
    assert_allclose(-means[0][0], wanted, atol=0.06)
    assert wanted > -model._theta_[0] + 0.1
    assert_allclose(model._known_posterior().root, np.exp(0.5 * wanted), rtol=0.04)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_intervals_of_tasks_with_few_rows_cover(n_classes):
    covered = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        tasks, X = np.repeat(np.arange(30), 10), rng.normal(size=(300, 3))
        W = 0.5 * rng.normal(size=(n_classes, 3)) + 0.7 * rng.normal(size=(30, n_classes, 3))
        W[:, 0] *= n_classes > 2
        b = 0.5 * rng.normal(size=(30, n_classes)) * ([0, 1] if n_classes == 2 else 1)
        y = (np.einsum("ij,ikj->ik", X, W[tasks]) + b[tasks] + rng.gumbel(size=(300, n_classes))).argmax(
            axis=1
        )
        W = W[:, 1] if n_classes == 2 else W - W.mean(axis=1, keepdims=True)
        model = fitted(X, y, tasks, covariance="spherical")
        covered.append(np.abs(model.coef_ - W) <= 1.96 * model.coef_std_)
    assert 0.92 <= np.mean(covered) <= 0.97


def test_variances_of_many_tasks_are_refined_by_some(monkeypatch):
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=120, n_rows=8)
    every = fitted(X, y, tasks, covariance="spherical")
    assert every._known_posterior().beyond is not None
    monkeypatch.setattr("skmtl.linear_model._sampled.MOST_TASKS", 50)
    some = fitted(X, y, tasks, covariance="spherical")
    assert_allclose(some._known_posterior().root, every._known_posterior().root, rtol=0.05)
    assert_allclose(some.coef_std_, every.coef_std_, rtol=0.05)
    assert (some.coef_std_ != every.coef_std_).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_free_covariances_have_the_errors_of_the_exact_posterior(loss):
    """Without correlations in the rows they are those of variances of their own."""
    X, y, tasks, *_ = problem(6, loss, n_tasks=40, n_rows=10)
    full, diagonal = (fitted(X, y, tasks, loss, covariance=one) for one in ("full", "diagonal"))
    assert full.covariance_shrinkage_ > 0.9
    assert np.abs(full._known_posterior().beyond).max() > 1e-3
    own, wanted = ((model.coef_std_**2).mean() for model in (full, diagonal))
    assert_allclose(own, wanted, rtol=0.02)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_errors_are_numbers_where_X_is_far_from_zero(covariance):
    rng = np.random.default_rng(0)
    X, y = 1e6 + rng.normal(size=(48, 3)), np.random.default_rng(3).poisson(1.0, 48)
    options = {"alpha": "auto", "intercept_alpha": "auto", "loss": "poisson", "covariance": covariance}
    with pytest.warns(UserWarning, match="Centre the features"):
        model = MeanRegularizedRegressor(**options).fit(X, y, tasks=np.repeat(np.arange(8), 6))
    assert np.isfinite(model.coef_std_).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_tasks_of_the_same_size_are_handled_at_once(n_classes, monkeypatch):
    """Loops are over sizes, not tasks, and what is read together is what is read one by one."""
    rng = np.random.default_rng(2)  # with points that stand for a task unevenly
    tasks = np.repeat(np.arange(60), rng.choice([4, 7], size=60))
    X = rng.normal(size=(len(tasks), 2))
    y = (X[:, :1] + rng.normal(size=(len(tasks), n_classes))).argmax(axis=1)
    model, calls, points = fitted(X, y, tasks, covariance="spherical"), [], []

    kind = type(model._target_.loss)
    known, scores = kind.value, _sampled._scores
    with monkeypatch.context() as patch:
        patch.setattr(kind, "value", lambda *given: calls.append(1) or known(*given))
        patch.setattr(_sampled, "_scores", lambda *given: points.append(1) or scores(*given))
        together = model.coef_std_
    assert len(calls) < 30 * len(points)
    monkeypatch.setattr("skmtl.linear_model._task_inverses.CHUNK_NUMBERS", 1)
    assert_allclose(fitted(X, y, tasks, covariance="spherical").coef_std_, together, rtol=1e-6)


# --- estimators ---


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_numbers_give_the_same_fit(covariance, loss, by_laplace):
    X, y, tasks, *_ = problem(0, loss)
    model = fitted(X, y, tasks, loss, covariance=covariance, tol=1e-12)
    numbers = clone(model).set_params(
        alpha=model.alpha_, intercept_alpha=model.intercept_alpha_, task_weight="samples",
        covariance=None if covariance == "spherical" else model.deviation_variance_,
    ).fit(X, y, tasks=tasks)  # fmt: skip
    assert_allclose(numbers.coef_, model.coef_, rtol=1e-6, atol=1e-8)
    assert_allclose(numbers.mean_coef_std_, model.mean_coef_std_, rtol=1e-4, atol=1e-6)
    assert (model.coef_std_ >= 0.999 * numbers.coef_std_).all()
    assert model.noise_variance_ == 1.0 and model.dual_gap_ <= 1e-9


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_forms_of_data_have_an_answer(layout):
    data = make_layout(layout, n=80, p=3)
    given = data.fit_args()
    given["y"] = targets(data.y, LOSSES[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a fit without tasks
        model = MeanRegularizedClassifier(**AUTO, tol=1e-10).fit(**given)
    assert np.isfinite(model.coef_).all() and model.dual_gap_ <= 1e-7
    assert model.coef_std_.shape == np.shape(model.coef_) and (model.coef_std_ > 0).all()
    assert np.isfinite(model.log_marginal_likelihood_)


def test_forms_of_the_same_data_give_the_same():
    X, y, tasks, *_ = problem(3, LOSSES[0])
    model = fitted(X, y, tasks, tol=1e-10)
    order = np.random.default_rng(0).permutation(len(y))
    others = [
        fitted(X[order], y[order], tasks[order], tol=1e-10),
        fitted(sparse.csr_matrix(X), y, tasks, tol=1e-10),
        MeanRegularizedClassifier(**AUTO, covariance="diagonal", task_column=2, tol=1e-10).fit(
            np.column_stack([X, tasks]), y
        ),
    ]
    Y = np.where(tasks[:, None] == np.arange(12), y[:, None], np.nan)
    others.append(MeanRegularizedClassifier(**AUTO, covariance="diagonal", tol=1e-10).fit(X, Y))
    for other in others:
        assert_allclose(other.deviation_variance_, model.deviation_variance_, rtol=1e-4, atol=1e-7)
        assert_allclose(other.coef_, model.coef_, rtol=1e-4, atol=1e-5)
        assert_allclose(other.log_marginal_likelihood_, model.log_marginal_likelihood_, rtol=1e-8)
        assert_allclose(other.coef_std_, model.coef_std_, rtol=1e-3)


def test_weights_are_numbers_of_rows():
    X, y, tasks, *_ = problem(3, LOSSES[1])
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    options = {**AUTO, "loss": "poisson", "tol": 1e-10}
    model = MeanRegularizedRegressor(**options).fit(X, y, tasks=tasks, sample_weight=weight)
    X, y, tasks = (np.repeat(A, weight, axis=0) for A in (X, y, tasks))
    other = MeanRegularizedRegressor(**options).fit(X, y, tasks=tasks)
    assert_allclose(other.deviation_variance_, model.deviation_variance_, rtol=1e-5)
    assert_allclose(other.coef_, model.coef_, rtol=1e-5, atol=1e-6)
    assert_allclose(other.log_marginal_likelihood_, model.log_marginal_likelihood_, rtol=1e-9)


@pytest.mark.parametrize("intercepts", ["pooled", "free", None])
def test_standard_errors_are_those_of_the_joint_model(intercepts, by_laplace):
    X, y, tasks, *_ = problem(5, LOSSES[1], n_tasks=30)
    options = {"pooled": {}, "free": {"intercept_alpha": 0.0}, None: {"fit_intercept": False}}[intercepts]
    model = fitted(X, y, tasks, LOSSES[1], tol=1e-13, **options)
    own = model.intercept_variance_ if intercepts == "pooled" else intercepts
    dense = Dense(X, y, tasks, LOSSES[1], np.diag(model.deviation_variance_), own)
    z = dense.mode()
    C = np.linalg.pinv(dense.hessian(z), hermitian=True, rcond=1e-12)
    assert_allclose(z[1:3], model.mean_coef_, rtol=1e-5, atol=1e-6)
    assert_allclose(model.mean_coef_std_, np.sqrt(C.diagonal()[1:3]), rtol=1e-4)
    errors = model._known_posterior().precision_variances[[2, 0, 1]]
    errors /= np.array([own if intercepts == "pooled" else np.inf, *model.deviation_variance_])
    for t in range(30):
        at = slice(3 * t + 3, 3 * t + 6)
        covariance = C[:3, :3] + C[at, at] + C[:3, at] + C[at, :3]
        along = np.linalg.pinv(dense.hessian(z)[at, at], hermitian=True)  # what is common known
        std = np.sqrt(covariance.diagonal() + (along**2 * errors).sum(axis=1))
        assert_allclose(model.coef_std_[t], std[1:], rtol=1e-4)
        if intercepts is not None:
            assert_allclose(model.intercept_std_[t], std[0], rtol=1e-4)


def test_standard_deviations_of_counts():
    X, y, tasks, *_ = problem(5, LOSSES[1], n_tasks=30)
    model = fitted(X, y, tasks, LOSSES[1], handle_unknown="average")
    predicted, std = model.predict(X, tasks=tasks, return_std=True)
    assert predicted.shape == std.shape and (std**2 >= predicted).all()
    rng, error = np.random.default_rng(0), model._errors(X[:3], tasks[:3], False)
    draws = rng.poisson(np.exp(np.log(predicted[:3]) + error * rng.normal(size=(400_000, 3))))
    assert_allclose(np.sqrt(((draws - predicted[:3]) ** 2).mean(axis=0)), std[:3], rtol=0.02)
    lower, upper = model.prediction_interval(X[:3], tasks=tasks[:3], level=0.9)
    less, more = (draws < lower).mean(axis=0), (draws > upper).mean(axis=0)
    assert (less <= 0.052).all() and (less + (draws == lower).mean(axis=0) >= 0.048).all()
    assert (less + more <= 0.102).all() and (less + more + (draws == upper).mean(axis=0) >= 0.098).all()
    new = np.full(len(y), 99)
    assert np.isfinite(model.predict(X, tasks=new, return_std=True)[1]).all()
    assert (np.diff(model.prediction_interval(X, tasks=new), axis=0) > 0).all()


def test_intervals_of_counts_have_the_shape_of_predictions_and_hold_new_ones():
    X, y, tasks, W, b = problem(6, LOSSES[1], n_tasks=40, n_rows=10, sd=0.4)
    rng = np.random.default_rng(0)
    y = rng.poisson(np.exp(2.0 + b[tasks] + (X * W[tasks]).sum(axis=1)))
    model = fitted(X, y, tasks, LOSSES[1])
    new, at = rng.normal(size=(2000, 2)), rng.integers(40, size=2000)
    y = rng.poisson(np.exp(2.0 + b[at] + (new * W[at]).sum(axis=1)))
    lower, upper = model.prediction_interval(new, tasks=at)
    assert (lower % 1 == 0).all() and (upper % 1 == 0).all() and (lower >= 0).all()
    assert 0.94 < np.mean((lower <= y) & (y <= upper)) < 0.98
    Y = rng.poisson(2.0, size=(30, 4))
    both = MeanRegularizedRegressor(**AUTO, loss="poisson").fit(X[:30], Y)
    assert both.prediction_interval(X[:7]).shape == (2, 7, 4)
    with pytest.raises(ValueError, match="prediction_interval needs loss='squared_error' or 'poisson'"):
        MeanRegularizedRegressor(loss="huber").fit(X[:30], Y).prediction_interval(X[:7])


def test_intervals_of_counts_of_any_size():
    eta, std = np.array([-20.0, 0.0, 3.0, 60.0, 250.0, 0.0]), np.array([0.1, 0.0, 0.0, 0.1, 0.0, np.inf])
    low, high = Poisson().interval(eta, std, 0.95)
    assert_allclose(low[:3], stats.poisson.ppf(0.025, np.exp(eta[:3])))
    level = 0.95 + stats.poisson.cdf(low[:3] - 1, np.exp(eta[:3]))
    assert_allclose(high[:3], stats.poisson.ppf(level, np.exp(eta[:3])))
    assert_allclose(np.log([low[3], high[3]]), 60 + np.array([-0.196, 0.196]), atol=4e-3)
    assert_allclose(np.log(high[4]), 250.0) and (low <= high).all()
    assert low[5] == 0 and high[5] > 1e100


def test_a_new_task_is_fitted_under_the_estimated_covariance():
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=15)
    old = tasks < 14
    model = fitted(X[old], y[old], tasks[old], tol=1e-12)
    before = model.coef_std_
    model.fit_task(X[~old], y[~old], 14)
    Z = np.column_stack([np.ones((~old).sum()), X[~old]])
    prior = np.append(model.intercept_variance_, model.deviation_variance_)
    mean = np.append(model.mean_intercept_, model.mean_coef_)

    def value(w):
        return Logistic().value(y[~old], Z @ w).sum() + 0.5 * ((w - mean) ** 2 / prior).sum()

    expected = optimize.minimize(value, mean, method="BFGS", options={"gtol": 1e-9}).x
    assert_allclose(np.append(model.intercept_[-1], model.coef_[-1]), expected, rtol=1e-3, atol=1e-4)
    assert_allclose(model.coef_std_[:14], before)
    assert (model.coef_std_[-1] > 0).all() and (model.coef_std_[-1] < np.sqrt(prior[1:]) + 1).all()


@pytest.mark.parametrize("strength", [0, 1.0, "auto"])
def test_errors_of_a_new_task_are_those_of_the_others(strength):
    """With as many rows, and nearly the same variances, of a fit with the task."""
    X, y, tasks, *_ = problem(2, LOSSES[1], n_tasks=40, n_rows=40)
    old, models = tasks < 39, []
    for rows in (old, np.ones_like(old)):
        models.append(fitted(X[rows], y[rows], tasks[rows], LOSSES[1], intercept_alpha=strength))
    models[0].fit_task(X[~old], y[~old], 39)
    assert_allclose(*(model.coef_std_[-1] for model in models), rtol=0.03)
    assert_allclose(*(model.intercept_std_[-1] for model in models), rtol=0.03)


def test_tests_of_sharing_see_what_differs():
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=20, n_rows=30, sd=1.0)
    found = fitted(X, y, tasks).test_sharing()
    assert list(found) == ["slopes", "intercepts", "x0", "x1"]
    assert all(one.p_value < 0.01 and one.statistic > 5 for one in found.values())
    X, y, tasks, *_ = problem(1, LOSSES[0], n_tasks=20, n_rows=30, sd=0.0, sd_intercept=0.0)
    assert all(one.p_value > 0.05 for one in fitted(X, y, tasks).test_sharing().values())


def test_the_null_of_tests_has_the_variance_of_classes_about_free_intercepts(rng):
    """Exchanged within tasks, classes vary more than they do at a fit with an intercept for each task."""
    tasks = np.repeat(np.arange(300), 5)
    X, y = rng.normal(size=(1500, 1)), (rng.random(1500) < 0.4).astype(float)
    null = search_on(X, y, tasks, Logistic(), "free").moments.posterior(np.full(1, 1e-6), None)
    drawn = []
    for _ in range(30):
        order = np.lexsort((rng.random(1500), tasks))
        score = TaskStatistics.from_arrays(X, y[order], tasks).xy[:, 0]
        drawn.append((score**2).sum())
    assert_allclose(null.excess * null.moments.xx.sum(), np.mean(drawn), rtol=0.05)
    counts = search_on(X, y, tasks, Poisson(), "free").moments.posterior(np.full(1, 1e-6), None)
    assert counts.excess == 1.0
    few = tasks < 20
    weight = np.where(np.arange(few.sum()), 1.0, 1.1)
    model = MeanRegularizedClassifier("auto").fit(X[few], y[few], tasks=tasks[few], sample_weight=weight)
    with pytest.warns(UserWarning, match="few rows for intercepts of their own"):
        model.test_sharing()


@pytest.mark.parametrize(("loss", "sd"), [(LOSSES[0], 3.0), (LOSSES[1], 1.0)])
def test_slopes_of_few_rows_a_task_are_tested_by_targets_drawn_within_tasks(loss, sd):
    """Draws have the probabilities of rows given their sum; p-values tell slopes that differ."""
    tasks, found = np.repeat(np.arange(60), 5), []
    for seed, own in enumerate([0.0] * 5 + [sd] * 5):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(300, 1))
        eta = X[:, 0] * (0.7 + own * rng.normal(size=60)[tasks]) + rng.normal(size=60)[tasks]
        y = rng.poisson(np.exp(eta)) if loss.log_link else rng.random(300) < special.expit(eta)
        y = y.astype(float)
        null = search_on(X, y, tasks, loss, "free").moments.posterior(np.full(1, 1e-6), None)
        seen = SeenRows(make_task_data(X, y, tasks), loss)
        found.append(_sharing._drawn_anew(1.0, null, seen, np.ones(1)).p_value)
    assert np.median(found[:5]) > 0.1 and np.median(found[5:]) < 0.02
    other = SeenRows(make_task_data(X, y, tasks, offset=np.linspace(-50.0, 50.0, 60)[tasks]), loss)
    assert _sharing._drawn_anew(1.0, null, other, np.ones(1)).p_value == found[-1]  # intercepts answer it
    for many in (np.ones((300, 400)), np.ones((20_001, 1))):  # 60 x 400 slopes, more rows
        n = len(many)
        data = make_task_data(many, np.arange(n) % 2.0, np.arange(n) % 60)
        assert _sharing._rows_to_draw(SeenRows(data, loss)) is None


@pytest.mark.parametrize("loss", LOSSES)
def test_targets_are_drawn_for_rows_in_any_form(loss):
    """Sparse, on one X with missing labels, and as often as whole weights say."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 2)) * (rng.random((8, 2)) < 0.7)
    y, weight = (rng.random((8, 12)) < 0.5).astype(float), rng.integers(0, 3, (8, 12)).astype(float)
    y[:2], weight[:2] = [[0.0], [1.0]], 1.0
    task, row = np.divmod(np.repeat(np.arange(96), weight.T.ravel().astype(int)), 8)
    model = fitted(X[row], y[row, task], task, loss, intercept_alpha=0.0, covariance="spherical")
    wanted = model.test_sharing()["slopes"].p_value
    assert 0.01 < wanted < 1 and (wanted * 1000) % 1 < 1e-9
    once = np.tile(np.arange(12), 8)
    for rows, target, given in (
        (sparse.csr_array(X[row]), y[row, task], {"tasks": task}),
        (X, np.where(weight > 0, y, np.nan), {"sample_weight": weight}),
        (sparse.csr_array(X), y, {"sample_weight": weight}),
        (np.repeat(X, 12, axis=0), y.ravel(), {"tasks": once, "sample_weight": weight.ravel()}),
        (X[row], y[row, task], {"tasks": task, "sample_weight": np.full(len(row), 0.7)}),
    ):
        found = clone(model).fit(rows, target, **given).test_sharing()["slopes"].p_value
        assert_allclose(found, wanted, atol=0.002)  # a draw or two, where common slopes start elsewhere


@pytest.mark.parametrize("n_rows", [5, 40])
def test_pooled_intercepts_leave_few_rows_to_draws(n_rows):
    """The p-value of slopes is that of draws where rows are few, that of the ratio where they are many."""
    X, y, tasks, *_ = problem(2, LOSSES[0], n_tasks=12, n_rows=n_rows)
    found = fitted(X, y, tasks, covariance="spherical").test_sharing()["slopes"]
    rank = found.p_value * (1 + _sharing.N_DRAWN)
    assert (abs(rank - round(rank)) < 1e-6) == (n_rows == 5)


def test_draws_of_a_number_have_the_probabilities_of_rows():
    odds = np.array([0.5, 1.0, 4.0])
    drawn = _sharing._of_number(odds / (1 + odds), 1, np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 1).all()
    assert_allclose(drawn.mean(axis=0), odds / odds.sum(), atol=0.05)


@pytest.mark.no_cover
def test_variances_are_about_the_truth_where_rows_are_many():
    for loss, atol in zip(LOSSES, (0.35, 0.25), strict=True):
        X, y, tasks, *_ = problem(3, loss, n_tasks=100, n_rows=60, sd=0.7)
        model = fitted(X, y, tasks, loss)
        assert_allclose(model.deviation_variance_, 0.49, rtol=atol)
        assert_allclose(model.intercept_variance_, 0.64, rtol=atol)


def test_searches_and_comparisons_take_estimated_strengths():
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=5, n_rows=20)
    auto = MeanRegularizedClassifier(**AUTO, covariance="spherical")
    search = PathSearchCV(auto, cv=2).fit(X, y, tasks=tasks)
    assert search.best_params_ == {"alpha": "auto"} and np.isfinite(search.best_score_)
    assert_allclose(search.best_estimator_.coef_, fitted(X, y, tasks, covariance="spherical").coef_)
    half = PathSearchCV(MeanRegularizedClassifier(intercept_alpha="auto"), [0.01, 0.1], cv=2)
    assert half.fit(X, y, tasks=tasks).best_estimator_.intercept_alpha_ > 0
    assert np.isfinite(compare({"auto": auto}, X, y, tasks, cv=2, baselines=()).table["mean"]).all()
    Z, grid = np.column_stack([X, tasks]), {"covariance": ["spherical", "diagonal"]}
    other = GridSearchCV(clone(auto).set_params(task_column=2), grid, cv=TaskKFold(2, task_column=2)).fit(
        Z, y
    )
    assert np.isfinite(other.best_score_)


@pytest.mark.no_cover
def test_estimated_strengths_pass_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(MeanRegularizedClassifier(tol=1e-1, **AUTO))


def test_fitted_models_are_copied_saved_and_changed():
    X, y, tasks, *_ = problem(0, LOSSES[0])
    model = fitted(X, y, tasks)
    std = model.coef_std_
    assert_allclose(copy.deepcopy(model).coef_, model.coef_)
    other = pickle.loads(pickle.dumps(model))
    assert_allclose(other.predict_proba(X, tasks=tasks), model.predict_proba(X, tasks=tasks))
    with pytest.raises(ValueError, match="Fit it again"):
        _ = other.coef_std_
    assert_allclose(model.coef_std_, std)  # saving has left the rows where they were
    model.set_params(alpha=0.3, intercept_alpha=0.1, covariance=None).fit(X, y, tasks=tasks)
    assert "alpha_" not in vars(model)


# --- what is hard ---


def hard_problems():
    few = {"n_tasks": 8, "n_rows": 8}
    X, y, tasks, *_ = problem(0, LOSSES[1], **few, sd=0.0, sd_intercept=0.0)
    rng = np.random.default_rng(0)
    yield "zero variances", X, y, tasks
    X, y, tasks, *_ = problem(0, LOSSES[1], **few)
    yield "one task", X, y, np.zeros(len(y))
    yield "one class in a task", X, np.where(tasks == 0, y + 50, y), tasks
    yield "constant column", np.column_stack([X, np.ones(len(y))]), y, tasks
    yield "column of tasks", np.column_stack([X, tasks]), y, tasks
    yield "collinear columns", np.column_stack([X, X[:, 0] - 2 * X[:, 1]]), y, tasks
    yield "large offset of X", X + 1e8, y, tasks
    yield "units apart", X * [1e-6, 1e6], y, tasks
    yield "separable tasks", X, np.where(tasks < 3, 2.0 + 2 * (X[:, 0] > 0), y), tasks
    yield "separable", X, 4.0 * (X[:, 0] > 0), tasks
    yield "one row a task", rng.normal(size=(40, 2)), 1.0 * rng.poisson(2.0, size=40), np.arange(40)
    yield "more features than rows", rng.normal(size=(80, 12)), 1.0 * rng.poisson(2.0, 80), np.arange(80) % 8
    yield "more than all rows", rng.normal(size=(30, 40)), 1.0 * rng.poisson(2.0, size=30), np.arange(30) % 5
    yield "one class", X, 3.0 * np.ones(len(y)), tasks


REFUSED = "separable along|more rows than fixed|nothing bounds|only one class|Centre them, and"


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("covariance", "options", "loss"),
    [
        ("diagonal", {}, LOSSES[0]), ("diagonal", {}, LOSSES[1]),
        ("spherical", {"intercept_alpha": 0.0}, LOSSES[0]),
        ("spherical", {"fit_intercept": False}, LOSSES[1]), (None, {"alpha": 0.1}, LOSSES[0]),
    ],
)  # fmt: skip
def test_hard_problems_have_an_answer_or_a_clear_error(covariance, options, loss):
    answered = set()
    for name, X, y, tasks in hard_problems():
        y = y if loss == Poisson() else (y > 1).astype(float)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = fitted(X, y, tasks, loss, covariance=covariance, **options)
            found = [model.coef_, model.intercept_, model.alpha_, model.log_marginal_likelihood_]
            found += [model.coef_std_, model.mean_coef_std_]
        except ValueError as error:
            assert re.search(REFUSED, str(error)), (name, error)
            continue
        answered.add(name)
        assert all(np.isfinite(value).all() for value in found), name
        assert not np.isnan([*np.ravel(model.deviation_variance_), model.intercept_variance_]).any(), name
    assert answered >= {
        "zero variances", "one class in a task", "constant column", "column of tasks", "collinear columns",
        "units apart",
    }  # fmt: skip


def test_one_strength_may_be_given():
    X, y, tasks, *_ = problem(0, LOSSES[0])
    options = {"covariance": "spherical", "tol": 1e-12}
    model = fitted(X, y, tasks, **options)
    slopes = fitted(X, y, tasks, intercept_alpha=model.intercept_alpha_, **options)
    assert_allclose(slopes.alpha_, model.alpha_, rtol=1e-4)
    intercepts = fitted(X, y, tasks, alpha=model.alpha_, tol=1e-12)
    assert_allclose(intercepts.intercept_alpha_, model.intercept_alpha_, rtol=1e-4)
    assert_allclose(intercepts.coef_, model.coef_, rtol=1e-4, atol=1e-6)
    turned = fitted(X, y, tasks, covariance=[1.0, 1.0], tol=1e-12)
    assert_allclose(turned.alpha_, model.alpha_, rtol=1e-5)
    none = fitted(X, y, tasks, alpha=0.1, fit_intercept=False)
    assert none.alpha_ == 0.1 and none.intercept_variance_ == 0.0


def test_one_variance_for_all_unless_the_rows_tell_of_several():
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=20, n_rows=20, p=4, sd=0.5)
    model = fitted(X, y, tasks, covariance=None)
    assert np.ndim(model.deviation_variance_) == 0
    assert_allclose(model.coef_, fitted(X, y, tasks, covariance="spherical").coef_, rtol=1e-4, atol=1e-5)
    assert np.isfinite(model.coef_std_).all()
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=20, n_rows=60, p=4, sd=np.array([2.0, 0, 0, 0]))
    model = fitted(X, y, tasks, covariance=None)
    assert_allclose(model.deviation_variance_, fitted(X, y, tasks).deviation_variance_)
    assert model.deviation_variance_[0] > 1 > 10 * model.deviation_variance_[1:].max()


def test_no_mode_is_looked_for_again(monkeypatch):
    """Neither that of the best of a grid, nor predictors of a step; one variance for all, if far behind."""
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=20, n_rows=60, p=4, sd=np.array([2.0, 0, 0, 0]))
    steps, modes, points = [], [], []
    model, mode, point = Likelihood.model, Likelihood.mode, Mode.point.fget
    monkeypatch.setattr(Likelihood, "model", lambda *given: steps.append(0) or model(*given))
    monkeypatch.setattr(Likelihood, "mode", lambda *given: modes.append(0) or mode(*given))
    monkeypatch.setattr(Mode, "point", property(lambda found: points.append(0) or point(found)))
    search = search_on(X, y, tasks, LOSSES[0], covariance="diagonal")
    grid = [search.scales[0] + level for level in (0.0, 1.0, 2.0)]
    best = search._best_of(grid)
    least = search.at(best)
    assert len(modes) == 3 and len(points) == len(steps)
    others = [search.model(*search.ratios(theta)).criterion for theta in grid]
    assert_allclose(least.criterion, min(others), rtol=1e-12)
    theta = search.best()
    search.at(theta), modes.clear()
    simpler = replace(search, covariance="spherical", last=None)
    end = simpler.descended(search.spherical)
    ahead, counted = simpler.at(end).criterion - search.at(theta).criterion, len(modes)
    modes.clear()
    assert search.simplest(theta)[0] is search and ahead > 10
    assert len(modes) < counted


def test_zero_variances_are_found():
    X, y, tasks, *_ = problem(4, LOSSES[0], sd=0.0, sd_intercept=0.0, n_tasks=40)
    X = np.column_stack([X, np.sin(tasks)])
    model = fitted(X, y, tasks, intercept_alpha=0.0)
    assert model.deviation_variance_[2] == 0.0
    assert np.abs(model.deviation_coef_[:, 2]).max() < 1e-6


def test_a_variance_goes_though_others_must_make_up_for_it():
    """Far from zero intercepts are paid for by slopes: a search ended where no variance could go alone."""
    X = np.reshape([
        97, 50, 120, 42, -31, 25, -239, 124, -176, 81, 59, 31, -142, -69, 172, 106, 38, 112, 78, -11, -35,
        2, -24, -71, -7, -194, -64, -142, 36, 111, 55, 89, -86, -92, -171, -165, -75, -92, 44, 26, -18, -91,
        -51, -42, 82, -47, -34, 10, -62, -13, -66, 7, -46, 19, 114, 7, 70, -92, 81, -123, 7, -28, -152, 89,
        -78, 88,
    ], (3, 22)).T / 100 + 1e3  # fmt: skip
    y, tasks = np.repeat([1, 0, 1, 0, 1, 0], [12, 4, 2, 1, 2, 1]), np.repeat([0, 1, 2], [12, 6, 4])
    model = MeanRegularizedClassifier(alpha="auto", intercept_alpha="auto", covariance="diagonal")
    likely = [model.fit(Z, y, tasks=tasks).log_marginal_likelihood_ for Z in (X, X[:, ::-1])]
    assert likely[0] > -8.336233  # the greatest: one variance of three
    assert_allclose(*likely, atol=1e-10)


def test_offsets_of_features_do_not_matter_to_free_intercepts():
    X, y, tasks, *_ = problem(2, LOSSES[1])
    model, far = (fitted(A, y, tasks, LOSSES[1], intercept_alpha=0.0) for A in (X, X + 1e6))
    assert_allclose(far.deviation_variance_, model.deviation_variance_, rtol=1e-4)
    assert_allclose(far.coef_std_, model.coef_std_, rtol=1e-4)


def test_many_small_tasks_are_handled_by_compiled_loops():
    X, y, tasks, *_ = problem(0, LOSSES[0], n_tasks=600, n_rows=4, p=1)
    model = fitted(X, y, tasks)
    few = fitted(X[tasks < 400], y[tasks < 400], tasks[tasks < 400])
    assert_allclose(model.deviation_variance_, few.deviation_variance_, rtol=0.5)
    sparse_rows = fitted(sparse.csr_matrix(X), y, tasks)
    assert_allclose(sparse_rows.deviation_variance_, model.deviation_variance_, rtol=1e-4)


def test_wrong_arguments_are_named():
    X, y, tasks, *_ = problem(0, LOSSES[0])
    for options, word in [
        ({"mean_alpha": 0.1}, "mean_alpha"), ({"ridge": 0.1}, "ridge"),
        ({"alpha": 0.1, "covariance": "diagonal"}, "covariance"), ({"covariance": [1.0]}, "covariance"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=word):
            fitted(X, y, tasks, **options)
    with pytest.raises(ValueError, match="classes of their own"):
        Y = np.column_stack([y, np.arange(len(y)) % 3])
        MeanRegularizedClassifier(**AUTO).fit(X, Y)
    with pytest.raises(ValueError, match="squared_hinge"):
        MeanRegularizedClassifier(**AUTO, loss="squared_hinge").fit(X, y, tasks=tasks)
    with pytest.raises(ValueError, match="huber"):
        MeanRegularizedRegressor(**AUTO, loss="huber").fit(X, y, tasks=tasks)
    with pytest.raises(TypeError, match="return_std"):  # probabilities say how sure a class is
        MeanRegularizedClassifier(**AUTO).fit(X, y, tasks=tasks).predict(X, tasks=tasks, return_std=True)


def test_free_covariances_of_separable_tasks_are_held():
    rng = np.random.default_rng(0)
    tasks, X = np.repeat(np.arange(10), 20), rng.normal(size=(200, 2))
    y = (X * rng.choice([-1, 1], (10, 2))[tasks]).sum(axis=1) > 0
    for options in ({}, {"intercept_alpha": 0.0}):
        model = fitted(X, y, tasks, covariance="full", **options)
        assert (model.deviation_variance_.diagonal() <= 3.0**2 / X.var(axis=0) * 1.1).all()


def test_separable_classes_are_fitted_without_variances_and_a_warning():
    X, _, tasks, *_ = problem(0, LOSSES[0])
    for covariance in COVARIANCES:
        with pytest.warns(UserWarning, match="separable along coefficients that all tasks"):
            model = fitted(X, X[:, 0] > 0, tasks, covariance=covariance)
        assert np.max(model.deviation_variance_) < 1e-6 and model.intercept_variance_ < 1e-6
        assert model.score(X, X[:, 0] > 0, tasks=tasks) == 1
        with pytest.raises(ValueError, match="separable"):
            _ = model.coef_std_


@pytest.mark.parametrize("n_classes, intercept_alpha", [(2, 0.0), (2, "auto"), (3, "auto"), (None, 0.0)])
def test_a_rare_feature_that_separates_its_rows_leaves_the_strengths_to_the_others(
    n_classes, intercept_alpha, by_laplace
):
    """A dummy of one row explains it wholly: strengths are those without the row and the dummy."""
    rng = np.random.default_rng(0)
    tasks, rare = np.repeat(np.arange(10), 20), np.arange(200) == 3
    eta = rng.normal(size=(10, 2))[tasks] * (X := rng.normal(size=(200, 2)))
    y = np.floor(special.expit(eta.sum(axis=1) + rng.logistic(size=200)) * (n_classes or 3)) * ~rare
    options = {"alpha": "auto", "intercept_alpha": intercept_alpha, "covariance": "spherical"}
    one = MeanRegularizedClassifier(**options)
    one = one if n_classes else MeanRegularizedRegressor(loss="poisson", **options)
    with pytest.warns(UserWarning, match="separable along directions"):
        model = clone(one).fit(np.column_stack([X, 3.0 * rare]), y, tasks=tasks)
    other = one.fit(X[~rare], y[~rare], tasks=tasks[~rare])
    for name in ("deviation_variance_", "intercept_variance_", "log_marginal_likelihood_"):
        assert_allclose(getattr(model, name), getattr(other, name), rtol=1e-3, err_msg=name)
    assert_allclose(model.coef_[..., :2], other.coef_, rtol=1e-2, atol=1e-4)
    assert_allclose(model.coef_std_[..., :2], other.coef_std_, rtol=1e-2)
    wanted = other.test_sharing()
    for name, found in model.test_sharing().items():
        assert_allclose(found, wanted[name], rtol=0.05, atol=0.05, err_msg=name)
