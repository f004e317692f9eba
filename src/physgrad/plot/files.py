"""`figures`: every picture of a comparison as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physgrad.comparison.comparison import Comparison
from physgrad.objective.objective import Objective
from physgrad.plot.loss_axes import losses
from physgrad.plot.panels import draw_panels, first_steps
from physgrad.plot.settings import own_settings
from physgrad.plot.space import (
    checked_comparison,
    end_spaces,
    flat_objective,
    plane_of,
    widest_pair,
)
from physgrad.plot.style import kind_of
from physgrad.plot.trajectories import Scene

DPI = 160
# Picture name to the kinds of methods in it, all of which it takes.
SELECTIONS = {
    "x": {"x_gd": {"gd"}, "x_gd_newton": {"gd", "newton"}},
    "z": {"z_pg": {"pg"}},
}


def figures(
    comparison: Comparison, *, objective: Objective | None = None
) -> dict[str, bytes]:
    """Every picture of a comparison: file name to content, PNG and SVG of each.

    The notebook's five, `x_gd`, `x_gd_newton`, `x_all`, `z_pg` and `z_all`; the step
    through the `three_spaces`; `losses`. What a comparison does not have (no run of
    gradient descent, a space of one entry, no objective) is left out; of a space of
    more than two entries, the two that move the most are shown. The bytes depend on
    nothing but the comparison and the version of matplotlib.

    **Arguments:** `objective`: where the comparison does not know it.

    **Raises:** `TypeError` for what is no comparison; `MissingExtra` without
    matplotlib.
    """
    checked_comparison(comparison)
    with own_settings():
        return {
            f"{name}.{form}": content(figure, form)
            for name, figure in _drawn(comparison, objective)
            for form in ("png", "svg")
        }


def _drawn(
    comparison: Comparison, objective: Objective | None
) -> Iterator[tuple[str, Figure]]:
    """Name and figure of each picture, one after the other."""
    scenes: dict[str, Scene] = {}
    for letter, space in zip("xz", end_spaces(comparison), strict=True):
        pair = widest_pair(comparison, space)
        if pair is None:
            continue
        plane = plane_of(comparison, space, objective, pair)
        scenes[letter] = scene = Scene(comparison, plane)
        for name, methods in _selections(comparison, letter).items():
            yield name, _figure(scene.draw(methods))
    if all(scene.plane.loss is not None for scene in scenes.values()) and scenes:
        flat = flat_objective(comparison, objective)
        ways, missing = (
            ({}, {}) if flat is None else first_steps(comparison, flat, None)
        )
        if ways and len(scenes) == 2:
            axes = draw_panels(scenes["x"], scenes["z"], ways, missing)
            yield "three_spaces", _figure(axes[0])
    yield "losses", _figure(losses(comparison))


def _selections(comparison: Comparison, letter: str) -> dict[str, list[str]]:
    """Picture name to the runs in it, for one space."""
    everything = list(comparison.runs)
    kinds = {name: kind_of(name, comparison.optimizers[name]) for name in everything}
    chosen = {}
    for picture, wanted in SELECTIONS[letter].items():
        methods = [name for name in everything if kinds[name] in wanted]
        if methods != everything and wanted <= {kinds[name] for name in methods}:
            chosen[picture] = methods
    return chosen | {f"{letter}_all": everything}


def _figure(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes were removed from their figure")
    return figure


def content(figure: Figure, form: str) -> bytes:
    """A figure as a file, "png" or "svg", the same bytes each time."""
    buffer = io.BytesIO()
    # what would differ from day to day, or name the version, stays out
    nothing = {"png": ["Software"], "svg": ["Date", "Creator"]}[form]
    metadata = dict.fromkeys(nothing)
    figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
