"""Named problems: objective, start, known solution and the methods they are run with.

>>> import physgrad as pg
>>> pg.problems.names()
('toy',)
"""

from __future__ import annotations

import importlib
from typing import Any

from physgrad.names import PROBLEMS, nearest
from physgrad.problems.problem import Problem


def names() -> tuple[str, ...]:
    """The names of all problems."""
    return tuple(PROBLEMS)


def get(name: str, dtype: Any = None) -> Problem:
    """A problem by its name, in float32 or float64 (default: JAX's default float).

    **Raises:** `ValueError` naming the nearest match for an unknown name; `TypeError`
    for what is no name.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a problem must be text, got {name!r}")
    if name not in PROBLEMS:
        raise ValueError(f"unknown problem {name!r}{nearest(name, PROBLEMS)}")
    module = importlib.import_module(f"physgrad.problems.{name.replace('-', '_')}")
    return module.problem(dtype)
