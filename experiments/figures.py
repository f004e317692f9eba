"""Pictures of the studies, each method as everywhere in physgrad."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physgrad.plot.style import DASHED, DOTTED, STYLES, Style

WIDTH, HEIGHT = 3.3, 2.7  # of a panel, in inches
_KINDS = {
    "PG, step size 0.5": "other",
    "PG, numerical inverse": "pg-numeric",
    "PG": "pg",
    "Gauss-Newton": "gauss-newton",
    "LM": "lm",
    "L-BFGS": "lbfgs",
    "Adam": "adam",
    "GD": "gd",
    "physical-lm": "optimistix",
    "physical": "pg",
    "half-inverse": "half-inverse",
    "gauss-newton": "gauss-newton",
    "lm": "lm",
    "adam": "adam",
    "sgd": "sgd",
    "supervised": "other",
}


def style(method: str) -> Style:
    """That of the kind a name begins with; a variant has other dashes."""
    begin = next((one for one in _KINDS if method.startswith(one)), None)
    look = STYLES["newton" if begin is None else _KINDS[begin]]
    if begin is None or method == begin or ", " not in method:
        return look
    dash = DASHED if ", half" in method else DOTTED
    return dataclasses.replace(look, dash=dash, width=1.0, hollow=True)


def panels(count: int, across: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of panels, at most so many side by side."""
    columns = min(count, across)
    rows = -(-count // columns)
    figure = Figure((WIDTH * columns, HEIGHT * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    for one in axes:
        one.grid(alpha=0.3, linewidth=0.5)
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
    return figure, axes


def line(axes: Axes, method: str, x: Sequence[float], y: Any, marks: bool) -> None:
    """One method as a line, with its markers or as steps without them."""
    look = style(method)
    axes.plot(
        x,
        y,
        color=look.color,
        dashes=look.dash or (None, None),
        linewidth=1.2 * look.width,
        marker=look.marker if marks else "",
        markersize=5,
        fillstyle="none" if look.hollow else "full",
        drawstyle="default" if marks else "steps-post",
        label=method,
    )


def dot(axes: Axes, method: str, x: float, y: float) -> None:
    """One method as a point."""
    look = style(method)
    axes.plot(
        [x],
        [y],
        linestyle="",
        color=look.color,
        marker=look.marker,
        markersize=6,
        fillstyle="none" if look.hollow else "full",
        label=method,
    )


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """Below the panels, each method once."""
    known = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        known |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(known.values()),
        list(known),
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
    )


def save(figure: Figure, file: Path) -> None:
    """As SVG, the same bytes from the same numbers."""
    with mpl.rc_context({"svg.hashsalt": "physgrad", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
