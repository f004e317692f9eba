"""Bounds as a user states them: a pair of numbers, or of PyTrees like x."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from physgrad.inverses.box import Box
from physgrad.inverses.flat import leaf_name
from physgrad.inverses.settings import brief
from physgrad.inverses.trees import arrays, check_values


class Bounds(eqx.Module):
    """lower <= x <= upper."""

    lower: PyTree
    upper: PyTree

    def like(self, x: PyTree) -> tuple[PyTree, PyTree]:
        """Both bounds as trees like x.

        **Raises:** `ValueError` for another structure, or a shape that does not fit.
        """
        return _like("lower", self.lower, x), _like("upper", self.upper, x)

    def box(self, x: PyTree) -> Box:
        """The bounds of the flat x."""
        lower, upper = self.like(x)
        return Box(ravel_pytree(lower)[0], ravel_pytree(upper)[0])

    def check(self, x: PyTree) -> None:
        """Refuse bounds that cross, and an x outside (`ValueError`, by name)."""
        lower, upper = self.like(x)
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((lower, upper, x))):
            return  # values are known at run time only
        leaves = jax.tree_util.tree_leaves_with_path(x)
        bounds = jax.tree.leaves(lower), jax.tree.leaves(upper)
        for (path, leaf), low, high in zip(leaves, *bounds, strict=True):
            values, low, high = (np.asarray(v) for v in (leaf, low, high))
            crossed = np.argwhere(low > high)
            if len(crossed):
                place = tuple(crossed[0].tolist())
                raise ValueError(
                    f"lower bounds must not lie above upper ones, got {low[place]} "
                    f"and {high[place]} for {_name('x', path, place)}"
                )
            outside = np.argwhere((values < low) | (values > high))
            if len(outside):
                place = tuple(outside[0].tolist())
                raise ValueError(
                    f"{_name('x0', path, place)} must lie between {low[place]} and "
                    f"{high[place]}, got {values[place]}"
                )


def as_bounds(value: Any) -> Bounds | None:
    """Bounds from a pair (lower, upper); None, or `Bounds`, as they are.

    None, alone or in place of a leaf, is no bound.

    >>> as_bounds((0.0, None)).upper
    Array(inf, dtype=float32)
    """
    if value is None or isinstance(value, Bounds):
        return value
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"bounds must be a pair (lower, upper), got {brief(value)}")
    lower, upper = value
    found = _filled("lower", lower, -np.inf), _filled("upper", upper, np.inf)
    for name, tree in zip(("lower", "upper"), found, strict=True):
        check_values(f"the {name} bound", tree, lambda v: ~np.isnan(v), "a number")
    return Bounds(*found)


def _filled(name: str, tree: PyTree, none: float) -> PyTree:
    filled = jax.tree.map(
        lambda leaf: none if leaf is None else leaf, tree, is_leaf=lambda v: v is None
    )
    return arrays(name, filled)


def _like(name: str, tree: PyTree, x: PyTree) -> PyTree:
    one_number = jax.tree.structure(tree) == jax.tree.structure(0.0)
    if one_number and jnp.ndim(tree) == 0:
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, tree), x)
    got, expected = jax.tree.structure(tree), jax.tree.structure(x)
    if got != expected:
        raise ValueError(
            f"the {name} bound must be a number or have the structure of x, "
            f"{expected}, got {got}"
        )
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf, bound: _shaped(name, path, leaf, bound), x, tree
    )


def _shaped(name: str, path: Any, leaf: Any, bound: Any) -> Any:
    try:
        return jnp.broadcast_to(bound, leaf.shape).astype(leaf.dtype)
    except ValueError as error:
        raise ValueError(
            f"the {name} bound of {leaf_name('x', path)} must fit its shape "
            f"{leaf.shape}, got {bound.shape}"
        ) from error


def _name(tree: str, path: Any, place: tuple[int, ...]) -> str:
    return leaf_name(tree, path) + "".join(f"[{i}]" for i in place)
