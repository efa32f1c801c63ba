"""Measures the embedded engine alone: catch-up over a history, then small batches of its newest day.

    python bench/engine_steps.py --rows 10000000 --batches 200 [--salesmen 1000 --cities 200 --days 30]

Sales are made in memory, in order of time, one slice of 1.25 M rows after the other; both sales pipelines of the
reference project run, each with a state of its own, in one thread each. Prints seconds of catch-up, p50, p99 and the
longest of advance + confirm per batch of 10,000 rows, the size of the state and the peak of memory.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.engines.hand import stamps

from penstock.engines.duckdb import DuckDBState
from penstock.log.model import BatchEntry, ChainPoint, Position, Slice
from penstock.plan.model import Plan
from penstock.plan.planner import plan
from penstock.project.model import Column, PipelineFile, Stream
from penstock.sqltypes import TEXT, TIMESTAMP, decimal

SLICE = 1_250_000
BATCH = 10_000
SALES = Stream(
    "sales",
    (
        Column("sale_id", TEXT, required=True),
        Column("sold_at", TIMESTAMP, required=True),
        Column("amount", decimal(12, 2), required=True),
        *(Column(name, TEXT, required=True) for name in ("city", "salesman_id", "salesman_name")),
    ),
    ("sale_id",),
    "sold_at",
)
CITY = """
    SELECT CAST(sold_at AS DATE) AS date, city, CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales,
        count(*) AS transaction_count, CAST(avg(amount) AS DECIMAL(15,2)) AS avg_sale,
        CAST(max(amount) AS DECIMAL(15,2)) AS max_sale
    FROM sales GROUP BY date, city"""
SALESMEN = """
    SELECT CAST(sold_at AS DATE) AS date, salesman_id, arg_max(salesman_name, (sold_at, sale_id)) AS salesman_name,
        CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, count(*) AS deals_closed,
        CAST(avg(amount) AS DECIMAL(15,2)) AS avg_deal_size, count(DISTINCT city) AS cities_covered,
        rank() OVER (PARTITION BY date ORDER BY total_sales DESC) AS rank
    FROM sales GROUP BY date, salesman_id QUALIFY rank <= 100"""
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """What sales look like."""

    rows: int
    days: int
    salesmen: int
    cities: int


def planned(name: str, sql: str) -> Plan:
    return plan(PipelineFile(name, sql, late="set_aside", late_given=True), {"sales": SALES})


def sales(
    con: duckdb.DuckDBPyConnection, world: World, first: int, count: int, from_: datetime, step: float
) -> pa.Table:
    """Returns `count` sales, `step` seconds apart."""
    query = f"""
        SELECT 's-' || i AS sale_id,
            TIMESTAMPTZ '{from_.isoformat()}' + to_microseconds(((i - {first}) * {step} * 1e6)::BIGINT) AS sold_at,
            (hash(i, 1) % 100000 / 100)::DECIMAL(12,2) AS amount,
            'City ' || hash(i, 2) % {world.cities} AS city,
            'm-' || hash(i, 3) % {world.salesmen} AS salesman_id,
            'Name ' || hash(i, 4) % {world.salesmen} AS salesman_name
        FROM range({first}, {first + count}) AS t(i)"""
    return con.sql(query).to_arrow_table()


def slice_of(table: pa.Table, number: int) -> Slice:
    point, parent = ChainPoint(Position(number), f"b{number}"), f"b{number - 1}"
    entry = BatchEntry(
        point, parent, "sales", "bench", "bench", table.num_rows, False, START, None, None, "1", None, None, None, ""
    )
    return Slice(entry, stamps(table, number))


class History:
    """Slices made as they are read, and the seconds it took to make them."""

    def __init__(self, world: World) -> None:
        self.world, self.seconds = world, 0.0
        self.con = duckdb.connect(config={"threads": 2})
        self.con.execute("SET TimeZone = 'UTC'")

    def slices(self) -> Iterator[Slice]:
        step = self.world.days * 86400 / self.world.rows
        for first in range(0, self.world.rows, SLICE):
            began = time.perf_counter()
            from_ = START + timedelta(seconds=first * step)
            made = slice_of(sales(self.con, self.world, first, SLICE, from_, step), first // SLICE + 1)
            self.seconds += time.perf_counter() - began
            yield made

    def newest(self, number: int) -> Slice:
        """Returns one more batch of the newest day."""
        from_ = START + timedelta(days=self.world.days - 0.9)
        return slice_of(sales(self.con, self.world, self.world.rows + number * BATCH, BATCH, from_, 1), 1000 + number)


def catch_up(states: list[DuckDBState], history: History, at_once: int) -> float:
    """Advances both states over the history, `at_once` slices a step; returns seconds without making the rows."""
    began = time.perf_counter()
    slices = list(history.slices()) if at_once > 8 else None
    rest = iter(slices or history.slices())
    began = time.perf_counter() if slices else began
    while part := list(itertools.islice(rest, at_once)):
        together(states, part)
    return time.perf_counter() - began - (0 if slices else history.seconds)


def together(states: list[DuckDBState], slices: list[Slice]) -> None:
    threads = [threading.Thread(target=step, args=(state, slices)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def step(state: DuckDBState, slices: list[Slice]) -> None:
    state.advance(slices, slices[-1].entry.point)
    state.confirm()


def small_batches(states: list[DuckDBState], history: History, count: int) -> None:
    for state in states:
        taken, used = [], []
        for number in range(count):
            batch = [history.newest(number)]
            began, cpu = time.perf_counter(), time.process_time()
            step(state, batch)
            used.append((time.process_time() - cpu) * 1000)
            taken.append((time.perf_counter() - began) * 1000)
        p50, p99 = statistics.median(taken), sorted(taken)[int(count * 0.99)]
        sys.stdout.write(f"{state.plan.name}: 10k rows p50 {p50:.1f} p99 {p99:.1f} longest {max(taken):.1f} ms, ")
        sys.stdout.write(f"of a core p50 {statistics.median(used):.1f} ms\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rows", 10_000_000), ("batches", 200), ("days", 30), ("salesmen", 1000), ("cities", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--at-once", type=int, default=1, help="slices of 1.25 M rows a step")
    parser.add_argument("--only", choices=("city", "salesmen"))
    given = parser.parse_args()
    world = World(given.rows, given.days, given.salesmen, given.cities)
    plans: list[Plan] = [planned("top_sales_by_city", CITY)] if given.only != "salesmen" else []
    plans += [planned("top_salesmen", SALESMEN)] if given.only != "city" else []
    with tempfile.TemporaryDirectory() as folder:
        states = [DuckDBState(one, Path(folder), lambda *_: [], "256MB", 2) for one in plans]
        history = History(world)
        seconds = catch_up(states, history, given.at_once)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(f"catch-up of {given.rows:,} rows: {seconds:.2f} s, peak {peak} MB\n")
        small_batches(states, history, given.batches)
        size = sum(f.stat().st_size for f in Path(folder).glob("*")) / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(f"state {size:.0f} MB, peak {peak} MB\n")


if __name__ == "__main__":
    main()
