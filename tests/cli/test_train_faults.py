"""`physgrad train` on a full disk, with broken checkpoints, NaN, and interrupts."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from command import environment, strict_json

from physgrad.cli import training
from physgrad.loop.saves import locked_folder
from physgrad.storage import from_json
from physgrad.train.plan import OURS

WORDS = ("train", "two-scale-toy", "--method", "lm:batch=16")


@pytest.fixture(autouse=True)
def x64_stays_off():
    import jax

    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(training, "_figures", lambda outcomes: {})


@pytest.fixture
def out(trained, tmp_path) -> Path:
    """A folder of one epoch, with one save."""
    return shutil.copytree(trained, tmp_path / "out")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    from physgrad.cli import run

    folder = tmp_path_factory.mktemp("trained") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_figures", lambda outcomes: {})
        assert run([*WORDS, "--epochs", "1", "--out", str(folder)]) == 0
    return folder


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


DISKS = {
    # what cannot be written, and what is said of it
    "checkpoints": ("physgrad.loop.saves.save_folder", "cannot save the networks in"),
    "results": ("physgrad.plot.saving.write_file", "cannot save results in"),
}


@pytest.mark.parametrize("what", DISKS)
def test_a_full_disk_costs_no_table(what, here, out, monkeypatch):
    place, said = DISKS[what]
    monkeypatch.setattr(place, full)
    words = ("--epochs", "2", "--resume", "--out", str(out))
    with warnings.catch_warnings(action="always"):
        code, table, err = here(*WORDS, *words)
    assert code == 3 and "lm" in table
    last = err.splitlines()[-1]
    assert last.startswith(f"physgrad: {said} ") and "No space left on device" in last
    assert err.count("warning: ") == (what == "checkpoints")
    older = json.loads((out / "results.json").read_text())["methods"]["lm"]["epochs"]
    assert older == (2 if what == "checkpoints" else 1)  # whole, whichever it is
    monkeypatch.undo()
    monkeypatch.setattr(training, "_figures", lambda outcomes: {})
    assert here(*WORDS, *words)[0] == 0


def damage(out: Path, name: str) -> None:
    for file in (out / "checkpoints").glob(f"method-*/state-*/{name}"):
        file.write_bytes(file.read_bytes()[:-9])


def later(out: Path, name: str) -> None:
    for file in (out / "checkpoints").glob("method-*/state-*/manifest.json"):
        file.write_text(file.read_text().replace('"schema": 1', '"schema": 2'))


def foreign(out: Path, name: str) -> None:
    (out / "checkpoints" / "notes.txt").write_text("mine")


REFUSED = {
    # what is done to the folder, the exit code, what is said
    "broken": (damage, "arrays.npz", 3, "arrays.npz: expected"),
    "later": (later, "", 3, "written by physgrad >= "),
    "foreign": (foreign, "", 3, "holds notes.txt, which is no checkpoint"),
}


@pytest.mark.parametrize("fault", REFUSED)
@pytest.mark.parametrize("option", ["--resume", "--force"])
def test_checkpoints_that_cannot_be_used_are_refused(option, fault, here, out):
    change, name, code, said = REFUSED[fault]
    change(out, name)
    found, table, err = here(*WORDS, "--epochs", "2", option, "--out", str(out))
    if option == "--force" and fault != "foreign":
        assert found == 0
        return
    assert (found, table, err.count("\n")) == (code, "", 1)
    assert said in err


def test_a_checkpoint_of_another_experiment_is_wrong_use(here, out):
    words = ("train", "sine-map", *WORDS[2:], "--epochs", "2", "--resume")
    code, _, err = here(*words, "--out", str(out))
    assert (code, err.count("\n")) == (2, 1)
    assert "two-scale-toy, seed 0; got sine-map, seed 0: name another folder" in err


def test_places_that_cannot_be_used_are_refused_before_the_training(here, tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file", "file/below", "long" * 100, "a\nb" * 100):
        words = (*WORDS, "--epochs", "1", "--out", str(tmp_path / name))
        code, table, err = here(*words)
        assert (code, table, err.count("\n")) == (3, "", 1)
        assert "cannot save results in" in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_use_is_refused(here, out):
    with locked_folder(out / "checkpoints", OURS):
        words = ("--epochs", "2", "--resume", "--out", str(out))
        code, table, err = here(*WORDS, *words)
    assert (code, table, err.count("\n")) == (3, "", 1)
    assert "in use by process" in err


@pytest.fixture
def one_is_huge(monkeypatch):
    """Of four batches one has a sample whose loss is not finite; so has a validation
    of more than 50 samples."""
    import jax.numpy as jnp

    from physgrad.train import course
    from physgrad.train.experiments import named_experiment

    toy = named_experiment("two-scale-toy")

    def draw(key, count):
        samples = toy.draw(key, count)
        huge = jnp.where(jnp.arange(count) == 50, 1e200, 1.0)
        target = samples.target * huge[:, None]
        return dataclasses.replace(samples, target=target)

    def validated_on(held_out):
        changes = {"draw": draw, "kept": 64, "held_out": held_out}
        experiment = dataclasses.replace(toy, **changes)
        monkeypatch.setattr(course, "named_experiment", lambda name: experiment)

    return validated_on


def test_batches_that_were_no_step_are_told(here, one_is_huge, tmp_path):
    one_is_huge(32)
    code, table, _ = here(*WORDS, "--epochs", "3", "--out", str(tmp_path))
    assert code == 0
    assert "lm: 3 of 12 batches skipped: not finite, or without" in table
    document = strict_json((tmp_path / "results.json").read_text())
    assert document["methods"]["lm"]["skipped_batches"] == 3


def test_what_is_not_finite_is_null_and_named(here, one_is_huge, tmp_path):
    one_is_huge(64)
    code, table, _ = here(*WORDS, "--epochs", "3", "--out", str(tmp_path))
    assert code == 1 and "lm: non_finite: " in table
    text = (tmp_path / "results.json").read_text()
    document = strict_json(text)
    assert document["methods"]["lm"]["validation_loss"] is None
    assert "methods.lm.validation_loss" in document["nonfinite"]
    assert from_json(text, name="results.json") == document


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_it_and_it_goes_on(number, tmp_path):
    command = [sys.executable, "-m", "physgrad", *WORDS, "--out", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--seconds", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("lm: ")
        process.send_signal(number)
        assert process.wait(10) == 128 + number
        assert (
            "interrupted; --resume, and not --force, goes on" in process.stderr.read()
        )
    ended = subprocess.run(
        [*command, "--epochs", "1", "--resume", "--json"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert ended.returncode == 0
    assert strict_json(ended.stdout)["methods"]["lm"]["epochs"] >= 1
