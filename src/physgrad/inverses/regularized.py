"""The noise-safe inverse: as close to the target as its noise allows, not closer."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from physgrad.inverses.certificate import certificate_tolerance, excess
from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest, largest_by_leaf
from physgrad.inverses.jacobian import check_dense, dense_jacobian, jacobian_cost
from physgrad.inverses.penalty import Penalty, Rows, as_penalty
from physgrad.inverses.rule import Code, Evaluations, Inverse, Metric, PullBack
from physgrad.inverses.settings import optional, whole_number
from physgrad.inverses.state import State
from physgrad.inverses.tikhonov import tikhonov
from physgrad.inverses.trees import arrays, check_values, ravel_like
from physgrad.inverses.weight import CrossValidation, Discrepancy, Linear
from physgrad.results import Cause, Result

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
MATRIX_FREE = "LinearizedInverse(solver=lineax.LSMR(rtol=1e-6, atol=0.0))"


def _noise(value: PyTree) -> PyTree:
    tree = arrays("noise", value)
    check_values(
        "noise", tree, lambda v: np.isfinite(v) & (v >= 0), "zero or positive, finite"
    )
    return tree


def _prior(value: PyTree) -> PyTree:
    tree = arrays("prior", value)
    check_values("prior", tree, lambda v: np.isfinite(v), "finite")
    return tree


class RegularizedInverse(Inverse):
    """x+ = argmin 1/2 |P(x+) - z~|_B^2 + 1/(2 tau) |L (x+ - x_ref)|^2, by the noise.

    An exact inverse amplifies the noise of a target; this one fits it as closely as the
    noise allows. tau grows from where x+ stays at x_ref, each tau starting Gauss-Newton
    steps at the point of the last one (iteratively regularized Gauss-Newton), until

    - with `noise` known, sum ((P(x+) - z~) / noise)^2 is the number of entries (the
        discrepancy principle; met within 5 %). Where no tau gets that close the
        nearest point is taken and labelled `target_not_reachable`: there the noise is
        given too small. Where x is that close already, it stays.
    - without it, generalized cross-validation of the problem linearized at the last
        point is best. It takes an end of its range where that is best: x_ref, or the
        pseudo-inverse of J. It needs clearly more entries in z than parameters that
        they determine, and noise that is independent and, in the metric B, of one size.

    The certificate promises the noise: |P(x+) - z~| <= max(noise) sqrt(1.05 entries),
    and nothing without it. The metric it hands on is J^T B J + L^T L / tau. Derivatives
    of a run with it are forward ones (`jax.jvp`, `jax.jacfwd`), at the tau chosen.

    **Arguments:**

    - `noise`: standard deviation of the noise of each entry of z~, in the units of z: a
        number, zero for none (tau as weak as rounding allows), or a PyTree like z; None
        for tau from the data. It is that of the target of the loss for step size 1.
    - `prior`: x_ref: None for the present x, which leaves fixed points alone; or a
        PyTree like x, towards which the answer is biased, by design.
    - `operator`: L: "identity", "gradient" or "laplacian", differences between
        neighbors along each axis of each leaf of x (smooth x); or a matrix of shape
        (rows, x entries) or a lineax operator. What it does not see is not regularized.
    - `max_steps`: Gauss-Newton steps in one pull-back; more end the run as
        `inverse_failed`.

    **Raises:** `TypeError`, `ValueError` for a noise that is negative or not finite, an
    unknown operator, a number of steps that is not positive; when used, for a noise
    that is not like z, a prior that is not like x, an operator with another number of
    columns, or dense matrices above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> gains = jnp.array([1.0, 1e-3])                  # the second is all but unseen
    >>> noisy = pg.SquaredLoss(jnp.array([2.0, 0.1]))         # of [2, 0], noise 0.1
    >>> objective = pg.Objective(lambda x: gains * x, noisy)
    >>> safe = pg.PhysicalGradient(1.0, inverse=pg.RegularizedInverse(noise=0.1))
    >>> print(pg.minimize(objective, safe, jnp.zeros(2), num_steps=1).x.round(2))
    [1.9 0. ]

    **Source:** Kaltenbacher, Neubauer, Scherzer, Iterative Regularization Methods for
    Nonlinear Ill-Posed Problems, 2008, section 4.3; Hansen, Rank-Deficient and Discrete
    Ill-Posed Problems, 1998, sections 7.2 and 7.4.
    """

    noise: PyTree = eqx.field(converter=optional(_noise), default=None)
    """Standard deviation of the entries of z~; None: unknown."""
    prior: PyTree = eqx.field(converter=optional(_prior), default=None)
    """x_ref; None: the present x."""
    operator: Penalty = eqx.field(converter=as_penalty, default="identity")
    """L."""
    max_steps: int = eqx.field(
        converter=whole_number("max_steps", 1), default=64, static=True
    )
    """Gauss-Newton steps in one pull-back, at most."""

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        problem = self._problem(forward, z_target, state, metric)
        return _answer(problem, _homotopy(problem, state, self.max_steps))

    def handed_on(
        self, answer: PullBack, forward: FlatMap, state: State, metric: Metric
    ) -> Metric:
        """B1 = J^T B J + L^T L / tau: R J stacked on L / sqrt(tau)."""
        through = super().handed_on(answer, forward, state, metric).root()
        rows = self.operator.rows(forward, state.x)

        def stacked(dx: Flat) -> Flat:
            penalty = jnp.sqrt(answer.damping) * (rows @ dx)
            return jnp.concatenate([through.mv(dx), penalty])

        return Metric(lx.FunctionLinearOperator(stacked, through.in_structure()))

    def _problem(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> _Problem:
        x, z = state.x, state.z
        rows = jax.eval_shape(lambda: self.operator.rows(forward, x)).shape[0]
        check_dense(z.size + rows, x, MATRIX_FREE)
        root = metric.root().as_matrix()
        seen = jnp.any(root != 0, axis=0)
        prior, choice = x, CrossValidation(seen)
        if self.prior is not None:
            prior = ravel_like("prior", self.prior, "x", forward.unravel_x(x))
        if self.noise is not None:
            choice = Discrepancy(seen, self._noise_like(forward, z))
        return _Problem(
            forward,
            z_target,
            prior,
            root,
            self.operator.rows(forward, x),
            choice,
            certificate_tolerance(forward, z_target, state, _rtol(x)),
        )

    def _noise_like(self, forward: FlatMap, z: Flat) -> Flat:
        if isinstance(self.noise, jax.Array) and self.noise.ndim == 0:
            return jnp.full_like(z, self.noise)
        return ravel_like("noise", self.noise, "z", forward.unravel_z(z))


def _rtol(x: Flat) -> float:
    """A part of the step in z that counts as rounding."""
    return float(jnp.finfo(x.dtype).eps) ** 0.75


class _Problem(eqx.Module):
    """1/2 |R (P(x) - z~)|^2 + weight / 2 |L (x - x_ref)|^2; weight = 1 / tau."""

    forward: FlatMap
    z_target: Flat
    prior: Flat
    root: Float[Array, "weighted z"]
    """R."""
    rows: Rows
    """L."""
    choice: Discrepancy | CrossValidation
    tolerance: Float[Array, " leaves"]
    """What counts as rounding in each leaf of z."""

    def size(self, x: Flat, z: Flat, log_weight: Scalar) -> Scalar:
        """The root of twice the function."""
        misfit = self.root @ (z - self.z_target)
        penalty = jnp.exp(log_weight / 2) * (self.rows @ (x - self.prior))
        return jnp.linalg.norm(jnp.concatenate([misfit, penalty]))

    def linearized(self, x: Flat, z: Flat) -> tuple[Linear, Float[Array, "z x"]]:
        """The problem of d = x+ - x_ref at a point, and J."""
        jacobian = dense_jacobian(self.forward, x)
        family = tikhonov(self.root @ jacobian, self.rows)
        misfit = self.z_target - z + jacobian @ (x - self.prior)
        image = jacobian @ family.back
        return Linear(family, misfit, self.root @ misfit, image), jacobian

    def is_rounding(self, dz: Flat) -> Bool[Array, ""]:
        """Whether a difference in z is not worth a step."""
        return jnp.all(largest_by_leaf(self.forward, dz) <= self.tolerance)


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


def _homotopy(problem: _Problem, state: State, max_steps: int) -> _Progress:
    """Gauss-Newton steps at weights that fall until they are those of the choice."""
    x, z, no, none = state.x, state.z, jnp.asarray(False), jnp.asarray(0)
    far, first = (jnp.asarray(v, x.dtype) for v in (jnp.inf, FIRST))
    there = problem.choice.is_noise(z - problem.z_target)
    start = _Progress(x, z, far, first, none, none, no, there, no)

    def goes_on(now: _Progress) -> Array:
        return ~(now.done | now.stuck) & (now.steps < max_steps)

    end = lax.while_loop(goes_on, lambda now: _advance(problem, now), start)
    # where x has stayed, nothing of the metric is lost
    weight = jnp.where(end.steps > 0, end.log_weight, -jnp.inf)
    return eqx.tree_at(lambda p: p.log_weight, end, weight)


def _advance(problem: _Problem, now: _Progress) -> _Progress:
    """One Gauss-Newton step, at a weight no weaker than the last one allows."""
    linear, jacobian = problem.linearized(now.x, now.z)
    family, chosen = linear.family, problem.choice(linear)
    # the weight before the first one is infinite
    allowed = jnp.minimum(now.log_weight - now.fall, family.log_strongest)
    log_weight = jnp.maximum(chosen, allowed)
    d = family.back @ family.coordinates(linear.weighted, log_weight)
    goal = problem.prior + d
    x, z, part, tries = _shortened(problem, now, goal, log_weight, jacobian)
    moved = jacobian @ (x - now.x)
    miss, whole = z - now.z - moved, part == 1
    exact = problem.is_rounding(miss) | problem.choice.is_small(
        miss, z - problem.z_target
    )
    at_rest = (log_weight <= chosen) | (now.settled & (now.fall < REST))
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
    problem: _Problem, now: _Progress, goal: Flat, log_weight: Scalar, jacobian: Array
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


def _answer(problem: _Problem, end: _Progress) -> PullBack:
    """Whether the misfit is within the noise, and the promise where that is known."""
    choice, rounding = problem.choice, problem.tolerance
    misfit = jnp.where(choice.seen, end.z - problem.z_target, 0.0)
    residual = largest_by_leaf(problem.forward, misfit)
    noise = largest_by_leaf(problem.forward, choice.most())
    worst = jnp.argmax(excess(residual, noise + rounding))
    finite = jnp.all(jnp.isfinite(residual)) & jnp.all(jnp.isfinite(end.x))
    reached = choice.is_noise(misfit) | problem.is_rounding(misfit)
    promises = isinstance(choice, Discrepancy)
    at_rest = Result.target_not_reachable if promises else Result.completed
    result = jnp.where(end.done, at_rest.code, Result.inverse_failed.code)
    result = jnp.where(reached, Result.completed.code, result)
    cause = jnp.where(
        result == Result.inverse_failed.code, Cause.out_of_budget.code, Cause.none.code
    )
    sweeps = jacobian_cost(problem.z_target.size, end.x)
    cost = jax.tree.map(lambda count: end.steps * count, sweeps)
    return PullBack(
        end.x,
        end.z,
        residual[worst],
        jnp.where(finite, result, Result.inverse_failed.code),
        (noise + rounding)[worst] if promises else jnp.inf,
        jnp.where(finite, cause, Cause.not_finite.code),
        damping=jnp.minimum(jnp.exp(end.log_weight), jnp.finfo(end.x.dtype).max),
        evaluations=cost + Evaluations(forward=end.forwards, inverse=end.steps),
    )
