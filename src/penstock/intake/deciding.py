"""What duplicates and corrections have in common: the rows of one batch before memory, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.intake.check import Checked
from penstock.intake.earlier import Earlier, RowsAt
from penstock.intake.hashing import Hasher
from penstock.intake.memory import Entry, Found, Memory, Table, entry
from penstock.intake.runs import Words, stable_order
from penstock.project.model import Stream

KEY = "key"
"""The name of the primary key's table; those of unique properties are `UNIQUE` and their name."""
UNIQUE = "u-"

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Past:
    """How a decision asks for what came before."""

    rows_at: RowsAt
    hasher: Hasher
    """Hashes earlier rows again; the writer's, not the source's."""


@dataclass(frozen=True)
class Verdict:
    """A row memory refuses."""

    row: int
    rule: str
    column: str
    reason: str


@dataclass(frozen=True)
class Remembered:
    """New entries of one table, in the log's order: hash, content, row of the log batch, gone[, event time]."""

    hashes: Words
    contents: Words
    rows: Indices
    gone: Mask
    events: npt.NDArray[np.int64] | None = None


@dataclass
class Outcome:
    """What becomes of a batch."""

    table: pa.Table
    """The rows for the log, with those stamps that differ within the batch."""
    accepted: Mask
    """Which input rows count as accepted."""
    duplicates: int
    verdicts: list[Verdict] = field(default_factory=list)
    remembered: dict[str, Remembered] = field(default_factory=dict)
    shared: dict[str, set[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lookup:
    """The hashes of one table for a batch, asked of memory: all arrays in the order of the batch's rows."""

    hashes: Words
    found: Found
    repeated: Mask
    """Which hashes are in the batch more than once."""
    table: Table

    def entries(self, row: int) -> list[Entry]:
        """Returns the entries that may be of the row's key or value, from new to old."""
        if not self.found.there[row]:
            return []
        hash_ = int(self.hashes[row])
        if hash_ in self.table.shared:
            return list(self.table.all_of(hash_))
        event = 0 if self.found.event is None else int(self.found.event[row])
        return [entry((int(self.found.content[row]), int(self.found.place[row]), event))]


def look_up(memory: Memory, name: str, hashes: Words) -> Lookup:
    """Asks memory for the newest entry of each hash."""
    order = stable_order(hashes)
    sorted_ = hashes[order]
    table = memory.tables[name]
    found = table.find(sorted_)
    equal = np.equal(sorted_[1:], sorted_[:-1])
    repeated = np.append(equal, False) | np.insert(equal, 0, False) if len(sorted_) else np.zeros(0, bool)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    event = None if found.event is None else found.event[back]
    return Lookup(
        hashes, Found(found.there[back], found.content[back], found.place[back], event), repeated[back], table
    )


class Rows:
    """The rows of a checked batch that must be looked at one by one: their keys, versions and unique values."""

    def __init__(self, stream: Stream, checked: Checked, slow: Indices) -> None:
        self.slow = slow.tolist()
        self._stream = stream
        table = checked.table.take(slow)
        self._at = {row: i for i, row in enumerate(self.slow)}
        self._keys = list(zip(*(table[c].to_pylist() for c in stream.primary_key), strict=True))
        wanted = [stream.version, *(c.name for c in stream.columns if c.unique)]
        self._values = {name: table[name].to_pylist() for name in wanted if name is not None}

    def key(self, row: int) -> tuple[Any, ...]:
        return self._keys[self._at[row]] if self._keys else ()

    def value(self, row: int, column: str) -> Any:
        return self._values[column][self._at[row]]


class Uniques:
    """Who holds which value of the `unique` properties, as seen by the rows of one batch in their order."""

    def __init__(self, stream: Stream, checked: Checked, memory: Memory, earlier: Earlier) -> None:
        """`earlier` stands for no row until `use` says where rows are."""
        self._stream = stream
        self.columns = tuple(checked.hashes.uniques)
        self.lookups = {name: look_up(memory, UNIQUE + name, h) for name, h in checked.hashes.uniques.items()}
        self._here: dict[tuple[str, Any], tuple[Any, ...] | None] = {}
        self._earlier = earlier

    def contended(self, rows: int) -> Mask:
        """Which rows have a value that another row of the batch or of the log may have."""
        mask = np.zeros(rows, bool)
        for look in self.lookups.values():
            mask |= (look.hashes != 0) & (look.repeated | look.found.there)
        return mask

    def entries(self, row: int) -> Iterable[Entry]:
        """Yields the entries that may hold values of `row`."""
        for look in self.lookups.values():
            if look.hashes[row]:
                yield from look.entries(row)

    def use(self, earlier: Earlier) -> None:
        """Sets where earlier rows are looked up."""
        self._earlier = earlier

    def conflict(self, rows: Rows, row: int, holder: tuple[Any, ...]) -> Verdict | None:
        """Returns why `row` of the key `holder` cannot have its values; None when it can."""
        for name in self.columns:
            value = rows.value(row, name)
            other, place = self._holder(name, row, value) if value is not None else (None, "")
            if other is not None and (other != holder or not holder):
                return Verdict(row, "unique", name, f"{name} is '{value}': it is unique, and {place} has it already")
        return None

    def _holder(self, name: str, row: int, value: Any) -> tuple[tuple[Any, ...] | None, str]:
        if (name, value) in self._here:
            return self._here[name, value], "an earlier row of this batch"
        look = self.lookups[name]
        for found in look.entries(row):
            if self._earlier.value(found, name) == value:
                held = None if found.gone else self._earlier.key(found, self._stream.primary_key)
                return held, f"row {found.row} of batch {found.position}"
        return None, ""

    def take(self, rows: Rows, row: int, holder: tuple[Any, ...]) -> None:
        """Notes that `holder` now holds the values of `row`."""
        for name in self.columns:
            if rows.value(row, name) is not None:
                self._here[name, rows.value(row, name)] = holder

    def release(self, values: Mapping[str, Any]) -> None:
        """Notes that nobody holds these values any more."""
        for name, value in values.items():
            if value is not None:
                self._here[name, value] = None
