"""Orbits and arms, as they are seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physgrad.plot.canvas import SQUARE, axes_of, finish
from physgrad.plot.labels import plain
from physgrad.plot.marks import draw_solution, ink, line_style, marker_style
from physgrad.plot.style import GREY, Style, styles

MARGINS = (0.7, 0.62, 0.2, 0.42)
BESIDE = 1.9
"""Inches to the right, for the legend."""
ROOM = 0.06


def draw_orbit(
    orbits: Mapping[str, np.ndarray],
    seen: np.ndarray,
    optimizers: Mapping[str, str],
) -> Figure:
    """Positions that were seen, and orbits through the times they were seen at.

    **Arguments:** `orbits`: name to positions, (times, 2), that of a run by its name.
    """
    ax = _axes()
    looks = styles(optimizers)
    for name, path in orbits.items():
        _line(ax, name, path[:, :2], looks.get(name), markers=name in looks)
    ax.plot(
        *seen[:, :2].T,
        "o",
        color=ink(),
        markersize=4,
        label="seen",
        gid="seen",
        zorder=5,
    )
    ax.plot(0, 0, "*", color=ink(), markersize=11, label="star", gid="star")
    return _finished(
        ax, np.concatenate([seen[:, :2], [[0, 0]], orbits["start"][:, :2]])
    )


def draw_arm(
    postures: Mapping[str, np.ndarray], goal: np.ndarray, optimizers: Mapping[str, str]
) -> Figure:
    """The links of an arm at the start and at the end of each run, and the goal.

    **Arguments:** `postures`: name to the places of all joints, (joints + 1, 2 or 3);
    of three axes the first and the last are drawn, from the side.
    """
    ax = _axes()
    looks = styles(optimizers)
    across = [0, -1] if len(goal) > 2 else [0, 1]
    for name, joints in postures.items():
        _line(ax, name, joints[:, across], looks.get(name), markers=True)
    draw_solution(ax, goal[across])
    every = np.concatenate([joints[:, across] for joints in postures.values()])
    return _finished(ax, np.concatenate([every, [goal[across], [0, 0]]]))


def _axes() -> Axes:
    width, height = SQUARE
    left, bottom, right, top = MARGINS
    margins = (left, bottom, right + BESIDE, top)
    return axes_of(None, (width + BESIDE, height), margins)


def _line(
    ax: Axes, name: str, path: np.ndarray, style: Style | None, *, markers: bool
) -> None:
    look: dict[str, Any] = {"color": GREY, "linewidth": 1.0, "linestyle": "--"}
    if name == "true":
        look = {"color": ink(), "linewidth": 1.0, "linestyle": "-"}
    if style is not None:
        look = line_style(style)
        if markers:
            look |= marker_style(style, ax.get_facecolor())
    ax.plot(*path.T, label=plain(name), gid="path", zorder=3, **look)


def _finished(ax: Axes, points: np.ndarray) -> Figure:
    """Equal axes around the points, and a legend beside them."""
    points = points[np.isfinite(points).all(axis=1)]
    low, high = points.min(axis=0), points.max(axis=0)
    half = (0.5 + ROOM) * max(float(np.max(high - low)), 1e-12)
    middle = (low + high) / 2
    ax.set_xlim(middle[0] - half, middle[0] + half)
    ax.set_ylim(middle[1] - half, middle[1] + half)
    ax.set_aspect("equal", adjustable="box")
    finish(ax, "", "length", "length")
    legend = ax.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=9.0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure = ax.get_figure(root=True)
    if not isinstance(figure, Figure):
        raise ValueError("these axes were removed from their figure")
    return figure
