"""A pendulum: moved freely, or driven by a torque."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from physgrad.simulator import Simulator
from physgrad.simulators.checks import array, at_least_zero, number
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.symplectic import (
    DrivenMotion,
    FrictionlessMotion,
    check_step,
    frictionless,
)


class Gravity(eqx.Module):
    """q'' = -omega^2 sin q."""

    frequency: Array

    def __call__(self, q: Array) -> Array:
        return -(self.frequency**2) * jnp.sin(q)


def pendulum(duration: float, *, steps: int = 100, frequency: float = 1.0) -> Simulator:
    """A pendulum without friction, q'' = -omega^2 sin q: from (q, q') to (q, q').

    Steps are symplectic, of fourth order: the energy swings about its value without
    drift.

    **The inverse** takes the steps backwards: exact to rounding, which grows where the
    pendulum stands nearly upright.

    **Arguments:**

    - `duration`: in units of time; `steps`: time steps. x and z have the shape (2,):
        the angle in radians, zero where it hangs, and its rate.
    - `frequency`: omega = sqrt(g / length), of small oscillations, in radians per time.

    **Raises:** `ValueError` for a duration below zero, a frequency that is not
    positive, less than 1 step, or steps too long for the frequency.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> swing = pg.simulators.pendulum(duration=1.0)
    >>> print(swing(jnp.array([0.01, 0.0]))[0] / 0.01 - jnp.cos(1.0) < 1e-4)
    True

    **Source:** Hairer, Lubich, Wanner, Geometric Numerical Integration, 2nd ed., 2006,
    section I.1.
    """
    motion = _motion(duration, steps, frequency)
    return frictionless(
        motion.acceleration, (), motion.steps * float(motion.dt), motion.steps
    )


def driven_pendulum(
    initial: Any = (0.0, 0.0),
    duration: float = 10.0,
    *,
    steps: int = 100,
    frequency: float = 1.0,
) -> Simulator:
    """A pendulum with a motor: from a torque in each step to (q, q') at the end.

    q'' = -omega^2 sin q + u. **The inverse** is numerical: many torques lead to one
    state, and the nearest to the present ones are taken. z is the angle itself, not
    modulo 2 pi: to swing up is to go to pi, or to -pi, as asked.

    **Arguments:**

    - `initial`: (q, q') at the start, in radians and radians per time. z has this
        shape; x has the shape (steps,): torque over moment of inertia, in radians /
        time^2.
    - `duration`, `steps`, `frequency`: as in `pendulum`.

    **Raises:** as `pendulum`; `ValueError` for an initial state of another shape.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> motor = pg.simulators.driven_pendulum(duration=1.0, steps=10)
    >>> print(motor(jnp.zeros(10)))
    [0. 0.]

    **Source:** Furuta, Yamakita, Kobayashi, "Swing-up control of inverted pendulum
    using pseudo-state feedback", J. Systems and Control Eng. 206, 1992 (the task).
    """
    start = array("initial", initial, (2,))
    motion = _motion(duration, steps, frequency)
    return Simulator(
        DrivenMotion(jnp.asarray(start), motion.steps, motion, jnp.asarray(1.0))
    )


def _motion(duration: float, steps: int, frequency: float) -> FrictionlessMotion:
    count, time = checked_steps(steps), at_least_zero("duration", duration)
    omega = number("frequency", frequency)
    check_step(omega, time, count)
    gravity = Gravity(jnp.asarray(omega))
    return FrictionlessMotion(count, gravity, (), jnp.asarray(time / count), order=4)
