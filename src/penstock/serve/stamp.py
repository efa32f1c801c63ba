"""What an answer's snapshot says about its data, parsed once: many answers carry the same.

A stamp is the version, the watermarks and the as-of of the pipelines an answer reads, as its statement printed them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.serve.reply import Headers

_MOST_STAMPS = 256
Printed = tuple[bytes | None, bytes | None, bytes | None, bytes | None]
"""version, marks, as_of, watermark: see `statement.AnswerStatement`."""


@dataclass(frozen=True)
class Stamp:
    """The data of an answer: `version` is '' when no pipeline is read."""

    version: str
    headers: Headers
    meanings: Mapping[str, str]
    """Pipeline -> what its windows depend on: generation and fingerprint."""
    watermarks: Mapping[str, int | None]
    """Pipeline -> watermark in microseconds since 1970."""
    finals: dict[Sequence[tuple[str, str | None]], bool] = field(default_factory=dict)
    """Windows -> whether they are final, as far as that was asked."""


class Stamps:
    """Parses stamps and remembers the latest of them."""

    def __init__(self) -> None:
        self._known: dict[Printed, Stamp] = {}

    def of(self, printed: Printed) -> Stamp:
        """Returns the stamp."""
        stamp = self._known.get(printed)
        if stamp is None:
            if len(self._known) >= _MOST_STAMPS:
                self._known.clear()
            stamp = self._known[printed] = _parse(printed)
        return stamp


def _parse(printed: Printed) -> Stamp:
    version, marks, as_of, watermark = ("" if part is None else part.decode() for part in printed)
    meanings, watermarks = {}, {}
    for line, mark in zip(version.split("\n"), marks.split(","), strict=True):
        pipeline, _, _, generation, fingerprint = (line.split(" ") + [""] * 5)[:5]
        meanings[pipeline] = f"{generation} {fingerprint}"
        watermarks[pipeline] = int(mark) if mark else None
    headers = [("penstock-as-of", _instant(as_of))] if as_of else []
    headers += [("penstock-watermark", _instant(watermark))] if watermark else []
    return Stamp(version, headers, meanings, watermarks)


def _instant(text: str) -> str:
    """Returns PostgreSQL's ISO text of an instant in UTC as RFC 3339 writes it."""
    return text.replace(" ", "T").removesuffix("+00") + "Z"
