"""The numerical inverse: a library's solver finds P(x) = z~ from the present x."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax import lax
from jaxtyping import Array, Float

from physgrad.inverses.certificate import certificate_tolerance, certify
from physgrad.inverses.flat import (
    Flat,
    FlatMap,
    Scalar,
    largest,
    largest_by_leaf,
    power_of_two,
)
from physgrad.inverses.jacobian import (
    DENSE_BYTES,
    check_dense,
    dense_jacobian,
    is_tall,
    jacobian_cost,
)
from physgrad.inverses.rule import (
    Code,
    Evaluations,
    Inverse,
    Metric,
    PullBack,
    identity_metric,
)
from physgrad.inverses.settings import optional, positive, whole_number
from physgrad.inverses.state import State
from physgrad.results import Cause, Result

Solver = (
    optx.AbstractLeastSquaresSolver | optx.AbstractMinimiser | optx.AbstractRootFinder
)

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


def dogleg(rtol: float, atol: float) -> optx.Dogleg:
    """Powell's dogleg with a pseudo-inverse, for Jacobians that may be singular."""
    return optx.Dogleg(rtol, atol, linear_solver=lx.AutoLinearSolver(well_posed=False))


def _solver(value: Any) -> Solver:
    if value is None:
        return dogleg(rtol=1e-8, atol=1e-8)
    if not isinstance(value, Solver):
        raise TypeError(
            "solver must be an optimistix least-squares solver, minimizer or root "
            f"finder, got {value!r}"
        )
    return value


class NumericalInverse(Inverse):
    """x+ = argmin 1/2 |P(x+) - z~|_B^2, started at the present x.

    Where z~ is in the range of P this is a preimage of z~, the one that the solver
    reaches from x. Where it is not, the nearest point in the metric of the step is
    taken, the step is labelled `target_not_reachable`, and the run goes on. The
    certificate promises |P(x+) - z~| <= rtol |z~ - z| + 16 eps scale; a solver that has
    not come to rest within `max_steps` ends the run as `inverse_failed`.

    Derivatives of x+ are those of the implicit function theorem.

    **Arguments:**

    - `solver`: an optimistix least-squares solver, minimizer or root finder; by
        default `optimistix.Dogleg` with a pseudo-inverse, which roots of a
        singular Jacobian do not slow down. Its own tolerances are not used: the
        tolerance follows the step asked for. `optimistix.BFGS` or
        `optimistix.LBFGS` take the way of the notebook, a minimizer of |P(x) - z~|^2.
    - `rtol`: tolerance relative to the step in z; None for eps^(3/4) of the dtype.
    - `max_steps`: steps of the solver in one pull-back.

    **Raises:** `TypeError` for a solver of another kind; `ValueError` for a tolerance
    or a number of steps that is not positive, or a root finder on a simulator that is
    not square.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8) ** 2))
    >>> physical = pg.PhysicalGradient(1.0, inverse=pg.NumericalInverse())
    >>> run = pg.minimize(objective, physical, jnp.array([3.0]), num_steps=1)
    >>> print(run.x.round(5))
    [2.]

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., sections 10.3 and
    7.1 (inexact Newton: the tolerance follows the step).
    """

    solver: Solver = eqx.field(converter=_solver, default=None)
    """Takes the steps."""
    rtol: Float[Array, ""] | None = eqx.field(
        converter=optional(positive("rtol")), default=None
    )
    """Relative to |z~ - z|; None: eps^(3/4)."""
    max_steps: int = eqx.field(
        converter=whole_number("max_steps", 1), default=256, static=True
    )
    """Steps of the solver in one pull-back, at most."""

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        square = state.x.size == state.z.size
        if isinstance(self.solver, optx.AbstractRootFinder) and not square:
            raise ValueError(
                f"a root finder needs as many entries in z as in x, got {state.z.size} "
                f"and {state.x.size}; use a least-squares solver"
            )
        if not isinstance(self.solver, optx.AbstractMinimiser):
            check_dense(
                state.z.size,
                state.x,
                "NumericalInverse(solver=optimistix.LBFGS(1e-8, 1e-8)), a minimizer",
            )
        if square and metric.factor is None:
            metric = identity_metric(state.z)  # a root has no misfit to be weighted
        eps = float(jnp.finfo(z_target.dtype).eps)
        rtol = eps**0.75 if self.rtol is None else self.rtol
        tolerance = certificate_tolerance(forward, z_target, state, rtol)
        problem = _Problem(
            self.solver,
            forward,
            z_target,
            state,
            metric.root(),
            tolerance,
            jnp.asarray(rtol, z_target.dtype),
            self.max_steps,
        )
        adjoint = optx.ImplicitAdjoint(lx.AutoLinearSolver(well_posed=False))
        x, (steps, at_rest) = adjoint.apply(
            # lambdas, since a type checker turns named functions into closures, which
            # cannot be differentiated implicitly
            lambda inputs: _solve(inputs),
            lambda x, _, inputs: _stationarity(x, inputs),
            (problem,),
            frozenset(),
        )
        cost = Evaluations(forward=steps, inverse=steps)
        if isinstance(self.solver, optx.AbstractMinimiser):
            cost += Evaluations(vjp=steps)
        else:
            sweeps = jacobian_cost(state.z.size, state.x)
            cost += jax.tree.map(lambda count: (steps + 1) * count, sweeps)
        answer = certify(forward, x, z_target, state, tolerance, evaluations=cost)
        return _explain_miss(answer, at_rest)


def _explain_miss(answer: PullBack, at_rest: Array) -> PullBack:
    """A descent that came to rest off the target has found the nearest point."""
    missed = answer.cause == Cause.missed.code
    nearest = missed & at_rest
    result = jnp.where(nearest, Result.target_not_reachable.code, answer.result)
    cause = jnp.where(missed, Cause.out_of_budget.code, answer.cause)
    cause = jnp.where(nearest, Cause.none.code, cause)
    return eqx.tree_at(lambda a: (a.result, a.cause), answer, (result, cause))


class _Problem(eqx.Module):
    """Find x with P(x) = z~: what the solver sees, an argument of global functions."""

    solver: Solver
    forward: FlatMap
    z_target: Flat
    state: State
    root: lx.AbstractLinearOperator
    tolerance: Float[Array, " leaves"]
    rtol: Scalar
    max_steps: int = eqx.field(static=True)

    def misfit(self, x: Flat) -> tuple[Flat, Float[Array, " leaves"]]:
        """R (P(x) - z~), scaled to 1 at the start; |P(x) - z~| in each leaf."""
        start = largest(self.root.mv(self.state.z - self.z_target))
        scale = lax.stop_gradient(jnp.where(start > 0, start, 1.0))
        difference = self.forward(x) - self.z_target
        by_leaf = largest_by_leaf(self.forward, difference)
        return self.root.mv(difference) / scale, lax.stop_gradient(by_leaf)

    def goal(self) -> Float[Array, " leaves"]:
        """Where to stop: far below the step asked for, or at the rounding of z~.

        Not the tolerance, which knows the rounding at the start of the run: near the
        optimum that would be to stop before having moved at all.
        """
        forward, eps = self.forward, jnp.finfo(self.z_target.dtype).eps
        step = largest_by_leaf(forward, self.z_target - self.state.z)
        rounding = eps * largest_by_leaf(forward, self.z_target)
        return EARLY * self.rtol * step + rounding


def _stationarity(x: Flat, inputs: tuple[Any, ...]) -> Flat:
    """What the solution makes zero: the gradient of 1/2 |P(x) - z~|_B^2."""
    problem = inputs[0]
    return jax.grad(lambda x: 0.5 * jnp.sum(problem.misfit(x)[0] ** 2))(x)


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


def _solve(inputs: tuple[Any, ...]) -> tuple[Flat, tuple[Array, Array]]:
    """Step the solver until the certificate holds, it comes to rest, or it is spent."""
    problem, while_loop = inputs
    solver, nothing = problem.solver, frozenset()
    minimizes = isinstance(solver, optx.AbstractMinimiser)
    descends = not isinstance(solver, optx.AbstractRootFinder)
    patience = PATIENCE_OF_LINE_SEARCH if minimizes else PATIENCE
    patience = patience if descends else problem.max_steps

    units, goal = _units(problem, dense=not minimizes), problem.goal()
    # fewer rows than columns: one reverse sweep for each row
    tall = minimizes or is_tall(problem.state.z.size, problem.state.x)
    options = {} if tall else {"jac": "bwd"}

    def fn(u: Flat, _: Any) -> tuple[Array, tuple[Array, Array]]:
        misfit, residual = problem.misfit(units * u)
        squared = misfit @ misfit
        return (squared if minimizes else misfit), (squared, residual)

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
        enough = jnp.all(now.residual <= problem.tolerance) & (now.idle > 0)
        spent = (now.idle >= patience) | (now.steps >= problem.max_steps)
        return ~(exact | enough | spent)

    x = problem.state.x / units
    f_struct, aux_struct = jax.eval_shape(fn, x, None)
    memory = solver.init(fn, x, None, options, f_struct, aux_struct, nothing)
    arrays, constants = eqx.partition(memory, eqx.is_array)
    # some solvers start with JAX's default dtype rather than that of x
    arrays = jax.tree.map(
        lambda a: a.astype(x.dtype) if eqx.is_inexact_array(a) else a, arrays
    )
    far, none = jnp.asarray(jnp.inf, x.dtype), jnp.asarray(0)
    unknown = jnp.full_like(goal, jnp.inf)
    start = _Progress(x, arrays, far, unknown, none, none)
    end = while_loop(goes_on, advance, start)
    x = units * end.x

    def stationary() -> Array:
        return _is_stationary(problem, x) if descends else jnp.asarray(False)

    missed = jnp.any(end.residual > problem.tolerance)
    at_rest = lax.cond(missed, stationary, lambda: jnp.asarray(False))
    return x, (end.steps, at_rest)


def _slopes(problem: _Problem, x: Flat) -> Float[Array, "z x"]:
    """The dense derivative of the scaled misfit."""
    return dense_jacobian(lambda x: problem.misfit(x)[0], x)


def _usual_slope(problem: _Problem) -> Scalar:
    """The largest slope of the run so far, in units of the scaled misfit."""
    step = largest(problem.z_target - problem.state.z)
    return problem.state.gain[0] / jnp.where(step > 0, step, 1.0)


def _is_stationary(problem: _Problem, x: Flat) -> Array:
    """Whether the misfit cannot be lowered nearby: it is at right angles to R J.

    Column by column, as in MINPACK, held against their size here or the largest slope
    of the run so far, since a column may vanish on the way; for Jacobians that do not
    fit, by the size of J^T R^T r alone.
    """
    misfit = problem.misfit(x)[0]
    small = ANGLE * jnp.sqrt(jnp.finfo(x.dtype).eps) * jnp.linalg.norm(misfit)
    if x.size * misfit.size * x.dtype.itemsize <= DENSE_BYTES:
        columns = _slopes(problem, x)
        sizes = jnp.maximum(jnp.linalg.norm(columns, axis=0), _usual_slope(problem))
        return jnp.all(jnp.abs(columns.T @ misfit) <= small * sizes)
    gradient, start = (_stationarity(p, (problem,)) for p in (x, problem.state.x))
    return jnp.linalg.norm(gradient) <= small * jnp.linalg.norm(start)


def _units(problem: _Problem, dense: bool) -> Flat:
    """Units of x in which the misfit has slopes of one size, as powers of two.

    The first trust region of a solver is 1, and so is its damping, in whatever units x
    has: with steep slopes both let the first full step through. A line search starts
    along the gradient, which is of the right length where slopes are 1. Entries with
    slopes alike, and all those of a wide simulator, have one unit, so that where many
    points are nearest the step stays the shortest one.
    """
    x, z = problem.state.x, problem.state.z
    if dense and x.size <= z.size:
        slope = jnp.linalg.norm(_slopes(problem, x), axis=0)
        alike = jnp.max(slope) <= ALIKE * jnp.min(slope)
        slope = jnp.where(alike, jnp.max(slope), slope)
    else:
        slope = jnp.full_like(x, _usual_slope(problem))
    usable = jnp.isfinite(slope) & (slope > 0)
    wanted = STEEP if dense else 1.0
    return power_of_two(wanted / jnp.where(usable, slope, wanted))
