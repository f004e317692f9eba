"""The spaces of a comparison side by side, linked: what page and report share (Bokeh).

Each run has one table of its iterates, which all figures draw from: an iterate that is
pointed at in one of them is marked in all, and in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import (
    Arrow,
    ColumnDataSource,
    CustomJS,
    Div,
    HoverTool,
    LabelSet,
    Range1d,
    VeeHead,
)
from bokeh.plotting import figure
from bokeh.plotting.contour import contour_data

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import Objective
from physgrad.plot.iterates import MARK, columns_of, iterates_table
from physgrad.plot.levels import Field, level_values
from physgrad.plot.space import Plane, plane_of, widest_pair
from physgrad.plot.style import Style, styles
from physgrad.plot.view import View, view_of
from physgrad.trajectory import Run

LEVEL, WRITING = "#8A9098", "#767C85"
"""Of level lines and of what is written on them: to be told on light and dark."""
INNER, OUTER = "#1B1E23", "#FFFFFF"
"""A line of the one within the other is seen on both."""
MARKERS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "^": "triangle",
    "v": "inverted_triangle",
    "<": "hex",
    ">": "star_dot",
    "P": "plus",
    "X": "x",
    "p": "square_pin",
    "*": "star",
    "d": "diamond_cross",
}
"""Matplotlib's letters and Bokeh's words."""
HEIGHT = 380
AXES = {
    "step": "steps",
    "evaluations": "evaluations of all kinds, spread evenly",
    "seconds": "seconds, spread evenly, without compiling",
}
"""What losses are shown against, and how that is said."""
# A loss below this part of the first one is drawn there: a log axis has no zero.
SMALLEST = 1e-40


class Linked:
    """Figures of a comparison, and the data that they draw.

    `update` changes the data in place, so that a page redraws what has changed only.
    """

    def __init__(self, comparison: Comparison, objective: Objective | None = None):
        """`objective`: for level lines, where the comparison does not know it."""
        self._objective = objective
        self.names = list(comparison.runs)
        self.styles = styles(comparison.optimizers)
        self.pairs = _pairs(comparison)
        self.planes = self._planes(comparison)
        self.views: dict[str, View] = {}
        self.fields: dict[str, Field] = {}
        self.sources = {name: ColumnDataSource() for name in self.names}
        self.mark = ColumnDataSource()
        self.all = ColumnDataSource(name="all iterates")
        self.table = Div(sizing_mode="stretch_width")
        self.starts = {space: ColumnDataSource() for space in self.pairs}
        self.solutions = {space: ColumnDataSource() for space in self.pairs}
        self.labels = {space: ColumnDataSource() for space in self.pairs}
        self.contours: dict[str, Any] = {}
        self.rings: dict[str, Any] = {}
        self.wanted = {space: (Range1d(), Range1d()) for space in self.pairs}
        self._fill(comparison)
        self.figures = {space: self._space(space) for space in self.pairs}
        self.losses = {against: self._losses(against) for against in AXES}
        links = {"all": self.all, "mark": self.mark, "table": self.table}
        self.all.selected.js_on_change("indices", CustomJS(args=links, code=MARK))
        self.look_again(comparison)

    def update(self, comparison: Comparison, *, held: str | None = None) -> None:
        """New iterates of the same methods; what is seen of each space stays.

        **Arguments:** `held`: the space whose start is being dragged; its ring is left
        where it is.
        """
        self.planes = self._planes(comparison)
        self._fill(comparison, held)

    def look_again(self, comparison: Comparison) -> None:
        """Choose what is seen of each space, and draw level lines there."""
        first = float(next(iter(comparison.runs.values())).trajectory.losses[0])
        all_losses = [run.trajectory.losses for run in comparison.runs.values()]
        values = level_values(first, np.concatenate(all_losses))
        for space, plane in self.planes.items():
            runs = [
                (points, comparison[name].trajectory.losses)
                for name, points in plane.points.items()
            ]
            view = view_of(plane.landmarks, runs, first, ratio=1.0)
            self.views[space] = view
            for place, wanted in enumerate(self.wanted[space]):
                low, high = float(view.low[place]), float(view.high[place])
                wanted.update(start=low, end=high)
            self._draw_levels(space, plane, view, values)

    def contains_start(self) -> bool:
        """Whether the start is within what is seen of each space."""
        return all(
            bool(self.views[space].contains(plane.start[None])[0])
            for space, plane in self.planes.items()
        )

    def show_iterate(self, name: str, step: int) -> None:
        """Mark an iterate of a run in all figures and in the table."""
        data: dict[Any, Any] = dict(self.sources[name].data)
        step = min(step, len(data["step"]) - 1)
        self.mark.update(data={key: [column[step]] for key, column in data.items()})
        self.all.selected.update(indices=[int(data["row"][step])])

    def _planes(self, comparison: Comparison) -> dict[str, Plane]:
        return {
            space: plane_of(comparison, space, self._objective, pair)
            for space, pair in self.pairs.items()
        }

    def _fill(self, comparison: Comparison, held: str | None = None) -> None:
        tables: list[dict[str, Any]] = []
        for name, run in comparison.runs.items():
            row = sum(len(table["step"]) for table in tables)
            tables.append(_iterates(name, run, row, self.planes))
            self.sources[name].update(data=tables[-1])
        joined = {
            key: np.concatenate([table[key] for table in tables]) for key in tables[0]
        }
        self.all.update(data=joined)
        self.mark.update(data={key: column[:1] for key, column in joined.items()})
        axis_names = {space: plane.axis_names for space, plane in self.planes.items()}
        self.table.text = iterates_table(joined, columns_of(axis_names))
        for space, plane in self.planes.items():
            if space != held:
                self.starts[space].update(data=_points([plane.start]))
            known = [] if plane.solution is None else [plane.solution]
            self.solutions[space].update(data=_points(known))

    def _space(self, space: str) -> figure:
        across, up = self.planes[space].axis_names
        ranges = {"x_range": Range1d(), "y_range": Range1d()}
        shown = plain_figure(f"{space}-space", across, up, **ranges)
        for name in self.names:
            self._run(shown, name, f"{space} 0", f"{space} 1", arrows=space)
        _outlined(shown, "cross", self.solutions[space], size=16, name="solution")
        self.rings[space] = _outlined(
            shown, "circle", self.starts[space], size=13, name="start"
        )
        self._add_mark(shown, f"{space} 0", f"{space} 1")
        across, up = self.wanted[space]
        links = {"plot": shown, "across": across, "up": up}
        fit = CustomJS(args=links, code=_FIT)
        for model, names in (
            (shown, ("inner_width", "inner_height")),
            (across, ("start", "end")),
            (up, ("start", "end")),
        ):
            for name in names:
                model.js_on_change(name, fit)
        legend = shown.legend[0]
        legend.update(
            orientation="horizontal",
            border_line_color=None,
            padding=2,
            background_fill_alpha=0.0,
        )
        legend.ncols = 4
        shown.add_layout(legend, "above")
        return shown

    def _losses(self, against: str) -> figure:
        log = "linear" if against == "step" else "log"
        shown = plain_figure(
            "loss", AXES[against], "L", y_axis_type="log", x_axis_type=log, height=300
        )
        for name in self.names:
            self._run(shown, name, against, "shown loss")
        self._add_mark(shown, against, "shown loss")
        shown.legend[0].visible = False  # that of the spaces stands beside it
        return shown

    def _run(
        self, shown: figure, name: str, x: str, y: str, arrows: str | None = None
    ) -> None:
        source, style = self.sources[name], self.styles[name]
        shown.line(
            x, y, source=source, line_color=style.color, line_width=2 * style.width,
            line_dash=_dash(style), legend_label=name,
        )  # fmt: skip
        marks = shown.scatter(
            x, y, source=source, marker=MARKERS[style.marker],
            size=13 if style.marker == "D" else 9,  # diamonds are narrow
            line_color=style.color, legend_label=name, name=f"iterates of {name}",
            fill_color=None if style.hollow else style.color,
        )  # fmt: skip
        marks.nonselection_glyph = marks.glyph
        if arrows is not None:
            head = VeeHead(size=7, line_color=style.color, fill_color=style.color)
            arrow = Arrow(
                x_start=f"{arrows} 0", y_start=f"{arrows} 1",
                x_end=f"{arrows} 0 half", y_end=f"{arrows} 1 half",
                end=head, source=source,
            )  # fmt: skip
            arrow.update(line_color=None)  # the line itself is drawn above
            shown.add_layout(arrow)
        offer = {"from": source, "mark": self.mark, "all": self.all}
        shown.add_tools(
            HoverTool(
                renderers=[marks],
                tooltips=[("", "@method, step @step"), ("L", "@loss{0.0000e+0}")],
                callback=CustomJS(args=offer, code=_POINT),
            )
        )

    def _add_mark(self, shown: figure, x: str, y: str) -> None:
        _outlined(shown, "circle", self.mark, size=21, name="mark", at=(x, y))

    def _draw_levels(
        self, space: str, plane: Plane, view: View, values: np.ndarray
    ) -> None:
        if plane.loss is None or len(values) < 1:
            return
        field = self.fields.setdefault(space, Field(plane.loss, plane.dtype))
        around = np.array([0.6, 0.2]) * (view.high - view.low)
        across, up, heights = field(View(view.low - around, view.high + around))
        lines = contour_data(
            across, up, heights, list(values), want_fill=False, want_line=True
        )
        self.labels[space].update(data=_level_labels(lines.line_data, values))
        if space in self.contours:
            self.contours[space].set_data(lines)
            return
        shown = self.figures[space]
        self.contours[space] = shown.contour(
            across, up, heights, list(values), line_color=LEVEL, line_width=1
        )
        self.contours[space].level = "underlay"
        shown.add_layout(
            LabelSet(
                x="x", y="y", text="text", source=self.labels[space],
                text_font_size="10px", text_color=WRITING, text_align="center",
                text_baseline="bottom",
            )
        )  # fmt: skip


# Both axes have the same unit, whatever the shape of the picture; all that is wanted is
# in view.
_FIT = """
const [width, height] = [plot.inner_width, plot.inner_height];
if (!(width > 0 && height > 0)) return;
const unit = Math.max(
    (across.end - across.start) / width, (up.end - up.start) / height
);
for (const [range, wanted, size] of [
    [plot.x_range, across, width], [plot.y_range, up, height],
]) {
    const middle = (wanted.start + wanted.end) / 2, half = unit * size / 2;
    range.setv({start: middle - half, end: middle + half});
}
"""
# Pointing at an iterate selects it. All runs share the start: there the method that is
# marked stays.
_POINT = """
const found = cb_data.index.indices;
if (found.length > 0) {
    const data = from.data, row = found[0];
    const other = data.step[row] == 0 && mark.data.method[0] != data.method[row];
    if (!other) all.selected.indices = [data.row[row]];
}
"""


def _pairs(comparison: Comparison) -> dict[str, tuple[int, int]]:
    """Each space that has a picture, and the two entries of it that are shown."""
    spaces = next(iter(comparison.runs.values())).trajectory.spaces
    pairs = {space: widest_pair(comparison, space) for space in spaces}
    return {space: pair for space, pair in pairs.items() if pair is not None}


def _iterates(
    name: str, run: Run, row: int, planes: Mapping[str, Plane]
) -> dict[str, Any]:
    """The columns of a run; `row`: where it begins in the table of all."""
    count = len(run.trajectory)
    steps = np.asarray(run.trajectory.steps, float)
    losses = np.asarray(run.trajectory.losses, float)
    part = steps / max(run.num_steps, 1)
    least = SMALLEST * max(abs(float(losses[0])), 1e-200)
    data: dict[str, Any] = {
        "method": np.repeat(name, count),
        "step": steps.astype(int),
        "row": row + np.arange(count),
        "loss": losses,
        "shown loss": np.where(losses > 0, np.maximum(losses, least), np.nan),
        "evaluations": 1 + part * (sum(run.evaluations.values()) - 1),
        "seconds": np.maximum(part, 0.5 / max(run.num_steps, 1)) * run.seconds.run,
        "result": np.where(np.arange(count) == count - 1, str(run.result), ""),
    }
    for space, plane in planes.items():
        points = np.asarray(plane.points[name], float)
        ahead = np.concatenate([points[1:], np.full((1, 2), np.nan)])
        for place in range(2):
            data[f"{space} {place}"] = points[:, place]
            # an arrow head in the middle of each step
            half = (points[:, place] + ahead[:, place]) / 2
            data[f"{space} {place} half"] = half
    return data


def _points(points: list[np.ndarray]) -> dict[str, Any]:
    return {"x": [p[0] for p in points], "y": [p[1] for p in points]}


def _level_labels(lines: Any, values: np.ndarray) -> dict[str, Any]:
    """One label for each level, in the middle of its longest line."""
    labels: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for value, xs, ys in zip(values, lines.xs, lines.ys, strict=True):
        if len(xs) == 0:
            continue
        breaks = np.flatnonzero(np.isnan(xs))
        pieces = np.split(np.arange(len(xs)), breaks)
        longest = max(pieces, key=len)
        middle = longest[len(longest) // 2]
        labels["x"].append(float(xs[middle]))
        labels["y"].append(float(ys[middle]))
        labels["text"].append(f"{value:g}")
    return labels


def plain_figure(title: str, across: str, up: str, **more: Any) -> figure:
    """A figure as all of them are, still empty."""
    settings: dict[str, Any] = dict(height=HEIGHT) | more
    shown = figure(
        title=title,
        x_axis_label=across,
        y_axis_label=up,
        sizing_mode="stretch_width",
        min_width=300,
        tools="pan,wheel_zoom,box_zoom,reset,save",
        **settings,
    )
    shown.toolbar.logo = None
    return shown


def _outlined(
    shown: figure,
    marker: str,
    source: ColumnDataSource,
    *,
    size: float,
    name: str,
    at: tuple[str, str] = ("x", "y"),
) -> Any:
    """Marks of a dark line within a light one; the renderer of the dark one."""
    looks = [(OUTER, 6.0), (INNER, 2.5)]
    drawn = [
        shown.scatter(
            *at, source=source, marker=marker, size=size, line_color=color,
            line_width=width, fill_color=None, name=name if color == INNER else None,
        )
        for color, width in looks
    ]  # fmt: skip
    return drawn[-1]


def _dash(style: Style) -> list[int]:
    return [round(2 * length) for length in style.dash]
