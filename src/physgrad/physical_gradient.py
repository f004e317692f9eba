"""The physical gradient: take the step in z, and map the point it reaches back to x.

    x+ = P^-1(z - eta B^-1 dL/dz)

Gradient descent and Newton's method on x take their step in x, where the simulator P
has distorted it. Here the step is taken in z, where the loss is simple.
"""

from __future__ import annotations

import equinox as eqx

from physgrad.inverses.flat import Scalar
from physgrad.inverses.rule import Inverse, PullBack, as_rule
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import ZMetric, as_z_metric
from physgrad.optimizer import Optimizer, Step, failed_before, pulled_back


class PhysicalGradient(Optimizer):
    """x+ = P^-1(z - step_size B^-1 dL/dz).

    **Arguments:**

    - `step_size`: eta, in z-space; 1 goes to the optimum of a quadratic loss at once.
    - `inverse`: a rule for the whole map x -> z; None for the simulator's own.
    - `metric`: B. "newton" for the Hessian of the loss, "gradient" for the identity,
        a positive definite matrix (z entries, z entries), or a `NewtonMetric`.

    **Raises:** `ValueError`, `TypeError` for a step size that is not positive, or
    another inverse or metric.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> root = pg.AnalyticInverse(lambda z, x: jnp.copysign(jnp.sqrt(z), x))
    >>> square = pg.Simulator(lambda x: x**2, inverse=root)
    >>> objective = pg.Objective(square, loss=lambda z: jnp.sum((z - 4) ** 2))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([-3.0]), 1)
    >>> print(run.x)
    [-2.]

    **Source:** Holl, Koltun, Thuerey, "Physical Gradients for Deep Learning", 2021.
    """

    step_size: Scalar = eqx.field(converter=positive("step_size"))
    inverse: Inverse | None = eqx.field(converter=as_rule, default=None)
    metric: ZMetric = eqx.field(converter=as_z_metric, default="newton")

    def init(self, objective: FlatObjective, state: State) -> PullBack:
        return (self.inverse or objective.rule).verify(objective.simulator, state)

    def update(
        self, objective: FlatObjective, state: State, memory: PullBack
    ) -> tuple[Step, PullBack]:
        rule = self.inverse or objective.rule
        step = physical_step(objective, state, self.step_size, rule, self.metric)
        return failed_before(step, memory), memory


def physical_step(
    objective: FlatObjective,
    state: State,
    step_size: Scalar,
    rule: Inverse,
    z_metric: ZMetric,
) -> Step:
    """x+ = P^-1(z - step_size B^-1 dL/dz), with P^-1 by `rule` and B by `z_metric`."""
    simulator, way = objective.simulator, z_metric.step(objective.loss, state.z)
    z_target = state.z + step_size * way.dz  # the step, in z
    answer = rule.pull_back(simulator, z_target, state, way.metric)  # the point, in x
    return pulled_back(objective, state, way, z_target, answer)
