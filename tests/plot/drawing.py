"""Comparisons to draw, and what is found in a drawing."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.text import Text

import physgrad as pg
from physgrad.plot.one_step import way_of
from physgrad.plot.space import flat_objective
from physgrad.results import Result

DEFAULT = {
    "gd": pg.GradientDescent(0.01),
    "newton": pg.Newton(1 / 3),
    "pg": pg.PhysicalGradient(0.3),
    "pg-numeric": pg.PhysicalGradient(0.3, inverse=pg.NumericalInverse()),
}
TEN = DEFAULT | {
    "gauss-newton": pg.GaussNewton(1 / 3),
    "lm": pg.LevenbergMarquardt(),
    "lbfgs": pg.LBFGS(),
    "adam": pg.OptaxOptimizer(optax.adam(0.3)),
    "adagrad": pg.OptaxOptimizer(optax.adagrad(0.5)),
    "rmsprop": pg.OptaxOptimizer(optax.rmsprop(0.1)),
}
PICTURES = ["x_gd", "x_gd_newton", "x_all", "z_pg", "z_all", "three_spaces", "losses"]


def compared(methods, start=(3.0, 3.0), num_steps=10, dtype=jnp.float32):
    toy = pg.problems.get("toy", dtype)
    return pg.compare(
        toy.objective,
        jnp.array(start, dtype),
        methods,
        num_steps,
        problem="toy",
        solution=toy.solution,
        direction=toy.direction,
    )


def drawn(ax: Axes, gid: str):
    """The lines, collections and texts of an axes that are called so."""
    children = [*ax.lines, *ax.collections, *ax.texts, *ax.patches]
    return [child for child in children if child.get_gid() == gid]


def texts(ax: Axes, gid: str) -> list[str]:
    return [text.get_text() for text in drawn(ax, gid)]


def data(line) -> np.ndarray:
    return np.asarray(line.get_xydata())


def by_name(ax: Axes):
    return {line.get_label(): line for line in drawn(ax, "trajectory")}


def text_box(text: Text) -> tuple[np.ndarray, np.ndarray]:
    """Center and size of a text in pixels, without the line that leads to it.

    Only what was drawn has its place.
    """
    low, high = np.asarray(Text.get_window_extent(text))
    return (low + high) / 2, high - low


def thinned(lines) -> bool:
    """Whether a point of some line has no marker."""
    return any(len(line.get_markevery()) < len(data(line)) for line in lines)


def legend_texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def lay_out(ax: Axes) -> None:
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()


def contours(ax: Axes) -> dict[float, np.ndarray]:
    """The level lines: value to points, (n, 2)."""
    found = [c for c in ax.collections if isinstance(c, ContourSet)]
    return {
        float(value): np.asarray(path.vertices).reshape(-1, 2)
        for lines in found
        for value, path in zip(np.asarray(lines.levels), lines.get_paths(), strict=True)
    }


def first_way(comparison, name: str) -> Any:
    flat = flat_objective(comparison)
    assert flat is not None
    return way_of(flat, comparison[name])


def cut_off(run, iterates: int, result=Result.inverse_failed):
    """The run as if it had failed after so many iterates."""

    def cut(tree):
        return jax.tree.map(lambda a: a[:iterates], tree)

    way = run.trajectory
    spaces = {name: cut(tree) for name, tree in way.spaces.items()}
    way = dataclasses.replace(
        way, spaces=spaces, losses=way.losses[:iterates], steps=way.steps[:iterates]
    )
    return dataclasses.replace(
        run, result=result, message="why", trajectory=way, num_steps=iterates - 1
    )


def shortened(comparison, num_steps: int):
    """The comparison as if it had done so few steps."""
    runs = {
        name: cut_off(run, num_steps + 1, Result.completed)
        for name, run in comparison.runs.items()
    }
    return dataclasses.replace(comparison, runs=runs, num_steps=num_steps)
