"""The protocol that every method has: `init` once, `update` at each step."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, Scalar, sizes
from physgrad.inverses.rule import Code, Inverse, PullBack
from physgrad.inverses.settings import describe
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import ZStep
from physgrad.results import LAST_CODE_THAT_GOES_ON, Cause, Result

# Two x that differ by so many eps are the same.
ALIKE = 16.0


class Certificate(eqx.Module):
    """How well the point of one step was pulled back."""

    residual: Scalar
    """Largest entry of |P(x+) - z~|."""
    tolerance: Scalar
    """What the rule promises of it; infinite where it promises nothing."""
    result: Code
    """A `Result` by its code."""
    cause: Code
    """A `Cause` by its code."""
    rung: Code
    """Which rule of a `Ladder` served, counted from 0."""
    rejections: Code
    """How many points were tried before in vain."""


class Step(eqx.Module):
    """What one update answers: the new state, and how it came about."""

    state: State
    """The point reached, in every space."""
    evaluations: Evaluations
    """What the step cost."""
    result: Code | int = Result.completed.code
    """A `Result` by its code; one that does not go on ends the run at the old state."""
    target: Flat | None = None
    """z~, the point in z that was asked for, where the method has one."""
    certificate: Certificate | None = None
    """Of the inverse, where the method has one."""
    rejected: Bool[Array, ""] | bool = False
    """Whether the run stays where it is, and has only done a step."""
    loss: Scalar | None = None
    """L at the new state, where the method has it already."""
    optimality: Scalar | None = None
    """`optimality` of the new state, where the method has it already."""
    remembered: Any = None
    """What the inverse remembers for the next step."""


class Optimizer(eqx.Module):
    """A method: where it starts, and how it steps.

    Everything here is flat: `state.x`, `state.z` and gradients are vectors of one
    dtype (`objective.simulator.unravel_x` gives the user's PyTree). Both methods are
    traced: no Python branches on values.

    A method of your own is a class with these two; this one takes the sign of the
    gradient:

    >>> import jax.numpy as jnp, physgrad as pg
    >>> class SignDescent(pg.Optimizer):
    ...     step_size: float
    ...     def init(self, objective, state):
    ...         return objective.gradient(state.x)
    ...     def update(self, objective, state, gradient):
    ...         x = state.x - self.step_size * jnp.sign(gradient)
    ...         state, gradient = objective.evaluate_with_gradient(state, x)
    ...         return pg.Step(state, pg.Evaluations(forward=1, vjp=1)), gradient
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> print(pg.minimize(objective, SignDescent(0.5), jnp.array([2.0]), num_steps=3).x)
    [0.5]
    """

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def init(self, objective: FlatObjective, state: State) -> Any:
        """The memory of the method at the start: a PyTree, None if it has none."""

    @abc.abstractmethod
    def update(
        self, objective: FlatObjective, state: State, memory: Any
    ) -> tuple[Step, Any]:
        """One step: the new state with its cost, and the new memory.

        A gradient prepared for the next step belongs to the memory; it is counted
        with the step that prepares it.
        """


def pulled_back(
    objective: FlatObjective,
    state: State,
    way: ZStep,
    z_target: Flat,
    answer: PullBack,
) -> Step:
    """The step from `state` to a point that was pulled back from `z_target`."""
    return Step(
        objective.arrive(state, answer),
        way.evaluations + answer.evaluations,
        jnp.where(way.result == Result.completed.code, answer.result, way.result),
        z_target,
        _certificate(answer),
        loss=objective.loss(answer.z),
        remembered=answer.memory,
    )


def _certificate(answer: PullBack | Certificate) -> Certificate:
    """Of an answer: without its points."""
    if isinstance(answer, Certificate):
        return answer
    return Certificate(
        answer.residual,
        jnp.asarray(answer.tolerance, answer.residual.dtype),
        answer.result,
        jnp.asarray(answer.cause, answer.result.dtype),
        jnp.asarray(answer.rung, answer.result.dtype),
        jnp.zeros_like(answer.result),
    )


class Memory(eqx.Module):
    """What a physical gradient knows of the steps before."""

    start: Certificate = eqx.field(converter=_certificate)
    """Whether the rule held at the start."""
    before: Flat
    """The x of the step before."""
    loss: Scalar
    """L at the present point."""
    accepted: Any
    """Of its acceptance."""
    turned: Any
    """Of its transformation."""
    remembered: Any
    """Of its inverse."""

    @classmethod
    def begin(
        cls,
        objective: FlatObjective,
        state: State,
        rule: Inverse,
        accepted: Any,
        turned: Any,
    ) -> Memory:
        """At the start, with the check of the rule there."""
        check, loss = rule.verify(objective.simulator, state), objective.loss(state.z)
        return cls(check, state.x, loss, accepted, turned, rule.begin(state))


def checked(
    step: Step, state: State, memory: Memory, accepted: Any, turned: Any
) -> tuple[Step, Memory]:
    """The step, unless the rule did not hold at the start, or x goes to and fro."""
    x, eps = step.state.x, jnp.finfo(state.x.dtype).eps
    certificate = step.certificate or memory.start
    rejected = jnp.asarray(step.rejected)
    size, moved, apart = sizes(x, x - state.x, x - memory.before)
    back = apart <= ALIKE * eps * size
    moved = moved > jnp.sqrt(eps) * size
    to_and_fro = back & moved & (step.result <= LAST_CODE_THAT_GOES_ON) & ~rejected
    failed = memory.start.result != Result.completed.code
    result = jnp.where(to_and_fro, Result.stalled.code, step.result)
    certificate = jax.tree.map(
        lambda before, now: jnp.where(failed, before, now),
        memory.start,
        eqx.tree_at(
            lambda c: c.cause,
            certificate,
            jnp.where(to_and_fro, Cause.alternates.code, certificate.cause),
        ),
    )
    result = jnp.where(failed, memory.start.result, result)
    step = eqx.tree_at(lambda s: (s.result, s.certificate), step, (result, certificate))
    # what was not taken gives no momentum
    turned, loss = jax.tree.map(
        lambda now, before: jnp.where(rejected, before, now),
        (turned, step.loss),
        (memory.turned, memory.loss),
    )
    kept = step.remembered
    return step, Memory(memory.start, state.x, loss, accepted, turned, kept)
