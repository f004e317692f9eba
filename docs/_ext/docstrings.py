"""Docstrings are written in a little Markdown; autodoc reads reStructuredText.

What differs: code stands in single backticks, the lines of a list item may be indented
by any width, and `*`, `|` and `_` are characters like others (|z|_B, x_ref, J*).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sphinx.application import Sphinx

ITEM = re.compile(r"(- |\d+\. )")
# bold and code are marks; everything else that reST would take for one is text
MARKS = re.compile(r"(\*\*[^*]+\*\*|`[^`]+`)")
SPECIAL = re.compile(r"[\\*|`_]")


def to_rest(lines: Sequence[str]) -> list[str]:
    """A docstring in Markdown as reStructuredText, line by line.

    >>> to_rest(["- `x`: |x|_B,", "      a *vector*"])
    ['- ``x``: \\\\|x\\\\|\\\\_B,', '  a \\\\*vector\\\\*']
    """
    return list(_rest(lines))


def _rest(lines: Sequence[str]) -> Iterator[str]:
    indent, example, literal = "", False, False
    for line in _joined(lines):
        text = line.strip()
        example = bool(text) and (example or text.startswith(">>>"))
        literal = literal and (not text or line.startswith(" "))
        if example or literal or not text:
            yield line
            continue
        if not line.startswith(" "):
            mark = ITEM.match(line)
            indent = " " * len(mark[0]) if mark else ""
        start = indent if line.startswith(" ") else ""
        literal = text.endswith("::")
        yield start + _inline(text)


def _joined(lines: Sequence[str]) -> list[str]:
    """Without line breaks in code: `a\nb` is one piece."""
    joined: list[str] = []
    for line in lines:
        open_code = joined and joined[-1].count("`") % 2 and line.strip()
        if open_code and not joined[-1].lstrip().startswith(">>>"):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return joined


def _inline(text: str) -> str:
    """One line: `code` to ``code``, and other marks escaped."""
    parts = MARKS.split(text)
    for place, part in enumerate(parts):
        if place % 2 == 0:
            parts[place] = SPECIAL.sub(r"\\\g<0>", part)
        elif part.startswith("`"):
            after = parts[place + 1][:1]
            # reST ends code before punctuation and blanks only
            end = "\\ " if after and (after.isalnum() or after in "_^") else ""
            parts[place] = f"`{part}`{end}"
    return "".join(parts)


def process(
    app: Sphinx, what: str, name: str, object_: Any, options: Any, lines: list[str]
) -> None:
    """Autodoc hands each docstring over to be changed in place."""
    del app, what, name, object_, options
    lines[:] = to_rest(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
