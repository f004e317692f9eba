"""The command in a process of its own, and what it is held against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
REFERENCE = json.loads((TESTS / "reference_values.json").read_text())
RUN_KEYS = [
    *("optimizer", "result", "message", "spaces", "targets", "losses", "distance"),
    *("diagonal", "evaluations", "seconds"),
]


def refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def strict_json(text: str) -> dict:
    """The one document that is on stdout."""
    return json.loads(text, parse_constant=refuse)


def environment() -> dict[str, str]:
    """That of the tests, with their compilation cache."""
    cache = TESTS.parent / ".cache" / "jax"
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_ENABLE_X64": "0",
    }
    return {**os.environ, **own}


def physgrad(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "physgrad", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, env=environment(), text=True, **options)
