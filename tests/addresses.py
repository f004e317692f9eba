"""Addresses of the web page, as its server reads them."""

from __future__ import annotations

from urllib.parse import parse_qs


def arguments(query: str) -> dict[str, list[bytes]]:
    """The arguments of a query, as the server gives them."""
    return {k: [v.encode() for v in vs] for k, vs in parse_qs(query, True).items()}
