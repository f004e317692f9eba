"""A quantum particle in a box with a controlled dipole field."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.simulator import Simulator
from physgrad.simulators.checks import (
    array,
    at_least_zero,
    check_field,
    number,
    whole_number,
)
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.precision import like_x
from physgrad.simulators.rollout import Driven, advance


class ParticleInBox(eqx.Module):
    """i psi_t = -psi_ss + u(t) s psi, psi = 0 at the walls, by Crank and Nicolson.

    (1 + i dt/2 H) psi+ = (1 - i dt/2 H) psi: a step of -dt undoes one of dt.
    """

    places: Float[Array, " points"]
    """s of the inner points."""
    width: float = eqx.field(static=True)
    """Between points."""
    dt: Float[Array, ""]

    def later(self, psi: Array, field: Array) -> Array:
        """psi, one step later, in a field that is u all along."""
        real = psi.real.dtype
        off = jnp.full(len(self.places) - 1, -1 / self.width**2, real)
        places = self.places
        diagonal = 2 / self.width**2 + field * places
        half = 0.5j * self.dt
        product = diagonal * psi
        product = product.at[:-1].add(off * psi[1:]).at[1:].add(off * psi[:-1])
        implicit = lx.TridiagonalLinearOperator(
            1 + half * diagonal, half * off, half * off
        )
        return lx.linear_solve(implicit, psi - half * product, lx.Tridiagonal()).value

    @property
    def shape(self) -> tuple[int, int]:
        """Of psi: real and imaginary part."""
        return 2, len(self.places)


class ControlledParticle(Driven):
    """From the field in each time step to psi at the end, from one psi."""

    initial: Float[Array, "2 points"]
    steps: int = eqx.field(static=True)
    particle: ParticleInBox

    def begin(self, initial: Array) -> Array:
        return _complex(initial)

    def driven(self, state: Array, given: Array) -> Array:
        return self.particle.later(state, given)

    def end(self, state: Array) -> Array:
        return _pair(state)


class MovedParticle(eqx.Module):
    """From psi at the start to psi at the end, in a field that is known."""

    particle: ParticleInBox
    field: Float[Array, " steps"]

    @like_x
    def __call__(self, x: Array) -> Array:
        check_field("x", x.shape, self.particle.shape)
        field = self.field
        return _pair(advance(self.particle.later, _complex(x), len(field), field))


def quantum_control(
    initial: Any = None,
    duration: float = 19.2,
    *,
    steps: int = 384,
    points: int = 14,
    length: float = 2.0,
) -> Simulator:
    """A particle in a box, steered by a field: from u in each step to psi at the end.

    i psi_t = (-d^2/ds^2 + u(t) s) psi on [0, length], psi = 0 at the walls; differences
    of second order in s, Crank and Nicolson in t. The norm of psi stays.

    **The inverse** is numerical: many fields lead to one state, and the nearest to the
    present one is taken. The global phase of psi is a part of z, which a loss such as 1
    - |<target, z>|^2 does not look at.

    **Arguments:**

    - `initial`: psi at the start, shape (2, points), real and imaginary part; None for
        the ground state. z has this shape.
    - `duration`: in units of length^2 (hbar = 2 mass = 1); `steps`: time steps. x, the
        field, has the shape (steps,), in units of 1 / length^3.
    - `points`: inside of the box, the walls not counted; `length`: of the box.

    **Raises:** `ValueError` for less than 2 points or 1 step, a duration below zero, or
    an initial state of another shape, or with NaN in it.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> steered = pg.simulators.quantum_control(duration=0.5, steps=10)
    >>> print(jnp.linalg.norm(steered(jnp.ones(10))).round(4))
    1.0

    **Source:** Holl et al., "Half-Inverse Gradients for Physical Deep Learning", ICLR
    2022, section 3.3.
    """
    particle, count = _particle(duration, steps, points, length)
    if initial is None:
        start = np.stack([eigenstate(1, points), np.zeros(points)])
    else:
        start = array("initial", initial, particle.shape)
    return Simulator(ControlledParticle(jnp.asarray(start), count, particle))


def quantum_motion(
    field: Any,
    duration: float,
    *,
    points: int = 14,
    length: float = 2.0,
) -> Simulator:
    """The same particle in a field that is known: from psi to psi at the end.

    **The inverse** takes the steps backwards, with the field from its end: exact to
    rounding.

    **Arguments:** `field`: u in each step, shape (steps,), in units of 1 / length^3;
    the others as in `quantum_control`. x and z have the shape (2, points): the real and
    the imaginary part of psi.

    **Raises:** as `quantum_control`; `ValueError` for a field that is not finite.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> moved = pg.simulators.quantum_motion([0.0, 1.0], duration=0.1)
    >>> x = jnp.zeros((2, 14)).at[0, 3].set(1.0)
    >>> print(jnp.abs(moved.inverse.function(moved(x)) - x).max() < 1e-5)
    True

    **Source:** as `quantum_control`.
    """
    u = array("field", field, (None,))
    particle, _ = _particle(duration, len(u), points, length)
    back = eqx.tree_at(lambda p: p.dt, particle, -particle.dt)
    forward = MovedParticle(particle, jnp.asarray(u))
    backward = MovedParticle(back, jnp.asarray(u[::-1].copy()))
    return Simulator(forward, AnalyticInverse(backward, one_to_one=True))


def eigenstate(level: int, points: int) -> np.ndarray:
    """The state without field, of norm 1: sin(pi level j / (points + 1)).

    >>> float((eigenstate(2, 14) ** 2).sum().round(6))
    1.0
    """
    number_of_waves = whole_number("level", 1)(level)
    j = np.arange(1, points + 1)
    wave = np.sin(np.pi * number_of_waves * j / (points + 1))
    return wave / np.linalg.norm(wave)


def _particle(
    duration: float, steps: int, points: int, length: float
) -> tuple[ParticleInBox, int]:
    count = whole_number("points", 2)(points)
    width = number("length", length) / (count + 1)
    places = width * np.arange(1, count + 1)  # by index: a range of floats may miscount
    time, number_of_steps = at_least_zero("duration", duration), checked_steps(steps)
    dt = jnp.asarray(time / number_of_steps)
    return ParticleInBox(jnp.asarray(places), width, dt), number_of_steps


def _complex(pair: Array) -> Array:
    return pair[0] + 1j * pair[1]


def _pair(psi: Array) -> Array:
    return jnp.stack([psi.real, psi.imag])
