"""A real browser, and a server of the page. What a page says wrong fails its test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)
from serving import Explorer, serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REQUIRED = "PHYSGRAD_BROWSER_REQUIRED"
"""Set this variable, and tests fail where they would be skipped for want of one."""
# Without these a fresh profile looks for updates.
QUIET = (
    "--no-sandbox",  # as root, in a container
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
HERE = {"127.0.0.1", "localhost", ""}
PATIENCE = 60_000
"""Milliseconds: what is new is compiled first, on machines that are busy, too."""


@pytest.fixture(scope="session")
def explorer() -> Iterator[Explorer]:
    """A running `physgrad explore`."""
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        words = "no chromium on this machine: install one, such as apt's chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(words)
        pytest.skip(words)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own, which must not complain nor ask elsewhere for anything."""
    faults: list[str] = []

    def requested(request: Request) -> None:
        address = urlsplit(request.url)
        if (address.hostname or "") not in HERE and address.scheme != "data":
            faults.append(f"a request that leaves this machine: {request.url[:200]}")

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text}")

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("request", requested)
    page.on("pageerror", lambda error: faults.append(f"an error: {error}"))
    page.on("dialog", lambda dialog: faults.append(f"a dialog: {dialog.message}"))
    page.on("console", said)
    yield page
    context.close()
    assert not faults, "\n".join(faults)
