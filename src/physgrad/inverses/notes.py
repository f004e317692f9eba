"""Warnings at the line of the user, whatever of a library lies in between."""

from __future__ import annotations

import os
import sys
import warnings

# Code in these packages is not the user's.
_NOT_THE_USERS = ("jax", "jaxlib", "jaxtyping", "beartype", "numpy", "equinox")
_NOT_THE_USERS += ("lineax", "optimistix", "physgrad")


def note(message: str) -> None:
    """Warn at the line of the caller outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and is_library(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level + 1)


def is_library(filename: str) -> bool:
    """Whether a file belongs to physgrad or what it stands on, not to a user."""
    homes = [
        os.path.dirname(module.__file__ or "") + os.sep
        for module in map(sys.modules.get, _NOT_THE_USERS)
        if module is not None
    ]
    return filename.startswith(("<@", *homes))
