"""`physgrad explore`: the page where a step is seen in every space."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import webbrowser
from typing import TYPE_CHECKING, Any

import click

from physgrad.cards import is_problem, parse_problem
from physgrad.cli.loading import load
from physgrad.cli.process import (
    INTERRUPTS,
    SUCCESS,
    DiskError,
    leave,
    print_text,
    wrong_use,
)
from physgrad.cli.subject import is_problem_file, refuse_unknown
from physgrad.names import parse_start, quoted
from physgrad.results import MissingExtra

if TYPE_CHECKING:
    from physgrad.explorer.server import PageServer

HIGHEST_PORT = 65535


@click.command("explore", short_help="See a problem on a page, and play with it.")
@click.argument("problem", default="toy")
@click.option("--start", metavar="X0,X1,...", help="x0.  [default: the problem's]")
@click.option("--float64", is_flag=True, help="Compute in double precision.")
@click.option(
    "--port",
    type=click.IntRange(0, HIGHEST_PORT),
    default=0,
    help="Port of this machine.  [default: one that is free]",
)
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
def explore_command(
    *, problem: str, start: str | None, float64: bool, port: int, no_browser: bool
) -> int:
    """See PROBLEM (default: toy) in x-space and z-space on a page, and play with it.

    PROBLEM is the name of one, or MODULE:OBJECT or path/to/file.py:OBJECT: a Problem,
    or an Objective with --start. The page is served on this machine alone, and fetches
    nothing from elsewhere. Ctrl-C ends it.
    """
    with wrong_use(ValueError):
        if is_problem_file(problem):
            raise ValueError(
                "a problem file is for compare and check; the page opens named "
                "problems, MODULE:OBJECT or path/to/file.py:OBJECT"
            )
        refuse_unknown(problem)
    try:
        from physgrad.explorer.server import PageServer
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("bokeh", "tornado"):
            raise
        raise click.UsageError(str(MissingExtra("bokeh", "app", "explore"))) from error
    query = _query(problem, start, float64)
    try:
        server = PageServer(port, query)
    except OSError as error:
        raise DiskError(
            f"cannot serve on port {port} ({error.strerror}): name another, or "
            "--port 0 for one that is free"
        ) from error
    print_text(f"explore: {server.url}  (Ctrl-C ends it)")
    sys.stdout.flush()
    if not no_browser:
        webbrowser.open(server.url)
    with _ended_by_interrupts(server):
        server.run()
    return SUCCESS


def _query(name: str, start: str | None, float64: bool) -> str:
    """The state of the first page, where the problem is known from now on."""
    from physgrad.explorer.study import settings_of

    if not is_problem(name):
        _register(name, load(name), start)
    with wrong_use(ValueError):
        values = None
        if start is not None:
            values = parse_start(start, parse_problem(name).entries)
        return settings_of(name, values, float64=float64).query()


def _register(name: str, found: Any, start: str | None) -> None:
    """Make what the command line names known as a problem."""
    import jax.numpy as jnp

    from physgrad import Objective, Problem, problems

    if isinstance(found, Objective):
        if start is None:
            raise click.UsageError(
                f"--start is needed for an Objective ({quoted(name)}): x0 as numbers "
                "separated by commas"
            )
        with wrong_use(ValueError):
            values = parse_start(start, start.count(",") + 1)
        found = Problem(name, found, jnp.asarray(values))
    if not isinstance(found, Problem):
        raise click.UsageError(
            f"{quoted(name)} must be a Problem or an Objective, got "
            f"{type(found).__name__}"
        )
    with wrong_use(ValueError, TypeError):
        problems.register(dataclasses.replace(found, name=name), name)


@contextlib.contextmanager
def _ended_by_interrupts(server: PageServer) -> Any:
    """The first Ctrl-C ends the server in order, the second one at once."""
    asked: list[int] = []

    def stop(number: int, frame: Any) -> None:
        if asked:
            leave(number, frame)
        asked.append(number)
        server.stop()

    numbers = [n for n in INTERRUPTS if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
