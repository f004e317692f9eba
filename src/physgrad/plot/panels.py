"""`three_spaces`: x -> z -> L, with one step of each method drawn through them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import FlatObjective, Objective
from physgrad.plot import marks
from physgrad.plot.canvas import (
    axes_of,
    finish,
    ratio_of,
    show_plane,
    unit,
    write_ticks,
)
from physgrad.plot.captions import (
    LINE_HEIGHT,
    SMALL,
    draw_captions,
    missing_lines,
)
from physgrad.plot.labels import Label, Obstacles, merged, place_labels, plain
from physgrad.plot.legend import add_legend
from physgrad.plot.levels import LINE_COLOR, label_levels
from physgrad.plot.one_step import Way, way_of
from physgrad.plot.space import (
    checked_comparison,
    chosen_methods,
    end_spaces,
    flat_objective,
    plane_of,
)
from physgrad.plot.style import GREY, Style
from physgrad.plot.trajectories import Scene, draw_landmarks, label_landmarks
from physgrad.plot.view import View, view_of

SIZE = (8.65, 4.6)
# In inches: the left edges of the panels, their common bottom, width and height.
LEFTS, BOTTOM, PANEL = (0.66, 3.5, 6.33), 1.6, (2.2, 2.45)
# More names than this in a panel are a legend.
MOST_NAMES = 4
# Room around the lines of a panel, which is small for its labels.
MARGIN = 0.2


def three_spaces(
    comparison: Comparison,
    *,
    ax: Iterable[Axes] | None = None,
    objective: Objective | None = None,
    methods: Iterable[str] | None = None,
) -> tuple[Axes, Axes, Axes]:
    """One step of each method through the three spaces x -> z -> L.

    A method takes its step in one space, along a straight line (on a band of its
    color), and the other space sees the image of that line: P carries it from x to z;
    where the step was taken in z, the simulator's rule carries it back, point by point.
    A thin line goes on in the same direction until L is lowest. The third panel is L
    along those lines: after the step (full marker) and where it is lowest (hollow).

    The step is the first that moves x: a line search may refuse some before. A run that
    has none, or whose step has no image in the other space, is named below the panels,
    with why it is not shown.

    **Arguments:**

    - `ax`: three matplotlib axes; by default those of a new figure,
        `axes[0].figure.savefig(...)`.
    - `objective`: where the comparison does not know it (it was loaded, and is not of a
        named problem).
    - `methods`: the names of the runs to draw; all by default.

    **Returns:** the axes of x, z and L.

    **Raises:** `ValueError` where x or z has not two entries, without an objective, or
    where no run has a first step; `TypeError` for what is no comparison;
    `MissingExtra` without matplotlib.
    """
    flat = flat_objective(checked_comparison(comparison), objective)
    scenes = [
        Scene(comparison, plane_of(comparison, space, objective))
        for space in end_spaces(comparison)
    ]
    if flat is None:
        raise ValueError(
            "the images of a step need the objective, which a saved comparison does "
            "not hold; pass objective="
        )
    ways, missing = first_steps(comparison, flat, methods)
    if not ways:
        raise ValueError(
            "none of the runs has a first step to be drawn "
            f"({'; '.join(missing_lines(missing))}); it takes num_steps=1 and "
            "record_every=1"
        )
    return draw_panels(scenes[0], scenes[1], ways, missing, ax)


def first_steps(
    comparison: Comparison, objective: FlatObjective, methods: Iterable[str] | None
) -> tuple[dict[str, Way], dict[str, str]]:
    """The first step of each run, name to way; and why the others have none."""
    spaces = end_spaces(comparison)
    names = chosen_methods(comparison, methods)
    found = {name: way_of(objective, comparison[name], spaces) for name in names}
    ways = {name: way for name, way in found.items() if isinstance(way, Way)}
    return ways, {name: why for name, why in found.items() if isinstance(why, str)}


def draw_panels(
    x: Scene,
    z: Scene,
    ways: Mapping[str, Way],
    missing: Mapping[str, str],
    ax: Iterable[Axes] | None = None,
) -> tuple[Axes, Axes, Axes]:
    """The three panels of `three_spaces`, on new axes unless some are given."""
    axes = _axes(ax, len(missing_lines(missing)))
    in_x = _draw_plane(axes[0], x, ways, in_z=False)
    in_z = _draw_plane(axes[1], z, ways, in_z=True)
    spaces = x.plane.space, z.plane.space
    panels = [in_x, in_z, _draw_losses(axes[2], x, ways)]
    _name_runs(panels, ways, spaces, widen=ax is None)
    for panel, scene in ((in_x, x), (in_z, z)):
        label_landmarks(panel.ax, scene.plane, panel.obstacles)
        if panel.levels is not None:
            label_levels(panel.ax, panel.levels, panel.obstacles)
    draw_captions(axes, ways, missing, spaces)
    return axes


@dataclasses.dataclass
class _Panel:
    """One of the three, with its lines drawn and its labels to be placed."""

    ax: Axes
    obstacles: Obstacles
    levels: ContourSet | None = None
    samples: list[Line2D] = dataclasses.field(default_factory=list)
    """A line with a marker for each run, for a legend."""
    labels: list[Label] = dataclasses.field(default_factory=list)
    """One for each run."""
    paths: list[np.ndarray] = dataclasses.field(default_factory=list)
    """One for each run, in data coordinates."""


def _name_runs(
    panels: list[_Panel],
    ways: Mapping[str, Way],
    spaces: tuple[str, str],
    *,
    widen: bool,
) -> None:
    """The name of each run at the end of its lines; in a legend, if one has no room."""
    fit = True
    for panel in panels:
        labels = merged(panel.ax, panel.labels, panel.paths)
        most = MOST_NAMES if fit else 0
        fit &= place_labels(panel.ax, labels, panel.obstacles, most) is not None
    if not fit:
        *_, loss = panels
        taken = [f", step in {spaces[way.in_z]}" for way in ways.values()]
        labels = [
            dataclasses.replace(label, after=label.after + where)
            for label, where in zip(loss.labels, taken, strict=True)
        ]
        add_legend(loss.ax, labels, loss.samples, loss.obstacles, widen=widen)


def _axes(ax: Iterable[Axes] | None, lines: int) -> tuple[Axes, Axes, Axes]:
    """Three axes, with room for so many lines at the foot of the figure."""
    if ax is not None:
        given = tuple(ax)
        if len(given) != 3:
            raise ValueError(f"ax must be three axes, got {len(given)}")
        first, second, third = (axes_of(one, SIZE, ()) for one in given)
        return first, second, third
    foot = lines * LINE_HEIGHT / 72
    size = np.array([SIZE[0], SIZE[1] + foot])
    figure = Figure(figsize=tuple(size))
    first, second, third = (
        figure.add_axes(tuple(np.array([left, BOTTOM + foot, *PANEL]) / [*size, *size]))
        for left in LEFTS
    )
    return first, second, third


def _draw_plane(ax: Axes, scene: Scene, ways: Mapping[str, Way], in_z: bool) -> _Panel:
    """One space, with every step: straight where it was taken, else its image."""
    plane = scene.plane
    paths = {name: way.z if in_z else way.x for name, way in ways.items()}
    runs = [(paths[name], way.losses) for name, way in ways.items()]
    view = view_of(plane.landmarks, runs, scene.first_loss, ratio_of(ax), MARGIN)
    show_plane(ax, view, f"{plane.space}-space", plane.axis_names)
    panel = _Panel(ax, Obstacles(ax), scene.draw_levels(ax, view))
    for name, way in ways.items():
        path, style = view.within_reach(paths[name].astype(float)), scene.styles[name]
        if way.in_z == in_z:
            band = marks.band_style(style)
            ax.plot(*path[[0, way.step]].T, zorder=2, gid="taken", **band)
        direction = unit(path[-1] - path[way.step // 2])
        _draw_line(panel, path, way, style)
        _draw_head(ax, path[: way.step + 1], style, view)
        left = view.exit(path)
        end = path[-1] if left is None else left.place
        label = Label(plain(name), end, style.color, direction, "run-label", SMALL)
        panel.labels.append(label)
    draw_landmarks(ax, plane, panel.obstacles)
    return panel


def _draw_head(ax: Axes, step: np.ndarray, style: Style, view: View) -> None:
    """The arrow head of a step: at its end, or where it leaves the picture."""
    left = view.exit(step)
    tip = step[-1] if left is None else left.place
    last = step[-1] - step[max(len(step) - 4, 0)]
    heading = last if left is None else left.heading
    marks.add_heads(ax, tip[None], heading[None], style.color)


def _draw_line(panel: _Panel, path: np.ndarray, way: Way, style: Style) -> None:
    """The step, a thin line going on, and a hollow marker where L is lowest."""
    ax, line = panel.ax, marks.line_style(style)
    background = ax.get_facecolor()
    ax.plot(*path[: way.step + 1].T, gid="step", **line)
    if len(path) > way.step + 1:
        beyond, thin = path[way.step :], marks.line_style(style, thin=True)
        ax.plot(*beyond.T, zorder=1.9, gid="beyond", **thin)
        mark = marks.marker_style(style, background, empty=True)
        ax.plot(*path[-1], linestyle="none", zorder=3, gid="lowest", **mark)
    panel.obstacles.add_line(path)
    panel.obstacles.add_markers(path[[way.step, -1]])
    panel.samples.append(
        Line2D([], [], **line, **marks.marker_style(style, background))
    )
    panel.paths.append(path)


def _draw_losses(ax: Axes, scene: Scene, ways: Mapping[str, Way]) -> _Panel:
    """L along each way."""
    view = _losses_view(scene, ways)
    ax.set_xlim(view.low[0], view.high[0])
    ax.set_ylim(view.low[1], view.high[1])
    scale = write_ticks(ax.yaxis, float(np.max(np.abs([view.low[1], view.high[1]]))))
    finish(ax, "loss L", "steps along the line", f"L{scale}")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    panel = _Panel(ax, Obstacles(ax))
    for name, way in ways.items():
        style = scene.styles[name]
        line = np.stack([way.lengths, way.losses], axis=-1).astype(float)
        line = view.within_reach(line)
        _draw_line(panel, line, way, style)
        mark = marks.marker_style(style, ax.get_facecolor())
        ax.plot(*line[way.step], linestyle="none", zorder=4, gid="reached", **mark)
        left, end, away = view.exit(line), line[-1], np.array([1.0, 0.5])
        if left is not None:
            end = left.place
            marks.add_heads(ax, end[None], left.heading[None], style.color)
        number = f": {_short(float(way.losses[-1]), scene.first_loss)}"
        label = Label(plain(name), end, style.color, away, "run-label", SMALL, number)
        panel.labels.append(label)
    _mark_one_step(panel, view)
    return panel


def _mark_one_step(panel: _Panel, view: View) -> None:
    """A thin line after one step, with its name at the top."""
    panel.ax.axvline(1.0, color=LINE_COLOR, linewidth=0.8, zorder=1)
    top, right = np.array([1.0, view.high[1]]), np.array([1.0, 0.0])
    name = Label("one step", top, GREY, right, "one-step", SMALL)
    place_labels(panel.ax, [name], panel.obstacles)


def _losses_view(scene: Scene, ways: Mapping[str, Way]) -> View:
    """From the lowest loss, or 0, to the first one or somewhat above, with room."""
    first = scene.first_loss
    low = min(0.0, *(float(way.losses.min()) for way in ways.values()))
    reached = max(float(way.losses[way.step]) for way in ways.values())
    high = max(first, min(reached, first + 0.5 * abs(first - low)))
    height = (high - low) or 1.0
    width = max(float(way.lengths[-1]) for way in ways.values())
    return View(
        np.array([-0.04 * width, low - MARGIN * height]),
        np.array([1.4 * width, high + 0.06 * height]),
    )


def _short(loss: float, scale: float) -> str:
    """A loss with two digits; what is nothing beside the first one is 0."""
    return "0" if abs(loss) < 1e-4 * abs(scale) else f"{loss:.2g}"
