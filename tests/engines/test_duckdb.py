"""The embedded engine's own: where a step merges, the state file, what it survives. The rest is in conformance/."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from penstock.engines import duckdb as engine
from penstock.engines import duckdb_file, duckdb_hot, duckdb_step
from penstock.engines.duckdb import DuckDBState
from penstock.engines.duckdb_file import file_of, sweep
from penstock.engines.errors import EngineResourceError, StateBusyError, StateDamagedError
from penstock.log.model import ORIGIN
from penstock.observe import Observation, subscribe, unsubscribe
from penstock.observe.events import StateRebuilt
from penstock.plan.model import Plan
from tests.engines.hand import (
    ALL,
    Answer,
    MemoryLog,
    at,
    random_batch,
    sale,
    top_sales_by_city,
    top_salesmen,
    totals,
    whole,
    whole_windows,
)


def open_state(plan: Plan, folder: Path, log: MemoryLog) -> DuckDBState:
    return DuckDBState(plan, folder, log.read, "256MB", 1)


def advance(state: DuckDBState, log: MemoryLog, answer: Answer | None = None) -> None:
    changes = state.advance(log.read(state.at, log.end), log.end)
    if answer:
        answer.apply(changes)
    state.confirm()


def crash(state: DuckDBState) -> None:
    """Lets go of the file as a killed process does: what is in memory alone is lost."""
    state._file.close()


@pytest.fixture
def observed() -> Iterator[list[Observation]]:
    seen: list[Observation] = []
    handler = subscribe(seen.append)
    yield seen
    unsubscribe(handler)


# ---- where a step merges ---------------------------------------------------------------------------------------------

TIERS: dict[str, dict[str, float]] = {
    "memory": {},
    "memory, by units": {"WHOLE_ROWS": 0},
    "memory, little room": {"ROWS": 30},
    "loading little": {"LOADED_ROWS": 25},
    "disk": {"STEP_ROWS": 0},
    "either": {"STEP_ROWS": 25},
    "blocks": {"STEP_BLOCKS": 2},
    "due at once": {"SECONDS": 0.0},
    "small chunks": {"STEP_ROWS": 25, "CHUNK_ROWS": 7, "MERGE_ROWS": 9, "MANY_ROWS": 7},
}


WAYS = [(tier, make) for tier in TIERS for make in ALL if tier in ("memory", "disk") or make in (top_salesmen, totals)]


@pytest.mark.slow
@pytest.mark.parametrize(("tier", "make"), WAYS)
def test_every_way_of_merging_gives_the_whole_select(
    tier: str, make: Callable[[], Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TIERS[tier].items():
        home = next(m for m in (duckdb_hot, engine, duckdb_step) if hasattr(m, name))
        monkeypatch.setattr(home, name, value)
    rng = np.random.default_rng(7 + len(tier))
    plan, log = replace(make(), late="set_aside"), MemoryLog()
    answer, state = Answer(plan), open_state(plan, tmp_path, log)
    for step in range(7):
        for _ in range(int(rng.integers(1, 4))):
            random_batch(rng, log, step, takings=int(rng.integers(0, 10)) if step > 2 else 0)
        if rng.random() < 0.3:
            state.advance(log.read(state.at, log.end), log.end)
            state.rollback()
        advance(state, log, answer)
        assert answer.sorted() == whole(plan, log.slices)
        assert {w: late for w, (_, *late) in answer.windows.items()} == {
            w: list(n) for w, n in whole_windows(plan, log.slices).items()
        }
        if rng.random() < 0.3:
            state.close()
            state = open_state(plan, tmp_path, log)
        elif rng.random() < 0.3:
            crash(state)
            state = open_state(plan, tmp_path, log)
            if state.at != log.end:
                advance(state, log)
    state.close()


# ---- the file --------------------------------------------------------------------------------------------------------


def some_sales(folder: Path) -> tuple[Plan, MemoryLog]:
    plan, log = top_salesmen(), MemoryLog()
    log.append([sale(n, 1 + n % 3, f"c{n % 4}", f"{n}", f"s{n % 5}") for n in range(30)])
    state = open_state(plan, folder, log)
    advance(state, log)
    state.close()
    return plan, log


def test_a_closed_state_opens_where_it_was(tmp_path: Path) -> None:
    plan, log = some_sales(tmp_path)
    state = open_state(plan, tmp_path, log)
    assert state.at == log.end
    state.close()


def test_after_a_crash_the_state_is_behind_and_catches_up(tmp_path: Path) -> None:
    plan, log = some_sales(tmp_path)
    first_end = log.end
    state = open_state(plan, tmp_path, log)
    log.append([sale(100, 1, "c9", "100", "s1")])
    advance(state, log)
    crash(state)
    state = open_state(plan, tmp_path, log)
    assert state.at == first_end
    answer = Answer(plan)
    answer.rows = {
        tuple(row[:2]): dict(zip((c.name for c in plan.columns), row, strict=True)) for row in whole(plan, log.slices)
    }
    advance(state, log)
    log.append([sale(101, 1, "c9", "1", "s2"), sale(102, 4, "c9", "1", "s2")])
    advance(state, log, answer)
    assert answer.sorted() == whole(plan, log.slices)
    state.close()


def damage_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000] + b"\0" * 3000)


def damage_wholly(path: Path) -> None:
    path.write_bytes(b"this is no database")


def damage_emptied(path: Path) -> None:
    path.write_bytes(b"")


def damage_foreign(path: Path) -> None:
    path.unlink()
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE theirs AS SELECT 1 AS x")


def damage_table(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("DROP TABLE d_d0")


def of_another(column: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with duckdb.connect(str(path)) as con:
            con.execute(f"UPDATE meta SET {column} = 'other'")

    return change


@pytest.mark.parametrize(
    "harm",
    [
        damage_bytes, damage_wholly, damage_emptied, damage_foreign, damage_table,
        of_another("format"), of_another("fingerprint"), of_another("timezones"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_trusted_is_built_again(
    harm: Callable[[Path], None], tmp_path: Path, observed: list[Observation]
) -> None:
    plan, log = some_sales(tmp_path)
    harm(file_of(tmp_path, plan))
    state, answer = open_state(plan, tmp_path, log), Answer(plan)
    assert state.at == ORIGIN
    advance(state, log, answer)
    assert answer.sorted() == whole(plan, log.slices)
    rebuilt = [o for o in observed if isinstance(o, StateRebuilt)]
    assert [(o.rows, "top_salesmen" in o.what, bool(o.why)) for o in rebuilt] == [(30, True, True)]
    state.close()


def test_a_new_file_is_not_reported_as_rebuilt(tmp_path: Path, observed: list[Observation]) -> None:
    some_sales(tmp_path)
    assert not [o for o in observed if isinstance(o, StateRebuilt)]


def test_another_plan_has_another_file_and_sweep_deletes_what_is_left(tmp_path: Path) -> None:
    plan, log = some_sales(tmp_path)
    other = replace(plan, fingerprint="f" * 64)
    state = open_state(other, tmp_path, log)
    assert state.at == ORIGIN
    state.close()
    assert sweep(tmp_path, [other]) == [file_of(tmp_path, plan)]
    assert [p.name for p in tmp_path.iterdir()] == [file_of(tmp_path, other).name]


def test_a_file_held_by_another_process_is_not_taken(tmp_path: Path) -> None:
    plan, log = some_sales(tmp_path)
    hold = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); "
        "sys.stdout.write('held' + chr(10)); sys.stdout.flush(); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(file_of(tmp_path, plan))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StateBusyError, match="PEN603 the pipeline's state is held by another process"):
            open_state(plan, tmp_path, log)
        other.communicate()
    state = open_state(plan, tmp_path, log)
    assert state.at == log.end
    state.close()


def test_state_of_many_steps_does_not_grow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_hot, "SECONDS", 0.0)
    plan, log = some_sales(tmp_path)
    state = open_state(plan, tmp_path, log)
    for n in range(40):
        log.append([sale(1000 + n, 1, f"c{n % 4}", "1", f"s{n % 5}")])
        advance(state, log)
    state.close()
    assert file_of(tmp_path, plan).stat().st_size < 10_000_000


def test_too_little_memory_is_told_and_leaves_the_state(tmp_path: Path) -> None:
    plan, log = top_salesmen(), MemoryLog()
    log.append([sale(n, 1, f"c{n}", "1", f"s{n}") for n in range(200)])
    state = DuckDBState(plan, tmp_path, log.read, "256MB", 1)
    state._file.con.execute("SET memory_limit = '1MB'")
    with pytest.raises(EngineResourceError, match="PEN602 the engine has no room to work") as caught:
        advance(state, log)
    assert caught.value.retryable
    assert state.at == ORIGIN
    state._file.con.execute("SET memory_limit = '256MB'")
    answer = Answer(plan)
    advance(state, log, answer)
    assert answer.sorted() == whole(plan, log.slices)
    state.close()


def test_damage_found_while_running_builds_the_state_again(tmp_path: Path, observed: list[Observation]) -> None:
    plan, log = top_salesmen(), MemoryLog()
    rng = np.random.default_rng(1)
    log.append([sale(n, 1 + n % 30, f"c{rng.integers(10**9)}", "1", f"s{rng.integers(10**9)}") for n in range(20_000)])
    state = open_state(plan, tmp_path, log)
    advance(state, log)
    state.close()
    path = file_of(tmp_path, plan)
    with duckdb.connect(str(path)) as con:
        con.execute("CHECKPOINT")
        query = "SELECT DISTINCT block_id FROM pragma_storage_info('d_d0') WHERE block_id >= 0 AND persistent"
        blocks = [row[0] for row in con.execute(query).fetchall()]
    content = bytearray(path.read_bytes())
    for block in blocks:
        middle = 3 * 4096 + block * 262_144 + 20_000
        content[middle : middle + 100] = b"\xff" * 100
    path.write_bytes(bytes(content))
    state, answer = open_state(plan, tmp_path, log), Answer(plan)
    assert state.at == log.end
    log.append([sale(-n, 1 + n % 30, "c", "1", "s") for n in range(30)])
    with pytest.raises(StateDamagedError, match="PEN604 the pipeline's state was damaged"):
        advance(state, log)
    assert state.at == ORIGIN
    advance(state, log, answer)
    assert answer.sorted() == whole(plan, log.slices)
    assert [o.rows for o in observed if isinstance(o, StateRebuilt)] == [sum(s.table.num_rows for s in log.slices)]
    state.close()


def test_counts_beside_their_values_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEP_ROWS": 0, "COUNTS": 5}.items():
        monkeypatch.setattr(duckdb_hot, name, value)
    plan, log = totals(), MemoryLog()
    state, answer = open_state(plan, tmp_path, log), Answer(plan)
    beside = []
    for step in range(8):
        log.append([sale(10 * step + n, 1, f"c{n % 3}", "7") for n in range(10)])
        advance(state, log, answer)
        beside.append(state._file.con.execute("SELECT count(*) FROM disk.i_d0").fetchall()[0][0])
    assert max(beside) < 10
    log.append([row | {"_weight": -1} for row in log.slices[0].table.to_pylist()])
    advance(state, log, answer)
    assert answer.sorted() == whole(plan, log.slices)
    state.close()


def test_advance_twice_without_confirm_is_refused(tmp_path: Path) -> None:
    log = MemoryLog()
    log.append([sale(1, 1, "Ulm", "1")])
    state = open_state(top_sales_by_city(), tmp_path, log)
    state.advance(log.read(None, log.end), log.end)
    with pytest.raises(RuntimeError, match="confirmed or rolled back"):
        state.advance(log.read(None, log.end), log.end)
    state.close()


def test_the_days_of_a_pipeline_are_those_of_its_timezone(tmp_path: Path) -> None:
    plan, log = replace(top_sales_by_city(), timezone="America/New_York", fingerprint="new york"), MemoryLog()
    log.append([sale(1, 1, "Ulm", "1") | {"sold_at": at(2, 4.9)}, sale(2, 1, "Ulm", "1") | {"sold_at": at(2, 5.1)}])
    state, answer = open_state(plan, tmp_path, log), Answer(plan)
    advance(state, log, answer)
    assert answer.sorted() == whole(plan, log.slices)
    assert answer.windows == {"2026-01-01": (at(2, 5), 0, 0), "2026-01-02": (at(3, 5), 0, 0)}
    assert duckdb_file.time_zones(state._file.con).startswith("duckdb 2.")
    state.close()
