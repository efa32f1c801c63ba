"""Parquet, row group by row group, in the file's own types.

A place in the file is a number of rows. A row group that cannot be read is one refusal, and the next one goes on; a
file without a readable footer is refused whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.sources._files_content import Gone, Unreadable
from penstock.sources._files_store import Item, Raw
from penstock.sources.base import Refusal

BUFFER = 4 << 20
"""Bytes of a column that are read at a time: memory does not depend on the size of row groups."""
_BROKEN = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True)
class Piece:
    """Rows `first` (from 1) and following; `after` is how many rows of the file lie behind the piece."""

    table: pa.Table
    first: int
    after: int
    last: bool
    refusals: tuple[Refusal, ...] = ()


class _Seekable(io.RawIOBase):
    """A stored file as Arrow's readers take it."""

    def __init__(self, raw: Raw, size: int) -> None:
        self._raw, self._size, self._at = raw, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, length: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        part = self._raw.read(self._at, left if length is None or length < 0 else min(length, left))
        self._at += len(part)
        return part


def pieces(raw: Raw, item: Item, wanted: frozenset[str] | None, rows: int, limit: int, done: int) -> Iterator[Piece]:
    """Yields the rows behind the first `done`, at most `rows` at a time; at least one piece. Raises Unreadable."""
    file = _opened(raw, item)
    unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    if unpacked > limit:
        message = f"the file unpacks to {unpacked} bytes; max_file_size is {limit}"
        raise Unreadable(message, "too_large")
    columns = _columns(file.schema_arrow, wanted)
    total, at = file.metadata.num_rows, 0
    if done >= total:
        yield Piece(file.schema_arrow.empty_table().select(columns), done + 1, done, True)
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if done < at + size:
            yield from _group(file, group, columns, rows, (at, size, done, total))
        at += size


def _opened(raw: Raw, item: Item) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.PythonFile(_Seekable(raw, item.size), mode="r"), buffer_size=BUFFER)
    except FileNotFoundError as e:
        message = "the file was deleted or replaced while it was read"
        raise Gone(message) from e
    except _BROKEN as e:
        message = f"the file is no readable Parquet: {_first_line(e)}"
        raise Unreadable(message) from e


def _columns(schema: pa.Schema, wanted: frozenset[str] | None) -> list[str]:
    """The wanted columns by whole names, without regard to case; one of them at least, since rows must be counted."""
    lowered = {name.lower() for name in (schema.names if wanted is None else wanted)}
    found = [name for name in schema.names if name.lower() in lowered] or list(schema.names[:1])
    if twice := [name for name in found if schema.names.count(name) > 1]:
        message = f"the file has the column {twice[0]!r} twice"
        raise Unreadable(message)
    return found


def _group(
    file: pq.ParquetFile, group: int, columns: list[str], rows: int, where: tuple[int, int, int, int]
) -> Iterator[Piece]:
    at, size, done, total = where
    place, end = at, at + size
    try:
        for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
            first, place = max(place, done), place + batch.num_rows
            if place > done:
                table = plain(pa.Table.from_batches([batch]).slice(batch.num_rows - (place - first)))
                yield Piece(table, first + 1, place, place == total)
    except FileNotFoundError as e:
        message = "the file was deleted or replaced while it was read"
        raise Gone(message) from e
    except _BROKEN as e:
        first = max(place, done) + 1
        reason = f"rows {first} to {end} (row group {group}) cannot be read: {_first_line(e)}"
        refusal = Refusal(f"{first}-{end}", "row_group", reason, b"")
        empty = plain(file.schema_arrow.empty_table().select(columns))
        yield Piece(empty, end + 1, end, end == total, (refusal,))


def plain(table: pa.Table) -> pa.Table:
    """The table in types that everything downstream takes: no dictionaries, no halves, no wide decimals."""
    for i, field in enumerate(table.schema):
        kind = _plain_type(field.type)
        if kind != field.type:
            table = table.set_column(i, field.name, table.column(i).cast(kind))
    return table


def _plain_type(kind: pa.DataType) -> Any:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal256(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
