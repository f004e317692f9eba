"""A run in the making: compiled chunks of steps, their records and their cost."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from physgrad.inverses.settings import optional, whole_number
from physgrad.loop import compiled
from physgrad.loop.conclusion import Cost, conclude, trajectory_of
from physgrad.loop.diagnosis import not_finite_at_start
from physgrad.loop.iteration import Loop, Progress, Record, Update, make_loop
from physgrad.loop.reporting import Snapshot
from physgrad.loop.second_look import TRIES, beyond_saddle
from physgrad.loop.start import check_concrete, check_kinds, checked_start
from physgrad.loop.stopping import StopRule
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizer.packing import Packed
from physgrad.results import CheckpointError, Result
from physgrad.trajectory import Run, Seconds

# A run is cut into chunks of at most so many steps and bytes of records, so that its
# history need not be allocated before it exists.
LONGEST_CHUNK = 1_000_000
# A run that is saved has chunks of about so many seconds, from so many steps on.
PACE_SECONDS = 1.0
FIRST_PACE = 16
# One with a time limit, of less than this part of it.
PARTS_OF_LIMIT = 20
CHUNK_BYTES = 2**26


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


class Saved(NamedTuple):
    """A run between two steps, in what a file can hold."""

    document: dict[str, Any]
    """Numbers."""
    arrays: dict[str, np.ndarray]
    segments: list[dict[str, np.ndarray]]
    """Records, piece by piece."""


class Chunks:
    """A run in the making: compiled chunks, their records and their cost."""

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        x0: PyTree,
        num_steps: int,
        *,
        stop: StopRule,
        record_every: int | None,
        longest: int,
        paced: bool = False,
        time_limit: float | None = None,
    ):
        check_kinds(objective, optimizer, stop)
        check_concrete(objective, optimizer, x0, stop)
        self.num_steps = num_steps
        self.every = optional(whole_number("record_every", 1))(record_every)
        self.record_every = self.every or max(num_steps, 1)
        self.started, self.time_limit = time.monotonic(), time_limit
        self.pace = FIRST_PACE if paced else None
        """Steps that the next chunk may take at most, so that it does not last long."""
        self.pace_seconds = PACE_SECONDS
        if time_limit is not None:
            self.pace = 1
            self.pace_seconds = min(PACE_SECONDS, time_limit / PARTS_OF_LIMIT)
        # A chunk has `longest` steps at most, and a record after each `stride` of them;
        # where it is shorter than `record_every`, its record is kept when due.
        steps = min(self.num_steps, longest, LONGEST_CHUNK)
        self.stride = max(1, min(self.record_every, steps))
        self.length = -(-steps // self.stride)
        self.problem = objective, optimizer, checked_start(x0), stop
        if objective.bounds is not None:
            objective.bounds.check(self.problem[2])
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
        self.saddles = 0
        """How many were left."""

    def _limit(self) -> int:
        """Steps that the next chunk may do."""
        limit = min(self.num_steps - self.done, self.length * self.stride)
        if self.stride < self.record_every:  # up to the next record that is due
            limit = min(limit, self.record_every - self.done % self.record_every)
        if self.pace is not None:  # whole strides, since each ends with a record
            limit = min(limit, max(1, self.pace // self.stride) * self.stride)
        return limit

    def program(self, limit: int) -> tuple[Any, ...]:
        """The function of a chunk of so many steps at most, and its arguments."""
        common = (self.problem, np.asarray(limit, np.int32), (self.length, self.stride))
        if self.end is None:
            return _first_chunk, *common
        return _next_chunk, *common, self.end

    def advance(self, limit: int | None = None) -> None:
        """Run the next chunk, of so many steps at most, and keep its records."""
        started = time.perf_counter()
        limit = self._limit() if limit is None else limit
        out, compile_seconds = compiled.run(*self.program(limit))
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
        took = time.perf_counter() - started - compile_seconds
        self.run_seconds += took
        if self.pace is not None:
            slower = took > 2 * self.pace_seconds
            quicker = took < self.pace_seconds / 2
            self.pace = max(1, self.pace * 2 if quicker else self.pace // (1 + slower))

    def leaves_saddle(self, run: Run) -> bool:
        """Go on beside the saddle that a run has come to rest on; whether it does.

        A step like any other, for methods that have no more to say of a step.
        """
        objective, optimizer, _, stop = self.problem
        before, told = self.end, self.records[0]
        if before is None or self.done >= self.num_steps or self._late:
            return False
        converged = Result.from_code(int(before.result)) is Result.converged
        saddle = converged and run.result is Result.stalled  # by its Hessian alone
        silent = told.target is None and told.certificate is None
        x = beyond_saddle(objective, self.x) if saddle and silent else None
        if x is None:
            return False
        problem, limit = (objective, optimizer, x, stop), np.asarray(0, np.int32)
        sizes = self.length, self.stride
        out, seconds = compiled.run(_first_chunk, problem, limit, sizes)
        self.x, end, _, first = out
        self.end = eqx.tree_at(lambda now: now.first_loss, end, before.first_loss)
        self.done += 1
        record = jax.tree.map(lambda leaf: np.asarray(leaf)[None], first)
        self.last = record
        if self.done % self.record_every == 0:
            self.records.append(record)
            self.steps.append(np.array([self.done]))
        self.evaluations.update({"forward": 2 * TRIES + 1, "hessian": 1})
        self.compile_seconds += seconds
        self.compilations += seconds > 0
        self.saddles += 1
        return True

    @property
    def goes_on(self) -> bool:
        """Whether there is anything left to be done."""
        return self.end is None or (self._unfinished and not self._late)

    @property
    def _unfinished(self) -> bool:
        if self.end is None:
            return True
        alive = Result.from_code(int(self.end.result)).goes_on
        return alive and self.done < self.num_steps

    @property
    def _late(self) -> bool:
        limit = self.time_limit
        return limit is not None and time.monotonic() - self.started >= limit

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

    def saved(self, known: int) -> tuple[Saved, dict[str, np.ndarray] | None]:
        """The run as it is, and the records beyond the first `known`."""
        document = {
            "done": self.done,
            "evaluations": dict(self.evaluations),
            "seconds": [self.compile_seconds, self.run_seconds],
            "compilations": self.compilations,
            "saddles": self.saddles,
        }
        now = {"end": self.end, "x": self.x, "last": self.last}
        arrays = {
            f"{name}-{i}": _plain(leaf)
            for name, tree in now.items()
            for i, leaf in enumerate(jax.tree.leaves(tree))
        }
        parts = self.records[known:]
        if not known:
            parts[0] = jax.tree.map(lambda leaf: leaf[None], parts[0])
        if not parts:
            return Saved(document, arrays, []), None
        segment = {"steps": np.concatenate(self.steps[known:])}
        columns = zip(*map(jax.tree.leaves, parts), strict=True)
        segment |= {f"record-{i}": np.concatenate(c) for i, c in enumerate(columns)}
        return Saved(document, arrays, []), segment

    def restore(self, saved: Saved, name: str) -> None:
        """Go back to where a run was saved; `name` is that of its place.

        **Raises:** `CheckpointError` for arrays of another shape, or missing ones.
        """
        out, compile_seconds = compiled.run(*self.program(0))
        self.x, self.end, records, first = out
        (first,) = jax.tree.map(np.asarray, (first,))
        like = jax.tree.map(np.asarray, records).unpack()
        get = partial(_refilled, arrays=saved.arrays, name=name)
        self.end, self.x = get("end", self.end), get("x", self.x)
        self.last = None
        if any(key.startswith("last-") for key in saved.arrays):
            self.last = get("last", jax.tree.map(lambda leaf: leaf[:1], like))
        for number, segment in enumerate(saved.segments):
            count = len(segment.get("steps", ()))
            part = _refilled("record", _rows_like(like, count), segment, name)
            steps = segment["steps"]
            if not number:
                self.records.append(jax.tree.map(lambda leaf: leaf[0], part))
                self.steps = [steps[:1]]
                part, steps = jax.tree.map(lambda leaf: leaf[1:], (part, steps))
            self.records.append(part)
            self.steps.append(steps)
        document = saved.document
        self.done, self.saddles = document["done"], document["saddles"]
        self.evaluations.update(document["evaluations"])
        self.compile_seconds, self.run_seconds = document["seconds"]
        self.compile_seconds += compile_seconds
        self.compilations = document["compilations"] + (compile_seconds > 0)

    def finish(self) -> Run:
        """The run as it is, with its message."""
        steps, records = np.concatenate(self.steps), self.records
        if self.last is not None and steps[-1] != self.done:
            records = [*records, self.last]  # it was not due, but is the last one
            steps = np.append(steps, self.done)
        first, *chunks = records
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
        run = conclude(
            (objective, optimizer, stop),
            self.x,
            on_host(self.end),
            self.done,
            trajectory_of(names, spaces, losses, steps, targets, certificates),
            Cost(dict(self.evaluations), seconds, self.compilations),
        )
        notes = []
        if self.saddles:
            notes.append(f"left {self.saddles} saddle{'s' * (self.saddles > 1)}")
        if self._unfinished and self._late:
            done = f"after {self.done} of {self.num_steps} steps"
            notes.append(f"time_limit ended it {done}")
        message = "; ".join(filter(None, [*notes, run.message]))
        return dataclasses.replace(run, message=message)


def _plain(leaf: Any) -> np.ndarray:
    """A leaf as a file holds it: keys of random numbers by their data."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def _rows_like(tree: PyTree, count: int) -> PyTree:
    return jax.tree.map(
        lambda leaf: np.empty((count, *leaf.shape[1:]), leaf.dtype), tree
    )


def _refilled(
    key: str, like: PyTree, arrays: Mapping[str, np.ndarray], name: str
) -> PyTree:
    """A tree like another, of saved arrays."""
    leaves, structure = jax.tree.flatten(like)
    filled = []
    for i, leaf in enumerate(leaves):
        array, expected = arrays.get(f"{key}-{i}"), _plain(leaf)
        got = None if array is None else (array.shape, array.dtype)
        if array is None or got != (expected.shape, expected.dtype):
            raise CheckpointError(
                f"{name}: array {key}-{i} must be {expected.dtype} "
                f"{list(expected.shape)}, got {got and (str(got[1]), list(got[0]))}"
            )
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            array = jax.random.wrap_key_data(
                jnp.asarray(array), impl=jax.random.key_impl(leaf)
            )
        filled.append(array)
    return jax.tree.unflatten(structure, filled)


def on_host(end: Any) -> Progress:
    """The end of a chunk, but for the memory of the optimizer: NumPy may not have its
    like, such as keys of random numbers."""
    bare = eqx.tree_at(lambda p: p.memory, end, None, is_leaf=lambda leaf: leaf is None)
    return jax.tree.map(np.asarray, bare)


def _not_finite(end: Progress) -> bool:
    return not all(np.all(np.isfinite(v)) for v in (*end.state.spaces, end.loss))
