"""What a model is for: on data with its structure it finds the truth and predicts better than models without.

Every test draws five problems and judges the median. Strengths are chosen on the training rows, by the
same folds for the models and for what they have to beat.
"""

from functools import cache

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.metrics import adjusted_rand_score, f1_score

from skmtl import (
    ClusteredRegressor,
    DirtyRegressor,
    GroupSparseRegressor,
    HierarchicalRegressor,
    LatentBasisRegressor,
    MeanRegularizedRegressor,
    MultiTaskRegressor,
    PathSearchCV,
    RobustRegressor,
    SharedSubspaceRegressor,
    SparseLowRankRegressor,
    TaskKFold,
    TaskRelationshipRegressor,
    TemporalRegressor,
    TraceNormRegressor,
)
from skmtl.datasets import make_multitask_regression
from skmtl.metrics import task_scorer
from skmtl.penalties import L1, Entries

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines
SEEDS = range(5)
N_TEST = 100  # rows per task
FOLDS = TaskKFold(3, shuffle=True, random_state=0)
SQUARES = task_scorer("neg_mean_squared_error", average="pooled")
RIDGE_GRID = np.geomspace(1, 0.003, 5)


# --- data -----------------------------------------------------------------------------------


@cache
def draw(seed, n_rows, coef=None, **shape):
    """Truth, training rows and fresh rows of the same tasks, both as (X, y, tasks)."""
    truth = make_multitask_regression(n_samples=n_rows + N_TEST, random_state=seed, **shape)
    if coef is not None:  # a structure of our own: W in place of the coefficients drawn
        W = coef(seed)
        truth.y += (truth.X * (W - truth.coef)[truth.tasks]).sum(axis=1)
        truth.coef = W
    truth.seed = seed
    first = np.tile(np.arange(n_rows + N_TEST) < n_rows, len(truth.coef))
    return truth, *((truth.X[rows], truth.y[rows], truth.tasks[rows]) for rows in (first, ~first))


def overlapping_groups(seed):
    """Each of 15 tasks is made of one or two of three latent ones."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((15, 3))
    for t in range(15):
        own = [[0], [1], [2], [0, 1], [1, 2]][t % 5]
        codes[t, own] = rng.choice([-1, 1], len(own)) * rng.uniform(0.7, 1.5, len(own))
    return codes @ rng.normal(size=(3, 12))


def spikes(seed):
    """15 large entries."""
    rng = np.random.default_rng(seed)
    S = np.zeros(225)
    S[:15] = rng.choice([-3, 3], 15)
    return rng.permutation(S).reshape(15, 15)


def low_rank_plus_spikes(seed):
    rng = np.random.default_rng(100 + seed)
    return np.outer(rng.normal(size=15), rng.normal(size=15)) + spikes(seed)


def shared_and_private_features(seed):
    """Four features that all of 10 tasks use with the same strength, and two more for each task."""
    rng = np.random.default_rng(seed)
    W = np.zeros((10, 30))
    W[:, :4] = rng.choice([-1, 1], (10, 4))
    for t in range(10):
        W[t, 4 + rng.permutation(26)[:2]] = rng.choice([-2, 2], 2)
    return W


def features_of_clusters(seed):
    """Three clusters of four tasks, each with five features of its own out of 20."""
    rng = np.random.default_rng(seed)
    W = np.zeros((12, 20))
    for c in range(3):
        used = rng.permutation(20)[:5]
        W[4 * c : 4 * c + 4, used] = rng.normal(size=5) + 0.3 * rng.normal(size=(4, 5))
    return W


# --- models ---------------------------------------------------------------------------------


def error(model, rows):
    X, y, tasks = rows
    return np.mean((y - model.predict(X, tasks=tasks)) ** 2)


def grid(model, train, n, least):
    """Strengths relative to the one at which nothing is left."""
    return np.geomspace(0.3, least, n) * model.alpha_max(train[0], train[1], tasks=train[2])


def tuned(make, alphas, train, **options):
    """The model with the strength that predicts best."""
    search = PathSearchCV(make(1.0).set_params(tol=1e-3), alphas, cv=FOLDS, scoring=SQUARES, **options)
    return search.fit(train[0], train[1], tasks=train[2]).best_estimator_


def noise_level(model, train):
    """The strength at which targets of nothing but noise leave nothing of the model, 19 times in 20."""
    X, y, tasks = train
    least_squares = MeanRegularizedRegressor(0.0).fit(X, y, tasks=tasks)
    residual = y - least_squares.predict(X, tasks=tasks)
    sigma = np.sqrt((residual**2).sum() / (len(y) - least_squares.coef_.size - least_squares.n_tasks_))
    rng = np.random.default_rng(0)
    return np.quantile(
        [model.alpha_max(X, sigma * rng.normal(size=len(y)), tasks=tasks) for _ in range(20)], 0.95
    )


def single_task_ridge(alpha):
    return MeanRegularizedRegressor(alpha, mean_alpha=alpha)


def single_task_lasso(alpha):
    return MultiTaskRegressor(alpha, penalty=Entries(L1()))


def pooled(alpha):
    """One model with an intercept for each task."""
    return MeanRegularizedRegressor(1e6, mean_alpha=alpha)


@cache
def errors_to_beat(seed, n_rows, coef=None, **shape):
    """Test errors of models that ignore the structure."""
    _, train, test = draw(seed, n_rows, coef, **shape)
    lasso_grid = grid(single_task_lasso(1.0), train, 5, 0.01)
    return [
        error(tuned(make, alphas, train), test)
        for make, alphas in (
            (single_task_ridge, RIDGE_GRID),
            (single_task_lasso, lasso_grid),
            (pooled, RIDGE_GRID[::2]),
        )
    ]


def judge(fit, measure, others=None, **shape):
    """Measures of the truth found (n_seeds, ...), after a look at the test errors.

    `fit` makes a model of training rows, `measure` compares it with the truth, `others` are models
    to beat besides those without structure.
    """
    measures, errors, to_beat = [], [], []
    for seed in SEEDS:
        truth, train, test = draw(seed, **shape)
        model = fit(train)
        measures.append(measure(model, truth))
        errors.append(error(model, test))
        more = [error(other(train), test) for other in others or ()]
        to_beat.append([*errors_to_beat(seed, **shape), *more])
    errors, to_beat = np.array(errors), np.array(to_beat)
    assert (np.median(errors) < np.median(to_beat, axis=0)).all()
    assert ((errors[:, None] < to_beat).mean(axis=0) >= 0.8).all()
    return np.array(measures, dtype=float)


def angle(components, truth, k):
    """Largest principal angle in degrees between a span and that of the leading directions of the truth."""
    rows = np.linalg.svd(truth.coef)[2][:k]
    return np.degrees(subspace_angles(np.asarray(components).T, rows.T)).max()


# --- one structure each ---------------------------------------------------------------------


def test_shared_features():
    def fit(train):
        def make(alpha):
            return GroupSparseRegressor(alpha, norm="mcp")

        return tuned(make, grid(make(1.0), train, 6, 0.03), train, one_standard_error=True)

    def measure(model, truth):
        return f1_score(truth.support, np.isin(np.arange(30), model.support_))

    found = judge(fit, measure, n_rows=40, n_tasks=10, n_features=30, structure="shared_support")
    assert np.median(found) >= 0.95


def test_outlier_tasks():
    def make(alpha):  # the others lie around a mean: it is free, the deviations are penalised
        return RobustRegressor(alpha, shared_ratio=0.4, mean_alpha=0.0)

    def measure(model, truth):
        return np.array_equal(model.outlier_tasks_, truth.outlier_tasks)

    found = judge(
        lambda train: tuned(make, grid(make(1.0), train, 4, 0.03), train),
        measure,
        n_rows=20,
        n_tasks=12,
        n_features=15,
        structure="outliers",
        n_outliers=2,
    )
    assert np.mean(found) >= 0.8


CLUSTERS = {"n_rows": 15, "n_tasks": 12, "n_features": 10, "structure": "clustered"}


@pytest.mark.parametrize("relaxation", ["convex", "kmeans"])
def test_clusters(relaxation):
    def make(alpha):
        return ClusteredRegressor(alpha, n_clusters=3, relaxation=relaxation, n_init=3, random_state=0)

    found = judge(
        lambda train: tuned(make, [3.0, 1.0, 0.3], train),
        lambda model, truth: adjusted_rand_score(truth.labels, model.labels_),
        **CLUSTERS,
    )
    assert np.median(found) >= 0.95


LOW_RANK = {"n_rows": 40, "n_tasks": 15, "n_features": 15, "structure": "low_rank", "rank": 2}


def test_rank():
    for_noise = []

    def fit(train):
        alpha = noise_level(TraceNormRegressor(), train)
        for_noise.append(TraceNormRegressor(alpha).fit(train[0], train[1], tasks=train[2]).rank_)
        return tuned(TraceNormRegressor, grid(TraceNormRegressor(), train, 5, 0.02), train)

    ranks = judge(fit, lambda model, truth: model.rank_, **LOW_RANK)
    assert np.mean(np.array(for_noise) == 2) >= 0.8
    assert (ranks >= 2).all()  # what predicts best is shrunken less, and keeps more


def test_subspace():
    problem = {**LOW_RANK, "n_rows": 20}

    def make(alpha):
        return SharedSubspaceRegressor(alpha, n_components=2, eta=0.05)

    found = judge(
        lambda train: tuned(make, np.geomspace(1, 0.01, 5), train),
        lambda model, truth: angle(model.components_, truth, 2),
        **problem,
    )
    without = []
    for seed in SEEDS:
        truth, train, _ = draw(seed, **problem)
        directions = np.linalg.svd(tuned(single_task_ridge, RIDGE_GRID, train).coef_)[2][:2]
        without.append(angle(directions, truth, 2))
    assert np.median(found) <= 10
    assert np.median(found) < 0.8 * np.median(without)


def test_relations_between_tasks():
    def measure(model, truth):
        true = np.corrcoef(truth.coef)
        pairs = np.triu(np.abs(true) > 0.3, 1)
        return np.mean(np.sign(model.task_correlation_[pairs]) == np.sign(true[pairs]))

    found = judge(
        lambda train: tuned(TaskRelationshipRegressor, np.geomspace(0.3, 0.001, 5), train),
        measure,
        **LOW_RANK,
    )
    assert np.median(found) >= 0.95


def test_change_points():
    def measure(model, truth):
        """Whether all true changes are found within one task, and whether nothing else is."""
        jumps = np.linalg.norm(np.diff(model.coef_, axis=0), axis=1)
        clear = 1 + np.flatnonzero(jumps >= 0.25 * jumps.max())
        assert np.isin(clear, model.change_points_).all()
        off = np.abs(clear[:, None] - truth.change_points)
        off_all = np.abs(model.change_points_[:, None] - truth.change_points)
        return (off.min(axis=0) <= 1).all(), (off.min(axis=1) <= 1).all(), (off_all.min(axis=0) <= 1).all()

    found = judge(
        lambda train: tuned(TemporalRegressor, grid(TemporalRegressor(), train, 5, 0.03), train),
        measure,
        n_rows=30,
        n_tasks=15,
        n_features=10,
        n_informative=5,
        structure="temporal",
    )
    assert (np.mean(found, axis=0) >= 0.8).all()


def test_overlapping_groups():
    def make(alpha):
        return LatentBasisRegressor(alpha, n_components=3, n_init=2, random_state=0)

    found = judge(
        lambda train: tuned(make, [0.6, 0.2], train),
        lambda model, truth: angle(model.components_, truth, 3),
        [lambda train: tuned(TraceNormRegressor, grid(TraceNormRegressor(), train, 5, 0.02), train)],
        n_rows=15,
        coef=overlapping_groups,
        n_tasks=15,
        n_features=12,
    )
    assert np.median(found) <= 15


def test_leaves_of_a_cluster_are_joined_first():
    complete = []
    for seed in SEEDS:
        truth, (X, y, tasks), _ = draw(seed, **CLUSTERS)
        model = HierarchicalRegressor(100.0).fit(X, y, tasks=tasks)
        nodes = [set(node.tasks) for node in model.tree_]
        complete.append(all(set(np.flatnonzero(truth.labels == c).tolist()) in nodes for c in range(3)))
    assert np.mean(complete) >= 0.8


def test_features_of_clusters():
    def make(alpha):
        return HierarchicalRegressor(alpha, tol=1e-2)  # a slow solver

    def measure(model, truth):
        nodes = [set(node.tasks) for node in model.tree_]
        return all(set(range(c, c + 4)) in nodes for c in (0, 4, 8))

    found = judge(
        lambda train: tuned(make, [0.4, 0.2], train),
        measure,
        n_rows=30,
        coef=features_of_clusters,
        n_tasks=12,
        n_features=20,
    )
    assert np.mean(found) >= 0.8


def test_low_rank_plus_spikes():
    def make(alpha):
        return SparseLowRankRegressor(alpha, sparse_ratio=0.25)

    def measure(model, truth):
        return f1_score(spikes(truth.seed).ravel() != 0, (np.abs(model.sparse_coef_) > 1).ravel())

    found = judge(
        lambda train: tuned(make, grid(make(1.0), train, 5, 0.015), train),
        measure,
        [lambda train: tuned(TraceNormRegressor, grid(TraceNormRegressor(), train, 5, 0.015), train)],
        n_rows=25,
        coef=low_rank_plus_spikes,
        n_tasks=15,
        n_features=15,
    )
    assert np.median(found) >= 0.9


@pytest.mark.parametrize(("norm", "ratio"), [("linf", 0.8), ("l2", 0.7)])
def test_shared_and_private_features(norm, ratio):
    def make(alpha):
        return DirtyRegressor(alpha, norm=norm, shared_ratio=ratio)

    def groups(alpha):
        return GroupSparseRegressor(alpha, norm=norm)

    def measure(model, truth):
        shared = np.abs(model.shared_coef_).min(axis=0)
        return set(np.argsort(-shared)[:4].tolist()) == {0, 1, 2, 3}

    found = judge(
        lambda train: tuned(make, grid(make(1.0), train, 5, 0.02), train),
        measure,
        [lambda train: tuned(groups, grid(groups(1.0), train, 5, 0.02), train)],
        n_rows=25,
        coef=shared_and_private_features,
        n_tasks=10,
        n_features=30,
    )
    assert np.mean(found) >= 0.8
