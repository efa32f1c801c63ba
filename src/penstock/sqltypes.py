"""The types a value can have from contract to answer, and their names in DuckDB, Arrow and PostgreSQL.

Money is `decimal`; `double` exists only for what a contract declares as double. A `timestamp` is a UTC instant with
microseconds; a `date` has no zone; `local_timestamp` is a wall-clock time (what `AT TIME ZONE` yields).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

_DUCKDB = {
    "text": "VARCHAR", "bigint": "BIGINT", "integer": "INTEGER", "smallint": "SMALLINT", "double": "DOUBLE",
    "boolean": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMPTZ", "local_timestamp": "TIMESTAMP",
    "time": "TIME", "uuid": "UUID", "json": "VARCHAR", "hugeint": "HUGEINT", "interval": "INTERVAL",
}  # fmt: skip
_POSTGRES = {
    "text": "text", "bigint": "bigint", "integer": "integer", "smallint": "smallint", "double": "double precision",
    "boolean": "boolean", "date": "date", "timestamp": "timestamptz", "local_timestamp": "timestamp",
    "time": "time", "uuid": "uuid", "json": "jsonb", "hugeint": "numeric(39,0)", "interval": "interval",
}  # fmt: skip
_ARROW = {
    "text": pa.string(), "bigint": pa.int64(), "integer": pa.int32(), "smallint": pa.int16(), "double": pa.float64(),
    "boolean": pa.bool_(), "date": pa.date32(), "timestamp": pa.timestamp("us", tz="UTC"),
    "local_timestamp": pa.timestamp("us"), "time": pa.time64("us"), "uuid": pa.string(), "json": pa.string(),
    "hugeint": pa.decimal128(38, 0),
}  # fmt: skip


@dataclass(frozen=True)
class SqlType:
    """One type. `kind` is a key of the tables above or `decimal` (1 <= precision <= 38, 0 <= scale <= precision)."""

    kind: str
    precision: int = 0
    scale: int = 0

    @property
    def duckdb(self) -> str:
        return f"DECIMAL({self.precision},{self.scale})" if self.kind == "decimal" else _DUCKDB[self.kind]

    @property
    def postgres(self) -> str:
        return f"numeric({self.precision},{self.scale})" if self.kind == "decimal" else _POSTGRES[self.kind]

    @property
    def arrow(self) -> pa.DataType:
        return pa.decimal128(self.precision, self.scale) if self.kind == "decimal" else _ARROW[self.kind]

    @property
    def is_exact_number(self) -> bool:
        return self.kind in ("decimal", "bigint", "integer", "smallint", "hugeint")

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})" if self.kind == "decimal" else self.kind


TEXT = SqlType("text")
BIGINT = SqlType("bigint")
INTEGER = SqlType("integer")
SMALLINT = SqlType("smallint")
HUGEINT = SqlType("hugeint")
DOUBLE = SqlType("double")
BOOLEAN = SqlType("boolean")
DATE = SqlType("date")
TIME = SqlType("time")
TIMESTAMP = SqlType("timestamp")
LOCAL_TIMESTAMP = SqlType("local_timestamp")
UUID = SqlType("uuid")
JSON = SqlType("json")


def decimal(precision: int, scale: int) -> SqlType:
    """Returns DECIMAL(precision, scale). Raises ValueError outside 1 <= precision <= 38, 0 <= scale <= precision."""
    if not (1 <= precision <= 38 and 0 <= scale <= precision):
        msg = f"decimal({precision},{scale}): precision must be 1 to 38 and scale 0 to precision"
        raise ValueError(msg)
    return SqlType("decimal", precision, scale)


_BY_DUCKDB = {v: SqlType(k) for k, v in _DUCKDB.items() if k != "json"}


def from_duckdb(name: str) -> SqlType | None:
    """Returns the type that DuckDB calls `name` (as DESCRIBE prints it), or None for one we do not carry."""
    if m := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", name):
        return decimal(int(m[1]), int(m[2]))
    alias = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ", "JSON": "VARCHAR"}
    return _BY_DUCKDB.get(alias.get(name, name))
