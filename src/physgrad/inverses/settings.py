"""Numbers a user sets on a rule or an optimizer, checked once and then traced.

A hyperparameter is kept as an array, so that a new value needs no new compilation;
the loop casts it to the dtype of x.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from physgrad.inverses.notes import note

LONGEST_REPR = 60
ROUNDING = float(np.finfo(np.float64).eps)


def brief(value: Any) -> str:
    """A value in a message: its repr where that is one short line, else its kind.

    >>> brief([1, 2]), brief("z" * 100)
    ('[1, 2]', 'an object of type str')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    if len(text) <= LONGEST_REPR and "\n" not in text:
        return text
    return f"an object of type {type(value).__name__}"


def describe(value: Any) -> str:
    """An optimizer, rule or setting in words: its class, and what is set.

    >>> import physgrad as pg
    >>> describe(pg.LinearizedInverse(damping=0.5))
    'LinearizedInverse(damping=0.5)'
    """
    if isinstance(value, jax.Array | np.ndarray):
        return str(value) if value.ndim == 0 else f"array{value.shape}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value).__name__  # an Optax transformation: functions without names
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not type(value).__module__.startswith("physgrad"):
            return type(value).__name__  # a library's solver: its insides say little
        fields = ", ".join(
            f"{f.name}={describe(getattr(value, f.name))}"
            for f in dataclasses.fields(value)
            if not (getattr(value, f.name) is None or getattr(value, f.name) is False)
        )
        return f"{type(value).__name__}({fields})"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)


def _number(name: str, expected: str, accept: Callable[[float], bool]):
    def convert(value: Any) -> Float[Array, ""]:
        refusal = f"{name} must be {expected}, got {brief(value)}"
        if not _is_real(value):
            raise TypeError(refusal)
        if isinstance(value, Tracer):  # its value is known at run time only
            whole = jnp.issubdtype(value.dtype, jnp.integer)
            return jnp.asarray(value, dtype=float if whole else None)
        try:
            number = float(value)
        except OverflowError as error:
            raise ValueError(refusal) from error
        if not accept(number):
            raise ValueError(refusal)
        limits = jnp.finfo(jnp.result_type(float))
        if number and not float(limits.tiny) <= abs(number) <= float(limits.max):
            raise ValueError(f"{refusal}, which {limits.dtype} cannot hold")
        return jnp.asarray(number)  # of weak type: it does not promote float32

    return convert


def _is_real(value: Any) -> bool:
    """Whether a value is one real number, in Python or as an array without axes."""
    if isinstance(value, jax.Array | np.ndarray):
        kinds = jnp.floating, jnp.integer
        return value.ndim == 0 and any(jnp.issubdtype(value.dtype, k) for k in kinds)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def positive(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes finite numbers above zero.

    >>> float(positive("step_size")(0.5))
    0.5
    """
    return _number(
        name, "a positive, finite number", lambda v: math.isfinite(v) and v > 0
    )


def tolerance(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes positive numbers; it warns of those that rounding hides.

    >>> float(tolerance("rtol")(0.25))
    0.25
    """
    convert = positive(name)

    def warned(value: Any) -> Float[Array, ""]:
        number = convert(value)
        if not isinstance(number, Tracer) and float(number) < ROUNDING:
            note(
                f"{name}={float(number):.3g} is below the rounding of float64: 16 eps "
                "of the size of z is as close as an inverse can come"
            )
        return number

    return warned


def fraction(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes numbers above zero and below one.

    >>> float(fraction("truncation")(0.5))
    0.5
    """
    return _number(name, "a number above 0 and below 1", lambda v: 0 < v < 1)


def share(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes numbers from zero to one.

    >>> float(share("weight")(1.0))
    1.0
    """
    return _number(name, "a number from 0 to 1", lambda v: 0 <= v <= 1)


def not_negative(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes zero and finite numbers above it.

    >>> float(not_negative("damping")(0.0))
    0.0
    """
    return _number(
        name, "zero or a positive number", lambda v: math.isfinite(v) and v >= 0
    )


def finite(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes finite numbers.

    >>> float(finite("power")(-1))
    -1.0
    """
    return _number(name, "a finite number", math.isfinite)


def optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The converter, which leaves None as it is.

    >>> optional(positive("rtol"))(None) is None
    True
    """
    return lambda value: None if value is None else convert(value)


def whole_number(name: str, least: int) -> Callable[[Any], int]:
    """A converter for counts: whole numbers from `least` on, no bools.

    >>> whole_number("max_steps", 1)(64)
    64
    """

    def convert(value: Any) -> int:
        if isinstance(value, bool | np.bool_) or not isinstance(
            value, int | np.integer
        ):
            raise TypeError(
                f"{name} must be a whole number from {least} on, got {brief(value)}"
            )
        if value < least:
            raise ValueError(
                f"{name} must be a whole number from {least} on, got {value}"
            )
        return int(value)

    return convert


def flag(name: str) -> Callable[[Any], bool]:
    """A converter that takes True and False only.

    >>> flag("branches")(True)
    True
    """

    def convert(value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be True or False, got {brief(value)}")
        return bool(value)

    return convert
