"""Many tasks with few rows each: through their rows, in blocks, on all cores, with the same bits."""

import importlib
import itertools
import multiprocessing
import pickle
import threading
import warnings
from contextlib import ExitStack

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from skmtl import (
    ClusteredRegressor,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskRegressor,
    RobustRegressor,
    TaskRelationshipRegressor,
    TaskStatistics,
    TraceNormRegressor,
    _data,
    _threads,
)
from skmtl._data import make_task_data
from skmtl._threads import (
    blocks_of,
    by_rows,
    even_blocks,
    in_blocks,
    n_threads,
    reduced,
    sparse_product,
    spread,
    weighted_gram,
)
from skmtl.linear_model import Fitting
from skmtl.losses import Logistic, Poisson, SquaredError
from skmtl.objective import (
    MomentsTerm,
    Problem,
    RowMoments,
    RowsTerm,
    _forms,
    _intercepts,
    by_products,
    make_term,
)
from skmtl.penalties import (
    L1,
    L2,
    Clusters,
    Coupling,
    Features,
    Spectrum,
    TaskQuadratic,
    Tasks,
    singular_values,
)
from skmtl.penalties._quadratic import ClusterQuadratic, GraphQuadratic, Laplacian
from skmtl.solvers import _separation, coordinate, covariances, variances
from skmtl.solvers.covariances import by_covariance
from skmtl.solvers.direct import conjugate_gradients, make_preconditioner
from skmtl.solvers.variances import by_variances


@pytest.fixture
def few_are_many(monkeypatch):
    """Compiled loops from two tasks on, in blocks of a few rows."""
    monkeypatch.setattr(_threads, "COMPILED_TASKS", 2)
    monkeypatch.setattr(_data, "MANY_ROWS", 2)
    for name in ("blocks_of", "even_blocks"):
        small = getattr(_threads, name)
        monkeypatch.setattr(_data, name, lambda *given, small=small: small(*given[:2], 64))


@pytest.fixture
def no_moments(few_are_many, monkeypatch):
    """The same where second moments of all tasks would not fit in memory."""
    monkeypatch.setattr(_forms, "moments_pay", lambda data: False)
    monkeypatch.setattr(coordinate, "GRAM_ENTRIES", 0)
    monkeypatch.setattr(_threads, "ELEMENTS", 32)


def problem(sizes, p=9, seed=0, offset=0.0):
    rng, T = np.random.default_rng(seed), len(sizes)
    X = rng.normal(size=(sum(sizes), p)) + offset
    tasks = np.repeat(np.arange(T), sizes)
    W = rng.normal(size=p) + 0.5 * rng.normal(size=(T, p))
    return X, (X * W[tasks]).sum(axis=1) + tasks + rng.normal(size=len(X)), tasks


SIZES = [1, 2, 5, 8, 9, 10, 30, 3, 4, 6, 2, 7]


@pytest.mark.parametrize("alpha, mean_alpha", [(0.3, 0.0), (1e3, 0.2), (0.2, 1e3), (1e9, 1e-3), (1e-2, 1e-2)])
@pytest.mark.parametrize("options", [{}, {"intercept_alpha": 0.7}, {"fit_intercept": False}], ids=str)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_rows_tell_what_moments_tell(offset, options, alpha, mean_alpha, few_are_many, monkeypatch):
    """Tasks with fewer and with more rows than features, with weights; features far from zero as well."""
    X, y, tasks = problem(SIZES, offset=offset)
    weight = np.random.default_rng(1).uniform(0.5, 1, len(y)).round(1)
    model = MeanRegularizedRegressor(alpha, mean_alpha=mean_alpha, tol=1e-12, **options)
    data = {"tasks": tasks, "sample_weight": weight}
    fitting = Fitting.of(model, X, y, **data)
    assert type(fitting.term) is RowsTerm
    model.fit(X, y, **data)
    stats = TaskStatistics.from_arrays(X, y, tasks, sample_weight=weight)
    other = MeanRegularizedRegressor(alpha, mean_alpha=mean_alpha, tol=1e-12, **options).fit_statistics(stats)
    assert model.objective_ == pytest.approx(other.objective_, rel=1e-9)
    assert model.n_iter_ == other.n_iter_ == 1
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-11 if not offset else 1e-5)
    np.testing.assert_allclose(model.predict(X, tasks=tasks), other.predict(X, tasks=tasks), atol=1e-6)


def test_form_of_the_data_follows_from_the_rows_and_the_penalty(few_are_many):
    X, y, tasks = problem([4] * 5)
    data = make_task_data(X, y, tasks)
    assert type(make_term(data, SquaredError(), apart=True)) is RowsTerm
    assert type(make_term(data, SquaredError())) is MomentsTerm
    assert type(by_products(make_term(data, SquaredError()))) is RowMoments
    graded = X * np.geomspace(1, 1e6, 9)  # products of rows would know of the last feature only
    for rows in (problem([20] * 5), (graded, y, tasks)):
        term = make_term(make_task_data(*rows), SquaredError(), apart=True)
        assert type(term) is MomentsTerm and by_products(term) is term


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_fewer_rows_than_features_are_multiplied_in_the_place_of_moments(fit_intercept, few_are_many, rng):
    term = make_term(make_task_data(*problem([4] * 5)), SquaredError(), fit_intercept)
    V, other = rng.normal(size=term.shape), by_products(term)
    assert other is not term and other is by_products(term)
    np.testing.assert_allclose(other.curvature(V), term.curvature(V), atol=1e-12)
    np.testing.assert_allclose(other.gradient_at(V), term.gradient_at(V), atol=1e-12)


@pytest.mark.parametrize("tied", [0.0, 0.5])
@pytest.mark.parametrize("deviations, mean", [(0.4, 0.0), (0.4, 0.4), (0.4, 2.0), (1e6, 0.1)])
def test_inverse_through_rows_is_that_of_the_hessian(deviations, mean, tied, few_are_many):
    term = make_term(make_task_data(*problem(SIZES)), SquaredError(), True, tied, apart=True)
    quadratic = TaskQuadratic(len(SIZES), deviations, mean)
    W = np.random.default_rng(0).normal(size=term.shape)
    R = term.curvature(W) + quadratic.apply(W)
    found = make_preconditioner(term, quadratic)(R)
    np.testing.assert_allclose(found, W, rtol=1e-8, atol=1e-8)


def test_deviations_that_cost_nothing_are_left_to_conjugate_gradients(few_are_many):
    """Rows of norm 1 and a strength of 1e-13: their inverse would have no digits."""
    X, y, tasks = problem([4] * 6)
    for alpha in (0.0, 1e-13):
        model = MeanRegularizedRegressor(alpha, mean_alpha=alpha, tol=1e-10).fit(X, y, tasks=tasks)
        np.testing.assert_allclose(model.predict(X, tasks=tasks), y, atol=1e-4)  # fewer rows than features


MODELS = {
    "mean": MeanRegularizedRegressor(0.3, intercept_alpha=0.1), "features": GroupSparseRegressor(0.3),
    "classes": MeanRegularizedClassifier(0.3, intercept_alpha=0.1), "rank": TraceNormRegressor(0.5),
    "outliers": RobustRegressor(0.3), "relations": TaskRelationshipRegressor(0.01),
    "clusters": ClusteredRegressor(0.3, relaxation="kmeans", random_state=0, n_init=2),
}  # fmt: skip
models = pytest.mark.parametrize("name", MODELS)


@models
def test_same_bits_for_any_number_of_threads(name, no_moments, monkeypatch):
    X, y, tasks = problem([4, 20, 7] * 6)
    y = y > np.median(y) if name == "classes" else y
    seen, found = set(), []
    monkeypatch.setattr(variances, "SOME", 2)
    monkeypatch.setattr(variances, "MANY", 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    def fit():  # few iterations: sums in another order differ from the first on
        model = clone(MODELS[name]).set_params(tol=0.1).fit(X, y, tasks=tasks)
        moments = TaskStatistics.from_arrays(X, y, tasks)
        return model.coef_, model.intercept_, model.objective_, moments.xx, model.predict(X, tasks=tasks)

    def work(function, blocks, run=in_blocks):
        meeting, entered = threading.Barrier(2), itertools.count()

        def step(block):
            seen.add(threading.get_ident())
            if limit > 1 and len(blocks) > 1 and next(entered) < 2:  # two threads are there, or none goes on
                meeting.wait(timeout=120)
            return function(block)

        return run(step, blocks)

    monkeypatch.setattr(_data, "in_blocks", work)
    for limit in (1, 2, 3):
        seen.clear()
        with threadpool_limits(limit, user_api="openmp"):
            found.append(fit())
        assert (len(seen) > 1) == (limit > 1)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def squares_in_threads(n):
    """Squares of numbers by blocks inside of blocks, and the threads that found them."""
    with threadpool_limits(3, user_api="openmp"):
        found = in_blocks(lambda a: in_blocks(lambda b: (a * b, threading.get_ident()), range(n)), range(n))
    return [[value for value, _ in row] for row in found], {one for row in found for _, one in row}


def test_threads_are_kept_for_later_blocks(monkeypatch):
    """Also for blocks inside of blocks, after an error, and anew in a process that was forked."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(_threads, "_HELPERS", _threads._Helpers())
    expected, seen = np.multiply.outer(np.arange(6), np.arange(6)).tolist(), set()
    for _ in range(20):
        found, threads = squares_in_threads(6)
        assert found == expected
        seen |= threads
        with threadpool_limits(3, user_api="openmp"), pytest.raises(ZeroDivisionError):
            in_blocks(lambda k: 1 // (k - 3), range(6))
    assert len(seen) <= 3
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(squares_in_threads, [6]).get(timeout=120)[0] == expected


def test_the_last_to_leave_restores_the_threads_of_blas():
    def numbers():
        return [library.num_threads for library in _threads._LIBRARIES.blas.lib_controllers]

    with threadpool_limits(2, user_api="blas"):
        before = numbers()  # some libraries, as of solvers, are made for one thread
        with ExitStack() as first, ExitStack() as second:
            first.enter_context(_threads.one_blas_thread())
            second.enter_context(_threads.one_blas_thread())
            first.close()
            assert set(numbers()) == {1}
        assert 2 in before and numbers() == before
        interrupted = _threads.one_blas_thread()
        interrupted.__enter__()
        assert set(numbers()) == {1}
        del interrupted
        assert numbers() == before


def test_arrays_over_tasks_are_handled_in_blocks(rng, monkeypatch):
    """What is found for all rows at once is found block by block, but for rounding."""
    T, p, chain = 60, 30, Coupling.graph(np.eye(60, k=1) + np.eye(60, k=-1)).M
    W, G, bounds = rng.normal(size=(T, p)), rng.normal(size=(T, p)), np.arange(0, 12 * T + 1, 12)
    rows, forms = rng.normal(size=bounds[-1]), [TaskQuadratic(T, 2.0, 0.3), TaskQuadratic(T, 0.1, 0.1, chain)]
    forms.append(ClusterQuadratic(np.arange(T) % 4, 2.0, 1.0, 0.5))
    weak = np.outer(W[:, 0], G[0]) + 1e-9 * G  # of one large singular value

    def found():
        for form in forms:
            yield from (form.apply(W), form.times(W), form.plus(G, W), form.value(W), form.conjugate(G))
        for penalty in (Features(L2(0.7)), Tasks(L2(0.7)), Spectrum(L1(0.7))):
            yield from (penalty.prox(W, 2.0), penalty.value(W), penalty.dual_norm(G))
        yield from (singular_values(weak)[1], singular_values(weak)[2].T @ singular_values(weak)[2])
        every = W[:, 0], bounds, np.diff(bounds)
        yield from (spread(*every), spread(*every, rows), reduced(np.add, rows, bounds))
        yield from (sparse_product(sparse.csr_array(chain), W), by_rows(np.add, W, G, out=np.empty(W.shape)))

    whole, sizes = list(found()), []
    monkeypatch.setattr(_threads, "ELEMENTS", 32)
    monkeypatch.setattr(_threads, "in_blocks", lambda work, b: [sizes.append(len(b)), in_blocks(work, b)][1])
    for a, b in zip(whole, found(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
    assert len(sizes) > 40 and min(sizes) > 1


def test_sparse_factors_serve_features_in_turn(rng):
    """Of a graph that falls apart, some of its parts are free."""
    A, levels = np.kron(np.eye(3), np.ones((20, 20))), np.repeat([0.0, 0.5, 2.0], 7)
    laplacian, R = Laplacian.of(sparse.csc_array(Coupling.graph(A).M)), rng.normal(size=(60, 21))
    found = GraphQuadratic(laplacian, 0.0).solve(R, levels)
    for level, column, r in zip(levels, found.T, R.T, strict=True):
        np.testing.assert_allclose(column, np.linalg.pinv(laplacian.M + level * np.eye(60)) @ r, atol=1e-10)


def test_first_steps_of_classes_are_longer_than_parabolas_say():
    """By Newton's own from W = 0 on it were 9."""
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(1000, 9)), np.repeat(np.arange(50), 20)
    W = rng.normal(size=9) + 0.3 * rng.normal(size=(50, 9))
    model = MeanRegularizedClassifier(0.01).fit(X, (X * W[tasks]).sum(axis=1) > 0, tasks=tasks)
    assert model.n_iter_ <= 7


@models
def test_no_number_for_every_two_tasks_stays_in_a_model(name, few_are_many):
    X, y, tasks = problem([3] * 150, p=4)
    model = clone(MODELS[name]).fit(X, y > np.median(y) if name == "classes" else y, tasks=tasks)
    assert len(pickle.dumps(model)) < 8 * 20 * model.coef_.size + 20_000 < 8 * 150**2
    for asked in ("task_covariance_", "task_correlation_", "task_similarity_"):
        assert getattr(model, asked, np.empty((150, 150))).shape == (150, 150)


@pytest.mark.parametrize("name", ["features", "rank", "outliers", "relations", "clusters"])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}], ids=str)
def test_rows_in_the_place_of_moments_give_the_same_model(name, options, no_moments, monkeypatch):
    X, y, tasks = problem(SIZES)
    model = clone(MODELS[name]).set_params(tol=1e-8, **options).fit(X, y, tasks=tasks)
    monkeypatch.undo()
    other = clone(MODELS[name]).set_params(tol=1e-8, **options).fit(X, y, tasks=tasks)
    assert model.objective_ == pytest.approx(other.objective_, rel=1e-7)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-3)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_products_of_rows_are_the_moments_that_they_stand_for(fit_intercept, no_moments, rng):
    data = make_task_data(*problem(SIZES), sample_weight=rng.uniform(0.5, 1, sum(SIZES)))
    term = make_term(data, SquaredError(), fit_intercept)
    other, (V, W) = by_products(term), rng.normal(size=(2, *term.shape))
    image, moved, b = other.image(W), other.image(V), term.intercept(W, term.image(W), None)
    assert other is not term and by_products(other) is other
    assert other.value(W, image, b) == pytest.approx(term.value(W, term.image(W), b))
    np.testing.assert_allclose(other.gradient(W, image, b), term.gradient_at(W), atol=1e-12)
    np.testing.assert_allclose(other.curvature(V), term.curvature(V), atol=1e-12)
    along = term.second_order(W - V, term.image(W - V))
    assert other.distance(W, V, image, moved) == pytest.approx(along)


@pytest.mark.parametrize("numbers", [(2.0, 0.3, 0.1), (1e12, 1e11, 1.0), (2.0, 0.3, 0.0), (1.0, 0.5, 3.0)])
def test_strengths_within_and_between_clusters_are_those_of_a_matrix(numbers, rng):
    form = ClusterQuadratic(np.array([0, 2, 1, 1, 0, 2, 2]), *numbers) + TaskQuadratic(7, 0.1, 0.1)
    full, W, step = form.in_full(), rng.normal(size=(7, 3)), 0.7 / numbers[0]
    Q = full.apply(np.eye(7))
    close = {"rtol": 1e-9, "atol": 1e-12 * numbers[0]}
    for found in (form.apply(W), form.times(W), (form + TaskQuadratic(7, matrix=np.zeros((7, 7)))).apply(W)):
        np.testing.assert_allclose(found, Q @ W, **close)
    np.testing.assert_allclose(form.diagonal(), np.diag(Q), **close)
    np.testing.assert_allclose(form.prox(W, step), np.linalg.solve(np.eye(7) + step * Q, W), rtol=1e-9)
    levels = numbers[0] * np.arange(1.0, 4)
    for level, v, w in zip(levels, form.shifted_inverse(levels)(W).T, W.T, strict=True):
        np.testing.assert_allclose(Q @ v + level * v, w, rtol=1e-10)
    assert form.value(W) == pytest.approx(0.5 * np.vdot(W, Q @ W))
    assert form.conjugate(Q @ W) == pytest.approx(form.value(W))
    assert form.norm == pytest.approx(np.linalg.eigvalsh(Q)[-1]) and form.null_space() is None
    free = ClusterQuadratic(form.labels, 2.0, 0.3, 0.0)
    np.testing.assert_allclose(free.apply(free.null_space()), 0.0, atol=1e-15)
    equal = ClusterQuadratic(form.labels, 1e18, 1.0, 0.0).apply(np.full((7, 2), 0.1))
    assert not equal.any()  # rounding is not multiplied by the strength


@pytest.mark.parametrize("mean_ratio", [0.0, 0.5, 20.0])
@pytest.mark.parametrize("moments", [True, False])
def test_inverse_of_clusters_is_about_that_of_the_hessian(mean_ratio, moments, few_are_many, monkeypatch):
    """It takes the tasks of every cluster for alike: the number of steps says how much is left to do."""
    monkeypatch.setattr(_forms, "moments_pay", lambda data: moments)
    X, y, tasks = problem([6] * 60)
    penalty = Clusters(0.3, mean_ratio=mean_ratio, labels=np.arange(60) % 3)
    model = MultiTaskRegressor(penalty=penalty, tol=1e-10).fit(X, y, tasks=tasks)
    assert model.n_iter_ <= 15 and model.dual_gap_ <= 1e-8 * model.objective_


@pytest.mark.parametrize("loss", ["huber", "squared_hinge"])
def test_tasks_of_flat_rows_only_have_no_curvature(loss):
    """Newton's method weighs rows by theirs; with all of a task at zero its means are not numbers."""
    rng, tasks = np.random.default_rng(0), np.repeat(np.arange(512), 2)
    X = rng.normal(size=(len(tasks), 3))
    y = X @ rng.normal(size=3) + rng.normal(size=512)[tasks] + rng.normal(size=len(tasks))
    regresses = loss == "huber"
    model = (MeanRegularizedRegressor if regresses else MeanRegularizedClassifier)(
        0.5, intercept_alpha=0.5, loss=loss
    )
    y = y if regresses else y > 0
    by_gradients = clone(model).set_params(solver="fista", tol=1e-7).fit(X, y, tasks=tasks)
    model.fit(X, y, tasks=tasks)
    assert (
        -1e-12
        <= model.objective_ - by_gradients.objective_ + by_gradients.dual_gap_
        <= 2e-4 * model.objective_
    )


def test_certificates_are_asked_for_where_they_may_be_met(monkeypatch):
    asked, certify = [], Problem.certify
    monkeypatch.setattr(Problem, "certify", lambda self, *args: asked.append(1) or certify(self, *args))
    X, y, tasks = problem([30] * 10)
    fitting = Fitting.of(MeanRegularizedClassifier(0.01, tol=1e-6), X, y > np.median(y), tasks=tasks)
    found = fitting.at(0.01)
    values, gaps = zip(*((value, gap) for *_, value, gap in found.history), strict=True)
    assert len(asked) < len(gaps) and gaps[-1] == found.gap < 1e-5
    assert all(gap >= value - found.objective - 1e-12 for value, gap in zip(values, gaps, strict=True))


def test_exact_steps_are_certified_where_they_end(few_are_many, monkeypatch):
    """Neither at the start nor on the way, and nothing is solved twice where the inverse is exact."""
    asked, products, certify, curvature_at = [], [], Problem.certify, RowsTerm.curvature_at
    monkeypatch.setattr(Problem, "certify", lambda self, *args: asked.append(1) or certify(self, *args))

    def counted(self, eta=None):
        times = curvature_at(self, eta)
        return lambda V: products.append(1) or times(V)

    monkeypatch.setattr(RowsTerm, "curvature_at", counted)
    X, y, tasks = problem(SIZES * 8)
    model = MeanRegularizedClassifier(0.1, tol=1e-6).fit(X, y > np.median(y), tasks=tasks)
    assert model.n_iter_ >= 5 and len(asked) <= 4 and len(products) <= 2
    assert model.dual_gap_ <= 1e-6 * np.log(2) * len(model.tasks_)


@pytest.mark.parametrize("loss", [Logistic(), Poisson()], ids=repr)
def test_intercepts_of_blocks_of_tasks(loss, few_are_many, monkeypatch, rng):
    X, y, tasks = problem(SIZES)
    data = make_task_data(X, np.floor(np.abs(y)) if loss == Poisson() else np.sign(y), tasks)
    term = make_term(data, loss, True)
    W = rng.normal(size=term.shape)
    expected, blocks = term.intercept(W, term.image(W), None), []
    monkeypatch.setattr(_intercepts, "BLOCK_ROWS", 16)
    monkeypatch.setattr(
        _intercepts, "in_blocks", lambda work, each: blocks.extend(each) or in_blocks(work, each)
    )
    np.testing.assert_allclose(term.intercept(W, term.image(W), None), expected, rtol=1e-9, atol=1e-10)
    assert len(blocks) > 2


def test_rows_that_hold_all_directions_end_the_search_for_separation(monkeypatch):
    X, y, tasks = problem([30] * 4)
    y, model = np.sin(1e3 * y) > 0, MeanRegularizedClassifier(1.0)

    def search(rows, images, search=_separation.lsmr, **limits):
        assert not images.any(), "rows hold something"
        return search(rows, images, **limits)

    monkeypatch.setattr(_separation, "lsmr", search)
    monkeypatch.setattr(_separation, "FAR", 0.0)  # every solution is looked at
    assert model.fit(X, y, tasks=tasks).coef_.any()


def test_number_of_threads_is_that_of_openmp(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threadpool_limits(64, user_api="openmp"):
        assert n_threads() == joblib.cpu_count(only_physical_cores=True)
        monkeypatch.setenv("OMP_NUM_THREADS", "64")
        assert n_threads() == 64
    with threadpool_limits(1):
        assert n_threads() == 1


def test_blocks_are_of_about_the_same_size():
    assert blocks_of(np.array([0, 5, 9])) == [slice(0, 2)]
    bounds = np.concatenate([[0], np.cumsum([10] * 20 + [500] + [1] * 30)]) + 7
    blocks = blocks_of(bounds, 50)
    assert [t for block in blocks for t in range(51)[block]] == list(range(51))
    assert all(bounds[b.stop] - bounds[b.start] <= 600 for b in blocks) and len(blocks) > 4
    assert even_blocks(3, 100, 1) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert blocks_of(np.zeros(4, dtype=int), 1) == [slice(0, 3)]


def test_blocks_keep_their_order_and_the_state_of_the_caller(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threadpool_limits(2, user_api="openmp"), np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = in_blocks(lambda block: (block.start, np.ones(1) / 0.0), even_blocks(7, 1, 1))
    assert [start for start, _ in found] == list(range(7))
    with pytest.raises(ZeroDivisionError):
        in_blocks(lambda block: 1 / (3 - block.start), even_blocks(7, 1, 1))


def test_gram_of_rows_in_parts(monkeypatch, rng):
    X, weight = rng.normal(size=(500, 4)), rng.uniform(size=500)
    monkeypatch.setattr(_threads, "ROOM", 12)
    monkeypatch.setattr(_threads, "even_blocks", lambda n, p: even_blocks(n, p, 100))
    np.testing.assert_allclose(weighted_gram(X, weight), (X.T * weight) @ X, rtol=1e-12)


def test_predictions_of_other_types_and_orders(few_are_many):
    X, y, tasks = problem([4] * 8)
    model = MeanRegularizedRegressor(handle_unknown="average").fit(X, y, tasks=tasks)
    order = np.random.default_rng(0).permutation(len(y))
    asked, names = np.asfortranarray(X[order].round(2), dtype=np.float32), tasks[order].copy()
    names[:3] = 99
    expected = [
        x @ (model.coef_[t] if t < 99 else model.mean_coef_) for x, t in zip(asked, names, strict=True)
    ]
    b = np.append(model.intercept_, model.mean_intercept_)[np.minimum(names, 8)]
    np.testing.assert_allclose(model.predict(asked, tasks=names), np.array(expected) + b, rtol=1e-6)


def test_solution_by_an_inverse_costs_no_product(rng):
    """And those after it are refined by products."""
    A = rng.normal(size=(6, 6))
    A, rhs, products = A @ A.T + np.eye(6), rng.normal(size=(1, 6)), []

    def operator(V):
        products.append(1)
        return V @ A

    near = np.linalg.inv(A) + 1e-4 * np.eye(6)
    found = conjugate_gradients(operator, lambda R: R @ near, rhs, True)
    np.testing.assert_array_equal(next(found)[0], rhs @ near)
    assert not products
    *_, (last, _, _) = itertools.islice(found, 8)
    np.testing.assert_allclose(last @ A, rhs, rtol=1e-10)


@pytest.mark.parametrize("enough, moves", [(0.0, 1), (1e9, 0)])
def test_step_that_is_worth_little_is_charged_and_not_taken(enough, moves, few_are_many, monkeypatch):
    """What is charged is no less than the gap from the point of the step."""
    term = make_term(make_task_data(*problem([4] * 6)), SquaredError(), apart=True)
    asked = Problem(term, Coupling(0.3))
    W = np.random.default_rng(0).normal(size=term.shape)
    least = asked.gap([W])[2]
    term.enough, images, image = enough, [], term.image
    monkeypatch.setattr(term, "image", lambda V: images.append(1) or image(V))
    found = asked.gap([W])[2]
    assert len(images) == 1 + moves
    assert found >= least * (1 - 1e-9)


def test_curvatures_of_many_tasks_are_those_of_each(few_are_many):
    for tied in (0.0, 0.5):
        term = make_term(make_task_data(*problem(SIZES)), SquaredError(), True, tied, apart=True)
        each = [term.curvature(V) for V in np.eye(9)[:, None].repeat(len(SIZES), axis=1)]
        if not tied:
            expected = [own[:, j].sum() for j, own in enumerate(each)]
            np.testing.assert_allclose(term.curvatures(), expected, rtol=1e-10)
        left, squares = term.totals - term.kept, term.squares
        mean = term.data.adjoint(term.weight) / term.totals[:, None]
        np.testing.assert_allclose(term.curvatures(), (squares - left[:, None] * mean**2).sum(axis=0))


def test_a_huge_pull_keeps_no_more_of_an_intercept_than_there_is(rng):
    weight, labels = rng.uniform(0.1, 3.0, 2000), np.repeat(np.arange(500), 4)
    data = make_task_data(rng.normal(size=(2000, 3)), rng.normal(size=2000), labels, sample_weight=weight)
    term = RowsTerm(data, SquaredError(), True, np.pi * 1e20)
    assert (term.kept_of(weight) <= weight).all()
    with np.errstate(invalid="raise"):  # of a root
        found = term.shared_curvature
    away = data.X - np.average(data.X, axis=0, weights=term.weight)  # one intercept for all
    np.testing.assert_allclose(found, weighted_gram(away, term.weight), rtol=1e-10, atol=1e-10)


def test_gram_skips_rows_without_weight(rng):
    X, weight = rng.normal(size=(50, 4)), rng.uniform(size=50) * (rng.random(50) < 0.4)
    X[weight == 0] = np.nan
    used = weight > 0
    np.testing.assert_allclose(weighted_gram(X, weight), (X[used].T * weight[used]) @ X[used], rtol=1e-12)


@pytest.fixture
def few_tell_of_all(few_are_many, monkeypatch):
    """Variances of features from a hundred tasks on, fifty of which tell about all."""
    monkeypatch.setattr(variances, "SOME", 50)
    monkeypatch.setattr(variances, "MANY", 100)
    monkeypatch.setattr(variances, "FEW_ROWS", 5.0)
    monkeypatch.setattr(variances, "rows_pay", lambda data: True)
    monkeypatch.setattr(covariances, "SOME", 32)
    monkeypatch.setattr(covariances, "MANY", 2)


def test_variances_are_those_of_targets_less_an_offset(few_tell_of_all, rng):
    X, y, tasks = problem(SIZES * 12)
    offset, model = 5.0 * rng.normal(size=len(y)), GroupSparseRegressor(0.3, tol=1e-9)
    expected = clone(model).fit(X, y - offset, tasks=tasks)
    found = clone(model).fit(X, y, tasks=tasks, offset=offset)
    assert found.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-10)


@pytest.mark.parametrize("i, strength", list(enumerate([0.7, 0.1, 0.003])))
@pytest.mark.parametrize(
    "j, options",
    list(enumerate([
        {}, {"ridge": 0.3}, {"fit_intercept": False}, {"feature_groups": [0, 1, 1, 2, 0, 3, 3, 3, 4]},
    ])),
)  # fmt: skip
def test_norms_of_features_by_their_variances(j, options, i, strength, few_tell_of_all, monkeypatch):
    """Against gradient methods; zeros are exact, and tasks may have more rows than features."""
    rows = (i + j) % 2 == 0
    if rows:
        monkeypatch.setattr(_forms, "moments_pay", lambda data: False)
    X, y, tasks = problem(SIZES * 12)
    given, passes = {"tasks": tasks, "sample_weight": np.random.default_rng(1).uniform(0.5, 1, len(y))}, []

    def counted(*how):
        W, n_iter = by_variances(*how)
        passes.append(n_iter)
        return W, n_iter

    monkeypatch.setattr(coordinate, "by_variances", counted)
    form = GroupSparseRegressor(tol=1e-11, max_iter=100_000, **options)
    form.set_params(alpha=strength * form.alpha_max(X, y, **given))
    model = clone(form).fit(X, y, **given)
    assert passes == [model.n_iter_]  # and no iteration of another kind
    other = clone(form).set_params(solver="fista").fit(X, y, **given)
    assert len(passes) == 1 and model.objective_ == pytest.approx(other.objective_, rel=1e-10)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-4)
    np.testing.assert_array_equal(model.coef_.any(axis=0), other.coef_.any(axis=0))


@pytest.mark.parametrize(
    "strength, fit_intercept, rows",
    [(0.7, True, True), (0.1, False, False), (0.1, True, True), (0.01, False, False)],
)
def test_trace_norm_by_a_covariance(fit_intercept, strength, rows, few_tell_of_all, monkeypatch):
    """Passes lead all the way, also where their errors alternate, and the solution is that without them."""
    if rows:
        monkeypatch.setattr(_forms, "moments_pay", lambda data: False)
    X, y, tasks = problem(SIZES * 60)
    y = y if fit_intercept else y - tasks
    given, seen = {"tasks": tasks, "sample_weight": np.random.default_rng(1).uniform(0.5, 1, len(y))}, []

    def kept(problem, *how):
        W, n_passes = by_covariance(problem, *how)
        seen.append((n_passes, problem.gap([W])[2] / problem.null_objective()))
        return W, n_passes

    monkeypatch.setattr(importlib.import_module("skmtl.solvers.fista"), "by_covariance", kept)
    form = TraceNormRegressor(tol=1e-9, fit_intercept=fit_intercept)
    form.set_params(alpha=strength * form.alpha_max(X, y, **given))
    model = clone(form).fit(X, y, **given)
    ((n_passes, left),) = seen
    assert n_passes == model.n_iter_ <= 15 and left <= 1e-9
    monkeypatch.setattr(covariances, "MANY", np.inf)
    other = clone(form).fit(X, y, **given)
    assert len(seen) == 1 and other.n_iter_ >= model.n_iter_
    assert model.objective_ == pytest.approx(other.objective_, rel=1e-8)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-3)
    assert model.rank_ == other.rank_
