"""Result tables: made from a plan, and changed together with the position the changes stand for.

`apply` does everything in one transaction: it proves the writer's token, moves the pipeline's position if it is still
the one the changes build on, writes upserts and deletes as absolute values, the windows, and notifies. So a crash
before or after loses nothing and counts nothing twice. Small changes travel as array parameters in one round trip;
large ones are copied as CSV made by Arrow, without a Python object per row.

A table has, unless the SELECT names columns so, `id`, `created_at` and `updated_at`, which survive updates; a unique
key in which NULL is a value like any other; the indexes asked for. Text is compared verbatim (collation C).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import sql
from psycopg.types.json import Jsonb

from penstock.engines.base import Changes
from penstock.errors import PenstockError
from penstock.log.model import ORIGIN, ChainPoint
from penstock.observe import emit
from penstock.observe.events import Step
from penstock.plan.model import Plan, ResultColumn
from penstock.sqltypes import SqlType
from penstock.store.connect import Connection, errors_explained
from penstock.store.errors import BadTableName, TableNotOurs

LONGEST_NAME = 63
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
SMALL_ROWS = 5000
"""Up to so many rows travel as parameters."""
_ADDED: Mapping[str, str] = {
    "id": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "created_at": "timestamptz NOT NULL DEFAULT now()",
    "updated_at": "timestamptz NOT NULL DEFAULT now()",
}


@dataclass(frozen=True)
class ResultTable:
    """Where a pipeline's result is kept, and what it looks like."""

    pipeline: str
    """The name of the pipeline's row in the store."""
    schema: str
    table: str
    columns: tuple[ResultColumn, ...]
    key: tuple[str, ...]
    indexes: tuple[tuple[tuple[str, bool], ...], ...] = ()

    @classmethod
    def of(cls, plan: Plan, schema: str) -> ResultTable:
        """Returns the table of a plan's pipeline. Raises BadTableName."""
        for name in (plan.name, *(column.name for column in plan.columns)):
            check_name(name)
        return cls(plan.name, schema, plan.name, plan.columns, plan.key, plan.indexes)

    @property
    def qualified(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def added(self) -> tuple[str, ...]:
        """The columns Penstock adds."""
        names = {column.name for column in self.columns}
        return tuple(name for name in _ADDED if name not in names)

    def type_of(self, column: str) -> SqlType:
        return next(each.type for each in self.columns if each.name == column)


@dataclass(frozen=True)
class PipelineRow:
    """A pipeline as the store knows it."""

    name: str
    builds: str | None
    """The pipeline whose table this result, built beside, will replace."""
    table_schema: str
    table_name: str
    generation: str
    """Names the engine's state: another generation, another state."""
    fingerprint: str
    plan: Mapping[str, Any]
    """The plan as JSON (dataclasses.asdict), for comparing and showing."""
    key: Sequence[str]
    window_column: str | None
    at: ChainPoint
    watermark: datetime | None
    as_of: datetime | None
    late_set_aside: int
    state: str
    error: Mapping[str, Any] | None
    error_since: datetime | None
    removed_at: datetime | None


def load_pipelines(connection: Connection) -> dict[str, PipelineRow]:
    """Returns all pipelines the store knows, those built beside included, by the name of their row."""
    query = (
        "SELECT name, builds, table_schema, table_name, generation::text, fingerprint, plan, key, window_column,"
        " position, coalesce(batch_id::text, ''), watermark, as_of, late_set_aside, state, error, error_since,"
        " removed_at FROM pipeline ORDER BY name"
    )
    with errors_explained():
        rows = connection.execute(query).fetchall()
    return {row[0]: _pipeline_row(row) for row in rows}


def _pipeline_row(row: tuple[Any, ...]) -> PipelineRow:
    values: list[Any] = [*row[:9], ChainPoint(row[9], row[10]), *row[11:]]
    return PipelineRow(*values)


def set_pipeline_state(tx: Connection, name: str, state: str, error: PenstockError | None = None) -> None:
    """Writes what the pipeline is doing, and why it is not. `error_since` stays while the same error goes on."""
    with errors_explained():
        told = Jsonb(error.as_json()) if error else None
        tx.execute(
            "UPDATE pipeline SET state = %(state)s, error = %(told)s, error_since = CASE WHEN %(told)s::jsonb IS NULL"
            " THEN NULL WHEN error->>'code' = %(told)s::jsonb->>'code' THEN error_since ELSE now() END"
            " WHERE name = %(name)s",
            {"state": state, "told": told, "name": name},
        )


def plan_as_json(plan: Plan) -> Jsonb:
    """Returns the plan as the store keeps it."""
    return Jsonb(json.loads(json.dumps(asdict(plan), default=str)))


def check_name(name: str) -> None:
    """Raises BadTableName for a name that PostgreSQL would cut off or keeps for itself."""
    if len(name.encode()) > LONGEST_NAME or not name or "\0" in name:
        msg = f"'{name}' has {len(name.encode())} bytes; a name in PostgreSQL has 1 to {LONGEST_NAME}"
        raise BadTableName(msg, hint="give it a shorter name")
    if name in SYSTEM_COLUMNS:
        msg = f"'{name}' is a column every PostgreSQL table has"
        raise BadTableName(msg, hint="give the column another name with AS")


def create(tx: Connection, result: ResultTable) -> None:
    """Creates the table with its key and indexes. Raises TableNotOurs when something of its name is there."""
    with errors_explained(f"table {result.schema}.{result.table}"):
        refuse_foreign(tx, result.schema, result.table)
        columns = [added_column(name) for name in result.added if name == "id"]
        columns += [column_definition(column) for column in result.columns]
        columns += [added_column(name) for name in result.added if name != "id"]
        tx.execute(sql.SQL("CREATE TABLE {} ({})").format(result.qualified, sql.SQL(", ").join(columns)))
        create_key(tx, result)
        for index in result.indexes:
            create_index(tx, result, index)


def added_column(name: str) -> sql.Composed:
    """Returns the definition of a column that Penstock adds."""
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_ADDED[name]))


def column_definition(column: ResultColumn) -> sql.Composed:
    collate = ' COLLATE "C"' if column.type.kind == "text" else ""
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type.postgres + collate))


def refuse_foreign(tx: Connection, schema: str, table: str) -> None:
    """Raises TableNotOurs when a table, view or the like is called so."""
    row = tx.execute(
        "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index'"
        " WHEN 'S' THEN 'sequence' ELSE 'table' END FROM pg_class WHERE relname = %s"
        " AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)",
        [table, schema],
    ).fetchone()
    if row:
        msg = f"there is a {row[0]} {schema}.{table} that Penstock did not make"
        raise TableNotOurs(msg, hint="rename it or the pipeline, or keep results in another schema")


def create_key(tx: Connection, result: ResultTable) -> None:
    """Creates the unique key; without one the table can hold one row."""
    name = sql.Identifier(index_name(result.table, result.key or ("single",), "key"))
    if result.key:
        key = sql.SQL(", ").join(map(sql.Identifier, result.key))
        add = "ALTER TABLE {} ADD CONSTRAINT {} UNIQUE NULLS NOT DISTINCT ({})"
        tx.execute(sql.SQL(add).format(result.qualified, name, key))
    else:
        tx.execute(sql.SQL("CREATE UNIQUE INDEX {} ON {} ((true))").format(name, result.qualified))


def create_index(tx: Connection, result: ResultTable, index: Sequence[tuple[str, bool]]) -> None:
    """Creates an index on (column, descending) pairs."""
    parts = [sql.SQL("{} DESC" if descending else "{}").format(sql.Identifier(column)) for column, descending in index]
    name = sql.Identifier(index_name(result.table, tuple(f"{c}_desc" if d else c for c, d in index), "idx"))
    tx.execute(sql.SQL("CREATE INDEX {} ON {} ({})").format(name, result.qualified, sql.SQL(", ").join(parts)))


def index_name(table: str, columns: Sequence[str], kind: str) -> str:
    """Returns the name of an index: the same for the same table and columns, at most 63 bytes."""
    name = f"{table}_{'_'.join(columns)}_{kind}"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    room = LONGEST_NAME - len(digest) - len(kind) - 2
    return f"{name.encode()[:room].decode(errors='ignore')}_{digest}_{kind}"


def apply(connection: Connection, result: ResultTable, changes: Changes, previous: ChainPoint, token: str) -> None:
    """Applies one step's changes and moves the pipeline from `previous` to `changes.at`, in one transaction.

    Within a transaction of the caller it is a part of that. Raises PositionMoved when the store is elsewhere, LeaseLost
    when another run is the writer, ValueTooLarge, StoreAway, DiskFull, StoreRefused; then nothing has changed.
    """
    if max(changes.upserts.num_rows, changes.deletes.num_rows, changes.windows.num_rows) <= SMALL_ROWS:
        with errors_explained(f"pipeline {result.pipeline}"), connection.pipeline(), connection.transaction():
            _move(connection, result, changes, previous, token)
            for upserts in _parameters(changes.upserts, result):
                _upsert(connection, result, upserts)
            _finish(connection, result, changes)
    else:
        with errors_explained(f"pipeline {result.pipeline}"), connection.transaction():
            _move(connection, result, changes, previous, token)
            _copy(connection, result, changes.upserts, direct=previous == ORIGIN)
            _finish(connection, result, changes)
    emit(Step("store.applied", result.pipeline))


def _move(connection: Connection, result: ResultTable, changes: Changes, previous: ChainPoint, token: str) -> None:
    connection.execute("SELECT check_token(%s)", [token])
    ids = (previous.batch_id or None, changes.at.batch_id or None)
    connection.execute(
        "SELECT move_pipeline(%s, %s, %s, %s, %s, %s, %s)",
        [result.pipeline, previous.position, ids[0], changes.at.position, ids[1], changes.watermark,
         changes.late_set_aside],
    )  # fmt: skip


def _finish(connection: Connection, result: ResultTable, changes: Changes) -> None:
    """Deletes, windows, and the word to whoever listens."""
    for start in range(0, changes.deletes.num_rows, SMALL_ROWS):
        _delete(connection, result, changes.deletes.slice(start, SMALL_ROWS))
    for start in range(0, changes.windows.num_rows, SMALL_ROWS):
        _put_windows(connection, result, changes.windows.slice(start, SMALL_ROWS))
    connection.execute("SELECT pg_notify(current_schema(), %s)", [result.pipeline])


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Returns the values as PostgreSQL reads them."""
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts


def _parameters(rows: pa.Table, result: ResultTable) -> Iterator[list[list[str | None]]]:
    """Yields the rows' columns as texts; nothing for no rows."""
    if rows.num_rows:
        yield [_texts(rows[column.name]) for column in result.columns]


def _unnest(columns: Sequence[ResultColumn]) -> tuple[sql.Composed, sql.Composed]:
    """Returns the select list with casts, and the FROM item, of rows that come as one text array per column."""
    names = [sql.Identifier(f"c{i}") for i in range(len(columns))]
    casts = [sql.SQL("u.{}::{}").format(n, sql.SQL(c.type.postgres)) for n, c in zip(names, columns, strict=True)]
    arrays = sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(columns))
    source = sql.SQL("unnest({}) AS u({})").format(arrays, sql.SQL(", ").join(names))
    return sql.SQL(", ").join(casts), source


def escaped(*names: str) -> sql.SQL:
    """Returns an identifier for a statement with parameters, where a percent sign has a meaning."""
    return sql.SQL(sql.Identifier(*names).as_string().replace("%", "%%"))


def _upsert(connection: Connection, result: ResultTable, parameters: list[list[str | None]]) -> None:
    casts, source = _unnest(result.columns)
    rows = sql.SQL("SELECT {} FROM {}").format(casts, source)
    connection.execute(insert_or_update(result, rows), parameters)


def insert_or_update(result: ResultTable, rows: sql.Composed) -> sql.Composed:
    """Returns the statement that writes `rows` (all result columns, in order) into the table, touching what differs.

    To be executed with parameters, or an empty list of them: percent signs in names are doubled.
    """
    names = [escaped(column.name) for column in result.columns]
    others = [escaped(column.name) for column in result.columns if column.name not in result.key]
    target = sql.SQL(", ").join(map(escaped, result.key)) if result.key else sql.SQL("(true)")
    if others:
        sets: list[sql.Composable] = [sql.SQL("{0} = excluded.{0}").format(name) for name in others]
        if "updated_at" in result.added:
            sets.append(sql.SQL("updated_at = now()"))
        mine = sql.SQL(", ").join(sql.SQL("t.{}").format(name) for name in others)
        new = sql.SQL(", ").join(sql.SQL("excluded.{}").format(name) for name in others)
        action = sql.SQL("UPDATE SET {} WHERE ROW({}) IS DISTINCT FROM ROW({})").format(
            sql.SQL(", ").join(sets), mine, new
        )
    else:
        action = sql.SQL("NOTHING").format()
    return sql.SQL("INSERT INTO {} AS t ({}) {} ON CONFLICT ({}) DO {}").format(
        escaped(result.schema, result.table), sql.SQL(", ").join(names), rows, target, action
    )


def _copy(connection: Connection, result: ResultTable, rows: pa.Table, *, direct: bool) -> None:
    """Copies many rows; into the table itself when it is `direct` and the table empty, else through a temporary one."""
    if not rows.num_rows:
        return
    names = [column.name for column in result.columns]
    if direct and not connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(result.qualified)).fetchone():
        copy_in(connection, result.qualified, names, rows)
        # The first queries must not wait for autovacuum to learn how big the table is.
        connection.execute(sql.SQL("ANALYZE {}").format(result.qualified))
        return
    beside = sql.Identifier("penstock_upserts")
    definitions = sql.SQL(", ").join(column_definition(column) for column in result.columns)
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(beside, definitions))
    copy_in(connection, beside, names, rows)
    chosen = sql.SQL(", ").join(map(escaped, names))
    connection.execute(insert_or_update(result, sql.SQL("SELECT {} FROM {}").format(chosen, beside)), [])
    connection.execute(sql.SQL("DROP TABLE {}").format(beside))


def copy_in(connection: Connection, table: sql.Identifier, names: Sequence[str], rows: pa.Table) -> None:
    """Copies rows into a table, as CSV in pieces, so that memory holds one piece."""
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, columns)
    options = pa.csv.WriteOptions(include_header=False, quoting_style="all_valid")
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in rows.select(list(names)).to_batches(max_chunksize=20_000):
            sink = pa.BufferOutputStream()
            pa.csv.write_csv(_csv_safe(batch), sink, options)
            copy.write(memoryview(sink.getvalue()))


def _csv_safe(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns `batch` with nested and other types that Arrow writes no CSV of as text."""
    arrays = [
        array if pa.types.is_primitive(array.type) or pa.types.is_string(array.type) or pa.types.is_decimal(array.type)
        else array.cast(pa.string())
        for array in batch.columns
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _delete(connection: Connection, result: ResultTable, keys: pa.Table) -> None:
    """Deletes rows by key. Keys are grouped by which of their columns are NULL, so that the index can be used."""
    if not result.key:
        if keys.num_rows:
            connection.execute(sql.SQL("DELETE FROM {}").format(result.qualified))
        return
    columns = [ResultColumn(name, result.type_of(name)) for name in result.key]
    for pattern in itertools.product((False, True), repeat=len(columns)):
        chosen = keys
        for column, null in zip(columns, pattern, strict=True):
            if null and not chosen[column.name].null_count:
                chosen = chosen.slice(0, 0)
            elif chosen[column.name].null_count:
                is_null = pc.is_null(chosen[column.name])
                chosen = chosen.filter(is_null if null else pc.invert(is_null))
        if chosen.num_rows:
            _delete_pattern(connection, result, columns, pattern, chosen)


def _delete_pattern(
    connection: Connection,
    result: ResultTable,
    columns: Sequence[ResultColumn],
    pattern: Sequence[bool],
    keys: pa.Table,
) -> None:
    given = [column for column, null in zip(columns, pattern, strict=True) if not null]
    nulls = [column for column, null in zip(columns, pattern, strict=True) if null]
    tests = [sql.SQL("t.{} IS NULL").format(escaped(column.name)) for column in nulls]
    for i, column in enumerate(given):
        test = sql.SQL("t.{} = u.{}::{}")
        tests.append(test.format(escaped(column.name), sql.Identifier(f"c{i}"), sql.SQL(column.type.postgres)))
    where = sql.SQL(" AND ").join(tests)
    using = sql.SQL("USING {}").format(_unnest(given)[1]) if given else sql.SQL("")
    table = escaped(result.schema, result.table)
    statement = sql.SQL("DELETE FROM {} t {} WHERE {}").format(table, using, where)
    connection.execute(statement, [_texts(keys[column.name]) for column in given])


def _put_windows(connection: Connection, result: ResultTable, windows: pa.Table) -> None:
    connection.execute(
        "INSERT INTO pipeline_window AS w (pipeline, window_start, window_end, restated, set_aside)"
        " SELECT %s, s, e::timestamptz, r::bigint, a::bigint"
        " FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS u(s, e, r, a)"
        " ON CONFLICT (pipeline, window_start) DO UPDATE SET window_end = excluded.window_end,"
        " restated = excluded.restated, set_aside = excluded.set_aside"
        " WHERE (w.window_end, w.restated, w.set_aside)"
        " IS DISTINCT FROM (excluded.window_end, excluded.restated, excluded.set_aside)",
        [result.pipeline, *(_texts(windows[n]) for n in ("window_start", "window_end", "restated", "set_aside"))],
    )
