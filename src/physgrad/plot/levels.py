"""The level lines of L: which values, where they run, and their labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from physgrad.plot.labels import Obstacles, clearest, extent
from physgrad.plot.view import GROWTH_SHOWN, View

# Half transparent, it is light on white and dim on dark.
LINE_COLOR, TEXT_COLOR = "#7F868F8C", "#6E6E6E"
LINE_WIDTH, FONT_SIZE = 0.8, 8.5
MOST_LINES = 7
GRID = 129
# Where L falls by less than this factor, evenly spaced values say more than 1, 3, 10.
LOG_RANGE = 8.0
# A line smaller than this, in points, is a speck under the solution: not labeled.
SPECK = 9.0
# Points of a grid that are evaluated at once: bounds the memory of large simulators.
BATCH = 1024


def level_values(first_loss: float, other_losses: np.ndarray) -> np.ndarray:
    """The values of L whose level lines are drawn, rising: ..., 1, 3, 10, 30, 100, ...

    They depend on losses only, so that they are the same in every space.

    >>> level_values(90.0, np.array([22.0, 0.07]))
    array([  0.3,   1. ,   3. ,  10. ,  30. , 100. , 300. ])
    """
    others = other_losses[np.isfinite(other_losses)]
    low = float(min([first_loss, *others]))
    if first_loss == low:  # nothing fell: what rose gives the scale
        risen = others[others > low]
        low, first = (low, float(np.max(risen))) if len(risen) else (0.0, first_loss)
    else:
        first = first_loss
    high = first + (GROWTH_SHOWN - 1) * abs(first - min(low, 0.0))
    if low >= 0 and first > 0 and low < first / LOG_RANGE:
        decades = np.arange(np.floor(np.log10(high)) - 4, np.log10(high) + 1)
        ladder = np.array([float(f"{d}e{int(k)}") for k in decades for d in (1, 3)])
        return ladder[(ladder > low) & (ladder <= high)][-MOST_LINES:]
    if high <= low:
        return np.empty(0)
    locator = MaxNLocator(MOST_LINES, steps=[1, 2, 5, 10])
    ticks = np.asarray(locator.tick_values(low, first + (first - low)))
    return ticks[ticks > low]


Grid = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Coordinates across (GRID,) and up (GRID,), and L there (GRID, GRID), row by row."""


class Field:
    """L over a plane, evaluated in the dtype of x; compiled once for all views."""

    def __init__(self, loss: Callable[[Any], Any], dtype: np.dtype):
        self._dtype = jax.dtypes.canonicalize_dtype(dtype)
        self._evaluate = jax.jit(
            lambda points: jax.lax.map(loss, points, batch_size=BATCH)
        )

    def __call__(self, view: View) -> Grid:
        """L on a grid over a view."""
        across, up = (
            np.linspace(low, high, GRID)
            for low, high in zip(view.low, view.high, strict=True)
        )
        points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
        values = self._evaluate(jnp.asarray(points, self._dtype))
        values = np.asarray(values, float).reshape(GRID, GRID)
        return across, up, np.ma.masked_invalid(values)


def draw_levels(ax: Axes, values: np.ndarray, grid: Grid) -> ContourSet | None:
    """Thin light lines at the values; None where none of them crosses the grid."""
    low, high = grid[2].min(), grid[2].max()
    if not np.any((values > low) & (values < high)):
        return None
    return ax.contour(
        *grid, levels=values, colors=LINE_COLOR, linewidths=LINE_WIDTH, zorder=1
    )


def label_levels(ax: Axes, lines: ContourSet, obstacles: Obstacles) -> None:
    """Write each value once on its line, where it is farthest from everything else."""
    visible = {}
    for value, path in zip(np.asarray(lines.levels), lines.get_paths(), strict=True):
        pixels = ax.transData.transform(np.asarray(path.vertices))
        inside = pixels[obstacles.frame_contains(pixels)]
        if len(inside) and np.max(np.ptp(inside, axis=0)) >= obstacles.pixels(SPECK):
            visible[float(value)] = inside
    before = None
    for value in sorted(visible, reverse=True):
        label = _level_label(ax, f"L = {value:g}" if before is None else f"{value:g}")
        _, size = extent(label)
        others = [line for other, line in visible.items() if other != value]
        others = np.concatenate([np.empty((0, 2)), *others])
        spot = clearest(visible[value], size, obstacles, others, near=before)
        if spot is None:
            label.remove()
            continue
        across, up = ax.transData.inverted().transform(spot)
        label.set_position((across, up))
        obstacles.add_box(spot, size)
        before = spot


def _level_label(ax: Axes, text: str) -> Text:
    return ax.text(
        0,
        0,
        text,
        color=TEXT_COLOR,
        fontsize=FONT_SIZE,
        ha="center",
        va="center",
        gid="level-label",
        zorder=1.5,
        bbox=dict(facecolor=ax.get_facecolor(), edgecolor="none", pad=0.6),
    )
