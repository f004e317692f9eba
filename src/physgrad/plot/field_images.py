"""Fields of two axes: images with one color bar, and their differences with another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from physgrad.plot.canvas import (
    AXIS_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    write_ticks,
)
from physgrad.plot.field_values import Fields, not_finite
from physgrad.plot.labels import plain
from physgrad.plot.style import MISSING

# Even steps for the eye, dark to light, also without color; and white at zero.
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
COLUMNS = 4
# In inches: the longer and at least the shorter side of an image; around it.
LONGEST, SHORTEST = 2.5, 0.9
BESIDE, BETWEEN, BAR = 0.6, 0.95, 1.0
MOST_TICKS = 5


def draw_images(
    fields: Fields, given: Sequence[Axes] | None, origin: str
) -> tuple[Axes, ...]:
    """The images row by row, then the differences, each below its own image."""
    differences = fields.differences
    shape = next(iter(fields.arrays.values())).shape
    axes = list(given or _axes(fields, shape))
    count = len(fields.arrays)
    less = f"\N{MINUS SIGN} {plain(fields.reference or '')}"
    titles = {name: f"{plain(name)} {less}" for name in differences}
    low, high = _limits(fields.arrays)
    far = max(-_limits(differences)[0], _limits(differences)[1])
    parts = [
        ("field", axes[:count], fields.arrays, {}, (low, high), SEQUENTIAL),
        ("difference", axes[count:], differences, titles, (-far, far), DIVERGING),
    ]
    for gid, panels, arrays, names, limits, colors in parts:
        images = [
            _draw_image(panel, array, limits, _colors(colors), origin)
            for panel, array in zip(panels, arrays.values(), strict=True)
        ]
        for image, panel, name in zip(images, panels, arrays, strict=True):
            image.set_gid(gid)
            _finish(panel, names.get(name, plain(name)), arrays[name], origin)
        if images:
            what = ["difference"] * bool(names) + [fields.quantity] * bool(
                fields.quantity
            )
            _add_bar(images[0], panels, ", ".join(what), limits)
    return tuple(axes)


def _axes(fields: Fields, shape: tuple[int, ...]) -> list[Axes]:
    """A figure's axes: of each image, then of each difference."""
    count = len(fields.arrays)
    block = -(-count // COLUMNS)
    columns = -(-count // block)  # five are three and two, not four and one
    rows = block * (1 if fields.reference is None else 2)
    height, width = (max(SHORTEST, LONGEST * side / max(shape)) for side in shape)
    size = (columns * (width + BESIDE) + BAR, rows * (height + BETWEEN))
    figure = Figure(figsize=size, layout="compressed")
    grid = figure.add_gridspec(rows, columns)
    places = [divmod(number, columns) for number in range(count)]
    below = [
        (row + block, column)
        for (row, column), name in zip(places, fields.arrays, strict=True)
        if name in fields.differences
    ]
    return [figure.add_subplot(grid[place]) for place in [*places, *below]]


def _limits(arrays: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """The smallest and the largest finite value, apart; (-1, 1) for none."""
    finite = [array[np.isfinite(array)] for array in arrays.values()]
    values = np.concatenate([np.empty(0), *finite])
    if len(values) == 0 or not np.any(values):
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        room = abs(low) / 2
        return low - room, high + room
    return low, high


def _colors(name: str) -> Colormap:
    return matplotlib.colormaps[name].with_extremes(bad=MISSING)


def _draw_image(
    ax: Axes,
    array: np.ndarray,
    limits: tuple[float, float],
    colors: Colormap,
    origin: str,
) -> AxesImage:
    return ax.imshow(
        np.ma.masked_invalid(array),
        cmap=colors,
        vmin=limits[0],
        vmax=limits[1],
        aspect="equal",
        origin="upper" if origin == "upper" else "lower",
    )


def _finish(ax: Axes, title: str, array: np.ndarray, origin: str) -> None:
    """Title, what the axes are, and how much is not finite."""
    ax.set_title(title, loc="left", fontsize=TITLE_SIZE, parse_math=False)
    ax.set_xlabel("column", fontsize=AXIS_SIZE)
    way = "down" if origin == "upper" else "up"
    ax.set_ylabel(f"row, {way}wards", fontsize=AXIS_SIZE)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(MOST_TICKS, integer=True))
    ax.tick_params(labelsize=TICK_SIZE)
    said = not_finite(array)
    if said:
        ax.set_xlabel(f"column\n{said}", fontsize=AXIS_SIZE)


def _add_bar(
    image: AxesImage, panels: Sequence[Axes], label: str, limits: tuple[float, float]
) -> None:
    """One color bar for all the panels."""
    figure = panels[0].get_figure(root=True)
    if figure is None:
        return
    bar = figure.colorbar(image, ax=list(panels), fraction=0.05, aspect=18)
    scale = write_ticks(bar.ax.yaxis, float(np.max(np.abs(limits))))
    bar.set_label(f"{label}{scale}".strip(), fontsize=AXIS_SIZE, parse_math=False)
    bar.ax.tick_params(labelsize=TICK_SIZE)
