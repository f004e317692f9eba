"""Figures (matplotlib, extra "plot").

- `compare`: the trajectories of a comparison in x, z or a space between.
- `three_spaces`: one step of each method through x -> z -> L.
- `losses`: the loss of each run against steps or evaluations.
- `fields`: images or lines side by side, and how they differ.
- `solutions`: what the runs of a problem have found, drawn as what it is.
- `spectrum`: the singular values of a Jacobian, from what `check` found.
- `animate`: trajectories step by step, as an animated GIF.
- `report`: a comparison as one HTML file that shows it offline (extra "app").
- `figures`: all still pictures of a comparison as PNG and SVG files.

They draw on `matplotlib.figure.Figure` objects of their own, or on the `ax` they are
given; pyplot is not involved, and the settings of matplotlib stay as they are.

Matplotlib is loaded with the first use of one of these names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from physgrad.results import MissingExtra

if TYPE_CHECKING:
    from physgrad.plot.animation import animate
    from physgrad.plot.field_panels import fields
    from physgrad.plot.files import figures
    from physgrad.plot.loss_axes import losses
    from physgrad.plot.panels import three_spaces
    from physgrad.plot.problem_pictures import solutions
    from physgrad.plot.report_file import report
    from physgrad.plot.singular_values import spectrum
    from physgrad.plot.trajectories import compare

__all__ = [
    "animate",
    "compare",
    "fields",
    "figures",
    "losses",
    "report",
    "solutions",
    "spectrum",
    "three_spaces",
]

_HOME = {
    "animate": "animation",
    "compare": "trajectories",
    "fields": "field_panels",
    "figures": "files",
    "losses": "loss_axes",
    "report": "report_file",
    "solutions": "problem_pictures",
    "spectrum": "singular_values",
    "three_spaces": "panels",
}
_EXTRAS = {"matplotlib": "plot", "bokeh": "app"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'physgrad.plot' has no attribute {name!r}")
    try:
        home = importlib.import_module(f"physgrad.plot.{_HOME[name]}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        raise MissingExtra(missing, _EXTRAS[missing], f"plot.{name}") from error
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
