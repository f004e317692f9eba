"""Gradient descent: the step in x, along -dL/dx."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.optimizer.optimizer import Optimizer, Step


class GradientDescent(Optimizer):
    """x+ = x - learning_rate J^T dL/dz.

    The same as a physical step with `TransposedInverse` and metric="gradient", without
    the rounding of z~ - z and with the value and gradient from one sweep.

    **Arguments:**

    - `learning_rate`: eta, in x-space.

    **Raises:** `ValueError`, `TypeError` for a learning rate that is not positive.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> print(pg.minimize(objective, pg.GradientDescent(0.25), jnp.array([4.0]), 2).x)
    [1.]

    **Source:** Cauchy, Comptes rendus 25, 1847.
    """

    learning_rate: Float[Array, ""] = eqx.field(converter=positive("learning_rate"))

    def init(self, objective: FlatObjective, state: State) -> Flat:
        return objective.gradient(state.x)

    def update(
        self, objective: FlatObjective, state: State, memory: Flat
    ) -> tuple[Step, Flat]:
        x = state.x - self.learning_rate * memory
        state, gradient = objective.evaluate_with_gradient(state, x)
        return Step(state, Evaluations(forward=1, vjp=1)), gradient
