"""Folders come back whole or are refused by name, and the user's files stay."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from saving import (
    add_user_files,
    assert_user_files,
    entries,
    fail,
    number_in,
    results,
    save,
)

from physgrad.results import CheckpointError
from physgrad.storage import (
    check_folder,
    save_folder,
)


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
