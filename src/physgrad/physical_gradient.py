"""The physical gradient: step in z, where the loss is simple; map the point back to x.

x+ = P^-1(z - eta B^-1 dL/dz)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx

from physgrad.inverses.flat import Scalar
from physgrad.inverses.rule import Inverse, as_rule
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import ZMetric, ZStep, as_z_metric
from physgrad.optimizer.acceptance import Acceptance, Offer, Plain, as_acceptance
from physgrad.optimizer.optimizer import Memory, Optimizer, Step, checked, pulled_back
from physgrad.optimizer.transformation import as_transformation, begin, turn


class PhysicalGradient(Optimizer):
    """x+ = P^-1(z - step_size B^-1 dL/dz).

    **Arguments:**

    - `step_size`: eta, in z-space; 1 goes to the optimum of a quadratic loss at once.
    - `inverse`: a rule for the whole map x -> z; None for the simulator's own.
    - `metric`: B, as "newton" (H_L), "gradient" (I), a matrix or a `NewtonMetric`.
    - `acceptance`: None; "monotone" or "trust-region", if the true loss is to fall.
    - `transformation`: of B^-1 dL/dz, by Optax: `optax.trace(0.9)`, momentum in z.

    **Raises:** `ValueError`, `TypeError` for wrong values or kinds of these.

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
    acceptance: Acceptance | None = eqx.field(converter=as_acceptance, default=None)
    transformation: Any = eqx.field(converter=as_transformation, default=None)

    def init(self, objective: FlatObjective, state: State) -> Memory:
        accepted = (self.acceptance or Plain()).init(state)
        turned, rule = begin(self.transformation, state.z), self.inverse
        return Memory.begin(objective, state, rule or objective.rule, accepted, turned)

    def update(
        self, objective: FlatObjective, state: State, memory: Memory
    ) -> tuple[Step, Memory]:
        way, loss = self.metric.step(objective.loss, state.z), objective.loss
        way, turned = turn(self.transformation, way, loss, state.z, memory)
        attempt = partial(physical_step, objective, state, way)
        rule = (self.inverse or objective.rule).recalling(memory.remembered)
        offer = Offer(attempt, self.step_size, rule, loss, memory.loss, state, way)
        step, accepted = (self.acceptance or Plain()).take(offer, memory.accepted)
        return checked(step, state, memory, accepted, turned)


def physical_step(
    objective: FlatObjective, state: State, way: ZStep, step_size: Scalar, rule: Inverse
) -> Step:
    """x+ = P^-1(z + step_size dz), with P^-1 by `rule`; dz = -B^-1 dL/dz is the way."""
    rule = objective.within_rule(rule)
    z_target = state.z + step_size * way.dz  # the step, in z
    answer = rule.pull_back(objective.simulator, z_target, state, way.metric)  # in x
    return pulled_back(objective, state, way, z_target, answer)
