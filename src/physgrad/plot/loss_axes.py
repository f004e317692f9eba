"""`losses`: the loss of each run, on a log axis."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from physgrad.comparison.comparison import Comparison
from physgrad.plot import marks
from physgrad.plot.canvas import add_note, axes_of, finish, short
from physgrad.plot.labels import (
    Label,
    Obstacles,
    merged,
    place_labels,
    plain,
    size_of,
)
from physgrad.plot.legend import add_legend
from physgrad.plot.space import checked_comparison
from physgrad.plot.style import GREY, styles
from physgrad.plot.trajectories import how_it_ended
from physgrad.trajectory import Run

SIZE, MARGINS = (6.4, 4.4), (0.85, 0.62, 0.2, 0.42)
EVALUATIONS = "evaluations of all kinds, spread evenly over the steps"
# Runs that rise above this multiple of the first loss leave the picture.
HIGHEST = 100.0
# The axis reaches down to the rounding floor if the runs come so close to it,
NEAR_FLOOR = 1e4
# and so far below it.
BELOW_FLOOR = 1e2
# Room to the right of the last step, for labels, in parts of the whole width: at most.
MOST_ROOM = 0.35
BELOW_SPACING = 30.0


def losses(
    comparison: Comparison,
    *,
    ax: Axes | None = None,
    against: str = "steps",
) -> Axes:
    """The loss of every run against its steps or its evaluations, on a log axis.

    What rounding leaves of a squared loss is shaded: below eps^2 L(start), eps that of
    the dtype. A loss of exactly zero, which a log axis does not have, is a triangle at
    its lower edge, and so is one far below the shade; where a loss is negative, the
    axis is linear. A run that failed has a stop sign at its last good iterate, or an
    arrow where it leaves the picture, and its result beside it, with where it ended. A
    note says so where points lie too near for a marker each.

    **Arguments:**

    - `ax`: matplotlib axes to draw on; by default those of a new figure.
    - `against`: "steps", or "evaluations": of the simulator, its derivatives and its
        inverse, all counted as one each. A run knows its total, which is spread evenly
        over its steps.

    **Returns:** the axes.

    **Raises:** `ValueError` for another `against`; `TypeError` for what is no
    comparison; `MissingExtra` without matplotlib.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
    >>> methods = {"GD": pg.GradientDescent(0.1)}
    >>> comparison = pg.compare(objective, jnp.array([3.0]), methods, num_steps=2)
    >>> pg.plot.losses(comparison).get_yscale()
    'log'
    """
    if against not in ("steps", "evaluations"):
        raise ValueError(f"against must be 'steps' or 'evaluations', got {against!r}")
    chart, own = _Chart(checked_comparison(comparison), against), ax is None
    ax = axes_of(ax, SIZE, MARGINS)
    chart.draw(ax, own)
    return ax


class _Chart:
    """The losses of a comparison, and the part of the plane that shows them."""

    def __init__(self, comparison: Comparison, against: str):
        self.comparison = comparison
        self.against = against
        self.styles = styles(comparison.optimizers)
        runs = comparison.runs
        self.points = {
            name: np.stack([self._across(run), run.trajectory.losses], axis=1)
            for name, run in runs.items()
        }
        self.losses = np.concatenate([points[:, 1] for points in self.points.values()])
        first = next(iter(runs.values())).trajectory.losses
        self.first, self.dtype = float(first[0]), first.dtype
        self.floor = float(np.finfo(first.dtype).eps) ** 2 * abs(self.first)
        self.log = bool(np.all(self.losses >= 0) and np.any(self.losses > 0))
        self.begin = 0.0 if against == "steps" else 1.0
        self.end = max(float(points[-1, 0]) for points in self.points.values())
        self.bottom, self.top = self._limits()
        self.below: list[Line2D] = []

    def _across(self, run: Run) -> np.ndarray:
        """Steps, or evaluations, before each iterate; shape (iterates,)."""
        steps = run.trajectory.steps.astype(float)
        if self.against == "steps":
            return steps
        # the first call of the simulator is that at the start
        per_step = (sum(run.evaluations.values()) - 1) / max(run.num_steps, 1)
        return 1 + steps * per_step

    def _limits(self) -> tuple[float, float]:
        """Bottom and top of the axis."""
        first, values = self.first, self.losses
        if not self.log:
            low, high = float(values.min()), float(values.max())
            if first > low:
                high = min(high, first + 3 * (first - low))
            room = 0.08 * (high - low) or 1.0
            return low - room, high + room
        positive = values[values > 0]
        high = float(positive.max())
        if first > 0:
            high = min(high, first * HIGHEST)
        low = min(float(positive.min()), high)
        if self.floor > 0 and (low < self.floor * NEAR_FLOOR or np.any(values == 0)):
            low = self.floor / BELOW_FLOOR
        room = max((high / low) ** 0.06, 1.2)
        return max(low / room, np.finfo(float).tiny), high * room

    def draw(self, ax: Axes, own: bool) -> None:
        """Everything; `own`: the figure may be widened for a legend."""
        self._set_up(ax)
        drawn = [self._draw_run(ax, name) for name in self.points]
        lines, labels = [line for line, _ in drawn], [label for _, label in drawn]
        together = merged(ax, labels, list(self.points.values()))
        middle = self.begin / 2 + self.end / 2
        late = [label for label in together if label.anchor[0] >= middle]
        widest = max((size_of(ax, label)[0] for label in late), default=0.0)
        self._set_width(ax, (widest + 20) / ax.get_window_extent().width)
        obstacles = Obstacles(ax)
        self._draw_floor(ax)
        if any(map(marks.leaves_out, [*lines, *self.below])):
            add_note(ax, marks.LEFT_OUT)
        for name in self.points:
            shown = self._shown(name)
            obstacles.add_line(shown)
            obstacles.add_markers(shown)
        obstacles.add_markers(np.array([label.anchor for label in labels]))
        if place_labels(ax, together, obstacles) is None:
            add_legend(ax, labels, lines, obstacles, widen=own)

    def _set_up(self, ax: Axes) -> None:
        """Scale, limits and names."""
        if self.log:
            ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(self.bottom, self.top)
        self._set_width(ax, 0.2)
        ticks = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10])
        last = max(self.end, self.begin + 1)
        values = np.asarray(ticks.tick_values(self.begin, last))
        ax.set_xticks(values[(values >= 0) & (values <= self.end)])
        name = "steps" if self.against == "steps" else EVALUATIONS
        finish(ax, f"L against {self.against}", name, "L")

    def _set_width(self, ax: Axes, room: float) -> None:
        """Limits across, with `room` to the right, in parts of the whole width."""
        width = self.end - self.begin or 1.0
        whole = 1.03 * width / (1 - min(room, MOST_ROOM))
        ax.set_xlim(self.begin - 0.03 * width, self.begin - 0.03 * width + whole)

    def _shown(self, name: str) -> np.ndarray:
        """The points of a run until it leaves for good, zeros on the lower edge."""
        points = self.points[name]
        below = np.flatnonzero(points[:, 1] <= self.top)
        count = int(below[-1]) + 1 if len(below) else 0
        return np.clip(points[:count], [0, self.bottom], [np.inf, self.top])

    def _draw_run(self, ax: Axes, name: str) -> tuple[Line2D, Label]:
        """Draw a run; its line, and the label that belongs to its end."""
        style, points = self.styles[name], self.points[name]
        clipped = np.clip(points, [0, self.bottom], [np.inf, self.top])
        (line,) = ax.plot(
            *points.T,
            label=plain(name),
            gid="trajectory",
            markevery=marks.shown_markers(ax, clipped, style),
            zorder=4 if style.hollow else 3,
            **marks.line_style(style),
            **marks.marker_style(style, ax.get_facecolor()),
        )
        self._draw_below(ax, points[points[:, 1] < self.bottom], style.color)
        return line, self._draw_end(ax, name)

    def _draw_below(self, ax: Axes, points: np.ndarray, color: str) -> None:
        """Triangles at the lower edge, for points below it."""
        if len(points) == 0:
            return
        pixels = ax.transData.transform(points * [1, 0] + [0, self.bottom])
        kept = marks.spaced(pixels, BELOW_SPACING, always=(len(points) - 1,))
        self.below += ax.plot(
            points[:, 0],
            np.zeros(len(points)),
            markevery=kept.tolist(),
            transform=ax.get_xaxis_transform(),
            marker="v",
            markersize=6,
            color=color,
            linestyle="none",
            clip_on=False,
            gid="below",
            zorder=5,
        )

    def _draw_end(self, ax: Axes, name: str) -> Label:
        """Stop sign or arrow of a run that failed or left; the label of its end."""
        run, color = self.comparison.runs[name], self.styles[name].color
        points, shown = self.points[name], self._shown(name)
        leaves = len(shown) < len(points)
        outside = f"at L = {short(points[-1, 1])}" if leaves else ""
        after, end = how_it_ended(run, outside), points[-1]
        if leaves:
            end = self._crossing(points[max(len(shown) - 1, 0) :][:2])
            marks.add_heads(ax, end[None], np.array([[0.0, 1.0]]), color)
        else:
            if end[1] < self.bottom:
                end, after = shown[-1], [*after, f"(L = {end[1]:.1g})"]
            if not run.ok:
                marks.draw_stop(ax, end, color)
        said = "".join(f" {part}" for part in after)
        away = np.array([1.0, 0.0])
        return Label(plain(name), end, color, away, "run-label", after=said)

    def _crossing(self, segment: np.ndarray) -> np.ndarray:
        """Where a segment crosses the top."""
        scaled = (lambda v: np.log(np.maximum(v, self.bottom))) if self.log else float
        here, there = scaled(segment[0, 1]), scaled(segment[-1, 1])
        part = (scaled(self.top) - here) / (there - here) if there > here else 0.0
        across = segment[0, 0] + part * (segment[-1, 0] - segment[0, 0])
        return np.array([across, self.top])

    def _draw_floor(self, ax: Axes) -> None:
        """Shade what is below rounding, and say so above the axes."""
        if not self.log or self.floor <= 0:
            return
        ax.axhspan(
            min(self.bottom, self.floor) / 2,
            self.floor,
            color=GREY,
            alpha=0.16,
            linewidth=0,
            zorder=0,
            gid="floor",
        )
        shown = "shaded" if self.floor > self.bottom else "not reached"
        add_note(ax, f"rounding of {self.dtype}: below {self.floor:.0e} ({shown})")
