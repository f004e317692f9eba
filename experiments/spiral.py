"""A spiral from 1,024 random starts: how many get there, in how many steps?

z = R(3 |x|) x, L = |z - target|^2, starts uniform in the square of side 4. A start has
got there when L <= 1e-8 of its first value. PG has a numerical inverse, no formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from methods import RATES, table, verdict

import physgrad as pg

STEPS, CLOSE = 200, 1e-8


def cases(quick: bool) -> dict[str, dict[str, Any]]:
    """The methods."""
    starts = 64 if quick else 1024
    names = ["PG", "PG, formula", "Gauss-Newton", "LM", "L-BFGS"]
    names += [f"Adam, {rate:g}" for rate in RATES[2:]]
    names += [f"GD, {rate:g}" for rate in RATES]
    return {name: {"name": name, "starts": starts} for name in names}


def _method(name: str) -> Any:
    if name.startswith("Adam"):
        return pg.OptaxOptimizer(optax.adam(float(name.split()[-1])))
    if name.startswith("GD"):
        return pg.GradientDescent(float(name.split()[-1]))
    return {
        "PG": pg.PhysicalGradient(1.0, inverse=pg.NumericalInverse()),
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

    def losses(start: Any) -> Any:
        ends = pg.iterate(problem.objective, _method(name), start, steps)
        return ends.losses

    found = np.asarray(jax.jit(jax.vmap(losses))(jnp.asarray(x0)))
    close = found <= CLOSE * found[:, :1]
    first = np.where(close.any(axis=1), close.argmax(axis=1), -1)
    return {"steps": first.tolist()}


def report(results: Mapping[str, Mapping[str, Any]], quick: bool) -> str:
    """One row for each method, the best of each sweep."""
    rates: dict[str, tuple[float, list[int], str]] = {}
    for name, found in results.items():
        kind = name.split(",")[0] if name.startswith(("Adam", "GD")) else name
        steps = found["steps"]
        share = sum(step >= 0 for step in steps) / len(steps)
        if kind not in rates or share > rates[kind][0]:
            rates[kind] = share, [s for s in steps if s >= 0], name
    rows = [
        [
            name,
            f"{share:.1%}",
            f"{np.median(steps):.0f}" if steps else "-",
            f"{max(steps)}" if steps else "-",
        ]
        for share, steps, name in rates.values()
    ]
    share, steps, _ = rates["PG"]
    goal = "PG, numerical inverse: all starts, in at most 8 steps each"
    columns = ["method", "starts that get there", "steps, median", "most"]
    reached = share == 1.0 and max(steps) <= 8
    return table(columns, rows) + "\n" + verdict(goal, reached) + "\n"
