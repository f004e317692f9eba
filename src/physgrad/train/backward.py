"""What backward passes that are physical steps have in common."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from physgrad.derivatives import undifferentiable
from physgrad.inverses.flat import Flat
from physgrad.inverses.rule import Code
from physgrad.results import LAST_CODE_THAT_GOES_ON, Result
from physgrad.train.proxy_metric import Place, ProxyMetric

NO_SECOND_DERIVATIVE = (
    "a physical gradient has no derivative: x+ is held constant, so that a Hessian "
    "would be a wrong number; use the plain loss for second derivatives"
)


def where_it_holds(x: Flat, result: Code | int, start: Flat) -> tuple[Flat, Code]:
    """x+, or the start where the step failed or x+ is not finite; and its result."""
    going_on = jnp.asarray(result) <= LAST_CODE_THAT_GOES_ON
    lost = going_on & ~jnp.all(jnp.isfinite(x))
    result = jnp.where(lost, Result.non_finite.code, result)
    return jnp.where(going_on & ~lost, x, start), result


def proxy_gradient(metric: ProxyMetric, x_pulled: Flat, place: Place) -> Flat:
    """W (x - x+), zero where that is not finite; it refuses to be differentiated."""
    gradient = metric.gradient(place.x - x_pulled, place)
    gradient = jnp.where(jnp.all(jnp.isfinite(gradient)), gradient, 0.0)
    return undifferentiable(gradient, NO_SECOND_DERIVATIVE)


def plain_derivative(
    function: PyTree, perturbed: PyTree, x: Flat, cotangent: Float[Array, "..."]
) -> PyTree:
    """Of function(x) with respect to those arrays of the function that are perturbed.

    None for the others, and no work where there are none.
    """
    changed, rest = eqx.partition(function, perturbed)
    if not jax.tree.leaves(changed):
        return changed
    _, back = jax.vjp(lambda changed: eqx.combine(changed, rest)(x), changed)
    return back(cotangent)[0]


def without_derivative(tree: Any) -> Any:
    """The tree, its floating arrays held constant."""
    return jax.tree.map(
        lambda leaf: lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf,
        tree,
    )
