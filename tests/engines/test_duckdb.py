"""The embedded engine's state: what it yields, what it survives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from penstock.engines.duckdb import DuckDBState
from penstock.engines.errors import PipelineError
from penstock.plan.model import Plan
from penstock.sqltypes import decimal
from tests.engines.hand import ALL, SALES, Answer, MemoryLog, at, overall_ranks, top_sales_by_city, top_salesmen, whole

Row = dict[str, object]


def sale(n: int, day: int, city: str | None, amount: str | None, salesman: str | None = "s1", **stamps: object) -> Row:
    row: Row = {"sale_id": f"sale-{n}", "sold_at": at(day), "amount": amount and Decimal(amount), "city": city}
    return row | {"salesman_id": salesman, "salesman_name": f"name {n}"} | stamps


def open_state(plan: Plan, folder: Path, log: MemoryLog) -> DuckDBState:
    return DuckDBState(plan, folder, log.read, "256MB", 1)


def random_rows(rng: np.random.Generator, count: int, first: int, days: int = 4) -> list[Row]:
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


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_any_slicing_of_an_append_log_gives_the_whole_select(
    make: Callable[[], Plan], seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    plan, log = make(), MemoryLog()
    answer, state = Answer(plan), open_state(plan, tmp_path, log)
    for step in range(6):
        for _ in range(int(rng.integers(1, 3))):
            watermark = at(step - 1) if step > 2 else None
            late = {"_watermark": watermark - timedelta(days=int(rng.integers(3)))} if watermark else {}
            log.append([r | late for r in random_rows(rng, int(rng.integers(0, 30)), 1000 * len(log.slices))])
        answer.apply(state.advance(log.read(state.at, log.end), log.end))
        state.confirm()
        assert answer.sorted() == whole(plan, log.slices)
    state.close()


def test_two_batches(tmp_path: Path) -> None:
    for plan in (top_sales_by_city(), top_salesmen()):
        log, answer = MemoryLog(), Answer(plan)
        state = open_state(plan, tmp_path, log)
        for batch in (
            [sale(1, 1, "Ulm", "2.50"), sale(2, 1, None, "1")],
            [sale(3, 2, "Ulm", "3"), sale(4, 1, "Ulm", "9")],
        ):
            slice_ = log.append(batch)
            answer.apply(state.advance([slice_], log.end))
            state.confirm()
            assert answer.sorted() == whole(plan, log.slices)
        assert state.at == log.end
        state.close()


def takings(rng: np.random.Generator, log: MemoryLog, count: int) -> list[Row]:
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


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("late", ["restate", "set_aside"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_taken_back_leave_no_trace(make: Callable[[], Plan], late: str, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(100 + seed)
    plan, log = replace(make(), late=late), MemoryLog()
    answer, state = Answer(plan), open_state(plan, tmp_path, log)
    for step in range(7):
        for _ in range(int(rng.integers(1, 3))):
            rows = random_rows(rng, int(rng.integers(0, 12)), 1000 * len(log.slices))
            marks = [None, at(step - 1, 0), at(step - 2, 0)]
            rows = [r | {"_watermark": marks[int(rng.integers(3))]} for r in rows]
            log.append([*rows, *takings(rng, log, int(rng.integers(0, 12)))])
        answer.apply(state.advance(log.read(state.at, log.end), log.end))
        if rng.random() < 0.3:
            state.confirm()
            state.close()
            state = open_state(plan, tmp_path, log)
        state.confirm()
        assert answer.sorted() == whole(plan, log.slices)
    state.close()


def refused(state: DuckDBState, log: MemoryLog) -> str:
    """Advances to the log's end and returns the error's text; the state must be as before."""
    before = state.at
    with pytest.raises(PipelineError) as caught:
        state.advance(log.read(state.at, log.end), log.end)
    assert state.at == before
    return str(caught.value)


def narrow(plan: Plan) -> Plan:
    """The total of a group must fit two digits before the point."""
    columns = tuple(replace(c, type=decimal(4, 2)) if c.name == "total_sales" else c for c in plan.columns)
    return replace(plan, columns=columns, fingerprint="narrow")


@pytest.mark.parametrize("make", [top_sales_by_city, top_salesmen])
def test_an_overflow_names_the_group_and_leaves_the_state(make: Callable[[], Plan], tmp_path: Path) -> None:
    plan, log = narrow(make()), MemoryLog()
    answer, state = Answer(plan), open_state(plan, tmp_path, log)
    log.append([sale(n, 1 + n % 3, f"c{n % 7}", "4", f"s{n % 7}") for n in range(40)])
    answer.apply(state.advance(log.read(None, log.end), log.end))
    state.confirm()
    log.append([sale(100, 2, "c5", "97", "s5"), *(sale(n, 2, "c3", "1", "s3") for n in range(200, 210))])
    text = refused(state, log)
    assert "PEN601" in text
    assert f"group date = 2026-01-02, {plan.key[1]} = {'c5' if 'city' in plan.key else 's5'}: " in text
    log.slices.pop()
    log.append([sale(300, 2, "c5", "1", "s5")])
    answer.apply(state.advance(log.read(state.at, log.end), log.end))
    assert answer.sorted() == whole(narrow(make()), log.slices)
    state.close()


def test_a_failing_grouping_expression_names_the_row(tmp_path: Path) -> None:
    plan, log = overall_ranks(), MemoryLog()
    steps = replace(plan.steps, groups=(replace(plan.steps.groups[0], sql="CAST(CAST(city AS INTEGER) AS TEXT)"),))
    state = open_state(replace(plan, steps=steps), tmp_path, log)
    log.append([sale(n, 1, "Ulm" if n == 13 else "7", "1") for n in range(20)])
    assert "row 13 of batch 1 (source test, ): Conversion Error" in refused(state, log)
    state.close()
