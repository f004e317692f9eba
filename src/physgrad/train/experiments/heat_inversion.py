"""Where the heat was, on a periodic square of 64 by 64 cells."""

from __future__ import annotations

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from physgrad.simulator import Simulator
from physgrad.simulators.diffusion_equation import diffusion
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.unet import UNet

SIDE, DURATION = 64, 8.0
FEWEST, MOST = 4, 10


class MeanKept(eqx.Module):
    """A network of fields, whose answer has the mean of what it is asked."""

    network: Callable

    def __call__(self, field: Float[Array, "n m"]) -> Float[Array, "n m"]:
        answer = self.network(field)
        return answer + (jnp.mean(field) - jnp.mean(answer))


def heat(side: int = SIDE, held_out: int = 128) -> Experiment:
    """From z, heat that has spread for nu t = 8, to x, the boxes that it came from.

    L = |z - target|^2 / 2, 4 to 10 boxes that add up, always new ones; a U-net of
    37,697 numbers that keeps the mean, in float32 before physics in float64. Errors in
    x are |x - x*|^2 / 2. The inverse knows that the noise of z is its rounding.

    **Arguments:** `side`: cells along each axis, a multiple of 8; `held_out`: samples
    of the validation.

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 4.3.
    """
    simulator = diffusion((side, side), DURATION, lengths=float(SIDE))
    return Experiment(
        name="heat",
        network=lambda key: MeanKept(UNet(key)),
        draw=functools.partial(_draw, simulator, side),
        simulator=lambda sample: simulator,
        weight=0.5,
        x_error=lambda x, sample: jnp.sum((x - sample.solution) ** 2) / 2,
        held_out=held_out,
        batches=1,
    )


def _draw(simulator: Simulator, side: int, key: Array, count: int) -> Sample:
    fields = jax.vmap(lambda key: boxes(key, side))(jax.random.split(key, count))
    targets = jax.vmap(simulator)(fields)
    return Sample(targets, targets, solution=fields)


def boxes(key: Array, side: int) -> Float[Array, "side side"]:
    """Soft boxes that add up, as in the problem heat-initial-state.

    The number is uniform; so are the centers, in the middle 80 %, the half sizes, up to
    10 of 64, and the heights, up to 1.
    """
    count_key, center_key, half_key, height_key = jax.random.split(key, 4)
    count = jax.random.randint(count_key, (), FEWEST, MOST + 1)
    centers = SIDE * jax.random.uniform(center_key, (MOST, 2), minval=0.1, maxval=0.9)
    halves = jax.random.uniform(half_key, (MOST, 2), maxval=10.0)
    heights = jax.random.uniform(height_key, (MOST,)) * (jnp.arange(MOST) < count)
    centers = jnp.clip(centers, halves, SIDE - halves)
    width = SIDE / side
    places = (np.arange(side) + 0.5) * width
    beyond = jnp.abs(places - centers[..., None]) - halves[..., None]
    distances = jnp.maximum(beyond[:, 0, :, None], beyond[:, 1, None, :])
    inside = jnp.clip(0.5 - distances / (width * np.sqrt(0.5)), 0, 1)
    return jnp.tensordot(heights, inside, 1)
