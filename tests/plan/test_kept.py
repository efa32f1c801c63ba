"""Every case kept by the real engine, batch by batch, with rows taken back and put in again: equal to the whole SELECT.

Batches of three rows; in each, rows of earlier batches are taken back, and half of those come again later. After every
batch the answer is compared with the typed SELECT over the rows that count then.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from penstock.engines.duckdb import DuckDBState
from tests.engines.hand import Answer, MemoryLog
from tests.plan import casefile, support
from tests.plan.casefile import Case

CASES = casefile.all_cases()
FIELDS = [pa.field(c.name, c.type.arrow) for c in support.SALES.columns]
NAMES = [c.name for c in support.SALES.columns]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    with support.connection("UTC") as con:
        support.create(con, support.SALES)
        con.executemany(f"INSERT INTO sales VALUES ({', '.join('?' * len(NAMES))})", casefile.sales_rows())
        return con.sql("SELECT * FROM sales").to_arrow_table().cast(pa.schema(FIELDS))


def batches(table: pa.Table, seed: str) -> list[pa.Table]:
    """Three new rows a batch, some old rows taken back (-1), some of those given again (+1)."""
    rng = random.Random(seed)
    found: list[pa.Table] = []
    standing: list[int] = []
    gone: list[int] = []
    for start in range(0, table.num_rows + 6, 3):
        new = list(range(start, min(start + 3, table.num_rows)))
        back = rng.sample(standing, min(len(standing), rng.randrange(4)))
        again = rng.sample(gone, min(len(gone), rng.randrange(3)))
        rows = [(i, 1) for i in (*new, *again)] + [(i, -1) for i in back]
        standing = [i for i in (*standing, *new, *again) if i not in back]
        gone = [i for i in (*gone, *back) if i not in again]
        weights = pa.array([w for _, w in rows], pa.int8())
        found.append(table.take(pa.array([i for i, _ in rows], pa.int64())).append_column("_weight", weights))
    return found


def counting(slices: list[pa.Table]) -> pa.Table:
    whole = pa.concat_tables(slices)
    ids, weights = whole.column("sale_id").to_pylist(), whole.column("_weight").to_pylist()
    net: Counter[str] = Counter()
    for name, weight in zip(ids, weights, strict=True):
        net[name] += weight
    first = {name: i for i, name in reversed(list(enumerate(ids)))}
    return whole.take(pa.array([i for name, i in first.items() if net[name] > 0], pa.int64())).select(NAMES)


def expected(con: duckdb.DuckDBPyConnection, slices: list[pa.Table], case: Case) -> list[tuple[object, ...]]:
    plan = support.planned(case.sql, timezone=case.timezone)
    con.register("sales", counting(slices))
    rows = con.sql(plan.typed_select).to_arrow_table().cast(pa.schema([(c.name, c.type.arrow) for c in plan.columns]))
    return sorted((tuple(r.values()) for r in rows.to_pylist()), key=repr)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_kept_batch_by_batch(case: Case, table: pa.Table, tmp_path: Path) -> None:
    plan = support.planned(case.sql, timezone=case.timezone)
    log, answer, done = MemoryLog(), Answer(plan), []
    state = DuckDBState(plan, tmp_path, log.read, "256MB", 1)
    try:
        with support.connection() as con:
            for batch in batches(table, case.name):
                log.append(batch)
                done.append(batch)
                answer.apply(state.advance(log.read(state.at, log.end), log.end))
                state.confirm()
                assert answer.sorted() == expected(con, done, case)
    finally:
        state.close()
