"""The manifest: one row per batch in the store's table `batch`, read and written on a connection that is passed in.

The connection's search path must begin with Penstock's own schema. Positions have no gaps: a batch gets its number and
its parent's id in the transaction that commits it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from penstock.log.errors import ManifestBroken, OtherChain
from penstock.log.model import ORIGIN, START, BatchEntry, ChainPoint, LogBatch, Position

Connection = psycopg.Connection[TupleRow]
PAGE = 500

_ENTRY = (
    "position, id::text, coalesce(parent_id::text, ''), stream, source, origin, rows, has_negative, ingested_at,"
    " watermark, stream_watermark, contract_version, event_time_min, event_time_max, segment, checksum"
)
_PLACE = ", coalesce(segment_offset, 0), block_bytes, block_row"


@dataclass(frozen=True)
class Located:
    """An entry and where its rows are: the block in the segment (or inline), and the first row in the block."""

    entry: BatchEntry
    offset: int
    length: int
    row: int


def end(connection: Connection) -> ChainPoint:
    """Returns the last position and its batch's id; ORIGIN for an empty log."""
    row = connection.execute("SELECT position, id::text FROM batch ORDER BY position DESC LIMIT 1").fetchone()
    return ChainPoint(Position(row[0]), row[1]) if row else ORIGIN


def last(connection: Connection, stream: str) -> BatchEntry | None:
    """Returns the newest entry of a stream, None when it has none."""
    query = f"SELECT {_ENTRY}{_PLACE} FROM batch WHERE stream = %s ORDER BY position DESC LIMIT 1"
    row = connection.execute(query, [stream]).fetchone()
    return _located(row).entry if row else None


def contains(connection: Connection, point: ChainPoint) -> bool:
    """Whether `point` is of this log: its batch is at its position."""
    if point.position == START:
        return point == ORIGIN
    found = connection.execute("SELECT id::text FROM batch WHERE position = %s", [point.position]).fetchone()
    return bool(found and found[0] == point.batch_id)


def insert(connection: Connection, entry: BatchEntry, batch: LogBatch, block: bytes | None, length: int) -> bool:
    """Writes the entry's row; `block` is the block when it is inline. Returns False when its parent is not the end."""
    columns: dict[str, Any] = {
        "position": entry.point.position,
        "id": entry.point.batch_id,
        "parent_id": entry.parent_id or None,
        "stream": entry.stream,
        "source": entry.source,
        "origin": entry.origin,
        "rows": entry.rows,
        "has_negative": entry.has_negative,
        "ingested_at": entry.ingested_at,
        "watermark": entry.watermark,
        "stream_watermark": entry.stream_watermark,
        "contract_version": entry.contract_version,
        "event_time_min": entry.event_time_min,
        "event_time_max": entry.event_time_max,
        "read": batch.read,
        "accepted": batch.accepted,
        "quarantined": batch.quarantined,
        "duplicates": batch.duplicates,
        "cursor": Jsonb(dict(batch.cursor)),
        "inline": block,
        "segment": entry.segment,
        "segment_offset": None if entry.segment is None else 0,
        "block_bytes": length,
        "checksum": entry.checksum,
    }
    values = ", ".join(f"%({name})s" for name in columns)
    done = connection.execute(
        f"INSERT INTO batch ({', '.join(columns)}) SELECT {values} WHERE"
        " (SELECT coalesce(max(position), 0) FROM batch) = %(position)s - 1 AND"
        " (SELECT id FROM batch WHERE position = %(position)s - 1) IS NOT DISTINCT FROM %(parent_id)s::uuid",
        columns,
    )
    return done.rowcount == 1


def check_chain(connection: Connection, after: ChainPoint, up_to: ChainPoint) -> None:
    """Sees to it that both points are of this log and that nothing between them is missing.

    Raises OtherChain for a point of another history, ManifestBroken for a gap.
    """
    row = connection.execute(
        "SELECT (SELECT id::text FROM batch WHERE position = %(after)s),"
        " (SELECT id::text FROM batch WHERE position = %(up_to)s), count(*),"
        " count(*) FILTER (WHERE b.parent_id IS NOT DISTINCT FROM p.id) FROM batch b"
        " LEFT JOIN batch p ON p.position = b.position - 1 WHERE b.position > %(after)s AND b.position <= %(up_to)s",
        {"after": after.position, "up_to": up_to.position},
    ).fetchone()
    found = row or (None, None, 0, 0)
    for point, batch_id in ((after, found[0]), (up_to, found[1])):
        if (batch_id or "") != point.batch_id:
            msg = f"position {point.position} with batch {point.batch_id or 'none'} is not in the log"
            raise OtherChain(msg, hint="what remembers it is built again from the log")
    expected = max(0, up_to.position - after.position)
    if found[2:] != (expected, expected):
        msg = f"between {after.position} and {up_to.position} there are {found[2]} batches, "
        msg += f"{found[3]} of them follow the one before"
        raise ManifestBroken(msg, hint="restore the store from a backup")


def located(
    connection: Connection,
    after: int,
    up_to: int,
    streams: Iterable[str] | None = None,
    event_time: tuple[datetime | None, datetime | None] = (None, None),
) -> Iterator[Located]:
    """Yields the entries with `after` < position <= `up_to` in order, read page by page.

    Of `streams` alone where given; with `event_time` only batches that may have rows from the first instant
    (inclusive) to the second (exclusive); batches without event times stay in.
    """
    names = None if streams is None else list(streams)
    least, beyond = event_time
    while after < up_to:
        rows = connection.execute(
            f"SELECT {_ENTRY}{_PLACE} FROM batch WHERE position > %(after)s AND position <= %(up_to)s"
            " AND (%(names)s::text[] IS NULL OR stream = ANY(%(names)s))"
            " AND (%(least)s::timestamptz IS NULL OR event_time_max IS NULL OR event_time_max >= %(least)s)"
            " AND (%(beyond)s::timestamptz IS NULL OR event_time_min IS NULL OR event_time_min < %(beyond)s)"
            f" ORDER BY position LIMIT {PAGE}",
            {"after": after, "up_to": up_to, "names": names, "least": least, "beyond": beyond},
        ).fetchall()
        for row in rows:
            yield _located(row)
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def locate(connection: Connection, position: int) -> Located | None:
    """Returns where the batch at `position` is now (compaction moves blocks)."""
    row = connection.execute(f"SELECT {_ENTRY}{_PLACE} FROM batch WHERE position = %s", [position]).fetchone()
    return _located(row) if row else None


def inline_blocks(connection: Connection, positions: list[int]) -> dict[int, bytes]:
    """Returns the inline blocks of those `positions` that have one."""
    query = "SELECT position, inline FROM batch WHERE position = ANY(%s) AND inline IS NOT NULL"
    return dict(connection.execute(query, [positions], binary=True).fetchall())


def _located(row: tuple[Any, ...]) -> Located:
    return Located(BatchEntry(ChainPoint(Position(row[0]), row[1]), *row[2:16]), *row[16:19])
