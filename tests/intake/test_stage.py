"""The stage with its memory, against a naive reference: dictionaries of rows, decided one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.intake import memory
from penstock.intake.check import Checker
from penstock.intake.errors import MemoryUnusable
from penstock.intake.stage import Decided, Intake, RoundInfo
from penstock.log.model import ORIGIN, ChainPoint, Position, Slice
from penstock.observe.events import Observation, StateRebuilt, subscribe, unsubscribe
from penstock.project.model import Column, SourceFile, Stream
from penstock.sources.base import RawBatch, Receipt
from penstock.sqltypes import BIGINT, TEXT, TIMESTAMP, decimal
from tests.intake.small_log import READ_AT, SmallLog

FILE = SourceFile("shop", "files", "sales", operation="op")
APPEND = Stream(
    "sales",
    (
        Column("id", TEXT, required=True),
        Column("at", TIMESTAMP, required=True),
        Column("amount", decimal(12, 2), minimum="0"),
        Column("email", TEXT),
    ),
    primary_key=("id",),
    event_time="at",
)
UPSERT = replace(APPEND, changes="upsert")
KEYLESS = replace(APPEND, primary_key=())
APPEND_EMPTY = pa.schema([(c.name, c.type.arrow) for c in APPEND.columns]).empty_table()
MARK = datetime(2026, 1, 5, tzinfo=UTC)


def at(day: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)


class World:
    """An Intake over a small log, one source, batches one after the other."""

    def __init__(self, stream: Stream, folder: Path, bits: int = 64) -> None:
        self.stream, self.folder, self.bits = stream, folder, bits
        self.log = SmallLog()
        self.position = 0
        file = FILE if stream.changes == "upsert" else replace(FILE, operation=None)
        self.checker = Checker(stream, file, b"secret", threads=1, key_bits=bits)
        self.file = file
        self.start()

    def start(self) -> None:
        self.intake = Intake(self.stream, b"secret", self.folder, self.log.rows_at, key_bits=self.bits)
        point = self.intake.point
        assert point is not None
        if not self.log.holds(point):
            self.intake.reset()
            point = self.intake.point
            assert point is not None
        self.intake.catch_up(self.log.after(point), self.log.end)

    def decide(self, rows: list[dict[str, Any]], mark: datetime | None = MARK, **more: Any) -> Decided:
        schema = pa.schema([(c.name, c.type.arrow) for c in self.stream.columns] + [("op", pa.string())])
        usual = {"at": at(0), "amount": Decimal(0), "op": "upsert"}
        table = pa.Table.from_pylist([{**usual, **r} for r in rows], schema)
        numbers = range(self.position, self.position + len(rows))
        self.position += len(rows)
        raw = RawBatch(table, "t", pa.array(numbers, pa.int64()), {"n": self.position}, READ_AT, **more)
        decided = self.intake.decide(self.checker.check(raw), self.file, RoundInfo(mark, mark))
        assert decided.read == decided.accepted + decided.quarantined + decided.duplicates
        assert decided.quarantined == len(decided.refused)
        return decided

    def add(self, rows: list[dict[str, Any]], mark: datetime | None = MARK) -> Decided:
        decided = self.decide(rows, mark)
        self.intake.confirm(self.log.append(decided))
        return decided

    def counts(self, rows: list[dict[str, Any]], mark: datetime | None = MARK) -> tuple[int, int, int]:
        decided = self.add(rows, mark)
        return decided.accepted, decided.quarantined, decided.duplicates

    def close(self) -> None:
        self.intake.close()
        self.checker.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def rows(*ids: str, **more: Any) -> list[dict[str, Any]]:
    return [{"id": i, **more} for i in ids]


def test_a_keyless_stream_keeps_equal_rows_and_needs_no_disk(folder: Path) -> None:
    intake = Intake(KEYLESS, b"s", folder, SmallLog().rows_at)
    assert intake.point is None
    table = pa.Table.from_pylist(
        [{"id": "a", "at": at(0), "amount": Decimal(1), "email": None}] * 2,
        pa.schema([(c.name, c.type.arrow) for c in KEYLESS.columns]),
    )
    receipt = Receipt("a.csv", "reading")
    raw = RawBatch(table, "a.csv", pa.array([1, 2]), {"x": 1}, READ_AT, receipts=(receipt,), item="a.csv")
    checker = Checker(KEYLESS, replace(FILE, operation=None), b"s", threads=1)
    decided = intake.decide(checker.check(raw), FILE, RoundInfo(None, None))
    intake.close()
    checker.close()
    assert (decided.read, decided.accepted, decided.quarantined, decided.duplicates) == (2, 2, 0, 0)
    assert decided.batch is not None
    assert decided.batch.table.schema.names == ["id", "at", "amount", "email", "_position"]
    assert (decided.cursor, decided.receipts, decided.item, decided.event_time) == (
        {"x": 1}, (receipt,), "a.csv", at(0),
    )  # fmt: skip
    assert not folder.exists()


def test_the_same_again_is_a_duplicate_and_other_content_a_conflict(folder: Path) -> None:
    world = World(APPEND, folder)
    assert world.counts(rows("a", "b", "a")) == (2, 0, 1)
    assert world.counts(rows("a", "c")) == (1, 0, 1)
    decided = world.add(rows("b", "d", amount=Decimal("9.50")) + rows("d", amount=Decimal(1)))
    assert [(r.rule, r.column, r.position) for r in decided.refused] == [
        ("conflict", "id", "5"),
        ("conflict", "id", "7"),
    ]
    assert decided.refused[0].reason == (
        "id 'b' is known with other content from row 1 of batch 1: amount was '0.00', is '9.50'"
    )
    assert decided.refused[1].reason == (
        "id 'd' is known with other content from an earlier row of this batch: amount was '9.50', is '1.00'"
    )
    assert decided.refused[0].original == (
        b'{"id": "b", "at": "2026-01-01T00:00:00.000000Z", "amount": "9.50", "email": null, "op": "upsert"}'
    )
    world.close()


def test_what_is_rolled_back_is_not_known(folder: Path) -> None:
    world = World(APPEND, folder)
    world.decide(rows("a"))
    with pytest.raises(RuntimeError, match="neither confirmed nor rolled back"):
        world.decide(rows("b"))
    world.intake.rollback()
    assert world.counts(rows("a")) == (1, 0, 0)
    world.close()


def test_a_memory_that_may_lack_something_does_not_pass_other_streams_commits(folder: Path) -> None:
    world = World(APPEND, folder)
    world.add(rows("a"))
    point = world.intake.point
    world.intake.confirm(ChainPoint(Position(2), "of another stream"))
    assert world.intake.point == ChainPoint(Position(2), "of another stream")
    fresh = Intake(APPEND, b"secret", folder / "other", world.log.rows_at)
    fresh.confirm(ChainPoint(Position(2), "x"))
    assert fresh.point == ORIGIN
    with pytest.raises(RuntimeError, match="must catch up"):
        fresh.decide(
            world.checker.check(RawBatch(APPEND_EMPTY, "", pa.array([]), {}, READ_AT)), FILE, RoundInfo(None, None)
        )
    fresh.catch_up(world.log.after(ORIGIN), world.log.end)
    fresh.rollback()
    fresh.confirm(ChainPoint(Position(2), "x"))
    assert fresh.point == point
    fresh.close()
    world.close()


def test_unique_values_are_held_by_one_key(folder: Path) -> None:
    stream = replace(APPEND, columns=tuple(replace(c, unique=c.name == "email") for c in APPEND.columns))
    world = World(stream, folder)
    assert world.counts(rows("a", email="x") + rows("b", "c", email=None)) == (3, 0, 0)
    decided = world.add(rows("d", email="x") + rows("e", "f", email="y") + rows("a", email="x"))
    assert (decided.accepted, decided.duplicates) == (1, 1)
    assert [r.reason for r in decided.refused] == [
        "email is 'x': it is unique, and row 0 of batch 1 has it already",
        "email is 'y': it is unique, and an earlier row of this batch has it already",
    ]
    world.close()


def test_an_upsert_releases_the_unique_value_it_replaces(folder: Path) -> None:
    stream = replace(UPSERT, columns=tuple(replace(c, unique=c.name == "email") for c in UPSERT.columns))
    world = World(stream, folder)
    assert world.counts(rows("a", email="x")) == (1, 0, 0)
    assert world.counts(rows("b", email="x")) == (0, 1, 0)
    assert world.counts(rows("a", email="y") + rows("b", email="x")) == (2, 0, 0)
    world.start()
    assert world.counts(rows("c", email="y") + rows("c", email="x")) == (0, 2, 0)
    assert world.counts(rows("a", op="delete") + rows("c", email="y")) == (2, 0, 0)
    world.close()


def test_keys_are_forgotten_by_event_time(folder: Path) -> None:
    world = World(replace(APPEND, duplicates_within=timedelta(days=2)), folder)
    assert world.counts(rows("a", at=at(0)) + rows("b", at=at(9)), mark=None) == (2, 0, 0)
    assert world.counts(rows("a", at=at(0)), mark=None) == (0, 0, 1)
    assert world.counts(rows("c", at=at(9)), mark=at(9)) == (1, 0, 0)
    decided = world.add(rows("a", at=at(0)) + rows("b", at=at(9)) + rows("a", at=at(8)), mark=at(9))
    assert (decided.accepted, decided.duplicates) == (1, 1)
    assert decided.refused[0].rule == "duplicatesWithin"
    assert decided.refused[0].reason.endswith("so whether it is a duplicate cannot be told")
    world.close()


def test_a_correction_takes_the_old_row_back_with_its_stamp(folder: Path) -> None:
    world = World(UPSERT, folder)
    world.add(rows("a", amount=Decimal(1)), mark=None)
    decided = world.add(rows("a", amount=Decimal(2)) + rows("b"))
    assert decided.batch is not None
    got = decided.batch.table.select(["id", "amount", "_weight", "_watermark", "_position", "_version"]).to_pylist()
    assert [tuple(r.values()) for r in got] == [
        ("a", Decimal(1), -1, None, 1, "0"),
        ("a", Decimal(2), 1, None, 1, "1"),
        ("b", Decimal(0), 1, MARK, 2, "2"),
    ]
    assert (decided.accepted, decided.batch.table["_hash"][0].as_py()) == (2, world.log.rows()[0]["_hash"])
    world.close()


def test_deletes_take_back_and_are_remembered(folder: Path) -> None:
    columns = (*UPSERT.columns, Column("v", BIGINT))
    world = World(replace(UPSERT, columns=columns, version="v"), folder)
    assert world.counts(rows("a", v=1) + rows("x", v=5, op="delete")) == (1, 0, 1)
    decided = world.add(rows("a", v=2, op="delete", email="gone"))
    assert decided.batch is not None
    got = decided.batch.table.select(["id", "at", "email", "v", "_weight", "_watermark"]).to_pylist()
    assert [tuple(r.values()) for r in got] == [("a", at(0), None, 1, -1, MARK), ("a", None, None, 2, 0, MARK)]
    assert world.counts(rows("a", v=2) + rows("x", v=4)) == (0, 0, 2)
    assert world.counts(rows("a", v=3) + rows("x", v=6)) == (2, 0, 0)
    assert [r["_weight"] for r in world.log.rows()] == [1, 0, -1, 0, 1, 1]
    world.close()


def test_a_row_without_version_and_an_unknown_operation_are_refused(folder: Path) -> None:
    columns = (*UPSERT.columns, Column("v", BIGINT))
    world = World(replace(UPSERT, columns=columns, version="v"), folder)
    decided = world.add([*rows("a"), *rows("b", v=1, op="purge"), *rows("c", v=1, op="delete", amount=Decimal(-5))])
    assert [(r.rule, r.column) for r in decided.refused] == [("required", "v"), ("operation", "")]
    assert decided.refused[1].reason == "operation: op must yield 'upsert' or 'delete'"
    world.close()


IDS = st.sampled_from("abcdef")
ROW = st.fixed_dictionaries(
    {"id": IDS, "amount": st.sampled_from([Decimal(1), Decimal(2)]), "op": st.sampled_from(["upsert"] * 4 + ["delete"])}
)
BATCHES = st.lists(
    st.tuples(st.lists(ROW, max_size=8), st.sampled_from(["go on", "kill", "close", "roll back"])), max_size=8
)


def naive_append(known: dict[str, Any], batch: list[dict[str, Any]]) -> tuple[int, int, int]:
    accepted = conflicts = duplicates = 0
    for row in batch:
        if row["id"] not in known:
            known[row["id"]], accepted = row["amount"], accepted + 1
        elif known[row["id"]] == row["amount"]:
            duplicates += 1
        else:
            conflicts += 1
    return accepted, conflicts, duplicates


def naive_upsert(known: dict[str, Any], batch: list[dict[str, Any]]) -> tuple[int, int, int]:
    accepted = duplicates = 0
    for row in batch:
        wanted = row["amount"] if row["op"] == "upsert" else None
        if known.get(row["id"]) == wanted:
            duplicates += 1
        else:
            known[row["id"]], accepted = wanted, accepted + 1
    return accepted, 0, duplicates


@pytest.mark.slow
@pytest.mark.parametrize("bits", [64, 2])
@pytest.mark.parametrize("upserts", [False, True])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_any_batches_with_kills_between_match_the_naive_reference(
    folder: Path, monkeypatch: pytest.MonkeyPatch, bits: int, upserts: bool, batches: list[Any]
) -> None:
    """With two bits of hash nearly every key shares its hash with others."""
    monkeypatch.setattr(memory, "SAVE_EVERY", 2)
    shutil.rmtree(folder, ignore_errors=True)
    world, known = World(UPSERT if upserts else APPEND, folder, bits), dict[str, Any]()
    for batch, then in batches:
        if then == "roll back":
            world.decide(batch)
            world.intake.rollback()
            continue
        if not upserts:
            batch = [{**row, "op": "upsert"} for row in batch]
        naive = naive_upsert if upserts else naive_append
        assert world.counts(batch) == naive(known, batch)
        if then == "close":
            world.intake.close()
        if then != "go on":
            world.start()
    net: dict[tuple[str, Decimal], int] = {}
    for row in world.log.rows():
        net[row["id"], row["amount"]] = net.get((row["id"], row["amount"]), 0) + row["_weight"]
    assert {k: w for k, w in net.items() if w} == {(k, v): 1 for k, v in known.items() if v is not None}
    world.close()


@pytest.mark.parametrize("stream", [APPEND, UPSERT])
def test_keys_that_share_a_hash_are_told_apart_after_catching_up(folder: Path, stream: Stream) -> None:
    world = World(stream, folder, bits=1)
    keys = [str(i) for i in range(12)]
    for key in keys:
        assert world.counts(rows(key)) == (1, 0, 0)
    shutil.rmtree(folder, ignore_errors=True)
    world.start()
    for key in keys:
        assert world.counts(rows(key)) == (0, 0, 1)
    world.close()


def test_a_key_gone_within_one_batch_hides_no_other_of_its_hash(folder: Path) -> None:
    """The batch takes back a row of its own; memory before it knows another key of the same hash."""
    world = World(UPSERT, folder, bits=0)
    assert world.counts([{"id": "b", "amount": Decimal(1), "op": "upsert"}]) == (1, 0, 0)
    passing = [{"id": "a", "amount": Decimal(1), "op": op} for op in ("upsert", "delete")]
    assert world.counts(passing) == (2, 0, 0)
    shutil.rmtree(folder, ignore_errors=True)
    world.start()
    assert world.counts([{"id": "b", "amount": Decimal(2), "op": "upsert"}]) == (1, 0, 0)
    net: dict[tuple[str, Decimal], int] = {}
    for row in world.log.rows():
        net[row["id"], row["amount"]] = net.get((row["id"], row["amount"]), 0) + row["_weight"]
    assert {key for key, weight in net.items() if weight} == {("b", Decimal(2))}
    world.close()


def test_memory_of_another_chain_is_rebuilt(folder: Path) -> None:
    world = World(APPEND, folder)
    world.add(rows("a", "b"))
    world.intake.close()
    world.log = SmallLog()
    world.start()
    assert world.counts(rows("a")) == (1, 0, 0)
    world.close()


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest", "foreign", "format"])
def test_damaged_memory_is_rebuilt_from_the_log(folder: Path, damage: str) -> None:
    world = World(APPEND, folder)
    world.add(rows(*(str(i) for i in range(500))))
    world.intake.close()
    (run,) = folder.glob("*.run")
    manifest = folder / "manifest.json"
    if damage == "truncate":
        run.write_bytes(run.read_bytes()[:-1])
    elif damage == "flip":
        data = bytearray(run.read_bytes())
        data[5000] ^= 1
        run.write_bytes(data)
    elif damage == "remove":
        run.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text().replace('"position": 1', '"position": 0'))
    elif damage == "foreign":
        world.stream = replace(APPEND, columns=(*APPEND.columns, Column("more", TEXT)))
    else:
        manifest.write_text("[]")
    seen: list[Observation] = []
    subscribe(seen.append)
    world.start()
    unsubscribe(seen.append)
    rebuilt = [o for o in seen if isinstance(o, StateRebuilt)]
    assert [(o.what, o.rows) for o in rebuilt] == [("memory of sales", 500)]
    assert rebuilt[0].why
    if damage != "foreign":
        assert world.counts(rows("7", "x")) == (1, 0, 1)
    world.close()


def test_a_memory_that_could_not_catch_up_does_not_pass_other_streams_commits(folder: Path) -> None:
    world = World(APPEND, folder)
    world.add(rows("a"))
    world.add(rows("b"))
    fresh = Intake(APPEND, b"secret", folder / "other", world.log.rows_at)

    def cut_off() -> Iterator[Slice]:
        yield next(iter(world.log.after(ORIGIN)))
        raise MemoryUnusable("the log could not be read")

    with pytest.raises(MemoryUnusable):
        fresh.catch_up(cut_off(), world.log.end)
    reached = fresh.point
    fresh.confirm(ChainPoint(Position(3), "of another stream"))
    assert fresh.point == reached != world.log.end
    fresh.close()
    world.close()
