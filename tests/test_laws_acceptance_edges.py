"""Acceptances where runs end: rounding, infinity, and what is made inside of jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import physgrad as pg

EXACT = pg.AnalyticInverse(lambda z: z)
OBJECTIVE = pg.Objective(jnp.sinh, pg.SquaredLoss(jnp.zeros(2)))


def test_a_transformation_may_be_made_inside_of_jit_and_grad():
    def end(decay, x0):
        method = pg.PhysicalGradient(0.3, transformation=optax.trace(decay))
        return pg.iterate(OBJECTIVE, method, x0, 3).x @ jnp.array([1.0, 2.0])

    x0 = jnp.array([3.0, 2.0])
    inside, slope = jax.jit(jax.value_and_grad(end))(0.5, x0)
    np.testing.assert_allclose(inside, end(0.5, x0), rtol=1e-5)
    assert np.isfinite(slope) and slope != 0


@pytest.mark.parametrize("size", [3.0, 1e4, 1e6])
def test_a_monotone_run_does_not_freeze_at_the_rounding_of_its_start(size):
    objective = pg.Objective(
        pg.Simulator(lambda x: x, EXACT), pg.SquaredLoss(jnp.zeros(1))
    )
    method = pg.PhysicalGradient(2.5, acceptance="monotone")
    found = pg.minimize(objective, method, jnp.array([size]), 60)
    assert found.result == "completed" and found.loss <= 1e-20, found


def test_a_loss_of_minus_infinity_is_no_fall():
    objective = pg.Objective(
        pg.Simulator(lambda x: x, EXACT), lambda z: jnp.sum(jnp.log(z))
    )
    method = pg.PhysicalGradient(1.0, metric="gradient", acceptance="monotone")
    found = pg.minimize(objective, method, jnp.array([1.0]), 1)
    assert found.result == "completed" and np.isfinite(found.loss), found


@pytest.mark.parametrize("acceptance", ["monotone", "trust-region"])
@pytest.mark.parametrize("turn", [optax.trace(0.9), optax.scale_by_adam()])
def test_momentum_that_leads_uphill_begins_anew(acceptance, turn):
    """Else it would be shortened to nothing, and the run would freeze."""
    objective = pg.Objective(jnp.sinh, pg.SquaredLoss(jnp.array([1.0, 5.0])))
    method = pg.PhysicalGradient(0.1, transformation=turn, acceptance=acceptance)
    found = pg.minimize(objective, method, jnp.zeros(2), 100)
    assert found.result == "completed" and found.loss < 1e-4, found
    assert np.all(np.diff(found.trajectory.losses) <= 1e-10)


@pytest.mark.parametrize("size", [0.78, 0.9])
def test_the_radius_follows_the_fall_that_a_quadratic_loss_would_have(size):
    """With B = I, L = z^2 falls by (1 - s) / (1 - s / 2) of that: 0.36 and 0.18."""
    objective = pg.Objective(
        pg.Simulator(lambda x: x, EXACT), pg.SquaredLoss(jnp.zeros(1))
    )
    method = pg.PhysicalGradient(size, metric="gradient", acceptance="trust-region")
    found = pg.minimize(objective, method, jnp.array([3.0]), 2)
    first = 3.0 * (1 - 2 * size)
    second = size if size == 0.78 else 0.25 * size * 3.0 / abs(first)
    expected = [3.0, first, first * (1 - 2 * second)]
    np.testing.assert_allclose(found.trajectory["z"][:, 0], expected, rtol=1e-5)


def test_a_run_without_derivatives_is_explained_without():
    """A callback to Python has none; with a formula none is needed."""

    def cube(x):
        return np.asarray(x) ** 3

    def cubed(x):
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(cube, like, x, vmap_method="expand_dims")

    def minimize(inverse, target, method):
        simulator = pg.Simulator(cubed, pg.AnalyticInverse(inverse))
        objective = pg.Objective(simulator, pg.SquaredLoss(jnp.array([target])))
        return pg.minimize(objective, method, jnp.array([2.0]), 2)

    def nowhere_below(z):
        return jnp.where(z < 7.9, jnp.nan, jnp.cbrt(z))

    plain = pg.PhysicalGradient(0.5)
    assert minimize(nowhere_below, 0.0, plain).result == "inverse_failed"
    assert minimize(jnp.cbrt, 8.0, plain).result == "completed"
    monotone = pg.PhysicalGradient(0.5, acceptance=pg.Monotone(0))
    assert minimize(nowhere_below, 0.0, monotone).result == "inverse_failed"
    with pytest.raises(TypeError, match="the simulator calls back to Python"):
        minimize(jnp.cbrt, 0.0, pg.GradientDescent(0.1))
