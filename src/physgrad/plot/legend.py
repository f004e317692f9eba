"""The legend, where there is no room for direct labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from physgrad.plot.labels import Label, Obstacles, extent

FONT_SIZE = 9.0
# In sizes of the font: long enough to show the dashes on both sides of a marker.
SAMPLE = 4.5


def add_legend(
    ax: Axes,
    labels: Sequence[Label],
    lines: Sequence[Line2D],
    obstacles: Obstacles,
    *,
    widen: bool,
) -> None:
    """A legend, where direct labels would cover each other.

    To the right of the axes, for which the figure is widened; else, if the figure is
    somebody else's, in the emptiest corner.
    """
    place: dict[str, Any] = dict(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0
    )
    if not widen:
        place = dict(loc=_emptiest_corner(obstacles))
    place |= dict(fontsize=FONT_SIZE, frameon=not widen, handlelength=SAMPLE)
    # written afterwards: matplotlib leaves out what begins with _, and parses $
    legend = ax.legend(list(lines), [str(k) for k in range(len(lines))], **place)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label.text + label.after)
    center, size = extent(legend)
    if widen:
        _widen_figure(ax, size[0] + obstacles.pixels(FONT_SIZE))
    else:
        obstacles.add_box(center, size)


def _emptiest_corner(obstacles: Obstacles) -> str:
    """Where matplotlib is to put a legend."""
    corners = {
        "upper right": (1, 1),
        "upper left": (0, 1),
        "lower left": (0, 0),
        "lower right": (1, 0),
    }
    crowd = np.concatenate([obstacles.markers, obstacles.lines])
    low, high = obstacles.frame

    def crowded(corner: str) -> int:
        place = low + np.array(corners[corner]) * (high - low)
        return int(np.sum(np.all(np.abs(crowd - place) < (high - low) / 2.5, axis=1)))

    return min(corners, key=crowded)


def _widen_figure(ax: Axes, pixels: float) -> None:
    """Add to the right of a figure; its axes stay where and as large as they are."""
    figure = ax.get_figure(root=True)
    if figure is None:
        return
    width, height = figure.get_size_inches()
    wider = width + pixels / figure.dpi
    part = width / wider
    # all before the figure changes: equal axes would be laid out anew in its new shape
    boxes = [(one, one.get_position()) for one in figure.axes]
    figure.set_size_inches(wider, height)
    for one, box in boxes:
        one.set_position((box.x0 * part, box.y0, box.width * part, box.height))
