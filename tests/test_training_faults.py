"""Trainings that meet a full disk or a broken checkpoint."""

from __future__ import annotations

import dataclasses
import errno
import functools
import re
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physgrad.loop import saves
from physgrad.loop.saves import Saves
from physgrad.results import CheckpointError
from physgrad.train import course
from physgrad.train.course import train_all
from physgrad.train.experiments import MAKERS
from physgrad.train.networks import mlp
from physgrad.train.training import Budget
from physgrad.training_names import parse_methods

TOY, LM = "two-scale-toy", "lm:batch=16"
((KEY, NAMED),) = parse_methods([LM], TOY).items()


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def saved_at_each_epoch(monkeypatch):
    monkeypatch.setattr(course, "PERIOD", 0.0)


def train(folder: Path | None, epochs: int, *methods: str, **settings):
    named = parse_methods(methods or [LM], TOY)
    budget = Budget(epochs=epochs)
    return train_all(TOY, named, budget, folder=folder, **settings)


def losses(outcomes) -> list[float]:
    """What each method ends at, to the bit."""
    return [outcome.last.validation_loss for outcome in outcomes.values()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with two saves, which tests copy."""
    folder = tmp_path_factory.mktemp("trained")
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "PERIOD", 0.0)
        train(folder, 3)
    return folder


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "copy")


def place_of(folder: Path) -> Path:
    (place,) = (folder / "checkpoints").glob("method-*")
    return place


@functools.cache
def undisturbed(epochs: int) -> list[float]:
    return losses(train(None, epochs))


class FullDisk:
    """`save_folder` with no room for some of its calls."""

    def __init__(self, monkeypatch, full):
        self.calls, self.full, self.save_folder = 0, full, saves.save_folder
        monkeypatch.setattr(saves, "save_folder", self)

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls in self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.save_folder(*args, **kwargs)


def test_a_full_disk_is_told_of_once_and_nothing_is_lost(folder, monkeypatch):
    with monkeypatch.context() as patch, pytest.warns(UserWarning) as caught:
        FullDisk(patch, full=range(100))
        outcomes = train(folder, 6)
    told = [str(warning.message) for warning in caught]
    assert len(told) == 1 and "No space left on device" in told[0]
    assert "goes on in memory, and what was saved before is whole" in told[0]
    assert losses(outcomes) == undisturbed(6)
    assert "No space left on device" in outcomes[KEY].unsaved
    seen = []
    again = train(folder, 6, watch=lambda key, point: seen.append(point.epochs))
    assert seen[0] == 4 and losses(again) == undisturbed(6)  # from what was saved
    assert not again[KEY].unsaved


def test_a_disk_that_has_room_again_gets_the_network(folder, monkeypatch):
    FullDisk(monkeypatch, full=(1,))
    with pytest.warns(UserWarning, match="goes on in memory"):
        outcomes = train(folder, 6)
    assert not outcomes[KEY].unsaved
    assert losses(train(folder, 6, watch=lambda *_: pytest.fail("it trained"))) == (
        undisturbed(6)
    )


def test_a_disk_that_fills_costs_no_method_its_results(tmp_path, monkeypatch):
    """Also one that has saved nothing yet."""
    disk = FullDisk(monkeypatch, full=range(3, 100))
    with pytest.warns(UserWarning) as caught:
        outcomes = train(tmp_path, 2, LM, "adam")
    assert disk.calls > 4 and len(caught) == 2  # one of each method
    assert [o.last.epochs for o in outcomes.values()] == [2, 2]
    assert all(o.unsaved for o in outcomes.values())


OTHERS = {
    "seed": lambda patch: None,
    "physgrad": lambda patch: patch.setattr(course, "package_version", lambda: "9.9"),
    "dtype": lambda patch: patch.setattr(jax, "enable_x64", jax.enable_x64),
    "jax": lambda patch: patch.setattr(jax, "__version__", "0.0.1"),
    "experiment": lambda patch: patch.setattr(
        course, "named_experiment", lambda _: MAKERS["sine-map"]()
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_something_else_is_refused(what, folder, monkeypatch):
    """Before anything is trained, and it stays as it is."""
    before = {p: p.read_bytes() for p in place_of(folder).glob("state-*/*")}
    OTHERS[what](monkeypatch)
    with (
        jax.enable_x64(what != "dtype"),
        pytest.raises(CheckpointError, match=f"of another run.* {what} "),
    ):
        train(folder, 5, seed=int(what == "seed"))
    assert {p: p.read_bytes() for p in place_of(folder).glob("state-*/*")} == before


def test_arrays_of_another_network_are_refused(folder, monkeypatch):
    """The same names, but the library has another network by now."""
    toy = MAKERS[TOY]()
    larger = dataclasses.replace(
        toy, network=functools.partial(mlp, (1, 8, 2), jnp.tanh)
    )
    monkeypatch.setattr(course, "named_experiment", lambda _: larger)
    with pytest.raises(CheckpointError, match="arrays are not those of this training"):
        train(folder, 5)


def read(place: Path) -> tuple[int, dict[str, np.ndarray]] | None:
    """What would be gone on with; None where it is refused by name."""
    identity = course._identity(MAKERS[TOY](), NAMED, 0)
    try:
        save = Saves(place, course.KIND, identity).newest()
    except CheckpointError as error:
        assert str(place) in str(error)
        return None
    assert save is not None
    return save.number, save.arrays


def same(one, other) -> bool:
    return one[0] == other[0] and all(
        np.array_equal(one[1][key], other[1][key]) for key in (one[1] | other[1])
    )


def damaged(data: bytes, every: int):
    """The bytes cut short, and with one bit turned, at many places."""
    for at in range(0, len(data), every):
        yield data[:at]
        yield data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


@pytest.mark.parametrize("every", [61, 3])
def test_a_damaged_save_is_never_wrong_numbers(every, folder):
    """The newest is as it was, or that before it is taken, and it says so."""
    place = place_of(folder)
    whole = read(place)
    assert whole is not None
    newest = place / f"state-{whole[0] % 2}"
    shutil.move(newest, folder / "aside")
    older = read(place)
    shutil.move(folder / "aside", newest)
    assert older is not None and older[0] == whole[0] - 1
    for file in sorted(newest.iterdir()):
        data = file.read_bytes()
        for broken in damaged(data, every):
            file.write_bytes(broken)
            with warnings.catch_warnings(record=True, action="always") as caught:
                found = read(place)
            assert found is not None
            told = ["the run goes on from the save before" in str(w) for w in caught]
            assert same(found, older if told else whole), file
        file.write_bytes(data)
    assert same(read(place), whole)


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "arrays.npz"])
def test_two_damaged_saves_are_refused(name, folder):
    """And so is the folder of one save: there is none to take in its place."""
    for at in (0.0, 0.5, 0.99):
        for file in place_of(folder).glob(f"state-*/{name}"):
            data = file.read_bytes()
            file.write_bytes(data[: int(at * len(data))])
        assert read(place_of(folder)) is None
        with pytest.raises(CheckpointError, match=name):
            train(folder, 5)


def test_a_training_goes_on_from_the_save_before_to_the_same_bits(folder):
    numbers = {
        p: int(re.findall(r'"number": (\d+)', p.read_text())[0])
        for p in place_of(folder).glob("state-*/state.json")
    }
    file = max(numbers, key=lambda p: numbers[p])
    file.write_bytes(file.read_bytes()[:-1])
    seen = []
    with pytest.warns(UserWarning, match=r"goes on from the save before"):
        found = train(folder, 5, watch=lambda key, point: seen.append(point.epochs))
    assert seen[0] in (2, 3, 4) and losses(found) == undisturbed(5)


def test_a_save_of_a_later_version_is_refused(folder):
    for file in place_of(folder).glob("state-*/manifest.json"):
        later = file.read_text().replace('"schema": 1', '"schema": 2')
        file.write_text(later)
    with pytest.raises(CheckpointError, match=r"written by physgrad >= .*: upgrade"):
        train(folder, 5)


def test_a_first_save_that_was_killed_begins_afresh_and_says_so(folder):
    for state in place_of(folder).glob("state-*"):
        shutil.move(state, state.with_name(f".{state.name}.tmp-99999999"))
    with pytest.warns(UserWarning, match="first save was not finished; it starts afr"):
        assert losses(train(folder, 3)) == undisturbed(3)


def test_what_cannot_go_on_is_said_before_anything_is_trained(folder):
    """Also of the last of several methods."""
    for file in place_of(folder).glob("state-*/arrays.npz"):
        file.write_bytes(b"")
    watched = []
    with pytest.raises(CheckpointError):
        train(folder, 4, "adam", LM, watch=lambda *point: watched.append(point))
    assert not watched
