"""When a run has converged: on loss, gradient or step, or by a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from physgrad.inverses.flat import Scalar, call_user, largest
from physgrad.inverses.settings import brief, optional, positive
from physgrad.inverses.state import State
from physgrad.objective.local_model import local_model
from physgrad.objective.objective import FlatObjective


class Stop(eqx.Module):
    """Stop a run as `converged` when any of these holds.

    **Arguments:** (each None, or a positive number)

    - `loss`: L(z) <= loss.
    - `gradient`: largest entry of |J^T dL/dz| <= gradient; one reverse sweep a step.
        With bounds, of |x - clip(x - J^T dL/dz)|.
    - `step`: largest entry of |x+ - x| <= step, in a step that was not rejected.
    - `optimality`: |J dx| / |dz| <= optimality in the metric H_L, with dz the Newton
        step of L in z and dx the whole Gauss-Newton step: which part of the way that L
        asks for is open to x. It has no units, and goes from 1 to 0 at a stationary
        point; where rounding hides the step it is 0, so that a fit without noise ends,
        too. `LevenbergMarquardt` has it at hand; for others it costs a Jacobian a step.
        `minimize` looks at the Hessian there: `LevenbergMarquardt` goes on beside a
        saddle, along its way down; else, and where it cannot, a saddle is `stalled`.
        A direction along which L is flat stands in the message.

    **Raises:** `ValueError` for numbers that are not positive, or none at all.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> method, x0 = pg.GradientDescent(0.25), jnp.array([1.0])
    >>> pg.minimize(objective, method, x0, num_steps=99, stop=pg.Stop(loss=1e-6))
    Run(converged, loss=9.53674e-07, num_steps=10)
    """

    loss: Float[Array, ""] | None = eqx.field(
        converter=optional(positive("loss")), default=None
    )
    gradient: Float[Array, ""] | None = eqx.field(
        converter=optional(positive("gradient")), default=None
    )
    step: Float[Array, ""] | None = eqx.field(
        converter=optional(positive("step")), default=None
    )

    optimality: Float[Array, ""] | None = eqx.field(
        converter=optional(positive("optimality")), default=None
    )

    def __check_init__(self) -> None:
        if all(rule is None for rule in vars(self).values()):
            raise ValueError(
                "Stop must have a loss, a gradient, a step or an optimality, got none"
            )


class Reached(NamedTuple):
    """What a stopping function sees; its values are traced."""

    x: PyTree
    """The present iterate."""
    z: PyTree
    """P(x)."""
    loss: Scalar
    """L(z)."""
    step: Scalar
    """Largest entry of |x+ - x|; infinite at the start."""


StopRule = Stop | Callable[[Reached], Bool[Array, ""]] | None


def has_converged(
    stop: StopRule,
    objective: FlatObjective,
    state: State,
    loss: Scalar,
    step: Scalar,
    optimality: Scalar | None = None,
) -> Bool[Array, ""]:
    """Whether `stop` holds at `state`, which the step of this size has led to.

    **Arguments:** `optimality`: at `state`, where it is at hand.
    """
    if stop is None:
        return jnp.asarray(False)
    if not isinstance(stop, Stop):
        maps = objective.simulator
        at = Reached(maps.unravel_x(state.x), maps.unravel_z(state.z), loss, step)
        answer = call_user(stop, "the stopping function", at)
        return _one_bool(answer)
    holds = jnp.asarray(False)
    if stop.loss is not None:
        holds |= loss <= stop.loss
    if stop.gradient is not None:
        slopes = objective.downhill(state.x, objective.gradient(state.x))
        holds |= largest(slopes) <= stop.gradient
    if stop.step is not None:
        holds |= step <= stop.step
    if stop.optimality is not None:
        if optimality is None:
            optimality = local_model(objective, state).optimality(objective, state)
        holds |= optimality <= stop.optimality
    return holds


def _one_bool(answer: Any) -> Bool[Array, ""]:
    expected = "a stopping function must return one bool"
    if not isinstance(answer, bool | np.bool_ | jax.Array):
        raise TypeError(f"{expected}, got {brief(answer)}")
    if jnp.shape(answer) != ():
        raise ValueError(f"{expected}, got shape {jnp.shape(answer)}")
    if jnp.asarray(answer).dtype != bool:
        raise TypeError(f"{expected}, got {jnp.asarray(answer).dtype}")
    return jnp.asarray(answer)
