"""PyTrees that a user gives beside x and z: checked at once, raveled when used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.typing import DTypeLike
from jaxtyping import PyTree

from physgrad.inverses.flat import Flat, leaf_name, real_array


def arrays(name: str, tree: PyTree) -> PyTree:
    """A PyTree of real numbers or arrays as JAX arrays (`TypeError` for others).

    >>> arrays("target", [1, 2.5])
    [Array(1., dtype=float32), Array(2.5, dtype=float32)]
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: real_array(leaf, leaf_name(name, path)), tree
    )


def in_precision(tree: PyTree, dtype: DTypeLike) -> PyTree:
    """The tree with its floating arrays in a precision; complex ones stay complex.

    >>> import jax.numpy as jnp, numpy as np
    >>> in_precision((np.ones(1), jnp.array([1j])), jnp.float32)
    (Array([1.], dtype=float32), Array([0.+1.j], dtype=complex64))
    """
    real = jnp.finfo(dtype).dtype
    both = jnp.result_type(real, jnp.complex64)

    def cast(leaf: Any) -> Any:
        if not eqx.is_inexact_array(leaf):
            return leaf
        return jnp.asarray(leaf, both if jnp.iscomplexobj(leaf) else real)

    return jax.tree.map(cast, tree)


def check_values(
    name: str,
    tree: PyTree,
    accept: Callable[[np.ndarray], np.ndarray],
    expected: str,
    hint: str = "",
) -> None:
    """Refuse entries that are not as expected, naming the first (`ValueError`)."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, Tracer):  # its values are known at run time only
            continue
        wrong = np.argwhere(~accept(np.asarray(leaf)))
        if len(wrong):
            value = np.asarray(leaf)[tuple(wrong[0])]
            place = leaf_name(name, path) + "".join(f"[{i}]" for i in wrong[0])
            raise ValueError(f"{name} must be {expected}, got {value} at {place}{hint}")


def ravel_like(name: str, tree: PyTree, space: str, like: PyTree) -> Flat:
    """The vector of a PyTree that must be like x or z, in their dtype.

    **Raises:** `ValueError` for another structure, or another shape of a leaf.

    >>> import jax.numpy as jnp
    >>> ravel_like("prior", [jnp.ones(2)], "x", [jnp.zeros(2)])
    Array([1., 1.], dtype=float32)
    """
    got, expected = jax.tree.structure(tree), jax.tree.structure(like)
    if got != expected:
        raise ValueError(
            f"{name} must have the structure of {space}, {expected}, got {got}"
        )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(like), strict=True
    )
    for (path, leaf), wanted in pairs:
        if leaf.shape != wanted.shape:
            raise ValueError(
                f"{leaf_name(name, path)} must have the shape {wanted.shape} of "
                f"{leaf_name(space, path)}, got {leaf.shape}"
            )
    cast = jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), tree, like)
    return ravel_pytree(cast)[0]
