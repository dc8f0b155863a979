"""Strengths by restricted maximum likelihood, and standard errors."""

import copy
import dataclasses
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import LAYOUTS, criterion_of, hard_problems, make_layout
from numpy.testing import assert_allclose
from scipy import optimize, sparse, stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from skmtl import (
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    PathSearchCV,
    TaskKFold,
    TaskRelationshipRegressor,
    TaskStatistics,
    TemporalRegressor,
    compare,
)
from skmtl.datasets import load_hsb82
from skmtl.linear_model import _correlations, _task_inverses
from skmtl.linear_model._correlations import Factor
from skmtl.linear_model._reml import Search
from skmtl.linear_model._sharing import sharing_tests
from skmtl.linear_model._task_inverses import Inverses, ThinInverses
from skmtl.linear_model._variance_components import Moments, Posterior

AUTO = {"alpha": "auto", "intercept_alpha": "auto"}
COVARIANCES = ("spherical", "diagonal", "full")


def mixed_problem(seed, n_tasks=12, n_rows=8, p=2, sd=0.7, sd_intercept=0.8, offset=0.0):
    """Rows of tasks around a common model, of unequal numbers; coefficients and intercepts."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), rng.integers(max(n_rows // 2, 1), 2 * n_rows, n_tasks))
    X = rng.normal(size=(len(tasks), p)) + offset
    W = rng.normal(size=p) + sd * rng.normal(size=(n_tasks, p))
    b = 2 + sd_intercept * rng.normal(size=n_tasks)
    y = b[tasks] + (X * W[tasks]).sum(axis=1) + rng.normal(size=len(tasks))
    return X, y, tasks, W, b


def dense(X, y, tasks, V, intercepts, weight=None):
    """-2 log restricted likelihood, noise variance, fixed effects and their covariance.

    V (p, p) and `intercepts` are variances over that of the noise: "free" intercepts, None for none.
    """
    n, same = len(y), tasks[:, None] == tasks
    K = np.diag(1 / (np.ones(n) if weight is None else weight)) + same * (X @ V @ X.T)
    if isinstance(intercepts, str):
        F = np.column_stack([tasks[:, None] == np.unique(tasks), X]).astype(float)
    elif intercepts is None:
        F = X
    else:
        F, K = np.column_stack([np.ones(n), X]), K + intercepts * same
    inverse = np.linalg.inv(K)
    M = F.T @ inverse @ F
    mu = np.linalg.solve(M, F.T @ inverse @ y)
    r, df = y - F @ mu, n - F.shape[1]
    noise = r @ inverse @ r / df
    value = df * np.log(noise) + np.linalg.slogdet(K)[1] + np.linalg.slogdet(M)[1]
    value += df * (1 + np.log(2 * np.pi)) + (0.0 if weight is None else np.log(weight).sum())
    return value, noise, mu, noise * np.linalg.inv(M)


def fitted(X, y, tasks, **options):
    options = {**AUTO, **options}
    if options["alpha"] == "auto":
        options.setdefault("covariance", "diagonal")
    return MeanRegularizedRegressor(**options).fit(X, y, tasks=tasks)


# --- the criterion ---


@pytest.mark.parametrize("root", ["diagonal", "full"])
@pytest.mark.parametrize("intercepts", [0.8, "free", None])
def test_the_criterion_is_that_of_the_dense_model(intercepts, root, rng):
    X, y, tasks, *_ = mixed_problem(0)
    R = rng.uniform(0.3, 1.5, 2) if root == "diagonal" else np.tril(rng.normal(size=(2, 2))) + np.eye(2)
    V = np.diag(R**2) if R.ndim == 1 else R @ R.T
    weight = rng.uniform(0.5, 2, len(y))
    stats = TaskStatistics.from_arrays(X, y, tasks, sample_weight=weight)
    moments = Moments.of(stats, np.ones(12), intercepts is not None, intercepts == "free")
    strength = 1 / intercepts if moments.pooled else None
    found, (value, noise, mu, covariance) = (
        Posterior(moments, R, strength), dense(X, y, tasks, V, intercepts, weight),
    )  # fmt: skip
    assert_allclose(-2 * found.log_likelihood, value, rtol=1e-11)
    assert_allclose(found.noise, noise, rtol=1e-11)
    assert_allclose(found.mean @ (np.diag(R) if R.ndim == 1 else R).T, mu[-2:], rtol=1e-9)
    assert_allclose(noise * found.mean_variance(), covariance.diagonal()[-2:], rtol=1e-9)


@pytest.mark.parametrize("root", ["diagonal", "full"])
@pytest.mark.parametrize("intercepts", [0.8, "free", None])
def test_few_rows_of_many_features_are_handled_as_rows(intercepts, root, rng, monkeypatch):
    """The same as with a matrix of each task, and as in the dense model."""
    X, y, tasks, *_ = mixed_problem(0, n_tasks=500, n_rows=3, p=6)
    monkeypatch.setattr(_task_inverses, "CHUNK_NUMBERS", 2000)  # so that there are several
    kept = rng.random(len(y)) < np.where(np.diff(tasks, prepend=-1) > 0, 1.0, 0.5)  # one to three of a task
    X, y, tasks = X[kept], y[kept], tasks[kept]
    R = rng.uniform(0.3, 1.5, 6) if root == "diagonal" else np.tril(rng.normal(size=(6, 6))) + np.eye(6)
    stats = TaskStatistics.from_arrays(X, y, tasks)
    args = np.ones(500), intercepts is not None, intercepts == "free"
    moments = Moments.of(stats, *args)
    strength = 1 / intercepts if moments.pooled else None
    found = Posterior(moments, R, strength)
    assert isinstance(found.inverses, ThinInverses)
    value = dense(X, y, tasks, np.diag(R**2) if R.ndim == 1 else R @ R.T, intercepts)[0]
    assert_allclose(-2 * found.log_likelihood, value, rtol=1e-11)
    far = TaskStatistics.from_arrays(1e100 * X, 1e-100 * y, tasks)
    far = Posterior(Moments.of(far, *args), 1e-100 * R, strength)
    assert isinstance(far.inverses, ThinInverses)
    assert_allclose(far.deviations(), 1e-100 * found.deviations(), rtol=1e-9, atol=1e-109)
    assert_allclose(far.slope_variances(), 1e-200 * found.slope_variances(), rtol=1e-9)
    monkeypatch.setattr(Moments, "_roots", None)
    other, at = Posterior(dataclasses.replace(moments), R, strength), tasks[::7]
    assert isinstance(other.inverses, Inverses)
    for name in ("deviations", "slope_gradient", "information", "slope_variances", "mean_intercept_variance"):
        assert_allclose(getattr(found, name)(), getattr(other, name)(), rtol=1e-9, atol=1e-9, err_msg=name)
    for one, same in ((found, other), (found.of(found.moments), other.of(other.moments))):
        assert_allclose(one.predictor_variances(X[::7], at), same.predictor_variances(X[::7], at), rtol=1e-9)


@pytest.mark.parametrize("n_tasks, kind", [(500, ThinInverses), (20, Inverses)])
@pytest.mark.parametrize("intercepts", [100.0, "free", None])
def test_few_rows_of_hardly_any_noise_leave_its_digits(intercepts, n_tasks, kind):
    """Where variances are large, what is left of the targets is little next to what their slopes explain."""
    X, y, tasks, *_ = mixed_problem(0, n_tasks=n_tasks, n_rows=2, p=6)
    given = np.ones(n_tasks), intercepts is not None, intercepts == "free"
    moments = Moments.of(TaskStatistics.from_arrays(X, y, tasks), *given)
    found = Posterior(moments, np.full(6, 300.0), 1 / intercepts if moments.pooled else None)
    assert isinstance(found.inverses, kind)
    noise = dense(X, y, tasks, 9e4 * np.eye(6), intercepts)[1]
    assert_allclose(found.noise, noise, rtol=1e-8)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("layout", LAYOUTS[:-1])
@pytest.mark.parametrize("kind", ["pooled", "free", "none"])
def test_the_gradient_equals_differences(kind, layout, covariance, rng):
    data = make_layout(layout)
    stats = TaskStatistics.from_arrays(data.X, data.y, data.tasks, sample_weight=data.sample_weight)
    moments = Moments.of(stats, np.ones(4), kind != "none", kind == "free")
    value, at, _ = criterion_of(moments, covariance)
    at = at + 0.3 * rng.normal(size=len(at))
    steps = 1e-5 * np.eye(len(at))
    differences = [(value(at + step)[0] - value(at - step)[0]) / 2e-5 for step in steps]
    assert_allclose(value(at)[1], differences, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("intercepts", ["pooled", "free", None])
def test_the_search_finds_the_maximum_of_the_dense_likelihood(intercepts, covariance):
    seed = len(intercepts or "") + len(covariance)  # other rows in each case
    X, y, tasks, *_ = mixed_problem(seed, n_tasks=10, n_rows=6)
    moments = Moments.of(
        TaskStatistics.from_arrays(X, y, tasks), np.ones(10), intercepts is not None, intercepts == "free"
    )
    search = Search(moments, covariance.replace("full", "diagonal"))
    found = (Factor(search).best()[1] if covariance == "full" else search.at(search.best())).log_likelihood

    def value(z):
        own = np.exp(z[-1]) if intercepts == "pooled" else intercepts
        if covariance == "full":
            L = np.array([[np.exp(z[0]), 0], [z[2], np.exp(z[1])]])
            return dense(X, y, tasks, L @ L.T, own)[0]
        z = z[:1].repeat(2) if covariance == "spherical" else z[:2]
        return dense(X, y, tasks, np.diag(np.exp(z)), own)[0]

    size = {"spherical": 1, "diagonal": 2, "full": 3}[covariance] + (intercepts == "pooled")
    starts = [np.full(size, level) for level in (0.0, -2.0)]
    starts = [np.where(np.arange(size) == 2, 0.0, one) if covariance == "full" else one for one in starts]
    best = min(optimize.minimize(value, one, method="BFGS", options={"gtol": 1e-7}).fun for one in starts)
    assert -2 * found <= best + 1e-6
    if covariance != "full":  # at a singular covariance the other search stops early
        assert_allclose(-2 * found, best, rtol=0, atol=1e-4)


# --- against statsmodels ---


def statsmodels_fit(X, y, tasks):
    """Where its own score is zero; its search may stop at one of 1e-3 and more, with effects off by 1e-4."""
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

    Z = np.column_stack([np.ones(len(y)), X])
    k = Z.shape[1]
    free = MixedLMParams.from_components(fe_params=np.ones(k), cov_re=np.eye(k))
    diagonal = np.flatnonzero(free.get_packed(use_sqrt=False, has_fe=False))
    model, none = MixedLM(y, Z, tasks, exog_re=Z), 1e-10

    def at(variances):  # over that of the noise
        return MixedLMParams.from_components(fe_params=np.zeros(k), cov_re=np.diag(variances))

    def minus(variances):
        score = model.score(at(variances))[diagonal] / (2 * np.sqrt(variances))
        return -model.loglike(at(variances)), -score

    def score_of(own):
        every = variances.copy()
        every[some] = own
        return minus(every)[1][some]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start, bounds = np.diag(model.fit(free=free, gtol=1e-3).cov_re_unscaled), [(none, None)] * k
        variances = optimize.minimize(minus, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        some = variances > none
        variances[some] = optimize.root(score_of, variances[some], tol=1e-12).x
        assert np.abs(score_of(variances[some])).max() < 1e-8
        return model.fit(free=free, gtol=1e9, start_params=at(variances))


# two of each number of slopes and spread; those of 30 with variances of zero (7, 23) or nearly so among them
@pytest.mark.parametrize("seed", [2, 4, 6, 7, 8, 9, 11, 12, 13, 22, 23, 27])
def test_a_diagonal_covariance_equals_that_of_statsmodels(seed):
    p = 1 + seed % 3
    X, y, tasks, *_ = mixed_problem(seed, n_tasks=25, n_rows=10, p=p, sd=[1.0, 0.3][seed % 2])
    compare_with(fitted(X, y, tasks), statsmodels_fit(X, y, tasks), 1e-5)


def test_hsb82_equals_statsmodels():
    data = load_hsb82()
    X, y, tasks = np.asarray(data.data, float)[:, [2]], np.asarray(data.target, float), np.asarray(data.tasks)
    compare_with(fitted(X, y, tasks), statsmodels_fit(X, y, tasks), 1e-5)


def compare_with(model, other, tol):
    """Criterion, variances, fixed effects and their standard errors, effects of the tasks and theirs."""
    close = {"rtol": tol, "atol": tol}
    assert_allclose(model.log_marginal_likelihood_, other.llf, rtol=1e-9)  # no variance is one of 1e-8
    assert_allclose(model.noise_variance_, other.scale, **close)
    variances = np.append(model.intercept_variance_, model.deviation_variance_)
    assert_allclose(variances, np.diag(other.cov_re), **close)
    assert_allclose(np.append(model.mean_intercept_, model.mean_coef_), other.fe_params, **close)
    k = len(variances)
    errors = np.sqrt(np.diag(np.linalg.inv(-other.model.hessian(other.params_object)[0][:k, :k])))
    assert_allclose(np.append(model.mean_intercept_std_, model.mean_coef_std_), errors, **close)
    effects = np.array([np.ravel(other.random_effects[t]) for t in model.tasks_])
    ours = np.column_stack([model.intercept_ - model.mean_intercept_, model.deviation_coef_])
    assert_allclose(ours, effects, **close)
    least = [np.sqrt(np.diag(other.random_effects_cov[t])) for t in model.tasks_]  # common ones held
    assert (np.column_stack([model.intercept_std_, model.coef_std_]) >= 0.999 * np.array(least)).all()


# --- standard errors ---


@pytest.mark.parametrize("intercepts", ["pooled", "free", None])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_standard_errors_are_those_of_the_joint_model(covariance, intercepts, rng):
    """Inverse of the matrix of the mixed model equations, in the parameters of every task.

    And what errors of the variances add, from the covariances of these with deviations, common ones known.
    """
    X, y, tasks, *_ = mixed_problem(3, n_tasks=60, n_rows=15, sd=1.0, sd_intercept=1.0)
    options = {"pooled": {}, "free": {"intercept_alpha": 0.0}, None: {"fit_intercept": False}}[intercepts]
    model = fitted(X, y, tasks, covariance=covariance, **options)
    V = np.atleast_2d(model.deviation_variance_ * (np.eye(2) if covariance == "spherical" else 1.0))
    V = np.diag(V[0]) if covariance == "diagonal" else V
    V = V + 1e-11 * np.eye(2)
    n_own = 2 if intercepts is None else 3
    Z = np.column_stack([np.ones(len(y)), X])[:, -n_own:]
    P = np.linalg.inv(V)
    if intercepts is not None:
        own = 0.0 if intercepts == "free" else 1 / max(model.intercept_variance_, 1e-11)
        P = np.block([[own, np.zeros((1, 2))], [np.zeros((2, 1)), P]])
    H = np.zeros((61 * n_own, 61 * n_own))  # the common coefficients come first
    for t in range(60):
        at = slice((t + 1) * n_own, (t + 2) * n_own)
        rows = Z[tasks == t]
        H[at, at] = rows.T @ rows / model.noise_variance_ + P
        H[at, :n_own], H[:n_own, at] = -P, -P
        H[:n_own, :n_own] += P
    if intercepts == "free":
        H[0, 0] += 1.0  # the common intercept is of no use
    covariances = np.linalg.inv(H)
    R, errors = np.linalg.cholesky(V), model._known_posterior().precision_variances
    tails = model._known_posterior().tails
    assert 1.0 < tails < 1.01
    assert (errors[:2] > 0.5 * 2 / 60).all() and (errors < 0.3).all()  # 2/60 where deviations are known
    roots = R if intercepts != "pooled" else np.diag([model.intercept_variance_**0.5, 1.0, 1.0])
    if intercepts == "pooled":
        roots[1:, 1:], errors = R, errors[[2, 0, 1]]
    x = rng.normal(size=(60, 2))
    _, std = model.predict(x, tasks=np.arange(60), return_std=True)
    for t in range(60):
        at = slice((t + 1) * n_own, (t + 2) * n_own)
        along = np.linalg.solve(roots, np.linalg.inv(H[at, at])[-len(roots) :]).T
        C = covariances[at, at] + along * errors[: len(roots)] @ along.T
        z = np.append(1.0, x[t])[-n_own:]
        assert_allclose(model.coef_std_[t], np.sqrt(tails * C.diagonal()[-2:]), rtol=1e-5)
        assert_allclose(std[t], np.sqrt(tails * (z @ C @ z + model.noise_variance_)), rtol=1e-6)
        if intercepts is not None:
            assert_allclose(model.intercept_std_[t], np.sqrt(tails * C[0, 0]), rtol=1e-5)
    assert_allclose(model.mean_coef_std_, np.sqrt(covariances.diagonal()[n_own - 2 : n_own]), rtol=2e-5)
    each = covariances.reshape(61, n_own, 61, n_own)[:, 0, :, 0]
    level = {"pooled": each[0, 0], "free": each[1:, 1:].mean(), None: 0.0}[intercepts]
    assert_allclose(model.mean_intercept_std_, np.sqrt(level), rtol=2e-5)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("covariance", "n_tasks", "sd", "n"), [("diagonal", 8, 0.3, 30), ("full", 30, 0.1, 8)]
)
def test_standard_errors_count_those_of_the_variances(covariance, n_tasks, sd, n):
    """Of few tasks, or with correlations of slopes that hardly vary."""
    coefs, intercepts = [], []
    for seed in range(n):
        X, y, tasks, W, b = mixed_problem(seed, n_tasks, n_rows=7, p=4, sd=sd, sd_intercept=0.5)
        model = fitted(X, y, tasks, covariance=covariance)
        coefs.append(np.abs(model.coef_ - W) < 1.96 * model.coef_std_)
        intercepts.append(np.abs(model.intercept_ - b) < 1.96 * model.intercept_std_)
    assert np.mean(coefs) > 0.94 and np.mean(intercepts) > 0.935


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_standard_errors_count_those_of_the_noise(covariance):
    """By the degrees of freedom of its logarithm, which changes with those of the strengths."""
    X, y, tasks, *_ = mixed_problem(1, n_tasks=8, n_rows=6, p=2, sd=1.0, sd_intercept=1.0)
    model = fitted(X, y, tasks, covariance=covariance)
    search = model._search(TaskStatistics.from_arrays(X, y, tasks))
    theta = model._theta_
    k = len(theta) - 1

    def noise(theta):
        V = np.exp(-theta[:k]) * np.ones(2)
        return np.log(dense(X, y, tasks, np.diag(V), np.exp(-theta[k]))[1])

    steps = 1e-5 * np.eye(k + 1)
    slopes = np.array([(noise(theta + step) - noise(theta - step)) / 2e-5 for step in steps])
    df = len(y) - 3
    known = 2 / df + slopes @ np.linalg.solve(search._information(search.at(theta)) / 2, slopes)
    ratio = stats.t.ppf(0.975, 2 / known) / stats.t.ppf(0.975, df)
    assert ratio > 1.002
    assert_allclose(model._known_posterior().tails, ratio**2, rtol=1e-5)


@pytest.mark.no_cover
@pytest.mark.parametrize(("n_tasks", "n_rows", "p"), [(6, 6, 4), (5, 5, 3)])
def test_intervals_of_few_rows_cover(n_tasks, n_rows, p):
    """With the noise as it was found they held 92.1 and 92.6 % of the coefficients of 100 data sets."""
    coefs, intercepts = [], []
    for seed in range(150):
        rng, tasks = np.random.default_rng(seed), np.repeat(np.arange(n_tasks), n_rows)
        X, W, b = (rng.normal(size=size) for size in ((len(tasks), p), (n_tasks, p), n_tasks))
        y = 0.5 * b[tasks] + (X * W[tasks]).sum(axis=1) + rng.normal(size=len(tasks))
        model = fitted(X, y, tasks, covariance=None)
        coefs.append(np.abs(model.coef_ - W) < 1.96 * model.coef_std_)
        intercepts.append(np.abs(model.intercept_ - 0.5 * b) < 1.96 * model.intercept_std_)
    assert 0.93 < np.mean(coefs) < 0.97 and 0.93 < np.mean(intercepts) < 0.97


@pytest.mark.no_cover
@pytest.mark.parametrize("sd", [0.7, 0.2, 0.05])
def test_intervals_cover(sd):
    inside, coefs, intercepts, common, new = [], [], [], [], []
    for seed in range(25):
        X, y, tasks, W, b = mixed_problem(seed, n_tasks=41, n_rows=12, p=3, sd=sd, sd_intercept=sd)
        rows = np.arange(len(y)) % 2 == 0
        last = tasks == 40
        fit = rows & ~last
        model = fitted(X[fit], y[fit], tasks[fit], handle_unknown="average")
        lower, upper = model.prediction_interval(X[~rows & ~last], tasks=tasks[~rows & ~last])
        inside.append((lower <= y[~rows & ~last]) & (y[~rows & ~last] <= upper))
        lower, upper = model.prediction_interval(X[last], tasks=tasks[last])
        new.append((lower <= y[last]) & (y[last] <= upper))
        coefs.append(np.abs(model.coef_ - W[:40]) <= 1.96 * model.coef_std_)
        intercepts.append(np.abs(model.intercept_ - b[:40]) <= 1.96 * model.intercept_std_)
        common.append(model.mean_coef_std_)
    assert 0.93 <= np.concatenate(inside).mean() <= 0.97
    most = 0.97 if sd == 0.7 else 1.0  # near zero wide ones, as the rows do not tell that it is
    assert 0.93 <= np.mean(coefs) <= most
    assert 0.93 <= np.mean(intercepts) <= most
    assert 0.85 <= np.concatenate(new).mean() <= 1.0


@pytest.mark.no_cover
@pytest.mark.parametrize("task_weight", [None, "samples"])
def test_intervals_of_fits_with_numbers_cover(task_weight):
    """As well where tasks of different sizes count the same."""
    inside = []
    for seed in range(15):
        X, y, tasks, *_ = mixed_problem(seed, n_tasks=40, n_rows=12, p=3)
        rows = np.arange(len(y)) % 2 == 0
        unit = 40 / rows.sum()
        options = {"alpha": 2.0 * unit, "intercept_alpha": 1.5 * unit, "task_weight": task_weight}
        model = fitted(X[rows], y[rows], tasks[rows], **options)
        lower, upper = model.prediction_interval(X[~rows], tasks=tasks[~rows], level=0.9)
        inside.append((lower <= y[~rows]) & (y[~rows] <= upper))
    assert 0.87 <= np.concatenate(inside).mean() <= 0.93


@pytest.mark.no_cover
def test_the_tests_of_sharing_hold_their_level():
    rejected = []
    for seed in range(40):
        X, y, tasks, *_ = mixed_problem(seed, n_tasks=10, n_rows=6, sd=0.0, sd_intercept=0.0)
        found = sharing_tests(
            TaskStatistics.from_arrays(X, y, tasks),
            lambda own, free: Moments.of(own, np.ones(10), True, free),
        )
        rejected.append([found[name].p_value <= 0.05 for name in ("slopes", "intercepts")])
    assert (np.mean(rejected, axis=0) <= 0.12).all()
    X, y, tasks, *_ = mixed_problem(0, n_tasks=20)
    found = fitted(X, y, tasks).test_sharing()
    assert list(found) == ["slopes", "intercepts", "x0", "x1"]
    assert all(one.p_value < 0.01 and one.statistic > 5 for one in found.values())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ratios_hold_the_other_variances_at_those_of_the_null(seed):
    """With few rows of each task one that is found anew takes up what is tested, and ratios are too large."""
    X, y, tasks, *_ = mixed_problem(seed, n_tasks=10, n_rows=4, sd=0.5)
    model = fitted(X, y, tasks)
    found = model.test_sharing()
    for tested, name in enumerate(("x0", "x1")):

        def lost(other, own, tested=tested):  # the variance of intercepts, and of the other slope
            V = np.diag(np.exp([own, other[1]] if tested == 0 else [other[1], own]))
            return dense(X, y, tasks, V, float(np.exp(other[0])))[0]

        starts = [(a, b) for a in (-12.0, -1.0) for b in (-12.0, -1.0)]
        options = {"args": (-30.0,), "bounds": [(-12, 6)] * 2}
        null = min((optimize.minimize(lost, at, **options) for at in starts), key=lambda end: end.fun)
        own = min(lost(null.x, at) for at in np.linspace(-12, 6, 601))
        wanted = max(null.fun - own, 0.0)
        assert_allclose(found[name].statistic, wanted, rtol=1e-3, atol=1e-3)


# --- all forms of data ---


def means_of(model):
    return [model.coef_, model.intercept_, model.noise_variance_, model.deviation_variance_, model.alpha_]


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_and_numbers_give_the_same_fit(layout, covariance):
    data = make_layout(layout, n=80, p=3)
    model = MeanRegularizedRegressor(**AUTO, covariance=covariance, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a fit without tasks
        model.fit(**data.fit_args())
    assert model.dual_gap_ <= 1e-10 and np.isfinite(model.coef_).all()
    stats = TaskStatistics.from_arrays(data.X, data.y, data.tasks, sample_weight=data.sample_weight)
    other = clone(model).fit_statistics(stats)
    for ours, theirs in zip(means_of(model), means_of(other), strict=True):
        assert_allclose(np.ravel(theirs), np.ravel(ours), rtol=1e-7, atol=1e-10)
    assert_allclose(np.ravel(other.coef_std_), np.ravel(model.coef_std_), rtol=1e-6)
    numbers = MeanRegularizedRegressor(
        model.alpha_, intercept_alpha=model.intercept_alpha_, task_weight="samples", tol=1e-12,
        covariance=None if covariance == "spherical" else model.deviation_variance_,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        numbers.fit(**data.fit_args())
    assert_allclose(numbers.coef_, model.coef_, rtol=1e-6, atol=1e-9)
    assert_allclose(numbers.objective_, model.objective_, rtol=1e-7)
    assert_allclose(numbers.mean_coef_std_, model.mean_coef_std_, rtol=1e-4, atol=1e-6)
    assert (model.coef_std_ >= 0.999 * numbers.coef_std_).all()  # whose variances are taken as they are
    X = data.X[:5]
    given = {} if data.tasks is None else {"tasks": data.tasks[:5]}
    y, std = model.predict(X, return_std=True, **given)
    assert y.shape == std.shape and (std >= np.sqrt(model.noise_variance_)).all()
    assert model.prediction_interval(X, **given).shape == (2, *y.shape)


def test_a_task_column_is_the_same_as_tasks():
    X, y, tasks, *_ = mixed_problem(0)
    model = fitted(X, y, tasks)
    Z = np.column_stack([X, tasks])
    other = MeanRegularizedRegressor(**AUTO, covariance="diagonal", task_column=2).fit(Z, y)
    assert_allclose(other.coef_, model.coef_)
    assert_allclose(
        other.predict(Z[:9], return_std=True)[1], model.predict(X[:9], tasks=tasks[:9], return_std=True)[1]
    )
    assert list(other.test_sharing()) == ["slopes", "intercepts", "x0", "x1"]


def test_weights_are_precisions_and_columns_of_y_tasks():
    X, y, tasks, *_ = mixed_problem(1)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    model = MeanRegularizedRegressor(**AUTO).fit(X, y, tasks=tasks, sample_weight=weight)
    _, noise, *_ = dense(
        X, y, tasks, np.diag(model.deviation_variance_) / model.noise_variance_,
        model.intercept_variance_ / model.noise_variance_, weight,
    )  # fmt: skip
    assert_allclose(noise, model.noise_variance_, rtol=1e-9)
    other = MeanRegularizedRegressor(**AUTO).fit(X, y, tasks=tasks, sample_weight=3 * weight)
    assert_allclose(other.coef_, model.coef_, rtol=1e-6)
    assert_allclose(other.alpha_, model.alpha_, rtol=1e-5)
    assert_allclose(other.noise_variance_, 3 * model.noise_variance_, rtol=1e-6)


def test_one_strength_may_be_given():
    X, y, tasks, *_ = mixed_problem(0)
    model = fitted(X, y, tasks, covariance="spherical", tol=1e-12)
    slopes = fitted(X, y, tasks, covariance="spherical", intercept_alpha=model.intercept_alpha_, tol=1e-12)
    assert_allclose(slopes.alpha_, model.alpha_, rtol=1e-4)
    intercepts = fitted(X, y, tasks, alpha=model.alpha_, tol=1e-12)
    assert_allclose(intercepts.intercept_alpha_, model.intercept_alpha_, rtol=1e-4)
    assert_allclose(intercepts.coef_, model.coef_, rtol=1e-4)
    turned = fitted(X, y, tasks, covariance=[1.0, 1.0], tol=1e-12)
    assert_allclose(turned.alpha_, model.alpha_, rtol=1e-6)
    assert_allclose(turned.deviation_variance_, model.deviation_variance_, rtol=1e-6)


def test_an_array_as_covariance_is_that_of_the_fit_at_an_estimated_strength():
    X, y, tasks, *_ = mixed_problem(0, p=3)
    unit = np.array([1.0, 0.1, 20.0])
    for V in (unit**-2, np.diag(unit**-2)):
        model = MeanRegularizedRegressor(**AUTO, covariance=V, tol=1e-13).fit(X * unit, y, tasks=tasks)
        other = MeanRegularizedRegressor(**AUTO, covariance="spherical", tol=1e-13).fit(X, y, tasks=tasks)
        assert_allclose(model.coef_ * unit, other.coef_, rtol=1e-5, atol=1e-7)
        assert_allclose(model.coef_std_ * unit, other.coef_std_, rtol=1e-5)
        assert_allclose(model.predict(X * unit, tasks=tasks), other.predict(X, tasks=tasks), rtol=1e-5)
        model.fit_task(X[:5] * unit, y[:5], 99)
        other.fit_task(X[:5], y[:5], 99)
        assert_allclose(model.coef_[-1] * unit, other.coef_[-1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sample_weight", [None, True])
def test_by_default_all_vary_alike_in_units_of_their_spread(sample_weight):
    X, y, tasks, *_ = mixed_problem(0, p=3)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if sample_weight else np.ones(len(y))
    given = {"tasks": tasks, "sample_weight": weight}
    spread = np.sqrt(np.cov(X.T, aweights=weight, ddof=0).diagonal())
    wanted = MeanRegularizedRegressor(**AUTO, covariance="spherical", tol=1e-13).fit(X / spread, y, **given)
    for unit in (1.0, np.array([1e-5, 3.0, 1e6])):
        model = MeanRegularizedRegressor(**AUTO, tol=1e-13).fit(X * unit, y, **given)
        assert_allclose(model.coef_ * spread * unit, wanted.coef_, rtol=1e-5, atol=1e-7)
        assert_allclose(model.coef_std_ * spread * unit, wanted.coef_std_, rtol=1e-5)
        variances = model.deviation_variance_ * (spread * unit) ** 2
        assert_allclose(variances, wanted.deviation_variance_, rtol=1e-5)
    constant = MeanRegularizedRegressor(**AUTO).fit(np.column_stack([X, 0 * y, 0 * y + 7]), y, **given)
    assert_allclose(constant.coef_[:, :3] * spread, wanted.coef_, rtol=1e-3, atol=1e-3)


def test_an_array_as_covariance_is_the_metric_of_the_penalty(rng):
    X, y, tasks, *_ = mixed_problem(0, p=3)
    A = rng.normal(size=(3, 3))
    V = A @ A.T + 0.1 * np.eye(3)
    model = MeanRegularizedRegressor(0.5, intercept_alpha=0.3, covariance=7 * V, tol=1e-13).fit(
        X, y, tasks=tasks
    )
    P = np.linalg.inv(V / V.diagonal().mean())
    residual = y - (X * model.coef_[tasks]).sum(axis=1) - model.intercept_[tasks]
    for t in range(12):
        rows = tasks == t
        pull = 0.5 * P @ (model.coef_[t] - model.coef_.mean(axis=0))
        assert_allclose(X[rows].T @ residual[rows] / rows.sum(), pull, atol=1e-8)


UNITS = {
    "default": MeanRegularizedRegressor(alpha="auto"),
    "spherical": MeanRegularizedRegressor(alpha="auto", covariance="spherical"),
    "diagonal": MeanRegularizedRegressor(alpha="auto", covariance="diagonal"),
    "full": MeanRegularizedRegressor(alpha="auto", covariance="full"),
    "number": MeanRegularizedRegressor(alpha=1.0, intercept_alpha="auto"),
    "classes": MeanRegularizedClassifier(alpha="auto", covariance="spherical"),
    "related": TaskRelationshipRegressor(alpha="auto"),
    "ordered": TemporalRegressor(alpha="auto", smooth="quadratic"),
}


@pytest.mark.parametrize("name", UNITS)
def test_units_are_said_where_an_estimated_strength_depends_on_them(name):
    X, y, tasks, *_ = mixed_problem(0, n_rows=15)
    rng = np.random.default_rng(0)
    level = rng.normal(size=tasks.max() + 1)[tasks] + 0.03 * rng.normal(size=len(y))  # hardly varies in one
    X = np.column_stack([X, level])
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(X.shape[1])])
    y = (y > np.median(y)).astype(int) if name == "classes" else y

    def fitted_in(units):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = clone(UNITS[name]).fit(frame * units, y, tasks=tasks)
        said = [str(w.message) for w in caught if "in the units in which they are" in str(w.message)]
        return model.coef_ * units, said

    units = np.ones(X.shape[1])
    units[1] = 50.0
    (coef, none), (other, said) = fitted_in(1.0), fitted_in(units)
    depends = np.abs(coef - other).max() > 0.01 * np.abs(coef).max()
    assert not none and len(said) == (depends and name != "number")
    assert all("feature 'f1' varies" in message for message in said)
    assert depends == (name not in ("default", "diagonal", "full"))


def test_searches_and_comparisons_take_estimated_strengths():
    X, y, tasks, *_ = mixed_problem(0, n_rows=15)
    auto = MeanRegularizedRegressor(**AUTO, covariance="diagonal")
    search = PathSearchCV(auto, cv=3).fit(X, y, tasks=tasks)
    assert search.best_params_ == {"alpha": "auto"} and np.isfinite(search.best_score_)
    assert_allclose(search.best_estimator_.coef_, fitted(X, y, tasks).coef_)
    grid = {"covariance": ["spherical", "diagonal"]}
    assert len(PathSearchCV(auto, cv=3, param_grid=grid).fit(X, y, tasks=tasks).cv_results_["params"]) == 2
    half = PathSearchCV(MeanRegularizedRegressor(intercept_alpha="auto"), [0.1, 1.0], cv=3).fit(
        X, y, tasks=tasks
    )
    assert half.best_estimator_.intercept_alpha_ > 0
    for alphas in ([0.1, 1.0], 5):
        with pytest.warns(UserWarning, match=r"alpha='auto' of the estimator .* alphas has no effect"):
            PathSearchCV(auto, alphas, cv=3).fit(X, y, tasks=tasks)
    Z = np.column_stack([X, tasks])
    other = GridSearchCV(auto.set_params(task_column=2), grid, cv=TaskKFold(3, task_column=2)).fit(Z, y)
    assert np.isfinite(other.best_score_)
    assert np.isfinite(
        compare({"auto": MeanRegularizedRegressor(**AUTO)}, X, y, tasks, cv=3).table["mean"]
    ).all()


@pytest.mark.no_cover
def test_estimated_strengths_pass_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(MeanRegularizedRegressor(**AUTO))


def test_fitted_models_are_copied_saved_and_changed():
    X, y, tasks, *_ = mixed_problem(0)
    for options in (AUTO, {"alpha": 0.3}):
        model = MeanRegularizedRegressor(**options).fit(X, y, tasks=tasks)
        std = model.coef_std_
        for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert_allclose(other.coef_std_, std)
        assert clone(model).get_params() == model.get_params()
        assert model.alpha == options["alpha"]
    model.set_params(**AUTO).fit(X, y, tasks=tasks)
    assert_allclose(model.coef_, fitted(X, y, tasks, covariance=None).coef_)


# --- new tasks ---


def test_a_new_task_is_fitted_under_the_estimated_covariance():
    X, y, tasks, *_ = mixed_problem(0, n_tasks=15, p=2)
    old = tasks < 14
    for covariance in COVARIANCES:
        model = fitted(X[old], y[old], tasks[old], covariance=covariance, tol=1e-12)
        before = model.coef_std_
        model.fit_task(X[~old], y[~old], 14)
        V = model.deviation_variance_ * (np.eye(2) if np.ndim(model.deviation_variance_) == 0 else 1.0)
        V = np.diag(V) if V.ndim == 1 else V
        prior = np.zeros((3, 3))
        prior[0, 0], prior[1:, 1:] = model.intercept_variance_, V
        Z = np.column_stack([np.ones((~old).sum()), X[~old]])
        mean = np.append(model.mean_intercept_, model.mean_coef_)
        gain = prior @ Z.T @ np.linalg.inv(Z @ prior @ Z.T + model.noise_variance_ * np.eye(len(Z)))
        expected = mean + gain @ (y[~old] - Z @ mean)
        assert_allclose(np.append(model.intercept_[-1], model.coef_[-1]), expected, rtol=1e-3, atol=1e-4)
        assert model.coef_std_.shape == (15, 2)
        assert_allclose(model.coef_std_[:14], before)
        assert (model.coef_std_[-1] > 0).all()


def test_unknown_tasks_have_wider_intervals():
    X, y, tasks, *_ = mixed_problem(0)
    for options in ({}, {"intercept_alpha": 0.0}, {"fit_intercept": False}, {"alpha": 0.3}):
        model = fitted(X, y, tasks, handle_unknown="average", **options)
        std = model.predict(X, tasks=tasks, return_std=True)[1]
        new = model.predict(X, tasks=np.full(len(y), 99), return_std=True)[1]
        assert np.isfinite(new).all() and (new > std).mean() > 0.95


# --- what is hard ---


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("covariance", "options"),
    [
        ("spherical", {}), ("diagonal", {}), ("full", {}), ("diagonal", {"intercept_alpha": 0.0}),
        ("full", {"intercept_alpha": 0.0}), ("diagonal", {"fit_intercept": False}), (None, {"alpha": 0.1}),
        (None, {}),
    ],
)  # fmt: skip
def test_hard_problems_have_an_answer_or_a_clear_error(covariance, options):
    for name, X, y, tasks in hard_problems(*mixed_problem(0, sd=0.0, sd_intercept=0.0)[:3]):
        if covariance == "full" and X.shape[1] > 3:
            continue
        try:
            with warnings.catch_warnings():
                if name == "large offset of X":  # whose pooled intercepts, far away, leave no digits
                    warnings.simplefilter("ignore", ConvergenceWarning)
                model = fitted(X, y, tasks, covariance=covariance, max_iter=100, **options)
        except ValueError as error:
            assert "more rows than fixed effects" in str(error), name
            assert "row" in name or "feature" in name
            continue
        for value in (model.coef_, model.intercept_, model.noise_variance_, model.alpha_, model.coef_std_):
            assert np.isfinite(value).all(), name
        assert np.isfinite(model.predict(X, tasks=tasks, return_std=True)[1]).all(), name
        assert not np.isnan([*np.ravel(model.deviation_variance_), model.intercept_variance_]).any(), name
        assert np.isfinite(model.log_marginal_likelihood_), name


def test_offsets_cost_no_digits():
    X, y, tasks, *_ = mixed_problem(2)
    model = fitted(X, y, tasks)
    far = fitted(X, y + 1e8, tasks)
    assert_allclose(far.deviation_variance_, model.deviation_variance_, rtol=1e-5)
    assert_allclose(far.noise_variance_, model.noise_variance_, rtol=1e-6)
    model = fitted(X, y, tasks, intercept_alpha=0.0)
    far = fitted(X + 1e8, y, tasks, intercept_alpha=0.0)
    assert_allclose(far.deviation_variance_, model.deviation_variance_, rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_few_steps_end_at_the_maximum(seed, monkeypatch):
    sd = np.array([0.7, 0.7, 0.3, 0.3, 0.15, 0.15, 0.0, 0.0])
    X, y, tasks, *_ = mixed_problem(seed, n_tasks=300, n_rows=5, p=8, sd=sd)
    search = Search(
        Moments.of(TaskStatistics.from_arrays(X, y, tasks), np.ones(300), True, False), "diagonal"
    )
    steps, gradient = [], Search.gradient
    monkeypatch.setattr(Search, "gradient", lambda self, found: (steps.append(0), gradient(self, found))[1])
    end = search.descended(search.scales[0])  # where a mean task tells as much as the prior
    assert len(steps) <= 7  # variances of zero fall, small ones fall and rise
    assert_allclose(search.at(end).criterion, search.at(search.best()).criterion, atol=1e-6)


def test_searches_do_not_end_at_a_noise_of_none():
    T, p, n = 800, 30, 6  # where variances that all rise together say much the same as noise
    rng = np.random.default_rng(0)
    tasks, X = np.repeat(np.arange(T), n), rng.normal(size=(T * n, p))
    b, sd = rng.normal(size=T), np.where(np.arange(p) < p // 2, 0.3, 0.05)
    W = rng.normal(size=p) + sd * rng.normal(size=(T, p))
    y = b[tasks] + (X * W[tasks]).sum(axis=1) + rng.normal(size=T * n)
    assert 0.5 < fitted(X, y, tasks, intercept_alpha=0.0).noise_variance_ < 1.5


def test_searches_do_not_stop_short(rng):
    stopped = []
    for seed in range(40):
        sd, b = (rng.choice([0.0, 10 ** rng.uniform(-3, 2)]) for _ in range(2))
        X, y, tasks, *_ = mixed_problem(seed, int(rng.choice([10, 80])), int(rng.choice([2, 10])), 3, sd, b)
        stats = TaskStatistics.from_arrays(X * 10.0 ** rng.uniform(-3, 3, 3), y, tasks)
        search = Search(Moments.of(stats, np.ones(stats.n_tasks), True, bool(seed % 2)), "diagonal")
        theta = search.best()
        bounds, reached = optimize.Bounds(*search.scales[1:]), search.at(theta).criterion
        options = {"ftol": 1e-15, "gtol": 1e-9}
        lower = optimize.minimize(search, theta, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        stopped += [seed] if lower.fun < reached - 1e-5 else []
    assert not stopped


def test_zero_variances_are_found():
    X, y, tasks, *_ = mixed_problem(4, sd=0.0, sd_intercept=0.0, n_tasks=40)
    model = fitted(X, y, tasks, covariance="spherical")
    assert model.deviation_variance_ == 0.0 and np.isfinite(model.alpha_)
    assert np.abs(model.deviation_coef_).max() < 1e-6
    apart = fitted(np.column_stack([X, np.sin(tasks)]), y, tasks, intercept_alpha=0.0)
    assert apart.deviation_variance_[2] == 0.0


def test_levels_that_one_row_of_each_task_does_not_tell_from_noise_are_said():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    for tasks, options, said in [
        (np.arange(60), {"intercept_alpha": "auto"}, 1), (np.arange(60) % 59, {"intercept_alpha": "auto"}, 0),
        (np.arange(60), {"intercept_alpha": 1.0}, 0),
    ]:  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            MeanRegularizedRegressor("auto", **options).fit(X, y, tasks=tasks)
            TaskRelationshipRegressor("auto", **options).fit(X, y, tasks=tasks)
        found = ["does not tell the variance of intercepts" in str(w.message) for w in caught]
        assert sum(found) == 2 * said


def test_wrong_arguments_are_named():
    X, y, tasks, *_ = mixed_problem(0)
    for options, word in [
        ({"mean_alpha": 0.1}, "mean_alpha"), ({"ridge": 0.1}, "ridge"), ({"loss": "huber"}, "loss"),
        ({"alpha": 0.1, "covariance": "diagonal"}, "covariance"), ({"covariance": [1.0]}, "covariance"),
        ({"covariance": [[1.0, 2.0], [0.0, 1.0]]}, "covariance"), ({"covariance": "round"}, "covariance"),
        ({"covariance": [-1.0, 1.0]}, "covariance"), ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "covariance"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=word):
            fitted(X, y, tasks, **options)
    with pytest.raises(ValueError, match="mean_alpha"):
        MeanRegularizedRegressor(mean_alpha=1.0).fit(X, y, tasks=tasks).predict(
            X, tasks=tasks, return_std=True
        )
    with pytest.raises(ValueError, match="level"):
        fitted(X, y, tasks).prediction_interval(X, tasks=tasks, level=95)


def test_sparse_rows_and_many_tasks():
    X, y, tasks, *_ = mixed_problem(0, n_tasks=700, n_rows=4)
    model = fitted(X, y, tasks)
    other = fitted(sparse.csr_matrix(X), y, tasks)
    assert_allclose(other.coef_, model.coef_, rtol=1e-5, atol=1e-7)
    std = other.predict(sparse.csr_matrix(X), tasks=tasks, return_std=True)[1]
    assert_allclose(std, model.predict(X, tasks=tasks, return_std=True)[1], rtol=1e-5)
    assert_allclose(model.deviation_variance_, 0.49, atol=0.15)


def test_a_free_covariance_starts_where_a_diagonal_one_ends():
    """Its search must not leave for strengths where rounding decides, also beside variances of zero."""
    schools = load_hsb82()
    arguments = {"X": schools.data, "y": schools.target, "tasks": schools.tasks}
    options = {"alpha": "auto", "intercept_alpha": "auto", "task_weight": "samples"}
    diagonal, full = (
        MeanRegularizedRegressor(covariance=name, **options).fit(**arguments) for name in ("diagonal", "full")
    )
    assert full.log_marginal_likelihood_ >= diagonal.log_marginal_likelihood_
    assert_allclose(full.noise_variance_, diagonal.noise_variance_, rtol=0.01)


@pytest.mark.parametrize("intercept_alpha", ["auto", 0.1])
@pytest.mark.parametrize("offset", [0.0, 1e5, 1e7])
def test_correlations_do_not_cost_likelihood(offset, intercept_alpha):
    """The diagonal covariances are among the free ones, wherever zero is."""
    for seed in range(2):
        X, y, tasks, *_ = mixed_problem(seed, n_tasks=9, n_rows=10, p=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            diagonal, full = (
                MeanRegularizedRegressor("auto", intercept_alpha=intercept_alpha, covariance=name).fit(
                    X + offset, y, tasks=tasks
                )
                for name in ("diagonal", "full")
            )
        assert full.log_marginal_likelihood_ >= diagonal.log_marginal_likelihood_ - 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_a_free_covariance_is_found_in_few_steps(offset, seed, monkeypatch):
    """Also where it is singular, and where zero is far from the features."""
    X, y, tasks, *_ = mixed_problem(seed, n_tasks=9, n_rows=10, p=3)
    moments = Moments.of(TaskStatistics.from_arrays(X + offset, y, tasks), np.ones(9), True, False)
    models, model = [], Search.model
    monkeypatch.setattr(Search, "model", lambda self, *given: (models.append(0), model(self, *given))[1])
    free = Factor(Search(moments, "diagonal"))
    x, found = free.best()
    assert len(models) < 120
    options = {"ftol": 1e-15, "gtol": 1e-9}
    lower = optimize.minimize(
        criterion_of(moments, "full")[0], x, jac=True, method="L-BFGS-B", options=options
    )
    assert found.criterion < lower.fun + 1e-3


# --- at the edges ---


def test_features_far_from_zero_are_named():
    X, y, tasks, *_ = mixed_problem(0, n_tasks=12)
    frame = pd.DataFrame(X + np.array([0.0, 1e4]), columns=["age", "year"]).assign(school=tasks)
    with pytest.warns(
        UserWarning, match=r"50 standard deviations and more from the mean of feature\(s\) \['year'\]"
    ):
        MeanRegularizedRegressor(**AUTO, task_column="school").fit(frame, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MeanRegularizedRegressor("auto", task_column=2).fit(frame, y)  # free intercepts do not mind


@pytest.mark.parametrize("intercept_alpha", ["auto", 0.0])
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_features_that_are_constant_within_tasks_are_named(covariance, intercept_alpha):
    X, y, tasks, *_ = mixed_problem(0, n_tasks=12)
    frame = pd.DataFrame(np.column_stack([X, np.sin(tasks), np.sqrt(tasks)]), columns=[*"abcd"])
    model = MeanRegularizedRegressor("auto", intercept_alpha=intercept_alpha, covariance=covariance)
    with pytest.warns(UserWarning, match=r"feature\(s\) \['c', 'd'\] are constant within every task"):
        model.fit(frame, y, tasks=tasks)
    V = model.deviation_variance_
    V = V.diagonal() if V.ndim == 2 else V
    assert (V[2:] == 0).all() and (V[:2] > 0).all()
    assert_allclose(np.ptp(model.coef_[:, 2:], axis=0), 0.0, atol=1e-6)
    assert np.isfinite(model.coef_std_).all()
    if covariance == "diagonal":
        tests = model.test_sharing()
        assert [np.isnan(tests[name].p_value) for name in "abcd"] == [False, False, True, True]


@pytest.mark.parametrize("n_rows", [3, 2])
def test_one_task_whose_rows_tell_nothing_of_the_noise_is_named(n_rows):
    X, y = np.random.default_rng(0).normal(size=(n_rows, 2)), np.arange(float(n_rows))
    with pytest.warns(UserWarning, match=f"{n_rows} .* of one task do not outnumber its coefficients"):
        model = MeanRegularizedRegressor("auto").fit(X, y, tasks=np.zeros(n_rows))
    assert model.noise_variance_ == 0.0
    with pytest.raises(ValueError, match="more rows than fixed effects"):
        _ = model.coef_std_


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_tests_of_free_intercepts_do_not_mind_where_zero_is(offset):
    X, y, tasks, *_ = mixed_problem(0, n_tasks=20)
    found = MeanRegularizedRegressor("auto").fit(X + offset, y, tasks=tasks).test_sharing()
    wanted = MeanRegularizedRegressor("auto").fit(X, y, tasks=tasks).test_sharing()
    for name in ("slopes", "intercepts"):
        assert wanted[name].p_value < 0.01
        assert_allclose(found[name].statistic, wanted[name].statistic, rtol=1e-5)


def test_the_test_of_slopes_without_intercepts():
    X, y, tasks, *_ = mixed_problem(0, n_tasks=20, sd_intercept=0.0)
    found = MeanRegularizedRegressor(**AUTO, fit_intercept=False).fit(X, y, tasks=tasks).test_sharing()
    assert list(found) == ["slopes", "x0", "x1"] and found["slopes"].p_value < 0.01


@pytest.mark.parametrize("pooled", [{}, {"intercept_alpha": "auto"}, {"fit_intercept": False}])
def test_features_of_whole_tasks_leave_the_optimum_certified(pooled):
    """Rounding along features that no task varies in is nothing to be gained along the others."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        tasks = np.repeat(np.arange(6), 15)
        X = rng.normal(size=(90, 4))
        X[:, 1], X[:, 3] = rng.normal(size=6)[tasks], 3.0
        y = X.sum(axis=1) + rng.normal(size=90) + rng.normal(size=6)[tasks]
        model = MeanRegularizedRegressor("auto", **pooled).fit(X, y, tasks=tasks)
        assert 0 <= model.dual_gap_ <= 1e-8 * model.objective_


@pytest.mark.parametrize("sd", [0.7, np.array([0.7, 0.0])])
@pytest.mark.parametrize("covariance", [*COVARIANCES, None, [2.0, 0.5], [[2.0, 0.5], [0.5, 1.0]]])
def test_the_solution_of_the_search_is_not_solved_for_again(covariance, sd, monkeypatch):
    X, y, tasks, *_ = mixed_problem(1, n_tasks=20, sd=sd)
    X = X * [3.0, 0.1]
    monkeypatch.setattr("skmtl.solvers.direct.make_preconditioner", None)
    model = MeanRegularizedRegressor(**AUTO, covariance=covariance, tol=1e-10).fit(X, y, tasks=tasks)
    assert model.dual_gap_ < 1e-10


@pytest.mark.parametrize("sd", [0.7, 0.0])  # in the latter some variances are none
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_units_of_features_change_nothing(covariance, sd):
    X, y, tasks, *_ = mixed_problem(3, n_tasks=20, sd=np.array([sd, 0.7]))
    unit = np.array([1e8, 1e-8])
    model = MeanRegularizedRegressor(**AUTO, covariance=covariance)
    wanted, found = (clone(model).fit(X * u, y, tasks=tasks) for u in (np.ones(2), unit))
    assert_allclose(found.coef_ * unit, wanted.coef_, rtol=1e-3, atol=1e-6)
    for name in ("coef_std_", "mean_coef_std_"):
        assert_allclose(getattr(found, name) * unit, getattr(wanted, name), rtol=1e-3, err_msg=name)
    assert_allclose(found.mean_intercept_std_, wanted.mean_intercept_std_, rtol=1e-3)
    assert_allclose(
        found.log_marginal_likelihood_ + np.log(unit).sum(), wanted.log_marginal_likelihood_, rtol=1e-6
    )


def test_errors_are_those_of_the_fit_whatever_parameters_are_now():
    X, y, tasks, *_ = mixed_problem(0, n_tasks=12)
    model = MeanRegularizedRegressor(**AUTO).fit(X, y, tasks=tasks)
    wanted = model.coef_std_, model.intercept_std_, model.prediction_interval(X, tasks=tasks)
    tests, added = model.test_sharing(), copy.copy(model).fit_task(X[:3], y[:3], task=99).coef_[-1]
    model.set_params(alpha=3.0, intercept_alpha=0.5, covariance=[1.0, 2.0])
    model._posterior_ = None
    for one, other in zip(wanted, (model.coef_std_, model.intercept_std_), strict=False):
        assert_allclose(other, one)
    assert_allclose(model.prediction_interval(X, tasks=tasks), wanted[2])
    assert model.test_sharing() == tests
    assert_allclose(copy.copy(model).fit_task(X[:3], y[:3], task=99).coef_[-1], added)
    with pytest.raises(ValueError, match="alpha"):
        model.set_params(alpha="best").fit(X, y, tasks=tasks)
    assert_allclose(model.coef_std_, wanted[0])
    assert np.abs(model.set_params(alpha=3.0).fit(X, y, tasks=tasks).coef_std_ - wanted[0]).max() > 0.01


@pytest.mark.parametrize("covariance", [[1.0, 3.0], [1.0, 1e-6], [[1.0, 0.5], [0.5, 2.0]]])
def test_the_likelihood_of_a_covariance_that_is_given(covariance):
    X, y, tasks, *_ = mixed_problem(0, n_tasks=15)
    model = MeanRegularizedRegressor(**AUTO, covariance=covariance).fit(X, y, tasks=tasks)
    V = model.deviation_variance_ / model.noise_variance_
    value = dense(
        X, y, tasks, np.diag(V) if V.ndim == 1 else V, model.intercept_variance_ / model.noise_variance_
    )[0]
    assert_allclose(model.log_marginal_likelihood_, -0.5 * value, rtol=1e-8)


def test_a_covariance_without_correlations_is_the_diagonal_one():
    X, y, tasks, *_ = mixed_problem(0, n_tasks=8)
    full, diagonal = (
        MeanRegularizedRegressor(**AUTO, covariance=kind).fit(X, y, tasks=tasks)
        for kind in ("full", "diagonal")
    )
    assert full.covariance_shrinkage_ == 1.0
    assert_allclose(full.deviation_variance_, np.diag(diagonal.deviation_variance_))
    assert_allclose(full.coef_, diagonal.coef_)
    with pytest.raises(ValueError, match="not all zero"):
        MeanRegularizedRegressor(**AUTO, covariance=[0, 0]).fit(X, y, tasks=tasks)


# --- many slopes beside few rows ---


def covered(covariance, n_tasks, n_rows, p, seed):
    """Share of new rows in 95 % intervals, and whether the fit warns of slopes that explain the noise."""
    rng, tasks = np.random.default_rng(seed), np.repeat(np.arange(n_tasks), n_rows)
    W = rng.normal(size=p) + 0.3 * rng.normal(size=(n_tasks, p))

    def rows(tasks):
        X = rng.normal(size=(len(tasks), p))
        return X, (X * W[tasks]).sum(axis=1) + rng.normal(size=len(tasks))

    model = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto", covariance=covariance)
    new = np.repeat(np.arange(n_tasks), 10)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(*rows(tasks), tasks=tasks)
    X, y = rows(new)
    low, high = model.prediction_interval(X, tasks=new)[-2:]
    return np.mean((y >= low) & (y <= high)), any("which may be noise" in str(w.message) for w in said)


def test_correlations_leave_the_noise_where_it_is():
    """Of 10 x 8 rows with 10 features they explained it away: a third of new rows was covered."""
    found, warned = np.transpose([covered("full", 10, 8, 10, seed) for seed in range(4)])
    assert warned.sum() <= 1 and found[warned == 0].mean() >= 0.93


def test_variances_of_many_slopes_leave_the_noise_where_it_is():
    """Of 5 x 8 rows with 15 features they explained it away: 70 % of new rows were covered."""
    found, warned = np.transpose([covered("diagonal", 5, 8, 15, seed) for seed in range(8)])
    assert warned.sum() <= 1 and found.mean() >= 0.95


def test_variances_are_those_of_the_greatest_likelihood_where_rows_are_many():
    X, y, tasks, *_ = mixed_problem(0, n_tasks=10, n_rows=3, p=5, sd=[0.0, 2.0, 0.0, 0.0, 0.0])
    model = fitted(X, y, tasks)
    search = model._search(TaskStatistics.from_arrays(X, y, tasks))
    assert len(y) < 50
    simpler = Search(search.moments, unit=search.information[0] ** -0.5)
    assert search.at(search.best()).noise > 0.7 * simpler.at(simpler.best()).noise
    assert_allclose(model._theta_, search.best())  # so do few rows, whose noise it leaves


def test_slopes_that_explain_every_row_are_said():
    found, warned = np.transpose([covered("diagonal", 4, 10, 30, seed) for seed in range(4)])
    assert warned.all()
    found, warned = np.transpose([covered(None, 30, 10, 5, seed) for seed in range(4)])
    assert not warned.any() and found.mean() >= 0.93


def test_the_noise_that_is_to_be_left_is_found_by_some_of_many_tasks(monkeypatch):
    X, y, tasks, *_ = mixed_problem(0, n_tasks=2400, n_rows=4, p=6, sd=0.3)
    at, model = [], Search._model_at

    def counted(self, theta):
        at.append((self.covariance, self.moments.n_tasks))
        return model(self, theta)

    monkeypatch.setattr(Search, "_model_at", counted)
    fitted(X, y, tasks)
    assert len(y) < 2400 * 6 and at.count(("spherical", 2400)) == 1


def test_shares_of_correlations_are_tried_up_to_the_best(monkeypatch):
    rng = np.random.default_rng(0)
    tasks, X = np.repeat(np.arange(60), 20), rng.normal(size=(1200, 2))
    W = rng.normal(size=(60, 1)) + 0.3 * rng.normal(size=(60, 2))  # nearly the same of both features
    y = (X * W[tasks]).sum(axis=1) + rng.normal(size=1200)
    tried, without = [], _correlations.without_correlation

    def noted(root, amount):
        tried.append(float(amount))
        return without(root, amount)

    monkeypatch.setattr(_correlations, "without_correlation", noted)
    assert fitted(X, y, tasks, covariance="full").covariance_shrinkage_ == 0.0
    assert set(tried) == {0.0, 0.05, 0.1}
