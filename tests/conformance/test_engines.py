"""What every engine must do. Engines are found in the package: a new one is tested without a word here.

An engine is a concrete PipelineState whose constructor begins with (plan, folder, read_log).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock.engines
from penstock.engines.base import PipelineState
from penstock.engines.errors import PipelineError
from penstock.log.model import ORIGIN
from penstock.plan.model import Plan
from penstock.sqltypes import decimal
from tests.engines.hand import (
    ALL,
    Answer,
    MemoryLog,
    at,
    overall_ranks,
    random_batch,
    sale,
    top_sales_by_city,
    top_salesmen,
    totals,
    whole,
    whole_windows,
)


def engines() -> list[type[PipelineState]]:
    """Returns the concrete states in the package's modules."""
    found = {}
    for module in pkgutil.iter_modules(penstock.engines.__path__, "penstock.engines."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, PipelineState) and not inspect.isabstract(cls):
                found[cls.__qualname__] = cls
    return [found[name] for name in sorted(found)]


@pytest.fixture(params=engines(), ids=lambda engine: engine.__name__)
def engine(request: pytest.FixtureRequest) -> type[PipelineState]:
    found: type[PipelineState] = request.param
    return found


class Kept:
    """A state and what its changes add up to, over a log in memory."""

    def __init__(self, engine: type[PipelineState], plan: Plan, folder: Path, log: MemoryLog | None = None) -> None:
        self.engine, self.plan, self.folder = engine, plan, folder
        self.log = log or MemoryLog()
        self.answer = Answer(plan)
        self.state = self.open()

    def open(self) -> PipelineState:
        make: Callable[..., PipelineState] = self.engine
        return make(self.plan, self.folder, self.log.read)

    def advance(self, *, confirm: bool = True) -> None:
        changes = self.state.advance(self.log.read(self.state.at, self.log.end), self.log.end)
        assert changes.at == self.log.end
        if confirm:
            self.answer.apply(changes)
            self.state.confirm()
            assert self.state.at == self.log.end

    def reopen(self) -> None:
        self.state.close()
        self.state = self.open()

    def check(self) -> None:
        assert self.answer.sorted() == whole(self.plan, self.log.slices)
        counts = {window: late for window, (_, *late) in self.answer.windows.items()}
        assert counts == {w: list(n) for w, n in whole_windows(self.plan, self.log.slices).items()}


def test_engines_are_found_and_take_the_same_arguments() -> None:
    assert "DuckDBState" in [engine.__name__ for engine in engines()]
    for engine in engines():
        assert list(inspect.signature(engine).parameters)[:3] == ["plan", "folder", "read_log"]


@pytest.mark.slow
@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("seed", range(2))
def test_any_slicing_of_an_append_log_gives_the_whole_select(
    engine: type[PipelineState], make: Callable[[], Plan], seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    kept = Kept(engine, make(), tmp_path)
    for step in range(5):
        for _ in range(int(rng.integers(1, 3))):
            random_batch(rng, kept.log, step, takings=0)
        kept.advance()
        kept.check()
    kept.state.close()


@pytest.mark.slow
@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("late", ["restate", "set_aside"])
@pytest.mark.parametrize("seed", range(2))
def test_rows_taken_back_leave_no_trace(
    engine: type[PipelineState], make: Callable[[], Plan], late: str, seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(100 + seed)
    kept = Kept(engine, replace(make(), late=late), tmp_path)
    for step in range(6):
        for _ in range(int(rng.integers(1, 3))):
            random_batch(rng, kept.log, step, takings=int(rng.integers(0, 12)))
        if rng.random() < 0.3:
            kept.advance(confirm=False)
            kept.state.rollback()
        kept.advance()
        kept.check()
        if rng.random() < 0.3:
            kept.reopen()
    kept.state.close()


@pytest.mark.parametrize("make", [top_salesmen, totals])
def test_everything_taken_back_leaves_nothing(
    engine: type[PipelineState], make: Callable[[], Plan], tmp_path: Path
) -> None:
    kept = Kept(engine, make(), tmp_path)
    rows = [sale(n, 1 + n % 2, f"c{n % 3}", "7", f"s{n % 2}") for n in range(10)]
    kept.log.append(rows)
    kept.advance()
    kept.log.append([row | {"_weight": -1} for row in rows])
    kept.advance()
    kept.check()
    assert len(kept.answer.rows) == (0 if kept.plan.key else 1)
    kept.state.close()


def test_a_step_without_rows_moves_on(engine: type[PipelineState], tmp_path: Path) -> None:
    for plan in (top_sales_by_city(), totals()):
        kept = Kept(engine, plan, tmp_path)
        kept.log.append([])
        kept.advance()
        kept.check()
        kept.log.append([sale(1, 1, "Ulm", "1")])
        kept.advance()
        kept.log.append([], stream_watermark=at(3))
        changes = kept.state.advance(kept.log.read(kept.state.at, kept.log.end), kept.log.end)
        assert (changes.upserts.num_rows, changes.deletes.num_rows, changes.watermark) == (0, 0, at(3))
        kept.state.confirm()
        kept.check()
        kept.state.close()


def test_the_same_rows_again_change_nothing(engine: type[PipelineState], tmp_path: Path) -> None:
    """A step whose rows cancel each other yields no changes, and a change elsewhere in a unit only what it moves."""
    kept = Kept(engine, top_salesmen(), tmp_path)
    kept.log.append([sale(n, 1, "c", f"{n}", f"s{n}") for n in range(1, 5)])
    kept.advance()
    row = sale(9, 1, "d", "50", "s1")
    kept.log.append([row, row | {"_weight": -1}])
    changes = kept.state.advance(kept.log.read(kept.state.at, kept.log.end), kept.log.end)
    assert (changes.upserts.num_rows, changes.deletes.num_rows) == (0, 0)
    kept.state.confirm()
    kept.log.append([sale(10, 1, "c", "1.50", "s1")])
    changes = kept.state.advance(kept.log.read(kept.state.at, kept.log.end), kept.log.end)
    assert {row["salesman_id"] for row in changes.upserts.to_pylist()} == {"s1", "s2"}
    kept.state.confirm()
    kept.state.close()


def test_a_crash_before_confirm_forgets_the_step(engine: type[PipelineState], tmp_path: Path) -> None:
    kept = Kept(engine, top_salesmen(), tmp_path)
    kept.log.append([sale(n, 1, f"c{n}", "1") for n in range(5)])
    kept.advance()
    before = kept.state.at
    kept.log.append([sale(n, 2, f"c{n}", "2") for n in range(5, 9)])
    kept.advance(confirm=False)
    assert kept.state.at == before
    kept.reopen()
    assert kept.state.at == before
    kept.advance()
    kept.check()
    kept.state.close()


def test_reset_begins_again(engine: type[PipelineState], tmp_path: Path) -> None:
    kept = Kept(engine, overall_ranks(), tmp_path)
    kept.log.append([sale(n, 1, f"c{n % 2}", "1") for n in range(5)])
    kept.advance()
    kept.state.reset()
    assert kept.state.at == ORIGIN
    kept.answer = Answer(kept.plan)
    kept.advance()
    kept.check()
    kept.state.close()
    kept.state.close()


@pytest.mark.parametrize("late", ["restate", "set_aside"])
def test_late_rows_are_counted_by_window(engine: type[PipelineState], late: str, tmp_path: Path) -> None:
    kept = Kept(engine, top_sales_by_city(late), tmp_path)
    in_time: dict[str, Any] = {"_watermark": at(1, 20)}
    after_day_1: dict[str, Any] = {"_watermark": at(2, 0)}
    kept.log.append([sale(1, 1, "Ulm", "1"), sale(2, 1, "Ulm", "1", **in_time), sale(3, 2, "Ulm", "1", **after_day_1)])
    kept.advance()
    assert kept.answer.windows == {"2026-01-01": (at(2, 0), 0, 0), "2026-01-02": (at(3, 0), 0, 0)}
    lates = [sale(n, 1, "Ulm", "5", **after_day_1) for n in (4, 5, 6)]
    kept.log.append([*lates, lates[0] | {"_weight": -1}])
    changes = kept.state.advance(kept.log.read(kept.state.at, kept.log.end), kept.log.end)
    kept.answer.apply(changes)
    kept.state.confirm()
    aside = 2 if late == "set_aside" else 0
    assert kept.answer.windows["2026-01-01"] == (at(2, 0), 2 - aside, aside)
    assert changes.late_set_aside == aside
    kept.check()
    kept.reopen()
    kept.log.append([lates[1] | {"_weight": -1}, lates[1] | {"_watermark": None}])
    changes = kept.state.advance(kept.log.read(kept.state.at, kept.log.end), kept.log.end)
    kept.answer.apply(changes)
    kept.state.confirm()
    assert kept.answer.windows["2026-01-01"] == (at(2, 0), 1 - aside // 2, aside // 2)
    assert changes.late_set_aside == aside // 2
    kept.check()
    kept.state.close()


def narrow(plan: Plan) -> Plan:
    """The total of a group must fit two digits before the point."""
    columns = tuple(replace(c, type=decimal(4, 2)) if c.name == "total_sales" else c for c in plan.columns)
    return replace(plan, columns=columns, fingerprint="narrow")


@pytest.mark.parametrize("make", [top_sales_by_city, top_salesmen])
def test_an_overflow_names_the_group_and_leaves_the_state(
    engine: type[PipelineState], make: Callable[[], Plan], tmp_path: Path
) -> None:
    kept = Kept(engine, narrow(make()), tmp_path)
    kept.log.append([sale(n, 1 + n % 3, f"c{n % 7}", "4", f"s{n % 7}") for n in range(40)])
    kept.advance()
    before = kept.state.at
    kept.log.append([sale(100, 2, "c5", "97", "s5"), *(sale(n, 2, "c3", "1", "s3") for n in range(200, 210))])
    with pytest.raises(PipelineError, match="PEN601") as caught:
        kept.advance()
    group = "city = c5" if "city" in kept.plan.key else "salesman_id = s5"
    assert f"group date = 2026-01-02, {group}: " in str(caught.value)
    assert kept.state.at == before
    kept.log.slices.pop()
    kept.log.append([sale(300, 2, "c5", "1", "s5")])
    kept.advance()
    kept.check()
    kept.state.close()


def test_a_sum_beyond_38_digits_is_an_error_and_no_number(engine: type[PipelineState], tmp_path: Path) -> None:
    plan = totals()
    sums = (replace(plan.steps.additives[0], sql="amount * 1e35::DECIMAL(38,0)"), plan.steps.additives[1])
    kept = Kept(engine, replace(plan, steps=replace(plan.steps, additives=sums)), tmp_path)
    kept.log.append([sale(1, 1, "Ulm", "5")])
    with pytest.raises(PipelineError):
        kept.advance()
    kept.state.close()


def test_a_failing_grouping_expression_names_the_row(engine: type[PipelineState], tmp_path: Path) -> None:
    plan = overall_ranks()
    steps = replace(plan.steps, groups=(replace(plan.steps.groups[0], sql="CAST(CAST(city AS INTEGER) AS TEXT)"),))
    kept = Kept(engine, replace(plan, steps=steps), tmp_path)
    kept.log.append([sale(n, 1, "Ulm" if n == 13 else "7", "1") for n in range(20)])
    with pytest.raises(PipelineError, match=r"row 13 of batch 1 \(source test, \)"):
        kept.advance()
    kept.state.close()


def test_texts_are_kept_verbatim(engine: type[PipelineState], tmp_path: Path) -> None:
    kept = Kept(engine, top_sales_by_city(), tmp_path)
    names = ["", " ", "a", "A", "ä", "a\u0308", "'; DROP TABLE s; --", '"', "%", "\u0001", "日本", "x" * 5000, None]
    kept.log.append([sale(n, 1, name, "1.00") for n, name in enumerate(names)])
    kept.advance()
    kept.check()
    kept.reopen()
    kept.log.append([sale(100 + n, 1, name, "0.01") for n, name in enumerate(names)])
    kept.advance()
    kept.check()
    assert {row["total_sales"] for row in kept.answer.rows.values()} == {Decimal("1.01")}
    kept.state.close()
