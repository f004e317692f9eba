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

from physgrad.inverses.flat import Flat, Scalar
from physgrad.inverses.ladder import rungs_of
from physgrad.inverses.rule import Code, Inverse
from physgrad.inverses.settings import brief, describe, optional, positive, whole_number
from physgrad.inverses.state import State
from physgrad.objective.losses import FlatLoss
from physgrad.objective.z_step import ZStep
from physgrad.optimizer.optimizer import Step
from physgrad.optimizer.packing import Packed, pack
from physgrad.results import LAST_CODE_THAT_GOES_ON, Cause, Result

# The loss must fall by this part of what its gradient promises (Armijo).
SUFFICIENT = 1e-4
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
    before: Scalar
    """L at the state."""
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
    step on. A numerical rule that did not arrive serves where the loss falls. Where
    nothing serves, the run ends as what the last point tried was: `inverse_failed`
    or, with a certificate that holds, `stalled`. Short: "monotone".

    Where a point that was rejected is NaN, so are reverse derivatives of the run, even
    if it goes on: guard the argument of a root in the inverse with `jnp.where`.

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
        first = _tried(offer, memory * offer.step_size, rungs[0])
        served = falls(offer, first)
        hopeless = offer.way.result != Result.completed.code

        def at_once() -> Packed:
            return pack((first, served, jnp.minimum(2 * memory, 1.0)))  # grow again

        def search() -> Packed:
            return pack(self._search(offer, rungs, first, memory))

        # packed, since what comes out of a branch costs per array
        step, served, part = lax.cond(served | hopeless, at_once, search).unpack()
        step = _ended(offer, step, served)
        # a step that rounding let through, but not the loss, is too long
        part = jnp.where(step.rejected, jnp.maximum(part / 2, self._shortest), part)
        # a member of a batch that has ended tries where it is, and does not search
        return step, jnp.where(served, part, 0.0).astype(part.dtype)

    @property
    def _shortest(self) -> float:
        return 2.0**-self.halvings

    def _search(
        self, offer: Offer, rungs: tuple[Inverse, ...], first: Step, part: Scalar
    ) -> tuple[Step, Bool[Array, ""], Scalar]:
        """Halve the step in z, then ask the next rule, until the loss falls."""
        tries, slack = self.halvings + 1, _rounding(offer)

        def attempt(part: Scalar, number: Array) -> Step:
            def on(rung: Inverse) -> Callable[[Scalar], Step]:
                return lambda size: _tried(offer, size, rung)

            rung = jnp.minimum(number // tries, len(rungs) - 1)
            size = part * offer.step_size
            step = lax.switch(rung, [on(rule) for rule in rungs], size)
            return _with_rung(step, rung, number)

        def next_part(part: Scalar, number: Array) -> Scalar:
            return jnp.where(number % tries == 0, 1.0, part / 2).astype(part.dtype)

        def goes_on(now: tuple[Step, Scalar, Array]) -> Bool[Array, ""]:
            step, _, number = now
            hopeful = offer.way.result == Result.completed.code
            hopeful = hopeful & (number < tries * len(rungs))
            return hopeful & ~falls(offer, step, slack)

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
        return end, falls(offer, end, slack), part


class TrustRegion(Acceptance):
    """A step in z no longer than a radius, which follows how well the loss falls.

    |z~ - z|_B <= radius, with B the metric of the step (with a transformation, the
    root of what the gradient predicts). The radius is quartered where the loss falls by
    less than a quarter of what a quadratic loss would, or the inverse fails, and
    doubled where it falls by more than three quarters. A point where the loss rises is
    rejected: the run stays where it is, and has done a step. Short: "trust-region".

    **Arguments:**

    - `radius`: the first one, in the units of |dz|_B: those of sqrt(L) for B = H_L;
        None for the full step.

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
        slope = -_slope(offer, offer.way.dz)  # |dz|_B^2
        length = jnp.sqrt(jnp.where(slope > 0, slope, 1.0))
        # guarded: derivatives must not meet the radius of a full step, infinity
        short = memory < offer.step_size * length
        size = jnp.where(short, jnp.where(short, memory, 1.0) / length, offer.step_size)
        step = _tried(offer, size, offer.rule)
        fall = offer.before - _loss(offer, step)
        promised = _promised(offer, step) * jnp.maximum(1 - size / 2, POOR)
        served = falls(offer, step, _rounding(offer))
        good = served & (fall >= GOOD * promised)
        poor = ~served | (fall < POOR * promised)
        radius = jnp.where(poor, SHRINK * size * length, memory)
        radius = jnp.where(good, jnp.maximum(radius, GROW * size * length), radius)
        rung = step.certificate.rung if step.certificate else 0
        step = _ended(offer, _with_rung(step, rung, ~served), served)
        least = jnp.finfo(radius.dtype).eps * offer.step_size
        hopeless = offer.way.result != Result.completed.code
        waits = ~served & (size > least) & ~hopeless
        result = jnp.where(waits, Result.completed.code, step.result)
        step = eqx.tree_at(
            lambda s: (s.result, s.rejected),
            step,
            (result.astype(jnp.int32), step.rejected | ~served),
        )
        return step, radius.astype(memory.dtype)


def falls(offer: Offer, step: Step, slack: Scalar | float = 0.0) -> Bool[Array, ""]:
    """Whether a step may be taken: its point holds, and the true loss falls.

    Held against the way that z has really gone, since a target out of range is not
    reached; to some slack, since at the minimum nothing falls.
    """
    after = _loss(offer, step)
    fell = after <= offer.before - SUFFICIENT * _promised(offer, step) + slack
    cause = Cause.none.code if step.certificate is None else step.certificate.cause
    spent = (cause == Cause.out_of_budget.code) | (cause == Cause.stuck.code)
    fell = fell & jnp.isfinite(after)
    return fell & (_holds(step) | (spent & (after < offer.before)))


def _rounding(offer: Offer) -> Scalar:
    """What rounding can do to the loss."""
    return offer.loss.rounding(offer.state.z, offer.state.scale, offer.before)


def _slope(offer: Offer, dz: Flat) -> Scalar:
    """g dz: what the loss gains along a way, by its gradient."""
    return jnp.sum(offer.loss.gradient(offer.state.z) * dz)


def _promised(offer: Offer, step: Step) -> Scalar:
    """What the gradient promises for the way that z has gone: -g (z+ - z)."""
    return jnp.maximum(-_slope(offer, step.state.z - offer.state.z), 0.0)


def _holds(step: Step) -> Bool[Array, ""]:
    return jnp.asarray(step.result) <= LAST_CODE_THAT_GOES_ON


def _loss(offer: Offer, step: Step) -> Scalar:
    """L at the point of a step."""
    return offer.loss(step.state.z) if step.loss is None else step.loss


def _tried(offer: Offer, size: Scalar, rule: Inverse) -> Step:
    """The step of a size by a rule, with its loss, of one kind for all rules."""
    return _uniform(offer.attempt(size, rule))


def _ended(offer: Offer, step: Step, served: Bool[Array, ""]) -> Step:
    """The step with its result: what the last point tried was, where none served.

    Where the loss rises, by no more than rounding, the run stays.
    """
    loss = _loss(offer, step)
    vain = jnp.where(jnp.isfinite(loss), Result.stalled.code, Result.non_finite.code)
    vain = jnp.where(_holds(step), vain, step.result)
    going_on = jnp.where(_holds(step), step.result, Result.completed.code)
    result = jnp.where(served, going_on, vain).astype(jnp.int32)
    higher = served & (loss > offer.before)
    return eqx.tree_at(lambda s: (s.result, s.rejected), step, (result, higher))


def _with_rung(step: Step, rung: Code | int, rejections: Array) -> Step:
    """The step with what its certificate says of the search for it."""
    if step.certificate is None:
        return step
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
