"""What a run leaves behind: its iterates in every space, its result and its cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from physgrad.results import Result

Arrays = np.ndarray
"""On the host; leading axis: one entry for each recorded iterate."""


class Seconds(NamedTuple):
    """Wall time, compilation apart from running."""

    compile: float
    run: float


@dataclasses.dataclass(frozen=True, eq=False)
class Certificates:
    """How well each recorded step was pulled back; arrays of shape (iterates - 1,)."""

    residuals: Arrays
    """Largest entry of |P(x+) - z~|."""
    tolerances: Arrays
    """What the rule promised of it; infinite where it promised nothing."""
    results: Arrays
    """`Result` codes (`Result.from_code`)."""
    rungs: Arrays
    """Which rule of a `Ladder` served, counted from 0; 0 without one."""
    rejections: Arrays
    """How many points the acceptance of each step tried before in vain."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """The iterates of one run in every space, start and end included.

    `trajectory["x"]` has the structure of x with a leading axis, one entry for each
    iterate; so have `trajectory["z"]` and the spaces between.
    """

    spaces: Mapping[str, Any]
    """Space name to PyTree of arrays, first space to last."""
    losses: Arrays
    """L of each iterate, shape (iterates,)."""
    steps: Arrays
    """Number of steps before each iterate, shape (iterates,)."""
    targets: Any = None
    """The z~ that each step asked for, like z, (iterates - 1); None without targets."""
    certificates: Certificates | None = None
    """Of each step; None for methods without an inverse."""

    def __getitem__(self, space: str) -> Any:
        try:
            return self.spaces[space]
        except KeyError:
            known = ", ".join(self.spaces)
            raise KeyError(f"no space {space!r}; this run has {known}") from None

    def __len__(self) -> int:
        return len(self.losses)


@dataclasses.dataclass(frozen=True, eq=False)
class Covariance:
    """How well a fit knows its parameters."""

    matrix: np.ndarray
    """Of the flat x, shape (entries, entries)."""
    deviations: Any
    """Standard deviations, a PyTree like x; infinite where the data say nothing."""
    rank: int
    """How many combinations of the entries the data determine."""
    variance: float
    """Of data of weight 1: estimated from the residuals, or 1."""
    degrees_of_freedom: int
    """Data less rank."""

    @property
    def correlations(self) -> np.ndarray:
        """`matrix` scaled to a diagonal of ones; zero where the data say nothing."""
        scale = np.sqrt(np.diag(self.matrix))
        scale = np.where(scale > 0, scale, 1.0)
        return self.matrix / np.outer(scale, scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One optimization: where it ended, how, and the way there."""

    x: Any
    """The last good iterate, a PyTree like x0."""
    result: Result
    """How it ended."""
    message: str
    """What to do about it; empty where there is nothing to say."""
    trajectory: Trajectory
    """Every recorded iterate in every space."""
    evaluations: Mapping[str, int]
    """How often each kind was needed: forward, vjp, jvp, hessian, inverse.

    What prepares the first step (the scale of the simulator, the check of its inverse)
    is not counted.
    """
    seconds: Seconds
    """Compile and run time apart."""
    num_steps: int
    """Steps that were done."""
    compilations: int = 0
    """Programs compiled for this run; 0 if all were at hand."""
    uncertainty: Callable[..., Covariance] | None = dataclasses.field(
        default=None, repr=False
    )
    """What `covariance` calls; None for a run that was loaded."""

    @property
    def loss(self) -> float:
        """L at the last good iterate."""
        return float(self.trajectory.losses[-1])

    @property
    def ok(self) -> bool:
        """Whether the run did what was asked (see `Result.is_failure`)."""
        return not self.result.is_failure

    def covariance(self, *, absolute: bool = False) -> Covariance:
        """The covariance of x at the end of a fit, as `physgrad.covariance` gives it.

        **Raises:** `ValueError` for a run that was loaded, which has no simulator; and
        as `physgrad.covariance`.
        """
        if self.uncertainty is None:
            raise ValueError(
                "a run that was loaded has no simulator: use "
                "physgrad.covariance(objective, run.x)"
            )
        return self.uncertainty(absolute=absolute)

    def __repr__(self) -> str:
        note = f", {self.message!r}" if self.message else ""
        end = f"loss={self.loss:.6g}, num_steps={self.num_steps}"
        return f"Run({self.result}, {end}{note})"
