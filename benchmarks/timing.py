"""Wall times: samples, their median and spread, and ratios of them."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

SAMPLES = 7
# A sample is the mean of as many calls as fit in this time, so that the clock and the
# garbage collector do not decide.
SAMPLE_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Times:
    """The samples of one timing, in seconds a call."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The number to quote."""
        return statistics.median(self.samples)

    def __str__(self) -> str:
        """Median, minimum to maximum, number of samples."""
        if len(self.samples) == 1:
            return f"{duration(self.median)} (one run)"
        low, high = duration(min(self.samples)), duration(max(self.samples))
        return f"{duration(self.median)} ({low} to {high}, n={len(self.samples)})"


def duration(seconds: float) -> str:
    """Seconds with three digits and a unit.

    >>> duration(0.00123456), duration(0.9999)
    ('1.23 ms', '1.00 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        scaled = seconds / size
        if scaled >= 0.9995 or unit == "us":
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {unit}"
    raise ValueError(f"seconds must be finite, got {seconds}")


def measure(
    call: Callable[[], Any], samples: int = SAMPLES, budget: float = 20.0
) -> Times:
    """Time a call that is warm already: `samples` times, fewer if `budget` is spent."""
    return alternate({"call": call}, samples, budget)["call"]


def alternate(
    calls: Mapping[str, Callable[[], Any]],
    samples: int = SAMPLES,
    budget: float = 20.0,
) -> dict[str, Times]:
    """Time several calls in turns, so that a busy moment of the machine hits them all.

    `budget`: seconds for all of them; once it is spent no further round is begun.
    """
    started = time.perf_counter()
    counts: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for name, call in calls.items():
        once = _mean(call, 1)
        counts[name] = max(1, int(SAMPLE_SECONDS / once))
        if counts[name] == 1:  # a long call: this was its first sample
            seconds[name].append(once)
    while not all(seconds.values()) or time.perf_counter() - started < budget:
        missing = [name for name in calls if len(seconds[name]) < samples]
        if not missing:
            break
        for name in missing:
            seconds[name].append(_mean(calls[name], counts[name]))
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def _mean(call: Callable[[], Any], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count
