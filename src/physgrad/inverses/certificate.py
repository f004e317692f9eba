"""The certificate of a pulled-back point: measured, never assumed."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from physgrad.inverses.flat import Flat, FlatMap, Scalar, largest
from physgrad.inverses.rule import Evaluations, Metric, PullBack
from physgrad.inverses.state import State
from physgrad.results import Cause, Result

# A branch jump is named where J dx exceeds dz by this factor at both ends of the step:
# powers and exponentials stay below it at one end at least, a sign flip or a turn by
# 2 pi does not.
JUMP = 4.0
ROUNDING = 16.0


def certificate_tolerance(z_target: Flat, state: State, rtol: Scalar | float) -> Scalar:
    """rtol |z~ - z| + 16 eps scale, the scale being max(|z~|, |z0|, |J| |x0|).

    Relative to the step alone an exact inverse in float32 would be called a liar near
    the optimum, where the step is smaller than the rounding of z.
    """
    scale = jnp.maximum(largest(z_target), state.scale[0])
    eps = jnp.finfo(z_target.dtype).eps
    return rtol * largest(z_target - state.z) + ROUNDING * eps * scale


def certify(
    forward: FlatMap,
    x: Flat,
    z_target: Flat,
    state: State,
    tolerance: Scalar,
    *,
    evaluations: Evaluations | None = None,
) -> PullBack:
    """Measure |P(x+) - z~| and whether x+ is on the branch of x; name what is not so.

    One call of the simulator; two Jacobian-vector products where x moved suspiciously
    far for the step in z.
    """
    z = forward(x)
    residual = largest(z - z_target)
    finite = jnp.isfinite(residual) & jnp.all(jnp.isfinite(x))
    cost = (evaluations or Evaluations()) + Evaluations(forward=1)
    missed = ~(residual <= tolerance)
    jumped = jumps(forward, x, z, state, tolerance)
    cause = jnp.where(
        ~finite,
        Cause.not_finite.code,
        jnp.where(
            missed,
            Cause.missed.code,
            jnp.where(jumped, Cause.jumped.code, Cause.none.code),
        ),
    )
    result = jnp.where(
        cause == Cause.none.code, Result.completed.code, Result.inverse_failed.code
    )
    return PullBack(x, z, residual, result, tolerance, cause, None, cost)


def jumps(forward: FlatMap, x: Flat, z: Flat, state: State, tolerance: Scalar) -> Array:
    """Whether x+ lies on another branch than x: |J (x+ - x)| far above |z+ - z|.

    Both ends of the step must say so: along one branch the secant lies between the
    slopes at its ends. Only evaluated where |x+ - x| is large for |z+ - z|, compared
    with the gain of the run so far.
    """
    x, z, state = lax.stop_gradient((x, z, state))
    dx = x - state.x
    allowed = JUMP * (largest(z - state.z) + lax.stop_gradient(tolerance))

    def both_ends() -> Array:
        here = largest(jax.jvp(forward, (state.x,), (dx,))[1])
        there = largest(jax.jvp(forward, (x,), (dx,))[1])
        return (here > allowed) & (there > allowed)

    suspicious = largest(dx) * state.gain[0] > allowed
    return lax.cond(suspicious, both_ends, lambda: jnp.asarray(False))


def round_trip(forward: FlatMap, x: Flat, state: State) -> PullBack:
    """Certify P^-1(P(x0)) = x0, before the first step.

    There is no step to compare with, so the tolerance is sqrt(eps) of the scale: this
    catches a formula that is wrong, its later certificates one that is inexact.
    """
    rtol = jnp.sqrt(jnp.finfo(state.z.dtype).eps)
    tolerance = rtol * jnp.maximum(largest(state.z), state.scale[0])
    answer = certify(forward, x, state.z, state, tolerance)
    at_start = {Cause.missed: Cause.not_identity, Cause.jumped: Cause.start_jumped}
    cause = answer.cause
    for during, before in at_start.items():
        cause = jnp.where(answer.cause == during.code, before.code, cause)
    return eqx.tree_at(lambda a: a.cause, answer, cause)


def report(
    forward: FlatMap,
    x: Flat,
    z_target: Flat,
    metric: Metric,
    evaluations: Evaluations,
) -> PullBack:
    """Measure the answer of a rule that promises nothing but a finite point."""
    z = forward(x)
    residual = largest(z - z_target)
    finite = jnp.isfinite(residual) & jnp.all(jnp.isfinite(x))
    return PullBack(
        x,
        z,
        residual,
        jnp.where(finite, Result.completed.code, Result.inverse_failed.code),
        cause=jnp.where(finite, Cause.none.code, Cause.not_finite.code),
        metric=metric,
        evaluations=evaluations + Evaluations(forward=1),
    )
