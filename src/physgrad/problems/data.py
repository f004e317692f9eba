"""What problems are drawn from: fields and points by a seed, and data with noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def default_dtype(dtype: Any) -> np.dtype:
    """The dtype asked for; None for JAX's default float."""
    return np.dtype(jnp.result_type(float) if dtype is None else dtype)


def on_device(value: Any, dtype: np.dtype) -> Array:
    """NumPy to JAX by `device_put`, which compiles nothing."""
    return jax.device_put(np.asarray(value, dtype))


def noisy(z: Any, noise: float, seed: int) -> tuple[np.ndarray, float]:
    """z with Gaussian noise, a part of its root mean square; and what that is.

    >>> data, deviation = noisy(np.full(4, 2.0), noise=0.0, seed=0)
    >>> data.tolist(), deviation
    ([2.0, 2.0, 2.0, 2.0], 0.0)
    """
    clean = np.asarray(z, float)
    deviation = noise * float(np.sqrt(np.mean(clean**2)))
    # other numbers than those the truth is drawn with
    draw = np.random.default_rng([seed, 1]).standard_normal(clean.shape)
    return clean + deviation * draw, deviation


def boxes(cells: int, seed: int) -> np.ndarray:
    """4 to 10 soft boxes that add up, on a square of 64 by 64 units of length.

    The number is uniform; so are the centers, in the middle 80 %, the half sizes, up to
    10, and the heights, up to 1.

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion",
    NeurIPS 2022, section 4.3 (and its code).
    """
    rng = np.random.default_rng([seed, 0])
    width = 64 / cells
    places = (np.arange(cells) + 0.5) * width
    field = np.zeros((cells, cells))
    for _ in range(int(4 + 7 * rng.random())):
        center = 6.4 + 51.2 * rng.random(2)
        half = 10 * rng.random(2)
        height = rng.random()
        center = np.clip(center, half, 64 - half)
        rows, columns = (
            np.abs(places - c) - h for c, h in zip(center, half, strict=True)
        )
        distance = np.maximum(rows[:, None], columns)
        field += height * np.clip(0.5 - distance / (width * np.sqrt(0.5)), 0, 1)
    return field


def random_field(shape: tuple[int, ...], decay: float, seed: int) -> np.ndarray:
    """A Gaussian field in a periodic box, of power (1 + |k|^2)^-decay, k in turns.

    Of mean zero and root mean square one. A finer grid shows the same field: its waves
    are drawn from the longest on.
    """
    most = 16
    field = np.zeros(shape)
    places = [2 * np.pi * (np.arange(n) + 0.5) / n for n in shape]
    rng = np.random.default_rng([seed, 0])
    counts = [range(-most, most + 1)] * (len(shape) - 1) + [range(most + 1)]
    for k in np.stack(np.meshgrid(*counts, indexing="ij"), -1).reshape(-1, len(shape)):
        amplitude = rng.standard_normal(2) * (1 + k @ k) ** (-decay / 2)
        short = all(2 * abs(one) < n for one, n in zip(k, shape, strict=True))
        if not short or not k.any():
            continue
        angle = sum(
            one * s.reshape(-1, *(1,) * (len(shape) - 1 - i))
            for i, (one, s) in enumerate(zip(k, places, strict=True))
        )
        field += amplitude[0] * np.cos(angle) + amplitude[1] * np.sin(angle)
    return field / np.sqrt(np.mean(field**2))
