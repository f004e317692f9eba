"""Parts of the page that are text: messages, links, code. All of it is escaped."""

from __future__ import annotations

import html

from physgrad.explorer.anatomy import METRICS, OWN, RULES, Anatomy
from physgrad.explorer.step_view import DOWNHILL, LOOKS, TARGET
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
        ("z~ = z - eta B^-1 dL/dz", vector(parts.target)),
    ]
    said = f"Step {parts.step + 1} of {parts.method}"
    landed = [
        (
            one.rule,
            vector(one.x),
            vector(one.z),
            f"{one.loss:.6g}",
            one.certificate,
        )
        for one in parts.landings
    ]
    heads = ("arrow", "x+", "P(x+)", "L", "certificate")
    return (
        _legend(parts)
        + table(said, ("quantity", "value"), lines)
        + table("Where each rule pulls z~ back to", heads, landed)
    )


def _legend(parts: Anatomy) -> str:
    """What the arrows are, and the letters."""
    eta = f"eta = {parts.step_size:.4g}"
    if not parts.in_z:
        eta += f"; {parts.method} itself takes its step in x and has no target"
    words = {
        DOWNHILL: "down the gradient of L, drawn as long as the step in z",
        TARGET: f"the step in z, to the target z~ = z - eta B^-1 dL/dz; {eta}; B is "
        f"{METRICS[parts.metric]}",
        **RULES,
        OWN: f"what {parts.method} did: the next iterate of its run",
    }
    drawn = {DOWNHILL, TARGET, *(landing.rule for landing in parts.landings)}
    items = "".join(
        f"<li>{_line(*LOOKS[name])} <b>{html.escape(name)}</b> {html.escape(text)}</li>"
        for name, text in words.items()
        if name in drawn
    )
    return f'<ul class="legend">{items}<li>J is dP/dx at x.</li></ul>'


def _line(color: str, dash: str) -> str:
    broken = {"solid": "none", "dashed": "6 3", "dotted": "2 3"}[dash]
    return (
        '<svg width="30" height="10" aria-hidden="true"><path d="M0 5H30" stroke='
        f'"{color}" stroke-width="2.5" stroke-dasharray="{broken}"/></svg>'
    )
