"""Long runs that survive: saved as they go, resumed to the same bits.

In the folder of a run, beside what `saves` writes: `records-0`, `records-1`, ..., the
iterates, each written once.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from physgrad.inverses.notes import note
from physgrad.loop.chunks import Chunks, Saved
from physgrad.loop.saves import PLACES, Saves, locked_folder, write_whole
from physgrad.results import CheckpointError
from physgrad.storage import load_folder, pack_arrays, unpack_arrays

# Seconds from one save to the next.
PERIOD = 5.0
RECORDS, STATE = "run-records", "run-state"


class Checkpoint:
    """The saves of one run, in a folder that is locked."""

    def __init__(self, folder: Path, identity: Mapping[str, str]):
        self.folder, self.states = folder, Saves(folder, STATE, identity)
        self.segments = 0
        self.records = 0
        """Parts of the run's records that are saved."""
        self.last = time.monotonic()
        self.failed: OSError | None = None

    def restore(self, chunks: Chunks) -> None:
        """Put a run where its last save left it; a run without one begins.

        **Raises:** `CheckpointError` for saves that are broken, or of another run.
        """
        found = self.states.newest()
        if found is None:
            return
        document = found.document
        segments = [
            self._arrays(self.folder / f"records-{i}", RECORDS)
            for i in range(document["segments"])
        ]
        saved = Saved(document["run"], found.arrays, segments)
        chunks.restore(saved, str(self.folder))
        self.segments = document["segments"]
        self.records = len(chunks.records)

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
            write_whole(place, RECORDS, {"arrays.npz": pack_arrays(segment)})
            self.segments += 1
            self.records = len(chunks.records)
        document = {"segments": self.segments, "run": saved.document}
        self.states.write(document, saved.arrays)


@contextlib.contextmanager
def opened(
    folder: str | os.PathLike[str], identity: Mapping[str, str]
) -> Iterator[Checkpoint]:
    """The checkpoint in a folder, which is locked for as long.

    **Raises:** as `locked_folder`.
    """
    begun = os.path.isdir(folder) and os.listdir(folder)
    with locked_folder(folder, further=("records-",)) as place:
        if begun and not any((place / name).exists() for name in PLACES):
            note(f"{place}: the first save was not finished; the run starts afresh")
        yield Checkpoint(place, identity)
