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
from physgrad.train.experiments import named_experiment
from physgrad.train.named_methods import named_method
from physgrad.train.training import Budget, Point, Training

# Seconds from one save to the next.
PERIOD = 5.0
KIND, METHOD = "training-state", "method-"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one method has reached."""

    words: str
    """The method with all of its settings."""
    history: tuple[Point, ...]
    compile_seconds: float
    result: str
    message: str

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
    - `folder`: where to save; what is there is gone on with.
    - `watch`: is told the key and each new point.

    **Raises:** `ValueError` for settings that do not fit; `CheckpointError` for saves
    of another training, or broken ones; `OSError` of the disk.
    """
    outcomes = {}
    with _checkpoints(folder) as place:
        for key, named in methods.items():
            training = Training(
                named_experiment(experiment),
                named_method(named),
                int(named.settings["batch"]),
                seed,
            )
            keeper = None
            if place is not None:
                identity = _identity(experiment, named, seed)
                keeper = _Keeper(training, place / _name(named.words), identity)
            for point in training.run(budget):
                if watch is not None and point is not None:
                    watch(key, point)
                if keeper is not None:
                    keeper.save(now=False)
            if keeper is not None:
                keeper.save(now=True)
            outcomes[key] = Outcome(
                named.words,
                tuple(training.history),
                training.compile_seconds,
                str(training.result),
                training.message,
            )
    return outcomes


@contextlib.contextmanager
def _checkpoints(folder: Path | None) -> Iterator[Path | None]:
    if folder is None:
        yield None
        return
    with locked_folder(folder / "checkpoints", further=(METHOD,)) as place:
        yield place


def _name(words: str) -> str:
    """A plain name for a method's folder, whatever other methods there are."""
    return METHOD + hashlib.sha256(words.encode()).hexdigest()[:12]


def _identity(experiment: str, named: Named, seed: int) -> dict[str, str]:
    """What must be the same for a training to go on to the same bits."""
    return {
        "experiment": experiment,
        "method": named.words,
        "seed": str(seed),
        "physgrad": package_version(),
        "jax": jax.__version__,
        "dtype": str(jnp.result_type(float)),
        "device": jax.devices()[0].device_kind,
    }


class _Keeper:
    """Saves a training, and puts it where its last save left it."""

    def __init__(self, training: Training, folder: Path, identity: Mapping[str, str]):
        folder.mkdir(exist_ok=True)
        self.training, self.saves = training, Saves(folder, KIND, identity)
        self.last, self.failed = time.monotonic(), False
        found = self.saves.newest()
        if found is None:
            return
        leaves, structure = jax.tree.flatten((training.params, training.state))
        arrays = [found.arrays.get(str(i)) for i in range(len(leaves))]
        for new, old in zip(arrays, leaves, strict=True):
            if new is None or (new.shape, new.dtype) != (old.shape, old.dtype):
                raise CheckpointError(
                    f"{folder}: the arrays are not those of this training; name "
                    "another folder"
                )
        told = found.document
        training.params, training.state = jax.tree.unflatten(
            structure, [jnp.asarray(v) for v in arrays]
        )
        training.epochs, training.seconds = told["epochs"], told["seconds"]
        training.history = [Point.read(point) for point in told["history"]]
        training.result, training.message = Result(told["result"]), told["message"]

    def save(self, now: bool) -> None:
        """Save if it is time to, or `now`; a disk that fails is told of once."""
        if not now and time.monotonic() - self.last < PERIOD:
            return
        training = self.training
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
            self.failed = False
        except OSError as error:
            if not self.failed or now:
                note(
                    f"{self.saves.folder}: the training could not be saved: {error}; "
                    "it goes on in memory, and what was saved before is whole"
                )
            self.failed = True
        self.last = time.monotonic()
