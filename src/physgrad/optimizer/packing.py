"""Many small arrays as one vector of each dtype: recording and branches cost per array.

A compiled loop writes each recorded array on its own, a branch each array that it
returns, and for a handful of numbers that costs more than the step itself.
"""

from __future__ import annotations

import collections
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

# Arrays of at most so many entries travel together; copying larger ones would cost.
SMALL = 64


class _Layout(NamedTuple):
    """What was packed."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...]
    """For each vector, the places of its leaves."""
    large: tuple[int, ...]
    """The places of the leaves that are kept as they are."""


class Packed(eqx.Module):
    """A PyTree of arrays, its small ones joined; with leading axes, many such trees."""

    vectors: tuple[Array, ...]
    large: tuple[Array, ...]
    layout: _Layout = eqx.field(static=True)

    def unpack(self) -> PyTree:
        """The tree that was packed: the same bits, in NumPy or JAX."""
        leaves: list[Any] = [None] * len(self.layout.shapes)
        for places, vector in zip(self.layout.groups, self.vectors, strict=True):
            shapes = [self.layout.shapes[place] for place in places]
            ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
            for place, shape, end in zip(places, shapes, ends, strict=True):
                part = vector[..., end - math.prod(shape) : end]
                leaves[place] = part.reshape(*vector.shape[:-1], *shape)
        for place, leaf in zip(self.layout.large, self.large, strict=True):
            leaves[place] = leaf
        return jax.tree.unflatten(self.layout.structure, leaves)


def pack(tree: PyTree) -> Packed:
    """A PyTree of arrays with its small ones joined."""
    leaves, structure = jax.tree.flatten(tree)
    groups: dict[Any, list[int]] = collections.defaultdict(list)
    large: list[int] = []
    for place, leaf in enumerate(leaves):
        (groups[leaf.dtype] if leaf.size <= SMALL else large).append(place)
    layout = _Layout(
        structure,
        tuple(leaf.shape for leaf in leaves),
        tuple(tuple(places) for places in groups.values()),
        tuple(large),
    )
    vectors = tuple(
        jnp.concatenate([jnp.ravel(leaves[place]) for place in places])
        for places in layout.groups
    )
    return Packed(vectors, tuple(leaves[place] for place in large), layout)
