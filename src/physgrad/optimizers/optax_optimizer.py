"""Any Optax transformation as an optimizer."""

from __future__ import annotations

from typing import Any

from jax.flatten_util import ravel_pytree

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.optimizer.transformation import check_transformation
from physgrad.results import MissingExtra


class OptaxOptimizer(Optimizer):
    """x+ = x + update(dL/dx), by an Optax transformation: Adam, AdaGrad, RMSProp, ...

    The transformation sees the PyTree x, so rules by leaf work. Line searches get the
    value, the gradient and the function they ask for; what they evaluate inside is
    not counted. Make the transformation once and keep it: a fresh one is compiled
    anew.

    **Arguments:**

    - `transformation`: an `optax.GradientTransformation`.

    **Raises:** `TypeError` for anything else; `MissingExtra` without Optax.

    >>> import jax.numpy as jnp, optax, physgrad as pg
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> adam = pg.OptaxOptimizer(optax.adam(0.5))
    >>> run = pg.minimize(objective, adam, jnp.array([2.0]), num_steps=1)
    >>> print(f"{run.x[0]:.4f}")
    1.5000
    """

    transformation: Any
    """The Optax transformation."""

    def __check_init__(self) -> None:
        check_transformation(self.transformation, "optax.adam(0.1)")

    def init(self, objective: FlatObjective, state: State) -> tuple[Flat, Any]:
        x = objective.simulator.unravel_x(state.x)
        return objective.gradient(state.x), self.transformation.init(x)

    def update(
        self, objective: FlatObjective, state: State, memory: tuple[Flat, Any]
    ) -> tuple[Step, tuple[Flat, Any]]:
        gradient, inner = memory
        unravel = objective.simulator.unravel_x

        def value_fn(x: Any) -> Any:
            return objective(ravel_pytree(x)[0])

        updates, inner = _with_extra_args(self.transformation).update(
            unravel(gradient),
            inner,
            unravel(state.x),
            value=objective.loss(state.z),
            grad=unravel(gradient),
            value_fn=value_fn,
        )
        dx = ravel_pytree(updates)[0]
        state, gradient = objective.evaluate_with_gradient(state, state.x + dx)
        return Step(state, Evaluations(forward=1, vjp=1)), (gradient, inner)


def _with_extra_args(transformation: Any) -> Any:
    try:
        import optax  # the extra "train"; whoever has a transformation has it
    except ImportError as error:
        raise MissingExtra("optax", "train", "OptaxOptimizer") from error
    return optax.with_extra_args_support(transformation)
