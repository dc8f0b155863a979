"""Groups of features: labels from transformers and names, weights, and what the models say of groups."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_layout
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)

from skmtl import (
    GroupSparseClassifier,
    GroupSparseRegressor,
    MultiTaskLasso,
    PathSearchCV,
    TaskStatistics,
    feature_groups,
    path,
)
from skmtl.penalties import L2, Fused, Groups

HALVES = [0, 0, 0, 1, 1, 1]
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({
    "age": RNG.normal(size=80), "body_mass": RNG.normal(size=80), "body": RNG.choice(["short", "tall"], 80),
    "hue": RNG.choice(["dark red", "blue", "a_b"], 80),
})  # fmt: skip
NUMBERS, WORDS = ["age", "body_mass"], ["body", "hue"]
LINES, CURVES = SplineTransformer(2, degree=1), SplineTransformer(3, degree=2)
SPLINES = ["age"] * 4 + ["body_mass"] * 4
SIDE_BY_SIDE = ColumnTransformer(
    [
        ("smooth", make_pipeline(StandardScaler(), SplineTransformer(3, degree=2)), [1, 0]),
        ("nothing", "drop", ["age"]),
        ("one", OneHotEncoder(sparse_output=False), [False, False, True, True]),
        ("again", StandardScaler(), slice("age", "body_mass")),
    ],
    remainder="passthrough",
)
TRANSFORMERS = {
    "splines": (CURVES, NUMBERS, SPLINES),
    "array": (CURVES, None, ["x0"] * 4 + ["x1"] * 4),
    "indicators": (OneHotEncoder(drop="first"), WORDS, ["body", "hue", "hue"]),
    "bins": (KBinsDiscretizer(3), NUMBERS, ["age"] * 3 + ["body_mass"] * 3),
    "powers": (
        PolynomialFeatures(2), NUMBERS, ["1", "age", "body_mass", "age", "age body_mass", "body_mass"]
    ),
    "steps": (
        make_pipeline(PolynomialFeatures(2, include_bias=False), "passthrough", LINES),
        NUMBERS, np.repeat(["age", "body_mass", "age", "age body_mass", "body_mass"], 2).tolist(),
    ),
    "with a model": (make_pipeline(StandardScaler(), MultiTaskLasso()), NUMBERS, NUMBERS),
    "union": (
        FeatureUnion([("a", CURVES), ("b", "drop"), ("c", "passthrough"), ("d", PCA(1))]),
        NUMBERS, [*SPLINES, *NUMBERS, "pca0"],
    ),
    "after a mixture": (make_pipeline(PCA(2), LINES), NUMBERS, ["pca0"] * 2 + ["pca1"] * 2),
    "columns": (
        SIDE_BY_SIDE, NUMBERS + WORDS,
        ["body_mass"] * 4 + ["age"] * 4 + ["body"] * 2 + ["hue"] * 3 + ["age", "body_mass"],
    ),
    "the rest": (
        make_column_transformer((SplineTransformer(3, degree=2), ["age"]), remainder=StandardScaler()),
        NUMBERS, ["age"] * 4 + ["body_mass"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_labels_of_what_transformers_put_out(name):
    transformer, columns, expected = TRANSFORMERS[name]
    transformer, X = clone(transformer), FRAME[NUMBERS].to_numpy() if columns is None else FRAME[columns]
    transformer.fit(X, FRAME["age"])
    assert feature_groups(transformer).tolist() == expected
    steps = transformer[:-1] if name == "with a model" else transformer
    assert len(steps.get_feature_names_out()) == len(expected)
    if columns is not None and "pca0" not in expected and "1" not in expected:
        assert feature_groups(FRAME)(steps.get_feature_names_out()).tolist() == expected


def test_what_has_no_labels_is_said():
    with pytest.raises(NotFittedError):
        feature_groups(SplineTransformer())
    with pytest.raises(TypeError, match="FunctionTransformer has no get_feature_names_out"):
        feature_groups(FunctionTransformer(np.abs).fit(FRAME[NUMBERS]))
    for source in (3, "age"):
        with pytest.raises(TypeError, match="source must be a fitted transformer, the names"):
            feature_groups(source)
    by_name = feature_groups(["age", "body"])
    assert repr(by_name) == "feature_groups(['age', 'body'])"
    with pytest.raises(ValueError, match=r"the columns \['hue'\] begin with none of the names"):
        by_name(["age_sp_0", "hue"])


def test_a_pipeline_names_the_features_in_use():
    """Also after clones, by a search, and with a task column among the columns."""
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(240, 6)), columns=[f"z_{j}" for j in range(6)])
    tasks = np.arange(240) % 4
    y = np.abs(X["z_1"]) * (1 + tasks) / 2 + np.sin(2 * X["z_4"]) + 0.1 * rng.normal(size=240)
    steps = SplineTransformer(4), StandardScaler()
    splines, scaler = (step.set_output(transform="pandas") for step in steps)
    model = GroupSparseRegressor(feature_groups=feature_groups(X))
    search = PathSearchCV(make_pipeline(splines, scaler, model), alphas=[0.4, 0.2], cv=3)
    search.fit(X, y, tasks=tasks)
    found = search.best_estimator_[-1]
    assert found.support_groups_.tolist() == ["z_1", "z_4"] and len(found.support_) == 12
    assert found.feature_groups_.tolist() == np.repeat(X.columns, 6).tolist()
    wide = pd.DataFrame(splines.fit_transform(X)).assign(school=tasks)
    labels = feature_groups(splines)
    for groups in (labels, np.append(labels, "school")):
        other = GroupSparseRegressor(feature_groups=groups, task_column="school")
        other.set_params(alpha=0.4 * other.alpha_max(wide, y)).fit(wide, y)
        assert other.support_groups_.tolist() == ["z_1", "z_4"]
    lasso = GroupSparseRegressor(0.05, task_column="school").fit(wide, y)
    assert set(lasso.support_groups_) == set(wide.columns[lasso.support_])


@pytest.mark.parametrize("kind", ["stacked", "missing", "sparse", "shared"])
def test_groups_along_paths_and_on_moments(kind):
    layout, labels = make_layout(kind), [0, 1, 0, 1, 2, 2]
    model = GroupSparseRegressor(feature_groups=labels, tol=1e-9)
    found = path(model, layout.X, layout.y, layout.tasks, alphas=5, eps=0.05)
    assert not found.coef[0].any() and found.coef[1].any() and (found.gap >= 0).all()
    used = found.coef.any(axis=1)
    assert (used == used[:, [2, 3, 0, 1, 5, 4]]).all()
    assert found.alphas[0] == pytest.approx(model.alpha_max(**layout.fit_args()), rel=1e-12)
    if kind != "missing":
        stats = TaskStatistics.from_arrays(layout.X, layout.y, layout.tasks)
        one, other = (clone(model).set_params(alpha=found.alphas[2]) for _ in range(2))
        one.fit_statistics(stats), other.fit(layout.X, layout.y, tasks=layout.tasks)
        np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-6)
        assert one.support_groups_.tolist() == other.support_groups_.tolist()


def test_groups_of_one_feature_and_one_group_of_all():
    layout = make_layout("stacked")
    alone, plain = GroupSparseRegressor(0.1, feature_groups=list("fedcba")), GroupSparseRegressor(0.1)
    for model in (alone, plain):
        model.set_params(tol=1e-10).fit(**layout.fit_args())
    np.testing.assert_allclose(alone.coef_, plain.coef_, atol=1e-7)
    top = GroupSparseRegressor(feature_groups=[0] * 6).alpha_max(**layout.fit_args())
    assert top == pytest.approx(np.linalg.norm(_slopes(layout)) / 6**0.5, rel=1e-10)


def _slopes(layout):
    """Gradient at zero, (n_tasks, n_features)."""
    return [-(s * (y - s @ y)) @ X for X, y, s in layout.blocks()]


def test_weights_of_groups_and_of_features():
    layout, labels = make_layout("stacked"), ["b", "b", "a", "a", "a", "c"]
    by_feature, by_group, named = (
        [2.0, 2.0, 1.0, 1.0, 1.0, 0.5],
        [1.0, 2.0, 0.5],
        {"b": 2.0, "a": 1.0, "c": 0.5},
    )
    found = [
        GroupSparseRegressor(0.05, feature_groups=labels, feature_weight=w, tol=1e-10).fit(
            **layout.fit_args()
        )
        for w in (by_feature, by_group, named)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].coef_, other.coef_)
    some = GroupSparseRegressor(0.05, feature_groups=labels, feature_weight={"a": 1.0}, tol=1e-10)
    rest = GroupSparseRegressor(0.05, feature_groups=labels, feature_weight=[1, 2**0.5, 1], tol=1e-10)
    for model in (some, rest):
        model.fit(**layout.fit_args())
    np.testing.assert_allclose(some.coef_, rest.coef_, atol=1e-12)
    # a weight is a unit of the coefficients: X / w, W w
    weight = np.array([2.0, 1.0, 0.5, 1.0, 3.0, 1.0])
    one = GroupSparseClassifier(0.02, feature_weight=weight, tol=1e-10).fit(
        layout.X, layout.y > 2, tasks=layout.tasks
    )
    other = GroupSparseClassifier(0.02, tol=1e-10).fit(layout.X / weight, layout.y > 2, tasks=layout.tasks)
    np.testing.assert_allclose(one.coef_, other.coef_ / weight, atol=1e-5)


def test_a_new_task_has_the_features_of_the_groups_in_use():
    layout = make_layout("stacked")
    model = GroupSparseRegressor(0.3, feature_groups=[0, 1, 0, 2, 2, 1]).fit(**layout.fit_args())
    model.fit_task(layout.X[:20], layout.y[:20], task=9)
    assert 0 < len(model.support_) < 6
    assert np.flatnonzero(model.coef_[-1]).tolist() == model.support_.tolist()
    h = 0.3 * 2**0.5 / np.linalg.norm(model.coef_[:4][:, [0, 2]])
    (scalars,) = model._penalty().frozen(model.coef_[:4])
    assert scalars.curvature[0, [0, 2]] == pytest.approx([h, h])


@pytest.mark.parametrize(
    "params, message",
    [
        ({"feature_groups": [0, 1]}, r"one label for each of 6 features; got an array of shape \(2,\)"),
        ({"feature_groups": lambda names: names[1:]}, r"each of 6 features; got an array of shape \(5,\)"),
        ({"feature_groups": [[0] * 6]}, r"got an array of shape \(1, 6\)"),
        ({"feature_weight": [1.0, 2.0]}, "for each of 6 features or 6 groups"),
        ({"feature_weight": [1, 2, 3, 4, 5, -1]}, "finite number >= 0"),
        ({"feature_groups": HALVES, "feature_weight": [1, 2, 2, 1, 1, 1]}, "same for all features"),
        ({"feature_groups": HALVES, "feature_weight": {2: 1.0}}, r"\[2\] are no groups"),
    ],
)  # fmt: skip
def test_groups_that_do_not_fit_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        GroupSparseRegressor(0.1, **params).fit(**make_layout("stacked").fit_args())


@pytest.mark.parametrize(
    "penalty, message",
    [
        (Groups(L2(), [0, 1]), "a label for each of 3 features; got 2 labels"),
        (Groups(L2(), [[0, 1, 1]]), "one label per feature, 1-D"),
        (Groups(L2(), [0, 1, 1], [1.0]), "one finite number >= 0 for each of 2 groups"),
        (Groups(L2(), [0, 1, 1], [1.0, -1.0]), "one finite number >= 0 for each of 2 groups"),
        (Groups(Fused(), [0, 1, 1]), "the order of entries has no meaning"),
    ],
)
def test_penalties_that_do_not_fit_are_refused(penalty, message):
    with pytest.raises(ValueError, match=message):
        penalty.value(np.ones((2, 3)))


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "poisson"])
@pytest.mark.parametrize("norm, size", [("l2", 1), ("linf", 1), ("sparse", 1), ("l2", 2)])
def test_features_without_a_penalty_in_any_units(loss, norm, size):
    """Without a certificate the point where solvers stop depended on units, 0.2 % above the optimum."""
    rng = np.random.default_rng(1)
    tasks, X = np.repeat(np.arange(4), 100), rng.normal(size=(400, 8))
    eta = (X * rng.normal(size=(4, 8))[tasks]).sum(axis=1)
    eta /= eta.std()
    if loss == "log_loss":
        model, y = GroupSparseClassifier(0.02), eta + rng.logistic(size=400) > 0
    else:
        model = GroupSparseRegressor(0.05, loss=loss)
        y = rng.poisson(np.exp(eta)) if loss == "poisson" else eta + rng.normal(size=400)
    groups, weight = np.arange(8) // size, np.ones(8)
    unit = (10.0 ** rng.uniform(-2, 2, size=8))[groups]
    weight[:2] = 0.0
    # v_g f(W_g) is the same where columns are divided by units that their weights are multiplied by
    model.set_params(norm=norm, feature_groups=groups)
    found = clone(model).set_params(feature_weight=weight / unit).fit(X / unit, y, tasks=tasks)
    certified = clone(model).set_params(feature_weight=np.where(weight > 0, weight, 1e-6), tol=1e-7)
    expected = certified.fit(X, y, tasks=tasks)
    assert expected.dual_gap_ < 1e-5 and found.n_iter_ <= 200
    assert found.objective_ == pytest.approx(expected.objective_, rel=1e-5)
