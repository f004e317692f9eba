"""Results to save, and files of a user beside them."""

import os
from collections.abc import Callable
from pathlib import Path

from physgrad import storage
from physgrad.storage import (
    load_folder,
    save_folder,
)

SOURCE = str(Path(storage.__file__).parents[1])
USER_FILES = {"notes.txt": b"mine", "plots/deep/loss.png": b"picture"}


def results(number: int) -> dict[str, bytes]:
    """Two files that agree only within one save."""
    return {"x.npz": b"%d" % number * 99, "run.json": b"%d" % number}


def save(folder: Path, number: int, force: bool = True) -> None:
    save_folder(folder, results(number), kind="run", version="0.1", force=force)


def number_in(folder: Path) -> int:
    """The save that `folder` holds; fails unless it is whole."""
    files = load_folder(folder, kind="run")
    assert files == results(int(files["run.json"]))
    return int(files["run.json"])


def add_user_files(folder: Path) -> None:
    for name, data in USER_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def assert_user_files(folder: Path) -> None:
    assert {name: (folder / name).read_bytes() for name in USER_FILES} == USER_FILES


def entries(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def fail(number: int) -> Callable[..., None]:
    """A system call that fails with this error number."""

    def call(*args, **keywords):
        raise OSError(number, os.strerror(number))

    return call
