"""The page of one visitor: controls, linked spaces, one step taken apart, exports."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import html
import logging
import secrets
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import Event, Pan
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    ColumnDataSource,
    CustomJS,
    Div,
    Model,
    PointDrawTool,
    TabPanel,
    Tabs,
)

from physgrad.explorer import parts
from physgrad.explorer.anatomy import Anatomy, anatomy
from physgrad.explorer.code import python
from physgrad.explorer.controls import Change, Controls
from physgrad.explorer.settings import Settings, from_query
from physgrad.explorer.step_view import StepView
from physgrad.explorer.study import preimage, study
from physgrad.explorer.template import LAYOUT, TEMPLATE
from physgrad.plot import iterates, theme
from physgrad.plot.linked import Linked
from physgrad.plot.space import flat_points
from physgrad.plot.text_tables import results_table
from physgrad.plot.theme import WIDE, WRAP
from physgrad.results import MissingExtra

log = logging.getLogger(__name__)

MOST_SESSIONS = 32
"""Pages at a time; one that is closed is forgotten after half a minute."""
COMPILING = "Computing. What is new is compiled first: a few seconds."
SOON = 5
"""Milliseconds in which the movements of a slider or a drag become one change."""


def open_page(document: Document, start: str = "") -> None:
    """Fill the document of a new visitor; `start`: the query of a bare address."""
    document.title, document.template = "physgrad explorer", TEMPLATE
    document.template_variables.update(
        nonce=secrets.token_urlsafe(16),
        css=theme.PAGE + theme.TEXT + LAYOUT,
        script=theme.SCRIPT + iterates.SCRIPT,
    )
    context: Any = document.session_context
    arguments: Mapping[str, Sequence[bytes]] = {}
    if context is not None:
        if len(context.server_context.sessions) >= MOST_SESSIONS:
            words = f"{MOST_SESSIONS} pages are open already: close one, and reload"
            document.add_root(_named(Div(text=parts.alert(words)), "message"))
            return
        arguments = context.request.arguments
    if not arguments:
        given = urllib.parse.parse_qs(start, keep_blank_values=True)
        arguments = {key: [v.encode() for v in vs] for key, vs in given.items()}
    Page(document, arguments)


class Page:
    """What a visitor sees. Every change goes through `ask`, which may refuse it."""

    def __init__(self, document: Document, query: Mapping[str, Sequence[bytes]]):
        self._document = document
        self._soon: Change | None = None
        self._held: str | None = None  # the space whose start is being dragged
        self._moving = False  # rings move by our hand, not by the visitor's
        refused = ""
        try:
            self.settings = from_query(query)
            self.comparison = study(self.settings)
            taken_apart = anatomy(self.settings, self.comparison)
        except (ValueError, TypeError, MissingExtra) as error:
            refused = f"the address cannot be shown: {error}"
            self.settings = Settings()
            self.comparison = study(self.settings)
            taken_apart = anatomy(self.settings, self.comparison)
        self.controls = Controls(self.settings, self.ask, self.ask_soon)
        # where it is empty, what lies below is to be clicked
        self.message = Div(text="", styles={"pointer-events": "none"}, **WIDE)
        self.spaces, self.losses = row(**WRAP), column(**WIDE)
        self.step_view = StepView()
        self.numbers, self.ends = Div(text="", **WIDE), Div(text="", **WIDE)
        self.links, self.code = Div(text="", **WIDE), Div(text="", **WIDE)
        self._program = ColumnDataSource({"text": [""]})
        self._address = ColumnDataSource({"query": [""]})
        self.iterates = iterates.Iterates()
        self.iterates.all.selected.on_change("indices", self._picked)
        self.linked = self._fresh()
        self._redraw(self.settings, taken_apart)
        self.message.text = parts.alert(refused)
        document.js_on_event("document_ready", CustomJS(code=theme.NAMES))
        with document.models.freeze():  # or Bokeh collects all models for each of them
            for name, root in self._roots().items():
                document.add_root(_named(theme.dressed(root), name))

    def ask(self, change: Change) -> None:
        """Change the settings and show them; what cannot be shown is said instead."""
        self._soon = None
        with self._refusals():
            settings = change(self.settings)
            if _programs(settings) != _programs(self.settings):
                self.message.text = parts.status(COMPILING)
                show = functools.partial(self._show_new, settings)
                self._document.add_timeout_callback(show, SOON)
            elif settings != self.settings:
                self._show(settings)

    def _show_new(self, settings: Settings) -> None:
        with self._refusals():
            self._show(settings)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """What goes wrong here is said on the page."""
        try:
            yield
        except (ValueError, TypeError, MissingExtra) as error:
            self._refuse(str(error))
        except Exception:
            number = secrets.token_hex(4)
            log.exception("error %s", number)
            self._refuse(
                "a fault of physgrad: please report it, with what the terminal says of "
                f"error {number}"
            )

    def ask_soon(self, change: Change) -> None:
        """As `ask`, for the last of several changes that come at once."""
        if self._soon is None:
            self._document.add_timeout_callback(self._ask_last, SOON)
        self._soon = change

    def _ask_last(self) -> None:
        if self._soon is not None:
            self.ask(self._soon)

    def _refuse(self, message: str) -> None:
        """Say why; all is as it was, but for what is typed to be mended."""
        self.message.text = parts.alert(message)
        self.controls.fill_numbers(self.settings)
        if self._held is None:
            self._update()  # a start that was dragged goes back
            self.linked.show_iterate(self.settings.method, self.settings.step)

    def _update(self) -> None:
        """Draw the comparison in the figures that are there."""
        self._moving = True
        self.linked.update(self.comparison, held=self._held)
        self._moving = False

    def _show(self, settings: Settings) -> None:
        chosen: dict[str, Any] = {"method": settings.method, "step": settings.step}
        if vars(settings) == vars(self.settings) | chosen:
            self._redraw_step(settings, anatomy(settings, self.comparison))
            return
        comparison = study(settings)
        taken_apart = anatomy(settings, comparison)
        self.comparison = comparison
        same = _subject(settings) == _subject(self.settings)
        if same and self.linked.shows(comparison):
            self._update()
            if self._held is None and not self.linked.fits(comparison):
                self.linked.look_again(comparison)
        else:
            self.linked = self._fresh()
        self._redraw(settings, taken_apart)

    def _redraw(self, settings: Settings, taken_apart: Anatomy) -> None:
        """Bring everything up to the settings and the comparison."""
        self.message.text = ""
        self.ends.text = results_table(self.comparison)
        program = python(settings)
        self.code.text = f"<pre tabindex='0'><code>{html.escape(program)}</code></pre>"
        self._program.update(data={"text": [program]})
        self.controls.fill(settings)
        self._redraw_step(settings, taken_apart)

    def _redraw_step(self, settings: Settings, taken_apart: Anatomy) -> None:
        """What belongs to the step that is looked at, and to the address."""
        self.settings = settings
        self.step_view.show(taken_apart, self.linked.pairs, self.linked.planes)
        self.numbers.text = parts.numbers(taken_apart)
        self.linked.show_iterate(self.settings.method, self.settings.step)
        self.controls.fill_chosen(self.settings)
        query = self.settings.query()
        self.links.text = parts.links(query)
        self._address.update(data={"query": [query]})

    def _fresh(self) -> Linked:
        """New figures, for other methods or another problem."""
        linked = Linked(self.comparison, iterates=self.iterates)
        for space, shown in linked.figures.items():
            if self._spaces.index(space) in (0, len(self._spaces) - 1):
                ring: Any = linked.rings[space]
                drag = PointDrawTool(renderers=[ring], add=False, num_objects=1)
                shown.add_tools(drag)
                shown.toolbar.active_drag = shown.toolbar.active_tap = drag
                shown.on_event(Pan, self._dragging(linked, space))
                linked.starts[space].on_change("data", self._dropped(linked, space))
        self.spaces.children = [theme.dressed(f) for f in linked.figures.values()]
        tabs = [
            TabPanel(child=shown, title=f"by {against}")
            for against, shown in linked.losses.items()
        ]
        self.losses.children = [theme.dressed(Tabs(tabs=tabs, **WIDE))]
        return linked

    @property
    def _spaces(self) -> list[str]:
        return list(next(iter(self.comparison.runs.values())).trajectory.spaces)

    def _dragging(self, linked: Linked, space: str) -> Callable[[Event], None]:
        def dragging(event: Event) -> None:
            grabbed = bool(linked.starts[space].selected.indices)
            if grabbed and isinstance(event, Pan) and event.x is not None:
                self._held, point = space, (float(event.x), float(event.y or 0.0))
                self.ask_soon(lambda settings: self._from(settings, space, point))

        return dragging

    def _dropped(self, linked: Linked, space: str) -> Callable[[str, Any, Any], None]:
        def dropped(attribute: str, old: Any, new: Any) -> None:
            if self._moving:
                return
            point = float(new["x"][0]), float(new["y"][0])
            start = linked.planes[space].start
            self._held = None
            if not np.allclose(point, start, rtol=1e-4, atol=0.0):
                self.ask(lambda settings: self._from(settings, space, point))
            if not linked.fits(self.comparison):
                linked.look_again(self.comparison)

        return dropped

    def _from(
        self, settings: Settings, space: str, point: tuple[float, float]
    ) -> Settings:
        """Start where the ring was dragged to; in z, by the inverse."""
        pair = self.linked.pairs[space]
        run = next(iter(self.comparison.runs.values()))
        flat = [float(v) for v in flat_points(run.trajectory[space])[0]]
        for entry, value in zip(pair, point, strict=False):  # of one entry: L is left
            flat[entry] = value
        is_x = space == self._spaces[0]
        start = flat if is_x else preimage(settings, flat)
        # a hand points at no more digits than these
        return dataclasses.replace(
            settings, start=tuple(float(f"{x:.5g}") for x in start)
        )

    def _picked(self, attribute: str, old: Any, new: Sequence[int]) -> None:
        """A row of the table, or an iterate that was pointed at."""
        if len(new) != 1 or self._held is not None:
            return
        table = self.iterates.all.data
        method = str(np.asarray(table["method"])[new[0]])
        step = min(int(np.asarray(table["step"])[new[0]]), self.settings.steps - 1)
        self.ask(
            lambda settings: dataclasses.replace(settings, method=method, step=step)
        )

    def _roots(self) -> dict[str, Model]:
        """The parts of the template."""
        keep = column(
            Div(visible=False, tags=[self._address, self._program]), visible=False
        )
        self._address.js_on_change("data", CustomJS(code=_ADDRESS + theme.NAMES))
        return {
            "message": self.message,
            "controls": self.controls.layout,
            "spaces": self.spaces,
            "chosen": self.controls.chosen,
            "step": self.step_view.layout,
            "numbers": self.numbers,
            "ends": self.ends,
            "losses": self.losses,
            "table": self.iterates.table,
            "links": self.links,
            "copy": row(
                _copier("Copy as Python", self._program, "source.data.text[0]"),
                _copier("Copy the address", self._address, "window.location.href"),
                **WRAP,
            ),
            "code": self.code,
            "kept": keep,
        }


def _subject(settings: Settings) -> Any:
    return settings.problem, settings.formulas, settings.float64


def _programs(settings: Settings) -> Any:
    """What programs are compiled for: all but numbers such as step sizes."""
    methods = [
        (one.name, [v for v in one.settings.values() if type(v) is not float])
        for one in settings.named.values()
    ]
    return *_subject(settings), settings.steps, methods


def _copier(label: str, source: ColumnDataSource, text: str) -> Button:
    button = Button(label=label, width=180)
    code = f"""
    navigator.clipboard.writeText({text});
    button.label = "Copied";
    setTimeout(() => {{ button.label = "{label}"; }}, 1500);
    """
    copy = CustomJS(args={"source": source, "button": button}, code=code)
    button.js_on_event("button_click", copy)
    return button


def _named(root: Any, name: str) -> Any:
    root.name = name
    return root


_ADDRESS = """
window.history.replaceState(null, "", "?" + cb_obj.data.query[0]);
"""
