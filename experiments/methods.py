"""What all studies share: tuned rivals, the price of a run, and tables."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optax

import physgrad as pg

# In calls of the simulator: a sweep of derivatives costs about two.
SWEEP = 2
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


def price(run: pg.Run) -> int:
    """What a run has cost, in calls of the simulator."""
    return int(_cost(run.evaluations))


def price_each(runs: pg.Runs) -> np.ndarray:
    """What each run of many has cost, in calls of the simulator."""
    return _cost(runs.evaluations)


def _cost(spent: Mapping[str, Any]) -> Any:
    sweeps = spent["vjp"] + spent["jvp"]
    return spent["forward"] + spent["inverse"] + SWEEP * sweeps


def to_goal(
    objective: pg.Objective, method: Any, start: Any, steps: int, goal: float
) -> dict[str, Any]:
    """Steps, price and seconds to a loss, compiled before; None where not reached."""
    stop = pg.Stop(loss=goal)

    def once() -> pg.Run:
        return pg.minimize(
            objective, method, start, steps, stop=stop, record_every=steps
        )

    run = once()
    if run.compilations:
        run = once()
    reached = run.loss <= goal
    return {
        "steps": run.num_steps if reached else None,
        "price": price(run) if reached else None,
        "seconds": run.seconds.run if reached else None,
        "loss": run.loss if np.isfinite(run.loss) else None,
        "result": str(run.result),
    }


def adam_to_goal(
    objective: pg.Objective, start: Any, steps: int, goal: float, rates: Iterable[float]
) -> dict[str, Any]:
    """Adam with the learning rate of a sweep that is there first; the sweep is free."""
    found = []
    for rate in rates:
        # nobody need be slower than the best so far
        steps = min([one["steps"] for one in found if one["steps"]], default=steps)
        one = to_goal(objective, adam(rate), start, steps, goal)
        found.append({**one, "rate": rate})
    there = [one for one in found if one["steps"]]
    return min(there, key=lambda one: one["steps"]) if there else found[-1]


@functools.cache
def adam(rate: float) -> pg.OptaxOptimizer:
    """Adam, made once: a fresh transformation would be compiled anew."""
    return pg.OptaxOptimizer(optax.adam(rate))


def tuned_adam(
    objective: pg.Objective, start: Any, steps: int, rates: Iterable[float] = RATES
) -> pg.Run:
    """Adam with the learning rate of a sweep that ends with the lowest loss.

    Its price is that of the best run alone: the sweep is a present.
    """
    runs = [
        pg.minimize(objective, adam(rate), start, steps, progress=False)
        for rate in rates
    ]
    return min(runs, key=lambda run: run.loss if np.isfinite(run.loss) else np.inf)


def spread(values: Sequence[float], form: str = ".3g") -> str:
    """The median, and the smallest and largest of some numbers.

    >>> spread([1.0, 2.0, 4.0])
    '2 (1 to 4)'
    """
    low, high = np.min(values), np.max(values)
    return f"{np.median(values):{form}} ({low:{form}} to {high:{form}})"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others numbers."""
    lines = [list(columns), ["---", *["--:"] * (len(columns) - 1)]]
    lines += [[str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def verdict(goal: str, reached: bool) -> str:
    """A goal, and whether it was reached."""
    return f"- {goal}: {'reached' if reached else '**not reached**'}"


COLUMNS = ["method", "there", "steps", "price", "seconds"]


def row(method: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """How often `to_goal` got there, and the medians of those that did."""
    there = [one for one in runs if one["price"] is not None]
    if not there:
        return [method, f"0 of {len(runs)}", "-", "-", "-"]
    return [
        method,
        f"{len(there)} of {len(runs)}",
        spread([one["steps"] for one in there]),
        spread([one["price"] for one in there]),
        f"{np.median([one['seconds'] for one in there]):.3g}",
    ]


def median(prices: Sequence[float | None]) -> float:
    """The median, where not reaching the goal is the highest price of all.

    >>> median([1.0, None, 3.0]), median([1.0, None, None])
    (3.0, inf)
    """
    return float(np.median([np.inf if price is None else price for price in prices]))
