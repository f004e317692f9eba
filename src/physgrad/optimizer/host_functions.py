"""What a method that drives itself, on the host, is given and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

Vector = Float[np.ndarray, " x"]
Visit = Callable[[Vector], None]
"""Told of each iterate after the start; it raises what ends the run."""


@runtime_checkable
class HostFunctions(Protocol):
    """L(P(x)) between vectors of NumPy, of those entries of x that may move."""

    bounds: tuple[Vector, Vector] | None
    """Lower and upper, where there are any."""

    def loss(self, x: Vector) -> float:
        """L."""
        ...

    def loss_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        """L, and dL/dx, shape (x entries,)."""
        ...

    def residual(self, x: Vector) -> Float[np.ndarray, " r"]:
        """r with L = |r|^2."""
        ...

    def jacobian(self, x: Vector) -> Float[np.ndarray, "r x"]:
        """dr/dx."""
        ...


class End(NamedTuple):
    """How a method ended by itself."""

    succeeded: bool
    message: str
    """Its own words."""
