"""A map of the plane that bends, is ill-scaled, and turned."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from physgrad.simulators.small_maps import sine_map
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import mlp
from physgrad.train.physical_loss import physical_loss


def sine_map_inversion(scale: float = 32.0, degrees: float = 45.0) -> Experiment:
    """From z in [-1, 1]^2 to an x with P(x) = z, P = `simulators.sine_map`.

    L = |P(x) - z|^2; a network 2-32-64-32-2 with ReLU, 4,354 numbers. The error in x is
    the distance to the nearest of all exact solutions.

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, figure 5.
    """
    simulator = sine_map(scale, math.radians(degrees))
    exact = physical_loss(simulator)

    def x_error(x: Array, sample: Sample) -> Float[Array, ""]:
        return jnp.linalg.norm(x - exact.pull_back(x, sample.target).x)

    def draw(key: Array, count: int) -> Sample:
        targets = jax.random.uniform(key, (count, 2), minval=-1.0, maxval=1.0)
        near = jax.vmap(lambda z: exact.pull_back(jnp.zeros_like(z), z).x)
        return Sample(targets, targets, solution=near(targets))

    return Experiment(
        name="sine-map",
        network=functools.partial(mlp, (2, 32, 64, 32, 2), jax.nn.relu),
        draw=draw,
        simulator=lambda sample: simulator,
        x_error=x_error,
    )
