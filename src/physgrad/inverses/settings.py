"""Numbers a user sets on a rule or an optimizer, checked once and then traced.

A hyperparameter is kept as an array, so that a new value needs no new compilation;
the loop casts it to the dtype of x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float


def _number(name: str, expected: str, accept: Callable[[float], bool]):
    def convert(value: Any) -> Float[Array, ""]:
        if isinstance(value, Tracer):  # its value is known at run time only
            return jnp.asarray(value)
        if isinstance(value, bool | np.bool_ | str) or value is None:
            raise TypeError(f"{name} must be {expected}, got {value!r}")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be {expected}, got {value!r}") from error
        if not accept(number):
            raise ValueError(f"{name} must be {expected}, got {number!r}")
        return jnp.asarray(value, dtype=float)

    return convert


def positive(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes finite numbers above zero.

    >>> float(positive("step_size")(0.5))
    0.5
    """
    return _number(
        name, "a positive, finite number", lambda v: math.isfinite(v) and v > 0
    )


def not_negative(name: str) -> Callable[[Any], Float[Array, ""]]:
    """A converter that takes zero and finite numbers above it.

    >>> float(not_negative("damping")(0.0))
    0.0
    """
    return _number(
        name, "zero or a positive number", lambda v: math.isfinite(v) and v >= 0
    )


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
                f"{name} must be a whole number from {least} on, got {value!r}"
            )
        if value < least:
            raise ValueError(
                f"{name} must be a whole number from {least} on, got {value}"
            )
        return int(value)

    return convert
