"""The store away, refusing, full or set back; a clock that moves; values that no column holds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults.support import KOELN, TOTALS, counts, refusals, run_with
from tests.projects import Folder, sales_folder
from tests.serve.proxy import Proxy

pytestmark = pytest.mark.slow
GOOD = "1,2026-03-01T10:00:00Z,10,Köln"
KILL_ALL = (
    "import psycopg; psycopg.connect({url!r}, autocommit=True).execute("
    "'SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()')"
)


@pytest.fixture
def folder(tmp_path: Path, fresh_database: str) -> Folder:
    return sales_folder(tmp_path / "a project", fresh_database)


@pytest.mark.parametrize("verb", [("run", "--until-caught-up"), ("status",), ("query", "SELECT 1"), ("stop",)])
def test_a_store_that_is_away_at_the_start(tmp_path: Path, verb: tuple[str, ...]) -> None:
    folder = sales_folder(tmp_path, "postgresql://u:opensesame@127.0.0.1:1/none")
    err = folder.penstock(*verb, code=1).err
    assert "PEN710" in err
    assert "127.0.0.1:1, database none" in err
    assert "hint: is the server running" in err
    assert "opensesame" not in err


def test_a_store_that_refuses(tmp_path: Path, postgres_url: str) -> None:
    password = postgres_url.split(":")[2].split("@")[0]
    folder = sales_folder(tmp_path, postgres_url.replace(password, "opensesame"))
    err = folder.penstock("run", code=1).err
    assert "PEN711" in err
    assert "password authentication failed" in err
    assert "opensesame" not in err


@pytest.mark.parametrize(
    "step",
    ["intake.before_transaction", "log.appended", "intake.committed", "pipeline.before_apply", "store.applied"],
)
def test_connections_to_the_store_lost_in_the_middle(folder: Folder, fresh_database: str, step: str) -> None:
    folder.drop("a.csv", GOOD, "2,2026-03-01T10:00:00Z,x,Köln", GOOD)
    run_with(folder, step, 1, KILL_ALL.format(url=fresh_database), "--quiet")
    assert counts(folder) == (3, 1, 1, 1)
    assert folder.rows(TOTALS) == [(*KOELN, "10.00", "1")]


def test_a_user_of_the_store_without_rights(folder: Folder, fresh_database: str) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as con:
        con.execute("CREATE ROLE poor_writer LOGIN PASSWORD 'poor'")
    try:
        password = fresh_database.split(":")[2].split("@")[0]
        poor = fresh_database.replace(f"penstock:{password}", "poor_writer:poor")
        folder.write(".env", f"STORE={poor}\n")
        err = folder.penstock("run", "--until-caught-up", code=1).err
    finally:
        with psycopg.connect(fresh_database, autocommit=True) as con:
            con.execute("DROP ROLE poor_writer")
    assert "PEN711" in err
    assert "permission denied" in err
    assert "hint: the user of `store:` needs CREATE" in err


def test_a_result_table_that_somebody_dropped(folder: Folder, fresh_database: str) -> None:
    folder.drop("a.csv", GOOD)
    folder.caught_up()
    with psycopg.connect(fresh_database, autocommit=True) as con:
        con.execute("DROP TABLE by_city")
    folder.caught_up()
    assert folder.rows(TOTALS) == [(*KOELN, "10.00", "1")]


def test_a_value_that_passes_the_contract_and_overflows_the_pipeline(folder: Folder) -> None:
    """Only that pipeline stops, before and after a restart; cast to a wider type it goes on with all rows."""
    small = "SELECT city, CAST(sum(amount) AS DECIMAL(5,2)) AS total_sales FROM sales GROUP BY city\n"
    folder.write("pipelines/small.sql", small)
    folder.drop("a.csv", GOOD, "2,2026-03-01T10:00:00Z,999.99,Rom")
    folder.caught_up()
    folder.drop("b.csv", "3,2026-03-01T10:00:00Z,0.01,Rom")
    for _ in range(2):
        err = folder.caught_up(code=1).err
        assert "PEN601" in err
        assert "Rom" in err
        assert "1000.00" in err
        assert len(folder.rows(TOTALS)) == 2
    folder.write("pipelines/small.sql", small.replace("(5,2)", "(9,2)"))
    folder.caught_up()
    assert folder.rows("SELECT city, total_sales FROM small ORDER BY 1") == [("Köln", "10.00"), ("Rom", "1000.00")]
    assert counts(folder) == (3, 3, 0, 0)


def test_rows_of_the_far_future_are_refused_and_close_no_window(folder: Folder) -> None:
    folder.drop("a.csv", GOOD, "2,2099-01-01T00:00:00Z,1,Köln")
    folder.caught_up()
    folder.drop("b.csv", "3,2026-03-01T11:00:00Z,1,Köln")
    folder.caught_up()
    assert counts(folder) == (3, 2, 1, 0)
    [(origin, position, rule, reason)] = refusals(folder)
    assert (origin, position) == ("a.csv", "3")
    assert "2099" in reason
    assert "maxAhead" in rule + reason
    assert folder.rows(TOTALS) == [(*KOELN, "11.00", "2")]
    [pipeline] = folder.status()["pipelines"]
    assert pipeline["watermark"] < "2026-03-02"


def test_a_clock_that_is_moved_back(folder: Folder, fresh_database: str) -> None:
    """A run of next week, then one of today: watermarks do not fall, nothing is read twice or forgotten."""
    folder.drop("a.csv", GOOD)
    folder.caught_up()
    with psycopg.connect(fresh_database, autocommit=True) as con:
        before = con.execute("SELECT max(stream_watermark) FROM penstock.batch").fetchone()
        con.execute("UPDATE penstock.batch SET ingested_at = ingested_at + interval '7 days'")
        con.execute("UPDATE penstock.source SET last_success = now() + interval '7 days'")
        con.execute("UPDATE penstock.source SET last_found = now() + interval '7 days'")
    path = folder.drop("b.csv", "2,2026-03-01T09:30:00Z,5,Köln")
    os.utime(path, (0, 0))
    folder.caught_up()
    with psycopg.connect(fresh_database) as con:
        after = con.execute("SELECT max(stream_watermark) FROM penstock.batch").fetchone()
    assert before
    assert after
    assert after[0] >= before[0]
    assert counts(folder) == (2, 2, 0, 0)
    assert folder.rows(TOTALS) == [(*KOELN, "15.00", "2")]
    [source] = folder.status()["sources"]
    assert source["error"] is None


def test_the_store_cut_off_while_running(folder: Folder, fresh_database: str) -> None:
    proxy = Proxy(fresh_database)
    folder.write(".env", f"STORE={proxy.url}\n")
    folder.drop("a.csv", GOOD)
    done = run_with(folder, "intake.before_transaction", 1, "pass", "--quiet")
    assert done.code == 0
    proxy.cut()
    err = folder.penstock("status", code=1).err
    assert "PEN710" in err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of 4 MB. Who may not mount gets the same from a file system in a user namespace: not here."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_nothing_and_goes_on_once_there_is_room(folder: Folder, small_disk: Path) -> None:
    folder.write("penstock.yaml", f'name: little\nstore: "${{STORE}}"\nstate: {small_disk}\nserve: {{port: 0}}\n')
    folder.drop("a.csv", GOOD)
    folder.caught_up()
    filler = small_disk / "filler"
    with filler.open("wb", 0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            pass
    folder.drop("b.csv", *(f"b-{i},2026-03-01T10:00:00Z,1.00,Köln" for i in range(40_000)))
    err = folder.caught_up(code=1).err
    assert "No space left" in err or "no space left" in err
    assert "PEN999" not in err
    assert "PEN914" not in err
    filler.unlink()
    folder.caught_up()
    assert counts(folder) == (40_001, 40_001, 0, 0)
    assert folder.rows(TOTALS) == [(*KOELN, "40010.00", "40001")]
    shutil.rmtree(small_disk, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_too_small_for_the_embedded_store(folder: Folder, small_disk: Path) -> None:
    folder.write("penstock.yaml", f"name: little\nstore: embedded\nstate: {small_disk}\nserve: {{port: 0}}\n")
    err = folder.penstock("run", "--until-caught-up", code=1).err
    assert "PEN704" in err
    assert "hint: " in err
