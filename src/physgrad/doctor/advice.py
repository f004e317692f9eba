"""Methods that are advised, as Python, and what the advice goes by."""

from __future__ import annotations

from physgrad.doctor.report import CheckReport

PHYSICAL = "PhysicalGradient(step_size=1.0)"
NUMERICAL = "PhysicalGradient(step_size=1.0, inverse=NumericalInverse())"
SHORTEST = "PhysicalGradient(step_size=1.0, inverse=LinearizedInverse())"


def holds(report: CheckReport) -> bool:
    """Whether round trips were made, and all certificates hold."""
    start, trips = report.at_start, report.round_trips
    if start is None or start.offender is not None or trips is None:
        return False
    return trips.promised and trips.taken > 0 and trips.worst is None


def is_numerical(report: CheckReport) -> bool:
    """Whether a solver inverts the simulator."""
    return report.inverse.startswith("NumericalInverse")
