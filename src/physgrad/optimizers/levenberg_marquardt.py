"""Levenberg-Marquardt: the damped linearized step, its damping set by its success."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from physgrad.inverses.certificate import certificate_tolerance
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, Scalar, largest_by_leaf
from physgrad.inverses.jacobian import dense_jacobian, jacobian_cost
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import NewtonMetric
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.results import Result
from physgrad.spectral import damped_solution


class Damping(eqx.Module):
    """What Levenberg-Marquardt remembers from step to step."""

    value: Scalar
    """The damping, relative to the scaled J^T B J, whose diagonal is 1."""
    growth: Scalar
    """What the damping is multiplied with after the next failure."""
    scale: Flat
    """Largest norm of each column of B^1/2 J so far."""


class LevenbergMarquardt(Optimizer):
    """x+ = x - (J^T H_L J + damping D^2)^-1 J^T dL/dz, accepted where L falls.

    D is the largest norm of each column of H_L^1/2 J so far, so the units of x do not
    matter. The damping follows the gain, actual over predicted decrease of L: it
    shrinks up to threefold after a good step and grows 2, 4, 8, ... fold after
    rejected ones, which leave x where it is. When no damping helps the run is
    `stalled`.

    **Arguments:**

    - `damping`: at the start, relative to D^2.

    **Raises:** `ValueError`, `TypeError` for a damping that is not positive, or a
    Jacobian above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8) ** 2))
    >>> print(pg.minimize(objective, pg.LevenbergMarquardt(), jnp.array([5.0]), 20).x)
    [2.]

    **Source:** More, "The Levenberg-Marquardt algorithm", 1978 (scaling); Madsen,
    Nielsen, Tingleff, "Methods for non-linear least squares problems", 2004 (damping).
    """

    damping: Float[Array, ""] = eqx.field(converter=positive("damping"), default=1e-3)

    def init(self, objective: FlatObjective, state: State) -> Damping:
        two = jnp.asarray(2, state.x.dtype)
        return Damping(self.damping, two, jnp.zeros_like(state.x))

    def update(
        self, objective: FlatObjective, state: State, memory: Damping
    ) -> tuple[Step, Damping]:
        dz, metric, result, cost = NewtonMetric().step(objective.loss, state.z)
        root, mode = metric.root(), objective.simulator.forward_mode
        jacobian = dense_jacobian(objective.simulator, state.x, mode)
        matrix = root.as_matrix() @ jacobian
        vector = root.mv(dz)
        scale = jnp.maximum(memory.scale, jnp.linalg.norm(matrix, axis=0))
        units = jnp.where(scale > 0, scale, 1.0)
        dx = damped_solution(matrix / units, vector, memory.value) / units
        tried = objective.evaluate(state, state.x + dx)

        loss, trial = objective.loss(state.z), objective.loss(tried.z)
        predicted = _decrease(matrix, vector, dx)
        # Where rounding hides even the full step, in z or in L, x is at the optimum:
        # that is no failure.
        full = damped_solution(matrix / units, vector) / units
        floor = certificate_tolerance(objective.simulator, state.z, state, 0.0)
        moved = largest_by_leaf(objective.simulator, jacobian @ full)
        rounding = 4 * jnp.finfo(loss.dtype).eps * jnp.abs(loss)
        hidden = jnp.all(moved <= floor) | (_decrease(matrix, vector, full) <= rounding)
        gain = (loss - trial) / jnp.where(predicted > 0, predicted, 1.0)
        accepted = jnp.isfinite(trial) & ((trial < loss) | (hidden & (trial <= loss)))
        state = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), tried, state)
        memory = _adapt(memory, accepted, gain, scale)
        spent = memory.value > 1 / jnp.finfo(loss.dtype).eps ** 2
        result = jnp.where(spent & ~hidden, Result.stalled.code, result)
        cost += Evaluations(forward=1) + jacobian_cost(state.z.size, state.x, mode)
        return Step(state, cost, result, rejected=~accepted), memory


def _decrease(matrix: Float[Array, "z x"], vector: Flat, dx: Flat) -> Scalar:
    """What the quadratic model of L falls by: 1/2 |b|^2 - 1/2 |b - A dx|^2."""
    misfit = vector - matrix @ dx
    return 0.5 * (vector @ vector - misfit @ misfit)


def _adapt(
    memory: Damping, accepted: Bool[Array, ""], gain: Scalar, scale: Flat
) -> Damping:
    shrink = jnp.clip(1 - (2 * gain - 1) ** 3, 1 / 3, 2.0)
    floor = jnp.finfo(gain.dtype).tiny / jnp.finfo(gain.dtype).eps
    return Damping(
        jnp.maximum(memory.value * jnp.where(accepted, shrink, memory.growth), floor),
        jnp.where(accepted, 2.0, 2.0 * memory.growth),
        scale,
    )
