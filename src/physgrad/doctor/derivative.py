"""The derivatives of the simulator against finite differences."""

from __future__ import annotations

import dataclasses

import numpy as np

from physgrad.doctor.entries import Vector, size_of_entries
from physgrad.doctor.subject import Fault, Subject, attempt

MOST_LEAVES = 32
"""Leaves of x that have a direction of their own."""
WHOLE = "all leaves of x"
# Rounding of a difference, in eps of the size of z.
ROUNDING = 16.0


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """A derivative that finite differences do not confirm."""

    leaf: str
    """The leaf of x that it is with respect to."""
    mode: str
    """"forward" (J t) or "reverse" (J^T u)."""
    relative: float
    """The difference, relative to the larger of both."""


@dataclasses.dataclass(frozen=True)
class Derivative:
    """J t and J^T u against central differences."""

    checked: int
    """Directions that were compared: one across all leaves, one for each leaf."""
    worst: Mismatch | None
    """None where all agree."""
    forward: str | None
    """Why there are no Jacobian-vector products; None where there are."""
    reverse: str | None
    """Why there are no vector-Jacobian products; None where there are."""


class _Difference:
    """P(x0 + h t) and P(x0 - h t), and how far they can be trusted."""

    def __init__(self, subject: Subject, tangent: Vector) -> None:
        h = subject.eps ** (1 / 3)
        right, left = (subject.forward(subject.x + s * h * tangent) for s in (1, -1))
        self.value = (right - left) / (2 * h)
        # one-sided slopes differ at a kink, where any value between them is right
        kink = np.abs(right + left - 2 * subject.z) / h
        scale = np.maximum(np.max(subject.state.scale), np.max(np.abs(subject.z)))
        rounding = ROUNDING * subject.eps * scale / h
        self.doubt = kink + rounding + h * np.max(np.abs(self.value), initial=0.0)

    @property
    def usable(self) -> bool:
        """Whether the simulator is finite on both sides."""
        return bool(np.all(np.isfinite(self.value)))


def check_derivative(subject: Subject, seed: int) -> Derivative:
    """Compare both modes of differentiation with differences.

    By a step of eps^(1/3) of the size of x, along a random direction, and along its
    part in each leaf of x. The rows of J^T are compared by their product with a random
    cotangent u: u (J t) = (J^T u) t.
    """
    random = np.random.default_rng(seed)
    whole = random.choice([-1.0, 1.0], subject.x.size)
    whole *= size_of_entries(subject.x_leaves, subject.x)
    cotangent = random.standard_normal(subject.z.size)
    cotangent /= size_of_entries(subject.z_leaves, subject.z)
    tangents = {WHOLE: whole}
    for leaf in subject.x_leaves[:MOST_LEAVES]:
        if leaf.size:
            part = np.zeros_like(whole)
            part[leaf.place] = whole[leaf.place]
            tangents[leaf.name] = part
    reverse = attempt(lambda: subject.vjp(cotangent))
    forward = attempt(lambda: subject.jvp(whole))
    found, checked = [], 0
    for name, tangent in tangents.items():
        difference = _Difference(subject, tangent)
        if not difference.usable:
            continue
        checked += 1
        if not isinstance(forward, Fault):
            image = subject.jvp(tangent)
            value, doubt = difference.value, difference.doubt
            found += _mismatch(name, "forward", image, value, doubt)
        if not isinstance(reverse, Fault):
            found += _mismatch(
                name,
                "reverse",
                np.atleast_1d(reverse @ tangent),
                np.atleast_1d(cotangent @ difference.value),
                np.atleast_1d(np.abs(cotangent) @ difference.doubt),
            )
    return Derivative(
        checked,
        max(found, key=lambda m: (m.leaf != WHOLE, m.relative), default=None),
        forward.message if isinstance(forward, Fault) else None,
        reverse.message if isinstance(reverse, Fault) else None,
    )


def _mismatch(
    leaf: str, mode: str, got: Vector, expected: Vector, doubt: Vector
) -> list[Mismatch]:
    """One mismatch or none; NaN is not one, but has a name of its own."""
    difference = np.abs(got - expected)
    if not np.any(difference > doubt):
        return []
    size = max(np.max(np.abs(got)), np.max(np.abs(expected)))
    return [Mismatch(leaf, mode, float(np.max(difference) / size))]
