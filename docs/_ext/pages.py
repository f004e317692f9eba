"""After the build: every page works offline, and every link within leads somewhere.

A fault is a warning, and `make docs` counts warnings as errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

# What a browser fetches to show a page, as tag and attribute; `a` it does not.
FETCHED = {
    *(("script", "src"), ("link", "href"), ("img", "src"), ("img", "srcset")),
    *(("iframe", "src"), ("source", "src"), ("source", "srcset"), ("video", "src")),
    *(("audio", "src"), ("embed", "src"), ("object", "data"), ("image", "href")),
    *(("image", "xlink:href"), ("use", "href"), ("use", "xlink:href")),
}
OUTSIDE = re.compile(r"\s*(?:[a-z]+:)?//", re.IGNORECASE)
STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")
SCRIPT = re.compile(r"""(?:import|fetch|importScripts)\s*\(?\s*["'](https?://[^"']+)""")


class Page(HTMLParser):
    """What one page fetches, where it leads, and the places in it."""

    def __init__(self, text: str):
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)
        self.fetched += STYLE.findall(text) + SCRIPT.findall(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if not value:
                continue
            if (tag, name) in FETCHED and not _names_a_page(tag, attrs):
                self.fetched.append(value)
            if name == "id" or (tag, name) == ("a", "name"):
                self.places.add(value)
            if (tag, name) == ("a", "href"):
                self.links.append(value)


def _names_a_page(tag: str, attrs: list[tuple[str, str | None]]) -> bool:
    """Whether a `link` is to a page, which is not fetched: next, search, ..."""
    kinds = {"next", "prev", "search", "index", "author", "copyright", "canonical"}
    return tag == "link" and dict(attrs).get("rel") in kinds


def outside_faults(name: str, text: str) -> list[str]:
    """What a page, style or script fetches from another host.

    >>> outside_faults("a.html", '<script src="https://a.b/c.js"></script>')
    ['a.html fetches https://a.b/c.js']
    >>> outside_faults("a.html", '<a href="https://a.b">a link is no fetch</a>')
    []
    """
    if name.endswith(".html"):
        fetched = Page(text).fetched
    else:
        fetched = STYLE.findall(text) + SCRIPT.findall(text)
    outside = dict.fromkeys(url for url in fetched if OUTSIDE.match(url))
    return [f"{name} fetches {url}" for url in outside]


def link_faults(pages: Mapping[str, Page], files: set[str]) -> Iterator[str]:
    """Links between pages that lead to no file, or to no place in it."""
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = _resolved(name, unquote(parts.path))
            if there not in files:
                yield f"{name}: the link {link} leads to no file"
            elif parts.fragment and there in pages and not _known(parts, pages[there]):
                yield f"{name}: the link {link} leads to no place in {there}"


def _known(parts, page: Page) -> bool:
    fragment = unquote(parts.fragment)
    return fragment in page.places or fragment == "top"


def _resolved(name: str, path: str) -> str:
    """The file, from the root of the pages, that a path in a page leads to."""
    if not path:
        return name
    steps = [*name.split("/")[:-1], *path.split("/")]
    kept: list[str] = []
    for step in steps:
        if step == ".." and kept:
            kept.pop()
        elif step not in ("", "."):
            kept.append(step)
    return "/".join(kept)


def check(app: Sphinx, exception: Exception | None) -> None:
    """Warn of each fault, once the pages are written."""
    if exception is not None or app.builder.format != "html":
        return
    root = Path(app.outdir)
    files = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    texts = {
        name: (root / name).read_text(encoding="utf-8")
        for name in sorted(files)
        if name.endswith((".html", ".css", ".js"))
    }
    pages = {name: Page(text) for name, text in texts.items() if name.endswith(".html")}
    for name, text in texts.items():
        for fault in outside_faults(name, text):
            logger.warning(fault)
    for fault in link_faults(pages, files):
        logger.warning(fault)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
