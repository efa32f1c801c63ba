"""What the planner's tests share: a stream with a column of every kind, and running a plan by the letter of its model.

`run_whole` executes the typed SELECT. `run_steps` builds the state as plan/model.py says, from its expressions alone,
and executes the finish: the two must agree on every case.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import duckdb

from penstock.errors import Place
from penstock.plan.macros import MACROS
from penstock.plan.model import Extreme, Plan
from penstock.plan.planner import plan
from penstock.project.model import Column, PipelineFile, Stream
from penstock.sqltypes import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    LOCAL_TIMESTAMP,
    TEXT,
    TIMESTAMP,
    decimal,
)  # fmt: skip

FILE = "pipelines/p.sql"

SALES = Stream(
    name="sales",
    columns=(
        Column("sale_id", TEXT, required=True),
        Column("sold_at", TIMESTAMP, required=True),
        Column("amount", decimal(12, 2), required=True),
        Column("city", TEXT, required=True),
        Column("seller", TEXT, required=True),
        Column("channel", TEXT),
        Column("pieces", INTEGER),
        Column("discount", decimal(5, 4)),
        Column("weight", DOUBLE),
        Column("returned", BOOLEAN),
        Column("shipped_on", DATE),
        Column("wall_time", LOCAL_TIMESTAMP),
        Column("big", BIGINT),
    ),
    primary_key=("sale_id",),
    event_time="sold_at",
)
KEYLESS = Stream(name="events", columns=SALES.columns, event_time="sold_at")
STREAMS = {"sales": SALES, "events": KEYLESS}

Rows = list[tuple[Any, ...]]


def pipeline(
    sql: str,
    *,
    timezone: str = "UTC",
    late: Literal["restate", "set_aside"] | None = None,
    indexes: tuple[tuple[tuple[str, bool], ...], ...] = (),
    line: int = 1,
) -> PipelineFile:
    return PipelineFile(
        "p", sql, line, late=late or "restate", late_given=late is not None, timezone=timezone, indexes=indexes,
        place=Place(FILE),
    )  # fmt: skip


def planned(sql: str, *, timezone: str = "UTC") -> Plan:
    return plan(pipeline(sql, timezone=timezone), STREAMS)


@contextmanager
def connection(session_zone: str = "Pacific/Auckland") -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in a zone nobody planned for: answers must not depend on it."""
    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false", "threads": "1"}) as con:
        con.execute(f"SET TimeZone='{session_zone}'")
        for macro in MACROS:
            con.execute(macro)
        yield con


def create(con: duckdb.DuckDBPyConnection, stream: Stream) -> None:
    con.execute(f"CREATE TABLE {stream.name} ({', '.join(f'{c.name} {c.type.duckdb}' for c in stream.columns)})")


def fetched(con: duckdb.DuckDBPyConnection, sql: str, p: Plan) -> Rows:
    """Rows as Python values, instants as text in UTC (the driver would need another package for them)."""
    items = [
        f"strftime(timezone('UTC', \"{c.name}\"), '%Y-%m-%d %H:%M:%S.%f+00')" if c.type == TIMESTAMP else f'"{c.name}"'
        for c in p.columns
    ]
    return con.execute(f"SELECT {', '.join(items)} FROM ({sql})").fetchall()


def run_whole(con: duckdb.DuckDBPyConnection, p: Plan) -> Rows:
    return fetched(con, p.typed_select, p)


def run_steps(con: duckdb.DuckDBPyConnection, p: Plan) -> Rows:
    con.execute(f"CREATE OR REPLACE TEMP TABLE s AS {state_sql(p)}")
    return fetched(con, p.steps.finish, p)


def state_sql(p: Plan) -> str:
    """The state of all rows at once, by plan/model.py."""
    kept = p.steps
    items = [f"{g.sql} AS {g.name}" for g in kept.groups]
    if kept.is_list:
        items += ["1::BIGINT AS n", *(f"{k.sql} AS {k.name}" for k in kept.kept)]
        return f"SELECT {', '.join(items)} FROM {p.stream} WHERE {kept.where or 'true'}"
    items.append("count(*) AS n")
    items += [f"coalesce(sum({a.sql}), 0)::{a.type.duckdb} AS {a.name}" for a in kept.additives]
    items += [f"{_extreme(e)} AS {e.name}" for e in kept.extremes]
    for d in kept.distincts:
        terms = [d.filter or "true", *(f"({sql}) IS NOT NULL" for sql, _ in d.values)]
        values = ", ".join(sql for sql, _ in d.values)
        items.append(f"count(DISTINCT ROW({values})) FILTER (WHERE {' AND '.join(terms)}) AS {d.name}")
    by = f" GROUP BY {', '.join(str(i + 1) for i in range(len(kept.groups)))}" if kept.groups else ""
    return f"SELECT {', '.join(items)} FROM {p.stream} WHERE {kept.where or 'true'}{by}"


def _extreme(e: Extreme) -> str:
    terms = [e.filter or "true", *(f"({sql}) IS NOT NULL" for sql, _ in e.order)]
    order = f", ROW({', '.join(sql for sql, _ in e.order)})" if e.order else ""
    return f"{e.kind}({e.sql}{order}) FILTER (WHERE {' AND '.join(terms)})"
