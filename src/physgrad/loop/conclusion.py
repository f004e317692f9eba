"""What a run that has ended amounts to: its result, its message, its cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from physgrad.loop.diagnosis import Steps, explain, explain_rest
from physgrad.loop.iteration import Progress
from physgrad.loop.second_look import second_look
from physgrad.loop.stopping import Stop, StopRule
from physgrad.objective.covariance import covariance
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.results import Result
from physgrad.trajectory import Certificates, Run, Seconds, Trajectory


class Cost(NamedTuple):
    """What a run took."""

    evaluations: Mapping[str, int]
    seconds: Seconds
    compilations: int


def conclude(
    problem: tuple[Objective, Optimizer, StopRule],
    x: PyTree,
    end: Progress,
    num_steps: int,
    trajectory: Trajectory,
    cost: Cost,
) -> Run:
    """The run that ended at `x` after `num_steps`, with its message.

    **Arguments:** `end`: on the host; its memory is not looked at.
    """
    objective, optimizer, stop = problem
    rule = getattr(optimizer, "inverse", None) or objective.simulator.rule
    met = Steps.of(trajectory.certificates, rule, trajectory.losses)
    result, message = explain(objective, x, end, num_steps, met)
    first = objective.simulator.space_names[0]
    if result.goes_on and num_steps > 0 and _rests(trajectory[first]):
        at_rest = explain_rest(objective, x, end)
        if at_rest[0] is not Result.completed or result is Result.completed:
            result, message = at_rest
    if isinstance(stop, Stop) and stop.optimality is not None:
        other = second_look(objective, x, result, float(stop.optimality))
        result, message = other or (result, message)
    return Run(
        x,
        result,
        message,
        trajectory,
        cost.evaluations,
        cost.seconds,
        num_steps,
        cost.compilations,
        partial(covariance, objective, x),
    )


def trajectory_of(
    names: tuple[str, ...],
    spaces: Mapping[str, PyTree],
    losses: np.ndarray,
    steps: np.ndarray,
    targets: PyTree,
    found: Any,
) -> Trajectory:
    """The trajectory of iterates on the host, with what was `found` of each step.

    **Arguments:** `names`: of the spaces, first to last; JAX has sorted the dict.
    """
    if found is not None:
        found = Certificates(
            found.residual, found.tolerance, found.result, found.rung, found.rejections
        )
    ordered = {name: spaces[name] for name in names}
    return Trajectory(ordered, losses, steps, targets, found)


def _rests(points: PyTree) -> bool:
    """Whether all iterates are the first one; a run may also come back to it."""
    return all(
        np.array_equal(p, np.broadcast_to(p[:1], p.shape))
        for p in jax.tree.leaves(points)
    )
