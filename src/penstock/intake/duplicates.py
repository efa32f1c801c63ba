"""Append streams: the first row of a key is a fact; the same again is a duplicate, another content a conflict.

Rows whose hashes are new, or known with the same content, are decided as whole columns. The few others (a key twice
in the batch, another content, one hash for two keys, a contended `unique` value) are looked at one by one, in order,
with the earlier rows read back from the log.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.intake.check import Checked
from penstock.intake.deciding import (
    KEY,
    UNIQUE,
    Indices,
    Mask,
    Outcome,
    Past,
    Remembered,
    Rows,
    Uniques,
    Verdict,
    look_up,
)
from penstock.intake.earlier import Earlier
from penstock.intake.memory import Entry, Memory
from penstock.intake.refusals import quoted
from penstock.project.model import Stream


def decide(stream: Stream, checked: Checked, memory: Memory, past: Past) -> Outcome:
    """Returns what becomes of `checked`. Raises what `past.rows_at` raises."""
    return _Deciding(stream, checked, memory, past).outcome()


class _Deciding:
    def __init__(self, stream: Stream, checked: Checked, memory: Memory, past: Past) -> None:
        self._stream, self._checked, self._past = stream, checked, past
        self._count = checked.table.num_rows
        self._accepted = np.zeros(self._count, bool)
        self._duplicate = np.zeros(self._count, bool)
        self._verdicts: list[Verdict] = []
        self._shared: set[int] = set()
        self._events = event_ticks(stream, checked.table) if stream.duplicates_within is not None else None
        self._horizon = memory.tables[KEY].horizon if KEY in memory.tables else None
        self._look = look_up(memory, KEY, checked.hashes.keys) if checked.hashes.keys is not None else None
        self._uniques = Uniques(stream, checked, memory, Earlier(past.rows_at, ()))
        self._here: dict[int, list[tuple[tuple[Any, ...], int, int]]] = {}
        """Key hash -> (key, content, row) of the rows of this batch accepted one by one."""

    def outcome(self) -> Outcome:
        slow = self._whole_columns()
        if len(slow):
            self._one_by_one(slow)
        rows = self._checked.table.filter(pa.array(self._accepted)) if not self._accepted.all() else self._checked.table
        return Outcome(
            rows, self._accepted, int(self._duplicate.sum()), self._verdicts, self._remembered(), {KEY: self._shared}
        )

    def _whole_columns(self) -> Indices:
        """Decides what needs no look at a single row; returns the others."""
        open_ = ~self._too_old()
        contended = self._uniques.contended(self._count)
        if self._look is not None:
            known = self._look.found.there
            contents = self._checked.hashes.contents
            assert contents is not None  # a stream with a key has both hashes
            self._duplicate = open_ & known & (self._look.found.content == contents)
            contended |= known | self._look.repeated
        self._accepted = open_ & ~contended & ~self._duplicate
        return np.flatnonzero(open_ & ~self._accepted & ~self._duplicate)

    def _too_old(self) -> Mask:
        """Refuses rows older than what is remembered: whether they are duplicates cannot be told."""
        if self._events is None or self._horizon is None:
            return np.zeros(self._count, bool)
        old = self._events < self._horizon
        name = self._stream.event_time or ""
        for row in np.flatnonzero(old).tolist():
            found = quoted(str(self._checked.table[name][row].as_py()))
            why = (
                f"keys are remembered for {self._stream.duplicates_within}, so whether it is a duplicate cannot be told"
            )
            self._verdicts.append(Verdict(row, "duplicatesWithin", name, f"{name} is {found}: {why}"))
        return old

    def _one_by_one(self, slow: Indices) -> None:
        rows = Rows(self._stream, self._checked, slow)
        candidates = {row: self._candidates(row) for row in rows.slow}
        needed = [e for found in candidates.values() for e in found]
        needed += [e for row in rows.slow for e in self._uniques.entries(row)]
        earlier = Earlier(self._past.rows_at, needed)
        self._uniques.use(earlier)
        for row in rows.slow:
            self._one(row, rows, candidates[row], earlier)

    def _candidates(self, row: int) -> list[Entry]:
        found = self._look.entries(row) if self._look is not None else []
        return [e for e in found if self._events is None or self._horizon is None or e.event >= self._horizon]

    def _one(self, row: int, rows: Rows, candidates: list[Entry], earlier: Earlier) -> None:
        key, content, hash_ = rows.key(row), self._content(row), self._hash(row)
        alike = self._here.setdefault(hash_, []) if key else []
        if key and (any(e.content == content for e in candidates) or any(c == content for _, c, _ in alike)):
            self._duplicate[row] = True
            return
        verdict = self._conflict(row, key, candidates, earlier) or self._uniques.conflict(rows, row, key)
        if verdict is not None:
            self._verdicts.append(verdict)
            return
        self._accepted[row] = True
        if alike or candidates:
            self._shared.add(hash_)
        alike.append((key, content, row))
        self._uniques.take(rows, row, key)

    def _content(self, row: int) -> int:
        return int(self._checked.hashes.contents[row]) if self._checked.hashes.contents is not None else 0

    def _hash(self, row: int) -> int:
        return int(self._checked.hashes.keys[row]) if self._checked.hashes.keys is not None else 0

    def _conflict(self, row: int, key: tuple[Any, ...], candidates: list[Entry], earlier: Earlier) -> Verdict | None:
        """Returns why a row of a known key and another content is refused; None when the key only shares its hash."""
        if not key:
            return None
        names = self._stream.primary_key
        for entry in candidates:
            if earlier.key(entry, names) == key:
                old = {c.name: earlier.value(entry, c.name) for c in self._stream.columns}
                return self._differs(row, key, old, f"row {entry.row} of batch {entry.position}")
        for other, _, at in self._here.get(self._hash(row), []):
            if other == key:
                old = {c.name: self._checked.table[c.name][at].as_py() for c in self._stream.columns}
                return self._differs(row, key, old, "an earlier row of this batch")
        return None

    def _differs(self, row: int, key: tuple[Any, ...], old: dict[str, Any], place: str) -> Verdict:
        now = {c.name: self._checked.table[c.name][row].as_py() for c in self._stream.columns}
        changed = [n for n in now if now[n] != old[n]]
        told = ", ".join(f"{n} was {_shown(old[n])}, is {_shown(now[n])}" for n in changed[:3])
        names = self._stream.primary_key
        of = ", ".join(f"{n} {_shown(v)}" for n, v in zip(names, key, strict=True))
        return Verdict(
            row, "conflict", names[0], f"{of} is known with other content from {place}: {told or 'unlike it'}"
        )

    def _remembered(self) -> dict[str, Remembered]:
        kept = np.flatnonzero(self._accepted)
        n = len(kept)
        made, checked = {}, self._checked
        if checked.hashes.keys is not None and checked.hashes.contents is not None:
            events = self._events[kept] if self._events is not None else None
            made[KEY] = Remembered(
                checked.hashes.keys[kept], checked.hashes.contents[kept], np.arange(n), np.zeros(n, bool), events
            )
        for name, hashes in checked.hashes.uniques.items():
            held = np.flatnonzero(hashes[kept])
            owners = (
                checked.hashes.keys[kept][held] if checked.hashes.keys is not None else np.zeros(len(held), np.uint64)
            )
            made[UNIQUE + name] = Remembered(hashes[kept][held], owners, held, np.zeros(len(held), bool))
        return made


def _shown(value: Any) -> str:
    return quoted(None if value is None else str(value))


def event_ticks(stream: Stream, table: pa.Table) -> npt.NDArray[np.int64]:
    """Returns the event times in microseconds since 1970."""
    column = table[stream.event_time].combine_chunks()
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    ticks: npt.NDArray[np.int64] = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return ticks
