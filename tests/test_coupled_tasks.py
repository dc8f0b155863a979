"""Strengths by restricted maximum likelihood where tasks are coupled by a graph, an order or a covariance."""

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
from conftest import LAYOUTS, hard_problems, make_layout
from numpy.testing import assert_allclose
from scipy import optimize, sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from skmtl import (
    GraphRegularizedRegressor,
    MeanRegularizedRegressor,
    MultiTaskRegressor,
    PathSearchCV,
    TaskKFold,
    TaskRelationshipRegressor,
    TaskStatistics,
    TemporalRegressor,
    compare,
)  # fmt: skip
from skmtl.linear_model._coupled_posterior import CoupledMoments
from skmtl.linear_model._covariance_search import CovarianceSearch
from skmtl.linear_model._elimination import Elimination, Sweep
from skmtl.linear_model._reml import Search
from skmtl.linear_model._task_priors import CovariancePrior, GraphPrior
from skmtl.linear_model._variance_components import Moments
from skmtl.penalties import Coupling

GRADUAL = TemporalRegressor("auto", smooth="quadratic")
KINDS = ("free", "pooled", "none")  # intercepts
OPTIONS = {"free": {}, "pooled": {"intercept_alpha": "auto"}, "none": {"fit_intercept": False}}


def graph_of(name, T=9):
    """Laplacian of a graph; "parts" has a task on its own, and tasks of a part far from each other."""
    rng, A = np.random.default_rng(0), np.zeros((T, T))
    if name == "chain":
        A[np.arange(T - 1), np.arange(1, T)] = 1
    elif name == "random":
        A = np.triu(rng.random((T, T)) * (rng.random((T, T)) < 0.5), 1)
    elif name == "parts":
        A[0, T - 1] = A[1, 2] = A[2, 4] = A[1, 4] = A[3, T - 1] = A[5, 6] = A[5, 0] = 0.7
    elif name == "complete":
        A = np.triu(np.full((T, T), 1 / T), 1)
    A = A + A.T
    return sparse.csr_array(np.diag(A.sum(axis=1)) - A)


def gradual(seed, n_tasks=12, n_rows=8, p=2, sd=0.5, sd_intercept=1.0):
    """Rows of tasks in an order whose coefficients change by steps; coefficients and intercepts."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), rng.integers(max(n_rows // 2, 1), 2 * n_rows, n_tasks))
    X = rng.normal(size=(len(tasks), p))
    W = rng.normal(size=p) + np.cumsum(sd * rng.normal(size=(n_tasks, p)), axis=0)
    b = 2 + sd_intercept * rng.normal(size=n_tasks)
    return X, b[tasks] + (X * W[tasks]).sum(axis=1) + rng.normal(size=len(tasks)), tasks, W, b


def dense(X, y, tasks, K, F, kind, strength, weight):
    """-2 log restricted likelihood and noise variance: slopes have covariance K, and a free part F."""
    n = len(y)
    V = np.diag(1 / weight) + K[np.ix_(tasks, tasks)] * (X @ X.T)
    fixed = [F[tasks][:, [c]] * X for c in range(F.shape[1])]
    if kind == "pooled":
        V += (tasks[:, None] == tasks) / strength
        fixed.append(np.ones((n, 1)))
    elif kind == "free":
        fixed.append((tasks[:, None] == np.arange(len(K))).astype(float))
    Z, inverse = np.hstack([np.zeros((n, 0)), *fixed]), np.linalg.inv(V)
    M = Z.T @ inverse @ Z
    r = y - Z @ np.linalg.solve(M, Z.T @ inverse @ y)
    df = n - Z.shape[1]
    noise = r @ inverse @ r / df
    value = df * np.log(noise) + np.linalg.slogdet(V)[1] + np.linalg.slogdet(M)[1]
    return value + df * (1 + np.log(2 * np.pi)) + np.log(weight).sum(), noise


def rows_and_moments(shared, kind, T=9, p=3, seed=0):
    """Rows with weights, and their `Moments`."""
    rng = np.random.default_rng(seed)
    if shared:
        X, own = rng.normal(size=(12, p)), rng.uniform(0.5, 2, 12)
        Y = X @ rng.normal(size=(p, T)) + rng.normal(size=T) + rng.normal(size=(12, T))
        stats = TaskStatistics.from_arrays(X, Y, sample_weight=own)
        rows = np.tile(X, (T, 1)), Y.T.ravel(), np.repeat(np.arange(T), 12), np.tile(own, T)
    else:
        X, y, tasks, *_ = gradual(seed, T, 10, p)
        weight = rng.uniform(0.5, 2, len(y))
        stats, rows = TaskStatistics.from_arrays(X, y, tasks, sample_weight=weight), (X, y, tasks, weight)
    return rows, Moments.of(stats, np.ones(T), kind != "none", kind == "free")


def differences(value, theta):
    return [(value(theta + step) - value(theta - step)) / 2e-5 for step in 1e-5 * np.eye(len(theta))]


# --- the criterion ---


@pytest.mark.parametrize("shared", [False, True], ids=["rows", "shared"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["chain", "random", "parts", "complete"])
def test_the_criterion_of_a_graph_is_that_of_the_dense_model(name, kind, shared, rng):
    (X, y, tasks, weight), moments = rows_and_moments(shared, kind)
    M = graph_of(name)
    joined = CoupledMoments.joined(moments, GraphPrior(M, 3, shared))
    found = joined.posterior(np.full(3, 1.7**-0.5), 0.6 if kind == "pooled" else None)
    F, K = joined.prior.members.T.toarray(), np.linalg.pinv(M.toarray())
    value, noise = dense(X, y, tasks, K / 1.7, F, kind, 0.6, weight)
    assert_allclose(-2 * found.log_likelihood, value, rtol=1e-11)
    assert_allclose(found.noise, noise, rtol=1e-10)
    assert_allclose(joined.prior.variance, np.trace(K) / 9, rtol=1e-12)
    search = Search(joined)
    theta = search.scales[0] + 0.3 * rng.normal(size=len(search.scales[0]))
    assert_allclose(search(theta)[1], differences(lambda z: search(z)[0], theta), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_graph_is_a_common_model(kind, rng):
    (X, *_), moments = rows_and_moments(False, kind)
    joined = CoupledMoments.joined(moments, GraphPrior(graph_of("complete"), 3, False))
    root, strength = np.full(3, 0.8), 0.6 if kind == "pooled" else None
    ours, theirs = joined.posterior(root, strength), moments.posterior(root, strength)
    codes = rng.integers(9, size=20)
    assert_allclose(ours.criterion, theirs.criterion)
    assert_allclose(ours.slope_variances(), theirs.slope_variances())
    assert_allclose(ours.predictor_variances(X[:20], codes), theirs.predictor_variances(X[:20], codes))
    assert_allclose(ours.information_alike(), theirs.information_alike())
    assert_allclose(ours.slope_gradient(), theirs.slope_gradient(), atol=1e-12)


@pytest.mark.parametrize("shared", [False, True], ids=["rows", "shared"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_criterion_of_a_covariance_is_that_of_the_dense_model(kind, shared, rng):
    (X, y, tasks, weight), moments = rows_and_moments(shared, kind)
    search = CovarianceSearch(CoupledMoments.joined(moments, CovariancePrior(1.0, np.zeros((9, 1)))))
    for n_factors in (0, 2):
        theta = 0.5 * rng.normal(size=search.n_numbers + 9 * n_factors)
        found = search.at(theta)
        K = search.units[0] * found.moments.prior.covariance()
        value, noise = dense(X, y, tasks, K, np.zeros((9, 0)), kind, found.strength, weight)
        assert_allclose(-2 * found.log_likelihood, value, rtol=1e-11)
        assert_allclose(found.noise, noise, rtol=1e-10)
        assert_allclose(search(theta)[1], differences(lambda z: search(z)[0], theta), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prior", ["graph", "covariance"])
@pytest.mark.parametrize("kind", KINDS)
def test_variances_that_let_tasks_be_fitted_perfectly_lose_no_digits(kind, prior, rng):
    T, p, n = 4, 12, 5
    X, y, tasks = rng.normal(size=(T * n, p)), rng.normal(size=T * n), np.repeat(np.arange(T), n)
    moments = Moments.of(TaskStatistics.from_arrays(X, y, tasks), np.ones(T), kind != "none", kind == "free")
    F, K = np.zeros((T, 0)), np.eye(T)
    if prior == "graph":
        M = graph_of("chain", T)
        prior, F, K = GraphPrior(M, p, False), np.ones((T, 1)), np.linalg.pinv(M.toarray())
    else:
        prior = CovariancePrior(1.0, np.zeros((T, 1)))
    strength = 0.6 if kind == "pooled" else None
    joined = CoupledMoments.joined(moments, prior)
    for variance in (1e4, 1e6, 1e8):
        found = joined.posterior(np.full(p, variance**0.5), strength)
        value = dense(X, y, tasks, variance * K, F, kind, strength, np.ones(T * n))[0]
        reached = -2 * found.log_likelihood
        assert reached >= value - 0.01  # what digits are lost, below those of intercepts, never flatters
        if kind != "pooled" or variance < 1e8:
            assert_allclose(reached, value, atol=0.01)


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", KINDS)
def test_searches_find_the_maximum_of_the_dense_likelihood(kind):
    for seed in range(2):
        rows, moments = rows_and_moments(False, kind, T=7, p=2, seed=seed)
        X, y, tasks, weight = rows
        M = graph_of("chain", 7)
        search = Search(CoupledMoments.joined(moments, GraphPrior(M, 2, False)))
        K, flat = np.linalg.pinv(M.toarray()), np.ones((7, 1))

        def chain(z, rows=(X, y, tasks), weight=weight, K=K, flat=flat):
            return dense(*rows, K * np.exp(z[0]), flat, kind, np.exp(z[-1]), weight)[0]

        starts = [np.full(1 + search.ties, level) for level in (0.0, -2.0)]
        best = min(optimize.minimize(chain, one, method="BFGS", options={"gtol": 1e-7}).fun for one in starts)
        assert abs(-2 * search.at(search.best()).log_likelihood - best) < 1e-6
        search = CovarianceSearch(CoupledMoments.joined(moments, CovariancePrior(1.0, np.zeros((7, 1)))))
        theta = search.best()
        for n_factors in {0, (len(theta) - search.n_numbers) // 7}:

            def alike(z, rows=(X, y, tasks), weight=weight, n=n_factors):
                F = z[2 : 2 + 7 * n].reshape(7, n)
                K = np.exp(z[0]) * np.eye(7) + np.exp(z[1]) + F @ F.T
                return dense(*rows, K, np.zeros((7, 0)), kind, np.exp(z[-1]), weight)[0]

            theta = search.best() if n_factors else search.descended(np.zeros(search.n_numbers))
            prior = search.at(theta).moments.prior
            numbers = np.log(search.units[0] * np.array([prior.level, prior.root[0, 0] ** 2]))
            start = [*numbers, *(search.units[0] ** 0.5 * prior.root[:, 1:].ravel()), *([0.0] * search.ties)]
            own = optimize.minimize(alike, start, method="BFGS", options={"gtol": 1e-7}).fun
            assert -2 * search.at(theta).log_likelihood < own + 1e-6


def test_blocks_of_sparse_inverses_lose_no_digits_at_any_strength(rng):
    T, p = 40, 3
    A = sparse.random_array((T, T), density=0.04, rng=rng)
    A = A + A.T
    M = sparse.csr_array(sparse.diags_array(A.sum(axis=1)) - A)
    S = rng.normal(size=(T, p, p + 2))
    S = S @ S.swapaxes(1, 2)
    prior = GraphPrior(M, p, False)
    R = rng.normal(size=(T, p, 2))
    for strength in (1e-6, 1.0, 1e10):
        found = Sweep(prior.order, S / strength)
        found.close(np.linalg.inv(found.common))
        whole = np.zeros((T, p, T, p))
        whole[np.arange(T), :, np.arange(T)] = S / strength
        whole = whole.reshape(T * p, T * p)
        if strength < 1e10:
            inverse = np.linalg.inv(whole + np.kron(M.toarray(), np.eye(p)))
            blocks = inverse.reshape(T, p, T, p)[np.arange(T), :, np.arange(T)]
            assert_allclose(found.blocks(slice(None)), blocks, rtol=1e-6, atol=1e-10 * np.abs(blocks).max())
            assert_allclose(
                found.solve(R).ravel(), (inverse @ R.reshape(T * p, 2)).ravel(), rtol=1e-6, atol=1e-7
            )
        total = (prior.members @ (S / strength).reshape(T, -1)).reshape(-1, p, p)
        assert (np.abs(found.common) <= 1.001 * np.abs(total).max()).all()
        if strength == 1e10:  # what all tasks of a component have in common is all that there is
            assert_allclose(found.common, total, rtol=1e-6, atol=1e-12 * total.max())


def test_graphs_that_fill_up_are_refused():
    with pytest.raises(ValueError, match="300 tasks of 60 features on a graph of 44850 edges"):
        Elimination(sparse.csr_array(300 * np.eye(300) - 1), 60)


# --- standard errors ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["chain", "covariance"])
def test_standard_errors_are_those_of_the_joint_model(name, kind, rng):
    X, y, tasks, *_ = gradual(3, n_tasks=40, n_rows=15, sd=1.0)
    T, p, n_own = 40, 2, 2 if kind == "none" else 3
    model = clone(GRADUAL) if name == "chain" else TaskRelationshipRegressor("auto")
    model.set_params(**OPTIONS[kind], tol=1e-12).fit(X, y, tasks=tasks)
    M = graph_of("chain", T).toarray() / model.deviation_variance_
    if name == "covariance":  # what few features tell of their common variance is taken to be uncertain
        model._posterior_ = model._at_estimate(model._seen_)
        M = np.linalg.inv(model.deviation_variance_ * model.task_covariance_)
    Z = np.column_stack([np.ones(len(y)), X])[:, -n_own:]
    H = np.zeros((T, n_own, T, n_own))
    for t in range(T):
        H[t, :, t] = Z[tasks == t].T @ Z[tasks == t] / model.noise_variance_
    for j in range(n_own - p, n_own):
        H[:, j, :, j] += M
    if kind == "pooled":
        H[:, 0, :, 0] += (np.eye(T) - 1 / T) / model.intercept_variance_
    C = np.linalg.inv(H.reshape(T * n_own, -1)).reshape(H.shape)
    x = rng.normal(size=(T, p))
    _, std = model.predict(x, tasks=np.arange(T), return_std=True)
    posterior = model._known_posterior()
    tails = posterior.tails  # for errors of the noise
    assert (tails > 1) == (name == "chain") and tails < 1.01
    for t in range(T):
        z = np.append(1.0, x[t])[-n_own:]
        own = posterior.slope_variances()[t] * posterior.noise
        assert_allclose(own, C[t, :, t].diagonal()[-p:], rtol=1e-6)
        assert_allclose(std[t] ** 2, tails * (z @ C[t, :, t] @ z + model.noise_variance_), rtol=1e-6)
        if kind != "none":
            assert_allclose(model.intercept_std_[t] ** 2, tails * C[t, 0, t, 0], rtol=1e-6)
    mean = C.mean(axis=(0, 2)).diagonal()[-p:]
    assert_allclose(model.mean_coef_std_**2, mean, rtol=1e-6)
    about_common = model.intercept_variance_ / T if kind == "pooled" else 0.0  # the mean of these tasks
    level = 0.0 if kind == "none" else C[:, 0, :, 0].mean() + about_common
    assert_allclose(model.mean_intercept_std_**2, level, rtol=1e-6)
    coefficients = np.linalg.solve(
        H.reshape(T * n_own, -1),
        np.array([Z[tasks == t].T @ y[tasks == t] for t in range(T)]).ravel() / model.noise_variance_,
    ).reshape(T, n_own)
    assert_allclose(model.coef_, coefficients[:, -p:], rtol=1e-5, atol=1e-7)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["graph", "covariance"])
def test_intervals_cover(name):
    inside, coefs = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y, tasks, W, b = gradual(seed, n_tasks=60, n_rows=14, p=3, sd=[0.1, 0.5][seed % 2])
        model = clone(GRADUAL)
        if name == "covariance":  # alike
            model, p = TaskRelationshipRegressor("auto", intercept_alpha="auto"), 3
            W = 0.5 * rng.normal(size=p) + [0.2, 0.6][seed % 2] * rng.normal(size=W.shape)
            y = b[tasks] + (X * W[tasks]).sum(axis=1) + rng.normal(size=len(y))
        model.fit(X, y, tasks=tasks)
        new, at = rng.normal(size=(200, 3)), rng.integers(60, size=200)
        target = b[at] + (new * W[at]).sum(axis=1) + rng.normal(size=200)
        low, high = model.prediction_interval(new, tasks=at)
        inside.append((low <= target) & (target <= high))
        coefs.append(np.abs(model.coef_ - W) <= 1.96 * model.coef_std_)
    assert 0.93 <= np.mean(inside) <= 0.97
    assert 0.92 <= np.mean(coefs) <= 0.98


@pytest.mark.no_cover
def test_the_test_of_deviations_holds_its_level():
    rejected = []
    for seed in range(12):
        X, y, tasks, *_ = gradual(seed, n_tasks=8, n_rows=6, p=1, sd=0.0)
        rejected.append(clone(GRADUAL).fit(X, y, tasks=tasks).test_sharing()["slopes"].p_value < 0.2)
    assert 0.05 <= np.mean(rejected) <= 0.4
    X, y, tasks, *_ = gradual(0)
    for model in (
        GRADUAL,
        GraphRegularizedRegressor("auto"),
        GraphRegularizedRegressor(0.1, graph=[(0, 1), (1, 2)]),
    ):
        found = clone(model).fit(X, y, tasks=tasks).test_sharing()["slopes"]
        assert found.statistic > 0 and 0 < found.p_value <= 1
    assert clone(GRADUAL).fit(X, y, tasks=tasks).test_sharing()["slopes"].p_value < 0.01
    for model in (
        GraphRegularizedRegressor("auto", graph=[]),
        GraphRegularizedRegressor("auto", fit_intercept=False),
    ):
        found = model.fit(X, y, tasks=tasks).test_sharing()["slopes"]
        assert found.p_value == 1 if model.graph == [] else found.p_value < 0.01


# --- all forms of data ---


def models():
    pairs = [(0, 1), (1, 2, 0.5), (0, 3)]
    yield "graph", lambda **given: GraphRegularizedRegressor(**{"alpha": "auto", "graph": pairs, **given})
    yield "order", lambda **given: clone(GRADUAL).set_params(**given)
    yield "covariance", lambda **given: TaskRelationshipRegressor(**{"alpha": "auto", **given})


MODELS = dict(models())


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *(("order", layout) for layout in LAYOUTS), ("graph", "stacked"), ("graph", "missing"),
        ("covariance", "stacked"), ("covariance", "shared"), ("covariance", "missing"),
        ("covariance", "single"),
    ],
)  # fmt: skip
def test_statistics_and_numbers_give_the_same_fit(layout, name):
    data = make_layout(layout, n=80, p=3)
    model = MODELS[name](intercept_alpha="auto", tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a fit without tasks
        if name == "graph":
            labels = model.set_params(graph=None).fit(**data.fit_args()).tasks_.tolist()
            model.set_params(
                graph=[(labels[0], labels[1]), (labels[1], labels[2], 0.5), (labels[0], labels[3])]
            )
        model.fit(**data.fit_args())
        assert model.dual_gap_ <= 1e-9 and np.isfinite(model.coef_).all()
        stats = TaskStatistics.from_arrays(data.X, data.y, data.tasks, sample_weight=data.sample_weight)
        other = clone(model).fit_statistics(stats)
        for ours, theirs in zip(means_of(model), means_of(other), strict=True):
            assert_allclose(np.ravel(theirs), np.ravel(ours), rtol=1e-6, atol=1e-9)
        numbers = clone(model).set_params(
            alpha=model.alpha_, intercept_alpha=model.intercept_alpha_, task_weight="samples"
        )
        if name == "covariance":
            M = np.linalg.inv(model.task_covariance_)
            M = 0.5 * (M + M.T) if len(M) > 1 else np.zeros((1, 1))  # one task has free coefficients
            numbers = MultiTaskRegressor(
                model.alpha_, penalty=Coupling(M=M), intercept_alpha=model.intercept_alpha_,
                task_weight="samples", tol=1e-12,
            )  # fmt: skip
        numbers.fit(**data.fit_args())
    assert_allclose(numbers.coef_, model.coef_, rtol=1e-5, atol=1e-7)
    assert_allclose(numbers.objective_, model.objective_, rtol=1e-7)
    given = {} if data.tasks is None else {"tasks": data.tasks[:5]}
    y, std = model.predict(data.X[:5], return_std=True, **given)
    assert y.shape == std.shape and (std >= np.sqrt(model.noise_variance_)).all()
    assert model.prediction_interval(data.X[:5], **given).shape == (2, *y.shape)
    assert model.coef_std_.shape == model.coef_.shape and np.shape(model.intercept_std_) == np.shape(
        model.intercept_
    )


def means_of(model):
    return [model.coef_, model.intercept_, model.noise_variance_, model.deviation_variance_, model.alpha_]


def test_without_a_graph_it_is_the_common_model():
    X, y, tasks, *_ = gradual(0)
    ours = GraphRegularizedRegressor("auto", intercept_alpha="auto").fit(X, y, tasks=tasks)
    theirs = MeanRegularizedRegressor("auto", intercept_alpha="auto", covariance="spherical").fit(
        X, y, tasks=tasks
    )
    for one, other in zip(means_of(ours), means_of(theirs), strict=True):
        assert_allclose(one, other)
    assert_allclose(ours.coef_std_, theirs.coef_std_)
    for alpha in "auto", ours.alpha_:  # the graph leaves the mean free
        apart = clone(ours).set_params(alpha=alpha, mean_alpha=0.0, tol=1e-9).fit(X, y, tasks=tasks)
        assert_allclose(apart.coef_, ours.coef_, rtol=1e-4)


def test_an_order_is_a_chain_and_long_ones_are_cheap():
    X, y, tasks, *_ = gradual(0, n_tasks=1000, n_rows=5)
    model = clone(GRADUAL).set_params(intercept_alpha="auto").fit(X, y, tasks=tasks)
    assert_allclose(model.deviation_variance_, 0.25, rtol=0.15)
    assert_allclose(model.noise_variance_, 1.0, rtol=0.05)
    assert_allclose(model.intercept_variance_, 1.0, rtol=0.15)
    few = tasks < 60
    order = np.arange(60)[::-1]
    chain = GraphRegularizedRegressor("auto", graph=[(t, t + 1) for t in range(59)])
    ours = clone(GRADUAL).set_params(order=order).fit(X[few], y[few], tasks=tasks[few])
    assert_allclose(ours.coef_, chain.fit(X[few], y[few], tasks=tasks[few]).coef_, atol=1e-4)


def test_one_strength_may_be_given():
    X, y, tasks, *_ = gradual(0)
    for make in MODELS.values():
        model = make(intercept_alpha="auto", tol=1e-12).fit(X, y, tasks=tasks)
        slopes = make(intercept_alpha=model.intercept_alpha_, tol=1e-12).fit(X, y, tasks=tasks)
        assert_allclose(slopes.alpha_, model.alpha_, rtol=1e-3)
        assert_allclose(slopes.coef_, model.coef_, rtol=1e-3, atol=1e-4)
    model = MODELS["order"](intercept_alpha="auto", tol=1e-12).fit(X, y, tasks=tasks)
    intercepts = MODELS["order"](alpha=model.alpha_, intercept_alpha="auto", tol=1e-12).fit(X, y, tasks=tasks)
    assert_allclose(intercepts.intercept_alpha_, model.intercept_alpha_, rtol=1e-4)


def test_factors_are_found_where_tasks_have_them(rng):
    sign = np.repeat([1.0, -1.0], 5)
    W = np.outer(sign, rng.normal(size=8)) + 0.1 * rng.normal(size=(10, 8))
    tasks = np.arange(400) % 10
    X = rng.normal(size=(400, 8))
    y = (X * W[tasks]).sum(axis=1) + rng.normal(size=400)
    model = TaskRelationshipRegressor("auto").fit(X, y, tasks=tasks)
    assert model.n_factors_ >= 1
    assert (np.sign(model.task_correlation_) == np.outer(sign, sign)).all()
    assert_allclose(np.trace(model.task_covariance_), 1.0)
    size = model.noise_variance_ / (model.alpha_ * len(y) / 10)
    assert_allclose(model.deviation_variance_, size)
    plain = TaskRelationshipRegressor(0.1).fit(X, y, tasks=tasks)
    assert not hasattr(plain, "n_factors_")


@pytest.mark.parametrize("name", MODELS)
def test_searches_and_comparisons_take_estimated_strengths(name):
    X, y, tasks, *_ = gradual(0, n_rows=15)
    model = MODELS[name]()
    search = PathSearchCV(model, cv=3).fit(X, y, tasks=tasks)
    assert search.best_params_ == {"alpha": "auto"} and np.isfinite(search.best_score_)
    assert_allclose(search.best_estimator_.coef_, clone(model).fit(X, y, tasks=tasks).coef_)
    Z = np.column_stack([X, tasks])
    grid = {"fit_intercept": [False, True]}
    other = GridSearchCV(clone(model).set_params(task_column=2), grid, cv=TaskKFold(3, task_column=2)).fit(
        Z, y
    )
    assert np.isfinite(other.best_score_) and other.best_estimator_.coef_std_.shape == (12, 2)
    assert np.isfinite(compare({"auto": model}, X, y, tasks, cv=3).table["mean"]).all()


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["order", "covariance"])
def test_estimated_strengths_pass_the_checks_of_scikit_learn(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(MODELS[name]())


@pytest.mark.parametrize("name", MODELS)
def test_fitted_models_are_copied_saved_and_changed(name):
    X, y, tasks, *_ = gradual(0)
    model = MODELS[name](warm_start=True).fit(X, y, tasks=tasks)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_allclose(other.coef_std_, model.coef_std_)
    coef = model.coef_
    assert_allclose(model.fit(X, y, tasks=tasks).coef_, coef, atol=1e-6)
    model.set_params(alpha=0.1).fit(X, y, tasks=tasks)
    plain = MODELS[name](alpha=0.1).fit(X, y, tasks=tasks)
    assert_allclose(model.coef_, plain.coef_, atol=0.02)
    model.set_params(alpha="auto").fit(X, y, tasks=tasks)
    assert_allclose(model.coef_, coef, atol=1e-6)


# --- new tasks ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_task_hangs_on_the_mean_of_the_others(kind):
    X, y, tasks, *_ = gradual(0, n_tasks=15, n_rows=12)
    old = tasks < 14
    model = clone(GRADUAL).set_params(**OPTIONS[kind], tol=1e-12).fit(X[old], y[old], tasks=tasks[old])
    before = model.coef_std_
    model.fit_task(X[~old], y[~old], 14)
    assert_allclose(model.coef_std_[:14], before)
    prior = model.deviation_variance_ / (2 - 2 / 14) + model.mean_coef_std_**2  # the least it can tell
    assert (model.coef_std_[-1] > 0).all() and (model.coef_std_[-1] ** 2 < prior).all()
    assert np.isfinite(model.predict(X, tasks=tasks, return_std=True)[1]).all()
    alone = np.diag(np.linalg.inv(np.cov(X[~old].T) * ((~old).sum() - 1))) * model.noise_variance_
    assert (model.coef_std_[-1] ** 2 < 1.05 * alone).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_task_varies_about_the_mean_as_the_related_ones_do(kind, rng):
    """Its estimate is that under the covariance of the estimates of the others and of their errors."""
    T, p, signs = 30, 4, np.repeat([1.0, -1.0], 15)
    W = np.outer(signs, rng.normal(size=p)) + 0.3 * rng.normal(size=(T, p))
    tasks = np.repeat(np.arange(T), 20)
    X = rng.normal(size=(len(tasks), p))
    y = (X * W[tasks]).sum(axis=1) + 0.5 * rng.normal(size=len(tasks))
    old, rows = tasks < 29, np.arange(580, 586)
    model = TaskRelationshipRegressor("auto", **OPTIONS[kind], tol=1e-12, max_iter=100_000)
    model.fit(X[old], y[old], tasks=tasks[old])
    assert model.n_factors_ == 1
    posterior = model._posterior_ = model._at_estimate(model._seen_)
    before = model.coef_std_
    V = posterior.new_root @ posterior.new_root.T * model.noise_variance_
    errors = (before**2).mean(axis=0) - model.mean_coef_std_**2  # but for those of the mean
    assert_allclose(V.diagonal(), (model.coef_.var(axis=0) + errors) * 30 / 28, rtol=1e-6)
    model.fit_task(X[rows], y[rows], 29)
    Z, target = X[rows], y[rows] - X[rows] @ model.mean_coef_
    if kind == "free":
        Z, target = Z - Z.mean(axis=0), target - target.mean()
    if kind != "pooled":
        gain = V @ Z.T @ np.linalg.inv(Z @ V @ Z.T + model.noise_variance_ * np.eye(6))
        assert_allclose(model.coef_[-1], model.mean_coef_ + gain @ target, rtol=1e-6, atol=1e-6)
        left, R = np.eye(p) - gain @ Z, posterior.root
        C = left @ V + left @ (np.outer(R, R) * posterior._mean_covariance * posterior.noise) @ left.T
        assert_allclose(model.coef_std_[-1] ** 2, C.diagonal(), rtol=1e-6)
    assert_allclose(model.coef_std_[:29], before)
    assert (model.coef_std_[-1] > before.max(axis=0)).all()


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", ["alike", "signs"])
def test_intervals_of_new_tasks_cover(kind):
    inside = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        signs = np.ones(20) if kind == "alike" else rng.choice([-1.0, 1.0], 20)
        W = np.outer(signs, rng.normal(size=4)) + 0.3 * rng.normal(size=(20, 4))
        tasks = np.repeat(np.arange(20), 12)
        X, b = rng.normal(size=(len(tasks), 4)), rng.normal(size=20)
        y = b[tasks] + (X * W[tasks]).sum(axis=1) + rng.normal(size=len(tasks))
        old = tasks < 19
        model = TaskRelationshipRegressor("auto", intercept_alpha="auto").fit(
            X[old], y[old], tasks=tasks[old]
        )
        model.fit_task(X[-12:-6], y[-12:-6], 19)
        new = rng.normal(size=(200, 4))
        target = b[-1] + new @ W[-1] + rng.normal(size=200)
        low, high = model.prediction_interval(new, tasks=np.full(200, 19))
        inside.append((low <= target) & (target <= high))
    assert 0.9 <= np.mean(inside) <= 0.98


def test_one_task_has_free_coefficients():
    X, y, *_ = gradual(0, p=3)
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    model = TaskRelationshipRegressor("auto").fit(X, y, tasks=np.zeros(len(y)), sample_weight=weight)
    Z = np.column_stack([X, np.ones(len(y))])
    wanted = np.linalg.lstsq(np.sqrt(weight)[:, None] * Z, np.sqrt(weight) * y)[0]
    assert_allclose(np.append(model.coef_[0], model.intercept_), wanted, rtol=1e-6)
    covariance = np.linalg.inv(Z.T @ (weight[:, None] * Z)) * model.noise_variance_
    assert_allclose(model.coef_std_[0], np.sqrt(covariance.diagonal()[:3]), rtol=1e-6)
    assert model.task_covariance_ == 1.0 and model.n_factors_ == 0
    assert np.isfinite(model.fit_task(X[:5], y[:5], 1.0).coef_std_).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_unknown_tasks_have_wider_intervals(kind, name):
    X, y, tasks, *_ = gradual(0)
    model = MODELS[name](handle_unknown="average", **OPTIONS[kind]).fit(X, y, tasks=tasks)
    std = model.predict(X, tasks=tasks, return_std=True)[1]
    new = model.predict(X, tasks=np.full(len(y), 99), return_std=True)[1]
    assert np.isfinite(new).all() and (new > std).mean() > 0.9


# --- what is hard ---


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("graph", "free"), ("order", "pooled"), ("order", "none"), ("covariance", "free"),
        ("covariance", "pooled"),
    ],
)  # fmt: skip
def test_hard_problems_have_an_answer_or_a_clear_error(name, kind):
    for problem, X, y, tasks in hard_problems(*gradual(0, sd=0.0, sd_intercept=0.0)[:3]):
        given = (
            {"graph": [(0, 1), (1, 2), (3, 4)] if len(np.unique(tasks)) > 4 else []}
            if name == "graph"
            else {}
        )
        model = MODELS[name](max_iter=200, **OPTIONS[kind], **given)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X, y, tasks=tasks)
        except ValueError as error:
            if "centre the features" in str(error):
                assert problem == "large offset of X" and kind != "free"
                continue
            assert "more rows than fixed effects" in str(error), problem
            assert "row" in problem or "feature" in problem
            continue
        for value in (model.coef_, model.intercept_, model.noise_variance_, model.alpha_, model.coef_std_):
            assert np.isfinite(value).all(), problem
        assert np.isfinite(model.predict(X, tasks=tasks, return_std=True)[1]).all(), problem
        assert not np.isnan([model.deviation_variance_, model.intercept_variance_]).any(), problem
        assert np.isfinite(model.log_marginal_likelihood_), problem


def test_offsets_cost_no_digits_and_zero_variances_are_found():
    X, y, tasks, *_ = gradual(2)
    for make in MODELS.values():
        model, far = make().fit(X, y, tasks=tasks), make().fit(X, y + 1e8, tasks=tasks)
        assert_allclose(far.deviation_variance_, model.deviation_variance_, rtol=1e-4)
        far = make().fit(X + 1e8, y, tasks=tasks)
        assert_allclose(far.deviation_variance_, model.deviation_variance_, rtol=1e-3)
    X, y, tasks, *_ = gradual(2, sd=0.0, n_tasks=40)
    model = clone(GRADUAL).fit(X, y, tasks=tasks)
    assert model.deviation_variance_ == 0.0 and np.isfinite(model.alpha_)
    assert np.abs(model.deviation_coef_).max() < 1e-4
    assert_allclose(model.test_sharing()["slopes"], (0.0, 1.0), atol=1e-6)


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_no_variance_far_from_zero_is_found_or_refused(offset, rng):
    """Of slopes that hardly differ, beside pooled intercepts: the least one that is tried moves these."""
    X, tasks = rng.normal(size=(30, 3)), np.repeat([0, 1, 2], 10)
    y = X @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=30)
    model = TaskRelationshipRegressor("auto", intercept_alpha="auto")
    with pytest.raises(ValueError, match="centre the features"):
        model.fit(X + offset, y, tasks=tasks)
    found = [model.fit(X + shift, y, tasks=tasks).log_marginal_likelihood_ for shift in (0.0, 1e3)]
    assert abs(np.diff(found)) < 0.1
    assert clone(model).set_params(intercept_alpha=0.0).fit(X + offset, y, tasks=tasks).alpha_ > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("offset", [1e3, 1e4, 1e5])
def test_an_offset_leaves_the_digits_of_a_likelihood(offset, seed):
    """Where slopes vary pooled intercepts vary as they do times the offset, and nothing else changes."""
    rng = np.random.default_rng(seed)
    X, tasks = rng.normal(size=(60, 3)), np.repeat([0, 1, 2], 20)
    W = rng.normal(size=(3, 3))
    y = (X * W[tasks]).sum(axis=1) + 0.1 * rng.normal(size=60)
    model = TaskRelationshipRegressor("auto", intercept_alpha="auto")
    near, far = (clone(model).fit(X + shift, y, tasks=tasks) for shift in (100, offset))
    less = near.log_marginal_likelihood_ - far.log_marginal_likelihood_
    assert abs(less - 2 * np.log(offset / 100)) < 0.01  # two intercepts less their mean, in larger units
    assert_allclose(far.coef_, near.coef_, rtol=1e-3)


@pytest.mark.parametrize("name", [*MODELS, "mean"])
def test_units_of_all_features_and_of_targets_change_nothing(name):
    X, y, tasks, *_ = gradual(2, p=3)
    make = MODELS.get(name) or partial(MeanRegularizedRegressor, "auto")

    def answers(x_unit, y_unit):
        model = make(intercept_alpha="auto").fit(X * x_unit, y * y_unit, tasks=tasks)
        assert model.dual_gap_ <= 1e-4 * model.objective_
        std = model.predict(X * x_unit, tasks=tasks, return_std=True)[1]
        slopes = np.stack([model.coef_, model.coef_std_]) * x_unit / y_unit
        likelihood = model.log_marginal_likelihood_ + model._posterior_.df * np.log(y_unit)
        tests = [one.statistic for one in model.test_sharing().values()]
        free = {"graph": 9, "covariance": 0}.get(name, 1) * 3  # coefficients in common
        return (
            slopes, [model.mean_coef_std_ * x_unit / y_unit, model.mean_coef_ * x_unit / y_unit],
            [model.intercept_ / y_unit, model.intercept_std_ / y_unit], std / y_unit,
            [likelihood + free * np.log(x_unit), *tests],
        )  # fmt: skip

    wanted = answers(1.0, 1.0)
    for units in ((1e-100, 1e100), (1e100, 1e-100)):  # their ratio is that of the slopes
        with np.errstate(over="ignore"):  # a variance of 1e400, the square of a coefficient, is no number
            answer = answers(*units)
        for found, own in zip(answer, wanted, strict=True):
            assert_allclose(found, own, rtol=1e-5)


@pytest.mark.parametrize("cls", [MeanRegularizedRegressor, GraphRegularizedRegressor])
def test_free_slopes_have_no_units(cls, rng):
    X, y, tasks = rng.normal(size=(36, 3)), rng.normal(size=36), np.arange(36) % 3
    model = cls(0.0, intercept_alpha="auto")
    one, other = (clone(model).fit(X * unit, y, tasks=tasks) for unit in ([1.0] * 3, [1e100, 1e-100, 1.0]))
    assert_allclose(other.noise_variance_, one.noise_variance_, rtol=1e-9)
    assert_allclose(other.intercept_alpha_, one.intercept_alpha_, rtol=1e-6)
    assert_allclose(other.coef_ * [1e100, 1e-100, 1.0], one.coef_, rtol=1e-6)


def test_wrong_arguments_are_named():
    X, y, tasks, *_ = gradual(0)
    for model, word in [
        (GraphRegularizedRegressor("auto", l1_ratio=0.1), "l1_ratio"),
        (GraphRegularizedRegressor("auto", ridge=0.1), "ridge"),
        (GraphRegularizedRegressor("auto", mean_alpha=0.1), "mean_alpha"),
        (GraphRegularizedRegressor("auto", loss="huber"), "loss"),
        (GraphRegularizedRegressor("soon"), "alpha"),
        (TemporalRegressor("auto"), "smooth"),
        (TemporalRegressor("auto", smooth="quadratic", group_ratio=0.1), "group_ratio"),
        (TemporalRegressor("auto", smooth="quadratic", positive=True), "positive"),
        (TaskRelationshipRegressor("auto", mean_alpha=0.0), "mean_alpha"),
        (TaskRelationshipRegressor(0.1, intercept_alpha="auto"), "alpha='auto'"),
    ]:
        with pytest.raises(ValueError, match=word):
            model.fit(X, y, tasks=tasks)
    for model, word in [(TemporalRegressor(), "smooth"), (TaskRelationshipRegressor(), "alpha='auto'")]:
        with pytest.raises(ValueError, match=word):
            model.fit(X, y, tasks=tasks).predict(X, tasks=tasks, return_std=True)


@pytest.mark.parametrize("seed", [0, 2])
def test_the_covariance_that_is_reported_is_that_of_the_objective(seed):
    """Where tasks are alike too, so that next to nothing of it is apart from what they share."""
    rng = np.random.default_rng(seed)
    X, tasks = rng.normal(size=(108, 6)) + 1000, np.repeat(np.arange(9), 12)
    y = (X - 1000) @ (0.3 * rng.normal(size=6)) + 0.5 * rng.normal(size=108)
    model = TaskRelationshipRegressor("auto", intercept_alpha="auto").fit(X, y, tasks=tasks)
    values, vectors = np.linalg.eigh(model.task_covariance_)
    assert 0 < values[0] < 1e-7 * values[-1]
    off = model.intercept_ - model.intercept_.mean()
    residual = y - (X * model.coef_[tasks]).sum(axis=1) - model.intercept_[tasks]
    objective = residual @ residual / 24 + 0.5 * model.intercept_alpha_ * off @ off
    objective += 0.5 * model.alpha_ * ((vectors.T @ model.coef_) ** 2 / values[:, None]).sum()
    assert_allclose(model.objective_, objective, rtol=1e-6)
