"""Round trips around x0: x -> z -> x -> z, through the real rule.

A sample is x0 with each entry moved by up to a part of its size; its z is in the range
of P, so an inverse has no excuse. From x0 the rule pulls it back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from physgrad.doctor.contraction import Contraction
from physgrad.doctor.directions import Spectrum
from physgrad.doctor.entries import Vector, entry_name, size_of_entries
from physgrad.doctor.subject import Answer, Subject
from physgrad.results import Cause, Result

SIZES = (1e-3, 1e-2, 1e-1, 0.5)
"""Parts of its size that an entry of x is moved by, at most."""
NEAR = 2
"""The first so many are near x0: an inverse that fails there is none."""
# An answer is a multiple of what it should be where the rest is this part of the miss.
MULTIPLE = 1e-2
# Points that are tried for a sample: there, the other way, up, and down.
WAYS = 4


class Sample(NamedTuple):
    """One round trip."""

    size: float
    x: Vector
    z: Vector
    answer: Answer
    outside: int = 0
    """How many points were tried before whose z is not finite."""


@dataclasses.dataclass(frozen=True)
class Ring:
    """The samples of one size."""

    size: float
    """Part of each entry of x that it was moved by, at most."""
    samples: int
    held: int
    """How many certificates hold."""
    physical: float
    """Median of |x+ - x| / |x0 - x|: what one step of PG leaves of the distance."""
    gauss_newton: float | None
    """The same for x0 + J^+ (z - z0)."""
    gradient_descent: float | None
    """The same for x0 + eta J^T H_L (z - z0) with the best eta."""


@dataclasses.dataclass(frozen=True)
class Offender:
    """The round trip that failed worst."""

    sample: int
    """-1 for x0 itself."""
    size: float
    leaf: str
    """The leaf of z that is farthest off; an entry where the leaf as a whole is not."""
    residual: float
    tolerance: float
    cause: Cause
    multiple: float | None
    """x+ is this multiple of what it should be; None where it is no multiple."""
    alone: bool
    """Whether only an entry that is small in its leaf is off."""
    link: str | None
    """The link of a chain that is off at its own point: its number and function."""


@dataclasses.dataclass(frozen=True)
class RoundTrips:
    """x -> z -> x -> z, from samples around x0."""

    rings: tuple[Ring, ...]
    """By size, smallest first."""
    tried: int
    """Points around x0 that were looked at."""
    outside: int
    """Those of them whose P(x) is not finite; they are left out."""
    promised: bool
    """Whether the rule promises anything of its residual."""
    worst: Offender | None
    """None where all certificates hold."""

    @property
    def taken(self) -> int:
        """How many samples there are."""
        return sum(ring.samples for ring in self.rings)

    def fails_near(self) -> bool:
        """Whether a certificate near x0 does not hold."""
        near = [ring for ring in self.rings if ring.size <= SIZES[NEAR - 1]]
        return any(ring.held < ring.samples for ring in near)


def take_samples(subject: Subject, count: int, seed: int) -> list[Sample | None]:
    """Samples of each size in turn; None for one that P maps to NaN or infinity."""
    random = np.random.default_rng(seed)
    unit = size_of_entries(subject.x_leaves, subject.x)
    found: list[Sample | None] = []
    for i in range(count):
        if subject.patience_is_out:
            break
        size = SIZES[i % len(SIZES)]
        found.append(_sample(subject, size, unit * random.uniform(-1, 1, unit.size)))
    return found


def _sample(subject: Subject, size: float, way: Vector) -> Sample | None:
    """A round trip from x0 + size way, the other way, up, or down: the first finite."""
    for tried, step in enumerate((way, -way, np.abs(way), -np.abs(way))):
        x = subject.x + size * step
        z = subject.forward(x)
        if np.all(np.isfinite(z)):
            return Sample(size, x, z, subject.pull_back(z), outside=tried)
    return None


def round_trips(
    subject: Subject,
    samples: Sequence[Sample | None],
    spectrum: Spectrum | None,
    contraction: Contraction | None,
    *,
    promised: bool,
) -> RoundTrips:
    """What the samples show, by their size; `promised`: what is so at x0."""
    inside = [sample for sample in samples if sample is not None]
    rings = []
    for size in SIZES:
        here = [sample for sample in inside if sample.size == size]
        if here:
            rings.append(_ring(subject, size, here, spectrum, contraction))
    failed = [
        (-sample.size, sample.answer.excess, i, sample)
        for i, sample in enumerate(samples)
        if sample is not None and not sample.answer.held
    ]
    worst = None
    if failed:  # the nearest to x0, and of those the farthest off
        _, _, place, sample = max(failed, key=lambda f: f[:3])
        worst = offender(subject, place, sample)
    if inside:
        promised = any(np.isfinite(s.answer.tolerance) for s in inside)
    none = WAYS * (len(samples) - len(inside))
    outside = none + sum(sample.outside for sample in inside)
    return RoundTrips(tuple(rings), len(inside) + outside, outside, promised, worst)


def _ring(
    subject: Subject,
    size: float,
    samples: Sequence[Sample],
    spectrum: Spectrum | None,
    contraction: Contraction | None,
) -> Ring:
    def left(points: Sequence[Vector]) -> float:
        pairs = zip(points, samples, strict=True)
        distances = [float(np.linalg.norm(subject.x - s.x)) for s in samples]
        misses = [float(np.linalg.norm(point - s.x)) for point, s in pairs]
        ratios = [m / d if d else 0.0 for m, d in zip(misses, distances, strict=True)]
        return float(np.median(ratios))

    gauss_newton = gradient = None
    if spectrum is not None and spectrum.dense:
        back = spectrum.pseudo_inverse()
        gauss_newton = left([subject.x + back @ (s.z - subject.z) for s in samples])
    if contraction is not None:
        way = contraction.gradient_step
        gradient = left([subject.x + way @ (s.z - subject.z) for s in samples])
    held = sum(sample.answer.held for sample in samples)
    physical = left([sample.answer.x for sample in samples])
    return Ring(size, len(samples), held, physical, gauss_newton, gradient)


def offender(
    subject: Subject, place: int, sample: Sample, link: int | None = None
) -> Offender:
    """A round trip that failed, in the names of the user."""
    answer = sample.answer
    miss = np.abs(answer.z - sample.z)
    miss = np.where(np.isfinite(miss), miss, np.inf)
    sizes = size_of_entries(subject.z_leaves, sample.z)
    relative = {
        leaf.name: float(np.max(miss[leaf.place] / np.max(sizes[leaf.place])))
        for leaf in subject.z_leaves
        if leaf.size
    }
    name, words = max(relative, key=lambda name: relative[name]), None
    if answer.entry is not None:
        name = entry_name(subject.z_leaves, answer.entry)
    if link is not None:
        name = subject.simulator.space_names[link + 1]
        function = subject.simulator.functions[link]
        words = getattr(function, "__name__", type(function).__name__)
        words = f"link {link + 1} of {len(subject.rules)}, {words}"
    return Offender(
        place,
        sample.size,
        name,
        answer.residual,
        answer.tolerance,
        _cause(answer),
        _multiple(answer.x, sample.x),
        answer.entry is not None,
        words,
    )


def _cause(answer: Answer) -> Cause:
    """That of the certificate; a nearest point in place of a preimage is a miss."""
    if answer.result is Result.target_not_reachable:
        return Cause.out_of_budget
    return answer.cause


def _multiple(got: Vector, expected: Vector) -> float | None:
    squared = expected @ expected
    if not np.all(np.isfinite(got)) or squared == 0:
        return None
    factor = float(got @ expected / squared)
    miss = np.linalg.norm(got - expected)
    if not miss:
        return None
    rest = np.linalg.norm(got - factor * expected)
    return factor if rest <= MULTIPLE * miss else None
