"""The walk of a numerical inverse: from z to z~ at once, or part by part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Float

from physgrad.inverses.certificate import certificate_tolerance, jumps
from physgrad.inverses.flat import (
    Flat,
    FlatMap,
    Scalar,
    largest,
    largest_by_leaf,
    power_of_two,
)
from physgrad.inverses.jacobian import dense_jacobian, fits, is_tall, jacobian_cost
from physgrad.inverses.root_solver import Steps, precondition
from physgrad.inverses.rule import Code, Count, Evaluations
from physgrad.inverses.state import State
from physgrad.results import Cause

# The walk ends where a part of z~ - z as small as this still fails.
SMALLEST_PART = 2.0**-8
# A solver that has not lowered the misfit by 1e-4 of it in this many steps has come to
# rest. Trust regions shrink by 4 each time; line searches halve, and a first
# quasi-Newton step can be far too long.
PATIENCE, PATIENCE_OF_LINE_SEARCH = 8, 32
PROGRESS = 0.9999
# Slopes within this factor are no reason for units of their own.
ALIKE = 1e3
# A misfit at right angles to the columns of R J, to this many sqrt(eps), is smallest.
ANGLE = 30.0
# Slope of the misfit in the units that trust regions work in.
STEEP = 4.0
# The solver goes on to this part of rtol times the step; it rests before, within the
# tolerance, where rounding lets the misfit fall no more.
EARLY = 0.05


class Target(eqx.Module):
    """Find x with P(x) = z~, from the state."""

    forward: FlatMap
    z_target: Flat
    state: State
    root: lx.AbstractLinearOperator
    """R, with B = R^T R."""
    tolerance: Float[Array, " leaves"]
    rtol: Scalar

    def part(self, x: Flat, z: Flat, z_target: Flat) -> Target:
        """The same from another point to another target."""
        state = self.state.move((x, z))
        tolerance = certificate_tolerance(self.forward, z_target, state, self.rtol)
        root = self.root
        return Target(self.forward, z_target, state, root, tolerance, self.rtol)

    @property
    def is_tall(self) -> bool:
        """Whether z has more entries than x, so that most targets are out of range."""
        return self.state.z.size > self.state.x.size

    @property
    def unit(self) -> Scalar:
        """The largest entry of R (z~ - z): misfits are 1 at the start."""
        start = largest(self.root.mv(self.state.z - self.z_target))
        return lax.stop_gradient(jnp.where(start > 0, start, 1.0))

    def misfit(self, x: Flat) -> tuple[Flat, Float[Array, " leaves"]]:
        """R (P(x) - z~) in its unit; |P(x) - z~| in each leaf."""
        difference = self.forward(x) - self.z_target
        by_leaf = largest_by_leaf(self.forward, difference)
        return self.root.mv(difference) / self.unit, lax.stop_gradient(by_leaf)

    def misfit_at_start(self) -> Flat:
        """R (z - z~) in its unit, without calling the simulator."""
        return self.root.mv(self.state.z - self.z_target) / self.unit

    def slopes(self, x: Flat) -> Float[Array, "z x"]:
        """The dense derivative of the misfit."""
        return dense_jacobian(lambda x: self.misfit(x)[0], x)

    def usual_slope(self) -> Scalar:
        """The largest slope of the run so far, for the misfit in its unit."""
        step = largest(self.z_target - self.state.z)
        return self.state.gain[0] / jnp.where(step > 0, step, 1.0)

    def goal(self) -> Float[Array, " leaves"]:
        """Where to stop: far below the step asked for, or at the rounding of z~.

        Not the tolerance, which knows the rounding at the start of the run: near the
        optimum that would be to stop before having moved at all.
        """
        forward, eps = self.forward, jnp.finfo(self.z_target.dtype).eps
        step = largest_by_leaf(forward, self.z_target - self.state.z)
        rounding = eps * largest_by_leaf(forward, self.z_target)
        return EARLY * self.rtol * step + rounding


def stationarity(x: Flat, target: Target) -> Flat:
    """What the solution makes zero: the gradient of 1/2 |P(x) - z~|_B^2."""
    return jax.grad(lambda x: 0.5 * jnp.sum(target.misfit(x)[0] ** 2))(x)


class _Walk(eqx.Module):
    """How far the walk has come, and what it tries next."""

    x: Flat
    z: Flat
    reached: Scalar
    """The part of z~ - z that lies behind, from 0 to 1."""
    part: Scalar
    """The part of it to be tried next."""
    from_prediction: Bool[Array, ""]
    """Whether to start the solver at the linearized prediction, else at x."""
    cause: Code
    """Why the last part failed, a `Cause` by its code; none where it did not."""
    cost: Evaluations


def walk(
    target: Target, steps: Steps, max_steps: int, while_loop: Callable
) -> tuple[Flat, tuple[Code, Evaluations]]:
    """The x that the walk reaches, with a `Cause` where that is not z~, and its cost.

    A part that fails is tried from x before it is halved: the prediction of a strongly
    bent simulator can be useless where a trust region finds its way.
    """
    start, state = target.state.z, target.state

    def goes_on(now: _Walk) -> Bool[Array, ""]:
        unfinished = (now.reached < 1) & (now.part >= SMALLEST_PART)
        return unfinished & (now.cost.inverse < max_steps)

    def advance(now: _Walk) -> _Walk:
        reached = jnp.minimum(now.reached + now.part, 1.0)
        between = start + reached * (target.z_target - start)
        z_target = jnp.where(reached < 1, between, target.z_target)
        part = target.part(now.x, now.z, z_target)
        budget = max_steps - now.cost.inverse
        end = _try(part, steps, now.from_prediction, budget, while_loop)
        whole = (now.part >= 1) | target.is_tall
        arrived = (end.cause == Cause.none.code) & (end.held | whole)
        # where the solver went astray from the prediction it may find its way from x
        again = ~arrived & now.from_prediction & (end.cause != Cause.jumped.code)
        times = jnp.where(arrived, 2.0, jnp.where(again, 1.0, 0.5))
        return _Walk(
            jnp.where(arrived, end.x, now.x),
            jnp.where(arrived, z_target, now.z),
            jnp.where(arrived, reached, now.reached),
            (times * now.part).astype(now.part.dtype),
            steps.is_dense & ~again,
            jnp.where(arrived, Cause.none.code, end.cause),
            jax.tree.map(lambda a, b: a + b, now.cost, end.cost),
        )

    none = jnp.zeros((), jnp.int32)
    one = jnp.ones((), state.x.dtype)
    begin = _Walk(
        state.x,
        state.z,
        0 * one,
        one,
        jnp.asarray(steps.is_dense),
        jnp.asarray(Cause.out_of_budget.code),
        jax.tree.map(lambda _: none, Evaluations()),
    )
    end = while_loop(goes_on, advance, begin)
    return end.x, (jnp.where(end.reached < 1, end.cause, Cause.none.code), end.cost)


class _End(eqx.Module):
    """Where a part of the walk has ended."""

    x: Flat
    held: Bool[Array, ""]
    """Whether x maps to the target; if not, it may be at rest."""
    cause: Code
    """A `Cause` by its code; none for a point that maps to the target, or at rest."""
    cost: Evaluations


def _try(
    part: Target,
    steps: Steps,
    from_prediction: Bool[Array, ""],
    budget: Count,
    while_loop: Callable,
) -> _End:
    """Go for the target of one part, and look at what was found."""
    state = part.state
    begin = _begin(part, steps, from_prediction)
    end = _solve(part, steps, begin, budget, while_loop)
    x = begin.units * end.x
    held = jnp.all(end.residual <= part.tolerance)

    jumped, looking = jumps(part.forward, x, part.z_target, state, part.tolerance)
    at_rest = jnp.asarray(False)
    if steps.descends:
        at_rest = lax.cond(
            held, lambda: jnp.asarray(False), lambda: _is_stationary(part, steps, x)
        )
    cause = jnp.where(held | at_rest, Cause.none.code, Cause.out_of_budget.code)
    cause = jnp.where(held & jumped, Cause.jumped.code, cause)
    return _End(x, held, cause, _cost(part, steps, end.steps) + looking)


class _Begin(NamedTuple):
    """Where the solver starts."""

    x: Flat
    """In its units."""
    units: Flat
    limit: Scalar
    """The squared misfit above which the first point is of no use."""


def _begin(part: Target, steps: Steps, from_prediction: Bool[Array, ""]) -> _Begin:
    """At x, or at the linearized prediction: there the misfit must have fallen."""
    x, far = part.state.x, jnp.asarray(jnp.inf, part.state.x.dtype)
    if not steps.is_dense:
        units = _units(part, steps, None)
        return _Begin(x / units, units, far)
    slopes, misfit = part.slopes(x), part.misfit_at_start()
    units = _units(part, steps, slopes)
    prediction = x - _solution(slopes * units, misfit) * units
    begin = jnp.where(from_prediction, prediction, x)
    return _Begin(
        begin / units, units, jnp.where(from_prediction, misfit @ misfit, far)
    )


def _cost(part: Target, steps: Steps, count: Code) -> Evaluations:
    """Of the steps of a solver and, where it is dense, of the prediction."""
    cost = Evaluations(forward=count, inverse=count)
    if steps.minimizes:
        sweeps, times = Evaluations(vjp=1), count
    elif steps.is_dense:
        sweeps, times = jacobian_cost(part.state.z.size, part.state.x), count + 1
    else:
        sweeps, times = Evaluations(jvp=1), count
    sweeps = jax.tree.map(lambda each: (times * each).astype(jnp.int32), sweeps)
    return jax.tree.map(lambda a, b: jnp.asarray(a + b, jnp.int32), cost, sweeps)


class _Progress(eqx.Module):
    x: Flat
    memory: Any
    """The arrays of the solver's own state."""
    best: Scalar
    """Smallest squared misfit so far."""
    residual: Float[Array, " leaves"]
    """|P(x) - z~| in each leaf of z, at the last accepted point."""
    idle: Code
    """Steps since the misfit last fell noticeably."""
    steps: Code


def _solve(
    part: Target,
    steps: Steps,
    begin: _Begin,
    budget: Count,
    while_loop: Callable,
) -> _Progress:
    """Step the solver until the certificate holds, it comes to rest, or it is spent."""
    x, units, limit = begin
    solver, nothing = steps.solver(_preconditioner(part, steps, units)), frozenset()
    patience = PATIENCE_OF_LINE_SEARCH if steps.minimizes else PATIENCE
    goal = part.goal()
    # fewer rows than columns: one reverse sweep for each row
    tall = not steps.is_dense or is_tall(part.state.z.size, x)
    options = {} if tall else {"jac": "bwd"}

    def fn(u: Flat, _: Any) -> tuple[Array, tuple[Array, Array]]:
        misfit, residual = part.misfit(units * u)
        squared = misfit @ misfit
        return (squared if steps.minimizes else misfit), (squared, residual)

    def advance(now: _Progress) -> _Progress:
        memory = eqx.combine(now.memory, constants)
        x, memory, aux = solver.step(fn, now.x, None, options, memory, nothing)
        # what `step` returns may be of the point before; the solver knows better
        squared, residual = getattr(memory, "aux", aux)
        fell = squared < PROGRESS * now.best
        return _Progress(
            x,
            eqx.filter(memory, eqx.is_array),
            jnp.fmin(squared, now.best),
            residual,
            jnp.where(fell, 0, now.idle + 1),
            now.steps + 1,
        )

    def goes_on(now: _Progress) -> Array:
        exact = jnp.all(now.residual <= goal)
        enough = jnp.all(now.residual <= part.tolerance) & (now.idle > 0)
        idle = steps.descends & (now.idle >= patience)
        astray = (now.steps > 0) & ~(now.best <= limit)
        return ~(exact | enough | idle | astray | (now.steps >= budget))

    f_struct, aux_struct = jax.eval_shape(fn, x, None)
    memory = solver.init(fn, x, None, options, f_struct, aux_struct, nothing)
    arrays, constants = eqx.partition(memory, eqx.is_array)
    # some solvers start with JAX's default dtype rather than that of x
    arrays = jax.tree.map(
        lambda a: a.astype(x.dtype) if eqx.is_inexact_array(a) else a, arrays
    )
    far, none = jnp.asarray(jnp.inf, x.dtype), jnp.zeros((), jnp.int32)
    unknown = jnp.full_like(goal, jnp.inf)
    return while_loop(goes_on, advance, _Progress(x, arrays, far, unknown, none, none))


def _solution(matrix: Float[Array, "z x"], vector: Flat) -> Flat:
    """A^+ b, the least-norm solution."""
    solver = lx.AutoLinearSolver(well_posed=False)
    operator = lx.MatrixLinearOperator(matrix)
    return lx.linear_solve(operator, vector, solver, throw=False).value


def _preconditioner(
    part: Target, steps: Steps, units: Flat
) -> lx.AbstractLinearOperator | None:
    """About the inverse of R J units / unit, from the user's of J."""
    preconditioner, root = steps.preconditioner, part.root
    if preconditioner is None:
        return None

    def approximate(misfit: Flat) -> Flat:
        dz = lx.linear_solve(root, part.unit * misfit).value
        return precondition(preconditioner, part.forward, part.state.x, dz) / units

    like_z = jax.eval_shape(lambda: part.state.z)
    return lx.FunctionLinearOperator(approximate, like_z)


def _is_stationary(part: Target, steps: Steps, x: Flat) -> Array:
    """Whether the misfit cannot be lowered nearby: it is at right angles to R J.

    Column by column, as in MINPACK, held against their size here or the largest slope
    of the run so far, since a column may vanish on the way; against that slope alone
    where the Jacobian is not made.
    """
    misfit, back = jax.vjp(lambda x: part.misfit(x)[0], x)
    small = ANGLE * jnp.sqrt(jnp.finfo(x.dtype).eps) * jnp.linalg.norm(misfit)
    sizes = part.usual_slope()
    if steps.is_dense or (steps.minimizes and fits(misfit.size, x)):
        columns = jnp.linalg.norm(part.slopes(x), axis=0)
        sizes = jnp.maximum(columns, sizes)
    steep = jnp.abs(back(misfit)[0])
    return jnp.all((steep <= small * sizes) & jnp.isfinite(steep))


def _units(part: Target, steps: Steps, slopes: Float[Array, "z x"] | None) -> Flat:
    """Units of x in which the misfit has slopes of one size, as powers of two.

    The first trust region of a solver is 1, and so is its damping, in whatever units x
    has: with steep slopes both let the first full step through. A line search starts
    along the gradient, which is of the right length where slopes are 1. Entries with
    slopes alike, and all those of a wide simulator, have one unit, so that where many
    points are nearest the step stays the shortest one.
    """
    x, z = part.state.x, part.state.z
    if slopes is not None and x.size <= z.size:
        slope = jnp.linalg.norm(slopes, axis=0)
        alike = jnp.max(slope) <= ALIKE * jnp.min(slope)
        slope = jnp.where(alike, jnp.max(slope), slope)
    else:
        slope = jnp.full_like(x, part.usual_slope())
    usable = jnp.isfinite(slope) & (slope > 0)
    wanted = 1.0 if steps.minimizes else STEEP
    return power_of_two(wanted / jnp.where(usable, slope, wanted))
