"""What PostgreSQL says about an endpoint's statement: its columns, the results it reads, whether its answer is steady.

Learned by preparing the statement inside a transaction and looking at the locks that took: so views count with what
they read, and nothing is executed. An answer is steady when it depends on versioned results and parameters alone; only
such answers are cached and labelled with the data's version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg
import sqlglot
from psycopg.pq.abc import PGresult
from sqlglot import exp
from sqlglot.errors import SqlglotError

from penstock.errors import PenstockError
from penstock.project.model import EndpointFile
from penstock.serve.errors import BadPaging, EndpointRefused, ResultNotReady
from penstock.serve.link import Link
from penstock.serve.sql import literal, numbered, place_of, quoted, source_offset
from penstock.serve.values import postgres_type

_TIME_WORDS = ("now", "today", "tomorrow", "yesterday")
_UNSTEADY = {
    "now", "transaction_timestamp", "statement_timestamp", "clock_timestamp", "timeofday", "age", "random",
    "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "nextval", "currval", "lastval", "setval",
    "txid_current", "current_setting", "set_config", "currenttimestamp", "currentdate", "currenttime",
    "currentdatetime", "localtime", "localtimestamp", "rand", "randn", "uuid", "current_timestamp", "current_date",
    "current_time",
}  # fmt: skip


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


async def describe(link: Link, endpoint: EndpointFile, results: Results) -> Description:
    """Asks the store about `endpoint`. `link` is not in a transaction; its search path begins with the schema.

    Raises ResultNotReady when a table or column is not there yet, EndpointRefused for what PostgreSQL does
    not accept, BadPaging when the paging columns are not selected, StoreLost.
    """
    types = {p.name: postgres_type(p.schema) for p in endpoint.parameters}
    statement, order = numbered(endpoint.sql, types)
    await link.ask("BEGIN READ ONLY")
    try:
        found = await link.describe(statement.encode())
        relations = await _locked(link)
        columns = await _columns(link, found)
        _check_columns(endpoint, columns)
        pipelines = {r.name: r.oid for r in relations if r.schema == results.schema and r.name in results.windows}
        others = [r for r in relations if r.name not in pipelines and r.kind != "v"]
        views = [r.definition for r in relations if r.kind == "v"]
        steady = not others and await _is_steady(link, [endpoint.sql, *views])
        windows = await _windows(link, found, {oid: name for name, oid in pipelines.items()}, results)
    except psycopg.Error as error:
        raise refused(endpoint, types, error) from error
    finally:
        if link.usable:
            await link.ask("ROLLBACK")
    return Description(statement, order, columns, tuple(sorted(pipelines)), windows, steady)


def refused(endpoint: EndpointFile, types: Mapping[str, str], error: psycopg.Error) -> PenstockError:
    """Returns PostgreSQL's refusal as an error with its place in the endpoint's file."""
    told = error.diag
    message, hint = told.message_primary or str(error), told.message_hint or ""
    offset = source_offset(endpoint.sql, types, int(told.statement_position or 1) - 1)
    place = place_of(endpoint.place, endpoint.sql, endpoint.sql_line, offset)
    missing = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)
    if isinstance(error, missing):
        return ResultNotReady(message, hint=hint or "its pipeline has not delivered yet", place=place)
    return EndpointRefused(message, hint=hint or "mend the statement at this place", place=place)


@dataclass(frozen=True)
class _Relation:
    oid: int
    name: str
    schema: str
    kind: str
    definition: str
    """A view's SQL."""


async def _locked(link: Link) -> list[_Relation]:
    """Returns the relations that this transaction's statement reads."""
    rows = await link.ask(
        "SELECT c.oid, c.relname, n.nspname, c.relkind,"
        "       CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) ELSE '' END"
        " FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm', 'f', 'v')"
        "   AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') ORDER BY 3, 2"
    )
    return [_Relation(int(row[0] or 0), *(part or "" for part in row[1:5])) for row in rows]


async def _columns(link: Link, found: PGresult) -> tuple[AnswerColumn, ...]:
    columns = []
    for i in range(found.nfields):
        type_name = await _value(link, "SELECT format_type($1::oid, $2::int)", found.ftype(i), found.fmod(i))
        columns.append(AnswerColumn((found.fname(i) or b"").decode(), type_name, found.ftype(i)))
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
    link: Link, found: PGresult, by_oid: Mapping[int, str], results: Results
) -> tuple[tuple[str, str], ...]:
    windows = []
    query = "SELECT max(attname::text) FROM pg_attribute WHERE attrelid = $1::oid AND attnum = $2::int"
    for i in range(found.nfields):
        pipeline = by_oid.get(found.ftable(i), "")
        window = results.windows.get(pipeline)
        if window and await _value(link, query, found.ftable(i), found.ftablecol(i)) == window:
            windows.append(((found.fname(i) or b"").decode(), pipeline))
    return tuple(windows)


async def _is_steady(link: Link, statements: Iterable[str]) -> bool:
    names = set()
    for text in statements:
        try:
            names |= _functions(sqlglot.parse_one(text, read="postgres"))
        except SqlglotError:
            return False
    if names & _UNSTEADY:
        return False
    query = (
        "SELECT count(*) FROM pg_proc p WHERE p.proname IN (SELECT json_array_elements_text($1::json))"
        " AND (p.provolatile = 'v' OR (p.provolatile = 's' AND p.pronamespace <> 'pg_catalog'::regnamespace))"
    )
    return await _value(link, query, json.dumps(sorted(names))) == "0"


async def _value(link: Link, query: str, *values: object) -> str:
    """Returns the one value of an aggregate or an expression, '' for NULL."""
    rows = await link.ask(query, *map(str, values))
    return rows[0][0] or ""


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


def session_settings(schema: str, timeout_ms: int) -> str:
    """Returns the statement that makes a connection the API's: read only, bounded, UTC and ISO, our search path."""
    wanted = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(timeout_ms),
        "search_path": f"{quoted(schema)}, public",
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "1",
        "client_encoding": "UTF8",
        "jit": "off",
    }
    calls = (f"set_config({literal(name)}, {literal(value)}, false)" for name, value in wanted.items())
    return f"SELECT {', '.join(calls)}"
