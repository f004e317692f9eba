"""Save and load: folders written as a whole, arrays and documents in checked form.

A folder of results is written beside its place and renamed into it: a kill, a full
disk or a power cut leaves the older or the newer results, never a mixture. What the
manifest does not list is the user's: carried over, never deleted. For POSIX systems.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from physgrad.results import CheckpointError

MANIFEST = "manifest.json"
_SCHEMA = 1
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
_AnyPath = str | os.PathLike[str]
# While a thread holds it, no other save of this process is under way: a temporary
# that bears our own process id is then as stale as that of a dead process.
_lock = threading.RLock()
_PLAIN_NAME = re.compile(r"(?!\.{1,2}\Z|manifest\.json\Z)[^/\\\0]+")


def check_folder(folder: _AnyPath, *, force=False, names: Iterable[str] = ()) -> None:
    """Raise now what `save_folder` would raise after hours of work; leave no trace.

    `FileExistsError`: it holds older results or one of `names`, and not `force`. Other
    `OSError`: a file, not writable, or cannot be replaced as a whole.
    """
    target = Path(os.path.realpath(folder))  # what a link points to is replaced
    with _lock:
        recover(target)
        if os.path.lexists(target):
            if not target.is_dir():
                raise OSError(errno.ENOTDIR, "is a file, not a folder", str(target))
            if os.path.ismount(target) or target.samefile(os.curdir):
                what = "the current folder or a mount point: name a folder inside it"
                raise OSError(errno.EBUSY, f"cannot replace {what}", str(target))
            for name in () if force else (MANIFEST, *names):
                if os.path.lexists(target / name):
                    what = f"already holds {name}: name another folder, or force"
                    raise OSError(errno.EEXIST, what, str(target))
        first = next(p for p in (target, *target.parents) if os.path.lexists(p.parent))
        # Root passes every check of permission bits: only a real write can tell.
        os.mkdir(_beside(first, "tmp"))
        os.rmdir(_beside(first, "tmp"))
        for place in (first.parent, target):
            if place.exists() and not os.access(place, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, "no permission to write here", str(place))


def save_folder(
    folder: _AnyPath,
    files: Mapping[str, bytes],
    *,
    kind: str,
    version: str,
    force: bool = False,
) -> None:
    """Write `files` and their manifest to `folder`, as a whole or not at all.

    Other files in the folder stay; one in the way of a new file (only with `force`)
    gets a name like `notes.json.old`. Errors: see `check_folder`; `ValueError` for a
    name that is not plain; `OSError` of the disk: the older results stay whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     save_folder(f"{here}/run", {"x.txt": b"3"}, kind="run", version="0.1")
    ...     load_folder(f"{here}/run", kind="run")
    {'x.txt': b'3'}
    """
    for name in files:
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError(f"file name {name!r}: must be a plain name, no folder")
    target = Path(os.path.realpath(folder))
    with _lock:
        check_folder(target, force=force, names=files)
        target.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(target, "tmp")
        try:
            os.mkdir(new)  # fails if it exists, link or not
            if target.exists():  # a private folder stays private
                os.chmod(new, stat.S_IMODE(target.stat().st_mode))
            _write_files(new, files, kind, version)
            _swap_in(new, target)
        finally:
            recover(target)  # removes `new` if it is still there
        _sync(target.parent)


def load_folder(folder: _AnyPath, *, kind: str) -> dict[str, bytes]:
    """The files that `save_folder` wrote, each checked against the manifest.

    `CheckpointError` names a file that is missing, changed, of another kind or newer.
    """
    target = Path(os.path.realpath(folder))
    with contextlib.suppress(OSError):  # results on a read-only disk load, too
        recover(target)
    manifest = _read_manifest(target)
    if manifest["kind"] != kind:
        raise CheckpointError(f"{target}: kind {manifest['kind']!r}, expected {kind!r}")
    files = {}
    for name, entry in manifest["files"].items():
        data = files[name] = _read_file(target / name, entry["bytes"])
        got = hashlib.sha256(data).hexdigest()
        if got != (wanted := entry["sha256"]):
            raise CheckpointError(f"{target / name}: SHA-256 {got}, expected {wanted}")
    return files


def recover(folder: _AnyPath) -> None:
    """Finish or undo what killed saves to `folder` left beside it.

    Results renamed aside are put back if the folder is missing; else the user's files
    in them are carried over. Half-written results of dead processes are removed.
    """
    target = Path(os.path.realpath(folder))
    with _lock:
        for path, role, running in _leftovers(target):
            if role == "old" and not os.path.lexists(target):
                # Even if the process still runs: its own rename will start over.
                with _ignoring(errno.ENOENT, *_NOT_EMPTY):
                    os.rename(path, target)
            elif role == "old" and not running:
                _carry_over(path, target)
            elif not running:
                shutil.rmtree(path, ignore_errors=True)


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as an npz file; equal arrays give equal bytes.

    `TypeError`: a dtype that npz would pickle or forget (objects, bfloat16).

    >>> unpack_arrays(pack_arrays({"x": np.array([3.0, -0.0])}), name="x.npz")
    {'x': array([ 3., -0.])}
    """
    stream = io.BytesIO()
    # Not compressed, so that the size of the file bounds the memory to read it.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        for key, array in arrays.items():
            array = np.asarray(array)
            if "\0" in key or not _is_storable(array.dtype):
                raise TypeError(f"npz cannot hold an array {key!r} of {array.dtype}")
            with file.open(f"{key}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
    return stream.getvalue()


def unpack_arrays(data: bytes, *, name: str) -> dict[str, np.ndarray]:
    """The arrays in an npz file of `pack_arrays`, bit for bit.

    `CheckpointError` names the file `name`: it is broken, has pickled objects, or
    declares more data than it has. Nothing is unpickled.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            declared = sum(m.file_size for m in archive.infolist())
            if declared > len(data):
                raise ValueError(f"it declares {declared} bytes, and has {len(data)}")
            for m in archive.infolist():
                key = m.filename.removesuffix(".npy")
                if m.compress_type or m.comment or key in {*arrays, m.filename}:
                    raise ValueError(f"unexpected member {m.filename!r}")
                arrays[key] = _read_array(archive.read(m), key)
    except Exception as error:  # zipfile and NumPy raise ten types on broken bytes
        raise CheckpointError(f"{name}: not an npz file of ours: {error}") from error
    return arrays


def to_json(document: dict[str, Any]) -> str:
    """Strict JSON of a dict of plain values, NumPy scalars and arrays.

    NaN and infinity become null, their paths listed under "nonfinite"; a float32 has
    its own digits. `TypeError` names the path of anything else.

    >>> to_json({"loss": np.float32(2.94), "losses": np.array([1.0, np.inf])})
    '{"loss": 2.94, "losses": [1.0, null], "nonfinite": ["losses[1]"]}'
    """
    if not isinstance(document, dict):
        raise TypeError(f"a document must be a dict, got {type(document).__name__}")
    nonfinite: list[str] = []
    plain = _plain(document, "", nonfinite)
    if nonfinite:  # a document that was read may list its own already
        plain["nonfinite"] = [*plain.get("nonfinite", ()), *nonfinite]
    return json.dumps(plain, allow_nan=False)


def from_json(text: str | bytes, *, name: str) -> dict[str, Any]:
    """The dict in strict JSON text.

    `CheckpointError` names the file: not UTF-8, not JSON, NaN, a key twice, no dict.
    """
    try:
        document = json.loads(
            text if isinstance(text, str) else text.decode(),
            object_pairs_hook=_unique_keys,
            parse_constant=_finite_float,
            parse_float=_finite_float,
        )
        if not isinstance(document, dict):
            raise ValueError(f"expected an object, got {type(document).__name__}")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: not strict JSON: {error}") from error
    return document


def _beside(target: Path, role: str) -> Path:
    return target.with_name(f".{target.name}.{role}-{os.getpid()}")


@contextlib.contextmanager
def _ignoring(*numbers: int):
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def _write_files(new: Path, files: Mapping[str, bytes], kind: str, version: str):
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
    }
    manifest = {"schema": _SCHEMA, "kind": kind, "physgrad": version, "files": listed}
    for name, data in {**files, MANIFEST: to_json(manifest).encode()}.items():
        (new / name).write_bytes(data)
        _sync(new / name)
    _sync(new)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        with _ignoring(errno.EINVAL, errno.ENOTSUP):  # folders of some network disks
            os.fsync(handle)
    finally:
        os.close(handle)


def _swap_in(new: Path, target: Path) -> None:
    """Rename `new` to `target`; what was there is left aside, for `recover`."""
    while True:  # another process may save or recover in between
        with _ignoring(*_NOT_EMPTY):
            return os.rename(new, target)  # at once if nothing is there
        with _ignoring(errno.ENOENT):
            os.rename(target, _beside(target, "old"))


def _carry_over(old: Path, target: Path) -> None:
    """Move what is not ours from `old` to `target`, and remove the rest of `old`."""
    ours = set()
    with contextlib.suppress(CheckpointError):
        _read_manifest(target)  # without one the old results are the only ones: kept
        ours = {*_read_manifest(old)["files"], MANIFEST}
    # The manifest goes last: it says, after a kill in between, which files are ours.
    for entry in sorted(old.iterdir(), key=lambda entry: entry.name == MANIFEST):
        with _ignoring(errno.ENOENT):  # another process carries over, too
            if entry.name in ours and stat.S_ISREG(entry.lstat().st_mode):
                entry.unlink()
            else:
                place = target / entry.name
                while os.path.lexists(place):
                    place = place.with_name(f"{place.name}.old")
                os.rename(entry, place)
    _sync(target)
    with _ignoring(errno.ENOENT, *_NOT_EMPTY):
        old.rmdir()


def _leftovers(target: Path) -> Iterator[tuple[Path, str, bool]]:
    """Temporaries beside `target`: path, role, whether their process runs."""
    name = re.compile(rf"\.{re.escape(target.name)}\.(old|tmp)-([0-9]+)")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(target.parent.iterdir()):
            match = name.fullmatch(path.name)
            if match and path.is_dir() and not path.is_symlink():
                yield path, match[1], _is_running(int(match[2]))


def _is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, OverflowError):
        with contextlib.suppress(PermissionError):  # somebody else's
            os.kill(pid, 0)
        return pid != os.getpid()  # see _lock
    return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    manifest = from_json(_read_file(path, None), name=str(path))
    schema, files = manifest.get("schema"), manifest.get("files")
    if type(schema) is int and schema > _SCHEMA:
        what = f"written by physgrad >= {manifest.get('physgrad')}: upgrade"
        raise CheckpointError(f"{path}: schema {schema}, expected {_SCHEMA}, {what}")
    whole = schema == _SCHEMA and "kind" in manifest and isinstance(files, dict)
    for name, entry in files.items() if isinstance(files, dict) else ():
        keys = entry.keys() if isinstance(entry, dict) else ()
        whole = whole and _PLAIN_NAME.fullmatch(name) and keys == {"sha256", "bytes"}
    if not whole:
        raise CheckpointError(f"{path}: expected a manifest of physgrad, got another")
    return manifest


def _read_file(path: Path, size: object) -> bytes:
    """The bytes of a file of `size` (None: as large as a manifest may be)."""
    try:
        found = path.stat()
        sizes = range(2**24) if size is None else [size]
        if not stat.S_ISREG(found.st_mode) or found.st_size not in sizes:
            what = f"expected {'a manifest' if size is None else f'{size} bytes'}"
            raise CheckpointError(f"{path}: {what}, got {found.st_size} bytes")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path}: the file is missing") from error


def _is_storable(dtype: np.dtype) -> bool:
    return dtype.kind in "biufcSUmM" and np.dtype(dtype.str) == dtype


def _read_array(member: bytes, key: str) -> np.ndarray:
    stream = io.BytesIO(member)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError(f"array {key!r} has an unknown header")
    shape, _, dtype = npy.read_array_header_1_0(stream)
    if not _is_storable(dtype):
        raise ValueError(f"array {key!r} has dtype {dtype}; nothing is unpickled")
    declared, got = math.prod(shape) * dtype.itemsize, len(member) - stream.tell()
    if min(shape, default=0) < 0 or declared != got:
        raise ValueError(f"array {key!r} declares {declared} bytes, and has {got}")
    stream.seek(0)
    return npy.read_array(stream, allow_pickle=False)


def _plain(value: Any, path: str, nonfinite: list[str]) -> Any:
    """`value` in the types of `json`, its NaN and infinity None and noted."""
    if isinstance(value, np.floating) and value.itemsize < 8:
        value = float(str(value))  # 2.94, where float(value) is 2.940000057220459
    if isinstance(value, float) and not math.isfinite(value):
        nonfinite.append(path)
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(v, f"{path}[{i}]", nonfinite) for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {k: _plain(v, _join(path, k), nonfinite) for k, v in value.items()}
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"{path}: cannot write {type(value).__name__} as JSON")
    array = np.asarray(value)
    if array.dtype.kind not in "biufU" or array.dtype.char == "g":  # a long double
        raise TypeError(f"{path}: cannot write dtype {array.dtype} as JSON")
    if array.dtype.kind != "f":
        return array.tolist()
    if array.dtype.itemsize < 8:
        array = array.astype(str).astype(float)
    broken = ~np.isfinite(array)
    for at in np.argwhere(broken).tolist():
        nonfinite.append(path + "".join(f"[{i}]" for i in at))
    return np.where(broken, np.array(None), array.astype(object)).tolist()


def _join(path: str, key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{path or 'the document'}: key {key!r} must be a str")
    if re.search(r'[.\[\]"]', key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"key {max(keys, key=keys.count)!r} comes more than once")
    return dict(pairs)


def _finite_float(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not a finite float64")
    return float(text)
