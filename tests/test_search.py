"""PathSearchCV gives the answers of GridSearchCV; the CV classes those of scikit-learn's."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import estimators, make_layout
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import MultiTaskElasticNetCV as SklearnElasticNetCV
from sklearn.linear_model import MultiTaskLassoCV as SklearnLassoCV
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, ShuffleSplit, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import skmtl
from skmtl import (
    DirtyRegressor,
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    PathSearchCV,
    SingleTask,
    TaskKFold,
    TaskStatistics,
)
from skmtl.linear_model._fitting import Fitting
from skmtl.losses import Huber
from skmtl.metrics import explained_variance_within, task_scorer
from skmtl.model_selection import _moments
from skmtl.model_selection._moments import FoldMoments
from skmtl.objective import _forms

ALPHAS = [1e-3, 0.03, 0.2, 1.0]
FAMILIES = [
    "GroupSparse",
    "Dirty",
    "Robust",
    "SparseLowRank",
    "MeanRegularized",
    "Temporal",
    "Hierarchical",
    "Clustered",
    "TraceNorm",
    "SharedSubspace",
    "TaskRelationship",
]
MODELS = [  # a family's classifier in the other layout than its regressor
    (f"{family}{kind}", ("stacked", "shared")[(i + j) % 2])
    for i, family in enumerate(FAMILIES)
    for j, kind in enumerate(("Regressor", "Classifier"))
]


def tasks_of(layout):
    return {} if layout.tasks is None else {"tasks": layout.tasks}


def grid_search(model, layout, grid, cv, **options):
    """GridSearchCV over the same candidates; tasks are carried by metadata routing."""
    with sklearn.config_context(enable_metadata_routing=layout.tasks is not None):
        search = GridSearchCV(model, grid, cv=cv, error_score="raise", **options)
        return search.fit(layout.X, layout.y, **tasks_of(layout))


def same(found, wanted, rtol=0, atol=1e-6):
    """Equal candidates in the same order, scores and choice."""
    assert found.cv_results_["params"] == wanted.cv_results_["params"]
    assert set(found.cv_results_) == set(wanted.cv_results_)
    for name, values in wanted.cv_results_.items():
        if name.startswith(("mean_test", "mean_train", "split", "std_t")):
            np.testing.assert_allclose(found.cv_results_[name], values, rtol=rtol, atol=atol, err_msg=name)
    if hasattr(wanted, "best_params_"):
        assert found.best_params_ == wanted.best_params_ and found.best_index_ == wanted.best_index_


@pytest.mark.parametrize(
    "name, kind", [*MODELS, ("MultiTaskLasso", "stacked"), ("MultiTaskElasticNet", "shared")]
)
def test_answers_are_those_of_grid_search(name, kind):
    layout = make_layout(kind, classification=name.endswith("Classifier"))
    model, alphas = getattr(skmtl, name)(tol=1e-10, max_iter=100_000), ALPHAS
    cv = (TaskKFold if kind == "stacked" else KFold)(2, shuffle=True, random_state=0)
    if name.endswith("Classifier"):  # accuracy moves in steps: the log-loss shows every difference
        model.tol, alphas = 1e-11, [0.3, 0.03, 0.1]
        scoring = task_scorer("neg_log_loss", average="pooled" if kind == "stacked" else "macro")
    else:
        scoring = None
    found = PathSearchCV(model, alphas, cv=cv, scoring=scoring, error_score="raise")
    found.fit(layout.X, layout.y, **tasks_of(layout))
    wanted = grid_search(model, layout, {"alpha": alphas}, cv, scoring=scoring)
    same(found, wanted)
    predicted = found.predict(layout.X, **tasks_of(layout))
    np.testing.assert_allclose(
        predicted, wanted.best_estimator_.predict(layout.X, **tasks_of(layout)), atol=1e-6
    )
    assert found.best_score_ == pytest.approx(wanted.best_score_, abs=1e-6) and found.refit_time_ > 0


@pytest.mark.parametrize("kind", ["stacked", "shared", "missing", "sparse", "single"])
@pytest.mark.parametrize("cv", [KFold(3, shuffle=True, random_state=1), ShuffleSplit(3, random_state=0)])
def test_moments_of_the_folds_give_what_the_rows_give(kind, cv, monkeypatch):
    layout = make_layout(kind)
    search = PathSearchCV(
        MultiTaskLasso(tol=1e-11), ALPHAS, param_grid={"fit_intercept": [True, False]}, cv=cv, refit=False,
        return_train_score=True,
    )  # fmt: skip
    by_moments = clone(search).fit(layout.X, layout.y, **tasks_of(layout))
    monkeypatch.setattr(FoldMoments, "of", classmethod(lambda cls, *args: None))
    by_rows = clone(search).fit(layout.X, layout.y, **tasks_of(layout))
    same(by_moments, by_rows, atol=1e-8)


@pytest.mark.parametrize("cv", [KFold(5), ShuffleSplit(5, random_state=0), RepeatedKFold(random_state=0)])
@pytest.mark.parametrize("size", [1e4, 1e7, 1e9])
def test_a_row_of_huge_numbers_does_not_spoil_the_other_folds(cv, size):
    """Moments of the training set without it are those of its rows."""
    layout = make_layout("stacked")
    layout.X = layout.X.copy()
    layout.X[5, 3] = size
    splits = list(cv.split(layout.X))
    moments = FoldMoments.of(MultiTaskLasso(), layout.X, layout.y, tasks_of(layout), splits)
    for k, (train, _) in enumerate(splits):
        rows = TaskStatistics.from_arrays(layout.X[train], layout.y[train], layout.tasks[train])
        for name in ("x_mean", "xx", "xy", "yy"):
            found, wanted = getattr(moments.training(k), name), getattr(rows, name)
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize("side", ["least", "greatest"])
def test_a_grid_that_ends_too_early_grows_or_says_so(side):
    """Where scores still rise at its least, or greatest, strength; not where the best model is zero."""
    layout = make_layout("stacked")
    X, y, tasks = layout.X, layout.y, {"tasks": layout.tasks}
    model, alphas = MultiTaskLasso(), [0.3, 1.0, 3.0]
    if side == "greatest":  # noise: the stronger the better
        model, alphas = MeanRegularizedRegressor(mean_alpha=0.01), [1e-4, 1e-3, 1e-2]
        X, y = np.tile(X, (1, 4)), np.random.default_rng(0).normal(size=len(y))
    search = PathSearchCV(model, alphas, cv=3)
    with pytest.warns(UserWarning, match=f"the best alpha is the {side} of the strengths tried"):
        narrow = clone(search).fit(X, y, **tasks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grown = clone(search).set_params(grow=True).fit(X, y, **tasks)
        noise = np.random.default_rng(0).normal(size=len(y))
        zero = PathSearchCV(MultiTaskLasso(), [0.01, 0.1, 10.0], cv=3).fit(layout.X, noise, **tasks)
        common = layout.X @ np.arange(1.0, 1 + layout.X.shape[1]) + noise  # and no deviations of tasks
        equal = PathSearchCV(MultiTaskLasso(mean_alpha=0.0), [0.01, 0.1, 10.0], cv=3)
        equal.fit(layout.X, common, **tasks)
    assert equal.best_params_["alpha"] == 10.0 and not equal.best_estimator_.deviation_coef_.any()
    assert zero.best_params_["alpha"] == 10.0 and not zero.best_estimator_.coef_.any()
    assert grown.best_score_ > narrow.best_score_
    tried = [one["alpha"] for one in grown.cv_results_["params"]]
    assert tried[:3] == alphas and len(tried) % 3 == 0
    wide = clone(search).set_params(alphas=tried).fit(X, y, **tasks)
    np.testing.assert_allclose(
        grown.cv_results_["mean_test_score"], wide.cv_results_["mean_test_score"], atol=1e-3
    )


@pytest.mark.parametrize("alphas", [[1.0, 3.0], [1.0, 1.5, 2.0]], ids=["two", "near"])
def test_the_edge_of_a_grid_of_few_strengths_is_said(alphas):
    layout = make_layout("stacked")
    with pytest.warns(UserWarning, match="the best alpha is the least of the strengths tried"):
        PathSearchCV(MultiTaskLasso(), alphas, cv=3).fit(layout.X, layout.y, tasks=layout.tasks)


def test_names_of_scorers_that_lose_tasks_or_labels_are_refused():
    layout, missing = make_layout("stacked"), make_layout("missing")
    for scoring in ("r2", ["r2", "max_error"], {"a": task_scorer("r2"), "b": "r2"}):
        search = PathSearchCV(MultiTaskLasso(), [0.1], cv=3, scoring=scoring, refit=False)
        with pytest.raises(ValueError, match=r"are not given tasks=.*task_scorer\('r2', average='pooled'\)"):
            search.fit(layout.X, layout.y, tasks=layout.tasks)
        with pytest.raises(ValueError, match=r"take no missing labels.*task_scorer"):
            search.fit(missing.X, missing.y)


def test_a_free_mean_that_fits_every_row_is_said():
    rng = np.random.default_rng(0)
    X, y, tasks = rng.normal(size=(30, 40)), rng.normal(size=30), np.arange(30) % 3
    search = PathSearchCV(MeanRegularizedRegressor(), [1.0], cv=3)
    for target, given in ((y, {"tasks": tasks}), (y.reshape(-1, 1) + np.arange(3.0), {})):
        with pytest.warns(UserWarning, match=r"40 features fit all 20 rows .* param_grid=\{'mean_alpha'"):
            search.fit(X, target, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.set_params(param_grid={"mean_alpha": [0.0, 0.1]}).fit(X, y, tasks=tasks)
        search.set_params(param_grid=None).fit(X[:, :10], y, tasks=tasks)


@pytest.mark.parametrize("level", [0.0, 0.1, 3.0, -1e6])
@pytest.mark.parametrize("model", [MultiTaskLasso(), MeanRegularizedRegressor(), DirtyRegressor()])
def test_a_constant_target_has_a_grid_and_coefficients_of_zero(level, model):
    layout = make_layout("stacked")
    y = np.full(len(layout.y), level)
    search = PathSearchCV(model, 4, cv=3).fit(layout.X, y, tasks=layout.tasks)
    assert search.best_score_ == 1.0 and search.best_params_["alpha"] > 0
    np.testing.assert_allclose(search.best_estimator_.coef_, 0, atol=1e-12 * abs(level))
    np.testing.assert_allclose(search.predict(layout.X, tasks=layout.tasks), y, rtol=1e-12)
    found = MultiTaskLassoCV(alphas=4, cv=3).fit(layout.X, y, tasks=layout.tasks)
    np.testing.assert_allclose(found.coef_, 0, atol=1e-12 * abs(level))


SCORES = {
    "mse": "neg_mean_squared_error",
    "rmse": "neg_root_mean_squared_error",
    "pooled": task_scorer("r2", average="pooled"),
    "macro": task_scorer("neg_mean_squared_error"),
    "worst": task_scorer("r2", average="worst"),
    "within": task_scorer(explained_variance_within),
}


@pytest.mark.parametrize("kind", ["stacked", "shared"])
def test_scores_of_all_kinds(kind):
    layout, model = make_layout(kind), MultiTaskLasso(tol=1e-10)
    X, tasks = layout.X, tasks_of(layout)
    if kind == "stacked":  # scikit-learn's scorers know tasks from a column only
        X, tasks, model = np.column_stack([layout.tasks, layout.X]), {}, model.set_params(task_column=0)
    found = PathSearchCV(
        model, ALPHAS, param_grid=[{"ridge": [0.0, 0.1]}, {"fit_intercept": [False]}], scoring=SCORES,
        refit="macro", cv=TaskKFold(3, task_column=model.task_column), return_train_score=True,
    ).fit(X, layout.y, **tasks)  # fmt: skip
    grid = [{"alpha": ALPHAS, "ridge": [0.0, 0.1]}, {"alpha": ALPHAS, "fit_intercept": [False]}]
    wanted = GridSearchCV(
        model, grid, scoring=SCORES, refit="macro", cv=found.cv, return_train_score=True
    ).fit(X, layout.y, **tasks)  # fmt: skip
    same(found, wanted, atol=1e-7)
    assert found.multimetric_ and set(found.scorer_) == set(SCORES)


@pytest.mark.parametrize("name", [name for name in estimators() if not name.endswith("CV")])
def test_every_linear_estimator_has_a_path_and_a_search(name):
    """With strengths of its own: nothing, or hardly anything, at the top; scores as one fit has them."""
    layout = make_layout("stacked", classification=name.endswith("Classifier"))
    X, given = layout.X.copy(), {"tasks": layout.tasks}
    if name.startswith("Incomplete"):
        X[:40, :3], given = np.nan, {}
    model = getattr(skmtl, name)(tol=1e-7)
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    found = skmtl.path(model, X, layout.y, alphas=3, **given)
    assert (np.diff(found.alphas) < 0).all() and len(found.coef) == 3
    free = found.alphas[0] > 100 or name.startswith(
        "Temporal"
    )  # quadratic, or about what tasks have in common
    penalised = found.coef - found.coef.mean(axis=1, keepdims=True) if free else found.coef
    size = [np.linalg.norm(W) for W in penalised]
    assert size[0] <= 0.05 * size[2]
    cv = [(np.arange(0, 120, 2), np.arange(1, 120, 2))]
    search = PathSearchCV(model, found.alphas[1:], cv=cv, refit=False, error_score="raise")
    scores = search.fit(X, layout.y, **given).cv_results_["mean_test_score"]
    train, test = cv[0]
    rows = {key: part[train] for key, part in given.items()}
    alone = clone(model).set_params(alpha=found.alphas[1]).fit(X[train], layout.y[train], **rows)
    rows = {key: part[test] for key, part in given.items()}
    assert scores[0] == pytest.approx(alone.score(X[test], layout.y[test], **rows), abs=1e-4)


def test_callable_scoring_and_refit():
    layout = make_layout("shared")

    def scores(model, X, y):
        error = np.square(y - model.predict(X)).mean()
        return {"mse": -error, "size": -np.abs(model.coef_).sum()}

    def smallest(results):
        return int(np.argmax(results["mean_test_size"]))

    found = PathSearchCV(MultiTaskLasso(tol=1e-10), ALPHAS, cv=3, scoring=scores, refit=smallest)
    wanted = grid_search(
        MultiTaskLasso(tol=1e-10), layout, {"alpha": ALPHAS}, 3, scoring=scores, refit=smallest
    )
    same(found.fit(layout.X, layout.y), wanted, atol=1e-7)
    assert not hasattr(found, "best_score_") and found.best_params_ == {"alpha": 1.0}


def test_models_that_are_not_convex_find_what_a_fit_finds():
    layout = make_layout("shared", p=12)
    model = GroupSparseRegressor(norm="mcp", tol=1e-9)
    found = PathSearchCV(model, ALPHAS, cv=3).fit(layout.X, layout.y)
    same(found, grid_search(model, layout, {"alpha": ALPHAS}, 3))


@pytest.mark.parametrize(
    "grid",
    [
        {"loss": ["squared_error", Huber(0.3)]},
        {"norm": ["l2", "mcp"]},
        {"positive": [False, True]},
        {"task_weight": [None, "samples"]},
    ],
)
def test_moments_serve_only_the_combinations_that_they_are_enough_for(grid):
    layout = make_layout("stacked")
    model = GroupSparseRegressor(tol=1e-10)
    found = PathSearchCV(model, ALPHAS, param_grid=grid, cv=TaskKFold(3), error_score="raise")
    found.fit(layout.X, layout.y, tasks=layout.tasks)
    same(found, grid_search(model, layout, {"alpha": ALPHAS, **grid}, TaskKFold(3)))


# --- Pipelines ---


class CountingScaler(StandardScaler):
    """Counts its fits and transformations."""

    fits = transformations = 0

    def fit(self, X, y=None, sample_weight=None):
        CountingScaler.fits += 1
        return super().fit(X, y, sample_weight)

    def transform(self, X, copy=None):
        CountingScaler.transformations += 1
        return super().transform(X, copy)


@pytest.mark.parametrize("kind", ["stacked", "shared"])
def test_pipelines(kind):
    layout = make_layout(kind, p=8)
    model = Pipeline([("scale", StandardScaler()), ("pca", PCA()), ("model", MultiTaskLasso(tol=1e-10))])
    cv = TaskKFold(3) if kind == "stacked" else KFold(3)
    scoring = task_scorer("r2", average="pooled" if kind == "stacked" else "macro")
    found = PathSearchCV(
        model,
        ALPHAS,
        param_grid={"pca__n_components": [3, 6]},
        cv=cv,
        scoring=scoring,
        return_train_score=True,
    )
    found.fit(layout.X, layout.y, **tasks_of(layout))
    grid = {"model__alpha": ALPHAS, "pca__n_components": [3, 6]}
    same(found, grid_search(model, layout, grid, cv, scoring=scoring, return_train_score=True))
    assert found.predict(layout.X, **tasks_of(layout)).shape == layout.y.shape
    assert isinstance(found.score(layout.X, layout.y, **tasks_of(layout)), float)


def test_steps_before_the_model_are_fitted_once_per_fold():
    layout = make_layout("shared")
    CountingScaler.fits = CountingScaler.transformations = 0
    model = make_pipeline(CountingScaler(), MultiTaskLasso())
    PathSearchCV(model, np.geomspace(1e-3, 1, 20), cv=4, refit=False).fit(layout.X, layout.y)
    assert (CountingScaler.fits, CountingScaler.transformations) == (4, 8)  # training and test sets


def test_fit_parameters_of_steps_without_routing():
    layout = make_layout("weighted")
    weight = {"standardscaler__sample_weight": layout.sample_weight}
    weight["multitasklasso__sample_weight"] = layout.sample_weight
    model = make_pipeline(StandardScaler(), MultiTaskLasso(tol=1e-10))
    found = PathSearchCV(model, ALPHAS, cv=3).fit(layout.X, layout.y, **weight)
    same(
        found, GridSearchCV(model, {"multitasklasso__alpha": ALPHAS}, cv=3).fit(layout.X, layout.y, **weight)
    )


# --- tasks, weights, folds ---


def test_tasks_directly_by_routing_and_by_column_are_one():
    layout = make_layout("stacked")
    search = PathSearchCV(MeanRegularizedRegressor(), ALPHAS)
    direct = clone(search).fit(layout.X, layout.y, tasks=layout.tasks)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(search).fit(layout.X, layout.y, tasks=layout.tasks)
        nested = cross_validate(
            clone(search), layout.X, layout.y, params={"tasks": layout.tasks}, cv=TaskKFold(3),
            scoring=task_scorer("r2", average="pooled"), error_score="raise",
        )  # fmt: skip
    X = np.column_stack([layout.X, layout.tasks])
    column = PathSearchCV(MeanRegularizedRegressor(task_column=-1), ALPHAS).fit(X, layout.y)
    for other in (routed, column):
        np.testing.assert_allclose(
            other.cv_results_["mean_test_score"], direct.cv_results_["mean_test_score"], atol=1e-12
        )
    assert len(nested["test_score"]) == 3
    assert direct.score(layout.X, layout.y, tasks=layout.tasks) == pytest.approx(column.score(X, layout.y))


def test_sample_weights_count():
    layout = make_layout("weighted")
    found = PathSearchCV(MultiTaskLasso(tol=1e-10), ALPHAS, cv=3)
    found.fit(layout.X, layout.y, sample_weight=layout.sample_weight)
    wanted = GridSearchCV(MultiTaskLasso(tol=1e-10), {"alpha": ALPHAS}, cv=3)
    same(found, wanted.fit(layout.X, layout.y, sample_weight=layout.sample_weight), atol=1e-7)


def test_weights_beside_tasks():
    """Without routing they reach the fit and a scorer that takes them."""
    layout, folds = make_layout("weighted"), TaskKFold(5, shuffle=True, random_state=0)
    args = {"tasks": layout.tasks, "sample_weight": layout.sample_weight}
    found = PathSearchCV(
        MultiTaskLasso(tol=1e-10), ALPHAS, scoring=task_scorer("r2", average="pooled")
    ).fit(layout.X, layout.y, **args)  # fmt: skip
    for k, (train, test) in enumerate(folds.split(layout.X, layout.y, tasks=layout.tasks)):
        for at, alpha in enumerate(ALPHAS):
            model = MultiTaskLasso(alpha, tol=1e-10)
            model.fit(layout.X[train], layout.y[train], **{key: part[train] for key, part in args.items()})
            wanted = model.score(
                layout.X[test], layout.y[test], **{key: part[test] for key, part in args.items()}
            )
            assert found.cv_results_[f"split{k}_test_score"][at] == pytest.approx(wanted, abs=1e-7)
    with pytest.raises(ValueError, match="sample_weight beside tasks needs to know which steps"):
        PathSearchCV(make_pipeline(MultiTaskLasso()), ALPHAS).fit(layout.X, layout.y, **args)


def test_rows_of_weight_zero_do_not_exist():
    layout = make_layout("stacked")
    weight = (np.arange(len(layout.y)) % 4 > 0).astype(float)
    rows = weight > 0
    folds = list(TaskKFold(3).split(layout.X[rows], tasks=layout.tasks[rows]))
    at, zero = np.flatnonzero(rows), np.flatnonzero(~rows)
    all_rows = [(np.sort(np.r_[at[train], zero]), at[test]) for train, test in folds]
    kept = MultiTaskLassoCV(alphas=5, cv=folds, tol=1e-9).fit(
        layout.X[rows], layout.y[rows], tasks=layout.tasks[rows]
    )
    given = MultiTaskLassoCV(alphas=5, cv=all_rows, tol=1e-9)
    given.fit(layout.X, layout.y, tasks=layout.tasks, sample_weight=weight)
    np.testing.assert_allclose(given.mse_path_, kept.mse_path_, rtol=1e-6)
    np.testing.assert_allclose(given.coef_, kept.coef_, atol=1e-6)


def test_default_folds():
    stacked, missing, shared = make_layout("stacked"), make_layout("missing"), make_layout("shared")
    order = np.argsort(stacked.tasks, kind="stable")  # plain folds would test unseen tasks
    search = PathSearchCV(MultiTaskLasso(tol=1e-10), ALPHAS, error_score="raise")
    search.fit(stacked.X[order], stacked.y[order], tasks=stacked.tasks[order])
    assert search.n_splits_ == 5
    missing.y[:15, 0], missing.y[15:, 0] = shared.y[:15, 0], np.nan  # all in the first of plain folds
    assert np.isfinite(search.fit(missing.X, missing.y).best_score_)
    same(
        search.fit(shared.X, shared.y),
        grid_search(MultiTaskLasso(tol=1e-10), shared, {"alpha": ALPHAS}, None),
        atol=1e-7,
    )
    assert search.set_params(cv=4).fit(shared.X, shared.y).n_splits_ == 4


@pytest.mark.parametrize(
    "form", [list, pd.Categorical, lambda labels: pd.Series(labels, index=np.arange(len(labels))[::-1])]
)
def test_default_folds_take_tasks_in_any_form(form):
    layout = make_layout("stacked")
    X, y, tasks = layout.X, layout.y, layout.tasks
    search, found = PathSearchCV(MultiTaskLasso(tol=1e-10), ALPHAS), MultiTaskLassoCV(alphas=3)
    same(clone(search).fit(X, y, tasks=form(tasks)), search.fit(X, y, tasks=tasks), atol=0)
    assert (
        found.fit(X, y, tasks=form(tasks)).mse_path_ == clone(found).fit(X, y, tasks=tasks).mse_path_
    ).all()


def test_tasks_of_few_rows_only_train_by_default():
    """As in compare, with a warning; a splitter keeps its own rule."""
    layout = make_layout("stacked")
    names = np.unique(layout.tasks).tolist()
    rows = np.flatnonzero(layout.tasks != names[0])
    rows = np.append(rows, np.flatnonzero(layout.tasks == names[0])[:3])
    X, y, tasks = layout.X[rows], layout.y[rows], layout.tasks[rows]
    told = (
        rf"^1 of {len(names)} tasks, such as \[{names[0]!r}.*\], have too few rows for 5 folds and only train"
    )
    splits = list(TaskKFold(5, shuffle=True, random_state=0, small_tasks="train").split(X, tasks=tasks))
    wanted = PathSearchCV(MultiTaskLasso(tol=1e-10), ALPHAS, cv=splits).fit(X, y, tasks=tasks)
    for cv in (None, 5):
        search = PathSearchCV(MultiTaskLasso(tol=1e-10), ALPHAS, cv=cv)
        with pytest.warns(UserWarning, match=told):
            same(search.fit(X, y, tasks=tasks), wanted)
    with pytest.warns(UserWarning, match=told):
        model = MultiTaskLassoCV(alphas=3, task_column=-1).fit(np.column_stack([X, tasks]), y)
    assert model.mse_path_.shape == (3, 5)
    with pytest.raises(ValueError, match="needs at least as many rows of each task"):
        PathSearchCV(MultiTaskLasso(), ALPHAS, cv=TaskKFold(5)).fit(X, y, tasks=tasks)
    inside = PathSearchCV(MultiTaskLasso(), ALPHAS, cv=3)
    assert "only train" in str(skmtl.compare(inside, X, y, tasks, baselines=["single"], cv=5))


@pytest.mark.parametrize("kind", ["search", "compare", "conformal", "suggest"])
def test_what_many_fits_say_is_said_once(kind):
    """Also where its figures differ from fold to fold, and to those who want all warnings."""
    layout = make_layout("shared")
    y = layout.y * [*[1.0] * (layout.y.shape[1] - 1), 100.0]
    calls = {
        "search": lambda: PathSearchCV(make_pipeline(StandardScaler(), MultiTaskLasso()), ALPHAS).fit(
            layout.X, y
        ),
        "compare": lambda: skmtl.compare(MultiTaskLasso(), layout.X, y),
        "conformal": lambda: skmtl.TaskConformalRegressor(MultiTaskLasso()).fit(layout.X, y),
        "suggest": lambda: skmtl.suggest(layout.X, y, candidates=["GroupSparseRegressor", "single"]),
    }
    for _ in range(2):  # in each call anew
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            calls[kind]()
        texts = [str(one.message) for one in found]
        assert sum("the standard deviations of columns of y are" in text for text in texts) == 1, texts


def test_folds_by_default_are_fewer_where_tasks_have_few_rows():
    layout = make_layout("stacked")
    rows = np.concatenate([np.flatnonzero(layout.tasks == task)[:3] for task in np.unique(layout.tasks)])
    found = PathSearchCV(MultiTaskLasso(), ALPHAS).fit(
        layout.X[rows], layout.y[rows], tasks=layout.tasks[rows]
    )
    assert found.n_splits_ == 3


def test_columns_with_one_label_only_train():
    y = make_layout("shared").y.copy()
    y[1:, 0] = np.nan
    with pytest.warns(UserWarning, match=r"1 of \d+ tasks, such as \['one'\]"):
        names = ["one", *map(str, range(1, y.shape[1]))]
        PathSearchCV(MultiTaskLasso(), ALPHAS).fit(make_layout("shared").X, pd.DataFrame(y, columns=names))


def test_folds_of_a_task_column_that_moves():
    layout = make_layout("stacked")
    X = np.column_stack([layout.X, layout.tasks])
    model = make_pipeline("passthrough", StandardScaler(), MultiTaskLasso(task_column=6))
    for cv in (None, TaskKFold(3)):
        with pytest.raises(ValueError, match=r"task_column=6 of the final estimator.*cv=TaskKFold"):
            PathSearchCV(model, ALPHAS, cv=cv).fit(X, layout.y)


def test_folds_of_tasks_know_the_tasks_of_the_model():
    """As they do in `compare`; with no tasks at all they are refused."""
    layout, cv = make_layout("stacked"), TaskKFold(3)
    splits = list(cv.split(layout.X, tasks=layout.tasks))
    X = np.column_stack([layout.X, layout.tasks])
    found = PathSearchCV(MultiTaskLasso(task_column=-1, tol=1e-10), ALPHAS, cv=cv).fit(X, layout.y)
    same(found, clone(found).set_params(cv=splits).fit(X, layout.y))
    for tasks, model, table in [(layout.tasks, None, layout.X), (None, -1, X)]:
        paths = [
            MultiTaskLassoCV(alphas=3, cv=folds, task_column=model)
            .fit(table, layout.y, tasks=tasks)
            .mse_path_
            for folds in (cv, splits)
        ]
        np.testing.assert_allclose(*paths)
    with pytest.raises(
        ValueError, match=r"TaskKFold does not know the task of each row.*task_column=.*tasks="
    ):
        PathSearchCV(MultiTaskLasso(), ALPHAS, cv=cv).fit(layout.X, layout.y)


# --- strengths ---


@pytest.mark.parametrize("model", [MultiTaskLasso(), MeanRegularizedRegressor(), DirtyRegressor()])
def test_strengths_are_found_for_each_combination(model):
    layout = make_layout("shared")
    found = PathSearchCV(model, 6, eps=0.01, param_grid={"ridge": [0.0, 0.5], "fit_intercept": [True]}, cv=3)
    params = found.fit(layout.X, layout.y).cv_results_["params"]
    assert len(params) == 12
    for ridge in (0.0, 0.5):
        alphas = [p["alpha"] for p in params if p["ridge"] == ridge]
        wanted = skmtl.path(
            clone(model).set_params(ridge=ridge), layout.X, layout.y, alphas=6, eps=0.01
        ).alphas
        np.testing.assert_allclose(alphas, wanted, rtol=1e-10)
    quadratic = isinstance(model, MeanRegularizedRegressor)
    assert alphas[-1] / alphas[0] == pytest.approx(1e-4 if quadratic else 1e-2)


@pytest.mark.parametrize("name", ["MeanRegularizedClassifier", "TaskRelationshipRegressor"])
def test_strengths_of_quadratic_penalties_span_what_matters(name):
    """At the top the penalised part is nearly gone, at the bottom it is that without a penalty."""
    layout = make_layout("shared", classification=name.endswith("Classifier"))
    for scale in (1.0, 100.0):
        found = skmtl.path(getattr(skmtl, name)(tol=1e-8), layout.X * scale, layout.y, alphas=3)
        coef = found.coef - (found.coef.mean(axis=1, keepdims=True) if name.startswith("Mean") else 0)
        size = np.linalg.norm(coef, axis=(1, 2))
        assert size[0] < 0.05 * size[2] and np.isfinite(size).all()


@pytest.mark.parametrize("kind", ["stacked", "shared"])
@pytest.mark.parametrize("model", [MultiTaskLasso(), MeanRegularizedRegressor()])
def test_strengths_beside_tied_intercepts_reach_those_that_matter_wherever_zero_is(model, kind):
    """Features far from zero, where the intercepts are, raise the strength that leaves no coefficients."""
    layout = make_layout(kind)

    def strengths(shift, pull):
        tied = clone(model).set_params(intercept_alpha=pull)
        return skmtl.path(tied, layout.X + shift, layout.y, **tasks_of(layout), alphas=2, eps=1e-2)

    least = strengths(0.0, 0.0).alphas[-1]
    for shift in (0.0, 1e3):
        found = strengths(shift, 1.0)
        assert found.alphas[-1] <= least * (1 + 1e-6)
        assert isinstance(model, MeanRegularizedRegressor) or not found.coef[0].any()
    layout.X[:] = 1.0  # features that say nothing
    found = strengths(0.0, 1.0).alphas
    quadratic = isinstance(model, MeanRegularizedRegressor)
    assert found[-1] / found[0] == pytest.approx(1e-4 if quadratic else 1e-2)


def test_one_standard_error():
    layout = make_layout("shared", p=30, n=60)
    best = PathSearchCV(MultiTaskLasso(), 30, cv=5, param_grid={"ridge": [0.0, 0.01]}).fit(layout.X, layout.y)
    plain = clone(best).set_params(one_standard_error=True).fit(layout.X, layout.y)
    results = best.cv_results_
    scores = np.array([results[f"split{k}_test_score"][best.best_index_] for k in range(5)])
    least = scores.mean() - scores.std(ddof=1) / np.sqrt(5)
    within = [
        p["alpha"]
        for p, mean in zip(results["params"], results["mean_test_score"], strict=True)
        if mean >= least and p["ridge"] == best.best_params_["ridge"]
    ]
    assert plain.best_params_["alpha"] == max(within) > best.best_params_["alpha"]
    assert plain.best_params_["ridge"] == best.best_params_["ridge"]
    assert least <= plain.best_score_ < best.best_score_
    assert plain.best_estimator_.alpha == plain.best_params_["alpha"]


# --- what goes wrong ---


@pytest.mark.parametrize(
    "model, options, error, message",
    [
        (Ridge(), {}, TypeError, r"linear estimator of skmtl.*got Ridge.*GridSearchCV"),
        (SingleTask(MultiTaskLasso()), {}, TypeError, "got SingleTask"),
        (make_pipeline(StandardScaler(), Ridge()), {}, TypeError, "got Ridge"),
        (MultiTaskLassoCV(), {}, TypeError, "got MultiTaskLassoCV"),
        (MultiTaskLasso(), {"param_grid": {"alpha": [1.0]}}, ValueError, "given by alphas"),
        (MultiTaskLasso(), {"alphas": [-1.0]}, ValueError, "numbers >= 0"),
        (MultiTaskLasso(), {"alphas": 0}, ValueError, "alphas"),
        (MultiTaskLasso(), {"eps": 2.0}, ValueError, "eps"),
        (MultiTaskLasso(), {"one_standard_error": True, "refit": lambda r: 0}, ValueError, "both choose"),
        (MultiTaskLasso(), {"param_grid": {"ridge": []}}, ValueError, "No fits|empty|non-empty"),
        (MultiTaskLasso(tol="small"), {"error_score": "raise"}, ValueError, "tol"),
        (MultiTaskLasso(tol="small"), {}, ValueError, "All the 4 fits failed"),
    ],
)
def test_bad_arguments(model, options, error, message):
    layout = make_layout("shared")
    options = {"alphas": [0.1, 0.2], "cv": 2} | options
    with pytest.raises(error, match=message):
        PathSearchCV(model, **options).fit(layout.X, layout.y)


def test_no_finite_score_is_refused():
    """As one class on a test set; which scorer it was and what to do is said, and nothing is chosen."""
    layout, y = make_layout("stacked"), (np.arange(120) % 40 > 5).astype(int)
    y[80:] = 1
    X = np.column_stack([layout.X, layout.tasks])
    model = MeanRegularizedClassifier(mean_alpha=0.1, intercept_alpha=0.1, task_column=-1)
    auc = task_scorer("roc_auc", average="pooled")
    search = PathSearchCV(model, [0.1, 1.0], cv=KFold(3), scoring=auc)
    message = r"scoring=task_scorer\(roc_auc.*on 1 of 3 test sets none.*TaskKFold\(\.\.\., stratify=True\)"
    with pytest.raises(ValueError, match=message):
        search.fit(X, y)
    assert not hasattr(search, "best_score_")
    search.set_params(scoring={"auc": auc, "other": "accuracy"}, refit="auc")
    with pytest.raises(ValueError, match="scoring='auc': on 1 of 3"):
        search.fit(X, y)
    search.set_params(cv=TaskKFold(3, task_column=-1, stratify=True))
    assert np.isfinite(search.fit(X, y).best_score_)


def test_candidates_without_a_finite_score_are_passed_over_as_in_grid_search():
    layout = make_layout("shared")

    def scores(model, X, y):
        return np.nan if model.alpha > 0.1 and len(X) == 40 and model.ridge == 0 else model.score(X, y)

    model, grid = MultiTaskLasso(tol=1e-10), {"ridge": [0.0, 0.1]}
    found = PathSearchCV(model, ALPHAS, param_grid=grid, cv=3, scoring=scores).fit(layout.X, layout.y)
    same(found, grid_search(model, layout, {"alpha": ALPHAS, **grid}, 3, scoring=scores))
    assert np.isnan(found.cv_results_["mean_test_score"]).sum() == 2


def test_the_error_of_lost_tasks_comes_first():
    """Not behind reports of fits that failed: dropped by a step, by a scorer, or not seen in training."""
    layout = make_layout("stacked")
    frame = pd.DataFrame(layout.X, columns=list("abcdef")).assign(school=layout.tasks)
    order = np.argsort(layout.tasks, kind="stable")
    drop = make_column_transformer((StandardScaler(), list("abcdef")), verbose_feature_names_out=False)
    model = make_pipeline(drop.set_output(transform="pandas"), MultiTaskLasso(task_column="school"))
    lost = PathSearchCV(MultiTaskLasso(), ALPHAS, scoring=lambda model, X, y: model.score(X, y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"^task_column='school' is not a column of X; X has .*'f'\]"):
            PathSearchCV(model, ALPHAS, cv=TaskKFold(3, task_column="school")).fit(frame, layout.y)
        with pytest.raises(ValueError, match=r"^MultiTaskLasso was fitted with 4 tasks and cannot"):
            lost.fit(layout.X, layout.y, tasks=layout.tasks)
        with pytest.raises(
            ValueError, match=r"^tasks has 1 label.*use TaskKFold, with task_column= or given"
        ):
            PathSearchCV(MultiTaskLasso(), ALPHAS, cv=KFold(3)).fit(
                layout.X[order], layout.y[order], tasks=layout.tasks[order]
            )


def test_failed_fits_get_the_error_score():
    layout = make_layout("shared")
    for scoring in (None, {"a": "r2", "b": "neg_mean_squared_error"}):
        search = PathSearchCV(
            MultiTaskLasso(), ALPHAS, param_grid={"ridge": [-1.0, 0.0]}, cv=3, scoring=scoring,
            refit=False, error_score=-7.0,
        )  # fmt: skip
        with pytest.warns(FitFailedWarning, match="12 fits failed out of a total of 24"):
            results = search.fit(layout.X, layout.y).cv_results_
        failed = np.array([p["ridge"] == -1.0 for p in results["params"]])
        score = results["mean_test_score" if scoring is None else "mean_test_a"]
        assert (score[failed] == -7.0).all() and (score[~failed] > -5).all()


def test_a_strength_that_fails_leaves_the_others(monkeypatch):
    layout, solution = make_layout("shared"), Fitting.at

    def fail(self, alpha, start):
        if alpha == ALPHAS[2]:
            raise ValueError("no luck")
        return solution(self, alpha, start)

    monkeypatch.setattr(Fitting, "at", fail)
    search = PathSearchCV(MultiTaskLasso(tol=1e-10), ALPHAS, cv=3, refit=False, error_score=-7.0)
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 12"):
        found = search.fit(layout.X, layout.y)
    monkeypatch.undo()
    whole = clone(search).fit(layout.X, layout.y).cv_results_["mean_test_score"]
    scores = found.cv_results_["mean_test_score"]
    assert scores[2] == -7.0
    np.testing.assert_allclose(np.delete(scores, 2), np.delete(whole, 2), atol=1e-8)


def test_without_refit_nothing_predicts():
    layout = make_layout("shared")
    search = PathSearchCV(MultiTaskLasso(), ALPHAS, refit=False).fit(layout.X, layout.y)
    assert not hasattr(search, "predict") and not hasattr(search, "predict_proba")
    classes = make_layout("stacked", classification=True)
    search = PathSearchCV(GroupSparseClassifier(), [0.01, 0.1]).fit(classes.X, classes.y, tasks=classes.tasks)
    assert search.predict_proba(classes.X, tasks=classes.tasks).shape == (len(classes.y), 2)
    assert search.decision_function(classes.X, tasks=classes.tasks).shape == classes.y.shape
    assert search.classes_.tolist() == [0, 1] and search.n_features_in_ == 6


@pytest.mark.processes
def test_processes_change_nothing():
    layout = make_layout("stacked")
    search = PathSearchCV(GroupSparseRegressor(), ALPHAS, param_grid={"ridge": [0.0, 0.1]})
    one = clone(search).fit(layout.X, layout.y, tasks=layout.tasks)
    two = clone(search).set_params(n_jobs=2).fit(layout.X, layout.y, tasks=layout.tasks)
    same(two, one, atol=0)


# --- the CV classes ---


@pytest.mark.parametrize("ratio", [None, 0.4, [0.3, 0.9]])
@pytest.mark.parametrize("alphas", [12, [0.3, 0.01, 0.1]])
def test_cv_classes_are_those_of_scikit_learn(alphas, ratio):
    layout = make_layout("shared", p=10)
    options = {"tol": 1e-10, "max_iter": 20_000, "cv": 3}
    theirs = {"alphas": alphas}
    if isinstance(alphas, int) and SklearnLassoCV().alphas is None:  # scikit-learn before 1.7
        theirs = {"n_alphas": alphas}
    if ratio is None:
        found, wanted = MultiTaskLassoCV(alphas=alphas, **options), SklearnLassoCV(**theirs, **options)
    else:
        found = MultiTaskElasticNetCV(alphas=alphas, l1_ratio=ratio, **options)
        wanted = SklearnElasticNetCV(l1_ratio=ratio, **theirs, **options)
    found.fit(layout.X, layout.y), wanted.fit(layout.X, layout.y)
    names = ["alpha_", "alphas_", "mse_path_", "coef_", "intercept_"] + (
        [] if ratio is None else ["l1_ratio_"]
    )
    for name in names:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-7, err_msg=name)
    np.testing.assert_allclose(found.predict(layout.X), wanted.predict(layout.X), atol=1e-6)
    assert found.score(layout.X, layout.y) == pytest.approx(wanted.score(layout.X, layout.y))
    assert 0 <= found.dual_gap_ < 1e-8 and found.n_iter_ > 0


@pytest.mark.parametrize("kind", ["stacked", "missing", "sparse", "weighted"])
def test_cv_classes_in_every_layout(kind):
    layout = make_layout(kind)
    found = MultiTaskLassoCV(alphas=8, tol=1e-9).fit(**layout.fit_args())
    at = MultiTaskLasso(found.alpha_, tol=1e-9).fit(**layout.fit_args())
    np.testing.assert_allclose(found.coef_, at.coef_, atol=1e-8)
    assert found.alphas_[0] == pytest.approx(found.alpha_max(**layout.fit_args()))
    assert found.mse_path_.mean(axis=1).argmin() == found.alphas_.tolist().index(found.alpha_)
    tasks = tasks_of(layout)
    assert found.predict(layout.X, **tasks).shape == layout.y.shape
    assert not hasattr(found, "fit_statistics") and "alpha" not in found.get_params()


def test_a_new_task_for_a_cv_class():
    layout = make_layout("stacked")
    known = layout.tasks < 3
    model = MultiTaskLassoCV(alphas=5).fit(layout.X[known], layout.y[known], tasks=layout.tasks[known])
    plain = MultiTaskLasso(model.alpha_).fit(layout.X[known], layout.y[known], tasks=layout.tasks[known])
    for other in (model, plain):
        other.fit_task(layout.X[~known], layout.y[~known], task=9)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-12)


def test_cv_classes_stay_quiet_and_sparse_input_stays_sparse():
    layout = make_layout("sparse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_csr = MultiTaskElasticNetCV(alphas=4, tol=1e-10).fit(layout.X, layout.y, tasks=layout.tasks)
        dense = MultiTaskElasticNetCV(alphas=4, tol=1e-10).fit(
            layout.X.toarray(), layout.y, tasks=layout.tasks
        )
    assert sparse.issparse(by_csr.sparse_coef_)
    np.testing.assert_allclose(by_csr.coef_, dense.coef_, atol=1e-7)


@pytest.mark.parametrize("other", [lambda at: at - 80, lambda at: np.isin(np.arange(80), at)])
def test_splits_by_places_from_the_end_and_by_masks(other):
    X = np.random.default_rng(0).normal(size=(80, 3))
    y, tasks = X[:, 0] + X[:, 1], np.arange(80) % 4
    rows = [(np.arange(60), np.arange(60, 80)), (np.arange(20, 80), np.arange(20))]
    others = [(other(train), other(test)) for train, test in rows]
    found = [PathSearchCV(GroupSparseRegressor(), [0.1, 1.0], cv=cv) for cv in (rows, others)]
    scores = [search.fit(X, y, tasks=tasks).cv_results_["mean_test_score"] for search in found]
    np.testing.assert_allclose(scores[1], scores[0])


@pytest.mark.parametrize("form", [np.asarray, list])
@pytest.mark.parametrize(
    "search", [PathSearchCV(GroupSparseRegressor(), [0.1, 1.0]), MultiTaskLassoCV(alphas=[0.1, 1.0])]
)
def test_tasks_without_a_weight_are_in_no_test_set(rng, search, form):
    """The model does not know them, which was told as an error of cross-validation."""
    X, tasks = rng.normal(size=(90, 3)), np.array(list("abc"))[np.arange(90) % 3]
    y, weight = X[:, 0] + rng.normal(size=90), rng.uniform(1, 2, size=90)
    weight[tasks == "b"] = 0.0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*only train")
        found = clone(search).fit(X, y, tasks=tasks, sample_weight=form(weight))
    model = getattr(found, "best_estimator_", found)
    assert model.tasks_.tolist() == ["a", "c"]
    splits = TaskKFold(5, shuffle=True, random_state=0).split(X, y, tasks=tasks)
    inner = GroupSparseRegressor(alpha=0.1, tol=1e-8)
    errors = []
    for train, test in splits:
        test = test[tasks[test] != "b"]
        own = inner.fit(X[train], y[train], tasks=tasks[train], sample_weight=weight[train])
        left = y[test] - own.predict(X[test], tasks=tasks[test])
        if search.__class__ is PathSearchCV:
            mean = np.average(y[test], weights=weight[test])
            errors.append(1 - weight[test] @ left**2 / (weight[test] @ (y[test] - mean) ** 2))
        else:
            errors.append(np.average(left**2, weights=weight[test]))
    results = (
        found.cv_results_["mean_test_score"] if model is not found else found.mse_path_.mean(axis=1)[::-1]
    )
    assert_allclose(results[0], np.mean(errors), rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"intercept_alpha": 0.3, "mean_alpha": 0.01}])
def test_rows_serve_a_search_where_tasks_have_few_of_them(options, monkeypatch):
    """Systems of the rows of a task are smaller than those of its features, and find the same."""
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(660, 100)), np.arange(660) % 110
    y = X[:, 0] + rng.normal(size=110)[tasks] + 0.1 * rng.normal(size=660)
    model, folds = MeanRegularizedRegressor(**options), list(TaskKFold(3).split(X, y, tasks=tasks))
    assert FoldMoments.of(model, X, y, {"tasks": tasks}, folds) is None
    assert FoldMoments.of(skmtl.TraceNormRegressor(), X, y, {"tasks": tasks}, folds) is not None
    search = PathSearchCV(model, [1.0, 30.0, 1000.0], cv=folds)
    found = search.fit(X, y, tasks=tasks)
    for module in (_moments, _forms):
        monkeypatch.setattr(module, "few_rows", lambda data: False)
    wanted = clone(search).fit(X, y, tasks=tasks)
    for k in range(3):
        name = f"split{k}_test_score"
        assert_allclose(found.cv_results_[name], wanted.cv_results_[name], rtol=1e-9)
    assert_allclose(found.best_estimator_.coef_, wanted.best_estimator_.coef_, atol=1e-9)
