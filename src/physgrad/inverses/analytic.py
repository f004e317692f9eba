"""The exact inverse: a formula for P^-1, given by the user."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from physgrad.inverses.certificate import certificate_tolerance, certify, round_trip
from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, FlatMap, Scalar, call_user, leaf_name
from physgrad.inverses.rule import Inverse, Metric, PullBack
from physgrad.inverses.settings import brief, flag, not_negative, optional
from physgrad.inverses.state import State
from physgrad.inverses.target import implicitly


class AnalyticInverse(Inverse):
    """x+ = P^-1(z~), by a formula f(z) or f(z, x); x names the branch that is meant.

    **Arguments:**

    - `function`: takes z (the PyTree that the simulator returns) and, where several x
        map to one z, the present x; returns the x+ nearest to x, a PyTree like x.
    - `branches`: True for a function that returns all preimages, a PyTree like x whose
        leaves have one more axis in front, (branches, ...), the same for all. The
        nearest one that is finite is taken; fill what does not exist with NaN. (For
        reverse derivatives of a run guard the argument of a root with `jnp.where`,
        too: the derivative of a NaN that is not taken is NaN.)
    - `accuracy`: of the simulator and the formula, as a part of the size of z, where it
        is worse than rounding: about the tolerance of a solver in one of them.
    - `one_to_one`: True where x+ is known to be on the branch of x: no z has a second
        preimage, as of motion that is run backwards, or the function solves an affine
        map. Then x+ may be far from x, and no other branch is looked for.
    - `implicit`: True for derivatives of a run by the implicit function theorem, from
        J, instead of those of the function: for one that calls back to NumPy or loops.

    The certificate promises |P(x+) - z~| <= sqrt(eps) |z~ - z| + 16 eps scale, or with
    an `accuracy` that times the scale where it is more than 16 eps. A
    formula that misses, returns NaN or jumps to another branch ends the run as
    `inverse_failed`; so does one with f(P(x0)) != x0, before the first step.

    **Raises:** `TypeError` if the function takes another number of arguments, or
    returns another structure, shape or dtype than x; `ValueError` for `one_to_one` with
    `branches`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> cube = pg.Simulator(lambda x: x**3, inverse=pg.AnalyticInverse(jnp.cbrt))
    >>> cube(jnp.array([2.0]))
    Array([8.], dtype=float32)

    >>> both = pg.AnalyticInverse(lambda z: jnp.stack([-z**0.5, z**0.5]), branches=True)
    >>> square = pg.Simulator(lambda x: x**2, both)
    >>> objective = pg.Objective(square, pg.SquaredLoss(jnp.array([1.0])))
    >>> run = pg.minimize(objective, pg.PhysicalGradient(1.0), jnp.array([-2.0]), 1)
    >>> print(run.x)
    [-1.]

    **Source:** Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics
    Inversion", NeurIPS 2022, section 3.
    """

    function: Callable
    """f(z) or f(z, x)."""
    branches: bool = eqx.field(converter=flag("branches"), static=True, default=False)
    """Whether the function returns all preimages."""
    implicit: bool = eqx.field(converter=flag("implicit"), static=True, default=False)
    """Whether derivatives are those of the implicit function."""
    accuracy: Scalar | None = eqx.field(
        converter=optional(not_negative("accuracy")), default=None
    )
    """Of simulator and formula, relative to the size of z; None: rounding."""
    one_to_one: bool = eqx.field(
        converter=flag("one_to_one"), static=True, default=False
    )
    """Whether x+ is known to be on the branch of x."""

    def __check_init__(self) -> None:
        takes_state(self.function)
        if self.one_to_one and self.branches:
            raise ValueError(
                "one_to_one says that there is one preimage, and branches that there "
                "are several: give one of them"
            )

    def pull_back(
        self, forward: FlatMap, z_target: Flat, state: State, metric: Metric
    ) -> PullBack:
        del metric  # an exact preimage leaves no misfit to be measured
        rtol = jnp.sqrt(jnp.finfo(z_target.dtype).eps)
        preimage = partial(self._preimage, forward)
        x = preimage(z_target, state)
        if self.implicit:
            x = implicitly(forward, z_target, x, state.x)
        return certify(
            forward,
            x,
            z_target,
            state,
            certificate_tolerance(forward, z_target, state, rtol, self.accuracy),
            evaluations=Evaluations(inverse=1),
            preimage=preimage,
            same_branch=self.one_to_one,
        )

    def verify(self, forward: FlatMap, state: State) -> PullBack:
        x = self._preimage(forward, state.z, state)
        return round_trip(forward, x, state, self.accuracy)

    def _preimage(self, forward: FlatMap, z: Flat, state: State) -> Flat:
        if self.implicit:  # the formula itself need not have derivatives
            z, state = lax.stop_gradient((z, state))
        like = forward.unravel_x(state.x)
        arguments = (forward.unravel_z(z), like)[
            : 2 if takes_state(self.function) else 1
        ]
        x = called(self.function, arguments)
        check_like(x, like, self.branches)
        if not self.branches:
            return ravel_pytree(x)[0]
        return _nearest(jax.vmap(lambda branch: ravel_pytree(branch)[0])(x), state.x)


def called(function: Callable, arguments: tuple[Any, ...]) -> Any:
    """What an inverse of the user returns."""
    way_out = "AnalyticInverse(f, implicit=True) takes those of the simulator"
    return call_user(function, "the inverse", *arguments, way_out=way_out)


def _nearest(points: Float[Array, "branches x"], x: Flat) -> Flat:
    """The finite point nearest to x; the first of them where none is finite."""
    distances = points - x
    finite = jnp.all(jnp.isfinite(distances), axis=1)
    distances = jnp.where(finite[:, None], distances, 0.0)
    # squares of the rest cannot overflow, nor the reciprocal of the unit underflow
    limits = jnp.finfo(distances.dtype)
    unit = jnp.clip(jnp.max(jnp.abs(distances)), 16 * limits.tiny, limits.max / 16)
    squares = jnp.sum((distances / unit) ** 2, axis=1)
    return points[jnp.argmin(jnp.where(finite, squares, jnp.inf))]


def takes_state(function: Callable) -> bool:
    """Whether an inverse is f(z, x) rather than f(z) (`TypeError` if it is neither)."""
    expected = "an inverse must be a function f(z) or f(z, x)"
    if not callable(function):
        raise TypeError(f"{expected}, got {brief(function)}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return False
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    required = [p for p in positional if p.default is p.empty]
    spread = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    needed = [p for p in parameters if p.name in keywords and p.default is p.empty]
    if len(required) > 2 or needed or (not positional and not spread):
        raise TypeError(
            f"{expected}, got {len(required)} required arguments"
            f"{' and keyword-only ones' if needed else ''}"
        )
    return len(required) == 2 or (len(required) == 0 and spread)


def check_like(x: Any, like: Any, branches: bool) -> None:
    """Refuse what is not like x, or many of it with `branches` (`TypeError`)."""
    got, expected = jax.tree.structure(x), jax.tree.structure(like)
    if got != expected:
        raise TypeError(
            f"the inverse must return the structure of x, {expected}, got {got}"
        )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(x), strict=True
    )
    number: int | str = "branches"  # that of the first leaf holds for all
    for (path, want), leaf in pairs:
        shape, dtype = jnp.shape(leaf), getattr(leaf, "dtype", type(leaf).__name__)
        if branches and number == "branches" and shape and shape[0] > 0:
            number = shape[0]
        wanted = (number, *want.shape) if branches else want.shape
        if shape != wanted or dtype != want.dtype:
            expected = f"({', '.join(map(str, wanted))}{',' * (len(wanted) == 1)})"
            many = len(shape) > len(want.shape) and shape[1:] == want.shape
            hint = "; one that returns all preimages is told so: branches=True"
            hint = hint if many and not branches else ""
            raise TypeError(
                f"the inverse must return {leaf_name('x', path)} as {want.dtype} of "
                f"shape {expected}, got {dtype} of shape {shape}{hint}"
            )
