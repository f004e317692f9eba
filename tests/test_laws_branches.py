"""Laws of inverses that return all preimages: the nearest finite one is taken."""

from __future__ import annotations

import families
import jax
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


def test_what_is_one_to_one_is_not_taken_for_a_jump():
    """Two orbits that end near each other and begin far apart: there is no branch."""
    with jax.enable_x64(True):
        orbits = pg.simulators.n_body([1.0, 0.0], duration=6.0)
        truth = np.zeros((2, 2, 2))
        truth[:, 1] = [[0.8, 0.6], [-0.65, 0.8]]
        start = np.zeros((2, 2, 2))
        start[:, 1] = [[-0.716, -0.075], [0.488, -0.409]]
        loss = pg.SquaredLoss(orbits(jnp.asarray(truth)))
        known = orbits.rule
        assert isinstance(known, pg.AnalyticInverse)
        looked = pg.Simulator(orbits.forward, pg.AnalyticInverse(known.function))
        ends = [
            pg.minimize(
                pg.Objective(simulator, loss),
                pg.PhysicalGradient(1.0),
                jnp.asarray(start),
                num_steps=1,
            )
            for simulator in (orbits, looked)
        ]
        assert ends[0].ok and np.max(np.abs(ends[0].x - truth)) < 1e-9
    assert ends[1].result == "inverse_failed" and "branch" in ends[1].message


def test_one_preimage_and_several_contradict_each_other():
    with pytest.raises(ValueError, match="one_to_one says that there is one preimage"):
        pg.AnalyticInverse(both_roots, branches=True, one_to_one=True)
    with pytest.raises(TypeError, match="one_to_one must be True or False, got 1"):
        pg.AnalyticInverse(jnp.log, one_to_one=1)
