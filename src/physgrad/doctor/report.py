"""What the doctor has to say: one frozen record, a page of text, or JSON."""

from __future__ import annotations

import dataclasses
import enum

from physgrad.doctor.contraction import Contraction
from physgrad.doctor.derivative import Derivative
from physgrad.doctor.directions import Spectrum
from physgrad.doctor.document import document
from physgrad.doctor.entries import Leaf
from physgrad.doctor.noise import Noise
from physgrad.doctor.page import page
from physgrad.doctor.samples import Offender, RoundTrips
from physgrad.storage import to_json


class Diagnosis(enum.StrEnum):
    """What was found, worst first; the faults are those up to `branch_jump`."""

    simulator_raises = "simulator_raises"
    """P(x0) cannot be computed, or traced."""
    loss_raises = "loss_raises"
    """L(P(x0)) cannot be computed."""
    not_finite_at_start = "not_finite_at_start"
    """P(x0) is NaN or infinite."""
    not_deterministic = "not_deterministic"
    """Two calls at x0 differ."""
    nan_derivative = "nan_derivative"
    """P(x0) is finite, its derivative is not."""
    wrong_derivative = "wrong_derivative"
    """Finite differences do not confirm the derivative."""
    inverse_raises = "inverse_raises"
    """The inverse cannot be computed, or returns something else than an x."""
    inverse_not_finite = "inverse_not_finite"
    """The inverse of a z in the range of P is NaN or infinite."""
    wrong_branch = "wrong_branch"
    """P^-1(P(x0)) is another preimage than x0, across a branch."""
    inverse_misses = "inverse_misses"
    """P(P^-1(z)) is not z."""
    branch_jump = "branch_jump"
    """Near x0 the inverse jumps to another branch."""
    singular_at_start = "singular_at_start"
    """J has less than full rank at x0, but not all around it."""
    noise_too_high = "noise_too_high"
    """An exact inverse makes the noise that was given too large."""
    rank_deficient = "rank_deficient"
    """J has less than full rank, at x0 and around it."""
    badly_scaled = "badly_scaled"
    """J has full rank, but not in these units of x and z."""
    inverse_local = "inverse_local"
    """The inverse is right near x0, and fails farther away."""
    isolated_start = "isolated_start"
    """No point around x0 has a finite P(x), so that no round trip was made."""
    near_edge = "near_edge"
    """Some points around x0 have no finite P(x)."""
    inverse_stuck = "inverse_stuck"
    """A numerical inverse does not find a preimage that exists."""
    not_nearest = "not_nearest"
    """P^-1(P(x0)) is another preimage than x0, along what z does not show."""
    loss_not_convex = "loss_not_convex"
    """L has no Newton step in z at z0."""
    more_x_than_z = "more_x_than_z"
    """Many x map to one z."""
    more_z_than_x = "more_z_than_x"
    """Most z have no x."""
    nearly_orthogonal = "nearly_orthogonal"
    """J^T H_L J is nearly a multiple of the identity."""
    no_derivative = "no_derivative"
    """JAX cannot differentiate the simulator."""
    reverse_only = "reverse_only"
    """There is J^T u, but no J t."""
    promises_nothing = "promises_nothing"
    """The rule is not an inverse, and does not say it is."""
    numerical_inverse = "numerical_inverse"
    """The inverse is found by a solver, and is right where it was tried."""
    fine = "fine"
    """The inverse is an inverse."""

    @property
    def is_fault(self) -> bool:
        """Whether something has to be mended."""
        members = list(Diagnosis)
        return members.index(self) <= members.index(Diagnosis.branch_jump)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was found, and what to do about it."""

    name: Diagnosis
    words: str
    """What is so."""
    advice: str
    """What to do."""
    code: str | None = None
    """The method that is advised, as Python; None where something is to be mended."""


@dataclasses.dataclass(frozen=True)
class AtStart:
    """P^-1(P(x0)) against x0."""

    returns_x0: bool
    same_branch: bool
    distance: float
    """|P^-1(P(x0)) - x0|."""
    words: str
    """Which preimage it is."""
    offender: Offender | None
    """Where the certificate at x0 does not hold."""
    promised: bool
    """Whether the rule promises anything of its residual."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of a compiled call, and of compiling it; None where it cannot be done."""

    forward: float
    vjp: float | None
    inverse: float | None
    compile: float
    """All programs together, those at hand not counted."""

    def ratio(self, seconds: float | None) -> float | None:
        """Seconds in calls of the simulator."""
        return None if seconds is None else seconds / self.forward


@dataclasses.dataclass(frozen=True, eq=False)
class CheckReport:
    """What `check` found, worst first; `print(report)` shows it as a page.

    A part that could not be examined is None; `notes` says why.
    """

    subject: str
    """What was examined, in words."""
    inverse: str
    """Its rule."""
    start: str
    """x0, in words."""
    findings: tuple[Finding, ...]
    """Worst first; at least one."""
    x: tuple[Leaf, ...] = ()
    """The leaves of x."""
    z: tuple[Leaf, ...] = ()
    """The leaves of z."""
    at_start: AtStart | None = None
    round_trips: RoundTrips | None = None
    spectrum: Spectrum | None = None
    noise: Noise | None = None
    derivative: Derivative | None = None
    deterministic: bool | None = None
    cost: Cost | None = None
    contraction: Contraction | None = None
    notes: tuple[str, ...] = ()
    """What could not be examined, and why."""

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not any(finding.name.is_fault for finding in self.findings)

    @property
    def diagnosis(self) -> tuple[Diagnosis, ...]:
        """The names of the findings, worst first."""
        return tuple(finding.name for finding in self.findings)

    @property
    def recommendation(self) -> str:
        """What to do about the first finding, in words."""
        return self.findings[0].advice

    @property
    def code(self) -> str | None:
        """The method that is recommended, as Python; None: mend something first."""
        return self.findings[0].code

    def __repr__(self) -> str:
        return f"CheckReport({', '.join(self.diagnosis)}, code={self.code!r})"

    def __str__(self) -> str:
        return page(self)

    def to_json(self) -> str:
        """One strict JSON document; numbers that are not finite are null."""
        return to_json(document(self))
