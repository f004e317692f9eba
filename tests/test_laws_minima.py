"""Runs end at the true minimum: in closed form, with J^T dL/dz = 0.

Not the rules that are meant to bias: a fixed prior, dropped directions.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

import physgrad as pg

TARGET, WEIGHT = np.array([1.0, 0.5, 3.0]), np.array([1.0, 25.0, 0.2])
SHIFT, START = np.array([0.5, -1.0, 2.0]), np.array([2.0, -1.0])
TALL = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 1.0]])
DEFICIENT = np.array([[1.0, 2.0], [2.0, 4.0], [0.5, 1.0]])
BEFORE = np.array([[2.0, 1.0], [-1.0, 1.0]])


class Affine(eqx.Module):
    """z = A x + b."""

    matrix: Float[Array, "z x"]
    shift: Float[Array, " z"]

    def __call__(self, x: Array) -> Array:
        return self.matrix @ x + self.shift


RULES = {
    # rule, step size of the run
    "default": (None, 1.0),
    "numerical": (pg.NumericalInverse(), 1.0),
    "linearized": (pg.LinearizedInverse(), 1.0),
    "damped": (pg.LinearizedInverse(damping=1.0), 1.0),
    "half": (pg.SpectralInverse(power=0.5), 0.2),
    "orthogonal": (pg.SpectralInverse(power=0.0), 0.05),
    "fitted": (pg.TransposedInverse(fitted=True), 1.0),
    "regularized": (pg.RegularizedInverse(noise=0.0), 1.0),
}
GRADIENT = {"default": 0.02, "linearized": 0.02, "half": 0.02}
"""Step sizes with metric="gradient", which depend on the units of the loss."""
CASES = [
    *((rule, "newton", size) for rule, (_, size) in RULES.items()),
    *((rule, "gradient", size) for rule, size in GRADIENT.items()),
]


def closed_form(matrix: np.ndarray) -> np.ndarray:
    """The minimum nearest to the start: x0 + (R A)^+ R (target - b - A x0)."""
    root = np.sqrt(WEIGHT)
    misfit = root * (TARGET - SHIFT - matrix @ START)
    return START + np.linalg.pinv(root[:, None] * matrix) @ misfit


def check(objective: pg.Objective, rule: str, metric: str, size: float, want) -> None:
    method = pg.PhysicalGradient(size, metric=metric)
    stop = pg.Stop(gradient=1e-9)
    run = pg.minimize(objective, method, jnp.array(START), 20_000, stop=stop)
    gradient = jax.grad(lambda x: objective(x))(run.x)
    assert run.result == "converged", run
    assert np.max(np.abs(gradient)) <= 1e-9
    assert np.allclose(run.x, want, atol=1e-8), rule


@pytest.mark.parametrize(("rule", "metric", "size"), CASES)
def test_tall_and_rank_deficient_problems_end_at_the_weighted_minimum(
    rule, metric, size
):
    with jax.enable_x64(True):
        loss = pg.SquaredLoss(jnp.array(TARGET), jnp.array(WEIGHT))
        for matrix in (TALL, DEFICIENT):
            forward = Affine(jnp.array(matrix), jnp.array(SHIFT))
            simulator = pg.Simulator(forward, RULES[rule][0])
            objective = pg.Objective(simulator, loss)
            check(objective, rule, metric, size, closed_form(matrix))


@pytest.mark.parametrize(("rule", "metric", "size"), CASES)
def test_chained_problems_end_at_the_weighted_minimum(rule, metric, size):
    """An exact link, then a tall one by the rule: the misfit is measured in both."""
    with jax.enable_x64(True):
        before, zero = jnp.array(BEFORE), jnp.zeros(2)
        exact = pg.AnalyticInverse(lambda z: jnp.linalg.solve(jnp.array(BEFORE), z))
        last = Affine(jnp.array(TALL), jnp.array(SHIFT))
        chain = pg.Chain(
            pg.Simulator(Affine(before, zero), exact),
            pg.Simulator(last, RULES[rule][0]),
        )
        loss = pg.SquaredLoss(jnp.array(TARGET), jnp.array(WEIGHT))
        want = closed_form(TALL @ BEFORE)
        check(pg.Objective(chain, loss), rule, metric, size, want)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("rows", "columns", "masked"), [(5, 3, 2), (6, 4, 1), (4, 4, 1), (6, 4, 3)]
)
def test_data_without_weight_have_no_say(rows, columns, masked, seed):
    random = np.random.default_rng(seed)
    matrix, target = random.normal(size=(rows, columns)), random.normal(size=rows)
    weight = 10 ** random.uniform(-1, 1, rows)
    weight[:masked] = 0
    root = np.sqrt(weight)
    best = np.linalg.lstsq(root[:, None] * matrix, root * target, rcond=None)[0]
    with jax.enable_x64(True):
        forward = Affine(jnp.array(matrix), jnp.zeros(rows))
        loss = pg.SquaredLoss(jnp.array(target), jnp.array(weight))
        objective = pg.Objective(pg.Simulator(forward, pg.NumericalInverse()), loss)
        start = jnp.array(random.normal(size=columns))
        run = pg.minimize(objective, pg.PhysicalGradient(1.0), start, 1)
        assert run.ok, run.message
        assert run.loss <= float(objective(jnp.array(best))) + 1e-12


def test_a_consistent_tall_fit_goes_on_to_its_solution():
    """Near it the misfit of each step is rounding, and has no angle to J."""
    times = jnp.linspace(0.0, 4.0, 20)

    def decay(x):
        return x[0] * jnp.exp(-x[1] * times)

    with jax.enable_x64(True):
        loss = pg.SquaredLoss(decay(jnp.array([2.0, 0.7])))
        objective = pg.Objective(pg.Simulator(decay, pg.NumericalInverse()), loss)
        run = pg.minimize(
            objective, pg.PhysicalGradient(0.5), jnp.array([1.0, 1.5]), 30
        )
        assert run.ok and run.loss < 1e-16, run
