"""What the folder of a training is for, kept from the first moment on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from physgrad.loop.saves import write_whole
from physgrad.names import Named
from physgrad.results import CheckpointError
from physgrad.storage import from_json, load_folder, to_json

METHOD, PLAN = "method-", "training"
OURS = METHOD, PLAN
"""How names in the folder of checkpoints begin."""
KIND, FILE = "training-plan", "plan.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """An experiment, a seed, and the methods that train side by side."""

    experiment: str
    seed: int
    methods: tuple[str, ...]
    """As `parse_methods` reads them, with all of their settings."""

    @classmethod
    def of(cls, experiment: str, seed: int, methods: Mapping[str, Named]) -> Plan:
        """That of a training."""
        return cls(experiment, seed, tuple(_text(n.words) for n in methods.values()))

    @classmethod
    def read(cls, checkpoints: Path) -> Plan | None:
        """That of a folder of checkpoints; None where there is none.

        **Raises:** `CheckpointError` for a file that is broken.
        """
        place = checkpoints / PLAN
        if not place.exists():
            return None
        name = str(place / FILE)
        told = from_json(load_folder(place, kind=KIND)[FILE], name=name)
        return cls(told["experiment"], told["seed"], tuple(told["methods"]))

    def keep(self, checkpoints: Path) -> None:
        """Write it, where it is new; a folder may get more methods, not lose any.

        **Raises:** `CheckpointError` for a folder of another training, or of methods
        that are not named; `OSError` of the disk.
        """
        held = Plan.read(checkpoints)
        if held is not None:
            held.check(self.experiment, self.seed, checkpoints)
            missing = [text for text in held.methods if text not in self.methods]
            if missing:
                raise CheckpointError(
                    f"{checkpoints.parent} is of another run, which has {missing[0]}, "
                    "too: name that method as well, or another folder"
                )
        if held != self:
            content = to_json(dataclasses.asdict(self)).encode()
            write_whole(checkpoints / PLAN, KIND, {FILE: content})

    def check(self, experiment: str, seed: int, checkpoints: Path) -> None:
        """Refuse another experiment or seed (`CheckpointError`)."""
        if (self.experiment, self.seed) != (experiment, seed):
            raise CheckpointError(
                f"{checkpoints.parent} is of another run: {self.experiment}, seed "
                f"{self.seed}; got {experiment}, seed {seed}: name another folder"
            )


def _text(words: str) -> str:
    """NAME:key=value,... of NAME(key=value, ...)."""
    name, _, settings = words.partition("(")
    return f"{name}:{settings.removesuffix(')').replace(', ', ',')}".removesuffix(":")
