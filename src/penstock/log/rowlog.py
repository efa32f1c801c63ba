"""The log itself: append a batch, read slices back.

A batch is encoded into a block. A block of 256 KiB or more becomes a segment, durable before the transaction that names
it; a smaller one goes into the manifest row. What the latest appends held stays in memory for a while, so that the
pipelines of the same process need not read it back. Reading verifies the chain and every block's checksum; a block that
is gone because compaction moved it is looked up again.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from penstock.log import blocks, manifest
from penstock.log.errors import OtherChain, SegmentMissing
from penstock.log.manifest import Connection, Located
from penstock.log.model import BatchEntry, ChainPoint, LogBatch, Position, Slice
from penstock.log.segments import Segments
from penstock.observe import emit
from penstock.observe.events import Step

INLINE_BYTES = 256 * 1024
RECENT_BYTES = 128 * 1024 * 1024
INLINE_PAGE = 64


@dataclass(frozen=True)
class Prepared:
    """A batch that is encoded and, where it is big, durable in its segment; ready to be appended after its parent."""

    batch: LogBatch
    entry: BatchEntry
    length: int
    inline: bytes | None


class RowLog:
    """The log of one project. Appending is for one thread at a time; reading for any, each with its own connection."""

    def __init__(self, segments: Segments, recent_bytes: int = RECENT_BYTES) -> None:
        self.segments = segments
        self._recent = _Recent(recent_bytes)

    def prepare(self, batch: LogBatch, after: ChainPoint) -> Prepared:
        """Encodes `batch` as the one that follows `after`, and writes its segment. Needs no connection.

        So it can be done while the batch before is still being committed. Raises LogError.
        """
        point = ChainPoint(Position(after.position + 1), str(uuid.uuid4()))
        least, greatest = blocks.event_times(batch)
        entry = BatchEntry(
            point=point,
            parent_id=after.batch_id,
            stream=batch.stream,
            source=batch.source,
            origin=batch.origin,
            rows=batch.table.num_rows,
            has_negative=blocks.has_negative(batch.table),
            ingested_at=batch.ingested_at,
            watermark=batch.watermark,
            stream_watermark=batch.stream_watermark,
            contract_version=batch.contract_version,
            event_time_min=least,
            event_time_max=greatest,
            segment=None,
            checksum="",
        )
        block = blocks.encode(batch.table, [entry])
        entry = replace(entry, checksum=blocks.checksum(block))
        if block.size < INLINE_BYTES:
            return Prepared(batch, entry, block.size, block.to_pybytes())
        name = f"{point.batch_id}.arrow"
        self.segments.put(name, block)
        return Prepared(batch, replace(entry, segment=name), block.size, None)

    def append(self, batch: LogBatch | Prepared, tx: Connection) -> BatchEntry:
        """Adds the batch to the log within the transaction `tx`; it is in the log once that commits.

        A prepared batch must follow the log's end; raises OtherChain when it does not. Other errors: LogError, and
        psycopg's as they are.
        """
        prepared = batch if isinstance(batch, Prepared) else self.prepare(batch, manifest.end(tx))
        entry = prepared.entry
        if not manifest.insert(tx, entry, prepared.batch, prepared.inline, prepared.length):
            msg = f"batch {entry.point.batch_id} was prepared for position {entry.point.position}, "
            msg += f"the log's end is {manifest.end(tx).position}"
            raise OtherChain(msg, hint="prepare it again")
        emit(Step("log.appended", entry.source))
        # Before the commit: readers only ask for it once they have seen its manifest row.
        self._recent.put(entry.point.batch_id, prepared.batch.table)
        return entry

    def end(self, connection: Connection) -> ChainPoint:
        """Returns the log's end; ORIGIN when it is empty."""
        return manifest.end(connection)

    def batch(self, connection: Connection, position: Position) -> Slice:
        """Returns one batch. Raises OtherChain when there is none at `position`, and what `read` raises."""
        found = manifest.locate(connection, position)
        if found is None:
            msg = f"there is no batch at position {position}"
            raise OtherChain(msg, hint="what remembers it is built again from the log")
        return next(iter(_Reader(self.segments, self._recent, connection, None).slices([found])))

    def last(self, connection: Connection, stream: str) -> BatchEntry | None:
        """Returns the newest entry of a stream, None when it has none."""
        return manifest.last(connection, stream)

    def contains(self, connection: Connection, point: ChainPoint) -> bool:
        """Whether `point` is of this log's history."""
        return manifest.contains(connection, point)

    def entries(
        self,
        connection: Connection,
        after: ChainPoint,
        up_to: ChainPoint | None = None,
        *,
        streams: Iterable[str] | None = None,
        event_time: tuple[datetime | None, datetime | None] = (None, None),
    ) -> Iterator[BatchEntry]:
        """Yields the entries after `after` up to `up_to` (the end), as `read` would, without their rows."""
        for found in self._located(connection, after, up_to, streams, event_time):
            yield found.entry

    def read(
        self,
        connection: Connection,
        after: ChainPoint,
        up_to: ChainPoint | None = None,
        *,
        streams: Iterable[str] | None = None,
        columns: pa.Schema | None = None,
        event_time: tuple[datetime | None, datetime | None] = (None, None),
    ) -> Iterator[Slice]:
        """Yields the batches after `after` up to `up_to` (the end), in order, one in memory at a time.

        Of `streams` alone where given. `columns` are the contract's columns and stamps that are wanted, with types;
        others are not even decompressed, and those a batch does not have are null. `event_time` leaves out batches
        that have no row from its first instant to before its second; what is yielded is whole batches.

        Raises OtherChain when a point is not of this log, SegmentMissing, SegmentDamaged, ManifestBroken.
        """
        reader = _Reader(self.segments, self._recent, connection, columns)
        pages = self._located(connection, after, up_to, streams, event_time)
        while page := list(itertools.islice(pages, INLINE_PAGE)):
            yield from reader.slices(page)

    def stored(self, connection: Connection, page: Iterable[Located]) -> Iterator[tuple[Located, pa.Table]]:
        """Yields the rows of those batches as they are stored: without the stamps that are the same in a batch."""
        return _Reader(self.segments, self._recent, connection, None).stored(list(page))

    def _located(
        self,
        connection: Connection,
        after: ChainPoint,
        up_to: ChainPoint | None,
        streams: Iterable[str] | None,
        event_time: tuple[datetime | None, datetime | None],
    ) -> Iterator[Located]:
        until = manifest.end(connection) if up_to is None else up_to
        manifest.check_chain(connection, after, until)
        yield from manifest.located(connection, after.position, until.position, streams, event_time)

    def remove_orphans(self, connection: Connection, older_than: timedelta = timedelta(hours=1)) -> int:
        """Deletes segments that no batch names: left by crashes before their commit. Returns how many.

        For the writer alone, between its appends. Only such that were written longer than `older_than` ago.
        """
        named = connection.execute(
            "SELECT segment FROM batch WHERE segment IS NOT NULL UNION SELECT segment FROM segment_garbage"
        ).fetchall()
        known = {row[0] for row in named}
        before = datetime.now(UTC) - older_than
        orphans = [name for name, written in self.segments.names() if name not in known and written < before]
        for name in orphans:
            self.segments.delete(name)
        return len(orphans)


class _Reader:
    """One reading: keeps the block it read last, as compacted blocks hold many batches in a row."""

    def __init__(self, segments: Segments, recent: _Recent, connection: Connection, columns: pa.Schema | None) -> None:
        self.segments = segments
        self.recent = recent
        self.connection = connection
        self.columns = columns
        self._blocks: OrderedDict[str, pa.Table] = OrderedDict()

    def slices(self, page: list[Located]) -> Iterator[Slice]:
        for found, rows in self.stored(page):
            yield Slice(found.entry, blocks.with_stamps(rows, found.entry, self.columns))

    def stored(self, page: list[Located]) -> Iterator[tuple[Located, pa.Table]]:
        wanted = [f.entry for f in page if f.entry.segment is None and not self.recent.has(f.entry.point.batch_id)]
        positions = [int(entry.point.position) for entry in wanted]
        inline = manifest.inline_blocks(self.connection, positions) if positions else {}
        for found in page:
            rows = self.recent.get(found.entry.point.batch_id)
            if rows is None:
                rows = self._rows(found, inline.pop(int(found.entry.point.position), None))
            yield found, rows

    def _rows(self, found: Located, inline: bytes | None) -> pa.Table:
        """Returns the rows of one batch. Looks its place up again when compaction moved it since the entry was read."""
        try:
            block = self._block(found, inline)
        except SegmentMissing:
            position = int(found.entry.point.position)
            again = manifest.locate(self.connection, position)
            inline = manifest.inline_blocks(self.connection, [position]).get(position)
            if again is None or (inline is None and again.entry.segment == found.entry.segment):
                raise
            found, block = again, self._block(again, inline)
        return block.slice(found.row, found.entry.rows)

    def _block(self, found: Located, inline: bytes | None) -> pa.Table:
        entry = found.entry
        names = None if self.columns is None else self.columns.names
        if inline is not None:
            return blocks.decode(pa.py_buffer(inline), entry.checksum, f"batch {entry.point.position}", names)
        if entry.segment is None:
            msg = f"the rows of position {entry.point.position} are not in the store"
            raise SegmentMissing(msg, hint="restore the store from a backup")
        if entry.checksum not in self._blocks:
            content = self.segments.get(entry.segment, found.offset, found.length)
            name = f"segment {entry.segment} (position {entry.point.position})"
            while len(self._blocks) >= 4:
                self._blocks.popitem(last=False)
            self._blocks[entry.checksum] = blocks.decode(content, entry.checksum, name, names)
        self._blocks.move_to_end(entry.checksum)
        return self._blocks[entry.checksum]


class _Recent:
    """The rows of the latest appends by batch id, at most `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()
        self._bytes = 0

    def put(self, batch_id: str, table: pa.Table) -> None:
        size = table.nbytes
        if size > self.limit:
            return
        with self._lock:
            self._tables[batch_id] = table
            self._bytes += size
            while self._bytes > self.limit:
                self._bytes -= self._tables.popitem(last=False)[1].nbytes

    def get(self, batch_id: str) -> pa.Table | None:
        with self._lock:
            return self._tables.get(batch_id)

    def has(self, batch_id: str) -> bool:
        return self.get(batch_id) is not None
