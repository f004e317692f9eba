"""The quadratic model of L around a point: its steps, and what is left to be had."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from physgrad.inverses.box import Box
from physgrad.inverses.certificate import certificate_tolerance
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, Scalar, largest_by_leaf
from physgrad.inverses.jacobian import dense_jacobian, jacobian_cost
from physgrad.inverses.rule import Code
from physgrad.inverses.state import State
from physgrad.objective.objective import FlatObjective
from physgrad.objective.z_step import NewtonMetric
from physgrad.spectral import damped_solution, spectrum

# Steps of Hebden's iteration for the damping of a bounded step.
HEBDEN = 12
# A whole step of more than this part of x says that x is not settled.
FAR = 0.1


class LocalModel(eqx.Module):
    """1/2 |b - A dx|^2 with A = B^1/2 J, b = B^1/2 dz, dz the Newton step of L in z."""

    matrix: Float[Array, "z x"]
    """A."""
    vector: Flat
    """b."""
    jacobian: Float[Array, "z x"]
    """J."""
    dz: Flat
    """The Newton step of L in z."""
    whole: Flat
    """A^+ b, the step to the minimum of the model; with bounds, to that within."""
    result: Code
    """Whether there is a Newton step in z, a `Result` by its code."""
    evaluations: Evaluations
    """What the model cost."""

    @property
    def slopes(self) -> Flat:
        """Norms of the columns of A: what a unit of each entry of x moves z by."""
        return jnp.linalg.norm(self.matrix, axis=0)

    def bounded(
        self, scale: Flat, radius: Scalar, within: tuple[Box, Flat] | None = None
    ) -> tuple[Flat, Scalar]:
        """The step of |D dx| <= radius to the lowest point of the model, and |D dx|.

        The whole step where it is short enough. With bounds, the damping is that of
        the step without, and the model with it has its lowest point within them.

        **Arguments:** `scale`: D, positive; `within`: the bounds, and x.
        """
        matrix, whole = self.matrix / scale, scale * self.whole
        damping = _damping_for(matrix, self.vector, radius)
        bounded = damped_solution(matrix, self.vector, damping)
        if within is not None:
            box, x = within
            rows = jnp.diag(jnp.sqrt(damping) * scale)
            damped = jnp.concatenate([self.matrix, rows])
            vector = jnp.concatenate([self.vector, jnp.zeros_like(x)])
            bounded = scale * box.least(damped, vector, x)
        scaled = jnp.where(jnp.linalg.norm(whole) <= radius, whole, bounded)
        return scaled / scale, jnp.linalg.norm(scaled)

    def decrease(self, dx: Flat) -> Scalar:
        """What L falls by in a step, as far as the model goes."""
        misfit = self.vector - self.matrix @ dx
        return 0.5 * (self.vector @ self.vector - misfit @ misfit)

    def hides(self, objective: FlatObjective, state: State) -> Bool[Array, ""]:
        """Whether rounding hides the whole step from `state`, in z or in L."""
        value = objective.loss(state.z)
        rounding = objective.loss.rounding(state.z, state.scale, value)
        in_z = self._is_rounding(objective, state, self.jacobian @ self.whole)
        return in_z | (self.decrease(self.whole) <= rounding)

    def is_settled(
        self, objective: FlatObjective, state: State, size: Flat
    ) -> Bool[Array, ""]:
        """Whether the whole step is short beside x, or L is at its minimum in z.

        Else x is in a flat valley, or on the way to an infimum at infinity.

        **Arguments:** `size`: of each entry of x, positive.
        """
        weights = self.slopes / size
        short = weights @ self.whole**2 <= FAR**2 * (weights @ size**2)
        return short | self._is_rounding(objective, state, self.dz)

    def _is_rounding(
        self, objective: FlatObjective, state: State, dz: Flat
    ) -> Bool[Array, ""]:
        floor = certificate_tolerance(objective.simulator, state.z, state, 0.0)
        return jnp.all(largest_by_leaf(objective.simulator, dz) <= floor)

    def optimality(self, objective: FlatObjective, state: State) -> Scalar:
        """|A dx| / |b| of the whole step, 0 where rounding hides it.

        Which part of the way in z that L asks for is open to x: 1 where all of it is, 0
        at a stationary point. Units of x, z and L do not matter. Where z does not
        depend on x to first order, nothing is known: 1, unless there is no way to go.
        """
        way = jnp.linalg.norm(self.vector)
        left = jnp.linalg.norm(self.matrix @ self.whole)
        part = left / jnp.where(way > 0, way, 1.0)
        part = jnp.where(self.hides(objective, state), 0.0, part)
        return jnp.where((way > 0) & ~jnp.any(self.slopes > 0), 1.0, part)


def local_model(objective: FlatObjective, state: State) -> LocalModel:
    """The model at a state.

    **Raises:** `ValueError` for a Jacobian above 1 GiB.
    """
    simulator, mode = objective.simulator, objective.simulator.forward_mode
    jacobian = dense_jacobian(simulator, state.x, mode)
    way = NewtonMetric().step(objective.loss, state.z)
    root = way.metric.root()
    matrix, vector = root.as_matrix() @ jacobian, root.mv(way.dz)
    slopes = jnp.linalg.norm(matrix, axis=0)
    units = jnp.where(slopes > 0, slopes, 1.0)
    whole = damped_solution(matrix / units, vector) / units
    if objective.box is not None:
        whole = objective.box.least(matrix, vector, state.x)
    cost = way.evaluations + jacobian_cost(state.z.size, state.x, mode)
    cost = jax.tree.map(jnp.int32, cost)
    result = jnp.int32(way.result)
    return LocalModel(matrix, vector, jacobian, way.dz, whole, result, cost)


@jax.custom_jvp
def _damping_for(matrix: Float[Array, "z x"], vector: Flat, radius: Scalar) -> Scalar:
    """The damping with |(A^T A + damping I)^-1 A^T b| = radius; 0 within the radius.

    **Source:** More, Sorensen, "Computing a trust region step", 1983 (Hebden's
    iteration, which comes from below).
    """
    seen = spectrum(matrix)
    kept = seen.values > 0
    squares = jnp.where(kept, seen.values**2, 1.0)
    pulled = jnp.where(kept, seen.values * (seen.left.T @ vector), 0.0)

    def closer(_: Any, damping: Scalar) -> Scalar:
        parts = pulled / (squares + damping)
        size = jnp.linalg.norm(parts)
        shares = (parts / jnp.where(size > 0, size, 1.0)) ** 2
        slope = jnp.sum(shares / (squares + damping))
        more = (size - radius) / radius / jnp.where(slope > 0, slope, 1.0)
        return jnp.maximum(damping + more, 0.0).astype(damping.dtype)

    damping = lax.fori_loop(0, HEBDEN, closer, jnp.zeros((), pulled.dtype))
    return damping.astype(vector.dtype)


@_damping_for.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Scalar, Scalar]:
    """By the implicit function theorem: |dx| stays the radius."""
    matrix, vector, radius = primals
    damping = _damping_for(*primals)

    def excess(damping: Array, matrix: Array, vector: Array, radius: Array) -> Array:
        step = damped_solution(matrix, vector, damping)
        size = jnp.linalg.norm(jnp.where(damping > 0, step, 1.0))
        return size - radius

    _, change = jax.jvp(partial(excess, damping), primals, tangents)
    slope = jax.grad(excess)(damping, matrix, vector, radius)
    bound = (damping > 0) & (slope != 0)
    return damping, jnp.where(bound, -change / jnp.where(bound, slope, 1.0), 0.0)
