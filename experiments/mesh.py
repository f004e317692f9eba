"""Mesh independence: do finer grids need more steps?

The conductivity of a heated rod from its temperature, -(rho u')' = 1 on n cells, and
the permeability of ground from the pressure in it, -div(a grad u) = 1 on n by n cells;
data without noise. The truth is e^(g / 4), g a smooth Gaussian field of size one, the
same on all grids (`random_field` of power (1 + |k|^2)^-4); the start is 1.
Counted are the steps to a loss |u - data|^2 of 1e-8 of that at the start.

- PG: the simulator's own inverse, which is direct, with step size 1, and with 0.5.
- Gauss-Newton, on the rod with a dense Jacobian, in the plane by products, LSMR to
  1e-5. On the rod also Levenberg-Marquardt, which is dense.
- L-BFGS, and Adam with the rate of a sweep that is there first.

In the plane the rivals go up to 64 by 64 cells: beyond, a run takes minutes.
Numbers of steps have limits: L-BFGS and Adam 20,000 on the rod, 4,000 and 1,000 in the
plane, LM 100.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import lineax as lx
import numpy as np
from figures import legend, line, panels
from matplotlib.figure import Figure
from methods import COLUMNS, adam_to_goal, median, row, table, to_goal, verdict

import physgrad as pg
from physgrad.problems.data import random_field

SIZES = {"rod": (32, 64, 128, 256), "ground": (16, 32, 64, 128, 256)}
QUICK = {"rod": (16, 32), "ground": (8, 16)}
SPREAD, CLOSE = 0.25, 1e-8
# By method: none is stopped before it has had time.
STEPS = {"rod": 20_000, "ground": 4000}
ADAM_STEPS = {"rod": 20_000, "ground": 1000}
DAMPED_STEPS, LARGEST_FOR_RIVALS = 100, 64
RATES = (3e-3, 1e-2, 3e-2, 1e-1)


def cases(quick: bool) -> dict[str, dict[str, Any]]:
    """Each grid with each seed."""
    return {
        f"{physics} {size}, seed {seed}": {
            "physics": physics,
            "size": size,
            "seed": seed,
            "quick": quick,
        }
        for physics, sizes in (QUICK if quick else SIZES).items()
        for size in sizes
        for seed in range(2 if quick else 10)
    }


@functools.cache
def made(physics: str, size: int) -> pg.Simulator:
    """The simulator, once: a fresh one would be compiled anew for each seed."""
    if physics == "rod":
        return pg.simulators.conductivity(size)
    return pg.simulators.darcy((size, size))


def run(physics: str, size: int, seed: int, quick: bool) -> dict[str, Any]:
    """Method to its steps, price and seconds."""
    rod = physics == "rod"
    shape = (size,) if rod else (size, size)
    truth = jnp.asarray(np.exp(SPREAD * random_field(shape, 4.0, seed)))
    simulator = made(physics, size)
    objective = pg.Objective(simulator, pg.SquaredLoss(simulator(truth)))
    start = jnp.ones(shape)
    goal = CLOSE * float(objective(start))
    products = pg.LinearizedInverse(solver=lx.LSMR(rtol=1e-5, atol=0.0))
    most, slowest = (50, 50) if quick else (STEPS[physics], ADAM_STEPS[physics])
    methods: dict[str, tuple[Any, int]] = {
        "PG": (pg.PhysicalGradient(1.0), 50),
    }
    if rod or size <= LARGEST_FOR_RIVALS:
        methods["PG, step size 0.5"] = pg.PhysicalGradient(0.5), 50
    if rod:
        methods["Gauss-Newton"] = pg.GaussNewton(1.0), 50
        methods["LM"] = pg.LevenbergMarquardt(), DAMPED_STEPS
    if not rod and size <= LARGEST_FOR_RIVALS:
        methods["Gauss-Newton"] = pg.PhysicalGradient(1.0, inverse=products), 10
    if rod or size <= LARGEST_FOR_RIVALS:
        methods["L-BFGS"] = pg.LBFGS(), most
    found = {
        name: to_goal(objective, method, start, steps, goal)
        for name, (method, steps) in methods.items()
    }
    if "L-BFGS" in found:
        found["Adam"] = adam_to_goal(objective, start, slowest, goal, RATES)
    return found


def _medians(
    results: Mapping[str, Mapping[str, Any]], quick: bool
) -> dict[str, dict[str, dict[int, float]]]:
    """Physics to method to cells to steps, infinite where most do not get there."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for physics, sizes in (QUICK if quick else SIZES).items():
        for size in sizes:
            runs = _of(results, physics, size)
            for method in runs[0]:
                steps = median([one[method]["steps"] for one in runs])
                found.setdefault(physics, {}).setdefault(method, {})[size] = steps
    return found


def _of(
    results: Mapping[str, Mapping[str, Any]], physics: str, size: int
) -> list[Mapping[str, Any]]:
    start = f"{physics} {size},"
    return [found for key, found in results.items() if key.startswith(start)]


def report(results: Mapping[str, Mapping[str, Any]], quick: bool) -> str:
    """A table for each physics, and how steps grow from the coarsest grid on."""
    parts = []
    for physics, methods in _medians(results, quick).items():
        rows = []
        for method, steps in methods.items():
            for size in steps:
                runs = [one[method] for one in _of(results, physics, size)]
                rows.append([str(size), *row(method, runs)])
        parts += [f"## {physics.capitalize()}\n", table(["cells", *COLUMNS], rows)]
        for method, steps in methods.items():
            counts = list(steps.values())
            words = " -> ".join("more" if c == np.inf else f"{c:.0f}" for c in counts)
            if method.startswith(("PG", "Gauss")):
                goal = f"{method}: steps within 20 % on all grids ({words})"
                parts.append(verdict(goal, max(counts) <= 1.2 * min(counts) < np.inf))
            elif method != "LM":
                grow = counts[0] < np.inf and counts[-1] > 1.2 * counts[0]
                parts.append(verdict(f"{method}: steps grow ({words})", grow))
        parts.append("")
    return "\n".join(parts)


def draw(results: Mapping[str, Mapping[str, Any]], quick: bool) -> Figure:
    """Steps against cells along an axis."""
    found = _medians(results, quick)
    figure, axes = panels(len(found))
    for one, (physics, methods) in zip(axes, found.items(), strict=True):
        for method, steps in methods.items():
            there = {size: count for size, count in steps.items() if count < np.inf}
            line(one, method, list(there), list(there.values()), marks=True)
        one.set(xscale="log", yscale="log", title=physics.capitalize())
        one.set(xlabel="cells along an axis", ylabel="steps, median")
        one.xaxis.set_major_formatter("{x:.0f}")
        one.xaxis.set_minor_formatter("")
        one.set_xticks([size for size in next(iter(methods.values()))])
    legend(figure, axes)
    return figure
