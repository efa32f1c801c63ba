"""What polling cannot guarantee here, said aloud: by the file alone (`validate`) and by the server (at the start)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from psycopg.errors import QueryCanceled
from psycopg.rows import tuple_row

from penstock.project.model import Stream
from penstock.sources._postgres_columns import quote
from penstock.sources._postgres_keys import Keys
from penstock.sources._postgres_marks import Key
from penstock.sources._postgres_wire import Connection
from penstock.sources.errors import PostgresCursorType


class _Config(Protocol):
    @property
    def mode(self) -> str: ...
    @property
    def query(self) -> str | None: ...


def warnings_about(config: _Config, stream: Stream) -> tuple[str, ...]:
    """Returns what `validate` warns of, one sentence each."""
    found = []
    if config.mode.startswith("timestamp") and stream.changes == "append":
        what = "becomes a conflict in quarantine" if stream.primary_key else "counts as another row"
        found.append(f"mode {config.mode} on the append stream {stream.name}: a row that is updated {what}")
    if config.query and config.mode != "bulk" and " join " in f" {' '.join(config.query.lower().split())} ":
        found.append(
            "a row that the join yields only later (its partner is written after it) is missed once the cursor has"
            " passed it; write the partner first, e.g. by a foreign key"
        )
    return tuple(found)


_SEQUENCES = """
SELECT s.seqrelid::pg_catalog.regclass::text, s.seqcache, s.seqincrement, s.seqcycle FROM pg_catalog.pg_sequence s
WHERE s.seqrelid IN (
  SELECT d.refobjid FROM pg_catalog.pg_attrdef a
  JOIN pg_catalog.pg_attribute c ON (c.attrelid, c.attnum) = (a.adrelid, a.adnum)
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = a.oid
  WHERE a.adrelid = %(table)s::text::pg_catalog.regclass AND c.attname = ANY(%(columns)s::text[])
  UNION ALL
  SELECT pg_catalog.pg_get_serial_sequence(%(table)s::text, c)::pg_catalog.regclass
  FROM pg_catalog.unnest(%(columns)s::text[]) AS c)
"""


PATIENCE_MS = 2000
"""How long a look at the rows may take; on a large table without an index it is given up."""


@dataclass(frozen=True)
class Subject:
    """What is looked at: the table (None: a query) and the FROM item, the cursor's columns and how far it is."""

    table: str | None
    relation: str
    keys: Keys
    at: Key | None
    timezone: str


def notes_about(conn: Connection, subject: Subject) -> list[str]:
    """Returns what this server does not guarantee, one sentence each. Raises PostgresCursorType for ids that fall."""
    relation, keys = subject.relation, subject.keys
    if not keys.columns:
        return []
    notes = []
    names = ", ".join(c.name for c in keys.columns)
    if _true(conn, "SELECT pg_catalog.pg_is_in_recovery()"):
        notes.append(
            "this is a hot standby: it does not show the primary's open transactions, so rows of transactions that"
            " commit late may be missed; connect to the primary"
        )
    if subject.table is not None:
        notes += _about_sequences(conn, relation.removesuffix(" AS q"), keys)
    if _true(conn, f"SELECT EXISTS (SELECT 1 FROM {relation} WHERE ({keys.countable()}) IS NOT TRUE)"):
        notes.append(f"rows where {names} is NULL, NaN or infinite are never read: no cursor passes them")
    future = keys.future(subject.timezone)
    if future and _true(conn, f"SELECT EXISTS (SELECT 1 FROM {relation} WHERE {future})"):
        notes.append(f"rows whose {keys.columns[0].name} is in the future are read when that time has come")
    if subject.at is not None and not keys.time:
        notes += _about_lost_heights(conn, subject, names)
    return notes


def _about_lost_heights(conn: Connection, subject: Subject, names: str) -> list[str]:
    at = subject.at or ()
    if not _true(conn, f"SELECT NOT EXISTS (SELECT 1 FROM {subject.relation} WHERE {subject.keys.at_least(at)})"):
        return []
    return [
        f"no row has {names} at or above {'/'.join(at)}, which was read last; if the table was emptied and its sequence"
        " began anew, new rows are missed until the source is reset"
    ]


def _true(conn: Connection, sql: str) -> bool:
    """Asks a yes-or-no question; an answer that takes too long counts as no."""
    try:
        with conn.transaction():
            conn.execute(f"SET LOCAL statement_timeout = {PATIENCE_MS}")
            row = conn.execute(sql).fetchone()
    except QueryCanceled:
        return False
    return bool(row and row[0])


def _about_sequences(conn: Connection, table: str, keys: Keys) -> list[str]:
    names = [c.name for c in keys.columns]
    notes = []
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(_SEQUENCES, {"table": table, "columns": names}).fetchall()
    for name, cache, increment, cycle in rows:
        if increment < 0:
            found = f"sequence {name} counts down (INCREMENT {increment}): new rows have lower values than old ones"
            hint = "use a column that grows, or mode timestamp"
            raise PostgresCursorType(found, hint=hint, place="incrementing_column")
        if cache > 1:
            notes.append(
                f"sequence {name} has CACHE {cache}: sessions hold values back, so a lower one may be written after a"
                f" higher one was read, and is missed; ALTER SEQUENCE {quote(name) if '.' in name else name} CACHE 1"
            )
        if cycle:
            notes.append(f"sequence {name} has CYCLE: once it begins anew, its rows are missed")
    return notes
