"""A request to the API and what is sent back: plain values, so that the fast path and Starlette share all of it."""

from __future__ import annotations

from typing import NamedTuple

Headers = list[tuple[str, str]]


class Ask(NamedTuple):
    """A request for an endpoint's answer. `path` is decoded, `query` is not."""

    path: str
    query: str
    accept: str | None = None
    if_none_match: str | None = None


class Reply(NamedTuple):
    """Status, headers (lower-case names) and body."""

    status: int
    headers: Headers
    body: bytes = b""
