"""The one place where the log grows: batches of all sources, one after another, each in one transaction.

A transaction holds the batch's rows, its refusals, the counts, receipts and the cursor. What memory decides about a
batch counts only once that transaction is committed; when a commit fails or its outcome is unknown, memory is brought
up to what the log really holds before the next batch is decided.

Time is kept here too, as the rounds of all sources of a stream decide its watermark.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from penstock.intake.check import Checked
from penstock.intake.stage import Decided, Intake, RoundInfo
from penstock.intake.watermark import SourceTime, risen
from penstock.log.model import ROW_STAMPS, BatchEntry, LogBatch, Position
from penstock.observe import emit
from penstock.observe.events import BatchKept, Step
from penstock.operate.core import Core
from penstock.operate.errors import SourceChanged
from penstock.project.model import SourceFile, Stream
from penstock.sources.base import RawBatch, Receipt
from penstock.store.connect import Connection, errors_explained
from penstock.store.sources import (
    Arrival,
    Counts,
    Refused,
    SourceRow,
    begin_round,
    count_receipt,
    end_round,
    ensure_source,
    load_receipts,
    load_sources,
    put_in_quarantine,
    record_batch,
    save_receipts,
)
from penstock.store.writer import check_token

TELL_EVERY = timedelta(seconds=5)
"""How often the end of a round that found nothing is written, for `status`."""


@dataclass
class StreamKeeper:
    """One stream's memory and time."""

    stream: Stream
    intake: Intake
    watermark: datetime | None = None
    stale: bool = True
    """Whether memory must be brought up to the log's end before it may decide."""


class Committer:
    """Appends to the log. Its methods may be called from every source's thread; one batch is in work at a time."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.quarantined = 0
        """Rows refused by this run."""
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._rows: dict[str, SourceRow] = {}
        self._files = core.project.sources
        self._found: set[str] = set()
        """Sources whose open round has read rows."""
        self._first_success: dict[str, datetime] = {}
        self._told: dict[str, datetime] = {}
        """When a source's last completed round was last written."""
        self._behind = set(self._files)
        """Sources that failed, are stopped, are in the middle of a round, or have completed none since this run began
        (what came in while nothing ran is still to be read): they hold the watermark back."""
        self._begun: set[str] = set()
        """Sources whose round has begun and not ended, though it may have committed nothing yet."""
        self._streams = {s.name: StreamKeeper(s, self._intake(s)) for s in core.project.streams.values()}

    def _intake(self, stream: Stream) -> Intake:
        return Intake(stream, self.core.store.secret, self.core.state / "memory" / stream.name, self._rows_at)

    def _rows_at(self, position: Position, rows: Sequence[int]) -> pa.Table:
        """Rows of the log that memory asks for. On a connection of its own: it may ask within a transaction."""
        with self.core.store.connect("penstock memory") as connection, errors_explained(self.core.store):
            return self.core.log.batch(connection, position).table.take(pa.array(rows))

    # ---- life ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Takes up what is committed: where every source stands, every stream's watermark and the log's ends."""
        with self._lock:
            connection = self._connected()
            with connection.transaction():
                check_token(connection, self.core.lease.token)
                known = load_sources(connection)
                for file in self._files.values():
                    _refuse_changed(file, known.get(file.name))
                    ensure_source(connection, file.name, file.type, file.stream, file.renamed_from)
            self._rows = load_sources(connection)
            self._publish_ends(connection)

    def close(self, seconds: float = 10.0) -> None:
        """Saves memory. A commit that hangs for `seconds` is left to the process's end: memory is caught up then."""
        if not self._lock.acquire(timeout=seconds):
            return
        try:
            for keeper in self._streams.values():
                keeper.intake.close()
            self._disconnect()
        finally:
            self._lock.release()

    def source(self, name: str) -> tuple[SourceRow, dict[str, Receipt]]:
        """Returns where a source stands, as committed."""
        with self._lock:
            connection = self._connected()
            self._rows[name] = load_sources(connection)[name]
            self._begun.discard(name)
            return self._rows[name], load_receipts(connection, name)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self.core.store.connect("penstock intake")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _publish_ends(self, connection: Connection) -> None:
        for keeper in self._streams.values():
            last = self.core.log.last(connection, keeper.stream.name)
            if last:
                keeper.watermark = last.stream_watermark
                self.core.ends.publish(keeper.stream.name, last.point)

    # ---- batches -------------------------------------------------------------------------------------------------

    def commit(self, name: str, raw: RawBatch, checked: Checked) -> Decided:
        """Decides about a checked batch and commits it: rows, refusals, receipts, counts and cursor at once."""
        began = time.perf_counter()
        with self._lock:
            row, keeper = self._rows[name], self._streams[self._files[name].stream]
            self._refresh(keeper)
            info = RoundInfo(None if row.first_round else row.round_watermark, keeper.watermark)
            try:
                decided = keeper.intake.decide(checked, self._files[name], info)
                row, entry = self._write(row, info, decided)
            except BaseException:
                self._distrust(keeper)
                raise
            self._rows[name] = row
            if decided.read:
                self._found.add(name)
            self._settle(keeper, entry)
            self.quarantined += decided.quarantined
        self._tell(decided, entry, time.perf_counter() - began)
        return decided

    def _settle(self, keeper: StreamKeeper, entry: BatchEntry | None) -> None:
        """The transaction is committed: memory follows; pipelines are told."""
        if entry is None:
            keeper.intake.rollback()
            return
        self.core.ends.publish(keeper.stream.name, entry.point, entry.rows)
        try:
            for each in self._streams.values():
                each.intake.confirm(entry.point)
        except Exception:
            # The batch is in the log all the same: a new memory learns of it from there.
            for each in self._streams.values():
                with contextlib.suppress(Exception):
                    each.intake.close()
                each.intake = self._intake(each.stream)
                each.stale = True
            raise

    def _refresh(self, keeper: StreamKeeper) -> None:
        """Brings memory up to the log's end when it may not be there."""
        if keeper.stale:
            connection = self._connected()
            with errors_explained(self.core.store):
                end = self.core.log.end(connection)
                point = keeper.intake.point
                if point is not None and not self.core.log.contains(connection, point):
                    keeper.intake.reset()
                after = keeper.intake.point or end
                slices = self.core.log.read(connection, after, end, streams=[keeper.stream.name])
                keeper.intake.catch_up(slices, end)
                self._publish_ends(connection)
            keeper.stale = False

    def _distrust(self, keeper: StreamKeeper) -> None:
        """A commit failed or its outcome is unknown: memory and connection start again from what is committed."""
        for each in self._streams.values():
            each.intake.rollback()
            each.stale = True
        self._disconnect()

    def _write(self, row: SourceRow, info: RoundInfo, decided: Decided) -> tuple[SourceRow, BatchEntry | None]:
        connection = self._connected()
        counts = Counts(decided.read, decided.accepted, decided.quarantined, decided.duplicates)
        emit(Step("intake.before_transaction", row.name))
        with errors_explained(self.core.store), connection.transaction():
            check_token(connection, self.core.lease.token)
            begin_round(connection, row.name, info.watermark)
            entry = self.core.log.append(decided.batch, connection) if decided.batch else None
            self._write_refused(connection, decided, entry)
            save_receipts(connection, row.name, decided.receipts)
            if decided.item is not None:
                count_receipt(connection, row.name, decided.item, counts)
            record_batch(connection, row.name, decided.cursor, counts, decided.event_time)
            emit(Step("intake.before_commit", row.name))
        emit(Step("intake.committed", row.name))
        return _after_batch(row, info, decided), entry

    def _write_refused(self, tx: Connection, decided: Decided, entry: BatchEntry | None) -> None:
        if not decided.refused:
            return
        at = entry.point.position if entry else self.core.log.end(tx).position
        stream = self._files[decided.source].stream
        arrival = Arrival(decided.source, stream, decided.contract_version, at, decided.watermark, decided.read_at)
        rows = (Refused(r.rule, r.reason, r.original, r.origin, r.position, r.mapped) for r in decided.refused)
        put_in_quarantine(tx, arrival, rows)

    def _tell(self, decided: Decided, entry: BatchEntry | None, seconds: float) -> None:
        if decided.read:
            emit(
                BatchKept(
                    source=decided.source, stream=self._files[decided.source].stream,
                    position=entry.point.position if entry else 0, read=decided.read, accepted=decided.accepted,
                    quarantined=decided.quarantined, duplicates=decided.duplicates, seconds=seconds,
                )
            )  # fmt: skip

    # ---- rounds and time -----------------------------------------------------------------------------------------

    def begin_round(self, name: str) -> bool:
        """A source begins a round, or goes on with one that was cut off. It holds the watermark back until it ends.

        Returns whether the round is the source's first: its history.
        """
        with self._lock:
            self._behind.add(name)
            row, keeper = self._rows[name], self._streams[self._files[name].stream]
            if not row.round_open and name not in self._begun:
                self._rows[name] = replace(row, round_watermark=None if row.first_round else keeper.watermark)
            self._begun.add(name)
            return row.first_round

    def end_round(self, name: str, now: datetime) -> None:
        """A source's round is complete: its watermark may rise, and with it the stream's."""
        with self._lock:
            row, keeper = self._rows[name], self._streams[self._files[name].stream]
            self._behind.discard(name)
            self._begun.discard(name)
            self._first_success.setdefault(name, now)
            found = name in self._found or (row.round_open and row.round_high is not None)
            self._rows[name] = _after_round(row, now, found=found)
            try:
                self._save_round(keeper, row, now, found=found)
            except BaseException:
                self._rows[name] = row
                self._distrust(keeper)
                raise
            self._found.discard(name)

    def hold_back(self, name: str) -> None:
        """A source failed or stopped: its stream's watermark stands still until it is well again."""
        with self._lock:
            self._behind.add(name)

    def _save_round(self, keeper: StreamKeeper, row: SourceRow, now: datetime, *, found: bool) -> None:
        """Writes the end of a round, and an empty batch when the stream's watermark rises by it."""
        self._refresh(keeper)
        mark = self._risen(keeper, now)
        told = self._told.get(row.name)
        if mark is None and not (row.round_open or row.first_round) and told and now - told < TELL_EVERY:
            return
        connection = self._connected()
        entry = None
        with errors_explained(self.core.store), connection.transaction():
            check_token(connection, self.core.lease.token)
            end_round(connection, row.name, now, found=found)
            if mark is not None:
                entry = self.core.log.append(_empty_batch(keeper.stream, row, now, mark), connection)
            emit(Step("intake.before_round_commit", row.name))
        self._told[row.name] = now
        if entry:
            keeper.watermark = mark
            self._settle(keeper, entry)

    def _risen(self, keeper: StreamKeeper, now: datetime) -> datetime | None:
        """The stream's new watermark, None when it stays."""
        files = [f for f in self._files.values() if f.stream == keeper.stream.name]
        return risen(keeper.watermark, [self._time_of(file, keeper.stream) for file in files], now)

    def _time_of(self, file: SourceFile, stream: Stream) -> SourceTime:
        row = self._rows[file.name]
        return SourceTime(
            first_round=row.first_round,
            high=row.high,
            last_success=row.last_success,
            last_found=row.last_found,
            held=file.name in self._behind,
            allowed_lateness=stream.allowed_lateness if file.allowed_lateness is None else file.allowed_lateness,
            idle_after=file.idle_after or stream.idle_after,
            first_success=self._first_success.get(file.name),
        )


def _refuse_changed(file: SourceFile, known: SourceRow | None) -> None:
    """Raises SourceChanged when the source has read something that its file no longer speaks of."""
    if known is None or not known.read or (known.type, known.stream) == (file.type, file.stream):
        return
    found = f"source {file.name} read {known.read} rows of type {known.type} into stream {known.stream}; now it is "
    found += f"of type {file.type} and stream {file.stream}"
    raise SourceChanged(found, hint="give the changed source another name", place=file.place)


def _later(a: datetime | None, b: datetime | None) -> datetime | None:
    return max((t for t in (a, b) if t), default=None)


def _after_batch(row: SourceRow, info: RoundInfo, decided: Decided) -> SourceRow:
    """Where the source stands once the batch is committed, as the store computes it too."""
    before = row.round_high if row.round_open else None
    return replace(
        row,
        cursor=decided.cursor,
        round=row.round if row.round_open else row.round + 1,
        round_open=True,
        round_watermark=info.watermark,
        round_high=_later(before, decided.event_time),
    )


def _after_round(row: SourceRow, now: datetime, *, found: bool) -> SourceRow:
    return replace(
        row,
        round_open=False,
        first_round=False,
        high=_later(row.high, row.round_high),
        round_high=None,
        last_success=now,
        last_found=now if found else row.last_found,
    )


def _empty_batch(stream: Stream, source: SourceRow, now: datetime, watermark: datetime) -> LogBatch:
    """A rise of the watermark without rows."""
    columns = [pa.field(c.name, c.type.arrow) for c in stream.columns]
    table = pa.schema([*columns, ROW_STAMPS.field("_position")]).empty_table()
    return LogBatch(
        stream=stream.name, source=source.name, origin="", table=table,
        ingested_at=now.astimezone(UTC), watermark=None, stream_watermark=watermark,
        contract_version=stream.contract_version, read=0, accepted=0, quarantined=0, duplicates=0, cursor=source.cursor,
    )  # fmt: skip
