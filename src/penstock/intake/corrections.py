"""Upsert streams: the latest row of a key counts; what counted before is taken back.

Per input row, compared with the row of its key that counts now:

- none: +1. A delete: a row of weight 0, remembered so that an older row cannot come back; counted as duplicate.
- stale (its version is not newer) or the same content: a duplicate, nothing is logged.
- other content: -1 with the earlier row's content, stamp and version, and +1 that inherits that stamp.
- a delete: -1 likewise, and a row of weight 0 that holds key and version. After it, an upsert is a new row.

The version is the contract's `version` property. Without one the source's position orders rows where it is a number,
and a position that is read again counts; else rows count as they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.intake.check import Checked, positions_of
from penstock.intake.deciding import KEY, UNIQUE, Indices, Outcome, Past, Remembered, Rows, Uniques, Verdict, look_up
from penstock.intake.earlier import Earlier
from penstock.intake.memory import Entry, Memory
from penstock.log.model import ROW_STAMPS
from penstock.project.model import Stream

Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Current:
    """The row of a key that counts now, or the delete that does."""

    content: int
    version: Any
    gone: bool
    line: int
    """Its row in the table of candidates: the batch's own rows, then the earlier ones."""
    watermark: Any
    stamp: str | None
    """Its `_version`."""
    hash: int


@dataclass(frozen=True)
class _Emitted:
    """One row for the log."""

    row: int
    """The input row that caused it."""
    line: int
    weight: int
    watermark: Any
    stamp: str | None
    hash: int


def decide(stream: Stream, checked: Checked, memory: Memory, past: Past, watermark: Any) -> Outcome:
    """Returns what becomes of `checked`; `watermark` is the stamp of new rows. Raises what `past.rows_at` raises."""
    return _Deciding(stream, checked, memory, past, watermark).outcome()


class _Deciding:
    def __init__(self, stream: Stream, checked: Checked, memory: Memory, past: Past, watermark: Any) -> None:
        assert checked.hashes.keys is not None  # an upsert stream has a key, and a key both hashes
        assert checked.hashes.contents is not None
        self._stream, self._checked, self._past = stream, checked, past
        self._keys, self._contents, self._watermark = checked.hashes.keys, checked.hashes.contents, watermark
        self._count = checked.table.num_rows
        self._deleted = checked.deleted if checked.deleted is not None else np.zeros(self._count, bool)
        self._positions = positions_of(checked)
        self._look = look_up(memory, KEY, checked.hashes.keys)
        self._uniques = Uniques(stream, checked, memory, Earlier(past.rows_at, ()))
        self._accepted = np.zeros(self._count, bool)
        self._emitted: list[_Emitted] = []
        self._verdicts: list[Verdict] = []
        self._current: dict[Key, _Current | None] = {}
        self._of_hash: dict[int, set[Key]] = {}
        self._earlier = Earlier(past.rows_at, ())

    def outcome(self) -> Outcome:
        look, contents = self._look, self._contents
        single = ~look.repeated & ~self._deleted
        same = single & look.found.there & ~look.found.gone() & (look.found.content == contents)
        new = single & ~look.found.there & ~self._uniques.contended(self._count)
        self._accepted |= new
        slow = np.flatnonzero(~same & ~new)
        if len(slow):
            self._one_by_one(slow)
        duplicates = self._count - int(self._accepted.sum()) - len(self._verdicts)
        table, weights, causes = self._log_rows(np.flatnonzero(new))
        shared = {KEY: {h for h, keys in self._of_hash.items() if len(keys) > 1}}
        return Outcome(
            table, self._accepted, duplicates, self._verdicts, self._remembered(table, weights, causes), shared
        )

    def _one_by_one(self, slow: Indices) -> None:
        rows = Rows(self._stream, self._checked, slow)
        entries = {row: self._look.entries(row) for row in rows.slow}
        needed = [e for found in entries.values() for e in found]
        needed += [e for row in rows.slow for e in self._uniques.entries(row)]
        self._earlier = Earlier(self._past.rows_at, needed)
        self._uniques.use(self._earlier)
        for row in rows.slow:
            key = rows.key(row)
            if key not in self._current:
                self._current[key] = self._counting(row, key, entries[row])
            self._delete(row, rows, key) if self._deleted[row] else self._upsert(row, rows, key)

    def _counting(self, row: int, key: Key, entries: list[Entry]) -> _Current | None:
        """Returns what counts of `key` before this batch. Notes which keys share its hash."""
        keys = self._of_hash.setdefault(int(self._keys[row]), set())
        keys.add(key)
        found = None
        for entry in entries:
            other = self._earlier.key(entry, self._stream.primary_key)
            keys.add(other)
            if found is None and other == key:
                value = self._earlier.value
                stamp = value(entry, "_version")
                version = value(entry, self._stream.version) if self._stream.version else _number(stamp)
                line = self._count + self._earlier.index(entry)
                watermark = value(entry, "_watermark")
                found = _Current(entry.content, version, entry.gone, line, watermark, stamp, entry.content)
        return found

    def _version(self, row: int, rows: Rows) -> tuple[Any, str]:
        """Returns what orders `row` and its `_version`."""
        if self._stream.version is not None:
            value = rows.value(row, self._stream.version)
            return value, str(value)
        position = self._positions[row].as_py()
        return _number(str(position)), str(position)

    def _stale(self, version: Any, current: _Current) -> bool:
        if version is None or current.version is None:
            return False
        return bool(version <= current.version if self._stream.version is not None else version < current.version)

    def _upsert(self, row: int, rows: Rows, key: Key) -> None:
        current, content = self._current[key], int(self._contents[row])
        version, stamp = self._version(row, rows)
        if current is not None and (self._stale(version, current) or (not current.gone and current.content == content)):
            return
        verdict = self._uniques.conflict(rows, row, key)
        if verdict is not None:
            self._verdicts.append(verdict)
            return
        watermark = self._watermark
        if current is not None and not current.gone:
            watermark = current.watermark
            self._take_back(row, current)
        self._uniques.take(rows, row, key)
        self._emit(row, 1, watermark, stamp)
        self._current[key] = _Current(content, version, False, row, watermark, stamp, content)

    def _delete(self, row: int, rows: Rows, key: Key) -> None:
        current = self._current[key]
        version, stamp = self._version(row, rows)
        if current is not None and (self._stale(version, current) or (current.gone and version == current.version)):
            return
        counts = current is not None and not current.gone
        if current is not None and counts:
            self._take_back(row, current)
        self._emit(row, 0, self._watermark, stamp, counts=counts)
        self._current[key] = _Current(0, version, True, row, self._watermark, stamp, int(self._contents[row]))

    def _take_back(self, row: int, current: _Current) -> None:
        self._emitted.append(_Emitted(row, current.line, -1, current.watermark, current.stamp, current.hash))
        self._uniques.release(self._unique_values(current.line))

    def _unique_values(self, line: int) -> Mapping[str, Any]:
        columns = self._uniques.columns
        if line < self._count:
            return {c: self._checked.table[c][line].as_py() for c in columns}
        table = self._earlier.table
        return {c: table[c][line - self._count].as_py() for c in columns} if table is not None else {}

    def _emit(self, row: int, weight: int, watermark: Any, stamp: str, *, counts: bool = True) -> None:
        self._emitted.append(_Emitted(row, row, weight, watermark, stamp, int(self._contents[row])))
        self._accepted[row] = counts

    def _log_rows(self, new: Indices) -> tuple[pa.Table, Indices, Indices]:
        """Returns the rows for the log in the order of the rows that cause them, their weights and causes."""
        slow = self._emitted
        causes = np.concatenate([new, np.array([e.row for e in slow], np.int64)])
        order = np.argsort(causes, kind="stable")
        lines = np.concatenate([new, np.array([e.line for e in slow], np.int64)])[order]
        weights = np.concatenate([np.ones(len(new), np.int64), np.array([e.weight for e in slow], np.int64)])[order]
        plain = self._checked.table
        if self._earlier.table is not None:
            plain = pa.concat_tables([plain, _columns(self._earlier.table, plain.schema)])
        table = plain.take(pa.array(lines))
        hashes = np.concatenate([self._contents[new], np.array([e.hash for e in slow], np.uint64)])[order]
        stamps = self._stamps(new) + [e.stamp for e in slow]
        marks = [self._watermark] * len(new) + [e.watermark for e in slow]
        arrays = {
            "_position": self._positions.take(pa.array(causes[order])),
            "_weight": pa.array(weights, pa.int8()),
            "_watermark": pa.array(marks, ROW_STAMPS.field("_watermark").type).take(pa.array(order)),
            "_version": pa.array(stamps, pa.string()).take(pa.array(order)),
            "_hash": pa.array(hashes, pa.uint64()),
        }
        for name, array in arrays.items():
            table = table.append_column(name, array)
        return table, weights, causes[order]

    def _stamps(self, rows: Indices) -> list[str | None]:
        column = self._positions
        if self._stream.version is not None:
            column = self._checked.table[self._stream.version]
        return [str(v) for v in column.take(pa.array(rows)).to_pylist()]

    def _remembered(self, table: pa.Table, weights: Indices, causes: Indices) -> dict[str, Remembered]:
        kept = np.flatnonzero(weights >= 0)
        gone = np.equal(weights[kept], 0)
        contents = np.where(gone, np.uint64(0), self._contents[causes[kept]])
        made = {KEY: Remembered(self._keys[causes[kept]], contents, kept, gone)}
        for name in self._uniques.columns:
            made[UNIQUE + name] = self._remembered_unique(name, table, weights, causes)
        return made

    def _remembered_unique(self, name: str, table: pa.Table, weights: Indices, causes: Indices) -> Remembered:
        """What is taken back is held by nobody, until a later row holds it."""
        hashes = self._checked.hashes.uniques[name]
        taken_back = np.flatnonzero(weights < 0)
        by_row = hashes[causes]
        if len(taken_back):
            by_row = by_row.copy()
            rows = table.take(pa.array(taken_back)).select(self._checked.table.schema.names)
            by_row[taken_back] = self._past.hasher.of(rows).uniques[name]
        held = np.flatnonzero((by_row != 0) & (weights != 0))
        return Remembered(by_row[held], self._keys[causes[held]], held, np.less(weights[held], 0))


def _columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns earlier rows with exactly the contract's columns of today."""
    have = set(table.schema.names)
    arrays = [table[f.name].cast(f.type) if f.name in have else pa.nulls(table.num_rows, f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.lstrip("-").isdigit() else None
