"""What the cases of a study have found, kept on the disk as soon as it is known."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import physgrad

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "experiments"
PACKAGES = ("physgrad", "jax", "optax", "numpy")


class Store:
    """Key of a case to what it found, a dict of numbers, lists and text."""

    def __init__(self, study: str, quick: bool, anew: bool):
        library = sorted(Path(physgrad.__file__).parent.rglob("*.py"))
        shared = [HERE / "methods.py", HERE / "trainings.py"]
        sources = [HERE / f"{study}.py", *shared, *library]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
        name = f"{study}{'-quick' if quick else ''}-{digest.hexdigest()[:12]}.json"
        self.path = CACHE / name
        CACHE.mkdir(parents=True, exist_ok=True)
        known = self.path.exists() and not anew
        self.found: dict[str, Any] = json.loads(self.path.read_text()) if known else {}

    def __contains__(self, key: str) -> bool:
        return key in self.found

    def __getitem__(self, key: str) -> Any:
        return self.found[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.found[key] = value
        new = self.path.with_suffix(".tmp")
        new.write_text(json.dumps(self.found))
        os.replace(new, self.path)

    @staticmethod
    def machine() -> str:
        """Date, machine and versions, in one line."""
        packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        cores = os.cpu_count()
        if hasattr(os, "sched_getaffinity"):  # not all of them may be ours
            cores = f"{len(os.sched_getaffinity(0))} of {cores}"
        return (
            f"{datetime.date.today()}, {cores} cores ({platform.machine()}), "
            f"{sys.platform}, Python {platform.python_version()}, {packages}, float64."
        )
