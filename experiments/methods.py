"""What all studies share: tuned rivals, the price of a run, and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optax

import physgrad as pg

# In calls of the simulator: a sweep of derivatives costs about two.
SWEEP = 2
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


def price(run: pg.Run) -> int:
    """What a run has cost, in calls of the simulator."""
    spent = run.evaluations
    sweeps = spent["vjp"] + spent["jvp"]
    return spent["forward"] + spent["inverse"] + SWEEP * sweeps


def tuned_adam(
    objective: pg.Objective, start: Any, steps: int, rates: Iterable[float] = RATES
) -> pg.Run:
    """Adam with the learning rate of a sweep that ends with the lowest loss.

    Its price is that of the best run alone: the sweep is a present.
    """
    runs = [
        pg.minimize(
            objective,
            pg.OptaxOptimizer(optax.adam(rate)),
            start,
            steps,
            progress=False,
        )
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


def medians(
    results: Mapping[str, Mapping[str, Any]], pick: Callable[[Mapping[str, Any]], float]
) -> float:
    """The median over all cases of what is picked from each."""
    return float(np.median([pick(found) for found in results.values()]))
