"""Which group of a failed step is to blame.

DuckDB's errors name a value at best. After a failure the step is run again, always rolled back, on half of its groups,
on half of those that fail, and so on, until one is left. Where the grouping expressions or the WHERE fail themselves,
rows are halved instead. It is slow and only happens when a pipeline is about to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from penstock.engines.duckdb_layout import listed, quote
from penstock.engines.duckdb_partial import ANY
from penstock.engines.duckdb_sql import Statements


@dataclass(frozen=True)
class Rerun:
    """How to do a failed step again: its rows, and the step over given rows, without keeping anything."""

    rows: Callable[[], Iterable[pa.Table]]
    attempt: Callable[[Iterable[pa.Table]], None]


def culprit(con: duckdb.DuckDBPyConnection, sql: Statements, rerun: Rerun) -> str:
    """Returns words for the group, or the row, at which a step fails; '' when the step has no groups or works now."""
    seen: list[pa.Table] = []
    for table in rerun.rows():
        try:
            seen.append(
                _run(con, table, f"SELECT DISTINCT {_keys(sql) or '1 AS whole'} FROM chunk{sql.partials.counting(ANY)}")
            )
        except duckdb.Error:
            return _row_in(con, sql, table)
    if not sql.layout.groups or not seen:
        return ""
    con.register("chunk", pa.concat_tables(seen))
    groups = con.sql("SELECT DISTINCT * FROM chunk").to_arrow_table()
    con.unregister("chunk")
    return _group_among(con, sql, rerun, groups)


def _keys(sql: Statements) -> str:
    return listed(f"{g.sql} AS {quote(g.name)}" for g in sql.steps.groups)


def _run(con: duckdb.DuckDBPyConnection, table: pa.Table, query: str) -> pa.Table:
    con.register("chunk", table)
    try:
        return con.sql(query).to_arrow_table()
    finally:
        con.unregister("chunk")


def _group_among(con: duckdb.DuckDBPyConnection, sql: Statements, rerun: Rerun, groups: pa.Table) -> str:
    while groups.num_rows > 1:
        half = groups.num_rows // 2
        halves = (groups.slice(0, half), groups.slice(half))
        failing = next((h for h in halves if _fails(con, sql, rerun, h)), None)
        if failing is None:
            return f"one of {groups.num_rows} groups together, among them {_words(sql, groups.slice(0, 1))}"
        groups = failing
    return _words(sql, groups) if _fails(con, sql, rerun, groups) else ""


def _fails(con: duckdb.DuckDBPyConnection, sql: Statements, rerun: Rerun, groups: pa.Table) -> bool:
    try:
        rerun.attempt(_only(con, sql, table, groups) for table in rerun.rows())
    except duckdb.Error:
        return True
    return False


def _only(con: duckdb.DuckDBPyConnection, sql: Statements, table: pa.Table, groups: pa.Table) -> pa.Table:
    """Returns the rows of `table` that belong to `groups`."""
    con.register("wanted", groups)
    try:
        pairs = [f"({g.sql}) AS {quote('_k_' + g.name)}" for g in sql.steps.groups]
        match = " AND ".join(f"c.{quote('_k_' + n)} IS NOT DISTINCT FROM wanted.{quote(n)}" for n in sql.layout.groups)
        keyed = f"SELECT *, {listed(pairs)} FROM chunk{sql.partials.counting(ANY)}"
        found = _run(con, table, f"SELECT c.* FROM ({keyed}) AS c SEMI JOIN wanted ON ({match})")
    finally:
        con.unregister("wanted")
    return found.select(table.column_names)


def _words(sql: Statements, groups: pa.Table) -> str:
    row: Mapping[str, Any] = groups.to_pylist()[0]
    names = {g.name: g.column for g in sql.steps.groups}
    return "group " + ", ".join(f"{names[n]} = {'NULL' if v is None else v}" for n, v in row.items() if n in names)


def _row_in(con: duckdb.DuckDBPyConnection, sql: Statements, table: pa.Table) -> str:
    """Returns words for the first row of `table` on which WHERE or the grouping expressions fail."""
    query = f"SELECT count(*), {listed(f'any_value({g.sql})' for g in sql.steps.groups) or '1'} FROM chunk"
    low, high = 0, table.num_rows
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _run(con, table.slice(low, middle - low), query + sql.partials.counting(ANY))
        except duckdb.Error:
            high = middle
        else:
            low = middle
    row = table.slice(low, 1).select(["_batch", "_row", "_source", "_position"]).to_pylist()[0]
    return f"row {row['_row']} of batch {row['_batch']} (source {row['_source']}, {row['_position']})"
