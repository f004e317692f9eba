"""Many problems at once, some of which take far longer: the time beside the ideal."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
from report import show, verdict
from timing import Times, duration

import physgrad as pg

SIZE = 48
SLOWER = 300
STEPS = 10
GOAL = 1.5
SAMPLES = 5
METHOD = pg.GradientDescent(0.5)
STOP = pg.Stop(loss=2.0 ** (-2 * STEPS))


def blurred(field: jax.Array) -> jax.Array:
    """A 2-D heat step by FFT: the work of a simulator of fields."""
    k = jnp.fft.fftfreq(SIZE) ** 2
    decay = jnp.exp(-2.0 * (k[:, None] + k[None, : SIZE // 2 + 1]))
    return jnp.fft.irfft2(decay * jnp.fft.rfft2(field), s=(SIZE, SIZE))


def problem(slope: jax.Array) -> pg.Objective:
    """L = slope |P(x)|^2 / 2: the smaller the slope, the more steps."""
    return pg.Objective(blurred, lambda z: 0.5 * slope * jnp.sum(z**2))


def main(quick: bool) -> None:
    """Three kinds of stragglers, and a plain vmapped loop over the first."""
    count, slower = (64, 20) if quick else (1024, SLOWER)
    numbers = np.arange(count)
    kinds = {
        f"one needs {slower} times the steps": np.where(numbers == 7, slower, 1),
        f"32 need {slower} times the steps": np.where(numbers < 32, slower, 1),
        f"a heavy spread, 1 to {slower} times": np.round(
            slower ** np.random.default_rng(0).beta(0.4, 1.5, count)
        ),
    }
    print(
        f"{count:,} fields of {SIZE} x {SIZE} (float32), gradient descent through a "
        f"heat step to the same loss, {STEPS} steps for most. Ideal: all steps of all "
        "members, each as quick as in a full batch of equal members; compiling, once "
        "for each size of a bucket, is apart. The plain loop is one jitted vmap that "
        "runs until the last member has ended.\n"
    )
    equal, _ = _timed(np.ones(count), 3 * STEPS)
    each = equal.median / (count * STEPS)
    rows = []
    for kind, multiples in kinds.items():
        times, runs = _timed(multiples, 2 * slower * STEPS)
        ideal = each * float(np.sum(runs.num_steps))
        ratio = times.median / ideal
        reached = bool(np.all(runs.ok)) and ratio <= GOAL
        rows.append(
            [
                kind,
                f"{np.sum(runs.num_steps):,}",
                duration(ideal),
                times,
                f"{ratio:.2f}",
                duration(runs.seconds.compile),
                verdict(f"at most {GOAL}", reached),
            ]
        )
    show(["members", "steps", "ideal", "time", "ratio", "compile", "goal"], rows)
    plain = _plain(count, slower)
    print(
        f"Plain vmapped loop, {slower * STEPS:,} steps of all: {duration(plain)}, "
        f"{plain / (each * count * STEPS):.0f} times a batch without stragglers\n"
    )


def batch(multiples: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Starts with L = 1, and slopes for the multiple of the steps."""
    slopes = 2 * (1 - 2.0 ** (-1 / multiples))
    level = np.sqrt(2 / slopes) / SIZE
    starts = np.broadcast_to(level[:, None, None], (len(level), SIZE, SIZE))
    return jnp.asarray(starts, jnp.float32), jnp.asarray(slopes, jnp.float32)


def _timed(multiples: np.ndarray, most: int) -> tuple[Times, pg.Runs]:
    """The time of a batch, with its runs; those of the first one, which compiles."""
    starts, slopes = batch(multiples)

    def run() -> pg.Runs:
        return pg.minimize_many(
            problem, METHOD, starts, most, parameters=slopes, stop=STOP
        )

    first = run()
    return Times(tuple(run().seconds.run for _ in range(SAMPLES))), first


def _plain(count: int, slower: int) -> float:
    """Seconds of one run of a vmapped `iterate` over one straggler and others."""
    starts, slopes = batch(np.where(np.arange(count) == 7, slower, 1))
    most = slower * STEPS + 1

    def one(start: jax.Array, slope: jax.Array) -> jax.Array:
        ends = pg.iterate(
            problem(slope), METHOD, start, most, stop=STOP, record_every=most
        )
        return ends.x

    every = jax.jit(jax.vmap(one)).lower(starts, slopes).compile()
    began = time.perf_counter()
    jax.block_until_ready(every(starts, slopes))
    return time.perf_counter() - began
