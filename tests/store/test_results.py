"""Result tables: as promised in shape; changed together with their position, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from penstock.engines.base import Changes
from penstock.log.model import ORIGIN
from penstock.plan.model import ResultColumn
from penstock.sqltypes import BIGINT, BOOLEAN, DOUBLE, HUGEINT, JSON, LOCAL_TIMESTAMP, TEXT, TIME, TIMESTAMP, UUID
from penstock.store import results
from penstock.store.adopt import register
from penstock.store.connect import Connection, Store, open_url
from penstock.store.errors import BadTableName, LeaseLost, PositionMoved, TableNotOurs, ValueTooLarge
from penstock.store.results import ResultTable, apply, index_name, load_pipelines
from penstock.store.writer import acquire
from tests.store.plans import DAY, MONEY, SALES, changes, plan, point, sale

pytestmark = pytest.mark.slow


@pytest.fixture
def store(fresh_database: str, tmp_path: Path) -> Store:
    return open_url(fresh_database, tmp_path)


@pytest.fixture
def token(store: Store) -> Iterator[str]:
    lease = acquire(store)
    yield lease.token
    lease.release()


@pytest.fixture
def tx(store: Store) -> Iterator[Connection]:
    with store.connect() as connection:
        yield connection


@pytest.fixture(params=[5000, 0], ids=["as parameters", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways rows take into the table."""
    monkeypatch.setattr(results, "SMALL_ROWS", request.param)
    real = results._finish

    def in_pieces(connection: Connection, result: ResultTable, changed: Changes) -> None:
        monkeypatch.setattr(results, "SMALL_ROWS", 2)
        real(connection, result, changed)
        monkeypatch.setattr(results, "SMALL_ROWS", request.param)

    monkeypatch.setattr(results, "_finish", in_pieces)


def rows(tx: Connection) -> list[tuple[object, ...]]:
    query = "SELECT date, city, total_sales, transaction_count FROM public.top_sales_by_city ORDER BY date, city"
    return tx.execute(query).fetchall()


def test_the_table_is_as_the_specification_shows_it(tx: Connection) -> None:
    register(tx, plan(), "public")
    columns = tx.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attnum > 0"
        " AND attrelid = 'public.top_sales_by_city'::regclass ORDER BY attnum"
    ).fetchall()
    assert columns == [
        ("id", "bigint"),
        ("date", "date"),
        ("city", "text"),
        ("total_sales", "numeric(15,2)"),
        ("transaction_count", "bigint"),
        ("created_at", "timestamp with time zone"),
        ("updated_at", "timestamp with time zone"),
    ]
    found = tx.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'top_sales_by_city' ORDER BY 1").fetchall()
    assert [definition.split(" ON ")[1] for (definition,) in found] == [
        "public.top_sales_by_city USING btree (city, date)",
        "public.top_sales_by_city USING btree (total_sales DESC)",
        "public.top_sales_by_city USING btree (date, city) NULLS NOT DISTINCT",
        "public.top_sales_by_city USING btree (id)",
    ]


@pytest.mark.usefixtures("way")
def test_upserts_deletes_and_nulls_in_keys(tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    first = [sale("Rome"), sale("Oslo", "1.50"), sale(None), sale("Bonn", day=None), sale(None, day=None)]
    apply(tx, result, changes(of, first), ORIGIN, token)
    second = [sale("Rome", "99.99", 4), sale(None, "0.01")]
    gone = [(None, "Bonn"), (None, None), (DAY, "Oslo")]
    apply(tx, result, changes(of, second, gone, at=2), point(1), token)
    assert rows(tx) == [sale("Rome", "99.99", 4), sale(None, "0.01")]


@pytest.mark.usefixtures("way")
def test_id_and_created_at_survive_and_the_same_value_touches_nothing(tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    look = "SELECT id, created_at, updated_at, xmin::text FROM public.top_sales_by_city ORDER BY city"
    apply(tx, result, changes(of, [sale("Oslo"), sale("Rome")]), ORIGIN, token)
    oslo, rome = tx.execute(look).fetchall()
    apply(tx, result, changes(of, [sale("Oslo"), sale("Rome", "5.00")], at=2), point(1), token)
    oslo_after, rome_after = tx.execute(look).fetchall()
    assert oslo_after == oslo
    assert rome_after[:2] == rome[:2]
    assert rome_after[2] > rome[2]


@pytest.mark.usefixtures("way")
def test_position_watermark_and_windows_move_along(tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    end = datetime(2026, 1, 24, tzinfo=UTC)
    windows = [("2026-01-23", end, 1, 0), ("2026-01-24", end, 0, 3), ("2026-01-25", end, 0, 0)]
    apply(tx, result, changes(of, windows=windows, at=3), ORIGIN, token)
    apply(tx, result, changes(of, windows=[("2026-01-23", end, 5, 0)], at=4), point(3), token)
    row = load_pipelines(tx)["top_sales_by_city"]
    assert (row.at, row.watermark, row.late_set_aside) == (point(4), changes(of).watermark, 2)
    assert row.as_of is not None
    found = tx.execute("SELECT window_start, restated, set_aside FROM pipeline_window ORDER BY 1").fetchall()
    assert found == [("2026-01-23", 5, 0), ("2026-01-24", 0, 3), ("2026-01-25", 0, 0)]


@pytest.mark.usefixtures("way")
def test_changes_that_build_on_another_position_are_refused_whole(tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    apply(tx, result, changes(of, [sale("Rome")]), ORIGIN, token)
    with pytest.raises(PositionMoved, match=r"PEN717 .*pipeline top_sales_by_city: it is at 1 .* build on 0"):
        apply(tx, result, changes(of, [sale("Oslo")]), ORIGIN, token)
    with pytest.raises(PositionMoved, match="PEN717"):
        apply(tx, result, changes(of, [sale("Oslo")], at=2), point(7), token)
    assert rows(tx) == [sale("Rome")]
    apply(tx, result, changes(of, [sale("Oslo")], at=2), point(1), token)


@pytest.mark.usefixtures("way")
def test_a_writer_that_was_replaced_changes_nothing(store: Store, tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    tx.execute("UPDATE writer SET token = gen_random_uuid()")
    with pytest.raises(LeaseLost, match=r"PEN716 .*is the writer since"):
        apply(tx, result, changes(of, [sale("Rome")]), ORIGIN, token)
    assert rows(tx) == []
    assert load_pipelines(tx)["top_sales_by_city"].at == ORIGIN


def test_listeners_are_told_who_moved(store: Store, tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    with store.connect("listener") as listener:
        listener.execute(f"LISTEN {store.channel}")
        apply(tx, result, changes(of), ORIGIN, token)
        (told,) = listener.notifies(timeout=5, stop_after=1)
        assert (told.channel, told.payload) == ("penstock", "top_sales_by_city")


@pytest.mark.usefixtures("way")
def test_without_a_key_there_is_one_row(tx: Connection, token: str) -> None:
    of = plan([ResultColumn("n", BIGINT)], (), indexes=())
    result = register(tx, of, "public")
    apply(tx, result, changes(of, [(1,)]), ORIGIN, token)
    apply(tx, result, changes(of, [(2,)], at=2), point(1), token)
    assert tx.execute("SELECT n FROM public.top_sales_by_city").fetchall() == [(2,)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        tx.execute("INSERT INTO public.top_sales_by_city (n) VALUES (3)")


@pytest.mark.usefixtures("way")
def test_every_type_and_awkward_texts(tx: Connection, token: str) -> None:
    kinds = [TEXT, HUGEINT, DOUBLE, BOOLEAN, TIMESTAMP, LOCAL_TIMESTAMP, TIME, UUID, JSON]
    columns = [ResultColumn(f"c{i} ü\"'%s", kind) for i, kind in enumerate(kinds)]
    of = plan(columns, (columns[0].name,), indexes=())
    result = register(tx, of, "public")
    instant = datetime(2026, 10, 25, 0, 59, 59, 999999, tzinfo=UTC)
    identity = "00000000-0000-0000-0000-00000000000a"
    texts = ["", "NULL", "\\.", '"', "a,b\n\\.\r\n", "{}", "ﬀ🎉", " x "]
    rest = (Decimal(10**37), 1e-300, True, instant, instant.replace(tzinfo=None), time(23, 59, 59, 1), identity, "[1]")
    apply(tx, result, changes(of, [(text, *rest) for text in texts]), ORIGIN, token)
    names = psycopg.sql.SQL(", ").join(psycopg.sql.Identifier(column.name) for column in columns)
    found = tx.execute(psycopg.sql.SQL("SELECT {} FROM public.top_sales_by_city").format(names)).fetchall()
    assert sorted(row[0] for row in found) == sorted(texts)
    assert {row[1:7] for row in found} == {rest[:6]}
    assert {(str(row[7]), row[8][0]) for row in found} == {(identity, 1)}
    apply(tx, result, changes(of, [], [(text,) for text in texts], at=2), point(1), token)
    assert tx.execute("SELECT count(*) FROM public.top_sales_by_city").fetchone() == (0,)


def test_many_rows_stream(tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    number = pa.arange(0, 60_000)
    wide = changes(of).upserts.schema
    many = pa.table(
        [
            pa.repeat(pa.scalar(DAY, pa.date32()), 60_000),
            number.cast(pa.string()),
            number.cast(pa.decimal128(21, 2)).cast(pa.decimal128(15, 2)),
            number,
        ],
        schema=wide,
    )
    base = vars(changes(of))
    apply(tx, result, Changes(**{**base, "upserts": many}), ORIGIN, token)
    apply(tx, result, Changes(**{**base, "upserts": many.slice(0, 30_000), "at": point(2)}), point(1), token)
    keys = many.select(["date", "city"]).slice(10_000)
    nothing = many.slice(0, 0)
    apply(tx, result, Changes(**{**base, "upserts": nothing, "deletes": keys, "at": point(3)}), point(2), token)
    query = "SELECT count(*), sum(total_sales), sum(transaction_count) FROM public.top_sales_by_city"
    assert tx.execute(query).fetchone() == (10_000, Decimal("49995000.00"), 49_995_000)


@pytest.mark.usefixtures("way")
def test_a_value_too_large_is_a_typed_error(tx: Connection, token: str) -> None:
    of = plan()
    result = register(tx, of, "public")
    tx.execute("ALTER TABLE public.top_sales_by_city ALTER total_sales TYPE numeric(4, 2)")
    narrow = ResultTable(**{**vars(result), "columns": (*SALES[:2], ResultColumn("total_sales", MONEY), SALES[3])})
    with pytest.raises(ValueTooLarge, match=r"PEN719 .*pipeline top_sales_by_city: numeric field overflow"):
        apply(tx, narrow, changes(of, [sale("Rome", "1000.00")]), ORIGIN, token)
    assert load_pipelines(tx)["top_sales_by_city"].at == ORIGIN


@pytest.mark.parametrize("what", ["TABLE {} ()", "VIEW {} AS SELECT 1"])
def test_what_penstock_did_not_make_is_left_alone(tx: Connection, what: str) -> None:
    tx.execute("CREATE " + what.format("public.top_sales_by_city"))
    with pytest.raises(TableNotOurs, match=r"PEN718 .*a (table|view) public.top_sales_by_city that Penstock did not"):
        register(tx, plan(), "public")


def test_names_that_postgresql_would_cut_off_or_keep() -> None:
    with pytest.raises(BadTableName, match=r"PEN721 .*has 64 bytes"):
        ResultTable.of(plan(name="ü" * 32), "public")
    with pytest.raises(BadTableName, match=r"PEN721 .*'xmin' is a column every"):
        ResultTable.of(plan([ResultColumn("xmin", BIGINT)], ("xmin",)), "public")


def test_names_of_indexes_are_stable_and_fit() -> None:
    assert index_name("t", ("a", "b"), "key") == "t_a_b_key"
    long = index_name("ü" * 31, ("a" * 60,), "idx")
    assert len(long.encode()) <= 63
    assert long == index_name("ü" * 31, ("a" * 60,), "idx")
    assert long != index_name("ü" * 31, ("a" * 61,), "idx")


def test_columns_of_the_select_win_over_ours(tx: Connection, token: str) -> None:
    of = plan([ResultColumn("id", BIGINT), ResultColumn("updated_at", TEXT)], ("id",), indexes=())
    result = register(tx, of, "public")
    apply(tx, result, changes(of, [(7, "never")]), ORIGIN, token)
    apply(tx, result, changes(of, [(7, "now")], at=2), point(1), token)
    found = tx.execute("SELECT id, updated_at, created_at IS NULL FROM public.top_sales_by_city").fetchall()
    assert found == [(7, "now", False)]
