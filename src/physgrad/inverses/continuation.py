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

from physgrad.inverses.certificate import jumps
from physgrad.inverses.evaluations import Count, Evaluations
from physgrad.inverses.flat import Flat, Scalar
from physgrad.inverses.jacobian import by_columns, jacobian_cost
from physgrad.inverses.root_solver import Steps, precondition
from physgrad.inverses.rule import Code
from physgrad.inverses.target import Target, cost_of_resting, is_stationary, units_of
from physgrad.inverses.trees import in_precision
from physgrad.results import Cause

# The walk ends where a part of z~ - z as small as this still fails.
SMALLEST_PART = 2.0**-8
# A solver that has not lowered the squared misfit by so many eps of it in this many
# steps has come to rest. Trust regions shrink by 4 each time; line searches halve, and
# a first quasi-Newton step can be far too long.
PATIENCE, PATIENCE_OF_LINE_SEARCH = 8, 32
PROGRESS = 800.0
# A linearized prediction must leave at most this part of the misfit to be of use: for
# powers and exponentials it does. Above a smaller part, where the solver has gone may
# be another branch.
USEFUL, GOOD = 0.4, 0.1


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
    last: Bool[Array, ""]
    """Whether no part can be made, so that the point nearest to z~ is looked for."""
    finished: Bool[Array, ""]
    """Whether that has been in vain, or there is no derivative to go by."""
    cause: Code
    """Why the last part failed, a `Cause` by its code; none where it did not."""
    cost: Evaluations


def walk(
    target: Target, steps: Steps, max_steps: int, while_loop: Callable
) -> tuple[Flat, tuple[Code, Evaluations]]:
    """The x that the walk reaches, with a `Cause` where that is not z~, and its cost.

    A part that fails is tried from x before it is halved: the prediction of a strongly
    bent simulator can be useless where a trust region finds its way. Where the smallest
    part fails, the point nearest to z~ is looked for from where the walk has come to.
    """
    start, state = target.state.z, target.state

    def goes_on(now: _Walk) -> Bool[Array, ""]:
        unfinished = (now.reached < 1) & ~now.finished
        return unfinished & (now.cost.inverse < max_steps)

    def advance(now: _Walk) -> _Walk:
        reached = jnp.minimum(now.reached + now.part, 1.0)
        between = start + reached * (target.z_target - start)
        z_target = jnp.where(reached < 1, between, target.z_target)
        part = target.part(now.x, now.z, z_target)
        budget = max_steps - now.cost.inverse
        end = _try(part, steps, now.from_prediction, budget, while_loop)
        nearest = now.last | (end.sure & ((now.part >= 1) | target.is_tall))
        arrived = (end.cause == Cause.none.code) & (end.held | nearest)
        # where the solver went astray from the prediction it may find its way from x
        again = ~arrived & now.from_prediction & (end.cause != Cause.jumped.code)
        times = jnp.where(arrived, 2.0, jnp.where(again, 1.0, 0.5))
        next_part = (times * now.part).astype(now.part.dtype)
        last = next_part < SMALLEST_PART
        cause = jnp.where(now.last, now.cause, end.cause)
        lost = jnp.where(cause == Cause.none.code, Cause.out_of_budget.code, cause)
        return _Walk(
            jnp.where(arrived, end.x, now.x),
            jnp.where(arrived, z_target, now.z),
            jnp.where(arrived, reached, now.reached),
            jnp.where(last, jnp.ones_like(next_part), next_part),
            steps.is_dense & ~again & ~last,
            last,
            (now.last & ~arrived) | end.blind,
            jnp.where(arrived, Cause.none.code, lost),
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
        jnp.asarray(False),
        jnp.asarray(False),
        jnp.asarray(Cause.out_of_budget.code),
        jax.tree.map(lambda _: none, Evaluations()),
    )
    end = while_loop(goes_on, advance, begin)
    spent = end.cost.inverse >= max_steps
    stuck = (end.cause == Cause.out_of_budget.code) & ~spent
    cause = jnp.where(stuck, Cause.stuck.code, end.cause)
    return end.x, (jnp.where(end.reached < 1, cause, Cause.none.code), end.cost)


class _End(eqx.Module):
    """Where a part of the walk has ended."""

    x: Flat
    held: Bool[Array, ""]
    """Whether x maps to the target; if not, it may be at rest."""
    sure: Bool[Array, ""]
    """Whether a point at rest is the nearest one, by slopes that are still there."""
    blind: Bool[Array, ""]
    """Whether there was no derivative to go by at the start."""
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

    z, looking = _reached(part, x)
    # one that starts at x has no prediction, and infinity for a limit
    doubtful = ~(end.first <= (GOOD / USEFUL) ** 2 * begin.limit) | ~from_prediction
    jumped, more = jumps(part.forward, x, z, state, part.tolerance, doubtful=doubtful)
    looking += more
    no = jnp.asarray(False)
    at_rest, sure, resting = no, no, Evaluations()
    if steps.descends:
        at_rest, sure = lax.cond(
            held, lambda: (no, no), lambda: is_stationary(part, steps, x)
        )
        once = (~held).astype(jnp.int32)
        resting = jax.tree.map(lambda n: n * once, cost_of_resting(part, steps, x))
    cause = jnp.where(held | at_rest, Cause.none.code, Cause.out_of_budget.code)
    cause = jnp.where(held & jumped, Cause.jumped.code, cause)
    cost = _cost(part, steps, end.steps) + looking + resting
    return _End(x, held, sure, begin.blind, cause, cost)


def _reached(part: Target, x: Flat) -> tuple[Flat, Evaluations]:
    """P(x), where x is held to map to the target in all entries that have a weight."""
    if isinstance(part.counts, bool):
        return part.z_target, Evaluations()
    known = jnp.all(part.counts)
    z = lax.cond(known, lambda: part.z_target, lambda: part.forward(x))
    return z, Evaluations(forward=(~known).astype(jnp.int32))


class _Begin(NamedTuple):
    """Where the solver starts."""

    x: Flat
    """In its units."""
    units: Flat
    limit: Scalar
    """The squared misfit above which the first point is of no use."""
    blind: Bool[Array, ""]
    """Whether the Jacobian at x is not finite."""


def _begin(part: Target, steps: Steps, from_prediction: Bool[Array, ""]) -> _Begin:
    """At x, or at the linearized prediction: there the misfit must have fallen."""
    x, far = part.state.x, jnp.asarray(jnp.inf, part.state.x.dtype)
    if not steps.is_dense:
        units = units_of(part, steps, None)
        return _Begin(x / units, units, far, jnp.asarray(False))
    slopes, misfit = part.slopes(x), part.misfit_at_start()
    units = units_of(part, steps, slopes)
    prediction = x - _solution(slopes * units, misfit) * units
    begin = jnp.where(from_prediction, prediction, x)
    limit = jnp.where(from_prediction, USEFUL**2 * (misfit @ misfit), far)
    return _Begin(begin / units, units, limit, ~jnp.all(jnp.isfinite(slopes)))


def _cost(part: Target, steps: Steps, count: Code) -> Evaluations:
    """Of the steps of a solver and, where it is dense, of the prediction."""
    cost = Evaluations(forward=count, inverse=count)
    if steps.minimizes:
        sweeps, times = Evaluations(vjp=1), count
    elif steps.is_dense or not part.forward.forward_mode:
        mode = part.forward.forward_mode
        sweeps = jacobian_cost(part.state.z.size, part.state.x, mode)
        times = count + steps.is_dense
    else:
        sweeps, times = Evaluations(jvp=1), count
    sweeps = jax.tree.map(lambda each: (times * each).astype(jnp.int32), sweeps)
    return jax.tree.map(lambda a, b: jnp.asarray(a + b, jnp.int32), cost, sweeps)


class _Progress(eqx.Module):
    x: Flat
    memory: Any
    """The arrays of the solver's own state."""
    first: Scalar
    """Squared misfit where it started."""
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
    x, units, limit, _ = begin
    less = 1 - PROGRESS * jnp.finfo(x.dtype).eps
    solver, nothing = steps.solver(_preconditioner(part, steps, units)), frozenset()
    patience = PATIENCE_OF_LINE_SEARCH if steps.minimizes else PATIENCE
    goal = part.goal()
    mode = part.forward.forward_mode
    columns = by_columns(part.state.z.size, x, mode)
    products = mode and not steps.is_dense
    options = {} if columns or products else {"jac": "bwd"}

    def fn(u: Flat, _: Any) -> tuple[Array, tuple[Array, Array]]:
        misfit, residual = part.misfit(units * u)
        squared = misfit @ misfit
        return (squared if steps.minimizes else misfit), (squared, residual)

    def advance(now: _Progress) -> _Progress:
        memory = eqx.combine(now.memory, constants)
        x, memory, aux = solver.step(fn, now.x, None, options, memory, nothing)
        # what `step` returns may be of the point before; the solver knows better
        squared, residual = getattr(memory, "aux", aux)
        fell = squared < less * now.best
        return _Progress(
            x,
            eqx.filter(memory, eqx.is_array),
            jnp.where(now.steps == 0, squared, now.first),
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
    arrays = _like_x(arrays, x)
    far, none = jnp.asarray(jnp.inf, x.dtype), jnp.zeros((), jnp.int32)
    unknown = jnp.full_like(goal, jnp.inf)
    before = _Progress(x, arrays, far, far, unknown, none, none)
    return while_loop(goes_on, advance, before)


def _like_x(memory: Any, x: Flat) -> Any:
    """A solver's memory in the dtype of x: some start with JAX's default one.

    But for the derivative it keeps, whose parts have the dtypes of the simulator's.
    """
    cast = in_precision(memory, x.dtype)
    if not hasattr(memory, "f_info"):
        return cast
    return eqx.tree_at(
        lambda m: m.f_info, cast, memory.f_info, is_leaf=lambda leaf: leaf is None
    )


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
