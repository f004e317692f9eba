"""What a step costs, in calls of the user's functions and their derivatives."""

from __future__ import annotations

import equinox as eqx
import jax
from jaxtyping import Array, Int

Count = Int[Array, ""] | int


class Evaluations(eqx.Module):
    """How often each kind of evaluation was needed."""

    forward: Count = 0
    """Calls of the simulator."""
    vjp: Count = 0
    """Vector-Jacobian products: reverse sweeps (a gradient is one)."""
    jvp: Count = 0
    """Jacobian-vector products (a dense Jacobian of n columns is n)."""
    hessian: Count = 0
    """Dense Hessians or Hessian-vector products of the loss."""
    inverse: Count = 0
    """Calls of an inverse formula, or iterations of a numerical one."""

    def __add__(self, other: Evaluations) -> Evaluations:
        return jax.tree.map(lambda a, b: a + b, self, other)
