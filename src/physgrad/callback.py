"""Simulators outside of JAX: NumPy, Fortran, a program; called from compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from physgrad.inverses.settings import brief
from physgrad.results import SimulatorError


class Callback(eqx.Module):
    """z = f(x) by Python code that JAX cannot trace; see `Simulator.from_callback`."""

    function: Callable = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)
    """Of z."""
    differences: bool = eqx.field(static=True)
    """Whether it has derivatives, by finite differences."""

    def __call__(self, x: PyTree) -> PyTree:
        flat, _ = ravel_pytree(x)
        leaves, structure = jax.tree.flatten(x)
        like = structure, tuple(leaf.shape for leaf in leaves)
        count = sum(int(np.prod(shape)) for shape in self.shapes)
        dtype = flat.dtype

        def called(flat: np.ndarray) -> np.ndarray:
            return self._call(_unravel(flat, *like), dtype)

        def value(flat: Array) -> Array:
            return _from_python(called, (count,), flat)

        if self.differences:
            return self._tree(_with_differences(value, called, count)(flat))
        return self._tree(_without_derivative(value)(flat))

    def _tree(self, z: Array) -> PyTree:
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = jnp.split(z, np.cumsum(sizes)[:-1])
        leaves = [p.reshape(s) for p, s in zip(parts, self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)

    def _call(self, x: PyTree, dtype: Any) -> np.ndarray:
        """f at one point; it gets a copy of its own, and may write into it."""
        try:
            return self._checked(self.function(_copy(x))).astype(dtype)
        except Exception as error:
            _failed.error, _failed.x = error, x
            raise

    def _checked(self, z: Any) -> np.ndarray:
        leaves, structure = jax.tree.flatten(z)
        if structure != self.structure:
            raise TypeError(
                f"the simulator must return a z like output, {self.structure}, got "
                f"{brief(z)}"
            )
        arrays = [np.asarray(leaf, float) for leaf in leaves]
        got = tuple(array.shape for array in arrays)
        if got != self.shapes:
            raise ValueError(
                f"the simulator must return the shapes of output, {list(self.shapes)}, "
                f"got {list(got)}"
            )
        return np.concatenate([np.ravel(array) for array in arrays])


def _copy(x: PyTree) -> PyTree:
    return jax.tree.map(np.array, x)


def _unravel(flat: np.ndarray, structure: Any, shapes: tuple) -> PyTree:
    """x from its entries, in NumPy: within a callback JAX must not be called."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(flat, ends[:-1])
    leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return jax.tree.unflatten(structure, leaves)


def callback_of(function: Any, output: PyTree, differences: bool) -> Callback:
    """The checked arguments of `Simulator.from_callback`."""
    if not callable(function):
        raise TypeError(f"the simulator must be a function, got {brief(function)}")
    if output is None:
        raise TypeError(
            "from_callback needs output, an example of z: JAX must know its shape "
            "before the first call, as in output=np.zeros(3)"
        )
    leaves, structure = jax.tree.flatten(output)
    shapes = tuple(tuple(np.shape(leaf)) for leaf in leaves)
    return Callback(function, shapes, structure, bool(differences))


def _with_differences(
    value: Callable, called: Callable, count: int
) -> Callable[[Array], Array]:
    """The function with J by central differences, 2 calls for each entry of x."""

    def jacobian(flat: np.ndarray) -> np.ndarray:
        step = np.cbrt(np.finfo(flat.dtype).eps) * np.where(flat != 0, np.abs(flat), 1)
        columns = []
        for entry, h in enumerate(step):
            ahead, behind = flat.copy(), flat.copy()
            ahead[entry] += h
            behind[entry] -= h
            away = called(ahead) - called(behind)
            columns.append(away / (ahead[entry] - behind[entry]))
        return np.stack(columns, axis=1).astype(flat.dtype)

    @jax.custom_jvp
    def differentiable(flat: Array) -> Array:
        return value(flat)

    @differentiable.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        (flat,), (change,) = primals, tangents
        matrix = _from_python(jacobian, (count, flat.size), flat)
        return value(flat), matrix @ change

    return differentiable


def _without_derivative(value: Callable) -> Callable[[Array], Array]:
    """The function, which refuses to be differentiated: bits would have slope zero."""

    @jax.custom_jvp
    def plain(flat: Array) -> Array:
        return value(flat)

    @plain.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        raise ValueError("callbacks do not support JVP")

    return plain


def _from_python(
    function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], flat: Array
) -> Array:
    """The result of a function of NumPy, of the dtype of its argument, to the bit.

    It is called in a thread of JAX, where x64 may be off though it is on here: so bits
    are handed over, not floats, which would be rounded to float32 on the way.
    """
    dtype = np.dtype(flat.dtype)
    words = dtype.itemsize // 4

    def called(bits: ArrayLike) -> np.ndarray:
        point = np.ascontiguousarray(np.asarray(bits)).view(dtype).reshape(-1)
        answer = np.ascontiguousarray(function(point), dtype)
        return answer.view(np.uint32).reshape(*shape, words)

    bits = lax.bitcast_convert_type(flat, jnp.uint32).reshape(-1, words)
    result = jax.ShapeDtypeStruct((*shape, words), jnp.uint32)
    out = jax.pure_callback(called, result, bits, vmap_method="sequential")
    out = out.reshape(shape) if words == 1 else out
    return lax.bitcast_convert_type(out, dtype)


class _Shared:
    """The last failure; JAX may call back in a thread of its own."""

    error: Exception | None = None
    x: Any = None


_failed = _Shared()


def own_words(execute: Callable[[], Any]) -> Any:
    """Run compiled code; what a simulator raised comes back as `SimulatorError`."""
    _failed.error = None
    try:
        return execute()
    except jax.errors.JaxRuntimeError:
        error, x = _failed.error, _failed.x
        if error is None:
            raise
        kind = type(error).__name__
        raise SimulatorError(f"the simulator raised {kind}: {error}", x) from error
    finally:
        _failed.error = _failed.x = None
