"""What simulators are given: grids, numbers and times, checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.core import Tracer

from physgrad.inverses.settings import brief, finite, not_negative, positive
from physgrad.inverses.settings import whole_number as whole_number
from physgrad.names import nearest


def number(
    name: str, value: Any, check: Callable[[str], Callable[[Any], Any]] = positive
) -> float:
    """A Python number that a check accepts.

    >>> number("duration", 2)
    2.0
    """
    if isinstance(value, Tracer):
        raise TypeError(f"{name} must be a number that is known before the run")
    check(name)(value)
    return float(value)


def at_least_zero(name: str, value: Any) -> float:
    """A Python number from zero on."""
    return number(name, value, not_negative)


def any_number(name: str, value: Any) -> float:
    """A finite Python number."""
    return number(name, value, finite)


def grid(shape: Any, dimensions: tuple[int, ...] = (1, 2, 3)) -> tuple[int, ...]:
    """The cells along each axis of a box: 2 or more (`ValueError` otherwise).

    >>> grid(8), grid((4, 6))
    ((8,), (4, 6))
    """
    counts = (shape,) if isinstance(shape, int | np.integer) else shape
    if not isinstance(counts, tuple | list) or isinstance(shape, bool):
        raise TypeError(f"shape must be a tuple of whole numbers, got {brief(shape)}")
    counts = tuple(whole_number("each entry of shape", 2)(count) for count in counts)
    if len(counts) not in dimensions:
        allowed = " or ".join(map(str, dimensions))
        raise ValueError(f"shape must have {allowed} axes, got {brief(shape)}")
    return counts


def sides(lengths: Any, shape: tuple[int, ...]) -> tuple[float, ...]:
    """The lengths of the sides of a box: one for all, or one for each.

    >>> sides(2.0, (4, 6))
    (2.0, 2.0)
    """
    if not isinstance(lengths, tuple | list):
        return (number("lengths", lengths),) * len(shape)
    if len(lengths) != len(shape):
        raise ValueError(
            f"lengths must be one number or {len(shape)}, one for each axis of shape, "
            f"got {brief(lengths)}"
        )
    return tuple(number("each entry of lengths", length) for length in lengths)


def choice(name: str, value: Any, known: tuple[str, ...]) -> str:
    """One of several names (`ValueError` with the nearest match)."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(known)}, got {brief(value)}")
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}{nearest(value, known)}")
    return value


def array(name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """A finite array of a shape, None for any number of entries.

    >>> array("velocity", [1.0, 2.0], (2,))
    array([1., 2.])
    """
    if isinstance(value, Tracer):
        raise TypeError(f"{name} must be numbers that are known before the run")
    found = np.asarray(value)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got {brief(value)}")
    fits = len(found.shape) == len(shape) and all(
        want in (None, got) for want, got in zip(shape, found.shape, strict=True)
    )
    if not fits or not found.size:
        wanted = "(" + ", ".join("n" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name} must have the shape {wanted}, got {found.shape}")
    if not np.all(np.isfinite(found)):
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return found.astype(float)


def steps(value: Any) -> int:
    """How many time steps: 1 or more."""
    return whole_number("steps", 1)(value)


def check_field(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse a state of another shape (`ValueError`)."""
    if shape != expected:
        raise ValueError(f"{name} must have the shape {expected}, got {shape}")
