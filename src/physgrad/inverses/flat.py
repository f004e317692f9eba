"""Maps between flat vectors: what rules, optimizers and solvers see of a simulator.

User functions work on PyTrees. Each space is raveled once, into one vector of one
floating dtype; `FlatMap` ravels and unravels around the user's functions.
"""

from __future__ import annotations

import collections
import inspect
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import Jaxpr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from physgrad.inverses.notes import is_library
from physgrad.inverses.settings import brief

Flat = Float[Array, " _"]
Scalar = Float[Array, ""]

_TRACER_ERRORS = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
)
# What JAX says of a callback that is to be differentiated; what to do about it.
_NO_DERIVATIVE = "do not support JVP"
_OWN_DERIVATIVE = (
    "give it one with jax.custom_jvp or Simulator.from_callback(f, output, "
    "differences=True), or use a method that needs none: PhysicalGradient with an "
    "AnalyticInverse(f) or a BroydenInverse()"
)
# The derivative J t of a function with `jax.custom_vjp`: it raises when it is compiled.
_REVERSE_ONLY = "custom_lin"


def largest(vector: Flat) -> Scalar:
    """The largest magnitude: a norm that cannot overflow."""
    return jnp.max(jnp.abs(vector))


def sizes(*vectors: Flat) -> tuple[Scalar, ...]:
    """`largest` of each vector, without derivatives.

    In one pass over memory for those of one size, which on large vectors is what
    counts.
    """

    def larger(a: tuple[Scalar, ...], b: tuple[Scalar, ...]) -> tuple[Array, ...]:
        return tuple(map(jnp.maximum, a, b))

    alike: dict[int, list[int]] = collections.defaultdict(list)
    for place, vector in enumerate(vectors):
        alike[vector.size].append(place)
    found: dict[int, Scalar] = {}
    for places in alike.values():
        group = [jnp.abs(lax.stop_gradient(vectors[place])) for place in places]
        zeros = [jnp.zeros((), vector.dtype) for vector in group]
        largest_ones = lax.reduce(tuple(group), tuple(zeros), larger, (0,))
        found |= zip(places, largest_ones, strict=True)
    return tuple(found[place] for place in range(len(vectors)))


def power_of_two(size: Float[Array, " _"]) -> Float[Array, " _"]:
    """The power of two nearest to each positive size: units that round nothing."""
    power = jnp.round(jnp.log2(size)).astype(jnp.int32)
    return jnp.ldexp(jnp.ones_like(size), power)  # exact, unlike exp2


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


def real_array(leaf: Any, name: str) -> jax.Array:
    """A real number or array as a JAX array; whole numbers become floats.

    **Raises:** `TypeError` for anything else: text, None, objects, bools, complex.
    """
    if isinstance(leaf, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a floating array, got a masked one; fill it")
    number = isinstance(leaf, int | float) and not isinstance(leaf, bool)
    if not number and not hasattr(leaf, "__array__"):
        raise TypeError(f"{name} must be a floating array, got {brief(leaf)}")
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    if jnp.issubdtype(array.dtype, jnp.integer):
        return jnp.asarray(array, dtype=float)
    check_leaf(array, name)
    with np.errstate(over="ignore"):
        return jnp.asarray(array)


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
        raise ValueError(f"{name} has no entries, got {brief(tree)}")
    return ravel_pytree(tree)


def call_user(
    function: Callable, what: str, *args: Any, way_out: str = _OWN_DERIVATIVE
) -> Any:
    """Call a user's function; say where it left JAX if it did (`TypeError`)."""
    _check_arguments(function, what, args)
    try:
        return function(*args)
    except ValueError as error:
        if _NO_DERIVATIVE not in str(error):
            raise
        raise TypeError(
            f"{what} calls back to Python, which cannot be differentiated; {way_out}"
        ) from error
    except _TRACER_ERRORS as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not is_library(f.filename)]
        where = f"it says: {str(error).splitlines()[0]}"
        if own:
            where = f"line {own[-1].lineno} of {os.path.basename(own[-1].filename)}"
        raise TypeError(
            f"{what} must use jax.numpy; {where}: NumPy functions, float(), and Python "
            "`if` or `while` on array values cannot be traced (use jnp.where, "
            "jax.lax.cond; or leave it as it is: Simulator.from_callback)"
        ) from error


def _check_arguments(function: Callable, what: str, args: tuple[Any, ...]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in callables have no signature
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise TypeError(
            f"{what} is called with {len(args)} argument{'s' * (len(args) > 1)}, but "
            f"{name}{signature} does not take that: {error}"
        ) from None


def largest_by_leaf(forward: FlatMap, z: Flat) -> Float[Array, " leaves"]:
    """The largest magnitude in each leaf of the user's z that has entries."""
    leaves = jax.tree.leaves(forward.unravel_z(z))
    return jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves if leaf.size])


def sizes_by_leaf(forward: FlatMap, *zs: Flat) -> tuple[Float[Array, " leaves"], ...]:
    """`largest_by_leaf` of each z, as `sizes` does."""
    trees = [jax.tree.leaves(forward.unravel_z(z)) for z in zs]
    leaves = [leaf for leaf in zip(*trees, strict=True) if leaf[0].size]
    found = [sizes(*map(jnp.ravel, leaf)) for leaf in leaves]
    return tuple(map(jnp.stack, zip(*found, strict=True)))


def spread_by_leaf(forward: FlatMap, values: Float[Array, " leaves"], z: Flat) -> Flat:
    """A vector like z with a value for each leaf: what undoes `largest_by_leaf`."""
    leaves = [leaf for leaf in jax.tree.leaves(forward.unravel_z(z)) if leaf.size]
    pairs = zip(leaves, values, strict=True)
    return jnp.concatenate([jnp.full(leaf.size, value) for leaf, value in pairs])


class FlatMap(eqx.Module):
    """A simulator, or a chain of them, as a map between flat vectors.

    `forward(x)` is the last space, `forward.spaces(x)` all of them, first to last.
    """

    functions: tuple[Callable, ...]
    """The user's functions, left to right, PyTree to PyTree."""
    unravels: tuple[Callable, ...] = eqx.field(static=True)
    """For each space, first to last: flat vector to the user's PyTree."""
    forward_modes: tuple[bool, ...] = eqx.field(static=True)
    """Whether each function has J t, not J^T u alone, as with `jax.custom_vjp`."""

    def __call__(self, x: Flat) -> Flat:
        return self.spaces(x)[-1]

    def spaces(self, x: Flat) -> tuple[Flat, ...]:
        """The point x in every space: x, z1, ..., z."""
        points = [x]
        for function, unravel in zip(self.functions, self.unravels, strict=False):
            tree = call_user(function, "the simulator", unravel(points[-1]))
            points.append(ravel_pytree(tree)[0])
        return tuple(points)

    @property
    def forward_mode(self) -> bool:
        """Whether there is J t."""
        return all(self.forward_modes)

    def link(self, index: int) -> FlatMap:
        """The map between space `index` and the next one."""
        return self.part(index, index + 1)

    def part(self, first: int, last: int) -> FlatMap:
        """The map between two spaces."""
        return FlatMap(
            self.functions[first:last],
            self.unravels[first : last + 1],
            self.forward_modes[first:last],
        )

    def unravel_x(self, x: Flat) -> PyTree:
        """The user's PyTree of a vector in the first space."""
        return self.unravels[0](x)

    def unravel_z(self, z: Flat) -> PyTree:
        """The user's PyTree of a vector in the last space."""
        return self.unravels[-1](z)


def _output(function: Callable, x: PyTree) -> PyTree:
    """What a simulator returns (`TypeError` for text and other objects in it)."""
    z = call_user(function, "the simulator", x)
    for path, leaf in jax.tree_util.tree_leaves_with_path(z):
        if not isinstance(leaf, complex | float | int | jax.Array):
            check_leaf(leaf, leaf_name("the simulator's output", path), _hint(z))
    return z


def _traced(function: Callable, x: PyTree) -> tuple[Callable, PyTree, bool]:
    """The function, the structure of what it returns, and whether it has J t.

    Values that are being differentiated, which a function may close over, become
    arrays of a module: implicit derivatives do not see them otherwise.
    """

    def output(x: PyTree) -> PyTree:
        return _output(function, x)

    def pushed(x: PyTree) -> tuple[PyTree, PyTree]:
        return jax.jvp(output, (x,), (x,))

    try:
        jaxpr, (z, _) = jax.make_jaxpr(pushed, return_shape=True)(x)
    except (TypeError, ValueError, NotImplementedError):
        # raises, if it is not the derivative that does
        return function, jax.eval_shape(output, x), False
    if any(isinstance(value, Tracer) for value in jaxpr.consts):
        function = eqx.filter_closure_convert(output, x)
    return function, z, _REVERSE_ONLY not in _primitives(jaxpr.jaxpr)


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    """The names of all operations of a program, those of its parts included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for part in jax.tree.leaves(list(equation.params.values())):
            part = getattr(part, "jaxpr", part)  # closed or not
            if isinstance(part, Jaxpr):
                yield from _primitives(part)


def _hint(z: PyTree) -> str:
    if isinstance(z, tuple):
        return "; return only the physical state, no auxiliary values"
    return ""


def flat_map(functions: tuple[Callable, ...], x: PyTree) -> tuple[FlatMap, Flat]:
    """Ravel around `functions` at the structure of `x`: (the flat map, x as a vector).

    **Raises:** `TypeError` if a space is not made of real floating arrays of one
    dtype, the same in all spaces, or if a function cannot be traced; `ValueError` for
    a space without entries.
    """
    x_flat, unravel = flatten(x, "x")
    seen, unravels, modes, tree = [], [unravel], [], x
    for function in functions:
        function, tree, forward_mode = _traced(function, tree)
        seen.append(function)
        modes.append(forward_mode)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), tree)
        z_flat, unravel = flatten(zeros, "the simulator's output", _hint(tree))
        if z_flat.dtype != x_flat.dtype:
            raise TypeError(
                f"the simulator must keep the dtype of x, {x_flat.dtype}, "
                f"got {z_flat.dtype}; cast its constants to the dtype of x"
            )
        unravels.append(unravel)
    return FlatMap(tuple(seen), tuple(unravels), tuple(modes)), x_flat
