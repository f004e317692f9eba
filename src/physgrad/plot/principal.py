"""The plane of a space in which the runs of a comparison move most."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from physgrad.doctor.directions import null_directions
from physgrad.plot.view import highest_shown

PRINCIPAL = "principal"
"""What the plane is asked for by."""
_ORDINALS = ("1st", "2nd")


@dataclasses.dataclass(frozen=True, eq=False)
class PrincipalPlane:
    """A plane through the start: coordinates c = D (x - x0)."""

    origin: np.ndarray
    """x0, shape (entries,)."""
    directions: np.ndarray
    """D, shape (2, entries): orthonormal rows, each with its largest entry positive."""
    shares: np.ndarray
    """The part of the variation that each direction carries, 0 to 1; shape (2,)."""

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Points of shape (n, entries) in the plane, (n, 2); NaN where not finite."""
        finite = np.all(np.isfinite(points), axis=1)
        offsets = np.where(finite[:, None], points, self.origin) - self.origin
        return np.where(finite[:, None], offsets @ self.directions.T, np.nan)

    def axis_names(self, space: str) -> tuple[str, str]:
        """What the coordinates are called, and how much of the variation each has."""
        first, second = (
            f"{ordinal} principal direction of {space} ({percent(share)})"
            for ordinal, share in zip(_ORDINALS, self.shares, strict=True)
        )
        return first, second


def principal_plane(
    runs: Sequence[tuple[np.ndarray, np.ndarray]], first_loss: float
) -> PrincipalPlane:
    """The plane through the start that is nearest to the iterates of all runs together.

    With the rows of A the iterates minus the start, A = U S V^T: its directions are the
    first two rows of V^T, and s_k^2 / sum s^2 is what each carries of the variation
    about the start. Iterates that are not finite are left out, and so are those whose
    loss is so high that pictures do not show them. Where the runs move along a line, or
    not at all, the other direction is that of the entry that moves least.

    **Arguments:** `runs`: for each run, its points, shape (iterates, entries), and
    losses, (iterates,); they begin at one start.

    **Raises:** `ValueError` where the start is not finite.

    **Source:** Jolliffe, Principal Component Analysis, 2nd ed., section 3.5; about the
    start in place of the mean.

    >>> way = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -3.0]])
    >>> plane = principal_plane([(way, np.array([2.0, 1.0]))], first_loss=2.0)
    >>> plane.axis_names("x")[0], plane.coordinates(way).tolist()
    ('1st principal direction of x (100 %)', [[0.0, 0.0], [-4.0, 0.0]])
    """
    origin = runs[0][0][0].astype(float)
    if not np.all(np.isfinite(origin)):
        raise ValueError(f"the principal plane needs a finite start, got {origin}")
    highest = highest_shown(first_loss)
    shown = [points[losses <= highest].astype(float) for points, losses in runs]
    cloud = np.concatenate(shown)
    cloud = cloud[np.all(np.isfinite(cloud), axis=1)] - origin
    cloud = cloud / (np.max(np.abs(cloud), initial=0.0) or 1.0)  # squares stay in range
    _, values, right = np.linalg.svd(cloud, full_matrices=False)
    floor = max(cloud.shape) * np.finfo(float).eps * np.max(values, initial=0.0)
    right = right[values > floor][:2]
    directions = np.vstack([right, null_directions(right)[: 2 - len(right)]])
    # two entries of one size differ by rounding: the first of them counts
    largest = np.argmax(np.abs(directions).round(9), axis=1)
    signs = np.sign(directions[[0, 1], largest])
    squares = np.append(values**2, [0.0, 0.0])
    shares = squares[:2] / (squares.sum() or 1.0)
    return PrincipalPlane(origin, signs[:, None] * directions, shares)


def percent(share: float) -> str:
    """A part of a whole in per cent; what is almost nothing or all is said to be so.

    >>> percent(0.926), percent(0.9999), percent(1e-4), percent(1.0)
    ('93 %', '>99 %', '<1 %', '100 %')
    """
    if 0 < share < 0.005:
        return "<1 %"
    if 0.995 <= share < 1:
        return ">99 %"
    return f"{100 * share:.0f} %"
