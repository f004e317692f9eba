"""Levenberg-Marquardt: the linearized step within a region where it can be trusted."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, Scalar
from physgrad.inverses.settings import positive
from physgrad.inverses.state import State
from physgrad.inverses.trees import arrays, check_values, ravel_like
from physgrad.objective.local_model import LocalModel, local_model
from physgrad.objective.objective import FlatObjective
from physgrad.optimizer.optimizer import Optimizer, Step
from physgrad.results import Result

# The gain below which the region shrinks, and above which it may grow.
POOR, GOOD = 0.25, 0.75
# What it shrinks to, of the step that was tried: where that was poor, and where there
# L was not finite. What it grows by, where the step went to its edge.
SHRINK, SHRINK_BLIND, GROW, EDGE = 0.5, 0.25, 2.0, 0.9


class Region(eqx.Module):
    """What Levenberg-Marquardt remembers from step to step."""

    radius: Scalar
    """Of the region |D dx| <= radius."""
    slopes: Flat
    """Largest norm of each column of H_L^1/2 J so far."""
    size: Flat
    """Largest magnitude of each entry of x so far."""
    units: Flat | None
    """Of x, where the user gives them."""
    model: LocalModel
    """Of L around the present point; a rejected step needs no other."""

    @property
    def scale(self) -> Flat:
        """D."""
        if self.units is not None:
            return 1 / self.units
        return jnp.sqrt(jnp.where(self.slopes > 0, self.slopes, 1.0) / self.size)

    @property
    def full_size(self) -> Scalar:
        """|D x|, of the largest x so far."""
        return jnp.linalg.norm(self.scale * self.size)


def _scale(value: PyTree) -> PyTree:
    tree = arrays("x_scale", value)
    check_values(
        "x_scale", tree, lambda v: np.isfinite(v) & (v > 0), "positive and finite"
    )
    return tree


class LevenbergMarquardt(Optimizer):
    """x+ = x + dx, dx to the least |H_L^1/2 (J dx - dz)| within |D dx| <= radius.

    dz is the Newton step of L in z: dx = -(J^T H_L J + damping D^2)^-1 J^T dL/dz, with
    the damping that the radius asks for, none where the whole step is inside.
    D^2 is the largest slope of z along each entry of x so far over the largest size of
    that entry, so that units of x do not matter, nor one slope that was steep early on.
    The region follows the gain, actual over predicted decrease of L. A step is taken
    where L falls, else x stays; when no radius helps the run is `stalled`.

    **Arguments:**

    - `radius`: of the first region, as a multiple of |D x0|.
    - `x_scale`: None, or a PyTree like x of how much each entry may be expected to
      change; then D is one over it, and stays so.

    **Raises:** `ValueError`, `TypeError` for a radius or scale that is not positive, or
    a Jacobian above 1 GiB; when used, for a scale that is not like x.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8) ** 2))
    >>> print(pg.minimize(objective, pg.LevenbergMarquardt(), jnp.array([5.0]), 20).x)
    [2.]

    **Source:** More, "The Levenberg-Marquardt algorithm: implementation and theory",
    1978.
    """

    radius: Float[Array, ""] = eqx.field(converter=positive("radius"), default=1.5)
    x_scale: PyTree = eqx.field(converter=_scale, default=None)

    def init(self, objective: FlatObjective, state: State) -> Region:
        model = local_model(objective, state)
        # an entry that is zero: as large as what would explain all of the misfit alone
        misfit, slopes = jnp.linalg.norm(model.vector), model.slopes
        other = misfit / jnp.where(slopes > 0, slopes, misfit)
        other = jnp.where(other > 0, other, 1.0)
        size = jnp.where(state.x != 0, jnp.abs(state.x), other)
        units = None
        if self.x_scale is not None:
            like = objective.simulator.unravel_x(state.x)
            units = ravel_like("x_scale", self.x_scale, "x", like)
        region = Region(self.radius, slopes, size, units, model)
        radius = self.radius * region.full_size
        return eqx.tree_at(lambda region: region.radius, region, radius)

    def update(
        self, objective: FlatObjective, state: State, memory: Region
    ) -> tuple[Step, Region]:
        here = memory.model
        within = None if objective.box is None else (objective.box, state.x)
        dx, length = here.bounded(memory.scale, memory.radius, within)
        tried, loss = objective.evaluate(state, state.x + dx), objective.loss(state.z)
        trial, predicted = objective.loss(tried.z), here.decrease(dx)
        hidden = here.hides(objective, state)  # x is at the optimum: no failure
        gain = (loss - trial) / jnp.where(predicted > 0, predicted, 1.0)
        accepted = jnp.isfinite(trial) & ((trial < loss) | (hidden & (trial <= loss)))

        state, there = lax.cond(
            accepted,
            lambda: (tried, local_model(objective, tried)),
            lambda: (state, here),
        )
        cost = jax.tree.map(lambda count: count * accepted, there.evaluations)
        region = Region(
            _radius(memory.radius, length, gain, jnp.isfinite(trial)),
            jnp.maximum(memory.slopes, there.slopes),
            jnp.maximum(memory.size, jnp.abs(state.x)),
            memory.units,
            there,
        )
        hidden = there.hides(objective, state)
        settled = there.is_settled(objective, state, region.size)
        lost = region.radius < jnp.finfo(loss.dtype).eps * region.full_size
        stuck = (lost & ~hidden) | (hidden & ~settled)
        result = jnp.where(stuck, Result.stalled.code, here.result)
        left = jnp.where(settled, there.optimality(objective, state), 1.0)
        cost += Evaluations(forward=1)
        return Step(state, cost, result, rejected=~accepted, optimality=left), region


def _radius(
    radius: Scalar, length: Scalar, gain: Scalar, finite: Bool[Array, ""]
) -> Scalar:
    """The radius after a step of this length and gain."""
    shrunk = length * jnp.where(finite, SHRINK, SHRINK_BLIND)
    edge = length >= EDGE * radius
    grown = jnp.where((gain > GOOD) & edge, GROW * radius, radius)
    return jnp.where(finite & (gain >= POOR), grown, shrunk)
