"""A changed folder: what differs is said, and a changed pipeline takes over its table keeping ids, grants and views."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from penstock.log.model import ORIGIN
from penstock.plan.model import Plan, ResultColumn
from penstock.sqltypes import BIGINT, DATE, TEXT, decimal
from penstock.store import adopt
from penstock.store.connect import Connection, open_url
from penstock.store.errors import CannotReplace, LeaseLost, TableNotOurs
from penstock.store.results import apply, load_pipelines
from penstock.store.writer import acquire
from tests.store.plans import DAY, SALES, Row, changes, plan, point, sale

pytestmark = pytest.mark.slow


@pytest.fixture
def tx(fresh_database: str, tmp_path: Path) -> Iterator[Connection]:
    with open_url(fresh_database, tmp_path).connect() as connection:
        yield connection


@pytest.fixture
def token(tx: Connection, fresh_database: str, tmp_path: Path) -> Iterator[str]:
    lease = acquire(open_url(fresh_database, tmp_path))
    yield lease.token
    lease.release()


NAME = "top_sales_by_city"
TABLE = f"public.{NAME}"
END = (("2026-01-23", changes(plan()).watermark, 4, 0),)


def kept(tx: Connection, token: str, *rows: Row) -> Plan:
    """A pipeline that has been applied once."""
    of = plan()
    apply(tx, adopt.register(tx, of, "public"), changes(of, rows), ORIGIN, token)
    return of


def built(tx: Connection, token: str, of: Plan, *rows: Row, at: int = 9) -> str:
    """The changed pipeline built beside; returns its row's name."""
    result = adopt.begin_build(tx, of, "penstock")
    apply(tx, result, changes(of, rows, at=at, windows=END), ORIGIN, token)
    return result.pipeline


def kinds(tx: Connection, *plans: Plan, renamed: dict[str, str] | None = None) -> list[tuple[str, str]]:
    found = adopt.compare(tx, {each.name: each for each in plans}, "public", renamed)
    return [(change.name, change.kind) for change in found]


def ids(tx: Connection) -> dict[str, int]:
    return dict(tx.execute(f"SELECT city, id FROM {TABLE}").fetchall())


def test_folder_against_store(tx: Connection, token: str) -> None:
    of = kept(tx, token)
    assert kinds(tx, of, plan(name="b")) == [("b", "new"), (NAME, "same")]
    assert kinds(tx, plan(fingerprint="f2")) == [(NAME, "changed")]
    assert kinds(tx, plan([*SALES, ResultColumn("n", BIGINT)])) == [(NAME, "changed")]
    assert kinds(tx) == [(NAME, "removed")]
    assert kinds(tx, plan(name="sales"), renamed={"sales": NAME}) == [("sales", "same")]
    tx.execute(f"DROP TABLE {TABLE}")
    assert kinds(tx, of) == [(NAME, "missing")]
    adopt.remake(tx, of, "public")
    assert load_pipelines(tx)[NAME].at == ORIGIN


def test_what_changes_of_the_table_is_said(tx: Connection, token: str) -> None:
    kept(tx, token)
    columns = [SALES[0], SALES[1], ResultColumn("total_sales", decimal(20, 4)), ResultColumn("n", BIGINT)]
    (change,) = adopt.compare(tx, {NAME: plan(columns, ("city",), indexes=((("n", True),),))}, "public")
    assert change.details == (
        "column n bigint is added",
        "column transaction_count is dropped",
        "column total_sales becomes decimal(20,4) (was decimal(15,2))",
        "its key becomes (city), ids begin anew",
        "index (n desc) is added",
        "index (city, date) is dropped",
        "index (total_sales desc) is dropped",
    )


def test_a_changed_meaning_takes_over_with_ids_grants_and_views(tx: Connection, token: str) -> None:
    kept(tx, token, sale("Oslo"), sale("Rome"), sale(None))
    tx.execute("DROP ROLE IF EXISTS reader")
    tx.execute("CREATE ROLE reader")
    tx.execute(f"GRANT SELECT ON {TABLE} TO reader")
    tx.execute(f"CREATE VIEW public.seen AS SELECT city, total_sales FROM {TABLE}")
    before = ids(tx)
    changed = plan(fingerprint="f2")
    build = built(tx, token, changed, sale("Rome", "7.00"), sale(None), sale("Bonn"))
    assert ids(tx) == before
    adopt.replace(tx, build, changed, token)
    assert tx.execute("SELECT * FROM public.seen ORDER BY city").fetchall() == [
        ("Bonn", Decimal("10.00")),
        ("Rome", Decimal("7.00")),
        (None, Decimal("10.00")),
    ]
    after = ids(tx)
    assert (after["Rome"], after[None]) == (before["Rome"], before[None])  # type: ignore[index]
    assert tx.execute(f"SELECT has_table_privilege('reader', '{TABLE}', 'SELECT')").fetchone() == (True,)
    tx.execute("DROP OWNED BY reader")
    tx.execute("DROP ROLE reader")
    (row,) = load_pipelines(tx).values()
    assert (row.name, row.at, row.fingerprint) == (NAME, point(9), "f2")
    assert tx.execute("SELECT pipeline, restated FROM pipeline_window").fetchall() == [(NAME, 4)]
    assert tx.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'build_%'").fetchone() == (0,)


def test_columns_are_added_retyped_and_dropped(tx: Connection, token: str) -> None:
    kept(tx, token, sale("Oslo"), sale("Rome"))
    before = ids(tx)
    columns = [
        *SALES[:2],
        ResultColumn("total_sales", TEXT),
        ResultColumn("n", BIGINT),
        ResultColumn("created_at", DATE),
    ]
    changed = plan(columns, fingerprint="f2", indexes=((("n", False),),))
    build = built(tx, token, changed, (DAY, "Rome", "lots", 5, DAY))
    adopt.replace(tx, build, changed, token)
    found = tx.execute(f"SELECT id, city, total_sales, n, created_at FROM {TABLE}").fetchall()
    assert found == [(before["Rome"], "Rome", "lots", 5, DAY)]
    again = plan(fingerprint="f3")
    adopt.replace(tx, built(tx, token, again, sale("Rome", "3.00")), again, token)
    assert tx.execute(f"SELECT id, total_sales, created_at > now() - interval '1 h' FROM {TABLE}").fetchall() == [
        (before["Rome"], Decimal("3.00"), True)
    ]
    indexes = tx.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s ORDER BY 1", [NAME]).fetchall()
    assert [name for (name,) in indexes] == [
        f"{NAME}_city_date_idx",
        f"{NAME}_date_city_key",
        f"{NAME}_pkey",
        f"{NAME}_total_sales_desc_idx",
    ]


@pytest.mark.parametrize("key", [("city",), ()])
def test_another_key(tx: Connection, token: str, key: tuple[str, ...]) -> None:
    kept(tx, token, sale("Oslo"), sale("Rome"))
    changed = plan(SALES[1:], key, indexes=(), fingerprint="f2")
    rows = [("Rome", Decimal("1.00"), 1)]
    result = adopt.replace(tx, built(tx, token, changed, *rows), changed, token)
    assert tx.execute(f"SELECT city, total_sales, transaction_count FROM {TABLE}").fetchall() == rows
    apply(tx, result, changes(changed, [("Rome", Decimal("2.00"), 1)], at=10), point(9), token)
    back = plan(fingerprint="f3")
    adopt.replace(tx, built(tx, token, back, sale("Oslo"), sale("Rome"), at=11), back, token)
    assert sorted(ids(tx)) == ["Oslo", "Rome"]


def test_views_that_stand_in_the_way_are_named_before(tx: Connection, token: str) -> None:
    kept(tx, token, sale("Oslo"))
    tx.execute(f"CREATE VIEW public.seen AS SELECT transaction_count FROM {TABLE}")
    changed = plan(SALES[:3], fingerprint="f2", indexes=())
    told = "column transaction_count goes, and the view public.seen uses it"
    assert adopt.obstacles(tx, load_pipelines(tx)[NAME], changed) == [told]
    build = built(tx, token, changed)
    with pytest.raises(CannotReplace, match=rf"PEN720 .*{told}"):
        adopt.replace(tx, build, changed, token)
    assert list(ids(tx)) == ["Oslo"]


def test_a_build_goes_on_and_an_outdated_one_is_thrown_away(tx: Connection, token: str) -> None:
    kept(tx, token)
    first = built(tx, token, plan(fingerprint="f2"))
    assert adopt.begin_build(tx, plan(fingerprint="f2"), "penstock").pipeline == first
    assert load_pipelines(tx)[first].at == point(9)
    second = adopt.begin_build(tx, plan(fingerprint="f3"), "penstock").pipeline
    assert set(load_pipelines(tx)) == {NAME, second}
    assert kinds(tx, plan(fingerprint="f3")) == [(NAME, "changed")]


def test_only_the_writer_replaces(tx: Connection, token: str) -> None:
    kept(tx, token)
    changed = plan(fingerprint="f2")
    build = built(tx, token, changed)
    with pytest.raises(LeaseLost, match="PEN716"):
        adopt.replace(tx, build, changed, "00000000-0000-0000-0000-000000000000")
    assert load_pipelines(tx)[NAME].fingerprint == "f1"


def test_indexes_change_in_place(tx: Connection, token: str) -> None:
    kept(tx, token, sale("Oslo"))
    other = plan(indexes=((("transaction_count", True),),))
    (change,) = adopt.compare(tx, {NAME: other}, "public")
    assert change.kind == "same"
    assert len(change.details) == 3
    adopt.mark_removed(tx, NAME)
    adopt.update_in_place(tx, load_pipelines(tx)[NAME], other, token)
    (change,) = adopt.compare(tx, {NAME: other}, "public")
    assert change.details == ()
    assert load_pipelines(tx)[NAME].removed_at is None


def test_renamed_with_everything(tx: Connection, token: str) -> None:
    kept(tx, token, sale("Oslo"))
    adopt.rename(tx, NAME, "sales", token)
    assert kinds(tx, plan(name="sales")) == [("sales", "same")]
    assert tx.execute("SELECT city FROM public.sales").fetchall() == [("Oslo",)]
    adopt.register(tx, plan(), "public")
    with pytest.raises(TableNotOurs, match=r"PEN718 .*public.sales"):
        adopt.rename(tx, NAME, "sales", token)


def test_removed_tables_stay_until_dropped(tx: Connection, token: str) -> None:
    kept(tx, token, sale("Oslo"))
    adopt.mark_removed(tx, NAME)
    assert load_pipelines(tx)[NAME].removed_at is not None
    tx.execute(f"CREATE VIEW public.seen AS SELECT city FROM {TABLE}")
    with pytest.raises(CannotReplace, match=r"PEN720 .*used by public.seen"):
        adopt.drop(tx, NAME, token)
    tx.execute("DROP VIEW public.seen")
    adopt.drop(tx, NAME, token)
    assert load_pipelines(tx) == {}
    assert tx.execute("SELECT to_regclass(%s)", [TABLE]).fetchone() == (None,)
