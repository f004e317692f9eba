"""The Korteweg-de Vries equation: u_t + 6 u u_x + u_xxx = 0, solitons."""

from __future__ import annotations

from typing import Any

from physgrad.basis import Basis
from physgrad.simulator import Simulator
from physgrad.simulators.checks import at_least_zero, grid, number, sides
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.pseudo_spectral import convection, nonlinear_waves


def korteweg_de_vries(
    points: Any, duration: float, *, steps: int = 400, length: float = 20.0
) -> Simulator:
    """Waves in shallow water: u_t + 6 u u_x + u_xxx = 0 on a circle.

    Fourier modes, free of aliases, with `steps` steps of ETDRK4, of fourth order;
    dispersion is exact. Mass and energy, the means of u and u^2, stay. A step is to be
    short for the fastest value: 6 max |u| dt < length / points.

    **The inverse** runs the waves backwards and refines what that misses: exact to
    rounding, since nothing is damped, if steps are four times as short as that; longer
    ones take more refinements than there are, and it says so.

    **Arguments:**

    - `points`: cells of the circle; x and z have the shape (points,): the height, in
        units of 1 / length^2.
    - `duration`: t, in units of length^3.
    - `steps`: time steps.
    - `length`: of the circle.

    **Raises:** `ValueError` for less than 2 points or 1 step, or a duration below zero.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> water = pg.simulators.korteweg_de_vries(64, duration=0.1, steps=40)
    >>> s = (jnp.arange(64) + 0.5) * 20 / 64
    >>> soliton = lambda t: 0.5 / jnp.cosh(0.5 * (s - 8.0 - t)) ** 2
    >>> print(jnp.abs(water(soliton(0.0)) - soliton(0.1)).max() < 1e-3)
    True

    **Source:** Zabusky and Kruskal, "Interaction of 'solitons' in a collisionless
    plasma and the recurrence of initial states", Phys. Rev. Lett. 15, 1965.
    """
    shape = grid(points, dimensions=(1,))
    basis = Basis(shape, sides(number("length", length), shape))
    linear = -(basis.slopes[0] ** 3)  # of u_xxx on the other side
    time, count = at_least_zero("duration", duration), checked_steps(steps)
    nonlinear = convection(basis, scale=6.0)
    return nonlinear_waves(basis, linear, nonlinear, time, count, None)
