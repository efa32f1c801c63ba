"""What goes wrong with a PostgreSQL that is read: each with its code, its words, and whether it is tried again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.errors import PenstockError
from penstock.sources.base import SourceError
from penstock.sources.errors import (
    PostgresBulkCutOff,
    PostgresColumnMissing,
    PostgresConnectionInvalid,
    PostgresCursorForeign,
    PostgresCursorType,
    PostgresDatabaseMissing,
    PostgresLoginRefused,
    PostgresLost,
    PostgresNoRights,
    PostgresQueryFailed,
    PostgresRetyped,
    PostgresTableMissing,
    PostgresUnreachable,
)
from penstock.store.private import private_server
from tests.sources.postgres_help import Reader, run

pytestmark = pytest.mark.slow
Make = Callable[..., Reader]
IDS = {"mode": "incrementing", "incrementing_column": "id"}


def refused(kind: type[SourceError], text: str, what: Callable[[], Any]) -> PenstockError:
    """Runs `what`, which must fail as said, with a hint and without the password."""
    with pytest.raises(kind) as caught:
        what()
    error = caught.value
    assert re.search(f"{kind.code} {re.escape(kind.title)}: .*{text}", str(error)), str(error)
    assert error.hint
    assert "secret" not in str(error)
    return error


@pytest.fixture
def table(database: str) -> str:
    run(database, "CREATE TABLE t (id int PRIMARY KEY, v numeric(9,2), w text)", "INSERT INTO t VALUES (1, 1.5, 'x')")
    return database


def test_wrong_password_and_unknown_role(reader: Make, table: str) -> None:
    r = reader(table="t", **IDS)
    r.url = make_conninfo(table, password="secret")
    error = refused(PostgresLoginRefused, "password authentication failed", r.start)
    assert not error.retryable
    r.url = make_conninfo(table, user="nobody_here", password="secret")
    refused(PostgresLoginRefused, "", r.start)


def test_unknown_database(reader: Make, table: str) -> None:
    r = reader(table="t", **IDS)
    r.url = make_conninfo(table, dbname="nowhere")
    refused(PostgresDatabaseMissing, 'database "nowhere" does not exist', r.start)


@pytest.mark.parametrize("host", ["127.0.0.1", "/nowhere", "no-such-host.invalid"])
def test_server_away_at_the_start(reader: Make, host: str) -> None:
    r = reader(table="t", **IDS)
    r.url = f"host={host} port=1 user=u password=secret dbname=d connect_timeout=5"
    error = refused(PostgresUnreachable, f"u@{re.escape(host)}:1/d", r.start)
    assert error.retryable
    r.close()
    r.close()


def test_server_away_in_the_middle_and_back(reader: Make, tmp_path: Path) -> None:
    with private_server(tmp_path, settings={"fsync": "off"}) as server:
        run(server.url(), "CREATE TABLE t AS SELECT i AS id, repeat('x', 1000) AS v FROM generate_series(1, 50000) i")
        r = reader(table="t", **IDS)
        r.url = server.url()
        r.batch_rows = 500
        batches = r.start().round()
        r.cursor = next(batches).cursor
        kept = int(r.cursor["at"][0])
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock/%'"
            )
        error = refused(PostgresLost, "", lambda: list(batches))
        assert error.retryable
        r.start()
        assert [row["id"] for row in r.round()] == list(range(kept + 1, 50001))
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock/%'"
            )
        refused(PostgresLost, "", r.round)
        r.start()
        assert r.round() == []


def test_table_that_never_was_or_is_dropped(reader: Make, table: str) -> None:
    run(table, "CREATE SCHEMA shop", "CREATE TABLE shop.orders (id int)")
    refused(PostgresTableMissing, "table order does not exist", reader(table="order", **IDS).start)
    error = refused(PostgresTableMissing, "", reader(table="shop.ordres", **IDS).start)
    assert error.hint == "did you mean 'shop.orders'?"
    refused(PostgresTableMissing, 'relation "gone" does not exist', reader(query="SELECT * FROM gone", **IDS).start)
    r = reader(table="t", **IDS)
    r.round()
    run(table, "DROP TABLE t")
    refused(PostgresTableMissing, 'relation "t" does not exist', r.round)


def test_cursor_column_that_is_not_there(reader: Make, table: str) -> None:
    error = refused(
        PostgresColumnMissing,
        "incrementing_column needs the column idd, which is not there",
        reader(table="t", mode="incrementing", incrementing_column="idd").start,
    )
    assert error.hint == "did you mean 'id'?"
    refused(
        PostgresColumnMissing,
        "timestamp_column needs the column at",
        reader(query="SELECT id FROM t", mode="timestamp", timestamp_column="at").start,
    )


def test_two_columns_of_one_name(reader: Make, table: str) -> None:
    query = "SELECT a.id, b.id, a.v FROM t a JOIN t b ON true"
    refused(PostgresColumnMissing, "two columns are called id", reader(query=query, **IDS).start)


def test_column_dropped_at_the_source(reader: Make, table: str) -> None:
    r = reader(table="t", **IDS)
    r.columns_used = frozenset({"id", "v"})
    r.round()
    run(table, "ALTER TABLE t DROP COLUMN w", "INSERT INTO t VALUES (2, 2)")
    assert r.ids() == [2]
    run(table, "ALTER TABLE t DROP COLUMN v", "INSERT INTO t VALUES (3)")
    refused(PostgresColumnMissing, "the source file needs the column v", r.round)
    refused(PostgresColumnMissing, "the source file needs the column v", r.start)
    run(table, "ALTER TABLE t DROP COLUMN id")
    refused(PostgresColumnMissing, "incrementing_column needs the column id", r.start)


def test_column_retyped_at_the_source(reader: Make, table: str) -> None:
    r = reader(table="t", **IDS)
    r.round()
    run(table, "ALTER TABLE t ALTER v TYPE numeric(20,4), ALTER id TYPE bigint", "INSERT INTO t VALUES (5000000000, 2)")
    assert r.ids() == [5000000000]
    run(table, "ALTER TABLE t ALTER v TYPE text", "INSERT INTO t VALUES (5000000001, 'two')")
    error = refused(PostgresRetyped, r"column v was numeric\(20,4\) and is now text", r.round)
    assert not error.retryable
    refused(PostgresRetyped, "column v was", r.start)
    r.fields = {"amount": "replace(v, 'two', '2')::DECIMAL(12,2)"}
    r.start()
    assert r.ids() == [5000000001]


def test_cursor_column_retyped_to_one_that_does_not_grow(reader: Make, table: str) -> None:
    r = reader(table="t", **IDS)
    r.round()
    run(table, "ALTER TABLE t ALTER id TYPE text")
    r.fields = {"x": "id"}
    refused(PostgresCursorType, "incrementing_column id is text: its values do not grow with time", r.start)


@pytest.mark.parametrize(
    ("config", "type_", "text"),
    [
        (IDS, "text", "incrementing_column id is text"),
        (IDS, "double precision", "incrementing_column id is double precision"),
        (IDS, "uuid", "incrementing_column id is uuid"),
        (IDS, "jsonb", "incrementing_column id is jsonb"),
        ({**IDS, "incrementing_column": ["k", "id"]}, "real", "incrementing_column id is real"),
        ({"mode": "timestamp", "timestamp_column": "id"}, "date", "timestamp_column id is date"),
        ({"mode": "timestamp", "timestamp_column": "id"}, "integer", "timestamp_column id is integer"),
        ({"mode": "timestamp", "timestamp_column": "id"}, "time", "timestamp_column id is time without time zone"),
    ],
)
def test_columns_that_do_not_grow_with_time(
    reader: Make, database: str, config: dict[str, Any], type_: str, text: str
) -> None:
    run(database, f"CREATE TABLE t (id {type_}, k int)")
    refused(PostgresCursorType, text, reader(table="t", **config).start)


def test_sequence_that_counts_down(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (INCREMENT -1))")
    refused(PostgresCursorType, "sequence t_id_seq counts down", reader(table="t", **IDS).start)


def test_no_right_to_read(reader: Make, table: str) -> None:
    run(
        table,
        "DROP ROLE IF EXISTS poor",
        "CREATE ROLE poor LOGIN PASSWORD 'p'",
        "CREATE SCHEMA closed",
        "CREATE TABLE closed.t (id int)",
    )
    r = reader(table="t", **IDS)
    r.url = make_conninfo(table, user="poor", password="p")
    try:
        error = refused(PostgresNoRights, "permission denied for table t", r.start)
        assert error.hint == "as the owner: GRANT SELECT ON t TO <the role of `connection:`>"
        closed = reader(table="closed.t", **IDS)
        closed.url = r.url
        error = refused(PostgresNoRights, "permission denied for schema closed", closed.start)
        assert "GRANT USAGE ON SCHEMA closed" in error.hint
        run(table, "GRANT SELECT ON t TO poor")
        assert r.ids() == [1]
        run(table, "REVOKE SELECT ON t FROM poor")
        refused(PostgresNoRights, "permission denied for table t", r.round)
        r.close()
        closed.close()
    finally:
        run(table, "DROP OWNED BY poor", "DROP ROLE poor")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("SELEC id FROM t", "syntax error"),
        ("SELECT id, 1 / (id - 1) AS x FROM t", "division by zero"),
        ("INSERT INTO t VALUES (2) RETURNING id", "syntax error"),
        ("SELECT id, w::int FROM t", "invalid input syntax for type integer"),
        ("SELECT id FROM t); DROP TABLE t; --", ""),
    ],
)
def test_query_that_fails(reader: Make, table: str, query: str, text: str) -> None:
    error = refused(PostgresQueryFailed, text, lambda: reader(query=query, **IDS).round())
    assert not error.retryable
    assert reader(table="t", **IDS).ids() == [1]


def test_query_that_writes_is_refused_by_the_session(reader: Make, table: str) -> None:
    run(table, "CREATE FUNCTION sneak() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (9) RETURNING id'")
    refused(
        PostgresQueryFailed,
        "cannot execute INSERT in a read-only transaction",
        lambda: reader(query="SELECT sneak() AS id", **IDS).round(),
    )


def test_cursor_of_another_mode(reader: Make, table: str) -> None:
    r = reader(table="t", **IDS)
    r.round()
    other = reader(table="t", mode="bulk")
    other.cursor = r.cursor
    error = refused(
        PostgresCursorForeign, "the cursor is of incrementing along id, the source file says bulk", other.start
    )
    assert "penstock source reset shop" in error.hint


def test_bulk_whose_copy_is_gone(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t AS SELECT generate_series(1, 300) AS id")
    for keyed in (True, False):
        r = reader(table="t", mode="bulk", keyed=keyed)
        r.batch_rows = 100
        r.round(stop_after=1)
        for copy in r.state.glob("bulk-*"):
            copy.unlink()
        if keyed:
            assert len(r.round()) == 300
        else:
            refused(PostgresBulkCutOff, "100 rows of the bulk reading are in the log", r.round)


@pytest.mark.parametrize("connection", ["nonsense", "postgresql://u:secret@h:port/d", "host='secret"])
def test_connection_that_cannot_be_read(reader: Make, connection: str) -> None:
    r = reader(table="t", **IDS)
    r.url = connection
    error = refused(PostgresConnectionInvalid, "the connection cannot be read", r.start)
    assert "postgresql://user@host:5432/database" in error.hint


def test_connection_in_parts(reader: Make, table: str) -> None:
    parts = conninfo_to_dict(table)
    r = reader(table="t", **IDS)
    r.url = {k: parts[k] for k in ("host", "dbname", "user", "password")}  # type: ignore[assignment]
    assert r.ids() == [1]
