"""A simulator without J t, only J^T u, is no hindrance: Jacobians are made by rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from families import OF_SHAPE, RULES, one_step, relative

import physgrad as pg

STEPS = {name: RULES[name]() for name in ("numerical", "half", "regularized")} | {
    "numerical, products": pg.NumericalInverse(linear_solver=lx.LSMR(1e-12, 0.0)),
    "linearized, products": RULES["matrix-free"](),
    "fitted": pg.TransposedInverse(fitted=True),
}


def by_reverse_mode(forward):
    """The same map by `jax.custom_vjp`, as ODE solvers have it."""

    @jax.custom_vjp
    def simulate(x):
        return forward(x)

    simulate.defvjp(lambda x: jax.vjp(forward, x), lambda pull, u: pull(u))
    return simulate


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
@pytest.mark.parametrize(
    ("name", "shape"),
    [*((name, "tall") for name in STEPS), ("numerical", "wide"), ("fitted", "square")],
)
def test_the_step_is_that_of_the_simulator_with_both_modes(name, shape, dtype):
    member = OF_SHAPE[shape].maps[-1]
    x, other = (jnp.asarray(point, dtype) for point in member.points[:2])
    loss = pg.SquaredLoss(member.forward(other))
    method = pg.PhysicalGradient(0.5, inverse=STEPS[name])
    both, reverse = (
        one_step(pg.Objective(forward, loss), method, x)
        for forward in (member.forward, by_reverse_mode(member.forward))
    )
    rounding = 1e-6 if name == "fitted" else 1e-9  # a finite difference has half
    assert relative(reverse.state.x, both.state.x) < rounding
    assert not np.array_equal(both.state.x, x)
    assert reverse.evaluations.jvp == 0


def test_a_chain_hands_its_metric_through():
    bent, flat = pg.Simulator(by_reverse_mode(jnp.sinh)), pg.Simulator(lambda x: 2 * x)
    objective = pg.Objective(pg.Chain(flat, bent), pg.SquaredLoss(jnp.array([3.0])))
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([0.5]), 8)
    np.testing.assert_allclose(2 * run.x, np.arcsinh(3.0), rtol=1e-6)
