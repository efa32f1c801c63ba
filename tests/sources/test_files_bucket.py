"""Buckets of S3-compatible storage: the same files, found and put away by the same rules."""

from __future__ import annotations

import dataclasses
import gzip
import io
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from penstock.sources._files_bucket import Bucket
from penstock.sources._files_config import S3Config
from penstock.sources.errors import BucketRefused, BucketUnreachable
from tests.sources.files_help import Drops, own, refusals

pytestmark = pytest.mark.slow
KEYS = {"access_key_id": "key", "secret_access_key": "secret"}


@dataclasses.dataclass
class Lab:
    """A bucket of a test's own and a source below its prefix `in`."""

    endpoint: str
    name: str
    drops: Drops

    def put(self, key: str, content: bytes | str) -> None:
        self.store().put(key, content.encode() if isinstance(content, str) else content)

    def keys(self) -> list[str]:
        return sorted(str(meta["path"]) for meta in self.store().list().collect())

    def store(self) -> S3Store:
        options: Any = {"allow_http": True}
        where = {"endpoint": self.endpoint, "region": "us-east-1", "virtual_hosted_style_request": False}
        return S3Store(self.name, client_options=options, **KEYS, **where)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def lab(endpoint: str, request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    name = f"b{abs(hash(request.node.name)) % 10**9}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")):
        pass
    config = {"path": f"s3://{name}/in", "s3": {"endpoint": endpoint, **KEYS}, "ready": {}}
    return Lab(endpoint, name, Drops(tmp_path, config))


def values(rows: list[dict[str, Any]]) -> list[Any]:
    return [row["a"] for row in rows]


def test_objects_of_all_formats_below_the_prefix_are_read_once(lab: Lab) -> None:
    parquet = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(10))}), parquet, row_group_size=3)
    lab.put("in/a.csv", "a\n1\n")
    lab.put("in/sub/b x+%25ä.jsonl", '{"a": 2}\n')
    lab.put("in/g.csv.gz", gzip.compress(b"a\n3\n"))
    lab.put("in/p.parquet", parquet.getvalue())
    lab.put("in/.hidden.csv", "a\nno\n")
    lab.put("in/folder/", "")
    lab.put("input/z.csv", "a\nno\n")
    assert [str(v) for v in values(lab.drops.rows())] == ["1", "3", *map(str, range(10)), "2"]
    assert lab.drops.rows() == []
    assert list(lab.drops.receipts) == ["a.csv", "g.csv.gz", "p.parquet", "sub/b x+%25ä.jsonl"]


def test_reading_goes_on_after_a_kill_at_every_batch(lab: Lab) -> None:
    lab.drops.batch_rows = 3
    lab.put("in/a.csv", "a\n" + "".join(f"{i}\n" for i in range(10)))
    lab.put("in/b.csv.gz", gzip.compress(("a\n" + "".join(f"{i}\n" for i in range(10, 20))).encode()))
    seen: list[str] = []
    while part := lab.drops.read(die_after=1):
        seen += values([r for b in part for r in own(b)])
    assert seen == [str(i) for i in range(20)]


def test_an_object_that_grew_is_read_from_its_old_end_and_a_changed_one_refused(lab: Lab) -> None:
    lab.put("in/a.csv", "a\n1\n")
    assert values(lab.drops.rows()) == ["1"]
    lab.put("in/a.csv", "a\n1\n2\n")
    assert values(lab.drops.rows()) == ["2"]
    lab.put("in/a.csv", "a\n1\n3\n")
    assert [r.rule for r in refusals(lab.drops.read())] == ["changed"]


def test_an_object_replaced_or_deleted_while_it_is_read(lab: Lab) -> None:
    lab.drops.batch_rows = 2
    for end in ("replace", "delete"):
        lab.put(f"in/{end}.parquet", _many())
    source = lab.drops.start()
    batches = source.round()
    found = [next(batches), next(batches)]
    lab.store().delete("in/delete.parquet")
    found += batches
    assert lab.drops.root
    assert [(r.origin or b.origin, r.rule) for b in found for r in b.refusals] == [("delete.parquet", "gone")]
    reason = next(r.reason for b in found for r in b.refusals)
    assert reason == "the file was deleted or replaced while it was read"
    bucket = Bucket(f"s3://{lab.name}/in", S3Config(endpoint=lab.endpoint, **KEYS), {})
    item = bucket.item("replace.parquet")
    assert item is not None
    lab.put("in/replace.parquet", b"something else")
    with pytest.raises(FileNotFoundError):
        bucket.open(item).read(0, 10)


def _many() -> bytes:
    out = io.BytesIO()
    pq.write_table(
        pa.table({"a": [f"{i:0>500}" for i in range(30_000)]}), out, row_group_size=10_000, compression="none"
    )
    return out.getvalue()


@pytest.mark.parametrize("crash", [False, True])
def test_objects_are_moved_within_the_bucket_and_overwrite_nothing(lab: Lab, crash: bool) -> None:
    lab.drops.config |= {"after": {"move": "in/done"}}
    for n in range(2):
        lab.put("in/a.csv", f"a\n{n}\n")
        assert values(lab.drops.rows(die_after=1 if crash else None, before_effects=crash)) == [str(n)]
        assert lab.drops.rows() == []
    first, second = lab.keys()
    assert first == "in/done/a.csv"
    assert second.startswith("in/done/a.csv.")


def test_objects_are_deleted(lab: Lab) -> None:
    lab.drops.config |= {"after": "delete"}
    lab.put("in/a.csv", "a\n1\n")
    assert values(lab.drops.rows()) == ["1"]
    assert lab.keys() == []


def test_marker_and_stable_objects(lab: Lab) -> None:
    lab.drops.config |= {"ready": {"marker": ".done"}}
    lab.put("in/a.csv", "a\n1\n")
    assert lab.drops.rows() == []
    lab.put("in/a.csv.done", "")
    assert values(lab.drops.rows()) == ["1"]


def test_keys_and_endpoint_come_from_the_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", lab.endpoint)
    del lab.drops.config["s3"]
    lab.put("in/a.csv", "a\n1\n")
    assert values(lab.drops.rows()) == ["1"]


def test_a_bucket_that_is_not_there_is_told(lab: Lab) -> None:
    lab.drops.config["path"] = "s3://nowhere/in"
    with pytest.raises(BucketRefused) as error:
        lab.drops.start()
    assert str(error.value).startswith(
        "PEN223 bucket refused: there is no bucket 'nowhere'\n  hint: check the bucket's"
    )
    assert not error.value.retryable


def test_a_service_that_is_away_is_tried_again(lab: Lab) -> None:
    lab.drops.config["s3"] = {"endpoint": "http://127.0.0.1:9", **KEYS}
    with pytest.raises(BucketUnreachable) as error:
        lab.drops.start()
    assert str(error.value).startswith(f"PEN222 bucket unreachable: s3://{lab.name}/in: ")
    assert error.value.retryable
