"""Trainings that meet a full disk, a broken checkpoint, NaN, or what does not fit."""

from __future__ import annotations

import dataclasses
import errno
import functools
import re
import shutil
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import physgrad as pg
from physgrad.loop import saves
from physgrad.loop.saves import Saves
from physgrad.results import CheckpointError, Result
from physgrad.train import course
from physgrad.train.course import train_all
from physgrad.train.experiment import Experiment, Sample
from physgrad.train.experiments import MAKERS
from physgrad.train.methods import FirstOrder, Physical, Plain, ThroughPhysics, TowardsX
from physgrad.train.networks import mlp
from physgrad.train.training import Budget, Training
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
        pytest.raises(CheckpointError, match=f"another run, which differs in {what} "),
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


class Bias(eqx.Module):
    """The same x for whatever input."""

    x: jax.Array

    def __call__(self, inputs):
        return self.x + 0 * inputs


def small_experiment(target, loss, kept: int | None = 96, **changes) -> Experiment:
    """z = x = b, from b = 0, with targets of each sample by its number."""

    def draw(key, count):
        targets = target(jnp.arange(count))
        return Sample(jnp.ones((count, 1)), targets)

    identity = pg.Simulator(lambda x: x, pg.AnalyticInverse(lambda z: z))
    return Experiment(
        name="bias",
        network=lambda key: Bias(jnp.zeros(1)),
        draw=draw,
        simulator=lambda sample: identity,
        loss=loss,
        kept=kept,
        held_out=64,
        **changes,
    )


def square(z, target):
    return jnp.sum((z - target) ** 2)


def descent(rate=0.5) -> FirstOrder:
    return FirstOrder(Plain(), optax.sgd(rate))


TOWARDS = TowardsX(pg.train.levenberg_marquardt)


def at(place: int, value: float, other: float = 1.0):
    """A target for one sample, and another for all others."""
    return lambda numbers: jnp.where(numbers == place, value, other)[:, None]


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_nan_in_the_data_is_named_before_the_training(value):
    with pytest.raises(ValueError, match=r"the kept data of bias .* in sample 70"):
        Training(small_experiment(at(70, value), square), descent(), 32, 0)
    new = small_experiment(at(50, value), square, kept=None)
    with pytest.raises(ValueError, match=r"the validation data of bias .* sample 50"):
        Training(new, descent(), 32, 0)


def steep(z, target):
    """The same, but no number where (z - target)^4 is none."""
    return square(z, target) + 0 * jnp.sum((z - target) ** 4)


def barrier(z, target):
    return square(z, 1.0) + 0 * jnp.sum(jnp.sqrt(target - z))


def distance(z, target):
    return jnp.sqrt(square(z, target))


BREAKS = {
    # what the loss makes of the sample; only after the first steps; its derivative
    "value": (at(70, 1e200), steep, "sample 6 of batch 3"),
    "later": (at(70, 0.5, 9.0), barrier, "sample 6 of batch 3"),
    "derivative": (at(5, 0.0), distance, "sample 5 of batch 1"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_sample_that_is_nan_is_named_and_the_network_kept(kind):
    target, loss, place = BREAKS[kind]
    training = Training(small_experiment(target, loss), descent(), 32, 0)
    for _ in training.run(Budget(epochs=3)):
        pass
    assert training.result is Result.non_finite
    assert f"NaN or infinity in epoch 1, {place}; " in training.message
    assert training.params.x == 0 and training.epochs == 0


def counted(experiment, step, epochs=2):
    """What a method says of batches that were no step."""
    method = ThroughPhysics(lambda known: step(loss=known.loss, metric="newton"))
    training = Training(experiment, method, 32, 0)
    for _ in training.run(Budget(epochs=epochs)):
        pass
    return training, course._outcome(NAMED, training, None)


@pytest.mark.parametrize("step", [pg.train.half_inverse, pg.train.levenberg_marquardt])
def test_batches_that_are_not_finite_are_skipped_and_counted(step):
    """One of three in each epoch; the others train on."""
    training, outcome = counted(small_experiment(at(70, 1e200), steep), step)
    assert (outcome.batches, outcome.without_step["skipped"]) == (6, 2)
    assert outcome.document()["skipped_batches"] == 2
    assert outcome.result == "completed" and training.params.x > 0.5


def test_steps_that_are_rejected_are_counted():
    """At the minimum no step makes the loss fall."""
    experiment = small_experiment(at(0, 0.0, 0.0), square)
    _, outcome = counted(experiment, pg.train.levenberg_marquardt)
    assert outcome.without_step == {"rejected": 6}
    assert outcome.document()["rejected_batches"] == 6
    fine = small_experiment(at(0, 1.0), square)
    _, outcome = counted(fine, pg.train.half_inverse)
    assert not outcome.without_step and "skipped_batches" not in outcome.document()


@pytest.mark.parametrize("method", [FirstOrder(Physical(), optax.sgd(0.5)), TOWARDS])
def test_samples_without_a_point_to_lead_to_are_counted(method):
    """z = x^2 has no x for a target below zero: such a sample has no weight."""

    def simulator(sample):
        return pg.Simulator(lambda x: x**2, pg.AnalyticInverse(jnp.sqrt))

    experiment = small_experiment(lambda n: jnp.where(n % 4, 4.0, -9.0)[:, None], None)
    experiment = dataclasses.replace(
        experiment, simulator=simulator, network=lambda key: Bias(jnp.ones(1))
    )
    training = Training(experiment, method, 32, 0)
    for _ in training.run(Budget(epochs=30)):
        pass
    outcome = course._outcome(NAMED, training, None)
    assert (outcome.without_point, outcome.held_out) == (16, 64)
    assert outcome.document()["without_point"] == 16
    assert training.params.x == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "at least one sample, got 0"), (300, "at most the 96 samples .*, got 300")],
)
def test_a_batch_that_the_data_cannot_fill_is_refused(size, words):
    with pytest.raises(ValueError, match=words):
        Training(small_experiment(at(0, 1.0), square), descent(), size, 0)


@pytest.mark.parametrize("size", [1, 95, 96])
def test_batches_of_any_size_reach_the_same_minimum(size):
    training = Training(small_experiment(at(0, 1.0), square), descent(), size, 0)
    for _ in training.run(Budget(epochs=2)):
        pass
    assert training.params.x == 1.0
