"""What a named problem is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import PyTree

from physgrad.inverses.rule import Inverse
from physgrad.objective.objective import Objective

PICTURES = ("points", "fields", "flow", "waves", "control", "orbit", "arm")
"""How x and z are drawn: as trajectories of points alone; as fields; as states of a
flow or of waves (displacement and velocity), with their rollout; as a control with the
motion it makes; as an orbit; as an arm."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """An objective with a start, what is known of its solution, and default methods."""

    name: str
    """As on the command line, with its settings."""
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
    picture: str = "points"
    """How x and z are drawn, one of `PICTURES`."""
    quantities: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What x and z are, with their unit: for the axes of pictures."""

    def __post_init__(self) -> None:
        if self.picture not in PICTURES:
            known = ", ".join(PICTURES)
            raise ValueError(f"picture must be one of {known}, got {self.picture!r}")

    @property
    def scales(self) -> dict[str, float]:
        """How large entries of x and z are: the root mean square at the solution.

        Where that is not known, of x it is that of the start, and of z, too.
        """
        x = self.start if self.solution is None else self.solution
        z = self.objective.simulator(x)
        return {name: _size(point) for name, point in (("x", x), ("z", z))}


def _size(point: PyTree) -> float:
    entries = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(point)])
    return float(np.sqrt(np.mean(entries.astype(float) ** 2)))
