"""The second derivatives where a run has come to rest: a minimum, or a saddle."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from physgrad.inverses.jacobian import fits
from physgrad.loop import compiled
from physgrad.objective.objective import Objective
from physgrad.results import Result

# A curvature within so many square roots of eps of zero is rounding.
ROUNDING = 100.0
# One within so many eps is none.
FLAT = 100.0
# At a minimum a Newton step moves x by no more than this part of its size.
FAR = 0.1
# Points that are tried each way down from a saddle, each a quarter as far off.
TRIES = 6


def second_look(
    objective: Objective, x: PyTree, result: Result, optimality: float
) -> tuple[Result, str] | None:
    """What the Hessian of L(P(x)) says of a run that came to rest; None: nothing else.

    A saddle is `stalled`, though the slope is zero. Where the Jacobian is singular
    Gauss-Newton steps say nothing of a minimum: if the Hessian is positive, and what a
    Newton step would gain is below `optimality`^2 of L, the run has `converged`.
    Where L is flat along a direction, it has, too, and says so. Nothing is said where x
    is too large for a Hessian, or there is none.
    """
    if result not in (Result.converged, Result.stalled):
        return None
    found = _curvatures(objective, x)
    if found is None:
        return None
    lowest, highest = found.values[0], found.values[-1]
    if result is Result.converged and found.is_saddle:
        return Result.stalled, (
            f"x is stationary, but a saddle: along one direction L curves down, by "
            f"{-lowest:.2g} where the others curve up by up to {highest:.2g}; start "
            "elsewhere, or a little beside it"
        )
    if result is Result.converged and found.flat:
        return Result.converged, (
            f"along {found.flat} of {len(found.values)} directions L is flat, to "
            "second order: the data do not determine x there, or no longer do where it "
            "has gone; covariance() names the entries, another start may lead elsewhere"
        )
    if result is Result.stalled and lowest > found.rounding:
        step = found.slopes / found.values
        gain = 0.5 * found.slopes @ step
        loss = abs(float(objective(x)))
        if gain <= optimality**2 * loss and np.linalg.norm(step) <= FAR * found.size:
            return Result.converged, ""
    return None


def beyond_saddle(objective: Objective, x: PyTree) -> PyTree | None:
    """The lowest point along the way down from a saddle; None where x is none.

    Along the axis of the lowest curvature, both ways, from the size of x down, or from
    where that curvature would have lowered L to zero.
    """
    found = _curvatures(objective, x)
    if found is None or not found.is_saddle:
        return None
    loss = float(objective(x))
    # what its curvature would take to lower L by all of it
    whole = float(np.sqrt(2 * abs(loss / found.values[0]))) or 1.0
    size = max(found.size, whole)
    parts = np.outer([1.0, -1.0], size * 4.0 ** -np.arange(TRIES)).ravel()
    flat, point = objective.flatten(x)
    points = point + jnp.asarray(np.outer(parts, found.downhill), point.dtype)
    losses, _ = compiled.run(_losses, objective, x, points)
    losses = np.where(np.isfinite(losses), losses, np.inf)
    place = int(np.argmin(losses))
    if losses[place] >= loss:
        return None
    return flat.simulator.unravel_x(flat.within(points[place]))


class _Curvatures(NamedTuple):
    """L around a point, along the axes of its Hessian scaled to a diagonal of ones, so
    that units of x do not matter."""

    slopes: np.ndarray
    values: np.ndarray
    """Curvatures, smallest first."""
    size: float
    """Of x."""
    downhill: np.ndarray
    """The axis of the smallest one, in the units of x."""

    @property
    def rounding(self) -> float:
        """A curvature that may be zero."""
        eps = float(np.finfo(self.slopes.dtype).eps)
        return ROUNDING * eps**0.5 * max(float(self.values[-1]), 1.0)

    @property
    def flat(self) -> int:
        """Along how many axes L has no curvature at all."""
        eps = float(np.finfo(self.slopes.dtype).eps)
        floor = FLAT * eps * max(float(self.values[-1]), 1.0)
        return int(np.sum(np.abs(self.values) <= floor))

    @property
    def is_saddle(self) -> bool:
        """Whether L curves down along an axis."""
        return bool(self.values[0] < -self.rounding)


def _curvatures(objective: Objective, x: PyTree) -> _Curvatures | None:
    """Those of the entries that no bound holds; None where they are not known."""
    flat, point = objective.flatten(x)
    if not fits(point.size, point):
        return None
    try:
        (slopes, hessian), _ = compiled.run(_slopes_and_hessian, objective, x)
    except (TypeError, ValueError, NotImplementedError):
        return None
    free = ~np.asarray(flat.within_held(point, slopes))
    if not np.any(free):
        return None
    slopes, hessian = np.asarray(slopes)[free], np.asarray(hessian)[np.ix_(free, free)]
    if not (np.all(np.isfinite(slopes)) and np.all(np.isfinite(hessian))):
        return None
    units = np.sqrt(np.abs(np.diag(hessian)))
    units = np.where(units > 0, units, 1.0)
    curvatures, axes = np.linalg.eigh(hessian / np.outer(units, units))
    size = float(np.linalg.norm(units * np.asarray(point)[free]))
    downhill = np.zeros(point.size)
    downhill[free] = axes[:, 0] / units
    return _Curvatures(axes.T @ (slopes / units), curvatures, size, downhill)


def _losses(objective: Objective, x: PyTree, points: Array) -> Array:
    flat, _ = objective.flatten(x)
    return jax.vmap(lambda x: flat(flat.within(x)))(points)


def _slopes_and_hessian(objective: Objective, x: PyTree) -> tuple[Array, Array]:
    flat, point = objective.flatten(x)
    return flat.gradient(point), jax.hessian(lambda x: flat(x))(point)
