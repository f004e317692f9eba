"""Progress on long runs: a bar on a terminal, a callback once a chunk."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# So few steps are not worth a bar: with one, two programs are compiled, not one.
FEW_STEPS = 1000
# Runs shorter than this show no bar.
PATIENCE_SECONDS = 0.5
# A watched run (bar or callback) is looked at so many times.
LOOKS = 50


class Snapshot(NamedTuple):
    """What a callback sees, once a chunk."""

    step: int
    """Steps done."""
    num_steps: int
    """Steps asked for."""
    loss: float
    """L at the present iterate."""
    x: Any
    """The present iterate, a PyTree."""


def steps_between_looks(num_steps: int) -> int:
    """How many steps a watched run goes on unseen."""
    return -(-num_steps // LOOKS)


def wants_bar(progress: bool | None, num_steps: int) -> bool:
    """Whether to show a bar: on a terminal, for a long run or if told to."""
    wanted = num_steps > FEW_STEPS if progress is None else progress
    return wanted and sys.stderr.isatty()


@contextlib.contextmanager
def reporter(shown: bool) -> Iterator[Callable[[Snapshot], None]]:
    """A function that takes each snapshot, and draws a bar on stderr if `shown`."""
    if not shown:
        yield lambda snapshot: None
        return
    from rich.console import Console  # only where a person is watching
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task, started = bar.add_task("minimize", total=None), time.monotonic()

    def show(snapshot: Snapshot) -> None:
        if time.monotonic() - started > PATIENCE_SECONDS:
            bar.start()
        bar.update(
            task,
            completed=snapshot.step,
            total=snapshot.num_steps,
            description=f"loss {snapshot.loss:.4g}",
        )

    try:
        yield show
    finally:
        bar.stop()
