"""Simulators outside of JAX: NumPy, Fortran, a program; called from compiled code."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.buffer_callback import buffer_callback
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from physgrad.inverses.settings import brief, positive
from physgrad.process import Command, Worker
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
        here = _Layout.of(structure, [leaf.shape for leaf in leaves])
        there = _Layout.of(self.structure, self.shapes)
        called = _Outside(self.function, here, there)

        def value(flat: Array) -> Array:
            return _from_python(called, (there.size,), flat)

        if self.differences:
            z = _with_differences(value, called, there.size)(flat)
        else:
            z = _without_derivative(value)(flat)
        return there.unravel(z)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """A PyTree of arrays as one vector: in NumPy, since JAX must not be called here."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, structure: Any, shapes: Iterable[tuple[int, ...]]) -> _Layout:
        """The layout of leaves of these shapes."""
        sizes = [math.prod(shape) for shape in shapes]
        return cls(structure, tuple(shapes), tuple(itertools.accumulate(sizes)))

    @property
    def size(self) -> int:
        """Entries of the vector."""
        return self.ends[-1] if self.ends else 0

    def unravel(self, vector: Any) -> PyTree:
        """The tree of a vector."""
        begins = (0, *self.ends[:-1])
        parts = zip(begins, self.ends, self.shapes, strict=True)
        leaves = [vector[begin:end].reshape(shape) for begin, end, shape in parts]
        return jax.tree.unflatten(self.structure, leaves)


@dataclasses.dataclass(frozen=True)
class _Outside:
    """The user's function between vectors; a plain class, since each call of a method
    of a module of Equinox costs 20 us."""

    function: Callable
    here: _Layout
    """Of x."""
    there: _Layout
    """Of z."""

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """f at one point; it gets a copy of its own, and may write into it."""
        try:
            if isinstance(self.function, Command):
                return self._checked(self._run(self.function, vector))
            return self._checked(self.function(self.here.unravel(vector.copy())))
        except Exception as error:
            _failed.error, _failed.x = error, self.here.unravel(vector.copy())
            raise

    def _run(self, command: Command, vector: np.ndarray) -> PyTree:
        numbers = command(vector)
        if numbers.size != self.there.size:
            raise ValueError(
                f"it must print the {self.there.size} numbers of output, got "
                f"{numbers.size}"
            )
        return self.there.unravel(numbers)

    def _checked(self, z: Any) -> np.ndarray:
        leaves, structure = jax.tree.flatten(z)
        if structure != self.there.structure:
            raise TypeError(
                "the simulator must return a z like output, "
                f"{self.there.structure}, got {brief(z)}"
            )
        arrays = [np.asarray(leaf) for leaf in leaves]
        if any(array.dtype.kind not in "fiub" for array in arrays):
            raise TypeError(f"the simulator must return real numbers, got {brief(z)}")
        got = tuple(array.shape for array in arrays)
        if got != self.there.shapes:
            raise ValueError(
                "the simulator must return the shapes of output, "
                f"{list(self.there.shapes)}, got {list(got)}"
            )
        return (
            arrays[0].ravel()
            if len(arrays) == 1
            else np.concatenate([array.ravel() for array in arrays])
        )


def callback_of(
    function: Any, output: PyTree, differences: bool, time_limit: float | None
) -> Callback:
    """The checked arguments of `Simulator.from_callback`."""
    if time_limit is not None:
        time_limit = float(positive("time_limit")(time_limit))
    if isinstance(function, list | tuple):
        if not function or not all(isinstance(word, str) for word in function):
            raise TypeError(f"a command must be a list of words, got {brief(function)}")
        function = Command(tuple(function), time_limit)
    elif isinstance(function, str) or time_limit is not None:
        function = Worker.of(function, time_limit)
    elif not callable(function):
        raise TypeError(
            "the simulator must be a function, 'module:function' or the words of a "
            f"command, got {brief(function)}"
        )
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
    """The result of a function of NumPy, of the dtype of its argument, to the bit."""
    result = jax.ShapeDtypeStruct(shape, flat.dtype)

    def in_place(_: Any, out: Any, point: Any) -> None:
        # memory, not arrays of JAX: those of float64 would be rounded in a thread of
        # its own, where x64 may be off though it is on here, and each costs 20 us
        np.asarray(out)[...] = function(np.asarray(point))

    def on_cpu(flat: Array) -> Array:
        return buffer_callback(in_place, result, vmap_method="sequential")(flat)

    def elsewhere(flat: Array) -> Array:
        return _by_bits(function, shape, flat)

    return lax.platform_dependent(flat, cpu=on_cpu, default=elsewhere)


def _by_bits(
    function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], flat: Array
) -> Array:
    """The same where memory is not that of the host: bits are handed over, not floats,
    which would be rounded to float32 on the way where x64 is off in JAX's thread."""
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
