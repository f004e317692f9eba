"""Small networks for the experiments, begun as the published ones were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array


class Layers(eqx.Module):
    """Dense layers, with the same function between any two."""

    weights: list[Array]
    biases: list[Array]
    between: Callable = eqx.field(static=True)

    def __call__(self, inputs: Array) -> Array:
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            inputs = self.between(inputs @ weight + bias)
        weight, bias = last
        return inputs @ weight + bias


def mlp(sizes: Sequence[int], between: Callable, key: Array) -> Layers:
    """Dense layers of these sizes, from Glorot's uniform weights and zero biases.

    **Source:** Glorot and Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", AISTATS 2010, equation 16.
    """
    glorot = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = zip(keys, pairwise(sizes), strict=True)
    weights = [glorot(key, shape, jnp.result_type(float)) for key, shape in pairs]
    biases = [jnp.zeros(size) for size in sizes[1:]]
    return Layers(weights, biases, between)
