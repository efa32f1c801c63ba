"""What the store keeps of a source: cursor, counters, round, receipts, refused rows, state. Plain rows in, plain rows out.

Everything that moves with a batch is written by `save_progress` and `save_refused` in the batch's transaction; `state`
and `error` are for `status` and may be written at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from penstock.errors import PenstockError
from penstock.sources.base import Receipt
from penstock.store.connect import Connection, errors_explained


@dataclass(frozen=True)
class SourceRow:
    """A source as committed."""

    name: str
    type: str
    stream: str
    cursor: Mapping[str, Any] = field(default_factory=dict)
    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    round: int = 0
    round_open: bool = False
    round_watermark: datetime | None = None
    round_high: datetime | None = None
    first_round: bool = True
    high: datetime | None = None
    last_success: datetime | None = None
    last_found: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """What one batch, or the end of a round, adds to a source."""

    name: str
    cursor: Mapping[str, Any]
    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    round: int = 0
    round_open: bool = True
    round_watermark: datetime | None = None
    round_high: datetime | None = None
    first_round: bool = True
    high: datetime | None = None
    last_success: datetime | None = None
    last_found: datetime | None = None


@dataclass(frozen=True)
class RefusedRow:
    """A refused row as quarantine keeps it."""

    rule: str
    reason: str
    original: bytes
    origin: str
    position: str
    mapped: str | None


@dataclass(frozen=True)
class Arrival:
    """What the refused rows of one batch share."""

    source: str
    stream: str
    contract_version: str
    batch_position: int
    watermark: datetime | None
    ingested_at: datetime


_COLUMNS = (
    "name, type, stream, cursor, read, accepted, quarantined, duplicates, round, round_open, round_watermark,"
    " round_high, first_round, high, last_success, last_found"
)


def load_source(connection: Connection, name: str, type_: str, stream: str) -> SourceRow:
    """Returns the source's row, made when it is not there."""
    with errors_explained():
        connection.execute(
            "INSERT INTO source (name, type, stream) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", [name, type_, stream]
        )
        row = connection.execute(f"SELECT {_COLUMNS} FROM source WHERE name = %s", [name]).fetchone()  # type: ignore[arg-type]
    assert row
    return SourceRow(*row)


def load_receipts(connection: Connection, source: str) -> dict[str, Receipt]:
    """Returns the source's receipts by item."""
    with errors_explained():
        rows = connection.execute(
            "SELECT item, state, size, hash, modified_at, rows_read, details FROM receipt WHERE source = %s", [source]
        ).fetchall()
    return {row[0]: Receipt(*row) for row in rows}


def save_progress(tx: Connection, p: Progress) -> None:
    """Writes within the batch's transaction where the source stands now; counts are added."""
    tx.execute(
        "UPDATE source SET cursor = %s, read = read + %s, accepted = accepted + %s, quarantined = quarantined + %s,"
        " duplicates = duplicates + %s, round = %s, round_open = %s, round_watermark = %s, round_high = %s,"
        " first_round = %s, high = %s, last_success = %s, last_found = %s WHERE name = %s",
        [Jsonb(dict(p.cursor)), p.read, p.accepted, p.quarantined, p.duplicates, p.round, p.round_open,
         p.round_watermark, p.round_high, p.first_round, p.high, p.last_success, p.last_found, p.name],
    )  # fmt: skip


def save_receipts(tx: Connection, source: str, receipts: Iterable[Receipt]) -> None:
    """Upserts receipts as the source gave them; counts stay."""
    rows = [
        (source, r.item, r.state, r.size, r.hash, r.modified_at, r.rows_read, Jsonb(dict(r.details))) for r in receipts
    ]
    if rows:
        tx.cursor().executemany(
            "INSERT INTO receipt (source, item, state, size, hash, modified_at, rows_read, details)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source, item) DO UPDATE SET"
            " state = excluded.state, size = excluded.size, hash = excluded.hash, modified_at = excluded.modified_at,"
            " rows_read = excluded.rows_read, details = excluded.details, updated_at = now()",
            rows,
        )


def count_receipt(tx: Connection, source: str, item: str, counts: tuple[int, int, int]) -> None:
    """Adds (accepted, quarantined, duplicates) to one receipt."""
    tx.execute(
        "UPDATE receipt SET accepted = accepted + %s, quarantined = quarantined + %s, duplicates = duplicates + %s"
        " WHERE source = %s AND item = %s",
        [*counts, source, item],
    )


def save_refused(tx: Connection, arrival: Arrival, rows: Iterable[RefusedRow]) -> None:
    """Puts refused rows into quarantine within the batch's transaction."""
    columns = (
        "source, stream, contract_version, batch_position, watermark, ingested_at, rule, reason, original, origin,"
        " position, mapped"
    )
    a = arrival
    shared = (a.source, a.stream, a.contract_version, a.batch_position, a.watermark, a.ingested_at)
    with tx.cursor().copy(f"COPY quarantine ({columns}) FROM STDIN") as copy:  # type: ignore[arg-type]
        for r in rows:
            texts = (_clean(r.reason), r.original, _clean(r.origin), _clean(r.position), r.mapped)
            copy.write_row((*shared, r.rule, *texts))


def _clean(text: str) -> str:
    """PostgreSQL's text holds no U+0000; the original bytes are kept beside."""
    return text.replace("\0", "␀")


def save_source_state(connection: Connection, name: str, state: str, error: PenstockError | None = None) -> None:
    """Writes what `status` shows of the source. `error` None clears it."""
    document = json.dumps(error.as_json()) if error else None
    with errors_explained():
        connection.execute(
            "UPDATE source SET state = %s, error = %s, error_since = CASE WHEN %s::jsonb IS NULL THEN NULL"
            " ELSE coalesce(error_since, now()) END WHERE name = %s",
            [state, document, document, name],
        )


def save_unmapped(connection: Connection, name: str, columns: Iterable[str]) -> None:
    """Writes which columns of the source nothing maps."""
    with errors_explained():
        connection.execute("UPDATE source SET unmapped = %s WHERE name = %s", [list(columns), name])
