"""Gauss-Newton: the physical step with the linearized inverse."""

from __future__ import annotations

import equinox as eqx

from physgrad.inverses.flat import Scalar
from physgrad.inverses.linearized import LinearizedInverse
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import NewtonMetric
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.physical_gradient import physical_step


class GaussNewton(Optimizer):
    """x+ = x - step_size (J^T H_L J)^+ J^T dL/dz.

    The physical step with `LinearizedInverse` and B = H_L. For a squared loss this is
    the Gauss-Newton method; for others the generalized one.

    **Arguments:**

    - `step_size`: eta; 1 is the full step.

    **Raises:** `ValueError`, `TypeError` for a step size that is not positive.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**2, lambda z: jnp.sum(z**2))
    >>> run = pg.minimize(objective, pg.GaussNewton(1.0), jnp.array([3.0]), 1)
    >>> print(f"{run.x[0]:.4f}")
    1.5000

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 10.3;
    Schraudolph, Neural Computation 14, 2002 (generalized).
    """

    step_size: Scalar = eqx.field(converter=positive("step_size"), default=1.0)

    def init(self, objective: FlatObjective, state: State) -> None:
        return None

    def update(
        self, objective: FlatObjective, state: State, memory: None
    ) -> tuple[Step, None]:
        way = NewtonMetric().step(objective.loss, state.z)
        rule = LinearizedInverse()
        return physical_step(objective, state, way, self.step_size, rule), None
