"""Two-dimensional flow: the vorticity of the Navier-Stokes equations."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from physgrad.basis import Basis, Coefficients
from physgrad.simulator import Simulator
from physgrad.simulators.checks import at_least_zero, grid, sides
from physgrad.simulators.checks import steps as checked_steps
from physgrad.simulators.pseudo_spectral import kept_waves, nonlinear_waves


class Transport(eqx.Module):
    """N(w) = -u . grad w = (d_yy - d_xx)(u v) + d_xy (u^2 - v^2), u by its vorticity.

    The form with the fewest transforms: two back, two forth.

    **Source:** Basdevant, "Technical improvements for direct numerical simulation of
    homogeneous three-dimensional turbulence", J. Comput. Phys. 50, 1983.
    """

    basis: Basis
    kept: Bool[Array, "..."]
    velocity: Coefficients
    """(u, v) of a vorticity of 1, for each wave."""
    stress: Float[Array, "..."]
    """Of (u^2 - v^2, u v), for each wave."""

    def __call__(self, waves: Coefficients) -> Coefficients:
        kept = jnp.where(self.kept, waves, 0.0)
        u, v = self.basis.back(self.velocity * kept)
        products = self.basis.to(jnp.stack([u**2 - v**2, u * v]))
        return jnp.sum(self.stress * products, axis=0)


def navier_stokes(
    shape: Any,
    duration: float,
    *,
    viscosity: float = 1e-3,
    steps: int = 100,
    lengths: Any = 1.0,
    largest_gain: float | None = None,
) -> Simulator:
    """Flow in a periodic box: w_t + u . grad w = nu Laplace w, w = v_x - u_y.

    Fourier modes, free of aliases, with `steps` steps of ETDRK4, of fourth order. A
    step is to be short for the fastest velocity: max |u| dt < a cell; with longer ones
    the run is not finite, and says so. The mean of w stays; on a torus it is zero.

    **The inverse** runs the flow backwards and refines what that misses, exact to
    rounding for as long as vortices have not been torn into threads that viscosity
    wipes out. It leaves as they are in x the waves that are damped by more than
    `largest_gain`. Where the backward run does not keep its certificate, a damped
    Gauss-Newton step takes over, and the message of the run says so.

    **Arguments:**

    - `shape`: cells along y and x; x and z, the vorticity, have this shape, in units
        of 1 / time.
    - `duration`: t, in units of time.
    - `viscosity`: nu, in units of length^2 / time.
    - `steps`: time steps.
    - `lengths`: sides of the box, along y and x: one number, or two.
    - `largest_gain`: of noise, by the inverse: about the size of z over that of its
        noise; None for 1 / sqrt(eps), noise of rounding, and where that fails 300.

    **Raises:** `ValueError` for less than 2 cells or 1 step, a duration or viscosity
    below zero, or a gain that is not positive.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> flow = pg.simulators.navier_stokes((16, 16), duration=0.5, steps=10)
    >>> y, x = jnp.meshgrid(*(2 * jnp.pi * jnp.arange(16) / 16,) * 2, indexing="ij")
    >>> vortices = jnp.sin(x) * jnp.sin(y)                 # steady, but for viscosity
    >>> decay = jnp.exp(-1e-3 * 2 * (2 * jnp.pi) ** 2 * 0.5)
    >>> print(jnp.abs(flow(vortices) - decay * vortices).max() < 1e-5)
    True

    **Source:** Canuto, Hussaini, Quarteroni, Zang, Spectral Methods, 2007, section
    3.4.4.
    """
    shape = grid(shape, dimensions=(2,))
    basis = Basis(shape, sides(lengths, shape))
    iky, ikx = basis.slopes
    squares = basis.squares
    inverse = np.divide(1.0, squares, where=squares > 0, out=np.zeros_like(squares))
    kept = kept_waves(basis)
    # w = -Laplace of the stream function, whose slopes are (u, v) = (psi_y, -psi_x)
    velocity = np.stack(np.broadcast_arrays(iky * inverse, -ikx * inverse))
    # of waves, d_xy and d_yy - d_xx
    slopes = np.broadcast_arrays(iky * ikx, iky**2 - ikx**2)
    stress = np.real(np.stack(slopes)) * kept
    transport = Transport(
        basis, jnp.asarray(kept), jnp.asarray(velocity), jnp.asarray(stress)
    )
    linear = -at_least_zero("viscosity", viscosity) * squares
    time, count = at_least_zero("duration", duration), checked_steps(steps)
    return nonlinear_waves(basis, linear, transport, time, count, largest_gain)
