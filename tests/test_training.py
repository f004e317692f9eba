"""Trainings: each experiment learns, goes on to the same bits, and names what fails."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from physgrad.loop.saves import Saves
from physgrad.results import CheckpointError, Result
from physgrad.train import course
from physgrad.train.course import train_all
from physgrad.train.experiments import MAKERS
from physgrad.train.named_methods import named_method
from physgrad.train.training import Budget, Training
from physgrad.training_names import EXPERIMENTS, METHODS, parse_methods

# Method, epochs and seeds by which the loss, or the distance in x, falls so far.
LEARNS = {
    "two-scale-toy": [("half-inverse", 10, 3, 0.5), ("lm", 3, 3, 0.5)],
    "linear-oscillators": [("half-inverse", 3, 3, 0.05), ("lm", 3, 3, 0.01)],
    "nonlinear-oscillators": [("lm:batch=32", 4, 3, 0.5)],
    "poisson": [("physical", 3, 1, 0.9)],
    "quantum-dipole": [("lm:batch=16", 5, 1, 0.9)],
    "heat": [("physical:batch=8", 8, 1, 0.6)],
    "sine-map": [("physical", 5, 1, 0.5), ("supervised", 5, 1, 0.5)],
    "conductivity": [("physical", 1, 1, 0.4), ("supervised", 1, 1, 0.4)],
    "cart-pole": [("half-inverse", 1, 1, 0.5)],
}
BY_X = ("sine-map", "heat", "conductivity")
CASES = [(name, *case) for name, cases in LEARNS.items() for case in cases]


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def small(name: str):
    """The experiment with few samples, and on few cells."""
    experiment = MAKERS[name](
        **({"side": 16, "held_out": 32} if name == "heat" else {})
    )
    if name == "heat":
        return experiment
    kept = None if experiment.kept is None else 256
    return dataclasses.replace(experiment, kept=kept, held_out=256)


def trained(name: str, method: str, epochs: int, seed: int = 0) -> Training:
    (named,) = parse_methods([method], name).values()
    batch = min(int(named.settings["batch"]), 64)
    training = Training(small(name), named_method(named), batch, seed)
    for _ in training.run(Budget(epochs=epochs)):
        pass
    return training


@pytest.mark.parametrize(("name", "method", "epochs", "seeds", "part"), CASES)
def test_every_experiment_learns(name, method, epochs, seeds, part):
    """By its distance in x where that is known, else by its loss, on new samples."""
    falls = []
    for seed in range(seeds):
        history = trained(name, method, epochs, seed).history
        kind = "x_error" if name in BY_X else "validation_loss"
        falls.append(getattr(history[-1], kind) / getattr(history[0], kind))
    assert np.median(falls) < part


def test_all_methods_begin_alike_and_see_the_same_samples():
    starts = [trained("two-scale-toy", m, 0).history[0] for m in ("adam", "lm", "sgd")]
    assert len({(s.train_loss, s.validation_loss, s.x_error) for s in starts}) == 1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_finite_steps(name):
    training = trained("two-scale-toy", name, 1)
    assert training.result is Result.completed
    assert np.isfinite(training.history[-1].validation_loss)
    assert training.history[-1].validation_loss != training.history[0].validation_loss


def states(folder: Path) -> dict[str, np.ndarray]:
    """What was saved last, of the only method."""
    (place,) = (folder / "checkpoints").glob("method-*")
    identity = json.loads((place / "state-0" / "state.json").read_text())["identity"]
    found = Saves(place, course.KIND, identity).newest()
    assert found is not None
    return {"epochs": np.asarray(found.document["epochs"]), **found.arrays}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[key], other[key]) for key in one
    )


@pytest.mark.parametrize("method", ["adam", "lm", "half-inverse"])
def test_a_training_goes_on_to_the_same_bits(method, tmp_path):
    methods = parse_methods([method], "two-scale-toy")
    train_all("two-scale-toy", methods, Budget(epochs=5), folder=tmp_path / "one")
    for epochs in (2, 3, 5):
        budget = Budget(epochs=epochs)
        train_all("two-scale-toy", methods, budget, folder=tmp_path / "parts")
    assert same(states(tmp_path / "parts"), states(tmp_path / "one"))


def test_a_method_goes_on_whatever_is_trained_beside_it(tmp_path):
    """Its name in the table depends on the others, what is saved of it does not."""
    alone = parse_methods(["adam:batch=32"], "two-scale-toy")
    both = parse_methods(["adam", "adam:batch=32"], "two-scale-toy")
    train_all("two-scale-toy", alone, Budget(epochs=2), folder=tmp_path)
    found = train_all("two-scale-toy", both, Budget(epochs=3), folder=tmp_path)
    assert [p.epochs for p in found["adam:batch=32"].history[:1]] == [0]
    assert {o.last.epochs for o in found.values()} == {3}
    assert found["adam:batch=32"].history[1].epochs <= 2


PROGRAM = """
import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
from physgrad.train import course
from physgrad.train.training import Budget
from physgrad.training_names import parse_methods

course.PERIOD = 0.0
methods = parse_methods(["lm:batch=16"], "two-scale-toy")
print("begins", flush=True)
course.train_all(
    "two-scale-toy",
    methods,
    Budget(epochs=40),
    folder=Path(sys.argv[1]),
    watch=lambda key, point: print("point", flush=True),
)
"""


@contextlib.contextmanager
def begun(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A training in a process of its own, which has begun."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        yield process


def ended(folder: Path) -> int:
    """The exit code of a training that is left alone."""
    with begun(folder) as process:
        process.communicate()
        return process.returncode


def killed_and_resumed(folder: Path, kills: int) -> int:
    """Kill after some points of the history, then let it end; how often it was."""
    draw, killed = random.Random(5), 0
    for _ in range(kills):
        with begun(folder) as process:
            assert process.stdout is not None
            seen = [process.stdout.readline() for _ in range(draw.randint(0, 3))]
            time.sleep(draw.uniform(0.0, 0.02))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL and all(seen)
    assert ended(folder) == 0
    return killed


@pytest.mark.parametrize("kills", [2, 20])
def test_a_training_that_is_killed_ends_at_the_same_bits(kills, tmp_path):
    assert ended(tmp_path / "one") == 0
    assert killed_and_resumed(tmp_path / "killed", kills) >= 2
    assert same(states(tmp_path / "killed"), states(tmp_path / "one"))


def test_a_loss_that_is_not_finite_of_finite_parameters_is_named():
    experiment = dataclasses.replace(small("two-scale-toy"), batches=1)
    (named,) = parse_methods(["sgd:learning_rate=1e200"], "two-scale-toy").values()
    training = Training(experiment, named_method(named), 16, 0)
    points = [point for point in training.run(Budget(epochs=9)) if point]
    assert training.result is Result.non_finite and training.epochs == 1
    assert "infinite after epoch 1, of parameters that are finite" in training.message
    assert np.isfinite(points[0].train_loss) and points[-1].train_loss == np.inf
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(training.params))


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    for seed, words in ((0, None), (1, "seed 0; got two-scale-toy, seed 1")):
        methods = parse_methods(["lm"], "two-scale-toy")
        if words is None:
            train_all("two-scale-toy", methods, Budget(epochs=1), seed, folder=tmp_path)
            continue
        with pytest.raises(CheckpointError, match=words):
            train_all("two-scale-toy", methods, Budget(epochs=1), seed, folder=tmp_path)


def test_a_folder_is_for_one_training_at_a_time(tmp_path):
    methods = parse_methods(["lm"], "two-scale-toy")
    with course._checkpoints(tmp_path), pytest.raises(BlockingIOError, match="in use"):
        train_all("two-scale-toy", methods, Budget(epochs=1), folder=tmp_path)


def test_names_of_experiments_and_what_makes_them_are_the_same():
    assert list(EXPERIMENTS) == list(MAKERS)
    for name, card in EXPERIMENTS.items():
        assert MAKERS[name]().name == name
        assert set(card.settings) <= set(METHODS) and set(card.methods) <= set(METHODS)
        solved = MAKERS[name]().draw(jax.random.key(0), 2).solution is not None
        assert ("supervised" in card.without) != solved
