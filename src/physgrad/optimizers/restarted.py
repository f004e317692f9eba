"""A solver that knows no bounds, kept within them by beginning anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from physgrad.inverses.box import Box
from physgrad.inverses.flat import Flat

# Of a descent along the slope, each half as long as the one before.
HALVINGS = 40

Loss = Callable[[Flat], Array]
Start = Callable[[Bool[Array, " x"], Flat], Any]
Advance = Callable[[Bool[Array, " x"], Flat, Any], tuple[Flat, Any]]


class Restarted(eqx.Module):
    """What is remembered of a solver that works on the entries that no bound holds."""

    memory: Any
    held: Bool[Array, " x"]
    """What was held when it began."""


def begun(box: Box, x: Flat, slope: Flat, start: Start) -> Restarted:
    """The memory at a start."""
    held = box.held(x, slope)
    return Restarted(start(held, x), held)


def advanced(
    box: Box,
    x: Flat,
    slope: Flat,
    before: Restarted,
    solver: tuple[Loss, Start, Advance],
) -> tuple[Flat, Restarted]:
    """The next x within the box, and the new memory.

    Where the solver leaves the box, the nearest point is taken if L falls there, else
    one along the projected slope; both begin it anew, and so does another held set.
    """
    loss, start, advance = solver
    held = box.held(x, slope)
    same = jnp.all(held == before.held)
    memory = either(same, before.memory, lambda: start(held, x))
    reached, memory = advance(held, x, memory)
    reached = jnp.where(held, x, reached)
    clipped = box.clip(reached)
    leaves = jnp.any(clipped != reached)

    point = lax.cond(
        leaves & (loss(clipped) >= loss(x)),
        lambda: _descent(box, x, slope, clipped, loss),
        lambda: clipped,
    )
    memory = either(~leaves, memory, lambda: start(held, point))
    return point, Restarted(memory, held)


def either(keeps: Bool[Array, ""], memory: Any, other: Callable[[], Any]) -> Any:
    """The memory, or another one of the same kinds."""
    arrays, constants = eqx.partition(memory, eqx.is_array)
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), arrays)

    def anew() -> Any:
        fresh = eqx.filter(other(), eqx.is_array)
        return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), fresh, arrays)

    return eqx.combine(lax.cond(keeps, lambda: arrays, anew), constants)


def _descent(box: Box, x: Flat, slope: Flat, goal: Flat, loss: Loss) -> Flat:
    """A point along the projected slope where L falls; x where there is none."""
    size = jnp.linalg.norm(slope)
    long = jnp.linalg.norm(goal - x) / jnp.where(size > 0, size, 1.0)
    before = loss(x)

    def point(number: Array) -> Flat:
        return box.clip(x - long * 0.5 ** number.astype(x.dtype) * slope)

    def goes_on(number: Array) -> Array:
        return (loss(point(number)) >= before) & (number < HALVINGS)

    number = lax.while_loop(goes_on, lambda n: n + 1, jnp.asarray(0))
    return jnp.where(number < HALVINGS, point(number), x)
