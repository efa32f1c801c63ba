"""A changed folder: what the store knows of each pipeline against what the folder now says.

A pipeline whose planned meaning changed is built beside, as a row and a table of its own (`begin_build`), and applied
to like any other; when it has caught up, `replace` lets it take over in one transaction: the table stays the same
table, so that its grants and dependent views stay; columns are added, retyped and dropped, and the difference of rows
is applied. What stands in the way (a view on a column that would go) is found before by `obstacles`. A removed
pipeline's table stays until `drop`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes

from psycopg import sql

from penstock.plan.model import Plan, ResultColumn
from penstock.sqltypes import SqlType
from penstock.store.connect import Connection, errors_explained
from penstock.store.errors import CannotReplace
from penstock.store.results import (
    PipelineRow,
    ResultTable,
    added_column,
    column_definition,
    create,
    create_index,
    create_key,
    escaped,
    index_name,
    insert_or_update,
    load_pipelines,
    plan_as_json,
    refuse_foreign,
)


@dataclass(frozen=True)
class PipelineChange:
    """One pipeline, folder against store."""

    name: str
    kind: str
    """`new`, `same`, `changed`, `removed`; `missing`: the table was dropped by hand, it is built again from the log."""
    row: PipelineRow | None
    plan: Plan | None
    renamed_from: str | None = None
    """The row is still under this name: call `rename` first."""
    details: tuple[str, ...] = ()
    """What changes of the table, one sentence each."""


def compare(
    connection: Connection, plans: Mapping[str, Plan], schema: str, renamed: Mapping[str, str] | None = None
) -> list[PipelineChange]:
    """Returns what differs, by name. `renamed` maps new names to old ones. Those built beside are left out."""
    rows = {name: row for name, row in load_pipelines(connection).items() if row.builds is None}
    found = []
    for name, plan in sorted(plans.items()):
        old = (renamed or {}).get(name)
        taken = old if old and name not in rows and old in rows and old not in plans else None
        row = rows.pop(taken or name, None)
        kind, details = _kind(connection, row, plan, schema)
        found.append(PipelineChange(name, kind, row, plan, taken, details))
    found += [PipelineChange(name, "removed", row, None) for name, row in rows.items()]
    return sorted(found, key=lambda change: change.name)


def _kind(connection: Connection, row: PipelineRow | None, plan: Plan, schema: str) -> tuple[str, tuple[str, ...]]:
    if row is None:
        return "new", (f"table {schema}.{plan.name} is made",)
    if not _exists(connection, row.table_schema, row.table_name):
        return "missing", (f"table {row.table_schema}.{row.table_name} is gone, it is made again",)
    shape, indexes = shape_changes(row, plan), index_changes(row, plan)
    if row.fingerprint != plan.fingerprint or shape:
        return "changed", (*(shape or ["its rows are computed anew"]), *indexes)
    return "same", tuple(indexes)


def _exists(connection: Connection, schema: str, table: str) -> bool:
    found = connection.execute(
        "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        [schema, table],
    ).fetchone()
    return found is not None


def shape_changes(row: PipelineRow, plan: Plan) -> list[str]:
    """Returns how columns and key of the row's table differ from the plan's, one sentence each."""
    old, new = _old_columns(row), {column.name: column.type for column in plan.columns}
    told = [f"column {name} {kind} is added" for name, kind in new.items() if name not in old]
    told += [f"column {name} is dropped" for name in old if name not in new]
    told += [f"column {n} becomes {new[n]} (was {old[n]})" for n in old if n in new and new[n] != old[n]]
    if tuple(row.key) != plan.key:
        told.append(f"its key becomes ({', '.join(plan.key)}), ids begin anew")
    return told


def index_changes(row: PipelineRow, plan: Plan) -> list[str]:
    """Returns how the indexes asked for differ, one sentence each."""
    before, after = set(_old_indexes(row)), set(plan.indexes)
    told = [f"index ({_shown(index)}) is added" for index in sorted(after - before)]
    return told + [f"index ({_shown(index)}) is dropped" for index in sorted(before - after)]


def _shown(index: Sequence[tuple[str, bool]]) -> str:
    return ", ".join(f"{column} desc" if descending else column for column, descending in index)


def _old_columns(row: PipelineRow) -> dict[str, SqlType]:
    return {c["name"]: SqlType(**c["type"]) for c in row.plan["columns"]}


def _old_indexes(row: PipelineRow) -> tuple[tuple[tuple[str, bool], ...], ...]:
    return tuple(tuple((column, descending) for column, descending in index) for index in row.plan["indexes"])


def table_of(row: PipelineRow) -> ResultTable:
    """Returns the table of a pipeline the store knows."""
    columns = tuple(ResultColumn(name, kind) for name, kind in _old_columns(row).items())
    return ResultTable(row.name, row.table_schema, row.table_name, columns, tuple(row.key), _old_indexes(row))


def register(tx: Connection, plan: Plan, schema: str) -> ResultTable:
    """Makes the table and the row of a new pipeline, at ORIGIN. Raises TableNotOurs, BadTableName, StoreAway."""
    result = ResultTable.of(plan, schema)
    create(tx, result)
    _insert_row(tx, result, plan, builds=None)
    return result


def remake(tx: Connection, plan: Plan, schema: str) -> ResultTable:
    """Makes the table of a pipeline again whose table was dropped; it begins at ORIGIN."""
    abandon_builds(tx, plan.name)
    with errors_explained():
        tx.execute("DELETE FROM pipeline WHERE name = %s", [plan.name])
    return register(tx, plan, schema)


def _insert_row(tx: Connection, result: ResultTable, plan: Plan, builds: str | None) -> None:
    with errors_explained():
        tx.execute(
            "INSERT INTO pipeline (name, builds, table_schema, table_name, generation, fingerprint, plan, key,"
            " window_column) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                result.pipeline,
                builds,
                result.schema,
                result.table,
                uuid.uuid4(),
                plan.fingerprint,
                plan_as_json(plan),
                list(plan.key),
                plan.window.column if plan.window else None,
            ],
        )


def begin_build(tx: Connection, plan: Plan, own_schema: str) -> ResultTable:
    """Begins to build the changed pipeline beside the one that serves, or goes on with a build of the same plan.

    The result's row is another one (`pipeline` of the returned table), its table lies in Penstock's own schema, and it
    is applied to like any other.
    """
    builds = [row for row in load_pipelines(tx).values() if row.builds == plan.name]
    for row in builds:
        if row.fingerprint == plan.fingerprint and _exists(tx, row.table_schema, row.table_name):
            return table_of(row)
        abandon_build(tx, row)
    ending = uuid.uuid4().hex[:12]
    table = ResultTable.of(plan, own_schema)
    result = with_changes(table, pipeline=f"{plan.name}~{ending}", table=f"build_{ending}", indexes=())
    create(tx, result)
    _insert_row(tx, result, plan, builds=plan.name)
    return result


def abandon_builds(tx: Connection, name: str) -> None:
    """Throws away what was built beside the pipeline `name`: it is not to replace it any more."""
    for row in load_pipelines(tx).values():
        if row.builds == name:
            abandon_build(tx, row)


def abandon_build(tx: Connection, row: PipelineRow) -> None:
    """Throws a result that was built beside away."""
    with errors_explained():
        tx.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(row.table_schema, row.table_name)))
        tx.execute("DELETE FROM pipeline WHERE name = %s", [row.name])


def obstacles(connection: Connection, row: PipelineRow, plan: Plan) -> list[str]:
    """Returns what keeps the plan from taking over the row's table, one sentence each: views on columns that change."""
    old, new = _old_columns(row), {column.name: column.type for column in plan.columns}
    touched = [name for name in old if new.get(name) != old[name]]
    with errors_explained():
        found = connection.execute(
            "SELECT DISTINCT a.attname, v.oid::regclass::text FROM pg_depend d"
            " JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass"
            " JOIN pg_class v ON v.oid = r.ev_class"
            " JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
            " WHERE d.refobjid = to_regclass(%s) AND d.refclassid = 'pg_class'::regclass AND a.attname = ANY(%s)"
            " AND v.oid <> d.refobjid ORDER BY 1, 2",
            [_regclass(row), touched],
        ).fetchall()
    verb = {name: f"becomes {new[name]}" if name in new else "goes" for name in touched}
    return [f"column {name} {verb[name]}, and the view {view} uses it" for name, view in found]


def _regclass(row: PipelineRow) -> str:
    return sql.Identifier(row.table_schema, row.table_name).as_string()


def replace(tx: Connection, build: str, plan: Plan, token: str) -> ResultTable:
    """Lets the build (its row's name) take over the table of the pipeline it builds, in the transaction of the caller.

    The table keeps its identity, grants and dependent views; rows whose key stays keep `id` and `created_at`. The row
    gets the build's position, windows and generation. Raises CannotReplace, LeaseLost.
    """
    rows = load_pipelines(tx)
    new, old = rows[build], rows[plan.name]
    standing = obstacles(tx, old, plan)
    if standing:
        msg = f"table {old.table_schema}.{old.table_name}: {'; '.join(standing)}"
        raise CannotReplace(msg, hint="drop those views first, or give the pipeline another name")
    result = ResultTable.of(plan, old.table_schema)
    beside = sql.Identifier(new.table_schema, new.table_name)
    with errors_explained(f"pipeline {plan.name}"), tx.transaction():
        tx.execute("SELECT check_token(%s)", [token])
        tx.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(result.qualified))
        _reshape(tx, table_of(old), result)
        _apply_difference(tx, result, beside)
        _take_over(tx, old, new)
        tx.execute(sql.SQL("DROP TABLE {}").format(beside))
        tx.execute("SELECT pg_notify(current_schema(), %s)", [plan.name])
    return result


def _reshape(tx: Connection, old: ResultTable, new: ResultTable) -> None:
    """Gives the old table the columns, key and indexes of the new one."""
    key_changes = old.key != new.key
    rekeyed = key_changes or any(old.type_of(name) != new.type_of(name) for name in new.key)
    for index in set(old.indexes) - set(new.indexes):
        _drop_index(tx, old, index)
    if rekeyed:
        tx.execute(sql.SQL("DELETE FROM {}").format(new.qualified))
    if key_changes:
        _drop_key(tx, old)
    before = {column.name: column.type for column in old.columns}
    for name in before.keys() - {column.name for column in new.columns}:
        tx.execute(_alter(new, sql.SQL("DROP COLUMN {}").format(sql.Identifier(name))))
    for name in set(new.added) - set(old.added):
        tx.execute(_alter(new, sql.SQL("ADD COLUMN {}").format(added_column(name))))
    for column in new.columns:
        if column.name not in before:
            _add_column(tx, old, new, column)
        elif before[column.name] != column.type:
            _retype(tx, new, column)
    if key_changes:
        create_key(tx, new)
    for index in new.indexes:
        if index not in old.indexes:
            create_index(tx, new, index)


def _alter(result: ResultTable, what: sql.Composed) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} {}").format(result.qualified, what)


def _add_column(tx: Connection, old: ResultTable, new: ResultTable, column: ResultColumn) -> None:
    if column.name in old.added:
        # A column of that name in the SELECT wins over ours.
        tx.execute(_alter(new, sql.SQL("DROP COLUMN {}").format(sql.Identifier(column.name))))
    tx.execute(_alter(new, sql.SQL("ADD COLUMN {}").format(column_definition(column))))


def _retype(tx: Connection, result: ResultTable, column: ResultColumn) -> None:
    """Changes a column's type. Its values come from the build afterwards, so that none has to be converted."""
    kind = sql.SQL(column.type.postgres + (' COLLATE "C"' if column.type.kind == "text" else ""))
    what = sql.SQL("ALTER COLUMN {} TYPE {} USING NULL::{}")
    tx.execute(_alter(result, what.format(sql.Identifier(column.name), kind, sql.SQL(column.type.postgres))))


def _drop_index(tx: Connection, old: ResultTable, index: Sequence[tuple[str, bool]]) -> None:
    name = index_name(old.table, tuple(f"{c}_desc" if d else c for c, d in index), "idx")
    tx.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(old.schema, name)))


def _drop_key(tx: Connection, old: ResultTable) -> None:
    name = index_name(old.table, old.key or ("single",), "key")
    if old.key:
        tx.execute(_alter(old, sql.SQL("DROP CONSTRAINT IF EXISTS {}").format(sql.Identifier(name))))
    else:
        tx.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(old.schema, name)))


def _apply_difference(tx: Connection, result: ResultTable, beside: sql.Identifier) -> None:
    """Makes the table's rows those of the build, touching only those that differ."""
    if result.key:
        # Rows as text compare NULLs as equal, exactly (types are the same), and can be hashed.
        mine = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in result.key)
        theirs = sql.SQL(", ").join(sql.SQL("b.{}").format(sql.Identifier(name)) for name in result.key)
        gone = "DELETE FROM {} t WHERE NOT EXISTS (SELECT FROM {} b WHERE ROW({})::text = ROW({})::text)"
        tx.execute(sql.SQL(gone).format(result.qualified, beside, theirs, mine))
    else:
        tx.execute(sql.SQL("DELETE FROM {} WHERE NOT EXISTS (SELECT FROM {})").format(result.qualified, beside))
    names = sql.SQL(", ").join(escaped(column.name) for column in result.columns)
    tx.execute(insert_or_update(result, sql.SQL("SELECT {} FROM {}").format(names, beside)), [])


def _take_over(tx: Connection, old: PipelineRow, new: PipelineRow) -> None:
    """Gives the pipeline's row what the build's says, and removes that."""
    tx.execute("DELETE FROM pipeline_window WHERE pipeline = %s", [old.name])
    tx.execute("UPDATE pipeline_window SET pipeline = %s WHERE pipeline = %s", [old.name, new.name])
    tx.execute(
        "UPDATE pipeline o SET generation = n.generation, fingerprint = n.fingerprint, plan = n.plan, key = n.key,"
        " window_column = n.window_column, position = n.position, batch_id = n.batch_id, watermark = n.watermark,"
        " as_of = clock_timestamp(), late_set_aside = n.late_set_aside, removed_at = NULL"
        " FROM pipeline n WHERE o.name = %s AND n.name = %s",
        [old.name, new.name],
    )
    tx.execute("DELETE FROM pipeline WHERE name = %s", [new.name])


def update_in_place(tx: Connection, row: PipelineRow, plan: Plan, token: str) -> ResultTable:
    """Takes over what changed of a pipeline of the same meaning: its indexes and the plan; a removed one is back, and
    what was begun to be built of another meaning is thrown away."""
    result = ResultTable.of(plan, row.table_schema)
    with errors_explained(f"pipeline {plan.name}"), tx.transaction():
        tx.execute("SELECT check_token(%s)", [token])
        abandon_builds(tx, row.name)
        old = table_of(row)
        for index in set(old.indexes) - set(result.indexes):
            _drop_index(tx, old, index)
        for index in result.indexes:
            if index not in old.indexes:
                create_index(tx, result, index)
        tx.execute("UPDATE pipeline SET plan = %s, removed_at = NULL WHERE name = %s", [plan_as_json(plan), row.name])
    return result


def rename(tx: Connection, old: str, new: str, token: str) -> None:
    """Gives pipeline, table and indexes the new name."""
    row = load_pipelines(tx)[old]
    table = table_of(row)
    renamed = with_changes(table, table=new)
    with errors_explained(f"pipeline {new}"), tx.transaction():
        tx.execute("SELECT check_token(%s)", [token])
        refuse_foreign(tx, table.schema, new)
        tx.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(table.qualified, sql.Identifier(new)))
        parts = [(table.key or ("single",), "key")]
        parts += [(tuple(f"{c}_desc" if d else c for c, d in index), "idx") for index in table.indexes]
        for columns, kind in parts:
            before, after = index_name(old, columns, kind), index_name(new, columns, kind)
            statement = sql.SQL("ALTER INDEX IF EXISTS {} RENAME TO {}")
            tx.execute(statement.format(sql.Identifier(renamed.schema, before), sql.Identifier(after)))
        tx.execute("UPDATE pipeline SET name = %s, table_name = %s WHERE name = %s", [new, new, old])
        tx.execute("UPDATE pipeline SET builds = %s WHERE builds = %s", [new, old])


def mark_removed(tx: Connection, name: str) -> None:
    """Notes that no file keeps the pipeline current any more; its table stays."""
    with errors_explained():
        tx.execute("UPDATE pipeline SET removed_at = coalesce(removed_at, now()) WHERE name = %s", [name])


def drop(tx: Connection, name: str, token: str) -> None:
    """Drops a pipeline's table and row. Raises CannotReplace when views depend on it."""
    row = load_pipelines(tx)[name]
    used = tx.execute(
        "SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
        " AND d.classid = 'pg_rewrite'::regclass WHERE d.refobjid = to_regclass(%s) AND r.ev_class <> d.refobjid",
        [_regclass(row)],
    ).fetchall()
    if used:
        msg = f"table {row.table_schema}.{row.table_name} is used by {', '.join(view for (view,) in used)}"
        raise CannotReplace(msg, hint="drop those first")
    with errors_explained(f"pipeline {name}"), tx.transaction():
        tx.execute("SELECT check_token(%s)", [token])
        abandon_builds(tx, name)
        tx.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(row.table_schema, row.table_name)))
        tx.execute("DELETE FROM pipeline WHERE name = %s", [name])
