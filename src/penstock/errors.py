"""The base of every error a user can see: a code, a place, what was found, what to do.

Each stage declares its own classes in its own `errors.py`; a class is an entry of the catalogue
(docs/reference/errors.md is generated from them). Codes are `PEN` and three digits, grouped by stage and
never used twice: 1xx project, 2xx sources, 3xx intake, 4xx log, 5xx plan, 6xx engines, 7xx store, 8xx serve,
9xx operate and command line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, order=True)
class Place:
    """Where something was found: a file relative to the project folder, 1-based line and column (0 = unknown)."""

    file: str
    line: int = 0
    column: int = 0
    path: str = ""
    """The configuration path, e.g. `csv.delimiter`; empty for places that have none."""

    def __str__(self) -> str:
        where = self.file
        if self.line:
            where += f":{self.line}:{self.column}"
        return f"{where}: {self.path}" if self.path else where


class PenstockError(Exception):
    """A failure a user can act on.

    `found` says what is wrong, `hint` what to do; `place` is where. `retryable` is a property of the class: the
    supervisor tries a retryable failure again with growing pauses and stops the one source or pipeline on others.
    """

    code: ClassVar[str] = ""
    title: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    def __init__(self, found: str, *, hint: str = "", place: Place | str | None = None) -> None:
        self.found = found
        self.hint = hint
        self.place = Place(place) if isinstance(place, str) else place
        super().__init__(found)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{where}{self.code} {self.title}: {self.found}{hint}"

    def as_json(self) -> dict[str, object]:
        """Returns the error as `--json` and problem+json print it."""
        return {
            "code": self.code,
            "title": self.title,
            "found": self.found,
            "hint": self.hint,
            "file": self.place.file if self.place else None,
            "line": self.place.line if self.place else None,
            "column": self.place.column if self.place else None,
            "path": self.place.path if self.place else None,
        }


class PenstockErrors(Exception):
    """Several errors found in one go, in the order of their places. Never empty."""

    def __init__(self, errors: Iterable[PenstockError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(e) for e in self.errors))


def catalogue(base: type[PenstockError] = PenstockError) -> Iterator[type[PenstockError]]:
    """Yields every error class that has a code, below `base`. Import all of penstock first to see all of them."""
    for cls in base.__subclasses__():
        if cls.code:
            yield cls
        yield from catalogue(cls)


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `did you mean 'x'?` for the closest of `known`, or `known: a, b, c`."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if names else "none are known here"
