"""Flow through porous ground: the pressure that a permeability makes, in a plane."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from physgrad.basis import Basis
from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.regularized import RegularizedInverse
from physgrad.inverses.rule import Inverse
from physgrad.simulator import Simulator
from physgrad.simulators.checks import (
    array,
    at_least_zero,
    check_field,
    grid,
    number,
    sides,
)
from physgrad.simulators.poisson_equation import ScreenedLaplacian
from physgrad.simulators.precision import like_x

# Tolerance of both solvers, as a power of eps, and their steps; for n cells along an
# axis a solve takes some n.
POWER, MOST = 0.8, 20_000
# How much worse than that tolerance pressures may be.
SLACK = 100.0


class PorousGround(eqx.Module):
    """-div(a grad u) = source, u = 0 at the walls: volumes of one cell."""

    basis: Basis
    source: Float[Array, "rows columns"]
    laplacian: Float[Array, "rows columns"]
    """Eigenvalues for a = 1: what the solver starts from."""

    def operator(self, a: Array, u: Array) -> Array:
        """-div(a grad u): the flow out of each cell, per volume; linear in both."""
        total = jnp.zeros_like(u)
        pairs = zip(self.basis.shape, self.basis.lengths, strict=True)
        for axis, (count, length) in enumerate(pairs):
            h = length / count
            between = _mean_of_neighbors(a, axis)
            # a wall is half a cell from the middle
            flow = between * _differences(u, axis) / h
            total = total - jnp.diff(flow, axis=axis) / h
        return total

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, self.basis.shape)
        source = self.source
        # the simpler problem with the mean of a is nearly the inverse
        values = self.laplacian * lax.stop_gradient(jnp.mean(x))

        def solve(u: Array) -> Array:
            return self.operator(x, u)

        def nearly(f: Array) -> Array:
            return self.basis.back(self.basis.to(f) / values)

        u, _ = cg(solve, source, tol=_rtol(x), maxiter=MOST, M=nearly)
        # where a is not positive there is no solution, and what comes out is no z
        return jnp.where(jnp.all(x > 0), u, jnp.nan)

    @like_x
    def inverse(self, u: Array, a: Array) -> Array:
        """The a nearest to the present one whose flow from u is the source."""
        like = jax.eval_shape(lambda: a)
        flow = lx.FunctionLinearOperator(lambda a: self.operator(a, u), like)
        missing = self.source - self.operator(a, u)
        solver = lx.LSMR(rtol=_rtol(u), atol=_rtol(u), max_steps=MOST)
        return a + lx.linear_solve(flow, missing, solver, throw=False).value


def darcy(
    shape: Any,
    *,
    source: Any = 1.0,
    lengths: Any = 1.0,
    noise: float | None = 0.0,
    operator: str = "gradient",
) -> Simulator:
    """The pressure in porous ground, from its permeability: -div(a grad u) = source.

    u = 0 at the walls; one volume for each cell, the permeability between two cells
    that of their mean, of second order where a is smooth.

    **The inverse** is direct: given u the equation is linear in a, and determines it,
    as far as u is exact: noise of u is differentiated twice. With `noise` the inverse
    is a `RegularizedInverse`, dense in the cells, and a is as smooth as that allows.

    **Arguments:**

    - `shape`: cells along the two axes. x and z have this shape: the permeability a,
        positive, in units of length^2 source / pressure, and the pressure u.
    - `source`: a number, or an array of this shape.
    - `lengths`: sides of the box: one number, or two.
    - `noise`: standard deviation of the entries of the z that is to be inverted, in the
        unit of u; 0 for the direct inverse, None for unknown.
    - `operator`: of the regularized inverse: what of a is to be small.

    **Raises:** `ValueError` for less than 2 cells, a noise below zero, a source of
    another shape or an unknown operator. Where a is not positive, u is NaN.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> ground = pg.simulators.darcy((6, 6))
    >>> a = 1 + jnp.arange(36.0).reshape(6, 6) / 36
    >>> print(jnp.abs(ground.inverse.function(ground(a), 0 * a + 1) - a).max() < 1e-3)
    True

    **Source:** LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002, section
    2.3; Richter, "An inverse problem for the steady state diffusion equation", SIAM J.
    Appl. Math. 41, 1981 (that u determines a).
    """
    shape = grid(shape, dimensions=(2,))
    basis = Basis(shape, sides(lengths, shape), "dirichlet")
    if isinstance(source, int | float):
        source = np.full(shape, number("source", source))
    values = ScreenedLaplacian(basis, 0.0).eigenvalues()
    given = jnp.asarray(array("source", source, shape))
    forward = PorousGround(basis, given, jnp.asarray(values))
    accuracy = SLACK * _rtol(given)
    inverse: Inverse = AnalyticInverse(
        forward.inverse, implicit=True, accuracy=accuracy
    )
    if noise is None or at_least_zero("noise", noise) > 0:
        inverse = RegularizedInverse(noise, operator=operator)
    return Simulator(forward, inverse)


def _mean_of_neighbors(a: Array, axis: int) -> Array:
    """a between neighbors along an axis; at the walls that of the last cell."""
    wide = jnp.pad(a, [(1, 1) if i == axis else (0, 0) for i in range(a.ndim)], "edge")
    count = wide.shape[axis]
    left, right = (lax.slice_in_dim(wide, i, count - 1 + i, axis=axis) for i in (0, 1))
    return (left + right) / 2


def _differences(u: Array, axis: int) -> Array:
    """u to the right minus u to the left along an axis; u is zero at the walls.

    Beyond them it is continued with the opposite sign: the walls are between cells.
    """
    first, last = (
        lax.slice_in_dim(u, i, i + 1, axis=axis) for i in (0, u.shape[axis] - 1)
    )
    return jnp.diff(jnp.concatenate([-first, u, -last], axis), axis=axis)


def _rtol(x: Array) -> float:
    return float(jnp.finfo(x.dtype).eps) ** POWER
