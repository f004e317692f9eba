"""Laws of an inverse that is nearly one: refined to rounding, or named."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import eps
from ready_simulators import S, smooth

import physgrad as pg
from physgrad.inverses.ladder import rungs_of

FULL = pg.PhysicalGradient(1.0)


def wrong(value: Any) -> Any:
    """What a type checker would refuse."""
    return value


def bent(x):
    return 2 * x + 0.4 * jnp.sin(x)


def test_refinement_goes_to_rounding(dtype):
    nearly = pg.RefinedInverse(lambda z: z / 2)
    simulator = pg.Simulator(bent, nearly)
    goal = jnp.asarray([0.3, -1.0, 4.0], dtype)
    objective = pg.Objective(simulator, pg.SquaredLoss(bent(goal)))
    run = pg.minimize(objective, FULL, jnp.zeros(3, dtype), 1, progress=False)
    assert run.ok
    np.testing.assert_allclose(run.x, goal, atol=30 * eps(dtype) ** 0.75)
    certificate = run.trajectory.certificates
    assert certificate is not None
    assert np.all(certificate.residuals <= certificate.tolerances)


def test_an_exact_formula_needs_no_refinement():
    simulator = pg.Simulator(lambda x: 4 * x, pg.RefinedInverse(lambda z: z / 4))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.ones(2)))
    run = pg.minimize(objective, FULL, jnp.zeros(2), 2, progress=False)
    assert run.evaluations["inverse"] == 2
    assert run.evaluations["forward"] == 3


def test_a_formula_that_is_too_far_off_is_named():
    """f = -z: each refinement goes the wrong way."""
    simulator = pg.Simulator(lambda x: 2 * x, pg.RefinedInverse(lambda z: -z))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.ones(1)))
    run = pg.minimize(objective, FULL, jnp.array([0.25]), 3, progress=False)
    assert run.result is pg.Result.inverse_failed
    assert run.x == 0.25


def test_near_the_target_refinement_starts_at_x():
    """What f misses of a short step is a part of the step, not of z."""
    simulator = pg.Simulator(bent, pg.RefinedInverse(lambda z: z / 2))
    goal = jnp.array([1.0])
    objective = pg.Objective(simulator, pg.SquaredLoss(bent(goal)))
    far, near = (
        pg.minimize(objective, FULL, goal - step, 1, progress=False)
        for step in (1.0, 1e-3)
    )
    assert far.ok and near.ok
    assert near.evaluations["inverse"] <= far.evaluations["inverse"] - 3


def test_nothing_is_refined_where_no_steps_are_allowed():
    simulator = pg.Simulator(bent, pg.RefinedInverse(lambda z: z / 2, max_steps=0))
    objective = pg.Objective(simulator, pg.SquaredLoss(jnp.ones(1)))
    run = pg.minimize(objective, FULL, jnp.array([0.5]), 1, progress=False)
    assert run.result is pg.Result.inverse_failed


def test_derivatives_are_those_of_the_preimage(dtype):
    simulator = pg.Simulator(bent, pg.RefinedInverse(lambda z: z / 2))

    def end(target):
        objective = pg.Objective(simulator, pg.SquaredLoss(target))
        return pg.iterate(objective, FULL, jnp.zeros(1, dtype), 1).x[0]

    goal = jnp.asarray([0.7], dtype)
    slope = jax.jit(jax.grad(end))(bent(goal))
    exact = 1 / (2 + 0.4 * jnp.cos(goal))
    np.testing.assert_allclose(slope, exact, rtol=1e3 * eps(dtype))


@pytest.mark.parametrize("value", [-1, 2.5, True])
def test_steps_must_be_a_count(value, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises((TypeError, ValueError), match="max_steps"):
        pg.RefinedInverse(lambda z: z, max_steps=value)


def test_what_is_no_function_of_z_is_refused(monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(TypeError, match="an inverse must be a function"):
        pg.RefinedInverse(wrong(3.0))


@pytest.mark.parametrize(
    ("time", "rule"), [(0.5, "RefinedInverse"), (2.0, "LinearizedInverse")]
)
def test_beyond_the_horizon_another_rule_takes_over_and_says_so(time, rule):
    """A shock has formed: x is not to be had. First fewer waves are, later none."""
    with jax.enable_x64(True):
        waves = S.burgers(32, time, steps=round(200 * time))
        x = jnp.asarray(smooth(0, 32, size=0.4))
        objective = pg.Objective(waves, pg.SquaredLoss(waves(x)))
        run = pg.minimize(objective, FULL, 0 * x, 3, progress=False)
        assert run.ok
        assert f"{rule} served 3 of 3 recorded steps, where the rules" in run.message
        assert run.loss < 0.3 * run.trajectory.losses[0]
        alone = pg.Simulator(waves.forward, rungs_of(waves.inverse)[0])
        objective = pg.Objective(alone, pg.SquaredLoss(waves(x)))
        run = pg.minimize(objective, FULL, 0 * x, 3, progress=False)
        assert run.result is pg.Result.inverse_failed


def test_an_inverse_knows_the_accuracy_of_its_simulator():
    """P is 1e-6 off its formula: near the target that is more than the step."""

    def rough(x):
        return 2 * x * (1 + 1e-6 * jnp.sin(1e3 * x))

    with jax.enable_x64(True):
        target, x0 = jnp.array([2.0]), jnp.array([5.0])
        runs = [
            pg.minimize(
                pg.Objective(
                    pg.Simulator(rough, pg.AnalyticInverse(half, accuracy=accuracy)),
                    pg.SquaredLoss(target),
                ),
                FULL,
                *(x0, 5),
                progress=False,
            )
            for accuracy in (None, 1e-5)
        ]
        assert runs[0].result is pg.Result.inverse_failed
        assert runs[1].ok
        assert abs(runs[1].x[0] - 1.0) < 1e-5


def half(z):
    return z / 2
