"""Matplotlib's own settings, whatever the user's are, and bytes that do not vary."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import matplotlib

# Matplotlib reads these from its settings only; they are put back afterwards.
_SVG = {"fonttype": "none", "hashsalt": "physgrad"}
# Settings belong to the whole process: one thread at a time may change them.
_LOCK = threading.Lock()


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw with matplotlib's defaults: the same files on every machine."""
    with _LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("svg", **_SVG)
        yield
