"""One file, written as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path


def checked_file(
    file: str | os.PathLike[str], suffix: str, *, force: bool = False
) -> Path:
    """Where a file is to be written, or what would go wrong after it was drawn.

    **Arguments:** `suffix`: what its name must end with; `force`: whether it may
    replace an older one.

    **Raises:** `ValueError` for another suffix; `FileExistsError` where a file is,
    unless `force`; other `OSError` where it cannot be written.
    """
    path = Path(os.path.realpath(file))  # what a link points to is replaced
    if Path(file).suffix.lower() != suffix:
        raise ValueError(f"file must end with {suffix!r}, got {os.fspath(file)!r}")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    if path.exists() and not force:
        what = "is there already: name another file, or force"
        raise FileExistsError(errno.EEXIST, what, str(path))
    parent = path.parent
    if not parent.is_dir():
        what = "the folder is missing"
        raise FileNotFoundError(errno.ENOENT, what, str(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write here", str(parent))
    return path


def write_file(path: Path, content: bytes) -> None:
    """Write beside, flush to the disk, rename: the older file or the newer one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     write_file(Path(here, "a.gif"), b"GIF89a")
    ...     [(file.name, file.read_bytes()) for file in Path(here).iterdir()]
    [('a.gif', b'GIF89a')]
    """
    mark = f"{os.getpid()}-{threading.get_ident()}"
    new = path.with_name(f".{path.name}.tmp-{mark}")
    try:
        with open(new, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
