"""Names of methods and problems, their keys and defaults; loads no JAX."""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Iterable

PROBLEMS = {
    "toy": "z = [x0, x1^2], L = |z|^2, from (3, 3): one coordinate is bent",
}
"""Problem name to one line of what it is."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest match, or all names.

    >>> nearest("nwton", ["gd", "newton"])
    "; did you mean 'newton'?"
    >>> nearest("zzz", ["gd", "newton"])
    '; known: gd, newton'
    """
    known = list(known)
    match = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(known)}"


def package_version() -> str:
    """The version of physgrad that is installed."""
    return importlib.metadata.version("physgrad")
