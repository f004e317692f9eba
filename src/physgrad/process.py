"""Simulators in a process of their own, which may hang or crash: it is ended."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import IO, Any

import numpy as np

from physgrad.inverses.settings import brief
from physgrad.worker import find, read, write

# What a module may take to be imported, at least.
START_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Worker:
    """A function of a module, called in another process.

    The process is started at the first call and kept; where it does not answer in
    time it is ended, and the next call starts another one.
    """

    module: str
    name: str
    time_limit: float | None

    @classmethod
    def of(cls, function: Any, time_limit: float | None) -> Worker:
        """From a function, or its "module:name".

        **Raises:** `TypeError`, `ValueError` for one that cannot be imported.
        """
        if isinstance(function, str):
            module, colon, name = function.partition(":")
            if not (colon and module and name):
                raise ValueError(
                    f"a function by its name must be 'module:function', got "
                    f"{function!r}"
                )
        else:
            module = getattr(function, "__module__", "") or ""
            name = getattr(function, "__qualname__", "")
        try:
            if module == "__main__":
                raise ImportError
            found = find(module, name)
        except (ImportError, AttributeError, ValueError):
            found = None
        if not callable(found) or not (isinstance(function, str) or found is function):
            raise TypeError(
                "time_limit needs a function that another process can import, such as "
                f"'module:function', got {brief(function)}; put it into a module"
            )
        return cls(module, name, time_limit)

    def __call__(self, x: Any) -> Any:
        if self not in _running:
            _running[self] = _Process(self.module, self.name)
            try:
                self._ask(None, START_SECONDS + (self.time_limit or 0))
            except Exception:
                if self in _running:  # it runs, but has no function to call
                    _running.pop(self).end()
                raise
        return self._ask(x, self.time_limit)

    def _ask(self, x: Any, seconds: float | None) -> Any:
        try:
            return _running[self].ask(x, seconds)
        except TimeoutError:
            _running.pop(self).end()
            raise
        except EOFError:
            raise RuntimeError(_end_of(_running.pop(self).end())) from None


_running: dict[Worker, _Process] = {}


class _Process:
    """A process of `physgrad.worker`, which has been told its function."""

    def __init__(self, module: str, name: str):
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "physgrad.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._questions = _pipe(self._popen.stdin)
        self._stream = _pipe(self._popen.stdout)
        self._first = {"path": sys.path, "module": module, "name": name}
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, x: Any, seconds: float | None) -> Any:
        """The answer to x, or, at first, to where the function is.

        **Raises:** what the function raises; `TimeoutError`; `EOFError` where the
        process has ended.
        """
        first, self._first = self._first, None
        try:
            write(self._questions, first, x)
            message = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(
                f"no answer within {seconds:g} s; the process was ended"
            ) from None
        except BrokenPipeError:
            raise EOFError from None
        if message is None:
            raise EOFError
        failure, answer = message
        if failure is not None:
            raise _error(*failure)
        return answer

    def end(self) -> int:
        """End it and what it has started; its exit code."""
        _end(self._popen)
        code = self._popen.wait()
        self._listener.join()
        for stream in (self._questions, self._stream):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        return code

    def _listen(self) -> None:
        with contextlib.suppress(ValueError, OSError):  # closed under its hands
            while (message := read(self._stream)) is not None:
                self._answers.put(message)
        self._answers.put(None)


@dataclasses.dataclass(frozen=True)
class Command:
    """A program that reads x from stdin, a number a line, and prints z."""

    words: tuple[str, ...]
    time_limit: float | None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        text = "".join(f"{float(value)!r}\n" for value in x)
        process = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, said = process.communicate(text, timeout=self.time_limit)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"no answer within {self.time_limit:g} s; the process was ended"
            ) from None
        finally:
            if process.poll() is None:
                _end(process)
                process.communicate()
        if process.returncode:
            last = said.strip().splitlines()[-1:]
            raise RuntimeError(": ".join([_end_of(process.returncode), *last]))
        try:
            return np.array([float(word) for word in out.split()])
        except ValueError as error:
            raise ValueError(f"it must print numbers: {error}") from None


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("a process was started without its pipes")
    return stream


def _end(process: subprocess.Popen) -> None:
    """Kill a process and, where there are groups of them, what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _end_of(code: int) -> str:
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _error(kind: str, text: str) -> Exception:
    """What the function has raised, or a RuntimeError that says its kind."""
    builtin = getattr(builtins, kind, None)
    if isinstance(builtin, type) and issubclass(builtin, Exception):
        with contextlib.suppress(TypeError):  # some take more than a text
            return builtin(text)
    return RuntimeError(f"{kind}: {text}")


@atexit.register
def _end_all() -> None:
    while _running:
        _running.popitem()[1].end()
