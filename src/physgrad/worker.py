"""A process that calls one function for another one: `python -m physgrad.worker`.

Arrays go to and fro as bytes behind a line of JSON that says what they are. The first
message is where to find the function; the answer to it says that it was found.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import numpy as np

# How often a worker looks whether its parent is still there.
WATCH_SECONDS = 1.0


def write(stream: IO[bytes], document: Any, tree: Any = None) -> None:
    """Write a message: a document, and a tree of arrays.

    **Raises:** `TypeError` for a tree of anything but dicts, lists, tuples and numbers.
    """
    arrays: list[np.ndarray] = []
    described = _described(tree, arrays)
    kinds = [[array.dtype.str, array.shape] for array in arrays]
    line = json.dumps([document, described, kinds]).encode() + b"\n"
    parts = [np.ascontiguousarray(array).tobytes() for array in arrays]
    stream.write(b"".join([line, *parts]))
    stream.flush()


def read(stream: IO[bytes]) -> tuple[Any, Any] | None:
    """The next message; None where the other side has gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    document, described, kinds = json.loads(line)
    arrays = []
    for name, shape in kinds:
        dtype = np.dtype(name)
        count = int(np.prod(shape, dtype=int))
        data = stream.read(count * dtype.itemsize)
        if len(data) < count * dtype.itemsize:
            return None
        arrays.append(np.frombuffer(data, dtype).reshape(shape).copy())
    return document, _tree(described, arrays)


def _described(tree: Any, arrays: list[np.ndarray]) -> Any:
    if tree is None:
        return None
    if type(tree) in (list, tuple):
        kind = type(tree).__name__
        return [kind, [_described(child, arrays) for child in tree]]
    if type(tree) is dict and all(isinstance(key, str) for key in tree):
        return ["dict", {key: _described(tree[key], arrays) for key in tree}]
    array = np.asarray(tree)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            "between processes go dicts, lists, tuples and arrays of real numbers, got "
            f"{type(tree).__name__}"
        )
    arrays.append(array)
    return len(arrays) - 1


def _tree(described: Any, arrays: list[np.ndarray]) -> Any:
    if described is None:
        return None
    if isinstance(described, int):
        return arrays[described]
    kind, children = described
    if kind == "dict":
        return {key: _tree(child, arrays) for key, child in children.items()}
    made = [_tree(child, arrays) for child in children]
    return tuple(made) if kind == "tuple" else made


def find(module: str, name: str) -> Callable:
    """The function of a module, by its dotted name in it."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def main() -> None:
    """Answer on stdout what comes on stdin; what the function prints goes to stderr."""
    source = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    function = None
    while (message := read(source)) is not None:
        document, tree = message
        try:
            if function is None:
                sys.path[:] = document["path"]
                function, answer = find(document["module"], document["name"]), None
            else:
                answer = function(tree)
            write(answers, None, answer)
        except Exception as error:
            write(answers, [type(error).__name__, str(error)])


def _watch(parent: int) -> None:
    """End with the parent, also where the function hangs."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
