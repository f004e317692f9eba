"""The command in a fresh process: `physgrad --help` and `physgrad compare`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from report import show, verdict
from timing import measure

COMMAND = Path(sys.executable).with_name("physgrad")
GOALS = {"--help": 0.4, "compare": 4.0}
"""Arguments, and the seconds that they may take on two cores."""


def main(quick: bool) -> None:
    """Median of five for each; nothing is compiled or cached before."""
    if not COMMAND.exists() or importlib.util.find_spec("physgrad.cli") is None:
        print(f"SKIPPED: there is no command {COMMAND}\n")
        return
    rows = []
    for argument, goal in GOALS.items():
        times = measure(_call(argument), samples=2 if quick else 5, budget=60.0)
        met = verdict(f"< {goal:g} s", times.median < goal)
        rows.append([f"physgrad {argument}", times, met])
    show(["command", "time", "goal"], rows)


def _call(argument: str) -> Callable[[], object]:
    no_cache = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}

    def call() -> None:
        subprocess.run(
            [COMMAND, argument], env=no_cache, stdout=subprocess.DEVNULL, check=True
        )

    return call
