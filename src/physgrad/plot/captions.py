"""What stands around the panels of `three_spaces`: which step is taken where, what
carries it to the other spaces, and how to read the lines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.transforms import IdentityTransform, ScaledTranslation, Transform

from physgrad.plot import marks
from physgrad.plot.canvas import TITLE_SIZE
from physgrad.plot.labels import Label, listed, plain, size_of
from physgrad.plot.legend import SAMPLE
from physgrad.plot.one_step import Way
from physgrad.plot.style import GREY, Style

SMALL = 9.0
# In points below the panels: two rows of arrows, the key, and what is not shown.
UPPER, LOWER, KEY, MISSING = 46.0, 64.0, 79.0, 111.0
LINE_HEIGHT, LONGEST_LINE = 12.0, 110


def missing_lines(missing: Mapping[str, str]) -> list[str]:
    """What is not shown and why, in lines.

    >>> missing_lines({"gd": "x did not move"}), missing_lines({})
    (['not shown: gd (x did not move)'], [])
    """
    whys = [f"{plain(name)} ({why})" for name, why in missing.items()]
    said = f"not shown: {'; '.join(whys)}" if whys else ""
    return textwrap.wrap(said, LONGEST_LINE)


def draw_captions(
    axes: tuple[Axes, Axes, Axes],
    ways: Mapping[str, Way],
    missing: Mapping[str, str],
    spaces: tuple[str, str],
) -> None:
    """Around the panels: where each step is taken, what carries it, how to read it.

    **Arguments:** `missing`: run to why it is not shown; `spaces`: names of x and z.
    """
    x, z, loss = axes
    first, last = spaces
    in_x = [plain(name) for name, way in ways.items() if not way.in_z]
    in_z = [plain(name) for name, way in ways.items() if way.in_z]
    for ax, names in ((x, in_x), (z, in_z)):
        verb = "steps" if len(names) == 1 else "step"
        texts = [f"{who} {verb} here" for who in _in_words(names)]
        _note(ax, _fitting(ax, texts) if names else "")
    _note(loss, "along each line")
    if in_x:
        _arrow(x, z, UPPER, f"P carries the steps in {first} to {last}")
    if in_z:
        _arrow(z, x, LOWER, f"P⁻¹ carries the steps in {last} to {first}")
    _arrow(z, loss, UPPER, f"L judges every {last}")
    _draw_key(x)
    for number, line in enumerate(missing_lines(missing)):
        _caption(x, MISSING + number * LINE_HEIGHT, line)


def _in_words(names: Sequence[str]) -> list[str]:
    """Some names in a sentence, and how many they are, if that is shorter."""
    if len(names) > 1:
        return [listed(names), f"{len(names)} methods"]
    return [*names, "it"]


def _fitting(ax: Axes, texts: Sequence[str]) -> str:
    """The first of the texts that is no wider than the axes, or the last."""
    wide = ax.get_window_extent().width
    for text in texts[:-1]:
        label = Label(text, np.zeros(2), GREY, np.zeros(2), "", SMALL)
        if size_of(ax, label)[0] <= wide:
            return text
    return texts[-1]


def _note(ax: Axes, text: str) -> None:
    """A second line of the title, smaller."""
    title = ax.get_title(loc="left")
    ax.set_title(title, loc="left", pad=19, fontsize=TITLE_SIZE, parse_math=False)
    ax.annotate(
        text,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALL,
        color=GREY,
        parse_math=False,
        gid="note",
    )


def _draw_key(ax: Axes) -> None:
    """How to read the lines, below the panels, with a sample of each."""
    background, style = ax.get_facecolor(), Style(GREY, "o")
    plain_line = marks.line_style(style)
    arrow = Line2D([], [], marker=">", markersize=6, **plain_line)
    reached = marks.marker_style(style, background)
    lowest = marks.marker_style(style, background, empty=True)
    samples = {
        "a step in the space where it is taken": (
            Line2D([], [], **marks.band_style(style)),
            arrow,
        ),
        "the same step in the other space": arrow,
        "L after the step": Line2D([], [], linestyle="none", **reached),
        "on in its direction until L rises (number: L there)": Line2D(
            [], [], **marks.line_style(style, thin=True), **lowest
        ),
    }
    ax.legend(
        samples.values(),
        samples.keys(),
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=ax.transAxes + _down(ax, KEY),
        borderaxespad=0.0,
        borderpad=0.0,
        ncols=2,
        fontsize=SMALL,
        frameon=False,
        handlelength=SAMPLE,
        labelcolor=GREY,
    )


def _down(ax: Axes, points: float) -> Transform:
    """So many points down on the page."""
    figure = ax.get_figure(root=True)
    inches = figure.dpi_scale_trans if figure is not None else IdentityTransform()
    return ScaledTranslation(0, -points / 72, inches)


def _caption(ax: Axes, below: float, text: str) -> None:
    """Small words so many points below a panel, in line with its left edge."""
    ax.annotate(
        text,
        (0, 0),
        xytext=(0, -below),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=SMALL,
        color=GREY,
        parse_math=False,
        annotation_clip=False,
        gid="caption",
    )


def _arrow(here: Axes, there: Axes, below: float, text: str) -> None:
    """An arrow from panel to panel, so many points below them, with words on it."""
    figure = here.get_figure(root=True)
    if figure is None:
        return
    boxes = [np.asarray(ax.get_window_extent()) for ax in (here, there)]
    forward = boxes[0][0, 0] < boxes[1][0, 0]
    parts = (0.55, 0.4) if forward else (0.4, 0.55)
    height = boxes[0][0, 1] - below * figure.dpi / 72
    ends = [
        (box[0, 0] + part * (box[1, 0] - box[0, 0]), height)
        for box, part in zip(boxes, parts, strict=True)
    ]
    start, end = figure.transFigure.inverted().transform(ends)
    arrow = FancyArrowPatch(
        tuple(start),
        tuple(end),
        transform=figure.transFigure,
        arrowstyle="-|>",
        mutation_scale=10,
        shrinkA=0,
        shrinkB=0,
        color=marks.ink(),
        linewidth=0.9,
        gid="map",
    )
    figure.add_artist(arrow)
    middle = (start + end) / 2
    figure.text(
        middle[0],
        middle[1],
        text,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=marks.ink(),
        parse_math=False,
        gid="map-label",
        zorder=3,
        bbox=dict(facecolor=figure.get_facecolor(), edgecolor="none", pad=2),
    )
