"""Losses: derivatives, bounds and conjugates, for every public loss."""

import pickle

import numpy as np
import pytest
from conftest import JOINT_LOSSES, LOSSES, public_classes, targets
from scipy import special, stats
from scipy.optimize import minimize_scalar

from skmtl import losses

losses_ = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def sample(loss, rng, n=200):
    """Targets and predictors, some of them far from each other."""
    return targets(loss, rng, n), rng.normal(size=n) * rng.choice([0.1, 1.0, 8.0], size=n)


def test_every_loss_is_public_and_tested():
    defined = {
        name for name, item in vars(losses).items()
        if isinstance(item, type) and issubclass(item, losses.Loss) and item is not losses.Loss
    }  # fmt: skip
    assert set(LOSSES) | JOINT_LOSSES == defined == set(public_classes(losses)) - {"Loss"}
    named = {**losses.REGRESSION_LOSSES, **losses.CLASSIFICATION_LOSSES}
    assert {cls.__name__ for cls in named.values()} == defined - {"Multinomial"}
    assert all(losses.get_loss(name, named) == cls() for name, cls in named.items())


@losses_
def test_derivatives_equal_central_differences(loss, rng):
    y, eta = sample(loss, rng)
    h = 1e-5
    slope = (loss.value(y, eta + h) - loss.value(y, eta - h)) / (2 * h)
    bend = (loss.gradient(y, eta + h) - loss.gradient(y, eta - h)) / (2 * h)
    np.testing.assert_allclose(loss.gradient(y, eta), slope, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(loss.hessian(y, eta), bend, rtol=1e-7, atol=1e-8)


@losses_
def test_losses_with_a_normalizer_are_minus_a_log_likelihood(loss, rng):
    y, eta = sample(loss, rng)
    if loss.normalizer(y) is None:
        assert type(loss) not in (losses.Logistic, losses.Poisson)
        return
    law = {losses.Logistic: stats.bernoulli, losses.Poisson: stats.poisson}[type(loss)]
    mean = {losses.Logistic: special.expit, losses.Poisson: np.exp}[type(loss)](eta)
    y = np.round(y)
    found = loss.value(y, eta) + loss.normalizer(y)
    np.testing.assert_allclose(found, -law.logpmf(y, mean), rtol=1e-7, atol=1e-10)
    h = 1e-5
    bend = (loss.hessian(y, eta + h) - loss.hessian(y, eta - h)) / (2 * h)
    np.testing.assert_allclose(loss.third_derivative(y, eta), bend, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [*LOSSES.values(), losses.Multinomial(3)], ids=repr)
def test_what_is_computed_at_once(loss, dtype, rng):
    y, eta = (a.reshape(-1, 4).astype(dtype) for a in sample(loss, rng))
    if loss.n_outputs > 1:
        y = rng.integers(loss.n_outputs, size=y.shape).astype(dtype)
        eta = eta[..., None] * rng.choice([0.1, 1.0, 100.0], size=loss.n_outputs).astype(dtype)
    value, slope = loss.value_and_gradient(y, eta)
    rounding = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(value, loss.value(y, eta), rtol=rounding, atol=rounding)
    np.testing.assert_allclose(slope, loss.gradient(y, eta), rtol=4 * rounding, atol=0)
    assert value.shape == y.shape
    assert slope.shape == eta.shape
    for found, alone in zip(loss.derivatives(y, eta), (loss.gradient, loss.hessian), strict=True):
        np.testing.assert_array_equal(found, alone(y, eta))
        assert found.dtype == alone(y, eta).dtype


@losses_
def test_curvature_is_the_least_bound_of_the_hessian(loss, rng):
    y, eta = sample(loss, rng, 5000)
    bend = loss.hessian(y, eta)
    assert (bend >= 0).all()
    assert bend.max() <= loss.curvature
    assert not np.isfinite(loss.curvature) or bend.max() >= 0.99 * loss.curvature
    assert loss.quadratic == (np.ptp(bend) == 0)


@losses_
def test_fenchel_young(loss, rng):
    y, eta = sample(loss, rng)
    inside, anywhere = loss.gradient(y, rng.permutation(eta)), 3 * rng.normal(size=len(y))
    for u in (inside, anywhere):
        bound = loss.value(y, eta) + loss.conjugate(y, u) - u * eta
        assert (bound >= -1e-12 * (1 + eta**2)).all()
    u = loss.gradient(y, eta)
    np.testing.assert_allclose(loss.value(y, eta) + loss.conjugate(y, u), u * eta, rtol=1e-12, atol=1e-12)


def supremum(loss, y, u, reach):
    """sup of u eta - loss(y, eta) over |eta| <= reach."""

    def negative(eta):
        return float(loss.value(y, np.float64(eta)) - u * eta)

    inner = minimize_scalar(negative, bounds=(-reach, reach), method="bounded", options={"xatol": 1e-9})
    return -min(inner.fun, negative(reach), negative(-reach))


@losses_
def test_conjugate_is_the_supremum_and_infinite_where_there_is_none(loss, rng):
    y = targets(loss, rng, 40)
    u = np.concatenate([rng.normal(size=36), [0.0, 1.0, -1.0, 1.0 + 1e-9]])
    for y_i, u_i, found in zip(y, u, loss.conjugate(y, u), strict=True):
        if np.isfinite(found):
            assert supremum(loss, y_i, u_i, 800.0) == pytest.approx(found, abs=1e-8)
        else:  # grows for ever
            assert found == np.inf
            assert supremum(loss, y_i, u_i, 2e10) > supremum(loss, y_i, u_i, 1e10) + 1.0


@losses_
def test_domain_is_where_the_conjugate_is_finite(loss, rng):
    y = targets(loss, rng, 40)
    low, high = np.broadcast_arrays(*loss.domain(y), y)[:2]
    for u in (low, high, np.clip(3 * rng.normal(size=40), low, high)):
        inside = np.isfinite(u)
        assert np.isfinite(loss.conjugate(y[inside], u[inside])).all()
    for u, bound in ((low - 1e-9, low), (high + 1e-9, high)):
        outside = np.isfinite(bound)
        assert (loss.conjugate(y[outside], u[outside]) == np.inf).all()
    assert (loss.gradient(y, 3 * rng.normal(size=40)) >= low).all()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if np.isfinite(loss.curvature)])
def test_extreme_predictors_stay_finite(name, rng):
    loss = LOSSES[name]
    y, eta = np.repeat(targets(loss, rng, 20), 2), np.tile([-800.0, 800.0], 20)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, slope, bend = loss.value(y, eta), loss.gradient(y, eta), loss.hessian(y, eta)
        conjugate = loss.conjugate(y, slope)
    assert all(np.isfinite(part).all() for part in (value, slope, bend, conjugate))
    # a confident prediction has the whole loss, or none of it, but never a slope of zero
    np.testing.assert_allclose(value + conjugate, slope * eta, rtol=1e-12, atol=1e-12)
    assert slope[value > 1].all()
    # a margin is passed, any other loss always has something left to gain
    assert name == "SquaredHinge" or (loss.gradient(y, np.where(y > 0.5, 40.0, -40.0)) != 0).all()


@losses_
def test_losses_are_values(loss):
    same = pickle.loads(pickle.dumps(loss))
    assert same == loss and hash(same) == hash(loss) and type(loss).__name__ in repr(loss)
    assert all(loss != other for name, other in LOSSES.items() if name != type(loss).__name__)


@pytest.mark.parametrize("loss", [*LOSSES.values(), losses.Multinomial(3)], ids=repr)
def test_what_a_loss_predicts(loss, rng):
    """Probabilities are those whose logarithm it is; a mean is a power of e only where the link says so."""
    y, eta = targets(loss, rng, 30) if loss.n_outputs == 1 else rng.integers(3, size=30), rng.normal(size=30)
    p = loss.probabilities(eta if loss.n_outputs == 1 else eta[:, None] * [1.0, 2.0, -1.0])
    assert (p is not None) == (type(loss).__name__ in {"Logistic", "Multinomial"})
    if p is not None:
        eta = eta if loss.n_outputs == 1 else eta[:, None] * [1.0, 2.0, -1.0]
        np.testing.assert_allclose(-np.log(p[np.arange(30), y.astype(int)]), loss.value(y, eta), rtol=1e-10)
        np.testing.assert_allclose(p.sum(axis=-1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(loss.mean(eta), np.exp(eta) if loss.log_link else eta)
