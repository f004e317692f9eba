"""The arrays that `fields` draws: checked, and subtracted from each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from physgrad.names import nearest
from physgrad.plot.labels import plain

MOST_FIELDS = 12
# Sums and differences of what is drawn stay in the range of floats.
LARGEST = 1e300


@dataclasses.dataclass(frozen=True, eq=False)
class Fields:
    """Arrays to be drawn, and the differences to one of them."""

    arrays: Mapping[str, np.ndarray]
    """In float64, NaN where they are not finite."""
    reference: str | None
    quantity: str

    @property
    def ndim(self) -> int:
        """1 for lines, 2 for images."""
        return next(iter(self.arrays.values())).ndim

    @property
    def panels(self) -> int:
        """How many axes a picture of them takes."""
        several = 2 * len(self.arrays) - 1 if self.ndim == 2 else 2
        alone = len(self.arrays) if self.ndim == 2 else 1
        return alone if self.reference is None else several

    @property
    def differences(self) -> dict[str, np.ndarray]:
        """Name to field minus reference, for each other field."""
        if self.reference is None:
            return {}
        return {
            name: array - self.arrays[self.reference]
            for name, array in self.arrays.items()
            if name != self.reference
        }


def as_finite(array: np.ndarray) -> np.ndarray:
    """The array in float64, NaN where it is not finite."""
    array = np.asarray(array, float)
    return np.where(np.isfinite(array), array, np.nan)


def not_finite(array: np.ndarray) -> str:
    """How many entries are not finite, in words; nothing for none.

    >>> not_finite(np.array([1.0, np.nan]))
    'not finite (pink): 1 of 2'
    """
    count = int(np.sum(~np.isfinite(array)))
    return f"not finite (pink): {count} of {array.size}" if count else ""


def checked_fields(
    fields: Mapping[str, Any], reference: str | None, quantity: str
) -> Fields:
    """What is to be drawn, or an error that says what is wrong with it."""
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields must map names to arrays, got {type(fields).__name__}")
    if not all(isinstance(name, str) for name in fields):
        raise TypeError(f"names of fields must be text, got {list(fields)}")
    if not 0 < len(fields) <= MOST_FIELDS:
        raise ValueError(f"fields must be 1 to {MOST_FIELDS}, got {len(fields)}")
    arrays = {name: _array(name, value) for name, value in fields.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
        raise ValueError(f"fields must have one shape, got {said}")
    if not any(np.isfinite(array).any() for array in arrays.values()):
        raise ValueError("fields must have finite values, got none")
    largest = max(float(np.nanmax(np.abs(a), initial=0.0)) for a in arrays.values())
    if largest > LARGEST:
        raise ValueError(f"fields must be below {LARGEST:g} in size, got {largest:g}")
    if reference is not None and reference not in arrays:
        raise ValueError(f"unknown reference {reference!r}{nearest(reference, arrays)}")
    if reference is not None and len(arrays) == 1:
        raise ValueError(f"reference {reference!r} needs another field beside it")
    return Fields(arrays, reference, plain(quantity))


def _array(name: str, value: Any) -> np.ndarray:
    leaves = jax.tree.leaves(value)
    if len(leaves) != 1:
        raise ValueError(
            f"field {name!r} must be one array, got a tree of {len(leaves)} leaves"
        )
    array = np.asarray(leaves[0])
    if array.dtype.kind not in "biuf":
        raise ValueError(f"field {name!r} must be real numbers, got {array.dtype}")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"field {name!r} must have shape (n,) or (rows, columns), got {array.shape}"
        )
    return as_finite(array)
