"""From what was measured to what is wrong, and which method will help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from physgrad.doctor.advice import NUMERICAL, PHYSICAL, holds, is_numerical
from physgrad.doctor.page import left
from physgrad.doctor.rank import about_rank, about_shape
from physgrad.doctor.report import CheckReport, Diagnosis, Finding
from physgrad.doctor.samples import Offender, RoundTrips
from physgrad.results import Cause

# Condition of J^T H_L J up to which gradient descent is as good as any method.
ORTHOGONAL = 2.0
# What Gauss-Newton may leave of the distance where P hardly bends.
STRAIGHT = 0.05
# Relative noise in x, and its ratio to that in z, from which a noise is too high.
NOISY, AMPLIFIED = 0.1, 3.0
# Gain of a noise from which an exact inverse comes with a warning.
LOUD = 100.0

_AT_START = {
    Cause.start_jumped: Diagnosis.wrong_branch,
    Cause.start_not_finite: Diagnosis.inverse_not_finite,
    Cause.not_identity: Diagnosis.inverse_misses,
}
_AROUND = {
    Cause.missed: Diagnosis.inverse_misses,
    Cause.not_finite: Diagnosis.inverse_not_finite,
    Cause.jumped: Diagnosis.branch_jump,
    Cause.out_of_budget: Diagnosis.inverse_stuck,
}


def find(
    report: CheckReport, known: Iterable[Finding], *, singular_around: bool
) -> tuple[Finding, ...]:
    """All that is to be said of a report, worst first, with what is known before."""
    about: tuple[Callable[[CheckReport], Iterator[Finding]], ...] = (
        _about_calls,
        _about_derivatives,
        _about_inverse,
        _about_loss,
        _about_noise,
        about_shape,
    )
    found = [*known, *(finding for part in about for finding in part(report))]
    found += about_rank(report, singular_around)
    if report.round_trips is not None and not report.round_trips.promised:
        found = [_without_promise(finding) for finding in found]
    order = list(Diagnosis)
    found.sort(key=lambda finding: order.index(finding.name))
    if not found:
        found = [_fine(report)]
    return tuple(found)


def _without_promise(finding: Finding) -> Finding:
    """With a rule that is an inverse: a full step needs one."""
    code = NUMERICAL if finding.code == PHYSICAL else finding.code
    if finding.name is Diagnosis.no_derivative:
        code = None
    return dataclasses.replace(finding, code=code)


def _depends_on_x(report: CheckReport) -> bool:
    """Whether z does, and its derivative is known."""
    known = report.derivative is None or report.derivative.worst is None
    return known and (report.spectrum is None or report.spectrum.rank > 0)


def _loudness(report: CheckReport) -> str:
    """What an exact inverse makes of a noise in z, where that is much."""
    worst = None if report.noise is None else report.noise.worst_gain
    if worst is None or worst <= LOUD:
        return ""
    return (
        f"; it makes a noise in z up to {worst:.3g} times as large in x: with noise, "
        "tell it how much, RegularizedInverse(noise=...)"
    )


def _fine(report: CheckReport) -> Finding:
    where = "and around it" if holds(report) else "only: it was not tried around it"
    words = f"the inverse is an inverse, at x0 {where}"
    condition = 1.0 if report.contraction is None else report.contraction.condition
    gain = f"gradient descent leaves {left(condition)} of the distance in each step"
    advice = f"take the full step in z; near x0 {gain}{_loudness(report)}"
    return Finding(Diagnosis.fine, words, advice, PHYSICAL)


def _about_calls(report: CheckReport) -> Iterator[Finding]:
    if report.deterministic is False:
        yield Finding(
            Diagnosis.not_deterministic,
            "two calls of the simulator at x0 differ",
            "make it a function of x alone: fix the key of its random numbers, and "
            "keep no state between calls",
        )


def _about_derivatives(report: CheckReport) -> Iterator[Finding]:
    derivative = report.derivative
    if derivative is None:
        return
    if derivative.worst is not None:
        worst = derivative.worst
        mode = {"forward": "J t", "reverse": "J^T u"}[worst.mode]
        yield Finding(
            Diagnosis.wrong_derivative,
            f"the derivative with respect to {worst.leaf} ({mode}) is not that of the "
            f"simulator: finite differences differ by {worst.relative:.3g} of it",
            "mend its custom derivative, or leave it to JAX",
        )
    if derivative.forward is None:
        return
    if derivative.reverse is None:
        yield Finding(
            Diagnosis.reverse_only,
            f"there are no forward derivatives: {derivative.forward}",
            "Jacobians are made by rows, one reverse sweep for each entry of z; where "
            "that is too much write the custom derivative with jax.custom_jvp",
            PHYSICAL,
        )
        return
    yield Finding(
        Diagnosis.no_derivative,
        f"JAX cannot differentiate the simulator: {derivative.reverse}",
        "only an analytic inverse does without a derivative",
        PHYSICAL,
    )


def _about_inverse(report: CheckReport) -> Iterator[Finding]:
    start, trips = report.at_start, report.round_trips
    if start is not None and start.offender is not None:
        name = _AT_START.get(start.offender.cause, Diagnosis.inverse_misses)
        yield _bad_inverse(name, start.offender, f"; {start.words}")
        return
    if start is not None and not start.same_branch:
        words = f"the inverse is on another branch than x0; {start.words}"
        advice = _ADVICE[Diagnosis.wrong_branch]
        yield Finding(Diagnosis.wrong_branch, words, advice, NUMERICAL)
        return
    if trips is not None and trips.outside and not trips.taken:
        yield Finding(
            Diagnosis.isolated_start,
            f"none of {trips.outside} points around x0 has a finite z: the inverse "
            "was tried at x0 only",
            "start farther from the edge of what the simulator can do, or see why it "
            "is not finite around x0",
        )
    if trips is not None and trips.outside and trips.taken:
        yield Finding(
            Diagnosis.near_edge,
            f"{trips.outside} of {trips.tried} points around x0 have no finite z: it "
            "lies near the edge of what the simulator can do",
            "take steps that turn back where there is nothing",
            "PhysicalGradient(step_size=1.0, acceptance='monotone')",
        )
    if trips is not None and trips.worst is not None:
        if report.deterministic is not False:  # else no round trip says anything
            yield _bad_around(trips, trips.worst)
    elif trips is not None and not trips.promised:
        yield Finding(
            Diagnosis.promises_nothing,
            f"{report.inverse} is no inverse, and promises none",
            "it is a step of its own, not one to the target: invert numerically, or "
            "see how it compares, with physgrad.compare",
            NUMERICAL,
        )
    elif is_numerical(report) and holds(report) and _depends_on_x(report):
        yield Finding(
            Diagnosis.numerical_inverse,
            "a solver inverts the simulator; it came back to a preimage in all "
            f"{trips.taken if trips else 0} round trips",
            f"take the full step in z{_cost(report)}; a formula, AnalyticInverse(f), "
            f"costs one call{_loudness(report)}",
            PHYSICAL,
        )
    hidden = report.spectrum is None or report.spectrum.null_count > 0
    if start is not None and not start.returns_x0 and hidden:
        yield Finding(
            Diagnosis.not_nearest,
            f"at x0 {start.words}",
            "return the preimage nearest to x, as in inverse(z, x): what z does not "
            "show is then left alone",
            PHYSICAL,
        )


def _cost(report: CheckReport) -> str:
    ratio = None if report.cost is None else report.cost.ratio(report.cost.inverse)
    return "" if ratio is None else f", at about {ratio:.3g} calls of the simulator"


def _bad_around(trips: RoundTrips, worst: Offender) -> Finding:
    name = _AROUND.get(worst.cause, Diagnosis.inverse_misses)
    where = f" from x0, with x moved by up to {worst.size:g} of its size"
    if name is not Diagnosis.inverse_stuck and not trips.fails_near():
        return Finding(
            Diagnosis.inverse_local,
            f"the inverse is right near x0, and fails{where}: {_numbers(worst)}",
            "take shorter steps in z, or invert numerically",
            "PhysicalGradient(step_size=0.3)",
        )
    return _bad_inverse(name, worst, where)


_ADVICE = {
    Diagnosis.wrong_branch: "return the preimage nearest to x, as in inverse(z, x), or "
    "all of them: AnalyticInverse(f, branches=True)",
    Diagnosis.branch_jump: "return the preimage nearest to x, as in inverse(z, x), or "
    "all of them: AnalyticInverse(f, branches=True)",
    Diagnosis.inverse_not_finite: "check the formula, and its argument order "
    "inverse(z, x); or invert numerically",
    Diagnosis.inverse_misses: "mend the formula: P(inverse(z)) must be z; or invert "
    "numerically",
    Diagnosis.inverse_stuck: "the solver comes to rest before it is there: start "
    "elsewhere, take shorter steps in z, or give it a formula",
}


def _bad_inverse(name: Diagnosis, worst: Offender, where: str) -> Finding:
    words = {
        Diagnosis.wrong_branch: "the inverse is on another branch than x0",
        Diagnosis.branch_jump: "the inverse jumps to another branch",
        Diagnosis.inverse_not_finite: "the inverse is not finite",
        Diagnosis.inverse_misses: "the inverse is none: it misses",
        Diagnosis.inverse_stuck: "the numerical inverse does not arrive",
    }[name]
    code = "PhysicalGradient(step_size=0.3)"
    code = code if name is Diagnosis.inverse_stuck else NUMERICAL
    # on a wrong branch there is no residual to be seen
    numbers = "" if name is Diagnosis.wrong_branch else f": {_numbers(worst)}"
    advice = _ADVICE[name]
    if worst.alone:
        advice += (
            "; entries of such different size belong in leaves of their own, since a "
            "certificate has one scale for each leaf"
        )
    return Finding(name, f"{words}{where}{numbers}", advice, code)


def _numbers(worst: Offender) -> str:
    sample = "" if worst.sample < 0 else f"sample {worst.sample}, "
    link = "" if worst.link is None else f"{worst.link}, "
    text = f"{sample}{link}{worst.leaf}: residual {worst.residual:.3g}"
    if np.isfinite(worst.tolerance):
        text += f", tolerance {worst.tolerance:.3g}"
    misses = worst.cause in (Cause.missed, Cause.not_identity)
    if misses and worst.multiple is not None:
        text += f"; x+ is {worst.multiple:.4g} times what it should be"
    return text


def _about_loss(report: CheckReport) -> Iterator[Finding]:
    spectrum, contraction = report.spectrum, report.contraction
    if contraction is None or spectrum is None or spectrum.deficient:
        return
    if contraction.condition <= ORTHOGONAL and _is_straight(report):
        rate, range_of = contraction.learning_rate, np.finfo(report.x[0].dtype)
        if not float(range_of.tiny) <= rate <= float(range_of.max):
            return
        yield Finding(
            Diagnosis.nearly_orthogonal,
            f"J^T H_L J has the condition number {contraction.condition:.3g}: no "
            "direction of x is much steeper than another, and P hardly bends",
            "gradient descent is as good here: a physical gradient pays where P bends, "
            "or scales directions differently",
            f"GradientDescent(learning_rate={rate:.3g})",
        )


def _is_straight(report: CheckReport) -> bool:
    """Whether Gauss-Newton is nearly exact as far as the samples go."""
    rings = () if report.round_trips is None else report.round_trips.rings
    left = rings[-1].gauss_newton if rings else None
    return left is not None and left <= STRAIGHT


def _about_noise(report: CheckReport) -> Iterator[Finding]:
    noise = report.noise
    if noise is None or noise.uncertainty is None:
        return
    given = noise.uncertainty
    if report.inverse.startswith("RegularizedInverse"):
        return  # the noise is what it is for
    if given.relative > NOISY and given.gain > AMPLIFIED:
        yield Finding(
            Diagnosis.noise_too_high,
            f"exact inversion would amplify your noise {given.gain:.3g} times, to "
            f"{given.relative:.3g} times the size of x",
            f"use RegularizedInverse(noise={given.size:.3g}), which stops where the "
            "noise takes over",
            "PhysicalGradient(step_size=1.0, inverse=RegularizedInverse(noise="
            f"{given.size:.3g}))",
        )


def only(name: Diagnosis, words: str, advice: str) -> tuple[Finding, ...]:
    """The one finding of a subject that cannot be examined further."""
    return (Finding(name, words, advice),)
