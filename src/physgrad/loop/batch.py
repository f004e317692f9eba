"""Many runs in the making: a bucket of those that go on, and what is kept of all."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from physgrad.loop import bucket, compiled
from physgrad.loop.bucket import Family, Members, Stint
from physgrad.loop.chunks import CHUNK_BYTES, LONGEST_CHUNK, on_host
from physgrad.loop.conclusion import Cost, conclude, trajectory_of
from physgrad.loop.diagnosis import not_finite_at_start
from physgrad.loop.iteration import Progress, Record
from physgrad.loop.reporting import Snapshot, steps_between_looks
from physgrad.loop.start import non_finite_leaf
from physgrad.results import LAST_CODE_THAT_GOES_ON, Result
from physgrad.trajectory import Run, Runs, Seconds


@dataclasses.dataclass
class _Part:
    """A bucket of one device."""

    rows: np.ndarray
    """The member of each row, -1 where one only fills it."""
    members: Members
    device: Any


class Batch:
    """Runs in the making: the buckets of those that go on, and what is kept of all."""

    def __init__(
        self,
        family: Family,
        starts: PyTree,
        parameters: PyTree,
        num_steps: int,
        every: int | None,
        *,
        least: int,
        devices: Sequence[Any] | None,
    ):
        self.family, self.starts, self.parameters = family, starts, parameters
        self.num_steps, self.every = num_steps, every
        self.least, self.devices = least, devices
        """The smallest bucket of a device, and the devices; None for JAX's own."""
        self.compile_seconds, self.run_seconds, self.compilations = 0.0, 0.0, 0
        self.count = len(jax.tree.leaves(starts)[0])
        self.done = np.zeros(self.count, np.int64)
        self.kept: list[tuple[np.ndarray, np.ndarray, np.ndarray, Record]] = []
        """Members, their first slots and those after their last, slots; by stint."""
        self.parts = self._begun()
        self.evaluations = {
            kind: np.asarray(counts, np.int64)
            for kind, counts in vars(self.ends.evaluations).items()
        }

    def _begun(self) -> list[_Part]:
        """The buckets before the first step; sets the first iterates, and the ends."""
        dealt = self._dealt(np.arange(self.count), exact=self.least == 1)
        problems = [
            _on(device, _rows((self.starts, self.parameters), filled))
            for _, filled, device in dealt
        ]
        begun = self._run(bucket.begin, [(self.family, *own) for own in problems])
        self.first = self._merged(dealt, [first for _, first in begun])
        self.ends = self._merged(dealt, [on_host(now) for now, _ in begun])
        """Of all members, as far as they went, but for counters."""
        parts = []
        for (rows, _, device), own, (now, _) in zip(
            dealt, problems, begun, strict=True
        ):
            none = np.zeros(len(rows), np.int32)
            parts.append(_Part(rows, Members(own[0], own[1], none, none, now), device))
        return parts

    def _merged(self, dealt: list[Any], trees: list[PyTree]) -> PyTree:
        """The rows of all buckets as those of the members."""

        def merged(*leaves: Any) -> np.ndarray:
            whole = np.zeros((self.count, *leaves[0].shape[1:]), leaves[0].dtype)
            for (rows, *_), leaf in zip(dealt, leaves, strict=True):
                whole[rows[rows >= 0]] = np.asarray(leaf)[rows >= 0]
            return whole

        return jax.tree.map(merged, *trees)

    def _dealt(
        self, members: np.ndarray, exact: bool
    ) -> list[tuple[np.ndarray, np.ndarray, Any]]:
        """Members dealt out to the devices, in buckets of a power of two or `exact`.

        For each: the members of its rows, -1 where one only fills it; the place of each
        row in `members`, a copy of another one where it only fills it; the device.
        """
        devices, count = self.devices or [None], len(members)
        size = -(-count // len(devices))
        if not exact and count:
            size = max(self.least, 1 << (size - 1).bit_length())
        dealt = []
        for place, device in enumerate(devices[: max(count, 1)]):
            own = np.arange(count)[place :: len(devices)]
            filled = np.resize(own, size)  # copies, which take no step
            rows = np.where(np.arange(size) < len(own), members[filled], -1)
            dealt.append((rows, filled, device))
        return dealt

    def _going(self, part: _Part) -> np.ndarray:
        """The rows of a bucket whose members go on."""
        members = part.rows
        alive = self.ends.result[members] <= LAST_CODE_THAT_GOES_ON
        return np.flatnonzero(
            (members >= 0) & alive & (self.done[members] < self.num_steps)
        )

    @property
    def going(self) -> int:
        """How many members go on."""
        return sum(len(self._going(part)) for part in self.parts)

    @property
    def goes_on(self) -> bool:
        """Whether there is anything left to be done."""
        return self.count > 0 and self.going > 0

    def snapshot(self) -> Snapshot:
        """How far the batch is: members that have ended, and the least loss."""
        losses = self.ends.loss[np.isfinite(self.ends.loss)]
        least = float(np.min(losses, initial=np.inf))
        return Snapshot(self.count - self.going, self.count, least, None)

    def advance(self, watched: bool) -> None:
        """Run the buckets until half of each has ended, or to show progress."""
        rows = sum(len(part.rows) for part in self.parts)
        if 2 * self.going <= rows and rows > self.least * len(self.parts):
            self._pack()
        steps = steps_between_looks(self.num_steps) if watched else LONGEST_CHUNK
        busy = [part for part in self.parts if len(self._going(part))]
        calls = [self._call(part, min(steps, self.num_steps)) for part in busy]
        for part, (now, slots) in zip(
            busy, self._run(bucket.advance, calls), strict=True
        ):
            self._keep(part, now, slots)

    def _call(self, part: _Part, steps: int) -> tuple[Family, Members, Stint]:
        """The arguments of a bucket's next stint."""
        going, size = self._going(part), len(part.rows)
        limit, phase = np.zeros((2, size), np.int32)
        limit[going] = np.minimum(
            self.num_steps - self.done[part.rows[going]], LONGEST_CHUNK
        )
        slots, every = 0, 1
        if self.every is not None:
            every = min(self.every, self.num_steps)
            phase[going] = self.done[part.rows[going]] % every
            one = jax.tree.leaves((self.first.spaces, self.first.loss))
            weight = size * sum(leaf[:1].nbytes for leaf in one)
            slots = max(1, min(1 + steps // every, CHUNK_BYTES // weight))
        fewest = size // 2 if size > self.least and len(going) > size // 2 else 0
        counters = _on(part.device, {"limit": limit, "phase": phase})
        part.members = part.members._replace(**counters)
        return self.family, part.members, Stint(steps, fewest, slots, every)

    def _keep(self, part: _Part, progress: Progress, slots: Any) -> None:
        """Note how far the members of a bucket have come."""
        part.members = part.members._replace(progress=progress)
        now, real, going = on_host(progress), part.rows >= 0, self._going(part)
        members, stepped = part.rows[real], part.rows[going]
        before = self.done[stepped]
        self.done[members] += now.steps[real]
        for kind, counts in vars(now.evaluations).items():
            self.evaluations[kind][members] += counts[real]
        if slots is not None and self.every is not None:
            slots = jax.tree.map(np.asarray, slots).unpack()
            slots = jax.tree.map(lambda leaf: leaf[going], slots)
            after = -(-self.done[stepped] // self.every)
            self.kept.append((stepped, before // self.every, after, slots))

        def store(kept: np.ndarray, new: np.ndarray) -> None:
            kept[members] = new[real]

        jax.tree.map(store, self.ends, now)

    def _pack(self) -> None:
        """Deal those that go on out to the devices again."""
        going = [self._going(part) for part in self.parts]
        members = [
            _rows(part.members, own)
            for part, own in zip(self.parts, going, strict=True)
        ]
        rows = [part.rows[own] for part, own in zip(self.parts, going, strict=True)]
        every = jax.tree.map(_joined, *members)
        self.parts = [
            _Part(own, _on(device, _rows(every, filled)), device)
            for own, filled, device in self._dealt(np.concatenate(rows), exact=False)
        ]

    def _run(self, function: Callable, calls: list[tuple[Any, ...]]) -> list[Any]:
        started = time.perf_counter()
        out, compile_seconds = compiled.run_each(function, calls)
        self.compilations += compile_seconds > 0
        self.compile_seconds += compile_seconds
        self.run_seconds += time.perf_counter() - started - compile_seconds
        return out

    def finish(self) -> Runs:
        """The runs, each with its own result."""
        shared = self.family, self.starts, self.parameters
        (last,) = self._run(bucket.last, [(*shared, self.ends)])
        last = jax.tree.map(np.asarray, last)
        every = self.every or max(self.num_steps, 1)
        entries = 1 + -(-self.done // every)
        longest = int(np.max(entries, initial=1))
        spaces, losses = jax.tree.map(
            lambda start, end, *slots: self._filled(longest, end, slots, start),
            (self.first.spaces, self.first.loss),
            (last.spaces, last.loss),
            *((kept.spaces, kept.loss) for *_, kept in self.kept),
        )
        targets, found = jax.tree.map(
            lambda end, *slots: self._filled(longest - 1, end, slots),
            (last.target, last.certificate),
            *((kept.target, kept.certificate) for *_, kept in self.kept),
        )
        steps = np.minimum(every * np.arange(longest), self.done[:, None])
        names = self._names()
        iterates = spaces, losses, steps, targets, found
        return Runs(
            last.spaces[names[0]],
            self.ends.result,
            entries,
            trajectory_of(names, *iterates),
            self.evaluations,
            Seconds(self.compile_seconds, self.run_seconds),
            self.done,
            self.compilations,
            partial(self._member, names, iterates, entries),
        )

    def _names(self) -> tuple[str, ...]:
        """The names of the spaces, first to last."""
        like = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), self.parameters
        )
        return self.family.one(like).simulator.space_names

    def _filled(
        self, entries: int, end: np.ndarray, slots: Any, start: Any = None
    ) -> np.ndarray:
        """All iterates of all members of one array; the last is repeated."""
        out = np.repeat(end[:, None], entries, axis=1)
        offset = 0 if start is None else 1
        if start is not None:
            out[:, 0] = start
        for (members, first, after, _), kept in zip(self.kept, slots, strict=True):
            for slot in range(int(np.max(after - first, initial=0))):
                there = first + slot < after
                places = offset + first[there] + slot
                out[members[there], places] = kept[there, slot]
        return out

    def _member(
        self, names: tuple[str, ...], iterates: Any, entries: np.ndarray, member: int
    ) -> Run:
        """The run of one member, with its message."""

        def own(tree: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf: leaf[member], tree)

        count, (spaces, losses, steps, targets, found) = entries[member], own(iterates)
        spaces, losses, steps = jax.tree.map(
            lambda leaf: leaf[:count], (spaces, losses, steps)
        )
        targets, found = jax.tree.map(lambda leaf: leaf[: count - 1], (targets, found))
        x = jax.tree.map(lambda points: jnp.asarray(points[-1]), spaces[names[0]])
        family, done = self.family, int(self.done[member])
        evaluations = {kind: int(n) for kind, n in own(self.evaluations).items()}
        seconds = Seconds(self.compile_seconds, self.run_seconds)
        cost = Cost(evaluations, seconds, self.compilations)
        way = trajectory_of(names, spaces, losses, steps, targets, found)
        try:
            objective = family.one(own(self.parameters))
        except ValueError as error:  # values that are refused where they are known
            result = Result.from_code(int(self.ends.result[member]))
            return Run(x, result, str(error), way, *cost[:2], done, cost.compilations)
        problem = objective, family.optimizer, family.stop
        run = conclude(problem, x, own(self.ends), done, way, cost)
        if run.result is Result.non_finite and not (done or np.isfinite(losses[0])):
            message = non_finite_leaf(x, "x0") or not_finite_at_start(objective, x)
            run = dataclasses.replace(run, message=message)
        return run


def _on(device: Any, tree: PyTree) -> PyTree:
    """A tree on a device; None leaves it where it is."""
    return tree if device is None else jax.device_put(tree, device)


def _rows(tree: PyTree, rows: np.ndarray) -> PyTree:
    """Some rows of a tree, on the host if they may leave JAX."""
    return jax.tree.map(
        lambda leaf: leaf[rows] if _is_key(leaf) else np.asarray(leaf)[rows], tree
    )


def _joined(*leaves: Any) -> Any:
    """The rows of several leaves."""
    if len(leaves) == 1:
        return leaves[0]
    return (jnp if _is_key(leaves[0]) else np).concatenate(leaves)


def _is_key(leaf: Any) -> bool:
    """Whether a leaf is of keys of random numbers, which NumPy does not have."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
