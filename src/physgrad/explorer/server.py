"""The page's server: Bokeh's, bound to this machine and closed to foreign pages.

A page of another site that the same browser shows may send requests here. Those that
name another host (DNS rebinding), and sockets that another page opens, are refused
before anything is read.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets
from bokeh.util.warnings import BokehUserWarning
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.platform.asyncio import AsyncIOLoop
from tornado.web import ErrorHandler, OutputTransform

from physgrad.explorer.export import ExportHandler
from physgrad.explorer.page import open_page

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost", "[::1]")
"""What this machine calls itself."""
LARGEST_MESSAGE = 64 * 1024
"""Bytes that a visitor may send at once."""
LARGEST_HEADERS = 32 * 1024
"""Bytes: the address, with formulas in it, is one of them."""
PATIENCE = 10.0
"""Seconds for the body of a request."""
IDLE = 120.0
"""Seconds for the head of a request, the first or the next one."""
_PATHS = re.compile(r"/|/ws|/export/[a-z.]{1,20}|/static/js/[\w.-]{1,60}")
# Bokeh would serve more: what it keeps for pages of other sites to embed.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing comes from elsewhere. Bokeh makes functions of text, so `unsafe-eval`; the
page itself allows only inline scripts that carry its nonce."""


class PageServer:
    """Serves pages on a port of this machine until it is stopped.

    **Raises:** `OSError` for a port that is taken or not allowed.
    """

    def __init__(self, port: int = 0, start: str = ""):
        """`port`: 0 for any that is free; `start`: the query of a bare address."""
        sockets, self.port = bind_sockets(ADDRESS, port)
        self._loop = AsyncIOLoop(make_current=True)
        application = _Closed(self.port, start)
        http = HTTPServer(
            application,
            max_body_size=LARGEST_MESSAGE,
            max_header_size=LARGEST_HEADERS,
            body_timeout=PATIENCE,
            idle_connection_timeout=IDLE,
        )
        http.add_sockets(sockets)
        self._server = BaseServer(self._loop, application, http)
        self._server.start()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.port}/"

    def run(self) -> None:
        """Serve until `stop`."""
        with warnings.catch_warnings():
            # a browser tells of some models twice; Bokeh keeps the first
            known = "reference already known"
            warnings.filterwarnings("ignore", known, BokehUserWarning)
            self._loop.start()
        self._server.stop()

    def stop(self) -> None:
        """End `run`; may be called from a signal handler."""
        self._loop.asyncio_loop.call_soon_threadsafe(self._loop.stop)


class _Closed(BokehTornado):
    """Bokeh's application, behind a check of who asks."""

    def __init__(self, port: int, start: str):
        hosts = {f"{name}:{port}" for name in NAMES}
        self._hosts = hosts | (set(NAMES) if port == 80 else set())
        self._origins = {f"http://{host}" for host in self._hosts}

        def open_with_start(document: Document) -> None:
            open_page(document, start)

        super().__init__(
            {"/": Application(FunctionHandler(open_with_start))},
            extra_websocket_origins=sorted(self._hosts),
            extra_patterns=[(r"/export/([a-z.]{1,20})", ExportHandler)],
            websocket_max_message_size_bytes=LARGEST_MESSAGE,
            include_headers=[],  # pages need none of a visitor's headers and cookies
            include_cookies=[],
            ico_path="none",
            use_index=False,
            transforms=[_Headers],
            log_function=_quiet,
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """The handler of a request, or one that refuses it."""
        refusal = None if _PATHS.fullmatch(request.path) else 404
        if not self._may(request):
            refusal = 403
        if refusal:
            settings = {"status_code": refusal}
            return self.get_handler_delegate(request, ErrorHandler, settings)
        return super().find_handler(request, **kwargs)

    def _may(self, request: HTTPServerRequest) -> bool:
        if len(request.headers.get_list("Host")) != 1:
            return False
        if request.headers["Host"].lower() not in self._hosts:
            return False
        origins = request.headers.get_list("Origin")
        if request.path.endswith("/ws"):  # browsers always name a socket's origin
            return len(origins) == 1 and origins[0].lower() in self._origins
        return all(origin.lower() in self._origins for origin in origins)


class _Headers(OutputTransform):
    """What every answer says to the browser."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers["Content-Security-Policy"] = POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return status_code, headers, chunk


def _quiet(handler: Any) -> None:
    """No line for each request: what goes wrong is logged where it does."""
