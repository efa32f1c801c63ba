"""Plans written by hand, a log in memory, and what a state's changes add up to: what the engines' tests share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from penstock.engines.base import Changes
from penstock.log.model import ORIGIN, BatchEntry, ChainPoint, Position, Slice
from penstock.plan.macros import MACROS
from penstock.plan.model import Additive, Distinct, Extreme, Group, Kept, Plan, ResultColumn, Steps, Window
from penstock.sqltypes import BIGINT, DATE, TEXT, TIMESTAMP, SqlType, decimal

SALES = pa.schema(
    [
        pa.field("sale_id", pa.string()),
        pa.field("sold_at", pa.timestamp("us", tz="UTC")),
        pa.field("amount", pa.decimal128(12, 2)),
        pa.field("city", pa.string()),
        pa.field("salesman_id", pa.string()),
        pa.field("salesman_name", pa.string()),
    ]
)
MONEY = decimal(15, 2)
SUMS = (
    Additive("a0", "amount", decimal(38, 2)),
    Additive("a1", "CASE WHEN amount IS NULL THEN 0 ELSE 1 END", BIGINT),
)
TOTAL = "CASE WHEN a1 > 0 THEN a0 END"
DAY = Window("date", "CAST(sold_at AS DATE)", "CAST(CAST(sold_at AS DATE) + 1 AS TIMESTAMPTZ)")


def result(*columns: tuple[str, SqlType]) -> tuple[ResultColumn, ...]:
    return tuple(ResultColumn(name, type_) for name, type_ in columns)


def top_sales_by_city(late: str = "set_aside") -> Plan:
    """The sales project's first pipeline as the planner would plan it; its average is checked elsewhere."""
    return Plan(
        name="top_sales_by_city",
        stream="sales",
        columns=result(
            ("date", DATE), ("city", TEXT), ("total_sales", MONEY), ("transaction_count", BIGINT), ("max_sale", MONEY)
        ),
        key=("date", "city"),
        indexes=(),
        window=DAY,
        late=late,
        timezone="UTC",
        typed_select=(
            "SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, "
            "count(*) AS transaction_count, CAST(max(amount) AS DECIMAL(15,2)) AS max_sale FROM sales GROUP BY 1, 2"
        ),
        fingerprint="hand-city-" + late,
        steps=Steps(
            where=None,
            groups=(Group("g0", "CAST(sold_at AS DATE)", DATE, "date"), Group("g1", "city", TEXT, "city")),
            additives=SUMS,
            extremes=(Extreme("e0", "max", "amount", decimal(12, 2)),),
            finish=(
                f"SELECT g0 AS date, g1 AS city, {TOTAL} AS total_sales, n AS transaction_count, e0 AS max_sale FROM s"
            ),
        ),
    )


def top_salesmen(late: str = "set_aside", best: int = 100) -> Plan:
    """The sales project's second pipeline: the latest name, distinct cities, ranks within the day."""
    return Plan(
        name="top_salesmen",
        stream="sales",
        columns=result(
            ("date", DATE), ("salesman_id", TEXT), ("salesman_name", TEXT), ("total_sales", MONEY),
            ("deals_closed", BIGINT), ("cities_covered", BIGINT), ("rank", BIGINT),
        ),
        key=("date", "salesman_id"),
        indexes=(),
        window=DAY,
        late=late,
        timezone="UTC",
        typed_select=(
            "SELECT CAST(sold_at AS DATE) AS date, salesman_id, "
            "arg_max(salesman_name, (sold_at, sale_id)) AS salesman_name, "
            "CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, count(*) AS deals_closed, "
            "count(DISTINCT city) AS cities_covered, "
            "rank() OVER (PARTITION BY CAST(sold_at AS DATE) ORDER BY sum(amount) DESC) AS rank "
            f"FROM sales GROUP BY CAST(sold_at AS DATE), salesman_id QUALIFY rank <= {best}"
        ),
        fingerprint=f"hand-salesmen-{late}-{best}",
        steps=Steps(
            where=None,
            groups=(
                Group("g0", "CAST(sold_at AS DATE)", DATE, "date"),
                Group("g1", "salesman_id", TEXT, "salesman_id"),
            ),
            additives=SUMS,
            extremes=(Extreme("e0", "arg_max", "salesman_name", TEXT, (("sold_at", TIMESTAMP), ("sale_id", TEXT))),),
            distincts=(Distinct("d0", (("city", TEXT),)),),
            finish=(
                f"SELECT g0 AS date, g1 AS salesman_id, e0 AS salesman_name, {TOTAL} AS total_sales, "
                f"n AS deals_closed, d0 AS cities_covered, rank() OVER (PARTITION BY g0 ORDER BY {TOTAL} DESC) AS rank "
                f"FROM s QUALIFY rank <= {best}"
            ),
            unit=("g0",),
        ),
    )  # fmt: skip


def totals() -> Plan:
    """No groups: one row, always."""
    return Plan(
        name="totals",
        stream="sales",
        columns=result(("deals", BIGINT), ("total", MONEY), ("first", TIMESTAMP), ("cities", BIGINT)),
        key=(),
        indexes=(),
        window=None,
        late="restate",
        timezone="UTC",
        typed_select=(
            "SELECT count(*) AS deals, CAST(sum(amount) AS DECIMAL(15,2)) AS total, min(sold_at) AS first, "
            "count(DISTINCT city) FILTER (WHERE amount > 5) AS cities FROM sales WHERE salesman_id IS NOT NULL"
        ),
        fingerprint="hand-totals",
        steps=Steps(
            where="salesman_id IS NOT NULL",
            groups=(),
            additives=SUMS,
            extremes=(Extreme("e0", "min", "sold_at", TIMESTAMP),),
            distincts=(Distinct("d0", (("city", TEXT),), "amount > 5"),),
            finish=f"SELECT n AS deals, {TOTAL} AS total, e0 AS first, d0 AS cities FROM s",
        ),
    )


def big_sales() -> Plan:
    """A list: the rows above an amount, by the primary key."""
    return Plan(
        name="big_sales",
        stream="sales",
        columns=result(("sale_id", TEXT), ("city", TEXT), ("amount", decimal(12, 2))),
        key=("sale_id",),
        indexes=(),
        window=None,
        late="restate",
        timezone="UTC",
        typed_select="SELECT sale_id, city, amount FROM sales WHERE amount > 5",
        fingerprint="hand-list",
        steps=Steps(
            where="amount > 5",
            groups=(Group("g0", "sale_id", TEXT, "sale_id"),),
            kept=(Kept("k0", "city", TEXT), Kept("k1", "amount", decimal(12, 2))),
            is_list=True,
            finish="SELECT g0 AS sale_id, k0 AS city, k1 AS amount FROM s",
        ),
    )


def overall_ranks() -> Plan:
    """Groups without a window, ranked over the whole table: one unit."""
    return Plan(
        name="overall_ranks",
        stream="sales",
        columns=result(("city", TEXT), ("smallest", decimal(12, 2)), ("rank", BIGINT)),
        key=("city",),
        indexes=(),
        window=None,
        late="restate",
        timezone="UTC",
        typed_select=(
            "SELECT city, min(amount) AS smallest, rank() OVER (ORDER BY count(*) DESC) AS rank FROM sales "
            "GROUP BY city HAVING count(*) > 1"
        ),
        fingerprint="hand-overall",
        steps=Steps(
            where=None,
            groups=(Group("g0", "city", TEXT, "city"),),
            extremes=(Extreme("e0", "min", "amount", decimal(12, 2)),),
            finish="SELECT g0 AS city, e0 AS smallest, rank() OVER (ORDER BY n DESC) AS rank FROM s WHERE n > 1",
            unit=(),
        ),
    )


ALL = (top_sales_by_city, top_salesmen, totals, big_sales, overall_ranks)


@dataclass
class MemoryLog:
    """A log held as a list of slices; `read` is what a state is given."""

    slices: list[Slice] = field(default_factory=list)

    @property
    def end(self) -> ChainPoint:
        return self.slices[-1].entry.point if self.slices else ORIGIN

    def append(
        self,
        rows: Sequence[Mapping[str, Any]] | pa.Table,
        *,
        watermark: datetime | None = None,
        stream_watermark: datetime | None = None,
    ) -> Slice:
        """Appends a batch. Rows may carry `_weight` and `_watermark`; `watermark` is stamped on those that do not."""
        number = len(self.slices) + 1
        if isinstance(rows, pa.Table):
            table = rows
        else:
            stamped = [{"_weight": 1, "_watermark": watermark} | dict(row) for row in rows]
            schema = SALES.append(pa.field("_weight", pa.int8())).append(
                pa.field("_watermark", pa.timestamp("us", tz="UTC"))
            )
            table = pa.Table.from_pylist(stamped, schema=schema)
        point = ChainPoint(Position(number), f"batch-{number}")
        times = [t for t in table.column("sold_at").to_pylist() if t] if table.num_rows < 1000 else []
        entry = BatchEntry(
            point, self.end.batch_id, "sales", "test", "test", table.num_rows, True, datetime.now().astimezone(),
            watermark, stream_watermark or watermark, "1.0.0", min(times, default=None), max(times, default=None),
            None, "",
        )  # fmt: skip
        self.slices.append(Slice(entry, stamps(table, number)))
        return self.slices[-1]

    def read(
        self, after: ChainPoint | None, to: ChainPoint, times: tuple[datetime, datetime] | None = None
    ) -> Iterator[Slice]:
        start = int(after.position) if after else 0
        for one in self.slices[start : int(to.position)]:
            low, high = one.entry.event_time_min, one.entry.event_time_max
            if times and low and high and (high < times[0] or low > times[1]):
                continue
            yield one


def stamps(table: pa.Table, batch: int) -> pa.Table:
    """Adds the stamps that `table` lacks."""
    count = table.num_rows
    constant = {
        "_batch": pa.scalar(batch, pa.int64()),
        "_source": pa.scalar("test"),
        "_position": pa.scalar(""),
        "_ingested_at": pa.scalar(datetime.now().astimezone(), pa.timestamp("us", tz="UTC")),
        "_weight": pa.scalar(1, pa.int8()),
        "_watermark": pa.scalar(None, pa.timestamp("us", tz="UTC")),
        "_version": pa.scalar(None, pa.string()),
        "_hash": pa.scalar(0, pa.uint64()),
    }
    for name, value in constant.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.repeat(value, count))
    return table.append_column("_row", pa.array(range(count), pa.int64()))


class Answer:
    """What changes add up to: the result as a dictionary by key, and the windows."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.windows: dict[str, tuple[datetime | None, int, int]] = {}

    def apply(self, changes: Changes) -> None:
        """Applies changes; a row that is upserted as it was, or deleted though unknown, is a failure."""
        keys = changes.deletes.to_pylist() if self.plan.key else [{}] * changes.deletes.num_rows
        for row in keys:
            del self.rows[tuple(row[k] for k in self.plan.key)]
        for row in changes.upserts.to_pylist():
            key = tuple(row[k] for k in self.plan.key)
            assert self.rows.get(key) != row
            self.rows[key] = row
        for row in changes.windows.to_pylist():
            self.windows[row["window_start"]] = (row["window_end"], row["restated"], row["set_aside"])

    def sorted(self) -> list[tuple[Any, ...]]:
        return sorted((tuple(row.values()) for row in self.rows.values()), key=repr)


def whole(plan: Plan, slices: Iterable[Slice]) -> list[tuple[Any, ...]]:
    """Runs the plan's SELECT whole over the net rows that count, in plain DuckDB."""
    with duckdb.connect() as con:
        con.execute(f"SET TimeZone = '{plan.timezone}'")
        for macro in MACROS:
            con.execute(macro)
        log = pa.concat_tables([s.table for s in slices])
        con.register("log", log)
        late = f"coalesce({plan.window.end} <= _watermark, false)" if plan.window else "false"
        counting = f"NOT {late}" if plan.late == "set_aside" else "true"
        columns = ", ".join(f'"{name}"' for name in log.column_names if not name.startswith("_"))
        con.execute(
            f'CREATE TABLE "{plan.stream}" AS SELECT {columns} FROM '
            f"(SELECT {columns}, sum(_weight) AS net FROM log WHERE {counting} GROUP BY ALL HAVING net > 0), "
            f"range(net::BIGINT)"
        )
        rows = con.sql(plan.typed_select).to_arrow_table()
        target = pa.schema([pa.field(c.name, c.type.arrow) for c in plan.columns])
        return sorted((tuple(r.values()) for r in rows.cast(target).to_pylist()), key=repr)


def whole_windows(plan: Plan, slices: Iterable[Slice]) -> dict[str, tuple[int, int]]:
    """Counts the late rows of each window over the log itself: (restated, set aside), net, by the window's text."""
    if not plan.window:
        return {}
    group = next(g for g in plan.steps.groups if g.column == plan.window.column)
    with duckdb.connect() as con:
        con.execute(f"SET TimeZone = '{plan.timezone}'")
        con.register("log", pa.concat_tables([s.table for s in slices]))
        late = f"sum(_weight) FILTER (WHERE coalesce({plan.window.end} <= _watermark, false))"
        where = f"_weight <> 0 AND ({plan.steps.where or 'true'})"
        query = f"SELECT ({group.sql})::VARCHAR, coalesce({late}, 0)::BIGINT FROM log WHERE {where} GROUP BY 1"
        counts = con.execute(query).fetchall()
    return {window: (n, 0) if plan.late == "restate" else (0, n) for window, n in counts}


def at(day: int, hour: float = 12.0) -> datetime:
    """Returns an instant in January 2026, UTC."""
    return datetime.fromisoformat("2026-01-01T00:00:00+00:00") + timedelta(days=day - 1, hours=hour)


Row = dict[str, Any]


def sale(n: int, day: int, city: str | None, amount: str | None, salesman: str | None = "s1", **stamps: Any) -> Row:
    """Returns one sale at noon of a day in January 2026."""
    row: Row = {"sale_id": f"sale-{n}", "sold_at": at(day), "amount": amount and Decimal(amount), "city": city}
    return row | {"salesman_id": salesman, "salesman_name": f"name {n}"} | stamps


def random_rows(rng: np.random.Generator, count: int, first: int, days: int = 4) -> list[Row]:
    """Returns sales of few cities and salesmen, a tenth of the values missing."""
    rows = []
    for i in range(count):
        row = sale(
            first + i,
            1,
            None if rng.random() < 0.1 else f"c{rng.integers(4)}",
            None if rng.random() < 0.1 else f"{rng.integers(0, 1000) / 100:.2f}",
            None if rng.random() < 0.1 else f"s{rng.integers(5)}",
        )
        rows.append(row | {"sold_at": at(1, float(rng.random() * 24 * days))})
    return rows


def taken(rng: np.random.Generator, log: MemoryLog, count: int) -> list[Row]:
    """Rows that take back rows which count now, with the stamp of the row taken back; some come with a new row."""
    names = [*SALES.names, "_watermark"]
    net: dict[tuple[object, ...], int] = {}
    for one in log.slices:
        for row in one.table.to_pylist():
            content = tuple(row[n] for n in names)
            net[content] = net.get(content, 0) + row["_weight"]
    standing = sorted((c for c, n in net.items() if n > 0), key=repr)
    out: list[Row] = []
    for i in rng.permutation(len(standing))[:count]:
        row = dict(zip(names, standing[i], strict=True))
        out.append(row | {"_weight": -1})
        if rng.random() < 0.5:
            out.append(row | {"amount": Decimal(int(rng.integers(1000))) / 100, "_weight": 1})
        if rng.random() < 0.2:
            out.append(row | {"_weight": 0})
    return out


def random_batch(rng: np.random.Generator, log: MemoryLog, step: int, takings: int) -> None:
    """Appends a batch of new rows, some of them late once `step` has grown, and of so many rows taken back."""
    rows = random_rows(rng, int(rng.integers(0, 20)), 1000 * len(log.slices))
    marks = [None, at(step - 1, 0), at(step - 2, 0)]
    rows = [r | {"_watermark": marks[int(rng.integers(3))]} for r in rows]
    log.append([*rows, *taken(rng, log, takings)] if takings else rows)
