"""The toy: z = [x0, x1^2], L = |z|^2, from (3, 3); the solution is the origin."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.objective.losses import SquaredLoss
from physgrad.objective.objective import Objective
from physgrad.problems.problem import Problem
from physgrad.simulator import Simulator


def square(x: Float[Array, " _"]) -> Float[Array, "2"]:
    """z = [x0, x1^2]: only the second coordinate is bent."""
    if x.shape != (2,):
        raise ValueError(f"the toy's x has 2 entries, got shape {x.shape}")
    return jnp.stack([x[0], x[1] ** 2])


def square_root(z: Float[Array, "2"], x: Float[Array, "2"]) -> Float[Array, "2"]:
    """The preimage of z on the branch on which x lies."""
    return jnp.stack([z[0], jnp.copysign(jnp.sqrt(z[1]), x[1])])


def positive_square_root(z: Float[Array, "2"]) -> Float[Array, "2"]:
    """The preimage of z with x1 >= 0, whatever the branch of x: the notebook's."""
    return jnp.stack([z[0], jnp.sqrt(z[1])])


def problem(dtype: Any = None) -> Problem:
    """The toy in float32 or float64 (default: JAX's default float).

    >>> toy = problem()
    >>> float(toy.objective(toy.start))
    90.0

    **Source:** Thuerey et al., Physics-based Deep Learning, "Optimizations with
    Physical Gradients".
    """
    dtype = jnp.result_type(float) if dtype is None else dtype
    # from NumPy, by device_put: that compiles nothing
    origin, ones = jax.device_put((np.zeros(2, dtype), np.ones(2, dtype)))
    simulator = Simulator(square, inverse=AnalyticInverse(square_root))
    return Problem(
        name="toy",
        objective=Objective(simulator, SquaredLoss(origin)),
        start=jax.device_put(np.full(2, 3.0, dtype)),
        solution=origin,
        direction=ones,
        inverses={"notebook": AnalyticInverse(positive_square_root)},
    )
