"""Tables in HTML for the page and the report. All that stands in them is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from physgrad.comparison.comparison import Comparison

LONG = 40
"""Letters from which on a cell is prose, and wide."""
MOST_ENTRIES = 6
"""Of a vector; more are left out."""


def results_table(comparison: Comparison) -> str:
    """How each run ended, and what to do about it: the library's own words."""
    heads = ("method", "result", "loss", "x", "evaluations", "run time", "message")
    rows = [
        (
            name,
            str(run.result),
            f"{run.loss:.6g}",
            vector(run.x),
            ", ".join(f"{n} {what}" for what, n in run.evaluations.items() if n),
            f"{1e3 * run.seconds.run:.3g} ms",
            run.message or "-",
        )
        for name, run in comparison.runs.items()
    ]
    return table("How each run ended", heads, rows)


def vector(values: Any) -> str:
    """A point in words, to five digits."""
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(values)])
    shown = ", ".join(f"{value:.5g}" for value in flat[:MOST_ENTRIES])
    return f"({shown}{', ...' if len(flat) > MOST_ENTRIES else ''})"


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows."""
    head = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in heads)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(_cell(cell) for cell in cells)
        + "</tr>"
        for first, *cells in rows
    )
    said = html.escape(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{said}">'
        f"<table><caption>{said}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    kind = ' class="words"' if len(text) > LONG else ""
    return f"<td{kind}>{html.escape(text)}</td>"
