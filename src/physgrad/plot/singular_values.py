"""`spectrum`: the singular values of a Jacobian, and which of them can be told."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from physgrad.doctor.directions import WEAK, Spectrum
from physgrad.doctor.report import CheckReport
from physgrad.plot import marks
from physgrad.plot.canvas import add_note, axes_of, finish, short
from physgrad.plot.labels import Label, Obstacles, place_labels, plain
from physgrad.plot.style import GREY

SIZE, MARGINS = (6.4, 5.0), (0.85, 1.42, 0.2, 0.6)
# In points below the axes: what is said of the spectrum.
WORDS, LINE_LENGTH, MOST_LINES, SMALL = 42.0, 84, 4, 9.0
# The axis goes on below the lowest value, and above the largest, by this factor.
ROOM = 3.0
# Values that are all alike are not drawn as if they were far apart.
LEAST_RANGE = 30.0
# Values of a shorter list have a stem each.
MOST_STEMS = 64


def spectrum(report: CheckReport, *, ax: Axes | None = None) -> Axes:
    """The singular values of J at x0 that `check` found, on a log axis.

    Their number says how much of x is seen in z, their size how well. Below the shade
    values are rounding of the dtype: they are triangles at the lower edge, and do not
    count for the rank, which is where a thin upright line stands. With a noise given to
    `check` a line shows the singular value |noise| / |x0| of one entry of z: along
    directions below it the noise moves x by more than x itself. What is said of the
    spectrum, and of what z does not show, is written below the axes.

    **Arguments:** `ax`: matplotlib axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `ValueError` for a report that has no spectrum, with why; `TypeError`
    for what is no report; `MissingExtra` without matplotlib.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> report = pg.check(lambda x: jnp.array([2.0, 1e-3, 0.0]) * x, jnp.ones(3))
    >>> ax = pg.plot.spectrum(report)
    >>> ax.get_yscale(), ax.get_xlabel()
    ('log', 'number of the singular value')
    """
    if not isinstance(report, CheckReport):
        raise TypeError(
            f"report must be a CheckReport, got {type(report).__name__}; make one: "
            "check(simulator, x0)"
        )
    found = report.spectrum
    if found is None or len(found.values) == 0:
        why = "; ".join(report.notes) or report.findings[0].words
        raise ValueError(f"this report has no singular values of J: {why}")
    ax = axes_of(ax, SIZE, MARGINS)
    _Chart(report, found).draw(ax)
    return ax


class _Chart:
    """The singular values of a report, and the part of the plane that shows them."""

    def __init__(self, report: CheckReport, found: Spectrum):
        self.report, self.found = report, found
        values = found.values
        self.numbers = np.arange(1, len(values) + 1)
        self.seen = values[values > 0]
        largest = float(values[0]) or 1.0
        self.dtype = report.z[0].dtype if report.z else "float64"
        self.floor = max(found.shape) * float(np.finfo(self.dtype).eps) * largest
        self.noise = noise_level(report)
        shown = [
            largest,
            largest / LEAST_RANGE,
            *self.seen,
            *([self.noise] if self.noise else []),
        ]
        if len(self.seen) < len(values):
            shown.append(self.floor)
        self.bottom = max(min(shown) / ROOM, float(np.finfo(float).tiny))
        self.top = max(shown) * ROOM

    def draw(self, ax: Axes) -> None:
        """Everything."""
        ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(self.bottom, self.top)
        last = max(len(self.numbers), min(self.found.shape) * self.found.dense)
        ax.set_xlim(0.4, last + 0.6 + 0.12 * last)
        ticks = MaxNLocator(8, integer=True).tick_values(1, last)
        ax.set_xticks([tick for tick in {1, *ticks} if 1 <= tick <= last])
        which = "" if self.found.dense else "largest "
        title = f"{which}singular values of J"
        finish(ax, title, "number of the singular value", "singular value")
        obstacles = Obstacles(ax)
        self._draw_values(ax, obstacles)
        self._draw_floor(ax)
        self._draw_levels(ax, obstacles)
        self._mark_rank(ax, obstacles)
        self._draw_words(ax)

    def _draw_values(self, ax: Axes, obstacles: Obstacles) -> None:
        """A marker for each value; triangles at the edge for those that are zero."""
        ink, values = marks.ink(), self.found.values
        count = len(self.seen)
        points = np.stack([self.numbers[:count], self.seen], axis=1)
        if len(values) <= MOST_STEMS:
            ax.vlines(
                points[:, 0], self.bottom, points[:, 1], colors=GREY, linewidth=0.8
            )
        ax.plot(
            *points.T,
            marker="o",
            markersize=5 if len(values) <= MOST_STEMS else 2.5,
            color=ink,
            linestyle="none",
            gid="values",
            zorder=3,
        )
        zeros = self.numbers[values <= 0]
        ax.plot(
            zeros,
            np.zeros(len(zeros)),
            transform=ax.get_xaxis_transform(),
            marker="v",
            markersize=6,
            color=ink,
            linestyle="none",
            clip_on=False,
            gid="zeros",
            zorder=5,
        )
        obstacles.add_markers(points)

    def _draw_floor(self, ax: Axes) -> None:
        """Shade what is below rounding, and say so above the axes."""
        reached = self.floor > self.bottom
        if reached:
            ax.axhspan(
                self.bottom / 2,
                self.floor,
                color=GREY,
                alpha=0.16,
                linewidth=0,
                zorder=0,
                gid="floor",
            )
        said = "shaded" if reached else "not reached"
        add_note(ax, f"rounding of {self.dtype}: below {self.floor:.0e} ({said})")
        if self.noise is None:
            add_note(ax, "noise in z: not given, check(..., noise=...)")

    def _draw_levels(self, ax: Axes, obstacles: Obstacles) -> None:
        """Where the noise outweighs x, and where a direction is weakly seen."""
        weak = WEAK * float(self.found.values[0])
        noise = self.report.noise
        given = None if noise is None else noise.uncertainty
        size = 0.0 if given is None else given.size
        levels = [
            (
                "noise",
                self.noise,
                marks.ink(),
                f"noise of {short(size)} outweighs x below",
            ),
            ("weak", weak, GREY, f"weakly seen below {short(WEAK)} of the first"),
        ]
        for gid, level, color, words in levels:
            if level is None or not self.bottom < level < self.top:
                continue
            ax.axhline(
                level, color=color, linewidth=1.2, linestyle=(0, (4, 2)), gid=gid
            )
            across = float(ax.get_xlim()[1])
            obstacles.add_line(np.array([[0.4, level], [across, level]]))
            spot, away = np.array([across, level]), np.array([-1.0, 0.6])
            label = Label(words, spot, color, away, f"{gid}-label", SMALL)
            place_labels(ax, [label], obstacles)

    def _mark_rank(self, ax: Axes, obstacles: Obstacles) -> None:
        """An upright line behind the last value that is not zero."""
        found = self.found
        place = found.rank + 0.5
        ax.axvline(place, color=GREY, linewidth=0.9, zorder=1, gid="rank")
        least = "" if found.dense else "at least "
        words = f"rank {least}{found.rank} of {min(found.shape)}"
        top = np.array([place, self.top])
        obstacles.add_line(np.array([[place, self.bottom], top]))
        label = Label(words, top, GREY, np.array([1.0, -0.2]), "rank-label", SMALL)
        place_labels(ax, [label], obstacles)

    def _draw_words(self, ax: Axes) -> None:
        """What is said of the spectrum, below the axes."""
        lines = [
            line
            for text in said_of(self.found)
            for line in textwrap.wrap(text, LINE_LENGTH)
        ]
        if len(lines) > MOST_LINES:
            lines = [*lines[: MOST_LINES - 1], "... (print the report for all of it)"]
        ax.annotate(
            "\n".join(lines),
            (0, 0),
            xytext=(0, -WORDS),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontsize=SMALL,
            color=GREY,
            parse_math=False,
            annotation_clip=False,
            gid="words",
        )


def noise_level(report: CheckReport) -> float | None:
    """The singular value |noise of an entry of z| / |x0|; None if no noise was given.

    The noise moves x along a direction by |noise| / s, more than |x0| below that. It
    follows from |z0| / |x0| = worst gain times the smallest singular value, and from
    |noise| / |z0| = |deviations of x| / |x0| over their gain.
    """
    noise, found = report.noise, report.spectrum
    if noise is None or noise.uncertainty is None or noise.worst_gain is None:
        return None
    if found is None or not found.rank or not noise.uncertainty.gain:
        return None
    sizes = noise.worst_gain * float(found.values[found.rank - 1])
    relative = noise.uncertainty.relative / noise.uncertainty.gain
    return sizes * relative / float(np.sqrt(found.shape[0]))


def said_of(found: Spectrum) -> Iterator[str]:
    """Condition, rank, and what z does not show or hardly shows, in words."""
    least = "" if found.dense else "at least "
    rows, columns = found.shape
    yield (
        f"condition number {least}{found.condition:.3g}; rank {least}{found.rank} of "
        f"{min(rows, columns)} ({rows} x {columns})"
    )
    if found.badly_scaled:
        yield f"rank {found.scaled_rank} once rows and columns are of one size"
    if found.null_count:
        shown = [plain(words) for words in found.unseen]
        more = found.null_count - len(shown)
        if more > 0:
            shown.append(
                f"{least}{more} more" if shown else f"{least}{more} directions"
            )
        yield f"z does not show {', '.join(shown)}"
    if found.weak:
        yield f"weakly seen: {', '.join(plain(words) for words in found.weak)}"
