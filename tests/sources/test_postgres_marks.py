"""A poll never skips a row whose transaction commits late: open transactions, in both orders, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.sources.postgres_help import Reader, rows, run

pytestmark = pytest.mark.slow
Make = Callable[..., Reader]

TABLE = "CREATE TABLE sales (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), who text)"
INSERT = "INSERT INTO sales (who) VALUES ('x')"
IDS = {"table": "sales", "mode": "incrementing", "incrementing_column": "id"}
TIMES = {"table": "sales", "mode": "timestamp", "timestamp_column": "at"}
BOTH = {**TIMES, "mode": "timestamp+incrementing", "incrementing_column": ["id"]}
MODES = pytest.mark.parametrize("mode", [IDS, TIMES, BOTH], ids=["ids", "times", "both"])


@contextmanager
def session(url: str) -> Iterator[psycopg.Connection[Any]]:
    """An open transaction of somebody else."""
    connection = psycopg.connect(url)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def two(database: str) -> Iterator[tuple[psycopg.Connection[Any], psycopg.Connection[Any]]]:
    run(database, TABLE, INSERT)
    with session(database) as first, session(database) as second:
        yield first, second


@MODES
def test_row_of_earlier_transaction_that_commits_after_a_later_one(reader: Make, two: Any, mode: Any) -> None:
    early, late = two
    early.execute(INSERT)
    late.execute(INSERT)
    late.commit()
    r = reader(**mode)
    assert 3 not in r.ids()
    assert r.source is not None
    assert f"pid {early.info.backend_pid}" in r.source.waiting()
    assert not r.source.complete()
    early.commit()
    r.ids()
    assert r.source.waiting() == ""
    assert r.source.complete()
    assert sorted(row["id"] for b in r.batches for row in b.table.to_pylist()) == [1, 2, 3]


@MODES
def test_row_of_earlier_transaction_that_commits_first(reader: Make, two: Any, mode: Any) -> None:
    early, late = two
    early.execute(INSERT)
    late.execute(INSERT)
    early.commit()
    r = reader(**mode)
    seen = r.ids()
    late.commit()
    seen += r.ids()
    assert sorted(seen) == [1, 2, 3]


@MODES
def test_transaction_that_took_id_and_time_but_wrote_nothing(reader: Make, two: Any, mode: Any) -> None:
    early, late = two
    taken = early.execute("SELECT nextval('sales_id_seq'), now()").fetchone()
    late.execute(INSERT)
    late.commit()
    r = reader(**mode)
    seen = r.ids()
    assert 3 not in seen
    seen += r.ids()
    early.execute("INSERT INTO sales VALUES (%s, %s, 'late')", taken)
    early.commit()
    seen += r.ids()
    assert sorted(seen) == [1, 2, 3]


@MODES
def test_id_taken_in_a_savepoint_that_was_rolled_back(reader: Make, two: Any, mode: Any) -> None:
    early, late = two
    early.execute("SAVEPOINT s")
    taken = early.execute("SELECT nextval('sales_id_seq'), now()").fetchone()
    early.execute("ROLLBACK TO SAVEPOINT s")
    late.execute(INSERT)
    late.commit()
    r = reader(**mode)
    seen = r.ids()
    early.execute("SAVEPOINT t")
    early.execute("INSERT INTO sales VALUES (%s, %s, 'late')", taken)
    early.execute("RELEASE SAVEPOINT t")
    seen += r.ids()
    early.commit()
    seen += r.ids()
    assert sorted(seen) == [1, 2, 3]


@MODES
def test_prepared_transaction_holds_back_until_it_is_decided(reader: Make, two: Any, mode: Any, database: str) -> None:
    early, late = two
    early.execute(INSERT)
    early.execute("PREPARE TRANSACTION 'payment'")
    late.execute(INSERT)
    late.commit()
    r = reader(**mode)
    seen = r.ids()
    assert 3 not in seen
    assert r.source is not None
    assert "prepared transaction 'payment'" in r.source.waiting()
    run(database, "COMMIT PREPARED 'payment'")
    seen += r.ids()
    assert sorted(seen) == [1, 2, 3]


@MODES
def test_transaction_that_is_prepared_while_the_mark_waits(reader: Make, two: Any, mode: Any, database: str) -> None:
    early, late = two
    early.execute(INSERT)
    late.execute(INSERT)
    late.commit()
    r = reader(**mode)
    seen = r.ids()
    early.execute("PREPARE TRANSACTION 'payment'")
    seen += r.ids()
    assert 3 not in seen
    run(database, "COMMIT PREPARED 'payment'")
    seen += r.ids()
    assert sorted(seen) == [1, 2, 3]


@MODES
def test_rows_below_the_safe_mark_are_not_held_up(reader: Make, two: Any, mode: Any, database: str) -> None:
    early, _ = two
    r = reader(**mode)
    run(database, INSERT, INSERT)
    seen = r.ids()
    early.execute(INSERT)
    run(database, INSERT)
    run(database, INSERT)
    assert seen == [1, 2, 3]
    assert r.ids() == []
    early.rollback()
    assert r.ids() == [5, 6]


@MODES
def test_restart_while_a_mark_waits(reader: Make, two: Any, mode: Any, database: str) -> None:
    early, late = two
    r = reader(**mode)
    seen = r.ids()
    early.execute(INSERT)
    late.execute(INSERT)
    late.commit()
    seen += r.ids()
    r.start()
    seen += r.ids()
    assert seen == [1]
    early.commit()
    r.start()
    seen += r.ids()
    assert sorted(seen) == [1, 2, 3]


@MODES
def test_transactions_that_overlap_for_ever_do_not_starve_the_source(reader: Make, database: str, mode: Any) -> None:
    run(database, TABLE)
    r = reader(**mode)
    seen: list[int] = []
    with ExitStack() as open_ones:
        held = open_ones.enter_context(session(database))
        held.execute(INSERT)
        for _ in range(20):
            following = open_ones.enter_context(session(database))
            following.execute(INSERT)
            run(database, INSERT)
            seen += r.ids()
            held.commit()
            held = following
            seen += r.ids()
        assert len(seen) > 30
        held.rollback()
    r.ids()
    assert sorted(row["id"] for b in r.batches for row in b.table.to_pylist()) == sorted(
        i for (i,) in rows(database, "SELECT id FROM sales")
    )


def test_round_is_complete_when_the_mark_of_its_beginning_is_passed(reader: Make, two: Any, database: str) -> None:
    early, late = two
    early.execute(INSERT)
    run(database, INSERT)
    r = reader(**IDS)
    source = r.start()
    assert r.ids() == []
    late.execute(INSERT)
    run(database, INSERT)
    assert r.ids() == []
    early.commit()
    assert r.ids() == [1, 2, 3]
    assert source.complete()
    assert f"pid {late.info.backend_pid}" in source.waiting()
    late.rollback()
    assert r.ids() == [5]


def test_reader_of_other_tables_and_vacuum_hold_no_ids_back(reader: Make, two: Any, database: str) -> None:
    early, _ = two
    early.execute("SELECT count(*) FROM sales")
    r = reader(**IDS)
    run(database, INSERT)
    assert r.ids() == [1, 2]
    assert r.source is not None
    assert r.source.waiting() == ""


def test_transaction_that_began_after_the_mark_holds_no_times_back(reader: Make, two: Any, database: str) -> None:
    early, _ = two
    run(database, INSERT)
    early.execute("SELECT 1")
    assert reader(**TIMES).ids() == [1, 2]


def test_another_source_that_reads_holds_nothing_back(reader: Make, two: Any, database: str) -> None:
    run(database, "INSERT INTO sales (who) SELECT 'x' FROM generate_series(1, 300000)")
    first = reader(**TIMES)
    first.batch_rows = 1000
    started = first.start().round()
    next(started)
    run(database, INSERT)
    assert len(reader(**TIMES).ids()) == 300_002
    started.close()  # type: ignore[attr-defined]


def test_other_databases_hold_nothing_back(reader: Make, two: Any, source_server: Any, database: str) -> None:
    with session(source_server.url("postgres")) as elsewhere:
        elsewhere.execute("SELECT pg_current_xact_id(), now()")
        run(database, INSERT)
        assert reader(**TIMES).ids() == [1, 2]
        assert reader(**IDS).ids() == [1, 2]


@MODES
def test_role_that_cannot_see_other_sessions(reader: Make, two: Any, mode: Any, database: str) -> None:
    early, late = two
    run(
        database,
        "DROP ROLE IF EXISTS blind",
        "CREATE ROLE blind LOGIN PASSWORD 'b'",
        "GRANT SELECT ON sales TO blind",
    )
    taken = early.execute("SELECT nextval('sales_id_seq'), now()").fetchone()
    late.execute(INSERT)
    late.commit()
    r = reader(**mode)
    r.url = make_conninfo(database, user="blind", password="b")
    seen = r.ids()
    early.execute("INSERT INTO sales VALUES (%s, %s, 'late')", taken)
    early.commit()
    seen += r.ids()
    r.close()
    run(database, "DROP OWNED BY blind", "DROP ROLE blind")
    assert sorted(seen) == [1, 2, 3]


@pytest.mark.parametrize("column", ["timestamptz", "timestamp"])
def test_who_is_open_is_asked_a_moment_after_a_time_mark(
    reader: Make, database: str, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """A transaction's now() is taken before its lock is; so a mark of this very moment is not judged at once."""
    run(database, f"CREATE TABLE sales (id int, at {column})")
    r = reader(**TIMES)
    r.start()
    slept: list[float] = []
    monkeypatch.setattr("penstock.sources.postgres.BEGINNING", 60.0)
    monkeypatch.setattr("penstock.sources.postgres.time.sleep", slept.append)
    run(database, "INSERT INTO sales VALUES (1, now() - interval '10 seconds')")
    assert r.ids() == [1]
    assert [40 < s < 51 for s in slept] == [True]
    run(database, "UPDATE sales SET id = 2, at = at - interval '1 minute'")
    r.cursor = {}
    r.start()
    assert r.ids() == [2]
    assert len(slept) == 1


def test_short_transaction_is_waited_for_within_the_round(
    reader: Make, two: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = two
    early.execute(INSERT)
    late.execute(INSERT)
    late.commit()
    r = reader(**IDS)
    source = r.start()
    monkeypatch.setattr("penstock.sources.postgres.PATIENCE", 60.0)
    monkeypatch.setattr("penstock.sources.postgres.time.sleep", lambda _: early.commit())
    assert r.ids() == [1, 2, 3]
    assert source.waiting() == ""
