"""A log in RAM with the log's promises, for tests of intake alone: positions, chained ids, rows read back as slices."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from penstock.intake.stage import Decided
from penstock.log.model import ORIGIN, ROW_STAMPS, BatchEntry, ChainPoint, LogBatch, Position, Slice

READ_AT = datetime(2026, 6, 1, tzinfo=UTC)


class SmallLog:
    def __init__(self) -> None:
        self.slices: list[Slice] = []

    @property
    def end(self) -> ChainPoint:
        return self.slices[-1].entry.point if self.slices else ORIGIN

    def append(self, decided: Decided) -> ChainPoint:
        """Appends what was decided; an empty batch too gets its position."""
        if decided.batch is None:
            return self.end
        batch, parent = decided.batch, self.end
        point = ChainPoint(Position(parent.position + 1), str(uuid.uuid4()))
        entry = BatchEntry(
            point, parent.batch_id, batch.stream, batch.source, batch.origin, batch.table.num_rows, False,
            batch.ingested_at, batch.watermark, batch.stream_watermark, batch.contract_version, None, None, None, "",
        )  # fmt: skip
        self.slices.append(Slice(entry, _stamped(batch, point)))
        return point

    def rows_at(self, position: Position, rows: Sequence[int]) -> pa.Table:
        return self.slices[position - 1].table.take(pa.array(rows, pa.int64()))

    def after(self, point: ChainPoint) -> list[Slice]:
        return self.slices[point.position :]

    def holds(self, point: ChainPoint) -> bool:
        return point == ORIGIN or any(s.entry.point == point for s in self.slices)

    def rows(self) -> list[dict[str, Any]]:
        return [row for s in self.slices for row in s.table.to_pylist()]


def _stamped(batch: LogBatch, point: ChainPoint) -> pa.Table:
    table, n = batch.table, batch.table.num_rows
    constants: dict[str, Any] = {"_weight": 1, "_watermark": batch.watermark}
    for field in ROW_STAMPS:
        if field.name not in table.schema.names:
            table = table.append_column(field, pa.array([constants.get(field.name)] * n, field.type))
    table = table.append_column("_batch", pa.array([point.position] * n, pa.int64()))
    table = table.append_column("_row", pa.array(range(n), pa.int64()))
    return table.set_column(table.schema.names.index("_position"), "_position", table["_position"].cast(pa.string()))
