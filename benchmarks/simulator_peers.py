"""What people use for the physics of the ready simulators, as functions of the state.

NumPy and SciPy work on the last axes, so that they take batches as they are; JAX code
is for one state, and vmapped by who calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax
import exponax
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
import scipy.integrate
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

Call = Callable[[Any], Any]
THREADS = 2  # of SciPy's transforms; NumPy's have one
MOST_STEPS = 100_000


def squares(shape: tuple[int, ...]) -> np.ndarray:
    """|k|^2 on a box of side 1, as a real transform orders waves."""
    axes = [2 * np.pi * np.fft.fftfreq(n, 1 / n) for n in shape[:-1]]
    axes.append(2 * np.pi * np.fft.rfftfreq(shape[-1], 1 / shape[-1]))
    grids = np.meshgrid(*axes, indexing="ij")
    return np.asarray(sum(k**2 for k in grids))


def numpy_filter(shape: tuple[int, ...], gains: np.ndarray) -> Call:
    """Each wave multiplied by a number, by NumPy's transforms."""
    axes = tuple(range(-len(shape), 0))

    def call(x: Any) -> Any:
        return np.fft.irfftn(gains * np.fft.rfftn(x, axes=axes), s=shape, axes=axes)

    return call


def scipy_filter(shape: tuple[int, ...], gains: np.ndarray) -> Call:
    """The same by SciPy's."""
    axes = tuple(range(-len(shape), 0))

    def call(x: Any) -> Any:
        waves = scipy.fft.rfftn(x, axes=axes, workers=THREADS)
        waves *= gains
        return scipy.fft.irfftn(waves, s=shape, axes=axes, workers=THREADS)

    return call


def scipy_sines(gains: np.ndarray) -> Call:
    """Each sine wave between walls multiplied by a number."""
    axes = tuple(range(-gains.ndim, 0))

    def call(x: Any) -> Any:
        waves = scipy.fft.dstn(x, type=2, axes=axes, workers=THREADS)
        waves *= gains
        return scipy.fft.idstn(waves, type=2, axes=axes, workers=THREADS)

    return call


def scipy_waves(shape: tuple[int, ...], time: float) -> Call:
    """(u, u_t) after a time, each wave exactly."""
    omega = np.sqrt(squares(shape))
    cosine, sine = np.cos(omega * time), np.sin(omega * time)
    over = time * np.sinc(omega * time / np.pi)
    axes = tuple(range(-len(shape), 0))

    def call(x: Any) -> Any:
        waves = np.asarray(scipy.fft.rfftn(x, axes=axes, workers=THREADS))
        u, v = np.moveaxis(waves, -1 - len(shape), 0)
        after = np.stack([cosine * u + over * v, cosine * v - omega * sine * u])
        after = np.moveaxis(after, 0, -1 - len(shape))
        return scipy.fft.irfftn(after, s=shape, axes=axes, workers=THREADS)

    return call


def scipy_split_steps(potential: np.ndarray, time: float, steps: int) -> Call:
    """i psi_t = -1/2 Laplace psi + V psi by Strang's splitting, (2, n) as pairs."""
    count = len(potential)
    dt = time / steps
    k = 2 * np.pi * np.fft.fftfreq(count, 1 / count)
    free, half = np.exp(-0.5j * k**2 * dt), np.exp(-0.5j * potential * dt)

    def call(x: Any) -> Any:
        x = np.asarray(x)
        psi = x[..., 0, :] + 1j * x[..., 1, :]
        for _ in range(steps):
            psi = half * scipy.fft.ifft(free * scipy.fft.fft(half * psi))
        return np.stack([psi.real, psi.imag], axis=-2)

    return call


def exponax_steps(stepper: Any, steps: int, channels: bool = False) -> Call:
    """A stepper of exponax, so many times; x without its axis of channels."""

    def call(x: Any) -> Any:
        u = jnp.asarray(x) if channels else jnp.asarray(x)[None]
        # exponax.repeat steps from and to a state on the grid, as its users do
        later: Any = exponax.repeat(stepper, steps)
        u = later(u)
        return u if channels else u[0]

    return call


def exponax_waves(stepper: Any, steps: int) -> Call:
    """The same with transforms at the start and end alone: its quickest way."""
    points, dimensions = stepper.num_points, stepper.num_spatial_dims

    def call(x: Any) -> Any:
        waves = exponax.fft(jnp.asarray(x)[None], num_spatial_dims=dimensions)
        later: Any = exponax.repeat(stepper.step_fourier, steps)
        waves = later(waves)
        back = exponax.ifft(waves, num_spatial_dims=dimensions, num_points=points)
        return back[0]

    return call


def diffrax_solver(field: Call, time: float, solver: Any, tolerance: float) -> Call:
    """y' = f(y) from 0 to `time`, by a method with steps of its own."""
    term = diffrax.ODETerm(lambda t, y, _: field(y))
    control = diffrax.PIDController(rtol=tolerance, atol=tolerance)

    def call(y: Any) -> Any:
        found = diffrax.diffeqsolve(
            term,
            solver,
            0.0,
            time,
            None,
            jnp.asarray(y),
            stepsize_controller=control,
            max_steps=MOST_STEPS,
        )
        return jnp.asarray(found.ys)[0]

    return call


def scipy_solver(field: Call, time: float, method: str, tolerance: float) -> Call:
    """The same by SciPy, with a NumPy function."""

    def call(y: Any) -> Any:
        y = np.asarray(y)
        found = scipy.integrate.solve_ivp(
            lambda t, flat: np.ravel(field(flat.reshape(y.shape))),
            (0.0, time),
            y.ravel(),
            method=method,
            rtol=max(tolerance, 3e-14),
            atol=tolerance,
        )
        return found.y[:, -1].reshape(y.shape)

    return call


def scipy_crank_nicolson(field: np.ndarray, dt: float, points: int) -> Call:
    """i psi_t = -psi_ss + u(t) s psi in a box of length 2, by banded solves."""
    width = 2.0 / (points + 1)
    places = np.arange(1, points + 1) * width
    off = np.full(points, -1 / width**2)

    def call(x: Any) -> Any:
        x = np.asarray(x)
        psi = x[0] + 1j * x[1]
        for u in field:
            diagonal = 2 / width**2 + u * places
            bands = 0.5j * dt * np.stack([off, diagonal, off])
            bands[1] += 1
            product = diagonal * psi
            product[:-1] += off[:-1] * psi[1:]
            product[1:] += off[:-1] * psi[:-1]
            right = psi - 0.5j * dt * product
            psi = scipy.linalg.solve_banded((1, 1), bands, right, check_finite=False)
        return np.stack([psi.real, psi.imag])

    return call


def scipy_rod(cells: int) -> Call:
    """-(rho u')' = 1, by a banded solve."""
    width = 1.0 / cells

    def call(rho: Any) -> Any:
        rho = np.asarray(rho)
        bands = np.zeros((2, cells - 1))
        bands[0, 1:] = -rho[1:-1]
        bands[1] = rho[:-1] + rho[1:]
        right = np.full(cells - 1, width**2)
        return scipy.linalg.solveh_banded(bands, right, check_finite=False)

    return call


def _ground(a: np.ndarray) -> scipy.sparse.csc_matrix:
    """-div(a grad u) on volumes, u = 0 at the walls half a cell away."""
    n = len(a)
    index = np.arange(n * n).reshape(n, n)
    total = np.zeros((n, n))
    rows, columns, values = [], [], []
    for axis in (0, 1):
        near, far = np.moveaxis(a, axis, 0), np.moveaxis(index, axis, 0)
        between = (near[1:] + near[:-1]) / 2 * n**2
        side = np.moveaxis(total, axis, 0)
        side[1:] += between
        side[:-1] += between
        side[0] += 2 * near[0] * n**2
        side[-1] += 2 * near[-1] * n**2
        for one, other in ((far[1:], far[:-1]), (far[:-1], far[1:])):
            rows.append(one.ravel())
            columns.append(other.ravel())
            values.append(-between.ravel())
    rows.append(index.ravel())
    columns.append(index.ravel())
    values.append(total.ravel())
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return scipy.sparse.csc_matrix(entries, shape=(n * n, n * n))


def scipy_ground_direct(a: Any) -> Any:
    """The pressure for a source of 1, by SuperLU."""
    a = np.asarray(a)
    right = np.ones(a.size)
    return scipy.sparse.linalg.spsolve(_ground(a), right).reshape(a.shape)


def scipy_ground_descent(a: Any) -> Any:
    """By conjugate gradients, preconditioned by the transforms of a = mean, as ours."""
    a = np.asarray(a)
    n = len(a)
    one = (2 * n * np.sin(np.pi * np.arange(1, n + 1) / (2 * n))) ** 2
    solve = scipy_sines(1 / (a.mean() * (one[:, None] + one)))
    shape = (a.size, a.size)
    make: Any = scipy.sparse.linalg.LinearOperator
    nearly = make(shape, lambda f: solve(f.reshape(a.shape)).ravel(), dtype=a.dtype)
    u, _ = scipy.sparse.linalg.cg(_ground(a), np.ones(a.size), rtol=1e-13, M=nearly)
    return u.reshape(a.shape)


def numpy_arm(lengths: np.ndarray) -> Call:
    """Where the hand is."""

    def call(x: Any) -> Any:
        angles = np.cumsum(x, axis=-1)
        hand = [np.cos(angles) @ lengths, np.sin(angles) @ lengths]
        return np.stack(hand, axis=-1)

    return call


def numpy_elbow(lengths: np.ndarray) -> Call:
    """Angles of two links, the elbow on one side."""
    a, b = lengths

    def call(z: Any) -> Any:
        x, y = np.moveaxis(np.asarray(z), -1, 0)
        bend = np.arccos((x**2 + y**2 - a**2 - b**2) / (2 * a * b))
        inner = np.arctan2(b * np.sin(bend), a + b * np.cos(bend))
        return np.stack([np.arctan2(y, x) - inner, bend], axis=-1)

    return call


def jitted(function: Call, batch: bool) -> Call:
    """JAX code as a call that waits for what it found."""
    program = jax.jit(jax.vmap(function) if batch else function)
    return lambda x: jax.block_until_ready(program(x))
