"""Intake as the writer uses it: decides what a checked batch adds to the log.

Two halves, because they run in different threads. `Checker.check` (in the source's thread) decides everything that
needs only the row itself. `Intake.decide` (in the writer, one batch after the other) decides what needs memory:
duplicates, conflicts, corrections; and stamps what goes to the log. After the batch's transaction the writer calls
`confirm`, or `rollback` when it failed: until then memory does not know the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.intake.check import Checked
from penstock.intake.refusals import Refused
from penstock.log.model import ChainPoint, LogBatch
from penstock.project.model import SourceFile, Stream
from penstock.sources.base import Cursor, Receipt


@dataclass(frozen=True)
class RoundInfo:
    """What decides the stamps of a round's rows."""

    watermark: datetime | None
    """The stream's watermark when the round began; None in a first round and in a backfill."""
    stream_watermark: datetime | None
    """The stream's watermark as it is once this batch is in."""


@dataclass(frozen=True)
class Decided:
    """What one transaction writes. read = accepted + quarantined + duplicates, always."""

    batch: LogBatch | None
    """None when no row goes to the log; cursor, refusals, receipts and counts are to be committed all the same."""
    refused: tuple[Refused, ...]
    source: str
    watermark: datetime | None
    """The stamp of this round, which quarantine keeps for a replay."""
    contract_version: str
    read_at: datetime
    cursor: Cursor
    read: int
    accepted: int
    quarantined: int
    duplicates: int
    event_time: datetime | None
    """The highest event time that was accepted, for the watermark."""
    receipts: tuple[Receipt, ...]
    """As the source gave them; the counts of this batch are to be added to those of `item`."""
    item: str | None


class Intake:
    """The memory side of one stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def decide(self, checked: Checked, file: SourceFile, info: RoundInfo) -> Decided:
        """Returns what `checked` adds to the log. Changes nothing that is not undone by `rollback`."""
        return self._decided(checked, file, info, checked.table, 0)

    def confirm(self, point: ChainPoint) -> None:
        """Makes the decided batch part of memory: it is committed in the log at `point`."""

    def rollback(self) -> None:
        """Forgets what was decided and not confirmed."""

    def _decided(self, checked: Checked, file: SourceFile, info: RoundInfo, rows: pa.Table, duplicates: int) -> Decided:
        raw, stream = checked.raw, self._stream
        refused, accepted = checked.refused, rows.num_rows
        batch = None
        if rows.num_rows:
            batch = LogBatch(
                stream=stream.name,
                source=file.name,
                origin=raw.origin,
                table=rows.append_column("_position", positions(checked)),
                ingested_at=raw.read_at,
                watermark=info.watermark,
                stream_watermark=info.stream_watermark,
                contract_version=stream.contract_version,
                read=checked.read,
                accepted=accepted,
                quarantined=len(refused),
                duplicates=duplicates,
                cursor=raw.cursor,
            )
        return Decided(
            batch,
            refused,
            file.name,
            info.watermark,
            stream.contract_version,
            raw.read_at,
            raw.cursor,
            checked.read,
            accepted,
            len(refused),
            duplicates,
            highest_event(rows, stream),
            raw.receipts,
            raw.item,
        )


def positions(checked: Checked) -> pa.Array:
    """Returns the source's position of each row of `checked.table`."""
    found = checked.raw.positions
    return found if checked.indices is None else found.take(pa.array(checked.indices))


def highest_event(rows: pa.Table, stream: Stream) -> datetime | None:
    """Returns the highest event time of `rows` as a UTC instant, None without rows or event time."""
    if stream.event_time is None or not rows.num_rows:
        return None
    return as_instant(pc.max(rows[stream.event_time]).as_py())


def as_instant(value: Any) -> datetime | None:
    """Returns an event time as a UTC instant: of a date its midnight, of a local time the same in UTC."""
    if value is None:
        return None
    if not isinstance(value, datetime) and isinstance(value, date):
        value = datetime.combine(value, time())
    moment: datetime = value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
