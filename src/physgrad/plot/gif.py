"""Frames of a few colors as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

# Steps from the background to each color: what smoothed edges are drawn with.
SHADES = 8
MOST_COLORS = 255


def palette_of(colors: Sequence[str], background: str = "white") -> np.ndarray:
    """The background, and shades that lead from it to each color; (n, 3), uint8.

    >>> palette_of(["black"]).shape, palette_of(["black", "black"])[-1].tolist()
    ((9, 3), [0, 0, 0])
    """
    base = np.array(to_rgb(background))
    every = list(dict.fromkeys(colors))
    shades = min(SHADES, (MOST_COLORS - 1) // max(len(every), 1))
    parts = np.arange(1, shades + 1)[:, None] / shades
    blends = [base + parts * (np.array(to_rgb(color)) - base) for color in every]
    return (255 * np.vstack([base[None], *blends])).round().astype(np.uint8)


def encode(
    frames: Sequence[np.ndarray], colors: Sequence[str], frame: int, last: int
) -> bytes:
    """An animated GIF that begins anew after its last frame.

    **Arguments:** `frames`: of shape (height, width, 3), uint8; `colors`: what is drawn
    on white, all else becomes the nearest shade of them; `frame`, `last`: how long a
    frame and the last one stay, in milliseconds.
    """
    palette = palette_of(colors)
    images = []
    for pixels in frames:
        height, width, _ = pixels.shape
        indices = _nearest(pixels, palette)
        image = Image.frombytes("P", (width, height), indices.tobytes())
        image.putpalette(palette.tobytes())
        images.append(image)
    stream = io.BytesIO()
    first, *others = images
    first.save(
        stream,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[*[frame] * len(others), last],
        loop=0,
        optimize=False,
        disposal=1,  # each frame is drawn over the one before
    )
    return stream.getvalue()


def _nearest(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The index of the nearest color for each pixel, (height, width), uint8."""
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, places = np.unique(packed, return_inverse=True)
    rgb = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(int)
    distance = np.sum((rgb[:, None] - palette.astype(int)) ** 2, axis=2)
    nearest = np.argmin(distance, axis=1).astype(np.uint8)
    return nearest[places].reshape(packed.shape)
