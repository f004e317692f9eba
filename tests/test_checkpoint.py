"""Runs that are saved as they go: resumed to the same bits, and nothing is lost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import physgrad as pg
from physgrad.loop import checkpoint, chunks, saves
from physgrad.loop.fingerprint import fingerprint

TESTS = str(Path(__file__).parent)


def bent(x):
    return jnp.stack([x[0] * jnp.cos(x[1]), x[0] * jnp.sin(x[1]), x[0] ** 3])


def objective(dtype=jnp.float32):
    return pg.Objective(bent, pg.SquaredLoss(jnp.array([1.0, 2.0, 3.0], dtype)))


NOISE = optax.add_noise(1e-3, 0.5, key=jax.random.key(0))
METHODS = {
    "adam": pg.OptaxOptimizer(optax.adam(0.01)),
    "noisy": pg.OptaxOptimizer(optax.chain(NOISE, optax.sgd(0.001))),
    "lbfgs": pg.LBFGS(),
    "pg": pg.PhysicalGradient(0.01),
    "lm": pg.LevenbergMarquardt(),
}
STEPS = 40


def minimize(folder=None, method="adam", dtype=jnp.float32, steps=STEPS, **changes):
    x0 = jnp.array([1.2, 0.3], dtype)
    how = {"checkpoint": folder, "record_every": 1, **changes}
    return pg.minimize(objective(dtype), METHODS[method], x0, steps, **how)


def facts(run):
    way = run.trajectory
    points = way.spaces, way.losses, way.steps, way.targets
    return run.x, points, run.evaluations, run.result, run.num_steps, run.message


def same(one, other):
    pairs = zip(jax.tree.leaves(facts(one)), jax.tree.leaves(facts(other)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(autouse=True)
def save_after_each_chunk(monkeypatch):
    monkeypatch.setattr(checkpoint, "PERIOD", 0.0)
    monkeypatch.setattr(chunks, "FIRST_PACE", 1)
    monkeypatch.setattr(chunks, "PACE_SECONDS", 1e-9)


class Interrupted(Exception):
    pass


def interrupted_at(*steps):
    left = list(steps)

    def callback(snapshot):
        if left and snapshot.step >= left[0]:
            left.pop(0)
            raise Interrupted

    return callback


def resumed(folder, *stops, **arguments):
    """A run that is cut off at each of some steps, and taken up again."""
    callback = interrupted_at(*stops)
    for _ in stops:
        with pytest.raises(Interrupted):
            minimize(folder, callback=callback, **arguments)
    return minimize(folder, callback=callback, **arguments)


@pytest.mark.parametrize(
    ("method", "every"), [*((name, 7) for name in METHODS), ("pg", 1), ("pg", None)]
)
def test_a_run_that_is_cut_off_comes_to_the_same_bits(tmp_path, method, every):
    whole = minimize(method=method, record_every=every)
    again = resumed(tmp_path / "run", 3, 17, 18, method=method, record_every=every)
    assert same(whole, again)
    assert same(whole, minimize(tmp_path / "run", method=method, record_every=every))


def test_a_run_that_raises_is_saved_on_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PERIOD", 1e9)
    with pytest.raises(Interrupted):
        minimize(tmp_path, callback=interrupted_at(11))
    steps = []
    minimize(tmp_path, callback=lambda snapshot: steps.append(snapshot.step))
    assert steps[0] == 12


def test_in_both_precisions(tmp_path, dtype):
    again = resumed(tmp_path / "run", 11, dtype=dtype)
    assert again.x.dtype == dtype and same(minimize(dtype=dtype), again)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import jax
jax.config.update("jax_compilation_cache_dir", {cache!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
import test_checkpoint as laws
laws.checkpoint.PERIOD, laws.chunks.FIRST_PACE = 0.0, 1
laws.chunks.PACE_SECONDS = 1e-9
laws.minimize({folder!r}, "noisy", steps=150, record_every=2)
print("done")
"""


def test_a_run_that_is_killed_comes_to_the_same_bits(tmp_path):
    """By SIGKILL, at moments that differ from time to time."""
    folder, kills, out = tmp_path / "run", 0, ""
    program = CHILD.format(
        tests=TESTS, cache=str(tmp_path / "cache"), folder=str(folder)
    )
    moments = random.Random()
    for _ in range(20):
        before = _saves(folder)
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
        ) as child:
            while child.poll() is None and _saves(folder) == before:
                time.sleep(0.01)
            if kills < 3:
                time.sleep(moments.uniform(0.0, 0.4))
                child.send_signal(signal.SIGKILL)
            out, _ = child.communicate()
        if out == "done\n":
            break
        kills += child.returncode == -signal.SIGKILL
    assert out == "done\n" and kills > 0
    whole = minimize(method="noisy", steps=150, record_every=2)
    saved = minimize(folder, "noisy", steps=150, record_every=2)
    assert same(whole, saved)


def _saves(folder):
    """Something that changes with each save."""
    with_times = []
    for place in ("state-0", "state-1"):
        path = folder / place
        if path.exists():
            with_times.append(path.stat().st_mtime_ns)
    return with_times


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path):
    minimize(tmp_path, steps=20)
    assert same(minimize(tmp_path, steps=STEPS), minimize(steps=STEPS))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def spoilt(folder: Path, how: str) -> Path:
    """Spoil the newest state; its folder."""
    places = [folder / "state-0", folder / "state-1"]
    newest = max(places, key=lambda p: (p / "manifest.json").stat().st_mtime_ns)
    arrays = newest / "arrays.npz"
    if how == "one bit":
        flip(arrays)
    elif how == "cut short":
        arrays.write_bytes(arrays.read_bytes()[:-100])
    elif how == "empty":
        arrays.write_bytes(b"")
    elif how == "missing":
        arrays.unlink()
    elif how == "no manifest":
        (newest / "manifest.json").unlink()
    return newest


@pytest.mark.parametrize(
    "how", ["one bit", "cut short", "empty", "missing", "no manifest"]
)
def test_a_broken_save_is_told_of_and_the_one_before_is_taken(tmp_path, how):
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        minimize(folder, callback=interrupted_at(9))
    newest = spoilt(folder, how)
    with pytest.warns(UserWarning, match=newest.name):
        assert same(minimize(folder), minimize())


def test_where_both_saves_are_broken_the_file_is_named(tmp_path):
    folder = tmp_path / "run"
    minimize(folder)
    for place in ("state-0", "state-1"):
        flip(folder / place / "arrays.npz")
    with pytest.raises(pg.CheckpointError, match=r"state-0/arrays.npz: SHA-256"):
        minimize(folder)


def test_records_that_are_broken_are_named(tmp_path):
    minimize(tmp_path)
    flip(tmp_path / "records-3" / "arrays.npz")
    with pytest.raises(pg.CheckpointError, match=r"records-3/arrays.npz: SHA-256"):
        minimize(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "lm"}, "differs in optimizer;"),
        ({"record_every": 2}, "differs in record_every;"),
        ({"stop": pg.Stop(loss=1e-30)}, "differs in stop;"),
    ],
)
def test_the_save_of_another_run_is_refused_by_name(tmp_path, changes, words):
    minimize(tmp_path)
    with pytest.raises(pg.CheckpointError, match=words):
        minimize(tmp_path, **changes)


def test_another_version_or_precision_is_refused_by_name(tmp_path, monkeypatch):
    minimize(tmp_path)
    versions = {"package_version": lambda: "9.9"}
    for name, value in versions.items():
        monkeypatch.setattr(f"physgrad.loop.fingerprint.{name}", value)
    with pytest.raises(pg.CheckpointError, match=r"physgrad 0.* there, 9.9 here"):
        minimize(tmp_path)


def test_the_fingerprint_knows_what_a_run_depends_on():
    def closing_over(value):
        return lambda x: x * value

    kinds = {
        "target": (objective(), pg.Objective(bent, pg.SquaredLoss(jnp.zeros(3)))),
        "code": ((lambda x: x + 1), (lambda x: x + 2)),
        "closure": (closing_over(1.0), closing_over(2.0)),
        "array": (closing_over(jnp.ones(2)), closing_over(jnp.zeros(2))),
        "rate": (optax.adam(0.1), optax.adam(0.2)),
        "module": (pg.PhysicalGradient(0.1), pg.PhysicalGradient(0.2)),
        "metric": (
            pg.PhysicalGradient(0.1),
            pg.PhysicalGradient(0.1, metric="gradient"),
        ),
        "keys": (jax.random.key(0), jax.random.key(1)),
        "default": ((lambda x, a=1: x), (lambda x, a=2: x)),
    }
    for name, (one, other) in kinds.items():
        first, second = fingerprint({"it": one}), fingerprint({"it": other})
        assert first["it"] != second["it"], name
        assert fingerprint({"it": one}) == first
    again = fingerprint({"it": optax.adam(0.1)})
    assert again == fingerprint({"it": optax.adam(0.1)})


def test_a_folder_in_use_is_refused(tmp_path):
    def second(snapshot):
        with pytest.raises(BlockingIOError, match=f"in use by process {os.getpid()}"):
            minimize(tmp_path)

    run = minimize(tmp_path, steps=3, callback=second)
    assert run.num_steps == 3


def test_places_that_cannot_be_used_are_refused_before_the_run(tmp_path):
    def runs(folder, error, words):
        with pytest.raises(error, match=words):
            minimize(folder, callback=lambda snapshot: pytest.fail("it ran"))

    (tmp_path / "file").write_text("mine")
    runs(tmp_path / "file", NotADirectoryError, "is a file, not a folder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    runs(tmp_path / "other", FileExistsError, "holds notes.txt, which is no checkpoint")
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"
    runs(tmp_path / ("long" * 100), OSError, "too long")


def test_a_first_save_that_was_killed_begins_afresh_and_says_so(tmp_path):
    minimize(tmp_path)
    for place in ("state-0", "state-1"):
        shutil.rmtree(tmp_path / place)
    with pytest.warns(UserWarning, match="the run starts afresh"):
        assert same(minimize(tmp_path), minimize())


def test_a_full_disk_is_told_of_once_and_nothing_is_lost(tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        minimize(tmp_path, callback=interrupted_at(5))

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.warns() as caught:
        patch.setattr(saves, "save_folder", full)
        run = minimize(tmp_path)
    assert same(run, minimize())
    told = [str(warning.message) for warning in caught]
    assert len(told) == 2 and all("No space left on device" in t for t in told)
    resumed_from = []
    callback = lambda snapshot: resumed_from.append(snapshot.step)  # noqa: E731
    assert same(minimize(tmp_path, callback=callback), minimize())
    assert resumed_from[0] == 6


def test_a_disk_that_has_room_again_gets_all_of_the_run(tmp_path, monkeypatch):
    calls, save_folder = [], saves.save_folder

    def full_for_a_while(*args, **kwargs):
        calls.append(args)
        if 4 < len(calls) < 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_folder(*args, **kwargs)

    monkeypatch.setattr(saves, "save_folder", full_for_a_while)
    with pytest.warns(UserWarning, match="it goes on in memory"):
        run = minimize(tmp_path)
    assert same(run, minimize()) and same(minimize(tmp_path), run)


def test_a_run_that_fails_is_saved_too(tmp_path):
    # the third target is out of the range of the square
    square = pg.Simulator(lambda x: x**2, pg.AnalyticInverse(jnp.sqrt))
    steep = pg.Objective(square, pg.SquaredLoss(jnp.array([-1.0])))
    method = pg.PhysicalGradient(0.3)
    ends = [
        pg.minimize(steep, method, jnp.array([3.0]), 9, checkpoint=folder)
        for folder in (None, tmp_path, tmp_path)
    ]
    assert not ends[0].ok
    assert same(ends[0], ends[1]) and same(ends[0], ends[2])
