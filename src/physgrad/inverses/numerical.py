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
from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest
from physgrad.inverses.rule import (
    Code,
    Evaluations,
    Inverse,
    Metric,
    PullBack,
    identity_metric,
)
from physgrad.inverses.settings import positive, whole_number
from physgrad.inverses.state import State
from physgrad.results import Cause, Result

Solver = (
    optx.AbstractLeastSquaresSolver | optx.AbstractMinimiser | optx.AbstractRootFinder
)

# A solver that has not lowered the misfit by a hundredth in this many steps has come to
# rest. Trust regions shrink by 4 each time; line searches halve, and a first
# quasi-Newton step can be far too long.
PATIENCE, PATIENCE_OF_LINE_SEARCH = 8, 32
PROGRESS = 0.99
# The solver goes on to this part of the tolerance, and to all of it only where rounding
# lets the misfit fall no more.
EARLY = 0.05


def _solver(value: Any) -> Solver:
    if value is None:
        return optx.LevenbergMarquardt(rtol=1e-8, atol=1e-8)
    if not isinstance(value, Solver):
        raise TypeError(
            "solver must be an optimistix least-squares solver, minimizer or root "
            f"finder, got {value!r}"
        )
    return value


def _rtol(value: Any) -> Float[Array, ""] | None:
    return None if value is None else positive("rtol")(value)


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
        default `optimistix.LevenbergMarquardt`. Its own tolerances are not used:
        the tolerance follows the step asked for. `optimistix.BFGS` or
        `optimistix.LBFGS` take the way of the notebook, a minimizer of |P(x) - z~|^2.
    - `rtol`: tolerance relative to the step in z; None for eps^(3/4) of the dtype.
    - `max_steps`: steps of the solver in one pull-back.

    **Raises:** `TypeError` for a solver of another kind; `ValueError` for a tolerance
    or a number of steps that is not positive, or a root finder on a simulator that is
    not square.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8) ** 2))
    >>> physical = pg.PhysicalGradient(1.0, inverse=pg.NumericalInverse())
    >>> print(pg.minimize(objective, physical, jnp.array([3.0]), num_steps=1).x)
    [2.]

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., sections 10.3 and
    7.1 (inexact Newton: the tolerance follows the step).
    """

    solver: Solver = eqx.field(converter=_solver, default=None)
    """Takes the steps."""
    rtol: Float[Array, ""] | None = eqx.field(converter=_rtol, default=None)
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
        if square and metric.factor is None:
            metric = identity_metric(state.z)  # a root has no misfit to be weighted
        eps = float(jnp.finfo(z_target.dtype).eps)
        rtol = eps**0.75 if self.rtol is None else self.rtol
        tolerance = certificate_tolerance(z_target, state, rtol)
        problem = _Problem(
            self.solver,
            forward,
            z_target,
            state,
            metric.root(),
            tolerance,
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
            cost += Evaluations(jvp=steps * state.x.size)
        answer = certify(forward, x, z_target, state, tolerance, evaluations=cost)
        return _explain_miss(answer, at_rest, self.solver)


def _explain_miss(answer: PullBack, at_rest: Array, solver: Solver) -> PullBack:
    """A descent that came to rest off the target has found the nearest point."""
    missed = answer.cause == Cause.missed.code
    descends = not isinstance(solver, optx.AbstractRootFinder)
    nearest = missed & at_rest & descends
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
    tolerance: Scalar
    max_steps: int = eqx.field(static=True)

    def misfit(self, x: Flat) -> tuple[Flat, Scalar]:
        """R (P(x) - z~), scaled to 1 at the start; the largest entry of |P(x) - z~|."""
        start = largest(self.root.mv(self.state.z - self.z_target))
        scale = lax.stop_gradient(jnp.where(start > 0, start, 1.0))
        difference = self.forward(x) - self.z_target
        return self.root.mv(difference) / scale, largest(difference)


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
    residual: Scalar
    """|P(x) - z~|, at the last accepted point."""
    idle: Code
    """Steps since the misfit last fell by a hundredth."""
    steps: Code


def _solve(inputs: tuple[Any, ...]) -> tuple[Flat, tuple[Array, Array]]:
    """Step the solver until the certificate holds, it comes to rest, or it is spent."""
    problem, while_loop = inputs
    solver, nothing = problem.solver, frozenset()
    minimizes = isinstance(solver, optx.AbstractMinimiser)
    patience = PATIENCE_OF_LINE_SEARCH if minimizes else PATIENCE

    def fn(x: Flat, _: Any) -> tuple[Array, tuple[Array, Array]]:
        misfit, residual = problem.misfit(x)
        squared = misfit @ misfit
        return (squared if minimizes else misfit), (squared, residual)

    def advance(now: _Progress) -> _Progress:
        memory = eqx.combine(now.memory, constants)
        x, memory, (squared, residual) = solver.step(
            fn, now.x, None, {}, memory, nothing
        )
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
        exact = now.residual <= EARLY * problem.tolerance
        enough = (now.residual <= problem.tolerance) & (now.idle > 0)
        spent = (now.idle >= patience) | (now.steps >= problem.max_steps)
        return ~(exact | enough | spent)

    x = problem.state.x
    f_struct, aux_struct = jax.eval_shape(fn, x, None)
    memory = solver.init(fn, x, None, {}, f_struct, aux_struct, nothing)
    arrays, constants = eqx.partition(memory, eqx.is_array)
    far, none = jnp.asarray(jnp.inf, x.dtype), jnp.asarray(0)
    end = while_loop(goes_on, advance, _Progress(x, arrays, far, far, none, none))
    return end.x, (end.steps, end.idle >= patience)
