"""`three_spaces`: x -> z -> L, with one step of each method drawn through them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import MaxNLocator

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import FlatObjective, Objective
from physgrad.plot import marks
from physgrad.plot.canvas import (
    TITLE_SIZE,
    axes_of,
    finish,
    ratio_of,
    show_plane,
    unit,
    write_ticks,
)
from physgrad.plot.labels import (
    Label,
    Obstacles,
    listed,
    place_labels,
    plain,
    size_of,
)
from physgrad.plot.legend import add_legend
from physgrad.plot.levels import LINE_COLOR, label_levels
from physgrad.plot.one_step import Way, way_of
from physgrad.plot.space import (
    chosen_methods,
    end_spaces,
    flat_objective,
    plane_of,
)
from physgrad.plot.style import GREY, Style, kind_of
from physgrad.plot.trajectories import Scene, draw_landmarks, label_landmarks
from physgrad.plot.view import View, view_of

SIZE = (8.65, 4.15)
# In inches: the left edges of the panels, their common bottom, width and height.
LEFTS, BOTTOM, PANEL = (0.66, 3.5, 6.33), 1.15, (2.2, 2.45)
BAND = 9.0
SMALL = 9.0
STEPS_SHOWN = ("gd", "newton", "pg")


def three_spaces(
    comparison: Comparison,
    *,
    ax: Iterable[Axes] | None = None,
    objective: Objective | None = None,
    methods: Iterable[str] | None = None,
) -> tuple[Axes, Axes, Axes]:
    """One step of each method through the three spaces x -> z -> L.

    A method takes its step in one space, along a straight line (shaded), and the other
    space sees the image of that line: P carries it from x to z; where the step was
    taken in z, the simulator's rule carries it back, point by point. A thin line goes
    on in the same direction until L is lowest. The third panel is L along those lines.

    **Arguments:**

    - `ax`: three matplotlib axes; by default those of a new figure,
        `axes[0].figure.savefig(...)`.
    - `objective`: where the comparison does not know it (it was loaded, and is not of a
        named problem).
    - `methods`: the names of the runs; by default the first run each of gradient
        descent, Newton and PG, or all where there are none.

    **Returns:** the axes of x, z and L.

    **Raises:** `ValueError` where x or z has not two entries, without an objective, or
    where no run has a first step; `MissingExtra` without matplotlib.
    """
    flat = flat_objective(comparison, objective)
    scenes = [
        Scene(comparison, plane_of(comparison, space, objective))
        for space in end_spaces(comparison)
    ]
    if flat is None:
        raise ValueError(
            "the images of a step need the objective, which a saved comparison does "
            "not hold; pass objective="
        )
    ways = first_steps(comparison, flat, methods)
    if not ways:
        raise ValueError(
            f"none of the runs ({', '.join(comparison.runs)}) has a first step to be "
            "drawn; it takes num_steps=1 and record_every=1"
        )
    return draw_panels(scenes[0], scenes[1], ways, ax)


def first_steps(
    comparison: Comparison, objective: FlatObjective, methods: Iterable[str] | None
) -> dict[str, Way]:
    """The first step of each run, name to way; without those that have none."""
    spaces = end_spaces(comparison)
    names = _names(comparison, methods)
    ways = {name: way_of(objective, comparison[name], spaces) for name in names}
    return {name: way for name, way in ways.items() if way is not None}


def draw_panels(
    x: Scene, z: Scene, ways: dict[str, Way], ax: Iterable[Axes] | None = None
) -> tuple[Axes, Axes, Axes]:
    """The three panels of `three_spaces`, on new axes unless some are given."""
    axes = _axes(ax)
    _draw_plane(axes[0], x, ways, in_z=False)
    _draw_plane(axes[1], z, ways, in_z=True)
    _draw_losses(axes[2], x, ways)
    _draw_maps(axes, ways)
    return axes


def _names(comparison: Comparison, methods: Iterable[str] | None) -> list[str]:
    if methods is not None:
        return chosen_methods(comparison, methods)
    kinds = [kind_of(name, words) for name, words in comparison.optimizers.items()]
    firsts = [kinds.index(kind) for kind in STEPS_SHOWN if kind in kinds]
    names = list(comparison.runs)
    return [names[place] for place in firsts] or names


def _axes(ax: Iterable[Axes] | None) -> tuple[Axes, Axes, Axes]:
    if ax is not None:
        given = tuple(ax)
        if len(given) != 3:
            raise ValueError(f"ax must be three axes, got {len(given)}")
        first, second, third = (axes_of(one, SIZE, ()) for one in given)
        return first, second, third
    figure = Figure(figsize=SIZE)
    size = np.array([*SIZE, *SIZE])
    first, second, third = (
        figure.add_axes(tuple(np.array([left, BOTTOM, *PANEL]) / size))
        for left in LEFTS
    )
    return first, second, third


def _draw_plane(ax: Axes, scene: Scene, ways: dict[str, Way], in_z: bool) -> None:
    """One space, with every step: straight where it was taken, else its image."""
    plane = scene.plane
    paths = {name: way.z if in_z else way.x for name, way in ways.items()}
    runs = [(paths[name], way.losses) for name, way in ways.items()]
    view = view_of(plane.landmarks, runs, scene.first_loss, ratio_of(ax))
    show_plane(ax, view, f"{plane.space}-space", plane.axis_names)
    levels = scene.draw_levels(ax, view)
    obstacles, lines, labels = Obstacles(ax), [], []
    for name, way in ways.items():
        path, style = view.within_reach(paths[name].astype(float)), scene.styles[name]
        lines.append(_draw_way(ax, path, way, style, view, band=way.in_z == in_z))
        obstacles.add_line(path)
        obstacles.add_markers(path[[way.step, -1]])
        left_at = view.exit(path)
        end = path[-1] if left_at is None else left_at
        direction = unit(path[-1] - path[way.step // 2])
        labels.append(Label(plain(name), end, style.color, direction, "run-label"))
    draw_landmarks(ax, plane, obstacles)
    if place_labels(ax, labels, obstacles) is None:
        add_legend(ax, labels, lines, obstacles, widen=False)
    label_landmarks(ax, plane, obstacles)
    if levels is not None:
        label_levels(ax, levels, obstacles)


def _draw_way(
    ax: Axes, path: np.ndarray, way: Way, style: Style, view: View, *, band: bool
) -> Line2D:
    """A step as an arrow, on a band where it was taken, and a thin line going on."""
    step = path[: way.step + 1]
    if band:
        ax.plot(
            *step[[0, -1]].T,
            color=style.color,
            linewidth=BAND,
            alpha=0.22,
            solid_capstyle="round",
            zorder=2,
            gid="taken",
        )
    line = _draw_line(ax, path, way, style)
    left_at = view.exit(step)
    tip = step[-1] if left_at is None else left_at
    heading = step[-1] - step[max(0, way.step - 3)]
    marks.add_heads(ax, tip[None], heading[None], style.color)
    return line


def _draw_line(ax: Axes, path: np.ndarray, way: Way, style: Style) -> Line2D:
    """The step, a thin line going on, and a hollow marker where L is lowest."""
    (line,) = ax.plot(*path[: way.step + 1].T, gid="step", **marks.line_style(style))
    if len(path) > way.step + 1:
        beyond, thin = path[way.step :], marks.line_style(style, thin=True)
        ax.plot(*beyond.T, zorder=1.9, gid="beyond", **thin)
        mark = marks.marker_style(style, ax.get_facecolor(), empty=True)
        ax.plot(*path[-1], linestyle="none", zorder=3, gid="lowest", **mark)
    return line


def _draw_losses(ax: Axes, scene: Scene, ways: dict[str, Way]) -> None:
    """L along each way."""
    view = _losses_view(scene, ways)
    ax.set_xlim(view.low[0], view.high[0])
    ax.set_ylim(view.low[1], view.high[1])
    scale = write_ticks(ax.yaxis, float(np.max(np.abs([view.low[1], view.high[1]]))))
    finish(ax, f"L{scale}", "steps along the line", "")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    ax.axvline(1.0, color=LINE_COLOR, linewidth=0.8, zorder=1)
    obstacles, lines, labels = Obstacles(ax), [], []
    for name, way in ways.items():
        style = scene.styles[name]
        line = np.stack([way.lengths, way.losses], axis=-1).astype(float)
        line = view.within_reach(line)
        lines.append(_draw_line(ax, line, way, style))
        mark = marks.marker_style(style, ax.get_facecolor())
        ax.plot(*line[way.step], linestyle="none", zorder=4, gid="reached", **mark)
        obstacles.add_line(line)
        obstacles.add_markers(line[[way.step, -1]])
        left_at = view.exit(line)
        end = line[-1] if left_at is None else left_at
        text = f"{plain(name)}: {_short(float(way.losses[-1]), scene.first_loss)}"
        direction = np.array([1.0, 0.5])
        labels.append(Label(text, end, style.color, direction, "run-label", SMALL))
    if place_labels(ax, labels, obstacles) is None:
        add_legend(ax, labels, lines, obstacles, widen=False)


def _losses_view(scene: Scene, ways: dict[str, Way]) -> View:
    """From the lowest loss, or 0, to the first one or somewhat above, with room."""
    first = scene.first_loss
    low = min(0.0, *(float(way.losses.min()) for way in ways.values()))
    reached = max(float(way.losses[way.step]) for way in ways.values())
    high = max(first, min(reached, first + 0.5 * abs(first - low)))
    height = (high - low) or 1.0
    width = max(float(way.lengths[-1]) for way in ways.values())
    return View(
        np.array([-0.04 * width, low - 0.1 * height]),
        np.array([1.4 * width, high + 0.06 * height]),
    )


def _short(loss: float, scale: float) -> str:
    """A loss with two digits; what is nothing beside the first one is 0."""
    return "0" if abs(loss) < 1e-4 * abs(scale) else f"{loss:.2g}"


def _draw_maps(axes: tuple[Axes, Axes, Axes], ways: dict[str, Way]) -> None:
    """Around the panels: where each step is taken, and what carries it on or back."""
    x, z, loss = axes
    in_x = [plain(name) for name, way in ways.items() if not way.in_z]
    in_z = [plain(name) for name, way in ways.items() if way.in_z]
    upper, lower = 46.0, 64.0  # points below the panels
    for ax, names in ((x, in_x), (z, in_z)):
        verb = "steps" if len(names) == 1 else "step"
        texts = [f"{who} {verb} here: straight" for who in _in_words(names)]
        _note(ax, _fitting(ax, texts) if names else "")
    _note(loss, "along each line")
    if in_x:
        texts = [f"P carries {who} on" for who in _in_words(in_x)]
        _arrow(x, z, upper, _fitting(x, texts))
    if in_z:
        texts = [f"P⁻¹ carries {who} back" for who in _in_words(in_z)]
        _arrow(z, x, lower, _fitting(x, texts))
    _arrow(z, loss, upper, "L")
    _caption(loss, lower, "thick: one step; thin: on, until L is lowest")


def _in_words(names: Sequence[str]) -> list[str]:
    """Some names in a sentence, and how many they are, if that is shorter."""
    if len(names) > 1:
        return [listed(names), f"{len(names)} methods"]
    return [*names, "it"]


def _fitting(ax: Axes, texts: Sequence[str]) -> str:
    """The first of the texts that is no wider than the axes, or the last."""
    wide = ax.get_window_extent().width
    for text in texts[:-1]:
        label = Label(text, np.zeros(2), GREY, np.zeros(2), "", SMALL)
        if size_of(ax, label)[0] <= wide:
            return text
    return texts[-1]


def _note(ax: Axes, text: str) -> None:
    """A second line of the title, smaller."""
    title = ax.get_title(loc="left")
    ax.set_title(title, loc="left", pad=19, fontsize=TITLE_SIZE, parse_math=False)
    ax.annotate(
        text,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALL,
        color=GREY,
        parse_math=False,
        gid="note",
    )


def _caption(ax: Axes, below: float, text: str) -> None:
    """Small words so many points below a panel, in line with its right edge."""
    ax.annotate(
        text,
        (1, 0),
        xytext=(0, -below),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=SMALL,
        color=GREY,
        gid="caption",
    )


def _arrow(here: Axes, there: Axes, below: float, text: str) -> None:
    """An arrow from panel to panel, so many points below them, with words on it."""
    figure = here.get_figure(root=True)
    if figure is None:
        return
    boxes = [np.asarray(ax.get_window_extent()) for ax in (here, there)]
    forward = boxes[0][0, 0] < boxes[1][0, 0]
    parts = (0.55, 0.4) if forward else (0.4, 0.55)
    height = boxes[0][0, 1] - below * figure.dpi / 72
    ends = [
        (box[0, 0] + part * (box[1, 0] - box[0, 0]), height)
        for box, part in zip(boxes, parts, strict=True)
    ]
    start, end = figure.transFigure.inverted().transform(ends)
    arrow = FancyArrowPatch(
        tuple(start),
        tuple(end),
        transform=figure.transFigure,
        arrowstyle="-|>",
        mutation_scale=10,
        shrinkA=0,
        shrinkB=0,
        color=marks.ink(),
        linewidth=0.9,
        gid="map",
    )
    figure.add_artist(arrow)
    middle = (start + end) / 2
    figure.text(
        middle[0],
        middle[1],
        text,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=marks.ink(),
        parse_math=False,
        gid="map-label",
        zorder=3,
        bbox=dict(facecolor=figure.get_facecolor(), edgecolor="none", pad=2),
    )
