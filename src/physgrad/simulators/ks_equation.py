"""The Kuramoto-Sivashinsky equation: u_t + u u_x + u_xx + u_xxxx = 0, chaos."""

from __future__ import annotations

from typing import Any

from physgrad.basis import Basis
from physgrad.simulator import Simulator
from physgrad.simulators.checks import at_least_zero, grid, number, sides
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.pseudo_spectral import convection, nonlinear_waves


def kuramoto_sivashinsky(
    points: Any,
    duration: float,
    *,
    steps: int = 100,
    length: float = 22.0,
    largest_gain: float | None = None,
) -> Simulator:
    """Flames that flicker: u_t + u u_x + u_xx + u_xxxx = 0 on a circle.

    Fourier modes, free of aliases, with `steps` steps of ETDRK4, of fourth order. Long
    waves grow, short ones are damped; on a long circle the motion is chaotic.

    **The inverse** runs the equation backwards and refines what that misses. Waves that
    are damped by more than `largest_gain` are left as they are in x: after a few units
    of time these are all but the longest ones. Where the backward run does not keep its
    certificate, a damped Gauss-Newton step takes over, and the message of the run says
    so.

    **Arguments:**

    - `points`: cells of the circle; x and z have the shape (points,), in units of
        length / time, all scaled so that the coefficients are 1.
    - `duration`: t.
    - `steps`: time steps.
    - `length`: of the circle.
    - `largest_gain`: of noise, by the inverse: about the size of z over that of its
        noise; None for 1 / sqrt(eps), noise of rounding, and where that fails 300.

    **Raises:** `ValueError` for less than 2 points or 1 step, a duration below zero, or
    a gain that is not positive.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> flame = pg.simulators.kuramoto_sivashinsky(32, duration=1.0, steps=10)
    >>> x = jnp.cos(2 * jnp.pi * jnp.arange(32) / 32)
    >>> print(jnp.abs(jnp.mean(flame(x))) < 1e-5)                  # the mean stays
    True

    **Source:** Kassam and Trefethen, "Fourth-order time-stepping for stiff PDEs", SIAM
    J. Sci. Comput. 26, 2005, section 4.
    """
    shape = grid(points, dimensions=(1,))
    basis = Basis(shape, sides(number("length", length), shape))
    linear = basis.squares - basis.squares**2
    time, count = at_least_zero("duration", duration), checked_steps(steps)
    nonlinear = convection(basis, scale=1.0)
    return nonlinear_waves(basis, linear, nonlinear, time, count, largest_gain)
