"""The second derivatives where a run has come to rest: a minimum, or a saddle."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, PyTree

from physgrad.inverses.jacobian import fits
from physgrad.loop import compiled
from physgrad.objective.objective import Objective
from physgrad.results import Result

# A curvature within so many square roots of eps of zero is rounding.
ROUNDING = 100.0
# At a minimum a Newton step moves x by no more than this part of its size.
FAR = 0.1


def second_look(
    objective: Objective, x: PyTree, result: Result, optimality: float
) -> tuple[Result, str] | None:
    """What the Hessian of L(P(x)) says of a run that came to rest; None: nothing else.

    A saddle is `stalled`, though the slope is zero. Where the Jacobian is singular
    Gauss-Newton steps say nothing of a minimum: if the Hessian is positive, and what a
    Newton step would gain is below `optimality`^2 of L, the run has `converged`.
    Nothing is said where x is too large for a Hessian, or there is none.
    """
    if result not in (Result.converged, Result.stalled):
        return None
    found = _curvatures(objective, x)
    if found is None:
        return None
    slopes, curvatures, size = found
    rounding = ROUNDING * np.sqrt(np.finfo(slopes.dtype).eps) * max(curvatures[-1], 1.0)
    if result is Result.converged and curvatures[0] < -rounding:
        return Result.stalled, (
            f"x is stationary, but a saddle: along one direction L curves down, by "
            f"{-curvatures[0]:.2g} where the others curve up by up to "
            f"{curvatures[-1]:.2g}; start elsewhere, or a little beside it"
        )
    if result is Result.stalled and curvatures[0] > rounding:
        step = slopes / curvatures
        gain = 0.5 * slopes @ step
        loss = abs(float(objective(x)))
        if gain <= optimality**2 * loss and np.linalg.norm(step) <= FAR * size:
            return Result.converged, ""
    return None


def _curvatures(
    objective: Objective, x: PyTree
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Slopes of L, its curvatures, smallest first, and the size of x, along the axes
    of its Hessian scaled to a diagonal of ones, so that units of x do not matter."""
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
    return axes.T @ (slopes / units), curvatures, size


def _slopes_and_hessian(objective: Objective, x: PyTree) -> tuple[Array, Array]:
    flat, point = objective.flatten(x)
    return flat.gradient(point), jax.hessian(lambda x: flat(x))(point)
