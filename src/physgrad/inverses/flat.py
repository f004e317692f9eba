"""Maps between flat vectors: what rules, optimizers and solvers see of a simulator.

User functions work on PyTrees. Each space is raveled once, into one vector of one
floating dtype; `FlatMap` ravels and unravels around the user's functions.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

Flat = Float[Array, " _"]
Scalar = Float[Array, ""]

_TRACER_ERRORS = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
)


def largest(vector: Flat) -> Scalar:
    """The largest magnitude: a norm that cannot overflow."""
    return jnp.max(jnp.abs(vector))


def leaf_name(name: str, path: tuple[Any, ...]) -> str:
    """How a leaf is called in messages: `x0`, `x0[1]`, `x0['a']`, `x0.b`."""
    return name + jax.tree_util.keystr(path)


def check_leaf(leaf: Any, name: str, hint: str = "") -> None:
    """Refuse what is not a real floating array of 32 or 64 bits (`TypeError`)."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        got = type(leaf).__name__
    elif jnp.issubdtype(dtype, jnp.complexfloating):
        got, hint = str(dtype), "; write complex states as real pairs (re, im)"
    elif dtype in (jnp.float32, jnp.float64):
        return
    else:
        got = str(dtype)
    raise TypeError(f"{name} must be a float32 or float64 array, got {got}{hint}")


def flatten(tree: PyTree, name: str, hint: str = "") -> tuple[Flat, Callable]:
    """Ravel a PyTree of floating arrays: (vector, function that undoes it).

    **Raises:** `ValueError` for a tree without entries; `TypeError` for leaves that
    are not float32 or float64 arrays, or that differ in dtype.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for path, leaf in leaves:
        check_leaf(leaf, leaf_name(name, path), hint)
    dtypes = sorted({str(leaf.dtype) for _, leaf in leaves})
    if len(dtypes) > 1:
        raise TypeError(f"{name} must have one dtype, got {' and '.join(dtypes)}")
    if sum(leaf.size for _, leaf in leaves) == 0:
        raise ValueError(f"{name} has no entries")
    return ravel_pytree(tree)


def call_user(function: Callable, what: str, *args: Any) -> Any:
    """Call a user's function; say where it left JAX if it did (`TypeError`)."""
    try:
        return function(*args)
    except _TRACER_ERRORS as error:
        code = getattr(function, "__code__", None)
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if code is not None and f.filename == code.co_filename]
        where = f"line {own[-1].lineno}" if own else "see the error above"
        raise TypeError(
            f"{what} must use jax.numpy; {where}: NumPy functions, float(), and Python "
            "`if` or `while` on array values cannot be traced (use jnp.where, "
            "jax.lax.cond)"
        ) from error


class FlatMap(eqx.Module):
    """A simulator, or a chain of them, as a map between flat vectors.

    `forward(x)` is the last space, `forward.spaces(x)` all of them, first to last.
    """

    functions: tuple[Callable, ...]
    """The user's functions, left to right, PyTree to PyTree."""
    unravels: tuple[Callable, ...] = eqx.field(static=True)
    """For each space, first to last: flat vector to the user's PyTree."""

    def __call__(self, x: Flat) -> Flat:
        return self.spaces(x)[-1]

    def spaces(self, x: Flat) -> tuple[Flat, ...]:
        """The point x in every space: x, z1, ..., z."""
        points = [x]
        for function, unravel in zip(self.functions, self.unravels, strict=False):
            tree = call_user(function, "the simulator", unravel(points[-1]))
            points.append(ravel_pytree(tree)[0])
        return tuple(points)

    def link(self, index: int) -> FlatMap:
        """The map between space `index` and the next one."""
        return FlatMap(
            self.functions[index : index + 1], self.unravels[index : index + 2]
        )

    def unravel_x(self, x: Flat) -> PyTree:
        """The user's PyTree of a vector in the first space."""
        return self.unravels[0](x)

    def unravel_z(self, z: Flat) -> PyTree:
        """The user's PyTree of a vector in the last space."""
        return self.unravels[-1](z)


def flat_map(functions: tuple[Callable, ...], x: PyTree) -> tuple[FlatMap, Flat]:
    """Ravel around `functions` at the structure of `x`: (the flat map, x as a vector).

    **Raises:** `TypeError` if a space is not made of real floating arrays of one
    dtype, the same in all spaces, or if a function cannot be traced; `ValueError` for
    a space without entries.
    """
    x_flat, unravel = flatten(x, "x")
    unravels, tree = [unravel], x
    for function in functions:
        tree = jax.eval_shape(
            lambda t, f=function: call_user(f, "the simulator", t), tree
        )
        hint = ""
        if isinstance(tree, tuple):
            hint = "; return only the physical state, no auxiliary values"
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), tree)
        z_flat, unravel = flatten(zeros, "the simulator's output", hint)
        if z_flat.dtype != x_flat.dtype:
            raise TypeError(
                f"the simulator must keep the dtype of x, {x_flat.dtype}, "
                f"got {z_flat.dtype}; cast its constants to the dtype of x"
            )
        unravels.append(unravel)
    return FlatMap(functions, tuple(unravels)), x_flat
