"""What the rank of J and the sizes of x and z mean."""

from __future__ import annotations

from collections.abc import Iterator

from physgrad.doctor.advice import NUMERICAL, PHYSICAL, SHORTEST, holds, is_numerical
from physgrad.doctor.directions import Spectrum
from physgrad.doctor.entries import counted
from physgrad.doctor.report import CheckReport, Diagnosis, Finding


def _unseen(spectrum: Spectrum) -> str:
    """The directions that z does not show, in words."""
    more = spectrum.null_count - len(spectrum.unseen)
    shown = [*spectrum.unseen, *([counted(more, "more direction")] if more else [])]
    return ", ".join(shown)


def about_rank(report: CheckReport, singular_around: bool) -> Iterator[Finding]:
    """What z does not show of x at x0, and around it."""
    spectrum = report.spectrum
    if spectrum is None:
        return
    full = min(spectrum.shape)
    if not spectrum.deficient:
        if spectrum.badly_scaled:
            yield Finding(
                Diagnosis.badly_scaled,
                f"in these units J has rank {spectrum.rank} of {full}: beside the "
                f"others z hardly shows {_unseen(spectrum)}",
                "give x and z units in which their entries are of one size; an exact "
                "inverse does not mind, methods that use J do",
                PHYSICAL,
            )
        return
    if not spectrum.rank:
        yield _without_slope(report, singular_around)
        return
    rank = f"J has rank {spectrum.rank} of {full}"
    if not singular_around:
        yield Finding(
            Diagnosis.singular_at_start,
            f"{rank} at x0, and a higher one around it: there z does not show "
            f"{_unseen(spectrum)}",
            "start elsewhere, off this point; or damp the step",
            "LevenbergMarquardt()",
        )
        return
    kept = holds(report)
    way = "keep to this inverse, which holds" if kept else "take the shortest step"
    yield Finding(
        Diagnosis.rank_deficient,
        f"{rank}, at x0 and around it: z does not show {_unseen(spectrum)}",
        f"leave these directions out of x, or {way}; it must leave them alone",
        PHYSICAL if kept else SHORTEST,
    )


def _without_slope(report: CheckReport, singular_around: bool) -> Finding:
    """What is to be said where J is zero: no method that uses it will move."""
    name = Diagnosis.rank_deficient if singular_around else Diagnosis.singular_at_start
    around = "and around it" if singular_around else "but not around it"
    words = f"J is zero at x0, {around}: to first order z does not depend on x"
    if holds(report) and not is_numerical(report):
        advice = "keep to this inverse, which holds; methods that use J do not move"
        return Finding(name, words, advice, PHYSICAL)
    advice = "methods that use J do not move: "
    if singular_around:
        advice += "see whether P rounds, cuts off or ignores x, or give it a formula"
    else:
        advice += "start elsewhere, off this point"
    return Finding(name, words, advice)


def about_shape(report: CheckReport) -> Iterator[Finding]:
    """What follows from how many entries x and z have."""
    spectrum = report.spectrum
    if spectrum is None or spectrum.deficient:
        return
    rows, columns = spectrum.shape
    if columns > rows:
        shown = _unseen(spectrum)
        yield Finding(
            Diagnosis.more_x_than_z,
            f"x has {columns} entries and z {rows}: z does not show {shown}",
            "the preimage nearest to x is meant: f(z, x) of an analytic inverse must "
            "return it, a numerical one finds it",
            PHYSICAL,
        )
    if rows > columns:
        yield Finding(
            Diagnosis.more_z_than_x,
            f"z has {rows} entries and x {columns}: most targets are out of range",
            "the nearest point is taken (target_not_reachable) by a numerical inverse, "
            "not by a formula; stop by stop=Stop(gradient=1e-4)",
            NUMERICAL,
        )
