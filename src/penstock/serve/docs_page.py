"""The page at `/docs`: the endpoints with a form each, from one HTML file of ours. Needs no network but this server."""

from __future__ import annotations

import html
from functools import cache
from importlib import resources

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


@cache
def _template() -> str:
    return (resources.files("penstock.serve") / "docs.html").read_text(encoding="utf-8")


def page(title: str) -> str:
    """Returns the page of the project called `title`."""
    return _template().replace("%TITLE%", html.escape(title))
