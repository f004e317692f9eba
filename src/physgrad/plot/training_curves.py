"""`training`: what each method has reached, against time and samples seen."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physgrad.plot.style import styles
from physgrad.train.course import Outcome

SIZE = (9.6, 3.6)
ACROSS = {"seconds": "seconds of training", "samples": "samples seen"}
UP = {"validation_loss": "loss, validation", "x_error": "error in x, validation"}


def training(outcomes: Mapping[str, Outcome]) -> Figure:
    """The loss, and the error in x where it is known, against time and samples seen.

    **Arguments:** `outcomes`: of the methods, by key.
    """
    up = [
        kind
        for kind in UP
        if all(getattr(o.last, kind) is not None for o in outcomes.values())
    ]
    figure = Figure(figsize=(SIZE[0], SIZE[1] * len(up)), layout="constrained")
    panels = figure.subplots(len(up), len(ACROSS), squeeze=False, sharey="row")
    for row, kind in zip(panels, up, strict=True):
        for ax, across in zip(row, ACROSS, strict=True):
            _draw(ax, outcomes, across, kind)
        row[0].set_ylabel(UP[kind])
    panels[0, 0].legend(frameon=False)
    return figure


def _draw(
    ax: Axes,
    outcomes: Mapping[str, Outcome],
    across: str,
    up: str,
) -> None:
    looks = styles({key: outcome.words for key, outcome in outcomes.items()})
    for key, outcome in outcomes.items():
        # the start has no place on a log axis
        points = [(getattr(p, across), getattr(p, up)) for p in outcome.history[1:]]
        points = [(s, v) for s, v in points if math.isfinite(v)]
        look = looks[key]
        ax.plot(
            *np.asarray(points, float).reshape(-1, 2).T,
            color=look.color,
            dashes=look.dash or (None, None),
            marker=look.marker,
            markevery=max(1, len(points) // 8),
            markerfacecolor="none" if look.hollow else look.color,
            label=key,
        )
        if outcome.result != "completed" and points:
            # the run ended here, and why stands below the table
            ax.plot(*points[-1], "x", color=look.color, markersize=10, clip_on=False)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(ACROSS[across])
    ax.spines[["top", "right"]].set_visible(False)
