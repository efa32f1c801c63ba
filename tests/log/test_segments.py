"""Segments in a bucket: the same promises as in a folder, against a server that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import boto3  # type: ignore[import-untyped]  # it has no types
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

from penstock.log.errors import SegmentMissing, SegmentsAway
from penstock.log.manifest import Connection
from penstock.log.model import ORIGIN
from penstock.log.rowlog import RowLog
from penstock.log.segments import BucketSegments, FolderSegments, Segments, open_segments
from tests.log.test_rowlog import big

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Segments:
    for name, value in (
        ("AWS_ENDPOINT_URL", s3),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=s3, region_name="us-east-1").create_bucket(Bucket="logs")
    return open_segments("s3://logs/sales", Path("unused"), "some-log")


def test_put_get_list_delete(bucket: Segments) -> None:
    bucket.put("a.arrow", pa.py_buffer(b"0123456789"))
    assert bucket.get("a.arrow", 3, 4).to_pybytes() == b"3456"
    assert bucket.get("a.arrow", 8, 10).to_pybytes() == b"89"
    assert [name for name, _ in bucket.names()] == ["a.arrow"]
    bucket.delete("a.arrow")
    bucket.delete("a.arrow")
    with pytest.raises(SegmentMissing, match=r"PEN401 .*s3://logs/sales/some-log/a.arrow is not there"):
        bucket.get("a.arrow", 0, 1)


def test_a_log_in_a_bucket(bucket: Segments, connection: Connection) -> None:
    log = RowLog(bucket, 0)
    log.append(big(), connection)
    with connection.transaction(force_rollback=True):
        log.append(big(), connection)
    assert [s.table.num_rows for s in log.read(connection, ORIGIN)] == [12_000]
    assert log.remove_orphans(connection, timedelta(seconds=-60)) == 1
    assert [s.table.num_rows for s in log.read(connection, ORIGIN)] == [12_000]


def test_a_bucket_that_is_not_there(bucket: Segments) -> None:
    with pytest.raises(SegmentsAway, match=r"PEN404 .*s3://nowhere/x/a.arrow.*bucket does not exist"):
        BucketSegments("s3://nowhere/x").put("a.arrow", pa.py_buffer(b"x"))


def test_places(tmp_path: Path) -> None:
    for place, folder in (
        (None, tmp_path / "state" / "log" / "id"),
        (f"file://{tmp_path}/a", tmp_path / "a" / "id"),
        (f"{tmp_path}/b", tmp_path / "b" / "id"),
    ):
        segments = open_segments(place, tmp_path / "state", "id")
        assert isinstance(segments, FolderSegments)
        assert segments.folder == folder
