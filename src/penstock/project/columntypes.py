"""From the standard's logicalType and a system's physicalType to the one type that a column has.

The logicalType says what a value means; the physicalType narrows it where it fits (a number with physicalType
`decimal(12,2)` has that scale). A physicalType that does not fit is named as not acted on, never guessed at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock import sqltypes
from penstock.sqltypes import SqlType, decimal

NUMBER = decimal(38, 9)
"""What `number` is when nothing says more."""

_NAMES: dict[SqlType, str] = {
    sqltypes.SMALLINT: "smallint int2 tinyint byteint smallserial int16 int8_t",
    sqltypes.INTEGER: "int integer int4 mediumint serial int32 signed year",
    sqltypes.BIGINT: "bigint int8 long bigserial int64",
    sqltypes.DOUBLE: "double real float float4 float8 float32 float64 binary_float binary_double",
    sqltypes.BOOLEAN: "boolean bool bit logical",
    sqltypes.DATE: "date date32",
    sqltypes.TIME: "time timetz time_without_time_zone time_with_time_zone",
    sqltypes.TIMESTAMP: "timestamp timestamptz timestamp_tz timestamp_ntz timestamp_ltz datetime datetime2"
    " smalldatetime datetimeoffset timestamp_with_time_zone timestamp_without_time_zone timestamp_with_local_time_zone",
    sqltypes.UUID: "uuid uniqueidentifier guid",
    sqltypes.JSON: "json jsonb variant struct array map object super record list row",
    sqltypes.TEXT: "text string varchar char character nvarchar nchar varchar2 nvarchar2 character_varying bpchar clob"
    " nclob citext tinytext mediumtext longtext enum xml",
}
_BY_NAME = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_DECIMALS = ("decimal", "numeric", "number", "dec", "bignumeric", "fixed", "bigdecimal")
_MONEY = {"money": decimal(19, 4), "smallmoney": decimal(10, 4)}
_FITS = {
    "string": {"text", "uuid", "json"},
    "integer": {"smallint", "integer", "bigint", "decimal"},
    "number": {"smallint", "integer", "bigint", "decimal", "double"},
    "boolean": {"boolean"},
    "date": {"date"},
    "timestamp": {"timestamp"},
    "time": {"time"},
    "object": {"json"},
    "array": {"json"},
    "map": {"json"},
    "vector": {"json"},
}
_DEFAULTS = {
    "string": sqltypes.TEXT, "integer": sqltypes.BIGINT, "number": NUMBER, "boolean": sqltypes.BOOLEAN,
    "date": sqltypes.DATE, "timestamp": sqltypes.TIMESTAMP, "time": sqltypes.TIME,
    "object": sqltypes.JSON, "array": sqltypes.JSON, "map": sqltypes.JSON, "vector": sqltypes.JSON,
}  # fmt: skip
_PHYSICAL = re.compile(
    r"(?P<name>[a-z][a-z0-9_ ]*?)\s*"
    r"(?:[(\[]\s*(?P<first>\d{1,9}|max)?\s*(?:,\s*(?P<second>-?\d{1,9}))?[^()\[\]]*[)\]])?(?P<rest>(?:\s[a-z ]*)?)"
)


@dataclass(frozen=True)
class Physical:
    """What a physicalType says: a type, and for texts a greatest length."""

    type: SqlType
    max_length: int | None = None
    plain_decimal: bool = False
    """A decimal without precision and scale."""


def physical(text: str) -> Physical | None:
    """Returns what a physicalType means, None for one that is not known."""
    match = _PHYSICAL.fullmatch(text.strip().lower())
    if match is None:
        return None
    name = "_".join(f"{match['name']} {match['rest']}".split())
    first = int(match["first"]) if match["first"] and match["first"] != "max" else None
    second = int(match["second"]) if match["second"] else None
    name = "double" if name == "double_precision" else name
    if name in _MONEY:
        return Physical(_MONEY[name])
    if name in _DECIMALS:
        return _decimal(first, second)
    kind = _BY_NAME.get(name)
    if kind is None:
        return Physical(sqltypes.JSON) if text.strip().lower().startswith(("struct<", "array<", "map<")) else None
    return Physical(kind, first if kind == sqltypes.TEXT and first else None)


def _decimal(precision: int | None, scale: int | None) -> Physical | None:
    if precision is None:
        return Physical(NUMBER, plain_decimal=True)
    scale = scale or 0
    return Physical(decimal(precision, scale)) if 1 <= precision <= 38 and 0 <= scale <= precision else None


@dataclass(frozen=True)
class Resolved:
    """A column's type, a greatest length that comes with it, and why a physicalType was not acted on ('' = it was)."""

    type: SqlType
    max_length: int | None = None
    ignored: str = ""


def resolve(logical: str | None, physical_text: str | None, *, version_3_0: bool) -> Resolved:
    """Returns the type of a property by its logicalType and physicalType; either may be missing."""
    known = physical(physical_text) if physical_text else None
    ignored = f"physicalType '{physical_text}'" if physical_text else ""
    if logical is None:
        return Resolved(known.type, known.max_length) if known else Resolved(sqltypes.TEXT, None, ignored)
    default = _DEFAULTS[logical]
    if known is None:
        return Resolved(default, None, "" if default == sqltypes.JSON else ignored)
    kind = known.type.kind
    if version_3_0 and logical == "date" and kind in ("timestamp", "time"):
        return Resolved(known.type)  # 3.0 has no other logicalType for them
    if kind not in _FITS[logical]:
        return Resolved(default, None, ignored)
    if logical == "integer" and kind == "decimal":
        if known.plain_decimal:
            return Resolved(default)
        return Resolved(known.type) if known.type.scale == 0 else Resolved(default, None, ignored)
    return Resolved(known.type, known.max_length)


INTEGER_FORMATS: dict[str, tuple[SqlType, int, int]] = {
    "i8": (sqltypes.SMALLINT, -(2**7), 2**7 - 1),
    "u8": (sqltypes.SMALLINT, 0, 2**8 - 1),
    "i16": (sqltypes.SMALLINT, -(2**15), 2**15 - 1),
    "u16": (sqltypes.INTEGER, 0, 2**16 - 1),
    "i32": (sqltypes.INTEGER, -(2**31), 2**31 - 1),
    "u32": (sqltypes.BIGINT, 0, 2**32 - 1),
    "i64": (sqltypes.BIGINT, -(2**63), 2**63 - 1),
    "u64": (decimal(20, 0), 0, 2**64 - 1),
    "i128": (decimal(38, 0), -(10**38) + 1, 10**38 - 1),
    "u128": (decimal(38, 0), 0, 10**38 - 1),
}
"""logicalTypeOptions.format of an integer: the type, and the least and greatest value."""

RANGES: dict[str, tuple[int, int]] = {
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
"""The least and greatest value of the whole-number types."""

_JDK = {
    "yyyy": "%Y", "uuuu": "%Y", "yy": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%m", "dd": "%d", "d": "%d",
    "HH": "%H", "H": "%H", "hh": "%I", "h": "%I", "mm": "%M", "m": "%M", "ss": "%S", "s": "%S", "a": "%p",
    "S": "%f", "SS": "%f", "SSS": "%f", "SSSS": "%f", "SSSSS": "%f", "SSSSSS": "%f", "EEEE": "%A", "EEE": "%a",
    "X": "%z", "XX": "%z", "XXX": "%z", "x": "%z", "xx": "%z", "xxx": "%z", "Z": "%z", "DDD": "%j",
}  # fmt: skip
_JDK_TOKEN = re.compile(
    r"'(?P<quoted>(?:[^']|'')*)'|(?P<letters>(?P<letter>[A-Za-z])(?P=letter)*)|(?P<other>[^A-Za-z'])"
)


def strptime_format(pattern: str) -> str | None:
    """Returns a JDK DateTimeFormatter pattern in strptime's words, None when it has no equal there."""
    out, at = [], 0
    while match := _JDK_TOKEN.match(pattern, at):
        at = match.end()
        if match["letters"] is not None and match["letters"] not in _JDK:
            return None
        plain = match["other"] if match["quoted"] is None else match["quoted"].replace("''", "'") or "'"
        out.append(_JDK[match["letters"]] if match["letters"] else plain.replace("%", "%%"))
    return "".join(out) if at == len(pattern) and out else None


def is_iso(form: str) -> bool:
    """Whether texts of a strptime format are read without it: ISO 8601 with a blank or T, fractions and offset."""
    return bool(re.fullmatch(r"%Y-%m-%d([T ]%H:%M(:%S(\.%f)?)?(%z)?)?|%H:%M:%S(\.%f)?", form))
