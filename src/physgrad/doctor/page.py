"""A report as one page of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from physgrad.doctor.entries import Leaf

if TYPE_CHECKING:
    from physgrad.doctor.report import CheckReport

WIDTH, INDENT = 88, 14
# Leaves, singular values and uncertainties that are spelled out.
SPELLED_OUT = 6
NONE = "-"


def page(report: CheckReport) -> str:
    """The findings, what to do, and what was measured."""
    lines = [f"{report.subject} at {report.start}, inverse {report.inverse}", ""]
    for finding in report.findings:
        mark = "FAULT " if finding.name.is_fault else ""
        lines += _wrapped("diagnosis", f"{mark}{finding.name}: {finding.words}")
        lines += _wrapped("", f"-> {finding.advice}")
    lines += _wrapped("recommended", report.code or "mend that first")
    lines.append("")
    for part in (_spaces, _start, _round_trips, _jacobian, _noise, _derivative):
        lines += part(report)
    for part in (_contraction, _cost):
        lines += part(report)
    for note in report.notes:
        lines += _wrapped("not examined", note)
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _wrapped(heading: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=heading.ljust(INDENT),
        subsequent_indent=" " * INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _row(*cells: str) -> str:
    first, *others = cells
    return " " * INDENT + first.ljust(10) + "".join(cell.rjust(14) for cell in others)


def _shapes(leaves: tuple[Leaf, ...]) -> str:
    shown = [
        f"{leaf.name} {leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for leaf in leaves[:SPELLED_OUT]
    ]
    more = len(leaves) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _spaces(report: CheckReport) -> Iterator[str]:
    if report.z:
        yield from _wrapped("spaces", f"{_shapes(report.x)} -> {_shapes(report.z)}")


def _start(report: CheckReport) -> Iterator[str]:
    if report.at_start is not None:
        yield from _wrapped("at x0", report.at_start.words)


def _round_trips(report: CheckReport) -> Iterator[str]:
    trips = report.round_trips
    if trips is None or not trips.rings:
        return
    yield from _wrapped(
        "round trips",
        "x -> z -> x+ from x0, for samples x around it; what one step leaves of the "
        "distance to x (median):",
    )
    yield _row("x moved by", "held", "PG", "Gauss-Newton", "GD")
    for ring in trips.rings:
        yield _row(
            f"{ring.size:g}",
            f"{ring.held} of {ring.samples}",
            _number(ring.physical),
            _number(ring.gauss_newton),
            _number(ring.gradient_descent),
        )
    if trips.outside:
        words = f"{trips.outside} of {trips.tried} points around x0 had no finite z"
        yield from _wrapped("", words)


def _jacobian(report: CheckReport) -> Iterator[str]:
    spectrum = report.spectrum
    if spectrum is None:
        return
    values = [f"{value:.3g}" for value in spectrum.values]
    if len(values) > SPELLED_OUT:
        half = SPELLED_OUT // 2
        values = [*values[:half], "...", *values[-half:]]
    rows, columns = spectrum.shape
    least = "" if spectrum.dense else "at least "
    which = "" if spectrum.dense else "largest "
    text = f"{which}singular values {', '.join(values)}; condition number {least}"
    text += f"{spectrum.condition:.3g}; rank {least}{spectrum.rank} of "
    yield from _wrapped("Jacobian", f"{text}{min(rows, columns)} ({rows} x {columns})")
    if spectrum.null_count:
        unseen = "; ".join(spectrum.unseen)
        more = spectrum.null_count - len(spectrum.unseen)
        ends = f" and {more} more" if unseen and more > 0 else ""
        text = f"{unseen}{ends}" or f"{least}{more} directions"
        yield from _wrapped("unseen", text)
    if spectrum.weak:
        yield from _wrapped("weakly seen", "; ".join(spectrum.weak))


def _noise(report: CheckReport) -> Iterator[str]:
    noise = report.noise
    if noise is None or (not noise.levels and noise.worst_gain is None):
        return
    yield from _wrapped(
        "noise",
        f"relative gain z -> x by J^+: {_number(noise.typical_gain)} in the mean, "
        f"{_number(noise.worst_gain)} at worst",
    )
    yield _row("in z", "in x by J^+", "by P^-1", "held")
    for level in noise.levels:
        held = f"{level.held} of {level.samples}"
        linear, measured = _number(level.linear), _number(level.measured)
        yield _row(f"{level.level:.0e}", linear, measured, held)
    given = noise.uncertainty
    if given is not None:
        shown = [f"{name} {size:.3g}" for name, size in given.by_leaf[:SPELLED_OUT]]
        yield from _wrapped(
            "uncertainty",
            f"largest standard deviations {', '.join(shown)}; {given.relative:.3g} "
            f"times |x|, {given.gain:.3g} times the noise in z",
        )


def _derivative(report: CheckReport) -> Iterator[str]:
    derivative = report.derivative
    if derivative is not None:
        text = "agrees with finite differences"
        if derivative.worst is not None:
            text = f"{derivative.worst.relative:.3g} off at {derivative.worst.leaf}"
        if not derivative.checked:
            text = "could not be compared with finite differences"
        if derivative.reverse is not None:
            text = "none"
        yield from _wrapped("derivative", f"{text} ({derivative.checked} directions)")
    if report.deterministic is not None:
        text = "two calls are the same to the bit"
        text = text if report.deterministic else "two calls differ"
        yield from _wrapped("repeated", text)


def _contraction(report: CheckReport) -> Iterator[str]:
    expected = report.contraction
    if expected is None:
        return
    physical = "unknown" if expected.physical is None else "0"
    yield from _wrapped(
        "per step",
        f"GD leaves {left(expected.condition)} of the distance (learning rate "
        f"{expected.learning_rate:.3g}, condition {expected.condition:.3g}), Newton "
        f"{expected.newton:g}, Gauss-Newton {expected.gauss_newton:g}, PG "
        f"{physical} at step size 1: {expected.assumption}",
    )


def _cost(report: CheckReport) -> Iterator[str]:
    cost = report.cost
    if cost is None:
        return
    ratios = [
        f"{name} {cost.ratio(seconds):.3g} times that"
        for name, seconds in (("vjp", cost.vjp), ("inverse", cost.inverse))
        if seconds is not None
    ]
    text = ", ".join([f"forward {_seconds(cost.forward)}", *ratios])
    yield from _wrapped("cost", f"{text}; compiling {_seconds(cost.compile)}")


def left(condition: float) -> str:
    """(k - 1) / (k + 1) in words: what gradient descent leaves of the distance.

    >>> left(9.0), left(1e6)
    ('0.8', 'all but 2e-06')
    """
    gained = 2 / (condition + 1)
    return f"{1 - gained:.3g}" if gained >= 5e-4 else f"all but {gained:.3g}"


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def of_point(name: str, values: np.ndarray) -> str:
    """A point in words: its entries where they are few."""
    if values.size > SPELLED_OUT:
        return f"{name} with {values.size} entries"
    return f"{name} = [{', '.join(f'{value:.3g}' for value in values)}]"
