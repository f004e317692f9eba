"""The numerical inverse: a library's solver finds P(x) = z~ from the present x."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import Array, Float

from physgrad.inverses.certificate import certificate_tolerance, certify
from physgrad.inverses.continuation import walk
from physgrad.inverses.flat import Flat, FlatMap
from physgrad.inverses.jacobian import by_products, check_dense, fits
from physgrad.inverses.root_solver import Solver, Steps
from physgrad.inverses.rule import Inverse, Metric, PullBack, identity_metric
from physgrad.inverses.settings import brief, optional, tolerance, whole_number
from physgrad.inverses.state import State
from physgrad.inverses.target import Target, optimality
from physgrad.results import Cause, Result

_WAY_OUT = "NumericalInverse(linear_solver=lineax.{}(rtol=1e-6, atol=0.0))"


def _solver(value: Any) -> Solver | None:
    if not isinstance(value, Solver | None):
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
    certificate promises |P(x+) - z~| <= rtol |z~ - z| + 16 eps scale.

    The solver starts at the linearized prediction x + J^+ (z~ - z). Where it does not
    arrive, or arrives on another branch, it walks: from z to z~ in parts, halved where
    they fail and doubled where they do not. An end of the walk before z~, or of
    `max_steps`, ends the run as `inverse_failed`.

    Where preimages are many, as those of periodic simulators, one step may lead to a
    farther one than the nearest, beyond a place where J is singular; shorter steps in z
    stay nearer.

    Derivatives of x+ are those of the implicit function theorem. Where z does not show
    some directions of x (more x than z, rank-deficient) they are exact for affine
    simulators, and to first order in the step for others; with a `linear_solver` those
    directions have none.

    **Arguments:**

    - `solver`: an optimistix least-squares solver, minimizer or root finder; None for
        `optimistix.Dogleg` with a pseudo-inverse, which roots of a singular Jacobian
        do not slow down. Its own tolerances are not used: the tolerance follows the
        step asked for. `optimistix.BFGS` or `optimistix.LBFGS` take the way of the
        notebook, a minimizer of |P(x) - z~|^2.
    - `rtol`: tolerance relative to the step in z; None for eps^(3/4) of the dtype.
    - `max_steps`: steps of the solver in one pull-back.
    - `linear_solver`: None for a dense Jacobian where it takes at most 1 GiB, and
        `lineax.LSMR` above; or a lineax solver that needs only products with it:
        `lineax.GMRES` or `lineax.BiCGStab` for as many entries in z
        as in x, `lineax.LSMR` or `lineax.Normal(lineax.CG(...))` for any (CG with a
        `max_steps`: its tolerance is one of each entry, also of those near zero). Its
        products are not counted among the evaluations of a run. Where the simulator has
        no J t (`jax.custom_vjp`) the Jacobian is dense all the same.
    - `preconditioner`: for such a solver, a function M(dz, x) that returns about
        J^-1 dz, linear in dz; dz is a PyTree like z, x the present one. Where M is NaN
        lineax raises.

    **Raises:** `TypeError` for solvers of another kind; `ValueError` for a tolerance or
    a number of steps that is not positive; when used, for a preconditioner that returns
    something unlike x, or a root finder on a simulator that is not square.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8) ** 2))
    >>> physical = pg.PhysicalGradient(1.0, inverse=pg.NumericalInverse())
    >>> run = pg.minimize(objective, physical, jnp.array([3.0]), num_steps=1)
    >>> print(run.x.round(5))
    [2.]

    **Source:** Nocedal and Wright, Numerical Optimization, 2nd ed., sections 10.3, 7.1
    (inexact Newton: the tolerance follows the step) and 11.3 (continuation).
    """

    solver: Solver | None = eqx.field(converter=_solver, default=None)
    """Takes the steps; None for Powell's dogleg."""
    rtol: Float[Array, ""] | None = eqx.field(
        converter=optional(tolerance("rtol")), default=None
    )
    """Relative to |z~ - z|; None: eps^(3/4)."""
    max_steps: int = eqx.field(
        converter=whole_number("max_steps", 1), default=256, static=True
    )
    """Steps of the solver in one pull-back, at most."""
    linear_solver: lx.AbstractLinearSolver | None = None
    """Of the steps of the dogleg, by products with J; None: dense."""
    preconditioner: Callable | None = None
    """M(dz, x), about J^-1 dz."""

    def __check_init__(self) -> None:
        if not isinstance(self.linear_solver, lx.AbstractLinearSolver | None):
            raise TypeError(
                "linear_solver must be None or a lineax solver, got "
                f"{brief(self.linear_solver)}"
            )
        if self.linear_solver is not None and self.solver is not None:
            raise ValueError(
                "linear_solver belongs to the default solver, got a solver, too: give "
                "it its own, as in optimistix.Dogleg(..., linear_solver=...)"
            )
        if isinstance(self.linear_solver, lx.CG):
            raise ValueError(
                "linear_solver must take a J that is not symmetric, got lineax.CG; for "
                "the normal equations wrap it: lineax.Normal(lineax.CG(...))"
            )
        if not (self.preconditioner is None or callable(self.preconditioner)):
            raise TypeError(
                "preconditioner must be a function M(dz, x), got "
                f"{brief(self.preconditioner)}"
            )
        if self.preconditioner is not None and self.linear_solver is None:
            raise ValueError(
                "preconditioner needs a linear_solver, such as lineax.GMRES(rtol=1e-6, "
                "atol=0.0), got None"
            )

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        square = state.x.size == state.z.size
        linear_solver = self.linear_solver
        if linear_solver is None and self.solver is None:
            fine = fits(state.z.size, state.x)
            linear_solver = None if fine else by_products(state.x)
        steps = Steps(self.solver, linear_solver, self.preconditioner)
        _check_sizes(steps, state, forward.forward_mode)
        if square and metric.factor is None:
            metric = identity_metric(state.z)  # a root has no misfit to be weighted
        eps = float(jnp.finfo(z_target.dtype).eps)
        rtol = eps**0.75 if self.rtol is None else self.rtol
        tolerance = certificate_tolerance(forward, z_target, state, rtol)
        target = Target(
            forward,
            z_target,
            state,
            metric.root(),
            tolerance,
            jnp.asarray(rtol, z_target.dtype),
        )
        x, (end, cost) = _adjoint(steps, eps**0.75).apply(
            # lambdas, since a type checker turns named functions into closures, which
            # cannot be differentiated implicitly
            lambda inputs: walk(*inputs),
            lambda x, _, inputs: optimality(
                x,
                inputs[0].weighted_misfit,
                inputs[0].state.x,
                dense=inputs[1].is_dense,
                forward_mode=inputs[0].forward.forward_mode,
            ),
            (target, steps, self.max_steps),
            frozenset(),
        )
        answer = certify(
            forward,
            x,
            z_target,
            state,
            tolerance,
            evaluations=cost,
            same_branch=True,  # the walk has looked at each of its parts
            counts=target.counts,
        )
        return _explain_miss(answer, end)


def _adjoint(steps: Steps, rtol: float) -> optx.ImplicitAdjoint:
    """Derivatives by the implicit function theorem, by products where the steps are."""
    if steps.linear_solver is None:
        return optx.ImplicitAdjoint(lx.AutoLinearSolver(well_posed=False))
    return optx.ImplicitAdjoint(lx.LSMR(rtol=rtol, atol=0.0))


def _check_sizes(steps: Steps, state: State, forward_mode: bool) -> None:
    sizes = state.z.size, state.x.size
    if not steps.descends and sizes[0] != sizes[1]:
        raise ValueError(
            f"a root finder needs as many entries in z as in x, got {sizes[0]} "
            f"and {sizes[1]}; use a least-squares solver"
        )
    if steps.is_dense or not forward_mode:
        solver = "GMRES" if sizes[0] == sizes[1] else "LSMR"
        check_dense(sizes[0], state.x, _WAY_OUT.format(solver))


def _explain_miss(answer: PullBack, end: Array) -> PullBack:
    """The answer with what the walk knows of its end, a `Cause` by its code.

    A descent that came to rest off the target has found the nearest point.
    """
    missed = answer.cause == Cause.missed.code
    nearest = missed & (end == Cause.none.code)
    result = jnp.where(nearest, Result.target_not_reachable.code, answer.result)
    cause = jnp.where(missed, end, answer.cause)
    return eqx.tree_at(lambda a: (a.result, a.cause), answer, (result, cause))
