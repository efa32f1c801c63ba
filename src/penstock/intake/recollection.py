"""How a stream's memory stays the log's: taken up at the start, caught up, advanced after each commit.

Memory is a function of the log at one point. `catch_up` and `confirm` are two ways to the same entries: from rows read
back, and from rows just written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.intake.deciding import KEY, UNIQUE, Mask, Outcome, Remembered, look_up
from penstock.intake.duplicates import event_ticks
from penstock.intake.earlier import Earlier, RowsAt
from penstock.intake.hashing import CONNECTION, Hasher, Hashes, Words, is_unique, probe
from penstock.intake.memory import Memory, Table, entry, pack
from penstock.intake.rules import ticks
from penstock.intake.runs import Columns, stable_order
from penstock.intake.texts import Texts
from penstock.log.model import ChainPoint, Slice
from penstock.observe.events import StateRebuilt, emit
from penstock.project.model import Stream


class Recollection:
    """A stream's memory with its way through the log."""

    def __init__(self, stream: Stream, secret: bytes, folder: Path, rows_at: RowsAt, *, key_bits: int = 64) -> None:
        """Takes up the memory in `folder`, which is this stream's alone, where it can be trusted.

        `secret` is the project's; `key_bits` is for tests, as in Hasher. Touches the disk only for streams with a
        primary key or unique properties.
        """
        self.stream = stream
        self._rows_at = rows_at
        self._con = duckdb.connect(config={**CONNECTION, "threads": 1})
        self._con.execute("SET TimeZone = 'UTC'").fetchall()
        self._hasher = Hasher(stream, secret, self._con, key_bits)
        self._texts = Texts(self._con)
        self._pending: tuple[Outcome, int | None] | None = None
        self._caught_up = False
        self._sure = False
        """Whether memory holds all of the stream up to the log's end, so that it may pass other streams' commits."""
        tables = _tables(stream, folder)
        self.memory = Memory(folder, _fingerprint(stream, secret, self._con, key_bits), tables) if tables else None

    @property
    def point(self) -> ChainPoint | None:
        """The point of the log memory stands for; None for a stream that needs no memory."""
        return None if self.memory is None else self.memory.point

    def reset(self) -> None:
        """Forgets everything: the log does not hold `point`. Raises MemoryUnusable."""
        self._pending = None
        self._caught_up = self._sure = False
        if self.memory is not None:
            self.memory.reset()

    def catch_up(self, slices: Iterable[Slice], end: ChainPoint) -> None:
        """Adds the stream's batches after `point`, in order; memory then stands for `end`.

        Emits StateRebuilt when it began at the log's start. Raises MemoryUnusable and what `rows_at` raises.
        """
        if self.memory is None:
            self._caught_up = self._sure = True
            return
        self._sure = False
        began, fresh, rows = time.monotonic(), not self.memory.point.batch_id, 0
        for slice_ in slices:
            self._recall(slice_, self.memory)
            rows += slice_.table.num_rows
        self.memory.advance(end)
        self._caught_up = self._sure = True
        if fresh and rows:
            why = self.memory.started or "the log does not hold its point"
            emit(StateRebuilt(f"memory of {self.stream.name}", why, rows, time.monotonic() - began))

    def confirm(self, point: ChainPoint) -> None:
        """Makes what was decided part of memory: it is committed at `point`. Raises MemoryUnusable.

        To be called too, without a decision, for commits that hold no row of this stream. These are passed over until
        `catch_up` when memory may lack something before them: it was just taken up, or a decision was rolled back,
        whose transaction may have gone through all the same.
        """
        pending, self._pending = self._pending, None
        if self.memory is None or (pending is None and not self._sure):
            return
        if pending is not None:
            outcome, horizon = pending
            entries = {name: _placed(r, point.position) for name, r in outcome.remembered.items()}
            self.memory.add(entries, outcome.shared, horizon)
        self._sure = True
        self.memory.advance(point)

    def rollback(self) -> None:
        """Forgets what was decided and not confirmed. Without knowing whether it was committed, catch up next."""
        self._pending = None
        self._sure = False

    def close(self) -> None:
        """Saves memory and lets go of everything. Raises MemoryUnusable."""
        if self.memory is not None:
            self.memory.close()
        self._con.close()

    def _must_be_settled(self) -> None:
        if self.memory is not None and not self._caught_up:
            msg = "memory must catch up with the log before it decides"
            raise RuntimeError(msg)
        if self._pending is not None:
            msg = "the batch before is neither confirmed nor rolled back"
            raise RuntimeError(msg)

    def _await(self, outcome: Outcome, stream_watermark: datetime | None) -> None:
        self._pending = (outcome, self._horizon(stream_watermark))

    def _horizon(self, stream_watermark: datetime | None) -> int | None:
        """Event time (microseconds) up to which keys are forgotten once the watermark stands there."""
        if self.stream.duplicates_within is None or stream_watermark is None:
            return None
        back: timedelta = self.stream.duplicates_within
        floor = datetime.min.replace(tzinfo=UTC)
        return int(ticks(stream_watermark - back if stream_watermark - floor > back else floor))

    def _recall(self, slice_: Slice, memory: Memory) -> None:
        table = _todays_columns(slice_.table, self.stream)
        hashes = self._hasher.of(table)
        weights = slice_.table["_weight"].combine_chunks().to_numpy(zero_copy_only=False)
        rows = slice_.table["_row"].combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
        upserts = self.stream.changes == "upsert"
        shared = {KEY: self._sharing(table, hashes.keys, weights < 0, memory)}
        kept = np.ones(len(weights), bool) if upserts else weights > 0
        remembered = _remembered(hashes, rows, weights, kept)
        if self.stream.duplicates_within is not None and KEY in remembered:
            key = remembered[KEY]
            events = event_ticks(self.stream, table)[kept]
            remembered[KEY] = Remembered(key.hashes, key.contents, key.rows, key.gone, events)
        position = slice_.entry.point.position
        horizon = self._horizon(slice_.entry.stream_watermark)
        memory.add({name: _placed(r, position) for name, r in remembered.items()}, shared, horizon)
        memory.advance(slice_.entry.point)

    def _sharing(self, table: pa.Table, keys: Words | None, taken_back: Mask, memory: Memory) -> set[int]:
        """Returns the hashes of `table` that belong to more than one key, in it or before it."""
        if keys is None or not len(keys):
            return set()
        order = stable_order(keys)
        names = self.stream.primary_key
        same_hash = np.equal(keys[order][1:], keys[order][:-1])
        ordered = table.select(names).take(pa.array(order))
        pairs = (ordered.slice(1), ordered.slice(0, table.num_rows - 1))
        differ = np.zeros(len(keys) - 1, bool)
        for name in names:
            differ |= ~pc.equal(*(p[name] for p in pairs)).to_numpy()
        shared = set(keys[order][1:][same_hash & differ].tolist())
        look = look_up(memory, KEY, keys)
        # A batch that begins with taking a key back speaks of the key that memory has. A later -1 may be of a row of
        # this batch, and says nothing of what was there before.
        firsts = order[np.concatenate(([True], ~same_hash))]
        settled = keys[firsts[taken_back[firsts]]]
        doubtful = np.flatnonzero(look.found.there & ~np.isin(keys, settled))
        entries = [entry((int(look.found.content[i]), int(look.found.place[i]))) for i in doubtful]
        earlier = Earlier(self._rows_at, entries)
        now = table.select(names).take(pa.array(doubtful)).to_pylist()
        for i, e, row in zip(doubtful, entries, now, strict=True):
            if earlier.key(e, names) != tuple(row.values()):
                shared.add(int(keys[i]))
        return shared


def _tables(stream: Stream, folder: Path) -> dict[str, Table]:
    tables = {}
    if stream.primary_key:
        forgets = stream.duplicates_within is not None
        tables[KEY] = Table(folder, KEY, forgets=forgets)
    for i, column in enumerate(stream.columns):
        if is_unique(stream, column.name):
            name = UNIQUE + column.name
            tables[name] = Table(folder, f"{UNIQUE}{i}", forgets=False)
    return tables


def _fingerprint(stream: Stream, secret: bytes, con: duckdb.DuckDBPyConnection, bits: int) -> str:
    """Everything entries depend on besides the log."""
    parts = [
        stream.name,
        [(c.name, str(c.type), c.unique) for c in stream.columns],
        stream.primary_key,
        stream.changes,
        stream.event_time,
        str(stream.duplicates_within),
        hashlib.sha256(b"memory" + secret).hexdigest(),
        probe(con),
        bits,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _placed(r: Remembered, position: int) -> Columns:
    """Returns entries with their places, now that the batch has a position."""
    columns = (r.hashes, r.contents, pack(position, r.rows, r.gone))
    return columns if r.events is None else (*columns, r.events.view(np.uint64))


def _todays_columns(table: pa.Table, stream: Stream) -> pa.Table:
    """Returns the contract's columns; those of an older contract's rows that did not exist are NULL."""
    have = set(table.schema.names)
    columns = {
        c.name: table[c.name].cast(c.type.arrow) if c.name in have else pa.nulls(table.num_rows, c.type.arrow)
        for c in stream.columns
    }
    return pa.table(columns)


def _remembered(hashes: Hashes, rows: pa.Array, weights: pa.Array, kept: Mask) -> dict[str, Remembered]:
    made = {}
    gone = weights <= 0
    if hashes.keys is not None and hashes.contents is not None:
        contents = np.where(gone, np.uint64(0), hashes.contents)
        made[KEY] = Remembered(hashes.keys[kept], contents[kept], rows[kept], gone[kept])
    for name, values in hashes.uniques.items():
        held = kept & (values != 0) & (weights != 0)
        owners = hashes.keys[held] if hashes.keys is not None else np.zeros(int(held.sum()), np.uint64)
        made[UNIQUE + name] = Remembered(values[held], owners, rows[held], gone[held])
    return made
