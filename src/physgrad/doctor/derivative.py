"""The derivatives of the simulator against finite differences."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from physgrad.doctor.entries import Vector, size_of_entries
from physgrad.doctor.subject import Fault, Subject, attempt

DIRECTIONS = 3
"""Directions across all leaves of x."""
MOST_LEAVES = 32
"""Leaves of x that have a direction of their own."""
WHOLE = "all leaves of x"
# Part of its size that an entry of x is moved by: different ones, or a derivative whose
# columns are exchanged would look right.
LEAST, MOST = 0.5, 1.5
# Rounding of a difference, in that of z.
ROUNDING = 16.0


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """A derivative that finite differences do not confirm."""

    leaf: str
    """The leaf of x that it is with respect to."""
    mode: str
    """"forward" (J t) or "reverse" (J^T u)."""
    relative: float
    """The difference, relative to the larger of both, in the entry farthest off."""


@dataclasses.dataclass(frozen=True)
class Derivative:
    """J t and J^T u against central differences."""

    checked: int
    """Directions that were compared: three across all leaves, one for each leaf."""
    worst: Mismatch | None
    """None where all agree."""
    forward: str | None
    """Why there are no Jacobian-vector products; None where there are."""
    reverse: str | None
    """Why there are no vector-Jacobian products; None where there are."""


class _Difference:
    """P(x0 + h t) - P(x0 - h t), and how far each of its entries can be trusted."""

    def __init__(self, subject: Subject, tangent: Vector) -> None:
        self._subject, self._tangent = subject, tangent
        self._h = h = subject.eps ** (1 / 3)
        right, left = self._ends(h)
        self.value = (right - left) / (2 * h)
        # one-sided slopes differ at a kink, where any value between them is right
        kink = np.abs(right + left - 2 * subject.z) / h
        rounding = ROUNDING * subject.rounding / h
        # beside large entries of its leaf an entry may not see so short a step at all
        coarse = ROUNDING * subject.eps * subject.leaf_scale / h
        rounding = np.where(right == left, np.maximum(rounding, coarse), rounding)
        self.doubt = kink + rounding + h * np.abs(self.value)

    def _ends(self, h: float) -> tuple[Vector, Vector]:
        forward, x, t = self._subject.forward, self._subject.x, self._tangent
        return forward(x + h * t), forward(x - h * t)

    @property
    def usable(self) -> bool:
        """Whether the simulator is finite on both sides."""
        return bool(np.all(np.isfinite(self.value)))

    @functools.cached_property
    def sharper_doubt(self) -> Vector:
        """Doubts what half the step changes, too: D(h) - D(h/2) = 3/4 c h^2."""
        right, left = self._ends(self._h / 2)
        return self.doubt + 2 * np.abs(self.value - (right - left) / self._h)


def check_derivative(subject: Subject, seed: int) -> Derivative:
    """Compare both modes of differentiation with differences.

    By a step of eps^(1/3) of the size of x, along random directions, and along the part
    of one in each leaf of x. The rows of J^T are compared by their product with a
    random cotangent u: u (J t) = (J^T u) t.
    """
    random = np.random.default_rng(seed)
    tangents = _tangents(subject, random)
    forward = attempt(lambda: subject.jvp(tangents[0][1]))
    whole = _Difference(subject, tangents[0][1])
    moved = np.where(np.isfinite(whole.value), np.abs(whole.value), 0.0)
    # of the signs of what is measured: a fault then adds up as fast as the doubts do
    signs = np.where(whole.value < 0, -1.0, 1.0)
    cotangent = signs * random.uniform(LEAST, MOST, subject.z.size)
    cotangent /= size_of_entries(subject.z_leaves, np.maximum(np.abs(subject.z), moved))
    reverse = attempt(lambda: subject.vjp(cotangent))
    found, checked = [], 0
    for name, tangent in tangents:
        difference = _Difference(subject, tangent)
        if not difference.usable:
            continue
        checked += 1
        for mode, fault in (("forward", forward), ("reverse", reverse)):
            if isinstance(fault, Fault):
                continue
            if mode == "forward":
                image, weights = subject.jvp(tangent), None
            else:
                image, weights = np.atleast_1d(fault @ tangent), cotangent
            found += _mismatch(name, mode, image, difference, weights)
    return Derivative(
        checked,
        max(found, key=lambda m: (m.leaf != WHOLE, m.relative), default=None),
        forward.message if isinstance(forward, Fault) else None,
        reverse.message if isinstance(reverse, Fault) else None,
    )


def _tangents(
    subject: Subject, random: np.random.Generator
) -> list[tuple[str, Vector]]:
    """Directions across all leaves, then the first of them in each leaf alone."""
    size = size_of_entries(subject.x_leaves, subject.x)
    shape = DIRECTIONS, size.size
    signs = random.choice([-1.0, 1.0], shape)
    found = [(WHOLE, t) for t in size * signs * random.uniform(LEAST, MOST, shape)]
    for leaf in subject.x_leaves[:MOST_LEAVES]:
        if leaf.size:
            part = np.zeros_like(size)
            part[leaf.place] = found[0][1][leaf.place]
            found.append((leaf.name, part))
    return found


def _mismatch(
    leaf: str,
    mode: str,
    got: Vector,
    difference: _Difference,
    weights: Vector | None,
) -> list[Mismatch]:
    """One mismatch or none; NaN is not one, but has a name of its own."""

    def weighted(vector: Vector, by: Vector | None) -> Vector:
        return vector if by is None else np.atleast_1d(by @ vector)

    expected = weighted(difference.value, weights)
    miss, sizes = np.abs(got - expected), None if weights is None else np.abs(weights)
    if not np.any(miss > weighted(difference.doubt, sizes)):
        return []
    off = miss > weighted(difference.sharper_doubt, sizes)
    relative = miss[off] / np.maximum(np.abs(got), np.abs(expected))[off]
    return [Mismatch(leaf, mode, float(np.max(relative)))] if np.any(off) else []
