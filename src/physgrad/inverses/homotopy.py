"""The search of the noise-safe inverse: a weight that falls, a point that follows."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest, largest_by_leaf
from physgrad.inverses.jacobian import dense_jacobian
from physgrad.inverses.penalty import Rows
from physgrad.inverses.rule import Code
from physgrad.inverses.tikhonov import tikhonov
from physgrad.inverses.weight import CrossValidation, Linear, PredictiveRisk

# 1 / tau falls by this factor at first, by its square, fourth power, ... while the
# linearized problem predicts P(x+) to this part of the step in z.
FALL = 10.0
LINEAR = 0.1
# Once it was the weight of the choice it falls less and less, so that a choice that
# changes from point to point comes to rest.
CALMER, REST = 0.8, 0.01
FIRST = math.log(FALL)
# A step along which the misfit does not fall is halved so many times.
HALVINGS = 20


class Problem(eqx.Module):
    """1/2 |R (P(x) - z~)|^2 + weight / 2 |L (x - x_ref)|^2; weight = 1 / tau."""

    forward: FlatMap
    z_target: Flat
    start: tuple[Flat, Flat]
    """x and z of the state."""
    prior: Flat
    """x_ref."""
    root: Float[Array, "weighted z"]
    """R."""
    rows: Rows
    """L."""
    choice: PredictiveRisk | CrossValidation
    tolerance: Float[Array, " leaves"]
    """What counts as rounding in each leaf of z."""

    def size(self, x: Flat, z: Flat, log_weight: Scalar) -> Scalar:
        """The root of twice the function."""
        misfit = self.root @ (z - self.z_target)
        penalty = jnp.exp(log_weight / 2) * (self.rows @ (x - self.prior))
        return jnp.linalg.norm(jnp.concatenate([misfit, penalty]))

    def jacobian(self, x: Flat) -> Float[Array, "z x"]:
        """J at a point."""
        return dense_jacobian(self.forward, x, self.forward.forward_mode)

    def linearized(self, x: Flat, z: Flat) -> tuple[Linear, Float[Array, "z x"]]:
        """The problem of d = x+ - x_ref at a point, and J."""
        jacobian = self.jacobian(x)
        family = tikhonov(self.root @ jacobian, self.rows)
        misfit = self.z_target - z + jacobian @ (x - self.prior)
        image = jacobian @ family.back
        return Linear(family, misfit, self.root @ misfit, image), jacobian

    def is_rounding(self, dz: Flat) -> Bool[Array, ""]:
        """Whether a difference in z is not worth a step."""
        return jnp.all(largest_by_leaf(self.forward, dz) <= self.tolerance)


class End(eqx.Module):
    """How the search ended."""

    log_weight: Scalar
    """log(1 / tau) of the last step; -infinity where x has stayed, so that nothing of
    the metric is lost."""
    moved: Bool[Array, ""]
    done: Bool[Array, ""]
    """x is the minimum at the weight that was chosen there."""
    steps: Code
    """Gauss-Newton steps."""
    forwards: Code
    """Calls of the simulator."""


class _Progress(eqx.Module):
    x: Flat
    z: Flat
    log_weight: Scalar
    """log(1 / tau) of the last step."""
    fall: Scalar
    """By how much it may fall in the next one."""
    steps: Code
    forwards: Code
    settled: Bool[Array, ""]
    """The weight has been that of the choice."""
    done: Bool[Array, ""]
    """x is the minimum at the weight that was chosen there."""
    stuck: Bool[Array, ""]
    """No step is acceptable."""


def search(problem: Problem, max_steps: int) -> tuple[Flat, End]:
    """Gauss-Newton steps at weights that fall until they are those of the choice."""
    x, z = problem.start
    no, none = jnp.asarray(False), jnp.asarray(0)
    far, first = (jnp.asarray(v, x.dtype) for v in (jnp.inf, FIRST))
    there = problem.choice.is_noise(z - problem.z_target)
    start = _Progress(x, z, far, first, none, none, no, there, no)

    def goes_on(now: _Progress) -> Array:
        return ~(now.done | now.stuck) & (now.steps < max_steps)

    end = lax.while_loop(goes_on, lambda now: _advance(problem, now), start)
    moved = jnp.any(end.x != x)
    weight = jnp.where(moved, end.log_weight, -jnp.inf)
    return end.x, End(weight, moved, end.done, end.steps, end.forwards)


def stationarity(x: Flat, end: End, problem: Problem) -> Flat:
    """What the solution makes zero, but for a constant, with 1 / tau held constant.

    Where x has moved it is tau J^T B (P(x) - z~) + L^T L (x - x_ref), by the inverse of
    its Gauss-Newton matrix: that is x+ less the point that a Gauss-Newton step reaches,
    its J held constant, and what J and L change by. Not the gradient itself: a weak
    1 / tau would be lost in it to rounding. Where x has stayed, it is the state's.
    """
    log_weight = jnp.where(end.moved, end.log_weight, 0.0)
    matrix = problem.root @ problem.jacobian(x)
    matrix, rows = lax.stop_gradient((matrix, problem.rows))
    missing = max(x.size - len(matrix), 0)  # of rows, for a basis of all of x
    family = tikhonov(jnp.pad(matrix, ((0, missing), (0, 0))), rows)
    family = family._replace(left=family.left[: len(matrix)])
    misfit, d = problem.z_target - problem.forward(x), x - problem.prior
    weighted = problem.root @ misfit
    whole = weighted + matrix @ d
    outside = jnp.where(problem.is_rounding(misfit), 0.0, weighted)
    fixed = family.multiplier(whole, outside, log_weight), d
    multiplier, still = lax.stop_gradient(fixed)
    slope = jax.grad(lambda x: multiplier @ (problem.root @ problem.forward(x)))(x)
    bend = problem.rows.T @ (problem.rows @ still) - slope
    inverse = family.root_of_inverse(log_weight)
    moved = d - family.back @ family.coordinates(whole, log_weight)
    moved = moved + inverse @ (inverse.T @ bend)
    return jnp.where(end.moved, moved, x - problem.start[0])


def _advance(problem: Problem, now: _Progress) -> _Progress:
    """One Gauss-Newton step, at a weight no weaker than the last one allows."""
    linear, jacobian = problem.linearized(now.x, now.z)
    family, chosen = linear.family, problem.choice(linear)
    misfit = now.z - problem.z_target
    stays = (now.steps == 0) & problem.choice.is_best(misfit, linear, chosen)
    # the weight before the first one is infinite
    allowed = jnp.minimum(now.log_weight - now.fall, family.log_strongest)
    log_weight = jnp.maximum(chosen, allowed)
    d = family.back @ family.coordinates(linear.weighted, log_weight)
    goal = jnp.where(stays, now.x, problem.prior + d)
    x, z, part, tries = _shortened(problem, now, goal, log_weight, jacobian)
    moved = jacobian @ (x - now.x)
    miss, whole = z - now.z - moved, part == 1
    misfit = z - problem.z_target
    exact = problem.is_rounding(miss) | problem.choice.is_small(miss, misfit)
    at_rest = stays | (log_weight <= chosen) | (now.settled & (now.fall < REST))
    further = jnp.maximum(2 * now.fall, FIRST)
    further = jnp.where(largest(miss) <= LINEAR * largest(moved), further, FIRST)
    further = jnp.where(whole, further, 0.0)
    further = jnp.where(now.settled, CALMER * jnp.minimum(now.fall, FIRST), further)
    return _Progress(
        x,
        z,
        log_weight,
        further.astype(x.dtype),
        now.steps + 1,
        now.forwards + tries,
        now.settled | (log_weight <= chosen),
        whole & exact & at_rest,
        part == 0,
    )


def _shortened(
    problem: Problem, now: _Progress, goal: Flat, log_weight: Scalar, jacobian: Array
) -> tuple[Flat, Flat, Scalar, Code]:
    """The point on the way to the goal where the function has fallen, with its z.

    And which part of the way it is, 1, 1/2, 1/4, ... or 0; and the calls this took.
    """
    eps = jnp.finfo(goal.dtype).eps
    bound = (1 + 4 * eps) * problem.size(now.x, now.z, log_weight)

    def attempt(part: Scalar) -> tuple[Flat, Flat, Array]:
        x = jnp.where(part == 1, goal, now.x + part * (goal - now.x))
        z = problem.forward(x)
        linear = problem.is_rounding(z - now.z - jacobian @ (x - now.x))
        return x, z, linear | (problem.size(x, z, log_weight) <= bound)

    def halve(tried: Any) -> Any:
        part, tries, *_ = tried
        return part / 2, tries + 1, *attempt(part / 2)

    one = jnp.ones((), goal.dtype)
    part, tries, x, z, good = lax.while_loop(
        lambda tried: ~tried[4] & (tried[1] <= HALVINGS),
        halve,
        (one, jnp.asarray(1), *attempt(one)),
    )
    kept = [jnp.where(good, new, old) for new, old in ((x, now.x), (z, now.z))]
    return kept[0], kept[1], jnp.where(good, part, 0.0), tries
