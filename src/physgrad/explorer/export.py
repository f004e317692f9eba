"""Files that a visitor takes away: made afresh from the state in the address."""

from __future__ import annotations

import io
import logging
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
from tornado.web import HTTPError, RequestHandler

from physgrad import plot
from physgrad.explorer.code import python
from physgrad.explorer.settings import Settings, from_query
from physgrad.explorer.study import study
from physgrad.plot.space import end_spaces, widest_pair
from physgrad.results import MissingExtra

log = logging.getLogger(__name__)

DPI = 160
TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
    "py": "text/x-python; charset=utf-8",
}


class ExportHandler(RequestHandler):
    """`export/FILE?STATE`: a file of `parts.EXPORTS`."""

    def get(self, name: str) -> None:
        """The file; 404 for another name, 400 for a state that is none."""
        make = MAKERS.get(name)
        if make is None:
            raise HTTPError(404)
        query = urllib.parse.parse_qs(self.request.query, keep_blank_values=True)
        try:
            given = {key: [v.encode() for v in vs] for key, vs in query.items()}
            content = make(from_query(given))
        except (ValueError, TypeError, MissingExtra) as error:
            self.set_status(400)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{error}\n")
            return
        form = name.rpartition(".")[2]
        self.set_header("Content-Type", TYPES[form])
        self.set_header(
            "Content-Disposition", f'attachment; filename="physgrad-{name}"'
        )
        self.finish(content)


def _space(place: int, form: str) -> Callable[[Settings], bytes]:
    def make(settings: Settings) -> bytes:
        comparison = study(settings)
        space = end_spaces(comparison)[place]
        pair = widest_pair(comparison, space)
        if pair is None:
            raise ValueError(f"{space} has one entry: there is no plane to draw")
        return _picture(
            lambda: plot.compare(comparison, space=space, coordinates=pair), form
        )

    return make


def _losses(settings: Settings) -> bytes:
    comparison = study(settings)
    return _picture(lambda: plot.losses(comparison), "svg")


def _picture(draw: Callable[[], Any], form: str) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw().get_figure(root=True).savefig(buffer, format=form, dpi=DPI)
    return buffer.getvalue()


MAKERS: Mapping[str, Callable[[Settings], bytes]] = {
    "x.png": _space(0, "png"),
    "z.png": _space(1, "png"),
    "x.svg": _space(0, "svg"),
    "z.svg": _space(1, "svg"),
    "losses.svg": _losses,
    "results.json": lambda settings: study(settings).to_json().encode(),
    "run.py": lambda settings: python(settings).encode(),
}
"""File name to what makes it."""
