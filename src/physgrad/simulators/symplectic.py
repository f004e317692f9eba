"""Motion without friction: steps that keep areas in phase space, and can be undone."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.simulator import Simulator
from physgrad.simulators.checks import check_field
from physgrad.simulators.rollout import Driven, Evolution

# Parts of a step that Strang's is taken over: order 2, and Yoshida's order 4.
_OUTER = 1 / (2 - 2 ** (1 / 3))
PARTS = {2: (1.0,), 4: (_OUTER, 1 - 2 * _OUTER, _OUTER)}
# Beyond dt omega = 2 Strang's step of an oscillator grows without end; of order 4,
# beyond this.
STABLE = {2: 2.0, 4: 1.573}

Acceleration = Callable[[Array], Array]


class FrictionlessMotion(Evolution):
    """q'' = a(q): drift, kick, drift; the state is (q, v) on the first axis.

    A step of -dt undoes one of dt, to rounding.

    **Source:** Hairer, Lubich, Wanner, Geometric Numerical Integration, 2nd ed., 2006,
    sections I.1.4 and II.4 (Yoshida, Phys. Lett. A 150, 1990).
    """

    steps: int = eqx.field(static=True)
    acceleration: Acceleration
    """a(q), of q's shape."""
    shape: tuple[int, ...] = eqx.field(static=True)
    """Of q."""
    dt: Float[Array, ""]
    """Negative for a run backwards."""
    order: int = eqx.field(static=True)

    def begin(self, x: Array) -> Array:
        check_field("x", x.shape, (2, *self.shape))
        return x

    def later(self, state: Array) -> Array:
        return self.driven(state, 0.0)

    def driven(self, state: Array, push: Array | float) -> Array:
        """A step with a further acceleration, the same all along."""
        q, v = state
        for part in PARTS[self.order]:
            dt = part * self.dt
            q = q + dt / 2 * v
            v = v + dt * (self.acceleration(q) + push)
            q = q + dt / 2 * v
        return jnp.stack([q, v])


class DrivenMotion(Driven):
    """From a push in each time step to (q, v) at the end, from one (q, v)."""

    initial: Float[Array, "..."]
    steps: int = eqx.field(static=True)
    motion: FrictionlessMotion
    direction: Float[Array, "..."]
    """Acceleration by a push of 1, of q's shape."""

    def driven(self, state: Array, given: Array) -> Array:
        return self.motion.driven(state, given * self.direction)


def frictionless(
    acceleration: Acceleration,
    shape: tuple[int, ...],
    duration: float,
    steps: int,
    order: int = 4,
) -> Simulator:
    """The motion of q'' = a(q) for some time, and the same backwards."""
    forward, backward = (
        FrictionlessMotion(steps, acceleration, shape, jnp.asarray(time / steps), order)
        for time in (duration, -duration)
    )
    return Simulator(forward, AnalyticInverse(backward, one_to_one=True))


def check_step(fastest: float, duration: float, steps: int, order: int = 4) -> None:
    """Refuse steps too long for the fastest frequency, in radians per time."""
    dt = duration / steps
    if fastest * dt > STABLE[order]:
        least = int(np.ceil(fastest * duration / STABLE[order]))
        raise ValueError(
            f"steps must be {least} or more for the fastest oscillation, "
            f"{fastest:.3g} radians per unit of time, got {steps}: beyond that the "
            "steps grow without end"
        )
