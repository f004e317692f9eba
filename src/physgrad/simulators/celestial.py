"""Bodies that attract each other, and what is seen of an orbit."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.simulator import Simulator
from physgrad.simulators.checks import (
    array,
    at_least_zero,
    check_field,
    number,
    whole_number,
)
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.precision import like_x
from physgrad.simulators.rollout import advance
from physgrad.simulators.symplectic import FrictionlessMotion, frictionless


class Attraction(eqx.Module):
    """a_i = sum over j of G m_j d / (|d|^2 + softening^2)^(3/2), d = q_j - q_i."""

    weights: Float[Array, " bodies"]
    """G m_j."""
    softening: float = eqx.field(static=True)

    def __call__(self, q: Array) -> Array:
        d = q - q[:, None]
        squares = jnp.sum(d**2, axis=-1) + self.softening**2
        # a body does not attract itself; guarded, so that derivatives are finite, too
        apart = squares + jnp.eye(len(q), dtype=q.dtype)
        pull = self.weights / apart**1.5
        return jnp.einsum("ij,ijk->ik", pull, d)


class CentralAttraction(eqx.Module):
    """q'' = -mu q / |q|^3."""

    mu: Float[Array, ""]

    def __call__(self, q: Array) -> Array:
        return -self.mu * q / jnp.sum(q**2) ** 1.5


class SeenOrbit(eqx.Module):
    """Positions at equal times, the first one after the start, from (q, v) there."""

    motion: FrictionlessMotion
    """From one time to the next."""
    times: int = eqx.field(static=True)

    @like_x
    def __call__(self, x: Array) -> Array:
        return self.rollout(x, self.times)[1:, 0]

    @like_x
    def rollout(self, x: Array, frames: int) -> Array:
        """The states (q, v) at these times, the start in front."""
        del frames
        check_field("x", x.shape, (2, *self.motion.shape))

        def one(state: Array, _: None) -> tuple[Array, Array]:
            after = advance(self.motion.later, state, self.motion.steps)
            return after, after

        _, after = jax.lax.scan(one, x, None, self.times)
        return jnp.concatenate([x[None], after])


def n_body(
    masses: Any,
    duration: float,
    *,
    steps: int = 400,
    dimensions: int = 2,
    gravity: float = 1.0,
    softening: float = 0.0,
) -> Simulator:
    """Bodies that attract each other, from (q, v) at time 0 to (q, v) at the end.

    q_i'' = sum over j of G m_j d / (|d|^2 + softening^2)^(3/2), d = q_j - q_i. Steps
    are symplectic, of fourth order. Momentum and angular momentum stay, to rounding;
    the energy swings about its value without drift, but for close encounters, which
    need shorter steps.

    **The inverse** takes the steps backwards: exact to rounding, which close encounters
    amplify.

    **Arguments:**

    - `masses`: of the bodies, shape (bodies,). x and z have the shape (2, bodies,
        dimensions): positions and velocities.
    - `duration`: in units of time; `steps`: time steps.
    - `dimensions`: 2 or 3.
    - `gravity`: G, in units of length^3 / (mass time^2).
    - `softening`: a length, below which the attraction falls; 0 for points.

    **Raises:** `ValueError` for masses that are negative or no list of numbers, a
    duration or softening below zero, less than 1 step, or other dimensions.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> two = pg.simulators.n_body([1.0, 0.0], duration=6.283185)
    >>> x = jnp.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    >>> print(jnp.abs(two(x) - x).max() < 1e-3)                   # one year
    True

    **Source:** Hairer, Lubich, Wanner, Geometric Numerical Integration, 2nd ed., 2006,
    section I.2.
    """
    weights = array("masses", masses, (None,))
    if (weights < 0).any():
        raise ValueError(f"masses must be zero or positive, got {weights.min():.3g}")
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3, got {dimensions}")
    strength = jnp.asarray(number("gravity", gravity) * weights)
    force = Attraction(strength, at_least_zero("softening", softening))
    time, count = at_least_zero("duration", duration), checked_steps(steps)
    return frictionless(force, (len(weights), dimensions), time, count)


def seen_orbit(
    duration: float,
    *,
    times: int = 20,
    steps: int = 20,
    dimensions: int = 2,
    mu: float = 1.0,
) -> Simulator:
    """Where a body around a star is seen: from (q, v) at time 0 to q at equal times.

    q'' = -mu q / |q|^3, in symplectic steps of fourth order.

    **The inverse** is numerical: more is seen than determines an orbit, so that z is
    mostly out of range, and the orbit nearest to it is found. Orbits with other
    numbers of turns between two times are other branches: the start decides.

    **Arguments:**

    - `duration`: from the start to the last time, in units of time.
    - `times`: how many. x has the shape (2, dimensions): position and velocity; z has
        the shape (times, dimensions): positions.
    - `steps`: time steps from one time to the next.
    - `dimensions`: 2 or 3.
    - `mu`: G times the mass of the star, in units of length^3 / time^2.

    **Raises:** `ValueError` for a duration below zero, a mu that is not positive, no
    time or step, or other dimensions.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> orbit = pg.simulators.seen_orbit(duration=6.283185, times=4)
    >>> circle = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(jnp.abs(orbit(circle)[-1] - circle[0]).max() < 1e-3)
    True

    **Source:** Gauss, Theoria Motus, 1809 (the task).
    """
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3, got {dimensions}")
    seen, count = whole_number("times", 1)(times), checked_steps(steps)
    dt = jnp.asarray(at_least_zero("duration", duration) / (seen * count))
    force = CentralAttraction(jnp.asarray(number("mu", mu)))
    motion = FrictionlessMotion(count, force, (dimensions,), dt, order=4)
    return Simulator(SeenOrbit(motion, seen))
