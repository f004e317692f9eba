"""The certificate of a pulled-back point: measured, never assumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import (
    Flat,
    FlatMap,
    Scalar,
    largest,
    largest_by_leaf,
    sizes,
    sizes_by_leaf,
)
from physgrad.inverses.rule import PullBack
from physgrad.inverses.state import State, secant
from physgrad.results import Cause, Result

# A branch jump is named where J dx exceeds dz by this factor at both ends of the step:
# powers and exponentials stay below it at one end at least, a sign flip or a turn by
# 2 pi does not.
JUMP = 4.0
# One end is enough from this factor on, for a solver that may have been thrown there.
LONG_JUMP = 16.0
# A continuous branch shrinks x by far more than JUMP in so many halvings of z.
HALVINGS = 8
# Slopes at the ends of a step are taken over this part of it: far less, and rounding
# would look like a slope.
PART = 1 / 16
ROUNDING = 16.0


def certificate_tolerance(
    forward: FlatMap,
    z_target: Flat,
    state: State,
    rtol: Scalar | float,
    accuracy: Scalar | None = None,
) -> Float[Array, " leaves"]:
    """rtol |z~ - z| + max(16 eps, accuracy) scale, for each leaf of z.

    The scale is the largest of |z~|, |z0| and |J| |x0|; of a run that starts at x0 = 0,
    `certify` adds |J t| / |t| times |x+|.

    Relative to the step alone an exact inverse in float32 would be called a liar near
    the optimum, where the step is smaller than the rounding of z. Leaf by leaf, since
    leaves may have different units: 1e9 in one must not hide 1e-9 in another.
    """
    size, step = sizes_by_leaf(forward, z_target, z_target - state.z)
    return rtol * step + rounding(size, state, accuracy)


def rounding(
    size: Float[Array, " leaves"], state: State, accuracy: Scalar | None = None
) -> Float[Array, " leaves"]:
    """16 eps scale, or more where an accuracy says so: what each leaf of z may be off.

    `size`: |z~| in each leaf.
    """
    part = ROUNDING * jnp.finfo(size.dtype).eps
    if accuracy is not None:
        part = jnp.maximum(part, accuracy).astype(size.dtype)
    return part * jnp.maximum(size, state.scale)


def certify(
    forward: FlatMap,
    x: Flat,
    z_target: Flat,
    state: State,
    tolerance: Float[Array, " leaves"],
    *,
    evaluations: Evaluations | None = None,
    preimage: Callable[[Flat, State], Flat] | None = None,
    same_branch: bool = False,
    counts: Bool[Array, "..."] | bool = True,
    z: Flat | None = None,
) -> PullBack:
    """Measure |P(x+) - z~| and whether x+ is on the branch of x; name what is not so.

    One call of the simulator, unless its `z` is known; a few more where x moved
    suspiciously far for the step in z, unless x+ is known to be on the same branch. The
    residual and tolerance of the answer are those of the worst leaf of z. Entries that
    do not count, since the step has no weight there, may be anything.
    """
    calls = int(z is None)
    z = forward(x) if z is None else z
    miss = jnp.where(counts, z - z_target, 0.0)
    residual, dz = sizes_by_leaf(forward, miss, z - state.z)
    size, dx = sizes(x, x - state.x)
    finite = jnp.all(jnp.isfinite(residual)) & jnp.isfinite(size)
    cost = (evaluations or Evaluations()) + Evaluations(forward=calls)
    eps = jnp.finfo(x.dtype).eps
    tolerance = jnp.maximum(tolerance, ROUNDING * eps * size * state.slopes[0])
    missed = ~jnp.all(residual <= tolerance)
    jumped = jnp.asarray(False)
    if not same_branch:
        moved = dx, dz
        jumped, looked = jumps(
            forward, x, z, state, tolerance, moved=moved, preimage=preimage
        )
        cost += looked
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
    worst = jnp.argmax(excess(residual, tolerance))
    return PullBack(
        x,
        z,
        residual[worst],
        result,
        tolerance[worst],
        cause,
        evaluations=cost,
        secant=secant(dx, jnp.max(dz)),
    )


def excess(
    residual: Float[Array, " leaves"], tolerance: Float[Array, " leaves"]
) -> Float[Array, " leaves"]:
    """residual / tolerance: at most 1 where the certificate holds."""
    return residual / jnp.maximum(tolerance, jnp.finfo(tolerance.dtype).tiny)


def jumps(
    forward: FlatMap,
    x: Flat,
    z: Flat,
    state: State,
    tolerance: Float[Array, " leaves"],
    *,
    moved: tuple[Scalar, Float[Array, " leaves"]] | None = None,
    preimage: Callable[[Flat, State], Flat] | None = None,
    doubtful: Bool[Array, ""] | bool = False,
) -> tuple[Bool[Array, ""], Evaluations]:
    """Whether x+ lies on another branch than x: |J (x+ - x)| far above |z+ - z|.

    And what it cost to find out. `moved`: |x+ - x| and |z+ - z|, where they are known.
    `doubtful`: where a solver has found x+ that may as well walk there in parts, one
    end may say so, if it is very far off.

    Only looked at there, and where |x+ - x| is large for |z+ - z|, compared with the
    gain of the run so far. In one dimension the secant of a branch lies between the
    slopes at its ends, so both ends must say so. In more, a long way round does not:
    where the rule has a formula, `preimage(z, state)`, the step in z is halved, again
    and again around the larger change of x, which shrinks along a branch and does not
    across a jump.
    """
    start, end, tolerance = lax.stop_gradient(((state.x, state.z), (x, z), tolerance))
    if moved is None:
        (dz,) = sizes_by_leaf(forward, z - state.z)
        moved = sizes(x - state.x)[0], dz
    dx, dz = moved
    suspicious = dx * state.gain[0] > jnp.min(JUMP * (dz + tolerance))
    suspicious = suspicious | doubtful

    def look() -> Bool[Array, ""]:
        both, one = _far_apart(forward, start, end, tolerance)
        return both | (one & doubtful)

    far = lax.cond(suspicious, look, lambda: jnp.asarray(False))
    looked = Evaluations(forward=2 * suspicious.astype(jnp.int32))
    if preimage is None:
        return far, looked

    def halved() -> Bool[Array, ""]:
        def halve(_: Any, ends: Any) -> Any:
            (x_left, z_left), (x_right, z_right) = ends
            z_middle = z_left + (z_right - z_left) / 2
            x_middle = preimage(z_middle, state.move((x_left, z_left)))
            left = largest(x_middle - x_left) >= largest(x_right - x_middle)
            middle = x_middle, z_middle
            lower = (x_left, z_left), middle
            upper = middle, (x_right, z_right)
            return jax.tree.map(lambda a, b: jnp.where(left, a, b), lower, upper)

        left, right = lax.fori_loop(0, HALVINGS, halve, (start, end))
        return _far_apart(forward, left, right, tolerance / 2**HALVINGS)[0]

    times = far.astype(jnp.int32)
    looked += Evaluations(forward=2 * times, inverse=HALVINGS * times)
    return lax.cond(far, halved, lambda: jnp.asarray(False)), looked


def _far_apart(
    forward: FlatMap,
    start: tuple[Flat, Flat],
    end: tuple[Flat, Flat],
    tolerance: Float[Array, " leaves"],
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the slopes, times dx, are far above dz in a leaf of z: at both ends, or
    very far at one.

    The slopes are finite differences over a part of the step: the simulator need not
    have a derivative.
    """
    (x_start, z_start), (x_end, z_end) = start, end
    dx = x_end - x_start
    allowed = largest_by_leaf(forward, z_end - z_start) + tolerance
    here = (forward(x_start + PART * dx) - z_start) / PART
    there = (z_end - forward(x_end - PART * dx)) / PART
    here, there = (largest_by_leaf(forward, dz) for dz in (here, there))
    both, one = jnp.minimum(here, there), jnp.maximum(here, there)
    return jnp.any(both > JUMP * allowed), jnp.any(one > LONG_JUMP * allowed)


def round_trip(
    forward: FlatMap, x: Flat, state: State, accuracy: Scalar | None = None
) -> PullBack:
    """Certify P^-1(P(x0)) = x0, before the first step.

    There is no step to compare with, so the tolerance is sqrt(eps) of the scale, or its
    `accuracy`: this catches a formula that is wrong, its later certificates one that is
    inexact.
    """
    rtol = jnp.sqrt(jnp.finfo(state.z.dtype).eps)
    if accuracy is not None:
        rtol = jnp.maximum(rtol, accuracy).astype(state.z.dtype)
    tolerance = rtol * jnp.maximum(largest_by_leaf(forward, state.z), state.scale)
    answer = certify(forward, x, state.z, state, tolerance)
    at_start = {
        Cause.missed: Cause.not_identity,
        Cause.jumped: Cause.start_jumped,
        Cause.not_finite: Cause.start_not_finite,
    }
    cause = answer.cause
    for during, before in at_start.items():
        cause = jnp.where(answer.cause == during.code, before.code, cause)
    return eqx.tree_at(lambda a: a.cause, answer, cause)


def report(
    forward: FlatMap,
    x: Flat,
    z_target: Flat,
    evaluations: Evaluations,
    damping: Scalar | float = 0.0,
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
        damping=damping,
        evaluations=evaluations + Evaluations(forward=1),
    )
