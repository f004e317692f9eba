"""What a numerical inverse costs: evaluations a step, from a prediction or from x.

The toy z = [x0, x1^2], L = |z|^2, from (3, 3) with eta = 0.3, in float64. A forward
counts one, a linearization one: the two products of the dense 2 x 2 Jacobian are one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from report import show, verdict

import physgrad as pg

GOAL = 10
ETA = 0.3
STEPS = 20
RTOL = 1e-8


def square(x: jax.Array) -> jax.Array:
    """z = [x0, x1^2]."""
    return jnp.stack([x[0], x[1] ** 2])


def squares(z: jax.Array) -> jax.Array:
    """L = |z|^2."""
    return jnp.sum(z**2)


def predicted(x: jax.Array) -> tuple[jax.Array, int]:
    """A step of physgrad: the solver starts at the linearized prediction."""
    objective = pg.Objective(pg.Simulator(square, pg.NumericalInverse()), squares)
    run = pg.minimize(objective, pg.PhysicalGradient(ETA), x, 1)
    return run.x, run.evaluations["forward"] - 1 + run.evaluations["jvp"] // 2


def from_x(solve: Callable, solver: Any) -> Callable:
    """A step with optimistix' own loop, from the present x to its own tolerance.

    Each of its steps is one forward and one linearization.
    """

    @eqx.filter_jit
    def step(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        z_target = (1 - ETA) * square(x)
        found = solve(lambda x, _: square(x) - z_target, solver, x, throw=False)
        return found.value, found.stats["num_steps"]

    def call(x: jax.Array) -> tuple[jax.Array, int]:
        x, steps = step(x)
        return x, 1 + 2 * int(steps)  # and the forward that gives z

    return call


def main(quick: bool) -> None:
    """One row for each way."""
    del quick  # it is quick
    print(
        f"{STEPS} steps of PG. Difference: the largest one of an iterate from that of "
        f"the exact inverse, relative. optimistix' own loops with tolerance {RTOL}, "
        "counted as one forward and one linearization a step, and one forward for z.\n"
    )
    with jax.enable_x64(True):
        ways = {
            "PG, predicted": predicted,
            "least_squares, Dogleg, from x": from_x(
                optx.least_squares, optx.Dogleg(RTOL, RTOL)
            ),
            "least_squares, LM, from x": from_x(
                optx.least_squares, optx.LevenbergMarquardt(RTOL, RTOL)
            ),
            "root_find, Newton, from x": from_x(
                optx.root_find, optx.Newton(RTOL, RTOL)
            ),
        }
        rows = [_row(name, step) for name, step in ways.items()]
    show(["way", "median", "least", "most", "difference", "goal"], rows)


def _row(name: str, step: Callable) -> list[object]:
    x, counts, differences = jnp.array([3.0, 3.0]), [], []
    for k in range(1, STEPS + 1):
        x, count = step(x)
        exact = 3 * np.array([(1 - ETA) ** k, (1 - ETA) ** (k / 2)])
        counts.append(count)
        differences.append(float(np.max(np.abs(np.asarray(x) / exact - 1))))
    median = float(np.median(counts))
    goal = verdict(f"<= {GOAL}", median <= GOAL) if "PG" in name else ""
    least, most = min(counts), max(counts)
    return [name, f"{median:g}", least, most, f"{max(differences):.1e}", goal]
