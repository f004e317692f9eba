"""Which pulled-back points are taken: all of them, or those where the loss falls.

Shortening happens in z: a shorter way to the same target, pulled back by the same rule.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from physgrad.inverses.flat import Scalar
from physgrad.inverses.ladder import rungs_of
from physgrad.inverses.rule import Code, Inverse
from physgrad.inverses.settings import brief, describe, optional, positive, whole_number
from physgrad.inverses.state import State
from physgrad.objective.losses import FlatLoss
from physgrad.objective.z_step import ZStep
from physgrad.optimizer import Step
from physgrad.results import LAST_CODE_THAT_GOES_ON, Cause, Result

# The loss must fall by this part of what its gradient promises (Armijo).
SUFFICIENT = 1e-4
# A change of the loss of so many eps is rounding.
ROUNDING = 4.0
# Trust region: the ratio of the fall of the loss to the promised one below which the
# radius shrinks, above which it grows; and by how much.
POOR, GOOD, SHRINK, GROW = 0.25, 0.75, 0.25, 2.0


class Offer(NamedTuple):
    """What an optimizer has to offer at a state: steps of any size, by any rule."""

    attempt: Callable[[Scalar, Inverse], Step]
    """The step of a size, pulled back by a rule."""
    step_size: Scalar
    """The largest size."""
    rule: Inverse
    """The rule of the whole map; a ladder has several."""
    loss: FlatLoss
    state: State
    way: ZStep
    """The step in z of size 1."""


class Acceptance(eqx.Module):
    """Which pulled-back points are taken."""

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def init(self, state: State) -> Any:
        """The memory at the start: a PyTree of arrays."""

    @abc.abstractmethod
    def take(self, offer: Offer, memory: Any) -> tuple[Step, Any]:
        """A step, and the new memory."""


class Plain(Acceptance):
    """Every point is taken that can be pulled back, as in the notebook. Short: None."""

    def init(self, state: State) -> None:
        return None

    def take(self, offer: Offer, memory: None) -> tuple[Step, None]:
        return offer.attempt(offer.step_size, offer.rule), None


class Monotone(Acceptance):
    """A point is taken where the true loss falls; if not, the step in z is halved.

    L(z+) <= L(z) + 1e-4 g (z+ - z) must hold, with the z+ that the certificate already
    has. After `halvings` in vain the next rule of a `Ladder` is asked, from the full
    step on. A rule that ran out of its budget may serve where the loss falls. Where
    nothing serves, the run ends as what the last point tried was: `inverse_failed`
    or, with a certificate that holds, `stalled`. Short: "monotone".

    **Arguments:**

    - `halvings`: how often the step is halved, for each rule.

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.1.
    """

    halvings: int = eqx.field(
        converter=whole_number("halvings", 0), default=12, static=True
    )

    def init(self, state: State) -> Scalar:
        """The part of the step size that is tried first."""
        return jnp.ones((), state.x.dtype)

    def take(self, offer: Offer, memory: Scalar) -> tuple[Step, Scalar]:
        rungs = rungs_of(offer.rule)
        first = _uniform(offer.attempt(memory * offer.step_size, rungs[0]))
        served = falls(offer, first)

        def search() -> tuple[Step, Scalar]:
            return self._search(offer, rungs, first, memory)

        step, part = lax.cond(served, lambda: (first, memory), search)
        # grow again only after a step that was taken at once
        return _stay_if_higher(offer, step), jnp.where(
            served, jnp.minimum(2 * part, 1.0), part
        )

    def _search(
        self, offer: Offer, rungs: tuple[Inverse, ...], first: Step, part: Scalar
    ) -> tuple[Step, Scalar]:
        """Halve the step in z, then ask the next rule, until the loss falls."""
        tries = self.halvings + 1

        def attempt(part: Scalar, number: Array) -> Step:
            def on(rung: Inverse) -> Callable[[Scalar], Step]:
                return lambda size: _uniform(offer.attempt(size, rung))

            rung = jnp.minimum(number // tries, len(rungs) - 1)
            size = part * offer.step_size
            step = lax.switch(rung, [on(rule) for rule in rungs], size)
            return _with_rung(step, rung, number)

        def next_part(part: Scalar, number: Array) -> Scalar:
            return jnp.where(number % tries == 0, 1.0, part / 2).astype(part.dtype)

        def goes_on(now: tuple[Step, Scalar, Array]) -> Bool[Array, ""]:
            step, _, number = now
            return ~falls(offer, step) & (number < tries * len(rungs))

        def advance(now: tuple[Step, Scalar, Array]) -> tuple[Step, Scalar, Array]:
            before, part, number = now
            part = next_part(part, number)
            step = attempt(part, number)
            # each step has counted the way in z, which was found once
            spent = jax.tree.map(
                lambda a, b, way: a + b - way,
                before.evaluations,
                step.evaluations,
                offer.way.evaluations,
            )
            step = eqx.tree_at(lambda s: s.evaluations, step, spent)
            return step, part, number + 1

        one = jnp.ones((), jnp.int32)
        end, part, _ = eqxi.while_loop(
            goes_on,
            advance,
            (_with_rung(first, 0 * one, 0 * one), part, one),
            max_steps=tries * len(rungs),
            kind="bounded",
        )
        stalled = jnp.where(_holds(end), Result.stalled.code, end.result)
        result = jnp.where(falls(offer, end), _going_on(end), stalled)
        return eqx.tree_at(lambda s: s.result, end, result.astype(jnp.int32)), part


class TrustRegion(Acceptance):
    """A step in z no longer than a radius, which follows how well the loss falls.

    |z~ - z|_B <= radius, with B the metric of the step. The radius is quartered where
    the loss falls by less than a quarter of what its gradient promises, or the inverse
    fails, and doubled where it falls by more than three quarters. A point where the
    loss rises is rejected: the run stays where it is, and has done a step. Short:
    "trust-region".

    **Arguments:**

    - `radius`: the first one, in the units of sqrt(L); None for the full step.

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., section 4.1.
    """

    radius: Scalar | None = eqx.field(
        converter=optional(positive("radius")), default=None
    )

    def init(self, state: State) -> Scalar:
        """The radius."""
        radius = jnp.inf if self.radius is None else self.radius
        return jnp.asarray(radius, state.x.dtype)

    def take(self, offer: Offer, memory: Scalar) -> tuple[Step, Scalar]:
        slope = -offer.loss.gradient(offer.state.z) @ offer.way.dz  # |dz|_B^2
        length = jnp.sqrt(jnp.maximum(slope, 0.0))
        fits = memory / jnp.where(length > 0, length, 1.0)
        size = jnp.minimum(offer.step_size, fits)
        step = _uniform(offer.attempt(size, offer.rule))
        fall = offer.loss(offer.state.z) - offer.loss(step.state.z)
        promised = _promised(offer, step) * jnp.maximum(1 - size / 2, POOR)
        served = falls(offer, step)
        good = served & (fall >= GOOD * promised)
        poor = ~served | (fall < POOR * promised)
        radius = jnp.where(poor, SHRINK * size * length, memory)
        radius = jnp.where(good, jnp.maximum(radius, GROW * size * length), radius)
        least = jnp.finfo(radius.dtype).eps * offer.step_size
        spent = ~served & (size <= least)
        rung = step.certificate.rung if step.certificate else 0
        kept = _with_rung(_keep(offer, step, served), rung, ~served)
        failure = jnp.where(_holds(step), Result.stalled.code, step.result)
        result = jnp.where(spent, failure, jnp.where(served, _going_on(step), 0))
        return eqx.tree_at(
            lambda s: s.result, kept, result.astype(jnp.int32)
        ), radius.astype(memory.dtype)


def falls(offer: Offer, step: Step) -> Bool[Array, ""]:
    """Whether a step may be taken: its point holds, and the true loss falls.

    Held against the way that z has really gone, since a target out of range is not
    reached; to rounding, since at the minimum nothing falls.
    """
    before, after = offer.loss(offer.state.z), offer.loss(step.state.z)
    rounding = ROUNDING * jnp.finfo(before.dtype).eps * jnp.abs(before)
    fell = after <= before - SUFFICIENT * _promised(offer, step) + rounding
    assert step.certificate is not None
    spent = step.certificate.cause == Cause.out_of_budget.code
    return fell & (_holds(step) | spent)


def _promised(offer: Offer, step: Step) -> Scalar:
    """What the gradient promises for the way that z has gone: -g (z+ - z)."""
    gone = step.state.z - offer.state.z
    return jnp.maximum(-offer.loss.gradient(offer.state.z) @ gone, 0.0)


def _holds(step: Step) -> Bool[Array, ""]:
    return jnp.asarray(step.result) <= LAST_CODE_THAT_GOES_ON


def _going_on(step: Step) -> Code:
    return jnp.where(_holds(step), step.result, Result.completed.code)


def _stay_if_higher(offer: Offer, step: Step) -> Step:
    """The step, but for a loss that rises by rounding: then the run stays."""
    lower = offer.loss(step.state.z) <= offer.loss(offer.state.z)
    return _keep(offer, step, lower | ~_holds(step))


def _keep(offer: Offer, step: Step, taken: Bool[Array, ""]) -> Step:
    """The step if it is taken; else one that stays at the state."""
    state = jax.tree.map(
        lambda new, old: jnp.where(taken, new, old), step.state, offer.state
    )
    return eqx.tree_at(lambda s: (s.state, s.rejected), step, (state, ~taken))


def _with_rung(step: Step, rung: Code | int, rejections: Array) -> Step:
    """The step with what its certificate says of the search for it."""
    assert step.certificate is not None
    return eqx.tree_at(
        lambda s: (s.certificate.rung, s.certificate.rejections),
        step,
        (jnp.int32(rung), jnp.int32(rejections)),
    )


def _uniform(step: Step) -> Step:
    """The step with codes and counts of one kind, so that steps can be chosen from."""

    def kind(leaf: Any) -> Array:
        array = jnp.asarray(leaf)
        whole = jnp.issubdtype(array.dtype, jnp.integer)
        return array.astype(jnp.int32) if whole else array

    return jax.tree.map(kind, step)


def as_acceptance(value: Any) -> Acceptance | None:
    """The acceptance for "monotone" or "trust-region"; None or one itself as it is."""
    named = {"monotone": Monotone, "trust-region": TrustRegion}
    if value is None or isinstance(value, Acceptance):
        return value
    if isinstance(value, str) and value in named:
        return named[value]()
    hint = ""
    if isinstance(value, type) and issubclass(value, Acceptance):
        hint = f"; make one: {value.__name__}(...)"
    raise (ValueError if isinstance(value, str) else TypeError)(
        "acceptance must be None, 'monotone', 'trust-region', a Monotone or a "
        f"TrustRegion, got {brief(value)}{hint}"
    )
