"""The value types of configuration files: durations, sizes, time zones, names. Each is a type for pydantic models.

Models of connectors use them too, so that `every: 10s` and `stable_for: 2s` are read alike and described alike in the
published JSON Schema. The parsing functions raise ValueError with a sentence that says what is expected.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
"""Microseconds per unit of a duration."""
_SIZES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def parse_duration(value: object) -> timedelta:
    """Returns `10s`, `1.5h`, `250ms` as a timedelta of whole microseconds. Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)", value.strip()) if isinstance(value, str) else None
    if match is None:
        msg = "should be a duration: a number and ms, s, m, h or d, e.g. 10s"
        raise ValueError(msg)
    micros = int(Decimal(match[1]) * _UNITS[match[2]])
    if micros > _UNITS["d"] * 36_500:
        msg = "should be a duration of at most 36500d"
        raise ValueError(msg)
    return timedelta(microseconds=micros)


def duration_text(value: timedelta) -> str:
    """Returns a duration as the files write it, in its largest whole unit: 90 s is `90s`, 120 s is `2m`."""
    micros = value // timedelta(microseconds=1)
    for unit in ("d", "h", "m", "s", "ms"):
        if micros % _UNITS[unit] == 0 and (micros or unit == "s"):
            return f"{micros // _UNITS[unit]}{unit}"
    return f"{micros / 1000:g}ms"


def parse_size(value: object) -> int:
    """Returns `10GB`, `64KiB` or a plain number as bytes; KB is 1000, KiB is 1024. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-zA-Z]*)", value.strip()) if isinstance(value, str) else None
    unit = (match[2] or "B").upper() if match else ""
    if match is None or unit not in _SIZES:
        msg = "should be a size: a number and B, KB, MB, GB, TB (or KiB, MiB, GiB, TiB), e.g. 10GB"
        raise ValueError(msg)
    return int(Decimal(match[1]) * _SIZES[unit])


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def parse_timezone(value: object) -> str:
    """Returns the name of an IANA time zone. Raises ValueError."""
    if not isinstance(value, str) or value not in _zones():
        msg = "should be the name of a time zone, e.g. UTC or Europe/Berlin"
        raise ValueError(msg)
    return value


DURATION_PATTERN = r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"
"""How a duration looks, for the JSON Schema."""

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(duration_text, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["10s"]}),
]
"""A length of time, written `10s`: ms, s, m, h, d."""

ByteSize = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["10GB"]}),
]
"""A number of bytes, written `10GB` or as a plain number."""

TimeZone = Annotated[str, BeforeValidator(parse_timezone), WithJsonSchema({"type": "string", "examples": ["UTC"]})]
"""The name of an IANA time zone."""


def secret(**more: Any) -> Any:
    """Returns a Field for a secret: marked in the JSON Schema and the reference. Literal values are refused by the
    key's name (`variables.is_secret_key`), so a secret's key is called password, token, secret or ends in one."""
    return Field(json_schema_extra={"secret": True}, **more)
