"""`check`: is this inverse an inverse, and which method will help?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from physgrad.doctor.contraction import Contraction, predict
from physgrad.doctor.derivative import Derivative, check_derivative
from physgrad.doctor.directions import (
    Spectrum,
    dense_spectrum,
    fits,
    leading_spectrum,
)
from physgrad.doctor.entries import entry_name
from physgrad.doctor.findings import find, only
from physgrad.doctor.noise import as_covariance, noise_gain
from physgrad.doctor.page import of_point
from physgrad.doctor.report import (
    AtStart,
    CheckReport,
    Cost,
    Diagnosis,
    Finding,
)
from physgrad.doctor.samples import Sample, round_trips, take_samples
from physgrad.doctor.start import at_start
from physgrad.doctor.subject import Fault, Matrix, Subject, attempt
from physgrad.inverses.jacobian import TOO_LARGE
from physgrad.inverses.ladder import rungs_of
from physgrad.inverses.numerical import NumericalInverse
from physgrad.inverses.settings import brief, describe, whole_number
from physgrad.loop.start import checked_start
from physgrad.objective.objective import Objective
from physgrad.simulator import Chain, Simulator

_FORMULA_RAISES = "mend the inverse: it takes z, or z and x, and returns an x"
_SOLVER_RAISES = (
    "give it a formula, AnalyticInverse(f); a solver needs derivatives of the simulator"
)
# Samples at which the rank of J is held against that at x0.
RANK_SAMPLES = 2


def check(
    simulator: Any,
    x0: PyTree = None,
    *,
    noise: Any = None,
    samples: int = 16,
    seed: int = 0,
) -> CheckReport:
    """Examine a simulator and its inverse at x0: what is wrong, and what will help.

    Round trips x -> z -> x and z -> x -> z around x0, with their certificates; the
    spectrum of J and what it does not see; how much of a noise in z arrives in x;
    derivatives against finite differences; determinism; cost; and what one step of each
    method leaves of the distance, near x0.

    **Arguments:**

    - `simulator`: a `Simulator`, `Chain`, `Objective` (whose loss is used for what is
        predicted), `Problem` (which brings its start), or a function (numerical
        inverse).
    - `x0`: PyTree of arrays, the point to be examined at.
    - `noise`: of z: a standard deviation, a PyTree of them like z, or a covariance
        matrix, shape (z entries, z entries); then x has standard deviations, too.
    - `samples`: how many round trips; half as many for each size of noise.
    - `seed`: of the samples.

    **Returns:** a `CheckReport`, whatever the simulator does: what it raises is a
    finding. `report.diagnosis` has names, `print(report)` shows a page.

    **Raises:** `TypeError`, `ValueError` for what is no simulator, x0 as in `minimize`,
    or noise that does not fit z.

    >>> import jax.numpy as jnp, physgrad as pg
    >>> root = pg.AnalyticInverse(lambda z: jnp.sqrt(z))
    >>> square = pg.Simulator(lambda x: x**2, inverse=root)
    >>> report = pg.check(square, jnp.array([-3.0, 1.0]))
    >>> report.ok, str(report.diagnosis[0])
    (False, 'wrong_branch')

    **Source:** Griewank and Walther, Evaluating Derivatives, 2nd ed., section 3 (tests
    of derivatives); Hansen, Rank-Deficient and Discrete Ill-Posed Problems, section 4.
    """
    patient, loss, x0 = _patient(simulator, x0)
    samples = whole_number("samples", 1)(samples)
    seed = whole_number("seed", 0)(seed)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((patient, x0))):
        raise TypeError(
            "check runs on the host: it cannot be used inside jit, vmap or grad"
        )
    x0 = checked_start(x0)
    name = getattr(simulator, "name", None)
    words = name if isinstance(name, str) else _words(patient)
    blank = CheckReport(words, describe(patient.rule), _point(x0), ())
    subject = attempt(lambda: Subject(patient, loss, x0))
    if isinstance(subject, Fault):
        findings = only(
            Diagnosis.simulator_raises, subject.message, "mend the simulator, or x0"
        )
        return dataclasses.replace(blank, findings=findings)
    covariance = None if noise is None else as_covariance(noise, subject)
    blank = dataclasses.replace(blank, x=subject.x_leaves, z=subject.z_leaves)
    if not np.all(np.isfinite(subject.z)):
        place = entry_name(subject.z_leaves, int(np.argmin(np.isfinite(subject.z))))
        words = f"{place} is not finite at x0"
        findings = only(Diagnosis.not_finite_at_start, words, "start elsewhere")
        return dataclasses.replace(blank, findings=findings)
    return _Examination(subject, blank, samples, seed).report(covariance)


def _patient(
    simulator: Any, x0: PyTree
) -> tuple[Simulator | Chain, Callable | None, PyTree]:
    """The simulator, its loss and the start (`TypeError` for anything else)."""
    objective = getattr(simulator, "objective", None)
    if isinstance(objective, Objective):  # a Problem, which is defined in a layer above
        x0 = simulator.start if x0 is None else x0
        simulator = objective
    loss = None
    if isinstance(simulator, Objective):
        simulator, loss = simulator.simulator, simulator.loss
    known = isinstance(simulator, Simulator | Chain)
    if not known and (isinstance(simulator, type) or not callable(simulator)):
        raise TypeError(
            "check needs a simulator: a Simulator, Chain, Objective, Problem or a "
            f"function, got {brief(simulator)}"
        )
    if x0 is None:
        raise TypeError("check needs x0, the point to examine the simulator at")
    return _with_first_rungs(simulator if known else Simulator(simulator)), loss, x0


def _with_first_rungs(simulator: Simulator | Chain) -> Simulator | Chain:
    """With the best rule of each ladder only: the ones below would hide its faults."""
    if isinstance(simulator, Chain):
        links = [_with_first_rungs(link) for link in simulator.simulators]
        return Chain(*links, names=simulator.space_names)
    return Simulator(simulator.forward, rungs_of(simulator.inverse)[0])


def _words(patient: Simulator | Chain) -> str:
    if isinstance(patient, Chain):
        return f"a chain of {len(patient.simulators)} simulators"
    function = patient.functions[-1]
    return getattr(function, "__name__", type(function).__name__)


def _point(x0: PyTree) -> str:
    values = [np.ravel(leaf) for leaf in jax.tree.leaves(x0)]
    return of_point("x", np.concatenate(values))


class _Examination:
    """The parts of a report; one that raises is left out, with a note."""

    def __init__(
        self, subject: Subject, blank: CheckReport, samples: int, seed: int
    ) -> None:
        self.subject, self.blank = subject, blank
        self.samples, self.seed = samples, seed
        self.notes: list[str] = []
        self.findings: list[Finding] = []

    def report(self, covariance: np.ndarray | None) -> CheckReport:
        """All parts, then what they mean."""
        subject = self.subject
        deterministic = self._part("repetition", self._deterministic)
        derivative = self._part("derivative", self._derivative)
        jacobian, spectrum = self._jacobian(derivative)
        contraction = self._contraction(jacobian, spectrum)
        start = self._inverse(lambda: at_start(subject, jacobian, spectrum))
        taken: Sequence[Sample | None] = ()
        trips = noise = None
        if start is not None:
            taken = (
                self._inverse(lambda: take_samples(subject, self.samples, self.seed))
                or ()
            )
            if subject.patience_is_out:
                text = f"fewer samples than {self.samples}: it took too long"
                self.notes.append(f"{text}, {len(taken)} round trips")
            trips = round_trips(
                subject, taken, spectrum, contraction, promised=start.promised
            )
            noise = self._inverse(
                lambda: noise_gain(
                    subject, spectrum, covariance, -(-self.samples // 2), self.seed
                )
            )
        if covariance is not None and (noise is None or noise.uncertainty is None):
            self.notes.append("uncertainty: it needs a dense, finite Jacobian")
        report = dataclasses.replace(
            self.blank,
            at_start=start,
            round_trips=trips,
            spectrum=spectrum,
            noise=noise,
            derivative=derivative,
            deterministic=deterministic,
            cost=self._part("cost", lambda: self._cost(derivative, start)),
            contraction=contraction,
        )
        around = self._singular_around(spectrum, taken)
        return self._with_findings(report, around)

    def _with_findings(self, report: CheckReport, around: bool) -> CheckReport:
        findings = find(report, self.findings, singular_around=around)
        contraction, trips = report.contraction, report.round_trips
        none = any(f.name.is_fault for f in findings)
        none = none or trips is None or not trips.promised
        if contraction is not None and none:
            contraction = dataclasses.replace(contraction, physical=None)
        return dataclasses.replace(
            report,
            findings=findings,
            contraction=contraction,
            notes=tuple(self.notes),
        )

    def _part(self, name: str, examine: Callable[[], Any]) -> Any:
        found = attempt(examine)
        if isinstance(found, Fault):
            self.notes.append(f"{name}: {found.message}")
            return None
        return found

    def _inverse(self, examine: Callable[[], Any]) -> Any:
        """A part that calls the inverse."""
        found = attempt(examine)
        if not isinstance(found, Fault):
            return found
        if not any(f.name is Diagnosis.inverse_raises for f in self.findings):
            words = f"the inverse raises {found.message}"
            advice = _FORMULA_RAISES
            if isinstance(self.subject.simulator.rule, NumericalInverse):
                advice = _SOLVER_RAISES
            if TOO_LARGE in found.message:
                advice = "use what it names, or a formula, AnalyticInverse(f)"
            self.findings.append(Finding(Diagnosis.inverse_raises, words, advice))
        return None

    def _deterministic(self) -> bool:
        first, second = (self.subject.forward(self.subject.x) for _ in range(2))
        same = np.array_equal(first, second)
        # compiled, a simulator draws its Python-side random numbers only once
        one, two = self.subject.eager(), self.subject.eager()
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
        return same and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)

    def _derivative(self) -> Derivative:
        return check_derivative(self.subject, self.seed)

    def _jacobian(
        self, derivative: Derivative | None
    ) -> tuple[Matrix | None, Spectrum | None]:
        subject = self.subject
        if derivative is None or derivative.reverse is not None:
            return None, None
        slopes = subject.vjp(np.ones(subject.z.size))
        if not np.all(np.isfinite(slopes)):
            place = int(np.argmin(np.isfinite(slopes)))
            self._not_differentiable(entry_name(subject.x_leaves, place))
            return None, None
        if not fits(subject):
            if derivative.forward is not None:
                return None, None
            spectrum = self._part(
                "spectrum", lambda: leading_spectrum(subject, self.seed)
            )
            return None, spectrum
        jacobian = self._part("Jacobian", lambda: subject.jacobian(subject.x))
        if jacobian is None:
            return None, None
        if not np.all(np.isfinite(jacobian)):
            place = int(np.argmin(np.all(np.isfinite(jacobian), axis=0)))
            self._not_differentiable(entry_name(subject.x_leaves, place))
            return None, None
        return jacobian, dense_spectrum(subject, jacobian)

    def _not_differentiable(self, entry: str) -> None:
        words = f"the derivative of z with respect to {entry} is not finite"
        advice = (
            "a derivative such as that of sqrt or norm at 0: guard it with "
            "jnp.where on its argument as well as its result"
        )
        self.findings.append(Finding(Diagnosis.nan_derivative, words, advice))

    def _contraction(
        self, jacobian: Matrix | None, spectrum: Spectrum | None
    ) -> Contraction | None:
        hessian = attempt(self.subject.loss_hessian)
        if isinstance(hessian, Fault):
            words = f"the loss raises {hessian.message}"
            advice = "mend the loss: it takes z, and returns a number"
            self.findings.append(Finding(Diagnosis.loss_raises, words, advice))
            return None
        if jacobian is None or spectrum is None or hessian is None:
            return None
        expected = predict(spectrum, jacobian, hessian, dtype_eps=self.subject.eps)
        if expected is None and spectrum.rank:
            self.findings.append(
                Finding(
                    Diagnosis.loss_not_convex,
                    "the Hessian of the loss at z0 has no positive curvature, or some "
                    "that is negative",
                    "lift or reflect it, or take the gradient in z",
                    "PhysicalGradient(1.0, metric=NewtonMetric(absolute=True))",
                )
            )
        return expected

    def _cost(self, derivative: Derivative | None, start: AtStart | None) -> Cost:
        subject = self.subject
        differentiable = derivative is not None and derivative.reverse is None
        return Cost(
            subject.seconds("forward"),
            subject.seconds("vjp") if differentiable else None,
            subject.seconds("inverse") if start is not None else None,
            subject.compile_seconds,
        )

    def _singular_around(
        self, spectrum: Spectrum | None, samples: Sequence[Sample | None]
    ) -> bool:
        """Whether the rank of J is as low at points around x0."""
        if spectrum is None or not spectrum.deficient:
            return False
        for sample in [s for s in samples[::-1] if s is not None][:RANK_SAMPLES]:
            jacobian = attempt(lambda at=sample.x: self.subject.jacobian(at))
            if isinstance(jacobian, Fault) or not np.all(np.isfinite(jacobian)):
                continue
            if dense_spectrum(self.subject, jacobian).rank > spectrum.rank:
                return False
        return True
