"""Paths: what separate fits give, from no coefficient down, and when they end."""

import inspect
import warnings

import numpy as np
import pytest
from conftest import LAYOUTS, make_layout, task_estimators
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import lasso_path
from sklearn.model_selection import KFold

from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MeanRegularizedRegressor,
    MultiTaskLasso,
    PathSearchCV,
    SingleTask,
    TaskStatistics,
    TraceNormRegressor,
    path,
)
from skmtl.linear_model import _fitting
from skmtl.metrics import task_scorer
from skmtl.model_selection import _moments, _path_run
from skmtl.solvers._descent import PanelSweep

ESTIMATORS = {
    name: cls for name, cls in task_estimators().items() if "alpha" in inspect.signature(cls).parameters
}


def fit_args(name, kind="stacked"):
    return make_layout(kind, name.endswith("Classifier"), n=40).fit_args()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_path_gives_what_separate_fits_give(name):
    model = ESTIMATORS[name](tol=1e-6)
    if name.startswith("LatentBasis"):
        model.set_params(n_init=1)
    args = fit_args(name)
    found = path(model, **args, alphas=[0.1, 0.3])
    np.testing.assert_array_equal(found.alphas, [0.3, 0.1])
    for k, alpha in enumerate(found.alphas):
        single = clone(model).set_params(alpha=alpha).fit(**args)
        assert found.coef[k].shape == single.coef_.shape
        assert found.intercept[k].shape == np.shape(single.intercept_)
        if np.isfinite(found.gap[k]):
            # of separable classes the optimum is zero, far out, and bounds are entropies of rounded slopes
            rounding = 1e-12 * single.objective_ + 100 * np.finfo(float).eps
            slack = found.gap[k] + single.dual_gap_ + rounding
            assert abs(found.objective[k] - single.objective_) <= slack
        np.testing.assert_array_equal(found.tasks, single.tasks_)
    assert found.converged.all() and (found.n_iter >= 1).all()


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("cls", [GroupSparseRegressor, GroupSparseClassifier, TraceNormRegressor])
def test_path_starts_at_the_first_coefficient(cls, kind):
    args = fit_args(cls.__name__, kind)
    model = cls(tol=1e-9)
    found = path(model, **args, alphas=6, eps=0.05)
    assert found.alphas[0] == pytest.approx(model.alpha_max(**args), rel=1e-12)
    np.testing.assert_allclose(found.alphas[1:] / found.alphas[:-1], 0.05**0.2)
    assert np.abs(found.coef[0]).max() < 1e-8 and found.coef[1].any()
    last = clone(model).set_params(alpha=found.alphas[-1]).fit(**args)
    np.testing.assert_allclose(found.coef[-1], last.coef_, atol=1e-3)


@pytest.mark.parametrize("n, p, n_tasks", [(40, 300, 10), (300, 40, 10), (20, 60, 50)])
def test_path_is_that_of_scikit_learn(n, p, n_tasks):
    """More features than rows, more rows than features, more tasks than rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    Y = X[:, :10] @ rng.normal(size=(10, n_tasks)) + rng.normal(size=(n, n_tasks))
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    found = path(MultiTaskLasso(tol=1e-10), X, Y, alphas=15, eps=1e-2)
    alphas, coefs, _ = lasso_path(X, Y, alphas=found.alphas, tol=1e-11, max_iter=100_000)
    np.testing.assert_allclose(alphas, found.alphas)
    np.testing.assert_allclose(found.coef, coefs.transpose(2, 0, 1), atol=1e-5)


def test_statistics_are_enough():
    args = fit_args("Regressor")
    found = path(MultiTaskLasso(tol=1e-10), TaskStatistics.from_arrays(**args), alphas=5, eps=0.1)
    expected = path(MultiTaskLasso(tol=1e-10), **args, alphas=5, eps=0.1)
    np.testing.assert_allclose(found.coef, expected.coef, atol=1e-6)
    with pytest.raises(ValueError, match="must be None: TaskStatistics hold all data"):
        path(MultiTaskLasso(), TaskStatistics.from_arrays(**args), args["y"])


def test_path_ends_early_only_if_asked():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 100)), rng.normal(size=(20, 3))
    model = MultiTaskLasso(tol=1e-3)
    whole = path(model, X, Y, alphas=30)
    assert len(whole.alphas) == 30
    ended = path(model, X, Y, alphas=30, stop_when="saturated")
    used = ended.coef.any(axis=1).sum(axis=1)
    assert len(ended.alphas) < 30 and used[-1] > 20 and (used[:-1] <= 20).all()
    np.testing.assert_array_equal(ended.coef, whole.coef[: len(ended.alphas)])
    seen = []

    def third(alpha, coef, intercept):
        seen.append((alpha, coef.shape, intercept.shape))
        return len(seen) == 3

    assert len(path(model, X, Y, alphas=30, stop_when=third).alphas) == 3
    assert seen[0][1:] == ((3, 100), (3,)) and seen[0][0] == whole.alphas[0]


def test_path_leaves_the_estimator_alone_and_says_what_it_is():
    args = fit_args("Regressor")
    model = MultiTaskLasso(alpha=0.3)
    found = path(model, **args, alphas=4)
    assert model.alpha == 0.3 and not hasattr(model, "coef_")
    assert repr(found).startswith("CoefficientPath(4 strengths from ")


@pytest.mark.parametrize(
    "model, options, error, message",
    [
        (SingleTask(MultiTaskLasso()), {}, TypeError, "path needs a linear estimator .* got SingleTask"),
        (MultiTaskLasso(), {"alphas": 0}, ValueError, "alphas must be at least 1"),
        (MultiTaskLasso(), {"eps": 1.0}, ValueError, "eps between 0 and 1"),
        (MultiTaskLasso(), {"alphas": [0.1, -1.0]}, ValueError, "numbers >= 0"),
        (MultiTaskLasso(), {"alphas": [[0.1]]}, ValueError, "list of numbers"),
        (MultiTaskLasso(), {"stop_when": "never"}, ValueError, "stop_when must be None, 'saturated'"),
        (MultiTaskLasso(tol="small"), {}, ValueError, "tol"),
    ],
)
def test_bad_arguments_of_a_path(model, options, error, message):
    with pytest.raises(error, match=message):
        path(model, **fit_args("Regressor"), **options)


def test_features_that_do_not_move_wait_on_wide_designs(monkeypatch, rng):
    """On a path an epoch goes over fewer panels of features than there are, and solutions stay the same."""
    X, Y = rng.normal(size=(60, 6000)), rng.normal(size=(60, 3))
    model, visits = MultiTaskLasso(tol=1e-7), [0, 0]
    run, slope = PanelSweep.run, PanelSweep._slope

    def counted(self, W, S):
        visits[0] += (len(W) - 1) * len(self.panels)
        self.running = True
        run(self, W, S)
        self.running = False

    def seen(self, *args):
        visits[1] += self.running
        return slope(self, *args)

    monkeypatch.setattr(PanelSweep, "running", False, raising=False)
    monkeypatch.setattr(PanelSweep, "run", counted)
    monkeypatch.setattr(PanelSweep, "_slope", seen)
    found = path(model, X, Y, alphas=25, eps=0.05)
    assert 0 < visits[1] < 0.9 * visits[0]
    for k in (12, 24):
        single = clone(model).set_params(alpha=found.alphas[k]).fit(X, Y)
        assert abs(found.objective[k] - single.objective_) <= found.gap[k] + single.dual_gap_


def counted_solvers(monkeypatch):
    """A list that grows with every fit by a solver."""
    fits, run = [], _fitting.run
    monkeypatch.setattr(_fitting, "run", lambda *args: fits.append(args) or run(*args))
    return fits


def assert_as_fits(found, model, args, rtol):
    """Each solution of a path is that of a fit, within the gaps, and its gap is no more than rounding."""
    for k, alpha in enumerate(found.alphas):
        single = clone(model).set_params(alpha=alpha, tol=1e-12).fit(**args)
        scale = np.abs(single.coef_).max()
        np.testing.assert_allclose(found.coef[k], single.coef_, rtol=0, atol=rtol * scale)
        np.testing.assert_allclose(found.intercept[k], single.intercept_, rtol=10 * rtol, atol=10 * rtol)
        slack = found.gap[k] + single.dual_gap_ + 1e-14 * single.objective_
        assert abs(found.objective[k] - single.objective_) <= slack
        assert 0 <= found.gap[k] <= 1e-12 * found.objective.max()


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize(
    "options",
    [
        {}, {"mean_alpha": 0.1}, {"mean_alpha": 0.01, "ridge": 0.05}, {"fit_intercept": False},
        {"intercept_alpha": 0.3, "mean_alpha": 0.1}, {"task_weight": "samples"},
    ],
)  # fmt: skip
def test_paths_of_means_are_solved_at_once(kind, options, monkeypatch):
    """Whichever costs more, the mean or the deviations, or the same, which is a ridge regression."""
    args, model = fit_args("Regressor", kind), MeanRegularizedRegressor(**options)
    fits = counted_solvers(monkeypatch)
    found = path(model, **args, alphas=[1e4, 10.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-5])
    assert found.converged.all() and (not fits or kind == "single")
    assert_as_fits(found, model, args, 1e-7 if "intercept_alpha" in options else 1e-9)


@pytest.mark.parametrize("mean_alpha", [0.0, 0.01])
def test_paths_of_few_rows_and_collinear_features_are_solved_at_once(mean_alpha, rng, monkeypatch):
    tasks = np.arange(120) % 30
    X = rng.normal(size=(120, 6)) @ rng.normal(size=(6, 9))
    X[:, 3] = 2.0  # with free intercepts a feature that says nothing
    args = {"X": X, "y": X[:, :3].sum(axis=1) + rng.normal(size=120), "tasks": tasks}
    fits, model = counted_solvers(monkeypatch), MeanRegularizedRegressor(mean_alpha=mean_alpha)
    found = path(model, **args, alphas=np.geomspace(10, 1e-3, 9))
    assert not fits
    assert_as_fits(found, model, args, 1e-8)


@pytest.mark.parametrize("shift, unit, alphas", [(1e4, 1.0, [1e-4]), (0.0, 1e-5, [1e-7]), (0.0, 1.0, [0.0])])
def test_strengths_at_which_eigenvectors_lose_digits_are_for_a_solver(shift, unit, alphas, rng, monkeypatch):
    """Features far from zero without intercepts, in other units, and tasks that nothing joins."""
    X, tasks = rng.normal(size=(200, 4)), np.arange(200) % 5
    y = X.sum(axis=1) + tasks * X[:, 0] + rng.normal(size=200)
    X = (X + shift) * np.array([1.0, 1.0, 1.0, unit])
    args, fits = {"X": X, "y": y, "tasks": tasks}, counted_solvers(monkeypatch)
    model = MeanRegularizedRegressor(fit_intercept=not shift)
    found = path(model, **args, alphas=[*np.geomspace(1e9, 1e7, 9) * (1 + shift) ** 2, *alphas])
    assert fits and np.isfinite(found.gap).all()
    single = clone(model).set_params(alpha=alphas[0], tol=1e-8).fit(**args)
    np.testing.assert_allclose(found.coef[-1] * [1, 1, 1, unit], single.coef_ * [1, 1, 1, unit], rtol=1e-5)


def test_strengths_at_which_numbers_overflow_are_for_a_solver(rng):
    X, tasks = rng.normal(size=(60, 3)), np.arange(60) % 4
    found = path(MeanRegularizedRegressor(), 1e-150 * X, 1e100 * X.sum(axis=1), tasks, alphas=12)
    assert np.isfinite(found.objective).all() and np.isfinite(found.coef).all()


def test_epochs_over_the_rows_end_within_few_of_the_goal(rng):
    """Gaps are looked at every three of them, which cost as much as many on a Gram matrix."""
    X, Y = rng.normal(size=(60, 3000)), rng.normal(size=(60, 20))
    found = path(MultiTaskLasso(tol=1e-3), X, Y, alphas=15, eps=0.03)
    assert (found.n_iter % 6 == 3).sum() > 3 and found.converged.all()


def test_a_search_on_statistics_needs_no_solver_but_for_the_best(rng, monkeypatch):
    X, tasks = rng.normal(size=(600, 3)), np.arange(600) % 20
    y = X.sum(axis=1) + 0.3 * rng.normal(size=20)[tasks] * X[:, 0] + rng.normal(size=600)
    stats, fits = TaskStatistics.from_batches([(X, y, tasks)], n_folds=3), counted_solvers(monkeypatch)
    search = PathSearchCV(MeanRegularizedRegressor(), alphas=20).fit_statistics(stats)
    assert len(fits) == 1
    scores = search.cv_results_["mean_test_score"]
    for at in (0, 10, 19):
        few = PathSearchCV(
            MeanRegularizedRegressor(tol=1e-12), alphas=[search.cv_results_["param_alpha"][at]]
        )
        expected = few.fit_statistics(stats).cv_results_["mean_test_score"]
        np.testing.assert_allclose(scores[at], expected[0], rtol=1e-10)


@pytest.mark.parametrize("model", [MeanRegularizedRegressor(), MultiTaskLasso(tol=1e-8)])
@pytest.mark.parametrize("shared", [False, True])
def test_strengths_of_a_fold_are_scored_together(model, shared, rng, monkeypatch):
    """The scores are those of one after another, and of the rows; some tasks at a time."""
    monkeypatch.setattr(_moments, "ROOM", 100)
    X, tasks = rng.normal(size=(240, 12)), np.arange(240) % 4
    Y = X[:, :3] @ rng.normal(size=(3, 4)) + rng.normal(size=(240, 4))
    y, given, scored = (Y, {}, []) if shared else (Y[np.arange(240), tasks], {"tasks": tasks}, [])
    scoring = {"squares": task_scorer("neg_mean_squared_error"), "all": task_scorer("r2", average="pooled")}
    known = {"alphas": 12, "cv": KFold(3), "scoring": scoring, "refit": "all", "return_train_score": True}
    errors = _moments.squared_errors
    monkeypatch.setattr(_moments, "squared_errors", lambda *args: scored.append(1) or errors(*args))
    found = PathSearchCV(model, **known).fit(X, y, **given).cv_results_
    assert len(scored) == 2 * 3
    monkeypatch.setattr(_path_run, "SCORED_AT_ONCE", 1)
    single = PathSearchCV(model, **known).fit(X, y, **given).cv_results_
    assert len(scored) == 2 * 3 * 13
    monkeypatch.setattr(_moments.FoldMoments, "of", classmethod(lambda cls, *args: None))
    by_rows = PathSearchCV(model, **known).fit(X, y, **given).cv_results_
    for name in (name for name in found if "_test_" in name or "_train_" in name):
        np.testing.assert_allclose(found[name], single[name], rtol=1e-12)
        np.testing.assert_allclose(found[name], by_rows[name], rtol=1e-4)


def test_a_fit_that_fails_leaves_scores_to_those_before_and_after(rng, monkeypatch):
    X, Y = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    solved, alphas = _fitting.Fitting.at, [1.0, 0.1, 0.01, 0.001]

    def failing(self, alpha, *args):
        if alpha in wrong:
            raise ValueError("no luck")
        return solved(self, alpha, *args)

    monkeypatch.setattr(_fitting.Fitting, "at", failing)
    search, wrong = PathSearchCV(MultiTaskLasso(tol=1e-10), alphas=alphas, cv=3, refit=False), ()
    expected = search.fit(X, Y).cv_results_["mean_test_score"]
    for wrong in ([0.1], [0.001], [1.0, 0.001]):
        with pytest.warns(FitFailedWarning, match="no luck"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One or more of the test scores are non-finite")
            found = search.fit(X, Y).cv_results_["mean_test_score"]
        np.testing.assert_allclose(found, np.where(np.isin(alphas, wrong), np.nan, expected), rtol=1e-6)


def test_a_path_takes_few_features_into_a_set_that_do_not_come_into_use(rng, monkeypatch):
    """Beside many that are in use: each costs its share of an epoch."""
    X, Y, sizes = rng.normal(size=(60, 3000)), rng.normal(size=(60, 20)), []
    make = PanelSweep.__init__

    def counted(self, pool, chosen, *args):
        sizes.append(len(chosen))
        make(self, pool, chosen, *args)

    monkeypatch.setattr(PanelSweep, "__init__", counted)
    used = path(MultiTaskLasso(tol=1e-4), X, Y, alphas=15, eps=0.03).coef[-1].any(axis=0).sum()
    assert used > 300 and max(sizes) < 1.5 * used
