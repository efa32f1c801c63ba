"""The sample world: the same by seed, realistic in its shares, the same rows in every format."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest

from penstock.operate.world import NEWEST, SCHEMA, Made, SalesSpec, sales
from penstock.operate.world_files import FORMATS, Dropper, Format, write_sales
from penstock.operate.world_live import LiveWorld
from penstock.operate.world_people import CITIES, people
from penstock.operate.world_shop import Feeder, create_shop


def made_by(spec: SalesSpec) -> tuple[pa.Table, Made]:
    made = Made()
    return pa.concat_tables(sales(spec, made)), made


def query(table: pa.Table, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("t", table)
        return con.execute(sql).fetchall()


def test_the_same_seed_makes_the_same_rows_and_another_makes_others() -> None:
    spec = SalesSpec(rows=150_000, days=3, seed=7)
    table, _ = made_by(spec)
    assert table.equals(made_by(spec)[0])
    assert not table.equals(made_by(SalesSpec(rows=150_000, days=3, seed=8))[0])
    assert table.schema == SCHEMA
    assert table.num_rows == 150_000


def test_shares_are_as_asked_and_counted() -> None:
    table, made = made_by(SalesSpec(rows=200_000, days=30, late=0.02, duplicates=0.01, bad=0.01))
    assert made.rows == 200_000
    assert made.late == pytest.approx(4000, rel=0.1)
    assert made.bad == pytest.approx(2000, rel=0.15)
    assert query(table, "SELECT count(*) - count(DISTINCT sale_id) FROM t") == [(made.duplicates,)]
    assert made.duplicates == pytest.approx(2000, rel=0.15)
    broken = (
        "amount < 0 OR coalesce(city, '') = '' OR salesman_id IS NULL OR customer_email NOT LIKE '%@%.%'"
        " OR channel <> 'drop' OR sold_at > TIMESTAMPTZ '2099-01-01'"
    )
    assert query(table, f"SELECT count(*) FROM t WHERE {broken}") == [(made.bad,)]


def test_clean_rows_have_nothing_odd() -> None:
    table, made = made_by(SalesSpec(rows=50_000, days=10, late=0, duplicates=0, bad=0))
    assert (made.late, made.duplicates, made.bad) == (0, 0, 0)
    assert query(table, "SELECT count(DISTINCT sale_id), min(amount) > 0, count(city) FROM t") == [
        (50_000, True, 50_000)
    ]
    ((newest,),) = query(table, "SELECT epoch(max(sold_at)) FROM t")
    assert newest <= NEWEST.timestamp()


def test_the_world_is_lifelike() -> None:
    table, _ = made_by(SalesSpec(rows=200_000, days=28, bad=0, late=0))
    cities = dict(query(table, "SELECT city, count(*) FROM t GROUP BY 1"))
    assert set(cities) <= {c[0] for c in CITIES}
    assert cities["Berlin"] > 3 * cities["Graz"]
    days = dict(query(table, "SELECT isodow(sold_at), count(*) FROM t GROUP BY 1"))
    assert days[5] > 3 * days[7]
    hours = dict(query(table, "SELECT hour(sold_at), count(*) FROM t GROUP BY 1"))
    assert hours[17] > 20 * hours[3]
    ((median, mean, largest),) = query(table, "SELECT median(amount), avg(amount), max(amount) FROM t")
    assert Decimal(30) < median < Decimal(100) < mean < Decimal(200) < largest
    assert query(table, "SELECT max(n) FROM (SELECT count(DISTINCT city) n FROM t GROUP BY salesman_id)") == [(4,)]
    assert query(table, "SELECT max(n) FROM (SELECT count(DISTINCT salesman_name) n FROM t GROUP BY salesman_id)") == [
        (1,)
    ]
    assert len(people(1).salesman_names) == 300


@pytest.mark.parametrize("files", [1, 3])
def test_every_format_holds_the_same_rows(tmp_path: Path, files: int) -> None:
    read: dict[Format, list[tuple[Any, ...]]] = {}
    for format in FORMATS:
        target = tmp_path / format if files > 1 else tmp_path / f"s.{format}"
        made, paths = write_sales(target, SalesSpec(rows=5000, days=2), format, files)
        assert made.rows == 5000
        assert [p.is_file() for p in paths] == [True] * files
        columns = {f.name: "VARCHAR" for f in SCHEMA}
        reader = {
            "csv": f"read_csv(?, columns = {columns}, header = true, force_not_null = ['city'])",
            "jsonl": f"read_json(?, columns = {columns}, format = 'newline_delimited')",
            "parquet": "read_parquet(?)",
        }[format]
        typed = "amount::DECIMAL(12,2) AS amount, epoch_us(sold_at::TIMESTAMPTZ) AS sold_at, coalesce(city, '') AS city"
        sql = f"SELECT * REPLACE ({typed}) FROM {reader}"
        with duckdb.connect() as con:
            read[format] = con.execute(sql, [[str(p) for p in paths]]).fetchall()
    assert read["csv"] == read["jsonl"] == read["parquet"]
    assert len(read["csv"]) == 5000
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_dropper_makes_a_file_of_now_in_each_format_in_turn(tmp_path: Path) -> None:
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    dropper = Dropper(tmp_path / "drops", SalesSpec(late=0, bad=0, duplicates=0), now=lambda: now)
    paths = [dropper.drop(10) for _ in range(4)]
    assert [p.suffix for p in paths] == [".csv", ".jsonl", ".parquet", ".csv"]
    assert dropper.made.rows == 40
    with duckdb.connect() as con:
        times = con.execute(
            "SELECT max(abs(epoch(sold_at) - ?)) FROM read_parquet(?)", [now.timestamp(), str(paths[2])]
        )
        assert times.fetchall()[0][0] <= 30
        both = "SELECT sale_id FROM read_csv(?) UNION ALL SELECT sale_id FROM read_parquet(?)"
        ids = f"SELECT count(DISTINCT sale_id) FROM ({both})"
        assert con.execute(ids, [[str(paths[0]), str(paths[3])], str(paths[2])]).fetchall() == [(30,)]


def test_dropper_keeps_a_rate_until_it_is_stopped(tmp_path: Path) -> None:
    waits: list[float] = []

    def stop(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 4

    dropper = Dropper(tmp_path / "drops")
    dropper.run(2.5, stop)
    assert (dropper.made.rows, dropper.files) == (10, 4)


@pytest.mark.slow
def test_shop_database_and_its_feeder(fresh_database: str) -> None:
    made = create_shop(fresh_database, SalesSpec(rows=3000, days=5))
    assert made.rows == 3000
    assert create_shop(fresh_database, SalesSpec(rows=3000, days=5)).rows == 0
    feeder = Feeder(fresh_database)
    answers = iter([False] * 4 + [True])
    feeder.run(40.0, lambda _: next(answers))
    assert feeder.made.rows == 40
    with psycopg.connect(fresh_database) as conn:
        (row,) = conn.execute(
            "SELECT count(*), min(id), max(id), count(DISTINCT seller) > 100,"
            " sum(amount) = (SELECT sum(pieces * price) FROM order_lines),"
            " (SELECT count(*) FROM order_lines) FROM orders"
        ).fetchall()
        assert row == (3040, 1, 3040, True, True, 6080)
        broken = "SELECT count(*) BETWEEN 50 AND 100 FROM customers WHERE email NOT LIKE '%@%'"
        assert conn.execute(broken).fetchall() == [(True,)]


@pytest.mark.slow
def test_live_world_prepares_once_and_sells_until_stopped(fresh_database: str, tmp_path: Path) -> None:
    project = tmp_path / "a project"
    world = LiveWorld(project, fresh_database, history_rows=600, drops_per_second=50.0)
    world.prepare()
    assert (project / "penstock.yaml").is_file()
    assert (project / ".env").read_text().startswith("SHOP_DB=postgresql://")
    assert sorted(p.suffix for p in (project / "drops").iterdir()) == [".csv", ".jsonl", ".parquet"]
    again = LiveWorld(project, fresh_database, history_rows=600)
    again.prepare()
    assert len(list((project / "drops").iterdir())) == 3
    world.start()
    while not (world.dropper.made.rows and world.feeder.made.rows):
        threading.Event().wait(0.05)
    world.stop()
    world.stop()
    with psycopg.connect(fresh_database) as conn:
        assert conn.execute("SELECT count(*) FROM orders").fetchone() == (600 + world.feeder.made.rows,)
