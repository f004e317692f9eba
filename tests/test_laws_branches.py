"""Laws of inverses that return all preimages: the nearest finite one is taken."""

from __future__ import annotations

import families
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import physgrad as pg
from physgrad.inverses.rule import identity_metric


def both_roots(z: Array) -> Array:
    root = jnp.sqrt(z[1])
    return jnp.stack([jnp.stack([z[0], root]), jnp.stack([z[0], -root])])


def turns(z: Array) -> Array:
    """All angles of polar coordinates within three turns either way."""
    angle = jnp.arctan2(z[1], z[0]) + 2 * np.pi * jnp.arange(-3, 4, dtype=z.dtype)
    radius = jnp.sqrt(z[0] ** 2 + z[1] ** 2)
    return jnp.stack([jnp.full_like(angle, radius), angle], axis=1)


def with_gaps(z: Array) -> Array:
    nothing = jnp.full((2, 2), jnp.nan, z.dtype)
    return jnp.concatenate([nothing, both_roots(z), jnp.full((1, 2), jnp.inf)])


SQUARE = {member.name: member for member in families.SQUARE.maps}
CASES = {
    "toy": (SQUARE["toy"], both_roots),
    "toy-left": (SQUARE["toy-left"], both_roots),
    "gaps": (SQUARE["toy-left"], with_gaps),
    "polar": (SQUARE["polar"], turns),
}


@pytest.mark.parametrize("case", CASES)
def test_the_nearest_preimage_is_the_local_inverse(case, dtype):
    member, formula = CASES[case]
    rule = pg.AnalyticInverse(formula, branches=True)
    for x in member.points:
        for there in member.points:
            target = np.asarray(member.forward(jnp.asarray(there, dtype)))
            loss = pg.SquaredLoss(jnp.asarray(target, dtype))
            objective = pg.Objective(pg.Simulator(member.forward, rule), loss)
            local = pg.AnalyticInverse(member.inverse)
            steps = [
                families.one_step(
                    objective, pg.PhysicalGradient(1.0, inverse), jnp.asarray(x, dtype)
                )
                for inverse in (rule, local)
            ]
            assert [int(step.result) for step in steps] == [families.COMPLETED] * 2
            np.testing.assert_allclose(
                *(step.state.x for step in steps), rtol=8 * families.eps(dtype)
            )


def test_huge_preimages_are_compared_without_overflow():
    far = jnp.array([[1e30, 3e38], [2e30, 1.0]], jnp.float32)
    rule = pg.AnalyticInverse(lambda z: far, branches=True)
    flat, x = pg.Objective(lambda x: x, lambda z: z[0]).flatten(jnp.ones(2))
    answer = rule.pull_back(flat.simulator, x, flat.start(x), identity_metric(x))
    assert answer.x.tolist() == far[1].tolist()


def test_branches_that_are_all_nan_are_named():
    member = SQUARE["toy"]
    rule = pg.AnalyticInverse(both_roots, branches=True)
    objective = pg.Objective(pg.Simulator(member.forward, rule), lambda z: z @ z)
    run = pg.minimize(objective, pg.PhysicalGradient(1.5), jnp.array([3.0, 3.0]), 3)
    assert run.result == "inverse_failed" and "NaN" in run.message
    assert run.x.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("value", [1, "yes", None, 2.0])
def test_branches_is_a_bool(value):
    with pytest.raises(TypeError, match="branches must be True or False, got"):
        pg.AnalyticInverse(both_roots, branches=value)
