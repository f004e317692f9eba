"""What is drawn of one run: its line, arrows, markers and end."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from physgrad.plot.style import Style
from physgrad.plot.view import View, visible_parts

LINE_WIDTH, THIN, MARKER_SIZE, HOLLOW_SIZE = 1.5, 0.9, 5.0, 8.5
MARKER_SIZES = {"D": 4.4, "s": 4.8, "*": 7.5, "P": 6.0, "p": 6.0, "h": 6.0}
STOP_SIZE = 12.0
BAND, BAND_ALPHA = 9.0, 0.22
MOST_ARROWS = 60
# In points: an arrow head; how far markers and heads are apart at least.
HEAD_LENGTH, HEAD_WIDTH = 6.5, 5.0
MARKER_SPACING, HEAD_SPACING = 7.0, 15.0
LEFT_OUT = "markers of near iterates are left out"


def ink() -> str:
    """The color of text under the present settings of matplotlib."""
    return rcParams["text.color"]


def line_style(style: Style, *, thin: bool = False) -> dict[str, Any]:
    """Color, width and dash, as matplotlib takes them."""
    return dict(
        color=style.color,
        linewidth=THIN if thin else LINE_WIDTH * style.width,
        linestyle=(0, style.dash) if style.dash else "-",
        dash_capstyle="butt",
    )


def band_style(style: Style) -> dict[str, Any]:
    """The wide, light band under a step where it is taken."""
    return dict(
        color=style.color, linewidth=BAND, alpha=BAND_ALPHA, solid_capstyle="round"
    )


def marker_style(
    style: Style, background: Any, *, empty: bool = False
) -> dict[str, Any]:
    """Marker, size and fill, as matplotlib takes them; `empty`: only its outline."""
    size = HOLLOW_SIZE if style.hollow else MARKER_SIZES.get(style.marker, MARKER_SIZE)
    if empty:
        return dict(
            marker=style.marker,
            markersize=size,
            markerfacecolor=background,
            markeredgecolor=style.color,
            markeredgewidth=1.1,
        )
    return dict(
        marker=style.marker,
        markersize=size,
        markerfacecolor="none" if style.hollow else style.color,
        markeredgecolor=style.color if style.hollow else background,
        markeredgewidth=1.2 if style.hollow else 0.5,
    )


def draw_run(
    ax: Axes, name: str, points: np.ndarray, style: Style, view: View
) -> Line2D:
    """The iterates as a line with markers, and arrows from iterate to iterate.

    Of many iterates some markers and arrows are left out; the line has them all.
    """
    points = view.within_reach(points.astype(float))
    (line,) = ax.plot(
        *points.T,
        label=name,
        gid="trajectory",
        markevery=shown_markers(ax, points, style),
        zorder=4 if style.hollow else 3,
        **line_style(style),
        **marker_style(style, ax.get_facecolor()),
    )
    draw_heads(ax, points, style.color, view)
    return line


def shown_markers(ax: Axes, points: np.ndarray, style: Style) -> list[int]:
    """Which of the points get a marker: the ends, and what has room between them."""
    apart = MARKER_SPACING + (HOLLOW_SIZE - MARKER_SIZE) * style.hollow
    ends = (0, len(points) - 1)
    return spaced(_in_points(ax, points), apart, always=ends).tolist()


def leaves_out(line: Line2D) -> bool:
    """Whether a point of the line is in the picture, but has no marker."""
    if line.axes is None:
        return False
    points = line.get_transform().transform(line.get_xydata())
    low, high = np.asarray(line.axes.get_window_extent())
    # a marker on the edge is seen
    hidden = np.all((points >= low - 1) & (points <= high + 1), axis=1)
    hidden[np.asarray(line.get_markevery())] = False
    return bool(hidden.any())


def draw_heads(ax: Axes, points: np.ndarray, color: str, view: View) -> None:
    """Arrow heads: amid what is seen of each segment with room for one, and at an exit.

    A segment that only crosses the picture has one, too.
    """
    steps = np.diff(points, axis=0)
    first, last = visible_parts(points[:-1], steps, view.low, view.high)
    middles = points[:-1] + (first / 2 + last / 2)[:, None] * steps
    origin = _in_points(ax, np.zeros((1, 2)))
    ways = _in_points(ax, steps) - origin  # on the page, where they are turned
    lengths = np.hypot(*ways.T) * (last - first)
    left = view.exit(points)
    if left is not None:
        lengths[left.segment] = 0.0  # its head is where it leaves
        add_heads(ax, left.place[None], left.heading[None], color)
    roomy = np.flatnonzero(lengths > 2 * HEAD_LENGTH)
    roomy = roomy[spaced(_in_points(ax, middles[roomy]), HEAD_SPACING)]
    if len(roomy) > MOST_ARROWS:
        roomy = roomy[np.linspace(0, len(roomy) - 1, MOST_ARROWS).astype(int)]
    add_heads(ax, middles[roomy], ways[roomy], color, centered=True)


def add_heads(
    ax: Axes,
    places: np.ndarray,
    directions: np.ndarray,
    color: str,
    *,
    centered: bool = False,
) -> None:
    """Arrow heads whose tips (or middles) are at places, shape (n, 2), in data."""
    if len(places) == 0:
        return
    back = HEAD_LENGTH / 2 if centered else HEAD_LENGTH
    shape = np.array([[HEAD_LENGTH, 0], [0, HEAD_WIDTH / 2], [0, -HEAD_WIDTH / 2]])
    shape = np.vstack([shape, shape[:1]]) - [back, 0]
    figure = ax.get_figure(root=True)
    heads = PathCollection(
        [Path(shape @ _rotation(direction).T, closed=True) for direction in directions],
        offsets=places,
        offset_transform=ax.transData,
        facecolors=color,
        edgecolors="none",
        zorder=3.5,
        gid="arrows",
    )
    inches = figure.dpi_scale_trans if figure is not None else Affine2D()
    heads.set_transform(Affine2D().scale(1 / 72) + inches)
    ax.add_collection(heads, autolim=False)


def draw_stop(ax: Axes, place: np.ndarray, color: str) -> None:
    """The stop sign at the last good iterate of a run that failed."""
    ax.plot(
        *place,
        marker="8",
        markersize=STOP_SIZE,
        markerfacecolor="none",
        markeredgecolor=color,
        markeredgewidth=1.6,
        linestyle="none",
        gid="stop",
        zorder=5,
        clip_on=False,
    )


def draw_start(ax: Axes, place: np.ndarray) -> None:
    """An open ring."""
    ax.plot(
        *place,
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=ink(),
        markeredgewidth=1.2,
        linestyle="none",
        gid="start",
        zorder=5,
    )


def draw_solution(ax: Axes, place: np.ndarray) -> None:
    """A cross."""
    ax.plot(
        *place,
        marker="x",
        markersize=9,
        markeredgecolor=ink(),
        markeredgewidth=1.4,
        linestyle="none",
        gid="solution",
        zorder=5,
    )


def spaced(
    places: np.ndarray, distance: float, always: tuple[int, ...] = ()
) -> np.ndarray:
    """Indices of places, shape (n, 2), each so far from the one taken before it.

    >>> spaced(np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]]), 2.0, always=(3,))
    array([0, 2, 3])
    """
    taken: list[int] = []
    for index, place in enumerate(places):
        if not taken or np.max(np.abs(place - places[taken[-1]])) >= distance:
            taken.append(index)
    return np.unique([*taken, *always]).astype(int)


def _rotation(direction: np.ndarray) -> np.ndarray:
    """The matrix that turns (1, 0) into a direction."""
    cos, sin = direction / (np.hypot(*direction) or 1.0)
    return np.array([[cos, -sin], [sin, cos]])


def _in_points(ax: Axes, data: np.ndarray) -> np.ndarray:
    """Data coordinates on the page, in points (1/72 inch)."""
    figure = ax.get_figure(root=True)
    dpi = figure.dpi if figure is not None else 72
    return ax.transData.transform(data) * (72 / dpi)
