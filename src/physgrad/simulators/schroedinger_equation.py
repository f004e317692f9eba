"""The Schroedinger equation, i psi_t = -1/2 Laplace psi + V psi."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from physgrad.basis import Basis
from physgrad.inverses.analytic import AnalyticInverse
from physgrad.simulator import Simulator
from physgrad.simulators.checks import (
    array,
    at_least_zero,
    check_field,
    grid,
    sides,
)
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.rollout import Evolution


class SplitSteps(Evolution):
    """exp(-i V dt / 2) U^-1 exp(-i |k|^2 dt / 2) U exp(-i V dt / 2), many times."""

    steps: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    kinetic: Complex[Array, "..."]
    """exp(-i |k|^2 dt / 2)."""
    potential: Complex[Array, "..."] | None
    """exp(-i V dt / 2)."""

    def begin(self, x: Array) -> Array:
        check_field("x", x.shape, (2, *self.shape))
        return x[0] + 1j * x[1]

    def later(self, state: Array) -> Array:
        kinetic = self.kinetic
        if self.potential is None:
            return jnp.fft.ifftn(kinetic * jnp.fft.fftn(state))
        half = self.potential
        return half * jnp.fft.ifftn(kinetic * jnp.fft.fftn(half * state))

    def end(self, state: Array) -> Array:
        return jnp.stack([state.real, state.imag])


def schroedinger(
    shape: Any,
    duration: float,
    *,
    potential: Any = None,
    steps: int = 1,
    lengths: Any = 1.0,
) -> Simulator:
    """A quantum wave in a periodic box: i psi_t = -1/2 (psi_xx + psi_yy) + V psi.

    Without a potential each wave turns by exp(-i |k|^2 t / 2), exactly; with one, in
    steps of Strang's splitting, of second order. The norm of psi stays to rounding.

    **The inverse** takes the steps backwards: it is exact to rounding, potential or
    not, since each of them is a turn that is undone.

    **Arguments:**

    - `shape`: cells along each axis, one to three. x and z have the shape (2, *shape):
        the real and the imaginary part of psi.
    - `duration`: t, in units of length^2 (hbar = mass = 1).
    - `potential`: V at the middles of the cells, of that shape, in units of 1 / time.
    - `steps`: time steps, for a potential.
    - `lengths`: sides of the box: one number, or one for each axis.

    **Raises:** `ValueError` for a grid of less than 2 cells, a duration below zero, a
    potential of another shape or that is not finite, or less than one step.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> packet = pg.simulators.schroedinger((16,), duration=0.01)
    >>> x = jnp.zeros((2, 16)).at[0, 3].set(1.0)
    >>> print(jnp.linalg.norm(packet(x)).round(4))
    1.0

    **Source:** Strang, "On the construction and comparison of difference schemes", SIAM
    J. Numer. Anal. 5, 1968.
    """
    shape = grid(shape)
    lengths = sides(lengths, shape)
    count, time = checked_steps(steps), at_least_zero("duration", duration) / steps
    v = None if potential is None else array("potential", potential, shape)
    squares = _squares(Basis(shape, lengths))

    def split(dt: float) -> SplitSteps:
        phase = None if v is None else jnp.asarray(np.exp(-0.5j * v * dt))
        kinetic = jnp.asarray(np.exp(-0.5j * squares * dt))
        return SplitSteps(count, shape, kinetic, phase)

    return Simulator(split(time), AnalyticInverse(split(-time), one_to_one=True))


def _squares(basis: Basis) -> np.ndarray:
    """|k|^2 of all waves of a complex field."""
    pairs = zip(basis.shape, basis.lengths, strict=True)
    waves = [2 * np.pi * np.fft.fftfreq(n, length / n) for n, length in pairs]
    return np.asarray(sum(k**2 for k in np.meshgrid(*waves, indexing="ij")))
