"""The conductivity of a rod, from the temperature that it makes."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.simulator import Simulator
from physgrad.simulators.conductivity_field import conductivity
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import Layers, mlp

CELLS, WIDTH = 64, 128
# With it u is at most 1 where rho = 1: losses are relative to that.
SOURCE = 8.0
# Of log rho: how many waves, and the deviation of the longest.
WAVES, DEVIATION = 4, 0.25


def conductivity_inverse() -> Experiment:
    """From the temperature u of a rod to its conductivity rho, in 64 cells.

    -(rho u')' = 8, u = 0 at both ends, so that u is at most 1 where rho = 1; L =
    |u - target|^2 / 2. log rho is smooth noise, rho mostly between 1/2 and 2. A network
    63-128-128-64 with tanh, 32,960 numbers, reads log(u / u1), u1 the u of rho = 1, and
    its answer is log rho. u leaves one number of rho open: the physical gradient pulls
    to the nearest rho with that u, supervised training to the one that made it.

    The step size should stay 1: the temperatures between two have a rho with poles. One
    of u itself is not positive in six of a thousand samples, at the start, in one of
    the cells where u' = 0: e^f heeds the pull, and stays positive.

    **Source:** Vogel, Computational Methods for Inverse Problems, 2002, chapter 6.
    """
    rod = conductivity(CELLS, source=SOURCE)
    even = rod(jnp.ones(CELLS))
    return Experiment(
        name="conductivity",
        network=functools.partial(_network, even),
        draw=functools.partial(_draw, rod),
        simulator=lambda sample: rod,
        weight=0.5,
        x_error=lambda x, sample: _relative_distance(x, sample.solution),
    )


class Reader(eqx.Module):
    """rho = e^f(log(u / u1)): positive, whatever the layers f say."""

    layers: Layers
    even: tuple[float, ...] = eqx.field(static=True)
    """u1, that of rho = 1: no parameters."""

    def __call__(self, u: Array) -> Array:
        return jnp.exp(self.layers(jnp.log(u / jnp.asarray(self.even))))


def _network(even: Array, key: Array) -> Reader:
    layers = mlp((CELLS - 1, WIDTH, WIDTH, CELLS), jnp.tanh, key)
    return Reader(layers, tuple(np.asarray(even).tolist()))


def _relative_distance(rho: Array, known: Any) -> Float[Array, ""]:
    """|rho - rho*| / |rho*|."""
    return jnp.linalg.norm(rho - known) / jnp.linalg.norm(known)


def _draw(rod: Simulator, key: Array, count: int) -> Sample:
    rho = jnp.exp(_smooth_noise(key, count))
    u = jax.vmap(rod)(rho)
    return Sample(u, u, solution=rho)


def _smooth_noise(key: Array, count: int) -> Float[Array, "count cells"]:
    """sum over k = 1 to 4 of d (a_k cos(pi k s) + b_k sin(pi k s)) / k, a, b Gaussian.

    d is `DEVIATION`, and s from 0 to 1 at the centers of the cells.
    """
    places = (np.arange(CELLS) + 0.5) / CELLS
    numbers = np.arange(1, WAVES + 1)
    turns = np.pi * numbers[:, None] * places
    waves = np.stack([np.cos(turns), np.sin(turns)]) / numbers[:, None]
    heights = DEVIATION * jax.random.normal(key, (count, 2, WAVES))
    return jnp.einsum("nck,cks->ns", heights, jnp.asarray(waves))
