"""Parts of the page that are text: messages, links, code. All of it is escaped."""

from __future__ import annotations

import html

from physgrad.explorer.anatomy import RULES, Anatomy
from physgrad.plot.text_tables import table, vector

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


def numbers(parts: Anatomy) -> str:
    """One step in numbers: what the arrows show."""
    lines = [
        ("x", vector(parts.x)),
        ("z = P(x)", vector(parts.z)),
        ("L(z)", f"{parts.loss:.6g}"),
        ("dL/dz", vector(parts.gradient)),
        (f"z~ = z - {parts.step_size:.4g} B^-1 dL/dz", vector(parts.target)),
    ]
    said = f"Step {parts.step + 1} of {parts.method}"
    landed = [
        (
            one.rule,
            RULES[one.rule],
            vector(one.x),
            vector(one.z),
            f"{one.loss:.6g}",
            one.certificate,
        )
        for one in parts.landings
    ]
    heads = ("rule", "what it is", "x+", "P(x+)", "L", "certificate")
    return table(said, ("quantity", "value"), lines) + table(
        "Where each rule pulls z~ back to", heads, landed
    )
