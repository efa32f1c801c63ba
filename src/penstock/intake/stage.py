"""Intake as the writer uses it: decides what a checked batch adds to the log.

Two halves, because they run in different threads. `Checker.check` (in the source's thread) decides everything that
needs only the row itself. `Intake.decide` (in the writer, one batch after the other) decides what needs memory:
duplicates, conflicts, corrections; and stamps what goes to the log. After the batch's transaction the writer calls
`confirm`, or `rollback` when it failed: until then memory does not know the batch.

    start:   intake = Intake(...); if the log lacks intake.point: intake.reset(); intake.catch_up(slices, end)
    a batch: decided = intake.decide(checker.check(raw), file, info); commit; intake.confirm(point)

Should `confirm` fail (a full disk), the batch is committed all the same; close, make a new Intake and catch up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.intake import corrections, duplicates
from penstock.intake.check import Checked, positions_of
from penstock.intake.deciding import Outcome, Past, Verdict
from penstock.intake.recollection import Recollection
from penstock.intake.refusals import Refused
from penstock.log.model import LogBatch
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
    missing: tuple[str, ...] = field(default=())
    """Columns the mapping mentions and the source does not have."""
    unmapped: tuple[str, ...] = field(default=())
    """Columns of the source that nothing maps, for `status`."""


class Intake(Recollection):
    """The memory side of one stream. One thread at a time."""

    def decide(self, checked: Checked, file: SourceFile, info: RoundInfo) -> Decided:
        """Returns what `checked` adds to the log, which `confirm` makes part of memory and `rollback` undoes.

        Raises RuntimeError when the batch before is neither confirmed nor rolled back or memory never caught up,
        PenstockError when earlier rows cannot be read from the log.
        """
        self._must_be_settled()
        outcome = self._outcome(checked, info)
        refused = checked.refused + self._refusals(checked, outcome.verdicts)
        self._await(outcome, info.stream_watermark)
        return _decided(checked, outcome, refused, (self.stream, file.name), info)

    def _outcome(self, checked: Checked, info: RoundInfo) -> Outcome:
        if self.memory is None or not checked.table.num_rows:
            n = checked.table.num_rows
            return Outcome(_positioned(checked.table, checked), np.ones(n, bool), 0)
        past = Past(self._rows_at, self._hasher)
        if self.stream.changes == "upsert":
            return corrections.decide(self.stream, checked, self.memory, past, info.watermark)
        outcome = duplicates.decide(self.stream, checked, self.memory, past)
        hashes = checked.hashes.contents
        outcome.table = _positioned(outcome.table, checked, outcome.accepted)
        if hashes is not None:
            outcome.table = outcome.table.append_column("_hash", pa.array(hashes[outcome.accepted]))
        return outcome

    def _refusals(self, checked: Checked, verdicts: list[Verdict]) -> tuple[Refused, ...]:
        """Returns what quarantine keeps of rows that memory refused."""
        if not verdicts:
            return ()
        raw, rows = checked.raw, [v.row for v in verdicts]
        raw_rows = rows if checked.indices is None else checked.indices[rows].tolist()
        originals = self._texts.originals(raw, raw_rows)
        mapped = self._texts.json(checked.table.take(rows))
        positions = raw.positions.take(pa.array(raw_rows)).to_pylist()
        return tuple(
            Refused(v.rule, v.column, v.reason, originals[i], raw.origin, str(positions[i]), mapped[i])
            for i, v in enumerate(verdicts)
        )


def _positioned(table: pa.Table, checked: Checked, kept: np.ndarray[Any, Any] | None = None) -> pa.Table:
    positions = positions_of(checked)
    if kept is not None and not kept.all():
        positions = positions.filter(pa.array(kept))
    return table.append_column("_position", positions)


def _decided(
    checked: Checked, outcome: Outcome, refused: tuple[Refused, ...], whose: tuple[Stream, str], info: RoundInfo
) -> Decided:
    stream, source = whose
    raw, accepted = checked.raw, int(outcome.accepted.sum())
    batch = None
    if outcome.table.num_rows:
        batch = LogBatch(
            stream=stream.name,
            source=source,
            origin=raw.origin,
            table=outcome.table,
            ingested_at=raw.read_at,
            watermark=info.watermark,
            stream_watermark=info.stream_watermark,
            contract_version=stream.contract_version,
            read=checked.read,
            accepted=accepted,
            quarantined=len(refused),
            duplicates=outcome.duplicates,
            cursor=raw.cursor,
        )
    return Decided(
        batch,
        refused,
        source,
        info.watermark,
        stream.contract_version,
        raw.read_at,
        raw.cursor,
        checked.read,
        accepted,
        len(refused),
        outcome.duplicates,
        highest_event(outcome.table, stream),
        raw.receipts,
        raw.item,
        checked.missing,
        checked.unmapped,
    )


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
