"""A NumPy simulator behind a callback: what an evaluation costs beyond its own time."""

from __future__ import annotations

import time

import jax.numpy as jnp
import numpy as np
from report import show, verdict
from timing import Times, duration

import physgrad as pg

GOAL = 100e-6
STEPS = 1000
SAMPLES = 7


class Cubes:
    """z = x^3 by NumPy, which measures itself."""

    def __init__(self) -> None:
        self.calls, self.seconds = 0, 0.0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        z = x * x * x
        self.seconds += time.perf_counter() - began
        self.calls += 1
        return z


def root(z: jnp.ndarray, x: jnp.ndarray) -> jnp.ndarray:
    """The inverse, in JAX."""
    return jnp.cbrt(z)


def main(quick: bool) -> None:
    """Runs of PG with a formula for the inverse, on few and on many entries."""
    steps = 50 if quick else STEPS
    print(
        f"{steps:,} steps of PG with an analytic inverse, one evaluation each, "
        "float32; the last iterate is kept. Overhead: what a run takes beyond the "
        "simulator's own time and the same run with the simulator in JAX.\n"
    )
    rows = [_row(size, steps) for size in ((3,) if quick else (3, 1000, 100_000))]
    columns = ["entries of x", "evaluation itself", "rest of a step in JAX", "overhead"]
    show([*columns, "goal"], rows)


def _row(size: int, steps: int) -> list[object]:
    start, target = jnp.full(size, 2.0), jnp.full(size, 1.0)
    rule, method = pg.AnalyticInverse(root), pg.PhysicalGradient(0.003)
    cubes = Cubes()
    outside = pg.Simulator.from_callback(cubes, np.zeros(size), rule)
    inside = pg.Simulator(lambda x: x * x * x, rule)
    overheads, own, plain = [], [], []
    for sample in range(SAMPLES + 1):
        cubes.calls, cubes.seconds = 0, 0.0
        objective = pg.Objective(outside, pg.SquaredLoss(target))
        run = pg.minimize(objective, method, start, steps, record_every=steps)
        if not run.ok:
            raise RuntimeError(run.message)
        objective = pg.Objective(inside, pg.SquaredLoss(target))
        other = pg.minimize(objective, method, start, steps, record_every=steps)
        if sample:  # the first one compiles
            whole = run.seconds.run - other.seconds.run - cubes.seconds
            overheads.append(whole / cubes.calls)
            own.append(cubes.seconds / cubes.calls)
            plain.append(other.seconds.run / cubes.calls)
    overhead = Times(tuple(overheads))
    goal = f"below {duration(GOAL)}"
    return [
        f"{size:,}",
        duration(float(np.median(own))),
        duration(float(np.median(plain))),
        overhead,
        verdict(goal, overhead.median < GOAL),
    ]
