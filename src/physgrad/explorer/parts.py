"""Parts of the page that are text: messages, links, code. All of it is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from physgrad.comparison.comparison import Comparison
from physgrad.explorer.anatomy import RULES, Anatomy

EXPORTS = {
    "x.png": "x-space as PNG",
    "z.png": "z-space as PNG",
    "x.svg": "x-space as SVG",
    "z.svg": "z-space as SVG",
    "losses.svg": "losses as SVG",
    "results.json": "all results as JSON",
    "run.py": "Python",
}
"""File to what it is, in the list of links."""
LONG = 40
"""Letters from which on a cell is prose, and wide."""


def links(query: str) -> str:
    """Links to what can be taken away."""
    items = [
        f'<li><a href="export/{file}?{html.escape(query)}" download>{what}</a></li>'
        for file, what in EXPORTS.items()
    ]
    return f'<ul class="exports">{"".join(items)}</ul>'


def alert(text: str) -> str:
    """Something went wrong; screen readers say it at once."""
    return f'<p role="alert" class="alert">{html.escape(text)}</p>' if text else ""


def status(text: str) -> str:
    """Something takes its time."""
    return f'<p role="status" class="status">{html.escape(text)}</p>'


def ends(comparison: Comparison) -> str:
    """How each run ended, and what to do about it: the library's own words."""
    rows = [
        (
            name,
            str(run.result),
            f"{run.loss:.6g}",
            _vector(run.x),
            str(sum(run.evaluations.values())),
            run.message,
        )
        for name, run in comparison.runs.items()
    ]
    heads = ("method", "result", "loss", "x", "evaluations", "message")
    return _table("How each run ended", heads, rows)


def numbers(parts: Anatomy) -> str:
    """One step in numbers: what the arrows show."""
    lines = [
        ("x", _vector(parts.x)),
        ("z = P(x)", _vector(parts.z)),
        ("L(z)", f"{parts.loss:.6g}"),
        ("dL/dz", _vector(parts.gradient)),
        (f"z~ = z - {parts.step_size:.4g} B^-1 dL/dz", _vector(parts.target)),
    ]
    said = f"Step {parts.step + 1} of {parts.method}"
    landed = [
        (
            one.rule,
            RULES[one.rule],
            _vector(one.x),
            _vector(one.z),
            f"{one.loss:.6g}",
            one.certificate,
        )
        for one in parts.landings
    ]
    heads = ("rule", "what it is", "x+", "P(x+)", "L", "certificate")
    return _table(said, ("quantity", "value"), lines) + _table(
        "Where each rule pulls z~ back to", heads, landed
    )


def _vector(values: Any) -> str:
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(values)])
    shown = ", ".join(f"{value:.5g}" for value in flat[:6])
    return f"({shown}{', ...' if len(flat) > 6 else ''})"


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
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
