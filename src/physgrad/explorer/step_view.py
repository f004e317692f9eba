"""One step taken apart, as arrows in x-space and z-space."""

from __future__ import annotations

import numpy as np
from bokeh.layouts import row
from bokeh.models import Arrow, ColumnDataSource, LabelSet, LayoutDOM, Range1d, VeeHead
from bokeh.plotting import figure

from physgrad.explorer.anatomy import Anatomy
from physgrad.plot.linked import WRITING, plain_figure
from physgrad.plot.style import BLUE, GREEN, GREY, PURPLE, VERMILLION
from physgrad.plot.theme import WRAP

LOOKS = {
    "-dL/dz": (VERMILLION, "solid"),
    "step in z": (PURPLE, "dashed"),
    "J^T": (BLUE, "solid"),
    "J^+": (GREY, "dashed"),
    "P^-1": (GREEN, "solid"),
}
"""Arrow to its color and dash."""
WORDS = {name: name for name in LOOKS} | {"step in z": "z~"}
"""What stands at its head."""
# In the order in which points that are the same are named.
ORDER = ("P^-1", "step in z", "J^+", "J^T", "-dL/dz")
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

    def show(self, parts: Anatomy) -> None:
        """Another step."""
        length = max(float(np.linalg.norm(parts.target - parts.z)), 1e-30)
        slope = max(float(np.linalg.norm(parts.gradient)), 1e-30)
        # the gradient has another unit than z: its arrow is as long as the step
        downhill = parts.z - parts.gradient * (length / slope)
        in_z = {"-dL/dz": downhill, "step in z": parts.target}
        in_z |= {landing.rule: landing.z for landing in parts.landings}
        in_x = {landing.rule: landing.x for landing in parts.landings}
        self._show("x", parts.x, in_x)
        self._show("z", parts.z, in_z)

    def _show(self, space: str, begin: np.ndarray, ends: dict[str, np.ndarray]) -> None:
        base = _plane(begin)
        shown = {name: _plane(end) for name, end in ends.items()}
        shown = {name: end for name, end in shown.items() if np.all(np.isfinite(end))}
        for name in LOOKS:
            end = shown.get(name)
            data = {} if end is None else _arrow(base, end)
            self.arrows[space, name].update(data=data or _arrow())
        labels = _labels(shown)
        points = [base, *(shown[first] for first in labels)]
        self.ends[space].update(
            data={
                "x": [point[0] for point in points],
                "y": [point[1] for point in points],
                "text": [space, *labels.values()],
                "color": [WRITING, *(LOOKS[first][0] for first in labels)],
                "up": [_up(point, points) for point in points],
            }
        )
        self._look_at(space, base, shown)

    def _look_at(
        self, space: str, base: np.ndarray, ends: dict[str, np.ndarray]
    ) -> None:
        """Show the step; a rule that overshoots it by far leaves the picture."""
        lengths = {
            name: float(np.max(np.abs(end - base))) for name, end in ends.items()
        }
        usual = [lengths[n] for n in ("P^-1", "step in z") if lengths.get(n, 0) > 0]
        reach = FAR * max(usual, default=max(lengths.values(), default=1.0))
        near = [base, *(end for name, end in ends.items() if lengths[name] <= reach)]
        low, high = np.min(near, axis=0), np.max(near, axis=0)
        size = max(float(np.max(high - low)), 1e-9 * (1 + float(np.max(np.abs(base)))))
        room = np.maximum(0.25 * size, (size - (high - low)) / 2 + 0.1 * size)
        shown = self.figures[space]
        shown.x_range.update(
            start=float(low[0] - room[0]), end=float(high[0] + room[0])
        )
        shown.y_range.update(
            start=float(low[1] - room[1]), end=float(high[1] + room[1])
        )

    def _figure(self, space: str) -> figure:
        shown = plain_figure(
            f"one step, in {space}-space",
            f"{space}₀",
            f"{space}₁",
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
        groups.setdefault(next(near, name), []).append(WORDS[name])
    return {first: ", ".join(words) for first, words in groups.items()}


def _up(point: np.ndarray, points: list[np.ndarray]) -> int:
    others = [other for other in points if other is not point]
    if not others:
        return ABOVE
    nearest = min(others, key=lambda other: float(np.sum((other - point) ** 2)))
    return ABOVE if point[1] >= nearest[1] else BELOW


def _arrow(*ends: np.ndarray) -> dict[str, list[float]]:
    """The columns of one arrow, from and to; of none without points."""
    (x0, y0), (x1, y1) = ([], []), ([], [])
    if ends:
        (x0, y0), (x1, y1) = [([float(a)], [float(b)]) for a, b in ends]
    return {"x0": x0, "y0": y0, "x1": x1, "y1": y1}


def _plane(point: np.ndarray) -> np.ndarray:
    """The first two entries; of a single one, on the axis."""
    return np.append(np.asarray(point, float), 0.0)[:2]
