"""`compare`: the trajectories of several methods in one space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.lines import Line2D

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import Objective
from physgrad.plot import marks
from physgrad.plot.canvas import (
    SQUARE,
    add_note,
    axes_of,
    ratio_of,
    short,
    show_plane,
    unit,
)
from physgrad.plot.labels import (
    Label,
    Obstacles,
    merged,
    place_labels,
    plain,
)
from physgrad.plot.legend import add_legend
from physgrad.plot.levels import (
    Field,
    Grid,
    draw_levels,
    label_levels,
    level_values,
)
from physgrad.plot.space import (
    Plane,
    checked_comparison,
    chosen_methods,
    plane_of,
)
from physgrad.plot.style import styles
from physgrad.plot.view import View, view_of
from physgrad.trajectory import Run

MARGINS = (0.7, 0.62, 0.2, 0.42)
SMALL = 9.0


def compare(
    comparison: Comparison,
    space: str = "x",
    *,
    ax: Axes | None = None,
    objective: Objective | None = None,
    methods: Iterable[str] | None = None,
    coordinates: Sequence[int] | str | None = None,
) -> Axes:
    """The trajectories of a comparison in a space of two entries, or a plane of one.

    Level lines of L are thin and light, at the same values in every space; the start is
    an open ring, the solution a cross; arrows lead from iterate to iterate. A run that
    failed has a stop sign at its last good iterate, or an arrow where it leaves the
    picture, and its result beside it, with where it ended. View and level lines are
    those of the whole comparison, whichever methods are drawn, so that pictures can be
    compared. A note says so where iterates lie too near for a marker each.

    **Arguments:**

    - `space`: "x", "z" or a space between.
    - `ax`: matplotlib axes to draw on; by default those of a new figure,
        `ax.figure.savefig(...)`.
    - `objective`: for the level lines, where the comparison does not know it (it was
        loaded, and is not of a named problem).
    - `methods`: the names of the runs to draw; all by default.
    - `coordinates`: which two of the flat entries to show, where the space has not two;
        or "principal": the plane through the start in which the runs, all together,
        move most. The axes say how much of the variation about the start each
        direction carries; the solution is projected onto the plane. Iterates that are
        not finite, or whose loss is above four times the first one, do not count.
        Where the plane is not the whole space there are no level lines.

    **Returns:** the axes.

    **Raises:** `ValueError` for an unknown space or method, a space that has not two
    entries (without `coordinates`; with them, fewer than two), or coordinates that it
    has not; `TypeError` for what is no comparison; `MissingExtra` without matplotlib.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
    >>> methods = {"GD": pg.GradientDescent(0.1), "Newton": pg.Newton(1.0)}
    >>> comparison = pg.compare(objective, jnp.array([3.0, 1.0]), methods, num_steps=2)
    >>> ax = pg.plot.compare(comparison, space="z")
    >>> ax.get_title(loc="left"), ax.get_xlabel()
    ('z-space', 'z₀')
    """
    names = chosen_methods(checked_comparison(comparison), methods)
    plane = plane_of(comparison, space, objective, coordinates)
    return Scene(comparison, plane).draw(names, ax)


class Scene:
    """A plane of a comparison, ready to be drawn several times."""

    def __init__(self, comparison: Comparison, plane: Plane):
        self.comparison = comparison
        self.plane = plane
        self.styles = styles(comparison.optimizers)
        losses = [run.trajectory.losses for run in comparison.runs.values()]
        self.first_loss = float(losses[0][0])
        if plane.loss is not None and plane.solution is not None:
            losses.append(np.asarray(jax.jit(plane.loss)(plane.solution))[None])
        self.levels = level_values(self.first_loss, np.concatenate(losses))
        self._field = None if plane.loss is None else Field(plane.loss, plane.dtype)
        self._grids: dict[bytes, Grid] = {}

    def view(self, ratio: float) -> View:
        """What is shown in a picture of that width over height."""
        plane, runs = self.plane, self.comparison.runs
        return view_of(
            plane.landmarks,
            [(plane.points[name], runs[name].trajectory.losses) for name in runs],
            self.first_loss,
            ratio,
        )

    def draw_levels(self, ax: Axes, view: View) -> ContourSet | None:
        """The level lines of L; None where there are none, or L is not known."""
        if self._field is None:
            return None
        key = view.low.tobytes() + view.high.tobytes()
        if key not in self._grids:
            self._grids[key] = self._field(view)
        return draw_levels(ax, self.levels, self._grids[key])

    def draw(
        self, names: Sequence[str], ax: Axes | None = None, *, legend: bool = True
    ) -> Axes:
        """The runs with these names; `legend`: where their labels have no room."""
        own, ax = ax is None, axes_of(ax, SQUARE, MARGINS)
        plane, view = self.plane, self.view(ratio_of(ax))
        show_plane(ax, view, f"{plane.space}-space", plane.axis_names)
        levels = self.draw_levels(ax, view)
        obstacles = Obstacles(ax)
        drawn = [self._draw_run(ax, name, view, obstacles) for name in names]
        lines, labels = [line for line, _ in drawn], [label for _, label in drawn]
        if any(map(marks.leaves_out, lines)):
            add_note(ax, marks.LEFT_OUT)
        draw_landmarks(ax, plane, obstacles)
        paths = [finite_part(self.plane.points[name]) for name in names]
        together = merged(ax, labels, paths)
        if place_labels(ax, together, obstacles) is None and legend:
            add_legend(ax, labels, lines, obstacles, widen=own)
        label_landmarks(ax, plane, obstacles)
        if levels is not None:
            label_levels(ax, levels, obstacles)
        return ax

    def _draw_run(
        self, ax: Axes, name: str, view: View, obstacles: Obstacles
    ) -> tuple[Line2D, Label]:
        """Draw a run; its line, and the label that belongs to its end."""
        run, style = self.comparison.runs[name], self.styles[name]
        every = self.plane.points[name].astype(float)
        points = finite_part(every)
        line = self.draw_path(ax, name, view)
        drawn = np.asarray(line.get_xydata())
        obstacles.add_line(drawn)
        obstacles.add_markers(drawn)
        end, way = drawn[-1], drawn[-1] - drawn[max(len(drawn) - 2, 0)]
        left, outside = view.exit(points), ""
        if left is not None:
            end, way = left.place, left.place - view.center
            outside = f"at [{', '.join(short(number) for number in points[-1])}]"
            obstacles.add_markers(end[None])
        # in several lines it is short enough to find a place between trajectories
        said = how_it_ended(run, outside)
        if len(points) < len(every):
            said += [f"(not finite after step {run.trajectory.steps[len(points) - 1]})"]
        after = "".join(f"\n{words}" for words in said)
        away, kind = unit(way), "run-label"
        return line, Label(plain(name), end, style.color, away, kind, after=after)

    def draw_path(
        self, ax: Axes, name: str, view: View, iterates: int | None = None
    ) -> Line2D:
        """A run, or its first iterates: line, markers and arrows; at its end a stop."""
        run, style = self.comparison.runs[name], self.styles[name]
        points = finite_part(self.plane.points[name].astype(float))
        line = marks.draw_run(ax, plain(name), points[:iterates], style, view)
        ended = iterates is None or iterates >= len(points)
        if ended and not run.ok and view.exit(points) is None:
            marks.draw_stop(ax, np.asarray(line.get_xydata())[-1], style.color)
        return line


def draw_landmarks(ax: Axes, plane: Plane, obstacles: Obstacles) -> None:
    """The start and, where it is known, the solution."""
    marks.draw_start(ax, plane.start)
    obstacles.add_markers(plane.start[None])
    if plane.solution is not None:
        marks.draw_solution(ax, plane.solution)
        obstacles.add_markers(plane.solution[None])


def label_landmarks(ax: Axes, plane: Plane, obstacles: Obstacles) -> None:
    """Their names, where there is room for them."""
    away = np.array([1.0, 1.0])
    spots = {"start": plane.start, "solution": plane.solution}
    for text, spot in spots.items():
        if spot is not None:
            label = Label(text, spot, marks.ink(), away, f"{text}-label", SMALL)
            place_labels(ax, [label], obstacles)


def finite_part(points: np.ndarray) -> np.ndarray:
    """The points, shape (n, 2), before the first that is not finite."""
    finite = np.all(np.isfinite(points), axis=1)
    return points if finite.all() else points[: np.argmin(finite)]


def how_it_ended(run: Run, outside: str) -> list[str]:
    """What is said at the end of a run, in parts: how it failed, if it did, and where.

    **Arguments:** `outside`: where it ended, if that is outside the picture.
    """
    said = []
    if not run.ok:
        where = f"in step {run.num_steps + 1}" if run.num_steps else "at the start"
        said = [f"{run.result} {where}"]
    if outside:
        said += [f"last {outside}"] if said else ["ends outside", outside]
    together = ",\n".join(said)
    return f"({together})".splitlines() if said else []
