"""Methods that drive themselves, on the host, and are followed iterate by iterate."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import numpy as np
from jaxtyping import Float

from physgrad.inverses.settings import describe

Vector = Float[np.ndarray, " x"]
Visit = Callable[[Vector], None]


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


class HostOptimizer(eqx.Module):
    """A method that drives itself: it takes functions, and tells where it has been.

    What it is told of evaluates the simulator in compiled code; it is for `minimize`
    and `compare` only.
    """

    def __repr__(self) -> str:
        return describe(self)

    @abc.abstractmethod
    def check(self, objective: Any) -> None:
        """Refuse an objective that it cannot work on (`ValueError`)."""

    @abc.abstractmethod
    def drive(self, functions: HostFunctions, x: Vector, visit: Visit) -> End:
        """Go on from x until done, and call `visit` with each iterate after the start.

        `visit` and the functions raise what ends the run, and what a simulator raises:
        let it pass.
        """
