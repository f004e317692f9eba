"""The spaces of a comparison side by side, linked: what page and report share (Bokeh).

Each run has one table of its iterates, which all figures draw from: an iterate that is
pointed at in one of them is marked in all, and in the table.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bokeh.models import (
    Arrow,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    LabelSet,
    Range1d,
    Title,
    VeeHead,
)
from bokeh.plotting import figure
from bokeh.plotting.contour import contour_data

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import Objective
from physgrad.plot.iterates import Iterates
from physgrad.plot.levels import Field, level_values
from physgrad.plot.linked_data import (
    best_views,
    columns_of_legend,
    entries_of,
    iterates_of,
    level_labels,
    pairs_of,
    points_of,
)
from physgrad.plot.space import Plane, count_entries, line_of, plane_of
from physgrad.plot.style import Style, styles
from physgrad.plot.view import View

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
CURVE = 241
"""Points of a curve of L."""
AXES = {
    "step": "steps",
    "evaluations": "evaluations of all kinds, spread evenly",
    "seconds": "seconds, spread evenly, without compiling",
}
"""What losses are shown against, and how that is said."""


class Linked:
    """Figures of a comparison, and the data that they draw.

    `update` changes the data in place, so that a page redraws what has changed only.
    """

    def __init__(
        self,
        comparison: Comparison,
        objective: Objective | None = None,
        iterates: Iterates | None = None,
    ):
        """`objective`: for level lines, where the comparison does not know it;
        `iterates`: what other figures were drawn from before."""
        self._objective = objective
        self.iterates = Iterates() if iterates is None else iterates
        self.names = list(comparison.runs)
        self.styles = styles(comparison.optimizers)
        self.pairs = pairs_of(comparison)
        self.entries = entries_of(comparison, self.pairs)
        self.counts = {s: count_entries(comparison, s) for s in self.pairs}
        self.planes = self._planes(comparison)
        self.views: dict[str, View] = {}
        self.fields: dict[str, Field] = {}
        self.sources = {name: ColumnDataSource() for name in self.names}
        self.stops = ColumnDataSource()
        self.starts = {space: ColumnDataSource() for space in self.pairs}
        self.solutions = {space: ColumnDataSource() for space in self.pairs}
        self.labels = {space: ColumnDataSource() for space in self.pairs}
        self.contours: dict[str, Any] = {}
        self.rings: dict[str, Any] = {}
        self.wanted = {space: (Range1d(), Range1d()) for space in self.pairs}
        self._fill(comparison)
        self.figures = {space: self._space(space) for space in self.pairs}
        self.losses = {against: self._losses(against) for against in AXES}
        self.look_again(comparison)

    def shows(self, comparison: Comparison) -> bool:
        """Whether `update` will do: the methods are the same but for their numbers."""
        return styles(comparison.optimizers) == self.styles

    def update(self, comparison: Comparison, *, held: str | None = None) -> None:
        """New iterates of the same methods; what is seen of each space stays.

        **Arguments:** `held`: the space whose start is being dragged; its ring is left
        where it is.
        """
        self.planes = self._planes(comparison)
        self._fill(comparison, held)

    def look_again(self, comparison: Comparison) -> None:
        """Choose what is seen of each space, and draw level lines there."""
        losses = [run.trajectory.losses for run in comparison.runs.values()]
        values = level_values(float(losses[0][0]), np.concatenate(losses))
        self.views = best_views(comparison, self.planes, self.pairs)
        for space, view in self.views.items():
            for place, wanted in enumerate(self.wanted[space]):
                low, high = float(view.low[place]), float(view.high[place])
                wanted.update(start=low, end=high)
            if len(self.pairs[space]) == 1:
                self._draw_curve(space, self.planes[space], view)
            else:
                self._draw_levels(space, self.planes[space], view, values)

    def fits(self, comparison: Comparison) -> bool:
        """Whether what is seen of each space still suits the runs."""
        best = best_views(comparison, self.planes, self.pairs)
        return all(view.suits(best[space]) for space, view in self.views.items())

    def show_iterate(self, name: str, step: int) -> None:
        """Mark an iterate of a run in all figures and in the table."""
        data: dict[Any, Any] = dict(self.sources[name].data)
        step = min(step, len(data["step"]) - 1)
        self.iterates.choose(int(data["row"][step]))

    def _planes(self, comparison: Comparison) -> dict[str, Plane]:
        return {
            space: plane_of(comparison, space, self._objective, pair)
            if len(pair) == 2
            else line_of(comparison, space, self._objective)
            for space, pair in self.pairs.items()
        }

    def _fill(self, comparison: Comparison, held: str | None = None) -> None:
        tables: list[dict[str, Any]] = []
        for name, run in comparison.runs.items():
            row = sum(len(table["step"]) for table in tables)
            tables.append(iterates_of(name, run, row, self.planes, self.entries))
            self.sources[name].update(data=tables[-1])
        joined = {
            key: np.concatenate([table[key] for table in tables]) for key in tables[0]
        }
        lasts = np.cumsum([len(table["step"]) for table in tables]) - 1
        failed = [
            last
            for last, run in zip(lasts, comparison.runs.values(), strict=True)
            if not run.ok
        ]
        self.stops.update(data={key: column[failed] for key, column in joined.items()})
        self.iterates.fill(joined, self.entries)
        for space, plane in self.planes.items():
            if space != held:
                self.starts[space].update(data=points_of([plane.start]))
            known = [] if plane.solution is None else [plane.solution]
            self.solutions[space].update(data=points_of(known))

    def _space(self, space: str) -> figure:
        across, up = self.planes[space].axis_names
        ranges = {"x_range": Range1d(), "y_range": Range1d()}
        shown = plain_figure(f"{space}-space", across, up, **ranges)
        at = f"{space} 0", f"{space} 1"
        runs = [self._run(shown, name, *at, arrows=space) for name in self.names]
        _outlined(shown, "cross", self.solutions[space], size=16, name="solution")
        self.rings[space] = _outlined(
            shown, "circle", self.starts[space], size=13, name="start"
        )
        self._add_marks(shown, at, runs)
        across, up = self.wanted[space]
        equal = len(self.pairs[space]) == 2  # L has another unit than x
        links = {"plot": shown, "across": across, "up": up, "equal": equal}
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
        legend.ncols = columns_of_legend(self.names)
        shown.add_layout(legend, "above")
        if self.counts[space] > 2:
            words = f"2 of {self.counts[space]} entries; level lines need a plane"
            shown.add_layout(Title(text=words, text_font_style="normal"), "above")
        return shown

    def _losses(self, against: str) -> figure:
        log = "linear" if against == "step" else "log"
        shown = plain_figure(
            "loss", AXES[against], "L", y_axis_type="log", x_axis_type=log, height=300
        )
        at = against, "shown loss"
        runs = [self._run(shown, name, *at) for name in self.names]
        self._add_marks(shown, at, runs)
        shown.legend[0].visible = False  # that of the spaces stands beside it
        return shown

    def _run(
        self, shown: figure, name: str, x: str, y: str, arrows: str | None = None
    ) -> Any:
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
        return marks

    def _add_marks(self, shown: figure, at: tuple[str, str], runs: list[Any]) -> None:
        """Marks: of the chosen iterate, of the ends of failed runs, of the pointer."""
        _outlined(shown, "circle", self.iterates.mark, size=21, name="mark", at=at)
        _outlined(shown, "circle_x", self.stops, size=15, name="stops", at=at)
        shown.add_layout(
            LabelSet(
                x=at[0], y=at[1], text="result", source=self.stops, y_offset=-26,
                text_align="center", text_font_size="12px", text_color=WRITING,
            )
        )  # fmt: skip
        links = {"mark": self.iterates.mark, "all": self.iterates.all}
        shown.add_tools(
            HoverTool(
                renderers=runs,
                tooltips=[("", "@method, step @step"), ("L", "@loss{%.6g}")],
                formatters={"@loss": "printf"},
                callback=CustomJS(args=links, code=_POINT),
            )
        )

    def _draw_curve(self, space: str, plane: Plane, view: View) -> None:
        """L over a space of one entry."""
        if plane.loss is None:
            return
        low, high = float(view.low[0]), float(view.high[0])
        across = np.linspace(1.6 * low - 0.6 * high, 1.6 * high - 0.6 * low, CURVE)
        dtype = jax.dtypes.canonicalize_dtype(plane.dtype)
        heights = jax.jit(jax.vmap(plane.loss))(jnp.asarray(across[:, None], dtype))
        data = {"x": across, "y": np.asarray(heights, float)}
        if space not in self.contours:
            source = ColumnDataSource(data)
            line = self.figures[space].line("x", "y", source=source, line_color=LEVEL)
            line.level = "underlay"
            self.contours[space] = line
        self.contours[space].data_source.update(data=data)

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
        self.labels[space].update(data=level_labels(lines.line_data, values))
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


# All that is wanted is in view; where the axes are of one kind, they have one unit,
# whatever the shape of the picture.
_FIT = """
const [width, height] = [plot.inner_width, plot.inner_height];
if (!(width > 0 && height > 0)) return;
const units = [(across.end - across.start) / width, (up.end - up.start) / height];
if (equal) units.fill(Math.max(...units));
for (const [range, wanted, half] of [
    [plot.x_range, across, units[0] * width / 2],
    [plot.y_range, up, units[1] * height / 2],
]) {
    const middle = (wanted.start + wanted.end) / 2;
    range.setv({start: middle - half, end: middle + half});
}
"""
# Pointing at an iterate selects it. All runs share the start: there the method that is
# marked stays.
_POINT = """
const found = cb_data.index.indices;
if (found.length > 0) {
    const data = cb_data.renderer.data_source.data, row = found[0];
    const other = data.step[row] == 0 && mark.data.method[0] != data.method[row];
    if (!other) all.selected.indices = [data.row[row]];
}
"""


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
    size: int,
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
