"""A bucket of runs in one compiled loop, which is left when few of them go on."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree

from physgrad.inverses.flat import Flat
from physgrad.loop.iteration import Loop, Progress, Record, goes_on, make_loop
from physgrad.loop.stopping import StopRule
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizer.packing import Packed, pack


class Family(NamedTuple):
    """What all members of a batch share."""

    objective: Any
    """An `Objective`, or what makes that of a member from its parameters."""
    optimizer: Optimizer
    stop: StopRule

    def one(self, parameters: PyTree) -> Objective:
        """The objective of a member."""
        return self.objective if parameters is None else self.objective(parameters)


class Members(NamedTuple):
    """Some members of a batch: each array with a leading axis."""

    x0: PyTree
    """Only structure, shapes and dtype count."""
    parameters: PyTree
    limit: Any
    """Steps that each may do; 0 for one that only fills the bucket."""
    phase: Any
    """Steps of each since an iterate was due to be kept."""
    progress: Progress


class Stint(NamedTuple):
    """How long a compiled loop is stayed in, and what is kept."""

    steps: int
    """At most."""
    fewest: int
    """It is left once no more members than these go on."""
    slots: int
    """Iterates kept; 0 for none."""
    every: int
    """Steps from one to the next."""


def begin(
    family: Family, starts: PyTree, parameters: PyTree
) -> tuple[Progress, Record]:
    """All members before their first step, and their first iterates."""

    def one(x0: PyTree, own: PyTree) -> tuple[Progress, Record]:
        loop, x = _loop(family, x0, own)
        start, _ = loop.begin(x)
        return start, loop.record(start)

    return jax.vmap(one)(starts, parameters)


def last(family: Family, x0: PyTree, parameters: PyTree, now: Progress) -> Record:
    """The present iterates of members, in the user's PyTrees."""

    def one(x0: PyTree, own: PyTree, now: Progress) -> Record:
        return _loop(family, x0, own)[0].record(now)

    return jax.vmap(one)(x0, parameters, now)


def advance(
    family: Family, members: Members, stint: Stint
) -> tuple[Progress, Packed | None]:
    """Go on with all members; counters of steps and evaluations start anew.

    Slots have an axis behind that of members; each holds the last iterate before the
    next one is due, those never come to hold zero.
    """

    def one(
        x0: PyTree, own: PyTree, limit: Int[Array, ""], now: Progress
    ) -> tuple[Progress, Packed]:
        loop, _ = _loop(family, x0, own)
        update = loop.resume(now)
        now, _ = loop.advance(now, update, limit, length=1, stride=1)
        return now, pack(loop.record(now))

    step = partial(jax.vmap(one), members.x0, members.parameters, members.limit)
    rows, room = jnp.arange(len(members.limit)), stint.steps
    if stint.slots:
        room = jnp.minimum(room, stint.slots * stint.every - jnp.max(members.phase))

    def busy(now: tuple[Progress, Any, Any]) -> Bool[Array, ""]:
        progress, _, done = now
        going = goes_on(progress.result) & (progress.steps < members.limit)
        return (jnp.sum(going) > stint.fewest) & (done < room)

    def advanced(now: tuple[Progress, Any, Any]) -> tuple[Progress, Any, Any]:
        progress, slots, done = now
        progress, record = step(progress)
        if slots is not None:
            last = jnp.maximum(members.phase + progress.steps - 1, 0) // stint.every
            slots = jax.tree.map(
                lambda kept, new: kept.at[rows, last].set(new), slots, record
            )
        return progress, slots, done + 1

    none = jax.tree.map(
        jnp.zeros_like, (members.progress.steps, members.progress.evaluations)
    )
    start = eqx.tree_at(lambda p: (p.steps, p.evaluations), members.progress, none)
    slots = None
    if stint.slots:
        _, like = jax.eval_shape(step, start)
        slots = jax.tree.map(
            lambda s: jnp.zeros((s.shape[0], stint.slots, *s.shape[1:]), s.dtype), like
        )
    now, slots, _ = lax.while_loop(busy, advanced, (start, slots, jnp.int32(0)))
    return now, slots


def _loop(family: Family, x0: PyTree, own: PyTree) -> tuple[Loop, Flat]:
    return make_loop(family.one(own), family.optimizer, x0, family.stop)
