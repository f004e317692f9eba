"""Tables on stdout: as wide as they need in a file, as narrow as a terminal is."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from physgrad.cli.process import open_stdout

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def lines_of(sheet: Table) -> list[str]:
    """The lines of a table, in the encoding and the width of stdout."""
    from rich.console import Console

    stdout = open_stdout()
    page = io.TextIOWrapper(io.BytesIO(), encoding=stdout.encoding or "utf-8")
    console = Console(file=page, force_terminal=stdout.isatty() or None)
    unbounded = Console(file=page, width=10_000)
    whole = unbounded.measure(sheet).maximum
    if not stdout.isatty():  # a file is as wide as the table
        console.width = whole
    elif console.width < whole:
        _make_narrow(sheet, unbounded)
        console.width = max(console.width, unbounded.measure(sheet).minimum)
    console.print(sheet, crop=False)
    page.seek(0)
    return [line.rstrip() for line in page.read().splitlines()]


def _make_narrow(sheet: Table, unbounded: Console) -> None:
    """Let cells break between words to fit a terminal, but not within them."""
    sheet.box, sheet.pad_edge, sheet.collapse_padding = None, False, True
    for column in sheet.columns:
        cells = [column.header, *column.cells]
        column.min_width = max(unbounded.measure(cell).minimum for cell in cells)
