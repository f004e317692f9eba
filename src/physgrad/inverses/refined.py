"""An inverse that is nearly one, refined by the simulator itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Int

from physgrad.inverses.analytic import called, check_like, takes_state
from physgrad.inverses.certificate import (
    certificate_tolerance,
    certify,
    excess,
    round_trip,
)
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest_by_leaf
from physgrad.inverses.rule import Inverse, Metric, PullBack
from physgrad.inverses.settings import not_negative, optional, whole_number
from physgrad.inverses.state import State
from physgrad.inverses.target import implicitly

# The misfit may rise for a while before it falls: as many refinements in a row may
# come no nearer than the best one.
PATIENCE = 4


class Refining(eqx.Module):
    """Where the refinement is, and where it was nearest."""

    x: Flat
    z: Flat
    nearest: tuple[Flat, Flat]
    """The x and z of the smallest misfit."""
    excess: Scalar
    """That misfit over what is asked for."""
    steps: Int[Array, ""]
    stale: Int[Array, ""]
    """Refinements since then."""


class RefinedInverse(Inverse):
    """x+ = lim x_k, with x_k+1 = x_k + f(z~) - f(P(x_k)): f is nearly an inverse.

    A flow that is run backwards in time by a method that is not exactly reversible
    misses by its own error, and so does an inverse of simplified physics. What it
    misses is measured, P(x_k) against z~, and pulled back in the same way, until it is
    eps^(3/4) of the step, or comes no nearer. x_0 is f(z~), or, where that leaves less
    to be refined, the present x. It converges where f(P(x)) - x has slopes below one.

    The certificate promises |P(x+) - z~| <= sqrt(eps) |z~ - z| + 16 eps scale, or with
    an `accuracy` that times the scale where it is more than 16 eps; what misses it ends
    the run as `inverse_failed`. Derivatives of x+ are those of the implicit function
    theorem.

    **Arguments:**

    - `function`: f(z) or f(z, x), with x the present point; returns a PyTree like x.
    - `accuracy`: of the simulator and the formula, as a part of the size of z, where it
        is worse than rounding: about what the formula leaves alone.
    - `max_steps`: refinements in one pull-back; zero for f alone.

    **Raises:** `TypeError` for what is no such function; `ValueError` for a number of
    steps that is negative.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> nearly = pg.RefinedInverse(lambda z: z / 2)
    >>> bent = pg.Simulator(lambda x: 2 * x + 0.1 * jnp.sin(x), nearly)
    >>> objective = pg.Objective(bent, pg.SquaredLoss(jnp.array([1.0])))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([3.0]), 1)
    >>> print(bent(run.x).round(5), run.evaluations["inverse"] < 10)
    [1.] True

    **Source:** Stetter, "The defect correction principle and discretization methods",
    Numerische Mathematik 29, 1978.
    """

    function: Callable
    """f(z) or f(z, x)."""
    max_steps: int = eqx.field(
        converter=whole_number("max_steps", 0), default=16, static=True
    )
    """Refinements in one pull-back, at most."""

    accuracy: Scalar | None = eqx.field(
        converter=optional(not_negative("accuracy")), default=None
    )
    """Of simulator and formula, relative to the size of z; None: rounding."""

    def __check_init__(self) -> None:
        takes_state(self.function)

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        del metric  # a preimage leaves no misfit to be measured
        end = self._refined(forward, z_target, state)
        x, z = end.nearest
        x = implicitly(forward, z_target, x, state.x, dense=False)
        rtol = jnp.sqrt(jnp.finfo(x.dtype).eps)
        return certify(
            forward,
            x,
            z_target,
            state,
            certificate_tolerance(forward, z_target, state, rtol, self.accuracy),
            evaluations=Evaluations(forward=end.steps + 1, inverse=end.steps + 1),
            preimage=partial(self._nearly, forward),
            z=_known(z, x, forward),
        )

    def verify(self, forward: FlatMap, state: State) -> PullBack:
        x, _ = self._refined(forward, state.z, state).nearest
        return round_trip(forward, x, state, self.accuracy)

    def _nearly(self, forward: FlatMap, z: Flat, state: State) -> Flat:
        """f(z)."""
        like = forward.unravel_x(state.x)
        arguments = (forward.unravel_z(z), like)
        x = called(self.function, arguments[: 2 if takes_state(self.function) else 1])
        check_like(x, like, branches=False)
        return ravel_pytree(x)[0]

    def _refined(self, forward: FlatMap, z_target: Flat, state: State) -> Refining:
        forward, z_target, state = _held((forward, z_target, state))
        rtol = float(jnp.finfo(z_target.dtype).eps) ** 0.75
        goal = certificate_tolerance(forward, z_target, state, rtol)
        wanted = self._nearly(forward, z_target, state)

        def miss(z: Flat) -> Scalar:
            return jnp.max(excess(largest_by_leaf(forward, z - z_target), goal))

        def goes_on(now: Refining) -> Array:
            wanting = ~(now.excess <= 1.0) & (now.stale < PATIENCE)
            finite = jnp.all(jnp.isfinite(now.z))
            return wanting & finite & (now.steps < self.max_steps)

        def refine(now: Refining) -> Refining:
            first = now.steps == 0
            x, z = _pick(first, (state.x, state.z), (now.x, now.z))
            x = x + (wanted - self._nearly(forward, z, state))
            z = forward(x)
            off = miss(z)
            nearer = off < now.excess  # not so where it is NaN
            nearest = _pick(nearer, (x, z), now.nearest)
            x, z = _pick(first, nearest, (x, z))
            least = jnp.where(nearer, off, now.excess)
            stale = jnp.where(nearer | first, 0, now.stale + 1)
            return Refining(x, z, nearest, least, now.steps + 1, stale)

        z, none = forward(wanted), jnp.asarray(0)
        start = Refining(wanted, z, (wanted, z), miss(z), none, none)
        return lax.while_loop(goes_on, refine, start)


def _pick(condition: Bool[Array, ""], yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _held(tree: Any) -> Any:
    """The same without derivatives."""
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(lax.stop_gradient(arrays), rest)


@eqx.filter_custom_jvp
def _known(z: Flat, x: Flat, forward: FlatMap) -> Flat:
    """z = P(x), which is known: only its derivatives are those of P."""
    del x, forward
    return z


@_known.def_jvp
def _known_jvp(primals: Any, tangents: Any) -> tuple[Flat, Flat]:
    (z, x, forward), (_, dx, dforward) = primals, tangents
    _, dz = eqx.filter_jvp(lambda f, x: f(x), (forward, x), (dforward, dx))
    return z, dz
