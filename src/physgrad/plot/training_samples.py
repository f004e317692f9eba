"""`training_samples`: what each method's network makes of a few samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physgrad.plot.field_images import SEQUENTIAL
from physgrad.plot.style import Style, styles
from physgrad.train.course import Outcome
from physgrad.train.training import Shown

IMAGE, LINES = 1.5, (4.8, 1.9)  # inches of a panel
SMALLEST_IMAGE = 4
FEW = 12  # entries, which no line connects
WANTED = {"x": "solution", "z": "target"}


def training_samples(outcomes: Mapping[str, Outcome]) -> Figure:
    """x and z of a few samples, and what was asked for: images of fields, else lines.

    **Arguments:** `outcomes`: of the methods, by key.
    """
    shown = {key: outcome.shown for key, outcome in outcomes.items()}
    first = next(iter(shown.values()))
    fields = all(
        array.ndim == 3 and min(array.shape[1:]) >= SMALLEST_IMAGE
        for array in (first.x, first.z)
    )
    if fields:
        return _images(shown)
    return _lines(shown, styles({key: o.words for key, o in outcomes.items()}))


def _images(shown: Mapping[str, Shown]) -> Figure:
    """A row for each sample: what was asked for, then what each method makes of it."""
    first = next(iter(shown.values()))
    blocks = {
        space: {wanted: getattr(first, wanted)}
        | {key: getattr(one, space) for key, one in shown.items()}
        for space, wanted in WANTED.items()
    }
    columns = [
        (space, name, array)
        for space, block in blocks.items()
        for name, array in block.items()
        if array is not None
    ]
    # the first of a space is what was asked for: networks that are far off may leave
    # its range, and do not stretch it
    ranges = {space: array for space, _, array in reversed(columns)}
    count = len(first.x)
    size = (IMAGE * len(columns), IMAGE * count + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(count, len(columns), squeeze=False)
    for sample, row in enumerate(panels):
        for ax, (space, name, array) in zip(row, columns, strict=True):
            values = ranges[space][sample]
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            ax.imshow(array[sample], SEQUENTIAL, vmin=low, vmax=high)
            ax.set_axis_off()
            if sample == 0:
                ax.set_title(f"{space}\n{name}", fontsize=8, parse_math=False)
    return figure


def _lines(shown: Mapping[str, Shown], looks: Mapping[str, Style]) -> Figure:
    """A row for each sample, x left, z right: entries in the order of the arrays."""
    first = next(iter(shown.values()))
    count = len(first.x)
    size = (LINES[0] * len(WANTED), LINES[1] * count + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(count, len(WANTED), squeeze=False, sharex="col")
    for sample, row in enumerate(panels):
        for ax, (space, wanted) in zip(row, WANTED.items(), strict=True):
            for key, one in shown.items():
                _line(ax, getattr(one, space)[sample], looks[key], key)
            asked = getattr(first, wanted)
            if asked is not None:
                _asked(ax, np.ravel(asked[sample]))
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=8)
        row[0].set_ylabel(f"sample {sample}")
    for ax, space in zip(panels[-1], WANTED, strict=True):
        ax.set_xlabel(f"entry of {space}")
        ax.xaxis.get_major_locator().set_params(integer=True)
    # of z, where there always is something that was asked for
    handles, labels = panels[0, -1].get_legend_handles_labels()
    place = {"loc": "outside upper center", "ncols": 6, "fontsize": 8}
    figure.legend(handles, labels, frameon=False, **place)
    return figure


def _line(ax: Axes, array: np.ndarray, look: Style, key: str) -> None:
    values = np.ravel(array)
    few = len(values) < FEW
    ax.plot(
        values,
        color=look.color,
        dashes=look.dash or (None, None),
        linewidth=0.0 if few else 1.0,
        marker=look.marker,
        markevery=1 if few else max(1, len(values) // 8),
        markersize=5,
        fillstyle="none" if look.hollow else "full",
        label=key,
    )


def _asked(ax: Axes, values: np.ndarray) -> None:
    """A bar at each entry, or a dotted line through many."""
    few = len(values) < FEW
    ax.plot(
        values,
        linestyle="" if few else ":",
        marker="_" if few else "",
        markersize=16,
        color="black",
        label="asked",
    )
