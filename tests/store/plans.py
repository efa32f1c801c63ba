"""Plans and changes made by hand, for tests of the result tables."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

from penstock.engines.base import Changes
from penstock.log.model import ChainPoint, Position
from penstock.plan.model import Plan, ResultColumn, Steps, Window
from penstock.sqltypes import BIGINT, DATE, TEXT, decimal

DAY = date(2026, 1, 23)
MONEY = decimal(15, 2)
SALES = (
    ResultColumn("date", DATE),
    ResultColumn("city", TEXT),
    ResultColumn("total_sales", MONEY),
    ResultColumn("transaction_count", BIGINT),
)
Row = tuple[object, ...]


def plan(
    columns: Sequence[ResultColumn] = SALES,
    key: tuple[str, ...] = ("date", "city"),
    *,
    name: str = "top_sales_by_city",
    indexes: tuple[tuple[tuple[str, bool], ...], ...] = ((("city", False), ("date", False)), (("total_sales", True),)),
    fingerprint: str = "f1",
) -> Plan:
    return Plan(
        name=name,
        stream="sales",
        columns=tuple(columns),
        key=key,
        indexes=indexes,
        window=Window("date", "sold_at::DATE", "(sold_at::DATE + 1)::TIMESTAMPTZ") if "date" in key else None,
        late="restate",
        timezone="UTC",
        typed_select="SELECT ...",
        fingerprint=fingerprint,
        steps=Steps(where=None, groups=()),
    )


def point(position: int) -> ChainPoint:
    return ChainPoint(Position(position), str(uuid.UUID(int=position)) if position else "")


def table(columns: Sequence[ResultColumn], rows: Sequence[Row]) -> pa.Table:
    schema = pa.schema([(column.name, column.type.arrow) for column in columns])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)


def changes(
    of: Plan,
    upserts: Sequence[Row] = (),
    deletes: Sequence[Row] = (),
    at: int = 1,
    windows: Sequence[Row] = (),
) -> Changes:
    keys = [next(column for column in of.columns if column.name == name) for name in of.key]
    window_schema = pa.schema(
        [
            ("window_start", pa.string()),
            ("window_end", pa.timestamp("us", tz="UTC")),
            ("restated", pa.int64()),
            ("set_aside", pa.int64()),
        ]
    )
    return Changes(
        upserts=table(of.columns, upserts),
        deletes=table(keys, deletes),
        windows=pa.Table.from_pylist([dict(zip(window_schema.names, w, strict=True)) for w in windows], window_schema),
        at=point(at),
        watermark=datetime(2026, 1, 23, 11, tzinfo=UTC),
        late_set_aside=2,
        rows_in=len(upserts),
    )


def sale(city: str | None, total: str = "10.00", count: int = 1, day: date | None = DAY) -> Row:
    return (day, city, Decimal(total), count)
