"""What a run leaves behind: its iterates in every space, its result and its cost."""

from __future__ import annotations

import dataclasses
import operator
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


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """Many optimizations of problems of one shape; arrays with an axis of members."""

    x: Any
    """The last good iterate of each, a PyTree like the starts."""
    codes: Arrays
    """How each ended: a `Result` by its code, shape (members,).

    `runs[i].result` looks more closely, as `minimize` does: at a run that never moved,
    or at the Hessian where `Stop(optimality=)` holds.
    """
    num_valid: Arrays
    """How many entries of the trajectory each has; the last is repeated to the end."""
    trajectory: Trajectory
    """Iterates in every space, axes (members, iterates)."""
    evaluations: Mapping[str, Arrays]
    """How often each kind was needed, by each: forward, vjp, jvp, hessian, inverse."""
    seconds: Seconds
    """Of all together; compile and run time apart."""
    num_steps: Arrays
    """Steps that each did, shape (members,)."""
    compilations: int
    """Programs compiled for these runs; 0 if all were at hand."""
    member: Callable[[int], Run] = dataclasses.field(repr=False)
    """What makes the run of one."""

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, member: int) -> Run:
        """The run of one member, with its message.

        **Raises:** `IndexError` where there is none.
        """
        place = operator.index(member)
        if not -len(self) <= place < len(self):
            raise IndexError(f"no member {place} of {len(self)}")
        return self.member(place % len(self))

    @property
    def losses(self) -> Arrays:
        """L at the last good iterate of each, shape (members,)."""
        return self.trajectory.losses[:, -1]

    @property
    def ok(self) -> Arrays:
        """Whether each did what was asked (see `Result.is_failure`)."""
        return self.codes <= Result.converged.code

    @property
    def counts(self) -> Mapping[Result, int]:
        """How many members ended how, the good ends first."""
        codes, numbers = np.unique(self.codes, return_counts=True)
        pairs = zip(codes.tolist(), numbers.tolist(), strict=True)
        return {Result.from_code(code): number for code, number in pairs}

    @property
    def best(self) -> Run:
        """The run with the least finite loss: of many starts the one to keep.

        **Raises:** `ValueError` where none has a finite loss.
        """
        finite = np.isfinite(self.losses)
        if not np.any(finite):
            raise ValueError(f"none of {len(self)} members has a finite loss")
        return self[int(np.argmin(np.where(finite, self.losses, np.inf)))]

    def __repr__(self) -> str:
        ends = ", ".join(f"{count} {result}" for result, count in self.counts.items())
        return f"Runs({len(self)} members{': ' * bool(ends)}{ends})"
