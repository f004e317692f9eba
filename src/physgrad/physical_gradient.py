"""The physical gradient: the step is taken in z, and the point is mapped back to x.

    x+ = P^-1(z - eta B^-1 dL/dz)

Gradient descent and Newton's method on x take their step in x, where the simulator
P has distorted it. Here the step is taken in z, where the loss is simple, and an
inverse of the simulator maps the *point* it reaches back to x.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.inverses.flat import Scalar
from physgrad.inverses.rule import Inverse, PullBack
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import ZMetric, as_z_metric
from physgrad.optimizer import Optimizer, Step, certificate_of, failed_before
from physgrad.results import Result


class PhysicalGradient(Optimizer):
    """x+ = P^-1(z - step_size B^-1 dL/dz).

    **Arguments:**

    - `step_size`: eta, in z-space; 1 goes to the optimum of a quadratic loss at once.
    - `inverse`: a rule for the whole map x -> z; None for the simulator's own.
    - `metric`: B. "newton" for the Hessian of the loss, "gradient" for the identity,
        or a positive definite matrix (z entries, z entries).

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

    step_size: Float[Array, ""] = eqx.field(converter=positive("step_size"))
    inverse: Inverse | None = None
    metric: ZMetric = eqx.field(converter=as_z_metric, default="newton")

    def init(self, objective: FlatObjective, state: State) -> PullBack:
        return self._rule(objective).verify(objective.simulator, state)

    def update(
        self, objective: FlatObjective, state: State, memory: PullBack
    ) -> tuple[Step, PullBack]:
        rule = self._rule(objective)
        step = physical_step(objective, state, self.step_size, rule, self.metric)
        return failed_before(step, memory), memory

    def _rule(self, objective: FlatObjective) -> Inverse:
        return objective.rule if self.inverse is None else self.inverse


def physical_step(
    objective: FlatObjective,
    state: State,
    step_size: Scalar,
    rule: Inverse,
    z_metric: ZMetric,
) -> Step:
    """x+ = P^-1(z - step_size B^-1 dL/dz), with P^-1 by `rule` and B by `z_metric`."""
    dz, metric, result, cost = z_metric.step(objective.loss, state.z)
    z_target = state.z + step_size * dz  # the step, in z
    answer = rule.pull_back(
        objective.simulator, z_target, state, metric
    )  # the point, in x
    return Step(
        objective.arrive(state, answer),
        cost + answer.evaluations,
        jnp.where(result == Result.completed.code, answer.result, result),
        z_target,
        certificate_of(answer),
    )
