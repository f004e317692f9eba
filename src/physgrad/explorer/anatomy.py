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

RULES = {
    "J^T": "transposed: x + J^T B (z~ - z), as gradient descent",
    "J^+": "linearized: x + (J^T B J)^+ J^T B (z~ - z), as Gauss-Newton",
    "P^-1": "the inverse: the method's own, else the simulator's",
}
"""Rule to what it is."""


@dataclasses.dataclass(frozen=True)
class Landing:
    """Where a rule pulls the target back to, and where that is in z."""

    rule: str
    """A key of `RULES`."""
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
    x: np.ndarray
    z: np.ndarray
    loss: float
    gradient: np.ndarray
    """dL/dz."""
    target: np.ndarray
    """z~ = z - step_size B^-1 dL/dz."""
    landings: tuple[Landing, ...]


def anatomy(settings: Settings, comparison: Comparison) -> Anatomy:
    """Take apart the step that the settings point at."""
    named = settings.named[settings.method]
    size = float(named.settings.get("step_size", 1.0))
    metric = named.settings.get("metric", "newton")
    spaces = comparison[settings.method].trajectory.spaces
    way = flat_points(next(iter(spaces.values())))
    step = min(settings.step, len(way) - 1)
    with jax.enable_x64(settings.float64), compiled.quick_to_compile():
        objective = subject_of(settings).objective
        flat, _ = objective.flatten(comparison.start)
        rules = {
            "J^T": TransposedInverse(),
            "J^+": LinearizedInverse(),
            "P^-1": _inverse(settings) or flat.rule,
        }
        x = jnp.asarray(way[step])
        (z, loss, gradient, target, landed), _ = compiled.run(
            _taken_apart, flat, x, jnp.asarray(size, x.dtype), metric, rules
        )
    return Anatomy(
        settings.method,
        step,
        size,
        np.asarray(x),
        np.asarray(z),
        float(loss),
        np.asarray(gradient),
        np.asarray(target),
        tuple(_landing(name, step + 1, landed[name]) for name in rules),
    )


def _inverse(settings: Settings) -> Inverse | None:
    """The rule that the chosen method brings, if it does."""
    optimizer = optimizer_of(settings, settings.method)
    return optimizer.inverse if isinstance(optimizer, PhysicalGradient) else None


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
        words = f"target out of range; |P(x+) - z~| = {residual:.3g} is the least near"
    elif np.isinf(tolerance):
        words = f"promises nothing; |P(x+) - z~| = {residual:.3g}"
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
