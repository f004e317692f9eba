"""A flow of images as an animated GIF, the true one beside the one that was found."""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from physgrad.plot.canvas import AXIS_SIZE, TITLE_SIZE, write_ticks
from physgrad.plot.field_images import SEQUENTIAL
from physgrad.plot.labels import plain

MOST_FRAMES = 32
SIDE, DPI = 2.6, 92
# How long a frame and the last one stay, in milliseconds.
FRAME, LAST = 90, 1200
COLORS = 255


def film(flows: Mapping[str, np.ndarray], quantity: str) -> bytes:
    """An animated GIF of images side by side, with one color bar for all times.

    **Arguments:** `flows`: name to array, (times, rows, columns), all alike.
    """
    count = len(next(iter(flows.values())))
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round())
    low = min(float(flow.min()) for flow in flows.values())
    high = max(float(flow.max()) for flow in flows.values())
    figure = Figure(
        figsize=(len(flows) * SIDE + 0.9, SIDE + 0.5), dpi=DPI, layout="constrained"
    )
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(flows), squeeze=False)[0]
    images = []
    for ax, (name, flow) in zip(axes, flows.items(), strict=True):
        ax.set_title(plain(name), loc="left", fontsize=TITLE_SIZE, parse_math=False)
        ax.set_xticks([])
        ax.set_yticks([])
        colors = matplotlib.colormaps[SEQUENTIAL]
        images.append(ax.imshow(flow[0], cmap=colors, vmin=low, vmax=high))
    bar = figure.colorbar(images[0], ax=list(axes), fraction=0.05, aspect=18)
    scale = write_ticks(bar.ax.yaxis, max(abs(low), abs(high)))
    bar.set_label(f"{quantity}{scale}".strip(), fontsize=AXIS_SIZE, parse_math=False)
    frames = []
    for number in chosen.astype(int):
        for image, flow in zip(images, flows.values(), strict=True):
            image.set_data(flow[number])
        axes[0].set_xlabel(f"time {number} of {count - 1}", fontsize=AXIS_SIZE)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        frames.append(Image.fromarray(pixels))
    return _gif(frames)


def _gif(frames: list[Image.Image]) -> bytes:
    """The frames in the colors that serve the last one, of which none is new before."""
    palette = frames[-1].quantize(COLORS)
    first, *others = [
        frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
    ]
    stream = io.BytesIO()
    first.save(
        stream,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[*[FRAME] * len(others), LAST],
        loop=0,
        optimize=False,
    )
    return stream.getvalue()
