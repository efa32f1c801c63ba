"""Coercion of whole columns: from what a source or an expression yields to the contract's type, in SQL.

`value` gives, for a column of one DuckDB type, an expression whose value is exact or NULL. NULL for a value that is
there means "not sure": `exact.py` then reads that one value as text, or says why it is refused. So every expression
here may be narrower than `exact.py` and must never be wider or different.
"""

from __future__ import annotations

import re

import pyarrow as pa

from penstock.intake.exact import FALSE, TRUE
from penstock.intake.expressions import literal
from penstock.project.model import Column
from penstock.sqltypes import SqlType

_WHOLE = r"[+-]?\d+(\.0*)?"
_REAL = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_STAMP = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-5])(:?[0-5]\d)?)?"
_LOCAL = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
_CLOCK = r"([01]\d|2[0-3]):\d\d(:\d\d(\.\d{1,6})?)?"
_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_UNSURE_JSON = r"\\u(0000|[dD][89a-fA-F])|(?i:nan|inf)|[eE][+-]?\d{4}|,\s*[\]}]"
"""What DuckDB takes for JSON and PostgreSQL may not: NaN, a last comma, halves of pairs, huge exponents."""
_WHOLE_TYPES = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
}  # fmt: skip
_STAMPS = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"}
_ZONED = "TIMESTAMP WITH TIME ZONE"
_NANOSECONDS = {
    "TIMESTAMP_NS": {"timestamp", "local_timestamp"}, "TIMESTAMPTZ_NS": {"timestamp"}, "TIME_NS": {"time"},
}  # fmt: skip
_TIMES = {"date", "time", "timestamp", "local_timestamp"}

YEARS = {
    "timestamp": ("TIMESTAMPTZ '0001-01-01 00:00:00Z'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999Z'"),
    "local_timestamp": ("TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '9999-12-31 23:59:59.999999'"),
    "date": ("DATE '0001-01-01'", "DATE '9999-12-31'"),
    "time": ("TIME '00:00:00'", "TIME '23:59:59.999999'"),
}
"""The first and last value that is held, of the kinds that can be beyond it."""


def as_text(x: str, duck_type: str) -> str:
    """Returns the text of `x` (of DuckDB type `duck_type`) that `exact.py` reads and reasons quote."""
    if duck_type.endswith("[]") or duck_type.startswith(("STRUCT", "MAP", "UNION")) or "[" in duck_type:
        return f"CAST(to_json({x}) AS VARCHAR)"
    if duck_type == _ZONED:
        return f"strftime(timezone('UTC', {x}), '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"CAST({x} AS VARCHAR)"


def value(x: str, duck_type: str, column: Column) -> str:
    """Returns SQL for `x` as a value of `column`'s type: exact, or NULL where only `exact.py` can tell."""
    kind = column.type.kind
    if duck_type in ("NULL", '"NULL"'):
        return _null(column)
    if duck_type == "VARCHAR" or duck_type.startswith("ENUM"):
        text = x if duck_type == "VARCHAR" else f"CAST({x} AS VARCHAR)"
        return _formatted(text, column) if column.date_format and kind in _TIMES else _from_text(text, column.type)
    if duck_type in ("FLOAT", "DOUBLE") and (column.type.is_exact_number or kind == "double"):
        return _from_text(f"CAST({x} AS VARCHAR)", column.type)
    if kind in ("text", "json"):
        return _textual(x, duck_type, kind)
    if column.type.is_exact_number:
        return _from_exact(x, duck_type, column.type)
    return _others(x, duck_type, column)


def _null(column: Column) -> str:
    return f"CAST(NULL AS {column.type.duckdb})"


def _from_text(x: str, type_: SqlType) -> str:
    kind = type_.kind
    if kind == "text":
        return x
    if kind == "json":
        unsure = f"length({x}) > 16000 OR regexp_matches({x}, {literal(_UNSURE_JSON)})"
        return f"CASE WHEN json_valid({x}) AND NOT ({unsure}) THEN {x} END"
    if kind == "boolean":
        return f"CASE WHEN {x} IN ({_words(TRUE)}) THEN true WHEN {x} IN ({_words(FALSE)}) THEN false END"
    if kind == "uuid":
        return _when(x, _UUID, f"lower({x})")
    if kind == "double":
        cast = f"TRY_CAST({x} AS DOUBLE)"
        return f"CASE WHEN regexp_full_match({x}, {literal(_REAL)}) AND isfinite({cast}) THEN {cast} END"
    pattern = {
        "decimal": _decimal_pattern(type_.scale),
        "date": r"\d{4}-\d\d-\d\d",
        "time": _CLOCK,
        "timestamp": _STAMP,
        "local_timestamp": _LOCAL,
    }.get(kind, _WHOLE)
    return _when(x, pattern, f"TRY_CAST({x} AS {_carrier(type_)})")


def _carrier(type_: SqlType) -> str:
    """HUGEINT leaves DuckDB as decimal(38,0), so that is what it must fit."""
    return "DECIMAL(38,0)" if type_.kind == "hugeint" else type_.duckdb


def _decimal_pattern(scale: int) -> str:
    if scale == 0:
        return r"[+-]?(\d+(\.0*)?|\.0+)"
    return rf"[+-]?(\d+(\.\d{{0,{scale}}}0*)?|\.\d{{1,{scale}}}0*)"


def _words(words: set[str]) -> str:
    return ", ".join(literal(w) for w in sorted(words))


def _when(x: str, pattern: str, then: str) -> str:
    return f"CASE WHEN regexp_full_match({x}, {literal(pattern)}) THEN {then} END"


def _formatted(x: str, column: Column) -> str:
    form = column.date_format or ""
    if re.search(r"%[zZfng]", form):
        return _null(column)
    return f"CAST(try_strptime({x}, {literal(form)}) AS {column.type.duckdb})"


def _textual(x: str, duck_type: str, kind: str) -> str:
    if duck_type == "BLOB":
        return "CAST(NULL AS VARCHAR)"
    if kind == "json":
        return f"CAST({x} AS VARCHAR)" if duck_type == "JSON" else f"CAST(to_json({x}) AS VARCHAR)"
    return as_text(x, duck_type)


def _from_exact(x: str, duck_type: str, type_: SqlType) -> str:
    target = _carrier(type_)
    if duck_type in _WHOLE_TYPES:
        return f"TRY_CAST({x} AS {target})"
    found = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", duck_type)
    if found and int(found[2]) <= type_.scale:
        return f"TRY_CAST({x} AS {target})"
    return _from_text(f"CAST({x} AS VARCHAR)", type_) if found else f"CAST(NULL AS {target})"


def _others(x: str, duck_type: str, column: Column) -> str:
    """boolean, double, date, time, timestamp, uuid from what is neither text nor a real."""
    kind, target = column.type.kind, column.type.duckdb
    if kind == "double" and (duck_type in _WHOLE_TYPES or duck_type.startswith("DECIMAL")):
        return f"CAST({x} AS DOUBLE)"
    if kind == "timestamp" and duck_type in {*_STAMPS, _ZONED, "DATE"}:
        return _finite(x, duck_type, f"TRY_CAST({x} AS TIMESTAMPTZ)")
    if kind == "local_timestamp" and duck_type in {*_STAMPS, _ZONED, "DATE"}:
        return _finite(x, duck_type, f"TRY_CAST({x} AS TIMESTAMP)")
    if kind == "date" and duck_type in {*_STAMPS, _ZONED}:
        return _finite(x, duck_type, f"CASE WHEN date_trunc('day', {x}) = {x} THEN CAST({x} AS DATE) END")
    if (nanos := _NANOSECONDS.get(duck_type)) is not None and kind in nanos:
        return f"CASE WHEN epoch_ns({x}) % 1000 = 0 THEN TRY_CAST({x} AS {target}) END"
    same = {"boolean": "BOOLEAN", "date": "DATE", "time": "TIME", "uuid": "UUID"}
    if same.get(kind) == duck_type:
        plain = f"CAST({x} AS VARCHAR)" if kind == "uuid" else x
        return _finite(x, duck_type, plain)
    return f"CAST(NULL AS {target})"


def _finite(x: str, duck_type: str, then: str) -> str:
    if duck_type in {*_STAMPS, _ZONED, "DATE"}:
        return f"CASE WHEN isfinite({x}) THEN {then} END"
    return f"CASE WHEN {x} < TIME '24:00:00' THEN {then} END" if duck_type == "TIME" else then


def passes(arrow: pa.DataType, column: Column) -> bool:
    """Whether a source column of Arrow type `arrow` already is what the log holds; its rules are still to be checked.

    Any zone of a timestamp is only how it is shown. JSON and UUIDs are texts that must be looked at.
    """
    if column.type.kind in ("json", "uuid") or (column.date_format is not None and pa.types.is_string(arrow)):
        return False
    if column.type.kind == "timestamp" and pa.types.is_timestamp(arrow):
        return bool(arrow.unit == "us" and arrow.tz is not None)
    return bool(arrow == column.type.arrow)
