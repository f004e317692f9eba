"""What a named problem is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxtyping import PyTree

from physgrad.inverses.rule import Inverse
from physgrad.objective.objective import Objective


@dataclasses.dataclass(frozen=True)
class Problem:
    """An objective with a start, what is known of its solution, and default methods."""

    name: str
    """As on the command line."""
    objective: Objective
    """L(P(x))."""
    start: PyTree
    """x0."""
    solution: PyTree | None = None
    """The x that is looked for, where it is known."""
    direction: PyTree | None = None
    """A direction in x that first steps are held against, where one makes sense."""
    inverses: Mapping[str, Inverse] = dataclasses.field(default_factory=dict)
    """Further inverses of the simulator, by name: `pg:inverse=NAME`."""
