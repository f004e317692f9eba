"""A U-net for periodic fields, as the published experiments have it."""

from __future__ import annotations

import itertools
import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from physgrad.train.experiment import SAMPLES

FILTERS, LEVELS = 16, 4
SMALLEST_VARIANCE = 1e-5


class UNet(eqx.Module):
    """A field from a field: what is seen at half the resolution helps, and so on.

    Each level is two 3 x 3 convolutions, each normalized over the batch; below it is
    the same at half the resolution, from the largest of each 2 x 2 cells. Going up, the
    lower level is interpolated and stands beside what the upper one had. All of it in
    float32, whatever the fields are; 37,697 numbers.

    It belongs under a `jax.vmap` whose axis is `SAMPLES`.

    **Source:** Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015; here with the sizes of
    Holl, Koltun, Thuerey, NeurIPS 2022.
    """

    down: list[DoubleConvolution]
    up: list[DoubleConvolution]
    last: Convolution

    def __init__(self, key: Array):
        keys = iter(jax.random.split(key, 2 * LEVELS))
        sizes = [1, *[FILTERS] * (LEVELS - 1)]
        self.down = [DoubleConvolution(size, next(keys)) for size in sizes]
        self.up = [DoubleConvolution(2 * FILTERS, next(keys)) for _ in sizes[1:]]
        self.last = Convolution((1, 1, FILTERS, 1), next(keys))

    def __call__(self, field: Float[Array, "n m"]) -> Float[Array, "n m"]:
        seen = [self.down[0](field.astype(jnp.float32)[:, :, None])]
        for level in self.down[1:]:
            seen.append(level(_largest_of_four(seen[-1])))
        features = seen.pop()
        for level in self.up:
            beside = seen.pop()
            features = jax.image.resize(features, beside.shape, "bilinear")
            features = level(jnp.concatenate([beside, features], axis=-1))
        return self.last(features)[:, :, 0].astype(field.dtype)


class DoubleConvolution(eqx.Module):
    """Twice: a 3 x 3 convolution, normalization over the batch, ReLU."""

    convolutions: list[Convolution]
    normalizations: list[BatchNormalization]

    def __init__(self, channels: int, key: Array):
        self.convolutions = [
            Convolution((3, 3, size, FILTERS), key)
            for size, key in zip(
                (channels, FILTERS), jax.random.split(key), strict=True
            )
        ]
        self.normalizations = [BatchNormalization(), BatchNormalization()]

    def __call__(self, features: Array) -> Array:
        pairs = zip(self.convolutions, self.normalizations, strict=True)
        for convolution, normalization in pairs:
            features = jax.nn.relu(normalization(convolution(features)))
        return features


class Convolution(eqx.Module):
    """A periodic convolution, as a sum of products with shifted features.

    `lax.conv` is ten times slower than this in a `lax.scan` on CPUs.
    """

    weight: Float[Array, "rows columns channels filters"]
    bias: Float[Array, " filters"]

    def __init__(self, shape: tuple[int, int, int, int], key: Array):
        weight_key, bias_key = jax.random.split(key)
        most = 1 / math.sqrt(math.prod(shape[:3]))
        begun = partial(jax.random.uniform, minval=-most, maxval=most)
        self.weight = begun(weight_key, shape, jnp.float32)
        self.bias = begun(bias_key, shape[3:], jnp.float32)

    def __call__(self, features: Array) -> Array:
        rows, columns, *_ = features.shape
        high, wide, *_ = self.weight.shape
        around = ((high // 2, high // 2), (wide // 2, wide // 2), (0, 0))
        padded = jnp.pad(features, around, mode="wrap")
        total = self.bias
        for i, j in itertools.product(range(high), range(wide)):
            total = total + padded[i : i + rows, j : j + columns] @ self.weight[i, j]
        return total


class BatchNormalization(eqx.Module):
    """Each channel with mean 0 and variance 1 over all samples of the batch at hand.

    There are no running averages: a network is judged on batches, too.

    **Source:** Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 1.
    """

    weight: Float[Array, " filters"]
    bias: Float[Array, " filters"]

    def __init__(self):
        self.weight = jnp.ones(FILTERS, jnp.float32)
        self.bias = jnp.zeros(FILTERS, jnp.float32)

    def __call__(self, features: Array) -> Array:
        centered = features - _mean(features)
        scale = lax.rsqrt(_mean(centered**2) + SMALLEST_VARIANCE)
        return centered * (self.weight * scale) + self.bias


def _mean(features: Array) -> Array:
    """Of each channel, over places and samples."""
    return lax.pmean(jnp.mean(features, axis=(0, 1)), SAMPLES)


def _largest_of_four(features: Array) -> Array:
    rows, columns, channels = features.shape
    blocks = features.reshape(rows // 2, 2, columns // 2, 2, channels)
    return jnp.max(blocks, axis=(1, 3))
