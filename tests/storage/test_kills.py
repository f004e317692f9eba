"""Faults of the disk, kills, and what they leave."""

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from saving import (
    SOURCE,
    add_user_files,
    assert_user_files,
    entries,
    fail,
    number_in,
    results,
    save,
)

from physgrad.storage import (
    check_folder,
    recover,
    save_folder,
)


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
