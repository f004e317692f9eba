import shutil

import pytest
from playwright.sync_api import sync_playwright
from serving import serving


@pytest.fixture(scope="session")
def explorer():
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as p:
        b = p.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield b
        b.close()


@pytest.fixture
def page(browser):
    c = browser.new_context(viewport={"width": 1280, "height": 900})
    p = c.new_page()
    yield p
    c.close()
