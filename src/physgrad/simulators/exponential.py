"""Exponential time differencing: stiff linear terms exactly, the others by Runge-Kutta.

The coefficients are means of functions such as (e^w - 1) / w over a circle around w = L
dt, where nothing cancels. They are real for a real L, and complex for a complex one: an
operator that disperses has an imaginary L, and the real part alone of its coefficients
would make the method one of first order.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

# Points of the circle, of radius 1: the mean is exact to rounding.
POINTS = 64

Values = Inexact[Array, "..."]


class ExponentialIntegrator(eqx.Module):
    """One step dt of u_t = L u + N(u), L diagonal: ETDRK4, of fourth order.

    **Source:** Cox and Matthews, "Exponential time differencing for stiff systems", J.
    Comput. Phys. 176, 2002, equations 26 to 29; Kassam and Trefethen, "Fourth-order
    time-stepping for stiff PDEs", SIAM J. Sci. Comput. 26, 2005, section 3.
    """

    full: Values
    """e^w."""
    half: Values
    """e^(w/2)."""
    stage: Values
    """dt (e^(w/2) - 1) / w."""
    first: Values
    """dt (-4 - w + e^w (4 - 3 w + w^2)) / w^3."""
    middle: Values
    """dt 2 (2 + w + e^w (w - 2)) / w^3."""
    last: Values
    """dt (-4 - 3 w - w^2 + e^w (4 - w)) / w^3."""

    def __call__(self, u: Values, n: Callable[[Values], Values]) -> Values:
        """u, one step later, with N by `n`."""
        n_u = n(u)
        a = self.half * u + self.stage * n_u
        n_a = n(a)
        b = self.half * u + self.stage * n_a
        n_b = n(b)
        d = self.half * a + self.stage * (2 * n_b - n_u)
        change = self.first * n_u + self.middle * (n_a + n_b) + self.last * n(d)
        return self.full * u + change


def exponential_integrator(linear: np.ndarray, dt: float) -> ExponentialIntegrator:
    """The coefficients for L, an array, and a time step; negative for one backwards.

    >>> plain = exponential_integrator(np.array([0.0]), dt=0.5)  # Runge and Kutta's
    >>> [round(6 / 0.5 * float(part[0]), 5) for part in (plain.first, plain.middle)]
    [1.0, 2.0]
    """
    w = np.asarray(linear) * dt
    sums = np.zeros((4, *w.shape), complex)
    for turn in np.exp(2j * np.pi * (np.arange(POINTS) + 0.5) / POINTS):
        r = w + turn
        e = np.exp(r)
        sums[0] += (np.exp(r / 2) - 1) / r
        sums[1] += (-4 - r + e * (4 - 3 * r + r**2)) / r**3
        sums[2] += 2 * (2 + r + e * (r - 2)) / r**3
        sums[3] += (-4 - 3 * r - r**2 + e * (4 - r)) / r**3
    means = dt * sums / POINTS
    if not np.iscomplexobj(w):
        means = means.real
    return ExponentialIntegrator(
        *(jnp.asarray(part) for part in (np.exp(w), np.exp(w / 2), *means))
    )
