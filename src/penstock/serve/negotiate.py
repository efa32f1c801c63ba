"""Which representation a request wants, and whether it has it already: `Accept` and `If-None-Match` (RFC 9110)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """A representation: its name in the code, and the media types that ask for it (the first is what is sent)."""

    name: str
    content_type: str
    media_types: tuple[str, ...]


JSON = Form("json", "application/json", ("application/json",))
NDJSON = Form("ndjson", "application/x-ndjson", ("application/x-ndjson", "application/ndjson", "application/jsonl"))
CSV = Form("csv", "text/csv; charset=utf-8; header=present", ("text/csv",))
FORMS = (JSON, NDJSON, CSV)
_QUALITY = re.compile(r"(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")
_ETAG = re.compile(r'(?:W/)?("[^"]*")')


def choose(accept: str | None) -> Form | None:
    """Returns the form of highest quality in an `Accept` header, the earlier in FORMS among equals; None: 406."""
    if not accept or not accept.strip():
        return JSON
    ranges = [r for r in map(_media_range, accept.split(",")) if r]
    best: tuple[float, Form] | None = None
    for form in FORMS:
        quality = max((_quality(media, ranges) for media in form.media_types), default=0.0)
        if quality > 0 and (best is None or quality > best[0]):
            best = (quality, form)
    return best[1] if best else None


def _media_range(text: str) -> tuple[str, float] | None:
    """Returns (type/subtype, quality), or None for what is not a media range. Other parameters are not looked at."""
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    if media.count("/") != 1:
        return None
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            quality = float(value) if _QUALITY.fullmatch(value.strip()) else 0.0
    return media, quality


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    """Returns the quality of the most specific range that covers `media`."""
    kind = media.split("/")[0]
    for wanted in (media, f"{kind}/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0


def has_it(if_none_match: str | None, etag: str) -> bool:
    """Tells whether `If-None-Match` names `etag` (weak comparison, `*` names all)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _ETAG.findall(if_none_match)
