"""What a command is to run: a named problem, a problem file, or an object in Python."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import click

from physgrad.cards import PROBLEMS, is_problem, parse_problem
from physgrad.cli.loading import load
from physgrad.cli.process import DiskError, wrong_use
from physgrad.names import DEFAULT_OPTIMIZERS, nearest, parse_start, quoted
from physgrad.results import MissingExtra

if TYPE_CHECKING:
    from physgrad.problems.problem import Problem

DEFAULT_STEPS = 10
MOST_TYPED = 100
"""Numbers of a start on the command line."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A problem that is known, but not built: JAX is not loaded yet, if possible."""

    text: str
    """How it is typed."""
    build: Callable[[], Problem]
    """After JAX has been told its precision."""
    optimizers: tuple[str, ...] = DEFAULT_OPTIMIZERS
    steps: int = DEFAULT_STEPS
    inverses: tuple[str, ...] = ()
    """Names of further inverses."""
    start: tuple[float, ...] | None = None
    """x0, where it was typed."""
    float64: bool = False
    """Whether it asks for double precision itself."""


def subject_of(
    text: str, settings: Mapping[str, str | None], start: str | None
) -> Subject:
    """Read `NAME[:key=value,...]`, `FILE.toml`, `MODULE:OBJECT` or `FILE.py:OBJECT`.

    **Raises:** `ValueError`, `click.UsageError` for wrong use; `DiskError`.
    """
    if is_problem_file(text):
        _refuse_settings(settings, text)
        return _from_file(text, start)
    if ":" in text and not is_problem(text):
        _refuse_settings(settings, text)
        typed = None if start is None else parse_start(start, start.count(",") + 1)
        return Subject(text, lambda: _loaded(text, typed), start=typed)
    refuse_unknown(text)
    named = parse_problem(text, **settings)
    typed = None
    if start is not None:
        if named.entries > MOST_TYPED:
            raise ValueError(
                f"--start is for up to {MOST_TYPED} entries of x, and {named.name} has "
                f"{named.entries}: use physgrad.compare"
            )
        typed = parse_start(start, named.entries)
    card = named.card
    return Subject(
        named.text,
        lambda: _named(named.text),
        card.optimizers,
        card.steps,
        card.inverses,
        typed,
    )


def refuse_unknown(text: str) -> None:
    """Refuse what is neither a problem nor names an object (`ValueError`)."""
    if is_problem(text) or ":" in text:
        return
    if text.lower().endswith(".py"):
        raise ValueError(f"name the problem in it, too: {text}:problem")
    raise ValueError(
        f"unknown problem {quoted(text)}{nearest(text, PROBLEMS)}; your own is named "
        "MODULE:OBJECT or path/to/file.py:OBJECT"
    )


def is_problem_file(text: str) -> bool:
    """Whether a text names a problem file."""
    return text.lower().endswith(".toml")


def _refuse_settings(settings: Mapping[str, str | None], text: str) -> None:
    for key, value in settings.items():
        if value is not None:
            raise ValueError(
                f"--{key} is for problems by name; {quoted(text)} says it itself"
            )


def _named(text: str) -> Problem:
    from physgrad import problems

    with wrong_use(MissingExtra):
        return problems.get(text)


def _from_file(path: str, start: str | None) -> Subject:
    from physgrad.problems.problem_file import read_problem_file

    with _files(path):
        file = read_problem_file(path)
    typed = None if start is None else parse_start(start, start.count(",") + 1)

    def build() -> Problem:
        with _files(path), wrong_use(ValueError, MissingExtra):
            return file.problem()

    return Subject(
        path,
        build,
        file.optimizers,
        file.steps,
        start=typed,
        float64=file.float64,
    )


@contextlib.contextmanager
def _files(path: str) -> Iterator[None]:
    """What is wrong with a file is an error of the disk, with its name."""
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise DiskError(
            f"cannot read {name} ({error.strerror}): name a file that is there"
        ) from error


def _loaded(text: str, start: tuple[float, ...] | None) -> Problem:
    """What Python of the user's names: a Problem, or an Objective and --start."""
    import jax.numpy as jnp

    from physgrad import Objective, Problem

    found = load(text)
    if isinstance(found, Problem):
        return dataclasses.replace(found, name=text)
    if not isinstance(found, Objective):
        raise click.UsageError(
            f"{quoted(text)} must be a Problem or an Objective, got "
            f"{type(found).__name__}"
        )
    if start is None:
        raise click.UsageError(
            f"--start is needed for an Objective ({quoted(text)}): x0 as numbers "
            "separated by commas"
        )
    return Problem(text, found, jnp.asarray(start))
