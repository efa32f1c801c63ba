"""What the store knows of each source: cursor, counts, round, receipts, and the rows that were refused.

All of it is written in the transaction that appends the batch to the log, so `read = accepted + quarantined +
duplicates` holds at every moment; the table's CHECK says so too. Nothing here proves the writer's token: the caller
does, once per transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from penstock.errors import PenstockError
from penstock.sources.base import Cursor, Receipt
from penstock.store.connect import Connection, errors_explained


@dataclass(frozen=True)
class SourceRow:
    """A source as the store knows it. Times are aware; `error` is PenstockError.as_json."""

    name: str
    type: str
    stream: str
    cursor: Mapping[str, Any]
    read: int
    accepted: int
    quarantined: int
    duplicates: int
    round: int
    """Number of the latest round, 0 before the first."""
    round_open: bool
    round_watermark: datetime | None
    """The stream's watermark when the open round began: what its rows are stamped with."""
    round_high: datetime | None
    """The highest event time of the open round so far."""
    first_round: bool
    """Whether no round has completed yet."""
    high: datetime | None
    """The highest event time of the completed rounds."""
    last_success: datetime | None
    last_found: datetime | None
    """When a round last completed, and when one last completed that had found rows."""
    state: str
    error: Mapping[str, Any] | None
    error_since: datetime | None
    paused: bool
    unmapped: Sequence[str]
    waiting: str = ""
    """What holds rows back right now (an open transaction, a file being written); '' = nothing."""


@dataclass(frozen=True)
class ReceiptRow:
    """A receipt with what intake counted, for status."""

    source: str
    receipt: Receipt
    accepted: int
    quarantined: int
    duplicates: int
    first_seen: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Refused:
    """A row on its way into quarantine."""

    rule: str
    reason: str
    original: bytes
    origin: str
    position: str
    mapped: str | None = None
    """The mapped row as JSON text; None when it could not be decoded."""


@dataclass(frozen=True)
class Counts:
    """What a batch added. read = accepted + quarantined + duplicates."""

    read: int
    accepted: int
    quarantined: int
    duplicates: int


_COLUMNS = ", ".join(field.name for field in fields(SourceRow))


def load_sources(connection: Connection) -> dict[str, SourceRow]:
    """Returns all sources the store knows, by name."""
    with errors_explained():
        rows = connection.execute(f"SELECT {_COLUMNS} FROM source ORDER BY name").fetchall()
    return {row[0]: SourceRow(*row) for row in rows}


def ensure_source(tx: Connection, name: str, type_: str, stream: str, renamed_from: str | None = None) -> None:
    """Sees to it that the source has a row; takes over that of `renamed_from`, with its receipts and refusals."""
    with errors_explained():
        if renamed_from and not tx.execute("SELECT FROM source WHERE name = %s", [name]).fetchone():
            for table, column in (("source", "name"), ("receipt", "source"), ("quarantine", "source")):
                query = sql.SQL("UPDATE {} SET {} = %s WHERE {} = %s")
                names = [sql.Identifier(table), sql.Identifier(column), sql.Identifier(column)]
                tx.execute(query.format(*names), [name, renamed_from])
        tx.execute(
            "INSERT INTO source (name, type, stream) VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE SET"
            " type = excluded.type, stream = excluded.stream WHERE (source.type, source.stream) IS DISTINCT FROM"
            " (excluded.type, excluded.stream)",
            [name, type_, stream],
        )


def begin_round(tx: Connection, name: str, watermark: datetime | None) -> None:
    """Opens a round whose rows are stamped with `watermark`. One that is open already goes on as it began."""
    with errors_explained():
        tx.execute(
            "UPDATE source SET round = round + 1, round_open = true, round_watermark = %s, round_high = NULL"
            " WHERE name = %s AND NOT round_open",
            [watermark, name],
        )


def record_batch(tx: Connection, name: str, cursor: Cursor, counts: Counts, high: datetime | None) -> None:
    """Moves the cursor, adds the counts, and raises the round's highest event time to `high`."""
    with errors_explained():
        tx.execute(
            "UPDATE source SET cursor = %s, read = read + %s, accepted = accepted + %s, quarantined = quarantined + %s,"
            " duplicates = duplicates + %s, round_high = greatest(round_high, %s) WHERE name = %s",
            [Jsonb(dict(cursor)), counts.read, counts.accepted, counts.quarantined, counts.duplicates, high, name],
        )


def end_round(tx: Connection, name: str, at: datetime, *, found: bool) -> None:
    """Closes the round that was open, completed at `at`; `found`: whether it had rows."""
    with errors_explained():
        tx.execute(
            "UPDATE source SET round_open = false, first_round = false, high = greatest(high, round_high),"
            " round_high = NULL, last_success = %s, last_found = CASE WHEN %s THEN %s ELSE last_found END"
            " WHERE name = %s",
            [at, found, at, name],
        )


def set_source_state(tx: Connection, name: str, state: str, error: PenstockError | None = None) -> None:
    """Writes what the source is doing, and why it is not. `error_since` stays while the same error goes on."""
    with errors_explained():
        told = Jsonb(error.as_json()) if error else None
        tx.execute(
            "UPDATE source SET state = %(state)s, error = %(told)s, error_since = CASE WHEN %(told)s::jsonb IS NULL"
            " THEN NULL WHEN error->>'code' = %(told)s::jsonb->>'code' THEN error_since ELSE now() END"
            " WHERE name = %(name)s",
            {"state": state, "told": told, "name": name},
        )


def set_paused(tx: Connection, name: str, paused: bool) -> None:
    """Says whether the source is to be left alone."""
    with errors_explained():
        tx.execute("UPDATE source SET paused = %s WHERE name = %s", [paused, name])


def set_waiting(tx: Connection, name: str, why: str) -> None:
    """Writes what holds the source's rows back right now."""
    with errors_explained():
        tx.execute("UPDATE source SET waiting = %s WHERE name = %s", [storable(why), name])


def set_unmapped(tx: Connection, name: str, columns: Iterable[str]) -> None:
    """Writes the source's columns that nothing maps."""
    with errors_explained():
        tx.execute("UPDATE source SET unmapped = %s WHERE name = %s", [sorted(columns), name])


def reset_source(tx: Connection, name: str) -> None:
    """Has the source read again from the start: cursor and receipts go, the counts stay."""
    with errors_explained():
        tx.execute("UPDATE source SET cursor = '{}', round_open = false, first_round = true WHERE name = %s", [name])
        tx.execute("DELETE FROM receipt WHERE source = %s", [name])


def load_receipts(connection: Connection, source: str) -> dict[str, Receipt]:
    """Returns the source's receipts by item."""
    return {row.receipt.item: row.receipt for row in receipt_rows(connection, source)}


def receipt_rows(connection: Connection, source: str | None = None) -> list[ReceiptRow]:
    """Returns the receipts of `source`, or of all, with intake's counts."""
    with errors_explained():
        rows = connection.execute(
            "SELECT source, item, state, size, hash, modified_at, rows_read, details, accepted, quarantined,"
            " duplicates, first_seen, updated_at FROM receipt WHERE %(s)s::text IS NULL OR source = %(s)s"
            " ORDER BY source, item",
            {"s": source},
        ).fetchall()
    return [ReceiptRow(row[0], Receipt(*row[1:8]), *row[8:]) for row in rows]


def save_receipts(tx: Connection, source: str, receipts: Sequence[Receipt]) -> None:
    """Writes receipts, new or changed."""
    if not receipts:
        return
    values = [
        (source, r.item, r.state, r.size, r.hash, r.modified_at, r.rows_read, Jsonb(dict(r.details))) for r in receipts
    ]
    with errors_explained(), tx.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO receipt (source, item, state, size, hash, modified_at, rows_read, details)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source, item) DO UPDATE SET"
            " state = excluded.state, size = excluded.size, hash = excluded.hash, modified_at = excluded.modified_at,"
            " rows_read = excluded.rows_read, details = excluded.details, updated_at = now()",
            values,
        )


def count_receipt(tx: Connection, source: str, item: str, counts: Counts) -> None:
    """Adds a batch's counts to the receipt of the item it came from."""
    with errors_explained():
        tx.execute(
            "UPDATE receipt SET accepted = accepted + %s, quarantined = quarantined + %s, duplicates = duplicates + %s,"
            " updated_at = now() WHERE source = %s AND item = %s",
            [counts.accepted, counts.quarantined, counts.duplicates, source, item],
        )


@dataclass(frozen=True)
class Arrival:
    """What the refused rows of a batch have in common."""

    source: str
    stream: str
    contract_version: str
    batch_position: int
    """The log's, of the batch they came with."""
    watermark: datetime | None
    """The stamp of their first arrival."""
    ingested_at: datetime


def put_in_quarantine(tx: Connection, arrival: Arrival, refused: Iterable[Refused]) -> None:
    """Writes the refused rows of one batch. Streams them: `refused` may be a generator. Not in pipeline mode."""
    constant = astuple(arrival)
    copy = (
        "COPY quarantine (source, stream, contract_version, batch_position, watermark, ingested_at, rule, reason,"
        " original, origin, position, mapped) FROM STDIN"
    )
    with errors_explained(), tx.cursor() as cursor, cursor.copy(copy) as rows:
        for row in refused:
            texts = (storable(row.origin), storable(row.position), None if row.mapped is None else storable(row.mapped))
            rows.write_row((*constant, row.rule, storable(row.reason), row.original, *texts))


def storable(text: str) -> str:
    """Returns `text` as PostgreSQL can keep it: NUL and lone surrogates shown as escapes. The original bytes stay."""
    return text.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode("utf-8")
