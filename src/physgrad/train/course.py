"""Several methods on one experiment, one after another, saved as they go."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physgrad.inverses.notes import note
from physgrad.loop.saves import Saves, locked_folder
from physgrad.names import Named, package_version
from physgrad.results import CheckpointError, Result
from physgrad.train.experiment import Experiment
from physgrad.train.experiments import named_experiment
from physgrad.train.named_methods import named_method
from physgrad.train.plan import METHOD, OURS, Plan
from physgrad.train.training import Budget, Point, Shown, Training

# Seconds from one save to the next.
PERIOD = 5.0
KIND = "training-state"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one method has reached."""

    words: str
    """The method with all of its settings."""
    history: tuple[Point, ...]
    compile_seconds: float
    result: str
    message: str
    shown: Shown
    """What the network makes of a few samples."""
    epochs_before: int
    """Those of an earlier run that this one has gone on with."""
    batches: int
    """Seen so far."""
    without_step: Mapping[str, int]
    """Batches that were no step: "skipped", without one, and "rejected", no fall."""
    without_point: int
    """Samples of the validation for which the method had no x+ to lead to."""
    held_out: int
    """All samples of the validation."""
    unsaved: str
    """Why the network could not be saved; empty where it was, or need not be."""

    @property
    def last(self) -> Point:
        """At the end."""
        return self.history[-1]

    def document(self) -> dict[str, Any]:
        """As it stands in results.json."""
        last = dataclasses.asdict(self.last)
        return {
            "method": self.words,
            **last,
            "compile_seconds": self.compile_seconds,
            **{f"{why}_batches": n for why, n in self.without_step.items()},
            **({"without_point": self.without_point} if self.without_point else {}),
            "result": self.result,
            "message": self.message,
            "history": [dataclasses.asdict(point) for point in self.history],
        }


def train_all(
    experiment: str,
    methods: Mapping[str, Named],
    budget: Budget,
    seed: int = 0,
    *,
    folder: Path | None = None,
    watch: Callable[[str, Point], None] | None = None,
) -> dict[str, Outcome]:
    """Train a network by each method, from the same start, each for as long.

    **Arguments:**

    - `experiment`: its name.
    - `methods`: key to method, as `parse_methods` reads them.
    - `budget`: for each.
    - `seed`: of network and data.
    - `folder`: where to save; what is there is gone on with, and must be of the same
        experiment and seed, and of no other methods.
    - `watch`: is told the key and each new point.

    **Raises:** `ValueError` for settings that do not fit; `CheckpointError` for saves
    of another training, or broken ones; `OSError` of the disk: before any method is
    trained. A disk that fails later costs no results: `Outcome.unsaved` tells.
    """
    made, outcomes = named_experiment(experiment), {}
    for named in methods.values():
        made.check_batch(int(named.settings["batch"]))
    with _checkpoints(folder) as place:
        keepers = {}
        if place is not None:
            Plan.of(experiment, seed, methods).keep(place)
            for key, named in methods.items():
                identity = _identity(made, named, seed)
                keepers[key] = _Keeper(place / _name(named.words), identity)
        for key, named in methods.items():
            method, batch = named_method(named), int(named.settings["batch"])
            training, keeper = Training(made, method, batch, seed), keepers.get(key)
            if keeper is not None:
                keeper.restore(training)
            before = training.epochs
            for point in training.run(budget):
                if watch is not None and point is not None:
                    watch(key, point)
                if keeper is not None:
                    keeper.save(training, now=False)
            if keeper is not None:
                keeper.save(training, now=True)
            outcomes[key] = _outcome(named, training, keeper, before)
    return outcomes


def _outcome(
    named: Named, training: Training, keeper: _Keeper | None, before: int = 0
) -> Outcome:
    counts = {why: getattr(training.state, why, 0) for why in ("skipped", "rejected")}
    return Outcome(
        named.words,
        tuple(training.history),
        training.compile_seconds,
        str(training.result),
        training.message,
        training.shown(),
        before,
        training.epochs * training.batches,
        {why: int(count) for why, count in counts.items() if count},
        training.without_point(),
        training.experiment.held_out,
        "" if keeper is None else keeper.failed,
    )


@contextlib.contextmanager
def _checkpoints(folder: Path | None) -> Iterator[Path | None]:
    if folder is None:
        yield None
        return
    with locked_folder(folder / "checkpoints", further=OURS) as place:
        yield place


def _name(words: str) -> str:
    """A plain name for a method's folder, whatever other methods there are."""
    return METHOD + hashlib.sha256(words.encode()).hexdigest()[:12]


def _identity(experiment: Experiment, named: Named, seed: int) -> dict[str, str]:
    """What must be the same for a training to go on to the same bits."""
    return {
        "experiment": experiment.name,
        "method": named.words,
        "seed": str(seed),
        "physgrad": package_version(),
        "jax": jax.__version__,
        "dtype": str(jnp.result_type(float)),
        "device": jax.devices()[0].device_kind,
    }


class _Keeper:
    """Saves a training, and puts it where its last save left it."""

    def __init__(self, folder: Path, identity: Mapping[str, str]):
        self.saves = Saves(folder, KIND, identity)
        self.last, self.failed = time.monotonic(), ""
        self.found = self.saves.newest()
        if self.found is None and folder.exists():
            note(f"{folder}: the first save was not finished; it starts afresh")

    def restore(self, training: Training) -> None:
        """Put a training where its last save left it; one without begins.

        **Raises:** `CheckpointError` for arrays of another network.
        """
        if self.found is None:
            return
        told, arrays = self.found.document, self.found.arrays
        leaves, structure = jax.tree.flatten((training.params, training.state))
        wanted = {str(i): (leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)}
        if wanted != {name: (a.shape, a.dtype) for name, a in arrays.items()}:
            raise CheckpointError(
                f"{self.saves.folder}: the arrays are not those of this training; name "
                "another folder"
            )
        training.params, training.state = jax.tree.unflatten(
            structure, [jnp.asarray(arrays[name]) for name in wanted]
        )
        training.epochs, training.seconds = told["epochs"], told["seconds"]
        known = training.experiment.x_error is not None
        training.history = [Point.read(point, known) for point in told["history"]]
        training.result, training.message = Result(told["result"]), told["message"]
        self.found = None

    def save(self, training: Training, now: bool) -> None:
        """Save if it is time to, or `now`; a disk that fails is told of once."""
        if not now and time.monotonic() - self.last < PERIOD:
            return
        document = {
            "epochs": training.epochs,
            "seconds": training.seconds,
            "history": [dataclasses.asdict(point) for point in training.history],
            "result": str(training.result),
            "message": training.message,
        }
        leaves = jax.tree.leaves((training.params, training.state))
        arrays = {str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)}
        try:
            self.saves.write(document, arrays)
            self.failed = ""
        except OSError as error:
            if not self.failed:
                note(
                    f"{self.saves.folder}: the training could not be saved: {error}; "
                    "it goes on in memory, and what was saved before is whole"
                )
            self.failed = f"{self.saves.folder}: {error.strerror or error}"
        self.last = time.monotonic()
