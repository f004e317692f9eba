"""The process around a command: exit codes, the two streams, interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import click

SUCCESS, NO_SUCCESS, WRONG_USE, DISK, OUR_FAULT = range(5)
CLOSED_PIPE = 141
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
DEBUG = "PHYSGRAD_DEBUG"
"""Set this variable to see tracebacks."""


class DiskError(click.ClickException):
    """A file, a folder or a stream that cannot be written."""

    exit_code = DISK


def report(error: Exception) -> int:
    """Say in one line what is wrong; the exit code for it."""
    if os.environ.get(DEBUG):
        traceback.print_exc()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return WRONG_USE
    if isinstance(error, click.ClickException):
        message = error.format_message()
        complain(message[:1].lower() + message[1:])
        return error.exit_code
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        complain(f"{error.strerror or error}{where}")
        return DISK
    lines = str(error).splitlines() or [""]
    complain(
        f"internal error ({type(error).__name__}: {lines[0]}): please report it, with "
        f"what {DEBUG}=1 shows"
    )
    return OUR_FAULT


def listen() -> None:
    """From now on interrupts end the process, but for those that are ignored."""
    for number in INTERRUPTS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background
            signal.signal(number, leave)


def leave(number: int, _: Any) -> NoReturn:
    """Exit at once: 130 or 143.

    An exception would wait for the threads that compile, or be swallowed: JAX has
    Python called when garbage is collected.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"physgrad: interrupted{_way_on[-1]}\n".encode())
    os._exit(128 + number)


_way_on = [""]
"""How to go on after an interrupt; the last one holds."""


@contextlib.contextmanager
def resumable(way: str) -> Iterator[None]:
    """An interrupt says how to go on, in ASCII."""
    _way_on.append(f"; {way}")
    try:
        yield
    finally:
        _way_on.pop()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Interrupts wait until this is done; a second one does not."""
    waiting: list[int] = []

    def wait(number: int, frame: Any) -> None:
        if waiting:
            leave(number, frame)
        waiting.append(number)

    numbers = [n for n in INTERRUPTS if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, wait) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting:
            signal.raise_signal(number)


def open_stdout() -> Any:
    """sys.stdout (`DiskError` where it is closed)."""
    if sys.stdout is None:
        raise DiskError("cannot print: stdout is closed")
    return sys.stdout


def print_text(text: str) -> None:
    """Print on stdout; what its encoding lacks is escaped (`DiskError`: it is full)."""
    encoding = open_stdout().encoding or "utf-8"
    try:
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DiskError(f"cannot print (stdout): {error.strerror}") from error


def complain(message: str) -> None:
    """One line on stderr, whatever the message holds."""
    line = " ".join(message.split())
    with contextlib.suppress(OSError):
        click.echo(f"physgrad: {line}", err=True)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """In place of `warnings.showwarning`: one line."""
    complain(f"warning: {message}")


def flush_or_drop(stream: Any) -> None:
    """Flush; what nobody takes is dropped, or Python complains of it when it exits."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())


@contextlib.contextmanager
def wrong_use(*errors: type[Exception]) -> Iterator[None]:
    """Errors of the library that come from what the user typed."""
    try:
        yield
    except errors as error:
        raise click.UsageError(str(error)) from error


@contextlib.contextmanager
def saving(out: str) -> Iterator[None]:
    """Errors of the disk while writing to --out, but for what is there already."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        why = f"{error.filename or out}: {error.strerror or error}"
        raise DiskError(
            f"cannot save results in {out} ({why}): name another folder with --out"
        ) from error
