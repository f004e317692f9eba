"""One identity per method, in every picture: color, marker and dash.

Color-blind readers can tell the colors apart, and each reaches a contrast of 3:1 on
white and on the dark `#15171A`. Marker and dash say the same as the color. This file
needs no matplotlib.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, GREY = "#CC79A7", "#6E6E6E"
MISSING = "#E6007E"
"""Of what is not finite: in no method, and in no color map of fields."""

Dash = tuple[float, ...]
"""Lengths of ink and gap in line widths; empty for a solid line."""

SOLID: Dash = ()
DASHED: Dash = (4.0, 2.0)
DOTTED: Dash = (1.0, 1.6)
DASH_DOTTED: Dash = (5.0, 1.6, 1.0, 1.6)
LONG_DASHED: Dash = (8.0, 2.5)
DASH_DOT_DOTTED: Dash = (5.0, 1.6, 1.0, 1.6, 1.0, 1.6)


@dataclasses.dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    color: str
    """As #RRGGBB."""
    marker: str
    """Matplotlib's letter for it."""
    dash: Dash = SOLID
    width: float = 1.0
    """Relative to the other lines."""
    hollow: bool = False
    """Whether only the outline of the marker is drawn."""


STYLES: Mapping[str, Style] = {
    "gd": Style(BLUE, "o"),
    "newton": Style(VERMILLION, "s", DASHED),
    "pg": Style(GREEN, "D", width=1.5),
    "pg-numeric": Style(GREEN, "D", DOTTED, hollow=True),
    "adam": Style(PURPLE, "^", DASH_DOTTED),
    "adagrad": Style(PURPLE, "v", DASHED),
    "rmsprop": Style(PURPLE, "<", DOTTED),
    "sgd": Style(PURPLE, ">", LONG_DASHED),
    "optax": Style(PURPLE, "P", DASH_DOT_DOTTED),
    "gauss-newton": Style(GREY, "X", DASHED),
    "half-inverse": Style(VERMILLION, "v"),
    "lm": Style(GREY, "p", DASH_DOTTED),
    "lbfgs": Style(GREY, "*", DOTTED),
    "optimistix": Style(GREY, "P", LONG_DASHED),
    "other": Style(GREY, "d", DASH_DOT_DOTTED),
}
"""Kind of method to its style."""

_KINDS = {
    "GradientDescent": "gd",
    "Newton": "newton",
    "PhysicalGradient": "pg",
    "OptaxOptimizer": "optax",
    "GaussNewton": "gauss-newton",
    "HalfInverse": "half-inverse",
    "LevenbergMarquardt": "lm",
    "LBFGS": "lbfgs",
    "OptimistixOptimizer": "optimistix",
    "physical": "pg",
    "physical-lm": "pg-numeric",
}
# No two of them look alike when small; the octagon is the stop sign.
_SPARE_MARKERS = "PdX*^v<>p"
_SPARE_DASHES = (DASH_DOTTED, LONG_DASHED, DASH_DOT_DOTTED, DASHED, DOTTED)


def kind_of(name: str, words: str) -> str:
    """The kind of a method, a key of `STYLES`.

    **Arguments:** `name`: the name of the run; `words`: what the method is, as in
    `Comparison.optimizers`. The words decide; where they leave it open (which Optax
    transformation? a class of the user's), the name does.

    >>> kind_of("mine", "PhysicalGradient(step_size=0.3, inverse=NumericalInverse())")
    'pg-numeric'
    >>> kind_of("Adam", "OptaxOptimizer(...)"), kind_of("x", "SignDescent()")
    ('adam', 'other')
    """
    kind = _KINDS.get(words.partition("(")[0])
    if kind == "pg" and "inverse=NumericalInverse" in words:
        return "pg-numeric"
    said = name.partition(":")[0].strip().lower().replace(" ", "-")
    if kind == "optax":
        return said if STYLES.get(said, STYLES["gd"]).color == PURPLE else kind
    if kind is None:
        return said if said in STYLES else "other"
    return kind


def styles(optimizers: Mapping[str, str]) -> dict[str, Style]:
    """A style for each run, name to style, no two alike.

    **Arguments:** `optimizers`: name to words, as in `Comparison.optimizers`. The first
    run of a kind has the style of its kind; further ones keep its color and width.

    >>> made = styles({"gd": "GradientDescent()", "fast": "GradientDescent()"})
    >>> made["gd"].marker, made["fast"].color == made["gd"].color, made["fast"].marker
    ('o', True, 'P')
    """
    chosen: dict[str, Style] = {}
    kinds = {name: kind_of(name, words) for name, words in optimizers.items()}
    taken = {_look(STYLES[kind]) for kind in kinds.values()}
    seen: collections.Counter[str] = collections.Counter()
    for name, kind in kinds.items():
        style = STYLES[kind]
        if seen[kind]:
            style = _spare(style, seen[kind] - 1, taken)
            taken.add(_look(style))
        seen[kind] += 1
        chosen[name] = style
    return chosen


def _look(style: Style) -> tuple[str, str, bool]:
    """What tells markers apart."""
    return style.color, style.marker, style.hollow


def _spare(style: Style, number: int, taken: set[tuple[str, str, bool]]) -> Style:
    """Another style of the same color, its marker that of no other run of the color.

    Filled markers come first, then hollow ones; when all are taken, they come again,
    with other dashes.
    """
    dashes = [dash for dash in _SPARE_DASHES if dash != style.dash]
    looks = [
        dataclasses.replace(
            style, marker=marker, hollow=hollow, dash=dashes[number % len(dashes)]
        )
        for hollow in (False, True)
        for marker in _SPARE_MARKERS
    ]
    free = (look for look in looks if _look(look) not in taken)
    return next(free, looks[number % len(looks)])
