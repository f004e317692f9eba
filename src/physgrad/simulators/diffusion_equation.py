"""Diffusion in a box, u_t = nu Laplace u + f, exact in time: of a state, a source."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from physgrad.basis import BOUNDARIES, Basis
from physgrad.inverses.diagonal import DiagonalInverse
from physgrad.names import PENALTIES
from physgrad.simulator import Simulator
from physgrad.simulators.checks import at_least_zero, choice, grid, number, sides
from physgrad.simulators.linear_waves import WaveDecay, WaveFilter


def diffusion(
    shape: Any,
    duration: float,
    *,
    diffusivity: float = 1.0,
    lengths: Any = 1.0,
    boundary: str = "periodic",
    noise: float | None = 0.0,
    operator: str = "gradient",
) -> Simulator:
    """Heat that spreads: u_t = nu (u_xx + u_yy), from u at time 0 to u at the end.

    Each wave is multiplied by exp(-nu |k|^2 t), exactly.

    **The inverse** divides by that, and so multiplies noise by exp(nu |k|^2 t): it is a
    `DiagonalInverse`, which recovers the waves that stand above the noise, and leaves
    the others as they are in x. It cannot bring back what is below it: with nu t = 8 in
    units of cells and the rounding of float64, waves shorter than about 3 cells.

    **Arguments:**

    - `shape`: cells along each axis, one to three of them; x and z have this shape, in
        any unit.
    - `duration`: t, in units of time.
    - `diffusivity`: nu, in units of length^2 / time.
    - `lengths`: sides of the box: one number, or one for each axis.
    - `boundary`: "periodic", "neumann" (no flux through the walls) or "dirichlet" (u =
        0 there).
    - `noise`: standard deviation of the entries of the z that is to be inverted, in the
        unit of x; 0 for that of rounding, None for unknown.
    - `operator`: of the inverse: "identity", "gradient" or "laplacian" of x is small.

    **Raises:** `ValueError` for a grid of less than 2 cells, a duration, diffusivity
    or noise below zero, or an unknown boundary.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> heat = pg.simulators.diffusion((16,), duration=1e-3)
    >>> x = jnp.zeros(16).at[5].set(1.0)
    >>> objective = pg.Objective(heat, pg.SquaredLoss(heat(x)))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.zeros(16), 1)
    >>> print(jnp.abs(run.x - x).max() < 1e-3)
    True

    **Source:** Evans, Partial Differential Equations, section 4.3.1.a.
    """
    basis = _box(shape, lengths, boundary, operator)
    time = at_least_zero("duration", duration)
    rates = number("diffusivity", diffusivity) * basis.squares
    forward = WaveDecay(basis, jnp.asarray(rates), jnp.asarray(time))
    gains = jnp.asarray(np.exp(-rates * time))
    return Simulator(forward, DiagonalInverse(basis, gains, noise, operator))


def heating(
    shape: Any,
    duration: float,
    *,
    diffusivity: float = 1.0,
    lengths: Any = 1.0,
    boundary: str = "dirichlet",
    noise: float | None = 0.0,
    operator: str = "gradient",
) -> Simulator:
    """What a source heats: u_t = nu (u_xx + u_yy) + f, from f to u at the end.

    u = 0 at the start, and f does not change: each wave of f is multiplied by (1 -
    exp(-nu |k|^2 t)) / (nu |k|^2), exactly.

    **The inverse** divides by that, and so multiplies noise by up to nu |k|^2, as two
    derivatives do: it is a `DiagonalInverse`, which recovers the waves that stand above
    the noise, and leaves the others as they are in x.

    **Arguments:** as in `diffusion`; x, the source f, has the unit of u / time.

    **Raises:** as `diffusion`, and `ValueError` for a duration of zero.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> plate = pg.simulators.heating((8, 8), duration=0.1)
    >>> f = jnp.ones((8, 8))
    >>> objective = pg.Objective(plate, pg.SquaredLoss(plate(f)))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), 0 * f, num_steps=1)
    >>> print(jnp.abs(run.x - f).max() < 1e-3)
    True

    **Source:** Evans, Partial Differential Equations, section 2.3.1.c.
    """
    basis = _box(shape, lengths, boundary, operator)
    time = number("duration", duration)
    rates = number("diffusivity", diffusivity) * basis.squares
    lasting = rates > 0
    cooling = np.where(lasting, rates, 1.0)
    gains = np.where(lasting, -np.expm1(-cooling * time) / cooling, time)
    forward = WaveFilter(basis, jnp.asarray(gains))
    return Simulator(forward, DiagonalInverse(basis, gains, noise, operator))


def _box(shape: Any, lengths: Any, boundary: str, operator: str) -> Basis:
    choice("operator", operator, PENALTIES)
    shape = grid(shape)
    known = choice("boundary", boundary, BOUNDARIES)
    return Basis(shape, sides(lengths, shape), known)
