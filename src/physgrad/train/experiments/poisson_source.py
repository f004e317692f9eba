"""The source of a field on 8 by 8 cells, from the field's Laplacian."""

from __future__ import annotations

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.simulator import Simulator
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import mlp

SIDE = 8
# Of the noise that states are drawn from: cells are a tenth of its unit of length.
SCALE, LEAST = 10.0, 0.1


class Laplacian(eqx.Module):
    """z = the sum of the four neighbors less four times x; zero beyond the walls."""

    waves: Float[Array, "side side"]
    """Eigenvectors of second differences along an axis."""
    squares: Float[Array, "side side"]
    """Eigenvalues of the Laplacian."""

    def __call__(self, x: Array) -> Array:
        padded = jnp.pad(x, 1)
        across = padded[1:-1, :-2] + padded[1:-1, 2:]
        return across + padded[:-2, 1:-1] + padded[2:, 1:-1] - 4 * x

    def solved(self, z: Array) -> Array:
        """x, by the waves in which the Laplacian is diagonal."""
        waves, squares = (v.astype(z.dtype) for v in (self.waves, self.squares))
        return waves @ ((waves.T @ z @ waves) / squares) @ waves.T


def laplacian(side: int) -> Simulator:
    """The Laplacian of `side` by `side` cells, and its exact inverse."""
    differences = np.eye(side, k=1) + np.eye(side, k=-1) - 2 * np.eye(side)
    squares, waves = np.linalg.eigh(differences)
    physics = Laplacian(jnp.asarray(waves), jnp.asarray(squares[:, None] + squares))
    return Simulator(physics, AnalyticInverse(physics.solved, one_to_one=True))


def poisson() -> Experiment:
    """From z to the x whose Laplacian it is, on 8 by 8 cells, zero beyond the walls.

    L = |z - target|^2 / 2; states are smooth noise; a network 64-64-128-64-64 with
    tanh, 24,896 numbers. The inverse is exact and P linear: the physical gradient is
    that of supervised training.

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, section 3.2.
    """
    simulator = laplacian(SIDE)
    return Experiment(
        name="poisson",
        network=lambda key: Reshaped(mlp((64, 64, 128, 64, 64), jnp.tanh, key)),
        draw=functools.partial(_draw, simulator),
        simulator=lambda sample: simulator,
        weight=0.5,
        x_error=lambda x, sample: jnp.linalg.norm(x - sample.solution),
    )


class Reshaped(eqx.Module):
    """A network of vectors, for fields."""

    network: Callable

    def __call__(self, field: Array) -> Array:
        return self.network(jnp.ravel(field)).reshape(field.shape)


def _draw(simulator: Simulator, key: Array, count: int) -> Sample:
    keys = jax.random.split(key, count)
    fields = jax.vmap(lambda key: smooth_noise(key, SIDE))(keys)
    targets = jax.vmap(simulator)(fields)
    return Sample(targets, targets, solution=fields)


def smooth_noise(key: Array, side: int) -> Float[Array, "side side"]:
    """Gaussian noise whose waves fall off as 1 / k^2, of mean 0 and deviation 1."""
    along = SCALE * np.fft.fftfreq(side)
    squares = along[:, None] ** 2 + along**2
    heights = np.where(squares > LEAST, 1 / np.where(squares > LEAST, squares, 1.0), 0)
    real, imaginary = jax.random.normal(key, (2, side, side))
    noise = jnp.fft.ifft2(jnp.asarray(heights) * (real + 1j * imaginary)).real
    return noise / jnp.std(noise)
