"""Which part of a plane a picture shows, and where a run leaves it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

# Iterates whose loss is above this multiple of the first one do not widen the view: for
# a squared loss, they are twice as far off as the start.
GROWTH_SHOWN = 4.0
# Room around what is shown, for labels.
MARGIN = 0.14
# A view is not kept where another would show the same so many times as large.
LARGEST = 4.0


@dataclasses.dataclass(frozen=True)
class View:
    """A rectangle of a plane."""

    low: np.ndarray
    """Left and bottom, shape (2,)."""
    high: np.ndarray
    """Right and top, shape (2,)."""

    @property
    def center(self) -> np.ndarray:
        """The middle, shape (2,)."""
        return self.low / 2 + self.high / 2

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Whether each of the points, shape (n, 2), is inside."""
        return np.all((points >= self.low) & (points <= self.high), axis=-1)

    def suits(self, best: View) -> bool:
        """Whether it may stay where `best` would be chosen: most of that is inside, and
        it is not lost in this one."""
        size = best.high - best.low
        core = np.stack([best.low + 0.1 * size, best.high - 0.1 * size])
        inside = bool(np.all(self.contains(core)))
        return inside and bool(np.all(self.high - self.low <= LARGEST * size))

    def within_reach(self, points: np.ndarray) -> np.ndarray:
        """The points, far ones moved towards the center to where they can be drawn.

        A million times the size of the view away, that bends no line visibly, while
        1e38 would drown the corner of a picture in rounding.
        """
        half = np.max(self.high - self.low) * 1e6
        offset = points - self.center
        distance = np.max(np.abs(offset), axis=-1, keepdims=True)
        far = distance > half
        scale = np.where(far, half / np.where(far, distance, 1.0), 1.0)
        return np.where(far, self.center + offset * scale, points)

    def exit(self, points: np.ndarray) -> Exit | None:
        """Where the path through the points is seen last; None if it ends inside.

        None, too, if nothing of it is inside.
        """
        if self.contains(points[-1:])[0]:
            return None
        points = self.within_reach(points)
        way = np.diff(points, axis=0)
        first, last = visible_parts(points[:-1], way, self.low, self.high)
        seen = np.flatnonzero(last > first)
        if len(seen) == 0:
            return None
        segment = int(seen[-1])
        place = points[segment] + last[segment] * way[segment]
        return Exit(segment, place, way[segment])


class Exit(NamedTuple):
    """Where a path leaves a view for good."""

    segment: int
    """The segment that leaves."""
    place: np.ndarray
    """On the edge of the view, shape (2,)."""
    heading: np.ndarray
    """The direction of the segment, shape (2,)."""


def visible_parts(
    here: np.ndarray, way: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which part of each segment is in a rectangle: from and to, in its lengths.

    Where none is, "from" is larger than "to".

    **Arguments:** `here`, `way`: where the segments begin and where they lead, (n, 2);
    `low`, `high`: of the rectangle.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = (np.stack([low, high])[:, None] - here) / way
    parallel = np.where((here >= low) & (here <= high), np.inf, -np.inf)
    enter = np.where(way == 0, -parallel, np.min(bounds, axis=0))
    leave = np.where(way == 0, parallel, np.max(bounds, axis=0))
    return np.fmax(np.max(enter, axis=1), 0.0), np.fmin(np.min(leave, axis=1), 1.0)


def highest_shown(first_loss: float) -> float:
    """The loss above which iterates do not count for what a picture shows.

    >>> highest_shown(2.0), highest_shown(-1.0)
    (8.0, 2.0)
    """
    return first_loss + (GROWTH_SHOWN - 1) * abs(first_loss)


def view_of(
    must_show: Iterable[np.ndarray],
    runs: Iterable[tuple[np.ndarray, np.ndarray]],
    first_loss: float,
    ratio: float | None,
    margin: float = MARGIN,
) -> View:
    """A rectangle around all that makes sense to show.

    **Arguments:** `must_show`: points, shape (2,); `runs`: for each run, its points,
    shape (iterates, 2), and losses, of which far too high ones do not count;
    `ratio`: width over height, None where the axes have different units; `margin`: room
    around all that, in parts of its size.
    """
    highest = highest_shown(first_loss)
    shown = [np.asarray(point, float)[None] for point in must_show]
    shown += [points[losses <= highest].astype(float) for points, losses in runs]
    cloud = np.concatenate(shown)
    cloud = cloud[np.all(np.isfinite(cloud), axis=1)]
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    size = float(np.max(high - low))
    if size <= 1e-9 * float(np.max(np.abs(cloud))) or size == 0:
        size = float(np.max(np.abs(cloud))) or 1.0
    center = low / 2 + high / 2
    if ratio is None:
        sizes = np.where(high > low, high - low, np.maximum(np.abs(high), 1e-3 * size))
        return View(center - (0.5 + margin) * sizes, center + (0.5 + margin) * sizes)
    extent = high - low + 2 * margin * size
    width = max(extent[0], extent[1] * ratio)
    half = np.array([width, width / ratio]) / 2
    return View(center - half, center + half)
