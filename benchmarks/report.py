"""What a benchmark prints: Markdown that can be quoted as it stands."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("physgrad", "jax", "optimistix", "jaxopt", "scipy", "numpy")


def machine() -> str:
    """Date, machine and versions, in three lines."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.date.today()}, {os.cpu_count()} cores ({_processor()}), "
        f"{memory:.0f} GiB, {platform.system()} {platform.release()}\n"
        f"Python {platform.python_version()}, {packages}\n"
        f"Load before: {load} (1, 5, 15 minutes; above 0.5 others were at work, and "
        "the times are too long)"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table; the first column is text, the others numbers."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [
        max(len(name), *(len(row[i]) for row in cells))
        for i, name in enumerate(columns)
    ]
    rule = [
        "-" * width if i == 0 else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    for row in (columns, rule, *cells):
        padded = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("| " + " | ".join(padded) + " |", flush=True)
    print(flush=True)


def verdict(goal: str, reached: bool) -> str:
    """A goal, and whether this run reached it."""
    return f"{goal}: {'reached' if reached else 'NOT REACHED'}"
