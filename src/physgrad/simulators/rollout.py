"""Time stepping: one compiled loop, with derivatives that take little memory."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from physgrad.inverses.settings import whole_number
from physgrad.simulators.checks import check_field
from physgrad.simulators.precision import like_x


def advance(
    step: Callable[..., PyTree], state: PyTree, steps: int, inputs: PyTree = None
) -> PyTree:
    """The state after so many steps; step(state), or step(state, input) with inputs.

    Reverse derivatives keep the states at the ends of about sqrt(steps) blocks, and
    those within one block at a time, which is computed again: memory grows as the
    square root of the steps, time by one more forward run.

    **Arguments:** `inputs`: a PyTree of arrays with an axis of `steps` in front.

    >>> import jax.numpy as jnp
    >>> float(advance(lambda x: x / 2, jnp.array(8.0), steps=3))
    1.0

    **Source:** Griewank and Walther, Evaluating Derivatives, 2nd ed., 2008, section
    12.2 (one level).
    """
    if steps == 0:
        return state
    block = math.isqrt(steps)
    blocks, rest = divmod(steps, block)

    def one(state: PyTree, given: Any) -> tuple[PyTree, None]:
        return (step(state) if inputs is None else step(state, given)), None

    @jax.checkpoint
    def many(state: PyTree, given: Any) -> tuple[PyTree, None]:
        return lax.scan(one, state, given, block if given is None else None)

    def part(first: int, last: int) -> PyTree:
        return jax.tree.map(lambda a: a[first:last], inputs)

    def in_blocks(leaf: Array) -> Array:
        return leaf[: blocks * block].reshape(blocks, block, *leaf.shape[1:])

    state, _ = lax.scan(many, state, jax.tree.map(in_blocks, inputs), blocks)
    if rest:
        state, _ = lax.scan(one, state, part(blocks * block, steps), rest)
    return state


class Evolution(eqx.Module):
    """A simulator that steps through time: x is the state before, z that after it.

    Its rollout is what pictures show.
    """

    steps: eqx.AbstractVar[int]
    """Time steps from x to z."""

    @abc.abstractmethod
    def later(self, state: PyTree) -> PyTree:
        """The state one time step later."""

    def begin(self, x: PyTree) -> PyTree:
        """The state that x is: what is stepped, such as its waves."""
        return x

    def end(self, state: PyTree) -> PyTree:
        """What a state is in the units of x."""
        return state

    @like_x
    def __call__(self, x: PyTree) -> PyTree:
        return self.end(advance(self.later, self.begin(x), self.steps))

    @like_x
    def rollout(self, x: PyTree, frames: int) -> PyTree:
        """The states at about so many times, from x to z, on a new axis in front.

        **Raises:** `ValueError` for less than one frame.
        """
        frames = min(whole_number("frames", 1)(frames), self.steps)
        counts = [self.steps * (i + 1) // frames for i in range(frames)]
        most = max(b - a for a, b in zip([0, *counts], counts, strict=False))

        def after(state: PyTree) -> PyTree:
            return self.later(state)

        def same(state: PyTree) -> PyTree:
            return state

        def frame(state: PyTree, count: Array) -> tuple[PyTree, PyTree]:
            def one(state: PyTree, number: Array) -> tuple[PyTree, None]:
                return lax.cond(number < count, after, same, state), None

            state, _ = lax.scan(one, state, jnp.arange(most))
            return state, self.end(state)

        numbers = jnp.diff(jnp.asarray([0, *counts]))
        _, later = lax.scan(frame, self.begin(x), numbers)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), x, later)


class Driven(eqx.Module):
    """A simulator from an input in each time step to the state at the end of them.

    All start from one state, which belongs to the simulator.
    """

    initial: eqx.AbstractVar[Array]
    """The state at the start."""
    steps: eqx.AbstractVar[int]
    """Time steps, and entries of x."""

    @abc.abstractmethod
    def driven(self, state: PyTree, given: Array) -> PyTree:
        """The state one time step later, with one input all along."""

    def begin(self, initial: Array) -> PyTree:
        """The state that is stepped."""
        return initial

    def end(self, state: PyTree) -> Array:
        """What a state is in the units of z."""
        return state

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, (self.steps,))
        return self.end(advance(self.driven, self.begin(self.initial), self.steps, x))

    @like_x
    def rollout(self, x: Array, frames: int) -> Array:
        """The states after each time step, the start in front, whatever `frames`."""
        del frames

        def one(state: PyTree, given: Array) -> tuple[PyTree, Array]:
            after = self.driven(state, given)
            return after, self.end(after)

        _, later = lax.scan(one, self.begin(self.initial), x)
        return jnp.concatenate([self.initial[None], later])
