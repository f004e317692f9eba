"""Objects that are named on the command line: MODULE:OBJECT, path/to/file.py:OBJECT.

What they name is Python of the user's: it is imported and run as `python` would.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import click

from physgrad.cli.process import DiskError
from physgrad.names import nearest, quoted


def load(text: str) -> Any:
    """The object that `MODULE:OBJECT` or `path/to/file.py:OBJECT` names.

    **Raises:** `click.UsageError` for a module that does not import or an object that
    it does not have; `DiskError` for a file that cannot be read.
    """
    home, _, path = text.rpartition(":")
    if not home or not path:
        raise click.UsageError(
            f"expected MODULE:OBJECT or path/to/file.py:OBJECT, got {quoted(text)}"
        )
    value: Any = _file(home) if _is_file(home) else _module(home)
    for name in path.split("."):
        value = _attribute(value, name, text)
    return value


def _is_file(home: str) -> bool:
    return home.endswith(".py") or "/" in home or os.sep in home


def _attribute(value: Any, name: str, text: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        known = [key for key in dir(value) if not key.startswith("_")]
        end = nearest(name, known) if known else ": it is empty"
        raise click.UsageError(
            f"there is no {quoted(name)} in {quoted(text.rpartition(':')[0])} "
            f"({quoted(text)}){end}"
        ) from None


def _module(name: str) -> ModuleType:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with _their_errors(name):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # a module that theirs needs
            raise click.UsageError(
                f"there is no module {quoted(error.name)} ({quoted(name)}): name one "
                "that can be imported from here, or path/to/file.py:OBJECT"
            ) from None


def _file(path: str) -> ModuleType:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise DiskError(
            f"cannot read {path} ({error.strerror}): name a Python file"
        ) from error
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise click.UsageError(f"{path} is no Python file: name one, such as a.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))  # as for a script
    sys.modules.setdefault(name, module)  # dataclasses look themselves up
    with _their_errors(path):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _their_errors(home: str) -> Iterator[None]:
    """What a module of the user raises when it is imported: in one line."""
    try:
        yield
    except click.ClickException:
        raise
    except (Exception, SystemExit) as error:
        lines = str(error).splitlines() or [""]
        raise click.UsageError(
            f"{home} cannot be imported ({type(error).__name__}: {lines[0][:200]}): "
            f"see what python -c 'import ...' says of it"
        ) from error
