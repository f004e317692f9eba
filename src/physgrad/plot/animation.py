"""`animate`: the trajectories of a comparison in several spaces, step by step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import Objective
from physgrad.plot.canvas import SQUARE
from physgrad.plot.gif import encode
from physgrad.plot.labels import Label, Obstacles, plain
from physgrad.plot.legend import add_legend
from physgrad.plot.levels import LINE_COLOR
from physgrad.plot.principal import PRINCIPAL
from physgrad.plot.saving import checked_file, write_file
from physgrad.plot.settings import own_settings
from physgrad.plot.space import (
    checked_comparison,
    chosen_methods,
    count_entries,
    end_spaces,
    plane_of,
)
from physgrad.plot.style import GREY
from physgrad.plot.trajectories import MARGINS, Scene, how_it_ended
from physgrad.plot.view import View

DPI = 92
SCALE = 0.86  # of a still picture
# In inches, below the panels: the number of the step.
FOOT = 0.2
STEP_SIZE = 11.0
MOST_FRAMES, MOST_SPACES, FASTEST = 120, 4, 50.0
# What is drawn anew in every frame.
MOVING = ("trajectory", "arrows", "stop")


def animate(
    comparison: Comparison,
    file: str | os.PathLike[str] | None = None,
    *,
    spaces: Iterable[str] | None = None,
    objective: Objective | None = None,
    methods: Iterable[str] | None = None,
    coordinates: Sequence[int] | str | None = None,
    fps: int | float = 4,
    hold: int | float = 3,
    force: bool = False,
) -> bytes:
    """The trajectories of a comparison, one step a frame, as an animated GIF.

    The panels are those of `compare`, side by side, and the last frame is that picture:
    names are where the runs will end, so that nothing but the runs moves. Of more than
    120 steps some are left out. The bytes depend on nothing but the arguments and the
    versions of matplotlib and Pillow.

    **Arguments:**

    - `file`: also written there, as a whole or not at all.
    - `spaces`: which spaces, from left to right, four at most; by default x and z.
    - `objective`, `methods`: as in `compare`.
    - `coordinates`: as in `compare`, for every space; by default a space that has not
        two entries is shown in its principal plane.
    - `fps`: frames in a second, up to 50; each stays for some hundredths of a second.
    - `hold`: seconds for which the last frame stays; then it begins anew.
    - `force`: whether an older file is replaced.

    **Returns:** the content of the file.

    **Raises:** `ValueError` for a file that does not end with .gif, and as `compare`;
    `FileExistsError` where the file is there already, unless `force`; other `OSError`
    where it cannot be written; `TypeError` for what is no comparison; `MissingExtra`
    without matplotlib.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: 2 * x, lambda z: jnp.sum(z**2))
    >>> methods = {"GD": pg.GradientDescent(0.1), "PG": pg.PhysicalGradient(0.5)}
    >>> comparison = pg.compare(objective, jnp.array([3.0, 1.0]), methods, num_steps=2)
    >>> pg.plot.animate(comparison, spaces=["z"])[:6]
    b'GIF89a'
    """
    names = chosen_methods(checked_comparison(comparison), methods)
    durations = _checked_times(fps, hold)
    path = None if file is None else checked_file(file, ".gif", force=force)
    scenes = [
        Scene(comparison, _plane(comparison, space, objective, coordinates))
        for space in _checked_spaces(comparison, spaces)
    ]
    with own_settings():
        film = _Film(scenes, names)
        frames = list(film.frames())
        content = encode(frames, film.colors(), *durations)
    if path is not None:
        write_file(path, content)
    return content


def _checked_spaces(
    comparison: Comparison, spaces: Iterable[str] | None
) -> Sequence[str]:
    if spaces is None:
        return end_spaces(comparison)
    if isinstance(spaces, str):
        raise TypeError(f"spaces must be several names, got the text {spaces!r}")
    chosen = list(spaces)
    if not 0 < len(chosen) <= MOST_SPACES:
        raise ValueError(f"spaces must be 1 to {MOST_SPACES} names, got {chosen}")
    return chosen


def _checked_times(fps: int | float, hold: int | float) -> tuple[int, int]:
    """How long a frame and the last one stay, in milliseconds: tens, as in the file."""
    if not 0 < fps <= FASTEST:
        raise ValueError(f"fps must be above 0 and at most {FASTEST:g}, got {fps}")
    if not 0 <= hold <= 60:
        raise ValueError(f"hold must be 0 to 60 seconds, got {hold}")
    frame = 10 * round(100 / fps)
    return frame, max(frame, 10 * round(100 * hold))


def _plane(
    comparison: Comparison,
    space: str,
    objective: Objective | None,
    coordinates: Sequence[int] | str | None,
):
    if coordinates is None and count_entries(comparison, space) != 2:
        coordinates = PRINCIPAL
    return plane_of(comparison, space, objective, coordinates)


def _names_runs(ax: Axes) -> bool:
    """Whether the runs have their names beside them."""
    return any(text.get_gid() == "run-label" for text in ax.texts)


class _Film:
    """The panels of several spaces, at any step."""

    def __init__(self, scenes: Sequence[Scene], names: Sequence[str]):
        self.scenes, self.names = scenes, names
        self.runs = [scenes[0].comparison.runs[name] for name in names]
        self.last = max((int(run.trajectory.steps[-1]) for run in self.runs), default=0)
        width, height = SCALE * SQUARE[0], SCALE * SQUARE[1] + FOOT
        size = (width * len(scenes), height)
        self.figure = Figure(figsize=size, dpi=DPI)
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = [self._axes(number * width) for number in range(len(scenes))]
        for scene, ax in zip(scenes, self.axes, strict=True):
            scene.draw(names, ax, legend=False)
        if names and not all(map(_names_runs, self.axes)):
            self._add_legend()
        self.counter = self.figure.text(
            0.5, 0.1 / height, "", ha="center", color=GREY, fontsize=STEP_SIZE
        )

    def _axes(self, left: float) -> Axes:
        """The axes of a panel whose left edge is so many inches in."""
        width, height = self.figure.get_size_inches()
        own = SCALE * np.array(SQUARE) - [
            MARGINS[0] + MARGINS[2],
            MARGINS[1] + MARGINS[3],
        ]
        box = np.array([left + MARGINS[0], MARGINS[1] + FOOT, *own])
        return self.figure.add_axes(tuple(box / [width, height, width, height]))

    def _add_legend(self) -> None:
        """One for all panels, to their right."""
        ax = self.axes[-1]
        lines = [line for line in ax.lines if line.get_gid() == "trajectory"]
        labels = []
        for name, run in zip(self.names, self.runs, strict=True):
            after = "".join(f"\n{words}" for words in how_it_ended(run, ""))
            nowhere = np.zeros(2)
            labels.append(Label(plain(name), nowhere, "", nowhere, "", after=after))
        add_legend(ax, labels, lines, Obstacles(ax), widen=True)

    def frames(self) -> Iterator[np.ndarray]:
        """The picture of each step, shape (height, width, 3), of type uint8."""
        every = np.unique(
            np.linspace(0, self.last, min(self.last + 1, MOST_FRAMES)).round()
        )
        for step in every.astype(int):
            yield self._frame(int(step))

    def _frame(self, step: int) -> np.ndarray:
        for scene, ax in zip(self.scenes, self.axes, strict=True):
            for artist in [*ax.lines, *ax.collections]:
                if artist.get_gid() in MOVING:
                    artist.remove()
            low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
            for name, run in zip(self.names, self.runs, strict=True):
                done = int(np.sum(run.trajectory.steps <= step))
                scene.draw_path(ax, name, View(low, high), done)
        self.counter.set_text(f"step {step} of {self.last}")
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def colors(self) -> list[str]:
        """The colors of what is drawn."""
        styles = self.scenes[0].styles
        return ["black", GREY, LINE_COLOR[:7], *(styles[n].color for n in self.names)]
