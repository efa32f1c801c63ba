"""The columns a cursor runs along: their order, their comparison, their mark, as SQL.

Ids (`incrementing`) are compared as a whole list; the mark of the two timestamp modes is a time alone, capped by the
server's clock, so that a row dated into the future cannot close the way for all that come before it. A time without
zone is capped by the least wall-clock time that may still come, so that the hour that clocks repeat in autumn is
read once it is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import pyarrow as pa

from penstock.sources._postgres_columns import PgColumn, literal, quote
from penstock.sources._postgres_marks import Key
from penstock.sources.errors import PostgresCursorType

_WHOLE = ("int2", "int4", "int8")
_FIRST = (*_WHOLE, "numeric", "date", "timestamp", "timestamptz")
_TEXTS = ("text", "varchar", "bpchar", "name", "enum")
_FURTHER = (*_FIRST, *_TEXTS, "uuid", "bool")
_TIMES = ("timestamp", "timestamptz")


class _Config(Protocol):
    @property
    def mode(self) -> str: ...
    @property
    def incrementing_column(self) -> tuple[str, ...]: ...
    @property
    def timestamp_column(self) -> str | None: ...


@dataclass(frozen=True)
class Keys:
    """The cursor's columns in their order; `time`: the first is the timestamp column and the mark has it alone."""

    columns: tuple[PgColumn, ...]
    time: bool

    @property
    def position_type(self) -> pa.DataType:
        """int64 for a single whole-number column, else text."""
        return pa.int64() if len(self.columns) == 1 and self.columns[0].base in _WHOLE else pa.string()

    def select(self) -> list[str]:
        """Returns the expressions that print the columns."""
        return [f"(q.{quote(c.name)})::text" for c in self.columns]

    def order(self, direction: str = "ASC") -> str:
        return ", ".join(f"{_value(c)} {direction}" for c in self.columns)

    def above(self, at: Key) -> str:
        """Returns the condition `the row is after at`. A time mark alone stands for all rows of that time."""
        return self._compare(">", at)

    def at_least(self, key: Key) -> str:
        return self._compare(">=", key)

    def up_to(self, mark: Key) -> str:
        return self._compare("<=", mark)

    def _compare(self, operator: str, key: Key) -> str:
        columns = self.columns[: len(key)]
        left = ", ".join(_value(c) for c in columns)
        right = ", ".join(_literal(c, k) for c, k in zip(columns, key, strict=True))
        return f"({left}) {operator} ({right})"

    def future(self, timezone: str) -> str | None:
        """Returns the condition `the row's time has not come yet`; None for ids."""
        if not self.time:
            return None
        return f"q.{quote(self.columns[0].name)} > ({_cap(self.columns[0], timezone, timedelta(0))})"

    def countable(self) -> str:
        """Returns the condition that leaves out rows no cursor can pass: NULL, NaN, infinity."""
        parts = [f"q.{quote(c.name)} IS NOT NULL" for c in self.columns]
        for c in self.columns:
            if c.base == "numeric":
                parts.append(f"q.{quote(c.name)} < 'Infinity'::numeric")
            elif c.base in ("date", "timestamp", "timestamptz"):
                parts.append(f"q.{quote(c.name)} < 'infinity'")
        return " AND ".join(parts)

    def mark_sql(self, relation: str, at: Key | None, timezone: str, delay: timedelta) -> str:
        """Returns the SELECT of the highest value above `at`: one row, or none."""
        conditions = [self.countable()]
        if at is not None:
            conditions.append(self.above(at))
        columns = self.select()
        if self.time:
            conditions.append(f"q.{quote(self.columns[0].name)} <= ({_cap(self.columns[0], timezone, delay)})")
            columns = columns[:1]
        order = f"{_value(self.columns[0])} DESC" if self.time else self.order("DESC")
        return f"SELECT {', '.join(columns)} FROM {relation} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT 1"

    def age_sql(self, mark: Key, timezone: str) -> str | None:
        """Returns the SELECT of the seconds since the time `mark`; None for ids."""
        if not self.time:
            return None
        column = self.columns[0]
        now = "pg_catalog.clock_timestamp()"
        if column.base == "timestamp":
            now = f"({now} AT TIME ZONE {literal(timezone)})"
        return f"SELECT EXTRACT(epoch FROM {now} - {_literal(column, mark[0])})::float8"

    def may_write(self, mark: Key) -> str | None:
        """Returns the condition over pg_stat_activity a: may this transaction still write a row below `mark`?

        None for ids. A wall-clock time may have been written in any zone, so every transaction counts there.
        """
        if not self.time:
            return None
        column = self.columns[0]
        if column.base == "timestamp":
            return "true"
        unit = f"interval '{10.0**-column.fraction_digits:.6f} seconds'"
        return f"(a.xact_start IS NULL OR a.xact_start <= {_literal(column, mark[0])} + {unit})"


def keys_of(config: _Config, columns: Mapping[str, PgColumn]) -> Keys:
    """Returns the cursor's columns. Raises PostgresCursorType for a type whose values do not grow with time."""
    ids = [columns[name] for name in config.incrementing_column]
    time = [columns[config.timestamp_column]] if config.timestamp_column else []
    for c in time:
        _check(c, _TIMES, "timestamp_column", "a timestamp with or without time zone")
    for i, c in enumerate(ids):
        first = i == 0
        words = "a whole number, numeric, date or timestamp" + ("" if first else ", or a text or uuid")
        _check(c, _FIRST if first else _FURTHER, "incrementing_column", words)
    return Keys((*time, *ids), bool(time))


def _check(column: PgColumn, allowed: tuple[str, ...], key: str, words: str) -> None:
    if column.base not in allowed:
        found = f"{key} {column.name} is {column.sql_type}: its values do not grow with time"
        raise PostgresCursorType(found, hint=f"it must be {words}", place=key)


def _value(column: PgColumn) -> str:
    name = f"q.{quote(column.name)}"
    return f'{name}::text COLLATE "C"' if column.base in _TEXTS else name


def _literal(column: PgColumn, text: str) -> str:
    if column.base in _TEXTS:
        return f'{literal(text)}::text COLLATE "C"'
    return f"{literal(text)}::pg_catalog.{column.base}"


def _cap(column: PgColumn, timezone: str, delay: timedelta) -> str:
    """Returns the highest time that no later transaction can write any more, as a subselect."""
    micros = delay // timedelta(microseconds=1)
    if column.fraction_digits < 6:
        micros += 10 ** (6 - column.fraction_digits)
    now = f"pg_catalog.clock_timestamp() - interval '{micros} microseconds'"
    if column.base == "timestamptz":
        return f"SELECT {now}"
    later = f"pg_catalog.date_bin('15 minutes', {now}, 'epoch') + g * interval '15 minutes'"
    return (
        f"SELECT pg_catalog.min((CASE WHEN g = 0 THEN {now} ELSE {later} END) AT TIME ZONE {literal(timezone)})"
        " FROM pg_catalog.generate_series(0, 12) AS g"
    )
