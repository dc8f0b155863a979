"""The shared MLP: gradients, layouts, weights of tasks, stopping, and what scikit-learn asks of it."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # read at the first import of scipy; else one check is skipped

import inspect
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import NETWORKS, cut_networks
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.estimator_checks import check_estimator

import skmtl
from skmtl import MultiTaskMLP, MultiTaskMLPClassifier, MultiTaskMLPRegressor, losses
from skmtl.neural_network._network import Network
from skmtl.neural_network._rows import Rows, RowSpace

pytestmark = cut_networks

CLASSES = [MultiTaskMLP, MultiTaskMLPClassifier, MultiTaskMLPRegressor]
SHARING = ["hard", "attention", "soft"]
T = 3
LOSSES = {
    "squared": [losses.SquaredError()] * T,
    "huber": [losses.Huber()] * T,
    "poisson": [losses.Poisson()] * T,
    "two classes": [losses.Logistic()] * T,
    "four classes": [losses.Multinomial(4)] * T,
    "mixed": [losses.SquaredError(), losses.Logistic(), losses.Multinomial(3)],
}
LAYOUTS = ("stacked", "shared", "missing", "stacked sparse", "shared sparse")


# the search for strengths is one for all classes, and classes in held-out rows are its hardest case
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 30, "tol": 1e-2}
FIXED = [MultiTaskMLP(alpha=0.01, **SMALL), MultiTaskMLPRegressor(alpha=0.01, **SMALL)]


@pytest.mark.parametrize("estimator", [MultiTaskMLPClassifier(**SMALL), *FIXED], ids=repr)
def test_sklearn_checks(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert [result for result in results if result["status"] != "passed"] == []


# --- the network ---


def targets(loss, rng, size):
    if isinstance(loss, losses.Multinomial):
        return rng.integers(loss.n_classes, size=size).astype(float)
    if isinstance(loss, losses.Logistic):
        return rng.integers(2, size=size).astype(float)
    return (
        rng.poisson(2.0, size=size).astype(float)
        if isinstance(loss, losses.Poisson)
        else rng.normal(size=size)
    )


def make_rows(layout, own, rng, n=12, p=3):
    X = rng.normal(size=(n, p))
    X = sparse.csr_matrix(X * (rng.random(X.shape) < 0.6)) if "sparse" in layout else X
    if "stacked" in layout:
        codes = np.sort(rng.integers(T, size=n))
        y = np.concatenate([targets(loss, rng, np.sum(codes == t)) for t, loss in enumerate(own)])
        return Rows(X, y, rng.random(n), codes, T)
    y = np.column_stack([targets(loss, rng, n) for loss in own])
    weight = rng.random(y.shape) * (rng.random(y.shape) < 0.7 if layout == "missing" else 1.0)
    return Rows(X, np.where(weight > 0, y, 0.0), weight)


def make_network(own, sharing="hard", activation="tanh", coupling=0.3, p=3):
    return Network(
        p, own, hidden=(4, 2), activation=activation, sharing=sharing, n_experts=2,
        coupling=coupling, dtype=np.float64,
    )  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sharing", SHARING)
def test_gradient_equals_central_differences(sharing, layout, rng):
    """For every loss; the rectifier is differentiable but in single points, which random ones do not meet."""
    turn = LAYOUTS.index(layout) + SHARING.index(sharing)
    activation = ("relu", "tanh", "logistic")[turn % 3]  # all with each layout and with each way of sharing
    for name, own in LOSSES.items():
        network, rows = make_network(own, sharing, activation), make_rows(layout, own, rng)
        theta = network.start(rng, 0.1) + 0.1 * rng.normal(size=network.size)
        gradient, unused = np.empty(network.size), np.empty(network.size)
        network.head_alpha, network.intercept_alpha = 0.7, 0.4
        network.gradient(network.views(theta), rows, 0.2, network.views(gradient), 1.7)

        def objective(x, network=network, rows=rows, unused=unused):
            return network.gradient(network.views(x), rows, 0.2, network.views(unused), 1.7)

        step = 1e-6
        for e in rng.normal(size=(5, network.size)):  # in the direction of all parameters at once
            found = (objective(theta + step * e) - objective(theta - step * e)) / (2 * step)
            assert abs(found - gradient @ e) <= 1e-6 * np.linalg.norm(gradient), name


@pytest.mark.parametrize("sharing", SHARING)
def test_predictor_of_own_task_is_a_column_of_all(sharing, rng):
    network = make_network(LOSSES["four classes"], sharing)
    theta, X = rng.normal(size=network.size), rng.normal(size=(20, 3))
    codes = rng.integers(T, size=20)  # in any order
    every = network.predict(theta, X)
    np.testing.assert_allclose(network.predict(theta, X, codes), every[np.arange(20), codes], rtol=1e-12)
    np.testing.assert_allclose(
        network.predict(theta, sparse.csr_matrix(X), codes), every[np.arange(20), codes]
    )


def test_soft_sharing_without_coupling_is_a_network_per_task(rng):
    own = LOSSES["squared"]
    network, rows = make_network(own, "soft", coupling=0.0), make_rows("stacked", own, rng)
    theta = rng.normal(size=network.size)
    P, total = network.views(theta), 0.0
    for t in range(T):
        one = make_network(own[:1], "soft", coupling=0.0)
        part = np.concatenate([value[t].ravel() for value in P.values()])
        at = rows.codes == t
        single = Rows(rows.X[at], rows.y[at][:, None], rows.weight[at][:, None])
        total += one.gradient(one.views(part), single, 0.2, one.views(np.empty(one.size)))
    assert network.gradient(P, rows, 0.2, network.views(np.empty(network.size))) == pytest.approx(
        total, rel=1e-12
    )


@pytest.mark.parametrize("layout", ["shared", "stacked", "stacked sparse"])
@pytest.mark.parametrize("sharing", SHARING)
def test_network_of_the_row_space_is_the_network(sharing, layout, rng):
    """Same objective, gradient and predictions, for weights of the first layer in the span of the rows."""
    own = LOSSES["squared"]
    rows = make_rows(layout, own, rng, n=12, p=40)
    space = RowSpace(rows.X)
    narrow_rows = replace(rows, X=space.Z)
    wide = make_network(own, sharing, p=40)
    narrow = make_network(own, sharing, p=space.Z.shape[1])
    small = rng.normal(size=narrow.size)
    large = space.up(small, narrow)[0]
    np.testing.assert_allclose(space.down(large, wide)[0], small, rtol=1e-8, atol=1e-10)
    values, slopes = [], []
    for network, theta, data in ((wide, large, rows), (narrow, small, narrow_rows)):
        slope = np.empty(network.size)
        values.append(network.gradient(network.views(theta), data, 0.2, network.views(slope)))
        slopes.append(slope)
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    scale = np.abs(slopes[0]).max()
    np.testing.assert_allclose(space.up(slopes[1], narrow)[0], slopes[0], atol=1e-9 * scale)
    X, Z, codes = rows.X, space.Z, rows.codes
    np.testing.assert_allclose(wide.predict(large, X, codes), narrow.predict(small, Z, codes), rtol=1e-8)


def test_row_space_keeps_small_directions_of_single_precision(rng):
    """Down to a thousandth of the largest; X is exact, whatever its precision."""
    X = (rng.normal(size=(80, 80)) * np.geomspace(1, 1e-3, 80)[:, None] @ rng.normal(size=(80, 200))).astype(
        "f"
    )
    space = RowSpace(X)
    assert space.Z.shape == (80, 80) and space.Z.dtype == np.float32
    np.testing.assert_allclose(space.Z @ space.Z.T, X @ X.T, rtol=1e-4, atol=1e-5 * np.abs(X @ X.T).max())


@pytest.mark.parametrize("p", [80, 200])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_more_features_than_rows(kind, p):
    """Fitted on the row space: what the rows do not span has no weight."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, p)) * (rng.random((60, p)) < 0.5)
    Y = np.tanh(X[:, :5] @ rng.normal(size=(5, 3)))
    net = model().fit(kind(X), Y)
    W = net.coefs_["W0"][0]
    assert W.shape == (p, 8) and net.score(kind(X), Y) > 0.9
    outside = W - np.linalg.pinv(X) @ (X @ W)
    assert np.abs(outside).max() < 1e-8
    again = clone(net).set_params(warm_start=True).fit(kind(X), Y)
    first = again.loss_
    assert again.fit(kind(X), Y).loss_curve_[0] <= first  # goes on where it stopped


def test_rows_that_repeat_are_fewer_rows(rng):
    """Five rows with three labels each are five rows, also where they are written as fifteen."""
    X, Y = rng.normal(size=(5, 8)), rng.normal(size=(5, 3))
    options = {"hidden_layer_sizes": (4,), "alpha": 1e-3, "max_iter": 30, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        shared = MultiTaskMLPRegressor(**options).fit(X, Y).predict(X)
        long = MultiTaskMLPRegressor(**options).fit(
            np.tile(X, (3, 1)), Y.T.ravel(), tasks=np.repeat([0, 1, 2], 5)
        )
    np.testing.assert_allclose(
        long.predict(np.tile(X, (3, 1)), tasks=np.repeat([0, 1, 2], 5)), shared.T.ravel(), atol=1e-6
    )


@pytest.mark.parametrize("p", [4, 300])
def test_partial_fit_keeps_the_strengths_of_a_fit(p):
    X, Y = np.random.default_rng(0).normal(size=(60, p)), problem(n=60)[1]
    Y /= Y.std(axis=0)
    net = model(alpha="auto", max_iter=400).fit(X, Y)
    names = "alpha_", "head_alpha_", "intercept_alpha_"
    before = [getattr(net, name) for name in names]
    assert before[2] > 0
    assert [getattr(net.partial_fit(X, Y), name) for name in names] == before
    assert (net._network_.head_alpha or net.alpha_, net._network_.intercept_alpha) == tuple(before[1:])
    first = model(head_alpha=0.3).partial_fit(X, Y)
    assert (first.alpha_, first.head_alpha_) == (0.05, 0.3) and first.intercept_alpha_ > 0


# --- layouts and weights ---


def problem(seed=0, n=90, n_tasks=3, p=4, noise=0.1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    H = np.tanh(X @ rng.normal(size=(p, 3)))
    Y = H @ rng.normal(size=(3, n_tasks)) * [10.0, 1.0, 0.1][:n_tasks] + 5
    return X, Y + noise * Y.std(axis=0) * rng.normal(size=Y.shape)


def model(cls=MultiTaskMLPRegressor, **parameters):
    defaults = {
        "hidden_layer_sizes": (8, 5),
        "alpha": 0.05,
        "random_state": 0,
        "activation": "tanh",
        "max_iter": 40,
    }
    return cls(**{**defaults, **parameters})


def stacked(X, Y):
    """The cells of Y with a label as rows of their own."""
    rows, tasks = np.nonzero(~np.isnan(Y))
    return X[rows], Y[rows, tasks], tasks


@pytest.mark.parametrize("sharing", SHARING)
def test_ways_of_giving_tasks_agree(sharing):
    X, Y = problem()
    Y[np.random.default_rng(1).random(Y.shape) < 0.3] = np.nan
    parameters = {"sharing": sharing, "max_iter": 15}
    expected = model(**parameters).fit(X, Y).predict(X)
    Xs, ys, tasks = stacked(X, Y)
    one = model(**parameters).fit(Xs, ys, tasks=tasks)
    frame = pd.DataFrame(Xs, columns=list("abcd")).assign(task=tasks)
    two = model(**parameters, task_column="task").fit(frame, ys)
    three = model(**parameters, task_column=-1).fit(frame.to_numpy(), ys)
    rows, columns = np.nonzero(~np.isnan(Y))
    for found in (one.predict(Xs, tasks=tasks), two.predict(frame), three.predict(frame.to_numpy())):
        np.testing.assert_allclose(found, expected[rows, columns], rtol=1e-5, atol=1e-5)
    assert two.n_features_in_ == 5 and two.coefs_["W0"].shape[1] == 4


def test_rows_without_any_label_do_not_matter():
    X, Y = problem()
    Y[::4] = np.nan
    some = ~np.isnan(Y).all(axis=1)
    one, two = model(alpha="auto").fit(X, Y), model(alpha="auto").fit(X[some], Y[some])
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


@pytest.mark.parametrize("sharing", ["hard", "attention", "soft"])
def test_weights_are_repetitions(sharing):
    """To the last bit, hold-out and choice of alpha included."""
    X, Y = problem(n=60)
    times = np.random.default_rng(0).integers(0, 4, size=60)
    parameters = {"sharing": sharing, "alpha": "auto", "max_iter": 20, "hidden_layer_sizes": (4,)}
    one = model(**parameters).fit(X, Y, sample_weight=times)
    two = model(**parameters).fit(X.repeat(times, axis=0), Y.repeat(times, axis=0))
    assert one.alpha_ == two.alpha_
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("sharing", ["hard", "attention", "soft"])
def test_sparse_equals_dense(sharing, solver):
    X, Y = problem()
    X[np.random.default_rng(2).random(X.shape) < 0.5] = 0.0
    parameters = {"sharing": sharing, "solver": solver, "max_iter": 10, "early_stopping": False}
    one = model(**parameters).fit(X, Y)
    two = model(**parameters).fit(sparse.csc_matrix(X), Y)
    np.testing.assert_allclose(two.predict(sparse.csr_matrix(X)), one.predict(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(two.transform(sparse.csr_matrix(X)), one.transform(X), rtol=1e-6, atol=1e-6)


def test_sparse_columns_far_from_zero_are_those_of_an_array():
    X, Y = problem()
    X[:, 0] += 1e3
    X[:, 1:][np.random.default_rng(2).random(X[:, 1:].shape) < 0.5] = 0.0
    one, two = model().fit(X, Y), model().fit(sparse.csr_array(X), Y)
    ask = np.vstack([X, np.zeros((1, X.shape[1]))])  # a zero that no training row has
    np.testing.assert_allclose(two.predict(sparse.csr_array(ask)), one.predict(ask), rtol=1e-6, atol=1e-6)


def test_units_of_targets_do_not_matter():
    X, Y = problem()
    expected = model().fit(X, Y).predict(X)
    scale, shift = np.array([1e-3, 7.0, 1e4]), np.array([0.0, -3.0, 1e4])
    np.testing.assert_allclose(
        model().fit(X, scale * Y + shift).predict(X), scale * expected + shift, rtol=1e-6
    )


# --- training ---


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_random_state_decides(solver):
    X, Y = problem()
    fits = [model(solver=solver, alpha="auto", random_state=seed).fit(X, Y).predict(X) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert np.abs(fits[0] - fits[2]).max() > 1e-6


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("sharing", ["hard", "attention", "soft"])
def test_fits_nonlinear_tasks(sharing, solver):
    X, Y = problem(n=400, noise=0.02)
    step = {"learning_rate_init": 0.01, "batch_size": 50} if solver == "adam" else {}
    fitted = model(sharing=sharing, solver=solver, alpha=1e-4, max_iter=150, **step).fit(X[:300], Y[:300])
    assert fitted.score(X[300:], Y[300:]) > 0.9 > Ridge().fit(X[:300], Y[:300]).score(X[300:], Y[300:])
    assert len(fitted.loss_curve_) == fitted.n_iter_ and fitted.loss_ < fitted.loss_curve_[0]


def test_single_precision_stays_single():
    X, Y = problem()
    one, two = model().fit(X.astype(np.float32), Y), model().fit(X, Y)
    assert one.coefs_["W0"].dtype == one.transform(X).dtype == np.float32
    assert two.coefs_["W0"].dtype == two.transform(X).dtype == np.float64
    assert abs(one.score(X, Y) - two.score(X, Y)) < 0.02


def test_alpha_is_chosen_on_held_out_rows():
    X, Y = problem(n=545, noise=0.5)
    X, Y, X_new, Y_new = X[:45], Y[:45], X[45:], Y[45:]
    fitted = model(alpha="auto", max_iter=400).fit(X, Y)
    top = max(fitted.alpha_scores_.values())  # those within 2 % count as equal
    assert fitted.alpha_scores_[fitted.alpha_] >= top - 0.02 * abs(top)
    assert fitted.score(X_new, Y_new) > model(alpha=1e-4, max_iter=100).fit(X, Y).score(X_new, Y_new)


def tanh_features(seed, n, n_tasks=20, p=20, n_hidden=8):
    """Rows for training, with noise, and for testing, without: y = tanh(A x) . v_t."""
    rng = np.random.default_rng(seed)
    A, V = rng.normal(size=(p, n_hidden)), rng.normal(size=(n_tasks, n_hidden))
    A *= 2 / np.linalg.norm(A, axis=0)
    for noise, size in ((0.3, n), (0.0, 100)):
        X, tasks = rng.normal(size=(n_tasks * size, p)), np.repeat(np.arange(n_tasks), size)
        y = (np.tanh(X @ A) * V[tasks]).sum(axis=1)
        yield X, y + noise * y.std() * rng.normal(size=len(y)), tasks


def test_layers_are_chosen_on_held_out_rows():
    """As good as the layers of the truth; a wide network and a network of rectifiers are far behind."""
    (X, y, tasks), (X_test, y_test, new) = tanh_features(4, 50)

    def error(**parameters):
        net = MultiTaskMLPRegressor(random_state=0, **parameters).fit(X, y, tasks=tasks)
        assert net.n_iter_ <= net.max_iter
        return net, np.mean((net.predict(X_test, tasks=new) - y_test) ** 2) / y_test.var()

    net, chosen = error()
    assert net.activation_ == "tanh" and net.hidden_layer_sizes_ == (8,)
    assert net.coefs_["W0"].shape == (1, 20, 8)
    assert chosen < 1.5 * error(hidden_layer_sizes=8, activation="tanh")[1]
    assert chosen < 0.5 * error(hidden_layer_sizes=(64, 32))[1]
    linear = MultiTaskMLPRegressor(random_state=0).fit(X, X[:, 0] + X[:, 1], tasks=tasks)
    assert linear.activation_ == "identity"


def test_what_is_given_is_not_chosen():
    X, Y = problem()
    net = MultiTaskMLPRegressor(random_state=0, activation="logistic", alpha=0.01).fit(X, Y)
    assert net.activation_ == "logistic" and net.alpha_ == 0.01 and net.hidden_layer_sizes_[0] <= 32
    assert net.set_params(warm_start=True).fit(X, Y).hidden_layer_sizes_ == net.hidden_layer_sizes_
    few = MultiTaskMLPRegressor(random_state=0, max_iter=20).fit(X, Y)
    assert few.hidden_layer_sizes_ == (64, 32) and few.activation_ == "relu"
    given = MultiTaskMLPRegressor(random_state=0, hidden_layer_sizes=5, max_iter=20).fit(X, Y)
    assert given.hidden_layer_sizes_ == (5,) and given.activation_ == "relu"


def test_early_stopping_takes_the_best():
    X, Y = problem(n=60, noise=1.0)
    fitted = model(alpha=1e-6, early_stopping=True, max_iter=400, n_iter_no_change=3).fit(X, Y)
    assert len(fitted.validation_scores_) == len(fitted.loss_curve_) == fitted.n_iter_ < 400
    assert np.argmax(fitted.validation_scores_) < fitted.n_iter_ - 1


def test_huge_coupling_leaves_one_network():
    X, Y = problem()
    coupled = model(sharing="soft", coupling=1e6, max_iter=200).fit(X, Y)
    free = model(sharing="soft", coupling=0.0, max_iter=200).fit(X, Y)

    def spread(fitted):
        return max(np.ptp(value, axis=0).max() for value in fitted.coefs_.values())

    assert spread(coupled) < 1e-3 < 0.1 < spread(free)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_weights_of_tasks(solver):
    X, Y = problem()
    Y[30:, 2] = np.nan  # few labels
    rng = np.random.default_rng(0)
    Y[:, 1] = rng.normal(size=90)  # and one that is noise
    common = {"solver": solver, "max_iter": 60, "learning_rate_init": 0.02, "batch_size": 20}
    found = {name: model(task_weight=name, **common).fit(X, Y).task_weight_
             for name in ("size", "equal", "uncertainty", "dynamic")}  # fmt: skip
    np.testing.assert_allclose(found["size"], np.array([90, 90, 30]) / 70)
    np.testing.assert_allclose(found["equal"], 1.0)
    assert found["uncertainty"][1] < 0.7 * found["uncertainty"][0]
    assert found["dynamic"].sum() == pytest.approx(3.0) and (found["dynamic"] > 0).all()
    heavy = model(task_weight={0: 1, 1: 1, 2: 1000.0}, solver="lbfgs").fit(X, Y)
    equal = model(task_weight="equal", solver="lbfgs").fit(X, Y)
    error = [np.nanmean((m.predict(X) - Y)[:, 2] ** 2) for m in (heavy, equal)]
    assert error[0] < error[1]


@pytest.mark.parametrize(("solver", "rate"), [("adam", "learning_rate_init=1e"), ("lbfgs", "solver='lbfgs'")])
def test_leaving_the_numbers_is_an_error(solver, rate):
    X, Y = problem()
    for size in (1e200, 1e300):
        strength = {"alpha": size * 1e7} if solver == "lbfgs" else {"learning_rate_init": size}
        net = model(solver=solver, activation="relu", **strength)
        with pytest.raises(ValueError, match=rf"epoch \d+: .*{rate}") as caught:
            net.fit(X, Y)
        assert "task" in str(caught.value) and isinstance(caught.value, FloatingPointError)
        assert not hasattr(net, "coefs_")


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("budget", [1, 7, 60])
def test_max_iter_is_that_of_the_whole_fit(budget, solver):
    X, Y = problem()
    for weight in ("size", "uncertainty", "dynamic"):
        for alpha in (0.05, "auto"):
            net = model(max_iter=budget, solver=solver, alpha=alpha, task_weight=weight).fit(X, Y)
            assert net.n_iter_ <= budget and np.isfinite(net.predict(X)).all()


def test_the_end_of_max_iter_is_said_and_a_training_that_led_nowhere():
    """What has converged, by itself or by rows that are held out, says nothing."""
    (X, y, tasks), _ = tanh_features(4, 50, n_tasks=8, p=8)
    steps = {"hidden_layer_sizes": (8,), "alpha": 0.01}
    few = [
        {"max_iter": 1},
        {"max_iter": 2},
        {"max_iter": 2, "solver": "adam"},
        {"max_iter": 60, "alpha": 1e-3},
    ]
    few += [{"max_iter": 3, **steps}, {"max_iter": 2, "solver": "adam", **steps}]
    for given in few:
        net = MultiTaskMLPRegressor(random_state=0, **given)
        with pytest.warns(ConvergenceWarning, match=f"max_iter={net.max_iter} before .* Increase|increase"):
            assert net.fit(X, y, tasks=tasks).n_iter_ <= net.max_iter
    far = MultiTaskMLPRegressor(random_state=0, solver="adam", learning_rate_init=1e3, max_iter=50, **steps)
    with pytest.warns(
        ConvergenceWarning, match="loss of .* where constants have .* lower learning_rate_init"
    ):
        assert far.fit(X, y, tasks=tasks).score(X, y, tasks=tasks) < 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in ({}, {"early_stopping": True}, {"solver": "adam"}, steps, {**steps, "solver": "adam"}):
            MultiTaskMLPRegressor(random_state=0, **given).fit(X, y, tasks=tasks)
        MultiTaskMLPRegressor(random_state=0).fit(X[:9], np.ones(9))  # nothing to be better at
        MultiTaskMLPClassifier(random_state=0).fit(X, y > 0, tasks=tasks)
        counts = np.random.default_rng(0).poisson(np.exp(y / 4))
        MultiTaskMLPRegressor(random_state=0, loss="poisson").fit(X, counts, tasks=tasks)


def test_max_iter_holds_where_layers_are_chosen():
    (X, y, tasks), _ = tanh_features(4, 50)
    for budget in (600, 620):
        assert MultiTaskMLPRegressor(random_state=0, max_iter=budget).fit(X, y, tasks=tasks).n_iter_ <= budget


def test_callbacks_of_scikit_learn():
    """From 1.9 on: one task per epoch, a model that predicts at the end of each, and a way to stop."""
    callback = pytest.importorskip("sklearn.callback")
    X, Y = problem()
    for solver in ("lbfgs", "adam"):
        monitor = callback.ScoringMonitor(scoring="r2")
        net = model(solver=solver, max_iter=6, early_stopping=False).set_callbacks(monitor)
        score = make_pipeline(StandardScaler(), net).fit(X, Y).score(X, Y)
        scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
        assert len(scores) == 6 == net.n_iter_ and scores[-1] == pytest.approx(score)

    class Stop:
        def setup(self, estimator, context):
            self.epochs = 0

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.epochs += context.task_name == "epoch"
            return self.epochs == 3

        def teardown(self, estimator, context):
            pass

    assert model().set_callbacks(Stop()).fit(X, Y).n_iter_ == 3
    searched = model(alpha="auto", max_iter=200).set_callbacks(Stop()).fit(X, Y)  # ends the search too
    assert len(searched.alpha_scores_) == 1 and len(searched.loss_curve_) == 1


def test_warm_start_goes_on():
    X, Y = problem()
    fitted = model(warm_start=True, max_iter=10).fit(X, Y)
    before = fitted.loss_
    assert fitted.fit(X, Y).loss_ < before < model(max_iter=1).fit(X, Y).loss_


def test_partial_fit_knows_classes_that_come_later():
    X, Y = problem()
    three = np.digitize(Y[:, 0], np.quantile(Y[:, 0], [0.3, 0.6])).astype(float)
    few = three < 2  # the third class is not in the first rows
    both = np.column_stack([three, Y[:, 1]])
    net = model(MultiTaskMLP, losses={0: "log_loss", 1: "squared_error"}).partial_fit(X[few], both[few])
    with pytest.raises(ValueError, match=r"not seen in fit: \[2.0\]"):
        net.partial_fit(X, both)
    labels = np.column_stack([three, Y[:, 1] > 5])
    net = model(MultiTaskMLPClassifier).partial_fit(X[few], labels[few], [[0, 1, 2], [0, 1]])
    assert [len(classes) for classes in net.partial_fit(X, labels).classes_] == [3, 2]
    with pytest.raises(ValueError, match="one array per task; got 3 for 2"):
        model(MultiTaskMLPClassifier).partial_fit(X, labels, [[0, 1], [0, 1], [0, 1]])


def test_partial_fit_keeps_its_network_and_refuses_other_classes():
    X, Y = np.eye(6)[:, :3], np.array([0, 1, 0, 1, 0, 1])
    net = model(MultiTaskMLPClassifier).partial_fit(X, Y, classes=[0, 1, 2])
    net.set_params(sharing="attention").partial_fit(X, Y, classes=[2, 1, 0])  # as with other layers
    assert net.transform(X).shape[1] == net.hidden_layer_sizes_[-1] == len(net.get_feature_names_out())
    with pytest.raises(
        ValueError, match=r"classes must be those of the first call, \[0, 1, 2\].* got \[0, 1\]"
    ):
        net.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must hold positive integers.*\(True,\)"):
        model(MultiTaskMLPRegressor, hidden_layer_sizes=(True,)).fit(X, Y)


def test_partial_fit_learns():
    X, Y = problem(n=300)
    net = model(learning_rate_init=0.01, batch_size=30, alpha=1e-4)
    for _ in range(60):
        for rows in (slice(0, 150), slice(150, 300)):
            net.partial_fit(X[rows], Y[rows])
    assert net.score(X, Y) > 0.9 and net.n_iter_ == 120
    Xs, ys, tasks = stacked(X, (Y > 5).astype(float))
    names = np.array(["a", "b", "c"])[tasks]
    net = model(MultiTaskMLPClassifier, learning_rate_init=0.01, batch_size=30, alpha=1e-4)
    net.partial_fit(Xs, ys, classes=[0, 1, 2], tasks=names)
    for _ in range(40):
        net.partial_fit(Xs[names != "b"], ys[names != "b"], tasks=names[names != "b"])
    assert net.classes_.tolist() == [0, 1, 2] and net.score(Xs, ys, tasks=names) > 0.6
    with pytest.raises(ValueError, match=r"not seen in fit: \[7"):
        net.partial_fit(Xs[:1], [7], tasks=names[:1])
    with pytest.raises(ValueError, match="not seen in fit"):
        net.partial_fit(Xs[:1], [1], tasks=["d"])


# --- kinds of tasks ---


def test_tasks_of_different_kinds():
    X, Y = problem(n=200)
    y = np.empty((200, 3), dtype=object)
    y[:, 0], y[:, 1], y[:, 2] = (
        Y[:, 0],
        np.where(Y[:, 1] > 5, "high", "low"),
        np.digitize(Y[:, 2], [4.97, 5.03]),
    )
    y[::5, 1] = None
    kinds = {0: "huber", 1: "log_loss", 2: "log_loss"}
    net = model(MultiTaskMLP, losses=kinds, alpha=1e-3, max_iter=100).fit(X, y)
    assert net.score(X, y) > 0.85 and set(net.classes_) == {1, 2}
    assert [tasks for _, tasks in net._network_.kinds] == [[0], [1], [2]]  # the same sums in every process
    p = net.predict_proba(X)
    assert p[1].shape == (200, 2) and p[2].shape == (200, 3)
    np.testing.assert_allclose(p[2].sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="root_squared_error"):
        model(MultiTaskMLP, losses={0: losses.RootSquaredError(), 1: "log_loss", 2: "log_loss"}).fit(X, y)


def test_coarse_labels_help_fine_ones():
    """Handwritten digits: 50 with their number, 950 more with that of their pair."""
    X, digit = load_digits(return_X_y=True)
    X, Y = X / 16, np.column_stack([digit, digit // 2]).astype(float)
    Y[50:, 0] = np.nan
    net = MultiTaskMLPClassifier(random_state=0).fit(X[:1000], Y[:1000])
    assert [len(own) for own in net.classes_] == [10, 5]
    alone = MultiTaskMLPClassifier(random_state=0).fit(X[:50], digit[:50])
    accuracy = np.mean(net.predict(X[1000:])[:, 0] == digit[1000:])
    assert accuracy > 0.8 and accuracy > alone.score(X[1000:], digit[1000:]) + 0.05


def test_targets_far_off_are_nothing_to_the_loss_of_huber():
    """Scales are those of medians: of 200 rows one of 1e4 made the error of the others 600 times as large."""
    rng = np.random.default_rng(0)
    tasks, X = np.repeat(np.arange(5), 40), rng.normal(size=(200, 4))
    y = np.tanh(X @ rng.normal(size=4)) * 3 + tasks + 0.1 * rng.normal(size=200)
    net = MultiTaskMLPRegressor(loss="huber", random_state=0)
    errors, kept = [], np.arange(200) != 5
    for off in (y[5], 1e4, -1e6):
        left = net.fit(X, np.where(kept, y, off), tasks=tasks).predict(X, tasks=tasks) - y
        errors.append(np.sqrt(np.mean(left[kept] ** 2)))
    assert max(errors) < 2 * errors[0] < 0.3
    Y = np.where(rng.random((40, 5)) < 0.2, np.nan, y.reshape(5, 40).T)  # missing labels, and weights
    few = model(loss="huber", alpha=0.1, intercept_alpha=0.0).fit(X[:40], Y)
    np.testing.assert_allclose(few._center_, np.nanmedian(Y, axis=0))
    off = np.abs(Y - few._center_)
    np.testing.assert_allclose(few._scale_, 1.4826 * np.nanmedian(off, axis=0))
    most = np.where(np.arange(40) < 30, 1.0, y[:40])  # no deviation in the median
    few.fit(X[:40], most)
    np.testing.assert_allclose([few._center_[0], few._scale_[0]], [most.mean(), most.std()])


def test_counts():
    X, Y = problem(n=300)
    rate = np.exp((Y - Y.mean(axis=0)) / Y.std(axis=0) + [2.0, 0.0, 1.0])
    counts = np.random.default_rng(0).poisson(rate).astype(float)
    net = model(loss="poisson", alpha=0.1, max_iter=100).fit(X, counts)
    assert (net.predict(X) > 0).all() and np.corrcoef(net.predict(X).ravel(), rate.ravel())[0, 1] > 0.9
    with pytest.raises(ValueError, match="y >= 0"):
        net.fit(X, -counts)


class Gamma(losses.Loss):
    """Half the gamma deviance with the log link: of y > 0 only."""

    def value(self, y, eta):
        return y * np.exp(-eta) + eta - np.log(y) - 1.0

    def gradient(self, y, eta):
        return 1.0 - y * np.exp(-eta)


@pytest.mark.filterwarnings("error", "ignore:.*max_iter=")
def test_missing_labels_ask_nothing_of_a_loss():
    X, Y = problem()
    Y = np.where(np.arange(Y.size).reshape(Y.shape) % 5 == 0, np.nan, np.exp(Y))
    weight = np.where(Y < 0.5, 0.0, 1.0)
    net = model(loss=Gamma(), alpha=0.1).fit(X, np.where(weight > 0, Y, -1.0), sample_weight=weight)
    np.testing.assert_array_equal(net.predict(X), net.fit(X, np.where(weight > 0, Y, np.nan)).predict(X))
    net.partial_fit(X[:5], np.column_stack([np.full((5, 1), np.nan), Y[:5, 1:]]))
    assert np.isfinite([*net.loss_curve_, net.loss_]).all()


# --- around the network ---


def test_serves_as_a_step_before_any_estimator():
    X, Y = problem()
    frame = pd.DataFrame(X, columns=list("abcd"))
    net = model()
    pipe = make_pipeline(StandardScaler(), net, Ridge(alpha=1e-3)).fit(frame, Y)
    assert pipe.score(frame, Y) > 0.9
    names = pipe[:-1].get_feature_names_out()
    assert names.tolist() == [f"multitaskmlpregressor{k}" for k in range(5)]
    shown = clone(net).set_output(transform="pandas").fit(frame, Y).transform(frame)
    assert shown.columns.tolist() == names.tolist()
    Z = net.transform(StandardScaler().fit_transform(X))
    P = net.coefs_
    eta = Z @ P["heads"][:, 0].T + P["offsets"][:, 0]
    expected = net.predict(StandardScaler().fit_transform(X))
    np.testing.assert_allclose(eta * net._scale_ + net._center_, expected, rtol=1e-9)


def test_attention_is_a_distribution_per_task():
    X, Y = problem()
    for args in ((X, Y, None), stacked(X, Y)):
        net = model(sharing="attention", n_experts=3).fit(args[0], args[1], tasks=args[2])
        assert net.attention_.shape == (3, 3) and net.transform(X).shape == (90, 15)
        np.testing.assert_allclose(net.attention_.sum(axis=1), 1.0)


def random_intercepts(rng, between, n=8, n_tasks=60):
    """Rows of tasks that differ in their means alone, by `between` standard deviations of the noise."""
    tasks = np.repeat(np.arange(n_tasks), n)
    X, means = rng.normal(size=(len(tasks), 3)), between * rng.normal(size=n_tasks)
    return X, 7 + X[:, 0] + means[tasks] + rng.normal(size=len(tasks)), tasks, means


def test_offsets_are_pooled_as_random_intercepts():
    """The pull is about the ratio of the variances within and between tasks, per row of a task."""
    for between in (0.3, 1.0):
        pulls, factors = [], []
        for seed in range(3):
            X, y, tasks, _ = random_intercepts(np.random.default_rng(seed), between)
            net = MultiTaskMLPRegressor(random_state=0).fit(X, y, tasks=tasks)
            pulls.append(net.intercept_alpha_)
            factors.append(net.head_alpha_ / net.alpha_)
        assert np.median(factors) >= 10  # the tasks have the same slopes
        # not more than 1 is learned from the variances
        assert 0.5 < np.median(pulls) / min(1 / (8 * between**2), 1) < 2


def test_pooling_improves_small_tasks_of_one_kind():
    errors = []
    for seed in range(2):
        X, y, tasks, means = random_intercepts(np.random.default_rng(seed), 0.5)
        new = np.random.default_rng(9).normal(size=(2000, 3))
        which = np.random.default_rng(8).integers(60, size=2000)
        truth = 7 + new[:, 0] + means[which]
        quick = {"random_state": 0}
        nets = [MultiTaskMLPRegressor(**quick, **p) for p in ({}, {"intercept_alpha": 0.0})]
        errors.append(
            [np.mean((n.fit(X, y, tasks=tasks).predict(new, tasks=which) - truth) ** 2) for n in nets]
        )
    pooled, free = np.mean(errors, axis=0)
    assert pooled < 0.85 * free


def test_strengths_towards_the_mean_task():
    """Large ones make all tasks the same; zero leaves offsets free; "auto" heeds the units of the tasks."""
    X, Y = problem()
    Y /= Y.std(axis=0)
    same = model(head_alpha=1e6, intercept_alpha=1e6, max_iter=400).fit(X, Y).predict(X)
    assert np.ptp(same, axis=1).max() < 1e-2 * same.std()
    assert model(intercept_alpha=0.0).fit(X, Y).intercept_alpha_ == 0.0
    assert model().fit(X, Y).intercept_alpha_ > 0.0
    assert model().fit(X, Y * [1, 10, 100]).intercept_alpha_ == 0.0
    assert model(alpha=0.03).fit(X, Y).head_alpha_ == 0.03


def test_unknown_tasks():
    X, Y = problem()
    Xs, ys, tasks = stacked(X, Y)
    net = model(handle_unknown="average").fit(Xs, ys, tasks=tasks)
    every = np.column_stack([net.predict(X, tasks=np.full(90, t)) for t in range(3)])
    np.testing.assert_allclose(net.predict(X, tasks=np.full(90, 9)), every.mean(axis=1))
    with pytest.raises(ValueError, match="not seen in fit"):
        net.set_params(handle_unknown="error").predict(X, tasks=np.full(90, 9))
    with pytest.raises(ValueError, match="without knowing the task"):
        net.predict(X)


def test_pickle_and_clone():
    X, Y = problem()
    net = model(sharing="attention").fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net)).predict(X), net.predict(X))
    assert clone(net).get_params() == net.get_params()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": ()}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": "wide"}, "hidden_layer_sizes"),
        ({"activation": "sine"}, "activation"),
        ({"sharing": "none"}, "sharing"),
        ({"n_experts": 0}, "n_experts"),
        ({"coupling": -1.0}, "coupling"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": "best"}, "alpha"),
        ({"task_weight": "some"}, "task_weight"),
        ({"task_weight": {0: 1.0}}, r"task_weight must name every task .* without a weight: \[1, 2\]"),
        ({"task_weight": {0: 1.0, 1: 1.0, 2: 0.0}}, "task_weight must be positive"),
        ({"solver": "sgd"}, "solver"),
        ({"batch_size": 0}, "batch_size"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"loss": "log_loss"}, "loss"),
        ({"loss": losses.RootSquaredError()}, "loss"),
    ],
)
def test_bad_arguments_are_named(parameters, message):
    X, Y = problem()
    with pytest.raises(ValueError, match=message):
        model(**parameters).fit(X, Y)


# --- the house ---


@pytest.mark.parametrize("cls", CLASSES)
def test_classes_state_a_formula_a_reference_and_an_example(cls):
    doc = inspect.getdoc(cls)
    for part in (".. math::", "References\n", "Examples\n", ">>> ", "https://doi.org/"):
        assert part in doc
    net = cls()
    validate_parameter_constraints(net._parameter_constraints, net.get_params(), cls.__name__)


def test_networks_under_test_are_all_there_are():
    assert {cls.__name__ for cls in CLASSES} == NETWORKS == set(skmtl.neural_network.__all__)


def test_the_task_whose_loss_overflows_is_named_as_it_was_given():
    rng = np.random.default_rng(1)
    X, tasks = 10 * rng.normal(size=(120, 5)), np.arange(120) % 4
    y = rng.poisson(np.where(rng.random(120) < 0.1, 1000.0, 0.001)).astype(float)
    model = MultiTaskMLPRegressor(
        hidden_layer_sizes=(8,), loss="poisson", solver="adam", learning_rate_init=1e3, random_state=0
    )
    with pytest.raises(FloatingPointError, match=r"the loss of task [0-3] is not finite"):
        model.fit(X, y, tasks=tasks)
