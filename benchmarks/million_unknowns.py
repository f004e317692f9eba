"""One regularized step back in time on a field of 1024 x 1024, without matrices."""

from __future__ import annotations

import resource
import time

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.tree_util import Partial
from report import show, verdict
from timing import duration

import physgrad as pg

GOAL = 1.0
NOISE = 1e-3


def heat(decay: jax.Array, field: jax.Array) -> jax.Array:
    """The field a time t later."""
    return jnp.fft.irfft2(decay * jnp.fft.rfft2(field), s=field.shape)


def main(quick: bool) -> None:
    """Its time, its error and the memory beyond that of simulator and gradient."""
    size = 64 if quick else 1024
    k, half = (f(size, 1 / size) for f in (np.fft.fftfreq, np.fft.rfftfreq))
    squares = (k[:, None] ** 2 + half**2) / 64**2
    simulate = Partial(heat, jnp.asarray(np.exp(-8 * squares), jnp.float32))
    rng = np.random.default_rng(0)
    # white noise, smoothed: its spectrum reaches as far as the simulator shows any
    true = jax.jit(simulate)(
        jnp.asarray(rng.standard_normal((size, size)), jnp.float32)
    )
    z = jax.jit(simulate)(true)
    noise = NOISE * float(jnp.std(z))
    data = z + jnp.asarray(rng.normal(0, noise, z.shape), jnp.float32)
    jax.block_until_ready(jax.jit(jax.grad(lambda u: jnp.sum(simulate(u) ** 2)))(true))
    before = _peak()

    # Tikhonov's tau for a field and a noise of these sizes, in the metric 2 I of L
    damping = 2 * noise**2 / float(jnp.var(true))
    rule = pg.LinearizedInverse(damping, lx.LSMR(rtol=1e-6, atol=0.0))
    objective = pg.Objective(pg.Simulator(simulate, rule), pg.SquaredLoss(data))
    began = time.perf_counter()
    run = pg.minimize(objective, pg.PhysicalGradient(1.0), 0 * data, 1)
    seconds = time.perf_counter() - began
    extra = _peak() - before
    error = float(jnp.linalg.norm(run.x - true) / jnp.linalg.norm(true))
    print(
        f"The start of a 2-D heat equation from its end with noise of {NOISE:.1%} "
        f"({size} x {size} = {size * size:,} unknowns, float32): one step of PG by "
        "`LinearizedInverse(damping, lineax.LSMR(...))`, which needs only products "
        "with J. Memory: beyond the peak of the simulator and its gradient.\n"
    )
    show(
        ["unknowns", "time", "of it compiling", "J and J^T", "error of x", "memory"],
        [
            [
                f"{size * size:,}",
                duration(seconds),
                duration(run.seconds.compile),
                f"{run.evaluations['jvp'] + run.evaluations['vjp']:,}",
                f"{error:.2%}",
                f"{extra:.2f} GiB",
            ]
        ],
    )
    print(verdict(f"below {GOAL} GiB, run {run.result}", run.ok and extra < GOAL))


def _peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
