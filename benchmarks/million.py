"""A million starts, ten steps of PG each, in one vmapped and jitted `iterate`."""

from __future__ import annotations

import functools
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
from report import show, verdict
from timing import duration, measure

import physgrad as pg

NUM_STEPS = 10


def main(quick: bool) -> None:
    """Time it with and without its trajectories, count the certificates that hold."""
    count = 10_000 if quick else 1_000_000
    starts = jax.random.uniform(
        jax.random.key(0), (count, 2), jnp.float32, minval=-4.0, maxval=4.0
    )
    print(
        f"{count:,} starts in [-4, 4]^2, {NUM_STEPS} steps of PG with eta 0.3, "
        "float32; the peak is of the whole process.\n"
    )
    before = _peak()
    rows = [
        _row("last iterates only", starts, record_every=NUM_STEPS),
        _row("all iterates in both spaces", starts, record_every=1),  # the larger last
    ]
    show(
        ["kept", "time", "steps/s", "compile", "returned", "peak", "certificates hold"],
        rows,
    )
    print(f"Peak memory before the first run: {before:.2f} GiB\n")


def _row(kept: str, starts: jax.Array, record_every: int) -> list[object]:
    objective = pg.problems.get("toy", starts.dtype).objective
    step = pg.PhysicalGradient(0.3)
    one = functools.partial(
        pg.iterate, objective, step, num_steps=NUM_STEPS, record_every=record_every
    )
    began = time.perf_counter()
    every = jax.jit(jax.vmap(one)).lower(starts).compile()
    compile_seconds = time.perf_counter() - began
    ends = every(starts)
    returned = sum(leaf.nbytes for leaf in jax.tree.leaves(ends)) / 2**30
    holds = int(np.sum(_holds(ends)))
    del ends
    times = measure(lambda: jax.block_until_ready(every(starts)), samples=5)
    steps = len(starts) * NUM_STEPS
    return [
        kept,
        times,
        f"{steps / times.median:,.0f}",
        duration(compile_seconds),
        f"{returned:.2f} GiB",
        f"{_peak():.2f} GiB",
        verdict(f"{holds:,} of {len(starts):,}", holds == len(starts)),
    ]


def _holds(ends: pg.Iterates) -> np.ndarray:
    """Whether all steps of a start were done, and each recorded certificate holds."""
    done = np.asarray(ends.result) == pg.Result.completed.code
    done &= np.asarray(ends.num_steps) == NUM_STEPS
    certificates = ends.certificates
    if certificates is None:
        return np.zeros_like(done)
    holds = np.asarray(certificates.result) == pg.Result.completed.code
    return done & np.all(holds, axis=1)


def _peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
