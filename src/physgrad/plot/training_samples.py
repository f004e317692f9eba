"""`training_samples`: what each method's network makes of a few samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    known = {key: o.shown for key, o in outcomes.items() if o.shown is not None}
    first = next(iter(known.values()))
    fields = all(
        array.ndim == 3 and min(array.shape[1:]) >= SMALLEST_IMAGE
        for array in (first.x, first.z)
    )
    if fields:
        return _images(known)
    looks = styles({key: outcomes[key].words for key in known})
    return _lines(known, looks)


def _images(known: Mapping[str, Shown]) -> Figure:
    """A row for each sample: what was asked for, then what each method makes of it."""
    first = next(iter(known.values()))
    columns = [
        column
        for space, wanted in WANTED.items()
        for column in [(f"{space}, {wanted}", getattr(first, wanted))]
        + [(f"{space}, {key}", getattr(shown, space)) for key, shown in known.items()]
        if column[1] is not None
    ]
    count = len(first.x)
    size = (IMAGE * len(columns), IMAGE * count + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(count, len(columns), squeeze=False)
    for row, sample in zip(panels, range(count), strict=True):
        for ax, (title, arrays) in zip(row, columns, strict=True):
            alike = [a[sample] for t, a in columns if t[0] == title[0]]
            # those of what was asked for: a network that is far off may leave them
            limits = float(np.nanmin(alike[0])), float(np.nanmax(alike[0]))
            ax.imshow(arrays[sample], SEQUENTIAL, vmin=limits[0], vmax=limits[1])
            ax.set_axis_off()
    for ax, (title, _) in zip(panels[0], columns, strict=True):
        ax.set_title(title.replace(", ", "\n", 1), fontsize=8, parse_math=False)
    return figure


def _lines(known: Mapping[str, Shown], looks: Mapping[str, Style]) -> Figure:
    """A row for each sample, x left, z right: entries in the order of the arrays."""
    count = len(next(iter(known.values())).x)
    size = (LINES[0] * len(WANTED), LINES[1] * count + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(count, len(WANTED), squeeze=False, sharex="col")
    for sample, row in enumerate(panels):
        for ax, (space, wanted) in zip(row, WANTED.items(), strict=True):
            for key, shown in known.items():
                _line(ax, getattr(shown, space)[sample], looks[key], key)
            asked = getattr(next(iter(known.values())), wanted)
            if asked is not None:
                _asked(ax, np.ravel(asked[sample]))
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=8)
    for ax, space in zip(panels[-1], WANTED, strict=True):
        ax.set_xlabel(f"entry of {space}")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for sample, row in enumerate(panels):
        row[0].set_ylabel(f"sample {sample}")
    _legend(figure, list(panels[0]))
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


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    known = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        known |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(known.values()),
        list(known),
        loc="outside upper center",
        ncols=6,
        fontsize=8,
        frameon=False,
    )
