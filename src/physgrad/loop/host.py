"""The host side of the loop: checks, chunks, progress, messages, seconds."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from physgrad.inverses.settings import brief, whole_number
from physgrad.loop import compiled
from physgrad.loop.conclusion import Cost, conclude, trajectory_of
from physgrad.loop.diagnosis import not_finite_at_start
from physgrad.loop.iteration import Loop, Progress, Record, Update, make_loop
from physgrad.loop.reporting import Snapshot, reporter, wants_bar
from physgrad.loop.start import check_concrete, check_kinds, checked_start
from physgrad.loop.stopping import StopRule
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizer.packing import Packed
from physgrad.results import Result, RunError
from physgrad.trajectory import Run, Seconds

# A watched run (bar or callback) is cut into so many chunks; any run into chunks of at
# most so many steps and bytes of records, so that its history need not be allocated
# before it exists.
CHUNKS = 50
LONGEST_CHUNK = 1_000_000
CHUNK_BYTES = 2**26


def minimize(
    objective: Objective,
    optimizer: Optimizer,
    x0: PyTree,
    num_steps: int = 100,
    *,
    stop: StopRule = None,
    record_every: int = 1,
    progress: bool | None = None,
    callback: Callable[[Snapshot], None] | None = None,
    throw: bool = False,
) -> Run:
    """Run an optimizer on L(P(x)) from x0, and keep its iterates in every space.

    A new start, step size or target of the same shape is not compiled again; fresh
    functions (a lambda written inside a loop) and Optax transformations are. As with
    `jax.jit`, what a function reads from outside (a global, an attribute) keeps the
    value of its first run: change numbers through arrays of modules.

    **Arguments:**

    - `x0`: PyTree of arrays; whole numbers become floats.
    - `num_steps`: done exactly, unless `stop` holds before or the run fails.
    - `stop`: None; a `Stop` on loss, gradient or step; or a function of `Reached` that
        returns a bool. A run that it ends is `converged`.
    - `record_every`: record each so-manieth iterate, and always the first and last.
    - `progress`: a bar on stderr, on a terminal only; None: for more than 1,000 steps.
    - `callback`: called with a `Snapshot` about fifty times during the run.
    - `throw`: raise `RunError`, which carries the run, where the run fails.

    **Returns:** a `Run`. A run that fails says so by `run.result` and `run.message`,
    and ends at its last good iterate.

    **Raises:** `ValueError`, `TypeError` for wrong arguments, before anything runs;
    `RunError` if `throw`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> run = pg.minimize(objective, pg.GradientDescent(0.25), jnp.array([8.0]), 3)
    >>> run, run.trajectory["z"].tolist()
    (Run(completed, loss=1, num_steps=3), [[8.0], [4.0], [2.0], [1.0]])
    """
    num_steps = whole_number("num_steps", 0)(num_steps)
    shown = wants_bar(progress, num_steps)
    watched = callback is not None or shown
    chunks = _Chunks(
        objective,
        optimizer,
        x0,
        num_steps,
        stop=stop,
        record_every=record_every,
        watched=watched,
    )
    if not (callback is None or callable(callback)):
        raise TypeError(
            f"callback must be a function of a Snapshot, got {brief(callback)}"
        )
    with reporter(shown) as show:
        while chunks.goes_on:
            chunks.advance()
            show(chunks.snapshot())
            if callback is not None:
                callback(chunks.snapshot())
    run = chunks.finish()
    if throw and not run.ok:
        raise RunError(run)
    return run


def _first_chunk(
    problem: tuple[Objective, Optimizer, PyTree, StopRule],
    limit: Any,
    sizes: tuple[int, int],
) -> tuple[PyTree, Progress, Packed, Record]:
    loop, x = make_loop(*problem)
    start, update = loop.begin(x)
    return *_chunk(loop, start, update, limit, sizes), loop.record(start)


def _next_chunk(
    problem: tuple[Objective, Optimizer, PyTree, StopRule],
    limit: Any,
    sizes: tuple[int, int],
    start: Progress,
) -> tuple[PyTree, Progress, Packed]:
    loop, _ = make_loop(*problem)
    # counters start anew, and are summed up on the host, where they cannot overflow
    none = jax.tree.map(jnp.zeros_like, (start.steps, start.evaluations))
    start = eqx.tree_at(lambda p: (p.steps, p.evaluations), start, none)
    return _chunk(loop, start, loop.resume(start), limit, sizes)


def _chunk(
    loop: Loop, start: Progress, update: Update, limit: Any, sizes: tuple[int, int]
) -> tuple[PyTree, Progress, Packed]:
    """At most `limit` steps; fewer where their records would be too large."""
    length, stride = sizes
    record = jax.eval_shape(lambda: loop.record(start))
    weight = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(record))
    length = max(1, min(length, CHUNK_BYTES // weight))
    limit = jnp.minimum(limit, length * stride)
    end, records = loop.advance(start, update, limit, length=length, stride=stride)
    return loop.unravel(end.state.x), end, records


class _Chunks:
    """A run in the making: compiled chunks, their records and their cost."""

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        x0: PyTree,
        num_steps: int,
        *,
        stop: StopRule,
        record_every: int,
        watched: bool,
    ):
        check_kinds(objective, optimizer, stop)
        check_concrete(objective, optimizer, x0, stop)
        self.num_steps = num_steps
        self.record_every = whole_number("record_every", 1)(record_every)
        # A chunk records `length` iterates at most, one after each `stride` steps; if a
        # watched chunk is shorter than `record_every`, its record is kept where due.
        steps = min(-(-self.num_steps // (CHUNKS if watched else 1)), LONGEST_CHUNK)
        self.stride = max(1, min(self.record_every, steps))
        self.length = -(-steps // self.stride)
        self.problem = objective, optimizer, checked_start(x0), stop
        self.x = self.problem[2]
        self.end: Progress | None = None
        self.records: list[Record] = []
        """The start without an axis, then those of each chunk, with a leading one."""
        self.last: Record | None = None
        """That of the last step, with a leading axis."""
        self.done = 0
        self.steps = [np.zeros(1, int)]
        """Number of steps before each record, by chunk."""
        self.evaluations: collections.Counter[str] = collections.Counter()
        self.compile_seconds, self.run_seconds, self.compilations = 0.0, 0.0, 0

    def program(self) -> tuple[Any, ...]:
        """The function of the next chunk, and its arguments."""
        limit = min(self.num_steps - self.done, self.length * self.stride)
        if self.stride < self.record_every:  # up to the next record that is due
            limit = min(limit, self.record_every - self.done % self.record_every)
        common = (self.problem, np.asarray(limit, np.int32), (self.length, self.stride))
        if self.end is None:
            return _first_chunk, *common
        return _next_chunk, *common, self.end

    def advance(self) -> None:
        """Run the next chunk and keep its records."""
        started = time.perf_counter()
        out, compile_seconds = compiled.run(*self.program())
        self.x, self.end, records, *first = out
        end = on_host(self.end)
        records, first = jax.tree.map(np.asarray, (records, first))
        if first and _not_finite(end):
            raise ValueError(not_finite_at_start(self.problem[0], self.x))
        self.records += first
        self._keep(records.unpack(), int(end.steps))
        self.evaluations.update(
            {kind: int(count) for kind, count in vars(end.evaluations).items()}
        )
        self.compilations += compile_seconds > 0
        self.compile_seconds += compile_seconds
        self.run_seconds += time.perf_counter() - started - compile_seconds

    @property
    def goes_on(self) -> bool:
        """Whether there is anything left to be done."""
        if self.end is None:
            return True
        alive = Result.from_code(int(self.end.result)).goes_on
        return alive and self.done < self.num_steps

    def snapshot(self) -> Snapshot:
        """The present iterate, for whoever watches."""
        loss = float("nan") if self.end is None else float(self.end.loss)
        return Snapshot(self.done, self.num_steps, loss, self.x)

    def _keep(self, records: Record, steps: int) -> None:
        """Append the valid part of a chunk's records."""
        self.done += steps
        valid = -(-steps // self.stride)
        if valid:
            self.last = jax.tree.map(lambda a: a[valid - 1 : valid], records)
        if self.stride < self.record_every:
            valid = int(steps > 0 and self.done % self.record_every == 0)
        numbers = self.stride * np.arange(1, valid + 1)
        self.records.append(jax.tree.map(lambda a: a[:valid], records))
        self.steps.append(self.done - steps + np.minimum(numbers, steps))

    def finish(self) -> Run:
        """The run, with its message."""
        steps = np.concatenate(self.steps)
        if self.last is not None and steps[-1] != self.done:
            self.records.append(self.last)  # it was not due, but is the last one
            steps = np.append(steps, self.done)
        first, *chunks = self.records
        spaces, losses = jax.tree.map(
            lambda start, *later: np.concatenate([start[None], *later]),
            (first.spaces, first.loss),
            *((chunk.spaces, chunk.loss) for chunk in chunks),
        )
        targets, certificates = jax.tree.map(
            lambda *parts: np.concatenate(parts),
            *((chunk.target, chunk.certificate) for chunk in chunks),
        )
        objective, optimizer, _, stop = self.problem
        names = objective.simulator.space_names
        seconds = Seconds(self.compile_seconds, self.run_seconds)
        return conclude(
            (objective, optimizer, stop),
            self.x,
            on_host(self.end),
            self.done,
            trajectory_of(names, spaces, losses, steps, targets, certificates),
            Cost(dict(self.evaluations), seconds, self.compilations),
        )


def on_host(end: Any) -> Progress:
    """The end of a chunk, but for the memory of the optimizer: NumPy may not have its
    like, such as keys of random numbers."""
    bare = eqx.tree_at(lambda p: p.memory, end, None, is_leaf=lambda leaf: leaf is None)
    return jax.tree.map(np.asarray, bare)


def _not_finite(end: Progress) -> bool:
    return not all(np.all(np.isfinite(v)) for v in (*end.state.spaces, end.loss))
