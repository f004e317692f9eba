"""The report: opened from disk, with the network cut."""

from __future__ import annotations

import dataclasses
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from looking import IDLE, iterates, mark, serious, wait_for
from playwright.sync_api import expect

from physgrad import plot
from physgrad.comparison.comparison import Comparison
from physgrad.explorer.settings import Settings
from physgrad.explorer.study import study
from physgrad.results import MissingExtra

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return study(Settings(optimizers=("gd", "pg:step_size=1.5"), method="gd"))


@pytest.fixture(scope="module")
def hostile(comparison) -> str:
    """The report of a comparison all of whose texts want to be run."""
    names = {f"gd {HOSTILE}": "gd", f"pg {HOSTILE}": "pg"}
    named = {
        name: dataclasses.replace(comparison[key], message=HOSTILE)
        for name, key in names.items()
    }
    words = dict.fromkeys(named, HOSTILE)
    altered = dataclasses.replace(
        comparison, runs=named, optimizers=words, problem=HOSTILE
    )
    return plot.report(altered, command=f"physgrad compare {HOSTILE}")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags_of(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(text)
    return parser.found


def test_nothing_is_loaded_and_it_is_small(comparison):
    text = plot.report(comparison, command="physgrad compare toy")
    assert len(text.encode()) < 3_000_000
    for tag, attributes in tags_of(text):
        addresses = [attributes.get(key) or "" for key in ("src", "href", "action")]
        assert all(a[:1] in ("", "#") or a == "data:," for a in addresses), tag
    style = "".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in style and "@import" not in style
    assert "physgrad compare toy" in text and "Python" in text


def test_it_is_written_as_a_whole_and_replaces_nothing_unasked(comparison, tmp_path):
    file = tmp_path / "run.html"
    text = plot.report(comparison, file)
    assert file.read_text() == text and os.listdir(tmp_path) == ["run.html"]
    file.write_text("older")
    with pytest.raises(FileExistsError):
        plot.report(comparison, file)
    assert file.read_text() == "older"
    plot.report(comparison, file, force=True)
    assert file.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"must end with '\.html'"):
        plot.report(comparison, tmp_path / "run.txt")


def test_what_a_comparison_holds_is_text(hostile):
    plain = [tag for tag, _ in tags_of(hostile)]
    assert "img" not in plain and plain.count("h1") == 1
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", hostile, re.DOTALL)
    assert not [text for text in scripts if text.strip() == "alert(1)"]


def test_without_bokeh_the_extra_is_named(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name="bokeh.embed")

    monkeypatch.delitem(vars(plot), "report", raising=False)
    monkeypatch.setattr(plot.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"physgrad\[app\]"):
        _ = plot.report


@pytest.fixture
def opened(page, comparison, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(plot.report(comparison), encoding="utf-8")
    page.context.set_offline(True)
    page.goto(file.as_uri())
    page.wait_for_function(IDLE)
    return page


def test_it_shows_the_runs_offline(opened, comparison):
    for name, key in {"gd": "gd", "pg": "pg"}.items():
        z = comparison[key].trajectory["z"]
        for place in range(2):
            seen = iterates(opened, name, f"z {place}")
            np.testing.assert_allclose(seen, z[:, place], rtol=1e-6)
    ends = opened.get_by_role("table", name="How each run ended")
    expect(ends).to_contain_text(comparison["pg"].message)
    assert opened.locator("canvas").count() >= 3


def test_a_row_of_the_table_marks_its_iterate_and_headings_sort(opened, comparison):
    table = opened.locator(".iterates")
    table.locator("tr[data-row='4']").click()
    wait_for(opened, lambda: mark(opened)["step"] == 4)
    assert mark(opened)["method"] == "gd"
    expect(table.locator("tr[aria-selected=true]")).to_have_count(1)
    heading = table.get_by_role("button", name="L", exact=True)
    heading.click()
    cells = table.locator("tbody tr td:nth-child(3)").all_text_contents()
    assert [float(c) for c in cells] == sorted(float(c) for c in cells)
    heading.click()
    downwards = table.locator("tbody tr td:nth-child(3)").all_text_contents()
    assert float(downwards[0]) == max(map(float, downwards))


def test_it_is_readable_in_the_dark_on_a_narrow_screen_and_without_seeing(opened):
    def paper() -> str:
        return opened.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    assert serious(opened) == []
    opened.get_by_role("button", name="Dark or light").click()
    assert paper() != light
    opened.set_viewport_size({"width": 360, "height": 740})
    opened.wait_for_timeout(300)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    assert serious(opened) == []


def test_hostile_names_are_shown(page, hostile, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(hostile, encoding="utf-8")
    page.goto(file.as_uri())
    page.wait_for_function(IDLE)
    expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0
    page.locator("tr[data-row='1']").click()  # tooltips and marks, too
    wait_for(page, lambda: mark(page)["step"] == 1)
