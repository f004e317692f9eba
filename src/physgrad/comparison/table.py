"""A comparison as a table for people."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from physgrad.trajectory import Run

if TYPE_CHECKING:
    from physgrad.comparison.comparison import Comparison

# x of more entries is not spelled out
SPELLED_OUT = 4
NONE = "-"


def table(comparison: Comparison) -> Table:
    """One row for each method; columns that no method has are left out."""
    columns = {
        "result": lambda name, run: str(run.result),
        "x": lambda name, run: _point(run),
        "distance": lambda name, run: _number(comparison.distance(name)),
        "loss": lambda name, run: _number(run.loss),
        "diagonal": lambda name, run: _number(comparison.alignment(name), ".6f"),
        "evaluations": lambda name, run: _evaluations(run),
        "run time": lambda name, run: _seconds(run.seconds.run),
    }
    sheet = Table(title=_title(comparison), title_justify="left")
    sheet.add_column("method", no_wrap=True)
    rows = {
        heading: [cell(name, run) for name, run in comparison.runs.items()]
        for heading, cell in columns.items()
    }
    shown = {heading: cells for heading, cells in rows.items() if set(cells) != {NONE}}
    for heading in shown:
        right = heading not in ("result", "evaluations")
        sheet.add_column(heading, justify="right" if right else "left")
    for row in zip(comparison.runs, *shown.values(), strict=True):
        sheet.add_row(*row)
    return sheet


def text(sheet: Table) -> str:
    """The table as plain text."""
    page = io.StringIO()
    Console(file=page, width=120, force_jupyter=False).print(sheet)
    return page.getvalue()


def _title(comparison: Comparison) -> str:
    name = comparison.problem or "comparison"
    steps = comparison.num_steps
    return f"{name}: {steps} step{'s' * (steps != 1)}"


def _number(value: float | None, form: str = ".4g") -> str:
    return NONE if value is None else format(value, form)


def _point(run: Run) -> str:
    entries = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(run.x)])
    if entries.size > SPELLED_OUT:
        return f"{entries.size} entries"
    return "[" + ", ".join(f"{value:.5g}" for value in entries) + "]"


def _evaluations(run: Run) -> str:
    return ", ".join(
        f"{count} {kind}" for kind, count in run.evaluations.items() if count
    )


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"
