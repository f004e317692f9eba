"""A curve in the plane, one of whose coordinates counts a hundred times less."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from physgrad.inverses.analytic import AnalyticInverse
from physgrad.simulator import Simulator
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.networks import mlp

SCALE = 0.01


class TwoScales(eqx.Module):
    """z = (x0, scale x1)."""

    scales: Array

    def __call__(self, x: Array) -> Array:
        return self.scales.astype(x.dtype) * x

    def back(self, z: Array) -> Array:
        """x."""
        return z / self.scales.astype(z.dtype)


def two_scale_toy(scale: float = SCALE) -> Experiment:
    """From t in [-1, 1] to (sin 6t, cos 9t), the second of which is to be 1 / scale.

    z = (x0, scale x1), L = |z - target|^2 / 2; a network 1-7-2 with tanh, 30 numbers.

    **Source:** Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
    Learning", ICLR 2022, figure 1.
    """
    physics = TwoScales(jnp.array([1.0, scale]))
    simulator = Simulator(physics, AnalyticInverse(physics.back, one_to_one=True))
    return Experiment(
        name="two-scale-toy",
        network=functools.partial(mlp, (1, 7, 2), jnp.tanh),
        draw=functools.partial(_draw, physics),
        simulator=lambda sample: simulator,
        weight=0.5,
        x_error=lambda x, sample: jnp.linalg.norm(x - sample.solution),
    )


def _draw(physics: TwoScales, key: Array, count: int) -> Sample:
    t = jax.random.uniform(key, (count, 1), minval=-1.0, maxval=1.0)
    targets = jnp.concatenate([jnp.sin(6 * t), jnp.cos(9 * t)], axis=1)
    return Sample(t, targets, solution=physics.back(targets))
