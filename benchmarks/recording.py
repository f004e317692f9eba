"""What it costs to keep every iterate: `record_every=1` against the last one only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from report import show, verdict
from timing import alternate

import physgrad as pg

GOAL = 1.3
ENTRIES = 1000
RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Problem:
    """An objective with its start."""

    name: str
    objective: pg.Objective
    start: jax.Array
    num_steps: int


def problems(quick: bool) -> list[Problem]:
    """The toy with many steps, and a cheap and a costly simulator of medium size."""
    toy = pg.problems.get("toy")
    cheap = pg.Simulator(jnp.sinh, inverse=pg.AnalyticInverse(jnp.arcsinh))
    normal = jnp.ones(ENTRIES) / ENTRIES**0.5
    mirror = jnp.eye(ENTRIES) - 2 * jnp.outer(normal, normal)  # its own inverse
    costly = pg.Simulator(
        Partial(lambda q, x: q @ jnp.sinh(x), mirror),
        inverse=pg.AnalyticInverse(Partial(lambda q, z: jnp.arcsinh(q @ z), mirror)),
    )
    loss = pg.SquaredLoss(jnp.zeros(ENTRIES))
    start = jnp.linspace(-3.0, 3.0, ENTRIES)
    part = 100 if quick else 1
    return [
        Problem("toy", toy.objective, toy.start, 100_000 // part),
        Problem("sinh(x)", pg.Objective(cheap, loss), start, 1_000 // part),
        Problem("sinh(x)", pg.Objective(cheap, loss), start, 10_000 // part),
        Problem("Q sinh(x)", pg.Objective(costly, loss), start, 1_000 // part),
    ]


def main(quick: bool) -> None:
    """One row for each problem and method, and the least that JAX can do."""
    print(
        f"`minimize` after compiling, float32; the goal is a ratio <= {GOAL}. Bare: a "
        "jitted `lax.scan` of the same steps of GD that keeps x and z or only the last "
        "x, without checks, codes and losses: what memory alone costs. x and z have 2 "
        f"entries in the toy, else {ENTRIES:,}; Q is a dense reflection.\n"
    )
    rows = [row for problem in problems(quick) for row in _rows(problem)]
    show(["problem", "steps", "method", "kept", "on", "off", "ratio", "goal"], rows)


def _rows(problem: Problem) -> Iterator[list[object]]:
    """GD and PG by `minimize`, and GD by a bare scan."""
    methods = {"GD": pg.GradientDescent(RATE), "PG": pg.PhysicalGradient(RATE)}
    for name, optimizer in methods.items():
        calls = {
            "on": _minimize(problem, optimizer, 1),
            "off": _minimize(problem, optimizer, problem.num_steps),
        }
        lengths = [len(call().trajectory) for call in calls.values()]
        if lengths != [problem.num_steps + 1, 2]:
            raise RuntimeError(f"{name} recorded {lengths} iterates")
        yield _row(problem, name, calls)
    yield _row(problem, "GD, bare", {"on": _bare(problem, True), "off": _bare(problem)})


def _minimize(
    problem: Problem, optimizer: pg.Optimizer, record_every: int
) -> Callable[[], pg.Run]:
    return lambda: pg.minimize(
        problem.objective,
        optimizer,
        problem.start,
        problem.num_steps,
        record_every=record_every,
        progress=False,
    )


def _bare(problem: Problem, keep: bool = False) -> Callable[[], object]:
    def step(x: jax.Array, _: None) -> tuple[jax.Array, object]:
        x = x - RATE * jax.grad(problem.objective)(x)
        return x, (x, problem.objective.simulator(x)) if keep else None

    @jax.jit
    def run(x: jax.Array) -> object:
        return jax.lax.scan(step, x, None, length=problem.num_steps)

    jax.block_until_ready(run(problem.start))
    return lambda: jax.block_until_ready(run(problem.start))


def _row(
    problem: Problem, name: str, calls: Mapping[str, Callable[[], object]]
) -> list[object]:
    times = alternate(calls, budget=10.0)
    ratio = times["on"].median / times["off"].median
    kept = 2 * problem.start.nbytes * problem.num_steps / 1e6
    return [
        problem.name,
        f"{problem.num_steps:,}",
        name,
        f"{kept:.1f} MB",
        times["on"],
        times["off"],
        f"{ratio:.2f}",
        "" if "bare" in name else verdict(f"<= {GOAL}", ratio <= GOAL),
    ]
