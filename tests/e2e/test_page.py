"""The page in a real browser: what a visitor does, and what is shown then."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from looking import (
    IDLE,
    drag_start,
    iterates,
    mark,
    open_page,
    place_of_iterate,
    place_of_start,
    place_of_zero,
    serious,
    state,
    wait_for,
)
from playwright.sync_api import Page, expect

from physgrad.explorer.presets import PRESETS
from physgrad.explorer.settings import Settings
from physgrad.explorer.study import study

HOSTILE = {
    "__import__('os')": "not allowed in a formula",
    "9**9**9": "not finite",
    "x0+" * 1000 + "x0": "2000 characters",
    "<img src=x onerror=alert(1)>": "not allowed in a formula",
}
"""Formula to what is said of it; more of them are in the tests of the formulas."""
# One method that is quick to compile, and another name for the same start.
QUICK = "?start=3,3&optimizer=gd&optimizer=newton&steps=10"


@pytest.fixture
def shown(page: Page, explorer) -> Page:
    open_page(page, explorer.url)
    return page


def alert(page: Page):
    return page.get_by_role("alert")


def test_the_first_view_shows_the_notebooks_runs(shown):
    expect(shown.get_by_role("heading", level=1)).to_have_text("physgrad explorer")
    for name, run in study(Settings()).runs.items():
        for place in range(2):
            seen = iterates(shown, name, f"z {place}")
            np.testing.assert_allclose(seen, run.trajectory["z"][:, place], rtol=1e-5)
    assert shown.locator("canvas").count() >= 5
    expect(shown.get_by_role("table", name="How each run ended")).to_be_visible()


def test_the_start_is_dragged_in_x_and_in_z(shown):
    def start() -> list[float]:
        return [float(entry) for entry in state(shown)["start"][0].split(",")]

    drag_start(shown, "x", -40, 30)
    x = start()
    assert x[0] < 2.9 and x[1] < 2.9
    np.testing.assert_allclose(iterates(shown, "pg", "x 0")[0], x[0], rtol=1e-4)
    np.testing.assert_allclose(iterates(shown, "pg", "z 1")[0], x[1] ** 2, rtol=1e-4)
    drag_start(shown, "z", -20, 15)
    moved = start()
    assert moved[0] < x[0] and 0 < moved[1] < x[1]
    np.testing.assert_allclose(iterates(shown, "gd", "x 1")[0], moved[1], rtol=1e-4)
    # to z1 < 0, which no x has: said, and the ring goes back
    axis = place_of_zero(shown, "z")
    drag_start(shown, "z", 0, axis - place_of_start(shown, "z")[1] + 10)
    expect(alert(shown)).to_contain_text("no x was found that maps to z")
    assert 0 < start()[1] <= moved[1]
    assert place_of_start(shown, "z")[1] < axis


def test_a_step_size_is_changed_by_number_and_by_slider(shown):
    field = shown.get_by_label("pg: step size", exact=True)
    field.fill("1")
    field.press("Enter")
    shown.wait_for_function("() => location.search.includes('pg:step_size=1')")
    wait_for(shown, lambda: iterates(shown, "pg", "loss")[1] == 0)
    assert "newton" in state(shown)["optimizer"]  # untouched, as it was typed
    field.fill("-1")
    field.press("Enter")
    expect(alert(shown)).to_contain_text("positive number")
    assert iterates(shown, "pg", "loss")[1] == 0


def test_bad_formulas_are_said_and_the_page_goes_on(page, explorer):
    open_page(shown := page, explorer.url + QUICK)
    shown.get_by_label("Problem", exact=True).select_option("formulas, typed below")
    first = shown.get_by_label("z0 =")
    use = shown.get_by_role("button", name="Use these formulas")
    for text, words in HOSTILE.items():
        first.fill(text)
        use.click()
        expect(alert(shown)).to_contain_text(words)
    assert shown.locator("img[src=x]").count() == 0
    first.fill("x0 + x1")
    use.click()
    shown.wait_for_function("() => location.search.includes('x0+%2B+x1')")
    expect(alert(shown)).to_have_count(0)
    wait_for(shown, lambda: iterates(shown, "gd", "z 0")[0] == 6)


def test_a_preset_that_fails_says_why_in_the_words_of_the_library(shown):
    name = "Step too big"
    shown.get_by_label("Preset").select_option(name)
    settings = next(p.settings for p in PRESETS if p.name == name)
    words = study(settings)["pg:step_size=1.5"].message
    ends = shown.get_by_role("table", name="How each run ended")
    expect(ends).to_contain_text(words)
    expect(ends).to_contain_text("inverse_failed")


def test_an_iterate_is_marked_everywhere(shown):
    shown.get_by_label("Method", exact=True).select_option("newton")
    handle = shown.get_by_role("slider", name="Step", exact=True)
    handle.focus()
    for _ in range(3):
        handle.press("ArrowRight")
    shown.wait_for_function("() => location.search.includes('step=3')")
    marked = mark(shown)
    loss = study(Settings())["newton"].trajectory.losses[3]
    assert (marked["method"], marked["step"]) == ("newton", 3)
    assert marked["loss"] == pytest.approx(float(loss), rel=1e-5)
    expect(shown.get_by_role("table", name="Step 4 of newton")).to_be_visible()
    shown.locator("#spaces").scroll_into_view_if_needed()
    shown.mouse.move(*place_of_iterate(shown, "z", "gd", 1))
    expect(shown.get_by_role("table", name="Step 2 of gd")).to_be_visible()
    assert (mark(shown)["method"], mark(shown)["step"]) == ("gd", 1)
    row = shown.locator(".iterates tr[aria-selected=true]")
    assert row.locator("td").all_text_contents()[:2] == ["gd", "1"]


def test_all_of_it_is_reached_by_the_keyboard(shown):
    seen, unseen = set(), []
    for _ in range(70):
        shown.keyboard.press("Tab")
        kind, ring = shown.evaluate(_FOCUS)
        seen.add(kind)
        if not ring and kind != "BODY":
            unseen.append(kind)
    assert {"A", "SELECT", "INPUT", "BUTTON", "slider", "group"} <= seen
    assert unseen == []


def test_ten_visitors_at_once_see_what_is_theirs(browser, explorer):
    context = browser.new_context()
    pages = [context.new_page() for _ in range(10)]
    for number, page in enumerate(pages):
        address = f"{explorer.url}?start={number + 1},2&steps=3&optimizer=gd"
        page.goto(address, wait_until="commit")
    for number, page in enumerate(pages):
        page.wait_for_function(IDLE)
        assert iterates(page, "gd", "x 0")[0] == number + 1
    context.close()


def test_what_is_taken_away_is_what_is_shown(shown):
    with shown.expect_download() as loading:
        shown.get_by_role("link", name="all results as JSON").click()
    document = json.loads(loading.value.path().read_text())
    seen = iterates(shown, "pg", "x 1")
    np.testing.assert_allclose(
        [point[1] for point in document["runs"]["pg"]["spaces"]["x"]], seen, rtol=1e-5
    )
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.get_by_role("button", name="Copy as Python").click()
    program = shown.evaluate("() => navigator.clipboard.readText()")
    ran: dict = {}
    exec(compile(program, "copied.py", "exec"), ran)
    np.testing.assert_allclose(
        ran["comparison"]["pg"].trajectory["x"][:, 1], seen, rtol=1e-5
    )


def test_an_address_is_opened_as_it_was_left(page, explorer):
    open_page(shown := page, explorer.url + QUICK)
    shown.get_by_label("Steps").fill("4")
    shown.get_by_label("Steps").press("Enter")
    shown.wait_for_function("() => location.search.includes('steps=4')")
    open_page(shown, shown.url)
    assert len(iterates(shown, "gd", "step")) == 5
    open_page(shown, f"{explorer.url}?problem=tox")
    expect(alert(shown)).to_contain_text("did you mean 'toy'")
    assert len(iterates(shown, "gd", "step")) == 11


def test_it_is_readable_in_the_dark_on_a_narrow_screen_and_without_seeing(shown):
    def corner() -> list[int]:
        return shown.evaluate(_CORNER)

    assert serious(shown) == [] and corner() == [255, 255, 255]
    shown.emulate_media(color_scheme="dark")
    shown.wait_for_timeout(300)
    assert serious(shown) == [] and max(corner()) < 40
    shown.set_viewport_size({"width": 360, "height": 740})
    shown.wait_for_timeout(500)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    shown.get_by_role("button", name="Dark or light").click()
    shown.wait_for_timeout(300)
    assert corner() == [255, 255, 255]


def test_from_key_to_picture(shown, record_property):
    """Reported, not judged: machines differ."""
    handle = shown.get_by_role("slider", name="gd: learning rate")
    handle.focus()
    took = []
    for key in ["ArrowRight", "ArrowLeft"] * 10:
        before = json.dumps(iterates(shown, "gd", "loss"))
        took.append(shown.evaluate(_WATCH))
        handle.press(key)
        shown.wait_for_function("() => window.drawn !== null")
        assert json.dumps(iterates(shown, "gd", "loss")) != before
        took[-1] = shown.evaluate("() => window.drawn - window.asked")
    record_property("median_ms", statistics.median(took[2:]))
    print(f"from key to picture: {statistics.median(took[2:]):.0f} ms at the median")


# A color of the first picture that is drawn.
_CORNER = """() => {
    const plot = [...Bokeh.documents[0]._all_models.values()]
        .find((model) => model.type == "Figure");
    const canvas = Bokeh.index.find_one(plot).canvas_view.primary.canvas;
    return [...canvas.getContext("2d").getImageData(3, 3, 1, 1).data].slice(0, 3);
}"""
_FOCUS = """() => {
    let at = document.activeElement;
    while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    const style = getComputedStyle(at);
    return [at.getAttribute("role") ?? at.tagName, style.outlineStyle != "none"]; }"""
_WATCH = """() => {
    const source = [...Bokeh.documents[0]._all_models.values()]
        .find((m) => m.name == "iterates of gd").data_source;
    window.drawn = null;
    addEventListener("keydown", () => { window.asked = performance.now(); },
                     {once: true, capture: true});
    const seen = () => {
        source.change.disconnect(seen);
        requestAnimationFrame(() => setTimeout(() => {
            window.drawn = performance.now(); }));
    };
    source.change.connect(seen);
}"""
