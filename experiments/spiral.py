"""A spiral from 1,024 random starts: how many get there, in how many steps?

z = R(3 |x|) x, L = |z - target|^2, starts uniform in the square of side 4. A start has
got there when L <= 1e-8. PG has a numerical inverse, no formula,
which may walk a long way round: up to 1,024 steps of its solver in one step, of 256 by
default, with which ten of the starts would not get there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from figures import legend, line, panels
from matplotlib.figure import Figure
from methods import RATES, adam, price_each, table, verdict

import physgrad as pg

STEPS, CLOSE = 200, 1e-8


def cases(quick: bool) -> dict[str, dict[str, Any]]:
    """The methods."""
    starts = 64 if quick else 1024
    names = ["PG, numerical inverse", "PG, formula", "Gauss-Newton", "LM", "L-BFGS"]
    names += [f"Adam, {rate:g}" for rate in RATES[2:]]
    names += [f"GD, {rate:g}" for rate in RATES]
    return {name: {"name": name, "starts": starts} for name in names}


def _method(name: str) -> Any:
    if name.startswith("Adam"):
        return adam(float(name.split()[-1]))
    if name.startswith("GD"):
        return pg.GradientDescent(float(name.split()[-1]))
    return {
        "PG, numerical inverse": pg.PhysicalGradient(
            1.0, inverse=pg.NumericalInverse(max_steps=1024)
        ),
        "PG, formula": pg.PhysicalGradient(1.0),
        "Gauss-Newton": pg.GaussNewton(1.0),
        "LM": pg.LevenbergMarquardt(),
        "L-BFGS": pg.LBFGS(),
    }[name]


def run(name: str, starts: int) -> dict[str, Any]:
    """How many steps each start needs; -1 for one that does not get there."""
    problem = pg.problems.get("spiral")
    x0 = jax.random.uniform(jax.random.key(0), (starts, 2), minval=-2.0, maxval=2.0)
    steps = 8 if name.startswith("PG") else STEPS

    runs = pg.minimize_many(
        problem.objective,
        _method(name),
        jnp.asarray(x0),
        steps,
        stop=pg.Stop(loss=CLOSE),
        progress=False,
    )
    there = runs.losses <= CLOSE
    return {
        "steps": np.where(there, runs.num_steps, -1).tolist(),
        "prices": price_each(runs).tolist(),
        "seconds": runs.seconds.run,
    }


def _best(results: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Method to its steps, of each sweep the rate with which most starts get there."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    for name, one in results.items():
        kind = name.split(",")[0] if name.startswith(("Adam", "GD")) else name
        steps = np.asarray(one["steps"])
        if kind not in found or (steps >= 0).sum() > (found[kind][1] >= 0).sum():
            found[kind] = name, steps
    return dict(found.values())


def report(results: Mapping[str, Mapping[str, Any]], quick: bool) -> str:
    """One row for each method, the best of each sweep."""
    rows = []
    for name, steps in _best(results).items():
        there, seconds = steps[steps >= 0], results[name]["seconds"]
        rows.append(
            [
                name,
                f"{len(there) / len(steps):.1%}",
                f"{np.median(there):.0f}" if len(there) else "-",
                f"{there.max()}" if len(there) else "-",
                f"{np.median(results[name]['prices']):.0f}",
                f"{seconds:.2g}",
            ]
        )
    steps = np.asarray(results["PG, numerical inverse"]["steps"])
    goal = "PG, numerical inverse: all starts, in at most 8 steps each"
    columns = ["method", "starts that get there", "steps, median", "most"]
    columns += ["price, median", "seconds, all starts"]
    reached = bool((steps >= 0).all() and steps.max() <= 8)
    return table(columns, rows) + "\n" + verdict(goal, reached) + "\n"


def draw(results: Mapping[str, Mapping[str, Any]], quick: bool) -> Figure:
    """The share of the starts that have got there after so many steps."""
    figure, axes = panels(1)
    counts = np.arange(1, STEPS + 1)
    for name, steps in _best(results).items():
        there = np.sort(steps[steps >= 0])
        share = np.searchsorted(there, counts, side="right") / len(steps)
        line(axes[0], name, counts.tolist(), share, marks=False)
    axes[0].set(xscale="log", xlabel="steps", ylabel="starts that got there")
    axes[0].yaxis.set_major_formatter("{x:.0%}")
    figure.set_size_inches(4.5, 3.6)
    legend(figure, axes, columns=3)
    return figure
