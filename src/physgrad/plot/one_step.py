"""One step of a method, followed through x -> z -> L: computed, point by point."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from physgrad.inverses.flat import Flat
from physgrad.inverses.rule import identity_metric
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.plot.space import flat_points
from physgrad.results import Result
from physgrad.trajectory import Run

# A step is followed in its direction until L rises, but for so many lengths at most.
LONGEST = 12.0
POINTS = 257
REFINEMENTS = 4

Line = Float[Array, "points _"]


@dataclasses.dataclass(frozen=True)
class Way:
    """The straight way of a step in the space where it was taken, and its images."""

    in_z: bool
    """Whether the step was taken in z and pulled back, or taken in x and carried on."""
    lengths: np.ndarray
    """How far along, in steps: from 0 through 1 to where L is lowest; (points,)."""
    x: np.ndarray
    """In x-space, (points, x entries)."""
    z: np.ndarray
    """In z-space, (points, z entries)."""
    losses: np.ndarray
    """L, (points,)."""

    @property
    def step(self) -> int:
        """The index of the point that the step reaches."""
        return int(np.argmin(np.abs(self.lengths - 1.0)))


def way_of(
    objective: FlatObjective, run: Run, spaces: tuple[str, str] = ("x", "z")
) -> Way | str:
    """The first step of a run that moves x, and on in its direction until L is lowest.

    A method whose step was taken in z, and held its promise to pull that point back, is
    followed along the straight line in z, and point by point pulled back with the
    simulator's own rule. Every other one is followed along the straight line in x.

    **Arguments:** `spaces`: the names of the first and the last one.

    **Returns:** the way, or why there is none, in words.
    """
    trajectory = run.trajectory
    if len(trajectory) < 2:
        return "it did no step"
    x = flat_points(trajectory[spaces[0]])
    # a line search may try several steps before one moves x
    moved = np.any(x[1:] != x[0], axis=1)
    if not moved.any():
        return "x did not move"
    first = int(np.argmax(moved))
    if trajectory.steps[first + 1] != trajectory.steps[first] + 1:
        return "its steps were not all recorded"
    in_z = _exact(run, first)
    begin, end = x[0], x[first + 1]
    if in_z:
        begin = flat_points(trajectory[spaces[1]])[first]
        end = flat_points(trajectory.targets)[first]
    lengths = _until_lowest(objective, begin, end - begin, in_z)
    line = jnp.asarray(begin + lengths[:, None] * (end - begin))
    if in_z:
        points = _pulled_back(objective, jnp.asarray(x[0]), line)
    else:
        points = _carried_on(objective, line)
    x, z, losses, good = (np.asarray(values) for values in points)
    count = len(good) if good.all() else int(np.argmin(good))
    if count == 0 or lengths[count - 1] < 1:
        return f"its step has no image in {spaces[0] if in_z else spaces[1]}"
    return Way(in_z, lengths[:count], x[:count], z[:count], losses[:count])


def _exact(run: Run, step: int) -> bool:
    """Whether a step was asked for in z, and pulled back to that very point."""
    certificates = run.trajectory.certificates
    if run.trajectory.targets is None or certificates is None:
        return False
    residual, promised = certificates.residuals[step], certificates.tolerances[step]
    return bool(np.isfinite(promised) and residual <= promised)


def _until_lowest(
    objective: FlatObjective, begin: np.ndarray, step: np.ndarray, in_z: bool
) -> np.ndarray:
    """Lengths from 0 through 1 to the first minimum of L past it, denser to the end."""
    low, high, last = 1.0, LONGEST, 1.0
    for _ in range(REFINEMENTS):
        lengths = np.linspace(low, high, POINTS)
        line = (begin + lengths[:, None] * step).astype(begin.dtype)
        losses = np.asarray(_losses(objective, jnp.asarray(line), in_z))
        rises = ~(np.diff(losses) < 0)  # also where L is no number any more
        lowest = int(np.argmax(rises)) if rises.any() else POINTS - 1
        low = lengths[max(lowest - 1, 0)]
        high = lengths[min(lowest + 1, POINTS - 1)]
        last = float(lengths[lowest])
    # an inverse may be steepest at the optimum, as a square root is
    dense = last * (1 - np.linspace(1, 0, POINTS) ** 2)
    dense[np.argmin(np.abs(dense - 1.0))] = 1.0
    return dense.astype(begin.dtype)


@eqx.filter_jit
def _losses(
    objective: FlatObjective, line: Line, in_z: bool
) -> Float[Array, " points"]:
    return jax.vmap(objective.loss if in_z else objective)(line)


Points = tuple[Line, Line, Float[Array, " points"], Bool[Array, " points"]]
"""x, z, L, and whether the point is what was asked for."""


@eqx.filter_jit
def _carried_on(objective: FlatObjective, x: Line) -> Points:
    """Each point of a line in x, as P carries it to z."""
    z = jax.vmap(objective.simulator)(x)
    return x, z, jax.vmap(objective.loss)(z), jnp.all(jnp.isfinite(z), axis=1)


@eqx.filter_jit
def _pulled_back(objective: FlatObjective, x0: Flat, targets: Line) -> Points:
    """Each point of a line in z, pulled back from where the one before it was."""

    def follow(state: State, target: Flat) -> tuple[State, Any]:
        metric = identity_metric(target)
        answer = objective.rule.pull_back(objective.simulator, target, state, metric)
        good = answer.result == Result.completed.code
        moved = objective.arrive(state, answer)
        state = jax.tree.map(lambda new, old: jnp.where(good, new, old), moved, state)
        return state, (answer.x, answer.z, objective.loss(answer.z), good)

    return jax.lax.scan(follow, objective.start(x0), targets)[1]
