"""Laws of the certificate: an inverse that lies is named, an honest one is not."""

from __future__ import annotations

import families
import jax.numpy as jnp
import numpy as np
import pytest
from families import COMPLETED, one_step
from jaxtyping import Array

import physgrad as pg
from physgrad.results import Cause

FAILED = pg.Result.inverse_failed.code


def turned_sign(z: Array, x: Array) -> Array:
    """Right until z1 falls below 5, then the other branch."""
    root = families.square_root(z, x)
    return root * jnp.stack([1.0, jnp.where(z[1] < 5, -1.0, 1.0)]).astype(x.dtype)


def wrong_scale(z: Array, x: Array) -> Array:
    return 1.5 * families.square_root(z, x)


def slightly_wrong(z: Array, x: Array) -> Array:
    return 1.001 * families.square_root(z, x)


def wrong_step(z: Array, x: Array) -> Array:
    """Right at the start, and a step that is 1 in 1000 too long."""
    return x + 1.001 * (families.square_root(z, x) - x)


def half_nan(z: Array, x: Array) -> Array:
    return families.square_root(z, x).at[1].set(jnp.nan)


def ignores_the_anchor(z: Array, x: Array) -> Array:
    return jnp.stack([z[0], jnp.sqrt(z[1])])


def swapped(x: Array, z: Array) -> Array:
    return families.square_root(z, x)


def stays(z: Array, x: Array) -> Array:
    return x


def negative(z: Array, x: Array) -> Array:
    return -families.square_root(z, x)


RIGHT, LEFT = (3.0, 3.0), (3.0, -3.0)
LIARS = [
    (wrong_scale, RIGHT, Cause.not_identity),
    (slightly_wrong, RIGHT, Cause.not_identity),
    (wrong_step, RIGHT, Cause.missed),
    (half_nan, RIGHT, Cause.start_not_finite),
    (ignores_the_anchor, LEFT, Cause.start_jumped),
    (swapped, RIGHT, Cause.not_identity),
    (stays, RIGHT, Cause.missed),
    (negative, RIGHT, Cause.not_identity),
    (turned_sign, RIGHT, Cause.jumped),
]
FUNCTIONS = (families.square_root, *(liar for liar, _, _ in LIARS))


def toy(inverse, dtype):
    """The toy with one of `FUNCTIONS` for its inverse; all of them are one program."""
    index = jnp.int32(FUNCTIONS.index(inverse))
    rule = pg.AnalyticInverse(families.Pick(FUNCTIONS, index))
    simulator = pg.Simulator(families.square, rule)
    return pg.Objective(simulator, pg.SquaredLoss(jnp.zeros(2, dtype)))


def test_inverses_that_lie_are_named(dtype):
    method = pg.PhysicalGradient(0.5)
    for liar, start, cause in LIARS:
        step = one_step(toy(liar, dtype), method, jnp.asarray(start, dtype))
        assert step.result == FAILED, liar.__name__
        assert step.certificate is not None
        assert Cause.from_code(int(step.certificate.cause)) is cause, liar.__name__
    for start in (RIGHT, LEFT):
        x0 = jnp.asarray(start, dtype)
        step = one_step(toy(families.square_root, dtype), method, x0)
        assert step.result == COMPLETED


def test_a_run_with_a_lying_inverse_keeps_its_start_and_says_why(dtype):
    for liar, start, cause in LIARS:
        x0 = jnp.asarray(start, dtype)
        run = pg.minimize(toy(liar, dtype), pg.PhysicalGradient(0.5), x0, 30)
        assert run.result == "inverse_failed"
        assert np.array_equal(run.x, x0) and run.num_steps == 0
        on_the_way = cause in (Cause.missed, Cause.jumped)
        where = "in step 1" if on_the_way else "at the start"
        assert where in run.message
        assert ("residual" in run.message) == (cause is not Cause.start_not_finite)
        assert np.all(np.isfinite(run.trajectory["z"])) and len(run.trajectory) == 1


def test_a_branch_jump_on_the_way_keeps_the_last_good_iterate(dtype):
    x0 = jnp.asarray(RIGHT, dtype)
    run = pg.minimize(toy(turned_sign, dtype), pg.PhysicalGradient(0.2), x0, 30)
    assert run.result == "inverse_failed" and "branch" in run.message
    assert run.num_steps == 2 and run.trajectory["x"].shape == (3, 2)
    np.testing.assert_allclose(run.x, [3 * 0.64, np.sqrt(9 * 0.64)], rtol=1e-5)


def shift(x: Array) -> Array:
    return x - 1000


def shift_back(z: Array) -> Array:
    return z + 1000


SHIFTED = pg.Simulator(shift, pg.AnalyticInverse(shift_back))
TOY = pg.Simulator(families.square, pg.AnalyticInverse(families.square_root))
WIDE_RANGE = pg.Simulator(jnp.exp, pg.AnalyticInverse(lambda z: jnp.log(z)))


@pytest.mark.parametrize(
    ("simulator", "start"),
    [(SHIFTED, (1003.0, 1200.0)), (TOY, (3.0, -3.0)), (WIDE_RANGE, (10.0, -5.0))],
)
def test_honest_inverses_hold_down_to_the_rounding_of_z(simulator, start):
    """Near the optimum the step is smaller than the rounding of z: no liar for that."""
    dtype = jnp.float32
    target = simulator(jnp.asarray(start, dtype) * 0.5)
    objective = pg.Objective(simulator, pg.SquaredLoss(target))
    x0 = jnp.asarray(start, dtype)
    run = pg.minimize(objective, pg.PhysicalGradient(0.3), x0, 150)
    assert run.result == "completed", run.message
