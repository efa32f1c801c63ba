"""What PostgreSQL says about an endpoint's statement: its columns, the results it reads, whether its answer is steady.

Learned by preparing the statement inside a transaction and looking at the locks that took: so views count with what
they read, and nothing is executed. An answer is steady when it depends on versioned results and parameters alone; only
such answers are cached and labelled with the data's version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlglot
from psycopg import generators
from psycopg import sql as pgsql
from psycopg.pq.abc import PGresult
from sqlglot import exp
from sqlglot.errors import SqlglotError

from penstock.errors import PenstockError
from penstock.project.model import EndpointFile
from penstock.serve.errors import BadPaging, EndpointRefused, ResultNotReady
from penstock.serve.sql import numbered, place_of, source_offset
from penstock.serve.values import postgres_type

_TIME_WORDS = ("now", "today", "tomorrow", "yesterday")
_UNSTEADY = {
    "now", "transaction_timestamp", "statement_timestamp", "clock_timestamp", "timeofday", "age", "random",
    "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "nextval", "currval", "lastval", "setval",
    "txid_current", "current_setting", "set_config", "currenttimestamp", "currentdate", "currenttime",
    "currentdatetime", "localtime", "localtimestamp", "rand", "randn", "uuid", "current_timestamp", "current_date",
    "current_time",
}  # fmt: skip

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class AnswerColumn:
    """A column of the answer; `type` is PostgreSQL's name of it, `oid` its number."""

    name: str
    type: str
    oid: int


@dataclass(frozen=True)
class Description:
    """An endpoint's statement as the store understands it now."""

    statement: str
    """With numbered parameters."""
    order: tuple[str, ...]
    """The parameters' names in the order of their numbers."""
    columns: tuple[AnswerColumn, ...]
    pipelines: tuple[str, ...]
    """Pipelines whose results are read, sorted."""
    windows: tuple[tuple[str, str], ...]
    """(column of the answer, pipeline) for every window column that is selected."""
    steady: bool
    """Whether the answer follows from the pipelines' versions and the parameters alone."""


@dataclass(frozen=True)
class Results:
    """Where results are, and what is known of them."""

    schema: str
    windows: Mapping[str, str]
    """Pipeline -> its window column, '' without a window."""


async def describe(conn: Connection, endpoint: EndpointFile, results: Results) -> Description:
    """Asks the store about `endpoint`. `conn` is not in a transaction; its search path begins with the schema.

    Raises ResultNotReady when a table or column is not there yet, EndpointRefused for what PostgreSQL does
    not accept, BadPaging when the paging columns are not selected.
    """
    types = {p.name: postgres_type(p.schema) for p in endpoint.parameters}
    statement, order = numbered(endpoint.sql, types)
    async with conn.transaction(force_rollback=True):
        found = await _prepare(conn, endpoint, statement, types)
        relations = await _locked(conn)
        columns = await _columns(conn, found)
        _check_columns(endpoint, columns)
        pipelines = {r[1]: r[0] for r in relations if r[2] == results.schema and r[1] in results.windows}
        others = [r for r in relations if r[1] not in pipelines and r[3] != "v"]
        views = [r[4] for r in relations if r[3] == "v"]
        steady = not others and await _is_steady(conn, [endpoint.sql, *views])
        windows = await _windows(conn, found, {oid: name for name, oid in pipelines.items()}, results)
    return Description(statement, order, columns, tuple(sorted(pipelines)), windows, steady)


async def _prepare(conn: Connection, endpoint: EndpointFile, statement: str, types: dict[str, str]) -> PGresult:
    # Not libpq's blocking calls: they hold the interpreter's lock, and every request with it, till the store answers.
    conn.pgconn.send_prepare(b"", statement.encode())
    result = (await conn.wait(generators.execute(conn.pgconn)))[-1]
    if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise refused(endpoint, types, psycopg.errors.lookup(_state(result)), result)
    conn.pgconn.send_describe_prepared(b"")
    described: PGresult = (await conn.wait(generators.execute(conn.pgconn)))[-1]
    return described


def _state(result: PGresult) -> str:
    return (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"XX000").decode()


def refused(endpoint: EndpointFile, types: dict[str, str], kind: type[Exception], result: PGresult) -> PenstockError:
    """Returns PostgreSQL's refusal as an error with its place in the endpoint's file."""
    field = psycopg.pq.DiagnosticField
    message = (result.error_field(field.MESSAGE_PRIMARY) or b"").decode(errors="replace")
    hint = (result.error_field(field.MESSAGE_HINT) or b"").decode(errors="replace")
    position = result.error_field(field.STATEMENT_POSITION)
    offset = source_offset(endpoint.sql, types, int(position) - 1) if position else 0
    place = place_of(endpoint.place, endpoint.sql, endpoint.sql_line, offset)
    if kind in (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName):
        return ResultNotReady(message, hint=hint or "its pipeline has not delivered yet", place=place)
    return EndpointRefused(message, hint=hint or "mend the statement at this place", place=place)


async def _locked(conn: Connection) -> list[tuple[int, str, str, str, str]]:
    """Returns (oid, name, schema, kind, view's SQL) of the relations that this transaction's statement reads."""
    cursor = await conn.execute(
        "SELECT c.oid::int8, c.relname, n.nspname, c.relkind::text,"
        "       CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) ELSE '' END"
        " FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm', 'f', 'v')"
        "   AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') ORDER BY 3, 2"
    )
    return await cursor.fetchall()


async def _columns(conn: Connection, found: PGresult) -> tuple[AnswerColumn, ...]:
    columns = []
    for i in range(found.nfields):
        oid, modifier = found.ftype(i), found.fmod(i)
        row = await _row(conn, "SELECT format_type(%s::oid, %s)", (oid, modifier))
        columns.append(AnswerColumn((found.fname(i) or b"").decode(), str(row[0]), oid))
    return tuple(columns)


def _check_columns(endpoint: EndpointFile, columns: tuple[AnswerColumn, ...]) -> None:
    names = [c.name for c in columns]
    place = place_of(endpoint.place, endpoint.sql, endpoint.sql_line, 0)
    for name in names:
        if names.count(name) > 1 or name == "?column?":
            found = f"the answer has several columns '{name}'" if name != "?column?" else "a column has no name"
            raise EndpointRefused(found, hint="name every column, once: expression AS name", place=place)
    for name, _ in endpoint.paging.by if endpoint.paging else ():
        if name not in names:
            raise BadPaging(
                f"paging.by names '{name}', which is not selected ({', '.join(names)})",
                hint="add it to the SELECT",
                place=endpoint.place,
            )


async def _windows(
    conn: Connection, found: PGresult, by_oid: dict[int, str], results: Results
) -> tuple[tuple[str, str], ...]:
    windows = []
    for i in range(found.nfields):
        pipeline = by_oid.get(found.ftable(i), "")
        if not results.windows.get(pipeline):
            continue
        query = "SELECT max(attname::text) FROM pg_attribute WHERE attrelid = %s::oid AND attnum = %s"
        if (await _row(conn, query, (found.ftable(i), found.ftablecol(i))))[0] == results.windows[pipeline]:
            windows.append(((found.fname(i) or b"").decode(), pipeline))
    return tuple(windows)


async def _is_steady(conn: Connection, statements: Iterable[str]) -> bool:
    names = set()
    for text in statements:
        try:
            names |= _functions(sqlglot.parse_one(text, read="postgres"))
        except SqlglotError:
            return False
    if names & _UNSTEADY:
        return False
    query = (
        "SELECT count(*) FROM pg_proc p WHERE p.proname = ANY(%s)"
        " AND (p.provolatile = 'v' OR (p.provolatile = 's' AND p.pronamespace <> 'pg_catalog'::regnamespace))"
    )
    return bool((await _row(conn, query, (sorted(names),)))[0] == 0)


async def _row(conn: Connection, query: str, values: tuple[object, ...]) -> tuple[Any, ...]:
    """Returns the one row of an aggregate or an expression."""
    row: tuple[Any, ...] | None = await (await conn.execute(query.encode(), values)).fetchone()
    return row or ("",)


def _functions(tree: exp.Expr) -> set[str]:
    """Returns the functions' names; a literal that PostgreSQL reads as the present ('today') counts as `now`."""
    names = set()
    for node in tree.walk():
        if isinstance(node, exp.Literal) and node.is_string and _speaks_of_now(node.name):
            names.add("now")
        if isinstance(node, exp.Func):
            names.add(node.name.lower() if isinstance(node, exp.Anonymous) else node.sql_name().lower())
    return names


def _speaks_of_now(text: str) -> bool:
    return any(word in _TIME_WORDS for word in text.lower().split())


def session_settings(schema: str, timeout_ms: int) -> pgsql.Composed:
    """Returns the statement that makes a connection the API's: read only, bounded, UTC and ISO, our search path."""
    wanted = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(timeout_ms),
        "search_path": f'"{schema}", public',
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "1",
        "client_encoding": "UTF8",
        "jit": "off",
    }
    calls = [
        pgsql.SQL("set_config({}, {}, false)").format(pgsql.Literal(k), pgsql.Literal(v)) for k, v in wanted.items()
    ]
    return pgsql.SQL("SELECT {}").format(pgsql.SQL(", ").join(calls))
