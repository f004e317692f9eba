"""`fields`: images or lines side by side, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes

from physgrad.plot.canvas import SQUARE, axes_of
from physgrad.plot.field_images import draw_images
from physgrad.plot.field_lines import draw_lines
from physgrad.plot.field_values import checked_fields

ORIGINS = ("upper", "lower")


def fields(
    fields: Mapping[str, Any],
    *,
    reference: str | None = None,
    ax: Iterable[Axes] | None = None,
    quantity: str = "",
    origin: str = "upper",
) -> tuple[Axes, ...]:
    """Fields of one shape side by side, and their differences to one of them.

    Arrays of two axes are images with square pixels, limits and a color bar in common,
    from their smallest to their largest value. Differences have a bar of their own,
    white at zero. Arrays of one axis are lines in one panel, their differences lines in
    a second one. What is NaN or infinite is pink, and counted below its panel.

    **Arguments:**

    - `fields`: name to array of shape (n,) or (rows, columns), all alike; a PyTree with
        one such leaf will do. At most 12.
    - `reference`: the name of the field that is subtracted from each other one.
    - `ax`: matplotlib axes, one for each panel; by default those of a new figure.
    - `quantity`: what the values are, with their unit, for the color bar or the axis.
    - `origin`: where row 0 of an image is, "upper" or "lower".

    **Returns:** the axes: of each image, then of each difference; of the lines, then of
    their differences.

    **Raises:** `ValueError` for shapes that differ or are not of one or two axes, no
    finite value, a number of fields or axes that does not fit, or an unknown reference
    or origin; `TypeError` for what is no mapping; `MissingExtra` without matplotlib.

    >>> import numpy as np, physgrad as pg
    >>> truth = np.outer(np.arange(4.0), np.ones(6))
    >>> found = {"truth": truth, "recovered": truth + 0.1}
    >>> axes = pg.plot.fields(found, reference="truth")
    >>> [panel.get_title(loc="left") for panel in axes[:2]], len(axes)
    (['truth', 'recovered'], 3)
    """
    if origin not in ORIGINS:
        raise ValueError(f"origin must be 'upper' or 'lower', got {origin!r}")
    shown = checked_fields(fields, reference, quantity)
    given = None if ax is None else [axes_of(one, SQUARE, ()) for one in ax]
    if given is not None and len(given) != shown.panels:
        raise ValueError(f"ax must be {shown.panels} axes, got {len(given)}")
    if shown.ndim == 1:
        return draw_lines(shown, given)
    return draw_images(shown, given, origin)
