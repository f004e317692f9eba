"""A conductivity that varies along a rod, from the temperature that it makes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.regularized import RegularizedInverse
from physgrad.inverses.rule import Inverse
from physgrad.simulator import Simulator
from physgrad.simulators.checks import (
    array,
    at_least_zero,
    check_field,
    number,
    whole_number,
)
from physgrad.simulators.precision import like_x


class Rod(eqx.Module):
    """-(rho u')' = source, u = 0 at both ends: linear elements."""

    fallen: Float[Array, " cells"]
    """By how much the flux rho u' has fallen in each cell since the left end."""
    width: float = eqx.field(static=True)
    """Of a cell."""

    @like_x
    def __call__(self, rho: Array) -> Array:
        """u at the inner nodes, from rho in the cells."""
        check_field("x", rho.shape, self.fallen.shape)
        fallen = self.fallen
        # at the left end: u = 0 at both
        flux = jnp.sum(fallen / rho) / jnp.sum(1 / rho)
        return self.width * jnp.cumsum((flux - fallen) / rho)[:-1]

    @like_x
    def inverse(self, u: Array, rho: Array) -> Array:
        """The rho nearest to the present one that has this u.

        The flux rho u' falls by the source, from a free value c at the left end: rho =
        (c - sum of the source) / u', and c is what makes it nearest.
        """
        slope = jnp.diff(jnp.pad(u, 1)) / self.width
        part, free = -self.fallen / slope, 1 / slope
        flux = ((rho - part) @ free) / (free @ free)
        return part + flux * free


def conductivity(
    cells: int,
    *,
    source: Any = 1.0,
    length: float = 1.0,
    noise: float | None = 0.0,
    operator: str = "laplacian",
) -> Simulator:
    """The temperature of a heated rod, from its conductivity: -(rho u')' = source.

    u = 0 at both ends; linear elements, of second order.

    **The inverse** is direct: given u the equation is linear in rho. The u of n cells
    has n - 1 entries, so rho is determined but for one number, which is left nearest to
    the present rho. Where u' = 0, u says nothing of rho: the direct inverse is good
    for exact u alone, and from a noise of 1e-4 of u on it is useless. With `noise` the
    inverse is a `RegularizedInverse`, and rho as smooth as that allows.

    **Arguments:**

    - `cells`: of the rod, 2 or more. x has the shape (cells,): rho in each, positive,
        in units of power / (length temperature); z has the shape (cells - 1,): u at
        the nodes between them.
    - `source`: power per length: a number, or an array of shape (cells - 1,).
    - `length`: of the rod.
    - `noise`: standard deviation of the entries of the z that is to be inverted, in the
        unit of u; 0 for the direct inverse, None for unknown.
    - `operator`: of the regularized inverse: what of rho is to be small.

    **Raises:** `ValueError` for less than 2 cells, a noise below zero, a source of
    another shape or an unknown operator.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> rod = pg.simulators.conductivity(8)
    >>> rho = 1 + jnp.arange(8) / 8
    >>> print(jnp.abs(rod.inverse.function(rod(rho), rho) - rho).max() < 1e-3)
    True

    **Source:** Vogel, Computational Methods for Inverse Problems, 2002, chapter 6.
    """
    count = whole_number("cells", 2)(cells)
    width = number("length", length) / count
    if isinstance(source, int | float):
        source = [number("source", source)] * (count - 1)
    fallen = width * np.cumsum(np.pad(array("source", source, (count - 1,)), (1, 0)))
    forward = Rod(jnp.asarray(fallen), width)
    inverse: Inverse = AnalyticInverse(forward.inverse)
    if noise is None or at_least_zero("noise", noise) > 0:
        inverse = RegularizedInverse(noise, operator=operator)
    return Simulator(forward, inverse)
