"""Runs of a small project as a user types them: what is kept, what a second look finds, what changes mean."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest

from penstock.log.model import STAMPS
from tests.projects import CITY, CONTRACT, DROPS, Folder, sales_folder

pytestmark = pytest.mark.slow
ANOTHER = "1,2026-03-01T10:00:00Z,9,Köln"
TOTALS = "SELECT date, city, total_sales, deals FROM by_city ORDER BY 1, 2"


@pytest.fixture
def folder(tmp_path: Path, fresh_database: str) -> Folder:
    return sales_folder(tmp_path / "a project", fresh_database)


def test_rows_become_answers_and_counts_add_up(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10.10,Köln", "2,2026-03-01T11:00:00Z,0.005,Köln", "3,x,1,Lyon")
    folder.drop(
        "b.csv", "1,2026-03-01T10:00:00Z,10.10,Köln", "4,2026-03-02T10:00:00Z,20,Lyon", "1,2026-03-01T10:00:00Z,9,Köln"
    )
    folder.caught_up()
    assert folder.rows(TOTALS) == [("2026-03-01", "Köln", "10.10", "1"), ("2026-03-02", "Lyon", "20.00", "1")]
    [source] = folder.status()["sources"]
    assert {k: source[k] for k in ("read", "accepted", "quarantined", "duplicates")} == {
        "read": 6, "accepted": 2, "quarantined": 3, "duplicates": 1,
    }  # fmt: skip
    assert [f["rows_read"] for f in source["files"]] == [3, 3]


def test_a_second_run_goes_on_where_the_first_ended(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    folder.caught_up()
    folder.drop("b.csv", "2,2026-03-01T12:00:00Z,5,Köln")
    folder.caught_up()
    assert folder.rows(TOTALS) == [("2026-03-01", "Köln", "15.00", "2")]
    assert folder.status()["sources"][0]["read"] == 2


def test_local_state_may_vanish(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    for part in ("memory", "engine"):
        for path in sorted((folder.root / ".penstock/default" / part).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    folder.drop("b.csv", "1,2026-03-01T10:00:00Z,10,Köln", "2,2026-03-01T10:00:00Z,1,Köln")
    folder.caught_up()
    assert folder.rows(TOTALS) == [("2026-03-01", "Köln", "11.00", "2")]
    assert folder.status()["sources"][0]["duplicates"] == 1


def test_a_store_restored_from_an_older_backup(folder: Folder, fresh_database: str) -> None:
    """Memory and state are ahead of a store that was set back: they must notice and follow it."""
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    tables = ["batch", "source", "receipt", "quarantine", "pipeline", "pipeline_window"]
    with psycopg.connect(fresh_database, autocommit=True) as con:
        for table in tables:
            con.execute(f"CREATE TABLE saved_{table} AS TABLE penstock.{table}")
        con.execute("CREATE TABLE saved_result AS TABLE by_city")
    folder.drop("b.csv", "2,2026-03-01T12:00:00Z,5,Köln")
    folder.caught_up()
    with psycopg.connect(fresh_database) as con:
        con.execute("TRUNCATE by_city, penstock.pipeline_window, penstock.pipeline, penstock.batch, penstock.receipt")
        con.execute("TRUNCATE penstock.source, penstock.quarantine")
        for table in tables:
            con.execute(f"INSERT INTO penstock.{table} OVERRIDING SYSTEM VALUE TABLE saved_{table}")
        con.execute("INSERT INTO by_city OVERRIDING SYSTEM VALUE TABLE saved_result")
    folder.caught_up()
    assert folder.rows(TOTALS) == [("2026-03-01", "Köln", "15.00", "2")]


def test_only_one_run_at_a_time_and_stop_ends_it(folder: Folder) -> None:
    running = folder.start("run", "--no-serve")
    try:
        wait_until_running(folder)
        second = folder.penstock("run", "--no-serve", code=1)
        assert f"pid {running.pid}" in second.err
        assert "PEN715" in second.err
        folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
        wait_for_rows(folder, 1)
        folder.penstock("stop")
        assert folder.status()["writer"] is None
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.communicate()
    assert "PEN911 not running" in folder.penstock("stop", code=1).err


def wait_until_running(folder: Folder) -> None:
    until = time.monotonic() + 30
    while folder.penstock("status", "--json").json["writer"] is None:
        assert time.monotonic() < until


def wait_for_rows(folder: Folder, count: int) -> None:
    until = time.monotonic() + 30
    while len(folder.rows("SELECT * FROM by_city")) < count:
        assert time.monotonic() < until


def test_ctrl_c_ends_cleanly(folder: Folder) -> None:
    running = folder.start("run")
    try:
        wait_until_running(folder)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 0, err
    assert "Traceback" not in out + err
    assert [p["state"] for p in folder.status()["pipelines"]] == ["stopped"]


def test_answers_over_http_while_running(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,12345678.91,Köln")
    running = folder.start("run")
    try:
        assert running.stderr
        address = ""
        while "/api/v1/cities" not in address and "/docs" not in address:
            address = running.stderr.readline()
            assert address, "ended before it served"
        root = address.split()[-1].split("/docs")[0].split("/api")[0]
        until = time.monotonic() + 30
        body = b""
        while b"Lyon" not in body:
            assert time.monotonic() < until, body
            with urllib.request.urlopen(f"{root}/api/v1/cities?date=2026-03-01", timeout=10) as response:
                body = response.read()
            if b"12345678.91" in body:
                folder.drop("b.csv", "2,2026-03-01T10:00:00Z,1.00,Lyon")
    finally:
        running.terminate()
        running.communicate()


def test_a_changed_pipeline_is_built_beside_and_replaces(folder: Folder, fresh_database: str) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln", "2,2026-03-01T10:00:00Z,30,Lyon")
    folder.caught_up()
    with psycopg.connect(fresh_database) as con:
        con.execute("CREATE VIEW rich AS SELECT city FROM by_city WHERE total_sales > 20")
        con.execute("CREATE ROLE reader_of_changes")
        con.execute("GRANT SELECT ON by_city TO reader_of_changes")
    folder.write("pipelines/by_city.sql", CITY.replace("count(*) AS deals", "count(*) AS deals, max(amount) AS best"))
    folder.caught_up()
    assert folder.rows("SELECT city, total_sales, best FROM by_city ORDER BY 1") == [
        ("Köln", "10.00", "10.00"), ("Lyon", "30.00", "30.00"),
    ]  # fmt: skip
    with psycopg.connect(fresh_database) as con:
        assert con.execute("SELECT city FROM rich").fetchall() == [("Lyon",)]
        granted = con.execute("SELECT has_table_privilege('reader_of_changes', 'by_city', 'SELECT')").fetchone()
        assert granted == (True,)
        con.execute("DROP OWNED BY reader_of_changes")
        con.execute("DROP ROLE reader_of_changes")
    folder.write(
        "pipelines/by_city.sql", CITY.replace("city,", "upper(city) AS town,").replace("date, city", "date, town")
    )
    folder.root.joinpath("endpoints/cities.sql").unlink()
    refused = folder.caught_up(code=1)
    assert "rich" in refused.err


def test_a_removed_pipeline_stays_until_dropped(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    folder.root.joinpath("endpoints/cities.sql").unlink()
    folder.root.joinpath("pipelines/by_city.sql").rename(folder.root / "pipelines/other.sql")
    folder.caught_up()
    named = {p["name"]: p.get("removed") for p in folder.status()["pipelines"]}
    assert named == {"by_city": True, "other": False}
    assert len(folder.rows("SELECT * FROM by_city")) == 1
    folder.caught_up("--drop")
    assert [p["name"] for p in folder.status()["pipelines"]] == ["other"]


def test_a_contract_may_gain_an_optional_property_and_nothing_else(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    folder.write("contracts/sales.odcs.yaml", CONTRACT + "      - {name: channel, logicalType: string}\n")
    folder.write("pipelines/by_channel.sql", "SELECT channel, count(*) AS n FROM sales GROUP BY channel\n")
    folder.drop("b.csv", "2,2026-03-01T10:00:00Z,10,Köln,web", header="sale_id,sold_at,amount,city,channel")
    folder.caught_up()
    assert folder.rows("SELECT channel, n FROM by_channel ORDER BY 1") == [("web", "1"), ("", "1")]
    folder.write("contracts/sales.odcs.yaml", CONTRACT.replace("decimal(12,2)", "decimal(14,3)"))
    folder.root.joinpath("pipelines/by_channel.sql").unlink()
    stopped = folder.caught_up(code=1)
    assert "PEN910" in stopped.err
    assert "decimal(14,3)" in stopped.err
    assert "channel is gone" in stopped.err


def test_an_overflow_names_the_group_and_the_others_go_on(folder: Folder) -> None:
    folder.write(
        "pipelines/small.sql", "SELECT city, CAST(sum(amount) AS DECIMAL(5,2)) AS s FROM sales GROUP BY city\n"
    )
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,999.99,Köln", "2,2026-03-01T10:00:00Z,1,Lyon")
    folder.caught_up()
    folder.drop("b.csv", "3,2026-03-01T10:00:00Z,0.01,Köln")
    stopped = folder.caught_up(code=1)
    assert "Köln" in stopped.err
    assert folder.rows(TOTALS)[0] == ("2026-03-01", "Köln", "1000.00", "2")
    states = {p["name"]: (p["state"], p["error"]) for p in folder.status()["pipelines"]}
    assert states["small"][0] == "stopped"
    assert "Köln" in states["small"][1]


def test_one_broken_source_does_not_stop_the_other(folder: Folder) -> None:
    folder.write("sources/gone.yaml", DROPS.replace("path: drops", "path: nowhere"))
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    stopped = folder.caught_up(code=1)
    assert "nowhere" in stopped.err
    assert folder.rows(TOTALS) == [("2026-03-01", "Köln", "10.00", "1")]


def test_fail_on_quarantine(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,ten,Köln")
    folder.caught_up("--fail-on-quarantine", code=1)


def test_late_rows_are_set_aside_or_restated(folder: Folder) -> None:
    folder.write("pipelines/on_time.sql", "/*\nlate: set_aside\n*/\n" + CITY)
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln", "2,2026-03-05T10:00:00Z,10,Köln")
    folder.caught_up()
    folder.drop("b.csv", "3,2026-03-01T11:00:00Z,5,Köln")
    folder.caught_up()
    assert folder.rows(TOTALS)[0] == ("2026-03-01", "Köln", "15.00", "2")
    assert folder.rows(TOTALS.replace("by_city", "on_time"))[0] == ("2026-03-01", "Köln", "10.00", "1")
    late = {p["name"]: p["late_set_aside"] for p in folder.status()["pipelines"]}
    assert late == {"by_city": 0, "on_time": 1}
    windows = folder.rows(
        "SELECT pipeline, window_start, restated, set_aside FROM penstock.pipeline_window ORDER BY 1, 2"
    )
    assert windows[0] == ("by_city", "2026-03-01", "1", "0")
    assert windows[2] == ("on_time", "2026-03-01", "0", "1")


def test_export_gives_the_rows_that_count(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10.50,Köln", "2,2026-03-01T10:00:00Z,bad,Köln")
    folder.caught_up()
    assert '"amount":10.5' in folder.penstock("export", "sales", "--format", "jsonl").out
    assert folder.penstock("export", "sales", "--format", "csv").out.splitlines()[1].startswith('"1",2026-03-01')
    stamped = folder.penstock("export", "sales", "--format", "csv", "--stamps").out.splitlines()
    assert stamped[0].endswith(",".join(f'"{name}"' for name in STAMPS))


def test_export_of_an_upsert_stream_leaves_out_what_was_replaced(folder: Folder) -> None:
    upserts = "      - {property: changes, value: upsert}\n      - {property: version, value: nr}\n    properties:\n"
    nr = "      - {name: nr, logicalType: integer, required: true}\n"
    folder.write("contracts/sales.odcs.yaml", CONTRACT.replace("    properties:\n", upserts) + nr)
    header = "sale_id,sold_at,amount,city,nr"
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10.50,Oslo,1", "2,2026-03-01T10:00:00Z,1.00,Oslo,1", header=header)
    folder.caught_up()
    folder.drop("b.csv", "1,2026-03-01T10:00:00Z,11.50,Oslo,2", header=header)
    folder.caught_up()
    lines = folder.penstock("export", "sales", "--format", "jsonl").out.splitlines()
    assert [(json.loads(line)["sale_id"], json.loads(line)["amount"]) for line in lines] == [("2", 1.0), ("1", 11.5)]


def test_a_change_that_is_put_back_leaves_nothing_behind(folder: Folder) -> None:
    """A pipeline begins to be built of another meaning, which fails, and is put back: neither table nor state stay."""
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    narrow = "CAST(sum(amount) AS DECIMAL(2,1)) AS total_sales"
    folder.write("pipelines/by_city.sql", CITY.replace("CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales", narrow))
    folder.caught_up(code=1)
    assert len(folder.status()["pipelines"]) == 2
    folder.write("pipelines/by_city.sql", CITY)
    folder.caught_up()
    assert [p["name"] for p in folder.status()["pipelines"]] == ["by_city"]
    assert folder.rows("SELECT count(*) FROM pg_class WHERE relname LIKE 'build%' AND relkind = 'r'") == [("0",)]
    assert len(list((folder.root / ".penstock/default/engine").iterdir())) == 1


def test_a_source_that_feeds_another_stream_is_refused(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    other = CONTRACT.replace("id: sales", "id: other").replace("- name: sales", "- name: other")
    folder.write("contracts/other.odcs.yaml", other)
    folder.write("sources/drops.yaml", DROPS.replace("stream: sales", "stream: other"))
    refused = folder.caught_up(code=1)
    assert "PEN912 source changed: source drops read 1 rows of type files into stream sales" in refused.err


def test_a_mistake_in_a_contract_is_told_once_and_keeps_nobody_from_the_answers(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    folder.write("contracts/sales.odcs.yaml", CONTRACT.replace("schema:", "shema:"))
    found = [e["code"] for e in folder.penstock("validate", "--json", code=1).json["errors"]]
    assert "PEN502" not in found
    assert "PEN118" not in found
    assert len(folder.rows(TOTALS)) == 1


def test_an_export_that_fails_leaves_no_shorter_file(folder: Folder) -> None:
    folder.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Köln")
    folder.caught_up()
    with psycopg.connect(folder.root.joinpath(".env").read_text().strip().removeprefix("STORE=")) as con:
        con.execute("UPDATE penstock.batch SET inline = substr(inline, 1, 100) || inline WHERE rows > 0")
    out = folder.root / "out.parquet"
    folder.penstock("export", "sales", "--out", str(out), code=1)
    assert list(folder.root.glob("out.*")) == []
