"""What a step costs beyond one inverse and one forward: the heat equation by FFT.

u_t = nu (u_xx + u_yy) on a periodic square, exact in time: each Fourier mode is
multiplied by exp(-nu t k^2), and divided by it on the way back. nu t is so small that
the inverse amplifies the highest mode by 100: rounding of float32 stays below 1e-4.

Bare is what a user would write: z~ = z - eta (z - target), x = inverse(z~),
z = forward(x) in a jitted `lax.scan`, with no checks. physgrad adds the certificate of
each step, the test of the branch, the tests for NaN and for going to and fro, and, if
asked to be monotone, the true loss before and after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from report import show, verdict
from timing import Times, alternate, duration

import physgrad as pg

GOAL = 1.5
ETA = 0.3
AMPLIFICATION = 1e2
# A step costs the difference of two runs: their starts, which check the inverse and
# measure the scale of the simulator, cancel.
SHORT, LONG = 10, 40
SAMPLES = 11


class Heat:
    """The simulator, its exact inverse, and the data of a warm spot."""

    def __init__(self, size: int, dtype: Any):
        k, half = (
            2 * np.pi * f(size, 1 / size) for f in (np.fft.fftfreq, np.fft.rfftfreq)
        )
        squares = k[:, None] ** 2 + half**2
        decay = np.exp(-np.log(AMPLIFICATION) * squares / np.max(squares))
        self.decay = jnp.asarray(decay, dtype)
        grid = np.arange(size) / size
        spot = (grid[:, None] - 0.5) ** 2 + (grid - 0.4) ** 2
        self.start = jnp.full((size, size), 0.1, dtype)
        self.target = forward(self.decay, jnp.asarray(np.exp(-spot / 0.02), dtype))
        rule = pg.AnalyticInverse(Partial(inverse, self.decay))
        simulator = pg.Simulator(Partial(forward, self.decay), rule)
        self.objective = pg.Objective(simulator, pg.SquaredLoss(self.target))


def forward(decay: jax.Array, x: jax.Array) -> jax.Array:
    """z, a time t later."""
    return jnp.fft.irfft2(decay * jnp.fft.rfft2(x), s=x.shape)


def inverse(decay: jax.Array, z: jax.Array) -> jax.Array:
    """x, a time t before."""
    return jnp.fft.irfft2(jnp.fft.rfft2(z) / decay, s=z.shape)


def main(quick: bool) -> None:
    """One table for each precision."""
    print(
        f"PG with step size {ETA} and the exact inverse; only the first and last "
        f"iterate are recorded. A step: the medians of runs of {LONG} and {SHORT} "
        f"steps, subtracted and divided by {LONG - SHORT}; the start is what is left. "
        "Of minima: the same ratio from the quickest runs, which other work on the "
        "machine disturbs least. Forward: calls in a run, the first one included. "
        "Error: largest entry of |z - exact| over that of |exact|, at the end.\n"
    )
    columns = ["run", "compile", f"{LONG} steps", "start", "a step", "ratio"]
    columns += ["of minima", "forward", "error", "goal"]
    sizes = [(128, "float32"), (512, "float32"), (512, "float64")]
    for size, dtype in [(16, "float32")] if quick else sizes:
        with jax.enable_x64(dtype == "float64"):
            print(f"{size} x {size}, {dtype}:\n")
            show(columns, _rows(Heat(size, dtype)))


def _rows(heat: Heat) -> list[list[object]]:
    """Bare, then physgrad with and without the test of the loss."""
    plain, monotone = (
        pg.PhysicalGradient(ETA),
        pg.PhysicalGradient(ETA, acceptance="monotone"),
    )
    runs = {
        "bare": lambda steps: _bare(heat, steps),
        "PG, `iterate`": lambda steps: _iterate(heat, plain, steps),
        "PG, monotone, `iterate`": lambda steps: _iterate(heat, monotone, steps),
        "PG, monotone, `minimize`": lambda steps: _minimize(heat, monotone, steps),
    }
    calls: dict[Any, Callable[[], Any]] = {}
    compiling: dict[str, float] = {}
    for name, run in runs.items():
        for steps in (SHORT, LONG):
            calls[name, steps] = run(steps)
            started = time.perf_counter()
            calls[name, steps]()
            compiling[name] = time.perf_counter() - started
    return _table(heat, list(runs), calls, compiling)


def _table(
    heat: Heat,
    names: list[str],
    calls: dict[Any, Callable[[], Any]],
    compiling: Mapping[str, float],
) -> list[list[object]]:
    times: dict[Any, Times] = dict(alternate(calls, SAMPLES, budget=60.0))

    def a_step(name: str, of: Callable[[Times], float]) -> float:
        return (of(times[name, LONG]) - of(times[name, SHORT])) / (LONG - SHORT)

    step = {name: a_step(name, lambda t: t.median) for name in names}
    quickest = {name: a_step(name, lambda t: min(t.samples)) for name in names}
    rows = []
    for name in names:
        z, count = calls[name, LONG]()
        ratio = step[name] / step["bare"]
        least = quickest[name] / quickest["bare"]
        rows.append(
            [
                name,
                duration(compiling[name]),
                times[name, LONG],
                duration(max(0.0, times[name, LONG].median - LONG * step[name])),
                duration(step[name]),
                f"{ratio:.2f}",
                f"{least:.2f}",
                count,
                f"{_error(heat, z):.1e}",
                verdict(f"<= {GOAL}", ratio <= GOAL) if "monotone" in name else "",
            ]
        )
    return rows


def _error(heat: Heat, z: Any) -> float:
    """How far the last z is from target + (1 - eta)^steps (z0 - target)."""
    target = np.asarray(heat.target, float)
    first = np.asarray(forward(heat.decay, heat.start), float)
    exact = target + (1 - ETA) ** LONG * (first - target)
    return float(np.max(np.abs(np.asarray(z) - exact)) / np.max(np.abs(exact)))


def _bare(heat: Heat, steps: int) -> Callable[[], Any]:
    @jax.jit
    def run(decay: jax.Array, target: jax.Array, x: jax.Array) -> Any:
        def step(now: Any, _: None) -> tuple[Any, None]:
            _, z = now
            x = inverse(decay, z - ETA * (z - target))
            return (x, forward(decay, x)), None

        return jax.lax.scan(step, (x, forward(decay, x)), None, length=steps)[0]

    def call() -> Any:
        _, z = jax.block_until_ready(run(heat.decay, heat.target, heat.start))
        return z, steps + 1

    return call


def _iterate(heat: Heat, method: pg.Optimizer, steps: int) -> Callable[[], Any]:
    @eqx.filter_jit
    def run(
        objective: pg.Objective, method: pg.Optimizer, x0: jax.Array
    ) -> pg.Iterates:
        return pg.iterate(objective, method, x0, steps, record_every=steps)

    def call() -> Any:
        ends = jax.block_until_ready(run(heat.objective, method, heat.start))
        return ends.spaces["z"][-1], int(ends.evaluations.forward)

    return call


def _minimize(heat: Heat, method: pg.Optimizer, steps: int) -> Callable[[], Any]:
    def call() -> Any:
        run = pg.minimize(heat.objective, method, heat.start, steps, record_every=steps)
        return run.trajectory["z"][-1], run.evaluations["forward"]

    return call
