"""An inverse without derivatives: a Jacobian from differences, kept up by secants."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from physgrad.inverses.certificate import certificate_tolerance, certify, jumps
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar
from physgrad.inverses.jacobian import check_dense
from physgrad.inverses.rule import Code, Inverse, Metric, PullBack, identity_metric
from physgrad.inverses.secant_search import Matrix, SecantSearch, differences
from physgrad.inverses.settings import optional, tolerance, whole_number
from physgrad.inverses.state import State
from physgrad.results import Cause, Result

# The walk ends where a part of z~ - z as small as this still fails.
SMALLEST_PART = 2.0**-8
NO_DERIVATIVES = "BroydenInverse has no derivatives; use NumericalInverse"


class BroydenInverse(Inverse):
    """x+ = argmin 1/2 |P(x+) - z~|_B^2 by calls of P alone, started at the present x.

    For simulators without derivatives. A Jacobian from differences, one call for each
    entry of x, is kept up by the secant of each call, in the units of its columns,
    J+ = J + (dz - J dx) dx^T / |dx|^2, also from step to step of a run, so that most
    steps take a few calls. It is taken anew where it does not lead on. Steps are those
    of Gauss and Newton, the shortest ones in those units, within a radius. Where the
    whole step fails, or x+ may lie on another branch, it walks from z to z~ in parts.
    Where z~ is out of range, the nearest point is taken, as well as differences tell.

    The certificate promises |P(x+) - z~| <= rtol |z~ - z| + 16 eps scale. A run by it
    has no derivatives.

    **Arguments:**

    - `rtol`: tolerance relative to the step in z; None for sqrt(eps) of the dtype.
    - `max_steps`: calls of P in one pull-back, but for those of differences.

    **Raises:** `ValueError` for a tolerance or a number of steps that is not positive,
    and a Jacobian above 1 GiB.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x**3, lambda z: jnp.sum((z - 8) ** 2))
    >>> method = pg.PhysicalGradient(1.0, pg.BroydenInverse())
    >>> run = pg.minimize(objective, method, jnp.array([3.0]), num_steps=1)
    >>> print(run.x.round(4), run.evaluations["jvp"] + run.evaluations["vjp"])
    [2.] 0

    **Source:** Broyden, Mathematics of Computation 19, 1965; when to take differences
    anew: Powell, "A hybrid method for nonlinear equations", 1970.
    """

    rtol: Float[Array, ""] | None = eqx.field(
        converter=optional(tolerance("rtol")), default=None
    )
    """Relative to |z~ - z|; None: sqrt(eps)."""
    max_steps: int = eqx.field(
        converter=whole_number("max_steps", 1), default=256, static=True
    )
    """Calls of P in one pull-back, at most."""
    known: Matrix | None = eqx.field(default=None, kw_only=True)
    """The Jacobian that it remembers of the step before; None for none yet."""

    def begin(self, state: State) -> Matrix:
        return jnp.zeros((state.z.size, state.x.size), state.x.dtype)

    def recalling(self, memory: Matrix) -> Inverse:
        return BroydenInverse(self.rtol, self.max_steps, known=memory)

    def jacobian(
        self, forward: FlatMap, state: State, answer: PullBack
    ) -> lx.AbstractLinearOperator:
        matrix = answer.memory
        if matrix is None:  # on a rung of a ladder, which remembers nothing
            matrix = differences(forward, state)
        return lx.MatrixLinearOperator(matrix)

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        check_dense(state.z.size, state.x, "AnalyticInverse")
        if state.x.size == state.z.size and metric.factor is None:
            metric = identity_metric(state.z)  # a root has no misfit to be weighted
        root = metric.root()
        counts = jnp.asarray(True)
        if isinstance(root, lx.DiagonalLinearOperator):
            counts = root.diagonal != 0
        eps = float(jnp.finfo(z_target.dtype).eps)
        rtol = eps**0.5 if self.rtol is None else self.rtol
        tolerance = certificate_tolerance(forward, z_target, state, rtol)
        search = SecantSearch(forward, z_target, tolerance, root, counts)
        matrix = self.begin(state) if self.known is None else self.known
        end = _walk(search, state, matrix, rtol, self.max_steps)
        answer = certify(
            forward,
            eqxi.nondifferentiable(end.x, msg=NO_DERIVATIVES),
            z_target,
            state,
            tolerance,
            evaluations=Evaluations(forward=end.calls),
            same_branch=True,  # the walk has looked at each of its parts
            counts=counts,
            z=end.z,
        )
        missed = answer.cause == Cause.missed.code
        near = missed & (end.reached >= 1)
        return dataclasses.replace(
            answer,
            result=jnp.where(near, Result.target_not_reachable.code, answer.result),
            cause=jnp.where(missed, jnp.where(near, 0, end.cause), answer.cause),
            memory=end.matrix,
        )


class _Walk(NamedTuple):
    """How far the way from z to z~ has been gone, and what is tried next."""

    x: Flat
    z: Flat
    matrix: Matrix
    reached: Scalar
    """The part of z~ - z that lies behind, from 0 to 1."""
    part: Scalar
    """The part of it to be tried next."""
    cause: Code
    """Why the last part failed; none where it did not."""
    steps: Int[Array, ""]
    calls: Int[Array, ""]


def _walk(
    search: SecantSearch,
    state: State,
    matrix: Matrix,
    rtol: Scalar | float,
    max_steps: int,
) -> _Walk:
    """To z~ at once; where that fails or may be another branch, part by part."""
    forward, tall = search.forward, state.z.size > state.x.size
    whole = search.z_target - state.z

    def goes_on(now: _Walk) -> Bool[Array, ""]:
        unfinished = (now.reached < 1) & (now.part >= SMALLEST_PART)
        return unfinished & (now.steps < max_steps)

    def advance(now: _Walk) -> _Walk:
        reached = jnp.minimum(now.reached + now.part, 1.0)
        between = state.z + reached * whole
        target = jnp.where(reached < 1, between, search.z_target)
        here = state.move((now.x, now.z))
        tolerance = certificate_tolerance(forward, target, here, rtol)
        part = SecantSearch(forward, target, tolerance, search.root, search.counts)
        end = part.run(now.x, now.z, now.matrix, max_steps - now.steps)
        nearest = tall | (now.part >= 1)
        found = part.arrived(end.z) | ((end.cause == Cause.none.code) & nearest)
        jumped, looked = jumps(forward, end.x, end.z, here, tolerance)
        serves = found & ~jumped
        cause = jnp.where(found & jumped, Cause.jumped.code, end.cause)
        return _Walk(
            jnp.where(serves, end.x, now.x),
            jnp.where(serves, end.z, now.z),
            jnp.where(serves, end.matrix, now.matrix),
            jnp.where(serves, reached, now.reached).astype(now.reached.dtype),
            jnp.where(serves, 2 * now.part, now.part / 2).astype(now.part.dtype),
            jnp.where(serves, Cause.none.code, cause).astype(now.cause.dtype),
            now.steps + end.steps,
            now.calls + end.calls + looked.forward,
        )

    zero, one = jnp.zeros((), jnp.int32), jnp.ones((), state.x.dtype)
    cause = zero + Cause.out_of_budget.code
    begin = _Walk(state.x, state.z, matrix, 0 * one, one, cause, zero, zero)
    return lax.while_loop(goes_on, advance, begin)
