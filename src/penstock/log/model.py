"""What a batch of the log is. Pure data.

A row of the log has the contract's columns and the stamps below. Stamps that are the same for a whole batch are kept
once, in the batch's entry, and added as columns on reading; so is a row's place (`_batch`, `_row`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NewType

import pyarrow as pa

Position = NewType("Position", int)
"""A place between batches: all batches numbered up to and including it. Opaque outside penstock.log. 0 = before all."""

START = Position(0)

ROW_STAMPS = pa.schema(
    [
        pa.field("_position", pa.string()),
        pa.field("_weight", pa.int8()),
        pa.field("_watermark", pa.timestamp("us", tz="UTC")),
        pa.field("_version", pa.string()),
        pa.field("_hash", pa.uint64()),
    ]
)
"""Stamps that may differ within a batch; in `LogBatch.table` a column that is missing has the batch's constant
(`_weight` 1, `_watermark` LogBatch.watermark, `_version` null). `_position` may be int64 there: it is shown as text."""

STAMPS = ("_batch", "_row", "_source", "_position", "_ingested_at", "_weight", "_watermark", "_version", "_hash")


@dataclass(frozen=True)
class ChainPoint:
    """A position and the id of the batch there: equal only when the whole history up to it is the same."""

    position: Position
    batch_id: str
    """UUID text; '' at START."""


ORIGIN = ChainPoint(START, "")


@dataclass(frozen=True)
class LogBatch:
    """A batch about to be appended. The log numbers it and gives it its id."""

    stream: str
    source: str
    origin: str
    """File or table of all rows; shown before `_position`."""
    table: pa.Table
    """Contract columns in the contract's order, then those of ROW_STAMPS that differ within the batch."""
    ingested_at: datetime
    watermark: datetime | None
    """`_watermark` of the rows that carry no column of their own: the stream's when the round began; None in a
    first round."""
    stream_watermark: datetime | None
    """The stream's watermark once this batch is in: what finality is decided by. Never falls."""
    contract_version: str
    read: int
    accepted: int
    quarantined: int
    duplicates: int
    cursor: Mapping[str, Any] = field(default_factory=dict)
    event_time: str | None = None
    """The column of the event time: its least and greatest value go into the entry, so that readers can leave out
    batches."""


@dataclass(frozen=True)
class BatchEntry:
    """A batch of the log as its manifest row tells it."""

    point: ChainPoint
    parent_id: str
    stream: str
    source: str
    origin: str
    rows: int
    """Rows in the log, -1 and 0 rows included (accepted counts input rows)."""
    has_negative: bool
    """Whether any `_weight` is below 1."""
    ingested_at: datetime
    watermark: datetime | None
    stream_watermark: datetime | None
    contract_version: str
    event_time_min: datetime | None
    event_time_max: datetime | None
    segment: str | None
    """Name of the segment, None when inline."""
    checksum: str


@dataclass(frozen=True)
class Slice:
    """A batch read back: its entry and its rows with all of STAMPS as columns (types of ROW_STAMPS; `_position` text;
    `_batch`, `_row` int64; `_source` text; `_ingested_at` timestamp)."""

    entry: BatchEntry
    table: pa.Table
