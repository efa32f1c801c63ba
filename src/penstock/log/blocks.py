"""Blocks: the bytes of one or more batches. An Arrow IPC file, compressed with LZ4, whose footer repeats the entries.

The footer's metadata has `penstock.format`, the version of this layout, and `penstock.entries`, a JSON list of the
manifest entries in the order of their rows. A block of compaction holds batches of the same schema one after another.
Version 1 is the only one so far; every later reader keeps reading it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from penstock.log.errors import NewerFormat, SegmentDamaged
from penstock.log.model import ROW_STAMPS, STAMPS, BatchEntry, LogBatch

FORMAT = 1
BLOCK_ROWS = 131_072


def encode(table: pa.Table, entries: Sequence[BatchEntry]) -> pa.Buffer:
    """Returns the block of `table`, the rows of `entries` in their order."""
    metadata = {
        "penstock.format": str(FORMAT),
        "penstock.entries": json.dumps([_as_json(entry) for entry in entries]),
    }
    options = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=True)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=options, metadata=metadata) as writer:
        writer.write_table(table, max_chunksize=BLOCK_ROWS)
    return sink.getvalue()


def checksum(block: pa.Buffer) -> str:
    """Returns what the manifest keeps to know the block by."""
    return "sha256:" + hashlib.sha256(block).hexdigest()


def decode(block: pa.Buffer, expected: str, name: str, columns: Iterable[str] | None = None) -> pa.Table:
    """Returns the rows of a block whose checksum must be `expected`; of `columns` and ROW_STAMPS those it has, or all.

    Raises SegmentDamaged, NewerFormat; `name` is what they call the block.
    """
    found = checksum(block)
    if found != expected:
        msg = f"{name} has {len(block)} bytes with {found[:23]}..., written were {expected[:23]}..."
        raise SegmentDamaged(msg, hint="bring it back from a backup")
    reader = pa.ipc.open_file(block)
    version = int((reader.metadata or {}).get(b"penstock.format", b"1"))
    if version > FORMAT:
        msg = f"{name} has format {version}, this version knows up to {FORMAT}"
        raise NewerFormat(msg, hint="use the Penstock version that wrote it")
    if columns is None:
        return reader.read_all()
    wanted = {*columns, *ROW_STAMPS.names}
    chosen = [i for i, field in enumerate(reader.schema) if field.name in wanted]
    options = pa.ipc.IpcReadOptions(included_fields=chosen)
    return pa.ipc.open_file(block, options=options).read_all()


def footer(block: pa.Buffer) -> list[dict[str, Any]]:
    """Returns the entries a block's footer repeats, for whoever has to do without the manifest."""
    entries: list[dict[str, Any]] = json.loads(pa.ipc.open_file(block).metadata[b"penstock.entries"])
    return entries


def _as_json(entry: BatchEntry) -> dict[str, object]:
    values: dict[str, object] = {"position": entry.point.position, "id": entry.point.batch_id}
    for field in fields(entry):
        value = getattr(entry, field.name)
        if field.name not in ("point", "segment", "checksum"):
            values[field.name] = value.isoformat() if isinstance(value, datetime) else value
    return values


def event_times(batch: LogBatch) -> tuple[datetime | None, datetime | None]:
    """Returns the least and greatest event time of the batch's rows; None without any."""
    if batch.event_time is None or not batch.table.num_rows:
        return None, None
    column = batch.table[batch.event_time]
    if not pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz="UTC"))
    ends = pc.min_max(column).as_py()
    return ends["min"], ends["max"]


def has_negative(table: pa.Table) -> bool:
    """Whether any row's `_weight` is below 1."""
    return "_weight" in table.column_names and bool(pc.any(pc.less(table["_weight"], 1)).as_py())


def with_stamps(table: pa.Table, entry: BatchEntry, columns: pa.Schema | None = None) -> pa.Table:
    """Returns the batch's rows with STAMPS after the contract's columns; with `columns` exactly those, in their order.

    A column the batch does not have (the contract got it later) is null. `columns` may name stamps.
    """
    if columns is None:
        wanted = [*(name for name in table.column_names if name not in STAMPS), *STAMPS]
        return pa.table({name: _column(name, None, table, entry) for name in wanted})
    return pa.table([_column(f.name, f.type, table, entry) for f in columns], names=columns.names)


def _column(name: str, wanted: pa.DataType | None, table: pa.Table, entry: BatchEntry) -> pa.Array | pa.ChunkedArray:
    if name in STAMPS:
        return _stamp(name, table, entry)
    if name not in table.column_names:
        return pa.nulls(table.num_rows, wanted)
    column = table[name]
    return column if wanted is None or column.type == wanted else column.cast(wanted)


def _stamp(name: str, table: pa.Table, entry: BatchEntry) -> pa.Array | pa.ChunkedArray:
    rows = table.num_rows
    if name in table.column_names:
        wanted = ROW_STAMPS.field(name).type
        return table[name] if table[name].type == wanted else table[name].cast(wanted)
    if name == "_row":
        return pa.arange(0, rows)
    constants: dict[str, tuple[object, pa.DataType]] = {
        "_batch": (int(entry.point.position), pa.int64()),
        "_source": (entry.source, pa.string()),
        "_ingested_at": (entry.ingested_at, pa.timestamp("us", tz="UTC")),
        "_weight": (1, pa.int8()),
        "_watermark": (entry.watermark, pa.timestamp("us", tz="UTC")),
    }
    value, kind = constants.get(name, (None, pa.null()))
    return pa.repeat(pa.scalar(value, ROW_STAMPS.field(name).type if kind == pa.null() else kind), rows)
