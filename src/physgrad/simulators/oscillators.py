"""Chains of oscillators, linear and not: moved freely, or driven at one end."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from physgrad.simulator import Simulator
from physgrad.simulators.checks import (
    any_number,
    array,
    at_least_zero,
    whole_number,
)
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.symplectic import (
    DrivenMotion,
    FrictionlessMotion,
    check_step,
    frictionless,
)


class ChainForce(eqx.Module):
    """a_i = -k q_i + sum over neighbors of coupling d + cubic d^3, d = q_j - q_i."""

    stiffness: Array
    coupling: Array
    cubic: Array

    def __call__(self, q: Array) -> Array:
        d = jnp.diff(q)
        pull = self.coupling * d + self.cubic * d**3
        return -self.stiffness * q + jnp.pad(pull, (0, 1)) - jnp.pad(pull, (1, 0))


def oscillator_chain(
    masses: int,
    duration: float,
    *,
    steps: int = 100,
    stiffness: float = 1.0,
    coupling: float = 0.2,
    cubic: float = 0.0,
) -> Simulator:
    """Masses on springs, coupled to their neighbors, from (q, v) to (q, v) at the end.

    q_i'' = -k q_i + sum over neighbors of (coupling d + cubic d^3), d = q_j - q_i; the
    ends are free. Steps are symplectic, of fourth order: the energy swings about its
    value without drift.

    **The inverse** takes the steps backwards: exact to rounding, which a chaotic chain
    (large `cubic`) amplifies with time.

    **Arguments:**

    - `masses`: how many, 1 or more. x and z have the shape (2, masses): positions and
        velocities, of unit masses.
    - `duration`: in units of time; `steps`: time steps.
    - `stiffness`: k, of the spring of each mass, in units of 1 / time^2.
    - `coupling`: of neighbors, in the same unit; `cubic`: 1 / (length time)^2.

    **Raises:** `ValueError` for no mass, less than 1 step, a duration or stiffness
    below zero, and for steps too long for the fastest oscillation of the linear chain.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> chain = pg.simulators.oscillator_chain(2, duration=6.283185, coupling=0.0)
    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> print(jnp.abs(chain(x) - x).max() < 1e-3)                 # one period
    True

    **Source:** Holl et al., "Half-Inverse Gradients for Physical Deep Learning", ICLR
    2022, section 3.1 (the chain).
    """
    count = whole_number("masses", 1)(masses)
    force = _force(stiffness, coupling, cubic)
    time, number_of_steps = at_least_zero("duration", duration), checked_steps(steps)
    check_step(_fastest(force), time, number_of_steps)
    return frictionless(force, (count,), time, number_of_steps)


def driven_oscillators(
    initial: Any,
    duration: float,
    *,
    steps: int = 24,
    stiffness: float = 1.0,
    coupling: float = 0.2,
    cubic: float = 0.0,
    gain: float = 1.0,
) -> Simulator:
    """The same chain, driven: from a push of the last mass in each step to (q, v).

    **The inverse** is numerical: many pushes lead to one state, and the nearest to the
    present ones are taken. Without `cubic` the map is affine, and one step is enough.

    **Arguments:**

    - `initial`: (q, v) at the start, shape (2, masses). z has this shape; x has the
        shape (steps,): accelerations of the last mass, over `gain`.
    - `duration`, `steps`, `stiffness`, `coupling`, `cubic`: as in `oscillator_chain`.
    - `gain`: acceleration by a push of 1.

    **Raises:** as `oscillator_chain`; `ValueError` for an initial state of another
    shape, or with NaN in it.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> start = [[1.0, 0.0], [0.0, 0.0]]
    >>> driven = pg.simulators.driven_oscillators(start, duration=12.0)
    >>> driven(jnp.zeros(24)).shape
    (2, 2)

    **Source:** Holl et al., "Half-Inverse Gradients for Physical Deep Learning", ICLR
    2022, section 3.1.
    """
    start = array("initial", initial, (2, None))
    force = _force(stiffness, coupling, cubic)
    time, count = at_least_zero("duration", duration), checked_steps(steps)
    check_step(_fastest(force), time, count)
    shape = start.shape[1:]
    dt = jnp.asarray(time / count)
    motion = FrictionlessMotion(count, force, shape, dt, order=4)
    direction = np.zeros(shape)
    direction[-1] = any_number("gain", gain)
    return Simulator(
        DrivenMotion(jnp.asarray(start), count, motion, jnp.asarray(direction))
    )


def _force(stiffness: float, coupling: float, cubic: float) -> ChainForce:
    return ChainForce(
        jnp.asarray(at_least_zero("stiffness", stiffness)),
        jnp.asarray(any_number("coupling", coupling)),
        jnp.asarray(any_number("cubic", cubic)),
    )


def _fastest(force: ChainForce) -> float:
    """The highest frequency that the linear chain can have."""
    return float(force.stiffness + 4 * jnp.maximum(force.coupling, 0.0)) ** 0.5
