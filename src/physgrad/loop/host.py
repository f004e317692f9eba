"""The host side of the loop: checks, chunks, progress, messages, seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from jaxtyping import PyTree

from physgrad.inverses.settings import brief, positive, whole_number
from physgrad.loop.checkpoint import Checkpoint, opened
from physgrad.loop.chunks import Chunks
from physgrad.loop.fingerprint import fingerprint
from physgrad.loop.followed import Follower, follow
from physgrad.loop.reporting import (
    Snapshot,
    reporter,
    steps_between_looks,
    wants_bar,
)
from physgrad.loop.stopping import StopRule
from physgrad.objective.objective import Objective
from physgrad.optimizer.optimizer import Optimizer
from physgrad.optimizers.scipy_optimizer import ScipyOptimizer
from physgrad.results import RunError
from physgrad.trajectory import Run


def minimize(
    objective: Objective,
    optimizer: Optimizer | ScipyOptimizer,
    x0: PyTree,
    num_steps: int = 100,
    *,
    bounds: Any = None,
    stop: StopRule = None,
    record_every: int | None = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    time_limit: float | None = None,
    progress: bool | None = None,
    callback: Callable[[Snapshot], None] | None = None,
    throw: bool = False,
) -> Run:
    """Run an optimizer on L(P(x)) from x0, and keep its iterates in every space.

    A new start, step size or target of the same shape is not compiled again; fresh
    functions (a lambda written inside a loop) and Optax transformations are. As with
    `jax.jit`, what a function reads from outside (a global, an attribute) keeps the
    value of its first run: change numbers through arrays of modules.

    **Arguments:**

    - `x0`: PyTree of arrays; whole numbers become floats.
    - `num_steps`: done exactly, unless `stop` holds before or the run fails.
    - `bounds`: None for those of the objective, or a pair (lower, upper), each a
        number, a PyTree like x, or None: every iterate lies within, bounds included,
        and an entry whose two are equal stays as it is.
    - `stop`: None; a `Stop` on loss, gradient or step; or a function of `Reached` that
        returns a bool. A run that it ends is `converged`.
    - `record_every`: record each so-manieth iterate, and always the first and last, and
        a saddle that is left; None: these only. Records take 1 + num_steps /
        record_every times the bytes of x and z.
    - `checkpoint`: a folder, in which a long run is saved every few seconds. The same
        call resumes it after whatever ended the process, to the same bits; with a
        larger `num_steps` it goes on.
    - `time_limit`: seconds after which no step is begun; what was done stands.
    - `progress`: a bar on stderr, on a terminal only; None: for more than 1,000 steps.
    - `callback`: called with a `Snapshot` about fifty times during the run.
    - `throw`: raise `RunError`, which carries the run, where the run fails.

    **Returns:** a `Run`. A run that fails says so by `run.result` and `run.message`,
    and ends at its last good iterate.

    **Raises:** `ValueError`, `TypeError` for wrong arguments, before anything runs;
    `OSError` for a checkpoint that cannot be written to or is in use, `CheckpointError`
    for one that is broken or of another run; `RunError` if `throw`.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> objective = pg.Objective(lambda x: x, lambda z: jnp.sum(z**2))
    >>> run = pg.minimize(objective, pg.GradientDescent(0.25), jnp.array([8.0]), 3)
    >>> run, run.trajectory["z"].tolist()
    (Run(completed, loss=1, num_steps=3), [[8.0], [4.0], [2.0], [1.0]])
    """
    num_steps = whole_number("num_steps", 0)(num_steps)
    shown = wants_bar(progress, num_steps)
    if bounds is not None and isinstance(objective, Objective):
        objective = dataclasses.replace(objective, bounds=bounds)
    kept = checkpoint is not None
    limited = time_limit is not None
    if limited:
        time_limit = float(positive("time_limit")(time_limit))
    seen = callback is not None or shown or kept or limited
    settings = {"stop": stop, "record_every": record_every, "time_limit": time_limit}
    make = partial(Chunks, objective, x0=x0, num_steps=num_steps, **settings)
    if not (callback is None or callable(callback)):
        raise TypeError(
            f"callback must be a function of a Snapshot, got {brief(callback)}"
        )
    with reporter(shown) as show:

        def look(chunks: Chunks) -> None:
            show(chunks.snapshot())
            if callback is not None:
                callback(chunks.snapshot())

        if isinstance(optimizer, ScipyOptimizer):
            if kept:
                raise ValueError(
                    "checkpoint is for methods of physgrad: what "
                    f"{type(optimizer).__name__} knows cannot be saved"
                )
            run = follow(optimizer, make(Follower(), longest=1), look)
        else:
            longest = steps_between_looks(num_steps) if seen else num_steps
            chunks = make(optimizer, longest=longest, paced=kept)
            with _checkpoint(checkpoint, chunks) as saves:
                run = _stepped(chunks, saves, look)
    if throw and not run.ok:
        raise RunError(run)
    return run


def _stepped(
    chunks: Chunks, saves: Checkpoint | None, look: Callable[[Chunks], None]
) -> Run:
    """Step until done, and on from each saddle."""
    while True:
        while chunks.goes_on:
            chunks.advance()
            if saves is not None:
                saves.save(chunks)
            look(chunks)
        run = chunks.finish()
        if not chunks.leaves_saddle(run):
            return run


@contextlib.contextmanager
def _checkpoint(
    folder: str | os.PathLike[str] | None, chunks: Chunks
) -> Iterator[Checkpoint | None]:
    """The saves in a folder, with the run put where the last one left it."""
    if folder is None:
        yield None
        return
    objective, optimizer, x0, stop = chunks.problem
    parts = {"objective": objective, "optimizer": optimizer, "x0": x0, "stop": stop}
    parts["record_every"] = chunks.every
    with opened(folder, fingerprint(parts)) as saves:
        saves.restore(chunks)
        try:
            yield saves
        except BaseException:  # Ctrl-C, or a simulator that raises: nothing is lost
            saves.save(chunks, now=True)
            raise
