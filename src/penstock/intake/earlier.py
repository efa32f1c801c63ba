"""Earlier rows of the stream, fetched from the log when a hash alone does not decide.

Memory keeps hashes and places, never rows. Whether two rows with one hash have one key, what an earlier row said, and
which row is to be taken back is asked of the log: all places of a batch at once, log batch by log batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from penstock.intake.memory import Entry
from penstock.log.model import Position

RowsAt = Callable[[Position, Sequence[int]], pa.Table]
"""Gives rows of the log batch at a position, by `_row`, in the order asked for: the contract's columns and STAMPS.
Raises PenstockError when the batch is missing or damaged."""
Place = tuple[int, int]


class Earlier:
    """The earlier rows one batch needs."""

    def __init__(self, rows_at: RowsAt, entries: Iterable[Entry]) -> None:
        """Fetches the rows of `entries`."""
        places = sorted({(e.position, e.row) for e in entries})
        tables = []
        for position, group in groupby(places, key=lambda place: place[0]):
            tables.append(rows_at(Position(position), [row for _, row in group]))
        self.table = pa.concat_tables(tables, promote_options="default") if tables else None
        """All rows, None when there are none."""
        self._index = {place: i for i, place in enumerate(places)}
        self._columns: dict[str, list[Any]] = {}

    def index(self, entry: Entry) -> int:
        """Returns the row of `table` that `entry` stands for."""
        return self._index[entry.position, entry.row]

    def value(self, entry: Entry, column: str) -> Any:
        """Returns one value of an earlier row; None for a column its contract did not have yet."""
        if self.table is None or column not in self.table.schema.names:
            return None
        if column not in self._columns:
            self._columns[column] = self.table[column].to_pylist()
        return self._columns[column][self.index(entry)]

    def key(self, entry: Entry, columns: Sequence[str]) -> tuple[Any, ...]:
        return tuple(self.value(entry, c) for c in columns)
