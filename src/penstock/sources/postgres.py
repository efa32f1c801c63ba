"""`type: postgres`: a table or a query of PostgreSQL, polled.

A round takes the highest value of the cursor's columns (the mark), sees who was open then, and reads up to the highest
mark that can no longer get rows below it. Rows come by COPY in the order of the cursor's columns, from one snapshot
per reading. The cursor is the last complete value, so equal values are never split, and a kill in the middle of a first
reading costs nothing. A stream without a primary key needs an incrementing column, or a list, that is unique.

| mode | finds | needs |
| --- | --- | --- |
| `incrementing` | new rows, by a column whose values a sequence hands out | the column, best with an index |
| `timestamp` | new and changed rows, by the time of their last change | a column that each change sets to `now()` |
| `timestamp+incrementing` | the same; the id tells equal times apart | both columns, best with an index over both |
| `bulk` | everything, once, from one snapshot | nothing |

**No row is skipped whose transaction commits late**, even one that has taken an id or `now()` long before it writes.
While such a transaction is open, rows above the mark wait, `status` names its pid and since when it is open, and rows
below the mark are not held up. Ids wait only for transactions that have written something or taken a value of a
sequence; times wait for every transaction that began before the mark, readers too (and, for a role that may not see
when others began, or a column without time zone, for every one that is open). `GRANT pg_read_all_stats` to the role
lets it see more and wait for less.

Where that cannot be guaranteed, because the server does not know either:

- a sequence with `CACHE` above 1: sessions hold low values back (told at the start)
- ids that clients make, or fetch from the sequence in an earlier transaction than the one that writes the row
- times that clients set from their own clocks, and a server's clock that is set back: `delay:` gives them a margin
- a table that logical replication fills: its rows come in the order of their commits elsewhere
- a hot standby, which does not show the primary's transactions (told at the start)
- a `query:` that joins: a row whose partner is written after the cursor passed it (`validate` warns)
- rows that are changed or deleted later (incrementing), or deleted (timestamp modes)

Rows whose cursor column is NULL, NaN or infinite are never read, and a timestamp in the future is read when its time
has come; both are told at the start. In the hour that clocks repeat in autumn, rows with a timestamp without zone are
read once it is over.

Values come without loss: whole numbers, numeric(p,s) up to 38 digits, booleans, dates and times as such; real and
double as their shortest text says; arrays and composites as JSON; numeric without precision, uuid, json, enums,
intervals, bytes (hex) and all other types as PostgreSQL prints them.

The session is read-only and needs nothing but SELECT. It keeps its settings for as long as it lives, so a pooler in
between must pool sessions, not transactions.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from penstock.observe import emit
from penstock.observe.events import Notice, Step
from penstock.project.model import SourceFile, Stream
from penstock.project.values import Duration
from penstock.sources import _postgres_bulk as bulk
from penstock.sources._postgres_columns import PgColumn, check_present, check_unchanged, probe, table_name
from penstock.sources._postgres_copy import Target, target, without_refused
from penstock.sources._postgres_keys import Keys, keys_of
from penstock.sources._postgres_marks import Key, Marks
from penstock.sources._postgres_notes import Subject, notes_about, warnings_about
from penstock.sources._postgres_read import Reading, read
from penstock.sources._postgres_wire import Connection, connect, connection_string, translated
from penstock.sources.base import ColumnsProbe, Cursor, RawBatch, Receipt, Refusal, Source, SourceConfig
from penstock.sources.errors import PostgresCursorForeign, PostgresNotUnique

Mode = Literal["incrementing", "timestamp", "timestamp+incrementing", "bulk"]

BEGINNING = 0.5
"""Seconds after which a transaction is surely visible. Its now() is the time at which its first statement arrived; its
lock comes a moment later, and on a busy machine that moment can be long. So who is open is asked this long after a
time mark at the earliest. Ids need no such pause: a lock is taken before an id is."""

PATIENCE = 1.0
"""Seconds a round waits at its end for short transactions, before it leaves their rows to a later round."""


class Parts(SourceConfig):
    """A connection in parts instead of a URL."""

    host: str = Field(description="Host name, or the folder of a Unix socket", examples=["db.example.org"])
    port: int = Field(default=5432, description="TCP port", ge=1, le=65535)
    dbname: str = Field(description="Database", examples=["shop"])
    user: str = Field(description="Role; it needs SELECT only", examples=["reader"])
    password: str | None = Field(default=None, description="Password, as a reference", examples=["${SHOP_PASSWORD}"])
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None, description="libpq's sslmode", examples=["verify-full"]
    )


class PostgresConfig(SourceConfig):
    """The keys of `type: postgres`."""

    connection: str | Parts = Field(
        description="URL, or host, port, dbname, user, password, sslmode", examples=["${SHOP_DB}"]
    )
    table: str | None = Field(default=None, description="The table (or view) to read", examples=["shop.orders"])
    query: str | None = Field(
        default=None,
        description="A SELECT to read instead of a table; the cursor's columns are among its columns",
        examples=["SELECT id, sold_at, amount FROM orders"],
    )
    mode: Mode = Field(description="How new rows are found", examples=["incrementing"])
    incrementing_column: tuple[str, ...] = Field(
        default=(),
        description="The column whose values grow from row to row, or a list that grows as a whole",
        examples=["id", ["order_id", "line"]],
    )
    timestamp_column: str | None = Field(
        default=None, description="The column with the time of a row's last change", examples=["updated_at"]
    )
    delay: Duration = Field(
        default="0s",
        validate_default=True,
        description="How old a timestamp must be before it is read; a margin for clocks of clients",
        examples=["5s"],
    )

    @field_validator("incrementing_column", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_mode(self) -> PostgresConfig:
        problem = self._problem()
        if problem:
            raise ValueError(problem)
        return self

    def _problem(self) -> str:
        if (self.table is None) == (self.query is None):
            return "give either `table:` or `query:`"
        needs = {"incrementing_column": "incrementing" in self.mode, "timestamp_column": "timestamp" in self.mode}
        for key, needed in needs.items():
            if needed and not getattr(self, key):
                return f"mode {self.mode} needs `{key}:`"
            if not needed and getattr(self, key):
                return f"mode {self.mode} does not use `{key}:`; remove it or change the mode"
        if self.delay and "timestamp" not in self.mode:
            return f"mode {self.mode} does not use `delay:`"
        return ""


class PostgresSource(Source, ColumnsProbe):
    """Polls one table or query."""

    type = "postgres"
    Config = PostgresConfig

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._config: PostgresConfig = context.file.config
        self._conn: Connection | None = None
        self._at: Key | None = None
        self._marks = Marks()
        self._types: Mapping[str, str] = {}
        self._bulk: bulk.Progress = bulk.Progress()
        self._relation = ""
        self._keys = Keys((), False)
        self._told = False
        self._end: Key | None = None

    # -- opening and closing

    def open(self, cursor: Cursor, receipts: Mapping[str, Receipt]) -> None:
        self.close()
        self._take_up(cursor)
        columns = self.columns_as_described()
        self._check_types(columns, cursor.get("file"))
        self._keys = keys_of(self._config, columns)
        self._check_unique()
        if not self._told:
            self._tell()

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _take_up(self, cursor: Cursor) -> None:
        mine = self._identity()
        if cursor and cursor.get("mode") != mine:
            found = f"the cursor is of {cursor.get('mode')}, the source file says {mine}"
            hint = f"`penstock source reset {self.context.file.name}` reads from the start; or put the old mode back"
            raise PostgresCursorForeign(found, hint=hint, place=self.context.file.place)
        self._at = tuple(cursor["at"]) if cursor.get("at") is not None else None
        self._types = cursor.get("types", {})
        self._bulk = bulk.Progress.load(cursor.get("bulk"))
        self._marks = Marks()
        self._marks.load(cursor.get("pending", ()))
        self._end = None

    def _identity(self) -> str:
        along = [self._config.timestamp_column] if self._config.timestamp_column else []
        along += self._config.incrementing_column
        return f"{self._config.mode} along {', '.join(along)}" if along else self._config.mode

    def _connected(self) -> Connection:
        if self._conn is None or self._conn.closed:
            connection = self._config.connection
            parts = connection if isinstance(connection, str) else connection.model_dump()
            self._conn = connect(connection_string(parts), self.context.file.name)
            self._relation = self._from(self._conn)
        return self._conn

    def _from(self, conn: Connection) -> str:
        """Returns the FROM item, with the alias q."""
        if self._config.table is not None:
            return f"{table_name(conn, self._config.table)} AS q"
        query = (self._config.query or "").strip().rstrip(";").rstrip()
        return f"(\n{query}\n) AS q"

    def _tell(self) -> None:
        """Says once what the server's settings do not guarantee."""
        conn = self._connected()
        with translated(self._what):
            subject = Subject(self._config.table, self._relation, self._keys, self._at, self.context.file.timezone)
            notes = notes_about(conn, subject)
        if self._config.mode == "bulk" and self.context.file.every_given:
            notes.append("bulk is read once; this version does not repeat it and log the difference")
        for note in notes:
            emit(Notice(note, of=self.context.file.name))
        self._told = True

    @classmethod
    def warnings(cls, file: SourceFile, stream: Stream) -> tuple[str, ...]:
        return warnings_about(file.config, stream)

    @property
    def _what(self) -> str:
        return f"table {self._config.table}" if self._config.table else "the query"

    # -- columns

    def columns(self) -> Mapping[str, pa.DataType]:
        """Returns the columns and their natural Arrow types, in their order. Raises as `open` does."""
        return {name: c.natural for name, c in self.columns_as_described().items()}

    def columns_as_described(self) -> dict[str, PgColumn]:
        """Returns the columns as PostgreSQL describes them, in their order. Raises as `open` does."""
        conn = self._connected()
        columns = probe(conn, self._relation, self._what)
        if self._config.timestamp_column:
            check_present(columns, [self._config.timestamp_column], "timestamp_column")
        check_present(columns, self._config.incrementing_column, "incrementing_column")
        return columns

    def _check_types(self, columns: Mapping[str, PgColumn], file: str | None) -> None:
        """Refuses columns that went or changed their meaning since the cursor was made, unless the file changed."""
        used = self._used(columns)
        if self._types and file == self._fingerprint():
            check_unchanged(self._types, columns, self._what)
        self._types = {c.name: c.sql_type for c in used}

    def _used(self, columns: Mapping[str, PgColumn]) -> list[PgColumn]:
        """Returns the columns that expressions may need; names in expressions know no case."""
        wanted = self.context.columns_used
        if wanted is None:
            return list(columns.values())
        lower = {name.lower() for name in wanted}
        used = [c for c in columns.values() if c.name.lower() in lower]
        return used or list(columns.values())[:1]

    def _targets(self, columns: list[PgColumn]) -> list[Target]:
        hints = {name.lower(): t for name, t in self.context.type_hints.items()}
        return [target(c, hints.get(c.name.lower()), self.context.file.timezone) for c in columns]

    def _fingerprint(self) -> str:
        file = self.context.file
        parts = [self._config.table, self._config.query, dict(file.fields), file.where]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _check_unique(self) -> None:
        """Refuses a stream without a key along a timestamp alone; other columns are checked as they are read."""
        if self.context.stream.primary_key or self._config.mode != "timestamp":
            return
        found = f"stream {self.context.stream.name} has no primary key, and a timestamp may stand in many rows"
        hint = "add a unique incrementing_column (mode timestamp+incrementing), or a primaryKey to the contract"
        raise PostgresNotUnique(found, hint=hint, place=self.context.file.place)

    # -- reading

    def round(self) -> Iterator[RawBatch]:
        if self._config.mode == "bulk":
            yield from self._bulk_round()
            return
        conn = self._connected()
        self._take_mark(conn)
        if self.complete():
            self._end = self._marks.highest
        until = time.monotonic() + PATIENCE
        pause = 0.002
        while True:
            safe = self._marks.settle(conn)
            if safe is not None:
                yield from self._read_up_to(conn, safe)
            if self.complete() or self.stop_requested() or time.monotonic() > until:
                return
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def _take_mark(self, conn: Connection) -> None:
        """Takes the highest value there is, then sees who is open."""
        sql = self._keys.mark_sql(self._relation, self._at, self.context.file.timezone, self._config.delay)
        with translated(self._what):
            row = conn.execute(sql).fetchone()
        if row is None or not self._marks.wants_more(mark := tuple(row)):
            return
        emit(Step("postgres.mark_taken", self.context.file.name))
        self._let_begin(conn, mark)
        self._marks.add(conn, mark, self._keys.may_write(mark))

    def _let_begin(self, conn: Connection, mark: Key) -> None:
        """Waits until a transaction whose now() is `mark` must be visible, see BEGINNING."""
        sql = self._keys.age_sql(mark, self.context.file.timezone)
        if sql is None:
            return
        with translated(self._what):
            row = conn.execute(sql).fetchone()
        age = float(row[0]) if row else 0.0
        if age < BEGINNING:
            time.sleep(BEGINNING - max(age, 0.0))

    def _bulk_round(self) -> Iterator[RawBatch]:
        """Reads everything once; nothing when that was done."""
        folder, file = self.context.state, self.context.file
        keyed = bool(self.context.stream.primary_key)
        self._bulk = bulk.check_copy(folder, self._bulk, keyed, file.place)
        if self._bulk.done:
            return
        if not self._bulk.copy:
            used = self._used(self.columns_as_described())
            targets = self._targets(used)
            name = bulk.copy_down(
                self._connected(), self._relation, self._what, used, targets, folder, self.context.batch_rows
            )
            self._bulk = bulk.Progress(name)
        for rows, progress in bulk.hand_out(folder, self._bulk):
            first = progress.rows - rows.num_rows
            positions = pa.array(np.arange(first + 1, progress.rows + 1))
            self._bulk = progress
            yield self._batch(*without_refused(rows, positions))
        self._bulk = replace(self._bulk, done=True)

    def committed(self, batch: RawBatch) -> None:
        done = batch.cursor.get("bulk") or {}
        if done.get("done"):
            (self.context.state / done["copy"]).unlink(missing_ok=True)

    def _batch(self, table: pa.Table, positions: pa.Array, refusals: tuple[Refusal, ...]) -> RawBatch:
        """Returns a batch with the cursor as it stands now."""
        origin = self._config.table or "query"
        return RawBatch(table, origin, positions, self._cursor(), datetime.now(UTC), refusals)

    def _read_up_to(self, conn: Connection, mark: Key) -> Iterator[RawBatch]:
        """Reads up to a mark that is safe, in a transaction: its lock keeps the columns as they are described."""
        with translated(self._what), conn.transaction():
            reading = self._reading()
            for part in read(conn, reading, self._at, mark):
                self._at = part.at
                yield self._batch(part.table, part.positions, part.refusals)

    def _reading(self) -> Reading:
        columns = self.columns_as_described()
        self._check_types(columns, self._fingerprint())
        self._keys = keys_of(self._config, columns)
        used = self._used(columns)
        return Reading(
            keys=self._keys,
            relation=self._relation,
            what=self._what,
            columns=tuple(used),
            targets=tuple(self._targets(used)),
            batch_rows=self.context.batch_rows,
            keyed=bool(self.context.stream.primary_key),
            place=self.context.file.place,
        )

    def _cursor(self) -> dict[str, Any]:
        return {
            "mode": self._identity(),
            "at": None if self._at is None else list(self._at),
            "pending": self._marks.save(),
            "bulk": self._bulk.save() if self._config.mode == "bulk" else None,
            "types": dict(self._types),
            "file": self._fingerprint(),
        }

    def complete(self) -> bool:
        return self._end is None or not self._marks.waits_for(self._end)

    def waiting(self) -> str:
        return self._marks.waiting()
