"""DuckDB as the judge: an empty in-memory table of the stream's columns, against which statements are bound.

Nothing is ever read or computed here. It tells the type of a function's result, and that each statement the planner
made is one that DuckDB accepts with the types the planner gave it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from types import TracebackType

import duckdb

from penstock.plan.macros import MACROS
from penstock.sqltypes import SqlType, from_duckdb


class Refused(Exception):
    """DuckDB does not bind a statement; the text is the first line of its message."""


@lru_cache(maxsize=4096)
def _expression_type(sql: str) -> str:
    with Oracle() as oracle:
        return oracle.describe(f"SELECT {sql} AS x")[0][1]


def expression_type(sql: str) -> SqlType | None:
    """Returns the type of an expression that has no columns; None for one we do not carry. Raises Refused."""
    name = _expression_type(sql)
    small = {"TINYINT": "SMALLINT", "UTINYINT": "SMALLINT", "USMALLINT": "INTEGER", "UINTEGER": "BIGINT"}
    return from_duckdb(small.get(name, name))


@lru_cache(maxsize=4096)
def constant_error(sql: str) -> str:
    """Returns why a constant expression cannot be computed, '' when it can."""
    with Oracle() as oracle:
        try:
            oracle.run(f"SELECT CAST({sql} AS VARCHAR)")
        except Refused as e:
            return str(e)
    return ""


class Oracle:
    """One connection; use as a context manager."""

    def __init__(self) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false", "memory_limit": "256MB", "threads": "1",
        }  # fmt: skip
        self._con = duckdb.connect(":memory:", config=config)
        self._con.execute("SET TimeZone='UTC'")
        for macro in MACROS:
            self._con.execute(macro)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._con.close()

    def table(self, name: str, columns: Iterable[tuple[str, SqlType]]) -> None:
        """Creates an empty table. Raises Refused."""
        body = ", ".join(f'"{n.replace(chr(34), chr(34) * 2)}" {t.duckdb}' for n, t in columns)
        self.run(f'CREATE TABLE "{name.replace(chr(34), chr(34) * 2)}" ({body})')

    def describe(self, select: str) -> list[tuple[str, str]]:
        """Returns (name, DuckDB's type) of each column of a SELECT. Raises Refused."""
        return [(str(r[0]), str(r[1])) for r in self.run(f"DESCRIBE {select}")]

    def run(self, sql: str) -> list[tuple[object, ...]]:
        """Returns the rows of a statement. Raises Refused."""
        try:
            return self._con.execute(sql).fetchall()
        except duckdb.Error as e:
            raise Refused(str(e).splitlines()[0]) from e
