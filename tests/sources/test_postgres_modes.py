"""The four modes: what a round reads, where it ends, what a kill in the middle costs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from penstock.observe import subscribe, unsubscribe
from penstock.observe.events import Notice, Observation
from penstock.project.model import Column, Stream
from penstock.sources.errors import PostgresNotUnique
from penstock.sources.postgres import PostgresConfig, PostgresSource
from penstock.sqltypes import TEXT
from tests.sources.postgres_help import Reader, rows, run

pytestmark = pytest.mark.slow
Make = Callable[..., Reader]
IDS = {"mode": "incrementing", "incrementing_column": "id"}
TIMES = {"mode": "timestamp", "timestamp_column": "at"}


@pytest.fixture
def lines(database: str) -> str:
    """A table of 1000 orders with 1 to 9 lines each; all times of a hundred orders are the same."""
    run(
        database,
        "CREATE TABLE lines (id int, line int, at timestamptz, PRIMARY KEY (id, line))",
        "INSERT INTO lines SELECT i, n, timestamptz '2026-01-01 00:00Z' + interval '1 minute' * (i / 100)"
        " FROM generate_series(1, 1000) i, generate_series(1, 1 + i % 9) n",
    )
    return database


def keys(url: str) -> list[tuple[int, int]]:
    return sorted(rows(url, "SELECT id, line FROM lines"))


CUTS: list[dict[str, Any]] = [
    {**IDS},
    {**IDS, "incrementing_column": ["id", "line"]},
    {**TIMES},
    {"mode": "timestamp+incrementing", "timestamp_column": "at", "incrementing_column": ["id", "line"]},
]


@pytest.mark.parametrize("config", CUTS, ids=["ids", "list", "times", "both"])
def test_reading_that_is_killed_after_every_batch_loses_nothing(
    reader: Make, lines: str, config: dict[str, Any]
) -> None:
    r = reader(table="lines", **config)
    r.batch_rows = 1000 if config == TIMES else 64
    seen: list[dict[str, Any]] = []
    while part := r.round(stop_after=1):
        seen += part
    assert sorted((row["id"], row["line"]) for row in seen) == keys(lines)


def test_a_value_of_more_rows_than_a_batch_is_read_again_after_a_kill(reader: Make, lines: str) -> None:
    r = reader(table="lines", **TIMES)
    r.batch_rows = 64
    seen = r.round(stop_after=3)
    assert r.cursor["at"] is None
    again = r.round()
    assert sorted((row["id"], row["line"]) for row in again) == keys(lines)
    assert len(seen) == 3 * 64


def test_keyless_stream_is_read_exactly_once_over_kills(reader: Make, lines: str) -> None:
    r = reader(table="lines", keyed=False, **{**IDS, "incrementing_column": ["id", "line"]})
    r.batch_rows = 64
    seen: list[dict[str, Any]] = []
    while part := r.round(stop_after=1):
        seen += part
    assert sorted((row["id"], row["line"]) for row in seen) == keys(lines)


def test_equal_values_without_a_key_are_refused(reader: Make, lines: str) -> None:
    r = reader(table="lines", keyed=False, **IDS)
    with pytest.raises(
        PostgresNotUnique, match=r"PEN269 .*several rows with id = 1, and its stream has no primary key"
    ):
        r.round()
    with pytest.raises(PostgresNotUnique, match=r"PEN269 .*a timestamp may stand in many rows"):
        reader(table="lines", keyed=False, **TIMES).start()


def test_batches_hold_whole_values_and_their_cursor(reader: Make, lines: str) -> None:
    r = reader(table="lines", **IDS)
    r.batch_rows = 64
    r.round()
    ends = [b.table.column("id")[-1].as_py() for b in r.batches]
    assert [b.cursor["at"] for b in r.batches] == [[str(e)] for e in ends]
    assert len(set(ends)) == len(ends)
    assert max(b.table.num_rows for b in r.batches) < 64 + 9


def test_a_round_of_one_piece_is_one_batch(reader: Make, lines: str) -> None:
    r = reader(table="lines", **IDS)
    r.round()
    assert len(r.batches) == 1


def test_positions(reader: Make, lines: str) -> None:
    first = {"at": "2026-01-01 00:00:00+00", "id": "1", "line": "1"}
    for config, expected in zip(CUTS, [1, "1/1", first["at"], f"{first['at']}/1/1"], strict=True):
        r = reader(table="lines", **config)
        r.round()
        assert r.batches[0].positions[0].as_py() == expected
        assert r.batches[0].origin == "lines"


def test_new_rows_are_read_by_the_next_round_only(reader: Make, lines: str) -> None:
    r = reader(table="lines", **IDS)
    r.round()
    run(lines, "INSERT INTO lines VALUES (2000, 1, now()), (1500, 1, now())")
    assert [row["id"] for row in r.round()] == [1500, 2000]
    assert r.round() == []


def test_a_round_ends_where_it_began(reader: Make, lines: str) -> None:
    r = reader(table="lines", **IDS)
    r.batch_rows = 64
    batches = r.start().round()
    next(batches)
    run(lines, "INSERT INTO lines VALUES (5000, 1, now())")
    assert all(5000 not in b.table.column("id").to_pylist() for b in batches)


def test_updated_rows_come_again_in_the_timestamp_modes(reader: Make, database: str) -> None:
    run(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now(), v text)",
        "INSERT INTO t (id, v) VALUES (1, 'a'), (2, 'b')",
    )
    both = {"mode": "timestamp+incrementing", "timestamp_column": "at", "incrementing_column": "id"}
    readers = [reader(table="t", **TIMES), reader(table="t", **both)]
    for r in readers:
        assert [row["v"] for row in r.round()] == ["a", "b"]
    run(database, "UPDATE t SET v = 'c', at = now() WHERE id = 1")
    for r in readers:
        assert [row["v"] for row in r.round()] == ["c"]


def test_row_dated_into_the_future_waits_and_closes_nothing(reader: Make, database: str) -> None:
    run(
        database,
        "CREATE TABLE t (id int, at timestamptz)",
        "INSERT INTO t VALUES (1, now()), (2, '2099-12-31'), (3, 'infinity'), (4, NULL)",
    )
    told: list[Observation] = []
    subscribe(told.append)
    r = reader(table="t", **TIMES)
    seen = r.ids()
    unsubscribe(told.append)
    run(database, "INSERT INTO t VALUES (5, now())")
    assert [*seen, *r.ids()] == [1, 5]
    notes = [n.message for n in told if isinstance(n, Notice)]
    assert any("at is NULL, NaN or infinite are never read" in n for n in notes)
    assert any("at is in the future are read when that time has come" in n for n in notes)


def test_ids_that_no_cursor_can_pass_are_left_out_and_told(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t (id numeric)", "INSERT INTO t VALUES (1), ('NaN'), (NULL), ('Infinity')")
    r = reader(table="t", **IDS)
    assert [str(i) for i in r.ids()] == ["1"]
    run(database, "INSERT INTO t VALUES (2.5)")
    assert [str(i) for i in r.ids()] == ["2.5"]


def test_delay_keeps_young_rows_for_later(reader: Make, database: str) -> None:
    run(
        database,
        "CREATE TABLE t (id int, at timestamptz)",
        "INSERT INTO t VALUES (1, now() - interval '2 hours'), (2, now())",
    )
    assert reader(table="t", delay="1h", **TIMES).ids() == [1]


def test_coarse_timestamps_wait_until_their_second_is_over(reader: Make, database: str) -> None:
    run(
        database,
        "CREATE TABLE t (id int, at timestamptz(0))",
        "INSERT INTO t VALUES (1, now() - interval '1 minute'), (2, clock_timestamp() + interval '0.4 s')",
    )
    assert reader(table="t", **TIMES).ids() == [1]


def test_wall_clock_mark_stays_below_the_hour_that_clocks_repeat(reader: Make, database: str) -> None:
    """In the hour before clocks go back, the least wall-clock time still to come is the repeated hour's beginning."""
    run(database, "CREATE TABLE t (id int, at timestamp)")
    r = reader(table="t", **TIMES)
    r.timezone = "Europe/Berlin"
    keys_ = r.start()._keys
    sql = keys_.mark_sql("t AS q", None, "Europe/Berlin", timedelta(0))
    cap = sql.split("<= (", 1)[1].split(") ORDER BY")[0]
    for now, expected in [
        ("2026-10-25 00:30:30Z", datetime(2026, 10, 25, 2, 0)),  # noqa: DTZ001
        ("2026-10-25 01:30:30Z", datetime(2026, 10, 25, 2, 30, 30)),  # noqa: DTZ001
        ("2026-10-24 23:30:30Z", datetime(2026, 10, 25, 1, 30, 30)),  # noqa: DTZ001
        ("2026-03-29 00:30:30Z", datetime(2026, 3, 29, 1, 30, 30)),  # noqa: DTZ001
    ]:
        at = cap.replace("pg_catalog.clock_timestamp()", f"timestamptz '{now}'")
        assert rows(database, at) == [(expected,)]


def test_query_may_end_in_comment_or_semicolon_and_have_ctes_and_percent_signs(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1), (2)")
    query = "WITH x AS (SELECT id, 'a%s' AS s FROM t) SELECT * FROM x WHERE s LIKE 'a%' -- all\n;"
    assert reader(query=query, **IDS).round() == [{"id": 1, "s": "a%s"}, {"id": 2, "s": "a%s"}]


def test_text_and_uuid_further_down_a_list(reader: Make, database: str) -> None:
    run(
        database,
        'CREATE TABLE t (id int, name text COLLATE "en-x-icu", u uuid DEFAULT gen_random_uuid())'
        if rows(database, "SELECT 1 FROM pg_collation WHERE collname = 'en-x-icu'")
        else "CREATE TABLE t (id int, name text, u uuid DEFAULT gen_random_uuid())",
        "INSERT INTO t SELECT i / 10, chr(60 + i % 10 * 7), gen_random_uuid() FROM generate_series(1, 200) i",
    )
    r = reader(table="t", mode="incrementing", incrementing_column=["id", "name", "u"], keyed=False)
    r.batch_rows = 7
    seen = 0
    while part := r.round(stop_after=1):
        seen += len(part)
    assert seen == 200


def test_bulk_reads_everything_once_from_one_snapshot(reader: Make, lines: str) -> None:
    r = reader(table="lines", mode="bulk", keyed=False)
    r.batch_rows = 100
    everything = keys(lines)
    seen = r.round(stop_after=2)
    run(lines, "DELETE FROM lines WHERE id > 500")
    seen += r.round(stop_after=3)
    seen += r.round()
    assert sorted((row["id"], row["line"]) for row in seen) == everything
    assert [b.positions[0].as_py() for b in r.batches[:2]] == [1, 101]
    assert r.round() == []
    r.start()
    assert r.round() == []
    assert not list(r.state.glob("bulk-*"))


def test_bulk_of_an_empty_table(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t (id int)")
    assert reader(table="t", mode="bulk").round() == []


def test_rows_of_concurrent_writers_all_come_exactly_once(reader: Make, database: str) -> None:
    """Writers with transactions of every length beside a poller: what was read is what is there."""
    run(database, "CREATE TABLE t (id bigserial PRIMARY KEY, at timestamptz DEFAULT now())")
    done = threading.Event()

    def write(n: int) -> None:
        with psycopg.connect(database) as conn:
            for i in range(60):
                conn.execute("INSERT INTO t DEFAULT VALUES")
                if i % (n + 1) == 0:
                    conn.commit()
                if i % 7 == n:
                    conn.rollback()

    writers = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    both = {"mode": "timestamp+incrementing", "timestamp_column": "at", "incrementing_column": "id"}
    readers = [reader(table="t", keyed=False, **IDS), reader(table="t", keyed=False, **both)]
    seen: list[list[int]] = [[], []]
    for w in writers:
        w.start()
    while not done.is_set():
        if not any(w.is_alive() for w in writers):
            done.set()
        for r, ids in zip(readers, seen, strict=True):
            ids += r.ids()
    expected = [i for (i,) in rows(database, "SELECT id FROM t ORDER BY id")]
    assert [sorted(ids) for ids in seen] == [expected, expected]


def test_first_reading_of_many_rows_holds_one_batch_in_memory(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t AS SELECT i AS id, repeat('x', 200) AS v FROM generate_series(1, 200000) i")
    r = reader(table="t", **IDS)
    r.batch_rows = 1000
    source = r.start()
    sizes = [(b.table.num_rows, b.table.nbytes) for b in source.round()]
    assert sum(n for n, _ in sizes) == 200_000
    assert max(size for _, size in sizes) < 400_000


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"mode": "incrementing", "table": "t"}, "mode incrementing needs `incrementing_column:`"),
        ({"mode": "timestamp", "table": "t"}, "mode timestamp needs `timestamp_column:`"),
        ({"mode": "bulk"}, "give either `table:` or `query:`"),
        ({"mode": "bulk", "table": "t", "query": "SELECT 1"}, "give either `table:` or `query:`"),
        ({"mode": "bulk", "table": "t", "timestamp_column": "x"}, "mode bulk does not use `timestamp_column:`"),
        ({"table": "t", "delay": "1s", **IDS}, "mode incrementing does not use `delay:`"),
        ({"mode": "sometimes", "table": "t"}, "incrementing"),
    ],
)
def test_keys_that_do_not_go_together(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PostgresConfig(connection="postgresql://x@y/z", **config)


def test_warnings_of_validate(reader: Make) -> None:
    query = "SELECT * FROM a\nJOIN b USING (c)"
    r = reader(query=query, **TIMES)
    stream = Stream("sales", (Column("id", TEXT),), ("id",))
    first, second = PostgresSource.warnings(r.context().file, stream)
    assert "a row that is updated becomes a conflict" in first
    assert "a row that the join yields only later" in second
    assert PostgresSource.warnings(reader(table="t", **IDS).context().file, stream) == ()


@pytest.mark.parametrize(
    ("options", "note"),
    [("CACHE 5", "sequence ids has CACHE 5: sessions hold values back"), ("CYCLE", "sequence ids has CYCLE")],
)
def test_sequences_that_do_not_only_rise_are_told(reader: Make, database: str, options: str, note: str) -> None:
    run(database, f"CREATE SEQUENCE ids {options}", "CREATE TABLE t (id bigint DEFAULT nextval('ids'))")
    told: list[Observation] = []
    subscribe(told.append)
    reader(table="t", **IDS).start()
    unsubscribe(told.append)
    assert [n.message.startswith(note) for n in told if isinstance(n, Notice)] == [True]


def test_a_table_that_was_emptied_and_began_anew_is_told(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t (id serial)", "INSERT INTO t SELECT FROM generate_series(1, 9)")
    r = reader(table="t", **IDS)
    r.round()
    run(database, "TRUNCATE t RESTART IDENTITY", "INSERT INTO t DEFAULT VALUES")
    told: list[Observation] = []
    subscribe(told.append)
    r.start()
    unsubscribe(told.append)
    assert [n.message[:43] for n in told if isinstance(n, Notice)] == ["no row has id at or above 9, which was read"]


def test_times_are_read_in_utc_whatever_the_role_prefers(reader: Make, database: str) -> None:
    run(
        database,
        "CREATE TABLE t (id int, at timestamptz)",
        "INSERT INTO t VALUES (1, '2026-01-01 12:00+01')",
        "ALTER ROLE penstock SET TimeZone = 'Asia/Tokyo'",
        "ALTER ROLE penstock SET DateStyle = 'German'",
    )
    try:
        r = reader(table="t", **TIMES)
        assert r.round() == [{"id": 1, "at": datetime(2026, 1, 1, 11, tzinfo=UTC)}]
    finally:
        run(database, "ALTER ROLE penstock RESET ALL")
