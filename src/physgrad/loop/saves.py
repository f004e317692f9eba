"""A state saved again and again, in turns: one save is whole, whatever happens.

In a folder: `lock`, held while it is in use; `state-0` and `state-1`, written in turns.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physgrad.inverses.notes import note
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

PLACES = ("state-0", "state-1")


class Save(NamedTuple):
    """What was saved last."""

    number: int
    document: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Saves:
    """The saves in a folder, all of one thing, by its identity."""

    def __init__(self, folder: Path, kind: str, identity: Mapping[str, str]):
        self.folder, self.kind, self.identity = folder, kind, dict(identity)
        self.count = 0
        """Saves so far; the next one's number."""

    def newest(self) -> Save | None:
        """The newest save that is whole.

        **Raises:** `CheckpointError` where all are broken, or it is of something else.
        """
        found, broken = [], []
        for place in PLACES:
            if not (self.folder / place).exists():
                continue
            try:
                found.append(self._read(self.folder / place))
            except (CheckpointError, KeyError) as error:
                broken.append(error)
        if broken and not found:
            raise CheckpointError(str(broken[0])) from broken[0]
        for error in broken:
            note(f"{error}; the run goes on from the save before")
        if not found:
            return None
        save, identity = max(found, key=lambda one: one[0].number)
        self._check(identity)
        self.count = save.number + 1
        return save

    def write(self, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        """Save, in place of the save before the last one (`OSError` of the disk)."""
        whole = {"number": self.count, "identity": self.identity, **document}
        files = {
            "state.json": to_json(whole).encode(),
            "arrays.npz": pack_arrays(arrays),
        }
        write_whole(self.folder / PLACES[self.count % 2], self.kind, files)
        self.count += 1

    def _read(self, place: Path) -> tuple[Save, Mapping[str, str]]:
        files = load_folder(place, kind=self.kind)
        document = from_json(files["state.json"], name=str(place / "state.json"))
        arrays = unpack_arrays(files["arrays.npz"], name=str(place / "arrays.npz"))
        return Save(document["number"], document, arrays), document["identity"]

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


def write_whole(place: Path, kind: str, files: Mapping[str, bytes]) -> None:
    """Write files as a whole, in place of what was there."""
    save_folder(place, files, kind=kind, version=package_version(), force=True)


@contextlib.contextmanager
def locked_folder(
    folder: str | os.PathLike[str], further: Iterable[str] = ()
) -> Iterator[Path]:
    """The folder of saves, made where there is none, and locked for as long.

    **Arguments:** `further`: how names of other files of ours begin.

    **Raises:** `OSError` for a folder that cannot be written to or is in use by another
    process; `FileExistsError` for one that holds anything else.
    """
    place, known = Path(folder), ("state-", *further)
    if place.is_dir():
        names = {entry.name for entry in place.iterdir()}
        ours = {n for n in names if n == "lock" or n.lstrip(".").startswith(known)}
        if names - ours:
            other = sorted(names - ours)[0]
            raise FileExistsError(
                f"{place} holds {other}, which is no checkpoint: name another folder"
            )
    elif os.path.lexists(place):
        raise NotADirectoryError(f"{place} is a file, not a folder")
    place.mkdir(parents=True, exist_ok=True)
    with _locked(place):
        check_folder(place / PLACES[0], force=True)
        yield place


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
