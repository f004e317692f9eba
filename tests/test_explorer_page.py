"""The page of one visitor: what it refuses, what it keeps, what it draws."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from addresses import arguments
from bokeh.document import Document
from bokeh.server.callbacks import TimeoutCallback

from physgrad.explorer.page import MOST_SESSIONS, Page, open_page
from physgrad.explorer.settings import Formulas, Settings


class _Session:
    """What Bokeh's server tells a document, as far as the page asks."""

    def __init__(self, sessions: int = 1, query: str = ""):
        self.server_context = SimpleNamespace(sessions=[None] * sessions)
        self.request = SimpleNamespace(arguments=arguments(query))


@pytest.fixture
def opened(monkeypatch):
    """Opens a page as the server does."""

    def open_one(query: str = "", sessions: int = 1) -> Document:
        session = _Session(sessions, query)
        monkeypatch.setattr(Document, "session_context", session)
        open_page(document := Document(), "optimizer=gd&steps=2")
        return document

    return open_one


def said(document: Document) -> str:
    message: Any = document.get_model_by_name("message")
    return message.text


def test_a_page_that_is_one_too_many_says_so(opened):
    document = opened(sessions=MOST_SESSIONS)
    assert "close one" in said(document) and len(document.roots) == 1


def test_an_address_that_is_none_is_said_and_the_first_view_is_shown(opened):
    document = opened("problem=<b>tox</b>")
    assert "&lt;b&gt;tox" in said(document) and "<b>" not in said(document)
    assert document.get_model_by_name("spaces") is not None


def test_what_cannot_be_shown_is_said_and_the_rest_stays(monkeypatch, caplog):
    page = Page(Document(), arguments("optimizer=gd&steps=2"))
    before, drawn = page.settings, page.linked.sources["gd"].data["loss"]

    def refuse(settings: Settings) -> Settings:
        raise ValueError("no <such> thing")

    page.ask(refuse)
    assert "no &lt;such&gt; thing" in page.message.text
    page.ask(lambda settings: dataclasses.replace(settings, start=(2.0, 2.0)))
    assert page.message.text == "" and page.settings.start == (2.0, 2.0)

    def fail(settings: Settings) -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr("physgrad.explorer.page.study", fail)
    page.ask(lambda settings: before)
    assert "a fault of physgrad" in page.message.text
    assert "secret" not in page.message.text and "secret" in caplog.text
    number = page.message.text.split("error ")[1][:8]
    assert number in caplog.text
    assert page.settings.start == (2.0, 2.0)
    np.testing.assert_array_less(page.linked.sources["gd"].data["loss"][0], drawn[0])


def settle(document: Document) -> None:
    """What the page put off until its message is shown."""
    for callback in document.session_callbacks:
        document.remove_timeout_callback(cast(TimeoutCallback, callback))
        callback.callback()


def test_what_is_typed_and_not_used_yet_stays():
    page = Page(document := Document(), arguments("optimizer=gd&steps=2"))
    controls = page.controls
    controls.problem.value = "formulas, typed below"
    settle(document)
    assert page.settings.formulas == Formulas(("x0", "x1**2"), "z0**2 + z1**2", 2)
    controls.z[0].value, controls.loss.value = "x0 * x1", "z0**2"
    controls.start[0].value = 2.0  # something else is changed before they are used
    assert page.settings.start == (2.0, 3.0)
    assert controls.z[0].value == "x0 * x1" and controls.loss.value == "z0**2"
    controls.steps.value = -1.0
    assert "from 1 to 1000" in page.message.text and controls.steps.value == 2
    assert controls.z[0].value == "x0 * x1"


def test_a_method_without_a_size_is_typed():
    page = Page(document := Document(), arguments("optimizer=gd&steps=2"))
    controls = page.controls
    controls.add.value = "scipy"
    settle(document)
    assert page.settings.optimizers == ("gd", "scipy")
    row = controls.methods[1]
    assert not row.number.visible and not row.slider.visible
    row.more.value = "method=L-BFGS-B"
    settle(document)
    assert page.settings.optimizers == ("gd", "scipy:method=L-BFGS-B")
    controls.add.value = "scipy"  # with other settings it may stand beside
    settle(document)
    assert page.settings.optimizers[2:] == ("scipy",)
    controls.add.value = "scipy"
    settle(document)
    assert len(page.settings.optimizers) == 3


def test_formulas_that_are_refused_can_be_mended():
    page = Page(Document(), arguments("optimizer=gd&steps=2"))
    controls = page.controls
    controls.z[1].value = "np.sin(x0)"
    controls.problem.value = "formulas, typed below"
    assert "z1, column 3" in page.message.text and "write sin(x)" in page.message.text
    assert controls.z[1].value == "np.sin(x0)" and page.settings.formulas is None
    fields: Any = controls.layout
    shown = [part for part in fields.children if controls.z[1] in part.references()]
    assert shown and all(part.visible for part in shown)


def test_of_three_entries_the_table_has_all_and_the_pictures_the_same_two():
    formulas = Formulas(("x0", "x1/100", "x2**2"), "z0**2 + z1**2 + z2**2", 3)
    start = (1.0, 1.0, 2.0)
    settings = Settings(
        formulas=formulas, start=start, optimizers=("pg",), method="pg", steps=2
    )
    page = Page(Document(), arguments(settings.query()))
    table: Any = page.iterates.all.data
    for entry in range(3):
        assert table[f"x[{entry}]"][0] == start[entry]
    assert page.linked.pairs == {"x": (0, 2), "z": (0, 2)}
    for space, point in {"x": [1.0, 2.0], "z": [1.0, 4.0]}.items():
        arrow: Any = page.step_view.arrows[space, "P^-1"].data
        assert [arrow["x0"][0], arrow["y0"][0]] == point
        assert page.step_view.figures[space].yaxis.axis_label == f"{space}₂"
    assert "₁" in page.iterates.table.text


def test_of_one_entry_a_step_is_arrows_on_a_line():
    formulas = Formulas(("x0**3",), "(z0 - 8)**2", 1)
    settings = Settings(
        formulas=formulas, start=(1.0,), optimizers=("newton",), method="newton"
    )
    page = Page(Document(), arguments(settings.query()))
    for space in "xz":
        assert not page.step_view.figures[space].yaxis.visible
        names = ("J^T", "P^-1")
        arrows: Any = [page.step_view.arrows[space, name].data for name in names]
        assert all(a["y0"] == a["y1"] and a["x0"] == [1.0] for a in arrows)
        assert arrows[0]["y0"] != arrows[1]["y0"]
    assert page.iterates.table.text.count("<th ") == 6  # L once
