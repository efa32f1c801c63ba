"""The key memory's runs, merges and files, against a dictionary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.intake import memory, runs
from penstock.intake.errors import BatchTooLarge, MemoryUnusable
from penstock.intake.memory import Memory, Table, pack
from penstock.intake.runs import Columns, DamagedRun, open_run, stable_order
from penstock.log.model import ChainPoint, Position


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens early: files, merges, ranges of a merge."""
    monkeypatch.setattr(memory, "RAM_ENTRIES", 8)
    monkeypatch.setattr(memory, "RAM_RUNS", 2)
    monkeypatch.setattr(memory, "MOST_FILES", 6)
    monkeypatch.setattr(runs, "MERGE_ROWS", 16)


def spread(keys: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(keys, np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def entries(keys: list[int], position: int, events: list[int] | None = None) -> Columns:
    rows, n = np.arange(len(keys), dtype=np.int64), len(keys)
    columns = (spread(keys), np.arange(n, dtype=np.uint64), pack(position, rows, np.zeros(n, bool)))
    return columns if events is None else (*columns, np.array(events, np.int64).view(np.uint64))


def made(folder: Path, *, forgets: bool = False) -> Memory:
    return Memory(folder, "f", {"key": Table(folder, "key", forgets=forgets)})


def add(kept: Memory, keys: list[int], position: int, event: int | None = None) -> None:
    """Adds a batch; with `event` as all rows' event time, keys older than ten are forgotten."""
    events = None if event is None else [event] * len(keys)
    kept.add({"key": entries(keys, position, events)}, {}, None if event is None else event - 10)
    kept.advance(ChainPoint(Position(position), str(position)))


def newest(kept: Memory, keys: list[int]) -> list[tuple[int, int] | None]:
    hashes = spread(keys)
    order = stable_order(hashes)
    found = kept.tables["key"].find(hashes[order])
    answers: list[tuple[int, int] | None] = [None] * len(keys)
    for at, i in enumerate(order.tolist()):
        if found.there[at]:
            place = int(found.place[at])
            answers[i] = (place >> 25, (place >> 1) & memory.MOST_ROWS)
    return answers


KEYS = st.lists(st.integers(0, 40), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=20))
def test_the_newest_entry_of_each_key_is_found_through_flushes_merges_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[int], bool]]
) -> None:
    folder = tmp_path_factory.mktemp("memory")
    kept, known = made(folder), dict[int, list[tuple[int, int]]]()
    for position, (keys, restart) in enumerate(steps, 1):
        add(kept, keys, position)
        for row, key in enumerate(keys):
            known.setdefault(key, []).append((position, row))
        if restart:
            kept.close()
            kept = made(folder)
            assert (kept.started, kept.point.position) == ("", position)
        assert newest(kept, list(range(42))) == [known.get(k, [None])[-1] for k in range(42)]
        for key in range(0, 42, 7):
            every = [(e.position, e.row) for e in kept.tables["key"].all_of(int(spread([key])[0]))]
            expected = known.get(key, [])[::-1]
            assert every == expected[:1]
    kept.close()
    assert {p.name for p in folder.glob("*.run")} == kept.tables["key"].kept()


def test_all_entries_of_a_shared_hash_are_kept(tmp_path: Path) -> None:
    kept = made(tmp_path)
    shared = int(spread([7])[0])
    kept.add({}, {"key": {shared}}, None)
    for position in range(1, 30):
        add(kept, [7, 8, *range(100, 110)], position)
    kept.close()
    again = made(tmp_path)
    assert [e.position for e in again.tables["key"].all_of(shared)] == list(range(29, 0, -1))
    assert [e.position for e in again.tables["key"].all_of(int(spread([8])[0]))] == [29]
    assert len(again.tables["key"]) < 29 * 12 / 2


def test_files_stay_few(tmp_path: Path) -> None:
    kept = made(tmp_path)
    for position in range(1, 200):
        add(kept, [position * 20 + i for i in range(9)], position)
    kept.save()
    assert len(kept.tables["key"]) == 199 * 9
    assert len(list(tmp_path.glob("*.run"))) <= 2 * memory.MOST_FILES
    kept.close()


def test_forgotten_keys_leave_the_disk(tmp_path: Path) -> None:
    kept = made(tmp_path, forgets=True)
    for position in range(1, 40):
        keys = [position * 20 + i for i in range(9)]
        add(kept, keys, position, position - 1000)
    kept.save()
    kept.close()
    assert len(kept.tables["key"]) < 39 * 9 / 2
    assert newest(kept, [39 * 20])[0] is not None


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    kept = made(tmp_path)
    add(kept, [1, 2], 1)
    kept.close()
    (tmp_path / "key-00000099.run").write_bytes(b"left")
    (tmp_path / "key-00000100.tmp").write_bytes(b"left")
    again = made(tmp_path)
    assert again.started == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["key-00000001.run", "manifest.json"]


def test_an_unsaved_batch_is_not_in_a_memory_taken_up_again(tmp_path: Path) -> None:
    kept = made(tmp_path)
    add(kept, [1, 2], 1)
    kept.save()
    add(kept, [3], 2)
    again = made(tmp_path)
    assert again.point == ChainPoint(Position(1), "1")
    assert newest(again, [1, 3]) == [(1, 0), None]


def test_a_file_of_another_kind_is_damage(tmp_path: Path) -> None:
    (tmp_path / "x.run").write_bytes(b"not a run")
    with pytest.raises(DamagedRun, match=r"x\.run: "):
        open_run(tmp_path / "x.run")
    with pytest.raises(DamagedRun, match="No such file"):
        open_run(tmp_path / "y.run")


def test_a_row_no_place_can_name_is_an_error() -> None:
    with pytest.raises(BatchTooLarge, match="PEN303 batch too large: row 16777216 of a batch"):
        pack(1, np.array([1 << 24]), np.zeros(1, bool))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = made(tmp_path / "file" / "memory")
    with pytest.raises(MemoryUnusable, match=r"PEN304 key memory cannot be kept: .*Not a directory"):
        add(kept, list(range(9)), 1)
