"""`penstock query`: read-only SQL over the results, as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from psycopg import sql as psql

from penstock.cli.common import (
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    WrongUsage,
    choose,
    common,
    load_settings,
    print_table,
)
from penstock.errors import PenstockError
from penstock.sqltypes import DOUBLE, SqlType, decimal
from penstock.store.connect import Connection, Store, explain

FORMATS = ("table", "csv", "json", "parquet")
CHUNK = 10_000
DECLARE = "DECLARE answer NO SCROLL CURSOR FOR "
AS_JSON = ("SELECT row_to_json(q)::text FROM (\n", "\n) q")
_HINTS = {
    "": "write one SELECT in PostgreSQL's SQL; `penstock store url` gives a connection string for anything else",
    "08P01": "write values instead of $1, $2",
    "42703": "`penstock query 'TABLE name'` shows a table's columns",
    "42P01": "`penstock status` lists the result tables",
}
"""By SQLSTATE, where PostgreSQL has none of its own."""
_ARROW = {
    "int2": SqlType("smallint"), "int4": SqlType("integer"), "int8": SqlType("bigint"), "float4": DOUBLE,
    "float8": DOUBLE, "bool": SqlType("boolean"), "date": SqlType("date"), "time": SqlType("time"),
    "timestamp": SqlType("local_timestamp"), "timestamptz": SqlType("timestamp"),
}  # fmt: skip


class QueryRefused(PenstockError):
    """PostgreSQL refused the SQL given to `penstock query`: its message is shown. Only one reading statement over the
    results is run; `penstock store url` gives a connection string for anything else."""

    code = "PEN903"
    title = "the query was refused"


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT in PostgreSQL's SQL over the result tables.")],
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ask the results, read-only: table, CSV, JSON or Parquet to stdout."""
    options = common(project, env, as_json, quiet)
    form = choose(form, "format", FORMATS)
    form = "json" if options.json and form == "table" else form
    if form == "parquet" and sys.stdout.isatty():
        found = "Parquet is not for terminals"
        raise WrongUsage(found, hint="send it to a file: penstock query ... --format parquet > answer.parquet")
    with (
        Store.open(load_settings(options), create=False) as store,
        store.connect("penstock query", results=True, read_only=True) as connection,
    ):
        try:
            _WRITERS[form](connection, sql.strip().rstrip(";"))
        except psycopg.Error as error:
            before = len(DECLARE) + (len(AS_JSON[0]) if form == "json" else 0)
            raise _explained(error, store, before) from error


def _explained(error: psycopg.Error, store: Store, before: int) -> PenstockError:
    """What is wrong with the statement is its writer's; what is wrong with the connection is the store's. `before`: the
    characters that were put before the statement."""
    state = error.sqlstate or ""
    lost = state.startswith(("08", "57P", "53")) and state != "08P01"
    if lost or (not state and isinstance(error, psycopg.OperationalError)):
        return explain(error, store)
    text = error.diag.message_primary or str(error).strip()
    position = int(error.diag.statement_position or 0) - before
    place = f", at character {position}" if position > 0 else ""
    return QueryRefused(f"{text}{place}", hint=error.diag.message_hint or _HINTS.get(state, _HINTS[""]))


def _cursor(connection: Connection, sql: str) -> psycopg.Cursor[Any]:
    """Runs the statement read-only; rows come in chunks, so an answer of any size passes."""
    connection.execute("BEGIN READ ONLY")
    cursor = connection.cursor()
    # Prepared, as a prepared statement is one statement: a second one behind a semicolon is refused, not run.
    cursor.execute((DECLARE + sql).encode(), prepare=True)
    cursor.execute(psql.SQL("FETCH {} FROM answer").format(CHUNK))
    return cursor


def _chunks(cursor: psycopg.Cursor[Any]) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchall():
        yield rows
        cursor.execute(psql.SQL("FETCH {} FROM answer").format(CHUNK))


def _names(cursor: psycopg.Cursor[Any]) -> list[str]:
    return [column.name for column in cursor.description or ()]


def _write_table(connection: Connection, sql: str) -> None:
    cursor = _cursor(connection, sql)
    names = _names(cursor)
    rows = [row for chunk in _chunks(cursor) for row in chunk]
    right = [n for i, n in enumerate(names) if rows and isinstance(rows[0][i], int | Decimal | float)]
    print_table(names, ([_text(v) for v in row] for row in rows), right)


def _text(value: object) -> str | None:
    """A value as PostgreSQL prints it."""
    if isinstance(value, bool):
        return "t" if value else "f"
    return None if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def _write_csv(connection: Connection, sql: str) -> None:
    cursor = _cursor(connection, sql)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_names(cursor))
    for chunk in _chunks(cursor):
        writer.writerows([_text(v) for v in row] for row in chunk)


def _write_json(connection: Connection, sql: str) -> None:
    """One array of objects; numbers with all the digits PostgreSQL has."""
    cursor = _cursor(connection, sql.join(AS_JSON))
    before = "["
    for chunk in _chunks(cursor):
        for (row,) in chunk:
            typer.echo(f"{before}{row}", nl=False)
            before = ",\n "
    typer.echo("[]" if before == "[" else "]")


def _write_parquet(connection: Connection, sql: str) -> None:
    cursor = _cursor(connection, sql)
    schema = pa.schema([(c.name, _arrow(c)) for c in cursor.description or ()])
    with pq.ParquetWriter(pa.PythonFile(sys.stdout.buffer, "w"), schema) as writer:
        for chunk in _chunks(cursor):
            writer.write_table(_arrow_table(chunk, schema))


def _arrow(column: psycopg.Column) -> pa.DataType:
    """A numeric without precision gets 38 digits, 9 of them behind the point; what has no Arrow type is text."""
    if column.type_display.startswith("numeric"):
        return decimal(min(column.precision or 38, 38), (column.scale or 0) if column.precision else 9).arrow
    found = _ARROW.get(_type_name(column))
    return found.arrow if found else pa.string()


def _type_name(column: psycopg.Column) -> str:
    info = psycopg.adapters.types.get(column.type_code)
    return info.name if info else ""


def _arrow_table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    arrays = []
    for i, field in enumerate(schema):
        values = [row[i] for row in rows]
        if field.type == pa.string():
            values = [None if v is None else str(v) for v in values]
        arrays.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json, "parquet": _write_parquet}
