"""One reading: the rows after the cursor up to a mark, as batches that never split equal cursor values.

The last value of a piece may go on in the next, so its rows are carried over until it is complete. A value with more
rows than a batch holds (a million rows of one migration) is handed out in parts where the stream has a key: the
cursor stays before the value until the last part, and rows read again after a kill are known by their key. Without a
key the values must be unique, which is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import Place
from penstock.sources._postgres_columns import PgColumn
from penstock.sources._postgres_copy import Target, joined, parse, pieces, without_refused
from penstock.sources._postgres_keys import Keys
from penstock.sources._postgres_marks import Key
from penstock.sources._postgres_wire import Connection
from penstock.sources.base import Refusal
from penstock.sources.errors import PostgresNotUnique

KEY = "\0key"
"""Prefix of the columns that hold the cursor's values; PostgreSQL has no such names."""


@dataclass(frozen=True)
class Reading:
    """What is read and how."""

    keys: Keys
    relation: str
    what: str
    columns: tuple[PgColumn, ...]
    targets: tuple[Target, ...]
    batch_rows: int
    keyed: bool
    place: Place

    def empty(self) -> pa.Table:
        """Returns no rows, with the columns that rows have."""
        return pa.schema([(t.name, t.type) for t in self.targets]).empty_table()


@dataclass(frozen=True)
class Part:
    """Rows to hand out, and the cursor that holds once they are kept."""

    table: pa.Table
    positions: pa.Array
    refusals: tuple[Refusal, ...]
    at: Key | None


def select(reading: Reading, at: Key | None, mark: Key) -> str:
    """Returns the SELECT of the rows after `at` up to `mark`: the keys as text, then the columns."""
    keys = reading.keys
    conditions = [keys.countable(), keys.up_to(mark)] + ([keys.above(at)] if at is not None else [])
    columns = keys.select() + [c.select() for c in reading.columns]
    return (
        f"SELECT {', '.join(columns)} FROM {reading.relation} WHERE {' AND '.join(conditions)} ORDER BY {keys.order()}"
    )


def read(conn: Connection, reading: Reading, at: Key | None, mark: Key) -> Iterator[Part]:
    """Yields the rows after `at` up to `mark`. Raises what `translated` raises, PostgresNotUnique, PostgresEncoding."""
    targets = [Target(f"{KEY}{i}", pa.string(), strict=False) for i in range(len(reading.keys.columns))]
    targets += reading.targets
    rows: pa.Table | None = None
    unfinished: Key | None = None
    for data, last in pieces(conn, select(reading, at, mark), reading.what, reading.batch_rows):
        rows = joined(rows, parse(data, targets))
        unfinished = None
        changes = _changes(rows, reading)
        if last:
            break
        complete = int(changes[-1]) + 1 if len(changes) else 0
        if complete:
            at = _key(rows, complete - 1, reading)
            yield _part(rows.slice(0, complete), at, reading)
            rows = rows.slice(complete)
        elif reading.keyed and rows.num_rows >= reading.batch_rows:
            unfinished = _key(rows, 0, reading)
            yield _part(rows, at, reading)
            rows = None
    if rows is not None and rows.num_rows:
        yield _part(rows, _key(rows, rows.num_rows - 1, reading), reading)
    elif unfinished is not None and rows is None:
        yield Part(reading.empty(), pa.array([], reading.keys.position_type), (), unfinished)


def _changes(rows: pa.Table, reading: Reading) -> np.ndarray:
    """Returns the indices of the rows whose next row has another key. Raises PostgresNotUnique."""
    n = rows.num_rows
    differs = np.zeros(max(n - 1, 0), dtype=bool)
    for i in range(len(reading.keys.columns)):
        column = rows.column(i)
        differs |= pc.not_equal(column.slice(1), column.slice(0, n - 1)).to_numpy(zero_copy_only=False)
    if not reading.keyed and not differs.all():
        value = "/".join(_key(rows, int(np.flatnonzero(~differs)[0]), reading))
        names = ", ".join(c.name for c in reading.keys.columns)
        found = f"{reading.what} has several rows with {names} = {value}, and its stream has no primary key"
        hint = "list columns that are unique together in incrementing_column, or give the contract a primaryKey"
        raise PostgresNotUnique(found, hint=hint, place=reading.place)
    return np.flatnonzero(differs)


def _key(rows: pa.Table, row: int, reading: Reading) -> Key:
    return tuple(str(rows.column(i)[row].as_py()) for i in range(len(reading.keys.columns)))


def _part(rows: pa.Table, at: Key | None, reading: Reading) -> Part:
    n = len(reading.keys.columns)
    keys = [rows.column(i).combine_chunks() for i in range(n)]
    positions = keys[0] if n == 1 else pc.binary_join_element_wise(*keys, "/")
    positions = positions.cast(reading.keys.position_type)
    kept, positions, refusals = without_refused(rows.select(range(n, rows.num_columns)), positions)
    return Part(kept, positions, refusals, at)
