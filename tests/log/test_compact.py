"""Compaction: the same rows under the same numbers from fewer blocks; nothing goes that a reader may still need."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from penstock.log import compact as compaction
from penstock.log.compact import collect, compact, tend
from penstock.log.manifest import Connection
from penstock.log.model import ORIGIN
from penstock.log.rowlog import RowLog
from penstock.log.segments import FolderSegments
from tests.log.conftest import TOKEN
from tests.log.test_rowlog import batch, big

pytestmark = pytest.mark.slow


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowLog:
    monkeypatch.setattr(compaction, "KEPT_BACK", 0)
    return RowLog(FolderSegments(tmp_path / "log"), 0)


def rows(log: RowLog, connection: Connection) -> list[list[dict[str, object]]]:
    return [slice_.table.to_pylist() for slice_ in log.read(connection, ORIGIN)]


def files(log: RowLog) -> int:
    return len(list(log.segments.names()))


def fill(log: RowLog, connection: Connection) -> None:
    weights = pa.array([1, -1, 0], pa.int8())
    for number in range(5):
        log.append(batch(number), connection)
        log.append(batch(2, stream="visits"), connection)
        log.append(batch(_weight=weights), connection)


def test_same_rows_same_numbers_fewer_blocks(log: RowLog, connection: Connection) -> None:
    fill(log, connection)
    log.append(big(), connection)
    log.append(big(), connection)
    before, end = rows(log, connection), log.end(connection)
    assert compact(log, connection, TOKEN, fewest=2) == 17 - 3
    assert rows(log, connection) == before
    assert log.end(connection) == end
    assert connection.execute("SELECT count(DISTINCT checksum), count(inline) FROM batch").fetchone() == (3, 0)
    log.append(batch(2, stream="visits"), connection)
    assert compact(log, connection, TOKEN, fewest=2) == 1
    assert rows(log, connection)[:-1] == before
    assert compact(log, connection, TOKEN, fewest=4) == 0


def test_too_few_are_left_alone(log: RowLog, connection: Connection) -> None:
    fill(log, connection)
    assert compact(log, connection, TOKEN) == 0
    assert connection.execute("SELECT count(inline) FROM batch").fetchone() == (15,)


def test_a_replaced_segment_stays_while_a_transaction_may_see_it(
    log: RowLog, connection: Connection, fresh_database: str
) -> None:
    log.append(big(), connection)
    log.append(big(), connection)
    with psycopg.connect(fresh_database) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SET search_path TO penstock")
        assert len(rows(log, reader)) == 2
        compact(log, connection, TOKEN, fewest=2)
        assert files(log) == 3
        assert collect(log, connection) == 0
        assert [len(batch) for batch in rows(log, reader)] == [12_000, 12_000]
        reader.rollback()
        assert collect(log, connection) == 2
    assert files(log) == 1
    assert [len(batch) for batch in rows(log, connection)] == [12_000, 12_000]


def test_a_reader_outside_a_transaction_looks_again(log: RowLog, connection: Connection) -> None:
    log.append(big(), connection)
    log.append(big(), connection)
    reading = log.read(connection, ORIGIN)
    first = next(reading)
    compact(log, connection, TOKEN, fewest=2)
    assert collect(log, connection) == 2
    second = next(reading)
    assert (first.table.num_rows, second.table.num_rows) == (12_000, 12_000)
    assert second.table["_batch"][0].as_py() == 2


def test_only_the_writer_compacts(log: RowLog, connection: Connection) -> None:
    fill(log, connection)
    with pytest.raises(psycopg.DatabaseError, match="is the writer since"):
        compact(log, connection, "00000000-0000-0000-0000-000000000000", fewest=2)
    assert connection.execute("SELECT count(inline) FROM batch").fetchone() == (15,)


def test_tending_bounds_what_it_holds_and_ends(
    log: RowLog, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(80):
        log.append(batch(), connection)
    before = rows(log, connection)
    row = connection.execute("SELECT sum(block_bytes) FROM batch").fetchone()
    assert row is not None
    monkeypatch.setattr(compaction, "MOST_BYTES", int(row[0]) // 2)
    assert tend(log, connection, TOKEN) >= 38
    assert rows(log, connection) == before
    assert tend(log, connection, TOKEN) == 0
