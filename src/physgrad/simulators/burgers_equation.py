"""Burgers' equation: u_t + u u_x = nu u_xx, waves that steepen and wear off."""

from __future__ import annotations

from typing import Any

from physgrad.basis import Basis
from physgrad.simulator import Simulator
from physgrad.simulators.checks import at_least_zero, grid, number, sides
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.pseudo_spectral import convection, nonlinear_waves


def burgers(
    points: Any,
    duration: float,
    *,
    viscosity: float = 0.01,
    steps: int = 100,
    length: float = 1.0,
    largest_gain: float | None = None,
) -> Simulator:
    """Waves that steepen and wear off: u_t + u u_x = nu u_xx on a circle.

    Fourier modes, free of aliases, with `steps` steps of ETDRK4, of fourth order. A
    step is to be short for the fastest value: max |u| dt < length / points; with longer
    ones the run is not finite, and says so.

    **The inverse** runs the equation backwards and refines what that misses, exact to
    rounding while no shock has formed: until about 1 / max(-u_x). It leaves as they are
    in x the waves that viscosity damps by more than `largest_gain`. Later, information
    is gone: where the backward run does not keep its certificate, a damped
    Gauss-Newton step takes over, and the message of the run says so.

    **Arguments:**

    - `points`: cells of the circle; x and z have the shape (points,), in units of
        length / time.
    - `duration`: t, in units of time.
    - `viscosity`: nu, in units of length^2 / time.
    - `steps`: time steps.
    - `length`: of the circle.
    - `largest_gain`: of noise, by the inverse: about the size of z over that of its
        noise; None for 1 / sqrt(eps), noise of rounding, and where that fails 300.

    **Raises:** `ValueError` for less than 2 points or 1 step, a duration or viscosity
    below zero, or a gain that is not positive.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> waves = pg.simulators.burgers(32, duration=0.1, steps=20)
    >>> x = jnp.sin(2 * jnp.pi * jnp.arange(32) / 32)
    >>> print(jnp.abs(waves(x)).max() < 1.0)
    True

    **Source:** Whitham, Linear and Nonlinear Waves, 1974, chapter 4.
    """
    shape = grid(points, dimensions=(1,))
    basis = Basis(shape, sides(number("length", length), shape))
    linear = -at_least_zero("viscosity", viscosity) * basis.squares
    time, count = at_least_zero("duration", duration), checked_steps(steps)
    nonlinear = convection(basis, scale=1.0)
    return nonlinear_waves(basis, linear, nonlinear, time, count, largest_gain)
