"""The pure loop: arrays in, arrays out; jit it, vmap it, differentiate it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from physgrad.inverses.evaluations import Evaluations
from physgrad.inverses.flat import Flat, Scalar, largest, real_array, sizes
from physgrad.inverses.rule import Code
from physgrad.inverses.settings import brief, whole_number
from physgrad.inverses.state import State
from physgrad.inverses.trees import in_precision
from physgrad.loop.start import check_kinds
from physgrad.loop.stopping import StopRule, has_converged
from physgrad.objective.objective import FlatObjective, Objective
from physgrad.optimizer.optimizer import Certificate, Optimizer, Step
from physgrad.optimizer.packing import Packed, pack
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


class Record(eqx.Module):
    """What is kept of an iterate, and of the step that led to it."""

    spaces: Mapping[str, PyTree]
    loss: Scalar
    target: PyTree | None
    certificate: Certificate | None


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
    """Of each recorded step (iterates - 1,), one that failed included."""
    result: Code
    """A `Result` by its code."""
    num_valid: Int[Array, ""]
    """How many iterates are valid, the start included; 0 if it is not finite."""
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

    The derivatives of a run that fails are NaN, or those of its last good iterate: in
    a batch look at `result` first, and take derivatives of the members that went on.

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
    check_kinds(objective, optimizer, stop)
    x0 = jax.tree.map(partial(real_array, name="x0"), x0, is_leaf=lambda x: x is None)
    loop, x = make_loop(objective, optimizer, x0, stop)
    start, update = loop.begin(x)
    length = -(-num_steps // record_every)
    end, records = loop.advance(
        start, update, num_steps, length=length, stride=record_every
    )
    later, first = records.unpack(), loop.record(start)
    spaces, losses = jax.tree.map(
        lambda point, others: jnp.concatenate([point[None], others]),
        (first.spaces, first.loss),
        (later.spaces, later.loss),
    )
    return Iterates(
        loop.unravel(end.state.x),
        spaces,
        losses,
        later.target,
        later.certificate,
        end.result,
        _finite(start.state.spaces, start.loss) - (-end.steps // record_every),
        end.steps,
        end.evaluations,
    )


Update = Callable[[State, Any], tuple[Step, Any]]
"""An optimizer's `update` at given shapes: of a state and the arrays of its memory."""


class Loop(eqx.Module):
    """The loop of one run: what happens before, in and after a step."""

    objective: FlatObjective
    optimizer: Optimizer
    stop: StopRule
    names: tuple[str, ...] = eqx.field(static=True)
    """Of the spaces, first to last."""

    def begin(self, x: Flat) -> tuple[Progress, Update]:
        """The run before its first step, and what steps it."""
        state = self.objective.start(x)
        loss = self.objective.loss(state.z)
        memory = self.optimizer.init(self.objective, state)
        update = self._trace(state, memory)
        memory = eqx.filter(memory, eqx.is_array)
        step, _ = eqx.filter_eval_shape(update, state, memory)
        target, certificate = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype), (step.target, step.certificate)
        )
        finite = _finite(state.spaces, loss)
        result = jnp.where(finite, Result.completed.code, Result.non_finite.code)
        infinite = jnp.asarray(jnp.inf, x.dtype)
        solved = has_converged(self.stop, self.objective, state, loss, infinite)
        result = jnp.where(finite & solved, Result.converged.code, result)
        start = Progress(
            state,
            loss,
            loss,
            memory,
            result.astype(jnp.int32),
            jnp.zeros((), jnp.int32),
            jax.tree.map(jnp.int32, Evaluations(forward=1)),
            target,
            certificate,
        )
        return start, update

    def resume(self, now: Progress) -> Update:
        """What steps a run that has begun."""
        memory = eqx.filter_eval_shape(self.optimizer.init, self.objective, now.state)
        return self._trace(now.state, memory)

    def _trace(self, state: State, memory: Any) -> Update:
        """The optimizer's `update`, traced once: that costs more than all else here."""
        arrays, constants = eqx.partition(memory, _is_array)

        def update(state: State, arrays: Any) -> tuple[Step, Any]:
            memory = eqx.combine(arrays, constants)
            step, later = self.optimizer.update(self.objective, state, memory)
            _check_memory(later, memory)
            return step, eqx.filter(later, eqx.is_array)

        return eqx.filter_closure_convert(update, state, arrays)

    def advance(
        self,
        start: Progress,
        update: Update,
        limit: Int[Array, ""] | int,
        *,
        length: int,
        stride: int,
    ) -> tuple[Progress, Packed]:
        """Go on until `limit` steps are done or the run ends.

        Keeps `length` records, one after each `stride` steps; what is left of them
        after the last step repeats the last iterate.
        """

        def one_step(now: Progress) -> Progress:
            return self._after(now, *update(now.state, now.memory))

        def maybe_step(now: Progress, _: None) -> tuple[Progress, None]:
            active = goes_on(now.result) & (now.steps < limit)
            return lax.cond(active, one_step, lambda now: now, now), None

        def steps(now: Progress, _: None) -> tuple[Progress, Packed]:
            now, _ = lax.scan(maybe_step, now, None, length=stride)
            return now, pack(self.record(now))

        return lax.scan(steps, start, None, length=length)

    def unravel(self, x: Flat) -> PyTree:
        """The user's x."""
        return self.objective.simulator.unravel_x(x)

    def record(self, now: Progress) -> Record:
        """The present iterate, in the user's PyTrees."""
        unravels = self.objective.simulator.unravels
        points = zip(self.names, unravels, now.state.spaces, strict=True)
        spaces = {name: unravel(point) for name, unravel, point in points}
        target = None if now.target is None else unravels[-1](now.target)
        return Record(spaces, now.loss, target, now.certificate)

    def _after(self, now: Progress, step: Step, memory: Any) -> Progress:
        """The run after a step: at its new point if that may stand, else as it was."""
        loss = self.objective.loss(step.state.z) if step.loss is None else step.loss
        rejected = jnp.asarray(step.rejected)
        finite = rejected | _finite(step.state.spaces, loss)
        state, loss = jax.tree.map(
            lambda new, old: jnp.where(rejected, old, new),
            (step.state, loss),
            (now.state, now.loss),
        )
        overflow = jnp.abs(now.loss) > GROWTH * jnp.abs(now.first_loss)
        broken = jnp.where(overflow, Result.diverged.code, Result.non_finite.code)
        result = jnp.asarray(step.result)
        result = jnp.where(goes_on(result) & ~finite, broken, result)
        stands = goes_on(result)

        size = largest(step.state.x - now.state.x)
        size = jnp.where(rejected, jnp.inf, size)
        solved = has_converged(
            self.stop, self.objective, state, loss, size, step.optimality
        )
        result = jnp.where(stands & solved, Result.converged.code, result)

        def like(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.asarray(n, o.dtype), new, old)

        def keep(new: Any, old: Any) -> Any:
            new = like(new, old)
            return jax.tree.map(lambda n, o: jnp.where(stands, n, o), new, old)

        return Progress(
            keep(state, now.state),
            keep(loss, now.loss),
            now.first_loss,
            like(memory, now.memory),  # of no use where the run has ended
            result.astype(now.result.dtype),
            now.steps + stands.astype(now.steps.dtype),
            like(now.evaluations + step.evaluations, now.evaluations),
            keep(step.target, now.target),
            like(step.certificate, now.certificate),
        )


def make_loop(
    objective: Objective, optimizer: Optimizer, x0: PyTree, stop: StopRule
) -> tuple[Loop, Flat]:
    """The loop of a run from x0, and x0 as a flat vector."""
    flat, x = objective.flatten(x0)
    # hyperparameters in the dtype of x, so that they cannot promote it
    optimizer = in_precision(optimizer, x.dtype)
    return Loop(flat, optimizer, stop, objective.simulator.space_names), x


def goes_on(result: Int[Array, "..."]) -> Bool[Array, "..."]:
    """Whether a run, or each of several, may take another step."""
    return result <= LAST_CODE_THAT_GOES_ON


def _finite(spaces: tuple[Flat, ...], loss: Scalar) -> Bool[Array, ""]:
    return jnp.isfinite(loss) & jnp.all(jnp.isfinite(jnp.stack(sizes(*spaces))))


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_array(leaf)


def _check_memory(later: Any, memory: Any) -> None:
    """Refuse a memory that changes in anything but the values of its arrays."""

    def kinds(tree: Any) -> Any:
        """Each array by its kind and shape, each number and text as it is."""

        def told(leaf: Any) -> bool:
            return isinstance(leaf, str) or eqx.is_array_like(leaf)

        return jax.tree.map(_kind, eqx.filter(tree, told))

    got, expected = kinds(later), kinds(memory)
    if jax.tree.leaves(got) != jax.tree.leaves(expected) or (
        jax.tree.structure(got) != jax.tree.structure(expected)
    ):
        raise TypeError(
            f"update must return a memory like that of init, {brief(expected)}, got "
            f"{brief(got)}; what changes from step to step must be an array from the "
            "start: jnp.asarray(0), not 0"
        )


def _kind(leaf: Any) -> Any:
    if not eqx.is_array(leaf):
        return leaf
    words = {"b": "bool", "i": "int", "u": "int", "f": "float", "c": "complex"}
    kind = getattr(leaf.dtype, "kind", "")  # keys of random numbers have none
    return f"{words.get(kind, leaf.dtype)}{list(leaf.shape)}"
