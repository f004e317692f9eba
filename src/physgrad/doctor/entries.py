"""Entries of a flat vector by the user's own names, and directions in words."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, PyTree

from physgrad.inverses.flat import leaf_name

Vector = Float[np.ndarray, " _"]

# Entries that a direction is described by, at most; the part of its norm that may be
# left out; and the part of its largest entry from which another one is not rounding.
SPELLED_OUT = 4
LEAST_PART = 0.1
TRACE = 1e-6


class Leaf(NamedTuple):
    """One leaf of a PyTree, and where it lies in the flat vector."""

    name: str
    """As the user would write it: `x['a']`."""
    shape: tuple[int, ...]
    dtype: str
    start: int
    """Place of its first entry."""

    @property
    def size(self) -> int:
        """How many entries it has."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def place(self) -> slice:
        """Its entries in the flat vector."""
        return slice(self.start, self.start + self.size)


def leaves_of(tree: PyTree, name: str) -> tuple[Leaf, ...]:
    """The leaves of a PyTree in the order of its flat vector.

    >>> [(leaf.name, leaf.place) for leaf in leaves_of({"a": np.ones((2, 2))}, "x")]
    [("x['a']", slice(0, 4, None))]
    """
    found, start = [], 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        found.append(Leaf(leaf_name(name, path), leaf.shape, str(leaf.dtype), start))
        start += found[-1].size
    return tuple(found)


def entry_name(leaves: tuple[Leaf, ...], index: int) -> str:
    """The name of one entry of the flat vector, such as `x['a'][3]`.

    >>> entry_name(leaves_of({"a": np.ones((2, 2))}, "x"), 2)
    "x['a'][1, 0]"
    """
    leaf = next(f for f in leaves if f.place.start <= index < f.place.stop)
    if not leaf.shape:
        return leaf.name
    place = np.unravel_index(index - leaf.start, leaf.shape)
    return f"{leaf.name}[{', '.join(str(int(i)) for i in place)}]"


def in_words(leaves: tuple[Leaf, ...], direction: Vector) -> str:
    """A direction by its largest entries, such as `0.8 x[0] - 0.6 x[1]`.

    >>> in_words(leaves_of(np.ones(3), "x"), np.array([0.0, -1.0, 0.0]))
    'x[1]'
    """
    unit = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(unit), kind="stable")
    rest = np.sqrt(np.cumsum(unit[order[::-1]] ** 2))[::-1]  # with the entry itself
    large = max(1, int(np.sum(rest > LEAST_PART)))
    if large == 1:
        return entry_name(leaves, int(order[0]))
    shown = sorted(int(i) for i in order[: min(large, SPELLED_OUT)])
    unit = unit * np.sign(unit[shown[0]])
    words = " ".join(
        f"{'-' if unit[i] < 0 else '+'} {abs(unit[i]):.3g} {entry_name(leaves, i)}"
        for i in shown
    ).removeprefix("+ ")
    more = large - len(shown)
    return f"{words} and {counted(more, 'more entry')}" if more > 0 else words


def unseen_in_words(
    leaves: tuple[Leaf, ...], direction: Vector, seen: Bool[np.ndarray, " x"]
) -> str:
    """A direction that z does not show; `seen` are the entries that it does show.

    >>> leaves, direction = leaves_of(np.ones(2), "x"), np.array([1.0, 0.01])
    >>> unseen_in_words(leaves, direction, np.array([False, True]))
    'x[0]'
    >>> unseen_in_words(leaves, direction, np.array([True, True]))
    'a combination of x[0] and 1 other entry'
    """
    words, size = in_words(leaves, direction), np.abs(direction)
    place = int(np.argmax(size))
    others = int(np.sum(size > TRACE * size[place])) - 1
    if words != entry_name(leaves, place) or not seen[place] or not others:
        return words
    return f"a combination of {words} and {counted(others, 'other entry')}"


def counted(number: int, what: str) -> str:
    """A number and what it counts, such as `1 more entry` or `2 more entries`.

    >>> counted(1, "more entry"), counted(2, "more entry"), counted(2, "direction")
    ('1 more entry', '2 more entries', '2 directions')
    """
    if number != 1:
        what = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number} {what}"


def size_of_entries(leaves: tuple[Leaf, ...], vector: Vector) -> Vector:
    """The size of each entry: its magnitude; where zero, that of its leaf, or 1."""
    size = np.abs(vector)
    for leaf in leaves:
        largest = np.max(size[leaf.place], initial=0.0)
        here = size[leaf.place]
        size[leaf.place] = np.where(here > 0, here, largest if largest > 0 else 1.0)
    return size


def length(vector: Vector) -> float:
    """|v|, or 1 where that is zero: what relative sizes are relative to."""
    norm = float(np.linalg.norm(vector))
    return norm if norm > 0 else 1.0
