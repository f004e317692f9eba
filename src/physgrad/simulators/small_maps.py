"""Small maps whose inverses are formulas: they bend, scale and turn."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.inverses.settings import flag
from physgrad.simulator import Simulator
from physgrad.simulators.checks import any_number, array, check_field, number
from physgrad.simulators.precision import like_x

TURN = 2 * math.pi


def exponential_map() -> Simulator:
    """z = e^x, entry by entry: gradients vanish where x is far below zero.

    **The inverse** is the logarithm: exact for z > 0, and NaN, so `inverse_failed`, for
    others.

    x and z have any shape, the same.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> growth = pg.simulators.exponential_map()
    >>> objective = pg.Objective(growth, pg.SquaredLoss(jnp.array([2.0])))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([-12.0]), 1)
    >>> print(run.x.round(4))
    [0.6931]

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, figure 2.
    """
    return Simulator(jnp.exp, AnalyticInverse(jnp.log, one_to_one=True))


class SineMap(eqx.Module):
    """z = (amplitude sin(frequency v0), stretch v1), v = R x."""

    amplitude: Array
    frequency: Array
    stretch: Array
    rotation: Float[Array, "2 2"]

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, (2,))
        v0, v1 = self.rotation @ x
        swing = self.amplitude * jnp.sin(self.frequency * v0)
        return jnp.stack([swing, self.stretch * v1])

    @like_x
    def inverse(self, z: Array, x: Array) -> Array:
        """The preimage nearest to x: of all turns, of both angles with that sine."""
        angle = self.frequency * (self.rotation[0] @ x)
        first = jnp.arcsin(z[0] / self.amplitude)
        both = jnp.stack([first, jnp.pi - first])
        both = both + TURN * jnp.round((angle - both) / TURN)
        near = both[jnp.argmin(jnp.abs(both - angle))]
        return self.rotation.T @ jnp.stack([near / self.frequency, z[1] / self.stretch])


def sine_map(
    scale: float = 1.0, angle: float = 0.0, *, outside: bool = False
) -> Simulator:
    """z = (sin(10 v0 / xi), 10 xi v1), with v = R(angle) x: bent, and badly scaled.

    The two entries of z differ in scale by xi^2, and a rotation hides which is which.

    **The inverse** is exact, of infinitely many branches the one nearest to x; for |z0|
    > 1 there is none: NaN, so `inverse_failed`.

    **Arguments:**

    - `scale`: xi, positive; 1 is well scaled, 64 as bad as published.
    - `angle`: of the rotation, in radians.
    - `outside`: the form of the article, z = (sin(v0) / xi, xi v1), instead of that
        of its code.

    x and z have the shape (2,).

    **Raises:** `ValueError` for a scale that is not positive or an angle that is not
    finite.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> waves = pg.simulators.sine_map(scale=32.0, angle=0.8)
    >>> x = jnp.array([3.0, -2.0])
    >>> print(jnp.abs(waves.inverse.function(waves(x), x) - x).max() < 1e-3)
    True

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 4.1 (figure 5).
    """
    xi, phi = number("scale", scale), any_number("angle", angle)
    rotation = [[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]]
    wide = flag("outside")(outside)
    numbers = (1 / xi, 1.0, xi) if wide else (1.0, 10 / xi, 10 * xi)
    amplitude, frequency, stretch = map(jnp.asarray, numbers)
    forward = SineMap(amplitude, frequency, stretch, jnp.asarray(rotation))
    return Simulator(forward, AnalyticInverse(forward.inverse))


def polar_map() -> Simulator:
    """z = (r cos a, r sin a), of x = (r, a): polar coordinates.

    **The inverse** is exact, of all turns the one nearest to x, and of r > 0 and r < 0
    the sign that x has; at z = 0 any angle will do, and that of `arctan2` is taken.

    x and z have the shape (2,); a is in radians.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> polar = pg.simulators.polar_map()
    >>> x = jnp.array([2.0, 7.0])
    >>> print(polar.inverse.function(polar(x), x).round(4))
    [2. 7.]
    """
    return Simulator(_polar, AnalyticInverse(_polar_inverse))


def _polar(x: Array) -> Array:
    check_field("x", x.shape, (2,))
    return x[0] * jnp.stack([jnp.cos(x[1]), jnp.sin(x[1])])


def _polar_inverse(z: Array, x: Array) -> Array:
    sign = jnp.where(x[0] < 0, -1.0, 1.0)
    angle = jnp.arctan2(sign * z[1], sign * z[0])
    angle = angle + TURN * jnp.round((x[1] - angle) / TURN)
    return jnp.stack([sign * jnp.hypot(z[0], z[1]), angle])


class Affine(eqx.Module):
    """z = A x + b."""

    matrix: Float[Array, "z x"]
    offset: Float[Array, " z"]

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, (self.matrix.shape[1],))
        return self.matrix @ x + self.offset


class AffineInverse(eqx.Module):
    """x + A^-1 (z - A x - b): as accurate near x as far from it."""

    forward: Affine

    @like_x
    def __call__(self, z: Array, x: Array) -> Array:
        return x + jnp.linalg.solve(self.forward.matrix, z - self.forward(x))


def affine_map(matrix: Any, offset: Any = None) -> Simulator:
    """z = A x + b, with a square matrix A.

    **The inverse** solves for x: exact, and it multiplies noise by up to the inverse of
    the smallest singular value of A.

    **Arguments:**

    - `matrix`: A, shape (n, n), of full rank; `offset`: b, shape (n,), zero by
        default. x and z have the shape (n,). For other shapes give `Simulator` the
        function, and it finds the nearest point.

    **Raises:** `ValueError` for a matrix that is not square or is singular to rounding.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> scaled = pg.simulators.affine_map([[2.0, 0.0], [0.0, 4.0]])
    >>> print(scaled(jnp.array([1.0, 1.0])))
    [2. 4.]
    """
    a = array("matrix", matrix, (None, None))
    n = len(a)
    if a.shape != (n, n):
        raise ValueError(f"matrix must be square, got shape {a.shape}")
    if np.linalg.matrix_rank(a) < n:
        raise ValueError(
            "matrix must have full rank, got a singular one: give pg.Simulator the "
            "function, and it finds the nearest point"
        )
    b = np.zeros(n) if offset is None else array("offset", offset, (n,))
    forward = Affine(jnp.asarray(a), jnp.asarray(b))
    return Simulator(forward, AnalyticInverse(AffineInverse(forward)))


class Spiral(eqx.Module):
    """z = R(twist |x|) x."""

    twist: Float[Array, ""]

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, (2,))
        squares = jnp.sum(x**2)
        inside = squares > 0
        # the radius has no derivative at the center, where the map is the identity
        radius = jnp.where(inside, jnp.sqrt(jnp.where(inside, squares, 1.0)), 0.0)
        angle = self.twist * radius
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([cosine * x[0] - sine * x[1], sine * x[0] + cosine * x[1]])


def spiral_map(twist: float = 3.0) -> Simulator:
    """z = R(twist |x|) x: the plane, turned the more the farther from the center.

    Level lines of a simple L(z) become spirals in x, along which gradient descent
    winds, while |det J| = 1 everywhere.

    **The inverse** turns back: exact, of one branch.

    **Arguments:** `twist`, in radians per unit of |x|. x and z have the shape (2,).

    **Raises:** `ValueError` for a twist that is not finite.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> spiral = pg.simulators.spiral_map()
    >>> x = jnp.array([1.0, 2.0])
    >>> print(jnp.abs(spiral.inverse.function(spiral(x)) - x).max() < 1e-5)
    True
    """
    turn = any_number("twist", twist)
    return Simulator(
        Spiral(jnp.asarray(turn)),
        AnalyticInverse(Spiral(jnp.asarray(-turn)), one_to_one=True),
    )
