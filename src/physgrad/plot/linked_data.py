"""What linked figures draw: the iterates of runs as columns, and what lies beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from physgrad.comparison.comparison import Comparison
from physgrad.plot.space import Plane, entry_names, flat_points, widest_pair
from physgrad.plot.view import View, view_of
from physgrad.trajectory import Run

# A loss below this part of the first one is drawn there: a log axis has no zero.
SMALLEST = 1e-40
# In pixels: the room of a legend, and of a glyph and a letter in it.
ABREAST, GLYPH, LETTER = 330.0, 36.0, 7.0
MOST_ABREAST = 4
MOST_COLUMNS = 8
"""Entries of a space in the table; of one with more, those that are drawn."""


def pairs_of(comparison: Comparison) -> dict[str, tuple[int, ...]]:
    """Each space, and the two entries of it that are shown; or the one that it has."""
    spaces = next(iter(comparison.runs.values())).trajectory.spaces
    return {space: widest_pair(comparison, space) or (0,) for space in spaces}


def entries_of(
    comparison: Comparison, pairs: Mapping[str, tuple[int, ...]]
) -> dict[str, dict[int, str]]:
    """Each space, and the entries of it that the table holds, with their names."""
    spaces = next(iter(comparison.runs.values())).trajectory.spaces
    entries: dict[str, dict[int, str]] = {}
    for space, tree in spaces.items():
        names = entry_names(space, jax.tree.map(lambda leaf: leaf[0], tree))
        every = range(len(names)) if len(names) <= MOST_COLUMNS else pairs[space]
        entries[space] = {entry: names[entry] for entry in every}
    return entries


def iterates_of(
    name: str,
    run: Run,
    row: int,
    planes: Mapping[str, Plane],
    entries: Mapping[str, Mapping[int, str]],
) -> dict[str, Any]:
    """The columns of a run; `row`: where it begins in the table of all."""
    count = len(run.trajectory)
    steps = np.asarray(run.trajectory.steps, float)
    losses = np.asarray(run.trajectory.losses, float)
    part = steps / max(run.num_steps, 1)
    least = SMALLEST * max(abs(float(losses[0])), 1e-200)
    data: dict[str, Any] = {
        "method": np.repeat(name, count),
        "step": steps.astype(int),
        "row": row + np.arange(count),
        "loss": losses,
        "shown loss": np.where(losses > 0, np.maximum(losses, least), np.nan),
        "evaluations": 1 + part * (sum(run.evaluations.values()) - 1),
        "seconds": np.maximum(part, 0.5 / max(run.num_steps, 1)) * run.seconds.run,
        "result": np.where(np.arange(count) == count - 1, str(run.result), ""),
    }
    for space, plane in planes.items():
        points = np.asarray(plane.points[name], float)
        ahead = np.concatenate([points[1:], np.full((1, 2), np.nan)])
        for place in range(2):
            data[f"{space} {place}"] = points[:, place]
            # an arrow head in the middle of each step
            half = (points[:, place] + ahead[:, place]) / 2
            data[f"{space} {place} half"] = half
        every = flat_points(run.trajectory[space])
        data |= {f"{space}[{entry}]": every[:, entry] for entry in entries[space]}
    return data


def best_views(
    comparison: Comparison,
    planes: Mapping[str, Plane],
    pairs: Mapping[str, tuple[int, ...]],
) -> dict[str, View]:
    """What is best seen of each space; where its axes have one unit, it is a square."""
    losses = {name: run.trajectory.losses for name, run in comparison.runs.items()}
    first_loss = float(next(iter(losses.values()))[0])
    return {
        space: view_of(
            plane.landmarks,
            [(points, losses[name]) for name, points in plane.points.items()],
            first_loss,
            1.0 if len(pairs[space]) == 2 else None,
        )
        for space, plane in planes.items()
    }


def columns_of_legend(names: Sequence[str]) -> int:
    """As many as fit above a figure of the least width.

    >>> columns_of_legend(["gd", "newton", "pg", "pg-numeric"])
    4
    >>> columns_of_legend(["gd", "pg:inverse=regularized,noise=0.01,step_size=1"])
    1
    """
    for columns in range(MOST_ABREAST, 1, -1):
        widest = [max(map(len, names[k::columns]), default=0) for k in range(columns)]
        if sum(GLYPH + LETTER * letters for letters in widest) <= ABREAST:
            return columns
    return 1


def points_of(points: list[np.ndarray]) -> dict[str, Any]:
    """Points of a plane as columns."""
    return {"x": [p[0] for p in points], "y": [p[1] for p in points]}


def level_labels(lines: Any, values: np.ndarray) -> dict[str, Any]:
    """One label for each level, in the middle of its longest line."""
    labels: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for value, xs, ys in zip(values, lines.xs, lines.ys, strict=True):
        if len(xs) == 0:
            continue
        breaks = np.flatnonzero(np.isnan(xs))
        pieces = np.split(np.arange(len(xs)), breaks)
        longest = max(pieces, key=len)
        middle = longest[len(longest) // 2]
        labels["x"].append(float(xs[middle]))
        labels["y"].append(float(ys[middle]))
        labels["text"].append(f"{value:g}")
    return labels
