"""Strengths of classifiers of more than two classes by Laplace's method."""

import itertools
import re
import warnings

import numpy as np
import pytest
from conftest import LAYOUTS, criterion_of, make_layout
from numpy.testing import assert_allclose
from scipy import linalg, optimize, sparse, special
from sklearn.base import clone

from skmtl import MeanRegularizedClassifier
from skmtl._data import make_task_data
from skmtl.linear_model import _sharing
from skmtl.linear_model._laplace import ModeMoments
from skmtl.linear_model._reml import Search
from skmtl.linear_model._seen_rows import SeenRows
from skmtl.losses import Logistic, Multinomial

AUTO = {"alpha": "auto", "intercept_alpha": "auto"}
KINDS = ("pooled", "free", None)
OPTIONS = {"pooled": {}, "free": {"intercept_alpha": 0.0}, None: {"fit_intercept": False}}


def problem(seed, K=3, n_tasks=8, n_rows=12, p=2, sd=0.7):
    """Rows of tasks around a common model, of unequal numbers; every task has every class."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), rng.integers(n_rows, 2 * n_rows, n_tasks))
    X = rng.normal(size=(len(tasks), p))
    W = 0.7 * rng.normal(size=(K, p)) + sd * rng.normal(size=(n_tasks, K, p))
    eta = (0.8 * rng.normal(size=(n_tasks, K)))[tasks] + np.einsum("nkp,np->nk", W[tasks], X)
    chance = special.softmax(eta, axis=1).cumsum(axis=1)
    y = (rng.random((len(X), 1)) > chance).sum(axis=1)
    first = np.flatnonzero(np.diff(tasks, prepend=-1))
    y[first[:, None] + np.arange(K)] = np.arange(K)
    return X, y.astype(float), tasks


def search_on(X, y, tasks, loss, kind="pooled", covariance="diagonal", weight=None):
    seen = SeenRows(make_task_data(X, y, tasks, sample_weight=weight), loss)
    rows = seen.likelihood(np.ones(seen.n_tasks), kind is not None, kind == "free")
    return Search(ModeMoments.on(rows), covariance)


def fitted(X, y, tasks, **options):
    return MeanRegularizedClassifier(**{**AUTO, **options}).fit(X, y, tasks=tasks)


class Dense:
    """Joint density of rows and the coefficients of all classes, (1 + n_tasks) blocks of K rows [b, w].

    The first block is common. Without an intercept its places are not used; free ones are in the tasks.
    """

    def __init__(self, X, y, tasks, K, V, kind, tie=0.8):
        T, p = tasks.max() + 1, X.shape[1]
        Z = np.zeros((len(y), K, 1 + T, K, 1 + p))
        for k in range(K):
            for block in (np.zeros_like(tasks), tasks + 1):
                Z[np.arange(len(y)), k, block, k] = np.column_stack([np.ones(len(y)), X])
        random = np.ones((1 + T, K, 1 + p), dtype=bool)
        random[0] = False
        level = np.zeros_like(random)
        if kind != "pooled":
            random[:, :, 0], level[1:, :, 0] = False, kind == "free"
            Z[:, :, 0, :, 0] = 0.0
            Z[..., 0] *= kind == "free"
        own = linalg.block_diag(1 / tie if kind == "pooled" else 0.0, np.linalg.inv(V))
        P = linalg.block_diag(np.zeros((K * (1 + p),) * 2), np.kron(np.eye(T * K), own))
        self.Z, self.P, self.random, self.level = Z.reshape(len(y), K, -1), P, random.ravel(), level.ravel()
        self.Y, self.prior = np.eye(K)[y.astype(int)], T * K * np.linalg.slogdet(V)[1]
        self.prior += T * K * np.log(tie) if kind == "pooled" else 0.0
        self.shape = random.shape

    def value(self, z):
        eta = self.Z @ z
        return (special.logsumexp(eta, axis=1) - (self.Y * eta).sum(axis=1)).sum() + 0.5 * z @ self.P @ z

    def hessian(self, z):
        chance = special.softmax(self.Z @ z, axis=1)
        mean = np.einsum("nk,nkz->nz", chance, self.Z)
        return np.einsum("nkz,nk,nkx->zx", self.Z, chance, self.Z) - mean.T @ mean + self.P

    def mode(self):
        z = np.zeros(len(self.P))
        for _ in range(40):
            slope = special.softmax(self.Z @ z, axis=1) - self.Y
            g = np.einsum("nk,nkz->z", slope, self.Z) + self.P @ z
            step = -np.linalg.pinv(self.hessian(z), hermitian=True, rcond=1e-11) @ g
            while self.value(z + step) > self.value(z) + 1e-9:
                step /= 2
            z = z + step
        return z

    def criterion(self):
        """-2 times the log-likelihood; the null direction of free intercepts cancels."""
        z = self.mode()
        H = self.hessian(z)
        A = H[np.ix_(self.random, self.random)]
        if self.level.any():
            across = H[np.ix_(self.level, self.random)]
            inverse = np.linalg.pinv(H[np.ix_(self.level, self.level)], hermitian=True, rcond=1e-11)
            A = A - across.T @ inverse @ across
        return 2 * self.value(z) + np.linalg.slogdet(A)[1] + self.prior


@pytest.mark.parametrize("kind", KINDS)
def test_the_criterion_is_that_of_the_dense_model(kind, rng):
    for K, R in ((3, np.tril(rng.normal(size=(2, 2))) + np.eye(2)), (4, rng.uniform(0.3, 1.5, 2))):
        X, y, tasks = problem(1, K, n_tasks=5)
        V = np.diag(R**2) if R.ndim == 1 else R @ R.T
        found = search_on(X, y, tasks, Multinomial(K), kind).moments.posterior(R, 1 / 0.8)
        dense = Dense(X, y, tasks, K, V, kind)
        assert_allclose(-2 * found.log_likelihood, dense.criterion(), rtol=1e-9)
        W = dense.mode().reshape(dense.shape)[:, :, 1:]
        W = W[0] + W[1:]
        assert_allclose(found.slopes, (W - W.mean(axis=1, keepdims=True)).reshape(5, -1), atol=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS[:-1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_equals_differences(kind, layout, rng):
    """Each covariance with each kind of intercepts and with each layout."""
    data = make_layout(layout)
    y = np.where(np.isnan(data.y), np.nan, np.digitize(data.y, np.nanquantile(data.y, [0.3, 0.7])))
    covariance = ("spherical", "diagonal", "full")[(LAYOUTS.index(layout) + KINDS.index(kind)) % 3]
    search = search_on(data.X, y, data.tasks, Multinomial(3), kind, weight=data.sample_weight)
    value, theta, _ = criterion_of(search.moments, covariance)
    theta = theta + 0.3 * rng.normal(size=len(theta))
    at, steps = slice(None, None, 1 if len(theta) < 8 else 5), 1e-4 * np.eye(len(theta))
    differences = [(value(theta + step)[0] - value(theta - step)[0]) / 2e-4 for step in steps[at]]
    assert_allclose(value(theta)[1][at], differences, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_classes_are_those_of_one_predictor(kind):
    """With c the contrast, w_2 - w_1 = sqrt(2) c: variances are half of those of the difference."""
    X, y, tasks = problem(2, K=2)
    many, one = (search_on(X, y, tasks, loss, kind) for loss in (Multinomial(2), Logistic()))
    R, half = np.array([0.5, 0.9]), np.sqrt(2)
    found, other = many.moments.posterior(R, 2.0), one.moments.posterior(half * R, 1.0)
    assert_allclose(found.log_likelihood, other.log_likelihood, rtol=1e-11)
    assert_allclose(found.slopes[:, 2:] - found.slopes[:, :2], other.slopes, atol=1e-9)
    theta, best = many.best(), one.best()
    shift = np.log(2) * (theta < many.scales[2])
    assert_allclose(many.at(theta).log_likelihood, one.at(best).log_likelihood, atol=1e-8)
    assert_allclose((theta - shift)[shift > 0], best[shift > 0], atol=1e-4)


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", ["pooled", "free"])
def test_the_search_finds_the_maximum_of_the_dense_likelihood(kind):
    X, y, tasks = problem(3, n_tasks=4, n_rows=15, sd=1.0)
    search = search_on(X, y, tasks, Multinomial(3), kind)
    found = -2 * search.at(search.best()).log_likelihood

    def value(z):
        return Dense(X, y, tasks, 3, np.diag(np.exp(z[:2])), kind, np.exp(z[-1])).criterion()

    start = np.full(2 + (kind == "pooled"), -0.5)
    best = optimize.minimize(value, start, method="BFGS", options={"gtol": 1e-2, "maxiter": 8}).fun
    assert found <= best + 1e-6
    assert_allclose(found, best, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_give_the_same_fit_and_errors_are_those_of_the_joint_model(kind):
    X, y, tasks = problem(4, n_tasks=10, n_rows=20)
    model = fitted(X, y, tasks, covariance="diagonal", tol=1e-13, **OPTIONS[kind])
    numbers = clone(model).set_params(
        alpha=model.alpha_, intercept_alpha=model.intercept_alpha_, task_weight="samples",
        covariance=model.deviation_variance_,
    ).fit(X, y, tasks=tasks)  # fmt: skip
    assert_allclose(numbers.coef_, model.coef_, rtol=1e-5, atol=1e-6)
    assert_allclose(numbers.intercept_, model.intercept_, rtol=1e-5, atol=1e-6)
    assert (model.coef_std_ >= 0.999 * numbers.coef_std_).all()
    tie = model.intercept_variance_ if kind == "pooled" else 1.0
    dense = Dense(X, y, tasks, 3, np.diag(model.deviation_variance_), kind, tie)
    C = np.linalg.pinv(dense.hessian(dense.mode()), hermitian=True, rcond=1e-11)
    shape = dense.shape
    C = C.reshape(*shape, *shape)
    off = np.eye(3) - 1 / 3  # what all classes have in common is no part of any error
    common = np.einsum("ka,aibi,bk->ki", off, C[0, :, :, 0], off)[:, 1:]
    assert_allclose(model.mean_coef_std_, np.sqrt(common), rtol=1e-3)
    for t in (1, 4):
        own = C[0, :, :, 0] + C[t, :, :, t] + C[0, :, :, t] + C[t, :, :, 0]
        variances = np.einsum("ka,aibi,bk->ki", off, own, off)
        assert_allclose(numbers.coef_std_[t - 1], np.sqrt(variances[:, 1:]), rtol=1e-3)
        if kind is not None:
            assert_allclose(numbers.intercept_std_[t - 1], np.sqrt(variances[:, 0]), rtol=1e-3)
    if kind == "pooled":
        level = np.einsum("ka,ab,bk->k", off, C[0, :, 0, 0, :, 0], off)
        assert_allclose(model.mean_intercept_std_, np.sqrt(level), rtol=1e-3)
    if kind == "free":
        level = np.einsum("ka,ab,bk->k", off, C[1:, :, 0, 1:, :, 0].mean(axis=(0, 2)), off)
        assert_allclose(model.mean_intercept_std_, np.sqrt(level), rtol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_forms_of_data_have_an_answer(layout):
    data = make_layout(layout, n=80, p=3)
    given = data.fit_args()
    low, high = np.nanquantile(data.y, [0.3, 0.7], axis=0)
    given["y"] = np.where(np.isnan(data.y), np.nan, 1.0 * (data.y > low) + (data.y > high))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a fit without tasks
        model = MeanRegularizedClassifier(**AUTO, tol=1e-10).fit(**given)
    assert np.isfinite(model.coef_).all() and model.dual_gap_ <= 1e-7
    assert model.coef_std_.shape == np.shape(model.coef_) and (model.coef_std_ > 0).all()
    assert model.intercept_std_.shape == np.shape(model.intercept_)


def test_forms_of_the_same_data_give_the_same():
    X, y, tasks = problem(3)
    given = {"covariance": "diagonal", "tol": 1e-10, "intercept_alpha": 0.0}
    model, order = fitted(X, y, tasks, **given), np.random.default_rng(0).permutation(len(y))
    many = np.random.default_rng(0).integers(1, 3, len(y))
    offset = np.random.default_rng(0).normal(size=(len(y), 1)) * np.ones(3)  # no matter: it is that of all
    others = [
        fitted(X[order], y[order], tasks[order], **given),
        fitted(sparse.csr_matrix(X), y, tasks, **given),
        fitted(X + 1e6, y, tasks, **given),
        MeanRegularizedClassifier(alpha="auto", **given).fit(
            X, np.where(tasks[:, None] == np.arange(8), y[:, None], np.nan)
        ),
        MeanRegularizedClassifier(alpha="auto", **given).fit(X, y, tasks=tasks, offset=offset),
    ]
    for other in others:
        assert_allclose(other.deviation_variance_, model.deviation_variance_, rtol=1e-4, atol=1e-7)
        assert_allclose(other.coef_, model.coef_, rtol=1e-4, atol=1e-5)
        assert_allclose(other.coef_std_, model.coef_std_, rtol=1e-3)
    model = MeanRegularizedClassifier(**AUTO).fit(X, y, tasks=tasks, sample_weight=many)
    other = fitted(np.repeat(X, many, axis=0), np.repeat(y, many), np.repeat(tasks, many))
    assert_allclose(other.deviation_variance_, model.deviation_variance_, rtol=1e-4)


def test_a_new_task_and_tests_of_sharing():
    X, y, tasks = problem(0, n_tasks=12, n_rows=20, sd=1.0)
    every = fitted(X, y, tasks, covariance="diagonal")
    found = every.test_sharing()
    assert list(found) == ["slopes", "intercepts", "x0", "x1"]
    assert all(one.p_value < 0.01 and one.statistic > 5 for one in found.values())
    old = tasks < 11
    for options in ({}, {"intercept_alpha": 0.0}):
        whole = fitted(X, y, tasks, covariance="diagonal", **options)
        model = fitted(X[old], y[old], tasks[old], covariance="diagonal", **options)
        before = model.coef_std_
        model.fit_task(X[~old], y[~old], 11)
        assert_allclose(model.coef_std_[:11], before)
        assert_allclose(model.coef_std_[-1], whole.coef_std_[-1], rtol=0.1)
        assert_allclose(model.intercept_std_[-1], whole.intercept_std_[-1], rtol=0.1)
    X, y, tasks = problem(1, n_tasks=12, n_rows=30, sd=0.0)
    assert fitted(X, y, tasks).test_sharing()["slopes"].p_value > 0.05


def test_draws_of_classes_have_the_probabilities_of_rows():
    """Those of every way to give the rows as many of each class, by the product over rows."""
    data = make_task_data(np.zeros((4, 1)), np.array([0.0, 2.0, 1.0, 0.0]))
    eta = np.random.default_rng(1).normal(size=(4, 3))
    drawn = np.concatenate([next(_sharing._exchanged(data, eta, np.random.default_rng(s))) for s in range(9)])
    ways = np.array(sorted(set(itertools.permutations((0, 2, 1, 0)))))
    wanted = np.exp(eta[np.arange(4), ways].sum(axis=1))
    found = (drawn[:, None] == ways).all(axis=2).mean(axis=0)
    assert_allclose(found, wanted / wanted.sum(), atol=0.02)


def test_slopes_of_few_rows_of_classes_are_tested_by_targets_drawn_within_tasks():
    """In any form of the rows; those that differ are told from those that do not."""
    found = []
    for sd in (0.0, 2.0):
        X, y, tasks = problem(3, n_tasks=10, n_rows=6, sd=sd)
        model = fitted(X, y, tasks, intercept_alpha=0.0, covariance="spherical")
        found.append(model.test_sharing()["slopes"].p_value)
        assert (found[-1] * 1000) % 1 < 1e-9
    assert found[0] > 0.1 > 0.02 > found[1]
    weight = np.random.default_rng(0).integers(1, 3, len(y))
    model.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight), tasks=np.repeat(tasks, weight))
    wanted = model.test_sharing()["slopes"].p_value
    model.fit(sparse.csr_array(X), y, tasks=tasks, sample_weight=weight)
    assert model.test_sharing()["slopes"].p_value == wanted


def hard_problems():
    X, y, tasks = problem(0, n_tasks=5)
    rng = np.random.default_rng(0)
    yield "zero variances", *problem(0, n_tasks=5, sd=0.0)
    yield "one task", X, y, np.zeros(len(y))
    yield "class missing in a task", X, np.where((tasks == 0) & (y == 2), 0, y), tasks
    yield "one class in a task", X, np.where(tasks == 0, 1, y), tasks
    yield "constant column", np.column_stack([X, np.ones(len(y))]), y, tasks
    yield "column of tasks", np.column_stack([X, tasks]), y, tasks
    yield "collinear columns", np.column_stack([X, X[:, 0] - 2 * X[:, 1]]), y, tasks
    yield "large offset of X", X + 1e8, y, tasks
    yield "units apart", X * [1e-6, 1e6], y, tasks
    yield "separable tasks", X, np.where(tasks < 3, np.digitize(X[:, 0], [-0.5, 0.5]), y), tasks
    yield "separable", X, np.digitize(X[:, 0], [-0.5, 0.5]), tasks
    yield "one class apart", X, np.where(X[:, 0] > 1, 2, y % 2), tasks
    yield "one row a task", rng.normal(size=(30, 2)), rng.integers(3, size=30), np.arange(30)
    yield "more than all rows", rng.normal(size=(12, 15)), rng.integers(3, size=12), np.arange(12) % 2


REFUSED = "separable along|more rows than fixed|nothing bounds|Centre them, and"


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", KINDS)
def test_hard_problems_have_an_answer_or_a_clear_error(kind):
    answered = set()
    for name, X, y, tasks in hard_problems():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                model = fitted(X, y, tasks, **OPTIONS[kind])
                found = [model.coef_, model.intercept_, model.alpha_, model.log_marginal_likelihood_]
                found += [model.coef_std_, model.mean_coef_std_]
                assert not np.isnan(model.intercept_std_).any()
                assert not np.isnan(model.mean_intercept_std_).any()
        except ValueError as error:
            assert re.search(REFUSED, str(error)), (name, error)
            continue
        answered.add(name)
        assert all(np.isfinite(value).all() for value in found), name
        assert not np.isnan([*np.ravel(model.deviation_variance_), model.intercept_variance_]).any(), name
    assert answered >= {
        "zero variances", "class missing in a task", "one class in a task", "constant column",
        "column of tasks", "collinear columns", "units apart",
    }  # fmt: skip


def test_a_class_that_a_task_lacks_has_no_part_in_it():
    X, y, tasks = problem(5, n_tasks=6, n_rows=20)
    y[(tasks == 0) & (y == 2)] = 0.0
    with pytest.warns(UserWarning, match="without some class"):
        model = fitted(X, y, tasks, intercept_alpha=0.0)
    assert np.isinf(model.intercept_std_[0]).all() and np.isfinite(model.intercept_std_[1:]).all()
    assert model.predict_proba(X[tasks == 0], tasks=tasks[tasks == 0])[:, 2].max() < 1e-6


def test_weights_beyond_all_strengths_are_refused():
    X, y, tasks = problem(0)
    with pytest.raises(ValueError, match="no mode of the coefficients"):
        MeanRegularizedClassifier(1.0, intercept_alpha="auto").fit(
            X, y, tasks=tasks, sample_weight=np.full(len(X), 1e250)
        )
