"""Why a row was refused, in words an operator can act on, and all that quarantine keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.intake.exact import shorten
from penstock.sources.base import Refusal


@dataclass(frozen=True)
class Refused:
    """A refused row, ready for quarantine. `rule` is what `quarantine list` groups by.

    Rules are the words of the contract (required, minimum, pattern, ...), those of reading (type, scale, overflow,
    range, nul, not_finite), of the mapping (where, expression, operation), of the memory (conflict, unique,
    duplicatesWithin) and the sources' own (json, ragged, ...).
    """

    rule: str
    column: str
    """The contract's property; '' when the row as a whole was refused."""
    reason: str
    """One sentence: what was found and what is wanted. Without U+0000."""
    original: bytes
    origin: str
    position: str
    mapped: str | None
    """JSON object, property -> value as text or null, as far as the row could be mapped; None when not at all."""


def of_source(refusal: Refusal, origin: str) -> Refused:
    """Returns a row that its source could not decode."""
    reason = refusal.reason.replace("\0", "\\u0000")
    return Refused(refusal.rule, "", reason, refusal.original, refusal.origin or origin, refusal.position, None)


def quoted(text: str | None) -> str:
    """Returns a found value as reasons show it."""
    return "nothing" if text is None else f"'{shorten(text)}'"


def sentence(column: str, found: str | None, wants: str) -> str:
    """Returns the reason for a value that a rule refuses."""
    return f"{column} is {quoted(found)}: {wants}"


def mapped_json(row: Mapping[str, str | None]) -> str:
    """Returns the mapped row as JSON that PostgreSQL's jsonb can hold: U+0000 becomes the symbol for it."""
    shown = {name: None if v is None else v.replace("\0", "␀") for name, v in row.items()}
    return json.dumps(shown, ensure_ascii=False)
