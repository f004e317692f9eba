"""The pure loop: arrays in, arrays out; jit it, vmap it, differentiate it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from physgrad.inverses.flat import Flat, Scalar, largest
from physgrad.inverses.rule import Code, Evaluations
from physgrad.inverses.settings import whole_number
from physgrad.inverses.state import State
from physgrad.loop.stopping import StopRule, has_converged
from physgrad.objective.objective import FlatObjective, Objective
from physgrad.optimizer import Certificate, Optimizer, Step
from physgrad.results import LAST_CODE_THAT_GOES_ON, Result

# A run that leaves the range of its dtype has diverged, rather than met a NaN, where
# the loss had grown by this factor before.
GROWTH = 1e3


class Progress(eqx.Module):
    """A run between two steps."""

    state: State
    loss: Scalar
    first_loss: Scalar
    memory: Any
    """The arrays of the optimizer's memory."""
    result: Code
    """Of the last step; one that does not go on has ended the run."""
    steps: Int[Array, ""]
    evaluations: Evaluations
    target: Flat | None
    certificate: Certificate | None
    """Of the last step tried, also where it failed."""


class Records(eqx.Module):
    """Some iterates one after another: PyTrees with a leading axis."""

    spaces: Mapping[str, PyTree]
    losses: Float[Array, " iterates"]
    targets: PyTree | None
    certificates: Certificate | None


class Iterates(eqx.Module):
    """What `iterate` returns: PyTrees with a leading axis, and integer codes.

    A run that fails stays at its last good iterate: from index `num_valid` on the
    entries repeat it, so that there is never a NaN in them.
    """

    x: PyTree
    """The last good iterate."""
    spaces: Mapping[str, PyTree]
    """Space name to PyTree; leading axis 1 + ceil(num_steps / record_every)."""
    losses: Float[Array, " iterates"]
    """L of each."""
    targets: PyTree | None
    """The z~ of each recorded step, leading axis (iterates - 1,)."""
    certificates: Certificate | None
    """Of each recorded step, leading axis (iterates - 1,)."""
    result: Code
    """A `Result` by its code."""
    num_valid: Int[Array, ""]
    """How many iterates are valid, the start included."""
    num_steps: Int[Array, ""]
    """Steps that were done."""
    evaluations: Evaluations
    """How often each kind was needed."""


def iterate(
    objective: Objective,
    optimizer: Optimizer,
    x0: PyTree,
    num_steps: int,
    *,
    stop: StopRule = None,
    record_every: int = 1,
) -> Iterates:
    """x_k+1 = optimizer(x_k), `num_steps` times: pure, for jit, vmap and grad.

    The host side (checks of values, messages, progress, timing) is `minimize`.

    **Arguments:**

    - `x0`: PyTree of float32 or float64 arrays.
    - `num_steps`, `record_every`: whole numbers, static.
    - `stop`: a `Stop`, a function of `Reached`, or None to do all the steps.

    **Raises:** `ValueError`, `TypeError` for shapes and dtypes that do not fit.

    >>> import jax, jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> method = pg.GradientDescent(0.25)
    >>> ends = jax.vmap(lambda x0: pg.iterate(objective, method, x0, 3).x)
    >>> print(ends(jnp.array([[8.0], [16.0]])))
    [[1.]
     [2.]]
    """
    num_steps = whole_number("num_steps", 0)(num_steps)
    record_every = whole_number("record_every", 1)(record_every)
    x0 = jax.tree.map(jnp.asarray, x0)
    start = begin(objective, optimizer, x0, stop)
    end, records = advance(
        objective,
        optimizer,
        x0,
        start,
        num_steps,
        stop=stop,
        length=-(-num_steps // record_every),
        record_every=record_every,
    )
    records = with_start(objective, x0, start, records)
    flat, _ = objective.flatten(x0)
    return Iterates(
        flat.simulator.unravel_x(end.state.x),
        records.spaces,
        records.losses,
        records.targets,
        records.certificates,
        end.result,
        1 - (-end.steps // record_every),
        end.steps,
        end.evaluations,
    )


def begin(
    objective: Objective, optimizer: Optimizer, x0: PyTree, stop: StopRule
) -> Progress:
    """The run before its first step."""
    flat, x = objective.flatten(x0)
    optimizer = _cast(optimizer, x.dtype)
    state = flat.start(x)
    loss = flat.loss(state.z)
    memory = optimizer.init(flat, state)
    step, _ = eqx.filter_eval_shape(optimizer.update, flat, state, memory)
    nothing = jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype), (step.target, step.certificate)
    )
    result = jnp.where(
        _finite(state.spaces, loss), Result.completed.code, Result.non_finite.code
    )
    infinite = jnp.asarray(jnp.inf, x.dtype)
    solved = has_converged(stop, flat, state, loss, infinite)
    result = jnp.where(_goes_on(result) & solved, Result.converged.code, result)
    return Progress(
        state,
        loss,
        loss,
        eqx.filter(memory, eqx.is_array),
        result.astype(jnp.int32),
        jnp.zeros((), jnp.int32),
        jax.tree.map(jnp.int32, Evaluations(forward=1)),
        *nothing,
    )


def advance(
    objective: Objective,
    optimizer: Optimizer,
    x0: PyTree,
    start: Progress,
    limit: Int[Array, ""] | int,
    *,
    stop: StopRule,
    length: int,
    record_every: int,
) -> tuple[Progress, Records]:
    """Go on until `limit` steps are done or the run ends; record `length` iterates.

    `x0` only gives the structure of x. What is left of `length` after the last step
    repeats the last iterate.
    """
    flat, x = objective.flatten(x0)
    optimizer = _cast(optimizer, x.dtype)
    memory = eqx.filter_eval_shape(optimizer.init, flat, start.state)
    constants = eqx.filter(memory, _is_struct, inverse=True)

    def one_step(now: Progress) -> Progress:
        memory = eqx.combine(now.memory, constants)
        step, memory = optimizer.update(flat, now.state, memory)
        return _after(now, step, memory, flat, stop)

    def maybe_step(now: Progress, _: None) -> tuple[Progress, None]:
        active = _goes_on(now.result) & (now.steps < limit)
        return lax.cond(active, one_step, lambda now: now, now), None

    def record(now: Progress, _: None) -> tuple[Progress, tuple[Any, ...]]:
        now, _ = lax.scan(maybe_step, now, None, length=record_every)
        return now, (now.state.spaces, now.loss, now.target, now.certificate)

    end, (spaces, losses, targets, certificates) = lax.scan(
        record, start, None, length=length
    )
    if targets is not None:
        targets = jax.vmap(flat.simulator.unravel_z)(targets)
    names = objective.simulator.space_names
    unravels = flat.simulator.unravels
    trees = {
        name: jax.vmap(unravel)(points)
        for name, unravel, points in zip(names, unravels, spaces, strict=True)
    }
    return end, Records(trees, losses, targets, certificates)


def with_start(
    objective: Objective, x0: PyTree, start: Progress, records: Records
) -> Records:
    """The records with the start before them."""
    flat, _ = objective.flatten(x0)
    names = objective.simulator.space_names
    first = {
        name: unravel(point)
        for name, unravel, point in zip(
            names, flat.simulator.unravels, start.state.spaces, strict=True
        )
    }
    spaces, losses = jax.tree.map(
        lambda point, later: jnp.concatenate([point[None], later]),
        (first, start.loss),
        (dict(records.spaces), records.losses),
    )
    return Records(spaces, losses, records.targets, records.certificates)


def _after(
    now: Progress, step: Step, memory: Any, objective: FlatObjective, stop: StopRule
) -> Progress:
    """The run after a step: at its new point if that may stand, else where it was."""
    loss = objective.loss(step.state.z)
    overflow = jnp.abs(now.loss) > GROWTH * jnp.abs(now.first_loss)
    broken = jnp.where(overflow, Result.diverged.code, Result.non_finite.code)
    result = jnp.asarray(step.result)
    finite = _finite(step.state.spaces, loss)
    result = jnp.where(_goes_on(result) & ~finite, broken, result)
    stands = _goes_on(result)

    size = largest(step.state.x - now.state.x)
    size = jnp.where(jnp.asarray(step.rejected), jnp.inf, size)
    solved = has_converged(stop, objective, step.state, loss, size)
    result = jnp.where(stands & solved, Result.converged.code, result)

    def keep(new: Any, old: Any) -> Any:
        return jax.tree.map(
            lambda new, old: jnp.where(stands, new, old).astype(old.dtype), new, old
        )

    def like(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), new, old)

    return Progress(
        keep(step.state, now.state),
        keep(loss, now.loss),
        now.first_loss,
        keep(eqx.filter(memory, eqx.is_array), now.memory),
        result.astype(now.result.dtype),
        now.steps + stands.astype(now.steps.dtype),
        like(now.evaluations + step.evaluations, now.evaluations),
        like(step.target, now.target),
        like(step.certificate, now.certificate),
    )


def _goes_on(result: Code) -> Bool[Array, ""]:
    return result <= LAST_CODE_THAT_GOES_ON


def _finite(spaces: tuple[Flat, ...], loss: Scalar) -> Bool[Array, ""]:
    points = [jnp.all(jnp.isfinite(point)) for point in spaces]
    return jnp.isfinite(loss) & jnp.all(jnp.stack(points))


def _is_struct(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_array(leaf)


def _cast(optimizer: Optimizer, dtype: Any) -> Optimizer:
    """Hyperparameters in the dtype of x, so that they cannot promote it."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf,
        optimizer,
    )
