"""Broken files among whole ones: each is refused with a reason, all others are read, no row is lost in silence."""

from __future__ import annotations

import gzip
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.store.private import PrivateServer
from tests.faults.support import KOELN, TOTALS, counts, refusals, run_with
from tests.projects import DROPS, Folder, sales_folder

pytestmark = pytest.mark.slow
HEADER = b"sale_id,sold_at,amount,city\n"
LONG = 100_000_000
MEGABYTES = 500
"""What the process may use at the most, its libraries (some 250 MB) included, over files of any size."""


def row(number: int, city: str = "Köln") -> bytes:
    return f"{number},2026-03-01T10:00:00Z,1.00,{city}\n".encode()


def parquet(*numbers: int) -> bytes:
    columns = {
        "sale_id": [str(n) for n in numbers],
        "sold_at": ["2026-03-01T10:00:00Z"] * len(numbers),
        "amount": ["1.00"] * len(numbers),
        "city": ["Köln"] * len(numbers),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def put_broken_files(folder: Folder) -> None:
    drops = folder.root / "drops"
    packed = gzip.compress(HEADER + b"".join(row(n) for n in range(100, 40_000)), 1)
    corrupt = bytearray(parquet(41, 42))
    corrupt[-40:-12] = b"\xff" * 28
    files = {
        "cut.csv": HEADER + row(10) + b"11,2026-03-01T10:0",
        "cut.csv.gz": packed[: len(packed) // 2],
        "cut.parquet": parquet(*range(50, 60))[:-100],
        "empty.csv": b"",
        "empty.jsonl": b"",
        "empty.parquet": b"",
        "encoding.csv": HEADER + row(20) + "21,2026-03-01T10:00:00Z,1.00,Köln\n".encode("cp1252"),
        "footer.parquet": bytes(corrupt),
        "noheader.csv": b"\x00\x01\x02\x03",
        "nul.csv": HEADER + row(30) + b"3\x001,2026-03-01T10:00:00Z,1.00,K\x00ln\n" + row(32),
        "zz_whole.csv": HEADER + row(1) + row(2),
    }
    for name, content in files.items():
        (drops / name).write_bytes(content)
    line = b'{"sale_id":"%d","sold_at":"2026-03-01T10:00:00Z","amount":1.00,"city":"%s"}\n'
    with gzip.open(drops / "bomb.csv.gz", "wb", 1) as bomb:
        bomb.writelines([HEADER, *([bytes(1_000_000)] * 300)])
    with (drops / "long.jsonl").open("wb") as file:
        file.writelines([line % (70, b"Lyon"), line % (71, b"x" * LONG), line % (72, b"Lyon")])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, postgres_server: PrivateServer) -> Iterator[Folder]:
    """A project whose drops are broken in every way, run once."""
    root = tmp_path_factory.mktemp("mixed")
    folder = sales_folder(root / "a project", postgres_server.createdb("mixed_files"))
    folder.write("sources/drops.yaml", DROPS + "max_file_size: 200MB\n")
    put_broken_files(folder)
    peak = f"import shutil; shutil.copy('/proc/self/status', {str(root / 'peak')!r})"
    run_with(folder, "intake.before_round_commit", 1, peak, "--quiet")
    yield folder
    shutil.rmtree(root)


def refused(folder: Folder, name: str) -> list[tuple[str, ...]]:
    """Returns position, rule and reason of a file's refusals."""
    return [r[1:] for r in refusals(folder) if r[0] == name]


def test_whole_files_and_rows_are_read_all_the_same(mixed: Folder) -> None:
    totals = {r[:2]: r[2:] for r in mixed.rows(TOTALS)}
    assert totals[("2026-03-01", "Lyon")] == ("2.00", "2")
    read, accepted, quarantined, duplicates = counts(mixed)
    assert int(totals[KOELN][1]) + 2 == accepted
    assert (read, duplicates) == (accepted + quarantined, 0)
    assert quarantined == len(refusals(mixed))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bomb.csv.gz", "200"),
        ("cut.csv.gz", "Truncated"),
        ("cut.parquet", "footer"),
        ("footer.parquet", "no readable Parquet"),
        ("empty.parquet", "0 bytes"),
        ("noheader.csv", "NUL"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_refusal(mixed: Folder, name: str, reason: str) -> None:
    [(position, _, found)] = refused(mixed, name)
    assert position == ""
    assert reason in found


@pytest.mark.parametrize(
    ("name", "position", "reason"),
    [
        ("cut.csv", "3", "2"),
        ("encoding.csv", "3", "0xf6, is no utf-8"),
        ("nul.csv", "3", "NUL"),
        ("long.jsonl", "2", "16777216"),
    ],
)
def test_a_broken_row_is_refused_alone(mixed: Folder, name: str, position: str, reason: str) -> None:
    [(at, _, found)] = refused(mixed, name)
    assert at == position
    assert reason in found


@pytest.mark.parametrize("name", ["empty.csv", "empty.jsonl"])
def test_an_empty_file_is_no_rows_and_waited_for(mixed: Folder, name: str) -> None:
    assert refused(mixed, name) == []
    [source] = mixed.status()["sources"]
    assert source["error"] is None


def test_memory_stays_bounded_whatever_the_files_hold(mixed: Folder) -> None:
    status = (mixed.root.parent / "peak").read_text()
    used = int(status.split("VmHWM:")[1].split()[0]) // 1024
    assert 0 < used < MEGABYTES, f"{used} MB"


def test_a_second_run_refuses_nothing_twice(mixed: Folder) -> None:
    before = counts(mixed)
    mixed.penstock("run", "--until-caught-up", "--quiet")
    assert counts(mixed) == before


def test_a_file_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path, fresh_database: str) -> None:
    folder = sales_folder(tmp_path, fresh_database)
    path = tmp_path / "drops/big.csv"
    path.write_bytes(HEADER + b"".join(row(n) for n in range(400_000)))
    run_with(folder, "source.batch", 1, f"import os; os.unlink({str(path)!r})", "--quiet")
    assert counts(folder) == (400_000, 400_000, 0, 0)
    folder.caught_up()
    assert folder.rows(TOTALS) == [(*KOELN, "400000.00", "400000")]


def test_a_file_truncated_while_it_is_read_is_refused_from_there(tmp_path: Path, fresh_database: str) -> None:
    folder = sales_folder(tmp_path, fresh_database)
    path = tmp_path / "drops/big.csv"
    path.write_bytes(HEADER + b"".join(row(n) for n in range(2_000_000)))
    run_with(folder, "source.batch", 1, f"import os; os.truncate({str(path)!r}, 100)", "--quiet")
    _, accepted, quarantined, _ = counts(folder)
    assert 0 < accepted < 2_000_000
    assert quarantined >= 1
    assert folder.rows(TOTALS) == [(*KOELN, f"{accepted}.00", str(accepted))]
