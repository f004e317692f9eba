"""One step taken apart: the gradient, the step in z, and where each rule lands."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physgrad.comparison.comparison import Comparison
from physgrad.explorer.settings import Settings
from physgrad.explorer.study import optimizer_of, subject_of
from physgrad.inverses.flat import Flat, Scalar
from physgrad.inverses.linearized import LinearizedInverse
from physgrad.inverses.rule import Inverse
from physgrad.inverses.transposed import TransposedInverse
from physgrad.loop import compiled
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import as_z_metric
from physgrad.optimizer.optimizer import Step
from physgrad.physical_gradient import PhysicalGradient, physical_step
from physgrad.plot.space import flat_points
from physgrad.results import Cause, Result, inverse_message
from physgrad.trajectory import Run

RULES = {
    "J^T": "transposed: x + J^T B (z~ - z), as gradient descent would",
    "J^+": "linearized: x + (J^T B J)^+ J^T B (z~ - z), as Gauss-Newton would",
    "P^-1": "the inverse: the method's own where it has one, else the simulator's",
}
"""Rule to where it lands."""
OWN = "own"
"""What the method itself did: the next iterate of its run."""
METRICS = {"newton": "the Hessian of L at z", "gradient": "the identity"}
"""What B is, by the `metric` of the method."""


@dataclasses.dataclass(frozen=True)
class Landing:
    """Where a rule pulls the target back to, and where that is in z."""

    rule: str
    """A key of `RULES`, or `OWN`."""
    x: np.ndarray
    z: np.ndarray
    loss: float
    certificate: str
    """Whether it holds, with its numbers, in words."""
    holds: bool


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """The parts of one step of a run."""

    method: str
    step: int
    step_size: float
    """Of the method; 1 where it has none."""
    in_z: bool
    """Whether the method takes its step in z, to the target below."""
    metric: str
    """A key of `METRICS`."""
    x: np.ndarray
    z: np.ndarray
    loss: float
    gradient: np.ndarray
    """dL/dz."""
    target: np.ndarray
    """z~ = z - step_size B^-1 dL/dz."""
    landings: tuple[Landing, ...]
    """By each rule; last, where the run went on to, unless it ended here."""


def anatomy(settings: Settings, comparison: Comparison) -> Anatomy:
    """Take apart the step that the settings point at."""
    named = settings.named[settings.method]
    size = float(named.settings.get("step_size", 1.0))
    metric = named.settings.get("metric", "newton")
    optimizer = optimizer_of(settings, settings.method)
    physical = optimizer if isinstance(optimizer, PhysicalGradient) else None
    run = comparison[settings.method]
    way = flat_points(next(iter(run.trajectory.spaces.values())))
    step = min(settings.step, len(way) - 1)
    with jax.enable_x64(settings.float64), compiled.quick_to_compile():
        objective = subject_of(settings).objective
        flat, _ = objective.flatten(comparison.start)
        rules = {
            "J^T": TransposedInverse(),
            "J^+": LinearizedInverse(),
            "P^-1": (physical and physical.inverse) or flat.rule,
        }
        x = jnp.asarray(way[step])
        (z, loss, gradient, target, landed), _ = compiled.run(
            _taken_apart, flat, x, jnp.asarray(size, x.dtype), metric, rules
        )
    landings = [_landing(name, step + 1, landed[name]) for name in rules]
    return Anatomy(
        method=settings.method,
        step=step,
        step_size=size,
        in_z=physical is not None,
        metric=metric,
        x=np.asarray(x),
        z=np.asarray(z),
        loss=float(loss),
        gradient=np.asarray(gradient),
        target=np.asarray(target),
        landings=(*landings, *_own(run, step)),
    )


def _own(run: Run, step: int) -> list[Landing]:
    """Where the run went to in that step, if it did."""
    if step + 1 >= len(run.trajectory):
        return []
    x, *_, z = (flat_points(tree)[step + 1] for tree in run.trajectory.spaces.values())
    loss = float(run.trajectory.losses[step + 1])
    return [Landing(OWN, x, z, loss, "the next iterate of the run", holds=True)]


def _taken_apart(
    objective: FlatObjective,
    x: Flat,
    step_size: Scalar,
    metric: str,
    rules: dict[str, Inverse],
) -> tuple[Flat, Scalar, Flat, Flat, dict[str, Step]]:
    state, loss = objective.start(x), objective.loss
    way = as_z_metric(metric).step(loss, state.z)
    landed = {
        name: physical_step(objective, state, way, step_size, rule)
        for name, rule in rules.items()
    }
    target = state.z + step_size * way.dz
    return state.z, loss(state.z), loss.gradient(state.z), target, landed


def _landing(rule: str, step: int, landed: Any) -> Landing:
    certificate = landed.certificate
    residual, tolerance = float(certificate.residual), float(certificate.tolerance)
    result = Result.from_code(int(landed.result))
    if result is Result.inverse_failed:
        cause = Cause.from_code(int(certificate.cause))
        words = inverse_message(cause, step, residual, tolerance)
    elif result is Result.target_not_reachable:
        words = (
            "no x near this one maps to z~; where it is nearest, |P(x+) - z~| = "
            f"{residual:.3g}"
        )
    elif np.isinf(tolerance):
        words = f"none: this rule need not reach z~; |P(x+) - z~| = {residual:.3g}"
    else:
        words = f"holds: |P(x+) - z~| = {residual:.3g}, at most {tolerance:.3g}"
    return Landing(
        rule,
        np.asarray(landed.state.x),
        np.asarray(landed.state.z),
        float(landed.loss),
        words,
        result is not Result.inverse_failed,
    )
