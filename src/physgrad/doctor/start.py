"""P^-1(P(x0)): whether that is x0, and if not, which point it is and who says so."""

from __future__ import annotations

import numpy as np

from physgrad.doctor.directions import Spectrum
from physgrad.doctor.entries import Vector, entry_name, in_words, size_of_entries
from physgrad.doctor.page import SPELLED_OUT, of_point
from physgrad.doctor.report import AtStart
from physgrad.doctor.samples import Sample, offender
from physgrad.doctor.subject import Answer, Matrix, Subject, entry_rtol

# Another preimage is near where no entry is farther away than this part of its size.
NEAR = 5e-3


def at_start(
    subject: Subject, jacobian: Matrix | None, spectrum: Spectrum | None
) -> AtStart:
    """P^-1(P(x0)), by the check of each link and by the rule itself."""
    answer = subject.pull_back(subject.z)
    failed, link = _failed(subject, answer)
    x = answer.x if failed is None else failed.x
    away = x - subject.x
    unit = size_of_entries(subject.x_leaves, subject.x)
    near = np.abs(away) <= 10 * np.sqrt(subject.eps) * unit
    same = bool(np.all(near)) and failed is None
    across = failed is None and not same and _across(subject, jacobian, spectrum, away)
    worst = None
    if failed is not None:
        here = Sample(0.0, subject.x, subject.z, failed)
        worst = offender(subject, -1, here, link)
    return AtStart(
        same,
        failed is None and not across,
        float(np.linalg.norm(away)),
        "P^-1(P(x0)) is x0" if same else _elsewhere(subject, x),
        worst,
        bool(np.isfinite(answer.tolerance)),
    )


def _failed(subject: Subject, answer: Answer) -> tuple[Answer | None, int | None]:
    """The certificate at x0 that does not hold, and the link of a chain it is of.

    Each link is checked at its own point; the x of it all is that of the whole rule.
    """
    checks = subject.verify()
    link = int(np.argmax([check.result.code for check in checks]))
    worst = checks[link]
    if worst.held:
        return (None if answer.entry is None else answer), None
    if len(checks) == 1:
        return worst, None
    return worst._replace(x=answer.x, z=answer.z), link


def _across(
    subject: Subject,
    jacobian: Matrix | None,
    spectrum: Spectrum | None,
    away: Vector,
) -> bool:
    """Whether z would show the way to P^-1(P(x0)) if P were linear, but does not."""
    if jacobian is None or spectrum is None or spectrum.null_count:
        return False
    moved = np.abs(jacobian @ away)
    return bool(np.any(moved > 2 * entry_rtol(subject.eps) * subject.entry_scale))


def _elsewhere(subject: Subject, x: Vector) -> str:
    """P^-1(P(x0)) in words, where that is not x0."""
    few = x.size <= SPELLED_OUT
    place = of_point("", x).removeprefix(" = ") if few else ""
    if not np.all(np.isfinite(x)):
        entry = entry_name(subject.x_leaves, int(np.argmin(np.isfinite(x))))
        return f"P^-1(P(x0)) is {place or f'not finite in {entry}'}"
    away = x - subject.x
    near = np.abs(away) <= NEAR * size_of_entries(subject.x_leaves, subject.x)
    place = "near" if np.all(near) else f"{place}, not" if few else "not"
    words = f"P^-1(P(x0)) is {place} x0"
    if not np.any(away):
        return "P^-1(P(x0)) is x0, but not that of each link"
    where = in_words(subject.x_leaves, away)
    return f"{words}: it differs by {np.linalg.norm(away):.3g} along {where}"
