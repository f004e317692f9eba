"""What is seen on the page, asked of the browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

IDLE = "() => window.Bokeh?.documents?.length > 0 && Bokeh.documents[0].is_idle"
# Figures that are on the page: Bokeh forgets others after a while only.
PLOTS = """const plots = [...Bokeh.documents[0]._all_models.values()].filter(
    (model) => model.type == "Figure" && Bokeh.index.find_one(model));
    const drawn = plots.flatMap((plot) => plot.renderers);"""


def open_page(page: Page, url: str) -> None:
    """Go there, and wait until all is drawn."""
    page.goto(url)
    page.wait_for_function(IDLE)


def wait_for(page: Page, holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until something holds on the page; an `AssertionError` where it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        page.wait_for_timeout(30)


def state(page: Page) -> dict[str, list[str]]:
    """The state in the address."""
    return parse_qs(urlsplit(page.url).query, keep_blank_values=True)


def iterates(page: Page, method: str, column: str) -> list[float]:
    """A column of the iterates of a run, as they are drawn."""
    return page.evaluate(
        f"""([method, column]) => {{ {PLOTS}
        const run = drawn.find((r) => r.name == "iterates of " + method);
        return Array.from(run.data_source.data[column]); }}""",
        [method, column],
    )


def place_of_start(page: Page, space: str) -> tuple[float, float]:
    """Where the ring is on the screen."""
    point = "plot.renderers.find((r) => r.name == 'start').data_source.data"
    return _place(page, space, f"const {{x: [x], y: [y]}} = {point};")


def place_of_zero(page: Page, space: str) -> float:
    """The height on the screen where the second entry is 0."""
    return _place(page, space, "const x = 0, y = 0;")[1]


def _place(page: Page, space: str, point: str) -> tuple[float, float]:
    found: Any = page.evaluate(
        f"""(space) => {{ {PLOTS}
        const plot = plots.find((p) => p.title.text == space + "-space");
        const view = Bokeh.index.find_one(plot), frame = view.frame;
        const box = view.el.getBoundingClientRect();
        {point}
        return [box.x + frame.x_scale.v_compute([x])[0],
                box.y + frame.y_scale.v_compute([y])[0]]; }}""",
        space,
    )
    return found[0], found[1]


def mark(page: Page) -> dict[str, Any]:
    """The iterate that is marked."""
    return page.evaluate(
        f"""() => {{ {PLOTS}
        const data = drawn.find((r) => r.name == "mark").data_source.data;
        return {{method: data.method[0], step: data.step[0], loss: data.loss[0]}}; }}"""
    )


def drag_start(page: Page, space: str, right: float, down: float) -> None:
    """Drag the ring by so many pixels, and wait until the page has followed."""
    page.locator("#spaces").scroll_into_view_if_needed()
    x, y = place_of_start(page, space)
    page.mouse.move(x, y)
    page.mouse.down()
    for part in (0.25, 0.5, 0.75, 1.0):
        page.mouse.move(x + part * right, y + part * down)
        page.wait_for_timeout(20)
    page.mouse.up()
    seen: list[Any] = []
    while len(seen) < 4 or seen[-4:] != [seen[-1]] * 4:  # the view may move, too
        page.wait_for_timeout(250)
        seen.append((page.url, place_of_start(page, space)))


def serious(page: Page) -> list[str]:
    """What axe-core finds seriously wrong for people who do not see well."""
    found = Axe().run(page).response["violations"]
    return [one["id"] for one in found if one["impact"] in ("serious", "critical")]
