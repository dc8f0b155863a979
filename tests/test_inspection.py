"""Pictures show the numbers of the models by the names of tasks and features; summaries hold the same."""

import re
from functools import cache
from itertools import pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import cut_networks
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, load_linnerud
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    RANSACRegressor,
    Ridge,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmtl
from skmtl import (
    ClusteredRegressor,
    DirtyRegressor,
    GroupSparseRegressor,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    MixedTaskModel,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    MultiTaskMLPRegressor,
    MultiTaskRegressor,
    PathSearchCV,
    Pooled,
    SingleTask,
    TaskKFold,
    TaskRelationshipRegressor,
    TaskResidual,
    TasksFromColumn,
    TaskStatistics,
    compare,
    inspection,
    path,
    suggest,
    summary,
)
from skmtl.datasets import make_multitask_regression
from skmtl.inspection import (
    CoefficientDisplay,
    ComparisonDisplay,
    ConvergenceDisplay,
    PathDisplay,
    ShrinkageDisplay,
    TaskGainDisplay,
    TaskSimilarityDisplay,
)
from skmtl.penalties import L1, L2, Entries, Features, InfConv

DATA = make_multitask_regression(5, 24, 6, structure="clustered", n_clusters=2, random_state=0)
NAMES = list("abcdef")
FRAME = pd.DataFrame(DATA.X, columns=NAMES)
FRAME.insert(2, "town", np.array(["Ulm", "Bonn", "Kiel", "Jena", "Hof"])[DATA.tasks])
TOWNS = ["Bonn", "Hof", "Jena", "Kiel", "Ulm"]
MODEL = MeanRegularizedRegressor("auto", intercept_alpha="auto", task_column="town").fit(FRAME, DATA.y)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def steps(model):
    scaled = make_column_transformer(
        (StandardScaler(), NAMES), remainder="passthrough", verbose_feature_names_out=False
    )
    return make_pipeline(scaled.set_output(transform="pandas"), model)


# --- names, once for all ---


def test_summary_of_a_task_column_names_the_features_without_it():
    found = summary(MODEL)
    assert list(found.coef.columns) == ["(intercept)", *NAMES] and list(found.coef.index) == TOWNS
    assert_array_equal(found.coef[NAMES], MODEL.coef_)
    assert_array_equal(found.coef["(intercept)"], MODEL.intercept_)
    assert_array_equal(found.std[NAMES], MODEL.coef_std_)
    assert_array_equal(found.std["(intercept)"], MODEL.intercept_std_)
    assert found.strengths["alpha"] == MODEL.alpha_ and found.fit["dual_gap"] == MODEL.dual_gap_
    text = str(found)
    common = [MODEL.mean_intercept_, *MODEL.mean_coef_], [MODEL.mean_intercept_std_, *MODEL.mean_coef_std_]
    assert found.common == dict(zip(["(intercept)", *NAMES], zip(*common, strict=True), strict=True))
    assert re.search(rf"\n\(all\) +{MODEL.mean_intercept_:.4f} ±{MODEL.mean_intercept_std_:.4f} ", text)
    assert text.startswith("MeanRegularizedRegressor") and f"alpha {MODEL.alpha_:.4g}" in text
    assert all(town in text for town in TOWNS) and "±" in text
    assert repr(found) == text and "<td>Ulm</td>" in found._repr_html_()
    variances = zip(MODEL.deviation_variance_, NAMES, strict=True)
    assert f"deviation_variance {', '.join(f'{v:.4g} ({name})' for v, name in variances)}" in text
    full = MeanRegularizedRegressor("auto", covariance="full").fit(DATA.X[:, :3], DATA.y, tasks=DATA.tasks)
    assert f"deviation_variance {full.deviation_variance_[0, 0]:.4g} (x0), " in str(summary(full))
    many = MeanRegularizedRegressor("auto").fit(np.tile(DATA.X, (1, 2)), DATA.y, tasks=DATA.tasks)
    most = np.argmax(many.deviation_variance_)
    assert f"deviation_variance {many.deviation_variance_[most]:.4g} (x{most}), " in str(summary(many))
    assert "and 6 more" in str(summary(many))


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_names_are_those_of_any_frame(container):
    X = container(FRAME.to_dict("list"))
    assert list(summary(MultiTaskRegressor(0.1, task_column="town").fit(X, DATA.y)).coef) == [
        "(intercept)",
        *NAMES,
    ]


def test_names_behind_pipelines_and_in_searches():
    inside = steps(GroupSparseRegressor(0.1, task_column="town")).fit(FRAME, DATA.y)
    found = summary(inside)
    assert_array_equal(found.coef[NAMES], inside[-1].coef_)
    search = GridSearchCV(
        steps(GroupSparseRegressor(task_column="town")), {"groupsparseregressor__alpha": [0.1, 1.0]},
        cv=TaskKFold(2, task_column="town"), scoring="r2",
    ).fit(FRAME, DATA.y)  # fmt: skip
    assert_array_equal(summary(search).coef[NAMES], search.best_estimator_[-1].coef_)
    arrays = make_pipeline(StandardScaler(), GroupSparseRegressor(0.1))  # the model sees no names itself
    arrays.fit(FRAME[NAMES], DATA.y, groupsparseregressor__tasks=DATA.tasks)
    assert list(summary(arrays).coef) == ["(intercept)", *NAMES]
    position = MultiTaskRegressor(0.1, task_column=-1).fit(np.column_stack([DATA.X, DATA.tasks]), DATA.y)
    assert list(summary(position).coef) == ["(intercept)", *(f"x{j}" for j in range(6))]
    assert list(summary(position, feature_names=NAMES).coef) == ["(intercept)", *NAMES]
    residual = TaskResidual(LinearRegression(), GroupSparseRegressor(0.1)).fit(
        DATA.X, DATA.y, tasks=DATA.tasks
    )
    assert_array_equal(summary(residual).coef.iloc[:, 1:], residual.task_estimator_.coef_)
    assert (
        summary(residual).warnings[0] == "coefficients are of what the mean of all tasks leaves, and not of y"
    )


def test_second_moments_do_not_tell_where_the_task_column_was():
    stats_ = TaskStatistics.from_arrays(DATA.X, DATA.y, tasks=DATA.tasks)
    model = MeanRegularizedRegressor(1.0, task_column="town").fit_statistics(stats_)
    assert list(summary(model).coef) == ["(intercept)", *(f"x{j}" for j in range(6))]


def test_outputs_and_classes_are_named():
    linnerud = load_linnerud(as_frame=True)
    model = MultiTaskLasso(0.1).fit(linnerud.data, linnerud.target)
    assert_array_equal(summary(model).coef.loc["Waist", "Chins"], model.coef_[1, 0])
    X, y = load_iris(return_X_y=True)
    tasks = np.repeat(["p", "q"], 75)[np.random.default_rng(0).permutation(150)]
    flowers = np.array(["setosa", "versicolor", "virginica"])[y]
    model = MeanRegularizedClassifier(0.1, mean_alpha=0.1).fit(X, flowers, tasks=tasks)
    found = summary(model)
    assert_array_equal(found.coef.loc[("q", "virginica")].iloc[1:], model.coef_[1, 2])
    assert found.rows[0] == "p: setosa" and "q: virginica" in str(found)
    display = CoefficientDisplay.from_estimator(model)
    assert_array_equal(np.sort(display.tasks_), np.sort(found.rows))
    shrunken = ShrinkageDisplay.from_estimator(model, X, flowers, tasks, target_class="virginica", feature=2)
    assert_array_equal(shrunken.shared, model.coef_[:, 2, 2])
    assert shrunken.name == "x2 of virginica"
    Y = np.column_stack([flowers, X[:, 0]]).astype(object)
    Y[:, 1] = X[:, 0]
    mixed = MixedTaskModel(0.1, losses={0: "log_loss", 1: "squared_error"}).fit(X[:, 1:], Y)
    assert summary(mixed).rows == ["0: setosa", "0: versicolor", "0: virginica", "1"]
    assert_array_equal(summary(mixed).coef.iloc[3, 1:].astype(float), mixed.coef_[1, 0])
    single = SingleTask(LogisticRegression()).fit(X[50:], flowers[50:], tasks=tasks[50:])
    assert_array_equal(summary(single).coef.iloc[:, 1:], np.vstack([m.coef_ for m in single.estimators_]))


def test_parts_are_the_summands():
    model = DirtyRegressor(0.05, shared_ratio=0.7, mean_alpha=0.1)
    model.fit(DATA.X, DATA.y, tasks=DATA.tasks)
    found = summary(model)
    assert list(found.parts) == ["common", "shared", "private"]
    assert_allclose(sum(V.to_numpy() for V in found.parts.values()), model.coef_)
    assert_array_equal(found.parts["private"], model.private_coef_)
    assert_allclose(found.parts["common"], np.tile(model.mean_coef_, (5, 1)), atol=1e-12)
    display = CoefficientDisplay.from_estimator(model)
    assert [ax.get_title() for ax in display.axes_] == list(found.parts)
    own = MultiTaskRegressor(0.05, penalty=InfConv([Features(L2()), Entries(L1())]))
    own.fit(DATA.X, DATA.y, tasks=DATA.tasks)
    assert list(summary(own).parts) == ["part 1", "part 2"]


def test_summary_warns_and_thins():
    with pytest.warns(UserWarning):
        model = MultiTaskLasso(0.01, max_iter=1, tol=1e-12).fit(DATA.X, DATA.y, tasks=DATA.tasks)
    assert "beware: stopped at max_iter=1" in str(summary(model))
    assert "all coefficients are zero" in str(
        summary(MultiTaskLasso(1e3).fit(DATA.X, DATA.y, tasks=DATA.tasks))
    )
    many = make_multitask_regression(150, 3, 40, random_state=0)
    model = MeanRegularizedRegressor(1.0).fit(many.X, many.y, tasks=many.tasks)
    lines = str(summary(model)).splitlines()
    assert len(lines) < 25 and max(map(len, lines)) < 110
    assert any(line.split()[:1] == ["149"] for line in lines) and ".coef holds all" in str(summary(model))


@pytest.mark.parametrize("steps_before", [False, True])
def test_summary_names_the_features_that_no_task_varies_in(steps_before):
    Z = FRAME.assign(g=DATA.tasks % 2.0, h=3.0)
    model = MeanRegularizedRegressor("auto", intercept_alpha="auto", task_column="town")
    fitted = (steps(model) if steps_before else model).fit(Z, DATA.y)
    assert "constant within every task, so that" in str(summary(fitted))
    assert summary(fitted).warnings[-1].endswith("their intercepts: g, h")
    assert "intercepts: 2 of the features" in (fitted[-1] if steps_before else fitted)._repr_html_()
    assert not any("constant" in line for line in summary(MODEL).warnings)
    through_zero = MeanRegularizedRegressor("auto", fit_intercept=False, task_column="town")
    assert not len(through_zero.fit(FRAME.assign(h=3.0), DATA.y).constant_features_)


@cut_networks
def test_what_cannot_be_read_is_refused():
    for model in (Ridge().fit(DATA.X, DATA.y), Pooled(Ridge()).fit(DATA.X, DATA.y, tasks=DATA.tasks)):
        with pytest.raises(TypeError, match=r"coefficients are read from a fitted linear model.*got Ridge"):
            summary(model)
    network = MultiTaskMLPRegressor(hidden_layer_sizes=(2,), max_iter=2, alpha=0.1, head_alpha=0.1)
    with pytest.raises(TypeError, match="got MultiTaskMLPRegressor"):
        summary(network.fit(DATA.X, DATA.y, tasks=DATA.tasks))
    with pytest.raises(NotFittedError):
        summary(MultiTaskLasso())
    with pytest.raises(ValueError, match="feature_names must name the 6 features of the model; got 2"):
        summary(MODEL, feature_names=["a", "b"])
    with pytest.raises(ValueError, match="feature_names must differ from each other"):
        summary(MODEL, feature_names=["a"] * 6)


def test_notebooks_show_the_fit():
    page = MODEL._repr_html_()
    assert f"{MODEL.alpha_:.4g}" in page and "Bonn, Hof" in page and "dual_gap" in page
    assert "dual_gap" not in MeanRegularizedRegressor()._repr_html_()
    page = steps(GroupSparseRegressor(0.1, task_column="town")).fit(FRAME, DATA.y)._repr_html_()
    assert "5 tasks · gap" in page
    dirty = DirtyRegressor(0.05, shared_ratio=0.7).fit(DATA.X, DATA.y, tasks=DATA.tasks)
    used = np.count_nonzero(dirty.private_coef_)
    assert f"<td>private</td><td>{used} of 30 coefficients" in dirty._repr_html_()
    wrapper = SingleTask(Ridge()).fit(DATA.X, DATA.y, tasks=DATA.tasks)
    assert "Ridge" in wrapper._repr_html_() and "0, 1, 2, 3, 4" in wrapper._repr_html_()


# --- every display ---


@cache
def comparison():
    return compare(
        {"m": MeanRegularizedRegressor(0.5)}, DATA.X, DATA.y, DATA.tasks, cv=3, baselines=["single"]
    )


DRAWN = {
    "CoefficientDisplay": lambda **k: CoefficientDisplay.from_estimator(MODEL, **k),
    "TaskSimilarityDisplay": lambda **k: TaskSimilarityDisplay.from_estimator(MODEL, **k),
    "ShrinkageDisplay": lambda **k: ShrinkageDisplay.from_estimator(MODEL, FRAME, DATA.y, **k),
    "PathDisplay": lambda **k: PathDisplay.from_estimator(MODEL, FRAME, DATA.y, alphas=5, **k),
    "TaskGainDisplay": lambda **k: TaskGainDisplay.from_comparison(comparison(), **k),
    "ComparisonDisplay": lambda **k: ComparisonDisplay.from_comparison(comparison(), **k),
    "ConvergenceDisplay": lambda **k: ConvergenceDisplay.from_estimator(
        GroupSparseRegressor(0.1), DATA.X, DATA.y, DATA.tasks, tols=[0.1, 0.001], **k
    ),
}


def test_all_displays_are_drawn_here():
    assert {*DRAWN, "StabilityDisplay"} == set(inspection.__all__)


@pytest.mark.parametrize("name", DRAWN)
def test_axes_are_obeyed_and_text_is_seen_on_dark_ground(name):
    with plt.style.context("dark_background"):
        figure, (ax, other) = plt.subplots(1, 2)
        plt.sca(other)
        before = plt.get_fignums()
        display = DRAWN[name](ax=ax)
        assert display.ax_ is ax and display.figure_ is figure
        assert plt.get_fignums() == before and plt.gca() is other
        assert not other.has_data()
        figure.canvas.draw()
        ground = matplotlib.colors.to_rgb(figure.get_facecolor())
        for text in ax.findobj(matplotlib.text.Text):
            if text.get_text():
                assert np.abs(np.subtract(matplotlib.colors.to_rgb(text.get_color()), ground)).max() > 0.4
        with pytest.raises(TypeError, match=f"ax of {name} must be matplotlib axes or None; got int"):
            DRAWN[name](ax=3)
        new = DRAWN[name]()
        assert new.figure_ is not figure and new.ax_ in new.figure_.axes


# --- coefficients ---


def test_coefficients_are_those_of_the_model_by_name():
    model = MultiTaskRegressor(0.1, task_column="town").fit(FRAME, DATA.y)
    display = CoefficientDisplay.from_estimator(model)
    assert sorted(display.tasks_) == TOWNS and display.features_ == NAMES
    assert labels(display.ax_.yaxis) == display.tasks_ and labels(display.ax_.xaxis) == NAMES
    rows = [TOWNS.index(town) for town in display.tasks_]
    assert_array_equal(display.images_[0].get_array(), model.coef_[rows])
    low, high = display.images_[0].get_clim()
    assert low == -high and 0 < high <= np.abs(model.coef_).max()
    given = CoefficientDisplay({"W": DATA.coef}, tasks=range(5), features=NAMES).plot(
        cluster=False, n_features=2
    )
    assert given.tasks_ == [0, 1, 2, 3, 4] and given.axes_[0].get_ylabel() == "task"  # numbers want a word
    greatest = np.sort(np.argsort(-(DATA.coef**2).sum(axis=0))[:2])
    assert given.features_ == [NAMES[j] for j in greatest] and "2 of 6 features" in given.ax_.get_title()
    clusters = [
        DATA.labels[t]
        for t in CoefficientDisplay({"W": DATA.coef}, tasks=range(5), features=NAMES).plot().tasks_
    ]
    assert np.count_nonzero(np.diff(clusters)) == 1


def test_features_that_are_zero_make_room():
    W = np.zeros((3, 60))
    W[:, [7, 50]] = np.random.default_rng(0).normal(size=(3, 2))
    display = CoefficientDisplay({"W": W}, tasks="abc", features=range(60)).plot()
    assert display.features_ == [7, 50] and "2 of 60 features, the others are zero" in display.ax_.get_title()
    assert labels(display.ax_.xaxis) == ["7", "50"]
    none = CoefficientDisplay({"W": 0 * W}, tasks="abc", features=range(60)).plot()
    assert len(none.features_) == 40


def test_many_names_are_thinned_and_few_are_not():
    for n in (2, 20, 150):
        W = np.random.default_rng(0).normal(size=(n, 3))
        names = [f"school {t}" for t in range(n)]
        display = CoefficientDisplay({"W": W}, tasks=names, features=NAMES[:3]).plot()
        shown = labels(display.ax_.yaxis)
        assert set(shown) <= set(names) and len(shown) == n if n < 150 else 20 <= len(shown) <= 50
        display.figure_.canvas.draw()
        boxes = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
        boxes.sort(key=lambda box: box.y0)
        assert all(one.y1 <= other.y0 + 1 for one, other in pairwise(boxes))
    long = CoefficientDisplay({"W": W[:1]}, tasks=["a" * 60], features=NAMES[:3]).plot()
    assert len(labels(long.ax_.yaxis)[0]) < 30


def test_similarity():
    model = TaskRelationshipRegressor(0.1, task_column="town").fit(FRAME, DATA.y)
    display = TaskSimilarityDisplay.from_estimator(model)
    order = display.order_
    assert_array_equal(display.image_.get_array(), model.task_correlation_[np.ix_(order, order)])
    assert labels(display.ax_.xaxis) == labels(display.ax_.yaxis) == [TOWNS[t] for t in order]
    (line,) = display.tree_ax_.get_lines()  # four merges
    assert np.isnan(line.get_xdata()).sum() == 4 and display.label == "correlation of tasks"
    clusters = ClusteredRegressor(0.1, task_column="town").fit(FRAME, DATA.y)
    assert TaskSimilarityDisplay.from_estimator(clusters).label == "similarity of tasks"
    W = MODEL.coef_ - MODEL.coef_.mean(axis=0)
    cosine = TaskSimilarityDisplay.from_estimator(MODEL, of="deviations")
    assert_allclose(cosine.similarity[0, 1], W[0] @ W[1] / np.linalg.norm(W[0]) / np.linalg.norm(W[1]))
    assert TaskSimilarityDisplay(np.eye(2), tasks="ab").plot().tree_ax_ is None
    assert_allclose(cosine.image_.get_clim(), (-1, 1))
    assert cosine.ax_.get_xlabel() == ""
    alike = TaskSimilarityDisplay([[1, 0.9], [0.9, 1]], tasks="ab").plot()
    assert alike.image_.get_clim() == (0.9, 1) and "alike, 0.9 or more" in alike.ax_.get_xlabel()
    assert alike.plot(cmap="PuOr").image_.get_clim() == (-1, 1)
    with pytest.raises(ValueError, match="of must be 'model', 'coefficients' or 'deviations'; got 'x'"):
        TaskSimilarityDisplay.from_estimator(MODEL, of="x")
    with pytest.raises(ValueError, match=r"similarity must have shape \(3, 3\); got \(2, 2\)"):
        TaskSimilarityDisplay(np.eye(2), tasks="abc").plot()


# --- shrinkage ---


def test_pictures_of_thousands_of_tasks():
    """Without a tree, which takes the cube of their number, and of pairs none beyond what can be seen."""
    level = np.random.default_rng(0).permutation(2500)
    display = CoefficientDisplay({"own": np.outer(level, [1.0, 2.0])}, tasks=level, features="ab").plot()
    shown = np.array(display.tasks_)
    assert (np.diff(shown) > 0).all() or (np.diff(shown) < 0).all()
    signs = np.where(level % 2, 1.0, -1.0)
    display = TaskSimilarityDisplay(np.outer(signs, signs), tasks=level).plot()
    assert display.tree_ax_ is None and np.count_nonzero(np.diff(signs[display.order_])) == 1
    with pytest.raises(ValueError, match="every pair of tasks, of 5000 at most; got 5001 tasks"):
        TaskSimilarityDisplay(np.eye(5001), tasks=range(5001)).plot()


def test_shrinkage_shows_own_and_shared_estimates():
    display = ShrinkageDisplay.from_estimator(MODEL, FRAME, DATA.y, feature="d")
    own = [LinearRegression().fit(DATA.X[FRAME.town == town], DATA.y[FRAME.town == town]) for town in TOWNS]
    assert_allclose(display.own, [one.coef_[3] for one in own])
    assert_array_equal(display.shared, MODEL.coef_[:, 3])
    assert_array_equal(display.std, MODEL.coef_std_[:, 3])
    order = np.argsort(MODEL.coef_[:, 3])
    assert_array_equal(display.shared_.get_offsets()[:, 0], MODEL.coef_[order, 3])
    assert labels(display.ax_.yaxis) == [TOWNS[t] for t in order]
    segments = display.ax_.collections[-2].get_segments()  # intervals
    assert_allclose(
        segments[0][:, 0], MODEL.coef_[order[0], 3] + np.array([-1.96, 1.96]) * MODEL.coef_std_[order[0], 3]
    )
    levels = ShrinkageDisplay.from_estimator(MODEL, FRAME, DATA.y, feature="(intercept)")
    assert_allclose(levels.own, [one.intercept_ for one in own])
    assert_array_equal(levels.shared, MODEL.intercept_)
    most = ShrinkageDisplay.from_estimator(MODEL, FRAME, DATA.y)
    assert most.name == NAMES[np.argmax(MODEL.coef_.std(axis=0) * DATA.X.std(axis=0))]
    stronger = ShrinkageDisplay.from_estimator(MODEL, FRAME, DATA.y, feature=3, own=Ridge(1e6))
    assert np.abs(stronger.own).max() < 1e-3


def test_shrinkage_behind_steps_and_of_outputs():
    fitted = steps(GroupSparseRegressor(0.1, task_column="town")).fit(FRAME, DATA.y)
    display = ShrinkageDisplay.from_estimator(fitted, FRAME, DATA.y, feature="a")
    scaled = StandardScaler().fit_transform(DATA.X)
    one = LinearRegression().fit(scaled[FRAME.town == "Hof"], DATA.y[FRAME.town == "Hof"])
    assert_allclose(display.own[1], one.coef_[0])
    assert display.std is None
    around = TasksFromColumn(make_pipeline(StandardScaler(), GroupSparseRegressor(0.1)), "town").fit(
        FRAME, DATA.y
    )
    same = ShrinkageDisplay.from_estimator(around, FRAME, DATA.y, feature="a")
    assert_allclose(same.own, display.own)
    assert_allclose(same.shared, display.shared)
    drawn = [PathDisplay.from_estimator(one, FRAME, DATA.y, alphas=3).norms for one in (around, fitted)]
    assert_allclose(*drawn)
    linnerud = load_linnerud(as_frame=True)
    model = MultiTaskLasso(0.1).fit(linnerud.data, linnerud.target)
    display = ShrinkageDisplay.from_estimator(model, linnerud.data, linnerud.target, feature="Jumps")
    assert_allclose(display.own, LinearRegression().fit(linnerud.data, linnerud.target).coef_[:, 2])


def test_rows_of_one_task_tell_nothing_of_what_is_constant_there():
    X = DATA.X.copy()
    X[:, 0] = DATA.tasks**2  # constant in all tasks, and beyond that in the first one
    X[DATA.tasks == 0, 1] = 3.3
    model = GroupSparseRegressor(0.01).fit(X, DATA.y, tasks=DATA.tasks)
    weight = np.ones(len(X))
    for feature, none in [(0, range(5)), (1, [0]), (2, []), ("(intercept)", [])]:
        for given in ({}, {"sample_weight": weight}):
            display = ShrinkageDisplay.from_estimator(model, X, DATA.y, DATA.tasks, feature=feature, **given)
            assert_array_equal(np.flatnonzero(np.isnan(display.own)), none)
            assert np.isfinite(display.shared).all()
    legend = ShrinkageDisplay.from_estimator(model, X, DATA.y, DATA.tasks, feature=0).ax_.get_legend()
    assert legend.get_texts()[0].get_text() == "own rows tell none"
    model.coef_[:, 0] *= 1e9  # differs most
    assert ShrinkageDisplay.from_estimator(model, X, DATA.y, DATA.tasks).name != "x0"
    two = np.column_stack([DATA.y, np.where(DATA.tasks == 0, DATA.y, np.nan)])
    shared = MultiTaskLasso(0.1).fit(X, two)
    assert np.isnan(ShrinkageDisplay.from_estimator(shared, X, two, feature=1).own).tolist() == [False, True]


def test_own_estimates_are_of_the_kind_of_the_model():
    rng = np.random.default_rng(0)
    X, tasks = rng.normal(size=(200, 2)) * [1.0, 100.0], np.repeat(["u", "v"], 100)
    counts, weight = rng.poisson(np.exp(0.5 * X[:, 0])), rng.uniform(0.5, 2.0, 200)
    model = MeanRegularizedRegressor(0.1, loss="poisson").fit(X, counts, tasks=tasks, sample_weight=weight)
    display = ShrinkageDisplay.from_estimator(model, X, counts, tasks, feature=0, sample_weight=weight)
    one = PoissonRegressor(alpha=0.0, max_iter=10_000).fit(X[:100], counts[:100], weight[:100])
    assert_allclose(display.own[0], one.coef_[0])
    most = np.argmax(model.coef_.std(axis=0) * X.std(axis=0))
    assert ShrinkageDisplay.from_estimator(model, X, counts, tasks).name == f"x{most}"
    classes = counts > 1
    model = MeanRegularizedClassifier(0.1).fit(X, classes, tasks=tasks)
    display = ShrinkageDisplay.from_estimator(model, X, classes, tasks, feature=0)
    one = LogisticRegression(C=100.0, max_iter=10_000).fit(X[:100], classes[:100])
    assert_allclose(display.own[0], one.coef_[0, 0])
    mixed = MixedTaskModel(0.1).fit(X, counts, tasks=tasks)
    with pytest.raises(TypeError, match="MixedTaskModel has tasks of different kinds"):
        ShrinkageDisplay.from_estimator(mixed, X, counts, tasks)


def test_wild_estimates_stand_at_the_border():
    own = np.r_[np.linspace(-1, 1, 9), 1e6]
    display = ShrinkageDisplay(own, np.linspace(-0.5, 0.5, 10), tasks=range(10)).plot()
    assert display.ax_.get_xlim()[1] < 10 and len(display.own_.get_offsets()) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature": "z"}, "feature='z' is not one of"),
        ({"feature": 6}, "feature=6 is out of range: there are 6 features"),
        ({"target_class": "x"}, "target_class='x': the model has one vector"),
        ({"X": FRAME.assign(town="Ulm")}, "X, y and tasks must be those of the fit: the model has 5 rows"),
    ],
)
def test_shrinkage_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ShrinkageDisplay.from_estimator(MODEL, **{"X": FRAME, "y": DATA.y, **options})


# --- paths ---


def test_path_of_a_search():
    search = PathSearchCV(
        steps(GroupSparseRegressor(task_column="town")),
        alphas=6,
        eps=0.01,
        cv=TaskKFold(3, task_column="town"),
    ).fit(FRAME, DATA.y)
    display = PathDisplay.from_estimator(search, FRAME, DATA.y)
    results, name = search.cv_results_, "groupsparseregressor__alpha"
    assert display.chosen == search.best_params_[name]
    assert_allclose(display.alphas, np.sort(results[f"param_{name}"].astype(float))[::-1])
    assert_allclose(display.scores.mean(axis=1), results["mean_test_score"])
    scaled = FRAME.assign(**dict(zip(NAMES, StandardScaler().fit_transform(DATA.X).T, strict=True)))
    along = path(GroupSparseRegressor(task_column="town"), scaled, DATA.y, alphas=display.alphas)
    assert_allclose(display.norms, np.linalg.norm(along.coef, axis=1), atol=1e-6)
    assert display.features == NAMES
    first = display.lines_[0]
    assert first.get_label() == NAMES[np.argmax(display.norms[-1])]
    assert_array_equal(first.get_ydata(), display.norms[:, np.argmax(display.norms[-1])])
    mean = display.scores.mean(axis=1)
    (curve,) = (line for line in display.scores_ax_.get_lines() if len(line.get_ydata()) == 6)
    assert_array_equal(curve.get_ydata(), mean)
    best = np.argmax(mean)
    error = np.std(display.scores[best], ddof=1) / np.sqrt(3)
    (band,) = display.scores_ax_.patches
    assert_allclose(band.get_y() + np.array([0, band.get_height()]), [mean[best] - error, mean[best]])
    assert len(display.scores_ax_.get_xticklabels()) <= 5 and display.scores_ax_.get_xscale() == "log"
    assert "last of those tried" not in display.norms_ax_.get_title("left")
    for edge in (display.alphas[0], display.alphas[-1]):
        seen = PathDisplay(display.alphas, scores=display.scores, chosen=edge).plot()
        assert seen.ax_.get_title("left").endswith("the last of those tried")
        first, last = seen.ax_.transAxes.inverted().transform(
            seen.ax_.transData.transform([(a, 0.5) for a in display.alphas[[0, -1]]])
        )[:, 0]
        assert 0.01 < first < last < 0.99
    alone = PathDisplay.from_estimator(search)
    assert alone.scores_ax_.get_ylabel() == "R²"
    assert alone.norms_ax_ is None and alone.scores_ax_ is alone.ax_


def test_path_of_cv_results_keeps_the_rest_at_the_best():
    grid = {"alpha": [1.0, 0.1, 0.01], "mean_alpha": [0.0, 0.1]}
    search = GridSearchCV(
        MeanRegularizedRegressor(task_column="town"), grid, cv=TaskKFold(2, task_column="town"),
        scoring=["r2", "neg_max_error"], refit=False,
    ).fit(FRAME, DATA.y)  # fmt: skip
    results = search.cv_results_
    display = PathDisplay.from_cv_results(results, score="test_r2")
    best = results["params"][np.argmax(results["mean_test_r2"])]
    same = [i for i, one in enumerate(results["params"]) if one["mean_alpha"] == best["mean_alpha"]]
    assert_array_equal(display.alphas, [1.0, 0.1, 0.01])
    assert_allclose(np.sort(display.scores.mean(axis=1)), np.sort(results["mean_test_r2"][same]))
    assert display.chosen == best["alpha"] and display.scores_ax_.get_ylabel() == "r2"
    search = PathSearchCV(MeanRegularizedRegressor(), alphas=[0.1, 1.0], cv=2, refit=False)
    search.fit(DATA.X, DATA.y, tasks=DATA.tasks)
    assert PathDisplay.from_estimator(search).alphas.tolist() == [1.0, 0.1]
    search = PathSearchCV(MeanRegularizedRegressor("auto"), cv=2).fit(DATA.X, DATA.y, tasks=DATA.tasks)
    with pytest.raises(ValueError, match=r"param='alpha' must hold numbers .* tried \['auto'\]"):
        PathDisplay.from_estimator(search)
    with pytest.raises(ValueError, match="param='beta' is not among the parameters of the search"):
        PathDisplay.from_cv_results(results, param="beta")
    with pytest.raises(TypeError, match="cv_results must be a dict, the cv_results_ of a search; got PathS"):
        PathDisplay.from_cv_results(search)
    with pytest.raises(ValueError, match="score='test_score' is not among the scores"):
        PathDisplay.from_cv_results(results)


def test_path_of_models_that_hold_their_folds():
    lasso = MultiTaskLassoCV(alphas=5, cv=3).fit(DATA.X, DATA.y, tasks=DATA.tasks)
    display = PathDisplay.from_estimator(lasso, DATA.X, DATA.y, DATA.tasks)
    assert_array_equal(display.scores, -lasso.mse_path_)
    assert display.chosen == lasso.alpha_ and display.norms.shape == (5, 6)
    net = MultiTaskElasticNetCV(alphas=5, l1_ratio=[0.2, 0.9], cv=3).fit(DATA.X, DATA.y, tasks=DATA.tasks)
    display = PathDisplay.from_estimator(net)
    at = [0.2, 0.9].index(net.l1_ratio_)
    assert_array_equal(display.scores, -net.mse_path_[at])
    unfitted = GroupSparseRegressor(task_column="town")
    display = PathDisplay.from_estimator(unfitted, FRAME, DATA.y, alphas=4)
    along = path(unfitted, FRAME, DATA.y, alphas=4)
    assert_allclose(display.norms, np.linalg.norm(along.coef, axis=1))
    assert display.features == NAMES and display.chosen is None and display.scores_ax_ is None
    with pytest.raises(NotFittedError):
        PathDisplay.from_estimator(unfitted)
    with pytest.raises(ValueError, match="X and y are needed"):
        PathDisplay.from_estimator(MODEL)
    with pytest.raises(ValueError, match="norms or scores are needed"):
        PathDisplay([1.0, 0.1]).plot()


# --- comparisons ---


def test_gains_are_those_of_the_tasks():
    result = comparison()
    display = TaskGainDisplay.from_comparison(result)
    own = result.per_task.query("model == 'm'")
    ranks = np.argsort(np.argsort(own["gain"]))  # all tasks have as many rows
    assert_allclose(display.points_.get_offsets(), np.column_stack([ranks, 100 * own["gain"]]))
    assert own["n_test"].nunique() == 1 and f"{own['n_test'].iloc[0]} rows" in display.ax_.get_xlabel()
    n_rows = np.arange(1, 6) * 10
    unequal = TaskGainDisplay(own["gain"], n_rows=n_rows, tasks=own["task"].tolist()).plot()
    assert_allclose(unequal.points_.get_offsets(), np.column_stack([n_rows, 100 * own["gain"]]))
    ax = result.plot()
    assert ax.get_title() == display.ax_.get_title() and "against single" in ax.get_ylabel()
    assert f"of 5 tasks {(own['gain'] > 0).sum()} gain" in ax.get_title()
    assert {text.get_text() for text in ax.texts} <= {str(task) for task in own["task"]}
    assert result.plot(ax, model="single") is ax
    with pytest.raises(ValueError, match="model='nobody' is not one of"):
        TaskGainDisplay.from_comparison(result, model="nobody")


def test_standard_errors_of_gains_are_those_of_a_bootstrap_over_labels():
    rng = np.random.default_rng(0)
    p = make_multitask_regression(3, 400, 4, structure="mean", noise=2.0, random_state=0)
    result = compare({"m": Pooled(Ridge())}, p.X, p.y, p.tasks, cv=2, baselines=["single"])
    own = result.per_task.query("model == 'm'")
    folds = TaskKFold(2, shuffle=True, random_state=0)
    fitted = result.estimators["m"]
    e, r = np.zeros(1200), np.zeros(1200)
    single = skmtl.comparison.rival("single", "numbers", False)
    for train, test in folds.split(p.X, p.y, tasks=p.tasks):
        for model, out in ((fitted, e), (single, r)):
            one = model.fit(p.X[train], p.y[train], tasks=p.tasks[train])
            out[test] = (p.y[test] - one.predict(p.X[test], tasks=p.tasks[test])) ** 2
    for t in range(3):
        rows = np.flatnonzero(p.tasks == t)
        assert_allclose(own["gain"].iloc[t], 1 - e[rows].sum() / r[rows].sum(), rtol=1e-8)
        draws = rng.choice(rows, (1000, 400))
        spread = np.std(1 - e[draws].sum(axis=1) / r[draws].sum(axis=1))
        assert_allclose(own["gain_std"].iloc[t], spread, rtol=0.15)


def test_many_tasks_are_named_by_what_they_gain():
    rng = np.random.default_rng(0)
    gain, tasks = rng.normal(0.1, 0.1, size=150), [f"school {t}" for t in range(150)]
    gain[3], gain[4] = -40.0, np.nan
    display = TaskGainDisplay(gain, n_rows=rng.integers(10, 200, 150), tasks=tasks).plot(most_named=3)
    assert len(display.points_.get_offsets()) == 149
    known = np.where(np.isnan(gain), -np.inf, gain)
    assert set(display.named_) >= {tasks[t] for t in np.argsort(known)[-3:]} | {"school 3"}
    assert any("school 3 (-4000%)" in text.get_text() for text in display.ax_.texts)
    assert display.ax_.get_ylim()[0] > -1000


@pytest.mark.parametrize("n", [2, 20, 150])
@pytest.mark.parametrize("alike", [True, False])
def test_names_of_tasks_cover_neither_tasks_nor_names(n, alike):
    rng = np.random.default_rng(n)
    gain, n_rows = rng.uniform(-0.3, 0.6, size=n), np.full(n, 40) if alike else rng.integers(10, 200, n)
    tasks = [f"school {t}" for t in range(n)]
    display = TaskGainDisplay(gain, n_rows=n_rows, tasks=tasks, errors=np.full(n, 0.1)).plot()
    ax = display.ax_
    display.figure_.canvas.draw()
    extent = matplotlib.text.Text.get_window_extent  # without the line to its point
    boxes = [extent(text) for text in [*ax.texts, *ax.get_xticklabels()] if text.get_text()]
    points = ax.transData.transform(display.points_.get_offsets())
    assert len({tuple(point) for point in points}) == n
    for i, text in enumerate(ax.texts):
        box = extent(text)
        assert not any(box.contains(*point) for point in points), text.get_text()
        assert text.get_bbox_patch() is not None  # lines of intervals do not cross it
        assert not any(box.overlaps(other) for other in [*boxes[:i], *boxes[i + 1 :]]), text.get_text()
    if alike and n <= 20:  # all of them on the axis
        assert labels(ax.xaxis) == display.named_ == [tasks[t] for t in np.argsort(gain)]
        assert not ax.texts
    else:
        assert {text.get_text() for text in ax.texts} == set(display.named_)


@pytest.mark.parametrize("seed", range(2))
def test_lines_to_names_cross_no_other_name(seed, n=20):
    """Long names and short ones among points that lie close."""
    rng = np.random.default_rng(seed)
    tasks = [f"{('Togo', 'Bosnia and Herzegovina', 'Papua New Guinea')[t % 3]} {t}" for t in range(n)]
    gain, n_rows = 0.1 * rng.standard_t(2.5, n), rng.integers(150, 160, n)
    ax = TaskGainDisplay(gain, n_rows=n_rows + 100 * (np.arange(n) % 2), tasks=tasks).plot().ax_
    ax.figure.canvas.draw()
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
    assert len(boxes) > 5
    for i, text in enumerate(ax.texts):
        (start, end) = text.arrow_patch.get_transform().transform(
            text.arrow_patch.get_path().vertices[[0, -1]]
        )
        for point in np.linspace(start, end, 100):
            assert not any(box.contains(*point) for box in [*boxes[:i], *boxes[i + 1 :]]), text.get_text()


def test_the_picture_counts_the_tasks_of_the_verdict():
    """Gains that equal models may differ by count as none, and the same are clear."""
    p = make_multitask_regression(30, 14, 4, structure="mean", task_spread=0.5, random_state=0)
    result = compare({"m": MeanRegularizedRegressor(0.3)}, p.X, p.y, p.tasks, cv=2, baselines=["single"])
    own = result.per_task.query("model == 'm'")
    title = TaskGainDisplay.from_comparison(result, model="m").ax_.get_title()
    lost, clearly = own["hurt"].sum(), own["clearly_hurt"].sum()
    assert 0 < lost < 30 and f"{lost} of 30 tasks lose" in result.verdict
    assert f", {lost} lose ({clearly} clearly" in title
    errors, gains = [0.01, np.nan, 0.1, 0.1, 0.0001, 1.0], [0.0005, -0.5, 0.199, 0.201, -0.0009, -0.5]
    title = TaskGainDisplay(gains, n_rows=[9] * 6, tasks=list("abcdef"), errors=errors).plot().ax_.get_title()
    assert title == "of 6 tasks 2 gain (1 clearly: blue), 2 lose (0 clearly: orange)"


def test_names_are_told_apart_and_inside_the_figure(n=12):
    """Long ones that begin and end alike, also in axes of a figure that leaves them little room."""
    names = [f"Comprehensive school no. {t} of Westminster" for t in range(n)]
    rng = np.random.default_rng(0)
    scores, gain = {name: rng.normal(size=4) for name in names}, rng.normal(size=n)
    drawn = [
        lambda ax: ComparisonDisplay(scores, reference=names[0]).plot(ax),
        lambda ax: TaskGainDisplay(gain, n_rows=np.full(n, 9), tasks=names).plot(ax),
        lambda ax: ShrinkageDisplay(gain, gain, tasks=names).plot(ax),
    ]
    for draw in drawn:
        figure, ax = plt.subplots(figsize=(5, 4))
        draw(ax)
        figure.canvas.draw()
        found = [text for text in [*ax.get_yticklabels(), *ax.get_xticklabels()] if "…" in text.get_text()]
        shown = sorted(text.get_text().partition("  ")[0] for text in found)
        assert shown == sorted(f"Comprehensi…{t}" for t in range(n))
        boxes = [text.get_window_extent() for text in found]
        assert min(min(box.x0, box.y0) for box in boxes) >= 0
    adjusted, ax = plt.subplots()
    adjusted.subplots_adjust(left=0.3)
    assert drawn[2](ax).figure_.get_layout_engine() is None  # whoever sets margins keeps them


def test_models_out_of_sight_are_marked_and_others_not():
    scores = {
        "a": [0.0, 0.1, 0.2],
        "b": [0.1, 0.1, 0.3],
        "near": [-0.2, -0.1, -0.1],
        "far": [-9.0, -8.9, -8.8],
    }
    ax = ComparisonDisplay(scores, reference="a").plot().ax_
    low = ax.get_xlim()[0]
    means = {name: np.mean(np.subtract(one, scores["a"])) for name, one in scores.items()}
    assert (
        [text.get_text()[0] for text in ax.texts] == ["◂"] * sum(mean < low for mean in means.values()) != []
    )


def test_models_with_the_intervals_of_their_test():
    result = compare(
        {"m": MeanRegularizedRegressor(0.5)}, DATA.X, DATA.y, DATA.tasks, cv=4, baselines=["single", "mean"]
    )
    display = ComparisonDisplay.from_comparison(result)
    assert [label.split("  ")[0] for label in labels(display.ax_.yaxis)] == list(result.table["model"])
    assert_allclose(display.differences_, result.table["difference"])
    for at, p in enumerate(result.table["p_value"]):
        if not np.isnan(p):  # the interval holds zero where the test says so: the same t
            t = stats.t.isf(p / 2, 3)
            half = abs(display.differences_[at]) / t * stats.t.isf(0.025, 3)
            assert_allclose(display.half_widths_[at], half, rtol=1e-6)
    bold = [label.get_text() for label in display.ax_.get_yticklabels() if label.get_fontweight() == "bold"]
    assert [text.split("  ")[0] for text in bold] == [result.best]
    with pytest.raises(ValueError, match="reference='x' is not one of the models"):
        ComparisonDisplay({"a": [1.0]}, reference="x").plot()


def test_of_suggest():
    found = suggest(DATA.X, DATA.y, DATA.tasks, candidates=["GroupSparseRegressor", "single", "mean"], cv=2)
    display = ComparisonDisplay.from_comparison(found)
    assert display.chosen == found.best
    assert TaskGainDisplay.from_comparison(found).model == found.best


def test_printed_comparisons_name_the_tasks_that_gain_and_lose_most():
    p = make_multitask_regression(30, 12, 5, structure="mean", random_state=0)
    result = compare({"m": Pooled(Ridge())}, p.X, p.y, p.tasks, cv=2, baselines=["single"])
    own = result.per_task.query("model == 'm'").sort_values("gain", ascending=False)
    text = str(result)
    section = text[text.index("tasks with 'm'") :].split("\n\n")[0].splitlines()
    first = next(i for i, line in enumerate(section) if line.startswith("task "))
    assert section[first].split() == ["task", "n_test", "error", "gain", "gain_std"]
    shown = [line.split()[0] for line in section[first + 1 :]]
    assert shown == [*own["task"][:4].astype(str), "...", *own["task"][-4:].astype(str)]
    assert f"<td>{own['task'].iloc[0]}</td>" in result._repr_html_()


# --- convergence ---


def test_convergence_is_that_of_fits():
    model = GroupSparseRegressor(0.1, tol=0.5)
    tols = [1e-1, 1e-3, 1e-5]
    display = ConvergenceDisplay.from_estimator(model, DATA.X, DATA.y, DATA.tasks, tols=tols)
    for at, tol in enumerate(tols):
        one = GroupSparseRegressor(0.1, tol=tol).fit(DATA.X, DATA.y, tasks=DATA.tasks)
        assert_allclose(display.gaps[at], one.dual_gap_ / one.objective_)
        assert display.n_iter[at] == one.n_iter_
    assert model.tol == 0.5 and not hasattr(model, "coef_")
    (line,) = display.iterations_ax_.get_lines()
    assert_array_equal(line.get_xdata(), np.unique(display.n_iter))
    noisy = ConvergenceDisplay([0.1, 0.1, 0.01], n_iter=[5, 5, 9], seconds=[0.004, 0.002, 0.003]).plot()
    (line,) = noisy.seconds_ax_.get_lines()  # two fits end alike: their least time
    assert_allclose(line.get_xydata(), [[2, 0.1], [3, 0.01]])
    assert noisy.seconds_ax_.get_xlabel() == "milliseconds of the fit"
    assert (display.seconds > 0).all() and (np.diff(display.seconds) >= 0).all()
    concave = ConvergenceDisplay.from_estimator(
        GroupSparseRegressor(0.1, norm="mcp"), DATA.X, DATA.y, DATA.tasks, tols=tols
    )
    assert not concave.certified and "least found" in concave.iterations_ax_.get_ylabel()
    inside = steps(MultiTaskRegressor(0.1, task_column="town"))
    inside = ConvergenceDisplay.from_estimator(inside, FRAME, DATA.y, tols=tols)
    assert inside.name == "MultiTaskRegressor"
    assert "a point for each" in display.ax_.get_title()
    closed = ConvergenceDisplay([1e-15, 1e-15], n_iter=[1, 1], seconds=[0.1, 0.2]).plot()
    assert closed.ax_.get_title() == "one solution at every tolerance"
    with pytest.raises(TypeError, match="a model with a tolerance tol is needed; got RANSACRegressor"):
        ConvergenceDisplay.from_estimator(RANSACRegressor(), DATA.X, DATA.y)
    with pytest.raises(TypeError, match="LinearRegression does not tell its objective"):
        ConvergenceDisplay.from_estimator(LinearRegression(), DATA.X, DATA.y)


def test_a_model_without_standard_errors_is_shown(rng):
    X, tasks = rng.normal(size=(120, 3)), np.arange(120) % 4
    with pytest.warns(UserWarning, match="say nothing of the variances"):  # common coefficients separate
        model = skmtl.MeanRegularizedClassifier(alpha="auto").fit(X, X[:, 0] > 0, tasks=tasks)
    assert not hasattr(model, "coef_std_") and "MeanRegularizedClassifier" in model._repr_html_()
    assert skmtl.summary(model).coef.shape == (4, 4)
