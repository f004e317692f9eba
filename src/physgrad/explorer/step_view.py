"""One step taken apart, as arrows in x-space and z-space."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from bokeh.layouts import row
from bokeh.models import Arrow, ColumnDataSource, LabelSet, LayoutDOM, Range1d, VeeHead
from bokeh.plotting import figure

from physgrad.explorer.anatomy import OWN, Anatomy
from physgrad.plot.linked import WRITING, plain_figure
from physgrad.plot.space import Plane
from physgrad.plot.style import BLUE, GREEN, GREY, PURPLE, VERMILLION
from physgrad.plot.theme import WRAP

DOWNHILL, TARGET = "-dL/dz", "z~"
AMBER = "#A87400"
"""To be told on light and dark."""
LOOKS = {
    DOWNHILL: (VERMILLION, "solid"),
    TARGET: (PURPLE, "dashed"),
    "J^T": (BLUE, "solid"),
    "J^+": (GREY, "dashed"),
    "P^-1": (GREEN, "solid"),
    OWN: (AMBER, "dotted"),
}
"""Arrow, by what stands at its head, to its color and dash."""
# In the order in which points that are the same are named.
ORDER = (OWN, "P^-1", TARGET, "J^+", "J^T", DOWNHILL)
# Pixels from a head to its name: above where the nearest other head is below.
ABOVE, BELOW = 5, -19
# An arrow longer than this many steps leaves the picture.
FAR = 4.0


class StepView:
    """Arrows from an iterate: what the loss asks for, and where each rule lands."""

    def __init__(self) -> None:
        self.arrows = {
            (space, name): ColumnDataSource() for space in "xz" for name in LOOKS
        }
        self.ends = {space: ColumnDataSource() for space in "xz"}
        self.figures = {space: self._figure(space) for space in "xz"}

    @property
    def layout(self) -> LayoutDOM:
        """Both figures."""
        return row(*self.figures.values(), **WRAP)

    def show(
        self,
        parts: Anatomy,
        pairs: Mapping[str, tuple[int, ...]],
        planes: Mapping[str, Plane],
    ) -> None:
        """Another step, seen in the same entries as the spaces are.

        **Arguments:** of the first space and the last: the entries that are shown, and
        their names.
        """
        length = max(float(np.linalg.norm(parts.target - parts.z)), 1e-30)
        slope = max(float(np.linalg.norm(parts.gradient)), 1e-30)
        # the gradient has another unit than z: its arrow is as long as the step
        downhill = parts.z - parts.gradient * (length / slope)
        in_z = {DOWNHILL: downhill, TARGET: parts.target}
        in_z |= {landing.rule: landing.z for landing in parts.landings}
        in_x = {landing.rule: landing.x for landing in parts.landings}
        spaces = list(pairs)
        for space, begin, ends, name in (
            ("x", parts.x, in_x, spaces[0]),
            ("z", parts.z, in_z, spaces[-1]),
        ):
            shown, line = self.figures[space], len(pairs[name]) == 1
            across, up = planes[name].axis_names
            shown.xaxis.axis_label = across
            shown.yaxis.axis_label = up
            # on a line the arrows stand below each other: height means nothing
            shown.yaxis.visible = shown.ygrid.visible = not line
            self._show(space, begin, ends, pairs[name])

    def _show(
        self,
        space: str,
        begin: np.ndarray,
        ends: dict[str, np.ndarray],
        pair: tuple[int, ...],
    ) -> None:
        ends = {name: end for name, end in ends.items() if np.all(np.isfinite(end))}
        bases = {name: _seen(begin, pair, name) for name in ends}
        shown = {name: _seen(end, pair, name) for name, end in ends.items()}
        for name in LOOKS:
            ways = [(bases[name], shown[name])] if name in shown else []
            self.arrows[space, name].update(data=_arrows(ways))
        labels = _labels(shown)
        points = [_seen(begin, pair), *(shown[first] for first in labels)]
        self.ends[space].update(
            data={
                "x": [point[0] for point in points],
                "y": [point[1] for point in points],
                "text": [space, *labels.values()],
                "color": [WRITING, *(LOOKS[first][0] for first in labels)],
                "up": [_up(point, points) for point in points],
            }
        )
        self._look_at(space, points[0], shown, equal=len(pair) == 2)

    def _look_at(
        self, space: str, base: np.ndarray, ends: dict[str, np.ndarray], *, equal: bool
    ) -> None:
        """Show the step; a rule that overshoots it by far leaves the picture."""
        axes = slice(None) if equal else slice(1)
        lengths = {
            name: float(np.max(np.abs(end - base)[axes])) for name, end in ends.items()
        }
        usual = [lengths[name] for name in (OWN, "P^-1", TARGET) if name in lengths]
        reach = FAR * max(usual, default=0.0) or max(lengths.values(), default=1.0)
        near = [base, *(end for name, end in ends.items() if lengths[name] <= reach)]
        low, high = np.min(near, axis=0), np.max(near, axis=0)
        size = high - low
        if equal:  # one unit on both axes
            size = np.full(2, np.max(size))
        size = np.maximum(size, 1e-9 * (1 + float(np.max(np.abs(base)))))
        room = np.maximum(0.25 * size, (size - (high - low)) / 2 + 0.1 * size)
        shown = self.figures[space]
        for place, axis in enumerate((shown.x_range, shown.y_range)):
            start, end = low[place] - room[place], high[place] + room[place]
            axis.update(start=float(start), end=float(end))

    def _figure(self, space: str) -> figure:
        shown = plain_figure(
            f"one step, in {space}-space",
            "",
            "",
            x_range=Range1d(),
            y_range=Range1d(),
        )
        for name, (color, dash) in LOOKS.items():
            head = VeeHead(size=10, line_color=color, fill_color=color)
            arrow = Arrow(
                x_start="x0", y_start="y0", x_end="x1", y_end="y1",
                source=self.arrows[space, name], end=head,
            )  # fmt: skip
            arrow.update(line_color=color, line_width=2.5, line_dash=dash)
            shown.add_layout(arrow)
        shown.scatter("x", "y", source=self.ends[space], size=7, color="color")
        shown.add_layout(
            LabelSet(
                x="x", y="y", text="text", source=self.ends[space], x_offset=8,
                y_offset="up", text_font_size="13px", text_color=WRITING,
            )
        )  # fmt: skip
        return shown


def _labels(ends: dict[str, np.ndarray]) -> dict[str, str]:
    """What is written at each end; one text where several are the same point."""
    groups: dict[str, list[str]] = {}
    for name in sorted(ends, key=ORDER.index):
        size = float(np.max(np.abs(ends[name]))) + 1e-30
        near = (
            first
            for first in groups
            if float(np.max(np.abs(ends[first] - ends[name]))) <= 1e-3 * size
        )
        groups.setdefault(next(near, name), []).append(name)
    return {first: ", ".join(words) for first, words in groups.items()}


def _up(point: np.ndarray, points: list[np.ndarray]) -> int:
    others = [other for other in points if other is not point]
    if not others:
        return ABOVE
    nearest = min(others, key=lambda other: float(np.sum((other - point) ** 2)))
    return ABOVE if point[1] >= nearest[1] else BELOW


def _arrows(ways: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[float]]:
    """The columns of arrows, each from a point to another."""
    return {
        "x0": [float(begin[0]) for begin, _ in ways],
        "y0": [float(begin[1]) for begin, _ in ways],
        "x1": [float(end[0]) for _, end in ways],
        "y1": [float(end[1]) for _, end in ways],
    }


def _seen(
    point: np.ndarray, pair: tuple[int, ...], name: str | None = None
) -> np.ndarray:
    """Two entries of a point; of a single one, on the line of an arrow."""
    if len(pair) == 2:
        return np.asarray(point, float)[list(pair)]
    height = -1.0 - list(LOOKS).index(name) if name else 0.0
    return np.array([float(point[pair[0]]), height])
