"""The Poisson equation: from a source to the potential that it makes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from physgrad.basis import BOUNDARIES, Basis
from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.diagonal import DiagonalInverse
from physgrad.inverses.rule import Inverse
from physgrad.names import PENALTIES
from physgrad.simulator import Simulator
from physgrad.simulators.checks import at_least_zero, check_field, choice, grid, sides
from physgrad.simulators.linear_waves import WaveFilter

# The value beyond a wall, as a multiple of that in the cell before it.
GHOSTS = {"neumann": 1.0, "dirichlet": -1.0}


class ScreenedLaplacian(eqx.Module):
    """f = s^2 u - Laplace u, by differences of each cell and its neighbors."""

    basis: Basis
    screening: float = eqx.field(static=True)

    def __call__(self, u: Array) -> Array:
        check_field("u", u.shape, self.basis.shape)
        f = self.screening**2 * u
        pairs = zip(self.basis.shape, self.basis.lengths, strict=True)
        for axis, (count, length) in enumerate(pairs):
            f = f - _second_difference(u, axis, self.basis.boundary) * (
                (count / length) ** 2
            )
        return f

    def eigenvalues(self) -> np.ndarray:
        """Of each wave: s^2 + sum (2 sin(k h / 2) / h)^2."""
        parts = [
            (2 * np.sin(k * length / count / 2) * count / length) ** 2
            for k, count, length in zip(
                self.basis.wavenumbers,
                self.basis.shape,
                self.basis.lengths,
                strict=True,
            )
        ]
        return np.asarray(sum(parts) + self.screening**2)


class SourceOf(eqx.Module):
    """The source of a potential; with no screening nor cold wall its mean is that of x.

    A constant source has no potential there, and none shows it.
    """

    laplacian: ScreenedLaplacian
    keeps_mean: bool = eqx.field(static=True)

    def __call__(self, z: Array, x: Array) -> Array:
        f = self.laplacian(z)
        return f - jnp.mean(f) + jnp.mean(x) if self.keeps_mean else f


def poisson(
    shape: Any,
    *,
    lengths: Any = 1.0,
    boundary: str = "dirichlet",
    screening: float = 0.0,
    noise: float | None = 0.0,
    operator: str = "gradient",
) -> Simulator:
    """The potential u of a source f: s^2 u - u_xx - u_yy = f in a box.

    Differences between neighbors, of second order, solved exactly by their waves.

    **The inverse** applies the differences to u: it is exact and cheaper than the
    simulator itself. It multiplies noise by up to 4 / h^2 for each axis, h a cell; with
    `noise` it is a `DiagonalInverse` instead, which recovers what stands above that.
    Without screening, periodic boxes and those with neumann walls have no potential for
    the mean of f: that of z is zero, and the inverse leaves that of x as it is; a z
    with another mean is not reached, and the run ends as `inverse_failed`.

    **Arguments:**

    - `shape`: cells along each axis, one to three; x (the source, in units of u /
        length^2) and z (the potential u) have this shape.
    - `lengths`: sides of the box: one number, or one for each axis.
    - `boundary`: "periodic", "neumann" (no flux through the walls) or "dirichlet" (u =
        0 there, half a cell beyond the last middle).
    - `screening`: s, in units of 1 / length.
    - `noise`: standard deviation of the entries of the z that is to be inverted, in the
        unit of u; 0 for the exact inverse, None for unknown.
    - `operator`: of the inverse with noise: "identity", "gradient" or "laplacian" of x
        is small.

    **Raises:** `ValueError` for a grid of less than 2 cells, an unknown boundary or
    operator, or a screening or noise below zero.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> potential = pg.simulators.poisson((8, 8))
    >>> f = jnp.ones((8, 8))
    >>> u = potential(f)
    >>> print(jnp.abs(potential.inverse.function(u, f) - f).max() < 1e-4)
    True

    **Source:** LeVeque, Finite Difference Methods for Ordinary and Partial Differential
    Equations, 2007, chapter 3.
    """
    shape = grid(shape)
    basis = Basis(
        shape, sides(lengths, shape), choice("boundary", boundary, BOUNDARIES)
    )
    laplacian = ScreenedLaplacian(basis, at_least_zero("screening", screening))
    values = laplacian.eigenvalues()
    singular = screening == 0 and boundary != "dirichlet"
    if singular:
        values.flat[0] = np.inf  # a constant source makes no potential
    choice("operator", operator, PENALTIES)
    forward = WaveFilter(basis, jnp.asarray(1 / values))
    inverse: Inverse = AnalyticInverse(SourceOf(laplacian, singular))
    if noise is None or at_least_zero("noise", noise) > 0:
        inverse = DiagonalInverse(basis, 1 / values, noise, operator)
    return Simulator(forward, inverse)


def _second_difference(u: Array, axis: int, boundary: str) -> Array:
    """u(i + 1) - 2 u(i) + u(i - 1) along an axis."""
    if boundary == "periodic":
        return jnp.roll(u, 1, axis) + jnp.roll(u, -1, axis) - 2 * u
    first, last = (jnp.take(u, jnp.asarray([i]), axis) for i in (0, -1))
    ghost = GHOSTS[boundary]
    wide = jnp.concatenate([ghost * first, u, ghost * last], axis)
    return jnp.diff(wide, 2, axis)
