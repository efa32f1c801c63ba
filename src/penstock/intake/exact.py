"""Reads one text as a value of a contract's type, exactly or not at all.

This is the reference of what intake accepts. The SQL of `coerce.py` decides the usual forms of whole batches at once
and yields NULL for whatever it is not sure of; those few values come here, and are either read or refused with the
reason. What is accepted:

- decimal, integers: digits with an optional sign, point and exponent (`1e2`, `1.50E+3`), blanks around. Decimals
  beyond the scale must be zeros. Too large, NaN and infinity are refused, as are `1_000` and `0x10`.
- timestamp: ISO 8601 date, blank or T, time to the second or minute, up to 6 decimals (more must be zeros: a timestamp
  holds microseconds and nothing is cut off in silence), then `Z`, an offset or nothing. Without one it is a time of the
  source's `timezone`. As in PostgreSQL a time that a change of the clocks skips is read with the offset before the
  change, and one that comes twice is the second one. A date alone is its midnight. Numbers since 1970 are refused.
- date: ISO, or a timestamp at midnight exactly. time: hours, minutes, optional seconds and decimals, below 24:00.
- boolean: PostgreSQL's words (true, yes, on, 1, and their beginnings). uuid: PostgreSQL's forms. json: any JSON that
  PostgreSQL's jsonb holds. text: verbatim, without U+0000, which PostgreSQL cannot hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from math import isfinite
from zoneinfo import ZoneInfo

from penstock.project.model import Column
from penstock.sqltypes import SqlType

Value = str | int | float | bool | Decimal | date | datetime | time
INTEGERS = {"bigint": 63, "integer": 31, "smallint": 15}
"""Bits of the magnitude of the integer kinds."""

TYPE, SCALE, OVERFLOW, RANGE, NUL, NOT_FINITE = "type", "scale", "overflow", "range", "nul", "not_finite"
"""The rules of reading, as quarantine groups by them."""

_BLANKS = " \t\r\n\f\v"
_MIDNIGHT = datetime(1, 1, 1)  # noqa: DTZ001 (only its time of day is used)
_YEARS = "the years 1 to 9999 are held"
_NUMBER = re.compile(r"([+-]?)(?=\.?\d)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,9}))?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_CLOCK = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
_TIME = re.compile(_CLOCK, re.ASCII)
_HOURS = r"(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?"
"""A clock in a timestamp may be hours alone: Arrow's readers take it, so it is one value whichever way it came."""
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_STAMP = re.compile(
    rf"(\d{{4}})-(\d\d)-(\d\d)(?:[T ]{_HOURS})? ?(Z|UTC|[+-]\d\d(?::?\d\d)?)?", re.ASCII | re.IGNORECASE
)
_UUID = re.compile(r"\{?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7})\}?", re.ASCII | re.IGNORECASE)
TRUE = {"true", "tru", "tr", "t", "yes", "ye", "y", "on", "1"}
FALSE = {"false", "fals", "fal", "fa", "f", "no", "n", "off", "of", "0"}
_NUL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def shorten(text: str, most: int = 80) -> str:
    """Returns at most about `most` characters of `text`, said to be cut, fit for one line."""
    line = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: most + 1])
    return line if len(text) <= most else f"{line[:most]}… ({len(text)} characters)"


class Unfit(Exception):
    """The text is no value of the type. `rule` is the word it is grouped by, `why` what the contract wants."""

    def __init__(self, rule: str, why: str) -> None:
        self.rule, self.why = rule, why
        super().__init__(why)


def read(column: Column, text: str, zone: ZoneInfo) -> Value:
    """Returns `text` as a value of `column`'s type. Raises Unfit."""
    kind = column.type.kind
    if column.date_format is not None and kind in ("date", "timestamp", "local_timestamp", "time"):
        return _by_format(column, text, zone)
    if kind == "decimal":
        return _decimal(text, column.type)
    if kind in INTEGERS or kind == "hugeint":
        return _integer(text, column.type)
    reader = _READERS.get(kind)
    if reader is None:
        raise Unfit(TYPE, f"a text cannot become {column.type}")
    return reader(text, zone)


@dataclass(frozen=True)
class _Number:
    """sign, digits without zeros at either end, and the power of ten of the last one; zero has no digits."""

    negative: bool
    digits: str
    exponent: int

    @property
    def whole_digits(self) -> int:
        return len(self.digits) + self.exponent if self.digits else 0

    def decimal(self, scale: int) -> Decimal:
        """Returns it with exactly `scale` decimals. At most 38 digits and -exponent <= scale must hold."""
        digits = (self.digits + "0" * (self.exponent + scale)) if self.digits else "0"
        return Decimal((int(self.negative and digits != "0"), tuple(map(int, digits)), -scale))


def _number(text: str, wanted: str) -> _Number:
    text = text.strip(_BLANKS)
    if _NOT_FINITE.fullmatch(text):
        raise Unfit(NOT_FINITE, f"{wanted} holds neither NaN nor infinity")
    found = _NUMBER.fullmatch(text)
    if not found:
        raise Unfit(TYPE, f"{wanted} wants digits with an optional sign, point and exponent")
    sign, whole, fraction, power = found.groups("")
    leading = (whole + fraction).lstrip("0")
    digits = leading.rstrip("0")
    exponent = int(power or 0) - len(fraction) + len(leading) - len(digits)
    return _Number(sign == "-", digits, exponent if digits else 0)


def _decimal(text: str, type_: SqlType) -> Decimal:
    number = _number(text, str(type_))
    if number.whole_digits > type_.precision - type_.scale:
        raise Unfit(OVERFLOW, f"{type_} holds {type_.precision - type_.scale} digits before the point")
    if -number.exponent > type_.scale:
        why = f"{type_} holds {type_.scale} decimals; round it in the source's `fields` if that is meant"
        raise Unfit(SCALE, why)
    return number.decimal(type_.scale)


def _integer(text: str, type_: SqlType) -> int:
    number = _number(text, str(type_))
    bits = INTEGERS.get(type_.kind)
    if number.whole_digits > 38:
        raise Unfit(OVERFLOW, f"{type_} is too small for it")
    if number.exponent < 0:
        raise Unfit(SCALE, f"{type_} holds whole numbers; round it in the source's `fields` if that is meant")
    value = int(number.decimal(0))
    if bits is not None and not -(2**bits) <= value < 2**bits:
        raise Unfit(OVERFLOW, f"{type_} holds {-(2**bits)} to {2**bits - 1}")
    return value


def _double(text: str, zone: ZoneInfo) -> float:
    text = text.strip(_BLANKS)
    _number(text, "double")
    value = float(text)
    if not isfinite(value):
        raise Unfit(OVERFLOW, "double holds nothing beyond 1.8e308")
    return value


def _boolean(text: str, zone: ZoneInfo) -> bool:
    word = text.strip(_BLANKS).lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise Unfit(TYPE, "boolean wants true or false, t or f, yes or no, on or off, 1 or 0")


def _text(text: str, zone: ZoneInfo) -> str:
    if "\0" in text:
        raise Unfit(NUL, "a text cannot hold U+0000; take it out in the source's `fields` if that is meant")
    return text


def _uuid(text: str, zone: ZoneInfo) -> str:
    text = text.strip(_BLANKS)
    found = _UUID.fullmatch(text)
    if not found or text.startswith("{") != text.endswith("}"):
        raise Unfit(TYPE, "uuid wants 32 hexadecimal digits, as 8-4-4-4-12")
    digits = found[1].replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _json(text: str, zone: ZoneInfo) -> str:
    try:
        found = json.loads(text, parse_constant=_no_constant, parse_int=_json_number, parse_float=_json_number)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unfit(TYPE, f"json wants valid JSON ({shorten(str(error))})") from error
    if "\0" in text or _NUL_ESCAPE.search(text):
        raise Unfit(NUL, "a JSON value cannot hold U+0000")
    return text


def _json_number(text: str) -> str:
    """Raises ValueError for what PostgreSQL's numeric cannot hold."""
    number = _number(text, "json")
    if number.whole_digits > 131_072 or -number.exponent > 16_383:
        msg = "a number is too large or too fine"
        raise ValueError(msg)
    return text


def _no_constant(word: str) -> None:
    msg = f"{word} is no JSON"
    raise ValueError(msg)


def _timestamp(text: str, zone: ZoneInfo) -> datetime:
    wall, offset = _stamp(text, "timestamp")
    return _instant(wall, offset, zone)


def _local_timestamp(text: str, zone: ZoneInfo) -> datetime:
    wall, offset = _stamp(text, "local_timestamp")
    if offset is None:
        return wall
    return _on_the_wall(_instant(wall, offset, zone), zone)


def _on_the_wall(moment: datetime, zone: ZoneInfo) -> datetime:
    try:
        return moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        raise Unfit(RANGE, _YEARS) from None


def _instant(wall: datetime, offset: tzinfo | None, zone: ZoneInfo) -> datetime:
    try:
        if offset is not None:
            return wall.replace(tzinfo=offset).astimezone(UTC)
        return max(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        raise Unfit(RANGE, _YEARS) from None


def _stamp(text: str, kind: str) -> tuple[datetime, timezone | None]:
    text = text.strip(_BLANKS)
    found = _STAMP.fullmatch(text)
    if not found:
        raise Unfit(TYPE, _why_no_time(text, kind))
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        wall = datetime(int(year), int(month), int(day)) + _clock(hour, minute, second, fraction)  # noqa: DTZ001
    except (ValueError, OverflowError) as error:
        raise Unfit(RANGE, f"{kind} wants a day of the calendar, years 1 to 9999 ({error})") from error
    return wall, _offset(offset)


def _why_no_time(text: str, kind: str) -> str:
    if re.fullmatch(r"[+-]?\d+(\.\d*)?", text, re.ASCII):
        return f"{kind} wants a date and time, no number; say what it counts in `fields`, e.g. to_timestamp(seconds)"
    return f"{kind} wants e.g. 2026-01-23T10:00:00.5Z, or the contract's date format"


def _clock(hour: str | None, minute: str | None, second: str | None, fraction: str | None) -> timedelta:
    """Returns the time since midnight, at most a whole day. Raises ValueError, Unfit."""
    digits = (fraction or "").rstrip("0")
    if len(digits) > 6:
        raise Unfit(SCALE, "times hold microseconds; cut it in the source's `fields` if that is meant")
    h, m, s, us = int(hour or 0), int(minute or 0), int(second or 0), int(digits.ljust(6, "0"))
    if m > 59 or s > 59 or (h, m, s, us) > (24, 0, 0, 0):
        msg = f"there is no {h:02}:{m:02}:{s:02}"
        raise ValueError(msg)
    return timedelta(hours=h, minutes=m, seconds=s, microseconds=us)


def _offset(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text.upper() in ("Z", "UTC"):
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if hours > 15 or minutes > 59:
        raise Unfit(TYPE, f"there is no offset {text}")
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))


def _date(text: str, zone: ZoneInfo) -> date:
    wall, offset = _stamp(text, "date")
    if offset is not None:
        wall = _on_the_wall(_instant(wall, offset, zone), zone)
    if wall.time() != time():
        raise Unfit(SCALE, "date holds no time of day; cast it in the source's `fields` if that is meant")
    return wall.date()


def _time(text: str, zone: ZoneInfo) -> time:
    found = _TIME.fullmatch(text.strip(_BLANKS))
    if not found:
        raise Unfit(TYPE, "time wants e.g. 10:00:00.5, without a zone")
    try:
        return (_MIDNIGHT + _clock(*found.groups())).time() if found[1] != "24" else _no_such_time()
    except ValueError as error:
        raise Unfit(RANGE, f"time wants 00:00 to 23:59:59.999999 ({error})") from error


def _no_such_time() -> time:
    msg = "24:00 is the next day"
    raise ValueError(msg)


def _by_format(column: Column, text: str, zone: ZoneInfo) -> Value:
    kind, form = column.type.kind, column.date_format or ""
    try:
        found = datetime.strptime(text.strip(_BLANKS), form)  # noqa: DTZ007 (the zone is the source's)
    except ValueError:
        raise Unfit(TYPE, f"the contract's format is {form}") from None
    if kind == "time":
        return found.time()
    if kind == "timestamp":
        return _instant(found, found.tzinfo, zone)
    wall = _on_the_wall(found, zone) if found.tzinfo else found
    return wall.date() if kind == "date" else wall


_READERS: dict[str, Callable[[str, ZoneInfo], Value]] = {
    "double": _double,
    "boolean": _boolean,
    "text": _text,
    "uuid": _uuid,
    "json": _json,
    "timestamp": _timestamp,
    "local_timestamp": _local_timestamp,
    "date": _date,
    "time": _time,
}
