"""Parameters: what a JSON Schema of the header allows, and how a request's text becomes a value PostgreSQL takes.

Values stay text from the URL to PostgreSQL, which gets them with their type; here they are checked so strictly that
its own reading cannot fail. All that is wrong with a request is found at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

from penstock.errors import nearest
from penstock.project.model import Parameter

_TYPES = {"integer": "bigint", "number": "numeric", "boolean": "boolean", "string": "text"}
_FORMATS = {"date": "date", "date-time": "timestamptz", "time": "time", "uuid": "uuid"}
"""Formats that are checked and bound as a type of their own; others (email, uri) say what a text is meant to be."""
_INTEGER = re.compile(r"-?[0-9]{1,40}")
_NUMBER = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?[Zz]?")
_DATE_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(\.(?P<part>[0-9]{1,12}))?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
Value = str | int | Decimal | bool


class Unusable(ValueError):
    """A text is not a value of its schema; the message says why, for the one who sent it."""


@dataclass(frozen=True)
class ParameterError:
    """One thing wrong with a request's parameters, as an entry of problem+json's `errors`."""

    name: str
    detail: str
    where: str

    def as_json(self) -> dict[str, str]:
        return {"parameter": self.name, "in": self.where, "detail": self.detail}


def postgres_type(schema: Mapping[str, Any]) -> str:
    """Returns the PostgreSQL type a value of `schema` is bound as."""
    kind = str(schema.get("type", "string"))
    if kind == "string":
        return _FORMATS.get(str(schema.get("format", "")), "text")
    return _TYPES[kind]


def parse(text: str, schema: Mapping[str, Any]) -> str:
    """Returns the text PostgreSQL is given for `text`, in one spelling per value. Raises Unusable."""
    value, bound = _READERS[_reader(schema)](text)
    _check(value, text, schema)
    return bound


def _reader(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type", "string"))
    form = str(schema.get("format", ""))
    return form if kind == "string" and form in _FORMATS else kind


def _read_text(text: str) -> tuple[Value, str]:
    if "\0" in text:
        msg = "must not contain the character U+0000"
        raise Unusable(msg)
    return text, text


def _read_integer(text: str) -> tuple[Value, str]:
    if not _INTEGER.fullmatch(text):
        raise Unusable(f"must be a whole number, is {_shown(text)}")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise Unusable(f"must fit 64 bits, is {_shown(text)}")
    return value, str(value)


def _read_number(text: str) -> tuple[Value, str]:
    if not _NUMBER.fullmatch(text):
        raise Unusable(f"must be a number such as 12.50, is {_shown(text)}")
    value = Decimal(text)
    return value, str(value)


def _read_boolean(text: str) -> tuple[Value, str]:
    if text not in ("true", "false"):
        raise Unusable(f"must be true or false, is {_shown(text)}")
    return text == "true", text


def _read_uuid(text: str) -> tuple[Value, str]:
    if not _UUID.fullmatch(text):
        raise Unusable(f"must be a UUID, is {_shown(text)}")
    return text.lower(), text.lower()


def _read_date(text: str) -> tuple[Value, str]:
    wrong = f"must be a date as YYYY-MM-DD, is {_shown(text)}"
    if not _DATE.fullmatch(text):
        raise Unusable(wrong)
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise Unusable(f"{wrong} ({error})") from error
    return text, text


def _read_time(text: str) -> tuple[Value, str]:
    wrong = f"must be a time of day as 10:00:00, in UTC, is {_shown(text)}"
    if not _TIME.fullmatch(text):
        raise Unusable(wrong)
    try:
        time.fromisoformat(text[:8])
    except ValueError as error:
        raise Unusable(f"{wrong} ({error})") from error
    return text, text.rstrip("Zz")


def _read_date_time(text: str) -> tuple[Value, str]:
    wrong = f"must be a time as 2026-01-23T10:00:00Z (RFC 3339, with its zone), is {_shown(text)}"
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        plus = "; a + in a URL is written %2B" if " " in text else ""
        raise Unusable(wrong + plus)
    try:
        moment = datetime.fromisoformat(f"{match['day']}T{match['time']}").replace(tzinfo=_zone(match["zone"]))
        moment = moment.astimezone(UTC).replace(microsecond=int((match["part"] or "0")[:6].ljust(6, "0")))
    except (ValueError, OverflowError) as error:
        raise Unusable(f"{wrong} ({error})") from error
    return moment.isoformat(), moment.isoformat()


def _zone(text: str) -> timezone:
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:
        msg = f"zone {text} does not exist"
        raise ValueError(msg)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


_READERS: Mapping[str, Callable[[str], tuple[Value, str]]] = {
    "string": _read_text,
    "integer": _read_integer,
    "number": _read_number,
    "boolean": _read_boolean,
    "uuid": _read_uuid,
    "date": _read_date,
    "date-time": _read_date_time,
    "time": _read_time,
}


def _check(value: Value, text: str, schema: Mapping[str, Any]) -> None:
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and text not in (spelled(v) for v in allowed):
        raise Unusable(f"must be one of {', '.join(spelled(v) for v in allowed)}, is {_shown(text)}")
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        if schema.get("format") == "int32" and not -(2**31) <= value < 2**31:
            raise Unusable(f"must fit 32 bits, is {value}")
        _check_bounds(Decimal(value), schema)
    elif isinstance(value, str):
        _check_text(value, schema)


def _check_bounds(value: Decimal, schema: Mapping[str, Any]) -> None:
    rules: tuple[tuple[str, str, Callable[[Decimal, Decimal], bool]], ...] = (
        ("minimum", "at least", lambda v, b: v >= b),
        ("maximum", "at most", lambda v, b: v <= b),
        ("exclusiveMinimum", "above", lambda v, b: v > b),
        ("exclusiveMaximum", "below", lambda v, b: v < b),
        ("multipleOf", "a multiple of", lambda v, b: v % b == 0),
    )
    for keyword, words, holds in rules:
        if keyword in schema and not holds(value, Decimal(str(schema[keyword]))):
            raise Unusable(f"must be {words} {schema[keyword]}, is {value}")


def _check_text(value: str, schema: Mapping[str, Any]) -> None:
    if len(value) < schema.get("minLength", 0):
        raise Unusable(f"must have at least {schema['minLength']} characters, has {len(value)}")
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        raise Unusable(f"must have at most {schema['maxLength']} characters, has {len(value)}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise Unusable(f"must match {schema['pattern']}, is {_shown(value)}")


def spelled(value: object) -> str:
    """Returns a value of the header as a request spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)


def _shown(text: str) -> str:
    short = text if len(text) <= 60 else text[:57] + "..."
    return f"'{short}'"


def bind(
    given: Mapping[str, list[str]], parameters: Mapping[str, Parameter]
) -> tuple[dict[str, str | None], list[ParameterError]]:
    """Returns each parameter's value as PostgreSQL gets it (None = NULL), and all that is wrong with `given`.

    `given` holds the decoded texts by name, those of the path among them.
    """
    values: dict[str, str | None] = {}
    errors = []
    for name in given.keys() - parameters.keys():
        errors.append(ParameterError(name, f"is not a parameter here; {nearest(name, parameters)}", "query"))
    for name, parameter in parameters.items():
        try:
            values[name] = _value(given.get(name, []), parameter)
        except Unusable as error:
            errors.append(ParameterError(name, str(error), "path" if parameter.in_path else "query"))
    return values, sorted(errors, key=lambda e: e.name)


def _value(texts: list[str], parameter: Parameter) -> str | None:
    if len(texts) > 1:
        raise Unusable(f"is given {len(texts)} times; give it once")
    if texts:
        return parse(texts[0], parameter.schema)
    if parameter.required:
        msg = "is required"
        raise Unusable(msg)
    if parameter.schema.get("default") is not None:
        return parse(spelled(parameter.schema["default"]), parameter.schema)
    return None
