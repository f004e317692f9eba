"""Long runs that survive: saved as they go, resumed to the same bits.

In the folder of a run: `lock`, held while it runs; `records-0`, `records-1`, ..., the
iterates, each written once; `state-0` and `state-1`, the run between two steps, written
in turns, so that one is whole whatever happens to the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from physgrad.inverses.notes import note
from physgrad.loop.chunks import Chunks, Saved
from physgrad.names import package_version
from physgrad.results import CheckpointError
from physgrad.storage import (
    check_folder,
    from_json,
    load_folder,
    pack_arrays,
    save_folder,
    to_json,
    unpack_arrays,
)

# Seconds from one save to the next.
PERIOD = 5.0
RECORDS, STATE = "run-records", "run-state"


class Checkpoint:
    """The saves of one run, in a folder that is locked."""

    def __init__(self, folder: Path, identity: Mapping[str, str]):
        self.folder, self.identity = folder, dict(identity)
        self.saves, self.segments = 0, 0
        self.records = 0
        """Parts of the run's records that are saved."""
        self.last = time.monotonic()
        self.failed: OSError | None = None

    def restore(self, chunks: Chunks) -> None:
        """Put a run where its last save left it; a run without one begins.

        **Raises:** `CheckpointError` for saves that are broken, or of another run.
        """
        found = self._newest()
        if found is None:
            return
        number, document, arrays = found
        segments = [
            self._arrays(self.folder / f"records-{i}", RECORDS)
            for i in range(document["segments"])
        ]
        chunks.restore(Saved(document["run"], arrays, segments), str(self.folder))
        self.saves, self.segments = number + 1, document["segments"]
        self.records = len(chunks.records)

    def _newest(self) -> tuple[int, dict[str, Any], dict[str, np.ndarray]] | None:
        """The newest state that is whole: its number, document and arrays."""
        found, broken = [], []
        for place in ("state-0", "state-1"):
            if not (self.folder / place).exists():
                continue
            try:
                files = load_folder(self.folder / place, kind=STATE)
                name = str(self.folder / place / "state.json")
                document = from_json(files["state.json"], name=name)
                name = str(self.folder / place / "arrays.npz")
                arrays = unpack_arrays(files["arrays.npz"], name=name)
                found.append((document["number"], document, arrays))
            except (CheckpointError, KeyError) as error:
                broken.append(error)
        if broken and not found:
            raise CheckpointError(str(broken[0])) from broken[0]
        for error in broken:
            note(f"{error}; the run goes on from the save before")
        newest = max(found, key=lambda one: one[0], default=None)
        if newest is not None:
            self._check(newest[1]["identity"])
        return newest

    def _check(self, identity: Mapping[str, str]) -> None:
        keys = sorted({*identity, *self.identity})
        differing = [k for k in keys if identity.get(k) != self.identity.get(k)]
        if differing:
            told = [
                f"{key} {identity.get(key)} there, {self.identity.get(key)} here"
                if len(str(identity.get(key))) < 32
                else key
                for key in differing
            ]
            raise CheckpointError(
                f"{self.folder}: the checkpoint is of another run, which differs in "
                f"{', '.join(told)}; name another folder"
            )

    def _arrays(self, folder: Path, kind: str) -> dict[str, np.ndarray]:
        files = load_folder(folder, kind=kind)
        if "arrays.npz" not in files:
            raise CheckpointError(f"{folder}: arrays.npz is missing")
        return unpack_arrays(files["arrays.npz"], name=str(folder / "arrays.npz"))

    def save(self, chunks: Chunks, now: bool = False) -> None:
        """Save a run that has begun if it is time to, or `now`, or it has ended.

        A disk that fails is told of: the run goes on in memory, and the next save tries
        again.
        """
        due = now or time.monotonic() - self.last >= PERIOD
        if chunks.end is None or not (due or not chunks.goes_on):
            return
        try:
            self._save(chunks)
            self.failed = None
        except OSError as error:
            if self.failed is None or not chunks.goes_on:
                note(
                    f"{self.folder}: the run could not be saved: {error}; it goes on "
                    "in memory, and what was saved before is whole"
                )
            self.failed = error
        self.last = time.monotonic()

    def _save(self, chunks: Chunks) -> None:
        saved, segment = chunks.saved(self.records)
        if segment is not None:
            place = self.folder / f"records-{self.segments}"
            _write(place, RECORDS, {"arrays.npz": pack_arrays(segment)})
            self.segments += 1
            self.records = len(chunks.records)
        document = {
            "number": self.saves,
            "identity": self.identity,
            "segments": self.segments,
            "run": saved.document,
        }
        place = self.folder / f"state-{self.saves % 2}"
        files = {
            "state.json": to_json(document).encode(),
            "arrays.npz": pack_arrays(saved.arrays),
        }
        _write(place, STATE, files)
        self.saves += 1


def _write(place: Path, kind: str, files: Mapping[str, bytes]) -> None:
    save_folder(place, files, kind=kind, version=package_version(), force=True)


@contextlib.contextmanager
def opened(
    folder: str | os.PathLike[str], identity: Mapping[str, str]
) -> Iterator[Checkpoint]:
    """The checkpoint in a folder, which is locked for as long.

    **Raises:** `OSError` for a folder that cannot be written to or is in use by another
    process; `FileExistsError` for one that holds anything else.
    """
    place = Path(folder)
    if place.is_dir():
        names = {entry.name for entry in place.iterdir()}
        ours = {n for n in names if n == "lock" or n.lstrip(".").startswith(_OURS)}
        if names - ours:
            other = sorted(names - ours)[0]
            raise FileExistsError(
                f"{place} holds {other}, which is no checkpoint: name another folder"
            )
        if names and not {"state-0", "state-1"} & names:
            note(f"{place}: the first save was not finished; the run starts afresh")
    elif os.path.lexists(place):
        raise NotADirectoryError(f"{place} is a file, not a folder")
    place.mkdir(parents=True, exist_ok=True)
    with _locked(place):
        check_folder(place / "state-0", force=True)
        yield Checkpoint(place, identity)


_OURS = ("state-", "records-")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise BlockingIOError(
                f"{folder} is in use by process {lock.read().strip()}: wait for it, or "
                "name another folder"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield  # the lock goes with the file, also where the process is killed
