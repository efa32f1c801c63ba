"""The planner's own cases, kept by the embedded engine: in slices, with rows taken back, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from penstock.engines import duckdb_hot
from penstock.engines.duckdb import DuckDBState
from penstock.plan.model import Plan
from tests.engines.hand import Answer, MemoryLog, whole
from tests.plan import casefile, support
from tests.plan.casefile import Case

CASES = casefile.all_cases()


def all_rows() -> pa.Table:
    with support.connection("UTC") as con:
        support.create(con, support.SALES)
        con.executemany(f"INSERT INTO sales VALUES ({', '.join('?' * 13)})", casefile.sales_rows())
        return con.sql("FROM sales").to_arrow_table()


def weighted(table: pa.Table, weight: int) -> pa.Table:
    return table.append_column("_weight", pa.repeat(pa.scalar(weight, pa.int8()), table.num_rows))


@pytest.mark.slow
@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_cases_are_kept_in_steps(case: Case, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if on_disk:
        monkeypatch.setattr(duckdb_hot, "STEP_ROWS", 0)
    plan: Plan = support.planned(case.sql, timezone=case.timezone)
    rows, rng = all_rows(), np.random.default_rng(3)
    order = rng.permutation(rows.num_rows)
    half = rows.num_rows // 2
    first, second = rows.take(order[:half]), rows.take(order[half:])
    log, answer = MemoryLog(), Answer(plan)
    state = DuckDBState(plan, tmp_path, log.read, "256MB", 1)
    parts = [weighted(first, 1), weighted(second, 1)]
    parts += [pa.concat_tables([weighted(first.slice(0, 5), -1), weighted(second.slice(2, 5), -1)])]
    parts += [weighted(first.slice(0, 5), 1), weighted(second.slice(2, 5), 1)]
    for part in parts:
        log.append(part)
        answer.apply(state.advance(log.read(state.at, log.end), log.end))
        state.confirm()
        assert answer.sorted() == whole(plan, log.slices)
    shown = sorted(tuple(casefile.shown(v) for v in row) for row in answer.sorted())
    assert [row for row in shown if "+" not in "".join(row)] == [r for r in case.rows if "+" not in "".join(r)]
    state.close()
