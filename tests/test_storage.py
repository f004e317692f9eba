"""Laws of storage: the same bits come back, or a named failure; nothing is lost."""

import contextlib
import errno
import io
import json
import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from physgrad import storage
from physgrad.results import CheckpointError
from physgrad.storage import (
    check_folder,
    from_json,
    load_folder,
    pack_arrays,
    recover,
    save_folder,
    to_json,
    unpack_arrays,
)

cheap = settings(max_examples=25, deadline=None, database=None)
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


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Results of save 1 with files of the user among them."""
    save(tmp_path / "out", 1)
    add_user_files(tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


# Arrays


@st.composite
def arrays_of_bits(draw) -> np.ndarray:
    dtype = np.dtype(
        draw(st.sampled_from(["<f2", "<f4", "<f8", ">f4", "i1", "<i8", "?"]))
    )
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = int(np.prod(shape)) * dtype.itemsize
    bits = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind == "b":
        bits = bytes(b & 1 for b in bits)
    return np.frombuffer(bits, dtype).reshape(shape)


def assert_same_bits(got: dict, expected: dict) -> None:
    assert list(got) == list(expected)
    for key, array in expected.items():
        assert (got[key].dtype, got[key].shape) == (array.dtype, array.shape)
        assert got[key].tobytes() == array.tobytes()


@cheap
@given(st.dictionaries(st.text("aβ/. é", max_size=4), arrays_of_bits(), max_size=3))
def test_the_same_bits_come_back(arrays):
    data = pack_arrays(arrays)
    assert_same_bits(unpack_arrays(data, name="x.npz"), arrays)


def test_equal_arrays_give_equal_bytes(monkeypatch):
    data = pack_arrays({"x": np.zeros(3)})
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert pack_arrays({"x": np.zeros(3)}) == data


def test_special_values_and_layouts_come_back():
    payload = np.array([0x7FF8_0000_DEAD_BEEF, 0xFFF0_0000_0000_0001], "u8").view("f8")
    grid = np.arange(6.0).reshape(2, 3)
    arrays = {"nan": payload, "zero": np.array(-0.0), "t": grid.T, "cut": grid[:, ::2]}
    arrays |= {"text": np.array(["ä", "bcd"]), "complex": np.array([1 - 2j])}
    assert_same_bits(unpack_arrays(pack_arrays(arrays), name="x"), arrays)


def test_a_broken_archive_is_refused_or_the_same():
    """Every truncation is refused; a flipped bit is, unless it touches no array."""
    arrays = {"x": np.array([1.5, -0.0]), "n": np.array(3)}
    data = pack_arrays(arrays)
    for size in range(len(data)):
        with pytest.raises(CheckpointError, match=r"run/x\.npz"):
            unpack_arrays(data[:size], name="run/x.npz")
    refused = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert_same_bits(unpack_arrays(bytes(flipped), name="x"), arrays)
        except CheckpointError:
            refused += 1
    assert refused > 4 * len(data)  # more than half: all of the data and the headers


@cheap
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(CheckpointError, match=r"x\.npz"):
        unpack_arrays(data, name="x.npz")


class Bomb:
    """Unpickling one of these leaves a trace."""

    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


def npz_of(*members: tuple[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def npy_header(descr: object, shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, header)
    return stream.getvalue()


def test_nothing_is_unpickled():
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, x=np.array([Bomb()], dtype=object))
    assert b"setattr" in stream.getvalue()
    raw = npz_of(("x.npy", pickle.dumps(Bomb())))
    for data in (stream.getvalue(), raw, pickle.dumps(Bomb())):
        with pytest.raises(CheckpointError, match=r"x\.npz"):
            unpack_arrays(data, name="x.npz")
    assert not Bomb.went_off
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.went_off  # the trap works


BIG = 2**26
ARCHIVES_THAT_LIE = {
    "compressed": (
        npz_of(("x.npy", bytes(BIG)), compression=zipfile.ZIP_DEFLATED),
        f"declares {BIG} bytes",
    ),
    "small but compressed": (
        npz_of(("x.npy", npy_header("<f8", (0,))), compression=zipfile.ZIP_DEFLATED),
        "unexpected member",
    ),
    "header": (npz_of(("x.npy", npy_header("<f8", (2**40,)))), f"declares {2**43}"),
    "header too small": (npz_of(("x.npy", npy_header("<f8", ()))), "declares 8 bytes"),
    "negative": (npz_of(("x.npy", npy_header("<f8", (-1, -1)) + bytes(8))), "declares"),
    "not an array": (npz_of(("x.py", b"import os")), r"unexpected member 'x\.py'"),
    "structured": (npz_of(("x.npy", npy_header([("a", "<f8")], (0,)))), "dtype"),
    "another header": (npz_of(("x.npy", b"\x93NUMPY\3\0" + bytes(99))), "header"),
}


@pytest.mark.parametrize("form", ARCHIVES_THAT_LIE)
def test_archives_that_lie_are_refused_in_little_memory(form):
    data, message = ARCHIVES_THAT_LIE[form]
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message):
        unpack_arrays(data, name="x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_member_that_comes_twice_is_refused():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = npz_of(*2 * [("x.npy", npy_header("<f8", (0,)))])
    with pytest.raises(CheckpointError, match="unexpected member"):
        unpack_arrays(data, name="x.npz")


@pytest.mark.parametrize(
    "array", [np.array([None]), np.zeros(2, [("a", "f8")]), np.zeros(2, "V3")]
)
def test_arrays_that_npz_would_not_give_back_are_not_packed(array):
    with pytest.raises(TypeError, match="'bad'"):
        pack_arrays({"bad": array})
    with pytest.raises(TypeError, match="bad"):
        pack_arrays({"bad\0": np.zeros(1)})  # zip would cut the name


# Documents


def test_json_is_strict_and_lists_what_is_not_finite():
    nan, inf = float("nan"), np.float32(np.inf)
    document = {
        "a": {"losses": [1, 2.5, nan], "x": np.array([[1.0, nan], [-inf, 2.0]])},
        "PG 0.3": (True, None, np.bool_(False), np.int64(7), np.str_("s"), inf),
        "scalar": np.array(nan, "f4"),
        "none": np.zeros((0, 2)),
    }
    read = json.loads(to_json(document), parse_constant=pytest.fail)
    assert read == {
        "a": {"losses": [1, 2.5, None], "x": [[1.0, None], [None, 2.0]]},
        "PG 0.3": [True, None, False, 7, "s", None],
        "scalar": None,
        "none": [],
        "nonfinite": [
            "a.losses[2]",
            "a.x[0][1]",
            "a.x[1][0]",
            '["PG 0.3"][5]',
            "scalar",
        ],
    }
    assert from_json(to_json(read), name="x") == read  # a document that was read
    read["new"] = nan
    assert json.loads(to_json(read))["nonfinite"] == [*read["nonfinite"], "new"]
    assert "nonfinite" not in json.loads(to_json({"x": 1.0}))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_numbers_have_the_digits_of_their_dtype(dtype):
    bits = np.random.default_rng(0).bytes(20_000 * np.dtype(dtype).itemsize)
    array = np.frombuffer(bits, dtype)
    array = array[np.isfinite(array)]
    read = json.loads(to_json({"x": array, "list": list(array[:99])}))
    assert np.array(read["x"], dtype).tobytes() == array.tobytes()
    assert read["list"] == read["x"][:99]
    assert to_json({"x": np.array([2.94, 0.1], dtype)}) == '{"x": [2.94, 0.1]}'
    assert to_json({"x": np.dtype(dtype).type(2.94)}) == '{"x": 2.94}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@cheap
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_documents_come_back(document):
    assert from_json(to_json(document), name="x") == document
    assert from_json(to_json(document).encode(), name="x") == document


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"a": {"b": [1, {2}]}}, r"a\.b\[1\]"),
        ({"a": {1: 2}}, r"a: key 1"),
        ({"a": 1j}, "a: "),
        ({1: 2}, "document"),
        ([1], "document"),
        ({"a": np.array([1j])}, "a: .*complex"),
        ({"a": np.array([None])}, "a: .*object"),
        ({"a": np.longdouble(1)}, "a: "),
        ({"a": b"bytes"}, "a: .*bytes"),
    ],
)
def test_other_objects_are_named_by_path(document, where):
    with pytest.raises(TypeError, match=where):
        to_json(document)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": [-Infinity]}',
        '{"a": 1e999}',
        '{"a": 1, "b": {"c": 1, "c": 1}}',
        "[1]",
        "3",
        "",
        '{"a": 1',
        '{"a": 1} x',
        "[" * 100_000,
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b"\0" * 9,
    ],
)
def test_text_that_is_not_strict_json_is_refused(text):
    with pytest.raises(CheckpointError, match=r"run\.json"):
        from_json(text, name="run.json")


# Folders


def test_a_folder_comes_back_with_its_manifest(tmp_path):
    folder = tmp_path / "new" / "emoji 🙂\nline"
    save(folder, 7, force=False)
    assert number_in(folder) == 7
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["schema"], manifest["kind"], manifest["physgrad"]) == (
        1,
        "run",
        "0.1",
    )
    assert manifest["files"]["run.json"]["bytes"] == 1
    assert set(manifest["files"]) == set(results(7))
    assert entries(folder.parent) == [folder.name]


def edit_manifest(**changes):
    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def replace_by_folder(folder: Path) -> None:
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
    size = (folder / "run.json").stat().st_size
    edit_manifest(files={"run.json": ENTRY | {"bytes": size}})(folder)


ENTRY = {"sha256": "0" * 64, "bytes": 1}
BROKEN_FOLDERS = {
    "no manifest": (
        lambda f: (f / "manifest.json").unlink(),
        r"manifest\.json.*missing",
    ),
    "no folder": (lambda f: os.rename(f, f.with_name("b")), r"manifest\.json.*missing"),
    "empty": (lambda f: (f / "manifest.json").write_text(""), r"manifest\.json.*JSON"),
    "random": (lambda f: (f / "manifest.json").write_bytes(b"\xff\0"), "manifest"),
    "cut": (lambda f: os.truncate(f / "manifest.json", 50), r"manifest\.json.*JSON"),
    "huge": (lambda f: os.truncate(f / "manifest.json", 2**30), r"manifest\.json.*got"),
    "another": (
        lambda f: (f / "manifest.json").write_text("{}"),
        "expected a manifest",
    ),
    "future": (edit_manifest(schema=2, physgrad="9.1"), r"schema 2.*physgrad >= 9\.1"),
    "past": (edit_manifest(schema=0), "expected a manifest"),
    "kind": (edit_manifest(kind="comparison"), "'comparison', expected 'run'"),
    "escape": (edit_manifest(files={"../secret": ENTRY}), "expected a manifest"),
    "no list": (edit_manifest(files=[]), "expected a manifest"),
    "entry": (edit_manifest(files={"run.json": 3}), "expected a manifest"),
    "size": (
        edit_manifest(files={"run.json": ENTRY | {"bytes": []}}),
        r"run\.json.*got 1",
    ),
    "hash": (edit_manifest(files={"run.json": ENTRY}), r"run\.json.*expected 000"),
    "file gone": (lambda f: (f / "x.npz").unlink(), r"x\.npz.*missing"),
    "file cut": (lambda f: os.truncate(f / "x.npz", 98), r"x\.npz.*99 bytes, got 98"),
    "zero length": (lambda f: os.truncate(f / "x.npz", 0), r"x\.npz.*99 bytes, got 0"),
    "bit": (lambda f: (f / "run.json").write_bytes(b"0"), r"run\.json: SHA-256"),
    "folder": (replace_by_folder, r"run\.json: expected"),
}


@pytest.mark.parametrize("form", BROKEN_FOLDERS)
def test_a_broken_folder_is_named(out, form):
    number_in(out)
    damage, message = BROKEN_FOLDERS[form]
    damage(out)
    with pytest.raises(CheckpointError, match=message) as caught:
        number_in(out)
    assert str(out) in str(caught.value)


def test_sizes_are_checked_before_reading(out, monkeypatch):
    os.truncate(out / "x.npz", 2**33)
    read = Path.read_bytes
    seen = []
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: seen.append(path) or read(path)
    )
    with pytest.raises(CheckpointError, match=r"x\.npz"):
        number_in(out)
    assert seen == [out / "manifest.json"]


def test_check_folder_leaves_no_trace(tmp_path):
    (tmp_path / "mine").mkdir()
    add_user_files(tmp_path / "mine")
    for name in ("new", "a/b/c", "mine"):
        check_folder(tmp_path / name, names=["run.json"])
    assert entries(tmp_path) == ["mine"]
    assert entries(tmp_path / "mine") == ["notes.txt", "plots"]


def test_older_results_are_never_overwritten_unasked(out):
    for refused in (lambda: check_folder(out), lambda: save(out, 2, force=False)):
        with pytest.raises(FileExistsError, match=r"manifest\.json.*force"):
            refused()
    (out / "manifest.json").unlink()
    with pytest.raises(FileExistsError, match=r"x\.npz"):
        save(out, 2, force=False)
    check_folder(out, force=True)
    assert (out / "x.npz").read_bytes() == results(1)["x.npz"]
    assert_user_files(out)


def test_places_that_cannot_hold_results_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    places = {"file": NotADirectoryError, "file/below": NotADirectoryError}
    places |= {
        "loop": NotADirectoryError,
        "n" * 300: OSError,
        "/": OSError,
        ".": OSError,
    }
    monkeypatch.chdir(tmp_path)
    for place, error in places.items():
        with pytest.raises(error):
            check_folder(place, force=True)
        with pytest.raises(error):
            save(Path(place), 1)
    with pytest.raises(OSError, match="folder inside"):
        check_folder(tmp_path)
    assert entries(tmp_path) == ["file", "loop"]


@pytest.mark.parametrize("exists", [False, True])
def test_no_permission_is_found_before_the_work(tmp_path, monkeypatch, exists):
    if exists:
        (tmp_path / "out").mkdir()
    forbidden = tmp_path / "out" if exists else tmp_path
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != forbidden)
    with pytest.raises(PermissionError, match=forbidden.name):
        check_folder(tmp_path / "out")


def fail(number: int):
    def call(*args, **keywords):
        raise OSError(number, os.strerror(number))

    return call


def test_a_read_only_disk_is_found_by_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "mkdir", fail(errno.EROFS))  # as root sees it
    with pytest.raises(OSError, match="Read-only"):
        check_folder(tmp_path / "out")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0", "manifest.json"])
def test_file_names_must_be_plain(tmp_path, name):
    with pytest.raises(ValueError, match="plain"):
        save_folder(tmp_path / "out", {name: b""}, kind="run", version="0")
    assert entries(tmp_path) == []


def test_results_on_a_read_only_disk_load(out, monkeypatch, dead_pid):
    (out.parent / f".out.old-{dead_pid}").mkdir()
    for name in ("rename", "rmdir", "unlink", "fsync"):
        monkeypatch.setattr(os, name, fail(errno.EROFS))
    assert number_in(out) == 1


# What is the user's stays


def test_files_of_the_user_stay(out):
    (out / "link").symlink_to("nowhere")
    out.chmod(0o700)
    for number in (2, 3):
        save(out, number)
        assert number_in(out) == number
        assert_user_files(out)
    assert os.readlink(out / "link") == "nowhere"
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert entries(out) == sorted(
        ["manifest.json", *results(3), "link", "notes.txt", "plots"]
    )
    assert entries(out.parent) == ["out"]


def test_results_may_join_files_of_the_user(tmp_path):
    add_user_files(tmp_path / "out")
    save(tmp_path / "out", 1, force=False)
    assert number_in(tmp_path / "out") == 1
    assert_user_files(tmp_path / "out")


def test_a_file_of_the_user_in_the_way_gets_a_free_name(tmp_path):
    out = tmp_path / "out"
    (out / "run.json").mkdir(parents=True)
    (out / "run.json" / "mine").touch()
    (out / "x.npz").write_text("mine")
    (out / "x.npz.old").write_text("mine, too")
    (out / "manifest.json").write_text("{}")
    save(out, 1)
    assert number_in(out) == 1
    assert (out / "x.npz.old.old").read_text() == "mine"
    assert (out / "x.npz.old").read_text() == "mine, too"
    assert (out / "manifest.json.old").read_text() == "{}"
    assert (out / "run.json.old" / "mine").exists()


def test_a_folder_of_the_user_in_place_of_a_result_stays(out):
    (out / "run.json").unlink()
    (out / "run.json").mkdir()
    (out / "run.json" / "mine").touch()
    save(out, 2)
    assert number_in(out) == 2
    assert (out / "run.json.old" / "mine").exists()


def test_files_that_the_newer_results_lack_go(out):
    save_folder(out, {"other": b""}, kind="run", version="0.1", force=True)
    assert entries(out) == ["manifest.json", "notes.txt", "other", "plots"]


def test_a_link_to_the_folder_stays_a_link(out):
    link = out.with_name("link")
    link.symlink_to("out")
    save(link, 2)
    assert link.is_symlink()
    assert number_in(out) == 2
    assert entries(out.parent) == ["link", "out"]


# Faults of the disk, kills, and what they leave


@pytest.mark.parametrize("nth", range(4))
def test_a_full_disk_leaves_the_older_results(out, monkeypatch, nth):
    calls, sync = [], os.fsync
    full = fail(errno.ENOSPC)

    def fsync(handle):
        calls.append(handle)
        return full() if len(calls) > nth else sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        save(out, 2)
    monkeypatch.undo()
    assert entries(out.parent) == ["out"]
    assert number_in(out) == 1
    assert_user_files(out)
    save(out, 3)  # and the next one works
    assert number_in(out) == 3


def test_all_that_was_written_reaches_the_disk(out, monkeypatch):
    synced, sync = set(), os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino) or sync(handle)
    )
    save(out, 2)
    written = [out.parent, out, out / "manifest.json", *(out / n for n in results(2))]
    assert {path.stat().st_ino for path in written} <= synced


class Killed(BaseException):
    """Stands for the end of the process."""


def end_at(nth: int, error: BaseException, patch: pytest.MonkeyPatch) -> list[str]:
    """Let the nth system call raise; returns the list in which calls are noted."""
    calls = []

    def faulty(name: str, system_call):
        def call(*args, **keywords):
            calls.append(name)
            # After a kill no cleaning up happens: all later calls fail, too.
            if len(calls) == nth or (isinstance(error, Killed) and len(calls) > nth):
                raise error
            return system_call(*args, **keywords)

        return call

    for name in ("mkdir", "rmdir", "open", "fsync", "chmod", "rename", "unlink"):
        patch.setattr(os, name, faulty(name, getattr(os, name)))
    return calls


@pytest.mark.parametrize("error", [Killed(), OSError(errno.EIO, "I/O error")])
def test_an_end_at_any_system_call_leaves_whole_results(tmp_path, monkeypatch, error):
    numbers, calls = [], [""]
    while len(calls) >= len(numbers):  # until a save came to its end
        out = tmp_path / str(len(numbers)) / "out"
        save(out, 1)
        add_user_files(out)
        with monkeypatch.context() as patch:
            calls = end_at(len(numbers) + 1, error, patch)
            with contextlib.suppress(Killed, OSError):
                save(out, 2)
        numbers.append(number_in(out))
        assert_user_files(out)
        assert entries(out) == [
            "manifest.json",
            "notes.txt",
            "plots",
            "run.json",
            "x.npz",
        ]
        assert entries(out.parent) == ["out"]
    assert len(numbers) > 15
    assert numbers[0] == 1
    assert numbers[-1] == 2
    if isinstance(error, Killed):
        assert numbers == sorted(numbers)


CHILD = """
import itertools, sys
sys.path.insert(0, sys.argv[1])
from physgrad.storage import save_folder
for n in itertools.count(int(sys.argv[3])):
    files = {"x.npz": b"%d" % n * 99, "run.json": b"%d" % n}
    save_folder(sys.argv[2], files, kind="run", version="0.1", force=True)
    print(n, flush=True)
"""


def test_kill_9_at_random_moments_leaves_whole_results(out):
    moments = random.Random(0)
    last = 1
    for _ in range(12):
        command = [sys.executable, "-c", CHILD, SOURCE, str(out), str(last + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert int(child.stdout.readline()) == last + 1  # it is saving by now
            time.sleep(moments.uniform(0, 0.02))
            child.send_signal(signal.SIGKILL)
            done = [int(line) for line in child.stdout.read().split()]
        number = number_in(out)
        assert number - max(done, default=last + 1) in (0, 1)
        last = number
        assert_user_files(out)
        assert [name for name in entries(out.parent) if "tmp" not in name] == ["out"]
    save(out, 0)
    assert entries(out.parent) == ["out"]


def test_only_temporaries_of_dead_processes_go(out, dead_pid):
    parent, living = out.parent, os.getppid()
    os.rename(out, parent / "o.t")
    out = parent / "o.t"
    # Our own id: of an earlier process, since no save is under way in this one.
    pids = dead_pid, os.getpid()
    gone = [f".o.t.{role}-{pid}" for role in ("tmp", "old") for pid in pids]
    kept = [f".o.t.tmp-{living}", f".o.t.old-{living}", f".o.t2.tmp-{dead_pid}"]
    kept += [f"o.t.tmp-{dead_pid}", f".oxt.tmp-{dead_pid}", f".o.t.tmp-{dead_pid}.txt"]
    for name in kept + gone:
        (parent / name).mkdir()
        (parent / name / f"in {name}").touch()
    link = parent / ".o.t.old-4294967295"
    link.symlink_to(kept[0])
    check_folder(out, force=True)
    recover(out)
    assert entries(parent) == sorted([*kept, link.name, "o.t"])
    assert all((parent / name / f"in {name}").exists() for name in kept)
    for name in gone:  # what is in an .old and not in its manifest is the user's
        assert (out / f"in {name}").exists() == (".old" in name)
    assert number_in(out) == 1
    assert_user_files(out)


@pytest.mark.parametrize(
    "action", [recover, number_in, lambda f: check_folder(f, force=True)]
)
def test_a_kill_between_the_renames_is_undone(out, dead_pid, action):
    for pid in (dead_pid, os.getppid()):
        os.rename(out, out.with_name(f".out.old-{pid}"))
        action(out)
        assert entries(out.parent) == ["out"]
        assert number_in(out) == 1
        assert_user_files(out)


def test_a_kill_after_the_renames_is_finished(out, dead_pid):
    os.rename(out, out.with_name(f".out.old-{dead_pid}"))
    save_folder(out.with_name("other"), results(2), kind="run", version="0.1")
    os.rename(out.with_name("other"), out)
    assert number_in(out) == 2
    assert_user_files(out)
    assert entries(out.parent) == ["out"]


def test_older_results_outlive_a_folder_made_by_hand(out, dead_pid):
    os.rename(out, out.with_name(f".out.old-{dead_pid}"))
    out.mkdir()
    (out / "by hand").touch()
    assert number_in(out) == 1
    assert_user_files(out)
    assert (out / "by hand").exists()


def test_another_process_may_recover_between_the_renames(out, monkeypatch):
    rename, times = os.rename, []

    def interfere(source, place):
        rename(source, place)
        if ".old-" in str(place) and len(times) < 2:
            times.append(place)
            rename(place, source)  # as `recover` of another process would

    monkeypatch.setattr(os, "rename", interfere)
    save(out, 2)
    assert len(times) == 2
    assert number_in(out) == 2
    assert_user_files(out)
    assert entries(out.parent) == ["out"]


def test_another_process_may_rename_the_folder_aside(out, monkeypatch):
    rename, aside = os.rename, out.with_name("aside")

    def interfere(source, place):
        if ".old-" in str(place) and not aside.exists():
            rename(out, aside)
        rename(source, place)

    monkeypatch.setattr(os, "rename", interfere)
    save(out, 2)
    assert (number_in(out), number_in(aside)) == (2, 1)


def test_threads_may_save_and_load_at_once(out):
    failures = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                save(out, number)
                number_in(out)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_user_files(out)
