"""Parquet, packed files and the promise that all formats give the same rows."""

from __future__ import annotations

import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.sources._files_parquet import plain
from tests.sources.files_help import Drops, own, refusals


def packed(content: bytes) -> bytes:
    """gzip without the time of packing: tests are named after their content."""
    return gzip.compress(content, mtime=0)


def write(path: Path, table: pa.Table, **how: Any) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **how)
    return path.read_bytes()


def test_columns_come_in_their_types_and_rows_are_numbered(tmp_path: Path) -> None:
    drops = Drops(tmp_path, columns_used=frozenset({"A", "m", "_line", "_file"}), batch_rows=2)
    table = pa.table({"a": pa.array([1, 2, 3], pa.int32()), "m": [0.1, None, 2.5], "x": ["u", "v", "w"]})
    write(drops.folder / "a.parquet", table)
    batches = drops.read()
    assert [b.table.num_rows for b in batches] == [2, 1]
    assert [r for b in batches for r in b.table.to_pylist()] == [
        {"a": 1, "m": 0.1, "_file": "a.parquet", "_line": 1},
        {"a": 2, "m": None, "_file": "a.parquet", "_line": 2},
        {"a": 3, "m": 2.5, "_file": "a.parquet", "_line": 3},
    ]
    assert batches[0].table.schema.field("a").type == pa.int32()


def test_reading_goes_on_in_the_middle_of_a_row_group(tmp_path: Path) -> None:
    drops = Drops(tmp_path, batch_rows=3)
    write(drops.folder / "a.parquet", pa.table({"a": list(range(20))}), row_group_size=7)
    seen: list[int] = []
    while part := drops.rows(die_after=1):
        seen += [r["a"] for r in part]
    assert seen == list(range(20))
    assert drops.receipts["a.parquet"].rows_read == 20


def test_types_that_others_do_not_take_are_made_plain() -> None:
    table = pa.table(
        {
            "d": pa.array(["x", None]).dictionary_encode(),
            "h": pa.array([1.5, None], pa.float16()),
            "w": pa.array([Decimal("1.50"), None], pa.decimal256(50, 2)),
            "l": pa.array(["x", None], pa.large_string()),
            "v": pa.array(["x", None], pa.string_view()),
        }
    )
    found = plain(table)
    assert [str(f.type) for f in found.schema] == ["string", "float", "string", "string", "string"]
    assert found.to_pylist()[0] == {"d": "x", "h": 1.5, "w": "1.50", "l": "x", "v": "x"}


def test_a_corrupt_footer_refuses_the_file_and_the_others_go_on(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    whole = write(drops.folder / "z.parquet", pa.table({"a": [1]}))
    drops.put("cut.parquet", whole[:-9])
    drops.put("junk.parquet", whole[:-30] + b"\xff" * 22 + whole[-8:])
    drops.put("empty.parquet", b"")
    batches = drops.read()
    assert [r for b in batches for r in own(b)] == [{"a": 1}]
    assert drops.states() == {
        "cut.parquet": "unreadable", "empty.parquet": "unreadable", "junk.parquet": "unreadable", "z.parquet": "done",
    }  # fmt: skip
    assert all(r.reason.startswith("the file is no readable Parquet: ") for r in refusals(batches))


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    write(drops.folder / "a.parquet", pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))
    assert [r.reason for r in refusals(drops.read())] == ["the file has the column 'a' twice"]


def test_a_damaged_row_group_is_one_refusal(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    whole = bytearray(write(drops.folder / "a.parquet", pa.table({"a": list(range(9))}), row_group_size=3))
    start = pq.ParquetFile(drops.folder / "a.parquet").metadata.row_group(1).column(0).dictionary_page_offset
    whole[start : start + 20] = b"\xff" * 20
    drops.put("a.parquet", bytes(whole))
    batches = drops.read()
    assert [r["a"] for b in batches for r in own(b)] == [0, 1, 2, 6, 7, 8]
    (refusal,) = refusals(batches)
    assert (refusal.position, refusal.rule) == ("4-6", "row_group")
    assert refusal.reason.startswith("rows 4 to 6 (row group 1) cannot be read: ")
    assert drops.states() == {"a.parquet": "done"}


def test_a_parquet_file_is_ready_when_it_has_its_end(tmp_path: Path) -> None:
    drops = Drops(tmp_path, {"ready": {}})
    whole = write(tmp_path / "x", pa.table({"a": [1]}))
    drops.put("whole.parquet", whole)
    source = drops.start()
    source.stop_requested = lambda: True  # a round that is to stop does not wait for files still being written
    drops.put("half.parquet", whole[:-4])
    drops.read()
    assert drops.states() == {}
    source.stop_requested = lambda: False
    assert [r["a"] for r in drops.rows(die_after=1)] == [1]


PACKED = [
    ("a.csv.gz", packed(b"a\n1\n2\n")),
    ("a.csv.gz", packed(b"a\n1\n") + packed(b"2\n")),
    ("a.jsonl.zst", pa.compress(b'{"a": 1}\n{"a": 2}\n', codec="zstd", asbytes=True)),
    ("a.jsonl.zst", pa.compress(b'{"a": 1}\n', codec="zstd", asbytes=True)
        + pa.compress(b'{"a": 2}\n', codec="zstd", asbytes=True)),
    ("a.json.gz", packed(b'[{"a": 1}, {"a": 2}]')),
    ("A.CSV.GZ", packed(b"a\r\n1\r\n2\r\n")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), PACKED)
def test_packed_files_are_unpacked(tmp_path: Path, name: str, content: bytes) -> None:
    drops = Drops(tmp_path)
    drops.put(name, content)
    assert [r["a"] for r in drops.rows()] == ["1", "2"]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zst"])
def test_packed_files_go_on_in_the_middle(tmp_path: Path, name: str) -> None:
    rows = b"".join(b"%d,x\n" % i for i in range(50))
    content = b"a,b\n" + rows
    drops = Drops(tmp_path, batch_rows=7)
    drops.put(name, packed(content) if name.endswith("gz") else pa.compress(content, codec="zstd", asbytes=True))
    seen: list[str] = []
    while part := drops.read(die_after=1):
        seen += [r["a"] for b in part for r in own(b)]
    assert seen == [str(i) for i in range(50)]
    assert [n for b in drops.batches for n in b.positions.to_pylist()] == list(range(2, 52))


def test_a_packed_file_that_grew_is_read_from_its_old_end(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    first = packed(b"a\n1\n2\n")
    drops.put("a.csv.gz", first)
    assert [r["a"] for r in drops.rows()] == ["1", "2"]
    drops.put("a.csv.gz", first + packed(b"3\n"))
    assert [r["a"] for r in drops.rows()] == ["3"]
    assert drops.batches[-1].positions.to_pylist() == [4]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv.gz", packed(b"a\n1\n" * 1000)[:-9], "the file cannot be unpacked (gzip): Truncated"),
        ("a.csv.gz", b"a\n1\n", "the file cannot be unpacked (gzip): zlib inflate failed: incorrect header check"),
        ("a.csv.gz", packed(b"a\n1\n") + b"junk", "the file cannot be unpacked (gzip): zlib inflate failed"),
        ("a.csv.zst", pa.compress(b"a\n1\n" * 99, codec="zstd", asbytes=True)[:-3], "the file cannot be unpacked (zs"),
        ("a.csv.gz", packed(b"0" * 3_000_000), "the file unpacks to more than max_file_size, 1000000 bytes"),
        ("a.csv", b"0" * 1_000_001, "the file has 1000001 bytes; max_file_size is 1000000"),
    ],
)  # fmt: skip
def test_torn_and_oversized_files_are_refused_before_any_row(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    drops = Drops(tmp_path, {"max_file_size": "1MB"})
    drops.put(name, content)
    drops.put("z.csv", "a\n1\n")
    batches = drops.read()
    assert [r["a"] for b in batches for r in own(b)] == ["1"]
    (refusal,) = refusals(batches)
    assert refusal.reason.startswith(reason)
    assert refusal.original == content[: 64 << 10]


def test_a_parquet_file_that_says_it_unpacks_to_too_much(tmp_path: Path) -> None:
    drops = Drops(tmp_path, {"max_file_size": "1kB"})
    write(drops.folder / "a.parquet", pa.table({"a": list(range(1000))}))
    (refusal,) = refusals(drops.read())
    assert refusal.rule == "too_large"
    assert refusal.reason.endswith("max_file_size is 1000")


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    hints = {"amount": pa.decimal128(12, 2), "at": pa.timestamp("us", tz="UTC"), "city": pa.string()}
    rows: list[dict[str, str | None]] = [
        {"city": "Köln", "amount": "1.50", "at": "2026-01-23T10:00:00.123456Z"},
        {"city": 'say "x", or', "amount": "1234567890.12", "at": "2026-02-28T23:59:59.999999Z"},
        {"city": None, "amount": "0.07", "at": None},
    ]
    typed = pa.table({name: pa.array([r[name] for r in rows]).cast(kind) for name, kind in hints.items()})
    drops = Drops(tmp_path, columns_used=frozenset(hints), type_hints=hints)
    write(drops.folder / "d.parquet", typed)
    numbers = [json.dumps(r).replace(f'"{r["amount"]}"', str(r["amount"])) for r in rows]
    drops.put("a.jsonl", "\n".join(numbers))
    drops.put("b.json", f"[{','.join(numbers)}]")
    quoted = [["" if v is None else '"' + v.replace('"', '""') + '"' for v in r.values()] for r in rows]
    drops.put("c.csv.gz", packed("\n".join(["city,amount,at", *map(",".join, quoted)]).encode()))
    tables = [b.table.select(sorted(hints)) for b in drops.read() if b.item]
    assert len(tables) == 4
    for table in tables:
        assert table.cast(tables[-1].schema).equals(tables[-1])
        assert table.schema.equals(tables[-1].schema)
    assert tables[0]["at"].to_pylist()[0] == datetime.datetime(2026, 1, 23, 10, 0, 0, 123456, datetime.UTC)
