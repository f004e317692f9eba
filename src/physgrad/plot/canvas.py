"""Axes: made where none are given, and made alike."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from physgrad.plot.style import GREY
from physgrad.plot.view import View

SQUARE = (5.6, 5.2)
MOST_TICKS = 7
# Ticks up to 9,999 are written out.
SMALLEST_POWER, LARGEST_POWER = -3, 3
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TITLE_SIZE, AXIS_SIZE, TICK_SIZE, NOTE_SIZE = 12.0, 11.0, 9.0, 9.0


def axes_of(
    ax: Axes | None, size: tuple[float, float], margins: tuple[float, ...]
) -> Axes:
    """The axes given, laid out; or new ones on a figure of their own.

    **Arguments:** `size`: of that figure, in inches; `margins`: left, bottom, right and
    top of its axes, in inches. The figure is none of pyplot's.
    """
    if ax is None:
        left, bottom, right, top = margins
        width, height = size
        box = (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - bottom - top) / height,
        )
        return Figure(figsize=size).add_axes(box)
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    figure = ax.get_figure(root=True)
    if figure is not None and figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # labels are placed in the final layout
    return ax


def ratio_of(ax: Axes) -> float:
    """Width over height of the axes on the page."""
    box = ax.get_window_extent()
    return float(box.width / box.height)


def show_plane(ax: Axes, view: View, title: str, names: tuple[str, str]) -> None:
    """Limits, equal axes, names and title of a picture of a plane."""
    ax.set_xlim(view.low[0], view.high[0])
    ax.set_ylim(view.low[1], view.high[1])
    ax.set_aspect("equal", adjustable="box")
    ticks = MaxNLocator(MOST_TICKS, steps=[1, 2, 5, 10]).tick_values(
        0.0, float(np.max(view.high - view.low))
    )
    for axis in (ax.xaxis, ax.yaxis):  # the same distance on both
        axis.set_major_locator(MultipleLocator(float(ticks[1] - ticks[0])))
    largest = float(np.max(np.abs([view.low, view.high])))
    units = [write_ticks(axis, largest) for axis in (ax.xaxis, ax.yaxis)]
    finish(ax, title, names[0] + units[0], names[1] + units[1])
    ax.apply_aspect()


def write_ticks(axis: Axis, largest: float) -> str:
    """Write short numbers at the ticks; what they are to be multiplied with, as text.

    >>> write_ticks(Figure().add_subplot().xaxis, 3e-5)
    ' (10⁻⁵)'
    """
    power = int(np.floor(np.log10(largest))) if largest > 0 else 0
    if SMALLEST_POWER <= power <= LARGEST_POWER:
        power = 0
    # divided twice: the power itself may leave the range of floats
    half = 10.0 ** (power // 2), 10.0 ** (power - power // 2)
    axis.set_major_formatter(
        lambda value, _: short(value / half[0] / half[1], digits=7)
    )
    return f" (10{str(power).translate(_SUPERSCRIPTS)})" if power else ""


def short(value: float, digits: int = 3) -> str:
    """A number in few characters."""
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def finish(ax: Axes, title: str, across: str, up: str) -> None:
    """Title, names and the fewest lines that do."""
    ax.set_title(title, loc="left", fontsize=TITLE_SIZE, parse_math=False)
    ax.set_xlabel(across, fontsize=AXIS_SIZE, parse_math=False)
    ax.set_ylabel(up, fontsize=AXIS_SIZE, parse_math=False)
    ax.tick_params(labelsize=TICK_SIZE)
    ax.spines[["top", "right"]].set_visible(False)


def add_note(ax: Axes, text: str) -> None:
    """A small line above the axes, on the right; below the one that is there."""
    lines = [*ax.get_title(loc="right").splitlines(), text]
    ax.set_title("\n".join(lines), loc="right", fontsize=NOTE_SIZE, color=GREY)


def unit(vector: np.ndarray) -> np.ndarray:
    """A vector of length 1 in the same direction; (1, 0) for none."""
    length = float(np.hypot(*vector))
    return vector / length if length > 0 else np.array([1.0, 0.0])
