"""Advection: a field that is carried along, u_t + c . grad u = 0."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from physgrad.basis import Basis
from physgrad.inverses.analytic import AnalyticInverse
from physgrad.simulator import Simulator
from physgrad.simulators.checks import any_number, array, at_least_zero, grid, sides
from physgrad.simulators.linear_waves import WaveDecay


def advection(
    shape: Any, duration: float, *, velocity: Any = 1.0, lengths: Any = 1.0
) -> Simulator:
    """A field carried along in a periodic box: u(s, t) = u(s - c t, 0).

    Each wave turns by exp(-i k . c t), exactly, also where c t is no whole number of
    cells. The shortest wave of an even number of cells stays where it is along its
    axis: moved by a part of a cell it would vanish.

    **The inverse** carries the field back: exact, and as well conditioned as can be.

    **Arguments:**

    - `shape`: cells along each axis, one to three; x and z have this shape, in any
        unit.
    - `duration`: t, in units of time.
    - `velocity`: c, in units of length / time: one number for all axes, or one for
        each.
    - `lengths`: sides of the box: one number, or one for each axis.

    **Raises:** `ValueError` for a grid of less than 2 cells, a duration below zero, or
    velocities that are not finite or do not fit the axes.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> carried = pg.simulators.advection((5,), duration=0.2)
    >>> print(abs(carried(jnp.array([1.0, 0, 0, 0, 0])).round(4)))
    [0. 1. 0. 0. 0.]

    **Source:** Evans, Partial Differential Equations, section 2.1.
    """
    shape = grid(shape)
    basis = Basis(shape, sides(lengths, shape))
    if isinstance(velocity, tuple | list) or getattr(velocity, "ndim", 0):
        c = array("velocity", velocity, (len(shape),))
    else:
        c = [any_number("velocity", velocity)] * len(shape)
    time = jnp.asarray(at_least_zero("duration", duration))
    rates = sum(speed * ik for speed, ik in zip(c, basis.slopes, strict=True))
    forward = WaveDecay(basis, jnp.asarray(rates), time)
    backward = eqx.tree_at(lambda decay: decay.time, forward, -time)
    return Simulator(forward, AnalyticInverse(backward, one_to_one=True))
