"""Two devices against one: a batch of `minimize_many`, to the same bits."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from report import show, verdict
from stragglers import METHOD, SIZE, batch, problem
from timing import alternate

import physgrad as pg

GOAL = 1.5
STEPS = 30


def main(quick: bool) -> None:
    """One table: optimized code, and code whose bits do not depend on the bucket."""
    there = len(jax.devices())
    if there != 2:
        raise RuntimeError(f"this needs two devices, got {there}: see run.py")
    count = 32 if quick else 1024
    starts, slopes = batch(np.ones(count))
    print(
        f"{count:,} fields of {SIZE} x {SIZE}, {STEPS} steps of gradient descent "
        "through a heat step each, on one and on both of two virtual devices. "
        "Deterministic: the bits do not depend on the size of a bucket.\n"
    )

    def run(devices: int, deterministic: bool) -> pg.Runs:
        return pg.minimize_many(
            problem,
            METHOD,
            starts,
            STEPS,
            parameters=slopes,
            devices=devices,
            deterministic=deterministic,
        )

    rows = []
    for deterministic in (False, True):
        one, two = (run(devices, deterministic) for devices in (1, 2))
        same = np.array_equal(one.x, two.x) and np.array_equal(one.codes, two.codes)
        times = alternate(
            {
                "one": partial(run, 1, deterministic),
                "two": partial(run, 2, deterministic),
            }
        )
        ratio = times["one"].median / times["two"].median
        rows.append(
            [
                "deterministic" if deterministic else "optimized",
                times["one"],
                times["two"],
                f"{ratio:.2f}",
                "yes" if same else "no",
                verdict(f"{GOAL} times, same bits", ratio >= GOAL and same),
            ]
        )
    show(["code", "one device", "two devices", "times", "same bits", "goal"], rows)
