"""The log: numbers without gaps, what was appended comes back, and damage is found and named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from penstock.log import blocks, rowlog
from penstock.log.errors import (
    LogDiskFull,
    ManifestBroken,
    NewerFormat,
    OtherChain,
    SegmentDamaged,
    SegmentMissing,
    SegmentsAway,
)
from penstock.log.manifest import Connection
from penstock.log.model import ORIGIN, STAMPS, ChainPoint, LogBatch
from penstock.log.rowlog import RowLog
from penstock.log.segments import FolderSegments, open_segments
from penstock.observe import subscribe, unsubscribe
from penstock.observe.events import Observation, Step

pytestmark = pytest.mark.slow

DAY = datetime(2026, 1, 23, tzinfo=UTC)


def batch(rows: int = 3, *, stream: str = "sales", day: datetime = DAY, **more: pa.Array) -> LogBatch:
    """A batch of `rows` sales on `day`; `more` are stamps that differ within it."""
    numbers = pa.arange(0, rows)
    table = pa.table(
        {
            "sale_id": numbers.cast(pa.string()),
            "sold_at": pa.array([day + timedelta(seconds=i % 86000) for i in range(rows)], pa.timestamp("us", "UTC")),
            "amount": numbers.cast(pa.decimal128(23, 2)),
            "_position": numbers,
            "_hash": numbers.cast(pa.uint64()),
            **more,
        }
    )
    return LogBatch(
        stream=stream,
        source="drops",
        origin="a.csv",
        table=table,
        ingested_at=DAY,
        watermark=DAY,
        stream_watermark=DAY,
        contract_version="1.0.0",
        read=rows,
        accepted=rows,
        quarantined=0,
        duplicates=0,
        cursor={"at": rows},
        event_time="sold_at",
    )


def incompressible(rows: int) -> LogBatch:
    """A batch too big to be kept inline."""
    noise = pa.array([f"{hash((i, 'x')):x}{hash((i, 'y')):x}" for i in range(rows)])
    made = batch(rows)
    return LogBatch(**{**vars(made), "table": made.table.set_column(0, "sale_id", noise)})


def big() -> LogBatch:
    return incompressible(12_000)


def only_segment(log: RowLog) -> Path:
    assert isinstance(log.segments, FolderSegments)
    (path,) = log.segments.folder.glob("*.arrow")
    return path


@pytest.mark.parametrize("recent", [0, 1 << 30], ids=["read back", "from memory"])
def test_what_was_appended_comes_back_with_its_stamps(connection: Connection, tmp_path: Path, recent: int) -> None:
    log = RowLog(FolderSegments(tmp_path), recent)
    with connection.transaction():
        entry = log.append(batch(), connection)
    (slice_,) = log.read(connection, ORIGIN)
    assert slice_.entry == entry
    assert slice_.table.column_names == ["sale_id", "sold_at", "amount", *STAMPS]
    assert slice_.table.slice(1, 1).to_pylist() == [
        {
            "sale_id": "1",
            "sold_at": DAY + timedelta(seconds=1),
            "amount": Decimal("1.00"),
            "_batch": 1,
            "_row": 1,
            "_source": "drops",
            "_position": "1",
            "_ingested_at": DAY,
            "_weight": 1,
            "_watermark": DAY,
            "_version": None,
            "_hash": 1,
        }
    ]
    assert (entry.event_time_min, entry.event_time_max) == (DAY, DAY + timedelta(seconds=2))
    assert not entry.has_negative


@pytest.mark.parametrize("recent", [0, 1 << 30], ids=["read back", "from memory"])
def test_big_batches_go_to_segments_and_small_ones_inline(connection: Connection, tmp_path: Path, recent: int) -> None:
    log = RowLog(FolderSegments(tmp_path), recent)
    for made in (batch(), big(), batch()):
        with connection.transaction():
            log.append(made, connection)
    slices = list(log.read(connection, ORIGIN))
    assert [s.entry.point.position for s in slices] == [1, 2, 3]
    assert [s.entry.segment is None for s in slices] == [True, False, True]
    assert slices[1].table.num_rows == 12_000
    assert [s.entry.parent_id for s in slices] == ["", *(s.entry.point.batch_id for s in slices[:2])]
    assert [f["rows"] for f in blocks.footer(pa.py_buffer(only_segment(log).read_bytes()))] == [12_000]


def test_the_footer_repeats_the_entry(log: RowLog, connection: Connection) -> None:
    with connection.transaction():
        entry = log.append(big(), connection)
    (repeated,) = blocks.footer(pa.py_buffer(only_segment(log).read_bytes()))
    assert (repeated["position"], repeated["id"]) == (entry.point.position, entry.point.batch_id)
    assert repeated["event_time_max"] == entry.event_time_max.isoformat() if entry.event_time_max else None


def test_reads_only_what_is_asked_for(log: RowLog, connection: Connection) -> None:
    for made in (batch(), batch(stream="visits"), batch(day=DAY + timedelta(days=9)), batch()):
        with connection.transaction():
            log.append(made, connection)
    points = [entry.point for entry in log.entries(connection, ORIGIN)]
    assert [s.entry.point for s in log.read(connection, points[0], points[2])] == points[1:3]
    assert [e.point for e in log.entries(connection, ORIGIN, streams=["visits"])] == [points[1]]
    later = (DAY + timedelta(days=1), None)
    assert [e.point for e in log.entries(connection, ORIGIN, event_time=later)] == [points[2]]
    before = (None, DAY + timedelta(seconds=1))
    assert [e.point for e in log.entries(connection, ORIGIN, event_time=before)] == [points[0], points[1], points[3]]


@pytest.mark.parametrize("recent", [0, 1 << 30], ids=["read back", "from memory"])
def test_a_column_the_batch_does_not_have_is_null(connection: Connection, tmp_path: Path, recent: int) -> None:
    log = RowLog(FolderSegments(tmp_path), recent)
    with connection.transaction():
        log.append(batch(1), connection)
    wanted = pa.schema([("_row", pa.int64()), ("channel", pa.string()), ("sale_id", pa.string())])
    (slice_,) = log.read(connection, ORIGIN, columns=wanted)
    assert slice_.table.schema.equals(wanted)
    assert slice_.table.to_pylist() == [{"_row": 0, "channel": None, "sale_id": "0"}]


def test_stamps_that_differ_are_the_rows_own(log: RowLog, connection: Connection) -> None:
    weights = pa.array([1, -1, 0], pa.int8())
    marks = pa.array([None, DAY, None], pa.timestamp("us", "UTC"))
    with connection.transaction():
        entry = log.append(batch(_weight=weights, _watermark=marks), connection)
    (slice_,) = log.read(connection, ORIGIN)
    assert entry.has_negative
    assert slice_.table["_weight"].to_pylist() == [1, -1, 0]
    assert slice_.table["_watermark"].to_pylist() == [None, DAY, None]


def test_a_transaction_rolled_back_leaves_no_number_and_no_row(log: RowLog, connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        log.append(big(), connection)
    assert log.end(connection) == ORIGIN
    with connection.transaction():
        log.append(batch(), connection)
    assert [s.table.num_rows for s in log.read(connection, ORIGIN)] == [3]
    assert log.remove_orphans(connection) == 0
    assert log.remove_orphans(connection, timedelta(seconds=-5)) == 1


def test_prepared_ahead_and_refused_when_the_end_is_another(log: RowLog, connection: Connection) -> None:
    first = log.prepare(batch(), log.end(connection))
    second = log.prepare(big(), first.entry.point)
    with pytest.raises(OtherChain, match=r"PEN403 .*prepared for position 2, the log's end is 0"):
        log.append(second, connection)
    log.append(first, connection)
    log.append(second, connection)
    assert [s.table.num_rows for s in log.read(connection, ORIGIN)] == [3, 12_000]


def test_a_point_of_another_history_is_noticed(log: RowLog, connection: Connection) -> None:
    log.append(batch(), connection)
    end = log.end(connection)
    other = ChainPoint(end.position, "00000000-0000-0000-0000-000000000000")
    assert log.contains(connection, end)
    assert log.contains(connection, ORIGIN)
    assert not log.contains(connection, other)
    with pytest.raises(OtherChain, match=r"PEN403 .*position 1 with batch 00000000"):
        list(log.read(connection, other))


def test_a_gap_in_the_manifest_is_noticed(log: RowLog, connection: Connection) -> None:
    for _ in range(3):
        log.append(batch(), connection)
    connection.execute("DELETE FROM batch WHERE position = 2")
    with pytest.raises(ManifestBroken, match=r"PEN407 .*between 0 and 3 there are 2 batches"):
        list(log.read(connection, ORIGIN))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_segment_is_named(connection: Connection, tmp_path: Path, damage: str) -> None:
    log = RowLog(FolderSegments(tmp_path), 0)
    log.append(big(), connection)
    path = only_segment(log)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(bytes({"flip": content, "cut": content[:5000], "empty": b""}[damage]))
    with pytest.raises(SegmentDamaged, match=rf"PEN402 .*segment {path.name} \(position 1\)"):
        list(log.read(connection, ORIGIN))


def test_a_missing_segment_is_named(connection: Connection, tmp_path: Path) -> None:
    log = RowLog(FolderSegments(tmp_path), 0)
    log.append(big(), connection)
    path = only_segment(log)
    path.unlink()
    with pytest.raises(SegmentMissing, match=rf"PEN401 .*{path.name} is not there"):
        list(log.read(connection, ORIGIN))


def test_damaged_inline_rows_are_named(connection: Connection, tmp_path: Path) -> None:
    log = RowLog(FolderSegments(tmp_path), 0)
    log.append(batch(), connection)
    connection.execute("UPDATE batch SET inline = set_byte(inline, 700, 7)")
    with pytest.raises(SegmentDamaged, match=r"PEN402 .*batch 1"):
        list(log.read(connection, ORIGIN))


def test_a_newer_format_is_refused(connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RowLog(FolderSegments(tmp_path), 0)
    monkeypatch.setattr(blocks, "FORMAT", 2)
    log.append(batch(), connection)
    monkeypatch.setattr(blocks, "FORMAT", 1)
    with pytest.raises(NewerFormat, match=r"PEN405 .*has format 2, this version knows up to 1"):
        list(log.read(connection, ORIGIN))


def test_a_segment_is_durable_before_its_manifest_row(log: RowLog, connection: Connection) -> None:
    seen: list[str] = []

    def see(observation: Observation) -> None:
        if isinstance(observation, Step):
            seen.append(observation.name)

    subscribe(see)
    log.append(big(), connection)
    unsubscribe(see)
    assert seen == ["log.segment_written", "log.segment_synced", "log.appended"]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    # What is written beside goes to a device that is always full.
    (tmp_path / "a.new").symlink_to("/dev/full")
    with pytest.raises(LogDiskFull, match=r"PEN406 .*No space left"):
        FolderSegments(tmp_path).put("a", pa.py_buffer(b"x"))


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(SegmentsAway, match=r"PEN404 .*File exists|Not a directory"):
        open_segments(None, tmp_path, "x").put("a", pa.py_buffer(b"x"))


def test_memory_of_recent_batches_is_bounded() -> None:
    table = batch(1000).table
    recent = rowlog._Recent(table.nbytes * 2)
    for name in "abc":
        recent.put(name, table)
    assert [recent.has(name) for name in "abc"] == [False, True, True]
