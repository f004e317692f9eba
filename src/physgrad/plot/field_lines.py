"""Fields of one axis: lines in one panel, and their differences in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from physgrad.plot import marks
from physgrad.plot.canvas import add_note, finish, write_ticks
from physgrad.plot.field_values import Fields
from physgrad.plot.labels import Label, Obstacles, merged, place_labels, plain
from physgrad.plot.legend import add_legend
from physgrad.plot.levels import LINE_COLOR
from physgrad.plot.style import (
    DASH_DOT_DOTTED,
    DASH_DOTTED,
    DASHED,
    DOTTED,
    LONG_DASHED,
    MISSING,
    SOLID,
    STYLES,
    Style,
    kind_of,
)

WIDTH, HEIGHT = 6.4, 2.9
# In inches: left, bottom, right and top of each panel.
MARGINS = (0.85, 0.62, 0.2, 0.42)
# Room above and below the lines, and to their right for names, in parts of the whole.
ROOM, BESIDE = 0.08, 0.22
# Markers of a line that has many points.
MARKERS = 8
# Of fields that are named after no method: the color of text, and these.
LOOKS = [
    ("o", SOLID),
    ("^", DASHED),
    ("v", DOTTED),
    ("X", DASH_DOTTED),
    ("P", LONG_DASHED),
    ("*", DASH_DOT_DOTTED),
]


def draw_lines(fields: Fields, given: Sequence[Axes] | None) -> tuple[Axes, ...]:
    """The fields in a panel, and the differences to the reference in another."""
    axes = tuple(given or _axes(fields.panels))
    chosen = line_styles(fields.arrays, fields.reference)
    own = given is None
    _draw_panel(axes[0], fields.arrays, chosen, own)
    finish(axes[0], "fields", "entry", fields.quantity)
    _scale(axes[0], fields.quantity)
    if fields.reference is not None:
        ax, differences = axes[1], fields.differences
        ax.axhline(0.0, color=LINE_COLOR, linewidth=0.8, zorder=1, gid="zero")
        _draw_panel(ax, differences, chosen, own, about_zero=True)
        finish(ax, f"differences to {plain(fields.reference)}", "entry", "")
        _scale(ax, fields.quantity)
    return axes


def line_styles(names: Iterable[str], reference: str | None) -> dict[str, Style]:
    """A method's own style for a field with its name; black and a dash for another.

    >>> made = line_styles(["PG", "truth", "fit"], reference="truth")
    >>> made["PG"].color, made["truth"].dash, made["fit"].dash
    ('#009E73', (), (4.0, 2.0))
    """
    chosen: dict[str, Style] = {}
    looks = 0
    # the reference comes first, and is solid
    for name in sorted(names, key=lambda name: name != reference):
        kind = kind_of(name, "")
        if kind != "other" and STYLES[kind] not in chosen.values():
            chosen[name] = STYLES[kind]
        else:
            marker, dash = LOOKS[looks % len(LOOKS)]
            chosen[name] = Style(marks.ink(), marker, dash)
            looks += 1
    return chosen


def _axes(panels: int) -> list[Axes]:
    """Panels of a new figure, one below the other."""
    left, bottom, right, top = MARGINS
    height = panels * HEIGHT
    figure = Figure(figsize=(WIDTH, height))
    inner = (WIDTH - left - right, HEIGHT - bottom - top)
    lowest = [bottom + HEIGHT * row for row in reversed(range(panels))]
    boxes = [np.array([left, low, *inner]) for low in lowest]
    size = np.array([WIDTH, height, WIDTH, height])
    return [figure.add_axes(tuple(box / size)) for box in boxes]


def _draw_panel(
    ax: Axes,
    arrays: Mapping[str, np.ndarray],
    chosen: Mapping[str, Style],
    own: bool,
    *,
    about_zero: bool = False,
) -> None:
    """Lines, what they are called, and where they are not finite."""
    _set_limits(ax, arrays, about_zero)
    obstacles = Obstacles(ax)
    lines, labels, paths = [], [], []
    for name, array in arrays.items():
        line = _draw_line(ax, name, array, chosen[name])
        points = np.asarray(line.get_xydata())
        points = points[np.isfinite(points).all(axis=1)]
        obstacles.add_line(points)
        if len(points):
            away = np.array([1.0, 0.0])
            color = chosen[name].color
            labels.append(Label(plain(name), points[-1], color, away, "field-label"))
            lines.append(line)
            paths.append(points)
        _mark_missing(ax, name, array)
    together = merged(ax, labels, paths)
    if place_labels(ax, together, obstacles) is None:
        add_legend(ax, labels, lines, obstacles, widen=own)


def _set_limits(ax: Axes, arrays: Mapping[str, np.ndarray], about_zero: bool) -> None:
    values = np.concatenate([array[np.isfinite(array)] for array in arrays.values()])
    low, high = (0.0, 0.0) if not len(values) else (values.min(), values.max())
    if about_zero:
        high = max(-low, high)
        low = -high
    room = ROOM * (high - low) or abs(high) / 2 or 1.0
    ax.set_ylim(low - room, high + room)
    last = max(len(array) for array in arrays.values()) - 1
    wide = max(last, 1)
    ax.set_xlim(-0.03 * wide, last + BESIDE * wide)
    ticks = MaxNLocator(7, integer=True).tick_values(0, last)
    ax.set_xticks([tick for tick in ticks if 0 <= tick <= last])


def _draw_line(ax: Axes, name: str, array: np.ndarray, style: Style) -> Line2D:
    """A line with gaps where the array is not finite; markers tell it from others."""
    every = max(1, len(array) // MARKERS)
    number = len(ax.lines)
    look: dict[str, Any] = marks.marker_style(style, ax.get_facecolor())
    (line,) = ax.plot(
        np.arange(len(array)),
        array,
        label=plain(name),
        gid="field",
        markevery=(number % every, every),
        zorder=3,
        **marks.line_style(dataclasses.replace(style, hollow=False)),
        **look,
    )
    return line


def _mark_missing(ax: Axes, name: str, array: np.ndarray) -> None:
    """Pink strokes at the lower edge where a field is not finite, and how many."""
    missing = np.flatnonzero(~np.isfinite(array))
    if len(missing) == 0:
        return
    ax.plot(
        missing,
        np.zeros(len(missing)),
        transform=ax.get_xaxis_transform(),
        marker="|",
        markersize=12,
        markeredgewidth=2,
        color=MISSING,
        linestyle="none",
        gid="missing",
    )
    said = f"{plain(name)}: not finite (pink): {len(missing)} of {len(array)}"
    add_note(ax, said)


def _scale(ax: Axes, quantity: str) -> None:
    """Short numbers at the axis, and what they are to be multiplied with."""
    largest = float(np.max(np.abs(ax.get_ylim())))
    ax.set_ylabel(f"{quantity}{write_ticks(ax.yaxis, largest)}".strip())
