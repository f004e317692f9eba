"""Newton's method on x: no simulator between the step and x."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from physgrad.inverses.box import Box
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, power_of_two
from physgrad.inverses.jacobian import check_dense
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.results import Result

# A pivot of so many roundings is none.
ROUNDING = 4.0
# So often rows and columns are scaled: each time halves how far they are from one.
SWEEPS = 3


class Newton(Optimizer):
    """x+ = x - step_size (d2L/dx2)^-1 dL/dx, with the Hessian in x-space.

    The plain method: where the Hessian is indefinite the step leads to a saddle;
    where it is singular the run ends as `singular`.

    **Arguments:**

    - `step_size`: eta; 1 is the full Newton step.

    **Raises:** `ValueError`, `TypeError` for a step size that is not positive, or a
    Hessian above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**2, lambda z: jnp.sum(z**2))     # x^4
    >>> print(pg.minimize(objective, pg.Newton(1.0), jnp.array([3.0]), 1).x)  # 2/3 x
    [2.]

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.3.
    """

    step_size: Float[Array, ""] = eqx.field(converter=positive("step_size"))

    def init(self, objective: FlatObjective, state: State) -> None:
        return None

    def update(
        self, objective: FlatObjective, state: State, memory: None
    ) -> tuple[Step, None]:
        check_dense(state.x.size, state.x, "LBFGS")
        gradient, hessian = objective.gradient(state.x), jax.hessian(objective)(state.x)
        dx, singular = _newton_step(hessian, gradient)
        if objective.box is not None:
            dx, singular = _within(objective.box, state.x, hessian, gradient)
        known = jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(hessian))
        code = jnp.where(known & singular, Result.singular.code, Result.completed.code)
        state = objective.evaluate(state, state.x + self.step_size * dx)
        return Step(state, Evaluations(forward=1, vjp=1, hessian=1), code), None


def _within(
    box: Box, x: Flat, hessian: Float[Array, "x x"], gradient: Flat
) -> tuple[Flat, Bool[Array, ""]]:
    """The Newton step of the entries that no bound holds; if it leaves the bounds, the
    step to the least of the model within them, its eigenvalues by their magnitudes."""
    held = box.held(x, gradient)
    free = jnp.where(held[:, None] | held, jnp.diag(jnp.diag(hessian)), hessian)
    free = jnp.where(jnp.diag(held), 1.0, free)
    dx, singular = _newton_step(free, jnp.where(held, 0.0, gradient))
    inside = box.contains(x + dx)
    values, axes = jnp.linalg.eigh(hessian)
    root = jnp.sqrt(jnp.abs(values))
    scale = jnp.where(root > 0, root, 1.0)
    vector = -(axes.T @ gradient) / scale
    within = box.least(root[:, None] * axes.T, vector, x)
    return jnp.where(inside, dx, within), singular


def _newton_step(
    hessian: Float[Array, "x x"], gradient: Flat
) -> tuple[Flat, Bool[Array, ""]]:
    """-H^-1 dL/dx, and whether H is singular to rounding.

    H is scaled to rows and columns of size one first: entries of x in other units, or
    one whose curvature vanishes at the solution, do not make it singular.
    """
    scaled, scale = hessian, jnp.ones_like(gradient)
    for _ in range(SWEEPS):
        rows = jnp.max(jnp.abs(scaled), axis=1)
        unit = power_of_two(jnp.sqrt(jnp.where(rows > 0, rows, 1.0)))
        scaled, scale = scaled / jnp.outer(unit, unit), scale * unit
    lu, pivots = jax.scipy.linalg.lu_factor(scaled)
    dx = -jax.scipy.linalg.lu_solve((lu, pivots), gradient / scale) / scale
    sizes = jnp.abs(jnp.diag(lu))
    floor = ROUNDING * gradient.size * jnp.finfo(lu.dtype).eps * jnp.max(sizes)
    return dx, ~(jnp.min(sizes) > floor) | ~jnp.all(jnp.isfinite(dx))
