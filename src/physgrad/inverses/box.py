"""Bounds on a flat x: what lies within, and rules whose points do."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar
from physgrad.inverses.jacobian import check_dense
from physgrad.inverses.rule import Inverse, Metric, PullBack
from physgrad.inverses.state import State
from physgrad.results import Cause, Result
from physgrad.spectral import damped_solution, spectrum

# Steps of the search for the nearest point; each settles which bounds are active.
ROUNDS = 50
# A step of the search goes this part of the way, or half of it, ...
HALVINGS = 10


class Box(eqx.Module):
    """lower <= x <= upper, entry by entry; equal bounds fix an entry."""

    lower: Flat
    upper: Flat

    def clip(self, x: Flat) -> Flat:
        """The nearest point within, entry by entry; NaN stays NaN."""
        return jnp.clip(x, self.lower, self.upper)

    def contains(self, x: Flat) -> Bool[Array, ""]:
        """Whether x lies within, bounds included."""
        return jnp.all((x >= self.lower) & (x <= self.upper))

    def held(self, x: Flat, slope: Flat) -> Bool[Array, " x"]:
        """Entries on a bound that a descent along -slope would leave, or fixed ones."""
        below, above = (x <= self.lower) & (slope > 0), (x >= self.upper) & (slope < 0)
        return below | above | (self.lower == self.upper)

    def projected(self, x: Flat, gradient: Flat) -> Flat:
        """x - clip(x - gradient): zero where no bound lets x descend."""
        return x - self.clip(x - gradient)

    def least(
        self, matrix: Float[Array, "rows x"], vector: Float[Array, " rows"], x: Flat
    ) -> Flat:
        """The dx to the least |A dx - b| for which x + dx lies within; x lies within.

        Steps to the least of it on the entries that no bound holds, projected along the
        box and shortened until it falls.

        **Source:** Bertsekas, "Projected Newton methods for optimization problems with
        simple constraints", SIAM J. Control Optim. 20, 1982.
        """
        units = jnp.linalg.norm(matrix, axis=0)
        units = jnp.where(units > 0, units, 1.0)
        scaled = matrix / units
        steepest = jnp.sum(scaled**2)  # above its largest eigenvalue
        parts = 0.5 ** jnp.arange(HALVINGS, dtype=x.dtype)

        def size(dx: Flat) -> Scalar:
            return jnp.sum((matrix @ dx - vector) ** 2)

        def closer(now: tuple[Flat, Scalar, Any, Any]) -> tuple[Flat, Scalar, Any, Any]:
            dx, best, _, rounds = now
            rest = vector - matrix @ dx
            slope = -(matrix.T @ rest)
            free = jnp.where(self.held(x + dx, slope), 0.0, scaled)
            whole = damped_solution(free, rest, 0.0) / units
            along = -(slope / units**2) / jnp.where(steepest > 0, steepest, 1.0)
            steps = jnp.concatenate([parts[:, None] * whole, along[None]])
            points = jax.vmap(self.clip)(x + dx + steps) - x
            sizes = jax.vmap(size)(points)
            place = jnp.argmin(jnp.where(jnp.isfinite(sizes), sizes, jnp.inf))
            falls = sizes[place] < best
            dx = jnp.where(falls, points[place], dx)
            return dx, jnp.where(falls, sizes[place], best), falls, rounds + 1

        start = jnp.zeros_like(x)
        dx, *_ = lax.while_loop(
            lambda now: now[2] & (now[3] < ROUNDS),
            closer,
            (start, size(start), jnp.asarray(True), jnp.asarray(0)),
        )
        return dx


class Boxed(Inverse):
    """A rule within bounds: where its x+ leaves them, their least 1/2 |dx|_B1^2 - c dx.

    B1 is the metric that the rule hands on, and c = J^T B (z~ - z): without bounds dx
    would solve B1 dx = c, as x+ - x does to first order. Where x rests, -dL/dx is held
    by the bounds, whatever the rule.
    """

    rule: Inverse
    box: Box

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        answer = self.rule.pull_back(forward, z_target, state, metric)
        holds = answer.result < Result.stalled.code
        leaves = holds & jnp.all(jnp.isfinite(answer.x)) & ~self.box.contains(answer.x)
        check_dense(state.z.size, state.x, "GradientDescent, or a bijection")
        handed_on = self.rule.handed_on(answer, forward, state, metric)
        matrix = handed_on.root().as_matrix().astype(state.x.dtype)
        root = metric.root()
        pull = root.transpose().mv(root.mv(z_target - state.z))  # B (z~ - z)
        jacobian = self.rule.jacobian(forward, state, answer)

        def kept() -> tuple[Flat, Flat]:
            return answer.x, answer.z

        def within() -> tuple[Flat, Flat]:
            seen = spectrum(matrix)
            slope = jacobian.transpose().mv(pull)
            vector = seen.left @ (seen.scaled(lambda s: 1 / s) * (seen.right @ slope))
            x = self.box.clip(state.x + self.box.least(matrix, vector, state.x))
            return x, forward(x)

        x, z = lax.cond(leaves, within, kept)
        residual = jnp.max(jnp.abs(z - z_target))
        finite = jnp.isfinite(residual)
        missed = jnp.where(
            finite, Result.target_not_reachable.code, Result.inverse_failed.code
        )

        def either(inside: Any, outside: Any) -> Array:
            return jnp.where(leaves, outside, inside)

        return PullBack(
            x,
            z,
            either(answer.residual, residual),
            either(answer.result, missed),
            either(answer.tolerance, jnp.inf),
            either(answer.cause, jnp.where(finite, 0, Cause.not_finite.code)),
            answer.rung,
            answer.damping,
            answer.evaluations + Evaluations(forward=1, vjp=1),
            memory=answer.memory,
        )

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        return self.rule.handed_on(answer, forward, state, metric)

    def begin(self, state: State) -> Any:
        return self.rule.begin(state)

    def recalling(self, memory: Any) -> Inverse:
        return Boxed(self.rule.recalling(memory), self.box)

    def verify(self, forward: FlatMap, state: State) -> PullBack:
        return self.rule.verify(forward, state)
