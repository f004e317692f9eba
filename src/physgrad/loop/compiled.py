"""Programs compiled ahead of time and kept, so that compiling is timed apart."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import dataclasses
import time
import types
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from physgrad.callback import own_words

KEPT = 128
RECOMPILATIONS = 5
# Settings of JAX that a program is compiled for, as they are where it is called.
SETTINGS = (
    "jax_enable_x64",
    "jax_default_device",
    "jax_default_matmul_precision",
)
# XLA's older code generator for the CPU: half the time to compile, and slower only on
# arrays of thousands of entries. It is no promise of XLA's, so it may be refused.
QUICK_OPTIONS: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": False}

# Optimized code for CPUs fuses a product and a sum into one rounding in the body of a
# loop over rows, but not in its end: the bits of a row then depend on its place.
PLAIN_OPTIONS: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}

Options = tuple[tuple[str, str | bool], ...]
_options: contextvars.ContextVar[Options] = contextvars.ContextVar(
    "options", default=()
)


@contextlib.contextmanager
def compiling(options: Mapping[str, str | bool]) -> Iterator[None]:
    """Here programs are compiled with these options of XLA, unless it refuses them."""
    token = _options.set(tuple(options.items()))
    try:
        yield
    finally:
        _options.reset(token)


def quick_to_compile() -> contextlib.AbstractContextManager[None]:
    """Here short runs on few entries are wanted: compile them in less time."""
    return compiling(QUICK_OPTIONS)


def same_bits_in_each_row() -> contextlib.AbstractContextManager[None]:
    """Here the bits of a row of a batch must not depend on its place."""
    return compiling(PLAIN_OPTIONS if jax.default_backend() == "cpu" else {})


@dataclasses.dataclass(frozen=True)
class _Program:
    """A function with everything about its arguments but the values of the arrays."""

    function: Callable
    structure: Any
    constants: tuple[tuple[type, Any], ...]
    """Leaves that are not arrays, with their types: 1, 1.0 and True are equal."""
    arrays: tuple[jax.ShapeDtypeStruct, ...]
    """Shape, dtype, weak type and, where it was put somewhere, place of each array."""
    settings: tuple[Hashable, ...]
    """Of JAX, that a program is compiled for."""
    options: Options
    """Of the compiler."""

    def shape_of_code(self) -> Hashable:
        """The same for two programs that differ only in functions made afresh."""
        codes = tuple(
            value.__code__ if isinstance(value, types.FunctionType) else (kind, value)
            for kind, value in self.constants
        )
        how = self.settings, self.options
        return self.function, self.structure, codes, self.arrays, how


@dataclasses.dataclass(frozen=True, eq=False)
class _Itself:
    """A constant that has no hash, such as a callable that compares by its fields.

    It is the same as itself only; being kept here, no other takes its identity.
    """

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


_made_afresh: collections.OrderedDict[Hashable, int] = collections.OrderedDict()
_kept: collections.OrderedDict[_Program, Any] = collections.OrderedDict()


def run(function: Callable, *arguments: Any) -> tuple[Any, float]:
    """`function(*arguments)`, compiled: (its result, the seconds that compiling took).

    The result is ready when this returns.
    """
    (result,), seconds = run_each(function, [arguments])
    return result, seconds


def run_each(
    function: Callable, calls: Sequence[tuple[Any, ...]]
) -> tuple[list[Any], float]:
    """`function` with each of several arguments, at the same time on their devices.

    The results are ready when this returns; with the seconds that compiling took.
    """
    prepared = [_prepared(function, arguments) for arguments in calls]

    def dispatched() -> list[Any]:
        return [execute(*arrays) for execute, arrays, _ in prepared]

    results = own_words(lambda: jax.block_until_ready(dispatched()))
    return results, sum(seconds for *_, seconds in prepared)


def prepare(function: Callable, *arguments: Any) -> tuple[Callable[[], Any], float]:
    """The compiled call `function(*arguments)`, and the seconds that compiling took.

    The call can be made more than once; its result is ready when it returns.
    """
    execute, arrays, seconds = _prepared(function, arguments)

    def call() -> Any:
        return own_words(lambda: jax.block_until_ready(execute(*arrays)))

    return call, seconds


def _prepared(
    function: Callable, arguments: tuple[Any, ...]
) -> tuple[Any, list[jax.Array], float]:
    """The program of a call, its arrays, and the seconds that compiling took.

    Arrays are traced; everything else is part of the program, and a program that is
    among the last 128 is not compiled again (its seconds are 0).
    """
    program, arrays = _split(function, arguments)
    started, seconds = time.perf_counter(), 0.0
    if program not in _kept:
        _kept[program] = _compile(program)
        seconds = time.perf_counter() - started
        _warn_of_fresh_functions(program)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(program)
    return _kept[program], arrays, seconds


def _split(function: Callable, arguments: Any) -> tuple[_Program, list[jax.Array]]:
    """The program, and the arrays that it is to be called with."""
    leaves, structure = jax.tree.flatten(arguments)
    traced = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    # not jnp.asarray: for a NumPy array that compiles a program for each shape
    arrays = [
        v if isinstance(v, jax.Array) else jax.device_put(v)
        for v, t in zip(leaves, traced, strict=True)
        if t
    ]
    constants = tuple(
        (jax.Array, None) if t else (type(v), _hashable(v))
        for v, t in zip(leaves, traced, strict=True)
    )
    shapes = tuple(
        jax.ShapeDtypeStruct(
            a.shape,
            a.dtype,
            weak_type=getattr(a, "weak_type", False),  # keys have none
            sharding=a.sharding if a.committed else None,
        )
        for a in arrays
    )
    settings = tuple(getattr(jax.config, name) for name in SETTINGS)
    program = _Program(function, structure, constants, shapes, settings, _options.get())
    return program, arrays


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return _Itself(value)
    return value


def _compile(program: _Program) -> Any:
    def flat(*arrays: Any) -> Any:
        values = iter(arrays)
        leaves = [
            next(values) if kind is jax.Array else value
            for kind, value in program.constants
        ]
        leaves = [v.value if isinstance(v, _Itself) else v for v in leaves]
        return program.function(*jax.tree.unflatten(program.structure, leaves))

    lowered = jax.jit(flat).lower(*program.arrays)
    if program.options:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            return lowered.compile(dict(program.options))
    return lowered.compile()


def _warn_of_fresh_functions(program: _Program) -> None:
    key = program.shape_of_code()
    _made_afresh[key] = _made_afresh.pop(key, 0) + 1
    if len(_made_afresh) > KEPT:
        _made_afresh.popitem(last=False)
    if _made_afresh[key] == RECOMPILATIONS + 1:
        warnings.warn(
            f"compiled {RECOMPILATIONS + 1} times for the same shapes: functions or "
            "Optax transformations are made afresh for each run; make them once, and "
            "change numbers through arrays, such as SquaredLoss(target)",
            stacklevel=7,
        )
