"""The wave equation, u_tt = c^2 Laplace u, exact in time."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.basis import BOUNDARIES, Basis
from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.settings import whole_number
from physgrad.simulator import Simulator
from physgrad.simulators.checks import (
    at_least_zero,
    check_field,
    choice,
    grid,
    number,
    sides,
)
from physgrad.simulators.precision import like_x


class WaveMotion(eqx.Module):
    """Each wave swings at its own frequency: a turn of (u, v / omega) by omega t."""

    basis: Basis
    frequencies: Float[Array, "..."]
    """omega = c |k|."""
    time: Float[Array, ""]

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, (2, *self.basis.shape))
        displacement, velocity = self.basis.to(x)
        omega = self.frequencies
        angle = omega * self.time
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        # sin(omega t) / omega, which is t for the wave that does not swing
        over = self.time * jnp.sinc(angle / jnp.pi)
        waves = [
            cosine * displacement + over * velocity,
            cosine * velocity - omega * sine * displacement,
        ]
        return self.basis.back(jnp.stack(waves))

    @like_x
    def rollout(self, x: Array, frames: int) -> Array:
        """The states at so many times after that of x, which stands in front."""
        frames = whole_number("frames", 1)(frames)
        times = self.time * jnp.arange(frames + 1) / frames
        at = jax.vmap(lambda t: WaveMotion(self.basis, self.frequencies, t)(x))
        return at(times)

    @like_x
    def energy(self, x: Array) -> Array:
        """1/2 the mean of v^2 + c^2 |grad u|^2, which stays."""
        displacement, velocity = self.basis.to(x)
        omega = self.frequencies
        squares = jnp.abs(velocity) ** 2 + jnp.abs(omega * displacement) ** 2
        many = jnp.asarray(self.basis.multiplicity, x.dtype)
        return jnp.sum(many * squares) / (2 * self.basis.size)


def wave(
    shape: Any,
    duration: float,
    *,
    speed: float = 1.0,
    lengths: Any = 1.0,
    boundary: str = "periodic",
) -> Simulator:
    """Waves: u_tt = c^2 (u_xx + u_yy), from (u, u_t) at time 0 to (u, u_t) at the end.

    Each wave swings at the frequency c |k|, exactly. The energy of the field stays.

    **The inverse** runs the waves backwards: exact, at any duration.

    **Arguments:**

    - `shape`: cells along each axis, one to three. x and z have the shape (2, *shape):
        displacement, in any unit, and velocity, in that unit / time.
    - `duration`: t, in units of time.
    - `speed`: c, in units of length / time.
    - `lengths`: sides of the box: one number, or one for each axis.
    - `boundary`: "periodic", "neumann" (walls that are free) or "dirichlet" (u = 0).

    **Raises:** `ValueError` for a grid of less than 2 cells, a duration below zero, a
    speed that is not positive or an unknown boundary.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> string = pg.simulators.wave((4,), duration=1.0)     # once around
    >>> x = jnp.array([[0.0, 1.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    >>> print(jnp.abs(string(x) - x).max() < 1e-5)
    True

    **Source:** Evans, Partial Differential Equations, section 4.3.1.b.
    """
    shape = grid(shape)
    basis = Basis(
        shape, sides(lengths, shape), choice("boundary", boundary, BOUNDARIES)
    )
    time = jnp.asarray(at_least_zero("duration", duration))
    frequencies = jnp.asarray(number("speed", speed) * basis.squares**0.5)
    forward = WaveMotion(basis, frequencies, time)
    backward = WaveMotion(basis, frequencies, -time)
    return Simulator(forward, AnalyticInverse(backward, one_to_one=True))
