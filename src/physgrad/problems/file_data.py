"""Data of a problem file: numbers, or files in its folder."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from physgrad.inverses.settings import brief
from physgrad.names import nearest

SUFFIXES = (".csv", ".npy", ".npz")
MOST_BYTES = 2**28
"""Of a file, and of what it holds."""


def numbers(value: Any, folder: Path) -> np.ndarray:
    """The numbers of a value: themselves, or those of a file, "a.csv", "a.npz:key".

    **Raises:** `ValueError` for what is no number, a list that is ragged, a file of
    another kind, outside of the folder, too large or broken; `OSError` for one that
    cannot be read.

    >>> numbers([[1, 2], [3, 4]], Path()).shape
    (2, 2)
    """
    if isinstance(value, str):
        return from_file(value, folder)
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.asarray(None)
    if found.dtype.kind not in "iuf":
        raise ValueError(
            "must be a number, a list of numbers in which all rows are alike, or a "
            f"file ({', '.join(SUFFIXES)}), got {brief(value)}"
        )
    return found.astype(float)


def names_file(value: Any) -> bool:
    """Whether a value is text that names a data file."""
    return isinstance(value, str) and _parts(value)[0].lower().endswith(SUFFIXES)


def from_file(text: str, folder: Path) -> np.ndarray:
    """The array in a file of the folder."""
    name, key = _parts(text)
    if not name.lower().endswith(SUFFIXES):
        known = ", ".join(SUFFIXES)
        raise ValueError(f"data files end with {known}, got {brief(text)}")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"data files lie in the folder of the file, got {brief(text)}")
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{name} is no file")
    if size > MOST_BYTES:
        raise ValueError(f"{name} has {size:,} bytes; up to {MOST_BYTES:,} are read")
    content = path.read_bytes()
    try:
        found = _array(content, name, key)
    except ValueError:
        raise
    except Exception as error:  # zipfile and NumPy raise ten types on broken bytes
        raise ValueError(f"{name} cannot be read: {error}") from error
    if found.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold real numbers, got {found.dtype}")
    if not found.size:
        raise ValueError(f"{name} is empty")
    return found.astype(float)


def _parts(text: str) -> tuple[str, str]:
    """A file and the key in it."""
    name, colon, key = text.rpartition(":")
    return (name, key) if colon and name.lower().endswith(".npz") else (text, "")


def _array(content: bytes, name: str, key: str) -> np.ndarray:
    suffix = Path(name).suffix.lower()
    if suffix == ".csv":
        return _table(content, name)
    if suffix == ".npy":
        return _plain(content, name)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        if not key and len(sizes) == 1:
            key = next(iter(sizes))
        if not key:
            known = ", ".join(f"{name}:{k}" for k in sizes)
            raise ValueError(f"{name} has several arrays: name one of {known}")
        if key not in sizes:
            raise ValueError(f"{name} has no array {brief(key)}{nearest(key, sizes)}")
        if sizes[key].file_size > MOST_BYTES:
            raise ValueError(
                f"{name}:{key} has {sizes[key].file_size:,} bytes; up to "
                f"{MOST_BYTES:,} are read"
            )
        return _plain(archive.read(sizes[key]), f"{name}:{key}")


def _table(content: bytes, name: str) -> np.ndarray:
    """Numbers separated by commas; a first line that has none is a heading."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 at byte {error.start}") from error
    rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    if rows and not _is_numeric(rows[0][1]):
        rows = rows[1:]
    values = []
    for i, line in rows:
        try:
            values.append([float(part) for part in line.split(",")])
        except ValueError:
            raise ValueError(
                f"{name}:{i}: expected numbers, got {brief(line)}"
            ) from None
        if len(values[-1]) != len(values[0]):
            raise ValueError(
                f"{name}:{i}: expected {len(values[0])} numbers as above, got "
                f"{len(values[-1])}"
            )
    found = np.asarray(values, float)
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def _is_numeric(line: str) -> bool:
    try:
        [float(part) for part in line.split(",")]
    except ValueError:
        return False
    return True


def _plain(content: bytes, name: str) -> np.ndarray:
    """An array of NumPy's format; nothing is unpickled, nor read that is not there."""
    stream = io.BytesIO(content)
    if not content.startswith(npy.MAGIC_PREFIX):
        raise ValueError(f"{name} cannot be read: it is no array of NumPy's")
    read = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }.get(npy.read_magic(stream))
    if read is None:
        raise ValueError(f"{name} has an unknown version of NumPy's format")
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(
            f"{name} holds objects, which are not read: nothing is unpickled"
        )
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if declared != len(content) - stream.tell():
        raise ValueError(f"{name} declares {declared:,} bytes, and has others")
    stream.seek(0)
    return npy.read_array(stream, allow_pickle=False)
